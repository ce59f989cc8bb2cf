//! Spot interruptions: whom to ask EC2 about, and what its answer means for a worker.

use std::collections::BTreeSet;

use super::View;
use crate::model::{Body, Cause, InstanceId, Resource, ResourceId, Worker, WorkerName};

/// How EC2 begins its reason when it took a spot instance back.
const TAKEN_BACK: &str = "Server.SpotInstance";

/// The spot requests of the live instances that workers are bound to and that EC2 has not been seen to
/// take back yet.
pub fn spot_requests(view: &View<'_>) -> Vec<ResourceId> {
    let instances = view.inventory.into_iter().flat_map(|inventory| inventory.instances.values());
    let live = instances.filter(|instance| instance.state.is_live());
    let bound = view.bound();
    let unwarned = live.filter(|instance| {
        let worker = bound.get(&instance.id).and_then(|name| view.fleet.workers.get(*name));
        worker.is_some_and(|worker| worker.interruption.is_none())
    });
    unwarned.filter_map(|instance| instance.parts.spot_request.as_ref()?.parse().ok()).collect()
}

/// The instances that EC2 takes back, by what it says of their spot requests.
pub fn interrupted<'a>(requests: impl IntoIterator<Item = &'a Resource>) -> BTreeSet<InstanceId> {
    let taken = requests.into_iter().filter_map(|resource| match resource {
        Resource::SpotRequest(_, request) if request.is_interrupted() => request.instance.clone(),
        _ => None,
    });
    taken.collect()
}

/// What the last answer says of a worker's instance and the ledger does not say yet.
pub(super) fn fact(view: &View<'_>, name: &WorkerName, worker: &Worker, id: &InstanceId) -> Option<Body> {
    let new = worker.interruption.is_none() && view.watch.is_interrupted(id);
    new.then(|| noticed(name, id))
}

/// The entry that says so.
pub(super) fn noticed(name: &WorkerName, id: &InstanceId) -> Body {
    Body::InterruptionNoticed { worker: name.clone(), instance: id.clone() }
}

/// Why an instance ended that we did not end.
pub(super) fn cause_of_end(worker: &Worker, reason: &str) -> Cause {
    let interrupted = worker.interruption.is_some() || reason.starts_with(TAKEN_BACK);
    if interrupted { Cause::Interrupted } else { Cause::Lost }
}
