//! Seconds times prices, kept exact until the end, by UTC day and use.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};

use super::rates::Rates;
use crate::plan::meter::{Run, Segment, Start, Stretch, Use, common};
use crate::policy::price::{HOURS_PER_MONTH, Money, Range};

/// What micro-dollars per month times milliseconds are divided by.
const WHOLE: u128 = HOURS_PER_MONTH as u128 * 3_600_000;

/// Micro-dollars per month times milliseconds, at the least and at the most.
#[derive(Debug, Clone, Copy, Default)]
struct Exact {
    low: u128,
    high: u128,
}

impl Exact {
    fn add(&mut self, other: Exact) {
        self.low += other.low;
        self.high += other.high;
    }

    fn range(self) -> Range {
        let rounded =
            |amount: u128| Money::micro_dollars(u64::try_from((amount + WHOLE / 2) / WHOLE).unwrap_or(u64::MAX));
        Range { low: rounded(self.low), high: rounded(self.high) }
    }
}

/// Whether it is the least or the most that is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Low,
    High,
}

/// Adds up what a run cost in a window.
pub(super) struct Tally<'a> {
    run: &'a Run,
    window: Stretch,
    now: DateTime<Utc>,
    life: Vec<Segment>,
    cells: BTreeMap<(NaiveDate, Use), Exact>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(run: &'a Run, window: Stretch, now: DateTime<Utc>) -> Self {
        // All of its life: a minute that is billed may begin before the window.
        let life = run.cut(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC, now);
        Self { run, window, now, life, cells: BTreeMap::new() }
    }

    /// What costs while it runs.
    pub(super) fn running(&mut self, rates: &Rates) -> Range {
        let mut sum = Exact::default();
        for start in self.run.starts.clone() {
            let (surely, most) = start.ran(self.now);
            let (surely_billed, most_billed) = start.billed(self.now);
            if let (Some(ran), Some(billed)) = (surely, surely_billed) {
                sum.add(self.stretch(ran, billed, rates, End::Low));
            }
            sum.add(self.stretch(most, most_billed, rates, End::High));
        }
        sum.range()
    }

    /// What costs, at so much a month, as long as it is there.
    pub(super) fn standing(&mut self, month: Range) -> Range {
        let Some((surely, most)) = self.there() else { return Range::ZERO };
        let mut sum = Exact::default();
        for (stretch, end) in [(surely, End::Low), (most, End::High)] {
            for (piece, usage) in self.pieces(stretch, stretch) {
                sum.add(self.add(piece, usage, month, 1, end));
            }
        }
        sum.range()
    }

    /// Whether it was there at all in the window.
    pub(super) fn stands(&self) -> bool {
        self.there().is_some_and(|(_, most)| common(most, self.window).is_some())
    }

    /// What it cost by day and use.
    pub(super) fn by_day(&self) -> BTreeMap<(NaiveDate, Use), Range> {
        let ranges = self.cells.iter().map(|(cell, exact)| (*cell, exact.range()));
        ranges.filter(|(_, range)| *range != Range::ZERO).collect()
    }

    /// When it was surely there, and when it may have been at the most.
    fn there(&self) -> Option<(Stretch, Stretch)> {
        let (first, last) = (self.life.first()?, self.life.last()?);
        let most = (first.from, last.to.unwrap_or(self.now));
        let begun = self.run.launched.unwrap_or(most.1).clamp(most.0, most.1);
        // Its disks go with it, at some time between the acceptance of its end and the sight of it.
        let over = self.run.ended.as_ref().and_then(|_| self.run.starts.last().and_then(|start: &Start| start.over));
        let gone = over.map_or(most.1, |over| over.earliest).clamp(begun, most.1);
        Some(((begun, gone), most))
    }

    fn stretch(&mut self, ran: Stretch, billed: Stretch, rates: &Rates, end: End) -> Exact {
        let mut sum = Exact::default();
        for (piece, usage) in self.pieces(ran, billed) {
            for (number, (from, rate)) in rates.iter().enumerate() {
                let until = rates.get(number + 1).map_or(DateTime::<Utc>::MAX_UTC, |(next, _)| *next);
                if let Some(piece) = common(piece, (*from, until)) {
                    sum.add(self.add(piece, usage, *rate, u128::from(HOURS_PER_MONTH), end));
                }
            }
        }
        sum
    }

    /// Adds what a piece of one use costs to the days that it lies in.
    fn add(&mut self, piece: Stretch, usage: Use, rate: Range, times: u128, end: End) -> Exact {
        let mut sum = Exact::default();
        let mut from = piece.0;
        while from < piece.1 {
            let day = from.date_naive();
            let until = midnight_after(day).min(piece.1);
            let length = u128::try_from((until - from).num_milliseconds()).unwrap_or(0) * times;
            let exact = match end {
                End::Low => Exact { low: u128::from(rate.low.as_micro_dollars()) * length, high: 0 },
                End::High => Exact { low: 0, high: u128::from(rate.high.as_micro_dollars()) * length },
            };
            self.cells.entry((day, usage)).or_default().add(exact);
            sum.add(exact);
            from = until;
        }
        sum
    }

    /// A billed stretch by use, cut to the window. What is billed after it ran, because a minute is the least, is
    /// of the use in which it ran last.
    fn pieces(&self, ran: Stretch, billed: Stretch) -> Vec<(Stretch, Use)> {
        let mut all = Vec::new();
        let mut last = self.life.first().map_or(Use::Unknown, |segment| segment.usage);
        let mut until = ran.0;
        for segment in &self.life {
            let whole = (segment.from, segment.to.unwrap_or(self.now));
            if let Some(piece) = common(whole, ran) {
                (last, until) = (segment.usage, piece.1);
                all.extend(common(piece, self.window).map(|piece| (piece, segment.usage)));
            }
        }
        all.extend(common((until, billed.1), self.window).map(|piece| (piece, last)));
        all
    }
}

fn midnight_after(day: NaiveDate) -> DateTime<Utc> {
    let next = day.checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX);
    next.and_time(NaiveTime::MIN).and_utc().max(day.and_time(NaiveTime::MIN).and_utc() + TimeDelta::hours(1))
}
