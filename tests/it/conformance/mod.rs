//! What every cloud must do, whoever plays it: one list of checks, run on the simulated EC2 and, through
//! the AWS SDK, on every emulator there is (`emulator.rs`). Where one departs from EC2 a row of
//! `departures.rs` says so, and the check is then expected to fail.

mod bakery;
mod checks;
mod commands;
mod departures;
mod equip;
mod images;
mod leftovers;
mod records;
mod simulated;

use std::collections::BTreeSet;
use std::fmt::Debug;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::LocalBoxFuture;
use latent::cloud::{Bakery, Cloud, CloudError};
use latent::control::Clock;
use latent::model::{
    FailureKind, Instance, InstanceId, InstanceState, LaunchSpec, Market, Offering, Place, ResourceKind,
    ShutdownBehavior, TagSet, tag_keys,
};

pub(crate) use commands::{Guest, commands_conform};
use departures::DEPARTURES;
pub(crate) use records::records_conform;

/// The fleet that the clouds under test list.
pub(crate) const FLEET: &str = "conformance";

/// What a check came to: the cloud does as EC2 does, or what it did instead.
pub(crate) type Checked = Result<(), String>;

/// A cloud under test, and what a check must know of it.
pub(crate) struct Ground<C> {
    pub(crate) cloud: C,
    pub(crate) clock: Clock,
    /// The account that the credentials act in.
    pub(crate) account: &'static str,
    /// An AMI that the cloud knows.
    pub(crate) ami: String,
    /// More instances than one page of its listing holds.
    pub(crate) more_than_a_page: usize,
    /// Between two looks at something that changes.
    pub(crate) look_every: TimeDelta,
    pub(crate) probe: Box<dyn Probe>,
}

/// What the `Cloud` itself does not show.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Resource {
    VolumesOf,
    InterfacesOf,
}

/// The snapshots that there are, by their ids.
pub(crate) type Snapshots = Vec<(String, TagSet)>;

/// Looks past the `Cloud` at what it made.
pub(crate) trait Probe {
    /// The tags of each such resource of an instance.
    fn tags<'a>(&'a self, resource: Resource, of: &'a InstanceId) -> LocalBoxFuture<'a, Result<Vec<TagSet>, String>>;

    /// All snapshots of the account, with their tags.
    fn snapshots(&self) -> LocalBoxFuture<'_, Result<Snapshots, String>>;

    /// Makes something of a kind that nothing has, with these tags, and tells its id.
    fn make<'a>(&'a self, kind: ResourceKind, tags: &'a TagSet) -> LocalBoxFuture<'a, Result<String, String>>;

    /// Makes a security group of the default VPC, and tells its id.
    fn group<'a>(&'a self, name: &'a str, tags: &'a TagSet) -> LocalBoxFuture<'a, Result<String, String>>;

    /// What a security group lets through, each as `out tcp 443 0.0.0.0/0`.
    fn rules<'a>(&'a self, group: &'a str) -> LocalBoxFuture<'a, Result<Vec<String>, String>>;

    /// Lets everybody in by SSH, and everything out, as somebody might who looks into a builder.
    fn open<'a>(&'a self, group: &'a str) -> LocalBoxFuture<'a, Result<(), String>>;

    /// A subnet of the default VPC.
    fn subnet(&self) -> LocalBoxFuture<'_, Result<String, String>>;

    /// Makes a launch template with a version for each of these AMIs, and tells its id.
    fn template<'a>(&'a self, name: &'a str, amis: &'a [&'a str]) -> LocalBoxFuture<'a, Result<String, String>>;

    /// Makes an AMI of a snapshot, and tells its id.
    fn register<'a>(
        &'a self,
        name: &'a str,
        snapshot: &'a str,
        tags: &'a TagSet,
    ) -> LocalBoxFuture<'a, Result<String, String>>;
}

type Check<C> = for<'a> fn(&'a Ground<C>) -> LocalBoxFuture<'a, Checked>;

/// Name and function, one row each.
macro_rules! list {
    ($($module:ident: $($name:ident),+;)+) => {
        fn list<C: Bakery>() -> Vec<(&'static str, Check<C>)> {
            vec![$($((stringify!($name), (|ground| Box::pin($module::$name(ground))) as Check<C>)),+),+]
        }
    };
}

