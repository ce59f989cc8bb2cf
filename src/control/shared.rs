//! What the loops and the callers of one controller share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};

use super::book::Book;
use crate::ledger::{Ledger, LedgerError};
use crate::model::{Actor, Body, Cell, Failure, Fleet, Held, HeldReason, Inventory, Subject, WorkerName};
use crate::plan::AmiListings;
use crate::plan::sweep::SweepPlan;
use crate::policy::Intent;

/// When masters spoke. Not durable: at a restart everybody counts as heard just now, so that a
/// restart never takes an instance away.
#[derive(Debug)]
pub(super) struct Heard {
    since: DateTime<Utc>,
    workers: BTreeMap<WorkerName, DateTime<Utc>>,
}

impl Heard {
    pub(super) fn of(&self, name: &WorkerName) -> DateTime<Utc> {
        self.spoken(name).unwrap_or(self.since)
    }

    pub(super) fn spoken(&self, name: &WorkerName) -> Option<DateTime<Utc>> {
        self.workers.get(name).copied()
    }
}

/// What the last look at a cell came to.
#[derive(Debug, Clone, Default)]
pub(super) struct CellStatus {
    pub(super) held: BTreeMap<Subject, HeldReason>,
    pub(super) inventory: Option<Arc<Inventory>>,
    pub(super) failure: Option<Failure>,
    pub(super) swept: Option<Arc<SweepPlan>>,
    pub(super) amis: Arc<AmiListings>,
}

/// What the loops and the callers share. Locks are held for moments, never across an await.
#[derive(Debug)]
pub(super) struct Shared<L> {
    book: Mutex<Book<L>>,
    intent: Mutex<Arc<Intent>>,
    heard: Mutex<Heard>,
    cells: Mutex<BTreeMap<Cell, CellStatus>>,
    wakes: Mutex<BTreeMap<Cell, Arc<Notify>>>,
    changed: watch::Sender<u64>,
    /// How many instances lived when the record was last looked at.
    live: AtomicU32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<L: Ledger> Shared<L> {
    pub(super) fn new(book: Book<L>, intent: Intent, now: DateTime<Utc>) -> Self {
        let seq = book.fleet().seq;
        Self {
            book: Mutex::new(book),
            intent: Mutex::new(Arc::new(intent)),
            heard: Mutex::new(Heard { since: now, workers: BTreeMap::new() }),
            cells: Mutex::default(),
            wakes: Mutex::default(),
            changed: watch::Sender::new(seq),
            live: AtomicU32::new(0),
        }
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book<L>> {
        lock(&self.book)
    }

    pub(super) fn intent(&self) -> Arc<Intent> {
        Arc::clone(&lock(&self.intent))
    }

    pub(super) fn set_intent(&self, intent: Intent) {
        *lock(&self.intent) = Arc::new(intent);
    }

    pub(super) fn heard(&self) -> MutexGuard<'_, Heard> {
        lock(&self.heard)
    }

    pub(super) fn hear(&self, name: &WorkerName, now: DateTime<Utc>) {
        lock(&self.heard).workers.insert(name.clone(), now);
    }

    pub(super) fn cells(&self) -> MutexGuard<'_, BTreeMap<Cell, CellStatus>> {
        lock(&self.cells)
    }

    pub(super) fn publish(
        &self,
        cell: &Cell,
        held: Vec<Held>,
        inventory: Option<Arc<Inventory>>,
        failure: Option<Failure>,
        swept: Option<Arc<SweepPlan>>,
        amis: Arc<AmiListings>,
    ) {
        let held = held.into_iter().map(|held| (held.subject, held.reason)).collect();
        self.cells().insert(cell.clone(), CellStatus { held, inventory, failure, swept, amis });
    }

    pub(super) fn wake_of(&self, cell: &Cell) -> Arc<Notify> {
        Arc::clone(lock(&self.wakes).entry(cell.clone()).or_default())
    }

    /// Every loop looks now.
    pub(super) fn wake_all(&self) {
        for wake in lock(&self.wakes).values() {
            wake.notify_one();
        }
    }

    /// The loops of these cells look now.
    pub(super) fn wake(&self, cells: &BTreeSet<Cell>) {
        let wakes = lock(&self.wakes);
        for wake in cells.iter().filter_map(|cell| wakes.get(cell)) {
            wake.notify_one();
        }
    }

    /// Writes entries and tells whoever waits for a change.
    pub(super) fn append(&self, now: DateTime<Utc>, actor: &Actor, bodies: Vec<Body>) -> Result<(), LedgerError> {
        if bodies.is_empty() {
            return Ok(());
        }
        self.append_from(now, actor, |_| bodies).map(drop)
    }

    /// Writes what follows from the record as it is now, which nobody changes meanwhile. Gives the cells
    /// of the workers that it speaks of.
    pub(super) fn append_from(
        &self,
        now: DateTime<Utc>,
        actor: &Actor,
        bodies: impl FnOnce(&Fleet) -> Vec<Body>,
    ) -> Result<BTreeSet<Cell>, LedgerError> {
        let intent = self.intent();
        let cells = {
            let mut book = self.book();
            book.refresh()?;
            let bodies = bodies(book.fleet());
            let workers: BTreeSet<WorkerName> = bodies.iter().filter_map(Body::worker).cloned().collect();
            book.append(now, actor, bodies)?;
            let recorded = workers.iter().filter_map(|name| book.fleet().workers.get(name)?.attempt.as_ref());
            let configured = workers.iter().filter_map(|name| intent.workers.get(name));
            recorded.map(|attempt| attempt.cell.clone()).chain(configured.map(|c| c.cell.clone())).collect()
        };
        self.tell();
        Ok(cells)
    }

    /// Tells whoever waits that the record has moved.
    pub(super) fn tell(&self) {
        let (seq, live) = {
            let book = self.book();
            (book.fleet().seq, book.fleet().live())
        };
        let before = self.live.swap(live, Ordering::Relaxed);
        self.changed.send_if_modified(|last| std::mem::replace(last, seq) != seq);
        // A place that is free again may be what a worker of any cell waits for.
        let full = |status: &CellStatus| status.held.values().any(|why| matches!(why, HeldReason::FleetFull { .. }));
        if live < before && self.cells().values().any(full) {
            self.wake_all();
        }
    }

    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
