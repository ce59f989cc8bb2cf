//! A worker's canary: what next. It is a worker's instance like another, from an AMI that nobody trusts yet,
//! and goes one way: connect, build if that is asked, stop, start, connect again, end.

use chrono::{DateTime, TimeDelta, Utc};

use super::step::{Step, drain, record, refuse, terminate};
use super::{Left, View, budget, capacity, console, equip, held_call, instance_subject, lifecycle, spec};
use crate::model::{
    Action, Body, Canary, CanaryPhase, CanaryState, Cause, Failure, FailureKind, HeldReason, InstanceId, Market,
    Offering, Phase, StopMode, Subject, Worker, WorkerName, WorkerState,
};
use crate::policy::Image;

/// What to do for a worker that is a canary, or whose turn it is to become one. `None` while its life is its own.
pub(super) fn step(view: &View<'_>, name: &WorkerName, worker: &Worker, left: Left) -> Option<Step> {
    let canary = worker.canary.as_ref();
    if worker.is_canary() {
        // Without an order it is one that nobody asks for any more.
        let Some(canary) = canary else { return Some(present(view, name, worker, None, left)) };
        let next = answer(view, name, worker, canary);
        return Some(
            next.unwrap_or_else(|| told(view, name, worker, canary, present(view, name, worker, Some(canary), left))),
        );
    }
    let canary = canary.filter(|canary| !canary.is_over())?;
    let configured = view.intent.workers.get(name)?;
    let image = view.intent.images.get(&configured.image)?;
    let now = canary.order.now;
    let next = match &worker.state {
        // Whoever asked first goes first, unless the canary has begun.
        WorkerState::Requested if !now && canary.begun.is_none() => return None,
        WorkerState::Gone { .. } | WorkerState::Requested => {
            let next = answer(view, name, worker, canary).filter(|_| now || canary.begun.is_some());
            next.unwrap_or_else(|| begin(view, name, worker, canary, image, left))
        }
        WorkerState::Stopped { instance } if (now || !worker.wanted()) && worker.hold.is_none() => {
            make_way(view, name, instance)
        }
        WorkerState::Ready { .. } | WorkerState::Busy { .. }
            if now && worker.hold.is_none() && worker.released.is_none() && nobody_speaks(view, name).is_none() =>
        {
            drain(name, Cause::MakesWay)
        }
        WorkerState::Launching { .. }
        | WorkerState::Registering { .. }
        | WorkerState::Ready { .. }
        | WorkerState::Busy { .. }
        | WorkerState::Draining { .. }
        | WorkerState::Terminating { .. }
        | WorkerState::Stopped { .. } => return None,
    };
    Some(told(view, name, worker, canary, next))
}

/// How long its worker may take to connect, while it is waited for.
pub(super) fn connect_deadline(view: &View<'_>, name: &WorkerName, worker: &Worker) -> Option<TimeDelta> {
    let canary = worker.canary.as_ref().filter(|_| worker.is_canary() && worker.may_be_canary())?;
    let waits = canary.phase != CanaryPhase::Reconnected;
    waits.then(|| limit(view, name, &canary.order))
}

/// The instance of a canary ended without us: what it leaves unproven.
pub(super) fn lost(view: &View<'_>, name: &WorkerName, worker: &Worker, id: &InstanceId, reason: &str) -> Option<Body> {
    let canary = worker.canary.as_ref().filter(|canary| !canary.is_over())?;
    let message = format!("{id} ended by itself or from outside: {reason}");
    let failure = Failure::new(Phase::Connect, FailureKind::Ended, "InstanceEnded", &message);
    let failure = failure.with_console(console::of(view, id));
    (canary.phase != CanaryPhase::Reconnected).then(|| failed(name, canary, failure))
}

fn limit(view: &View<'_>, name: &WorkerName, order: &Canary) -> TimeDelta {
    let given = order.connect_deadline_s.map(|seconds| TimeDelta::seconds(seconds.into()));
    given.unwrap_or_else(|| view.policy(name).connect_deadline)
}

