//! The loop of one cell: look, record what is proven, decide, make intents durable, call.
//!
//! It is level-triggered: a wake-up only says *look now*, and a crash at any point is followed by
//! the same loop. One owner's slow, throttled or refused calls wait in their own cell.

mod answers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use tokio::sync::watch;

use super::amis::Amis;
use super::backoff::{BACKOFF_MAX, backoff};
use super::book::Book;
use super::calls::Calls;
use super::declare::lives;
use super::driver::Clock;
use super::listing::{self, Listed, Whose};
use super::metrics::Vitals;
use super::notice::{self, Noticed, Notices};
use super::pace::{ApiAction, Pace};
use super::perform::{self, Call, Doomed, Outcome};
use super::shared::Shared;
use super::sweeper::Sweeper;
use crate::cloud::{Cloud, CloudError};
use crate::ledger::{Ledger, LedgerError};
use crate::model::{
    Action, Actor, Body, Cell, Failure, FailureKind, Fleet, HeldReason, InstanceId, Inventory, Phase, Subject, Survey,
    Worker,
};
use crate::plan::budget::Balance;
use crate::plan::{self, Console, EquipCalls, View, Watch};
use crate::policy::Intent;

/// Decisions that need no call may lead to further ones; this many in a row, then the loop turns.
const ROUNDS_MAX: usize = 16;
/// How long calls in flight may still take when the controller ends in good order.
const FAREWELL: Duration = Duration::from_secs(10);
/// A stop that was accepted is not repeated for this long.
const SETTLE: TimeDelta = TimeDelta::seconds(10);
/// After a call that ends instances the next one waits so long for more of them: where many workers become idle, their
/// ends take a fraction of the calls, and what waits costs a second of an instance.
const ENDS_APART: TimeDelta = TimeDelta::seconds(1);
/// So many looks must fail in a row before a request is refused for it.
const LOOKS_TO_BELIEVE: u32 = 3;

enum Done {
    Called(Outcome),
    Listed(Result<Listed, CloudError>),
    Surveyed(Survey),
    Amis(super::amis::Looked),
    /// Whether EC2 found that it came too fast.
    Prepared(bool),
    Noticed(Noticed),
    Read(InstanceId, Option<String>),
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
    renew_refusals: u32,
    renew_from: DateTime<Utc>,
    not_before: BTreeMap<Subject, HeldReason>,
    refusals: BTreeMap<Subject, u32>,
    /// Instances whose termination was refused together with others'.
    alone: BTreeSet<InstanceId>,
    /// Instances whose end is intended, and from when the call may be sent.
    doomed: Vec<Doomed>,
    ends_from: DateTime<Utc>,
    listing_refusals: u32,
    pace: Pace,
    sweeper: Sweeper,
    amis: Amis,
    equip_calls: EquipCalls,
    notices: Notices,
    /// How the owner stands against the budget, as of the present look.
    budget: Option<Balance>,
    random: fastrand::Rng,
    calls: Calls<Done>,
}

