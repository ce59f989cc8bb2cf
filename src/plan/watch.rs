//! What several listings show together: absence and strangeness are believed slowly.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::Console;
use crate::model::{
    Cell, ClientToken, Failure, FailureKind, Fleet, InstanceId, InstanceState, Inventory, Ownership, Worker,
    WorkerState,
};
use crate::policy::Intent;

/// How long an end that was seen is remembered: reads of EC2 are late by minutes, and show what has ended for an hour.
const END_REMEMBERED: TimeDelta = TimeDelta::hours(1);

/// Since when instances are missing or unexplained, and which launches had no clear answer. Lost at a
/// restart, and then simply begun anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    /// When this life of the loop began: of calls sent before nothing is known.
    since: Option<DateTime<Utc>>,
    missing: BTreeMap<InstanceId, DateTime<Utc>>,
    ran: BTreeMap<InstanceId, DateTime<Utc>>,
    ended: BTreeMap<InstanceId, DateTime<Utc>>,
    unexplained: BTreeMap<InstanceId, DateTime<Utc>>,
    leases: BTreeMap<InstanceId, DateTime<Utc>>,
    unrenewed: BTreeMap<InstanceId, DateTime<Utc>>,
    open: BTreeMap<ClientToken, OpenLaunch>,
    interrupted: BTreeSet<InstanceId>,
    consoles: BTreeMap<InstanceId, Console>,
}

/// A launch whose outcome is not known, and how its last call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLaunch {
    /// When the last call ended. Only a listing that is younger tells whether it was heard.
    pub at: DateTime<Utc>,
    /// How.
    pub failure: Failure,
    /// Whether a call before it may have launched, so that its refusal says nothing of that one.
    may_run: bool,
}

impl OpenLaunch {
    /// Whether the last call was refused for good: it is not sent again.
    pub fn refused(&self) -> bool {
        !self.failure.kind.leaves_outcome_open()
    }
}

impl Watch {
    /// What a loop knows that begins now.
    pub fn begun(now: DateTime<Utc>) -> Self {
        Self { since: Some(now), ..Self::default() }
    }

    /// When this life of the loop began, if that was said.
    pub fn since(&self) -> Option<DateTime<Utc>> {
        self.since
    }

    /// Takes a listing in. An incomplete one proves no absence and ends no suspicion.
    pub fn update(&mut self, cell: &Cell, intent: &Intent, fleet: &Fleet, inventory: &Inventory) {
        for id in inventory.instances.keys() {
            self.missing.remove(id);
        }
        let running = inventory.instances.values().filter(|instance| instance.state == InstanceState::Running);
        self.ran.extend(running.map(|instance| (instance.id.clone(), inventory.observed_at)));
        let ending = inventory.instances.values().filter(|instance| instance.state.is_ending());
        self.ended.extend(ending.map(|instance| (instance.id.clone(), inventory.observed_at)));
        self.ended.retain(|_, at| inventory.observed_at < *at + END_REMEMBERED);
        if !inventory.complete {
            return;
        }
        let launching: BTreeSet<&ClientToken> =
            fleet.of_cell(cell).filter_map(|(_, worker)| token_of(worker)).collect();
        self.open.retain(|token, _| launching.contains(token));
        let known: BTreeSet<&InstanceId> = known(cell, fleet).collect();
        for id in &known {
            if !inventory.instances.contains_key(*id) {
                self.missing.entry((*id).clone()).or_insert(inventory.observed_at);
            }
        }
        self.missing.retain(|id, _| known.contains(id));
        self.ran.retain(|id, _| known.contains(id));
        self.leases.retain(|id, _| known.contains(id));
        self.unrenewed.retain(|id, _| known.contains(id));
        self.interrupted.retain(|id| known.contains(id));
        self.consoles.retain(|id, _| known.contains(id));
        let strange: BTreeSet<InstanceId> = inventory
            .instances
            .values()
            .filter(|instance| !instance.state.is_ending() && !known.contains(&instance.id))
            .filter(|instance| {
                matches!(instance.tags.ownership(&intent.fleet.name, &intent.fleet.controller), Ownership::Ours { .. })
            })
            .map(|instance| instance.id.clone())
            .collect();
        for id in &strange {
            self.unexplained.entry(id.clone()).or_insert(inventory.observed_at);
        }
        self.unexplained.retain(|id, _| strange.contains(id));
    }

    /// A launch gave its instance.
    pub fn launched(&mut self, token: &ClientToken) {
        self.open.remove(token);
    }

    /// A call of a launch was refused, or not answered; `again` if it was not the attempt's first, `several` if it is
    /// for several workers. Says whether the outcome of the launch is open still.
    pub fn launch_refused(
        &mut self,
        token: &ClientToken,
        again: bool,
        several: bool,
        at: DateTime<Utc>,
        failure: Failure,
    ) -> bool {
        // Of calls that an earlier life of the controller sent nothing is known but the intent.
        let earlier = again && self.open.get(token).is_none_or(|open| open.may_run);
        let unknown = failure.kind.leaves_outcome_open();
        // That its instance has ended is the outcome of an attempt, whichever call it answers; of several it says that
        // one has ended, and nothing of the others.
        let open = unknown || (earlier && (several || failure.kind != FailureKind::AttemptOver));
        if open {
            // A throttle refuses a call before anything is done.
            let may_run = earlier || (unknown && failure.kind != FailureKind::Throttled);
            self.open.insert(token.clone(), OpenLaunch { at, failure, may_run });
        } else {
            self.open.remove(token);
        }
        open
    }

