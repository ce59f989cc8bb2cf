//! The SDK's shapes into our words. Total: nothing is dropped, what cannot be read is an error.

use aws_sdk_ec2::types;
use chrono::{DateTime, Utc};

use crate::cloud::{CloudError, transition_time};
use crate::model::{
    Ami, AmiCandidate, AmiState, BlockDevice, FailureKind, Instance, InstanceId, InstanceState, Parts, SnapshotId,
    SourceAmi, SourceDisk, TagSet,
};

/// One instance.
pub(super) fn instance(sdk: &types::Instance) -> Result<Instance, CloudError> {
    let id: InstanceId = sdk.instance_id().unwrap_or_default().parse().map_err(|error| CloudError {
        kind: FailureKind::Bug,
        code: "UnreadableInstance".to_owned(),
        message: format!("the listing holds an instance whose id cannot be read: {error}"),
    })?;
    let state = state(sdk.state().and_then(types::InstanceState::name));
    Ok(Instance {
        id,
        stopped_at: sdk.state_transition_reason().filter(|_| state == InstanceState::Stopped).and_then(transition_time),
        ended_at: sdk.state_transition_reason().filter(|_| state.is_ending()).and_then(transition_time),
        state,
        ami: sdk.image_id().and_then(|text| text.parse().ok()),
        instance_type: sdk.instance_type().map(|t| t.as_str().to_owned()).unwrap_or_default(),
        zone: sdk.placement().and_then(|p| p.availability_zone()).and_then(|text| text.parse().ok()),
        launch_time: sdk.launch_time().and_then(time),
        launch_index: launch_index(sdk),
        token: sdk.client_token().and_then(|text| text.parse().ok()),
        attached_at: attached_at(sdk),
        parts: parts(sdk),
        platform_details: sdk.platform_details().map(ToOwned::to_owned),
        addresses: addresses(sdk),
        state_reason: sdk.state_reason().map(|reason| {
            let parts = [reason.code(), reason.message()];
            parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
        }),
        tags: tags(sdk.tags()).of_launch_index(launch_index(sdk)),
    })
}

fn launch_index(sdk: &types::Instance) -> u32 {
    sdk.ami_launch_index().and_then(|index| u32::try_from(index).ok()).unwrap_or_default()
}

/// All of its addresses, the private one first: a connection may come from any interface.
fn addresses(sdk: &types::Instance) -> Vec<String> {
    let main = [sdk.private_ip_address(), sdk.public_ip_address(), sdk.ipv6_address()].into_iter().flatten();
    let interfaces = sdk.network_interfaces();
    let private = interfaces.iter().flat_map(types::InstanceNetworkInterface::private_ip_addresses);
    let both = private.flat_map(|a| [a.private_ip_address(), a.association().and_then(|with| with.public_ip())]);
    let six = interfaces.iter().flat_map(types::InstanceNetworkInterface::ipv6_addresses);
    let six = six.filter_map(types::InstanceIpv6Address::ipv6_address);
    let mut all: Vec<String> = Vec::new();
    for address in main.chain(both.flatten()).chain(six) {
        if !all.iter().any(|known| known == address) {
            all.push(address.to_owned());
        }
    }
    all
}

fn attached_at(sdk: &types::Instance) -> Option<DateTime<Utc>> {
    let disks = sdk.block_device_mappings().iter().filter_map(|mapping| mapping.ebs()?.attach_time());
    let interfaces = sdk.network_interfaces().iter().filter_map(|interface| interface.attachment()?.attach_time());
    disks.chain(interfaces).filter_map(time).min()
}

fn parts(sdk: &types::Instance) -> Parts {
    let disks = || sdk.block_device_mappings().iter().filter_map(types::InstanceBlockDeviceMapping::ebs);
    // Of one of which EC2 does not say it, nobody shall think that it goes by itself.
    let ends = |disk: &&types::EbsInstanceBlockDevice| disk.delete_on_termination() == Some(true);
    let ids = |disk: &types::EbsInstanceBlockDevice| disk.volume_id().map(ToOwned::to_owned);
    let interfaces = sdk.network_interfaces().iter().filter_map(types::InstanceNetworkInterface::network_interface_id);
    Parts {
        volumes: disks().filter(ends).filter_map(ids).collect(),
        lasting: disks().filter(|disk| !ends(disk)).filter_map(ids).collect(),
        interfaces: interfaces.map(ToOwned::to_owned).collect(),
        spot_request: sdk.spot_instance_request_id().filter(|id| !id.is_empty()).map(ToOwned::to_owned),
    }
}

