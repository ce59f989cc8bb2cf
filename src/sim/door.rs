//! The in-process door to a [`World`]: the cloud that the real controller calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};

use super::error::ApiError;
use super::instance::{Disk, Facts, Instance, MetadataOptions, RunInstances, SpotOptions, TagTarget, Tags};
use super::site::{Site, well_formed};
use super::world::{Request, Served, SiteId, World};
use crate::cloud::{
    Cloud, CloudError, ImageApi, Which, already_associated, create_image_once, for_equipment, kind_of, no_such_address,
    retire_image_whole, transition_time,
};
use crate::control::Clock;
use crate::model::{
    self, Ami, AmiCandidate, AmiId, AmiQuery, ClientToken, DataVolume, ElasticIp, FailureKind, InstanceId, Inventory,
    LaunchSpec, Market, Parts, Region, Resource, ResourceId, ResourceKind, ShutdownBehavior, StopMode, TagSet,
    tag_keys,
};
use crate::policy::Secret;

/// A moment at which a process may die, for whoever decides that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A call is about to be sent.
    Send(&'static str),
    /// A call was done, and its answer is on its way.
    Done(&'static str),
    /// The answer of a call arrives.
    Answer(&'static str),
    /// Entries are about to be written to the ledger.
    Write,
    /// They are written.
    Written,
}

/// The life of a process. What is dead sends nothing, writes nothing and hears nothing.
pub trait Life: Send + Sync {
    /// Whether the process lives on after this step.
    fn step(&self, step: Step) -> bool;
}

/// A life that never ends by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Endless;

impl Life for Endless {
    fn step(&self, _: Step) -> bool {
        true
    }
}

/// Who calls, if nobody says otherwise: a role, and the session of the controller in it.
const CALLER: &str = "latent-worker/latent-serve";

/// A door to a simulated account for one cell. Clones lead to the same world.
#[derive(Clone)]
pub struct SimCloud {
    world: Arc<Mutex<World>>,
    place: SiteId,
    fleet: Option<String>,
    clock: Clock,
    life: Arc<dyn Life>,
    by: Arc<str>,
}

impl std::fmt::Debug for SimCloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimCloud").field("place", &self.place).finish_non_exhaustive()
    }
}

impl SimCloud {
    /// A door to this account and region, on this clock. Listings show the instances of `fleet`; without
    /// one, of any.
    pub fn new(world: Arc<Mutex<World>>, place: SiteId, fleet: Option<&str>, clock: Clock) -> Self {
        Self { world, place, fleet: fleet.map(ToOwned::to_owned), clock, life: Arc::new(Endless), by: CALLER.into() }
    }

    /// The same door for a process that may die.
    #[must_use]
    pub fn of(self, life: Arc<dyn Life>) -> Self {
        Self { life, ..self }
    }

    /// The same door for somebody else: a user, or a role and its session with a slash between.
    #[must_use]
    pub fn by(self, caller: &str) -> Self {
        Self { by: caller.into(), ..self }
    }

    /// The account and region it leads to.
    pub fn site(&self) -> &SiteId {
        &self.place
    }

    /// Sets tags on an instance.
    pub(super) async fn tag(&self, id: &InstanceId, tags: &TagSet) -> Result<(), CloudError> {
        let tags: Tags = tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let resources = [id.as_str().to_owned()];
        self.call("CreateTags", 0, id.as_str(), |site, now| site.create_tags(&resources, &tags, now)).await
    }

