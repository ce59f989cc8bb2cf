//! What the loops and the callers of one controller share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};

use super::book::Book;
use super::declare::lives;
use super::desk::Desk;
use super::door::TurnedAway;
use super::health::Probed;
use super::metrics::Metrics;
use crate::ledger::{Ledger, LedgerError};
use crate::model::{Actor, Body, Cell, Failure, Fleet, Held, HeldReason, Inventory, OwnerName, Subject, WorkerName};
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
    /// When this life of the controller began.
    pub(super) fn since(&self) -> DateTime<Utc> {
        self.since
    }

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
    /// Whether one of its workers waits for a place in the fleet.
    waits_for_place: bool,
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
    /// What the files say and what masters declare. Whoever needs the book as well takes this first.
    desk: Mutex<Desk>,
    /// The account numbers that were learnt, of owners of whom no file names one.
    accounts: Mutex<BTreeMap<OwnerName, String>>,
    heard: Mutex<Heard>,
    cells: Mutex<BTreeMap<Cell, CellStatus>>,
    wakes: Mutex<BTreeMap<Cell, Arc<Notify>>>,
    changed: watch::Sender<u64>,
    /// Cells that somebody wants listed before it is due.
    early: Mutex<BTreeSet<Cell>>,
    /// How often a loop has published what it saw.
    looks: watch::Sender<u64>,
    turned_away: Mutex<TurnedAway>,
    probed: Mutex<Probed>,
    /// How many instances lived when the record was last looked at.
    live: AtomicU32,
    metrics: Arc<Metrics>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<L: Ledger> Shared<L> {
    pub(super) fn new(book: Book<L>, desk: Desk, now: DateTime<Utc>) -> Self {
        let (seq, metrics) = (book.fleet().seq, book.metrics());
        Self {
            book: Mutex::new(book),
            accounts: Mutex::new(desk.accounts().clone()),
            intent: Mutex::new(Arc::clone(desk.files())),
            desk: Mutex::new(desk),
            heard: Mutex::new(Heard { since: now, workers: BTreeMap::new() }),
            cells: Mutex::default(),
            wakes: Mutex::default(),
            changed: watch::Sender::new(seq),
            early: Mutex::default(),
            looks: watch::Sender::new(0),
            turned_away: Mutex::default(),
            probed: Mutex::default(),
            live: AtomicU32::new(0),
            metrics,
        }
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book<L>> {
        lock(&self.book)
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        lock(&self.desk)
    }

    /// The loops go by what the desk holds from now on.
    pub(super) fn take_declared(&self) {
        let mut desk = self.desk();
        desk.prune(&|owner| lives(self.book().fleet(), owner));
        self.set_intent(desk.intent());
    }

    /// The account that an owner's credentials acted in at first, where no file names one.
    pub(super) fn account(&self, owner: &OwnerName) -> Option<String> {
        lock(&self.accounts).get(owner).cloned()
    }

    /// The number of an owner's account: that of the configuration, or the learnt one.
    pub(super) fn account_of(&self, intent: &Intent, owner: &OwnerName) -> Option<String> {
        let named = intent.owners.get(owner).and_then(|owner| owner.account.clone());
        named.or_else(|| self.account(owner))
    }

    /// Remembers the account in which an owner's credentials act.
    pub(super) fn learn(&self, owner: &OwnerName, account: &str) {
        let all = {
            let mut accounts = lock(&self.accounts);
            if accounts.get(owner).is_some_and(|known| known == account) {
                return;
            }
            accounts.insert(owner.clone(), account.to_owned());
            accounts.clone()
        };
        tracing::info!(%owner, account, "an owner's account was learnt");
        if let Err(error) = self.desk().keep_accounts(all) {
            tracing::warn!(%error, "the account is learnt again after a restart");
        }
    }

    pub(super) fn intent(&self) -> Arc<Intent> {
        Arc::clone(&lock(&self.intent))
    }

    pub(super) fn set_intent(&self, intent: Arc<Intent>) {
        self.metrics.configured(&intent);
        *lock(&self.intent) = intent;
    }

    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(super) fn heard(&self) -> MutexGuard<'_, Heard> {
        lock(&self.heard)
    }

    pub(super) fn hear(&self, name: &WorkerName, now: DateTime<Utc>) {
        self.hear_all([name], now);
    }

    /// A master spoke of all of these.
    pub(super) fn hear_all<'n>(&self, names: impl IntoIterator<Item = &'n WorkerName>, now: DateTime<Utc>) {
        let mut heard = lock(&self.heard);
        for name in names {
            match heard.workers.get_mut(name) {
                Some(last) => *last = now,
                None => drop(heard.workers.insert(name.clone(), now)),
            }
        }
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
        let waits_for_place = held.iter().any(|held| held.reason.is_fleet_full());
        let held = held.into_iter().map(|held| (held.subject, held.reason)).collect();
        let status = CellStatus { held, waits_for_place, inventory, failure, swept, amis };
        // What was known before is given up after the lock: of a large cell that takes a while.
        let before = self.cells().insert(cell.clone(), status);
        drop(before);
        self.looks.send_modify(|looks| *looks += 1);
    }

    /// Told whenever a loop has looked at its cell.
    pub(super) fn looks(&self) -> watch::Receiver<u64> {
        self.looks.subscribe()
    }

    /// Has a cell listed as soon as its pace allows.
    pub(super) fn ask_for_listing(&self, cell: &Cell) {
        lock(&self.early).insert(cell.clone());
        self.wake(&BTreeSet::from([cell.clone()]));
    }

    /// Whether a listing was asked for; it is not any more then.
    pub(super) fn take_early(&self, cell: &Cell) -> bool {
        lock(&self.early).remove(cell)
    }

    pub(super) fn turned_away(&self) -> MutexGuard<'_, TurnedAway> {
        lock(&self.turned_away)
    }

    /// What was found out about the ledger last. Whoever needs the book as well takes this first.
    pub(super) fn probed(&self) -> MutexGuard<'_, Probed> {
        lock(&self.probed)
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
        // A place that is free again may be what a worker of these cells waits for.
        if live < before {
            let waiting = |(cell, status): (&Cell, &CellStatus)| status.waits_for_place.then(|| cell.clone());
            let waiting = self.cells().iter().filter_map(waiting).collect();
            self.wake(&waiting);
        }
    }

    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
