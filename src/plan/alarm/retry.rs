//! When a message is tried again, and when no more.

use chrono::{DateTime, TimeDelta, Utc};

/// The first pause after a failure; each further one is twice as long.
const PAUSE: TimeDelta = TimeDelta::minutes(1);
/// The longest pause.
const PAUSE_MAX: TimeDelta = TimeDelta::hours(2);
/// The longest pause that the other end may ask for.
const ASKED_MAX: TimeDelta = TimeDelta::hours(12);
/// How long a message is tried: as long as mail servers do.
const TRY_FOR: TimeDelta = TimeDelta::days(4);

/// What came of sending a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken, and what was said.
    Taken(String),
    /// It was refused for good: the same message to the same place is not tried again.
    Refused(String),
    /// It may be taken later; not before so long, if the other end said so.
    Later(String, Option<TimeDelta>),
}

/// When a message is tried again that failed so many times.
pub fn next_attempt(now: DateTime<Utc>, failed: u32, asked: Option<TimeDelta>) -> DateTime<Utc> {
    let doubled = PAUSE * i32::try_from(2_u32.saturating_pow(failed.saturating_sub(1).min(12))).unwrap_or(i32::MAX);
    let asked = asked.unwrap_or_default().clamp(TimeDelta::zero(), ASKED_MAX);
    now + doubled.min(PAUSE_MAX).max(asked)
}

/// Whether a message that was made then is not tried any more.
pub fn give_up(now: DateTime<Utc>, made: DateTime<Utc>) -> bool {
    now - made >= TRY_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_are_never_shorter_than_was_asked() {
        let now = DateTime::UNIX_EPOCH;
        let minutes = |failed, asked| (next_attempt(now, failed, asked) - now).num_minutes();
        let pauses: Vec<i64> = [1, 2, 3, 7, 8, 9, 40].iter().map(|failed| minutes(*failed, None)).collect();
        assert_eq!(pauses, [1, 2, 4, 64, 120, 120, 120]);
        assert_eq!(minutes(1, Some(TimeDelta::minutes(10))), 10);
        assert_eq!(minutes(9, Some(TimeDelta::minutes(10))), 120);
        assert_eq!(minutes(1, Some(TimeDelta::days(300))), 720, "nobody is told to wait for a year");
        assert_eq!(minutes(1, Some(TimeDelta::minutes(-5))), 1);
        assert!(!give_up(now + TimeDelta::days(3), now) && give_up(now + TimeDelta::days(4), now));
    }
}
