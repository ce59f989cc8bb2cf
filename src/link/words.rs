//! How times, reasons and texts from elsewhere are told: on the terminal and on the page alike.

use chrono::{DateTime, TimeDelta, Utc};

use crate::control::{CanaryView, WorkerView};
use crate::model::counted;
use crate::plan::day::{LineView, WORDS};

/// A length of time in its two largest units, the second only if it counts: `45s`, `10m`, `3h05m`, `2d04h`.
pub(crate) fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let (large, small) = if days > 0 {
        (format!("{days}d"), (hours % 24, 'h'))
    } else if hours > 0 {
        (format!("{hours}h"), (minutes % 60, 'm'))
    } else if minutes > 0 {
        (format!("{minutes}m"), (seconds % 60, 's'))
    } else {
        (format!("{seconds}s"), (0, 's'))
    };
    if small.0 == 0 { large } else { format!("{large}{:02}{}", small.0, small.1) }
}

/// The time from `at` to `now`, or `-`.
pub(crate) fn ago(now: DateTime<Utc>, at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| span(now - at))
}

/// The time from `now` to `at`, in whole minutes where it is more than one; `over` when it has passed, `-` if there is none.
pub(crate) fn left(now: DateTime<Utc>, at: Option<DateTime<Utc>>) -> String {
    let Some(left) = at.map(|at| at - now) else { return "-".to_owned() };
    match left.num_minutes() {
        _ if left <= TimeDelta::zero() => "over".to_owned(),
        0 => span(left),
        minutes => span(TimeDelta::minutes(minutes)),
    }
}

/// How far its canary is, and in a line why no further.
fn canary(canary: &CanaryView) -> String {
    // Why it waits is the reason that stands beside it.
    let why = canary.why.as_ref().filter(|_| canary.phase != "waiting").and_then(|why| why.lines().next());
    let why = why.map(|why| format!(": {why}"));
    format!("canary of {} ({}) {}{}", canary.ami, canary.rebake, canary.phase, why.unwrap_or_default())
}

/// Why nothing is done for a worker now, and what else is to be said of it; empty if there is nothing.
pub(crate) fn why(worker: &WorkerView) -> String {
    let mut parts = Vec::new();
    if let Some(failure) = &worker.failure {
        parts.push(format!("last request failed: {}", failure.code));
    }
    parts.extend(worker.held.clone());
    parts.extend(worker.canary.as_ref().map(canary));
    if !worker.departing.is_empty() {
        parts.push(format!("ending: {}", worker.departing.join(", ")));
    }
    parts.join("; ")
}

/// What a worker's day was, by state and in numbers: the text beside a drawing of it.
pub(crate) fn day_in_words(line: &LineView) -> String {
    let lasted = WORDS.iter().filter_map(|word| {
        let seconds = line.seconds.get(*word).filter(|seconds| **seconds > 0)?;
        Some(format!("{word} {}", span(TimeDelta::seconds(*seconds))))
    });
    let times = lasted.collect::<Vec<String>>().join(", ");
    match (line.starts, line.builds) {
        (0, 0) => times,
        (starts, builds) => format!("{times}; {}, {}", counted(starts, "start"), counted(builds, "build")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_in_minutes() {
        let now = DateTime::UNIX_EPOCH;
        let shown = |seconds: i64| left(now, Some(now + TimeDelta::seconds(seconds)));
        assert_eq!([2_672, 60, 59, 0, -5].map(shown), ["44m", "1m", "59s", "over", "over"]);
        assert_eq!(left(now, None), "-");
    }

    #[test]
    fn spans_show_two_units() {
        let shown: Vec<String> =
            [-5, 0, 59, 60, 3599, 3600, 86_400 * 2 + 3600 * 4].iter().map(|s| span(TimeDelta::seconds(*s))).collect();
        assert_eq!(shown, ["0s", "0s", "59s", "1m", "59m59s", "1h", "2d04h"]);
    }
}
