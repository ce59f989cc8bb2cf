//! Builds the parameters of a launch, and says whether an old launch still matches the manifest.

use chrono::{DateTime, SubsecRound, Utc};

use crate::model::{Attempt, AttemptId, LaunchSpec, Offering, Role, ShutdownBehavior, TagSet, WorkerName, tag_keys};
use crate::policy::{Image, Intent, OnIdle, WorkerIntent};

/// Every parameter of a launch. The same arguments give the same parameters, and so the same token.
pub fn launch_spec(
    now: DateTime<Utc>,
    intent: &Intent,
    name: &WorkerName,
    configured: &WorkerIntent,
    image: &Image,
    offering: &Offering,
    attempt: &AttemptId,
) -> LaunchSpec {
    let created = now.trunc_subsecs(0);
    let policy = &configured.policy;
    let mut tags: TagSet = image.tags.iter().cloned().collect();
    tags.set(tag_keys::FLEET, &intent.fleet.name)
        .set(tag_keys::CONTROLLER, &intent.fleet.controller)
        .set(tag_keys::OWNER, image.owner.as_str())
        .set(tag_keys::WORKER, name.as_str())
        .set(tag_keys::ATTEMPT, attempt.as_str())
        .set(tag_keys::ROLE, Role::Worker.to_string())
        .set(tag_keys::IMAGE, configured.image.as_str())
        .set(tag_keys::WATCH, image.lease_watch.to_string())
        .set_time(tag_keys::CREATED, created)
        .set_time(tag_keys::LEASE, created + policy.lease)
        .set_time(tag_keys::DEADLINE, created + policy.max_lifetime);
    if tags.get(tag_keys::NAME).is_none() {
        tags.set(tag_keys::NAME, format!("latent {name}"));
    }
    LaunchSpec {
        region: image.region.clone(),
        ami: image.ami.clone(),
        offering: offering.clone(),
        security_groups: image.security_groups.clone(),
        key_pair: image.key_pair.clone(),
        instance_profile: image.instance_profile.clone(),
        block_devices: image.block_devices.clone(),
        shutdown: shutdown_of(Role::Worker, policy.on_idle),
        tags,
        user_data_digest: configured
            .user_data
            .as_ref()
            .map(|data| data.of_attempt(intent.join_key.as_ref(), name, attempt).digest),
    }
}

/// What a power-off from inside means: a worker that is to be thrown away is gone, one that is kept for
/// the next request stays, and so does what is to become an image, whose end it announces.
pub fn shutdown_of(role: Role, on_idle: OnIdle) -> ShutdownBehavior {
    match (role, on_idle) {
        (Role::Worker | Role::Canary, OnIdle::Terminate) => ShutdownBehavior::Terminate,
        (Role::Worker | Role::Canary, OnIdle::Stop) | (Role::Rebake, _) => ShutdownBehavior::Stop,
    }
}

/// Whether the manifest has changed since an attempt was launched from it.
pub fn drifted(attempt: &Attempt, image: Option<&Image>) -> bool {
    let (Some(spec), Some(image)) = (&attempt.spec, image) else {
        return image.is_none();
    };
    spec.ami != image.ami
        || !image.offerings.contains(&spec.offering)
        || spec.security_groups != image.security_groups
        || spec.key_pair != image.key_pair
        || spec.instance_profile != image.instance_profile
        || spec.block_devices != image.block_devices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_off_means_what_the_role_says() {
        let (gone, stays) = (ShutdownBehavior::Terminate, ShutdownBehavior::Stop);
        for (role, on_idle, means) in [
            (Role::Worker, OnIdle::Terminate, gone),
            (Role::Worker, OnIdle::Stop, stays),
            (Role::Canary, OnIdle::Terminate, gone),
            (Role::Rebake, OnIdle::Terminate, stays),
            (Role::Rebake, OnIdle::Stop, stays),
        ] {
            assert_eq!(shutdown_of(role, on_idle), means, "{role} {on_idle:?}");
        }
    }
}
