//! What is seen of a controller, as the decisions take it.

use chrono::{DateTime, TimeDelta, Utc};

use crate::control::{BudgetView, CellView, ImageAge, RebakeView, WorkerView};
use crate::model::{BudgetLevel, LeftoverKind, Outcome, OwnerName, Response, Step};
use crate::plan::alarm::{BudgetFact, CellFact, ImageFact, LeftoverFact, RebakeFact, RebakeTurn, Refusal, WorkerFact};
use crate::plan::sweep::{Act, Finding};
use crate::policy::Intent;

pub(super) fn worker(view: &WorkerView, intent: &Intent) -> Option<WorkerFact> {
    let owner = view.owner.parse().ok()?;
    let notify = intent.owners.get(&owner).and_then(|owner| owner.notify.down_after);
    Some(WorkerFact {
        worker: view.worker.parse().ok()?,
        owner,
        state: view.state.clone(),
        instance: view.instance.clone(),
        held: view.held.clone(),
        start_limit: TimeDelta::seconds(view.launch_deadline_s.saturating_add(view.connect_deadline_s)),
        down_after: notify.or(intent.notify.down_after),
        hourly: view.price,
        created: view.created,
    })
}

pub(super) fn cell(view: &CellView) -> Option<CellFact> {
    let refusal = view.failure.as_ref().map(|failure| Refusal {
        code: failure.code.clone(),
        message: failure.message.clone(),
        cure: failure.cure.clone(),
        fatal: failure.fatal,
    });
    Some(CellFact {
        owner: view.owner.parse().ok()?,
        region: view.region.parse().ok()?,
        listed_at: view.listed_at,
        refusal,
        swept_whole: view.swept_at.is_some() && view.unseen.is_empty(),
        leftovers: view.leftovers.iter().filter(|found| costs(found.kind)).map(leftover).collect(),
    })
}

/// The amounts of a budget that are reached.
pub(super) fn budget(view: &BudgetView) -> Vec<BudgetFact> {
    let Ok(owner) = view.owner.parse::<OwnerName>() else { return Vec::new() };
    let amounts = [(BudgetLevel::Soft, view.soft), (BudgetLevel::Hard, view.hard)];
    let reached = amounts.into_iter().filter_map(|(level, limit)| Some((level, limit?)));
    let reached = reached.filter(|(_, limit)| view.spent.high >= *limit);
    let fact = |(level, limit)| BudgetFact {
        owner: owner.clone(),
        month: view.month.clone(),
        level,
        spent: view.spent,
        limit,
        until: view.until,
    };
    reached.map(fact).collect()
}

/// Whether a leftover is a zombie: it costs, and nothing speaks for it. An AMI that newer ones have replaced, and
/// what may be the owner's own, is in the report.
fn costs(kind: LeftoverKind) -> bool {
    !matches!(kind, LeftoverKind::AmiSuperseded | LeftoverKind::IntentOpen | LeftoverKind::UntaggedOnOwnAmi)
}

fn leftover(found: &Finding) -> LeftoverFact {
    let runs = matches!(
        found.kind,
        LeftoverKind::Orphan
            | LeftoverKind::StateSkew
            | LeftoverKind::NeverConnected
            | LeftoverKind::Unattended
            | LeftoverKind::Expired
            | LeftoverKind::BakeOverdue
    );
    LeftoverFact {
        id: found.id.clone(),
        kind: found.kind.name().to_owned(),
        runs,
        reason: found.reason.clone(),
        since: found.since,
        monthly: found.monthly,
        response: match found.act {
            Act::Stop => Response::Stop,
            Act::Terminate | Act::Mark | Act::Wait => Response::Terminate,
            Act::Report => Response::Report,
        },
    }
}

pub(super) fn rebake(view: &RebakeView) -> Option<RebakeFact> {
    let turn = match &view.outcome {
        Some(Outcome::Failed { step, why }) => RebakeTurn::Failed(format!("in {step}: {why}")),
        Some(Outcome::RolledBack { why }) => RebakeTurn::RolledBack(why.clone()),
        Some(Outcome::Aborted {} | Outcome::HandedOver { .. }) => RebakeTurn::Over,
        Some(Outcome::Done { .. }) => RebakeTurn::Promoted,
        None if view.undoing.is_none() && view.step > Step::Promote => RebakeTurn::Promoted,
        None => RebakeTurn::Works,
    };
    Some(RebakeFact {
        id: view.id.clone(),
        image: view.image.clone(),
        owner: view.owner.parse().ok()?,
        source: view.source.clone(),
        ami: view.ami.clone(),
        generation: view.generation,
        at: view.last_at.unwrap_or(view.ordered_at),
        turn,
    })
}

pub(super) fn image(age: ImageAge, intent: &Intent, now: DateTime<Utc>) -> Option<ImageFact> {
    let image = intent.images.get(&age.image).filter(|image| image.ami.named() == Some(&age.ami))?;
    Some(ImageFact {
        owner: image.owner.clone(),
        max_age: intent.requirements.max_ami_age,
        next_window: image.rebake.next_window(now),
        image: age.image,
        ami: age.ami,
        created: age.created,
        deprecated: age.deprecated,
        ours: age.ours,
    })
}
