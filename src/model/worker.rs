//! Where a worker is in its life, and the one function that moves it.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Body, BuildId, Cause, ClientToken, InstanceId};

/// Where a worker is in its life. Each state holds what only that state knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// A master wants it; nothing was launched yet.
    Requested,
    /// A launch is intended; its outcome is not known.
    Launching {
        /// The token of the launch.
        token: ClientToken,
    },
    /// The instance exists; the master has not seen the worker.
    Registering {
        /// The instance.
        instance: InstanceId,
    },
    /// The worker is connected and has nothing to do.
    Ready {
        /// The instance.
        instance: InstanceId,
        /// Since when it has nothing to do.
        idle_since: DateTime<Utc>,
    },
    /// The worker runs a build.
    Busy {
        /// The instance.
        instance: InstanceId,
        /// The build.
        build: BuildId,
    },
    /// It shall go (or stop) as soon as its master lets it.
    Draining {
        /// The instance.
        instance: InstanceId,
        /// Why.
        cause: Cause,
    },
    /// Its termination is intended; the cloud has not accepted it yet.
    Terminating {
        /// The instance.
        instance: InstanceId,
        /// Why.
        cause: Cause,
    },
    /// Its instance is stopped and can be started again.
    Stopped {
        /// The instance.
        instance: InstanceId,
    },
    /// It has no instance.
    Gone {
        /// Why.
        cause: Cause,
    },
}

/// What may happen to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerEvent {
    /// A master asked for it.
    Requested,
    /// The master (or an operator) no longer wants it.
    Released,
    /// The request was answered with a failure.
    RequestFailed,
    /// A launch is about to be sent.
    LaunchIntended(ClientToken),
    /// A launch of a canary is about to be sent; nobody else need want the worker.
    CanaryIntended(ClientToken),
    /// The launch gave this instance.
    Launched(InstanceId),
    /// The launch was refused for good; nothing runs.
    LaunchRefused,
    /// A live instance of an earlier life of the controller was taken over.
    Adopted(InstanceId),
    /// The worker connected to its master, at this time.
    Attached(DateTime<Utc>),
    /// The connection was lost.
    Detached,
    /// A build started.
    BuildStarted(BuildId),
    /// The last build finished, at this time.
    BuildFinished(DateTime<Utc>),
    /// It shall go as soon as its master lets it.
    DrainOrdered(Cause),
    /// A termination is about to be sent.
    TerminateIntended(Cause),
    /// The cloud accepted the termination.
    TerminateAccepted,
    /// A stop is about to be sent.
    StopIntended(Cause),
    /// The instance was seen stopped.
    StopSeen,
    /// A start of the stopped instance is about to be sent.
    StartIntended,
    /// The start of this instance was refused for good; it stays stopped.
    StartRefused(InstanceId),
    /// The instance ended without us.
    Lost(Cause),
}

/// A worker in this state cannot meet this event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a worker that is {state} cannot meet the event {event}")]
pub struct IllegalEvent {
    /// The state's name.
    pub state: &'static str,
    /// The event's name.
    pub event: &'static str,
}

