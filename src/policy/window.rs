//! Times of the week in which something is so, in UTC: images may be worked on, workers are kept warm.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveTime, TimeDelta, Utc, Weekday};

const DAY: TimeDelta = TimeDelta::days(1);

/// A time of each day, of one day of the week or of several in a row, in UTC; it may go on after midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first and the last of the days on which it begins; every day without them.
    days: Option<(Weekday, Weekday)>,
    /// When it begins, in minutes after midnight.
    start: u16,
    /// How long it is, in minutes: from 1 to 1440.
    length: u16,
}

/// A text that is no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// It does not have the form of one.
    #[error("is not a window")]
    Form,
    /// It begins when it ends.
    #[error("is empty: it ends when it begins")]
    Empty,
}

impl Window {
    /// Whether a time lies in it. Its first minute does, the time of its end does not.
    pub fn contains(self, at: DateTime<Utc>) -> bool {
        self.current(at).is_some()
    }

    /// When it began and when it ends, if a time lies in it.
    pub fn current(self, at: DateTime<Utc>) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        // Of two beginnings of a daily window, that of yesterday may not be over yet.
        let starts = [0, 1].iter().filter_map(|days| self.start_on(at, -*days));
        starts.map(|start| (start, start + self.span())).find(|(start, end)| *start <= at && at < *end)
    }

    /// When it next begins, `at` itself included.
    pub fn next_start(self, at: DateTime<Utc>) -> DateTime<Utc> {
        // A day of the week comes within eight days, counting today's, which may be over.
        (0..8).filter_map(|days| self.start_on(at, days)).find(|start| *start >= at).unwrap_or(at + TimeDelta::weeks(1))
    }

    fn span(self) -> TimeDelta {
        TimeDelta::minutes(i64::from(self.length))
    }

    /// When it begins so many days after the day of `at`, if it begins on that day.
    fn start_on(self, at: DateTime<Utc>, days: i64) -> Option<DateTime<Utc>> {
        let midnight = at.date_naive().and_time(NaiveTime::MIN).and_utc();
        let midnight = midnight.checked_add_signed(DAY * i32::try_from(days).ok()?)?;
        let begins =
            self.days.is_none_or(|(first, last)| midnight.weekday().days_since(first) <= last.days_since(first));
        begins.then(|| midnight + TimeDelta::minutes(i64::from(self.start)))
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let (days, times) = match text.split_once(' ') {
            Some((days, times)) => (Some(days_of(days)?), times),
            None => (None, text),
        };
        let (start, end) = times.split_once('-').ok_or(WindowError::Form)?;
        let (start, end) = (minutes(start)?, minutes(end)?);
        if start == 1440 {
            return Err(WindowError::Form);
        }
        let length = if end >= start { end - start } else { end + 1440 - start };
        if length == 0 { Err(WindowError::Empty) } else { Ok(Self { days, start, length }) }
    }
}

/// One day of the week, or the first and the last of several.
fn days_of(text: &str) -> Result<(Weekday, Weekday), WindowError> {
    let day = |text: &str| text.parse::<Weekday>().map_err(|_| WindowError::Form);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Ok((day(first)?, day(last)?))
}

