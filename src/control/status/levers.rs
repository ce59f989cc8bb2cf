//! What the owner's levers mean for a worker now: what a person reads of them.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Worker;
use crate::policy::Lifecycle;

/// What the owner's levers mean for a worker now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LeversView {
    /// Builds that began on the present instance since its launch.
    pub builds: Option<u32>,
    /// After so many it goes (`max_builds`).
    pub builds_max: Option<u32>,
    /// From when it goes as soon as its build is over (`max_age`).
    pub aged_at: Option<DateTime<Utc>>,
}

pub(super) fn view(policy: &Lifecycle, worker: &Worker) -> LeversView {
    let attempt = worker.attempt.as_ref().filter(|_| worker.state.instance().is_some());
    LeversView {
        builds: attempt.map(|_| worker.history.builds),
        builds_max: policy.max_builds,
        aged_at: attempt.zip(policy.max_age).map(|(attempt, age)| attempt.created + age),
    }
}
