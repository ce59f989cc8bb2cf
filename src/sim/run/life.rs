//! The life of the controller's process, and the ledger that outlives it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::sabotage::Sabotage;
use super::truth::Truth;
use crate::ledger::{Ledger, LedgerError, LedgerRead};
use crate::model::{Body, Entry, StopMode};
use crate::sim::{Life, Step};

pub(in crate::sim::run) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that may be killed at any step that the world outside could notice.
///
/// Between two such steps a process only computes; a kill there and a kill at the next step leave the
/// same world behind. So these steps are all the moments at which a kill makes a difference.
#[derive(Debug)]
pub(in crate::sim::run) struct Mortal {
    alive: AtomicBool,
    steps: Arc<AtomicU64>,
    crash_at: Option<u64>,
    rate: f64,
    random: Mutex<fastrand::Rng>,
    died: Arc<Notify>,
}

impl Mortal {
    pub(super) fn new(
        steps: Arc<AtomicU64>,
        crash_at: Option<u64>,
        rate: f64,
        random: fastrand::Rng,
        died: Arc<Notify>,
    ) -> Self {
        Self { alive: AtomicBool::new(true), steps, crash_at, rate, random: Mutex::new(random), died }
    }

    pub(super) fn lives(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    pub(super) fn kill(&self) {
        self.alive.store(false, Ordering::Relaxed);
        self.died.notify_one();
    }
}

impl Life for Mortal {
    fn step(&self, _: Step) -> bool {
        if !self.lives() {
            return false;
        }
        let number = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        let struck = self.rate > 0.0 && lock(&self.random).f64() < self.rate;
        if struck || self.crash_at == Some(number) {
            self.kill();
        }
        self.lives()
    }
}

/// What is on the disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<DiskInner>>);

#[derive(Debug, Default)]
struct DiskInner {
    entries: Vec<Entry>,
    torn: f64,
    random: fastrand::Rng,
    holders: u32,
}

impl Disk {
    pub(super) fn new(torn: f64, random: fastrand::Rng) -> Self {
        Self(Arc::new(Mutex::new(DiskInner { entries: Vec::new(), torn, random, holders: 0 })))
    }

    /// Opens the ledger for a process; one at a time.
    pub(super) fn open(
        &self,
        life: Arc<Mortal>,
        truth: Arc<Mutex<Truth>>,
        sabotage: Option<Sabotage>,
    ) -> Result<SimLedger, LedgerError> {
        let mut inner = lock(&self.0);
        if inner.holders > 0 {
            return Err(LedgerError::Locked { path: "simulated".into(), holder: "the first controller".to_owned() });
        }
        inner.holders += 1;
        Ok(SimLedger { disk: self.clone(), life, truth, sabotage, waiting: Vec::new() })
    }

    /// The machine is replaced: nothing is left of what it held.
    pub(super) fn lose(&self) {
        lock(&self.0).entries.clear();
    }

    pub(super) fn calm_down(&self) {
        lock(&self.0).torn = 0.0;
    }

    /// The entries after this number.
    pub(super) fn after(&self, seq: u64) -> Vec<Entry> {
        let inner = lock(&self.0);
        let from = usize::try_from(seq).unwrap_or(usize::MAX).min(inner.entries.len());
        inner.entries[from..].to_vec()
    }

    pub(super) fn len(&self) -> u64 {
        lock(&self.0).entries.len() as u64
    }
}

/// The ledger as a process holds it: what is dead writes nothing, and a write may be torn.
#[derive(Debug)]
pub(super) struct SimLedger {
    disk: Disk,
    life: Arc<Mortal>,
    truth: Arc<Mutex<Truth>>,
    sabotage: Option<Sabotage>,
    /// Sabotage: what is appended reaches the disk with the next write only.
    waiting: Vec<Entry>,
}

impl Drop for SimLedger {
    fn drop(&mut self) {
        lock(&self.disk.0).holders -= 1;
    }
}

impl SimLedger {
    fn write(&self, entries: &[Entry]) {
        lock(&self.truth).written(entries);
        lock(&self.disk.0).entries.extend_from_slice(entries);
    }

    fn torn(&self) -> Option<bool> {
        let mut inner = lock(&self.disk.0);
        let torn = inner.torn > 0.0 && inner.random.f64() < inner.torn;
        torn.then(|| inner.random.bool())
    }
}

fn refused(why: &str) -> LedgerError {
    LedgerError::Storage { path: "simulated".into(), doing: "written", why: why.to_owned() }
}

/// A hibernation, recorded as a plain stop.
fn plain(mut entry: Entry) -> Entry {
    if let Body::StopIntended { mode, .. } = &mut entry.body {
        *mode = StopMode::Plain;
    }
    entry
}

impl LedgerRead for SimLedger {
    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        let inner = lock(&self.disk.0);
        let from = usize::try_from(after).unwrap_or(usize::MAX).min(inner.entries.len());
        Ok(inner.entries[from..].iter().take(limit).cloned().collect())
    }
}

impl Ledger for SimLedger {
    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        if !self.life.step(Step::Write) {
            return Err(refused("the process is dead"));
        }
        if let Some(written) = self.torn() {
            if written {
                self.write(entries);
                lock(&self.truth).held_up(entries);
            }
            return Err(refused("the disk failed"));
        }
        match self.sabotage {
            Some(Sabotage::CallBeforeIntent) => {
                let earlier = std::mem::replace(&mut self.waiting, entries.to_vec());
                self.write(&earlier);
            }
            Some(Sabotage::WritingUnbilled) => self.write(&entries.iter().cloned().map(plain).collect::<Vec<_>>()),
            _ => self.write(entries),
        }
        // Killed right here: it is written, and the process does nothing with it any more.
        if self.life.step(Step::Written) { Ok(()) } else { Err(refused("the process is dead")) }
    }
}
