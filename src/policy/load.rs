//! Reads the files. The one place of this floor that touches a disk.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::join::{JoinKey, KEY_BYTES};
use super::secret::{Secret, SecretRef};

/// The largest file that is read, in bytes: no configuration is longer.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The text of every file, unparsed.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The folder of `latent.toml`: relative names count from here.
    pub folder: PathBuf,
    /// `latent.toml`: its name and text.
    pub main: (String, String),
    /// `amis/*.toml`: stem, name, text.
    pub images: Vec<(String, String, String)>,
    /// `policies/*.toml`: stem, name, text.
    pub policies: Vec<(String, String, String)>,
    /// Every other text below `amis/`, by its name relative to it.
    pub templates: BTreeMap<String, String>,
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct LoadError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Reads `latent.toml` at `path`, and `amis/` and `policies/` beside it.
pub fn load(path: &Path) -> Result<Sources, LoadError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::new(),
    };
    let mut sources = Sources { main: (path.display().to_string(), read(path)?), ..Sources::default() };
    for (name, into_images) in [("amis", true), ("policies", false)] {
        for file in files_below(&folder.join(name))? {
            let relative = file.strip_prefix(folder.join(name)).unwrap_or(&file).display().to_string();
            let at_top = !relative.contains('/');
            if at_top && let Some(stem) = relative.strip_suffix(".toml") {
                let item = (stem.to_owned(), file.display().to_string(), read(&file)?);
                if into_images { sources.images.push(item) } else { sources.policies.push(item) }
            } else if into_images && let Ok(text) = read(&file) {
                sources.templates.insert(relative, text);
            }
        }
    }
    sources.folder = folder;
    Ok(sources)
}

impl Sources {
    /// A name of the configuration as a path.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The text of a file of the configuration, if there is one.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    pub(super) fn text_if_there(&self, name: &str) -> Result<Option<String>, String> {
        match read(&self.path(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.source.to_string()),
        }
    }

    /// The key of the join secrets, in the file `join.key` beside the ledger. Where there is none it is
    /// made if `make` says so, mode 0600: instances that were launched with another one cannot prove
    /// themselves by their secrets any more.
    ///
    /// # Errors
    /// What is wrong with the file and what to do, in words; nothing of the key.
    pub fn join_key(&self, ledger: &str, make: bool) -> Result<Option<JoinKey>, String> {
        let path = self.path(ledger).with_file_name("join.key");
        if make {
            make_key(&path).map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
        }
        match std::fs::read_to_string(&path) {
            Ok(text) => JoinKey::read(&text).map(Some).ok_or_else(|| {
                format!(
                    "{} holds no key of {KEY_BYTES} bytes in hexadecimal; put the right one back, or remove it for a new one",
                    path.display()
                )
            }),
            // Without its folder the ledger cannot be opened either, which is told with the cure.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        }
    }

    /// The names, without their ending, of the plain files of a folder that end so; none if it cannot be read,
    /// which is told of the files that are needed.
    pub fn stems_in(&self, folder: &str, ending: &str) -> Vec<String> {
        let paths = shown_in(&self.path(folder)).unwrap_or_default();
        let files = paths.iter().filter(|path| path.is_file() && path.extension().is_some_and(|own| own == ending));
        files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
    }

    /// Reads a secret. The error never holds it.
    pub fn resolve(&self, secret: &SecretRef) -> Result<Secret, String> {
        let text = match secret {
            SecretRef::Env(name) => std::env::var(name).map_err(|_| format!("{secret} is not set"))?,
            SecretRef::File(name) => std::fs::read_to_string(self.path(name))
                .map_err(|error| format!("{secret} cannot be read: {}", error.kind()))?,
        };
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() { Err(format!("{secret} is empty")) } else { Ok(Secret::new(text.to_owned())) }
    }
}

/// Reads a file of two lines, an access key id and its secret key. The error never holds either.
pub fn read_key_file(path: &Path) -> Result<(String, Secret), String> {
    let place = format!("key file {}", path.display());
    let text = read(path).map_err(|error| format!("{place} cannot be read: {}", error.source.kind()))?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let plain = |text: &str| text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_graphic());
    match (lines.next(), lines.next(), lines.next()) {
        (Some(id), Some(secret), None) if plain(id) && plain(secret) => {
            Ok((id.to_owned(), Secret::new(secret.to_owned())))
        }
        _ => Err(format!("{place} does not hold two lines, the access key id and the secret key")),
    }
}

/// Writes a new key, whole or not at all; a key that is there stays.
fn make_key(path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let aside = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(JoinKey::new(bytes).text().reveal().as_bytes())?;
    file.sync_all()?;
    // A link does not replace what another process may have made meanwhile.
    let linked = std::fs::hard_link(&aside, path);
    std::fs::remove_file(&aside)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn read(path: &Path) -> Result<String, LoadError> {
    let error = |source| LoadError { path: path.to_path_buf(), source };
    let size = std::fs::metadata(path).map_err(error)?.len();
    if size > FILE_BYTES_MAX {
        let why = format!("{size} bytes, and no configuration has more than {FILE_BYTES_MAX}");
        return Err(error(io::Error::new(io::ErrorKind::FileTooLarge, why)));
    }
    std::fs::read_to_string(path).map_err(error)
}

/// The plain files below a folder, sorted; a folder that is not there has none.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let paths = match shown_in(&next) {
            Ok(paths) => paths,
            Err(error) if error.source.kind() == io::ErrorKind::NotFound && next == folder => continue,
            Err(error) => return Err(error),
        };
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What is in a folder and not hidden, such as an editor's own files are.
fn shown_in(folder: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|source| LoadError { path: folder.to_path_buf(), source })?;
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| !hidden(path)).collect())
}
