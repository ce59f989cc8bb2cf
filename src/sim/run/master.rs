//! A Buildbot-like master: it wants workers for builds, takes their connections, reports what it knows.
//!
//! It follows the contract of the plugin: a report says everything each time; a build begins on a worker
//! only when the controller has just taken in that it is busy; a connection is taken only when the
//! controller, asked with its address and what it says of itself, lets it in.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::sabotage::Sabotage;
use crate::control::{CanaryView, Controller, WorkerView};
use crate::ledger::Ledger;
use crate::model::{Actor, Built, Cause, InstanceId, MasterId, RebakeId, RequestId, WorkerName};
use crate::plan::{Info, Report, WorkerReport};

/// How often the master says what it knows.
pub(super) const REPORT_PERIOD: TimeDelta = TimeDelta::seconds(60);
/// The pause after a request that failed.
const RETRY: TimeDelta = TimeDelta::minutes(5);
/// The pause after a request that could not be made.
const RETRY_SOON: TimeDelta = TimeDelta::seconds(20);
/// Every so many builds, a smoke build fails.
const SMOKE_FAILS: u64 = 9;
/// A worker that is attached and has nothing to do is let go after this.
const IDLE: TimeDelta = TimeDelta::minutes(8);

/// How it stands with a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Session {
    /// Not wanted.
    None,
    /// Wanted, and not connected yet.
    Waiting {
        /// Minutes in which everything worked and it was not answered.
        minutes: u32,
    },
    /// It was connected, from this instance.
    Open(InstanceId),
}

/// Somebody at the door.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visitor<'a> {
    /// By which this connection is told from others; the controller is not told.
    pub(super) instance: &'a InstanceId,
    pub(super) peer: &'a str,
    pub(super) info: &'a Info,
    /// Whether it has waited for a newer listing already.
    pub(super) waited: bool,
}

/// What the master knows of one worker.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) session: Session,
    pub(super) request: Option<RequestId>,
    pub(super) delivered: bool,
    pub(super) attached: bool,
    pub(super) build: Option<u64>,
    /// For which rebake its build is a smoke build.
    smoke: Option<RebakeId>,
    /// How the last smoke build ended.
    smoked: Option<(RebakeId, Built)>,
    /// Whether its guest asked to be let go of.
    pub(super) leaving: bool,
    pub(super) queue: u32,
    pub(super) idle_since: DateTime<Utc>,
    /// Counts connections and losses, so that a late alarm knows that it is late.
    pub(super) turn: u64,
    retry_at: DateTime<Utc>,
}

/// What a turn of the master leads to, for the agenda.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// This build began on this instance; whether it is a smoke build.
    Began(WorkerName, u64, InstanceId, bool),
    /// Look at this worker again then.
    Look(WorkerName, DateTime<Utc>),
    /// It was asked for.
    Asked(WorkerName),
    /// The worker was let go of, or its build is over.
    Left(WorkerName),
}

/// The master.
#[derive(Debug)]
pub(super) struct Master {
    id: MasterId,
    pub(super) up: bool,
    /// Whether it and the controller reach each other.
    pub(super) reachable: bool,
    pub(super) desks: BTreeMap<WorkerName, Desk>,
    requests: u64,
    builds: u64,
    sabotage: Option<Sabotage>,
    next: Vec<Next>,
}

impl Master {
    pub(super) fn new(
        id: MasterId,
        workers: impl Iterator<Item = WorkerName>,
        now: DateTime<Utc>,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let desk = Desk {
            session: Session::None,
            request: None,
            delivered: false,
            attached: false,
            build: None,
            smoke: None,
            smoked: None,
            leaving: false,
            queue: 0,
            idle_since: now,
            turn: 0,
            retry_at: now,
        };
        let desks = workers.map(|name| (name, desk.clone())).collect();
        Self { id, up: true, reachable: true, desks, requests: 0, builds: 0, sabotage, next: Vec::new() }
    }

