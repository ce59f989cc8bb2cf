//! What a person sees of budgets and of what today has cost.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::book::Book;
use super::shared::Shared;
use crate::ledger::Ledger;
use crate::model::{Cell, WorkerName};
use crate::plan::bill::{self, Prices};
use crate::plan::budget::{Balance, Month};
use crate::plan::meter::Run;
use crate::policy::Intent;
use crate::policy::price::{Money, Range};

/// How an owner's month stands against the budget. Amounts are micro-dollars at the list price; the high bound is
/// what counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetView {
    /// Who.
    pub owner: String,
    /// The month, such as `2026-11`.
    pub month: String,
    /// `open`, `soft` from the soft amount on, `hard` from the hard amount on.
    pub state: String,
    /// From which amount on the owner is told.
    pub soft: Option<Money>,
    /// At which amount nothing is launched any more.
    pub hard: Option<Money>,
    /// What becomes of builds then: `finish` or `stop`.
    pub at_hard: String,
    /// Whether types without a known price may be launched under a hard amount.
    pub allow_unpriced: bool,
    /// What was spent since the month began, with what runs now.
    pub spent: Range,
    /// What the month comes to if it goes on as now.
    pub projected: Range,
    /// What is spent each hour now.
    pub rate: Range,
    /// Instances of the month of which no price is known: in `spent` they are as with plain software, or not at all
    /// where that has no price either.
    pub unpriced: u32,
    /// Instances of the month of whose disks not all sizes are known: those disks are not in `spent`.
    pub unsized_disks: u32,
    /// When the month is over, and it goes on by itself.
    pub until: DateTime<Utc>,
    /// Why nothing is launched, if so, and what to do.
    pub why: Option<String>,
}

impl From<&Balance> for BudgetView {
    fn from(balance: &Balance) -> Self {
        let state = match () {
            () if balance.is_over_hard() => "hard",
            () if balance.is_over_soft() => "soft",
            () => "open",
        };
        Self {
            owner: balance.owner.to_string(),
            month: balance.month.name(),
            state: state.to_owned(),
            soft: balance.soft(),
            hard: balance.hard(),
            at_hard: balance.budget.at_hard.word().to_owned(),
            allow_unpriced: balance.budget.allow_unpriced,
            spent: balance.spent.amount,
            projected: balance.projected(),
            rate: balance.rate,
            unpriced: balance.spent.unpriced,
            unsized_disks: balance.spent.unsized_disks,
            until: balance.month.ends,
            why: balance.buys_nothing().map(|failure| failure.message),
        }
    }
}

impl BudgetView {
    /// Whether nothing is launched although the hard amount is not reached: nobody knows whether it is.
    pub fn is_blind(&self) -> bool {
        self.state != "hard" && self.why.is_some()
    }
}

/// Every owner with a budget.
pub(super) fn all<L: Ledger>(shared: &Shared<L>, now: DateTime<Utc>) -> Vec<BudgetView> {
    let intent = shared.intent();
    let mut book = shared.book();
    let balances = intent.owners.keys().filter_map(|owner| book.balance(&intent, owner, now));
    balances.map(|balance| BudgetView::from(&balance)).collect()
}

/// What something cost in a window until now; absent where the price of an instance is not known. Disks whose size
/// is not known are not in it.
fn cost<'a>(
    runs: impl Iterator<Item = &'a Run>,
    from: DateTime<Utc>,
    now: DateTime<Utc>,
    prices: &Prices<'_>,
) -> Option<Range> {
    let mut sum = Range::ZERO;
    for run in runs.filter(|run| run.touches(from, now)) {
        let bill = bill::of(run, from, now, now, prices);
        if bill.unpriced.is_some() {
            return None;
        }
        sum += bill.cost.total();
    }
    Some(sum)
}

fn midnight(now: DateTime<Utc>) -> DateTime<Utc> {
    now.date_naive().and_time(NaiveTime::MIN).and_utc()
}

/// What each of these workers has cost since midnight (UTC); those of which a price is not known are left out.
pub(super) fn today<'a, L: Ledger>(
    book: &Book<L>,
    intent: &Intent,
    names: impl Iterator<Item = &'a WorkerName>,
    now: DateTime<Utc>,
) -> BTreeMap<WorkerName, Range> {
    let prices = Prices::of(intent);
    let from = midnight(now);
    let of = |name: &WorkerName| Some((name.clone(), cost(book.meter().runs_of(name), from, now, &prices)?));
    names.filter_map(of).collect()
}

/// What a cell has cost since midnight and since the month began (UTC).
pub(super) fn of_cell<L: Ledger>(
    book: &Book<L>,
    intent: &Intent,
    cell: &Cell,
    now: DateTime<Utc>,
) -> (Option<Range>, Option<Range>) {
    let prices = Prices::of(intent);
    let own = || book.meter().runs().filter(|run| run.cell == *cell);
    let since = |from| cost(own(), from, now, &prices);
    (since(midnight(now)), since(Month::of(now).begins))
}
