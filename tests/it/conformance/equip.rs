//! The checks of what a manifest can say beyond the AMI and the place: AMIs by filter, groups by name, disks
//! that stay, an address and volumes for a running instance.

use latent::cloud::Cloud;
use latent::model::{
    AmiQuery, BlockDevice, DataVolume, ElasticIp, FailureKind, InstanceId, InstanceState, Place, Resource, ResourceId,
    ResourceKind, TagSet,
};

use super::{Checked, Ground, done, refused, same};

fn zone(letter: &str) -> Place {
    Place::Zone(format!("us-west-2{letter}").parse().expect("a zone"))
}

/// A running instance in a zone.
async fn running<C: Cloud>(ground: &Ground<C>, attempt: &str, letter: &str) -> Result<InstanceId, String> {
    let mut spec = ground.spec(attempt);
    spec.offering.place = zone(letter);
    let id = done("launch", ground.launch(&spec).await)?;
    ground.becomes(&id, InstanceState::Running).await?;
    Ok(id)
}

/// A volume in us-west-2a.
async fn volume<C: Cloud>(ground: &Ground<C>) -> Result<DataVolume, String> {
    let id = ground.probe.make(ResourceKind::Volume, &TagSet::default()).await?;
    Ok(DataVolume { id: id.parse().map_err(|error| format!("{error}"))?, device: "/dev/sdf".to_owned() })
}

async fn found<C: Cloud>(ground: &Ground<C>, id: &str) -> Result<Resource, String> {
    let id: ResourceId = id.parse().map_err(|error| format!("{error}"))?;
    let listed = ground.cloud.resources(id.kind(), Some(std::slice::from_ref(&id)), ground.clock.now()).await;
    done("listing", listed)?.remove(&id).ok_or_else(|| format!("{id} is not there"))
}

pub(super) async fn amis_are_found_by_owner_and_processor<C: Cloud>(ground: &Ground<C>) -> Checked {
    let query = |owners: &[&str], architecture: &str| AmiQuery {
        owners: owners.iter().map(ToString::to_string).collect(),
        architecture: architecture.to_owned(),
    };
    let own = done("listing", ground.cloud.ami_candidates(&query(&["self"], "x86_64")).await)?;
    let Some(ami) = own.iter().find(|ami| ami.id.as_str() == ground.ami) else {
        return Err("an AMI of the account is not listed".to_owned());
    };
    same("whether its location ends with its name", &ami.location.ends_with("/worker"), &true)?;
    same("its processor", &ami.architecture.as_str(), &"x86_64")?;
    same("whether its age is told", &ami.created.is_some(), &true)?;
    let number = done("listing", ground.cloud.ami_candidates(&query(&[ground.account], "x86_64")).await)?;
    same("the AMIs by the account's number", &number.len(), &own.len())?;
    for (owners, architecture) in [(["self"], "arm64"), (["999999999999"], "x86_64")] {
        let none = done("listing", ground.cloud.ami_candidates(&query(&owners, architecture)).await)?;
        same("whether it is among others'", &none.iter().any(|ami| ami.id.as_str() == ground.ami), &false)?;
    }
    Ok(())
}

pub(super) async fn a_group_of_the_default_vpc_is_known_by_its_name<C: Cloud>(ground: &Ground<C>) -> Checked {
    let mut spec = ground.spec("group-1");
    spec.security_group_names = vec!["default".to_owned()];
    done("launch", ground.launch(&spec).await).map(drop)
}

pub(super) async fn an_unknown_group_name_is_the_owners_to_mend<C: Cloud>(ground: &Ground<C>) -> Checked {
    let mut spec = ground.spec("group-2");
    spec.security_group_names = vec!["nobody-has-this-group".to_owned()];
    refused("a launch", ground.launch(&spec).await, FailureKind::Owner)
}

