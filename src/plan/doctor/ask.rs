//! What is asked of a cell, and what is tried there.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::facts::CellFacts;
use super::quota::Group;
use crate::model::{
    AmiId, AmiQuery, AttemptId, Cell, ImageName, LaunchSpec, Market, Offering, OtherInstance, OwnerName, Place,
    ResourceKind, Trial, WorkerName, tag_keys,
};
use crate::plan::{Chosen, launch_spec};
use crate::policy::{Image, Intent};

/// Of which owners and workers a check-up is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this owner.
    pub owner: Option<OwnerName>,
    /// Only this worker, with its owner.
    pub worker: Option<WorkerName>,
}

impl Scope {
    /// Whether a worker is looked at.
    fn has(&self, cell: &Cell, worker: &WorkerName) -> bool {
        self.owner.as_ref().is_none_or(|owner| *owner == cell.owner)
            && self.worker.as_ref().is_none_or(|only| only == worker)
    }

    /// The cells that are looked at.
    pub fn cells(&self, intent: &Intent) -> BTreeSet<Cell> {
        let workers = intent.workers.iter().filter(|(name, worker)| self.has(&worker.cell, name));
        workers.map(|(_, worker)| worker.cell.clone()).collect()
    }

    /// The owners that are looked at, whether they have workers or not.
    pub(super) fn owners<'a>(&'a self, intent: &'a Intent) -> impl Iterator<Item = &'a OwnerName> {
        let wanted =
            move |owner: &&OwnerName| self.worker.is_none() && self.owner.as_ref().is_none_or(|only| only == *owner);
        intent.owners.keys().filter(wanted)
    }
}

/// A lease that ends nobody's work.
const HARMLESS_LEASE: TimeDelta = TimeDelta::hours(1);

/// What is asked of a cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// The manifests, each with the workers on it.
    pub images: BTreeMap<ImageName, Vec<WorkerName>>,
    /// The AMIs that they name.
    pub amis: BTreeSet<AmiId>,
    /// The listings that the others are chosen from.
    pub choices: BTreeSet<AmiQuery>,
    /// Their instance types, and those that the role is tried with.
    pub types: BTreeSet<String>,
    /// The codes of the quotas that they count against.
    pub quotas: BTreeSet<&'static str>,
}

/// Types that are larger than a volunteer's worker needs, by architecture: nobody may launch one that no
/// manifest names.
const FOREIGN_TYPES: [(&str, &str); 8] = [
    ("x86_64", "c5.24xlarge"),
    ("x86_64", "m5.24xlarge"),
    ("x86_64", "c6i.4xlarge"),
    ("x86_64", "c5.4xlarge"),
    ("arm64", "c7g.16xlarge"),
    ("arm64", "m6g.16xlarge"),
    ("arm64", "c7g.4xlarge"),
    ("arm64", "c8g.4xlarge"),
];

/// What a sweep looks for, with the listing that shows it. Who retires AMIs and their snapshots has a role of its own.
pub const SWEPT: [(ResourceKind, &str); 5] = [
    (ResourceKind::Volume, "ec2:DescribeVolumes"),
    (ResourceKind::Snapshot, "ec2:DescribeSnapshots"),
    (ResourceKind::Interface, "ec2:DescribeNetworkInterfaces"),
    (ResourceKind::Address, "ec2:DescribeAddresses"),
    (ResourceKind::SpotRequest, "ec2:DescribeSpotInstanceRequests"),
];

/// What is asked of a cell.
pub fn questions(intent: &Intent, scope: &Scope, cell: &Cell) -> Questions {
    let mut asked = Questions::default();
    for (name, worker) in intent.workers.iter().filter(|(name, worker)| worker.cell == *cell && scope.has(cell, name)) {
        asked.images.entry(worker.image.clone()).or_default().push(name.clone());
    }
    for image in asked.images.keys().filter_map(|name| intent.images.get(name)) {
        asked.amis.extend(image.ami.named().cloned());
        asked.choices.extend(image.ami_query());
        for offering in &image.offerings {
            asked.types.insert(offering.instance_type.clone());
            asked.quotas.extend(Group::of(&offering.instance_type).map(|group| group.code(offering.market)));
        }
    }
    asked.types.extend(FOREIGN_TYPES.iter().map(|(_, name)| (*name).to_owned()));
    asked
}

