//! Why something was taken away.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why an instance goes, or why a worker has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nothing was ever started for this worker.
    NeverStarted,
    /// The master no longer needs it (its idle time is over, or it shut down).
    Released,
    /// Idle for longer than the policy allows, and the master is silent.
    Idle,
    /// Older than `max_lifetime`.
    Expired,
    /// The worker did not connect within `connect_deadline`.
    NeverConnected,
    /// It was not given the address or a volume of its manifest within `connect_deadline`.
    Unequipped,
    /// The launch did not end within `launch_deadline`, or was refused for good.
    LaunchFailed,
    /// An operator asked for it.
    Operator,
    /// The instance ended without us: by EC2, its owner, or itself.
    Lost,
    /// The request was withdrawn before the instance was of use.
    Withdrawn,
    /// No record of this controller explains it.
    Orphan,
    /// A second live instance of a worker that already has one.
    Twin,
    /// The worker is no longer in the configuration.
    Unconfigured,
    /// Its image or its set-up changed since it was launched.
    Drifted,
    /// There was no capacity to start it again; another one takes its place.
    NoCapacity,
    /// It did not stop within `stop_deadline`.
    StopFailed,
    /// EC2 takes the spot instance back, or has done so.
    Interrupted,
    /// The worker itself asked its master to be let go of.
    Leaving,
    /// It is a canary, and this is part of what is asked of it.
    Canary,
    /// A canary takes its place.
    MakesWay,
    /// The owner's hard budget of the month is reached.
    Budget,
    /// As many builds as `max_builds` allows began on it.
    Worn,
    /// Older than `max_age`.
    Aged,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::NeverStarted,
        Self::Released,
        Self::Idle,
        Self::Expired,
        Self::NeverConnected,
        Self::Unequipped,
        Self::LaunchFailed,
        Self::Operator,
        Self::Lost,
        Self::Withdrawn,
        Self::Orphan,
        Self::Twin,
        Self::Unconfigured,
        Self::Drifted,
        Self::NoCapacity,
        Self::StopFailed,
        Self::Interrupted,
        Self::Leaving,
        Self::Canary,
        Self::MakesWay,
        Self::Budget,
        Self::Worn,
        Self::Aged,
    ];

    /// Its name for machines, as in the ledger and in metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NeverStarted => "never_started",
            Self::Released => "released",
            Self::Idle => "idle",
            Self::Expired => "expired",
            Self::NeverConnected => "never_connected",
            Self::Unequipped => "unequipped",
            Self::LaunchFailed => "launch_failed",
            Self::Operator => "operator",
            Self::Lost => "lost",
            Self::Withdrawn => "withdrawn",
            Self::Orphan => "orphan",
            Self::Twin => "twin",
            Self::Unconfigured => "unconfigured",
            Self::Drifted => "drifted",
            Self::NoCapacity => "no_capacity",
            Self::StopFailed => "stop_failed",
            Self::Interrupted => "interrupted",
            Self::Leaving => "leaving",
            Self::Canary => "canary",
            Self::MakesWay => "makes_way",
            Self::Budget => "budget",
            Self::Worn => "worn",
            Self::Aged => "aged",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::NeverStarted => "never started",
            Cause::Released => "released by the master",
            Cause::Idle => "idle too long with the master silent",
            Cause::Expired => "older than max_lifetime",
            Cause::NeverConnected => "never connected",
            Cause::Unequipped => "not given what its manifest says",
            Cause::LaunchFailed => "launch failed",
            Cause::Operator => "asked by an operator",
            Cause::Lost => "ended from outside",
            Cause::Withdrawn => "request withdrawn",
            Cause::Orphan => "no record explains it",
            Cause::Twin => "second instance of one worker",
            Cause::Unconfigured => "worker no longer configured",
            Cause::Drifted => "its image or set-up changed",
            Cause::NoCapacity => "no capacity to start it again",
            Cause::StopFailed => "did not stop in time",
            Cause::Interrupted => "spot interruption",
            Cause::Leaving => "the worker asked to leave",
            Cause::Canary => "part of its canary",
            Cause::MakesWay => "makes way for a canary",
            Cause::Budget => "the month's budget is reached",
            Cause::Worn => "has run max_builds builds",
            Cause::Aged => "older than max_age",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_for_machines_are_those_of_the_ledger() {
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_value(&cause).expect("json"), cause.code());
        }
    }
}
