//! Serves the interface.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path as UrlPath, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use super::budgets;
use super::messages::{
    AdmitAnswer, AdmitRequest, AmisAnswer, CanaryRequest, ClaimsAnswer, DeclareAnswer, DeclareBody, DrainAnswer,
    ErrorBody, EventView, Events, FailureCode, HoldAnswer, HoldRequest, ReleaseRequest, ReportBody, Reported,
    StartRequest, StatusAnswer, VersionAnswer, release_cause,
};
use super::metrics::metrics_router;
use super::queries;
use super::rebakes::{self, Desk};
use super::scribe::Scribe;
use super::sockets::{SOCKET_PATH_BYTES_MAX, ServeError, bind_tcp, clear_stale};
use super::token::with_token;
use super::{notices, openapi};
use crate::control::{Ask, ControlError, Controller, NoticeBoard, WorkerView};
use crate::ledger::Ledger;
use crate::model::{Actor, MasterId, RebakeId, WorkerName};
use crate::policy::Secret;

/// The version of the interface: it grows when something changes that a client must know of.
pub(super) const INTERFACE: u32 = 2;
/// The oldest version whose clients are still understood.
const INTERFACE_MIN: u32 = 1;
/// The longest that a request may ask to wait.
pub(super) const WAIT_MAX: Duration = Duration::from_mins(1);
/// The longest hold: a forgotten one ends with the working week.
const HOLD_SECONDS_MAX: u32 = 7 * 24 * 3600;
/// The longest time that a canary's worker may be given to connect.
const CONNECT_SECONDS_MAX: u32 = 24 * 3600;
/// The longest name of a builder, in characters.
const BUILDER_MAX: usize = 200;
/// The longest declaration of one worker, in bytes. EC2 takes 16 KiB of user data, and what is longer is to
/// be told so, not cut off.
const DECLARATION_BYTES_MAX: usize = 4 << 20;
/// The longest declaration of all of a master's workers, in bytes.
const DECLARATIONS_BYTES_MAX: usize = 64 << 20;
/// The listening sockets of a controller.
#[derive(Debug)]
pub struct Server {
    unix: UnixListener,
    /// The socket's file, if it is ours to remove.
    path: Option<PathBuf>,
    tcp: Option<(TcpListener, Secret)>,
    notices: Option<Arc<dyn NoticeBoard>>,
}

/// What every answer is made from.
pub(super) struct App<L> {
    pub(super) controller: Controller<L>,
    /// The names of the fleet and of the controller.
    pub(super) fleet: (String, String),
    /// Turns true when whoever waits is to be answered.
    pub(super) stop: watch::Receiver<bool>,
    pub(super) notices: Option<Arc<dyn NoticeBoard>>,
}

pub(super) type Shared<L> = State<Arc<App<L>>>;
pub(super) type Answer<T> = Result<Json<T>, Failed>;

#[derive(Debug)]
pub(super) struct Failed(pub(super) StatusCode, pub(super) ErrorBody);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<ControlError> for Failed {
    fn from(error: ControlError) -> Self {
        let (status, code) = match &error {
            ControlError::UnknownWorker { .. } => (StatusCode::NOT_FOUND, FailureCode::UnknownWorker),
            ControlError::NothingToHold { .. }
            | ControlError::OverBudget { .. }
            | ControlError::Elsewhere { .. }
            | ControlError::OtherCanary { .. } => (StatusCode::CONFLICT, FailureCode::Conflict),
            ControlError::Declaration { .. } => (StatusCode::BAD_REQUEST, FailureCode::BadRequest),
            ControlError::Ledger(_) | ControlError::Ending => (StatusCode::SERVICE_UNAVAILABLE, FailureCode::Ledger),
        };
        Failed(status, ErrorBody { code, message: error.to_string() })
    }
}

impl From<JsonRejection> for Failed {
    fn from(error: JsonRejection) -> Self {
        Failed(StatusCode::BAD_REQUEST, ErrorBody { code: FailureCode::BadRequest, message: error.body_text() })
    }
}

