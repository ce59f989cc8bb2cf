//! Floor 3: the loops, and the controller that masters talk to.

mod alarm;
mod amis;
mod ask;
mod backoff;
mod book;
mod budget;
mod calls;
mod canary;
mod cell;
mod checkup;
mod declare;
mod desk;
mod door;
mod driver;
mod fold;
mod health;
mod listing;
mod metrics;
mod notice;
mod pace;
mod perform;
mod perform_rebake;
mod perform_watched;
mod prices;
mod rebake;
mod records;
mod shared;
mod status;
mod story;
mod supervise;
mod sweep;
mod sweeper;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cloud::Cloud;
use crate::ledger::{Declarations, Head, Ledger, LedgerError};
use crate::model::{
    Actor, AmiId, Body, Cause, Cell, Entry, Failure, FailureKind, Fleet, MasterId, OwnerName, Phase, RebakeId,
    WorkerName, WorkerState, tag_keys,
};
use crate::plan::day::{DayView, LineView};
use crate::plan::sweep::Claims;
use crate::plan::{self, Report};
use crate::policy::{Intent, Owner};

use book::Book;
use desk::Desk;
use perform_watched::Watched;
use shared::Shared;

pub use alarm::{ContactView, DeliveryView, NoticeBoard, NoticesView};
pub use ask::Ask;
pub use budget::BudgetView;
pub use canary::{AmiView, CanaryView};
pub use checkup::check_up;
pub use desk::Declared;
pub use door::TurnedAwayView;
pub use driver::Clock;
pub use fold::{FOLD_VERSION, Fold};
pub use health::{CellHealth, HealthView};
pub use metrics::{METERS, Meter, MeterKind};
pub use pace::{ApiAction, Pace};
pub use prices::ask_prices;
pub use rebake::{
    Engine, EngineError, ImageAge, Kept, Manifests, NoStage, Ordered, RebakeAsk, RebakeDesk, RebakeEventView,
    RebakeRefusal, RebakeSeen, RebakeView, Rebakes, Stage, Standing, StepView, Wish, first_entry, rebake_steps,
    rehearsed,
};
pub use records::read_trail;
pub use status::{BoundView, CellView, FailureView, LeversView, WorkerView};
pub use story::Story;
pub use sweep::{Deed, Stayed, SweepDoor, act as sweep_act, look as sweep_look, look_again as sweep_look_again};

/// A clock difference between two lives that is worth a word.
const CLOCK_BEHIND: TimeDelta = TimeDelta::seconds(30);
/// The most entries that one reading gives.
const EVENTS_MAX: usize = 1_000;

/// Why a controller refused what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No such worker.
    #[error("worker {worker} is not in the configuration of this controller; known: {known}")]
    UnknownWorker {
        /// The name.
        worker: WorkerName,
        /// The names it knows.
        known: String,
    },
    /// The worker has no instance to hold.
    #[error("worker {worker} has no instance to hold")]
    NothingToHold {
        /// The worker.
        worker: WorkerName,
    },
    /// The owner's hard budget is reached.
    #[error("{why}; a hold does not outlast it")]
    OverBudget {
        /// The amounts, and what to do.
        why: String,
    },
    /// Another master uses the worker.
    #[error(
        "worker {worker} is used by master {master} ({state}); it can be asked for when that master has let it go, \
         or has been silent for longer than master_silence and runs no build on it"
    )]
    Elsewhere {
        /// The worker.
        worker: WorkerName,
        /// The master.
        master: MasterId,
        /// The worker's state.
        state: &'static str,
    },
    /// Another canary is asked for, or is there still.
    #[error(
        "worker {worker} has a canary of {ami} for rebake {rebake} already; let that end, or take it back with \
         DELETE /v1/workers/{worker}/canary/{rebake}"
    )]
    OtherCanary {
        /// The worker.
        worker: WorkerName,
        /// The other rebake, or the same with another wish.
        rebake: RebakeId,
        /// Its candidate.
        ami: AmiId,
    },
    /// A declaration has mistakes.
    #[error("{problem}")]
    Declaration {
        /// Each with its place and its cure; no secret is in it.
        problem: String,
    },
    /// The controller ends.
    #[error("the controller ends; ask again when it is back")]
    Ending,
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The controller: it owns the ledger and one loop per cell. Clones share them.
#[derive(Debug)]
pub struct Controller<L> {
    shared: Arc<Shared<L>>,
    clock: Clock,
    running: Arc<Mutex<BTreeMap<Cell, Running>>>,
    starter: Arc<Mutex<Starter<L>>>,
    loops: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// How a cell's loop is started, whatever its cloud.
struct Starter<L> {
    seed: u64,
    start: Box<StartLoop<L>>,
}

type StartLoop<L> =
    dyn Fn(&Cell, &Intent, Arc<Shared<L>>, Clock, u64, watch::Receiver<bool>) -> JoinHandle<()> + Send + Sync;

impl<L: Ledger + 'static> Starter<L> {
    fn new<C, F>(seed: u64, connect: F) -> Self
    where
        C: Cloud + 'static,
        F: Fn(&Cell, &Intent) -> C + Send + Sync + 'static,
    {
        let start = move |cell: &Cell, intent: &Intent, shared: Arc<Shared<L>>, clock, seed, stopped| {
            let cloud = Watched::new(connect(cell, intent), cell.clone(), Arc::clone(shared.metrics()));
            let cloud = Arc::new(cloud);
            tokio::spawn(supervise::supervise(cell.clone(), cloud, shared, clock, seed, stopped))
        };
        Self { seed, start: Box::new(start) }
    }
}

