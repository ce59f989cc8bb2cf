//! The status page of a lively fleet on a simulated EC2: a day is played before it is shown, and it goes on.
//!
//! `cargo run --no-default-features --example page -- [LISTEN] [WORKERS] [SOCKET]` prints where the page is; it asks for a
//! token if `PAGE_TOKEN` is set. The command line asks the fleet over the socket: `latent --socket SOCKET status`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use latent::control::{Clock, Controller};
use latent::ledger::MemoryLedger;
use latent::link::{Page, Server};
use latent::model::{Actor, Cause, MasterId, WorkerName};
use latent::plan::{Report, WorkerReport};
use latent::policy::{Intent, Secret, Sources};
use latent::sim::{ApiError, Mishap, SimCloud, SiteId, World};
use tokio::sync::watch;

/// How much of the past is played before the page is shown.
const BEFORE: TimeDelta = TimeDelta::hours(26);
/// How often the master of this fleet looks around.
const STEP: TimeDelta = TimeDelta::seconds(20);
/// How many seconds pass in one once the page is shown.
const SPEED: f64 = 20.0;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// Two owners, three images, so many workers; the last one has an AMI that does not exist any more.
fn sources(workers: usize) -> Sources {
    let mut main = "[fleet]\nname = \"example\"\ncontroller = \"example-main\"\n[polling]\nfast = \"10s\"\n\
        [policy]\nidle_timeout = \"10m\"\n"
        .to_owned();
    // What a day costs crosses the soft amount of one of them.
    for (owner, account, budget) in
        [("alice", "111111111111", "soft = \"5.00\", hard = \"40.00\""), ("bob", "222222222222", "soft = \"30.00\"")]
    {
        let _ = write!(
            main,
            "[owner.{owner}]\naccount = \"{account}\"\ncredentials = {{ environment = true }}\nbudget = {{ {budget} }}\n"
        );
    }
    let image = |name: &str, owner: &str, lines: &str| {
        let text = format!("owner = \"{owner}\"\nregion = \"us-west-2\"\nami = \"ami-{name}\"\n{lines}");
        (name.to_owned(), format!("amis/{name}.toml"), text)
    };
    let injected = "identity = \"injected\"\nuser_data = \"boot.sh\"\nlease_watch = \"none\"\n";
    let images = vec![
        image("debian", "alice", &format!("{injected}generation = 4\ninstance_types = [\"m7i.large\", \"m6i.large\"]")),
        image(
            "fedora",
            "alice",
            &format!("{injected}instance_types = [\"m7i.large\"]\nmarket = [\"spot\", \"on-demand\"]"),
        ),
        image("windows", "bob", &format!("{injected}platform = \"windows\"\ninstance_types = [\"m7i.xlarge\"]")),
    ];
    for number in 1..=workers {
        let image = ["debian", "fedora", "windows"][number % 3];
        let _ = write!(main, "[worker.{image}-{number:02}]\nimage = \"{image}\"\npassword = {{ env = \"EXAMPLE\" }}\n");
    }
    let templates = BTreeMap::from([("boot.sh".to_owned(), "#!/bin/sh\n".to_owned())]);
    Sources { main: ("latent.toml".to_owned(), main), images, templates, ..Sources::default() }
}

/// What a worker is to do next, and when.
struct Plan {
    next: DateTime<Utc>,
    builds: u32,
    knows: WorkerReport,
}

/// A master that wants workers now and then, by a seed.
struct Master {
    id: MasterId,
    random: fastrand::Rng,
    plans: BTreeMap<WorkerName, Plan>,
    requests: u32,
    builds: u32,
}

impl Master {
    fn new(intent: &Intent, now: DateTime<Utc>) -> Fallible<Self> {
        let mut random = fastrand::Rng::with_seed(7);
        let plan = |wait| Plan { next: now + TimeDelta::minutes(wait), builds: 0, knows: WorkerReport::default() };
        let plans = intent.workers.keys().map(|name| (name.clone(), plan(random.i64(0..400)))).collect();
        Ok(Self { id: "ci".parse()?, random, plans, requests: 0, builds: 0 })
    }

    /// Bob's workers are wanted now.
    fn hurry(&mut self, now: DateTime<Utc>) {
        let of_bob = self.plans.iter_mut().filter(|(name, _)| name.as_str().starts_with("windows"));
        of_bob.for_each(|(_, plan)| plan.next = now);
    }

