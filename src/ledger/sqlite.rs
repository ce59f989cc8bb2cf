//! The ledger as an SQLite file: WAL, full synchronisation for what must be durable, one writer.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::chain::{Chain, Head, NoChain};
use super::checkpoint::{self, Checkpoint};
use super::seal::Sealing;
use super::{Ledger, LedgerError, LedgerRead, store};
use crate::model::{ENTRY_VERSION, Entry};

/// The format that this version writes, kept in `PRAGMA user_version`.
pub(super) const FORMAT: u32 = 3;

/// Format 1.
const TABLE: &str = "
    CREATE TABLE entry (
        seq     INTEGER PRIMARY KEY,
        at      TEXT NOT NULL,
        version INTEGER NOT NULL,
        worker  TEXT,
        body    TEXT NOT NULL
    ) STRICT;
";

/// Format 2 has the chain of every entry. Until all of them have theirs, it is format 1 with one more column.
const CHAIN_COLUMN: &str = "ALTER TABLE entry ADD COLUMN chain TEXT NOT NULL DEFAULT ''";

/// Format 3: older entries go from their rows into blocks, and what all of them fold to is kept beside them. Nothing
/// ever looked for a worker's entries here.
const BLOCKS: &str = "
    CREATE TABLE block (
        last   INTEGER PRIMARY KEY,
        first  INTEGER NOT NULL,
        latest TEXT NOT NULL,
        chain  TEXT NOT NULL,
        marks  BLOB NOT NULL,
        texts  BLOB NOT NULL
    ) STRICT;
    CREATE TABLE checkpoint (
        seq      INTEGER PRIMARY KEY,
        at       TEXT NOT NULL,
        previous INTEGER NOT NULL,
        version  INTEGER NOT NULL,
        chain    TEXT NOT NULL,
        digest   TEXT NOT NULL,
        past_digest TEXT NOT NULL,
        state    BLOB NOT NULL,
        past     BLOB NOT NULL
    ) STRICT;
    DROP INDEX IF EXISTS entry_by_worker;
";

/// Entries whose chain is computed between two commits: the log stays small, and a crash loses little.
const BATCH: i64 = 20_000;
/// Entries between two checkpoints: what a start has to fold at the most, and what a report reads beside its own
/// period. A thousand workers write as many in three or four days.
const CHECKPOINT_EVERY: u64 = 100_000;
/// The recent rows are looked through at every start. A block, and whatever else is read, is checked as it is read.
const CHECK: &str = "PRAGMA quick_check('entry')";
/// So many entries are worth a line in the log.
const MANY: u64 = 1_000_000;

/// An SQLite file that this process alone may write.
#[derive(Debug)]
pub struct SqliteLedger {
    path: PathBuf,
    connection: Connection,
    head: Head,
    /// Set when a write failed: it may be in the file all the same, so that the head is to be read again.
    unsure: bool,
    /// Whether a commit now waits for the disk; unknown before the first write.
    waits: Option<bool>,
    sealing: Sealing,
    /// Entries between two checkpoints.
    checkpoint_every: u64,
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
        let mut ledger = Self {
            path: path.to_path_buf(),
            connection,
            head: Head::genesis(),
            unsure: true,
            waits: None,
            sealing: Sealing::default(),
            checkpoint_every: CHECKPOINT_EVERY,
            _lock: lock,
        };
        ledger.prepare()?;
        ledger.find_head()?;
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

    /// Keeps so many of the last entries as rows, puts so many into a block, and makes a checkpoint after so many;
    /// for ledgers that are small, and to prove what happens when they are large.
    pub fn set_sizes(&mut self, rows: u64, block: usize, checkpoint_every: u64) {
        self.sealing = Sealing::of(rows, block);
        self.checkpoint_every = checkpoint_every;
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
            // Without a table there is none to look through, and nothing to wait for.
            let check = if found == 0 { "PRAGMA quick_check(1)" } else { CHECK };
            let check: String = self.connection.query_row(check, [], |row| row.get(0)).map_err(at("read"))?;
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
        if found < 1 {
            let transaction = self.connection.transaction()?;
            transaction.execute_batch(TABLE)?;
            transaction.pragma_update(None, "user_version", 1)?;
            transaction.commit()?;
        }
        if found < store::CHAINED {
            self.chain_all()?;
        }
        if found < store::SEALED {
            let transaction = self.connection.transaction()?;
            transaction.execute_batch(BLOCKS)?;
            transaction.pragma_update(None, "user_version", store::SEALED)?;
            transaction.commit()?;
        }
        Ok(())
    }