impl<L> std::fmt::Debug for Starter<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Starter").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// A loop that runs: whose account it acts in, and how it is ended.
#[derive(Debug)]
struct Running {
    owner: Owner,
    stop: watch::Sender<bool>,
}

impl<L> Clone for Controller<L> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            clock: self.clock.clone(),
            running: Arc::clone(&self.running),
            starter: Arc::clone(&self.starter),
            loops: Arc::clone(&self.loops),
        }
    }
}

impl<L: Ledger + 'static> Controller<L> {
    /// Folds the ledger and starts a loop for every cell of the configuration and the ledger.
    /// `connect` gives the cloud of a cell; `seed` makes the jitter of pauses.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger cannot be read or written.
    pub fn start<C, F>(intent: Intent, ledger: L, clock: Clock, seed: u64, connect: F) -> Result<Self, LedgerError>
    where
        C: Cloud + 'static,
        F: Fn(&Cell, &Intent) -> C + Send + Sync + 'static,
    {
        Self::start_with(Declarations::default(), intent, ledger, clock, seed, connect)
    }

    /// The same with what masters declared to an earlier life of the controller, and with the place where it
    /// is kept; without one, what they declare ends with the process.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger cannot be read or written.
    pub fn start_with<C, F>(
        kept: Declarations,
        intent: Intent,
        ledger: L,
        clock: Clock,
        seed: u64,
        connect: F,
    ) -> Result<Self, LedgerError>
    where
        C: Cloud + 'static,
        F: Fn(&Cell, &Intent) -> C + Send + Sync + 'static,
    {
        let now = clock.now();
        let book = Book::open(ledger)?;
        same_fleet(book.fleet(), &intent)?;
        if let Some(last) = book.fleet().last_at.filter(|last| *last > now + CLOCK_BEHIND) {
            tracing::warn!(%last, %now, "this machine's clock is behind the ledger's last entry; time limits may end late, nothing ends early");
        }
        let shared = Arc::new(Shared::new(book, Desk::new(intent, kept), now));
        shared.take_declared();
        shared.append(now, &Actor::Controller, vec![Body::ControllerStarted { version: crate::VERSION.to_owned() }])?;
        let starter = Arc::new(Mutex::new(Starter::new(seed, connect)));
        let controller = Self { shared, clock, running: Arc::default(), starter, loops: Arc::default() };
        controller.apply_intent()?;
        Ok(controller)
    }

    /// Takes a new configuration, and reads again what masters declared over it: it holds for the next decision, running builds are not disturbed.
    /// Where an owner's account or credentials changed, its loops begin anew with them.
    ///
    /// # Errors
    /// [`LedgerError::OtherFleet`] if it would disown what lives, and the old configuration holds on; or
    /// the ledger's.
    pub fn reconfigure<C, F>(&self, intent: Intent, seed: u64, connect: F) -> Result<(), LedgerError>
    where
        C: Cloud + 'static,
        F: Fn(&Cell, &Intent) -> C + Send + Sync + 'static,
    {
        same_fleet(self.shared.book().fleet(), &intent)?;
        *self.starter.lock().unwrap_or_else(PoisonError::into_inner) = Starter::new(seed, connect);
        self.shared.desk().reconfigure(intent);
        self.shared.take_declared();
        self.apply_intent()
    }

    /// No loop speaks for a worker that is neither configured nor has an instance: its request is
    /// answered here.
    fn answer_unconfigured(&self) -> Result<(), LedgerError> {
        let intent = self.shared.intent();
        let answers = |fleet: &Fleet| {
            let orphaned = fleet.workers.iter().filter(|(name, worker)| {
                matches!(worker.state, WorkerState::Requested) && !intent.workers.contains_key(*name)
            });
            let answer = |name: &WorkerName| {
                let message = format!("worker {name} is not in the configuration any more");
                let failure = Failure::new(Phase::Launch, FailureKind::Owner, "UnknownWorker", &message);
                Body::RequestFailed { worker: name.clone(), failure }
            };
            orphaned.map(|(name, _)| answer(name)).collect()
        };
        self.shared.append_from(self.clock.now(), &Actor::Controller, answers).map(drop)
    }

    fn start_loops(&self) {
        let intent = self.shared.intent();
        let cells = cells_of(&intent, self.shared.book().fleet());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let starter = self.starter.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, cell) in (0..).zip(cells) {
            let Some(owner) = intent.owners.get(&cell.owner) else {
                tracing::error!(%cell, "the ledger knows instances of an owner that is no longer configured; put the owner back until they are gone");
                continue;
            };
            match running.get(&cell) {
                Some(old) if old.owner.acts_like(owner) => continue,
                Some(old) => drop(old.stop.send_replace(true)),
                None => {}
            }
            let (stop, stopped) = watch::channel(false);
            let (shared, seed) = (Arc::clone(&self.shared), starter.seed.wrapping_add(number));
            let task = (starter.start)(&cell, &intent, shared, self.clock.clone(), seed, stopped);
            self.loops.lock().unwrap_or_else(PoisonError::into_inner).push(task);
            running.insert(cell, Running { owner: owner.clone(), stop });
        }
    }

    /// The time by which this controller decides.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Writes what a caller said, if it says something new, and wakes the loops that it concerns.
    fn write<B>(&self, now: DateTime<Utc>, actor: &Actor, new: impl FnOnce(&Fleet) -> B) -> Result<(), ControlError>
    where
        B: IntoIterator<Item = Body>,
    {
        let cells = self.shared.append_from(now, actor, |fleet| new(fleet).into_iter().collect())?;
        self.shared.wake(&cells);
        Ok(())
    }

    /// An operator asks that the worker go as soon as its master lets it.
    ///
    /// # Errors
    /// [`ControlError::UnknownWorker`], or the ledger's.
    pub fn drain(&self, worker: &WorkerName) -> Result<(), ControlError> {
        self.known(worker)?;
        self.write(self.clock.now(), &Actor::Operator, |fleet| {
            // What is stopped is used by nobody, whatever its master has said of it last.
            let runs =
                |state: &WorkerState| state.instance().is_some() && !matches!(state, WorkerState::Stopped { .. });
            let used = fleet.workers.get(worker).is_some_and(|w| runs(&w.state) && w.attached);
            let (worker, cause) = (worker.clone(), Cause::Operator);
            [if used { Body::DrainOrdered { worker, cause } } else { Body::Released { worker, cause } }]
        })
    }

    /// Takes in what a master says of its workers, whole. Names that are not configured are ignored, and so
    /// are workers that another master uses.
    ///
    /// # Errors
    /// The ledger's.
    pub fn report(&self, master: &MasterId, report: &Report) -> Result<(), ControlError> {
        self.write(self.clock.now(), &Actor::Master(master.clone()), |fleet| self.changes(fleet, master, report))
    }

    /// Keeps the worker's instance until a time, whatever else would take it away but its end of life.
    ///
    /// # Errors
    /// [`ControlError::NothingToHold`], [`ControlError::OverBudget`], [`ControlError::UnknownWorker`], or the
    /// ledger's.
    pub fn hold(&self, worker: &WorkerName, length: TimeDelta) -> Result<DateTime<Utc>, ControlError> {
        self.known(worker)?;
        let now = self.clock.now();
        let until = now + length;
        let owner = self.shared.intent().workers.get(worker).map(|worker| worker.cell.owner.clone());
        if let Some(failure) = owner.and_then(|owner| self.over_budget(&owner)) {
            return Err(ControlError::OverBudget { why: failure.message });
        }
        let mut holds = false;
        self.write(now, &Actor::Operator, |fleet| {
            holds = fleet
                .workers
                .get(worker)
                .is_some_and(|w| w.state.instance().is_some() && !matches!(w.state, WorkerState::Terminating { .. }));
            holds.then(|| Body::HoldSet { worker: worker.clone(), until })
        })?;
        if holds { Ok(until) } else { Err(ControlError::NothingToHold { worker: worker.clone() }) }
    }

    /// Why nothing may be bought for an owner, if so.
    pub fn over_budget(&self, owner: &OwnerName) -> Option<Failure> {
        let intent = self.shared.intent();
        self.shared.book().balance(&intent, owner, self.clock.now())?.buys_nothing()
    }

    /// Lifts a hold; without one it changes nothing.
    ///
    /// # Errors
    /// [`ControlError::UnknownWorker`], or the ledger's.
    pub fn unhold(&self, worker: &WorkerName) -> Result<(), ControlError> {
        self.known(worker)?;
        self.write(self.clock.now(), &Actor::Operator, |fleet| {
            let held = fleet.workers.get(worker).is_some_and(|w| w.hold.is_some());
            held.then(|| Body::HoldReleased { worker: worker.clone() })
        })
    }

    fn known(&self, worker: &WorkerName) -> Result<(), ControlError> {
        if self.shared.intent().workers.contains_key(worker) { Ok(()) } else { Err(self.unknown(worker)) }
    }

    /// The refusal of a name that is not configured; it tells the names that are.
    pub fn unknown(&self, worker: &WorkerName) -> ControlError {
        let intent = self.shared.intent();
        let known: Vec<String> = intent.workers.keys().map(ToString::to_string).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        ControlError::UnknownWorker { worker: worker.clone(), known }
    }

    /// The configuration that holds, with what masters declare over it.
    pub fn intent(&self) -> Arc<Intent> {
        self.shared.intent()
    }

    /// Every worker, of the configuration or with something left.
    pub fn workers(&self) -> Vec<WorkerView> {
        status::all(&self.shared, self.clock.now())
    }

    /// Every cell, with how its last look went.
    pub fn cells(&self) -> Vec<CellView> {
        status::cells(&self.shared, self.clock.now())
    }

    /// How each owner with a budget stands.
    pub fn budgets(&self) -> Vec<BudgetView> {
        budget::all(&self.shared, self.clock.now())
    }

    /// The ledger's last entry, and the value of its chain there.
    ///
    /// # Errors
    /// The ledger's.
    pub fn head(&self) -> Result<Head, ControlError> {
        Ok(self.shared.book().head()?)
    }

    /// What is known of instances, and whether every account was listed since the start: before that
    /// some that are ours may not be known yet.
    pub fn claims(&self) -> (Claims, bool) {
        let intent = self.shared.intent();
        let listed = {
            let cells = self.shared.cells();
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.keys().all(|cell| cells.get(cell).is_some_and(|status| status.inventory.is_some()))
        };
        (plan::sweep::claims(self.shared.book().fleet(), &intent), listed)
    }

    /// Entries after `seq`, oldest first; at most 1,000 at a time.
    ///
    /// # Errors
    /// The ledger's.
    pub fn events(&self, after: u64, limit: usize) -> Result<Vec<Entry>, ControlError> {
        Ok(self.shared.book().read(after, limit.min(EVENTS_MAX))?)
    }

    /// The last day of every worker of the configuration, or with something left.
    pub fn day(&self) -> DayView {
        self.day_of_these(&status::names(&self.shared))
    }

    /// The last day of these workers alone.
    pub fn day_of_these(&self, workers: &[WorkerName]) -> DayView {
        self.shared.book().day().view(self.clock.now(), workers)
    }

    /// The last day of one worker, and its last entries with those about its instances, the last one first.
    ///
    /// # Errors
    /// The ledger's.
    pub fn day_of(&self, name: &WorkerName) -> Result<(LineView, Vec<Entry>), ControlError> {
        let book = self.shared.book();
        let mut entries = Vec::new();
        for seq in book.day().events(name) {
            entries.extend(book.read(seq.saturating_sub(1), 1)?);
        }
        Ok((book.day().line(self.clock.now(), name), entries))
    }

    /// Whether the ledger can be written, and whether every cell was listed not long ago.
    pub fn health(&self) -> HealthView {
        let intent = self.shared.intent();
        let cells = cells_of(&intent, self.shared.book().fleet());
        health::health(&self.shared, &intent, cells, self.clock.now())
    }

    /// The place of the last entry, whenever it changes.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed()
    }

    /// Why the clock of the machine deserves a look, if it does.
    pub fn clock_jump(&self) -> Option<TimeDelta> {
        self.clock.jump()
    }

    /// Ends the loops as a crash would: no answer is awaited, nothing is written. For tests and the
    /// simulation; what was in flight is found again at the next start.
    pub fn abort(&self) {
        for running in self.running.lock().unwrap_or_else(PoisonError::into_inner).values() {
            running.stop.send_replace(true);
        }
        for task in std::mem::take(&mut *self.loops.lock().unwrap_or_else(PoisonError::into_inner)) {
            task.abort();
        }
    }

    /// Ends the loops in good order: no new call, a little time for the answers to the old ones.
    pub async fn shutdown(&self) {
        for running in self.running.lock().unwrap_or_else(PoisonError::into_inner).values() {
            running.stop.send_replace(true);
        }
        let loops = std::mem::take(&mut *self.loops.lock().unwrap_or_else(PoisonError::into_inner));
        for task in loops {
            if let Err(error) = task.await {
                tracing::error!(%error, "a loop ended badly");
            }
        }
        if let Err(error) = self.shared.append(self.clock.now(), &Actor::Controller, vec![Body::ControllerStopped {}]) {
            tracing::warn!(%error, "the end could not be written; the next start does not mind");
        }
    }
}

