//! What every cloud must do, whoever plays it. The same functions run on the simulated EC2 here and,
//! through the AWS SDK, on an emulator in `emulator.rs`.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use latent::cloud::Cloud;
use latent::control::Clock;
use latent::model::{
    FailureKind, Instance, InstanceId, InstanceState, LaunchSpec, Market, Offering, Place, ShutdownBehavior, TagSet,
    tag_keys,
};
use latent::sim::{SimCloud, SiteId, World};

/// The fleet that the clouds under test list.
pub(crate) const FLEET: &str = "conformance";

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
    }
}

pub(crate) async fn launched<C: Cloud>(cloud: &C, spec: &LaunchSpec) -> InstanceId {
    cloud.launch(spec, None, &spec.token()).await.expect("launches")
}

pub(crate) async fn seen<C: Cloud>(cloud: &C, clock: &Clock, id: &InstanceId) -> Option<Instance> {
    let listing = cloud.inventory(clock.now(), &[]).await.expect("lists");
    assert!(listing.complete);
    listing.instances.get(id).cloned()
}

/// Looks every second of the cloud's time until the instance is in the state; 60 s at most.
pub(crate) async fn wait_for<C: Cloud>(cloud: &C, clock: &Clock, id: &InstanceId, state: InstanceState) {
    for _ in 0..60 {
        if seen(cloud, clock, id).await.is_some_and(|instance| instance.state == state) {
            return;
        }
        clock.sleep_until(clock.now() + TimeDelta::seconds(1)).await;
    }
    panic!("{id} did not become {state}");
}

pub(crate) async fn a_launch_carries_its_tags_and_token_from_birth<C: Cloud>(cloud: &C, clock: &Clock, ami: &str) {
    let spec = spec(ami, "birth-1", clock.now());
    let id = launched(cloud, &spec).await;
    let instance = seen(cloud, clock, &id).await.expect("is listed");
    assert_eq!(instance.token, Some(spec.token()));
    assert_eq!(instance.ami, Some(spec.ami.clone()));
    assert_eq!(instance.instance_type, "m5.large");
    for (key, value) in spec.tags.iter() {
        assert_eq!(instance.tags.get(key), Some(value), "{key}");
    }
}

pub(crate) async fn an_instance_stops_starts_and_ends<C: Cloud>(cloud: &C, clock: &Clock, ami: &str) {
    let id = launched(cloud, &spec(ami, "states-1", clock.now())).await;
    wait_for(cloud, clock, &id, InstanceState::Running).await;
    cloud.stop(&id).await.expect("stops");
    wait_for(cloud, clock, &id, InstanceState::Stopped).await;
    cloud.start(&id).await.expect("starts");
    wait_for(cloud, clock, &id, InstanceState::Running).await;
    cloud.terminate(&id).await.expect("terminates");
    cloud.terminate(&id).await.expect("terminates again");
    wait_for(cloud, clock, &id, InstanceState::Terminated).await;
}

pub(crate) async fn a_renewal_sets_the_lease_of_all<C: Cloud>(cloud: &C, clock: &Clock, ami: &str) {
    let first = launched(cloud, &spec(ami, "lease-1", clock.now())).await;
    let second = launched(cloud, &spec(ami, "lease-2", clock.now())).await;
    let until = clock.now() + TimeDelta::minutes(45);
    cloud.renew(&[first.clone(), second.clone()], until).await.expect("renews");
    for id in [first, second] {
        let lease = seen(cloud, clock, &id).await.expect("is listed").tags.time(tag_keys::LEASE).expect("has a lease");
        assert_eq!(lease.timestamp(), until.timestamp());
    }
}

pub(crate) async fn an_unknown_instance_is_not_found<C: Cloud>(cloud: &C) {
    let nobody: InstanceId = "i-0000000000000beef".parse().expect("an id");
    assert_eq!(cloud.terminate(&nobody).await.expect_err("unknown").kind, FailureKind::NotFound);
    assert_eq!(cloud.stop(&nobody).await.expect_err("unknown").kind, FailureKind::NotFound);
    assert_eq!(cloud.start(&nobody).await.expect_err("unknown").kind, FailureKind::NotFound);
}

fn simulated() -> (SimCloud, Clock) {
    let clock = Clock::starting_at(DateTime::UNIX_EPOCH + TimeDelta::days(20_000));
    let world = Arc::new(Mutex::new(World::steady()));
    (SimCloud::new(world, SiteId::new("123456789012", "us-west-2"), Some(FLEET), clock.clone()), clock)
}

const AMI: &str = "ami-1234beef";

#[tokio::test(start_paused = true)]
async fn simulated_ec2_carries_tags_and_token_from_birth() {
    let (cloud, clock) = simulated();
    a_launch_carries_its_tags_and_token_from_birth(&cloud, &clock, AMI).await;
}

#[tokio::test(start_paused = true)]
async fn simulated_ec2_stops_starts_and_ends_an_instance() {
    let (cloud, clock) = simulated();
    an_instance_stops_starts_and_ends(&cloud, &clock, AMI).await;
}

#[tokio::test(start_paused = true)]
async fn simulated_ec2_renews_leases() {
    let (cloud, clock) = simulated();
    a_renewal_sets_the_lease_of_all(&cloud, &clock, AMI).await;
}

#[tokio::test(start_paused = true)]
async fn simulated_ec2_does_not_find_what_never_was() {
    an_unknown_instance_is_not_found(&simulated().0).await;
}

#[tokio::test(start_paused = true)]
async fn simulated_ec2_gives_one_instance_per_token() {
    let (cloud, clock) = simulated();
    let spec = spec(AMI, "token-1", clock.now());
    let first = launched(&cloud, &spec).await;
    assert_eq!(launched(&cloud, &spec).await, first);
    let mut other = spec.clone();
    other.offering.instance_type = "m5.xlarge".to_owned();
    let mismatch = cloud.launch(&other, None, &spec.token()).await.expect_err("other parameters");
    assert_eq!(mismatch.kind, FailureKind::Bug);
    cloud.terminate(&first).await.expect("terminates");
    let over = cloud.launch(&spec, None, &spec.token()).await.expect_err("its instance has ended");
    assert_eq!(over.kind, FailureKind::AttemptOver);
}
