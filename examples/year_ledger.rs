//! A ledger as a busy fleet leaves it behind, to measure on: a thousand workers over a year are ten million entries.
//!
//! `cargo run --no-default-features --example year_ledger -- FILE [WORKERS] [DAYS]` writes FILE, which must not be
//! there, as a controller writes it: entry for entry folded, chained, sealed and kept in checkpoints. Its last entry is
//! of now. With a FILE that is there it opens that instead, and says how long a controller's start takes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use latent::control::{Clock, Fold};
use latent::ledger::{Ledger, SqliteLedger};
use latent::model::{
    Actor, Attempt, Body, Cause, Cell, Entry, Failure, FailureKind, InstanceId, InstanceState, Phase, Sight, StopMode,
    WorkerName,
};
use latent::plan::{Chosen, launch_spec};
use latent::policy::{Intent, Sources};

type Fallible<T> = Result<T, Box<dyn Error>>;

/// Entries of one write. A controller writes a few at a time; that would take a year as well.
const BATCH: usize = 1_000;
/// How often the controller is restarted.
const RESTARTS: TimeDelta = TimeDelta::days(7);
/// How many times an instance that may be stopped is started again.
const CYCLES_MAX: u32 = 6;

/// What happens to a worker next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Request,
    Launch,
    Answer,
    Start,
    Run,
    Attach,
    Build,
    Built,
    Release,
    Leave,
    Stopped,
    Accepted,
    Departed,
}

/// A worker of this fleet.
struct Seat {
    name: WorkerName,
    next: Next,
    instance: Option<InstanceId>,
    attempt: Option<Attempt>,
    builds: u32,
    cycles: u32,
}

struct Year {
    intent: Intent,
    random: fastrand::Rng,
    seats: Vec<Seat>,
    fold: Fold,
    pending: Vec<Entry>,
    numbers: u64,
}

/// Three owners in three regions; every fifth worker's instance is stopped rather than ended.
fn sources(workers: usize) -> Sources {
    let mut main = "[fleet]\nname = \"example\"\ncontroller = \"example-main\"\n".to_owned();
    let owners = [("alice", "111111111111"), ("bob", "222222222222"), ("carol", "333333333333")];
    for (owner, account) in owners {
        let _ = write!(main, "[owner.{owner}]\naccount = \"{account}\"\ncredentials = {{ environment = true }}\n");
    }
    let images = [("debian", "alice", "us-west-2"), ("fedora", "bob", "eu-west-1"), ("freebsd", "carol", "us-east-2")];
    let lines = "identity = \"injected\"\nuser_data = \"boot.sh\"\nlease_watch = \"none\"\ninstance_types = [\"m7i.large\", \"m6i.large\"]\n";
    for number in 1..=workers {
        let image = images[number % images.len()].0;
        let _ = write!(main, "[worker.{image}-{number:04}]\nimage = \"{image}\"\npassword = {{ env = \"P\" }}\n");
    }
    let images = images.map(|(name, owner, region)| {
        let text = format!(
            "owner = \"{owner}\"\nregion = \"{region}\"\nami = \"ami-0123456789abc{:04x}\"\n{lines}",
            name.len()
        );
        (name.to_owned(), format!("amis/{name}.toml"), text)
    });
    let templates = BTreeMap::from([("boot.sh".to_owned(), "#!/bin/sh\n".to_owned())]);
    Sources { main: ("latent.toml".to_owned(), main), images: images.to_vec(), templates, ..Sources::default() }
}

impl Year {
    fn new(workers: usize) -> Fallible<Self> {
        let intent = Intent::parse(&sources(workers))?;
        let seat = |name: &WorkerName| Seat {
            name: name.clone(),
            next: Next::Request,
            instance: None,
            attempt: None,
            builds: 0,
            cycles: 0,
        };
        let seats = intent.workers.keys().map(seat).collect();
        let random = fastrand::Rng::with_seed(1);
        Ok(Self { intent, random, seats, fold: Fold::default(), pending: Vec::new(), numbers: 0 })
    }

    /// So long from now, spread by a half to each side.
    fn about(&mut self, seconds: u64) -> TimeDelta {
        let nanoseconds = i64::try_from(seconds * 1_000_000_000).unwrap_or(i64::MAX);
        TimeDelta::nanoseconds(self.random.i64(nanoseconds / 2..=nanoseconds / 2 * 3))
    }

    fn say(&mut self, at: DateTime<Utc>, actor: Actor, body: Body) -> Fallible<()> {
        let entry = Entry { seq: self.fold.fleet().seq + 1, at, actor, body };
        self.fold.check(&entry)?;
        self.pending.push(entry);
        Ok(())
    }

