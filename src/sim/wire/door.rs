//! The server: connections, and what becomes of a request.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, DATE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::auth::{self, Caller, Sessions};
use super::call::{self, Call};
use super::calls::{Calls, Noted};
use super::query::{Node, missing};
use super::xml::{self, Xml};
use super::{catalog, control, identity, imds, permissions, quotas, records, ssm, sts};
use crate::control::Clock;
use crate::sim::error::ApiError;
use crate::sim::image::Image;
use crate::sim::site::{Site, hash};
use crate::sim::weather::{Fault, Weather};
use crate::sim::world::{Request as ModelRequest, Served, SiteId, World};

/// The largest request: user data, and a thousand ids.
const BODY_MAX: usize = 2 * 1024 * 1024;
/// How long nobody is let in when too many are there.
const ACCEPT_AGAIN: TimeDelta = TimeDelta::milliseconds(50);
/// The only version of EC2's interface that the door speaks.
const EC2_VERSION: &str = "2016-11-15";

/// How the door is set up.
#[derive(Debug, Clone)]
pub struct DoorOptions {
    /// What everything random comes from.
    pub seed: u64,
    /// What may go wrong.
    pub weather: Weather,
    /// How many seconds of the model pass in one of ours.
    pub speed: f64,
    /// How far the model's time is behind ours at the start: what is made then is so old already.
    pub behind: TimeDelta,
}

/// EC2 as a server.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    shared: Arc<Shared>,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The time by which signatures are made.
    wall: Clock,
    /// The same, at the model's speed.
    clock: Clock,
    pub(super) options: DoorOptions,
    model: Mutex<Model>,
}

/// The world, and what the door itself remembers.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) world: World,
    pub(super) sessions: Sessions,
    pub(super) imds: imds::Tokens,
    pub(super) permissions: permissions::Permissions,
    /// How far the model's time was moved by hand.
    pub(super) ahead: TimeDelta,
    /// How far the clock by which signatures are made is ahead of the machine's.
    pub(super) skew: TimeDelta,
    /// When each call came.
    pub(super) calls: Calls,
    requests: u64,
}

/// Why a connection ends without an answer: the model lost it.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost")]
pub(super) struct Lost;

/// An answer of the door.
pub(super) type Answer = Response<Full<Bytes>>;

impl Door {
    /// Binds an address; its port may be 0.
    ///
    /// # Errors
    /// That of the socket.
    pub async fn bind(listen: SocketAddr, options: DoorOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let wall = Clock::system();
        let model = Model {
            world: World::new(options.seed, options.weather.clone()),
            sessions: Sessions::new(),
            imds: imds::Tokens::default(),
            permissions: permissions::Permissions::default(),
            ahead: -options.behind,
            skew: TimeDelta::zero(),
            calls: Calls::default(),
            requests: 0,
        };
        let clock = wall.clone().at_speed(options.speed);
        Ok(Self { listener, shared: Arc::new(Shared { wall, clock, options, model: Mutex::new(model) }) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// That of the socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the future is dropped.
    pub async fn run(self) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // Too many connections: some will have ended soon.
                let clock = &self.shared.wall;
                clock.sleep_until(clock.now() + ACCEPT_AGAIN).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                // A connection that breaks is the client's business.
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }
}

impl Shared {
    /// The world, however its last user ended.
    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model's time.
    pub(super) fn now(&self, model: &Model) -> DateTime<Utc> {
        self.clock.now() + model.ahead
    }

    /// What a guest's clock shows: moved by hand as the model's, but never faster than the machine's, by
    /// which whoever wrote the times in its tags goes.
    pub(super) fn guest_now(&self, model: &Model) -> DateTime<Utc> {
        self.wall.now() + model.ahead
    }

    /// The time that signatures are made by, as this side sees it.
    pub(super) fn wall(&self, model: &Model) -> DateTime<Utc> {
        self.wall.now() + model.skew
    }

    /// What the caller is told, once it has come back; or that nothing ever comes.
    pub(super) async fn delivered<T>(&self, served: Served<T>) -> Result<Result<T, ApiError>, Lost> {
        match served {
            Served::Never => std::future::pending().await,
            Served::Lost(back) => {
                self.wait(back).await;
                Err(Lost)
            }
            Served::Answer(result, back) => {
                self.wait(back).await;
                Ok(result)
            }
        }
    }

    /// Lets so much of the model's time pass.
    pub(super) async fn wait(&self, time: TimeDelta) {
        self.clock.sleep_until(self.clock.now() + time).await;
    }
}

/// One request; if it was a call, it is logged when its answer leaves.
async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Lost> {
    let arrived = shared.wall.now();
    let mut answer = routed(&shared, request).await?;
    let answered = shared.wall.now();
    shared.model().calls.answered(arrived, answered, &mut answer);
    Ok(answer)
}

async fn routed(shared: &Shared, request: Request<Incoming>) -> Result<Answer, Lost> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_MAX).collect().await else {
        return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large."));
    };
    let body = body.to_bytes();
    let path = parts.uri.path();
    if let Some(path) = path.strip_prefix("/_sim/imds/") {
        return Ok(imds::answer(shared, &parts.method, path, &parts.headers));
    }
    if path == "/_sim/certificate.pem" {
        return Ok(plain(StatusCode::OK, identity::CERTIFICATE));
    }
    if let Some(path) = path.strip_prefix("/_sim/") {
        return Ok(control::answer(shared, &parts.method, path, parts.uri.query().unwrap_or_default(), &body));
    }
    if path != "/" {
        return Ok(plain(StatusCode::NOT_FOUND, "EC2 and STS are at /, the side entrance is at /_sim/."));
    }
    if quotas::is_asked(&parts.headers) {
        return quotas::answer(shared, &parts.headers, &body).await;
    }
    if records::is_asked(&parts.headers) {
        return records::answer(shared, &parts.headers, &body).await;
    }
    if ssm::is_asked(&parts.headers) {
        return ssm::answer(shared, &parts.headers, &body).await;
    }
    let text = if parts.method == Method::GET { parts.uri.query().unwrap_or_default().as_bytes() } else { &body };
    api(shared, &parts.headers, text).await
}

