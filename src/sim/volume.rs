//! Disks (EBS volumes): born with their instance, and gone with it only if that was asked for.

use chrono::{DateTime, Utc};

use super::instance::Tags;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its id.
    pub id: String,
    /// Its size in GiB.
    pub size_gib: u32,
    /// Such as `gp3`.
    pub volume_type: String,
    /// Its zone.
    pub zone: String,
    /// The snapshot it was made from.
    pub snapshot: Option<String>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// Where it is attached; without that it is `available`, and costs all the same.
    pub attachment: Option<Attachment>,
    /// Its tags.
    pub tags: Tags,
}

/// Where a volume is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The instance.
    pub instance: String,
    /// The device.
    pub device: String,
    /// Since when; unlike the launch time it survives a stop and a start.
    pub since: DateTime<Utc>,
    /// Whether the volume ends with the instance.
    pub delete_on_termination: bool,
}