    /// Writes what was said.
    fn write(&mut self, ledger: &mut SqliteLedger) -> Fallible<()> {
        ledger.append(&self.pending)?;
        for entry in std::mem::take(&mut self.pending) {
            self.fold.count(&entry);
        }
        self.fold.keep(ledger, false);
        Ok(())
    }

    fn attempt(&mut self, at: DateTime<Utc>, name: &WorkerName) -> Fallible<Attempt> {
        self.numbers += 1;
        let configured = self.intent.workers.get(name).ok_or("no such worker")?;
        let image = self.intent.images.get(&configured.image).ok_or("no such image")?;
        let id = format!("{}-{}", at.timestamp(), self.numbers).parse()?;
        let ami = image.ami.named().ok_or("no AMI")?;
        let offering = image.offerings.first().ok_or("no offering")?;
        let chosen = Chosen { image, ami, offering, canary: None };
        let spec = Some(Box::new(launch_spec(at, &self.intent, name, configured, chosen, &id)));
        Ok(Attempt { id, cell: configured.cell.clone(), image: configured.image.clone(), created: at, spec })
    }

    fn sight(at: DateTime<Utc>, attempt: Option<&Attempt>) -> Option<Box<Sight>> {
        let spec = attempt?.spec.as_ref()?;
        let zone = format!("{}a", attempt?.cell.region).parse().ok();
        Some(Box::new(Sight {
            state: Some(InstanceState::Running),
            instance_type: Some(spec.offering.instance_type.clone()),
            market: Some(spec.offering.market),
            zone,
            ami: Some(spec.ami.clone()),
            platform_details: Some("Linux/UNIX".to_owned()),
            launch_time: DateTime::from_timestamp(at.timestamp() - 4, 0),
            public_address: Some(true),
            ..Sight::default()
        }))
    }

    /// What happens to a worker now; gives what comes next, and when.
    fn step(&mut self, at: DateTime<Utc>, place: usize) -> Fallible<TimeDelta> {
        let seat = &self.seats[place];
        let (worker, next) = (seat.name.clone(), seat.next);
        let master = || -> Fallible<Actor> { Ok(Actor::Master(format!("master-{}", place % 3).parse()?)) };
        let instance = seat.instance.clone();
        let id = || instance.clone().ok_or("no instance");
        let (actor, body, then, wait) = match next {
            Next::Request => {
                self.numbers += 1;
                let request = format!("{:08x}-{:04}", self.random.u32(..), self.numbers % 10_000).parse()?;
                let then = if instance.is_some() { Next::Start } else { Next::Launch };
                (master()?, Body::Requested { worker, request }, then, 1)
            }
            Next::Launch => {
                let attempt = self.attempt(at, &worker)?;
                self.seats[place].attempt = Some(attempt.clone());
                (Actor::Controller, Body::LaunchIntended { worker, attempt: Box::new(attempt) }, Next::Answer, 2)
            }
            Next::Answer if self.random.u32(..100) < 3 => {
                let said = "We currently do not have sufficient m7i.large capacity in the Availability Zone you \
                            requested.";
                let (code, kind) = ("InsufficientInstanceCapacity", FailureKind::Elsewhere);
                let failure = Failure::new(Phase::Launch, kind, code, said);
                (Actor::Cloud, Body::LaunchRefused { worker, failure }, Next::Launch, 30)
            }
            Next::Answer => {
                let instance: InstanceId = format!("i-0{:016x}", self.random.u64(..)).parse()?;
                self.seats[place].instance = Some(instance.clone());
                (Actor::Cloud, Body::Launched { worker, instance }, Next::Run, 12)
            }
            Next::Start => (Actor::Controller, Body::StartIntended { worker, instance: id()? }, Next::Run, 15),
            Next::Run => {
                self.seats[place].builds = self.random.u32(1..8);
                let seen = Self::sight(at, self.seats[place].attempt.as_ref());
                (Actor::Cloud, Body::Running { worker, instance: id()?, seen }, Next::Attach, 45)
            }
            Next::Attach => (master()?, Body::Attached { worker }, Next::Build, 5),
            Next::Build => {
                self.numbers += 1;
                let build = format!("{}-builder-{}/{}", worker, self.random.u32(..40), self.numbers / 40).parse()?;
                (master()?, Body::BuildStarted { worker, build }, Next::Built, 900)
            }
            Next::Built => {
                let left = self.seats[place].builds.saturating_sub(1);
                self.seats[place].builds = left;
                let then = if left == 0 { Next::Release } else { Next::Build };
                (master()?, Body::BuildFinished { worker }, then, if left == 0 { 600 } else { 120 })
            }
            Next::Release => (master()?, Body::Released { worker, cause: Cause::Idle }, Next::Leave, 1),
            Next::Leave | Next::Stopped | Next::Accepted | Next::Departed => self.end(at, place)?,
        };
        self.say(at, actor, body)?;
        self.seats[place].next = then;
        Ok(self.about(wait))
    }

