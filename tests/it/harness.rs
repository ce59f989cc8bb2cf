//! The real controller on a simulated EC2 in virtual time, with a master and a ledger that outlive it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use latent::control::{Clock, Controller, WorkerView};
use latent::ledger::{Checkpoint, Declarations, Ledger, LedgerError, LedgerRead, MemoryLedger};
use latent::model::{
    Actor, Body, Cause, Cell, Entry, Fleet, InstanceId, InstanceState, MasterId, RequestId, TagSet, WorkerName,
    tag_keys,
};
use latent::plan::{Report, WorkerReport};
use latent::policy::Intent;
use latent::sim::{SimCloud, Site, SiteId, TagTarget, World, launch_request};

use crate::account::{ApiCall, Fault};
use crate::loud::Loud;
use crate::setup::Setup;

/// How far virtual time moves between two looks of a test.
const STEP: TimeDelta = TimeDelta::milliseconds(100);
/// How far it moves between two looks of a long wait.
const LONG_STEP: TimeDelta = TimeDelta::seconds(5);
/// How often the master says what it knows.
const REPORT_PERIOD: TimeDelta = TimeDelta::seconds(10);

pub(crate) fn seconds(number: i64) -> TimeDelta {
    TimeDelta::seconds(number)
}

pub(crate) fn minutes(number: i64) -> TimeDelta {
    TimeDelta::minutes(number)
}

pub(crate) fn worker(name: &str) -> WorkerName {
    name.parse().expect("a worker name")
}

/// When every test begins.
pub(crate) fn morning() -> DateTime<Utc> {
    "2026-03-02T08:00:00Z".parse().expect("a time")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A ledger that outlives its controller and can be told to fail.
#[derive(Clone)]
pub(crate) struct TestLedger {
    inner: MemoryLedger,
    faults: Arc<Mutex<LedgerFaults>>,
    /// The place of the last entry.
    last: Arc<AtomicU64>,
}

/// What the ledger cannot do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LedgerFaults {
    pub(crate) write: bool,
    pub(crate) read: bool,
}

impl Default for TestLedger {
    /// With so many checkpoints that every restart begins with one.
    fn default() -> Self {
        Self { inner: MemoryLedger::with_checkpoints(7), faults: Arc::default(), last: Arc::default() }
    }
}

impl TestLedger {
    pub(crate) fn fail(&self, faults: LedgerFaults) {
        *lock(&self.faults) = faults;
    }

    fn refuse(doing: &'static str) -> LedgerError {
        LedgerError::Storage { path: "test".into(), doing, why: "the test says so".to_owned() }
    }
}

impl LedgerRead for TestLedger {
    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        if lock(&self.faults).read {
            return Err(Self::refuse("read"));
        }
        self.inner.read(after, limit)
    }

    fn checkpoint(&self, version: u32, upto: u64) -> Option<Checkpoint> {
        self.inner.checkpoint(version, upto)
    }

    fn past_at(&self, version: u32, seq: u64) -> Option<Checkpoint> {
        self.inner.past_at(version, seq)
    }
}

impl Ledger for TestLedger {
    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        if lock(&self.faults).write {
            return Err(Self::refuse("written"));
        }
        if let Some(last) = entries.last() {
            self.last.store(last.seq, Ordering::Relaxed);
        }
        self.inner.append(entries)
    }

    fn checkpoint_every(&self) -> Option<u64> {
        // Of a large fleet each one is work.
        let written = self.last.load(Ordering::Relaxed);
        self.inner.checkpoint_every().map(|every| every.max(written / 10))
    }

    fn keep(&mut self, made: &Checkpoint) -> Result<(), LedgerError> {
        self.inner.keep(made)
    }
}

/// What the master knows and does.
pub(crate) struct Master {
    id: MasterId,
    /// Whether it reports.
    pub(crate) speaks: bool,
    /// Whether it lets a worker go when it is asked to and no build runs.
    pub(crate) obeys: bool,
    knows: BTreeMap<WorkerName, WorkerReport>,
    pub(crate) spoke: DateTime<Utc>,
}

