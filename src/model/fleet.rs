//! What the ledger says, folded: every worker, and every instance whose end was intended.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::fleet_index::{FleetIndex, Traits};
use super::{
    Actor, AmiId, AttemptId, Body, BuildId, CanaryState, Cause, Cell, Crossed, Departing, Entry, Equipment, Failure,
    FailureKind, FoldError, Generation, Hibernation, History, IllegalEvent, ImageName, InstanceId, LaunchSpec,
    MasterId, Offering, OwnerName, Phase, RequestId, Role, WorkerEvent, WorkerName, WorkerState, generation, pairs,
    tag_keys, worker,
};

/// A request of a master that is not answered yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// When it came.
    pub at: DateTime<Utc>,
}

/// One try to have an instance for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// Where.
    pub cell: Cell,
    /// From which manifest.
    pub image: ImageName,
    /// When it was intended; the age of its instance counts from here.
    pub created: DateTime<Utc>,
    /// What was sent; absent for an adopted instance.
    pub spec: Option<Box<LaunchSpec>>,
}

impl Attempt {
    /// Whether what it launches is a canary.
    pub fn is_canary(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.tags.get(tag_keys::ROLE) == Some(Role::Canary.as_str()))
    }
}

/// An operator's wish to keep an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorHold {
    /// Until when.
    pub until: DateTime<Utc>,
}

/// A worker as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Worker {
    /// Its state.
    pub state: WorkerState,
    /// Since when it is in that state.
    pub since: DateTime<Utc>,
    /// The request that waits for an answer.
    pub request: Option<Request>,
    /// The last request's id, answered or not.
    pub last_request: Option<RequestId>,
    /// The master that last asked for it, or that saw it connected; none if an operator asked.
    pub master: Option<MasterId>,
    /// The answer to the last request, if it was a failure.
    pub failure: Option<Failure>,
    /// Set when the master let go and the instance has yet to be taken away.
    pub released: Option<Cause>,
    /// The present, or last, attempt.
    pub attempt: Option<Attempt>,
    /// Whether its master sees it connected.
    pub attached: bool,
    /// The build it runs.
    pub build: Option<BuildId>,
    /// Whether the present instance was seen running.
    pub running: bool,
    /// When an instance of it was first seen running after its last launch or start.
    pub last_ran: Option<DateTime<Utc>>,
    /// What became of giving the present instance what its manifest says.
    pub equipping: Equipping,
    /// When EC2 was first seen to take the present instance back.
    pub interruption: Option<DateTime<Utc>>,
    /// When its instance was last started again, if it was.
    pub started: Option<DateTime<Utc>>,
    /// Whether a stop call was intended for the present instance.
    pub stop_intended: bool,
    /// What became of hibernating the present instance.
    pub hibernation: Hibernation,
    /// When the last start of the present instance was refused for good, and what was said.
    pub start_refused: Option<(DateTime<Utc>, Failure)>,
    /// Launches (or connects) that failed in a row.
    pub failures_in_a_row: u32,
    /// When the last of them was, and what it said.
    pub last_failure: Option<(DateTime<Utc>, Failure)>,
    /// An operator's hold.
    pub hold: Option<OperatorHold>,
    /// What a rebake asks of the worker's next instance, or of the present one.
    pub canary: Option<CanaryState>,
    /// Whether the present launch has neither connected nor failed yet; a canary's never counts.
    pub on_trial: bool,
    /// How many attempts were made in all.
    pub attempts: u64,
    /// What it was used for.
    pub history: History,
}

/// What became of giving an instance what its manifest says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Equipping {
    /// Since when the instance is there, or was started again.
    pub since: Option<DateTime<Utc>>,
    /// What it was given, when, and which address it has by it.
    #[serde(with = "pairs")]
    pub given: BTreeMap<Equipment, (DateTime<Utc>, Option<String>)>,
    /// What it was refused last, and why.
    #[serde(with = "pairs")]
    pub refused: BTreeMap<Equipment, Failure>,
    /// Since when it is tried to give it what it has not.
    #[serde(with = "pairs")]
    pub trying: BTreeMap<Equipment, DateTime<Utc>>,
}

/// What we remember of an offering that had no capacity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferingMemory {
    /// Refusals since it last worked.
    pub refusals: u32,
    /// The last one.
    pub last: DateTime<Utc>,
}

