//! What an owner grants: as the command prints it, and neither more nor less than the code calls.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use insta::assert_snapshot;
use latent::cli::Exit;
use latent::model::tag_keys;
use latent::policy::iam::{
    self, IamError, IamRole, NEEDS_NO_PERMISSION, NOT_CALLED, PERMISSIONS, POLICY_CHARACTERS_MAX,
};
use latent::policy::{Intent, Sources};
use proptest::prelude::*;
use serde_json::Value;

use crate::cli::run;
use crate::source::{Source, rust_files};

const MASTER: &str = "arn:aws:iam::999999999999:role/latent-master";

const MAIN: &str = r#"[fleet]
name = "cpython"
controller = "main"
principal = "arn:aws:iam::999999999999:role/latent-master"

[owner.alice]
account = "111111111111"
credentials = { assume_role = "arn:aws:iam::111111111111:role/ci/latent-worker", external_id = "latent-0a1b2c3d" }

[owner.bob]
account = "222222222222"
credentials = { assume_role = "arn:aws:iam::222222222222:role/builds", external_id = "latent-4e5f6071" }
disk_gib_max = 40

[owner.carol]
account = "333333333333"
credentials = { assume_role = "arn:aws:iam::333333333333:role/latent-worker", profile = "master" }

[owner.dave]
account = "444444444444"
credentials = { profile = "dave" }
"#;

/// Two regions, subnets and zones, spot, a key pair, an instance profile, a large disk.
const DEBIAN: &str = r#"owner = "alice"
region = "us-west-2"
ami = "ami-0aaaaaaaaaaaaaaaa"
instance_types = ["m7i.large", "m6i.large"]
subnets = [{ id = "subnet-0aaaaaaaaaaaaaaaa", zone = "us-west-2a" }]
security_groups = ["sg-0aaaaaaaaaaaaaaaa"]
key_pair = "alice"
market = ["spot", "on-demand"]
block_devices = [{ device = "/dev/sda1", size_gib = 300, type = "io2", iops = 20000 }]
"#;
const WINDOWS: &str = r#"owner = "alice"
region = "eu-west-1"
ami = "ami-0bbbbbbbbbbbbbbbb"
instance_types = ["m7i.xlarge"]
zones = ["eu-west-1a", "eu-west-1b"]
security_groups = ["sg-0bbbbbbbbbbbbbbbb"]
instance_profile = "windows-activation"
"#;
/// What a manifest can say beyond: an AMI by its owner, a group's name, a snapshot and a key, an address, a volume.
const RICH: &str = r#"owner = "alice"
region = "us-west-2"
ami_owners = ["self", "012345678901"]
ami_location = "[0-9]+/rich-([0-9]+)"
instance_types = ["m7i.large"]
zones = ["us-west-2a"]
security_group_names = ["default"]
block_devices = [
    { device = "/dev/sdg", encrypted = true, snapshot = "snap-0aaaaaaaaaaaaaaaa", kms_key = "1234abcd-12ab-34cd-56ef-1234567890ab" },
]
elastic_ip = "203.0.113.9"
volumes = [{ id = "vol-0aaaaaaaaaaaaaaaa", device = "/dev/sdf" }]
"#;
/// As little as can be said.
const SPARSE: &str = "owner = \"bob\"\nregion = \"us-east-1\"\nami = \"ami-1\"\ninstance_types = [\"c7i.large\"]\n";

fn files() -> Vec<(&'static str, String)> {
    [("debian", DEBIAN), ("windows", WINDOWS), ("rich", RICH), ("sparse", SPARSE)]
        .map(|(name, text)| (name, text.to_owned()))
        .to_vec()
}

/// The command on this configuration: how it ended, what it printed.
async fn told(main: &str, images: &[(&str, String)], args: &[&str]) -> (Exit, String) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("amis")).expect("a folder");
    std::fs::write(folder.path().join("latent.toml"), main).expect("a file");
    for (name, text) in images {
        std::fs::write(folder.path().join(format!("amis/{name}.toml")), text).expect("a file");
    }
    let config = folder.path().join("latent.toml").display().to_string();
    run(&[&["iam", "--config", &config], args].concat()).await
}

