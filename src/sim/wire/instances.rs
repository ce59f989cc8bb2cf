//! What EC2 says of instances.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::call::{Call, instance_id};
use super::filter::{Filters, TAGS, Values};
use super::xml::Xml;
use crate::model::{InstanceId, InstanceState};
use crate::sim::error::ApiError;
use crate::sim::image::Platform;
use crate::sim::instance::{Facts, Instance, Tags};
use crate::sim::site::Site;
use crate::sim::types::instance_type;
use crate::sim::weather::Fault;

const FILTERS: [&str; 54] = [
    TAGS,
    "affinity",
    "architecture",
    "availability-zone",
    "availability-zone-id",
    "block-device-mapping.attach-time",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.status",
    "block-device-mapping.volume-id",
    "client-token",
    "dns-name",
    "group-id",
    "group-name",
    "host-id",
    "hibernation-options.configured",
    "hypervisor",
    "iam-instance-profile.arn",
    "iam-instance-profile.id",
    "image-id",
    "instance.group-id",
    "instance.group-name",
    "instance-id",
    "instance-lifecycle",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "ip-address",
    "kernel-id",
    "key-name",
    "launch-index",
    "launch-time",
    "metadata-options.http-tokens",
    "monitoring-state",
    "network-interface.network-interface-id",
    "network-interface.subnet-id",
    "network-interface.vpc-id",
    "owner-id",
    "placement-group-name",
    "platform",
    "platform-details",
    "private-dns-name",
    "private-ip-address",
    "product-code",
    "reason",
    "requester-id",
    "reservation-id",
    "root-device-name",
    "root-device-type",
    "spot-instance-request-id",
    "state-reason-code",
    "subnet-id",
    "vpc-id",
    "tenancy",
];

/// An instance as one replica shows it.
type Seen<'a> = (&'a Instance, Arc<Facts>);

/// What one replica shows of all instances, or of those that are named.
fn seen<'a>(site: &'a Site, replica: usize, ids: &[InstanceId], now: DateTime<Utc>) -> Result<Vec<Seen<'a>>, ApiError> {
    let show = |instance: &'a Instance| instance.seen_by(replica, now).map(|facts| (instance, Arc::clone(facts)));
    if ids.is_empty() {
        return Ok(site.instances().filter_map(show).collect());
    }
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for id in ids {
        match site.shown(id).and_then(show) {
            Some(one) => found.push(one),
            None => unknown.push(id.as_str()),
        }
    }
    found.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
    found.dedup_by(|(one, _), (other, _)| one.id == other.id);
    if unknown.is_empty() { Ok(found) } else { Err(ApiError::no_instance(&unknown)) }
}

/// While a zone is out, a call fails that names instances there, or neither instances nor other zones.
fn check_zones(site: &Site, ids: &[InstanceId], filters: &Filters, now: DateTime<Utc>) -> Result<(), ApiError> {
    let named = filters.exact("availability-zone");
    let concerned = |zone: &str| match (ids, named) {
        ([], None) => true,
        ([], Some(zones)) => zones.iter().any(|named| named == zone),
        (ids, _) => ids.iter().any(|id| site.instance(id).is_some_and(|instance| instance.zone == zone)),
    };
    let out = site.network.zones.iter().find(|zone| concerned(zone) && site.holds(Fault::ZoneOutage, zone, now));
    match out {
        None => Ok(()),
        Some(zone) => {
            let message = format!("The service is unavailable in {zone}. Please try again shortly.");
            Err(ApiError { status: 503, ..ApiError::server("Unavailable", message) })
        }
    }
}

pub(super) fn describe(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&FILTERS)?;
    let (ids, page) = (call.instance_ids()?, call.page("InstanceId")?);
    let replica = site.replica();
    check_zones(site, &ids, &filters, call.now)?;
    let found = seen(site, replica, &ids, call.now)?;
    let fitting = found
        .into_iter()
        .filter(|(instance, facts)| filters.pass(&facts.tags, |name| value(site, instance, facts, name)));
    let part = page.of(fitting, |(instance, _)| instance.id.as_str());
    let mut reservations: Vec<(&str, Vec<&Seen<'_>>)> = Vec::new();
    for one in &part.items {
        match reservations.iter_mut().rev().find(|(id, _)| *id == one.0.reservation) {
            Some((_, instances)) => instances.push(one),
            None => reservations.push((&one.0.reservation, vec![one])),
        }
    }
    let mut xml = Xml::default();
    xml.set("reservationSet", reservations, |xml, (reservation, instances)| {
        xml.text("reservationId", reservation).text("ownerId", &*site.account).set("groupSet", [(); 0], |_, ()| ());
        xml.set("instancesSet", instances, |xml, (instance, facts)| {
            instance_item(xml, site, instance, facts);
        });
    });
    xml.opt("nextToken", part.next);
    Ok(xml)
}