    /// EC2 launches the same once more, as a persistent spot request makes it do.
    pub(super) fn relaunch(&self, id: &InstanceId, now: DateTime<Utc>) {
        self.world().touch(&self.place, now, |site| {
            if let Some(params) = site.instance(id).map(|instance| Arc::clone(&instance.params)) {
                // No capacity, no second instance.
                drop(site.run_instances(&params, None, now));
            }
        });
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on only if the process lives.
    async fn live(&self, step: Step) {
        if !self.life.step(step) {
            std::future::pending::<()>().await;
        }
    }

    /// A door without a fleet has no AMIs of its own.
    pub(super) fn own_fleet(&self) -> &str {
        self.fleet.as_deref().unwrap_or_default()
    }

    pub(super) async fn call<T: Send>(
        &self,
        action: &'static str,
        resources: u32,
        subject: &str,
        effect: impl FnOnce(&mut Site, DateTime<Utc>) -> Result<T, ApiError> + Send,
    ) -> Result<T, CloudError> {
        self.live(Step::Send(action)).await;
        let there = self.world().way_there(&self.place);
        self.clock.sleep_until(self.clock.now() + there).await;
        let now = self.clock.now();
        let request = Request { place: &self.place, action, paged: true, resources, subject, by: &self.by };
        let served = self.world().serve(&request, now, effect);
        self.live(Step::Done(action)).await;
        let (result, back) = match served {
            Served::Answer(result, back) => (result.map_err(|error| sorted(&error)), back),
            Served::Lost(back) => (Err(no_answer()), back),
            Served::Never => std::future::pending().await,
        };
        self.clock.sleep_until(now + back).await;
        self.live(Step::Answer(action)).await;
        result
    }

    /// A listing: the instances of the fleet by their tag, or these by their ids.
    async fn describe(&self, ids: Option<&[InstanceId]>) -> Result<Vec<(InstanceId, model::Instance)>, CloudError> {
        let fleet = self.fleet.as_deref();
        let chosen = |instance: &Instance, facts: &Facts| match ids {
            Some(ids) => ids.contains(&instance.id),
            None => fleet.is_none_or(|fleet| facts.tags.get(tag_keys::FLEET).is_some_and(|own| own == fleet)),
        };
        self.call("DescribeInstances", 0, "", |site, now| {
            site.describe_instances(None, now)?;
            let replica = site.replica();
            let seen = site.instances().filter_map(|instance| Some((instance, instance.seen_by(replica, now)?)));
            Ok(seen
                .filter(|(i, facts)| chosen(i, facts))
                .map(|(i, facts)| (i.id.clone(), shown(site, i, facts)))
                .collect())
        })
        .await
    }
}

/// A refusal, sorted by what to do next, as the SDK's door sorts it.
pub(super) fn sorted(error: &ApiError) -> CloudError {
    CloudError {
        kind: kind_of(&error.code, error.status),
        code: error.code.clone().into_owned(),
        message: error.message.clone(),
    }
}

fn no_answer() -> CloudError {
    let message = "the connection ended without an answer".to_owned();
    CloudError { kind: FailureKind::Unreachable, code: "NoAnswer".to_owned(), message }
}

fn parts(site: &Site, instance: &Instance) -> Parts {
    let here = |id: &String| {
        let attached = site.volumes.get(id).map(|volume| volume.attachment.as_ref());
        // One that is gone ended with it; one that is free, or another's, is none of its parts any more.
        attached.map_or(Some(true), |at| {
            at.filter(|at| at.instance == instance.id.as_str()).map(|at| at.delete_on_termination)
        })
    };
    let ids = |ends: bool| {
        let own = instance.volumes.iter().filter(move |(_, id)| here(id) == Some(ends));
        own.map(|(_, id)| id.clone()).collect::<Vec<_>>()
    };
    Parts {
        volumes: ids(true),
        lasting: ids(false),
        interfaces: vec![instance.interface.clone()],
        spot_request: instance.spot_request.clone(),
    }
}

pub(super) fn shown(site: &Site, instance: &Instance, facts: &Facts) -> model::Instance {
    model::Instance {
        attached_at: Some(instance.born),
        stopped_at: transition_time(&facts.transition).filter(|_| facts.state == model::InstanceState::Stopped),
        ended_at: transition_time(&facts.transition).filter(|_| facts.state.is_ending()),
        parts: parts(site, instance),
        platform_details: Some("Linux/UNIX".to_owned()),
        id: instance.id.clone(),
        state: facts.state.clone(),
        ami: instance.params.image.parse().ok(),
        instance_type: facts.instance_type.clone(),
        zone: instance.zone.parse().ok(),
        launch_time: Some(facts.launch_time),
        token: instance.token.as_ref().and_then(|token| token.parse().ok()),
        addresses: std::iter::once(instance.private_ip.clone()).chain(facts.public_ip.clone()).collect(),
        state_reason: facts.reason.as_ref().map(|reason| reason.message.clone()),
        launch_index: instance.launch_index,
        tags: TagSet::from(Arc::clone(&facts.tags)).of_launch_index(instance.launch_index),
    }
}

/// Something as long as the text in base64, and different for different texts: traces hold no secrets.
fn in_place_of(text: &Secret, digest: &str) -> String {
    let length = text.reveal().len().div_ceil(3) * 4;
    digest.chars().chain(std::iter::repeat('A')).take(length).collect()
}

/// EC2 looks at the form of the ids before it looks for them.
pub(super) fn all_well_formed(ids: &[InstanceId]) -> Result<(), ApiError> {
    match ids.iter().find(|id| !well_formed(id.as_str(), "i")) {
        None => Ok(()),
        Some(id) => Err(ApiError::client("InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\""))),
    }
}

