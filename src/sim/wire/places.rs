//! Regions, zones and instance types.

use super::call::Call;
use super::filter::Values;
use super::xml::Xml;
use crate::sim::error::ApiError;
use crate::sim::instance::Tags;
use crate::sim::site::Site;
use crate::sim::types::{INSTANCE_TYPES, InstanceType, instance_type};

/// The regions that need no opting in, and some that do.
const REGIONS: [&str; 24] = [
    "ap-east-1",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];
/// Those of them that an account must opt in to first.
const OPT_IN: [&str; 7] =
    ["ap-east-1", "eu-central-2", "eu-south-1", "eu-south-2", "il-central-1", "me-central-1", "me-south-1"];

fn opt_in(region: &str) -> &'static str {
    if OPT_IN.contains(&region) { "not-opted-in" } else { "opt-in-not-required" }
}

pub(super) fn describe_regions(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&["endpoint", "opt-in-status", "region-name"])?;
    let all = call.query.flag("AllRegions")?.unwrap_or(false);
    let named = call.query.texts("RegionName");
    let own = &*site.region;
    if let Some(unknown) = named.iter().find(|name| !REGIONS.contains(name) && **name != own) {
        return Err(ApiError::client("InvalidParameterValue", format!("Invalid region name: [{unknown}]")));
    }
    let endpoint = |region: &str| format!("ec2.{region}.amazonaws.com");
    // The region that is asked is one, whatever its name.
    let extra = Some(own).filter(|own| !REGIONS.contains(own));
    let shown = REGIONS.into_iter().chain(extra).filter(|region| {
        (named.is_empty() || named.contains(region))
            && (all || *region == own || !OPT_IN.contains(region))
            && filters.pass(&Tags::new(), |name| match name {
                "region-name" => (*region).to_owned().into(),
                "endpoint" => endpoint(region).into(),
                "opt-in-status" => opt_in(region).into(),
                _ => Values::none(),
            })
    });
    let mut xml = Xml::default();
    xml.set("regionInfo", shown, |xml, region| {
        xml.text("regionName", region).text("regionEndpoint", endpoint(region)).text("optInStatus", opt_in(region));
    });
    Ok(xml)
}

/// The id of a zone, the same in every account: `usw2-az1`.
pub(super) fn zone_id(zone: &str) -> String {
    let Some((region, letter)) = zone.split_at_checked(zone.len().saturating_sub(1)) else { return zone.to_owned() };
    let short: String = region
        .split('-')
        .enumerate()
        .map(|(at, word)| if at == 0 { word.to_owned() } else { initials(word) })
        .collect();
    let number = letter.bytes().next().map_or(0, |letter| u32::from(letter.wrapping_sub(b'a')) + 1);
    format!("{short}-az{number}")
}

fn initials(word: &str) -> String {
    match word {
        "northeast" => "ne".to_owned(),
        "southeast" => "se".to_owned(),
        "northwest" => "nw".to_owned(),
        "southwest" => "sw".to_owned(),
        word => word.chars().take(1).collect(),
    }
}

pub(super) fn describe_zones(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let names = [
        "group-name",
        "message",
        "opt-in-status",
        "parent-zone-id",
        "parent-zone-name",
        "region-name",
        "state",
        "zone-id",
        "zone-name",
        "zone-type",
    ];
    let filters = call.filters(&names)?;
    let (named, ids) = (call.query.texts("ZoneName"), call.query.texts("ZoneId"));
    if let Some(unknown) = named.iter().find(|name| !site.network.zones.iter().any(|zone| zone == **name)) {
        return Err(ApiError::client("InvalidParameterValue", format!("Invalid availability zone: [{unknown}]")));
    }
    let shown = site.network.zones.iter().filter(|zone| {
        let id = zone_id(zone);
        (named.is_empty() || named.contains(&zone.as_str()))
            && (ids.is_empty() || ids.contains(&id.as_str()))
            && filters.pass(&Tags::new(), |name| match name {
                "zone-name" => (*zone).into(),
                "zone-id" => zone_id(zone).into(),
                "region-name" | "group-name" => (*site.region).into(),
                "state" => "available".into(),
                "opt-in-status" => "opt-in-not-required".into(),
                "zone-type" => "availability-zone".into(),
                _ => Values::none(),
            })
    });
    let mut xml = Xml::default();
    xml.set("availabilityZoneInfo", shown, |xml, zone| {
        xml.text("zoneName", zone).text("zoneState", "available").text("regionName", &*site.region);
        xml.text("zoneId", zone_id(zone)).text("groupName", &*site.region).text("networkBorderGroup", &*site.region);
        xml.text("optInStatus", "opt-in-not-required").text("zoneType", "availability-zone");
        xml.set("messageSet", [(); 0], |_, ()| ());
    });
    Ok(xml)
}

