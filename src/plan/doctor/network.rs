//! Where the instances stand, and what their security groups let in and out.

use std::collections::BTreeMap;

use super::facts::{CellFacts, FleetFacts};
use super::row::Sheet;
use crate::model::{GroupFacts, GroupRule, Place, SubnetFacts};
use crate::policy::{Image, Intent, Port, Protocol};

/// So few addresses left in a subnet that launches will soon fail; EC2 keeps those of stopped instances too.
const FEW_ADDRESSES: u32 = 8;

pub(super) fn examine(sheet: &mut Sheet, intent: &Intent, image: &Image, facts: &CellFacts, fleet: &FleetFacts) {
    places(sheet, image, facts);
    if let Some(groups) = groups(sheet, image, facts) {
        inbound(sheet, &groups);
        outbound(sheet, intent, &groups, fleet);
    }
    key_pair(sheet, image, facts);
}

fn places(sheet: &mut Sheet, image: &Image, facts: &CellFacts) {
    let Some(subnets) = sheet.look("subnet", "ec2:DescribeSubnets", &facts.subnets) else { return };
    let mut seen: Vec<&Place> = Vec::new();
    for place in image.offerings.iter().map(|offering| &offering.place) {
        if !seen.contains(&place) {
            seen.push(place);
            one_place(sheet, place, subnets);
        }
    }
}

fn one_place(sheet: &mut Sheet, place: &Place, subnets: &BTreeMap<String, SubnetFacts>) {
    let defaults = || subnets.iter().filter(|(_, subnet)| subnet.default_for_zone);
    let found = match place {
        Place::Subnet(id) => subnets.get_key_value(id),
        Place::Zone(zone) => defaults().find(|(_, subnet)| subnet.zone == zone.as_str()),
        Place::Anywhere => defaults().max_by_key(|(_, subnet)| subnet.free),
    };
    let Some((id, subnet)) = found else {
        let seen = match place {
            Place::Subnet(id) => format!("{id} does not exist"),
            Place::Zone(zone) => format!("there is no default subnet in {zone}"),
            Place::Anywhere => "the account has no default subnet, and the manifest names none".to_owned(),
        };
        return sheet.problem("subnet", seen, "name subnets of the account in the manifest");
    };
    let seen = format!("{id} in {}: {} addresses are free", subnet.zone, subnet.free);
    match subnet.free {
        0 => sheet.problem("subnet", seen, "end what holds addresses there, or name another subnet as well"),
        1..FEW_ADDRESSES => sheet.warning("subnet", seen, "name another subnet as well"),
        _ => sheet.ok("subnet", seen),
    }
}

/// The groups that instances of this image get. Nothing when one is missing: what the rest lets out would mislead.
fn groups<'a>(sheet: &mut Sheet, image: &Image, facts: &'a CellFacts) -> Option<Vec<(&'a str, &'a GroupFacts)>> {
    let all = sheet.look("security group", "ec2:DescribeSecurityGroups", &facts.groups)?;
    if !image.security_group_names.is_empty() {
        return named_groups(sheet, image, facts, all);
    }
    if image.security_groups.is_empty() {
        let vpc = default_vpc(image, facts);
        let found = all.iter().find(|(_, group)| group.name == "default" && Some(group.vpc.as_str()) == vpc);
        let Some((id, group)) = found else {
            let seen = "the manifest names none, and the VPC's default group was not found";
            sheet.unknown("security group", seen, "name security_groups in the manifest");
            return None;
        };
        sheet.ok("security group", format!("{id}, the default group: the manifest names none"));
        return Some(vec![(id, group)]);
    }
    let mut found = Vec::new();
    for id in &image.security_groups {
        if let Some((id, group)) = all.get_key_value(id) {
            found.push((id.as_str(), group));
        } else {
            let seen = format!("{id} does not exist in {}", image.region);
            sheet.problem("security group", seen, "correct security_groups in the manifest");
        }
    }
    (found.len() == image.security_groups.len()).then_some(found)
}

/// The groups of the default VPC that the manifest names.
fn named_groups<'a>(
    sheet: &mut Sheet,
    image: &Image,
    facts: &CellFacts,
    all: &'a BTreeMap<String, GroupFacts>,
) -> Option<Vec<(&'a str, &'a GroupFacts)>> {
    let Some(vpc) = default_vpc(image, facts) else {
        let seen = "there is no default VPC to look for security_group_names in";
        sheet.problem("security group", seen, "name security_groups, by ids, and subnets in the manifest");
        return None;
    };
    let mut found = Vec::new();
    for name in &image.security_group_names {
        if let Some((id, group)) = all.iter().find(|(_, group)| group.name == *name && group.vpc == vpc) {
            found.push((id.as_str(), group));
        } else {
            let seen = format!("{name} does not exist in the default VPC {vpc}");
            sheet.problem("security group", seen, "correct security_group_names in the manifest");
        }
    }
    (found.len() == image.security_group_names.len()).then_some(found)
}