async fn printed(args: &[&str]) -> String {
    let (exit, text) = told(MAIN, &files(), args).await;
    assert_eq!(exit, Exit::Done, "{args:?}");
    text
}

#[tokio::test]
async fn all_roles_of_an_owner_as_json() {
    assert_snapshot!(printed(&["--owner", "alice"]).await);
}

#[tokio::test]
async fn one_role_of_a_sparse_manifest_says_what_it_leaves_open() {
    assert_snapshot!(printed(&["--owner", "bob", "--role", "worker"]).await);
}

#[tokio::test]
async fn the_roles_as_cloudformation() {
    assert_snapshot!(printed(&["--owner", "bob", "--format", "cloudformation"]).await);
}

#[tokio::test]
async fn the_roles_as_terraform() {
    assert_snapshot!(printed(&["--owner", "bob", "--role", "audit", "--format", "terraform"]).await);
}

fn intent(main: &str, images: &[(&str, String)]) -> Intent {
    let image = |(name, text): &(&str, String)| ((*name).to_owned(), format!("amis/{name}.toml"), text.clone());
    let sources = Sources {
        main: ("latent.toml".to_owned(), main.to_owned()),
        images: images.iter().map(image).collect(),
        ..Sources::default()
    };
    Intent::parse(&sources).unwrap_or_else(|problems| panic!("{problems}"))
}

fn grants(main: &str, images: &[(&str, String)], owner: &str) -> Result<iam::Grants, IamError> {
    iam::grants(&intent(main, images), &owner.parse().expect("a name"), None, &IamRole::ALL)
}

fn refused(main: &str, images: &[(&str, String)], owner: &str) -> String {
    grants(main, images, owner).expect_err("no grant").to_string()
}

#[test]
fn what_is_missing_is_told_with_its_cure() {
    assert_snapshot!(refused(MAIN, &files(), "eve"), @"owner eve is not in the configuration; known: alice, bob, carol, dave");
    let nobody = MAIN.replace("principal = ", "# principal = ");
    assert_snapshot!(refused(&nobody, &files(), "bob"), @r#"fleet.principal: is missing, so nobody could assume the owner's roles; add principal = "arn:aws:iam::ACCOUNT:role/NAME" below [fleet], or give --principal"#);
    assert_snapshot!(refused(MAIN, &[], "bob"), @"owner.bob: has no image manifest; add amis/NAME.toml: the roles are made for what the manifests say");
    let other = MAIN.replace("::222222222222:role", "::333333333333:role");
    assert_snapshot!(refused(&other, &files(), "bob"), @r#"owner.bob.credentials.assume_role: "arn:aws:iam::333333333333:role/builds" is not a role of account 222222222222; name a role of the owner's account"#);
    let small = MAIN.replace("[owner.bob]", "disk_gib_max = 100\n[owner.bob]");
    assert_snapshot!(refused(&small, &files(), "alice"), @"owner.alice.disk_gib_max: 100 is less than the 300 GiB of a disk in amis/debian.toml; raise it, or make the disk smaller");
}

#[tokio::test]
async fn a_missing_external_id_is_made_and_never_the_same() {
    for owner in ["carol", "dave"] {
        let (exit, out) = told(MAIN, &files(), &["--owner", owner]).await;
        assert_eq!((exit, out.as_str()), (Exit::Configuration, ""), "nothing is printed that could be applied");
    }
    let (exit, _) = told(MAIN, &files(), &["--owner", "eve"]).await;
    assert_eq!(exit, Exit::Refused);
}

#[test]
fn a_principal_is_one_role_or_user_and_nobody_else() {
    for wrong in ["*", "arn:aws:iam::999999999999:root", "arn:aws:iam::999999999999:role/*", "arn:aws:iam::99:role/m"] {
        let text = MAIN.replace(MASTER, wrong);
        let sources = Sources { main: ("latent.toml".to_owned(), text), ..Sources::default() };
        let problems = Intent::parse(&sources).expect_err(wrong).to_string();
        assert!(problems.contains("is not the ARN of a role or user; write it as arn:aws:iam::"), "{problems}");
        let owner = "bob".parse().expect("a name");
        let given = iam::grants(&intent(MAIN, &files()), &owner, Some(wrong), &IamRole::ALL);
        assert!(given.is_err(), "{wrong}");
    }
}

#[test]
fn a_value_that_could_mean_more_than_itself_is_refused() {
    for (key, from, to) in [
        ("instance_types", "\"m6i.large\"", "\"m*\""),
        ("subnets", "subnet-0aaaaaaaaaaaaaaaa", "subnet-*"),
        ("security_groups", "sg-0aaaaaaaaaaaaaaaa", "sg-?"),
        ("key_pair", "\"alice\"\nmarket", "\"${aws:username}\"\nmarket"),
        ("external_id", "latent-0a1b2c3d", "latent-*"),
    ] {
        let (main, debian) = (MAIN.replace(from, to), DEBIAN.replace(from, to));
        let error = refused(&main, &[("debian", debian)], "alice");
        assert!(error.contains(key) && error.contains("could mean more than itself"), "{error}");
    }
}

#[test]
fn a_policy_that_iam_would_refuse_is_an_error_that_says_by_how_much() {
    let many: Vec<String> = (0..200).map(|number| format!("image-{number}")).collect();
    let images: Vec<(&str, String)> = many
        .iter()
        .zip(0..)
        .map(|(name, n)| (name.as_str(), SPARSE.replace("ami-1", &format!("ami-{n:017}"))))
        .collect();
    let error = refused(MAIN, &images, "bob");
    assert!(error.contains(&format!("IAM takes {POLICY_CHARACTERS_MAX}")), "{error}");
}

/// Every action that a policy grants.
fn granted(policy: &Value) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().expect("statements");
    let of = |value: &Value| match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(items) => items.iter().filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect(),
        _ => Vec::new(),
    };
    statements.iter().flat_map(|statement| of(&statement["Action"])).collect()
}

