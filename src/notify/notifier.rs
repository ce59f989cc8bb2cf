//! The task that tells people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use tokio::sync::watch;

use super::board::view_of;
use super::courier::{Attachment, Courier, Message};
use super::outbox::{Outbox, OutboxError, Queued};
use super::sight;
use crate::control::{Clock, ControlError, Controller, NoticeBoard, NoticesView, RebakeDesk};
use crate::ledger::Ledger;
use crate::model::{AlarmClass, OwnerName};
use crate::plan::alarm::{Facts, Kept, Outcome, Post, Pulse, Who, addressees, step};
use crate::policy::Intent;

/// How often it is looked for what is worth telling.
const PERIOD: TimeDelta = TimeDelta::seconds(30);
/// How often the memory is written when nothing is told.
const WRITE_PERIOD: TimeDelta = TimeDelta::minutes(5);
/// How long one message may take, whatever the way.
const LIMIT: Duration = Duration::from_secs(90);
/// How long messages that are on their way may still take when the controller ends.
const FAREWELL: Duration = Duration::from_secs(5);
/// So many messages are brought at once, each to another place.
const AT_ONCE: usize = 8;
/// So many entries of the ledger are read at once.
const ENTRIES: usize = 1_000;
/// So many messages are shown.
const SHOWN: u32 = 50;
/// The largest report that goes with a message, in bytes: mail servers refuse what is larger.
const ATTACHMENT_BYTES_MAX: usize = 8 << 20;

/// The report of an owner's week.
#[derive(Debug, Clone)]
pub struct WeekReport {
    /// What it comes to, a sentence each; it goes into the message.
    pub lines: Vec<String>,
    /// All of it.
    pub file: Attachment,
}

/// Makes the report of an owner's week; none where there is none. It may take its time.
pub type Weekly = Arc<dyn Fn(&OwnerName) -> Option<WeekReport> + Send + Sync>;

/// Where a notifier has from what the controller itself does not know.
#[derive(Clone, Default)]
pub struct Feeds {
    /// The rebakes.
    pub rebakes: Option<Arc<dyn RebakeDesk>>,
    /// The reports of the week.
    pub weekly: Option<Weekly>,
}

impl fmt::Debug for Feeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeds").finish_non_exhaustive()
    }
}

/// The reports that were made in one turn.
type Reports = BTreeMap<OwnerName, Option<WeekReport>>;

/// A message that was tried, when, and what came of it.
type Settled = (Queued, DateTime<Utc>, Outcome);

struct State {
    outbox: Outbox,
    kept: Kept,
    written_at: Option<DateTime<Utc>>,
    /// What came of messages and could not be written. In the outbox they wait still, and are not sent again.
    unsettled: Vec<Settled>,
    /// Why it cannot do its work, if it cannot.
    problem: Option<String>,
}

impl State {
    /// Writes what came of messages, as far as that can be written.
    fn settle(&mut self, settled: impl IntoIterator<Item = Settled>) -> Result<(), OutboxError> {
        let mut result = Ok(());
        for (queued, at, outcome) in settled {
            let written = self.outbox.settle(&queued, at, &outcome);
            if written.is_err() {
                self.unsettled.push((queued, at, outcome));
            }
            result = result.and(written);
        }
        result
    }

    /// The messages to be tried now.
    fn due(&self, now: DateTime<Utc>) -> Result<Vec<Queued>, OutboxError> {
        let mut due = self.outbox.due(now)?;
        due.retain(|queued| self.unsettled.iter().all(|(tried, _, _)| tried.id != queued.id));
        Ok(due)
    }
}

/// Tells people what a controller knows.
pub struct Notifier<L, C> {
    controller: Controller<L>,
    clock: Clock,
    courier: C,
    feeds: Feeds,
    state: Mutex<State>,
}

impl<L, C> fmt::Debug for Notifier<L, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").finish_non_exhaustive()
    }
}