/// Everything the ledger says, folded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// The workers.
    pub workers: BTreeMap<WorkerName, Worker>,
    /// The instances whose end was intended.
    pub departing: BTreeMap<InstanceId, Departing>,
    /// The offerings that had no capacity.
    #[serde(with = "pairs")]
    pub offerings: BTreeMap<(Cell, Offering), OfferingMemory>,
    /// How launches from each AMI went.
    pub generations: BTreeMap<AmiId, Generation>,
    /// Which amounts of which budgets were crossed last.
    pub budgets: BTreeMap<OwnerName, Crossed>,
    /// The last entry's place.
    pub seq: u64,
    /// The last entry's time.
    pub last_at: Option<DateTime<Utc>>,
    /// Where to find what belongs to a cell or an instance; derived from the rest.
    #[serde(skip)]
    pub(super) index: FleetIndex,
}

impl Worker {
    /// A worker of whom nothing is recorded.
    pub fn unknown(at: DateTime<Utc>) -> Self {
        Self {
            state: WorkerState::Gone { cause: Cause::NeverStarted },
            since: at,
            request: None,
            last_request: None,
            master: None,
            failure: None,
            released: None,
            attempt: None,
            attached: false,
            build: None,
            running: false,
            last_ran: None,
            equipping: Equipping::default(),
            interruption: None,
            started: None,
            stop_intended: false,
            hibernation: Hibernation::default(),
            start_refused: None,
            failures_in_a_row: 0,
            last_failure: None,
            hold: None,
            canary: None,
            on_trial: false,
            attempts: 0,
            history: History::default(),
        }
    }

    /// Whether a master or an operator wants it and it is not let go.
    pub fn wanted(&self) -> bool {
        self.request.is_some()
    }

    /// Whether an instance serves it, or may: from the launch until the instance is let go of, stopped or lost.
    pub fn in_service(&self) -> bool {
        match self.state {
            WorkerState::Launching { .. }
            | WorkerState::Registering { .. }
            | WorkerState::Ready { .. }
            | WorkerState::Busy { .. }
            | WorkerState::Draining { .. } => true,
            WorkerState::Requested
            | WorkerState::Terminating { .. }
            | WorkerState::Stopped { .. }
            | WorkerState::Gone { .. } => false,
        }
    }

    fn next_state(&self, at: DateTime<Utc>, body: &Body) -> Result<WorkerState, IllegalEvent> {
        let Some(event) = worker::event_of(at, body) else { return Ok(self.state.clone()) };
        if matches!(event, WorkerEvent::CanaryIntended(_)) && !self.may_be_canary() {
            return Err(IllegalEvent { state: self.state.name(), event: event.name() });
        }
        self.state.apply(&event)
    }

    /// Whether its instance, or the launch whose outcome is open, is a canary.
    pub fn is_canary(&self) -> bool {
        let there = matches!(self.state, WorkerState::Launching { .. }) || self.state.instance().is_some();
        there && self.attempt.as_ref().is_some_and(Attempt::is_canary)
    }

    /// Whether a canary is asked for that is not over.
    pub fn may_be_canary(&self) -> bool {
        self.canary.as_ref().is_some_and(|canary| !canary.is_over())
    }

    /// Whose it is from this entry on. An operator's request for what nothing serves is nobody's, until a
    /// master sees the worker connected.
    fn note_master(&mut self, actor: &Actor, body: &Body) {
        match (body, actor) {
            (Body::Requested { .. } | Body::Attached { .. } | Body::BuildStarted { .. }, Actor::Master(master)) => {
                self.master = Some(master.clone());
            }
            (Body::Requested { .. }, _) if !self.in_service() && self.request.is_none() => self.master = None,
            _ => {}
        }
    }

