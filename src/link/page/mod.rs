//! The status page: read only, for people; works without JavaScript, and is kept up to date with it.

mod budget;
mod connections;
mod door;
mod fleet;
mod live;
mod one;
mod render;
mod strip;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use self::door::Door;
use self::render::Templates;
use super::budgets;
use super::metrics::metrics_router;
use super::queries::{alive, day_of};
use super::rebakes::Desk;
use super::server::{App, name, questions, status_of};
use super::sockets::ServeError;
use crate::control::{Controller, NoticeBoard};
use crate::ledger::Ledger;
use crate::model::WorkerName;
use crate::policy::Secret;

/// So many browsers may be kept up to date at once; each holds a connection.
const LIVE_MAX: usize = 24;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const ICON: &str = include_str!("icon.svg");

/// The listening socket of the page.
#[derive(Debug)]
pub struct Page {
    listener: TcpListener,
    token: Option<Secret>,
}

/// What the page is made from.
struct Site<L> {
    app: Arc<App<L>>,
    door: Door,
    live: Arc<Semaphore>,
    templates: Templates,
}

type Here<L> = State<Arc<Site<L>>>;

impl Page {
    /// Listens on an address; port 0 takes a free one. Whoever asks must know the token, if there is one.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub async fn bind(address: SocketAddr, token: Option<Secret>) -> Result<Self, ServeError> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| ServeError::Bind { place: address.to_string(), source })?;
        Ok(Self { listener, token })
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until `stop` turns true; browsers that are kept up to date are let go then. Without a desk the metrics
    /// know nothing of rebakes.
    ///
    /// # Errors
    /// If the machine has no random numbers.
    pub async fn run<L: Ledger + 'static>(
        self,
        controller: Controller<L>,
        fleet: (String, String),
        rebakes: Option<Desk>,
        notices: Option<Arc<dyn NoticeBoard>>,
        stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let numbers = metrics_router(controller.clone(), rebakes);
        let app = Arc::new(App { controller, fleet, stop: stop.clone(), notices });
        let site = Site {
            app,
            door: Door::new(self.token, self.listener.local_addr().ok())?,
            live: Arc::new(Semaphore::new(LIVE_MAX)),
            templates: Templates::new().map_err(io::Error::other)?,
        };
        connections::serve(self.listener, router(Arc::new(site), numbers), stop).await;
        Ok(())
    }
}

/// Everything that is answered; the numbers for Prometheus are behind the same door.
fn router<L: Ledger + 'static>(site: Arc<Site<L>>, numbers: Router) -> Router {
    let asset =
        |kind: &'static str, text: &'static str| get(move || async move { ([(header::CONTENT_TYPE, kind)], text) });
    Router::new()
        .route("/", get(fleet_page::<L>))
        .route("/workers/{worker}", get(worker_page::<L>))
        .route("/events", get(live::live::<L>))
        .route("/login", get(door::form::<L>).post(door::login::<L>))
        .route("/healthz", get(alive))
        .route("/readyz", get(door::ready::<L>))
        .route("/page.css", asset("text/css; charset=utf-8", STYLE))
        .route("/page.js", asset("text/javascript; charset=utf-8", SCRIPT))
        .route("/icon.svg", asset("image/svg+xml", ICON))
        .fallback(nowhere::<L>)
        .with_state(Arc::clone(&site))
        .merge(questions().with_state(Arc::clone(&site.app)))
        .merge(budgets::router(site.app.controller.clone()))
        .merge(numbers)
        .layer(middleware::from_fn_with_state(site, door::guard::<L>))
}

async fn fleet_page<L: Ledger + 'static>(State(site): Here<L>, Query(wanted): Query<fleet::Wanted>) -> Response {
    let (status, health) = (status_of(&site.app), site.app.controller.health());
    let part = fleet::part(&status, &wanted);
    let names: Vec<WorkerName> = part.workers.iter().filter_map(|view| view.worker.parse().ok()).collect();
    let day = site.app.controller.day_of_these(&names);
    let events = match site.app.controller.events(health.seq.saturating_sub(fleet::EVENTS), usize::MAX) {
        Ok(events) => events,
        Err(error) => return site.notice(StatusCode::SERVICE_UNAVAILABLE, "No page now", &error.to_string()),
    };
    let title = format!("{} · latent", status.fleet);
    site.page(StatusCode::OK, &title, "fleet", &fleet::content(&status, &health, &part, &day, &events))
}

async fn worker_page<L: Ledger + 'static>(State(site): Here<L>, UrlPath(worker): UrlPath<String>) -> Response {
    let away = site.app.controller.day_of_these(&[]).away;
    let found = name(&worker).and_then(|worker| day_of(&site.app, &worker));
    match found {
        Ok(answer) => {
            let title = format!("{} · {} · latent", answer.worker.worker, site.app.fleet.0);
            let seq = *site.app.controller.changed().borrow();
            site.page(StatusCode::OK, &title, "worker", &one::content(&site.app.fleet, &answer, &away, seq))
        }
        Err(failed) => site.notice(failed.0, "No such worker", &failed.1.message),
    }
}

async fn nowhere<L: Ledger + 'static>(State(site): Here<L>) -> Response {
    site.notice(StatusCode::NOT_FOUND, "Nothing is here", "The fleet's page is at /.")
}

impl<L: Ledger + 'static> Site<L> {
    fn page(&self, status: StatusCode, title: &str, template: &str, content: &serde_json::Value) -> Response {
        match self.templates.page(title, template, content) {
            Ok(text) => (status, Html(text)).into_response(),
            Err(error) => {
                tracing::error!(%error, template, "a page cannot be made; please report this");
                (StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be made; the log says why\n").into_response()
            }
        }
    }

    /// A page that says one thing.
    fn notice(&self, status: StatusCode, title: &str, text: &str) -> Response {
        let content = serde_json::json!({ "title": title, "text": text });
        self.page(status, &format!("{title} · latent"), "notice", &content)
    }
}