pub(super) fn bad(message: &impl ToString) -> Failed {
    Failed(StatusCode::BAD_REQUEST, ErrorBody { code: FailureCode::BadRequest, message: message.to_string() })
}

impl Server {
    /// Binds the Unix socket (mode 0600; a stale one is replaced) and, with a token, a TCP address.
    ///
    /// # Errors
    /// [`ServeError`]; nothing is changed then but a stale socket.
    pub async fn bind(path: &Path, tcp: Option<(SocketAddr, Secret)>) -> Result<Self, ServeError> {
        let length = path.as_os_str().len();
        if length > SOCKET_PATH_BYTES_MAX {
            return Err(ServeError::PathTooLong { path: path.to_path_buf(), length });
        }
        clear_stale(path).await?;
        let error = |source| ServeError::Bind { place: path.display().to_string(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(error)?;
        }
        let unix = UnixListener::bind(path).map_err(error)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(error)?;
        Ok(Self { unix, path: Some(path.to_path_buf()), tcp: bind_tcp(tcp).await?, notices: None })
    }

    /// Listens on a Unix socket that somebody else has made and keeps, and on a TCP address as [`Self::bind`]
    /// does. Who connected to the socket before is answered too.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn on(
        listener: std::os::unix::net::UnixListener,
        tcp: Option<(SocketAddr, Secret)>,
    ) -> Result<Self, ServeError> {
        let handed_over = |error: io::Error| ServeError::HandedOver { what: error.to_string() };
        listener.set_nonblocking(true).map_err(handed_over)?;
        let unix = UnixListener::from_std(listener).map_err(handed_over)?;
        Ok(Self { unix, path: None, tcp: bind_tcp(tcp).await?, notices: None })
    }

    /// The same, and it shows what is told to people.
    #[must_use]
    pub fn with_notices(self, board: Arc<dyn NoticeBoard>) -> Self {
        Self { notices: Some(board), ..self }
    }

    /// Who knows what people were told, if that was given.
    pub fn notices(&self) -> Option<Arc<dyn NoticeBoard>> {
        self.notices.clone()
    }

    /// Where its Unix socket is, as far as that has a name.
    pub fn unix_address(&self) -> Option<PathBuf> {
        self.unix.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_path_buf))
    }

    /// The TCP address, if one is bound.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// Serves until `stop` turns true; requests that wait are answered at once then. Without a desk nothing is
    /// known of rebakes.
    ///
    /// # Errors
    /// An I/O error of the listener itself.
    pub async fn run<L: Ledger + 'static>(
        self,
        controller: Controller<L>,
        fleet: (String, String),
        rebakes: Option<Desk>,
        stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let numbers = metrics_router(controller.clone(), rebakes.clone());
        let app = Arc::new(App { controller, fleet, stop: stop.clone(), notices: self.notices.clone() });
        let mut router = router(Arc::clone(&app)).merge(numbers).merge(budgets::router(app.controller.clone()));
        router = router.merge(notices::router(self.notices));
        if let Some(desk) = rebakes {
            router = router.merge(rebakes::router(desk));
        }
        let ended = |mut stop: watch::Receiver<bool>| async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        // Made ready once: a bare router is copied whole, route by route, for each connection.
        let service = router.clone().into_make_service();
        let unix = axum::serve(self.unix, service).with_graceful_shutdown(ended(stop.clone()));
        let result = match self.tcp {
            Some((listener, token)) => {
                let guarded =
                    router.layer(middleware::from_fn(move |headers: HeaderMap, request: Request, next: Next| {
                        let token = token.clone();
                        async move { with_token(&token, &headers, request, next).await }
                    }));
                let tcp = axum::serve(listener, guarded.into_make_service()).with_graceful_shutdown(ended(stop));
                tokio::try_join!(unix.into_future(), tcp.into_future()).map(drop)
            }
            None => unix.await,
        };
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
        result
    }
}

