//! Which AMI a manifest means: one by its id, or the one that a filter chooses.

use std::fmt;

use super::reader::{Located, Reader};
use crate::model::{AmiFilter, AmiId, LocationPattern};

/// Owners of AMIs that EC2 knows by a word.
const OWNER_WORDS: [&str; 4] = ["self", "amazon", "aws-marketplace", "microsoft"];

/// The AMI of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AmiChoice {
    /// This one.
    Named(AmiId),
    /// The one that is chosen when a launch is wanted.
    Filter(AmiFilter),
}

impl AmiChoice {
    /// The AMI, if the manifest names one.
    pub fn named(&self) -> Option<&AmiId> {
        match self {
            AmiChoice::Named(id) => Some(id),
            AmiChoice::Filter(_) => None,
        }
    }

    /// The filter, if the manifest names no AMI.
    pub fn filter(&self) -> Option<&AmiFilter> {
        match self {
            AmiChoice::Named(_) => None,
            AmiChoice::Filter(filter) => Some(filter),
        }
    }
}

impl fmt::Display for AmiChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AmiChoice::Named(id) => id.fmt(f),
            AmiChoice::Filter(filter) => filter.fmt(f),
        }
    }
}

/// Reads `ami`, or `ami_owners` and `ami_location`; exactly one of the two ways.
pub(super) fn read(reader: &mut Reader<'_, '_>) -> Option<AmiChoice> {
    let named = reader.has("ami");
    let id: Option<Located<AmiId>> = reader.parsed("ami");
    let filtered = ["ami_owners", "ami_location"].map(|key| reader.has(key)).contains(&true);
    let owners = owners(reader);
    let location = location(reader);
    let at = reader.table_origin();
    match (named, filtered) {
        (true, true) => {
            let message = "is given beside ami_owners or ami_location";
            let cure = "keep one of the two: the AMI's id, or what it is chosen by";
            reader.report(id.map_or(at, |id| id.at), "ami", None, message, cure);
            None
        }
        (false, false) => {
            let cure = "add it: the AMI's id; or say with ami_owners and ami_location what it is chosen by";
            reader.report(at, "ami", None, "is missing", cure);
            None
        }
        (true, false) => id.map(|id| AmiChoice::Named(id.value)),
        (false, true) => Some(AmiChoice::Filter(AmiFilter { owners: owners?, location: location.ok()? })),
    }
}

/// The owners; none where a mistake was reported.
fn owners(reader: &mut Reader<'_, '_>) -> Option<Vec<String>> {
    if !reader.has("ami_owners") {
        return Some(Vec::new());
    }
    let mut all = Vec::new();
    let (mut right, texts) = (true, reader.texts("ami_owners")?);
    for text in texts {
        let account = text.value.len() == 12 && text.value.bytes().all(|b| b.is_ascii_digit());
        if account || OWNER_WORDS.contains(&text.value.as_str()) {
            if !all.contains(&text.value) {
                all.push(text.value);
            }
            continue;
        }
        right = false;
        let digits = !text.value.is_empty() && text.value.bytes().all(|b| b.is_ascii_digit());
        let cure = if digits && text.value.len() < 12 {
            format!("write all 12 digits of the account number, leading zeros included: \"{:0>12}\"", text.value)
        } else {
            format!("write a quoted account number of 12 digits, or one of: {}", OWNER_WORDS.join(", "))
        };
        reader.report(text.at, "ami_owners", Some(format!("{:?}", text.value)), "is not an owner of AMIs", cure);
    }
    all.sort();
    (right && !all.is_empty()).then_some(all)
}

/// A mistake, which is reported already.
struct Reported;

/// The pattern, if there is one.
fn location(reader: &mut Reader<'_, '_>) -> Result<Option<LocationPattern>, Reported> {
    if !reader.has("ami_location") {
        return Ok(None);
    }
    let text = reader.text("ami_location").ok_or(Reported)?;
    LocationPattern::new(&text.value).map(Some).map_err(|why| {
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        let message = format!("is not a regular expression: {why}");
        let cure = "correct it; there is no look-around and there are no back-references";
        reader.report(text.at, "ami_location", Some(format!("{:?}", text.value)), message, cure);
        Reported
    })
}

/// Reports what another key says that this one excludes.
pub(super) fn excludes(reader: &mut Reader<'_, '_>, key: &'static str, other: &'static str, cure: &str) {
    if reader.has(key) && reader.has(other) {
        let at = reader.origin_of(key);
        reader.report(at, key, None, format!("is given beside {other}"), cure);
    }
}
