//! A canary: a worker's instance from an AMI that nobody trusts yet, through connect, build, stop, start, connect.

use chrono::TimeDelta;
use latent::control::ControlError;
use latent::model::{
    Actor, Body, Built, Canary, Cause, FailureKind, InstanceId, InstanceState, Market, RebakeId, StopMode, tag_keys,
};

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds, worker};
use crate::setup::Setup;

pub(super) const NEW: &str = "ami-new";

fn rebake(id: &str) -> RebakeId {
    id.parse().expect("a rebake id")
}

pub(super) fn wish() -> Canary {
    Canary {
        rebake: rebake("rb1"),
        ami: NEW.parse().expect("an AMI id"),
        generation: 2,
        smoke: None,
        connect_deadline_s: Some(300),
        now: false,
    }
}

pub(super) fn with_smoke() -> Canary {
    Canary { smoke: Some("smoke".to_owned()), ..wish() }
}

/// A lab whose master knows the worker and does not want it.
pub(super) fn known(setup: Setup) -> Lab {
    let mut lab = Lab::new(setup);
    lab.say("w1", |_| {});
    lab
}

pub(super) fn ask(lab: &Lab, canary: &Canary) {
    lab.controller().set_canary(&Actor::Operator, &worker("w1"), canary).expect("it is taken");
}

fn end(lab: &Lab) {
    lab.controller().end_canary(&Actor::Operator, &worker("w1"), &rebake("rb1"), Some("test")).expect("it is taken");
}

pub(super) fn phase(lab: &Lab) -> String {
    lab.view("w1").canary.map_or_else(|| "none".to_owned(), |canary| canary.phase)
}

pub(super) fn why(lab: &Lab) -> String {
    lab.view("w1").canary.and_then(|canary| canary.why).unwrap_or_default()
}

/// Until the canary runs and waits for its connection.
pub(super) async fn runs(lab: &mut Lab, in_phase: &str) -> InstanceId {
    let up = |lab: &Lab| phase(lab) == in_phase && lab.view("w1").instance_state.as_deref() == Some("running");
    lab.until(minutes(3), "a canary that runs", up).await;
    lab.instance("w1")
}

pub(super) async fn until_phase(lab: &mut Lab, wanted: &str, limit: TimeDelta) {
    lab.until(limit, "a phase", |lab| phase(lab) == wanted).await;
}

/// From the first connection on; the master does its part.
pub(super) async fn goes_on(lab: &mut Lab) {
    let id = runs(lab, "restarting").await;
    assert_eq!(lab.instance_state(&id), InstanceState::Running);
    lab.connect("w1");
    until_phase(lab, "passed", minutes(3)).await;
    lab.until_nothing_is_left().await;
}

fn launches(lab: &Lab) -> Vec<String> {
    let amis = lab.entries().into_iter().filter_map(|entry| match entry.body {
        Body::LaunchIntended { attempt, .. } => attempt.spec.map(|spec| spec.ami.to_string()),
        _ => None,
    });
    amis.collect()
}

