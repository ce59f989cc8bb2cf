//! The ledger's file read by whoever does not write it: beside a running controller, or a copy of it.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::chain::{Chain, Head};
use super::checkpoint::{self, Checkpoint};
use super::sqlite::{FORMAT, entries, head, of_sqlite};
use super::verify::Row;
use super::{LedgerError, LedgerRead, store};
use crate::model::Entry;

/// An SQLite file that is only read: no lock is taken, and what a controller writes meanwhile is seen.
#[derive(Debug)]
pub struct SqliteReader {
    path: PathBuf,
    connection: Connection,
    format: u32,
}

impl SqliteReader {
    /// Opens a ledger that is there.
    ///
    /// # Errors
    /// [`LedgerError`]: missing, newer, damaged, or not readable; nothing is created.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        if !path.exists() {
            return Err(LedgerError::Missing { path: path.to_path_buf() });
        }
        let error = |error: rusqlite::Error| of_sqlite(path, "read", &error);
        let plain = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, plain).and_then(|connection| {
            let format = format_of(&connection)?;
            Ok((connection, format))
        });
        let (connection, format) = match opened {
            // A copy in a folder that may not be written: nobody writes it, so nothing has to be agreed on.
            Err(refused) if refused.sqlite_error_code() == Some(ErrorCode::CannotOpen) && !has_log(path) => {
                let copy = Connection::open_with_flags(immutable(path), plain | OpenFlags::SQLITE_OPEN_URI);
                copy.and_then(|connection| Ok((format_of(&connection)?, connection)))
                    .map(|(format, connection)| (connection, format))
            }
            other => other,
        }
        .map_err(error)?;
        if format > FORMAT {
            return Err(LedgerError::Newer { path: path.to_path_buf(), found: format, known: FORMAT });
        }
        if format == 0 {
            let what = "it has no entries' table".to_owned();
            return Err(LedgerError::Damaged { path: path.to_path_buf(), what });
        }
        Ok(Self { path: path.to_path_buf(), connection, format })
    }

    /// Whether its entries are chained; those of a ledger that no controller of this version opened are not.
    pub fn is_chained(&self) -> bool {
        self.format() >= store::CHAINED
    }

    /// The rows after `seq` as they are written, at most `limit`, in order.
    ///
    /// # Errors
    /// [`LedgerError::NotChained`], [`LedgerError::Damaged`] or [`LedgerError::Storage`].
    pub fn rows(&self, after: u64, limit: usize) -> Result<Vec<Row>, LedgerError> {
        if !self.is_chained() {
            return Err(LedgerError::NotChained { path: self.path.clone() });
        }
        store::rows(&self.connection, after, limit).map_err(|error| of_sqlite(&self.path, "read", &error))
    }

    /// How many rows stand where the fold never reads them, such as before the first entry: there are none.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] or [`LedgerError::Storage`].
    pub fn strays(&self) -> Result<u64, LedgerError> {
        store::strays(&self.connection).map_err(|error| of_sqlite(&self.path, "read", &error))
    }

    /// The last entry, and the chain's value there.
    ///
    /// # Errors
    /// [`LedgerError::NotChained`], [`LedgerError::Damaged`] or [`LedgerError::Storage`].
    pub fn head(&self) -> Result<Head, LedgerError> {
        if self.is_chained() {
            head(&self.connection, &self.path)
        } else {
            Err(LedgerError::NotChained { path: self.path.clone() })
        }
    }

    /// The place before the first entry that was written at `since` or later; the last place if there is none.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] or [`LedgerError::Storage`].
    pub fn before(&self, since: chrono::DateTime<chrono::Utc>) -> Result<u64, LedgerError> {
        store::before_time(&self.connection, &since.to_rfc3339()).map_err(|error| of_sqlite(&self.path, "read", &error))
    }

    /// The chain's value after an entry; the one before the first for 0.
    ///
    /// # Errors
    /// [`LedgerError::NotChained`], [`LedgerError::Damaged`] or [`LedgerError::Storage`].
    pub fn chain_at(&self, seq: u64) -> Result<Option<Chain>, LedgerError> {
        if seq > 0 && !self.is_chained() {
            return Err(LedgerError::NotChained { path: self.path.clone() });
        }
        store::chain_at(&self.connection, seq).map_err(|error| of_sqlite(&self.path, "read", &error))
    }

    /// Its format now: a controller may open it meanwhile.
    fn format(&self) -> u32 {
        store::format(&self.connection).unwrap_or(self.format)
    }
}

impl LedgerRead for SqliteReader {
    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        entries(&self.connection, &self.path, after, limit)
    }

    fn checkpoint(&self, version: u32, upto: u64) -> Option<Checkpoint> {
        if self.format() < store::SEALED { None } else { checkpoint::last(&self.connection, version, upto) }
    }

    fn past_at(&self, version: u32, seq: u64) -> Option<Checkpoint> {
        if self.format() < store::SEALED { None } else { checkpoint::past_at(&self.connection, version, seq) }
    }
}

fn format_of(connection: &Connection) -> Result<u32, rusqlite::Error> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    store::format(connection)
}

/// Whether a write-ahead log stands beside it: then somebody writes it, or did and was killed.
fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    PathBuf::from(log).exists()
}

/// SQLite's name for a file that nobody changes.
fn immutable(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut name = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => name.push(char::from(*byte)),
            other => name.extend(format!("%{other:02x}").chars()),
        }
    }
    name + "?immutable=1"
}
