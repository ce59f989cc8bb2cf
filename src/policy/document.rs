//! A parsed TOML file that remembers where everything stands.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use super::problem::{Origin, Problem, Problems};

/// A parsed TOML file.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) root: Spanned<DeTable<'a>>,
    line_starts: Vec<usize>,
    /// Whether a master declared it: then nobody knows its lines, and an unknown key may hold a secret.
    pub(super) declared: bool,
}

impl<'a> Document<'a> {
    /// Parses a file; what cannot be read goes to `problems`, the rest is kept.
    pub(super) fn parse(file: &'a str, text: &'a str, problems: &mut Problems) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let line_starts = line_starts(text);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let twice = error.message().contains("duplicate key");
            let cure = if twice {
                "a name may stand once: rename one, or merge the two"
            } else {
                "see https://toml.io for the form of a TOML file"
            };
            problems.push(Problem {
                at: place(file, text, &line_starts, &span),
                key: "syntax".to_owned(),
                value: twice.then(|| text.get(span).unwrap_or_default().to_owned()),
                message: error.message().replace('\n', " "),
                cure: cure.to_owned(),
            });
        }
        Self { file, text, root, line_starts, declared: false }
    }

    /// Parses what a master declared; `place` names the master and the worker.
    pub(super) fn declared(place: &'a str, text: &'a str, problems: &mut Problems) -> Self {
        Self { declared: true, ..Self::parse(place, text, problems) }
    }

    pub(super) fn origin(&self, span: &Range<usize>) -> Origin {
        if self.declared {
            return Origin { file: self.file.to_owned(), line: 0, column: 0 };
        }
        place(self.file, self.text, &self.line_starts, span)
    }

    /// The source text of a value, on one line and not too long.
    pub(super) fn excerpt(&self, span: &Range<usize>) -> String {
        let raw = self.text.get(span.clone()).unwrap_or_default();
        let line: String = raw.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if line.chars().count() > 60 { line.chars().take(57).chain("...".chars()).collect() } else { line }
    }
}

/// Where each line begins. Every value that is read has a place, so lines are counted once.
fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

fn place(file: &str, text: &str, line_starts: &[usize], span: &Range<usize>) -> Origin {
    let at = span.start.min(text.len());
    let line = line_starts.partition_point(|start| *start <= at);
    let start = line_starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
    Origin { file: file.to_owned(), line, column: text.get(start..at).unwrap_or_default().chars().count() + 1 }
}
