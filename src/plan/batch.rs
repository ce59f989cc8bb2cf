//! Launches that differ in nothing but their worker go in one call.

use chrono::{DateTime, TimeDelta, Utc};

use super::View;
use crate::model::{
    Action, AttemptId, BATCH_MAX, BatchPlace, ClientToken, Held, HeldReason, LaunchSpec, Plan, Role, Subject,
    WorkerName, WorkerState, tag_keys,
};
use crate::policy::{Image, Shared};

/// Others are waited for until nobody has asked for so long …
const QUIET: TimeDelta = TimeDelta::milliseconds(30);
/// … and for so long at most.
const PATIENCE: TimeDelta = TimeDelta::milliseconds(150);

type Launch = (WorkerName, Box<LaunchSpec>);

/// Whether launches from this image may go together: their user data is one text for all.
pub(super) fn is_shared(image: &Image) -> bool {
    image.batch_max > 1
}

/// Puts launches of one image together, and what is sent again of them. What the calls that may be sent now do not
/// reach is held.
pub(super) fn gather(view: &View<'_>, plan: &mut Plan) {
    let actions = std::mem::take(&mut plan.actions);
    let (mut groups, mut again): (Vec<Vec<Launch>>, Vec<WorkerName>) = (Vec::new(), Vec::new());
    let mut calls = view.launches_now;
    for action in actions {
        match action {
            Action::Launch { worker, spec } if shared_image(view, &worker, &spec).is_some() => {
                let alike = |group: &&mut Vec<Launch>| group.first().is_some_and(|(_, first)| are_alike(first, &spec));
                match groups.iter_mut().find(alike) {
                    Some(group) => group.push((worker, spec)),
                    None => groups.push(vec![(worker, spec)]),
                }
            }
            Action::Relaunch { workers } => again.extend(workers),
            other => {
                calls = calls.saturating_sub(u32::from(matches!(other, Action::Launch { .. })));
                plan.actions.push(other);
            }
        }
    }
    relaunch(view, plan, &again, &mut calls);
    for group in groups {
        launch(view, plan, group, &mut calls);
    }
}

fn shared_image<'a>(view: &View<'a>, worker: &WorkerName, spec: &LaunchSpec) -> Option<&'a Image> {
    let configured = view.intent.workers.get(worker)?;
    configured.user_data.as_ref()?.shared.as_ref()?;
    let image = view.intent.images.get(&configured.image)?;
    let worker = spec.tags.get(tag_keys::ROLE) == Some(Role::Worker.as_str());
    Some(image).filter(|image| worker && is_shared(image))
}

/// Whether two launches say the same but of whom they are for.
fn are_alike(one: &LaunchSpec, other: &LaunchSpec) -> bool {
    let common = |spec: &LaunchSpec| {
        let mut common = spec.nameless();
        common.tags.set(tag_keys::ATTEMPT, "");
        common.user_data_digest = None;
        common
    };
    common(one) == common(other)
}

fn launch(view: &View<'_>, plan: &mut Plan, mut group: Vec<Launch>, calls: &mut u32) {
    let Some(image) = group.first().and_then(|(worker, spec)| shared_image(view, worker, spec)) else { return };
    let most = usize::try_from(image.batch_max).unwrap_or(BATCH_MAX).min(BATCH_MAX);
    if let Some(until) = gathering(view, &group, most) {
        hold(plan, group.into_iter().map(|(worker, _)| worker), &HeldReason::Gathering { until });
        return;
    }
    while !group.is_empty() {
        if *calls == 0 {
            hold(plan, group.into_iter().map(|(worker, _)| worker), &HeldReason::Paced { until: view.launches_from });
            return;
        }
        *calls -= 1;
        let rest = group.split_off(most.min(group.len()));
        let (action, left) = one_call(view, group);
        plan.actions.extend(action);
        group = left.into_iter().chain(rest).collect();
    }
}

/// Until when more of the kind are waited for; `None` if there are as many as a call takes, or they have waited.
fn gathering(view: &View<'_>, group: &[Launch], most: usize) -> Option<DateTime<Utc>> {
    let asked = |(worker, _): &Launch| Some(view.fleet.workers.get(worker)?.request.as_ref()?.at);
    let (first, last) = (group.iter().filter_map(asked).min()?, group.iter().filter_map(asked).max()?);
    let until = (last + QUIET).min(first + PATIENCE);
    (group.len() < most && view.now < until).then_some(until)
}

