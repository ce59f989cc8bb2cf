//! What the ledger tells of costs, against what the simulated EC2 bills.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::agenda::Happening;
use super::life::lock;
use super::play::Play;
use super::scene::{CONTROLLER, FLEET};
use super::truth::PLANTED;
use crate::model::{Body, Entry, Market, SpotPrice, WorkerName, tag_keys};
use crate::plan::bill::{self, Prices};
use crate::plan::meter::{Meter, Run};
use crate::policy::price::{self, Range, Software};
use crate::sim::spot::PRICE_WINDOW;
use crate::sim::{Instance, Line, RunInstances, Site, SiteId, TagTarget, Tags};

/// EC2 tells times in whole seconds, and a bill may round each run to one.
const SECOND_MS: i64 = 1_000;
/// Amounts are whole millionths: so many may be lost by rounding.
const ROUNDING: u64 = 50;
/// Most strays are of a worker that nobody configured; the others are the second instance of one.
const GHOSTS_OF_TEN: u8 = 7;

/// What the instances of a run cost, in micro-dollars: by EC2's bill, and by the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reckoning {
    /// What EC2 bills for the instances that the ledger could know.
    pub billed: u64,
    /// How much of that is the writing of memories. EC2 tells when a hibernation was asked for and nobody tells how
    /// long it wrote: the ledger has it between nothing and all.
    pub written: u64,
    /// What the ledger says of the same at the least.
    pub low: u64,
    /// And at the most.
    pub high: u64,
    /// Instances that were compared.
    pub instances: u64,
    /// Instances that nothing explained, and that stood long enough to be ended for it.
    pub planted: u64,
    /// How many of them the ledger tells as zombies.
    pub zombies: u64,
}

impl Reckoning {
    /// By how many millionths the middle of what the ledger says is off what it should be: the bill, with half of the
    /// writing of memories.
    pub fn off(&self) -> u64 {
        let (middle, should) = (self.low.midpoint(self.high), self.billed.saturating_sub(self.written / 2));
        let off = u128::from(middle.abs_diff(should)) * 1_000_000;
        u64::try_from(off / u128::from(self.billed.max(1))).unwrap_or(u64::MAX)
    }
}

/// What EC2 bills for a run of an instance, by the list price or the spot price of its zone.
fn price_of(site: &Site, instance: &Instance, (from, to): (DateTime<Utc>, DateTime<Utc>)) -> f64 {
    let kind = &instance.params.instance_type;
    let hours = |from: DateTime<Utc>, to: DateTime<Utc>| (to - from).as_seconds_f64() / 3_600.0;
    if instance.params.spot.is_none() {
        let list = site
            .region
            .parse()
            .ok()
            .and_then(|region| price::hourly(kind, &region, Software::LinuxUnix, Market::OnDemand));
        return list.map_or(0.0, |list| micros(list.low.as_micro_dollars())) * hours(from, to);
    }
    let (mut sum, mut at) = (0.0, from);
    while at < to {
        let next = window_of(at) + PRICE_WINDOW;
        sum += site.spot_price(kind, &instance.zone, at) * 1e6 * hours(at, next.min(to));
        at = next;
    }
    sum
}

#[expect(clippy::cast_precision_loss, reason = "amounts of a simulation fit a double")]
fn micros(amount: u64) -> f64 {
    amount as f64
}

/// When the window of prices began that holds a time.
fn window_of(at: DateTime<Utc>) -> DateTime<Utc> {
    let length = PRICE_WINDOW.num_seconds();
    DateTime::from_timestamp(at.timestamp().div_euclid(length) * length, 0).unwrap_or(at)
}

/// The history of spot prices that EC2 would tell of what was launched in an account.
fn spot_history(site: &Site, begin: DateTime<Utc>, end: DateTime<Utc>) -> Vec<SpotPrice> {
    let spots = site.ever().filter(|instance| instance.params.spot.is_some());
    let kinds: BTreeSet<(&str, &str)> = spots.map(|i| (i.params.instance_type.as_str(), i.zone.as_str())).collect();
    let mut all = Vec::new();
    for (kind, zone) in kinds {
        let mut from = window_of(begin);
        while from < end {
            let dollars = site.spot_price(kind, zone, from);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a price is small")]
            let micro_dollars = (dollars * 1e6).round() as u64;
            let product = "Linux/UNIX".to_owned();
            all.extend(zone.parse().ok().map(|zone| SpotPrice {
                zone,
                instance_type: kind.to_owned(),
                product,
                from,
                micro_dollars,
            }));
            from += PRICE_WINDOW;
        }
    }
    all
}

