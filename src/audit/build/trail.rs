//! What CloudTrail says: who did what, and when each instance ran by its word.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::period::Period;
use crate::audit::evidence::Evidence;
use crate::audit::report::{Deed, Unseen};
use crate::model::{InstanceId, Region, TrailEvent};

/// The most deeds that a report tells; the latest are told.
const DEEDS_MAX: usize = 1000;

/// What CloudTrail says of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Where.
    pub(super) region: Region,
    /// Each run; one without an end has none that CloudTrail knows.
    pub(super) runs: Vec<(DateTime<Utc>, Option<DateTime<Utc>>)>,
    /// Whether it tells of the launch.
    pub(super) launched: bool,
    /// Who launched or started it first.
    pub(super) by: Option<String>,
}

impl Told {
    /// Seconds in which it ran.
    pub(super) fn seconds(&self, period: Period) -> i64 {
        self.runs.iter().map(|(from, to)| period.seconds(*from, *to)).sum()
    }

    /// Whether the last run goes on, by its word.
    pub(super) fn is_open(&self) -> bool {
        self.runs.last().is_some_and(|(_, to)| to.is_none())
    }
}

/// The events of all regions in their order, each once.
fn events<'a>(evidence: &'a Evidence<'_>) -> Vec<(&'a Region, DateTime<Utc>, &'a TrailEvent)> {
    let mut known = BTreeSet::new();
    let regions = evidence.regions.iter().filter_map(|(region, look)| Some((region, look.trail.as_ref().ok()?)));
    let mut all: Vec<_> = regions
        .flat_map(|(region, trail)| trail.events.iter().map(move |event| (region, trail.from, event)))
        .filter(|(_, _, event)| known.insert(event.id.as_str()))
        .collect();
    all.sort_by(|a, b| (a.2.at, &a.2.id).cmp(&(b.2.at, &b.2.id)));
    all
}

/// When each instance ran.
pub(super) fn told(evidence: &Evidence<'_>) -> BTreeMap<InstanceId, Told> {
    let mut all: BTreeMap<InstanceId, Told> = BTreeMap::new();
    for (region, from, event) in events(evidence).into_iter().filter(|(_, _, event)| event.error.is_none()) {
        let begins = matches!(event.name.as_str(), "RunInstances" | "StartInstances");
        for id in &event.instances {
            let one = all.entry(id.clone()).or_insert_with(|| Told {
                region: region.clone(),
                runs: Vec::new(),
                launched: false,
                by: None,
            });
            match one.runs.last_mut() {
                _ if begins => {
                    // A start of what runs already changes nothing.
                    if !one.is_open() {
                        one.runs.push((event.at, None));
                    }
                    one.launched |= event.name == "RunInstances";
                    one.by = one.by.take().or_else(|| event.by.clone());
                }
                Some((_, to)) => {
                    to.get_or_insert(event.at);
                }
                // It began before the first event that was asked for.
                None => one.runs.push((from, Some(event.at))),
            }
        }
    }
    all
}

/// Who did what with these instances in the period, the latest first; and that there is more, where there is.
pub(super) fn deeds(
    evidence: &Evidence<'_>,
    period: Period,
    ours: &BTreeSet<InstanceId>,
) -> (Vec<Deed>, Option<Unseen>) {
    let mut deeds = Vec::new();
    for (_, _, event) in events(evidence).into_iter().rev().filter(|(_, _, event)| period.holds(event.at)) {
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
        what: format!("{more} older calls"),
        why: format!("a report tells the latest {DEEDS_MAX}"),
        cure: Some("ask for a shorter period with --since".to_owned()),
    });
    (deeds, unseen)
}
