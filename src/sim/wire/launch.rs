//! RunInstances, and what the other ways to launch share with it.

use std::collections::BTreeMap;

use super::call::Call;
use super::images;
use super::instances::instance_item;
use super::query::{Node, combination};
use super::templates;
use super::xml::Xml;
use crate::model::InstanceId;
use crate::sim::error::ApiError;
use crate::sim::image::Image;
use crate::sim::instance::{Disk, MetadataOptions, RunInstances, SpotOptions, TagTarget, Tags};
use crate::sim::site::Site;

/// The longest key and value of a tag.
const KEY_MAX: usize = 128;
const VALUE_MAX: usize = 256;
/// User data before base64, in bytes.
const USER_DATA_MAX: usize = 16 * 1024;
/// GiB of a disk of which nobody says how large it is.
const SIZE_GIB: u32 = 8;
const SIZE_GIB_MAX: u32 = 65_536;

pub(super) fn run_instances(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let template = call.query.part("LaunchTemplate");
    let base = if template.is_empty() { None } else { Some(Node::from_flat(templates::named(template, site)?.1)) };
    let whole = base.map(|base| base.overlaid(call.query));
    let query = whole.as_ref().unwrap_or(call.query);
    let (min, max) = (query.required("MinCount")?, query.required("MaxCount")?);
    let counts = (query.count("MinCount")?.unwrap_or(0), query.count("MaxCount")?.unwrap_or(0));
    if counts.0 > counts.1 {
        let message = format!("Value ({min}) for parameter minCount is invalid. It exceeds maxCount ({max}).");
        return Err(ApiError::invalid_value(message));
    }
    let spot = market(query.part("InstanceMarketOptions"))?;
    let request = RunInstances { min: counts.0, max: counts.1, spot, ..specification(query, site)? };
    if query.flag("DryRun")?.unwrap_or(false) {
        site.check_launch(&request)?;
    }
    call.permitted()?;
    let ids = site.run_instances(&request, query.filled("ClientToken"), call.now)?;
    Ok(reservation(site, &ids))
}

/// The answer to a launch: the truth, for the caller made it.
fn reservation(site: &Site, ids: &[InstanceId]) -> Xml {
    let mut xml = Xml::default();
    let instances: Vec<_> = ids.iter().filter_map(|id| site.instance(id)).collect();
    xml.text("reservationId", instances.first().map_or("", |first| &first.reservation));
    xml.text("ownerId", &*site.account).set("groupSet", [(); 0], |_, ()| ());
    xml.set("instancesSet", instances, |xml, instance| {
        instance_item(xml, site, instance, instance.facts());
    });
    xml
}

/// What a launch says beside its counts and its market. Also read from a spot request's specification.
pub(super) fn specification(part: &Node, site: &Site) -> Result<RunInstances, ApiError> {
    let interfaces = part.list("NetworkInterface");
    let interface = interfaces.first().copied();
    if interfaces.len() > 1 || interface.is_some_and(|interface| interface.filled("NetworkInterfaceId").is_some()) {
        let message = "An instance has one network interface here, which is made with it.";
        return Err(ApiError::client("UnsupportedOperation", message));
    }
    let (mut subnet, mut groups) = (part.filled("SubnetId"), part.texts("SecurityGroupId"));
    let (mut public_address, mut keeps_interface) = (None, false);
    if let Some(interface) = interface {
        if subnet.is_some() || !groups.is_empty() || !part.texts("SecurityGroup").is_empty() {
            let message = "Network interfaces and an instance-level subnet ID or security groups may not be specified on the same request";
            return Err(combination(message));
        }
        subnet = interface.filled("SubnetId");
        groups = interface.texts("SecurityGroupId");
        public_address = interface.flag("AssociatePublicIpAddress")?;
        keeps_interface = interface.flag("DeleteOnTermination")? == Some(false);
    }
    let groups: Vec<String> = groups.into_iter().map(ToOwned::to_owned).collect();
    let shutdown = part.filled("InstanceInitiatedShutdownBehavior");
    let profile = part.part("IamInstanceProfile");
    let image = site.images.get(images::checked(part.required("ImageId")?)?);
    Ok(RunInstances {
        image: part.required("ImageId")?.to_owned(),
        instance_type: part.filled("InstanceType").unwrap_or("m1.small").to_owned(),
        zone: part.part("Placement").filled("AvailabilityZone").map(ToOwned::to_owned),
        subnet: subnet.map(ToOwned::to_owned),
        tags: tag_specifications(part)?,
        terminate_on_shutdown: shutdown.map(|text| terminates(part, text)).transpose()?.unwrap_or(false),
        user_data: part.filled("UserData").map(user_data).transpose()?,
        key: part.filled("KeyName").map(ToOwned::to_owned),
        groups,
        group_names: part.texts("SecurityGroup").into_iter().map(ToOwned::to_owned).collect(),
        profile: profile.filled("Arn").or_else(|| profile.filled("Name")).map(ToOwned::to_owned),
        disks: disks(part, image.map(|image| image.root_device.as_str()), image)?,
        without: without(part)?,
        metadata: metadata(part.part("MetadataOptions"), site)?,
        termination_protected: part.flag("DisableApiTermination")?.unwrap_or(false),
        stop_protected: part.flag("DisableApiStop")?.unwrap_or(false),
        public_address,
        keeps_interface,
        hibernate: part.part("HibernationOptions").flag("Configured")?.unwrap_or(false),
        ..RunInstances::default()
    })
}

