//! `latent iam --budget-action`: the owner's own hard stop.

use latent::cli::Exit;
use serde_json::Value;

use crate::cli::run;

const MAIN: &str = r#"[fleet]
name = "cpython"
controller = "main"

[owner.alice]
account = "111111111111"
contact = "alice@example.org"
credentials = { assume_role = "arn:aws:iam::111111111111:role/ci/latent-worker", external_id = "latent-0a1b2c3d" }
budget = { soft = "20", hard = "25.5" }
"#;

/// What its credentials say.
const ROLE: &str =
    r#"assume_role = "arn:aws:iam::111111111111:role/ci/latent-worker", external_id = "latent-0a1b2c3d""#;

async fn printed(main: &str, more: &[&str]) -> (Exit, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("latent.toml");
    std::fs::write(&config, main).expect("a file");
    let config = config.to_str().expect("a path");
    run(&[&["iam", "--config", config, "--owner", "alice", "--budget-action"], more].concat()).await
}

#[tokio::test]
async fn the_template_makes_a_budget_whose_action_takes_launches_from_the_roles() {
    let (exit, text) = printed(MAIN, &["--format", "cloudformation"]).await;
    assert_eq!(exit, Exit::Done, "{text}");
    let template: Value = serde_json::from_str(&text).expect("JSON");
    let of = |id: &str| template["Resources"][id]["Properties"].clone();
    assert_eq!(of("Budget")["Budget"]["BudgetLimit"]["Amount"], "25.50");
    let action = of("HardStop");
    assert_eq!(
        action["Definition"]["IamActionDefinition"]["Roles"],
        serde_json::json!(["latent-worker", "latent-rebake"])
    );
    assert_eq!(action["Subscribers"][0]["Address"], "alice@example.org");
    let deny = &of("OverBudget")["PolicyDocument"]["Statement"][0];
    assert_eq!(deny["Action"], serde_json::json!(["ec2:RunInstances", "ec2:StartInstances"]));
    assert_eq!(deny["Effect"], "Deny");
    // The execution role may attach this one policy to these two roles, and nothing else.
    let may = &of("BudgetRole")["Policies"][0]["PolicyDocument"]["Statement"];
    assert_eq!(may.as_array().map(Vec::len), Some(1));
    assert_eq!(
        may[0]["Resource"],
        serde_json::json!([
            "arn:aws:iam::111111111111:role/ci/latent-worker",
            "arn:aws:iam::111111111111:role/ci/latent-rebake"
        ])
    );
    assert_eq!(
        may[0]["Condition"]["ArnEquals"]["iam:PolicyARN"],
        "arn:aws:iam::111111111111:policy/latent-cpython-over-budget"
    );
}

#[tokio::test]
async fn the_other_formats_say_the_same() {
    let (exit, text) = printed(MAIN, &["--format", "terraform", "--amount", "9.99"]).await;
    assert_eq!(exit, Exit::Done, "{text}");
    for part in ["limit_amount = \"9.99\"", "aws_budgets_budget_action", "\"latent-worker\",\"latent-rebake\""] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (exit, text) = printed(MAIN, &[]).await;
    assert_eq!(exit, Exit::Done, "{text}");
    let parts: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&parts["budget"]["amount"], &parts["action"]["threshold_percent"]), (&"25.50".into(), &100.into()));
}

#[tokio::test]
async fn without_an_amount_or_an_address_nothing_is_printed() {
    for (was, is) in [
        ("budget = { soft = \"20\", hard = \"25.5\" }", "budget = { soft = \"20\" }"),
        ("budget = { soft = \"20\", hard = \"25.5\" }", "budget = { hard = \"0.009999\" }"),
        ("contact = \"alice@example.org\"", "contact = \"Alice, room 7\""),
        ("alice@example.org", "${a}@example.org"),
        ("role/ci/latent-worker", "user/alice"),
        (ROLE, "profile = \"alice\""),
        (ROLE, "environment = true"),
    ] {
        let (exit, text) = printed(&MAIN.replace(was, is), &[]).await;
        assert_eq!((exit, text.as_str()), (Exit::Configuration, ""), "{is}");
    }
    assert_eq!(printed(MAIN, &["--amount", "0.009"]).await.0, Exit::Configuration);
    assert_eq!(printed(MAIN, &["--amount", "0.01"]).await.0, Exit::Done);
}
