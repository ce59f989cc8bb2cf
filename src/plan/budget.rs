//! What an owner's month has come to, and what the budget allows: the high bound of every estimate counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, TimeDelta, Utc};

use super::View;
use super::bill::{self, Prices};
use super::meter::{Meter, Run};
use crate::model::{
    BUDGET_EXCEEDED, Body, BudgetLevel, Crossed, Failure, FailureKind, HeldReason, ImageName, InstanceId, Offering,
    OwnerName, PRICE_UNKNOWN, Phase, Place, Region, Sight, Worker, WorkerName, counted,
};
use crate::policy::price::{self, Money, Range, SECONDS_MIN, Software};
use crate::policy::{AtHard, Budget, Image, Intent};

/// What an hour has, in seconds.
const HOUR_S: u64 = 3600;
/// An ended run is not counted anew after this: what its last minute costs is told by then.
const SETTLED_AFTER: TimeDelta = TimeDelta::minutes(2);
/// Between two looks at an amount that is about to be crossed lies so much at least.
const LOOK_MIN: TimeDelta = TimeDelta::seconds(1);

/// A calendar month in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month {
    /// Its first moment.
    pub begins: DateTime<Utc>,
    /// The first moment after it.
    pub ends: DateTime<Utc>,
}

impl Month {
    /// The month of a time.
    pub fn of(at: DateTime<Utc>) -> Self {
        let first = at.date_naive().with_day(1).unwrap_or(NaiveDate::MIN);
        let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        Self {
            begins: midnight(first),
            ends: midnight(first.checked_add_months(Months::new(1)).unwrap_or(NaiveDate::MAX)),
        }
    }

    /// The month before it.
    #[must_use]
    pub fn before(self) -> Self {
        Self::of(self.begins - TimeDelta::days(1))
    }

    /// Its name, such as `2026-11`.
    pub fn name(self) -> String {
        self.begins.format("%Y-%m").to_string()
    }
}

/// What an owner's instances cost in a month until a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// As an estimate.
    pub amount: Range,
    /// Instances that ran and of which no price is known: in the amount they are as with plain software, or not at
    /// all where that has no price either.
    pub unpriced: u32,
    /// Instances of whose disks the sizes are not all known: those disks are not in the amount.
    pub unsized_disks: u32,
}

impl Spent {
    fn add(&mut self, other: Self) {
        self.amount += other.amount;
        self.unpriced += other.unpriced;
        self.unsized_disks += other.unsized_disks;
    }
}

/// Sums of a month that need not be made anew at every look: those of runs that are over.
#[derive(Debug, Clone, Default)]
pub struct Till {
    month: Option<DateTime<Utc>>,
    settled: BTreeMap<OwnerName, Spent>,
    /// The runs in them, by the meter's numbers.
    counted: BTreeSet<u64>,
}

impl Till {
    /// What an owner has spent in the month of `now`, and spends each hour.
    pub fn spent(
        &mut self,
        meter: &Meter,
        owner: &OwnerName,
        now: DateTime<Utc>,
        prices: &Prices<'_>,
    ) -> (Spent, Range) {
        let month = Month::of(now);
        if self.month != Some(month.begins) {
            *self = Self { month: Some(month.begins), ..Self::default() };
        }
        let mut sum = Spent::default();
        let mut rate = Range::ZERO;
        for (number, run) in meter.numbered().filter(|(_, run)| run.cell.owner == *owner) {
            if run.ended.as_ref().is_none_or(|ended| ended.at + SETTLED_AFTER > now) {
                sum.add(spent_on(run, month, now, prices));
                rate += if run.ended.is_none() { bill::rate(run, now, prices).0 } else { Range::ZERO };
            } else if self.counted.insert(number) {
                self.settled.entry(owner.clone()).or_default().add(spent_on(run, month, now, prices));
            }
        }
        sum.add(self.settled.get(owner).copied().unwrap_or_default());
        (sum, rate)
    }
}

fn spent_on(run: &Run, month: Month, now: DateTime<Utc>, prices: &Prices<'_>) -> Spent {
    if !run.touches(month.begins, month.ends) {
        return Spent::default();
    }
    let bill = bill::of(run, month.begins, month.ends, now, prices);
    Spent {
        amount: bill.counted(),
        unpriced: u32::from(bill.unpriced.is_some()),
        unsized_disks: u32::from(bill.unsized_disks.is_some()),
    }
}

