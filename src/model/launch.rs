//! Everything a launch call says.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AmiId, ClientToken, Region, TagSet, Zone};

/// How capacity is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// At the list price, until we end it.
    OnDemand,
    /// One-time spot: cheaper, and may be taken back with two minutes' notice.
    Spot,
}

impl fmt::Display for Market {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Market::OnDemand => "on-demand",
            Market::Spot => "spot",
        })
    }
}

/// Where a launch goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The default VPC, wherever EC2 likes.
    Anywhere,
    /// The default subnet of a zone.
    Zone(Zone),
    /// One subnet.
    Subnet(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Anywhere => f.write_str("any zone"),
            Place::Zone(zone) => zone.fmt(f),
            Place::Subnet(id) => f.write_str(id),
        }
    }
}

/// One combination that may or may not have capacity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Offering {
    /// The instance type.
    pub instance_type: String,
    /// Where.
    pub place: Place,
    /// How bought.
    pub market: Market,
}

impl fmt::Display for Offering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} in {}", self.market, self.instance_type, self.place)
    }
}

/// What a power-off from inside does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownBehavior {
    /// The instance is gone, its disks with it.
    Terminate,
    /// The instance stays as a stopped one.
    Stop,
}

/// A disk of the instance, beside what the AMI says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDevice {
    /// The device name, such as `/dev/sda1`.
    pub device: String,
    /// Its size in GiB.
    pub size_gib: Option<u32>,
    /// Its type, such as `gp3`.
    pub volume_type: Option<String>,
    /// Whether it is encrypted.
    pub encrypted: Option<bool>,
}

/// Every parameter of a launch but the text of the user data, which may hold a secret and is
/// therefore kept here by its digest alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// Where the account's API is asked.
    pub region: Region,
    /// The image.
    pub ami: AmiId,
    /// What is bought.
    pub offering: Offering,
    /// Security group ids.
    pub security_groups: Vec<String>,
    /// Key pair name.
    pub key_pair: Option<String>,
    /// Instance profile name.
    pub instance_profile: Option<String>,
    /// Disks.
    pub block_devices: Vec<BlockDevice>,
    /// What a power-off from inside does.
    pub shutdown: ShutdownBehavior,
    /// Tags for the instance, its disks, its interface and its spot request.
    pub tags: TagSet,
    /// SHA-256 of the user data, if there is any.
    pub user_data_digest: Option<String>,
}

impl LaunchSpec {
    /// The token that belongs to exactly these parameters.
    pub fn token(&self) -> ClientToken {
        let text = serde_json::to_string(self).unwrap_or_default();
        ClientToken::derive(&["launch", &text])
    }
}
