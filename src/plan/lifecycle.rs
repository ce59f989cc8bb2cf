//! One worker: what next.

use chrono::{DateTime, TimeDelta, Utc};

use super::step::{Step, drain, record, refuse, terminate};
use super::{Left, View, ami, budget, canary, capacity, console, equip, held_call, idle, instance_subject, warm, wear};
use crate::model::{
    Action, Body, Cause, Failure, FailureKind, HeldReason, Hibernation, InstanceId, InstanceState, Market, Phase,
    Sight, StopMode, Subject, Worker, WorkerName, WorkerState,
};
use crate::policy::price::Money;
use crate::policy::{IdleTimeout, Image, OnIdle};

pub(super) fn worker(view: &View<'_>, name: &WorkerName, worker: &Worker, left: Left) -> Step {
    if let Some(next) = canary::step(view, name, worker, left) {
        return next;
    }
    if let Some(answer) = capacity::overdue(view, name, worker) {
        return answer;
    }
    if let Some(reason) = held_call(view, &Subject::Worker(name.clone())) {
        return Err(reason);
    }
    match &worker.state {
        WorkerState::Gone { .. } if view.intent.workers.contains_key(name) => {
            warm::step(view, name, worker).unwrap_or_else(|| Err(budget::held(view).unwrap_or(HeldReason::NotWanted)))
        }
        WorkerState::Gone { .. } => Err(HeldReason::NotConfigured),
        WorkerState::Requested => capacity::requested(view, name, worker, left),
        WorkerState::Launching { .. } => capacity::launching(view, name, worker, left.launches),
        WorkerState::Terminating { .. } => Err(HeldReason::Departing { since: worker.since }),
        WorkerState::Registering { instance }
        | WorkerState::Ready { instance, .. }
        | WorkerState::Busy { instance, .. }
        | WorkerState::Draining { instance, .. }
        | WorkerState::Stopped { instance } => bound(view, name, worker, instance, left),
    }
}

/// What holds for every worker that has an instance, before its state is asked.
fn bound(view: &View<'_>, name: &WorkerName, worker: &Worker, instance: &InstanceId, left: Left) -> Step {
    if let Some(reason) = held_call(view, &instance_subject(instance)) {
        return Err(reason);
    }
    let policy = view.policy(name);
    let end = worker.attempt.as_ref().map_or(worker.since, |attempt| attempt.created) + policy.max_lifetime;
    if view.now >= end {
        return terminate(name, instance, Cause::Expired);
    }
    let Some(hold) = &worker.hold else {
        return by_state(view, name, worker, instance, end, left);
    };
    // What an operator keeps is not kept on the money that the owner does not give.
    if view.now >= hold.until || budget::is_over(view) {
        return record(name, Body::HoldReleased { worker: name.clone() });
    }
    // A hold keeps the instance; what a master asks of it is answered all the same.
    match by_state(view, name, worker, instance, end, left) {
        Ok(Action::Start { worker, instance }) => Ok(Action::Start { worker, instance }),
        Ok(Action::Record { worker, body }) if matches!(*body, Body::RequestFailed { .. }) => {
            Ok(Action::Record { worker, body })
        }
        _ => Err(HeldReason::OperatorHold { until: hold.until }),
    }
}

fn by_state(
    view: &View<'_>,
    name: &WorkerName,
    worker: &Worker,
    instance: &InstanceId,
    end: DateTime<Utc>,
    left: Left,
) -> Step {
    let policy = view.policy(name);
    if let Some(cause) = &worker.released
        && !worker.stop_intended
    {
        let cause = if worker.interruption.is_some() { &Cause::Interrupted } else { cause };
        return take_away(view, name, worker, instance, cause.clone());
    }
    let unheard = unheard_after_adoption(view, name, worker);
    if let Some(step) = over_budget(view, name, worker, instance).filter(|_| !unheard) {
        return step;
    }
    let soft_end = end - policy.drain_deadline;
    if matches!(worker.state, WorkerState::Ready { .. } | WorkerState::Busy { .. })
        && let Some(failure) = equip::failure(view, name, worker)
    {
        // Connected, and without what its builds need.
        return if equip::was_told(worker) { drain(name, Cause::Unequipped) } else { refuse(name, failure) };
    }
    match &worker.state {
        // EC2 takes it back. A build may use the two minutes that are left; nothing new is begun.
        WorkerState::Registering { .. } | WorkerState::Ready { .. } | WorkerState::Busy { .. }
            if worker.interruption.is_some() && !unheard =>
        {
            drain(name, Cause::Interrupted)
        }
        WorkerState::Registering { .. } => registering(view, name, worker, instance),
        WorkerState::Ready { .. } | WorkerState::Busy { .. } if !view.intent.workers.contains_key(name) => {
            drain(name, Cause::Unconfigured)
        }
        WorkerState::Ready { .. } | WorkerState::Busy { .. } if view.now >= soft_end => drain(name, Cause::Expired),
        WorkerState::Ready { idle_since, .. } => {
            worn(view, name, worker).unwrap_or_else(|| ready(view, name, worker, instance, *idle_since))
        }
        WorkerState::Busy { .. } => worn(view, name, worker).unwrap_or(Err(HeldReason::Building { until: end })),
        WorkerState::Draining { cause, .. } => draining(view, name, worker, instance, cause),
        WorkerState::Stopped { .. } => stopped(view, name, worker, instance, left.committed),
        WorkerState::Requested
        | WorkerState::Launching { .. }
        | WorkerState::Terminating { .. }
        | WorkerState::Gone { .. } => Err(HeldReason::NotWanted),
    }
}