/// One call for as many of them as fit it, and who is left, in their order.
fn one_call(view: &View<'_>, mut group: Vec<Launch>) -> (Option<Action>, Vec<Launch>) {
    let mut left = Vec::new();
    while group.len() > 1 {
        if let Some(launches) = together(view, &group) {
            return (Some(Action::LaunchTogether { launches }), left);
        }
        // A quarter less at a time: what they are put together from is rendered anew.
        let mut rest = group.split_off(group.len() * 3 / 4);
        rest.append(&mut left);
        left = rest;
    }
    (group.pop().map(|(worker, spec)| Action::Launch { worker, spec }), left)
}

/// The members of one call; `None` if they are too many for its tags or its user data.
fn together(view: &View<'_>, group: &[Launch]) -> Option<Vec<Launch>> {
    let workers: Vec<WorkerName> = group.iter().map(|(worker, _)| worker.clone()).collect();
    let attempt = attempt(view, &workers)?;
    let digest = user_data(view, &workers, &attempt)?.digest;
    let launches: Vec<Launch> = group
        .iter()
        .enumerate()
        .map(|(index, (worker, spec))| {
            let mut spec = spec.clone();
            spec.tags.set(tag_keys::ATTEMPT, attempt.as_str());
            spec.user_data_digest = Some(digest.clone());
            spec.batch = Some(BatchPlace::of(index, &workers));
            (worker.clone(), spec)
        })
        .collect();
    launches.first()?.1.for_all(&workers)?;
    Some(launches)
}

/// An attempt that none of them has made before: it counts on from the one that has made the most.
fn attempt(view: &View<'_>, workers: &[WorkerName]) -> Option<AttemptId> {
    let attempts =
        workers.iter().filter_map(|name| view.fleet.workers.get(name)).map(|worker| worker.attempts).max()?;
    format!("{}-{}", view.now.timestamp(), attempts + 1).parse().ok()
}

/// The user data of a call for these workers, in this order; `None` if there is none for all of them, or EC2 would
/// not take it.
pub(super) fn user_data(
    view: &View<'_>,
    workers: &[WorkerName],
    attempt: &AttemptId,
) -> Option<crate::policy::UserData> {
    Shared::of(view.intent, workers)?.user_data(view.intent.join_key.as_ref(), attempt).ok()
}

/// The workers of the call that one of them was launched by, in order, if it can be sent again: all of them wait for
/// its outcome and nobody has withdrawn.
pub(super) fn members(view: &View<'_>, token: &ClientToken, place: &BatchPlace) -> Option<Vec<WorkerName>> {
    let mut members: Vec<(u32, &WorkerName)> = Vec::new();
    for (name, worker) in view.fleet.of_cell(view.cell) {
        if matches!(&worker.state, WorkerState::Launching { token: own } if own == token) {
            let spec = worker.attempt.as_ref()?.spec.as_ref()?;
            if worker.released.is_some() {
                return None;
            }
            members.push((spec.launch_index(), name));
        }
    }
    members.sort();
    let workers: Vec<WorkerName> = members.into_iter().map(|(_, name)| name.clone()).collect();
    place.is_of(&workers).then_some(workers)
}

/// Sends again, of calls for several all or none.
fn relaunch(view: &View<'_>, plan: &mut Plan, again: &[WorkerName], calls: &mut u32) {
    let mut done: Vec<WorkerName> = Vec::new();
    for name in again {
        if done.contains(name) {
            continue;
        }
        let workers = whole(view, name).unwrap_or_else(|| vec![name.clone()]);
        done.extend(workers.iter().cloned());
        if *calls == 0 || workers.iter().any(|worker| !again.contains(worker)) {
            let here = workers.into_iter().filter(|worker| again.contains(worker));
            hold(plan, here, &HeldReason::Paced { until: view.launches_from });
        } else {
            *calls -= 1;
            plan.actions.push(Action::Relaunch { workers });
        }
    }
}

/// All members of the call that this worker was launched by.
fn whole(view: &View<'_>, name: &WorkerName) -> Option<Vec<WorkerName>> {
    let worker = view.fleet.workers.get(name)?;
    let WorkerState::Launching { token } = &worker.state else { return None };
    members(view, token, worker.attempt.as_ref()?.spec.as_ref()?.batch.as_ref()?)
}

fn hold(plan: &mut Plan, workers: impl Iterator<Item = WorkerName>, reason: &HeldReason) {
    plan.held.extend(workers.map(|worker| Held { subject: Subject::Worker(worker), reason: reason.clone() }));
}