    /// How the last call of the worker's launch ended, while that is open.
    pub fn open_launch(&self, worker: &Worker) -> Option<&OpenLaunch> {
        self.open.get(token_of(worker)?)
    }

    /// Remembers a renewal until a listing shows it.
    pub fn renewed(&mut self, ids: &[InstanceId], until: DateTime<Utc>) {
        self.leases.extend(ids.iter().map(|id| (id.clone(), until)));
        self.unrenewed.retain(|id, _| !ids.contains(id));
    }

    /// Remembers that EC2 would not renew these, at least not together.
    pub fn renewal_refused(&mut self, ids: &[InstanceId], now: DateTime<Utc>) {
        self.unrenewed.extend(ids.iter().map(|id| (id.clone(), now)));
    }

    /// When EC2 last refused to renew the lease of this one.
    pub fn renewal_refused_at(&self, id: &InstanceId) -> Option<DateTime<Utc>> {
        self.unrenewed.get(id).copied()
    }

    /// The end of a lease that was renewed by us.
    pub fn lease_of(&self, id: &InstanceId) -> Option<DateTime<Utc>> {
        self.leases.get(id).copied()
    }

    /// Whether a listing did not show something that the record has.
    pub fn misses_any(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Since when every complete listing missed it.
    pub fn missing_since(&self, id: &InstanceId) -> Option<DateTime<Utc>> {
        self.missing.get(id).copied()
    }

    /// When the last listing that showed it running was asked for.
    pub fn ran_until(&self, id: &InstanceId) -> Option<DateTime<Utc>> {
        self.ran.get(id).copied()
    }

    /// Whether a listing showed that it is ending, or has ended: one that shows it alive after that is late.
    pub fn saw_end(&self, id: &InstanceId) -> bool {
        self.ended.contains_key(id)
    }

    /// EC2 says that it takes these back.
    pub fn interrupted(&mut self, ids: BTreeSet<InstanceId>) {
        self.interrupted.extend(ids);
    }

    /// Whether EC2 said that it takes this one back.
    pub fn is_interrupted(&self, id: &InstanceId) -> bool {
        self.interrupted.contains(id)
    }

    /// What becomes of the reading of a console.
    pub fn console_is(&mut self, id: &InstanceId, console: Console) {
        self.consoles.insert(id.clone(), console);
    }

    /// What is known of its console, if that was asked for.
    pub fn console(&self, id: &InstanceId) -> Option<&Console> {
        self.consoles.get(id)
    }

    /// Since when it is seen without an explanation.
    pub fn unexplained_since(&self, id: &InstanceId) -> Option<DateTime<Utc>> {
        self.unexplained.get(id).copied()
    }
}

/// The token of the launch that a worker waits for.
fn token_of(worker: &Worker) -> Option<&ClientToken> {
    if let WorkerState::Launching { token } = &worker.state { Some(token) } else { None }
}

/// The instances of a cell that the ledger knows and has not seen end: bound to a worker, or departing.
/// Each listing looks for them by their ids too, so that a tag that a third party removed is not taken
/// for an instance that has ended.
pub fn known_instances(cell: &Cell, fleet: &Fleet) -> Vec<InstanceId> {
    known(cell, fleet).cloned().collect()
}

fn known<'a>(cell: &Cell, fleet: &'a Fleet) -> impl Iterator<Item = &'a InstanceId> {
    let bound = fleet.of_cell(cell).filter_map(|(_, worker)| worker.state.instance());
    bound.chain(fleet.departing_of(cell).map(|(id, _)| id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Phase;

    /// Whether a launch is open after calls that ended so, and whether its last was refused for good.
    fn after(kinds: &[FailureKind], restarted: bool) -> (bool, bool) {
        let token = ClientToken::derive(&["t"]);
        let mut worker = Worker::unknown(DateTime::UNIX_EPOCH);
        worker.state = WorkerState::Launching { token: token.clone() };
        let mut watch = Watch::default();
        let mut open = false;
        for (number, kind) in kinds.iter().enumerate() {
            let failure = Failure::new(Phase::Launch, *kind, "Code", "message");
            open = watch.launch_refused(&token, number > 0 || restarted, false, DateTime::UNIX_EPOCH, failure);
        }
        assert_eq!(open, watch.open_launch(&worker).is_some());
        (open, watch.open_launch(&worker).is_some_and(OpenLaunch::refused))
    }

    #[test]
    fn a_refusal_is_the_outcome_only_of_a_launch_whose_every_call_was_answered() {
        use FailureKind::{AttemptOver, Elsewhere, Owner, Quota, RetrySame, Throttled, Unreachable};
        for definitive in [Elsewhere, Quota, Owner] {
            assert_eq!(after(&[definitive], false), (false, false));
            assert_eq!(after(&[definitive], true), (true, true), "of an earlier life nothing is known");
            assert_eq!(after(&[Throttled, Throttled, definitive], false), (false, false));
            for doubtful in [Unreachable, RetrySame] {
                assert_eq!(after(&[doubtful, definitive], false), (true, true));
                assert_eq!(after(&[doubtful, Throttled, definitive], false), (true, true), "a doubt stays");
                assert_eq!(after(&[doubtful, definitive, doubtful, AttemptOver], false), (false, false));
            }
        }
        assert_eq!(after(&[AttemptOver], true), (false, false));
        assert_eq!(after(&[Throttled], true), (true, false));
    }
}
