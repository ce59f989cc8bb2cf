//! Everything a launch call says.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AmiId, BatchPlace, ClientToken, ElasticIp, Region, SnapshotId, TagSet, VolumeId, Zone};

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
///
/// What an older version did not know is left out where it says nothing: the tokens of its launches are
/// made of this text, and must stay what they were.
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
    /// The snapshot it is made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// Its operations per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
    /// Its throughput in MiB per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<u32>,
    /// The KMS key that encrypts it: an id, an alias or an ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// Whether it ends with the instance.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub delete_on_termination: bool,
    /// An instance store volume, such as `ephemeral0`: then it is no EBS volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_name: Option<String>,
    /// Whether the device that the AMI maps is left away.
    #[serde(default, skip_serializing_if = "is_no")]
    pub no_device: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_yes(flag: &bool) -> bool {
    *flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_no(flag: &bool) -> bool {
    !*flag
}

impl BlockDevice {
    /// A disk of this device name of which nothing else is said.
    pub fn named(device: &str) -> Self {
        Self {
            device: device.to_owned(),
            size_gib: None,
            volume_type: None,
            encrypted: None,
            snapshot: None,
            iops: None,
            throughput: None,
            kms_key: None,
            delete_on_termination: true,
            virtual_name: None,
            no_device: false,
        }
    }
}

/// A volume of the owner's that an instance is given once it runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DataVolume {
    /// The volume.
    pub id: VolumeId,
    /// The device name that it gets, such as `/dev/sdf`.
    pub device: String,
}

/// What an instance is given once it runs. It goes free by itself when the instance ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Equipment {
    /// An elastic IP address.
    Address(ElasticIp),
    /// A volume.
    Volume(DataVolume),
}

impl fmt::Display for Equipment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Equipment::Address(address) => write!(f, "elastic IP {address}"),
            Equipment::Volume(volume) => write!(f, "volume {} as {}", volume.id, volume.device),
        }
    }
}

/// Every parameter of a launch but the text of the user data, which may hold a secret and is
/// therefore kept here by its digest alone.
///
/// What an older version did not know is left out where it says nothing: the tokens of its launches are
/// made of this text, and must stay what they were.
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
    /// The filter that the AMI was chosen by, if the manifest names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ami_filter: Option<String>,
    /// Security groups of the default VPC, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_group_names: Vec<String>,
    /// The most that an hour of spot capacity may cost, in dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot_price_max: Option<String>,
    /// The elastic IP address that it is given once it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elastic_ip: Option<ElasticIp>,
    /// The volumes that it is given once it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<DataVolume>,
    /// Its place in the call, if that is for several workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchPlace>,
    /// Whether it may be hibernated.
    #[serde(default, skip_serializing_if = "is_no")]
    pub hibernate: bool,
}

impl LaunchSpec {
    /// The token that belongs to exactly these parameters; of a call for several workers that of the call.
    pub fn token(&self) -> ClientToken {
        let text = match &self.batch {
            None => serde_json::to_string(self),
            Some(place) => {
                let batch = Some(BatchPlace { index: 0, ..place.clone() });
                serde_json::to_string(&Self { batch, ..self.nameless() })
            }
        };
        ClientToken::derive(&["launch", &text.unwrap_or_default()])
    }

    /// The launch index of its instance.
    pub fn launch_index(&self) -> u32 {
        self.batch.as_ref().map_or(0, |place| place.index)
    }

    /// What its instance is given once it runs.
    pub fn equipment(&self) -> Vec<Equipment> {
        equipment(self.elastic_ip.as_ref(), &self.volumes)
    }
}

/// An address and volumes as what an instance is given, the address first: a worker may connect by it.
pub fn equipment(elastic_ip: Option<&ElasticIp>, volumes: &[DataVolume]) -> Vec<Equipment> {
    let address = elastic_ip.cloned().map(Equipment::Address);
    address.into_iter().chain(volumes.iter().cloned().map(Equipment::Volume)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A launch as version 2 of the entry format wrote it.
    const OLD: &str = r#"{"region":"us-west-2","ami":"ami-1","offering":{"instance_type":"t","place":"anywhere","market":"spot"},"security_groups":["sg-1"],"key_pair":null,"instance_profile":null,"block_devices":[{"device":"/dev/sda1","size_gib":30,"volume_type":"gp3","encrypted":true}],"shutdown":"terminate","tags":{"latent:fleet":"f"},"user_data_digest":null}"#;

    #[test]
    fn a_launch_that_an_older_version_intended_keeps_its_token() {
        let spec: LaunchSpec = serde_json::from_str(OLD).expect("reads");
        assert_eq!(spec.token(), ClientToken::derive(&["launch", OLD]));
        assert!(spec.block_devices[0].delete_on_termination && spec.equipment().is_empty());
    }

    #[test]
    fn the_token_depends_on_everything_that_is_new() {
        let old: LaunchSpec = serde_json::from_str(OLD).expect("reads");
        let changes: [fn(&mut LaunchSpec); 14] = [
            |spec| spec.batch = Some(BatchPlace::of(0, &["w".parse().expect("a name"), "x".parse().expect("a name")])),
            |spec| spec.hibernate = true,
            |spec| spec.ami_filter = Some("f".to_owned()),
            |spec| spec.security_group_names = vec!["default".to_owned()],
            |spec| spec.spot_price_max = Some("1.6".to_owned()),
            |spec| spec.elastic_ip = "203.0.113.9".parse().ok(),
            |spec| {
                let id = "vol-1".parse().expect("an id");
                spec.volumes = vec![DataVolume { id, device: "/dev/sdf".to_owned() }];
            },
            |spec| spec.block_devices[0].snapshot = "snap-1".parse().ok(),
            |spec| spec.block_devices[0].iops = Some(3000),
            |spec| spec.block_devices[0].throughput = Some(125),
            |spec| spec.block_devices[0].kms_key = Some("alias/k".to_owned()),
            |spec| spec.block_devices[0].delete_on_termination = false,
            |spec| spec.block_devices[0].virtual_name = Some("ephemeral0".to_owned()),
            |spec| spec.block_devices[0].no_device = true,
        ];
        let mut tokens = std::collections::BTreeSet::from([old.token()]);
        for change in changes {
            let mut spec = old.clone();
            change(&mut spec);
            let text = serde_json::to_string(&spec).expect("writes");
            assert_eq!(serde_json::from_str::<LaunchSpec>(&text).expect("reads"), spec);
            assert!(tokens.insert(spec.token()), "{text}");
        }
    }
}
