//! A rebake's acts, as calls: beside `perform.rs` the only caller of mutating cloud methods. Each act's intent
//! is in the journal before it comes here.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::driver::Clock;
use super::rebake::Stage;
use super::rebake::look::failure;
use crate::cloud::{Bakery, CloudError, Commands};
use crate::model::{
    AmiId, CommandId, Failure, FailureKind, InstanceId, Phase, RebakeKind, RebakeOrder, Rehearsal, RetireStage, Script,
    StopMode, TagSet, tag_keys,
};
use crate::plan::rebake::{Answer, RebakeAct, Told};
use crate::policy::Secret;

/// The longest that one act may take before its outcome counts as open; some are several calls.
const ACT_LIMIT: Duration = Duration::from_mins(2);

/// Does it. May be done again: launches carry their token, everything else says what shall be.
pub(super) async fn perform<C: Bakery + Commands, S: Stage>(
    cloud: &C,
    stage: Option<&S>,
    clock: &Clock,
    order: &RebakeOrder,
    act: &RebakeAct,
) -> Told<Answer> {
    let acted = async {
        match act {
            RebakeAct::Canary { .. }
            | RebakeAct::EndCanary { .. }
            | RebakeAct::Promote { .. }
            | RebakeAct::RollBack { .. } => match stage {
                Some(stage) => on_stage(stage, order, act).await,
                None => Err(no_controller()),
            },
            _ => Box::pin(in_cloud(cloud, clock.now(), order, act)).await.map_err(|error| failure(&error)),
        }
    };
    let late = || Err(Failure::new(Phase::Rebake, FailureKind::Unreachable, "Timeout", "no answer within 2 minutes"));
    clock.within(ACT_LIMIT, acted).await.unwrap_or_else(late)
}

fn no_controller() -> Failure {
    let message = "this needs the controller, and none works on this rebake";
    Failure::new(Phase::Rebake, FailureKind::Bug, "NoController", message)
}

async fn on_stage<S: Stage>(stage: &S, order: &RebakeOrder, act: &RebakeAct) -> Told<Answer> {
    match act {
        RebakeAct::Canary { worker, ami, now } => stage.ask_canary(order, worker, ami, *now).await.map(Answer::Canary),
        RebakeAct::EndCanary { worker } => stage.end_canary(order, worker).await.map(|()| Answer::Done),
        RebakeAct::Promote { from, to } => stage.promote(order, from, to).await.map(|()| Answer::Done),
        RebakeAct::RollBack { from, to } => stage.roll_back(order, from, to).await.map(|()| Answer::Done),
        _ => Err(no_controller()),
    }
}

async fn in_cloud<C: Bakery + Commands>(
    cloud: &C,
    now: DateTime<Utc>,
    order: &RebakeOrder,
    act: &RebakeAct,
) -> Result<Answer, CloudError> {
    let done = |()| Answer::Done;
    match act {
        RebakeAct::Rehearse => Box::pin(rehearse(cloud, order)).await,
        RebakeAct::Fence { fence } => Box::pin(cloud.fence(fence)).await.map(Answer::Group),
        RebakeAct::Launch { spec, token } => {
            let user_data = order.user_data.clone().map(Secret::new);
            Box::pin(cloud.launch(spec, user_data.as_ref(), token)).await.map(Answer::Instance)
        }
        RebakeAct::Command { instance } => Box::pin(command(cloud, order, instance)).await.map(Answer::Command),
        RebakeAct::Stop { instance } => cloud.stop(instance, StopMode::Plain).await.map(done),
        RebakeAct::Start { instance } => cloud.start(instance).await.map(done),
        RebakeAct::CreateImage { of, name, tags } => {
            Box::pin(cloud.create_image(of, name, tags)).await.map(Answer::Ami)
        }
        RebakeAct::Terminate { instance } => gone(cloud.terminate(instance).await),
        RebakeAct::Unfence { group: Some(group) } => Box::pin(cloud.unfence(group)).await.map(done),
        RebakeAct::Unfence { group: None } => Box::pin(unfence_all(cloud, order)).await.map(done),
        RebakeAct::TagImage { ami, rollout } => {
            let mut tags = TagSet::default();
            tags.set(tag_keys::ROLLOUT, *rollout);
            Box::pin(cloud.tag_image(ami, &tags)).await.map(done)
        }
        RebakeAct::RetireImage { ami } => Box::pin(cloud.retire_image(ami)).await.map(done),
        RebakeAct::PutAway { ami, stage } => Box::pin(put_away(cloud, now, ami, *stage)).await,
        RebakeAct::Canary { .. }
        | RebakeAct::EndCanary { .. }
        | RebakeAct::Promote { .. }
        | RebakeAct::RollBack { .. } => Ok(Answer::Done),
    }
}

