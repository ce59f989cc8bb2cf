//! Floor 1: decisions. Values in, values out: no call, no clock, no log.
//!
//! First [`facts`] says what a listing proved, which is recorded; then [`plan`] says what to do and
//! what is left alone. Every worker of the cell and every instance of its listing stands in exactly
//! one action or one held reason.

mod admit;
pub mod alarm;
mod ami;
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

use chrono::{DateTime, Utc};

use crate::model::{
    Action, Cell, Failure, Fleet, Held, HeldReason, InstanceId, Inventory, Plan, Subject, Worker, WorkerName,
    WorkerState,
};
use crate::policy::price::Money;
use crate::policy::{Intent, Lifecycle, WorkerIntent};
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
        let workers = self.fleet.workers.iter();
        let here = |worker: &Worker| worker.attempt.as_ref().is_some_and(|attempt| attempt.cell == *self.cell);
        workers.filter(|(_, worker)| here(worker)).filter_map(|(name, w)| Some((w.state.instance()?, name))).collect()
    }

    /// Every worker of this cell: of the configuration, of the ledger, or of both.
    fn workers(&self) -> Vec<&'a WorkerName> {
        let (recorded, configured) = (&self.fleet.workers, &self.intent.workers);
        let of_both = configured.iter().filter(|(name, c)| home(recorded.get(*name), Some(c)) == Some(self.cell));
        let left_over = recorded
            .iter()
            .filter(|(name, worker)| home(Some(worker), None) == Some(self.cell) && !configured.contains_key(*name));
        of_both.map(|(name, _)| name).chain(left_over.map(|(name, _)| name)).collect()
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
                if matches!(action, Action::Launch { .. } | Action::Relaunch { .. }) {
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
    instances::all(view, &mut plan);
    plan.actions.extend(equip::actions(view));
    plan.actions.extend(lease::renewals(view));
    plan
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

/// Whether something of the cell changes soon, so that it should be looked at often.
pub fn in_transition(fleet: &Fleet, cell: &Cell) -> bool {
    let departing = fleet.departing.values().any(|departing| departing.cell == *cell);
    departing
        || fleet.workers.values().any(|worker| {
            let here = worker.attempt.as_ref().is_some_and(|attempt| attempt.cell == *cell);
            here && match worker.state {
                WorkerState::Launching { .. } | WorkerState::Registering { .. } | WorkerState::Terminating { .. } => {
                    true
                }
                WorkerState::Draining { .. } => worker.stop_intended,
                WorkerState::Ready { .. } | WorkerState::Busy { .. } => equip::is_being_equipped(worker),
                WorkerState::Requested | WorkerState::Stopped { .. } | WorkerState::Gone { .. } => false,
            }
        })
}

/// When the plan would differ although nothing happens.
pub fn next_look(plan: &Plan, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    plan.held.iter().filter_map(|held| held.reason.until()).filter(|until| *until > now).min()
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
