//! A rebake as it is shown and asked for.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::engine::Standing;
use crate::model::{
    AmiId, ImageName, Outcome, Rebake, RebakeBody, RebakeEntry, RebakeId, RebakeKind, Step, WorkerName,
};
use crate::plan::rebake::deadline;

/// What is asked of a controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RebakeAsk {
    /// The AMI that a manifest names; that, or the image.
    #[serde(default)]
    pub ami: Option<AmiId>,
    /// The manifest.
    #[serde(default)]
    pub image: Option<ImageName>,
    /// A newer base, on which the worker is set up anew.
    #[serde(default)]
    pub from_base: Option<AmiId>,
    /// The worker that shall prove the new AMI, if it matters which.
    #[serde(default)]
    pub worker: Option<WorkerName>,
    /// Only if the AMI is older than `requirements.max_ami_age`.
    #[serde(default)]
    pub due: bool,
    /// Only tell what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// A step as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepView {
    /// Which.
    pub step: Step,
    /// What it does.
    pub what: String,
    /// When it began, if it has.
    pub begun: Option<DateTime<Utc>>,
    /// When it was done, if it is.
    pub done: Option<DateTime<Utc>>,
    /// What shows it.
    pub evidence: Option<String>,
}

/// One rebake as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RebakeView {
    /// Its id.
    pub id: RebakeId,
    /// What it begins with.
    pub kind: RebakeKind,
    /// The manifest.
    pub image: ImageName,
    /// Whose account.
    pub owner: String,
    /// Where.
    pub region: String,
    /// The AMI that it begins with.
    pub source: AmiId,
    /// The number of the new generation.
    pub generation: u32,
    /// When it was ordered.
    pub ordered_at: DateTime<Utc>,
    /// The builder.
    pub builder: Option<String>,
    /// The new AMI.
    pub ami: Option<AmiId>,
    /// The worker that proves it.
    pub worker: Option<WorkerName>,
    /// The step that it is in.
    pub step: Step,
    /// By when that must be done.
    pub deadline: DateTime<Utc>,
    /// What it waits for.
    pub waits: Option<String>,
    /// What the builder's console showed last.
    pub tail: Option<String>,
    /// Why everything is being taken back, if it is.
    pub undoing: Option<String>,
    /// The last refusal in this step.
    pub refused: Option<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The outcome in words.
    pub ended: Option<String>,
    /// The place of the last entry of its journal.
    pub seq: u64,
    /// When that was written.
    #[serde(default)]
    pub last_at: Option<DateTime<Utc>>,
}

/// One entry of a rebake's journal as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RebakeEventView {
    /// Its place.
    pub seq: u64,
    /// When.
    pub at: DateTime<Utc>,
    /// In a line.
    pub text: String,
    /// Whole.
    pub body: serde_json::Value,
}

impl RebakeView {
    /// A record, and what its loop waits for, if it runs.
    pub fn of(rebake: &Rebake, waits: Option<&Standing>) -> Self {
        let order = &rebake.order;
        Self {
            id: order.id.clone(),
            kind: order.kind,
            image: order.image.clone(),
            owner: order.owner.to_string(),
            region: order.region.to_string(),
            source: order.source.clone(),
            generation: order.generation,
            ordered_at: order.at,
            builder: rebake.builder.as_ref().map(ToString::to_string),
            ami: rebake.ami.clone(),
            worker: order.worker.clone(),
            step: rebake.step,
            deadline: deadline(rebake),
            waits: waits.and_then(|standing| standing.waits.clone()),
            tail: waits.and_then(|standing| standing.tail.clone()),
            undoing: rebake.undo.as_ref().map(|undo| undo.why.clone()),
            refused: rebake
                .refused
                .as_ref()
                .map(|(_, what, failure)| format!("{what}: {} ({}): {}", failure.code, failure.kind, failure.message)),
            outcome: rebake.outcome.clone(),
            ended: rebake.outcome.as_ref().map(ToString::to_string),
            seq: rebake.seq,
            last_at: Some(rebake.last_at),
        }
    }
}

impl From<&RebakeEntry> for RebakeEventView {
    fn from(entry: &RebakeEntry) -> Self {
        let body = match &entry.body {
            // The script is in the journal; whoever follows need not see it again.
            RebakeBody::Ordered { order } => {
                let mut order = order.clone();
                (order.user_data, order.command) = (None, None);
                serde_json::to_value(RebakeBody::Ordered { order })
            }
            body => serde_json::to_value(body),
        };
        Self { seq: entry.seq, at: entry.at, text: entry.body.describe(), body: body.unwrap_or_default() }
    }
}

/// The steps of a rebake with what the journal says of each.
pub fn steps(rebake: &Rebake, entries: &[RebakeEntry]) -> Vec<StepView> {
    let order = &rebake.order;
    let path = std::iter::successors(Some(order.first()), |step| order.after(*step));
    let view = |step: Step| {
        let mut view = StepView { step, what: step.what().to_owned(), begun: None, done: None, evidence: None };
        if step == order.first() {
            view.begun = Some(order.at);
        }
        for entry in entries {
            match &entry.body {
                RebakeBody::Begun { step: begun } if *begun == step => view.begun = Some(entry.at),
                RebakeBody::Done { step: done, evidence } if *done == step => {
                    (view.done, view.evidence) = (Some(entry.at), Some(evidence.clone()));
                }
                _ => {}
            }
        }
        view
    };
    path.map(view).collect()
}
