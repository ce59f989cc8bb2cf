//! Writes a manifest that was promoted or rolled back: the one file of the owner's that this program changes.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::model::digest_hex;

/// The largest manifest that is rewritten, in bytes: no longer one is read as configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a manifest was not written; it is what it was. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError<E: std::error::Error + 'static> {
    /// The change was refused.
    #[error("{}: {why}", path.display())]
    Refused {
        /// The manifest.
        path: PathBuf,
        /// Why.
        why: E,
    },
    /// Somebody wrote it between the reading and the writing.
    #[error("{} was changed by somebody else just now; what is in it stays, and it is tried again", path.display())]
    Changed {
        /// The manifest.
        path: PathBuf,
    },
    /// The new file could not be given to the owner of the old one.
    #[error(
        "{} belongs to user {user} and group {group}, to whom a new file cannot be given ({source}); make it the \
         controller's user's own, or write the AMI into it yourself", path.display()
    )]
    Owner {
        /// The manifest.
        path: PathBuf,
        /// The number of its user.
        user: u32,
        /// The number of its group.
        group: u32,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read or written.
    #[error("{} cannot be rewritten: {source}; the folder and the file must be writable for this user", path.display())]
    Io {
        /// The manifest.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The file itself, links followed.
    pub path: PathBuf,
    /// SHA-256 of the text before, in hexadecimal.
    pub before: String,
    /// SHA-256 of the text now; as before if there was nothing to change.
    pub after: String,
}

/// Changes a manifest: reads it, and puts what `change` makes of it in its place, whole or not at all and safe
/// from a power cut. Mode, user and group stay, and a link to it stays one. A text that somebody else wrote
/// meanwhile is left alone; between the last look at it and the replacement no call of the system comes.
///
/// # Errors
/// [`ManifestError`]; the file is what it was.
pub fn write_promoted<E: std::error::Error + 'static>(
    path: &Path,
    change: impl FnOnce(&str) -> Result<String, E>,
) -> Result<Rewritten, ManifestError<E>> {
    let io = |source| ManifestError::Io { path: path.to_path_buf(), source };
    let file = fs::canonicalize(path).map_err(io)?;
    let text = read(&file).map_err(io)?;
    let new = change(&text).map_err(|why| ManifestError::Refused { path: path.to_path_buf(), why })?;
    let (before, after) = (digest(&text), digest(&new));
    if new != text {
        let aside = aside(&file);
        let written = beside(&file, &aside, &new).and_then(|()| {
            if read(&file).map_err(Failure::Io)? != text {
                return Err(Failure::Changed);
            }
            fs::rename(&aside, &file).map_err(Failure::Io)
        });
        if let Err(failure) = written {
            // Nothing of ours stays; if that fails too, the first reason is the one to tell.
            let _ = fs::remove_file(&aside);
            return Err(failure.of(path));
        }
        sync_folder(&file).map_err(io)?;
    }
    Ok(Rewritten { path: file, before, after })
}

enum Failure {
    Io(io::Error),
    Changed,
    Owner { user: u32, group: u32, source: io::Error },
}

impl Failure {
    fn of<E: std::error::Error + 'static>(self, path: &Path) -> ManifestError<E> {
        let path = path.to_path_buf();
        match self {
            Failure::Io(source) => ManifestError::Io { path, source },
            Failure::Changed => ManifestError::Changed { path },
            Failure::Owner { user, group, source } => ManifestError::Owner { path, user, group, source },
        }
    }
}

