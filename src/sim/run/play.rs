//! One seed, played: the real controller on the simulated cloud, with a master, guests and bad luck.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;

use super::agenda::{Agenda, Happening};
use super::life::{Disk, Mortal, SimLedger, lock};
use super::master::{Master, Next, REPORT_PERIOD, Session};
use super::purse::Purse;
use super::reckon::Reckoning;
use super::sabotage::{Memory, Sabotage};
use super::scene::Scene;
use super::settings::Settings;
use super::things;
use super::truth::{Judge, Known, Truth, Violation};
use crate::control::{Clock, Controller};
use crate::model::{Body, ClientToken, InstanceId, WorkerName};
use crate::policy::Intent;
use crate::sim::site::exponential;
use crate::sim::{Fault, Trace, Weather, World};

/// When every run begins.
const BEGIN: &str = "2026-03-02T08:00:00Z";
/// How often builds are wanted, per worker and hour.
const BUILDS_PER_HOUR: f64 = 0.3;
/// Where builds are counted, they are wanted at this time.
const FIRST_BUILD: TimeDelta = TimeDelta::seconds(10);
/// How many builds an hour one worker could do: the rate at which a build ends.
const BUILDS_DONE_PER_HOUR: f64 = 7.0;
/// So many of a hundred builds are taken back while their worker is got ready.
const CANCELLED: u8 = 10;
/// After the last build everything must have converged by then: the last hour of an instance, and some.
const AFTERWARDS: TimeDelta = TimeDelta::hours(9);
/// What was sent before the end has arrived and shows by then.
const SETTLING: TimeDelta = TimeDelta::minutes(30);
/// A master waits so long for a worker to come back.
const COME_BACK: TimeDelta = TimeDelta::minutes(5);
/// A worker that says nothing any more is given up after this.
const KEEPALIVE: TimeDelta = TimeDelta::minutes(10);
/// A guest that is not taken tries again after this.
const RECONNECT: TimeDelta = TimeDelta::seconds(30);

/// What came of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The first thing that did not hold.
    pub violation: Option<Violation>,
    /// Everything that happened before it, if it was to be told.
    pub story: Vec<String>,
    /// How often the controller was killed.
    pub crashes: u64,
    /// How often something else went wrong.
    pub faults: u64,
    /// How many instances were launched.
    pub launched: u64,
    /// How many steps the controller made.
    pub steps: u64,
    /// How many builds ended as they should.
    pub builds: u64,
    /// How many interruptions were known before EC2 took the instance back.
    pub noticed: u64,
    /// How many candidates a canary proved.
    pub proven: u64,
    /// What the instances cost, by EC2's bill and by the ledger.
    pub reckoning: Reckoning,
    /// A number that is the same whenever the same happened.
    pub digest: u64,
}

pub(super) struct Play {
    pub(super) settings: Settings,
    pub(super) random: fastrand::Rng,
    pub(super) clock: Clock,
    pub(super) world: Arc<Mutex<World>>,
    pub(super) truth: Arc<Mutex<Truth>>,
    pub(super) scene: Scene,
    pub(super) master: Master,
    pub(super) agenda: Agenda,
    pub(super) hung: BTreeSet<InstanceId>,
    /// How often each instance has booted.
    pub(super) boots: BTreeMap<InstanceId, u32>,
    /// The address from which each instance connects.
    pub(super) addresses: BTreeMap<InstanceId, String>,
    pub(super) faults: u64,
    pub(super) calm: bool,
    pub(super) intent: Intent,
    pub(super) controller: Option<Controller<SimLedger>>,
    pub(super) disk: Disk,
    pub(super) life: Arc<Mortal>,
    pub(super) steps: Arc<AtomicU64>,
    pub(super) died: Arc<Notify>,
    pub(super) line: Arc<tokio::sync::Mutex<()>>,
    pub(super) memory: Arc<Mutex<Memory>>,
    pub(super) tokens: Arc<Mutex<BTreeSet<ClientToken>>>,
    pub(super) second: Option<Controller<SimLedger>>,
    pub(super) read: u64,
    pub(super) crashes: u64,
    /// How many candidates were made.
    pub(super) candidates: u32,
    /// Since when this life of the controller lasts.
    pub(super) up_since: DateTime<Utc>,
}