fn failed(name: &WorkerName, canary: &CanaryState, failure: Failure) -> Body {
    Body::CanaryFailed { worker: name.clone(), rebake: canary.order.rebake.clone(), failure }
}

fn fail(name: &WorkerName, canary: &CanaryState, failure: Failure) -> Step {
    record(name, failed(name, canary, failure))
}

fn unproven(name: &WorkerName, canary: &CanaryState, code: &str, message: &str) -> Step {
    fail(name, canary, Failure::new(Phase::Connect, FailureKind::Candidate, code, message))
}

/// A request that waits for the canary's end is answered at its deadline as ever.
fn answer(view: &View<'_>, name: &WorkerName, worker: &Worker, canary: &CanaryState) -> Option<Step> {
    let request = worker.request.as_ref()?;
    if view.now < request.at + view.policy(name).launch_deadline {
        return None;
    }
    let (ami, rebake) = (&canary.order.ami, &canary.order.rebake);
    let message =
        format!("the worker is the canary of {ami} (rebake {rebake}), which was not over within launch_deadline");
    Some(refuse(name, Failure::new(Phase::Launch, FailureKind::RetrySame, "Canary", &message)))
}

/// Why nothing is done, with the canary that it is about and the request that waits for it.
fn told(view: &View<'_>, name: &WorkerName, worker: &Worker, canary: &CanaryState, step: Step) -> Step {
    step.map_err(|reason| {
        let until = worker.request.as_ref().map(|request| request.at + view.policy(name).launch_deadline);
        HeldReason::Canary { rebake: canary.order.rebake.clone(), doing: Box::new(reason), until }
    })
}

/// Without a master that speaks of the worker nobody would take its connection.
fn nobody_speaks(view: &View<'_>, name: &WorkerName) -> Option<HeldReason> {
    let spoken = (view.spoken)(name).is_some_and(|at| view.now < at + view.policy(name).master_silence);
    (!spoken).then_some(HeldReason::NoMaster)
}

/// The stopped instance of the worker goes: of one worker there is one instance.
fn make_way(view: &View<'_>, name: &WorkerName, instance: &InstanceId) -> Step {
    let held = held_call(view, &Subject::Worker(name.clone())).or_else(|| held_call(view, &instance_subject(instance)));
    if let Some(reason) = held.or_else(|| nobody_speaks(view, name)) {
        return Err(reason);
    }
    terminate(name, instance, Cause::MakesWay)
}

fn begin(view: &View<'_>, name: &WorkerName, worker: &Worker, canary: &CanaryState, image: &Image, left: Left) -> Step {
    if let Some(reason) = held_call(view, &Subject::Worker(name.clone())) {
        return Err(reason);
    }
    if let Some(failure) = budget::refusal(view).or_else(|| hopeless(canary, image)) {
        return fail(name, canary, failure);
    }
    let waiting = match ready(view, name, image, left) {
        Ok(offering) => {
            if let Some(failure) = budget::may_not_buy(view, image, &offering, left.committed) {
                return fail(name, canary, failure);
            }
            let order = &canary.order;
            let chosen = spec::Chosen { image, ami: &order.ami, offering: &offering, canary: Some(order) };
            return capacity::launch(view, name, worker, &view.intent.workers[name], chosen);
        }
        Err(reason) => reason,
    };
    if canary.begun.is_some_and(|at| view.now >= at + view.policy(name).launch_deadline) {
        let last = canary.refused.as_ref().map(|failure| format!(" ({}: {})", failure.code, failure.message));
        let message = format!("no instance within launch_deadline: {waiting}{}", last.unwrap_or_default());
        return fail(name, canary, Failure::new(Phase::Launch, FailureKind::Elsewhere, "LaunchDeadline", &message));
    }
    Err(waiting)
}

