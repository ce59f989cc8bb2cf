//! The default VPC, subnets, and network interfaces.

use super::call::{Call, done};
use super::filter::{TAGS, Values};
use super::instances::{groups, private_name, tags};
use super::places::zone_id;
use super::xml::Xml;
use crate::model::InstanceId;
use crate::sim::error::ApiError;
use crate::sim::instance::Tags;
use crate::sim::interface::Interface;
use crate::sim::network::Subnet;
use crate::sim::site::Site;

/// The addresses of the default VPC.
const VPC_CIDR: &str = "172.31.0.0/16";
/// Addresses of a /20 that instances can have.
const ADDRESSES: u32 = 4091;

/// Refuses a call that names something which is not there.
fn all_known<T>(
    ids: &[&str],
    known: impl Fn(&str) -> Option<T>,
    code: &'static str,
    what: &str,
) -> Result<(), ApiError> {
    match ids.iter().find(|id| known(id).is_none()) {
        None => Ok(()),
        Some(id) => Err(ApiError::client(code, format!("The {what} ID '{id}' does not exist"))),
    }
}

pub(super) fn describe_vpcs(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let names = [
        TAGS,
        "cidr",
        "cidr-block-association.association-id",
        "cidr-block-association.cidr-block",
        "cidr-block-association.state",
        "dhcp-options-id",
        "is-default",
        "isDefault",
        "owner-id",
        "state",
        "vpc-id",
    ];
    let filters = call.filters(&names)?;
    let page = call.page("VpcId")?;
    let ids = call.query.texts("VpcId");
    let vpc = site.network.vpc.as_str();
    all_known(&ids, |id| (id == vpc).then_some(()), "InvalidVpcID.NotFound", "vpc")?;
    let fits = filters.pass(&Tags::new(), |name| match name {
        "vpc-id" => vpc.into(),
        "cidr" | "cidr-block-association.cidr-block" => VPC_CIDR.into(),
        "is-default" | "isDefault" => true.into(),
        "owner-id" => (*site.account).into(),
        "state" => "available".into(),
        "cidr-block-association.state" => "associated".into(),
        _ => Values::none(),
    });
    let part = page.of(Some(vpc).filter(|_| fits), |id| id);
    let mut xml = Xml::default();
    xml.set("vpcSet", part.items, |xml, id| {
        xml.text("vpcId", id).text("ownerId", &*site.account).text("state", "available").text("cidrBlock", VPC_CIDR);
        xml.text("dhcpOptionsId", id.replace("vpc-", "dopt-"))
            .text("instanceTenancy", "default")
            .flag("isDefault", true);
        xml.set("cidrBlockAssociationSet", [id], |xml, id| {
            xml.text("associationId", id.replace("vpc-", "vpc-cidr-assoc-")).text("cidrBlock", VPC_CIDR);
            xml.within("cidrBlockState", |xml| {
                xml.text("state", "associated");
            });
        });
    });
    Ok(xml)
}

const SUBNET_FILTERS: [&str; 17] = [
    TAGS,
    "availability-zone",
    "availabilityZone",
    "availability-zone-id",
    "availabilityZoneId",
    "available-ip-address-count",
    "cidr",
    "cidr-block",
    "cidrBlock",
    "default-for-az",
    "defaultForAz",
    "map-public-ip-on-launch",
    "owner-id",
    "state",
    "subnet-arn",
    "subnet-id",
    "vpc-id",
];

pub(super) fn describe_subnets(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&SUBNET_FILTERS)?;
    let page = call.page("SubnetId")?;
    let ids = call.query.texts("SubnetId");
    all_known(&ids, |id| site.network.subnets.get(id), "InvalidSubnetID.NotFound", "subnet")?;
    let taken = |subnet: &Subnet| {
        let used = site.interfaces.values().filter(|interface| interface.subnet == subnet.id).count();
        ADDRESSES.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    };
    let fitting = site.network.subnets.values().filter(|subnet| {
        (ids.is_empty() || ids.contains(&subnet.id.as_str()))
            && filters.pass(&subnet.tags, |name| match name {
                "subnet-id" => (&subnet.id).into(),
                "availability-zone" | "availabilityZone" => (&subnet.zone).into(),
                "availability-zone-id" | "availabilityZoneId" => zone_id(&subnet.zone).into(),
                "available-ip-address-count" => taken(subnet).to_string().into(),
                "cidr" | "cidr-block" | "cidrBlock" => cidr(subnet).into(),
                "default-for-az" | "defaultForAz" | "map-public-ip-on-launch" => true.into(),
                "owner-id" => (*site.account).into(),
                "state" => "available".into(),
                "subnet-arn" => subnet_arn(site, subnet).into(),
                "vpc-id" => (&site.network.vpc).into(),
                _ => Values::none(),
            })
    });
    let part = page.of(fitting, |subnet| &subnet.id);
    let mut xml = Xml::default();
    xml.set("subnetSet", part.items, |xml, subnet| {
        xml.text("subnetId", &subnet.id).text("subnetArn", subnet_arn(site, subnet)).text("state", "available");
        xml.text("ownerId", &*site.account).text("vpcId", &site.network.vpc).text("cidrBlock", cidr(subnet));
        xml.plain("availableIpAddressCount", taken(subnet)).text("availabilityZone", &subnet.zone);
        xml.text("availabilityZoneId", zone_id(&subnet.zone)).flag("defaultForAz", true);
        xml.flag("mapPublicIpOnLaunch", true).flag("assignIpv6AddressOnCreation", false);
        tags(xml, &subnet.tags);
    });
    xml.opt("nextToken", part.next);
    Ok(xml)
}