#[test]
fn the_policies_grant_what_the_table_says() {
    // Of alice, whose manifests use everything that can be used.
    for grant in grants(MAIN, &files(), "alice").expect("grants").roles {
        let held = PERMISSIONS.iter().filter(|permission| permission.roles.contains(&grant.role));
        let table: BTreeSet<String> = held.map(|permission| permission.action.to_owned()).collect();
        assert_eq!(granted(&grant.policy), table, "policies/iam/{}.json and src/policy/iam/actions.rs", grant.role);
    }
}

/// The SDK's operations that a file calls, as actions of IAM. An operation is a method of a client
/// without arguments; its name begins with a verb.
fn called(source: &Source) -> Vec<String> {
    const VERBS: &[&str] = &[
        "accept",
        "allocate",
        "assign",
        "associate",
        "assume",
        "attach",
        "authorize",
        "cancel",
        "copy",
        "create",
        "decode",
        "delete",
        "deregister",
        "describe",
        "detach",
        "disable",
        "disassociate",
        "enable",
        "get",
        "import",
        "list",
        "lookup",
        "modify",
        "monitor",
        "purchase",
        "put",
        "reboot",
        "register",
        "reject",
        "release",
        "replace",
        "request",
        "reset",
        "restore",
        "revoke",
        "run",
        "send",
        "simulate",
        "start",
        "stop",
        "terminate",
        "unassign",
        "unmonitor",
        "update",
    ];
    // What an answer holds, although it reads like something to do.
    const FIELDS: &[&str] = &["attach_time", "create_time", "delete_on_termination", "start_time"];
    // What a file tests of itself is not what it does.
    let code = source.code.split("#[cfg(test)]").next().unwrap_or_default();
    let mut actions = Vec::new();
    for (at, _) in code.match_indices("()") {
        let name: Vec<char> = code[..at].chars().rev().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let name: String = name.into_iter().rev().collect();
        let is_method = code[..at - name.len()].ends_with('.');
        let verb = name.split_once('_').map(|(verb, _)| verb);
        if is_method && verb.is_some_and(|verb| VERBS.contains(&verb)) && !FIELDS.contains(&name.as_str()) {
            actions.push(action(&name));
        }
    }
    if code.contains("AssumeRoleProvider::builder") {
        actions.push("sts:AssumeRole".to_owned());
    }
    actions
}

