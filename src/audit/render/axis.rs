//! Time on an axis.

use chrono::{DateTime, TimeDelta, Utc};

use super::chart::{Px, scale, step};
use super::words;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const STEPS: [u64; 11] =
    [HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 5 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 60 * DAY];

/// A period on a length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    left: Px,
    length: Px,
}

impl Axis {
    pub(super) const fn new(since: DateTime<Utc>, until: DateTime<Utc>, left: Px, length: Px) -> Self {
        Self { since, until, left, length }
    }

    /// Seconds of the whole, at least 1.
    pub(super) fn seconds(&self) -> u64 {
        u64::try_from((self.until - self.since).num_seconds()).unwrap_or(0).max(1)
    }

    /// Seconds from the begin to a moment, within the period.
    pub(super) fn offset(&self, at: DateTime<Utc>) -> u64 {
        u64::try_from((at - self.since).num_seconds()).unwrap_or(0).min(self.seconds())
    }

    pub(super) fn place(&self, at: DateTime<Utc>) -> Px {
        Px(self.left.0 + scale(self.offset(at), self.seconds(), self.length).0)
    }

    /// Round moments of the period with their labels, at most `most` or so.
    pub(super) fn ticks(&self, most: u64) -> Vec<(Px, String)> {
        let step = step(self.seconds(), most, &STEPS);
        let Some(delta) = i64::try_from(step).ok().and_then(TimeDelta::try_seconds) else { return Vec::new() };
        let midnight = self.since.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
        let moments = std::iter::successors(Some(midnight), |at| at.checked_add_signed(delta));
        moments
            .skip_while(|at| *at < self.since)
            .take_while(|at| *at < self.until)
            .map(|at| (self.place(at), label(at, step)))
            .collect()
    }
}

fn label(at: DateTime<Utc>, step: u64) -> String {
    if step >= DAY || at.time() == chrono::NaiveTime::MIN {
        words::short_date(at.date_naive())
    } else {
        at.format("%H:%M").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(from: &str, to: &str) -> Axis {
        let at = |text: &str| text.parse().expect("a time");
        Axis::new(at(from), at(to), Px::whole(10), Px::whole(100))
    }

    #[test]
    fn ticks_are_at_round_moments() {
        let labels = |axis: Axis| axis.ticks(6).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        let month = axis("2026-10-23T07:00:00Z", "2026-11-22T07:00:00Z");
        assert_eq!(labels(month), ["28 Oct", "2 Nov", "7 Nov", "12 Nov", "17 Nov", "22 Nov"]);
        let day = axis("2026-11-21T22:10:00Z", "2026-11-22T07:00:00Z");
        assert_eq!(labels(day), ["22 Nov", "03:00", "06:00"]);
        assert_eq!(labels(axis("2026-11-21T22:10:00Z", "2026-11-21T22:10:00Z")), Vec::<String>::new());
    }

    #[test]
    fn what_is_outside_the_period_is_at_its_ends() {
        let day = axis("2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z");
        let places = ["2026-11-20T00:00:00Z", "2026-11-21T12:00:00Z", "2026-12-01T00:00:00Z"]
            .map(|at| day.place(at.parse().expect("a time")));
        assert_eq!(places, [10, 60, 110].map(Px::whole));
    }
}
