//! `on_idle = "hibernate"`: asleep with its memory, and gone on with for the next request; stopped where EC2
//! refuses that.

use latent::model::{Body, Cause, FailureKind, InstanceId, InstanceState, StopMode};

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds};
use crate::setup::Setup;

/// The agent in the guest is ready after so many minutes.
const READY: i64 = 3;

fn setup(on_idle: &str) -> Setup {
    Setup::new().policy(&format!(
        "on_idle = \"{on_idle}\"\nidle_timeout = \"never\"\nstop_deadline = \"3m\"\nlaunch_deadline = \"4m\""
    ))
}

/// How its instance was asked to stop, from the first time on.
fn asked(lab: &Lab) -> Vec<StopMode> {
    let modes = lab.entries().into_iter().filter_map(|entry| match entry.body {
        Body::StopIntended { mode, .. } => Some(mode),
        _ => None,
    });
    modes.collect()
}

fn refused(lab: &Lab) -> usize {
    lab.count(|body| matches!(body, Body::CallRefused { .. }))
}

/// Why it is in its state, in EC2's words.
fn reason(lab: &Lab, id: &InstanceId) -> String {
    lab.world(|site| site.instance(id).and_then(|i| i.facts().reason.clone()).map(|r| r.code).unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn an_idle_instance_is_hibernated_and_the_next_request_goes_on_with_it() {
    let mut lab = Lab::new(setup("hibernate"));
    let id = lab.make_ready("w1").await;
    for _ in 0..2 {
        lab.run(minutes(READY)).await;
        lab.release("w1");
        lab.until_state("w1", "stopped").await;
        assert_eq!(lab.instance_state(&id), InstanceState::Stopped);
        assert_eq!(reason(&lab, &id), "Client.UserInitiatedHibernate");
        lab.run(minutes(30)).await;
        assert_eq!(lab.held("w1"), "stopped, ready to start");
        assert_eq!(lab.make_ready("w1").await, id);
    }
    assert_eq!(asked(&lab), [StopMode::Hibernate; 2]);
    assert_eq!((lab.launched(), refused(&lab)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ready_to_hibernate_is_stopped_at_once_and_hibernated_another_time() {
    let mut lab = Lab::new(setup("hibernate"));
    let id = lab.make_ready("w1").await;
    lab.release("w1");
    lab.until(seconds(20), "it stops", |lab| lab.instance_state(&id) == InstanceState::Stopping).await;
    lab.until_state("w1", "stopped").await;
    assert_eq!(asked(&lab), [StopMode::Hibernate, StopMode::Plain]);
    assert_eq!((lab.calls(ApiCall::Stop), refused(&lab)), (2, 1), "{}", lab.story());
    assert_eq!(reason(&lab, &id), "Client.UserInitiatedShutdown");
    assert_eq!(lab.make_ready("w1").await, id);
    lab.run(minutes(READY)).await;
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    assert_eq!(asked(&lab).last(), Some(&StopMode::Hibernate));
}

#[tokio::test(start_paused = true)]
async fn what_was_launched_before_its_policy_said_so_is_stopped() {
    for before in ["stop", "terminate"] {
        let mut lab = Lab::new(setup(before));
        let id = lab.make_ready("w1").await;
        lab.reconfigure(setup("hibernate"));
        lab.run(minutes(READY)).await;
        lab.release("w1");
        lab.until_state("w1", "stopped").await;
        assert_eq!((asked(&lab), refused(&lab)), (vec![StopMode::Plain], 0));
        assert_eq!(lab.make_ready("w1").await, id, "{before}: its manifest is the same");
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_does_not_hibernate_any_more_stops() {
    let mut lab = Lab::new(setup("hibernate"));
    lab.make_ready("w1").await;
    lab.reconfigure(setup("stop"));
    lab.run(minutes(READY)).await;
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    assert_eq!(asked(&lab), [StopMode::Plain]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_came_too_fast_is_no_refusal_to_hibernate() {
    let mut lab = Lab::new(setup("hibernate"));
    lab.make_ready("w1").await;
    lab.run(minutes(READY)).await;
    lab.inject(ApiCall::Stop, &Fault::Refuse(FailureKind::Throttled, "RequestLimitExceeded"), 1);
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    assert_eq!(asked(&lab), [StopMode::Hibernate; 2]);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_both_is_terminated_at_the_deadline() {
    let mut lab = Lab::new(setup("hibernate"));
    let id = lab.make_ready("w1").await;
    lab.inject(ApiCall::Stop, &Fault::Refuse(FailureKind::Owner, "UnsupportedOperation"), 100);
    lab.release("w1");
    lab.until_nothing_is_left().await;
    assert_eq!(lab.instance_state(&id), InstanceState::Terminated);
    assert!((3..30).contains(&lab.calls(ApiCall::Stop)), "{}", lab.calls(ApiCall::Stop));
    assert!(asked(&lab)[1..].iter().all(StopMode::is_plain), "{:?}", asked(&lab));
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_refusal_and_the_stop_leads_to_the_same_end() {
    for after_ms in [0, 110, 250, 500] {
        let mut lab = Lab::new(setup("hibernate"));
        let id = lab.make_ready("w1").await;
        lab.release("w1");
        lab.until(seconds(5), "an intent", |lab| !asked(lab).is_empty()).await;
        lab.clock.sleep_until(lab.now() + chrono::TimeDelta::milliseconds(after_ms)).await;
        lab.crash_and_start().await;
        lab.until(minutes(5), "stopped", |lab| lab.state("w1") == "stopped").await;
        assert_eq!(lab.make_ready("w1").await, id, "{after_ms}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_while_it_falls_asleep_is_met_by_the_same_instance() {
    let mut lab = Lab::new(setup("hibernate"));
    let id = lab.make_ready("w1").await;
    lab.run(minutes(READY)).await;
    lab.release("w1");
    lab.until(seconds(10), "it stops", |lab| lab.instance_state(&id) == InstanceState::Stopping).await;
    lab.master.obeys = false;
    lab.request("w1");
    lab.until(minutes(4), "running again", |lab| {
        lab.state("w1") == "registering" && lab.instance_state(&id) == InstanceState::Running
    })
    .await;
    assert_eq!((lab.launched(), asked(&lab)), (1, vec![StopMode::Hibernate]));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_powers_itself_off_is_stopped_and_kept() {
    let mut lab = Lab::new(setup("hibernate"));
    let id = lab.make_ready("w1").await;
    let now = lab.now();
    lab.world(|world| world.power_off(&id, now));
    lab.say("w1", |knows| (knows.wanted, knows.attached) = (false, false));
    lab.until_state("w1", "stopped").await;
    assert_eq!(reason(&lab, &id), "Client.InstanceInitiatedShutdown");
    assert_eq!(lab.make_ready("w1").await, id);
}

#[tokio::test(start_paused = true)]
async fn spot_capacity_is_neither_hibernated_nor_stopped() {
    for on_idle in ["hibernate", "stop"] {
        let spot = setup(on_idle).image("debian", "alice", "us-west-2", "market = [\"spot\"]");
        let mut lab = Lab::new(spot);
        lab.make_ready("w1").await;
        lab.run(minutes(READY)).await;
        lab.release("w1");
        lab.until_nothing_is_left().await;
        assert_eq!((lab.calls(ApiCall::Stop), asked(&lab)), (0, vec![]), "{on_idle}");
        assert_eq!(lab.count(|body| matches!(body, Body::TerminateIntended { cause: Cause::Released, .. })), 1);
    }
}
