//! One line of a rebake's journal.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{CanarySight, Outcome, RebakeOrder, RetireStage, Step, Thing};
use crate::model::{AmiId, CommandId, Failure, GroupId, GuestReport, InstanceId, LaunchSpec};

/// The version of the journal's format that this program writes. Readers accept it and all before it.
pub const REBAKE_VERSION: u32 = 1;

/// One fact, in the order in which it became true for whoever works on the rebake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebakeEntry {
    /// The format.
    pub version: u32,
    /// Its place; without gaps, from 1.
    pub seq: u64,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub body: RebakeBody,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", rename_all_fields = "snake_case")]
#[expect(missing_docs, reason = "the variant's line explains its fields")]
pub enum RebakeBody {
    /// It was ordered.
    Ordered { order: Box<RebakeOrder> },
    /// A process works on it (again).
    Resumed { version: String },
    /// A step begins.
    Begun { step: Step },
    /// A step is done; with what shows it.
    Done { step: Step, evidence: String },
    /// The security group is about to be made, or made again.
    FenceIntended {},
    /// It is there.
    FenceMade { group: GroupId },
    /// The builder is about to be launched, or launched again under the same token.
    LaunchIntended { spec: Box<LaunchSpec> },
    /// The launch gave this instance.
    Launched { instance: InstanceId },
    /// The launch was refused for good.
    LaunchRefused { failure: Failure },
    /// The script is about to be handed to the builder's agent.
    CommandIntended {},
    /// The agent has it.
    Commanded { command: CommandId },
    /// The agent is not there: the script comes by the user data.
    CommandForgone { why: String },
    /// The instance that is enrolled is about to be stopped; it ran.
    StopIntended { instance: InstanceId },
    /// What the guest has said so far.
    GuestSaid { report: Box<GuestReport> },
    /// The builder was first seen powered off.
    BuilderOff {},
    /// The AMI is about to be made.
    ImageIntended {},
    /// It is being made.
    ImageMade { ami: AmiId },
    /// The AMI's tags tell its controller to prove it.
    HandedOver {},
    /// A canary is about to be asked for; `now` if it shall not wait until its worker is idle.
    CanaryIntended { now: bool },
    /// How it stands with the canary.
    CanarySaw { sight: Box<CanarySight> },
    /// The manifest is about to name the new AMI.
    PromoteIntended { from: AmiId, to: AmiId },
    /// It does.
    Promoted { from: AmiId, to: AmiId },
    /// Its starts are worse than those of the generation before.
    FoundWorse { why: String },
    /// An AMI is about to be put further away.
    RetireIntended { ami: AmiId, stage: RetireStage },
    /// It is.
    Retired { ami: AmiId, stage: RetireStage },
    /// A call was refused; it is sent again, or the step fails by its deadline.
    Refused { what: String, failure: Failure },
    /// What was done is taken back from here on.
    UndoBegun { why: String, by_hand: bool },
    /// Something is about to be taken back.
    UndoIntended { thing: Thing },
    /// It is.
    Undone { thing: Thing },
    /// It is over.
    Ended { outcome: Outcome },
}

impl RebakeBody {
    /// Whether something has come about: that something is tried, refused or taken up again is none.
    pub fn is_progress(&self) -> bool {
        !matches!(
            self,
            Self::Resumed { .. }
                | Self::FenceIntended {}
                | Self::LaunchIntended { .. }
                | Self::CommandIntended {}
                | Self::StopIntended { .. }
                | Self::ImageIntended {}
                | Self::CanaryIntended { .. }
                | Self::PromoteIntended { .. }
                | Self::RetireIntended { .. }
                | Self::UndoIntended { .. }
                | Self::Refused { .. }
        )
    }

    /// One line for a person.
    pub fn describe(&self) -> String {
        let refused = |failure: &Failure| format!("{} ({}): {}", failure.code, failure.kind, failure.message);
        match self {
            Self::Ordered { order } => {
                format!("rebake {} of {} from {}: generation {}", order.id, order.image, order.source, order.generation)
            }
            Self::Resumed { version } => format!("latent {version} works on it"),
            Self::Begun { step } => format!("{step}: {}", step.what()),
            Self::Done { step, evidence } if evidence.is_empty() => format!("{step}: done"),
            Self::Done { step, evidence } => format!("{step}: done: {evidence}"),
            Self::FenceIntended {} => "making the builder's security group".to_owned(),
            Self::FenceMade { group } => format!("{group} lets the builder out to package servers alone"),
            Self::LaunchIntended { spec } => format!("launching {} as {}", spec.ami, spec.offering),
            Self::Launched { instance } => format!("builder {instance}"),
            Self::LaunchRefused { failure } => format!("launch refused: {}", refused(failure)),
            Self::CommandIntended {} => "handing the script to the builder's agent".to_owned(),
            Self::Commanded { command } => format!("the agent runs it as {command}"),
            Self::CommandForgone { why } => format!("the script comes by the user data: {why}"),
            Self::StopIntended { instance } => format!("stopping {instance}"),
            Self::GuestSaid { report } => report.to_string(),
            Self::BuilderOff {} => "the builder is off".to_owned(),
            Self::ImageIntended {} => "making the AMI".to_owned(),
            Self::ImageMade { ami } => format!("AMI {ami} is being made"),
            Self::HandedOver {} => "the AMI's tags tell its controller to prove it".to_owned(),
            Self::CanaryIntended { now: false } => "asking for a canary when its worker is idle".to_owned(),
            Self::CanaryIntended { now: true } => "asking for a canary now".to_owned(),
            Self::CanarySaw { sight } => sight.to_string(),
            Self::PromoteIntended { from, to } => format!("the manifest shall name {to} in the place of {from}"),
            Self::Promoted { from, to } => format!("the manifest names {to}; {from} is the previous one"),
            Self::FoundWorse { why } => format!("worse than the generation before: {why}"),
            Self::RetireIntended { ami, stage } | Self::Retired { ami, stage } => format!("{ami}: {stage}"),
            Self::Refused { what, failure } => format!("{what} refused: {}", refused(failure)),
            Self::UndoBegun { why, .. } => format!("taking everything back: {why}"),
            Self::UndoIntended { thing } => format!("taking back: {thing}"),
            Self::Undone { thing } => format!("taken back: {thing}"),
            Self::Ended { outcome } => outcome.to_string(),
        }
    }
}
