//! A worker that is requested: where its instance is bought, or why not yet.

use chrono::{DateTime, Utc};

use super::ami::{NoAmi, ami_of};
use super::step::{Step, record, refuse};
use super::{Left, View, batch, budget, spec};
use crate::model::{
    Action, AmiId, Attempt, AttemptId, Body, Departing, Failure, FailureKind, HeldReason, Instance, InstanceId,
    InstanceState, Inventory, LaunchSpec, Offering, Ownership, Phase, Worker, WorkerName, WorkerState, tag_keys,
};
use crate::policy::{Image, WorkerIntent};

pub(super) fn requested(view: &View<'_>, name: &WorkerName, worker: &Worker, left: Left) -> Step {
    let Some(request) = &worker.request else {
        return Err(HeldReason::NotWanted);
    };
    let configured = view.intent.workers.get(name);
    let image = configured.and_then(|c| view.intent.images.get(&c.image));
    let (Some(configured), Some(image)) = (configured, image) else {
        let message = format!("worker {name} is not in the configuration");
        return refuse(name, Failure::new(Phase::Launch, FailureKind::Owner, "UnknownWorker", &message));
    };
    if let Some(failure) = budget::refusal(view) {
        return refuse(name, failure);
    }
    if let Some(failure) = answer_at_once(view, name, worker, request.at, image) {
        return refuse(name, failure);
    }
    let waiting = match ready_to_launch(view, name, worker, image, left) {
        Ok((ami, offering)) => {
            if let Some(failure) = budget::may_not_buy(view, image, &offering, left.committed) {
                return refuse(name, failure);
            }
            let chosen = spec::Chosen { image, ami: &ami, offering: &offering, canary: None };
            return launch(view, name, worker, configured, chosen);
        }
        Err(NoAmi::Failed(failure)) => return refuse(name, failure),
        Err(NoAmi::Held(reason)) => reason,
    };
    let deadline = request.at + configured.policy.launch_deadline;
    if view.now < deadline {
        return Err(waiting);
    }
    let limit = humantime::format_duration(configured.policy.launch_deadline.to_std().unwrap_or_default());
    let (kind, code) = match &waiting {
        HeldReason::NoCapacity { .. } => (FailureKind::Elsewhere, "NoCapacity"),
        HeldReason::NoListing => (FailureKind::Unreachable, "NoListing"),
        HeldReason::NoAmi { .. } | HeldReason::AmiRefused { .. } => (FailureKind::RetrySame, "NoAmiChosen"),
        HeldReason::FleetFull { .. } => (FailureKind::Quota, "FleetFull"),
        // The pause is longer than the deadline: what it is for is the answer.
        HeldReason::Pausing { kind, .. } => (*kind, last_code(worker)),
        HeldReason::OtherController { controller, instance } => {
            return refuse(name, two_controllers(view, controller, instance));
        }
        _ => (FailureKind::RetrySame, "LaunchDeadline"),
    };
    let last = view
        .listing_failure
        .filter(|_| waiting == HeldReason::NoListing)
        .map(|f| format!(" ({}: {})", f.code, f.message));
    let message = format!("no instance within {limit} (launch_deadline): {waiting}{}", last.unwrap_or_default());
    refuse(name, Failure::new(Phase::Launch, kind, code, &message))
}

/// The code of the failure that a worker pauses for.
fn last_code(worker: &Worker) -> &str {
    worker.last_failure.as_ref().map_or("LaunchDeadline", |(_, failure)| failure.code.as_str())
}

/// A failure that answers the request without another call: one that came while it waited and that
/// another place would not mend, or one that only a person can mend and that is young.
fn answer_at_once(
    view: &View<'_>,
    name: &WorkerName,
    worker: &Worker,
    asked: DateTime<Utc>,
    image: &Image,
) -> Option<Failure> {
    if let Some(failure) = view.listing_failure.filter(|failure| failure.kind.needs_a_person()) {
        return Some(failure.clone());
    }
    let (at, failure) = worker.last_failure.as_ref()?;
    if matches!(failure.kind, FailureKind::Elsewhere | FailureKind::AttemptOver) {
        return None;
    }
    if *at >= asked {
        return Some(failure.clone());
    }
    let changed = worker.attempt.as_ref().is_some_and(|attempt| has_changed(view, attempt, image));
    (failure.kind.needs_a_person() && !changed && pause_end(view, name, worker, image).is_some())
        .then(|| failure.clone())
}

