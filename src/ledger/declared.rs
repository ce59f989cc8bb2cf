//! What masters declare, kept beside the ledger: a controller that is restarted without its master goes on
//! managing those instances.
//!
//! `declared/masters/M.json` holds what master M declares, `declared/accounts.json` the account numbers that
//! were learnt, and `declared/keys/` one file for each access key that came in a declaration, which is
//! referred to from then on. Folders have mode 0700, files 0600; each is replaced as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::LedgerError;
use crate::model::{MasterId, OwnerName, WorkerName, digest_hex};
use crate::policy::{Declaration, DeclaredCredentials, DeclaredOwner, DeclaredWorker, Intent, Secret, place};

/// The version of the files that this program writes.
const VERSION: u64 = 1;
/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What one master declares.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeclaredSet {
    /// By worker.
    pub workers: BTreeMap<WorkerName, Declaration>,
    /// Owners of whom nothing is declared any more, and whose instances have yet to go.
    pub former: BTreeMap<OwnerName, DeclaredOwner>,
}

impl DeclaredSet {
    /// A key that is kept is where the folder is now, whatever path that had when this was written.
    fn keys_are_in(&mut self, keys: &Path) {
        let present = self.workers.values_mut().filter_map(|declared| declared.access.as_mut());
        for access in present.chain(self.former.values_mut()) {
            if let DeclaredCredentials::KeyFile(file) = &mut access.credentials {
                let old = Path::new(file.as_str());
                let kept = old.parent().is_some_and(|folder| folder.ends_with("declared/keys"));
                if let Some(name) = old.file_name().filter(|_| kept) {
                    *file = keys.join(name).display().to_string();
                }
            }
        }
    }

    /// How to act for each owner that it names, those included that are former ones.
    pub fn owners(&self) -> BTreeMap<&OwnerName, &DeclaredOwner> {
        let present = self.workers.values().filter_map(|declared| Some((&declared.owner, declared.access.as_ref()?)));
        self.former.iter().chain(present).collect()
    }
}

/// An access key on its way into a file of its own.
#[derive(Debug)]
pub struct KeptKey {
    path: PathBuf,
    text: Secret,
}

/// What masters declare, in memory and, where there is a folder, on disk.
#[derive(Debug, Default)]
pub struct Declarations {
    folder: Option<PathBuf>,
    sets: BTreeMap<MasterId, DeclaredSet>,
    accounts: BTreeMap<OwnerName, String>,
    warnings: Vec<String>,
}

impl Declarations {
    /// Reads what is kept in `declared/` of a folder. What cannot be read is a warning: a master declares it
    /// anew, and nobody else is to wait for that.
    pub fn open(state: &Path) -> Self {
        let folder = std::path::absolute(state).unwrap_or_else(|_| state.to_path_buf()).join("declared");
        let mut kept = Self { folder: Some(folder), ..Self::default() };
        kept.reload();
        kept
    }

    /// Reads it again.
    pub fn reload(&mut self) {
        let Some(folder) = self.folder.clone() else { return };
        self.warnings.clear();
        if let Some(files) = self.files(&folder.join("masters")) {
            let before = std::mem::take(&mut self.sets);
            for path in files {
                match read_set(&path) {
                    Ok((master, mut set, warnings)) => {
                        set.keys_are_in(&folder.join("keys"));
                        self.warnings.extend(warnings);
                        self.sets.insert(master, set);
                    }
                    Err(why) => {
                        // What was known of it a moment ago still holds: unreadable is not undeclared.
                        let of_file =
                            |master: &MasterId| path.file_stem().is_some_and(|stem| *stem == *master.as_str());
                        let known = before.iter().find(|(master, _)| of_file(master));
                        self.sets.extend(known.map(|(master, set)| (master.clone(), set.clone())));
                        self.warn(&path, &why);
                    }
                }
            }
        }
        let accounts = folder.join("accounts.json");
        match read_accounts(&accounts) {
            Ok(found) => self.accounts = found,
            Err(why) => self.warn(&accounts, &why),
        }
    }

    fn warn(&mut self, path: &Path, why: &str) {
        let cure = "its workers are unknown until their master declares them anew";
        self.warnings.push(format!("{} cannot be read: {why}; {cure}", path.display()));
    }

    /// The files of a folder that end with `.json`; a folder that is not there has none. `None`, and a
    /// warning, if it cannot be read.
    fn files(&mut self, folder: &Path) -> Option<Vec<PathBuf>> {
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        match entries {
            Ok(entries) => {
                let paths = entries.into_iter().map(|entry| entry.path());
                let mut files: Vec<PathBuf> =
                    paths.filter(|path| path.as_os_str().to_string_lossy().ends_with(".json")).collect();
                files.sort();
                Some(files)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Vec::new()),
            Err(error) => {
                self.warn(folder, &error.kind().to_string());
                None
            }
        }
    }