    fn fold(&mut self, at: DateTime<Utc>, body: &Body, next: WorkerState) {
        let was_canary = self.is_canary();
        if next.name() != self.state.name() {
            self.since = at;
        }
        self.state = next;
        self.equip(at, body);
        self.hibernation = self.hibernation.after(body);
        match body {
            Body::Requested { request, .. } => {
                self.request = Some(Request { id: request.clone(), at });
                self.last_request = Some(request.clone());
                self.failure = None;
                self.released = None;
            }
            Body::Released { cause, .. } => self.be_released(cause, was_canary),
            Body::RequestFailed { failure, .. } => {
                if failure.phase != Phase::Launch {
                    self.note_refusal(at, failure);
                }
                self.request = None;
                self.failure = Some(failure.clone());
                if matches!(self.state, WorkerState::Launching { .. }) && !was_canary {
                    // Nobody waits any more for what this launch may still give.
                    self.released = Some(Cause::Withdrawn);
                }
            }
            Body::LaunchIntended { attempt, .. } | Body::Adopted { attempt, .. } => self.begin(attempt),
            Body::LaunchRefused { .. } if was_canary => {}
            Body::LaunchRefused { failure, .. } => self.note_refusal(at, failure),
            Body::Running { .. } => (self.running, self.last_ran) = (true, Some(at)),
            Body::InterruptionNoticed { instance, .. } => self.be_warned(at, instance),
            Body::Attached { .. } => self.attach(),
            Body::Detached { .. } => {
                self.attached = false;
                self.build = None;
            }
            Body::BuildStarted { build, .. } => {
                self.build = Some(build.clone());
                self.released = None;
            }
            Body::BuildFinished { .. } => self.build = None,
            Body::StopIntended { .. } => self.be_stopped(at),
            Body::StartIntended { .. } => self.restart(at),
            Body::StartRefused { instance, failure, .. } => self.stay_stopped(at, instance, failure),
            Body::StopSeen { .. } | Body::TerminateIntended { .. } | Body::Lost { .. } => self.leave_service(),
            Body::HoldSet { until, .. } => self.hold = Some(OperatorHold { until: *until }),
            Body::HoldReleased { .. } => self.hold = None,
            Body::ControllerStarted { .. }
            | Body::ControllerStopped {}
            | Body::Launched { .. }
            | Body::EquipIntended { .. }
            | Body::Equipped { .. }
            | Body::EquipRefused { .. }
            | Body::DrainOrdered { .. }
            | Body::TerminateAccepted { .. }
            | Body::Departed { .. }
            | Body::CallRefused { .. }
            | Body::RemoveIntended { .. }
            | Body::Removed { .. }
            | Body::RemoveRefused { .. }
            | Body::TurnedAway { .. }
            | Body::BudgetCrossed { .. }
            | Body::CanarySet { .. }
            | Body::CanaryBuilt { .. }
            | Body::CanaryFailed { .. }
            | Body::CanaryEnded { .. } => {}
        }
        self.note_canary(at, body, was_canary);
        self.settle(at);
    }

    /// The stop has its own deadline, whenever the drain began.
    fn be_stopped(&mut self, at: DateTime<Utc>) {
        if !self.stop_intended {
            self.since = at;
        }
        self.stop_intended = true;
    }

    fn be_released(&mut self, cause: &Cause, was_canary: bool) {
        self.request = None;
        // Who lets a worker go that is a canary does not mean it: only an operator can.
        let counts = !was_canary || *cause == Cause::Operator;
        self.released = (counts && self.holds_something()).then(|| cause.clone());
    }

    fn note_canary(&mut self, at: DateTime<Utc>, body: &Body, was: bool) {
        let own = was || self.is_canary() || matches!(body, Body::CanaryFailed { .. } | Body::CanaryEnded { .. });
        match (body, self.canary.as_mut().filter(|_| own)) {
            (Body::CanarySet { canary, .. }, _) if !was => self.canary = Some(CanaryState::new((**canary).clone())),
            (_, Some(canary)) => canary.note(at, body),
            (_, None) => {}
        }
    }

    /// Whether the instance of its present, or last, attempt was ever seen running.
    pub fn was_seen_running(&self) -> bool {
        let attempt = self.attempt.as_ref();
        attempt.zip(self.last_ran).is_some_and(|(attempt, ran)| attempt.created <= ran)
    }

    fn restart(&mut self, at: DateTime<Utc>) {
        self.started = Some(at);
        self.running = false;
        self.interruption = None;
        self.stop_intended = false;
        self.start_refused = None;
    }

