//! What a rebake's journal comes to: the fold of its entries.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{REBAKE_VERSION, RebakeBody, RebakeEntry, RebakeOrder, Step};
use crate::model::{AmiId, CanaryPhase, CommandId, Failure, GroupId, GuestReport, InstanceId, LaunchSpec};

/// How a rebake ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum Outcome {
    /// The new generation was promoted, and no comparison spoke against it.
    Done {
        /// Its AMI.
        ami: AmiId,
    },
    /// The AMI is there, and its controller is to prove it.
    HandedOver {
        /// It.
        ami: AmiId,
    },
    /// It failed; what it had made is gone.
    Failed {
        /// In which step.
        step: Step,
        /// Why.
        why: String,
    },
    /// Somebody ended it; what it had made is gone.
    Aborted {},
    /// It was promoted and found worse; the manifest names the AMI before it again.
    RolledBack {
        /// Why.
        why: String,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done { ami } => write!(f, "done: {ami} was proven and promoted"),
            Self::HandedOver { ami } => write!(f, "{ami} is handed over: its controller proves and promotes it"),
            Self::Failed { step, why } => write!(f, "failed in {step}: {why}; what it had made is taken back"),
            Self::Aborted {} => f.write_str("aborted; what it had made is taken back"),
            Self::RolledBack { why } => write!(f, "rolled back: {why}"),
        }
    }
}

/// Something that a rebake makes, and can take back. In the order in which it is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thing {
    /// The manifest names the new AMI.
    Promotion,
    /// A worker proves the new AMI.
    Canary,
    /// The new AMI and its snapshots.
    Candidate,
    /// The builder.
    Builder,
    /// Its security group.
    Fence,
    /// An instance that was configured by hand was stopped.
    Stop,
}

impl Thing {
    /// All of them, in the order in which they are taken back.
    pub const ALL: [Self; 6] = [Self::Promotion, Self::Canary, Self::Candidate, Self::Builder, Self::Fence, Self::Stop];
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Promotion => "the promotion",
            Self::Canary => "the canary",
            Self::Candidate => "the new AMI and its snapshots",
            Self::Builder => "the builder",
            Self::Fence => "the builder's security group",
            Self::Stop => "the stop of the instance",
        })
    }
}

/// How far an AMI is put away. Each but the last can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RetireStage {
    /// Its end is announced.
    Deprecate,
    /// Nothing can be launched from it.
    Disable,
    /// It and its snapshots are gone.
    Deregister,
}

impl fmt::Display for RetireStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deprecate => "deprecate",
            Self::Disable => "disable",
            Self::Deregister => "deregister",
        })
    }
}

/// How it stands with a canary, as its controller tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanarySight {
    /// How far it has come.
    pub phase: CanaryPhase,
    /// Why it waits or failed.
    pub why: Option<String>,
    /// Its instance.
    pub instance: Option<InstanceId>,
    /// The smoke build that it passed.
    pub built: Option<String>,
}

impl fmt::Display for CanarySight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "canary {}", self.phase)?;
        if let Some(instance) = &self.instance {
            write!(f, " ({instance})")?;
        }
        if let Some(why) = &self.why {
            write!(f, ": {why}")?;
        }
        Ok(())
    }
}

/// The taking back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo {
    /// In which step it began.
    pub step: Step,
    /// Why.
    pub why: String,
    /// Whether a person asked for it.
    pub by_hand: bool,
    /// Since when.
    pub since: DateTime<Utc>,
    /// What was asked to go.
    pub intended: BTreeSet<Thing>,
    /// What is gone.
    pub gone: BTreeSet<Thing>,
}

/// An AMI on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retiring {
    /// How far it is put away.
    pub stage: RetireStage,
    /// Whether that has been done.
    pub done: bool,
    /// When that was written.
    pub at: DateTime<Utc>,
}

