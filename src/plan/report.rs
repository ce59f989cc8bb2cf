//! What a master says of its workers, as facts for the ledger, and what it is asked to do.

use std::collections::BTreeMap;

use crate::model::{
    Body, BuildId, Built, CanaryPhase, Cause, Fleet, MasterId, RebakeId, RequestId, Worker, WorkerName, WorkerState,
};

/// Everything a master knows of its latent workers at one moment. Said whole each time, so that a
/// lost report costs one period and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// By worker.
    pub workers: BTreeMap<WorkerName, WorkerReport>,
}

/// What a master knows of one worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerReport {
    /// The last request the master made for it, if it remembers one.
    pub request: Option<RequestId>,
    /// Whether the master wants it.
    pub wanted: bool,
    /// Whether it is connected.
    pub attached: bool,
    /// The build it runs.
    pub build: Option<BuildId>,
    /// Whether the worker itself asked for a graceful shutdown.
    pub leaving: bool,
    /// How the smoke build of its canary ended, and for which rebake it was run.
    pub smoke: Option<(RebakeId, Built)>,
}

/// Whose workers are: one master uses a worker at a time, and what another says of it has no influence.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "it holds functions")]
pub struct Standing<'a> {
    /// Whose a worker is by its declaration, where the record does not say.
    pub declared_by: &'a dyn Fn(&WorkerName) -> Option<MasterId>,
    /// Whether the master that a worker was last of has been silent for longer than `master_silence`.
    pub silent: &'a dyn Fn(&WorkerName) -> bool,
}

impl Standing<'_> {
    /// The master that uses a worker: it has asked for it or has an instance of it, and has not been silent
    /// for long, unless it is known to run a build there.
    pub fn user(&self, fleet: &Fleet, name: &WorkerName) -> Option<MasterId> {
        let worker = fleet.workers.get(name)?;
        let used = worker.wanted() || worker.in_service();
        (used && (worker.build.is_some() || !(self.silent)(name))).then(|| self.last(name, worker)).flatten()
    }

    /// The other master that uses a worker, if one does.
    pub fn elsewhere(&self, fleet: &Fleet, name: &WorkerName, master: &MasterId) -> Option<MasterId> {
        self.user(fleet, name).filter(|user| user != master)
    }

    /// Whether what a master says of a worker has influence. Of one that another master uses it has none, and
    /// of one that another has left behind, a connection alone has: that makes it the speaker's.
    pub fn counts(&self, fleet: &Fleet, name: &WorkerName, master: &MasterId, said: &WorkerReport) -> bool {
        let Some(worker) = fleet.workers.get(name) else { return true };
        let left_behind = self.last(name, worker).is_some_and(|last| last != *master);
        !left_behind || (said.attached && self.elsewhere(fleet, name, master).is_none())
    }

    /// The master that a worker was last of, using it or not.
    fn last(&self, name: &WorkerName, worker: &Worker) -> Option<MasterId> {
        worker.master.clone().or_else(|| (self.declared_by)(name))
    }
}

/// What changed, by this report.
pub fn changes(fleet: &Fleet, master: &MasterId, report: &Report, standing: &Standing<'_>) -> Vec<Body> {
    let mut all = Vec::new();
    for (name, said) in &report.workers {
        let Some(worker) = fleet.workers.get(name) else { continue };
        if standing.counts(fleet, name, master, said) {
            let taken_over = worker.master.as_ref().is_some_and(|last| last != master);
            all.extend(of_worker(name, worker, said, taken_over));
        }
    }
    all
}

fn of_worker(name: &WorkerName, worker: &Worker, said: &WorkerReport, taken_over: bool) -> Vec<Body> {
    let mut all = Vec::new();
    let in_service = match worker.state {
        WorkerState::Registering { .. }
        | WorkerState::Ready { .. }
        | WorkerState::Busy { .. }
        | WorkerState::Draining { .. } => true,
        WorkerState::Requested
        | WorkerState::Launching { .. }
        | WorkerState::Terminating { .. }
        | WorkerState::Stopped { .. }
        | WorkerState::Gone { .. } => false,
    };
    if in_service && !worker.stop_intended {
        if said.attached && (taken_over || !worker.attached) {
            all.push(Body::Attached { worker: name.clone() });
        }
        match (&said.build, &worker.build) {
            (Some(build), now) if said.attached && Some(build) != now.as_ref() => {
                all.push(Body::BuildStarted { worker: name.clone(), build: build.clone() });
            }
            (None, Some(_)) if said.attached => all.push(Body::BuildFinished { worker: name.clone() }),
            _ => {}
        }
        all.extend(smoke_build(name, worker, said));
    }
    if in_service && (!worker.stop_intended || worker.is_canary()) && !said.attached && worker.attached {
        all.push(Body::Detached { worker: name.clone() });
    }
    let drains = matches!(worker.state, WorkerState::Draining { .. });
    if in_service && !drains && said.attached && said.leaving {
        all.push(Body::DrainOrdered { worker: name.clone(), cause: Cause::Leaving });
    }
    // A stop that was never heard: the master no longer wants what it asked for by this very request.
    let same_request = said.request.is_some() && said.request == worker.last_request;
    // What is a canary no request asked for.
    let something_left = worker.request.is_some() || (in_service && !worker.is_canary());
    if !said.wanted && !said.attached && same_request && something_left && worker.released.is_none() {
        all.push(Body::Released { worker: name.clone(), cause: Cause::Released });
    }
    all
}

/// The end of the smoke build that the worker's canary waits for.
fn smoke_build(name: &WorkerName, worker: &Worker, said: &WorkerReport) -> Option<Body> {
    let (rebake, built) = said.smoke.as_ref()?;
    let canary = worker.canary.as_ref().filter(|canary| !canary.is_over() && worker.is_canary())?;
    let awaited = canary.order.smoke.is_some()
        && canary.built.is_none()
        && canary.order.rebake == *rebake
        && canary.phase <= CanaryPhase::Building;
    awaited.then(|| Body::CanaryBuilt { worker: name.clone(), built: built.clone() })
}

/// What a master is asked to do with a worker: `drain` means to let it go when no build runs on it.
pub fn order_of(worker: &Worker) -> Option<&'static str> {
    let interrupted = worker.interruption.is_some() && worker.state.instance().is_some();
    (interrupted || matches!(worker.state, WorkerState::Draining { .. })).then_some("drain")
}
