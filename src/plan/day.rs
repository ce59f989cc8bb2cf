//! The last day of every worker, told from the ledger as it is written: in which state it was when.
//!
//! A [`Day`] takes entries in order, each with the fleet as it is after it. It keeps no more than a day and no more
//! than so many stretches and entries of a worker, however busy the fleet is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::{Body, Entry, Fleet, InstanceId, Worker, WorkerName, WorkerState};

/// How far back it goes.
pub const SPAN: TimeDelta = TimeDelta::days(1);
/// The most stretches of a worker that are kept; what is older is not known any more.
const STRETCHES_MAX: usize = 300;
/// So many are kept of all workers together, for what they take in memory …
const STRETCHES_OF_ALL: usize = 100_000;
/// … but so many of each in any case.
const STRETCHES_MIN: usize = 30;
/// So many of a worker's last entries are found again.
const EVENTS_MAX: usize = 50;
/// The most times without a controller that are kept.
const AWAY_MAX: usize = 50;
/// The word for times of which nothing is recorded.
pub const UNKNOWN: &str = "unknown";
/// Every word that a stretch can have, in the order in which they are shown.
pub const WORDS: [&str; 10] =
    ["busy", "ready", "requested", "launching", "registering", "draining", "terminating", "stopped", "gone", UNKNOWN];

/// What is kept of the last day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    lines: BTreeMap<WorkerName, Line>,
    /// Whose each instance is that has not ended.
    whose: BTreeMap<InstanceId, WorkerName>,
    away: VecDeque<(DateTime<Utc>, DateTime<Utc>)>,
    /// When the ledger begins, and when its last entry was made.
    written: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

/// What is kept of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    stretches: VecDeque<Stretch>,
    events: VecDeque<u64>,
}

/// One of [`WORDS`].
type Word = &'static str;

/// A state, since when, and what belongs to it: a build, an instance or a cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stretch {
    from: DateTime<Utc>,
    #[serde(deserialize_with = "word")]
    state: Word,
    detail: Option<Arc<str>>,
}

/// The word of a state; what is none of them was written by another version.
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<Word, D::Error> {
    let told = String::deserialize(from)?;
    let known = WORDS.into_iter().find(|word| *word == told);
    known.ok_or_else(|| D::Error::custom(format!("no state is called {told:?}")))
}

/// The last day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DayView {
    /// Where it begins: 24 hours before its end.
    pub from: DateTime<Utc>,
    /// Where it ends: the controller's time.
    pub to: DateTime<Utc>,
    /// Each worker, by name.
    pub workers: Vec<LineView>,
    /// When no controller is known to have run: from the last entry before to the start after. What is shown of
    /// workers there is what held before.
    pub away: Vec<AwayView>,
}

/// A time in which no controller is known to have run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AwayView {
    /// Its beginning.
    pub from: DateTime<Utc>,
    /// Its end.
    pub to: DateTime<Utc>,
}

/// A worker's last day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LineView {
    /// Its name.
    pub worker: String,
    /// What it was, without gaps, oldest first.
    pub stretches: Vec<StretchView>,
    /// How many seconds it was in each state; the sum is the day.
    pub seconds: BTreeMap<String, i64>,
    /// How many instances were launched, adopted or started again for it.
    pub starts: u32,
    /// How many builds ran on it, the running one included.
    pub builds: u32,
}

/// A stretch of a worker's day in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StretchView {
    /// The state, as `latent status` has it; or `unknown`, where nothing is recorded.
    pub state: String,
    /// From when.
    pub from: DateTime<Utc>,
    /// Until when; the last one goes on.
    pub to: DateTime<Utc>,
    /// The build of a busy worker, the instance of one that registers, why one is draining, terminating or gone.
    pub detail: Option<String>,
}

/// So many columns of a drawing in one state, of [`LineView::columns`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns<'a> {
    /// The state.
    pub state: &'a str,
    /// The first.
    pub at: usize,
    /// How many.
    pub width: usize,
}

impl Day {
    /// Takes the next entry; `fleet` is as it is after it.
    pub fn note(&mut self, entry: &Entry, fleet: &Fleet) {
        let at = entry.at;
        let (begin, last) = self.written.unwrap_or((at, at));
        self.written = Some((begin, at));
        if matches!(entry.body, Body::ControllerStarted { .. }) && last < at {
            self.away.push_back((last, at));
            keep(&mut self.away, AWAY_MAX);
        }
        if let Body::Launched { worker, instance } | Body::Adopted { worker, instance, .. } = &entry.body {
            self.whose.insert(instance.clone(), worker.clone());
        }
        let instance = instance_of(&entry.body);
        let name = entry.body.worker().or_else(|| self.whose.get(instance?)).cloned();
        if let (Body::Departed { .. } | Body::Lost { .. }, Some(instance)) = (&entry.body, instance) {
            self.whose.remove(instance);
        }
        let Some(name) = name else { return };
        let most = (STRETCHES_OF_ALL / self.lines.len().max(1)).clamp(STRETCHES_MIN, STRETCHES_MAX);
        let line = self.lines.entry(name.clone()).or_insert_with(|| Line::new(begin));
        line.events.push_back(entry.seq);
        keep(&mut line.events, EVENTS_MAX);
        if let Some(worker) = fleet.workers.get(&name) {
            line.meet(at, worker, most);
        }
    }

