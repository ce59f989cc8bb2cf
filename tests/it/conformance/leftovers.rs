//! The checks of what a sweep looks at and takes away: every kind of resource, with its ids and without.

use std::collections::{BTreeMap, BTreeSet};

use latent::cloud::Cloud;
use latent::model::{
    FailureKind, InstanceId, InstanceState, Resource, ResourceId, ResourceKind, StopMode, TagSet, tag_keys,
};

use super::{Checked, FLEET, Ground, done, refused, same};

fn tagged(fleet: &str, name: &str) -> TagSet {
    let mut tags = TagSet::default();
    tags.set(tag_keys::FLEET, fleet).set(tag_keys::CONTROLLER, "tests").set(tag_keys::NAME, name);
    tags
}

/// Something of a kind, with these tags, that nothing has.
async fn made<C: Cloud>(ground: &Ground<C>, kind: ResourceKind, tags: &TagSet) -> Result<ResourceId, String> {
    let id = ground.probe.make(kind, tags).await?;
    id.parse().map_err(|error| format!("{error}"))
}

async fn listed<C: Cloud>(
    ground: &Ground<C>,
    kind: ResourceKind,
    only: Option<&[ResourceId]>,
) -> Result<BTreeMap<ResourceId, Resource>, String> {
    done("listing", ground.cloud.resources(kind, only, ground.clock.now()).await)
}

/// An id of a kind that nobody has.
fn nobody(kind: ResourceKind) -> ResourceId {
    let digits = if kind == ResourceKind::SpotRequest { "0abcde12" } else { "0123456789abcdef0" };
    format!("{}{digits}", kind.prefix()).parse().expect("an id")
}

/// Listed without ids if it carries a fleet's tag, and by its id in any case; gone once it was taken away.
async fn comes_and_goes<C: Cloud>(ground: &Ground<C>, kind: ResourceKind) -> Checked {
    let ours = made(ground, kind, &tagged(FLEET, "comes")).await?;
    let others = made(ground, kind, &TagSet::default()).await?;
    let all = listed(ground, kind, None).await?;
    same("the kind of what is listed", &all.keys().all(|id| id.kind() == kind), &true)?;
    same("whether ours is listed", &all.contains_key(&ours), &true)?;
    same("whether what has no tag is listed", &all.contains_key(&others), &false)?;
    let tags = all.get(&ours).map(|resource| resource.tags().get(tag_keys::NAME));
    same("its name", &tags.flatten(), &Some("comes"))?;
    let ids = [ours.clone(), others.clone(), nobody(kind)];
    let by_id: BTreeSet<ResourceId> = listed(ground, kind, Some(&ids)).await?.into_keys().collect();
    same("what is found by its id", &by_id, &BTreeSet::from([ours.clone(), others.clone()]))?;
    done("remove", ground.cloud.remove(&ours).await)?;
    gone(ground, kind, &ours).await?;
    let left = listed(ground, kind, Some(&ids)).await?;
    same("whether what was not named is still there", &left.contains_key(&others), &true)?;
    done("remove", ground.cloud.remove(&others).await)
}

/// Looks until it is over or not listed any more; 60 times at most.
async fn gone<C: Cloud>(ground: &Ground<C>, kind: ResourceKind, id: &ResourceId) -> Checked {
    for _ in 0..60 {
        let found = listed(ground, kind, Some(std::slice::from_ref(id))).await?;
        if found.get(id).is_none_or(Resource::is_over) {
            return Ok(());
        }
        ground.pause().await;
    }
    Err(format!("{id} is still there"))
}

pub(super) async fn volumes_are_listed_and_deleted<C: Cloud>(ground: &Ground<C>) -> Checked {
    comes_and_goes(ground, ResourceKind::Volume).await
}

pub(super) async fn snapshots_are_listed_and_deleted<C: Cloud>(ground: &Ground<C>) -> Checked {
    comes_and_goes(ground, ResourceKind::Snapshot).await
}

pub(super) async fn interfaces_are_listed_and_deleted<C: Cloud>(ground: &Ground<C>) -> Checked {
    comes_and_goes(ground, ResourceKind::Interface).await
}

pub(super) async fn addresses_are_listed_and_released<C: Cloud>(ground: &Ground<C>) -> Checked {
    comes_and_goes(ground, ResourceKind::Address).await
}

pub(super) async fn spot_requests_are_listed_and_cancelled<C: Cloud>(ground: &Ground<C>) -> Checked {
    comes_and_goes(ground, ResourceKind::SpotRequest).await
}

pub(super) async fn instances_and_images_are_listed_whatever_their_tags<C: Cloud>(ground: &Ground<C>) -> Checked {
    let mut spec = ground.spec("sweep-1");
    spec.tags = tagged("another", "sweep-1");
    let plain: InstanceId = done("launch", ground.launch(&spec).await)?;
    let instances = listed(ground, ResourceKind::Instance, None).await?;
    same("whether it is listed", &instances.contains_key(&ResourceId::from(&plain)), &true)?;
    let ami: ResourceId = ground.ami.parse().map_err(|error| format!("{error}"))?;
    same("whether the AMI is listed", &listed(ground, ResourceKind::Ami, None).await?.contains_key(&ami), &true)?;
    let ids = [ami.clone(), nobody(ResourceKind::Ami)];
    let by_id: Vec<ResourceId> = listed(ground, ResourceKind::Ami, Some(&ids)).await?.into_keys().collect();
    same("the AMIs that are found by their ids", &by_id, &vec![ami])?;
    let ids = [ResourceId::from(&plain), nobody(ResourceKind::Instance)];
    let by_id: Vec<ResourceId> = listed(ground, ResourceKind::Instance, Some(&ids)).await?.into_keys().collect();
    same("the instances that are found by their ids", &by_id, &vec![ResourceId::from(&plain)])
}

