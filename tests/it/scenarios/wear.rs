//! `max_builds` and `max_age`: an instance that has served long enough makes way for a fresh one.

use latent::model::{Body, Cause, InstanceState};

use crate::harness::{Lab, minutes};
use crate::setup::Setup;

fn ended_for(lab: &Lab, cause: &Cause) -> usize {
    lab.count(|body| matches!(body, Body::TerminateIntended { cause: why, .. } if why == cause))
}

fn builds(lab: &mut Lab, from: u32, to: u32) {
    for number in from..=to {
        lab.build("w1", Some(&format!("b/{number}")));
        lab.build("w1", None);
    }
}

#[tokio::test(start_paused = true)]
async fn after_so_many_builds_the_next_instance_is_a_fresh_one() {
    let mut lab = Lab::new(Setup::new().policy("max_builds = 3"));
    let first = lab.make_ready("w1").await;
    builds(&mut lab, 1, 2);
    lab.run(minutes(2)).await;
    assert_eq!(lab.state("w1"), "ready");
    lab.build("w1", Some("b/3"));
    lab.run(minutes(40)).await;
    // Its master is asked at once, so that no fourth build begins; the third one is waited for.
    assert_eq!((lab.state("w1").as_str(), lab.view("w1").order.as_deref()), ("draining", Some("drain")));
    assert_eq!(lab.instance_state(&first), InstanceState::Running);
    let levers = lab.view("w1").levers;
    assert_eq!((levers.builds, levers.builds_max), (Some(3), Some(3)));
    lab.build("w1", None);
    lab.until_nothing_is_left().await;
    assert_eq!(ended_for(&lab, &Cause::Worn), 1, "{}", lab.story());
    assert_ne!(lab.make_ready("w1").await, first);
    builds(&mut lab, 4, 5);
    lab.run(minutes(1)).await;
    assert_eq!((lab.state("w1").as_str(), lab.view("w1").levers.builds), ("ready", Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_build_that_outlasts_every_deadline_is_not_ended_for_its_number() {
    let mut lab = Lab::new(Setup::new().policy("max_builds = 1\ndrain_deadline = \"5m\"\nmaster_silence = \"5m\""));
    let id = lab.make_ready("w1").await;
    lab.build("w1", Some("b/1"));
    lab.master.speaks = false;
    lab.run(minutes(60)).await;
    assert_eq!(lab.instance_state(&id), InstanceState::Running, "{}", lab.story());
}

#[tokio::test(start_paused = true)]
async fn a_worn_instance_of_a_stopped_pool_is_terminated_and_others_are_stopped() {
    let mut lab = Lab::new(Setup::new().policy("on_idle = \"stop\"\nmax_builds = 2"));
    let first = lab.make_ready("w1").await;
    builds(&mut lab, 1, 1);
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    assert_eq!(lab.make_ready("w1").await, first, "it has one build left");
    // The same build, told of again after a lost connection, is the same one.
    lab.build("w1", Some("b/1"));
    lab.build("w1", None);
    assert_eq!(lab.view("w1").levers.builds, Some(1));
    builds(&mut lab, 2, 2);
    lab.until_nothing_is_left().await;
    assert_eq!((ended_for(&lab, &Cause::Worn), lab.state("w1").as_str()), (1, "gone"), "{}", lab.story());
    assert_ne!(lab.make_ready("w1").await, first);
}

#[tokio::test(start_paused = true)]
async fn builds_are_counted_over_a_crash() {
    let mut lab = Lab::new(Setup::new().policy("max_builds = 2"));
    lab.make_ready("w1").await;
    builds(&mut lab, 1, 1);
    lab.crash_and_start().await;
    lab.run(minutes(1)).await;
    assert_eq!(lab.state("w1"), "ready");
    builds(&mut lab, 2, 2);
    lab.until_nothing_is_left().await;
    assert_eq!(ended_for(&lab, &Cause::Worn), 1);
}

#[tokio::test(start_paused = true)]
async fn an_old_instance_goes_when_its_build_is_over() {
    let mut lab = Lab::new(Setup::new().policy("max_age = \"1h\"\nidle_timeout = \"never\""));
    let id = lab.make_ready("w1").await;
    lab.run(minutes(50)).await;
    lab.build("w1", Some("b/1"));
    lab.run(minutes(100)).await;
    assert_eq!(lab.instance_state(&id), InstanceState::Running, "far beyond max_age and drain_deadline");
    lab.build("w1", None);
    lab.until_nothing_is_left().await;
    assert_eq!(ended_for(&lab, &Cause::Aged), 1, "{}", lab.story());
}

#[tokio::test(start_paused = true)]
async fn an_old_stopped_instance_is_not_started_any_more() {
    let mut lab = Lab::new(Setup::new().policy("on_idle = \"stop\"\nmax_age = \"2h\""));
    let old = lab.make_ready("w1").await;
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    lab.run(minutes(110)).await;
    assert_eq!(lab.make_ready("w1").await, old, "not old yet");
    lab.release("w1");
    lab.until_state("w1", "stopped").await;
    lab.run(minutes(15)).await;
    assert!(lab.instance_state(&old).is_ending(), "{}", lab.story());
    assert_ne!(lab.make_ready("w1").await, old);
}
