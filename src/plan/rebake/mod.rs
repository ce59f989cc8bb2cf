//! A rebake: what is asked, what is done next, and why it waits. Pure.
//!
//! [`asks`] says what has to be looked at, [`next`] what follows from the record and what was seen. The same record
//! and the same sight give the same move, so that whoever takes a journal over goes on where the last one stopped.

mod bake;
mod guest;
mod order;
mod rollout;
mod undo;

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

pub use order::{NoOrder, Wanted, order, price};

use crate::model::{
    Ami, AmiId, CanarySight, ClientToken, CommandId, Failure, Fence, GroupId, GuestReport, Instance, InstanceId,
    LaunchSpec, Outcome, Rebake, RebakeBody, RebakeKind, RetireStage, Step, TagSet, Thing, WorkerName, tag_keys,
};

/// The pause after the first refusal; it doubles.
const PAUSE: TimeDelta = TimeDelta::seconds(5);
/// The longest pause after a refusal.
const PAUSE_MAX: TimeDelta = TimeDelta::minutes(5);
/// How soon what is waited for is looked at first. The longer nothing happens, the longer it takes to the next look.
const LOOK_FIRST: TimeDelta = TimeDelta::seconds(1);
/// How often it is looked at in the end.
pub const LOOK_AGAIN: TimeDelta = TimeDelta::seconds(15);
/// How long a step that is a few calls may take.
const CALLS_LIMIT: TimeDelta = TimeDelta::minutes(30);
/// The builder and its group must go: nothing is given up before a sweep has had its chance.
const DISMISS_LIMIT: TimeDelta = TimeDelta::days(1);
/// How long what is to be retired may stay in use.
const RETIRE_LIMIT: TimeDelta = TimeDelta::days(60);

/// Something to be looked at before the next move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// The instances that carry the rebake's id, and the one that is enrolled.
    Builder,
    /// What the builder has written on its console.
    Console,
    /// Whether the builder's agent is registered.
    Agent,
    /// How the agent's command stands.
    Command,
    /// The AMIs that carry the rebake's id.
    Image,
    /// Who uses the new AMI.
    Uses,
    /// How it stands with the canary.
    Canary,
    /// How the new generation does beside the one before.
    Soak,
    /// Which AMIs may be put further away.
    Retire,
}

/// An answer; a refusal tells nothing about what is there.
pub type Told<T> = Result<T, Failure>;

/// What a builder's agent says of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandSight {
    /// It has not ended.
    Runs,
    /// It has; with its exit code, if there is one, and EC2's word for it.
    Ended {
        /// Whether it ended well.
        well: bool,
        /// EC2's word, such as `TimedOut`.
        word: String,
    },
}

/// How a generation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SoakSight {
    /// Not enough is known.
    Waiting {
        /// Its starts so far.
        have: u32,
    },
    /// It is no worse.
    Passed {
        /// The figures.
        why: String,
    },
    /// It is worse.
    Worse {
        /// The figures.
        why: String,
    },
}

/// Which AMIs may be put away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetireSight {
    /// What may be done now.
    pub due: Vec<(AmiId, RetireStage)>,
    /// AMIs that will be due later.
    pub later: Vec<AmiId>,
    /// All of the image's AMIs that are listed.
    pub there: BTreeSet<AmiId>,
}

/// What was seen. What was not asked is `None`.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "each field answers the question of its name")]
pub struct Sight {
    /// With the time at which the listing was begun; listings are whole or refused.
    pub builder: Option<(DateTime<Utc>, Told<Vec<Instance>>)>,
    /// What the guest has said, on the console and to the agent, as far as it could be read.
    pub guest: Option<GuestReport>,
    /// The last lines of the console, for people.
    pub tail: Option<String>,
    pub agent: Option<Told<bool>>,
    pub command: Option<Told<CommandSight>>,
    /// With the time at which the listing was begun.
    pub image: Option<(DateTime<Utc>, Told<Vec<Ami>>)>,
    pub uses: Option<Told<Vec<String>>>,
    /// `None` within: the controller knows no such canary.
    pub canary: Option<Told<Option<CanarySight>>>,
    pub soak: Option<Told<SoakSight>>,
    pub retire: Option<Told<RetireSight>>,
}

