//! Workers declared over the interface: what is taken, what is refused and how it is told, what is kept and
//! who may read it; and the files that say the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use latent::cli::Exit;
use latent::control::{Clock, WorkerView};
use latent::ledger::{Declarations, MemoryLedger};
use latent::link::{Client, ClientError, DeclareAnswer, FailureCode, Reported, StatusAnswer};
use latent::model::{MasterId, WorkerName};
use latent::plan::launch_spec;
use latent::policy::{Credentials, Declaration, Intent, Sources, load, place};
use latent::sim::World;
use serde_json::{Value, json};

use crate::cli::run;
use crate::harness::{first_choice, morning, worker};
use crate::link::{Served, serve_with};
use crate::setup::Setup;

const SECRETS: [&str; 2] = ["hush-secret-key", "hush-user-data"];

/// A declaration with everything in it that may be a secret.
fn declaration(ami: &str) -> Value {
    json!({
        "owner": "aws-1a2b",
        "credentials": { "access_key": { "id": "AKIA111111111111TEST", "secret": SECRETS[0] } },
        "image": { "region": "us-west-2", "ami": ami, "instance_types": ["m7i.large"] },
        "user_data": format!("#!/bin/sh\nTOKEN={}\n", SECRETS[1]),
        "policy": { "idle_timeout": "5m" },
    })
}

/// The same, of an owner that latent.toml has.
fn of_alice() -> Value {
    let mut said = declaration("ami-1");
    said["owner"] = json!("alice");
    said["credentials"] = Value::Null;
    said
}

/// A controller that keeps what is declared in a folder.
async fn served() -> (tempfile::TempDir, Served) {
    let state = tempfile::tempdir().expect("a folder");
    let kept = Declarations::open(state.path());
    let served = serve_with(kept, &Setup::new(), MemoryLedger::default(), World::steady(), Clock::system()).await;
    (state, served)
}

async fn put_all(served: &Served, master: &str, workers: &Value) -> Result<DeclareAnswer, ClientError> {
    let body = json!({ "workers": workers });
    Client::new(&served.socket).put(&format!("/v1/masters/{master}/workers"), &body).await
}

async fn put_one(served: &Served, name: &str, body: &Value) -> Result<DeclareAnswer, ClientError> {
    Client::new(&served.socket).put(&format!("/v1/masters/m1/workers/{name}"), body).await
}

/// The message of a refusal with 400.
fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> String {
    match answer {
        Err(ClientError::Refused { status, body }) => {
            assert_eq!((status.as_u16(), body.code), (400, FailureCode::BadRequest));
            body.message
        }
        other => panic!("not refused: {other:?}"),
    }
}

async fn status(served: &Served) -> StatusAnswer {
    Client::new(&served.socket).get("/v1/status").await.expect("answers")
}

/// What is wrong with a declaration of worker d1, as it is told.
async fn told(served: &Served, body: &Value) -> String {
    refused(put_one(served, "d1", body).await)
}

#[tokio::test]
async fn what_is_right_is_taken_and_the_rest_is_told_with_its_place_its_key_and_its_cure() {
    let (_state, served) = served().await;
    let mut wrong = declaration("ami-2");
    wrong["image"]["instance_typos"] = json!(["hush-user-data"]);
    wrong["policy"]["lease"] = json!(45);
    let workers = json!({ "d1": declaration("ami-1"), "d2": wrong, "w1": declaration("ami-3"), "no name": of_alice() });
    let answer = put_all(&served, "m1", &workers).await.expect("answers");
    assert_eq!(answer.accepted, ["d1"]);
    let refused: Vec<(&str, &str)> = answer.refused.iter().map(|(name, why)| (name.as_str(), why.as_str())).collect();
    insta::assert_snapshot!(refused.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join("\n"));
    let status = status(&served).await;
    assert_eq!(status.workers.iter().map(|view| view.worker.as_str()).collect::<Vec<_>>(), ["d1", "w1"]);
    assert_eq!(status.warnings.iter().filter(|text| text.contains("master m1, worker")).count(), 3);
}