/// `run_instances` as `ec2:RunInstances`.
fn action(method: &str) -> String {
    let words = method.split('_').map(|word| word[..1].to_ascii_uppercase() + &word[1..]);
    let name = words.collect::<String>();
    let services = ["ce", "cloudtrail", "ec2", "iam", "kms", "pricing", "servicequotas", "ssm", "sts"];
    let known = |service: &&str| {
        let full = format!("{service}:{name}");
        PERMISSIONS.iter().any(|permission| permission.action == full)
            || NEEDS_NO_PERMISSION.iter().any(|(action, _)| *action == full)
    };
    format!("{}:{name}", services.into_iter().find(known).unwrap_or("ec2"))
}

#[test]
fn the_table_holds_what_the_code_calls_and_nothing_else() {
    let mut sources = rust_files("src/ec2");
    // The check-up's trials are dry runs, among them of what must be refused.
    sources.retain(|source| source.path != "src/ec2/trial.rs");
    let calls: BTreeSet<String> = sources.iter().flat_map(called).collect();
    let known: BTreeSet<&str> = PERMISSIONS.iter().map(|permission| permission.action).collect();
    let free: BTreeMap<&str, &str> = NEEDS_NO_PERMISSION.iter().copied().collect();
    let excused: BTreeMap<&str, &str> = NOT_CALLED.iter().copied().collect();
    for call in &calls {
        let call = call.as_str();
        assert!(known.contains(call) || free.contains_key(call), "src/ec2 calls {call}, which no role may: add it");
        assert!(!excused.contains_key(call), "{call} is called now: take it off NOT_CALLED");
    }
    for action in &known {
        let reason = calls.contains(*action) || excused.contains_key(action);
        assert!(reason, "{action} is granted and nothing calls it: take it off PERMISSIONS and policies/iam");
    }
    for action in free.keys() {
        assert!(calls.contains(*action), "{action} is not called any more");
    }
    for action in excused.keys() {
        assert!(known.contains(action), "{action} is excused and no role holds it");
    }
}

#[test]
fn no_call_of_the_sdk_escapes_the_scan() {
    // What a trial sends is never more than a dry run, and has a form of its own.
    for source in rust_files("src/ec2").into_iter().filter(|source| source.path != "src/ec2/trial.rs") {
        let code = source.code.split("#[cfg(test)]").next().unwrap_or_default();
        let sent = code.matches(".send()").count();
        let found = called(&source).len();
        assert!(sent <= found, "{}: {sent} calls are sent and {found} operations are known", source.path);
    }
    let planted = "fn f() { clients.writes.modify_instance_attribute().send(); x.iter(); /* a.run_instances() */ }";
    let found = called(&Source::new("src/ec2/planted.rs", planted.to_owned()));
    assert_eq!(found, ["ec2:ModifyInstanceAttribute"]);
}

#[test]
fn what_would_undo_the_rest_is_granted_to_nobody() {
    for action in [
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:CreateKeyPair",
        "ec2:DeleteTags",
        "ec2:DescribeInstanceAttribute",
        "ec2:ModifyInstanceAttribute",
        "ec2:RequestSpotInstances",
    ] {
        assert!(PERMISSIONS.iter().all(|permission| permission.action != action), "{action}");
    }
    for grant in grants(MAIN, &files(), "alice").expect("grants").roles {
        for action in granted(&grant.policy) {
            assert!(!action.contains('*'), "{action} in {}", grant.role);
        }
    }
}

#[test]
fn only_what_aws_cannot_bind_is_granted_on_everything() {
    for grant in grants(MAIN, &files(), "alice").expect("grants").roles {
        for statement in grant.policy["Statement"].as_array().expect("statements") {
            let actions = granted(&serde_json::json!({ "Statement": [statement] }));
            let looks = |action: &String| {
                let name = action.split(':').nth(1).unwrap_or_default();
                ["Describe", "Get", "List", "Lookup"].iter().any(|verb| name.starts_with(verb))
            };
            let everything = statement["Resource"] == "*";
            assert!(!everything || actions.iter().all(looks), "{actions:?} of {} on everything", grant.role);
        }
    }
}

