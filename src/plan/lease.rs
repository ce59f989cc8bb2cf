//! Leases: what is in use is vouched for in time, whether or not it can be listed.

use chrono::{DateTime, TimeDelta, Utc};

use super::{View, instance_subject};
use crate::model::{Action, Cell, InstanceId, Ownership, Worker, WorkerState, tag_keys};

/// The most instances of one call; EC2 takes a thousand.
const TOGETHER_MAX: usize = 500;
/// Cells that began together shall not renew together: by so many steps their times are spread.
const STEPS: i32 = 64;

/// An instance in use, and what is to be known of its lease.
struct Leased<'a> {
    id: &'a InstanceId,
    lease: TimeDelta,
    end: Option<DateTime<Utc>>,
    refused: Option<DateTime<Utc>>,
    alone: bool,
}

impl Leased<'_> {
    /// Whether no more than this is left.
    fn less_is_left(&self, now: DateTime<Utc>, than: TimeDelta) -> bool {
        self.end.is_none_or(|end| end <= now + than)
    }
}

/// A lease of an instance in use, as far as its end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseSeen {
    /// When it ends.
    pub end: DateTime<Utc>,
    /// How long one lasts.
    pub length: TimeDelta,
}

/// The leases of what is in use.
pub(super) fn seen(view: &View<'_>) -> Vec<LeaseSeen> {
    leased(view).filter_map(|one| Some(LeaseSeen { end: one.end?, length: one.lease })).collect()
}

/// The lease tags to renew: when one is due, those of the same length go with it that would be due
/// soon, in one call with one new end. One instance that EC2 refuses makes the whole call fail; so
/// those that it may refuse go one by one.
pub(super) fn renewals(view: &View<'_>) -> Option<Action> {
    let now = view.now;
    let all: Vec<Leased<'_>> = leased(view).collect();
    let due = |one: &&Leased<'_>| one.less_is_left(now, margin(view.cell, one.lease));
    let most_urgent =
        |one: &&Leased<'_>| one.end.map(|end| (end - now).num_milliseconds() / one.lease.num_seconds().max(1));
    let Some(first) = all.iter().filter(due).filter(|one| !one.alone).min_by_key(most_urgent) else {
        let alone = all.iter().filter(due).min_by_key(|one| (one.refused, one.id))?;
        return Some(Action::Renew { instances: vec![alone.id.clone()], until: now + alone.lease });
    };
    let with_it =
        |one: &&Leased<'_>| !one.alone && one.lease == first.lease && one.less_is_left(now, first.lease * 3 / 4);
    let instances = all.iter().filter(with_it).map(|one| one.id.clone()).take(TOGETHER_MAX).collect();
    Some(Action::Renew { instances, until: now + first.lease })
}

/// When the next lease is due.
pub(super) fn next_due(view: &View<'_>) -> Option<DateTime<Utc>> {
    leased(view).filter_map(|one| Some(one.end? - margin(view.cell, one.lease))).min()
}

/// So much of a lease is left when it is renewed: a half, and up to an eighth more by the cell's name.
fn margin(cell: &Cell, lease: TimeDelta) -> TimeDelta {
    let sum = cell.to_string().bytes().fold(0_i32, |sum, byte| (sum * 31 + i32::from(byte)) % 65_521);
    lease / 2 + lease / 8 * (sum % STEPS) / STEPS
}

fn leased<'a>(view: &'a View<'_>) -> impl Iterator<Item = Leased<'a>> {
    view.fleet.of_cell(view.cell).filter_map(|(name, worker)| {
        let id = in_use(view, worker)?;
        let refused = view.watch.renewal_refused_at(id);
        let alone = refused.is_some() || retagged(view, id);
        Some(Leased { id, lease: view.policy(name).lease, end: lease_end(view, worker, id), refused, alone })
    })
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

/// The instance that a worker of this cell uses. Without a listing that is young enough the record
/// decides: an owner whose region cannot be listed for an hour shall lose no build for it.
fn in_use<'a>(view: &View<'_>, worker: &'a Worker) -> Option<&'a InstanceId> {
    let id = worker.state.instance()?;
    if view.in_flight.contains(&instance_subject(id)) {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn cells_are_spread_and_each_renews_well_inside_the_lease() {
        let lease = TimeDelta::minutes(45);
        let cells = (0..40).map(|number| Cell {
            owner: format!("owner{number}").parse().expect("a name"),
            region: "us-west-2".parse().expect("a region"),
        });
        let margins: BTreeSet<TimeDelta> = cells.map(|cell| margin(&cell, lease)).collect();
        assert!(margins.len() > 20, "{margins:?}");
        assert!(margins.iter().all(|left| *left >= lease / 2 && *left < lease / 8 * 5));
    }
}
