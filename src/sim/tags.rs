//! CreateTags and DeleteTags on whatever has tags.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::error::ApiError;
use super::instance::Tags;
use super::site::{By, Effect, Site};
use super::weather::Fault;
use crate::model::InstanceId;

/// The most tags of one resource.
const TAGS_MAX: usize = 50;

impl Site {
    /// Sets tags on all of these resources, or on none.
    ///
    /// # Errors
    /// `NotFound` of the kind of the resource, `TagLimitExceeded`.
    pub fn create_tags(&mut self, resources: &[String], tags: &Tags, now: DateTime<Utc>) -> Result<(), ApiError> {
        self.all_tagged(resources, now, |own| own.extend(tags.iter().map(|(k, v)| (k.clone(), v.clone()))))
    }

    /// Takes tags off all of these resources; with a value, only where it is that value.
    ///
    /// # Errors
    /// `NotFound` of the kind of the resource.
    pub fn delete_tags(
        &mut self,
        resources: &[String],
        tags: &[(String, Option<String>)],
        now: DateTime<Utc>,
    ) -> Result<(), ApiError> {
        self.all_tagged(resources, now, |own| {
            for (key, value) in tags {
                if value.as_ref().is_none_or(|value| own.get(key) == Some(value)) {
                    own.remove(key);
                }
            }
        })
    }

    fn all_tagged(
        &mut self,
        resources: &[String],
        now: DateTime<Utc>,
        edit: impl Fn(&mut Tags),
    ) -> Result<(), ApiError> {
        let replica = self.replica();
        for id in resources {
            let mut after = self.tags_of(id, replica, now).ok_or_else(|| unknown_resource(id))?;
            edit(&mut after);
            if after.len() > TAGS_MAX {
                let message = format!("The maximum number of tags for a resource has been reached: {TAGS_MAX}.");
                return Err(ApiError::client("TagLimitExceeded", message));
            }
        }
        for id in resources {
            self.tag_one(id, now, &edit);
        }
        Ok(())
    }

    /// The tags of a resource as a writer finds it.
    fn tags_of(&self, id: &str, replica: usize, now: DateTime<Utc>) -> Option<Tags> {
        if let Ok(instance) = id.parse::<InstanceId>()
            && let Some(instance) = self.instances.get(&instance)
        {
            return instance.seen_by(replica, now).map(|_| (*instance.facts().tags).clone());
        }
        self.tags_of_others(id).cloned()
    }

    fn tag_one(&mut self, id: &str, now: DateTime<Utc>, edit: impl Fn(&mut Tags)) {
        if let Ok(instance) = id.parse::<InstanceId>()
            && self.instances.contains_key(&instance)
        {
            let mut delays = self.delays();
            if self.chance(Fault::TagsLate) {
                let late = TimeDelta::milliseconds(self.random.i64(5_000..30_000));
                delays = delays.map(|delay| delay + late);
            }
            if let Some(known) = self.instances.get_mut(&instance) {
                known.change(now, delays, |facts| edit(Arc::make_mut(&mut facts.tags)));
            }
            self.happened(now, Effect::Tagged(instance, By::Caller));
        } else if let Some(tags) = self.tags_of_others_mut(id) {
            edit(tags);
        }
    }

    /// The tags of anything that is not an instance.
    fn tags_of_others(&self, id: &str) -> Option<&Tags> {
        match id.split_once('-')?.0 {
            "vol" => self.volumes.get(id).map(|volume| &volume.tags),
            "ami" => self.images.get(id).map(|image| &image.tags),
            "subnet" => self.network.subnets.get(id).map(|subnet| &subnet.tags),
            "sg" => self.network.groups.get(id).map(|group| &group.tags),
            _ => None,
        }
    }

    fn tags_of_others_mut(&mut self, id: &str) -> Option<&mut Tags> {
        match id.split_once('-')?.0 {
            "vol" => self.volumes.get_mut(id).map(|volume| &mut volume.tags),
            "ami" => self.images.get_mut(id).map(|image| &mut image.tags),
            "subnet" => self.network.subnets.get_mut(id).map(|subnet| &mut subnet.tags),
            "sg" => self.network.groups.get_mut(id).map(|group| &mut group.tags),
            _ => None,
        }
    }
}

fn unknown_resource(id: &str) -> ApiError {
    match id.split_once('-').map(|(kind, _)| kind) {
        Some("i") => ApiError::no_instance(&[id]),
        Some("ami") => ApiError::client("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist")),
        Some("vol") => ApiError::client("InvalidVolume.NotFound", format!("The volume '{id}' does not exist.")),
        Some("snap") => ApiError::client("InvalidSnapshot.NotFound", format!("The snapshot '{id}' does not exist.")),
        Some("eni") => ApiError::client(
            "InvalidNetworkInterfaceID.NotFound",
            format!("The networkInterface ID '{id}' does not exist"),
        ),
        Some("sg") => ApiError::client("InvalidGroup.NotFound", format!("The security group '{id}' does not exist")),
        Some("subnet") => ApiError::client("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist")),
        Some("sir") => ApiError::client(
            "InvalidSpotInstanceRequestID.NotFound",
            format!("The spot instance request ID '{id}' does not exist"),
        ),
        Some(_) | None => ApiError::client("InvalidID", format!("The ID '{id}' is not valid")),
    }
}
