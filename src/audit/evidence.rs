//! What a report is made of: every record as far as it could be read, and why where it could not.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use crate::control::Story;
use crate::model::{OwnerName, RebakeEntry, Region, SpotPrice, Survey, Trail};
use crate::plan::sweep::Finding;
use crate::policy::Intent;
use crate::policy::price::Prices;

/// Why a record could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Why, in words; a refusal names the action.
    pub why: String,
    /// What to do about it, where something can be done.
    pub cure: Option<String>,
}

impl Missing {
    /// A reason with what to do about it.
    pub fn new(why: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { why: why.into(), cure: Some(cure.into()) }
    }
}

/// The controller's ledger, whole for the period and for as long before it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// What its entries tell.
    pub story: &'a Story,
    /// Where they were read, in words.
    pub from: &'a str,
    /// The hash chain's value at the last of them, in hexadecimal digits, where it is known.
    pub chain: Option<&'a str>,
}

/// What was seen of the account in one region.
#[derive(Debug, Clone)]
pub struct Look {
    /// What Describe showed.
    pub survey: Result<Survey, Missing>,
    /// What CloudTrail told.
    pub trail: Result<Trail, Missing>,
    /// The history of spot prices.
    pub spot: Result<Vec<SpotPrice>, Missing>,
}

/// Everything that a report about one owner may depend on.
#[derive(Debug, Clone)]
pub struct Evidence<'a> {
    /// The time.
    pub now: DateTime<Utc>,
    /// The period's begin.
    pub since: DateTime<Utc>,
    /// The period's end, `now` at the latest.
    pub until: DateTime<Utc>,
    /// The fleet's name.
    pub fleet: &'a str,
    /// The controller whose ledger this is; absent where no configuration names it.
    pub controller: Option<&'a str>,
    /// Who pays: nothing of anybody else may be told.
    pub owner: &'a OwnerName,
    /// The account's number, where it is known.
    pub account: Option<&'a str>,
    /// Whether everything of the fleet in the account is told, whatever owner its tags name: who asks is who
    /// pays, and no configuration is there.
    pub whole_account: bool,
    /// Whether another owner of the configuration has the same account.
    pub shared_account: bool,
    /// Only these regions are told; all where there is none.
    pub only: BTreeSet<Region>,
    /// The ledger, or why there is none.
    pub ledger: Result<Record<'a>, Missing>,
    /// What was seen, by region; nothing where nobody could look.
    pub regions: BTreeMap<Region, Look>,
    /// The list prices to go by; the program's own where a file of newer ones cannot be used.
    pub prices: Result<Prices, Missing>,
    /// What the configuration says, where there is one.
    pub intent: Option<&'a Intent>,
    /// The journals of rebakes, of whatever owner.
    pub rebakes: Result<Vec<Vec<RebakeEntry>>, Missing>,
    /// What a sweep found in the account.
    pub findings: Vec<Finding>,
}

/// The shortest time before a period whose ended instances are known: EC2 shows them for hours, and what CloudTrail
/// tells of them is not new.
const KNOWN: TimeDelta = TimeDelta::days(7);

/// From when on a report of a period needs the ledger: it tells also what as long a time before cost.
pub fn reach(since: DateTime<Utc>, until: DateTime<Utc>) -> DateTime<Utc> {
    since - (until - since).max(KNOWN)
}

impl Evidence<'_> {
    /// The list prices to go by.
    pub fn list_prices(&self) -> Prices {
        self.prices.as_ref().cloned().unwrap_or_default()
    }
}
