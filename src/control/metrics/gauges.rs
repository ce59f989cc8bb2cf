//! What is looked up when it is asked for: how everything is now.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use super::counted::Vitals;
use super::counted::seconds;
use super::meters::{self, Meter, MeterKind};
use super::{Labels, labels};
use crate::control::pace::ApiAction;
use crate::control::rebake::RebakeView;
use crate::control::shared::{CellStatus, Shared};
use crate::ledger::Ledger;
use crate::model::{
    Cell, Fleet, HeldReason, Instance, InstanceState, LeftoverKind, Market, Outcome, OwnerName, Worker, WorkerName,
    WorkerState,
};
use crate::policy::Intent;
use crate::policy::price::{Money, Prices, Range, Software};

/// The states of an instance that are told apart; an ended one is none.
const INSTANCE_STATES: [&str; 6] = ["pending", "running", "stopping", "stopped", "shutting-down", "unknown"];
/// The states of a worker.
const WORKER_STATES: [&str; 9] =
    ["requested", "launching", "registering", "ready", "busy", "draining", "terminating", "stopped", "gone"];
/// The states of a rebake.
const REBAKE_STATES: [&str; 6] = ["active", "done", "handed_over", "failed", "aborted", "rolled_back"];

/// Values by metric, as they are now.
#[derive(Debug, Default)]
struct Sheet(Vec<(Meter, Vec<(Labels, f64)>)>);

impl Sheet {
    fn add<const N: usize>(&mut self, meter: &Meter, values: [&str; N], value: f64) {
        let row = (labels(meter, values), value);
        match self.0.iter_mut().find(|(known, _)| known.name == meter.name) {
            Some((_, rows)) => rows.push(row),
            None => self.0.push((*meter, vec![row])),
        }
    }
}