list! {
    checks:
    the_account_is_told,
    one_token_gives_one_instance,
    one_token_with_other_parameters_is_refused,
    a_token_whose_instance_has_ended_gives_no_other,
    an_instance_has_its_tags_and_token_from_birth,
    a_volume_has_its_tags_from_birth,
    an_interface_has_its_tags_from_birth,
    a_launch_is_pending_before_it_runs,
    an_instance_stops_starts_and_ends,
    an_end_may_be_asked_for_twice,
    what_has_ended_is_neither_started_nor_stopped,
    a_listing_shows_this_fleet_only,
    a_listing_of_more_than_a_page_is_whole,
    what_has_lost_its_tags_is_found_by_its_id,
    a_renewal_sets_the_lease_of_all,
    a_renewal_with_one_unknown_instance_changes_none,
    a_console_shows_what_its_instance_wrote,
    an_unknown_instance_is_not_found,
    a_malformed_instance_id_is_our_bug,
    an_unknown_ami_is_the_owners_to_mend,
    a_malformed_ami_is_the_owners_to_mend,
    an_unknown_type_is_the_owners_to_mend,
    an_unknown_subnet_is_the_owners_to_mend,
    an_unknown_group_is_the_owners_to_mend,
    an_unknown_key_pair_is_the_owners_to_mend,
    too_much_user_data_is_the_owners_to_mend,
    what_is_refused_launches_nothing;
    equip:
    amis_are_found_by_owner_and_processor,
    a_group_of_the_default_vpc_is_known_by_its_name,
    an_unknown_group_name_is_the_owners_to_mend,
    a_disk_that_stays_is_told,
    a_volume_is_attached_once_and_goes_free,
    a_volume_of_another_zone_is_the_owners_to_mend,
    an_unknown_volume_is_the_owners_to_mend,
    an_address_is_associated_once_and_goes_free,
    an_unknown_address_is_the_owners_to_mend;
    images:
    an_image_and_its_snapshots_have_their_tags_from_birth,
    one_name_gives_one_image,
    a_name_that_another_has_is_the_owners_to_mend,
    an_image_is_pending_before_it_is_available,
    images_are_those_of_this_fleet,
    a_retired_image_leaves_no_snapshot,
    an_image_of_others_is_not_retired,
    an_image_that_never_was_is_retired_already;
    bakery:
    a_source_is_told_and_what_never_was_is_none,
    a_fence_lets_nothing_in_and_out_what_it_says,
    a_fence_that_somebody_opened_is_put_right,
    a_group_of_others_is_no_fence_of_ours,
    a_group_in_another_role_is_no_fence,
    a_fence_stays_as_long_as_its_builder,
    a_fence_goes_and_may_go_twice,
    a_fence_stands_in_the_vpc_of_its_subnet,
    an_image_is_announced_to_go_and_taken_back,
    an_image_is_put_away_and_taken_back,
    an_image_is_tagged_and_keeps_its_other_tags,
    an_image_of_others_is_not_changed,
    an_image_that_is_gone_is_not_found,
    an_image_is_used_by_its_instances_until_they_have_ended,
    an_image_is_used_by_any_version_of_a_template,
    a_template_that_names_a_parameter_may_use_any_image,
    a_snapshot_of_two_images_goes_with_the_second,
    a_rehearsal_tells_what_would_be_refused_and_does_nothing;
    leftovers:
    volumes_are_listed_and_deleted,
    snapshots_are_listed_and_deleted,
    interfaces_are_listed_and_deleted,
    addresses_are_listed_and_released,
    spot_requests_are_listed_and_cancelled,
    instances_and_images_are_listed_whatever_their_tags,
    an_instance_tells_its_parts_and_its_age,
    a_volume_in_use_is_not_deleted,
    an_interface_in_use_is_not_deleted,
    what_nobody_has_is_not_found,
    leftovers_are_marked_together,
    a_mark_with_one_unknown_resource_is_set_on_none,
    the_regions_are_told;
}

/// Runs every check, and holds each against the table of departures.
pub(crate) async fn conforms<C: Bakery>(who: &str, ground: &Ground<C>) {
    let mut wrong = Vec::new();
    for (name, check) in list::<C>() {
        wrong.extend(against_the_table(who, name, check(ground).await));
    }
    assert!(wrong.is_empty(), "{who} is not as EC2, or not as departures.rs says:\n  {}", wrong.join("\n  "));
}

/// What is wrong with the outcome of a check, if it is not what the table of departures says.
fn against_the_table(who: &str, name: &str, checked: Checked) -> Option<String> {
    let row = DEPARTURES.iter().find(|row| row.emulators.contains(&who) && row.check == name);
    match (checked, row) {
        (Ok(()), Some(row)) => return Some(format!("{name}: conforms, and the table says: {}", row.reason)),
        (Err(found), None) => return Some(format!("{name}: {found}")),
        (Ok(()), None) => say(&format!("{who}: {name}: conforms")),
        (Err(found), Some(row)) => say(&format!("{who}: {name}: departs: {} ({found})", row.reason)),
    }
    None
}

