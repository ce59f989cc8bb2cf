//! A sweep at the edge: looking at whole accounts, doing what the plan says, and looking whether it is
//! so. What to do is decided in [`crate::plan::sweep`] alone.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use tokio::task::JoinSet;

use super::driver::Clock;
use super::pace::{ApiAction, Pace};
use super::perform;
use crate::cloud::{Cloud, CloudError};
use crate::model::{
    Failure, FailureKind, Gap, InstanceState, LeftoverKind, Phase, Region, Resource, ResourceId, ResourceKind, Survey,
    tag_keys,
};
use crate::plan::sweep::{Act, Finding, mark_text};

/// Regions that are looked at at the same time: all that EC2 has, for none of them is paced by another's calls.
/// It bounds the memory and the connections of a sweep, should EC2 have many more one day.
const REGIONS_AT_ONCE: usize = 64;
/// Calls of one region that wait for their answers at the same time; how often they are sent is the pace's.
const ACTS_AT_ONCE: usize = 10;
/// Resources that one CreateTags call marks; EC2 takes a thousand.
const MARKS_AT_ONCE: usize = 500;
/// How many one page of a listing holds.
const PAGE: usize = 1_000;
/// How many ids one call asks for.
const IDS_AT_ONCE: usize = 200;
/// How often a call is sent that was not answered or refused for its rate.
const TRIES: u32 = 4;
/// The first pause before it is sent again; it doubles.
const PAUSE: TimeDelta = TimeDelta::seconds(2);
/// How long the listing of one kind may take.
const LISTING_LIMIT: Duration = Duration::from_mins(3);
/// Our code for a listing that took longer: it is not begun again.
const TIMEOUT: &str = "Timeout";
/// How long an end may take to be seen.
const VERIFY_LIMIT: TimeDelta = TimeDelta::minutes(5);
/// How long what belonged to an instance may take to go after it: a disk that is not set to end with its
/// instance never does.
const PARTS_LIMIT: TimeDelta = TimeDelta::seconds(30);
/// Time until the first look whether it is so; the time until the next one doubles, for an end that is not
/// seen soon is not seen sooner by asking often.
const VERIFY_AFTER: TimeDelta = TimeDelta::seconds(10);

/// An account in one region: the way there, and how many calls it takes. Clones are the same door.
#[derive(Debug)]
pub struct SweepDoor<C> {
    /// Where.
    pub region: Region,
    cloud: Arc<C>,
    pace: Arc<Mutex<Pace>>,
    calls: Arc<AtomicU64>,
}

impl<C> Clone for SweepDoor<C> {
    fn clone(&self) -> Self {
        let Self { region, cloud, pace, calls } = self;
        let (cloud, pace, calls) = (Arc::clone(cloud), Arc::clone(pace), Arc::clone(calls));
        Self { region: region.clone(), cloud, pace, calls }
    }
}

/// What came of one act.
#[derive(Debug)]
pub struct Deed {
    /// The finding.
    pub finding: Finding,
    /// What the call came to; `Ok` once it was accepted, or there was nothing to do any more.
    pub result: Result<(), CloudError>,
}

/// Something that is still there after all that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stayed {
    /// Its id.
    pub id: String,
    /// Where.
    pub region: Region,
    /// What is so.
    pub what: String,
}

impl<C: Cloud> SweepDoor<C> {
    /// The way to a region.
    pub fn new(region: Region, cloud: C, now: DateTime<Utc>) -> Self {
        Self { region, cloud: Arc::new(cloud), pace: Arc::new(Mutex::new(Pace::new(now))), calls: Arc::default() }
    }