impl<C: Cloud + 'static, L: Ledger + 'static> CellLoop<C, L> {
    pub(super) fn new(cell: Cell, cloud: Arc<C>, shared: Arc<Shared<L>>, clock: Clock, seed: u64) -> Self {
        let now = clock.now();
        let mut random = fastrand::Rng::with_seed(seed);
        let rates = shared.intent().owners.get(&cell.owner).map(|owner| owner.rates).unwrap_or_default();
        let pace = Pace::by(&rates, now);
        Self {
            sweeper: Sweeper::begun(now, &mut random),
            cell,
            cloud,
            shared,
            clock,
            watch: Watch::begun(now),
            inventory: None,
            listing_failure: None,
            next_listing: now,
            listing: false,
            account_known: false,
            in_flight: BTreeSet::new(),
            renewing: false,
            renew_refusals: 0,
            renew_from: now,
            not_before: BTreeMap::new(),
            refusals: BTreeMap::new(),
            alone: BTreeSet::new(),
            doomed: Vec::new(),
            ends_from: now,
            listing_refusals: 0,
            pace,
            amis: Amis::default(),
            equip_calls: EquipCalls::default(),
            notices: Notices::begun(now),
            budget: None,
            random,
            calls: Calls::none(),
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
            let next = self.end_doomed().map_or(next, |at| at.min(next));
            tokio::select! {
                biased;
                // Without its controller nobody could stop it any more: then it stops by itself.
                changed = stop.changed() => if changed.is_err() { break },
                Some(done) = self.calls.next(), if !self.calls.is_empty() => self.conclude_ready(done),
                () = wake.notified() => {
                    // Whoever else is about to wake it is let go first: one look serves them all.
                    tokio::task::yield_now().await;
                    wake.notified().now_or_never();
                }
                () = self.clock.sleep_until(next) => {}
            }
        }
        self.ends_from = DateTime::UNIX_EPOCH;
        self.end_doomed();
        let clock = self.clock.clone();
        let rest = async {
            while let Some(done) = self.calls.next().await {
                self.conclude_ready(done);
            }
        };
        if clock.within(FAREWELL, rest).await.is_none() {
            tracing::warn!("calls in flight were left; their outcome is found at the next start");
        }
    }

    /// One look: facts, decisions, calls. Gives the time of the next look if nothing happens.
    fn activate(&mut self) -> Result<DateTime<Utc>, LedgerError> {
        let shared = Arc::clone(&self.shared);
        let next = {
            // One lock from the facts to the intents: what was decided still holds when it is written. The
            // configuration is that of this time: whoever changes it and then writes knows what it led to.
            let mut book = shared.book();
            let intent = shared.intent();
            let leases = self.with_view(self.clock.now(), &intent, book.fleet(), plan::leases);
            let (listed, failing) = (self.inventory.clone(), self.listing_failure.is_some());
            shared.metrics().sees(&self.cell, Vitals { listed, failing, leases, pace: self.pace.clone() });
            let next = self.look(&mut book, &intent);
            if next.is_err() {
                // What builds must not die of our disk: a renewal needs no entry.
                self.only_renew(&mut book, &intent);
            }
            next
        };
        shared.tell();
        next
    }

    fn only_renew(&mut self, book: &mut Book<L>, intent: &Intent) {
        let now = self.clock.now();
        let renewals = self.with_view(now, intent, book.fleet(), plan::renewals);
        if let Err(error) = self.perform(now, book, intent, renewals.into_iter().collect()) {
            tracing::error!(cell = %self.cell, %error, "leases are not renewed: the ledger cannot be read");
        }
    }

    fn look(&mut self, book: &mut Book<L>, intent: &Intent) -> Result<DateTime<Utc>, LedgerError> {
        book.refresh()?;
        let now = self.clock.now();
        self.not_before.retain(|_, reason| reason.until().is_some_and(|at| at > now));
        self.budget = book.balance(intent, &self.cell.owner, now);
        self.list_if_due(now, intent, book.fleet());
        self.read_consoles(now, intent, book.fleet());
        let facts = self.with_view(now, intent, book.fleet(), plan::facts);
        self.settle(&facts);
        book.append(now, &Actor::Cloud, facts)?;
        let mut plan = self.with_view(now, intent, book.fleet(), plan::plan);
        for _ in 0..ROUNDS_MAX {
            let (decisions, others): (Vec<Action>, Vec<Action>) =
                plan.actions.into_iter().partition(|action| matches!(action, Action::Record { .. }));
            if decisions.is_empty() {
                plan.actions = others;
                break;
            }
            perform::intend(book, now, &self.cell, intent, decisions)?;
            plan = self.with_view(now, intent, book.fleet(), plan::plan);
        }
        let next = self.with_view(now, intent, book.fleet(), |view| plan::next_look(view, &plan));
        let renewal = self.with_view(now, intent, book.fleet(), plan::next_renewal);
        let mut actions = std::mem::take(&mut plan.actions);
        let account = self.shared.account_of(intent, &self.cell.owner).unwrap_or_default();
        actions.extend(self.sweeper.decide(now, &self.cell, &account, intent, book.fleet()));
        self.survey_if_due(now);
        let prepared = self.prepare_launches(now, intent);
        let listings = self.list_amis(now, intent, book.fleet());
        let waits = self.perform(now, book, intent, actions)?;
        self.end_what_is_waited_for(now, book.fleet());
        let (inventory, failure) = (self.inventory.clone(), self.listing_failure.clone());
        let amis = self.amis.shared();
        self.shared.publish(&self.cell, plan.held, inventory, failure, self.sweeper.last(), amis);
        let sweep = self.sweeper.due().filter(|_| self.may_survey());
        let notice = self.ask_for_notices(now, intent, book.fleet());
        let budget = self.budget.as_ref().map(Balance::next_look);
        let listing = self.listing_due();
        let equip = self.equip_calls.next(now);
        let looks = [budget, next, renewal, waits, listing, sweep, notice, prepared, listings, equip];
        Ok(looks.into_iter().flatten().min().unwrap_or(now + BACKOFF_MAX))
    }