fn cidr(subnet: &Subnet) -> String {
    format!("{}.0/20", subnet.prefix)
}

fn subnet_arn(site: &Site, subnet: &Subnet) -> String {
    format!("arn:aws:ec2:{}:{}:subnet/{}", site.region, site.account, subnet.id)
}

const INTERFACE_FILTERS: [&str; 19] = [
    TAGS,
    "addresses.private-ip-address",
    "association.public-ip",
    "attachment.attachment-id",
    "attachment.delete-on-termination",
    "attachment.device-index",
    "attachment.instance-id",
    "attachment.status",
    "availability-zone",
    "description",
    "group-id",
    "group-name",
    "interface-type",
    "network-interface-id",
    "owner-id",
    "private-ip-address",
    "status",
    "subnet-id",
    "vpc-id",
];

fn status(interface: &Interface) -> &'static str {
    if interface.instance.is_some() { "in-use" } else { "available" }
}

pub(super) fn describe_interfaces(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&INTERFACE_FILTERS)?;
    let page = call.page("NetworkInterfaceId")?;
    let ids = call.query.texts("NetworkInterfaceId");
    all_known(&ids, |id| site.interfaces.get(id), "InvalidNetworkInterfaceID.NotFound", "networkInterface")?;
    let fitting = site.interfaces.values().filter(|interface| {
        let names = || interface.groups.iter().filter_map(|id| site.network.groups.get(id)).map(|g| g.name.as_str());
        (ids.is_empty() || ids.contains(&interface.id.as_str()))
            && filters.pass(&interface.tags, |name| match name {
                "network-interface-id" => (&interface.id).into(),
                "addresses.private-ip-address" | "private-ip-address" => (&interface.private_ip).into(),
                "association.public-ip" => public_ip(site, interface).into(),
                "attachment.instance-id" => interface.instance.as_ref().map(InstanceId::as_str).into(),
                "attachment.attachment-id" => interface.instance.as_ref().map(|_| attachment_id(interface)).into(),
                "attachment.delete-on-termination" => interface.delete_on_termination.into(),
                "attachment.device-index" => interface.instance.as_ref().map(|_| "0").into(),
                "attachment.status" => interface.instance.as_ref().map(|_| "attached").into(),
                "availability-zone" => (&interface.zone).into(),
                "group-id" => Values::many(interface.groups.iter().map(String::as_str)),
                "group-name" => Values::many(names()),
                "interface-type" => "interface".into(),
                "owner-id" => (*site.account).into(),
                "status" => status(interface).into(),
                "subnet-id" => (&interface.subnet).into(),
                "vpc-id" => (&site.network.vpc).into(),
                _ => Values::none(),
            })
    });
    let part = page.of(fitting, |interface| &interface.id);
    let mut xml = Xml::default();
    xml.set("networkInterfaceSet", part.items, |xml, interface| interface_item(xml, site, interface));
    xml.opt("nextToken", part.next);
    Ok(xml)
}

fn attachment_id(interface: &Interface) -> String {
    interface.id.replace("eni-", "eni-attach-")
}

fn public_ip<'a>(site: &'a Site, interface: &Interface) -> Option<&'a str> {
    site.shown(interface.instance.as_ref()?)?.facts().public_ip.as_deref()
}

fn interface_item(xml: &mut Xml, site: &Site, interface: &Interface) {
    xml.text("networkInterfaceId", &interface.id).text("subnetId", &interface.subnet).text("vpcId", &site.network.vpc);
    xml.text("availabilityZone", &interface.zone).text("description", "").text("ownerId", &*site.account);
    xml.flag("requesterManaged", false).text("status", status(interface)).text("interfaceType", "interface");
    xml.text("privateIpAddress", &interface.private_ip);
    xml.text("privateDnsName", private_name(&interface.private_ip, &site.region)).flag("sourceDestCheck", true);
    groups(xml, site, &interface.groups);
    if let Some(instance) = &interface.instance {
        xml.within("attachment", |xml| {
            xml.text("attachmentId", attachment_id(interface)).text("instanceId", instance.as_str());
            xml.plain("deviceIndex", 0).text("status", "attached");
            xml.flag("deleteOnTermination", interface.delete_on_termination);
            if let Some(born) = site.instance(instance).map(|instance| instance.born) {
                xml.time("attachTime", born);
            }
        });
    }
    if let Some(ip) = public_ip(site, interface) {
        xml.within("association", |xml| {
            xml.text("publicIp", ip).text("ipOwnerId", "amazon");
        });
    }
    tags(xml, &interface.tags);
}

pub(super) fn delete_interface(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let id = call.query.required("NetworkInterfaceId")?;
    call.permitted()?;
    site.delete_interface(id).map(|()| done())
}