    /// How many calls were sent, every page of a listing counted.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn count(&self, calls: usize) {
        self.calls.fetch_add(calls as u64, Ordering::Relaxed);
    }

    async fn paced(&self, clock: &Clock, action: ApiAction) {
        loop {
            let taken = self.pace.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take(action, clock.now());
            match taken {
                Ok(()) => return,
                Err(at) => clock.sleep_until(at).await,
            }
        }
    }

    /// One kind, whole or refused.
    async fn list(
        &self,
        clock: &Clock,
        kind: ResourceKind,
        only: Option<&[ResourceId]>,
    ) -> Result<BTreeMap<ResourceId, Resource>, CloudError> {
        let listed = self.insist(clock, ApiAction::Describe, || list(self.cloud.as_ref(), clock, kind, only)).await;
        // Its first page was counted as it was sent.
        self.count(match (&listed, only) {
            (_, Some(ids)) => ids.len().div_ceil(IDS_AT_ONCE).saturating_sub(1),
            (Ok(found), None) => found.len().div_ceil(PAGE).saturating_sub(1),
            (Err(_), None) => 0,
        });
        listed
    }

    /// Everything in the region, and what could not be read of it.
    pub async fn survey(&self, clock: &Clock) -> Survey {
        self.survey_of(clock, &ResourceKind::ALL).await
    }

    /// These kinds alone, and what could not be read of them.
    pub async fn survey_of(&self, clock: &Clock, kinds: &[ResourceKind]) -> Survey {
        let mut survey = Survey { observed_at: clock.now(), resources: BTreeMap::new(), gaps: Vec::new() };
        // Of each kind EC2 has a bucket of its own.
        let listed = join_all(kinds.iter().map(|kind| self.list(clock, *kind, None))).await;
        for (kind, listed) in kinds.iter().zip(listed) {
            take_in(&mut survey, *kind, listed);
        }
        survey
    }

    /// The kinds of which more than the findings themselves has to be read again: whether an AMI or a
    /// snapshot is still needed, or an address or a spot request still idle, hangs on these.
    fn hangs_on(kind: ResourceKind) -> &'static [ResourceKind] {
        match kind {
            ResourceKind::Ami => &[ResourceKind::Instance, ResourceKind::Ami],
            ResourceKind::Snapshot => &[ResourceKind::Ami],
            ResourceKind::Address | ResourceKind::SpotRequest => &[ResourceKind::Instance],
            ResourceKind::Instance | ResourceKind::Volume | ResourceKind::Interface => &[],
        }
    }

    /// Reads these again, and puts what is so now in the place of what was so.
    async fn refresh(&self, clock: &Clock, survey: &mut Survey, ids: BTreeSet<ResourceId>) {
        let whole: Vec<ResourceKind> = ids.iter().flat_map(|id| Self::hangs_on(id.kind())).copied().collect();
        let wanted = ResourceKind::ALL.into_iter().filter_map(|kind| {
            let these: Vec<ResourceId> = ids.iter().filter(|id| id.kind() == kind).cloned().collect();
            let all = whole.contains(&kind);
            let is_asked = all || !these.is_empty();
            is_asked.then(|| (kind, (!all && !whole_is_less(kind, these.len(), survey)).then_some(these)))
        });
        let wanted: Vec<(ResourceKind, Option<Vec<ResourceId>>)> = wanted.collect();
        let listed = join_all(wanted.iter().map(|(kind, only)| self.list(clock, *kind, only.as_deref()))).await;
        for ((kind, only), listed) in wanted.into_iter().zip(listed) {
            if listed.is_ok() {
                survey.resources.retain(|id, _| id.kind() != kind || (only.is_some() && !ids.contains(id)));
            }
            take_in(survey, kind, listed);
        }
    }

    /// Sends a call until it is answered, a few times at most.
    async fn insist<T, F>(&self, clock: &Clock, action: ApiAction, call: impl Fn() -> F) -> Result<T, CloudError>
    where
        F: Future<Output = Result<T, CloudError>>,
    {
        let (mut pause, mut tries) = (PAUSE, 1);
        loop {
            self.paced(clock, action).await;
            self.count(1);
            let error = match call().await {
                Err(error) if error.kind.leaves_outcome_open() && error.code != TIMEOUT => error,
                answered => return answered,
            };
            if error.kind == FailureKind::Throttled {
                let mut pace = self.pace.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                pace.refused(action, clock.now());
            }
            if tries == TRIES {
                return Err(error);
            }
            clock.sleep_until(clock.now() + pause).await;
            (pause, tries) = (pause * 2, tries + 1);
        }
    }

    /// Marks many at once. EC2 tags all of a call or none: where one that is gone spoils the call, it is found by
    /// halves; where a permission does, each is marked by itself.
    async fn mark(&self, clock: &Clock, kind: LeftoverKind, findings: Vec<Finding>) -> Vec<Deed> {
        let text = mark_text(clock.now(), kind);
        let mut deeds = Vec::new();
        let mut open: Vec<&[Finding]> = findings.chunks(MARKS_AT_ONCE).rev().collect();
        while let Some(some) = open.pop() {
            let marked = self.mark_all(clock, some, &text).await;
            match &marked {
                Err(error) if some.len() > 1 && concerns_one(error.kind) => {
                    let gone = error.kind == FailureKind::NotFound;
                    open.extend(some.chunks(if gone { some.len().div_ceil(2) } else { 1 }).rev());
                }
                _ => {
                    deeds.extend(some.iter().map(|one| Deed { finding: one.clone(), result: or_gone(marked.clone()) }));
                }
            }
        }
        deeds
    }

    async fn mark_all(&self, clock: &Clock, some: &[Finding], text: &str) -> Result<(), CloudError> {
        let ids: Vec<ResourceId> = some.iter().filter_map(Finding::resource).collect();
        self.insist(clock, ApiAction::Tag, || perform::mark(self.cloud.as_ref(), clock, &ids, text)).await
    }

    /// Does what is to be done here, each by itself: what one refusal protects does not protect another.
    pub async fn act(&self, clock: &Clock, findings: Vec<Finding>) -> Vec<Deed> {
        let mut deeds = Vec::new();
        let mut marks: BTreeMap<LeftoverKind, Vec<Finding>> = BTreeMap::new();
        let mut others: Vec<(ResourceId, Finding)> = Vec::new();
        for finding in findings {
            match finding.resource() {
                Some(_) if finding.act == Act::Mark => marks.entry(finding.kind).or_default().push(finding),
                Some(id) => others.push((id, finding)),
                None => {}
            }
        }
        // A snapshot may be free only when its AMI is gone: one kind waits for the one before it.
        for some in others.chunk_by(|(one, _), (next, _)| one.kind() == next.kind()) {
            let calls = some.iter().map(|(id, finding)| async move {
                let call = || perform::take_away(self.cloud.as_ref(), clock, id, finding.act);
                let result = self.insist(clock, ApiAction::End, call).await;
                Deed { finding: finding.clone(), result: or_gone(result) }
            });
            deeds.extend(stream::iter(calls).buffered(ACTS_AT_ONCE).collect::<Vec<_>>().await);
        }
        for (kind, findings) in marks {
            deeds.extend(self.mark(clock, kind, findings).await);
        }
        deeds
    }

    /// Looks until everything that was taken away, and what belonged to it, is gone; tells what stays.
    pub async fn verify(&self, clock: &Clock, deeds: &[Deed], before: &Survey) -> Vec<Stayed> {
        let accepted = deeds.iter().filter(|deed| deed.result.is_ok() && deed.finding.act.takes_away());
        let expected = expectations(accepted.map(|deed| &deed.finding), before);
        if expected.is_empty() {
            return Vec::new();
        }
        let until = clock.now() + VERIFY_LIMIT;
        let (mut pause, mut stayed) = (VERIFY_AFTER, Vec::new());
        if expected.keys().any(|id| id.kind() == ResourceKind::Instance) {
            clock.sleep_until(clock.now() + pause).await;
        }
        // The instances come first: what belongs to them goes only when they have ended.
        for kind in ResourceKind::ALL {
            let mut open = expected.clone();
            open.retain(|id, _| id.kind() == kind);
            let only_parts = open.values().all(|one| matches!(one, Expected::GoneWith(_)));
            let until = if only_parts { until.min(clock.now() + PARTS_LIMIT) } else { until };
            while !open.is_empty() {
                let unmet = self.still_there(clock, kind, &open, before).await;
                open.retain(|id, _| unmet.contains_key(id));
                if clock.now() >= until {
                    stayed.extend(unmet.into_iter().map(|(id, what)| self.stays(&id, what)));
                    break;
                }
                if !open.is_empty() {
                    pause = pause * 2;
                    clock.sleep_until((clock.now() + pause).min(until)).await;
                }
            }
        }
        stayed
    }

    fn stays(&self, id: &ResourceId, what: String) -> Stayed {
        Stayed { id: id.to_string(), region: self.region.clone(), what }
    }

    /// Those of these that are not as they should be, and how they are.
    async fn still_there(
        &self,
        clock: &Clock,
        kind: ResourceKind,
        open: &BTreeMap<ResourceId, Expected>,
        before: &Survey,
    ) -> BTreeMap<ResourceId, String> {
        let ids: Vec<ResourceId> = open.keys().cloned().collect();
        let only = (!whole_is_less(kind, ids.len(), before)).then_some(ids.as_slice());
        match self.list(clock, kind, only).await {
            Ok(found) => {
                let unmet = |(id, is): (ResourceId, Resource)| open.get(&id)?.unmet(&is).map(|what| (id, what));
                found.into_iter().filter_map(unmet).collect()
            }
            Err(error) => {
                let what = format!("whether it is gone could not be seen: {error}");
                ids.into_iter().map(|id| (id, what.clone())).collect()
            }
        }
    }
}

