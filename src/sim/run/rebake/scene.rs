//! An account as a rebake finds it: an image with its line of descent, a worker that uses it, and strangers.

use chrono::{DateTime, TimeDelta, Utc};

use super::house::{Case, noon};
use crate::model::{
    AmiId, Egress, Fence, LaunchSpec, Market, Offering, Place, RebakeKind, RebakeLimits, RebakeOrder, Role,
    ShutdownBehavior, StopMode, TagSet, tag_keys,
};
use crate::sim::{Disk, Image, NewImage, RunInstances, Site, SiteId, TagTarget, Tags, Volume, Weather, World};

pub(super) const FLEET: &str = "sim";
pub(super) const CONTROLLER: &str = "sim-main";
const ACCOUNT: &str = "111122223333";
const REGION: &str = "us-west-2";

/// What is there when the rebake is ordered.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) place: SiteId,
    pub(super) order: RebakeOrder,
    /// An AMI that two generations have replaced once the rebake is done, and its snapshot.
    pub(super) older: Vec<String>,
    pub(super) now: DateTime<Utc>,
}

/// Sets it up in calm weather.
pub(super) fn set(case: &Case) -> Scene {
    let now = noon();
    let place = SiteId::new(ACCOUNT, REGION);
    let mut world = World::new(case.seed, Weather::calm()).lenient();
    let at = |hours: i64| now - TimeDelta::hours(hours);
    let older = world
        .touch(&place, at(24 * 90), |site| if case.older { generation_before(site, at(24 * 90)) } else { Vec::new() });
    let [root, current] = world.touch(&place, at(9), |site| {
        [image(site, "original", None, at(9)), image(site, "latent-linux-g2", Some(2), at(8))]
    });
    world.touch(&place, at(7), |site| strangers(site, &root, &current, at(7)));
    // What was launched runs by now.
    world.touch(&place, at(1), |site| stop_one(site, at(1)));
    world.touch(&place, now, |_| ());
    let order = order(case, parsed(&current), parsed(&root), now);
    Scene { world, place, order, older, now }
}

/// An id that the model made.
#[expect(clippy::expect_used, reason = "the model's ids are ours")]
fn parsed(id: &str) -> AmiId {
    id.parse().expect("an AMI's id")
}

pub(super) fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// An AMI with a snapshot; of the fleet if it has a generation.
fn image(site: &mut Site, name: &str, generation: Option<u32>, now: DateTime<Utc>) -> String {
    let number = generation.unwrap_or_default().to_string();
    let own = match generation {
        None => Tags::new(),
        Some(_) => tags(&[
            (tag_keys::FLEET, FLEET),
            (tag_keys::CONTROLLER, CONTROLLER),
            (tag_keys::IMAGE, "linux"),
            (tag_keys::IMAGE_ORIGIN, "rebake"),
            (tag_keys::GENERATION, &number),
            (tag_keys::REBAKE, "rb-before"),
        ]),
    };
    let volume = Volume {
        id: String::new(),
        size_gib: 8,
        volume_type: "gp3".to_owned(),
        zone: format!("{REGION}a"),
        snapshot: None,
        encrypted: false,
        created: now,
        attachment: None,
        tags: Tags::new(),
    };
    let made = site.create_volume(volume).map(|volume| volume.id.clone()).and_then(|volume| {
        let snapshot = site.create_snapshot(&volume, name, &own, now)?.id.clone();
        site.delete_volume(&volume)?;
        let disk = Disk {
            device: "/dev/sda1".to_owned(),
            size_gib: 8,
            volume_type: "gp3".to_owned(),
            delete_on_termination: true,
            snapshot: Some(snapshot),
            ..Disk::default()
        };
        let new = NewImage { name: name.to_owned(), tags: own, ..NewImage::default() };
        site.register_image(new, "x86_64", "/dev/sda1", vec![disk], now).map(|image| image.id.clone())
    });
    made.unwrap_or_default()
}

/// Generation 1, which was promoted long ago.
fn generation_before(site: &mut Site, now: DateTime<Utc>) -> Vec<String> {
    let id = image(site, "latent-linux-g1", Some(1), now);
    let snapshots = site.images.get(&id).into_iter().flat_map(|image| &image.disks);
    let snapshots: Vec<String> = snapshots.filter_map(|disk| disk.snapshot.clone()).collect();
    std::iter::once(id).chain(snapshots).collect()
}

fn launch(site: &mut Site, image: &str, own: &Tags, now: DateTime<Utc>) {
    let targets = [TagTarget::Instance, TagTarget::Volume, TagTarget::NetworkInterface];
    let request = RunInstances {
        image: image.to_owned(),
        instance_type: "t3.large".to_owned(),
        min: 1,
        max: 1,
        tags: targets.into_iter().map(|target| (target, own.clone())).collect(),
        ..RunInstances::default()
    };
    drop(site.run_instances(&request, None, now));
}