/// How an owner stands against the budget of the month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// Who.
    pub owner: OwnerName,
    /// When.
    pub now: DateTime<Utc>,
    /// The month.
    pub month: Month,
    /// The budget.
    pub budget: Budget,
    /// What was spent since the month began, with what runs.
    pub spent: Spent,
    /// What is spent each hour now.
    pub rate: Range,
    /// What a launch is priced by.
    pub prices: Arc<price::Prices>,
}

impl Balance {
    /// The soft amount, if there is one.
    pub fn soft(&self) -> Option<Money> {
        self.budget.soft.map(Money::micro_dollars)
    }

    /// The hard amount, if there is one.
    pub fn hard(&self) -> Option<Money> {
        self.budget.hard.map(Money::micro_dollars)
    }

    /// Whether an amount is reached: the high bound counts.
    fn reached(&self, amount: Option<Money>) -> bool {
        amount.is_some_and(|amount| self.spent.amount.high >= amount)
    }

    /// Whether the owner is to be told.
    pub fn is_over_soft(&self) -> bool {
        self.reached(self.soft())
    }

    /// Whether nothing may be launched.
    pub fn is_over_hard(&self) -> bool {
        self.reached(self.hard())
    }

    /// Whether even builds are ended.
    pub fn stops_builds(&self) -> bool {
        self.is_over_hard() && self.budget.at_hard == AtHard::Stop
    }

    /// What the month comes to if it goes on as now.
    pub fn projected(&self) -> Range {
        let left = u64::try_from((self.month.ends - self.now).num_seconds()).unwrap_or(0);
        self.spent.amount + self.rate.share(left, HOUR_S)
    }

    /// When an amount is crossed if it goes on as now, or the month is over, whichever comes first.
    pub fn next_look(&self) -> DateTime<Utc> {
        let rate = self.rate.high.as_micro_dollars();
        let crossing = |amount: Money| {
            let left = amount.as_micro_dollars().checked_sub(self.spent.amount.high.as_micro_dollars())?;
            let seconds = (u128::from(left) * u128::from(HOUR_S)).checked_div(u128::from(rate))?;
            let at = self.now.checked_add_signed(TimeDelta::try_seconds(i64::try_from(seconds).ok()?)?)?;
            (left > 0).then(|| at.max(self.now + LOOK_MIN))
        };
        let amounts = [self.soft(), self.hard()].into_iter().flatten();
        amounts.filter_map(crossing).chain([self.month.ends]).min().unwrap_or(self.month.ends)
    }

    /// The answer to whoever wants an instance.
    fn exceeded(&self, message: &str) -> Failure {
        let key = format!("owner.{}.budget.hard", self.owner);
        let until = self.month.ends.format("%Y-%m-%d %H:%MZ");
        let text = format!("{message}; nothing is launched before {until} unless {key} is raised");
        Failure::new(Phase::Launch, FailureKind::Owner, BUDGET_EXCEEDED, &text)
    }

    /// Why nothing may be launched for the owner at all, if so.
    pub fn refusal(&self) -> Option<Failure> {
        let hard = self.hard().filter(|_| self.is_over_hard())?;
        let (month, spent) = (self.month.name(), self.spent.amount.high);
        Some(self.exceeded(&format!(
            "{}'s machines have cost up to {spent} in {month}, and the hard budget is {hard:#}",
            self.owner
        )))
    }

    /// Why nothing more may be bought while the amount is not reached: nobody knows whether it is.
    fn blind(&self) -> Option<Failure> {
        let unpriced = self.spent.unpriced;
        if self.budget.hard.is_none() || self.budget.allow_unpriced || unpriced == 0 {
            return None;
        }
        let (owner, month, until) = (&self.owner, self.month.name(), self.month.ends.format("%Y-%m-%d %H:%MZ"));
        let message = format!(
            "{} of {owner}'s in {month} ran without a known price, and {owner} has a hard budget: unknown is not \
             nothing; nothing is launched before {until} unless `latent prices update` finds the price (of software \
             with a paid licence, such as RHEL, it does not) or unpriced = \"allow\" is written in \
             owner.{owner}.budget",
            counted(unpriced, "instance"),
        );
        Some(Failure::new(Phase::Launch, FailureKind::Owner, PRICE_UNKNOWN, &message))
    }

