//! Instances by worker: use, cost, and how long a worker takes to connect.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::draft::{Draft, sum, total};
use crate::audit::report::{Cost, GenerationLine, Spread, WorkerLine};
use crate::plan::meter::Use;

/// The most points of a generation that are told: the last ones.
const POINTS_MAX: usize = 100;

/// How durations are spread; `None` of none.
pub(super) fn spread(seconds: impl IntoIterator<Item = i64>) -> Option<Spread> {
    let mut all: Vec<i64> = seconds.into_iter().collect();
    all.sort_unstable();
    // The smallest value that so many hundredths of all do not exceed.
    let rank = |percent: usize| all.get((all.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some(Spread { count: u32::try_from(all.len()).unwrap_or(u32::MAX), median: rank(50)?, p95: rank(95)? })
}

/// Thousandths of a whole, none of no whole.
pub(in crate::audit) fn permille(part: i64, whole: i64) -> u32 {
    if whole <= 0 { 0 } else { u32::try_from((part.max(0) * 1000 + whole / 2) / whole).unwrap_or(u32::MAX) }
}

/// The workers, the dearest first.
pub(super) fn workers(drafts: &[Draft]) -> Vec<WorkerLine> {
    let mut by_worker: BTreeMap<&str, Vec<&Draft>> = BTreeMap::new();
    for draft in drafts {
        if let Some(worker) = &draft.line.worker {
            by_worker.entry(worker).or_default().push(draft);
        }
    }
    let mut lines: Vec<WorkerLine> = by_worker.into_iter().map(|(name, drafts)| line(name, &drafts)).collect();
    lines.sort_by(|a, b| b.total.high.cmp(&a.total.high).then_with(|| a.worker.cmp(&b.worker)));
    lines
}

fn line(worker: &str, drafts: &[&Draft]) -> WorkerLine {
    let mut uses: BTreeMap<Use, i64> = BTreeMap::new();
    for (usage, seconds) in drafts.iter().flat_map(|draft| &draft.line.uses) {
        *uses.entry(*usage).or_default() += seconds;
    }
    let cost = drafts.iter().filter_map(|draft| draft.line.cost.as_ref()).fold(Cost::default(), sum);
    let billed_seconds = drafts.iter().map(|draft| draft.line.billed_seconds).sum();
    let builds = drafts.iter().map(|draft| draft.line.builds).sum();
    let of = |usage| uses.get(&usage).copied().unwrap_or(0);
    WorkerLine {
        worker: worker.to_owned(),
        starts: drafts.iter().map(|draft| draft.line.starts).sum(),
        builds,
        billed_seconds,
        cost,
        total: total(&cost),
        per_build: (builds > 0).then(|| total(&cost).share(1, builds.into())),
        utilisation_permille: permille(of(Use::Build), billed_seconds),
        idle_permille: permille(of(Use::Idle), billed_seconds),
        connect: spread(drafts.iter().flat_map(|draft| draft.connects.iter().map(|(_, seconds)| *seconds))),
        generations: generations(drafts),
        uses,
    }
}

/// By AMI, the oldest first; instances of which nobody knows the AMI are in none.
fn generations(drafts: &[&Draft]) -> Vec<GenerationLine> {
    let mut by_ami: BTreeMap<&str, Vec<&Draft>> = BTreeMap::new();
    for draft in drafts {
        if let Some(ami) = &draft.line.ami {
            by_ami.entry(ami).or_default().push(draft);
        }
    }
    let mut lines: Vec<GenerationLine> = by_ami
        .into_iter()
        .map(|(ami, drafts)| {
            let mut points: Vec<(DateTime<Utc>, i64)> =
                drafts.iter().flat_map(|draft| draft.connects.iter().copied()).collect();
            points.sort_unstable();
            let connect = spread(points.iter().map(|(_, seconds)| *seconds));
            points.drain(..points.len().saturating_sub(POINTS_MAX));
            let first = drafts.iter().map(|draft| draft.line.from).min().unwrap_or_default();
            let launches = drafts.iter().map(|draft| draft.launches).sum();
            GenerationLine { ami: ami.to_owned(), first, launches, connect, points }
        })
        .collect();
    lines.sort_by(|a, b| (a.first, &a.ami).cmp(&(b.first, &b.ami)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_a_twentieth_are_counted_by_rank() {
        assert_eq!(spread([]), None);
        assert_eq!(spread([7]), Some(Spread { count: 1, median: 7, p95: 7 }));
        let all = spread((1..=100).rev());
        assert_eq!(all, Some(Spread { count: 100, median: 50, p95: 95 }));
        assert_eq!(spread([30, 10, 20]), Some(Spread { count: 3, median: 20, p95: 30 }));
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        assert_eq!((permille(5, 0), permille(1, 3), permille(2, 3)), (0, 333, 667));
    }
}
