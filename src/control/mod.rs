//! Floor 3: the loops, and the controller that masters talk to.

mod book;
mod cell;
mod driver;
mod pace;
mod perform;
mod shared;
mod status;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cloud::Cloud;
use crate::ledger::{Ledger, LedgerError};
use crate::model::{Actor, Body, Cause, Cell, Entry, MasterId, RequestId, WorkerName};
use crate::plan::{self, Report};
use crate::policy::Intent;

use book::Book;
use cell::CellLoop;
use shared::Shared;

pub use driver::Clock;
pub use pace::{ApiAction, Pace};
pub use status::{CellView, FailureView, WorkerView};

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
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The controller: it owns the ledger and one loop per cell. Clones share them.
#[derive(Debug)]
pub struct Controller<L> {
    shared: Arc<Shared<L>>,
    clock: Clock,
    stop: watch::Sender<bool>,
    loops: Arc<Mutex<Vec<JoinHandle<()>>>>,
    running: Arc<Mutex<BTreeSet<Cell>>>,
}

impl<L> Clone for Controller<L> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            clock: self.clock.clone(),
            stop: self.stop.clone(),
            loops: Arc::clone(&self.loops),
            running: Arc::clone(&self.running),
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
        F: Fn(&Cell, &Intent) -> C,
    {
        let now = clock.now();
        let book = Book::open(ledger)?;
        if let Some(last) = book.fleet().last_at.filter(|last| *last > now + CLOCK_BEHIND) {
            tracing::warn!(%last, %now, "this machine's clock is behind the ledger's last entry; time limits may end late, nothing ends early");
        }
        let shared = Arc::new(Shared::new(book, intent, now));
        shared.append(now, &Actor::Controller, vec![Body::ControllerStarted { version: crate::VERSION.to_owned() }])?;
        let controller =
            Self { shared, clock, stop: watch::Sender::new(false), loops: Arc::default(), running: Arc::default() };
        controller.start_loops(seed, &connect);
        Ok(controller)
    }

    /// Takes a new configuration: it holds for the next decision, running builds are not disturbed.
    pub fn reconfigure<C, F>(&self, intent: Intent, seed: u64, connect: F)
    where
        C: Cloud + 'static,
        F: Fn(&Cell, &Intent) -> C,
    {
        self.shared.set_intent(intent);
        self.start_loops(seed, &connect);
        self.shared.wake_all();
    }

    fn start_loops<C, F>(&self, seed: u64, connect: &F)
    where
        C: Cloud + 'static,
        F: Fn(&Cell, &Intent) -> C,
    {
        let intent = self.shared.intent();
        let mut cells: BTreeSet<Cell> = intent.workers.values().map(|worker| worker.cell.clone()).collect();
        {
            let book = self.shared.book();
            let fleet = book.fleet();
            let attempts =
                fleet.workers.values().filter(|w| w.state.instance().is_some()).filter_map(|w| w.attempt.as_ref());
            cells.extend(attempts.map(|attempt| attempt.cell.clone()));
            cells.extend(fleet.departing.values().map(|departing| departing.cell.clone()));
        }
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, cell) in (0..).zip(cells) {
            if !intent.owners.contains_key(&cell.owner) {
                tracing::error!(%cell, "the ledger knows instances of an owner that is no longer configured; put the owner back until they are gone");
                continue;
            }
            if running.insert(cell.clone()) {
                let one = CellLoop::new(
                    cell.clone(),
                    connect(&cell, &intent),
                    Arc::clone(&self.shared),
                    self.clock.clone(),
                    seed.wrapping_add(number),
                );
                let task = tokio::spawn(one.run(self.stop.subscribe()));
                self.loops.lock().unwrap_or_else(PoisonError::into_inner).push(task);
            }
        }
    }

    /// The time by which this controller decides.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// A master wants a worker. When it returns, the request survives a crash; the answer is the
    /// worker's state. Repeating a request that still stands changes nothing.
    ///
    /// # Errors
    /// [`ControlError::UnknownWorker`], or the ledger's.
    pub fn request(&self, actor: &Actor, worker: &WorkerName, request: &RequestId) -> Result<(), ControlError> {
        self.known(worker)?;
        let now = self.clock.now();
        self.shared.hear(worker, now);
        let repeated = {
            let book = self.shared.book();
            book.fleet().workers.get(worker).is_some_and(|w| {
                w.last_request.as_ref() == Some(request) && w.failure.is_none() && w.released.is_none()
            })
        };
        if !repeated {
            let body = Body::Requested { worker: worker.clone(), request: request.clone() };
            self.shared.append(now, actor, vec![body])?;
            self.shared.wake_all();
        }
        Ok(())
    }

    /// Nobody wants the worker any more. When it returns, that survives a crash. With `request`, it
    /// counts only if that is the last request. May be repeated.
    ///
    /// # Errors
    /// [`ControlError::UnknownWorker`], or the ledger's.
    pub fn release(
        &self,
        actor: &Actor,
        worker: &WorkerName,
        cause: Cause,
        request: Option<&RequestId>,
    ) -> Result<(), ControlError> {
        let now = self.clock.now();
        let stands = {
            let book = self.shared.book();
            let Some(w) = book.fleet().workers.get(worker) else {
                drop(book);
                return self.known(worker);
            };
            request.is_none_or(|request| w.last_request.as_ref() == Some(request))
        };
        if stands {
            let body = Body::Released { worker: worker.clone(), cause };
            self.shared.append(now, actor, vec![body])?;
            self.shared.wake_all();
        }
        Ok(())
    }

    /// An operator asks that the worker go as soon as its master lets it.
    ///
    /// # Errors
    /// [`ControlError::UnknownWorker`], or the ledger's.
    pub fn drain(&self, worker: &WorkerName) -> Result<(), ControlError> {
        self.known(worker)?;
        let now = self.clock.now();
        let state = self.shared.book().fleet().workers.get(worker).map(|w| (w.state.instance().is_some(), w.attached));
        let body = match state {
            Some((true, true)) => Body::DrainOrdered { worker: worker.clone(), cause: Cause::Operator },
            _ => Body::Released { worker: worker.clone(), cause: Cause::Operator },
        };
        self.shared.append(now, &Actor::Operator, vec![body])?;
        self.shared.wake_all();
        Ok(())
    }

    /// Takes in what a master says of its workers, whole. Names that are not configured are ignored.
    ///
    /// # Errors
    /// The ledger's.
    pub fn report(&self, master: &MasterId, report: &Report) -> Result<(), ControlError> {
        let now = self.clock.now();
        for name in report.workers.keys() {
            self.shared.hear(name, now);
        }
        let changes = plan::changes(self.shared.book().fleet(), report);
        if !changes.is_empty() {
            self.shared.append(now, &Actor::Master(master.clone()), changes)?;
            self.shared.wake_all();
        }
        Ok(())
    }

    /// Keeps the worker's instance until a time, whatever else would take it away but its end of life.
    ///
    /// # Errors
    /// [`ControlError::NothingToHold`], [`ControlError::UnknownWorker`], or the ledger's.
    pub fn hold(&self, worker: &WorkerName, length: TimeDelta) -> Result<DateTime<Utc>, ControlError> {
        self.known(worker)?;
        let now = self.clock.now();
        let bound = self.shared.book().fleet().workers.get(worker).is_some_and(|w| w.state.instance().is_some());
        if !bound {
            return Err(ControlError::NothingToHold { worker: worker.clone() });
        }
        let until = now + length;
        self.shared.append(now, &Actor::Operator, vec![Body::HoldSet { worker: worker.clone(), until }])?;
        self.shared.wake_all();
        Ok(until)
    }

    /// Lifts a hold; without one it changes nothing.
    ///
    /// # Errors
    /// [`ControlError::UnknownWorker`], or the ledger's.
    pub fn unhold(&self, worker: &WorkerName) -> Result<(), ControlError> {
        self.known(worker)?;
        let held = self.shared.book().fleet().workers.get(worker).is_some_and(|w| w.hold.is_some());
        if held {
            self.shared.append(
                self.clock.now(),
                &Actor::Operator,
                vec![Body::HoldReleased { worker: worker.clone() }],
            )?;
            self.shared.wake_all();
        }
        Ok(())
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

    /// Every worker, of the configuration or with something left.
    pub fn workers(&self) -> Vec<WorkerView> {
        status::all(&self.shared)
    }

    /// One worker.
    pub fn worker(&self, name: &WorkerName) -> Option<WorkerView> {
        status::one(&self.shared, name)
    }

    /// Every cell, with how its last look went.
    pub fn cells(&self) -> Vec<CellView> {
        status::cells(&self.shared)
    }

    /// Entries after `seq`, oldest first; at most 1,000 at a time.
    ///
    /// # Errors
    /// The ledger's.
    pub fn events(&self, after: u64, limit: usize) -> Result<Vec<Entry>, ControlError> {
        Ok(self.shared.book().read(after, limit.min(EVENTS_MAX))?)
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
        self.stop.send_replace(true);
        for task in std::mem::take(&mut *self.loops.lock().unwrap_or_else(PoisonError::into_inner)) {
            task.abort();
        }
    }

    /// Ends the loops in good order: no new call, a little time for the answers to the old ones.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
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