#[tokio::test]
async fn who_is_named_without_a_word_stays_as_it_is() {
    let (_state, served) = served().await;
    put_all(&served, "m1", &json!({ "d1": declaration("ami-1"), "d2": declaration("ami-2") })).await.expect("answers");
    let answer = put_all(&served, "m1", &json!({ "d1": null, "d3": null })).await.expect("answers");
    assert_eq!((answer.accepted.len(), answer.refused.len()), (0, 0));
    let amis: Vec<_> = status(&served).await.workers.into_iter().map(|view| (view.worker, view.ami)).collect();
    assert_eq!(amis[0], ("d1".to_owned(), Some("ami-1".to_owned())));
    assert!(amis.iter().all(|(name, _)| name != "d2" && name != "d3"), "{amis:?}");
}

#[tokio::test]
async fn each_mistake_of_a_declaration_has_its_words() {
    let (_state, served) = served().await;
    let with = |edit: fn(&mut Value)| {
        let mut said = declaration("ami-1");
        edit(&mut said);
        said
    };
    let wrong: [(&str, Value); 17] = [
        ("no object", json!(["hush-user-data"])),
        ("unknown key", with(|d| d["passwort"] = json!("hush-user-data"))),
        ("owner missing", with(|d| d["owner"] = Value::Null)),
        ("owner's name", with(|d| d["owner"] = json!("a b"))),
        ("two ways", with(|d| d["credentials"]["profile"] = json!("p"))),
        ("half a key", with(|d| d["credentials"]["access_key"] = json!({ "secret": "hush-secret-key" }))),
        ("no key", with(|d| d["credentials"]["access_key"]["secret"] = json!("hush-secret-key\nx"))),
        ("relative", with(|d| d["credentials"] = json!({ "key_file": "aws_id" }))),
        ("no credentials", with(|d| d["credentials"] = Value::Null)),
        ("an owner of the files", with(|d| d["owner"] = json!("alice"))),
        ("endpoint", with(|d| d["endpoint"] = json!("127.0.0.1"))),
        ("a proof", with(|d| d["policy"]["proof"] = json!("join-secret"))),
        ("user data below", with(|d| d["image"]["user_data"] = json!("hush-user-data"))),
        ("owner below", with(|d| d["image"]["owner"] = json!("alice"))),
        ("injected", with(|d| d["image"]["identity"] = json!("injected"))),
        ("text", with(|d| d["user_data"] = json!(["hush-user-data"]))),
        ("cloud-init", with(|d| d["user_data"] = json!("TOKEN=hush-user-data"))),
    ];
    let mut all = String::new();
    for (what, body) in &wrong {
        let _ = writeln!(all, "{what}: {}", told(&served, body).await);
    }
    assert!(!SECRETS.iter().any(|secret| all.contains(secret)), "{all}");
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn a_refused_declaration_leaves_the_earlier_one_in_place() {
    let (_state, served) = served().await;
    put_all(&served, "m1", &json!({ "d1": declaration("ami-1"), "d2": declaration("ami-2") })).await.expect("taken");
    let answer = put_all(&served, "m1", &json!({ "d1": declaration("no") })).await.expect("answers");
    assert_eq!((answer.accepted.len(), answer.refused.len()), (0, 1));
    let view: WorkerView = Client::new(&served.socket).get("/v1/workers/d1").await.expect("is known");
    assert_eq!((view.ami.as_deref(), view.declared_by.as_deref()), (Some("ami-1"), Some("m1")));
    let gone: Result<WorkerView, _> = Client::new(&served.socket).get("/v1/workers/d2").await;
    assert!(gone.is_err(), "what the set does not name is forgotten");
    put_one(&served, "d2", &declaration("ami-5")).await.expect("taken");
    let names: Vec<String> = status(&served).await.workers.into_iter().map(|view| view.worker).collect();
    assert_eq!(names, ["d1", "d2", "w1"], "one beside the others");
}

#[tokio::test]
async fn an_owner_of_the_files_is_referred_to_by_his_name() {
    let (_state, served) = served().await;
    put_one(&served, "d1", &of_alice()).await.expect("taken");
    let view: WorkerView = Client::new(&served.socket).get("/v1/workers/d1").await.expect("is known");
    assert_eq!(view.owner, "alice");
}

#[tokio::test]
async fn the_same_owner_is_not_declared_in_two_ways() {
    let (_state, served) = served().await;
    put_all(&served, "m1", &json!({ "d1": declaration("ami-1") })).await.expect("taken");
    let mut other = declaration("ami-2");
    other["credentials"] = json!({ "profile": "p" });
    let answer = put_all(&served, "m2", &json!({ "d2": other })).await.expect("answers");
    let why = "master m2, worker d2: owner: master m1 declares aws-1a2b with other credentials; give the two owners different names";
    assert_eq!(answer.refused.get("d2").map(String::as_str), Some(why));
    // The master itself changes them for all his workers at once.
    put_one(&served, "d3", &other).await.expect("taken");
    let answer = put_all(&served, "m2", &json!({ "d2": other })).await.expect("answers");
    assert_eq!(answer.accepted, ["d2"]);
}

#[tokio::test]
async fn a_worker_in_use_is_not_declared_otherwise_by_another_master() {
    let (_state, served) = served().await;
    let client = Client::new(&served.socket);
    put_all(&served, "m1", &json!({ "d1": of_alice() })).await.expect("taken");
    let start = json!({ "request": "r1", "master": "m1" });
    let _: WorkerView = client.post("/v1/workers/d1/start", &start).await.expect("asked");
    let same = put_all(&served, "m2", &json!({ "d1": of_alice() })).await.expect("answers");
    assert_eq!(same.accepted, ["d1"]);
    let mut other = of_alice();
    other["image"]["ami"] = json!("ami-9");
    let answer = put_all(&served, "m2", &json!({ "d1": other })).await.expect("answers");
    assert!(answer.refused["d1"].contains("master m1 declares it otherwise, and uses it now"), "{answer:?}");
    let theirs = json!({ "request": "r2", "master": "m2" });
    let asked: Result<WorkerView, ClientError> = client.post("/v1/workers/d1/start", &theirs).await;
    let Err(ClientError::Refused { status, body }) = asked else { panic!("not refused") };
    assert_eq!((status.as_u16(), body.code), (409, FailureCode::Conflict));
    assert!(body.message.contains("master m1"), "{}", body.message);
    let report = json!({ "workers": { "d1": { "wanted": false, "attached": true }, "nobody": { "wanted": false, "attached": false } } });
    let said: Reported = client.post("/v1/masters/m2/report", &report).await.expect("answers");
    assert_eq!(said.elsewhere, BTreeMap::from([("d1".to_owned(), "m1".to_owned())]));
    assert_eq!((said.workers.len(), said.unknown), (0, vec!["nobody".to_owned()]), "it is nothing to adopt");
    let release = json!({ "master": "m1" });
    let _: WorkerView = client.post("/v1/workers/d1/release", &release).await.expect("let go");
    let gone = async {
        loop {
            let answer = put_all(&served, "m2", &json!({ "d1": other })).await.expect("answers");
            if answer.refused.is_empty() {
                return;
            }
            let seq: Reported = client.post("/v1/masters/m1/report", &json!({ "workers": {} })).await.expect("answers");
            let _: Value = client.get(&format!("/v1/events?after={}&wait=1", seq.seq)).await.expect("waits");
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), gone).await.expect("free when it has gone");
    let view: WorkerView = client.get("/v1/workers/d1").await.expect("is known");
    assert_eq!((view.declared_by.as_deref(), view.ami.as_deref()), (Some("m2"), Some("ami-9")));
}

fn is_key(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "key")
}

