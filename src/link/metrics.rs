//! The numbers for Prometheus over HTTP.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::rebakes::Desk;
use crate::control::{Controller, RebakeView};
use crate::ledger::Ledger;

/// What the text is, for those who negotiate.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

struct Source<L> {
    controller: Controller<L>,
    rebakes: Option<Desk>,
    /// The rebakes as they were when one last moved: their journals are files.
    known: Mutex<Option<(u64, Vec<RebakeView>)>>,
}

impl<L: Ledger + 'static> Source<L> {
    fn text(&self) -> Result<String, std::fmt::Error> {
        let Some(desk) = &self.rebakes else { return self.controller.metrics(&[]) };
        let moved = *desk.changed().borrow();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|(then, _)| *then != moved) {
            *known = Some((moved, desk.list()));
        }
        self.controller.metrics(known.as_ref().map_or(&[], |(_, views)| views.as_slice()))
    }
}

/// `GET /metrics` as OpenMetrics text, for any listener. Without a desk nothing is known of rebakes.
pub fn metrics_router<L: Ledger + 'static>(controller: Controller<L>, rebakes: Option<Desk>) -> Router {
    let source = Arc::new(Source { controller, rebakes, known: Mutex::default() });
    Router::new().route("/metrics", get(metrics::<L>)).with_state(source)
}

async fn metrics<L: Ledger + 'static>(State(source): State<Arc<Source<L>>>) -> Response {
    match source.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written; please report this");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
