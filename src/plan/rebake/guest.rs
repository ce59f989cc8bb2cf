//! While the builder works by itself: what it says, and whether it is believed.

use chrono::TimeDelta;

use super::bake::{Sighted, ended, seen_builder};
use super::{CommandSight, Move, Question, RebakeAct, RebakeView, fail, unseen, wait};
use crate::model::{GuestReport, GuestStep, InstanceState, Rebake, RebakeBody, RebakeChannel, RebakeKind, Step};

/// How long after the power-off its last words may take to be readable.
const LAST_WORDS: TimeDelta = TimeDelta::minutes(10);
/// How long the user data may take to show that it runs, before the agent is tried.
const SILENCE: TimeDelta = TimeDelta::minutes(10);
/// How long after it was sent a command may be shown by no listing: until then it is not sent again.
const SHOWN: TimeDelta = TimeDelta::minutes(2);
/// How long an agent may take to register; with stale routes in the AMI it has been seen to take half an hour.
const REGISTRATION: TimeDelta = TimeDelta::minutes(40);

pub(super) fn asks(rebake: &Rebake) -> Vec<Question> {
    let mut questions = vec![Question::Builder];
    if rebake.step == Step::Launch || rebake.order.kind == RebakeKind::Enroll {
        return questions;
    }
    questions.push(Question::Console);
    if rebake.command.is_some() {
        questions.push(Question::Command);
    } else if may_command(rebake) {
        questions.push(Question::Agent);
    }
    questions
}

pub(super) fn next(view: &RebakeView<'_>) -> Move {
    let rebake = view.rebake;
    if let Some(said) = news(view) {
        return Move::Record(vec![said]);
    }
    if let Some(progress) = progress(rebake) {
        return progress;
    }
    if let Some(failed) = &rebake.guest.failed {
        return fail(format!(
            "the builder's script failed in {}, exit code {}: {}",
            failed.step, failed.code, failed.why
        ));
    }
    let instance = match seen_builder(view) {
        Sighted::Unseen(by) => return by,
        Sighted::Absent => return fail("the builder has vanished".to_owned()),
        Sighted::There(instance) => instance,
    };
    match instance.state {
        InstanceState::ShuttingDown | InstanceState::Terminated => fail(ended(instance)),
        InstanceState::Stopped if rebake.off_at.is_none() => Move::Record(vec![RebakeBody::BuilderOff {}]),
        InstanceState::Stopped => off(view),
        InstanceState::Pending | InstanceState::Running | InstanceState::Stopping | InstanceState::Unknown(_) => {
            at_work(view)
        }
    }
}

/// What the guest has said since the last look.
fn news(view: &RebakeView<'_>) -> Option<RebakeBody> {
    let seen = view.sight.guest.as_ref()?;
    let merged = view.rebake.guest.merged(seen);
    (merged != view.rebake.guest).then(|| RebakeBody::GuestSaid { report: Box::new(merged) })
}

fn step_of(said: GuestStep) -> Step {
    match said {
        GuestStep::Quiesce => Step::Quiesce,
        GuestStep::Update => Step::Update,
        GuestStep::Reboot => Step::Reboot,
        GuestStep::Settle => Step::Settle,
        GuestStep::Clean => Step::Clean,
        GuestStep::Off => Step::Off,
    }
}

/// The journal follows the guest, step by step; also to the one that failed.
fn progress(rebake: &Rebake) -> Option<Move> {
    let said = step_of(rebake.guest.step?);
    if said <= rebake.step {
        return None;
    }
    let after = rebake.order.after(rebake.step)?;
    let evidence = evidence(rebake.step, &rebake.guest);
    Some(Move::Record(vec![RebakeBody::Done { step: rebake.step, evidence }, RebakeBody::Begun { step: after }]))
}

fn evidence(step: Step, guest: &GuestReport) -> String {
    match step {
        Step::Update => format!("{} rounds, the last one found nothing", guest.rounds),
        Step::Reboot => format!("{} boots with different ids", guest.boots.len()),
        _ => String::new(),
    }
}

fn at_work(view: &RebakeView<'_>) -> Move {
    let rebake = view.rebake;
    if let Some(Ok(CommandSight::Ended { well: false, word })) = &view.sight.command {
        return fail(format!("the agent's command ended as {word}, and the script did not say why"));
    }
    let at = rebake
        .guest
        .step
        .map_or_else(|| "the builder has said nothing yet".to_owned(), |step| format!("the builder is in {step}"));
    if rebake.command.is_some() || !may_command(rebake) {
        return wait(view, at);
    }
    match &view.sight.agent {
        Some(Ok(true)) => match &rebake.builder {
            Some(instance) if is_time(view) && rebake.command_at.is_none_or(|sent| view.now >= sent + SHOWN) => {
                Move::Act(RebakeAct::Command { instance: instance.clone() })
            }
            _ => wait(view, at),
        },
        Some(Err(failure)) => unseen(view, "the builder's agent", failure),
        Some(Ok(false)) | None => unregistered(view, at),
    }
}

/// Whether the agent may be given the script.
fn may_command(rebake: &Rebake) -> bool {
    let channel = rebake.order.channel;
    let silent = rebake.guest.last_seq == 0;
    rebake.order.command.is_some()
        && !rebake.command_forgone
        && (channel == RebakeChannel::Ssm || (channel == RebakeChannel::Auto && silent))
}

/// With `auto` the user data comes first: it needs the least.
fn is_time(view: &RebakeView<'_>) -> bool {
    view.rebake.order.channel == RebakeChannel::Ssm || view.now >= running_since(view.rebake) + SILENCE
}

fn unregistered(view: &RebakeView<'_>, at: String) -> Move {
    let rebake = view.rebake;
    if view.now < running_since(rebake) + REGISTRATION {
        return wait(view, at);
    }
    let why = "its SSM agent did not register in 40 minutes: it needs the agent, a way out on port 443, and an \
               instance profile or Default Host Management";
    if rebake.order.channel == RebakeChannel::Ssm {
        return fail(why.to_owned());
    }
    fail(format!("the builder's user data was not run, and {why}"))
}

/// The first of the guest's steps begins when the builder runs.
fn running_since(rebake: &Rebake) -> chrono::DateTime<chrono::Utc> {
    rebake.launch.as_ref().map_or(rebake.since, |(_, at)| *at)
}

/// The builder is off: its last words, and the proof that it was rebooted.
fn off(view: &RebakeView<'_>) -> Move {
    let rebake = view.rebake;
    let Some(last) = &rebake.guest.done else {
        let until = rebake.off_at.unwrap_or(view.now) + LAST_WORDS;
        if view.now < until {
            return wait(view, "the builder is off, and its last words cannot be read yet");
        }
        return fail("the builder went off without its last word: what it did cannot be known".to_owned());
    };
    let boots: std::collections::BTreeSet<&String> = rebake.guest.boots.iter().collect();
    if last.reboots == 0 || boots.len() < 2 {
        return fail("the builder went off, and nothing proves that it was rebooted".to_owned());
    }
    let (packages, rounds) = (last.packages, last.rounds);
    let changed = format!("{packages} packages changed in {rounds} rounds, {} reboots", last.reboots);
    let mut bodies = Vec::new();
    let mut step = rebake.step;
    while step < Step::Off {
        let Some(after) = rebake.order.after(step) else { break };
        bodies.push(RebakeBody::Done { step, evidence: evidence(step, &rebake.guest) });
        bodies.push(RebakeBody::Begun { step: after });
        step = after;
    }
    bodies.push(RebakeBody::Done { step, evidence: changed });
    Move::Record(bodies)
}
