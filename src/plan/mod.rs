//! Floor 1: decisions. Values in, values out: no call, no clock, no log.
//!
//! First [`facts`] says what a listing proved, which is recorded; then [`plan`] says what to do and
//! what is left alone. Every worker of the cell and every instance of its listing stands in exactly
//! one action or one held reason.

mod admit;
pub mod alarm;
mod ami;
mod batch;
pub mod bill;
mod bound;
pub mod budget;
mod canary;
mod capacity;
mod console;
pub mod day;
pub mod doctor;
mod equip;
mod idle;
mod instances;
mod lease;
mod lifecycle;
pub mod lineage;
pub mod meter;
mod notice;
mod observe;
mod phase;
pub mod rebake;
mod rebake_guest;
mod rebake_retire;
mod report;
mod soak;
mod spec;
mod step;
pub mod sweep;
mod warm;
mod watch;
mod wear;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{
    Action, Cell, Departing, Failure, Fleet, Held, HeldReason, InstanceId, Inventory, Plan, Subject, Worker,
    WorkerName, WorkerState,
};
use crate::policy::price::Money;
use crate::policy::{Intent, Lifecycle, Polling, WorkerIntent};
use budget::Balance;

pub use admit::{Admission, Info, Knock, admit};
pub use ami::{AmiListings, choose as choose_ami, wanted_amis};
pub use bound::{Bound, Layer, bound};
pub use console::{CONSOLE_LIMIT, Console, console_tail, consoles_due};
pub use equip::EquipCalls;
pub use idle::idle_choice;
pub use lease::LeaseSeen;
pub use notice::{interrupted, spot_requests};
pub use observe::facts;
pub use phase::{Begun, Happening, Lives, TimedPhase, Took};
pub use rebake_guest::read_marks;
pub use rebake_retire::{KeptAmi, RETIRE_GRACE, RetireView, Retirement, Retirements, retirements};
pub use report::{Report, Standing, WorkerReport, changes, order_of};
pub use soak::{Gate, Sample, gate};
pub use spec::{Chosen, drifted, launch_spec, shutdown_of};
pub use watch::{OpenLaunch, Watch, known_instances};

/// The end of an instance that nobody waits for is looked for so many times as seldom as what somebody waits for.
const ENDS_SELDOM: i32 = 8;

/// A master that has said nothing for longer may have lost a connection and not said so. They report every few seconds.
const SILENT: TimeDelta = TimeDelta::seconds(60);

/// Everything a decision about one cell may depend on.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "it holds a function")]
pub struct View<'a> {
    /// The time.
    pub now: DateTime<Utc>,
    /// Which cell.
    pub cell: &'a Cell,
    /// What people want.
    pub intent: &'a Intent,
    /// What the ledger says.
    pub fleet: &'a Fleet,
    /// The last listing, if one was read since the controller started.
    pub inventory: Option<&'a Inventory>,
    /// Why the last listing failed, if it did.
    pub listing_failure: Option<&'a Failure>,
    /// What several listings showed together.
    pub watch: &'a Watch,
    /// The listings that AMIs are chosen from.
    pub amis: &'a AmiListings,
    /// The calls that give instances what their manifests say.
    pub equip_calls: &'a EquipCalls,
    /// Subjects with a call that is not answered.
    pub in_flight: &'a BTreeSet<Subject>,
    /// Subjects that wait after a call, and why.
    pub not_before: &'a BTreeMap<Subject, HeldReason>,
    /// When a master last spoke for a worker; the controller's start if none has.
    pub heard: &'a dyn Fn(&WorkerName) -> DateTime<Utc>,
    /// When a master last spoke for a worker in this life of the controller.
    pub spoken: &'a dyn Fn(&WorkerName) -> Option<DateTime<Utc>>,
    /// How many launches may be sent now.
    pub launches_now: u32,
    /// When more may be sent.
    pub launches_from: DateTime<Utc>,
    /// Live instances of the whole fleet, launches on their way included.
    pub live: u32,
    /// How the cell's owner stands against the budget, if there is one.
    pub budget: Option<&'a Balance>,
}

