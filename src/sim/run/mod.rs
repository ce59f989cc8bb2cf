//! Whole fleets, played: the real `control` and `plan` on the simulated EC2, seed by seed, with the
//! controller killed at any step, and the promise asserted after each.

mod agenda;
mod canary;
mod guest;
mod holds;
mod life;
mod many;
mod master;
mod minute;
mod months;
mod play;
mod process;
mod purse;
pub mod rebake;
mod reckon;
mod sabotage;
mod scene;
mod settings;
mod shrink;
mod things;
mod trouble;
mod truth;
mod walk;

pub use many::{Summary, run_all};
pub use months::{Months, month, months};
pub use play::{Outcome, play};
pub use reckon::Reckoning;
pub use sabotage::Sabotage;
pub use settings::Settings;
pub use shrink::shrink;
pub use truth::{INVARIANTS, Violation};
pub use walk::{Walk, canary, lifecycle, walk};

/// Plays a seed on a clock of its own. `None` if the fleet of the seed cannot be configured.
///
/// # Errors
/// If there is no runtime to be had.
pub fn run(settings: &Settings, seed: u64) -> std::io::Result<Option<Outcome>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(play(settings, seed)))
}
