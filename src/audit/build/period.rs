//! The period of a report, and stretches of time cut to it.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

/// From when to when a report tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) since: DateTime<Utc>,
    pub(super) until: DateTime<Utc>,
}

impl Period {
    /// What of a stretch lies in it; `None` where that is nothing. Without an end it goes on.
    pub(super) fn cut(self, from: DateTime<Utc>, to: Option<DateTime<Utc>>) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let (from, to) = (from.max(self.since), to.unwrap_or(self.until).min(self.until));
        (from < to).then_some((from, to))
    }

    /// The whole seconds of a stretch that lie in it.
    pub(super) fn seconds(self, from: DateTime<Utc>, to: Option<DateTime<Utc>>) -> i64 {
        self.cut(from, to).map_or(0, |(from, to)| (to - from).num_seconds())
    }

    /// Whether a moment lies in it.
    pub(super) fn holds(self, at: DateTime<Utc>) -> bool {
        self.since <= at && at < self.until
    }

    /// Every day of it, in UTC.
    pub(super) fn days(self) -> impl Iterator<Item = NaiveDate> {
        let last = (self.until - TimeDelta::nanoseconds(1)).max(self.since).date_naive();
        self.since.date_naive().iter_days().take_while(move |day| *day <= last)
    }

    /// Whole seconds, one at least: what amounts of the period are scaled by.
    pub(super) fn length(self) -> u64 {
        u64::try_from((self.until - self.since).num_seconds()).unwrap_or(0).max(1)
    }
}

/// The seconds of a month as Amazon counts it.
pub(super) const MONTH_SECONDS: u64 = crate::policy::price::HOURS_PER_MONTH * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn a_stretch_is_cut_to_the_period_and_every_day_is_there() {
        let period = Period { since: at("2026-03-01T12:00:00Z"), until: at("2026-03-04T00:00:00Z") };
        assert_eq!(period.seconds(at("2026-03-01T00:00:00Z"), Some(at("2026-03-01T13:00:00Z"))), 3600);
        assert_eq!(period.seconds(at("2026-03-03T23:00:00Z"), None), 3600);
        assert_eq!(period.cut(at("2026-03-04T00:00:00Z"), None), None);
        let days: Vec<String> = period.days().map(|day| day.to_string()).collect();
        assert_eq!(days, ["2026-03-01", "2026-03-02", "2026-03-03"], "a day that has no second is none of it");
    }
}
