//! Reads what CloudTrail recorded of a period, at the pace that CloudTrail takes and within limits.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Clock;
use crate::cloud::{EventPage, Records, TRAIL_CALLS};
use crate::model::{FailureKind, Trail, TrailGap, Unseen};

/// CloudTrail takes two calls per second of an account in a region; a quarter is left to others.
const PAUSE: TimeDelta = TimeDelta::milliseconds(667);
/// How late an event may be told.
const LATE: TimeDelta = TimeDelta::minutes(15);
/// How far back events go.
const KEPT: TimeDelta = TimeDelta::days(90);
/// The most pages of one call's events: 50 events each.
const PAGES_MAX: u32 = 150;
/// The longest that all of it may take.
const TOTAL: TimeDelta = TimeDelta::minutes(6);
/// The longest that one page may take.
const PAGE: Duration = Duration::from_secs(20);
/// How often a page is asked for that was refused for its rate, or got no answer.
const TRIES: u32 = 5;
/// The pause after the first such refusal; it doubles.
const AGAIN: TimeDelta = TimeDelta::seconds(1);

/// One reading.
struct Reading<'a, R> {
    clock: &'a Clock,
    records: &'a R,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    /// When the next page may be asked for.
    next: DateTime<Utc>,
    /// When it is over, whatever is left.
    over: DateTime<Utc>,
    trail: Trail,
    seen: BTreeSet<String>,
}

/// Everything that CloudTrail has of the starts and ends of instances in a period. Whatever is refused, too old, too
/// much or too slow is a gap; it never fails.
pub async fn read_trail<R: Records>(clock: &Clock, records: &R, since: DateTime<Utc>, until: DateTime<Utc>) -> Trail {
    let now = clock.now();
    let (from, until) = (since.max(now - KEPT), until.min(now));
    let to = until.min(now - LATE);
    let mut trail = Trail { events: Vec::new(), from, to, gaps: Vec::new() };
    if since < from && since < until {
        let message = format!("CloudTrail has the last {} days", KEPT.num_days());
        trail.gaps.push(gap(None, since, from.min(until), "TooOld", message));
    }
    if to < until && from < until {
        let message = format!("CloudTrail may tell an event {} minutes late", LATE.num_minutes());
        trail.gaps.push(gap(None, to.max(from), until, "TooYoung", message));
    }
    if from < until {
        let over = now + TOTAL;
        let mut reading = Reading { clock, records, since: from, until, next: now, over, trail, seen: BTreeSet::new() };
        for call in TRAIL_CALLS {
            if let Err(why) = reading.events_of(call).await
                && why.kind == FailureKind::Credentials
            {
                // What is denied for one call is denied for all of them.
                break;
            }
        }
        trail = reading.trail;
    }
    // Times are whole seconds: of one second the start is first and the end last.
    let rank = |name: &str| TRAIL_CALLS.iter().position(|call| *call == name);
    trail.events.sort_by_cached_key(|event| (event.at, rank(&event.name), event.id.clone()));
    trail
}

fn gap(call: Option<&str>, from: DateTime<Utc>, to: DateTime<Utc>, code: &str, message: String) -> TrailGap {
    let why = Unseen { kind: FailureKind::NotFound, code: code.to_owned(), message };
    TrailGap { call: call.map(ToOwned::to_owned), from, to, why }
}

impl<R: Records> Reading<'_, R> {
    /// All pages of one call's events, the newest first.
    async fn events_of(&mut self, call: &str) -> Result<(), Unseen> {
        let (mut page, mut reached, mut unreadable) = (None, self.until, 0);
        let mut failed = None;
        for number in 1.. {
            let answer = if number > PAGES_MAX {
                let message =
                    format!("there are more than {PAGES_MAX} pages of {call}: the older events were not read");
                Err(Unseen { kind: FailureKind::NotFound, code: "TooMany".to_owned(), message })
            } else {
                self.page(call, page.as_deref()).await
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(why) => {
                    failed = Some(why);
                    break;
                }
            };
            unreadable += answer.unreadable;
            for event in answer.events {
                reached = reached.min(event.at);
                if self.seen.insert(event.id.clone()) {
                    self.trail.events.push(event);
                }
            }
            page = answer.next.filter(|next| !next.is_empty());
            if page.is_none() {
                break;
            }
        }
        if unreadable > 0 {
            let message = format!("{unreadable} of its events could not be read");
            self.trail.gaps.push(gap(Some(call), self.since, self.until, "Unreadable", message));
        }
        let Some(why) = failed else { return Ok(()) };
        // Events of one second may be on two pages.
        let told = (reached + TimeDelta::seconds(1)).min(self.until);
        self.trail.from = self.trail.from.max(told);
        let all = why.kind == FailureKind::Credentials;
        let call = (!all).then(|| call.to_owned());
        self.trail.gaps.push(TrailGap { call, from: self.since, to: told, why: why.clone() });
        Err(why)
    }

    /// One page, asked for again where that may help.
    async fn page(&mut self, call: &str, page: Option<&str>) -> Result<EventPage, Unseen> {
        let mut pause = AGAIN;
        let mut last = Unseen::skipped(format!("{} minutes had passed", TOTAL.num_minutes()));
        for _ in 0..TRIES {
            if self.next >= self.over {
                break;
            }
            self.clock.sleep_until(self.next).await;
            self.next = self.clock.now() + PAUSE;
            let asked = Box::pin(self.records.event_page(call, self.since, self.until, page));
            match self.clock.within(PAGE, asked).await {
                Some(Ok(answer)) => return Ok(answer),
                Some(Err(refusal)) if !refusal.kind.leaves_outcome_open() => return Err(refusal.into()),
                Some(Err(refusal)) => last = refusal.into(),
                None => last = Unseen::late(TimeDelta::from_std(PAGE).unwrap_or(TOTAL)),
            }
            self.next = self.clock.now() + pause;
            pause = pause * 2;
        }
        Err(last)
    }
}
