//! What a person or a master sees of a worker: state, instance, why held, how long.

mod levers;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::canary::{self, CanaryView};
use super::door::TurnedAwayView;
use super::shared::{CellStatus, Shared};
use super::{Controller, budget};
use crate::ledger::Ledger;
use crate::model::{
    Cell, Failure, Fleet, HeldReason, Instance, LaunchSpec, Market, Phase, Place, Role, ShutdownBehavior, Subject,
    TagSet, Worker, WorkerName, WorkerState, tag_keys,
};
use crate::plan::sweep::Finding;
use crate::plan::{self, Bound, Layer};
use crate::policy::price::{self, Prices, Range, Software};
use crate::policy::{Image, Intent, LeaseWatch, Lifecycle};

pub use levers::LeversView;

impl<L: Ledger + 'static> Controller<L> {
    /// One worker.
    pub fn worker(&self, name: &WorkerName) -> Option<WorkerView> {
        one(&self.shared, name, self.clock.now())
    }

    /// These workers; whoever is not known is left out.
    pub fn workers_of(&self, names: &[WorkerName]) -> Vec<WorkerView> {
        of_these(&self.shared, names, self.clock.now())
    }

    /// The place of the last entry about a worker: while it is the same, nothing has become of the worker.
    pub fn last_event(&self, name: &WorkerName) -> Option<u64> {
        self.shared.book().day().last_event(name)
    }
}

/// A worker, for a person or a master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerView {
    /// Its name.
    pub worker: String,
    /// Who pays.
    pub owner: String,
    /// Where.
    pub region: String,
    /// The image manifest.
    pub image: String,
    /// The AMI: of the instance if there is one, else of the next launch.
    pub ami: Option<String>,
    /// The master that last asked for it or saw it connected.
    pub master: Option<String>,
    /// The master that declared it; absent if it is in latent.toml.
    pub declared_by: Option<String>,
    /// Its state.
    pub state: String,
    /// Since when it is in that state; absent if nothing ever happened to it.
    pub since: Option<DateTime<Utc>>,
    /// The instance it is bound to.
    pub instance: Option<String>,
    /// The instance's state at EC2, as last seen.
    pub instance_state: Option<String>,
    /// The instance's addresses, private first.
    pub addresses: Vec<String>,
    /// The type of the present or last instance.
    pub instance_type: Option<String>,
    /// Its zone or subnet.
    pub place: Option<String>,
    /// How it was bought: `on-demand` or `spot`.
    pub market: Option<String>,
    /// The present or last attempt.
    pub attempt: Option<String>,
    /// When the present instance was intended; its age counts from here.
    pub created: Option<DateTime<Utc>>,
    /// Until when the controller vouches for it.
    pub lease: Option<DateTime<Utc>>,
    /// When it is gone at the latest.
    pub deadline: Option<DateTime<Utc>>,
    /// For how long the instance, or the next one, may cost money when neither master nor controller
    /// comes back; absent where it is not known how it was launched.
    pub unattended: Option<BoundView>,
    /// Since when it is idle.
    pub idle_since: Option<DateTime<Utc>>,
    /// The build it runs.
    pub build: Option<String>,
    /// The last request's id.
    pub request: Option<String>,
    /// Whether that request waits for its answer.
    pub waiting: bool,
    /// The answer to the last request, if it was a failure.
    pub failure: Option<FailureView>,
    /// When EC2 was first seen to take the present spot instance back: it ends within two minutes.
    #[serde(default)]
    pub interruption: Option<DateTime<Utc>>,
    /// What an hour of the present instance costs at the list price, or of the next launch's first offering;
    /// in dollars, without disks; absent where the price is not known.
    #[serde(default)]
    pub price: Option<Range>,
    /// What its instances have cost since midnight (UTC), at the list price; absent where a price
    /// is not known. Disks whose size is not known are not in it.
    #[serde(default)]
    pub cost_today: Option<Range>,
    /// What the master is asked to do: `drain` is to let it go when no build runs on it.
    pub order: Option<String>,
    /// Why nothing is done now, in words.
    pub held: Option<String>,
    /// When that may end by itself.
    pub held_until: Option<DateTime<Utc>>,
    /// An operator's hold.
    pub hold_until: Option<DateTime<Utc>>,
    /// Instances of this worker that are on their way out.
    pub departing: Vec<String>,
    /// Which generation of its image: of the instance if there is one, else of the next launch.
    #[serde(default)]
    pub generation: Option<u32>,
    /// What a rebake asks of it. While that is `present` no build but the smoke build may run on its instance.
    #[serde(default)]
    pub canary: Option<CanaryView>,
    /// Who was turned away at a master's door with its name and password in the last minutes, the last first.
    #[serde(default)]
    pub turned_away: Vec<TurnedAwayView>,
    /// What the owner's levers mean for it now.
    #[serde(default)]
    pub levers: LeversView,
    /// How long it may be idle, in seconds; absent means that it is not taken away for being idle, now or ever.
    pub idle_timeout_s: Option<i64>,
    /// How long the master may be silent, in seconds.
    pub master_silence_s: i64,
    /// From an instance to a connected worker, in seconds.
    pub connect_deadline_s: i64,
    /// From a request to an instance, in seconds.
    pub launch_deadline_s: i64,
}

