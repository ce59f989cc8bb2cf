//! What the templates are filled with: the owner's part of the configuration, as ARNs.

use std::collections::{BTreeMap, BTreeSet};

use super::IamError;
use crate::model::{ImageName, Market, OwnerName, Place, Region};
use crate::policy::{Image, Intent, Owner};

/// The largest disk if nothing says another, in GiB.
const DISK_GIB_MAX: u32 = 200;
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
            open.extend(left_open(name, image));
        }
        lists.entry("volume_type").or_default().extend(GENERAL_PURPOSE.map(ToOwned::to_owned));
        let disk = disk_limit(owner, configured, &images)?;
        let ones = BTreeMap::from([
            ("account", account.to_owned()),
            ("disk_gib_max", disk.to_string()),
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
const EMPTY: [&str; 21] = [
    "any_address",
    "any_image",
    "any_instance",
    "any_interface",
    "any_snapshot",
    "any_spot_request",
    "any_volume",
    "instance_profile",
    "instance_role",
    "instance_type",
    "key_pair",
    "manifest_image",
    "own_spot_request",
    "profile_instance",
    "region",
    "security_group",
    "shell_document",
    "subnet",
    "volume_type",
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

    /// A resource of IAM: they have no region.
    fn iam(&self, resource: &str) -> String {
        format!("arn:{}:iam::{}:{resource}", self.partition, self.account)
    }
}

fn image_lists(name: &ImageName, image: &Image, place: &Where<'_>, lists: &mut Lists) -> Result<(), IamError> {
    let mut add = |list: &'static str, item: String| lists.entry(list).or_default().insert(item);
    let key = |key: &str| format!("amis/{name}.toml: {key}");
    add("region", image.region.to_string());
    add("manifest_image", place.shared(&format!("image/{}", image.ami)));
    add("any_image", place.shared("image/*"));
    add("any_snapshot", place.shared("snapshot/*"));
    for (list, kind) in [
        ("any_address", "elastic-ip"),
        ("any_instance", "instance"),
        ("any_interface", "network-interface"),
        ("any_volume", "volume"),
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
    for kind in image.block_devices.iter().filter_map(|device| device.volume_type.clone()) {
        add("volume_type", kind);
    }
    Ok(())
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
    if image.security_groups.is_empty() {
        open.push(format!("amis/{name}.toml names no security_groups: any group of {} is allowed", image.region));
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