    /// The places of a worker's last entries in the ledger, the last one first; entries about its instances too.
    pub fn events(&self, worker: &WorkerName) -> Vec<u64> {
        self.lines.get(worker).map(|line| line.events.iter().rev().copied().collect()).unwrap_or_default()
    }

    /// The place of a worker's last entry, or of the last one about its instances; none if there is none.
    pub fn last_event(&self, worker: &WorkerName) -> Option<u64> {
        self.lines.get(worker)?.events.back().copied()
    }

    /// The day that ends now, of these workers.
    pub fn view<'a>(&self, now: DateTime<Utc>, workers: impl IntoIterator<Item = &'a WorkerName>) -> DayView {
        let from = now - SPAN;
        let away = self.away.iter().filter(|(_, to)| *to > from);
        DayView {
            from,
            to: now,
            workers: workers.into_iter().map(|name| self.line(now, name)).collect(),
            away: away.map(|(start, end)| AwayView { from: (*start).max(from), to: *end }).collect(),
        }
    }

    /// The day of one worker that ends now.
    pub fn line(&self, now: DateTime<Utc>, worker: &WorkerName) -> LineView {
        let from = now - SPAN;
        let mut view = LineView { worker: worker.to_string(), ..LineView::default() };
        // Of a worker that no entry names nothing ever happened, for as long as there is a ledger.
        let begin = self.written.map_or(now, |(begin, _)| begin.min(now));
        let never = Line::new(begin);
        let line = self.lines.get(worker).unwrap_or(&never);
        let known = line.stretches.front().map_or(now, |first| first.from).clamp(from, now);
        if known > from {
            view.add(UNKNOWN, from, known, None);
        }
        let mut before = "";
        for (place, stretch) in line.stretches.iter().enumerate() {
            let to = line.stretches.get(place + 1).map_or(now, |next| next.from).min(now);
            if to > stretch.from.max(from) {
                let came = stretch.state == "registering" && !matches!(before, "ready" | "busy" | "registering" | "");
                view.starts += u32::from(came && stretch.from >= from);
                view.builds += u32::from(stretch.state == "busy");
                view.add(stretch.state, stretch.from.max(from), to, stretch.detail.as_deref().map(ToOwned::to_owned));
            }
            before = stretch.state;
        }
        view
    }
}

fn keep<T>(list: &mut VecDeque<T>, most: usize) {
    while list.len() > most {
        list.pop_front();
    }
}

/// The instance that an entry without a worker's name is about, and that of one that ends it.
fn instance_of(body: &Body) -> Option<&InstanceId> {
    match body {
        Body::TerminateIntended { instance, .. }
        | Body::TerminateAccepted { instance }
        | Body::Departed { instance, .. }
        | Body::Lost { instance, .. }
        | Body::CallRefused { instance, .. } => Some(instance),
        _ => None,
    }
}

impl Line {
    /// Of a worker to which nothing has happened since the ledger began.
    fn new(begin: DateTime<Utc>) -> Self {
        let gone = Stretch { from: begin, state: "gone", detail: Some("never started".into()) };
        Self { stretches: VecDeque::from([gone]), events: VecDeque::new() }
    }

    /// Takes in how a worker is now; no more than `most` stretches are kept.
    fn meet(&mut self, at: DateTime<Utc>, worker: &Worker, most: usize) {
        let (state, detail) = (worker.state.name(), detail(&worker.state));
        if self.stretches.back().is_some_and(|last| last.state == state && last.detail == detail) {
            return;
        }
        // A clock that was set back between two lives of the controller loses no history.
        let at = self.stretches.back().map_or(at, |last| last.from.max(at));
        // What lasted no time is left out.
        while self.stretches.back().is_some_and(|last| last.from == at) {
            self.stretches.pop_back();
        }
        if self.stretches.back().is_none_or(|last| last.state != state || last.detail != detail) {
            self.stretches.push_back(Stretch { from: at, state, detail });
        }
        while self.stretches.get(1).is_some_and(|second| second.from <= at - SPAN) {
            self.stretches.pop_front();
        }
        keep(&mut self.stretches, most);
    }
}

