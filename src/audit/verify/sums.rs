//! A report compared with itself: its sums must be those of its lines, wherever these are from.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::audit::build::permille;
use crate::audit::report::{Cost, Report};
use crate::plan::meter::{Segment, Use};
use crate::policy::price::Range;

/// What must hold within the report itself, wherever its lines are from.
pub(super) fn check(report: &Report, check: &mut Check) {
    for line in &report.instances {
        let mut uses: BTreeMap<Use, i64> = BTreeMap::new();
        for Segment { from, to, usage } in &line.segments {
            *uses.entry(*usage).or_default() += (to.unwrap_or(report.until).min(report.until) - *from).num_seconds();
        }
        uses.retain(|_, seconds| *seconds != 0);
        let mut told = line.uses.clone();
        // A period may end within a second: the last use may tell one less.
        absorb(&mut told, &mut uses);
        check.field(&format!("instances.{}.uses, by its segments", line.instance), &told, &uses);
    }
    headline(report, check);
    workers(report, check);
}

fn headline(report: &Report, check: &mut Check) {
    let head = &report.headline;
    let lines = || report.instances.iter();
    let spent: Range = lines().filter_map(|line| line.cost.as_ref()).map(total).sum();
    let count = report.instances.len();
    check.range("headline.spent, by its instances", head.spent, spent, count);
    let by_day: Range = report.days.iter().flat_map(|day| day.uses.values()).copied().sum();
    let parts = report.days.len() * Use::ALL.len() * count.max(1);
    check.range("headline.spent, by its days", head.spent, by_day, parts);
    check.field("headline.starts, by its instances", &head.starts, &lines().map(|line| line.starts).sum());
    check.field("headline.builds, by its instances", &head.builds, &lines().map(|line| line.builds).sum());
    let billed: i64 = lines().map(|line| line.billed_seconds).sum();
    check.field("headline.billed_seconds, by its instances", &head.billed_seconds, &billed);
    let build: i64 = lines().filter_map(|line| line.uses.get(&Use::Build)).sum();
    check.field("headline.build_seconds, by its instances", &head.build_seconds, &build);
    let unpriced = lines().filter(|line| line.cost.is_none()).count();
    check.field(
        "headline.unpriced, by its instances",
        &u64::from(head.unpriced),
        &u64::try_from(unpriced).ok().unwrap_or(u64::MAX),
    );
    let saved: Range = report.savings.iter().map(|saving| saving.month).sum();
    check.range("headline.saved_month, by its savings", head.saved_month, saved, 1);
    let zombies: BTreeSet<&str> =
        report.leftovers.iter().filter(|left| left.is_zombie()).map(|left| left.id.as_str()).collect();
    let zombies = u64::try_from(zombies.len()).unwrap_or(u64::MAX);
    check.field("headline.zombies, by its leftovers", &u64::from(head.zombies), &zombies);
}

/// Every worker's line is the sum of its instances' lines.
fn workers(report: &Report, check: &mut Check) {
    let told: BTreeSet<&str> = report.workers.iter().map(|line| line.worker.as_str()).collect();
    let meant: BTreeSet<&str> = report.instances.iter().filter_map(|line| line.worker.as_deref()).collect();
    check.field("workers, by its instances", &told, &meant);
    for worker in &report.workers {
        let lines = || report.instances.iter().filter(|line| line.worker.as_ref() == Some(&worker.worker));
        let field = |name: &str| format!("workers.{}.{name}, by its instances", worker.worker);
        let builds: u32 = lines().map(|line| line.builds).sum();
        let billed: i64 = lines().map(|line| line.billed_seconds).sum();
        check.field(&field("starts"), &worker.starts, &lines().map(|line| line.starts).sum());
        check.field(&field("builds"), &worker.builds, &builds);
        check.field(&field("billed_seconds"), &worker.billed_seconds, &billed);
        let mut uses: BTreeMap<Use, i64> = BTreeMap::new();
        for (usage, seconds) in lines().flat_map(|line| &line.uses) {
            *uses.entry(*usage).or_default() += seconds;
        }
        let share = |usage| permille(uses.get(&usage).copied().unwrap_or(0), billed);
        check.field(&field("uses"), &worker.uses, &uses);
        check.field(&field("utilisation_permille"), &worker.utilisation_permille, &share(Use::Build));
        check.field(&field("idle_permille"), &worker.idle_permille, &share(Use::Idle));
        let (count, costs) = (lines().count(), || lines().filter_map(|line| line.cost.as_ref()));
        check.range(&field("cost.compute"), worker.cost.compute, costs().map(|cost| cost.compute).sum(), count);
        check.range(&field("cost.storage"), worker.cost.storage, costs().map(|cost| cost.storage).sum(), count);
        check.range(&field("cost.address"), worker.cost.address, costs().map(|cost| cost.address).sum(), count);
        check.range(&field("total"), worker.total, total(&worker.cost), count);
        let per_build = (builds > 0).then(|| worker.total.share(1, builds.into()));
        check.field(&field("per_build"), &worker.per_build, &per_build);
    }
}

fn total(cost: &Cost) -> Range {
    cost.compute + cost.storage + cost.address
}

/// Takes away from both what differs by a second.
fn absorb(told: &mut BTreeMap<Use, i64>, meant: &mut BTreeMap<Use, i64>) {
    let near: Vec<Use> = Use::ALL
        .into_iter()
        .filter(|usage| {
            let of = |map: &BTreeMap<Use, i64>| map.get(usage).copied().unwrap_or(0);
            (of(told) - of(meant)).abs() <= 1
        })
        .collect();
    for usage in near {
        told.remove(&usage);
        meant.remove(&usage);
    }
}
