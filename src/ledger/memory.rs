//! A ledger in memory: for tests and the simulation. It outlives a crash that the simulation plays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Checkpoint, Ledger, LedgerError, LedgerRead};
use crate::model::Entry;

/// Entries in memory; clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryLedger {
    entries: Arc<Mutex<Vec<Entry>>>,
    checkpoints: Arc<Mutex<BTreeMap<u64, Checkpoint>>>,
    every: Option<u64>,
}

impl MemoryLedger {
    /// One that keeps a checkpoint after so many entries.
    pub fn with_checkpoints(every: u64) -> Self {
        Self { every: Some(every), ..Self::default() }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LedgerRead for MemoryLedger {
    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        let entries = lock(&self.entries);
        Ok(entries.iter().filter(|entry| entry.seq > after).take(limit).cloned().collect())
    }

    fn checkpoint(&self, version: u32, upto: u64) -> Option<Checkpoint> {
        lock(&self.checkpoints).range(..=upto).rev().map(|(_, kept)| kept).find(|kept| kept.version == version).cloned()
    }

    fn past_at(&self, version: u32, seq: u64) -> Option<Checkpoint> {
        lock(&self.checkpoints).get(&seq).filter(|kept| kept.version == version).cloned()
    }
}

impl Ledger for MemoryLedger {
    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        lock(&self.entries).extend_from_slice(entries);
        Ok(())
    }

    fn checkpoint_every(&self) -> Option<u64> {
        self.every
    }

    fn keep(&mut self, made: &Checkpoint) -> Result<(), LedgerError> {
        let mut kept = lock(&self.checkpoints);
        kept.retain(|seq, other| *seq < made.seq && other.version == made.version);
        kept.insert(made.seq, made.clone());
        Ok(())
    }
}
