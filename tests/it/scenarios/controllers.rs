//! Two controllers of one fleet by mistake: of one worker there is one instance, and each leaves the
//! other's alone.

use crate::account::ApiCall;
use crate::harness::{Lab, minutes, seconds};
use crate::setup::Setup;
use latent::model::{Body, Cause, InstanceState};

fn other() -> Setup {
    Setup::new().controller("other")
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_another_controller_runs_is_not_launched_and_the_request_says_who() {
    let mut first = Lab::new(Setup::new());
    let id = first.make_ready("w1").await;
    first.build("w1", Some("builder/1"));
    let mut second = first.beside(other().policy("launch_deadline = \"4m\""));
    second.request("w1");
    second.run(minutes(3)).await;
    assert_eq!(second.held("w1"), format!("controller ctl runs {id} for this worker"));
    assert!(second.failure("w1").is_none(), "not before its deadline");
    second.until(minutes(2), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(second.failure("w1").as_deref(), Some("launch owner must fix OtherController"));
    let failure = second.view("w1").failure.expect("a failure");
    for part in ["controller ctl", id.as_str(), "controller other", "fleet test", "stop one of the two"] {
        assert!(failure.message.contains(part), "{part}: {}", failure.message);
    }
    assert!(failure.fatal);
    second.run(minutes(30)).await;
    first.run(minutes(1)).await;
    assert_eq!((first.launched(), first.calls(ApiCall::Terminate)), (1, 0));
    assert_eq!((first.state("w1").as_str(), first.instance_state(&id)), ("busy", InstanceState::Running));
}

#[tokio::test(start_paused = true)]
async fn the_request_is_met_when_the_other_controllers_instance_has_ended_in_time() {
    let mut first = Lab::new(Setup::new());
    let id = first.make_ready("w1").await;
    let mut second = first.beside(other());
    second.request("w1");
    second.run(minutes(2)).await;
    assert_eq!(first.launched(), 1);
    first.release("w1");
    first.until(minutes(1), "its end", |lab| lab.instance_state(&id).is_ending()).await;
    second.until_state("w1", "registering").await;
    assert_eq!(first.costing(), 1);
    first.run(minutes(2)).await;
    first.request("w1");
    first.run(minutes(2)).await;
    assert!(first.held("w1").starts_with("controller other runs i-"), "{}", first.held("w1"));
    assert_eq!(first.launched(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_is_not_started_beside_another_controllers() {
    let mut first = Lab::new(Setup::new().policy("on_idle = \"stop\"\nlaunch_deadline = \"3m\""));
    let stopped = first.make_ready("w1").await;
    first.release("w1");
    first.until_state("w1", "stopped").await;
    let mut second = first.beside(other());
    let theirs = second.make_ready("w1").await;
    first.request("w1");
    first.until(minutes(4), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(first.failure("w1").as_deref(), Some("launch owner must fix OtherController"));
    assert_eq!(first.calls(ApiCall::Start), 0);
    second.release("w1");
    second.until(minutes(1), "its end", |lab| lab.instance_state(&theirs).is_ending()).await;
    assert_eq!(first.make_ready("w1").await, stopped);
}

#[tokio::test(start_paused = true)]
async fn of_two_launches_in_one_second_the_later_gives_way() {
    let mut first = Lab::new(Setup::new());
    let mut second = first.beside(other());
    first.run(seconds(30)).await;
    first.request("w1");
    second.run(seconds(1)).await;
    second.request("w1");
    second.until(minutes(1), "both", |lab| lab.launched() == 2).await;
    second.until(minutes(1), "one", |lab| lab.costing() == 1).await;
    second.run(seconds(5)).await;
    let gives_way = |body: &Body| matches!(body, Body::TerminateIntended { cause: Cause::Twin, .. });
    assert_eq!((first.count(gives_way), second.count(gives_way)), (0, 1));
    assert!(second.held("w1").starts_with("controller ctl runs i-"), "{}", second.held("w1"));
    assert!(first.view("w1").waiting && second.view("w1").waiting);
    first.connect("w1");
    first.run(minutes(5)).await;
    assert_eq!((first.state("w1").as_str(), first.launched()), ("ready", 2));
}

#[tokio::test(start_paused = true)]
async fn other_workers_of_another_controller_are_in_nobodys_way() {
    let two = |setup: Setup| setup.image("fedora", "alice", "us-west-2", "").worker("w2", "fedora");
    let mut first = Lab::new(two(Setup::new()));
    first.make_ready("w1").await;
    let mut second = first.beside(two(other()));
    second.request("w2");
    second.until(seconds(10), "a launch", |lab| lab.state("w2") == "registering").await;
}
