//! Floor 2: the durable record of every intent and outcome.

mod block;
mod chain;
mod checkpoint;
mod declared;
mod export;
mod journal;
mod manifest;
mod memory;
mod reader;
mod seal;
mod sqlite;
mod store;
mod verify;

use std::path::PathBuf;

pub use chain::{Chain, Head, NoChain, Noted};
pub use checkpoint::{Checkpoint, Packed};
pub use declared::{Declarations, DeclaredSet, KeptKey};
pub use export::{Line, line, read_line};
pub use journal::{FileJournal, Journal, JournalError, JournalFolder, Journals, MemoryJournal, MemoryJournals};
pub use manifest::{ManifestError, Rewritten, write_promoted};
pub use memory::MemoryLedger;
pub use reader::SqliteReader;
pub use sqlite::SqliteLedger;
pub use verify::{Fault, Row, Verifier, Whole};

use crate::model::{ENTRY_VERSION, Entry, FoldError};

/// Entries read at a time where all are read.
const PAGE: usize = 10_000;

/// Why the ledger cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another process works on it.
    #[error("the ledger {} is in use by {holder}; ask that controller, or stop it first", path.display())]
    Locked {
        /// The ledger.
        path: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// There is none.
    #[error("there is no ledger {}; name it with --ledger, or name its configuration with --config", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Its entries have no chain yet.
    #[error(
        "the ledger {} has no chain yet; it gets one when a controller of this version opens it (latent serve)",
        path.display()
    )]
    NotChained {
        /// The ledger.
        path: PathBuf,
    },
    /// It was written by a newer version.
    #[error("the ledger {} has format {found}, and this version of latent reads up to {known}; upgrade latent", path.display())]
    Newer {
        /// The ledger.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest we know.
        known: u32,
    },
    /// What it holds is not what was written.
    #[error(
        "the ledger {} is damaged ({what}); move it away and start again: every instance is found again by its tags",
        path.display()
    )]
    Damaged {
        /// The ledger.
        path: PathBuf,
        /// How it shows.
        what: String,
    },
    /// It cannot be opened or written.
    #[error("the ledger {} cannot be {doing}: {why}; check the folder's owner, its mode and the free space", path.display())]
    Storage {
        /// The ledger.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        why: String,
    },
    /// What masters declare cannot be kept beside it.
    #[error("what masters declare cannot be kept in {}: {why}; check the folder's owner, its mode and the free space", path.display())]
    Declared {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        why: String,
    },
    /// It records live instances of another fleet or controller.
    #[error(
        "the ledger records live instances of fleet/controller {recorded}; configure those names until they are gone, or use another ledger"
    )]
    OtherFleet {
        /// The names that its instances carry.
        recorded: String,
    },
    /// An entry that does not follow: a bug of ours, caught before it was written.
    #[error("an entry does not follow")]
    Fold(#[from] FoldError),
}

/// Where entries and checkpoints are read.
pub trait LedgerRead {
    /// The entries after `seq`, at most `limit`, in order; none if there are none.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] or [`LedgerError::Storage`].
    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, LedgerError>;

    /// The last checkpoint of this version of the fold at an entry up to `upto` that is whole and fits the chain.
    fn checkpoint(&self, version: u32, upto: u64) -> Option<Checkpoint> {
        let _ = (version, upto);
        None
    }

    /// The past of the checkpoint of this version at an entry, if it is whole.
    fn past_at(&self, version: u32, seq: u64) -> Option<Checkpoint> {
        let _ = (version, seq);
        None
    }
}

/// Appends and reads entries. One process writes.
pub trait Ledger: LedgerRead + Send {
    /// Appends entries in order; when it returns, those that [`crate::model::Body::must_be_durable`]
    /// survive a crash, and either all are written or none.
    ///
    /// # Errors
    /// [`LedgerError::Storage`]; nothing was written then.
    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError>;

    /// The last entry, and the value of the chain there.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] or [`LedgerError::Storage`].
    fn head(&self) -> Result<Head, LedgerError> {
        let mut head = Head::genesis();
        loop {
            let page = self.read(head.seq, PAGE)?;
            for entry in &page {
                let text = serde_json::to_string(entry).unwrap_or_default();
                head = Head {
                    seq: entry.seq,
                    at: Some(entry.at),
                    chain: head.chain.after(entry.seq, ENTRY_VERSION, &text),
                };
            }
            if page.len() < PAGE {
                return Ok(head);
            }
        }
    }

    /// After how many entries a checkpoint is worth its room; `None` if this ledger keeps none.
    fn checkpoint_every(&self) -> Option<u64> {
        None
    }

    /// Keeps what the entries fold to, and takes away what claims to be later or was made by another version of the
    /// fold.
    ///
    /// # Errors
    /// [`LedgerError::Storage`]; nothing was changed then.
    fn keep(&mut self, made: &Checkpoint) -> Result<(), LedgerError> {
        let _ = made;
        Ok(())
    }

    /// Whether an entry could be written now, found out by writing nothing that counts.
    ///
    /// # Errors
    /// [`LedgerError::Storage`].
    fn probe(&mut self) -> Result<(), LedgerError> {
        self.append(&[])
    }

    /// What it takes on the disk, in bytes; `None` if it has none or nobody can tell.
    fn bytes(&self) -> Option<u64> {
        None
    }
}
