//! What a builder says of its own work: the marks of `amis/recipes`, read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// More is not kept of what a builder says, however much it says.
const BOOTS_MAX: usize = 64;
/// The guest tells 200 of them.
const PACKAGES_MAX: usize = 400;
const NOTES_MAX: usize = 200;

/// A step of the builder's script. Later steps are greater.
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

impl GuestStep {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [Self::Quiesce, Self::Update, Self::Reboot, Self::Settle, Self::Clean, Self::Off];
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
        Self::ALL.into_iter().find(|step| step.to_string() == text).ok_or_else(|| format!("{text:?} is no step"))
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
    /// Its version before; several with commas.
    pub from: Option<String>,
    /// Its version now; several with commas.
    pub to: Option<String>,
}

/// Why the script stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFailure {
    /// In which step.
    pub step: GuestStep,
    /// The exit code.
    pub code: i32,
    /// In words: one line of plain text.
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
    /// SHA-256 of the sorted list of packages, in hexadecimal.
    pub sha: String,
}

/// What the builder has said so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestReport {
    /// The furthest step that began: after a reboot the updates go on, which is no step back.
    pub step: Option<GuestStep>,
    /// The ids of its boots, in order, each once.
    pub boots: Vec<String>,
    /// The last round that found something to update; 0 if none did.
    pub rounds: u32,
    /// Reboots that are proven by another boot id.
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
    /// The number of its last mark; 0 if there is none.
    pub last_seq: u32,
}

impl GuestReport {
    /// This report with what another one has beyond it: a console forgets, so nothing is taken back. Both
    /// are of one rebake. With itself it is the same; so it is with what it holds already.
    #[must_use]
    pub fn merged(&self, new: &Self) -> Self {
        let mut all = self.clone();
        all.step = all.step.max(new.step);
        for boot in &new.boots {
            all.add_boot(boot.clone());
        }
        all.rounds = all.rounds.max(new.rounds);
        for change in &new.packages {
            all.add_package(change.clone());
        }
        all.packages_more = all.packages_more.max(new.packages_more);
        all.failed = all.failed.or_else(|| new.failed.clone());
        all.done = all.done.or_else(|| new.done.clone());
        for note in &new.notes {
            all.add_note(note.clone());
        }
        all.last_seq = all.last_seq.max(new.last_seq);
        all
    }

    /// It has booted, perhaps as is known already.
    pub fn add_boot(&mut self, id: String) {
        if self.boots.len() < BOOTS_MAX && !self.boots.contains(&id) {
            self.boots.push(id);
        }
        self.reboots = u32::try_from(self.boots.len().saturating_sub(1)).unwrap_or(u32::MAX);
    }

    /// A package has changed, perhaps as is known already.
    pub fn add_package(&mut self, change: PackageChange) {
        if self.packages.len() < PACKAGES_MAX && !self.packages.contains(&change) {
            self.packages.push(change);
        }
    }

    /// It notes something; what it notes twice stands once.
    pub fn add_note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&note) {
            self.notes.push(note);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_in_order_and_read_back() {
        assert!(GuestStep::ALL.is_sorted());
        for step in GuestStep::ALL {
            assert_eq!(step.to_string().parse(), Ok(step));
            assert_eq!(serde_json::to_string(&step).expect("a word"), format!("\"{step}\""));
        }
        assert!("halt".parse::<GuestStep>().is_err());
    }

    #[test]
    fn a_flood_is_not_kept() {
        let mut report = GuestReport::default();
        for n in 0..10_000 {
            report.add_boot(n.to_string());
            report.add_note(n.to_string());
            let name = n.to_string();
            report.add_package(PackageChange { op: PackageOp::Added, name, from: None, to: None });
        }
        assert_eq!((report.boots.len(), report.notes.len(), report.packages.len()), (64, 200, 400));
        assert_eq!(report.reboots, 63);
    }
}
