//! What must hold at any time, looked at once a minute.

use chrono::{DateTime, TimeDelta, Utc};

use super::canary::OVER_WITHIN;
use super::life::lock;
use super::master::Session;
use super::play::Play;
use super::truth::{Known, LIFETIME};
use crate::model::{InstanceId, WorkerName};
use crate::sim::SiteId;

/// So many minutes in which everything works may pass until a request is answered: `launch_deadline`
/// and `connect_deadline` of the policy, and the time to tell.
const ANSWERED_WITHIN: u32 = 30;
/// So many minutes in which everything works may something stand that nobody wants.
const GONE_WITHIN: u32 = 45;
/// A controller that has just been started needs so long to see everything.
const SETTLED: TimeDelta = TimeDelta::minutes(5);

impl Play {
    pub(super) fn minute(&mut self) {
        let now = self.now();
        if self.works_since().is_none_or(|since| now < since + SETTLED) {
            return;
        }
        lock(&self.truth).all_are_listed(now);
        self.canaries_are_proven(now);
        self.requests_are_answered(now);
        self.nothing_unwanted_stands(now);
    }

    /// Whether the owner's account lets the controller do its work.
    fn in_order(&self, site: &SiteId, now: DateTime<Utc>) -> bool {
        lock(&self.world).site(site).in_order(now)
    }

    fn requests_are_answered(&mut self, now: DateTime<Utc>) {
        let waiting: Vec<WorkerName> = self
            .master
            .desks
            .iter()
            .filter(|(_, desk)| matches!(desk.session, Session::Waiting { .. }))
            .map(|(name, _)| name.clone())
            .collect();
        for worker in waiting {
            if self.site_of(&worker).is_none_or(|site| !self.in_order(&site, now)) {
                continue;
            }
            let Some(desk) = self.master.desks.get_mut(&worker) else { continue };
            let Session::Waiting { minutes } = &mut desk.session else { continue };
            *minutes += 1;
            if *minutes > ANSWERED_WITHIN {
                let what = format!("{worker} waits for {minutes} minutes in which everything worked");
                lock(&self.truth).violated(5, now, what);
            }
        }
    }

    fn site_of(&self, worker: &WorkerName) -> Option<SiteId> {
        let cell = &self.intent.workers.get(worker)?.cell;
        let account = self.intent.owners.get(&cell.owner)?.account.as_deref()?;
        Some(SiteId::new(account, cell.region.as_str()))
    }

    fn nothing_unwanted_stands(&mut self, now: DateTime<Utc>) {
        let standing: Vec<(InstanceId, Known)> =
            lock(&self.truth).standing.iter().map(|(id, known)| (id.clone(), known.clone())).collect();
        for (id, known) in standing {
            let pooled = !known.up && !known.canary && self.keeps_stopped(&known.worker);
            let old = now > known.born + LIFETIME;
            let held = self.is_held(&known.worker, now);
            // A canary is wanted for as long as it may take; one of which no record is left by nobody.
            let proves = known.canary && !known.survived_a_loss && now < known.born + OVER_WITHIN;
            let warm = known.up && self.is_warm(&known.worker, now);
            let wanted = self.master.uses(&known.worker, &id, now) || pooled || held || proves || warm;
            let excused = known.unknowable() || !self.in_order(&known.site, now);
            // Another instance of the worker that is waited for does not make this one wanted for ever.
            let minutes = match (wanted && !old, excused) {
                (true, _) if self.master.has_open(&known.worker, &id) || pooled || held || proves || warm => 0,
                (true, _) | (false, true) => known.unwanted,
                (false, false) => known.unwanted + 1,
            };
            let mut truth = lock(&self.truth);
            if let Some(known) = truth.standing.get_mut(&id) {
                known.unwanted = minutes;
            }
            if minutes > GONE_WITHIN {
                let invariant = if known.survived_a_loss { 11 } else { 6 };
                let what = format!("{id} of {} stands for {minutes} minutes, and nobody wants it", known.worker);
                truth.violated(invariant, now, what);
            }
        }
    }

    /// Whether a window of its policy is open.
    fn is_warm(&self, worker: &str, now: DateTime<Utc>) -> bool {
        let Ok(worker) = worker.parse::<WorkerName>() else { return false };
        self.intent.workers.get(&worker).is_some_and(|w| w.policy.warm_at(now).is_some())
    }

    fn is_held(&self, worker: &str, now: DateTime<Utc>) -> bool {
        let Ok(worker) = worker.parse::<WorkerName>() else { return false };
        lock(&self.truth).holds.until(&worker).is_some_and(|until| until > now)
    }

    fn keeps_stopped(&self, worker: &str) -> bool {
        let Ok(worker) = worker.parse::<WorkerName>() else { return false };
        self.intent.workers.get(&worker).is_some_and(|w| w.policy.on_idle.keeps_instance())
    }
}