/// A text that is neither XML nor JSON.
pub(super) fn plain(status: StatusCode, text: impl Into<String>) -> Answer {
    typed(status, "text/plain; charset=utf-8", text.into())
}

/// An answer of a type.
pub(super) fn typed(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// An answer with the time of this side.
pub(super) fn dated(shared: &Shared, mut answer: Answer) -> Answer {
    let at = shared.wall(&shared.model()).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(value) = HeaderValue::from_str(&at) {
        answer.headers_mut().insert(DATE, value);
    }
    answer
}

/// A call whose action and caller are known.
struct Known {
    action: &'static str,
    is_sts: bool,
    caller: Caller,
    /// Whose weather and buckets it meets.
    place: SiteId,
    /// The image that is copied, which may be of another region.
    source: Option<Image>,
}

/// One call of EC2's or STS's interface.
async fn api(shared: &Shared, headers: &HeaderMap, text: &[u8]) -> Result<Answer, Lost> {
    let query = match Node::parse(text) {
        Ok(query) => query,
        Err(error) => return Ok(refusal(shared, false, &error)),
    };
    let is_sts = auth::service(headers, &query) == "sts";
    let known = match known(shared, headers, &query) {
        Ok(known) => known,
        Err(error) => return Ok(refusal(shared, is_sts, &error)),
    };
    let there = shared.model().world.way_there(&known.place);
    shared.wait(there).await;
    let done = shared.delivered(serve(shared, &known, &query)).await?;
    let noted = Noted::of(&known.place, known.action, &done).about(subject(known.is_sts, &query));
    Ok(noted.on(match done {
        Ok(body) => success(shared, &known, &body),
        Err(error) if known.is_sts => refusal(shared, true, &sts::in_its_words(error, &known.caller)),
        Err(error) => refusal(shared, false, &error),
    }))
}

/// Everything that can be refused before the model is asked.
fn known(shared: &Shared, headers: &HeaderMap, query: &Node) -> Result<Known, ApiError> {
    let model = shared.model();
    let now = shared.now(&model);
    let caller = auth::caller(headers, query, &model.sessions, (shared.wall(&model), now))?;
    let named = query.filled("Action").ok_or_else(|| missing("Action"))?;
    let is_sts = caller.service == "sts";
    let unknown = || {
        let message = format!("The action {named} is not valid for this web service.");
        ApiError::client("InvalidAction", message)
    };
    if is_sts {
        let action = sts::action(named).ok_or_else(unknown)?;
        let place = SiteId::new(&sts::account(query, &caller), &caller.region);
        return Ok(Known { action, is_sts, caller, place, source: None });
    }
    let (action, parameters) = catalog::action(named).ok_or_else(unknown)?;
    let version = query.filled("Version").ok_or_else(|| missing("Version"))?;
    if version != EC2_VERSION {
        let message = format!("The API version {version} is not supported by this endpoint; it speaks {EC2_VERSION}.");
        return Err(ApiError::client("NoSuchVersion", message));
    }
    if let Some(name) = catalog::unknown(parameters, query.names()) {
        return Err(ApiError::client("UnknownParameter", format!("The parameter {name} is not recognized")));
    }
    let place = SiteId::new(&caller.account, &caller.region);
    let source = source_image(&model.world, action, query, &caller);
    Ok(Known { action, is_sts, caller, place, source })
}

/// The image that a CopyImage names.
fn source_image(world: &World, action: &str, query: &Node, caller: &Caller) -> Option<Image> {
    let (region, id) = (query.filled("SourceRegion")?, query.filled("SourceImageId")?);
    let place = SiteId::new(&caller.account, region);
    let site = world.sites().find(|(at, _)| action == "CopyImage" && **at == place)?.1;
    site.image(id).ok().cloned()
}

fn serve(shared: &Shared, known: &Known, query: &Node) -> Served<Xml> {
    let mut model = shared.model();
    let now = shared.now(&model);
    let model = &mut *model;
    let (subject, by) = (subject(known.is_sts, query), known.caller.name());
    let request = ModelRequest {
        place: &known.place,
        action: known.action,
        paged: ["Filter", "MaxResults", "NextToken", "InstanceId"].iter().any(|name| !query.part(name).is_empty()),
        resources: resources(known.action, query),
        subject: &subject,
        by: &by,
    };
    let (sessions, permissions) = (&mut model.sessions, &model.permissions);
    model.world.serve(&request, now, |site, now| {
        let page_expired = query.filled("NextToken").is_some() && site.chance(Fault::PageExpired);
        let (caller, source) = (&known.caller, known.source.as_ref());
        let call = Call { query, action: known.action, caller, now, page_expired, source };
        // A mistake of ours ends this call, not the door.
        let done = catch_unwind(AssertUnwindSafe(|| {
            if known.is_sts {
                return sts::handle(&call, site, sessions);
            }
            permissions.check(call.action, query, site, now)?;
            handle(&call, site)
        }));
        done.unwrap_or_else(|_| Err(ApiError::server("InternalError", "An internal error has occurred")))
    })
}

fn handle(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let handler = call::handler(call.action).ok_or_else(|| {
        let message = format!("The action {} is not valid for this web service.", call.action);
        ApiError::client("InvalidAction", message)
    })?;
    handler(call, site)
}

/// Whom a call concerns, for the trace; and whether it is a dry run.
fn subject(is_sts: bool, query: &Node) -> String {
    let dry = !is_sts && query.flag("DryRun").ok().flatten().unwrap_or(false);
    let named = named(query);
    if dry { format!("dry run {named}") } else { named }
}

fn named(query: &Node) -> String {
    let ids = ["InstanceId", "ResourceId", "ImageId", "VolumeId", "SnapshotId", "SpotInstanceRequestId"];
    let named = ids.iter().flat_map(|name| query.texts(name)).take(3).collect::<Vec<_>>().join(" ");
    if named.is_empty() { query.filled("ClientToken").unwrap_or_default().to_owned() } else { named }
}

/// How many instances a call starts or ends.
fn resources(action: &str, query: &Node) -> u32 {
    let count = match action {
        "RunInstances" if query.filled("DryRun") == Some("true") => 0,
        "RunInstances" => return query.count("MaxCount").ok().flatten().unwrap_or(0),
        "StartInstances" | "StopInstances" | "TerminateInstances" => query.texts("InstanceId").len(),
        _ => 0,
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// An id that no other request has.
pub(super) fn request_id(shared: &Shared) -> String {
    let mut model = shared.model();
    model.requests += 1;
    let (seed, number) = (shared.options.seed, model.requests);
    let (high, low) = (hash(&(seed, number)), hash(&(number, seed)));
    let text = format!("{high:016x}{low:016x}");
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

const XML: &str = "text/xml;charset=UTF-8";

fn success(shared: &Shared, known: &Known, body: &Xml) -> Answer {
    let id = request_id(shared);
    let write = if known.is_sts { xml::sts_answer } else { xml::ec2_answer };
    dated(shared, with_id(typed(StatusCode::OK, XML, write(known.action, &id, body)), &id))
}

fn refusal(shared: &Shared, is_sts: bool, error: &ApiError) -> Answer {
    let id = request_id(shared);
    let write = if is_sts { xml::sts_refusal } else { xml::ec2_refusal };
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    dated(shared, with_id(typed(status, XML, write(error, &id)), &id))
}

/// An answer with the id of its request.
pub(super) fn with_id(mut answer: Answer, id: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(id) {
        answer.headers_mut().insert("x-amzn-requestid", value);
    }
    answer
}