/// What ends an instance that nobody attends to, and how late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BoundView {
    /// `lease` or `deadline`: its guest powers it off then; `sweep`: nothing in it does.
    pub layer: String,
    /// The longest time in seconds, from the last renewal of the lease, or for a deadline from the launch.
    pub seconds: Option<i64>,
    /// What the instance costs in that time at the list price, without its disks; absent where the price is
    /// not known.
    pub cost: Option<Range>,
    /// Whether a power-off leaves a stopped instance, whose disks cost until somebody ends it.
    pub stops: bool,
}

/// The answer to a request that could not be met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureView {
    /// How far it came.
    pub phase: Phase,
    /// Its kind, as a word.
    pub kind: String,
    /// EC2's code, or ours.
    pub code: String,
    /// What was said.
    pub message: String,
    /// What to do.
    pub cure: String,
    /// Whether only a person can mend it: a retry is of no use.
    pub fatal: bool,
    /// The last lines of the instance's console, if its worker never connected and they could be had.
    #[serde(default)]
    pub console: Option<String>,
}

/// An owner's account in one region, and how the last look at it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CellView {
    /// Whose.
    pub owner: String,
    /// Where.
    pub region: String,
    /// The account's number: of the configuration, or learnt where a master declares the owner.
    pub account: Option<String>,
    /// When it was last listed completely.
    pub listed_at: Option<DateTime<Utc>>,
    /// Instances of the fleet in that listing, ended ones not counted.
    pub instances: usize,
    /// Why the last look failed.
    pub failure: Option<FailureView>,
    /// Instances that were left alone, other than those in use: id and reason.
    pub strange: Vec<(String, String)>,
    /// When it was last swept.
    pub swept_at: Option<DateTime<Utc>>,
    /// What that sweep found left over.
    pub leftovers: Vec<Finding>,
    /// What it could not see, in words.
    pub unseen: Vec<String>,
    /// What its instances have cost since midnight (UTC), at the list price; absent where a price
    /// is not known. Disks whose size is not known are not in it.
    #[serde(default)]
    pub cost_today: Option<Range>,
    /// The same since the month began.
    #[serde(default)]
    pub cost_month: Option<Range>,
}

impl From<&Failure> for FailureView {
    fn from(failure: &Failure) -> Self {
        Self {
            phase: failure.phase,
            kind: failure.kind.to_string(),
            code: failure.code.clone(),
            message: failure.message.clone(),
            cure: failure.cure().to_owned(),
            fatal: failure.kind.needs_a_person(),
            console: failure.console.clone(),
        }
    }
}