/// Whether another launch would be another one: the manifest, or what its filter chooses, has changed.
pub(super) fn has_changed(view: &View<'_>, attempt: &Attempt, image: &Image) -> bool {
    spec::drifted(attempt, Some(image), ami_of(view, image).ok().as_ref())
}

/// The end of the pause after failures in a row, while it lasts.
fn pause_end(view: &View<'_>, name: &WorkerName, worker: &Worker, image: &Image) -> Option<DateTime<Utc>> {
    if worker.failures_in_a_row == 0 {
        return None;
    }
    let attempt = worker.attempt.as_ref()?;
    if has_changed(view, attempt, image) {
        return None;
    }
    let (at, _) = worker.last_failure.as_ref()?;
    let until = *at + view.policy(name).pause_after(worker.failures_in_a_row);
    (view.now < until).then_some(until)
}

fn ready_to_launch(
    view: &View<'_>,
    name: &WorkerName,
    worker: &Worker,
    image: &Image,
    left: Left,
) -> Result<(AmiId, Offering), NoAmi> {
    may_launch(view, name, worker, image, left.live).map_err(NoAmi::Held)?;
    // Last but for what is bought: while something else stands in the way, no AMI need be known.
    let ami = ami_of(view, image)?;
    let offering = open_offering(view, name, image.offerings.iter()).map_err(NoAmi::Held)?;
    // Those that go together are told so when it is known who does.
    if left.launches == 0 && !batch::is_shared(image) {
        return Err(NoAmi::Held(HeldReason::Paced { until: view.launches_from }));
    }
    Ok((ami, offering))
}

/// Nothing but an AMI and capacity is lacking.
fn may_launch(view: &View<'_>, name: &WorkerName, worker: &Worker, image: &Image, live: u32) -> Result<(), HeldReason> {
    if let Some(id) = earlier_instance(view, name) {
        return Err(HeldReason::EarlierInstance(id));
    }
    if let (Some(until), Some((_, failure))) = (pause_end(view, name, worker, image), &worker.last_failure) {
        return Err(HeldReason::Pausing { until, kind: failure.kind });
    }
    room(view, name, live)
}

/// No other instance of the worker stands in the way, and the fleet has room for one.
pub(super) fn room(view: &View<'_>, name: &WorkerName, live: u32) -> Result<(), HeldReason> {
    if let Some(id) = earlier_instance(view, name) {
        return Err(HeldReason::EarlierInstance(id));
    }
    let Some(inventory) = view.inventory.filter(|inventory| inventory.complete) else {
        return Err(HeldReason::NoListing);
    };
    if let Some(id) = unexplained_instance(view, inventory, name) {
        return Err(HeldReason::EarlierInstance(id));
    }
    if let Some(reason) = other_controller(view, name) {
        return Err(reason);
    }
    let limit = view.intent.fleet.instances_max;
    if live >= limit {
        return Err(HeldReason::FleetFull { limit });
    }
    Ok(())
}

/// An instance of this worker that may still live: its termination is not accepted yet, or it was and
/// a listing after that still shows it live.
fn earlier_instance(view: &View<'_>, name: &WorkerName) -> Option<InstanceId> {
    let may_live = |(id, departing): &(&InstanceId, &Departing)| {
        let seen = view.inventory.and_then(|inventory| Some((inventory.observed_at, inventory.instances.get(*id)?)));
        match (departing.accepted, seen) {
            (_, Some((_, instance))) if instance.state.is_ending() => false,
            (None, _) => true,
            (Some(accepted), Some((observed_at, instance))) => observed_at >= accepted && instance.state.is_live(),
            (Some(_), None) => false,
        }
    };
    view.fleet.left_by(name).filter(may_live).map(|(id, _)| id.clone()).next()
}

/// A live instance of this worker that is neither bound nor on its way out.
fn unexplained_instance(view: &View<'_>, inventory: &Inventory, name: &WorkerName) -> Option<InstanceId> {
    let fleet = &view.intent.fleet;
    let found = inventory.instances.values().find(|instance| {
        instance.state.is_live()
            && instance.tags.get(tag_keys::WORKER) == Some(name.as_str())
            && !view.fleet.departing.contains_key(&instance.id)
            && matches!(instance.tags.ownership(&fleet.name, &fleet.controller), Ownership::Ours { worker, .. } if worker == *name)
    });
    found.map(|instance| instance.id.clone())
}

