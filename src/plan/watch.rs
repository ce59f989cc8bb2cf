//! What several listings show together: absence and strangeness are believed slowly.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::model::{Cell, Failure, Fleet, InstanceId, Inventory, Ownership, WorkerName};
use crate::policy::Intent;

/// Since when instances are missing or unexplained, and which launches had no clear answer. Lost at a
/// restart, and then simply begun anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    missing: BTreeMap<InstanceId, DateTime<Utc>>,
    unexplained: BTreeMap<InstanceId, DateTime<Utc>>,
    leases: BTreeMap<InstanceId, DateTime<Utc>>,
    open: BTreeMap<WorkerName, (DateTime<Utc>, Failure)>,
}

impl Watch {
    /// Takes a listing in. An incomplete one proves no absence and ends no suspicion.
    pub fn update(&mut self, cell: &Cell, intent: &Intent, fleet: &Fleet, inventory: &Inventory) {
        for id in inventory.instances.keys() {
            self.missing.remove(id);
        }
        if !inventory.complete {
            return;
        }
        let known = known_instances(cell, fleet);
        for id in &known {
            if !inventory.instances.contains_key(id) {
                self.missing.entry(id.clone()).or_insert(inventory.observed_at);
            }
        }
        self.missing.retain(|id, _| known.contains(id));
        self.leases.retain(|id, _| known.contains(id));
        let strange: Vec<InstanceId> = inventory
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

    /// Remembers how the last call of a launch ended; `None` once its outcome is known.
    pub fn launch_answered(&mut self, name: &WorkerName, open: Option<(DateTime<Utc>, Failure)>) {
        match open {
            Some(open) => self.open.insert(name.clone(), open),
            None => self.open.remove(name),
        };
    }

    /// When the last call of an open launch ended, and how. Only a listing that is younger tells
    /// whether it was heard.
    pub fn open_launch(&self, name: &WorkerName) -> Option<&(DateTime<Utc>, Failure)> {
        self.open.get(name)
    }

    /// Remembers a renewal until a listing shows it.
    pub fn renewed(&mut self, ids: &[InstanceId], until: DateTime<Utc>) {
        self.leases.extend(ids.iter().map(|id| (id.clone(), until)));
    }

    /// The end of a lease that was renewed by us.
    pub fn lease_of(&self, id: &InstanceId) -> Option<DateTime<Utc>> {
        self.leases.get(id).copied()
    }

    /// Since when every complete listing missed it.
    pub fn missing_since(&self, id: &InstanceId) -> Option<DateTime<Utc>> {
        self.missing.get(id).copied()
    }

    /// Since when it is seen without an explanation.
    pub fn unexplained_since(&self, id: &InstanceId) -> Option<DateTime<Utc>> {
        self.unexplained.get(id).copied()
    }
}

/// The instances of a cell that the ledger knows and has not seen end: bound to a worker, or departing.
/// Each listing looks for them by their ids too, so that a tag that a third party removed is not taken
/// for an instance that has ended.
pub fn known_instances(cell: &Cell, fleet: &Fleet) -> Vec<InstanceId> {
    let bound = fleet
        .workers
        .values()
        .filter(|worker| worker.attempt.as_ref().is_some_and(|attempt| attempt.cell == *cell))
        .filter_map(|worker| worker.state.instance().cloned());
    let departing = fleet.departing.iter().filter(|(_, departing)| departing.cell == *cell).map(|(id, _)| id.clone());
    bound.chain(departing).collect()
}
