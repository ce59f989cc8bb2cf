//! `on_idle = "stop"`: stopped, and started again for the next request.

use latent::model::{Body, Cause, FailureKind, InstanceState};

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds};
use crate::setup::Setup;

fn stopping() -> Setup {
    Setup::new().policy("on_idle = \"stop\"\nstop_deadline = \"3m\"\nlaunch_deadline = \"4m\"")
}

async fn stopped(setup: Setup) -> (Lab, latent::model::InstanceId) {
    let mut lab = Lab::new(setup);
    let id = lab.make_ready("w1").await;
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    assert_eq!(lab.instance_state(&id), InstanceState::Stopped);
    (lab, id)
}

#[tokio::test(start_paused = true)]
async fn an_idle_instance_is_stopped_and_started_again() {
    let (mut lab, id) = stopped(stopping()).await;
    lab.run(minutes(30)).await;
    assert_eq!((lab.state("w1").as_str(), lab.held("w1").as_str()), ("stopped", "stopped, ready to start"));
    assert_eq!(lab.make_ready("w1").await, id);
    assert_eq!(lab.launched(), 1);
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
}

#[tokio::test(start_paused = true)]
async fn a_request_while_it_stops_is_met_by_the_same_instance() {
    let mut lab = Lab::new(stopping());
    let id = lab.make_ready("w1").await;
    lab.release("w1");
    lab.until(seconds(5), "a stop", |lab| lab.calls(ApiCall::Stop) > 0).await;
    lab.request("w1");
    lab.until(minutes(2), "running again", |lab| {
        lab.state("w1") == "registering" && lab.instance_state(&id) == InstanceState::Running
    })
    .await;
    assert_eq!(lab.launched(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_of_an_older_image_is_replaced() {
    let (mut lab, old) = stopped(stopping()).await;
    let newer = stopping().image_of("debian", "alice", "us-west-2", "ami-newer", "\"m7i.large\"", "");
    lab.reconfigure(newer);
    lab.until(minutes(1), "the old one is ending", |lab| lab.instance_state(&old).is_ending()).await;
    assert_eq!(lab.count(|body| matches!(body, Body::TerminateIntended { cause: Cause::Drifted, .. })), 1);
    let new = lab.make_ready("w1").await;
    assert_ne!(new, old);
    assert_eq!(lab.view("w1").ami.as_deref(), Some("ami-newer"));
}

#[tokio::test(start_paused = true)]
async fn a_request_for_a_stopped_instance_of_an_older_image_is_met_by_the_new_one() {
    let (mut lab, old) = stopped(stopping()).await;
    lab.request("w1");
    lab.reconfigure(stopping().image_of("debian", "alice", "us-west-2", "ami-newer", "\"m7i.large\"", ""));
    lab.until(minutes(2), "a new instance", |lab| lab.view("w1").instance.is_some_and(|id| id != old.as_str())).await;
    assert_eq!(lab.view("w1").ami.as_deref(), Some("ami-newer"));
}

const NO_CAPACITY: Fault = Fault::Refuse(FailureKind::Elsewhere, "InsufficientInstanceCapacity");

fn given_up(lab: &Lab) -> usize {
    lab.count(|body| matches!(body, Body::TerminateIntended { cause: Cause::NoCapacity, .. }))
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_without_capacity_is_given_up_and_another_is_launched_for_the_same_request() {
    let places = "zones = [\"us-west-2a\", \"us-west-2b\"]";
    let (mut lab, old) = stopped(stopping().image("debian", "alice", "us-west-2", places)).await;
    lab.inject(ApiCall::Start, &NO_CAPACITY, 100);
    lab.inject(ApiCall::Launch, &NO_CAPACITY, 1);
    let request = lab.request("w1");
    lab.until(seconds(30), "another", |lab| lab.state("w1") == "registering" && lab.launched() == 2).await;
    assert_eq!((lab.calls(ApiCall::Start), given_up(&lab)), (1, 1));
    let view = lab.view("w1");
    assert_eq!((view.request, view.waiting), (Some(request.to_string()), true), "it is the same request");
    assert_eq!(view.place.as_deref(), Some("us-west-2b"), "by the ordinary offerings");
    lab.connect("w1");
    lab.run(minutes(2)).await;
    assert_eq!((lab.instance_state(&old), lab.costing()), (InstanceState::Terminated, 1));
    assert!(lab.failure("w1").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_could_not_be_started_is_kept_when_nobody_waits_any_more() {
    let (mut lab, id) = stopped(stopping()).await;
    lab.inject(ApiCall::Start, &NO_CAPACITY, 1);
    lab.request("w1");
    lab.until(seconds(5), "a start", |lab| lab.calls(ApiCall::Start) == 1).await;
    lab.release("w1");
    lab.run(minutes(1)).await;
    assert_eq!((lab.state("w1").as_str(), given_up(&lab)), ("stopped", 0), "{}", lab.story());
    assert_eq!(lab.make_ready("w1").await, id, "the next request tries it again");
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_a_start_without_capacity_leads_to_the_same_end() {
    for after_ms in [0, 110, 250, 500, 1500] {
        let (mut lab, old) = stopped(stopping()).await;
        lab.inject(ApiCall::Start, &NO_CAPACITY, 3);
        lab.request("w1");
        lab.until(seconds(5), "a start", |lab| lab.calls(ApiCall::Start) > 0).await;
        lab.clock.sleep_until(lab.now() + chrono::TimeDelta::milliseconds(after_ms)).await;
        lab.crash_and_start().await;
        lab.until(minutes(1), "another", |lab| lab.state("w1") == "registering" && lab.launched() == 2).await;
        lab.until(minutes(1), "one is left", |lab| lab.costing() == 1).await;
        assert!(lab.instance_state(&old).is_ending(), "{after_ms}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_only_a_person_can_mend_is_answered_at_once_and_not_repeated_for_a_while() {
    for (kind, code, fatal) in [
        (FailureKind::Owner, "InvalidParameterValue", true),
        (FailureKind::Credentials, "UnauthorizedOperation", true),
        (FailureKind::Quota, "VcpuLimitExceeded", false),
    ] {
        let (mut lab, id) = stopped(stopping().policy("on_idle = \"stop\"\nretry_pause = \"5m\"")).await;
        lab.inject(ApiCall::Start, &Fault::Refuse(kind, code), if fatal { 1 } else { 2 });
        lab.request("w1");
        lab.until(seconds(10), "an answer", |lab| lab.failure("w1").is_some()).await;
        assert_eq!(lab.failure("w1"), Some(format!("launch {kind} {code}")));
        assert_eq!(lab.view("w1").failure.is_some_and(|failure| failure.fatal), fatal);
        lab.request("w1");
        lab.until(seconds(10), "an answer", |lab| lab.failure("w1").is_some()).await;
        assert_eq!(lab.calls(ApiCall::Start), if fatal { 1 } else { 2 }, "{kind}");
        assert_eq!((lab.state("w1").as_str(), lab.launched()), ("stopped", 1));
        lab.run(minutes(6)).await;
        assert_eq!(lab.make_ready("w1").await, id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_stumbles_is_repeated_and_answered_at_the_deadline() {
    let (mut lab, id) = stopped(stopping()).await;
    lab.inject(ApiCall::Start, &Fault::Refuse(FailureKind::RetrySame, "IncorrectInstanceState"), 3);
    assert_eq!(lab.make_ready("w1").await, id);
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    lab.inject(ApiCall::Start, &Fault::Refuse(FailureKind::RetrySame, "InternalError"), 100);
    lab.request("w1");
    lab.until(minutes(6), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("launch a passing fault StartDeadline"));
    lab.run(minutes(10)).await;
    assert_eq!(lab.state("w1"), "stopped", "it stays for the next request");
    assert!(lab.calls(ApiCall::Start) < 30, "{}", lab.calls(ApiCall::Start));
}

#[tokio::test(start_paused = true)]
async fn a_refused_stop_is_repeated_and_becomes_a_termination() {
    let mut lab = Lab::new(stopping());
    let id = lab.make_ready("w1").await;
    lab.inject(ApiCall::Stop, &Fault::Refuse(FailureKind::Owner, "UnsupportedOperation"), 100);
    lab.release("w1");
    lab.until_nothing_is_left().await;
    assert_eq!(lab.instance_state(&id), InstanceState::Terminated);
    assert!((2..30).contains(&lab.calls(ApiCall::Stop)), "{}", lab.calls(ApiCall::Stop));
    assert_eq!(lab.count(|body| matches!(body, Body::TerminateIntended { cause: Cause::StopFailed, .. })), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_ends_with_its_lifetime() {
    let (mut lab, id) = stopped(stopping().policy("on_idle = \"stop\"\nmax_lifetime = \"2h\"")).await;
    lab.run(minutes(119)).await;
    lab.until(minutes(2), "its end", |lab| lab.instance_state(&id).is_ending()).await;
    lab.until_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_stops_itself_is_kept_for_the_next_request() {
    let mut lab = Lab::new(stopping());
    let id = lab.make_ready("w1").await;
    let now = lab.now();
    lab.world(|world| world.power_off(&id, now));
    lab.say("w1", |knows| (knows.wanted, knows.attached) = (false, false));
    lab.until_state("w1", "stopped").await;
    assert_eq!(lab.make_ready("w1").await, id);
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_it_stops_or_starts_leads_to_the_same_end() {
    for after_ms in [0, 110, 250] {
        let mut lab = Lab::new(stopping());
        let id = lab.make_ready("w1").await;
        lab.release("w1");
        lab.until(seconds(5), "an intent", |lab| lab.count(|b| matches!(b, Body::StopIntended { .. })) > 0).await;
        lab.clock.sleep_until(lab.now() + chrono::TimeDelta::milliseconds(after_ms)).await;
        lab.crash_and_start().await;
        lab.until(minutes(5), "stopped", |lab| lab.state("w1") == "stopped").await;
        lab.request("w1");
        lab.until(seconds(5), "an intent", |lab| lab.count(|b| matches!(b, Body::StartIntended { .. })) > 0).await;
        lab.clock.sleep_until(lab.now() + chrono::TimeDelta::milliseconds(after_ms)).await;
        lab.crash_and_start().await;
        lab.until(minutes(3), "running", |lab| lab.instance_state(&id) == InstanceState::Running).await;
        assert_eq!((lab.launched(), lab.instance("w1")), (1, id));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_ledger_finds_the_stopped_instance_again() {
    let (mut lab, id) = stopped(stopping()).await;
    lab.crash().await;
    lab.lose_ledger();
    lab.forget();
    lab.start();
    lab.until_state("w1", "stopped").await;
    assert_eq!(lab.make_ready("w1").await, id);
    assert_eq!(lab.launched(), 1);
}

/// Found by the simulation: reads of EC2 may be minutes late, and go backwards.
#[tokio::test(start_paused = true)]
async fn a_listing_from_before_the_start_does_not_stop_a_worker() {
    let mut lab = Lab::new(Setup::new().policy("on_idle = \"stop\"\nidle_timeout = \"never\""));
    let id = lab.make_ready("w1").await;
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    lab.run(minutes(5)).await;
    let stopped = lab.world(|site| site.instance(&id).expect("is there").facts().clone());
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    lab.until(minutes(1), "running", |lab| lab.view("w1").instance_state.as_deref() == Some("running")).await;
    let now = lab.now();
    lab.world(|site| site.show(&id, now, stopped));
    lab.run(seconds(30)).await;
    lab.connect("w1");
    lab.build("w1", Some("builder/1"));
    lab.run(minutes(2)).await;
    assert_eq!((lab.state("w1"), lab.count(|body| matches!(body, Body::StopSeen { .. }))), ("busy".to_owned(), 1));
}
