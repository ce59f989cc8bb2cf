//! Reasons to do nothing at all: better an hour of rent than a fleet.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ControllerKey, Finding, SweepPlan, SweepView};
use crate::model::{LeftoverKind, ResourceKind, counted};

/// How much may be done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// So few acts need not keep within `percent`.
    pub free: u32,
    /// More acts than this are refused.
    pub max: u32,
    /// A larger share of what is ours is refused.
    pub percent: u32,
    /// A controller that claims nothing may be believed.
    pub state_lost: bool,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// Not everything could be read.
    Incomplete {
        /// How many listings failed.
        gaps: usize,
    },
    /// Too many acts at once.
    TooMany {
        /// So many were to be done.
        acts: usize,
        /// So many may be.
        max: u32,
    },
    /// Too large a share of what is ours of one kind.
    TooLargeShare {
        /// Which kind.
        kind: ResourceKind,
        /// So many were to be done.
        acts: usize,
        /// Of so many.
        ours: usize,
        /// So much of it may be, in percent.
        percent: u32,
    },
    /// A controller says that it has nothing, and the cloud shows several instances of it.
    ControllerStateLost {
        /// Which.
        controller: String,
        /// How many instances it does not know.
        instances: usize,
    },
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::Incomplete { gaps } => write!(
                f,
                "{} could not be read, and what could not be seen is not known to be left over; mend \
                 that, or name only the regions that can be read with --region",
                counted(*gaps, "listing")
            ),
            Guard::TooMany { acts, max } => write!(
                f,
                "{acts} acts are more than the {max} that may be done at once (sweep.acts_max); look at the plan, and \
                 allow them with --max-acts {acts}"
            ),
            Guard::TooLargeShare { kind, acts, ours, percent } => write!(
                f,
                "{acts} of the {ours} {} are more than {percent} % of them (sweep.acts_percent); look at the plan, \
                 and allow it with --max-percent 100",
                kind.plural()
            ),
            Guard::ControllerStateLost { controller, instances } => write!(
                f,
                "controller {controller} answers and claims no instance, yet {instances} of its instances run: it may \
                 have lost its ledger and be adopting them; wait, or allow it with --controller-state-lost"
            ),
        }
    }
}

/// Why nothing of the plan may be done; `None` also if it does nothing.
pub(super) fn refusal(view: &SweepView<'_>, plan: &SweepPlan) -> Option<Guard> {
    if !plan.gaps.is_empty() {
        return Some(Guard::Incomplete { gaps: plan.gaps.len() });
    }
    if let Some(lost) = state_lost(view, plan).filter(|_| !view.caps.state_lost) {
        return Some(lost);
    }
    let acts = plan.findings.iter().filter(|finding| finding.act.takes_away()).count();
    let Caps { free, max, percent, .. } = view.caps;
    if acts > max as usize {
        return Some(Guard::TooMany { acts, max });
    }
    if acts <= free as usize {
        return None;
    }
    ResourceKind::ALL.into_iter().find_map(|kind| {
        let is = |finding: &&Finding| finding.resource().is_some_and(|id| id.kind() == kind);
        let acts = plan.findings.iter().filter(|finding| finding.act.takes_away()).filter(is).count();
        let ours = plan.seen.ours.get(&kind).copied().unwrap_or_default();
        (acts * 100 > ours * percent as usize).then_some(Guard::TooLargeShare { kind, acts, ours, percent })
    })
}

/// A controller without a single claim, while orphans of it are about to be ended.
fn state_lost(view: &SweepView<'_>, plan: &SweepPlan) -> Option<Guard> {
    let mut lives: BTreeMap<ControllerKey, usize> = BTreeMap::new();
    for instance in view.surveys.values().flat_map(crate::model::Survey::instances) {
        if let Some(controller) = ControllerKey::of(&instance.tags)
            && instance.state.is_live()
            && view.ours(&instance.tags)
        {
            *lives.entry(controller).or_default() += 1;
        }
    }
    let orphans = plan.findings.iter().any(|f| f.kind == LeftoverKind::Orphan && f.act.takes_away());
    let silent = view.claims.iter().filter(|(_, claims)| claims.instances.is_empty());
    let mut suspects = silent.filter_map(|(key, _)| Some((key, *lives.get(key)?)));
    let (key, instances) = suspects.find(|(_, lives)| *lives >= 2 && orphans)?;
    Some(Guard::ControllerStateLost { controller: key.controller.clone(), instances })
}
