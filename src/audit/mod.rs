//! Floor 4: what ran, why, and how long each step took, told from the ledger.

mod lives;
pub mod render;
pub mod report;

pub use lives::{Life, lives};