/// Everything that a move may depend on.
#[derive(Debug, Clone, Copy)]
pub struct RebakeView<'a> {
    /// The time.
    pub now: DateTime<Utc>,
    /// Where it stands.
    pub rebake: &'a Rebake,
    /// What was seen just now.
    pub sight: &'a Sight,
    /// Whether there is a controller to prove and promote it.
    pub stage: bool,
    /// Whether a canary need not wait for an idle worker.
    pub urgent: bool,
    /// Whether a person wants it to be taken back.
    pub aborted: bool,
}

/// Something to be done. Each may be done again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variant's line explains its fields")]
pub enum RebakeAct {
    /// Dry runs of what it will call.
    Rehearse,
    /// Makes the builder's security group.
    Fence { fence: Box<Fence> },
    /// Launches the builder.
    Launch { spec: Box<LaunchSpec>, token: ClientToken },
    /// Hands the script to the agent, unless it has it.
    Command { instance: InstanceId },
    /// Stops the instance that is enrolled.
    Stop { instance: InstanceId },
    /// Starts it again.
    Start { instance: InstanceId },
    /// Makes the AMI.
    CreateImage { of: InstanceId, name: String, tags: TagSet },
    /// Terminates the builder.
    Terminate { instance: InstanceId },
    /// Deletes its security group.
    Unfence { group: Option<GroupId> },
    /// Tells by tags how far the AMI has come.
    TagImage { ami: AmiId, rollout: &'static str },
    /// Takes the new AMI away with its snapshots.
    RetireImage { ami: AmiId },
    /// Puts an older AMI further away.
    PutAway { ami: AmiId, stage: RetireStage },
    /// Asks the controller for a canary.
    Canary { worker: WorkerName, ami: AmiId, now: bool },
    /// Tells it that none is wanted any more.
    EndCanary { worker: WorkerName },
    /// Makes the manifest name the new AMI.
    Promote { from: AmiId, to: AmiId },
    /// Makes it name the old one again.
    RollBack { from: AmiId, to: AmiId },
}

/// What is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// This has come about.
    Record(Vec<RebakeBody>),
    /// This is to be done.
    Act(RebakeAct),
    /// Nothing can be done but wait.
    Wait {
        /// For what.
        why: String,
        /// When it is looked at again.
        until: DateTime<Utc>,
    },
}

/// What has to be looked at.
pub fn asks(rebake: &Rebake) -> Vec<Question> {
    if rebake.undo.is_some() {
        return undo::asks(rebake);
    }
    if rebake.done {
        return Vec::new();
    }
    match rebake.step {
        Step::Preflight | Step::Fence | Step::Promote => Vec::new(),
        Step::Launch | Step::Quiesce | Step::Update | Step::Reboot | Step::Settle | Step::Clean | Step::Off => {
            guest::asks(rebake)
        }
        Step::Image | Step::Dismiss => bake::asks(rebake),
        Step::Canary => vec![Question::Canary],
        Step::Soak => vec![Question::Soak],
        Step::Retire => vec![Question::Retire],
    }
}

