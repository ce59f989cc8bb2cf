//! What the owner's levers mean for a worker now: what a person reads of them.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Fleet, IdleChoice, Worker, WorkerName};
use crate::plan;
use crate::policy::{IdleTimeout, Intent};

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
    /// Until when an idle instance is kept by `warm`, where a window is open.
    pub warm_until: Option<DateTime<Utc>>,
    /// When the next window of `warm` begins, where none is open.
    pub warm_from: Option<DateTime<Utc>>,
    /// How `idle_timeout = "auto"` chooses now; absent where the policy says a time.
    pub idle: Option<IdleChoice>,
}

pub(super) fn view(
    intent: &Intent,
    fleet: &Fleet,
    name: &WorkerName,
    worker: &Worker,
    now: DateTime<Utc>,
) -> LeversView {
    let policy = intent.workers.get(name).map_or(&intent.base_policy, |configured| &configured.policy);
    let warm_until = policy.warm_at(now).map(|(_, until)| until);
    let attempt = worker.attempt.as_ref().filter(|_| worker.state.instance().is_some());
    LeversView {
        builds: attempt.map(|_| worker.history.builds),
        builds_max: policy.max_builds,
        aged_at: attempt.zip(policy.max_age).map(|(attempt, age)| attempt.created + age),
        warm_until,
        warm_from: policy.warm_from(now).filter(|_| warm_until.is_none()),
        idle: plan::idle_choice(intent, fleet, name, worker),
    }
}

/// How long it may be idle, in seconds; none is for ever.
pub(super) fn idle_timeout_s(timeout: IdleTimeout, levers: &LeversView) -> Option<i64> {
    if levers.warm_until.is_some() {
        return None;
    }
    match timeout {
        IdleTimeout::After(span) => Some(span.num_seconds()),
        IdleTimeout::Never => None,
        IdleTimeout::Auto(_) => levers.idle.as_ref().map(|chosen| i64::from(chosen.seconds)),
    }
}
