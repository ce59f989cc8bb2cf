//! Workers that a master declares: they live as those of the files, also when the controller restarts
//! without their master.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use latent::control::CellView;
use latent::model::{Body, Cause, MasterId, tag_keys};
use latent::sim::{NewImage, Tags};
use serde_json::{Value, json};

use crate::harness::{Lab, minutes, morning, seconds, worker};
use crate::setup::Setup;

const OWNER: &str = "aws-1a2b";

/// A setup whose files know nothing of the declared owner; his credentials lead to an account all the same.
fn setup() -> Setup {
    Setup::new().credentials_lead_to(OWNER, "333333333333")
}

fn master() -> MasterId {
    "m1".parse().expect("a master id")
}

/// A declaration of this AMI.
fn of_ami(ami: &str) -> Value {
    json!({
        "owner": OWNER,
        "credentials": { "environment": true },
        "image": { "region": "us-west-2", "ami": ami, "instance_types": ["m7i.large"] },
        "user_data": "#!/bin/sh\necho hello\n",
        "policy": { "idle_timeout": "5m" },
    })
}

/// The master declares these workers, and no others; each must be taken.
fn declare(lab: &Lab, workers: &[(&str, Value)]) {
    let all: BTreeMap<String, Value> = workers.iter().map(|(name, said)| ((*name).to_owned(), said.clone())).collect();
    let declared = lab.controller().declare_all(&master(), &all).expect("is kept");
    assert_eq!(declared.refused, BTreeMap::new());
    assert_eq!(declared.accepted.len(), workers.len());
}

/// A lab whose declarations outlive the controller.
fn lasting() -> (tempfile::TempDir, Lab) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut lab = Lab::without_controller(setup(), morning());
    lab.state = Some(folder.path().to_path_buf());
    lab.start();
    (folder, lab)
}

/// The declared owner's cell.
fn cell(lab: &Lab) -> CellView {
    lab.controller().cells().into_iter().find(|cell| cell.owner == OWNER).expect("it was looked at")
}

