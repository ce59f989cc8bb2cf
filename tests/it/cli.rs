//! What a person sees: the commands against a real controller, as text.

use std::io::{self, Write};
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser as _;
use insta::assert_snapshot;
use latent::cli::{Args, Exit};
use latent::control::Clock;
use latent::ledger::{Ledger as _, MemoryLedger};
use latent::model::{Actor, Attempt, Body, Cell, Entry, Failure, FailureKind, InstanceId, LaunchSpec, Phase};
use latent::plan::launch_spec;
use latent::sim::{SiteId, World, launch_request};

use crate::harness::{morning, worker};
use crate::link::{Served, serve};
use crate::setup::Setup;

/// The commands' present: ages are whole minutes then, and half a minute away from the next.
fn noon() -> DateTime<Utc> {
    morning() + TimeDelta::minutes(185) + TimeDelta::seconds(30)
}

/// Runs a command; its exit code and what it printed.
pub(crate) async fn run(args: &[&str]) -> (Exit, String) {
    let args = Args::try_parse_from([&["latent"], args].concat()).expect("a command line");
    let mut out = Vec::new();
    let exit = latent::cli::run(args, &mut out).await;
    (exit, String::from_utf8(out).expect("text"))
}

async fn ask(served: &Served, args: &[&str]) -> String {
    let socket = served.socket.display().to_string();
    let (exit, out) = run(&[args, &["--socket", &socket]].concat()).await;
    assert_eq!(exit, Exit::Done, "{args:?}");
    out
}

/// A ledger and an account in which each worker has come to another state.
struct Past {
    setup: Setup,
    ledger: MemoryLedger,
    world: World,
    entries: Vec<Entry>,
}

impl Past {
    fn new() -> Self {
        let setup = ["busy", "gone", "ready", "refused", "registering"].iter().fold(
            Setup::new().without_worker("w1").policy("connect_deadline = \"4h\""),
            |setup, name| {
                let image = format!("image-{name}");
                setup.image_of(&image, "alice", "us-west-2", "ami-1234beef", "\"m7i.large\"", "").worker(name, &image)
            },
        );
        let world = World::steady();
        Self { setup, ledger: MemoryLedger::default(), world, entries: Vec::new() }
    }

    fn note(&mut self, minute: i64, body: Body) {
        let at = morning() + TimeDelta::minutes(minute);
        let seq = self.entries.len() as u64 + 1;
        self.entries.push(Entry { seq, at, actor: Actor::Controller, body });
    }

    /// A request, and a launch that EC2 answered.
    fn launched(&mut self, name: &str) -> InstanceId {
        let spec = self.intended(name);
        let site = self.world.site(&SiteId::new("111111111111", "us-west-2"));
        let launched = site.run_instances(&launch_request(&spec, 1, None), Some(spec.token().as_str()), morning());
        let id = launched.expect("launches")[0].clone();
        self.note(1, Body::Launched { worker: worker(name), instance: id.clone() });
        id
    }

    fn intended(&mut self, name: &str) -> LaunchSpec {
        let intent = self.setup.intent();
        let (id, configured) = ("1-1".parse().expect("an id"), &intent.workers[&worker(name)]);
        let image = &intent.images[&configured.image];
        let chosen = crate::harness::first_choice(image);
        let spec = launch_spec(morning(), &intent, &worker(name), configured, chosen, &id);
        let cell = Cell { owner: image.owner.clone(), region: image.region.clone() };
        let image = configured.image.clone();
        let attempt = Attempt { id, cell, image, created: morning(), spec: Some(Box::new(spec.clone())) };
        self.note(0, Body::Requested { worker: worker(name), request: "r-1".parse().expect("an id") });
        self.note(0, Body::LaunchIntended { worker: worker(name), attempt: Box::new(attempt) });
        spec
    }

    /// Ready, busy, registering, and a request that was refused in a hostile way.
    fn full() -> Self {
        let mut past = Self::new();
        for name in ["ready", "busy"] {
            past.launched(name);
            past.note(2, Body::Attached { worker: worker(name) });
        }
        past.note(90, Body::BuildStarted { worker: worker("busy"), build: "debian/17".parse().expect("an id") });
        past.note(91, Body::BuildFinished { worker: worker("ready") });
        past.entries.pop();
        past.launched("registering");
        past.note(3, Body::Requested { worker: worker("refused"), request: "r-2".parse().expect("an id") });
        let message = "no \u{1b}[31mcapacity\u{1b}[0m\nleft=0 \u{202e}ereht".to_owned();
        let code = "Insufficient\u{1b}[2J".to_owned();
        let console = Some("booting\nno \u{1b}[2J\u{202e}network".to_owned());
        let failure = Failure { phase: Phase::Launch, kind: FailureKind::Elsewhere, code, message, console };
        past.note(4, Body::RequestFailed { worker: worker("refused"), failure });
        past.note(5, Body::HoldSet { worker: worker("ready"), until: noon() + TimeDelta::hours(2) });
        past
    }