impl Play {
    fn new(settings: &Settings, seed: u64) -> Option<Self> {
        let begin: DateTime<Utc> = BEGIN.parse().ok()?;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut scene = Scene::new(settings.owners, settings.workers, &mut random);
        if settings.strays > 0 {
            // What strays cost is not the controller's spending, and a month without launches would show nothing.
            scene.allowance = None;
        }
        let mut world = World::new(seed, settings.weather.clone()).lenient();
        world.trace = Trace::keeping(if settings.telling { usize::MAX } else { 0 });
        for site in scene.calm_sites() {
            world.set_weather_at(&site, Weather::calm());
        }
        let truth = Arc::new(Mutex::new(Truth::new(scene.calm_sites(), scene.calm_workers(), begin)));
        let (account, own) = scene.budgeted();
        lock(&truth).purse = scene.allowance.map(|allowance| Purse::new(account, own, allowance));
        if settings.sabotage == Some(Sabotage::BudgetIgnored) {
            scene.allowance = None;
        }
        lock(&truth).story = settings.telling.then(Vec::new);
        world.watch(Box::new(Judge(Arc::clone(&truth))));
        let workers = scene.worker_names().filter_map(|name| name.parse().ok());
        let master = Master::new("m1".parse().ok()?, workers, begin, settings.sabotage);
        let died = Arc::new(Notify::new());
        let steps = Arc::new(AtomicU64::new(0));
        let life = Mortal::new(Arc::clone(&steps), None, 0.0, random.fork(), Arc::clone(&died));
        Some(Self {
            intent: scene.intent()?,
            disk: Disk::new(settings.weather.rate(Fault::LedgerTorn), random.fork()),
            clock: Clock::starting_at(begin),
            world: Arc::new(Mutex::new(world)),
            truth,
            master,
            scene,
            agenda: Agenda::default(),
            hung: BTreeSet::new(),
            boots: BTreeMap::new(),
            addresses: BTreeMap::new(),
            controller: None,
            life: Arc::new(life),
            steps,
            died,
            line: Arc::default(),
            memory: Arc::default(),
            tokens: Arc::default(),
            second: None,
            read: 0,
            crashes: 0,
            candidates: 0,
            faults: 0,
            calm: false,
            up_since: begin,
            settings: settings.clone(),
            random,
        })
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(super) fn rate(&self, fault: Fault) -> f64 {
        if self.calm { 0.0 } else { self.settings.weather.rate(fault) }
    }

    pub(super) fn chance(&mut self, fault: Fault) -> bool {
        let rate = self.rate(fault);
        let struck = rate > 0.0 && self.random.f64() < rate;
        self.faults += u64::from(struck);
        struck
    }

    /// Puts something on the agenda that happens so often an hour; never, if that is not at all.
    pub(super) fn some_time(&mut self, per_hour: f64, happening: Happening) {
        if per_hour > 0.0 {
            let at = self.now() + exponential(&mut self.random, per_hour);
            self.agenda.add(at, happening);
        }
    }

    pub(super) fn controller(&self) -> Option<Controller<SimLedger>> {
        self.controller.clone().filter(|_| self.life.lives())
    }

    /// How long the controller has been up, and reachable for the master.
    pub(super) fn works_since(&self) -> Option<DateTime<Utc>> {
        let works = self.life.lives() && self.controller.is_some() && self.master.up && self.master.reachable;
        works.then_some(self.up_since)
    }

    // --- the course of events ---------------------------------------------------------------------

    fn begin(&mut self) {
        let sites = self.scene.sites();
        let strange = things::plant(&mut lock(&self.world), sites.into_iter(), self.now());
        lock(&self.truth).strange_things = strange;
        self.start();
        let now = self.now();
        for name in self.master.desks.keys().cloned().collect::<Vec<_>>() {
            match self.settings.builds {
                Some(builds) => {
                    for _ in 0..builds {
                        self.agenda.add(now + FIRST_BUILD, Happening::BuildWanted(name.clone()));
                    }
                }
                None => self.some_time(BUILDS_PER_HOUR, Happening::BuildWanted(name)),
            }
        }
        self.first_canaries();
        self.agenda.add(now + REPORT_PERIOD, Happening::Report);
        self.agenda.add(now + TimeDelta::minutes(1), Happening::Minute);
        let daily = [
            (Fault::MasterKill, Happening::MasterKill),
            (Fault::MasterSilence, Happening::SilenceBegins),
            (Fault::Reconfig, Happening::Reconfig),
            (Fault::Operator, Happening::Operator),
            (Fault::Canary, Happening::Canary),
            (Fault::LedgerLost, Happening::LedgerLost),
            (Fault::SecondController, Happening::SecondController),
        ];
        self.some_time(f64::from(self.settings.strays) / 24.0, Happening::Stray);
        for (fault, happening) in daily {
            let rate = self.rate(fault);
            self.some_time(rate / 24.0, happening);
        }
    }

    /// Time passes until then, or until something does not hold.
    async fn until(&mut self, end: DateTime<Utc>) {
        while self.now() < end && lock(&self.truth).violations.is_empty() {
            let due = lock(&self.world).next_due();
            let next = [due, self.agenda.next(), Some(end)].into_iter().flatten().min().unwrap_or(end);
            let mut changed = self.controller.as_ref().map(Controller::changed);
            let moved = async {
                let heard = match &mut changed {
                    Some(changed) => changed.changed().await.is_ok(),
                    None => false,
                };
                if !heard {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                () = self.died.notified() => {}
                () = moved => {}
                () = self.clock.sleep_until(next) => {}
            }
            self.step().await;
        }
    }

    async fn step(&mut self) {
        if !self.life.lives() {
            self.bury().await;
        }
        let now = self.now();
        lock(&self.world).advance(now);
        self.feel_all();
        while let Some(happening) = self.agenda.due(now) {
            self.happens(happening).await;
            self.feel_all();
        }
        self.follow();
        self.plan_next();
    }

    fn feel_all(&mut self) {
        loop {
            let Some((at, site, effect)) = lock(&self.truth).happened.pop_front() else { return };
            self.feel(at, &site, &effect);
        }
    }

    /// The master looks at the workers of whom the controller has written something new.
    fn follow(&mut self) {
        let written = self.disk.len();
        if written == self.read {
            return;
        }
        let entries = self.disk.after(self.read);
        self.read = written;
        let controller = self.controller();
        let now = self.now();
        for entry in entries {
            let tells = match &entry.body {
                Body::RequestFailed { worker, .. }
                | Body::DrainOrdered { worker, .. }
                | Body::InterruptionNoticed { worker, .. }
                | Body::Lost { worker, .. }
                | Body::Released { worker, .. } => Some(worker),
                _ => None,
            };
            if let Some(worker) = tells {
                self.master.turn(worker, now, controller.as_ref());
            }
        }
    }

    fn plan_next(&mut self) {
        for next in self.master.take_next() {
            match next {
                Next::Began(worker, number, instance, smoke) => {
                    let now = self.now();
                    lock(&self.truth).build_begins(now, &worker, &instance, smoke);
                    let at = self.now() + exponential(&mut self.random, BUILDS_DONE_PER_HOUR);
                    self.agenda.add(at, Happening::BuildEnds(worker, number));
                }
                Next::Asked(worker) => {
                    if self.random.u8(0..100) < CANCELLED {
                        let at = self.now() + TimeDelta::milliseconds(self.random.i64(0..20_000));
                        self.agenda.add(at, Happening::Cancel(worker));
                    }
                }
                Next::Look(worker, at) => {
                    let again = Happening::Retry(worker);
                    self.agenda.forget(|other| *other == again);
                    self.agenda.add(at, again);
                }
                Next::Left(worker) => lock(&self.truth).building.retain(|_, builder| *builder != worker),
            }
        }
    }

    pub(super) fn turn(&mut self, worker: &WorkerName) {
        let (now, controller) = (self.now(), self.controller());
        self.master.turn(worker, now, controller.as_ref());
    }

    pub(super) fn turn_all(&mut self) {
        for worker in self.master.desks.keys().cloned().collect::<Vec<_>>() {
            self.turn(&worker);
        }
    }

    /// Who shares the image of a worker is wanted when it is: what can be launched together is asked for together.
    fn wants_sharers(&mut self, worker: &WorkerName) {
        for other in self.scene.wanted_with(worker.as_str()).iter().filter_map(|name| name.parse().ok()) {
            if !self.calm {
                self.master.wants_build(&other);
            }
            self.turn(&other);
        }
    }

    async fn happens(&mut self, happening: Happening) {
        let now = self.now();
        if !matches!(happening, Happening::Minute | Happening::Report | Happening::Retry(_)) {
            lock(&self.truth).tell(now, || format!("{happening:?}"));
        }
        match happening {
            Happening::BuildWanted(worker) => {
                if !self.calm {
                    self.master.wants_build(&worker);
                    if self.settings.builds.is_none() {
                        self.some_time(BUILDS_PER_HOUR, Happening::BuildWanted(worker.clone()));
                    }
                }
                self.turn(&worker);
                self.wants_sharers(&worker);
            }
            Happening::Retry(worker) => self.turn(&worker),
            Happening::Cancel(worker) => {
                let controller = self.controller();
                self.master.cancel(&worker, controller.as_ref());
            }
            Happening::BuildEnds(worker, number) => {
                if self.master.desks.get(&worker).is_some_and(|desk| desk.build == Some(number)) {
                    self.master.smoke_ends(&worker);
                    self.master.build_over(&worker, false, now);
                    lock(&self.truth).builds += 1;
                    self.report();
                    self.turn(&worker);
                }
            }
            Happening::GivesUp(worker, turn) => self.gives_up(&worker, turn),
            Happening::Report => {
                self.report();
                for worker in self.master.waiting() {
                    self.turn(&worker);
                }
                self.agenda.add(now + REPORT_PERIOD, Happening::Report);
            }
            Happening::Minute => {
                self.minute();
                self.agenda.add(now + TimeDelta::minutes(1), Happening::Minute);
            }
            Happening::Restart => {
                if self.controller.is_none() {
                    self.start();
                }
            }
            Happening::Connect(_)
            | Happening::Answered(_)
            | Happening::LoseConnection(_)
            | Happening::Hang(_)
            | Happening::PowerOff(_)
            | Happening::Leaves(_)
            | Happening::LeaseCheck(_)
            | Happening::Deadline(_) => self.guest(happening),
            Happening::MasterKill
            | Happening::MasterUp
            | Happening::SilenceBegins
            | Happening::SilenceEnds
            | Happening::Reconfig
            | Happening::Operator
            | Happening::Canary
            | Happening::LedgerLost
            | Happening::Stray
            | Happening::SecondController => self.trouble(happening).await,
        }
    }

    pub(super) fn report(&mut self) {
        let controller = self.controller();
        self.master.report(controller.as_ref());
    }

    fn gives_up(&mut self, worker: &WorkerName, turn: u64) {
        let (now, controller) = (self.now(), self.controller());
        let Some(desk) = self.master.desks.get(worker).filter(|desk| desk.turn == turn) else { return };
        if let Session::Open(_) = &desk.session {
            self.master.build_over(worker, true, now);
            self.master.let_go(worker, controller.as_ref());
            self.turn(worker);
        }
    }

    // --- the end ----------------------------------------------------------------------------------

    /// Nobody wants anything any more, and nothing goes wrong any more.
    fn calm_down(&mut self) {
        self.calm = true;
        self.disk.calm_down();
        {
            let mut world = lock(&self.world);
            for fault in self.settings.possible() {
                world.set_rate(fault, 0.0);
            }
        }
        if let Some(second) = self.second.take() {
            second.abort();
            lock(&self.truth).crowded(false);
        }
        self.master.up = true;
        self.master.reachable = true;
        let (now, controller) = (self.now(), self.controller());
        for worker in self.master.desks.keys().cloned().collect::<Vec<_>>() {
            self.master.build_over(&worker, false, now);
            if let Some(desk) = self.master.desks.get_mut(&worker) {
                desk.queue = 0;
            }
            self.master.let_go(&worker, controller.as_ref());
        }
        self.scene.cools_down();
        self.take_intent();
        self.plan_next();
        self.report();
    }

    fn converged(&self) -> bool {
        let (world, truth) = (lock(&self.world), lock(&self.truth));
        truth.standing.values().all(Known::unknowable) && things::all_is_tidy(&world, &truth)
    }

    async fn converge(&mut self) {
        let end = self.now() + AFTERWARDS;
        // What was on its way when the last build was wanted still arrives.
        self.until(self.now() + SETTLING).await;
        while self.now() < end && !self.converged() && lock(&self.truth).violations.is_empty() {
            let next = self.now() + TimeDelta::minutes(10);
            self.until(next).await;
        }
        things::judge(&lock(&self.world), &mut lock(&self.truth), self.now());
        let now = self.now();
        let mut truth = lock(&self.truth);
        let left = truth.standing.iter().find(|(_, known)| !known.unknowable());
        if let Some((id, known)) = left.map(|(id, known)| (id.clone(), known.clone())) {
            let invariant = if known.survived_a_loss { 11 } else { 6 };
            truth.violated(invariant, now, format!("{id} of {} still costs, and nobody wants it", known.worker));
        }
    }

    fn outcome(&mut self) -> Outcome {
        let reckoning = self.reckon();
        let world = lock(&self.world);
        let truth = lock(&self.truth);
        let mut story = truth.story.clone().unwrap_or_default();
        if truth.story.is_some() {
            story.extend(world.trace.after(0).map(|event| (event.at, event.to_string())));
        }
        story.sort_by_key(|(at, _)| *at);
        Outcome {
            violation: truth.violations.first().cloned(),
            story: story.iter().map(|(at, what)| format!("{} {what}", at.format("%d %H:%M:%S%.3f"))).collect(),
            crashes: self.crashes,
            faults: self.faults + world.struck,
            launched: truth.launched,
            steps: self.steps.load(std::sync::atomic::Ordering::Relaxed),
            digest: world.trace.digest() ^ truth.entries(),
            builds: truth.builds,
            noticed: truth.noticed,
            proven: truth.canaries.passed.len() as u64,
            reckoning,
        }
    }

    pub(super) fn keepalive(&mut self, worker: &WorkerName, turn: u64, hung: bool) {
        let at = self.now() + if hung { KEEPALIVE } else { COME_BACK };
        self.agenda.add(at, Happening::GivesUp(worker.clone(), turn));
    }

    pub(super) fn reconnects(&mut self, at: DateTime<Utc>, happening: Happening) {
        self.agenda.add(at + RECONNECT, happening);
    }
}

/// Plays a seed. `None` if the fleet of the seed cannot be configured, which is a mistake of the run.
pub async fn play(settings: &Settings, seed: u64) -> Option<Outcome> {
    let mut play = Play::new(settings, seed)?;
    play.begin();
    let end = play.now() + TimeDelta::hours(i64::from(settings.hours));
    play.until(end).await;
    play.calm_down();
    play.converge().await;
    if let Some(controller) = play.controller.take() {
        controller.abort();
    }
    Some(play.outcome())
}