pub(super) async fn an_instance_tells_its_parts_and_its_age<C: Cloud>(ground: &Ground<C>) -> Checked {
    let id = ground.launched("sweep-2").await?;
    ground.becomes(&id, InstanceState::Running).await?;
    let first = ground.listed(&id).await?;
    same("how many volumes it has", &first.parts.volumes.len(), &1)?;
    same("how many interfaces it has", &first.parts.interfaces.len(), &1)?;
    let age = first.attached_at.ok_or("nothing tells its age")?;
    done("stop", ground.cloud.stop(&id, StopMode::Plain).await)?;
    ground.becomes(&id, InstanceState::Stopped).await?;
    let stopped = ground.listed(&id).await?;
    let since = stopped.stopped_at.ok_or("since when it is stopped is not told")?;
    same("whether it was stopped after its birth", &(since.timestamp() >= age.timestamp()), &true)?;
    done("start", ground.cloud.start(&id).await)?;
    ground.becomes(&id, InstanceState::Running).await?;
    same("its age after a start", &ground.listed(&id).await?.attached_at, &Some(age))
}

pub(super) async fn a_volume_in_use_is_not_deleted<C: Cloud>(ground: &Ground<C>) -> Checked {
    let id = ground.launched("sweep-3").await?;
    ground.becomes(&id, InstanceState::Running).await?;
    let parts = ground.listed(&id).await?.parts;
    let volume: ResourceId = parts.volumes.first().ok_or("it has no volume")?.parse().map_err(|e| format!("{e}"))?;
    let found = listed(ground, ResourceKind::Volume, Some(std::slice::from_ref(&volume))).await?;
    let Some(Resource::Volume(_, shown)) = found.get(&volume) else { return Err("it is not listed".to_owned()) };
    same("what has it", &(shown.available, shown.instance.as_ref()), &(false, Some(&id)))?;
    refused("a removal", ground.cloud.remove(&volume).await, FailureKind::Owner)
}

pub(super) async fn an_interface_in_use_is_not_deleted<C: Cloud>(ground: &Ground<C>) -> Checked {
    let id = ground.launched("sweep-4").await?;
    ground.becomes(&id, InstanceState::Running).await?;
    let parts = ground.listed(&id).await?.parts;
    let interface: ResourceId =
        parts.interfaces.first().ok_or("it has no interface")?.parse().map_err(|e| format!("{e}"))?;
    let found = listed(ground, ResourceKind::Interface, Some(std::slice::from_ref(&interface))).await?;
    let free = matches!(found.get(&interface), Some(Resource::Interface(_, true)));
    same("whether it is free", &(found.len(), free), &(1, false))?;
    refused("a removal", ground.cloud.remove(&interface).await, FailureKind::Owner)
}

pub(super) async fn what_nobody_has_is_not_found<C: Cloud>(ground: &Ground<C>) -> Checked {
    for kind in ResourceKind::ALL.into_iter().filter(|kind| !matches!(kind, ResourceKind::Instance | ResourceKind::Ami))
    {
        let what = format!("the removal of {}", nobody(kind));
        refused(&what, ground.cloud.remove(&nobody(kind)).await, FailureKind::NotFound)?;
        same(&what, &listed(ground, kind, Some(&[nobody(kind)])).await?.len(), &0)?;
    }
    Ok(())
}

pub(super) async fn leftovers_are_marked_together<C: Cloud>(ground: &Ground<C>) -> Checked {
    let volume = made(ground, ResourceKind::Volume, &tagged(FLEET, "marked")).await?;
    let instance = ResourceId::from(&ground.launched("sweep-5").await?);
    let mark = "2026-03-02T08:00:00Z orphan";
    done("mark", ground.cloud.mark_leftovers(&[volume.clone(), instance.clone()], mark).await)?;
    for id in [volume, instance] {
        let found = listed(ground, id.kind(), Some(std::slice::from_ref(&id))).await?;
        let marked = found.get(&id).and_then(|resource| resource.tags().get(tag_keys::MARK));
        same("the mark", &marked, &Some(mark))?;
    }
    Ok(())
}

pub(super) async fn a_mark_with_one_unknown_resource_is_set_on_none<C: Cloud>(ground: &Ground<C>) -> Checked {
    let volume = made(ground, ResourceKind::Volume, &tagged(FLEET, "unmarked")).await?;
    let both = [volume.clone(), nobody(ResourceKind::Volume)];
    refused("a mark", ground.cloud.mark_leftovers(&both, "x orphan").await, FailureKind::NotFound)?;
    let found = listed(ground, ResourceKind::Volume, Some(std::slice::from_ref(&volume))).await?;
    same("the mark", &found.get(&volume).and_then(|resource| resource.tags().get(tag_keys::MARK)), &None)
}

pub(super) async fn the_regions_are_told<C: Cloud>(ground: &Ground<C>) -> Checked {
    let regions = done("regions", ground.cloud.regions().await)?;
    same("whether its own is among them", &regions.iter().any(|region| region.as_str() == "us-west-2"), &true)
}