/// Why no launch of it can be tried, or tried again.
fn hopeless(canary: &CanaryState, image: &Image) -> Option<Failure> {
    if !image.offerings.iter().any(is_on_demand) {
        let message = "the manifest buys spot capacity alone, and a canary is stopped and started, which one-time spot \
                       instances are not; write market = [\"spot\", \"on-demand\"]";
        return Some(Failure::new(Phase::Launch, FailureKind::Owner, "SpotOnly", message));
    }
    let elsewhere = |failure: &&Failure| matches!(failure.kind, FailureKind::Elsewhere | FailureKind::AttemptOver);
    canary.refused.as_ref().filter(|failure| !elsewhere(failure)).cloned()
}

fn is_on_demand(offering: &Offering) -> bool {
    offering.market == Market::OnDemand
}

fn ready(view: &View<'_>, name: &WorkerName, image: &Image, left: Left) -> Result<Offering, HeldReason> {
    if let Some(reason) = nobody_speaks(view, name) {
        return Err(reason);
    }
    capacity::room(view, name, left.live)?;
    let offering = capacity::open_offering(view, name, image.offerings.iter().filter(|one| is_on_demand(one)))?;
    if left.launches == 0 {
        return Err(HeldReason::Paced { until: view.launches_from });
    }
    Ok(offering)
}

/// A canary whose launch is intended or whose instance is there.
fn present(view: &View<'_>, name: &WorkerName, worker: &Worker, canary: Option<&CanaryState>, left: Left) -> Step {
    if let Some(reason) = held_call(view, &Subject::Worker(name.clone())) {
        return Err(reason);
    }
    let canary = canary.filter(|canary| !canary.is_over());
    match &worker.state {
        WorkerState::Launching { .. } => {
            let late = |canary: &&CanaryState| {
                canary.begun.is_some_and(|at| view.now >= at + view.policy(name).launch_deadline)
            };
            if let Some(canary) = canary.filter(late) {
                let message = "EC2 has not said within launch_deadline what became of the launch";
                let failure = Failure::new(Phase::Launch, FailureKind::Unreachable, "LaunchOpen", message);
                return fail(name, canary, failure);
            }
            capacity::launching(view, name, worker, left.launches)
        }
        WorkerState::Terminating { .. } => Err(HeldReason::Departing { since: worker.since }),
        WorkerState::Registering { instance }
        | WorkerState::Ready { instance, .. }
        | WorkerState::Busy { instance, .. }
        | WorkerState::Draining { instance, .. }
        | WorkerState::Stopped { instance } => bound(view, name, worker, canary, instance),
        WorkerState::Requested | WorkerState::Gone { .. } => Err(HeldReason::NotWanted),
    }
}

fn bound(
    view: &View<'_>,
    name: &WorkerName,
    worker: &Worker,
    canary: Option<&CanaryState>,
    instance: &InstanceId,
) -> Step {
    if let Some(reason) = held_call(view, &instance_subject(instance)) {
        return Err(reason);
    }
    let end = worker.attempt.as_ref().map_or(worker.since, |attempt| attempt.created) + view.policy(name).max_lifetime;
    if view.now >= end {
        return match canary {
            Some(canary) if canary.phase != CanaryPhase::Reconnected => unproven(
                name,
                canary,
                "Expired",
                &format!("{instance} is older than max_lifetime while it is {}", canary.phase),
            ),
            Some(_) | None => terminate(name, instance, Cause::Expired),
        };
    }
    let step = match canary {
        Some(canary) => by_state(view, name, worker, canary, instance, end),
        None => leave(view, name, worker, instance),
    };
    let Some(hold) = &worker.hold else { return step };
    if view.now >= hold.until || budget::is_over(view) {
        return record(name, Body::HoldReleased { worker: name.clone() });
    }
    match step {
        Ok(Action::Start { worker, instance }) => Ok(Action::Start { worker, instance }),
        _ => Err(HeldReason::OperatorHold { until: hold.until }),
    }
}

