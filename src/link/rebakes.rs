//! The part of the interface that is about rebakes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::messages::{ErrorBody, FailureCode};
use super::server::{Answer, Failed, WAIT_MAX, bad};
use crate::control::{RebakeAsk, RebakeDesk, RebakeEventView, RebakeRefusal, RebakeView, StepView};
use crate::model::{ImageName, RebakeId};

/// The rebakes of a controller, for its interface.
pub type Desk = Arc<dyn RebakeDesk>;

/// The answer to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RebakeOrdered {
    /// The rebake as it begins, or would.
    pub rebake: RebakeView,
    /// Its steps.
    pub steps: Vec<StepView>,
    /// Whether it was only told.
    pub dry_run: bool,
    /// What its builder may be launched as, in words, the first choice first.
    pub launches: Vec<String>,
}

/// All rebakes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RebakeList {
    /// The oldest first.
    pub rebakes: Vec<RebakeView>,
}

/// One rebake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RebakeAnswer {
    /// Where it stands.
    pub rebake: RebakeView,
    /// Its steps.
    pub steps: Vec<StepView>,
    /// Its journal's entries after the place that was asked for.
    pub events: Vec<RebakeEventView>,
}

/// The answer to a roll-back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolledBack {
    /// The image.
    pub image: ImageName,
    /// The AMI that it named.
    pub from: String,
    /// The AMI that it names.
    pub to: String,
}

/// Which entries, and how long to wait for news.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Those after this one.
    #[serde(default)]
    after: u64,
    /// How many seconds to wait for a change.
    #[serde(default)]
    wait: u64,
}

impl From<RebakeRefusal> for Failed {
    fn from(refusal: RebakeRefusal) -> Self {
        let (status, code) = match &refusal {
            RebakeRefusal::Unknown(_) => (StatusCode::NOT_FOUND, FailureCode::UnknownRebake),
            RebakeRefusal::Busy { .. } => (StatusCode::CONFLICT, FailureCode::Conflict),
            RebakeRefusal::Order(_) | RebakeRefusal::Manifest(_) => (StatusCode::BAD_REQUEST, FailureCode::BadRequest),
            RebakeRefusal::Journal(crate::ledger::JournalError::Unknown { .. }) => {
                (StatusCode::NOT_FOUND, FailureCode::UnknownRebake)
            }
            RebakeRefusal::Journal(crate::ledger::JournalError::Locked { .. }) => {
                (StatusCode::CONFLICT, FailureCode::Conflict)
            }
            RebakeRefusal::Cloud { .. } => (StatusCode::BAD_GATEWAY, FailureCode::Cloud),
            RebakeRefusal::Journal(_) | RebakeRefusal::Fold { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, FailureCode::Ledger)
            }
        };
        Failed(status, ErrorBody { code, message: refusal.to_string() })
    }
}

/// The routes, beside those of the workers.
pub(super) fn router(desk: Desk) -> Router {
    Router::new()
        .route("/v1/rebakes", get(list).post(order))
        .route("/v1/rebakes/{rebake}", get(one))
        .route("/v1/rebakes/{rebake}/abort", post(abort))
        .route("/v1/images/{image}/rollback", post(roll_back))
        .with_state(desk)
}

fn id(text: &str) -> Result<RebakeId, Failed> {
    text.parse().map_err(|error: crate::model::IdError| bad(&error))
}

async fn list(State(desk): State<Desk>) -> Json<RebakeList> {
    Json(RebakeList { rebakes: desk.list() })
}

async fn order(State(desk): State<Desk>, body: Result<Json<RebakeAsk>, JsonRejection>) -> Answer<RebakeOrdered> {
    let Json(ask) = body?;
    let dry_run = ask.dry_run;
    let ordered = desk.ask(ask).await?;
    let launches = ordered.order.launches.iter().map(|spec| spec.offering.to_string()).collect();
    Ok(Json(RebakeOrdered { rebake: ordered.view, steps: ordered.steps, dry_run, launches }))
}

async fn one(State(desk): State<Desk>, UrlPath(rebake): UrlPath<String>, Query(which): Query<Which>) -> Answer<RebakeAnswer> {
    let id = id(&rebake)?;
    let mut changed = desk.changed();
    changed.mark_unchanged();
    let (mut rebake, mut steps, mut events) = desk.one(&id, which.after)?;
    if which.wait > 0 && events.is_empty() && rebake.outcome.is_none() {
        // What it waits for is news as well: any move ends the wait.
        let limit = Duration::from_secs(which.wait).min(WAIT_MAX);
        let _ = tokio::time::timeout(limit, changed.changed()).await;
        (rebake, steps, events) = desk.one(&id, which.after)?;
    }
    Ok(Json(RebakeAnswer { rebake, steps, events }))
}

async fn abort(State(desk): State<Desk>, UrlPath(rebake): UrlPath<String>) -> Answer<RebakeView> {
    Ok(Json(desk.abort(&id(&rebake)?)?))
}

async fn roll_back(State(desk): State<Desk>, UrlPath(image): UrlPath<String>) -> Answer<RolledBack> {
    let image: ImageName = image.parse().map_err(|error: crate::model::IdError| bad(&error))?;
    let (from, to) = desk.roll_back(&image)?;
    Ok(Json(RolledBack { image, from: from.to_string(), to: to.to_string() }))
}