/// What the SDK's door would send for this launch.
pub fn launch_request(spec: &LaunchSpec, count: u32, user_data: Option<&Secret>) -> RunInstances {
    let tags: Tags = spec.tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let targets = [TagTarget::Instance, TagTarget::Volume, TagTarget::NetworkInterface];
    let spot = (spec.offering.market == Market::Spot).then(|| SpotOptions {
        max_price: spec.spot_price_max.clone(),
        persistent: false,
        interruption: "terminate".to_owned(),
    });
    let mut all: BTreeMap<TagTarget, Tags> = targets.into_iter().map(|target| (target, tags.clone())).collect();
    if spot.is_some() {
        all.insert(TagTarget::SpotRequest, tags);
    }
    let disk = |device: &model::BlockDevice| Disk {
        device: device.device.clone(),
        size_gib: device.size_gib.unwrap_or(8),
        volume_type: device.volume_type.clone().unwrap_or_else(|| "gp3".to_owned()),
        delete_on_termination: device.delete_on_termination,
        snapshot: device.snapshot.as_ref().map(ToString::to_string),
        encrypted: device.encrypted.unwrap_or(false),
        iops: device.iops,
        throughput: device.throughput,
        kms_key: device.kms_key.clone(),
    };
    let (without, disks): (Vec<_>, Vec<_>) =
        spec.block_devices.iter().partition(|device| device.no_device || device.virtual_name.is_some());
    RunInstances {
        image: spec.ami.as_str().to_owned(),
        instance_type: spec.offering.instance_type.clone(),
        min: 1,
        max: count,
        zone: match &spec.offering.place {
            model::Place::Zone(zone) => Some(zone.as_str().to_owned()),
            model::Place::Anywhere | model::Place::Subnet(_) => None,
        },
        subnet: match &spec.offering.place {
            model::Place::Subnet(id) => Some(id.clone()),
            model::Place::Anywhere | model::Place::Zone(_) => None,
        },
        spot,
        tags: all,
        terminate_on_shutdown: spec.shutdown == ShutdownBehavior::Terminate,
        user_data: user_data.map(|text| in_place_of(text, spec.user_data_digest.as_deref().unwrap_or_default())),
        key: spec.key_pair.clone(),
        groups: spec.security_groups.clone(),
        profile: spec.instance_profile.clone(),
        disks: disks.into_iter().map(disk).collect(),
        hibernate: spec.hibernate,
        without: without.into_iter().map(|device| device.device.clone()).collect(),
        group_names: spec.security_group_names.clone(),
        metadata: MetadataOptions { token_required: true, tags: true, ..MetadataOptions::default() },
        ..RunInstances::default()
    }
}

impl Cloud for SimCloud {
    async fn account(&self) -> Result<String, CloudError> {
        let account = self.place.account.clone();
        self.call("GetCallerIdentity", 0, "", |_, _| Ok(account)).await
    }

    async fn inventory(&self, observed_at: DateTime<Utc>, also: &[InstanceId]) -> Result<Inventory, CloudError> {
        let mut instances: BTreeMap<InstanceId, model::Instance> = self.describe(None).await?.into_iter().collect();
        let missing: Vec<InstanceId> = also.iter().filter(|id| !instances.contains_key(*id)).cloned().collect();
        if !missing.is_empty() {
            instances.extend(self.describe(Some(&missing)).await?);
        }
        Ok(Inventory { observed_at, complete: true, instances })
    }

    async fn launch_all(
        &self,
        spec: &LaunchSpec,
        count: u32,
        user_data: Option<&Secret>,
        token: &ClientToken,
    ) -> Result<Vec<InstanceId>, CloudError> {
        let (request, workers) = (launch_request(spec, count, user_data), workers_of(&spec.tags));
        let launched = self
            .call("RunInstances", count, &workers, |site, now| site.run_instances(&request, Some(token.as_str()), now));
        launched.await
    }

    async fn terminate_all(&self, ids: &[InstanceId]) -> Result<(), CloudError> {
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let which = ids.iter().map(InstanceId::as_str).collect::<Vec<_>>().join(" ");
        self.call("TerminateInstances", count, &which, |site, now| {
            all_well_formed(ids)?;
            site.terminate_instances(ids, now).map(drop)
        })
        .await
    }