    fn with_view<T>(
        &mut self,
        now: DateTime<Utc>,
        intent: &Intent,
        fleet: &Fleet,
        use_it: impl FnOnce(&View<'_>) -> T,
    ) -> T {
        let (launches_now, launches_from) = self.pace.available(ApiAction::Launch, now);
        let heard = self.shared.heard();
        let view = View {
            now,
            cell: &self.cell,
            intent,
            fleet,
            inventory: self.inventory.as_deref(),
            // One failed look may be a passing fault; where only a person can mend it, several are an answer.
            listing_failure: self
                .listing_failure
                .as_ref()
                .filter(|failure| !failure.kind.needs_a_person() || self.listing_refusals >= LOOKS_TO_BELIEVE),
            watch: &self.watch,
            amis: self.amis.listings(),
            equip_calls: &self.equip_calls,
            in_flight: &self.in_flight,
            not_before: &self.not_before,
            heard: &|name| heard.of(name),
            spoken: &|name| heard.spoken(name),
            launches_now,
            launches_from,
            live: fleet.live(),
            budget: self.budget.as_ref(),
        };
        use_it(&view)
    }

    /// What an accepted stop or start was to bring is seen: the next call need not wait for it.
    fn settle(&mut self, facts: &[Body]) {
        for fact in facts {
            if let Body::StopSeen { worker, instance, .. } | Body::Running { worker, instance, .. } = fact {
                for subject in [Subject::Worker(worker.clone()), Subject::Instance(instance.clone())] {
                    if matches!(self.not_before.get(&subject), Some(HeldReason::Settling { .. })) {
                        self.not_before.remove(&subject);
                    }
                }
            }
        }
    }

    /// Makes intents durable for as many actions as the pace allows, and sends them. Gives the time
    /// from which the rest may follow.
    fn perform(
        &mut self,
        now: DateTime<Utc>,
        book: &mut Book<L>,
        intent: &Intent,
        actions: Vec<Action>,
    ) -> Result<Option<DateTime<Utc>>, LedgerError> {
        let mut allowed = Vec::new();
        let mut waits: Option<DateTime<Utc>> = None;
        let mut actions = actions;
        // What costs goes first, then what keeps builds alive: should the rest fail, these were sent.
        actions.sort_by_key(|action| match action {
            Action::Terminate { .. } | Action::Stop { .. } => 0,
            Action::Renew { .. } => 1,
            Action::Launch { .. }
            | Action::LaunchTogether { .. }
            | Action::Relaunch { .. }
            | Action::Start { .. }
            | Action::Record { .. } => 2,
            Action::Equip { .. } => 3,
            Action::Remove { .. } => 4,
        });
        let mut ends = self.doomed.len();
        for action in actions {
            let Some(api) = perform::paced_by(&action) else { continue };
            if api == ApiAction::Tag && self.renewing {
                continue;
            }
            let ready = match &action {
                Action::Renew { .. } if now < self.renew_from => Err(self.renew_from),
                Action::Terminate { instance, .. } if !self.alone.contains(instance) => {
                    ends += 1;
                    self.pace.take_one_of(api, ends % perform::ENDS_MAX == 1, now)
                }
                action => self.pace.take_for(api, perform::size_of(action), now),
            };
            match ready {
                Ok(()) => allowed.push(action),
                Err(at) => waits = Some(waits.map_or(at, |w| w.min(at))),
            }
        }
        let calls = perform::intend(book, now, &self.cell, intent, allowed)?;
        let (doomed, calls) = perform::doomed_together(calls, &self.alone);
        self.in_flight.extend(perform::ends(&doomed).flat_map(|call| call.subjects()));
        self.doomed.extend(doomed);
        self.end_doomed();
        for call in calls {
            self.in_flight.extend(call.subjects());
            self.renewing |= matches!(call, Call::Renew { .. });
            if let Call::Equip { instance, what, .. } = &call {
                self.equip_calls.sent(instance, what);
            }
            self.send(call);
        }
        Ok(waits)
    }

    fn send(&mut self, call: Call) {
        let (cloud, clock) = (Arc::clone(&self.cloud), self.clock.clone());
        self.calls.begin(async move { Done::Called(call.send(cloud.as_ref(), &clock).await) });
    }

    /// A worker that is wanted again starts once its instance is let go: that end waits for no others.
    fn end_what_is_waited_for(&mut self, now: DateTime<Utc>, fleet: &Fleet) {
        let mut workers = self.doomed.iter().filter_map(|one| fleet.workers.get(one.worker.as_ref()?));
        if workers.any(Worker::wanted) {
            self.ends_from = now;
        }
    }

    /// Ends the instances whose end is intended, or gives the time from which that may be done.
    fn end_doomed(&mut self) -> Option<DateTime<Utc>> {
        let now = self.clock.now();
        if self.doomed.is_empty() || now < self.ends_from {
            return (!self.doomed.is_empty()).then_some(self.ends_from);
        }
        for call in perform::ends(&std::mem::take(&mut self.doomed)) {
            self.send(call);
        }
        self.ends_from = now + ENDS_APART;
        None
    }

    /// Asks what becomes of the spot instances; gives the time of the next question, if there are any.
    fn ask_for_notices(&mut self, now: DateTime<Utc>, intent: &Intent, fleet: &Fleet) -> Option<DateTime<Utc>> {
        let requests = self.with_view(now, intent, fleet, plan::spot_requests);
        let any = !requests.is_empty();
        if let Some(asked) = self.notices.ask_if_due(now, requests, &mut self.pace, &self.cloud, &self.clock) {
            self.calls.begin(async move { Done::Noticed(asked.await) });
        }
        self.notices.due().filter(|_| any)
    }

    /// Reads the consoles of instances that are about to be the reason of a failure; where the pace allows
    /// no call, the failure does without.
    fn read_consoles(&mut self, now: DateTime<Utc>, intent: &Intent, fleet: &Fleet) {
        for (worker, instance) in self.with_view(now, intent, fleet, plan::consoles_due) {
            if self.pace.take(ApiAction::Describe, now).is_err() {
                self.watch.console_is(&instance, Console::Read(None));
                continue;
            }
            self.watch.console_is(&instance, Console::Asked);
            let data = intent.workers.get(&worker).and_then(|worker| worker.user_data.as_ref());
            let password = data.and_then(|data| data.password.clone());
            let (cloud, clock) = (Arc::clone(&self.cloud), self.clock.clone());
            self.calls.begin(async move {
                let text = notice::console(cloud, clock, instance.clone(), password).await;
                Done::Read(instance, text)
            });
        }
    }

    fn list_if_due(&mut self, now: DateTime<Utc>, intent: &Intent, fleet: &Fleet) {
        if self.shared.take_early(&self.cell) {
            self.next_listing = self.next_listing.min(now);
        }
        if let Some(inventory) = &self.inventory
            && let Some(at) = plan::listing_wanted(fleet, &self.cell, inventory.observed_at, &intent.polling)
        {
            self.next_listing = self.next_listing.min(at);
        }
        let nothing_known = self.inventory.is_none() && self.listing_failure.is_none();
        if self.listing || (now < self.next_listing && !nothing_known) {
            return;
        }
        if let Err(at) = self.pace.take(ApiAction::Describe, now) {
            self.next_listing = at;
            return;
        }
        // Credentials may be replaced in their place: an absence is believed in the right account alone.
        let check = !self.account_known || self.watch.misses_any();
        let whose = check.then(|| self.whose(intent, fleet));
        let (cloud, clock) = (Arc::clone(&self.cloud), self.clock.clone());
        let also = plan::known_instances(&self.cell, fleet);
        self.listing = true;
        self.calls
            .begin(async move { Done::Listed(listing::in_time(cloud.as_ref(), &clock, whose, now, &also).await) });
    }

    /// What was learnt holds for as long as something of the owner lives; then other credentials may lead elsewhere.
    fn whose(&self, intent: &Intent, fleet: &Fleet) -> Whose {
        let owner = &self.cell.owner;
        match intent.owners.get(owner).map(|owner| owner.account.clone()) {
            None => Whose::Nobodys,
            Some(Some(account)) => Whose::Named(account),
            Some(None) => self.shared.account(owner).filter(|_| lives(fleet, owner)).map_or(Whose::Any, Whose::Learnt),
        }
    }

    /// Asks for what launches need to know of the AMIs that are named. Gives the time from which that may be done.
    fn prepare_launches(&mut self, now: DateTime<Utc>, intent: &Intent) -> Option<DateTime<Utc>> {
        let amis = self.amis.unprepared(&self.cell, intent);
        // An account that nobody has checked yet may be another one's.
        if amis.is_empty() || !self.account_known {
            return None;
        }
        if let Err(at) = self.pace.take(ApiAction::Describe, now) {
            return Some(at);
        }
        let prepared = self.amis.prepare(amis, &self.cloud, &self.clock);
        self.calls.begin(async move { Done::Prepared(prepared.await) });
        None
    }

    /// Asks for the AMIs that launches wait for. Gives the time from which the rest may follow.
    fn list_amis(&mut self, now: DateTime<Utc>, intent: &Intent, fleet: &Fleet) -> Option<DateTime<Utc>> {
        // An account that nobody has checked yet may be another one's.
        if !self.account_known {
            return None;
        }
        let wanted = self.with_view(now, intent, fleet, plan::wanted_amis);
        for query in wanted {
            if self.amis.is_asked(&query) {
                continue;
            }
            if let Err(at) = self.pace.take(ApiAction::Describe, now) {
                return Some(at);
            }
            let look = self.amis.ask(query, now, &self.cloud, &self.clock);
            self.calls.begin(async move { Done::Amis(look.await) });
        }
        None
    }

    /// An account that cannot be listed is not swept either, and one that nobody has checked never.
    fn may_survey(&self) -> bool {
        self.account_known && self.listing_failure.is_none()
    }

    fn survey_if_due(&mut self, now: DateTime<Utc>) {
        if !self.may_survey() {
            return;
        }
        if let Some(look) = self.sweeper.look_if_due(now, &mut self.pace, &self.cloud, &self.clock) {
            self.calls.begin(async move { Done::Surveyed(look.await) });
        }
    }

    fn listing_due(&self) -> Option<DateTime<Utc>> {
        (!self.listing).then_some(self.next_listing)
    }

    fn conclude_listing(&mut self, now: DateTime<Utc>, result: Result<Listed, CloudError>) {
        self.listing = false;
        match result {
            Ok(Listed { mut inventory, account }) => {
                inventory.keep_addresses(self.inventory.as_deref());
                let intent = self.shared.intent();
                let learns = matches!(self.whose(&intent, self.shared.book().fleet()), Whose::Any);
                if let Some(account) = account.filter(|_| learns) {
                    self.shared.learn(&self.cell.owner, &account);
                }
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
                self.equip_calls.keep(|id| inventory.instances.contains_key(id));
                self.alone.retain(|id| inventory.instances.contains_key(id));
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
