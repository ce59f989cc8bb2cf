//! A worker's last day as a strip: paths of an SVG, and the same in words.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::link::words::day_in_words;
use crate::plan::day::{AwayView, LineView};

/// How many columns the strip has; each is three minutes.
const COLUMNS: usize = 480;
/// How high it is, in the unit in which a column is 1 wide.
const HEIGHT: usize = 24;

/// The strip of one worker.
#[derive(Debug, Serialize)]
pub(super) struct Strip {
    width: usize,
    height: usize,
    /// The title: what a reader is told who does not see it.
    title: String,
    /// The same in short, to stand below it.
    words: String,
    paths: Vec<Path>,
}

/// Everything of one kind of state.
#[derive(Debug, Serialize)]
struct Path {
    class: String,
    d: String,
}

/// What a state counts as, for colours and sums.
pub(super) fn kind(state: &str) -> &'static str {
    match state {
        "busy" => "busy",
        "ready" => "ready",
        "requested" | "launching" | "registering" => "starting",
        "draining" | "terminating" => "ending",
        "stopped" => "stopped",
        "gone" => "gone",
        _ => "unknown",
    }
}

pub(super) fn strip(line: &LineView, away: &[AwayView]) -> Strip {
    let mut paths: BTreeMap<&str, String> = BTreeMap::new();
    for run in line.columns(COLUMNS) {
        let kind = kind(run.state);
        // What is gone is the ground on which the rest is drawn.
        if kind != "gone" {
            draw(paths.entry(kind).or_default(), run.at, run.width);
        }
    }
    let mut paths: Vec<Path> = paths.into_iter().map(|(kind, d)| Path { class: format!("k-{kind}"), d }).collect();
    let absent = without_controller(line, away);
    if !absent.is_empty() {
        paths.push(Path { class: "k-away".to_owned(), d: absent });
    }
    let words = day_in_words(line);
    let title = format!("The last 24 hours of {}: {words}", line.worker);
    Strip { width: COLUMNS, height: HEIGHT, title, words, paths }
}

fn draw(path: &mut String, at: usize, width: usize) {
    let _ = write!(path, "M{at} 0h{width}v{HEIGHT}h-{width}z");
}

/// A thin line along the times in which no controller is known to have run.
fn without_controller(line: &LineView, away: &[AwayView]) -> String {
    let (Some(first), Some(last)) = (line.stretches.first(), line.stretches.last()) else { return String::new() };
    let whole = (last.to - first.from).num_seconds().max(1);
    let place = |seconds: i64| {
        let columns = i64::try_from(COLUMNS).unwrap_or(1);
        usize::try_from(seconds.clamp(0, whole) * columns / whole).unwrap_or(0).min(COLUMNS)
    };
    let mut path = String::new();
    for time in away {
        let (from, to) = (place((time.from - first.from).num_seconds()), place((time.to - first.from).num_seconds()));
        let width = (to - from.min(to)).max(1);
        let _ = write!(path, "M{from} 0h{width}v4h-{width}z");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::day::StretchView;
    use chrono::{DateTime, TimeDelta};

    #[test]
    fn a_day_is_drawn_by_kind_and_told_in_words() {
        let at = |hours| DateTime::UNIX_EPOCH + TimeDelta::hours(hours);
        let stretch =
            |state: &str, from, to| StretchView { state: state.to_owned(), from: at(from), to: at(to), detail: None };
        let line = LineView {
            worker: "w1".to_owned(),
            stretches: vec![
                stretch("gone", 0, 12),
                stretch("launching", 12, 13),
                stretch("registering", 13, 14),
                stretch("busy", 14, 24),
            ],
            seconds: [("gone", 12), ("busy", 10), ("launching", 1), ("registering", 1)]
                .map(|(state, hours)| (state.to_owned(), hours * 3600))
                .into(),
            starts: 1,
            builds: 1,
        };
        let drawn = strip(&line, &[AwayView { from: at(6), to: at(6) + TimeDelta::minutes(1) }]);
        let paths: Vec<(&str, &str)> = drawn.paths.iter().map(|path| (path.class.as_str(), path.d.as_str())).collect();
        let wanted = [
            ("k-busy", "M280 0h200v24h-200z"),
            ("k-starting", "M240 0h20v24h-20zM260 0h20v24h-20z"),
            ("k-away", "M120 0h1v4h-1z"),
        ];
        assert_eq!(paths, wanted);
        assert_eq!(drawn.words, "busy 10h, launching 1h, registering 1h, gone 12h; 1 start, 1 build");
        assert!(drawn.title.starts_with("The last 24 hours of w1: busy 10h"));
    }
}
