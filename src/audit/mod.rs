//! Floor 4: what ran, why, how long each step took and what it cost, told from the ledger and from whatever else
//! tells of it.

mod build;
mod evidence;
mod lives;
pub mod render;
pub mod report;
mod trail_runs;
mod verify;
mod week;

pub use build::{build, is_complete};
pub use evidence::{Evidence, Look, Missing, Record, reach};
pub use lives::{Life, lives};
pub use trail_runs::{TrailEnd, TrailRun, TrailSeconds, trail_runs, trail_seconds};
pub use verify::{Mismatch, Verdict, verify};
pub use week::{Beside, week};