    /// What happens to a worker whose master has let go.
    fn end(&mut self, at: DateTime<Utc>, place: usize) -> Fallible<(Actor, Body, Next, u64)> {
        let (seat, may_stop) = (&mut self.seats[place], place.is_multiple_of(5));
        let worker = seat.name.clone();
        let instance = seat.instance.clone().ok_or("no instance")?;
        let seen = DateTime::from_timestamp(at.timestamp() - 5, 0);
        Ok(match seat.next {
            Next::Stopped => {
                let body = Body::StopSeen { worker, instance, stopped_at: seen, ran_until: None };
                (Actor::Cloud, body, Next::Request, 36_000)
            }
            Next::Accepted => (Actor::Cloud, Body::TerminateAccepted { instance }, Next::Departed, 40),
            Next::Departed => {
                (seat.instance, seat.cycles) = (None, 0);
                (
                    Actor::Cloud,
                    Body::Departed { instance, ended_at: seen, ran_until: None, seen: None },
                    Next::Request,
                    40_000,
                )
            }
            _ if may_stop && seat.cycles < CYCLES_MAX => {
                seat.cycles += 1;
                (
                    Actor::Controller,
                    Body::StopIntended { worker, instance, cause: Cause::Released, mode: StopMode::Plain },
                    Next::Stopped,
                    40,
                )
            }
            _ => {
                let cell: Cell = seat.attempt.as_ref().ok_or("no attempt")?.cell.clone();
                let (worker, cause) = (Some(worker), Cause::Released);
                let body = Body::TerminateIntended { instance, cell, worker, cause, seen: None, silent_since: None };
                (Actor::Controller, body, Next::Accepted, 1)
            }
        })
    }

    fn play(&mut self, ledger: &mut SqliteLedger, begin: DateTime<Utc>, end: DateTime<Utc>) -> Fallible<()> {
        let started = || Body::ControllerStarted { version: latent::VERSION.to_owned() };
        self.say(begin, Actor::Controller, started())?;
        let first: Vec<_> = (0..self.seats.len()).map(|place| Reverse((begin + self.about(40_000), place))).collect();
        let (mut due, mut restart) = (BinaryHeap::from(first), begin + RESTARTS);
        while let Some(Reverse((at, place))) = due.pop().filter(|Reverse((at, _))| *at < end) {
            if at > restart {
                self.say(at, Actor::Controller, Body::ControllerStopped {})?;
                self.say(at, Actor::Controller, started())?;
                restart += RESTARTS;
            }
            let wait = self.step(at, place)?;
            due.push(Reverse((at + wait, place)));
            if self.pending.len() >= BATCH {
                self.write(ledger)?;
            }
        }
        self.write(ledger)
    }
}

#[expect(clippy::print_stdout, reason = "an example tells what it measured")]
fn main() -> Fallible<()> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("name the file")?;
    let workers: usize = args.next().unwrap_or_else(|| "1000".to_owned()).parse()?;
    let days: i64 = args.next().unwrap_or_else(|| "365".to_owned()).parse()?;
    let (path, clock) = (Path::new(&file), Clock::system());
    let begun = clock.now();
    let seconds = |since: DateTime<Utc>| (clock.now() - since).as_seconds_f64();
    if !path.exists() {
        let mut ledger = SqliteLedger::open(path)?;
        Year::new(workers)?.play(&mut ledger, begun - TimeDelta::days(days), begun)?;
        println!("written in {:.1} s", seconds(begun));
    }
    let begun = clock.now();
    let mut ledger = SqliteLedger::open(path)?;
    let opened = seconds(begun);
    let mut folded = 0_u64;
    let fold = Fold::open(&mut ledger, |_, _| folded += 1)?;
    println!(
        "{} entries, {} bytes; opened in {opened:.2} s, folded in {:.2} s ({folded} entries after the last checkpoint)",
        fold.fleet().seq,
        ledger.bytes().unwrap_or_default(),
        seconds(begun) - opened,
    );
    Ok(())
}