/// Offerings such that each type, each place and each market is in one of them.
pub(super) fn telling(offerings: &[Offering]) -> Vec<&Offering> {
    let mut seen: (BTreeSet<&str>, BTreeSet<&Place>, BTreeSet<Market>) = Default::default();
    let mut chosen = Vec::new();
    for offering in offerings {
        let news =
            [seen.0.insert(&offering.instance_type), seen.1.insert(&offering.place), seen.2.insert(offering.market)];
        if news.contains(&true) {
            chosen.push(offering);
        }
    }
    chosen
}

/// What is tried as a dry run, given what was seen. What there is nothing to try it on is left out.
pub fn trials(now: DateTime<Utc>, intent: &Intent, asked: &Questions, facts: &CellFacts) -> Vec<Trial> {
    let mut trials = Vec::new();
    // The first is harmless even to an endpoint that takes dry runs for earnest: nothing follows it there.
    trials.extend(own(intent, facts).map(|own| Trial::Renew(own.id.clone(), lease(now, own))));
    let mut first: Option<(LaunchSpec, &Image)> = None;
    for (name, workers) in &asked.images {
        let (Some(image), Some(worker)) = (intent.images.get(name), workers.first()) else { continue };
        for offering in telling(&image.offerings) {
            if let Some(spec) = spec(now, intent, worker, image, offering, facts) {
                first.get_or_insert_with(|| (spec.clone(), image));
                trials.push(Trial::Launch(Box::new(spec)));
            }
        }
    }
    trials.extend(on_instances(intent, asked, facts));
    let ours = facts.ours.iter().filter(|(kind, _)| **kind != ResourceKind::Snapshot);
    trials.extend(ours.filter_map(|(_, seen)| Some(Trial::Remove(seen.as_ref().ok()?.clone()?))));
    if let Some((spec, image)) = first {
        trials.push(Trial::LaunchUntagged(Box::new(spec.clone())));
        trials.push(Trial::LaunchOldMetadata(Box::new(spec.clone())));
        if let Some(foreign) = foreign_type(intent, asked, image, facts) {
            let offering = Offering { instance_type: foreign.to_owned(), ..spec.offering.clone() };
            trials.push(Trial::LaunchForeignType(Box::new(LaunchSpec { offering, ..spec.clone() })));
        }
        if let Some(ami) = facts.ami_of(image).filter(|ami| facts.amis.get(ami).is_some_and(Result::is_ok)) {
            trials.push(Trial::Deregister(ami));
        }
        if let Some(group) = group(image, facts) {
            trials.extend([Trial::OpenGroup(group.to_owned()), Trial::Claim(group.to_owned())]);
        }
    }
    trials.extend([Trial::CreateGroup, Trial::CreateKeyPair]);
    trials
}

/// A security group that is there: the image's own, or any.
fn group<'a>(image: &Image, facts: &'a CellFacts) -> Option<&'a str> {
    let known = facts.groups.as_ref().ok()?;
    let own = image.security_groups.iter().find_map(|id| known.get_key_value(id));
    let named = || known.iter().find(|(_, group)| image.security_group_names.contains(&group.name));
    own.or_else(named).or_else(|| known.iter().next()).map(|(id, _)| id.as_str())
}

fn spec(
    now: DateTime<Utc>,
    intent: &Intent,
    worker: &WorkerName,
    image: &Image,
    offering: &Offering,
    facts: &CellFacts,
) -> Option<LaunchSpec> {
    let configured = intent.workers.get(worker)?;
    let ami = facts.ami_of(image)?;
    let attempt: AttemptId = "0-0".parse().ok()?;
    Some(launch_spec(now, intent, worker, configured, Chosen { image, ami: &ami, offering, canary: None }, &attempt))
}

