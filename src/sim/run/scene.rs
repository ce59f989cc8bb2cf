//! The fleet of a seed: owners, images and workers of every sort, as the configuration files would say it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::purse::Allowance;
use crate::policy::{Intent, JoinKey, Secret, Sources};
use crate::sim::SiteId;

/// The fleet's name in every run.
pub(super) const FLEET: &str = "sim";
/// From which the address says nothing: what stands before the master of some workers.
pub(super) const PROXY: &str = "192.0.2.7";
/// One of so many workers is behind it, and proves itself by its join secret.
const PROXIED: usize = 3;
/// Of so many workers the last two are of an image that several share, and are launched together …
const SHARING: usize = 4;
/// … so many by one call.
const TOGETHER_MAX: usize = 3;
/// What their user data is made from.
const SHARED_TEMPLATE: &str =
    "#!/bin/sh\n{% for w in workers %}: {{ w.worker }} {{ w.password }} {{ w.join_secret }}\n{% endfor %}";
/// How the line of a policy begins that keeps a worker warm.
const WARM: &str = "warm = [";
/// The controller's name in every run.
pub(super) const CONTROLLER: &str = "sim-main";

/// One worker's image.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
struct Worker {
    owner: usize,
    region: &'static str,
    ami: u32,
    spot: bool,
    zones: bool,
    stops: bool,
    /// Whether its guests watch their lease and their last hour.
    watches: bool,
    windows: bool,
    /// What more its policy says.
    levers: String,
}

/// The fleet of a seed.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    owners: usize,
    workers: Vec<Worker>,
    changes: u32,
    /// What the first owner may spend, if that is limited.
    pub(super) allowance: Option<Allowance>,
}

impl Scene {
    pub(super) fn new(owners: u32, workers: u32, random: &mut fastrand::Rng) -> Self {
        let owners = owners.max(1) as usize;
        // The last owner's requests are all to be met.
        let allowance = if owners > 1 { Allowance::draw(random.clone()) } else { None };
        // Of a source of its own: what else a seed holds does not depend on it.
        let mut levers = random.clone();
        let workers = (0..workers.max(1) as usize).map(|number| Worker {
            owner: number % owners,
            region: if random.u8(0..10) == 0 { "eu-central-1" } else { "us-west-2" },
            ami: random.u32(0x1000..0xffff),
            spot: random.u8(0..4) == 0,
            zones: random.bool(),
            stops: random.u8(0..4) == 0,
            watches: random.u8(0..3) > 0,
            windows: random.u8(0..8) == 0,
            levers: draw_levers(&mut levers),
        });
        Self { owners, workers: workers.collect(), changes: 0, allowance }
    }

    /// Something of the configuration changes, as it does in a living fleet.
    pub(super) fn change(&mut self, random: &mut fastrand::Rng) {
        self.changes += 1;
        let number = random.usize(0..self.workers.len());
        let worker = &mut self.workers[number];
        match random.u8(0..4) {
            0 => worker.spot = !worker.spot,
            1 => worker.zones = !worker.zones,
            2 => worker.stops = !worker.stops,
            _ => worker.ami = random.u32(0x1000..0xffff),
        }
    }

    /// Nobody wants anything any more, at no time of the day.
    pub(super) fn cools_down(&mut self) {
        for worker in &mut self.workers {
            let other = worker.levers.lines().filter(|line| !line.starts_with(WARM));
            worker.levers = other.fold(String::new(), |text, line| text + line + "\n");
        }
    }

    pub(super) fn worker_names(&self) -> impl Iterator<Item = String> {
        (0..self.workers.len()).map(|number| format!("w{number:02}"))
    }

    pub(super) fn watches_lease(&self, worker: &str) -> bool {
        self.find(worker).is_some_and(|worker| worker.watches)
    }

    pub(super) fn is_windows(&self, worker: &str) -> bool {
        self.find(worker).is_some_and(|worker| worker.windows)
    }

