//! Whether a ledger is whole: no gap, every value of the chain right, every entry follows from those before it.

use serde::Serialize;

use super::chain::{Chain, Head, Noted};
use super::export::Line;
use crate::model::{ENTRY_VERSION, Entry, Fleet};

/// An entry as it is written in a ledger or in an exported file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its place.
    pub seq: u64,
    /// When, as its column has it; absent where nothing repeats it.
    pub at: Option<String>,
    /// The version of its format.
    pub version: u32,
    /// Whose, as its column has it; absent where nothing repeats it.
    pub worker: Option<Option<String>>,
    /// The entry, as it was written.
    pub text: String,
    /// The chain's value after it, as it stands there.
    pub chain: String,
}

impl From<Line> for Row {
    fn from(line: Line) -> Self {
        let Line { seq, version, text, chain, .. } = line;
        Self { seq, at: None, version, worker: None, text, chain }
    }
}

/// The first place where a ledger is not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("entry {seq}: {what}")]
pub struct Fault {
    /// The entry.
    pub seq: u64,
    /// How it shows, in words.
    pub what: String,
}

/// What was proven of a ledger without a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// Entries.
    pub entries: u64,
    /// The first one.
    pub first: u64,
    /// The last one, with the chain's value there.
    pub head: Head,
    /// Whether every entry was seen to follow from all before it: not told of a part.
    pub folded: bool,
}

/// Takes a ledger's rows in their order, and finds the first that is not right.
#[derive(Debug)]
pub struct Verifier {
    chain: Chain,
    head: Head,
    first: u64,
    entries: u64,
    /// The record so far; none where the first entries are not here.
    fleet: Option<Fleet>,
    noted: Option<Noted>,
    met: bool,
}

impl Verifier {
    /// From the first entry on.
    pub fn whole(noted: Option<Noted>) -> Self {
        Self::begun(Head::genesis(), Some(Fleet::default()), noted)
    }

    /// From a later entry on, where only that the part hangs together can be proven.
    pub fn part(after: u64, chain: Chain, noted: Option<Noted>) -> Self {
        Self::begun(Head { seq: after, at: None, chain }, None, noted)
    }

    fn begun(head: Head, fleet: Option<Fleet>, noted: Option<Noted>) -> Self {
        let met = noted.is_some_and(|noted| noted.seq == head.seq && noted.chain == head.chain);
        Self { chain: head.chain, head, first: head.seq + 1, entries: 0, fleet, noted, met }
    }

    /// One more row.
    ///
    /// # Errors
    /// How it shows that the ledger is not whole.
    pub fn take(&mut self, row: &Row) -> Result<(), Fault> {
        let fault = |what: String| Fault { seq: row.seq, what };
        let expected = self.head.seq + 1;
        if row.seq != expected {
            let what = if row.seq > expected {
                match row.seq - expected {
                    1 => format!("entry {expected} should be here: it is missing"),
                    missing => format!("entry {expected} should be here: {missing} entries are missing"),
                }
            } else {
                format!("entry {expected} should be here")
            };
            return Err(fault(what));
        }
        if row.version > ENTRY_VERSION {
            let (found, known) = (row.version, ENTRY_VERSION);
            return Err(fault(format!("it says version {found}, and this latent reads up to {known}; upgrade latent")));
        }
        let entry: Entry = serde_json::from_str(&row.text).map_err(|why| fault(format!("it cannot be read: {why}")))?;
        if entry.seq != row.seq {
            return Err(fault(format!("what is written there calls itself entry {}", entry.seq)));
        }
        let chain = self.chain.after(row.seq, row.version, &row.text);
        if row.chain != chain.to_string() {
            let what = "its chain is not that of what is written here: this entry, or the chain before it, was changed";
            return Err(fault(what.to_owned()));
        }
        let (at, worker) = (entry.at.to_rfc3339(), entry.body.worker().map(|worker| worker.as_str().to_owned()));
        if row.at.as_ref().is_some_and(|column| *column != at) {
            return Err(fault(format!("its column at was changed; what is written says {at}")));
        }
        if row.worker.as_ref().is_some_and(|column| *column != worker) {
            let worker = worker.unwrap_or_else(|| "none".to_owned());
            return Err(fault(format!("its column worker was changed; what is written says {worker}")));
        }
        if let Some(noted) = self.noted.filter(|noted| noted.seq == row.seq) {
            if noted.chain != chain {
                return Err(fault("its chain is not the one that was noted: the ledger was written anew".to_owned()));
            }
            self.met = true;
        }
        if let Some(fleet) = &mut self.fleet {
            fleet.apply(&entry).map_err(|error| fault(format!("it does not follow: {error}")))?;
        }
        self.chain = chain;
        self.head = Head { seq: row.seq, at: Some(entry.at), chain };
        self.entries += 1;
        Ok(())
    }

    /// The last row that was taken, with the chain's value there.
    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// After the last row.
    ///
    /// # Errors
    /// That the noted head was not met: the end was cut off, or the part begins after it.
    pub fn end(self) -> Result<Whole, Fault> {
        if let Some(noted) = self.noted.filter(|_| !self.met) {
            let last = self.head.seq;
            let what = if noted.seq > last {
                format!("it is missing: it was noted, and the last entry here is {last}")
            } else {
                format!("it is before what is in here, which begins with entry {}", self.first)
            };
            return Err(Fault { seq: noted.seq, what });
        }
        let Self { entries, first, head, fleet, .. } = self;
        Ok(Whole { entries, first, head, folded: fleet.is_some() })
    }
}