/// What of the limits is left in this round.
#[derive(Debug, Clone, Copy)]
struct Left {
    /// Launches that may be sent.
    launches: u32,
    /// Live instances of the whole fleet, those of this round included.
    live: u32,
    /// What the launches of this round cost at the least.
    committed: Money,
}

impl<'a> View<'a> {
    /// The limits that hold for a worker.
    fn policy(&self, name: &WorkerName) -> &'a Lifecycle {
        self.intent.workers.get(name).map_or(&self.intent.base_policy, |worker| &worker.policy)
    }

    /// Which instance is bound to which worker.
    fn bound(&self) -> BTreeMap<&'a InstanceId, &'a WorkerName> {
        self.fleet.of_cell(self.cell).filter_map(|(name, worker)| Some((worker.state.instance()?, name))).collect()
    }

    /// Every worker of this cell: of the configuration, of the ledger, or of both.
    fn workers(&self) -> Vec<&'a WorkerName> {
        let (recorded, configured) = (&self.fleet.workers, &self.intent.workers);
        let may_be_here: BTreeSet<&WorkerName> =
            self.intent.of_cell(self.cell).chain(self.fleet.of_cell(self.cell).map(|(name, _)| name)).collect();
        let here = may_be_here.into_iter().filter_map(|name| {
            let configured = configured.get(name);
            (home(recorded.get(name), configured) == Some(self.cell)).then_some((name, configured.is_some()))
        });
        // First what is configured, then what is left of other times.
        let (of_both, left_over): (Vec<_>, Vec<_>) = here.partition(|(_, configured)| *configured);
        of_both.into_iter().chain(left_over).map(|(name, _)| name).collect()
    }
}

/// The cell that a worker belongs to now: its instance's while it has one, else its configuration's.
fn home<'a>(worker: Option<&'a Worker>, configured: Option<&'a WorkerIntent>) -> Option<&'a Cell> {
    let bound = worker
        .filter(|w| !matches!(w.state, WorkerState::Gone { .. } | WorkerState::Requested))
        .and_then(|w| w.attempt.as_ref())
        .map(|attempt| &attempt.cell);
    bound.or_else(|| configured.map(|c| &c.cell)).or_else(|| worker.and_then(|w| w.attempt.as_ref()).map(|a| &a.cell))
}

/// What to do now, and what is left alone and why.
pub fn plan(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut left = Left { launches: view.launches_now, live: view.live, committed: Money::ZERO };
    for name in view.workers() {
        let fresh = Worker::unknown(DateTime::UNIX_EPOCH);
        let worker = view.fleet.workers.get(name).unwrap_or(&fresh);
        match lifecycle::worker(view, name, worker, left) {
            Ok(action) => {
                if takes_a_call(view, &action) {
                    left.launches = left.launches.saturating_sub(1);
                }
                if matches!(action, Action::Launch { .. }) {
                    left.live += 1;
                }
                left.committed += committed(view, worker, &action);
                plan.actions.push(action);
            }
            Err(reason) => plan.held.push(Held { subject: Subject::Worker(name.clone()), reason }),
        }
    }
    batch::gather(view, &mut plan);
    instances::all(view, &mut plan);
    silences(view, &mut plan);
    plan.actions.extend(equip::actions(view));
    plan.actions.extend(lease::renewals(view));
    plan
}

/// What becomes of an instance while the master is silent that has its worker connected nobody tells: of those that are
/// ended it is told since when.
fn silences(view: &View<'_>, plan: &mut Plan) {
    for action in &mut plan.actions {
        if let Action::Terminate { worker: Some(name), silent_since, .. } = action
            && let Some(worker) = view.fleet.workers.get(name).filter(|worker| worker.attached)
        {
            let last = (view.spoken)(name).unwrap_or(worker.since);
            *silent_since = (view.now - last > SILENT).then_some(last);
        }
    }
}

/// Whether it is a call of its own to `RunInstances`; what goes with others takes none.
fn takes_a_call(view: &View<'_>, action: &Action) -> bool {
    match action {
        Action::Launch { worker, .. } => !goes_with_others(view, worker),
        Action::Relaunch { workers } => workers.first().is_some_and(|first| !goes_with_others(view, first)),
        _ => false,
    }
}

