//! Records as they may grow: whatever can happen, in any order.

use chrono::{DateTime, TimeDelta, Utc};
use latent::model::{
    Actor, Attempt, Body, Built, Canary, Cause, Cell, Entry, Failure, FailureKind, Fleet, FoldError, InstanceId, Phase,
    StopMode, WorkerName,
};
use latent::plan::{Chosen, launch_spec};
use latent::policy::Intent;
use proptest::prelude::*;

use crate::harness::{morning, worker};
use crate::setup::Setup;

pub(crate) const WORKERS: [&str; 4] = ["w1", "w2", "w3", "forgotten"];

/// What instances of w3 are given.
const EQUIPMENT: &str = "elastic_ip = \"203.0.113.9\"\nvolumes = [{ id = \"vol-1\", device = \"/dev/sdf\" }]";

pub(crate) fn intent() -> Intent {
    let lines = "zones = [\"us-west-2a\", \"us-west-2b\"]";
    let setup = Setup::new().owner("bob", "222222222222").image("debian", "alice", "us-west-2", lines);
    let setup = setup.image("fedora", "alice", "us-west-2", "").worker("w2", "fedora");
    setup.image("windows", "bob", "us-west-2", EQUIPMENT).worker("w3", "windows").fleet("instances_max = 2").intent()
}

pub(crate) fn cell(owner: &str) -> Cell {
    Cell { owner: owner.parse().expect("an owner"), region: "us-west-2".parse().expect("a region") }
}

/// A record that grows by what may follow.
pub(crate) struct Record {
    pub(crate) intent: Intent,
    pub(crate) fleet: Fleet,
    pub(crate) now: DateTime<Utc>,
    pub(crate) ids: Vec<InstanceId>,
    pub(crate) entries: Vec<Entry>,
}

fn mode(variant: bool) -> StopMode {
    if variant { StopMode::Plain } else { StopMode::Hibernate }
}

impl Record {
    pub(crate) fn new() -> Self {
        Self { intent: intent(), fleet: Fleet::default(), now: morning(), ids: Vec::new(), entries: Vec::new() }
    }

    fn fresh_id(&mut self) -> InstanceId {
        let id: InstanceId = format!("i-{:04}", self.ids.len()).parse().expect("an id");
        self.ids.push(id.clone());
        id
    }

    pub(crate) fn add(&mut self, body: Body) -> Result<(), FoldError> {
        let entry = Entry { seq: self.fleet.seq + 1, at: self.now, actor: Actor::Controller, body };
        self.fleet.apply(&entry)?;
        self.entries.push(entry);
        Ok(())
    }

    pub(crate) fn attempt(&self, name: &WorkerName, adopted: bool) -> Attempt {
        let image =
            self.intent.workers.get(name).map_or_else(|| "debian".parse().expect("a name"), |w| w.image.clone());
        let configured = self.intent.workers.get(name).unwrap_or_else(|| &self.intent.workers[&worker("w1")]);
        let manifest = &self.intent.images[&image];
        let id = format!("{}-{}", self.now.timestamp(), self.fleet.seq).parse().expect("an attempt id");
        let ami = manifest.ami.named().expect("it names one");
        let chosen = Chosen { image: manifest, ami, offering: &manifest.offerings[0], canary: None };
        let spec = launch_spec(self.now, &self.intent, name, configured, chosen, &id);
        let cell = configured.cell.clone();
        Attempt { id, cell, image, created: self.now, spec: (!adopted).then(|| Box::new(spec)) }
    }

    fn canary(&self, smoke: bool) -> Canary {
        let rebake = format!("rb{}", self.fleet.seq / 8).parse().expect("a rebake id");
        let (ami, smoke) = ("ami-new".parse().expect("an AMI id"), smoke.then(|| "smoke".to_owned()));
        Canary { rebake, ami, generation: 2, smoke, connect_deadline_s: None, now: self.fleet.seq.is_multiple_of(3) }
    }

    /// The attempt of the canary that is asked of a worker.
    fn attempt_of(&self, name: &WorkerName) -> Option<Attempt> {
        let order = self.fleet.workers.get(name)?.canary.as_ref()?.order.clone();
        let configured = self.intent.workers.get(name)?;
        let image = &self.intent.images[&configured.image];
        let ordinary = self.attempt(name, false);
        let chosen = Chosen { image, ami: &order.ami, offering: &image.offerings[0], canary: Some(&order) };
        let spec = launch_spec(self.now, &self.intent, name, configured, chosen, &ordinary.id);
        Some(Attempt { spec: Some(Box::new(spec)), ..ordinary })
    }

    /// One step; what does not follow is left out.
    pub(crate) fn step(&mut self, step: &Step) {
        self.now += TimeDelta::seconds(step.seconds);
        let name = worker(WORKERS[step.worker]);
        let bound = self.fleet.workers.get(&name).and_then(|w| w.state.instance().cloned());
        if let Some(body) = self.body(step, name, bound) {
            let _ = self.add(body);
        }
    }

