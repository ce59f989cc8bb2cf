//! Where a report goes: standard output, one file, or a file for each owner in a folder.

use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::AuditOptions;
use crate::audit::render::{Format, render, render_text};
use crate::audit::report::Report;
use crate::cli::exit::{CommandError, Exit};
use crate::cli::output::line_width;

/// Where reports go.
#[derive(Debug)]
pub(super) enum Place {
    /// To standard output.
    Out(Format),
    /// To one file.
    File(PathBuf, Format),
    /// To a file for each owner.
    Folder(PathBuf, Format),
}

impl Place {
    /// Where the options say; `None` if several owners would share one place.
    pub(super) fn of(options: &AuditOptions, owners: usize) -> Option<Self> {
        let Some(path) = &options.output else {
            let usual = if std::io::stdout().is_terminal() { Format::Text } else { Format::Md };
            return (owners == 1).then_some(Self::Out(options.format.unwrap_or(usual)));
        };
        let slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        if slash || path.is_dir() {
            return Some(Self::Folder(path.clone(), options.format.unwrap_or(Format::Html)));
        }
        let format = options.format.or_else(|| by_ending(path)).unwrap_or(Format::Html);
        (owners == 1).then(|| Self::File(path.clone(), format))
    }

    /// Writes one owner's report there.
    pub(super) fn write(&self, report: &Report, owner: &str, out: &mut dyn Write) -> Result<(), CommandError> {
        match self {
            Self::Out(format) => {
                // A terminal has the width that it has; a file has 80 columns.
                let text = match format {
                    Format::Text => render_text(report, u16::try_from(line_width()).unwrap_or(u16::MAX)),
                    Format::Html | Format::Md | Format::Json | Format::Csv => render(report, *format),
                };
                out.write_all(text.as_bytes())?;
                out.flush()?;
                Ok(())
            }
            Self::File(path, format) => whole(path, &render(report, *format)),
            Self::Folder(folder, format) => {
                fs::create_dir_all(folder).map_err(|error| failed(folder, "made", error))?;
                whole(&folder.join(format!("{owner}.{}", ending(*format))), &render(report, *format))
            }
        }
    }
}

/// The format that the ending of a file's name means.
fn by_ending(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "html" | "htm" => Some(Format::Html),
        "md" | "markdown" => Some(Format::Md),
        "json" => Some(Format::Json),
        "csv" => Some(Format::Csv),
        "txt" | "text" => Some(Format::Text),
        _ => None,
    }
}

/// The ending of a format's files.
fn ending(format: Format) -> &'static str {
    match format {
        Format::Html => "html",
        Format::Md => "md",
        Format::Json => "json",
        Format::Csv => "csv",
        Format::Text => "txt",
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
        for (name, format) in [("r.html", Format::Html), ("r.CSV", Format::Csv), ("r.txt", Format::Text)] {
            assert_eq!(by_ending(Path::new(name)), Some(format));
        }
        assert_eq!(by_ending(Path::new("report")), None);
    }
}