/// The tokens of the launches that a ledger intends.
fn tokens(entries: &[Entry]) -> BTreeSet<String> {
    let intended = entries.iter().filter_map(|entry| match &entry.body {
        Body::LaunchIntended { attempt, .. } => attempt.spec.as_ref(),
        _ => None,
    });
    intended.map(|spec| spec.token().as_str().to_owned()).collect()
}

impl Play {
    /// Compares what the ledger tells of each instance with what EC2 bills for it.
    pub(super) fn reckon(&mut self) -> Reckoning {
        let entries = self.disk.after(0);
        let mut meter = Meter::default();
        for entry in &entries {
            meter.take(entry);
        }
        let mut runs: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
        for (id, run) in meter.runs().filter_map(|run| Some((run.instance.as_ref()?.as_str(), run))) {
            runs.entry(id).or_default().push(run);
        }
        let intended = tokens(&entries);
        let now = self.now();
        let mut wrong = Vec::new();
        let mut sums = Reckoning::default();
        {
            let (world, truth) = (lock(&self.world), lock(&self.truth));
            if !truth.violations.is_empty() {
                return sums;
            }
            wrong.extend(meter.runs().filter_map(|run| is_gapless(run, now)));
            for (_, site) in world.sites() {
                let history = spot_history(site, now - TimeDelta::days(400), now);
                let prices = Prices { spot: &history, ..Prices::of(&self.intent) };
                let lines: BTreeMap<&str, &Line> = site.bill().lines().collect();
                for instance in site.ever() {
                    let planted = truth.planted.contains(&instance.id);
                    let ours = instance.token.as_ref().is_some_and(|token| intended.contains(token));
                    let Some(line) = lines.get(instance.id.as_str()).filter(|_| ours || planted) else { continue };
                    let told = runs.get(instance.id.as_str()).map(Vec::as_slice).unwrap_or_default();
                    let compared = Compared { site, instance, line, told, planted, prices: &prices, now };
                    compared.judge(&mut sums, &mut wrong);
                }
            }
            for run in meter.runs().filter(|run| run.was_zombie()) {
                let real =
                    run.instance.as_ref().is_none_or(|id| truth.planted.contains(id) || truth.outlived.contains(id));
                if !real {
                    wrong.push(format!("{:?} is told as a zombie, and the ledger explains it", run.instance));
                }
            }
        }
        for what in wrong {
            lock(&self.truth).violated(13, now, what);
        }
        sums
    }

    /// Somebody launches an instance with our tags, and no ledger knows of it.
    pub(super) fn stray(&mut self) {
        let now = self.now();
        let ghost = self.random.u8(0..10) < GHOSTS_OF_TEN;
        let up: Vec<(WorkerName, SiteId)> = lock(&self.truth)
            .standing
            .values()
            .filter(|known| known.up)
            .filter_map(|known| Some((known.worker.parse().ok()?, known.site.clone())))
            .collect();
        let twin = if ghost || up.is_empty() { None } else { Some(up[self.random.usize(0..up.len())].clone()) };
        let sites = self.scene.sites();
        let (worker, site) = match twin {
            Some((worker, site)) => (worker.to_string(), site),
            None => ("ghost".to_owned(), sites[self.random.usize(0..sites.len())].clone()),
        };
        let attempt = format!("{}-9{}", now.timestamp(), self.random.u32(0..1000));
        let tags = [
            (tag_keys::FLEET, FLEET),
            (tag_keys::CONTROLLER, CONTROLLER),
            (tag_keys::ROLE, "worker"),
            (tag_keys::WORKER, worker.as_str()),
            (tag_keys::ATTEMPT, attempt.as_str()),
            (PLANTED, "yes"),
        ];
        let tags: Tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let request = RunInstances {
            image: "ami-0123".to_owned(),
            instance_type: "m7i.large".to_owned(),
            min: 1,
            max: 1,
            tags: [TagTarget::Instance, TagTarget::Volume, TagTarget::NetworkInterface]
                .map(|of| (of, tags.clone()))
                .into(),
            ..RunInstances::default()
        };
        // Where there is no room there is no stray.
        lock(&self.world).touch(&site, now, |site| drop(site.run_instances(&request, None, now)));
        self.some_time(f64::from(self.settings.strays) / 24.0, Happening::Stray);
    }
}

