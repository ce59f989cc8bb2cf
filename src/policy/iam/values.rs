//! What the templates are filled with: the owner's part of the configuration, as ARNs.

use std::collections::{BTreeMap, BTreeSet};

use super::IamError;
use crate::model::{AmiFilter, Equipment, ImageName, Market, OwnerName, Place, Region};
use crate::policy::{AmiChoice, Image, Intent, Owner};

/// The largest disk if nothing says another, in GiB.
const DISK_GIB_MAX: u32 = 200;
/// The most operations per second of a disk if no manifest names more.
const DISK_IOPS_MAX: u32 = 16_000;
/// Types that every AMI may have its disks on, beside those that the manifests name.
const GENERAL_PURPOSE: [&str; 2] = ["gp2", "gp3"];

/// The names that templates may use.
#[derive(Debug)]
pub(super) struct Values {
    ones: BTreeMap<&'static str, String>,
    lists: BTreeMap<&'static str, Vec<String>>,
    /// What the configuration leaves open, and how to close it.
    pub(super) open: Vec<String>,
}

/// Sorted and without repetition, by name.
type Lists = BTreeMap<&'static str, BTreeSet<String>>;

impl Values {
    pub(super) fn one(&self, name: &str) -> Result<&str, String> {
        self.ones.get(name).map(String::as_str).ok_or_else(|| format!("{name} is no known name"))
    }

    pub(super) fn list(&self, name: &str) -> Result<&[String], String> {
        self.lists.get(name).map(Vec::as_slice).ok_or_else(|| format!("{name} is no known list"))
    }

    pub(super) fn of(
        intent: &Intent,
        owner: &OwnerName,
        configured: &Owner,
        principal: &str,
        external_id: &str,
    ) -> Result<Self, IamError> {
        let images: Vec<(&ImageName, &Image)> = intent.images.iter().filter(|(_, i)| i.owner == *owner).collect();
        let Some((_, first)) = images.first() else {
            let cure = "add amis/NAME.toml: the roles are made for what the manifests say";
            return Err(IamError::key(format!("owner.{owner}"), "has no image manifest", cure));
        };
        let partition = partition(&first.region);
        let account = account_of(owner, configured)?;
        let mut lists: Lists = EMPTY.into_iter().map(|name| (name, BTreeSet::new())).collect();
        let mut open = Vec::new();
        for (name, image) in &images {
            let place = Where { partition, region: &image.region, account };
            image_lists(name, image, &place, &mut lists)?;
            ami_lists(image, &place, &mut lists);
            disk_lists(name, image, &place, &mut lists)?;
            equipment_lists(image, &place, &mut lists);
            open.extend(left_open(name, image));
        }
        lists.entry("volume_type").or_default().extend(GENERAL_PURPOSE.map(ToOwned::to_owned));
        let disk = disk_limit(owner, configured, &images)?;
        let ones = BTreeMap::from([
            ("account", account.to_owned()),
            ("disk_gib_max", disk.to_string()),
            ("disk_iops_max", disk_iops(&images).to_string()),
            ("external_id", safe(&format!("owner.{owner}.credentials.external_id"), external_id)?),
            ("fleet", intent.fleet.name.clone()),
            ("owner", owner.to_string()),
            ("partition", partition.to_owned()),
            ("principal", principal.to_owned()),
        ]);
        if configured.disk_gib_max.is_none() {
            open.push(format!("disks up to {disk} GiB are allowed: owner.{owner}.disk_gib_max sets another limit"));
        }
        let lists = lists.into_iter().map(|(name, items)| (name, items.into_iter().collect())).collect();
        Ok(Self { ones, lists, open })
    }
}

/// Every list, so that one without items is known too.
const EMPTY: [&str; 35] = [
    "address_by_ip",
    "addressed",
    "ami_owner",
    "any_address",
    "any_image",
    "any_instance",
    "any_interface",
    "any_security_group",
    "any_snapshot",
    "any_spot_request",
    "any_volume",
    "any_vpc",
    "filter_image",
    "instance_profile",
    "instance_role",
    "instance_type",
    "key_pair",
    "kms_key",
    "kms_via",
    "manifest_image",
    "named_address",
    "named_snapshot",
    "named_volume",
    "open_image",
    "own_spot_request",
    "profile_instance",
    "public_ip",
    "region",
    "security_group",
    "shell_document",
    "subnet",
    "volume_type",
    "volumed_instance",
    "zone",
    "zone_subnet",
];

/// Where ARNs point to.
struct Where<'a> {
    partition: &'a str,
    region: &'a Region,
    account: &'a str,
}

