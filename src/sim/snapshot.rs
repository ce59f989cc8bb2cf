//! Snapshots: copied in the background, and costing until somebody deletes them.

use chrono::{DateTime, Utc};

use super::error::ApiError;
use super::image::ImageState;
use super::instance::Tags;
use super::latency::Latency;
use super::site::Site;

/// A snapshot of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// The volume that it was taken of.
    pub volume: String,
    /// The size of that volume in GiB.
    pub size_gib: u32,
    /// What it is for.
    pub description: String,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// When it was begun.
    pub started: DateTime<Utc>,
    /// When it is complete.
    pub completes: DateTime<Utc>,
    /// Its tags.
    pub tags: Tags,
}

impl Snapshot {
    /// How much of it is there, in percent.
    pub fn progress(&self, now: DateTime<Utc>) -> i64 {
        let whole = (self.completes - self.started).num_milliseconds().max(1);
        let so_far = (now - self.started).num_milliseconds();
        (so_far.saturating_mul(100) / whole).clamp(0, 100)
    }

    /// Whether all of it is there.
    pub fn is_complete(&self, now: DateTime<Utc>) -> bool {
        now >= self.completes
    }
}

impl Site {
    /// Begins a snapshot of something of this size.
    pub(super) fn begin_snapshot(
        &mut self,
        volume: &str,
        size_gib: u32,
        encrypted: bool,
        description: &str,
        tags: &Tags,
        now: DateTime<Utc>,
    ) -> String {
        let id = self.new_id("snap");
        let snapshot = Snapshot {
            id: id.clone(),
            volume: volume.to_owned(),
            size_gib,
            description: description.to_owned(),
            encrypted,
            started: now,
            completes: now + self.draw(Latency::Snapshot),
            tags: tags.clone(),
        };
        self.snapshots.insert(id.clone(), snapshot);
        id
    }

    /// CreateSnapshot.
    ///
    /// # Errors
    /// `InvalidVolume.NotFound`.
    pub fn create_snapshot(
        &mut self,
        volume: &str,
        description: &str,
        tags: &Tags,
        now: DateTime<Utc>,
    ) -> Result<&Snapshot, ApiError> {
        let (size, encrypted) = self.volume(volume).map(|volume| (volume.size_gib, volume.encrypted))?;
        let id = self.begin_snapshot(volume, size, encrypted, description, tags, now);
        self.snapshot(&id)
    }

    /// A snapshot, or EC2's refusal.
    ///
    /// # Errors
    /// `InvalidSnapshot.NotFound`.
    pub fn snapshot(&self, id: &str) -> Result<&Snapshot, ApiError> {
        let message = || format!("The snapshot '{id}' does not exist.");
        self.snapshots.get(id).ok_or_else(|| ApiError::client("InvalidSnapshot.NotFound", message()))
    }

    /// DeleteSnapshot.
    ///
    /// # Errors
    /// `InvalidSnapshot.NotFound`; `InvalidSnapshot.InUse` while an image is made of it.
    pub fn delete_snapshot(&mut self, id: &str) -> Result<(), ApiError> {
        self.snapshot(id)?;
        let uses = self.images.values().find(|image| {
            image.state != ImageState::Deregistered
                && image.disks.iter().any(|disk| disk.snapshot.as_deref() == Some(id))
        });
        if let Some(image) = uses {
            let message = format!("The snapshot {id} is currently in use by {}", image.id);
            return Err(ApiError::client("InvalidSnapshot.InUse", message));
        }
        self.snapshots.remove(id);
        Ok(())
    }
}
