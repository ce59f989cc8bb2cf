//! One lifecycle, with the controller killed at each of its steps in turn.

use super::play::Outcome;
use super::settings::Settings;
use crate::sim::Weather;

/// What came of a walk.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Walk {
    /// How many lifecycles were walked.
    pub lifecycles: u64,
    /// How many steps they have.
    pub steps: u64,
    /// How often the controller was killed: once at each step of each lifecycle.
    pub kills: u64,
    /// The worlds in which something did not hold, with their seeds.
    pub violations: Vec<(Settings, u64, Outcome)>,
}

/// One worker, one build, no bad luck.
pub fn lifecycle() -> Settings {
    let weather = Weather::calm();
    Settings { weather, owners: 1, workers: 1, hours: 1, builds: Some(1), ..Settings::standard() }
}

/// One worker, one canary, no bad luck.
pub fn canary() -> Settings {
    Settings { builds: Some(0), canary: true, ..lifecycle() }
}

/// Walks the lifecycle of each of these seeds, with a build and with a canary: image, market and policy differ
/// from seed to seed.
///
/// # Errors
/// If there is no runtime to be had, or a fleet cannot be configured.
pub fn walk(seeds: std::ops::Range<u64>) -> std::io::Result<Walk> {
    let mut walk = Walk::default();
    for (seed, life) in seeds.flat_map(|seed| [(seed, lifecycle()), (seed, canary())]) {
        let whole = one(&life, seed)?;
        walk.lifecycles += 1;
        walk.steps += whole.steps;
        if whole.violation.is_some() {
            walk.violations.push((life.clone(), seed, whole.clone()));
        }
        for step in 1..=whole.steps {
            let settings = Settings { crash_at: Some(step), ..life.clone() };
            let outcome = one(&settings, seed)?;
            walk.kills += outcome.crashes;
            if outcome.violation.is_some() {
                walk.violations.push((settings, seed, outcome));
            }
        }
    }
    Ok(walk)
}

fn one(settings: &Settings, seed: u64) -> std::io::Result<Outcome> {
    let cannot = || std::io::Error::other(format!("the fleet of seed {seed} cannot be configured"));
    super::run(settings, seed)?.ok_or_else(cannot)
}
