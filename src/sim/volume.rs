//! Disks (EBS volumes): born with their instance, and gone with it only if that was asked for.

use chrono::{DateTime, Utc};

use super::error::ApiError;
use super::instance::Tags;
use super::site::Site;
use crate::model::{InstanceId, InstanceState};

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

impl Volume {
    /// What CreateVolume is asked for: a plain one of nobody's snapshot, which nothing has.
    #[must_use]
    pub fn lone(zone: &str, size_gib: u32, tags: Tags, created: DateTime<Utc>) -> Self {
        Self {
            id: String::new(),
            size_gib,
            volume_type: "gp3".to_owned(),
            zone: zone.to_owned(),
            snapshot: None,
            encrypted: false,
            created,
            attachment: None,
            tags,
        }
    }
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

impl Site {
    /// A volume, or EC2's refusal.
    ///
    /// # Errors
    /// `InvalidVolume.NotFound`.
    pub fn volume(&self, id: &str) -> Result<&Volume, ApiError> {
        let message = || format!("The volume '{id}' does not exist.");
        self.volumes.get(id).ok_or_else(|| ApiError::client("InvalidVolume.NotFound", message()))
    }

    /// CreateVolume.
    ///
    /// # Errors
    /// `InvalidZone.NotFound`, `InvalidSnapshot.NotFound`.
    pub fn create_volume(&mut self, new: Volume) -> Result<&Volume, ApiError> {
        if !self.network.zones.contains(&new.zone) {
            let message = format!("The zone '{}' does not exist.", new.zone);
            return Err(ApiError::client("InvalidZone.NotFound", message));
        }
        if let Some(snapshot) = &new.snapshot {
            self.snapshot(snapshot)?;
        }
        let id = self.new_id("vol");
        self.volumes.insert(id.clone(), Volume { id: id.clone(), ..new });
        self.volume(&id)
    }

    /// DeleteVolume.
    ///
    /// # Errors
    /// `InvalidVolume.NotFound`; `VolumeInUse` while it is attached.
    pub fn delete_volume(&mut self, id: &str) -> Result<(), ApiError> {
        if let Some(attached) = &self.volume(id)?.attachment {
            let message = format!("Volume {id} is currently attached to {}", attached.instance);
            return Err(ApiError::client("VolumeInUse", message));
        }
        self.volumes.remove(id);
        Ok(())
    }

    /// AttachVolume.
    ///
    /// # Errors
    /// `VolumeInUse`, `InvalidVolume.ZoneMismatch`, `IncorrectState`, and those of unknown ids.
    pub fn attach_volume(
        &mut self,
        id: &str,
        to: &InstanceId,
        device: &str,
        now: DateTime<Utc>,
    ) -> Result<&Volume, ApiError> {
        let volume = self.volume(id)?;
        if let Some(attached) = &volume.attachment {
            let message = format!("{id} is already attached to an instance ({})", attached.instance);
            return Err(ApiError::client("VolumeInUse", message));
        }
        let instance = self.instances.get(to).ok_or_else(|| ApiError::no_instance(&[to.as_str()]))?;
        if !matches!(instance.state(), InstanceState::Running | InstanceState::Stopped) {
            let message = format!("Instance '{to}' is not 'running' or 'stopped'.");
            return Err(ApiError::client("IncorrectState", message));
        }
        if instance.zone != volume.zone {
            let message = format!("The volume '{id}' is not in the same availability zone as instance '{to}'");
            return Err(ApiError::client("InvalidVolume.ZoneMismatch", message));
        }
        if instance.volumes.iter().any(|(own, _)| own == device) {
            let message =
                format!("Invalid value '{device}' for unixDevice. Attachment point {device} is already in use");
            return Err(ApiError::invalid_value(message));
        }
        if let Some(instance) = self.instances.get_mut(to) {
            instance.volumes.push((device.to_owned(), id.to_owned()));
        }
        if let Some(volume) = self.volumes.get_mut(id) {
            volume.attachment = Some(Attachment {
                instance: to.as_str().to_owned(),
                device: device.to_owned(),
                since: now,
                delete_on_termination: false,
            });
        }
        self.volume(id)
    }

    /// DetachVolume: where it was attached.
    ///
    /// # Errors
    /// `IncorrectState` for one that is not attached; `InvalidVolume.NotFound`.
    pub fn detach_volume(&mut self, id: &str) -> Result<Attachment, ApiError> {
        self.volume(id)?;
        let held = self.volumes.get_mut(id).and_then(|volume| volume.attachment.take());
        let Some(held) = held else {
            return Err(ApiError::client("IncorrectState", format!("Volume '{id}' is in the 'available' state.")));
        };
        if let Some(instance) = held.instance.parse::<InstanceId>().ok().and_then(|id| self.instances.get_mut(&id)) {
            instance.volumes.retain(|(_, volume)| volume != id);
        }
        Ok(held)
    }

    /// Says whether the volume on a device ends with its instance.
    ///
    /// # Errors
    /// `InvalidParameterValue` for a device that is not there.
    pub fn keep_volume(&mut self, of: &InstanceId, device: &str, ends: Option<bool>) -> Result<(), ApiError> {
        let volumes = self.instances.get(of).map(|instance| &instance.volumes);
        let id = volumes.and_then(|all| all.iter().find(|(own, _)| own == device)).map(|(_, id)| id.clone());
        let attachment = id.and_then(|id| self.volumes.get_mut(&id)?.attachment.as_mut());
        let Some(attachment) = attachment else {
            let message = format!("Invalid device name {device}: there is no volume of that name.");
            return Err(ApiError::invalid_value(message));
        };
        attachment.delete_on_termination = ends.unwrap_or(attachment.delete_on_termination);
        Ok(())
    }
}
