//! A launch that is refused after a call without an answer: the refusal says nothing of that call, so
//! nothing is tried elsewhere before a listing has shown that it launched nothing.

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds};
use crate::setup::Setup;
use latent::model::{Body, FailureKind, InstanceId, tag_keys};

const NO_CAPACITY: Fault = Fault::Refuse(FailureKind::Elsewhere, "InsufficientInstanceCapacity");

fn two_zones() -> Lab {
    let setup = Setup::new().image("debian", "alice", "us-west-2", "zones = [\"us-west-2a\", \"us-west-2b\"]");
    Lab::new(setup.policy("absence_grace = \"3m\""))
}

fn zones(lab: &Lab) -> Vec<String> {
    let intended = lab.entries().into_iter().filter_map(|entry| match entry.body {
        Body::LaunchIntended { attempt, .. } => attempt.spec,
        _ => None,
    });
    intended.map(|spec| spec.offering.place.to_string()).collect()
}

/// The first call launches, its answer is lost, and no listing shows the instance yet.
async fn launched_unseen(lab: &mut Lab) -> InstanceId {
    lab.inject(ApiCall::Launch, &Fault::LoseReply, 1);
    lab.request("w1");
    lab.until(seconds(5), "a launch", |lab| lab.launched() == 1).await;
    let id = lab.world(|site| site.ever().next().map(|instance| instance.id.clone())).expect("an instance");
    lab.world(|site| site.hide(&id, true));
    id
}

fn show(lab: &Lab, id: &InstanceId) {
    lab.world(|site| site.hide(id, false));
}

#[tokio::test(start_paused = true)]
async fn what_the_first_call_launched_is_found_although_the_second_was_refused() {
    let mut lab = two_zones();
    let id = launched_unseen(&mut lab).await;
    lab.inject(ApiCall::Launch, &NO_CAPACITY, 1);
    lab.run(minutes(2)).await;
    assert_eq!((lab.calls(ApiCall::Launch), lab.state("w1").as_str()), (2, "launching"));
    assert!(lab.held("w1").starts_with("refused (no capacity here) after a call without"), "{}", lab.held("w1"));
    show(&lab, &id);
    lab.until(seconds(10), "found", |lab| lab.state("w1") == "registering").await;
    lab.run(minutes(5)).await;
    assert_eq!((lab.instance("w1"), lab.launched(), zones(&lab).len()), (id, 1, 1));
    assert!(lab.fleet().offerings.is_empty(), "the place had capacity");
}

#[tokio::test(start_paused = true)]
async fn when_nothing_shows_the_next_place_is_tried_in_time() {
    let mut lab = two_zones();
    lab.inject(ApiCall::Launch, &Fault::Hang, 1);
    lab.inject(ApiCall::Launch, &NO_CAPACITY, 1);
    lab.request("w1");
    lab.run(minutes(3)).await;
    assert_eq!((zones(&lab).len(), lab.calls(ApiCall::Launch)), (1, 2), "looked for, and not sent again");
    lab.until(minutes(2), "elsewhere", |lab| lab.state("w1") == "registering").await;
    assert_eq!((zones(&lab), lab.launched()), (vec!["us-west-2a".to_owned(), "us-west-2b".to_owned()], 1));
    assert!(lab.failure("w1").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_throttles_alone_leads_elsewhere_at_once() {
    let mut lab = two_zones();
    lab.inject(ApiCall::Launch, &Fault::Refuse(FailureKind::Throttled, "RequestLimitExceeded"), 2);
    lab.inject(ApiCall::Launch, &NO_CAPACITY, 1);
    lab.request("w1");
    lab.until(seconds(20), "elsewhere", |lab| lab.state("w1") == "registering").await;
    assert_eq!((zones(&lab).len(), lab.launched()), (2, 1));
}

/// The controller dies so long after the first call was sent; the next one's call is refused.
async fn crash_between_the_calls(after_ms: i64) {
    let mut lab = two_zones();
    let id = launched_unseen(&mut lab).await;
    lab.clock.sleep_until(lab.now() + chrono::TimeDelta::milliseconds(after_ms)).await;
    lab.crash().await;
    lab.inject(ApiCall::Launch, &NO_CAPACITY, 5);
    lab.start();
    lab.until(seconds(10), "a second call", |lab| lab.calls(ApiCall::Launch) == 2).await;
    lab.run(minutes(1)).await;
    // Dies once more while it looks: what it knew of the refusal is gone, the doubt is not.
    lab.crash_and_start().await;
    lab.run(minutes(2)).await;
    assert_eq!((lab.calls(ApiCall::Launch), zones(&lab).len()), (3, 1), "{}", lab.story());
    show(&lab, &id);
    lab.until(seconds(10), "found", |lab| lab.state("w1") == "registering").await;
    lab.run(minutes(5)).await;
    assert_eq!((lab.instance("w1"), lab.launched(), zones(&lab).len()), (id, 1, 1), "{after_ms} ms\n{}", lab.story());
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_two_calls_keeps_the_doubt() {
    for after_ms in [0, 50, 150, 500] {
        crash_between_the_calls(after_ms).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_a_call_that_launched_nothing_costs_the_time_to_look_and_no_more() {
    let mut lab = two_zones();
    lab.inject(ApiCall::Launch, &Fault::Hang, 1);
    lab.request("w1");
    lab.until_state("w1", "launching").await;
    lab.inject(ApiCall::Launch, &NO_CAPACITY, 1);
    lab.crash_and_start().await;
    lab.until(minutes(4), "elsewhere", |lab| lab.state("w1") == "registering").await;
    assert_eq!((zones(&lab).len(), lab.launched()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_person_must_mend_is_said_when_nothing_was_found() {
    let mut lab = two_zones();
    lab.inject(ApiCall::Launch, &Fault::Hang, 1);
    lab.inject(ApiCall::Launch, &Fault::Refuse(FailureKind::Owner, "InvalidGroup.NotFound"), 1);
    lab.request("w1");
    lab.until(minutes(5), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("launch owner must fix InvalidGroup.NotFound"));
    assert_eq!((lab.state("w1").as_str(), lab.launched()), ("gone", 0));
}

#[tokio::test(start_paused = true)]
async fn the_request_is_answered_at_its_deadline_while_it_is_looked_for() {
    let setup = Setup::new().policy("absence_grace = \"5m\"\nlaunch_deadline = \"3m\"");
    let mut lab = Lab::new(setup);
    let id = launched_unseen(&mut lab).await;
    lab.inject(ApiCall::Launch, &NO_CAPACITY, 1);
    lab.until(minutes(4), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("launch no capacity here LaunchOpen"));
    show(&lab, &id);
    lab.until_nothing_is_left().await;
    assert_eq!((lab.state("w1").as_str(), lab.launched()), ("gone", 1));
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_known_by_its_token_when_its_tags_were_changed() {
    let mut lab = two_zones();
    let id = launched_unseen(&mut lab).await;
    lab.inject(ApiCall::Launch, &NO_CAPACITY, 1);
    let now = lab.now();
    lab.world(|site| site.retag_from_outside(&id, now, |tags| drop(tags.remove(tag_keys::ATTEMPT))));
    show(&lab, &id);
    lab.until(minutes(1), "found", |lab| lab.state("w1") == "registering").await;
    lab.run(minutes(5)).await;
    assert_eq!((lab.instance("w1"), lab.launched()), (id, 1));
}
