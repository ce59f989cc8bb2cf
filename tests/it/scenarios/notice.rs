//! Notices: EC2 takes a spot instance back, a worker asks to leave, a console says why nobody connected.

use latent::model::{Body, Cause, FailureKind, InstanceId, InstanceState};
use latent::policy::{Secret, UserData};

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds};
use crate::setup::Setup;

/// The spot market first, then on demand.
fn of_two_markets() -> Setup {
    Setup::new().image("debian", "alice", "us-west-2", "market = [\"spot\", \"on-demand\"]")
}

/// EC2 says that it takes the instance back in two minutes.
fn interrupt(lab: &Lab, id: &InstanceId) {
    let now = lab.now();
    lab.world(|site| site.interrupt(id, now));
}

fn noticed(lab: &Lab) -> usize {
    lab.count(|body| matches!(body, Body::InterruptionNoticed { .. }))
}

fn markets(lab: &Lab) -> Vec<String> {
    let intended = lab.entries().into_iter().filter_map(|entry| match entry.body {
        Body::LaunchIntended { attempt, .. } => attempt.spec,
        _ => None,
    });
    intended.map(|spec| spec.offering.market.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_is_let_go_and_ended_when_ec2_takes_its_instance_back() {
    let mut lab = Lab::new(of_two_markets());
    let id = lab.make_ready("w1").await;
    lab.run(minutes(1)).await;
    assert_eq!((lab.view("w1").interruption, lab.view("w1").order), (None, None));
    interrupt(&lab, &id);
    let told = lab.now();
    lab.until(seconds(15), "an order to drain", |lab| lab.view("w1").order.as_deref() == Some("drain")).await;
    assert!(lab.view("w1").interruption.is_some_and(|at| at >= told));
    lab.until(seconds(30), "its end", |lab| lab.state("w1") == "gone").await;
    lab.until(minutes(1), "over", |lab| lab.instance_state(&id) == InstanceState::Terminated).await;
    assert!(lab.now() < told + minutes(2), "before EC2 would have done it");
    assert_eq!(lab.count(|body| matches!(body, Body::TerminateIntended { cause: Cause::Interrupted, .. })), 1);
    assert_eq!((noticed(&lab), lab.view("w1").interruption), (1, None));
    lab.make_ready("w1").await;
    assert_eq!(markets(&lab), ["spot", "on-demand"], "the next launch goes elsewhere");
}

#[tokio::test(start_paused = true)]
async fn a_build_keeps_its_instance_to_the_end_and_nothing_new_is_begun() {
    let mut lab = Lab::new(of_two_markets());
    let id = lab.make_ready("w1").await;
    lab.build("w1", Some("builder/1"));
    interrupt(&lab, &id);
    lab.until(seconds(15), "an order to drain", |lab| lab.view("w1").order.as_deref() == Some("drain")).await;
    lab.run(seconds(100)).await;
    assert_eq!((lab.state("w1").as_str(), lab.instance_state(&id)), ("draining", InstanceState::Running));
    assert_eq!(lab.view("w1").build.as_deref(), Some("builder/1"));
    assert_eq!(lab.calls(ApiCall::Terminate), 0, "the whole two minutes are the build's");
    lab.until(minutes(2), "EC2 ends it", |lab| lab.state("w1") == "gone").await;
    assert_eq!(lab.count(|body| matches!(body, Body::Lost { cause: Cause::Interrupted, .. })), 1);
    assert_eq!((noticed(&lab), lab.calls(ApiCall::Terminate)), (1, 0));
    lab.make_ready("w1").await;
    assert_eq!(markets(&lab), ["spot", "on-demand"]);
}

#[tokio::test(start_paused = true)]
async fn a_build_that_waits_for_an_interrupted_instance_gets_another_one() {
    let mut lab = Lab::new(of_two_markets());
    lab.request("w1");
    lab.until(minutes(1), "running", |lab| lab.view("w1").instance_state.as_deref() == Some("running")).await;
    let first = lab.instance("w1");
    interrupt(&lab, &first);
    lab.until(seconds(60), "another instance", |lab| lab.view("w1").instance.is_some_and(|id| id != first.as_str()))
        .await;
    assert!(lab.failure("w1").is_none() && lab.view("w1").waiting, "the request is the same one");
    assert_eq!(markets(&lab), ["spot", "on-demand"]);
    lab.until(minutes(1), "running", |lab| lab.view("w1").instance_state.as_deref() == Some("running")).await;
    lab.connect("w1");
    assert_eq!((lab.state("w1").as_str(), lab.costing()), ("ready", 1));
}

#[tokio::test(start_paused = true)]
async fn an_interruption_that_nobody_told_of_is_known_by_its_reason() {
    let denied = Fault::Refuse(FailureKind::Credentials, "UnauthorizedOperation");
    for waits in [false, true] {
        let mut lab = Lab::new(of_two_markets());
        lab.inject(ApiCall::SpotRequests, &denied, 1_000);
        lab.request("w1");
        lab.until(minutes(1), "running", |lab| lab.view("w1").instance_state.as_deref() == Some("running")).await;
        if !waits {
            lab.connect("w1");
        }
        let id = lab.instance("w1");
        interrupt(&lab, &id);
        lab.until(minutes(4), "its end is seen", |lab| lab.count(|body| matches!(body, Body::Lost { .. })) == 1).await;
        assert_eq!((noticed(&lab), lab.failure("w1")), (1, None));
        assert_eq!(lab.count(|body| matches!(body, Body::Lost { cause: Cause::Interrupted, .. })), 1);
        if !waits {
            lab.request("w1");
        }
        lab.until(seconds(20), "another launch", |lab| markets(lab).len() == 2).await;
        assert_eq!(markets(&lab), ["spot", "on-demand"]);
        assert!(lab.calls(ApiCall::SpotRequests) <= 8, "a denied question is asked seldom");
    }
}

#[tokio::test(start_paused = true)]
async fn spot_requests_are_asked_after_only_while_there_are_spot_instances() {
    let mut lab = Lab::new(Setup::new());
    lab.make_ready("w1").await;
    let sweeps = lab.calls(ApiCall::Addresses);
    lab.run(minutes(5)).await;
    let sweeps = lab.calls(ApiCall::Addresses) - sweeps;
    assert!(lab.calls(ApiCall::SpotRequests) <= sweeps + 1, "the sweep's own look is no question");
    let mut lab =
        Lab::new(of_two_markets().worker("w2", "other").image("other", "alice", "us-west-2", "market = [\"spot\"]"));
    lab.make_ready("w1").await;
    lab.make_ready("w2").await;
    lab.run(minutes(1)).await;
    let before = lab.calls(ApiCall::SpotRequests);
    lab.run(minutes(2)).await;
    let asked = lab.calls(ApiCall::SpotRequests) - before;
    assert!((8..=12).contains(&asked), "one call for all of a cell every ten to fifteen seconds: {asked}");
}

#[tokio::test(start_paused = true)]
async fn a_notice_is_known_across_a_restart_and_is_written_once() {
    let mut lab = Lab::new(of_two_markets());
    lab.master.obeys = false;
    let id = lab.make_ready("w1").await;
    interrupt(&lab, &id);
    lab.until(seconds(15), "a notice", |lab| lab.view("w1").interruption.is_some()).await;
    lab.crash_and_start().await;
    assert!(lab.view("w1").interruption.is_some(), "without another question");
    assert_eq!(lab.view("w1").order.as_deref(), Some("drain"));
    lab.run(seconds(40)).await;
    assert_eq!(noticed(&lab), 1);
}

#[tokio::test(start_paused = true)]
async fn a_held_worker_begins_no_build_on_an_instance_that_ec2_takes_back() {
    let mut lab = Lab::new(of_two_markets());
    let id = lab.make_ready("w1").await;
    lab.controller().hold(&crate::harness::worker("w1"), minutes(60)).expect("held");
    interrupt(&lab, &id);
    lab.until(seconds(15), "an order to drain", |lab| lab.view("w1").order.as_deref() == Some("drain")).await;
    assert_eq!(lab.calls(ApiCall::Terminate), 0, "a hold keeps what EC2 leaves");
}

// --- a worker that asks to leave --------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_worker_that_asks_to_leave_is_drained_for_that_and_ends_after_its_build() {
    let mut lab = Lab::new(Setup::new());
    lab.make_ready("w1").await;
    lab.build("w1", Some("builder/1"));
    lab.say("w1", |knows| knows.leaving = true);
    assert_eq!(lab.view("w1").order.as_deref(), Some("drain"));
    lab.run(minutes(10)).await;
    assert_eq!(lab.costing(), 1, "its build may end");
    assert_eq!(lab.count(|body| matches!(body, Body::DrainOrdered { cause: Cause::Leaving, .. })), 1);
    lab.build("w1", None);
    lab.until_nothing_is_left().await;
    lab.say("w1", |knows| knows.leaving = false);
    lab.make_ready("w1").await;
    assert_eq!(lab.view("w1").order, None, "the next one stays");
}

// --- the console ------------------------------------------------------------------------------------

const WHY: &str = "\u{1b}[31mbuildbot-worker: cannot resolve ci.example.org\u{1b}[0m\n";

fn console(lab: &Lab) -> Option<String> {
    lab.view("w1").failure.and_then(|failure| failure.console)
}

/// A worker whose guest said why it does not connect.
async fn never_connects(lab: &mut Lab) {
    lab.request("w1");
    lab.until(minutes(1), "running", |lab| lab.view("w1").instance_state.as_deref() == Some("running")).await;
    let id = lab.instance("w1");
    lab.world(|site| site.console_says(&id, WHY));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_never_connected_shows_the_end_of_its_console() {
    let mut lab = Lab::new(Setup::new().policy("connect_deadline = \"5m\""));
    never_connects(&mut lab).await;
    assert_eq!(lab.calls(ApiCall::Console), 0);
    lab.until(minutes(6), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("connect worker never connected NeverConnected"));
    let shown = console(&lab).expect("a console");
    assert!(shown.ends_with("buildbot-worker: cannot resolve ci.example.org"), "{shown}");
    assert!(shown.contains("Booting ami-debian"), "{shown}");
    lab.until_nothing_is_left().await;
    assert!(console(&lab).is_some(), "it outlives the instance");
    assert_eq!(lab.calls(ApiCall::Console), 1);
    // A second failure, without a console of its own, does not repeat it.
    lab.request("w1");
    assert_eq!(console(&lab), None);
    let told = lab.entries().iter().filter(|entry| format!("{entry:?}").contains("cannot resolve")).count();
    assert_eq!(told, 1, "one entry");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_ended_before_it_connected_shows_the_end_of_its_console() {
    let mut lab = Lab::new(Setup::new());
    never_connects(&mut lab).await;
    let (id, now) = (lab.instance("w1"), lab.now());
    lab.world(|site| site.power_off(&id, now));
    lab.until(seconds(20), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("connect instance ended InstanceEnded"));
    assert!(console(&lab).is_some_and(|shown| shown.contains("cannot resolve")));
}

#[tokio::test(start_paused = true)]
async fn a_console_that_cannot_be_read_delays_no_answer_and_fails_nothing() {
    let denied = Fault::Refuse(FailureKind::Credentials, "UnauthorizedOperation");
    for (fault, at_most) in [(denied, seconds(2)), (Fault::Hang, seconds(6)), (Fault::Unreachable, seconds(2))] {
        let mut lab = Lab::new(Setup::new().policy("connect_deadline = \"5m\""));
        lab.inject(ApiCall::Console, &fault, 1);
        never_connects(&mut lab).await;
        let since = lab.view("w1").since.expect("a time");
        lab.until(minutes(6), "an answer", |lab| lab.failure("w1").is_some()).await;
        assert!(lab.now() - since <= minutes(5) + at_most, "{fault:?}: {}", lab.now() - since);
        assert_eq!(
            (lab.failure("w1").as_deref(), console(&lab)),
            (Some("connect worker never connected NeverConnected"), None)
        );
        lab.until_nothing_is_left().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_console_does_not_give_the_injected_password_away() {
    let mut lab = Lab::new(Setup::new().policy("connect_deadline = \"5m\""));
    let mut intent = lab.setup.intent();
    let configured = intent.workers.get_mut(&crate::harness::worker("w1")).expect("a worker");
    let password = Some(Secret::new("geheim und lang".to_owned()));
    let text = Secret::new("#!/bin/sh\n".to_owned());
    configured.user_data = Some(UserData::new(text, "0".repeat(64), password));
    lab.try_reconfigure(intent).expect("takes it");
    never_connects(&mut lab).await;
    let id = lab.instance("w1");
    lab.world(|site| site.console_says(&id, "+ create-worker /w m w1 'geheim und lang'\n"));
    lab.until(minutes(6), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert!(console(&lab).is_some_and(|shown| shown.ends_with("create-worker /w m w1 '[cut]'")), "{:?}", console(&lab));
    assert!(!format!("{:?}", lab.entries()).contains("geheim"));
}

#[tokio::test(start_paused = true)]
async fn a_worker_shows_what_its_hour_costs() {
    let mut lab = Lab::new(of_two_markets());
    let spot = lab.view("w1").price.expect("a price of the first offering");
    assert!(spot.low < spot.high, "of the spot market nobody knows the price in advance");
    let id = lab.make_ready("w1").await;
    assert_eq!(lab.view("w1").price, Some(spot));
    interrupt(&lab, &id);
    lab.until(minutes(1), "its end", |lab| lab.state("w1") == "gone").await;
    lab.make_ready("w1").await;
    let on_demand = lab.view("w1").price.expect("a price");
    assert!(on_demand.low == on_demand.high && on_demand.high >= spot.high, "{on_demand:?}");
    let unknown = Setup::new().image_of("debian", "alice", "us-west-2", "ami-1", "\"zz9.large\"", "");
    assert_eq!(Lab::new(unknown).view("w1").price, None);
}