    /// By master.
    pub fn sets(&self) -> &BTreeMap<MasterId, DeclaredSet> {
        &self.sets
    }

    /// A configuration of files with all that is declared over it and has no mistake.
    #[must_use]
    pub fn over(&self, files: &Intent) -> Intent {
        let sets = self.sets.iter();
        let all: Vec<_> =
            sets.flat_map(|(master, set)| set.workers.iter().map(move |(name, said)| (master, name, said))).collect();
        let read = files.read_declared(all.iter().copied());
        let linked: BTreeMap<&WorkerName, DeclaredWorker> =
            all.iter().zip(read).filter_map(|((_, name, _), read)| Some((*name, read.ok()?))).collect();
        let former = self.sets.values().flat_map(|set| set.former.iter());
        let former = former.filter_map(|(name, access)| Some((name.clone(), access.owner()?)));
        files.with_declared(linked.iter().map(|(name, worker)| (*name, worker)), former)
    }

    /// What could not be read, in words.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The account numbers that were learnt.
    pub fn accounts(&self) -> &BTreeMap<OwnerName, String> {
        &self.accounts
    }

    /// Replaces the account numbers that were learnt.
    ///
    /// # Errors
    /// [`LedgerError::Declared`]; those before hold on then.
    pub fn keep_accounts(&mut self, accounts: BTreeMap<OwnerName, String>) -> Result<(), LedgerError> {
        if accounts == self.accounts {
            return Ok(());
        }
        if let Some(folder) = &self.folder {
            let text = json!({ "version": VERSION, "accounts": accounts });
            replace(folder, &folder.join("accounts.json"), text.to_string().as_bytes())?;
        }
        self.accounts = accounts;
        Ok(())
    }

    /// The same way to act without a key in it: a key becomes the file that it is to be kept in.
    ///
    /// # Errors
    /// What is wrong, where there is no folder to keep a key in.
    pub fn by_reference(
        &self,
        owner: &OwnerName,
        access: DeclaredOwner,
    ) -> Result<(DeclaredOwner, Option<KeptKey>), String> {
        let DeclaredCredentials::AccessKey { id, secret } = &access.credentials else { return Ok((access, None)) };
        let Some(folder) = &self.folder else {
            return Err("cannot be kept: this controller has no state folder; use a key_file".to_owned());
        };
        let text = format!("{}\n{}\n", id.reveal(), secret.reveal());
        // Another key has another file: whoever reads keys sees at once that it changed.
        let digest = digest_hex(&Sha256::digest(text.as_bytes()));
        let path = folder.join("keys").join(format!("{owner}-{}.key", digest.get(..16).unwrap_or(&digest)));
        let credentials = DeclaredCredentials::KeyFile(path.display().to_string());
        Ok((DeclaredOwner { credentials, ..access }, Some(KeptKey { path, text: Secret::new(text) })))
    }

    /// Keeps what these masters declare from now on, and removes the keys that nothing refers to any more.
    /// When it returns, it survives a crash.
    ///
    /// # Errors
    /// [`LedgerError::Declared`]; what was declared before holds on then.
    pub fn keep(&mut self, changed: BTreeMap<MasterId, DeclaredSet>, keys: &[KeptKey]) -> Result<(), LedgerError> {
        if let Some(folder) = &self.folder {
            private_folder(folder)
                .map_err(|error| LedgerError::Declared { path: folder.clone(), why: error.to_string() })?;
            for key in keys {
                let written = fs::read_to_string(&key.path).is_ok_and(|text| text == key.text.reveal());
                if !written {
                    replace(&folder.join("keys"), &key.path, key.text.reveal().as_bytes())?;
                }
            }
            let masters = folder.join("masters");
            let count = |set: &DeclaredSet| set.workers.len();
            let mut changed: Vec<_> = changed.iter().collect();
            // A worker that moves is written where it comes before it is where it goes: never in neither.
            changed.sort_by_key(|(master, set)| count(set) <= self.sets.get(*master).map_or(0, count));
            for (master, set) in changed {
                let path = masters.join(format!("{master}.json"));
                replace(&masters, &path, set_text(master, set).to_string().as_bytes())?;
            }
        }
        self.sets.extend(changed);
        self.prune_keys();
        Ok(())
    }