/// What is next.
pub fn next(view: &RebakeView<'_>) -> Move {
    let rebake = view.rebake;
    if rebake.undo.is_some() {
        return undo::next(view);
    }
    if view.aborted {
        let why = "asked by a person".to_owned();
        return Move::Record(vec![RebakeBody::UndoBegun { why, by_hand: true }]);
    }
    if rebake.done {
        return onward(view);
    }
    if let Some(why) = given_up(view) {
        return fail(why);
    }
    if let Some(until) = paused(view) {
        let (_, what, failure) = rebake
            .refused
            .as_ref()
            .map_or((view.now, "", ""), |(at, what, failure)| (*at, what.as_str(), failure.code.as_str()));
        return Move::Wait { why: format!("{what} was refused ({failure})"), until };
    }
    match rebake.step {
        Step::Preflight => Move::Act(RebakeAct::Rehearse),
        Step::Fence => bake::fence(view),
        Step::Launch => bake::launch(view),
        Step::Off if rebake.order.kind == RebakeKind::Enroll => bake::stop(view),
        Step::Quiesce | Step::Update | Step::Reboot | Step::Settle | Step::Clean | Step::Off => guest::next(view),
        Step::Image => bake::image(view),
        Step::Dismiss => bake::dismiss(view),
        Step::Canary => rollout::canary(view),
        Step::Promote => rollout::promote(view),
        Step::Soak => rollout::soak(view),
        Step::Retire => rollout::retire(view),
    }
}

/// By when a step must be done.
pub fn deadline(rebake: &Rebake) -> DateTime<Utc> {
    let limits = &rebake.order.limits;
    match rebake.step {
        Step::Preflight | Step::Fence | Step::Launch | Step::Promote => rebake.since + CALLS_LIMIT,
        step if step.is_the_guests() => begun(rebake) + limits.builder,
        Step::Image => rebake.since + limits.image,
        Step::Dismiss => rebake.since + DISMISS_LIMIT,
        Step::Canary => match rebake.canary.as_ref().map(|canary| canary.phase) {
            None | Some(crate::model::CanaryPhase::Waiting) => rebake.since + limits.canary_wait,
            Some(_) => rebake.canary_since.unwrap_or(rebake.since) + limits.canary,
        },
        Step::Soak => rebake.since + limits.soak,
        _ => rebake.since + RETIRE_LIMIT,
    }
}

/// From when on the time of the step counts: the builder has one time for all of its steps.
fn begun(rebake: &Rebake) -> DateTime<Utc> {
    let launched = rebake.launch.as_ref().and_then(|(spec, _)| spec.tags.time(tag_keys::CREATED));
    launched.filter(|_| rebake.step.is_the_guests()).unwrap_or(rebake.since)
}

/// A step is done: the next one, or the end.
fn onward(view: &RebakeView<'_>) -> Move {
    let rebake = view.rebake;
    let ended = |outcome| Move::Record(vec![RebakeBody::Ended { outcome }]);
    let next = rebake.order.after(rebake.step);
    match (next, &rebake.ami) {
        (Some(step), Some(ami)) if step.is_the_controllers() && !view.stage => {
            if rebake.handed_over {
                return ended(Outcome::HandedOver { ami: ami.clone() });
            }
            if let Some(until) = paused(view) {
                return Move::Wait { why: "the AMI's tags were refused".to_owned(), until };
            }
            Move::Act(RebakeAct::TagImage { ami: ami.clone(), rollout: "wanted" })
        }
        (Some(step), _) => Move::Record(vec![RebakeBody::Begun { step }]),
        (None, Some(ami)) if rebake.promoted_at.is_none() => ended(Outcome::HandedOver { ami: ami.clone() }),
        (None, Some(ami)) => ended(Outcome::Done { ami: ami.clone() }),
        (None, None) => fail("it came to its end without an AMI".to_owned()),
    }
}

fn fail(why: String) -> Move {
    Move::Record(vec![RebakeBody::UndoBegun { why, by_hand: false }])
}

/// A step is done, with what shows it.
fn done(rebake: &Rebake, evidence: String) -> Move {
    Move::Record(vec![RebakeBody::Done { step: rebake.step, evidence }])
}

fn wait(view: &RebakeView<'_>, why: impl Into<String>) -> Move {
    Move::Wait { why: why.into(), until: view.now + pause_between_looks(view, LOOK_AGAIN) }
}