    /// Computes the chain of all entries, in batches; after a crash it goes on where it was.
    fn chain_all(&mut self) -> Result<(), rusqlite::Error> {
        let begun: bool = self.connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM pragma_table_info('entry') WHERE name = 'chain')",
            [],
            |row| row.get(0),
        )?;
        if !begun {
            self.connection.execute_batch(CHAIN_COLUMN)?;
        }
        let last = "SELECT seq, chain FROM entry WHERE chain <> '' ORDER BY seq DESC LIMIT 1";
        let last = self.connection.query_row(last, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)));
        let (mut seq, mut chain) = match last {
            Ok((seq, text)) => (seq, text.parse().map_err(store::unreadable)?),
            Err(rusqlite::Error::QueryReturnedNoRows) => (0, Chain::genesis()),
            Err(error) => return Err(error),
        };
        let mut done: u64 = 0;
        loop {
            let transaction = self.connection.transaction()?;
            let batch: Vec<(i64, u32, String)> = transaction
                .prepare_cached("SELECT seq, version, body FROM entry WHERE seq > ?1 ORDER BY seq LIMIT ?2")?
                .query_map(params![seq, BATCH], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<Result<_, _>>()?;
            if batch.is_empty() {
                transaction.pragma_update(None, "user_version", store::CHAINED)?;
                return transaction.commit();
            }
            for (at, version, text) in batch {
                chain = chain.after(u64::try_from(at).unwrap_or_default(), version, &text);
                let mut update = transaction.prepare_cached("UPDATE entry SET chain = ?2 WHERE seq = ?1")?;
                update.execute(params![at, chain.to_string()])?;
                (seq, done) = (at, done + 1);
                if done.is_multiple_of(MANY) {
                    tracing::info!(entries = done, "the ledger's entries are being chained");
                }
            }
            transaction.commit()?;
        }
    }

    /// Reads the head again where it is not sure.
    fn find_head(&mut self) -> Result<(), LedgerError> {
        if self.unsure {
            self.head = head(&self.connection, &self.path)?;
            self.unsure = false;
        }
        Ok(())
    }

    /// What need not survive a power cut waits for the next full synchronisation: the log keeps its order.
    fn wait(&mut self, for_the_disk: bool) -> Result<(), rusqlite::Error> {
        if self.waits != Some(for_the_disk) {
            self.waits = None;
            let level = if for_the_disk { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", level)?;
            self.waits = Some(for_the_disk);
        }
        Ok(())
    }

    /// Puts a block's worth of older rows into a block, if there are enough: what was written stands either way, so
    /// that a failure is told and nothing else.
    fn seal(&mut self) {
        if self.sealing.is_due(self.head.seq) {
            let sealed = self.wait(false).and_then(|()| self.sealing.seal(&mut self.connection, self.head.seq));
            if let Err(error) = sealed {
                tracing::warn!(%error, "older entries of the ledger stay as they are for now");
            }
        }
    }

    fn write(&mut self, entries: &[Entry]) -> Result<Head, rusqlite::Error> {
        let mut head = self.head;
        self.wait(entries.iter().any(|entry| entry.body.must_be_durable()))?;
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO entry (seq, at, version, worker, body, chain) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for entry in entries {
                let text = serde_json::to_string(entry)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
                let seq = i64::try_from(entry.seq).unwrap_or(i64::MAX);
                let worker = entry.body.worker().map(|worker| worker.as_str().to_owned());
                let chain = head.chain.after(entry.seq, ENTRY_VERSION, &text);
                head = Head { seq: entry.seq, at: Some(entry.at), chain };
                let at = entry.at.to_rfc3339();
                insert.execute(params![seq, at, ENTRY_VERSION, worker, text, chain.to_string()])?;
            }
        }
        transaction.commit()?;
        Ok(head)
    }
}