    /// What is to be put on the agenda since the last time.
    pub(super) fn take_next(&mut self) -> Vec<Next> {
        std::mem::take(&mut self.next)
    }

    /// Whether a session is open on this instance.
    pub(super) fn uses(&self, worker: &str, instance: &InstanceId, now: DateTime<Utc>) -> bool {
        let Some((_, desk)) = self.desks.iter().find(|(name, _)| name.as_str() == worker) else { return false };
        match &desk.session {
            Session::None => false,
            Session::Waiting { .. } => true,
            Session::Open(id) => id == instance && (desk.build.is_some() || now < desk.idle_since + IDLE * 2),
        }
    }

    /// Whether a worker is connected, or was, from this instance.
    pub(super) fn has_open(&self, worker: &str, instance: &InstanceId) -> bool {
        let found = self.desks.iter().find(|(name, _)| name.as_str() == worker);
        found.is_some_and(|(_, desk)| desk.session == Session::Open(instance.clone()))
    }

    pub(super) fn wants_build(&mut self, worker: &WorkerName) {
        if let Some(desk) = self.desks.get_mut(worker) {
            desk.queue += 1;
        }
    }

    /// Everything the master would do for a worker now, with the controller if it can be reached.
    pub(super) fn turn<L: Ledger + 'static>(
        &mut self,
        worker: &WorkerName,
        now: DateTime<Utc>,
        controller: Option<&Controller<L>>,
    ) {
        let controller = controller.filter(|_| self.reachable);
        let Some(desk) = self.desks.get(worker).filter(|_| self.up).cloned() else { return };
        match &desk.session {
            Session::None if desk.queue > 0 && now >= desk.retry_at => self.ask(worker, now, controller),
            Session::None if desk.queue > 0 => self.next.push(Next::Look(worker.clone(), desk.retry_at)),
            Session::None => {}
            Session::Waiting { .. } => self.wait(worker, &desk, now, controller),
            Session::Open(instance) => self.work(worker, &desk, instance, now, controller),
        }
    }

    fn ask<L: Ledger + 'static>(
        &mut self,
        worker: &WorkerName,
        now: DateTime<Utc>,
        controller: Option<&Controller<L>>,
    ) {
        self.requests += 1;
        let Ok(request) = format!("r{}", self.requests).parse::<RequestId>() else { return };
        if let Some(desk) = self.desks.get_mut(worker) {
            desk.session = Session::Waiting { minutes: 0 };
            desk.request = Some(request);
            desk.delivered = false;
        }
        self.next.push(Next::Asked(worker.clone()));
        self.deliver(worker, now, controller);
    }

    /// Somebody takes back the build that a worker is got for.
    pub(super) fn cancel<L: Ledger + 'static>(&mut self, worker: &WorkerName, controller: Option<&Controller<L>>) {
        let Some(desk) = self.desks.get_mut(worker) else { return };
        if self.up && matches!(desk.session, Session::Waiting { .. }) {
            desk.queue = 0;
            self.let_go(worker, controller);
        }
    }

    fn deliver<L: Ledger + 'static>(
        &mut self,
        worker: &WorkerName,
        now: DateTime<Utc>,
        controller: Option<&Controller<L>>,
    ) {
        let actor = Actor::Master(self.id.clone());
        let Some(desk) = self.desks.get_mut(worker) else { return };
        let request = desk.request.clone();
        let taken = controller.zip(request).is_some_and(|(c, request)| c.request(&actor, worker, &request).is_ok());
        desk.delivered = taken;
        if !taken {
            self.next.push(Next::Look(worker.clone(), now + RETRY_SOON));
        }
    }

    fn wait<L: Ledger + 'static>(
        &mut self,
        worker: &WorkerName,
        desk: &Desk,
        now: DateTime<Utc>,
        controller: Option<&Controller<L>>,
    ) {
        if !desk.delivered {
            return self.deliver(worker, now, controller);
        }
        let Some(view) = controller.and_then(|controller| controller.worker(worker)) else { return };
        if view.request != desk.request.as_ref().map(ToString::to_string) {
            // It has never heard of it, or has lost its ledger since.
            return self.deliver(worker, now, controller);
        }
        let over = !view.waiting && matches!(view.state.as_str(), "gone" | "terminating" | "stopped");
        if view.failure.is_some() || over {
            self.fails(worker, now, controller);
        }
    }

    /// The request was answered with a failure; the build waits for another try.
    fn fails<L: Ledger + 'static>(
        &mut self,
        worker: &WorkerName,
        now: DateTime<Utc>,
        controller: Option<&Controller<L>>,
    ) {
        if let Some(desk) = self.desks.get_mut(worker) {
            desk.retry_at = now + RETRY;
        }
        self.let_go(worker, controller);
        self.next.push(Next::Look(worker.clone(), now + RETRY));
    }

    fn work<L: Ledger + 'static>(
        &mut self,
        worker: &WorkerName,
        desk: &Desk,
        instance: &InstanceId,
        now: DateTime<Utc>,
        controller: Option<&Controller<L>>,
    ) {
        if !desk.attached || desk.build.is_some() {
            return;
        }
        let view = controller.and_then(|controller| controller.worker(worker));
        let ordered = view.as_ref().is_some_and(|view| view.order.is_some());
        let gone = view.as_ref().is_some_and(|view| matches!(view.state.as_str(), "gone" | "terminating"));
        let canary = view.as_ref().and_then(|view| view.canary.as_ref()).filter(|canary| canary.present);
        if let Some(canary) = canary.filter(|_| !ordered && !gone && !self.errs_about_canaries()) {
            self.prove(worker, desk, instance, canary, now, controller);
        } else if ordered || gone || now >= desk.idle_since + IDLE && desk.queue == 0 {
            self.let_go(worker, controller);
            if desk.queue > 0 {
                self.next.push(Next::Look(worker.clone(), now + RETRY_SOON));
            }
        } else if desk.queue > 0 && view.is_some() {
            self.begin(worker, instance, None, now, controller);
        } else {
            let until = (desk.idle_since + IDLE).max(now + RETRY_SOON);
            self.next.push(Next::Look(worker.clone(), until));
        }
    }

    fn errs_about_canaries(&self) -> bool {
        self.sabotage == Some(Sabotage::BuildsOnCanary)
    }

    /// On a canary nothing runs but its smoke build, once; it is let go of when that is ordered.
    fn prove<L: Ledger + 'static>(
        &mut self,
        worker: &WorkerName,
        desk: &Desk,
        instance: &InstanceId,
        canary: &CanaryView,
        now: DateTime<Utc>,
        controller: Option<&Controller<L>>,
    ) {
        let done = desk.smoked.as_ref().is_some_and(|(rebake, _)| *rebake == canary.rebake);
        if canary.phase == "connected" && canary.smoke.is_some() && !done {
            self.begin(worker, instance, Some(&canary.rebake), now, controller);
        } else {
            self.next.push(Next::Look(worker.clone(), now + RETRY_SOON));
        }
    }

    /// The build that is over now was a smoke build: its result is said with the next report.
    pub(super) fn smoke_ends(&mut self, worker: &WorkerName) {
        let Some(desk) = self.desks.get_mut(worker) else { return };
        let (Some(number), Some(rebake)) = (desk.build, desk.smoke.take()) else { return };
        let results = if number % SMOKE_FAILS == 0 { 2 } else { u8::from(number % 2 == 0) };
        desk.smoked = format!("b/{number}").parse().ok().map(|build| (rebake, Built { build, results }));
    }

    /// A build begins once the controller has taken in that the worker is busy; `smoke` is the rebake that
    /// wants it.
    fn begin<L: Ledger + 'static>(
        &mut self,
        worker: &WorkerName,
        instance: &InstanceId,
        smoke: Option<&RebakeId>,
        now: DateTime<Utc>,
        controller: Option<&Controller<L>>,
    ) {
        self.builds += 1;
        let number = self.builds;
        if let Some(desk) = self.desks.get_mut(worker) {
            (desk.build, desk.smoke) = (Some(number), smoke.cloned());
        }
        let taken = self.report(controller);
        let busy = controller.and_then(|c| c.worker(worker)).is_some_and(|view| view.state == "busy");
        let told = self.sabotage == Some(Sabotage::BusyIgnored);
        let Some(desk) = self.desks.get_mut(worker) else { return };
        if taken && (busy || told) {
            desk.queue -= u32::from(smoke.is_none());
            self.next.push(Next::Began(worker.clone(), number, instance.clone(), smoke.is_some()));
        } else {
            (desk.build, desk.smoke) = (None, None);
            self.next.push(Next::Look(worker.clone(), now + RETRY_SOON));
        }
    }

    /// The worker on this instance asks for a graceful shutdown: the controller is told, and orders it.
    pub(super) fn hears_it_leaves<L: Ledger + 'static>(
        &mut self,
        worker: &WorkerName,
        instance: &InstanceId,
        controller: Option<&Controller<L>>,
    ) {
        let Some(desk) = self.desks.get_mut(worker).filter(|_| self.up) else { return };
        if desk.attached && desk.session == Session::Open(instance.clone()) {
            desk.leaving = true;
            self.report(controller);
        }
    }

    /// A build is over, one way or another. `again` puts it back into the line.
    pub(super) fn build_over(&mut self, worker: &WorkerName, again: bool, now: DateTime<Utc>) {
        let Some(desk) = self.desks.get_mut(worker).filter(|desk| desk.build.is_some()) else { return };
        desk.build = None;
        desk.idle_since = now;
        // A smoke build is not in the line: the canary wants it, or nobody.
        desk.queue += u32::from(again && desk.smoke.take().is_none());
        desk.smoke = None;
        self.next.push(Next::Left(worker.clone()));
    }

    pub(super) fn let_go<L: Ledger + 'static>(&mut self, worker: &WorkerName, controller: Option<&Controller<L>>) {
        let actor = Actor::Master(self.id.clone());
        let Some(desk) = self.desks.get_mut(worker) else { return };
        desk.session = Session::None;
        desk.attached = false;
        desk.leaving = false;
        desk.turn += 1;
        if let Some(controller) = controller.filter(|_| self.reachable) {
            // Not lost if it fails: every report says again that this request is no longer wanted.
            drop(controller.release(&actor, worker, Cause::Released, desk.request.as_ref()));
        }
        self.next.push(Next::Left(worker.clone()));
    }

    /// A worker connects. Says whether it is taken, or nothing while the controller looks again.
    pub(super) fn connects<L: Ledger + 'static>(
        &mut self,
        worker: &WorkerName,
        visitor: Visitor<'_>,
        now: DateTime<Utc>,
        controller: Option<&Controller<L>>,
    ) -> Option<bool> {
        let Visitor { instance, peer, info, waited } = visitor;
        if !self.up {
            return Some(false);
        }
        let Some(desk) = self.desks.get(worker) else { return Some(false) };
        let returns = desk.session == Session::Open(instance.clone());
        let asked = controller.filter(|_| self.reachable).and_then(|controller| {
            Some((controller.worker(worker)?, controller.admit_now(worker, Some(peer), info).ok()?))
        });
        let Some((view, admission)) = asked else {
            // Nobody can be asked; it has been taken before.
            return Some(returns && self.attach(worker, instance, now, controller));
        };
        if self.sabotage != Some(Sabotage::StaleTwinAccepted) {
            if admission.look && !waited {
                return None;
            }
            if !admission.admit {
                return Some(false);
            }
        }
        if returns {
            return Some(self.attach(worker, instance, now, controller));
        }
        Some(match &desk.session {
            Session::Waiting { .. } => self.attach(worker, instance, now, controller),
            Session::None if adoptable(&view) => {
                let request = view.request.as_ref().and_then(|text| text.parse().ok());
                if let Some(desk) = self.desks.get_mut(worker) {
                    desk.request = request;
                    desk.idle_since = now;
                }
                self.attach(worker, instance, now, controller)
            }
            Session::None | Session::Open(_) => false,
        })
    }

    fn attach<L: Ledger + 'static>(
        &mut self,
        worker: &WorkerName,
        instance: &InstanceId,
        now: DateTime<Utc>,
        controller: Option<&Controller<L>>,
    ) -> bool {
        if let Some(desk) = self.desks.get_mut(worker) {
            if !matches!(desk.session, Session::Open(_)) {
                desk.idle_since = now;
            }
            desk.session = Session::Open(instance.clone());
            desk.attached = true;
            desk.leaving = false;
            desk.turn += 1;
        }
        self.report(controller);
        self.next.push(Next::Look(worker.clone(), now));
        true
    }

    /// A connection is gone; its build with it. Gives the number of this turn if the master would notice.
    pub(super) fn loses<L: Ledger + 'static>(
        &mut self,
        worker: &WorkerName,
        instance: &InstanceId,
        now: DateTime<Utc>,
        controller: Option<&Controller<L>>,
    ) -> Option<u64> {
        let desk = self.desks.get_mut(worker)?;
        if desk.session != Session::Open(instance.clone()) || !desk.attached {
            return None;
        }
        desk.attached = false;
        desk.turn += 1;
        let turn = desk.turn;
        self.build_over(worker, true, now);
        self.report(controller);
        Some(turn)
    }

    /// The master is killed, and knows nothing when it is back; builds are wanted again. Gives the
    /// instances whose connections end with it.
    pub(super) fn dies(&mut self, now: DateTime<Utc>) -> Vec<InstanceId> {
        self.up = false;
        let open = self.desks.values().filter(|desk| desk.attached).filter_map(|desk| match &desk.session {
            Session::Open(instance) => Some(instance.clone()),
            Session::None | Session::Waiting { .. } => None,
        });
        let connected = open.collect();
        let names: Vec<WorkerName> = self.desks.keys().cloned().collect();
        for name in names {
            self.build_over(&name, true, now);
            if let Some(desk) = self.desks.get_mut(&name) {
                desk.session = Session::None;
                desk.request = None;
                desk.smoked = None;
                desk.attached = false;
                desk.leaving = false;
                desk.turn += 1;
            }
        }
        connected
    }

    /// The workers that wait for an answer.
    pub(super) fn waiting(&self) -> Vec<WorkerName> {
        let waiting = self.desks.iter().filter(|(_, desk)| matches!(desk.session, Session::Waiting { .. }));
        waiting.map(|(name, _)| name.clone()).collect()
    }

    /// Says everything it knows. Whether the controller took it in.
    pub(super) fn report<L: Ledger + 'static>(&mut self, controller: Option<&Controller<L>>) -> bool {
        let Some(controller) = controller.filter(|_| self.up && self.reachable) else { return false };
        let silent = self.sabotage == Some(Sabotage::BusyIgnored);
        let build = |desk: &Desk| desk.build.filter(|_| !silent).and_then(|number| format!("b/{number}").parse().ok());
        let said = self.desks.iter().map(|(name, desk)| {
            let report = WorkerReport {
                request: desk.request.clone(),
                wanted: desk.session != Session::None,
                attached: desk.attached,
                build: build(desk),
                leaving: desk.leaving,
                smoke: desk.smoked.clone(),
            };
            (name.clone(), report)
        });
        controller.report(&self.id, &Report { workers: said.collect() }).is_ok()
    }
}

/// Whether a worker that this master does not remember may be taken over.
fn adoptable(view: &WorkerView) -> bool {
    view.order.is_none() && matches!(view.state.as_str(), "registering" | "ready" | "busy")
}
