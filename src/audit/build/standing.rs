//! What is there and costs while nothing runs: disks, snapshots, images, addresses.

use std::collections::BTreeSet;

use super::scope::Scope;
use crate::audit::evidence::Evidence;
use crate::audit::report::Standing;
use crate::model::{
    Address, Ami, AmiId, AmiState, Region, Resource, ResourceId, Snapshot, Survey, TagSet, Volume, tag_keys,
};
use crate::policy::price::{self, Range};

/// Everything of the owner's, the dearest first.
pub(super) fn standing(evidence: &Evidence<'_>, scope: &Scope<'_>) -> Vec<Standing> {
    let mut all = Vec::new();
    for (region, survey) in scope.surveys() {
        let named = named_amis(evidence, region);
        let images: Vec<&Ami> = survey
            .amis()
            .filter(|ami| ami.state != AmiState::Deregistered && (scope.owns(&ami.tags) || named.contains(&ami.id)))
            .collect();
        let of_images: BTreeSet<ResourceId> =
            images.iter().flat_map(|ami| ami.snapshots.iter().map(ResourceId::from)).collect();
        all.extend(images.into_iter().map(|ami| image(region, survey, ami, &named)));
        for (id, resource) in survey.resources.iter().filter(|(id, resource)| scope.has(id, resource)) {
            all.extend(match resource {
                Resource::Volume(_, disk) => volume(region, survey, id, disk),
                Resource::Snapshot(tags, one) if !of_images.contains(id) => Some(snapshot(region, id, tags, one)),
                Resource::Address(_, one) => Some(address(region, id, one)),
                _ => None,
            });
        }
        all.extend(manifest_only(evidence, region, survey));
    }
    all.sort_by(|a, b| {
        let most = |one: &Standing| one.month.map(|month| month.high);
        most(b).cmp(&most(a)).then_with(|| a.id.cmp(&b.id))
    });
    all.dedup_by(|a, b| a.id == b.id);
    all
}

/// The AMIs that the owner's manifests name.
fn named_amis(evidence: &Evidence<'_>, region: &Region) -> BTreeSet<AmiId> {
    let images = evidence.intent.into_iter().flat_map(|intent| intent.images.values());
    let ours = images.filter(|image| image.owner == *evidence.owner && image.region == *region);
    ours.flat_map(|image| image.ami.named().into_iter().chain(&image.previous).cloned()).collect()
}

fn image(region: &Region, survey: &Survey, ami: &Ami, named: &BTreeSet<AmiId>) -> Standing {
    let known: u64 = ami
        .snapshots
        .iter()
        .filter_map(|id| match survey.resources.get(&ResourceId::from(id)) {
            Some(Resource::Snapshot(_, snapshot)) => Some(u64::from(snapshot.size_gib)),
            _ => None,
        })
        .sum();
    let size = ami.size_gib.map(u64::from).or_else(|| (known > 0).then_some(known));
    let of = ami.tags.get(tag_keys::IMAGE).map(|image| format!(" of {image}")).unwrap_or_default();
    let generation =
        ami.tags.get(tag_keys::GENERATION).map(|number| format!(", generation {number}")).unwrap_or_default();
    let state = match &ami.state {
        AmiState::Disabled => ", put away",
        AmiState::Pending => ", being made",
        AmiState::Failed => ", failed",
        _ if named.contains(&ami.id) => ", named by a manifest",
        _ => "",
    };
    Standing {
        id: ami.id.to_string(),
        kind: "image".to_owned(),
        region: region.to_string(),
        what: format!("AMI {}{of}{generation}{state}; its snapshots", ami.name),
        size_gib: size,
        created: Some(ami.created),
        month: size.and_then(|gib| price::snapshot_month(region, gib)),
    }
}

/// A disk that costs while nothing runs: its instance is stopped, or it has none, or it outlives it.
fn volume(region: &Region, survey: &Survey, id: &ResourceId, disk: &Volume) -> Option<Standing> {
    let instance = disk.instance.as_ref().and_then(|id| survey.instance(id));
    let what = match (&disk.instance, instance) {
        (Some(_), Some(instance)) if instance.state.is_live() => {
            let lasting = instance.parts.lasting.iter().any(|own| own == id.as_str());
            lasting.then(|| format!("disk of {}, which it outlives", instance.id))?
        }
        (Some(_), Some(instance)) => {
            let worker = instance.tags.get(tag_keys::WORKER).map(|name| format!(", {name}")).unwrap_or_default();
            format!("disk of {}{worker}, which is {}", instance.id, instance.state)
        }
        (Some(other), None) => format!("disk of {other}, which was not seen"),
        (None, _) => "disk that nothing has".to_owned(),
    };
    Some(Standing {
        id: id.to_string(),
        kind: "volume".to_owned(),
        region: region.to_string(),
        what: format!("{} {what}", disk.volume_type),
        size_gib: Some(disk.size_gib.into()),
        created: disk.created,
        month: price::storage_month(&disk.volume_type, region, disk.size_gib.into()),
    })
}

fn snapshot(region: &Region, id: &ResourceId, tags: &TagSet, one: &Snapshot) -> Standing {
    let what = match tags.get(tag_keys::RETIRED) {
        Some(ami) => format!("snapshot of {ami}, which was retired"),
        None => "snapshot of no AMI that was seen".to_owned(),
    };
    Standing {
        id: id.to_string(),
        kind: "snapshot".to_owned(),
        region: region.to_string(),
        what,
        size_gib: Some(one.size_gib.into()),
        created: one.started,
        month: price::snapshot_month(region, one.size_gib.into()),
    }
}

fn address(region: &Region, id: &ResourceId, one: &Address) -> Standing {
    let what = match &one.instance {
        Some(instance) => format!("elastic IP {} of {instance}", one.ip),
        None if one.associated => format!("elastic IP {}", one.ip),
        None => format!("elastic IP {} that nothing has", one.ip),
    };
    Standing {
        id: id.to_string(),
        kind: "address".to_owned(),
        region: region.to_string(),
        what,
        size_gib: None,
        created: None,
        month: Some(price::address_month()),
    }
}

/// What the owner's manifests name and no tag of the fleet shows: it costs too.
fn manifest_only(evidence: &Evidence<'_>, region: &Region, survey: &Survey) -> Vec<Standing> {
    let images = evidence.intent.into_iter().flat_map(|intent| &intent.images);
    let mut all = Vec::new();
    for (name, image) in images.filter(|(_, image)| image.owner == *evidence.owner && image.region == *region) {
        let bare = |id: &str, kind: &str, month: Option<Range>| Standing {
            id: id.to_owned(),
            kind: kind.to_owned(),
            region: region.to_string(),
            what: format!("named by the manifest {name}"),
            size_gib: None,
            created: None,
            month,
        };
        let seen = |id: &str| {
            let here = |(own, resource): (&ResourceId, &Resource)| {
                own.as_str() == id || matches!(resource, Resource::Address(_, address) if address.ip == id)
            };
            survey.resources.iter().any(here)
        };
        let addresses = image.elastic_ip.iter().map(|ip| (ip.as_str(), "address", Some(price::address_month())));
        let volumes = image.volumes.iter().map(|volume| (volume.id.as_str(), "volume", None));
        all.extend(
            addresses.chain(volumes).filter(|(id, ..)| !seen(id)).map(|(id, kind, month)| bare(id, kind, month)),
        );
    }
    all
}