#[tokio::test(start_paused = true)]
async fn a_canary_connects_stops_starts_connects_again_and_ends() {
    for policy in ["on_idle = \"stop\"", "on_idle = \"terminate\""] {
        let mut lab = known(Setup::new().policy(policy));
        ask(&lab, &wish());
        let id = runs(&mut lab, "starting").await;
        let view = lab.view("w1");
        assert_eq!((view.ami.as_deref(), view.generation, view.waiting), (Some(NEW), Some(2), false));
        let shown = lab.world(|site| {
            let instance = site.instance(&id).expect("is there");
            let own = |key: &str| instance.tag(key).map(ToOwned::to_owned);
            (own(tag_keys::ROLE), own(tag_keys::GENERATION), instance.params.terminate_on_shutdown)
        });
        assert_eq!(shown.0.as_deref(), Some("canary"));
        assert_eq!(shown.1.as_deref(), Some("2"));
        assert!(shown.2, "a power-off from inside ends it");
        lab.connect("w1");
        until_phase(&mut lab, "stopping", seconds(1)).await;
        goes_on(&mut lab).await;
        assert_eq!((launches(&lab), lab.calls(ApiCall::Stop), lab.calls(ApiCall::Start)), (vec![NEW.to_owned()], 1, 1));
        let canary = lab.view("w1").canary.expect("its outcome stays");
        assert!(canary.connected_at < canary.reconnected_at && canary.why.is_none());
        assert_eq!(lab.state("w1"), "gone");
        // The worker's life goes on as ever.
        lab.make_ready("w1").await;
        assert_eq!(launches(&lab), [NEW, "ami-debian"]);
        end(&lab);
        assert_eq!(phase(&lab), "none");
        assert_eq!(lab.state("w1"), "ready");
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_shall_build_waits_for_the_build_and_believes_its_result() {
    for (results, ends) in [(0, "passed"), (1, "passed"), (2, "failed"), (6, "failed")] {
        let mut lab = known(Setup::new());
        ask(&lab, &with_smoke());
        runs(&mut lab, "starting").await;
        lab.connect("w1");
        lab.run(minutes(1)).await;
        assert_eq!(phase(&lab), "connected");
        assert!(lab.held("w1").starts_with("canary of rb1: its master is to run a build of smoke, until"));
        lab.build("w1", Some("smoke/7"));
        assert_eq!(phase(&lab), "building");
        lab.run(minutes(20)).await;
        assert_eq!(phase(&lab), "building", "a build takes the time it takes");
        let built = Built { build: "smoke/7".parse().expect("a build"), results };
        lab.say("w1", |knows| {
            knows.build = None;
            knows.smoke = Some((rebake("rb1"), built));
        });
        if ends == "passed" {
            goes_on(&mut lab).await;
        }
        until_phase(&mut lab, ends, seconds(30)).await;
        lab.until_nothing_is_left().await;
        let view = lab.view("w1").canary.expect("its outcome stays");
        assert_eq!(view.built.expect("is kept").results, results);
        if ends == "failed" {
            assert!(why(&lab).contains("the smoke build smoke/7 ended with"), "{}", why(&lab));
            assert_eq!(lab.calls(ApiCall::Stop), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_result_of_another_rebakes_build_is_not_believed() {
    let mut lab = known(Setup::new());
    ask(&lab, &with_smoke());
    runs(&mut lab, "starting").await;
    lab.connect("w1");
    let built = Built { build: "smoke/7".parse().expect("a build"), results: 0 };
    lab.say("w1", |knows| knows.smoke = Some((rebake("rb0"), built)));
    lab.run(minutes(2)).await;
    assert_eq!((phase(&lab).as_str(), lab.view("w1").canary.and_then(|canary| canary.built)), ("connected", None));
    // And nothing was forced within the time that it has to connect.
    until_phase(&mut lab, "failed", minutes(4)).await;
    assert!(why(&lab).contains("the master did not run the smoke build of smoke within 5m"), "{}", why(&lab));
    lab.until_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_never_connects_fails_with_its_console() {
    let mut lab = known(Setup::new());
    ask(&lab, &wish());
    let id = runs(&mut lab, "starting").await;
    lab.world(|site| site.console_says(&id, "twistd: no module named buildbot\n"));
    until_phase(&mut lab, "failed", minutes(6)).await;
    assert!(why(&lab).contains("did not connect within 5m"), "{}", why(&lab));
    assert!(why(&lab).ends_with("\ntwistd: no module named buildbot"), "{}", why(&lab));
    lab.until_nothing_is_left().await;
    // Of the AMI that the manifest names this says nothing: no pause, no failure.
    assert!(lab.failure("w1").is_none());
    lab.make_ready("w1").await;
    assert_eq!(launches(&lab), [NEW, "ami-debian"]);
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_connects_once_and_not_after_stop_and_start_fails() {
    let mut lab = known(Setup::new());
    ask(&lab, &wish());
    runs(&mut lab, "starting").await;
    lab.connect("w1");
    runs(&mut lab, "restarting").await;
    until_phase(&mut lab, "failed", minutes(6)).await;
    assert!(why(&lab).contains("was stopped and started again, and its worker did not connect once more"));
    let canary = lab.view("w1").canary.expect("its outcome stays");
    assert!(canary.connected_at.is_some() && canary.reconnected_at.is_none());
    lab.until_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_dies_fails_whatever_it_does() {
    for at in ["starting", "building", "restarting"] {
        let mut lab = known(Setup::new());
        ask(&lab, &with_smoke());
        let id = runs(&mut lab, "starting").await;
        if at != "starting" {
            lab.connect("w1");
            lab.build("w1", Some("smoke/1"));
        }
        if at == "restarting" {
            let built = Built { build: "smoke/1".parse().expect("a build"), results: 0 };
            lab.say("w1", |knows| (knows.build, knows.smoke) = (None, Some((rebake("rb1"), built))));
            runs(&mut lab, at).await;
        }
        assert_eq!(phase(&lab), at);
        let now = lab.now();
        lab.world(|site| site.power_off(&id, now));
        until_phase(&mut lab, "failed", minutes(5)).await;
        assert!(why(&lab).contains("ended by itself or from outside"), "{at}: {}", why(&lab));
        lab.say("w1", |knows| (knows.attached, knows.build) = (false, None));
        lab.until_nothing_is_left().await;
        assert_eq!((lab.launched(), lab.state("w1").as_str()), (1, "gone"), "nothing is tried again");
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_who_stops_a_canary_fails_it() {
    let mut lab = known(Setup::new());
    ask(&lab, &with_smoke());
    let id = runs(&mut lab, "starting").await;
    lab.connect("w1");
    let now = lab.now();
    lab.world(|site| site.stop_instances(std::slice::from_ref(&id), StopMode::Plain, false, now)).expect("it stops");
    until_phase(&mut lab, "failed", minutes(5)).await;
    assert!(why(&lab).contains("was stopped, and not by its canary"), "{}", why(&lab));
    lab.until_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_canary_and_is_met_from_the_manifest() {
    let mut lab = known(Setup::new());
    ask(&lab, &wish());
    runs(&mut lab, "starting").await;
    lab.request("w1");
    lab.run(seconds(5)).await;
    assert!(lab.held("w1").contains("the request waits until"), "{}", lab.held("w1"));
    lab.connect("w1");
    lab.run(seconds(2)).await;
    assert!(lab.view("w1").waiting, "that its canary connects is no answer");
    // A master that wanted it all the time does not take it back by letting the canary go.
    runs(&mut lab, "restarting").await;
    lab.request("w1");
    lab.connect("w1");
    until_phase(&mut lab, "passed", minutes(3)).await;
    lab.request("w1");
    lab.until(minutes(3), "the worker", |lab| lab.state("w1") == "registering").await;
    assert_eq!((lab.view("w1").ami.as_deref(), launches(&lab).len()), (Some("ami-debian"), 2));
    lab.connect("w1");
    assert_eq!((lab.state("w1").as_str(), lab.view("w1").waiting), ("ready", false));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_at_its_deadline_although_a_canary_is_on() {
    let mut lab = known(Setup::new().policy("launch_deadline = \"4m\""));
    ask(&lab, &with_smoke());
    runs(&mut lab, "starting").await;
    lab.master.obeys = false;
    lab.connect("w1");
    lab.build("w1", Some("smoke/1"));
    lab.request("w1");
    lab.say("w1", |knows| (knows.attached, knows.build) = (true, Some("smoke/1".parse().expect("a build"))));
    lab.until(minutes(5), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("launch a passing fault Canary"));
    assert_eq!((phase(&lab).as_str(), lab.state("w1").as_str()), ("building", "busy"), "the canary goes on");
}

#[tokio::test(start_paused = true)]
async fn whoever_asked_first_goes_first_and_a_canary_that_waits_says_for_what() {
    let mut lab = known(Setup::new().policy("idle_timeout = \"10m\""));
    lab.make_ready("w1").await;
    ask(&lab, &wish());
    lab.run(minutes(2)).await;
    assert_eq!((phase(&lab).as_str(), lab.state("w1").as_str()), ("waiting", "ready"));
    assert!(why(&lab).starts_with("the worker is ready: idle, until"), "{}", why(&lab));
    lab.run(minutes(9)).await;
    runs(&mut lab, "starting").await;
    assert_eq!(launches(&lab), ["ami-debian", NEW]);
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_is_wanted_now_waits_for_no_more_than_the_running_build() {
    let mut lab = known(Setup::new().policy("idle_timeout = \"never\""));
    let old = lab.make_ready("w1").await;
    lab.build("w1", Some("b/1"));
    ask(&lab, &Canary { now: true, ..wish() });
    lab.run(minutes(5)).await;
    assert_eq!((phase(&lab).as_str(), lab.state("w1").as_str()), ("waiting", "draining"), "{}", lab.story());
    assert_eq!(lab.instance_state(&old), InstanceState::Running);
    lab.build("w1", None);
    runs(&mut lab, "starting").await;
    assert!(lab.instance_state(&old).is_ending());
    let makes_way = lab.count(|body| matches!(body, Body::DrainOrdered { cause: Cause::MakesWay, .. }));
    assert_eq!(makes_way, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_makes_way() {
    let mut lab = known(Setup::new().policy("on_idle = \"stop\""));
    let old = lab.make_ready("w1").await;
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    ask(&lab, &wish());
    let new = runs(&mut lab, "starting").await;
    assert!(new != old && lab.instance_state(&old).is_ending());
    let ended = lab.count(|body| matches!(body, Body::TerminateIntended { cause: Cause::MakesWay, .. }));
    assert_eq!(ended, 1);
}

#[tokio::test(start_paused = true)]
async fn a_canary_is_bought_on_demand_or_not_at_all() {
    let mut lab = known(Setup::new().image("debian", "alice", "us-west-2", "market = [\"spot\", \"on-demand\"]"));
    ask(&lab, &wish());
    runs(&mut lab, "starting").await;
    assert_eq!(lab.view("w1").market, Some(Market::OnDemand.to_string()));
    let mut lab = known(Setup::new().image("debian", "alice", "us-west-2", "market = \"spot\""));
    ask(&lab, &wish());
    until_phase(&mut lab, "failed", minutes(1)).await;
    assert!(why(&lab).contains("the manifest buys spot capacity alone"), "{}", why(&lab));
    assert_eq!(lab.launched(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_launch_fails_the_canary_or_goes_elsewhere() {
    for (kind, code) in [
        (FailureKind::Quota, "VcpuLimitExceeded"),
        (FailureKind::Owner, "InvalidAMIID.NotFound"),
        (FailureKind::Credentials, "UnauthorizedOperation"),
    ] {
        let mut lab = known(Setup::new());
        lab.inject(ApiCall::Launch, &Fault::Refuse(kind, code), 1);
        ask(&lab, &wish());
        until_phase(&mut lab, "failed", minutes(2)).await;
        assert!(why(&lab).contains(code), "{}", why(&lab));
        assert_eq!((lab.state("w1").as_str(), lab.launched()), ("gone", 0));
        lab.make_ready("w1").await;
    }
    let none = Fault::Refuse(FailureKind::Elsewhere, "InsufficientInstanceCapacity");
    let places = "zones = [\"us-west-2a\", \"us-west-2b\"]";
    let mut lab = known(Setup::new().image("debian", "alice", "us-west-2", places));
    lab.inject(ApiCall::Launch, &none, 1);
    ask(&lab, &wish());
    runs(&mut lab, "starting").await;
    assert_eq!(lab.view("w1").place.as_deref(), Some("us-west-2b"));
    let mut lab = known(Setup::new().policy("launch_deadline = \"4m\""));
    lab.inject(ApiCall::Launch, &none, 100);
    ask(&lab, &wish());
    until_phase(&mut lab, "failed", minutes(6)).await;
    assert!(why(&lab).contains("no instance within launch_deadline: no capacity"), "{}", why(&lab));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_refused_is_tried_again_or_fails_the_canary() {
    let elsewhere = Fault::Refuse(FailureKind::Elsewhere, "InsufficientInstanceCapacity");
    let stumbles = Fault::Refuse(FailureKind::RetrySame, "InternalError");
    let quota = Fault::Refuse(FailureKind::Quota, "VcpuLimitExceeded");
    for (fault, times, fails) in
        [(&elsewhere, 1, false), (&stumbles, 3, false), (&elsewhere, 99, true), (&quota, 1, true)]
    {
        let mut lab = known(Setup::new());
        lab.inject(ApiCall::Start, fault, times);
        ask(&lab, &wish());
        runs(&mut lab, "starting").await;
        lab.connect("w1");
        if fails {
            until_phase(&mut lab, "failed", minutes(20)).await;
        } else {
            let again =
                |lab: &Lab| phase(lab) == "restarting" && lab.view("w1").instance_state.as_deref() == Some("running");
            lab.until(minutes(8), "a start", again).await;
            goes_on(&mut lab).await;
        }
        assert!(lab.calls(ApiCall::Start) < 12, "{}", lab.calls(ApiCall::Start));
        lab.until_nothing_is_left().await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_master_no_canary_is_launched() {
    let mut lab = Lab::new(Setup::new());
    lab.master.speaks = false;
    ask(&lab, &wish());
    lab.run(minutes(20)).await;
    assert_eq!((phase(&lab).as_str(), lab.launched()), ("waiting", 0));
    assert_eq!(why(&lab), "no master has spoken of it lately");
    lab.master.speaks = true;
    lab.say("w1", |_| {});
    runs(&mut lab, "starting").await;
    // Who falls silent then proves nothing against the candidate, and that is said.
    lab.master.speaks = false;
    until_phase(&mut lab, "failed", minutes(6)).await;
    assert!(why(&lab).contains("its master has said nothing since"), "{}", why(&lab));
    lab.until_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_master_that_does_not_let_go_is_waited_for_no_longer_than_it_may_take() {
    let mut lab = known(Setup::new().policy("drain_deadline = \"2m\""));
    lab.master.obeys = false;
    ask(&lab, &wish());
    runs(&mut lab, "starting").await;
    lab.connect("w1");
    lab.run(minutes(1)).await;
    assert_eq!((phase(&lab).as_str(), lab.calls(ApiCall::Stop)), ("stopping", 0));
    runs(&mut lab, "restarting").await;
    lab.run(minutes(1)).await;
    assert_eq!(phase(&lab), "restarting", "who never lost it cannot say that it is back");
    lab.master.obeys = true;
    lab.say("w1", |knows| knows.attached = false);
    goes_on(&mut lab).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_ledger_leaves_no_canary_and_no_second_instance() {
    let mut lab = known(Setup::new().policy("orphan_grace = \"3m\""));
    ask(&lab, &wish());
    let id = runs(&mut lab, "starting").await;
    lab.crash().await;
    lab.lose_ledger();
    lab.forget();
    lab.start();
    lab.request("w1");
    lab.run(minutes(1)).await;
    assert_eq!(lab.instance_state(&id), InstanceState::Running, "not at the first look");
    assert!(lab.held("w1").contains(id.as_str()), "{}", lab.held("w1"));
    assert_eq!(lab.count(|body| matches!(body, Body::Adopted { .. })), 0);
    lab.until(minutes(5), "its end", |lab| lab.instance_state(&id).is_ending()).await;
    let orphan = lab.count(|body| matches!(body, Body::TerminateIntended { cause: Cause::Orphan, .. }));
    assert_eq!(orphan, 1);
    lab.until(minutes(3), "the worker", |lab| lab.state("w1") == "registering").await;
    assert_eq!(lab.view("w1").ami.as_deref(), Some("ami-debian"));
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_is_taken_back_leaves_nothing() {
    for at in ["waiting", "starting", "connected", "stopping", "stopped", "restarting"] {
        let mut lab = known(Setup::new());
        if at == "waiting" {
            lab.make_ready("w1").await;
        }
        let asked = if at == "connected" { with_smoke() } else { wish() };
        ask(&lab, &asked);
        if at != "waiting" {
            runs(&mut lab, "starting").await;
        }
        if !matches!(at, "waiting" | "starting") {
            lab.master.obeys = at != "stopping";
            let times = if at == "stopped" { 9 } else { 0 };
            let none = Fault::Refuse(FailureKind::Elsewhere, "InsufficientInstanceCapacity");
            lab.inject(ApiCall::Start, &none, times);
            lab.connect("w1");
            until_phase(&mut lab, at, minutes(3)).await;
        }
        end(&lab);
        end(&lab);
        lab.master.obeys = true;
        if at == "waiting" {
            assert_eq!((phase(&lab).as_str(), lab.state("w1").as_str()), ("none", "ready"));
            continue;
        }
        lab.until(minutes(5), "nothing of it", |lab| phase(lab) == "none").await;
        lab.until_nothing_is_left().await;
        assert_eq!(lab.count(|body| matches!(body, Body::CanaryEnded { .. })), 1, "{at}");
        ask(&lab, &Canary { rebake: rebake("rb2"), ..wish() });
        runs(&mut lab, "starting").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_is_one_at_a_time_and_asking_again_changes_nothing() {
    let mut lab = known(Setup::new());
    ask(&lab, &wish());
    ask(&lab, &wish());
    assert_eq!(lab.count(|body| matches!(body, Body::CanarySet { .. })), 1);
    let set = |lab: &Lab, canary: &Canary| lab.controller().set_canary(&Actor::Operator, &worker("w1"), canary);
    let other = Canary { rebake: rebake("rb2"), ..wish() };
    for refused in [&other, &Canary { generation: 3, ..wish() }] {
        let error = set(&lab, refused).expect_err("one at a time");
        assert!(matches!(&error, ControlError::OtherCanary { .. }) && error.to_string().contains("rb1"), "{error}");
    }
    assert!(lab.controller().set_canary(&Actor::Operator, &worker("w9"), &wish()).is_err());
    runs(&mut lab, "starting").await;
    until_phase(&mut lab, "failed", minutes(6)).await;
    ask(&lab, &wish());
    assert_eq!(phase(&lab), "failed", "its outcome is not forgotten by asking again");
    lab.until_nothing_is_left().await;
    set(&lab, &other).expect("the next one's turn");
    runs(&mut lab, "starting").await;
}
