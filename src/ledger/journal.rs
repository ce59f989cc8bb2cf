//! The journals of rebakes: one file of JSON lines each, which one process at a time works with.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{RebakeEntry, RebakeId};

/// Why a journal cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process works on it.
    #[error("rebake {id} is being worked on by another process; follow it there, or end it first")]
    Locked {
        /// Which.
        id: RebakeId,
    },
    /// There is none.
    #[error("there is no rebake {id} in {}", folder.display())]
    Unknown {
        /// Which.
        id: RebakeId,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// What it holds is not what was written.
    #[error("the journal {} is damaged ({what}); move it away: what the rebake made carries its id as a tag, and latent sweep finds it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it shows.
        what: String,
    },
    /// It cannot be read or written.
    #[error("the journal {} cannot be {doing}: {why}; check the folder's owner, its mode and the free space", path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        why: String,
    },
}

/// One journal, to be written by this process alone.
pub trait Journal: Send {
    /// Appends an entry; when it returns, it survives a crash.
    ///
    /// # Errors
    /// [`JournalError::Storage`]; nothing was written then.
    fn append(&mut self, entry: &RebakeEntry) -> Result<(), JournalError>;
}

/// Where journals are kept.
pub trait Journals: Send + Sync {
    /// A journal of it.
    type Journal: Journal + 'static;

    /// Which there are, the oldest first.
    ///
    /// # Errors
    /// [`JournalError::Storage`].
    fn ids(&self) -> Result<Vec<RebakeId>, JournalError>;

    /// A new one with its first entry.
    ///
    /// # Errors
    /// [`JournalError`].
    fn create(&self, id: &RebakeId, first: &RebakeEntry) -> Result<Self::Journal, JournalError>;

    /// One to go on with, and what it holds.
    ///
    /// # Errors
    /// [`JournalError`].
    fn open(&self, id: &RebakeId) -> Result<(Self::Journal, Vec<RebakeEntry>), JournalError>;

    /// What one holds, whoever works with it.
    ///
    /// # Errors
    /// [`JournalError`], but for being locked.
    fn read(&self, id: &RebakeId) -> Result<Vec<RebakeEntry>, JournalError>;
}

/// A folder of journals, `ID.jsonl` each.
#[derive(Debug, Clone)]
pub struct JournalFolder(PathBuf);

/// A file that is locked for this process.
#[derive(Debug)]
pub struct FileJournal {
    path: PathBuf,
    file: File,
    /// How much of it was written whole.
    length: u64,
}

impl JournalFolder {
    /// This folder, made when the first journal is.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn path(&self, id: &RebakeId) -> PathBuf {
        self.0.join(format!("{id}.jsonl"))
    }
}

fn storage(path: &Path, doing: &'static str, error: &std::io::Error) -> JournalError {
    JournalError::Storage { path: path.to_path_buf(), doing, why: error.to_string() }
}

fn locked(file: &File, id: &RebakeId, path: &Path) -> Result<(), JournalError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(JournalError::Locked { id: id.clone() }),
        Err(TryLockError::Error(error)) => Err(storage(path, "locked", &error)),
    }
}

/// The entries of a text, and the length of what was written whole: a crash may have torn its last line.
fn whole(path: &Path, bytes: &[u8]) -> Result<(Vec<RebakeEntry>, u64), JournalError> {
    // Bytes and not a text: a line may be torn within a letter.
    let length = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let damaged = |what: String| JournalError::Damaged { path: path.to_path_buf(), what };
    let lines = bytes.get(..length).unwrap_or_default().split_inclusive(|byte| *byte == b'\n').enumerate();
    let entry = |(number, line): (usize, &[u8])| {
        serde_json::from_slice(line).map_err(|error| damaged(format!("line {}: {error}", number + 1)))
    };
    let entries = lines.map(entry).collect::<Result<_, _>>()?;
    Ok((entries, u64::try_from(length).unwrap_or(u64::MAX)))
}

impl Journals for JournalFolder {
    type Journal = FileJournal;

    fn ids(&self) -> Result<Vec<RebakeId>, JournalError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(storage(&self.0, "read", &error)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut ids: Vec<RebakeId> = names.filter_map(|name| name.strip_suffix(".jsonl")?.parse().ok()).collect();
        ids.sort();
        Ok(ids)
    }

