//! Files that are there whole or not at all, and that nobody but their owner may read.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::exit::{CommandError, Exit};

/// That a file or a folder cannot be `doing`.
pub(super) fn failed(path: &Path, doing: &str, error: std::io::Error) -> CommandError {
    let context =
        format!("{} cannot be {doing}; check the folder's owner, its mode and the free space", path.display());
    CommandError::new(Exit::Unexpected, anyhow::Error::new(error).context(context))
}

/// Writes a file under another name beside it, and gives it its own when all of it is there.
pub(super) fn write(
    path: &Path,
    text: impl FnOnce(&mut dyn Write) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let name = path
        .file_name()
        .ok_or_else(|| CommandError::new(Exit::Usage, anyhow::anyhow!("-o {}: it names no file", path.display())))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(hidden);
    let written = beside_it(path, &beside, text);
    if written.is_err() {
        // What was not renamed is of no use to anybody.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn beside_it(
    path: &Path,
    beside: &Path,
    text: impl FnOnce(&mut dyn Write) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let failed = |error| failed(path, "written", error);
    let file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside).map_err(failed)?;
    let mut to = BufWriter::new(file);
    text(&mut to)?;
    to.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)?;
    fs::rename(beside, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_there_whole_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("report.json");
        let say = |text: &'static str| write(&path, |to| Ok(to.write_all(text.as_bytes())?));
        say("one").expect("writes");
        say("two").expect("writes again");
        let broken = write(&path, |to| {
            to.write_all(b"three")?;
            Err(CommandError::new(Exit::Ledger, anyhow::anyhow!("no more")))
        });
        assert!(broken.is_err());
        assert_eq!(fs::read_to_string(&path).expect("reads"), "two");
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 1, "nothing else stays");
        assert!(write(&folder.path().join("none/report.json"), |_| Ok(())).is_err());
    }
}
