//! The loop of one cell: look, record what is proven, decide, make intents durable, call.
//!
//! It is level-triggered: a wake-up only says *look now*, and a crash at any point is followed by
//! the same loop. One owner's slow, throttled or refused calls wait in their own cell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

use super::driver::Clock;
use super::pace::{ApiAction, Pace};
use super::perform::{self, Call, Outcome};
use super::shared::Shared;
use crate::cloud::{Cloud, CloudError};
use crate::ledger::{Ledger, LedgerError};
use crate::model::{Action, Actor, Body, Cell, Failure, FailureKind, Inventory, Phase, Plan, Subject};
use crate::plan::{self, View, Watch};

/// Decisions that need no call may lead to further ones; this many in a row, then the loop turns.
const ROUNDS_MAX: usize = 16;
/// How long calls in flight may still take when the controller ends in good order.
const FAREWELL: Duration = Duration::from_secs(10);
/// The first pause after a refused call; it doubles up to [`BACKOFF_MAX`].
const BACKOFF: TimeDelta = TimeDelta::seconds(1);
const BACKOFF_MAX: TimeDelta = TimeDelta::seconds(60);
/// A stop or a start that was accepted is not repeated for this long.
const SETTLE: TimeDelta = TimeDelta::seconds(10);
/// A listing may take this long.
const LISTING_LIMIT: Duration = Duration::from_mins(1);

enum Done {
    Called(Outcome),
    Listed(Result<Inventory, CloudError>),
}

/// One owner's account in one region.
pub(super) struct CellLoop<C, L> {
    cell: Cell,
    cloud: Arc<C>,
    shared: Arc<Shared<L>>,
    clock: Clock,
    watch: Watch,
    inventory: Option<Arc<Inventory>>,
    listing_failure: Option<Failure>,
    next_listing: DateTime<Utc>,
    listing: bool,
    account_known: bool,
    in_flight: BTreeSet<Subject>,
    renewing: bool,
    not_before: BTreeMap<Subject, DateTime<Utc>>,
    refusals: BTreeMap<Subject, u32>,
    listing_refusals: u32,
    pace: Pace,
    random: fastrand::Rng,
    calls: FuturesUnordered<BoxFuture<'static, Done>>,
}

impl<C: Cloud + 'static, L: Ledger + 'static> CellLoop<C, L> {
    pub(super) fn new(cell: Cell, cloud: C, shared: Arc<Shared<L>>, clock: Clock, seed: u64) -> Self {
        let now = clock.now();
        Self {
            cell,
            cloud: Arc::new(cloud),
            shared,
            clock,
            watch: Watch::default(),
            inventory: None,
            listing_failure: None,
            next_listing: now,
            listing: false,
            account_known: false,
            in_flight: BTreeSet::new(),
            renewing: false,
            not_before: BTreeMap::new(),
            refusals: BTreeMap::new(),
            listing_refusals: 0,
            pace: Pace::new(now),
            random: fastrand::Rng::with_seed(seed),
            calls: FuturesUnordered::new(),
        }
    }