    /// With a file that could not be read nobody knows what it refers to: then nothing is removed.
    fn prune_keys(&self) {
        let Some(folder) = self.folder.as_ref().filter(|_| self.warnings.is_empty()) else { return };
        let owners = self.sets.values().flat_map(|set| set.owners().into_values());
        let used: BTreeSet<PathBuf> = owners
            .filter_map(|owner| match &owner.credentials {
                DeclaredCredentials::KeyFile(file) => Some(PathBuf::from(file)),
                _ => None,
            })
            .collect();
        let Ok(entries) = fs::read_dir(folder.join("keys")) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !used.contains(path)) {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "a key that nothing refers to any more was not removed");
            }
        }
    }
}

fn set_text(master: &MasterId, set: &DeclaredSet) -> Value {
    let workers: Map<String, Value> =
        set.workers.iter().map(|(name, declared)| (name.to_string(), declared.to_json())).collect();
    let former: Map<String, Value> =
        set.former.iter().map(|(name, access)| (name.to_string(), of_owner_alone(name, access).to_json())).collect();
    json!({ "version": VERSION, "master": master, "workers": workers, "former": former })
}

/// An owner in the form of a declaration, which is the one form that these files have.
fn of_owner_alone(name: &OwnerName, access: &DeclaredOwner) -> Declaration {
    let (image, policy) = (Map::new(), Map::new());
    Declaration { owner: name.clone(), access: Some(access.clone()), image, user_data: None, policy }
}

type Read = (MasterId, DeclaredSet, Vec<String>);

/// A master's file; one declaration that cannot be read is a warning, and the others are read.
fn read_set(path: &Path) -> Result<Read, String> {
    let value = read_json(path)?;
    let master = value.get("master").and_then(Value::as_str).unwrap_or_default();
    let master: MasterId = master.parse().map_err(|error: crate::model::IdError| error.to_string())?;
    let (mut set, mut warnings) = (DeclaredSet::default(), Vec::new());
    for (name, value) in objects(&value, "workers") {
        let read = Declaration::read(&place(master.as_str(), name), value).map_err(|problems| problems.to_string());
        let named = name.parse::<WorkerName>().map_err(|error| error.to_string());
        match named.and_then(|name| Ok((name, read?))) {
            Ok((name, declared)) => drop(set.workers.insert(name, declared)),
            Err(why) => warnings.push(format!("{}: {why}", path.display())),
        }
    }
    for (name, value) in objects(&value, "former") {
        let read = Declaration::read(&place(master.as_str(), name), value).map_err(|problems| problems.to_string());
        match read.map(|declared| (declared.owner, declared.access)) {
            Ok((owner, Some(access))) => drop(set.former.insert(owner, access)),
            Ok((owner, None)) => warnings.push(format!("{}: owner {owner} has no credentials", path.display())),
            Err(why) => warnings.push(format!("{}: {why}", path.display())),
        }
    }
    Ok((master, set, warnings))
}

fn objects<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let object = value.get(key).and_then(Value::as_object);
    object.into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn read_accounts(path: &Path) -> Result<BTreeMap<OwnerName, String>, String> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let value = read_json(path)?;
    let accounts = objects(&value, "accounts").map(|(name, account)| {
        let name = name.parse::<OwnerName>().map_err(|error| error.to_string())?;
        Ok((name, account.as_str().ok_or("an account is not a text")?.to_owned()))
    });
    accounts.collect()
}

/// A file of this folder. The error holds nothing of what stands in it.
fn read_json(path: &Path) -> Result<Value, String> {
    let told = |error: io::Error| error.kind().to_string();
    let size = fs::metadata(path).map_err(told)?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{size} bytes, and {FILE_BYTES_MAX} are the most"));
    }
    let text = fs::read(path).map_err(told)?;
    let value: Value = serde_json::from_slice(&text)
        .map_err(|error| format!("it is not JSON, from line {}, column {}", error.line(), error.column()))?;
    match value.get("version").and_then(Value::as_u64) {
        Some(VERSION) => Ok(value),
        Some(newer) if newer > VERSION => Err(format!("it has version {newer}, and this latent reads {VERSION}")),
        _ => Err("it has no version".to_owned()),
    }
}

/// Replaces a file: after a crash it is the old one or the new one.
fn replace(folder: &Path, path: &Path, text: &[u8]) -> Result<(), LedgerError> {
    let written = private_folder(folder).and_then(|()| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let beside = folder.join(format!(".{name}.new"));
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    });
    written.map_err(|error| LedgerError::Declared { path: path.to_path_buf(), why: error.to_string() })
}

/// Makes a folder, and those above it, that nobody else may look into.
fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // One that was there before may have been made otherwise.
    let mode = fs::metadata(folder)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    Ok(())
}
