//! What scripts ask beside the status: the last day, and whether the controller does its work.

use std::sync::Arc;

use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::explained::paragraph;
use super::messages::{EventView, WorkerDayAnswer};
use super::server::{Answer, App, Failed, Shared, name, view};
use crate::control::HealthView;
use crate::ledger::Ledger;
use crate::model::WorkerName;
use crate::plan::day::DayView;

pub(super) fn router<L: Ledger + 'static>() -> Router<Arc<App<L>>> {
    Router::new()
        .route("/v1/day", get(day::<L>))
        .route("/v1/workers/{worker}/day", get(worker_day::<L>))
        .route("/v1/health", get(health::<L>))
}

/// What a supervisor asks, without a word of the interface.
pub(super) fn probes<L: Ledger + 'static>() -> Router<Arc<App<L>>> {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready::<L>))
}

/// The process answers.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// 200 with all that is known, or 503 with the reasons.
async fn ready<L: Ledger + 'static>(State(app): Shared<L>) -> Response {
    let health = app.controller.health();
    (ready_status(&health), Json(health)).into_response()
}

pub(super) fn ready_status(health: &HealthView) -> StatusCode {
    if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn health<L: Ledger + 'static>(State(app): Shared<L>) -> Json<HealthView> {
    Json(app.controller.health())
}

async fn day<L: Ledger + 'static>(State(app): Shared<L>) -> Json<DayView> {
    Json(app.controller.day())
}

async fn worker_day<L: Ledger + 'static>(
    State(app): Shared<L>,
    UrlPath(worker): UrlPath<String>,
) -> Answer<WorkerDayAnswer> {
    Ok(Json(day_of(&app, &name(&worker)?)?))
}

/// One worker: what holds, its last day, and its last entries.
pub(super) fn day_of<L: Ledger + 'static>(app: &App<L>, worker: &WorkerName) -> Result<WorkerDayAnswer, Failed> {
    let view = view(app, worker)?;
    let (day, entries) = app.controller.day_of(worker)?;
    let now = app.controller.now();
    let explained = paragraph(now, &view);
    Ok(WorkerDayAnswer { now, worker: view, explained, day, events: entries.iter().map(EventView::from).collect() })
}
