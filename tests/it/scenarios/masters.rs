//! Two masters on one controller: a worker is one master's at a time, and what the other says of it has no
//! influence.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use latent::control::ControlError;
use latent::model::{Actor, Body, Cause, Entry, Fleet, MasterId, RequestId, WorkerName};
use latent::plan::{Report, Standing, WorkerReport, changes};
use proptest::prelude::*;

use crate::harness::{Lab, minutes, morning, seconds, worker};
use crate::setup::Setup;

fn other() -> MasterId {
    "m2".parse().expect("a master id")
}

/// The other master asks for w1.
fn asks(lab: &Lab, request: &str) -> Result<(), ControlError> {
    let request = request.parse().expect("a request id");
    lab.controller().request(&Actor::Master(other()), &worker("w1"), &request)
}

/// The other master says this of w1.
fn says(lab: &Lab, said: WorkerReport) {
    let report = Report { workers: BTreeMap::from([(worker("w1"), said)]) };
    lab.controller().report(&other(), &report).expect("is taken");
}

fn connected() -> WorkerReport {
    WorkerReport { wanted: true, attached: true, ..WorkerReport::default() }
}

/// Whose w1 is to the other master.
fn elsewhere(lab: &Lab) -> Option<String> {
    lab.controller().elsewhere(&other(), [&worker("w1")]).into_values().next().map(|master| master.to_string())
}

#[tokio::test(start_paused = true)]
async fn what_another_master_says_of_a_worker_in_use_has_no_influence() {
    let mut lab = Lab::new(Setup::new().policy("idle_timeout = \"2h\""));
    let id = lab.make_ready("w1").await;
    lab.build("w1", Some("b/1"));
    let before = lab.entries().len();
    let contradictions = [
        WorkerReport::default(),
        connected(),
        WorkerReport { build: Some("other/9".parse().expect("a build")), ..connected() },
        WorkerReport { request: Some("r1".parse().expect("an id")), ..WorkerReport::default() },
    ];
    for _ in 0..20 {
        for said in &contradictions {
            says(&lab, said.clone());
            assert_eq!(elsewhere(&lab).as_deref(), Some("m1"));
            lab.run(seconds(7)).await;
        }
        let released = lab.controller().release(&Actor::Master(other()), &worker("w1"), Cause::Released, None);
        released.expect("a release of what one does not have is no mistake");
    }
    assert_eq!(lab.entries().len(), before, "{}", lab.story());
    assert_eq!((lab.state("w1").as_str(), lab.instance("w1")), ("busy", id));
}

#[tokio::test(start_paused = true)]
async fn a_worker_in_use_is_refused_to_another_master_with_the_name_of_its_own_until_it_has_gone() {
    let mut lab = Lab::new(Setup::new());
    lab.request("w1");
    let error = asks(&lab, "o1").expect_err("it is asked for already");
    let told = error.to_string();
    assert!(told.starts_with("worker w1 is used by master m1 (requested); it can be asked for when"), "{told}");
    lab.until_state("w1", "registering").await;
    asks(&lab, "o2").expect_err("it is launched");
    lab.connect("w1");
    lab.release("w1");
    asks(&lab, "o3").expect_err("its instance has yet to go");
    lab.until_nothing_is_left().await;
    assert_eq!(elsewhere(&lab), None);
    asks(&lab, "o4").expect("it is free");
    lab.until_state("w1", "registering").await;
    assert_eq!(lab.view("w1").master.as_deref(), Some("m2"));
    let id = lab.instance("w1");
    says(&lab, connected());
    lab.run(minutes(1)).await;
    assert_eq!((lab.state("w1").as_str(), lab.instance("w1")), ("ready", id), "the first one reports on, in vain");
}

