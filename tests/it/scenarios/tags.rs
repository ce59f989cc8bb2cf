//! Third parties who change tags: what the ledger explains is found by its id, whatever its tags say.

use latent::model::{Body, FailureKind, InstanceId, tag_keys};
use latent::sim::Tags;

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds};
use crate::setup::Setup;

fn strip(lab: &Lab, id: &InstanceId) -> Tags {
    let (mut before, now) = (Tags::new(), lab.now());
    lab.world(|site| site.retag_from_outside(id, now, |tags| before = std::mem::take(tags)));
    before
}

fn without_the_fleet_tag(lab: &Lab, id: &InstanceId) -> Tags {
    let before = strip(lab, id);
    let mut left = before.clone();
    left.remove(tag_keys::FLEET);
    put_back(lab, id, &left);
    before
}

fn put_back(lab: &Lab, id: &InstanceId, tags: &Tags) {
    let now = lab.now();
    lab.world(|site| site.retag_from_outside(id, now, |own| own.clone_from(tags)));
}

fn lost(lab: &Lab) -> usize {
    lab.count(|body| matches!(body, Body::Lost { .. } | Body::Departed { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_busy_instance_whose_tags_are_removed_is_not_forgotten_and_gets_no_twin() {
    for spoil in [strip, without_the_fleet_tag] {
        let mut lab = Lab::new(Setup::new().policy("absence_grace = \"2m\""));
        let id = lab.make_ready("w1").await;
        lab.build("w1", Some("builder/1"));
        spoil(&lab, &id);
        lab.run(minutes(20)).await;
        assert_eq!((lab.state("w1"), lab.instance("w1")), ("busy".to_owned(), id.clone()));
        let strange: Vec<_> = lab.controller().cells().into_iter().flat_map(|cell| cell.strange).collect();
        let said = format!("in use by w1, but somebody changed its tags: no tag {}", tag_keys::FLEET);
        assert_eq!(strange, [(id.to_string(), said)]);
        lab.build("w1", None);
        lab.release("w1");
        lab.until_nothing_is_left().await;
        assert_eq!(lab.launched(), 1);
        lab.make_ready("w1").await;
        assert_eq!(lab.launched(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn tags_that_return_make_all_as_before() {
    let mut lab = Lab::new(Setup::new().policy("absence_grace = \"2m\"\nidle_timeout = \"never\""));
    let id = lab.make_ready("w1").await;
    let (mut usual, mut watched) = (lab.calls(ApiCall::Inventory), 0);
    lab.run(minutes(10)).await;
    usual = lab.calls(ApiCall::Inventory) - usual;
    let tags = without_the_fleet_tag(&lab, &id);
    watched = lab.calls(ApiCall::Inventory) - watched;
    lab.run(minutes(10)).await;
    watched = lab.calls(ApiCall::Inventory) - watched;
    assert!(watched.abs_diff(2 * usual) <= 1, "one call more per listing: {usual} and {watched}");
    put_back(&lab, &id, &tags);
    lab.run(minutes(2)).await;
    assert!(lab.controller().cells().iter().all(|cell| cell.strange.is_empty()));
    let again = lab.calls(ApiCall::Inventory);
    lab.run(minutes(10)).await;
    assert!((lab.calls(ApiCall::Inventory) - again).abs_diff(usual) <= 1, "and none when nothing is missing");
    assert_eq!((lab.state("w1"), lab.instance("w1"), lost(&lab)), ("ready".to_owned(), id, 0));
    lab.release("w1");
    lab.until_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_without_tags_is_found_again_after_a_restart() {
    let mut lab = Lab::new(Setup::new().policy("absence_grace = \"2m\""));
    let id = lab.make_ready("w1").await;
    lab.build("w1", Some("builder/1"));
    strip(&lab, &id);
    lab.crash_and_start().await;
    lab.run(minutes(20)).await;
    assert_eq!((lab.state("w1"), lab.instance("w1"), lab.launched()), ("busy".to_owned(), id.clone(), 1));
    let now = lab.now();
    lab.world(|world| world.end_from_outside(&id, now, "Client.UserInitiatedShutdown"));
    lab.until(minutes(2), "its end is seen", |lab| lab.state("w1") == "gone").await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_refused_is_repeated_although_the_tags_are_gone() {
    let mut lab = Lab::new(Setup::new().policy("absence_grace = \"2m\""));
    let id = lab.make_ready("w1").await;
    lab.inject(ApiCall::Terminate, &Fault::Refuse(FailureKind::Credentials, "UnauthorizedOperation"), 10);
    strip(&lab, &id);
    lab.release("w1");
    lab.until_state("w1", "terminating").await;
    lab.request("w1");
    lab.run(minutes(4)).await;
    assert_eq!((lab.launched(), lost(&lab)), (1, 0), "{}", lab.story());
    lab.until(minutes(10), "its end", |lab| lab.instance_state(&id).is_ending()).await;
    lab.until(minutes(2), "a new one", |lab| lab.launched() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_without_tags_delays_no_other() {
    let setup = Setup::new().image("fedora", "alice", "us-west-2", "").worker("w2", "fedora");
    let mut lab = Lab::new(setup.policy("lease = \"10m\"\nidle_timeout = \"never\""));
    let (first, second) = (lab.make_ready("w1").await, lab.make_ready("w2").await);
    strip(&lab, &first);
    for _ in 0..10 {
        lab.run(minutes(3)).await;
        let lease = lab.view("w2").lease.expect("a lease");
        assert!(lease > lab.now() + minutes(1) + seconds(30), "{lease} at {}", lab.now());
    }
    lab.world(|world| {
        let of = |id: &InstanceId| world.instance(id).and_then(|i| i.tag(tag_keys::LEASE));
        assert!(of(&first).is_some() && of(&second).is_some(), "both are vouched for");
    });
}