/// What an instance has under the name of a filter.
fn value<'a>(site: &'a Site, instance: &'a Instance, facts: &'a Facts, name: &str) -> Values<'a> {
    let params = &instance.params;
    let network = facts.state != InstanceState::Terminated;
    let (subnet, vpc) = (network.then_some(instance.subnet.as_str()), network.then_some(site.network.vpc.as_str()));
    match name {
        "instance-id" => instance.id.as_str().into(),
        "instance-state-name" => facts.state.to_string().into(),
        "instance-state-code" => code(&facts.state).to_string().into(),
        "instance-type" => facts.instance_type.as_str().into(),
        "availability-zone" => (&instance.zone).into(),
        "client-token" => instance.token.as_deref().into(),
        "image-id" => (&params.image).into(),
        "key-name" => params.key.as_deref().into(),
        "reservation-id" => (&instance.reservation).into(),
        "owner-id" => (*site.account).into(),
        "subnet-id" | "network-interface.subnet-id" => subnet.into(),
        "vpc-id" | "network-interface.vpc-id" => vpc.into(),
        "network-interface.network-interface-id" => (&instance.interface).into(),
        "private-ip-address" => (&instance.private_ip).into(),
        "ip-address" => facts.public_ip.as_deref().into(),
        "dns-name" => facts.public_ip.as_deref().map(|ip| public_name(ip, &site.region)).into(),
        "private-dns-name" => private_name(&instance.private_ip, &site.region).into(),
        "launch-time" => facts.launch_time.into(),
        "state-reason-code" => facts.reason.as_ref().map(|reason| reason.code.as_str()).into(),
        "reason" => facts.transition.as_str().into(),
        "instance-lifecycle" => params.spot.as_ref().map(|_| "spot").into(),
        "spot-instance-request-id" => instance.spot_request.as_deref().into(),
        "instance.group-id" | "group-id" => Values::many(instance.groups.iter().map(String::as_str)),
        "instance.group-name" | "group-name" => Values::many(group_names(site, instance)),
        "iam-instance-profile.arn" => params.profile.as_deref().map(|name| profile_arn(site, name)).into(),
        "hibernation-options.configured" => params.hibernate.into(),
        "metadata-options.http-tokens" => http_tokens(instance).into(),
        "block-device-mapping.volume-id" => Values::many(instance.volumes.iter().map(|(_, volume)| volume.as_str())),
        "block-device-mapping.device-name" => Values::many(instance.volumes.iter().map(|(device, _)| device.as_str())),
        "architecture" => architecture(site, instance).into(),
        "root-device-name" => root_device(site, instance).into(),
        "root-device-type" => "ebs".into(),
        "hypervisor" => "nitro".into(),
        "tenancy" => "default".into(),
        "monitoring-state" => "disabled".into(),
        "launch-index" => instance.launch_index.to_string().into(),
        "platform" => is_windows(site, instance).then_some("windows").into(),
        "platform-details" => if is_windows(site, instance) { "Windows" } else { "Linux/UNIX" }.into(),
        _ => Values::none(),
    }
}

fn group_names<'a>(site: &'a Site, instance: &'a Instance) -> impl Iterator<Item = &'a str> {
    let named = instance.groups.iter().filter_map(|id| site.network.groups.get(id));
    named.map(|group| group.name.as_str())
}

fn architecture(site: &Site, instance: &Instance) -> &'static str {
    let image = site.images.get(&instance.params.image).map(|image| image.architecture.as_str());
    let of_type = || instance_type(&instance.params.instance_type).map_or("x86_64", |known| known.architecture);
    match image {
        Some("arm64") => "arm64",
        Some(_) => "x86_64",
        None => of_type(),
    }
}

pub(super) fn root_device<'a>(site: &'a Site, instance: &'a Instance) -> &'a str {
    let image = site.images.get(&instance.params.image).map(|image| image.root_device.as_str());
    image.or_else(|| instance.volumes.first().map(|(device, _)| device.as_str())).unwrap_or("/dev/xvda")
}

fn is_windows(site: &Site, instance: &Instance) -> bool {
    site.images.get(&instance.params.image).is_some_and(|image| image.platform == Platform::Windows)
}

fn http_tokens(instance: &Instance) -> &'static str {
    if instance.params.metadata.token_required { "required" } else { "optional" }
}

fn profile_arn(site: &Site, profile: &str) -> String {
    if profile.starts_with("arn:") {
        return profile.to_owned();
    }
    format!("arn:aws:iam::{}:instance-profile/{profile}", site.account)
}

pub(super) fn private_name(ip: &str, region: &str) -> String {
    let host = ip.replace('.', "-");
    if region == "us-east-1" {
        format!("ip-{host}.ec2.internal")
    } else {
        format!("ip-{host}.{region}.compute.internal")
    }
}

