//! One line of the check-up, and how the worst of them is found.

use std::fmt;

use serde::Serialize;

use crate::model::{Cell, FailureKind, ImageName, OwnerName, Region, Seen, Unseen, WorkerName};

/// What a check comes to. The order is that of concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and should be better.
    Warning,
    /// It could not be seen; it may be anything.
    Unknown,
    /// A worker will fail on it, or is a danger.
    Problem,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Unknown => "unknown",
            Verdict::Problem => "problem",
        })
    }
}

/// What a row is about: the fleet, a cell, or an image and the workers that live on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Subject {
    /// Whose it is; nobody's is the fleet's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerName>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// The manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageName>,
    /// The workers on that image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<WorkerName>,
}

impl Subject {
    /// An owner of whom nothing more is known.
    pub fn owner(owner: &OwnerName) -> Self {
        Self { owner: Some(owner.clone()), ..Self::default() }
    }

    /// An owner's account in a region.
    pub fn cell(cell: &Cell) -> Self {
        Self { region: Some(cell.region.clone()), ..Self::owner(&cell.owner) }
    }

    /// An image there.
    pub fn image(cell: &Cell, image: &ImageName, workers: &[WorkerName]) -> Self {
        Self { image: Some(image.clone()), workers: workers.to_vec(), ..Self::cell(cell) }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// What was checked.
    pub check: String,
    /// What it comes to.
    pub verdict: Verdict,
    /// What was seen. Texts of others may be in it.
    pub seen: String,
    /// What to do about it; always there unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// The verdict of most concern; all is well when there is none.
pub fn worst(rows: &[Row]) -> Verdict {
    rows.iter().map(|row| row.verdict).max().unwrap_or(Verdict::Ok)
}

/// The rows of one subject, as they are written.
#[derive(Debug)]
pub(super) struct Sheet {
    subject: Subject,
    pub(super) rows: Vec<Row>,
}

impl Sheet {
    pub(super) fn new(subject: Subject) -> Self {
        Self { subject, rows: Vec::new() }
    }

    fn add(&mut self, check: impl Into<String>, verdict: Verdict, seen: impl Into<String>, cure: Option<String>) {
        let subject = self.subject.clone();
        self.rows.push(Row { subject, check: check.into(), verdict, seen: seen.into(), cure });
    }

    pub(super) fn ok(&mut self, check: impl Into<String>, seen: impl Into<String>) {
        self.add(check, Verdict::Ok, seen, None);
    }

    pub(super) fn warning(&mut self, check: impl Into<String>, seen: impl Into<String>, cure: impl Into<String>) {
        self.add(check, Verdict::Warning, seen, Some(cure.into()));
    }

    pub(super) fn problem(&mut self, check: impl Into<String>, seen: impl Into<String>, cure: impl Into<String>) {
        self.add(check, Verdict::Problem, seen, Some(cure.into()));
    }

    pub(super) fn unknown(&mut self, check: impl Into<String>, seen: impl Into<String>, cure: impl Into<String>) {
        self.add(check, Verdict::Unknown, seen, Some(cure.into()));
    }

    /// Something could not be seen; `action` is what would have shown it.
    pub(super) fn unseen(&mut self, check: impl Into<String>, action: &str, why: &Unseen) {
        self.unknown(check, format!("{action}: {why}"), self.cure_of(action, why));
    }

    /// What to do so that an action shows something.
    pub(super) fn cure_of(&self, action: &str, why: &Unseen) -> String {
        if why.is_denied() {
            return self.iam(&format!("allow {action}"));
        }
        if why.is_ignored() || why.is_skipped() {
            return "ask EC2 itself, or an emulator that knows dry runs; see the rows above".to_owned();
        }
        match why.kind {
            FailureKind::Throttled | FailureKind::RetrySame => "ask again in a minute".to_owned(),
            FailureKind::Unreachable => "check the network from this machine to AWS, then ask again".to_owned(),
            kind => kind.cure().to_owned(),
        }
    }

    /// What to do about a permission, and where the right ones come from.
    pub(super) fn iam(&self, what: &str) -> String {
        let owner = self.subject.owner.as_ref().map_or("NAME", OwnerName::as_str);
        format!("{what}: `latent iam --owner {owner}` prints the policy")
    }

    /// What was seen, or a row that says why it was not.
    pub(super) fn look<'a, T>(&mut self, check: &str, action: &str, seen: &'a Seen<T>) -> Option<&'a T> {
        match seen {
            Ok(seen) => Some(seen),
            Err(why) => {
                self.unseen(check, action, why);
                None
            }
        }
    }
}
