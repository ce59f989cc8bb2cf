//! The controller as a process: started, killed, started again; and a second one by mistake.

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;

use super::agenda::Happening;
use super::life::{Disk, Mortal, lock};
use super::play::Play;
use super::sabotage::Door;
use super::scene::FLEET;
use super::truth::Truth;
use crate::control::{Clock, Controller};
use crate::model::Cell;
use crate::policy::Intent;
use crate::sim::{Fault, Life, SimCloud, SiteId, Step};

impl Play {
    pub(super) fn start(&mut self) {
        let now = self.now();
        let rate = self.rate(Fault::Crash);
        let (steps, died) = (Arc::clone(&self.steps), Arc::clone(&self.died));
        let life = Arc::new(Mortal::new(steps, self.settings.crash_at, rate, self.random.fork(), died));
        let opened = self.disk.open(Arc::clone(&life), Arc::clone(&self.truth), self.settings.sabotage);
        self.life = Arc::clone(&life);
        self.memory = Arc::default();
        let started = opened.and_then(|ledger| {
            Controller::start(
                self.intent.clone(),
                ledger,
                self.clock.clone(),
                self.random.u64(..),
                self.doors(Arc::clone(&life) as Arc<dyn Life>),
            )
        });
        if let Ok(controller) = started {
            self.controller = Some(controller);
            self.up_since = now;
            lock(&self.truth).life_begins(now);
            lock(&self.truth).tell(now, || "the controller starts".to_owned());
        } else {
            // The disk failed, or it was killed on the spot: whoever starts it tries again.
            self.crashes += u64::from(!life.lives());
            self.agenda.add(now + TimeDelta::seconds(1), Happening::Restart);
        }
    }

    pub(super) fn doors(&self, life: Arc<dyn Life>) -> impl Fn(&Cell, &Intent) -> Door + use<> {
        let (world, clock, sabotage) = (Arc::clone(&self.world), self.clock.clone(), self.settings.sabotage);
        let (memory, line, tokens) = (Arc::clone(&self.memory), Arc::clone(&self.line), Arc::clone(&self.tokens));
        move |cell, intent| {
            let account = intent.owners.get(&cell.owner).and_then(|owner| owner.account.clone()).unwrap_or_default();
            let site = SiteId::new(&account, cell.region.as_str());
            let inner = SimCloud::new(Arc::clone(&world), site, Some(FLEET), clock.clone()).of(Arc::clone(&life));
            let (memory, line, tokens) = (Arc::clone(&memory), Arc::clone(&line), Arc::clone(&tokens));
            Door { inner, sabotage, memory, line, clock: clock.clone(), tokens }
        }
    }

    /// Whatever the process did not finish is left as it is.
    pub(super) async fn bury(&mut self) {
        let Some(controller) = self.controller.take() else { return };
        controller.abort();
        drop(controller);
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        self.crashes += 1;
        lock(&self.truth).tell(self.clock.now(), || "the controller is dead".to_owned());
        let down = if self.random.u8(0..10) == 0 { self.random.i64(0..600_000) } else { self.random.i64(0..4_000) };
        let down = if self.calm { 1_000 } else { down };
        self.agenda.add(self.now() + TimeDelta::milliseconds(down), Happening::Restart);
    }

    /// On the same ledger a second controller is refused; with another name and its own ledger it runs
    /// and has no business with anything it sees.
    pub(super) fn second_controller(&mut self) {
        let now = self.now();
        if let Some(old) = self.second.take() {
            old.abort();
            lock(&self.truth).crowded(false);
            let rate = self.rate(Fault::SecondController);
            return self.some_time(rate / 24.0, Happening::SecondController);
        }
        let quiet: Arc<dyn Life> = Arc::new(Quiet { truth: Arc::clone(&self.truth), clock: self.clock.clone() });
        let life = Arc::new(Mortal::new(Arc::default(), None, 0.0, self.random.fork(), Arc::default()));
        let truth = Arc::clone(&self.truth);
        if self.controller().is_some() && self.disk.open(Arc::clone(&life), Arc::clone(&truth), None).is_ok() {
            lock(&self.truth).violated(2, now, "two controllers hold one ledger".to_owned());
        }
        let mut intent = self.intent.clone();
        "sim-second".clone_into(&mut intent.fleet.controller);
        let own = Disk::new(0.0, self.random.fork());
        let started = own.open(life, truth, None).and_then(|ledger| {
            Controller::start(intent, ledger, self.clock.clone(), self.random.u64(..), self.doors(quiet))
        });
        self.second = started.ok();
        lock(&self.truth).crowded(true);
        self.agenda.add(now + TimeDelta::minutes(self.random.i64(5..60)), Happening::SecondController);
    }
}

/// A process that has no business to change anything.
struct Quiet {
    truth: Arc<Mutex<Truth>>,
    clock: Clock,
}

impl Life for Quiet {
    fn step(&self, step: Step) -> bool {
        if let Step::Send(action) = step
            && !action.starts_with("Describe")
            && !action.starts_with("Get")
        {
            let what = format!("a second controller calls {action} on what is not its own");
            lock(&self.truth).violated(3, self.clock.now(), what);
        }
        true
    }
}