fn detail(state: &WorkerState) -> Option<Arc<str>> {
    match state {
        WorkerState::Busy { build, .. } => Some(build.shared()),
        WorkerState::Registering { instance } => Some(instance.shared()),
        WorkerState::Draining { cause, .. } | WorkerState::Terminating { cause, .. } | WorkerState::Gone { cause } => {
            Some(cause.to_string().into())
        }
        WorkerState::Requested
        | WorkerState::Launching { .. }
        | WorkerState::Ready { .. }
        | WorkerState::Stopped { .. } => None,
    }
}

impl LineView {
    fn add(&mut self, state: &str, from: DateTime<Utc>, to: DateTime<Utc>, detail: Option<String>) {
        // Whole seconds between the same two marks: parts of a second are not lost at each stretch.
        let begin = self.stretches.first().map_or(from, |first| first.from);
        *self.seconds.entry(state.to_owned()).or_default() += (to - begin).num_seconds() - (from - begin).num_seconds();
        self.stretches.push(StretchView { state: state.to_owned(), from, to, detail });
    }

    /// The day in so many columns, for a drawing: runs of columns in one state. A column shows the state that took
    /// most of it; where something ran in it, for however short a time, that goes before *gone* and *unknown*.
    pub fn columns(&self, columns: usize) -> Vec<Columns<'_>> {
        let (Some(first), Some(last)) = (self.stretches.first(), self.stretches.last()) else { return Vec::new() };
        let whole = (last.to - first.from).num_milliseconds().max(1);
        let count = i64::try_from(columns).unwrap_or(1).max(1);
        let mut shares = vec![[0_i64; WORDS.len()]; columns.max(1)];
        for stretch in &self.stretches {
            let word = WORDS.iter().position(|word| *word == stretch.state).unwrap_or(WORDS.len() - 1);
            let (from, to) = (stretch.from - first.from, stretch.to - first.from);
            // In the unit in which a column is `whole` long.
            let (from, to) = (from.num_milliseconds() * count, to.num_milliseconds() * count);
            for (place, shares) in (0..).zip(shares.iter_mut()).skip(index(from / whole)) {
                let (start, end) = (place * whole, (place + 1) * whole);
                if start >= to {
                    break;
                }
                shares[word] += to.min(end) - from.max(start);
            }
        }
        let mut runs: Vec<Columns<'_>> = Vec::new();
        for (at, shares) in shares.iter().enumerate() {
            let state = WORDS[shown(shares)];
            match runs.last_mut() {
                Some(run) if run.state == state => run.width += 1,
                _ => runs.push(Columns { state, at, width: 1 }),
            }
        }
        runs
    }
}

fn index(place: i64) -> usize {
    usize::try_from(place).unwrap_or(0)
}