fn by_state(
    view: &View<'_>,
    name: &WorkerName,
    worker: &Worker,
    canary: &CanaryState,
    instance: &InstanceId,
    end: DateTime<Utc>,
) -> Step {
    use CanaryPhase as P;
    if canary.phase == P::Reconnected {
        return leave(view, name, worker, instance);
    }
    let over = match canary.phase {
        // It would be started again, and that is bought as a launch is.
        P::Stopped => budget::buys_nothing(view),
        _ => budget::refusal(view).filter(|_| budget::stops_builds(view)),
    };
    if let Some(failure) = over.or_else(|| spoilt(view, name, worker, canary, instance)) {
        return fail(name, canary, failure);
    }
    match (&worker.state, canary.phase) {
        (WorkerState::Registering { .. }, _) => connecting(view, name, worker, canary, instance),
        (WorkerState::Ready { idle_since, .. }, P::Connected) => connected(view, name, canary, *idle_since),
        (WorkerState::Busy { .. }, _) => Err(HeldReason::Building { until: end }),
        (WorkerState::Draining { .. }, P::Stopping) => stopping(view, name, worker, canary, instance),
        (WorkerState::Draining { cause, .. }, _) => unproven(
            name,
            canary,
            "Drained",
            &format!("{instance} is to go while its canary is {}: {cause}", canary.phase),
        ),
        (WorkerState::Stopped { .. }, P::Stopped) => start(view, name, worker, canary, instance),
        (WorkerState::Stopped { .. }, _) => {
            unproven(name, canary, "StoppedFromOutside", &format!("{instance} was stopped, and not by its canary"))
        }
        (WorkerState::Ready { .. }, _) => {
            unproven(name, canary, "OutOfOrder", &format!("{instance} is ready while its canary is {}", canary.phase))
        }
        (
            WorkerState::Requested
            | WorkerState::Launching { .. }
            | WorkerState::Terminating { .. }
            | WorkerState::Gone { .. },
            _,
        ) => Err(HeldReason::NotWanted),
    }
}

/// What has gone wrong already, whatever comes next.
fn spoilt(
    view: &View<'_>,
    name: &WorkerName,
    worker: &Worker,
    canary: &CanaryState,
    instance: &InstanceId,
) -> Option<Failure> {
    let unproven = |code: &str, message: &str| Failure::new(Phase::Connect, FailureKind::Candidate, code, message);
    if let Some(built) = canary.built.as_ref().filter(|built| !built.is_good()) {
        let message = format!("the smoke build {} ended with {} ({})", built.build, built.word(), built.results);
        return Some(unproven("SmokeBuild", &message));
    }
    if let Some(cause) = &worker.released {
        return Some(unproven("Released", &format!("{instance} was let go of: {cause}")));
    }
    if !view.intent.workers.contains_key(name) {
        return Some(unproven("Unconfigured", "the worker is no longer in the configuration"));
    }
    match worker.state {
        WorkerState::Registering { .. } | WorkerState::Ready { .. } | WorkerState::Busy { .. } => {
            equip::failure(view, name, worker)
        }
        WorkerState::Requested
        | WorkerState::Launching { .. }
        | WorkerState::Draining { .. }
        | WorkerState::Terminating { .. }
        | WorkerState::Stopped { .. }
        | WorkerState::Gone { .. } => None,
    }
}

fn connecting(view: &View<'_>, name: &WorkerName, worker: &Worker, canary: &CanaryState, id: &InstanceId) -> Step {
    if capacity::was_forestalled(view, name, worker) {
        return unproven(
            name,
            canary,
            "OtherController",
            "another controller of this fleet launched the worker before it",
        );
    }
    let limit = limit(view, name, &canary.order);
    let until = worker.since + limit;
    if view.now < until || console::is_being_read(view, id) {
        return Err(equip::waiting(view, name, worker, until).unwrap_or(HeldReason::Connecting { until }));
    }
    let heard = (view.heard)(name);
    if heard < worker.since {
        let at = heard.format("%H:%M:%SZ");
        let message = format!("nobody could see {id} connect: its master has said nothing since {at}");
        return fail(name, canary, Failure::new(Phase::Connect, FailureKind::Unreachable, "MasterSilent", &message));
    }
    let ami = &canary.order.ami;
    let what = match canary.phase {
        CanaryPhase::Restarting => "was stopped and started again, and its worker did not connect once more",
        CanaryPhase::Connected | CanaryPhase::Building => "lost its worker's connection, which did not come back",
        _ => "was launched, and its worker did not connect",
    };
    let waited = humantime::format_duration(limit.to_std().unwrap_or_default());
    let message = format!("{id} of {ami} {what} within {waited}");
    let failure = Failure::new(Phase::Connect, FailureKind::NotConnected, "NeverConnected", &message);
    fail(name, canary, failure.with_console(console::of(view, id)))
}

