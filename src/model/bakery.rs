//! What a rebake says to a cloud and hears from it, beside what everybody does.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{AmiId, AmiState, LaunchSpec, Place, SnapshotId, TagSet};

/// Ports of a protocol that a builder may reach, at any address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Egress {
    /// EC2's word, such as `tcp` or `udp`.
    pub protocol: String,
    /// The first port.
    pub from: u16,
    /// The last port.
    pub to: u16,
}

/// The security group of a builder: nothing comes in, and out goes what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Its name, unique in the VPC.
    pub name: String,
    /// Where the builder is launched: the VPC of that subnet, or the default one.
    pub place: Place,
    /// What may go out.
    pub egress: Vec<Egress>,
    /// Its tags from birth; the fleet's and the role are among them.
    pub tags: TagSet,
}

/// A disk of an AMI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDisk {
    /// Its device name.
    pub device: String,
    /// Its size in GiB.
    pub size_gib: Option<u32>,
    /// The snapshot it is made from.
    pub snapshot: Option<SnapshotId>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The KMS key that encrypts it, where the account can see it.
    pub kms_key: Option<String>,
}

/// The AMI that a rebake begins with, of whatever owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceAmi {
    /// Its id.
    pub id: AmiId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: AmiState,
    /// The account that owns it.
    pub account: String,
    /// Whether that is the account itself.
    pub ours: bool,
    /// EC2's word for the processor that it is made for.
    pub architecture: String,
    /// What its system is billed as, such as `Linux/UNIX`.
    pub platform_details: String,
    /// Whether it is Windows.
    pub windows: bool,
    /// The device of its root disk.
    pub root_device: Option<String>,
    /// Its EBS disks.
    pub disks: Vec<SourceDisk>,
    /// When it was made, if that can be read.
    pub created: Option<DateTime<Utc>>,
    /// From when it shall not be used any more, if its owner said so.
    pub deprecated: Option<DateTime<Utc>>,
    /// The product codes of the marketplace that it carries.
    pub product_codes: Vec<String>,
    /// Its tags; EC2 shows those of the account's own AMIs alone.
    pub tags: TagSet,
}

/// What is tried before a rebake begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// The launch of the builder.
    pub launch: Box<LaunchSpec>,
    /// The AMI that it begins with.
    pub source: AmiId,
}
