//! From the AMI to the new one: the calls around the guest's own work.

use super::{Move, Question, RebakeAct, RebakeView, done, fail, undo, unseen, wait};
use crate::model::{
    AmiState, FailureKind, Instance, InstanceState, LaunchSpec, Rebake, RebakeKind, Role, Step, tag_keys,
};

pub(super) fn asks(rebake: &Rebake) -> Vec<Question> {
    match rebake.step {
        Step::Image if rebake.ami.is_some() => vec![Question::Image],
        Step::Dismiss => vec![Question::Builder],
        _ => Vec::new(),
    }
}

/// The group is made; that it is there ends the step.
pub(super) fn fence(view: &RebakeView<'_>) -> Move {
    match &view.rebake.order.fence {
        Some(fence) => Move::Act(RebakeAct::Fence { fence: Box::new(fence.clone()) }),
        None => done(view.rebake, "the manifest names its own".to_owned()),
    }
}

pub(super) fn launch(view: &RebakeView<'_>) -> Move {
    let rebake = view.rebake;
    if rebake.builder.is_some() {
        return launched(view);
    }
    let refused = rebake.launches_refused.len();
    if let Some(last) = rebake.launches_refused.last().filter(|last| last.kind != FailureKind::Elsewhere) {
        return fail(format!("{} ({}): {}; {}", last.code, last.kind, last.message, last.kind.cure()));
    }
    // A launch whose outcome is open is sent again as it was: its token makes it one.
    let open = rebake
        .launch
        .as_ref()
        .filter(|(spec, _)| rebake.order.launches.get(refused).is_some_and(|next| same_place(next, spec)));
    let spec = match (open, rebake.order.launches.get(refused)) {
        (Some((spec, _)), _) => (**spec).clone(),
        (None, Some(next)) => ready(view, next),
        (None, None) => {
            let last = rebake.launches_refused.last().map(|last| last.message.clone()).unwrap_or_default();
            return fail(format!(
                "there is no on-demand capacity for a builder: {refused} places were tried; the last refusal: {last}; \
                 {}",
                FailureKind::Elsewhere.cure()
            ));
        }
    };
    let token = spec.token();
    Move::Act(RebakeAct::Launch { spec: Box::new(spec), token })
}

fn same_place(one: &LaunchSpec, other: &LaunchSpec) -> bool {
    one.offering == other.offering
}

/// The launch as it is sent: with the group that was made, and the times that count from now.
fn ready(view: &RebakeView<'_>, planned: &LaunchSpec) -> LaunchSpec {
    let mut spec = planned.clone();
    if let Some(group) = &view.rebake.fence {
        (spec.security_groups, spec.security_group_names) = (vec![group.to_string()], Vec::new());
    }
    let created = chrono::SubsecRound::trunc_subsecs(view.now, 0);
    let until = created + view.rebake.order.limits.builder;
    spec.tags.set_time(tag_keys::CREATED, created);
    spec.tags.set_time(tag_keys::LEASE, until).set_time(tag_keys::DEADLINE, until);
    spec
}

/// The builder was launched: it runs, or why not.
fn launched(view: &RebakeView<'_>) -> Move {
    match seen_builder(view) {
        Sighted::Unseen(by) => by,
        Sighted::Absent => fail("the builder has vanished".to_owned()),
        Sighted::There(instance) => match instance.state {
            InstanceState::Pending | InstanceState::Unknown(_) => {
                wait(view, format!("{} is being started", instance.id))
            }
            InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => {
                done(view.rebake, format!("{} runs", instance.id))
            }
            InstanceState::ShuttingDown | InstanceState::Terminated => fail(ended(instance)),
        },
    }
}

/// Why a builder is gone.
pub(super) fn ended(instance: &Instance) -> String {
    let reason = instance.state_reason.as_deref().unwrap_or("EC2 gives no reason");
    format!("{} ended from outside: {reason}", instance.id)
}

/// What a listing shows of the builder.
pub(super) enum Sighted<'a> {
    /// Nothing that can be relied upon; wait.
    Unseen(Move),
    /// It is not there, and would be shown.
    Absent,
    /// It is there.
    There(&'a Instance),
}

