//! A canary: a worker's instance launched from an AMI that is not trusted yet, to see it connect, stop,
//! start and connect again.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{AmiId, Body, BuildId, Cause, Failure, RebakeId};

/// What is asked of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// The rebake that asks.
    pub rebake: RebakeId,
    /// The candidate.
    pub ami: AmiId,
    /// The generation that it would be.
    pub generation: u32,
    /// The builder whose build it must pass; none if it need not build.
    pub smoke: Option<String>,
    /// How long its worker may take to connect, in seconds; the policy's `connect_deadline` if absent.
    pub connect_deadline_s: Option<u32>,
    /// Whether it waits for no more than the running build.
    pub now: bool,
}

/// How a smoke build ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Built {
    /// The build.
    pub build: BuildId,
    /// Buildbot's number of its result: 0 success, 1 warnings, all others are failures.
    pub results: u8,
}

impl Built {
    /// Whether the candidate passed it.
    pub fn is_good(&self) -> bool {
        self.results <= 1
    }

    /// Buildbot's word for the result.
    pub fn word(&self) -> &'static str {
        match self.results {
            0 => "success",
            1 => "warnings",
            2 => "failure",
            3 => "skipped",
            4 => "exception",
            5 => "retry",
            6 => "cancelled",
            _ => "an unknown result",
        }
    }
}

/// How far a canary has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CanaryPhase {
    /// Its worker is used, or something else is in the way.
    Waiting,
    /// Launched, and not connected yet.
    Starting,
    /// Connected.
    Connected,
    /// A build runs on it.
    Building,
    /// It is let go of and stopped.
    Stopping,
    /// It is stopped.
    Stopped,
    /// Started again, and not connected yet.
    Restarting,
    /// Connected again; its instance has yet to be ended.
    Reconnected,
    /// It did all that was asked.
    Passed,
    /// It did not.
    Failed,
}

/// What may happen to a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanaryEvent {
    /// Its launch is about to be sent.
    LaunchIntended,
    /// The launch was refused for good; another may be tried.
    LaunchRefused,
    /// Its worker connected.
    Attached,
    /// A build began on it.
    BuildStarted,
    /// The build is over.
    BuildFinished,
    /// It shall be let go of so that it can be stopped.
    DrainOrdered,
    /// It was seen stopped.
    StopSeen,
    /// It is about to be started again.
    StartIntended,
    /// The start was refused for good; it stays stopped.
    StartRefused,
    /// Its end is about to be asked for, or it has ended.
    Ended,
    /// Something that was asked of it did not happen.
    Failed,
}

impl CanaryPhase {
    /// The phase's name, as the interface tells it.
    pub fn name(self) -> &'static str {
        match self {
            CanaryPhase::Waiting => "waiting",
            CanaryPhase::Starting => "starting",
            CanaryPhase::Connected => "connected",
            CanaryPhase::Building => "building",
            CanaryPhase::Stopping => "stopping",
            CanaryPhase::Stopped => "stopped",
            CanaryPhase::Restarting | CanaryPhase::Reconnected => "restarting",
            CanaryPhase::Passed => "passed",
            CanaryPhase::Failed => "failed",
        }
    }

    /// Whether nothing more is asked of it.
    pub fn is_over(self) -> bool {
        matches!(self, CanaryPhase::Passed | CanaryPhase::Failed)
    }

    /// The phase after an event. What is of no concern in a phase leaves it as it is: the worker's own
    /// state says what follows from that.
    #[must_use]
    pub fn after(self, event: CanaryEvent) -> Self {
        use CanaryPhase as P;
        if self.is_over() {
            return self;
        }
        match (event, self) {
            (CanaryEvent::LaunchIntended, P::Waiting) => P::Starting,
            (CanaryEvent::LaunchRefused, P::Starting) => P::Waiting,
            (CanaryEvent::Attached, P::Starting) | (CanaryEvent::BuildFinished, P::Building) => P::Connected,
            (CanaryEvent::Attached, P::Restarting) => P::Reconnected,
            (CanaryEvent::BuildStarted, P::Connected) => P::Building,
            (CanaryEvent::DrainOrdered, P::Connected) => P::Stopping,
            (CanaryEvent::StopSeen, P::Stopping | P::Restarting) | (CanaryEvent::StartRefused, P::Restarting) => {
                P::Stopped
            }
            (CanaryEvent::StartIntended, P::Stopped) => P::Restarting,
            (CanaryEvent::Ended, P::Reconnected) => P::Passed,
            (CanaryEvent::Ended, _) if self != P::Waiting => P::Failed,
            (CanaryEvent::Failed, _) => P::Failed,
            (
                CanaryEvent::LaunchIntended
                | CanaryEvent::LaunchRefused
                | CanaryEvent::Attached
                | CanaryEvent::BuildStarted
                | CanaryEvent::BuildFinished
                | CanaryEvent::DrainOrdered
                | CanaryEvent::StopSeen
                | CanaryEvent::StartIntended
                | CanaryEvent::StartRefused
                | CanaryEvent::Ended,
                _,
            ) => self,
        }
    }

    #[cfg(test)]
    const ALL: [CanaryPhase; 10] = [
        CanaryPhase::Waiting,
        CanaryPhase::Starting,
        CanaryPhase::Connected,
        CanaryPhase::Building,
        CanaryPhase::Stopping,
        CanaryPhase::Stopped,
        CanaryPhase::Restarting,
        CanaryPhase::Reconnected,
        CanaryPhase::Passed,
        CanaryPhase::Failed,
    ];
}

