//! Simulated months in fair weather, whose costs are known to the micro-dollar.

use std::ops::Range;

use super::many::run_all;
use super::reckon::Reckoning;
use super::settings::Settings;
use crate::sim::weather::{Fault, Weather};

/// What goes wrong in a month that nobody would remember.
const FAIR: [(Fault, f64); 16] = [
    (Fault::Lag, 0.02),
    (Fault::Throttle, 0.002),
    (Fault::ReplyLost, 0.000_5),
    (Fault::InternalError, 0.001),
    (Fault::LateRunning, 0.005),
    (Fault::StuckEnding, 0.002),
    (Fault::SpotInterruption, 0.02),
    (Fault::ThirdPartyTerminate, 0.000_5),
    (Fault::BootLate, 0.02),
    (Fault::BootNever, 0.001),
    (Fault::ConnectionLost, 0.02),
    (Fault::MasterKill, 0.3),
    (Fault::Reconfig, 0.2),
    (Fault::Operator, 1.0),
    (Fault::Canary, 0.2),
    (Fault::Crash, 0.000_01),
];
/// What the ledger tells of a month may be off EC2's bill by so many millionths: one in a hundred.
const OFF_MAX: u64 = 10_000;

/// What came of the months.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Months {
    /// Of each seed, what its month cost by EC2's bill and by the ledger.
    pub reckonings: Vec<(u64, Reckoning)>,
    /// The seeds in which something did not hold, and what.
    pub violations: Vec<(u64, String)>,
}

/// A month of a small fleet in fair weather, with an instance a day that nothing explains.
pub fn month(hours: u32) -> Settings {
    let mut weather = Weather::calm();
    for (fault, rate) in FAIR {
        weather.set(fault, rate);
    }
    Settings { weather, owners: 2, workers: 6, hours, strays: 1, ..Settings::standard() }
}

/// Plays these months, each of so many hours, on so many threads.
///
/// # Errors
/// If there is no runtime to be had, or a fleet cannot be configured.
pub fn months(seeds: Range<u64>, hours: u32, jobs: usize) -> std::io::Result<Months> {
    let summary = run_all(&month(hours), seeds, jobs, true, &|_| ())?;
    let told = summary.violations.iter().filter_map(|(seed, outcome)| Some((*seed, outcome.violation.as_ref()?)));
    let mut all = Months {
        reckonings: summary.reckonings,
        violations: told.map(|(seed, violation)| (seed, violation.to_string())).collect(),
    };
    let off = all.reckonings.iter().filter(|(_, reckoning)| reckoning.off() > OFF_MAX);
    let off =
        off.map(|(seed, reckoning)| (*seed, format!("the ledger is off EC2's bill by {} millionths", reckoning.off())));
    all.violations.extend(off.collect::<Vec<_>>());
    all.reckonings.sort_by_key(|(seed, _)| *seed);
    Ok(all)
}
