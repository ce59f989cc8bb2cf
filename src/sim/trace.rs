//! What happened, in order: the same seed gives the same trace, to the byte.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, Utc};

/// How many events are kept for the telling; all of them are in the digest.
const KEPT: usize = 100_000;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// Its number, from 1.
    pub number: u64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Where: the account and the region, or a part of the simulation.
    pub place: std::sync::Arc<str>,
    /// What: an API action, or a word of ours.
    pub what: &'static str,
    /// Whom it concerned: an instance, a worker.
    pub subject: String,
    /// What came of it.
    pub outcome: String,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.place, self.what, self.subject, self.outcome)
    }
}

/// The events of a world.
#[derive(Debug, Clone)]
pub struct Trace {
    last: VecDeque<Event>,
    count: u64,
    digest: DefaultHasher,
    kept: usize,
}

impl Default for Trace {
    fn default() -> Self {
        Self { last: VecDeque::new(), count: 0, digest: DefaultHasher::new(), kept: KEPT }
    }
}

impl Trace {
    /// A trace that tells only its last events.
    pub fn keeping(events: usize) -> Self {
        Self { kept: events, ..Self::default() }
    }

    /// Adds an event.
    pub fn add(
        &mut self,
        at: DateTime<Utc>,
        place: &std::sync::Arc<str>,
        what: &'static str,
        subject: impl Into<String>,
        outcome: impl Into<String>,
    ) {
        self.count += 1;
        let event = Event {
            number: self.count,
            at,
            place: std::sync::Arc::clone(place),
            what,
            subject: subject.into(),
            outcome: outcome.into(),
        };
        event.hash(&mut self.digest);
        if self.kept > 0 {
            self.last.push_back(event);
        }
        if self.last.len() > self.kept {
            self.last.pop_front();
        }
    }

    /// The events after this number that are still kept.
    pub fn after(&self, number: u64) -> impl Iterator<Item = &Event> {
        self.last.iter().skip_while(move |event| event.number <= number)
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// A number that two traces share only if all their events are the same.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }
}
