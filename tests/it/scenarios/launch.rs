//! Launches that are refused: elsewhere, later, or a person must act. Every request gets its answer.

use latent::model::{Body, FailureKind, InstanceState, Place};

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds};
use crate::setup::Setup;

const NO_CAPACITY: Fault = Fault::Refuse(FailureKind::Elsewhere, "InsufficientInstanceCapacity");

fn two_zones() -> Setup {
    Setup::new().image("debian", "alice", "us-west-2", "zones = [\"us-west-2a\", \"us-west-2b\"]")
}

fn zones(lab: &Lab) -> Vec<String> {
    let intended = lab.entries().into_iter().filter_map(|entry| match entry.body {
        Body::LaunchIntended { attempt, .. } => attempt.spec,
        _ => None,
    });
    let place = |place: &Place| place.to_string();
    intended.map(|spec| place(&spec.offering.place)).collect()
}

fn tokens(lab: &Lab) -> std::collections::BTreeSet<String> {
    let intended = lab.entries().into_iter().filter_map(|entry| match entry.body {
        Body::LaunchIntended { attempt, .. } => attempt.spec,
        _ => None,
    });
    intended.map(|spec| spec.token().to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_place_without_capacity_is_followed_by_the_next_under_a_new_token() {
    let mut lab = Lab::new(two_zones());
    lab.inject(ApiCall::Launch, &NO_CAPACITY, 1);
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    assert_eq!(zones(&lab), ["us-west-2a", "us-west-2b"]);
    assert_eq!(tokens(&lab).len(), 2);
    assert!(lab.now() - lab.entries()[0].at < seconds(10), "without a pause");
}

#[tokio::test(start_paused = true)]
async fn a_place_without_capacity_is_remembered_for_a_while() {
    let mut lab = Lab::new(two_zones().policy("offering_memory = \"5m\""));
    lab.inject(ApiCall::Launch, &NO_CAPACITY, 1);
    lab.make_ready("w1").await;
    lab.release("w1");
    lab.until_nothing_is_left().await;
    lab.make_ready("w1").await;
    assert_eq!(zones(&lab), ["us-west-2a", "us-west-2b", "us-west-2b"]);
    lab.release("w1");
    lab.run(minutes(5)).await;
    lab.make_ready("w1").await;
    assert_eq!(zones(&lab).last().map(String::as_str), Some("us-west-2a"), "asked again when the time is over");
}

#[tokio::test(start_paused = true)]
async fn what_had_no_capacity_is_remembered_across_a_restart() {
    let mut lab = Lab::new(two_zones());
    lab.inject(ApiCall::Launch, &NO_CAPACITY, 1);
    lab.make_ready("w1").await;
    lab.release("w1");
    lab.until_nothing_is_left().await;
    lab.crash_and_start().await;
    lab.make_ready("w1").await;
    assert_eq!(zones(&lab).last().map(String::as_str), Some("us-west-2b"));
}

#[tokio::test(start_paused = true)]
async fn the_second_market_comes_after_every_place_of_the_first() {
    let lines = "zones = [\"us-west-2a\", \"us-west-2b\"]\nmarket = [\"spot\", \"on-demand\"]";
    let mut lab = Lab::new(Setup::new().image("debian", "alice", "us-west-2", lines));
    lab.inject(ApiCall::Launch, &NO_CAPACITY, 2);
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    assert_eq!(zones(&lab), ["us-west-2a", "us-west-2b", "us-west-2a"]);
    assert_eq!(lab.view("w1").market.as_deref(), Some("on-demand"));
}

#[tokio::test(start_paused = true)]
async fn without_capacity_anywhere_the_request_fails_at_its_deadline() {
    let policy = "launch_deadline = \"8m\"\noffering_memory = \"2m\"";
    let mut lab = Lab::new(two_zones().policy(policy));
    lab.inject(ApiCall::Launch, &NO_CAPACITY, 50);
    lab.request("w1");
    lab.run(minutes(1)).await;
    assert!(lab.held("w1").starts_with("no capacity anywhere until"), "{}", lab.held("w1"));
    lab.run(minutes(6)).await;
    assert!(lab.failure("w1").is_none(), "not before its deadline");
    lab.until(minutes(2), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("launch no capacity here NoCapacity"));
    assert!(lab.now() - lab.entries()[0].at <= minutes(8) + seconds(1));
    assert!((4..=8).contains(&zones(&lab).len()), "each place a few times: {:?}", zones(&lab));
    let launches = lab.calls(ApiCall::Launch);
    lab.run(minutes(60)).await;
    assert_eq!((lab.calls(ApiCall::Launch), lab.launched()), (launches, 0), "nobody waits");
}

#[tokio::test(start_paused = true)]
async fn a_full_quota_answers_at_once_and_the_next_request_waits_for_the_pause() {
    let mut lab = Lab::new(Setup::new().policy("retry_pause = \"2m\""));
    lab.inject(ApiCall::Launch, &Fault::Refuse(FailureKind::Quota, "VcpuLimitExceeded"), 1);
    lab.request("w1");
    lab.until(seconds(10), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("launch quota VcpuLimitExceeded"));
    assert!(!lab.view("w1").failure.is_some_and(|failure| failure.fatal));
    lab.request("w1");
    lab.run(minutes(1)).await;
    assert!(lab.held("w1").starts_with("next try at"), "{}", lab.held("w1"));
    assert_eq!(lab.calls(ApiCall::Launch), 1);
    lab.until_state("w1", "registering").await;
}

#[tokio::test(start_paused = true)]
async fn a_request_is_held_through_the_pause_and_answered_at_its_deadline_with_what_the_pause_is_for() {
    let policy = "retry_pause = \"20m\"\nlaunch_deadline = \"8m\"";
    let mut lab = Lab::new(Setup::new().policy(policy));
    lab.inject(ApiCall::Launch, &Fault::Refuse(FailureKind::Quota, "VcpuLimitExceeded"), 1);
    lab.request("w1");
    lab.until(seconds(10), "an answer", |lab| lab.failure("w1").is_some()).await;
    lab.request("w1");
    lab.run(minutes(7)).await;
    assert_eq!((lab.failure("w1"), lab.view("w1").waiting), (None, true), "held, not failed");
    lab.until(minutes(2), "an answer", |lab| lab.failure("w1").is_some()).await;
    let failure = lab.view("w1").failure.expect("a failure");
    assert_eq!(lab.failure("w1").as_deref(), Some("launch quota VcpuLimitExceeded"));
    assert!(!failure.fatal && failure.message.contains("next try at") && failure.cure.contains("quota"), "{failure:?}");
    assert_eq!(lab.calls(ApiCall::Launch), 1);
}

/// What only a person can mend is said at once, and EC2 is not asked again during the pause.
async fn needs_a_person(kind: FailureKind, code: &'static str, said: &str) {
    let mut lab = Lab::new(Setup::new().policy("retry_pause = \"5m\""));
    lab.inject(ApiCall::Launch, &Fault::Refuse(kind, code), 1);
    lab.request("w1");
    lab.until(seconds(10), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some(said));
    assert!(lab.view("w1").failure.is_some_and(|failure| failure.fatal));
    for _ in 0..3 {
        lab.run(minutes(1)).await;
        lab.request("w1");
        lab.run(seconds(1)).await;
        assert_eq!(lab.failure("w1").as_deref(), Some(said), "from memory");
    }
    assert_eq!(lab.calls(ApiCall::Launch), 1);
    lab.run(minutes(5)).await;
    lab.request("w1");
    lab.until_state("w1", "registering").await;
}

#[tokio::test(start_paused = true)]
async fn what_only_a_person_can_mend_is_answered_at_once_and_not_tried_during_the_pause() {
    needs_a_person(FailureKind::Owner, "InvalidAMIID.NotFound", "launch owner must fix InvalidAMIID.NotFound").await;
    needs_a_person(FailureKind::Credentials, "AuthFailure", "launch credentials AuthFailure").await;
    needs_a_person(FailureKind::Bug, "InvalidClientToken", "launch our bug InvalidClientToken").await;
}

#[tokio::test(start_paused = true)]
async fn a_corrected_manifest_is_tried_at_once() {
    let mut lab = Lab::new(Setup::new().policy("retry_pause = \"20m\""));
    lab.inject(ApiCall::Launch, &Fault::Refuse(FailureKind::Owner, "InvalidAMIID.NotFound"), 1);
    lab.request("w1");
    lab.until(seconds(10), "an answer", |lab| lab.failure("w1").is_some()).await;
    let corrected = Setup::new().image_of("debian", "alice", "us-west-2", "ami-corrected", "\"m7i.large\"", "");
    lab.reconfigure(corrected);
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    assert!(lab.now() - lab.entries()[0].at < minutes(1));
}

#[tokio::test(start_paused = true)]
async fn a_throttled_launch_keeps_its_token_and_is_not_read_as_a_lack_of_capacity() {
    let mut lab = Lab::new(two_zones());
    lab.inject(ApiCall::Launch, &Fault::Refuse(FailureKind::Throttled, "RequestLimitExceeded"), 4);
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    assert_eq!((zones(&lab), tokens(&lab).len()), (vec!["us-west-2a".to_owned()], 1));
    assert!(lab.fleet().offerings.is_empty());
    assert!(lab.now() - lab.entries()[0].at > seconds(5), "it slowed down");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_never_connects_fails_its_request_and_costs_no_more() {
    let mut lab = Lab::new(Setup::new().policy("connect_deadline = \"5m\"\nretry_pause = \"1m\""));
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    let id = lab.instance("w1");
    lab.until(minutes(6), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("connect worker never connected NeverConnected"));
    lab.until_nothing_is_left().await;
    assert_eq!(lab.instance_state(&id), InstanceState::Terminated);
    assert_eq!(lab.state("w1"), "gone");
}

/// The time from a request to the intent of its launch.
async fn pause_before_launch(lab: &mut Lab) -> i64 {
    let before = zones(lab).len();
    let asked = lab.now();
    lab.request("w1");
    lab.until(minutes(20), "a launch", |lab| zones(lab).len() > before).await;
    (lab.now() - asked).num_seconds()
}

#[tokio::test(start_paused = true)]
async fn the_pause_doubles_with_each_failure_to_connect_and_a_connection_ends_it() {
    let mut lab = Lab::new(Setup::new().policy("connect_deadline = \"2m\"\nretry_pause = \"2m\""));
    let mut pauses = Vec::new();
    for _ in 0..4 {
        pauses.push(pause_before_launch(&mut lab).await);
        lab.until(minutes(4), "an answer", |lab| lab.failure("w1").is_some()).await;
    }
    let bounds = [(0, 2), (118, 121), (238, 241), (478, 481)];
    for (pause, (least, most)) in pauses.iter().zip(bounds) {
        assert!((least..=most).contains(pause), "{pauses:?}");
    }
    lab.run(minutes(20)).await;
    lab.make_ready("w1").await;
    lab.release("w1");
    lab.until_nothing_is_left().await;
    assert!(pause_before_launch(&mut lab).await <= 2);
}

#[tokio::test(start_paused = true)]
async fn the_fleets_limit_holds_back_and_says_so() {
    let setup =
        Setup::new().fleet("instances_max = 1").image("fedora", "alice", "us-west-2", "").worker("w2", "fedora");
    let mut lab = Lab::new(setup);
    lab.make_ready("w1").await;
    lab.request("w2");
    lab.run(minutes(1)).await;
    assert_eq!((lab.held("w2").as_str(), lab.costing()), ("instances_max = 1 reached", 1));
    lab.release("w1");
    lab.until_state("w2", "registering").await;
}

#[tokio::test(start_paused = true)]
async fn the_fleets_limit_fails_the_request_at_its_deadline() {
    let setup =
        Setup::new().fleet("instances_max = 1").image("fedora", "alice", "us-west-2", "").worker("w2", "fedora");
    let mut lab = Lab::new(setup.policy("launch_deadline = \"3m\""));
    lab.make_ready("w1").await;
    lab.build("w1", Some("builder/1"));
    lab.request("w2");
    lab.until(minutes(4), "an answer", |lab| lab.failure("w2").is_some()).await;
    assert_eq!(lab.failure("w2").as_deref(), Some("launch quota FleetFull"));
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_requests_is_paced_and_all_are_met() {
    let mut setup = Setup::new();
    for number in 2..=12 {
        let image = format!("image{number}");
        setup = setup.image(&image, "alice", "us-west-2", "").worker(&format!("w{number}"), &image);
    }
    let mut lab = Lab::new(setup);
    let names: Vec<String> = (1..=12).map(|number| format!("w{number}")).collect();
    for name in &names {
        lab.request(name);
    }
    lab.run(seconds(2)).await;
    assert!(lab.calls(ApiCall::Launch) <= 5 + 2 * 2, "no faster than EC2 takes: {}", lab.calls(ApiCall::Launch));
    lab.until(minutes(1), "all", |lab| names.iter().all(|name| lab.state(name) == "registering")).await;
    assert_eq!(lab.costing(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_release_while_a_launch_is_on_its_way_leaves_nothing() {
    for fault in [None, Some(Fault::LoseReply), Some(Fault::Hang), Some(NO_CAPACITY)] {
        let mut lab = Lab::new(Setup::new());
        if let Some(fault) = &fault {
            lab.inject(ApiCall::Launch, fault, 1);
        }
        lab.request("w1");
        lab.until_state("w1", "launching").await;
        lab.release("w1");
        lab.until(minutes(8), "gone", |lab| lab.state("w1") == "gone").await;
        lab.until_nothing_is_left().await;
        lab.run(minutes(30)).await;
        assert_eq!((lab.costing(), lab.state("w1").as_str()), (0, "gone"), "{fault:?}");
        assert!(lab.launched() <= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_made_again_while_the_old_launch_is_open_uses_it() {
    let mut lab = Lab::new(Setup::new());
    lab.inject(ApiCall::Launch, &Fault::Hang, 1);
    lab.request("w1");
    lab.until_state("w1", "launching").await;
    lab.release("w1");
    lab.run(seconds(45)).await;
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    assert_eq!((tokens(&lab).len(), lab.launched()), (1, 1));
}
