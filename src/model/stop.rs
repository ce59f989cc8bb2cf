//! How an instance is stopped.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Body, FailureKind, Fleet, InstanceId};

/// How an instance is stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// Its guest shuts down; the next start is a boot.
    #[default]
    Plain,
    /// Its memory is written to its root disk, and the next start goes on from there. Billed until it is stopped.
    Hibernate,
}

impl StopMode {
    /// Whether nothing need be said of it.
    pub fn is_plain(&self) -> bool {
        *self == StopMode::Plain
    }

    /// Whether a refusal of this kind is EC2's word that this instance is not hibernated now: another than
    /// about how fast it was asked, or that it was not reached.
    pub fn is_given_up_after(self, kind: FailureKind) -> bool {
        self == StopMode::Hibernate && !matches!(kind, FailureKind::Throttled | FailureKind::Unreachable)
    }
}

impl fmt::Display for StopMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopMode::Plain => "stopping",
            StopMode::Hibernate => "hibernating",
        })
    }
}

/// What became of hibernating an instance since it was launched or started last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hibernation {
    /// It was not asked for.
    #[default]
    Untried,
    /// It was asked for.
    Asked,
    /// EC2 refused it; it is to be stopped instead.
    Refused,
    /// EC2 refused it, and a stop was asked for instead.
    GivenUp,
}

impl Hibernation {
    /// Whether it may still be asked for.
    pub fn may_be_asked(self) -> bool {
        matches!(self, Hibernation::Untried | Hibernation::Asked)
    }

    /// What it is after an entry about its instance.
    #[must_use]
    pub(super) fn after(self, body: &Body) -> Self {
        match (self, body) {
            (_, Body::LaunchIntended { .. } | Body::Adopted { .. } | Body::StartIntended { .. }) => Self::Untried,
            (_, Body::StopIntended { mode: StopMode::Hibernate, .. }) => Self::Asked,
            (Self::Refused, Body::StopIntended { .. }) => Self::GivenUp,
            (Self::Asked, Body::CallRefused { failure, .. }) if StopMode::Hibernate.is_given_up_after(failure.kind) => {
                Self::Refused
            }
            (other, _) => other,
        }
    }
}

impl Fleet {
    /// A call for an instance was refused: a worker that it was to be hibernated for is to be stopped.
    pub(super) fn call_was_refused(&mut self, instance: &InstanceId, body: &Body) {
        for name in self.index.bound(instance) {
            if let Some(worker) = self.workers.get_mut(name) {
                worker.hibernation = worker.hibernation.after(body);
            }
        }
    }
}
