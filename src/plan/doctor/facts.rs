//! What was gathered for a check-up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{
    AmiCandidate, AmiFacts, AmiId, AmiQuery, Cell, Found, Greeting, GroupFacts, ImdsDefaults, OtherInstance,
    ResourceId, ResourceKind, Seen, SubnetFacts, Trial, Tried, TypeFacts, Unseen,
};
use crate::plan::choose_ami;
use crate::policy::{Image, Intent};

/// What is seen from the machine that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetFacts {
    /// Whether the master accepts a connection; none if nobody tried.
    pub master: Option<Seen<()>>,
    /// The master's addresses, as far as its name leads to some.
    pub addresses: Vec<IpAddr>,
    /// The warnings of the controller, if one answers.
    pub controller: Seen<Vec<String>>,
}

/// AMIs to choose from, and when they were listed.
pub type AmiListing = (DateTime<Utc>, Vec<AmiCandidate>);

/// What is seen of an account in a region.
#[derive(Debug, Clone, PartialEq)]
pub struct CellFacts {
    /// Who we are there.
    pub greeting: Greeting,
    /// How far the account's clock is ahead of ours.
    pub skew: Option<TimeDelta>,
    /// Whether dry runs are answered as such.
    pub dry_runs: Seen<bool>,
    /// The AMIs that were asked for.
    pub amis: BTreeMap<AmiId, Seen<AmiFacts>>,
    /// The listings that AMIs are chosen from, and when they were made.
    pub choices: BTreeMap<AmiQuery, Seen<AmiListing>>,
    /// Instance types, of manifests and of instances.
    pub types: Found<String, TypeFacts>,
    /// All security groups.
    pub groups: Found<String, GroupFacts>,
    /// All subnets.
    pub subnets: Found<String, SubnetFacts>,
    /// All key pairs.
    pub key_pairs: Seen<BTreeSet<String>>,
    /// All instances.
    pub instances: Seen<Vec<OtherInstance>>,
    /// One thing of the fleet of each kind that a sweep takes away, if there is any.
    pub ours: BTreeMap<ResourceKind, Seen<Option<ResourceId>>>,
    /// The account's defaults for the metadata service.
    pub imds: Seen<ImdsDefaults>,
    /// Quotas by their codes.
    pub quotas: BTreeMap<&'static str, Seen<f64>>,
    /// What was tried.
    pub tried: Vec<(Trial, Tried)>,
}

impl CellFacts {
    /// Only the greeting: nothing more was asked for.
    pub fn only(greeting: Greeting, skew: Option<TimeDelta>) -> Self {
        fn not_asked<T>() -> Seen<T> {
            Err(Unseen::skipped("the account was not looked at"))
        }
        Self {
            greeting,
            skew,
            dry_runs: not_asked(),
            amis: BTreeMap::new(),
            choices: BTreeMap::new(),
            types: not_asked(),
            groups: not_asked(),
            subnets: not_asked(),
            key_pairs: not_asked(),
            instances: not_asked(),
            ours: BTreeMap::new(),
            imds: not_asked(),
            quotas: BTreeMap::new(),
            tried: Vec::new(),
        }
    }

    /// Whether the account is the owner's, so that there is something to look at.
    ///
    /// # Errors
    /// Why there is not.
    pub fn open(&self, intent: &Intent, cell: &Cell) -> Result<(), String> {
        let identity = self.greeting.identity.as_ref().map_err(ToString::to_string)?;
        match intent.owners.get(&cell.owner) {
            Some(owner) if owner.account.as_ref().is_none_or(|account| *account == identity.account) => Ok(()),
            _ => Err(format!("account {} is another one's", identity.account)),
        }
    }

    /// The AMI of an image: the one it names, or the one that its filter chooses.
    pub fn ami_of(&self, image: &Image) -> Option<AmiId> {
        let chosen = || {
            let (at, candidates) = self.choices.get(&image.ami_query()?)?.as_ref().ok()?;
            choose_ami(*at, image.ami.filter()?, candidates)
        };
        image.ami.named().cloned().or_else(chosen)
    }

    /// What came of a trial that fits.
    pub(super) fn of_trial(&self, fits: impl Fn(&Trial) -> bool) -> Option<&Tried> {
        self.tried.iter().find(|(trial, _)| fits(trial)).map(|(_, tried)| tried)
    }
}
