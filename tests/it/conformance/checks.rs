//! The checks: each does what EC2's documentation says, and tells what came instead.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use latent::cloud::Cloud;
use latent::model::{FailureKind, InstanceId, InstanceState, LaunchSpec, Place, StopMode, TagSet, tag_keys};
use latent::policy::Secret;

use super::{Checked, Ground, Resource, done, refused, same};

pub(super) async fn the_account_is_told<C: Cloud>(ground: &Ground<C>) -> Checked {
    same("the account", &done("account", ground.cloud.account().await)?.as_str(), &ground.account)
}

// --- tokens -----------------------------------------------------------------------------------------

pub(super) async fn one_token_gives_one_instance<C: Cloud>(ground: &Ground<C>) -> Checked {
    let spec = ground.spec("token-1");
    let first = done("launch", ground.launch(&spec).await)?;
    same("the instance of the same token", &done("launch again", ground.launch(&spec).await)?, &first)
}

pub(super) async fn one_token_with_other_parameters_is_refused<C: Cloud>(ground: &Ground<C>) -> Checked {
    let spec = ground.spec("token-2");
    done("launch", ground.launch(&spec).await)?;
    let mut other = spec.clone();
    other.offering.instance_type = "m5.xlarge".to_owned();
    refused("a mismatch", ground.cloud.launch(&other, None, &spec.token()).await, FailureKind::Bug)
}

pub(super) async fn a_token_whose_instance_has_ended_gives_no_other<C: Cloud>(ground: &Ground<C>) -> Checked {
    let spec = ground.spec("token-3");
    let id = done("launch", ground.launch(&spec).await)?;
    done("terminate", ground.cloud.terminate(&id).await)?;
    ground.becomes(&id, InstanceState::Terminated).await?;
    refused("a token that is over", ground.launch(&spec).await, FailureKind::AttemptOver)
}

// --- birth ------------------------------------------------------------------------------------------

/// Every tag of the launch stands among these.
fn all_of(spec: &LaunchSpec, found: &TagSet) -> Checked {
    spec.tags.iter().try_for_each(|(key, value)| same(key, &found.get(key), &Some(value)))
}

pub(super) async fn an_instance_has_its_tags_and_token_from_birth<C: Cloud>(ground: &Ground<C>) -> Checked {
    let spec = ground.spec("birth-1");
    let id = done("launch", ground.launch(&spec).await)?;
    let instance = ground.listed(&id).await?;
    same("the token", &instance.token, &Some(spec.token()))?;
    same("the AMI", &instance.ami, &Some(spec.ami.clone()))?;
    same("the type", &instance.instance_type.as_str(), &"m5.large")?;
    all_of(&spec, &instance.tags)
}

async fn born_with_tags<C: Cloud>(ground: &Ground<C>, attempt: &str, resource: Resource) -> Checked {
    let spec = ground.spec(attempt);
    let id = done("launch", ground.launch(&spec).await)?;
    let found = ground.probe.tags(resource, &id).await?;
    if found.is_empty() {
        return Err("there is none".to_owned());
    }
    found.iter().try_for_each(|tags| all_of(&spec, tags))
}

pub(super) async fn a_volume_has_its_tags_from_birth<C: Cloud>(ground: &Ground<C>) -> Checked {
    born_with_tags(ground, "birth-2", Resource::VolumesOf).await
}

pub(super) async fn an_interface_has_its_tags_from_birth<C: Cloud>(ground: &Ground<C>) -> Checked {
    born_with_tags(ground, "birth-3", Resource::InterfacesOf).await
}

// --- states -----------------------------------------------------------------------------------------

pub(super) async fn a_launch_is_pending_before_it_runs<C: Cloud>(ground: &Ground<C>) -> Checked {
    let id = ground.launched("states-1").await?;
    same("the state", &ground.listed(&id).await?.state, &InstanceState::Pending)?;
    ground.becomes(&id, InstanceState::Running).await
}

pub(super) async fn an_instance_stops_starts_and_ends<C: Cloud>(ground: &Ground<C>) -> Checked {
    let id = ground.launched("states-2").await?;
    ground.becomes(&id, InstanceState::Running).await?;
    done("stop", ground.cloud.stop(&id, StopMode::Plain).await)?;
    ground.becomes(&id, InstanceState::Stopped).await?;
    done("stop what is stopped", ground.cloud.stop(&id, StopMode::Plain).await)?;
    done("start", ground.cloud.start(&id).await)?;
    ground.becomes(&id, InstanceState::Running).await?;
    done("start what runs", ground.cloud.start(&id).await)?;
    done("terminate", ground.cloud.terminate(&id).await)?;
    ground.becomes(&id, InstanceState::Terminated).await
}