/// The cells that need a loop: those of the configuration, and those where something may live.
fn cells_of(intent: &Intent, fleet: &Fleet) -> BTreeSet<Cell> {
    let configured = intent.cells();
    let bound = fleet.workers.values().filter(|worker| !matches!(worker.state, WorkerState::Gone { .. }));
    let bound = bound.filter_map(|worker| worker.attempt.as_ref()).map(|attempt| &attempt.cell);
    let departing = fleet.departing.values().map(|departing| &departing.cell);
    configured.chain(bound).chain(departing).cloned().collect()
}

/// Under another name of the fleet or the controller what lives would be in no listing, and be forgotten.
fn same_fleet(fleet: &Fleet, intent: &Intent) -> Result<(), LedgerError> {
    let configured = (intent.fleet.name.as_str(), intent.fleet.controller.as_str());
    for worker in fleet.workers.values().filter(|worker| !matches!(worker.state, WorkerState::Gone { .. })) {
        let Some(spec) = worker.attempt.as_ref().and_then(|attempt| attempt.spec.as_ref()) else { continue };
        let recorded = (spec.tags.get(tag_keys::FLEET), spec.tags.get(tag_keys::CONTROLLER));
        if let (Some(name), Some(controller)) = recorded
            && (name, controller) != configured
        {
            return Err(LedgerError::OtherFleet { recorded: format!("{name}/{controller}") });
        }
    }
    Ok(())
}
