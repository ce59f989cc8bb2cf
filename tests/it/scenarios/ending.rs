//! Instances that end: refused calls are repeated until the end is seen, and what others do is noticed.

use chrono::{DateTime, TimeDelta, Utc};
use latent::model::{Body, FailureKind, InstanceState};
use latent::plan::bill::{self, Prices};
use latent::plan::meter::Meter;

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds};
use crate::setup::Setup;

/// The termination is refused a few times; it is repeated until the instance is gone.
async fn refused_termination(fault: Fault) {
    let mut lab = Lab::new(Setup::new());
    let id = lab.make_ready("w1").await;
    lab.inject(ApiCall::Terminate, &fault, 4);
    lab.release("w1");
    lab.until_nothing_is_left().await;
    assert_eq!(lab.instance_state(&id), InstanceState::Terminated, "{fault:?}");
    assert!((2..=8).contains(&lab.calls(ApiCall::Terminate)), "{fault:?}: {}", lab.calls(ApiCall::Terminate));
}

#[tokio::test(start_paused = true)]
async fn a_refused_termination_is_repeated_until_the_end_is_seen() {
    refused_termination(Fault::Refuse(FailureKind::Throttled, "RequestLimitExceeded")).await;
    refused_termination(Fault::Refuse(FailureKind::RetrySame, "InternalError")).await;
    refused_termination(Fault::Refuse(FailureKind::NotFound, "InvalidInstanceID.NotFound")).await;
    refused_termination(Fault::Refuse(FailureKind::Owner, "OperationNotPermitted")).await;
    refused_termination(Fault::LoseReply).await;
    refused_termination(Fault::Hang).await;
}

#[tokio::test(start_paused = true)]
async fn no_new_instance_starts_while_the_old_one_may_live() {
    let mut lab = Lab::new(Setup::new());
    let old = lab.make_ready("w1").await;
    lab.inject(ApiCall::Terminate, &Fault::Refuse(FailureKind::Owner, "OperationNotPermitted"), 6);
    lab.release("w1");
    lab.until_state("w1", "terminating").await;
    lab.request("w1");
    lab.run(seconds(20)).await;
    assert!(lab.instance_state(&old).is_live());
    assert_eq!(lab.launched(), 1);
    lab.until_state("w1", "registering").await;
    assert!(lab.instance_state(&old).is_ending());
}