/// What a rebake must not touch: a worker on the present AMI, somebody else's instances, one of them stopped, an AMI
/// that shares the present one's snapshot, a group.
fn strangers(site: &mut Site, root: &str, current: &str, now: DateTime<Utc>) {
    let worker = Role::Worker.to_string();
    let ours = [(tag_keys::FLEET, FLEET), (tag_keys::CONTROLLER, CONTROLLER), (tag_keys::ROLE, &worker)];
    launch(site, current, &tags(&ours), now);
    launch(site, root, &tags(&[("Name", "somebody's")]), now);
    launch(site, root, &tags(&[("Name", "to be stopped")]), now);
    let disks = site.images.get(current).map(|image: &Image| image.disks.clone()).unwrap_or_default();
    let shared = NewImage { name: "shared".to_owned(), ..NewImage::default() };
    drop(site.register_image(shared, "x86_64", "/dev/sda1", disks, now).map(|image| image.id.clone()));
    drop(site.create_group("theirs", "somebody's", tags(&[("Name", "theirs")])).map(|group| group.id.clone()));
}

fn stop_one(site: &mut Site, now: DateTime<Utc>) {
    let ids: Vec<_> =
        site.instances().filter(|i| i.tag("Name") == Some("to be stopped")).map(|i| i.id.clone()).collect();
    drop(site.stop_instances(&ids, StopMode::Plain, false, now));
}

fn limits() -> RebakeLimits {
    RebakeLimits {
        builder: TimeDelta::hours(6),
        image: TimeDelta::hours(24),
        canary_wait: TimeDelta::hours(24),
        canary: TimeDelta::hours(1),
        soak: TimeDelta::hours(2),
        soak_starts: 4,
        absence_grace: TimeDelta::minutes(6),
    }
}

#[expect(clippy::expect_used, reason = "the names are written here")]
fn order(case: &Case, current: AmiId, root: AmiId, now: DateTime<Utc>) -> RebakeOrder {
    let id: crate::model::RebakeId = format!("rb-sim-{}", case.seed).parse().expect("a rebake id");
    let enroll = case.kind == RebakeKind::Enroll;
    let mut order = RebakeOrder {
        name: format!("latent-linux-g3-{id}"),
        id,
        at: now,
        kind: case.kind,
        image: "linux".parse().expect("an image's name"),
        owner: "alice".parse().expect("an owner's name"),
        region: REGION.parse().expect("a region"),
        fleet: FLEET.to_owned(),
        controller: CONTROLLER.to_owned(),
        source: current.clone(),
        current: Some(current),
        root,
        generation: 3,
        nonce: "0123456789abcdef0123456789abcdef".to_owned(),
        channel: case.channel,
        windows: false,
        launches: Vec::new(),
        user_data: Some("#!/bin/sh\n".to_owned()).filter(|_| !enroll),
        command: Some("#!/bin/sh\n".to_owned()).filter(|_| !enroll),
        fence: None,
        instance: None,
        candidate: None,
        worker: Some("w00".parse().expect("a worker's name")),
        smoke: None,
        retires: true,
        limits: limits(),
    };
    if matches!(case.kind, RebakeKind::Update | RebakeKind::FromBase) {
        order.fence = Some(fence(&order));
        order.launches = launches(&order);
    }
    order
}

fn fence(order: &RebakeOrder) -> Fence {
    let mut own = order.lineage();
    own.set(tag_keys::ROLE, Role::Rebake.to_string());
    let egress = [80, 443].map(|port| Egress { protocol: "tcp".to_owned(), from: port, to: port }).to_vec();
    Fence { name: format!("latent-rebake-{}", order.id), place: Place::Anywhere, egress, tags: own }
}

/// Two types in two zones, on-demand.
fn launches(order: &RebakeOrder) -> Vec<LaunchSpec> {
    let mut own = TagSet::default();
    own.set(tag_keys::FLEET, FLEET)
        .set(tag_keys::CONTROLLER, CONTROLLER)
        .set(tag_keys::OWNER, order.owner.as_str())
        .set(tag_keys::ROLE, Role::Rebake.to_string())
        .set(tag_keys::IMAGE, order.image.as_str())
        .set(tag_keys::REBAKE, order.id.as_str());
    let places = ["c5.xlarge", "m5.xlarge"].into_iter().flat_map(|kind| ["a", "b"].map(|letter| (kind, letter)));
    let one = |(kind, letter): (&str, &str)| {
        let zone = format!("{REGION}{letter}").parse().ok()?;
        let place = Place::Zone(zone);
        Some(LaunchSpec {
            region: order.region.clone(),
            ami: order.source.clone(),
            offering: Offering { instance_type: kind.to_owned(), place, market: Market::OnDemand },
            security_groups: Vec::new(),
            key_pair: None,
            instance_profile: None,
            block_devices: Vec::new(),
            shutdown: ShutdownBehavior::Stop,
            tags: own.clone(),
            user_data_digest: None,
            ami_filter: None,
            security_group_names: Vec::new(),
            spot_price_max: None,
            elastic_ip: None,
            volumes: Vec::new(),
            batch: None,
            hibernate: false,
        })
    };
    places.filter_map(one).collect()
}
