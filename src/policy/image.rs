//! `amis/NAME.toml`: what an owner supplies, and how to launch it.

use std::sync::Arc;

use super::choice::{self, AmiChoice};
use super::disk;
use super::key::{IMAGE_KEYS, REBAKE_KEYS, SUBNET_KEYS, VOLUME_KEYS};
use super::lease_watch::LeaseWatch;
use super::problem::{Origin, Problems, Shown};
use super::reader::{Layer, Located, Reader};
use super::rebake::{self, RebakePolicy};
use crate::model::{
    AmiId, AmiQuery, BlockDevice, DataVolume, ElasticIp, Equipment, Market, Offering, OwnerName, Place, Region,
    VolumeId, Zone, equipment, tag_keys,
};

/// What runs on an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Platform {
    Linux,
    Windows,
    Macos,
    Freebsd,
}

/// The processor an image is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Architecture {
    X86_64,
    Arm64,
}

impl Architecture {
    /// EC2's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Architecture::X86_64 => "x86_64",
            Architecture::Arm64 => "arm64",
        }
    }
}

impl Platform {
    /// Our word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Platform::Linux => "linux",
            Platform::Windows => "windows",
            Platform::Macos => "macos",
            Platform::Freebsd => "freebsd",
        }
    }
}

/// Where the worker's name and password come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// They are in the AMI: one worker per image at a time.
    Baked,
    /// They come in the user data: many workers may share the image.
    Injected,
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Whose account launches it.
    pub owner: OwnerName,
    /// The region of the AMI.
    pub region: Region,
    /// The AMI, or what it is chosen by.
    pub ami: AmiChoice,
    /// The AMI before it, as promotion wrote it.
    pub previous: Option<AmiId>,
    /// Which generation the AMI is, as promotion wrote it.
    pub generation: Option<u32>,
    /// How its next AMI is made.
    pub rebake: RebakePolicy,
    /// What runs on it.
    pub platform: Platform,
    /// The processor it is made for.
    pub architecture: Architecture,
    /// What may be bought, the first choice first.
    pub offerings: Vec<Offering>,
    /// Security group ids.
    pub security_groups: Vec<String>,
    /// Names of security groups of the default VPC.
    pub security_group_names: Vec<String>,
    /// Key pair name.
    pub key_pair: Option<String>,
    /// Instance profile name.
    pub instance_profile: Option<String>,
    /// Disks.
    pub block_devices: Vec<BlockDevice>,
    /// The most that an hour of spot capacity may cost, in dollars.
    pub spot_price_max: Option<String>,
    /// The elastic IP address that the running instance is given.
    pub elastic_ip: Option<ElasticIp>,
    /// The volumes that the running instance is given.
    pub volumes: Vec<DataVolume>,
    /// Where name and password come from.
    pub identity: Identity,
    /// How many workers one launch call may be for; more than one only where its user data is for several.
    pub batch_max: u32,
    /// The template of the user data, relative to `amis/`.
    pub user_data: Option<String>,
    /// How the lease watch comes into its instances.
    pub lease_watch: LeaseWatch,
    /// The owner's own tags.
    pub tags: Vec<(String, String)>,
    /// Where its owner is named, for messages about it.
    pub(super) owner_at: Origin,
    /// Where its template is named.
    pub(super) user_data_at: Option<Origin>,
}

impl Image {
    /// What an instance of it is given once it runs.
    pub fn equipment(&self) -> Vec<Equipment> {
        equipment(self.elastic_ip.as_ref(), &self.volumes)
    }

    /// The listing that its AMI is chosen from, if it names none.
    pub fn ami_query(&self) -> Option<AmiQuery> {
        let filter = self.ami.filter()?;
        let mac = if self.platform == Platform::Macos { "_mac" } else { "" };
        Some(AmiQuery { owners: filter.owners.clone(), architecture: format!("{}{mac}", self.architecture.as_str()) })
    }

