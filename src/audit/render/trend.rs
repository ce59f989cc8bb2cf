//! How long workers take to connect, start by start and AMI by AMI.

use super::axis::Axis;
use super::chart::{Chart, Px, Shape, scale, step};
use super::page::{Kind, Table, column, extra, more};
use super::words;
use crate::audit::report::{GenerationLine, Report, WorkerLine};

const WIDTH: i64 = 360;
const HEIGHT: i64 = 190;
const LEFT: i64 = 64;
const TOP: i64 = 16;
const PLOT: Px = Px::whole(140);
const ACROSS: Px = Px::whole(WIDTH - LEFT - 12);
const WORKERS_MAX: usize = 12;
/// The AMIs of a worker that are told apart.
const GENERATIONS_MAX: usize = 5;
const SECONDS: [u64; 13] = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600];

/// A plot for each worker that connected.
pub(super) fn charts(report: &Report) -> Vec<Chart> {
    let measured: Vec<&WorkerLine> =
        report.workers.iter().filter(|worker| worker.generations.iter().any(|g| !g.points.is_empty())).collect();
    let shown = measured.get(..WORKERS_MAX).unwrap_or(&measured);
    let mut charts: Vec<Chart> = (1..).zip(shown).map(|(number, worker)| chart(report, worker, number)).collect();
    if let (Some(last), Some(more)) = (charts.last_mut(), more(measured.len(), shown.len())) {
        last.notes.push(format!("The dearest workers are shown, {more}."));
    }
    charts
}

fn chart(report: &Report, worker: &WorkerLine, number: usize) -> Chart {
    let axis = Axis::new(report.since, report.until, Px::whole(LEFT), ACROSS);
    let measured: Vec<&GenerationLine> = worker.generations.iter().filter(|g| !g.points.is_empty()).collect();
    let shown = &measured[measured.len().saturating_sub(GENERATIONS_MAX)..];
    let longest = shown.iter().flat_map(|g| &g.points).map(|(_, seconds)| whole(*seconds)).max().unwrap_or(0);
    let tick = step(longest.max(1), 4, &SECONDS);
    let top = tick * longest.max(1).div_ceil(tick);
    let mut shapes = rules(&axis, tick, top);
    for (place, generation) in shown.iter().enumerate() {
        let until = shown.get(place + 1).map_or(report.until, |next| next.first);
        let height = |seconds: i64| Px(Px::whole(TOP).0 + PLOT.0 - scale(whole(seconds), top, PLOT).0);
        let marks: String =
            generation.points.iter().map(|(at, seconds)| mark(place, axis.place(*at), height(*seconds))).collect();
        shapes.push(Shape::Path { d: marks, class: format!("mark g{place}"), tip: None });
        if let Some(spread) = generation.connect {
            let (x, y) = (axis.place(generation.first), height(spread.median));
            shapes.push(Shape::rule(x, y, Px((axis.place(until).0 - x.0).max(20)), &format!("median g{place}")));
        }
    }
    let worker = words::name(&worker.worker);
    Chart {
        id: format!("trend-{number}"),
        description: format!(
            "Time from request to connection of {worker}. {} The table of AMIs below has all numbers.",
            shown.iter().enumerate().map(|(place, g)| format!("{}.", told(place, g))).collect::<Vec<_>>().join(" "),
        ),
        title: worker,
        width: WIDTH,
        height: HEIGHT,
        shapes,
        legend: Vec::new(),
        notes: shown.iter().enumerate().map(|(place, generation)| told(place, generation)).collect(),
        small: true,
    }
}

/// A generation in words, with the shape of its marks.
fn told(place: usize, generation: &GenerationLine) -> String {
    let shape = ["Circles", "Squares", "Triangles", "Diamonds", "Crosses"][place % 5];
    let median =
        generation.connect.map_or_else(String::new, |spread| format!(", median {}", words::span(spread.median)));
    format!("{shape}: {}{median}", words::name(&generation.ami))
}

