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
    /// Its tags.
    pub tags: Tags,
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

impl Network {
    /// The default VPC of a new account. `digits` makes its ids differ from another account's.
    pub(super) fn new(region: &str, digits: &str) -> Self {
        let zones: Vec<String> = ["a", "b", "c"].iter().map(|letter| format!("{region}{letter}")).collect();
        let subnet = |(number, zone): (usize, &String)| Subnet {
            id: format!("subnet-{digits}{number:03}"),
            zone: zone.clone(),
            prefix: format!("172.31.{}", number * 16),
            given: 4,
            tags: Tags::new(),
        };
        let subnets = zones.iter().enumerate().map(subnet).map(|subnet| (subnet.id.clone(), subnet)).collect();
        let default = Group {
            id: format!("sg-{digits}000"),
            name: "default".to_owned(),
            description: "default VPC security group".to_owned(),
            tags: Tags::new(),
        };
        Self {
            zones,
            vpc: format!("vpc-{digits}000"),
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