    async fn serve(mut self) -> Served {
        self.ledger.append(&self.entries).expect("appends");
        let served = serve(&self.setup, self.ledger, self.world, Clock::starting_at(noon())).await;
        // The first listing has been read when the controller can say what it saw of an instance.
        let client = latent::link::Client::new(&served.socket);
        let listed = async {
            while !ask(&served, &["status", "--json"]).await.contains("\"listed_at\": \"2026") {
                let _: latent::link::Events = client.get("/v1/events?after=1000&wait=1").await.expect("waits");
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), listed).await.expect("lists in time");
        served
    }
}

fn fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

fn harmless(text: &str) {
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
}

#[tokio::test]
async fn status_of_a_fleet_in_which_nothing_happened() {
    let served = Past::new().serve().await;
    assert_snapshot!(ask(&served, &["status"]).await);
}

#[tokio::test]
async fn status_of_a_fleet_in_many_states() {
    let served = Past::full().serve().await;
    let shown = ask(&served, &["status"]).await;
    fits(&shown);
    harmless(&shown);
    assert_snapshot!(shown);
}

#[tokio::test]
async fn status_as_json_has_what_the_table_has() {
    let served = Past::full().serve().await;
    let shown: serde_json::Value = serde_json::from_str(&ask(&served, &["status", "--json"]).await).expect("JSON");
    let states: Vec<&str> =
        shown["workers"].as_array().expect("workers").iter().filter_map(|w| w["state"].as_str()).collect();
    assert_eq!(states, ["busy", "gone", "ready", "gone", "registering"]);
    assert_eq!(shown["controller"], "ctl");
}

#[tokio::test]
async fn explanations_say_what_holds_and_what_would_change_it() {
    let served = Past::full().serve().await;
    for name in ["busy", "gone", "ready", "refused", "registering"] {
        let shown = ask(&served, &["explain", name]).await;
        harmless(&shown);
        assert_snapshot!(format!("explain_{name}"), shown);
    }
}

#[tokio::test]
async fn events_are_lines_that_a_terminal_does_not_obey() {
    let served = Past::full().serve().await;
    let shown = ask(&served, &["events"]).await;
    harmless(&shown);
    let past: Vec<&str> = shown.lines().take(14).collect();
    assert_snapshot!(past.join("\n"));
}

#[tokio::test]
async fn events_as_json_are_one_object_per_line() {
    let served = Past::full().serve().await;
    for line in ask(&served, &["events", "--json", "--after", "2"]).await.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert!(event["seq"].as_u64() > Some(2));
    }
}

#[tokio::test]
async fn history_tells_each_life() {
    let served = Past::full().serve().await;
    let shown = ask(&served, &["history"]).await;
    fits(&shown);
    assert_eq!(shown.lines().count(), 4, "a head and three lives\n{shown}");
    let one = ask(&served, &["history", "busy", "--json"]).await;
    let one: serde_json::Value = serde_json::from_str(&one).expect("JSON");
    assert_eq!((one.as_array().map(Vec::len), one[0]["builds"].as_u64()), (Some(1), Some(1)));
    assert_eq!(ask(&served, &["history", "gone"]).await, "nothing was launched yet\n");
}

#[tokio::test]
async fn a_worker_is_held_and_released_and_stopped_and_started() {
    let served = Past::full().serve().await;
    let held = ask(&served, &["hold", "busy", "--for", "2h"]).await;
    assert!(held.starts_with("busy: held until 2026-03-02 13:05:"), "{held}");
    assert_eq!(ask(&served, &["release", "busy"]).await, "busy: busy, not held\n");
    assert_eq!(ask(&served, &["stop", "busy"]).await, "busy: draining\n");
    assert_eq!(ask(&served, &["start", "gone"]).await, "gone: requested\n");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_a_code() {
    let served = Past::new().serve().await;
    let socket = served.socket.display().to_string();
    assert_eq!(run(&["hold", "gone", "--for", "1h", "--socket", &socket]).await.0, Exit::Refused);
    assert_eq!(run(&["explain", "nobody", "--socket", &socket]).await.0, Exit::Refused);
    assert_eq!(run(&["hold", "gone", "--for", "30d", "--socket", &socket]).await.0, Exit::Refused);
}

#[tokio::test]
async fn without_a_controller_each_command_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    Setup::new().write(folder.path());
    let config = folder.path().join("latent.toml").display().to_string();
    let commands: [&[&str]; 6] =
        [&["status"], &["explain", "w1"], &["events"], &["history"], &["start", "w1"], &["stop", "w1"]];
    for command in commands {
        let (exit, out) = run(&[command, &["--config", &config]].concat()).await;
        assert_eq!((exit, out.as_str()), (Exit::NotRunning, ""), "{command:?}");
    }
}

