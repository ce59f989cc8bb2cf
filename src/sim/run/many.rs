//! Many seeds, on several threads.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::life::lock;
use super::play::Outcome;
use super::reckon::Reckoning;
use super::settings::Settings;
use super::truth::Violation;

/// The first seed and every so many are played twice, and both must be the same.
const PLAYED_TWICE: u64 = 50;

/// What came of many seeds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// How many were played.
    pub seeds: u64,
    /// How many days of a worker were lived through.
    pub worker_days: f64,
    /// How often the controller was killed.
    pub crashes: u64,
    /// How often something else went wrong.
    pub faults: u64,
    /// How many instances were launched.
    pub launched: u64,
    /// How many builds ended as they should.
    pub builds: u64,
    /// How many interruptions were known before EC2 took the instance back.
    pub noticed: u64,
    /// How many candidates a canary proved.
    pub proven: u64,
    /// What the instances of each seed cost, by EC2's bill and by the ledger.
    pub reckonings: Vec<(u64, Reckoning)>,
    /// The seeds in which something did not hold.
    pub violations: Vec<(u64, Outcome)>,
}

/// Plays all these seeds on so many threads; after a violation no further seed is begun, unless all are
/// wanted. `progress` is told of each seed that is done.
///
/// # Errors
/// If a runtime cannot be had, or the fleet of a seed cannot be configured.
pub fn run_all(
    settings: &Settings,
    seeds: Range<u64>,
    jobs: usize,
    keep_going: bool,
    progress: &(dyn Fn(&Summary) + Sync),
) -> std::io::Result<Summary> {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let stop = !keep_going && !lock(&summary).violations.is_empty();
                    if seed >= seeds.end || stop || lock(&failed).is_some() {
                        return;
                    }
                    match one(settings, seed, seed == seeds.start) {
                        Ok(outcome) => {
                            let mut summary = lock(&summary);
                            add(&mut summary, settings, seed, outcome);
                            progress(&summary);
                        }
                        Err(error) => *lock(&failed) = Some(error),
                    }
                }
            });
        }
    });
    if let Some(error) = lock(&failed).take() {
        return Err(error);
    }
    let mut summary = lock(&summary).clone();
    summary.violations.sort_by_key(|(seed, _)| *seed);
    Ok(summary)
}

fn one(settings: &Settings, seed: u64, first: bool) -> std::io::Result<Outcome> {
    let played = || {
        let outcome = super::run(settings, seed)?;
        outcome.ok_or_else(|| std::io::Error::other(format!("the fleet of seed {seed} cannot be configured")))
    };
    let mut outcome = played()?;
    if (seed.is_multiple_of(PLAYED_TWICE) || first) && outcome.violation.is_none() {
        let again = played()?;
        if again != outcome {
            let what = format!("played twice, {} and {} steps", outcome.steps, again.steps);
            let at = chrono::DateTime::UNIX_EPOCH;
            outcome.violation = Some(Violation { invariant: 12, at, what });
        }
    }
    Ok(outcome)
}

fn add(summary: &mut Summary, settings: &Settings, seed: u64, outcome: Outcome) {
    summary.seeds += 1;
    summary.worker_days += f64::from(settings.workers) * f64::from(settings.hours) / 24.0;
    summary.crashes += outcome.crashes;
    summary.faults += outcome.faults;
    summary.launched += outcome.launched;
    summary.builds += outcome.builds;
    summary.noticed += outcome.noticed;
    summary.proven += outcome.proven;
    summary.reckonings.push((seed, outcome.reckoning));
    if outcome.violation.is_some() {
        summary.violations.push((seed, outcome));
    }
}
