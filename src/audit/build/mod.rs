//! From evidence to a report: pure, no call, no clock.

mod budget;
mod difference;
mod draft;
mod leftover;
mod lines;
mod period;
mod rebakes;
mod runs;
mod saving;
mod scope;
mod standing;
#[cfg(test)]
mod tests;
mod trail;
mod words;
mod workers;

use std::collections::{BTreeMap, BTreeSet};

use self::budget::budget;
use self::draft::{Draft, total};
use self::period::Period;
use self::scope::Scope;
pub(super) use self::workers::permille;
use super::evidence::Evidence;
use super::report::{BudgetLine, Day, Headline, InstanceLine, LedgerMark, REPORT_VERSION, Report, Saving, Unseen};
use crate::model::{InstanceId, Region, counted};
use crate::plan::meter::{Meter, Run, Use};
use crate::plan::sweep::Finding;
use crate::policy::price::{self, Range};

/// Makes the report of one owner: of what belongs to anybody else nothing is in it.
pub fn build(evidence: &Evidence<'_>) -> Report {
    let period = Period { since: evidence.since, until: evidence.until };
    let none = Meter::default();
    let meter = evidence.ledger.as_ref().map_or(&none, |record| &record.story.meter);
    let runs: Vec<&Run> = meter.runs().collect();
    let scope = Scope::new(evidence, runs::others(evidence, &runs));
    let findings: Vec<&Finding> = evidence.findings.iter().filter(|finding| scope.concerns(finding)).collect();
    // The two that take longest, of a large fleet at once.
    let (drafts, before) = std::thread::scope(|both| {
        let before = both.spawn(|| before(evidence, period, &runs));
        let drafts = drafts(evidence, &scope, period, &findings, &runs);
        (drafts, before.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let standing = standing::standing(evidence, &scope);
    let (leftovers, zombies) = leftover::leftovers(evidence, &scope, &findings, &drafts);
    let savings = saving::savings(evidence, &scope, period, &findings, &drafts, &standing);
    let ours: BTreeSet<InstanceId> = drafts.iter().filter_map(|draft| draft.line.instance.parse().ok()).collect();
    let (deeds, more) = trail::deeds(evidence, period, &ours);
    let mut unseen: Vec<Unseen> = words::unseen(evidence, period);
    // What could have been seen comes before what never is.
    unseen.splice(0..0, more.into_iter().chain(unpriced(&drafts)));
    Report {
        version: REPORT_VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        written_at: evidence.now,
        fleet: evidence.fleet.to_owned(),
        owner: evidence.owner.to_string(),
        account: evidence.account.map(ToOwned::to_owned),
        regions: evidence.regions.keys().map(Region::to_string).collect(),
        since: evidence.since,
        until: evidence.until,
        sources: words::sources(evidence),
        unseen,
        headline: headline(&drafts, (before, budget(evidence, meter)), &savings, zombies),
        workers: workers::workers(&drafts),
        differences: difference::differences(&drafts, evidence.ledger.is_ok()),
        days: days(period, &drafts),
        standing,
        leftovers,
        savings,
        rebakes: rebakes::lines(evidence, period, &drafts),
        deeds,
        assumptions: words::assumptions(),
        prices_as_of: price::as_of(),
        price_sources: evidence.list_prices().sources(),
        ledger: mark(evidence),
        shut_off: words::shut_off(evidence),
        instances: instances(drafts),
    }
}

/// Whether everything was seen that was to be looked at. Who asked not to look at the account misses nothing
/// of it.
pub fn is_complete(evidence: &Evidence<'_>, offline: bool) -> bool {
    let seen = evidence.regions.values().all(|look| {
        let survey = look.survey.as_ref().is_ok_and(|survey| survey.gaps.is_empty());
        let trail = look.trail.as_ref().is_ok_and(|trail| trail.gaps.iter().all(words::is_young));
        survey && trail && look.spot.is_ok()
    });
    // Without a configuration nobody expects a ledger.
    let told = evidence.intent.is_none() || (evidence.ledger.is_ok() && evidence.rebakes.is_ok());
    told && (offline || (seen && !evidence.regions.is_empty()))
}

fn drafts(
    evidence: &Evidence<'_>,
    scope: &Scope<'_>,
    period: Period,
    findings: &[&Finding],
    runs: &[&Run],
) -> Vec<Draft> {
    let trail = trail::told(evidence);
    let zombies = leftover::zombies_of_a_sweep(findings);
    let found = runs::found(evidence, scope, period, runs, &trail, &zombies);
    let tariff = lines::Tariff::of(evidence);
    found.iter().filter_map(|found| lines::draft(evidence, period, &tariff, &trail, found)).collect()
}

/// The lines, the latest first.
fn instances(drafts: Vec<Draft>) -> Vec<InstanceLine> {
    let mut lines: Vec<InstanceLine> = drafts.into_iter().map(|draft| draft.line).collect();
    lines.sort_by(|a, b| b.from.cmp(&a.from).then_with(|| a.instance.cmp(&b.instance)));
    lines
}

/// Every day of the period, by use.
fn days(period: Period, drafts: &[Draft]) -> Vec<Day> {
    let mut days: BTreeMap<_, BTreeMap<Use, Range>> = period.days().map(|day| (day, BTreeMap::new())).collect();
    for (day, uses) in drafts.iter().flat_map(|draft| &draft.days) {
        let sums = days.entry(*day).or_default();
        for (usage, amount) in uses {
            *sums.entry(*usage).or_default() += *amount;
        }
    }
    days.into_iter().map(|(date, uses)| Day { date, uses }).collect()
}

/// What the ledger's instances cost in the same length of time before; `None` where it does not go back so far.
fn before(evidence: &Evidence<'_>, period: Period, runs: &[&Run]) -> Option<Range> {
    let earlier = Period { since: period.since - (period.until - period.since), until: period.since };
    let first = evidence.ledger.as_ref().ok()?.story.first?;
    if first > earlier.since {
        return None;
    }
    let tariff = lines::Tariff::of(evidence);
    let ours = runs.iter().filter(|run| run.cell.owner == *evidence.owner && run.instance.is_some());
    let here = ours.filter(|run| evidence.only.is_empty() || evidence.only.contains(&run.cell.region));
    let then = here.filter(|run| runs::is_in(run, earlier));
    Some(then.map(|run| tariff.spent(&runs::completed(evidence, run), earlier)).sum())
}

fn headline(
    drafts: &[Draft],
    (before, budget): (Option<Range>, Option<BudgetLine>),
    savings: &[Saving],
    zombies: u32,
) -> Headline {
    let lines = || drafts.iter().map(|draft| &draft.line);
    let build = lines().filter_map(|line| line.uses.get(&Use::Build)).sum();
    Headline {
        spent: lines().filter_map(|line| line.cost.as_ref()).map(total).sum(),
        before,
        budget,
        saved_month: savings.iter().map(|saving| saving.month).sum(),
        starts: lines().map(|line| line.starts).sum(),
        builds: lines().map(|line| line.builds).sum(),
        billed_seconds: lines().map(|line| line.billed_seconds).sum(),
        build_seconds: build,
        zombies,
        unpriced: u32::try_from(lines().filter(|line| line.cost.is_none()).count()).unwrap_or(u32::MAX),
    }
}

/// Instances that are not, or not wholly, in the amounts.
fn unpriced(drafts: &[Draft]) -> Option<Unseen> {
    let some: Vec<&str> = drafts.iter().filter_map(|draft| draft.line.unpriced.as_deref()).collect();
    let first = some.first()?;
    Some(Unseen {
        what: format!("what {} cost, wholly or in part", counted(some.len(), "instance")),
        why: format!("a price or a size is not known, such as: {first}"),
        cure: Some("each instance says which; see it in the console while it lives".to_owned()),
    })
}

fn mark(evidence: &Evidence<'_>) -> Option<LedgerMark> {
    let record = evidence.ledger.as_ref().ok()?;
    let (seq, at) = record.story.last?;
    Some(LedgerMark { seq, at, chain: record.chain.map(ToOwned::to_owned) })
}
