//! When instances of each worker lived, and for what: one lane for each worker.

use std::collections::{BTreeMap, BTreeSet};

use super::axis::Axis;
use super::chart::{Chart, Px, Shape, class_of, rectangle};
use super::words;
use crate::audit::report::{InstanceLine, Report};
use crate::plan::meter::Use;

const WIDTH: i64 = 860;
const LEFT: i64 = 150;
const COLUMN: Px = Px(15);
const COLUMNS: u64 = 466;
const ACROSS: Px = Px(COLUMN.0 * 466);
const LANE: i64 = 26;
const BAR: i64 = 16;
const TOP: i64 = 8;
const LANES_MAX: usize = 40;
/// The longest name beside a lane, in characters.
const LABEL_MAX: usize = 20;

/// Seconds by use of each column of a lane.
type Columns = Vec<BTreeMap<Use, u64>>;

/// The plot; none where no instance lived.
pub(super) fn chart(report: &Report) -> Option<Chart> {
    if report.instances.is_empty() {
        return None;
    }
    let axis = Axis::new(report.since, report.until, Px::whole(LEFT), ACROSS);
    let lanes = lanes(report);
    let shown = lanes.get(..LANES_MAX).unwrap_or(&lanes);
    let height = LANE * i64::try_from(shown.len()).unwrap_or(0);
    let mut shapes = Vec::new();
    for (x, label) in axis.ticks(8) {
        shapes.push(Shape::post(x, Px::whole(TOP), Px::whole(height), "grid"));
        shapes.push(Shape::text(x, Px::whole(TOP + height + 18), "middle", label));
    }
    let mut seen = BTreeSet::new();
    for (place, (worker, instances)) in (0_i64..).zip(shown) {
        let top = TOP + LANE * place;
        let label = words::cut(&worker_label(*worker), LABEL_MAX);
        shapes.push(Shape::text(Px::whole(LEFT - 10), Px::whole(top + 18), "end", label));
        shapes.push(Shape::rule(Px::whole(LEFT), Px::whole(top + LANE), ACROSS, "grid"));
        let columns = columns(&axis, instances);
        for (usage, d) in paths(&columns, Px::whole(top + (LANE - BAR) / 2)) {
            seen.insert(usage);
            let tip = format!("{}: {usage}", worker_label(*worker));
            shapes.push(Shape::Path { d, class: class_of(usage), tip: Some(tip) });
        }
    }
    let mut notes = vec![format!(
        "The smallest mark is {}; it shows the use that took most of it, and a zombie always.",
        words::span(i64::try_from(axis.seconds().div_ceil(COLUMNS)).unwrap_or(i64::MAX)),
    )];
    notes.extend(
        super::page::more(lanes.len(), shown.len()).map(|more| format!("The dearest workers are shown, {more}.")),
    );
    Some(Chart {
        id: "timeline".to_owned(),
        title: "Instances of each worker over the period".to_owned(),
        description: format!(
            "{}, each with the times at which its instances lived and what for. \
             The table of what the time was used for, and that of instances, have all numbers.",
            words::counted(words::length(shown), "lane"),
        ),
        width: WIDTH,
        height: TOP + height + 28,
        shapes,
        legend: Use::ALL.into_iter().filter(|usage| seen.contains(usage)).map(Use::word).collect(),
        notes,
        small: false,
    })
}

fn worker_label(worker: Option<&str>) -> String {
    worker.map_or_else(|| "no worker".to_owned(), words::name)
}

/// The workers in the order of the report, then who is in no line of it, then who is no worker's.
fn lanes(report: &Report) -> Vec<(Option<&str>, Vec<&InstanceLine>)> {
    let mut by_worker: BTreeMap<Option<&str>, Vec<&InstanceLine>> = BTreeMap::new();
    for line in &report.instances {
        by_worker.entry(line.worker.as_deref()).or_default().push(line);
    }
    let ordered = report.workers.iter().filter_map(|line| by_worker.remove_entry(&Some(line.worker.as_str())));
    let mut lanes: Vec<_> = ordered.collect();
    let strangers = by_worker.remove_entry(&None);
    lanes.extend(by_worker);
    lanes.extend(strangers);
    lanes
}

fn columns(axis: &Axis, instances: &[&InstanceLine]) -> Columns {
    let mut columns: Columns = vec![BTreeMap::new(); usize::try_from(COLUMNS).unwrap_or(0)];
    let whole = axis.seconds();
    for segment in instances.iter().flat_map(|line| &line.segments) {
        let from = axis.offset(segment.from);
        let to = segment.to.map_or(whole, |to| axis.offset(to));
        for (place, column) in (0_u64..).zip(&mut columns).skip(usize::try_from(from * COLUMNS / whole).unwrap_or(0)) {
            let (begin, end) = (whole * place / COLUMNS, whole * (place + 1) / COLUMNS);
            if begin >= to {
                break;
            }
            let seconds = end.min(to).saturating_sub(begin.max(from));
            if seconds > 0 {
                *column.entry(segment.usage).or_default() += seconds;
            }
        }
    }
    columns
}

/// What a column shows.
fn chosen(column: &BTreeMap<Use, u64>) -> Option<Use> {
    if column.contains_key(&Use::Zombie) {
        return Some(Use::Zombie);
    }
    column.iter().max_by_key(|(_, seconds)| **seconds).map(|(usage, _)| *usage)
}

/// One path for each use; columns beside each other become one rectangle.
fn paths(columns: &Columns, y: Px) -> BTreeMap<Use, String> {
    let mut paths: BTreeMap<Use, String> = BTreeMap::new();
    let shown: Vec<Option<Use>> = columns.iter().map(chosen).collect();
    let mut x = Px::whole(LEFT);
    for run in shown.chunk_by(|a, b| a == b) {
        let width = Px(COLUMN.0 * i64::try_from(run.len()).unwrap_or(0));
        if let Some(usage) = run.first().copied().flatten() {
            paths.entry(usage).or_default().push_str(&rectangle(x, y, width, Px::whole(BAR)));
        }
        x = Px(x.0 + width.0);
    }
    paths
}
