//! The fold: entries in, runs out.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::kept::{Past, forget};
use super::track::Life;
use super::{Ended, Run, Use};
use crate::model::{
    Actor, Attempt, Body, Cause, Cell, Entry, Equipment, InstanceId, InstanceState, Sight, WorkerName, tag_keys,
};

/// The runs of a ledger, kept as its entries come.
///
/// It takes entries in their order and one by one, so that a controller may keep one beside its record, and never
/// fails: an entry that does not fit is passed over. With [`Meter::forget_before`] it does not grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meter {
    /// By a number that grows with each launch.
    pub(super) lives: BTreeMap<u64, Life>,
    pub(super) next: u64,
    /// The last run of each instance.
    pub(super) by_instance: BTreeMap<InstanceId, u64>,
    /// The runs of each worker, in the order of their launches.
    pub(super) by_worker: BTreeMap<WorkerName, Vec<u64>>,
    pub(super) desks: BTreeMap<WorkerName, Desk>,
    pub(super) last_at: Option<DateTime<Utc>>,
}

/// What is known of a worker whether it has an instance or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Desk {
    /// The request that waits: when it came, and from whom.
    request: Option<(DateTime<Utc>, String)>,
    held: bool,
    /// The run that serves it, or may.
    present: Option<u64>,
}

impl Meter {
    /// Takes in the next entry. Gives the number of the run that it ends, if it ends one.
    pub fn take(&mut self, entry: &Entry) -> Option<u64> {
        let (at, mut over) = (entry.at, None);
        match &entry.body {
            Body::ControllerStarted { .. } => self.comes_back(at),
            Body::ControllerStopped {} => self.each_living(|life| life.run.silent_since = Some(at)),
            body => {
                self.desk(at, &entry.actor, body);
                over = self.birth(at, body);
                self.instance(at, body);
                over = self.ending(at, body).or(over);
                self.master(at, body);
            }
        }
        self.last_at = Some(at);
        over
    }