#[tokio::test(start_paused = true)]
async fn a_worker_of_a_silent_master_without_a_build_is_free_and_stays_the_new_ones() {
    let mut lab = Lab::new(Setup::new().policy("idle_timeout = \"never\"\nmaster_silence = \"5m\""));
    let id = lab.make_ready("w1").await;
    lab.master.speaks = false;
    lab.run(minutes(4)).await;
    says(&lab, connected());
    assert_eq!(elsewhere(&lab).as_deref(), Some("m1"), "not yet");
    lab.run(minutes(2)).await;
    says(&lab, WorkerReport::default());
    assert_eq!(lab.state("w1"), "ready", "to know nothing of it is no claim");
    says(&lab, connected());
    assert_eq!((elsewhere(&lab), lab.view("w1").master.as_deref()), (None, Some("m2")));
    let before = lab.entries().len();
    lab.master.speaks = true;
    for _ in 0..30 {
        says(&lab, connected());
        lab.run(seconds(10)).await;
    }
    assert_eq!(lab.entries().len(), before, "the first one is back and does not get it: {}", lab.story());
    assert_eq!((lab.state("w1").as_str(), lab.instance("w1")), ("ready", id));
    let theirs = lab.controller().elsewhere(&"m1".parse().expect("an id"), [&worker("w1")]);
    assert_eq!(theirs.into_values().next(), Some(other()));
}

#[tokio::test(start_paused = true)]
async fn a_worker_of_a_silent_master_that_builds_is_not_free() {
    let mut lab = Lab::new(Setup::new().policy("master_silence = \"5m\""));
    lab.make_ready("w1").await;
    lab.build("w1", Some("b/1"));
    lab.master.speaks = false;
    lab.run(minutes(60)).await;
    asks(&lab, "o1").expect_err("a build runs on it");
    says(&lab, connected());
    assert_eq!((lab.state("w1").as_str(), elsewhere(&lab).as_deref()), ("busy", Some("m1")));
}

#[tokio::test(start_paused = true)]
async fn whose_a_worker_is_survives_the_controller() {
    let mut lab = Lab::new(Setup::new().policy("idle_timeout = \"2h\""));
    lab.make_ready("w1").await;
    lab.crash_and_start().await;
    asks(&lab, "o1").expect_err("the ledger knows whose it is");
    says(&lab, WorkerReport::default());
    assert_eq!((lab.state("w1").as_str(), elsewhere(&lab).as_deref()), ("ready", Some("m1")));
}

#[tokio::test(start_paused = true)]
async fn an_operator_asks_for_a_worker_as_ever_and_the_master_that_sees_it_has_it() {
    let mut lab = Lab::new(Setup::new().policy("idle_timeout = \"2h\""));
    lab.make_ready("w1").await;
    lab.release("w1");
    lab.until_nothing_is_left().await;
    let request: RequestId = "by-hand".parse().expect("an id");
    lab.controller().request(&Actor::Operator, &worker("w1"), &request).expect("asked");
    lab.until_state("w1", "registering").await;
    assert_eq!(lab.view("w1").master, None);
    says(&lab, connected());
    lab.run(seconds(30)).await;
    assert_eq!((lab.state("w1").as_str(), lab.view("w1").master.as_deref()), ("ready", Some("m2")));
}

/// One step of a game of two masters about one worker.
#[derive(Debug, Clone)]
enum Move {
    Report(bool, WorkerReport),
    Request(bool, u8),
    Pass(i64),
}

fn said() -> impl Strategy<Value = WorkerReport> {
    (any::<bool>(), any::<bool>(), proptest::option::of(0..2_u8), proptest::option::of(0..3_u8)).prop_map(
        |(wanted, attached, build, request)| WorkerReport {
            request: request.map(|number| format!("r{number}").parse().expect("an id")),
            wanted,
            attached,
            build: build.filter(|_| attached).map(|number| format!("b/{number}").parse().expect("an id")),
            leaving: false,
            smoke: None,
        },
    )
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        (any::<bool>(), said()).prop_map(|(second, said)| Move::Report(second, said)),
        (any::<bool>(), 0..3_u8).prop_map(|(second, number)| Move::Request(second, number)),
        (1..900_i64).prop_map(Move::Pass),
    ]
}

/// The record of one worker whose instance runs, and when its master was last heard.
struct Game {
    fleet: Fleet,
    now: DateTime<Utc>,
    heard: DateTime<Utc>,
    masters: [MasterId; 2],
    name: WorkerName,
}