impl Collector for Sheet {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (meter, rows) in &self.0 {
            let ((name, unit), help) = (meter.parts(), format!("{}.", meter.help));
            let mut metric = encoder.encode_descriptor(name, &help, unit.as_ref(), meter.kind.as_type())?;
            for (labels, value) in rows {
                match meter.kind {
                    MeterKind::Info => metric.encode_info(labels)?,
                    _ if labels.is_empty() => metric.encode_gauge(value)?,
                    MeterKind::Counter | MeterKind::Gauge | MeterKind::Histogram => {
                        metric.encode_family(labels)?.encode_gauge(value)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A registry of what is so now, to be served once.
pub(super) fn registry<L: Ledger>(shared: &Shared<L>, now: DateTime<Utc>, rebakes: &[RebakeView]) -> Registry {
    let mut sheet = Sheet::default();
    let (intent, since) = (shared.intent(), shared.heard().since());
    sheet.add(&meters::BUILD_INFO, [crate::VERSION], 1.0);
    sheet.add(&meters::STARTED, [], float(since.timestamp_millis()) / 1000.0);
    let (departing, bytes) = {
        let book = shared.book();
        workers(&mut sheet, now, &intent, book.fleet());
        sheet.add(&meters::LEDGER_SEQ, [], float(book.fleet().seq));
        (departing(book.fleet()), book.bytes())
    };
    if let Some(bytes) = bytes {
        sheet.add(&meters::LEDGER_SIZE, [], float(bytes));
    }
    sheet.add(&meters::LEDGER_FAILING, [], flag(shared.metrics().ledger_fails()));
    let (statuses, vitals) = (shared.cells().clone(), shared.metrics().vitals());
    let fresh = CellStatus::default();
    let all: BTreeSet<&Cell> = intent.cells().chain(vitals.keys()).collect();
    for cell in all {
        let status = statuses.get(cell).unwrap_or(&fresh);
        let age = departing.get(cell).map_or(0.0, |since| seconds(now - *since));
        sheet.add(&meters::DEPARTING_AGE, place(cell), age);
        swept(&mut sheet, now, since, &intent, cell, status);
        let vitals = vitals.get(cell);
        listed(&mut sheet, now, since, cell, vitals, &intent.prices);
        if let Some(vitals) = vitals {
            leased(&mut sheet, now, cell, vitals);
            paced(&mut sheet, now, cell, vitals);
        }
    }
    rebaked(&mut sheet, &intent, rebakes);
    sheet.add(&meters::UNREACHED, [], f64::from(shared.metrics().unreached()));
    let mut registry = Registry::default();
    registry.register_collector(Box::new(sheet));
    registry
}

/// Whole numbers that are far from where a double is no longer exact, or where that does not matter.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn float(number: impl TryInto<i64>) -> f64 {
    number.try_into().unwrap_or(i64::MAX) as f64
}

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

fn place(cell: &Cell) -> [&str; 2] {
    [cell.owner.as_str(), cell.region.as_str()]
}

fn workers(sheet: &mut Sheet, now: DateTime<Utc>, intent: &Intent, fleet: &Fleet) {
    let mut states: BTreeMap<(&OwnerName, &str), u32> = BTreeMap::new();
    for (owner, state) in intent.owners.keys().flat_map(|owner| WORKER_STATES.map(|state| (owner, state))) {
        states.insert((owner, state), 0);
    }
    let left = fleet.workers.iter().filter(|(_, worker)| !matches!(worker.state, WorkerState::Gone { .. }));
    let names: BTreeSet<&WorkerName> = intent.workers.keys().chain(left.map(|(name, _)| name)).collect();
    for name in names {
        let worker = fleet.workers.get(name);
        let bound = worker.filter(|worker| worker.in_service()).and_then(|worker| worker.attempt.as_ref());
        let configured = intent.workers.get(name).map(|worker| &worker.cell.owner);
        let state = worker.map_or("gone", |worker| worker.state.name());
        if let Some(owner) = bound.map(|attempt| &attempt.cell.owner).or(configured) {
            *states.entry((owner, state)).or_default() += 1;
        }
        of_worker(sheet, now, name.as_str(), worker);
    }
    for ((owner, state), number) in states {
        sheet.add(&meters::WORKERS, [owner.as_str(), state], f64::from(number));
    }
}

fn of_worker(sheet: &mut Sheet, now: DateTime<Utc>, name: &str, worker: Option<&Worker>) {
    let waits = worker.and_then(|worker| worker.request.as_ref()).map_or(0.0, |request| seconds(now - request.at));
    sheet.add(&meters::WORKER_CONNECTED, [name], flag(worker.is_some_and(|worker| worker.attached)));
    sheet.add(&meters::WORKER_WAITING, [name], waits);
    sheet.add(&meters::WORKER_FAILURES, [name], worker.map_or(0.0, |worker| worker.failures_in_a_row.into()));
}

/// Since when the oldest order to end an instance stands, by cell.
fn departing(fleet: &Fleet) -> BTreeMap<Cell, DateTime<Utc>> {
    let mut oldest: BTreeMap<Cell, DateTime<Utc>> = BTreeMap::new();
    for one in fleet.departing.values() {
        let since = oldest.entry(one.cell.clone()).or_insert(one.since);
        *since = one.since.min(*since);
    }
    oldest
}

fn listed(
    sheet: &mut Sheet,
    now: DateTime<Utc>,
    since: DateTime<Utc>,
    cell: &Cell,
    vitals: Option<&Vitals>,
    prices: &Prices,
) {
    let [owner, region] = place(cell);
    let inventory = vitals.and_then(|vitals| vitals.listed.as_deref());
    let at = inventory.map_or(since, |inventory| inventory.observed_at);
    sheet.add(&meters::LISTING_AGE, [owner, region], seconds(now - at).max(0.0));
    sheet.add(&meters::LISTING_FAILED, [owner, region], flag(vitals.is_some_and(|vitals| vitals.failing)));
    let instances: Vec<&Instance> =
        inventory.map(|inventory| inventory.instances.values().collect()).unwrap_or_default();
    for state in INSTANCE_STATES {
        let number = instances.iter().filter(|one| state_of(one) == Some(state)).count();
        sheet.add(&meters::INSTANCES, [owner, region, state], float(number as u64));
    }
    let live = instances.iter().filter(|one| one.state.is_live());
    let rates: Vec<Option<Range>> = live.map(|one| hourly(prices, cell, one)).collect();
    let rate: Range = rates.iter().copied().flatten().sum();
    let unpriced = rates.iter().filter(|price| price.is_none()).count();
    sheet.add(&meters::COST_RATE, [owner, region, "low"], dollars(rate.low));
    sheet.add(&meters::COST_RATE, [owner, region, "high"], dollars(rate.high));
    sheet.add(&meters::UNPRICED, [owner, region], float(unpriced as u64));
}

fn state_of(instance: &Instance) -> Option<&'static str> {
    match instance.state {
        InstanceState::Pending => Some("pending"),
        InstanceState::Running => Some("running"),
        InstanceState::Stopping => Some("stopping"),
        InstanceState::Stopped => Some("stopped"),
        InstanceState::ShuttingDown => Some("shutting-down"),
        InstanceState::Terminated => None,
        InstanceState::Unknown(_) => Some("unknown"),
    }
}

fn hourly(prices: &Prices, cell: &Cell, instance: &Instance) -> Option<Range> {
    let market = if instance.parts.spot_request.is_some() { Market::Spot } else { Market::OnDemand };
    let software = Software::of_details(instance.platform_details.as_deref()?)?;
    prices.hourly(&instance.instance_type, &cell.region, software, market)
}

fn dollars(money: Money) -> f64 {
    float(money.as_micro_dollars()) / 1_000_000.0
}

fn swept(
    sheet: &mut Sheet,
    now: DateTime<Utc>,
    since: DateTime<Utc>,
    intent: &Intent,
    cell: &Cell,
    status: &CellStatus,
) {
    let [owner, region] = place(cell);
    let strange = status.held.values().filter(|reason| {
        matches!(reason, HeldReason::Unreadable { .. } | HeldReason::SecondLook { .. } | HeldReason::Retagged { .. })
    });
    sheet.add(&meters::STRANGE, [owner, region], float(strange.count() as u64));
    let plan = status.swept.as_ref();
    sheet.add(&meters::SWEEP_AGE, [owner, region], seconds(now - plan.map_or(since, |plan| plan.taken_at)).max(0.0));
    sheet.add(&meters::SWEEP_PERIOD, [owner, region], seconds(intent.sweep.period));
    sheet.add(&meters::SWEEP_GAPS, [owner, region], float(plan.map_or(0, |plan| plan.gaps.len()) as u64));
    for kind in LeftoverKind::ALL {
        let found = plan.map_or(0, |plan| plan.findings.iter().filter(|finding| finding.kind == *kind).count());
        sheet.add(&meters::LEFTOVERS, [owner, region, kind.name()], float(found as u64));
    }
}

fn leased(sheet: &mut Sheet, now: DateTime<Utc>, cell: &Cell, vitals: &Vitals) {
    let left = vitals.leases.iter().map(|lease| lease.end - now).min();
    if let Some(left) = left {
        sheet.add(&meters::LEASE_LEFT, place(cell), seconds(left));
    }
    let shares = vitals.leases.iter().map(|lease| seconds(lease.end - now) / seconds(lease.length).max(1.0));
    if let Some(least) = shares.reduce(f64::min) {
        sheet.add(&meters::LEASE_RATIO, place(cell), least);
    }
}

fn paced(sheet: &mut Sheet, now: DateTime<Utc>, cell: &Cell, vitals: &Vitals) {
    let [owner, region] = place(cell);
    let mut pace = vitals.pace.clone();
    for action in ApiAction::ALL {
        let (tokens, factor) = pace.level(action, now);
        sheet.add(&meters::API_TOKENS, [owner, region, action.code()], tokens);
        sheet.add(&meters::API_PACE, [owner, region, action.code()], factor);
    }
}

fn rebake_state(rebake: &RebakeView) -> &'static str {
    match &rebake.outcome {
        None => "active",
        Some(Outcome::Done { .. }) => "done",
        Some(Outcome::HandedOver { .. }) => "handed_over",
        Some(Outcome::Failed { .. }) => "failed",
        Some(Outcome::Aborted {}) => "aborted",
        Some(Outcome::RolledBack { .. }) => "rolled_back",
    }
}

fn rebaked(sheet: &mut Sheet, intent: &Intent, rebakes: &[RebakeView]) {
    for state in REBAKE_STATES {
        let number = rebakes.iter().filter(|rebake| rebake_state(rebake) == state).count();
        sheet.add(&meters::REBAKES, [state], float(number as u64));
    }
    for image in intent.images.keys() {
        let ended = rebakes.iter().filter(|rebake| rebake.image == *image && rebake.outcome.is_some());
        let last = ended.max_by_key(|rebake| rebake.ordered_at);
        let failed = last.is_some_and(|rebake| matches!(rebake_state(rebake), "failed" | "rolled_back"));
        sheet.add(&meters::REBAKE_FAILED, [image.as_str()], flag(failed));
    }
}