fn state(name: Option<&types::InstanceStateName>) -> InstanceState {
    match name {
        Some(types::InstanceStateName::Pending) => InstanceState::Pending,
        Some(types::InstanceStateName::Running) => InstanceState::Running,
        Some(types::InstanceStateName::Stopping) => InstanceState::Stopping,
        Some(types::InstanceStateName::Stopped) => InstanceState::Stopped,
        Some(types::InstanceStateName::ShuttingDown) => InstanceState::ShuttingDown,
        Some(types::InstanceStateName::Terminated) => InstanceState::Terminated,
        Some(other) => InstanceState::Unknown(other.as_str().to_owned()),
        None => InstanceState::Unknown("no state".to_owned()),
    }
}

/// One AMI; `unknown_age` stands for a time that cannot be read.
pub(super) fn ami(sdk: &types::Image, unknown_age: DateTime<Utc>) -> Result<Ami, CloudError> {
    let id = sdk.image_id().unwrap_or_default().parse().map_err(|error| CloudError {
        kind: FailureKind::Bug,
        code: "UnreadableImage".to_owned(),
        message: format!("the listing holds an AMI whose id cannot be read: {error}"),
    })?;
    let disks = sdk.block_device_mappings().iter().filter_map(|mapping| mapping.ebs()?.snapshot_id());
    let snapshots = disks.map(snapshot_id).collect::<Result<_, _>>()?;
    Ok(Ami {
        id,
        name: sdk.name().unwrap_or_default().to_owned(),
        state: ami_state(sdk.state()),
        architecture: architecture(sdk),
        snapshots,
        created: sdk.creation_date().and_then(|text| text.parse().ok()).unwrap_or(unknown_age),
        size_gib: size_gib(sdk),
        deprecated: sdk.deprecation_time().and_then(|text| text.parse().ok()),
        tags: tags(sdk.tags()),
    })
}

/// The sizes of the disks that have a snapshot; none if one of them has no size, or there is none yet.
fn size_gib(sdk: &types::Image) -> Option<u32> {
    let disks = sdk.block_device_mappings().iter().filter_map(types::BlockDeviceMapping::ebs);
    let sizes = disks.filter(|disk| disk.snapshot_id().is_some()).map(|disk| u32::try_from(disk.volume_size()?).ok());
    sizes.sum::<Option<u32>>().filter(|gib| *gib > 0)
}

/// An AMI to choose from.
pub(super) fn candidate(sdk: &types::Image) -> Result<AmiCandidate, CloudError> {
    let id = sdk.image_id().unwrap_or_default().parse().map_err(|error| CloudError {
        kind: FailureKind::Bug,
        code: "UnreadableImage".to_owned(),
        message: format!("the listing holds an AMI whose id cannot be read: {error}"),
    })?;
    Ok(AmiCandidate {
        id,
        location: sdk.image_location().unwrap_or_default().to_owned(),
        state: ami_state(sdk.state()),
        architecture: architecture(sdk),
        created: sdk.creation_date().and_then(|text| text.parse().ok()),
        deprecated: sdk.deprecation_time().and_then(|text| text.parse().ok()),
    })
}

/// The AMI that a rebake begins with, as the account sees it.
pub(super) fn source(sdk: &types::Image, account: &str) -> Result<SourceAmi, CloudError> {
    let Ami { id, name, state, architecture, tags, .. } = ami(sdk, DateTime::UNIX_EPOCH)?;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let disk = |(device, ebs): (Option<&str>, &types::EbsBlockDevice)| {
        Ok(SourceDisk {
            device: text(device),
            size_gib: ebs.volume_size().and_then(|size| u32::try_from(size).ok()),
            snapshot: ebs.snapshot_id().map(snapshot_id).transpose()?,
            encrypted: ebs.encrypted().unwrap_or(false),
            kms_key: ebs.kms_key_id().map(ToOwned::to_owned),
        })
    };
    let disks = sdk.block_device_mappings().iter().filter_map(|at| Some((at.device_name(), at.ebs()?)));
    let codes = sdk.product_codes().iter().filter_map(types::ProductCode::product_code_id);
    Ok(SourceAmi {
        id,
        name,
        state,
        account: text(sdk.owner_id()),
        ours: sdk.owner_id() == Some(account),
        architecture,
        platform_details: text(sdk.platform_details()),
        windows: sdk.platform().is_some_and(|word| word.as_str().eq_ignore_ascii_case("windows")),
        root_device: sdk.root_device_name().map(ToOwned::to_owned),
        disks: disks.map(disk).collect::<Result<_, CloudError>>()?,
        created: sdk.creation_date().and_then(|at| at.parse().ok()),
        deprecated: sdk.deprecation_time().and_then(|at| at.parse().ok()),
        product_codes: codes.map(ToOwned::to_owned).collect(),
        tags,
    })
}

fn architecture(sdk: &types::Image) -> String {
    sdk.architecture().map(|word| word.as_str().to_owned()).unwrap_or_default()
}

