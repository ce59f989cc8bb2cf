//! Zones, and the default VPC with a subnet in each and a default security group.

use std::collections::BTreeMap;

use super::instance::Tags;

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Its zone.
    pub zone: String,
    /// The first three bytes of its addresses.
    pub prefix: String,
    /// How many addresses it has given away for good.
    pub given: u32,
    /// Its tags.
    pub tags: Tags,
}

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it lets in and out.
    pub rules: Vec<Rule>,
    /// Its tags.
    pub tags: Tags,
}

/// What a security group lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// Whether it is about what leaves.
    pub egress: bool,
    /// `tcp`, `udp`, `icmp`, a number, or `-1` for all.
    pub protocol: String,
    /// The first and last port.
    pub ports: Option<(i64, i64)>,
    /// A range of addresses, or a group's id.
    pub peer: String,
    /// What it is for.
    pub description: String,
}

/// The network of an account in a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The zones' names.
    pub zones: Vec<String>,
    /// The default VPC's id.
    pub vpc: String,
    /// Subnets by id.
    pub subnets: BTreeMap<String, Subnet>,
    /// Security groups by id.
    pub groups: BTreeMap<String, Group>,
}

impl Rule {
    /// Everything, from or to a peer.
    pub(super) fn all(id: String, egress: bool, peer: String) -> Self {
        Self { id, egress, protocol: "-1".to_owned(), ports: None, peer, description: String::new() }
    }

    /// Whether two rules say the same.
    pub fn same(&self, other: &Rule) -> bool {
        (self.egress, &self.protocol, self.ports, &self.peer)
            == (other.egress, &other.protocol, other.ports, &other.peer)
    }
}

impl Network {
    /// The default VPC of a new account. `digits` makes its ids differ from another account's.
    pub(super) fn new(region: &str, digits: &str) -> Self {
        let zones: Vec<String> = ["a", "b", "c"].iter().map(|letter| format!("{region}{letter}")).collect();
        let subnet = |(number, zone): (usize, &String)| Subnet {
            id: format!("subnet-{digits}{number:07x}"),
            zone: zone.clone(),
            prefix: format!("172.31.{}", number * 16),
            given: 4,
            tags: Tags::new(),
        };
        let subnets = zones.iter().enumerate().map(subnet).map(|subnet| (subnet.id.clone(), subnet)).collect();
        let default = Group {
            id: format!("sg-{digits}{:07x}", 0),
            name: "default".to_owned(),
            description: "default VPC security group".to_owned(),
            rules: vec![
                Rule::all(format!("sgr-{digits}{:07x}", 0), false, format!("sg-{digits}{:07x}", 0)),
                Rule::all(format!("sgr-{digits}{:07x}", 1), true, "0.0.0.0/0".to_owned()),
            ],
            tags: Tags::new(),
        };
        Self {
            zones,
            vpc: format!("vpc-{digits}{:07x}", 0),
            subnets,
            groups: BTreeMap::from([(default.id.clone(), default)]),
        }
    }

    /// The subnet of a zone.
    pub fn subnet_in(&self, zone: &str) -> Option<&Subnet> {
        self.subnets.values().find(|subnet| subnet.zone == zone)
    }

    /// The default security group's id.
    pub fn default_group(&self) -> Option<&str> {
        self.groups.values().find(|group| group.name == "default").map(|group| group.id.as_str())
    }
}
