//! Where a report goes: standard output, one file, or a file for each owner in a folder.

use std::fs;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use super::AuditOptions;
use crate::audit::render::{Format, render, render_text};
use crate::audit::report::Report;
use crate::cli::exit::CommandError;
use crate::cli::output::line_width;
use crate::cli::whole;

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
            Self::File(path, format) => write(path, &render(report, *format)),
            Self::Folder(folder, format) => {
                fs::create_dir_all(folder).map_err(|error| whole::failed(folder, "made", error))?;
                write(&folder.join(format!("{owner}.{}", ending(*format))), &render(report, *format))
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
