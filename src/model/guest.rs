//! What a builder says of its own work.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A step of the builder's script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestStep {
    /// The worker's service is stopped.
    Quiesce,
    /// Updates are installed.
    Update,
    /// It reboots.
    Reboot,
    /// It waits until nothing goes on.
    Settle,
    /// It removes traces.
    Clean,
    /// It powers itself off.
    Off,
}

impl fmt::Display for GuestStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quiesce => "quiesce",
            Self::Update => "update",
            Self::Reboot => "reboot",
            Self::Settle => "settle",
            Self::Clean => "clean",
            Self::Off => "off",
        })
    }
}

impl FromStr for GuestStep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Quiesce, Self::Update, Self::Reboot, Self::Settle, Self::Clean, Self::Off];
        all.into_iter().find(|step| step.to_string() == text).ok_or_else(|| format!("{text:?} is no step"))
    }
}

/// What became of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackageOp {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has another version.
    Changed,
}

/// A package that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageChange {
    /// What became of it.
    pub op: PackageOp,
    /// Its name.
    pub name: String,
    /// Its version before.
    pub from: Option<String>,
    /// Its version now.
    pub to: Option<String>,
}

/// Why the script stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFailure {
    /// In which step.
    pub step: GuestStep,
    /// The exit code.
    pub code: i32,
    /// In words.
    pub why: String,
}

/// The script's last word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestDone {
    /// Update rounds.
    pub rounds: u32,
    /// Reboots.
    pub reboots: u32,
    /// Packages that are not as they were.
    pub packages: u32,
    /// Digest of the list of packages.
    pub sha: String,
}

/// What the builder has said so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestReport {
    /// The last step that began.
    pub step: Option<GuestStep>,
    /// The ids of its boots.
    pub boots: Vec<String>,
    /// Update rounds.
    pub rounds: u32,
    /// Reboots.
    pub reboots: u32,
    /// Packages that are not as they were.
    pub packages: Vec<PackageChange>,
    /// How many more there are.
    pub packages_more: u32,
    /// Why it stopped.
    pub failed: Option<GuestFailure>,
    /// Its last word.
    pub done: Option<GuestDone>,
    /// What it notes.
    pub notes: Vec<String>,
    /// The number of its last mark.
    pub last_seq: u32,
}

impl GuestReport {
    /// This report with what another one has beyond it: a console forgets.
    #[must_use]
    pub fn merged(&self, new: &Self) -> Self {
        if new.last_seq <= self.last_seq {
            return self.clone();
        }
        let mut all = self.clone();
        all.step = all.step.max(new.step);
        all.boots.extend(new.boots.iter().filter(|boot| !self.boots.contains(boot)).cloned());
        (all.rounds, all.reboots) = (self.rounds.max(new.rounds), self.reboots.max(new.reboots));
        all.packages.extend(new.packages.iter().filter(|change| !self.packages.contains(change)).cloned());
        all.packages_more = self.packages_more.max(new.packages_more);
        all.failed = all.failed.or_else(|| new.failed.clone());
        all.done = all.done.or_else(|| new.done.clone());
        all.notes.extend(new.notes.iter().filter(|note| !self.notes.contains(note)).cloned());
        all.last_seq = new.last_seq;
        all
    }
}

impl fmt::Display for GuestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Some(step) => write!(f, "the builder is in {step}: {} boots, {} rounds", self.boots.len(), self.rounds),
            None => f.write_str("the builder has begun"),
        }
    }
}
