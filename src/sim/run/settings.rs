//! What a run is: the size of the world, its weather, and the one command that plays it again.

use std::fmt::Write as _;

use super::sabotage::Sabotage;
use crate::sim::weather::{Fault, Weather};

/// A world to play.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What may go wrong, and how often.
    pub weather: Weather,
    /// How many owners; the last one's account has calm weather, whatever the others have.
    pub owners: u32,
    /// How many workers, spread over the owners.
    pub workers: u32,
    /// For how many hours builds are wanted.
    pub hours: u32,
    /// So many builds are wanted of each worker, right at the beginning; as chance has it, if not said.
    pub builds: Option<u32>,
    /// Whether a canary is asked of each worker, right at the beginning.
    pub canary: bool,
    /// How many instances with our tags appear each day that no controller launched.
    pub strays: u32,
    /// The controller is killed at this step, counted from its first start.
    pub crash_at: Option<u64>,
    /// A mistake that is made on purpose, to see that it is found.
    pub sabotage: Option<Sabotage>,
    /// Whether the outcome tells everything that happened.
    pub telling: bool,
}

impl Settings {
    /// The standard world: 3 owners, 20 workers, a day of rough weather.
    pub fn standard() -> Self {
        Self {
            weather: Weather::rough(),
            owners: 3,
            workers: 20,
            hours: 24,
            builds: None,
            canary: false,
            strays: 0,
            crash_at: None,
            sabotage: None,
            telling: false,
        }
    }

    /// The command that plays this seed again.
    pub fn replay(&self, seed: u64) -> String {
        let mut text = format!("latent sim run --seeds {seed}..{}", seed + 1);
        let standard = Self::standard();
        if self.weather.name() != standard.weather.name() {
            let _ = write!(text, " --weather {}", self.weather.name());
        }
        for (name, value, usual) in [
            ("owners", self.owners, standard.owners),
            ("workers", self.workers, standard.workers),
            ("hours", self.hours, standard.hours),
        ] {
            if value != usual {
                let _ = write!(text, " --{name} {value}");
            }
        }
        for (fault, rate) in self.weather.changed() {
            let _ = write!(text, " --fault {fault}={rate}");
        }
        if let Some(builds) = self.builds {
            let _ = write!(text, " --builds {builds}");
        }
        if self.canary {
            text.push_str(" --canary");
        }
        if self.strays > 0 {
            let _ = write!(text, " --strays {}", self.strays);
        }
        if let Some(step) = self.crash_at {
            let _ = write!(text, " --crash-at {step}");
        }
        if let Some(sabotage) = self.sabotage {
            let _ = write!(text, " --sabotage {sabotage}");
        }
        text
    }

    /// The faults that can still happen.
    pub(super) fn possible(&self) -> Vec<Fault> {
        Fault::ALL.iter().copied().filter(|fault| self.weather.rate(*fault) > 0.0).collect()
    }
}