impl Where<'_> {
    /// A resource of the account in the region.
    fn own(&self, resource: &str) -> String {
        format!("arn:{}:ec2:{}:{}:{resource}", self.partition, self.region, self.account)
    }

    /// An image or a snapshot: their ARNs name no account.
    fn shared(&self, resource: &str) -> String {
        format!("arn:{}:ec2:{}::{resource}", self.partition, self.region)
    }

    /// A document of AWS itself: its ARN names no account.
    fn public_document(&self, name: &str) -> String {
        format!("arn:{}:ssm:{}::document/{name}", self.partition, self.region)
    }

    /// A resource of KMS in the account and region.
    fn kms(&self, resource: &str) -> String {
        format!("arn:{}:kms:{}:{}:{resource}", self.partition, self.region, self.account)
    }

    /// A resource of IAM: they have no region.
    fn iam(&self, resource: &str) -> String {
        format!("arn:{}:iam::{}:{resource}", self.partition, self.account)
    }
}

fn image_lists(name: &ImageName, image: &Image, place: &Where<'_>, lists: &mut Lists) -> Result<(), IamError> {
    let mut add = |list: &'static str, item: String| lists.entry(list).or_default().insert(item);
    let key = |key: &str| format!("amis/{name}.toml: {key}");
    add("region", image.region.to_string());
    add("any_image", place.shared("image/*"));
    add("any_snapshot", place.shared("snapshot/*"));
    for (list, kind) in [
        ("any_address", "elastic-ip"),
        ("any_instance", "instance"),
        ("any_interface", "network-interface"),
        ("any_security_group", "security-group"),
        ("any_volume", "volume"),
        ("any_vpc", "vpc"),
        ("own_spot_request", "spot-instances-request"),
    ] {
        add(list, place.own(&format!("{kind}/*")));
    }
    for document in ["AWS-RunShellScript", "AWS-RunPowerShellScript"] {
        add("shell_document", place.public_document(document));
    }
    for offering in &image.offerings {
        add("instance_type", safe(&key("instance_types"), &offering.instance_type)?);
        match &offering.place {
            Place::Anywhere => add("subnet", place.own("subnet/*")),
            Place::Zone(zone) => add("zone", zone.to_string()) | add("zone_subnet", place.own("subnet/*")),
            Place::Subnet(id) => add("subnet", place.own(&format!("subnet/{}", safe(&key("subnets"), id)?))),
        };
        if offering.market == Market::Spot {
            add("any_spot_request", place.own("spot-instances-request/*"));
        }
    }
    for group in &image.security_groups {
        add("security_group", place.own(&format!("security-group/{}", safe(&key("security_groups"), group)?)));
    }
    if image.security_groups.is_empty() {
        add("security_group", place.own("security-group/*"));
    }
    if let Some(pair) = &image.key_pair {
        add("key_pair", place.own(&format!("key-pair/{}", safe(&key("key_pair"), pair)?)));
    }
    if let Some(profile) = &image.instance_profile {
        let profile = safe(&key("instance_profile"), profile)?;
        add("profile_instance", place.own("instance/*"));
        add("instance_profile", place.iam(&format!("instance-profile/{profile}")));
        add("instance_role", place.iam(&format!("role/{profile}")));
    }
    Ok(())
}

/// The AMI that the manifest names, or those that its filter may choose.
fn ami_lists(image: &Image, place: &Where<'_>, lists: &mut Lists) {
    let mut add = |list: &'static str, item: String| lists.entry(list).or_default().insert(item);
    let filter = match &image.ami {
        AmiChoice::Named(ami) => {
            add("manifest_image", place.shared(&format!("image/{ami}")));
            return;
        }
        AmiChoice::Filter(filter) => filter,
    };
    if is_open(filter) {
        add("open_image", place.shared("image/*"));
        return;
    }
    add("filter_image", place.shared("image/*"));
    for owner in &filter.owners {
        add("ami_owner", if owner == "self" { place.account.to_owned() } else { owner.clone() });
    }
}

/// Whether no policy can bind what a filter may choose: it names nobody, or one whom IAM has no word for.
fn is_open(filter: &AmiFilter) -> bool {
    filter.owners.is_empty() || filter.owners.iter().any(|owner| owner == "microsoft")
}

fn disk_lists(name: &ImageName, image: &Image, place: &Where<'_>, lists: &mut Lists) -> Result<(), IamError> {
    let mut add = |list: &'static str, item: String| lists.entry(list).or_default().insert(item);
    for device in &image.block_devices {
        if let Some(kind) = &device.volume_type {
            add("volume_type", kind.clone());
        }
        if let Some(snapshot) = &device.snapshot {
            add("named_snapshot", place.shared(&format!("snapshot/{snapshot}")));
        }
        if let Some(key) = device.kms_key.as_ref().filter(|key| !is_alias(key)) {
            let key = safe(&format!("amis/{name}.toml: kms_key"), key)?;
            add("kms_key", if key.starts_with("arn:") { key } else { place.kms(&format!("key/{key}")) });
            add("kms_via", format!("ec2.{}.amazonaws.com", place.region));
        }
    }
    Ok(())
}

