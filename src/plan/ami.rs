//! Which AMI a manifest means now: the one that it names, or the one that its filter chooses of a listing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::View;
use crate::model::{
    AmiCandidate, AmiFilter, AmiId, AmiQuery, AmiState, Failure, FailureKind, HeldReason, Phase, WorkerState,
};
use crate::policy::{AmiChoice, Image};

/// So long a listing of AMIs is good for further launches.
const LISTING_HOLDS: TimeDelta = TimeDelta::minutes(5);

/// The listings that AMIs are chosen from, as far as they were made. Lost at a restart, and then made anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AmiListings(BTreeMap<AmiQuery, Listed>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    /// When it was asked for.
    at: DateTime<Utc>,
    /// What it showed, or why it was refused and when it may be asked for again.
    result: Result<Shown, (Failure, DateTime<Utc>)>,
}

/// All that a region has may be a hundred thousand AMIs: each filter goes over them once, not at each decision.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    candidates: Vec<AmiCandidate>,
    chosen: Vec<(AmiFilter, Option<AmiId>)>,
}

impl Shown {
    /// What a filter chooses; one that came after the listing is asked now.
    fn choice(&self, at: DateTime<Utc>, filter: &AmiFilter) -> Option<AmiId> {
        let known = self.chosen.iter().find(|(asked, _)| asked == filter);
        known.map_or_else(|| choose(at, filter, &self.candidates), |(_, chosen)| chosen.clone())
    }
}

impl AmiListings {
    /// Takes a listing in that was asked for at this time, and lets the filters choose that it was made for.
    pub fn listed<'a>(
        &mut self,
        query: AmiQuery,
        at: DateTime<Utc>,
        candidates: Vec<AmiCandidate>,
        images: impl IntoIterator<Item = &'a Image>,
    ) {
        let mut chosen: Vec<(AmiFilter, Option<AmiId>)> = Vec::new();
        let of_it = images.into_iter().filter(|image| image.ami_query().as_ref() == Some(&query));
        for filter in of_it.filter_map(|image| image.ami.filter()) {
            if chosen.iter().all(|(asked, _)| asked != filter) {
                chosen.push((filter.clone(), choose(at, filter, &candidates)));
            }
        }
        self.0.insert(query, Listed { at, result: Ok(Shown { candidates, chosen }) });
    }

    /// A listing was refused; it is not asked for again before `until`.
    pub fn refused(&mut self, query: AmiQuery, at: DateTime<Utc>, failure: Failure, until: DateTime<Utc>) {
        self.0.insert(query, Listed { at, result: Err((failure, until)) });
    }

    /// What was known is out of date: an AMI of it could not be launched.
    pub fn forget(&mut self) {
        self.0.retain(|_, listed| listed.result.is_err());
    }

    /// The AMI that a manifest's filter chose of the last listing, however old that is: for people.
    pub fn last_choice(&self, image: &Image) -> Option<AmiId> {
        let listed = self.0.get(&image.ami_query()?)?;
        listed.result.as_ref().ok()?.choice(listed.at, image.ami.filter()?)
    }

    fn fresh(&self, query: &AmiQuery, now: DateTime<Utc>) -> Option<&Listed> {
        self.0.get(query).filter(|listed| match &listed.result {
            Ok(_) => now < listed.at + LISTING_HOLDS,
            Err((_, until)) => now < *until,
        })
    }
}

/// Why no AMI is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoAmi {
    /// It is not chosen yet.
    Held(HeldReason),
    /// Only a person can mend it.
    Failed(Failure),
}

/// The AMI of an image now.
pub(super) fn ami_of(view: &View<'_>, image: &Image) -> Result<AmiId, NoAmi> {
    let filter = match &image.ami {
        AmiChoice::Named(id) => return Ok(id.clone()),
        AmiChoice::Filter(filter) => filter,
    };
    let listed = image.ami_query().and_then(|query| view.amis.fresh(&query, view.now));
    let Some(Listed { at, result }) = listed else {
        return Err(NoAmi::Held(HeldReason::NoAmi { filter: filter.to_string() }));
    };
    match result {
        Ok(shown) => {
            let chosen = shown.choice(*at, filter);
            chosen.ok_or_else(|| NoAmi::Failed(nothing_fits(image, filter, &shown.candidates)))
        }
        Err((failure, _)) if failure.kind.needs_a_person() => Err(NoAmi::Failed(failure.clone())),
        Err((failure, until)) => {
            let (filter, code) = (filter.to_string(), failure.code.clone());
            Err(NoAmi::Held(HeldReason::AmiRefused { filter, code, until: *until }))
        }
    }
}