    /// Whether its connections come through the proxy.
    pub(super) fn is_proxied(worker: &str) -> bool {
        number_of(worker).is_some_and(|number| number % PROXIED == 0)
    }

    /// The image that a worker shares with others, if it does.
    fn shared_image(&self, number: usize) -> Option<String> {
        let worker = self.workers.get(number)?;
        let shares = number % SHARING >= SHARING / 2 && !number.is_multiple_of(PROXIED) && !worker.stops;
        shares.then(|| format!("shared-{}-{}", worker.owner, worker.region))
    }

    /// The others of whom builds are wanted whenever this one is wanted, for they share its image.
    pub(super) fn wanted_with(&self, worker: &str) -> Vec<String> {
        let Some(image) = number_of(worker).and_then(|number| self.shared_image(number)) else { return Vec::new() };
        let sharing = |number: &usize| self.shared_image(*number).as_ref() == Some(&image);
        let names: Vec<String> =
            self.worker_names().enumerate().filter(|(number, _)| sharing(number)).map(|(_, name)| name).collect();
        // They follow one of them, so that there are not more builds the more share an image.
        if names.first().is_some_and(|first| first == worker) {
            names.into_iter().skip(1).collect()
        } else {
            Vec::new()
        }
    }

    /// From which the join secrets of a run are derived.
    pub(super) fn join_key() -> JoinKey {
        JoinKey::new([7; 32])
    }

    fn find(&self, worker: &str) -> Option<&Worker> {
        number_of(worker).and_then(|number| self.workers.get(number))
    }

    pub(super) fn account(owner: usize) -> String {
        format!("{:012}", 111_111_111_111_u64 * (owner as u64 + 1))
    }

    /// The accounts whose weather is calm.
    pub(super) fn calm_sites(&self) -> Vec<SiteId> {
        if self.owners < 2 {
            return Vec::new();
        }
        ["us-west-2", "eu-central-1"].map(|region| SiteId::new(&Self::account(self.owners - 1), region)).to_vec()
    }

    /// The workers of the owner whose account works.
    pub(super) fn calm_workers(&self) -> std::collections::BTreeSet<String> {
        let calm = |number: &usize| self.owners > 1 && self.workers[*number].owner + 1 == self.owners;
        self.worker_names().enumerate().filter(|(number, _)| calm(number)).map(|(_, name)| name).collect()
    }

    /// The first owner's account and workers.
    pub(super) fn budgeted(&self) -> (String, std::collections::BTreeSet<String>) {
        let own = |number: &usize| self.workers[*number].owner == 0;
        let workers = self.worker_names().enumerate().filter(|(number, _)| own(number)).map(|(_, name)| name);
        (Self::account(0), workers.collect())
    }

    /// Every account and region of the fleet.
    pub(super) fn sites(&self) -> Vec<SiteId> {
        let mut all: Vec<SiteId> =
            self.workers.iter().map(|worker| SiteId::new(&Self::account(worker.owner), worker.region)).collect();
        all.sort();
        all.dedup();
        all
    }