pub(crate) fn say(line: &str) {
    println!("{line}");
}

#[test]
fn every_departure_is_one_of_a_check_that_there_is() {
    let mut names: BTreeSet<&str> = list::<latent::sim::SimCloud>().into_iter().map(|(name, _)| name).collect();
    names.extend(commands::list::<latent::sim::SimCloud>().into_iter().map(|(name, _)| name));
    let mut rows = BTreeSet::new();
    for (who, check) in DEPARTURES.iter().flat_map(|row| row.emulators.iter().map(|who| (who, row.check))) {
        assert!(rows.insert((who, check)), "{who} {check} stands twice");
    }
    for row in DEPARTURES {
        assert!(names.contains(row.check), "{}", row.check);
        assert!(!row.reason.is_empty());
    }
}

// --- what checks are made of ------------------------------------------------------------------------

/// A launch into the default VPC. `ami` must be one that the cloud knows.
pub(crate) fn spec(ami: &str, attempt: &str, created: DateTime<Utc>) -> LaunchSpec {
    let mut tags = TagSet::default();
    tags.set(tag_keys::FLEET, FLEET)
        .set(tag_keys::CONTROLLER, "tests")
        .set(tag_keys::WORKER, "w")
        .set(tag_keys::ATTEMPT, attempt)
        .set(tag_keys::ROLE, "worker")
        .set_time(tag_keys::CREATED, created);
    LaunchSpec {
        region: "us-west-2".parse().expect("a region"),
        ami: ami.parse().expect("an AMI"),
        offering: Offering { instance_type: "m5.large".to_owned(), place: Place::Anywhere, market: Market::OnDemand },
        security_groups: Vec::new(),
        key_pair: None,
        instance_profile: None,
        block_devices: Vec::new(),
        shutdown: ShutdownBehavior::Stop,
        tags,
        user_data_digest: None,
        ami_filter: None,
        security_group_names: Vec::new(),
        spot_price_max: None,
        elastic_ip: None,
        volumes: Vec::new(),
        batch: None,
        hibernate: false,
    }
}

/// The same, or what was found instead.
pub(crate) fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Checked {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, not {expected:?}")) }
}

/// Done, or how it was refused.
fn done<T>(what: &str, result: Result<T, CloudError>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error} ({})", error.kind))
}

/// Refused so, or what came instead.
fn refused<T: Debug>(what: &str, result: Result<T, CloudError>, kind: FailureKind) -> Checked {
    match result {
        Ok(value) => Err(format!("{what} was accepted: {value:?}")),
        Err(error) => same(&format!("the kind of {what} ({error})"), &error.kind, &kind),
    }
}

impl<C: Cloud> Ground<C> {
    fn spec(&self, attempt: &str) -> LaunchSpec {
        spec(&self.ami, attempt, self.clock.now())
    }

    async fn pause(&self) {
        self.clock.sleep_until(self.clock.now() + self.look_every).await;
    }

    /// Launches; waits when EC2 says that it came too fast.
    async fn launch(&self, spec: &LaunchSpec) -> Result<InstanceId, CloudError> {
        loop {
            match self.cloud.launch(spec, None, &spec.token()).await {
                Err(error) if error.kind == FailureKind::Throttled => self.pause().await,
                other => return other,
            }
        }
    }

    async fn launched(&self, attempt: &str) -> Result<InstanceId, String> {
        done("launch", self.launch(&self.spec(attempt)).await)
    }

    pub(crate) async fn seen(&self, id: &InstanceId) -> Result<Option<Instance>, String> {
        let mut listing = done("listing", self.cloud.inventory(self.clock.now(), &[]).await)?;
        same("the listing's completeness", &listing.complete, &true)?;
        Ok(listing.instances.remove(id))
    }

    async fn listed(&self, id: &InstanceId) -> Result<Instance, String> {
        self.seen(id).await?.ok_or_else(|| format!("{id} is not listed"))
    }

    /// Looks until the instance is in the state; 60 times at most.
    async fn becomes(&self, id: &InstanceId, state: InstanceState) -> Checked {
        for _ in 0..60 {
            if self.seen(id).await?.is_some_and(|instance| instance.state == state) {
                return Ok(());
            }
            self.pause().await;
        }
        Err(format!("{id} does not become {state}"))
    }
}