/// Whether the worker's image lets several be launched by one call.
fn goes_with_others(view: &View<'_>, worker: &WorkerName) -> bool {
    let image = view.intent.workers.get(worker).and_then(|worker| view.intent.images.get(&worker.image));
    image.is_some_and(batch::is_shared)
}

/// What an action commits the owner to spend.
fn committed(view: &View<'_>, worker: &Worker, action: &Action) -> Money {
    match action {
        Action::Launch { worker, spec } => budget::commits(view, worker, &spec.offering),
        Action::Start { worker: name, instance } => budget::commits_by_start(view, name, worker, instance),
        _ => Money::ZERO,
    }
}

/// The renewal of leases alone: what is still done when nothing else may be.
pub fn renewals(view: &View<'_>) -> Option<Action> {
    lease::renewals(view)
}

/// The leases of the cell's instances in use.
pub fn leases(view: &View<'_>) -> Vec<LeaseSeen> {
    lease::seen(view)
}

/// When the next lease of the cell is due to be renewed.
pub fn next_renewal(view: &View<'_>) -> Option<DateTime<Utc>> {
    lease::next_due(view).filter(|at| *at > view.now)
}

/// When the cell should be listed again after a listing of `seen`, because something of it changes soon; `None` if
/// nothing does.
pub fn listing_wanted(fleet: &Fleet, cell: &Cell, seen: DateTime<Utc>, polling: &Polling) -> Option<DateTime<Utc>> {
    let workers = fleet.of_cell(cell).map(|(_, worker)| worker);
    // What began after the listing need not be looked for before it can have come to anything.
    let soon = workers.filter(|worker| changes_soon(worker)).map(|worker| seen.max(worker.since) + polling.fast);
    let departing = fleet.departing_of(cell);
    soon.chain(departing.map(|(_, departing)| end_wanted(fleet, departing, seen, polling))).min()
}

fn changes_soon(worker: &Worker) -> bool {
    match worker.state {
        WorkerState::Launching { .. } | WorkerState::Registering { .. } | WorkerState::Terminating { .. } => true,
        WorkerState::Draining { .. } => worker.stop_intended,
        WorkerState::Ready { .. } | WorkerState::Busy { .. } => equip::is_being_equipped(worker),
        WorkerState::Requested | WorkerState::Stopped { .. } | WorkerState::Gone { .. } => false,
    }
}

/// Nobody waits for the end of what was let go, once that is accepted, and EC2 tells later when it was: it is looked
/// for seldom, and more seldom the longer it takes.
fn end_wanted(fleet: &Fleet, departing: &Departing, seen: DateTime<Utc>, polling: &Polling) -> DateTime<Utc> {
    let waits = departing.worker.as_ref().and_then(|name| fleet.workers.get(name)).is_some_and(Worker::wanted);
    match departing.accepted.filter(|_| !waits) {
        None => seen.max(departing.since) + polling.fast,
        Some(accepted) => seen.max(accepted) + (seen - accepted).max(polling.fast * ENDS_SELDOM).min(polling.slow),
    }
}

/// When the plan would differ although nothing happens.
pub fn next_look(view: &View<'_>, plan: &Plan) -> Option<DateTime<Utc>> {
    let times = plan.held.iter().flat_map(|held| [held.reason.until(), answered_by(view, &held.subject)]);
    times.flatten().filter(|at| *at > view.now).min()
}

/// When whoever asked for a worker is answered, whatever is in the way.
fn answered_by(view: &View<'_>, subject: &Subject) -> Option<DateTime<Utc>> {
    let Subject::Worker(name) = subject else { return None };
    let request = view.fleet.workers.get(name)?.request.as_ref()?;
    Some(request.at + view.policy(name).launch_deadline)
}

fn held_call(view: &View<'_>, subject: &Subject) -> Option<HeldReason> {
    if view.in_flight.contains(subject) {
        return Some(HeldReason::CallInFlight);
    }
    view.not_before.get(subject).filter(|reason| reason.until().is_some_and(|at| at > view.now)).cloned()
}

fn instance_subject(id: &InstanceId) -> Subject {
    Subject::Instance(id.clone())
}