/// Half as long as nothing has happened so far, and `longest` at most.
pub fn pause_between_looks(view: &RebakeView<'_>, longest: TimeDelta) -> TimeDelta {
    let quiet = view.now.signed_duration_since(view.rebake.last_at);
    (quiet / 2).clamp(LOOK_FIRST.min(longest), longest)
}

/// What could not be looked at is looked at again; it proves nothing.
fn unseen(view: &RebakeView<'_>, what: &str, failure: &Failure) -> Move {
    wait(view, format!("{what} cannot be seen: {} ({})", failure.code, failure.kind))
}

/// Why there is no point in going on.
fn given_up(view: &RebakeView<'_>) -> Option<String> {
    let rebake = view.rebake;
    let said = rebake.refused.as_ref().map(|(_, what, failure)| {
        (failure, format!("{what}: {} ({}): {}; {}", failure.code, failure.kind, failure.message, failure.kind.cure()))
    });
    // What only waits is not failed by a refusal: it is over when its time is.
    // And a tag that tells of a promotion is not worth taking it back.
    let promoted = rebake.step == Step::Promote && rebake.promoted_at.is_some();
    let hopeless = rebake.step != Step::Retire && !promoted;
    if let Some((failure, text)) = &said
        && hopeless
        && failure.kind.is_answer()
    {
        return Some(text.clone());
    }
    if promoted || matches!(rebake.step, Step::Soak | Step::Retire) || view.now < deadline(rebake) {
        return None;
    }
    let limit = humantime::format_duration((deadline(rebake) - begun(rebake)).to_std().unwrap_or_default());
    let last = said.map(|(_, text)| format!("; the last refusal was of {text}")).unwrap_or_default();
    Some(format!("it did not come about within {limit}{last}"))
}

/// Until when nothing is tried after a refusal.
fn paused(view: &RebakeView<'_>) -> Option<DateTime<Utc>> {
    let (at, _, _) = view.rebake.refused.as_ref().filter(|_| view.rebake.refusals > 0)?;
    let doubled = PAUSE * 2i32.pow(view.rebake.refusals.saturating_sub(1).min(10));
    let until = *at + doubled.min(PAUSE_MAX);
    (view.now < until).then_some(until)
}

impl RebakeAct {
    /// What is written before it is done.
    pub fn intent(&self, rebake: &Rebake) -> Option<RebakeBody> {
        if let Some(thing) = self.takes_back().filter(|_| rebake.undo.is_some()) {
            return Some(RebakeBody::UndoIntended { thing });
        }
        match self {
            Self::Fence { .. } => Some(RebakeBody::FenceIntended {}),
            Self::Launch { spec, .. } => Some(RebakeBody::LaunchIntended { spec: spec.clone() }),
            Self::Command { .. } => Some(RebakeBody::CommandIntended {}),
            Self::Stop { instance } => Some(RebakeBody::StopIntended { instance: instance.clone() }),
            Self::CreateImage { .. } => Some(RebakeBody::ImageIntended {}),
            Self::Canary { now, .. } => Some(RebakeBody::CanaryIntended { now: *now }),
            Self::Promote { from, to } => Some(RebakeBody::PromoteIntended { from: from.clone(), to: to.clone() }),
            Self::PutAway { ami, stage } => Some(RebakeBody::RetireIntended { ami: ami.clone(), stage: *stage }),
            Self::Rehearse
            | Self::Start { .. }
            | Self::Terminate { .. }
            | Self::Unfence { .. }
            | Self::TagImage { .. }
            | Self::RetireImage { .. }
            | Self::EndCanary { .. }
            | Self::RollBack { .. } => None,
        }
    }

    /// What it takes back.
    pub fn takes_back(&self) -> Option<Thing> {
        match self {
            Self::RollBack { .. } => Some(Thing::Promotion),
            Self::EndCanary { .. } => Some(Thing::Canary),
            Self::RetireImage { .. } => Some(Thing::Candidate),
            Self::Terminate { .. } => Some(Thing::Builder),
            Self::Unfence { .. } => Some(Thing::Fence),
            Self::Start { .. } => Some(Thing::Stop),
            _ => None,
        }
    }