    /// What becomes of giving the instance what its manifest says.
    fn equip(&mut self, at: DateTime<Utc>, body: &Body) {
        let own = &mut self.equipping;
        match body {
            Body::LaunchIntended { .. } => *own = Equipping::default(),
            Body::Adopted { .. } => *own = Equipping { since: Some(at), ..Equipping::default() },
            Body::Launched { .. } | Body::StartIntended { .. } => own.since = Some(at),
            Body::EquipIntended { what, .. } => {
                own.trying.entry(what.clone()).or_insert(at);
            }
            Body::Equipped { what, ip, .. } => {
                own.refused.remove(what);
                own.trying.remove(what);
                own.given.insert(what.clone(), (at, ip.clone()));
            }
            Body::EquipRefused { what, failure, .. } => {
                own.refused.insert(what.clone(), failure.clone());
            }
            _ => {}
        }
    }

    /// Brings state and request together: a worker without an instance is requested exactly while a
    /// request waits for it.
    fn settle(&mut self, at: DateTime<Utc>) {
        if self.canary.as_ref().is_some_and(|canary| canary.ended) && !self.is_canary() {
            self.canary = None;
        }
        let next = match (&self.state, &self.request) {
            (WorkerState::Gone { .. }, Some(_)) => WorkerState::Requested,
            (WorkerState::Requested, None) => WorkerState::Gone { cause: Cause::Withdrawn },
            _ => return,
        };
        self.state = next;
        self.since = at;
        self.released = None;
    }

    fn holds_something(&self) -> bool {
        matches!(self.state, WorkerState::Launching { .. })
            || (self.state.instance().is_some() && !matches!(self.state, WorkerState::Stopped { .. }))
    }

    fn begin(&mut self, attempt: &Attempt) {
        self.attempt = Some(attempt.clone());
        self.attempts += 1;
        self.running = false;
        self.interruption = None;
        self.attached = false;
        self.build = None;
        self.stop_intended = false;
        self.start_refused = None;
        self.started = None;
        self.on_trial = false;
    }

    fn attach(&mut self) {
        self.attached = true;
        if self.is_canary() {
            // Nobody waited for it, and of the AMI that the manifest names it says nothing.
            return;
        }
        // Kept by a hold, let go of, and taken into use again: what was said before is over.
        self.released = None;
        self.request = None;
        self.failures_in_a_row = 0;
        self.last_failure = None;
    }

    fn leave_service(&mut self) {
        // A canary is to connect again: a master that has not said that it lost it cannot say that it has.
        self.attached &= self.is_canary() && matches!(self.state, WorkerState::Stopped { .. });
        self.build = None;
        self.running = false;
        self.interruption = None;
        self.released = None;
        self.hold = None;
    }

    fn be_warned(&mut self, at: DateTime<Utc>, instance: &InstanceId) {
        if self.state.instance() == Some(instance) {
            self.interruption = Some(at);
        }
    }

    fn stay_stopped(&mut self, at: DateTime<Utc>, instance: &InstanceId, failure: &Failure) {
        if self.state == (WorkerState::Stopped { instance: instance.clone() }) {
            self.leave_service();
            self.start_refused = Some((at, failure.clone()));
        }
    }

    fn note_refusal(&mut self, at: DateTime<Utc>, failure: &Failure) {
        if failure.kind != FailureKind::Elsewhere && failure.kind != FailureKind::AttemptOver {
            self.failures_in_a_row += 1;
        }
        // What the console showed belongs to the answer alone.
        self.last_failure = Some((at, failure.clone().with_console(None)));
    }
}

impl Fleet {
    /// Folds a whole ledger.
    pub fn fold<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<Self, FoldError> {
        let mut fleet = Fleet::default();
        for entry in entries {
            fleet.apply(entry)?;
        }
        debug_assert_eq!(fleet.index, FleetIndex::of(&fleet), "the index is what the rest says");
        Ok(fleet)
    }

