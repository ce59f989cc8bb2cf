//! One decision about one worker: an action, or the reason why there is none.

use crate::model::{Action, Body, Cause, Failure, HeldReason, InstanceId, WorkerName};

/// What to do for a worker, or why nothing is done.
pub(super) type Step = Result<Action, HeldReason>;

/// A decision to write down.
#[expect(clippy::unnecessary_wraps, reason = "a step like those beside it, which may be held")]
pub(super) fn record(name: &WorkerName, body: Body) -> Step {
    Ok(Action::Record { worker: name.clone(), body: Box::new(body) })
}

/// It shall go as soon as its master lets it.
pub(super) fn drain(name: &WorkerName, cause: Cause) -> Step {
    record(name, Body::DrainOrdered { worker: name.clone(), cause })
}

/// The present instance of a worker is ended.
#[expect(clippy::unnecessary_wraps, reason = "a step like those beside it, which may be held")]
pub(super) fn terminate(name: &WorkerName, instance: &InstanceId, cause: Cause) -> Step {
    Ok(Action::Terminate {
        instance: instance.clone(),
        worker: Some(name.clone()),
        cause,
        seen: None,
        silent_since: None,
    })
}

/// The answer to a request that cannot be met.
pub(super) fn refuse(name: &WorkerName, failure: Failure) -> Step {
    record(name, Body::RequestFailed { worker: name.clone(), failure })
}