    /// Reads a manifest. `rebake` are the layers that hold for each image's table of this name.
    pub(super) fn read<'a>(
        layers: Vec<Layer<'a>>,
        rebake: &[Layer<'a>],
        problems: &mut Problems,
    ) -> Option<(Self, Arc<[Shown]>)> {
        let mut reader = Reader::new(layers, IMAGE_KEYS, "", problems);
        let (owner, region) = (reader.parsed("owner"), reader.parsed::<Region>("region"));
        let ami = choice::read(&mut reader);
        let (previous, generation) = promoted(&mut reader, ami.as_ref());
        let platform = reader.choice("platform").map(|word| match word.value.as_str() {
            "windows" => Platform::Windows,
            "macos" => Platform::Macos,
            "freebsd" => Platform::Freebsd,
            _ => Platform::Linux,
        });
        let arm = reader.choice("architecture").map(|word| word.value == "arm64");
        let types = reader.texts("instance_types").unwrap_or_default();
        let places = places(&mut reader, region.as_ref());
        let markets = markets(&mut reader);
        let security_groups = resource_ids(&mut reader, "security_groups", "sg-");
        let security_group_names = group_names(&mut reader);
        let spot_price_max = spot_price_max(&mut reader, &markets);
        let (elastic_ip, volumes) = (reader.parsed::<ElasticIp>("elastic_ip"), volumes(&mut reader));
        let (key_pair, instance_profile) = (reader.text("key_pair"), reader.text("instance_profile"));
        let block_devices = disk::read(&mut reader);
        let injected = reader.choice("identity").map(|word| word.value == "injected");
        let user_data = reader.text("user_data");
        if injected == Some(true) && user_data.is_none() {
            let at = reader.table_origin();
            reader.report(
                at,
                "user_data",
                None,
                "is missing, and the identity is injected",
                "name a user data template, or write identity = \"baked\"",
            );
        }
        let batch_max = batch_max(&mut reader, injected);
        let lease_watch = lease_watch(&mut reader, platform);
        let tags = tags(&mut reader);
        let rebake = rebake_policy(&mut reader, rebake, platform);
        let shown = reader.finish();
        let owner: Located<OwnerName> = owner?;
        let image = Image {
            owner: owner.value,
            region: region?.value,
            ami: ami?,
            previous,
            generation,
            rebake: rebake?,
            platform: platform?,
            architecture: if arm? { Architecture::Arm64 } else { Architecture::X86_64 },
            offerings: offerings(&types, &places, &markets),
            security_groups,
            security_group_names,
            spot_price_max,
            elastic_ip: elastic_ip.map(|address| address.value),
            volumes,
            key_pair: key_pair.map(|text| text.value),
            instance_profile: instance_profile.map(|text| text.value),
            block_devices,
            identity: if injected? { Identity::Injected } else { Identity::Baked },
            batch_max,
            user_data_at: user_data.as_ref().map(|text| text.at.clone()),
            user_data: user_data.map(|text| text.value),
            lease_watch: lease_watch?,
            tags,
            owner_at: owner.at,
        };
        Some((image, shown.into()))
    }
}

/// How many workers one launch call may be for.
fn batch_max(reader: &mut Reader<'_, '_>, injected: Option<bool>) -> u32 {
    let Some(most) = reader.count("batch_max") else { return 1 };
    if most.value > 1 && injected == Some(false) {
        let cure = "write identity = \"injected\" and a user data template for several workers, or remove it";
        let message = "is of no use: with identity = \"baked\" an image is one worker's";
        reader.report(most.at, "batch_max", Some(most.value.to_string()), message, cure);
    }
    most.value
}

/// What promotion writes, `previous` and `generation`. It writes a file in which `ami` stands.
fn promoted(reader: &mut Reader<'_, '_>, ami: Option<&AmiChoice>) -> (Option<AmiId>, Option<u32>) {
    let why = match (reader.is_declared(), reader.has("ami")) {
        (true, _) => Some("a master declares the image, so there is no file that promotion could write"),
        (false, false) => Some("a filter chooses the AMI, so there is none that promotion could replace"),
        (false, true) => None,
    };
    for key in ["previous", "generation"] {
        if let Some(why) = why.filter(|_| reader.has(key)) {
            let at = reader.origin_of(key);
            reader.report(at, key, None, format!("cannot be given: {why}"), "remove it");
        }
    }
    if why.is_some() {
        return (None, None);
    }
    let (previous, generation) = (reader.parsed::<AmiId>("previous"), reader.count("generation"));
    if let (Some(previous), Some(ami)) = (&previous, ami.and_then(AmiChoice::named))
        && previous.value == *ami
    {
        let cure = "name the AMI before it, or remove the key";
        reader.report(previous.at.clone(), "previous", Some(format!("\"{ami}\"")), "is the same AMI as ami", cure);
    }
    (previous.map(|id| id.value), generation.map(|count| count.value))
}

