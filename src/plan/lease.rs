//! Leases: what is in use is vouched for in time, whether or not it can be listed.

use chrono::{DateTime, Utc};

use super::{View, instance_subject};
use crate::model::{Action, InstanceId, Ownership, Worker, WorkerState, tag_keys};

/// The lease tags that are due: instances in use whose lease is half over, with one new end. One
/// instance that EC2 refuses makes the whole call fail; so those that it may refuse go one by one.
pub(super) fn renewals(view: &View<'_>) -> Option<Action> {
    let mut together = Vec::new();
    let mut alone: Vec<(Option<DateTime<Utc>>, InstanceId)> = Vec::new();
    let mut until: Option<DateTime<Utc>> = None;
    for (name, worker) in &view.fleet.workers {
        let Some(id) = in_use(view, worker) else { continue };
        let lease = view.policy(name).lease;
        if lease_end(view, worker, id).is_some_and(|end| end >= view.now + lease / 2) {
            continue;
        }
        let end = view.now + lease;
        until = Some(until.map_or(end, |u| u.min(end)));
        let refused = view.watch.renewal_refused_at(id);
        if refused.is_none() && !retagged(view, id) {
            together.push(id.clone());
        } else {
            alone.push((refused, id.clone()));
        }
    }
    let next_alone = || alone.into_iter().min().map(|(_, id)| id).into_iter().collect();
    let instances = if together.is_empty() { next_alone() } else { together };
    Some(Action::Renew { instances, until: until? })
}

fn lease_end(view: &View<'_>, worker: &Worker, id: &InstanceId) -> Option<DateTime<Utc>> {
    let listed = view.inventory.and_then(|inventory| inventory.instances.get(id));
    // What no listing has shown yet has the tags of its launch.
    let launched = || worker.attempt.as_ref()?.spec.as_ref()?.tags.time(tag_keys::LEASE);
    let tagged = listed.map_or_else(launched, |instance| instance.tags.time(tag_keys::LEASE));
    view.watch.lease_of(id).max(tagged)
}

/// A permission that rests on the tags refuses an instance that has lost them.
fn retagged(view: &View<'_>, id: &InstanceId) -> bool {
    let (fleet, listed) = (&view.intent.fleet, view.inventory.and_then(|inventory| inventory.instances.get(id)));
    listed.is_some_and(|i| !matches!(i.tags.ownership(&fleet.name, &fleet.controller), Ownership::Ours { .. }))
}

/// The instance that a worker uses in this cell. Without a listing that is young enough the record
/// decides: an owner whose region cannot be listed for an hour shall lose no build for it.
fn in_use<'a>(view: &View<'_>, worker: &'a Worker) -> Option<&'a InstanceId> {
    let id = worker.state.instance()?;
    let here = worker.attempt.as_ref().is_some_and(|attempt| attempt.cell == *view.cell);
    if !here || view.in_flight.contains(&instance_subject(id)) {
        return None;
    }
    let recorded = match worker.state {
        WorkerState::Registering { .. } | WorkerState::Ready { .. } | WorkerState::Busy { .. } => true,
        WorkerState::Draining { .. } => !worker.stop_intended,
        // What is on its way out is not vouched for: should its end be refused, the lease ends it.
        WorkerState::Terminating { .. } => return None,
        WorkerState::Requested
        | WorkerState::Launching { .. }
        | WorkerState::Stopped { .. }
        | WorkerState::Gone { .. } => false,
    };
    let listed = view.inventory.and_then(|inventory| inventory.instances.get(id));
    let young = view.inventory.is_some_and(|inventory| inventory.observed_at >= worker.since);
    let lives = match listed {
        Some(instance) if instance.state.is_live() => true,
        Some(instance) if instance.state.is_ending() => false,
        Some(_) | None => recorded && !young,
    };
    lives.then_some(id)
}
