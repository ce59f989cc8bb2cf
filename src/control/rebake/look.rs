//! What a rebake looks at before each of its moves.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::stage::Stage;
use crate::cloud::{Bakery, CloudError, Commands};
use crate::control::driver::Clock;
use crate::model::{
    Ami, AmiState, CommandStatus, Failure, FailureKind, GuestReport, Instance, InstanceId, Phase, Rebake, SourceAmi,
    tag_keys,
};
use crate::plan::rebake::{CommandSight, Question, RetireSight, Sight, Told};
use crate::plan::{RetireView, console_tail, read_marks, retirements};

/// The longest that a look may take.
const LOOK_LIMIT: Duration = Duration::from_mins(1);

/// How many lines of the console are shown.
const TAIL_LINES: usize = 5;

/// Asks the questions. Calls of an SDK are large values: they are boxed before they are handed on, or copies of them
/// fill a thread's stack.
///
/// What is not answered in time is a refusal, which proves nothing.
pub(super) async fn look<C: Bakery + Commands, S: Stage>(
    cloud: &C,
    stage: Option<&S>,
    clock: &Clock,
    rebake: &Rebake,
    questions: &[Question],
) -> Sight {
    let mut sight = Sight::default();
    let at = clock.now();
    for question in questions {
        match question {
            Question::Builder => sight.builder = Some((at, Box::pin(builder(cloud, clock, rebake)).await)),
            Question::Console => Box::pin(console(cloud, clock, rebake, &mut sight)).await,
            Question::Agent => sight.agent = Some(Box::pin(agent(cloud, clock, rebake)).await),
            Question::Command => Box::pin(command(cloud, clock, rebake, &mut sight)).await,
            Question::Image => sight.image = Some((at, Box::pin(images(cloud, clock, rebake)).await)),
            Question::Uses => sight.uses = Some(Box::pin(uses(cloud, stage, clock, rebake)).await),
            Question::Canary => {
                if let Some(stage) = stage {
                    sight.canary = Some(told_in_time(clock, Box::pin(stage.canary(&rebake.order))).await);
                }
            }
            Question::Soak => {
                if let (Some(stage), Some(ami)) = (stage, &rebake.ami) {
                    sight.soak = Some(told_in_time(clock, Box::pin(stage.soak(&rebake.order, ami))).await);
                }
            }
            Question::Retire => sight.retire = Some(Box::pin(retire(cloud, stage, clock, rebake)).await),
        }
    }
    sight
}

/// A cloud's refusal, as the journal keeps it.
pub(crate) fn failure(error: &CloudError) -> Failure {
    Failure::new(Phase::Rebake, error.kind, &error.code, &error.message)
}

async fn in_time<T>(clock: &Clock, call: impl Future<Output = Result<T, CloudError>>) -> Told<T> {
    told_in_time(clock, Box::pin(async { call.await.map_err(|error| failure(&error)) })).await
}

async fn told_in_time<T>(clock: &Clock, call: impl Future<Output = Told<T>>) -> Told<T> {
    let late = || Err(Failure::new(Phase::Rebake, FailureKind::Unreachable, "Timeout", "no answer within 60 s"));
    clock.within(LOOK_LIMIT, call).await.unwrap_or_else(late)
}

async fn builder<C: Bakery>(cloud: &C, clock: &Clock, rebake: &Rebake) -> Told<Vec<Instance>> {
    let known: Vec<InstanceId> =
        rebake.builder.iter().chain(&rebake.order.instance).chain(&rebake.stopped).cloned().collect();
    let inventory = in_time(clock, Box::pin(cloud.inventory(clock.now(), &known))).await?;
    let id = rebake.order.id.as_str();
    let mine = |instance: &Instance| {
        known.contains(&instance.id) || instance.tags.get(tag_keys::REBAKE).is_some_and(|own| own == id)
    };
    Ok(inventory.instances.into_values().filter(mine).collect())
}

async fn console<C: Bakery>(cloud: &C, clock: &Clock, rebake: &Rebake, sight: &mut Sight) {
    let Some(builder) = &rebake.builder else { return };
    // A console that cannot be read now is read at the next look.
    let Ok(Some(text)) = in_time(clock, Box::pin(cloud.console(builder))).await else { return };
    let lines: Vec<&str> = text.lines().rev().take(TAIL_LINES).collect();
    let tail: Vec<&str> = lines.into_iter().rev().collect();
    sight.tail = console_tail(&tail.join("\n"), &[]);
    heard(sight, Some(read_marks(&text, &rebake.order.nonce)));
}

/// What it said in one way and in another is put together.
fn heard(sight: &mut Sight, said: Option<GuestReport>) {
    if let Some(said) = said {
        sight.guest = Some(sight.guest.as_ref().map_or_else(|| said.clone(), |known| known.merged(&said)));
    }
}

async fn agent<C: Bakery + Commands>(cloud: &C, clock: &Clock, rebake: &Rebake) -> Told<bool> {
    let Some(builder) = &rebake.builder else { return Ok(false) };
    Ok(in_time(clock, Box::pin(cloud.online(builder))).await?.is_some_and(|agent| agent.connected))
}

