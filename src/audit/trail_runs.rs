//! From CloudTrail's events to the times in which instances ran.
//!
//! CloudTrail knows calls. A guest that shuts itself down makes none, so a run whose end no call tells may
//! have ended at any time since: it is told as *at most*.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::model::{InstanceId, Trail, TrailEvent};

/// A run of an instance as CloudTrail tells it, from a call that started it to one that ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailRun {
    /// The instance.
    pub instance: InstanceId,
    /// When it began; absent if that was before CloudTrail's events begin.
    pub from: Option<DateTime<Utc>>,
    /// Who started it, where that is told.
    pub by: Option<String>,
    /// When it ended, or until when it may have run at most.
    pub end: TrailEnd,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrailEnd {
    /// By this call.
    Told {
        /// When.
        at: DateTime<Utc>,
        /// The call: `StopInstances`, `TerminateInstances` or `BidEvictedEvent`.
        call: String,
        /// Who made it, where that is told.
        by: Option<String>,
    },
    /// No call tells, and it did not run any more when something else was done with it.
    Before(DateTime<Utc>),
    /// No call tells: it goes on, or its guest has shut it down.
    Open,
}

/// Seconds that an instance ran in a period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrailSeconds {
    /// At least: the runs whose begin and end are both told.
    pub least: i64,
    /// At most: a run whose end is not told ran on until the next thing that is.
    pub most: i64,
    /// How many runs began in the period.
    pub starts: u32,
}

/// The runs of each instance, the oldest first.
pub fn trail_runs(trail: &Trail) -> BTreeMap<InstanceId, Vec<TrailRun>> {
    let mut all: BTreeMap<InstanceId, Vec<TrailRun>> = BTreeMap::new();
    for event in trail.events.iter().filter(|event| event.error.is_none()) {
        for instance in &event.instances {
            let runs = all.entry(instance.clone()).or_default();
            if matches!(event.name.as_str(), "RunInstances" | "StartInstances") {
                began(runs, instance, event);
            } else {
                finished(runs, instance, event);
            }
        }
    }
    all.retain(|_, runs| !runs.is_empty());
    all
}

fn began(runs: &mut Vec<TrailRun>, instance: &InstanceId, event: &TrailEvent) {
    if let Some(open) = runs.last_mut().filter(|run| run.end == TrailEnd::Open) {
        // It cannot be started while it runs: its guest had shut it down.
        open.end = TrailEnd::Before(event.at);
    }
    let (from, by) = (Some(event.at), event.by.clone());
    runs.push(TrailRun { instance: instance.clone(), from, by, end: TrailEnd::Open });
}

fn finished(runs: &mut Vec<TrailRun>, instance: &InstanceId, event: &TrailEvent) {
    let stood = event.stood.contains(instance);
    let told = TrailEnd::Told { at: event.at, call: event.name.clone(), by: event.by.clone() };
    let end = if stood { TrailEnd::Before(event.at) } else { told };
    match runs.last_mut() {
        Some(open) if open.end == TrailEnd::Open => open.end = end,
        // It did not run any more: an eviction may be told twice, and what was stopped is terminated.
        Some(_) => {}
        // The first that is told of it is its end.
        None => runs.push(TrailRun { instance: instance.clone(), from: None, by: None, end }),
    }
}