    /// Adds one entry, or changes nothing and says why it does not follow.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), FoldError> {
        let next = self.check(entry)?;
        if let (Some(name), Some(next)) = (entry.body.worker(), next) {
            let worker = self.workers.entry(name.clone()).or_insert_with(|| Worker::unknown(entry.at));
            let before = Traits::of(worker);
            worker.note_master(&entry.actor, &entry.body);
            worker.history.note(&entry.actor, entry.at, &entry.body);
            worker.fold(entry.at, &entry.body, next);
            self.index.moved(name, &before, Traits::of(worker));
        }
        self.fold_instances(entry);
        self.fold_offerings(entry);
        self.fold_generations(entry);
        self.fold_budgets(entry);
        self.seq = entry.seq;
        self.last_at = Some(entry.at);
        Ok(())
    }

    /// Whether an entry follows; the state its worker would have.
    pub fn check(&self, entry: &Entry) -> Result<Option<WorkerState>, FoldError> {
        if entry.seq != self.seq + 1 {
            return Err(FoldError::Sequence { expected: self.seq + 1, found: entry.seq });
        }
        let Some(name) = entry.body.worker() else {
            return Ok(None);
        };
        let fresh = Worker::unknown(entry.at);
        let worker = self.workers.get(name).unwrap_or(&fresh);
        worker.next_state(entry.at, &entry.body).map(Some).map_err(|illegal| FoldError::Illegal {
            worker: name.clone(),
            seq: entry.seq,
            illegal,
        })
    }

    fn fold_instances(&mut self, entry: &Entry) {
        match &entry.body {
            Body::TerminateIntended { instance, cell, worker, cause, seen, .. } => {
                let present = worker.as_ref().and_then(|name| self.workers.get(name));
                let told = seen.is_some() || present.is_some_and(Worker::was_seen_running);
                let departing = self.departing.entry(instance.clone()).or_insert_with(|| Departing {
                    cell: cell.clone(),
                    worker: worker.clone(),
                    cause: cause.clone(),
                    since: entry.at,
                    accepted: None,
                    intended: entry.at,
                    told,
                });
                departing.intended = entry.at;
                self.index.departs(instance, departing);
            }
            Body::TerminateAccepted { instance } => {
                if let Some(departing) = self.departing.get_mut(instance) {
                    departing.accepted = Some(entry.at);
                }
                self.move_owner(instance, entry.at, &WorkerEvent::TerminateAccepted);
            }
            Body::Departed { instance, .. } => {
                self.forget_departing(instance);
                self.move_owner(instance, entry.at, &WorkerEvent::TerminateAccepted);
            }
            Body::Lost { instance, .. } => self.forget_departing(instance),
            Body::CallRefused { instance, .. } => self.call_was_refused(instance, &entry.body),
            _ => {}
        }
    }

    fn forget_departing(&mut self, instance: &InstanceId) {
        if let Some(departing) = self.departing.remove(instance) {
            self.index.departed(instance, &departing);
        }
    }

    /// Moves the worker whose state names `instance`, if the event is one it can meet.
    fn move_owner(&mut self, instance: &InstanceId, at: DateTime<Utc>, event: &WorkerEvent) {
        for name in self.index.bound(instance).to_vec() {
            if let Some(worker) = self.workers.get_mut(&name)
                && let Ok(next) = worker.state.apply(event)
            {
                let before = Traits::of(worker);
                worker.state = next;
                worker.since = at;
                worker.settle(at);
                self.index.moved(&name, &before, Traits::of(worker));
            }
        }
    }

    fn fold_generations(&mut self, entry: &Entry) {
        let Some(started) = generation::start_of(&entry.body) else { return };
        let Some(worker) = entry.body.worker().and_then(|name| self.workers.get_mut(name)) else { return };
        let Some(attempt) = &worker.attempt else { return };
        let counts = if started == generation::Start::Launched { !attempt.is_canary() } else { worker.on_trial };
        worker.on_trial = counts && started == generation::Start::Launched;
        if counts {
            generation::count(&mut self.generations, attempt, started, entry.at);
        }
    }

    fn fold_offerings(&mut self, entry: &Entry) {
        let Some(attempt) =
            entry.body.worker().and_then(|name| self.workers.get(name)).and_then(|w| w.attempt.as_ref())
        else {
            return;
        };
        let Some(spec) = &attempt.spec else { return };
        let key = (attempt.cell.clone(), spec.offering.clone());
        match &entry.body {
            // Where EC2 takes an instance back the next one would not last either.
            Body::InterruptionNoticed { .. } => self.close(key, entry.at),
            Body::LaunchRefused { failure, .. } if failure.kind == FailureKind::Elsewhere => self.close(key, entry.at),
            Body::Running { .. } => {
                self.offerings.remove(&key);
            }
            _ => {}
        }
    }

    /// Remembers that an offering has no capacity to give.
    fn close(&mut self, key: (Cell, Offering), at: DateTime<Utc>) {
        let memory = self.offerings.entry(key).or_insert(OfferingMemory { refusals: 0, last: at });
        memory.refusals += 1;
        memory.last = at;
    }
}
