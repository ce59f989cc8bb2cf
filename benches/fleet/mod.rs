//! A fleet of any size as the controller knows it: its configuration, its ledger, and the listing of each cell.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use latent::model::{
    Actor, Attempt, Body, Cell, Entry, Fleet, ImageName, Instance, InstanceId, InstanceState, Inventory, LaunchSpec,
    Parts, Region, WorkerName,
};
use latent::plan::{AmiListings, Chosen, EquipCalls, View, Watch, launch_spec};
use latent::policy::{Intent, Secret, Sources};

/// The regions that the cells are spread over.
const REGIONS: [&str; 5] = ["us-east-1", "us-east-2", "us-west-2", "eu-central-1", "eu-west-1"];

/// What each instance runs first.
const TEMPLATE: &str = "#!/bin/sh\nprintf '%s' {{ password | sh }} > /etc/worker/{{ worker }}\n";

/// The files of such a fleet as the controller reads them, secrets included.
pub(crate) fn intent(cells: usize, workers_each: usize) -> Intent {
    let sources = sources(cells, workers_each);
    let mut intent = Intent::parse(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    let secret = Secret::new("a password of some length".to_owned());
    intent.render_user_data(&sources, |_| Ok(secret.clone())).unwrap_or_else(|problems| panic!("{problems}"));
    intent
}

/// A fleet in which every worker runs a build.
pub(crate) struct House {
    pub(crate) now: DateTime<Utc>,
    pub(crate) intent: Intent,
    pub(crate) entries: Vec<Entry>,
    pub(crate) fleet: Fleet,
    pub(crate) cells: Vec<Cell>,
    pub(crate) watches: BTreeMap<Cell, Watch>,
    pub(crate) inventories: BTreeMap<Cell, Inventory>,
}

impl House {
    /// So many workers in each of so many cells.
    pub(crate) fn of(cells: usize, workers_each: usize) -> Self {
        let now: DateTime<Utc> = "2026-03-02T08:00:00Z".parse().expect("a time");
        let intent = intent(cells, workers_each);
        let mut number = 0_u64;
        let entries = entries(&intent, now, |_, _| {
            number += 1;
            format!("i-{number:017x}").parse().expect("an id")
        });
        let fleet = Fleet::fold(&entries).expect("they follow");
        let mut inventories: BTreeMap<Cell, Inventory> = BTreeMap::new();
        for worker in fleet.workers.values() {
            let attempt = worker.attempt.as_ref().expect("launched");
            let empty = || Inventory { observed_at: now, complete: true, instances: BTreeMap::new() };
            let listed = instance(attempt, worker.state.instance().expect("launched").clone());
            inventories.entry(attempt.cell.clone()).or_insert_with(empty).instances.insert(listed.id.clone(), listed);
        }
        let mut watches = BTreeMap::new();
        for (cell, inventory) in &inventories {
            let mut watch = Watch::begun(now);
            watch.update(cell, &intent, &fleet, inventory);
            watches.insert(cell.clone(), watch);
        }
        Self { now, intent, entries, fleet, cells: inventories.keys().cloned().collect(), watches, inventories }
    }

    /// What a decision about the first cell may depend on, some minutes later.
    pub(crate) fn with_view<T>(&self, use_it: impl FnOnce(&View<'_>) -> T) -> T {
        let cell = &self.cells[0];
        let now = self.now + TimeDelta::minutes(2);
        use_it(&View {
            now,
            cell,
            intent: &self.intent,
            fleet: &self.fleet,
            inventory: self.inventories.get(cell),
            listing_failure: None,
            watch: &self.watches[cell],
            amis: &AmiListings::default(),
            equip_calls: &EquipCalls::default(),
            in_flight: &std::collections::BTreeSet::new(),
            not_before: &BTreeMap::new(),
            heard: &|_| now,
            spoken: &|_| Some(now),
            launches_now: 3,
            launches_from: now,
            live: self.fleet.live(),
            budget: None,
        })
    }
}

/// The files of such a fleet: an image for each cell, twenty owners at most.
pub(crate) fn sources(cells: usize, workers_each: usize) -> Sources {
    let mut main = "[fleet]\nname = \"test\"\ncontroller = \"ctl\"\ninstances_max = 100000\n".to_owned();
    let owners = cells.div_ceil(REGIONS.len());
    for owner in 0..owners {
        let _ = writeln!(main, "[owner.o{owner}]\naccount = \"1000000000{owner:02}\"");
        let _ = writeln!(main, "credentials = {{ environment = true }}");
    }
    let mut images = Vec::new();
    for cell in 0..cells {
        let (owner, region) = (cell / REGIONS.len(), REGIONS[cell % REGIONS.len()]);
        let name = format!("image{cell}");
        let text = format!(
            "owner = \"o{owner}\"\nregion = \"{region}\"\nami = \"ami-{cell}\"\ninstance_types = [\"m7i.large\"]\nidentity = \"injected\"\nuser_data = \"setup.sh\"\n"
        );
        images.push((name.clone(), format!("amis/{name}.toml"), text));
        for worker in 0..workers_each {
            // So that the workers of one cell do not follow each other in the order of their names.
            let _ =
                writeln!(main, "[worker.w{worker:05}-{cell:03}]\nimage = \"{name}\"\npassword = {{ env = \"PW\" }}");
        }
    }
    let templates = BTreeMap::from([("setup.sh".to_owned(), TEMPLATE.to_owned())]);
    Sources { main: ("latent.toml".to_owned(), main), images, templates, ..Sources::default() }
}

/// What the ledger says when every worker was asked for, launched and connected, and builds.
/// `launch` gives the instance of each.
pub(crate) fn entries(
    intent: &Intent,
    now: DateTime<Utc>,
    mut launch: impl FnMut(&Cell, &LaunchSpec) -> InstanceId,
) -> Vec<Entry> {
    let master = Actor::Master("m1".parse().expect("an id"));
    let mut entries = Vec::new();
    for (number, (worker, configured)) in intent.workers.iter().enumerate() {
        let image = &intent.images[&configured.image];
        let id = format!("{number}-1").parse().expect("an id");
        let ami = image.ami.named().expect("named");
        let chosen = Chosen { image, ami, offering: &image.offerings[0], canary: None };
        let spec = launch_spec(now, intent, worker, configured, chosen, &id);
        let (cell, image): (Cell, ImageName) = (configured.cell.clone(), configured.image.clone());
        let instance = launch(&cell, &spec);
        let attempt = Attempt { id, cell, image, created: now, spec: Some(Box::new(spec)) };
        let (name, request) = (|| -> WorkerName { worker.clone() }, format!("r{number}").parse().expect("an id"));
        let bodies = [
            (&master, Body::Requested { worker: name(), request }),
            (&Actor::Controller, Body::LaunchIntended { worker: name(), attempt: Box::new(attempt) }),
            (&Actor::Cloud, Body::Launched { worker: name(), instance: instance.clone() }),
            (&Actor::Cloud, Body::Running { worker: name(), instance, seen: None }),
            (&master, Body::Attached { worker: name() }),
            (&master, Body::BuildStarted { worker: name(), build: "builder/1".parse().expect("an id") }),
        ];
        for (actor, body) in bodies {
            entries.push(Entry { seq: entries.len() as u64 + 1, at: now, actor: actor.clone(), body });
        }
    }
    entries
}

/// The instance of an attempt, as EC2 lists it.
fn instance(attempt: &Attempt, id: InstanceId) -> Instance {
    let spec = attempt.spec.as_ref().expect("ours");
    let region: &Region = &attempt.cell.region;
    let number = id.as_str().trim_start_matches("i-").to_owned();
    let parts = Parts {
        volumes: vec![format!("vol-{number}")],
        lasting: Vec::new(),
        interfaces: vec![format!("eni-{number}")],
        spot_request: None,
    };
    Instance {
        id,
        state: InstanceState::Running,
        ami: Some(spec.ami.clone()),
        instance_type: spec.offering.instance_type.clone(),
        zone: format!("{region}a").parse().ok(),
        launch_time: Some(attempt.created),
        launch_index: 0,
        token: Some(spec.token()),
        attached_at: Some(attempt.created),
        stopped_at: None,
        ended_at: None,
        parts,
        platform_details: Some("Linux/UNIX".to_owned()),
        addresses: vec!["10.0.0.4".to_owned(), "54.1.2.3".to_owned()],
        state_reason: None,
        tags: spec.tags.clone(),
    }
}
