//! The controller's own sweep of a cell: now and then it looks at everything that costs beside its
//! instances, by the rules of [`crate::plan::sweep`], and takes away what is its own and left over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::sweep::survey;
use super::{Clock, pace::Pace};
use crate::cloud::Cloud;
use crate::control::pace::ApiAction;
use crate::model::{Action, Cell, Fleet, Region, ResourceId, ResourceKind, Survey};
use crate::plan::sweep::{Act, Caps, ControllerKey, Finding, Stated, SweepPlan, SweepView, claims, sweep};
use crate::policy::Intent;

/// The first sweep of a life follows its start by so much, and up to twice that.
const FIRST: TimeDelta = TimeDelta::seconds(60);

/// What EC2 refused to take away is asked for again after so long.
const REFUSED_PAUSE: TimeDelta = TimeDelta::hours(6);

/// When to look, what was seen earlier, and what the last look came to.
#[derive(Debug)]
pub(super) struct Sweeper {
    next: DateTime<Utc>,
    looking: bool,
    seen: Option<Survey>,
    /// Since when each leftover is seen by every look; lost at a restart, and then simply begun anew.
    first_seen: BTreeMap<ResourceId, DateTime<Utc>>,
    /// When EC2 would not let these be taken away.
    refused: BTreeMap<ResourceId, DateTime<Utc>>,
    last: Option<Arc<SweepPlan>>,
}

impl Sweeper {
    pub(super) fn begun(now: DateTime<Utc>, random: &mut fastrand::Rng) -> Self {
        let next = now + FIRST + jitter(FIRST, random);
        let (first_seen, refused) = (BTreeMap::new(), BTreeMap::new());
        Self { next, looking: false, seen: None, first_seen, refused, last: None }
    }

    /// What the last look came to.
    pub(super) fn last(&self) -> Option<Arc<SweepPlan>> {
        self.last.clone()
    }

    /// When there is something to do next.
    pub(super) fn due(&self) -> Option<DateTime<Utc>> {
        (!self.looking).then_some(self.next)
    }

    /// Begins a look, if it is time for one and there are calls to spare.
    pub(super) fn look_if_due<C: Cloud + 'static>(
        &mut self,
        now: DateTime<Utc>,
        pace: &mut Pace,
        cloud: &Arc<C>,
        clock: &Clock,
    ) -> Option<impl Future<Output = Survey> + Send + use<C>> {
        if self.looking || now < self.next {
            return None;
        }
        for _ in ResourceKind::ALL {
            if let Err(at) = pace.take_spare(ApiAction::Describe, now) {
                self.next = at;
                return None;
            }
        }
        self.looking = true;
        let (cloud, clock) = (Arc::clone(cloud), clock.clone());
        Some(async move { survey(cloud.as_ref(), &clock).await })
    }

    /// A look has ended.
    pub(super) fn looked(&mut self, survey: Survey, period: TimeDelta, random: &mut fastrand::Rng) {
        self.looking = false;
        self.next = survey.observed_at + period + jitter(period / 8, random);
        self.seen = Some(survey);
    }

    /// EC2 will not let it be taken away, for want of a permission say: that is not asked for at every look.
    pub(super) fn refused(&mut self, resource: &ResourceId, now: DateTime<Utc>) {
        self.refused.insert(resource.clone(), now);
    }

    /// What is to be done about what the last look showed; nothing if that was decided already. The
    /// record is read after the look: what the cloud shows was intended before. `account` is the number of the
    /// account that was looked at.
    pub(super) fn decide(
        &mut self,
        now: DateTime<Utc>,
        cell: &Cell,
        account: &str,
        intent: &Intent,
        fleet: &Fleet,
    ) -> Vec<Action> {
        let Some(survey) = self.seen.take() else { return Vec::new() };
        let plan = self.plan(now, cell, account, intent, fleet, survey);
        let resources: BTreeSet<ResourceId> = plan.findings.iter().filter_map(Finding::resource).collect();
        self.first_seen.retain(|id, _| resources.contains(id));
        for id in resources {
            self.first_seen.entry(id).or_insert(now);
        }
        if plan.findings.iter().any(|finding| matches!(finding.act, Act::Mark | Act::Wait)) {
            self.next = self.next.min(now + intent.sweep.second_look);
        }
        if let Some(guard) = &plan.refused {
            tracing::warn!(%cell, "the sweep does nothing: {guard}");
        }
        let acts = plan.findings.iter().filter(|finding| finding.act == Act::Terminate && plan.refused.is_none());
        self.refused.retain(|_, at| now - *at < REFUSED_PAUSE);
        let removals = acts.filter_map(|finding| {
            let resource = finding.resource().filter(|id| id.kind() != ResourceKind::Instance)?;
            if self.refused.contains_key(&resource) {
                return None;
            }
            Some(Action::Remove { resource, kind: finding.kind })
        });
        let removals = removals.collect();
        self.last = Some(Arc::new(plan));
        removals
    }

    fn plan(
        &self,
        now: DateTime<Utc>,
        cell: &Cell,
        account: &str,
        intent: &Intent,
        fleet: &Fleet,
        survey: Survey,
    ) -> SweepPlan {
        let policy = &intent.sweep;
        let caps =
            Caps { free: policy.acts_free, max: policy.acts_max, percent: policy.acts_percent, state_lost: false };
        let surveys: BTreeMap<Region, Survey> = BTreeMap::from([(cell.region.clone(), survey)]);
        let me = ControllerKey::new(&intent.fleet.name, &intent.fleet.controller);
        let known = BTreeMap::from([(me, claims(fleet, intent))]);
        let images = intent.images.values().filter(|image| image.owner == cell.owner);
        sweep(&SweepView {
            now,
            policy,
            caps,
            account,
            fleet: Some(&intent.fleet.name),
            me: Some(&intent.fleet.controller),
            surveys: &surveys,
            claims: &known,
            own_amis: &images.clone().filter_map(|image| image.ami.named().cloned()).collect(),
            stated: &Stated::of(images),
            named: &BTreeSet::new(),
            first_seen: &self.first_seen,
            prices: &intent.prices,
        })
    }
}

/// Cells that began together do not stay together.
fn jitter(most: TimeDelta, random: &mut fastrand::Rng) -> TimeDelta {
    TimeDelta::milliseconds(random.i64(0..=most.num_milliseconds().max(0)))
}
