//! What is counted as it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::known::Known;
use super::meters::{self, Meter};
use super::{Labels, labels};
use crate::control::pace::Pace;
use crate::model::{Cause, Cell, FailureKind, ImageName, Inventory, OwnerName, Place, WorkerName, Zone};
use crate::plan::{Begun, Happening, LeaseSeen, TimedPhase, Took};
use crate::policy::{Image, Intent};

/// Buckets of a phase by image and zone, in seconds.
const BUCKETS: [f64; 11] = [1.0, 5.0, 10.0, 20.0, 40.0, 60.0, 90.0, 150.0, 300.0, 600.0, 1800.0];
/// Buckets of a phase by worker, in seconds; fewer, because there may be a thousand workers.
const WORKER_BUCKETS: [f64; 5] = [30.0, 60.0, 120.0, 300.0, 900.0];
/// In a larger fleet nothing is timed by worker, and a failed request is counted by worker and reason from the first
/// one on: Prometheus would have eighty series of each worker, and the controller several kilobytes.
const TIMED_WORKERS_MAX: usize = 500;
/// The zone of what no launch names one for and no listing has shown.
const NO_ZONE: &str = "unknown";
/// The outcome of a launch that gave an instance.
const LAUNCHED: &str = "launched";

type Counters = Family<Labels, Counter>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// What a cell's loop knows when it begins a look, whether or not it can write what it finds.
#[derive(Debug, Clone)]
pub(in crate::control) struct Vitals {
    /// The last complete listing.
    pub(in crate::control) listed: Option<Arc<Inventory>>,
    /// Whether the listing after that failed.
    pub(in crate::control) failing: bool,
    /// The leases of what is in use.
    pub(in crate::control) leases: Vec<LeaseSeen>,
    /// The buckets.
    pub(in crate::control) pace: Pace,
}

/// Of whom there are series, and what the loops know.
#[derive(Debug, Default)]
struct Seen {
    workers: Known<WorkerName>,
    images: Known<ImageName>,
    owners: Known<OwnerName>,
    cells: Known<Cell>,
    /// The zones of which an image has series.
    zones: BTreeMap<ImageName, BTreeSet<(Begun, String)>>,
    vitals: BTreeMap<Cell, Vitals>,
}

/// All that is counted.
#[derive(Debug)]
pub(in crate::control) struct Metrics {
    registry: Registry,
    phases: Histograms,
    worker_phases: Histograms,
    requests: Counters,
    requests_failed: Counters,
    launches: Counters,
    builds: Counters,
    ended: Counters,
    interruptions: Counters,
    turned_away: Counters,
    api_calls: Counters,
    api_errors: Counters,
    ledger_failures: Counter,
    ledger_failing: AtomicBool,
    unreached: AtomicU32,
    /// Whether there are more workers than are timed one by one.
    is_large: AtomicBool,
    seen: Mutex<Seen>,
}

fn register(registry: &mut Registry, meter: &Meter, metric: impl Metric) {
    match meter.parts() {
        (name, Some(unit)) => registry.register_with_unit(name, meter.help, unit, metric),
        (name, None) => registry.register(name, meter.help, metric),
    }
}

fn counters(registry: &mut Registry, meter: &Meter) -> Counters {
    let family = Counters::default();
    register(registry, meter, family.clone());
    family
}

fn histograms(registry: &mut Registry, meter: &Meter, buckets: fn() -> Histogram) -> Histograms {
    let family = Histograms::new_with_constructor(buckets);
    register(registry, meter, family.clone());
    family
}

