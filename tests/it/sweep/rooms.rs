//! A simulated account to sweep, and a sweep of it from the look to the verification.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use latent::control::{Clock, Deed, Stayed, SweepDoor, sweep_act, sweep_look, sweep_look_again};
use latent::model::{InstanceId, InstanceState, Region, ResourceId, Survey, TagSet, tag_keys};
use latent::plan::sweep::{Act, Caps, Claims, ControllerKey, Finding, Skipped, SweepPlan, SweepView, confirm, sweep};
use latent::policy::SweepPolicy;
use latent::policy::price::Prices;
use latent::sim::{
    Disk, Life, Mishap, RunInstances, SimCloud, Site, SiteId, SpotOptions, TagTarget, Tags, Volume, World,
};

use super::desk::{ACCOUNT, hours};
use crate::harness::{morning, seconds};

/// An account in some regions, in virtual time.
pub(super) struct Rooms {
    pub(super) clock: Clock,
    pub(super) world: Arc<Mutex<World>>,
    pub(super) regions: Vec<Region>,
    pub(super) policy: SweepPolicy,
    pub(super) caps: Caps,
    pub(super) named: BTreeSet<ResourceId>,
    pub(super) claims: BTreeMap<ControllerKey, Claims>,
    pub(super) life: Option<Arc<dyn Life>>,
}

/// What came of a sweep.
#[derive(Debug)]
pub(super) struct Swept {
    pub(super) plan: SweepPlan,
    pub(super) skipped: Vec<Skipped>,
    pub(super) deeds: Vec<Deed>,
    pub(super) stayed: Vec<Stayed>,
}

impl Swept {
    /// What was done: its id and the act.
    pub(super) fn done(&self) -> BTreeMap<String, Act> {
        let done = self.deeds.iter().filter(|deed| deed.result.is_ok());
        done.map(|deed| (deed.finding.id.clone(), deed.finding.act)).collect()
    }

    /// What was refused: its id and EC2's code.
    pub(super) fn refused(&self) -> BTreeMap<String, String> {
        let failed = self.deeds.iter().filter_map(|deed| Some((deed.finding.id.clone(), deed.result.as_ref().err()?)));
        failed.map(|(id, error)| (id, error.code.clone())).collect()
    }
}