/// Where a rebake stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebake {
    /// What it is to do.
    pub order: RebakeOrder,
    /// The place of its last entry.
    pub seq: u64,
    /// The time of its last entry.
    pub last_at: DateTime<Utc>,
    /// The step that it is in.
    pub step: Step,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Whether the step is done, and the next one has not begun.
    pub done: bool,
    /// When its security group was last asked for.
    pub fence_at: Option<DateTime<Utc>>,
    /// Its security group.
    pub fence: Option<GroupId>,
    /// The last launch, and when it was last sent.
    pub launch: Option<(Box<LaunchSpec>, DateTime<Utc>)>,
    /// Launches that were refused for good.
    pub launches_refused: Vec<Failure>,
    /// The builder.
    pub builder: Option<InstanceId>,
    /// When the script was last handed to the agent.
    pub command_at: Option<DateTime<Utc>>,
    /// What the agent runs it as.
    pub command: Option<CommandId>,
    /// Whether the agent was given up.
    pub command_forgone: bool,
    /// The instance that was stopped for it.
    pub stopped: Option<InstanceId>,
    /// When its stop was last asked for.
    pub stop_at: Option<DateTime<Utc>>,
    /// What the guest has said.
    pub guest: GuestReport,
    /// When the builder was first seen off.
    pub off_at: Option<DateTime<Utc>>,
    /// When the AMI was last asked for.
    pub image_at: Option<DateTime<Utc>>,
    /// The new AMI.
    pub ami: Option<AmiId>,
    /// Whether its tags say that its controller is to prove it.
    pub handed_over: bool,
    /// Whether a canary was asked for, and whether at once.
    pub canary_asked: Option<bool>,
    /// How it stands with it.
    pub canary: Option<CanarySight>,
    /// When it was first seen to have begun.
    pub canary_since: Option<DateTime<Utc>>,
    /// The AMI that the manifest named before, once it may name the new one.
    pub promoting_from: Option<AmiId>,
    /// When it was promoted.
    pub promoted_at: Option<DateTime<Utc>>,
    /// Why it is worse than the generation before, if it is.
    pub worse: Option<String>,
    /// AMIs on their way out.
    pub retiring: BTreeMap<AmiId, Retiring>,
    /// The last refusal in this step.
    pub refused: Option<(DateTime<Utc>, String, Failure)>,
    /// Refusals in a row.
    pub refusals: u32,
    /// The taking back, if it has begun.
    pub undo: Option<Undo>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// An entry that does not follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RebakeFoldError {
    /// Its place is not the next one.
    #[error("entry {found} stands where entry {expected} should")]
    Gap {
        /// The place it has.
        found: u64,
        /// The place it should have.
        expected: u64,
    },
    /// It was written by a newer program.
    #[error("entry {seq} has format {found}, and this version of latent reads up to {REBAKE_VERSION}; upgrade latent")]
    Newer {
        /// Its place.
        seq: u64,
        /// Its format.
        found: u32,
    },
    /// The first one is no order, or a later one is.
    #[error("entry {seq} is {what}")]
    Order {
        /// Its place.
        seq: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// It cannot happen then.
    #[error("entry {seq} ({what}) cannot follow: {why}")]
    Illegal {
        /// Its place.
        seq: u64,
        /// What it says.
        what: String,
        /// Why not.
        why: &'static str,
    },
}

impl Rebake {
    /// What a first entry begins.
    ///
    /// # Errors
    /// [`RebakeFoldError`] if it is no order.
    pub fn begin(entry: &RebakeEntry) -> Result<Self, RebakeFoldError> {
        readable(entry)?;
        let RebakeBody::Ordered { order } = &entry.body else {
            return Err(RebakeFoldError::Order { seq: entry.seq, what: "no order, and the first one" });
        };
        if entry.seq != 1 {
            return Err(RebakeFoldError::Gap { found: entry.seq, expected: 1 });
        }
        let order = (**order).clone();
        Ok(Self {
            seq: 1,
            last_at: entry.at,
            step: order.first(),
            since: entry.at,
            done: false,
            fence_at: None,
            fence: None,
            launch: None,
            launches_refused: Vec::new(),
            builder: None,
            command_at: None,
            command: None,
            command_forgone: false,
            stopped: None,
            stop_at: None,
            guest: GuestReport::default(),
            off_at: None,
            image_at: None,
            ami: order.candidate.clone(),
            handed_over: false,
            canary_asked: None,
            canary: None,
            canary_since: None,
            promoting_from: None,
            promoted_at: None,
            worse: None,
            retiring: BTreeMap::new(),
            refused: None,
            refusals: 0,
            undo: None,
            outcome: None,
            order,
        })
    }

