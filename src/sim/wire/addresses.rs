//! Elastic IP addresses.

use super::call::{Call, done, instance_id};
use super::filter::{TAGS, Values};
use super::instances::tags;
use super::launch;
use super::query::{Node, missing};
use super::xml::Xml;
use crate::sim::address::Address;
use crate::sim::error::ApiError;
use crate::sim::site::Site;

pub(super) fn describe(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let names = [TAGS, "allocation-id", "association-id", "instance-id", "public-ip", "domain", "private-ip-address"];
    let filters = call.filters(&names)?;
    let named: Vec<&str> = [call.query.texts("PublicIp"), call.query.texts("AllocationId")].concat();
    for name in &named {
        site.address(name)?;
    }
    let fitting = site.addresses.values().filter(|address| {
        let wanted = named.is_empty() || named.contains(&address.ip.as_str()) || named.contains(&address.id.as_str());
        wanted
            && filters.pass(&address.tags, |name| match name {
                "allocation-id" => (&address.id).into(),
                "association-id" => address.association.as_ref().map(|(id, _)| id).into(),
                "instance-id" => address.association.as_ref().map(|(_, instance)| instance.as_str()).into(),
                "public-ip" => (&address.ip).into(),
                "domain" => "vpc".into(),
                _ => Values::none(),
            })
    });
    let mut xml = Xml::default();
    xml.set("addressesSet", fitting, |xml, address| item(xml, site, address));
    Ok(xml)
}

fn item(xml: &mut Xml, site: &Site, address: &Address) {
    xml.text("publicIp", &address.ip).text("allocationId", &address.id).text("domain", "vpc");
    xml.text("networkBorderGroup", &*site.region);
    if let Some((association, id)) = &address.association {
        xml.text("associationId", association).text("instanceId", id.as_str());
        if let Some(instance) = site.instance(id) {
            xml.text("networkInterfaceId", &instance.interface).text("privateIpAddress", &instance.private_ip);
            xml.text("networkInterfaceOwnerId", &*site.account);
        }
    }
    tags(xml, &address.tags);
}

pub(super) fn allocate(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let own = launch::tags_for(call.query, "elastic-ip")?;
    call.permitted()?;
    let address = site.allocate_address(own)?;
    let mut xml = Xml::default();
    xml.text("publicIp", &address.ip).text("allocationId", &address.id).text("domain", "vpc");
    Ok(xml)
}

/// The address that a call names in one of two ways.
fn named<'a>(query: &'a Node, id: &str) -> Result<&'a str, ApiError> {
    query.filled(id).or_else(|| query.filled("PublicIp")).ok_or_else(|| missing(id))
}

pub(super) fn associate(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let address = named(call.query, "AllocationId")?;
    let id = instance_id(call.query.required("InstanceId")?)?;
    // In a VPC an address moves unless that was forbidden.
    let may_move = call.query.flag("AllowReassociation")?.unwrap_or(true);
    call.permitted()?;
    let association = site.associate_address(address, &id, may_move, call.now)?;
    let mut xml = done();
    xml.text("associationId", association);
    Ok(xml)
}

pub(super) fn disassociate(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let address = named(call.query, "AssociationId")?;
    call.permitted()?;
    site.disassociate_address(address, call.now).map(|()| done())
}

pub(super) fn release(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let address = named(call.query, "AllocationId")?;
    call.permitted()?;
    site.release_address(address).map(|()| done())
}
