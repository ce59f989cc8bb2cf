//! Security groups.

use super::call::{Call, done};
use super::filter::{TAGS, Values};
use super::instances::tags;
use super::launch;
use super::query::{Node, missing};
use super::xml::Xml;
use crate::sim::error::ApiError;
use crate::sim::network::{Group, Rule};
use crate::sim::site::Site;

const FILTERS: [&str; 18] = [
    TAGS,
    "description",
    "egress.ip-permission.cidr",
    "egress.ip-permission.from-port",
    "egress.ip-permission.group-id",
    "egress.ip-permission.protocol",
    "egress.ip-permission.to-port",
    "group-id",
    "group-name",
    "ip-permission.cidr",
    "ip-permission.from-port",
    "ip-permission.group-id",
    "ip-permission.group-name",
    "ip-permission.protocol",
    "ip-permission.to-port",
    "ip-permission.user-id",
    "owner-id",
    "vpc-id",
];

fn unknown(named: &str) -> ApiError {
    ApiError::client("InvalidGroup.NotFound", format!("The security group '{named}' does not exist"))
}

/// The group of a name in the default VPC.
pub(super) fn named<'a>(site: &'a Site, name: &str) -> Result<&'a Group, ApiError> {
    site.network.groups.values().find(|group| group.name == name).ok_or_else(|| unknown(name))
}

/// The group that a call names by its id or its name.
fn group_id(call: &Call<'_>, site: &Site) -> Result<String, ApiError> {
    match (call.query.filled("GroupId"), call.query.filled("GroupName")) {
        (Some(id), _) => site.network.groups.get(id).map(|group| group.id.clone()).ok_or_else(|| unknown(id)),
        (None, Some(name)) => named(site, name).map(|group| group.id.clone()),
        (None, None) => Err(missing("GroupId")),
    }
}

pub(super) fn describe(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&FILTERS)?;
    let page = call.page("GroupId")?;
    let (ids, names) = (call.query.texts("GroupId"), call.query.texts("GroupName"));
    if let Some(id) = ids.iter().find(|id| !site.network.groups.contains_key(**id)) {
        return Err(unknown(id));
    }
    for name in &names {
        named(site, name)?;
    }
    let fitting = site.network.groups.values().filter(|group| {
        let wanted = (ids.is_empty() && names.is_empty())
            || ids.contains(&group.id.as_str())
            || names.contains(&group.name.as_str());
        wanted
            && filters.pass(&group.tags, |name| match name {
                "group-id" => (&group.id).into(),
                "group-name" => (&group.name).into(),
                "description" => (&group.description).into(),
                "owner-id" => (*site.account).into(),
                "vpc-id" => (&site.network.vpc).into(),
                name => rule_values(group, name),
            })
    });
    let part = page.of(fitting, |group| &group.id);
    let mut xml = Xml::default();
    xml.set("securityGroupInfo", part.items, |xml, group| {
        xml.text("ownerId", &*site.account).text("groupId", &group.id).text("groupName", &group.name);
        xml.text("groupDescription", &group.description).text("vpcId", &site.network.vpc);
        permissions(xml, "ipPermissions", site, group, false);
        permissions(xml, "ipPermissionsEgress", site, group, true);
        tags(xml, &group.tags);
    });
    xml.opt("nextToken", part.next);
    Ok(xml)
}

/// What the rules of a group have under the name of a filter.
fn rule_values<'a>(group: &'a Group, name: &str) -> Values<'a> {
    let (egress, name) = name.strip_prefix("egress.").map_or((false, name), |rest| (true, rest));
    let rules = || group.rules.iter().filter(move |rule| rule.egress == egress);
    match name {
        "ip-permission.cidr" => {
            Values::many(rules().map(|rule| rule.peer.as_str()).filter(|peer| !peer.starts_with("sg-")))
        }
        "ip-permission.group-id" => {
            Values::many(rules().map(|rule| rule.peer.as_str()).filter(|peer| peer.starts_with("sg-")))
        }
        "ip-permission.protocol" => Values::many(rules().map(|rule| rule.protocol.as_str())),
        _ => Values::none(),
    }
}

fn permissions(xml: &mut Xml, name: &str, site: &Site, group: &Group, egress: bool) {
    // EC2 shows rules together that differ only in their peers.
    let mut shown: Vec<(&Rule, Vec<&Rule>)> = Vec::new();
    for rule in group.rules.iter().filter(|rule| rule.egress == egress) {
        match shown.iter_mut().find(|(first, _)| first.protocol == rule.protocol && first.ports == rule.ports) {
            Some((_, all)) => all.push(rule),
            None => shown.push((rule, vec![rule])),
        }
    }
    xml.set(name, shown, |xml, (first, rules)| {
        xml.text("ipProtocol", &first.protocol);
        if let Some((from, to)) = first.ports {
            xml.plain("fromPort", from).plain("toPort", to);
        }
        let of = |kind: fn(&str) -> bool| rules.iter().filter(move |rule| kind(&rule.peer));
        xml.set("groups", of(|peer| peer.starts_with("sg-")), |xml, rule| {
            xml.text("userId", &*site.account).text("groupId", &rule.peer);
            xml.opt("description", Some(&rule.description).filter(|text| !text.is_empty()));
        });
        xml.set("ipRanges", of(|peer| !peer.starts_with("sg-") && !peer.contains(':')), |xml, rule| {
            xml.text("cidrIp", &rule.peer);
            xml.opt("description", Some(&rule.description).filter(|text| !text.is_empty()));
        });
        xml.set("ipv6Ranges", of(|peer| peer.contains(':')), |xml, rule| {
            xml.text("cidrIpv6", &rule.peer);
            xml.opt("description", Some(&rule.description).filter(|text| !text.is_empty()));
        });
        xml.set("prefixListIds", [(); 0], |_, ()| ());
    });
}

