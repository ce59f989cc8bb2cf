//! New entries of the ledger, as they come: server-sent events that go on where they were cut off.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Here;
use crate::ledger::Ledger;
use crate::link::messages::{ErrorBody, FailureCode};
use crate::link::server::App;
use crate::model::Entry;
use crate::model::plain;

/// How often a line is sent that means nothing, so that a connection that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a browser waits before it connects again.
const RETRY: Duration = Duration::from_secs(3);
/// The most entries that who was away is told again; what is older is only counted.
const AGAIN_MAX: u64 = 200;

/// So many entries are read at once; the others follow.
const READ_MAX: usize = 200;

/// Where to begin.
#[derive(Debug, Deserialize)]
pub(super) struct Begin {
    /// After this entry; with the next one if absent.
    after: Option<u64>,
}

/// An entry, for the script of the page.
#[derive(Debug, Serialize)]
struct News<'a> {
    seq: u64,
    at: String,
    worker: Option<&'a str>,
    text: String,
}

struct Feed<L> {
    app: Arc<App<L>>,
    after: u64,
    ready: VecDeque<Event>,
    changed: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

/// The stream; `Last-Event-ID`, which a browser sends when it connects again, goes before `after`.
pub(super) async fn live<L: Ledger + 'static>(
    State(site): Here<L>,
    headers: HeaderMap,
    Query(begin): Query<Begin>,
) -> Response {
    let Ok(permit) = Arc::clone(&site.live).try_acquire_owned() else {
        let message = "as many browsers are kept up to date as may be; ask again later".to_owned();
        let body = Json(ErrorBody { code: FailureCode::Conflict, message });
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], body).into_response();
    };
    let app = Arc::clone(&site.app);
    let (changed, stop) = (app.controller.changed(), app.stop.clone());
    let newest = *changed.borrow();
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    // Whoever has seen more than there is knows a ledger that was lost.
    let after: u64 = last.or(begin.after).unwrap_or(newest).min(newest);
    let mut ready = VecDeque::from([Event::default().retry(RETRY).comment("latent")]);
    let from = after.max(newest.saturating_sub(AGAIN_MAX));
    if from > after {
        let missed = serde_json::json!({ "missed": from - after });
        ready.push_back(Event::default().event("gap").id(from.to_string()).data(missed.to_string()));
    }
    let feed = Feed { app, after: from, ready, changed, stop, _permit: permit };
    let stream = futures_util::stream::unfold(feed, next);
    Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("still here")).into_response()
}

/// The next thing to send; the stream ends with the controller, or when the ledger cannot be read.
async fn next<L: Ledger + 'static>(mut feed: Feed<L>) -> Option<(Result<Event, Infallible>, Feed<L>)> {
    loop {
        if let Some(event) = feed.ready.pop_front() {
            return Some((Ok(event), feed));
        }
        // Marked as seen before it is read, so that nothing is missed between the two.
        feed.changed.borrow_and_update();
        let entries = feed.app.controller.events(feed.after, READ_MAX).ok()?;
        if let Some(last) = entries.last() {
            feed.after = last.seq;
            feed.ready.extend(entries.iter().filter_map(event));
            continue;
        }
        tokio::select! {
            moved = feed.changed.changed() => moved.ok()?,
            _ = feed.stop.wait_for(|stop| *stop) => return None,
        }
    }
}

fn event(entry: &Entry) -> Option<Event> {
    let worker = entry.body.worker().map(crate::model::WorkerName::as_str);
    let at = entry.at.format("%H:%M:%S").to_string();
    let news = News { seq: entry.seq, at, worker, text: plain(&entry.body.describe()) };
    let data = serde_json::to_string(&news).ok()?;
    Some(Event::default().event("entry").id(entry.seq.to_string()).data(data))
}