async fn command<C: Bakery + Commands>(cloud: &C, clock: &Clock, rebake: &Rebake, sight: &mut Sight) {
    let (Some(builder), Some(command)) = (&rebake.builder, &rebake.command) else { return };
    let told = in_time(clock, Box::pin(cloud.command(builder, command))).await;
    if let Ok(state) = &told {
        heard(sight, Some(read_marks(&state.output, &rebake.order.nonce)));
    }
    sight.command = Some(told.map(|state| {
        if !state.status.is_over() {
            return CommandSight::Runs;
        }
        let word = serde_json::to_value(&state.status).ok();
        let word = word.and_then(|word| word.as_str().map(ToOwned::to_owned)).unwrap_or_default();
        CommandSight::Ended { well: state.status == CommandStatus::Success, word }
    }));
}

async fn images<C: Bakery>(cloud: &C, clock: &Clock, rebake: &Rebake) -> Told<Vec<Ami>> {
    let id = rebake.order.id.as_str();
    let all = in_time(clock, Box::pin(cloud.images(clock.now()))).await?;
    let mine =
        |ami: &Ami| Some(&ami.id) == rebake.ami.as_ref() || ami.tags.get(tag_keys::REBAKE).is_some_and(|own| own == id);
    Ok(all.into_iter().filter(mine).collect())
}

/// A manifest counts as well: a person may have written the AMI there.
async fn uses<C: Bakery, S: Stage>(cloud: &C, stage: Option<&S>, clock: &Clock, rebake: &Rebake) -> Told<Vec<String>> {
    let Some(ami) = &rebake.ami else { return Ok(Vec::new()) };
    let mut all = in_time(clock, Box::pin(cloud.uses(ami))).await?;
    let kept = stage.and_then(|stage| stage.kept(&rebake.order.image));
    if kept.is_some_and(|kept| kept.current.as_ref() == Some(ami) || kept.previous.as_ref() == Some(ami)) {
        all.push("its manifest".to_owned());
    }
    Ok(all)
}

/// Which AMIs of the image may be put further away. Who uses them is asked of each that a rebake made; what cannot
/// be told counts as used.
async fn retire<C: Bakery, S: Stage>(
    cloud: &C,
    stage: Option<&S>,
    clock: &Clock,
    rebake: &Rebake,
) -> Told<RetireSight> {
    let order = &rebake.order;
    let Some(kept) = stage.and_then(|stage| stage.kept(&order.image)) else { return Ok(RetireSight::default()) };
    let now = clock.now();
    let mut amis = in_time(clock, Box::pin(cloud.images(now))).await?;
    amis.retain(|ami| ami.tags.get(tag_keys::IMAGE) == Some(order.image.as_str()));
    if let Some(current) = kept.current.as_ref().filter(|current| amis.iter().all(|ami| ami.id != **current)) {
        // The owner's own AMI carries no tag of ours.
        amis.extend(in_time(clock, Box::pin(cloud.source(current))).await?.map(|source| of_source(source, now)));
    }
    let mut uses = BTreeMap::new();
    let replaced = |ami: &&Ami| {
        let named = Some(&ami.id) == kept.current.as_ref() || Some(&ami.id) == kept.previous.as_ref();
        ami.tags.get(tag_keys::IMAGE_ORIGIN) == Some("rebake") && !named
    };
    for ami in amis.iter().filter(replaced) {
        uses.insert(ami.id.clone(), in_time(clock, Box::pin(cloud.uses(&ami.id))).await.map_err(drop));
    }
    let view = RetireView {
        now,
        fleet: &order.fleet,
        image: &order.image,
        current: kept.current.as_ref(),
        previous: kept.previous.as_ref(),
        in_work: &kept.in_work,
        amis: &amis,
        uses: &uses,
        keep: kept.keep,
        keep_for: kept.keep_for,
    };
    let due = retirements(&view).due.into_iter().map(|due| (due.ami, due.stage)).collect::<Vec<_>>();
    let on_its_way = |ami: &&Ami| {
        let announced = ami.deprecated.is_some_and(|at| at <= now) || ami.state == AmiState::Disabled;
        announced && replaced(ami) && due.iter().all(|(due, _)| *due != ami.id)
    };
    let later = amis.iter().filter(on_its_way).map(|ami| ami.id.clone()).collect();
    let there = amis.iter().filter(|ami| ami.state != AmiState::Deregistered).map(|ami| ami.id.clone()).collect();
    Ok(RetireSight { due, later, there })
}

/// An AMI of whoever's, as the fleet's own are shown.
fn of_source(source: SourceAmi, now: DateTime<Utc>) -> Ami {
    Ami {
        id: source.id,
        name: source.name,
        state: source.state,
        architecture: source.architecture,
        snapshots: source.disks.iter().filter_map(|disk| disk.snapshot.clone()).collect(),
        created: source.created.unwrap_or(now),
        size_gib: source.disks.iter().map(|disk| disk.size_gib).sum(),
        deprecated: source.deprecated,
        tags: source.tags,
    }
}