/// The refusals that a call of the API may meet.
fn api_reasons() -> impl Iterator<Item = FailureKind> {
    FailureKind::ALL
        .into_iter()
        .filter(|kind| !matches!(kind, FailureKind::NotConnected | FailureKind::Ended | FailureKind::Candidate))
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a phase fit a double")]
pub(super) fn seconds(span: TimeDelta) -> f64 {
    span.num_milliseconds() as f64 / 1000.0
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let all = &mut registry;
        let phases = histograms(all, &meters::PHASES, || Histogram::new(BUCKETS));
        let worker_phases = histograms(all, &meters::WORKER_PHASES, || Histogram::new(WORKER_BUCKETS));
        let requests = counters(all, &meters::REQUESTS);
        let requests_failed = counters(all, &meters::REQUESTS_FAILED);
        let launches = counters(all, &meters::LAUNCHES);
        let builds = counters(all, &meters::BUILDS);
        let ended = counters(all, &meters::INSTANCES_ENDED);
        let interruptions = counters(all, &meters::INTERRUPTIONS);
        let turned_away = counters(all, &meters::TURNED_AWAY);
        let api_calls = counters(all, &meters::API_CALLS);
        let api_errors = counters(all, &meters::API_ERRORS);
        let ledger_failures = Counter::default();
        register(all, &meters::LEDGER_FAILURES, ledger_failures.clone());
        let (ledger_failing, seen) = (AtomicBool::new(false), Mutex::default());
        Self {
            registry,
            phases,
            worker_phases,
            requests,
            requests_failed,
            launches,
            builds,
            ended,
            interruptions,
            turned_away,
            api_calls,
            api_errors,
            ledger_failures,
            ledger_failing,
            unreached: AtomicU32::new(0),
            is_large: AtomicBool::new(false),
            seen,
        }
    }
}

impl Metrics {
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the series of all that is configured.
    pub(in crate::control) fn configured(&self, intent: &Intent) {
        for image in intent.images.keys() {
            self.begin_image(image);
        }
        for (name, image) in &intent.images {
            for zone in zones_of(image) {
                self.begin_zone(name, Begun::Launched, zone);
            }
        }
        self.is_large.store(intent.workers.len() > TIMED_WORKERS_MAX, Ordering::Relaxed);
        for (name, worker) in &intent.workers {
            self.begin_worker(name);
            self.begin_cell(&worker.cell);
            let stops = worker.policy.on_idle.keeps_instance();
            for zone in intent.images.get(&worker.image).filter(|_| stops).into_iter().flat_map(zones_of) {
                self.begin_zone(&worker.image, Begun::Restarted, zone);
            }
        }
        for owner in intent.owners.keys() {
            self.begin_owner(owner);
        }
    }

    /// Ends the series of what has not been configured for a while.
    pub(super) fn keep_to(&self, now: DateTime<Utc>, intent: &Intent) {
        self.configured(intent);
        let mut seen = self.seen();
        let cells = intent.cells().cloned().collect();
        for worker in seen.workers.outdated(now, &intent.workers.keys().cloned().collect()) {
            self.end_worker(&worker);
        }
        for image in seen.images.outdated(now, &intent.images.keys().cloned().collect()) {
            let zones = seen.zones.remove(&image).unwrap_or_default();
            self.end_image(&image, &zones);
        }
        for owner in seen.owners.outdated(now, &intent.owners.keys().cloned().collect()) {
            for cause in Cause::ALL {
                self.ended.remove(&labels(&meters::INSTANCES_ENDED, [owner.as_str(), cause.code()]));
            }
        }
        for cell in seen.cells.outdated(now, &cells) {
            seen.vitals.remove(&cell);
            self.each_of_cell(&cell, |family, labels| _ = family.remove(&labels));
        }
    }

    fn begin_worker(&self, name: &WorkerName) {
        if self.seen().workers.note(name) {
            self.each_of_worker(name, |family, labels| drop(family.get_or_create(&labels)));
            if self.is_large.load(Ordering::Relaxed) {
                return;
            }
            self.each_refusal_of(name, |family, labels| drop(family.get_or_create(&labels)));
            for phase in TimedPhase::ALL {
                let labels = labels(&meters::WORKER_PHASES, [phase.code(), name.as_str()]);
                drop(self.worker_phases.get_or_create(&labels));
            }
        }
    }

    fn end_worker(&self, name: &WorkerName) {
        self.each_of_worker(name, |family, labels| _ = family.remove(&labels));
        self.each_refusal_of(name, |family, labels| _ = family.remove(&labels));
        for phase in TimedPhase::ALL {
            self.worker_phases.remove(&labels(&meters::WORKER_PHASES, [phase.code(), name.as_str()]));
        }
    }