    /// What it does, in words.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Rehearse => "a dry run",
            Self::Fence { .. } => "the security group",
            Self::Launch { .. } => "the launch",
            Self::Command { .. } => "the command to the agent",
            Self::Stop { .. } => "the stop",
            Self::Start { .. } => "the start",
            Self::CreateImage { .. } => "CreateImage",
            Self::Terminate { .. } => "the termination",
            Self::Unfence { .. } => "the deletion of the security group",
            Self::TagImage { .. } => "the tags of the AMI",
            Self::RetireImage { .. } => "the removal of the AMI",
            Self::PutAway { .. } => "the retirement of an AMI",
            Self::Canary { .. } => "the canary",
            Self::EndCanary { .. } => "the end of the canary",
            Self::Promote { .. } => "the promotion",
            Self::RollBack { .. } => "the roll-back",
        }
    }
}

/// A call's answer, other than a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variant's line explains its field")]
pub enum Answer {
    /// It was done.
    Done,
    /// What was tried would be allowed.
    Allowed { calls: u32 },
    /// This instance was launched.
    Instance(InstanceId),
    /// This group was made.
    Group(GroupId),
    /// This AMI is being made.
    Ami(AmiId),
    /// The agent has the script.
    Command(CommandId),
    /// How it stands with the canary.
    Canary(CanarySight),
}

/// What the answer of an act adds to the journal.
pub fn outcome(rebake: &Rebake, act: &RebakeAct, result: Told<Answer>) -> Vec<RebakeBody> {
    let answer = match result {
        Ok(answer) => answer,
        Err(failure) => {
            if matches!(act, RebakeAct::Launch { .. }) && !failure.kind.leaves_outcome_open() {
                return vec![RebakeBody::LaunchRefused { failure }];
            }
            return vec![RebakeBody::Refused { what: act.what().to_owned(), failure }];
        }
    };
    let undoing = rebake.undo.is_some();
    let finished = |evidence: String| vec![RebakeBody::Done { step: rebake.step, evidence }];
    match (act, answer) {
        (_, Answer::Instance(instance)) => vec![RebakeBody::Launched { instance }],
        (_, Answer::Ami(ami)) => vec![RebakeBody::ImageMade { ami }],
        (_, Answer::Command(command)) => vec![RebakeBody::Commanded { command }],
        (_, Answer::Canary(sight)) => vec![RebakeBody::CanarySaw { sight: Box::new(sight) }],
        (RebakeAct::Rehearse, Answer::Allowed { calls }) => finished(format!("{calls} calls would be allowed")),
        (RebakeAct::Fence { .. }, Answer::Group(group)) => {
            let evidence = format!("{group} made");
            vec![RebakeBody::FenceMade { group }, RebakeBody::Done { step: rebake.step, evidence }]
        }
        (RebakeAct::Promote { from, to }, _) => {
            vec![RebakeBody::Promoted { from: from.clone(), to: to.clone() }]
        }
        (RebakeAct::PutAway { ami, stage }, _) => {
            vec![RebakeBody::Retired { ami: ami.clone(), stage: *stage }]
        }
        (RebakeAct::TagImage { rollout: "wanted", .. }, _) => vec![RebakeBody::HandedOver {}],
        (RebakeAct::TagImage { ami, .. }, _) => finished(format!("{ami} is the image's")),
        // Whether they are gone is seen, not believed.
        (RebakeAct::Terminate { .. } | RebakeAct::Start { .. } | RebakeAct::Stop { .. }, _) => Vec::new(),
        (RebakeAct::Unfence { .. }, _) if !undoing => finished("builder and security group are gone".to_owned()),
        (act, _) => {
            act.takes_back().filter(|_| undoing).map(|thing| RebakeBody::Undone { thing }).into_iter().collect()
        }
    }
}
