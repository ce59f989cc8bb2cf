//! User data: what a template may say, and what stands beside it.

use insta::assert_snapshot;
use latent::policy::{Intent, Secret, SecretRef, UserData};

use crate::config::{IMAGE, of_image, sources};

#[test]
fn user_data_is_rendered_with_the_password_and_refused_without_it() {
    let injected = format!("{IMAGE}identity = \"injected\"\nuser_data = \"x.sh\"\n");
    let more = "[worker.w]\nimage = \"i\"\npassword = { env = \"W_PASSWORD\" }\n";
    let mut all = sources(more, &[("i", &injected)], &[]);
    all.templates.insert("x.sh".to_owned(), "#!/bin/sh\nP={{ password | sh }}\n".to_owned());
    let mut intent = Intent::parse(&all).expect("is right");
    let error = intent.render_user_data(&all, |secret| Err(format!("{secret} is not set"))).expect_err("no password");
    assert_snapshot!(error.to_string(), @r#"amis/i.toml:6:13: user_data of worker w = "x.sh": needs the worker's password: environment variable W_PASSWORD is not set; provide it where the controller runs"#);
    let wanted = SecretRef::Env("W_PASSWORD".to_owned());
    intent
        .render_user_data(&all, |secret| {
            assert_eq!(*secret, wanted);
            Ok(latent::policy::Secret::new("it's".to_owned()))
        })
        .expect("renders");
    let worker = &intent.workers[&"w".parse().expect("a name")];
    assert!(!format!("{worker:?}").contains("it's"), "a secret cannot be printed");
    let text = worker.user_data.as_ref().expect("is rendered").text();
    let text = text.reveal();
    assert!(text.contains("text/cloud-boothook") && text.contains(r#"P="it's""#), "the lease watch stands beside it");
}

/// What is wrong with the user data of a worker whose template is this, and the manifest these lines.
pub(crate) fn of_user_data(lines: &str, template: &str) -> String {
    let image = format!("{IMAGE}user_data = \"x\"\n{lines}\n");
    let mut all = sources("[worker.w]\nimage = \"i\"\n", &[("i", &image)], &[]);
    all.templates.insert("x".to_owned(), template.to_owned());
    let mut intent = Intent::parse(&all).expect("is right");
    match intent.render_user_data(&all, |secret| Err(format!("{secret}"))) {
        Ok(()) => "none".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn the_lease_watch_is_told_apart_from_what_it_cannot_stand_beside() {
    assert_snapshot!(of_image("lease_watch = \"always\""), @r#"amis/i.toml:5:15: lease_watch = "always": is not a known word; write one of "user-data", "baked", "none""#);
    assert_snapshot!(of_image("platform = \"macos\"\nlease_watch = \"user-data\""), @r#"amis/i.toml:6:15: lease_watch = "user-data": is not possible: there is no lease watch for macOS; write "none", or leave the key away"#);
    assert_snapshot!(of_user_data("", "WORKER=w"), @r#"amis/i.toml:5:13: user_data of worker w = "x": is nothing that cloud-init knows, so the lease watch cannot stand beside it; begin it with #!, #cloud-config or another mark of cloud-init, or bake the watch into the AMI and write lease_watch = "baked", or "none""#);
    assert_eq!(of_user_data("lease_watch = \"baked\"", "WORKER=w"), "none");
    assert_eq!(of_user_data("lease_watch = \"none\"", "WORKER=w"), "none");
    assert_snapshot!(of_user_data("platform = \"windows\"", "<script>rem</script>"), @r#"amis/i.toml:5:13: user_data of worker w = "x": has a <script> block, which Windows runs before any <powershell>: should it not end, the lease watch would never be armed; write it as <powershell>, or bake the watch into the AMI and write lease_watch = "baked", or "none""#);
    let long = format!("#!/bin/sh\n# {}\n", "x".repeat(10_000));
    let told = of_user_data("", &long);
    assert!(told.contains(" of them for the lease watch), and EC2 takes 16384; shorten the template"), "{told}");
    assert_eq!(of_user_data("lease_watch = \"baked\"", &long), "none", "without the watch it is short enough");
}

#[test]
fn each_platform_has_its_lease_watch_unless_its_owner_says_otherwise() {
    for (lines, begins) in [
        ("", Some("#cloud-boothook\n")),
        ("platform = \"windows\"", Some("<powershell>\n")),
        ("platform = \"freebsd\"", Some("#!/bin/sh\n")),
        ("platform = \"macos\"", None),
        ("lease_watch = \"baked\"", None),
        ("lease_watch = \"none\"", None),
    ] {
        let all = sources("[worker.w]\nimage = \"i\"\n", &[("i", &format!("{IMAGE}{lines}\n"))], &[]);
        let mut intent = Intent::parse(&all).expect("is right");
        intent.render_user_data(&all, |secret| Err(format!("{secret}"))).expect("renders");
        let data = intent.workers[&"w".parse().expect("a name")].user_data.clone();
        let text = data.as_ref().map(UserData::text);
        let text = text.as_ref().map(Secret::reveal);
        assert_eq!(text.is_some(), begins.is_some(), "{lines}");
        assert!(text.unwrap_or_default().starts_with(begins.unwrap_or_default()), "{lines}");
    }
}

/// What is wrong with the user data of a worker whose image lets several be launched together.
fn of_shared(template: &str) -> String {
    let image = format!("{IMAGE}identity = \"injected\"\nbatch_max = 8\nuser_data = \"x\"\n");
    let mut all = sources("[worker.w]\nimage = \"i\"\npassword = { env = \"P\" }\n", &[("i", &image)], &[]);
    all.templates.insert("x".to_owned(), template.to_owned());
    let mut intent = Intent::parse(&all).expect("is right");
    match intent.render_user_data(&all, |_| Ok(Secret::new("hush".to_owned()))) {
        Ok(()) => "none".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn a_text_for_several_workers_names_no_single_one() {
    let told = of_image("identity = \"baked\"\nbatch_max = 8\n");
    assert!(told.contains("batch_max = 8: is of no use: with identity = \"baked\" an image is one worker's"), "{told}");
    let each =
        "#!/bin/sh\n{% for w in workers %}: {{ w.worker }} {{ w.password | sh }} {{ w.join_secret }}\n{% endfor %}";
    assert_eq!(of_shared(each), "none");
    let told = of_shared("#!/bin/sh\n: {{ worker }}\n");
    assert!(told.contains("line 2") && told.contains("workers (because of batch_max)"), "{told}");
    assert!(!told.contains("hush"), "{told}");
    let told = of_user_data("", "#!/bin/sh\n: {{ workers }}\n");
    assert!(told.contains("worker, password, join_secret") && !told.contains("batch_max"), "{told}");
}
