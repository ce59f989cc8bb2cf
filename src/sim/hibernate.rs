//! Hibernation: what may be launched for it, and a stop that writes the memory to the disk first.

use chrono::{DateTime, TimeDelta, Utc};

use super::error::ApiError;
use super::image::Image;
use super::instance::{Instance, Reason, RunInstances};
use super::latency::Latency;
use super::site::{By, Site};
use super::types::instance_type;
use crate::model::{InstanceId, InstanceState};

/// EC2's reason of a stop that was asked to hibernate.
const HIBERNATED: &str = "Client.UserInitiatedHibernate";
/// The agent in the guest is ready so long after a start (the User Guide says about two minutes of Linux).
const AGENT_READY: TimeDelta = TimeDelta::seconds(120);

impl Site {
    /// It goes to sleep: its memory is written to its disk first.
    pub(super) fn hibernate(&mut self, id: &InstanceId, now: DateTime<Utc>) {
        let after = self.ending_time() + self.draw(Latency::Hibernating);
        if let Some(instance) = self.instances.get_mut(id) {
            instance.hibernating = true;
        }
        let reason = Reason::new(HIBERNATED, "Client.UserInitiatedHibernate: User initiated hibernate");
        self.stops_within(id, reason, By::Caller, after, now);
    }
}

/// Whether a launch may ask for it, as far as its type and its root disk are known.
pub(super) fn may_be_asked(request: &RunInstances, image: Option<&Image>) -> Result<(), ApiError> {
    if !request.hibernate {
        return Ok(());
    }
    let refused = |message: String| Err(ApiError::client("InvalidParameterCombination", message));
    if request.spot.as_ref().is_some_and(|spot| !spot.persistent) {
        return refused("Hibernation is not supported for a one-time Spot Instance request.".to_owned());
    }
    if instance_type(&request.instance_type).is_some_and(|kind| !kind.hibernates()) {
        let message = format!("Hibernation is not supported for the instance type {}.", request.instance_type);
        return Err(ApiError::client("UnsupportedHibernationConfiguration", message));
    }
    let Some(image) = image else { return Ok(()) };
    let own = request.disks.iter().find(|disk| disk.device == image.root_device);
    let root = own.or_else(|| image.disks.iter().find(|disk| disk.device == image.root_device));
    if root.is_some_and(|disk| disk.encrypted) {
        return Ok(());
    }
    refused("Hibernation requires an encrypted root volume.".to_owned())
}

/// Whether it was launched for hibernation, and its agent is ready.
pub(super) fn may_hibernate(instance: &Instance, now: DateTime<Utc>) -> Result<(), ApiError> {
    let id = &instance.id;
    if !instance.params.hibernate {
        let message =
            format!("The instance can't be hibernated because it was not configured at launch for hibernation: {id}");
        return Err(ApiError::client("UnsupportedHibernationConfiguration", message));
    }
    if *instance.state() == InstanceState::Running && now < instance.facts().launch_time + AGENT_READY {
        let message = format!("Instance {id} is not ready to hibernate yet, retry in a few minutes");
        return Err(ApiError::client("UnsupportedOperation", message));
    }
    Ok(())
}
