//! From the new AMI to its use: a worker proves it, the manifest names it, its starts are watched, and what it
//! replaced goes.

use std::collections::BTreeSet;

use super::{Move, RebakeAct, RebakeView, SoakSight, done, fail, unseen, wait};
use crate::model::{AmiId, CanaryPhase, RebakeBody, RetireStage};

/// How often the starts of a new generation are looked at.
const SOAK_LOOK: chrono::TimeDelta = chrono::TimeDelta::minutes(1);
/// How often it is looked whether something may be put further away.
const RETIRE_LOOK: chrono::TimeDelta = chrono::TimeDelta::hours(1);

pub(super) fn canary(view: &RebakeView<'_>) -> Move {
    let rebake = view.rebake;
    let (Some(worker), Some(ami)) = (&rebake.order.worker, &rebake.ami) else {
        return fail("no worker uses the image: nothing can prove it".to_owned());
    };
    let ask = |now| Move::Act(RebakeAct::Canary { worker: worker.clone(), ami: ami.clone(), now });
    let Some(asked_now) = rebake.canary_asked else { return ask(view.urgent) };
    match &view.sight.canary {
        None => wait(view, "the canary is to be looked at"),
        Some(Err(failure)) => unseen(view, "the canary", failure),
        // The controller's record was lost, or never had it.
        Some(Ok(None)) => ask(view.urgent || asked_now),
        Some(Ok(Some(seen))) if rebake.canary.as_ref() != Some(seen) => {
            Move::Record(vec![RebakeBody::CanarySaw { sight: Box::new(seen.clone()) }])
        }
        Some(Ok(Some(seen))) => match seen.phase {
            CanaryPhase::Passed => {
                let built = seen.built.as_ref().map(|build| format!(", passed {build}")).unwrap_or_default();
                done(rebake, format!("{worker} connected{built}, was stopped and started, and connected again"))
            }
            CanaryPhase::Failed => {
                fail(format!("the canary failed: {}", seen.why.as_deref().unwrap_or("its controller does not say why")))
            }
            CanaryPhase::Waiting if view.urgent && !asked_now => ask(true),
            phase => wait(view, seen.why.clone().unwrap_or_else(|| format!("the canary is {phase}"))),
        },
    }
}

pub(super) fn promote(view: &RebakeView<'_>) -> Move {
    let rebake = view.rebake;
    let (Some(from), Some(to)) = (&rebake.order.current, &rebake.ami) else {
        return fail("there is no manifest that could name the new AMI".to_owned());
    };
    if rebake.promoted_at.is_none() {
        return Move::Act(RebakeAct::Promote { from: from.clone(), to: to.clone() });
    }
    match &rebake.refused {
        // The AMI of an owner who does not let the controller write tags on it is used all the same.
        Some((_, _, failure)) if failure.kind.needs_a_person() => {
            done(rebake, format!("{to} is the image's; its tags do not say so ({})", failure.code))
        }
        _ => Move::Act(RebakeAct::TagImage { ami: to.clone(), rollout: "promoted" }),
    }
}

pub(super) fn soak(view: &RebakeView<'_>) -> Move {
    let rebake = view.rebake;
    if let Some(why) = &rebake.worse {
        return fail(why.clone());
    }
    let over = view.now >= super::deadline(rebake);
    let look = super::pause_between_looks(view, SOAK_LOOK);
    let later = |why: String| Move::Wait { why, until: (view.now + look).min(super::deadline(rebake).max(view.now)) };
    match &view.sight.soak {
        Some(Ok(SoakSight::Worse { why })) => Move::Record(vec![RebakeBody::FoundWorse { why: why.clone() }]),
        Some(Ok(SoakSight::Passed { why })) => done(rebake, why.clone()),
        Some(Ok(SoakSight::Waiting { have })) if over => {
            done(rebake, format!("{have} starts in its time, and none speaks against it"))
        }
        Some(Ok(SoakSight::Waiting { have })) => {
            later(format!("{have} of {} starts were seen", rebake.order.limits.soak_starts))
        }
        Some(Err(failure)) => unseen(view, "the starts of the new generation", failure),
        None => later("its starts are to be looked at".to_owned()),
    }
}

pub(super) fn retire(view: &RebakeView<'_>) -> Move {
    let rebake = view.rebake;
    if view.now >= super::deadline(rebake) {
        return done(rebake, "what it replaced is still in use; the next rebake sees to it".to_owned());
    }
    let sight = match &view.sight.retire {
        None => return wait(view, "what it replaced is to be looked at"),
        Some(Err(failure)) => return unseen(view, "what it replaced", failure),
        Some(Ok(sight)) => sight,
    };
    // An AMI that is gone is due no more, and its snapshots may be there still: only an answer ends its removal.
    let cut_off = rebake.retiring.iter().find(|(ami, retiring)| {
        retiring.stage == RetireStage::Deregister && !retiring.done && !sight.there.contains(ami)
    });
    if let Some((ami, retiring)) = cut_off {
        return Move::Act(RebakeAct::PutAway { ami: ami.clone(), stage: retiring.stage });
    }
    // What was done shows late: a deprecation counts from a time to come.
    let was_done = |(ami, stage): &&(AmiId, RetireStage)| {
        rebake.retiring.get(ami).is_some_and(|known| known.stage == *stage && known.done)
    };
    let (waits, due): (Vec<_>, Vec<_>) = sight.due.iter().partition(was_done);
    if let Some((ami, stage)) = due.first() {
        return Move::Act(RebakeAct::PutAway { ami: ami.clone(), stage: *stage });
    }
    let later: BTreeSet<&AmiId> = sight.later.iter().chain(waits.iter().map(|(ami, _)| ami)).collect();
    if later.is_empty() {
        return done(rebake, "nothing that it replaced is left to go".to_owned());
    }
    let names: Vec<String> = later.iter().map(ToString::to_string).collect();
    Move::Wait { why: format!("{} will go later", names.join(", ")), until: view.now + RETIRE_LOOK }
}
