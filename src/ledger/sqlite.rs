//! The ledger as an SQLite file: WAL, full synchronisation for what must be durable, one writer.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::{Ledger, LedgerError};
use crate::model::Entry;

/// The format that this version writes, kept in `PRAGMA user_version`.
const FORMAT: u32 = 1;

/// Each step from one format to the next; step n leads from format n to n + 1.
const MIGRATIONS: [&str; FORMAT as usize] = ["
    CREATE TABLE entry (
        seq     INTEGER PRIMARY KEY,
        at      TEXT NOT NULL,
        version INTEGER NOT NULL,
        worker  TEXT,
        body    TEXT NOT NULL
    ) STRICT;
    CREATE INDEX entry_by_worker ON entry (worker, seq);
"];

/// An SQLite file that this process alone may write.
#[derive(Debug)]
pub struct SqliteLedger {
    path: PathBuf,
    connection: Connection,
    // Held for its lock only; closing the file gives it back, also after SIGKILL.
    _lock: File,
}

impl SqliteLedger {
    /// Opens or creates the ledger and locks it for this process.
    ///
    /// # Errors
    /// [`LedgerError`]: locked, newer, damaged or not writable; the file is then as it was.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let storage = |doing: &'static str, why: String| LedgerError::Storage { path: path.to_path_buf(), doing, why };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|error| storage("created", error.to_string()))?;
        }
        let lock = lock(path)?;
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(|error| of_sqlite(path, "opened", &error))?;
        let mut ledger = Self { path: path.to_path_buf(), connection, _lock: lock };
        ledger.prepare()?;
        Ok(ledger)
    }

    /// Lets the file grow to so many pages of 4 KiB at most, and refuses what does not fit. For
    /// machines that share a disk, and to prove what happens when it is full.
    ///
    /// # Errors
    /// [`LedgerError::Storage`].
    pub fn limit_pages(&mut self, pages: u32) -> Result<(), LedgerError> {
        let limit = format!("PRAGMA max_page_count = {pages}");
        self.connection.query_row(&limit, [], |_| Ok(())).map_err(|error| of_sqlite(&self.path, "limited", &error))
    }

    fn prepare(&mut self) -> Result<(), LedgerError> {
        let path = self.path.clone();
        let at = |doing: &'static str| move |error: rusqlite::Error| (doing, error);
        let mut steps = || -> Result<Option<LedgerError>, (&'static str, rusqlite::Error)> {
            let found: u32 =
                self.connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(at("read"))?;
            if found > FORMAT {
                return Ok(Some(LedgerError::Newer { path: self.path.clone(), found, known: FORMAT }));
            }
            self.connection
                .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;")
                .map_err(at("prepared"))?;
            let check: String =
                self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(at("read"))?;
            if check != "ok" {
                return Ok(Some(LedgerError::Damaged { path: self.path.clone(), what: check }));
            }
            self.migrate(found).map_err(at("migrated"))?;
            Ok(None)
        };
        match steps() {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err((doing, error)) => Err(of_sqlite(&path, doing, &error)),
        }
    }

    fn migrate(&mut self, found: u32) -> Result<(), rusqlite::Error> {
        let transaction = self.connection.transaction()?;
        for step in MIGRATIONS.iter().skip(found as usize) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()
    }

    fn write(&mut self, entries: &[Entry]) -> Result<(), rusqlite::Error> {
        // What need not survive a power cut waits for the next full synchronisation: the log keeps its order.
        let durable = entries.iter().any(|entry| entry.body.must_be_durable());
        self.connection.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })?;
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO entry (seq, at, version, worker, body) VALUES (?1, ?2, ?3, ?4, ?5)")?;
            for entry in entries {
                let text = serde_json::to_string(entry)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
                let seq = i64::try_from(entry.seq).unwrap_or(i64::MAX);
                let worker = entry.body.worker().map(|worker| worker.as_str().to_owned());
                insert.execute(params![seq, entry.at.to_rfc3339(), crate::model::ENTRY_VERSION, worker, text])?;
            }
        }
        transaction.commit()
    }
}

impl Ledger for SqliteLedger {
    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        self.write(entries).map_err(|error| of_sqlite(&self.path, "written", &error))
    }

    fn bytes(&self) -> Option<u64> {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        let log = fs::metadata(log).map_or(0, |log| log.len());
        Some(fs::metadata(&self.path).ok()?.len() + log)
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        let error = |error: rusqlite::Error| of_sqlite(&self.path, "read", &error);
        let mut statement = self
            .connection
            .prepare_cached("SELECT seq, body FROM entry WHERE seq > ?1 ORDER BY seq LIMIT ?2")
            .map_err(error)?;
        let (after, limit) = (i64::try_from(after).unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = statement
            .query_map(params![after, limit], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
            .map_err(error)?;
        let mut entries = Vec::new();
        for row in rows {
            let (seq, text) = row.map_err(error)?;
            let entry = serde_json::from_str(&text)
                .map_err(|why| LedgerError::Damaged { path: self.path.clone(), what: format!("entry {seq}: {why}") })?;
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// Locks the ledger by a file beside it that says who holds it.
fn lock(path: &Path) -> Result<File, LedgerError> {
    let name = path.with_extension("lock");
    let storage =
        |why: std::io::Error| LedgerError::Storage { path: path.to_path_buf(), doing: "locked", why: why.to_string() };
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&name).map_err(storage)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "another process".to_owned() } else { holder.trim().to_owned() };
            return Err(LedgerError::Locked { path: path.to_path_buf(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(storage(error)),
    }
    let holder = format!("process {}\n", std::process::id());
    file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(storage)?;
    file.write_all(holder.as_bytes()).map_err(storage)?;
    Ok(file)
}

fn of_sqlite(path: &Path, doing: &'static str, error: &rusqlite::Error) -> LedgerError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            LedgerError::Damaged { path: path.to_path_buf(), what: error.to_string() }
        }
        _ => LedgerError::Storage { path: path.to_path_buf(), doing, why: error.to_string() },
    }
}