/// Whether it takes fewer calls to read all of a kind than these ids of it. Of the other kinds only what carries a
/// tag is listed whole, which something may have lost meanwhile.
fn whole_is_less(kind: ResourceKind, ids: usize, survey: &Survey) -> bool {
    let listed_whole = matches!(kind, ResourceKind::Instance | ResourceKind::Ami);
    let known = || survey.resources.keys().filter(|id| id.kind() == kind).count();
    listed_whole && ids > IDS_AT_ONCE && known().div_ceil(PAGE) < ids.div_ceil(IDS_AT_ONCE)
}

/// Whether a refusal may be the fault of one resource of many.
fn concerns_one(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::NotFound | FailureKind::Owner | FailureKind::Bug)
}

/// What is gone already is as it was wanted.
fn or_gone(result: Result<(), CloudError>) -> Result<(), CloudError> {
    match result {
        Err(error) if error.kind == FailureKind::NotFound => Ok(()),
        other => other,
    }
}

async fn list<C: Cloud>(
    cloud: &C,
    clock: &Clock,
    kind: ResourceKind,
    only: Option<&[ResourceId]>,
) -> Result<BTreeMap<ResourceId, Resource>, CloudError> {
    let listed = clock.within(LISTING_LIMIT, cloud.resources(kind, only, clock.now())).await;
    listed.unwrap_or_else(|| {
        let message = format!("the listing took longer than {} s", LISTING_LIMIT.as_secs());
        Err(CloudError { kind: FailureKind::Unreachable, code: TIMEOUT.to_owned(), message })
    })
}