    fn body(&mut self, step: &Step, worker: WorkerName, bound: Option<InstanceId>) -> Option<Body> {
        let failure = |phase, kind| Failure::new(phase, kind, "Code", "message");
        let cause = if step.variant { Cause::Idle } else { Cause::Released };
        Some(match step.kind {
            0 | 1 => Body::Requested { worker, request: format!("r{}", self.fleet.seq).parse().expect("an id") },
            2 => Body::Released { worker, cause },
            3 => Body::RequestFailed { worker, failure: failure(Phase::Connect, FailureKind::NotConnected) },
            4 | 5 => Body::LaunchIntended { attempt: Box::new(self.attempt(&worker, false)), worker },
            6 | 7 => Body::Launched { worker, instance: self.fresh_id() },
            8 => {
                let kind = if step.variant { FailureKind::Elsewhere } else { FailureKind::Owner };
                Body::LaunchRefused { worker, failure: failure(Phase::Launch, kind) }
            }
            9 => {
                let (attempt, instance) = (Box::new(self.attempt(&worker, true)), self.fresh_id());
                Body::Adopted { attempt, worker, instance, seen: None }
            }
            10 => Body::Running { worker, instance: bound?, seen: None },
            11 | 12 => Body::Attached { worker },
            13 => Body::Detached { worker },
            14 => Body::BuildStarted { worker, build: "b/1".parse().expect("a build") },
            15 => Body::BuildFinished { worker },
            16 => Body::DrainOrdered { worker, cause },
            17 => {
                let cell = self.fleet.workers.get(&worker)?.attempt.as_ref()?.cell.clone();
                let (instance, worker, seen, silent_since) = (bound?, Some(worker), None, None);
                Body::TerminateIntended { instance, cell, worker, cause, seen, silent_since }
            }
            18 => Body::TerminateAccepted { instance: self.ids.last()?.clone() },
            19 => Body::StopIntended { worker, instance: bound?, cause, mode: mode(step.variant) },
            20 => Body::StopSeen { worker, instance: bound?, stopped_at: None, ran_until: None },
            21 => Body::StartIntended { worker, instance: bound? },
            22 => lost(worker, bound?),
            23 => departed(self.fleet.departing.keys().next()?),
            24 => {
                let kind = if step.variant { FailureKind::Elsewhere } else { FailureKind::Owner };
                Body::StartRefused { worker, instance: bound?, failure: failure(Phase::Launch, kind) }
            }
            25 => Body::HoldSet { worker, until: self.now + TimeDelta::minutes(20) },
            26 => {
                let attempt = self.fleet.workers.get(&worker)?.attempt.as_ref()?;
                let what = attempt.spec.as_ref()?.equipment().into_iter().nth(usize::from(step.variant))?;
                let instance = bound?;
                match step.seconds % 3 {
                    0 => Body::EquipIntended { worker, instance, what },
                    1 => Body::Equipped { worker, instance, what, ip: Some("203.0.113.9".to_owned()) },
                    _ => {
                        let failure = failure(Phase::Equip, FailureKind::Owner);
                        Body::EquipRefused { worker, instance, what, failure }
                    }
                }
            }
            27 => Body::RequestFailed { worker, failure: failure(Phase::Equip, FailureKind::Owner) },
            28 => Body::InterruptionNoticed { worker, instance: bound? },
            30 => Body::CanarySet { worker, canary: Box::new(self.canary(step.variant)) },
            31 | 32 => Body::LaunchIntended { attempt: Box::new(self.attempt_of(&worker)?), worker },
            33 => Body::DrainOrdered { worker, cause: Cause::Canary },
            34 => {
                let built = Built { build: "smoke/1".parse().expect("a build"), results: u8::from(step.variant) * 2 };
                Body::CanaryBuilt { worker, built }
            }
            35 => {
                let failure = failure(Phase::Connect, FailureKind::Candidate);
                Body::CanaryFailed { worker, rebake: self.canary(step.variant).rebake, failure }
            }
            36 => Body::CanaryEnded { worker, rebake: self.canary(step.variant).rebake, why: None },
            _ => Body::HoldReleased { worker },
        })
    }
}

fn departed(instance: &InstanceId) -> Body {
    Body::Departed { instance: instance.clone(), ended_at: None, ran_until: None, seen: None }
}

fn lost(worker: WorkerName, instance: InstanceId) -> Body {
    Body::Lost {
        worker,
        instance,
        cause: Cause::Lost,
        reason: "test".to_owned(),
        ended_at: None,
        ran_until: None,
        seen: None,
    }
}

/// One thing that may happen next.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    kind: u8,
    worker: usize,
    variant: bool,
    seconds: i64,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..37_u8, 0..WORKERS.len(), any::<bool>(), prop_oneof![0..5_i64, 0..2000_i64]);
    let step = step.prop_map(|(kind, worker, variant, seconds)| Step { kind, worker, variant, seconds });
    proptest::collection::vec(step, 0..120)
}
