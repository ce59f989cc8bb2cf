//! An AMI of the account, as the cloud shows it.

use chrono::{DateTime, Utc};

use super::{AmiId, SnapshotId, TagSet};

/// Whether an AMI can be launched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AmiState {
    /// Its snapshots are being copied.
    Pending,
    /// It can be launched from.
    Available,
    /// It never will be.
    Failed,
    /// It is gone, and shown for a short while yet.
    Deregistered,
    /// It is put away: not launched from until it is enabled again.
    Disabled,
    /// A state that EC2 did not have when this was written.
    Unknown(String),
}

/// One AMI that carries our fleet tag. What people call an image is a manifest in `amis/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ami {
    /// Its id.
    pub id: AmiId,
    /// Its name, unique in account and region.
    pub name: String,
    /// Its state.
    pub state: AmiState,
    /// The snapshots of its disks, which stay when it goes.
    pub snapshots: Vec<SnapshotId>,
    /// When it was made; the time of the look if that cannot be read, so that nothing is old by mistake.
    pub created: DateTime<Utc>,
    /// Its tags.
    pub tags: TagSet,
}
