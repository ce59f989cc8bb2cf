//! What a sweep found, as a value that can be printed, kept in a file, and applied exactly as it is.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::guard::Guard;
use super::{Draft, OpenIntent, SweepView, said};
use crate::model::{AmiId, LeftoverKind, Region, Resource, ResourceId, ResourceKind, digest_hex, tag_keys};
use crate::policy::price::Range;

/// The version of the plan's form.
const FORMAT: u32 = 1;

/// What is to be done about a finding. The order is that of strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Nothing: it is told.
    Report,
    /// Nothing yet: it was marked a short time ago.
    Wait,
    /// It is marked; a later sweep that finds it again acts.
    Mark,
    /// It is stopped.
    Stop,
    /// It is taken away.
    Terminate,
}

impl Act {
    /// Whether it ends or stops something.
    pub fn takes_away(self) -> bool {
        matches!(self, Act::Stop | Act::Terminate)
    }

    /// Whether anything is called for it.
    pub fn calls(self) -> bool {
        matches!(self, Act::Mark | Act::Stop | Act::Terminate)
    }

    /// The verb for a kind of resource.
    pub fn verb(self, kind: Option<ResourceKind>) -> &'static str {
        match (self, kind) {
            (Act::Report, _) => "report",
            (Act::Wait, _) => "wait",
            (Act::Mark, _) => "mark",
            (Act::Stop, _) => "stop",
            (Act::Terminate, Some(ResourceKind::Volume | ResourceKind::Snapshot | ResourceKind::Interface)) => "delete",
            (Act::Terminate, Some(ResourceKind::Address)) => "release",
            (Act::Terminate, Some(ResourceKind::SpotRequest)) => "cancel",
            (Act::Terminate, Some(ResourceKind::Ami)) => "deregister",
            (Act::Terminate, Some(ResourceKind::Instance) | None) => "terminate",
        }
    }
}

/// How far the evidence goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// It looks so; a person decides.
    Weak,
    /// What is known says so, and one thing more could contradict it.
    Strong,
    /// It follows from what was set at its launch.
    Certain,
}

/// One leftover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Its id; of a launch without an instance, the token.
    pub id: String,
    /// Where.
    pub region: Region,
    /// What kind of leftover.
    pub kind: LeftoverKind,
    /// The fleet it belongs to.
    pub fleet: Option<String>,
    /// The worker, or its name.
    pub name: Option<String>,
    /// Since when it is there.
    pub since: Option<DateTime<Utc>>,
    /// How that is known.
    pub age_from: String,
    /// Why it counts as left over, in one sentence.
    pub reason: String,
    /// What that rests on.
    pub evidence: Vec<String>,
    /// How far that goes.
    pub confidence: Confidence,
    /// What it costs in a month of 730 hours, in US dollars; `None` if the price is not known.
    pub monthly: Option<Range>,
    /// When an earlier look found the same.
    pub first_seen: Option<DateTime<Utc>>,
    /// What is to be done.
    pub act: Act,
    /// Why not more.
    pub note: Option<String>,
}

impl Finding {
    /// The resource, if it is one.
    pub fn resource(&self) -> Option<ResourceId> {
        self.id.parse().ok()
    }
}

/// Something of ours that is left alone, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Its id.
    pub id: ResourceId,
    /// Where.
    pub region: Region,
    /// Why.
    pub why: String,
}

/// What could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GapLine {
    /// Where.
    pub region: Region,
    /// What.
    pub kind: ResourceKind,
    /// EC2's code.
    pub code: String,
    /// What it said.
    pub why: String,
}

impl fmt::Display for GapLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}: {}: {}", self.kind.plural(), self.region, self.code, self.why)
    }
}

/// How much was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Instances of the account.
    pub instances: usize,
    /// Resources of the swept fleets that are not over, by kind.
    pub ours: BTreeMap<ResourceKind, usize>,
}

/// Everything that a sweep found and decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SweepPlan {
    /// The version of this form.
    pub format: u32,
    /// The account's number.
    pub account: String,
    /// The fleet that was swept; every fleet if absent.
    pub fleet: Option<String>,
    /// The regions that were looked at.
    pub regions: Vec<Region>,
    /// When.
    pub taken_at: DateTime<Utc>,
    /// AMIs that were said to be the fleet's.
    pub amis: Vec<AmiId>,
    /// What the owner named, to be acted on although it would only be told.
    pub named: Vec<ResourceId>,
    /// How much was looked at.
    pub seen: Seen,
    /// What is left over.
    pub findings: Vec<Finding>,
    /// What of ours was left alone.
    pub kept: Vec<Kept>,
    /// What could not be read. With any of these nothing is done.
    pub gaps: Vec<GapLine>,
    /// Why nothing is done, although something was to be done.
    pub refused: Option<Guard>,
}

/// A plan in a file: nobody changed it since it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// SHA-256 of the plan's JSON.
    pub digest: String,
    /// The plan.
    pub plan: SweepPlan,
}

/// Why a file is no plan that can be applied.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No JSON of this form.
    #[error("is no plan of a sweep: {0}; write one with `latent sweep --plan FILE`")]
    Form(#[from] serde_json::Error),
    /// Another version wrote it.
    #[error("has format {0}, this latent reads format {FORMAT}; write a new plan")]
    Format(u32),
    /// It was changed.
    #[error("was changed after it was written: its digest is {found}, its content's is {computed}; write a new plan")]
    Changed {
        /// What it says.
        found: String,
        /// What follows from its content.
        computed: String,
    },
}