    /// Works until `stop` turns true or the last controller is dropped, then waits a little for the answers to what was sent.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let wake = self.shared.wake_of(&self.cell);
        while !*stop.borrow() {
            let next = match self.activate() {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(cell = %self.cell, %error, "cannot write the ledger; nothing is started until it can be written");
                    self.clock.now() + BACKOFF_MAX / 4
                }
            };
            tokio::select! {
                biased;
                // Without its controller nobody could stop it any more: then it stops by itself.
                changed = stop.changed() => if changed.is_err() { break },
                Some(done) = self.calls.next(), if !self.calls.is_empty() => self.conclude(done),
                () = wake.notified() => {}
                () = self.clock.sleep_until(next) => {}
            }
        }
        let clock = self.clock.clone();
        let rest = async {
            while let Some(done) = self.calls.next().await {
                self.conclude(done);
            }
        };
        if clock.within(FAREWELL, rest).await.is_none() {
            tracing::warn!("calls in flight were left; their outcome is found at the next start");
        }
    }

    /// One look: facts, decisions, calls. Gives the time of the next look if nothing happens.
    fn activate(&mut self) -> Result<DateTime<Utc>, LedgerError> {
        let now = self.clock.now();
        self.not_before.retain(|_, at| *at > now);
        self.list_if_due(now);
        self.record_facts(now)?;
        let mut plan = self.decide(now);
        for _ in 0..ROUNDS_MAX {
            let (decisions, others): (Vec<Action>, Vec<Action>) =
                plan.actions.into_iter().partition(|action| matches!(action, Action::Record { .. }));
            if decisions.is_empty() {
                plan.actions = others;
                break;
            }
            self.intend(now, decisions)?;
            plan = self.decide(now);
        }
        let next = plan::next_look(&plan, now);
        let actions = std::mem::take(&mut plan.actions);
        let waits = self.perform(now, actions)?;
        self.shared.publish(&self.cell, plan.held, self.inventory.clone(), self.listing_failure.clone());
        Ok([next, waits, self.listing_due()].into_iter().flatten().min().unwrap_or(now + BACKOFF_MAX))
    }

    fn with_view<T>(&mut self, now: DateTime<Utc>, use_it: impl FnOnce(&View<'_>) -> T) -> T {
        let (launches_now, launches_from) = self.pace.available(ApiAction::Launch, now);
        let intent = self.shared.intent();
        let book = self.shared.book();
        let heard = self.shared.heard();
        let view = View {
            now,
            cell: &self.cell,
            intent: &intent,
            fleet: book.fleet(),
            inventory: self.inventory.as_deref(),
            listing_failure: self.listing_failure.as_ref(),
            watch: &self.watch,
            in_flight: &self.in_flight,
            not_before: &self.not_before,
            heard: &|name| heard.of(name),
            launches_now,
            launches_from,
            live: book.fleet().live(),
        };
        use_it(&view)
    }

    fn record_facts(&mut self, now: DateTime<Utc>) -> Result<(), LedgerError> {
        let facts = self.with_view(now, plan::facts);
        for fact in &facts {
            // What a stop or a start was to bring is seen: the next call need not wait for it.
            if let Body::StopSeen { worker, instance } | Body::Running { worker, instance } = fact {
                self.not_before.remove(&Subject::Worker(worker.clone()));
                self.not_before.remove(&Subject::Instance(instance.clone()));
            }
        }
        self.shared.append(now, &Actor::Cloud, facts)
    }

    fn decide(&mut self, now: DateTime<Utc>) -> Plan {
        self.with_view(now, plan::plan)
    }

    fn intend(&mut self, now: DateTime<Utc>, actions: Vec<Action>) -> Result<Vec<Call>, LedgerError> {
        let intent = self.shared.intent();
        let calls = perform::intend(&mut self.shared.book(), now, &self.cell, &intent, actions)?;
        self.shared.tell();
        Ok(calls)
    }

    /// Makes intents durable for as many actions as the pace allows, and sends them. Gives the time
    /// from which the rest may follow.
    fn perform(&mut self, now: DateTime<Utc>, actions: Vec<Action>) -> Result<Option<DateTime<Utc>>, LedgerError> {
        let mut allowed = Vec::new();
        let mut waits: Option<DateTime<Utc>> = None;
        for action in actions {
            let api = match &action {
                Action::Launch { .. } | Action::Relaunch { .. } | Action::Start { .. } => ApiAction::Launch,
                Action::Terminate { .. } | Action::Stop { .. } => ApiAction::End,
                Action::Renew { .. } if self.renewing => continue,
                Action::Renew { .. } => ApiAction::Tag,
                Action::Record { .. } => continue,
            };
            match self.pace.take(api, now) {
                Ok(()) => allowed.push(action),
                Err(at) => waits = Some(waits.map_or(at, |w| w.min(at))),
            }
        }
        for call in self.intend(now, allowed)? {
            self.in_flight.extend(call.subjects());
            self.renewing |= matches!(call, Call::Renew { .. });
            let (cloud, clock) = (Arc::clone(&self.cloud), self.clock.clone());
            self.calls.push(Box::pin(async move { Done::Called(call.send(cloud.as_ref(), &clock).await) }));
        }
        Ok(waits)
    }

    fn conclude(&mut self, done: Done) {
        let now = self.clock.now();
        match done {
            Done::Listed(result) => self.conclude_listing(now, result),
            Done::Called(outcome) => self.conclude_call(now, &outcome),
        }
    }

    fn conclude_call(&mut self, now: DateTime<Utc>, outcome: &Outcome) {
        let subjects = outcome.call.subjects();
        if let Call::Renew { instances, until } = &outcome.call {
            self.renewing = false;
            if outcome.result.is_ok() {
                self.watch.renewed(instances, *until);
            }
        }
        if let Call::Launch { worker, .. } = &outcome.call {
            let open = outcome.result.as_ref().err().filter(|error| error.kind.leaves_outcome_open());
            let open = open.map(|e| (now, Failure::new(Phase::Launch, e.kind, &e.code, &e.message)));
            self.watch.launch_answered(worker, open);
        }
        let entries = perform::outcome_entries(outcome);
        if let Err(error) = self.shared.append(now, &Actor::Cloud, entries) {
            // The subject stays out of the way until the listing shows the outcome.
            tracing::error!(cell = %self.cell, %error, "cannot write an outcome; it is found again by the tags");
        }
        for subject in &subjects {
            self.in_flight.remove(subject);
        }
        match &outcome.result {
            Ok(_) => {
                for subject in subjects {
                    self.refusals.remove(&subject);
                    if matches!(outcome.call, Call::Stop { .. } | Call::Start { .. }) {
                        self.not_before.insert(subject, now + SETTLE);
                    } else {
                        self.not_before.remove(&subject);
                    }
                }
                // What was just changed is worth a look soon.
                self.next_listing = self.next_listing.min(now + self.shared.intent().polling.fast);
            }
            Err(error) => self.back_off(now, &outcome.call, &subjects, error),
        }
    }

    fn back_off(&mut self, now: DateTime<Utc>, call: &Call, subjects: &[Subject], error: &CloudError) {
        tracing::warn!(cell = %self.cell, error.code = %error.code, error.kind = %error.kind, "refused: {}", error.message);
        if error.kind == FailureKind::Throttled {
            self.pace.refused(call.action(), now);
        }
        let another_place = matches!(call, Call::Launch { .. }) && !error.kind.leaves_outcome_open();
        if another_place {
            return;
        }
        for subject in subjects {
            let refusals = self.refusals.entry(subject.clone()).or_insert(0);
            *refusals += 1;
            let pause = backoff(*refusals, &mut self.random);
            self.not_before.insert(subject.clone(), now + pause);
        }
    }

    fn list_if_due(&mut self, now: DateTime<Utc>) {
        let fast = plan::in_transition(self.shared.book().fleet(), &self.cell);
        let polling = self.shared.intent().polling;
        if fast && let Some(inventory) = &self.inventory {
            self.next_listing = self.next_listing.min(inventory.observed_at + polling.fast);
        }
        let nothing_known = self.inventory.is_none() && self.listing_failure.is_none();
        if self.listing || (now < self.next_listing && !nothing_known) {
            return;
        }
        if let Err(at) = self.pace.take(ApiAction::Describe, now) {
            self.next_listing = at;
            return;
        }
        let intent = self.shared.intent();
        let account = intent.owners.get(&self.cell.owner).map(|owner| owner.account.clone());
        let (cloud, clock, check) = (Arc::clone(&self.cloud), self.clock.clone(), !self.account_known);
        self.listing = true;
        self.calls.push(Box::pin(async move {
            let looked = clock.within(LISTING_LIMIT, look(cloud.as_ref(), account, check, now)).await;
            Done::Listed(looked.unwrap_or_else(|| {
                let message = format!("no complete listing within {} s", LISTING_LIMIT.as_secs());
                Err(CloudError { kind: FailureKind::Unreachable, code: "Timeout".to_owned(), message })
            }))
        }));
    }

    fn listing_due(&self) -> Option<DateTime<Utc>> {
        (!self.listing).then_some(self.next_listing)
    }

    fn conclude_listing(&mut self, now: DateTime<Utc>, result: Result<Inventory, CloudError>) {
        self.listing = false;
        match result {
            Ok(inventory) => {
                let intent = self.shared.intent();
                self.watch.update(&self.cell, &intent, self.shared.book().fleet(), &inventory);
                self.account_known = true;
                self.listing_refusals = 0;
                if self.listing_failure.take().is_some() {
                    tracing::info!(cell = %self.cell, "EC2 answers again");
                }
                self.next_listing = inventory.observed_at + intent.polling.slow;
                self.refusals.retain(|subject, _| match subject {
                    Subject::Worker(_) => true,
                    Subject::Instance(id) => inventory.instances.contains_key(id),
                });
                self.inventory = Some(Arc::new(inventory));
            }
            Err(error) => {
                if self.listing_failure.as_ref().is_none_or(|failure| failure.code != error.code) {
                    tracing::warn!(cell = %self.cell, error.code = %error.code, error.kind = %error.kind, "cannot list: {}", error.message);
                }
                if error.kind == FailureKind::Throttled {
                    self.pace.refused(ApiAction::Describe, now);
                }
                self.listing_refusals += 1;
                self.next_listing = now + backoff(self.listing_refusals, &mut self.random);
                self.listing_failure = Some(Failure::new(Phase::Launch, error.kind, &error.code, &error.message));
            }
        }
    }
}

/// The account is checked before anything else is believed or done in it.
async fn look<C: Cloud>(
    cloud: &C,
    account: Option<String>,
    check: bool,
    now: DateTime<Utc>,
) -> Result<Inventory, CloudError> {
    if check {
        let found = cloud.account().await?;
        if account.as_deref() != Some(found.as_str()) {
            let configured = account.unwrap_or_else(|| "none".to_owned());
            return Err(CloudError {
                kind: FailureKind::Credentials,
                code: "AccountMismatch".to_owned(),
                message: format!("the credentials act in account {found}, the configuration says {configured}"),
            });
        }
    }
    cloud.inventory(now).await
}

fn backoff(refusals: u32, random: &mut fastrand::Rng) -> TimeDelta {
    let factor = 1_i32 << refusals.saturating_sub(1).min(10);
    let pause = (BACKOFF * factor).min(BACKOFF_MAX);
    // Jitter keeps cells that were refused together from coming back together.
    pause - TimeDelta::milliseconds(random.i64(0..=pause.num_milliseconds() / 4))
}