pub(super) async fn an_end_may_be_asked_for_twice<C: Cloud>(ground: &Ground<C>) -> Checked {
    let id = ground.launched("states-3").await?;
    done("terminate", ground.cloud.terminate(&id).await)?;
    done("terminate again", ground.cloud.terminate(&id).await)?;
    ground.becomes(&id, InstanceState::Terminated).await?;
    done("terminate what has ended", ground.cloud.terminate(&id).await)
}

pub(super) async fn what_has_ended_is_neither_started_nor_stopped<C: Cloud>(ground: &Ground<C>) -> Checked {
    let id = ground.launched("states-4").await?;
    done("terminate", ground.cloud.terminate(&id).await)?;
    ground.becomes(&id, InstanceState::Terminated).await?;
    refused("a start", ground.cloud.start(&id).await, FailureKind::RetrySame)?;
    refused("a stop", ground.cloud.stop(&id, StopMode::Plain).await, FailureKind::RetrySame)
}

// --- listings ---------------------------------------------------------------------------------------

/// Launched for another fleet.
async fn foreign<C: Cloud>(ground: &Ground<C>, attempt: &str) -> Result<InstanceId, String> {
    let mut spec = ground.spec(attempt);
    spec.tags.set(tag_keys::FLEET, "another");
    done("launch", ground.launch(&spec).await)
}

pub(super) async fn a_listing_shows_this_fleet_only<C: Cloud>(ground: &Ground<C>) -> Checked {
    let ours = ground.launched("listing-1").await?;
    let theirs = foreign(ground, "listing-2").await?;
    ground.listed(&ours).await?;
    same("whether another fleet's is listed", &ground.seen(&theirs).await?.is_some(), &false)
}

pub(super) async fn a_listing_of_more_than_a_page_is_whole<C: Cloud>(ground: &Ground<C>) -> Checked {
    let mut launched = BTreeSet::new();
    for number in 0..ground.more_than_a_page {
        launched.insert(ground.launched(&format!("many-{number}")).await?);
    }
    same("how many were launched", &launched.len(), &ground.more_than_a_page)?;
    let listing = done("listing", ground.cloud.inventory(ground.clock.now(), &[]).await)?;
    let missing = launched.iter().filter(|id| !listing.instances.contains_key(*id)).count();
    same("how many are not listed", &missing, &0)
}

pub(super) async fn what_has_lost_its_tags_is_found_by_its_id<C: Cloud>(ground: &Ground<C>) -> Checked {
    let (ours, theirs) = (ground.launched("id-1").await?, foreign(ground, "id-2").await?);
    // More ids than one filter takes, most of which nobody knows.
    let unknown = |number| format!("i-0{number:016x}").parse::<InstanceId>().expect("an id");
    let mut also: Vec<InstanceId> = (1..=450).map(unknown).collect();
    also.extend([ours.clone(), theirs.clone()]);
    let listing = done("listing", ground.cloud.inventory(ground.clock.now(), &also).await)?;
    let found: BTreeSet<&InstanceId> = also.iter().filter(|id| listing.instances.contains_key(*id)).collect();
    same("what was found", &found, &BTreeSet::from([&ours, &theirs]))
}

// --- renewals ---------------------------------------------------------------------------------------

pub(super) async fn a_renewal_sets_the_lease_of_all<C: Cloud>(ground: &Ground<C>) -> Checked {
    let both = [ground.launched("lease-1").await?, ground.launched("lease-2").await?];
    let until = ground.clock.now() + TimeDelta::minutes(45);
    done("renew", ground.cloud.renew(&both, until).await)?;
    for id in &both {
        let lease = ground.listed(id).await?.tags.time(tag_keys::LEASE);
        same("the lease", &lease.map(|at| at.timestamp()), &Some(until.timestamp()))?;
    }
    Ok(())
}

pub(super) async fn a_renewal_with_one_unknown_instance_changes_none<C: Cloud>(ground: &Ground<C>) -> Checked {
    let known = ground.launched("lease-3").await?;
    let until = ground.clock.now() + TimeDelta::minutes(45);
    let mixed = [known.clone(), nobody()];
    refused("a renewal", ground.cloud.renew(&mixed, until).await, FailureKind::NotFound)?;
    same("the lease of the known one", &ground.listed(&known).await?.tags.get(tag_keys::LEASE), &None)
}

// --- refusals ---------------------------------------------------------------------------------------

fn nobody() -> InstanceId {
    "i-0123456789abcdef0".parse().expect("an id")
}

