//! Accounts: whose they are, what is not ours in them, and that one never waits for another.

use chrono::TimeDelta;
use latent::model::{Body, FailureKind, tag_keys};

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds};
use crate::setup::Setup;

fn two_owners() -> Setup {
    Setup::new().owner("bob", "222222222222").image("fedora", "bob", "us-west-2", "").worker("w2", "fedora")
}

#[tokio::test(start_paused = true)]
async fn in_an_account_that_is_not_the_configured_one_nothing_is_done() {
    let mut lab = Lab::new(Setup::new().credentials_lead_to("alice", "999999999999"));
    let theirs = lab.plant("w1", "theirs-1", |_| {});
    lab.request("w1");
    lab.until(seconds(10), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("launch credentials AccountMismatch"));
    let message = lab.view("w1").failure.map(|failure| failure.message).unwrap_or_default();
    assert!(message.contains("999999999999") && message.contains("111111111111"), "{message}");
    lab.run(minutes(60)).await;
    assert!(lab.instance_state(&theirs).is_live());
    for call in [ApiCall::Inventory, ApiCall::Launch, ApiCall::Terminate, ApiCall::Stop, ApiCall::Renew] {
        assert_eq!(lab.calls(call), 0, "{call:?}");
    }
    assert!(lab.calls(ApiCall::Account) < 80, "it asks ever less often: {}", lab.calls(ApiCall::Account));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_is_shown_and_never_touched() {
    let mut lab = Lab::new(Setup::new());
    let theirs = [
        lab.plant("w1", "a-1", |tags| {
            tags.set(tag_keys::CONTROLLER, "another").set(tag_keys::WORKER, "their-own");
        }),
        lab.plant("w1", "a-2", |tags| {
            tags.set(tag_keys::FLEET, "another");
        }),
        lab.plant("w1", "a-3", |tags| {
            tags.set(tag_keys::ROLE, "rebake");
        }),
        lab.plant("w1", "a-4", |tags| {
            tags.set(tag_keys::WORKER, "not a name");
        }),
        lab.plant("w1", "a-5", |tags| {
            tags.set(tag_keys::ATTEMPT, "");
        }),
        lab.plant("w1", "a-6", |tags| {
            let fleet = tags.iter().filter(|(key, _)| *key == tag_keys::FLEET);
            let fleet = fleet.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            *tags = fleet;
        }),
    ];
    lab.make_ready("w1").await;
    lab.run(minutes(60)).await;
    lab.release("w1");
    lab.until(minutes(1), "gone", |lab| lab.state("w1") == "gone").await;
    lab.run(minutes(60)).await;
    for id in &theirs {
        assert!(lab.instance_state(id).is_live(), "{id}");
    }
    let shown = lab.controller().cells().into_iter().flat_map(|cell| cell.strange).count();
    assert_eq!(shown, theirs.len() - 1, "each is shown with its reason; another fleet's is in no listing of ours");
}

#[tokio::test(start_paused = true)]
async fn the_hanging_calls_of_one_owner_delay_no_other() {
    let mut lab = Lab::new(two_owners());
    for call in [ApiCall::Inventory, ApiCall::Launch] {
        lab.inject(call, &Fault::Hang, 20);
    }
    lab.request("w1");
    lab.request("w2");
    lab.run(seconds(3)).await;
    assert_eq!(lab.state("w2"), "registering");
    assert_eq!(lab.state("w1"), "requested");
}

/// Half an hour in which both owners' workers are wanted again and again, while every call to alice's account is
/// refused with this code: how long bob's worker took each time, and how often his account was listed.
async fn half_an_hour_of_bob(refused: Option<(FailureKind, &'static str)>) -> (Vec<TimeDelta>, usize) {
    let mut lab = Lab::new(two_owners());
    if let Some((kind, code)) = refused {
        for call in [ApiCall::Account, ApiCall::Inventory, ApiCall::Launch] {
            lab.inject(call, &Fault::Refuse(kind, code), 5000);
        }
    }
    let end = lab.now() + minutes(30);
    let mut waits = Vec::new();
    while lab.now() < end {
        let asked = lab.now();
        lab.request("w1");
        lab.request("w2");
        lab.until_state("w2", "registering").await;
        waits.push(lab.now() - asked);
        lab.release("w1");
        lab.release("w2");
        lab.until(minutes(5), "an end", |lab| lab.state("w2") == "gone").await;
        lab.run(minutes(5)).await;
    }
    assert_eq!(lab.world(|site| site.ever().count()) == 0, refused.is_some(), "alice has the trouble, and nobody else");
    (waits, lab.calls_of("bob", "us-west-2", ApiCall::Inventory))
}

#[tokio::test(start_paused = true)]
async fn an_owner_whose_every_call_is_refused_costs_the_others_no_second() {
    let (healthy, listings) = half_an_hour_of_bob(None).await;
    for (kind, code) in [
        (FailureKind::Credentials, "AuthFailure"),
        (FailureKind::Credentials, "UnauthorizedOperation"),
        (FailureKind::Throttled, "RequestLimitExceeded"),
    ] {
        let (waits, listed) = half_an_hour_of_bob(Some((kind, code))).await;
        assert_eq!(waits.len(), healthy.len(), "{code}");
        for (wait, usual) in waits.iter().zip(&healthy) {
            assert!((*wait - *usual).abs() <= seconds(1), "{code}: {wait} for {usual}");
        }
        assert!(listed.abs_diff(listings) <= listings / 20, "{code}: {listed} listings for {listings}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_bad_credentials_of_one_owner_are_told_to_his_masters_only() {
    let mut lab = Lab::new(two_owners().credentials_lead_to("alice", "999999999999"));
    lab.request("w1");
    lab.request("w2");
    lab.until_state("w2", "registering").await;
    lab.until(seconds(10), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("launch credentials AccountMismatch"));
    assert!(lab.failure("w2").is_none());
}

#[tokio::test(start_paused = true)]
async fn credentials_that_fail_for_a_moment_fail_no_request() {
    let mut lab = Lab::new(Setup::new());
    lab.inject(ApiCall::Inventory, &Fault::Refuse(FailureKind::Credentials, "AuthFailure"), 2);
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    assert_eq!(lab.failure("w1"), None);
}

#[tokio::test(start_paused = true)]
async fn the_credentials_of_a_new_configuration_are_used_at_once() {
    let mut lab = Lab::new(Setup::new().owner("alice", "999999999999").credentials_lead_to("alice", "111111111111"));
    lab.request("w1");
    lab.until(seconds(10), "a refusal", |lab| lab.failure("w1").is_some()).await;
    lab.reconfigure(Setup::new());
    lab.request("w1");
    lab.until_state("w1", "registering").await;
}

#[tokio::test(start_paused = true)]
async fn an_absence_is_believed_only_in_an_account_that_was_asked_for_anew() {
    let mut lab = Lab::new(Setup::new().policy("absence_grace = \"3m\"\nidle_timeout = \"never\""));
    let id = lab.make_ready("w1").await;
    lab.run(minutes(10)).await;
    let (asked, refusals) = (lab.calls(ApiCall::Account), 20);
    assert_eq!(asked, 1, "while nothing is missing, the first answer holds");
    lab.world(|site| site.hide(&id, true));
    lab.inject(ApiCall::Account, &Fault::Refuse(FailureKind::Credentials, "AuthFailure"), refusals);
    let since = lab.now();
    lab.until(minutes(60), "all refusals", |lab| lab.calls(ApiCall::Account) == asked + refusals).await;
    assert!(lab.now() - since > minutes(5), "long after listings alone would have been believed");
    assert_eq!((lab.state("w1").as_str(), lab.instance("w1")), ("ready", id));
    let failure = lab.controller().cells().remove(0).failure.expect("nobody knows whose account it is");
    assert_eq!(failure.code, "AuthFailure");
    lab.until(minutes(10), "gone", |lab| lab.state("w1") == "gone").await;
    assert_eq!(lab.count(|body| matches!(body, Body::Lost { .. })), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_changes_its_name_does_not_disown_what_lives() {
    let mut lab = Lab::new(Setup::new());
    lab.make_ready("w1").await;
    let mut renamed = Setup::new().intent();
    renamed.fleet.name = "renamed".to_owned();
    let refused = lab.try_reconfigure(renamed).expect_err("it would be forgotten");
    assert!(refused.to_string().contains("test/ctl"), "{refused}");
    lab.run(minutes(5)).await;
    assert_eq!((lab.state("w1").as_str(), lab.costing()), ("ready", 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_although_its_account_cannot_be_listed() {
    let mut lab = Lab::new(Setup::new().policy("launch_deadline = \"3m\""));
    lab.inject(ApiCall::Inventory, &Fault::Unreachable, 200);
    lab.request("w1");
    lab.until(minutes(4), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("launch no answer NoListing"));
    assert_eq!(lab.launched(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_owner_who_is_no_longer_configured_stops_nothing_else() {
    let mut lab = Lab::new(two_owners());
    lab.make_ready("w2").await;
    lab.shutdown().await;
    lab.setup = Setup::new();
    lab.start();
    let calls = lab.calls_of("bob", "us-west-2", ApiCall::Inventory);
    lab.make_ready("w1").await;
    lab.run(minutes(5)).await;
    assert_eq!(lab.calls_of("bob", "us-west-2", ApiCall::Inventory), calls, "without its owner, not a call");
    assert_eq!(lab.state("w2"), "ready", "and it is still shown");
    lab.reconfigure(two_owners());
    lab.run(minutes(2)).await;
    assert!(lab.calls_of("bob", "us-west-2", ApiCall::Inventory) > calls, "put back, it is looked after again");
}

#[tokio::test(start_paused = true)]
async fn a_new_worker_of_a_new_owner_works_without_a_restart() {
    let mut lab = Lab::new(Setup::new());
    lab.make_ready("w1").await;
    lab.build("w1", Some("builder/1"));
    lab.reconfigure(two_owners());
    lab.make_ready("w2").await;
    assert_eq!(lab.state("w1"), "busy");
}

#[tokio::test(start_paused = true)]
async fn two_owners_of_one_account_leave_each_others_instances_alone() {
    let setup = Setup::new().policy("idle_timeout = \"never\"").owner("bob", "111111111111");
    let mut lab = Lab::new(setup.image("bobs", "bob", "us-west-2", "").worker("w2", "bobs"));
    let (first, second) = (lab.make_ready("w1").await, lab.make_ready("w2").await);
    lab.run(minutes(20)).await;
    assert_eq!((lab.state("w1"), lab.state("w2")), ("ready".to_owned(), "ready".to_owned()), "{}", lab.story());
    assert_eq!((lab.instance("w1"), lab.instance("w2"), lab.costing()), (first, second, 2));
}