impl fmt::Display for CanaryPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A canary as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryState {
    /// What is asked.
    pub order: Canary,
    /// How far it has come.
    pub phase: CanaryPhase,
    /// When its first launch was intended.
    pub begun: Option<DateTime<Utc>>,
    /// How its last launch was refused.
    pub refused: Option<Failure>,
    /// When its worker connected.
    pub connected_at: Option<DateTime<Utc>>,
    /// How its smoke build ended.
    pub built: Option<Built>,
    /// When it was first seen stopped.
    pub stopped_at: Option<DateTime<Utc>>,
    /// When its worker connected after the stop and the start.
    pub reconnected_at: Option<DateTime<Utc>>,
    /// Why it failed.
    pub failed: Option<Failure>,
    /// Whether nobody asks for it any more: it is forgotten with its instance.
    pub ended: bool,
}

impl CanaryState {
    /// One that was asked for just now.
    pub fn new(order: Canary) -> Self {
        Self {
            order,
            phase: CanaryPhase::Waiting,
            begun: None,
            refused: None,
            connected_at: None,
            built: None,
            stopped_at: None,
            reconnected_at: None,
            failed: None,
            ended: false,
        }
    }

    /// Whether nothing more is asked of it.
    pub fn is_over(&self) -> bool {
        self.ended || self.phase.is_over()
    }

    /// Takes in an entry about its own instance, or about itself.
    pub(super) fn note(&mut self, at: DateTime<Utc>, body: &Body) {
        match body {
            Body::LaunchRefused { failure, .. } => self.refused = Some(failure.clone()),
            Body::CanaryBuilt { built, .. } => self.built = Some(built.clone()),
            Body::CanaryFailed { rebake, .. } | Body::CanaryEnded { rebake, .. } if *rebake != self.order.rebake => {
                return;
            }
            Body::CanaryFailed { failure, .. } if !self.is_over() => self.failed = Some(failure.clone()),
            Body::CanaryEnded { .. } => self.ended = true,
            _ => {}
        }
        let Some(event) = event_of(body) else { return };
        let before = self.phase;
        self.phase = before.after(event);
        match (before, self.phase) {
            (CanaryPhase::Waiting, CanaryPhase::Starting) => self.begun = self.begun.or(Some(at)),
            (CanaryPhase::Starting, CanaryPhase::Connected) => self.connected_at = Some(at),
            (CanaryPhase::Stopping, CanaryPhase::Stopped) => self.stopped_at = Some(at),
            (CanaryPhase::Restarting, CanaryPhase::Reconnected) => self.reconnected_at = Some(at),
            _ => {}
        }
    }
}

