//! What CloudTrail says: who did what, and when each instance ran by its word.

use std::collections::{BTreeMap, BTreeSet};

use super::period::Period;
use crate::audit::evidence::Evidence;
use crate::audit::report::{Deed, Unseen};
use crate::audit::{TrailEnd, TrailRun, trail_runs, trail_seconds};
use crate::model::{InstanceId, Region, Trail, TrailEvent, counted};

/// The most deeds that a report tells; the latest are told.
const DEEDS_MAX: usize = 1000;

/// What CloudTrail says of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Where.
    pub(super) region: Region,
    /// Each run, the oldest first.
    pub(super) runs: Vec<TrailRun>,
}

impl Told {
    /// Seconds in which it ran, at the most: of a run without an end nobody knows it.
    pub(super) fn seconds(&self, period: Period) -> i64 {
        trail_seconds(&self.runs, period.since, period.until).most
    }

    /// Whether the last run goes on, by its word.
    pub(super) fn is_open(&self) -> bool {
        self.runs.last().is_some_and(|run| run.end == TrailEnd::Open)
    }

    /// Who launched or started it first.
    pub(super) fn by(&self) -> Option<&str> {
        self.runs.first()?.by.as_deref()
    }
}

fn trails<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = (&'a Region, &'a Trail)> {
    evidence.regions.iter().filter_map(|(region, look)| Some((region, look.trail.as_ref().ok()?)))
}

/// When each instance ran.
pub(super) fn told(evidence: &Evidence<'_>) -> BTreeMap<InstanceId, Told> {
    let of = |(region, trail): (&Region, &Trail)| {
        let region = region.clone();
        trail_runs(trail).into_iter().map(move |(id, runs)| (id, Told { region: region.clone(), runs }))
    };
    trails(evidence).flat_map(of).collect()
}

/// The events of all regions, the latest first.
fn events<'a>(evidence: &'a Evidence<'_>) -> Vec<&'a TrailEvent> {
    let mut all: Vec<&TrailEvent> = trails(evidence).flat_map(|(_, trail)| &trail.events).collect();
    all.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
    all
}

/// Who did what with these instances in the period, the latest first; and that there is more, where there is.
pub(super) fn deeds(
    evidence: &Evidence<'_>,
    period: Period,
    ours: &BTreeSet<InstanceId>,
) -> (Vec<Deed>, Option<Unseen>) {
    let mut deeds = Vec::new();
    for event in events(evidence).into_iter().filter(|event| period.holds(event.at)) {
        let call = match &event.error {
            Some(error) => format!("{} (refused: {error})", event.name),
            None => event.name.clone(),
        };
        let with = event.instances.iter().filter(|id| ours.contains(*id));
        deeds.extend(with.map(|id| Deed {
            at: event.at,
            call: call.clone(),
            instance: Some(id.to_string()),
            by: event.by.clone(),
        }));
    }
    let more = deeds.len().saturating_sub(DEEDS_MAX);
    deeds.truncate(DEEDS_MAX);
    let unseen = (more > 0).then(|| Unseen {
        what: counted(more, "older call"),
        why: format!("a report tells the latest {DEEDS_MAX}"),
        cure: Some("ask for a shorter period with --since".to_owned()),
    });
    (deeds, unseen)
}