/// The id of a snapshot.
pub(super) fn snapshot_id(text: &str) -> Result<SnapshotId, CloudError> {
    text.parse().map_err(|error| CloudError {
        kind: FailureKind::Bug,
        code: "UnreadableSnapshot".to_owned(),
        message: format!("a snapshot's id cannot be read: {error}"),
    })
}

pub(super) fn ami_state(state: Option<&types::ImageState>) -> AmiState {
    match state {
        Some(types::ImageState::Pending) => AmiState::Pending,
        Some(types::ImageState::Available) => AmiState::Available,
        Some(types::ImageState::Failed | types::ImageState::Error | types::ImageState::Invalid) => AmiState::Failed,
        Some(types::ImageState::Deregistered) => AmiState::Deregistered,
        Some(types::ImageState::Disabled) => AmiState::Disabled,
        Some(other) => AmiState::Unknown(other.as_str().to_owned()),
        None => AmiState::Unknown("no state".to_owned()),
    }
}

pub(super) fn time(at: &aws_sdk_ec2::primitives::DateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(at.secs(), at.subsec_nanos())
}

pub(super) fn tags(sdk: &[types::Tag]) -> TagSet {
    sdk.iter()
        .map(|tag| (tag.key().unwrap_or_default().to_owned(), tag.value().unwrap_or_default().to_owned()))
        .collect()
}

/// The EBS devices of an AMI that would outlive their instance, as disks to launch with instead.
pub(super) fn lasting_devices(image: &types::Image) -> Vec<BlockDevice> {
    let lasting = image.block_device_mappings().iter().filter_map(|mapping| {
        let ebs = mapping.ebs().filter(|ebs| ebs.delete_on_termination() != Some(true))?;
        let volume_type = ebs.volume_type().map(|kind| kind.as_str().to_owned());
        // With the type, what EC2 asks for with it.
        let iops = ebs.iops().filter(|_| matches!(volume_type.as_deref(), Some("io1" | "io2")));
        Some(BlockDevice {
            size_gib: ebs.volume_size().and_then(|size| u32::try_from(size).ok()),
            volume_type,
            iops: iops.and_then(|iops| u32::try_from(iops).ok()),
            ..BlockDevice::named(mapping.device_name()?)
        })
    });
    lasting.collect()
}

/// Our tags as the SDK's, for a launch or a renewal.
pub(super) fn sdk_tags(tags: &TagSet) -> Vec<types::Tag> {
    tags.iter().map(|(key, value)| types::Tag::builder().key(key).value(value).build()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arbitrary_instances_are_read_or_refused_and_never_lost() {
        let strange = types::Instance::builder()
            .instance_id("i-1")
            .state(types::InstanceState::builder().name(types::InstanceStateName::from("hibernating")).build());
        let read = instance(&strange.build()).expect("readable");
        assert_eq!(read.state, InstanceState::Unknown("hibernating".to_owned()));
        assert!(read.state.is_live(), "what we do not know may cost");
        let nameless = types::Instance::builder().build();
        assert_eq!(instance(&nameless).expect_err("no id").code, "UnreadableInstance");
        let image = |snapshot: &str| {
            let ebs = types::EbsBlockDevice::builder().snapshot_id(snapshot).build();
            let disk = types::BlockDeviceMapping::builder().ebs(ebs).build();
            types::Image::builder().image_id("ami-1").state(types::ImageState::from("odd")).block_device_mappings(disk)
        };
        let read = ami(&image("snap-1").build(), DateTime::UNIX_EPOCH).expect("readable");
        assert_eq!((read.snapshots.len(), read.state), (1, AmiState::Unknown("odd".to_owned())));
        assert_eq!(ami(&image("?").build(), read.created).expect_err("it would be left").code, "UnreadableSnapshot");
        let public = types::InstanceNetworkInterfaceAssociation::builder().public_ip("54.1.2.3").build();
        let private = |address: &str| types::InstancePrivateIpAddress::builder().private_ip_address(address);
        let interface = types::InstanceNetworkInterface::builder()
            .private_ip_addresses(private("10.0.0.4").build())
            .private_ip_addresses(private("10.0.0.5").association(public).build())
            .ipv6_addresses(types::InstanceIpv6Address::builder().ipv6_address("2600::7").build());
        let many = types::Instance::builder().instance_id("i-3").private_ip_address("10.0.0.4");
        let read = instance(&many.network_interfaces(interface.build()).build()).expect("readable");
        assert_eq!(read.addresses, ["10.0.0.4", "10.0.0.5", "54.1.2.3", "2600::7"]);
        let bare = types::Instance::builder().instance_id("i-2").tags(types::Tag::builder().build()).build();
        assert_eq!(instance(&bare).expect("readable").tags.iter().count(), 1);
    }
}
