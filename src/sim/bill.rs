//! What the simulated account pays: running time by the second with 60 s at least, and what lies about.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

/// Each start is billed for so long at least (EC2 billing of Linux and Windows on-demand).
const MINIMUM: TimeDelta = TimeDelta::seconds(60);

/// The bill of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    /// How often it was started.
    pub starts: u32,
    /// Billed seconds of the runs that are over.
    pub seconds: i64,
    /// Since when it runs now.
    pub running_since: Option<DateTime<Utc>>,
    /// The runs that are over, from when until when they are billed.
    pub runs: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// When it wrote its memory to its disk at the end of a run, which is billed with it.
    #[serde(skip)]
    pub writes: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    #[serde(skip)]
    writing_since: Option<DateTime<Utc>>,
}

/// The bill of an account in a region.
#[derive(Debug, Clone, Default)]
pub struct Bill {
    lines: BTreeMap<String, Line>,
}

impl Line {
    /// All billed seconds up to now.
    pub fn seconds_at(&self, now: DateTime<Utc>) -> i64 {
        self.seconds + self.running_since.map_or(0, |since| (now - since).max(MINIMUM).num_seconds())
    }

    /// From when until when each run is billed up to now.
    pub fn runs_at(&self, now: DateTime<Utc>) -> impl Iterator<Item = (DateTime<Utc>, DateTime<Utc>)> {
        let running = self.running_since.map(|since| (since, now.max(since + MINIMUM)));
        self.runs.iter().copied().chain(running)
    }
}

impl Bill {
    pub(super) fn run_begins(&mut self, id: &str, now: DateTime<Utc>) {
        let line = self.lines.entry(id.to_owned()).or_default();
        if line.running_since.is_none() {
            line.starts += 1;
            line.running_since = Some(now);
        }
    }

    /// It begins to write its memory; its run ends when that is done.
    pub(super) fn write_begins(&mut self, id: &str, now: DateTime<Utc>) {
        if let Some(line) = self.lines.get_mut(id).filter(|line| line.running_since.is_some()) {
            line.writing_since.get_or_insert(now);
        }
    }

    pub(super) fn run_ends(&mut self, id: &str, now: DateTime<Utc>) {
        if let Some(line) = self.lines.get_mut(id) {
            line.writes.extend(line.writing_since.take().map(|since| (since, now)));
            line.seconds = line.seconds_at(now);
            line.runs.extend(line.running_since.take().map(|since| (since, now.max(since + MINIMUM))));
        }
    }

    /// One line for each instance that ever ran.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &Line)> {
        self.lines.iter().map(|(id, line)| (id.as_str(), line))
    }

    /// Billed seconds of all instances up to now.
    pub fn seconds_at(&self, now: DateTime<Utc>) -> i64 {
        self.lines.values().map(|line| line.seconds_at(now)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn each_start_costs_a_minute_at_least() {
        let mut bill = Bill::default();
        bill.run_begins("i-1", at(0));
        bill.run_ends("i-1", at(10));
        assert_eq!(bill.seconds_at(at(500)), 60);
        bill.run_begins("i-1", at(100));
        assert_eq!(bill.seconds_at(at(110)), 120);
        bill.run_ends("i-1", at(300));
        bill.run_ends("i-1", at(400));
        assert_eq!(bill.seconds_at(at(500)), 260);
        let runs: Vec<_> = bill.lines().flat_map(|(_, line)| line.runs_at(at(500))).collect();
        assert_eq!(runs, [(at(0), at(60)), (at(100), at(300))]);
    }
}
