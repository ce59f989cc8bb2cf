//! What is left over: zombies that live, other leftovers, and zombies that the ledger remembers.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::draft::{Draft, total};
use super::scope::Scope;
use crate::audit::evidence::Evidence;
use crate::audit::report::{Cost, Leftover};
use crate::model::ResourceKind;
use crate::plan::meter::Use;
use crate::plan::sweep::{Finding, said};
use crate::policy::price::{self, Range};

/// The instances that a sweep takes for zombies.
pub(super) fn zombies_of_a_sweep(findings: &[&Finding]) -> BTreeSet<String> {
    findings.iter().filter(|finding| finding.kind.is_zombie()).map(|finding| finding.id.clone()).collect()
}

/// Everything that is left over, the dearest first, and how many zombies live.
pub(super) fn leftovers(
    evidence: &Evidence<'_>,
    scope: &Scope<'_>,
    findings: &[&Finding],
    drafts: &[Draft],
) -> (Vec<Leftover>, u32) {
    let mut all: Vec<Leftover> = findings.iter().map(|finding| of_a_sweep(finding)).collect();
    let told: BTreeSet<String> = all.iter().map(|one| one.id.clone()).collect();
    let mut zombies = zombies_of_a_sweep(findings);
    for draft in drafts.iter().filter(|draft| !told.contains(&draft.line.instance)) {
        let now = draft.line.segments.last().filter(|segment| segment.to.is_none()).map(|segment| segment.usage);
        if now == Some(Use::Zombie) && draft.is_live && evidence.until == evidence.now {
            zombies.insert(draft.line.instance.clone());
            all.push(lives(scope, draft));
        } else if draft.line.uses.contains_key(&Use::Zombie) {
            all.push(was(draft));
        }
    }
    all.sort_by(|a, b| {
        let most = |one: &Leftover| one.month.map(|month| month.high);
        most(b).cmp(&most(a)).then_with(|| a.id.cmp(&b.id))
    });
    (all, u32::try_from(zombies.len()).unwrap_or(u32::MAX))
}

fn of_a_sweep(finding: &Finding) -> Leftover {
    Leftover {
        id: finding.id.clone(),
        kind: finding.kind.name().to_owned(),
        region: finding.region.to_string(),
        reason: finding.reason.clone(),
        since: finding.since,
        month: finding.monthly,
        instance: finding.resource().is_some_and(|id| id.kind() == ResourceKind::Instance),
    }
}

fn lives(scope: &Scope<'_>, draft: &Draft) -> Leftover {
    let line = &draft.line;
    let since = line.segments.iter().find(|segment| segment.usage == Use::Zombie).map(|segment| segment.from);
    Leftover {
        id: line.instance.clone(),
        kind: Leftover::ZOMBIE.to_owned(),
        region: line.region.clone(),
        reason: format!("it runs in {}'s account, and no record explains it", scope.owner()),
        since,
        month: a_month(draft),
        instance: true,
    }
}

/// What it will cost each month if it goes on as it did.
fn a_month(draft: &Draft) -> Option<Range> {
    let seconds = u64::try_from(draft.line.billed_seconds).ok().filter(|seconds| *seconds > 0)?;
    let cost: Cost = draft.line.cost?;
    Some(total(&cost).share(price::HOURS_PER_MONTH * 3600, seconds))
}

fn was(draft: &Draft) -> Leftover {
    let line = &draft.line;
    let seconds = line.uses.get(&Use::Zombie).copied().unwrap_or(0);
    let since = line.segments.iter().find(|segment| segment.usage == Use::Zombie).map(|segment| segment.from);
    let end = line.ended.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    Leftover {
        id: line.instance.clone(),
        kind: Leftover::WAS_ZOMBIE.to_owned(),
        region: line.region.clone(),
        reason: format!(
            "it lived for {} without anything that explained it; it is none any more{end}",
            said(TimeDelta::seconds(seconds))
        ),
        since,
        month: Some(Range::ZERO),
        instance: true,
    }
}