pub(super) fn public_name(ip: &str, region: &str) -> String {
    let host = ip.replace('.', "-");
    if region == "us-east-1" {
        format!("ec2-{host}.compute-1.amazonaws.com")
    } else {
        format!("ec2-{host}.{region}.compute.amazonaws.com")
    }
}

/// EC2's code of a state.
fn code(state: &InstanceState) -> u8 {
    match state {
        InstanceState::Pending | InstanceState::Unknown(_) => 0,
        InstanceState::Running => 16,
        InstanceState::ShuttingDown => 32,
        InstanceState::Terminated => 48,
        InstanceState::Stopping => 64,
        InstanceState::Stopped => 80,
    }
}

/// A state under a name.
pub(super) fn state(xml: &mut Xml, name: &str, state: &InstanceState) {
    xml.within(name, |xml| {
        xml.plain("code", code(state)).plain("name", state);
    });
}

/// A set of tags.
pub(super) fn tags(xml: &mut Xml, tags: &Tags) {
    if !tags.is_empty() {
        xml.set("tagSet", tags, |xml, (key, value)| {
            xml.text("key", key).text("value", value);
        });
    }
}

/// The security groups of an instance or an interface.
pub(super) fn groups(xml: &mut Xml, site: &Site, ids: &[String]) {
    xml.set("groupSet", ids, |xml, id| {
        xml.text("groupId", id).opt("groupName", site.network.groups.get(id).map(|group| &group.name));
    });
}

/// One instance, without the element around it.
pub(super) fn instance_item(xml: &mut Xml, site: &Site, instance: &Instance, facts: &Facts) {
    let params = &instance.params;
    let region = &*site.region;
    let connected = facts.state != InstanceState::Terminated;
    xml.text("instanceId", instance.id.as_str()).text("imageId", &params.image);
    state(xml, "instanceState", &facts.state);
    if connected {
        xml.text("privateDnsName", private_name(&instance.private_ip, region));
    }
    xml.text("dnsName", facts.public_ip.as_deref().map(|ip| public_name(ip, region)).unwrap_or_default());
    xml.text("reason", &facts.transition).opt("keyName", params.key.as_deref());
    xml.plain("amiLaunchIndex", instance.launch_index).text("instanceType", &facts.instance_type);
    xml.time("launchTime", facts.launch_time);
    xml.within("placement", |xml| {
        xml.text("availabilityZone", &instance.zone).text("groupName", "").text("tenancy", "default");
    });
    xml.within("monitoring", |xml| {
        xml.text("state", "disabled");
    });
    if connected {
        xml.text("subnetId", &instance.subnet).text("vpcId", &site.network.vpc);
        xml.text("privateIpAddress", &instance.private_ip).opt("ipAddress", facts.public_ip.as_deref());
        xml.flag("sourceDestCheck", true);
    }
    groups(xml, site, if connected { &instance.groups } else { &[] });
    if let Some(reason) = &facts.reason {
        xml.within("stateReason", |xml| {
            xml.text("code", &reason.code).text("message", &reason.message);
        });
    }
    xml.text("architecture", architecture(site, instance));
    if is_windows(site, instance) {
        xml.text("platform", "windows");
    }
    xml.text("rootDeviceType", "ebs").text("rootDeviceName", root_device(site, instance));
    devices(xml, site, instance, connected);
    xml.text("virtualizationType", "hvm");
    if params.spot.is_some() {
        xml.text("instanceLifecycle", "spot").opt("spotInstanceRequestId", instance.spot_request.as_deref());
    }
    xml.text("clientToken", instance.token.as_deref().unwrap_or_default());
    tags(xml, &facts.tags);
    xml.text("hypervisor", "xen");
    interfaces(xml, site, instance, facts, connected);
    if let Some(profile) = &params.profile {
        xml.within("iamInstanceProfile", |xml| {
            xml.text("arn", profile_arn(site, profile));
        });
    }
    xml.flag("ebsOptimized", false).flag("enaSupport", true);
    xml.within("metadataOptions", |xml| {
        xml.text("state", "applied").text("httpTokens", http_tokens(instance));
        xml.plain("httpPutResponseHopLimit", params.metadata.hop_limit);
        xml.text("httpEndpoint", if params.metadata.enabled { "enabled" } else { "disabled" });
        xml.text("instanceMetadataTags", if params.metadata.tags { "enabled" } else { "disabled" });
    });
    xml.within("hibernationOptions", |xml| {
        xml.flag("configured", params.hibernate);
    });
    xml.text("platformDetails", if is_windows(site, instance) { "Windows" } else { "Linux/UNIX" });
}

