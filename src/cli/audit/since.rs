//! From when on a report tells: `30d`, `12h`, `2026-11-01`, `2026-11-01T08:00:00Z`.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

/// The longest period that is told.
const LONGEST: TimeDelta = TimeDelta::days(3660);

/// A length of time until now, or a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Since {
    /// So long before now.
    Length(TimeDelta),
    /// From this moment on.
    At(DateTime<Utc>),
}

impl Since {
    /// The moment, seen from now; of whole seconds.
    pub(super) fn before(self, now: DateTime<Utc>) -> DateTime<Utc> {
        let at = match self {
            Self::Length(length) => now - length,
            Self::At(at) => at,
        };
        DateTime::from_timestamp(at.timestamp(), 0).unwrap_or(at)
    }
}

pub(super) fn parse(text: &str) -> Result<Since, String> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(Since::At(day.and_time(chrono::NaiveTime::MIN).and_utc()));
    }
    if let Ok(at) = text.parse::<DateTime<Utc>>() {
        return Ok(Since::At(at));
    }
    let form = "write a length such as 30d or 12h, or a day such as 2026-11-01";
    let length = humantime::parse_duration(text).map_err(|_| form.to_owned())?;
    match TimeDelta::from_std(length) {
        Ok(length) if length <= LONGEST && length > TimeDelta::zero() => Ok(Since::Length(length)),
        Ok(_) | Err(_) => Err(format!("it may be from a second to {} days; {form}", LONGEST.num_days())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_a_day_and_a_time_are_understood_and_nothing_else() {
        let now: DateTime<Utc> = "2026-11-22T08:00:00.5Z".parse().expect("a time");
        let told = |text: &str| parse(text).map(|since| since.before(now).to_rfc3339());
        assert_eq!(told("30d").as_deref(), Ok("2026-10-23T08:00:00+00:00"));
        assert_eq!(told("12h").as_deref(), Ok("2026-11-21T20:00:00+00:00"));
        assert_eq!(told("2026-11-01").as_deref(), Ok("2026-11-01T00:00:00+00:00"));
        assert_eq!(told("2026-11-01T06:00:00+02:00").as_deref(), Ok("2026-11-01T04:00:00+00:00"));
        for text in ["", "yesterday", "0s", "30", "-3d", "2026-13-01", "9999y"] {
            assert!(told(text).is_err(), "{text}");
        }
    }
}