    /// All entries of a journal.
    ///
    /// # Errors
    /// [`RebakeFoldError`] of the first entry that does not follow, or if there is none.
    pub fn fold<'a>(entries: impl IntoIterator<Item = &'a RebakeEntry>) -> Result<Self, RebakeFoldError> {
        let mut entries = entries.into_iter();
        let first = entries.next().ok_or(RebakeFoldError::Order { seq: 0, what: "missing: the journal is empty" })?;
        let mut rebake = Self::begin(first)?;
        for entry in entries {
            rebake.apply(entry)?;
        }
        Ok(rebake)
    }

    /// Takes in one more entry.
    ///
    /// # Errors
    /// [`RebakeFoldError`] if it does not follow; nothing is changed then.
    pub fn apply(&mut self, entry: &RebakeEntry) -> Result<(), RebakeFoldError> {
        readable(entry)?;
        if entry.seq != self.seq + 1 {
            return Err(RebakeFoldError::Gap { found: entry.seq, expected: self.seq + 1 });
        }
        if let Some(why) = self.forbids(&entry.body) {
            return Err(RebakeFoldError::Illegal { seq: entry.seq, what: entry.body.describe(), why });
        }
        self.take_in(entry.at, &entry.body);
        (self.seq, self.last_at) = (entry.seq, entry.at);
        if entry.body.is_progress() {
            self.refusals = 0;
        }
        Ok(())
    }

    /// Why an entry cannot be next.
    fn forbids(&self, body: &RebakeBody) -> Option<&'static str> {
        let undoing = self.undo.is_some();
        let no = |wrong: bool, why| wrong.then_some(why);
        match body {
            _ if self.outcome.is_some() => Some("it has ended"),
            RebakeBody::Ordered { .. } => Some("it was ordered already"),
            RebakeBody::Resumed { .. } | RebakeBody::Refused { .. } => None,
            RebakeBody::UndoIntended { thing } | RebakeBody::Undone { thing } => {
                no(!undoing || !self.made().contains(thing), "there is nothing of it to be taken back")
            }
            RebakeBody::Begun { step } => no(
                undoing || self.order.after(self.step) != Some(*step) || !self.done,
                "it is not the step that comes next",
            ),
            RebakeBody::Done { step, .. } => no(undoing || self.done || self.step != *step, "it is in another step"),
            RebakeBody::PromoteIntended { .. } => no(
                undoing || self.canary.as_ref().is_none_or(|canary| canary.phase != CanaryPhase::Passed),
                "its canary has not passed",
            ),
            RebakeBody::RetireIntended { .. } => {
                no(undoing || self.step != Step::Retire || self.promoted_at.is_none(), "nothing was replaced")
            }
            RebakeBody::FenceIntended {}
            | RebakeBody::LaunchIntended { .. }
            | RebakeBody::CommandIntended {}
            | RebakeBody::StopIntended { .. }
            | RebakeBody::ImageIntended {}
            | RebakeBody::CanaryIntended { .. }
            | RebakeBody::UndoBegun { .. } => no(undoing, "everything is being taken back"),
            RebakeBody::Ended { outcome } => no(!self.may_end(outcome), "it has not come to that end"),
            _ => no(!self.was_intended(body), "it was not intended"),
        }
    }

    /// Whether what has come about was begun before.
    fn was_intended(&self, body: &RebakeBody) -> bool {
        match body {
            RebakeBody::FenceMade { .. } => self.fence_at.is_some(),
            RebakeBody::Launched { .. } | RebakeBody::LaunchRefused { .. } => self.launch.is_some(),
            RebakeBody::GuestSaid { .. } | RebakeBody::BuilderOff {} | RebakeBody::CommandForgone { .. } => {
                self.builder.is_some()
            }
            RebakeBody::Commanded { .. } => self.command_at.is_some(),
            RebakeBody::ImageMade { .. } => self.image_at.is_some(),
            RebakeBody::HandedOver {} => self.ami.is_some(),
            RebakeBody::CanarySaw { .. } => self.canary_asked.is_some(),
            RebakeBody::Promoted { .. } => self.promoting_from.is_some(),
            RebakeBody::FoundWorse { .. } => self.promoted_at.is_some(),
            RebakeBody::Retired { ami, stage } => self.retiring.get(ami).is_some_and(|known| known.stage == *stage),
            _ => true,
        }
    }

    /// Whether it can end so from here.
    fn may_end(&self, outcome: &Outcome) -> bool {
        let over = self.undo.is_none() && self.done;
        match outcome {
            Outcome::Done { ami } => {
                over && self.promoted_at.is_some()
                    && self.ami.as_ref() == Some(ami)
                    && self.order.after(self.step).is_none()
            }
            Outcome::HandedOver { ami } => over && self.ami.as_ref() == Some(ami),
            Outcome::Failed { .. } | Outcome::Aborted {} | Outcome::RolledBack { .. } => {
                self.undo.is_some() && self.made().is_empty()
            }
        }
    }

    fn take_in(&mut self, at: DateTime<Utc>, body: &RebakeBody) {
        match body {
            RebakeBody::Ordered { .. } | RebakeBody::Resumed { .. } => {}
            RebakeBody::Begun { step } => {
                (self.step, self.since, self.done, self.refused) = (*step, at, false, None);
            }
            RebakeBody::Done { .. } => self.done = true,
            RebakeBody::FenceIntended {} => self.fence_at = Some(at),
            RebakeBody::FenceMade { group } => self.fence = Some(group.clone()),
            RebakeBody::LaunchIntended { spec } => self.launch = Some((spec.clone(), at)),
            RebakeBody::Launched { instance } => self.builder = Some(instance.clone()),
            RebakeBody::LaunchRefused { failure } => self.launches_refused.push(failure.clone()),
            RebakeBody::CommandIntended {} => self.command_at = Some(at),
            RebakeBody::Commanded { command } => self.command = Some(command.clone()),
            RebakeBody::CommandForgone { .. } => self.command_forgone = true,
            RebakeBody::StopIntended { instance } => (self.stopped, self.stop_at) = (Some(instance.clone()), Some(at)),
            RebakeBody::GuestSaid { report } => self.guest = (**report).clone(),
            RebakeBody::BuilderOff {} => self.off_at = self.off_at.or(Some(at)),
            RebakeBody::ImageIntended {} => self.image_at = Some(at),
            RebakeBody::ImageMade { ami } => self.ami = Some(ami.clone()),
            RebakeBody::CanaryIntended { now } => self.canary_asked = Some(*now),
            RebakeBody::HandedOver {} => self.handed_over = true,
            RebakeBody::CanarySaw { sight } => {
                if self.canary_since.is_none() && sight.phase != CanaryPhase::Waiting {
                    self.canary_since = Some(at);
                }
                self.canary = Some((**sight).clone());
            }
            RebakeBody::PromoteIntended { from, .. } => self.promoting_from = Some(from.clone()),
            RebakeBody::Promoted { .. } => self.promoted_at = Some(at),
            RebakeBody::FoundWorse { why } => self.worse = Some(why.clone()),
            RebakeBody::RetireIntended { ami, stage } => {
                self.retiring.insert(ami.clone(), Retiring { stage: *stage, done: false, at });
            }
            RebakeBody::Retired { ami, stage } => {
                self.retiring.insert(ami.clone(), Retiring { stage: *stage, done: true, at });
            }
            RebakeBody::Refused { what, failure } => {
                self.refused = Some((at, what.clone(), failure.clone()));
                self.refusals = self.refusals.saturating_add(1);
            }
            RebakeBody::UndoBegun { why, by_hand } => {
                let (intended, gone) = (BTreeSet::new(), BTreeSet::new());
                let (step, why) = (self.step, why.clone());
                self.undo = Some(Undo { step, why, by_hand: *by_hand, since: at, intended, gone });
                self.refused = None;
            }
            RebakeBody::UndoIntended { thing } => {
                if let Some(undo) = &mut self.undo {
                    undo.intended.insert(*thing);
                }
            }
            RebakeBody::Undone { thing } => {
                if let Some(undo) = &mut self.undo {
                    undo.gone.insert(*thing);
                }
            }
            RebakeBody::Ended { outcome } => self.outcome = Some(outcome.clone()),
        }
    }

    /// Whether another rebake of the image would meet it. One that only looks on, at the starts of what it promoted or
    /// at what that replaced, is not in the way: the next generation comes from the one that it promoted.
    pub fn is_at_work(&self) -> bool {
        self.outcome.is_none() && (self.step < Step::Soak || self.undo.is_some())
    }

    /// What it has made, or may have made, and has not taken back.
    pub fn made(&self) -> BTreeSet<Thing> {
        let intact = self.promoting_from.is_some();
        let dismissed = self.step > Step::Dismiss || (self.step == Step::Dismiss && self.done);
        let made = |thing: &Thing| match thing {
            Thing::Promotion => intact,
            Thing::Canary => self.canary_asked.is_some(),
            Thing::Candidate => self.image_at.is_some() || self.ami.is_some(),
            Thing::Builder => self.launch.is_some() && !dismissed,
            Thing::Fence => self.fence_at.is_some() && !dismissed,
            Thing::Stop => self.stopped.is_some(),
        };
        let gone = |thing: &Thing| self.undo.as_ref().is_some_and(|undo| undo.gone.contains(thing));
        Thing::ALL.into_iter().filter(made).filter(|thing| !gone(thing)).collect()
    }
}

fn readable(entry: &RebakeEntry) -> Result<(), RebakeFoldError> {
    if entry.version > REBAKE_VERSION {
        return Err(RebakeFoldError::Newer { seq: entry.seq, found: entry.version });
    }
    Ok(())
}
