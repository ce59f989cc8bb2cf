//! What the budgeted owner really spends, by the model's own meter: against this the controller is judged.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{Body, Cause, Entry, InstanceId, Market};
use crate::policy::price::{self, Money, Range, Software};
use crate::sim::{Effect, Instance, Site};

/// What an owner may spend in the month of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    /// The hard amount, in micro-dollars.
    pub(super) hard: u64,
    /// Whether builds are ended when it is reached.
    pub(super) stops: bool,
}

impl Allowance {
    /// Half of the seeds have one, so small that it is reached on most of them. Chance is asked aside, so that
    /// everything else of a seed is as it would be without.
    pub(super) fn draw(mut random: fastrand::Rng) -> Option<Self> {
        let drawn = Self { hard: random.u64(150_000..900_000), stops: random.bool() };
        random.bool().then_some(drawn)
    }

    /// Its line of `latent.toml`.
    pub(super) fn line(self) -> String {
        let Self { hard, stops } = self;
        let at_hard = if stops { "stop" } else { "finish" };
        format!(
            "budget = {{ soft = \"0.10\", hard = \"{}.{:06}\", at_hard = \"{at_hard}\" }}",
            hard / 1_000_000,
            hard % 1_000_000
        )
    }
}

/// What this may be wrong by, in micro-dollars: instances of which no ledger can know yet.
const SLACK: u64 = 30_000;

/// The meter of one account.
#[derive(Debug)]
pub(super) struct Purse {
    account: String,
    workers: BTreeSet<String>,
    allowance: Allowance,
    running: BTreeMap<InstanceId, (DateTime<Utc>, Range)>,
    spent: Money,
    /// What a lost ledger knew, and nobody knows any more.
    forgotten: Money,
    /// Whether a second controller has spent of it too.
    shared: bool,
}

impl Purse {
    pub(super) fn new(account: String, workers: BTreeSet<String>, allowance: Allowance) -> Self {
        let (spent, forgotten) = (Money::ZERO, Money::ZERO);
        Self { account, workers, allowance, running: BTreeMap::new(), spent, forgotten, shared: false }
    }

    /// What the instances of the account have cost until now.
    fn spent(&self, now: DateTime<Utc>) -> Money {
        let runs = self.running.values().map(|(since, rate)| cost(*rate, now - *since));
        self.spent + runs.sum::<Money>()
    }

    /// What a controller can know of it.
    fn known(&self, now: DateTime<Utc>) -> u64 {
        self.spent(now).as_micro_dollars().saturating_sub(self.forgotten.as_micro_dollars())
    }

    pub(super) fn saw(&mut self, now: DateTime<Utc>, site: &Site, effect: &Effect) {
        if *site.account != *self.account {
            return;
        }
        match effect {
            Effect::Running(id) => {
                let rate = site
                    .instance(id)
                    .filter(|instance| self.is_ours(instance))
                    .and_then(|instance| rate(site, instance));
                if let Some(rate) = rate {
                    self.running.entry(id.clone()).or_insert((now, rate));
                }
            }
            // It writes its memory to its disk, and is billed until that is done.
            Effect::Stopping(id, _) if site.instance(id).is_some_and(|instance| instance.hibernating) => {}
            Effect::Stopping(id, _) | Effect::Stopped(id) | Effect::Ending(id, _) => {
                if let Some((since, rate)) = self.running.remove(id) {
                    self.spent += cost(rate, now - since);
                }
            }
            _ => {}
        }
    }

    fn is_ours(&self, instance: &Instance) -> bool {
        super::truth::identity(instance).is_some_and(|worker| self.workers.contains(&worker))
    }

    pub(super) fn ledger_lost(&mut self, now: DateTime<Utc>) {
        self.forgotten = self.spent(now);
    }

    pub(super) fn is_shared(&mut self) {
        self.shared = true;
    }

    /// Something is intended that costs: there must be money for it.
    pub(super) fn written(&self, entry: &Entry) -> Option<String> {
        let (Body::LaunchIntended { worker, .. } | Body::StartIntended { worker, .. }) = &entry.body else {
            return None;
        };
        let known = self.known(entry.at);
        let over = known > self.allowance.hard + SLACK && self.workers.contains(worker.as_str()) && !self.shared;
        over.then(|| {
            let [spent, hard] = [known, self.allowance.hard].map(Money::micro_dollars);
            format!("an instance is bought for {worker} when {spent:#} of {hard:#} are spent")
        })
    }

    /// Whether the owner's own word allows that a build is ended.
    pub(super) fn may_end(&self, now: DateTime<Utc>, worker: &str, cause: Option<&Cause>) -> bool {
        let near = self.known(now) + SLACK >= self.allowance.hard / 2;
        cause == Some(&Cause::Budget) && self.allowance.stops && near && self.workers.contains(worker)
    }
}

/// What an instance costs each hour, spot capacity at the most.
fn rate(site: &Site, instance: &Instance) -> Option<Range> {
    let region = site.region.parse().ok()?;
    price::hourly(&instance.params.instance_type, &region, Software::LinuxUnix, Market::OnDemand)
}

fn cost(rate: Range, length: TimeDelta) -> Money {
    price::run(rate, u64::try_from(length.num_seconds()).unwrap_or(0)).high
}