/// What may be asked by whoever may only look.
pub(super) fn questions<L: Ledger + 'static>() -> Router<Arc<App<L>>> {
    Router::new()
        .route("/v1/version", get(version))
        .route("/v1/openapi.json", get(|| async { Json(openapi::document()) }))
        .route("/v1/status", get(status::<L>))
        .route("/v1/claims", get(claims::<L>))
        .route("/v1/workers/{worker}", get(worker::<L>))
        .route("/v1/amis", get(amis::<L>))
        .merge(queries::router())
}

fn router<L: Ledger + 'static>(app: Arc<App<L>>) -> Router {
    questions()
        .merge(queries::probes())
        .route("/v1/workers/{worker}/start", post(start::<L>))
        .route("/v1/workers/{worker}/release", post(release::<L>))
        .route("/v1/workers/{worker}/admit", post(admit::<L>))
        .route("/v1/workers/{worker}/drain", post(drain::<L>))
        .route("/v1/workers/{worker}/hold", post(hold::<L>).delete(unhold::<L>))
        .route("/v1/workers/{worker}/canary", put(set_canary::<L>))
        .route("/v1/workers/{worker}/canary/{rebake}", delete(end_canary::<L>))
        .route("/v1/masters/{master}/report", post(report::<L>))
        .route("/v1/masters/{master}/workers", put(declare::<L>).layer(DefaultBodyLimit::max(DECLARATIONS_BYTES_MAX)))
        .route(
            "/v1/masters/{master}/workers/{worker}",
            put(declare_one::<L>).layer(DefaultBodyLimit::max(DECLARATION_BYTES_MAX)),
        )
        .route("/v1/events", get(events::<L>))
        .layer(Extension(Scribe::of(app.controller.clone())))
        .with_state(app)
}

async fn version() -> Json<VersionAnswer> {
    Json(VersionAnswer {
        name: "latent".to_owned(),
        version: crate::VERSION.to_owned(),
        interface: INTERFACE,
        interface_min: INTERFACE_MIN,
        pid: std::process::id(),
    })
}

pub(super) fn name(text: &str) -> Result<WorkerName, Failed> {
    text.parse().map_err(|error: crate::model::IdError| bad(&error))
}

fn actor(master: Option<MasterId>) -> Actor {
    master.map_or(Actor::Operator, Actor::Master)
}

pub(super) fn view<L: Ledger + 'static>(app: &App<L>, worker: &WorkerName) -> Result<WorkerView, Failed> {
    app.controller.worker(worker).ok_or_else(|| app.controller.unknown(worker).into())
}

async fn claims<L: Ledger + 'static>(State(app): Shared<L>) -> Json<ClaimsAnswer> {
    let (claims, listed) = app.controller.claims();
    let (fleet, controller) = (app.fleet.0.clone(), app.fleet.1.clone());
    Json(ClaimsAnswer { now: app.controller.now(), fleet, controller, listed, claims })
}

async fn status<L: Ledger + 'static>(State(app): Shared<L>) -> Json<StatusAnswer> {
    Json(status_of(&app))
}

/// Every worker, every cell, and what needs a person's eye.
pub(super) fn status_of<L: Ledger + 'static>(app: &App<L>) -> StatusAnswer {
    let mut warnings = Vec::new();
    if let Some(jump) = app.controller.clock_jump() {
        warnings.push(format!(
            "this machine's clock has moved by {} s since the controller started; it keeps its own time, restart it when the clock is right",
            jump.num_seconds()
        ));
    }
    warnings.extend(app.controller.declaration_warnings());
    warnings.extend(app.notices.iter().flat_map(|board| board.warnings()));
    let budgets = app.controller.budgets();
    warnings.extend(budgets::warnings(&app.controller, &budgets));
    let (cells, workers) = (app.controller.cells(), app.controller.workers());
    warnings.extend(workers.iter().flat_map(turned_away));
    for cell in &cells {
        if let Some(failure) = &cell.failure {
            warnings.push(format!(
                "{}/{} cannot be listed: {}: {}; {}",
                cell.owner, cell.region, failure.code, failure.message, failure.cure
            ));
        }
        let place = format!("{}/{}", cell.owner, cell.region);
        warnings.extend(cell.unseen.iter().map(|gap| format!("{place}: the sweep could not see {gap}")));
        warnings.extend(cell.leftovers.iter().map(|found| {
            format!(
                "{place} {}: left over ({}): {}; see latent sweep --owner {}",
                found.id, found.kind, found.reason, cell.owner
            )
        }));
        warnings
            .extend(cell.strange.iter().map(|(id, reason)| format!("{}/{} {id}: {reason}", cell.owner, cell.region)));
    }
    StatusAnswer {
        now: app.controller.now(),
        fleet: app.fleet.0.clone(),
        controller: app.fleet.1.clone(),
        workers,
        cells,
        budgets,
        warnings,
    }
}

