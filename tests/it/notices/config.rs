//! What is wrong with `[notify]`, and what holds of it.

use latent::policy::{Intent, Sources};

const MAIN: &str = "[fleet]\nname = \"f\"\ncontroller = \"c\"\n\n\n\n";

fn sources(more: &str) -> Sources {
    Sources { main: ("latent.toml".to_owned(), format!("{MAIN}{more}")), ..Sources::default() }
}

/// What is wrong with `[notify]` and what follows it.
fn of_notify(lines: &str) -> String {
    match Intent::parse(&sources(&format!("[notify]\n{lines}\n"))) {
        Ok(_) => "none".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn whoever_is_told_must_be_reachable() {
    let smtp = "[notify.smtp]\nhost = \"mail.example.org\"\nfrom = \"latent@example.org\"\n";
    let wrong = |lines: &str, why: &str| {
        let found = of_notify(lines);
        assert!(found.contains(why), "{lines}: {found}");
    };
    wrong("quiet_hours = \"22-7\"", "notify.quiet_hours = \"22-7\": is not a window; write it in UTC");
    wrong("weekly = \"sometimes\"", "notify.weekly = \"sometimes\": is not a window");
    wrong("daily_max = 0", "notify.daily_max = 0: is out of range");
    wrong("admin = { mail = [\"admin\"] }", "latent.toml:8:19: notify.admin.mail = \"admin\": is not an address");
    wrong(
        "admin = { mail = [\"a@example.org\"] }",
        "cannot be written to: nothing says how mail goes out; add [notify.smtp]",
    );
    wrong(
        "admin = { webhook = [\"chat\"] }",
        "notify.admin.webhook = \"chat\": is not a webhook of [notify]; add [notify.webhook.chat]",
    );
    wrong(
        "admin = { classes = [\"everything\"] }",
        "notify.admin.classes = \"everything\": is not a known word; write one of \"worker-down\"",
    );
    wrong("smtp = { host = \"mail.example.org\" }", "notify.smtp.from: is missing");
    wrong("smtp = { host = \"h\", from = \"x\" }", "notify.smtp.from = \"x\": is not an address");
    wrong("smtp = { host = \"h\", from = \"x@y.org\", tls = \"none\" }", "without protection to another machine");
    wrong(
        "smtp = { host = \"h\", from = \"x@y.org\", user = \"u\" }",
        "notify.smtp.user: is of no use without password",
    );
    wrong("smtp = { host = \"h\", from = \"x@y.org\", pasword = 1 }", "did you mean password?");
    wrong(
        "sendmail = { command = [\"sendmail\"], from = \"x@y.org\" }",
        "notify.sendmail.command = \"sendmail\": is not an absolute path",
    );
    wrong(
        &format!("sendmail = {{ command = [\"/s\"], from = \"x@y.org\" }}\n{smtp}"),
        "notify.sendmail: is of no use beside smtp",
    );
    wrong("[notify.webhook.chat]\nformat = \"slack\"", "notify.webhook.chat.url: is missing");
    wrong("[notify.webhook.chat]\nurl = \"https://h/\"\nformat = \"irc\"", "notify.webhook.chat.format = \"irc\"");
    wrong("[notify.webhook.\"a b\"]\nurl = \"https://h/\"", "is not a name");
    assert_eq!(of_notify(&format!("admin = {{ mail = [\"a@example.org\"] }}\n{smtp}")), "none");
}

#[test]
fn an_owner_is_written_to_at_the_contact_where_that_is_an_address() {
    let smtp = "[notify.smtp]\nhost = \"mail.example.org\"\nfrom = \"latent@example.org\"\n";
    let mail = |owner: &str| {
        let head = "[owner.o]\naccount = \"012345678901\"\ncredentials = { profile = \"p\" }\n";
        let intent =
            Intent::parse(&sources(&format!("{head}{owner}\n{smtp}"))).unwrap_or_else(|problems| panic!("{problems}"));
        intent.owners.values().next().expect("an owner").notify.mail.clone()
    };
    assert_eq!(mail("contact = \"o@example.org\""), ["o@example.org"]);
    assert_eq!(mail("contact = \"room 5\""), [""; 0]);
    assert_eq!(mail("contact = \"o@example.org\"\nnotify = { down_after = \"1h\" }"), ["o@example.org"]);
    assert_eq!(mail("contact = \"o@example.org\"\nnotify = { mail = [\"p@example.org\"] }"), ["p@example.org"]);
    assert_eq!(mail("contact = \"o@example.org\"\nnotify = { mail = [] }"), [""; 0]);
}