/// The VPC of the first place.
fn default_vpc<'a>(image: &Image, facts: &'a CellFacts) -> Option<&'a str> {
    let subnets = facts.subnets.as_ref().ok()?;
    let subnet = match image.offerings.first().map(|offering| &offering.place) {
        Some(Place::Subnet(id)) => subnets.get(id),
        _ => subnets.values().find(|subnet| subnet.default_for_zone),
    };
    subnet.map(|subnet| subnet.vpc.as_str())
}

fn named(rule: &GroupRule) -> String {
    match rule.description.trim() {
        "" => rule.to_string(),
        why => format!("{rule} ({why})"),
    }
}

fn inbound(sheet: &mut Sheet, groups: &[(&str, &GroupFacts)]) {
    let mut clean = true;
    for (id, group) in groups {
        for rule in &group.inbound {
            clean = false;
            let seen = format!("{id} ({}) lets in {}", group.name, named(rule));
            let cure = "remove the rule: a worker only connects outward";
            if rule.is_for_everybody() {
                sheet.problem("inbound", seen, cure);
            } else {
                sheet.warning("inbound", seen, cure);
            }
        }
    }
    if clean {
        sheet.ok("inbound", "no rule lets anything in");
    }
}

fn outbound(sheet: &mut Sheet, intent: &Intent, groups: &[(&str, &GroupFacts)], fleet: &FleetFacts) {
    let rules: Vec<&GroupRule> = groups.iter().flat_map(|(_, group)| &group.outbound).collect();
    let master = intent.fleet.master.as_deref();
    let port = master.and_then(|master| master.rsplit_once(':')?.1.parse().ok());
    if let (Some(master), Some(port)) = (master, port) {
        to_master(sheet, master, Port::tcp(port), &rules, fleet);
    }
    let (mut open, mut narrow, mut shut) = (Vec::new(), Vec::new(), Vec::new());
    for port in &intent.requirements.outbound {
        let covering: Vec<&GroupRule> = rules.iter().copied().filter(|rule| covers(rule, *port)).collect();
        if covering.iter().any(|rule| rule.peer == "0.0.0.0/0") {
            open.push(port.to_string());
        } else if covering.is_empty() {
            shut.push(port.to_string());
        } else {
            narrow.push(port.to_string());
        }
    }
    let cure = "let it out to 0.0.0.0/0, or take it off outbound in [requirements] if no build needs it";
    if !shut.is_empty() {
        sheet.problem("outbound", format!("no rule lets out {}", shut.join(", ")), cure);
    }
    if !narrow.is_empty() {
        sheet.warning("outbound", format!("only to some addresses: {}", narrow.join(", ")), cure);
    }
    if !open.is_empty() {
        sheet.ok("outbound", format!("{} to everywhere", open.join(", ")));
    }
}

fn covers(rule: &GroupRule, port: Port) -> bool {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    rule.covers(protocol, port.number)
}

fn to_master(sheet: &mut Sheet, master: &str, port: Port, rules: &[&GroupRule], fleet: &FleetFacts) {
    let covering: Vec<&GroupRule> = rules.iter().copied().filter(|rule| covers(rule, port)).collect();
    let reached =
        |rule: &&GroupRule| rule.peer == "0.0.0.0/0" || fleet.addresses.iter().any(|address| rule.holds(*address));
    let cure = format!("let out {port} to the master");
    if covering.iter().any(reached) {
        sheet.ok("to master", format!("{master} is let out to"));
    } else if covering.is_empty() {
        sheet.problem("to master", format!("no rule lets out {port}: the worker cannot reach {master}"), cure);
    } else if fleet.addresses.is_empty() || covering.iter().any(|rule| !rule.peer.contains('/')) {
        let peers: Vec<&str> = covering.iter().map(|rule| rule.peer.as_str()).collect();
        let seen =
            format!("{port} is let out to {} only, and whether {master} is there is not known", peers.join(", "));
        sheet.unknown("to master", seen, cure);
    } else {
        let seen = format!("{port} is let out to other addresses than {master}");
        sheet.problem("to master", seen, cure);
    }
}

fn key_pair(sheet: &mut Sheet, image: &Image, facts: &CellFacts) {
    let Some(name) = &image.key_pair else {
        return sheet.ok("key pair", "none: nobody logs in by SSH");
    };
    match &facts.key_pairs {
        Ok(known) if known.contains(name) => sheet.ok("key pair", name),
        Ok(_) => {
            let seen = format!("{name} does not exist in {}", image.region);
            sheet.problem("key pair", seen, "correct key_pair in the manifest, or remove it");
        }
        Err(why) => {
            let action = "ec2:DescribeKeyPairs";
            sheet.unseen("key pair", action, why);
        }
    }
}