impl SweepPlan {
    pub(super) fn begun(view: &SweepView<'_>) -> Self {
        let gaps = view.surveys.iter().flat_map(|(region, survey)| {
            survey.gaps.iter().map(|gap| GapLine {
                region: region.clone(),
                kind: gap.kind,
                code: gap.failure.code.clone(),
                why: gap.failure.message.clone(),
            })
        });
        Self {
            format: FORMAT,
            account: view.account.to_owned(),
            fleet: view.fleet.map(ToOwned::to_owned),
            regions: view.surveys.keys().cloned().collect(),
            taken_at: view.now,
            amis: view.own_amis.iter().cloned().collect(),
            named: view.named.iter().cloned().collect(),
            seen: Seen::default(),
            findings: Vec::new(),
            kept: Vec::new(),
            gaps: gaps.collect(),
            refused: None,
        }
    }

    pub(super) fn count(&mut self, view: &SweepView<'_>, id: &ResourceId, resource: &Resource) {
        self.seen.instances += usize::from(matches!(resource, Resource::Instance(_)));
        if !resource.is_over() && view.ours(resource.tags()) {
            *self.seen.ours.entry(id.kind()).or_default() += 1;
        }
    }

    pub(super) fn keep(&mut self, region: &Region, id: &ResourceId, why: String) {
        self.kept.push(Kept { id: id.clone(), region: region.clone(), why });
    }

    #[expect(clippy::too_many_arguments, reason = "each is a field of the finding")]
    pub(super) fn find(
        &mut self,
        monthly: Option<Range>,
        region: &Region,
        id: &ResourceId,
        resource: &Resource,
        draft: Draft,
        act: Act,
        note: Option<String>,
        first_seen: Option<DateTime<Utc>>,
    ) {
        let tags = resource.tags();
        let name =
            tags.get(tag_keys::WORKER).or_else(|| tags.get(tag_keys::IMAGE)).or_else(|| tags.get(tag_keys::NAME));
        self.findings.push(Finding {
            id: id.to_string(),
            region: region.clone(),
            kind: draft.kind,
            fleet: tags.get(tag_keys::FLEET).map(ToOwned::to_owned),
            name: name.map(ToOwned::to_owned),
            since: draft.since,
            age_from: draft.age_from.to_owned(),
            reason: draft.reason,
            evidence: draft.evidence,
            confidence: draft.confidence,
            monthly,
            first_seen,
            act,
            note,
        });
    }

    pub(super) fn find_intent(&mut self, now: DateTime<Utc>, region: &Region, intent: &OpenIntent) {
        self.findings.push(Finding {
            id: intent.token.clone(),
            region: region.clone(),
            kind: LeftoverKind::IntentOpen,
            fleet: self.fleet.clone(),
            name: Some(intent.worker.to_string()),
            since: Some(intent.since),
            age_from: "the controller's ledger".to_owned(),
            reason: format!(
                "a launch for {} was intended {} ago, and no instance has its token",
                intent.worker,
                said(now - intent.since)
            ),
            evidence: vec!["the controller knows no outcome".to_owned(), "the listing shows no such token".to_owned()],
            confidence: Confidence::Weak,
            monthly: None,
            first_seen: None,
            act: Act::Report,
            note: Some("the controller finds out by itself, or says why not: latent explain".to_owned()),
        });
    }

    /// Whether everything that was asked for could be read.
    pub fn complete(&self) -> bool {
        self.gaps.is_empty()
    }

    /// The findings for which something is called.
    pub fn acts(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.act.calls())
    }

    /// The monthly cost of everything that was found, and of how many the price is not known.
    pub fn monthly(&self) -> (Range, usize) {
        let known = self.findings.iter().filter_map(|finding| finding.monthly);
        (
            known.fold(Range::default(), |sum, one| sum + one),
            self.findings.iter().filter(|f| f.monthly.is_none()).count(),
        )
    }

    fn digest(&self) -> Result<String, serde_json::Error> {
        Ok(format!("sha256:{}", digest_hex(&Sha256::digest(serde_json::to_vec(self)?))))
    }
}

impl PlanFile {
    /// Seals a plan.
    ///
    /// # Errors
    /// [`PlanError::Form`], which no plan that was made here causes.
    pub fn seal(plan: SweepPlan) -> Result<Self, PlanError> {
        Ok(Self { digest: plan.digest()?, plan })
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn read(text: &str) -> Result<Self, PlanError> {
        let version: serde_json::Value = serde_json::from_str(text)?;
        match version.pointer("/plan/format").and_then(serde_json::Value::as_u64) {
            Some(format) if format != u64::from(FORMAT) => {
                return Err(PlanError::Format(u32::try_from(format).unwrap_or(u32::MAX)));
            }
            Some(_) | None => {}
        }
        let file: Self = serde_json::from_value(version)?;
        let computed = file.plan.digest()?;
        if computed != file.digest {
            return Err(PlanError::Changed { found: file.digest, computed });
        }
        Ok(file)
    }
}