/// Minutes after midnight; 24:00 is the end of a day.
fn minutes(text: &str) -> Result<u16, WindowError> {
    let (hour, minute) = text.split_once(':').ok_or(WindowError::Form)?;
    let two = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<u16>().map_err(|_| WindowError::Form) } else { Err(WindowError::Form) }
    };
    match (two(hour)?, two(minute)?) {
        (24, 0) => Ok(1440),
        (hour @ 0..=23, minute @ 0..=59) => Ok(hour * 60 + minute),
        _ => Err(WindowError::Form),
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.days {
            Some((first, last)) if first == last => write!(f, "{first} ")?,
            Some((first, last)) => write!(f, "{first}-{last} ")?,
            None => {}
        }
        let end = match self.start + self.length {
            end @ 0..=1440 => end,
            end => end - 1440,
        };
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.start / 60, self.start % 60, end / 60, end % 60)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(text: &str) -> Window {
        text.parse().expect("a window")
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn windows_are_read_and_written_alike() {
        for text in [
            "Sat 02:00-06:00",
            "02:00-06:00",
            "Sun 22:30-01:15",
            "00:00-24:00",
            "Mon 23:59-24:00",
            "Mon-Fri 07:00-18:00",
        ] {
            assert_eq!(window(text).to_string(), text);
        }
        assert_eq!(window("saturday 02:00-06:00").to_string(), "Sat 02:00-06:00");
        assert_eq!(window("fri-mon 22:00-02:00").to_string(), "Fri-Mon 22:00-02:00");
        for bad in [
            "",
            "Sat",
            "2:00-6:00",
            "02:00",
            "Sat 02:00",
            "Sab 02:00-06:00",
            "Mon- 02:00-06:00",
            "Mon-Tue-Wed 02:00-06:00",
            "02:00-25:00",
            "02:60-03:00",
            "24:00-02:00",
            "02:00 - 06:00",
            "Sat  02:00-06:00",
            "02:00-06:00 UTC",
            "+2:00-06:00",
            "02:00-24:01",
        ] {
            assert_eq!(bad.parse::<Window>(), Err(WindowError::Form), "{bad:?}");
        }
        assert_eq!("02:00-02:00".parse::<Window>(), Err(WindowError::Empty));
    }

    #[test]
    fn a_window_of_one_day_is_open_on_that_day_alone() {
        let weekend = window("Sat 02:00-06:00");
        assert!(!weekend.contains(at("2026-11-21T01:59:59Z")));
        assert!(weekend.contains(at("2026-11-21T02:00:00Z")), "a Saturday");
        assert!(weekend.contains(at("2026-11-21T05:59:59Z")));
        assert!(!weekend.contains(at("2026-11-21T06:00:00Z")));
        assert!(!weekend.contains(at("2026-11-22T03:00:00Z")), "a Sunday");
        assert_eq!(weekend.next_start(at("2026-11-21T02:00:00Z")), at("2026-11-21T02:00:00Z"));
        assert_eq!(weekend.next_start(at("2026-11-21T02:00:01Z")), at("2026-11-28T02:00:00Z"));
    }

    #[test]
    fn several_days_in_a_row_are_one_window_each() {
        let work = window("Mon-Fri 07:00-18:00");
        // The 23rd is a Monday.
        for (time, open) in [
            ("2026-11-22T12:00:00Z", false),
            ("2026-11-23T06:59:59Z", false),
            ("2026-11-23T07:00:00Z", true),
            ("2026-11-27T17:59:59Z", true),
            ("2026-11-28T12:00:00Z", false),
        ] {
            assert_eq!(work.contains(at(time)), open, "{time}");
        }
        assert_eq!(work.next_start(at("2026-11-27T08:00:00Z")), at("2026-11-30T07:00:00Z"));
        assert_eq!(
            work.current(at("2026-11-25T12:00:00Z")),
            Some((at("2026-11-25T07:00:00Z"), at("2026-11-25T18:00:00Z")))
        );
        let nights = window("Fri-Mon 22:00-02:00");
        assert!(nights.contains(at("2026-11-24T01:00:00Z")), "of Monday's night");
        assert!(!nights.contains(at("2026-11-24T22:00:00Z")) && nights.contains(at("2026-11-27T22:00:00Z")));
    }

    #[test]
    fn a_window_goes_on_after_midnight() {
        let night = window("Sun 22:00-02:00");
        assert!(night.contains(at("2026-11-22T23:00:00Z")), "a Sunday");
        assert!(night.contains(at("2026-11-23T01:59:00Z")), "the Monday after it");
        assert!(!night.contains(at("2026-11-22T01:00:00Z")), "the night before");
        let daily = window("22:00-02:00");
        assert!(daily.contains(at("2026-11-22T01:00:00Z")) && daily.contains(at("2026-11-22T22:00:00Z")));
        assert!(!daily.contains(at("2026-11-22T02:00:00Z")));
        assert_eq!(daily.next_start(at("2026-11-22T23:00:00Z")), at("2026-11-23T22:00:00Z"));
    }

    proptest! {
        #[test]
        fn a_window_begins_where_it_says_next(day in 0_u8..8, more in 0_u8..7, start in 0_u16..1440, length in 1_u16..=1440, seconds in 0_i64..40_000_000) {
            let window = Window { days: Weekday::try_from(day).ok().map(|first| (first, (0..more).fold(first, |day, _| day.succ()))), start, length };
            let now = at("2026-01-01T00:00:00Z") + TimeDelta::seconds(seconds);
            let next = window.next_start(now);
            prop_assert!(next >= now && next - now <= TimeDelta::weeks(1));
            prop_assert!(window.contains(next));
            let before = next - TimeDelta::seconds(1);
            prop_assert!(before < now || window.next_start(before) == next, "none is left out");
            // Open is what began no longer ago than it is long.
            let first = window.next_start(now - window.span() + TimeDelta::seconds(1));
            prop_assert_eq!(window.contains(now), first <= now);
            // A whole day from another time than midnight cannot be written.
            if length < 1440 || start == 0 {
                prop_assert_eq!(window.to_string().parse::<Window>().expect("a window"), window);
            }
        }
    }
}