/// What was found, or that it could not be seen.
fn take_in(survey: &mut Survey, kind: ResourceKind, listed: Result<BTreeMap<ResourceId, Resource>, CloudError>) {
    match listed {
        Ok(found) => survey.resources.extend(found),
        Err(error) => {
            let failure = Failure::new(Phase::Launch, error.kind, &error.code, &error.message);
            survey.gaps.push(Gap { kind, failure });
        }
    }
}

/// Everything in a region, for whoever has seen to the pace of the calls.
pub(super) async fn survey<C: Cloud>(cloud: &C, clock: &Clock) -> Survey {
    let mut survey = Survey { observed_at: clock.now(), resources: BTreeMap::new(), gaps: Vec::new() };
    let listed = join_all(ResourceKind::ALL.map(|kind| list(cloud, clock, kind, None))).await;
    for (kind, listed) in ResourceKind::ALL.into_iter().zip(listed) {
        take_in(&mut survey, kind, listed);
    }
    survey
}

/// What is to be so after an act.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    /// It was stopped.
    Stopped,
    /// It was taken away.
    Gone,
    /// It belonged to what was taken away.
    GoneWith(String),
}

impl Expected {
    /// What is otherwise.
    fn unmet(&self, is: &Resource) -> Option<String> {
        match (self, is) {
            (Expected::Stopped, Resource::Instance(instance)) => {
                let met = matches!(instance.state, InstanceState::Stopped) || instance.state.is_ending();
                (!met).then(|| format!("it is {}", instance.state))
            }
            (Expected::Gone | Expected::GoneWith(_), Resource::Instance(instance)) => {
                (instance.state != InstanceState::Terminated).then(|| format!("it is {}", instance.state))
            }
            (_, is) if is.is_over() => None,
            (Expected::GoneWith(of), _) => Some(format!("it belonged to {of} and is still there")),
            (Expected::Stopped | Expected::Gone, _) => Some("it is still there".to_owned()),
        }
    }
}

/// Whether a volume carries a fleet's tag, and its manifest does not say that it outlives its instance.
fn is_launched_with(before: &Survey, volume: &str) -> bool {
    let known = volume.parse::<ResourceId>().ok().and_then(|id| before.resources.get(&id));
    known.is_some_and(|known| {
        known.tags().get(tag_keys::FLEET).is_some() && known.tags().get(tag_keys::OUTLIVES).is_none()
    })
}

