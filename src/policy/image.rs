//! `amis/NAME.toml`: what an owner supplies, and how to launch it.

use super::key::{BLOCK_DEVICE_KEYS, IMAGE_KEYS, SUBNET_KEYS};
use super::lease_watch::LeaseWatch;
use super::problem::{Origin, Problems, Shown};
use super::reader::{Layer, Located, Reader};
use crate::model::{AmiId, BlockDevice, Market, Offering, OwnerName, Place, Region, Zone, tag_keys};

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
    /// The AMI.
    pub ami: AmiId,
    /// What runs on it.
    pub platform: Platform,
    /// The processor it is made for.
    pub architecture: Architecture,
    /// What may be bought, the first choice first.
    pub offerings: Vec<Offering>,
    /// Security group ids.
    pub security_groups: Vec<String>,
    /// Key pair name.
    pub key_pair: Option<String>,
    /// Instance profile name.
    pub instance_profile: Option<String>,
    /// Disks.
    pub block_devices: Vec<BlockDevice>,
    /// Where name and password come from.
    pub identity: Identity,
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
    pub(super) fn read(layers: Vec<Layer<'_>>, problems: &mut Problems) -> Option<(Self, Vec<Shown>)> {
        let mut reader = Reader::new(layers, IMAGE_KEYS, "", problems);
        let (owner, region, ami) = (reader.parsed("owner"), reader.parsed::<Region>("region"), reader.parsed("ami"));
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
        let (key_pair, instance_profile) = (reader.text("key_pair"), reader.text("instance_profile"));
        let block_devices = block_devices(&mut reader);
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
        let lease_watch = lease_watch(&mut reader, platform);
        let tags = tags(&mut reader);
        let shown = reader.finish();
        let owner: Located<OwnerName> = owner?;
        let image = Image {
            owner: owner.value,
            region: region?.value,
            ami: ami?.value,
            platform: platform?,
            architecture: if arm? { Architecture::Arm64 } else { Architecture::X86_64 },
            offerings: offerings(&types, &places, &markets),
            security_groups,
            key_pair: key_pair.map(|text| text.value),
            instance_profile: instance_profile.map(|text| text.value),
            block_devices,
            identity: if injected? { Identity::Injected } else { Identity::Baked },
            user_data_at: user_data.as_ref().map(|text| text.at.clone()),
            user_data: user_data.map(|text| text.value),
            lease_watch: lease_watch?,
            tags,
            owner_at: owner.at,
        };
        Some((image, shown))
    }
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

fn resource_ids(reader: &mut Reader<'_, '_>, key: &'static str, prefix: &str) -> Vec<String> {
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

fn block_devices(reader: &mut Reader<'_, '_>) -> Vec<BlockDevice> {
    let mut devices = Vec::new();
    for layer in reader.tables("block_devices") {
        let mut below = reader.below(layer, BLOCK_DEVICE_KEYS, "block_devices");
        let device = below.text("device");
        let size_gib = below.count("size_gib").map(|count| count.value);
        let volume_type = below.choice("type").map(|word| word.value);
        let encrypted = below.flag("encrypted").map(|flag| flag.value);
        below.finish();
        if let Some(device) = device {
            devices.push(BlockDevice { device: device.value, size_gib, volume_type, encrypted });
        }
    }
    devices
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