#[test]
fn the_tags_of_the_templates_are_tags_of_the_code() {
    let known = [
        tag_keys::FLEET,
        tag_keys::OWNER,
        tag_keys::ROLE,
        tag_keys::LEASE,
        tag_keys::MARK,
        tag_keys::RETIRED,
        tag_keys::IMAGE_ORIGIN,
        tag_keys::ROLLOUT,
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/iam");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the templates") {
        let text = std::fs::read_to_string(entry.expect("readable").path()).expect("UTF-8");
        for (at, _) in text.match_indices("latent:") {
            found.insert(text[at..].split('"').next().unwrap_or_default().to_owned());
        }
    }
    assert_eq!(found, known.map(ToOwned::to_owned).into_iter().collect::<BTreeSet<String>>());
}

#[test]
fn what_a_filter_may_choose_and_what_an_instance_is_given_is_bound() {
    let worker = |lines: &str| {
        let text = format!("{}{lines}\n", SPARSE.replace("ami = \"ami-1\"\n", ""));
        let granted = grants(MAIN, &[("sparse", text)], "bob").expect("grants");
        (granted.roles[0].policy["Statement"].clone(), granted.open.join("; "))
    };
    let of = |policy: &Value, sid: &str| {
        policy.as_array().expect("statements").iter().find(|statement| statement["Sid"] == sid).cloned()
    };
    let (policy, open) = worker("ami_owners = [\"self\", \"amazon\"]\nelastic_ip = \"eipalloc-0a\"");
    let owners =
        of(&policy, "RunFilteredImages").expect("it is there")["Condition"]["StringEquals"]["ec2:Owner"].clone();
    assert_eq!(owners, serde_json::json!(["222222222222", "amazon"]));
    assert!(open.contains("any AMI of these owners is allowed"), "{open}");
    assert!(of(&policy, "RunManifestImages").is_none() && of(&policy, "AttachNamed").is_none());
    let named = of(&policy, "AssociateNamed").expect("it is there")["Resource"].clone();
    assert_eq!(named, serde_json::json!(["arn:aws:ec2:us-east-1:222222222222:elastic-ip/eipalloc-0a"]));
    assert!(of(&policy, "AssociateNamedByItself").is_none());
    for unbound in ["ami_location = \"x\"", "ami_owners = [\"microsoft\"]"] {
        let (policy, open) = worker(unbound);
        let images = of(&policy, "RunManifestImages").expect("it is there")["Resource"].clone();
        assert_eq!(images, serde_json::json!(["arn:aws:ec2:us-east-1::image/*"]));
        assert!(of(&policy, "RunFilteredImages").is_none() && open.contains("any AMI that can be seen"), "{open}");
    }
    let (policy, open) = worker(
        "ami_owners = [\"self\"]\nblock_devices = [{ device = \"x\", encrypted = true, kms_key = \"alias/k\" }]",
    );
    assert!(of(&policy, "UseDiskKeys").is_none() && open.contains("alias/k by an alias"), "{open}");
}

proptest! {
    #[test]
    fn no_manifest_makes_a_policy_wider_than_itself(kind in "[ -~]{1,20}", pair in "[ -~]{1,20}") {
        let quoted = |text: &str| Value::from(text).to_string();
        let debian = DEBIAN.replace("\"m6i.large\"", &quoted(&kind)).replace("\"alice\"\nmarket", &format!("{}\nmarket", quoted(&pair)));
        if let Ok(granted) = grants(MAIN, &[("debian", debian)], "alice") {
            let worker = granted.roles[0].policy.to_string();
            prop_assert!(!kind.contains(['*', '?', '$', '"']) && !pair.contains(['*', '?', '$', '"']), "{}", worker);
            prop_assert!(worker.contains(&kind) && worker.contains(&pair));
        }
    }
}
