//! When an instance has served long enough: after so many builds, or at an age.

use chrono::{DateTime, Utc};

use crate::model::{Cause, Worker};
use crate::policy::Lifecycle;

/// Why a worker's instance is to give way to a fresh one, if it is. A build on it is waited for.
pub(super) fn reason(policy: &Lifecycle, worker: &Worker, now: DateTime<Utc>) -> Option<Cause> {
    if policy.max_builds.is_some_and(|most| worker.history.builds >= most) {
        return Some(Cause::Worn);
    }
    let born = worker.attempt.as_ref().map_or(worker.since, |attempt| attempt.created);
    policy.max_age.is_some_and(|age| now >= born + age).then_some(Cause::Aged)
}