impl WorkerState {
    /// The state's name, as `latent status` shows it.
    pub fn name(&self) -> &'static str {
        match self {
            WorkerState::Requested => "requested",
            WorkerState::Launching { .. } => "launching",
            WorkerState::Registering { .. } => "registering",
            WorkerState::Ready { .. } => "ready",
            WorkerState::Busy { .. } => "busy",
            WorkerState::Draining { .. } => "draining",
            WorkerState::Terminating { .. } => "terminating",
            WorkerState::Stopped { .. } => "stopped",
            WorkerState::Gone { .. } => "gone",
        }
    }

    /// The instance that the worker is bound to.
    pub fn instance(&self) -> Option<&InstanceId> {
        match self {
            WorkerState::Registering { instance }
            | WorkerState::Ready { instance, .. }
            | WorkerState::Busy { instance, .. }
            | WorkerState::Draining { instance, .. }
            | WorkerState::Terminating { instance, .. }
            | WorkerState::Stopped { instance } => Some(instance),
            WorkerState::Requested | WorkerState::Launching { .. } | WorkerState::Gone { .. } => None,
        }
    }

    /// The state after `event`.
    ///
    /// # Errors
    /// [`IllegalEvent`] if no worker in this state can meet this event.
    pub fn apply(&self, event: &WorkerEvent) -> Result<Self, IllegalEvent> {
        let illegal = || IllegalEvent { state: self.name(), event: event.name() };
        match event {
            WorkerEvent::Requested => Ok(match self {
                WorkerState::Gone { .. } => WorkerState::Requested,
                other => other.clone(),
            }),
            WorkerEvent::Released => Ok(match self {
                WorkerState::Requested => WorkerState::Gone { cause: Cause::Withdrawn },
                other => other.clone(),
            }),
            WorkerEvent::RequestFailed => Ok(match self {
                WorkerState::Requested => WorkerState::Gone { cause: Cause::LaunchFailed },
                other => other.clone(),
            }),
            WorkerEvent::LaunchIntended(token) => match self {
                WorkerState::Requested => Ok(WorkerState::Launching { token: token.clone() }),
                _ => Err(illegal()),
            },
            WorkerEvent::CanaryIntended(token) => match self {
                WorkerState::Requested | WorkerState::Gone { .. } => {
                    Ok(WorkerState::Launching { token: token.clone() })
                }
                _ => Err(illegal()),
            },
            WorkerEvent::Launched(instance) => match self {
                WorkerState::Launching { .. } => Ok(WorkerState::Registering { instance: instance.clone() }),
                _ => Err(illegal()),
            },
            WorkerEvent::LaunchRefused => match self {
                WorkerState::Launching { .. } => Ok(WorkerState::Requested),
                _ => Err(illegal()),
            },
            WorkerEvent::Adopted(instance) => match self {
                WorkerState::Requested | WorkerState::Gone { .. } => {
                    Ok(WorkerState::Registering { instance: instance.clone() })
                }
                _ => Err(illegal()),
            },
            WorkerEvent::StartRefused(instance) => Ok(match self {
                WorkerState::Registering { instance: ours } if ours == instance => {
                    WorkerState::Stopped { instance: instance.clone() }
                }
                other => other.clone(),
            }),
            WorkerEvent::Attached(_)
            | WorkerEvent::Detached
            | WorkerEvent::BuildStarted(_)
            | WorkerEvent::BuildFinished(_) => self.apply_from_master(event).ok_or_else(illegal),
            WorkerEvent::DrainOrdered(_)
            | WorkerEvent::TerminateIntended(_)
            | WorkerEvent::TerminateAccepted
            | WorkerEvent::StopIntended(_)
            | WorkerEvent::StopSeen
            | WorkerEvent::StartIntended
            | WorkerEvent::Lost(_) => self.apply_ending(event).ok_or_else(illegal),
        }
    }

    /// The events that a master reports of a worker that has an instance.
    fn apply_from_master(&self, event: &WorkerEvent) -> Option<Self> {
        match self {
            WorkerState::Draining { .. } | WorkerState::Terminating { .. } => {
                return Some(self.clone());
            }
            WorkerState::Registering { .. } | WorkerState::Ready { .. } | WorkerState::Busy { .. } => {}
            WorkerState::Requested
            | WorkerState::Launching { .. }
            | WorkerState::Stopped { .. }
            | WorkerState::Gone { .. } => {
                return None;
            }
        }
        let instance = self.instance()?.clone();
        match event {
            WorkerEvent::Attached(at) => match self {
                WorkerState::Registering { .. } => Some(WorkerState::Ready { instance, idle_since: *at }),
                other => Some(other.clone()),
            },
            WorkerEvent::Detached => Some(WorkerState::Registering { instance }),
            WorkerEvent::BuildStarted(build) => match self {
                WorkerState::Registering { .. } => None,
                _ => Some(WorkerState::Busy { instance, build: build.clone() }),
            },
            WorkerEvent::BuildFinished(at) => match self {
                WorkerState::Busy { .. } => Some(WorkerState::Ready { instance, idle_since: *at }),
                _ => None,
            },
            _ => None,
        }
    }

    /// The events that lead a worker out of service, and back.
    fn apply_ending(&self, event: &WorkerEvent) -> Option<Self> {
        if let WorkerEvent::Lost(cause) = event {
            return self.instance().map(|_| WorkerState::Gone { cause: cause.clone() });
        }
        if let (WorkerEvent::TerminateAccepted, WorkerState::Terminating { cause, .. }) = (event, self) {
            return Some(WorkerState::Gone { cause: cause.clone() });
        }
        let instance = self.instance()?.clone();
        let terminating = matches!(self, WorkerState::Terminating { .. });
        let stopped = matches!(self, WorkerState::Stopped { .. });
        match event {
            WorkerEvent::TerminateIntended(_) if terminating => Some(self.clone()),
            WorkerEvent::TerminateIntended(cause) => Some(WorkerState::Terminating { instance, cause: cause.clone() }),
            // The first order to drain holds; a stop has a reason of its own, which is that of its repetitions too.
            WorkerEvent::DrainOrdered(_) if matches!(self, WorkerState::Draining { .. }) => Some(self.clone()),
            WorkerEvent::DrainOrdered(cause) | WorkerEvent::StopIntended(cause) if !terminating && !stopped => {
                Some(WorkerState::Draining { instance, cause: cause.clone() })
            }
            WorkerEvent::StopSeen if !terminating => Some(WorkerState::Stopped { instance }),
            WorkerEvent::StartIntended if stopped => Some(WorkerState::Registering { instance }),
            _ => None,
        }
    }
}