const TYPE_FILTERS: [&str; 14] = [
    "bare-metal",
    "burstable-performance-supported",
    "current-generation",
    "free-tier-eligible",
    "hibernation-supported",
    "hypervisor",
    "instance-storage-supported",
    "instance-type",
    "memory-info.size-in-mib",
    "processor-info.supported-architecture",
    "supported-root-device-type",
    "supported-usage-class",
    "supported-virtualization-type",
    "vcpu-info.default-vcpus",
];

pub(super) fn describe_types(call: &Call<'_>, _: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&TYPE_FILTERS)?;
    let page = call.page("InstanceType")?;
    let named = call.query.texts("InstanceType");
    let unknown: Vec<&str> = named.iter().filter(|name| instance_type(name).is_none()).copied().collect();
    if !unknown.is_empty() {
        let message = format!("The following supplied instance types do not exist: [{}]", unknown.join(", "));
        return Err(ApiError::client("InvalidInstanceType", message));
    }
    let mut types: Vec<&InstanceType> = INSTANCE_TYPES.iter().collect();
    types.sort_by_key(|one| one.name);
    let fitting = types.into_iter().filter(|one| {
        (named.is_empty() || named.contains(&one.name))
            && filters.pass(&Tags::new(), |name| match name {
                "instance-type" => one.name.into(),
                "vcpu-info.default-vcpus" => one.vcpus.to_string().into(),
                "memory-info.size-in-mib" => one.memory_mib.to_string().into(),
                "processor-info.supported-architecture" => one.architecture.into(),
                "current-generation" => true.into(),
                "bare-metal" | "free-tier-eligible" | "instance-storage-supported" => false.into(),
                "hibernation-supported" => one.hibernates().into(),
                "burstable-performance-supported" => one.name.starts_with('t').into(),
                "hypervisor" => hypervisor(one).into(),
                "supported-root-device-type" => "ebs".into(),
                "supported-usage-class" => Values::many(["on-demand", "spot"]),
                "supported-virtualization-type" => "hvm".into(),
                _ => Values::none(),
            })
    });
    let part = page.of(fitting, |one| one.name);
    let mut xml = Xml::default();
    xml.set("instanceTypeSet", part.items, type_item);
    xml.opt("nextToken", part.next);
    Ok(xml)
}

fn hypervisor(one: &InstanceType) -> &'static str {
    if one.is_nitro() { "nitro" } else { "xen" }
}

fn type_item(xml: &mut Xml, one: &InstanceType) {
    let list = |xml: &mut Xml, name: &str, values: &[&str]| {
        xml.set_of_texts(name, values.iter().copied());
    };
    xml.text("instanceType", one.name).flag("currentGeneration", true).flag("freeTierEligible", false);
    list(xml, "supportedUsageClasses", &["on-demand", "spot"]);
    list(xml, "supportedRootDeviceTypes", &["ebs"]);
    list(xml, "supportedVirtualizationTypes", &["hvm"]);
    xml.flag("bareMetal", false).text("hypervisor", hypervisor(one));
    list(xml, "supportedBootModes", one.boot_modes());
    xml.within("processorInfo", |xml| list(xml, "supportedArchitectures", &[one.architecture]));
    xml.within("vCpuInfo", |xml| {
        xml.plain("defaultVCpus", one.vcpus);
    });
    xml.within("memoryInfo", |xml| {
        xml.plain("sizeInMiB", one.memory_mib);
    });
    xml.flag("instanceStorageSupported", false).flag("hibernationSupported", one.hibernates());
    xml.flag("burstablePerformanceSupported", one.name.starts_with('t'));
    xml.within("ebsInfo", |xml| {
        xml.text("ebsOptimizedSupport", "default").text("encryptionSupport", "supported");
    });
    xml.within("networkInfo", |xml| {
        xml.text("enaSupport", if one.is_nitro() { "required" } else { "unsupported" });
    });
}

pub(super) fn describe_offerings(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&["instance-type", "location"])?;
    let page = call.page("InstanceType")?;
    let kind = call.query.filled("LocationType").unwrap_or("region");
    let places: Vec<String> = match kind {
        "region" => vec![site.region.to_string()],
        "availability-zone" => site.network.zones.clone(),
        "availability-zone-id" => site.network.zones.iter().map(|zone| zone_id(zone)).collect(),
        other => return Err(call.query.invalid("LocationType", other, "It is not a location type.")),
    };
    let mut all: Vec<(String, &str, &str)> = Vec::new();
    for one in INSTANCE_TYPES {
        all.extend(places.iter().map(|place| (format!("{} {place}", one.name), one.name, place.as_str())));
    }
    all.sort();
    let fitting = all.iter().filter(|(_, name, place)| {
        filters.pass(&Tags::new(), |filter| if filter == "location" { (*place).into() } else { (*name).into() })
    });
    let part = page.of(fitting, |(key, _, _)| key);
    let mut xml = Xml::default();
    xml.set("instanceTypeOfferingSet", part.items, |xml, (_, name, place)| {
        xml.text("instanceType", name).text("locationType", kind).text("location", place);
    });
    xml.opt("nextToken", part.next);
    Ok(xml)
}