/// Who was turned away at a master's door, each in a line.
fn turned_away(worker: &WorkerView) -> impl Iterator<Item = String> {
    worker.turned_away.iter().map(|guest| {
        let who = [guest.instance.clone(), guest.peer.as_ref().map(|peer| format!("from {peer}"))];
        let who: Vec<String> = who.into_iter().flatten().collect();
        let who = if who.is_empty() { "somebody".to_owned() } else { who.join(" ") };
        let last = guest.at.format("%H:%M:%SZ");
        format!("{}: {who} was turned away {} times, last at {last}: {}", worker.worker, guest.times, guest.why)
    })
}

/// Waiting, for the requests that may.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    /// How many seconds at most.
    #[serde(default)]
    wait: u64,
}

/// Waits until `done` holds or the time is over; the record is asked again whenever it moves.
async fn wait_until<L: Ledger + 'static>(app: &App<L>, seconds: u64, mut done: impl FnMut() -> bool) {
    let limit = Duration::from_secs(seconds).min(WAIT_MAX);
    let mut changed = app.controller.changed();
    let mut stop = app.stop.clone();
    let waiting = async {
        while !done() {
            tokio::select! {
                moved = changed.changed() => if moved.is_err() { return },
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    };
    let _ = tokio::time::timeout(limit, waiting).await;
}

/// Whether a request has its answer: an instance, a failure, or it was taken back.
fn answered(view: &WorkerView) -> bool {
    // The instance of a canary is the answer to no request.
    let canary = view.canary.as_ref().is_some_and(|canary| canary.present) && view.waiting;
    let over = view.failure.is_some() || !view.waiting;
    if canary {
        return over;
    }
    !matches!(view.state.as_str(), "requested" | "launching" | "draining" | "stopped" | "terminating") || over
}

async fn worker<L: Ledger + 'static>(
    State(app): Shared<L>,
    UrlPath(worker): UrlPath<String>,
    Query(wait): Query<Wait>,
) -> Answer<WorkerView> {
    let worker = name(&worker)?;
    if wait.wait > 0 {
        // The record moves with every worker of the fleet: the view is made anew only when it moved with this one.
        let mut seen = None;
        let answer = || {
            let last = app.controller.last_event(&worker);
            seen.replace(last) != Some(last) && app.controller.worker(&worker).is_none_or(|view| answered(&view))
        };
        wait_until(&app, wait.wait, answer).await;
    }
    view(&app, &worker).map(Json)
}

async fn start<L: Ledger + 'static>(
    State(app): Shared<L>,
    Extension(scribe): Extension<Scribe>,
    UrlPath(worker): UrlPath<String>,
    body: Result<Json<StartRequest>, JsonRejection>,
) -> Answer<WorkerView> {
    let (worker, Json(body)) = (name(&worker)?, body?);
    scribe.ask(actor(body.master), worker.clone(), Ask::Start { request: body.request }).await?;
    view(&app, &worker).map(Json)
}

async fn release<L: Ledger + 'static>(
    State(app): Shared<L>,
    Extension(scribe): Extension<Scribe>,
    UrlPath(worker): UrlPath<String>,
    body: Result<Json<ReleaseRequest>, JsonRejection>,
) -> Answer<WorkerView> {
    let (worker, Json(body)) = (name(&worker)?, body?);
    let cause = release_cause(body.master.is_some());
    scribe.ask(actor(body.master), worker.clone(), Ask::Release { cause, request: body.request }).await?;
    view(&app, &worker).map(Json)
}