/// The worker's event that an entry stands for, if it moves the worker.
pub(super) fn event_of(at: DateTime<Utc>, body: &Body) -> Option<WorkerEvent> {
    Some(match body {
        Body::Requested { .. } => WorkerEvent::Requested,
        Body::Released { .. } => WorkerEvent::Released,
        Body::RequestFailed { .. } => WorkerEvent::RequestFailed,
        Body::LaunchIntended { attempt, .. } => {
            let token = attempt.spec.as_ref().map(|spec| spec.token())?;
            if attempt.is_canary() { WorkerEvent::CanaryIntended(token) } else { WorkerEvent::LaunchIntended(token) }
        }
        Body::Launched { instance, .. } => WorkerEvent::Launched(instance.clone()),
        Body::LaunchRefused { .. } => WorkerEvent::LaunchRefused,
        Body::Adopted { instance, .. } => WorkerEvent::Adopted(instance.clone()),
        Body::Attached { .. } => WorkerEvent::Attached(at),
        Body::Detached { .. } => WorkerEvent::Detached,
        Body::BuildStarted { build, .. } => WorkerEvent::BuildStarted(build.clone()),
        Body::BuildFinished { .. } => WorkerEvent::BuildFinished(at),
        Body::DrainOrdered { cause, .. } => WorkerEvent::DrainOrdered(cause.clone()),
        Body::TerminateIntended { cause, .. } => WorkerEvent::TerminateIntended(cause.clone()),
        Body::StopIntended { cause, .. } => WorkerEvent::StopIntended(cause.clone()),
        Body::StopSeen { .. } => WorkerEvent::StopSeen,
        Body::StartIntended { .. } => WorkerEvent::StartIntended,
        Body::StartRefused { instance, .. } => WorkerEvent::StartRefused(instance.clone()),
        Body::Lost { cause, .. } => WorkerEvent::Lost(cause.clone()),
        Body::ControllerStarted { .. }
        | Body::ControllerStopped {}
        | Body::Running { .. }
        | Body::EquipIntended { .. }
        | Body::Equipped { .. }
        | Body::EquipRefused { .. }
        | Body::InterruptionNoticed { .. }
        | Body::TerminateAccepted { .. }
        | Body::Departed { .. }
        | Body::CallRefused { .. }
        | Body::RemoveIntended { .. }
        | Body::Removed { .. }
        | Body::RemoveRefused { .. }
        | Body::TurnedAway { .. }
        | Body::BudgetCrossed { .. }
        | Body::HoldSet { .. }
        | Body::HoldReleased { .. }
        | Body::CanarySet { .. }
        | Body::CanaryBuilt { .. }
        | Body::CanaryFailed { .. }
        | Body::CanaryEnded { .. } => return None,
    })
}

