//! What a listing proves: facts for the ledger, before anything is decided.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::{View, budget, canary, console, held_call, instance_subject, notice};
use crate::model::{
    Attempt, AttemptId, Body, Cause, ClientToken, Failure, FailureKind, Instance, InstanceId, InstanceState, Inventory,
    Ownership, Phase, Sight, Worker, WorkerName, WorkerState, tag_keys,
};

/// EC2's clock and ours may be so far apart.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(60);

/// What the last listing proved and the ledger does not say yet.
pub fn facts(view: &View<'_>) -> Vec<Body> {
    let mut facts = budget::facts(view);
    let Some(inventory) = view.inventory else {
        return facts;
    };
    for name in view.workers() {
        if let Some(worker) = view.fleet.workers.get(name) {
            facts.extend(of_worker(view, inventory, name, worker));
        }
    }
    facts.extend(departed(view, inventory));
    facts.extend(adoptions(view, inventory));
    facts
}

fn of_worker(view: &View<'_>, inventory: &Inventory, name: &WorkerName, worker: &Worker) -> Vec<Body> {
    let Some(id) = worker.state.instance() else {
        return Vec::new();
    };
    if matches!(worker.state, WorkerState::Terminating { .. }) {
        return Vec::new();
    }
    let Some(instance) = inventory.instances.get(id) else {
        return absent(view, name, worker, id);
    };
    if let Some(noticed) = notice::fact(view, name, worker, id).filter(|_| !instance.state.is_ending()) {
        return vec![noticed];
    }
    if inventory.observed_at < worker.since && !instance.state.is_ending() {
        // The listing is older than the state: it may not know a start or a stop yet.
        return Vec::new();
    }
    match &instance.state {
        InstanceState::Running if !worker.running && !matches!(worker.state, WorkerState::Stopped { .. }) => {
            let seen = Some(Box::new(Sight::of(instance)));
            vec![Body::Running { worker: name.clone(), instance: id.clone(), seen }]
        }
        InstanceState::ShuttingDown | InstanceState::Terminated => {
            let reason = instance.state_reason.clone().unwrap_or_else(|| "EC2 gives no reason".to_owned());
            lost(view, name, worker, id, &reason, Some(instance))
        }
        InstanceState::Stopped
            if !matches!(worker.state, WorkerState::Stopped { .. }) && !before_its_start(view, worker, instance) =>
        {
            let (stopped_at, ran_until) = (instance.stopped_at, view.watch.ran_until(id));
            vec![Body::StopSeen { worker: name.clone(), instance: id.clone(), stopped_at, ran_until }]
        }
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::Stopped
        | InstanceState::Unknown(_) => Vec::new(),
    }
}

/// Whether a listing that says stopped shows the instance as it was before we started it again. EC2's
/// reads may be minutes late and go backwards; the launch time tells which start they speak of.
fn before_its_start(view: &View<'_>, worker: &Worker, instance: &Instance) -> bool {
    let Some(started) = worker.started else { return false };
    let awaited = held_call(view, &instance_subject(&instance.id)).is_some();
    if awaited && !worker.running && matches!(worker.state, WorkerState::Registering { .. }) {
        return true;
    }
    if instance.launch_time.is_some_and(|at| at >= started - CLOCKS_APART) {
        return false;
    }
    let grace = view.intent.base_policy.absence_grace;
    // A start that was refused is not waited for; one that an earlier life sent may have been heard.
    let may_be_heard = view.watch.since().is_some_and(|begun| started < begun) && view.now < started + grace;
    worker.running || awaited || may_be_heard
}

/// A complete listing that finds it neither by tag nor by id proves something only when it lasts.
fn absent(view: &View<'_>, name: &WorkerName, worker: &Worker, id: &InstanceId) -> Vec<Body> {
    let grace = view.policy(name).absence_grace;
    let gone = missed_for(view, id, grace);
    if gone { lost(view, name, worker, id, "EC2 does not know it any more", None) } else { Vec::new() }
}

