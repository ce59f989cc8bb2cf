//! How tables and times look.

use std::io::IsTerminal as _;

use chrono::{DateTime, TimeDelta, Utc};
use comfy_table::{ContentArrangement, Table, presets};

pub(super) use crate::model::plain;

/// The width of a table that does not go to a terminal.
const WIDTH: u16 = 80;

/// A table without lines that fits the terminal, or 80 columns.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = headless_table();
    table.set_header(header);
    table
}

/// The same without names for its columns.
pub(super) fn headless_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !std::io::stdout().is_terminal() {
        table.set_width(WIDTH);
    }
    table
}

/// How long a line may be: the terminal's width, or 80.
pub(super) fn line_width() -> usize {
    let terminal = Table::new().width().filter(|_| std::io::stdout().is_terminal());
    usize::from(terminal.unwrap_or(WIDTH))
}

/// Whether colour may be used: a terminal, and nobody said no.
pub(super) fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A length of time in its two largest units, the second only if it counts: `45s`, `10m`, `3h05m`, `2d04h`.
pub(super) fn span(span: TimeDelta) -> String {
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
pub(super) fn ago(now: DateTime<Utc>, at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| span(now - at))
}

/// The time from `now` to `at`, in whole minutes where it is more than one; `over` when it has passed, `-` if there is none.
pub(super) fn left(now: DateTime<Utc>, at: Option<DateTime<Utc>>) -> String {
    let Some(left) = at.map(|at| at - now) else { return "-".to_owned() };
    match left.num_minutes() {
        _ if left <= TimeDelta::zero() => "over".to_owned(),
        0 => span(left),
        minutes => span(TimeDelta::minutes(minutes)),
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
