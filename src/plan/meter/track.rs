//! What is to be known of a living run to say in which use it is.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Run, Segment, Span, Start, Use};
use crate::model::{Cause, ShutdownBehavior, Sight, StopMode};

/// A listing that shows an instance running, and a connection that its worker makes, prove that it ran so long before:
/// EC2's reads are late, and a guest that shuts down is not billed any more, but may talk on for a while.
pub(super) const PROVEN_LATE: TimeDelta = TimeDelta::minutes(5);
/// EC2's clock and ours may be so far apart.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(60);
/// EC2 tells its times in whole seconds.
const SECOND: TimeDelta = TimeDelta::seconds(1);
/// EC2's word for an instance that was not launched so that it may be hibernated.
const NOT_LAUNCHED_FOR_IT: &str = "UnsupportedHibernationConfiguration";
/// An absence of the controller that is shorter hides nothing that the first look does not show.
const GAP_MIN: TimeDelta = TimeDelta::seconds(60);
/// What is found so soon after an absence may have been so during it.
const SETTLING: TimeDelta = TimeDelta::seconds(60);

/// A run and what its next use depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Life {
    pub(super) run: Run,
    /// Whether its worker has connected since its last start.
    pub(super) connected: bool,
    pub(super) building: bool,
    pub(super) draining: bool,
    /// When its stop or its end was first asked for since its last start.
    pub(super) leaving: Option<DateTime<Utc>>,
    /// Since when it may have been stopped without a word in the ledger: its stop was asked for, or its worker
    /// has lost its connection.
    doubt: Option<DateTime<Utc>>,
    pub(super) stopped: bool,
    /// Whether it may be hibernating: then it is billed until it is stopped.
    hibernates: bool,
    pub(super) zombie: bool,
    /// Why it ends.
    pub(super) cause: Option<Cause>,
    /// When EC2 accepted its end.
    pub(super) accepted: Option<DateTime<Utc>>,
    /// When somebody asked for its last start.
    pub(super) asked: DateTime<Utc>,
    /// Until when it is proven to have run.
    proof: Option<DateTime<Utc>>,
    /// When the controller was away.
    gap: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Life {
    pub(super) fn new(run: Run, asked: DateTime<Utc>) -> Self {
        Self {
            run,
            connected: false,
            building: false,
            draining: false,
            leaving: None,
            doubt: None,
            stopped: false,
            hibernates: false,
            zombie: false,
            cause: None,
            accepted: None,
            asked,
            proof: None,
            gap: None,
        }
    }

    fn usage(&self, held: bool) -> Use {
        match self {
            Life { zombie: true, .. } => Use::Zombie,
            Life { run: Run { canary: true, .. }, .. } => Use::Rebake,
            Life { stopped: true, .. } => Use::Stopped,
            Life { leaving: Some(_), .. } => Use::Drain,
            Life { building: true, .. } => Use::Build,
            _ if held => Use::Held,
            Life { draining: true, .. } => Use::Drain,
            Life { connected: true, .. } => Use::Idle,
            _ => Use::Boot,
        }
    }

    /// Its use is what its facts say, from then on.
    pub(super) fn settle(&mut self, at: DateTime<Utc>, held: bool) {
        if self.run.ended.is_none() {
            let usage = self.usage(held);
            self.run.turn(at, usage);
        }
    }

    /// It is what a listing showed.
    pub(super) fn be_seen(&mut self, seen: &Sight) {
        let run = &mut self.run;
        let fill = |own: &mut Option<String>, told: &Option<String>| {
            if told.is_some() {
                own.clone_from(told);
            }
        };
        fill(&mut run.instance_type, &seen.instance_type);
        fill(&mut run.software, &seen.platform_details);
        run.market = seen.market.or(run.market);
        run.zone = seen.zone.clone().or_else(|| run.zone.take());
        run.ami = seen.ami.clone().or_else(|| run.ami.take());
        run.image = run.image.take().or_else(|| seen.image.clone());
        run.public_address = match (run.public_address, seen.public_address) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (own, told) => told.or(own),
        };
    }

    /// It is asked to run.
    pub(super) fn starts(&mut self, asked: DateTime<Utc>, wanted: Option<DateTime<Utc>>) {
        self.run.starts.push(Start { asked, seen: None, over: None });
        (self.connected, self.building, self.draining, self.stopped) = (false, false, false, false);
        (self.leaving, self.cause, self.proof, self.doubt) = (None, None, None, None);
        self.hibernates = false;
        self.asked = wanted.unwrap_or(asked).min(asked);
    }

    /// The start that was asked for last did not happen, as far as anybody saw.
    pub(super) fn never_started(&mut self, at: DateTime<Utc>) {
        self.run.starts.pop_if(|start| start.seen.is_none() && start.over.is_none());
        if self.run.starts.last().is_some_and(|start| start.over.is_none()) {
            self.halts(at, None, None);
        }
        self.stopped = true;
    }

    /// It is seen to run. A listing that speaks of an earlier start proves nothing of this one.
    pub(super) fn runs(&mut self, at: DateTime<Utc>, since: Option<DateTime<Utc>>) {
        let Some(start) = self.run.starts.last_mut().filter(|start| start.over.is_none()) else { return };
        if since.is_some_and(|since| since < start.asked - CLOCKS_APART) {
            return;
        }
        if start.seen.is_none() {
            start.seen = Some(at);
            start.asked = since.map_or(start.asked, |since| since.min(at).max(start.asked));
        }
        self.proof = Some(at - PROVEN_LATE);
        // A listing that is late says nothing of a stop that was just asked for.
        self.doubt = self.doubt.filter(|_| self.leaving.is_some());
    }

    /// Its stop is asked for: from then on it may be stopping.
    pub(super) fn may_stop(&mut self, at: DateTime<Utc>, mode: StopMode) {
        self.leaving.get_or_insert(at);
        self.doubt.get_or_insert(at);
        self.hibernates |= mode == StopMode::Hibernate;
    }

    /// A call was refused. Of one instance EC2 says always that it was not launched for hibernation, or never.
    pub(super) fn was_refused(&mut self, code: &str) {
        self.hibernates &= code != NOT_LAUNCHED_FOR_IT;
    }

    /// It is seen stopped. EC2 tells when its stop was asked for, and bills the writing of its memory after that: no
    /// longer than until now, and not at all where its guest shut down instead.
    pub(super) fn wrote_its_memory(&mut self, at: DateTime<Utc>) {
        let Some(leaving) = self.leaving.filter(|_| self.hibernates) else { return };
        let over = self.run.starts.last_mut().and_then(|start| start.over.as_mut());
        // What ended before that was stopped by somebody else.
        if let Some(over) = over.filter(|over| over.latest + CLOCKS_APART >= leaving) {
            over.latest = over.latest.max(at);
        }
    }

    /// Its worker has lost its connection: it may have stopped at any time since it was proven to run. One that
    /// was asked to go, and that does not stop when it powers itself off, is only obeying.
    pub(super) fn is_lost(&mut self) {
        if !self.draining || self.run.shutdown != Some(ShutdownBehavior::Terminate) {
            self.doubt = self.doubt.or(self.proof);
        }
    }

    /// It does not run any more: since `told` by EC2's clock, or since a time after a listing of `ran_until`
    /// showed it running.
    pub(super) fn halts(&mut self, at: DateTime<Utc>, told: Option<DateTime<Utc>>, ran_until: Option<DateTime<Utc>>) {
        let leaving = self.leaving;
        let Some(start) = self.run.starts.last_mut() else { return };
        if told.is_some_and(|told| told < start.asked - CLOCKS_APART) && start.seen.is_none() {
            // EC2 speaks of the stop before: this start never happened.
            self.run.starts.pop();
            return;
        }
        let begun = start.seen.unwrap_or(start.asked);
        let told = told.filter(|told| *told + SECOND >= start.asked);
        start.over = Some(match (told, start.over) {
            (Some(told), _) => Span::of(told.clamp(start.asked, at.max(start.asked)), (told + SECOND).min(at)),
            // It may have ended before its end was asked for: only a listing shows that it had not.
            (None, over) => {
                let latest = over.map_or(at, |over| over.latest);
                let proven = ran_until.map(|until| until - PROVEN_LATE).max(self.proof).unwrap_or(begun);
                let earliest = proven.min(leaving.unwrap_or(at)).max(begun);
                Span::of(earliest.min(latest), latest)
            }
        });
    }

    /// Its master, which had it connected, has said nothing since then: it may have stopped meanwhile.
    pub(super) fn is_unheard(&mut self, since: DateTime<Utc>) {
        let proof = self.proof.filter(|_| self.connected);
        self.doubt = self.doubt.or_else(|| proof.map(|proof| proof.max(since - PROVEN_LATE)));
    }

    /// It is gone. What was stopped before has not run since. EC2 tells when it was terminated, which is later
    /// than its end where it was stopped, or stopping, by then: only a connection that stands shows that it was not.
    pub(super) fn is_gone(&mut self, at: DateTime<Utc>, told: Option<DateTime<Utc>>, ran_until: Option<DateTime<Utc>>) {
        if self.stopped {
            return;
        }
        self.halts(at, told, ran_until);
        let doubt = self.doubt.or_else(|| self.proof.filter(|_| !self.connected));
        let Some(start) = self.run.starts.last_mut() else { return };
        if let (Some(doubt), Some(over)) = (doubt, &mut start.over) {
            let begun = start.seen.unwrap_or(start.asked);
            let proven = ran_until.map_or(doubt, |until| doubt.max(until - PROVEN_LATE));
            over.earliest = over.earliest.min(proven.max(begun));
        }
    }

    /// EC2 accepted its end.
    pub(super) fn ends(&mut self, at: DateTime<Utc>) {
        self.accepted = Some(at);
        let leaving = self.leaving.unwrap_or(at);
        if let Some(start) = self.run.starts.last_mut().filter(|start| start.over.is_none()) {
            start.over = Some(Span::of(leaving, at));
        }
    }

    /// Its end is asked for once more, though EC2 had accepted it: nobody has seen it end, and it may have run on.
    pub(super) fn may_run_on(&mut self) {
        self.accepted = None;
        if self.stopped {
            return;
        }
        if let Some(start) = self.run.starts.last_mut() {
            start.over = None;
        }
    }

    /// The controller was away, and nobody wrote what happened meanwhile.
    pub(super) fn gap(&mut self, from: DateTime<Utc>, to: DateTime<Utc>) {
        self.run.silent_since = None;
        if to - from >= GAP_MIN {
            // Of two absences without a word between them the first one's begin holds.
            self.gap = Some((self.gap.map_or(from, |(from, _)| from), to));
        }
    }

    /// Something is found that nobody did just now. Soon after an absence it may have been so for long: until
    /// then nobody knows. `told` is when it happened, where that is known.
    pub(super) fn found(&mut self, at: DateTime<Utc>, told: Option<DateTime<Utc>>, after: Use) {
        let gap = self.gap.take().filter(|(_, to)| at <= *to + SETTLING);
        match (told, gap) {
            (Some(told), _) if told < at && !self.run.canary && !self.zombie => self.run.turned(told, after),
            (None, Some((from, _))) => self.run.turned(from, Use::Unknown),
            (Some(_) | None, _) => {}
        }
    }

    /// The absence is over, and what was so before it is so after it.
    pub(super) fn goes_on(&mut self, at: DateTime<Utc>) {
        if self.gap.is_some_and(|(_, to)| at > to + SETTLING) {
            self.gap = None;
        }
    }

    /// Its life begins, in a use that may end at once.
    pub(super) fn begins(&mut self, from: DateTime<Utc>, usage: Use) {
        self.run.segments.push(Segment { from, to: None, usage });
    }
}
