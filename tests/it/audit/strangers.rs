//! Reports of accounts in which something is that no record explains.

use latent::model::tag_keys;
use latent::plan::meter::Use;

use super::desk::{Asked, REGION, adds_up, line, report};
use crate::harness::{Lab, minutes};
use crate::setup::Setup;

/// A fleet whose controller is dead while somebody launches in its name.
async fn haunted() -> (Lab, String) {
    let mut lab = Lab::new(Setup::new());
    lab.make_ready("w1").await;
    lab.crash().await;
    let planted = lab.plant("w1", "999-1", |tags| {
        tags.set(tag_keys::OWNER, "alice");
    });
    lab.clock.sleep_until(lab.now() + minutes(180)).await;
    (lab, planted.to_string())
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_no_record_explains_is_a_leftover_and_a_difference() {
    let (lab, planted) = haunted().await;
    let told = report(&lab, &Asked::of("alice", lab.entries()[0].at)).await;
    adds_up(&told);
    let own = line(&told, &planted);
    assert!(own.uses.contains_key(&Use::Zombie) || own.uses.contains_key(&Use::Unknown), "{own:#?}");
    assert_eq!(own.hours.ledger, None);
    assert!(told.leftovers.iter().any(|one| one.id == planted && one.instance), "{:#?}", told.leftovers);
    assert!(told.differences.iter().any(|one| one.instance == planted), "{:#?}", told.differences);
    assert!(told.headline.zombies >= 1);
    assert!(told.savings.iter().any(|one| one.command == "latent sweep --owner alice --apply"), "{:#?}", told.savings);
    assert!(told.headline.saved_month.high > latent::policy::price::Money::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_owner_alone_sees_every_instance_and_what_it_cost_but_not_what_for() {
    let (lab, planted) = haunted().await;
    let begun = lab.entries()[0].at;
    let told = report(&lab, &Asked { ledger: false, ..Asked::of("alice", begun) }).await;
    adds_up(&told);
    assert_eq!(told.instances.len(), 2);
    assert!(told.instances.iter().all(|line| line.cost.is_some()), "{:#?}", told.instances);
    assert!(line(&told, &planted).hours.cloudtrail.is_some());
    assert!(told.unseen.iter().any(|one| one.what.contains("ledger")), "{:#?}", told.unseen);
    assert_eq!(told.ledger, None);
    let ledger = told.sources.iter().find(|source| source.name == "ledger").expect("is named");
    assert!(!ledger.used);
}

#[tokio::test(start_paused = true)]
async fn a_machine_of_the_owners_own_is_not_in_the_report() {
    let mut lab = Lab::new(Setup::new());
    lab.make_ready("w1").await;
    let stranger = lab.stranger("us-west-2a");
    lab.run(minutes(40)).await;
    let told = report(&lab, &Asked::of("alice", lab.entries()[0].at)).await;
    assert_eq!(told.instances.len(), 1);
    let text = serde_json::to_string(&told).expect("json");
    assert!(!text.contains(stranger.as_str()), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_another_owner_has_in_the_same_account_is_not_in_the_report() {
    let setup = Setup::new().owner("bob", "111111111111").image("bobs", "bob", REGION, "").worker("hidden", "bobs");
    let mut lab = Lab::new(setup);
    lab.make_ready("w1").await;
    let bobs = lab.make_ready("hidden").await;
    lab.run(minutes(5)).await;
    for ledger in [true, false] {
        let asked = Asked { ledger, ..Asked::of("alice", lab.entries()[0].at) };
        let told = report(&lab, &asked).await;
        assert_eq!(told.instances.len(), 1, "with {asked:?}: {:#?}", told.instances);
        let text = serde_json::to_string(&told).expect("json");
        assert!(!text.contains(bobs.as_str()) && !text.contains("hidden"), "with {asked:?}: {text}");
    }
}