/// Another controller of this fleet that has a live instance of this worker: of one worker there shall
/// be one. Its instance is its own to end.
pub(super) fn other_controller(view: &View<'_>, name: &WorkerName) -> Option<HeldReason> {
    let fleet = &view.intent.fleet;
    // What stops may still be connected.
    let may_work = |instance: &&Instance| instance.state.is_live() || instance.state == InstanceState::Stopping;
    view.inventory?.instances.values().filter(may_work).find_map(|instance| {
        let controller = instance.tags.other_controller(&fleet.name, &fleet.controller, name)?.to_owned();
        Some(HeldReason::OtherController { controller, instance: instance.id.clone() })
    })
}

/// Whether another controller of this fleet launched an instance of this worker before ours, in the time
/// in which neither saw the other: then ours gives way. Both compare the same tags, so that one stays.
pub(super) fn was_forestalled(view: &View<'_>, name: &WorkerName, worker: &Worker) -> bool {
    let (Some(HeldReason::OtherController { controller, instance }), Some(attempt)) =
        (other_controller(view, name), &worker.attempt)
    else {
        return false;
    };
    let theirs = view.inventory.and_then(|inventory| inventory.instances.get(&instance));
    let created = theirs.and_then(|instance| instance.tags.time(tag_keys::CREATED).or(instance.launch_time));
    (created.unwrap_or_default(), controller.as_str()) < (attempt.created, view.intent.fleet.controller.as_str())
}

/// The answer to a request that another controller stands in the way of.
pub(super) fn two_controllers(view: &View<'_>, controller: &str, instance: &InstanceId) -> Failure {
    let (fleet, ours) = (&view.intent.fleet.name, &view.intent.fleet.controller);
    let message = format!(
        "controller {controller} runs {instance} for this worker, and this is controller {ours} of the same fleet \
         {fleet}: stop one of the two and end the instances it leaves, or give each controller workers or a fleet \
         of its own"
    );
    Failure::new(Phase::Launch, FailureKind::Owner, "OtherController", &message)
}

/// The first offering that was not refused a short time ago.
pub(super) fn open_offering<'a>(
    view: &View<'_>,
    name: &WorkerName,
    offerings: impl Iterator<Item = &'a Offering>,
) -> Result<Offering, HeldReason> {
    let policy = view.policy(name);
    let mut soonest: Option<DateTime<Utc>> = None;
    for offering in offerings {
        let memory = view.fleet.offerings.get(&(view.cell.clone(), offering.clone()));
        let closed_until = memory.map(|memory| memory.last + policy.memory_after(memory.refusals));
        match closed_until.filter(|until| *until > view.now) {
            None => return Ok(offering.clone()),
            Some(until) => soonest = Some(soonest.map_or(until, |s| s.min(until))),
        }
    }
    Err(HeldReason::NoCapacity { until: soonest.unwrap_or(view.now) })
}

pub(super) fn launch(
    view: &View<'_>,
    name: &WorkerName,
    worker: &Worker,
    configured: &WorkerIntent,
    chosen: spec::Chosen<'_>,
) -> Step {
    let text = format!("{}-{}", view.now.timestamp(), worker.attempts + 1);
    let Ok(attempt) = text.parse::<AttemptId>() else {
        return Err(HeldReason::NotWanted);
    };
    let spec: LaunchSpec = spec::launch_spec(view.now, view.intent, name, configured, chosen, &attempt);
    Ok(Action::Launch { worker: name.clone(), spec: Box::new(spec) })
}

