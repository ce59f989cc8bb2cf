//! Floor 4: what ran, why, and how long each step took, told from the ledger.

mod lives;
pub mod report;
mod trail_runs;

pub use lives::{Life, lives};
pub use trail_runs::{TrailEnd, TrailRun, TrailSeconds, trail_runs, trail_seconds};
