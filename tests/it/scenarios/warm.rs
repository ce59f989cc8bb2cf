//! `warm`: an instance is there before the first build asks for it, and stays through the window.

use chrono::TimeDelta;
use latent::model::{Actor, Body, Cause, FailureKind, InstanceState};

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds, worker};
use crate::setup::Setup;

/// A window from ten minutes after the beginning of the lab, for three hours.
const WINDOW: &str = "warm = [\"Mon 08:10-11:10\"]\n";

fn warm(more: &str) -> Setup {
    Setup::new().policy(&format!("{WINDOW}{more}"))
}

fn asked(lab: &Lab) -> usize {
    let by_itself = |entry: &&latent::model::Entry| {
        matches!(entry.body, Body::Requested { .. }) && entry.actor == Actor::Controller
    };
    lab.entries().iter().filter(by_itself).count()
}

/// A lab whose master knows of the worker and does not want it.
fn known(setup: Setup) -> Lab {
    let mut lab = Lab::new(setup);
    lab.say("w1", |_| {});
    lab
}

async fn until_running(lab: &mut Lab) {
    lab.until(minutes(5), "running", |lab| lab.view("w1").instance_state.as_deref() == Some("running")).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_there_before_its_first_build_and_goes_after_the_window() {
    let mut lab = known(warm(""));
    lab.run(minutes(9)).await;
    assert_eq!((lab.launched(), lab.state("w1").as_str()), (0, "gone"));
    assert_eq!(lab.held("w1"), "nobody wants it; warm from Mon 08:10Z");
    until_running(&mut lab).await;
    assert!(lab.now() < lab.entries()[0].at + minutes(12), "at the beginning of the window");
    lab.connect("w1");
    lab.run(seconds(10)).await;
    let view = lab.view("w1");
    assert_eq!((view.state.as_str(), view.held.as_deref()), ("ready", Some("kept warm until Mon 11:10Z")));
    assert_eq!(view.idle_timeout_s, None, "its master does not let go of it either");
    lab.run(minutes(170)).await;
    assert_eq!((lab.state("w1").as_str(), lab.launched()), ("ready", 1), "{}", lab.story());
    lab.run(minutes(8)).await;
    lab.until_nothing_is_left().await;
    lab.run(minutes(300)).await;
    assert_eq!((lab.launched(), asked(&lab)), (1, 1));
    let mut told = latent::plan::meter::Meter::default();
    for entry in &lab.entries() {
        told.take(entry);
    }
    let by: Vec<Option<String>> = told.runs().map(|run| run.wanted_by.clone()).collect();
    assert_eq!(by, [Some("controller (warm window)".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_is_started_at_the_beginning() {
    let mut lab = known(warm("on_idle = \"stop\"\n"));
    let id = lab.make_ready("w1").await;
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    lab.run(minutes(5)).await;
    assert_eq!(lab.state("w1"), "stopped");
    lab.until(minutes(10), "running", |lab| lab.instance_state(&id) == InstanceState::Running).await;
    assert_eq!((lab.launched(), asked(&lab)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_launched_while_no_master_speaks_of_it() {
    let mut lab = known(warm(""));
    lab.master.speaks = false;
    lab.run(minutes(40)).await;
    assert_eq!((lab.launched(), lab.held("w1").as_str()), (0, "no master has spoken of it lately"));
    lab.master.speaks = true;
    until_running(&mut lab).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_master_loses_it_and_has_it_again_when_it_is_back() {
    let mut lab = known(warm("idle_timeout = \"2m\"\n"));
    lab.run(minutes(10)).await;
    until_running(&mut lab).await;
    lab.connect("w1");
    lab.master.speaks = false;
    lab.run(minutes(10)).await;
    assert_eq!(lab.costing(), 0, "{}", lab.story());
    lab.forget();
    lab.say("w1", |_| {});
    lab.master.speaks = true;
    until_running(&mut lab).await;
    assert_eq!(asked(&lab), 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_stops_stays_away_for_this_window() {
    let mut lab = known(warm(""));
    lab.run(minutes(10)).await;
    until_running(&mut lab).await;
    lab.connect("w1");
    lab.build("w1", Some("b/1"));
    lab.build("w1", None);
    lab.controller().drain(&worker("w1")).expect("is taken");
    lab.until_nothing_is_left().await;
    lab.run(minutes(120)).await;
    assert_eq!(lab.launched(), 1, "{}", lab.story());
    assert!(lab.held("w1").ends_with("until Mon 11:10Z: asked by an operator"), "{}", lab.held("w1"));
    assert_eq!(lab.make_ready("w1").await.as_str().len(), 19, "a build has it all the same");
}

#[tokio::test(start_paused = true)]
async fn what_its_master_lets_go_of_comes_back_if_it_had_built_and_only_then() {
    let mut lab = known(warm(""));
    lab.run(minutes(10)).await;
    for round in 1..=3 {
        lab.until(minutes(5), "another one", |lab| lab.launched() == round).await;
        until_running(&mut lab).await;
        lab.connect("w1");
        lab.build("w1", Some(&format!("b/{round}")));
        lab.run(minutes(2)).await;
        lab.build("w1", None);
        lab.release("w1");
    }
    lab.until(minutes(5), "another one", |lab| lab.launched() == 4).await;
    until_running(&mut lab).await;
    lab.connect("w1");
    lab.release("w1");
    lab.until_nothing_is_left().await;
    lab.run(minutes(60)).await;
    assert_eq!(lab.launched(), 4, "without a build it would be launched for ever");
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_fails_is_tried_again_seldom() {
    let mut lab = known(warm("retry_pause_max = \"30m\"\n"));
    lab.inject(ApiCall::Launch, &Fault::Refuse(FailureKind::Owner, "InvalidGroup.NotFound"), 100);
    lab.run(minutes(180)).await;
    assert!((2..=7).contains(&asked(&lab)), "{}: {}", asked(&lab), lab.story());
    assert_eq!(lab.launched(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_never_connects_is_not_launched_again_and_again() {
    let mut lab = known(warm("connect_deadline = \"3m\"\n"));
    lab.run(minutes(185)).await;
    assert!((2..=7).contains(&lab.launched()), "{}: {}", lab.launched(), lab.story());
}

#[tokio::test(start_paused = true)]
async fn the_hard_budget_holds_in_a_window() {
    let mut lab = known(warm("").budget("alice", "hard = \"0.10\""));
    lab.run(minutes(11)).await;
    until_running(&mut lab).await;
    lab.connect("w1");
    lab.run(minutes(100)).await;
    assert_eq!((lab.costing(), lab.launched(), asked(&lab)), (0, 1, 1), "{}", lab.story());
    assert!(lab.held("w1").contains("hard budget"), "{}", lab.held("w1"));
}

#[tokio::test(start_paused = true)]
async fn it_wears_out_in_a_window_and_is_replaced() {
    let mut lab = known(warm("max_builds = 1\nmax_age = \"1h\"\n"));
    lab.run(minutes(10)).await;
    until_running(&mut lab).await;
    let first = lab.instance("w1");
    lab.connect("w1");
    lab.build("w1", Some("b/1"));
    lab.build("w1", None);
    lab.until(minutes(5), "another one", |lab| lab.launched() == 2).await;
    until_running(&mut lab).await;
    assert_ne!(lab.instance("w1"), first);
    lab.connect("w1");
    lab.run(minutes(70)).await;
    let aged = lab.count(|body| matches!(body, Body::TerminateIntended { cause: Cause::Aged, .. }));
    assert_eq!(aged, 1, "{}", lab.story());
}

#[tokio::test(start_paused = true)]
async fn a_crash_launches_no_second_one() {
    for after_ms in [0, 150, 600, 2_000] {
        let mut lab = known(warm(""));
        lab.run(minutes(9)).await;
        lab.until(minutes(2), "a wish", |lab| asked(lab) == 1).await;
        lab.clock.sleep_until(lab.now() + TimeDelta::milliseconds(after_ms)).await;
        lab.crash_and_start().await;
        lab.say("w1", |_| {});
        until_running(&mut lab).await;
        lab.connect("w1");
        lab.run(minutes(20)).await;
        assert_eq!((lab.launched(), lab.state("w1").as_str()), (1, "ready"), "{after_ms}: {}", lab.story());
    }
}
