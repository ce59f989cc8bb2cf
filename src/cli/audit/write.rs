//! Where a report goes: standard output, one file, or a file for each owner in a folder.

use std::fs;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;

use super::AuditOptions;
use crate::audit::render::{Format, render, render_text};
use crate::audit::report::Report;
use crate::cli::exit::{CommandError, Exit};
use crate::cli::output::line_width;
use crate::cli::whole;
use crate::model::OwnerName;

/// Where reports go.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// To standard output.
    Out(Format),
    /// To files.
    Files(Files, Format),
}

/// Which files.
#[derive(Debug, Clone)]
pub(super) enum Files {
    One(PathBuf),
    /// One for each owner, in this folder.
    Folder(PathBuf),
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
            return Some(Self::Files(Files::Folder(path.clone()), options.format.unwrap_or(Format::Html)));
        }
        let format = options.format.or_else(|| by_ending(path)).unwrap_or(Format::Html);
        (owners == 1).then(|| Self::Files(Files::One(path.clone()), format))
    }
}

impl Files {
    /// Writes one owner's report.
    fn write(&self, report: &Report, owner: &OwnerName, format: Format) -> Result<(), CommandError> {
        match self {
            Self::One(path) => write(path, &render(report, format)),
            Self::Folder(folder) => {
                fs::create_dir_all(folder).map_err(|error| whole::failed(folder, "made", error))?;
                write(&folder.join(format!("{owner}.{}", ending(format))), &render(report, format))
            }
        }
    }
}

/// Reports on their way: to a file one is written while the next one is made.
pub(super) struct Outgoing<'a> {
    place: Place,
    out: &'a mut dyn Write,
    under_way: Option<JoinHandle<Result<(), CommandError>>>,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(place: Place, out: &'a mut dyn Write) -> Self {
        Self { place, out, under_way: None }
    }

    /// Takes one owner's report; returns when the one before it is written.
    pub(super) async fn take(&mut self, report: Report, owner: &OwnerName) -> Result<(), CommandError> {
        self.end().await?;
        match &self.place {
            Place::Out(format) => print(&report, *format, self.out),
            Place::Files(files, format) => {
                let (files, format, owner) = (files.clone(), *format, owner.clone());
                self.under_way = Some(tokio::task::spawn_blocking(move || files.write(&report, &owner, format)));
                Ok(())
            }
        }
    }

    /// Returns when all is written.
    pub(super) async fn end(&mut self) -> Result<(), CommandError> {
        match self.under_way.take() {
            Some(writing) => writing.await.map_err(|error| CommandError::new(Exit::Unexpected, error))?,
            None => Ok(()),
        }
    }
}

fn print(report: &Report, format: Format, out: &mut dyn Write) -> Result<(), CommandError> {
    // A terminal has the width that it has; a file has 80 columns.
    let text = match format {
        Format::Text => render_text(report, u16::try_from(line_width()).unwrap_or(u16::MAX)),
        Format::Html | Format::Md | Format::Json | Format::Csv => render(report, format),
    };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
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

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    whole::write(path, |to| Ok(to.write_all(text.as_bytes())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_the_format() {
        for (name, format) in [("r.html", Format::Html), ("r.CSV", Format::Csv), ("r.txt", Format::Text)] {
            assert_eq!(by_ending(Path::new(name)), Some(format));
        }
        assert_eq!(by_ending(Path::new("report")), None);
    }
}
