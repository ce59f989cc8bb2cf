//! What masters declare, and whose a worker is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::desk::Declared;
use super::{ControlError, Controller};
use crate::ledger::{Ledger, LedgerError};
use crate::model::{Body, Fleet, MasterId, OwnerName, WorkerName, WorkerState};
use crate::plan::{self, Report, Standing};

impl<L: Ledger + 'static> Controller<L> {
    /// Takes in all the workers that a master declares, by name: what it declared before and does not name any
    /// more is forgotten, and what runs of it is drained; null leaves it as it is. A running build is never disturbed. When it
    /// returns, it survives a crash.
    ///
    /// # Errors
    /// [`LedgerError::Declared`] if it cannot be kept: nothing was changed then.
    pub fn declare_all(&self, master: &MasterId, workers: &BTreeMap<String, Value>) -> Result<Declared, ControlError> {
        self.declare(master, workers, true)
    }

    /// Takes in one worker beside what the master declares already.
    ///
    /// # Errors
    /// [`ControlError::Declaration`] with what is wrong: then it keeps its earlier declaration, if it had
    /// one. [`LedgerError::Declared`] if it cannot be kept.
    pub fn declare_one(&self, master: &MasterId, worker: &str, declaration: Value) -> Result<(), ControlError> {
        let said = BTreeMap::from([(worker.to_owned(), declaration)]);
        match self.declare(master, &said, false)?.refused.into_values().next() {
            Some(problem) => Err(ControlError::Declaration { problem }),
            None => Ok(()),
        }
    }

    fn declare(
        &self,
        master: &MasterId,
        workers: &BTreeMap<String, Value>,
        whole: bool,
    ) -> Result<Declared, ControlError> {
        let uses = |master: &MasterId, worker: &WorkerName| self.uses(master, worker);
        let lives = |owner: &OwnerName| lives(self.shared.book().fleet(), owner);
        let answer = {
            let mut desk = self.shared.desk();
            let (answer, changed) = desk.declare(master, workers, whole, &uses)?;
            if !changed {
                return Ok(answer);
            }
            self.shared.set_intent(desk.intent());
            answer
        };
        let (accepted, refused) = (answer.accepted.len(), answer.refused.len());
        tracing::info!(%master, accepted, refused, "a master declared its workers anew");
        self.apply_intent()?;
        // Only now: no loop decides by the configuration before any more, and what it led to is written.
        self.shared.desk().prune(&lives);
        Ok(answer)
    }

    /// What the loops have to know of a new configuration.
    pub(super) fn apply_intent(&self) -> Result<(), LedgerError> {
        self.answer_unconfigured()?;
        self.start_loops();
        self.shared.wake_all();
        Ok(())
    }

    /// Whether a worker is this master's and something of it lives or is asked for.
    fn uses(&self, master: &MasterId, worker: &WorkerName) -> bool {
        let book = self.shared.book();
        self.with_standing(|standing| standing.user(book.fleet(), worker)).as_ref() == Some(master)
    }

    /// Of these workers those that another master uses, and which one.
    pub fn elsewhere<'n>(
        &self,
        master: &MasterId,
        names: impl IntoIterator<Item = &'n WorkerName>,
    ) -> BTreeMap<WorkerName, MasterId> {
        let book = self.shared.book();
        let all = names.into_iter();
        self.with_standing(|standing| {
            all.filter_map(|name| Some((name.clone(), standing.elsewhere(book.fleet(), name, master)?))).collect()
        })
    }

    /// What a report changes. Masters are heard of the workers of which their word counts, and of no others:
    /// a master that uses a worker is not kept from being silent by another one's words.
    pub(super) fn changes(&self, fleet: &Fleet, master: &MasterId, report: &Report) -> Vec<Body> {
        let (counts, changes) = self.with_standing(|standing| {
            let counts = report.workers.iter().filter(|(name, said)| standing.counts(fleet, name, master, said));
            let counts: Vec<&WorkerName> = counts.map(|(name, _)| name).collect();
            (counts, plan::changes(fleet, master, report, standing))
        });
        let now = self.clock.now();
        self.shared.hear_all(counts, now);
        changes
    }

    pub(super) fn with_standing<T>(&self, use_it: impl FnOnce(&Standing<'_>) -> T) -> T {
        let (now, intent) = (self.clock.now(), self.shared.intent());
        let heard = self.shared.heard();
        let declared_by = |name: &WorkerName| intent.workers.get(name)?.declared_by.clone();
        let silent = |name: &WorkerName| {
            let policy = intent.workers.get(name).map_or(&intent.base_policy, |worker| &worker.policy);
            now >= heard.of(name) + policy.master_silence
        };
        use_it(&Standing { declared_by: &declared_by, silent: &silent })
    }

    /// What of the declarations deserves a look, in words.
    pub fn declaration_warnings(&self) -> Vec<String> {
        self.shared.desk().warnings()
    }
}

/// Whether the record knows something of an owner that has not gone. A worker that is only asked for is nothing
/// yet: the attempt that is remembered of it is its last one's, and over.
pub(super) fn lives(fleet: &Fleet, owner: &OwnerName) -> bool {
    let has = |state: &WorkerState| state.instance().is_some() || matches!(state, WorkerState::Launching { .. });
    fleet.cells_of(owner).any(|cell| {
        fleet.departing_of(cell).next().is_some() || fleet.of_cell(cell).any(|(_, worker)| has(&worker.state))
    })
}
