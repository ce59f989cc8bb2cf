//! What an owner, or a worker, has spent in a window, and spends now.

use chrono::{DateTime, Utc};

use super::{Meter, Run};
use crate::model::{OwnerName, WorkerName};
use crate::plan::bill::{self, Prices};
use crate::policy::price::Range;

/// What was spent in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spend {
    /// What is known of it, as an estimate.
    pub amount: Range,
    /// Instances that are not, or not wholly, in the amount, because a price or a size is not known.
    pub unpriced: u32,
}

impl Meter {
    /// What an owner's instances cost from `from` until `to`, as far as prices are known: what lives is
    /// counted until `now`, and its disks with it. See [`Meter::spend_told`] for what is not known.
    pub fn spend(
        &self,
        owner: &OwnerName,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        now: DateTime<Utc>,
        prices: &Prices<'_>,
    ) -> Range {
        self.spend_told(owner, from, to, now, prices).amount
    }

    /// The same, with the number of instances of which the price is not known.
    pub fn spend_told(
        &self,
        owner: &OwnerName,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        now: DateTime<Utc>,
        prices: &Prices<'_>,
    ) -> Spend {
        sum(self.runs().filter(|run| run.cell.owner == *owner), from, to, now, prices)
    }

    /// What a worker's instances cost from `from` until `to`.
    pub fn spend_of_worker(
        &self,
        worker: &WorkerName,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        now: DateTime<Utc>,
        prices: &Prices<'_>,
    ) -> Range {
        sum(self.runs_of(worker), from, to, now, prices).amount
    }

    /// What an owner's instances cost each hour as they are at `now`: those that run, or may, and the disks of
    /// all that are there. What has no price counts as it does in a budget.
    pub fn rate(&self, owner: &OwnerName, now: DateTime<Utc>, prices: &Prices<'_>) -> Spend {
        let mut spend = Spend::default();
        for run in self.runs().filter(|run| run.cell.owner == *owner && run.ended.is_none()) {
            let (rate, known) = bill::rate(run, now, prices);
            spend.amount += rate;
            spend.unpriced += u32::from(!known);
        }
        spend
    }
}

fn sum<'a>(
    runs: impl Iterator<Item = &'a Run>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    now: DateTime<Utc>,
    prices: &Prices<'_>,
) -> Spend {
    let mut spend = Spend::default();
    for run in runs.filter(|run| run.touches(from, to)) {
        let bill = bill::of(run, from, to, now, prices);
        spend.amount += bill.cost.total();
        spend.unpriced += u32::from(!bill.is_whole());
    }
    spend
}