pub(super) fn all<L: Ledger>(shared: &Shared<L>, now: DateTime<Utc>) -> Vec<WorkerView> {
    of_these(shared, &names(shared), now)
}

/// These workers; whoever is not known is left out.
pub(super) fn of_these<L: Ledger>(shared: &Shared<L>, names: &[WorkerName], now: DateTime<Utc>) -> Vec<WorkerView> {
    let intent = shared.intent();
    let costs = budget::today(&shared.book(), &intent, names.iter(), now);
    names.iter().filter_map(|name| with_cost(shared, name, now, costs.get(name).copied())).collect()
}

/// The workers of the configuration, and those with something left.
pub(super) fn names<L: Ledger>(shared: &Shared<L>) -> Vec<WorkerName> {
    let intent = shared.intent();
    let mut names: Vec<WorkerName> = intent.workers.keys().cloned().collect();
    {
        let book = shared.book();
        let left = book.fleet().workers.iter().filter(|(name, worker)| {
            !intent.workers.contains_key(*name) && !matches!(worker.state, WorkerState::Gone { .. })
        });
        names.extend(left.map(|(name, _)| name.clone()));
    }
    names.sort();
    names
}

pub(super) fn one<L: Ledger>(shared: &Shared<L>, name: &WorkerName, now: DateTime<Utc>) -> Option<WorkerView> {
    let cost = budget::today(&shared.book(), &shared.intent(), [name].into_iter(), now);
    with_cost(shared, name, now, cost.get(name).copied())
}

fn with_cost<L: Ledger>(
    shared: &Shared<L>,
    name: &WorkerName,
    now: DateTime<Utc>,
    cost_today: Option<Range>,
) -> Option<WorkerView> {
    let intent = shared.intent();
    let book = shared.book();
    let fresh = Worker::unknown(DateTime::UNIX_EPOCH);
    let worker = match book.fleet().workers.get(name) {
        Some(worker) => worker,
        None if intent.workers.contains_key(name) => &fresh,
        None => return None,
    };
    let cells = shared.cells();
    let configured = intent.workers.get(name).map(|w| &w.cell);
    let bound = worker.attempt.as_ref().filter(|_| worker.state.instance().is_some()).map(|attempt| &attempt.cell);
    let cell = bound.or(configured).and_then(|cell| cells.get(cell));
    let turned_away = shared.turned_away().of(name, now);
    Some(WorkerView { cost_today, turned_away, ..view(&intent, book.fleet(), name, worker, cell, now) })
}

