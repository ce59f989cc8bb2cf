//! A launch in EC2's words: everything in one call, tags included.

use std::collections::BTreeSet;

use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HibernationOptionsRequest, HttpTokensState, IamInstanceProfileSpecification,
    InstanceInterruptionBehavior, InstanceMarketOptionsRequest, InstanceMetadataOptionsRequest,
    InstanceMetadataTagsState, InstanceType, MarketType, Placement, ResourceType, ShutdownBehavior as SdkShutdown,
    SpotInstanceType, SpotMarketOptions, TagSpecification, VolumeType,
};

use super::convert;
use crate::model::{BlockDevice, ClientToken, LaunchSpec, Market, Place, ShutdownBehavior};
use crate::policy::Secret;

/// Fills the call, for one instance. `lasting` are the AMI's disks that would outlive their instance: each is made to end with it.
pub(super) fn fill(
    call: RunInstancesFluentBuilder,
    spec: &LaunchSpec,
    lasting: &[BlockDevice],
    user_data: Option<&Secret>,
    token: &ClientToken,
) -> RunInstancesFluentBuilder {
    let mut call = call
        .client_token(token.as_str())
        .min_count(1)
        .max_count(1)
        .image_id(spec.ami.as_str())
        .instance_type(InstanceType::from(spec.offering.instance_type.as_str()))
        .set_security_group_ids((!spec.security_groups.is_empty()).then(|| spec.security_groups.clone()))
        .set_security_groups((!spec.security_group_names.is_empty()).then(|| spec.security_group_names.clone()))
        .set_key_name(spec.key_pair.clone())
        .set_block_device_mappings(mappings(spec, lasting))
        .set_tag_specifications(Some(tag_specifications(spec)))
        .metadata_options(metadata_options())
        .instance_initiated_shutdown_behavior(match spec.shutdown {
            ShutdownBehavior::Terminate => SdkShutdown::Terminate,
            ShutdownBehavior::Stop => SdkShutdown::Stop,
        });
    if let Some(profile) = &spec.instance_profile {
        call = call.iam_instance_profile(IamInstanceProfileSpecification::builder().name(profile).build());
    }
    call = match &spec.offering.place {
        Place::Anywhere => call,
        Place::Zone(zone) => call.placement(Placement::builder().availability_zone(zone.as_str()).build()),
        Place::Subnet(id) => call.subnet_id(id),
    };
    if spec.hibernate {
        call = call.hibernation_options(HibernationOptionsRequest::builder().configured(true).build());
    }
    if spec.offering.market == Market::Spot {
        call = call.instance_market_options(one_time_spot(spec.spot_price_max.clone()));
    }
    match user_data {
        Some(text) => call.user_data(aws_smithy_types::base64::encode(text.reveal())),
        None => call,
    }
}

/// IMDSv2 only, not reachable from containers, and the instance may read its own tags.
fn metadata_options() -> InstanceMetadataOptionsRequest {
    InstanceMetadataOptionsRequest::builder()
        .http_tokens(HttpTokensState::Required)
        .http_put_response_hop_limit(1)
        .instance_metadata_tags(InstanceMetadataTagsState::Enabled)
        .build()
}

/// Never persistent: EC2 would launch it again after we ended it.
fn one_time_spot(price_max: Option<String>) -> InstanceMarketOptionsRequest {
    let options = SpotMarketOptions::builder()
        .spot_instance_type(SpotInstanceType::OneTime)
        .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate)
        .set_max_price(price_max)
        .build();
    InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).spot_options(options).build()
}

fn tag_specifications(spec: &LaunchSpec) -> Vec<TagSpecification> {
    let mut kinds = vec![ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface];
    if spec.offering.market == Market::Spot {
        kinds.push(ResourceType::SpotInstancesRequest);
    }
    let tags = convert::sdk_tags(&spec.tags);
    let one = |kind| TagSpecification::builder().resource_type(kind).set_tags(Some(tags.clone())).build();
    kinds.into_iter().map(one).collect()
}

fn mappings(spec: &LaunchSpec, lasting: &[BlockDevice]) -> Option<Vec<BlockDeviceMapping>> {
    let own: BTreeSet<&str> = spec.block_devices.iter().map(|device| device.device.as_str()).collect();
    let inherited = lasting.iter().filter(|device| !own.contains(device.device.as_str()));
    let all = inherited.chain(&spec.block_devices).map(mapping).collect::<Vec<_>>();
    (!all.is_empty()).then_some(all)
}

fn mapping(device: &BlockDevice) -> BlockDeviceMapping {
    let mapping = BlockDeviceMapping::builder().device_name(&device.device);
    if device.no_device {
        return mapping.no_device("").build();
    }
    if let Some(name) = &device.virtual_name {
        return mapping.virtual_name(name).build();
    }
    let number = |count: Option<u32>| count.and_then(|count| i32::try_from(count).ok());
    let ebs = EbsBlockDevice::builder()
        .delete_on_termination(device.delete_on_termination)
        .set_volume_size(number(device.size_gib))
        .set_volume_type(device.volume_type.as_deref().map(VolumeType::from))
        .set_encrypted(device.encrypted)
        .set_snapshot_id(device.snapshot.as_ref().map(ToString::to_string))
        .set_iops(number(device.iops))
        .set_throughput(number(device.throughput))
        .set_kms_key_id(device.kms_key.clone())
        .build();
    mapping.ebs(ebs).build()
}
