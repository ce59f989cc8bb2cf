//! A month's budget in the ledger: that an amount was crossed is told once.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Body, Entry, Fleet};

/// One of the two amounts of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetLevel {
    /// From there on the owner is told.
    Soft,
    /// There nothing is launched any more.
    Hard,
}

impl fmt::Display for BudgetLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Soft => "soft",
            Self::Hard => "hard",
        })
    }
}

/// Which amounts of an owner's budget were crossed last: the month, such as `2026-11`, and the amount in
/// micro-dollars.
pub type Crossed = BTreeMap<BudgetLevel, (String, u64)>;

impl Fleet {
    pub(super) fn fold_budgets(&mut self, entry: &Entry) {
        if let Body::BudgetCrossed { owner, month, level, limit, .. } = &entry.body {
            self.budgets.entry(owner.clone()).or_default().insert(*level, (month.clone(), *limit));
        }
    }
}

/// Micro-dollars as dollars and cents, the cents rounded up.
pub(super) fn dollars(micro: u64) -> String {
    let cents = micro.div_ceil(10_000);
    format!("${}.{:02}", cents / 100, cents % 100)
}
