//! Journals that outlive the process that writes them, and whose writes may be torn.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::ledger::{Journal, JournalError, Journals, MemoryJournal, MemoryJournals};
use crate::model::{RebakeEntry, RebakeId};
use crate::sim::run::life::lock;
use crate::sim::{Life, Step};

/// How often a write fails, and with what.
#[derive(Debug)]
struct Torn {
    rate: f64,
    random: fastrand::Rng,
}

/// Journals in memory. Clones share them.
#[derive(Debug, Clone)]
pub struct SimJournals {
    inner: MemoryJournals,
    torn: Arc<Mutex<Torn>>,
}

/// A journal as a process holds it: what is dead writes nothing.
pub struct SimJournal {
    inner: MemoryJournal,
    life: Arc<dyn Life>,
    torn: Arc<Mutex<Torn>>,
}

impl std::fmt::Debug for SimJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

fn failed(why: &str) -> JournalError {
    JournalError::Storage { path: PathBuf::from("simulated"), doing: "written", why: why.to_owned() }
}

impl SimJournals {
    /// Writes fail at this rate: nothing or all of it was written.
    pub fn new(rate: f64, seed: u64) -> Self {
        let torn = Torn { rate, random: fastrand::Rng::with_seed(seed) };
        Self { inner: MemoryJournals::default(), torn: Arc::new(Mutex::new(torn)) }
    }

    /// No write fails any more.
    pub fn calm_down(&self) {
        lock(&self.torn).rate = 0.0;
    }

    /// A journal with its first entry.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn begin(&self, id: &RebakeId, first: &RebakeEntry) -> Result<(), JournalError> {
        self.inner.create(id, first).map(drop)
    }

    /// A journal for a process, and what it holds.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(&self, id: &RebakeId, life: Arc<dyn Life>) -> Result<(SimJournal, Vec<RebakeEntry>), JournalError> {
        let (inner, entries) = self.inner.open(id)?;
        Ok((SimJournal { inner, life, torn: Arc::clone(&self.torn) }, entries))
    }

    /// What a journal holds.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn read(&self, id: &RebakeId) -> Result<Vec<RebakeEntry>, JournalError> {
        self.inner.read(id)
    }
}

impl Journal for SimJournal {
    fn append(&mut self, entry: &RebakeEntry) -> Result<(), JournalError> {
        if !self.life.step(Step::Write) {
            return Err(failed("the process is dead"));
        }
        let written = {
            let mut torn = lock(&self.torn);
            let rate = torn.rate;
            (rate > 0.0 && torn.random.f64() < rate).then(|| torn.random.bool())
        };
        if let Some(written) = written {
            if written {
                self.inner.append(entry)?;
            }
            return Err(failed("the disk failed"));
        }
        self.inner.append(entry)?;
        if self.life.step(Step::Written) { Ok(()) } else { Err(failed("the process is dead")) }
    }
}