/// The AMI that a filter chooses of a listing: by the group of its pattern, or else the newest.
pub fn choose(now: DateTime<Utc>, filter: &AmiFilter, candidates: &[AmiCandidate]) -> Option<AmiId> {
    let usable =
        candidates.iter().filter(|ami| ami.state == AmiState::Available && ami.deprecated.is_none_or(|at| at > now));
    let mut fitting: Vec<(Option<&str>, &AmiCandidate)> = match &filter.location {
        None => usable.map(|ami| (None, ami)).collect(),
        Some(pattern) => usable.filter_map(|ami| Some((pattern.fit(&ami.location)?.group, ami))).collect(),
    };
    let numbers = fitting.iter().all(|(group, _)| group.is_some_and(|text| text.parse::<u128>().is_ok()));
    let number = |group: Option<&str>| group.filter(|_| numbers).and_then(|text| text.parse::<u128>().ok());
    // What cannot be read counts as old; the id only makes the choice the same each time.
    fitting.sort_by_key(|(group, ami)| (number(*group), *group, ami.created, &ami.id));
    fitting.last().map(|(_, ami)| ami.id.clone())
}

fn nothing_fits(image: &Image, filter: &AmiFilter, candidates: &[AmiCandidate]) -> Failure {
    let message = format!(
        "no AMI for {} in {} fits {filter}: {} were listed that are available; correct the filter, share the AMI with \
         the account, or name it with ami",
        image.architecture.as_str(),
        image.region,
        candidates.iter().filter(|ami| ami.state == AmiState::Available).count(),
    );
    Failure::new(Phase::Launch, FailureKind::Owner, "NoAmiFits", &message)
}

/// The listings that are wanted now: a launch or a start waits for what they choose.
pub fn wanted_amis(view: &View<'_>) -> BTreeSet<AmiQuery> {
    let waits = |name: &&crate::model::WorkerName| {
        view.fleet.workers.get(*name).is_some_and(|worker| {
            worker.wanted() && matches!(worker.state, WorkerState::Requested | WorkerState::Stopped { .. })
        })
    };
    let images = view.workers().into_iter().filter(waits).filter_map(|name| {
        let configured = view.intent.workers.get(name)?;
        view.intent.images.get(&configured.image)
    });
    let queries = images.filter_map(Image::ami_query);
    queries.filter(|query| view.amis.fresh(query, view.now).is_none()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LocationPattern;

    fn morning() -> DateTime<Utc> {
        "2026-03-02T08:00:00Z".parse().expect("a time")
    }

    fn ami(id: &str, location: &str, hours_old: i64) -> AmiCandidate {
        AmiCandidate {
            id: id.parse().expect("an AMI"),
            location: location.to_owned(),
            state: AmiState::Available,
            architecture: "x86_64".to_owned(),
            created: Some(morning() - TimeDelta::hours(hours_old)),
            deprecated: None,
        }
    }

    fn chosen(pattern: Option<&str>, all: &[AmiCandidate]) -> Option<String> {
        let location = pattern.map(|text| LocationPattern::new(text).expect("a pattern"));
        choose(morning(), &AmiFilter { owners: Vec::new(), location }, all).map(|id| id.to_string())
    }

    #[test]
    fn without_a_group_the_newest_is_chosen_and_with_one_the_greatest() {
        let all = [ami("ami-1", "1/w-9", 1), ami("ami-2", "1/w-10", 9), ami("ami-3", "1/w-1", 5)];
        assert_eq!(chosen(None, &all).as_deref(), Some("ami-1"));
        assert_eq!(chosen(Some("1/w-"), &all).as_deref(), Some("ami-1"));
        assert_eq!(chosen(Some("1/w-([0-9]+)"), &all).as_deref(), Some("ami-2"), "10 is more than 9");
        let words = [all[0].clone(), all[1].clone(), ami("ami-4", "1/w-a", 99)];
        assert_eq!(chosen(Some("1/w-(.+)"), &words).as_deref(), Some("ami-4"), "as texts: a word is among them");
        assert_eq!(chosen(Some("1/w-([0-9]+)?"), &words).as_deref(), Some("ami-1"), "9 is more than 10 as a text");
        assert_eq!(chosen(Some("w-"), &all), None, "from the beginning of the location");
        assert_eq!(chosen(Some("x|1/w-1$"), &all).as_deref(), Some("ami-3"), "each branch from the beginning");
        let twins = [ami("ami-5", "1/w-7", 3), ami("ami-6", "1/w-7", 2), ami("ami-7", "1/w-7", 4)];
        assert_eq!(chosen(Some("1/w-([0-9]+)"), &twins).as_deref(), Some("ami-6"), "the newest of equals");
    }

    #[test]
    fn what_is_deprecated_or_not_available_is_not_chosen() {
        let mut all = vec![ami("ami-1", "1/a", 5), ami("ami-2", "1/a", 4), ami("ami-3", "1/a", 3)];
        all[2].state = AmiState::Disabled;
        all[1].deprecated = Some(morning());
        assert_eq!(chosen(None, &all).as_deref(), Some("ami-1"));
        all[1].deprecated = Some(morning() + TimeDelta::seconds(1));
        assert_eq!(chosen(None, &all).as_deref(), Some("ami-2"));
        all[1].created = None;
        assert_eq!(chosen(None, &all).as_deref(), Some("ami-1"), "of unknown age is no newest");
        assert_eq!(chosen(None, &[]), None);
    }
}