/// A launch whose outcome is open: looked for in a complete listing first, then sent again unchanged.
pub(super) fn launching(view: &View<'_>, name: &WorkerName, worker: &Worker, launches: u32) -> Step {
    let Some(attempt) = &worker.attempt else { return Err(HeldReason::NotWanted) };
    // Only a listing that is younger than the last call tells whether that call was heard.
    // A life before this one may have sent it until it ended.
    let known = view.watch.open_launch(worker).map(|open| open.at).or_else(|| view.watch.since());
    let last_call = known.map_or(attempt.created, |at| attempt.created.max(at));
    let told = |inventory: &&Inventory| view.watch.open_launch(worker).is_none_or(|o| inventory.observed_at >= o.at);
    let Some(inventory) = view.inventory.filter(|inventory| inventory.complete).filter(told) else {
        return Err(HeldReason::NoListing);
    };
    if let Some(open) = view.watch.open_launch(worker).filter(|open| open.refused()) {
        // This call launched nothing; one before it may have, and its instance shows by then.
        let until = open.at + view.policy(name).absence_grace;
        if inventory.observed_at < until {
            return Err(HeldReason::OpenLaunch { until, kind: open.failure.kind });
        }
        return record(name, Body::LaunchRefused { worker: name.clone(), failure: open.failure.clone() });
    }
    if let Some((code, message)) = cannot_repeat(view, name, worker, attempt) {
        // If the request was heard, its instance shows by then.
        let until = last_call + view.policy(name).absence_grace;
        if inventory.observed_at < until {
            return Err(HeldReason::SecondLook { until });
        }
        let failure = Failure::new(Phase::Launch, FailureKind::AttemptOver, code, message);
        return record(name, Body::LaunchRefused { worker: name.clone(), failure });
    }
    if launches == 0 && attempt.spec.as_ref().is_none_or(|spec| spec.batch.is_none()) {
        return Err(HeldReason::Paced { until: view.launches_from });
    }
    Ok(Action::Relaunch { workers: vec![name.clone()] })
}

/// Why the worker's earlier instance is still in the way of the next one, as a code and in words.
fn earlier_remains(worker: &Worker) -> Option<(&'static str, String)> {
    let earlier = worker.state.instance()?;
    match (&worker.state, &worker.hold) {
        (WorkerState::Terminating { .. }, _) => Some((
            "EarlierInstance",
            format!("the earlier instance {earlier} could not be ended within launch_deadline; see latent events"),
        )),
        (WorkerState::Draining { .. }, Some(hold)) => {
            let until = hold.until.format("%Y-%m-%d %H:%M:%SZ");
            Some(("OperatorHold", format!("an operator holds the earlier instance {earlier} until {until}")))
        }
        (WorkerState::Draining { .. }, None) => Some((
            "EarlierInstance",
            format!("the earlier instance {earlier} still drains, or stops, when launch_deadline is over"),
        )),
        _ => None,
    }
}

/// The answer to a request that has no launch, or none with a clear outcome, within its deadline. What is in its way
/// is followed up all the same.
pub(super) fn overdue(view: &View<'_>, name: &WorkerName, worker: &Worker) -> Option<Step> {
    let request = worker.request.as_ref()?;
    if view.now < request.at + view.policy(name).launch_deadline {
        return None;
    }
    if let Some((code, message)) = earlier_remains(worker) {
        return Some(refuse(name, Failure::new(Phase::Launch, FailureKind::RetrySame, code, &message)));
    }
    if !matches!(worker.state, WorkerState::Launching { .. }) {
        return None;
    }
    let last = view.watch.open_launch(worker).map(|open| &open.failure);
    let said = last.map(|failure| format!(" (last: {}: {})", failure.code, failure.message)).unwrap_or_default();
    let message = format!(
        "EC2 has not said within launch_deadline what became of the launch{said}; what it may still give is taken away"
    );
    let kind = last.map_or(FailureKind::Unreachable, |failure| failure.kind);
    Some(refuse(name, Failure::new(Phase::Launch, kind, "LaunchOpen", &message)))
}

const USER_DATA_CHANGED: (&str, &str) =
    ("UserDataChanged", "its user data has changed since it was sent, and no instance of it shows");

/// Why the identical launch is not sent again, if it is not.
fn cannot_repeat(
    view: &View<'_>,
    name: &WorkerName,
    worker: &Worker,
    attempt: &Attempt,
) -> Option<(&'static str, &'static str)> {
    if worker.released.is_some() || (worker.is_canary() && !worker.may_be_canary()) {
        return Some(("Withdrawn", "nobody wants it any more, and no instance of it shows"));
    }
    let spec = attempt.spec.as_ref()?;
    let sent = spec.user_data_digest.as_ref();
    if let Some(place) = &spec.batch {
        let Some(workers) = batch::members(view, &spec.token(), place) else {
            return Some(("BatchChanged", "others of its launch are not wanted any more, and no instance of it shows"));
        };
        let now = batch::user_data(view, &workers, &attempt.id).map(|data| data.digest);
        return (sent != now.as_ref()).then_some(USER_DATA_CHANGED);
    }
    let data = view.intent.workers.get(name).and_then(|w| w.user_data.as_ref());
    let now = data.map(|data| data.of_attempt(view.intent.join_key.as_ref(), name, &attempt.id).digest);
    (sent != now.as_ref()).then_some(USER_DATA_CHANGED)
}
