//! Every instance of the listing, and every instance whose end was intended.

use std::collections::BTreeSet;

use super::{View, held_call, instance_subject};
use crate::model::{
    Action, Cause, Departing, Held, HeldReason, Instance, InstanceId, InstanceState, Ownership, Plan, Sight, Subject,
    WorkerName,
};

/// Adds an action or a held reason for each instance that no action speaks for yet.
pub(super) fn all(view: &View<'_>, plan: &mut Plan) {
    let spoken: BTreeSet<Subject> = plan.actions.iter().flat_map(Action::subjects).collect();
    for (id, departing) in view.fleet.departing_of(view.cell) {
        if !spoken.contains(&instance_subject(id)) {
            add(plan, id, departing_instance(view, id, departing, &spoken));
        }
    }
    let bound = view.bound();
    for instance in view.inventory.into_iter().flat_map(|inventory| inventory.instances.values()) {
        let subject = instance_subject(&instance.id);
        if !spoken.contains(&subject) && !view.fleet.departing.contains_key(&instance.id) {
            add(plan, &instance.id, listed_instance(view, instance, bound.get(&instance.id).copied()));
        }
    }
}

fn add(plan: &mut Plan, id: &InstanceId, step: Result<Action, HeldReason>) {
    match step {
        Ok(action) => {
            // The worker that waits for this very call is spoken for by it.
            let subjects = action.subjects();
            plan.held.retain(|held| !subjects.contains(&held.subject));
            plan.actions.push(action);
        }
        Err(reason) => plan.held.push(Held { subject: instance_subject(id), reason }),
    }
}

/// An instance whose end was intended: asked for until it is accepted, and again when nothing follows.
fn departing_instance(
    view: &View<'_>,
    id: &InstanceId,
    departing: &Departing,
    spoken: &BTreeSet<Subject>,
) -> Result<Action, HeldReason> {
    if let Some(reason) = held_call(view, &instance_subject(id)) {
        return Err(reason);
    }
    let state = view.inventory.and_then(|inventory| inventory.instances.get(id)).map(|instance| &instance.state);
    let policy = departing.worker.as_ref().map_or(&view.intent.base_policy, |name| view.policy(name));
    let waits = match departing.accepted {
        Some(accepted) => {
            let follows = state.is_none_or(InstanceState::is_ending);
            follows || view.now < accepted + policy.stop_deadline
        }
        None => false,
    };
    if waits {
        return Err(HeldReason::Departing { since: departing.since });
    }
    Ok(Action::Terminate {
        instance: id.clone(),
        worker: departing
            .worker
            .clone()
            .filter(|name| bound_to(view, name, id) && !spoken.contains(&Subject::Worker(name.clone()))),
        cause: departing.cause.clone(),
        seen: None,
        silent_since: None,
    })
}

fn bound_to(view: &View<'_>, name: &WorkerName, id: &InstanceId) -> bool {
    view.fleet.workers.get(name).is_some_and(|worker| worker.state.instance() == Some(id))
}

fn listed_instance(view: &View<'_>, instance: &Instance, user: Option<&WorkerName>) -> Result<Action, HeldReason> {
    if instance.state.is_ending() {
        return Err(HeldReason::Ended);
    }
    let ownership = instance.tags.ownership(&view.intent.fleet.name, &view.intent.fleet.controller);
    match (user, ownership) {
        (Some(name), Ownership::Ours { .. }) => Err(HeldReason::InUse(name.clone())),
        // The record of its launch says whose it is, whatever became of its tags since.
        (Some(name), Ownership::Foreign { why } | Ownership::Unreadable { why }) => {
            Err(HeldReason::Retagged { worker: name.clone(), why })
        }
        (None, Ownership::Ours { worker, .. }) => unexplained(view, instance, &worker),
        (None, Ownership::Foreign { why }) => Err(HeldReason::Foreign { why }),
        (None, Ownership::Unreadable { why }) => Err(HeldReason::Unreadable { why }),
    }
}

/// Ours by its tags, and explained by nothing: looked at twice, then taken away.
fn unexplained(view: &View<'_>, instance: &Instance, worker: &WorkerName) -> Result<Action, HeldReason> {
    if let Some(reason) = held_call(view, &instance_subject(&instance.id)) {
        return Err(reason);
    }
    // Two owners may have one account: what the listing of the one shows may be the other's.
    if view.fleet.workers.get(worker).is_some_and(|worker| worker.state.instance() == Some(&instance.id)) {
        return Err(HeldReason::InUse(worker.clone()));
    }
    let grace = view.policy(worker).orphan_grace;
    let since = view.watch.unexplained_since(&instance.id).unwrap_or(view.now);
    let until = since + grace;
    let looked_again = view.inventory.is_some_and(|inventory| inventory.complete && inventory.observed_at >= until);
    if !looked_again {
        return Err(HeldReason::SecondLook { until });
    }
    let cause = if !view.intent.workers.contains_key(worker) {
        Cause::Unconfigured
    } else if view.fleet.workers.get(worker).is_some_and(|w| w.state.instance().is_some()) {
        Cause::Twin
    } else {
        Cause::Orphan
    };
    let seen = Some(Box::new(Sight::of(instance)));
    Ok(Action::Terminate { instance: instance.id.clone(), worker: None, cause, seen, silent_since: None })
}
