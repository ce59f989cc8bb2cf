//! What an account holds, so that before and after can be compared; and what must hold at any time.

use std::collections::BTreeSet;

use super::stage::Backstage;
use crate::model::{InstanceState, RebakeId, Role, tag_keys};
use crate::sim::{Image, ImageState, Site, TagTarget};

/// Everything in an account that somebody pays for or relies upon, a line each: instances that have not ended,
/// volumes, interfaces, images, snapshots, security groups, addresses, launch templates and open spot requests,
/// with their tags.
pub fn holdings(site: &Site) -> BTreeSet<String> {
    let mut held = BTreeSet::new();
    for instance in site.instances().filter(|instance| *instance.state() != InstanceState::Terminated) {
        let (id, facts) = (&instance.id, instance.facts());
        held.insert(format!("instance {id} {} {} {:?}", facts.state, instance.params.image, facts.tags));
    }
    for volume in site.volumes.values() {
        let at = volume.attachment.as_ref().map(|at| &at.instance);
        held.insert(format!("volume {} {at:?} {:?}", volume.id, volume.tags));
    }
    for interface in site.interfaces.values() {
        held.insert(format!("interface {} {:?} {:?}", interface.id, interface.instance, interface.tags));
    }
    for image in site.images.values().filter(|image| image.state != ImageState::Deregistered) {
        let (state, deprecated) = (image.state, image.deprecated_at);
        let disks: Vec<_> = image.disks.iter().filter_map(|disk| disk.snapshot.as_ref()).collect();
        held.insert(format!("image {} {} {state:?} {deprecated:?} {disks:?} {:?}", image.id, image.name, image.tags));
    }
    held.extend(site.snapshots.values().map(|snapshot| format!("snapshot {} {:?}", snapshot.id, snapshot.tags)));
    held.extend(site.network.groups.values().map(|group| {
        let rules: Vec<_> =
            group.rules.iter().map(|rule| (rule.egress, &rule.protocol, rule.ports, &rule.peer)).collect();
        format!("group {} {} {rules:?} {:?}", group.id, group.name, group.tags)
    }));
    held.extend(site.addresses.values().map(|address| format!("address {} {:?}", address.id, address.tags)));
    held.extend(site.templates.keys().map(|id| format!("template {id}")));
    let open = site.spot_requests.values().filter(|request| request.state.word() == "open");
    held.extend(open.map(|request| format!("spot request {}", request.id)));
    held
}

/// What is watched while a rebake is at work.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The images that there were at the last look.
    images: BTreeSet<String>,
}

impl Standing {
    /// What must not be, and is.
    pub(super) fn look(&mut self, site: &Site, back: &Backstage, rebake: &RebakeId) -> Vec<String> {
        let mut wrong = Vec::new();
        let role = Role::Rebake.to_string();
        let builders = site.ever().filter(|instance| {
            let tags = instance.params.tags.get(&TagTarget::Instance);
            tags.is_some_and(|tags| tags.get(tag_keys::ROLE) == Some(&role))
        });
        let builders = builders.count();
        if builders > 1 {
            wrong.push(format!("{builders} builders were launched"));
        }
        let there = |image: &&Image| image.state != ImageState::Deregistered;
        let made = |image: &&Image| image.tags.get(tag_keys::REBAKE).is_some_and(|own| own == rebake.as_str());
        let images: Vec<&Image> = site.images.values().filter(there).collect();
        let candidates = images.iter().copied().filter(made).count();
        if candidates > 1 {
            wrong.push(format!("{candidates} AMIs of one rebake"));
        }
        let now: BTreeSet<String> = images.iter().map(|image| image.id.clone()).collect();
        for gone in self.images.difference(&now) {
            let named = [Some(&back.manifest.ami), back.manifest.previous.as_ref()];
            if named.into_iter().flatten().any(|ami| ami.as_str() == gone) {
                wrong.push(format!("{gone} is gone, and the manifest names it"));
            }
            let canary = Role::Canary.to_string();
            let used = site.costing().find(|instance| {
                instance.params.image == *gone && instance.tag(tag_keys::ROLE) != Some(canary.as_str())
            });
            if let Some(instance) = used {
                wrong.push(format!("{gone} is gone, and {} uses it", instance.id));
            }
        }
        self.images = now;
        wrong
    }
}
