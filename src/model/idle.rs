//! How long an idle instance is kept where the policy leaves that to be reckoned, and from what it was.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::counted;

/// What an idle time was chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdleBasis {
    /// The times that the worker was idle before.
    History,
    /// Too few of them are known: idling costs no more than the next start would.
    BreakEven,
    /// No price of the instance is known: a fixed time.
    Unpriced,
}

/// How long an idle instance is kept, and from what that was reckoned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdleChoice {
    /// How long, in seconds.
    pub seconds: u32,
    /// By what.
    pub basis: IdleBasis,
    /// What an hour of it costs at the most, with a public address, in micro-dollars.
    pub hourly: Option<u64>,
    /// What an hour is worth in which a build waits, in micro-dollars.
    pub wait_price: u64,
    /// From a launch to a connected worker, in seconds: the median.
    pub boot_seconds: u32,
    /// Of so many launches; with none of them it is assumed.
    pub boots: u32,
    /// So many times that the worker was idle before are known.
    pub gaps: u32,
    /// After how many idle seconds as much is spent as a start costs.
    pub break_even_seconds: Option<u32>,
}

impl fmt::Display for IdleChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "auto: {}, ", humantime::format_duration(std::time::Duration::from_secs(self.seconds.into())))?;
        match self.basis {
            IdleBasis::History => write!(f, "by {}", counted(self.gaps, "gap")),
            IdleBasis::BreakEven => f.write_str("break-even"),
            IdleBasis::Unpriced => f.write_str("price unknown"),
        }
    }
}