/// It has served long enough. The order comes while the last build runs, so that no further one begins.
fn worn(view: &View<'_>, name: &WorkerName, worker: &Worker) -> Option<Step> {
    wear::reason(view.policy(name), worker, view.now).map(|cause| drain(name, cause))
}

/// The owner's hard budget is reached: what has no build goes, and a build only if the owner says so.
fn over_budget(view: &View<'_>, name: &WorkerName, worker: &Worker, instance: &InstanceId) -> Option<Step> {
    let failure = budget::refusal(view)?;
    let away = || take_away(view, name, worker, instance, Cause::Budget);
    match &worker.state {
        WorkerState::Registering { .. } if worker.wanted() => Some(refuse(name, failure)),
        WorkerState::Registering { .. } => Some(away()),
        WorkerState::Ready { .. } | WorkerState::Busy { .. } | WorkerState::Draining { .. }
            if budget::stops_builds(view) && !worker.stop_intended =>
        {
            Some(away())
        }
        WorkerState::Ready { .. } => Some(drain(name, Cause::Budget)),
        WorkerState::Requested
        | WorkerState::Launching { .. }
        | WorkerState::Busy { .. }
        | WorkerState::Draining { .. }
        | WorkerState::Terminating { .. }
        | WorkerState::Stopped { .. }
        | WorkerState::Gone { .. } => None,
    }
}

fn registering(view: &View<'_>, name: &WorkerName, worker: &Worker, instance: &InstanceId) -> Step {
    let policy = view.policy(name);
    let until = worker.since + policy.connect_deadline;
    if let Some(attempt) = worker.attempt.as_ref().filter(|attempt| attempt.spec.is_none()) {
        if unheard_after_adoption(view, name, worker) && view.now >= until {
            return Err(HeldReason::MasterUnheard { until: attempt.created + policy.max_lifetime });
        }
    } else if capacity::was_forestalled(view, name, worker) {
        return terminate(name, instance, Cause::Twin);
    }
    if view.now < until {
        return Err(equip::waiting(view, name, worker, until).unwrap_or(HeldReason::Connecting { until }));
    }
    if let Some(failure) = equip::failure(view, name, worker).filter(|_| worker.wanted()) {
        return refuse(name, failure);
    }
    if equip::was_told(worker) {
        return terminate(name, instance, Cause::Unequipped);
    }
    if worker.wanted() {
        if console::is_being_read(view, instance) {
            return Err(HeldReason::Connecting { until });
        }
        let waited = humantime::format_duration(policy.connect_deadline.to_std().unwrap_or_default());
        let message =
            format!("{instance} was launched and its worker did not connect within {waited} (connect_deadline)");
        let failure = Failure::new(Phase::Connect, FailureKind::NotConnected, "NeverConnected", &message);
        return refuse(name, failure.with_console(console::of(view, instance)));
    }
    terminate(name, instance, Cause::NeverConnected)
}

/// Whether it was adopted by its tags, after the ledger was lost, and its master has not spoken since: it
/// may build, and only its master knows.
pub(super) fn unheard_after_adoption(view: &View<'_>, name: &WorkerName, worker: &Worker) -> bool {
    let adopted = worker.attempt.as_ref().is_some_and(|attempt| attempt.spec.is_none());
    let spoken = (view.spoken)(name).is_some_and(|at| at > worker.since);
    adopted && !spoken && matches!(worker.state, WorkerState::Registering { .. })
}

