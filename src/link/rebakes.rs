//! The part of the interface that is about rebakes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::messages::{ErrorBody, FailureCode};
use super::server::{Answer, Failed, WAIT_MAX, Which, bad};
use crate::control::{
    Ordered, RebakeAsk, RebakeDesk, RebakeEventView, RebakeRefusal, RebakeSeen, RebakeView, StepView,
};
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
    /// What EC2 says to dry runs of the calls that it will make; asked only when it is only told.
    pub permissions: Vec<String>,
    /// How long the builder may work, in words.
    pub builder_limit: String,
    /// What it costs at list price, in words.
    pub price: String,
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
    /// When this is so.
    pub now: DateTime<Utc>,
    /// Where it stands.
    pub rebake: RebakeView,
    /// Its steps.
    pub steps: Vec<StepView>,
    /// Its journal's entries after the place that was asked for.
    pub events: Vec<RebakeEventView>,
    /// How many packages of the builder are not as they were.
    pub packages: u32,
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

impl From<RebakeRefusal> for Failed {
    fn from(refusal: RebakeRefusal) -> Self {
        let (status, code) = match &refusal {
            RebakeRefusal::Unknown(_) => (StatusCode::NOT_FOUND, FailureCode::UnknownRebake),
            RebakeRefusal::Busy { .. } | RebakeRefusal::Budget(_) => (StatusCode::CONFLICT, FailureCode::Conflict),
            RebakeRefusal::NotDue(_) => (StatusCode::CONFLICT, FailureCode::NotDue),
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
    Ok(Json(RebakeOrdered::of(ordered, dry_run)))
}

impl RebakeOrdered {
    /// What came of asking.
    pub fn of(ordered: Ordered, dry_run: bool) -> Self {
        let order = &ordered.order;
        let limit = humantime::format_duration(order.limits.builder.to_std().unwrap_or_default()).to_string();
        Self {
            dry_run,
            launches: order.launches.iter().map(|spec| spec.offering.to_string()).collect(),
            permissions: ordered.permissions,
            builder_limit: limit,
            price: ordered.price,
            rebake: ordered.view,
            steps: ordered.steps,
        }
    }
}

async fn one(
    State(desk): State<Desk>,
    UrlPath(rebake): UrlPath<String>,
    Query(which): Query<Which>,
) -> Answer<RebakeAnswer> {
    let id = id(&rebake)?;
    let mut changed = desk.changed();
    changed.mark_unchanged();
    let seen = desk.one(&id, which.after)?;
    if which.wait == 0 || !seen.events.is_empty() || seen.view.outcome.is_some() {
        return Ok(Json(seen.into()));
    }
    // What it waits for is news as well: any move ends the wait.
    let limit = Duration::from_secs(which.wait).min(WAIT_MAX);
    let _ = tokio::time::timeout(limit, changed.changed()).await;
    Ok(Json(desk.one(&id, which.after)?.into()))
}

impl From<RebakeSeen> for RebakeAnswer {
    fn from(seen: RebakeSeen) -> Self {
        let RebakeSeen { now, view, steps, events, packages } = seen;
        Self { now, rebake: view, steps, events, packages }
    }
}

async fn abort(State(desk): State<Desk>, UrlPath(rebake): UrlPath<String>) -> Answer<RebakeView> {
    Ok(Json(desk.abort(&id(&rebake)?)?))
}

async fn roll_back(State(desk): State<Desk>, UrlPath(image): UrlPath<String>) -> Answer<RolledBack> {
    let image: ImageName = image.parse().map_err(|error: crate::model::IdError| bad(&error))?;
    let (from, to) = desk.roll_back(&image)?;
    Ok(Json(RolledBack { image, from: from.to_string(), to: to.to_string() }))
}
