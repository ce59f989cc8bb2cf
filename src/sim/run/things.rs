//! What lies about in the accounts beside our instances: at the beginning, and at the end.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::scene::{CONTROLLER, FLEET};
use super::truth::{STRANGE, Truth};
use crate::model::tag_keys;
use crate::sim::{Interface, Line, RunInstances, Site, SiteId, TagTarget, Tags, Volume, World};

/// The tags of something of this fleet and controller.
fn tagged(fleet: Option<&str>, controller: &str) -> Tags {
    let own = |fleet: &str| {
        [(tag_keys::FLEET, fleet), (tag_keys::CONTROLLER, controller), (tag_keys::WORKER, "theirs")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    fleet.into_iter().flat_map(own).collect()
}

/// Whose things there are: another fleet's, another controller's, and nobody's.
fn strange_tags() -> [Tags; 3] {
    [tagged(None, ""), tagged(Some("another"), CONTROLLER), tagged(Some(FLEET), "another")]
}

/// Instances that were there before us.
fn plant_instances(site: &mut Site, now: DateTime<Utc>) {
    for mut tags in strange_tags() {
        tags.insert(STRANGE.to_owned(), "yes".to_owned());
        let stranger = RunInstances {
            image: "ami-0123".to_owned(),
            instance_type: "m7i.large".to_owned(),
            min: 1,
            max: 1,
            tags: [(TagTarget::Instance, tags)].into(),
            ..RunInstances::default()
        };
        // Where there is no room there is no stranger.
        drop(site.run_instances(&stranger, None, now));
    }
}

/// A volume that is attached to nothing.
fn plant_volume(site: &mut Site, tags: Tags, now: DateTime<Utc>) -> Option<String> {
    let volume = Volume::lone(site.network.zones.first()?, 8, tags, now);
    site.create_volume(volume).ok().map(|volume| volume.id.clone())
}

/// A network interface that is attached to nothing.
fn plant_interface(site: &mut Site, tags: Tags) -> Option<String> {
    let subnet = site.network.subnets.values().next()?;
    let interface = Interface {
        id: String::new(),
        subnet: subnet.id.clone(),
        zone: subnet.zone.clone(),
        private_ip: format!("{}.250", subnet.prefix),
        groups: Vec::new(),
        instance: None,
        delete_on_termination: false,
        tags,
    };
    let id = site.new_id("eni");
    site.interfaces.insert(id.clone(), Interface { id: id.clone(), ..interface });
    Some(id)
}

/// Strangers' instances, volumes and interfaces, and what an earlier life of ours left over. Gives the ids
/// of the strangers' things.
pub(super) fn plant(world: &mut World, sites: impl Iterator<Item = SiteId>, now: DateTime<Utc>) -> BTreeSet<String> {
    let mut strange = BTreeSet::new();
    for site in sites {
        world.touch(&site, now, |site| {
            plant_instances(site, now);
            for tags in strange_tags() {
                strange.extend(plant_volume(site, tags.clone(), now));
                strange.extend(plant_interface(site, tags));
            }
            let ours = tagged(Some(FLEET), CONTROLLER);
            let _ = plant_volume(site, ours.clone(), now);
            let _ = plant_interface(site, ours);
        });
    }
    strange
}

/// What is left over of ours in an account.
fn left_over<'a>(site: &'a Site, truth: &'a Truth) -> impl Iterator<Item = &'a str> {
    site.left_over().into_iter().filter(|id| !truth.strange_things.contains(*id))
}

/// Whether nothing of ours is left over in any account.
pub(super) fn all_is_tidy(world: &World, truth: &Truth) -> bool {
    world.sites().all(|(_, site)| left_over(site, truth).next().is_none())
}

/// Nothing costs that belongs to no instance, no image or snapshot is there that was not before, and what
/// is a stranger's is still there.
pub(super) fn judge(world: &World, truth: &mut Truth, now: DateTime<Utc>) {
    let mut there = BTreeSet::new();
    for (_, site) in world.sites() {
        there.extend(site.left_over());
        let left = left_over(site, truth).next().map(str::to_owned);
        if let Some(left) = left {
            truth.violated(6, now, format!("{left} in {} belongs to no instance and costs", site.account));
        }
        let runs = |(id, line): &(&str, &Line)| line.running_since.is_some() && !truth.is_strange(id);
        if let Some((id, _)) = site.bill().lines().find(runs) {
            let what = format!("the bill of {id} in {} is not closed", site.account);
            truth.violated(6, now, what);
        }
        if let Some(image) = site.images.keys().chain(site.snapshots.keys()).next() {
            truth.violated(8, now, format!("{image} in {} was made and is left over", site.account));
        }
    }
    if let Some(gone) = truth.strange_things.iter().find(|id| !there.contains(id.as_str())).cloned() {
        truth.violated(3, now, format!("{gone} is not ours and was taken away"));
    }
}