/// A life without gaps, in order, whose uses come to its whole length; or what is wrong with it.
fn is_gapless(run: &Run, now: DateTime<Utc>) -> Option<String> {
    let (begins, id) = (run.begins()?, &run.instance);
    let joined = run.segments.windows(2).all(|pair| pair[0].to == Some(pair[1].from) && pair[0].from < pair[1].from);
    let end = run.ended.as_ref().map_or(now, |ended| ended.at);
    let sum: TimeDelta = run.uses(begins, now.max(end), now).values().sum();
    (!joined || sum != end - begins).then(|| format!("the life of {id:?} has a gap: {sum} of {}", end - begins))
}

/// An instance, its bill, and what the ledger tells of it.
struct Compared<'a> {
    site: &'a Site,
    instance: &'a Instance,
    line: &'a Line,
    /// One that was lost and is found again has several.
    told: &'a [&'a Run],
    planted: bool,
    prices: &'a Prices<'a>,
    now: DateTime<Utc>,
}

impl Compared<'_> {
    fn judge(&self, sums: &mut Reckoning, wrong: &mut Vec<String>) {
        let (id, now) = (&self.instance.id, self.now);
        if self.told.is_empty() {
            // What ends by itself before anybody looks twice is known to nobody.
            if self.planted && self.instance.is_over() {
                return;
            }
            return wrong.push(format!("the ledger does not tell of {id}, which EC2 bills"));
        }
        if self.planted {
            let zombie = self.told.iter().any(|run| run.was_zombie());
            sums.planted += 1;
            sums.zombies += u64::from(zombie);
            if !zombie && !self.told.iter().any(|run| run.adopted) {
                wrong.push(format!("{id} was planted, and the ledger does not tell it as a zombie"));
            }
        }
        let billed: f64 = self.line.runs_at(now).map(|run| price_of(self.site, self.instance, run)).sum();
        let written: f64 = self.line.writes.iter().map(|write| price_of(self.site, self.instance, *write)).sum();
        let seconds: i64 = self.line.runs_at(now).map(|(from, to)| (to - from).num_milliseconds()).sum();
        let (begin, end) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
        let told: Vec<_> = self.told.iter().map(|run| bill::of(run, begin, end, now, self.prices)).collect();
        let low: i64 = told.iter().map(|bill| bill.billed.0.num_milliseconds()).sum();
        let high: i64 = told.iter().map(|bill| bill.billed.1.num_milliseconds()).sum();
        let slack = SECOND_MS * i64::from(self.line.starts);
        if !(low - slack..=high + slack).contains(&seconds) {
            wrong.push(format!(
                "EC2 bills {seconds} ms of {id}, and the ledger tells {low} to {high}: {:?}",
                self.told.iter().map(|run| &run.starts).collect::<Vec<_>>()
            ));
        }
        if let Some(why) = told.iter().find_map(|bill| bill.unpriced.as_ref()) {
            return wrong.push(format!("{id} has no price: {why}"));
        }
        let cost = told.iter().map(|bill| bill.cost.compute).sum::<Range>();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a price is small")]
        let (billed, written) = (billed.round() as u64, written.round() as u64);
        let slack = ROUNDING + billed / 500;
        if billed + slack < cost.low.as_micro_dollars() || billed > cost.high.as_micro_dollars() + slack {
            wrong.push(format!("EC2 bills {billed} micro-dollars for {id}, and the ledger tells {cost:#}"));
        }
        sums.instances += 1;
        sums.billed += billed;
        sums.written += written;
        sums.low += cost.low.as_micro_dollars();
        sums.high += cost.high.as_micro_dollars();
    }
}