fn rebake_policy<'a>(
    reader: &mut Reader<'a, '_>,
    base: &[Layer<'a>],
    platform: Option<Platform>,
) -> Option<RebakePolicy> {
    if reader.is_declared() && reader.has("rebake") {
        let at = reader.origin_of("rebake");
        let message = "cannot be given: a master declares the image, so there is no file that promotion could write";
        reader.report(at, "rebake", None, message, "write the image into amis/ to have it rebaked, or remove the key");
        return None;
    }
    let layers = rebake::layers_of(reader.table("rebake"), base);
    let mut below = reader.below_in_layers(layers, REBAKE_KEYS, "rebake");
    let policy = RebakePolicy::read(&mut below, platform);
    let shown = below.finish();
    reader.shown.extend(shown);
    policy
}

fn lease_watch(reader: &mut Reader<'_, '_>, platform: Option<Platform>) -> Option<LeaseWatch> {
    let word = reader.choice("lease_watch");
    let Some(word) = word else { return platform.map(LeaseWatch::default_of) };
    let watch = match word.value.as_str() {
        "user-data" => LeaseWatch::UserData,
        "baked" => LeaseWatch::Baked,
        _ => LeaseWatch::None,
    };
    if platform == Some(Platform::Macos) && watch != LeaseWatch::None {
        let cure = "write \"none\", or leave the key away";
        let message = "is not possible: there is no lease watch for macOS";
        reader.report(word.at, "lease_watch", Some(format!("{:?}", word.value)), message, cure);
    }
    Some(watch)
}

/// All combinations: markets outermost, so that the first market is exhausted before the second.
fn offerings(types: &[Located<String>], places: &[Place], markets: &[Market]) -> Vec<Offering> {
    let mut all = Vec::new();
    for market in markets {
        for instance_type in types {
            for place in places {
                all.push(Offering {
                    instance_type: instance_type.value.clone(),
                    place: place.clone(),
                    market: *market,
                });
            }
        }
    }
    all
}

fn places(reader: &mut Reader<'_, '_>, region: Option<&Located<Region>>) -> Vec<Place> {
    let mut places = Vec::new();
    for layer in reader.tables("subnets") {
        let mut below = reader.below(layer, SUBNET_KEYS, "subnets");
        let (id, zone) = (below.text("id"), below.parsed::<Zone>("zone"));
        if let Some(zone) = &zone {
            in_region(&mut below, "zone", zone, region);
        }
        if let Some(id) = id {
            places.push(Place::Subnet(id.value));
        }
        below.finish();
    }
    let zones = reader.texts("zones").unwrap_or_default();
    if let (false, Some(zone)) = (places.is_empty(), zones.first()) {
        reader.report(
            zone.at.clone(),
            "zones",
            None,
            "is given beside subnets",
            "keep one of the two: a subnet lies in one zone",
        );
    }
    for text in zones {
        match text.value.parse::<Zone>() {
            Ok(zone) => {
                in_region(reader, "zones", &Located { value: zone.clone(), at: text.at }, region);
                places.push(Place::Zone(zone));
            }
            Err(error) => {
                reader.report(text.at, "zones", Some(format!("{:?}", text.value)), error, "correct the value");
            }
        }
    }
    if places.is_empty() {
        places.push(Place::Anywhere);
    }
    places
}

fn in_region(reader: &mut Reader<'_, '_>, key: &str, zone: &Located<Zone>, region: Option<&Located<Region>>) {
    if let Some(region) = region
        && !region.value.contains(&zone.value)
    {
        let message = format!("is not in the image's region {} ({})", region.value, region.at);
        reader.report(
            zone.at.clone(),
            key,
            Some(format!("\"{}\"", zone.value)),
            message,
            "an AMI can be launched in its own region only: copy it, or name a zone of that region",
        );
    }
}

fn markets(reader: &mut Reader<'_, '_>) -> Vec<Market> {
    let words = reader.choices("market").unwrap_or_default();
    words.iter().map(|word| if word.value == "spot" { Market::Spot } else { Market::OnDemand }).collect()
}

