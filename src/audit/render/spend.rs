//! What each day cost, stacked by use.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use super::chart::{Chart, Px, Shape, class_of, scale, step};
use super::page::{Column, Kind, Table, column, extra};
use super::words;
use crate::audit::report::Report;
use crate::plan::meter::Use;
use crate::policy::price::{Money, Range};

const WIDTH: i64 = 860;
const HEIGHT: i64 = 280;
const LEFT: i64 = 74;
const TOP: i64 = 14;
const PLOT: Px = Px::whole(236);
const ACROSS: Px = Px::whole(WIDTH - LEFT - 10);
/// More bars than this cannot be told apart.
const BARS_MAX: usize = 92;
const LABELS_MAX: usize = 10;

/// A day, or several that share a bar.
struct Bar {
    from: NaiveDate,
    days: usize,
    uses: BTreeMap<Use, Range>,
}

impl Bar {
    fn total(&self) -> Range {
        self.uses.values().copied().sum()
    }

    fn when(&self) -> String {
        match self.days {
            1 => words::short_date(self.from),
            days => format!("{days} days from {}", words::short_date(self.from)),
        }
    }
}

fn bars(report: &Report) -> (Vec<Bar>, usize) {
    let days_each = match report.days.len() {
        0..=BARS_MAX => 1,
        days if days <= 7 * BARS_MAX => 7,
        days => days.div_ceil(BARS_MAX),
    };
    let bars = report.days.chunks(days_each).filter_map(|days| {
        let mut uses: BTreeMap<Use, Range> = BTreeMap::new();
        for (usage, range) in days.iter().flat_map(|day| &day.uses) {
            *uses.entry(*usage).or_default() += *range;
        }
        Some(Bar { from: days.first()?.date, days: days.len(), uses })
    });
    (bars.collect(), days_each)
}

/// The uses that cost something, in the order in which they are stacked.
fn uses(bars: &[Bar]) -> Vec<Use> {
    let costs = |usage: &Use| bars.iter().any(|bar| bar.uses.get(usage).is_some_and(|range| range.high > Money::ZERO));
    Use::ALL.into_iter().filter(costs).collect()
}

/// The plot; none where nothing was spent.
pub(super) fn chart(report: &Report) -> Option<Chart> {
    let (bars, days_each) = bars(report);
    let uses = uses(&bars);
    let most = bars.iter().map(|bar| bar.total().high).max().filter(|most| *most > Money::ZERO)?;
    let tick = step(most.as_micro_dollars(), 4, &[]);
    let top = tick.saturating_mul(most.as_micro_dollars().div_ceil(tick));
    let mut shapes = rules(tick, top);
    shapes.extend(bar_shapes(&bars, &uses, top));
    let dearest = bars.iter().max_by_key(|bar| bar.total().high)?;
    let per = if days_each == 1 { "day".to_owned() } else { format!("{days_each} days") };
    Some(Chart {
        id: "spend".to_owned(),
        title: format!("High bound per {per}, by use"),
        description: format!(
            "{} from {} on, each divided by what the time was used for. The dearest is {} with {}. \
             The table of days below has all numbers.",
            words::counted(words::length(&bars), "bar"),
            bars.first().map_or_else(String::new, |bar| words::short_date(bar.from)),
            dearest.when(),
            words::money(dearest.total()),
        ),
        width: WIDTH,
        height: HEIGHT,
        shapes,
        legend: uses.into_iter().map(Use::word).collect(),
        notes: Vec::new(),
        small: false,
    })
}

/// The lines across, with their amounts.
fn rules(tick: u64, top: u64) -> Vec<Shape> {
    let mut shapes = Vec::new();
    for place in 0..=top / tick {
        let amount = tick.saturating_mul(place);
        let y = Px(Px::whole(TOP).0 + PLOT.0 - scale(amount, top, PLOT).0);
        shapes.push(Shape::rule(Px::whole(LEFT), y, ACROSS, if place == 0 { "axis" } else { "grid" }));
        let money = Money::micro_dollars(amount);
        let label = if tick < 10_000 { format!("{money:#}") } else { money.to_string() };
        shapes.push(Shape::text(Px::whole(LEFT - 8), Px(y.0 + 40), "end", label));
    }
    shapes
}

fn bar_shapes(bars: &[Bar], uses: &[Use], top: u64) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let number = i64::try_from(bars.len()).unwrap_or(i64::MAX).max(1);
    let pitch = (ACROSS.0 / number).max(1);
    let width = Px((pitch * 4 / 5).clamp(1, 400));
    let labelled = bars.len().div_ceil(LABELS_MAX).max(1);
    for (place, bar) in (0_i64..).zip(bars) {
        let middle = Px::whole(LEFT).0 + pitch * place + pitch / 2;
        let (x, mut from) = (Px(middle - width.0 / 2), 0_u64);
        for usage in uses {
            let Some(range) = bar.uses.get(usage).filter(|range| range.high > Money::ZERO) else { continue };
            let to = from.saturating_add(range.high.as_micro_dollars());
            let (low, high) = (scale(from, top, PLOT), scale(to, top, PLOT));
            let y = Px(Px::whole(TOP).0 + PLOT.0 - high.0);
            let tip = format!("{}, {usage}: {}", bar.when(), words::money(*range));
            shapes.push(Shape::area(x, y, width, Px(high.0 - low.0), class_of(*usage)).with_tip(tip));
            from = to;
        }
        if usize::try_from(place).is_ok_and(|place| place.is_multiple_of(labelled)) {
            let y = Px::whole(TOP + 20).0 + PLOT.0;
            shapes.push(Shape::text(Px(middle), Px(y), "middle", words::short_date(bar.from)));
        }
    }
    shapes
}

/// The same in numbers.
pub(super) fn table(report: &Report, limit: usize) -> Table {
    let spent = |usage: &Use| report.days.iter().any(|day| day.uses.get(usage).is_some_and(|r| r.high > Money::ZERO));
    let uses: Vec<Use> = Use::ALL.into_iter().filter(spent).collect();
    let mut columns: Vec<Column> = vec![column("Day (UTC)", Kind::Short), column("Cost", Kind::Number)];
    columns.extend(uses.iter().map(|usage| extra(title(*usage), Kind::Number)));
    let row = |day: &crate::audit::report::Day| {
        let mut row = vec![day.date.to_string(), words::money(day.uses.values().copied().sum())];
        row.extend(uses.iter().map(|usage| day.uses.get(usage).map_or_else(|| "-".to_owned(), |r| words::money(*r))));
        row
    };
    Table::of("days", "Spend per day", &columns, &report.days, limit, row).folded()
}

/// A use's word at the head of a column.
pub(super) const fn title(usage: Use) -> &'static str {
    match usage {
        Use::Boot => "Boot",
        Use::Build => "Build",
        Use::Idle => "Idle",
        Use::Drain => "Drain",
        Use::Stopped => "Stopped",
        Use::Held => "Held",
        Use::Rebake => "Rebake",
        Use::Zombie => "Zombie",
        Use::Unknown => "Unknown",
    }
}