    /// All runs that are kept, in the order of their launches. Those whose launch was refused have no segments.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.lives.values().map(|life| &life.run)
    }

    /// The same, each with its number: an instance that was lost and found again has two runs.
    pub fn numbered(&self) -> impl Iterator<Item = (u64, &Run)> {
        self.lives.iter().map(|(number, life)| (*number, &life.run))
    }

    /// The runs of one worker, in the order of their launches.
    pub fn runs_of(&self, worker: &WorkerName) -> impl Iterator<Item = &Run> {
        let keys = self.by_worker.get(worker).map(Vec::as_slice).unwrap_or_default();
        keys.iter().filter_map(|key| self.lives.get(key)).map(|life| &life.run)
    }

    /// The run of an instance, the last one if it has several.
    pub fn run_of(&self, instance: &InstanceId) -> Option<&Run> {
        self.by_instance.get(instance).and_then(|key| self.lives.get(key)).map(|life| &life.run)
    }

    /// When the last entry was written.
    pub fn last_at(&self) -> Option<DateTime<Utc>> {
        self.last_at
    }

    /// Forgets what was over before a time, and of living runs what lies before it. A window that begins at that
    /// time or later has the same sums as before. Gives what it forgot.
    pub fn forget_before(&mut self, at: DateTime<Utc>) -> Past {
        let past = forget(&mut self.lives, at);
        let lives = &self.lives;
        self.by_instance.retain(|_, key| lives.contains_key(key));
        for keys in self.by_worker.values_mut() {
            keys.retain(|key| lives.contains_key(key));
        }
        self.by_worker.retain(|_, keys| !keys.is_empty());
        for desk in self.desks.values_mut() {
            desk.present = desk.present.filter(|key| lives.contains_key(key));
        }
        self.desks.retain(|_, desk| *desk != Desk::default());
        past
    }

    fn each_living(&mut self, change: impl Fn(&mut Life)) {
        self.lives.values_mut().filter(|life| life.run.ended.is_none()).for_each(change);
    }

    fn comes_back(&mut self, at: DateTime<Utc>) {
        let Some(last) = self.last_at else { return };
        self.each_living(|life| life.gap(last, at));
    }

    /// What becomes of a worker's wish, whether it has an instance or not.
    fn desk(&mut self, at: DateTime<Utc>, actor: &Actor, body: &Body) {
        let Some(name) = body.worker() else { return };
        if matches!(body, Body::TurnedAway { .. }) {
            return;
        }
        let desk = self.desks.entry(name.clone()).or_default();
        match body {
            // What the controller wants by itself a warm window wants.
            Body::Requested { .. } if *actor == Actor::Controller => {
                desk.request = Some((at, "controller (warm window)".to_owned()));
            }
            Body::Requested { .. } => desk.request = Some((at, words(actor))),
            Body::Released { .. } | Body::RequestFailed { .. } => desk.request = None,
            Body::HoldSet { .. } => desk.held = true,
            Body::HoldReleased { .. }
            | Body::StopSeen { .. }
            | Body::TerminateIntended { .. }
            | Body::Lost { .. }
            | Body::StartRefused { .. } => desk.held = false,
            _ => return,
        }
        if matches!(body, Body::HoldSet { .. } | Body::HoldReleased { .. })
            && let Some(life) = desk.present.and_then(|key| self.lives.get_mut(&key))
        {
            life.settle(at, desk.held);
        }
    }

    fn insert(&mut self, life: Life) -> u64 {
        self.next += 1;
        if let Some(id) = &life.run.instance {
            self.by_instance.insert(id.clone(), self.next);
        }
        if let Some(worker) = &life.run.worker {
            self.by_worker.entry(worker.clone()).or_default().push(self.next);
        }
        self.lives.insert(self.next, life);
        self.next
    }

    fn present(&mut self, worker: &WorkerName) -> Option<(&mut Life, &Desk)> {
        let desk = self.desks.get(worker)?;
        let life = self.lives.get_mut(&desk.present?).filter(|life| life.run.ended.is_none())?;
        Some((life, desk))
    }

    /// A run that lives, with whether its worker is held.
    fn life_of(&mut self, instance: &InstanceId) -> Option<(&mut Life, bool)> {
        let key = self.by_instance.get(instance)?;
        let life = self.lives.get_mut(key).filter(|life| life.run.ended.is_none())?;
        let desk = life.run.worker.as_ref().and_then(|worker| self.desks.get(worker));
        let held = desk.is_some_and(|desk| desk.held && desk.present == Some(*key));
        Some((life, held))
    }

    /// When an instance that was thought to be over was last accounted for.
    fn over_at(&self, instance: &InstanceId) -> Option<DateTime<Utc>> {
        self.run_of(instance).and_then(|run| run.ended.as_ref()).map(|ended| ended.at)
    }

    fn birth(&mut self, at: DateTime<Utc>, body: &Body) -> Option<u64> {
        match body {
            Body::LaunchIntended { worker, attempt } => {
                let desk = self.desks.entry(worker.clone()).or_default();
                let mut life = Life::new(launched(worker, attempt, desk.request.as_ref()), at);
                life.starts(at, life.run.requested);
                life.begins(at, Use::Boot);
                let held = desk.held;
                life.settle(at, held);
                let key = self.insert(life);
                self.desks.entry(worker.clone()).or_default().present = Some(key);
            }
            Body::Launched { worker, instance } => {
                let key = self.desks.get(worker).and_then(|desk| desk.present)?;
                let life = self.lives.get_mut(&key).filter(|life| life.run.instance.is_none())?;
                life.run.instance = Some(instance.clone());
                life.run.launched = Some(at);
                self.by_instance.insert(instance.clone(), key);
            }
            Body::LaunchRefused { worker, failure } => {
                let (life, desk) = self.present(worker)?;
                if life.run.instance.is_none() {
                    life.run.segments.clear();
                    life.run.starts.clear();
                    let reason = Some(failure.code.clone());
                    life.run.ended = Some(Ended { at, cause: Cause::LaunchFailed, reason });
                    return desk.present;
                }
            }
            Body::Adopted { worker, attempt, instance, seen } => {
                self.adopt(at, worker, attempt, instance, seen.as_deref());
            }
            _ => {}
        }
        None
    }

    fn adopt(
        &mut self,
        at: DateTime<Utc>,
        worker: &WorkerName,
        attempt: &Attempt,
        id: &InstanceId,
        seen: Option<&Sight>,
    ) {
        let born = attempt.created.max(self.over_at(id).unwrap_or(attempt.created)).min(at);
        let mut run = launched(worker, attempt, None);
        (run.instance, run.launched, run.adopted) = (Some(id.clone()), Some(born), true);
        let mut life = Life::new(run, at);
        life.begins(born, Use::Unknown);
        if seen.and_then(|seen| seen.state.as_ref()) != Some(&InstanceState::Stopped) {
            let since = seen.and_then(|seen| seen.launch_time);
            life.starts(since.map_or(born, |since| since.clamp(born, at)), Some(at));
            if runs(seen) {
                life.runs(at, since);
            }
        }
        if let Some(seen) = seen {
            life.be_seen(seen);
        }
        let held = self.desks.get(worker).is_some_and(|desk| desk.held);
        life.settle(at, held);
        let key = self.insert(life);
        self.desks.entry(worker.clone()).or_default().present = Some(key);
    }

    /// What is seen of an instance that is used, or kept.
    fn instance(&mut self, at: DateTime<Utc>, body: &Body) {
        match body {
            Body::Running { instance, seen, .. } => {
                let Some((life, held)) = self.life_of(instance) else { return };
                life.goes_on(at);
                life.runs(at, seen.as_ref().and_then(|seen| seen.launch_time));
                if let Some(seen) = seen {
                    life.be_seen(seen);
                }
                life.settle(at, held);
            }
            Body::Equipped { instance, what: Equipment::Address(_), .. } => {
                if let Some((life, _)) = self.life_of(instance) {
                    life.run.public_address = Some(true);
                }
            }
            Body::StopIntended { instance, cause, mode, .. } => {
                let Some((life, held)) = self.life_of(instance) else { return };
                life.goes_on(at);
                life.may_stop(at, *mode);
                life.cause = Some(cause.clone());
                life.settle(at, held);
            }
            Body::CallRefused { instance, failure } => {
                if let Some((life, _)) = self.life_of(instance) {
                    life.was_refused(&failure.code);
                }
            }
            Body::StopSeen { instance, stopped_at, ran_until, .. } => {
                let Some((life, held)) = self.life_of(instance) else { return };
                let refused = life.run.starts.last().is_some_and(|start| start.seen.is_none());
                life.found(at, stopped_at.filter(|_| !refused), Use::Drain);
                life.halts(at, *stopped_at, *ran_until);
                life.wrote_its_memory(at);
                life.stopped = true;
                life.settle(at, held);
            }
            Body::StartIntended { instance, worker } => {
                let wanted = self.desks.get(worker).and_then(|desk| desk.request.clone());
                let Some((life, held)) = self.life_of(instance) else { return };
                life.goes_on(at);
                if let Some((_, by)) = &wanted {
                    life.run.wanted_by = Some(by.clone());
                }
                life.starts(at, wanted.map(|(asked, _)| asked));
                life.settle(at, held);
            }
            Body::StartRefused { instance, .. } => {
                let Some((life, held)) = self.life_of(instance) else { return };
                life.never_started(at);
                life.settle(at, held);
            }
            _ => {}
        }
    }

    /// The ends of instances.
    fn ending(&mut self, at: DateTime<Utc>, body: &Body) -> Option<u64> {
        match body {
            Body::TerminateIntended { instance, cell, cause, seen, worker, silent_since } => {
                if self.life_of(instance).is_none() {
                    self.found_stray(at, instance, cell, worker.as_ref(), seen.as_deref());
                }
                let (life, held) = self.life_of(instance)?;
                life.goes_on(at);
                if life.accepted.is_some() {
                    life.may_run_on();
                }
                if let Some(seen) = seen.as_deref().filter(|_| life.stopped && *cause == Cause::Orphan) {
                    // Recorded as stopped, it was started by somebody else.
                    let since = seen.launch_time.filter(|since| *since < at).unwrap_or(at);
                    life.run.turned(since, Use::Zombie);
                    life.zombie = true;
                    life.starts(since, None);
                    life.runs(at, None);
                }
                if let Some(since) = silent_since {
                    life.is_unheard(*since);
                }
                life.leaving.get_or_insert(at);
                life.cause.get_or_insert_with(|| cause.clone());
                life.settle(at, held);
            }
            Body::TerminateAccepted { instance } => {
                let (life, _) = self.life_of(instance)?;
                life.ends(at);
            }
            Body::Departed { instance, ended_at, ran_until, seen } => {
                let (life, _) = self.life_of(instance)?;
                if let Some(seen) = seen {
                    life.be_seen(seen);
                }
                life.is_gone(at, *ended_at, *ran_until);
                return self.close(at, instance, None, None);
            }
            Body::Lost { instance, cause, reason, ended_at, ran_until, seen, .. } => {
                let (life, _) = self.life_of(instance)?;
                if let Some(seen) = seen {
                    life.be_seen(seen);
                }
                life.found(at, *ended_at, Use::Drain);
                life.is_gone(at, *ended_at, *ran_until);
                return self.close(at, instance, Some(cause), Some(reason));
            }
            _ => {}
        }
        None
    }

    /// An instance that no record explains is about to be ended: it was a zombie from its beginning.
    fn found_stray(
        &mut self,
        at: DateTime<Utc>,
        id: &InstanceId,
        cell: &Cell,
        worker: Option<&WorkerName>,
        seen: Option<&Sight>,
    ) {
        let told = seen.into_iter().flat_map(|seen| [seen.attached_at, seen.launch_time]).flatten().min();
        let born = told.unwrap_or(at).max(self.over_at(id).unwrap_or(DateTime::<Utc>::MIN_UTC)).min(at);
        let mut run = Run::new(cell.clone());
        (run.instance, run.launched, run.stray) = (Some(id.clone()), told, true);
        run.worker = worker.or_else(|| seen.and_then(|seen| seen.worker.as_ref())).cloned();
        let mut life = Life::new(run, born);
        life.zombie = true;
        life.begins(born, Use::Zombie);
        let asleep = [InstanceState::Stopped, InstanceState::Stopping];
        if seen.and_then(|seen| seen.state.as_ref()).is_some_and(|state| asleep.contains(state)) {
            life.stopped = true;
        } else {
            let since = seen.and_then(|seen| seen.launch_time);
            life.starts(since.map_or(born, |since| since.clamp(born, at)), None);
            if runs(seen) {
                life.runs(at, None);
            }
        }
        if let Some(seen) = seen {
            life.be_seen(seen);
        }
        self.insert(life);
    }

    fn close(
        &mut self,
        at: DateTime<Utc>,
        instance: &InstanceId,
        cause: Option<&Cause>,
        reason: Option<&String>,
    ) -> Option<u64> {
        let (life, _) = self.life_of(instance)?;
        let cause = life.cause.clone().or_else(|| cause.cloned()).unwrap_or(Cause::Lost);
        life.run.ended = Some(Ended { at, cause, reason: reason.cloned() });
        life.run.close(at);
        self.by_instance.get(instance).copied()
    }

    /// What a master says of its worker.
    fn master(&mut self, at: DateTime<Utc>, body: &Body) {
        let Some(worker) = body.worker() else { return };
        match body {
            Body::DrainOrdered { .. } => {
                let Some((life, desk)) = self.present(worker) else { return };
                life.goes_on(at);
                life.draining = true;
                life.settle(at, desk.held);
            }
            Body::Attached { .. } => {
                let Some((life, desk)) = self.present(worker) else { return };
                life.found(at, None, Use::Unknown);
                life.runs(at, None);
                if !life.connected {
                    let asked = life.asked;
                    life.run.connects.push((asked, at));
                }
                life.connected = true;
                life.settle(at, desk.held);
                let canary = life.run.canary;
                if let Some(desk) = self.desks.get_mut(worker).filter(|_| !canary) {
                    desk.request = None;
                }
            }
            Body::BuildStarted { .. } => {
                let Some((life, desk)) = self.present(worker) else { return };
                life.found(at, None, Use::Unknown);
                life.building = true;
                life.run.builds.push(at);
                life.settle(at, desk.held);
            }
            Body::BuildFinished { .. } | Body::Detached { .. } => {
                let Some((life, desk)) = self.present(worker) else { return };
                life.found(at, None, Use::Unknown);
                life.building = false;
                if matches!(body, Body::Detached { .. }) {
                    life.is_lost();
                }
                life.settle(at, desk.held);
            }
            _ => {}
        }
    }
}