/// The builder in the last listing. On a young one its absence proves nothing.
pub(super) fn seen_builder<'a>(view: &RebakeView<'a>) -> Sighted<'a> {
    let rebake = view.rebake;
    let wanted = rebake.builder.as_ref().or(rebake.order.instance.as_ref());
    match &view.sight.builder {
        None => Sighted::Unseen(wait(view, "the builder is to be looked at")),
        Some((_, Err(failure))) => Sighted::Unseen(unseen(view, "the builder", failure)),
        Some((at, Ok(instances))) => match instances.iter().find(|instance| Some(&instance.id) == wanted) {
            Some(instance) => Sighted::There(instance),
            None if *at < undo::shown_from(rebake) => {
                Sighted::Unseen(wait(view, "the builder is young, and no listing shows it yet"))
            }
            None => Sighted::Absent,
        },
    }
}

/// The instance that is enrolled is stopped, if it is not.
pub(super) fn stop(view: &RebakeView<'_>) -> Move {
    match seen_builder(view) {
        Sighted::Unseen(by) => by,
        Sighted::Absent => fail("the instance is not there".to_owned()),
        Sighted::There(instance) => match instance.state {
            InstanceState::Running => Move::Act(RebakeAct::Stop { instance: instance.id.clone() }),
            InstanceState::Stopped => done(view.rebake, format!("{} is stopped", instance.id)),
            InstanceState::Pending | InstanceState::Stopping | InstanceState::Unknown(_) => {
                wait(view, format!("{} is {}", instance.id, instance.state))
            }
            InstanceState::ShuttingDown | InstanceState::Terminated => fail(ended(instance)),
        },
    }
}

/// The AMI of the stopped builder. CreateImage knows no token: the name makes it one.
pub(super) fn image(view: &RebakeView<'_>) -> Move {
    let rebake = view.rebake;
    let order = &rebake.order;
    let Some(ami) = &rebake.ami else {
        return match rebake.builder.as_ref().or(order.instance.as_ref()) {
            Some(of) => {
                Move::Act(RebakeAct::CreateImage { of: of.clone(), name: order.name.clone(), tags: order.lineage() })
            }
            None => fail("there is no instance to make an AMI of".to_owned()),
        };
    };
    match &view.sight.image {
        None => wait(view, format!("{ami} is to be looked at")),
        Some((_, Err(failure))) => unseen(view, "the AMI", failure),
        Some((at, Ok(images))) => match images.iter().find(|image| image.id == *ami).map(|image| &image.state) {
            Some(AmiState::Available) => done(rebake, format!("{ami} ({}) is available", order.name)),
            Some(AmiState::Pending | AmiState::Unknown(_)) => wait(view, format!("{ami} is pending")),
            Some(AmiState::Failed) => fail(format!("EC2 could not make {ami}: its state is failed")),
            Some(AmiState::Deregistered | AmiState::Disabled) => fail(format!("somebody put {ami} away")),
            None if *at < rebake.image_at.unwrap_or(rebake.since) + order.limits.absence_grace => {
                wait(view, format!("{ami} is young, and no listing shows it yet"))
            }
            None => fail(format!("{ami} has vanished")),
        },
    }
}

/// The builder goes, then its group.
pub(super) fn dismiss(view: &RebakeView<'_>) -> Move {
    match undo::builder(view) {
        Some(next) => next,
        None if view.rebake.fence_at.is_none() => done(view.rebake, "the builder is gone".to_owned()),
        None => Move::Act(RebakeAct::Unfence { group: view.rebake.fence.clone() }),
    }
}

/// Whether an instance is a builder of this rebake.
pub(super) fn is_builder(rebake: &Rebake, instance: &Instance) -> bool {
    let tagged = instance.tags.get(tag_keys::REBAKE) == Some(rebake.order.id.as_str())
        && instance.tags.get(tag_keys::ROLE) == Some(Role::Rebake.to_string().as_str());
    rebake.order.kind != RebakeKind::Enroll && (tagged || rebake.builder.as_ref() == Some(&instance.id))
}