fn view(
    intent: &Intent,
    fleet: &Fleet,
    name: &WorkerName,
    worker: &Worker,
    cell: Option<&CellStatus>,
    now: DateTime<Utc>,
) -> WorkerView {
    let configured = intent.workers.get(name);
    let image = configured.and_then(|c| intent.images.get(&c.image));
    let policy = configured.map_or(&intent.base_policy, |c| &c.policy);
    let attempt = worker.attempt.as_ref();
    let spec = attempt.and_then(|a| a.spec.as_ref());
    let bound = worker.state.instance();
    let seen: Option<&Instance> = bound.and_then(|id| cell?.inventory.as_ref()?.instances.get(id));
    let held: Option<&HeldReason> = cell.and_then(|c| c.held.get(&Subject::Worker(name.clone())));
    let home = attempt.filter(|_| bound.is_some()).map(|a| &a.cell).or_else(|| configured.map(|c| &c.cell));
    let own_spec = spec.filter(|_| bound.is_some());
    let levers = levers::view(intent, fleet, name, worker, now);
    WorkerView {
        worker: name.to_string(),
        owner: home.map(|cell| cell.owner.to_string()).unwrap_or_default(),
        region: home.map(|cell| cell.region.to_string()).unwrap_or_default(),
        image: configured.map(|c| text(&c.image)).or_else(|| attempt.map(|a| text(&a.image))).unwrap_or_default(),
        ami: own_spec
            .map(|s| text(&s.ami))
            .or_else(|| seen?.ami.as_ref().map(text))
            .or_else(|| image.and_then(|i| next_ami(i, cell))),
        master: worker.master.as_ref().map(text),
        declared_by: configured.and_then(|c| c.declared_by.as_ref()).map(text),
        state: worker.state.name().to_owned(),
        since: (worker.since > DateTime::UNIX_EPOCH).then_some(worker.since),
        instance: bound.map(text),
        instance_state: seen.map(|i| text(&i.state)),
        addresses: seen.map(|i| i.addresses.clone()).unwrap_or_default(),
        instance_type: seen.map(|i| i.instance_type.clone()).or_else(|| spec.map(|s| s.offering.instance_type.clone())),
        place: seen
            .and_then(|i| i.zone.as_ref().map(text))
            .or_else(|| spec.and_then(|s| place_text(&s.offering.place))),
        market: spec.map(|s| text(&s.offering.market)),
        attempt: attempt.map(|a| text(&a.id)),
        created: attempt.filter(|_| bound.is_some()).map(|a| a.created),
        lease: seen.and_then(|i| i.tags.time(tag_keys::LEASE)),
        deadline: attempt.filter(|_| bound.is_some()).map(|a| a.created + policy.max_lifetime),
        unattended: unattended(&intent.prices, policy, image, seen, own_spec.map(AsRef::as_ref)),
        idle_since: match &worker.state {
            WorkerState::Ready { idle_since, .. } => Some(*idle_since),
            _ => None,
        },
        build: worker.build.as_ref().map(text),
        request: worker.last_request.as_ref().map(text),
        waiting: worker.wanted(),
        failure: worker.failure.as_ref().map(FailureView::from),
        interruption: worker.interruption.filter(|_| bound.is_some()),
        price: hourly(&intent.prices, image, seen, own_spec.map(AsRef::as_ref), home),
        cost_today: None,
        order: plan::order_of(worker).map(ToOwned::to_owned),
        held: held.map(text),
        held_until: held.and_then(HeldReason::until),
        hold_until: worker.hold.as_ref().map(|hold| hold.until),
        departing: fleet.left_by(name).map(|(id, _)| text(id)).collect(),
        generation: generation(own_spec.map(|spec| &spec.tags).or_else(|| seen.map(|seen| &seen.tags)), image),
        canary: canary::view(worker, held),
        turned_away: Vec::new(),
        idle_timeout_s: levers::idle_timeout_s(policy.idle_timeout, &levers),
        levers,
        master_silence_s: policy.master_silence.num_seconds(),
        connect_deadline_s: policy.connect_deadline.num_seconds(),
        launch_deadline_s: policy.launch_deadline.num_seconds(),
    }
}

/// By the tags of the instance; by the manifest where there is none.
fn generation(tags: Option<&TagSet>, image: Option<&Image>) -> Option<u32> {
    match tags {
        Some(tags) => tags.get(tag_keys::GENERATION).and_then(|text| text.parse().ok()),
        None => image.and_then(|image| image.generation),
    }
}

/// The AMI of the next launch, where it is known which that would be.
fn next_ami(image: &Image, cell: Option<&CellStatus>) -> Option<String> {
    let chosen = || cell?.amis.last_choice(image);
    image.ami.named().cloned().or_else(chosen).map(|id| text(&id))
}

