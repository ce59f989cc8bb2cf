//! A CI master in Rust that embeds `latent`, on a simulated EC2. With the feature `ec2`,
//! `latent::ec2::Ec2::new` takes the simulated cloud's place and nothing else changes.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex};

use latent::control::{Clock, Controller};
use latent::ledger::MemoryLedger;
use latent::model::{Actor, Cause, MasterId, WorkerName};
use latent::plan::{Report, WorkerReport};
use latent::policy::{Intent, Sources};
use latent::sim::{SimCloud, SiteId, World};

const FLEET: &str = "[fleet]\nname = \"example\"\ncontroller = \"embedded\"\n[worker.debian-1]\nimage = \"debian\"\n\
    [owner.alice]\naccount = \"123456789012\"\ncredentials = { environment = true }\n";
const IMAGE: &str =
    "owner = \"alice\"\nregion = \"us-west-2\"\nami = \"ami-1234beef\"\ninstance_types = [\"m7i.large\"]\n";

/// Waits until the worker is in a state; the record is looked at whenever it moves.
async fn until(controller: &Controller<MemoryLedger>, worker: &WorkerName, state: &str) -> Result<(), Box<dyn Error>> {
    let mut changed = controller.changed();
    while controller.worker(worker).ok_or("not configured")?.state != state {
        changed.changed().await?;
    }
    Ok(())
}

/// Wants a worker, runs a build on it, lets it go. Gives what was launched and what is left.
pub(crate) async fn one_build(clock: Clock) -> Result<(usize, usize), Box<dyn Error>> {
    let image = ("debian".to_owned(), "amis/debian.toml".to_owned(), IMAGE.to_owned());
    let main = ("latent.toml".to_owned(), FLEET.to_owned());
    let intent = Intent::parse(&Sources { main, images: vec![image], ..Sources::default() })?;
    let world = Arc::new(Mutex::new(World::steady()));
    let (door, time) = (Arc::clone(&world), clock.clone());
    let connect = move |_: &_, _: &_| {
        SimCloud::new(Arc::clone(&door), SiteId::new("123456789012", "us-west-2"), None, time.clone())
    };
    let controller = Controller::start(intent, MemoryLedger::default(), clock.clone(), 1, connect)?;
    let (master, worker): (MasterId, WorkerName) = ("my-ci".parse()?, "debian-1".parse()?);
    let say = |attached: bool, build: Option<&str>| -> Result<(), Box<dyn Error>> {
        let said = WorkerReport {
            wanted: true,
            attached,
            build: build.map(str::parse).transpose()?,
            ..WorkerReport::default()
        };
        Ok(controller.report(&master, &Report { workers: BTreeMap::from([(worker.clone(), said)]) })?)
    };
    controller.request(&Actor::Operator, &worker, &"request-1".parse()?)?;
    until(&controller, &worker, "registering").await?; // Now the machine boots, and its worker connects:
    say(true, None)?;
    say(true, Some("build/1"))?;
    until(&controller, &worker, "busy").await?; // The build runs, and ends:
    say(true, None)?;
    controller.release(&Actor::Operator, &worker, Cause::Released, None)?;
    until(&controller, &worker, "gone").await?;
    let world = world.lock().map_err(|_| "a thread panicked")?;
    let sites = || world.sites().map(|(_, site)| site);
    Ok((sites().map(|site| site.ever().count()).sum(), sites().map(|site| site.costing().count()).sum()))
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example tells what it did")]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("launched and left: {:?}", one_build(Clock::system()).await?);
    Ok(())
}