pub(super) async fn a_console_shows_what_its_instance_wrote<C: Cloud>(ground: &Ground<C>) -> Checked {
    let id = ground.launched("console-1").await?;
    ground.becomes(&id, InstanceState::Running).await?;
    let shown = done("a look at the console", ground.cloud.console(&id).await)?;
    same("that something was written", &shown.is_some_and(|text| text.lines().count() > 1), &true)
}

pub(super) async fn an_unknown_instance_is_not_found<C: Cloud>(ground: &Ground<C>) -> Checked {
    refused("an end", ground.cloud.terminate(&nobody()).await, FailureKind::NotFound)?;
    refused("a stop", ground.cloud.stop(&nobody(), StopMode::Plain).await, FailureKind::NotFound)?;
    refused("a look at the console", ground.cloud.console(&nobody()).await, FailureKind::NotFound)?;
    refused("a start", ground.cloud.start(&nobody()).await, FailureKind::NotFound)
}

pub(super) async fn a_malformed_instance_id_is_our_bug<C: Cloud>(ground: &Ground<C>) -> Checked {
    let malformed: InstanceId = "i-zzz".parse().expect("fit for our own type");
    refused("an end", ground.cloud.terminate(&malformed).await, FailureKind::Bug)?;
    refused("a stop", ground.cloud.stop(&malformed, StopMode::Plain).await, FailureKind::Bug)?;
    refused("a start", ground.cloud.start(&malformed).await, FailureKind::Bug)
}

/// A launch that only the owner can mend.
async fn owners<C: Cloud>(ground: &Ground<C>, attempt: &str, spoil: impl FnOnce(&mut LaunchSpec)) -> Checked {
    let mut spec = ground.spec(attempt);
    spoil(&mut spec);
    refused("the launch", ground.launch(&spec).await, FailureKind::Owner)
}

pub(super) async fn an_unknown_ami_is_the_owners_to_mend<C: Cloud>(ground: &Ground<C>) -> Checked {
    owners(ground, "bad-1", |spec| spec.ami = "ami-0123456789abcdef0".parse().expect("an AMI")).await
}

pub(super) async fn a_malformed_ami_is_the_owners_to_mend<C: Cloud>(ground: &Ground<C>) -> Checked {
    owners(ground, "bad-2", |spec| spec.ami = "ami-zzz".parse().expect("fit for our own type")).await
}

pub(super) async fn an_unknown_type_is_the_owners_to_mend<C: Cloud>(ground: &Ground<C>) -> Checked {
    owners(ground, "bad-3", |spec| spec.offering.instance_type = "z9.enormous".to_owned()).await
}

pub(super) async fn an_unknown_subnet_is_the_owners_to_mend<C: Cloud>(ground: &Ground<C>) -> Checked {
    let place = Place::Subnet("subnet-0123456789abcdef0".to_owned());
    owners(ground, "bad-4", |spec| spec.offering.place = place).await
}

pub(super) async fn an_unknown_group_is_the_owners_to_mend<C: Cloud>(ground: &Ground<C>) -> Checked {
    owners(ground, "bad-5", |spec| spec.security_groups = vec!["sg-0123456789abcdef0".to_owned()]).await
}

pub(super) async fn an_unknown_key_pair_is_the_owners_to_mend<C: Cloud>(ground: &Ground<C>) -> Checked {
    owners(ground, "bad-6", |spec| spec.key_pair = Some("nobody".to_owned())).await
}

pub(super) async fn too_much_user_data_is_the_owners_to_mend<C: Cloud>(ground: &Ground<C>) -> Checked {
    let spec = ground.spec("bad-7");
    let fits = Secret::new("x".repeat(16 * 1024));
    done("as much as fits", ground.cloud.launch(&spec, Some(&fits), &spec.token()).await)?;
    let (spec, more) = (ground.spec("bad-8"), Secret::new("x".repeat(16 * 1024 + 3)));
    refused("three bytes more", ground.cloud.launch(&spec, Some(&more), &spec.token()).await, FailureKind::Owner)
}

pub(super) async fn what_is_refused_launches_nothing<C: Cloud>(ground: &Ground<C>) -> Checked {
    owners(ground, "bad-9", |spec| spec.offering.place = Place::Subnet("subnet-0123456789abcdef0".to_owned())).await?;
    let listing = done("listing", ground.cloud.inventory(ground.clock.now(), &[]).await)?;
    let launched = listing.instances.values().any(|i| i.tags.get(tag_keys::ATTEMPT) == Some("bad-9"));
    same("whether it was launched all the same", &launched, &false)
}