/// The instances that are there and not about to go.
fn there(facts: &CellFacts) -> impl Iterator<Item = &OtherInstance> {
    facts.instances.iter().flatten().filter(|instance| !instance.state.is_ending())
}

fn is_ours(intent: &Intent, instance: &OtherInstance) -> bool {
    instance.tags.get(tag_keys::FLEET) == Some(&intent.fleet.name)
}

/// An instance of the fleet.
fn own<'a>(intent: &Intent, facts: &'a CellFacts) -> Option<&'a OtherInstance> {
    there(facts).find(|instance| is_ours(intent, instance))
}

/// The lease that an instance has; where it has none, one that nobody minds.
fn lease(now: DateTime<Utc>, own: &OtherInstance) -> String {
    let mut tags = own.tags.clone();
    if tags.get(tag_keys::LEASE).is_none() {
        tags.set_time(tag_keys::LEASE, now + HARMLESS_LEASE);
    }
    tags.get(tag_keys::LEASE).unwrap_or_default().to_owned()
}

/// What is tried on instances that are there: the fleet's, which we may change, and others, which we may not.
fn on_instances(intent: &Intent, asked: &Questions, facts: &CellFacts) -> Vec<Trial> {
    let mut trials = Vec::new();
    if let Some(own) = own(intent, facts) {
        let id = || own.id.clone();
        trials.extend([Trial::Terminate(id()), Trial::Console(id())]);
        if stops(intent, asked) {
            trials.extend([Trial::Stop(id()), Trial::Start(id())]);
        }
        trials.extend([Trial::Disown(id()), Trial::ReadUserData(id()), Trial::Modify(id())]);
    }
    if let Some(other) = there(facts).find(|instance| !is_ours(intent, instance)) {
        trials.extend([Trial::TerminateForeign(other.id.clone()), Trial::Claim(other.id.to_string())]);
    }
    trials
}

/// Whether any of the workers is stopped and started.
pub(super) fn stops(intent: &Intent, asked: &Questions) -> bool {
    let workers = asked.images.values().flatten().filter_map(|name| intent.workers.get(name));
    workers.into_iter().any(|worker| worker.policy.on_idle.keeps_instance())
}

/// A type of the image's architecture that the region has and no manifest of the cell names.
fn foreign_type(intent: &Intent, asked: &Questions, image: &Image, facts: &CellFacts) -> Option<&'static str> {
    let named: BTreeSet<&str> = asked
        .images
        .keys()
        .filter_map(|name| intent.images.get(name))
        .flat_map(|image| image.offerings.iter().map(|offering| offering.instance_type.as_str()))
        .collect();
    let known = facts.types.as_ref().ok()?;
    let fits = |(architecture, name): &&(&str, &str)| {
        *architecture == image.architecture.as_str() && known.contains_key(*name) && !named.contains(name)
    };
    FOREIGN_TYPES.iter().find(fits).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_place_and_market_is_tried_in_as_few_launches_as_possible() {
        let place = |id: &str| Place::Subnet(id.to_owned());
        let mut all = Vec::new();
        for market in [Market::Spot, Market::OnDemand] {
            for kind in ["a.large", "b.large", "c.large"] {
                for id in ["subnet-1", "subnet-2"] {
                    all.push(Offering { instance_type: kind.to_owned(), place: place(id), market });
                }
            }
        }
        let chosen: Vec<String> = telling(&all).iter().map(ToString::to_string).collect();
        assert_eq!(
            chosen,
            [
                "spot a.large in subnet-1",
                "spot a.large in subnet-2",
                "spot b.large in subnet-1",
                "spot c.large in subnet-1",
                "on-demand a.large in subnet-1"
            ]
        );
    }
}