    fn each_of_worker(&self, name: &WorkerName, each: impl Fn(&Counters, Labels)) {
        let name = name.as_str();
        each(&self.requests, labels(&meters::REQUESTS, [name]));
        each(&self.builds, labels(&meters::BUILDS, [name]));
        each(&self.turned_away, labels(&meters::TURNED_AWAY, [name]));
    }

    fn each_refusal_of(&self, name: &WorkerName, each: impl Fn(&Counters, Labels)) {
        for reason in FailureKind::ALL {
            each(&self.requests_failed, labels(&meters::REQUESTS_FAILED, [name.as_str(), reason.code()]));
        }
    }

    fn begin_image(&self, name: &ImageName) {
        if self.seen().images.note(name) {
            self.each_of_image(name, |family, labels| drop(family.get_or_create(&labels)));
        }
    }

    fn end_image(&self, name: &ImageName, zones: &BTreeSet<(Begun, String)>) {
        self.each_of_image(name, |family, labels| _ = family.remove(&labels));
        for (begun, zone) in zones {
            for phase in TimedPhase::ALL {
                self.phases.remove(&phase_labels(phase, *begun, name, zone));
            }
        }
    }

    fn each_of_image(&self, name: &ImageName, each: impl Fn(&Counters, Labels)) {
        let name = name.as_str();
        each(&self.interruptions, labels(&meters::INTERRUPTIONS, [name]));
        for outcome in FailureKind::ALL.map(FailureKind::code).into_iter().chain([LAUNCHED]) {
            each(&self.launches, labels(&meters::LAUNCHES, [name, outcome]));
        }
    }

    fn begin_zone(&self, image: &ImageName, begun: Begun, zone: &str) {
        let new = self.seen().zones.entry(image.clone()).or_default().insert((begun, zone.to_owned()));
        for phase in TimedPhase::ALL.into_iter().filter(|_| new) {
            drop(self.phases.get_or_create(&phase_labels(phase, begun, image, zone)));
        }
    }

    fn begin_owner(&self, owner: &OwnerName) {
        if self.seen().owners.note(owner) {
            for cause in Cause::ALL {
                drop(self.ended.get_or_create(&labels(&meters::INSTANCES_ENDED, [owner.as_str(), cause.code()])));
            }
        }
    }

    fn begin_cell(&self, cell: &Cell) {
        if self.seen().cells.note(cell) {
            self.each_of_cell(cell, |family, labels| drop(family.get_or_create(&labels)));
        }
    }

    fn each_of_cell(&self, cell: &Cell, each: impl Fn(&Counters, Labels)) {
        let (owner, region) = (cell.owner.as_str(), cell.region.as_str());
        for action in crate::control::perform_watched::ACTIONS {
            each(&self.api_calls, labels(&meters::API_CALLS, [owner, region, action]));
            for reason in api_reasons() {
                each(&self.api_errors, labels(&meters::API_ERRORS, [owner, region, action, reason.code()]));
            }
        }
    }

    /// A cell's loop begins a look.
    pub(in crate::control) fn sees(&self, cell: &Cell, vitals: Vitals) {
        self.seen().vitals.insert(cell.clone(), vitals);
    }

    /// What the loops knew when they last began a look.
    pub(super) fn vitals(&self) -> BTreeMap<Cell, Vitals> {
        self.seen().vitals.clone()
    }