fn words(actor: &Actor) -> String {
    match actor {
        Actor::Controller => "controller".to_owned(),
        Actor::Cloud => "cloud".to_owned(),
        Actor::Master(master) => format!("master {master}"),
        Actor::Operator => "operator".to_owned(),
    }
}

fn runs(seen: Option<&Sight>) -> bool {
    seen.is_some_and(|seen| seen.state == Some(InstanceState::Running))
}

/// What an attempt says of the run that it begins.
fn launched(worker: &WorkerName, attempt: &Attempt, request: Option<&(DateTime<Utc>, String)>) -> Run {
    let mut run = Run::new(attempt.cell.clone());
    run.worker = Some(worker.clone());
    run.image = Some(attempt.image.clone());
    run.canary = attempt.is_canary();
    if let Some(spec) = &attempt.spec {
        run.ami = Some(spec.ami.clone());
        run.instance_type = Some(spec.offering.instance_type.clone());
        run.market = Some(spec.offering.market);
        run.block_devices.clone_from(&spec.block_devices);
        run.shutdown = Some(spec.shutdown);
        if run.canary {
            run.wanted_by = spec.tags.get(tag_keys::REBAKE).map(|rebake| format!("rebake {rebake}"));
        }
    }
    if let Some((at, by)) = request.filter(|_| !run.canary) {
        (run.requested, run.wanted_by) = (Some(*at), Some(by.clone()));
    }
    run
}