    /// Why no instance is bought, whatever it costs: the amount is reached, or nobody knows whether it is.
    pub fn buys_nothing(&self) -> Option<Failure> {
        self.refusal().or_else(|| self.blind())
    }

    /// Why something of which no price is known is not bought, if it is not.
    fn unknown(&self, what: &str, region: &Region) -> Option<Failure> {
        if self.budget.hard.is_none() || self.budget.allow_unpriced {
            return None;
        }
        let message = format!(
            "the price of {what} in {region} is not known, and {} has a hard budget: unknown is not nothing",
            self.owner
        );
        Some(Failure::new(Phase::Launch, FailureKind::Owner, PRICE_UNKNOWN, &message))
    }

    /// Whether the first minute of this may be bought, with `committed` spent already in this round: what it
    /// costs, or the answer.
    ///
    /// # Errors
    /// Why not: the budget, or nobody knows its price.
    pub fn may_buy(
        &self,
        image: &Image,
        region: &Region,
        offering: &Offering,
        committed: Money,
    ) -> Result<Money, Failure> {
        let Some(hard) = self.hard() else { return Ok(Money::ZERO) };
        if let Some(refusal) = self.buys_nothing() {
            return Err(refusal);
        }
        let Some(least) = first_minute(image, region, offering, &self.prices) else {
            return self.unknown(&offering.instance_type, region).map_or(Ok(Money::ZERO), Err);
        };
        let spent = self.spent.amount.high + committed;
        if spent + least > hard {
            let (month, kind) = (self.month.name(), &offering.instance_type);
            return Err(self.exceeded(&format!(
                "{}'s machines have cost up to {spent:#} in {month}, and the first minute of {kind} ({least:#}) would \
                 pass the hard budget of {hard:#}",
                self.owner
            )));
        }
        Ok(least)
    }

    /// Why a worker of the owner is left alone while nothing may be launched.
    pub(super) fn held(&self) -> Option<HeldReason> {
        let limit = self.budget.hard.filter(|_| self.is_over_hard())?;
        Some(HeldReason::OverBudget { limit, until: self.month.ends })
    }

    /// The amounts that are reached and were not told of in this month.
    pub fn crossed(&self, told: Option<&Crossed>) -> Vec<Body> {
        let month = self.month.name();
        let levels = [(BudgetLevel::Soft, self.budget.soft), (BudgetLevel::Hard, self.budget.hard)];
        let reached = levels.into_iter().filter_map(|(level, limit)| Some((level, limit?)));
        let reached = reached.filter(|(_, limit)| self.reached(Some(Money::micro_dollars(*limit))));
        let is_new = |(level, limit): &(BudgetLevel, u64)| {
            told.and_then(|told| told.get(level)).is_none_or(|(of, amount)| *of != month || amount != limit)
        };
        let spent = self.spent.amount.high.as_micro_dollars();
        let entry = |(level, limit)| Body::BudgetCrossed {
            owner: self.owner.clone(),
            month: month.clone(),
            level,
            limit,
            spent,
        };
        reached.filter(is_new).map(entry).collect()
    }
}

/// What the first minute of an instance costs at the most; absent where no price is known.
fn first_minute(image: &Image, region: &Region, offering: &Offering, prices: &price::Prices) -> Option<Money> {
    let software = Software::of(image.platform)?;
    let hourly = prices.hourly(&offering.instance_type, region, software, offering.market)?;
    Some(price::run(hourly + price::address_hour(), SECONDS_MIN).high)
}