    /// One look around: asks, connects, builds and lets go.
    fn turn(&mut self, controller: &Controller<MemoryLedger>, now: DateTime<Utc>) -> Fallible<()> {
        for (name, plan) in &mut self.plans {
            let Some(view) = controller.worker(name) else { continue };
            let running = view.instance_state.as_deref() == Some("running");
            let due = plan.next <= now;
            match view.state.as_str() {
                "gone" if due && !plan.knows.wanted => {
                    self.requests += 1;
                    let request: latent::model::RequestId = format!("r{}", self.requests).parse()?;
                    controller.request(&Actor::Master(self.id.clone()), name, &request)?;
                    plan.knows = WorkerReport { request: Some(request), wanted: true, ..WorkerReport::default() };
                    plan.builds = self.random.u32(1..7);
                    plan.next = now + TimeDelta::seconds(self.random.i64(60..240));
                }
                "gone" if plan.knows.wanted => {
                    plan.knows = WorkerReport::default();
                    plan.next = now + TimeDelta::minutes(self.random.i64(30..400));
                }
                "registering" if running && due && !plan.knows.attached => plan.knows.attached = true,
                "ready" if due && plan.builds > 0 => {
                    plan.builds -= 1;
                    self.builds += 1;
                    plan.knows.build = Some(format!("builder-{}/{}", self.random.u32(1..5), self.builds).parse()?);
                    plan.next = now + TimeDelta::minutes(self.random.i64(2..50));
                }
                "busy" if due => {
                    plan.knows.build = None;
                    plan.next = now + TimeDelta::minutes(self.random.i64(0..14));
                }
                "ready" | "draining" if due => {
                    let request = plan.knows.request.clone();
                    controller.release(&Actor::Master(self.id.clone()), name, Cause::Released, request.as_ref())?;
                    plan.knows = WorkerReport::default();
                    plan.next = now + TimeDelta::minutes(self.random.i64(10..300));
                }
                _ => {}
            }
        }
        let workers = self.plans.iter().map(|(name, plan)| (name.clone(), plan.knows.clone())).collect();
        Ok(controller.report(&self.id, &Report { workers })?)
    }
}

fn start(
    intent: Intent,
    ledger: MemoryLedger,
    world: &Arc<Mutex<World>>,
    clock: &Clock,
) -> Fallible<Controller<MemoryLedger>> {
    let (door, time) = (Arc::clone(world), clock.clone());
    let connect = move |cell: &latent::model::Cell, intent: &Intent| {
        let account = intent.owners.get(&cell.owner).and_then(|owner| owner.account.clone()).unwrap_or_default();
        SimCloud::new(Arc::clone(&door), SiteId::new(&account, cell.region.as_str()), None, time.clone())
    };
    Ok(Controller::start(intent, ledger, clock.clone(), 1, connect)?)
}

/// Plays the time before the page is shown, in virtual time.
async fn past(
    intent: &Intent,
    master: &mut Master,
    ledger: &MemoryLedger,
    world: &Arc<Mutex<World>>,
    begin: DateTime<Utc>,
) -> Fallible<DateTime<Utc>> {
    let clock = Clock::starting_at(begin);
    let mut end = begin + BEFORE / 2;
    for _ in 0..2 {
        let controller = start(intent.clone(), ledger.clone(), world, &clock)?;
        while clock.now() < end {
            master.turn(&controller, clock.now())?;
            clock.sleep_until(clock.now() + STEP).await;
        }
        controller.shutdown().await;
        // Nobody is there for a while, as when a machine is restarted.
        clock.sleep_until(clock.now() + TimeDelta::minutes(20)).await;
        end += BEFORE / 2;
    }
    Ok(clock.now())
}

/// The next launches of bob fail for a reason that a person must mend, with a message that means no good.
fn mishap(world: &Arc<Mutex<World>>) {
    let message = "The image id '[ami-windows]<script>alert(1)</script>' does not exist \u{202e}";
    let error = ApiError::client("InvalidAMIID.NotFound", message);
    let place = SiteId::new("222222222222", "us-west-2");
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
    world.inject(Some("RunInstances"), Some(&place), Mishap::Refuse(error), 2);
}

#[expect(clippy::print_stdout, reason = "an example tells where its page is")]
fn main() -> Fallible<()> {
    let mut args = std::env::args().skip(1);
    let listen: SocketAddr = args.next().unwrap_or_else(|| "127.0.0.1:0".to_owned()).parse()?;
    let workers: usize = args.next().unwrap_or_else(|| "12".to_owned()).parse()?;
    let socket = args.next();
    let token = std::env::var("PAGE_TOKEN").ok().map(Secret::new);
    let intent = Intent::parse(&sources(workers))?;
    let (ledger, world) = (MemoryLedger::default(), Arc::new(Mutex::new(World::steady())));
    let begin = Clock::system().now() - BEFORE - TimeDelta::minutes(40);
    let mut master = Master::new(&intent, begin)?;
    let virtual_time = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let now = virtual_time.block_on(past(&intent, &mut master, &ledger, &world, begin))?;
    mishap(&world);
    master.hurry(now);
    tokio::runtime::Runtime::new()?.block_on(async {
        let clock = Clock::starting_at(now).at_speed(SPEED);
        let controller = start(intent, ledger, &world, &clock)?;
        let page = Page::bind(listen, token).await?;
        let (_stop, stopped) = watch::channel(false);
        let names = ("example".to_owned(), "example-main".to_owned());
        if let Some(socket) = socket {
            let server = Server::bind(socket.as_ref(), None).await?;
            tokio::spawn(server.run(controller.clone(), names.clone(), None, stopped.clone()));
        }
        println!("http://{}/", page.address().ok_or("no address")?);
        let mut serving = tokio::spawn(page.run(controller.clone(), names, None, None, stopped));
        loop {
            master.turn(&controller, clock.now())?;
            tokio::select! {
                () = clock.sleep_until(clock.now() + STEP) => {}
                ended = &mut serving => return Ok(ended??),
            }
        }
    })
}