/// Whether two complete listings missed it, at least this far apart. Time alone proves nothing: the one
/// listing there is may have been begun before the launch, and the next one may be refused for long.
fn missed_for(view: &View<'_>, id: &InstanceId, grace: TimeDelta) -> bool {
    let seen = view.inventory.filter(|inventory| inventory.complete).map(|inventory| inventory.observed_at);
    seen.zip(view.watch.missing_since(id)).is_some_and(|(seen, since)| seen >= since + grace)
}

/// The instance of a worker ended without us. A request that waits for it is answered; where EC2 took a
/// spot instance back, the request is met by another one instead.
fn lost(
    view: &View<'_>,
    name: &WorkerName,
    worker: &Worker,
    id: &InstanceId,
    reason: &str,
    shown: Option<&Instance>,
) -> Vec<Body> {
    let mut facts = Vec::new();
    let cause = notice::cause_of_end(worker, reason);
    if worker.is_canary() {
        if worker.may_be_canary() && console::is_being_read(view, id) {
            return facts;
        }
        facts.extend(canary::lost(view, name, worker, id, reason));
    } else if cause == Cause::Interrupted {
        // EC2 did not say so before, or was not heard: the place is remembered all the same.
        facts.extend(worker.interruption.is_none().then(|| notice::noticed(name, id)));
    } else if worker.wanted() && matches!(worker.state, WorkerState::Registering { .. }) {
        if console::is_being_read(view, id) {
            return facts;
        }
        let message = format!("{id} ended before its worker connected: {reason}");
        let failure = Failure::new(Phase::Connect, FailureKind::Ended, "InstanceEnded", &message)
            .with_console(console::of(view, id));
        facts.push(Body::RequestFailed { worker: name.clone(), failure });
    }
    let reason = reason.chars().filter(|c| !c.is_control()).take(200).collect();
    let Ending { ended_at, ran_until, seen } = ending(view, id, shown, worker.was_seen_running());
    facts.push(Body::Lost { worker: name.clone(), instance: id.clone(), cause, reason, ended_at, ran_until, seen });
    facts
}

/// What is to be kept of an end.
struct Ending {
    ended_at: Option<DateTime<Utc>>,
    ran_until: Option<DateTime<Utc>>,
    seen: Option<Box<Sight>>,
}

/// What the listings show of an end. What it is billed as may not have been `told` while it ran; EC2 shows that for an
/// hour yet.
fn ending(view: &View<'_>, id: &InstanceId, shown: Option<&Instance>, told: bool) -> Ending {
    let seen = shown.filter(|_| !told).map(|instance| Box::new(Sight::of(instance)));
    Ending { ended_at: shown.and_then(|instance| instance.ended_at), ran_until: view.watch.ran_until(id), seen }
}

/// Instances whose end was intended and is seen.
fn departed(view: &View<'_>, inventory: &Inventory) -> Vec<Body> {
    let here = view.fleet.departing_of(view.cell);
    here.filter(|(id, departing)| {
        if let Some(instance) = inventory.instances.get(*id) {
            return instance.state == InstanceState::Terminated;
        }
        let policy = departing.worker.as_ref().map_or(&view.intent.base_policy, |name| view.policy(name));
        missed_for(view, id, policy.absence_grace)
    })
    .map(|(id, departing)| {
        let Ending { ended_at, ran_until, seen } = ending(view, id, inventory.instances.get(id), departing.told);
        Body::Departed { instance: id.clone(), ended_at, ran_until, seen }
    })
    .collect()
}

/// Instances of ours that the ledger does not bind: the outcome of a launch, or a lost record.
fn adoptions(view: &View<'_>, inventory: &Inventory) -> Vec<Body> {
    let mut candidates: BTreeMap<WorkerName, Vec<(&Instance, AttemptId)>> = BTreeMap::new();
    let open = open_launches(view);
    for instance in inventory.instances.values() {
        let known = view.fleet.departing.contains_key(&instance.id) || view.fleet.bound_to(&instance.id).is_some();
        if known || instance.state.is_ending() || view.watch.saw_end(&instance.id) {
            continue;
        }
        let ownership = instance.tags.ownership(&view.intent.fleet.name, &view.intent.fleet.controller);
        if let Ownership::Ours { worker, attempt, canary } = ownership {
            // Of a canary that no record explains nobody knows what is asked: it is never taken over.
            if !canary || view.fleet.workers.get(&worker).is_some_and(Worker::is_canary) {
                candidates.entry(worker).or_default().push((instance, attempt));
            }
        } else if let Some((worker, attempt)) =
            instance.token.as_ref().and_then(|token| open.get(&(token, instance.launch_index)))
        {
            candidates.entry((*worker).clone()).or_default().push((instance, (*attempt).clone()));
        }
    }
    candidates.into_iter().filter_map(|(name, found)| adoption(view, inventory, &name, &found)).collect()
}

