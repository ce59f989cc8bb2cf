//! The gate between two generations of an image, asked after each start: how often it is wrong, and how soon
//! it is right.

use latent::plan::{Gate, Sample, gate};

/// Plays the starts of a generation, asked after each, until it is called worse; how many it took.
fn play(random: &mut fastrand::Rng, rates: (f64, f64), seconds: (f64, f64)) -> Option<u32> {
    // The sum of three is near to a bell; some starts take twice as long.
    let time = |random: &mut fastrand::Rng, usual: f64| {
        let noise = random.f64() + random.f64() + random.f64();
        usual * (0.5 + noise / 3.0) * if random.u32(0..10) == 0 { 2.0 } else { 1.0 }
    };
    let mut start = |sample: &mut Sample, rate: f64, usual: f64| {
        sample.starts += 1;
        if random.f64() < rate {
            sample.failed += 1;
        } else {
            sample.connect_seconds.push(time(random, usual));
        }
    };
    let (mut before, mut now) = (Sample::default(), Sample::default());
    (0..40).for_each(|_| start(&mut before, rates.0, seconds.0));
    (1..=20).find(|_| {
        start(&mut now, rates.1, seconds.1);
        matches!(gate(&before, &now, 20), Gate::Worse { .. })
    })
}

#[test]
fn generations_that_are_alike_are_told_apart_by_mistake_in_fewer_than_two_of_a_hundred() {
    for (number, rate) in [0.0, 0.02, 0.1, 0.3, 0.6].into_iter().enumerate() {
        let seed = u64::try_from(number).expect("a number") * 1000;
        let alarms = (0..1000)
            .filter(|trial| play(&mut fastrand::Rng::with_seed(seed + trial), (rate, rate), (90.0, 90.0)).is_some())
            .count();
        assert!(alarms < 20, "{alarms} false alarms of 1000 at a rate of {rate}");
    }
}

#[test]
fn a_bad_generation_is_found_soon() {
    let found = |rates: (f64, f64), seconds: (f64, f64)| {
        (0..200).filter_map(|trial| play(&mut fastrand::Rng::with_seed(trial), rates, seconds)).collect::<Vec<u32>>()
    };
    let dead = found((0.02, 1.0), (90.0, 90.0));
    assert!(dead.len() == 200 && dead.iter().all(|starts| *starts <= 4), "it never connects: {dead:?}");
    assert!(found((0.02, 0.5), (90.0, 90.0)).len() > 190, "half of its starts fail");
    assert!(found((0.02, 0.02), (90.0, 200.0)).len() > 190, "it takes more than twice as long");
}