    async fn stop(&self, id: &InstanceId, mode: StopMode) -> Result<(), CloudError> {
        let ids = [id.clone()];
        self.call("StopInstances", 1, id.as_str(), |site, now| {
            all_well_formed(&ids)?;
            site.stop_instances(&ids, mode, false, now).map(drop)
        })
        .await
    }

    async fn start(&self, id: &InstanceId) -> Result<(), CloudError> {
        let ids = [id.clone()];
        self.call("StartInstances", 1, id.as_str(), |site, now| {
            all_well_formed(&ids)?;
            site.start_instances(&ids, now).map(drop)
        })
        .await
    }

    async fn console(&self, id: &InstanceId) -> Result<Option<String>, CloudError> {
        let ids = [id.clone()];
        self.call("GetConsoleOutput", 0, id.as_str(), |site, _| {
            all_well_formed(&ids)?;
            let instance = site.instance(id).ok_or_else(|| ApiError::no_instance(&[id.as_str()]))?;
            Ok((!instance.console.is_empty()).then(|| instance.console.clone()))
        })
        .await
    }

    async fn renew(&self, ids: &[InstanceId], until: DateTime<Utc>) -> Result<(), CloudError> {
        let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
        let lease = Tags::from([(tag_keys::LEASE.to_owned(), until)]);
        let resources: Vec<String> = ids.iter().map(|id| id.as_str().to_owned()).collect();
        let first = resources.first().cloned().unwrap_or_default();
        self.call("CreateTags", 0, &first, |site, now| site.create_tags(&resources, &lease, now)).await
    }

    async fn ami_candidates(&self, query: &AmiQuery) -> Result<Vec<AmiCandidate>, CloudError> {
        self.list_amis(query).await
    }

    async fn associate_address(&self, address: &ElasticIp, to: &InstanceId) -> Result<String, CloudError> {
        let named = address.as_str();
        let known = self.call("DescribeAddresses", 0, named, |site, _| Ok(site.address(named).ok().cloned())).await?;
        let Some(known) = known else { return Err(no_such_address(address)) };
        match &known.association {
            Some((_, other)) if other == to => return Ok(known.ip),
            Some((_, other)) => return Err(already_associated(address, Some(other))),
            None => {}
        }
        let done =
            self.call("AssociateAddress", 0, named, |site, now| site.associate_address(&known.id, to, false, now));
        done.await.map(|_| known.ip.clone()).map_err(for_equipment)
    }

    async fn attach_volume(&self, volume: &DataVolume, to: &InstanceId) -> Result<(), CloudError> {
        let (id, device) = (volume.id.as_str(), volume.device.as_str());
        let done = self.call("AttachVolume", 0, id, |site, now| site.attach_volume(id, to, device, now).map(drop));
        done.await.map_err(for_equipment)
    }

    async fn create_image(&self, of: &InstanceId, name: &str, tags: &TagSet) -> Result<AmiId, CloudError> {
        create_image_once(self, self.own_fleet(), of, name, tags).await
    }

    async fn images(&self, now: DateTime<Utc>) -> Result<Vec<Ami>, CloudError> {
        self.find(Which::Fleet(self.own_fleet()), now).await
    }

    async fn retire_image(&self, id: &AmiId) -> Result<(), CloudError> {
        retire_image_whole(self, self.own_fleet(), id).await
    }

    async fn resources(
        &self,
        kind: ResourceKind,
        only: Option<&[ResourceId]>,
        now: DateTime<Utc>,
    ) -> Result<BTreeMap<ResourceId, Resource>, CloudError> {
        self.list(kind, only, now).await
    }

    async fn remove(&self, id: &ResourceId) -> Result<(), CloudError> {
        self.take_away(id).await
    }

    async fn mark_leftovers(&self, ids: &[ResourceId], mark: &str) -> Result<(), CloudError> {
        let tags = Tags::from([(tag_keys::MARK.to_owned(), mark.to_owned())]);
        let resources: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let first = resources.first().cloned().unwrap_or_default();
        self.call("CreateTags", 0, &first, |site, now| site.create_tags(&resources, &tags, now)).await
    }

    async fn regions(&self) -> Result<Vec<Region>, CloudError> {
        let region = self.place.region.clone();
        self.call("DescribeRegions", 0, "", |_, _| Ok(())).await?;
        Ok(region.parse().into_iter().collect())
    }
}

/// For whom a launch is.
fn workers_of(tags: &TagSet) -> String {
    tags.get(tag_keys::WORKER).or_else(|| tags.get(tag_keys::WORKERS)).unwrap_or_default().to_owned()
}