pub(super) async fn a_disk_that_stays_is_told<C: Cloud>(ground: &Ground<C>) -> Checked {
    let mut spec = ground.spec("disk-1");
    let stays = BlockDevice { size_gib: Some(8), delete_on_termination: false, ..BlockDevice::named("/dev/sdg") };
    spec.block_devices = vec![stays];
    let id = done("launch", ground.launch(&spec).await)?;
    ground.becomes(&id, InstanceState::Running).await?;
    let parts = ground.listed(&id).await?.parts;
    same("the disks that end with it, and those that stay", &(parts.volumes.len(), parts.lasting.len()), &(1, 1))
}

pub(super) async fn a_volume_is_attached_once_and_goes_free<C: Cloud>(ground: &Ground<C>) -> Checked {
    let (id, volume) = (running(ground, "volume-1", "a").await?, volume(ground).await?);
    done("attach", ground.cloud.attach_volume(&volume, &id).await)?;
    let parts = ground.listed(&id).await?.parts;
    same("the volumes that it has and that stay", &parts.lasting, &vec![volume.id.to_string()])?;
    let other = running(ground, "volume-2", "a").await?;
    refused("an attachment to another", ground.cloud.attach_volume(&volume, &other).await, FailureKind::Owner)?;
    done("terminate", ground.cloud.terminate(&id).await)?;
    ground.becomes(&id, InstanceState::Terminated).await?;
    match found(ground, volume.id.as_str()).await? {
        Resource::Volume(_, volume) => same("whether it is free", &volume.available, &true),
        other => Err(format!("it is {other:?}")),
    }
}

pub(super) async fn a_volume_of_another_zone_is_the_owners_to_mend<C: Cloud>(ground: &Ground<C>) -> Checked {
    let (id, volume) = (running(ground, "volume-3", "b").await?, volume(ground).await?);
    refused("an attachment", ground.cloud.attach_volume(&volume, &id).await, FailureKind::Owner)
}

pub(super) async fn an_unknown_volume_is_the_owners_to_mend<C: Cloud>(ground: &Ground<C>) -> Checked {
    let id = running(ground, "volume-4", "a").await?;
    let nobody = "vol-0123456789abcdef0".parse().map_err(|error| format!("{error}"))?;
    let volume = DataVolume { id: nobody, device: "/dev/sdf".to_owned() };
    refused("an attachment", ground.cloud.attach_volume(&volume, &id).await, FailureKind::Owner)
}

pub(super) async fn an_address_is_associated_once_and_goes_free<C: Cloud>(ground: &Ground<C>) -> Checked {
    let (id, other) = (running(ground, "address-1", "a").await?, running(ground, "address-2", "a").await?);
    let allocation = ground.probe.make(ResourceKind::Address, &TagSet::default()).await?;
    let by_id: ElasticIp = allocation.parse().map_err(|error| format!("{error}"))?;
    let ip = done("associate", ground.cloud.associate_address(&by_id, &id).await)?;
    same("whether the listing shows it", &ground.listed(&id).await?.addresses.contains(&ip), &true)?;
    let by_itself: ElasticIp = ip.parse().map_err(|error| format!("{error}"))?;
    same("the address again", &done("associate again", ground.cloud.associate_address(&by_itself, &id).await)?, &ip)?;
    refused(
        "an association with another",
        ground.cloud.associate_address(&by_itself, &other).await,
        FailureKind::Owner,
    )?;
    done("terminate", ground.cloud.terminate(&id).await)?;
    ground.becomes(&id, InstanceState::Terminated).await?;
    match found(ground, &allocation).await? {
        Resource::Address(_, address) => same("whether it is in use", &address.associated, &false),
        other => Err(format!("it is {other:?}")),
    }
}

pub(super) async fn an_unknown_address_is_the_owners_to_mend<C: Cloud>(ground: &Ground<C>) -> Checked {
    let id = running(ground, "address-3", "a").await?;
    for name in ["203.0.113.250", "eipalloc-0123456789abcdef0"] {
        let address: ElasticIp = name.parse().map_err(|error| format!("{error}"))?;
        refused("an association", ground.cloud.associate_address(&address, &id).await, FailureKind::Owner)?;
    }
    Ok(())
}
