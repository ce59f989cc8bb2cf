//! Builds the parameters of a launch, and says whether an old launch still matches the manifest.

use chrono::{DateTime, SubsecRound, Utc};

use crate::model::{
    AmiId, Attempt, AttemptId, BlockDevice, Canary, LaunchSpec, Market, Offering, Role, ShutdownBehavior, TagSet,
    WorkerName, instance_name, tag_keys,
};
use crate::policy::{Image, Intent, OnIdle, WorkerIntent};

/// The longest value of a tag.
const VALUE_MAX: usize = 255;

/// What is launched: of a manifest, the AMI that it means now and one of its offerings.
#[derive(Debug, Clone, Copy)]
pub struct Chosen<'a> {
    /// The manifest.
    pub image: &'a Image,
    /// The AMI.
    pub ami: &'a AmiId,
    /// What is bought.
    pub offering: &'a Offering,
    /// Of what canary; none for an ordinary instance.
    pub canary: Option<&'a Canary>,
}

/// Every parameter of a launch. The same arguments give the same parameters, and so the same token.
pub fn launch_spec(
    now: DateTime<Utc>,
    intent: &Intent,
    name: &WorkerName,
    configured: &WorkerIntent,
    chosen: Chosen<'_>,
    attempt: &AttemptId,
) -> LaunchSpec {
    let Chosen { image, ami, offering, canary } = chosen;
    let role = if canary.is_some() { Role::Canary } else { Role::Worker };
    let created = now.trunc_subsecs(0);
    let policy = &configured.policy;
    let mut tags: TagSet = image.tags.iter().cloned().collect();
    tags.set(tag_keys::FLEET, &intent.fleet.name)
        .set(tag_keys::CONTROLLER, &intent.fleet.controller)
        .set(tag_keys::OWNER, image.owner.as_str())
        .set(tag_keys::WORKER, name.as_str())
        .set(tag_keys::ATTEMPT, attempt.as_str())
        .set(tag_keys::ROLE, role.as_str())
        .set(tag_keys::IMAGE, configured.image.as_str())
        .set(tag_keys::WATCH, image.lease_watch.to_string())
        .set_time(tag_keys::CREATED, created)
        .set_time(tag_keys::LEASE, created + policy.lease)
        .set_time(tag_keys::DEADLINE, created + policy.max_lifetime);
    if tags.get(tag_keys::NAME).is_none() {
        tags.set(tag_keys::NAME, instance_name(name));
    }
    if let Some(generation) = canary.map(|canary| canary.generation).or(image.generation) {
        tags.set(tag_keys::GENERATION, generation.to_string());
    }
    if let Some(devices) = outliving(&image.block_devices) {
        tags.set(tag_keys::OUTLIVES, devices);
    }
    LaunchSpec {
        region: image.region.clone(),
        ami: ami.clone(),
        offering: offering.clone(),
        security_groups: image.security_groups.clone(),
        key_pair: image.key_pair.clone(),
        instance_profile: image.instance_profile.clone(),
        block_devices: image.block_devices.clone(),
        shutdown: shutdown_of(role, policy.on_idle),
        tags,
        user_data_digest: configured
            .user_data
            .as_ref()
            .map(|data| data.of_attempt(intent.join_key.as_ref(), name, attempt).digest),
        ami_filter: image.ami.filter().filter(|_| canary.is_none()).map(ToString::to_string),
        security_group_names: image.security_group_names.clone(),
        spot_price_max: spot_price_max(image, offering),
        elastic_ip: image.elastic_ip.clone(),
        volumes: image.volumes.clone(),
        batch: None,
        hibernate: hibernates(role, policy.on_idle, offering.market),
    }
}

/// Whether it is launched so that it may be hibernated. One-time spot instances cannot, and a canary is stopped.
fn hibernates(role: Role, on_idle: OnIdle, market: Market) -> bool {
    role == Role::Worker && on_idle == OnIdle::Hibernate && market == Market::OnDemand
}

/// The devices whose volumes stay when their instance ends, so that no sweep takes them for left over.
fn outliving(devices: &[BlockDevice]) -> Option<String> {
    let stays = devices.iter().filter(|device| !device.delete_on_termination).map(|device| device.device.as_str());
    let names: Vec<&str> = stays.collect();
    (!names.is_empty()).then(|| names.join(" ").chars().take(VALUE_MAX).collect())
}

fn spot_price_max(image: &Image, offering: &Offering) -> Option<String> {
    image.spot_price_max.clone().filter(|_| offering.market == Market::Spot)
}

/// What a power-off from inside means: a worker that is to be thrown away is gone, one that is kept for
/// the next request stays, and so does what is to become an image, whose end it announces. A canary is stopped
/// by a call; one that powers itself off is over.
pub fn shutdown_of(role: Role, on_idle: OnIdle) -> ShutdownBehavior {
    match (role, on_idle) {
        (Role::Worker, OnIdle::Terminate) | (Role::Canary, _) => ShutdownBehavior::Terminate,
        (Role::Worker, OnIdle::Stop | OnIdle::Hibernate) | (Role::Rebake, _) => ShutdownBehavior::Stop,
    }
}

/// Whether the manifest has changed since an attempt was launched from it. `ami` is what its filter chooses
/// now, where that is known.
pub fn drifted(attempt: &Attempt, image: Option<&Image>, ami: Option<&AmiId>) -> bool {
    let (Some(spec), Some(image)) = (&attempt.spec, image) else {
        return image.is_none();
    };
    let ami = image.ami.named().or(ami);
    // A canary is from another AMI than the manifest's: that is what it is for.
    let other_ami =
        ami.is_some_and(|ami| spec.ami != *ami) || spec.ami_filter != image.ami.filter().map(ToString::to_string);
    (other_ami && !attempt.is_canary())
        || !image.offerings.contains(&spec.offering)
        || spec.security_groups != image.security_groups
        || spec.key_pair != image.key_pair
        || spec.instance_profile != image.instance_profile
        || spec.block_devices != image.block_devices
        || spec.security_group_names != image.security_group_names
        || spec.spot_price_max != spot_price_max(image, &spec.offering)
        || spec.elastic_ip != image.elastic_ip
        || spec.volumes != image.volumes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_worker_on_demand_is_launched_for_hibernation_and_only_where_its_policy_says_so() {
        for role in [Role::Worker, Role::Canary, Role::Rebake] {
            for on_idle in [OnIdle::Terminate, OnIdle::Stop, OnIdle::Hibernate] {
                for market in [Market::OnDemand, Market::Spot] {
                    let right = (role, on_idle, market) == (Role::Worker, OnIdle::Hibernate, Market::OnDemand);
                    assert_eq!(hibernates(role, on_idle, market), right, "{role} {on_idle:?} {market}");
                }
            }
        }
    }

    #[test]
    fn a_power_off_means_what_the_role_says() {
        let (gone, stays) = (ShutdownBehavior::Terminate, ShutdownBehavior::Stop);
        for (role, on_idle, means) in [
            (Role::Worker, OnIdle::Terminate, gone),
            (Role::Worker, OnIdle::Stop, stays),
            (Role::Worker, OnIdle::Hibernate, stays),
            (Role::Canary, OnIdle::Terminate, gone),
            (Role::Canary, OnIdle::Stop, gone),
            (Role::Rebake, OnIdle::Terminate, stays),
            (Role::Rebake, OnIdle::Stop, stays),
        ] {
            assert_eq!(shutdown_of(role, on_idle), means, "{role} {on_idle:?}");
        }
    }
}