#[tokio::test(start_paused = true)]
async fn a_termination_that_was_accepted_and_does_not_happen_is_repeated_and_starts_no_twin() {
    let mut lab = Lab::new(Setup::new().policy("stop_deadline = \"2m\""));
    let old = lab.make_ready("w1").await;
    lab.release("w1");
    lab.until(seconds(5), "gone", |lab| lab.state("w1") == "gone").await;
    let now = lab.now();
    lab.world(|world| world.undo_ending(&old, now));
    lab.run(seconds(5)).await;
    lab.request("w1");
    lab.run(minutes(1)).await;
    assert_eq!((lab.launched(), lab.held("w1")), (1, format!("earlier instance {old} must end first")));
    lab.until(minutes(3), "a new one", |lab| lab.state("w1") == "registering").await;
    assert_eq!((lab.calls(ApiCall::Terminate), lab.instance_state(&old).is_ending()), (2, true));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_ends_while_it_registers_is_answered_within_seconds() {
    let mut lab = Lab::new(Setup::new());
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    let (id, now) = (lab.instance("w1"), lab.now());
    lab.world(|world| world.end_from_outside(&id, now, "Server.InternalError"));
    lab.until(seconds(10), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("connect instance ended InstanceEnded"));
    let message = lab.view("w1").failure.map(|failure| failure.message).unwrap_or_default();
    assert!(message.contains("Server.InternalError"), "{message}");
    assert_eq!((lab.state("w1").as_str(), lab.costing()), ("gone", 0));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_ends_while_it_is_used_is_lost_and_the_next_request_is_met() {
    for build in [None, Some("builder/1")] {
        let mut lab = Lab::new(Setup::new());
        let id = lab.make_ready("w1").await;
        lab.build("w1", build);
        let now = lab.now();
        lab.world(|world| world.end_from_outside(&id, now, "Client.UserInitiatedShutdown"));
        lab.until_state("w1", "gone").await;
        assert_eq!(lab.count(|body| matches!(body, Body::Lost { .. })), 1);
        assert!(lab.now() - now <= minutes(1) + seconds(1), "one slow listing");
        lab.make_ready("w1").await;
        assert_eq!(lab.costing(), 1);
    }
}

/// Found by the simulation: a listing may be older than the one that showed the end.
#[tokio::test(start_paused = true)]
async fn what_was_seen_to_end_is_not_adopted_by_a_listing_that_is_late() {
    let mut lab = Lab::new(Setup::new());
    let id = lab.make_ready("w1").await;
    let facts = |lab: &Lab| lab.world(|site| site.instance(&id).expect("is there").facts().clone());
    let running = facts(&lab);
    let now = lab.now();
    lab.world(|world| world.end_from_outside(&id, now, "Client.UserInitiatedShutdown"));
    lab.until_state("w1", "gone").await;
    lab.run(minutes(1)).await;
    let (ended, now) = (facts(&lab), lab.now());
    lab.world(|site| site.show(&id, now, running));
    lab.run(minutes(3)).await;
    let now = lab.now();
    lab.world(|site| site.show(&id, now, ended));
    assert_eq!((lab.state("w1").as_str(), lab.count(|body| matches!(body, Body::Adopted { .. }))), ("gone", 0));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_one_listing_does_not_show_is_kept() {
    let mut lab = Lab::new(Setup::new().policy("absence_grace = \"3m\""));
    let id = lab.make_ready("w1").await;
    lab.world(|world| world.hide(&id, true));
    lab.run(minutes(2)).await;
    assert_eq!((lab.state("w1"), lab.instance("w1")), ("ready".to_owned(), id.clone()));
    lab.world(|world| world.hide(&id, false));
    lab.run(minutes(5)).await;
    assert_eq!((lab.state("w1"), lab.instance("w1")), ("ready".to_owned(), id));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_no_listing_shows_any_more_is_lost() {
    let mut lab = Lab::new(Setup::new().policy("absence_grace = \"3m\"\nidle_timeout = \"never\""));
    let id = lab.make_ready("w1").await;
    lab.world(|world| world.hide(&id, true));
    lab.until(minutes(6), "gone", |lab| lab.state("w1") == "gone").await;
    assert_eq!(lab.count(|body| matches!(body, Body::Lost { .. })), 1);
}

#[tokio::test(start_paused = true)]
async fn listings_that_fail_prove_nothing() {
    let mut lab = Lab::new(Setup::new().policy("absence_grace = \"2m\"\nidle_timeout = \"never\""));
    let id = lab.make_ready("w1").await;
    lab.inject(ApiCall::Inventory, &Fault::Refuse(FailureKind::Throttled, "RequestLimitExceeded"), 40);
    lab.run(minutes(10)).await;
    assert_eq!((lab.state("w1"), lab.instance("w1")), ("ready".to_owned(), id));
    assert!(lab.calls(ApiCall::Inventory) < 60, "it asks less often: {}", lab.calls(ApiCall::Inventory));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_powers_itself_off_is_gone() {
    let mut lab = Lab::new(Setup::new());
    let id = lab.make_ready("w1").await;
    let now = lab.now();
    lab.world(|world| world.power_off(&id, now));
    lab.until_state("w1", "gone").await;
    assert_eq!(lab.costing(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_renewal_is_repeated_with_pauses() {
    let mut lab = Lab::new(Setup::new().policy("lease = \"10m\"\nidle_timeout = \"never\""));
    lab.make_ready("w1").await;
    lab.inject(ApiCall::Renew, &Fault::Refuse(FailureKind::Credentials, "UnauthorizedOperation"), 1000);
    lab.run(minutes(30)).await;
    assert!(lab.calls(ApiCall::Renew) < 60, "{} calls in half an hour", lab.calls(ApiCall::Renew));
    assert_eq!(lab.state("w1"), "ready");
}

#[tokio::test(start_paused = true)]
async fn what_ends_before_a_listing_shows_it_running_has_a_price() {
    let mut lab = Lab::new(Setup::new());
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    lab.release("w1");
    lab.until_nothing_is_left().await;
    assert_eq!(lab.count(|body| matches!(body, Body::Running { .. })), 0);
    let mut meter = Meter::default();
    for entry in &lab.entries() {
        meter.take(entry);
    }
    let run = meter.runs().next().expect("a run");
    let (begin, end) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    let told = bill::of(run, begin, end, lab.now(), &Prices::default());
    assert!(told.billed.1 > TimeDelta::zero() && told.unpriced.is_none(), "{told:?}");
    assert_eq!((run.software.as_deref(), run.public_address), (Some("Linux/UNIX"), None), "its address is gone");
}