pub(super) fn terminates(part: &Node, text: &str) -> Result<bool, ApiError> {
    match text {
        "terminate" => Ok(true),
        "stop" => Ok(false),
        other => Err(part.invalid("InstanceInitiatedShutdownBehavior", other, "It must be stop or terminate.")),
    }
}

/// Base64 text as it came, if it is that and not too much.
pub(super) fn user_data(text: &str) -> Result<String, ApiError> {
    let bytes =
        super::from_base64(text).ok_or_else(|| ApiError::invalid_value("Invalid BASE64 encoding of user data."))?;
    if bytes.len() > USER_DATA_MAX {
        return Err(ApiError::invalid_value(format!("User data is limited to {USER_DATA_MAX} bytes")));
    }
    Ok(text.to_owned())
}

/// What the launch says holds before what the account says.
fn metadata(part: &Node, site: &Site) -> Result<MetadataOptions, ApiError> {
    let (of_account, otherwise) = (&site.metadata_defaults, MetadataOptions::default());
    let said = |name: &str, yes: &str, account: Option<bool>, otherwise: bool| {
        part.filled(name).map(|word| word == yes).or(account).unwrap_or(otherwise)
    };
    let hops = part.count("HttpPutResponseHopLimit")?.or(of_account.hop_limit).unwrap_or(otherwise.hop_limit);
    Ok(MetadataOptions {
        token_required: said("HttpTokens", "required", of_account.token_required, otherwise.token_required),
        hop_limit: hops,
        tags: said("InstanceMetadataTags", "enabled", of_account.tags, otherwise.tags),
        enabled: said("HttpEndpoint", "enabled", of_account.enabled, otherwise.enabled),
    })
}

/// The spot market, if the launch is for it.
fn market(part: &Node) -> Result<Option<SpotOptions>, ApiError> {
    match part.filled("MarketType") {
        None => Ok(None),
        Some("spot") => {
            let options = part.part("SpotOptions");
            let persistent = options.filled("SpotInstanceType") == Some("persistent");
            let interruption = options.filled("InstanceInterruptionBehavior").unwrap_or("terminate").to_owned();
            if persistent == (interruption == "terminate") {
                let message = "A persistent Spot request of RunInstances must hibernate or stop on interruption, and a one-time one must terminate";
                return Err(combination(message));
            }
            let max_price = options.filled("MaxPrice").map(ToOwned::to_owned);
            Ok(Some(SpotOptions { max_price, persistent, interruption }))
        }
        Some(other) => Err(part.invalid("MarketType", other, "It must be spot.")),
    }
}

/// Disks as the caller wants them; what is not said of one is as the image has it.
pub(super) fn disks(part: &Node, root: Option<&str>, image: Option<&Image>) -> Result<Vec<Disk>, ApiError> {
    let wanted = part.list("BlockDeviceMapping").into_iter().filter(|mapping| {
        // Without a disk of EBS it is an instance store, or takes the image's disk away.
        !mapping.part("Ebs").is_empty()
    });
    wanted.map(|mapping| disk(mapping, root, image)).collect()
}

/// The devices that an instance store has, or nothing at all.
fn without(part: &Node) -> Result<Vec<String>, ApiError> {
    let mut all = Vec::new();
    for mapping in part.list("BlockDeviceMapping") {
        let elsewhere = mapping.text("NoDevice").is_some() || mapping.filled("VirtualName").is_some();
        if elsewhere && !mapping.part("Ebs").is_empty() {
            let message =
                "A block device mapping is of an EBS volume, of an instance store, or suppressed; not two of these.";
            return Err(ApiError::client("InvalidBlockDeviceMapping", message));
        }
        if elsewhere {
            all.push(mapping.required("DeviceName")?.to_owned());
        }
    }
    Ok(all)
}