fn read(file: &Path) -> io::Result<String> {
    let size = fs::metadata(file)?.len();
    if size > FILE_BYTES_MAX {
        let why = format!("{size} bytes, and no manifest has more than {FILE_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    fs::read_to_string(file)
}

/// A hidden file of the same folder: the configuration's reader passes it over.
fn aside(file: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(format!(".new-{}", std::process::id()));
    file.with_file_name(name)
}

/// Writes the new text with the mode, the user and the group of the old file.
fn beside(file: &Path, aside: &Path, text: &str) -> Result<(), Failure> {
    let old = fs::metadata(file).map_err(Failure::Io)?;
    match fs::remove_file(aside) {
        // A process of this number that died in the middle may have left one.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Failure::Io(error)),
        _ => {}
    }
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside).map_err(Failure::Io)?;
    let made = new.metadata().map_err(Failure::Io)?;
    if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
        let (user, group) = (old.uid(), old.gid());
        fchown(&new, Some(user), Some(group)).map_err(|source| Failure::Owner { user, group, source })?;
    }
    new.set_permissions(old.permissions()).map_err(Failure::Io)?;
    new.write_all(text.as_bytes()).map_err(Failure::Io)?;
    new.sync_all().map_err(Failure::Io)
}

fn sync_folder(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn digest(text: &str) -> String {
    digest_hex(&Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::policy::promote::{Refusal, promoted};

    const TEXT: &str = "# Ours.\nami = \"ami-1\"\n";

    fn promote(text: &str) -> Result<String, Refusal> {
        promoted(text, &"ami-1".parse().expect("an id"), &"ami-2".parse().expect("an id"), 3)
    }

    fn ground() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("i.toml");
        fs::write(&file, TEXT).expect("written");
        (folder, file)
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_manifest_is_replaced_whole_with_its_mode_and_nothing_is_left_beside_it() {
        let (folder, file) = ground();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
        let first = write_promoted(&file, promote).expect("written");
        assert_eq!((first.before.as_str(), first.before != first.after), (digest(TEXT).as_str(), true));
        let text = fs::read_to_string(&file).expect("a text");
        assert_eq!(text, promote(TEXT).expect("promoted"));
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o640);
        assert_eq!(names(folder.path()), ["i.toml"]);
        let inode = fs::metadata(&file).expect("a file").ino();
        let again = write_promoted(&file, promote).expect("nothing to do");
        assert_eq!((again.before, again.after), (first.after.clone(), first.after));
        assert_eq!(fs::metadata(&file).expect("a file").ino(), inode, "what is right is not written again");
    }

    #[test]
    fn a_link_stays_one_and_its_file_is_written() {
        let (folder, file) = ground();
        let elsewhere = tempfile::tempdir().expect("a folder");
        let link = elsewhere.path().join("debian.toml");
        symlink(&file, &link).expect("a link");
        write_promoted(&link, promote).expect("written");
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        assert!(fs::read_to_string(&file).expect("a text").contains("ami-2"));
        assert_eq!((names(folder.path()).len(), names(elsewhere.path()).len()), (1, 1));
    }

    #[test]
    fn what_somebody_else_writes_meanwhile_stays() {
        let (folder, file) = ground();
        let theirs = "ami = \"ami-9\"\n";
        let refused = write_promoted(&file, |text| {
            fs::write(&file, theirs).expect("written");
            promote(text)
        });
        assert!(matches!(refused, Err(ManifestError::Changed { .. })), "{refused:?}");
        assert_eq!(fs::read_to_string(&file).expect("a text"), theirs);
        assert_eq!(names(folder.path()), ["i.toml"]);
        let refused = write_promoted(&file, promote).expect_err("edited by hand").to_string();
        assert!(refused.contains("i.toml: the manifest was edited by hand meanwhile"), "{refused}");
    }

    #[test]
    fn what_a_dead_process_left_aside_is_replaced_and_no_file_is_an_error() {
        let (folder, file) = ground();
        fs::write(aside(&file), "half").expect("written");
        write_promoted(&file, promote).expect("written");
        assert_eq!(names(folder.path()), ["i.toml"]);
        let missing = write_promoted(&folder.path().join("none.toml"), promote);
        assert!(matches!(missing, Err(ManifestError::Io { .. })));
        assert_eq!(names(folder.path()), ["i.toml"]);
    }
}