fn whole(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0)
}

fn rules(axis: &Axis, tick: u64, top: u64) -> Vec<Shape> {
    let mut shapes = Vec::new();
    for place in 0..=top / tick {
        let seconds = tick * place;
        let y = Px(Px::whole(TOP).0 + PLOT.0 - scale(seconds, top, PLOT).0);
        shapes.push(Shape::rule(Px::whole(LEFT), y, ACROSS, if place == 0 { "axis" } else { "grid" }));
        let label = words::span(i64::try_from(seconds).unwrap_or(i64::MAX));
        shapes.push(Shape::text(Px::whole(LEFT - 6), Px(y.0 + 40), "end", label));
    }
    for (x, label) in axis.ticks(4) {
        shapes.push(Shape::text(x, Px::whole(HEIGHT - 14), "middle", label));
    }
    shapes
}

/// The outline of a mark around a place.
fn mark(place: usize, x: Px, y: Px) -> String {
    let (left, upper) = (Px(x.0 - 35), Px(y.0 - 35));
    match place % 5 {
        0 => format!("M{left} {y}a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z"),
        1 => format!("M{left} {upper}h7v7h-7z"),
        2 => format!("M{x} {}l4.5 8h-9z", Px(y.0 - 45)),
        3 => format!("M{x} {}l4.5 4.5l-4.5 4.5l-4.5 -4.5z", Px(y.0 - 45)),
        _ => format!("M{} {upper}h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5v-3h2.5z", Px(x.0 - 15)),
    }
}

/// An AMI of a worker beside the one before it.
struct Step<'a> {
    worker: &'a str,
    generation: &'a GenerationLine,
    before: Option<i64>,
}

/// The same in numbers.
pub(super) fn table(report: &Report, limit: usize) -> Table {
    let mut steps = Vec::new();
    for worker in &report.workers {
        let mut before = None;
        for generation in &worker.generations {
            steps.push(Step { worker: &worker.worker, generation, before });
            before = generation.connect.map(|spread| spread.median).or(before);
        }
    }
    let columns = [
        column("Worker", Kind::Name),
        column("AMI", Kind::Id),
        extra("First launch (UTC)", Kind::Short),
        extra("Launches", Kind::Number),
        column("Median", Kind::Number),
        extra("95 of 100 within", Kind::Number),
        column("Against the AMI before", Kind::Short),
    ];
    let row = |step: &Step<'_>| {
        let spread = step.generation.connect;
        vec![
            words::name(step.worker),
            words::name(&step.generation.ami),
            words::moment(step.generation.first),
            words::count(step.generation.launches),
            words::span_or_silence(spread.map(|spread| spread.median)),
            words::span_or_silence(spread.map(|spread| spread.p95)),
            compared(spread.map(|spread| spread.median), step.before),
        ]
    };
    Table::of("generations", "Time from request to connection, by AMI", &columns, &steps, limit, row)
        .or("No worker connected in this period.")
}

/// How a median compares with the one before.
fn compared(now: Option<i64>, before: Option<i64>) -> String {
    let (Some(now), Some(before)) = (now, before.filter(|before| *before > 0)) else { return "-".to_owned() };
    let share = words::percent(words::permille(now.abs_diff(before), before.unsigned_abs()));
    match now.cmp(&before) {
        std::cmp::Ordering::Less => format!("{share} faster"),
        std::cmp::Ordering::Equal => "the same".to_owned(),
        std::cmp::Ordering::Greater => format!("{share} slower"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_compared_in_words() {
        let said =
            [(Some(80), Some(100)), (Some(150), Some(100)), (Some(7), Some(7)), (None, Some(1)), (Some(1), None)]
                .map(|(now, before)| compared(now, before));
        assert_eq!(said, ["20 % faster", "50 % slower", "the same", "-", "-"].map(str::to_owned));
        assert_eq!(compared(Some(5), Some(0)), "-");
    }
}