fn connected(view: &View<'_>, name: &WorkerName, canary: &CanaryState, idle_since: DateTime<Utc>) -> Step {
    let Some(builder) = canary.order.smoke.as_ref().filter(|_| canary.built.is_none()) else {
        return drain(name, Cause::Canary);
    };
    let limit = limit(view, name, &canary.order);
    let until = idle_since + limit;
    if view.now < until {
        return Err(HeldReason::AwaitsBuild { builder: builder.clone(), until });
    }
    let waited = humantime::format_duration(limit.to_std().unwrap_or_default());
    let message = format!("the master did not run the smoke build of {builder} within {waited}");
    unproven(name, canary, "NoSmokeBuild", &message)
}

/// Stopped once its master has let it go.
fn stopping(view: &View<'_>, name: &WorkerName, worker: &Worker, canary: &CanaryState, instance: &InstanceId) -> Step {
    let policy = view.policy(name);
    if worker.stop_intended {
        if view.now >= worker.since + policy.stop_deadline {
            let message = format!("{instance} did not stop within stop_deadline");
            return unproven(name, canary, "StopFailed", &message);
        }
        return lifecycle::stopping(view, name, worker, instance, &Cause::Canary);
    }
    match lifecycle::may_be_used(view, name, worker) {
        Some(reason) => Err(reason),
        None => Ok(Action::Stop {
            worker: name.clone(),
            instance: instance.clone(),
            cause: Cause::Canary,
            mode: StopMode::Plain,
        }),
    }
}

fn start(view: &View<'_>, name: &WorkerName, worker: &Worker, canary: &CanaryState, instance: &InstanceId) -> Step {
    let policy = view.policy(name);
    let refused = worker.start_refused.as_ref();
    if let Some((_, failure)) = refused.filter(|(_, failure)| failure.kind.is_answer()) {
        return fail(name, canary, failure.clone());
    }
    if canary.stopped_at.is_some_and(|at| view.now >= at + policy.launch_deadline) {
        let why = refused.map(|(_, failure)| format!(": {}: {}", failure.code, failure.message)).unwrap_or_default();
        let message = format!("{instance} could not be started again within launch_deadline{why}");
        return fail(name, canary, Failure::new(Phase::Launch, FailureKind::Elsewhere, "StartDeadline", &message));
    }
    if let Some(reason) = capacity::other_controller(view, name) {
        return Err(reason);
    }
    // A stopped instance can be started in its own zone alone: it waits for capacity there.
    let until = refused.map(|(at, _)| *at + policy.memory_after(1)).filter(|until| *until > view.now);
    match until {
        Some(until) => Err(HeldReason::NoCapacity { until }),
        None => Ok(Action::Start { worker: name.clone(), instance: instance.clone() }),
    }
}

/// It goes: it did all that was asked, or something of it did not happen, or nobody asks for it any more.
fn leave(view: &View<'_>, name: &WorkerName, worker: &Worker, instance: &InstanceId) -> Step {
    match &worker.state {
        WorkerState::Ready { .. } | WorkerState::Busy { .. } => drain(name, Cause::Canary),
        WorkerState::Draining { .. } if !worker.stop_intended => match lifecycle::may_be_used(view, name, worker) {
            Some(reason) => Err(reason),
            None => terminate(name, instance, Cause::Canary),
        },
        WorkerState::Registering { .. }
        | WorkerState::Draining { .. }
        | WorkerState::Stopped { .. }
        | WorkerState::Requested
        | WorkerState::Launching { .. }
        | WorkerState::Terminating { .. }
        | WorkerState::Gone { .. } => terminate(name, instance, Cause::Canary),
    }
}
