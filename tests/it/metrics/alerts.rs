//! Every alert of docs/prometheus/latent.rules.yml is made to fire by what it is for, fires then and alone, and
//! not before and not for ever after.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use latent::control::RebakeView;
use latent::model::{Actor, FailureKind, GuestStep, Outcome};
use latent::sim::run::rebake::{Case, House, Manner};
use latent::sim::{Tags, Volume};

use super::story::{RULES, Story};
use super::tools::{file, promtool, words};
use crate::account::{ApiCall, Fault};
use crate::harness::{LedgerFaults, minutes, seconds, worker};
use crate::setup::Setup;

/// More than will be met.
const ALWAYS: usize = 100_000;

fn refusal(kind: FailureKind, code: &'static str) -> Fault {
    Fault::Refuse(kind, code)
}

/// A worker that is there for as long as the story.
fn patient() -> Setup {
    Setup::new().policy("idle_timeout = \"never\"\nmax_lifetime = \"20d\"")
}

#[test]
fn promtool_finds_no_fault_in_the_rules() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/prometheus/latent.rules.yml");
    if let Some(checked) = promtool(&["check", "rules", path]) {
        assert!(checked.status.success(), "{}", words(&checked));
    }
}

#[test]
fn every_alert_has_a_story_and_says_what_to_do() {
    let (rules, stories) = (file(RULES), file("tests/it/metrics/alerts.rs"));
    let named: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(named.len() >= 16, "{named:?}");
    assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), named.len(), "each once");
    for alert in &named {
        assert!(stories.contains(&format!("\"{alert}\"")), "no story makes {alert} fire");
    }
    for word in ["summary: ", "description: ", "runbook: ", "labels: {severity: "] {
        assert_eq!(rules.matches(word).count(), named.len(), "each alert has {word}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_calm_day_is_silent() {
    let mut story = Story::new(
        Setup::new().image("fedora", "alice", "us-west-2", "").worker("w2", "fedora").policy("idle_timeout = \"2m\""),
    );
    for round in 0..12 {
        story.build("w1", seconds(60), seconds(5)).await;
        if round % 3 == 0 {
            // One that fails now and then is no reason to wake anybody.
            story.lab.inject(ApiCall::Launch, &refusal(FailureKind::RetrySame, "InternalError"), 1);
            story.build("w2", seconds(90), seconds(5)).await;
        }
        story.run(minutes(10)).await;
    }
    story.fires([]);
    story.holds(&[]);
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_ends_is_missed() {
    let mut story = Story::new(Setup::new());
    story.run(minutes(10)).await;
    story.fires([]);
    story.lab.crash().await;
    story.run(minutes(4)).await;
    story.fires([]);
    story.run(minutes(4)).await;
    story.fires(["LatentDown"]);
    story.lab.start();
    story.run(minutes(5)).await;
    story.fires([]);
    story.holds(&["no latent controller"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_be_launched() {
    let mut story = Story::new(Setup::new());
    story.run(minutes(5)).await;
    story.fires([]);
    story.lab.inject(ApiCall::Launch, &refusal(FailureKind::Owner, "InvalidGroup.NotFound"), 1);
    story.lab.request("w1");
    story.run(minutes(2)).await;
    assert!(story.lab.failure("w1").is_some(), "{}", story.lab.story());
    story.fires(["LatentWorkerCannotLaunch"]);
    story.run(minutes(35)).await;
    story.fires([]);
    story.holds(&["w1 cannot be launched (owner)"]);
}

#[tokio::test(start_paused = true)]
async fn launches_that_fail_in_most_places() {
    let mut story = Story::new(Setup::new().image_of(
        "debian",
        "alice",
        "us-west-2",
        "ami-debian",
        "\"m7i.large\", \"m7i.xlarge\"",
        "zones = [\"us-west-2a\", \"us-west-2b\"]",
    ));
    story.run(minutes(5)).await;
    story.lab.inject(ApiCall::Launch, &refusal(FailureKind::Elsewhere, "InsufficientInstanceCapacity"), 3);
    story.lab.request("w1");
    story.run(minutes(2)).await;
    story.lab.connect("w1");
    story.run(minutes(1)).await;
    story.fires(["LatentLaunchesFailing"]);
    story.run(minutes(35)).await;
    story.fires([]);
    story.holds(&["Most launches of debian fail (elsewhere)", "3 launches of image debian"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_never_connects() {
    let mut story = Story::new(Setup::new());
    story.run(minutes(5)).await;
    story.lab.request("w1");
    story.run(minutes(14)).await;
    story.fires([]);
    story.run(minutes(5)).await;
    story.fires(["LatentWorkerNeverConnects"]);
    story.lab.release("w1");
    story.run(minutes(65)).await;
    story.fires([]);
    story.holds(&["w1 does not connect (not_connected)"]);
}

fn leftover(story: &Story) -> String {
    let own = [("latent:fleet", "f"), ("latent:controller", "ctl"), ("latent:worker", "w1")];
    let fleet = story.lab.setup.intent().fleet;
    let mut tags: Tags = own.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    tags.insert("latent:fleet".to_owned(), fleet.name);
    tags.insert("latent:controller".to_owned(), fleet.controller);
    let created = story.lab.now();
    story.lab.world(|site| {
        let volume = Volume::lone(&site.network.zones[0], 10, tags, created);
        site.create_volume(volume).expect("a zone").id.clone()
    })
}

#[tokio::test(start_paused = true)]
async fn a_leftover_is_found_and_goes() {
    let mut story = Story::new(Setup::new());
    let id = leftover(&story);
    story.run(minutes(25)).await;
    story.fires([]);
    let mut found = 0;
    while story.lab.world(|site| site.volumes.contains_key(&id)) {
        story.run(minutes(1)).await;
        found += usize::from(story.lab.controller().cells().iter().any(|cell| !cell.leftovers.is_empty()));
        if found == 2 {
            story.fires(["LatentLeftoverFound"]);
        }
    }
    assert!(found >= 2, "{}", story.lab.story());
    story.run(minutes(40)).await;
    story.fires([]);
    story.holds(&["Left over in alice/us-west-2: volume-available"]);
}

#[tokio::test(start_paused = true)]
async fn a_leftover_that_may_not_be_taken_away_stays() {
    let mut story = Story::scraped_every(Setup::new(), seconds(60));
    leftover(&story);
    story.lab.inject(ApiCall::DeleteVolume, &refusal(FailureKind::Credentials, "UnauthorizedOperation"), ALWAYS);
    story.run_by(minutes(120), seconds(30)).await;
    story.fires(["LatentLeftoverFound"]);
    story.run_by(minutes(150), seconds(30)).await;
    story.fires(["LatentLeftoverFound", "LatentLeftoverStays"]);
    story.lab.heal();
    story.run_by(minutes(7 * 60), seconds(60)).await;
    story.fires([]);
    story.holds(&["A leftover stays in alice/us-west-2"]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_will_not_end() {
    let mut story = Story::new(Setup::new());
    story.lab.make_ready("w1").await;
    story.lab.inject(ApiCall::Terminate, &refusal(FailureKind::Owner, "OperationNotPermitted"), ALWAYS);
    story.lab.release("w1");
    story.run(minutes(29)).await;
    story.fires([]);
    story.run(minutes(5)).await;
    story.fires(["LatentInstanceWillNotEnd"]);
    story.lab.heal();
    story.run(minutes(15)).await;
    story.fires([]);
    story.holds(&["An instance in alice/us-west-2 does not end"]);
}

#[tokio::test(start_paused = true)]
async fn leases_that_are_not_renewed() {
    let mut story = Story::new(patient());
    story.lab.make_ready("w1").await;
    story.run(minutes(60)).await;
    story.fires([]);
    story.lab.inject(ApiCall::Renew, &refusal(FailureKind::RetrySame, "InternalError"), ALWAYS);
    let mut waited = 0;
    while story.lab.now() < story.lab.view("w1").lease.expect("a lease") - minutes(12) {
        story.run(minutes(1)).await;
        waited += 1;
    }
    assert!(waited > 5);
    story.fires(["LatentLeaseNearlyOut"]);
    story.lab.heal();
    story.run(minutes(10)).await;
    story.fires([]);
    story.holds(&["Leases in alice/us-west-2 are not renewed"]);
}

#[tokio::test(start_paused = true)]
async fn a_cell_that_cannot_be_listed_and_then_is_not_swept() {
    let mut story = Story::new(Setup::new());
    story.run(minutes(20)).await;
    story.lab.inject(ApiCall::Inventory, &Fault::Unreachable, ALWAYS);
    story.run(minutes(13)).await;
    story.fires([]);
    story.run(minutes(7)).await;
    story.fires(["LatentCellNotListed"]);
    story.run(minutes(60)).await;
    story.fires(["LatentCellNotListed", "LatentSweepOverdue"]);
    story.lab.heal();
    story.run(minutes(30)).await;
    story.fires([]);
    story.holds(&["alice/us-west-2 cannot be listed", "alice/us-west-2 has not been swept"]);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_that_does_not_go_away() {
    let mut story = Story::new(Setup::new());
    story.run(minutes(5)).await;
    for _ in 0..30 {
        story.lab.inject(ApiCall::Inventory, &refusal(FailureKind::Throttled, "RequestLimitExceeded"), 1);
        story.run(minutes(1)).await;
    }
    story.fires(["LatentThrottled"]);
    story.run(minutes(12)).await;
    story.fires([]);
    story.lab.inject(ApiCall::Inventory, &refusal(FailureKind::Throttled, "RequestLimitExceeded"), 2);
    story.run(minutes(20)).await;
    story.fires([]);
    story.holds(&["EC2 throttles DescribeInstances of alice/us-west-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_costs_too_much() {
    let mut setup = patient();
    for number in 1..=18 {
        let name = format!("w{number}");
        setup = setup.image_of(&name, "alice", "us-west-2", "ami-1", "\"c6a.4xlarge\"", "").worker(&name, &name);
    }
    let mut story = Story::scraped_every(setup, seconds(60));
    story.run(minutes(5)).await;
    for number in 1..=18 {
        story.lab.request(&format!("w{number}"));
    }
    story.run_by(minutes(4), seconds(20)).await;
    for number in 1..=18 {
        story.lab.connect(&format!("w{number}"));
    }
    story.run_by(minutes(10), seconds(20)).await;
    story.fires([]);
    story.run_by(minutes(10), seconds(20)).await;
    story.fires(["LatentCostHigh"]);
    for number in 1..=3 {
        story.lab.release(&format!("w{number}"));
    }
    story.run_by(minutes(10), seconds(20)).await;
    story.fires([]);
    story.holds(&["The fleet costs up to $11.02 per hour"]);
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_cannot_be_written() {
    let mut story = Story::new(Setup::new());
    let id = story.lab.make_ready("w1").await;
    story.run(minutes(10)).await;
    story.fires([]);
    story.lab.ledger.fail(LedgerFaults { write: true, read: false });
    let request = "r-new".parse().expect("an id");
    let refused = story.lab.controller().request(&Actor::Operator, &worker("w1"), &request);
    assert!(refused.is_err(), "{id} stays as it is");
    story.lab.master.speaks = false;
    story.run(minutes(5)).await;
    story.fires(["LatentLedgerNotWritten"]);
    story.lab.ledger.fail(LedgerFaults::default());
    story.lab.master.speaks = true;
    story.lab.build("w1", Some("b/1"));
    story.run(minutes(5)).await;
    story.fires([]);
    story.holds(&["latent cannot write its ledger"]);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_may_not_see_everything() {
    let mut story = Story::new(Setup::new());
    story.lab.inject(ApiCall::Addresses, &refusal(FailureKind::Credentials, "UnauthorizedOperation"), ALWAYS);
    story.run(minutes(50)).await;
    story.fires([]);
    story.run(minutes(30)).await;
    story.fires(["LatentSweepBlind"]);
    story.lab.heal();
    story.run(minutes(30)).await;
    story.fires([]);
    story.holds(&["1 kinds of resources"]);
}

/// A rebake that was played to its end.
async fn rebake(case: Case) -> RebakeView {
    let house = House::new(case, |_, _| ());
    house.to_the_end(None).await.unwrap_or_else(|what| panic!("{what}\n{}", house.story()));
    RebakeView::of(&house.record().expect("folds"), None)
}

#[tokio::test(start_paused = true)]
async fn a_rebake_that_fails() {
    let failed = rebake(Case { manner: Manner::Fails(GuestStep::Quiesce), ..Case::default() }).await;
    assert!(matches!(failed.outcome, Some(Outcome::Failed { .. })), "{failed:?}");
    let mut done = rebake(Case::default()).await;
    done.ordered_at = failed.ordered_at + TimeDelta::hours(1);
    let mut story = Story::new(Setup::new().image("linux", "alice", "us-west-2", "").worker("w2", "linux"));
    story.run(minutes(5)).await;
    story.fires([]);
    story.rebakes.push(failed);
    story.run(minutes(5)).await;
    story.fires(["LatentRebakeFailed"]);
    story.rebakes.push(done);
    story.run(minutes(5)).await;
    story.fires([]);
    story.holds(&["The last rebake of linux failed"]);
}

#[tokio::test(start_paused = true)]
async fn workers_that_boot_slower_than_before() {
    let mut story = Story::scraped_every(Setup::new().policy("idle_timeout = \"2m\""), seconds(300));
    let step = seconds(20);
    for _ in 0..12 {
        story.build("w1", seconds(120), step).await;
        story.run_by(minutes(80), seconds(60)).await;
    }
    story.fires([]);
    for _ in 0..4 {
        story.build("w1", seconds(480), step).await;
        story.run_by(minutes(70), seconds(60)).await;
    }
    story.fires(["LatentBootSlower"]);
    story.holds(&["Workers of debian boot slower than they did"]);
}