/// Instance types under a hard budget of which no price is known: owner, manifest, type.
pub fn unpriced(intent: &Intent) -> Vec<(OwnerName, ImageName, String)> {
    let mut found = BTreeSet::new();
    for worker in intent.workers.values() {
        let budget = intent.owners.get(&worker.cell.owner).and_then(|owner| owner.budget);
        let counts = budget.is_some_and(|budget| budget.hard.is_some() && !budget.allow_unpriced);
        let Some(image) = intent.images.get(&worker.image).filter(|_| counts) else { continue };
        let unknown = image
            .offerings
            .iter()
            .filter(|one| first_minute(image, &worker.cell.region, one, &intent.prices).is_none());
        let owner = &worker.cell.owner;
        found.extend(unknown.map(|one| (owner.clone(), worker.image.clone(), one.instance_type.clone())));
    }
    found.into_iter().collect()
}

/// A line about such a type: what comes of it, and what to do.
pub fn unpriced_note(owner: &OwnerName, image: &ImageName, instance_type: &str) -> String {
    format!(
        "amis/{image}.toml: the price of {instance_type} is not known, and {owner} has a hard budget: it is never \
         launched; ask the list with `latent prices update`, choose another type, or write unpriced = \"allow\" in owner.{owner}.budget, and what it costs is \
         not in the budget then"
    )
}

/// What was crossed and is not in the ledger yet.
pub(super) fn facts(view: &View<'_>) -> Vec<Body> {
    view.budget.map(|standing| standing.crossed(view.fleet.budgets.get(&standing.owner))).unwrap_or_default()
}

/// The answer to a request while nothing may be launched for its owner.
pub(super) fn refusal(view: &View<'_>) -> Option<Failure> {
    view.budget.and_then(Balance::refusal)
}

/// Why nothing at all is bought for the owner, if so: a start of a stopped instance neither.
pub(super) fn buys_nothing(view: &View<'_>) -> Option<Failure> {
    view.budget.and_then(Balance::buys_nothing)
}

/// Whether nothing may be launched for the owner.
pub(super) fn is_over(view: &View<'_>) -> bool {
    view.budget.is_some_and(Balance::is_over_hard)
}

/// Whether even builds are ended.
pub(super) fn stops_builds(view: &View<'_>) -> bool {
    view.budget.is_some_and(Balance::stops_builds)
}

/// Why a worker without an instance, or with a stopped one, stays so.
pub(super) fn held(view: &View<'_>) -> Option<HeldReason> {
    view.budget.and_then(Balance::held)
}

/// The answer to a request that may not buy this, if it may not.
pub(super) fn may_not_buy(view: &View<'_>, image: &Image, offering: &Offering, committed: Money) -> Option<Failure> {
    view.budget.and_then(|standing| standing.may_buy(image, &view.cell.region, offering, committed).err())
}

/// What a stopped instance is started as: what it was launched as or, of one that was taken over by its tags, what
/// the listing shows.
fn started_as(view: &View<'_>, worker: &Worker, instance: &InstanceId) -> Option<Offering> {
    if let Some(spec) = worker.attempt.as_ref().and_then(|attempt| attempt.spec.as_ref()) {
        return Some(spec.offering.clone());
    }
    let seen = Sight::of(view.inventory?.instances.get(instance)?);
    // Where in the region it is does not change its price.
    Some(Offering { instance_type: seen.instance_type?, place: Place::Anywhere, market: seen.market? })
}

/// The answer to a request that may not start a stopped instance, if it may not.
pub(super) fn may_not_start(
    view: &View<'_>,
    worker: &Worker,
    instance: &InstanceId,
    image: &Image,
    committed: Money,
) -> Option<Failure> {
    let Some(offering) = started_as(view, worker, instance) else {
        let balance = view.budget?;
        return balance.buys_nothing().or_else(|| balance.unknown(&format!("stopped {instance}"), &view.cell.region));
    };
    may_not_buy(view, image, &offering, committed)
}

/// What a launch commits the owner to.
pub(super) fn commits(view: &View<'_>, worker: &WorkerName, offering: &Offering) -> Money {
    let image = view.intent.workers.get(worker).and_then(|worker| view.intent.images.get(&worker.image));
    image.and_then(|image| first_minute(image, &view.cell.region, offering, &view.intent.prices)).unwrap_or_default()
}

/// What a start of a stopped instance commits the owner to.
pub(super) fn commits_by_start(view: &View<'_>, name: &WorkerName, worker: &Worker, instance: &InstanceId) -> Money {
    started_as(view, worker, instance).map_or(Money::ZERO, |offering| commits(view, name, &offering))
}
