//! Rebakes in bad weather: replies are lost, replicas lag, writes are torn, processes die. Whatever comes of it, what
//! must hold holds: [`House::check`] looks at the account, and at the manifest, after each.

use std::ops::Range;

use latent::model::Outcome;
use latent::sim::run::rebake::{Case, House};
use latent::sim::{Fault, Weather};

/// So many of the seeds' rebakes end with a new AMI.
fn played(seeds: Range<u64>, weather: &Weather) -> (usize, usize) {
    let (mut done, mut failed) = (0, 0);
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let house = Case { seed, weather: weather.clone(), ..Case::default() };
        runtime.expect("a runtime").block_on(async {
            let house = House::new(house, |_, _| ());
            match house.to_the_end(None).await {
                Ok(Outcome::Done { .. }) => done += 1,
                Ok(_) => failed += 1,
                Err(what) => panic!("seed {seed}: {what}\n{}", house.story()),
            }
        });
    }
    (done, failed)
}

/// Rough, with more deaths and torn writes than a fleet sees: a rebake has few steps.
fn rough() -> Weather {
    let mut weather = Weather::rough();
    weather.set(Fault::Crash, 0.01);
    weather.set(Fault::LedgerTorn, 0.03);
    weather
}

#[test]
fn in_rough_weather_nothing_is_left_and_most_rebakes_succeed() {
    let (done, failed) = played(0..100, &rough());
    assert!(done >= 70 && failed > 0, "{done} done, {failed} failed");
}

#[test]
fn in_rough_weather_nothing_is_left_of_others_either() {
    let (done, failed) = played(100..200, &rough());
    assert!(done >= 70 && failed > 0, "{done} done, {failed} failed");
}

#[test]
fn in_a_storm_nothing_is_left() {
    let (done, failed) = played(0..60, &Weather::storm());
    assert!(done > 0 && failed > 0, "{done} done, {failed} failed");
}