    fn create(&self, id: &RebakeId, first: &RebakeEntry) -> Result<FileJournal, JournalError> {
        let path = self.path(id);
        fs::create_dir_all(&self.0).map_err(|error| storage(&self.0, "created", &error))?;
        let file = OpenOptions::new().create_new(true).append(true).read(true).open(&path);
        let file = file.map_err(|error| storage(&path, "created", &error))?;
        locked(&file, id, &path)?;
        let mut journal = FileJournal { path, file, length: 0 };
        journal.append(first)?;
        // The name survives a power cut only when the folder does.
        File::open(&self.0)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| storage(&self.0, "written", &error))?;
        Ok(journal)
    }

    fn open(&self, id: &RebakeId) -> Result<(FileJournal, Vec<RebakeEntry>), JournalError> {
        let path = self.path(id);
        let mut file = match OpenOptions::new().append(true).read(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(JournalError::Unknown { id: id.clone(), folder: self.0.clone() });
            }
            Err(error) => return Err(storage(&path, "opened", &error)),
        };
        locked(&file, id, &path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| storage(&path, "read", &error))?;
        let (entries, length) = whole(&path, &bytes)?;
        let mut journal = FileJournal { path, file, length };
        journal.cut()?;
        Ok((journal, entries))
    }

    fn read(&self, id: &RebakeId) -> Result<Vec<RebakeEntry>, JournalError> {
        let path = self.path(id);
        match fs::read(&path) {
            Ok(bytes) => whole(&path, &bytes).map(|(entries, _)| entries),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(JournalError::Unknown { id: id.clone(), folder: self.0.clone() })
            }
            Err(error) => Err(storage(&path, "read", &error)),
        }
    }
}

impl FileJournal {
    /// Takes away what a torn write left.
    fn cut(&mut self) -> Result<(), JournalError> {
        let cut = self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::End(0)));
        cut.map(drop).map_err(|error| storage(&self.path, "cut", &error))
    }
}

impl Journal for FileJournal {
    fn append(&mut self, entry: &RebakeEntry) -> Result<(), JournalError> {
        let text = serde_json::to_string(entry).map_err(|error| storage(&self.path, "written", &error.into()))?;
        let line = format!("{text}\n");
        match self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data()) {
            Ok(()) => {
                self.length += u64::try_from(line.len()).unwrap_or_default();
                Ok(())
            }
            Err(error) => {
                self.cut()?;
                Err(storage(&self.path, "written", &error))
            }
        }
    }
}

/// Journals in memory, for tests and the simulation. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournals(Arc<Mutex<BTreeMap<RebakeId, Vec<RebakeEntry>>>>);

/// One of them.
#[derive(Debug)]
pub struct MemoryJournal {
    all: MemoryJournals,
    id: RebakeId,
}

impl MemoryJournals {
    fn with<T>(&self, then: impl FnOnce(&mut BTreeMap<RebakeId, Vec<RebakeEntry>>) -> T) -> T {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Journal for MemoryJournal {
    fn append(&mut self, entry: &RebakeEntry) -> Result<(), JournalError> {
        self.all.with(|all| all.entry(self.id.clone()).or_default().push(entry.clone()));
        Ok(())
    }
}

impl Journals for MemoryJournals {
    type Journal = MemoryJournal;

    fn ids(&self) -> Result<Vec<RebakeId>, JournalError> {
        Ok(self.with(|all| all.keys().cloned().collect()))
    }

    fn create(&self, id: &RebakeId, first: &RebakeEntry) -> Result<MemoryJournal, JournalError> {
        let mut journal = MemoryJournal { all: self.clone(), id: id.clone() };
        journal.append(first)?;
        Ok(journal)
    }

    fn open(&self, id: &RebakeId) -> Result<(MemoryJournal, Vec<RebakeEntry>), JournalError> {
        let entries = self.read(id)?;
        Ok((MemoryJournal { all: self.clone(), id: id.clone() }, entries))
    }

    fn read(&self, id: &RebakeId) -> Result<Vec<RebakeEntry>, JournalError> {
        let found = self.with(|all| all.get(id).cloned());
        found.ok_or_else(|| JournalError::Unknown { id: id.clone(), folder: PathBuf::from("memory") })
    }
}