fn disk(mapping: &Node, root: Option<&str>, image: Option<&Image>) -> Result<Disk, ApiError> {
    let ebs = mapping.part("Ebs");
    let device = mapping.required("DeviceName")?;
    let inherited = image.and_then(|image| image.disks.iter().find(|disk| disk.device == device));
    let size = ebs.count("VolumeSize")?;
    if let Some(size) = size.filter(|size| *size == 0 || *size > SIZE_GIB_MAX) {
        return Err(ApiError::client("InvalidBlockDeviceMapping", format!("Volume of {size}GiB is out of range.")));
    }
    if let (Some(size), Some(least)) = (size, inherited.map(|disk| disk.size_gib).filter(|least| size < Some(*least))) {
        let message = format!("Volume of size {size}GB is smaller than snapshot, expect size >= {least}GB");
        return Err(ApiError::client("InvalidBlockDeviceMapping", message));
    }
    let said = |name: &str, own: Option<String>| ebs.filled(name).map(ToOwned::to_owned).or(own);
    Ok(Disk {
        device: device.to_owned(),
        size_gib: size.or_else(|| inherited.map(|disk| disk.size_gib)).unwrap_or(SIZE_GIB),
        volume_type: said("VolumeType", inherited.map(|disk| disk.volume_type.clone()))
            .unwrap_or_else(|| "gp2".to_owned()),
        delete_on_termination: ebs
            .flag("DeleteOnTermination")?
            .or_else(|| inherited.map(|disk| disk.delete_on_termination))
            // A root disk ends with its instance, any other one stays.
            .unwrap_or_else(|| root == Some(device)),
        snapshot: said("SnapshotId", inherited.and_then(|disk| disk.snapshot.clone())),
        encrypted: ebs.flag("Encrypted")?.or_else(|| inherited.map(|disk| disk.encrypted)).unwrap_or(false),
        iops: ebs.count("Iops")?,
        throughput: ebs.count("Throughput")?,
        kms_key: said("KmsKeyId", None),
    })
}

pub(super) fn tag_specifications(part: &Node) -> Result<BTreeMap<TagTarget, Tags>, ApiError> {
    let mut all = BTreeMap::new();
    for specification in part.list("TagSpecification") {
        let target = match specification.required("ResourceType")? {
            "instance" => TagTarget::Instance,
            "volume" => TagTarget::Volume,
            "network-interface" => TagTarget::NetworkInterface,
            "spot-instances-request" => TagTarget::SpotRequest,
            other => {
                let message = format!("'{other}' is not a valid taggable resource type for this operation.");
                return Err(ApiError::invalid_value(message));
            }
        };
        all.entry(target).or_insert_with(Tags::new).extend(tags(specification)?);
    }
    Ok(all)
}

/// The tags of the one kind of resource that a call makes.
pub(super) fn tags_for(part: &Node, kind: &str) -> Result<Tags, ApiError> {
    let mut all = Tags::new();
    for specification in part.list("TagSpecification") {
        match specification.required("ResourceType")? {
            named if named == kind => all.extend(tags(specification)?),
            other => {
                let message = format!("'{other}' is not a valid taggable resource type for this operation.");
                return Err(ApiError::invalid_value(message));
            }
        }
    }
    Ok(all)
}

/// Tags, each fit for EC2.
pub(super) fn tags(part: &Node) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for tag in part.list("Tag") {
        let (key, value) = (tag.required("Key")?, tag.text("Value").unwrap_or_default());
        check_tag(key, value)?;
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            let message = format!("Duplicate tag key '{key}' specified.");
            return Err(ApiError::invalid_value(message));
        }
    }
    Ok(tags)
}

pub(super) fn check_tag(key: &str, value: &str) -> Result<(), ApiError> {
    if key.to_ascii_lowercase().starts_with("aws:") {
        let message = "Tag keys starting with 'aws:' are reserved for internal use";
        return Err(ApiError::invalid_value(message));
    }
    if key.chars().count() > KEY_MAX {
        return Err(ApiError::invalid_value(format!("Tag key exceeds the maximum length of {KEY_MAX} characters")));
    }
    if value.chars().count() > VALUE_MAX {
        return Err(ApiError::invalid_value(format!("Tag value exceeds the maximum length of {VALUE_MAX} characters")));
    }
    Ok(())
}