pub(super) fn create(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let (name, description) = (call.query.required("GroupName")?, call.query.required("GroupDescription")?);
    if name.starts_with("sg-") {
        let message =
            format!("Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*.");
        return Err(ApiError::invalid_value(message));
    }
    if let Some(vpc) = call.query.filled("VpcId").filter(|vpc| *vpc != site.network.vpc) {
        return Err(ApiError::client("InvalidVpcID.NotFound", format!("The vpc ID '{vpc}' does not exist")));
    }
    let own = launch::tags_for(call.query, "security-group")?;
    call.permitted()?;
    let group = site.create_group(name, description, own)?;
    let mut xml = done();
    xml.text("groupId", &group.id);
    tags(&mut xml, &group.tags);
    Ok(xml)
}

pub(super) fn delete(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let id = group_id(call, site)?;
    call.permitted()?;
    site.delete_group(&id)?;
    let mut xml = done();
    xml.text("groupId", id);
    Ok(xml)
}

/// The rules that a call spells out, as EC2 reads them: one for each peer.
fn rules(query: &Node, site: &Site, egress: bool) -> Result<Vec<Rule>, ApiError> {
    let mut rules = Vec::new();
    let parts = query.list("IpPermissions");
    // The older way: one rule, right in the call.
    let parts = if parts.is_empty() { vec![query] } else { parts };
    for part in parts {
        let protocol = part.required("IpProtocol")?.to_owned();
        let (from, to) = (part.int("FromPort")?, part.int("ToPort")?);
        let ports = from.zip(to).filter(|_| protocol != "-1");
        if ports.is_none() && matches!(protocol.as_str(), "tcp" | "udp" | "6" | "17") {
            return Err(ApiError::invalid_value(
                "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.",
            ));
        }
        let mut add = |peer: &str, description: Option<&str>| {
            let description = description.unwrap_or_default().to_owned();
            rules.push(Rule {
                id: String::new(),
                egress,
                protocol: protocol.clone(),
                ports,
                peer: peer.to_owned(),
                description,
            });
        };
        if let Some(cidr) = part.filled("CidrIp") {
            add(checked_cidr(cidr)?, None);
        }
        for (list, name) in [("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")] {
            for range in part.list(list) {
                add(checked_cidr(range.required(name)?)?, range.text("Description"));
            }
        }
        for peer in part.list("Groups").into_iter().chain(part.list("UserIdGroupPairs")) {
            let id = match (peer.filled("GroupId"), peer.filled("GroupName")) {
                (Some(id), _) => site.network.groups.get(id).ok_or_else(|| unknown(id))?,
                (None, Some(name)) => named(site, name)?,
                (None, None) => return Err(missing("GroupId")),
            };
            add(&id.id, peer.text("Description"));
        }
    }
    if rules.is_empty() {
        return Err(missing("IpPermissions"));
    }
    Ok(rules)
}

/// A range of addresses: an address, a slash, and a number that fits it.
fn checked_cidr(text: &str) -> Result<&str, ApiError> {
    let fits = text.split_once('/').is_some_and(|(address, bits)| {
        let most = match address.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(_)) => 32,
            Ok(std::net::IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        bits.parse::<u8>().is_ok_and(|bits| bits <= most)
    });
    if fits { Ok(text) } else { Err(ApiError::invalid_value(format!("CIDR block {text} is malformed"))) }
}

fn authorize(call: &Call<'_>, site: &mut Site, egress: bool) -> Result<Xml, ApiError> {
    let id = group_id(call, site)?;
    let rules = rules(call.query, site, egress)?;
    call.permitted()?;
    let added = site.authorize_group(&id, rules)?;
    let mut xml = done();
    xml.set("securityGroupRuleSet", added, |xml, rule| {
        xml.text("securityGroupRuleId", &rule.id).text("groupId", &id).text("groupOwnerId", &*site.account);
        xml.flag("isEgress", rule.egress).text("ipProtocol", &rule.protocol);
        xml.plain("fromPort", rule.ports.map_or(-1, |ports| ports.0))
            .plain("toPort", rule.ports.map_or(-1, |ports| ports.1));
        match &rule.peer {
            group if group.starts_with("sg-") => {
                xml.within("referencedGroupInfo", |xml| {
                    xml.text("groupId", group);
                });
            }
            range if range.contains(':') => {
                xml.text("cidrIpv6", range);
            }
            range => {
                xml.text("cidrIpv4", range);
            }
        }
    });
    Ok(xml)
}

pub(super) fn authorize_ingress(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    authorize(call, site, false)
}

pub(super) fn authorize_egress(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    authorize(call, site, true)
}

fn revoke(call: &Call<'_>, site: &mut Site, egress: bool) -> Result<Xml, ApiError> {
    let id = group_id(call, site)?;
    let by_id: Vec<String> = call.query.texts("SecurityGroupRuleId").into_iter().map(ToOwned::to_owned).collect();
    let rules = if by_id.is_empty() { rules(call.query, site, egress)? } else { Vec::new() };
    call.permitted()?;
    site.revoke_group(&id, &rules, &by_id)?;
    Ok(done())
}

pub(super) fn revoke_ingress(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    revoke(call, site, false)
}

pub(super) fn revoke_egress(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    revoke(call, site, true)
}