/// Everything that would be refused is told at once: a person mends it in one go.
async fn rehearse<C: Bakery>(cloud: &C, order: &RebakeOrder) -> Result<Answer, CloudError> {
    let Some(launch) = order.launches.first().filter(|_| order.kind != RebakeKind::Enroll) else {
        return Ok(Answer::Allowed { calls: 0 });
    };
    let rehearsal = Rehearsal { launch: Box::new(launch.clone()), source: order.source.clone() };
    let tried = cloud.rehearse(&rehearsal).await;
    let calls = u32::try_from(tried.len()).unwrap_or(u32::MAX);
    let refused: Vec<(&str, CloudError)> =
        tried.into_iter().filter_map(|(action, result)| Some((action, result.err()?))).collect();
    // One that is open says nothing of the others: they are all tried again.
    let first = refused.iter().find(|(_, error)| error.kind.leaves_outcome_open()).or_else(|| refused.first());
    let Some((_, first)) = first else { return Ok(Answer::Allowed { calls }) };
    let all: Vec<String> = refused.iter().map(|(action, error)| format!("{action} ({})", error.code)).collect();
    let message = format!("would be refused: {}: {}", all.join(", "), first.message);
    Err(CloudError { kind: first.kind, code: first.code.clone(), message })
}

/// A script has no token: it is looked for before it is sent (again).
async fn command<C: Commands>(cloud: &C, order: &RebakeOrder, instance: &InstanceId) -> Result<CommandId, CloudError> {
    let comment = order.id.to_string();
    if let Some(sent) = cloud.sent(instance, &comment).await?.into_iter().next() {
        return Ok(sent);
    }
    let text = order.command.clone().unwrap_or_default();
    let timeout_s = u32::try_from(order.limits.builder.num_seconds()).unwrap_or(u32::MAX);
    cloud.send_script(instance, &Script { windows: order.windows, text, timeout_s, comment }).await
}

/// A group that was asked for, and whose answer was lost, is known by its tag.
async fn unfence_all<C: Bakery>(cloud: &C, order: &RebakeOrder) -> Result<(), CloudError> {
    for (group, tags) in cloud.fences().await? {
        if tags.get(tag_keys::REBAKE) == Some(order.id.as_str()) {
            cloud.unfence(&group).await?;
        }
    }
    Ok(())
}

/// What EC2 does not know any more is gone.
fn gone(result: Result<(), CloudError>) -> Result<Answer, CloudError> {
    match result {
        Err(error) if error.kind != FailureKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(Answer::Done),
    }
}

async fn put_away<C: Bakery>(
    cloud: &C,
    now: DateTime<Utc>,
    ami: &AmiId,
    stage: RetireStage,
) -> Result<Answer, CloudError> {
    match stage {
        // EC2 takes no time that has passed, and rounds to a minute.
        RetireStage::Deprecate => gone(cloud.deprecate(ami, Some(now + chrono::TimeDelta::minutes(2))).await),
        RetireStage::Disable => {
            // The time first: without it the next stage would take it for a person's doing.
            let mut tags = TagSet::default();
            tags.set_time(tag_keys::PUT_AWAY, now);
            match cloud.tag_image(ami, &tags).await {
                Ok(()) => gone(cloud.put_away(ami, true).await),
                refused => gone(refused),
            }
        }
        RetireStage::Deregister => cloud.retire_image(ami).await.map(|()| Answer::Done),
    }
}
