//! How the calendar month stands against the owner's budget, as the controller reckons it.

use std::sync::Arc;

use crate::audit::evidence::Evidence;
use crate::audit::report::BudgetLine;
use crate::plan::bill::Prices;
use crate::plan::budget::{Balance, Month, Till};
use crate::plan::meter::Meter;

/// The month in which the report ends; absent without a budget, or where no ledger tells of the owner's machines.
///
/// The controller holds launches by its own sum, which knows no history of spot prices and no disks that only an
/// AMI names: so the same sum is told, though the report prices the same instances more closely.
pub(super) fn budget(evidence: &Evidence<'_>, meter: &Meter) -> Option<BudgetLine> {
    let intent = evidence.intent?;
    let budget = intent.owners.get(evidence.owner)?.budget?;
    evidence.ledger.as_ref().ok()?;
    let list = evidence.list_prices();
    let prices = Prices { list: Some(&list), ..Prices::of(intent) };
    let (spent, rate) = Till::default().spent(meter, evidence.owner, evidence.until, &prices);
    let (owner, now) = (evidence.owner.clone(), evidence.until);
    let balance = Balance { owner, now, month: Month::of(now), budget, spent, rate, prices: Arc::new(list.clone()) };
    Some(BudgetLine {
        month: balance.month.name(),
        soft: balance.soft(),
        hard: balance.hard(),
        spent: balance.spent.amount,
        projected: balance.projected(),
    })
}