impl LedgerRead for SqliteLedger {
    fn checkpoint(&self, version: u32, upto: u64) -> Option<Checkpoint> {
        checkpoint::last(&self.connection, version, upto)
    }

    fn past_at(&self, version: u32, seq: u64) -> Option<Checkpoint> {
        checkpoint::past_at(&self.connection, version, seq)
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        entries(&self.connection, &self.path, after, limit)
    }
}

impl Ledger for SqliteLedger {
    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        self.find_head()?;
        let written = self.write(entries).map_err(|error| of_sqlite(&self.path, "written", &error));
        if let Err(error) = written.map(|head| self.head = head) {
            self.unsure = true;
            // Where this fails too, the next write tries it again.
            drop(self.find_head());
            return Err(error);
        }
        self.seal();
        Ok(())
    }

    fn checkpoint_every(&self) -> Option<u64> {
        Some(self.checkpoint_every)
    }

    fn keep(&mut self, made: &Checkpoint) -> Result<(), LedgerError> {
        let written = self.wait(false).and_then(|()| {
            let chain = store::chain_at(&self.connection, made.seq)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            checkpoint::keep(&mut self.connection, made, chain)
        });
        written.map_err(|error| of_sqlite(&self.path, "written", &error))
    }

    fn probe(&mut self) -> Result<(), LedgerError> {
        // The header is written again as it is: one page in the log, on the same disk as an entry would be.
        let written = self.connection.pragma_update(None, "user_version", FORMAT);
        written.map_err(|error| of_sqlite(&self.path, "written", &error))
    }

    fn bytes(&self) -> Option<u64> {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        let log = fs::metadata(log).map_or(0, |log| log.len());
        Some(fs::metadata(&self.path).ok()?.len() + log)
    }

    fn head(&self) -> Result<Head, LedgerError> {
        Ok(self.head)
    }
}

/// The entries after `seq`, at most `limit`, in order; each is what the chain says, where there is one.
pub(super) fn entries(
    connection: &Connection,
    path: &Path,
    after: u64,
    limit: usize,
) -> Result<Vec<Entry>, LedgerError> {
    let error = |error: rusqlite::Error| of_sqlite(path, "read", &error);
    let rows = store::rows(connection, after, limit).map_err(error)?;
    let Some(first) = rows.first().map(|row| row.seq) else { return Ok(Vec::new()) };
    let is_chained = store::format(connection).map_err(error)? >= store::CHAINED;
    let before = if is_chained { store::chain_at(connection, first.saturating_sub(1)).map_err(error)? } else { None };
    let damaged = |seq: u64, what: &str| {
        let what = format!("entry {seq}: {what}");
        LedgerError::Damaged { path: path.to_path_buf(), what }
    };
    let (mut chain, mut entries) = (before, Vec::with_capacity(rows.len()));
    for row in rows {
        entries.push(serde_json::from_str(&row.text).map_err(|why| damaged(row.seq, &why.to_string()))?);
        chain = chain.map(|chain| chain.after(row.seq, row.version, &row.text));
        if is_chained && chain.is_none_or(|chain| chain.to_string() != row.chain) {
            return Err(damaged(row.seq, "its chain is not that of what is written there"));
        }
    }
    Ok(entries)
}

/// The last entry, and the chain's value there.
pub(super) fn head(connection: &Connection, path: &Path) -> Result<Head, LedgerError> {
    let last = store::last(connection).map_err(|error| of_sqlite(path, "read", &error))?;
    let Some((seq, at, chain)) = last else { return Ok(Head::genesis()) };
    let damaged =
        |what: String| LedgerError::Damaged { path: path.to_path_buf(), what: format!("entry {seq}: {what}") };
    let chain = chain.parse().map_err(|why: NoChain| damaged(why.to_string()))?;
    let at = at.parse().map_err(|_| damaged("its time is none".to_owned()))?;
    Ok(Head { seq, at: Some(at), chain })
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

pub(super) fn of_sqlite(path: &Path, doing: &'static str, error: &rusqlite::Error) -> LedgerError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            LedgerError::Damaged { path: path.to_path_buf(), what: error.to_string() }
        }
        _ => LedgerError::Storage { path: path.to_path_buf(), doing, why: error.to_string() },
    }
}
