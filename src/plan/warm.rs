//! Warm windows: times in which a worker has an instance although nobody asks for it.
//!
//! The wish is a request like any other, written by the controller itself: every limit and every pause of a launch
//! holds for it, and the master takes the connection as it takes that of an operator's request.

use chrono::{DateTime, Utc};

use super::step::{Step, record};
use super::{View, budget};
use crate::model::{Body, Cause, HeldReason, RequestId, Worker, WorkerName};

/// Until when an idle instance of the worker is kept, if it is.
pub(super) fn until(view: &View<'_>, name: &WorkerName) -> Option<DateTime<Utc>> {
    view.policy(name).warm_at(view.now).map(|(_, until)| until)
}

/// What a window makes of a worker that nobody wants and that has no running instance; `None` where it has no windows.
pub(super) fn step(view: &View<'_>, name: &WorkerName, worker: &Worker) -> Option<Step> {
    let policy = view.policy(name);
    let next = policy.warm_from(view.now)?;
    if let Some(held) = budget::held(view) {
        return Some(Err(held));
    }
    let Some((since, until)) = policy.warm_at(view.now) else { return Some(Err(HeldReason::WarmFrom { at: next })) };
    if let Some(reason) = not_now(view, name, worker, since, until) {
        return Some(Err(reason));
    }
    let request: RequestId = format!("warm-{}", view.now.timestamp()).parse().ok()?;
    Some(record(name, Body::Requested { worker: name.clone(), request }))
}

/// Why the worker is not wanted although its window is open.
fn not_now(
    view: &View<'_>,
    name: &WorkerName,
    worker: &Worker,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Option<HeldReason> {
    let policy = view.policy(name);
    if let Some(failure) = budget::buys_nothing(view) {
        return Some(HeldReason::NotWarm { why: failure.code, until });
    }
    let spoken = (view.spoken)(name).is_some_and(|at| view.now < at + policy.master_silence);
    if !spoken {
        return Some(HeldReason::NoMaster);
    }
    if let (Some(at), Some(failure)) = (worker.history.failed_at, &worker.failure) {
        let until = at + policy.retry_pause_max;
        if view.now < until {
            return Some(HeldReason::Pausing { until, kind: failure.kind });
        }
    }
    let (left, cause) = worker.history.left.as_ref()?;
    // What somebody took away in this window is not brought back in it, unless it had built: what is launched and
    // ended without a build would be launched for ever.
    let stays_away = match cause {
        Cause::Operator => true,
        Cause::Released | Cause::Leaving | Cause::Lost => !worker.history.served,
        _ => false,
    };
    (stays_away && *left >= since).then(|| HeldReason::NotWarm { why: cause.to_string(), until })
}
