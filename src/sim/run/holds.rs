//! Which instances operators keep: by the ledger's word, and by what they have done themselves.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::model::{Body, WorkerName};

/// The holds that stand.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// By the ledger.
    recorded: BTreeMap<WorkerName, DateTime<Utc>>,
    /// Workers whose last hold an operator has lifted, whatever the ledger says.
    lifted: BTreeSet<WorkerName>,
}

impl Holds {
    /// An entry becomes durable.
    pub(super) fn written(&mut self, body: &Body) {
        match body {
            Body::HoldSet { worker, until } => drop(self.recorded.insert(worker.clone(), *until)),
            Body::HoldReleased { worker } => drop(self.recorded.remove(worker)),
            _ => {}
        }
    }

    /// The ledger is gone.
    pub(super) fn ledger_lost(&mut self) {
        self.recorded.clear();
    }

    /// An operator asks for a hold; it may stand even where he is told that it does not.
    pub(super) fn asked(&mut self, worker: &WorkerName) {
        self.lifted.remove(worker);
    }

    /// An operator was told that the worker is not held any more.
    pub(super) fn lift(&mut self, worker: &WorkerName) {
        self.lifted.insert(worker.clone());
    }

    /// Until when a worker's instance is held: the ledger has it, and no operator has lifted it.
    pub(super) fn until(&self, worker: &WorkerName) -> Option<DateTime<Utc>> {
        self.recorded.get(worker).filter(|_| !self.lifted.contains(worker)).copied()
    }

    /// The workers whose instances are held at a time.
    pub(super) fn standing(&self, now: DateTime<Utc>) -> impl Iterator<Item = &WorkerName> {
        self.recorded.keys().filter(move |worker| self.until(worker).is_some_and(|until| until > now))
    }
}