/// By the tags of the instance, which say what it was launched with; by the manifest where there is none.
fn unattended(
    prices: &Prices,
    policy: &Lifecycle,
    image: Option<&Image>,
    seen: Option<&Instance>,
    spec: Option<&LaunchSpec>,
) -> Option<BoundView> {
    let launched =
        seen.map(|i| (&i.tags, &i.instance_type)).or_else(|| spec.map(|s| (&s.tags, &s.offering.instance_type)));
    let (watch, instance_type) = match (launched, image) {
        (Some((tags, instance_type)), _) => (LeaseWatch::of(tags)?, instance_type),
        (None, Some(image)) => (image.lease_watch, &image.offerings.first()?.instance_type),
        (None, None) => return None,
    };
    let Bound { layer, span } = plan::bound(policy, watch, instance_type);
    let layer = match layer {
        Layer::Lease => "lease",
        Layer::Deadline => "deadline",
        Layer::Sweep => "sweep",
    };
    let shutdown = spec.map_or_else(|| plan::shutdown_of(Role::Worker, policy.on_idle), |spec| spec.shutdown);
    let stops = shutdown == ShutdownBehavior::Stop;
    let seconds = span.map(|span| span.num_seconds());
    let cost = seconds.and_then(|seconds| cost(prices, instance_type, image?, spec, seconds));
    Some(BoundView { layer: layer.to_owned(), seconds, cost, stops })
}

/// By what the instance is, as far as that is known; else by what would be launched first.
fn hourly(
    prices: &Prices,
    image: Option<&Image>,
    seen: Option<&Instance>,
    spec: Option<&LaunchSpec>,
    home: Option<&Cell>,
) -> Option<Range> {
    let image = image?;
    let offering = spec.map(|spec| &spec.offering).or_else(|| image.offerings.first())?;
    let instance_type = seen.map_or(&offering.instance_type, |instance| &instance.instance_type);
    let region = home.map_or(&image.region, |cell| &cell.region);
    let market = match seen.map(|instance| instance.parts.spot_request.is_some()) {
        Some(true) => Market::Spot,
        Some(false) => Market::OnDemand,
        None => offering.market,
    };
    prices.hourly(instance_type, region, Software::of(image.platform)?, market)
}

fn cost(prices: &Prices, instance_type: &str, image: &Image, spec: Option<&LaunchSpec>, seconds: i64) -> Option<Range> {
    let offering = spec.map(|spec| &spec.offering).or_else(|| image.offerings.first())?;
    let software = Software::of(image.platform)?;
    let hourly = prices.hourly(instance_type, &image.region, software, offering.market)?;
    Some(price::run(hourly, seconds.try_into().ok()?))
}

fn text<T: std::fmt::Display>(value: &T) -> String {
    value.to_string()
}

fn place_text(place: &Place) -> Option<String> {
    match place {
        Place::Anywhere => None,
        Place::Zone(zone) => Some(zone.to_string()),
        Place::Subnet(id) => Some(id.clone()),
    }
}

pub(super) fn cells<L: Ledger>(shared: &Shared<L>, now: DateTime<Utc>) -> Vec<CellView> {
    let intent = shared.intent();
    let book = shared.book();
    let cells = shared.cells();
    let views = cells.iter().map(|(cell, status)| {
        let instances =
            status.inventory.as_ref().map_or(0, |i| i.instances.values().filter(|i| !i.state.is_ending()).count());
        let strange = status.held.iter().filter_map(|(subject, reason)| match (subject, reason) {
            (Subject::Worker(_), _) | (_, HeldReason::InUse(_) | HeldReason::Ended) => None,
            (Subject::Instance(id), reason) => Some((id.to_string(), reason.to_string())),
        });
        let (cost_today, cost_month) = budget::of_cell(&book, &intent, cell, now);
        CellView {
            owner: cell.owner.to_string(),
            region: cell.region.to_string(),
            account: shared.account_of(&intent, &cell.owner),
            listed_at: status.inventory.as_ref().map(|i| i.observed_at),
            instances,
            failure: status.failure.as_ref().map(FailureView::from),
            strange: strange.collect(),
            swept_at: status.swept.as_ref().map(|plan| plan.taken_at),
            leftovers: status.swept.as_ref().map(|plan| plan.findings.clone()).unwrap_or_default(),
            unseen: status.swept.iter().flat_map(|plan| &plan.gaps).map(ToString::to_string).collect(),
            cost_today,
            cost_month,
        }
    });
    views.collect()
}
