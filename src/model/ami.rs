//! An AMI of the account, as the cloud shows it.

use std::fmt;

use chrono::{DateTime, Utc};

use super::{AmiId, SnapshotId, TagSet};

/// Whether an AMI can be launched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AmiState {
    /// Its snapshots are being copied.
    Pending,
    /// It can be launched from.
    Available,
    /// It never will be.
    Failed,
    /// It is gone, and shown for a short while yet.
    Deregistered,
    /// It is put away: not launched from until it is enabled again.
    Disabled,
    /// A state that EC2 did not have when this was written.
    Unknown(String),
}

/// One AMI that carries our fleet tag. What people call an image is a manifest in `amis/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ami {
    /// Its id.
    pub id: AmiId,
    /// Its name, unique in account and region.
    pub name: String,
    /// Its state.
    pub state: AmiState,
    /// EC2's word for the processor that it is made for; empty if EC2 does not say.
    pub architecture: String,
    /// The snapshots of its disks, which stay when it goes.
    pub snapshots: Vec<SnapshotId>,
    /// When it was made; the time of the look if that cannot be read, so that nothing is old by mistake.
    pub created: DateTime<Utc>,
    /// How large its disks are together, in GiB: what its snapshots hold at most. None if EC2 does not say it.
    pub size_gib: Option<u32>,
    /// From when it shall not be used any more, if its owner said so.
    pub deprecated: Option<DateTime<Utc>>,
    /// Its tags.
    pub tags: TagSet,
}

/// A pattern for the location of an AMI (EC2's `ImageLocation`: the owner and the name), matched from its
/// beginning.
#[derive(Clone)]
pub struct LocationPattern {
    text: String,
    regex: regex_lite::Regex,
}

impl LocationPattern {
    /// Reads a regular expression.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn new(text: &str) -> Result<Self, String> {
        // First as it stands: what is wrong with it shall be told of it, not of what we make of it.
        regex_lite::Regex::new(text).map_err(|error| error.to_string())?;
        let regex = regex_lite::Regex::new(&format!("^(?:{text})")).map_err(|error| error.to_string())?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How a location fits, if it does.
    pub fn fit<'a>(&self, location: &'a str) -> Option<Fit<'a>> {
        let found = self.regex.captures(location)?;
        Some(Fit { group: found.get(1).map(|group| group.as_str()) })
    }
}

/// How a location fits a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit<'a> {
    /// What the pattern's first group holds, if it has one that took part.
    pub group: Option<&'a str>,
}

impl fmt::Debug for LocationPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl PartialEq for LocationPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for LocationPattern {}

/// By what an AMI is chosen where the manifest names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmiFilter {
    /// Account numbers, `self`, `amazon`, `aws-marketplace` or `microsoft`; none for whatever can be seen.
    pub owners: Vec<String>,
    /// What its location must fit.
    pub location: Option<LocationPattern>,
}

impl fmt::Display for AmiFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.owners.is_empty() {
            write!(f, "ami_owners = {:?}", self.owners)?;
        }
        if let Some(location) = &self.location {
            let comma = if self.owners.is_empty() { "" } else { ", " };
            write!(f, "{comma}ami_location = {location:?}")?;
        }
        Ok(())
    }
}

/// One listing of AMIs: what EC2 is asked for, and what several filters may share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AmiQuery {
    /// As in [`AmiFilter`].
    pub owners: Vec<String>,
    /// EC2's word for the processor, such as `x86_64` or `arm64_mac`.
    pub architecture: String,
}

/// An AMI of such a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmiCandidate {
    /// Its id.
    pub id: AmiId,
    /// Its location: the owner and the name.
    pub location: String,
    /// Its state.
    pub state: AmiState,
    /// EC2's word for the processor that it is made for.
    pub architecture: String,
    /// When it was made, if that can be read.
    pub created: Option<DateTime<Utc>>,
    /// From when it shall not be used any more, if its owner said so.
    pub deprecated: Option<DateTime<Utc>>,
}