    pub(super) fn intent(&self) -> Option<Intent> {
        let mut main = format!("[fleet]\nname = \"{FLEET}\"\ncontroller = \"{CONTROLLER}\"\nproxies = [\"{PROXY}\"]\n");
        let _ = writeln!(main, "[polling]\nfast = \"4s\"\nslow = \"4m\"");
        for owner in 0..self.owners {
            let account = Self::account(owner);
            let _ = writeln!(main, "[owner.o{owner}]\naccount = \"{account}\"\ncredentials = {{ environment = true }}");
            if let Some(allowance) = self.allowance.filter(|_| owner == 0) {
                let _ = writeln!(main, "{}", allowance.line());
            }
        }
        let (mut images, mut policies): (Vec<(String, String, String)>, Vec<_>) = (Vec::new(), Vec::new());
        for (number, (name, worker)) in self.worker_names().zip(&self.workers).enumerate() {
            let shared = self.shared_image(number);
            let proxied = shared.is_none() && Self::is_proxied(&name);
            policies.push((name.clone(), format!("policies/{name}.toml"), worker.policy(proxied)));
            if let Some(image) = shared {
                let _ = writeln!(
                    main,
                    "[worker.{name}]\nimage = \"{image}\"\npolicy = \"{name}\"\npassword = {{ env = \"PASSWORD\" }}"
                );
                if !images.iter().any(|(known, ..)| *known == image) {
                    images.push((image.clone(), format!("amis/{image}.toml"), worker.shared_manifest()));
                }
                continue;
            }
            let _ = writeln!(main, "[worker.{name}]\nimage = \"{name}\"\npolicy = \"{name}\"");
            images.push((name.clone(), format!("amis/{name}.toml"), worker.manifest(proxied)));
        }
        let templates = BTreeMap::from([
            ("join.sh".to_owned(), "#!/bin/sh\n: {{ join_secret }}\n".to_owned()),
            ("shared.sh".to_owned(), SHARED_TEMPLATE.to_owned()),
        ]);
        let main = ("latent.toml".to_owned(), main);
        let sources = Sources { main, images, policies, templates, ..Sources::default() };
        let mut intent = Intent::parse(&sources).ok()?;
        intent.render_user_data(&sources, |_| Ok(Secret::new("hush".to_owned()))).ok()?;
        intent.join_key = Some(Self::join_key());
        Some(intent)
    }
}

fn number_of(worker: &str) -> Option<usize> {
    worker.strip_prefix('w').and_then(|number| number.parse().ok())
}

/// Some workers wear out, and some grow old; most do neither.
fn draw_levers(random: &mut fastrand::Rng) -> String {
    let mut text = String::new();
    if random.u8(0..4) == 0 {
        let _ = writeln!(text, "max_builds = {}", random.u8(1..6));
    }
    if random.u8(0..4) == 0 {
        let _ = writeln!(text, "max_age = \"{}m\"", random.u16(30..480));
    }
    if random.u8(0..4) == 0 {
        text.push_str("idle_timeout = \"auto\"\n");
    }
    if random.u8(0..4) == 0 {
        let hour = random.u8(0..24);
        let _ = writeln!(text, "{WARM}\"{hour:02}:30-{:02}:15\"]", (hour + random.u8(1..5)) % 24);
    }
    text
}

impl Worker {
    /// The image that workers of this one's owner and region share.
    fn shared_manifest(&self) -> String {
        format!(
            "owner = \"o{}\"\nregion = \"{}\"\nami = \"ami-0000abcd\"\ninstance_types = [\"m7i.large\", \"m6i.large\"]\n\
             identity = \"injected\"\nuser_data = \"shared.sh\"\nbatch_max = {TOGETHER_MAX}\n",
            self.owner, self.region
        )
    }

    fn policy(&self, proxied: bool) -> String {
        let on_idle = match (self.stops, self.ami % 2) {
            (false, _) => "terminate",
            (true, 0) => "hibernate",
            (true, _) => "stop",
        };
        let proof = if proxied { "join-secret" } else { "address" };
        format!("on_idle = \"{on_idle}\"\nmax_lifetime = \"8h\"\nlease = \"45m\"\nproof = \"{proof}\"\n{}", self.levers)
    }

    fn manifest(&self, proxied: bool) -> String {
        let mut text = format!(
            "owner = \"o{}\"\nregion = \"{}\"\nami = \"ami-{:08x}\"\ninstance_types = [\"m7i.large\", \"m6i.large\"]\n",
            self.owner, self.region, self.ami
        );
        if self.zones {
            let _ = writeln!(text, "zones = [\"{0}a\", \"{0}b\", \"{0}c\"]", self.region);
        }
        if proxied {
            text.push_str("user_data = \"join.sh\"\n");
        }
        // A one-time spot instance cannot be stopped.
        if self.spot && !self.stops {
            text.push_str("market = [\"spot\", \"on-demand\"]\n");
        }
        text
    }
}