#[tokio::test]
async fn check_counts_what_is_right_and_refuses_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    Setup::new().write(folder.path());
    let config = folder.path().join("latent.toml").display().to_string();
    let (exit, out) = run(&["check", "--config", &config]).await;
    assert_eq!((exit, out), (Exit::Done, format!("{config}: ok: 1 owners, 1 images, 1 workers\n")));
    Setup::new().policy("idle_timeout = 0").write(folder.path());
    assert_eq!(run(&["check", "--config", &config]).await.0, Exit::Configuration);
    assert_eq!(run(&["check", "--config", "/nowhere/latent.toml"]).await.0, Exit::Configuration);
}

#[tokio::test]
async fn config_shows_each_value_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    Setup::new().policy("idle_timeout = \"never\"").write(folder.path());
    let config = folder.path().join("latent.toml").display().to_string();
    let (_, out) = run(&["config", "show", "w1", "--config", &config]).await;
    assert!(out.contains(&format!("policy.idle_timeout = \"never\"  # {config}:6:16\n")), "{out}");
    assert!(out.contains("policy.lease = \"45m\"  # built-in default:"), "{out}");
    assert!(out.contains("image.ami = \"ami-debian\"  # "), "{out}");
    assert_eq!(run(&["config", "show", "nobody", "--config", &config]).await.0, Exit::Refused);
}

#[tokio::test]
async fn config_prints_the_defaults_and_the_schema() {
    assert_eq!(run(&["config", "default"]).await.1, latent::policy::DEFAULT_TOML);
    let schema: serde_json::Value = serde_json::from_str(&run(&["config", "schema"]).await.1).expect("JSON");
    assert_eq!(schema["$defs"]["policy"]["properties"]["idle_timeout"]["type"], "string");
    let folder = tempfile::tempdir().expect("a folder");
    Setup::new().write(folder.path());
    let config = folder.path().join("latent.toml").display().to_string();
    let expected = folder.path().join("state/latent.sock").display().to_string();
    assert_eq!(run(&["config", "socket", "--config", &config]).await.1, format!("{expected}\n"));
}

/// A reader that has seen enough.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let args = Args::try_parse_from(["latent", "config", "default"]).expect("a command line");
    assert_eq!(latent::cli::run(args, &mut Closed).await, Exit::Done);
}

#[test]
fn help_tells_the_exit_codes() {
    let help = Args::try_parse_from(["latent", "--help"]).expect_err("help").to_string();
    for code in ["0 done", "3 configuration", "4 no controller answers", "7 a controller runs already"] {
        assert!(help.contains(code), "{help}");
    }
}

#[test]
fn the_program_prints_errors_on_standard_error_alone() {
    let program = Path::new(env!("CARGO_BIN_EXE_latent"));
    let ran =
        std::process::Command::new(program).args(["status", "--config", "/nowhere/x.toml"]).output().expect("runs");
    assert_eq!((ran.status.code(), ran.stdout.len()), (Some(3), 0));
    let error = String::from_utf8(ran.stderr).expect("text");
    assert!(error.contains("cannot read /nowhere/x.toml") && error.contains("latent config default"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_closes_with_one_line_for_machines() {
    let world = ["--weather", "calm", "--owners", "1", "--workers", "2", "--hours", "2", "--jobs", "1"];
    let (exit, out) = run(&[&["sim", "run", "--seeds", "3..5"], &world[..]].concat()).await;
    assert_eq!(exit, Exit::Done);
    let (line, rate) = out.trim_end().rsplit_once(" seeds_per_s=").expect("a rate");
    // Guests lose nothing in calm weather, and nobody is killed.
    assert_eq!(line, "sim ok: seeds=2 worker_days=0 crashes=0 faults=0 noticed=0 proven=0 invariants=13 violations=0");
    assert!(rate.parse::<f64>().is_ok_and(|rate| rate > 0.0), "{rate}");
    let mistaken = ["--sabotage", "short-listing", "--weather", "rough", "--hours", "24", "--story", "3"];
    let (exit, out) = run(&[&["sim", "run", "--seeds", "0..1"], &mistaken[..]].concat()).await;
    assert_eq!(exit, Exit::Violated);
    let again = out.lines().find(|line| line.starts_with("again: ")).expect("how to see it again");
    assert_eq!(again, "again: latent sim run --seeds 0..1 --sabotage short-listing");
    assert!(out.starts_with("seed 0, step ") && out.contains("invariant 7 (unknown is not absent)"), "{out}");
}