/// Every file below a folder, with its mode.
fn files(folder: &Path) -> Vec<(String, u32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let mode = std::fs::metadata(&entry).expect("is there").permissions().mode() & 0o777;
        if entry.is_dir() {
            assert_eq!(mode, 0o700, "{}", entry.display());
            found.extend(files(&entry));
        } else {
            let text = std::fs::read_to_string(&entry).expect("text");
            found.push((entry.file_name().expect("a name").to_string_lossy().into_owned(), mode, text));
        }
    }
    found
}

#[tokio::test]
async fn a_key_is_kept_in_a_file_of_its_own_that_goes_when_nothing_refers_to_it() {
    let (state, served) = served().await;
    let all = json!({ "d1": declaration("ami-1"), "d2": declaration("ami-2") });
    put_all(&served, "m1", &all).await.expect("taken");
    let found = files(state.path());
    assert!(found.iter().all(|(_, mode, _)| *mode == 0o600), "{found:?}");
    let with_key: Vec<_> = found.iter().filter(|(_, _, text)| text.contains(SECRETS[0])).collect();
    let [(name, _, text)] = with_key[..] else { panic!("one file has it: {found:?}") };
    assert!(name.starts_with("aws-1a2b-") && is_key(name), "{name}");
    assert_eq!(text, "AKIA111111111111TEST\nhush-secret-key\n");
    let mut other = declaration("ami-1");
    other["credentials"]["access_key"]["secret"] = json!("another");
    put_one(&served, "d1", &other).await.expect("taken");
    let keys: Vec<_> = files(state.path()).into_iter().filter(|(name, _, _)| is_key(name)).collect();
    assert_eq!(keys.len(), 1, "the new key holds for all workers of the owner");
    assert!(keys[0].2.contains("another"));
    put_all(&served, "m1", &json!({})).await.expect("taken");
    assert!(!files(state.path()).iter().any(|(name, _, _)| is_key(name)));
}