    /// Something was written to the ledger.
    pub(in crate::control) fn happened(&self, happenings: impl IntoIterator<Item = Happening>) {
        for happening in happenings {
            match happening {
                Happening::Took(took) => self.took(&took),
                Happening::Requested { worker } => {
                    self.begin_worker(&worker);
                    self.requests.get_or_create(&labels(&meters::REQUESTS, [worker.as_str()])).inc();
                }
                Happening::RequestFailed { worker, reason } => {
                    self.begin_worker(&worker);
                    let labels = labels(&meters::REQUESTS_FAILED, [worker.as_str(), reason.code()]);
                    self.requests_failed.get_or_create(&labels).inc();
                }
                Happening::Launched { image, refused } => {
                    self.begin_image(&image);
                    let outcome = refused.map_or(LAUNCHED, FailureKind::code);
                    self.launches.get_or_create(&labels(&meters::LAUNCHES, [image.as_str(), outcome])).inc();
                }
                Happening::Built { worker } => {
                    self.begin_worker(&worker);
                    self.builds.get_or_create(&labels(&meters::BUILDS, [worker.as_str()])).inc();
                }
                Happening::Ended { owner, cause } => {
                    self.begin_owner(&owner);
                    let labels = labels(&meters::INSTANCES_ENDED, [owner.as_str(), cause.code()]);
                    self.ended.get_or_create(&labels).inc();
                }
                Happening::Interrupted { image } => {
                    self.begin_image(&image);
                    self.interruptions.get_or_create(&labels(&meters::INTERRUPTIONS, [image.as_str()])).inc();
                }
            }
        }
    }

    fn took(&self, took: &Took) {
        let span = seconds(took.span);
        self.begin_worker(&took.worker);
        if !self.is_large.load(Ordering::Relaxed) {
            let labels = labels(&meters::WORKER_PHASES, [took.phase.code(), took.worker.as_str()]);
            self.worker_phases.get_or_create(&labels).observe(span);
        }
        let Some(image) = &took.image else { return };
        let zone = took.zone.clone().or_else(|| {
            let seen = self.seen();
            let listed = seen.vitals.values().filter_map(|vitals| vitals.listed.as_ref());
            let id = took.instance.as_ref()?;
            listed.filter_map(|listed| listed.instances.get(id)).find_map(|one| one.zone.clone())
        });
        let zone = zone.as_ref().map_or(NO_ZONE, Zone::as_str);
        self.begin_image(image);
        self.begin_zone(image, took.begun, zone);
        self.phases.get_or_create(&phase_labels(took.phase, took.begun, image, zone)).observe(span);
    }

    /// Somebody was turned away at a master's door.
    pub(in crate::control) fn turned_away(&self, worker: &WorkerName) {
        self.begin_worker(worker);
        self.turned_away.get_or_create(&labels(&meters::TURNED_AWAY, [worker.as_str()])).inc();
    }

    /// A call is sent.
    pub(in crate::control) fn called(&self, cell: &Cell, action: &'static str) {
        self.begin_cell(cell);
        let labels = labels(&meters::API_CALLS, [cell.owner.as_str(), cell.region.as_str(), action]);
        self.api_calls.get_or_create(&labels).inc();
    }

    /// A call was refused, or not answered.
    pub(in crate::control) fn refused(&self, cell: &Cell, action: &'static str, reason: FailureKind) {
        let labels = labels(&meters::API_ERRORS, [cell.owner.as_str(), cell.region.as_str(), action, reason.code()]);
        self.api_errors.get_or_create(&labels).inc();
    }

    /// The ledger was written, or could not be.
    pub(in crate::control) fn ledger(&self, written: bool) {
        self.ledger_failing.store(!written, Ordering::Relaxed);
        if !written {
            self.ledger_failures.inc();
        }
    }

    pub(super) fn ledger_fails(&self) -> bool {
        self.ledger_failing.load(Ordering::Relaxed)
    }

    pub(super) fn set_unreached(&self, places: u32) {
        self.unreached.store(places, Ordering::Relaxed);
    }

    pub(super) fn unreached(&self) -> u32 {
        self.unreached.load(Ordering::Relaxed)
    }
}

fn phase_labels(phase: TimedPhase, begun: Begun, image: &ImageName, zone: &str) -> Labels {
    labels(&meters::PHASES, [phase.code(), begun.code(), image.as_str(), zone])
}

/// The zones that a manifest names; where it leaves the choice to EC2 or to a subnet, that one is not known.
fn zones_of(image: &Image) -> BTreeSet<&str> {
    image.offerings.iter().map(|offering| zone_of(&offering.place)).collect()
}

fn zone_of(place: &Place) -> &str {
    match place {
        Place::Zone(zone) => zone.as_str(),
        Place::Anywhere | Place::Subnet(_) => NO_ZONE,
    }
}
