//! A canary whose controller dies, at any of its steps.

use chrono::TimeDelta;
use latent::model::{Body, InstanceState};

use super::canary::{NEW, ask, goes_on, known, phase, runs, until_phase, why, wish, with_smoke};
use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds, worker};
use crate::setup::Setup;

/// Whether a step has begun.
type Done = fn(&Body) -> bool;

/// Plays a whole canary with the controller killed once, this long after it begins to do a thing.
async fn with_a_kill(done: impl Fn(&Body) -> bool, after_ms: i64) -> Lab {
    let mut lab = known(Setup::new());
    ask(&lab, &wish());
    let (mut killed, mut connected) = (false, 0);
    let end = lab.now() + minutes(20);
    while !killed || phase(&lab) != "passed" {
        assert!(lab.now() < end && phase(&lab) != "failed", "{}", lab.story());
        if !killed && lab.count(&done) > 0 {
            killed = true;
            lab.clock.sleep_until(lab.now() + TimeDelta::milliseconds(after_ms)).await;
            lab.crash_and_start().await;
        }
        let view = lab.view("w1");
        let up = view.instance_state.as_deref() == Some("running") && view.state == "registering";
        if up && matches!((connected, phase(&lab).as_str()), (0, "starting") | (1, "restarting")) {
            connected += 1;
            lab.connect("w1");
        }
        lab.run(seconds(1)).await;
    }
    lab
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_step_changes_nothing_about_a_canary() {
    let steps: [(&str, Done); 9] = [
        ("asked", |body| matches!(body, Body::CanarySet { .. })),
        ("launch", |body| matches!(body, Body::LaunchIntended { .. })),
        ("launched", |body| matches!(body, Body::Launched { .. })),
        ("connected", |body| matches!(body, Body::Attached { .. })),
        ("let go", |body| matches!(body, Body::Detached { .. } | Body::Released { .. })),
        ("stop", |body| matches!(body, Body::StopIntended { .. })),
        ("stopped", |body| matches!(body, Body::StopSeen { .. })),
        ("start", |body| matches!(body, Body::StartIntended { .. })),
        ("end", |body| matches!(body, Body::TerminateIntended { .. })),
    ];
    for (name, step) in steps {
        for after_ms in [0, 110, 250, 1500] {
            let mut lab = with_a_kill(step, after_ms).await;
            lab.until_nothing_is_left().await;
            assert_eq!((lab.launched(), lab.state("w1").as_str()), (1, "gone"), "{name} {after_ms}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_launch_of_a_canary_without_an_answer_is_found_again() {
    for fault in [Fault::LoseReply, Fault::Unreachable, Fault::Hang] {
        let mut lab = known(Setup::new());
        lab.inject(ApiCall::Launch, &fault, 1);
        ask(&lab, &wish());
        runs(&mut lab, "starting").await;
        assert_eq!(lab.launched(), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_worker_waits_and_an_operator_may_take_the_canary_away() {
    let mut lab = known(Setup::new());
    ask(&lab, &with_smoke());
    let id = runs(&mut lab, "starting").await;
    lab.connect("w1");
    lab.controller().hold(&worker("w1"), minutes(30)).expect("it is held");
    lab.run(minutes(10)).await;
    assert_eq!((phase(&lab).as_str(), lab.instance_state(&id)), ("connected", InstanceState::Running));
    assert!(lab.held("w1").contains("operator's hold"), "{}", lab.held("w1"));
    lab.controller().unhold(&worker("w1")).expect("it is not held");
    until_phase(&mut lab, "failed", seconds(20)).await;
    lab.until_nothing_is_left().await;
    let mut lab = known(Setup::new());
    ask(&lab, &with_smoke());
    runs(&mut lab, "starting").await;
    lab.connect("w1");
    lab.controller().drain(&worker("w1")).expect("it is drained");
    until_phase(&mut lab, "failed", seconds(20)).await;
    assert!(why(&lab).contains("asked by an operator"), "{}", why(&lab));
    lab.until_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn launches_are_counted_by_ami_and_canaries_are_not() {
    let image =
        |ami: &str, lines: &str| Setup::new().image_of("debian", "alice", "us-west-2", ami, "\"m7i.large\"", lines);
    let mut lab =
        known(image("ami-1", "").policy("connect_deadline = \"5m\"\nretry_pause = \"1s\"\nretry_pause_max = \"1s\""));
    lab.make_ready("w1").await;
    lab.release("w1");
    lab.until_nothing_is_left().await;
    ask(&lab, &wish());
    runs(&mut lab, "starting").await;
    lab.connect("w1");
    goes_on(&mut lab).await;
    lab.request("w1");
    lab.until(minutes(7), "a failure", |lab| lab.failure("w1").is_some()).await;
    lab.until_nothing_is_left().await;
    let of = |lab: &Lab, ami: &str| lab.controller().amis().into_iter().find(|one| one.ami.as_str() == ami);
    let one = of(&lab, "ami-1").expect("is counted");
    assert_eq!((one.image.as_str(), one.starts, one.connected, one.failed), ("debian", 2, 1, 1));
    assert_eq!((one.connect_seconds.len(), one.generation), (1, None));
    assert!(one.connect_seconds[0] < 60 && one.first_at < one.last_at);
    assert!(of(&lab, NEW).is_none());
    // After a restart the same, from the ledger.
    lab.crash_and_start().await;
    assert_eq!(of(&lab, "ami-1"), Some(one));
    // Ended before it connected, and the generation that the manifest says.
    lab.reconfigure(image("ami-2", "generation = 7"));
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    assert_eq!(lab.view("w1").generation, Some(7));
    let (id, now) = (lab.instance("w1"), lab.now() + seconds(30));
    lab.run(seconds(30)).await;
    lab.world(|site| site.power_off(&id, now));
    lab.until(minutes(2), "its end", |lab| lab.failure("w1").is_some()).await;
    let two = of(&lab, "ami-2").expect("is counted");
    assert_eq!((two.generation, two.starts, two.connected, two.failed), (Some(7), 1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn of_an_image_the_last_eight_amis_are_remembered() {
    let image = |number: usize| {
        Setup::new().image_of("debian", "alice", "us-west-2", &format!("ami-{number}"), "\"m7i.large\"", "")
    };
    let mut lab = known(image(0));
    for number in 0..11 {
        lab.reconfigure(image(number));
        lab.make_ready("w1").await;
        lab.release("w1");
        lab.until_nothing_is_left().await;
    }
    let kept: Vec<String> = lab.controller().amis().into_iter().map(|one| one.ami.to_string()).collect();
    assert_eq!(kept, (3..11).map(|number| format!("ami-{number}")).collect::<Vec<_>>());
}