/// What is to be so after these acts, the parts of terminated instances included.
fn expectations<'a>(findings: impl Iterator<Item = &'a Finding>, before: &Survey) -> BTreeMap<ResourceId, Expected> {
    let mut expected = BTreeMap::new();
    for finding in findings {
        let Some(id) = finding.resource() else { continue };
        let stops = finding.act == Act::Stop;
        if let (false, Some(instance)) = (stops, id.instance().and_then(|id| before.instance(&id))) {
            let parts = &instance.parts;
            // What was launched with it and stays is told; what its owner attached or keeps is none of it.
            let stays = parts.lasting.iter().filter(|id| is_launched_with(before, id));
            let all = parts.volumes.iter().chain(stays).chain(&parts.interfaces).chain(&parts.spot_request);
            let with = all.filter_map(|part| part.parse::<ResourceId>().ok());
            expected.extend(with.map(|part| (part, Expected::GoneWith(id.to_string()))));
        }
        expected.insert(id, if stops { Expected::Stopped } else { Expected::Gone });
    }
    expected
}

/// Looks at all these regions at once; `done` is told of each that has been read.
///
/// # Panics
/// Where one of the looks does.
pub async fn look<C: Cloud + 'static>(
    doors: &[SweepDoor<C>],
    clock: &Clock,
    done: impl Fn(&Region),
) -> BTreeMap<Region, Survey> {
    let mut waiting = doors.iter().cloned();
    // Each is a task of its own: a listing of thousands takes longer to read than to fetch, on one processor.
    let mut looks: JoinSet<(Region, Survey)> = JoinSet::new();
    let mut surveys = BTreeMap::new();
    loop {
        for door in waiting.by_ref().take(REGIONS_AT_ONCE - looks.len()) {
            let clock = clock.clone();
            looks.spawn(async move { (door.region.clone(), door.survey(&clock).await) });
        }
        match looks.join_next().await {
            None => return surveys,
            Some(Ok((region, survey))) => {
                done(&region);
                surveys.insert(region, survey);
            }
            Some(Err(error)) => {
                if let Ok(panic) = error.try_into_panic() {
                    resume_unwind(panic);
                }
            }
        }
    }
}

/// Reads again what is about to be acted on, just before it is.
pub async fn look_again<C: Cloud>(
    doors: &[SweepDoor<C>],
    clock: &Clock,
    surveys: &mut BTreeMap<Region, Survey>,
    findings: &[Finding],
) {
    let looks = surveys.iter_mut().filter_map(|(region, survey)| {
        let door = doors.iter().find(|door| door.region == *region)?;
        let here = findings.iter().filter(|finding| finding.region == *region);
        let ids: BTreeSet<ResourceId> = here.filter_map(Finding::resource).collect();
        (!ids.is_empty()).then(|| door.refresh(clock, survey, ids))
    });
    stream::iter(looks.collect::<Vec<_>>()).for_each_concurrent(REGIONS_AT_ONCE, |look| look).await;
}

/// Does everything that is to be done, and looks whether it is so. Regions do not wait for each other.
pub async fn act<C: Cloud>(
    doors: &[SweepDoor<C>],
    clock: &Clock,
    surveys: &BTreeMap<Region, Survey>,
    findings: &[Finding],
) -> (Vec<Deed>, Vec<Stayed>) {
    let one = |door| act_at(door, clock, surveys, findings);
    let all: Vec<(Vec<Deed>, Vec<Stayed>)> =
        stream::iter(doors).map(one).buffer_unordered(REGIONS_AT_ONCE).collect().await;
    let (deeds, stayed): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    (deeds.into_iter().flatten().collect(), stayed.into_iter().flatten().collect())
}

async fn act_at<C: Cloud>(
    door: &SweepDoor<C>,
    clock: &Clock,
    surveys: &BTreeMap<Region, Survey>,
    findings: &[Finding],
) -> (Vec<Deed>, Vec<Stayed>) {
    let here = |finding: &&Finding| finding.region == door.region && finding.act.calls();
    let deeds = door.act(clock, findings.iter().filter(here).cloned().collect()).await;
    let stayed = match surveys.get(&door.region) {
        Some(before) => door.verify(clock, &deeds, before).await,
        None => Vec::new(),
    };
    (deeds, stayed)
}