fn launched_ami(lab: &Lab) -> String {
    let last = lab.entries().into_iter().rev().find_map(|entry| match entry.body {
        Body::LaunchIntended { attempt, .. } => attempt.spec,
        _ => None,
    });
    last.expect("a launch").ami.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_declared_worker_is_launched_builds_and_goes_when_it_is_idle() {
    let mut lab = Lab::new(setup());
    declare(&lab, &[("d1", of_ami("ami-1"))]);
    lab.make_ready("d1").await;
    lab.build("d1", Some("b/1"));
    lab.run(minutes(7)).await;
    assert_eq!(lab.state("d1"), "busy");
    lab.build("d1", None);
    lab.run(minutes(5)).await;
    lab.until_nothing_is_left().await;
    assert_eq!(cell(&lab).account.as_deref(), Some("333333333333"), "what was learnt is shown");
    assert_eq!(lab.view("d1").declared_by.as_deref(), Some("m1"));
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_anew_holds_for_the_next_launch_and_disturbs_no_build() {
    let mut lab = Lab::new(setup());
    declare(&lab, &[("d1", of_ami("ami-1"))]);
    let id = lab.make_ready("d1").await;
    lab.build("d1", Some("b/1"));
    let mut other = of_ami("ami-2");
    other["image"]["instance_types"] = json!(["m7i.xlarge"]);
    other["user_data"] = json!("#!/bin/sh\necho other\n");
    other["policy"] = json!({ "idle_timeout": "20m", "max_lifetime": "6h" });
    declare(&lab, &[("d1", other)]);
    lab.run(minutes(30)).await;
    assert_eq!((lab.state("d1").as_str(), lab.instance("d1")), ("busy", id), "its build goes on");
    assert_eq!(lab.view("d1").ami.as_deref(), Some("ami-1"));
    lab.build("d1", None);
    lab.release("d1");
    lab.until_nothing_is_left().await;
    lab.make_ready("d1").await;
    assert_eq!(launched_ami(&lab), "ami-2");
    assert_eq!(lab.view("d1").instance_type.as_deref(), Some("m7i.xlarge"));
    assert_eq!(lab.view("d1").idle_timeout_s, Some(20 * 60));
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_restarts_without_the_master_goes_on_managing_its_workers() {
    let (_folder, mut lab) = lasting();
    declare(&lab, &[("d1", of_ami("ami-1"))]);
    let id = lab.make_ready("d1").await;
    lab.master.speaks = false;
    lab.crash_and_start().await;
    assert_eq!(lab.controller().declaration_warnings(), Vec::<String>::new());
    lab.run(minutes(4)).await;
    assert_eq!((lab.state("d1").as_str(), lab.instance("d1")), ("ready", id), "by its own idle_timeout");
    lab.until(minutes(5), "the idle instance of a silent master goes", |lab| lab.costing() == 0).await;
    lab.master.speaks = true;
    lab.make_ready("d1").await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_declared_no_more_is_drained_and_its_owner_known_until_then() {
    let (_folder, mut lab) = lasting();
    declare(&lab, &[("d1", of_ami("ami-1"))]);
    lab.make_ready("d1").await;
    lab.build("d1", Some("b/1"));
    declare(&lab, &[]);
    lab.run(minutes(3)).await;
    assert_eq!(lab.costing(), 1, "its build goes on");
    lab.crash_and_start().await;
    lab.run(minutes(3)).await;
    assert_eq!(lab.costing(), 1, "its build goes on after a restart");
    lab.build("d1", None);
    lab.until_nothing_is_left().await;
    assert_eq!(lab.count(|body| matches!(body, Body::DrainOrdered { cause: Cause::Unconfigured, .. })), 1);
    declare(&lab, &[("d2", of_ami("ami-2"))]);
    declare(&lab, &[]);
    let kept = std::fs::read_to_string(lab.state.as_ref().expect("a folder").join("declared/masters/m1.json"));
    assert!(!kept.expect("a file").contains(OWNER), "nothing of the owner is left to be remembered");
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_and_cannot_be_read_is_a_warning_and_the_rest_holds() {
    let (folder, mut lab) = lasting();
    declare(&lab, &[("d1", of_ami("ami-1")), ("d2", of_ami("ami-2"))]);
    lab.crash().await;
    let masters = folder.path().join("declared/masters");
    std::fs::write(masters.join("other.json"), "{ \"version\": 1, \"master\": \"hush\" ").expect("a file");
    std::fs::write(masters.join("newer.json"), "{ \"version\": 7 }").expect("a file");
    let path = masters.join("m1.json");
    let text = std::fs::read_to_string(&path).expect("a file").replace("\"ami-2\"", "\"no ami\"");
    std::fs::write(&path, text).expect("a file");
    lab.start();
    let warnings = lab.controller().declaration_warnings();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    let told = warnings.join("\n");
    for part in ["newer.json cannot be read: it has version 7", "other.json cannot be read: it is not JSON"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(told.contains("master m1, worker d2: image.ami = \"no ami\": \"no ami\" is not an AMI id"), "{told}");
    assert!(!told.contains("hush"), "{told}");
    lab.make_ready("d1").await;
    assert!(lab.controller().worker(&worker("d2")).is_none());
}

#[tokio::test(start_paused = true)]
async fn credentials_that_lead_elsewhere_after_a_restart_make_nobody_believe_that_all_is_gone() {
    let (_folder, mut lab) = lasting();
    let mut patient = of_ami("ami-1");
    patient["policy"]["idle_timeout"] = json!("2h");
    declare(&lab, &[("d1", patient)]);
    let id = lab.make_ready("d1").await;
    lab.setup = setup().credentials_lead_to(OWNER, "444444444444");
    lab.crash_and_start().await;
    lab.run(minutes(10)).await;
    assert_eq!((lab.state("d1").as_str(), lab.instance("d1")), ("ready", id), "it stays in the record");
    let failure = cell(&lab).failure.expect("it cannot be listed");
    assert_eq!(failure.code, "AccountMismatch");
    assert!(
        failure.message.contains("444444444444") && failure.message.contains("333333333333"),
        "{}",
        failure.message
    );
    lab.setup = setup();
    lab.crash_and_start().await;
    lab.release("d1");
    lab.until_nothing_is_left().await;
    lab.setup = setup().credentials_lead_to(OWNER, "444444444444");
    lab.crash_and_start().await;
    lab.make_ready("d1").await;
    lab.run(seconds(30)).await;
}

#[tokio::test(start_paused = true)]
async fn corrected_credentials_are_taken_without_a_restart_when_nothing_of_the_owner_lives() {
    let mut lab = Lab::new(setup());
    declare(&lab, &[("d1", of_ami("ami-1"))]);
    lab.make_ready("d1").await;
    lab.release("d1");
    lab.until_nothing_is_left().await;
    let mut corrected = of_ami("ami-1");
    corrected["credentials"] = json!({ "profile": "corrected" });
    corrected["policy"]["idle_timeout"] = json!("2h");
    lab.reconfigure(setup().credentials_lead_to(OWNER, "444444444444"));
    declare(&lab, &[("d1", corrected.clone())]);
    let id = lab.make_ready("d1").await;
    assert_eq!(cell(&lab).account.as_deref(), Some("444444444444"));
    // The same once more, and now something lives where those before them led to.
    corrected["credentials"] = json!({ "profile": "other" });
    lab.reconfigure(setup().credentials_lead_to(OWNER, "555555555555"));
    declare(&lab, &[("d1", corrected)]);
    lab.run(minutes(10)).await;
    assert_eq!((lab.state("d1").as_str(), lab.instance("d1")), ("ready", id), "it stays in the record");
    assert_eq!(cell(&lab).failure.map(|failure| failure.code).as_deref(), Some("AccountMismatch"));
    assert_eq!(cell(&lab).account.as_deref(), Some("444444444444"), "what was learnt holds");
}

#[tokio::test(start_paused = true)]
async fn an_ami_that_a_declared_filter_chooses_by_the_number_of_the_learnt_account_is_no_leftover() {
    let account = "111111111111";
    let mut lab = Lab::without_controller(Setup::new().credentials_lead_to(OWNER, account), morning());
    let made = [("old-1", 40), ("mid-1", 35), ("new-1", 20), ("new-2", 10)].map(|(name, age)| {
        let tags = [
            (tag_keys::FLEET, "test"),
            (tag_keys::CONTROLLER, "ctl"),
            (tag_keys::IMAGE, "debian"),
            (tag_keys::IMAGE_ORIGIN, "rebake"),
        ];
        let tags: Tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let new = NewImage { name: name.to_owned(), tags, ..NewImage::default() };
        let at = morning() - TimeDelta::days(age);
        lab.world(|site| site.register_image(new, "x86_64", "/dev/sda1", Vec::new(), at).expect("registers").id.clone())
    });
    lab.start();
    let mut said = of_ami("ami-1");
    said["image"] = json!({
        "region": "us-west-2",
        "ami_owners": [account],
        "ami_location": format!("{account}/old-([0-9]+)"),
        "instance_types": ["m7i.large"],
    });
    declare(&lab, &[("d1", said)]);
    lab.run(minutes(5)).await;
    let left: Vec<String> = cell(&lab).leftovers.into_iter().map(|finding| finding.id).collect();
    assert_eq!(left, [made[1].clone()], "the old one is chosen, the one after it is superseded");
}
