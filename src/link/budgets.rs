//! The interface to budgets.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::{BudgetView, Controller};
use crate::ledger::Ledger;
use crate::plan::budget;

/// Every owner with a budget.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BudgetsAnswer {
    /// The controller's time.
    pub now: DateTime<Utc>,
    /// The budgets, by owner.
    pub budgets: Vec<BudgetView>,
}

pub(super) fn router<L: Ledger + 'static>(controller: Controller<L>) -> Router {
    Router::new().route("/v1/budgets", get(budgets::<L>)).with_state(controller)
}

async fn budgets<L: Ledger + 'static>(State(controller): State<Controller<L>>) -> Json<BudgetsAnswer> {
    Json(BudgetsAnswer { now: controller.now(), budgets: controller.budgets() })
}

/// What of the budgets needs a person's eye, in words.
pub(super) fn warnings<L: Ledger + 'static>(controller: &Controller<L>, budgets: &[BudgetView]) -> Vec<String> {
    let over = budgets.iter().filter_map(|budget| budget.why.as_ref());
    let unpriced = budget::unpriced(&controller.intent());
    let unpriced = unpriced.iter().map(|(owner, image, kind)| budget::unpriced_note(owner, image, kind));
    over.cloned().chain(unpriced).collect()
}
