//! The ledger and what it says, kept together: nothing is believed that is not written.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::fold::Fold;
use super::metrics::Metrics;
use crate::ledger::{Checkpoint, Head, Ledger, LedgerError};
use crate::model::{Actor, Body, Entry, Fleet, OwnerName};
use crate::plan::bill::Prices;
use crate::plan::budget::{Balance, Month, Spent, Till};
use crate::plan::day::Day;
use crate::plan::meter::Meter;
use crate::policy::price::Range;
use crate::policy::{self, Intent};

/// The ledger and its fold.
#[derive(Debug)]
pub(super) struct Book<L> {
    ledger: L,
    fold: Fold,
    metrics: Arc<Metrics>,
    till: Till,
    /// The prices that the till's sums are by.
    priced_by: Arc<policy::price::Prices>,
    /// Set when a write failed and what was really written could not be read yet.
    stale: bool,
}

impl<L: Ledger> Book<L> {
    pub(super) fn open(mut ledger: L) -> Result<Self, LedgerError> {
        // What earlier processes wrote is context, and not counted again.
        let fold = Fold::open(&mut ledger, |_, _| ())?;
        Ok(Self {
            ledger,
            fold,
            till: Till::default(),
            priced_by: Arc::default(),
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
        self.fold.fleet()
    }

    /// The last day of every worker.
    pub(super) fn day(&self) -> &Day {
        self.fold.day()
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
            let entry = Entry { seq: self.fold.fleet().seq + 1, at: now, actor: actor.clone(), body };
            let applied = self.fold.check(&entry);
            follows.push(applied.is_ok());
            match applied {
                Ok(()) => entries.push(entry),
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
            self.metrics.happened(self.fold.count(entry));
            let worker = entry.body.worker().map(ToString::to_string).unwrap_or_default();
            tracing::info!(entry.seq = entry.seq, worker.name = worker, "{}", entry.body.describe());
        }
        let is_end = entries.iter().any(|entry| matches!(entry.body, Body::ControllerStopped {}));
        self.fold.keep(&mut self.ledger, is_end);
        Ok(follows)
    }

    /// Reads what was really written, after a write that failed. Whoever decides on the record calls
    /// it first; otherwise it does nothing.
    pub(super) fn refresh(&mut self) -> Result<(), LedgerError> {
        if self.stale {
            let (counted, metrics) = (self.fold.lives().seq(), &self.metrics);
            self.fold = Fold::open(&mut self.ledger, |entry, happened| {
                if entry.seq > counted {
                    metrics.happened(happened);
                }
            })?;
            self.till = Till::default();
            self.stale = false;
        }
        Ok(())
    }

    pub(super) fn meter(&self) -> &Meter {
        self.fold.meter()
    }

    /// What an owner has spent in the month of `now`, and spends each hour.
    pub(super) fn spent(&mut self, intent: &Intent, owner: &OwnerName, now: DateTime<Utc>) -> (Spent, Range) {
        if !Arc::ptr_eq(&self.priced_by, &intent.prices) {
            (self.till, self.priced_by) = (Till::default(), Arc::clone(&intent.prices));
        }
        self.till.spent(self.fold.meter(), owner, now, &Prices::of(intent))
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

    pub(super) fn checkpoint(&self, version: u32, upto: u64) -> Option<Checkpoint> {
        self.ledger.checkpoint(version, upto)
    }

    pub(super) fn past_at(&self, version: u32, seq: u64) -> Option<Checkpoint> {
        self.ledger.past_at(version, seq)
    }
}