/// A launch by its token and its place in the call.
type OpenLaunches<'a> = BTreeMap<(&'a ClientToken, u32), (&'a WorkerName, &'a AttemptId)>;

/// The launches of this cell whose outcome is open: an instance that carries the token of one is the outcome,
/// whatever became of its tags.
fn open_launches<'a>(view: &View<'a>) -> OpenLaunches<'a> {
    let here = view.fleet.of_cell(view.cell).filter_map(|(name, worker)| {
        let attempt = worker.attempt.as_ref()?;
        let index = attempt.spec.as_ref().map_or(0, |spec| spec.launch_index());
        match &worker.state {
            WorkerState::Launching { token } => Some(((token, index), (name, &attempt.id))),
            _ => None,
        }
    });
    here.collect()
}

fn adoption(
    view: &View<'_>,
    inventory: &Inventory,
    name: &WorkerName,
    found: &[(&Instance, AttemptId)],
) -> Option<Body> {
    let fresh = Worker::unknown(DateTime::UNIX_EPOCH);
    let worker = view.fleet.workers.get(name).unwrap_or(&fresh);
    match &worker.state {
        WorkerState::Launching { .. } => {
            let ours = &worker.attempt.as_ref()?.id;
            let (instance, _) = found.iter().find(|(_, attempt)| attempt == ours)?;
            Some(Body::Launched { worker: name.clone(), instance: instance.id.clone() })
        }
        WorkerState::Gone { .. } | WorkerState::Requested => {
            let gone = matches!(worker.state, WorkerState::Gone { .. });
            if gone && inventory.observed_at < worker.since {
                // It may have ended since: the state is younger than what was seen.
                return None;
            }
            // Another owner may write what tags he likes into his own account; a worker stays in its own.
            let configured = view.intent.workers.get(name).filter(|c| c.cell.owner == view.cell.owner)?;
            let keeps_stopped = configured.policy.on_idle.keeps_instance();
            let usable = found.iter().filter(|(instance, _)| {
                instance.state.is_live() || (keeps_stopped && instance.state == InstanceState::Stopped)
            });
            let (instance, attempt) =
                usable.max_by_key(|(instance, _)| (instance.tags.time(tag_keys::CREATED), instance.id.clone()))?;
            Some(adopted(view, name, configured, instance, attempt))
        }
        WorkerState::Registering { .. }
        | WorkerState::Ready { .. }
        | WorkerState::Busy { .. }
        | WorkerState::Draining { .. }
        | WorkerState::Terminating { .. }
        | WorkerState::Stopped { .. } => None,
    }
}

fn adopted(
    view: &View<'_>,
    name: &WorkerName,
    configured: &crate::policy::WorkerIntent,
    instance: &Instance,
    attempt: &AttemptId,
) -> Body {
    let image = instance.tags.get(tag_keys::IMAGE).and_then(|text| text.parse().ok());
    let attempt = Attempt {
        id: attempt.clone(),
        cell: view.cell.clone(),
        image: image.unwrap_or_else(|| configured.image.clone()),
        created: born(view, instance),
        spec: None,
    };
    let seen = Some(Box::new(Sight::of(instance)));
    Body::Adopted { worker: name.clone(), attempt: Box::new(attempt), instance: instance.id.clone(), seen }
}

/// When an instance began: its tag, unless that is later than EC2 or we know it to be there.
fn born(view: &View<'_>, instance: &Instance) -> DateTime<Utc> {
    let tag = instance.tags.time(tag_keys::CREATED).filter(|at| *at > DateTime::UNIX_EPOCH);
    tag.into_iter().chain(instance.launch_time).fold(view.now, DateTime::min)
}
