//! What a rebake replaced goes in stages, over weeks: and stays as long as anybody may need it.

use std::sync::atomic::Ordering;

use chrono::TimeDelta;
use latent::control::Standing;
use latent::model::{Outcome, RebakeBody, RetireStage, StopMode};
use latent::sim::run::rebake::{Case, House, Work};
use latent::sim::{ApiError, Mishap, RunInstances};

use super::{house, succeeds};

fn with_an_older_generation() -> House {
    house(Case { older: true, ..Case::default() })
}

/// The stages that were done, with the days between them.
fn stages(house: &House) -> Vec<(RetireStage, i64)> {
    let begun = house.order.at;
    let entries = house.entries().into_iter();
    let done = entries.filter_map(|entry| match entry.body {
        RebakeBody::Retired { stage, .. } => Some((stage, (entry.at - begun).num_days())),
        _ => None,
    });
    done.collect()
}

fn is_deregistered_next(seen: &Standing) -> bool {
    seen.rebake.retiring.values().any(|known| known.stage == RetireStage::Deregister)
}

#[tokio::test(start_paused = true)]
async fn what_two_generations_replaced_goes_in_three_stages_with_its_snapshots() {
    let house = with_an_older_generation();
    succeeds(&house).await;
    let days = [(RetireStage::Deprecate, 0), (RetireStage::Disable, 7), (RetireStage::Deregister, 14)];
    assert_eq!(stages(&house), days, "each once\n{}", house.story());
}

#[tokio::test(start_paused = true)]
async fn what_an_instance_uses_stays_though_it_is_stopped() {
    let house = House::new(Case { older: true, ..Case::default() }, |site, order| {
        let (image, now) = (site.images.values().find(|image| image.name == "latent-linux-g1"), order.at);
        let image = image.expect("there").id.clone();
        let by_hand =
            RunInstances { image, instance_type: "t3.large".to_owned(), min: 1, max: 1, ..RunInstances::default() };
        let ids = site.run_instances(&by_hand, None, now - TimeDelta::minutes(30)).expect("launches");
        site.advance(now - TimeDelta::minutes(20));
        site.stop_instances(&ids, StopMode::Plain, false, now - TimeDelta::minutes(20)).expect("stops");
        site.advance(now);
    });
    succeeds(&house).await;
    assert_eq!(stages(&house), Vec::new());
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_was_cut_off_is_finished() {
    let house = with_an_older_generation();
    let busy = Mishap::Refuse(ApiError::server("InternalError", "An internal error has occurred"));
    let worked = house.work(None, async |mut standing| {
        if standing.wait_for(is_deregistered_next).await.is_ok() {
            house.world(|world, place| world.inject(Some("DeleteSnapshot"), Some(place), busy, 3));
        }
    });
    let Work::Over(outcome) = worked.await else { panic!("{}", house.story()) };
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome}");
    house.check(&outcome).unwrap_or_else(|what| panic!("{what}\n{}", house.story()));
    assert_eq!(stages(&house).len(), 3, "{}", house.story());
}

#[tokio::test(start_paused = true)]
async fn so_is_one_whose_process_died_within_it() {
    let whole = with_an_older_generation();
    let from = std::cell::Cell::new(0);
    let worked = whole.work(None, async |mut standing| {
        drop(standing.wait_for(is_deregistered_next).await);
        from.set(whole.steps.load(Ordering::Relaxed));
    });
    assert!(matches!(worked.await, Work::Over(Outcome::Done { .. })), "{}", whole.story());
    for step in (from.get()..from.get() + 24).step_by(3) {
        let house = with_an_older_generation();
        let outcome =
            house.to_the_end(Some(step)).await.unwrap_or_else(|what| panic!("{step}: {what}\n{}", house.story()));
        assert!(matches!(outcome, Outcome::Done { .. }), "{step}: {outcome}");
        assert_eq!(stages(&house).len(), 3, "{step}\n{}", house.story());
    }
}