/// The names of the keys that are kept, sorted.
fn keys(state: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(state.join("declared/keys")).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| is_key(name)).collect();
    names.sort();
    names
}

#[tokio::test]
async fn keys_are_found_where_the_state_folder_is_now_and_only_what_nothing_uses_is_removed() {
    let (state, served) = served().await;
    let mut second = declaration("ami-2");
    second["owner"] = json!("aws-9z");
    let both = json!({ "d1": declaration("ami-1"), "d2": second });
    put_all(&served, "m1", &both).await.expect("taken");
    drop(served);
    let elsewhere = tempfile::tempdir().expect("a folder");
    std::fs::rename(state.path().join("declared"), elsewhere.path().join("declared")).expect("moves");
    let folder = elsewhere.path().join("declared/keys");
    let before = keys(elsewhere.path());
    assert_eq!(before.len(), 2);
    let kept = Declarations::open(elsewhere.path());
    let intent = kept.over(&Setup::new().intent());
    for owner in ["aws-1a2b", "aws-9z"] {
        let credentials = &intent.owners[&owner.parse().expect("a name")].credentials;
        let Credentials::KeyFile(file) = credentials else { panic!("{credentials:?}") };
        assert_eq!(Path::new(file).parent(), Some(folder.as_path()));
        assert!(std::fs::read_to_string(file).expect("is there").contains(SECRETS[0]));
    }
    std::fs::write(folder.join("aws-1a2b-old.key"), "nobody's").expect("a file");
    let served = serve_with(kept, &Setup::new(), MemoryLedger::default(), World::steady(), Clock::system()).await;
    put_all(&served, "m1", &both).await.expect("taken");
    assert_eq!(keys(elsewhere.path()).len(), 3, "the same once more is no news, although the path is another one");
    let changed = json!({ "d1": declaration("ami-3"), "d2": null });
    put_all(&served, "m1", &changed).await.expect("taken");
    assert_eq!(keys(elsewhere.path()), before, "what nothing uses is gone, and nothing else");
    put_all(&served, "m1", &json!({ "d1": null })).await.expect("taken");
    assert_eq!(keys(elsewhere.path()), before[..1], "nothing of the other owner lives");
}