impl Game {
    fn new() -> Self {
        let masters = ["m1", "m2"].map(|id| id.parse().expect("a master id"));
        let mut game = Self { fleet: Fleet::default(), now: morning(), heard: morning(), masters, name: worker("w1") };
        let intent = Setup::new().intent();
        let configured = &intent.workers[&game.name];
        let image = &intent.images[&configured.image];
        let id = "1-1".parse().expect("an id");
        let spec = latent::plan::launch_spec(
            game.now,
            &intent,
            &game.name,
            configured,
            crate::harness::first_choice(image),
            &id,
        );
        let attempt = latent::model::Attempt {
            id,
            cell: configured.cell.clone(),
            image: configured.image.clone(),
            created: game.now,
            spec: Some(Box::new(spec)),
        };
        let (name, instance) = (game.name.clone(), "i-1".parse().expect("an id"));
        game.write(&Actor::Operator, Body::Requested { worker: name.clone(), request: "r0".parse().expect("an id") });
        game.write(&Actor::Controller, Body::LaunchIntended { worker: name.clone(), attempt: Box::new(attempt) });
        game.write(&Actor::Cloud, Body::Launched { worker: name, instance });
        game
    }

    fn write(&mut self, actor: &Actor, body: Body) {
        let entry = Entry { seq: self.fleet.seq + 1, at: self.now, actor: actor.clone(), body };
        self.fleet.apply(&entry).expect("an entry follows");
    }

    fn silent(&self) -> bool {
        self.now >= self.heard + TimeDelta::minutes(5)
    }

    /// A master reports; what it changes is written.
    fn report(&mut self, second: bool, said: &WorkerReport) -> Vec<Body> {
        let master = self.masters[usize::from(second)].clone();
        let report = Report { workers: BTreeMap::from([(self.name.clone(), said.clone())]) };
        let silent = self.silent();
        let (silent, declared_by) = (move |_: &WorkerName| silent, |_: &WorkerName| None);
        let standing = Standing { declared_by: &declared_by, silent: &silent };
        let heard = standing.counts(&self.fleet, &self.name, &master, said);
        let bodies = changes(&self.fleet, &master, &report, &standing);
        if heard {
            self.heard = self.now;
        }
        for body in &bodies {
            self.write(&Actor::Master(master.clone()), body.clone());
        }
        bodies
    }

    fn play(&mut self, step: &Move) {
        match step {
            Move::Report(second, said) => drop(self.report(*second, said)),
            Move::Request(second, number) => {
                let master = self.masters[usize::from(*second)].clone();
                let silent = self.silent();
                let (silent, declared_by) = (move |_: &WorkerName| silent, |_: &WorkerName| None);
                let standing = Standing { declared_by: &declared_by, silent: &silent };
                if standing.elsewhere(&self.fleet, &self.name, &master).is_none() {
                    self.heard = self.now;
                    let (worker, request) = (self.name.clone(), format!("r{number}").parse().expect("an id"));
                    self.write(&Actor::Master(master), Body::Requested { worker, request });
                }
            }
            Move::Pass(seconds) => self.now += TimeDelta::seconds(*seconds),
        }
    }
}

proptest! {
    #[test]
    fn masters_that_contradict_each_other_come_to_rest(
        history in proptest::collection::vec(moves(), 0..12), first in said(), second in said(),
    ) {
        let mut game = Game::new();
        for step in &history {
            game.play(step);
        }
        let mut last = 0;
        for round in 1..=40 {
            game.now += TimeDelta::seconds(10);
            let written = game.report(false, &first).len() + game.report(true, &second).len();
            if written > 0 {
                last = round;
            }
        }
        // One of them may have to be silent for five minutes first; after that nothing changes any more.
        prop_assert!(last <= 33, "still in round {last}");
        let master = game.fleet.workers[&game.name].master.clone();
        for _ in 0..60 {
            game.now += TimeDelta::seconds(10);
            prop_assert_eq!(game.report(false, &first), vec![]);
            prop_assert_eq!(game.report(true, &second), vec![]);
        }
        prop_assert_eq!(game.fleet.workers[&game.name].master.clone(), master);
    }
}
