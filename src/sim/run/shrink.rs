//! A smaller world in which the same invariant does not hold.

use super::settings::Settings;
use crate::sim::Fault;

/// Makes a failing world smaller as long as it fails in the same way: fewer hours, workers, owners and
/// faults. `progress` is told of each smaller world.
///
/// # Errors
/// If there is no runtime to be had.
pub fn shrink(settings: &Settings, seed: u64, progress: &mut dyn FnMut(&Settings)) -> std::io::Result<Settings> {
    let mut smallest = settings.clone();
    let Some(invariant) = violated(&smallest, seed)? else { return Ok(smallest) };
    loop {
        let mut smaller = None;
        for candidate in candidates(&smallest) {
            if violated(&candidate, seed)? == Some(invariant) {
                smaller = Some(candidate);
                break;
            }
        }
        match smaller {
            Some(candidate) => {
                progress(&candidate);
                smallest = candidate;
            }
            None => return Ok(smallest),
        }
    }
}

fn violated(settings: &Settings, seed: u64) -> std::io::Result<Option<u8>> {
    let outcome = super::run(settings, seed)?;
    Ok(outcome.and_then(|outcome| outcome.violation).map(|violation| violation.invariant))
}

/// Worlds that are smaller by one thing, the boldest first.
fn candidates(settings: &Settings) -> Vec<Settings> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Settings)| {
        let mut candidate = settings.clone();
        change(&mut candidate);
        if candidate != *settings {
            all.push(candidate);
        }
    };
    for hours in [settings.hours / 4, settings.hours / 2, settings.hours - 1] {
        with(&|s| s.hours = hours.max(1));
    }
    for workers in [1, settings.workers / 4, settings.workers / 2, settings.workers - 1] {
        with(&|s| s.workers = workers.max(1));
    }
    with(&|s| s.owners = 1.max(settings.owners - 1));
    for fault in Fault::ALL.iter().filter(|fault| settings.weather.rate(**fault) > 0.0) {
        with(&|s| s.weather.set(*fault, 0.0));
    }
    all
}