impl<L: Ledger + 'static, C: Courier> Notifier<L, C> {
    /// One that goes on where the outbox was left.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn new(
        controller: Controller<L>,
        clock: Clock,
        courier: C,
        outbox: Outbox,
        feeds: Feeds,
    ) -> Result<Self, OutboxError> {
        let kept = outbox.kept()?;
        let state = Mutex::new(State { outbox, kept, written_at: None, unsettled: Vec::new(), problem: None });
        Ok(Self { controller, clock, courier, feeds, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until `stop` turns true.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        loop {
            let mut turn = std::pin::pin!(self.turn());
            let worked = tokio::select! {
                worked = &mut turn => worked,
                () = ended(&mut stop) => {
                    // What is on its way is not sent again if its answer comes now.
                    let _ = self.clock.within(FAREWELL, turn).await;
                    return;
                }
            };
            let again = worked.unwrap_or_else(|why| {
                tracing::warn!("people cannot be told: {why}");
                self.state().problem = Some(why);
                None
            });
            let next = self.clock.now() + PERIOD;
            let next = again.map_or(next, |again| again.min(next));
            tokio::select! {
                () = ended(&mut stop) => return,
                () = self.clock.sleep_until(next) => {}
            }
        }
    }

    /// Looks once, decides, and brings what is due. Gives when a message is due next.
    ///
    /// # Errors
    /// Why it cannot, in words.
    pub async fn turn(&self) -> Result<Option<DateTime<Utc>>, String> {
        let intent = self.controller.intent();
        self.follow().await.map_err(|error| error.to_string())?;
        self.leave(&intent).map_err(|error| error.to_string())?;
        self.decide(&intent).await.map_err(|error| error.to_string())?;
        self.bring(&intent).await.map_err(|error| error.to_string())?;
        let mut state = self.state();
        state.problem = None;
        state.outbox.next().map_err(|error| error.to_string())
    }

    /// Nobody is told any more at places that nobody names, and nothing is said of them.
    fn leave(&self, intent: &Intent) -> Result<(), OutboxError> {
        let places: BTreeSet<String> = addressees(intent)
            .into_iter()
            .flat_map(|(_, _, channels)| channels.into_iter().map(|channel| channel.to_string()))
            .collect();
        let places: Vec<String> = places.into_iter().collect();
        self.state().outbox.keep_only(&places, self.clock.now())
    }

    /// Takes in what the ledger says since the last time.
    async fn follow(&self) -> Result<(), ControlError> {
        let mut pulse = self.state().kept.pulse.clone();
        if !self.is_of_this_ledger(&pulse)? {
            pulse = Pulse::default();
        }
        loop {
            let entries = self.controller.events(pulse.seq, ENTRIES)?;
            pulse.follow(&entries);
            if entries.len() < ENTRIES {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.state().kept.pulse = pulse;
        Ok(())
    }

    /// Whether the ledger is the one that was followed so far, and not another that was put in its place.
    fn is_of_this_ledger(&self, pulse: &Pulse) -> Result<bool, ControlError> {
        let Some(before) = pulse.seq.checked_sub(1) else { return Ok(true) };
        let last = self.controller.events(before, 1)?;
        Ok(last.first().is_some_and(|entry| entry.seq == pulse.seq && Some(entry.at) == pulse.at))
    }

    fn look(&self, intent: &Intent) -> Result<Facts, OutboxError> {
        let now = self.clock.now();
        let state = self.state();
        let rebakes = self.feeds.rebakes.as_ref();
        let ages = rebakes.map(|desk| desk.ages()).unwrap_or_default();
        Ok(Facts {
            now,
            workers: self.controller.workers().iter().filter_map(|view| sight::worker(view, intent)).collect(),
            cells: self.controller.cells().iter().filter_map(sight::cell).collect(),
            rebakes: rebakes.map(|desk| desk.list().iter().filter_map(sight::rebake).collect()),
            images: ages.into_iter().filter_map(|age| sight::image(age, intent, now)).collect(),
            budgets: self.controller.budgets().iter().flat_map(sight::budget).collect(),
            deliveries: state.outbox.unreached(now)?,
            blocked: state.outbox.blocked(now)?,
        })
    }

    async fn decide(&self, intent: &Intent) -> Result<(), OutboxError> {
        let facts = self.look(intent)?;
        self.controller.note_unreached(facts.deliveries.len());
        let before = self.state().kept.clone();
        let stepped = step(before.clone(), &facts, intent);
        let (mut posts, mut reports) = (Vec::new(), BTreeMap::new());
        for mut post in stepped.posts {
            let file = self.with_report(&mut post, &mut reports).await;
            posts.push((post, file));
        }
        let mut state = self.state();
        let stale = state.written_at.is_none_or(|at| facts.now - at >= WRITE_PERIOD);
        if !posts.is_empty() || (stale && stepped.kept != before) {
            state.outbox.commit(&stepped.kept, &posts)?;
            state.written_at = Some(facts.now);
        }
        state.kept = stepped.kept;
        Ok(())
    }

    /// Puts what the week came to into its summary; gives the report that goes with it. It is made once for
    /// all places of an owner.
    async fn with_report(&self, post: &mut Post, made: &mut Reports) -> Option<Attachment> {
        let Who::Owner(owner) = &post.who else { return None };
        let notice = post.notices.iter_mut().find(|notice| notice.class == AlarmClass::Weekly)?;
        if !made.contains_key(owner) {
            made.insert(owner.clone(), self.report(owner.clone()).await);
        }
        let report = made.get(owner)?.as_ref()?;
        notice.text.splice(0..0, report.lines.iter().cloned());
        Some(report.file.clone()).filter(|file| file.content.len() <= ATTACHMENT_BYTES_MAX)
    }

    async fn report(&self, owner: OwnerName) -> Option<WeekReport> {
        let weekly = self.feeds.weekly.clone()?;
        let name = owner.clone();
        let made = tokio::task::spawn_blocking(move || weekly(&name)).await;
        made.unwrap_or_else(|error| {
            tracing::error!(%error, %owner, "the week's report cannot be made");
            None
        })
    }

    /// Brings what is due, to several places at once and to each one after the other.
    async fn bring(&self, intent: &Intent) -> Result<(), OutboxError> {
        let mut written = {
            let mut state = self.state();
            let before = std::mem::take(&mut state.unsettled);
            state.settle(before)
        };
        loop {
            let due = self.state().due(self.clock.now())?;
            if due.is_empty() {
                return written;
            }
            let brought = futures_util::stream::iter(due).map(|queued| self.bring_one(intent, queued));
            let mut brought = brought.buffer_unordered(AT_ONCE);
            // Whatever cannot be written: what is on its way is waited for, for it may have been taken.
            while let Some((queued, outcome)) = brought.next().await {
                let (place, who) = (&queued.post.channel, &queued.post.who);
                match &outcome {
                    Outcome::Taken(said) => tracing::info!(%place, %who, "told: {said}"),
                    Outcome::Refused(why) => tracing::warn!(%place, %who, "a message is refused: {why}"),
                    Outcome::Later(why, _) => tracing::warn!(%place, %who, "a message waits: {why}"),
                }
                let settled = self.state().settle([(queued, self.clock.now(), outcome)]);
                written = written.and(settled);
            }
        }
    }

    async fn bring_one(&self, intent: &Intent, queued: Queued) -> (Queued, Outcome) {
        let fleet = &intent.fleet;
        let message = Message::of(queued.post.clone(), queued.attachment.clone(), &fleet.name, &fleet.controller);
        let brought = self.clock.within(LIMIT, self.courier.bring(&intent.notify, &message)).await;
        let outcome = brought.unwrap_or_else(|| {
            Outcome::Later(format!("{} did not take it within {} s", queued.post.channel, LIMIT.as_secs()), None)
        });
        (queued, outcome)
    }
}

/// Waits until it turns true, or nobody can turn it any more.
async fn ended(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

impl<L: Ledger + 'static, C: Courier> NoticeBoard for Notifier<L, C> {
    fn view(&self) -> NoticesView {
        let state = self.state();
        let mut problems: Vec<String> = state.problem.iter().cloned().collect();
        let deliveries = state.outbox.last(SHOWN).unwrap_or_else(|error| {
            problems.push(error.to_string());
            Vec::new()
        });
        view_of(self.clock.now(), &self.controller.intent(), &state.kept, deliveries, problems)
    }

    fn warnings(&self) -> Vec<String> {
        let state = self.state();
        let mut warnings: Vec<String> =
            state.problem.iter().map(|why| format!("nobody can be told anything: {why}")).collect();
        match state.outbox.unreached(self.clock.now()) {
            Ok(places) => warnings.extend(places.iter().map(|place| {
                format!(
                    "messages for {} do not reach {} since {}: {}; see latent notify show",
                    place.who,
                    place.place,
                    place.since.format("%Y-%m-%d %H:%MZ"),
                    place.why
                )
            })),
            Err(error) => warnings.push(error.to_string()),
        }
        warnings
    }
}