pub(super) fn devices(xml: &mut Xml, site: &Site, instance: &Instance, connected: bool) {
    let mapped = instance.volumes.iter().filter(|_| connected).filter_map(|(device, id)| {
        let attachment = site.volumes.get(id)?.attachment.as_ref()?;
        (attachment.instance == instance.id.as_str()).then_some((device, id, attachment))
    });
    xml.set("blockDeviceMapping", mapped, |xml, (device, id, attachment)| {
        xml.text("deviceName", device);
        xml.within("ebs", |xml| {
            xml.text("volumeId", id).text("status", "attached").time("attachTime", attachment.since);
            xml.flag("deleteOnTermination", attachment.delete_on_termination);
        });
    });
}

fn interfaces(xml: &mut Xml, site: &Site, instance: &Instance, facts: &Facts, connected: bool) {
    let own = connected.then_some(&instance.interface);
    xml.set("networkInterfaceSet", own, |xml, id| {
        xml.text("networkInterfaceId", id).text("subnetId", &instance.subnet).text("vpcId", &site.network.vpc);
        xml.text("ownerId", &*site.account).text("status", "in-use").text("privateIpAddress", &instance.private_ip);
        groups(xml, site, &instance.groups);
        xml.within("attachment", |xml| {
            xml.text("attachmentId", id.replace("eni-", "eni-attach-")).plain("deviceIndex", 0);
            xml.text("status", "attached").time("attachTime", instance.born).flag("deleteOnTermination", true);
        });
        if let Some(ip) = &facts.public_ip {
            xml.within("association", |xml| {
                xml.text("publicIp", ip).text("publicDnsName", public_name(ip, &site.region));
                xml.text("ipOwnerId", "amazon");
            });
        }
        xml.text("interfaceType", "interface").flag("sourceDestCheck", true);
    });
}

const STATUS_FILTERS: [&str; 14] = [
    "availability-zone",
    "availability-zone-id",
    "event.code",
    "event.description",
    "event.instance-event-id",
    "event.not-after",
    "event.not-before",
    "instance-state-code",
    "instance-state-name",
    "instance-status.reachability",
    "instance-status.status",
    "system-status.reachability",
    "system-status.status",
    TAGS,
];

/// How long the first status checks take.
const CHECKS: chrono::TimeDelta = chrono::TimeDelta::minutes(2);
/// The most ids that DescribeInstanceStatus takes.
const STATUS_IDS_MAX: usize = 100;

pub(super) fn describe_status(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&STATUS_FILTERS)?;
    let (ids, page) = (call.instance_ids()?, call.page("InstanceId")?);
    let all = call.query.flag("IncludeAllInstances")?.unwrap_or(false);
    if ids.len() > STATUS_IDS_MAX {
        return Err(ApiError::invalid_value(format!(
            "You may specify up to {STATUS_IDS_MAX} instance IDs on a single call."
        )));
    }
    let replica = site.replica();
    check_zones(site, &ids, &filters, call.now)?;
    let found = seen(site, replica, &ids, call.now)?;
    let status = |facts: &Facts| match facts.state {
        InstanceState::Running if call.now - facts.launch_time < CHECKS => "initializing",
        InstanceState::Running => "ok",
        _ => "not-applicable",
    };
    let fitting = found.into_iter().filter(|(instance, facts)| {
        (all || facts.state == InstanceState::Running)
            && filters.pass(&facts.tags, |name| match name {
                "availability-zone" => (&instance.zone).into(),
                "instance-state-name" => facts.state.to_string().into(),
                "instance-state-code" => code(&facts.state).to_string().into(),
                "instance-status.status" | "system-status.status" => status(facts).into(),
                _ => Values::none(),
            })
    });
    let part = page.of(fitting, |(instance, _)| instance.id.as_str());
    let mut xml = Xml::default();
    xml.set("instanceStatusSet", &part.items, |xml, (instance, facts)| {
        xml.text("instanceId", instance.id.as_str()).text("availabilityZone", &instance.zone);
        state(xml, "instanceState", &facts.state);
        for name in ["systemStatus", "instanceStatus"] {
            xml.within(name, |xml| {
                xml.text("status", status(facts));
                let checked = Some(status(facts)).filter(|status| *status != "not-applicable");
                xml.set("details", checked, |xml, status| {
                    xml.text("name", "reachability").text("status", if status == "ok" { "passed" } else { status });
                });
            });
        }
    });
    xml.opt("nextToken", part.next);
    Ok(xml)
}

/// The one instance that a call names, if a replica knows it.
pub(super) fn known(call: &Call<'_>, site: &mut Site) -> Result<InstanceId, ApiError> {
    let id = instance_id(call.query.required("InstanceId")?)?;
    call.permitted()?;
    let replica = site.replica();
    seen(site, replica, std::slice::from_ref(&id), call.now)?;
    Ok(id)
}
