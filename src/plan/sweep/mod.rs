//! What is left over in an account, and what may be done about it: values in, values out. The
//! controller's sweeper and `latent sweep` decide by this, and by nothing else.

mod claims;
mod confirm;
mod cost;
mod guard;
mod instance;
mod judge;
mod other;
mod plan;
mod stated;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{AmiId, InstanceId, Region, ResourceId, Survey, TagSet, WorkerName, tag_keys};
use crate::policy::SweepPolicy;
use crate::policy::price::Prices;

pub use claims::claims;
pub use confirm::{Skipped, confirm};
pub use guard::{Caps, Guard};
pub use judge::mark_text;
pub use plan::{Act, Confidence, Finding, GapLine, Kept, PlanError, PlanFile, Seen, SweepPlan};
pub use stated::Stated;

/// What a controller that answers says of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// A worker has it: it is connected, or may run a build.
    Used {
        /// Which.
        worker: WorkerName,
    },
    /// Its worker has until then to connect.
    Connecting {
        /// Which.
        worker: WorkerName,
        /// Its deadline.
        until: DateTime<Utc>,
    },
    /// It is stopped, for the next request.
    Stopped {
        /// Of which worker.
        worker: WorkerName,
    },
    /// The controller is ending it since then.
    Ending {
        /// Since when.
        since: DateTime<Utc>,
    },
}

/// A launch that a controller intended and of which it knows no outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OpenIntent {
    /// For which worker.
    pub worker: WorkerName,
    /// Under which token.
    pub token: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Where.
    pub region: Region,
}

/// Everything that a controller which answers says of instances. What is not here, it does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Claims {
    /// By instance.
    pub instances: BTreeMap<InstanceId, Claim>,
    /// Launches whose outcome is open.
    pub open: Vec<OpenIntent>,
}

/// Which controller: two fleets may call theirs by the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ControllerKey {
    /// Its fleet.
    pub fleet: String,
    /// Its id.
    pub controller: String,
}

impl ControllerKey {
    /// Of this fleet and id.
    pub fn new(fleet: &str, controller: &str) -> Self {
        Self { fleet: fleet.to_owned(), controller: controller.to_owned() }
    }

    /// By the tags of something of its own.
    fn of(tags: &TagSet) -> Option<Self> {
        Some(Self::new(tags.get(tag_keys::FLEET)?, tags.get(tag_keys::CONTROLLER)?))
    }
}

/// Everything that a sweep's decisions may depend on.
#[derive(Debug, Clone, Copy)]
pub struct SweepView<'a> {
    /// The time.
    pub now: DateTime<Utc>,
    /// What counts as left over.
    pub policy: &'a SweepPolicy,
    /// How much may be done at once.
    pub caps: Caps,
    /// The account's number.
    pub account: &'a str,
    /// Only this fleet; every fleet of the account without it.
    pub fleet: Option<&'a str>,
    /// The controller that asks for itself: its own loop speaks for its instances, and nothing of
    /// another controller is touched.
    pub me: Option<&'a str>,
    /// What was seen, by region.
    pub surveys: &'a BTreeMap<Region, Survey>,
    /// What controllers said that could be asked; asked after the look.
    pub claims: &'a BTreeMap<ControllerKey, Claims>,
    /// AMIs that the configuration names.
    pub own_amis: &'a BTreeSet<AmiId>,
    /// What else it claims.
    pub stated: &'a Stated,
    /// What the owner names, to be acted on although the policy only reports it.
    pub named: &'a BTreeSet<ResourceId>,
    /// First looks that are remembered elsewhere than in a mark tag.
    pub first_seen: &'a BTreeMap<ResourceId, DateTime<Utc>>,
    /// What estimates go by.
    pub prices: &'a Prices,
}

impl SweepView<'_> {
    /// Whether the tags say that it belongs to a fleet that is swept.
    fn ours(&self, tags: &TagSet) -> bool {
        tags.get(tag_keys::FLEET).is_some_and(|fleet| self.fleet.is_none_or(|only| only == fleet))
    }

    /// What its controller says, if that could be asked.
    fn claims_of(&self, tags: &TagSet) -> Option<&Claims> {
        self.claims.get(&ControllerKey::of(tags)?)
    }

    /// Whether it is old enough to be left over; `None` if its age is not known.
    fn is_grown(&self, since: Option<DateTime<Utc>>) -> Option<bool> {
        since.map(|since| self.now - since >= self.policy.young)
    }
}

/// What a detector says of one resource.
#[derive(Debug)]
enum Verdict {
    /// It is none of ours.
    NotOurs,
    /// It is ours and not left over, or nobody can say.
    Kept(String),
    /// It is left over.
    Found(Draft),
}

/// A leftover before anybody has asked what may be done about it.
#[derive(Debug)]
struct Draft {
    kind: crate::model::LeftoverKind,
    reason: String,
    evidence: Vec<String>,
    confidence: Confidence,
    since: Option<DateTime<Utc>>,
    age_from: &'static str,
    /// One look is enough.
    sure: bool,
    /// It may only be told, whatever the policy says; why.
    only_told: Option<String>,
}

/// Looks at everything that was seen, and says what is left over and what may be done about it.
pub fn sweep(view: &SweepView<'_>) -> SweepPlan {
    let mut plan = SweepPlan::begun(view);
    for (region, survey) in view.surveys {
        let amis = instance::amis_of_ours(view, survey);
        for (id, resource) in &survey.resources {
            let verdict = match resource {
                crate::model::Resource::Instance(instance) => instance::verdict(view, &amis, instance),
                _ => other::verdict(view, survey, id, resource),
            };
            plan.count(view, id, resource);
            match verdict {
                Verdict::NotOurs => {}
                Verdict::Kept(why) => plan.keep(region, id, why),
                Verdict::Found(draft) => match judge::judge(view, survey, id, resource, &draft) {
                    Ok((act, note, first_seen)) => {
                        let monthly = cost::of_month(survey, resource, region, view.prices);
                        plan.find(monthly, region, id, resource, draft, act, note, first_seen);
                    }
                    Err(protection) => plan.keep(region, id, format!("{}, but {protection}", draft.kind)),
                },
            }
        }
    }
    for (region, intent) in other::open_intents(view) {
        plan.find_intent(view.now, region, intent);
    }
    plan.findings.extend(other::untagged_requests(view));
    plan.findings.sort_by(|a, b| (&a.region, a.kind, &a.id).cmp(&(&b.region, b.kind, &b.id)));
    plan.refused = guard::refusal(view, &plan);
    plan
}

/// The same plan with these findings alone: what refuses all of it need not refuse a part.
pub fn narrowed(view: &SweepView<'_>, plan: &SweepPlan, findings: Vec<Finding>) -> SweepPlan {
    let mut part = SweepPlan { findings, ..plan.clone() };
    part.refused = guard::refusal(view, &part);
    part
}

/// A span as people say it, in its two largest units.
pub(crate) fn said(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let (large, small) = match (days, hours, minutes) {
        (0, 0, 0) => (format!("{seconds} s"), None),
        (0, 0, _) => (format!("{minutes} min"), None),
        (0, _, _) => (format!("{hours} h"), Some((minutes % 60, "min"))),
        _ => (format!("{days} d"), Some((hours % 24, "h"))),
    };
    match small {
        Some((number, unit)) if number > 0 => format!("{large} {number} {unit}"),
        Some(_) | None => large,
    }
}