/// An alias is no resource of a policy: the key behind it is.
fn is_alias(key: &str) -> bool {
    key.starts_with("alias/") || key.contains(":alias/")
}

fn equipment_lists(image: &Image, place: &Where<'_>, lists: &mut Lists) {
    let mut add = |list: &'static str, item: String| lists.entry(list).or_default().insert(item);
    for what in image.equipment() {
        match what {
            Equipment::Address(address) => {
                add("addressed", place.own("instance/*"));
                add("addressed", place.own("network-interface/*"));
                if address.as_str().starts_with("eipalloc-") {
                    add("named_address", place.own(&format!("elastic-ip/{address}")));
                } else {
                    add("address_by_ip", place.own("elastic-ip/*"));
                    add("public_ip", address.to_string());
                }
            }
            Equipment::Volume(volume) => {
                add("volumed_instance", place.own("instance/*"));
                add("named_volume", place.own(&format!("volume/{}", volume.id)));
            }
        }
    }
}

/// What a manifest leaves to EC2, and what would close it.
fn left_open(name: &ImageName, image: &Image) -> Vec<String> {
    let mut open = Vec::new();
    let places: BTreeSet<&Place> = image.offerings.iter().map(|offering| &offering.place).collect();
    if places.contains(&Place::Anywhere) {
        open.push(format!(
            "amis/{name}.toml names neither subnets nor zones: any subnet of {} is allowed",
            image.region
        ));
    } else if places.iter().any(|place| matches!(place, Place::Zone(_))) {
        open.push(format!("amis/{name}.toml names zones: any subnet in them is allowed, where subnets would be exact"));
    }
    if !image.security_group_names.is_empty() {
        open.push(format!(
            "amis/{name}.toml names security_group_names: any group of {} is allowed, where ids would be exact",
            image.region
        ));
    } else if image.security_groups.is_empty() {
        open.push(format!("amis/{name}.toml names no security_groups: any group of {} is allowed", image.region));
    }
    if let Some(filter) = image.ami.filter() {
        open.push(if is_open(filter) {
            format!("amis/{name}.toml chooses an AMI by {filter}: any AMI that can be seen is allowed")
        } else {
            format!("amis/{name}.toml chooses an AMI by {filter}: any AMI of these owners is allowed")
        });
    }
    for key in image.block_devices.iter().filter_map(|device| device.kms_key.as_ref()).filter(|key| is_alias(key)) {
        open.push(format!(
            "amis/{name}.toml names KMS key {key} by an alias: its use is not allowed by this, name the key's id or ARN"
        ));
    }
    if let Some(profile) = &image.instance_profile {
        open.push(format!(
            "amis/{name}.toml names instance profile {profile}: its role is taken to have the same name, \
             and whoever can launch this worker has what that role may do"
        ));
    }
    open
}

fn disk_limit(owner: &OwnerName, configured: &Owner, images: &[(&ImageName, &Image)]) -> Result<u32, IamError> {
    let largest = |image: &Image| image.block_devices.iter().filter_map(|device| device.size_gib).max().unwrap_or(0);
    let limit = match configured.disk_gib_max {
        None => images.iter().map(|(_, image)| largest(image)).fold(DISK_GIB_MAX, u32::max),
        Some(limit) => limit,
    };
    match images.iter().find(|(_, image)| largest(image) > limit) {
        None => Ok(limit),
        Some((name, image)) => {
            let message = format!("{limit} is less than the {} GiB of a disk in amis/{name}.toml", largest(image));
            Err(IamError::key(format!("owner.{owner}.disk_gib_max"), message, "raise it, or make the disk smaller"))
        }
    }
}

/// The most operations per second of any disk.
fn disk_iops(images: &[(&ImageName, &Image)]) -> u32 {
    let named = images.iter().flat_map(|(_, image)| &image.block_devices).filter_map(|device| device.iops);
    named.fold(DISK_IOPS_MAX, u32::max)
}

/// The part of AWS that a region belongs to, as ARNs name it.
/// The owner's account, which the files always name.
pub(super) fn account_of<'a>(owner: &OwnerName, configured: &'a Owner) -> Result<&'a str, IamError> {
    let missing = || IamError::key(format!("owner.{owner}.account"), "is missing", "write its 12 digits in quotes");
    configured.account.as_deref().ok_or_else(missing)
}

fn partition(region: &Region) -> &'static str {
    if region.as_str().starts_with("cn-") {
        "aws-cn"
    } else if region.as_str().starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

/// A value that stands for itself in a policy: no pattern, no variable, nothing that ends a text.
fn safe(key: &str, value: &str) -> Result<String, IamError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:/+=,@ ()".contains(c);
    if value.chars().all(fits) {
        return Ok(value.to_owned());
    }
    let message = format!("{value:?} could mean more than itself in a policy");
    Err(IamError::key(key, message, "use letters, digits and -_.:/+=,@ only"))
}