impl WorkerEvent {
    /// The event's name, for errors and the table test.
    pub fn name(&self) -> &'static str {
        match self {
            WorkerEvent::Requested => "requested",
            WorkerEvent::Released => "released",
            WorkerEvent::RequestFailed => "request failed",
            WorkerEvent::LaunchIntended(_) => "launch intended",
            WorkerEvent::CanaryIntended(_) => "canary intended",
            WorkerEvent::Launched(_) => "launched",
            WorkerEvent::LaunchRefused => "launch refused",
            WorkerEvent::Adopted(_) => "adopted",
            WorkerEvent::Attached(_) => "attached",
            WorkerEvent::Detached => "detached",
            WorkerEvent::BuildStarted(_) => "build started",
            WorkerEvent::BuildFinished(_) => "build finished",
            WorkerEvent::DrainOrdered(_) => "drain ordered",
            WorkerEvent::TerminateIntended(_) => "terminate intended",
            WorkerEvent::TerminateAccepted => "terminate accepted",
            WorkerEvent::StopIntended(_) => "stop intended",
            WorkerEvent::StopSeen => "stop seen",
            WorkerEvent::StartIntended => "start intended",
            WorkerEvent::StartRefused(_) => "start refused",
            WorkerEvent::Lost(_) => "lost",
        }
    }
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row per event, one column per state, in the order of `states()`; `-` is illegal.
    const TABLE: &str = "
        requested           requested launching registering ready       busy        draining    terminating stopped     requested
        released            gone      launching registering ready       busy        draining    terminating stopped     gone
        request failed      gone      launching registering ready       busy        draining    terminating stopped     gone
        launch intended     launching -         -           -           -           -           -           -           -
        canary intended     launching -         -           -           -           -           -           -           launching
        launched            -         registering -         -           -           -           -           -           -
        launch refused      -         requested -           -           -           -           -           -           -
        adopted             registering -       -           -           -           -           -           -           registering
        attached            -         -         ready       ready       busy        draining    terminating -           -
        detached            -         -         registering registering registering draining    terminating -           -
        build started       -         -         -           busy        busy        draining    terminating -           -
        build finished      -         -         -           -           ready       draining    terminating -           -
        drain ordered       -         -         draining    draining    draining    draining    -           -           -
        terminate intended  -         -         terminating terminating terminating terminating terminating terminating -
        terminate accepted  -         -         -           -           -           -           gone        -           -
        stop intended       -         -         draining    draining    draining    draining    -           -           -
        stop seen           -         -         stopped     stopped     stopped     stopped     -           stopped     -
        start intended      -         -         -           -           -           -           -           registering -
        start refused       requested launching stopped     ready       busy        draining    terminating stopped     gone
        lost                -         -         gone        gone        gone        gone        gone        gone        -
    ";

    fn instance() -> InstanceId {
        "i-1".parse().expect("valid")
    }

    fn states() -> Vec<WorkerState> {
        let at = DateTime::UNIX_EPOCH;
        let (instance, cause) = (instance(), Cause::Released);
        vec![
            WorkerState::Requested,
            WorkerState::Launching { token: ClientToken::derive(&["x"]) },
            WorkerState::Registering { instance: instance.clone() },
            WorkerState::Ready { instance: instance.clone(), idle_since: at },
            WorkerState::Busy { instance: instance.clone(), build: "b/1".parse().expect("valid") },
            WorkerState::Draining { instance: instance.clone(), cause: cause.clone() },
            WorkerState::Terminating { instance: instance.clone(), cause: cause.clone() },
            WorkerState::Stopped { instance },
            WorkerState::Gone { cause },
        ]
    }

    fn events() -> Vec<WorkerEvent> {
        let at = DateTime::UNIX_EPOCH;
        vec![
            WorkerEvent::Requested,
            WorkerEvent::Released,
            WorkerEvent::RequestFailed,
            WorkerEvent::LaunchIntended(ClientToken::derive(&["y"])),
            WorkerEvent::CanaryIntended(ClientToken::derive(&["z"])),
            WorkerEvent::Launched(instance()),
            WorkerEvent::LaunchRefused,
            WorkerEvent::Adopted(instance()),
            WorkerEvent::Attached(at),
            WorkerEvent::Detached,
            WorkerEvent::BuildStarted("b/2".parse().expect("valid")),
            WorkerEvent::BuildFinished(at),
            WorkerEvent::DrainOrdered(Cause::Idle),
            WorkerEvent::TerminateIntended(Cause::Idle),
            WorkerEvent::TerminateAccepted,
            WorkerEvent::StopIntended(Cause::Idle),
            WorkerEvent::StopSeen,
            WorkerEvent::StartIntended,
            WorkerEvent::StartRefused(instance()),
            WorkerEvent::Lost(Cause::Lost),
        ]
    }

    #[test]
    fn every_state_meets_every_event_as_the_table_says() {
        let rows: Vec<&str> = TABLE.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(rows.len(), events().len());
        for (row, event) in rows.iter().zip(events()) {
            let cells = row.strip_prefix(event.name()).unwrap_or_else(|| panic!("row {row:?} is not {}", event.name()));
            let cells: Vec<&str> = cells.split_whitespace().collect();
            assert_eq!(cells.len(), states().len(), "{row}");
            for (expected, state) in cells.iter().zip(states()) {
                match state.apply(&event) {
                    Ok(next) => assert_eq!(next.name(), *expected, "{} on {}", event.name(), state.name()),
                    Err(error) => {
                        assert_eq!("-", *expected, "{} on {}", event.name(), state.name());
                        assert!(error.to_string().contains(state.name()) && error.to_string().contains(event.name()));
                    }
                }
            }
        }
    }

    #[test]
    fn a_start_that_is_refused_says_nothing_of_another_instance() {
        let state = WorkerState::Registering { instance: "i-2".parse().expect("valid") };
        assert_eq!(state.apply(&WorkerEvent::StartRefused(instance())).as_ref(), Ok(&state));
    }

    #[test]
    fn an_instance_is_never_exchanged_for_another_by_an_event() {
        for state in states() {
            for event in events() {
                if let (Some(before), Ok(after)) = (state.instance(), state.apply(&event)) {
                    assert!(after.instance().is_none_or(|id| id == before), "{state} {}", event.name());
                }
            }
        }
    }
}
