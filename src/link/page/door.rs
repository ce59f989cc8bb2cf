//! Who may see the page, and what a browser may do with it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::{Here, Site};
use crate::ledger::Ledger;
use crate::link::messages::{ErrorBody, FailureCode};
use crate::link::queries::ready_status;
use crate::link::token::{bearer, same};
use crate::policy::Secret;

/// The cookie of who has shown the token.
const COOKIE: &str = "latent_page";
/// How long a browser keeps it, in seconds.
const COOKIE_SECONDS: u32 = 12 * 3600;
/// The longest login form, in bytes.
const FORM_BYTES_MAX: usize = 4 << 10;
/// How long it may take to arrive.
const FORM_LIMIT: Duration = Duration::from_secs(10);

/// What a browser is told of every answer: nothing from elsewhere, nowhere else, in no frame.
const HEADERS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Who is let in.
pub(super) struct Door {
    token: Option<Secret>,
    /// What the cookie of who has shown the token says: of this process alone, and not the token.
    session: String,
    address: Option<SocketAddr>,
}

impl Door {
    /// # Errors
    /// If the machine has no random numbers.
    pub(super) fn new(token: Option<Secret>, address: Option<SocketAddr>) -> io::Result<Self> {
        let mut salt = [0_u8; 32];
        getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
        let token_bytes = token.as_ref().map_or("", |token| token.reveal()).as_bytes();
        let session = crate::model::digest_hex(&Sha256::new().chain_update(salt).chain_update(token_bytes).finalize());
        Ok(Self { token, session, address })
    }

    fn knows(&self, given: &str) -> bool {
        self.token.as_ref().is_some_and(|token| same(given.as_bytes(), token.reveal().as_bytes()))
    }

    /// Whether who asks has shown the token; where there is none, everybody has.
    fn lets_in(&self, headers: &HeaderMap) -> bool {
        self.token.is_none()
            || bearer(headers).is_some_and(|given| self.knows(given))
            || cookies(headers).any(|given| same(given.as_bytes(), self.session.as_bytes()))
    }

    /// Without a token, only names that are this machine's: a browser that was told that another name is this
    /// machine asks for that name (DNS rebinding).
    fn is_named(&self, headers: &HeaderMap) -> bool {
        if self.token.is_some() {
            return true;
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
            _ => (host, ""),
        };
        let known = ["127.0.0.1", "[::1]", "localhost"].iter().any(|own| name.eq_ignore_ascii_case(own));
        let listens = self.address.is_some_and(|address| host == address.to_string());
        listens || (known && port.parse::<u16>().is_ok())
    }
}

/// What every cookie of ours says.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let texts = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Every request comes through here.
pub(super) async fn guard<L: Ledger + 'static>(State(site): Here<L>, request: Request, next: Next) -> Response {
    let mut answer = match refusal(&site, &request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn refused(status: StatusCode, message: &str) -> Response {
    let code = if status == StatusCode::UNAUTHORIZED { FailureCode::Unauthorized } else { FailureCode::BadRequest };
    (status, Json(ErrorBody { code, message: message.to_owned() })).into_response()
}

/// Why a request is not answered, if it is not.
fn refusal<L: Ledger + 'static>(site: &Site<L>, request: &Request) -> Option<Response> {
    let (path, headers) = (request.uri().path(), request.headers());
    let logs_in = path == "/login" && site.door.token.is_some();
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    let allowed = looks || (logs_in && request.method() == Method::POST);
    if !allowed {
        let mut answer = refused(StatusCode::METHOD_NOT_ALLOWED, "the page can be looked at only: GET and HEAD");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(answer);
    }
    if !site.door.is_named(headers) {
        let message = "this page has no token and answers to 127.0.0.1, [::1] and localhost alone; behind a proxy \
                       set page.token";
        return Some(refused(StatusCode::MISDIRECTED_REQUEST, message));
    }
    let fetched = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    if fetched("sec-fetch-site", "cross-site") && !fetched("sec-fetch-mode", "navigate") {
        return Some(refused(StatusCode::FORBIDDEN, "another site may not read this page"));
    }
    if logs_in || matches!(path, "/healthz" | "/readyz" | "/page.css" | "/icon.svg") || site.door.lets_in(headers) {
        return None;
    }
    if path == "/" || path.starts_with("/workers/") {
        return Some(site.ask(StatusCode::UNAUTHORIZED, ""));
    }
    Some(challenged(refused(StatusCode::UNAUTHORIZED, "the token of [page] is needed: Authorization: Bearer TOKEN")))
}

fn challenged(mut answer: Response) -> Response {
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"latent\""));
    answer
}

impl<L: Ledger + 'static> Site<L> {
    /// The form that asks for the token.
    fn ask(&self, status: StatusCode, mistake: &str) -> Response {
        let content = serde_json::json!({ "mistake": mistake });
        challenged(self.page(status, "Log in · latent", "login", &content))
    }
}

/// The form; where there is no token there is nothing to log in to.
pub(super) async fn form<L: Ledger + 'static>(State(site): Here<L>) -> Response {
    if site.door.token.is_some() { site.ask(StatusCode::OK, "") } else { to_the_fleet() }
}

fn to_the_fleet() -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response()
}

/// Takes the token, and gives a cookie that scripts cannot read and other sites cannot send.
pub(super) async fn login<L: Ledger + 'static>(State(site): Here<L>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.headers.get("sec-fetch-site").is_some_and(|from| from != "same-origin" && from != "none") {
        return refused(StatusCode::FORBIDDEN, "another site may not log in here");
    }
    let Some(given) = token_in(body).await else {
        return site.ask(StatusCode::BAD_REQUEST, "The form did not arrive whole.");
    };
    if !site.door.knows(&given) {
        tracing::warn!("somebody gave a wrong token at the status page");
        return site.ask(StatusCode::FORBIDDEN, "That is not the token.");
    }
    let secure = parts.headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let secure = if secure { "; Secure" } else { "" };
    let session = &site.door.session;
    let cookie = format!("{COOKIE}={session}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Strict{secure}");
    let mut answer = to_the_fleet();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

async fn token_in(body: Body) -> Option<String> {
    let read = tokio::time::timeout(FORM_LIMIT, axum::body::to_bytes(body, FORM_BYTES_MAX)).await;
    let bytes = read.ok()?.ok()?;
    form_urlencoded::parse(&bytes).find(|(name, _)| name == "token").map(|(_, value)| value.trim().to_owned())
}

/// 200 or 503 for everybody; what is wrong is told to who may see the page.
pub(super) async fn ready<L: Ledger + 'static>(State(site): Here<L>, headers: HeaderMap) -> Response {
    let health = site.app.controller.health();
    let status = ready_status(&health);
    if site.door.lets_in(&headers) {
        return (status, Json(health)).into_response();
    }
    (status, Json(serde_json::json!({ "ready": health.ready }))).into_response()
}
