//! What a ledger tells for a report of a period: not the whole of it where a checkpoint saves the rest.

use chrono::{DateTime, Utc};

use super::Controller;
use super::fold::restored;
use crate::ledger::{Checkpoint, Ledger, LedgerError, LedgerRead};
use crate::model::{Entry, Fleet};
use crate::plan::meter::Meter;

/// Entries read at once.
const PAGE: usize = 10_000;
/// Of a running controller fewer: between two reads others may write.
const SHARED_PAGE: usize = 1_000;

impl<L: Ledger + 'static> LedgerRead for Controller<L> {
    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        self.shared.book().read(after, limit.min(SHARED_PAGE))
    }

    fn checkpoint(&self, version: u32, upto: u64) -> Option<Checkpoint> {
        self.shared.book().checkpoint(version, upto)
    }

    fn past_at(&self, version: u32, seq: u64) -> Option<Checkpoint> {
        self.shared.book().past_at(version, seq)
    }
}

/// What entries tell for a report.
#[derive(Debug, Clone)]
pub struct Story {
    /// The record after the last of them; none where one does not follow.
    pub fleet: Option<Fleet>,
    /// The runs: all of those that were not over long before the period.
    pub meter: Meter,
    /// When the ledger's first entry was written.
    pub first: Option<DateTime<Utc>>,
    /// The last entry, and when that was written.
    pub last: Option<(u64, DateTime<Utc>)>,
    /// The entry of the checkpoint that it begins with; 0 where all entries were read.
    pub begun: u64,
}

impl Default for Story {
    fn default() -> Self {
        Self { fleet: Some(Fleet::default()), meter: Meter::default(), first: None, last: None, begun: 0 }
    }
}

impl Story {
    /// Of a whole ledger.
    pub fn of(entries: &[Entry]) -> Self {
        let mut story = Self::default();
        for entry in entries {
            story.take(entry);
        }
        story
    }

    /// Reads a history up to an entry, the last one if none is named: whole for every period that begins at `since` or
    /// later.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] or [`LedgerError::Storage`].
    pub fn read<L: LedgerRead>(ledger: &L, since: DateTime<Utc>, upto: Option<u64>) -> Result<Self, LedgerError> {
        let mut story = match restored(ledger, upto.unwrap_or(u64::MAX), Some(since)) {
            None => Self::default(),
            Some(restored) => {
                let (fleet, seq) = (restored.state.fleet, restored.seq);
                let last = fleet.last_at.map(|at| (seq, at));
                let meter = Meter::restore(restored.state.meter, restored.pasts, None);
                let first = ledger.read(0, 1)?.first().map(|entry| entry.at);
                Self { fleet: Some(fleet), meter, first, last, begun: seq }
            }
        };
        story.read_on(ledger, upto)?;
        Ok(story)
    }

    /// Reads what follows what was read, up to an entry, the last one if none is named.
    ///
    /// # Errors
    /// As of [`Self::read`]; what came before the failure was taken in.
    pub fn read_on<L: LedgerRead>(&mut self, ledger: &L, upto: Option<u64>) -> Result<(), LedgerError> {
        let upto = upto.unwrap_or(u64::MAX);
        loop {
            let page = ledger.read(self.seq(), PAGE)?;
            let more = page.iter().take_while(|entry| entry.seq <= upto).map(|entry| self.take(entry)).count();
            if page.is_empty() || more < page.len() {
                return Ok(());
            }
        }
    }

    /// Takes in the next entry.
    pub fn take(&mut self, entry: &Entry) {
        self.fleet = self.fleet.take().and_then(|mut fleet| fleet.apply(entry).is_ok().then_some(fleet));
        self.meter.take(entry);
        self.first.get_or_insert(entry.at);
        self.last = Some((entry.seq, entry.at));
    }

    fn seq(&self) -> u64 {
        self.last.map_or(0, |(seq, _)| seq)
    }
}
