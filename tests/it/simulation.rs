//! Whole fleets in virtual time, in small: the long runs are `make sim` and `make test-sim`.

use latent::sim::run::{INVARIANTS, Outcome, Sabotage, Settings, canary, lifecycle, months, run, shrink};
use latent::sim::{Fault, Weather};

/// Worlds in which something once did not hold. Each is what `latent sim run` printed, and is played
/// again for ever: seed, owners, workers, hours, and what was wrong then.
const FOUND: &[(u64, u32, u32, u32, &str)] = &[
    (83, 3, 20, 11, "an adopted builder was taken for unconnected while its master could not be reached"),
    (9, 3, 20, 9, "a worker started from the pool lost its build: its lease was not renewed without a listing"),
    (8, 3, 20, 17, "a worker was taken from the instance of an earlier start"),
    (12, 3, 20, 6, "a torn write held a launch up, and its owner was blamed"),
    (94, 3, 20, 20, "what powered itself off behind a silent master was billed until its end at the least"),
];

fn small() -> Settings {
    Settings { owners: 2, workers: 4, hours: 6, ..Settings::standard() }
}

fn played(settings: &Settings, seed: u64) -> Outcome {
    run(settings, seed).expect("a runtime").expect("a fleet")
}

/// Fails with what did not hold and the command that shows it.
#[track_caller]
fn holds(settings: &Settings, seed: u64) -> Outcome {
    let outcome = played(settings, seed);
    if let Some(violation) = &outcome.violation {
        panic!("{violation}\nagain: {}", settings.replay(seed));
    }
    outcome
}

#[test]
fn small_fleets_in_bad_weather_keep_the_promise() {
    let outcomes: Vec<Outcome> = (0..12).map(|seed| holds(&small(), seed)).collect();
    let launched: u64 = outcomes.iter().map(|outcome| outcome.launched).sum();
    let faults: u64 = outcomes.iter().map(|outcome| outcome.faults).sum();
    assert!(launched > 50 && faults > 100, "{launched} launches and {faults} faults are no test");
    assert!(outcomes.iter().any(|outcome| outcome.crashes > 0), "nobody was killed");
}

#[test]
fn what_was_found_once_holds_for_ever() {
    for (seed, owners, workers, hours, what) in FOUND {
        let settings = Settings { owners: *owners, workers: *workers, hours: *hours, ..Settings::standard() };
        let outcome = played(&settings, *seed);
        assert!(outcome.violation.is_none(), "{what}: {:?}\nagain: {}", outcome.violation, settings.replay(*seed));
    }
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let told = Settings { telling: true, ..small() };
    let (first, second) = (played(&told, 5), played(&told, 5));
    assert!(first.story.len() > 100, "{} lines", first.story.len());
    assert_eq!(first, second);
    assert_ne!(first.digest, played(&told, 6).digest);
    assert_eq!(first.digest, played(&small(), 5).digest, "to be told changes nothing");
}

#[test]
fn a_lifecycle_survives_a_kill_at_each_of_its_steps() {
    let whole = holds(&lifecycle(), 3);
    assert!((50..1_000).contains(&whole.steps) && whole.launched == 1, "{whole:?}");
    let killed = |step| holds(&Settings { crash_at: Some(step), ..lifecycle() }, 3).crashes;
    let kills: u64 = (1..=whole.steps).map(killed).sum();
    // Whoever dies at the very last step has nothing left to be missed for.
    assert!(kills >= whole.steps - 2, "{kills} kills at {} steps", whole.steps);
}

#[test]
fn a_canary_survives_a_kill_at_each_of_its_steps() {
    let whole = holds(&canary(), 3);
    assert!((30..1_000).contains(&whole.steps) && (whole.launched, whole.proven) == (1, 1), "{whole:?}");
    for step in 1..=whole.steps {
        let outcome = holds(&Settings { crash_at: Some(step), ..canary() }, 3);
        assert_eq!((outcome.launched, outcome.proven), (1, 1), "killed at step {step}");
    }
}

#[test]
fn fair_days_cost_what_the_ledger_says_and_every_zombie_is_told() {
    let played = months(0..2, 30, 1).expect("a runtime");
    assert!(played.violations.is_empty(), "{:?}", played.violations);
    let sum = |of: fn(&latent::sim::run::Reckoning) -> u64| played.reckonings.iter().map(|(_, r)| of(r)).sum::<u64>();
    assert!(sum(|r| r.instances) > 40 && sum(|r| r.billed) > 500_000, "{:?}", played.reckonings);
    assert!(sum(|r| r.zombies) > 0, "{:?}", played.reckonings);
}

#[test]
fn in_a_storm_each_bill_lies_within_what_the_ledger_tells() {
    let storm = Settings { weather: Weather::storm(), strays: 12, ..small() };
    let compared: u64 = (0..4).map(|seed| holds(&storm, seed).reckoning.instances).sum();
    assert!(compared > 10, "{compared} instances are no test");
}

#[test]
fn a_mistake_is_found_and_its_world_made_small() {
    let sabotaged = Settings { sabotage: Some(Sabotage::ShortListing), ..small() };
    let seed = (0..20).find(|seed| played(&sabotaged, *seed).violation.is_some()).expect("a seed that finds it");
    let smallest = shrink(&sabotaged, seed, &mut |_| ()).expect("a runtime");
    let possible = Fault::ALL.iter().filter(|fault| smallest.weather.rate(**fault) > 0.0).count();
    assert!(possible < 6 && smallest.workers < sabotaged.workers, "{smallest:?}");
    let replay = smallest.replay(seed);
    assert!(replay.contains("--sabotage short-listing") && replay.contains("--fault "), "{replay}");
    assert!(played(&smallest, seed).violation.is_some(), "and it still shows");
}

#[test]
fn the_page_on_the_simulation_tells_every_fault_and_every_mistake() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SIMULATION.md")).expect("a page");
    for fault in Fault::ALL {
        let (some, many) = (Weather::rough().rate(*fault), Weather::storm().rate(*fault));
        let row = format!("| {fault} | {} | {some} | {many} | {} |", fault.what(), fault.unit());
        assert!(page.contains(&row), "`latent sim weather` prints another row: {row}");
    }
    for sabotage in Sabotage::ALL {
        assert!(
            page.contains(&format!("| {sabotage} | {} |", sabotage.what())),
            "`latent sim prove` prints {sabotage}"
        );
    }
    for (number, _) in INVARIANTS {
        assert!(page.lines().any(|line| line.starts_with(&format!("| {number} "))), "invariant {number}");
    }
}
