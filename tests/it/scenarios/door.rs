//! The door of a running controller: twins that are turned away and ended, and listings asked for early.

use latent::model::{Actor, Body, Cause, InstanceId, InstanceState};
use latent::plan::{Admission, Info};

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds, worker};
use crate::setup::Setup;

/// Somebody knocks as w1 from an address, and waits for the answer.
async fn knock(lab: &Lab, peer: &str) -> Admission {
    let master = Actor::Master("m1".parse().expect("a master id"));
    let admitted = lab.controller().admit(&master, &worker("w1"), Some(peer), &Info::default()).await;
    admitted.expect("a known worker")
}

fn private_address(lab: &Lab, id: &InstanceId) -> String {
    lab.world(|site| site.instance(id).expect("an instance").private_ip.clone())
}

fn turned_away(lab: &Lab) -> usize {
    lab.count(|body| matches!(body, Body::TurnedAway { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_twin_is_turned_away_told_and_ended_and_nothing_else_is() {
    let mut lab = Lab::new(Setup::new().policy("idle_timeout = \"never\"\nmax_lifetime = \"10h\""));
    let present = lab.make_ready("w1").await;
    let twin = lab.plant("w1", "0-9", |_| {});
    let foreign = lab.plant("w1", "0-8", |tags| {
        tags.set("latent:controller", "another");
    });
    lab.run(minutes(1)).await;
    let from = private_address(&lab, &twin);
    for _ in 0..20 {
        let answer = knock(&lab, &from).await;
        assert!(!answer.admit, "{answer:?}");
        assert_eq!(answer.twin.as_ref(), Some(&twin));
        lab.run(seconds(3)).await;
    }
    let told = lab.view("w1").turned_away;
    assert_eq!((told.len(), told[0].times, turned_away(&lab)), (1, 20, 1), "written once, not at each knock");
    let stranger = knock(&lab, &private_address(&lab, &foreign)).await;
    assert!(!stranger.admit && stranger.twin.is_none(), "it is not ours to end: {stranger:?}");
    assert!(knock(&lab, &private_address(&lab, &present)).await.admit);
    lab.until(minutes(10), "the twin is ended", |lab| lab.instance_state(&twin).is_ending()).await;
    let caused =
        |body: &Body| matches!(body, Body::TerminateIntended { instance, cause: Cause::Twin, .. } if *instance == twin);
    assert_eq!(lab.count(caused), 1);
    lab.run(minutes(20)).await;
    assert_eq!(lab.instance_state(&foreign), InstanceState::Running);
    assert_eq!((lab.state("w1"), lab.instance("w1")), ("ready".to_owned(), present));
    assert!(lab.view("w1").turned_away.is_empty(), "what is long ago is told by the history alone");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_newer_than_the_listing_is_looked_up_before_the_answer() {
    let mut lab = Lab::new(Setup::new().policy("idle_timeout = \"never\""));
    let id = lab.make_ready("w1").await;
    lab.run(minutes(2)).await;
    let now = lab.now();
    let elastic = lab.world(|site| {
        let address = site.allocate_address(latent::sim::Tags::new()).expect("one").clone();
        site.associate_address(&address.id, &id, true, now).expect("it runs");
        address.ip
    });
    let listings = lab.calls(ApiCall::Inventory);
    let asked = lab.now();
    let answer = knock(&lab, &elastic).await;
    assert!(answer.admit && answer.proof.contains("an address of"), "{answer:?}");
    assert!(lab.now() - asked <= seconds(5), "{}", lab.now() - asked);
    assert_eq!(lab.calls(ApiCall::Inventory), listings + 1);
    let listings = lab.calls(ApiCall::Inventory);
    for _ in 0..20 {
        knock(&lab, "198.51.100.77").await;
    }
    assert!(lab.calls(ApiCall::Inventory) <= listings + 1, "who knocks again and again costs no calls");
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_five_seconds_for_a_listing_and_no_longer() {
    let mut lab = Lab::new(Setup::new().policy("idle_timeout = \"never\""));
    lab.make_ready("w1").await;
    lab.run(minutes(2)).await;
    lab.inject(ApiCall::Inventory, &Fault::Hang, 5);
    let asked = lab.now();
    let answer = knock(&lab, "198.51.100.77").await;
    let waited = lab.now() - asked;
    assert!(waited <= seconds(5) && waited > seconds(2), "{waited}");
    assert!(!answer.admit || answer.proof.starts_with("not proved"), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_knocks_before_any_listing_waits_for_the_first() {
    let mut lab = Lab::new(Setup::new().policy("idle_timeout = \"never\""));
    let id = lab.make_ready("w1").await;
    let from = private_address(&lab, &id);
    lab.crash_and_start().await;
    let answer = knock(&lab, &from).await;
    assert!(answer.admit && answer.proof.contains("an address of"), "{answer:?}");
    lab.lose_ledger();
    lab.crash_and_start().await;
    let answer = knock(&lab, &from).await;
    assert!(answer.admit && answer.proof.contains("an address of"), "adopted at the first listing: {answer:?}");
}