/// How long the runs of one instance lasted in a period.
pub fn trail_seconds(runs: &[TrailRun], since: DateTime<Utc>, until: DateTime<Utc>) -> TrailSeconds {
    let mut sum = TrailSeconds::default();
    for run in runs {
        let from = run.from.unwrap_or(since).max(since);
        let (to, told) = match &run.end {
            TrailEnd::Told { at, .. } => (*at, true),
            TrailEnd::Before(at) => (*at, false),
            TrailEnd::Open => (until, false),
        };
        let seconds = (to.min(until) - from).num_seconds().max(0);
        sum.most += seconds;
        // One that began before everything that is told is sure to have run only at its end.
        if told && run.from.is_some() {
            sum.least += seconds;
        }
        if run.from.is_some_and(|at| since <= at && at < until) {
            sum.starts += 1;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn event(seconds: i64, name: &str, instance: &str) -> TrailEvent {
        TrailEvent {
            id: format!("{seconds}-{name}"),
            at: at(seconds),
            name: name.to_owned(),
            instances: vec![instance.parse().expect("an id")],
            stood: Vec::new(),
            by: Some("latent-serve-main".to_owned()),
            error: None,
        }
    }

    fn stood(event: TrailEvent) -> TrailEvent {
        TrailEvent { stood: event.instances.clone(), ..event }
    }

    fn runs(events: Vec<TrailEvent>) -> Vec<TrailRun> {
        let trail = Trail { events, from: at(0), to: at(10_000), gaps: Vec::new() };
        trail_runs(&trail).remove(&"i-0a".parse().expect("an id")).unwrap_or_default()
    }

    fn seconds(events: Vec<TrailEvent>) -> (i64, i64, u32) {
        let sum = trail_seconds(&runs(events), at(0), at(10_000));
        (sum.least, sum.most, sum.starts)
    }

    #[test]
    fn a_launch_a_stop_a_start_and_an_end_are_two_runs() {
        let told = vec![
            event(100, "RunInstances", "i-0a"),
            event(700, "StopInstances", "i-0a"),
            event(1_000, "StartInstances", "i-0a"),
            event(1_300, "TerminateInstances", "i-0a"),
        ];
        assert_eq!(seconds(told.clone()), (900, 900, 2));
        let runs = runs(told);
        assert!(matches!(&runs[1].end, TrailEnd::Told { call, .. } if call == "TerminateInstances"), "{runs:?}");
        assert_eq!(trail_seconds(&runs, at(600), at(1_100)), TrailSeconds { least: 200, most: 200, starts: 1 });
    }

    #[test]
    fn a_shutdown_by_the_guest_is_no_call_so_the_end_is_at_most_then() {
        let restarted = vec![
            event(100, "RunInstances", "i-0a"),
            event(1_000, "StartInstances", "i-0a"),
            event(1_100, "StopInstances", "i-0a"),
        ];
        assert_eq!(seconds(restarted), (100, 1_000, 2));
        let found_stopped = vec![event(100, "RunInstances", "i-0a"), stood(event(1_000, "TerminateInstances", "i-0a"))];
        assert_eq!(seconds(found_stopped), (0, 900, 1));
        assert_eq!(seconds(vec![event(100, "RunInstances", "i-0a")]), (0, 9_900, 1));
    }

    #[test]
    fn what_began_before_the_events_do_ran_since_then_at_most() {
        assert_eq!(seconds(vec![event(500, "StopInstances", "i-0a")]), (0, 500, 0));
        assert_eq!(seconds(vec![stood(event(500, "TerminateInstances", "i-0a"))]), (0, 500, 0));
    }

    #[test]
    fn an_end_counts_once() {
        let evicted = vec![
            event(100, "RunInstances", "i-0a"),
            event(700, "BidEvictedEvent", "i-0a"),
            event(705, "TerminateInstances", "i-0a"),
        ];
        assert_eq!(seconds(evicted), (600, 600, 1));
        let stopped = vec![
            event(100, "RunInstances", "i-0a"),
            event(200, "StopInstances", "i-0a"),
            stood(event(5_000, "TerminateInstances", "i-0a")),
        ];
        assert_eq!(seconds(stopped), (100, 100, 1));
    }

    #[test]
    fn what_was_refused_changed_nothing() {
        let refused =
            TrailEvent { error: Some("Client.UnauthorizedOperation".to_owned()), ..event(100, "RunInstances", "i-0a") };
        assert_eq!(seconds(vec![refused]), (0, 0, 0));
    }
}
