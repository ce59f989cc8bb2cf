//! Where a report goes: standard output, one file, or a file for each owner in a folder.

use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{AuditFormat, AuditOptions};
use crate::audit::report::Report;
use crate::cli::connect;
use crate::cli::exit::{CommandError, Exit};

/// Where reports go.
#[derive(Debug)]
pub(super) enum Place {
    /// To standard output.
    Out(AuditFormat),
    /// To one file.
    File(PathBuf, AuditFormat),
    /// To a file for each owner.
    Folder(PathBuf, AuditFormat),
}

impl Place {
    /// Where the options say; `None` if several owners would share one place.
    pub(super) fn of(options: &AuditOptions, owners: usize) -> Option<Self> {
        let Some(path) = &options.output else {
            let usual = if std::io::stdout().is_terminal() { AuditFormat::Text } else { AuditFormat::Md };
            return (owners == 1).then_some(Self::Out(options.format.unwrap_or(usual)));
        };
        let slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        if slash || path.is_dir() {
            return Some(Self::Folder(path.clone(), options.format.unwrap_or(AuditFormat::Html)));
        }
        let format = options.format.or_else(|| by_ending(path)).unwrap_or(AuditFormat::Html);
        (owners == 1).then(|| Self::File(path.clone(), format))
    }

    /// Writes one owner's report there.
    pub(super) fn write(&self, report: &Report, owner: &str, out: &mut dyn Write) -> Result<(), CommandError> {
        match self {
            Self::Out(format) => {
                let text = text(report, *format)?;
                out.write_all(text.as_bytes())?;
                out.flush()?;
                Ok(())
            }
            Self::File(path, format) => whole(path, &text(report, *format)?),
            Self::Folder(folder, format) => {
                let text = text(report, *format)?;
                fs::create_dir_all(folder).map_err(|error| failed(folder, "made", error))?;
                whole(&folder.join(format!("{owner}.{}", format.ending())), &text)
            }
        }
    }
}

/// The format that the ending of a file's name means.
fn by_ending(path: &Path) -> Option<AuditFormat> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "html" | "htm" => Some(AuditFormat::Html),
        "md" | "markdown" => Some(AuditFormat::Md),
        "json" => Some(AuditFormat::Json),
        "csv" => Some(AuditFormat::Csv),
        "txt" | "text" => Some(AuditFormat::Text),
        _ => None,
    }
}

fn text(report: &Report, format: AuditFormat) -> Result<String, CommandError> {
    match format {
        AuditFormat::Json => Ok(connect::pretty(report)? + "\n"),
        AuditFormat::Html | AuditFormat::Md | AuditFormat::Csv | AuditFormat::Text => {
            Ok(connect::pretty(report)? + "\n")
        }
    }
}

fn failed(path: &Path, doing: &str, error: std::io::Error) -> CommandError {
    let context =
        format!("{} cannot be {doing}; check the folder's owner, its mode and the free space", path.display());
    CommandError::new(Exit::Unexpected, anyhow::Error::new(error).context(context))
}

/// Writes a file that is there whole or not at all, and that its owner alone may read.
fn whole(path: &Path, text: &str) -> Result<(), CommandError> {
    let name = path
        .file_name()
        .ok_or_else(|| CommandError::new(Exit::Usage, anyhow::anyhow!("-o {}: it names no file", path.display())))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(hidden);
    let write = || -> std::io::Result<()> {
        let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| {
        // What was not renamed is of no use to anybody.
        let _ = fs::remove_file(&beside);
        failed(path, "written", error)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_there_whole_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("report.json");
        whole(&path, "one").expect("writes");
        whole(&path, "two").expect("writes again");
        assert_eq!(fs::read_to_string(&path).expect("reads"), "two");
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 1, "nothing else stays");
        assert!(whole(&folder.path().join("none/report.json"), "x").is_err());
    }

    #[test]
    fn the_ending_says_the_format() {
        for (name, format) in [("r.html", AuditFormat::Html), ("r.CSV", AuditFormat::Csv), ("r.txt", AuditFormat::Text)]
        {
            assert_eq!(by_ending(Path::new(name)), Some(format));
        }
        assert_eq!(by_ending(Path::new("report")), None);
    }
}
