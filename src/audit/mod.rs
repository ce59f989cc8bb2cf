//! Floor 4: what ran, why, how long each step took and what it cost, told from the ledger and from whatever else
//! tells of it.

mod build;
mod evidence;
mod lives;
pub mod report;
mod verify;

pub use build::{build, is_complete};
pub use evidence::{Evidence, Look, Missing, Record, Trail};
pub use lives::{Life, lives};
pub use verify::{Mismatch, Verdict, verify};
