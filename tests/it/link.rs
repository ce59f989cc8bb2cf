//! The interface over real sockets: who may ask, what is refused, and what a wait is.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use latent::control::{Clock, Controller, WorkerView};
use latent::ledger::{Declarations, MemoryLedger};
use latent::link::{
    AdmitAnswer, Client, ClientError, ErrorBody, Events, FailureCode, ServeError, Server, StartRequest, StatusAnswer,
    VersionAnswer,
};
use latent::policy::Secret;
use latent::sim::{SimCloud, SiteId, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::setup::Setup;

/// A controller on a simulated EC2 behind real sockets; it ends with this value.
pub(crate) struct Served {
    _folder: tempfile::TempDir,
    pub(crate) socket: PathBuf,
    pub(crate) tcp: Option<std::net::SocketAddr>,
    stop: watch::Sender<bool>,
}

/// Serves `setup`, with a token on TCP, over a ledger that may hold entries already.
pub(crate) async fn serve(setup: &Setup, ledger: MemoryLedger, world: World, clock: Clock) -> Served {
    serve_with(Declarations::default(), setup, ledger, world, clock).await
}

/// The same with what masters declared before.
pub(crate) async fn serve_with(
    kept: Declarations,
    setup: &Setup,
    ledger: MemoryLedger,
    world: World,
    clock: Clock,
) -> Served {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("latent.sock");
    let token = Secret::new("right".to_owned());
    let listen = "127.0.0.1:0".parse().expect("an address");
    let server = Server::bind(&socket, Some((listen, token))).await.expect("binds");
    let tcp = server.tcp_address();
    let (world, time) = (Arc::new(Mutex::new(world)), clock.clone());
    let connect = move |_: &_, _: &_| {
        SimCloud::new(Arc::clone(&world), SiteId::new("111111111111", "us-west-2"), None, time.clone())
    };
    let controller = Controller::start_with(kept, setup.intent(), ledger, clock.clone(), 1, connect).expect("starts");
    let (stop, stopped) = watch::channel(false);
    let names = ("test".to_owned(), "ctl".to_owned());
    tokio::spawn(server.run(controller, names, None, stopped));
    Served { _folder: folder, socket, tcp, stop }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn served() -> Served {
    let world = World::steady();
    serve(&Setup::new(), MemoryLedger::default(), world, Clock::system()).await
}

/// One request by hand; the answer's status and body.
async fn by_hand(served: &Served, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
    let mut stream = tokio::net::UnixStream::connect(&served.socket).await.expect("connects");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: latent\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("is answered");
    let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn a_canary_is_asked_for_shown_and_taken_back() {
    let served = served().await;
    let wish = r#"{"rebake":"rb1","ami":"ami-new","generation":2,"smoke":null,"connect_deadline_s":null,"now":false}"#;
    let put = |body: String| {
        let served = &served;
        async move { by_hand(served, "PUT", "/v1/workers/w1/canary", &body).await }
    };
    for _ in 0..2 {
        let (status, view) = put(wish.to_owned()).await;
        assert_eq!((status, view["canary"]["rebake"].as_str()), (200, Some("rb1")), "{view}");
        assert_eq!(
            (view["canary"]["phase"].as_str(), view["canary"]["present"].as_bool()),
            (Some("waiting"), Some(false))
        );
    }
    for (body, status, told) in [
        (wish.replace("rb1", "rb2"), 409, "canary of ami-new for rebake rb1"),
        (wish.replace("ami-new", "new"), 400, "ami-"),
        (wish.replace("\"smoke\":null", "\"smoke\":\"\""), 400, "smoke"),
        (wish.replace("\"connect_deadline_s\":null", "\"connect_deadline_s\":0"), 400, "connect_deadline_s = 0"),
        (wish.replace("generation", "generations"), 400, "generations"),
    ] {
        let (found, answer) = put(body).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(found == status && message.contains(told), "{found} {answer}");
    }
    assert_eq!(by_hand(&served, "PUT", "/v1/workers/w9/canary", wish).await.0, 404);
    for _ in 0..2 {
        let (status, view) = by_hand(&served, "DELETE", "/v1/workers/w1/canary/rb1", "").await;
        assert_eq!((status, &view["canary"]), (200, &serde_json::Value::Null), "{view}");
    }
    let (status, amis) = by_hand(&served, "GET", "/v1/amis", "").await;
    assert_eq!((status, amis["amis"].as_array().map(Vec::len)), (200, Some(0)));
    // What a master of an older plugin says is understood, and a smoke build's end too.
    for smoke in ["", r#","smoke":null"#, r#","smoke":{"rebake":"rb1","build":"smoke/1","results":0}"#] {
        let report = format!(r#"{{"workers":{{"w1":{{"wanted":false,"attached":false{smoke}}}}}}}"#);
        let (status, answer) = by_hand(&served, "POST", "/v1/masters/m1/report", &report).await;
        assert_eq!(status, 200, "{answer}");
    }
}

#[tokio::test]
async fn only_the_owner_of_the_socket_may_ask() {
    let served = served().await;
    let mode = std::fs::metadata(&served.socket).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let version: VersionAnswer = Client::new(&served.socket).get("/v1/version").await.expect("answers");
    assert_eq!((version.name.as_str(), version.interface), ("latent", 2));
}

#[tokio::test]
async fn a_socket_on_which_nobody_answers_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stale.sock");
    drop(StdListener::bind(&path).expect("binds"));
    assert!(path.exists());
    Server::bind(&path, None).await.expect("replaces it");
}

#[tokio::test]
async fn a_socket_on_which_somebody_answers_is_left_alone() {
    let served = served().await;
    let error = Server::bind(&served.socket, None).await.expect_err("in use");
    assert!(matches!(error, ServeError::InUse { .. }), "{error}");
    let _: VersionAnswer = Client::new(&served.socket).get("/v1/version").await.expect("still answers");
}

#[tokio::test]
async fn a_path_that_no_socket_can_have_is_refused_with_its_length() {
    let long = Path::new("/tmp").join("x".repeat(120));
    let error = Server::bind(&long, None).await.expect_err("too long");
    assert!(error.to_string().contains("125 bytes"), "{error}");
}

#[tokio::test]
async fn what_is_no_socket_is_never_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("diary.txt");
    std::fs::write(&path, "dear diary").expect("a file");
    let error = Server::bind(&path, None).await.expect_err("not a socket");
    assert!(matches!(error, ServeError::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "dear diary");
}

/// A request over TCP; the status and the body.
async fn over_tcp(served: &Served, authorization: &str) -> (String, String) {
    let mut stream = TcpStream::connect(served.tcp.expect("an address")).await.expect("connects");
    let request = format!("GET /v1/version HTTP/1.1\r\nhost: latent\r\nconnection: close\r\n{authorization}\r\n");
    stream.write_all(request.as_bytes()).await.expect("asks");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    (head.split(' ').nth(1).expect("a status").to_owned(), body.to_owned())
}

#[tokio::test]
async fn over_tcp_only_the_right_token_opens() {
    let served = served().await;
    for wrong in ["", "authorization: Bearer wrong\r\n", "authorization: Bearer righ\r\n", "authorization: right\r\n"] {
        let (status, body) = over_tcp(&served, wrong).await;
        let error: ErrorBody = serde_json::from_str(&body).expect("an error");
        assert_eq!((status.as_str(), error.code), ("401", FailureCode::Unauthorized), "{wrong}");
    }
    assert_eq!(over_tcp(&served, "authorization: Bearer right\r\n").await.0, "200");
}

#[tokio::test]
async fn a_misspelt_field_is_refused_by_name() {
    let served = served().await;
    let body = serde_json::json!({ "requets": "r1" });
    let asked: Result<WorkerView, ClientError> = Client::new(&served.socket).post("/v1/workers/w1/start", &body).await;
    let Err(ClientError::Refused { status, body }) = asked else { panic!("not refused") };
    assert_eq!((status.as_u16(), body.code), (400, FailureCode::BadRequest));
    assert!(body.message.contains("requets"), "{}", body.message);
}

#[tokio::test]
async fn an_unknown_worker_is_refused_with_the_names_that_are_known() {
    let served = served().await;
    let asked: Result<WorkerView, ClientError> = Client::new(&served.socket).get("/v1/workers/nobody").await;
    let Err(ClientError::Refused { status, body }) = asked else { panic!("not refused") };
    assert_eq!((status.as_u16(), body.code), (404, FailureCode::UnknownWorker));
    assert!(body.message.contains("nobody") && body.message.contains("known: w1"), "{}", body.message);
}

#[tokio::test]
async fn a_wait_ends_when_the_answer_comes() {
    let served = served().await;
    let client = Client::new(&served.socket);
    let request = StartRequest { request: "r1".parse().expect("an id"), master: None };
    let view: WorkerView = client.post("/v1/workers/w1/start", &request).await.expect("asks");
    assert!(view.waiting, "{}", view.state);
    let waited = client.get::<WorkerView>("/v1/workers/w1?wait=30");
    let view = tokio::time::timeout(Duration::from_secs(20), waited).await.expect("in time").expect("answers");
    assert_eq!(view.state, "registering");
}

#[tokio::test]
async fn the_checked_in_document_is_the_one_that_is_served() {
    let served = served().await;
    let served: serde_json::Value = Client::new(&served.socket).get("/v1/openapi.json").await.expect("answers");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let checked_in: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("docs/openapi.json")).expect("JSON");
    assert_eq!(served, checked_in, "write it anew: cargo run -- openapi > docs/openapi.json");
}

#[tokio::test]
async fn a_knock_is_answered_and_a_refusal_is_told() {
    let served = served().await;
    let client = Client::new(&served.socket);
    let knock = serde_json::json!({
        "master": "m1", "peer": "203.0.113.5", "info": { "instance_id": "i-0abc", "join_secret": "hush-hush" },
    });
    for _ in 0..3 {
        let answer: AdmitAnswer = client.post("/v1/workers/w1/admit", &knock).await.expect("answers");
        assert!(!answer.admit && answer.twin.is_none(), "{answer:?}");
        assert_eq!(answer.why.as_deref(), Some("w1 has no instance (never started)"));
    }
    let status: StatusAnswer = client.get("/v1/status").await.expect("answers");
    let told = status.warnings.iter().find(|text| text.starts_with("w1: from 203.0.113.5 was turned away 3 times"));
    assert!(told.is_some_and(|text| text.ends_with("w1 has no instance (never started)")), "{:?}", status.warnings);
    let events: Events = client.get("/v1/events").await.expect("answers");
    let written: Vec<&str> =
        events.events.iter().filter(|e| e.kind == "turned_away").map(|e| e.text.as_str()).collect();
    assert_eq!(written, ["from 203.0.113.5 knocked and was turned away: w1 has no instance (never started)"]);
    assert!(!serde_json::to_string(&events).expect("JSON").contains("hush-hush"));
}

#[tokio::test]
async fn a_knock_that_is_misspelt_or_of_nobody_is_refused() {
    let served = served().await;
    let client = Client::new(&served.socket);
    for (path, body, code, says) in [
        ("/v1/workers/nobody/admit", serde_json::json!({ "master": "m1" }), FailureCode::UnknownWorker, "known: w1"),
        ("/v1/workers/w1/admit", serde_json::json!({}), FailureCode::BadRequest, "master"),
        ("/v1/workers/w1/admit", serde_json::json!({ "master": "m1", "peeer": "x" }), FailureCode::BadRequest, "peeer"),
        (
            "/v1/workers/w1/admit",
            serde_json::json!({ "master": "m1", "info": { "id": "x" } }),
            FailureCode::BadRequest,
            "id",
        ),
    ] {
        let asked: Result<AdmitAnswer, ClientError> = client.post(path, &body).await;
        let Err(ClientError::Refused { body, .. }) = asked else { panic!("not refused: {path}") };
        assert_eq!(body.code, code);
        assert!(body.message.contains(says), "{}", body.message);
    }
}