/// Everything of one scenario.
pub(crate) struct Lab {
    pub(crate) clock: Clock,
    pub(crate) ledger: TestLedger,
    pub(crate) setup: Setup,
    pub(crate) master: Master,
    /// Where what masters declare is kept, if it outlives the controller.
    pub(crate) state: Option<std::path::PathBuf>,
    world: Arc<Mutex<World>>,
    /// EC2's clock; the controller's may be set to another time.
    real: Clock,
    controller: Option<Controller<TestLedger>>,
    requests: u32,
    log: Loud,
    explained: BTreeSet<InstanceId>,
    planted: BTreeSet<InstanceId>,
}

impl Lab {
    /// A controller that has just started.
    pub(crate) fn new(setup: Setup) -> Self {
        let mut lab = Self::without_controller(setup, morning());
        lab.start();
        lab
    }

    /// A second controller on the accounts of this one, with a ledger and a master of its own.
    pub(crate) fn beside(&self, setup: Setup) -> Self {
        let mut lab = Self::without_controller(setup, morning());
        (lab.clock, lab.real, lab.world) = (self.clock.clone(), self.real.clone(), Arc::clone(&self.world));
        lab.master.spoke = lab.now();
        lab.start();
        lab
    }

    pub(crate) fn without_controller(setup: Setup, at: DateTime<Utc>) -> Self {
        let id = "m1".parse().expect("a master id");
        let master = Master { id, speaks: true, obeys: true, knows: BTreeMap::new(), spoke: at };
        Self {
            clock: Clock::starting_at(at),
            ledger: TestLedger::default(),
            setup,
            master,
            state: None,
            world: Arc::new(Mutex::new(World::steady())),
            real: Clock::starting_at(at),
            controller: None,
            requests: 0,
            log: Loud::listen(),
            explained: BTreeSet::new(),
            planted: BTreeSet::new(),
        }
    }

    pub(crate) fn start(&mut self) {
        self.try_start().expect("a controller starts on this ledger");
    }

    pub(crate) fn try_start(&mut self) -> Result<(), LedgerError> {
        let connect = self.doors();
        let kept = self.state.as_deref().map(Declarations::open).unwrap_or_default();
        let (intent, ledger) = (self.setup.intent(), self.ledger.clone());
        let started = Controller::start_with(kept, intent, ledger, self.clock.clone(), 1, connect);
        self.controller = Some(started?);
        Ok(())
    }

    fn doors(&self) -> impl Fn(&Cell, &Intent) -> SimCloud + use<> {
        let (world, clock, setup) = (Arc::clone(&self.world), self.real.clone(), self.setup.clone());
        move |cell, intent| {
            let place = place(&setup, cell.owner.as_str(), cell.region.as_str());
            SimCloud::new(Arc::clone(&world), place, Some(&intent.fleet.name), clock.clone())
        }
    }

    /// The configuration changes while the controller runs.
    pub(crate) fn reconfigure(&mut self, setup: Setup) {
        self.setup = setup;
        self.try_reconfigure(self.setup.intent()).expect("takes it");
    }

    pub(crate) fn try_reconfigure(&self, intent: Intent) -> Result<(), LedgerError> {
        let connect = self.doors();
        self.controller().reconfigure(intent, 1, connect)
    }

    /// The way into an owner's account, as a command of the owner's has it.
    pub(crate) fn door(&self, owner: &str, region: &str) -> SimCloud {
        let fleet = self.setup.intent().fleet.name;
        SimCloud::new(Arc::clone(&self.world), place(&self.setup, owner, region), Some(&fleet), self.real.clone())
    }

    /// Does something to an owner's account, as it is now.
    pub(crate) fn world_of<T>(&self, owner: &str, region: &str, use_it: impl FnOnce(&mut Site) -> T) -> T {
        lock(&self.world).touch(&place(&self.setup, owner, region), self.real.now(), use_it)
    }

    /// The controller is killed: nothing is awaited, nothing is written.
    pub(crate) async fn crash(&mut self) {
        if let Some(controller) = self.controller.take() {
            controller.abort();
        }
        // The aborted loops are dropped when the runtime next turns.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn drop_controller(&mut self) {
        self.controller = None;
    }

    pub(crate) fn lose_ledger(&mut self) {
        self.ledger = TestLedger::default();
        // What earlier lives intended can no longer be looked up.
        let all = self.ever(|instance| instance.id.clone());
        self.explained.extend(all);
    }

