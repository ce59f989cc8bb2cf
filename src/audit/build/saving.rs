//! What could be saved each month, and by which command.

use chrono::TimeDelta;

use super::draft::Draft;
use super::period::{MONTH_SECONDS, Period};
use super::scope::Scope;
use crate::audit::evidence::Evidence;
use crate::audit::report::{Saving, Standing};
use crate::model::{LeftoverKind, Survey, WorkerName, counted};
use crate::plan::meter::{Segment, Use};
use crate::plan::sweep::{Act, Finding, said};
use crate::policy::price::{Money, Range};
use crate::policy::{IdleTimeout, WorkerIntent};

/// A saving below this each month is not worth a line.
const LEAST: Money = Money::micro_dollars(500_000);
/// The most ids that one command names.
const IDS_MAX: usize = 10;

/// What could be saved, the largest amount first.
pub(super) fn savings(
    evidence: &Evidence<'_>,
    scope: &Scope<'_>,
    period: Period,
    findings: &[&Finding],
    drafts: &[Draft],
    standing: &[Standing],
) -> Vec<Saving> {
    let mut all = Vec::new();
    all.extend(swept(evidence, scope, findings));
    all.extend(stopped(evidence, findings, standing));
    all.extend(idle(evidence, period, drafts));
    all.retain(|saving: &Saving| saving.month.high >= LEAST);
    all.sort_by(|a, b| b.month.high.cmp(&a.month.high).then_with(|| a.what.cmp(&b.what)));
    all
}

/// The command that looks at the owner's account as this report did.
fn sweep_command(evidence: &Evidence<'_>) -> String {
    if evidence.intent.is_some() {
        return format!("latent sweep --owner {}", evidence.owner);
    }
    let regions: Vec<String> = evidence.regions.keys().map(|region| format!(" --region {region}")).collect();
    format!("latent sweep{} --fleet {}", regions.concat(), evidence.fleet)
}

/// What a sweep takes away: by itself, or named.
fn swept(evidence: &Evidence<'_>, scope: &Scope<'_>, findings: &[&Finding]) -> Vec<Saving> {
    let priced = findings.iter().filter(|finding| finding.monthly.is_some_and(|month| month.high > Money::ZERO));
    let (told, acted): (Vec<&Finding>, Vec<&Finding>) = priced.partition(|finding| finding.act == Act::Report);
    let month = |some: &[&Finding]| some.iter().filter_map(|finding| finding.monthly).sum::<Range>();
    let command = sweep_command(evidence);
    let mut all = Vec::new();
    if !acted.is_empty() {
        all.push(Saving {
            what: format!("Take away {} of {}'s that nothing uses", counted(acted.len(), "thing"), scope.owner()),
            month: month(&acted),
            command: format!("{command} --apply"),
        });
    }
    let (old, other): (Vec<&Finding>, Vec<&Finding>) = told
        .into_iter()
        .filter(|finding| finding.kind != LeftoverKind::UntaggedOnOwnAmi)
        .partition(|finding| finding.kind == LeftoverKind::AmiSuperseded);
    for (some, what, of) in [(old, "old generation", "of an image"), (other, "leftover", "only reported")] {
        for some in some.chunks(IDS_MAX) {
            let ids: Vec<String> = some.iter().map(|finding| format!(" --id {}", finding.id)).collect();
            all.push(Saving {
                what: format!("Take away {} {of} (a person decides: look at each first)", counted(some.len(), what)),
                month: month(some),
                command: format!("{command}{} --apply", ids.concat()),
            });
        }
    }
    all
}

/// Disks of stopped instances, where the policy keeps them for the next build.
fn stopped(evidence: &Evidence<'_>, findings: &[&Finding], standing: &[Standing]) -> Vec<Saving> {
    let surveys = evidence.regions.values().filter_map(|look| look.survey.as_ref().ok());
    let mut all = Vec::new();
    for instance in surveys.flat_map(Survey::instances) {
        let found = findings.iter().any(|finding| finding.id == instance.id.as_str());
        let name = instance.tags.get(crate::model::tag_keys::WORKER).and_then(|name| name.parse::<WorkerName>().ok());
        let configured = name.as_ref().and_then(|name| Some((name, worker(evidence, name)?)));
        let Some((name, configured)) = configured.filter(|_| !found && !instance.state.is_live()) else { continue };
        if !configured.policy.on_idle.keeps_instance() {
            continue;
        }
        let own = standing.iter().filter(|one| instance.parts.volumes.contains(&one.id));
        let month: Range = own.filter_map(|one| one.month).sum();
        all.push(Saving {
            what: format!("Let {name} be launched anew instead of keeping its disks: its first start takes longer"),
            // Launched anew it needs its disks while it runs.
            month: Range::up_to(month.high),
            command: format!("on_idle = \"terminate\" in the policy of {name}"),
        });
    }
    all
}

/// The owner's worker of this name.
fn worker<'a>(evidence: &Evidence<'a>, name: &WorkerName) -> Option<&'a WorkerIntent> {
    evidence.intent?.workers.get(name).filter(|worker| worker.cell.owner == *evidence.owner)
}

/// Idle time that a shorter `idle_timeout` would not have paid for.
fn idle(evidence: &Evidence<'_>, period: Period, drafts: &[Draft]) -> Vec<Saving> {
    let Some(intent) = evidence.intent else { return Vec::new() };
    let mut all = Vec::new();
    for (name, configured) in intent.workers.iter().filter(|(_, worker)| worker.cell.owner == *evidence.owner) {
        let IdleTimeout::After(timeout) = configured.policy.idle_timeout else { continue };
        let half = timeout / 2;
        // In a warm window it is idle because that is wanted.
        if half < TimeDelta::minutes(1) || !configured.policy.warm.is_empty() {
            continue;
        }
        let own = drafts.iter().filter(|draft| draft.line.worker.as_deref() == Some(name.as_str()));
        let saved: Range = own.map(|draft| saved_by(draft, half, period)).sum();
        all.push(Saving {
            what: format!("Let {name} go after {} without a build instead of {}", said(half), said(timeout)),
            month: Range::up_to(saved.share(MONTH_SECONDS, period.length()).high),
            command: format!("idle_timeout = \"{}\" in the policy of {name}", key(half)),
        });
    }
    all
}

/// A span as the configuration takes it.
fn key(span: TimeDelta) -> String {
    let seconds = span.num_seconds();
    if seconds % 60 == 0 { format!("{}m", seconds / 60) } else { format!("{seconds}s") }
}

/// What an instance's last idle seconds cost, those after so long; idle time before another build is not counted.
fn saved_by(draft: &Draft, after: TimeDelta, period: Period) -> Range {
    let Some(cost) = draft.line.cost else { return Range::ZERO };
    let Ok(billed) = u64::try_from(draft.line.billed_seconds) else { return Range::ZERO };
    let segments = &draft.line.segments;
    let late = |(at, segment): (usize, &Segment)| {
        let builds_again = segments.get(at + 1).is_some_and(|next| next.usage == Use::Build);
        let counts = segment.usage == Use::Idle && !builds_again;
        if counts { period.seconds(segment.from + after, segment.to) } else { 0 }
    };
    let seconds: i64 = segments.iter().enumerate().map(late).sum();
    if billed == 0 { Range::ZERO } else { cost.compute.share(u64::try_from(seconds).unwrap_or(0), billed) }
}