/// A master declares its worker, asks for it and takes it back again and again, with an owner of its own.
async fn comes_and_goes(served: &Served, state: &Path, number: i64) {
    let (client, clock) = (Client::new(&served.socket), Clock::system());
    let (master, worker, owner) = (format!("m{number}"), format!("d{number}"), format!("o{number}"));
    for round in 0..6 {
        let mut said = declaration(&format!("ami-{round}"));
        said["owner"] = json!(owner);
        let answer = put_all(served, &master, &json!({ worker.as_str(): said })).await.expect("answers");
        assert_eq!(answer.refused, BTreeMap::new());
        let start = json!({ "request": format!("r{round}"), "master": master });
        let mut view: WorkerView = client.post(&format!("/v1/workers/{worker}/start"), &start).await.expect("asked");
        // So that the loop is anywhere on its way to a launch, and at the last behind it.
        let pause = chrono::TimeDelta::milliseconds((number * 61 + round * 97) % 400);
        clock.sleep_until(clock.now() + pause).await;
        while round == 5 && view.instance.is_none() {
            view = client.get(&format!("/v1/workers/{worker}?wait=20")).await.expect("answers");
        }
        put_all(served, &master, &json!({})).await.expect("taken");
        let forgotten = !keys(state).iter().any(|name| name.starts_with(&format!("{owner}-")));
        let found = status(served).await.workers.into_iter().find(|view| view.worker == worker);
        let lives = found.filter(|view| view.state == "launching" || view.instance.is_some());
        assert!(!(forgotten && lives.is_some()), "how to act for {owner} is forgotten: {lives:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn masters_that_declare_at_once_wait_for_nobody_forever_and_no_owner_is_forgotten_too_early() {
    let (state, served) = served().await;
    let all = futures_util::future::join_all((0..8).map(|number| comes_and_goes(&served, state.path(), number)));
    tokio::time::timeout(std::time::Duration::from_mins(1), all).await.expect("nobody waits forever");
}

#[tokio::test]
async fn what_does_not_change_writes_nothing() {
    let (state, served) = served().await;
    let all = json!({ "d1": declaration("ami-1"), "d2": of_alice() });
    put_all(&served, "m1", &all).await.expect("taken");
    let path = state.path().join("declared/masters/m1.json");
    std::fs::remove_file(&path).expect("is there");
    let answer = put_all(&served, "m1", &all).await.expect("taken");
    assert_eq!((answer.accepted.len(), path.exists()), (2, false));
    put_one(&served, "d1", &declaration("ami-1")).await.expect("taken");
    assert!(!path.exists());
    put_one(&served, "d1", &declaration("ami-9")).await.expect("taken");
    assert!(path.exists());
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_and_changes_nothing() {
    let (state, served) = served().await;
    std::fs::write(state.path().join("declared"), "in the way").expect("a file");
    let answer = put_all(&served, "m1", &json!({ "d1": of_alice() })).await;
    let Err(ClientError::Refused { status, body }) = answer else { panic!("{answer:?}") };
    assert_eq!((status.as_u16(), body.code), (503, FailureCode::Ledger));
    assert!(body.message.contains("check the folder's owner, its mode and the free space"), "{}", body.message);
    let view: Result<WorkerView, _> = Client::new(&served.socket).get("/v1/workers/d1").await;
    assert!(view.is_err());
}

#[tokio::test]
async fn hostile_bodies_are_refused_in_words_that_repeat_none_of_them() {
    let (_state, served) = served().await;
    let client = Client::new(&served.socket);
    for body in [json!({ "workers": "hush-user-data" }), json!(["hush-user-data"]), json!({ "hush": {} })] {
        let answer: Result<DeclareAnswer, _> = client.put("/v1/masters/m1/workers", &body).await;
        assert!(!refused(answer).contains("hush-"), "{body}");
    }
    for master in ["a%20b", "%2e%2e%2f%2e%2e", &"m".repeat(65)] {
        assert!(refused(put_all(&served, master, &json!({})).await).contains("is not a master id"));
    }
    let names =
        json!({ "../../x": of_alice(), "a\u{1b}[31mb\n": of_alice(), "x".repeat(51): of_alice(), "": of_alice() });
    let answer = put_all(&served, "m1", &names).await.expect("answers");
    assert_eq!((answer.accepted.len(), answer.refused.len()), (0, 4));
    assert!(answer.refused.values().all(|why| !why.contains('\u{1b}') && why.contains("is not a worker name")));
    let mut long = of_alice();
    long["user_data"] = json!(format!("#!/bin/sh\n# {}\n", "x".repeat(1 << 20)));
    assert!(told(&served, &long).await.contains("and EC2 takes 16384"));
    long["user_data"] = json!("x".repeat(5 << 20));
    assert_eq!(told(&served, &long).await, "a declaration of more than 4 MiB; declare less");
    let mut deep = Value::Null;
    for _ in 0..100 {
        deep = json!({ "a": [deep] });
    }
    let mut nested = of_alice();
    nested["image"]["tags"] = deep;
    assert!(!told(&served, &nested).await.is_empty());
    let view: WorkerView = client.get("/v1/workers/w1").await.expect("still answers");
    assert_eq!(view.worker, "w1");
}

/// Takes whatever is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_in_any_answer_log_or_entry() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let (state, served) = served().await;
    let mut wrong = declaration("no");
    wrong["user_data"] = json!("TOKEN=hush-user-data");
    put_all(&served, "m1", &json!({ "d1": declaration("ami-1"), "d2": wrong })).await.expect("answers");
    let client = Client::new(&served.socket);
    let start = json!({ "request": "r1", "master": "m1" });
    let _: WorkerView = client.post("/v1/workers/d1/start", &start).await.expect("asked");
    let view: Value = client.get("/v1/workers/d1?wait=20").await.expect("answers");
    assert_eq!(view["state"], "registering");
    let mut all = String::from_utf8(log.0.lock().expect("the log").clone()).expect("text");
    assert!(all.contains("launched i-") && all.contains("a master declared its workers anew"), "{all}");
    for url in ["/v1/status", "/v1/events", "/v1/claims", "/v1/workers/d1"] {
        let answer: Value = client.get(url).await.expect("answers");
        all += &answer.to_string();
    }
    let socket = served.socket.display().to_string();
    for command in [&["status"][..], &["events"], &["explain", "d1"], &["history"]] {
        all += &run(&[command, &["--socket", &socket]].concat()).await.1;
    }
    let kept = Declarations::open(state.path());
    let _ = write!(all, "{kept:?} {:?}", Declaration::read(&place("m1", "d1"), &declaration("ami-1")));
    let _ = write!(all, "{:?}", kept.over(&Setup::new().intent()));
    for secret in SECRETS {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn two_hundred_workers_are_taken_in_a_moment() {
    let (_state, served) = served().await;
    let all: serde_json::Map<String, Value> =
        (0..200).map(|number| (format!("d{number}"), declaration(&format!("ami-{number}")))).collect();
    let clock = Clock::system();
    let begun = clock.now();
    let answer = put_all(&served, "m1", &Value::Object(all.clone())).await.expect("taken");
    let first = clock.now() - begun;
    assert_eq!((answer.accepted.len(), answer.refused.len()), (200, 0));
    let begun = clock.now();
    put_all(&served, "m1", &Value::Object(all)).await.expect("taken");
    let again = clock.now() - begun;
    // Generous: without optimisation, and beside all the other tests.
    let limit = chrono::TimeDelta::seconds(8);
    assert!(first < limit && again < limit, "{first}, {again}");
}

/// What `latent config import` makes of these workers, by a Python that prints them.
async fn import(workers: &Value, more: &[&str]) -> (Exit, String, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let python = folder.path().join("python");
    let said = json!({ "workers": workers, "notes": ["d9 has a callable ami: write amis/d9.toml by hand"] });
    let script =
        format!("#!/bin/sh\n[ \"$1 $2\" = '-m buildbot_latent.importer' ] || exit 9\ncat <<'EOF'\n{said}\nEOF\n");
    std::fs::write(&python, script).expect("a file");
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o700)).expect("a mode");
    let python = python.display().to_string();
    let (exit, text) = run(&[&["config", "import", "master.cfg", "--python", &python], more].concat()).await;
    (exit, text, folder)
}

fn old_style() -> Value {
    let mut second = declaration("ami-2");
    second["image"]["block_devices"] = json!([{ "device": "/dev/sda1", "size_gib": 40, "type": "gp3" }]);
    second["image"]["tags"] = json!(["project=x"]);
    second["user_data"] = json!("#!/bin/sh\necho '{{ not a template }}' {# x #}\r\n\n");
    let mut third = declaration("ami-3");
    third["owner"] = json!("aws-9z");
    third["credentials"] = json!({ "key_file": "/home/buildbot/.ec2/aws_id" });
    third["user_data"] = Value::Null;
    third["policy"] = json!({ "max_lifetime": "2h" });
    json!({ "d1": declaration("ami-1"), "d.2": second, "d3": third })
}

#[tokio::test]
async fn an_old_master_cfg_is_printed_as_files_without_its_secrets() {
    let (exit, text, _folder) = import(&old_style(), &[]).await;
    assert_eq!(exit, Exit::Done);
    assert!(!SECRETS.iter().any(|secret| text.contains(secret)), "{text}");
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn what_import_writes_means_what_the_declarations_mean() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("new").display().to_string();
    let (exit, text, _python) = import(&old_style(), &["--out", &out]).await;
    assert_eq!(exit, Exit::Done, "{text}");
    let root = folder.path().join("new");
    let mode = std::fs::metadata(root.join("amis/d1.user-data")).expect("is written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let fleet = "[fleet]\nname = \"test\"\ncontroller = \"ctl\"\n";
    let fragment = std::fs::read_to_string(root.join(latent::policy::FRAGMENT)).expect("is written");
    assert!(!fragment.contains(SECRETS[0]));
    std::fs::write(root.join("latent.toml"), format!("{fleet}{fragment}")).expect("a file");
    let sources = load(&root.join("latent.toml")).expect("reads");
    let mut written = Intent::parse(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    written.render_user_data(&sources, |secret| Err(secret.to_string())).expect("renders");
    let files = Sources { main: ("latent.toml".to_owned(), fleet.to_owned()), ..Sources::default() };
    let files = Intent::parse(&files).expect("is right");
    let (state, master) = (tempfile::tempdir().expect("a folder"), MasterId::try_from("m1".to_owned()).expect("an id"));
    let kept = Declarations::open(state.path());
    for (name, said) in old_style().as_object().expect("workers") {
        let mut declared = Declaration::read(&place("m1", name), said).expect("is right");
        let access = declared.access.take().expect("credentials");
        declared.access = Some(kept.by_reference(&declared.owner, access).expect("a reference").0);
        let name: WorkerName = worker(name);
        let read = files.read_declared([(&master, &name, &declared)]).remove(0).expect("is right");
        let (mine, image) = (&written.workers[&name], &written.images[&written.workers[&name].image]);
        assert_eq!((&mine.cell, &mine.policy), (&read.worker.cell, &read.worker.policy));
        let at = morning();
        let attempt = "1-1".parse().expect("an id");
        let one = launch_spec(at, &written, &name, mine, first_choice(image), &attempt);
        let other = launch_spec(at, &files, &name, &read.worker, first_choice(&read.image), &attempt);
        assert_eq!(image.offerings, read.image.offerings);
        assert_eq!(one, other, "{name}: the very same launch");
    }
    assert!(
        matches!(&written.owners[&"aws-9z".parse().expect("a name")].credentials, Credentials::KeyFile(file) if file == "/home/buildbot/.ec2/aws_id")
    );
    let (exit, _, _python) = import(&old_style(), &["--out", &out]).await;
    assert_eq!(exit, Exit::Refused, "never over what is there");
}

#[tokio::test]
async fn a_python_that_cannot_import_is_told_with_its_cure() {
    let (exit, _) = run(&["config", "import", "master.cfg", "--python", "/nowhere/python3"]).await;
    assert_eq!(exit, Exit::Usage);
    let (exit, _, _folder) = import(&json!({ "d1": { "owner": 5 } }), &[]).await;
    assert_eq!(exit, Exit::Configuration);
    let (exit, text, _folder) = import(&json!({}), &[]).await;
    assert_eq!(exit, Exit::Done);
    assert!(text.contains("# note: d9 has a callable ami") && text.contains("has no worker to import"), "{text}");
}

#[test]
fn a_key_file_of_the_files_is_found_from_their_folder() {
    let main = "[fleet]\nname = \"f\"\ncontroller = \"c\"\n[owner.o]\naccount = \"012345678901\"\n\
                credentials = { key_file = \"secrets/o\" }\n[owner.p]\naccount = \"012345678901\"\n\
                credentials = { key_file = \"/abs/o\" }\n";
    let sources = Sources {
        folder: "/srv/master".into(),
        main: ("latent.toml".to_owned(), main.to_owned()),
        ..Sources::default()
    };
    let intent = Intent::parse(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    let of = |name: &str| intent.owners[&name.parse().expect("a name")].credentials.clone();
    assert_eq!(of("o"), Credentials::KeyFile("/srv/master/secrets/o".to_owned()));
    assert_eq!(of("p"), Credentials::KeyFile("/abs/o".to_owned()));
}

#[cfg(feature = "ec2")]
#[tokio::test]
async fn the_sdk_acts_with_the_key_that_was_declared_and_says_when_its_file_has_gone() {
    use latent::cloud::Cloud as _;
    use latent::sim::wire::{Door, DoorOptions};
    let (weather, behind) = (latent::sim::Weather::calm(), chrono::TimeDelta::zero());
    let options = DoorOptions { seed: 7, weather, speed: 60.0, behind };
    let door = Door::bind("127.0.0.1:0".parse().expect("an address"), options).await.expect("binds");
    let endpoint = format!("http://{}", door.address().expect("bound"));
    let serving = tokio::spawn(door.run());
    let (state, served) = served().await;
    let mut said = declaration("ami-1");
    said["endpoint"] = json!(endpoint);
    said["credentials"]["access_key"]["id"] = json!("AKIA333333333333TEST");
    put_one(&served, "d1", &said).await.expect("taken");
    let intent = Declarations::open(state.path()).over(&Setup::new().intent());
    let cell = &intent.workers[&worker("d1")].cell;
    let account = latent::ec2::Ec2::new(cell, &intent).account().await.expect("answers");
    assert_eq!(account, "333333333333");
    std::fs::remove_dir_all(state.path().join("declared/keys")).expect("is there");
    let error = latent::ec2::Ec2::new(cell, &intent).account().await.expect_err("no key");
    assert_eq!((error.kind, error.code.as_str()), (latent::model::FailureKind::Credentials, "NoCredentials"));
    assert!(error.message.contains("cannot be read: entity not found"), "{}", error.message);
    serving.abort();
}