    pub(crate) async fn shutdown(&mut self) {
        if let Some(controller) = self.controller.take() {
            controller.shutdown().await;
        }
    }

    pub(crate) async fn crash_and_start(&mut self) {
        self.crash().await;
        self.start();
    }

    pub(crate) fn controller(&self) -> Controller<TestLedger> {
        self.controller.clone().expect("a controller runs")
    }

    /// The controller, if one runs.
    pub(crate) fn runs(&self) -> Option<&Controller<TestLedger>> {
        self.controller.as_ref()
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Does something to alice's account in us-west-2, as it is now.
    pub(crate) fn world<T>(&self, use_it: impl FnOnce(&mut Site) -> T) -> T {
        lock(&self.world).touch(&place(&self.setup, "alice", "us-west-2"), self.real.now(), use_it)
    }

    pub(crate) fn inject(&self, call: ApiCall, fault: &Fault, times: usize) {
        let place = place(&self.setup, "alice", "us-west-2");
        lock(&self.world).inject(Some(call.action()), Some(&place), fault.mishap(), times);
    }

    /// Faults that still wait do not happen any more.
    pub(crate) fn heal(&self) {
        lock(&self.world).clear_injected();
    }

    pub(crate) fn calls(&self, of: ApiCall) -> usize {
        self.calls_of("alice", "us-west-2", of)
    }

    /// The calls to this owner's account in this region.
    pub(crate) fn calls_of(&self, owner: &str, region: &str, of: ApiCall) -> usize {
        let calls = lock(&self.world).calls(&place(&self.setup, owner, region), of.action());
        usize::try_from(calls).expect("few enough")
    }

    /// Something of every instance that ever was, in all accounts.
    fn ever<T>(&self, use_it: impl Fn(&latent::sim::Instance) -> T) -> Vec<T> {
        let now = self.real.now();
        let mut world = lock(&self.world);
        world.advance(now);
        world.sites().flat_map(|(_, site)| site.ever()).map(use_it).collect()
    }

    // --- the master -----------------------------------------------------------------------------

    pub(crate) fn request(&mut self, name: &str) -> RequestId {
        self.requests += 1;
        let id: RequestId = format!("r{}", self.requests).parse().expect("a request id");
        let actor = Actor::Master(self.master.id.clone());
        self.controller().request(&actor, &worker(name), &id).expect("the request is taken");
        let knows = WorkerReport { request: Some(id.clone()), wanted: true, ..WorkerReport::default() };
        self.master.knows.insert(worker(name), knows);
        id
    }

    /// The master lets go.
    pub(crate) fn release(&mut self, name: &str) {
        let knows = self.master.knows.entry(worker(name)).or_default();
        (knows.wanted, knows.attached, knows.build) = (false, false, None);
        let (request, actor) = (knows.request.clone(), Actor::Master(self.master.id.clone()));
        let released = self.controller().release(&actor, &worker(name), Cause::Released, request.as_ref());
        released.expect("the release is taken");
    }

    /// The worker connects.
    pub(crate) fn connect(&mut self, name: &str) {
        self.say(name, |knows| knows.attached = true);
    }

    pub(crate) fn build(&mut self, name: &str, build: Option<&str>) {
        let build = build.map(|text| text.parse().expect("a build id"));
        self.say(name, |knows| knows.build = build);
    }

    /// The master learns something and says it.
    pub(crate) fn say(&mut self, name: &str, learn: impl FnOnce(&mut WorkerReport)) {
        learn(self.master.knows.entry(worker(name)).or_default());
        self.report();
    }

    /// The master restarts without a memory.
    pub(crate) fn forget(&mut self) {
        self.master.knows.clear();
    }

    pub(crate) fn report(&mut self) {
        self.master.spoke = self.now();
        let report = Report { workers: self.master.knows.clone() };
        self.controller().report(&self.master.id, &report).expect("the report is taken");
    }

    fn master_turn(&mut self) {
        if self.controller.is_none() || !self.master.speaks || self.now() < self.master.spoke + REPORT_PERIOD {
            return;
        }
        self.report();
        let names: Vec<String> = self.master.knows.keys().map(ToString::to_string).collect();
        for name in names.iter().filter(|_| self.master.obeys).cloned().collect::<Vec<_>>() {
            let ordered = self.controller().worker(&worker(&name)).is_some_and(|view| view.order.is_some());
            let free = self.master.knows.get(&worker(&name)).is_some_and(|knows| knows.build.is_none());
            if ordered && free {
                self.release(&name);
            }
        }
    }

    // --- time -----------------------------------------------------------------------------------

    async fn step(&mut self, step: TimeDelta) {
        self.clock.sleep_until(self.now() + step).await;
        self.master_turn();
        self.check();
    }

    /// Time passes, and the master does its part.
    pub(crate) async fn run(&mut self, span: TimeDelta) {
        self.run_by(span, if span > minutes(30) { LONG_STEP } else { STEP }).await;
    }

    /// Time passes with so long between two looks.
    pub(crate) async fn run_by(&mut self, span: TimeDelta, step: TimeDelta) {
        let end = self.now() + span;
        while self.now() < end {
            self.step(step.min(end - self.now())).await;
        }
    }

    /// Time passes until something holds, and not longer than `limit`.
    #[track_caller]
    pub(crate) fn until<'a, F>(&'a mut self, limit: TimeDelta, what: &'a str, holds: F) -> impl Future<Output = ()> + 'a
    where
        F: Fn(&Lab) -> bool + 'a,
    {
        let caller = std::panic::Location::caller();
        async move {
            let end = self.now() + limit;
            while !holds(self) {
                assert!(self.now() < end, "{caller}: not within {limit}: {what}\n{}", self.story());
                self.step(STEP).await;
            }
        }
    }

    #[track_caller]
    pub(crate) fn until_state<'a>(&'a mut self, name: &'a str, state: &'a str) -> impl Future<Output = ()> + 'a {
        self.until(minutes(2), state, move |lab| lab.state(name) == state)
    }

    /// Until nothing costs and nothing is on its way out any more.
    #[track_caller]
    pub(crate) fn until_nothing_is_left(&mut self) -> impl Future<Output = ()> + '_ {
        self.until(minutes(5), "nothing is left", |lab| lab.costing() == 0 && lab.fleet().departing.is_empty())
    }

    /// A worker that is connected and has nothing to do.
    pub(crate) async fn make_ready(&mut self, name: &str) -> InstanceId {
        self.request(name);
        self.until_state(name, "registering").await;
        self.until(minutes(1), "running", |lab| lab.view(name).instance_state.as_deref() == Some("running")).await;
        self.connect(name);
        assert_eq!(self.state(name), "ready");
        self.instance(name)
    }

    // --- what is there --------------------------------------------------------------------------

    pub(crate) fn view(&self, name: &str) -> WorkerView {
        self.controller().worker(&worker(name)).expect("a known worker")
    }

    pub(crate) fn state(&self, name: &str) -> String {
        self.view(name).state
    }

    pub(crate) fn held(&self, name: &str) -> String {
        self.view(name).held.unwrap_or_default()
    }

    /// The failure's phase, kind and code.
    pub(crate) fn failure(&self, name: &str) -> Option<String> {
        self.view(name).failure.map(|failure| format!("{} {} {}", failure.phase, failure.kind, failure.code))
    }

    pub(crate) fn instance(&self, name: &str) -> InstanceId {
        self.view(name).instance.expect("it has an instance").parse().expect("an id")
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.ledger.inner.read(0, usize::MAX).expect("a ledger in memory can be read")
    }

    pub(crate) fn count(&self, of: impl Fn(&Body) -> bool) -> usize {
        self.entries().iter().filter(|entry| of(&entry.body)).count()
    }

    pub(crate) fn fleet(&self) -> Fleet {
        Fleet::fold(&self.entries()).expect("the ledger folds")
    }

    /// How many instances cost something, in all accounts.
    pub(crate) fn costing(&self) -> usize {
        self.ever(latent::sim::Instance::is_over).into_iter().filter(|over| !over).count()
    }

    /// How many instances there ever were, in all accounts.
    pub(crate) fn launched(&self) -> usize {
        self.ever(|_| ()).len()
    }

    pub(crate) fn instance_state(&self, id: &InstanceId) -> InstanceState {
        let found = self.ever(|instance| (instance.id == *id).then(|| instance.state().clone()));
        found.into_iter().flatten().next().expect("an instance of the simulation")
    }

    /// An instance that this life of the controller did not launch.
    pub(crate) fn plant(&mut self, name: &str, attempt: &str, edit: impl FnOnce(&mut TagSet)) -> InstanceId {
        let (intent, now) = (self.setup.intent(), self.now());
        let configured = &intent.workers[&worker(name)];
        let image = &intent.images[&configured.image];
        let attempt = attempt.parse().expect("an attempt id");
        let chosen = first_choice(image);
        let mut spec = latent::plan::launch_spec(now, &intent, &worker(name), configured, chosen, &attempt);
        edit(&mut spec.tags);
        let request = launch_request(&spec, 1, None);
        let token = spec.token();
        let launched = self.world(|site| site.run_instances(&request, Some(token.as_str()), now)).expect("it launches");
        let id = launched[0].clone();
        self.planted.insert(id.clone());
        id
    }

    /// An instance of somebody else's.
    pub(crate) fn stranger(&mut self, zone: &str) -> InstanceId {
        let request = latent::sim::RunInstances {
            image: "ami-stranger".to_owned(),
            instance_type: "m7i.large".to_owned(),
            zone: Some(zone.to_owned()),
            min: 1,
            max: 1,
            ..latent::sim::RunInstances::default()
        };
        let now = self.now();
        let id = self.world(|site| site.run_instances(&request, None, now)).expect("it launches").remove(0);
        self.planted.insert(id.clone());
        id
    }

    // --- what always holds ----------------------------------------------------------------------

    /// Every instance has its intent, no worker has two, and every entry follows from the record.
    fn check(&mut self) {
        assert!(self.log.bugs().is_empty(), "{:?}\n{}", self.log.bugs(), self.story());
        let ours = self.setup.controller_id();
        let facts = |i: &latent::sim::Instance| {
            let born_with = |key| i.params.tags.get(&TagTarget::Instance).and_then(|tags| tags.get(key)).cloned();
            let other = born_with(tag_keys::CONTROLLER).is_some_and(|controller| controller != ours);
            (!other).then(|| {
                (
                    i.id.clone(),
                    i.token.clone(),
                    i.state().clone(),
                    i.launch_tags().get(tag_keys::WORKER).unwrap_or_default().to_owned(),
                )
            })
        };
        let mut live: BTreeMap<String, InstanceId> = BTreeMap::new();
        for (id, token, state, name) in self.ever(facts).into_iter().flatten() {
            if self.planted.contains(&id) {
                continue;
            }
            if self.explained.insert(id.clone()) {
                let intended = self.entries().iter().any(|entry| {
                    matches!(&entry.body, Body::LaunchIntended { attempt, .. }
                        if attempt.spec.as_ref().is_some_and(|spec| Some(spec.token().as_str()) == token.as_deref()))
                });
                assert!(intended, "{id} runs without an intent");
            }
            if state.is_live()
                && let Some(other) = live.insert(name.clone(), id.clone())
            {
                panic!("{name} has two live instances: {other} and {id}");
            }
        }
    }

    /// Everything that happened, for a failing test.
    pub(crate) fn story(&self) -> String {
        let mut lines: Vec<String> = self.entries().iter().map(line).collect();
        lines.push(format!("now {}", self.now().format("%H:%M:%S%.3f")));
        for view in self.controller.iter().flat_map(Controller::workers) {
            lines.push(format!("{}: {}, held: {:?}, failure: {:?}", view.worker, view.state, view.held, view.failure));
        }
        for cell in self.controller.iter().flat_map(Controller::cells) {
            lines.push(format!("{}/{}: {:?} {:?}", cell.owner, cell.region, cell.failure, cell.strange));
        }
        lines.join("\n")
    }
}

fn line(entry: &Entry) -> String {
    let name = entry.body.worker().map_or("-", WorkerName::as_str);
    format!("{} {name}: {}", entry.at.format("%H:%M:%S%.3f"), entry.body.describe())
}

fn place(setup: &Setup, owner: &str, region: &str) -> SiteId {
    SiteId { account: setup.real_account(owner), region: region.to_owned() }
}

/// The first offering of a manifest that names its AMI.
pub(crate) fn first_choice(image: &latent::policy::Image) -> latent::plan::Chosen<'_> {
    latent::plan::Chosen {
        image,
        ami: image.ami.named().expect("it names one"),
        offering: &image.offerings[0],
        canary: None,
    }
}