async fn admit<L: Ledger + 'static>(
    State(app): Shared<L>,
    UrlPath(worker): UrlPath<String>,
    body: Result<Json<AdmitRequest>, JsonRejection>,
) -> Answer<AdmitAnswer> {
    let (worker, Json(body)) = (name(&worker)?, body?);
    let (peer, info) = (body.peer.as_deref(), body.info.into());
    let admission = app.controller.admit(&Actor::Master(body.master), &worker, peer, &info).await?;
    Ok(Json(admission.into()))
}

async fn drain<L: Ledger + 'static>(State(app): Shared<L>, UrlPath(worker): UrlPath<String>) -> Answer<DrainAnswer> {
    let worker = name(&worker)?;
    app.controller.drain(&worker)?;
    view(&app, &worker).map(|worker| Json(DrainAnswer { worker }))
}

async fn hold<L: Ledger + 'static>(
    State(app): Shared<L>,
    UrlPath(worker): UrlPath<String>,
    body: Result<Json<HoldRequest>, JsonRejection>,
) -> Answer<HoldAnswer> {
    let (worker, Json(body)) = (name(&worker)?, body?);
    if body.seconds == 0 || body.seconds > HOLD_SECONDS_MAX {
        return Err(bad(&format!("seconds = {} must be from 1 to {HOLD_SECONDS_MAX}", body.seconds)));
    }
    let until = app.controller.hold(&worker, chrono::TimeDelta::seconds(body.seconds.into()))?;
    Ok(Json(HoldAnswer { until }))
}

async fn unhold<L: Ledger + 'static>(State(app): Shared<L>, UrlPath(worker): UrlPath<String>) -> Answer<WorkerView> {
    let worker = name(&worker)?;
    app.controller.unhold(&worker)?;
    view(&app, &worker).map(Json)
}

async fn set_canary<L: Ledger + 'static>(
    State(app): Shared<L>,
    UrlPath(worker): UrlPath<String>,
    body: Result<Json<CanaryRequest>, JsonRejection>,
) -> Answer<WorkerView> {
    let (worker, Json(body)) = (name(&worker)?, body?);
    if let Some(seconds) = body.connect_deadline_s.filter(|seconds| !(1..=CONNECT_SECONDS_MAX).contains(seconds)) {
        return Err(bad(&format!("connect_deadline_s = {seconds} must be from 1 to {CONNECT_SECONDS_MAX}")));
    }
    let odd = |builder: &&String| {
        builder.trim().is_empty() || builder.chars().count() > BUILDER_MAX || builder.chars().any(char::is_control)
    };
    if let Some(builder) = body.smoke.as_ref().filter(odd) {
        return Err(bad(&format!(
            "smoke = {builder:?} is no builder's name of 1 to {BUILDER_MAX} characters; use null"
        )));
    }
    app.controller.set_canary(&Actor::Operator, &worker, &body.into())?;
    view(&app, &worker).map(Json)
}

async fn end_canary<L: Ledger + 'static>(
    State(app): Shared<L>,
    UrlPath((worker, rebake)): UrlPath<(String, String)>,
) -> Answer<WorkerView> {
    let worker = name(&worker)?;
    let rebake: RebakeId = rebake.parse().map_err(|error: crate::model::IdError| bad(&error))?;
    app.controller.end_canary(&Actor::Operator, &worker, &rebake, None)?;
    view(&app, &worker).map(Json)
}

async fn amis<L: Ledger + 'static>(State(app): Shared<L>) -> Json<AmisAnswer> {
    Json(AmisAnswer { now: app.controller.now(), amis: app.controller.amis() })
}

