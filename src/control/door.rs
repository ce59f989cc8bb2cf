//! Who may connect: asked by masters, decided by [`plan::admit`](crate::plan::admit) on the last listing.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::Shared;
use super::{ControlError, Controller};
use crate::ledger::Ledger;
use crate::model::{Actor, Body, Cell, Fleet, WorkerName};
use crate::plan::{self, Admission, Info, Knock};

/// How long an answer may wait for a newer listing.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// Who was turned away is written again no sooner than this: a twin knocks every few seconds.
const WRITTEN_AGAIN: TimeDelta = TimeDelta::minutes(10);
/// For so long it is told after the last time.
const TOLD: TimeDelta = TimeDelta::minutes(15);
/// So many who were turned away are told apart.
const GUESTS_MAX: usize = 1_000;

/// Somebody with a worker's name and password who was turned away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TurnedAwayView {
    /// The instance it is on, as far as that is known.
    pub instance: Option<String>,
    /// The address it comes from.
    pub peer: Option<String>,
    /// Why.
    pub why: String,
    /// The first time.
    pub since: DateTime<Utc>,
    /// The last time.
    pub at: DateTime<Utc>,
    /// How often.
    pub times: u64,
}

/// Who was turned away in this life of the controller.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    guests: BTreeMap<(WorkerName, String), Guest>,
}

#[derive(Debug)]
struct Guest {
    view: TurnedAwayView,
    written: Option<DateTime<Utc>>,
}

impl TurnedAway {
    /// Notes a refusal; says whether it is to be written.
    fn note(&mut self, now: DateTime<Utc>, name: &WorkerName, peer: Option<&str>, admission: &Admission) -> bool {
        self.guests.retain(|_, guest| now < guest.view.at + TOLD);
        let instance = admission.instance.as_ref().map(ToString::to_string);
        let who = instance.clone().or_else(|| peer.map(ToOwned::to_owned)).unwrap_or_default();
        let key = (name.clone(), who);
        if self.guests.len() >= GUESTS_MAX && !self.guests.contains_key(&key) {
            return false;
        }
        let why = admission.why.clone().unwrap_or_default();
        let view = TurnedAwayView { instance, peer: peer.map(ToOwned::to_owned), why, since: now, at: now, times: 0 };
        let guest = self.guests.entry(key).or_insert_with(|| Guest { view: view.clone(), written: None });
        guest.view = TurnedAwayView { since: guest.view.since, times: guest.view.times + 1, ..view };
        let due = guest.written.is_none_or(|written| now >= written + WRITTEN_AGAIN);
        if due {
            guest.written = Some(now);
        }
        due
    }

    /// Who was turned away for a worker lately, the last first.
    pub(super) fn of(&self, name: &WorkerName, now: DateTime<Utc>) -> Vec<TurnedAwayView> {
        let lately = self.guests.iter().filter(|((of, _), guest)| of == name && now < guest.view.at + TOLD);
        let mut all: Vec<TurnedAwayView> = lately.map(|(_, guest)| guest.view.clone()).collect();
        all.sort_by_key(|view| std::cmp::Reverse(view.at));
        all
    }
}

/// The cell in which a worker has its instance, or would have it.
fn cell_of<L: Ledger>(shared: &Shared<L>, fleet: &Fleet, name: &WorkerName) -> Option<Cell> {
    let recorded = fleet.workers.get(name);
    let bound = recorded.filter(|worker| worker.state.instance().is_some()).and_then(|worker| worker.attempt.as_ref());
    let last = || recorded.and_then(|worker| worker.attempt.as_ref()).map(|attempt| attempt.cell.clone());
    let configured = || shared.intent().workers.get(name).map(|worker| worker.cell.clone());
    bound.map(|attempt| attempt.cell.clone()).or_else(last).or_else(configured)
}

impl<L: Ledger + 'static> Controller<L> {
    /// Whether a master may take a worker's connection. Where a newer listing could tell more, one is
    /// asked for and waited for, five seconds at most. A refusal is remembered and, once in a while, written.
    ///
    /// # Errors
    /// [`ControlError::UnknownWorker`].
    pub async fn admit(
        &self,
        actor: &Actor,
        worker: &WorkerName,
        peer: Option<&str>,
        info: &Info,
    ) -> Result<Admission, ControlError> {
        let (mut admission, cell) = self.weigh(worker, peer, info)?;
        if admission.look
            && let Some(cell) = cell
            && self.look_early(&cell).await
        {
            (admission, _) = self.weigh(worker, peer, info)?;
        }
        self.turn_away(actor, worker, peer, &admission);
        Ok(admission)
    }

    /// The same by the last listing, whatever its age. Nothing is remembered or written; a newer listing
    /// is asked for where it could tell more.
    ///
    /// # Errors
    /// [`ControlError::UnknownWorker`].
    pub fn admit_now(&self, worker: &WorkerName, peer: Option<&str>, info: &Info) -> Result<Admission, ControlError> {
        let (admission, cell) = self.weigh(worker, peer, info)?;
        if let Some(cell) = cell.filter(|_| admission.look) {
            self.shared.ask_for_listing(&cell);
        }
        Ok(admission)
    }

    fn weigh(
        &self,
        worker: &WorkerName,
        peer: Option<&str>,
        info: &Info,
    ) -> Result<(Admission, Option<Cell>), ControlError> {
        let intent = self.shared.intent();
        let book = self.shared.book();
        if !intent.workers.contains_key(worker) && !book.fleet().workers.contains_key(worker) {
            return Err(self.unknown(worker));
        }
        let cell = cell_of(&self.shared, book.fleet(), worker);
        let inventory = cell.as_ref().and_then(|cell| self.shared.cells().get(cell)?.inventory.clone());
        let knock = Knock { worker, peer, info, intent: &intent, fleet: book.fleet(), inventory: inventory.as_deref() };
        Ok((plan::admit(&knock), cell))
    }

    /// Has the cell listed early, unless it was listed just now; says whether there is a newer listing.
    async fn look_early(&self, cell: &Cell) -> bool {
        let listed = || self.shared.cells().get(cell)?.inventory.as_ref().map(|inventory| inventory.observed_at);
        let before = listed();
        let fast = self.shared.intent().polling.fast;
        if before.is_some_and(|at| self.clock.now() < at + fast) {
            return false;
        }
        let mut looks = self.shared.looks();
        self.shared.ask_for_listing(cell);
        let waiting = async {
            while listed() <= before {
                if looks.changed().await.is_err() {
                    return;
                }
            }
        };
        // Without one in time what is known decides; the next knock may know more.
        let _ = self.clock.within(LOOK_LIMIT, waiting).await;
        listed() > before
    }

    fn turn_away(&self, actor: &Actor, worker: &WorkerName, peer: Option<&str>, admission: &Admission) {
        let now = self.clock.now();
        if !admission.admit {
            self.shared.metrics().turned_away(worker);
        }
        // It comes from outside: only what may be an address is kept and shown.
        let peer = peer.filter(|text| text.len() <= 64 && text.chars().all(|c| c.is_ascii_graphic()));
        if admission.admit || !self.shared.turned_away().note(now, worker, peer, admission) {
            return;
        }
        let body = Body::TurnedAway {
            worker: worker.clone(),
            instance: admission.instance.clone(),
            peer: peer.map(Into::into),
            why: admission.why.clone().unwrap_or_default(),
        };
        if let Err(error) = self.shared.append(now, actor, vec![body]) {
            tracing::error!(worker.name = %worker, %error, "cannot write that somebody was turned away");
        }
    }
}
