//! What every instance-second was used for, told from the ledger: no call, no clock.
//!
//! A [`Meter`] takes entries in order. Each instance becomes a [`Run`]; at any moment of its life it is in
//! exactly one [`Use`], so the sum over uses is its wall time.
//!
//! What is billed is told apart from that: each [`Start`] of an instance bounds when it ran, because the ledger's
//! times are those at which the controller saw something.

mod cut;
mod fold;
mod kept;
mod run;
#[cfg(test)]
mod tests;
mod track;

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(in crate::plan) use cut::{Stretch, common};
pub use fold::Meter;
pub use kept::{Living, Past};
pub use run::{Ended, Run, Span, Start};

/// What an instance-second was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// From the launch (or the start of a stopped instance) until its worker connected.
    Boot,
    /// A build ran on it.
    Build,
    /// Its worker was connected and had nothing to do, or had lost its connection.
    Idle,
    /// It was asked to go, until it was gone or stopped.
    Drain,
    /// It was stopped: only its disks cost.
    Stopped,
    /// An operator kept it, and no build ran on it.
    Held,
    /// It was a rebake's builder or canary.
    Rebake,
    /// Nothing explained it: an orphan, or a twin.
    Zombie,
    /// Nobody knows: the ledger has a gap there.
    Unknown,
}

impl Use {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Boot,
        Self::Build,
        Self::Idle,
        Self::Drain,
        Self::Stopped,
        Self::Held,
        Self::Rebake,
        Self::Zombie,
        Self::Unknown,
    ];

    /// Its word, as JSON has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Build => "build",
            Self::Idle => "idle",
            Self::Drain => "drain",
            Self::Stopped => "stopped",
            Self::Held => "held",
            Self::Rebake => "rebake",
            Self::Zombie => "zombie",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A stretch of an instance's life in one use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Segment {
    /// From when.
    pub from: DateTime<Utc>,
    /// Until when; absent while it goes on.
    pub to: Option<DateTime<Utc>>,
    /// In which use.
    pub usage: Use,
}