fn tags(tags: &TagSet) -> Tags {
    tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The tags of a worker's instance whose deadline is so far ahead.
pub(super) fn worker_tags(now: DateTime<Utc>, ahead: TimeDelta) -> TagSet {
    let mut tags = super::desk::fleet_tags();
    tags.set(tag_keys::ROLE, "worker").set(tag_keys::WORKER, "w1").set_time(tag_keys::CREATED, now);
    tags.set_time(tag_keys::LEASE, now + ahead.min(hours(1))).set_time(tag_keys::DEADLINE, now + ahead);
    tags
}

pub(super) fn launch(with: &TagSet) -> RunInstances {
    let targets = [TagTarget::Instance, TagTarget::Volume, TagTarget::NetworkInterface, TagTarget::SpotRequest];
    RunInstances {
        image: "ami-0worker".to_owned(),
        instance_type: "m7i.large".to_owned(),
        min: 1,
        max: 1,
        tags: targets.into_iter().map(|target| (target, tags(with))).collect(),
        ..RunInstances::default()
    }
}

pub(super) fn spot(persistent: bool) -> SpotOptions {
    SpotOptions { max_price: None, persistent, interruption: "terminate".to_owned() }
}

/// A second disk that outlives its instance, as EC2 has it where nothing else is said.
pub(super) fn lasting_disk() -> Disk {
    Disk {
        device: "/dev/sdf".to_owned(),
        size_gib: 50,
        volume_type: "gp3".to_owned(),
        delete_on_termination: false,
        snapshot: None,
        encrypted: false,
        ..Disk::default()
    }
}

impl Rooms {
    /// An empty account that is swept in us-west-2 under the default policy.
    pub(super) fn new() -> Self {
        let policy = SweepPolicy::built_in().unwrap_or_else(|problems| panic!("{problems}"));
        let caps = Caps { free: 100, max: 100, percent: 100, state_lost: false };
        Self {
            clock: Clock::starting_at(morning()),
            world: Arc::new(Mutex::new(World::steady())),
            regions: vec![super::desk::home()],
            policy,
            caps,
            named: BTreeSet::new(),
            claims: BTreeMap::new(),
            life: None,
        }
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(super) fn place(region: &Region) -> SiteId {
        SiteId::new(ACCOUNT, region.as_str())
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happens in a region from outside.
    pub(super) fn at<T>(&self, region: &Region, act: impl FnOnce(&mut Site, DateTime<Utc>) -> T) -> T {
        let now = self.now();
        self.lock().touch(&Self::place(region), now, |site| act(site, now))
    }

    /// The same in the first region.
    pub(super) fn here<T>(&self, act: impl FnOnce(&mut Site, DateTime<Utc>) -> T) -> T {
        self.at(&self.regions[0], act)
    }

    pub(super) fn launched(&self, request: &RunInstances) -> InstanceId {
        self.here(|site, now| site.run_instances(request, None, now).expect("launches")[0].clone())
    }

    /// A worker's instance whose deadline is so far ahead.
    pub(super) fn worker(&self, ahead: TimeDelta) -> InstanceId {
        self.launched(&launch(&worker_tags(self.now(), ahead)))
    }

    /// A volume of the fleet that nothing has.
    pub(super) fn lone_volume(&self) -> String {
        self.here(|site, now| {
            let new = Volume::lone(&site.network.zones[0], 30, tags(&super::desk::fleet_tags()), now);
            site.create_volume(new).expect("makes a volume").id.clone()
        })
    }

    pub(super) async fn pass(&self, span: TimeDelta) {
        self.clock.sleep_until(self.now() + span).await;
    }

    pub(super) fn inject(&self, action: &str, mishap: Mishap, times: usize) {
        let place = Self::place(&self.regions[0]);
        self.lock().inject(Some(action), Some(&place), mishap, times);
    }

    /// The next call of this action meets this in every region.
    pub(super) fn inject_everywhere(&self, action: &str, mishap: &Mishap) {
        let mut world = self.lock();
        for region in &self.regions {
            world.inject(Some(action), Some(&Self::place(region)), mishap.clone(), 1);
        }
    }

    /// How often this was called, in all regions; everything if nothing is named.
    pub(super) fn calls(&self, actions: &[&str]) -> u64 {
        let world = self.lock();
        let of = |region: &Region| actions.iter().map(|action| world.calls(&Self::place(region), action)).sum::<u64>();
        self.regions.iter().map(of).sum()
    }

    pub(super) fn doors(&self) -> Vec<SweepDoor<SimCloud>> {
        let door = |region: &Region| {
            let cloud = SimCloud::new(Arc::clone(&self.world), Self::place(region), None, self.clock.clone());
            let cloud = match &self.life {
                Some(life) => cloud.of(Arc::clone(life)),
                None => cloud,
            };
            SweepDoor::new(region.clone(), cloud, self.now())
        };
        self.regions.iter().map(door).collect()
    }

    pub(super) fn decide(&self, surveys: &BTreeMap<Region, Survey>) -> SweepPlan {
        sweep(&SweepView {
            now: self.now(),
            policy: &self.policy,
            caps: self.caps,
            account: ACCOUNT,
            fleet: None,
            me: None,
            surveys,
            claims: &self.claims,
            own_amis: &BTreeSet::new(),
            stated: &latent::plan::sweep::Stated::default(),
            named: &self.named,
            first_seen: &BTreeMap::new(),
            prices: &Prices::built_in(),
        })
    }

    /// Looks, and decides.
    pub(super) async fn look(&self) -> SweepPlan {
        self.decide(&sweep_look(&self.doors(), &self.clock, |_| ()).await)
    }

    /// A whole sweep, as the command line does it: a look, a last look, the acts, the verification.
    pub(super) async fn sweep(&self) -> Swept {
        self.sweep_after(|| ()).await
    }

    /// The same, with something that happens between the look and the last look.
    pub(super) async fn sweep_after(&self, meanwhile: impl FnOnce()) -> Swept {
        let doors = self.doors();
        let mut surveys = sweep_look(&doors, &self.clock, |_| ()).await;
        let plan = self.decide(&surveys);
        let nothing = |plan| Swept { plan, skipped: Vec::new(), deeds: Vec::new(), stayed: Vec::new() };
        let wanted: Vec<Finding> = plan.acts().cloned().collect();
        if plan.refused.is_some() || wanted.is_empty() {
            return nothing(plan);
        }
        meanwhile();
        sweep_look_again(&doors, &self.clock, &mut surveys, &wanted).await;
        let again = self.decide(&surveys);
        if again.refused.is_some() {
            return nothing(again);
        }
        let (agreed, skipped) = confirm(&plan, &again);
        let (deeds, stayed) = sweep_act(&doors, &self.clock, &surveys, &agreed).await;
        Swept { plan, skipped, deeds, stayed }
    }

    /// A first look, which marks, and a second one some minutes later.
    pub(super) async fn sweep_twice(&self) -> Swept {
        self.sweep().await;
        self.pass(self.policy.second_look + seconds(1)).await;
        self.sweep().await
    }

    pub(super) fn state(&self, id: &InstanceId) -> InstanceState {
        self.here(|site, _| site.instance(id).expect("it was").state().clone())
    }

    /// Everything in the account that is neither the fleet's nor over, to the letter.
    pub(super) fn of_others(&self) -> String {
        let ours = |tags: &Tags| tags.contains_key(tag_keys::FLEET);
        self.here(|site, _| {
            // By the tags of their birth: EC2 forgets the tags of what has ended.
            let born =
                |instance: &&latent::sim::Instance| instance.params.tags.get(&TagTarget::Instance).is_some_and(ours);
            let instances = site.ever().filter(|instance| !born(instance));
            let instances: Vec<String> =
                instances.map(|i| format!("{} {} {:?}", i.id, i.state(), i.facts().tags)).collect();
            let volumes: Vec<&Volume> = site.volumes.values().filter(|volume| !ours(&volume.tags)).collect();
            let interfaces: Vec<_> = site.interfaces.values().filter(|interface| !ours(&interface.tags)).collect();
            let addresses: Vec<_> = site.addresses.values().filter(|address| !ours(&address.tags)).collect();
            let images: Vec<_> = site.images.values().filter(|image| !ours(&image.tags)).collect();
            let snapshots: Vec<_> = site.snapshots.values().filter(|snapshot| !ours(&snapshot.tags)).collect();
            format!("{instances:#?} {volumes:#?} {interfaces:#?} {addresses:#?} {images:#?} {snapshots:#?}")
        })
    }
}
