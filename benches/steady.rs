//! A whole controller on a simulated EC2, in virtual time: how long a start takes until everything is known again,
//! what it keeps in memory, and how busy it is while every worker builds and its master reports. The simulated EC2
//! works in the same process: what it keeps is there before the controller is, what it does is counted with it.
//!
//! `cargo bench --no-default-features --bench steady -- CELLS WORKERS_EACH`; 100 cells of 100 workers if not said.

#[expect(dead_code, reason = "no view of a cell is needed here")]
mod fleet;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use latent::control::{Clock, Controller};
use latent::ledger::{Ledger as _, SqliteLedger};
use latent::model::{Cell, Entry, InstanceId, LaunchSpec, MasterId};
use latent::plan::{Report, WorkerReport};
use latent::policy::Intent;
use latent::sim::{RunInstances, SimCloud, SiteId, TagTarget, World};

/// For how long it is watched.
const WATCHED: TimeDelta = TimeDelta::minutes(10);
/// How often the master reports.
const REPORT: TimeDelta = TimeDelta::seconds(30);

/// What a process says of itself, in kilobytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// The processor time of this process so far, in seconds; the kernel counts hundredths.
fn worked() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn place(cell: &Cell, intent: &Intent) -> SiteId {
    SiteId::new(intent.owners[&cell.owner].account.as_deref().expect("named"), cell.region.as_str())
}

/// The instance of a launch, as its owner has it.
fn launch(world: &mut World, at: &SiteId, spec: &LaunchSpec, now: DateTime<Utc>) -> InstanceId {
    let tags: BTreeMap<String, String> =
        spec.tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let request = RunInstances {
        image: spec.ami.as_str().to_owned(),
        instance_type: spec.offering.instance_type.clone(),
        min: 1,
        max: 1,
        tags: [TagTarget::Instance, TagTarget::Volume].map(|target| (target, tags.clone())).into(),
        ..RunInstances::default()
    };
    world.touch(at, now, |site| site.run_instances(&request, None, now)).expect("launches")[0].clone()
}

/// What a master says of workers that all build.
fn report(intent: &Intent) -> Report {
    let build = "builder/1".parse().ok();
    let said = WorkerReport { wanted: true, attached: true, build, ..WorkerReport::default() };
    Report { workers: intent.workers.keys().map(|name| (name.clone(), said.clone())).collect() }
}

#[expect(clippy::print_stdout, reason = "the result of a bench")]
async fn run(cells: usize, workers_each: usize) {
    let now: DateTime<Utc> = "2026-03-02T08:00:00Z".parse().expect("a time");
    let clock = Clock::starting_at(now);
    let intent = fleet::intent(cells, workers_each);
    let mut world = World::steady();
    let mut entries: Vec<Entry> =
        fleet::entries(&intent, now, |cell, spec| launch(&mut world, &place(cell, &intent), spec, now));
    let folder = tempfile::tempdir().expect("a folder");
    let mut ledger = SqliteLedger::open(&folder.path().join("ledger.sqlite")).expect("a ledger");
    for some in entries.chunks(5_000) {
        ledger.append(some).expect("is written");
    }
    entries = Vec::new();
    drop((entries, intent));
    clock.sleep_until(now + TimeDelta::minutes(5)).await;
    let before = resident();

    let (world, began) = (Arc::new(Mutex::new(world)), worked());
    let (of_world, of_clock) = (Arc::clone(&world), clock.clone());
    let connect = move |cell: &Cell, intent: &Intent| {
        SimCloud::new(Arc::clone(&of_world), place(cell, intent), None, of_clock.clone())
    };
    let intent = fleet::intent(cells, workers_each);
    let said = report(&intent);
    let controller = Controller::start(intent, ledger, clock.clone(), 1, connect).expect("starts");
    while !controller.claims().1 {
        clock.sleep_until(clock.now() + TimeDelta::milliseconds(100)).await;
    }
    println!("{} workers in {cells} cells", cells * workers_each);
    println!("start to everything listed: {:.2} s of a processor", worked() - began);
    println!("resident: {} MB, of it {} MB before the controller", resident() / 1024, before / 1024);

    let (begun, master): (_, MasterId) = (worked(), "m1".parse().expect("an id"));
    let until = clock.now() + WATCHED;
    let (mut reported, mut next) = (0.0, clock.now());
    while clock.now() < until {
        let at = worked();
        controller.report(&master, &said).expect("is taken in");
        reported += worked() - at;
        next += REPORT;
        clock.sleep_until(next).await;
    }
    let busy = (worked() - begun) / WATCHED.as_seconds_f64();
    println!(
        "busy: {:.1} % of a processor, of it {:.1} % with reports",
        busy * 100.0,
        reported / WATCHED.as_seconds_f64() * 100.0
    );
    let live = controller.workers().iter().filter(|worker| worker.state == "busy").count();
    println!("resident: {} MB; {live} workers still build", resident() / 1024);
    controller.abort();
}

fn main() {
    // What cargo adds is no number.
    let mut numbers = std::env::args().filter_map(|word| word.parse().ok());
    let (cells, each) = (numbers.next().unwrap_or(100), numbers.next().unwrap_or(100));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(run(cells, each));
}