pub(super) fn resource_ids(reader: &mut Reader<'_, '_>, key: &'static str, prefix: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for text in reader.texts(key).unwrap_or_default() {
        if text.value.starts_with(prefix) {
            ids.push(text.value);
        } else {
            reader.report(
                text.at,
                key,
                Some(format!("{:?}", text.value)),
                "is not an id",
                format!("write the id, {prefix}…, not the name"),
            );
        }
    }
    ids
}

/// Names are looked for in the default VPC alone; a subnet may lie in another one.
fn group_names(reader: &mut Reader<'_, '_>) -> Vec<String> {
    if !reader.has("security_group_names") {
        return Vec::new();
    }
    let by_id = "name the groups in one way: by security_groups (ids) or by security_group_names";
    choice::excludes(reader, "security_group_names", "security_groups", by_id);
    let default_vpc = "write security_groups with ids: names are those of the default VPC only";
    choice::excludes(reader, "security_group_names", "subnets", default_vpc);
    let mut names = Vec::new();
    for text in reader.texts("security_group_names").unwrap_or_default() {
        if text.value.starts_with("sg-") || text.value.trim().is_empty() {
            let cure = "write the group's name; ids belong into security_groups";
            reader.report(text.at, "security_group_names", Some(format!("{:?}", text.value)), "is not a name", cure);
        } else {
            names.push(text.value);
        }
    }
    names
}

/// A decimal number of dollars, as EC2 takes it.
fn spot_price_max(reader: &mut Reader<'_, '_>, markets: &[Market]) -> Option<String> {
    if !reader.has("spot_price_max") {
        return None;
    }
    let text = reader.text("spot_price_max")?;
    let (whole, part) = text.value.split_once('.').unwrap_or((&text.value, "0"));
    let digits = |text: &str| (1..=6).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || text.value.bytes().all(|b| matches!(b, b'0' | b'.')) {
        let cure = "write dollars per hour, such as \"1.6\"";
        reader.report(text.at, "spot_price_max", Some(format!("{:?}", text.value)), "is not a price", cure);
        return None;
    }
    if !markets.contains(&Market::Spot) {
        let message = "is given, and market has no \"spot\"";
        let cure = "add \"spot\" to market, or remove the price";
        reader.report(text.at, "spot_price_max", Some(format!("{:?}", text.value)), message, cure);
        return None;
    }
    Some(text.value)
}

fn volumes(reader: &mut Reader<'_, '_>) -> Vec<DataVolume> {
    let mut all: Vec<DataVolume> = Vec::new();
    for layer in reader.tables("volumes") {
        let mut below = reader.below(layer, VOLUME_KEYS, "volumes");
        let (id, device) = (below.parsed::<VolumeId>("id"), below.text("device"));
        if let (Some(id), Some(device)) = (id, device) {
            for (taken, key, at) in [
                (all.iter().any(|other| other.id == id.value), "id", &id.at),
                (all.iter().any(|other| other.device == device.value), "device", &device.at),
            ] {
                if taken {
                    below.report(at.clone(), key, None, "is given twice", "name each volume and each device once");
                }
            }
            all.push(DataVolume { id: id.value, device: device.value });
        }
        below.finish();
    }
    all
}

fn tags(reader: &mut Reader<'_, '_>) -> Vec<(String, String)> {
    let mut tags = Vec::new();
    for text in reader.texts("tags").unwrap_or_default() {
        let pair = text.value.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        match pair {
            Some((key, _)) if key.starts_with(tag_keys::PREFIX) || key.starts_with("aws:") => {
                reader.report(
                    text.at,
                    "tags",
                    Some(format!("{:?}", text.value)),
                    "uses a reserved key",
                    "choose a key that begins with neither latent: nor aws:",
                );
            }
            Some((key, value))
                if !key.is_empty() && key.len() <= 127 && value.len() <= 255 && !key.contains(['/', ' ']) =>
            {
                tags.push((key.to_owned(), value.to_owned()));
            }
            _ => reader.report(
                text.at,
                "tags",
                Some(format!("{:?}", text.value)),
                "is not a tag",
                "write \"key=value\"; a key holds no space and no '/'",
            ),
        }
    }
    tags
}
