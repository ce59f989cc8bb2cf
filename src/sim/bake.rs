//! Images: made of instances, registered, copied, hidden, and taken away.

use chrono::{DateTime, Utc};

use super::error::ApiError;
use super::image::{Image, ImageState, Platform};
use super::instance::{Disk, Tags};
use super::latency::Latency;
use super::site::{Due, Site};
use super::weather::Fault;
use crate::model::{InstanceId, InstanceState};

/// What an image's name may hold beside letters and digits.
const NAME_MARKS: &str = "()[] ./-'@_";

/// What is said of a new image beside its disks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewImage {
    /// Its name, unique in the account and region.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its tags.
    pub tags: Tags,
    /// The tags of its snapshots.
    pub snapshot_tags: Tags,
    /// `legacy-bios`, `uefi` or `uefi-preferred`, if it says.
    pub boot_mode: Option<String>,
    /// `v2.0` if instances of it require session tokens.
    pub imds_support: Option<String>,
}

impl Site {
    /// An image as callers see it, or EC2's refusal.
    ///
    /// # Errors
    /// `InvalidAMIID.NotFound`, `InvalidAMIID.Unavailable`.
    pub fn image(&self, id: &str) -> Result<&Image, ApiError> {
        match self.images.get(id) {
            None => Err(ApiError::client("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist"))),
            Some(image) if image.state == ImageState::Deregistered => {
                let message = format!("The image id '[{id}]' is no longer available");
                Err(ApiError::client("InvalidAMIID.Unavailable", message))
            }
            Some(image) => Ok(image),
        }
    }

    fn check_name(&self, name: &str) -> Result<(), ApiError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || NAME_MARKS.contains(c);
        if !(3..=128).contains(&name.len()) || !name.chars().all(fits) {
            let message = format!(
                "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, and only these marks: {NAME_MARKS}"
            );
            return Err(ApiError::client("InvalidAMIName.Malformed", message));
        }
        match self.images.values().find(|image| image.name == name) {
            None => Ok(()),
            Some(image) => {
                let message = format!("AMI name {name} is already in use by AMI {}", image.id);
                Err(ApiError::client("InvalidAMIName.Duplicate", message))
            }
        }
    }

    /// RegisterImage: available at once.
    ///
    /// # Errors
    /// `InvalidAMIName.*`, `InvalidSnapshot.NotFound`.
    pub fn register_image(
        &mut self,
        new: NewImage,
        architecture: &str,
        root_device: &str,
        disks: Vec<Disk>,
        now: DateTime<Utc>,
    ) -> Result<&Image, ApiError> {
        self.check_name(&new.name)?;
        for id in disks.iter().filter_map(|disk| disk.snapshot.as_deref()) {
            self.snapshot(id)?;
        }
        let id = self.add_image(new, architecture, root_device, disks, now);
        if let Some(image) = self.images.get_mut(&id) {
            image.state = ImageState::Available;
        }
        self.image(&id)
    }

    /// Adds an image that is not ready yet.
    fn add_image(
        &mut self,
        new: NewImage,
        architecture: &str,
        root_device: &str,
        disks: Vec<Disk>,
        now: DateTime<Utc>,
    ) -> String {
        let id = self.new_id("ami");
        let image = Image {
            id: id.clone(),
            owner: None,
            owner_alias: None,
            name: new.name,
            description: new.description,
            state: ImageState::Pending,
            platform: Platform::Server,
            architecture: architecture.to_owned(),
            root_device: root_device.to_owned(),
            disks,
            created: now,
            deprecated_at: None,
            source_instance: None,
            boot_mode: new.boot_mode,
            imds_support: new.imds_support,
            public: false,
            protected: false,
            product_codes: Vec::new(),
            tags: new.tags,
        };
        self.images.insert(id.clone(), image);
        id
    }

    /// CreateImage: pending for minutes, with a snapshot of each disk.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, `IncorrectInstanceState`, `InvalidAMIName.*`.
    pub fn create_image(&mut self, of: &InstanceId, new: NewImage, now: DateTime<Utc>) -> Result<&Image, ApiError> {
        self.check_name(&new.name)?;
        let instance = self.instances.get(of).ok_or_else(|| ApiError::no_instance(&[of.as_str()]))?;
        if !matches!(instance.state(), InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped) {
            let message = format!("The instance '{of}' is not in the 'running' or 'stopped' state.");
            return Err(ApiError::client("IncorrectInstanceState", message));
        }
        let base = self.images.get(&instance.params.image);
        let platform = base.map_or(Platform::Server, |image| image.platform);
        let architecture = base.map_or_else(|| "x86_64".to_owned(), |image| image.architecture.clone());
        let volumes = instance.volumes.clone();
        let root = base.map(|image| image.root_device.clone());
        let root = root.or_else(|| volumes.first().map(|(device, _)| device.clone())).unwrap_or_default();
        let mut disks = Vec::new();
        for (device, volume) in volumes {
            let Ok(volume) = self.volume(&volume).cloned() else { continue };
            let description = format!("Created by CreateImage({of})");
            let (size, encrypted) = (volume.size_gib, volume.encrypted);
            let snapshot = self.begin_snapshot(&volume.id, size, encrypted, &description, &new.snapshot_tags, now);
            disks.push(Disk {
                delete_on_termination: volume.attachment.is_some_and(|attached| attached.delete_on_termination),
                device,
                size_gib: size,
                volume_type: volume.volume_type,
                snapshot: Some(snapshot),
                encrypted,
                ..Disk::default()
            });
        }
        let id = self.add_image(new, &architecture, &root, disks, now);
        if let Some(image) = self.images.get_mut(&id) {
            image.source_instance = Some(of.as_str().to_owned());
            image.platform = platform;
        }
        self.image_ready_later(&id, now);
        self.image(&id)
    }

    /// CopyImage: like CreateImage, of another image, perhaps of another region.
    ///
    /// # Errors
    /// `InvalidAMIName.*`, `InvalidAMIID.Unavailable`.
    pub fn copy_image(&mut self, source: &Image, new: NewImage, now: DateTime<Utc>) -> Result<&Image, ApiError> {
        self.check_name(&new.name)?;
        if source.state != ImageState::Available {
            let message = format!("The image id '[{}]' is not available", source.id);
            return Err(ApiError::client("InvalidAMIID.Unavailable", message));
        }
        let mut disks = source.disks.clone();
        for disk in &mut disks {
            let description = format!("Copied for DestinationAmi from SourceAmi {}", source.id);
            let id = self.begin_snapshot(
                "vol-ffffffff",
                disk.size_gib,
                disk.encrypted,
                &description,
                &new.snapshot_tags,
                now,
            );
            disk.snapshot = Some(id);
        }
        let id = self.add_image(new, &source.architecture, &source.root_device, disks, now);
        if let Some(image) = self.images.get_mut(&id) {
            image.platform = source.platform;
        }
        self.image_ready_later(&id, now);
        self.image(&id)
    }

    fn image_ready_later(&mut self, id: &str, now: DateTime<Utc>) {
        let copied = self.images.get(id).into_iter().flat_map(|image| &image.disks);
        let copied = copied.filter_map(|disk| self.snapshots.get(disk.snapshot.as_deref()?)).map(|s| s.completes).max();
        let mut ready = copied.unwrap_or(now) + self.draw(Latency::Image);
        if let Some(fate) = self.image_fates.pop_front() {
            ready = fate.pending.map_or(ready, |pending| now + pending);
            if fate.fails {
                self.failing_images.insert(id.to_owned());
            }
        }
        self.schedule(ready, Due::Image(id.to_owned()));
    }

    /// What a pending image comes to, and when one that was deregistered is shown no longer.
    pub(super) fn image_moves_on(&mut self, id: &str) {
        let fails = self.chance(Fault::AsyncFailure) | self.failing_images.remove(id);
        let Some(image) = self.images.get_mut(id) else { return };
        match image.state {
            ImageState::Pending => image.state = if fails { ImageState::Failed } else { ImageState::Available },
            ImageState::Deregistered => drop(self.images.remove(id)),
            ImageState::Available | ImageState::Failed | ImageState::Disabled => {}
        }
    }

    /// DeregisterImage: its snapshots stay, unless they are to go too. The snapshots' ids.
    ///
    /// # Errors
    /// `InvalidAMIID.*`; `OperationNotPermitted` while it is protected.
    pub fn deregister_image(
        &mut self,
        id: &str,
        with_snapshots: bool,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, ApiError> {
        if self.image(id)?.protected {
            let message = format!("The image id '[{id}]' is protected against deregistration");
            return Err(ApiError::client("OperationNotPermitted", message));
        }
        let shown = self.delays().into_iter().max().unwrap_or_default();
        let Some(image) = self.images.get_mut(id) else { return Ok(Vec::new()) };
        image.state = ImageState::Deregistered;
        let snapshots: Vec<String> = image.disks.iter().filter_map(|disk| disk.snapshot.clone()).collect();
        if shown.is_zero() {
            self.images.remove(id);
        } else {
            self.schedule(now + shown, Due::Image(id.to_owned()));
        }
        if !with_snapshots {
            return Ok(Vec::new());
        }
        Ok(snapshots.into_iter().filter(|snapshot| self.delete_snapshot(snapshot).is_ok()).collect())
    }

    /// EnableImageDeregistrationProtection, or its end.
    ///
    /// # Errors
    /// `InvalidAMIID.*`.
    pub fn protect_image(&mut self, id: &str, protected: bool) -> Result<(), ApiError> {
        self.image(id)?;
        if let Some(image) = self.images.get_mut(id) {
            image.protected = protected;
        }
        Ok(())
    }

    /// EnableImageDeprecation, or its end.
    ///
    /// # Errors
    /// `InvalidAMIID.*`.
    pub fn deprecate_image(&mut self, id: &str, at: Option<DateTime<Utc>>) -> Result<(), ApiError> {
        self.image(id)?;
        if let Some(image) = self.images.get_mut(id) {
            image.deprecated_at = at;
        }
        Ok(())
    }

    /// DisableImage and EnableImage: a disabled one cannot be launched from.
    ///
    /// # Errors
    /// `InvalidAMIID.*`, `InvalidAMIID.Unavailable` for one that is not ready.
    pub fn disable_image(&mut self, id: &str, disabled: bool) -> Result<(), ApiError> {
        let state = self.image(id)?.state;
        if !matches!(state, ImageState::Available | ImageState::Disabled) {
            let message = format!("The image id '[{id}]' is not available");
            return Err(ApiError::client("InvalidAMIID.Unavailable", message));
        }
        if let Some(image) = self.images.get_mut(id) {
            image.state = if disabled { ImageState::Disabled } else { ImageState::Available };
        }
        Ok(())
    }
}