async fn report<L: Ledger + 'static>(
    State(app): Shared<L>,
    UrlPath(master): UrlPath<String>,
    body: Result<Json<ReportBody>, JsonRejection>,
) -> Answer<Reported> {
    let (master, Json(body)) = (master_id(&master)?, body?);
    let names: Vec<WorkerName> = body.workers.keys().cloned().collect();
    app.controller.report(&master, &body.into())?;
    let elsewhere = app.controller.elsewhere(&master, &names);
    let mut answer = Reported {
        workers: std::collections::BTreeMap::new(),
        unknown: Vec::new(),
        elsewhere: elsewhere.iter().map(|(name, other)| (name.to_string(), other.to_string())).collect(),
        seq: *app.controller.changed().borrow(),
    };
    let names: Vec<WorkerName> = names.into_iter().filter(|name| !elsewhere.contains_key(name)).collect();
    answer.workers.extend(app.controller.workers_of(&names).into_iter().map(|view| (view.worker.clone(), view)));
    let is_known = |name: &&WorkerName| answer.workers.contains_key(name.as_str());
    answer.unknown.extend(names.iter().filter(|name| !is_known(name)).map(ToString::to_string));
    Ok(Json(answer))
}

fn master_id(text: &str) -> Result<MasterId, Failed> {
    text.parse().map_err(|error: crate::model::IdError| bad(&error))
}

/// A body that is too long is told by how much it may be; of what it holds nothing is told.
fn declared<T>(body: Result<Json<T>, JsonRejection>, limit: usize) -> Result<T, Failed> {
    match body {
        Ok(Json(body)) => Ok(body),
        Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(bad(&format!("a declaration of more than {} MiB; declare less", limit >> 20)))
        }
        Err(JsonRejection::JsonDataError(_)) => {
            Err(bad(&"the body is not of the form {\"workers\": {NAME: DECLARATION}}"))
        }
        Err(JsonRejection::JsonSyntaxError(_)) => Err(bad(&"the body is not JSON")),
        Err(error) => Err(error.into()),
    }
}

async fn declare<L: Ledger + 'static>(
    State(app): Shared<L>,
    UrlPath(master): UrlPath<String>,
    body: Result<Json<DeclareBody>, JsonRejection>,
) -> Answer<DeclareAnswer> {
    let (master, body) = (master_id(&master)?, declared(body, DECLARATIONS_BYTES_MAX)?);
    let declared = app.controller.declare_all(&master, &body.workers)?;
    let accepted = declared.accepted.iter().map(ToString::to_string).collect();
    Ok(Json(DeclareAnswer { accepted, refused: declared.refused }))
}

async fn declare_one<L: Ledger + 'static>(
    State(app): Shared<L>,
    UrlPath((master, worker)): UrlPath<(String, String)>,
    body: Result<Json<serde_json::Value>, JsonRejection>,
) -> Answer<DeclareAnswer> {
    let (master, body) = (master_id(&master)?, declared(body, DECLARATION_BYTES_MAX)?);
    app.controller.declare_one(&master, &worker, body)?;
    Ok(Json(DeclareAnswer { accepted: vec![worker], refused: std::collections::BTreeMap::new() }))
}

/// Which entries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Those after this one.
    #[serde(default)]
    pub(super) after: u64,
    /// How many seconds to wait for news.
    #[serde(default)]
    pub(super) wait: u64,
}

async fn events<L: Ledger + 'static>(State(app): Shared<L>, Query(which): Query<Which>) -> Answer<Events> {
    let changed = app.controller.changed();
    if which.wait > 0 {
        wait_until(&app, which.wait, || *changed.borrow() != which.after).await;
    }
    let entries = app.controller.events(which.after, usize::MAX)?;
    // Whoever has seen more than there is knows a ledger that was lost: it is told where this one stands.
    let lost = || app.controller.events(which.after.saturating_sub(1), 1).map(|seen| seen.is_empty());
    let last = match entries.last() {
        Some(entry) => entry.seq,
        None if which.after > 0 && lost()? => *changed.borrow(),
        None => which.after,
    };
    Ok(Json(Events { events: entries.iter().map(EventView::from).collect(), last }))
}
