//! Taking back what was made, the last first: nothing is left behind, and nothing that is not ours is touched.

use chrono::{DateTime, Utc};

use super::bake::is_builder;
use super::{LOOK_AGAIN, Move, Question, RebakeAct, RebakeView, pause_between_looks, paused, unseen, wait};
use crate::model::{AmiState, InstanceState, Outcome, Rebake, RebakeBody, RebakeKind, Thing};

pub(super) fn asks(rebake: &Rebake) -> Vec<Question> {
    match rebake.made().first() {
        Some(Thing::Builder | Thing::Stop) => vec![Question::Builder],
        // What was in use, or may have been, may be so still: then it stays until it is not.
        Some(Thing::Candidate) if rebake.promoting_from.is_some() => vec![Question::Image, Question::Uses],
        Some(Thing::Candidate) => vec![Question::Image],
        Some(Thing::Promotion | Thing::Canary | Thing::Fence) | None => Vec::new(),
    }
}

pub(super) fn next(view: &RebakeView<'_>) -> Move {
    let rebake = view.rebake;
    let Some(undo) = &rebake.undo else { return wait(view, "nothing is taken back") };
    let Some(thing) = rebake.made().first().copied() else {
        let outcome = match (undo.by_hand, &rebake.worse) {
            (true, _) => Outcome::Aborted {},
            (false, Some(why)) => Outcome::RolledBack { why: why.clone() },
            (false, None) => Outcome::Failed { step: undo.step, why: undo.why.clone() },
        };
        return Move::Record(vec![RebakeBody::Ended { outcome }]);
    };
    if let Some(until) = paused(view) {
        return Move::Wait { why: format!("taking back {thing} was refused"), until };
    }
    let undone = Move::Record(vec![RebakeBody::Undone { thing }]);
    // An AMI that its owner handed over may be the owner's alone to remove: then it stays, and is told.
    let theirs = thing == Thing::Candidate && rebake.order.kind == RebakeKind::HandedOver;
    if theirs && rebake.refused.as_ref().is_some_and(|(_, _, failure)| failure.kind.needs_a_person()) {
        return undone;
    }
    match thing {
        Thing::Promotion => match (&rebake.order.current, &rebake.ami) {
            (Some(to), Some(from)) => Move::Act(RebakeAct::RollBack { from: from.clone(), to: to.clone() }),
            _ => undone,
        },
        Thing::Canary => match &rebake.order.worker {
            Some(worker) => Move::Act(RebakeAct::EndCanary { worker: worker.clone() }),
            None => undone,
        },
        Thing::Candidate => candidate(view).unwrap_or(undone),
        Thing::Builder => builder(view).unwrap_or(undone),
        Thing::Fence => fence(view),
        Thing::Stop => restart(view).unwrap_or(undone),
    }
}

/// From when on a complete listing that does not show the builder says that there is none.
pub(super) fn shown_from(rebake: &Rebake) -> DateTime<Utc> {
    let sent = rebake.launch.as_ref().map_or(rebake.order.at, |(_, at)| *at);
    sent + rebake.order.limits.absence_grace
}

/// What is to be done until no builder is left; `None` once there is none.
pub(super) fn builder(view: &RebakeView<'_>) -> Option<Move> {
    let rebake = view.rebake;
    let (at, instances) = match &view.sight.builder {
        None => return Some(wait(view, "the builder is to be looked at")),
        Some((_, Err(failure))) => return Some(unseen(view, "the builder", failure)),
        Some((at, Ok(instances))) => (at, instances),
    };
    let mine = || instances.iter().filter(|instance| is_builder(rebake, instance));
    if let Some(lives) = mine().find(|instance| !instance.state.is_ending()) {
        return Some(Move::Act(RebakeAct::Terminate { instance: lives.id.clone() }));
    }
    if let Some(ends) = mine().find(|instance| instance.state != InstanceState::Terminated) {
        return Some(wait(view, format!("{} is {}", ends.id, ends.state)));
    }
    // One that is shown as terminated is the one of the only launch whose outcome is known.
    let known = rebake.builder.as_ref().is_some_and(|id| mine().any(|instance| instance.id == *id));
    if !known && *at < shown_from(rebake) {
        let until = shown_from(rebake).min(view.now + pause_between_looks(view, LOOK_AGAIN));
        return Some(Move::Wait { why: "a launch may show late".to_owned(), until });
    }
    None
}

/// What is to be done until the new AMI is gone.
fn candidate(view: &RebakeView<'_>) -> Option<Move> {
    let rebake = view.rebake;
    let (at, images) = match &view.sight.image {
        None => return Some(wait(view, "the new AMI is to be looked at")),
        Some((_, Err(failure))) => return Some(unseen(view, "the new AMI", failure)),
        Some((at, Ok(images))) => (at, images),
    };
    match &view.sight.uses {
        Some(Err(failure)) => return Some(unseen(view, "who uses the new AMI", failure)),
        Some(Ok(uses)) if !uses.is_empty() => {
            let why = format!("the new AMI is in use: {}", uses.join(", "));
            return Some(Move::Wait { why, until: view.now + pause_between_looks(view, LOOK_AGAIN * 4) });
        }
        Some(Ok(_)) | None => {}
    }
    if let Some(image) = images.iter().find(|image| image.state != AmiState::Deregistered) {
        if rebake.ami.is_none() {
            // Its snapshots are found by its id once it is gone itself: the id is written down before.
            return Some(Move::Record(vec![RebakeBody::ImageMade { ami: image.id.clone() }]));
        }
        return Some(Move::Act(RebakeAct::RetireImage { ami: image.id.clone() }));
    }
    let sent = rebake.image_at.unwrap_or(rebake.order.at);
    if *at < sent + rebake.order.limits.absence_grace {
        return Some(wait(view, "an AMI may show late"));
    }
    // Its snapshots outlive it, if somebody else deregistered it or an earlier removal was cut off. Only a removal
    // that was answered takes it off the list.
    rebake.ami.as_ref().map(|ami| Move::Act(RebakeAct::RetireImage { ami: ami.clone() }))
}

/// The security group goes, once a listing that does not show it says that there is none.
fn fence(view: &RebakeView<'_>) -> Move {
    let rebake = view.rebake;
    let shown = rebake.fence_at.unwrap_or(rebake.order.at) + rebake.order.limits.absence_grace;
    if view.now < shown {
        return Move::Wait {
            why: "a security group may show late".to_owned(),
            until: shown.min(view.now + LOOK_AGAIN),
        };
    }
    Move::Act(RebakeAct::Unfence { group: rebake.fence.clone() })
}

/// An instance that was stopped for it runs again.
fn restart(view: &RebakeView<'_>) -> Option<Move> {
    let stopped = view.rebake.stopped.as_ref()?;
    let (at, instances) = match &view.sight.builder {
        None => return Some(wait(view, "the instance is to be looked at")),
        Some((_, Err(failure))) => return Some(unseen(view, "the instance", failure)),
        Some((at, Ok(instances))) => (at, instances),
    };
    let instance = instances.iter().find(|instance| instance.id == *stopped)?;
    let sent = view.rebake.stop_at.unwrap_or(view.rebake.order.at);
    match instance.state {
        InstanceState::Stopped => Some(Move::Act(RebakeAct::Start { instance: stopped.clone() })),
        InstanceState::Stopping => Some(wait(view, format!("{stopped} is stopping"))),
        InstanceState::Running if *at < sent + view.rebake.order.limits.absence_grace => {
            Some(wait(view, format!("the stop of {stopped} may show late")))
        }
        _ => None,
    }
}
