//! A ledger in memory: for tests and the simulation. It outlives a crash that the simulation plays.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Ledger, LedgerError};
use crate::model::Entry;

/// Entries in memory; clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryLedger {
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Ledger for MemoryLedger {
    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(entries);
        Ok(())
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(entries.iter().filter(|entry| entry.seq > after).take(limit).cloned().collect())
    }
}