/// Idle: its master is asked to let it go, and when the master is silent it goes by itself.
fn ready(
    view: &View<'_>,
    name: &WorkerName,
    worker: &Worker,
    instance: &InstanceId,
    idle_since: DateTime<Utc>,
) -> Step {
    let policy = view.policy(name);
    let silent_until = (view.heard)(name) + policy.master_silence;
    if let Some(until) = warm::until(view, name).filter(|_| view.now < silent_until) {
        return Err(HeldReason::Warm { until });
    }
    let chosen = idle::idle_choice(view.intent, view.fleet, name, worker).map(Box::new);
    let timeout = match (policy.idle_timeout, &chosen) {
        (IdleTimeout::After(timeout), _) => timeout,
        (IdleTimeout::Auto(_), Some(chosen)) => TimeDelta::seconds(chosen.seconds.into()),
        (IdleTimeout::Never | IdleTimeout::Auto(_), _) => {
            return Err(HeldReason::Idle { since: idle_since, until: None, chosen });
        }
    };
    let until = idle_since + timeout;
    if view.now < until {
        return Err(HeldReason::Idle { since: idle_since, until: Some(until), chosen });
    }
    if view.now >= silent_until {
        return take_away(view, name, worker, instance, Cause::Idle);
    }
    drain(name, Cause::Idle)
}

/// It goes once its master has let go; while the master may still use it, only its end of life ends it.
fn draining(view: &View<'_>, name: &WorkerName, worker: &Worker, instance: &InstanceId, cause: &Cause) -> Step {
    if worker.stop_intended {
        return stopping(view, name, worker, instance, cause);
    }
    match may_be_used(view, name, worker) {
        Some(reason) => Err(reason),
        None => take_away(view, name, worker, instance, cause.clone()),
    }
}

/// Why a worker that shall go is left alone: its master may use it still.
pub(super) fn may_be_used(view: &View<'_>, name: &WorkerName, worker: &Worker) -> Option<HeldReason> {
    let policy = view.policy(name);
    if !worker.attached {
        return None;
    }
    let silent_until = (view.heard)(name) + policy.master_silence;
    let until = worker.since + policy.drain_deadline;
    if view.now >= silent_until.min(until) && worker.build.is_none() {
        return None;
    }
    if view.now >= silent_until {
        return Some(HeldReason::Building { until });
    }
    Some(HeldReason::Draining { until: until.min(silent_until) })
}

/// A stop is repeated while a listing younger than it still shows the instance running.
pub(super) fn stopping(
    view: &View<'_>,
    name: &WorkerName,
    worker: &Worker,
    instance: &InstanceId,
    cause: &Cause,
) -> Step {
    let until = worker.since + view.policy(name).stop_deadline;
    if view.now >= until {
        return terminate(name, instance, Cause::StopFailed);
    }
    let seen = view.inventory.filter(|inventory| inventory.observed_at >= worker.since);
    let runs =
        seen.and_then(|inventory| inventory.instances.get(instance)).is_some_and(|i| i.state == InstanceState::Running);
    // What is not hibernated is stopped at once: it runs, and is paid for.
    if runs || worker.hibernation == Hibernation::Refused {
        let mode = stop_mode(view.policy(name).on_idle, worker, cause);
        return Ok(Action::Stop { worker: name.clone(), instance: instance.clone(), cause: cause.clone(), mode });
    }
    Err(HeldReason::Stopping { until })
}

fn stopped(view: &View<'_>, name: &WorkerName, worker: &Worker, instance: &InstanceId, committed: Money) -> Step {
    let Some(configured) = view.intent.workers.get(name) else {
        return terminate(name, instance, Cause::Unconfigured);
    };
    let image = view.intent.images.get(&configured.image);
    let changed = |image| worker.attempt.as_ref().is_some_and(|attempt| capacity::has_changed(view, attempt, image));
    if image.is_none_or(changed) {
        return terminate(name, instance, Cause::Drifted);
    }
    if let Some(reason) = image.and_then(|image| ami_to_come(view, worker, image)) {
        return Err(reason);
    }
    let seen = view.inventory.filter(|inventory| inventory.observed_at >= worker.since);
    let runs = seen.and_then(|i| i.instances.get(instance)).is_some_and(|i| i.state.is_live());
    if runs && !worker.wanted() {
        // Somebody else started it, or our record is wrong: nobody would end what is recorded as stopped.
        return Ok(Action::Terminate {
            instance: instance.clone(),
            worker: Some(name.clone()),
            cause: Cause::Orphan,
            seen: seen.and_then(|i| i.instances.get(instance)).map(|i| Box::new(Sight::of(i))),
            silent_since: None,
        });
    }
    let soft_end = worker.attempt.as_ref().map_or(worker.since, |attempt| attempt.created)
        + configured.policy.max_lifetime
        - configured.policy.drain_deadline;
    if view.now >= soft_end {
        return terminate(name, instance, Cause::Expired);
    }
    if let Some(cause) = wear::reason(&configured.policy, worker, view.now) {
        return terminate(name, instance, cause);
    }
    if let Some(request) = &worker.request {
        let until = request.at + configured.policy.launch_deadline;
        if let Some(reason) = capacity::other_controller(view, name) {
            return match &reason {
                HeldReason::OtherController { controller, instance } if view.now >= until => {
                    refuse(name, capacity::two_controllers(view, controller, instance))
                }
                _ => Err(reason),
            };
        }
        if view.now >= until {
            let message = format!("{instance} is stopped again, or still, when launch_deadline is over");
            let refused = worker.start_refused.as_ref().map(|(_, failure)| failure.kind);
            // It was started, and its guest powered it off before its worker connected.
            let ran = worker.last_ran.is_some_and(|at| at >= request.at);
            let kind = refused.unwrap_or(if ran { FailureKind::Ended } else { FailureKind::RetrySame });
            return refuse(name, Failure::new(Phase::Launch, kind, "StartDeadline", &message));
        }
        if let Some(failure) = image.and_then(|image| budget::may_not_start(view, worker, instance, image, committed)) {
            return refuse(name, failure);
        }
        return start(view, name, worker, instance, request.at);
    }
    if !configured.policy.on_idle.keeps_instance() {
        return terminate(name, instance, Cause::Lost);
    }
    warm::step(view, name, worker).unwrap_or_else(|| Err(budget::held(view).unwrap_or(HeldReason::StoppedPool)))
}

