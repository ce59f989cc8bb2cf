//! The ledger and what it says, kept together: nothing is believed that is not written.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::metrics::Metrics;
use crate::ledger::{Head, Ledger, LedgerError};
use crate::model::{Actor, Body, Entry, Fleet, OwnerName};
use crate::plan::Lives;
use crate::plan::bill::Prices;
use crate::plan::budget::{Balance, Month, Spent, Till};
use crate::plan::day::Day;
use crate::plan::meter::Meter;
use crate::policy::price::Range;
use crate::policy::{self, Intent};

/// Entries read at a time when a ledger is folded.
const PAGE: usize = 10_000;

/// The ledger and its fold.
#[derive(Debug)]
pub(super) struct Book<L> {
    ledger: L,
    fleet: Fleet,
    day: Day,
    lives: Lives,
    metrics: Arc<Metrics>,
    /// What each instance was used for, in this month and the one before.
    meter: Meter,
    till: Till,
    /// The prices that the till's sums are by.
    priced_by: Arc<policy::price::Prices>,
    /// Set when a write failed and what was really written could not be read yet.
    stale: bool,
}

impl<L: Ledger> Book<L> {
    pub(super) fn open(ledger: L) -> Result<Self, LedgerError> {
        // What earlier processes wrote is context, and not counted again.
        let mut lives = Lives::default();
        let Told { fleet, day, meter } = fold(&ledger, |entry| drop(lives.apply(entry)))?;
        Ok(Self {
            ledger,
            fleet,
            day,
            meter,
            till: Till::default(),
            priced_by: Arc::default(),
            lives,
            metrics: Arc::default(),
            stale: false,
        })
    }

    /// Where what is written is counted.
    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// What the ledger takes on the disk, in bytes, if it has a disk.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.ledger.bytes()
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The last day of every worker.
    pub(super) fn day(&self) -> &Day {
        &self.day
    }

    /// Whether an entry could be written now.
    pub(super) fn probe(&mut self) -> Result<(), LedgerError> {
        self.refresh()?;
        self.ledger.probe()
    }

    /// Writes what follows from the record so far, and leaves out, loudly, what does not; says of each
    /// whether it follows. When it returns an error nothing was written, and nothing may be done.
    pub(super) fn append(
        &mut self,
        now: DateTime<Utc>,
        actor: &Actor,
        bodies: Vec<Body>,
    ) -> Result<Vec<bool>, LedgerError> {
        self.refresh()?;
        let mut entries = Vec::with_capacity(bodies.len());
        let mut follows = Vec::with_capacity(bodies.len());
        for body in bodies {
            let entry = Entry { seq: self.fleet.seq + 1, at: now, actor: actor.clone(), body };
            let applied = self.fleet.apply(&entry);
            follows.push(applied.is_ok());
            match applied {
                Ok(()) => {
                    self.day.note(&entry, &self.fleet);
                    entries.push(entry);
                }
                Err(error) => {
                    tracing::error!(%error, entry = ?entry.body, "left out an entry that does not follow; please report this");
                }
            }
        }
        if entries.is_empty() {
            return Ok(follows);
        }
        if let Err(error) = self.ledger.append(&entries) {
            self.stale = true;
            self.metrics.ledger(false);
            if let Err(error) = self.refresh() {
                tracing::error!(%error, "cannot read the ledger either");
            }
            return Err(error);
        }
        self.metrics.ledger(true);
        for entry in &entries {
            self.metrics.happened(self.lives.apply(entry));
            take(&mut self.meter, entry);
            let worker = entry.body.worker().map(ToString::to_string).unwrap_or_default();
            tracing::info!(entry.seq = entry.seq, worker.name = worker, "{}", entry.body.describe());
        }
        Ok(follows)
    }

    /// Reads what was really written, after a write that failed. Whoever decides on the record calls
    /// it first; otherwise it does nothing.
    pub(super) fn refresh(&mut self) -> Result<(), LedgerError> {
        if self.stale {
            let (lives, metrics) = (&mut self.lives, &self.metrics);
            let told = fold(&self.ledger, |entry| metrics.happened(lives.apply(entry)))?;
            (self.fleet, self.day, self.meter) = (told.fleet, told.day, told.meter);
            self.till = Till::default();
            self.stale = false;
        }
        Ok(())
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// What an owner has spent in the month of `now`, and spends each hour.
    pub(super) fn spent(&mut self, intent: &Intent, owner: &OwnerName, now: DateTime<Utc>) -> (Spent, Range) {
        if !Arc::ptr_eq(&self.priced_by, &intent.prices) {
            (self.till, self.priced_by) = (Till::default(), Arc::clone(&intent.prices));
        }
        self.till.spent(&self.meter, owner, now, &Prices::of(intent))
    }

    /// How an owner stands against the budget, if there is one.
    pub(super) fn balance(&mut self, intent: &Intent, owner: &OwnerName, now: DateTime<Utc>) -> Option<Balance> {
        let budget = intent.owners.get(owner)?.budget?;
        let (spent, rate) = self.spent(intent, owner, now);
        Some(Balance {
            owner: owner.clone(),
            now,
            month: Month::of(now),
            budget,
            spent,
            rate,
            prices: Arc::clone(&intent.prices),
        })
    }

    /// The last entry, and the value of the chain there.
    pub(super) fn head(&self) -> Result<Head, LedgerError> {
        self.ledger.head()
    }

    pub(super) fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        self.ledger.read(after, limit)
    }
}

/// Nothing is kept of more than the month before.
fn take(meter: &mut Meter, entry: &Entry) {
    let month = Month::of(entry.at);
    if meter.last_at().is_some_and(|last| last < month.begins) {
        meter.forget_before(month.before().begins);
    }
    meter.take(entry);
}

/// What a ledger says, folded.
#[derive(Default)]
struct Told {
    fleet: Fleet,
    day: Day,
    meter: Meter,
}

fn fold<L: Ledger>(ledger: &L, mut each: impl FnMut(&Entry)) -> Result<Told, LedgerError> {
    let mut told = Told::default();
    loop {
        let page = ledger.read(told.fleet.seq, PAGE)?;
        for entry in &page {
            told.fleet.apply(entry)?;
            told.day.note(entry, &told.fleet);
            take(&mut told.meter, entry);
            each(entry);
        }
        if page.len() < PAGE {
            return Ok(told);
        }
    }
}