/// The word with the largest share; those of nothing at all only where there is no other.
fn shown(shares: &[i64; WORDS.len()]) -> usize {
    let nothing = WORDS.len() - 2;
    let of = |range: std::ops::Range<usize>| range.filter(|word| shares[*word] > 0).max_by_key(|word| shares[*word]);
    of(0..nothing).or_else(|| of(nothing..WORDS.len())).unwrap_or(WORDS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Cause};

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::minutes(minutes)
    }

    fn name() -> WorkerName {
        "w".parse().expect("a name")
    }

    /// A day that is told entries; those that do not follow are a mistake of the test.
    #[derive(Default)]
    struct Told {
        day: Day,
        fleet: Fleet,
        /// Whether its minutes are a fifth as long.
        hurried: bool,
    }

    impl Told {
        fn tell(&mut self, minutes: i64, body: Body) {
            let at = if self.hurried { at(0) + TimeDelta::minutes(minutes) / 5 } else { at(minutes) };
            let entry = Entry { seq: self.fleet.seq + 1, at, actor: Actor::Controller, body };
            self.fleet.apply(&entry).expect("it follows");
            self.day.note(&entry, &self.fleet);
        }

        fn begin(&mut self, minutes: i64) {
            self.tell(minutes, Body::ControllerStarted { version: "1".to_owned() });
        }

        /// An instance is adopted, builds for ten minutes and ends; half an hour in all.
        fn round(&mut self, minutes: i64, number: i64) {
            let instance: InstanceId = format!("i-{number}").parse().expect("an id");
            let cell: crate::model::Cell = crate::model::Cell {
                owner: "o".parse().expect("an owner"),
                region: "us-west-2".parse().expect("a region"),
            };
            let attempt = crate::model::Attempt {
                id: format!("a{number}").parse().expect("an id"),
                cell: cell.clone(),
                image: "i".parse().expect("an image"),
                created: at(minutes),
                spec: None,
            };
            let (worker, build) = (name(), format!("b/{number}").parse().expect("a build"));
            let adopted = Body::Adopted {
                worker: worker.clone(),
                attempt: Box::new(attempt),
                instance: instance.clone(),
                seen: None,
            };
            self.tell(minutes, adopted);
            self.tell(minutes + 5, Body::Attached { worker: worker.clone() });
            self.tell(minutes + 5, Body::BuildStarted { worker: worker.clone(), build });
            self.tell(minutes + 15, Body::BuildFinished { worker: worker.clone() });
            let cause = Cause::Idle;
            let end = Body::TerminateIntended {
                instance: instance.clone(),
                cell,
                worker: Some(worker),
                cause,
                seen: None,
                silent_since: None,
            };
            self.tell(minutes + 25, end);
            self.tell(minutes + 28, Body::TerminateAccepted { instance: instance.clone() });
            self.tell(minutes + 30, Body::Departed { instance, ended_at: None, ran_until: None, seen: None });
        }

        fn line(&self, minutes: i64) -> LineView {
            self.day.line(at(minutes), &name())
        }
    }

    fn states(line: &LineView) -> Vec<(String, i64)> {
        line.stretches.iter().map(|s| (s.state.clone(), (s.to - s.from).num_minutes())).collect()
    }

    fn texts(list: &[(&str, i64)]) -> Vec<(String, i64)> {
        list.iter().map(|(state, minutes)| ((*state).to_owned(), *minutes)).collect()
    }

    #[test]
    fn a_day_has_no_gap_and_nothing_that_took_no_time() {
        let mut told = Told::default();
        told.begin(-60);
        told.round(0, 1);
        let line = told.line(60);
        let wanted = [
            ("unknown", 22 * 60),
            ("gone", 60),
            ("registering", 5),
            ("busy", 10),
            ("ready", 10),
            ("terminating", 3),
            ("gone", 32),
        ];
        assert_eq!(states(&line), texts(&wanted));
        assert!(line.stretches.windows(2).all(|pair| pair[0].to == pair[1].from));
        assert_eq!((line.starts, line.builds), (1, 1));
        assert_eq!(line.seconds.values().sum::<i64>(), SPAN.num_seconds());
        let details: Vec<_> = line.stretches.iter().map(|stretch| stretch.detail.as_deref().unwrap_or("-")).collect();
        let idle = "idle too long with the master silent";
        assert_eq!(details, ["-", "never started", "i-1", "b/1", "-", idle, idle]);
        assert_eq!(told.day.events(&name()), [8, 7, 6, 5, 4, 3, 2], "what names the instance alone is found too");
    }

    #[test]
    fn what_is_older_than_a_day_is_forgotten_and_what_held_then_is_not() {
        let mut told = Told::default();
        told.begin(0);
        told.round(10, 1);
        told.round(30 * 60, 2);
        let line = told.line(30 * 60 + 60);
        assert_eq!(line.stretches[0].from, at(7 * 60), "the day begins with what held then");
        assert_eq!((line.stretches[0].state.as_str(), line.starts, line.builds), ("gone", 1, 1));
        assert_eq!(told.day.lines[&name()].stretches.len(), 6);
    }

    #[test]
    fn however_busy_a_worker_is_little_is_kept_and_the_rest_is_unknown() {
        let mut told = Told { hurried: true, ..Told::default() };
        told.begin(0);
        for number in 0..200 {
            told.round(number * 31, number);
        }
        let line = &told.day.lines[&name()];
        assert_eq!((line.stretches.len(), line.events.len()), (STRETCHES_MAX, EVENTS_MAX));
        assert_eq!(told.line(200 * 31 / 5).stretches[0].state, "unknown");
        assert!(told.day.whose.is_empty());
    }

    #[test]
    fn a_time_without_a_controller_is_told() {
        let mut told = Told::default();
        told.begin(0);
        told.tell(30, Body::ControllerStopped {});
        told.begin(45);
        let view = told.day.view(at(60), [&name()]);
        assert_eq!(view.away, [AwayView { from: at(30), to: at(45) }]);
        assert_eq!(told.day.view(at(60 * 30), []).away, []);
    }

    #[test]
    fn a_short_build_is_seen_in_a_coarse_drawing() {
        let mut told = Told::default();
        told.begin(-2 * 24 * 60);
        told.round(12 * 60, 1);
        let line = told.line(24 * 60);
        let shown: Vec<(&str, usize, usize)> = line.columns(24).iter().map(|c| (c.state, c.at, c.width)).collect();
        assert_eq!(shown, [("gone", 0, 12), ("ready", 12, 1), ("gone", 13, 11)]);
        let fine = line.columns(24 * 60);
        assert_eq!(fine.iter().map(|c| c.width).sum::<usize>(), 24 * 60);
        assert!(fine.contains(&Columns { state: "busy", at: 12 * 60 + 5, width: 10 }), "{fine:?}");
        assert!(LineView::default().columns(5).is_empty());
    }
}