/// Whether the AMI that a filter chooses is still to be asked for: the stopped instance is started only if
/// that is no newer one. A listing that is refused, or holds nothing, does not keep it from being started.
fn ami_to_come(view: &View<'_>, worker: &Worker, image: &Image) -> Option<HeldReason> {
    match ami::ami_of(view, image) {
        Err(ami::NoAmi::Held(reason @ HeldReason::NoAmi { .. })) if worker.wanted() => Some(reason),
        Ok(_) | Err(_) => None,
    }
}

/// Starts the stopped instance for the request, unless a start for it was refused for good: without
/// capacity in its zone another instance takes its place, and what no other would mend is the answer.
fn start(view: &View<'_>, name: &WorkerName, worker: &Worker, instance: &InstanceId, asked: DateTime<Utc>) -> Step {
    if let Some((at, failure)) = &worker.start_refused {
        let fresh = *at >= asked;
        if fresh && failure.kind == FailureKind::Elsewhere {
            return terminate(name, instance, Cause::NoCapacity);
        }
        let young = failure.kind.needs_a_person() && view.now < *at + view.policy(name).pause_after(1);
        if failure.kind.is_answer() && (fresh || young) {
            return refuse(name, failure.clone());
        }
    }
    Ok(Action::Start { worker: name.clone(), instance: instance.clone() })
}

/// Terminates, or stops where the policy keeps a stopped instance, the cause allows it and the instance may serve
/// again.
fn take_away(view: &View<'_>, name: &WorkerName, worker: &Worker, instance: &InstanceId, cause: Cause) -> Step {
    let policy = view.policy(name);
    let may_stop = matches!(cause, Cause::Released | Cause::Idle | Cause::Leaving | Cause::Budget);
    if let Some(worn) = wear::reason(policy, worker, view.now).filter(|_| may_stop && worker.build.is_none()) {
        return terminate(name, instance, worn);
    }
    if policy.on_idle.keeps_instance() && may_stop && !is_spot(worker) {
        let mode = stop_mode(policy.on_idle, worker, &cause);
        return Ok(Action::Stop { worker: name.clone(), instance: instance.clone(), cause, mode });
    }
    terminate(name, instance, cause)
}

/// Whether it was bought on the spot market, of which EC2 stops nothing that was asked for once.
fn is_spot(worker: &Worker) -> bool {
    let spec = worker.attempt.as_ref().and_then(|attempt| attempt.spec.as_ref());
    spec.is_some_and(|spec| spec.offering.market == Market::Spot)
}

/// Hibernated if the policy wants that, it was launched for it and EC2 has not refused it since its last start.
fn stop_mode(on_idle: OnIdle, worker: &Worker, cause: &Cause) -> StopMode {
    let spec = worker.attempt.as_ref().and_then(|attempt| attempt.spec.as_ref());
    let can = spec.is_some_and(|spec| spec.hibernate) && worker.hibernation.may_be_asked();
    // A worker that left by itself would be gone after it, and what writes memory to a disk is billed.
    let useful = matches!(cause, Cause::Idle | Cause::Released);
    if on_idle == OnIdle::Hibernate && can && useful && worker.build.is_none() {
        StopMode::Hibernate
    } else {
        StopMode::Plain
    }
}