/// What an entry about the worker means for its canary.
fn event_of(body: &Body) -> Option<CanaryEvent> {
    Some(match body {
        Body::LaunchIntended { .. } => CanaryEvent::LaunchIntended,
        Body::LaunchRefused { .. } => CanaryEvent::LaunchRefused,
        Body::Attached { .. } => CanaryEvent::Attached,
        Body::BuildStarted { .. } => CanaryEvent::BuildStarted,
        Body::BuildFinished { .. } | Body::Detached { .. } => CanaryEvent::BuildFinished,
        Body::DrainOrdered { cause: Cause::Canary, .. } => CanaryEvent::DrainOrdered,
        Body::StopSeen { .. } => CanaryEvent::StopSeen,
        Body::StartIntended { .. } => CanaryEvent::StartIntended,
        Body::StartRefused { .. } => CanaryEvent::StartRefused,
        Body::TerminateIntended { .. } | Body::Lost { .. } => CanaryEvent::Ended,
        Body::CanaryFailed { .. } => CanaryEvent::Failed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row per event, one column per phase in their order; `=` changes nothing.
    const TABLE: &str = "
        waiting  starting  connected building  stopping stopped    restarting  reconnected passed failed
        LaunchIntended  Starting =         =         =  =       =          =           =      = =
        LaunchRefused   =        Waiting   =         =  =       =          =           =      = =
        Attached        =        Connected =         =  =       =          Reconnected =      = =
        BuildStarted    =        =         Building  =  =       =          =           =      = =
        BuildFinished   =        =         = Connected  =       =          =           =      = =
        DrainOrdered    =        =         Stopping  =  =       =          =           =      = =
        StopSeen        =        =         =         =  Stopped =          Stopped     =      = =
        StartIntended   =        =         =         =  =       Restarting =           =      = =
        StartRefused    =        =         =         =  =       =          Stopped     =      = =
        Ended           =        Failed    Failed    Failed Failed Failed  Failed      Passed = =
        Failed          Failed   Failed    Failed    Failed Failed Failed  Failed      Failed = =
    ";

    const EVENTS: [CanaryEvent; 11] = [
        CanaryEvent::LaunchIntended,
        CanaryEvent::LaunchRefused,
        CanaryEvent::Attached,
        CanaryEvent::BuildStarted,
        CanaryEvent::BuildFinished,
        CanaryEvent::DrainOrdered,
        CanaryEvent::StopSeen,
        CanaryEvent::StartIntended,
        CanaryEvent::StartRefused,
        CanaryEvent::Ended,
        CanaryEvent::Failed,
    ];

    #[test]
    fn every_phase_meets_every_event_as_the_table_says() {
        let rows: Vec<&str> = TABLE.lines().map(str::trim).filter(|line| !line.is_empty()).skip(1).collect();
        assert_eq!(rows.len(), EVENTS.len());
        for (row, event) in rows.iter().zip(EVENTS) {
            let cells: Vec<&str> = row.split_whitespace().collect();
            assert_eq!((cells[0], cells.len()), (format!("{event:?}").as_str(), CanaryPhase::ALL.len() + 1), "{row}");
            for (expected, phase) in cells[1..].iter().zip(CanaryPhase::ALL) {
                let next = phase.after(event);
                let told = if next == phase { "=".to_owned() } else { format!("{next:?}") };
                assert_eq!(told, *expected, "{event:?} while {phase:?}");
            }
        }
    }

    #[test]
    fn only_one_way_leads_to_a_pass() {
        let way = [
            CanaryEvent::LaunchIntended,
            CanaryEvent::Attached,
            CanaryEvent::DrainOrdered,
            CanaryEvent::StopSeen,
            CanaryEvent::StartIntended,
            CanaryEvent::Attached,
            CanaryEvent::Ended,
        ];
        let end = |events: &[CanaryEvent]| events.iter().fold(CanaryPhase::Waiting, |phase, event| phase.after(*event));
        assert_eq!(end(&way), CanaryPhase::Passed);
        for left_out in 0..way.len() {
            let rest: Vec<CanaryEvent> = (0..way.len()).filter(|at| *at != left_out).map(|at| way[at]).collect();
            assert_ne!(end(&rest), CanaryPhase::Passed, "without its event {left_out}");
        }
    }

    #[test]
    fn of_a_smoke_build_success_and_warnings_are_good() {
        let built = |results| Built { build: "smoke/1".parse().expect("a build"), results };
        let good: Vec<u8> = (0..8).filter(|results| built(*results).is_good()).collect();
        assert_eq!(good, [0, 1]);
        assert_eq!((built(2).word(), built(6).word(), built(9).word()), ("failure", "cancelled", "an unknown result"));
    }
}
