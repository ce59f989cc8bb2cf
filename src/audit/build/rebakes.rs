//! The rebakes of the period, and their builders: only journals know them.

use chrono::{DateTime, Utc};

use super::period::Period;
use crate::audit::evidence::Evidence;
use crate::audit::report::RebakeLine;
use crate::model::{InstanceId, LaunchSpec, Outcome, OwnerName, Rebake, RebakeBody, RebakeEntry, Region, Step, Thing};
use crate::policy::price::Range;

use super::draft::{Draft, total};

/// A builder, as its rebake's journal tells it.
#[derive(Debug, Clone)]
pub(super) struct Builder<'a> {
    pub(super) instance: InstanceId,
    pub(super) rebake: String,
    pub(super) image: String,
    pub(super) owner: OwnerName,
    pub(super) region: Region,
    pub(super) spec: &'a LaunchSpec,
    pub(super) launched: DateTime<Utc>,
    pub(super) off: Option<DateTime<Utc>>,
    pub(super) gone: Option<DateTime<Utc>>,
}

/// The owner's journals that fold, with their records; one that does not is left to whoever works with it.
fn records<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = (Rebake, &'a [RebakeEntry])> {
    let journals = evidence.rebakes.iter().flatten();
    let folded = journals.filter_map(|entries| Some((Rebake::fold(entries).ok()?, entries.as_slice())));
    folded.filter(|(rebake, _)| rebake.order.owner == *evidence.owner && rebake.order.fleet == evidence.fleet)
}

/// The builders that were there in the period.
pub(super) fn builders<'a>(evidence: &'a Evidence<'_>, period: Period) -> Vec<Builder<'a>> {
    let all = records(evidence).filter_map(|(rebake, entries)| builder(&rebake, entries));
    all.filter(|builder| period.cut(builder.launched, builder.gone).is_some()).collect()
}

fn builder<'a>(rebake: &Rebake, entries: &'a [RebakeEntry]) -> Option<Builder<'a>> {
    let (mut spec, mut found): (Option<&LaunchSpec>, Option<Builder<'a>>) = (None, None);
    for entry in entries {
        match (&entry.body, &mut found) {
            (RebakeBody::LaunchIntended { spec: sent }, _) => spec = Some(sent),
            (RebakeBody::Launched { instance }, _) => {
                found = spec.map(|spec| Builder {
                    instance: instance.clone(),
                    rebake: rebake.order.id.to_string(),
                    image: rebake.order.image.to_string(),
                    owner: rebake.order.owner.clone(),
                    region: rebake.order.region.clone(),
                    spec,
                    launched: entry.at,
                    off: None,
                    gone: None,
                });
            }
            (RebakeBody::BuilderOff {}, Some(builder)) => builder.off = builder.off.or(Some(entry.at)),
            (
                RebakeBody::Done { step: Step::Dismiss, .. } | RebakeBody::Undone { thing: Thing::Builder },
                Some(builder),
            ) => {
                builder.gone = builder.gone.or(Some(entry.at));
            }
            _ => {}
        }
    }
    found
}

/// How far it came, in a word or two.
fn state(rebake: &Rebake, entries: &[RebakeEntry]) -> String {
    let outcome = entries.iter().rev().find_map(|entry| match &entry.body {
        RebakeBody::Ended { outcome } => Some(outcome),
        _ => None,
    });
    match outcome {
        Some(Outcome::Done { .. }) => "promoted".to_owned(),
        Some(Outcome::HandedOver { .. }) => "handed over".to_owned(),
        Some(Outcome::Failed { step, .. }) => format!("failed in {step}"),
        Some(Outcome::Aborted {}) => "aborted".to_owned(),
        Some(Outcome::RolledBack { .. }) => "rolled back".to_owned(),
        None => format!("in {}", rebake.step),
    }
}

/// The rebakes that were worked on in the period, the latest first. A rebake costs what its builder and its
/// canaries did; where none of them has a line, nobody knows it.
pub(super) fn lines(evidence: &Evidence<'_>, period: Period, drafts: &[Draft]) -> Vec<RebakeLine> {
    let mut all: Vec<RebakeLine> = records(evidence)
        .filter(|(rebake, _)| rebake.order.at < period.until && rebake.last_at >= period.since)
        .filter(|(rebake, _)| evidence.only.is_empty() || evidence.only.contains(&rebake.order.region))
        .map(|(rebake, entries)| {
            let canaries = entries.iter().filter_map(|entry| match &entry.body {
                RebakeBody::CanarySaw { sight } => sight.instance.clone(),
                _ => None,
            });
            let own: std::collections::BTreeSet<String> =
                canaries.chain(builder(&rebake, entries).map(|one| one.instance)).map(|id| id.to_string()).collect();
            let costs: Option<Vec<Range>> = drafts
                .iter()
                .filter(|draft| own.contains(&draft.line.instance))
                .map(|draft| draft.line.cost.as_ref().map(total))
                .collect();
            RebakeLine {
                rebake: rebake.order.id.to_string(),
                image: rebake.order.image.to_string(),
                began: rebake.order.at,
                state: state(&rebake, entries),
                cost: costs.filter(|costs| own.is_empty() || !costs.is_empty()).map(|costs| costs.into_iter().sum()),
            }
        })
        .collect();
    all.sort_by(|a, b| b.began.cmp(&a.began).then_with(|| a.rebake.cmp(&b.rebake)));
    all
}
