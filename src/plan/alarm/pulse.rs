//! How long each worker is wanted and not connected, and how long that usually takes: a fold of the ledger.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{
    BUDGET_EXCEEDED, Body, BudgetLevel, Cause, Cell, Entry, FailureKind, InstanceId, OwnerName, WorkerName,
};

/// So many waits are remembered of each worker.
const WAITS_KEPT: usize = 20;
/// From fewer waits nothing is learned.
const WAITS_MIN: usize = 5;
/// Nothing shorter counts as down, whatever was learned.
const FLOOR: TimeDelta = TimeDelta::minutes(15);
/// Nothing longer is waited for, whatever was learned.
const CEILING: TimeDelta = TimeDelta::hours(24);
/// When nobody has wanted a worker for so long, it is not down any more.
const DORMANT: TimeDelta = TimeDelta::hours(2);
/// So many failures in a row that may pass by themselves need a person all the same.
const FAILURES_IN_A_ROW: u32 = 3;

/// So many instances that nothing explained are remembered.
const ENDED_KEPT: usize = 1_000;

/// What the ledger says of every worker, as far as people are told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// The place of the last entry that was folded.
    pub seq: u64,
    /// When that was written: another ledger has another entry there.
    pub at: Option<DateTime<Utc>>,
    /// By worker.
    pub workers: BTreeMap<WorkerName, WorkerPulse>,
    /// The amounts of budgets that were crossed last, by owner.
    #[serde(default)]
    pub budgets: BTreeMap<OwnerName, BTreeMap<BudgetLevel, Crossing>>,
    /// The instances that nothing explained and that were ended lately.
    #[serde(default)]
    pub ended: VecDeque<Ended>,
}

/// An amount of a budget that was crossed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossing {
    /// The month, such as `2026-11`.
    pub month: String,
    /// The amount, in micro-dollars.
    pub limit: u64,
    /// When.
    pub at: DateTime<Utc>,
}

/// An instance of the fleet that nothing explained, and whose end was ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// It.
    pub instance: InstanceId,
    /// Where.
    pub cell: Cell,
    /// The worker that its tag names.
    pub worker: Option<WorkerName>,
    /// Why it was ended.
    pub cause: Cause,
    /// When it was ordered.
    pub at: DateTime<Utc>,
}

/// What it says of one worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerPulse {
    /// Whether it is connected, as an ordinary worker.
    pub attached: bool,
    /// Whether its end was asked for: a connection that ends then was not lost.
    leaving: bool,
    /// Whether its attempt is a canary, which answers no request.
    canary: bool,
    /// Since when it is wanted and not connected.
    pub down: Option<Down>,
    /// Why it cannot be started, if it cannot.
    pub failing: Option<Failing>,
    /// How long its last waits took that ended with a connection, in seconds.
    waits: VecDeque<u32>,
}

/// A worker that is wanted and not connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// Since when.
    pub since: DateTime<Utc>,
    /// Since when nobody asks for it, if nobody does.
    pub dormant: Option<DateTime<Utc>>,
    /// Whether it was connected before, and lost its connection.
    pub lost: bool,
}

/// A worker that cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Since when.
    pub since: DateTime<Utc>,
    /// When it failed last.
    pub last: DateTime<Utc>,
    /// How often in a row.
    pub times: u32,
    /// The last one's kind.
    pub kind: FailureKind,
    /// The last one's code.
    pub code: String,
    /// What was said.
    pub message: String,
}

impl Failing {
    /// Whether it is the answer that a hard budget gives, which was crossed at this time: that is told once, and
    /// not for each worker.
    pub fn is_of_budget(&self, at_hard: Option<DateTime<Utc>>) -> bool {
        self.code == BUDGET_EXCEEDED && at_hard.is_some_and(|at| self.last >= at)
    }

    /// Whether somebody has to do something.
    pub fn needs_a_person(&self) -> bool {
        self.kind.is_answer()
            || (matches!(self.kind, FailureKind::NotConnected | FailureKind::Ended) && self.times >= FAILURES_IN_A_ROW)
    }
}

impl Pulse {
    /// Takes in the next entries.
    pub fn follow(&mut self, entries: &[Entry]) {
        for entry in entries {
            (self.seq, self.at) = (entry.seq, Some(entry.at));
            self.beside_workers(entry);
            if let Some(worker) = entry.body.worker() {
                self.workers.entry(worker.clone()).or_default().follow(entry.at, &entry.body);
            }
        }
    }

    fn beside_workers(&mut self, entry: &Entry) {
        let at = entry.at;
        match &entry.body {
            Body::BudgetCrossed { owner, month, level, limit, .. } => {
                let crossing = Crossing { month: month.clone(), limit: *limit, at };
                self.budgets.entry(owner.clone()).or_default().insert(*level, crossing);
            }
            // What no worker has and was looked at: no record explained it.
            Body::TerminateIntended { instance, cell, worker: None, cause, seen: Some(seen), silent_since: None }
                if matches!(cause, Cause::Unconfigured | Cause::Orphan)
                    && self.ended.iter().all(|known| known.instance != *instance) =>
            {
                self.ended.truncate(ENDED_KEPT - 1);
                let (instance, cell, cause) = (instance.clone(), cell.clone(), cause.clone());
                self.ended.push_front(Ended { instance, cell, worker: seen.worker.clone(), cause, at });
            }
            _ => {}
        }
    }

    /// Since when the owner's hard amount was reached last.
    pub fn at_hard(&self, owner: &OwnerName) -> Option<DateTime<Utc>> {
        Some(self.budgets.get(owner)?.get(&BudgetLevel::Hard)?.at)
    }

    /// Forgets what time makes void: who was wanted long ago is wanted no more.
    pub fn age(&mut self, now: DateTime<Utc>) {
        self.ended.retain(|ended| now - ended.at < TimeDelta::days(1));
        for pulse in self.workers.values_mut() {
            if pulse.down.as_ref().is_some_and(|down| down.dormant.is_some_and(|since| now - since > DORMANT)) {
                pulse.down = None;
            }
            // A failure of long ago says nothing of today; the next request will.
            if pulse.failing.as_ref().is_some_and(|failing| now - failing.last > TimeDelta::days(7)) {
                pulse.failing = None;
            }
        }
    }
}

impl WorkerPulse {
    /// From when on it counts as down: as it is set; else longer than 19 of its last 20 waits; else longer than
    /// a start may take.
    pub fn limit(&self, set: Option<TimeDelta>, start_limit: TimeDelta) -> TimeDelta {
        set.unwrap_or_else(|| self.usual().unwrap_or(start_limit).clamp(FLOOR, CEILING))
    }

    /// What 19 of 20 of its waits are not longer than; none if there were too few.
    pub fn usual(&self) -> Option<TimeDelta> {
        if self.waits.len() < WAITS_MIN {
            return None;
        }
        let mut waits: Vec<u32> = self.waits.iter().copied().collect();
        waits.sort_unstable();
        let rank = (waits.len() * 19).div_ceil(20);
        waits.get(rank - 1).map(|seconds| TimeDelta::seconds(i64::from(*seconds)))
    }

    fn follow(&mut self, at: DateTime<Utc>, body: &Body) {
        match body {
            Body::Requested { .. } => {
                self.leaving = false;
                self.wanted(at);
            }
            Body::LaunchIntended { attempt, .. } => self.canary = attempt.is_canary(),
            Body::Adopted { .. } | Body::StartIntended { .. } => self.canary = false,
            Body::Attached { .. } if self.canary => {}
            Body::Attached { .. } => {
                if let Some(down) = self.down.take() {
                    self.waits.truncate(WAITS_KEPT - 1);
                    self.waits.push_front((at - down.since).num_seconds().try_into().unwrap_or(u32::MAX));
                }
                (self.attached, self.failing, self.leaving) = (true, None, false);
            }
            Body::Detached { .. } => self.lost(at),
            Body::Lost { .. } => {
                self.lost(at);
                self.dormant(at);
                self.leaving = false;
            }
            Body::RequestFailed { failure, .. } => {
                self.failed(at, failure);
                self.dormant(at);
            }
            // Nobody wants it: what was down because it was wanted is so no more, unless it had failed.
            Body::Released { .. } => {
                self.leaving = true;
                match &self.down {
                    Some(down) if !down.lost && down.dormant.is_none() && self.failing.is_none() => self.down = None,
                    _ => self.dormant(at),
                }
            }
            Body::DrainOrdered { .. } | Body::StopIntended { .. } => self.leaving = true,
            Body::TerminateIntended { .. } => {
                self.leaving = true;
                self.attached = false;
                self.dormant_if_lost(at);
            }
            _ => {}
        }
    }

    fn wanted(&mut self, at: DateTime<Utc>) {
        if self.attached {
            return;
        }
        match &mut self.down {
            Some(down) => {
                let over = down.dormant.take().is_some_and(|since| at - since > DORMANT);
                if over {
                    *down = Down { since: at, dormant: None, lost: false };
                }
            }
            None => self.down = Some(Down { since: at, dormant: None, lost: false }),
        }
    }

    /// The connection is gone. Was that asked for, it is no loss.
    fn lost(&mut self, at: DateTime<Utc>) {
        if self.canary {
            return;
        }
        if self.attached && !self.leaving {
            self.down.get_or_insert(Down { since: at, dormant: None, lost: true });
        }
        self.attached = false;
    }

    fn dormant(&mut self, at: DateTime<Utc>) {
        if let Some(down) = &mut self.down {
            down.dormant.get_or_insert(at);
        }
    }

    /// Whose connection was lost and whose instance is taken away now, is wanted no more until it is asked for.
    fn dormant_if_lost(&mut self, at: DateTime<Utc>) {
        if self.down.as_ref().is_some_and(|down| down.lost) {
            self.dormant(at);
        }
    }

    fn failed(&mut self, at: DateTime<Utc>, failure: &crate::model::Failure) {
        let (since, times) = self.failing.as_ref().map_or((at, 0), |failing| (failing.since, failing.times));
        let (kind, code, message) = (failure.kind, failure.code.clone(), failure.message.clone());
        self.failing = Some(Failing { since, last: at, times: times.saturating_add(1), kind, code, message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Cause, Failure, Phase};

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn w() -> WorkerName {
        "w".parse().expect("a name")
    }

    fn requested() -> Body {
        Body::Requested { worker: w(), request: "r1".parse().expect("an id") }
    }

    fn released() -> Body {
        Body::Released { worker: w(), cause: Cause::Released }
    }

    fn failed(kind: FailureKind) -> Body {
        Body::RequestFailed { worker: w(), failure: Failure::new(Phase::Launch, kind, "Code", "why") }
    }

    fn folded(story: &[(i64, Body)]) -> WorkerPulse {
        let mut pulse = Pulse::default();
        let entries: Vec<Entry> = (1..)
            .zip(story)
            .map(|(seq, (minute, body))| Entry { seq, at: at(*minute), actor: Actor::Controller, body: body.clone() })
            .collect();
        pulse.follow(&entries);
        pulse.workers.remove(&w()).unwrap_or_default()
    }

    #[test]
    fn a_worker_is_down_from_the_request_to_its_connection() {
        let waiting = folded(&[(0, requested()), (4, requested())]);
        assert_eq!(waiting.down.map(|down| down.since), Some(at(0)));
        let connected = folded(&[(0, requested()), (4, Body::Attached { worker: w() })]);
        assert_eq!((connected.down, connected.attached), (None, true));
        assert_eq!(connected.waits, [240]);
    }

    #[test]
    fn who_was_let_go_is_not_down() {
        let attached = Body::Attached { worker: w() };
        let detached = Body::Detached { worker: w() };
        let story = [(0, requested()), (1, attached.clone()), (9, released()), (10, detached.clone())];
        assert_eq!(folded(&story).down, None);
        assert_eq!(folded(&[(0, requested()), (1, released())]).down, None, "nobody wants it any more");
        let lost = folded(&[(0, requested()), (1, attached), (9, detached)]);
        assert_eq!(lost.down, Some(Down { since: at(9), dormant: None, lost: true }));
    }

    #[test]
    fn a_failed_request_leaves_it_down_until_nobody_has_asked_for_long() {
        let story = [(0, requested()), (10, failed(FailureKind::Elsewhere)), (10, released())];
        let mut pulse = Pulse::default();
        pulse.workers.insert(w(), folded(&story));
        pulse.age(at(120));
        assert_eq!(pulse.workers[&w()].down.as_ref().map(|down| down.since), Some(at(0)), "it may be asked for again");
        pulse.age(at(131));
        assert_eq!(pulse.workers[&w()].down, None);
        let again = folded(&[(0, requested()), (10, failed(FailureKind::Elsewhere)), (20, requested())]);
        assert_eq!(again.down, Some(Down { since: at(0), dormant: None, lost: false }));
        let anew = folded(&[(0, requested()), (10, failed(FailureKind::Elsewhere)), (600, requested())]);
        assert_eq!(anew.down.map(|down| down.since), Some(at(600)));
    }

    #[test]
    fn only_what_needs_a_person_is_failing_at_once() {
        let needs = |kinds: &[FailureKind]| {
            let story: Vec<_> = (0..).zip(kinds).flat_map(|(n, kind)| [(n, requested()), (n, failed(*kind))]).collect();
            folded(&story).failing.is_some_and(|failing| failing.needs_a_person())
        };
        assert!(needs(&[FailureKind::Credentials]) && needs(&[FailureKind::Owner]) && needs(&[FailureKind::Quota]));
        assert!(!needs(&[FailureKind::NotConnected; 2]) && needs(&[FailureKind::NotConnected; 3]));
        assert!(!needs(&[FailureKind::Elsewhere; 5]));
    }

    #[test]
    fn the_usual_wait_is_learned_and_has_a_floor_and_a_ceiling() {
        let start = TimeDelta::minutes(25);
        let pulse = |waits: &[u32]| WorkerPulse { waits: waits.iter().copied().collect(), ..WorkerPulse::default() };
        assert_eq!(pulse(&[60; 4]).limit(None, start), start, "too few");
        assert_eq!(pulse(&[60; 5]).limit(None, start), FLOOR);
        let mut twenty = vec![1_800; 19];
        twenty.push(50_000);
        assert_eq!(pulse(&twenty).limit(None, start), TimeDelta::minutes(30), "one in twenty does not count");
        assert_eq!(pulse(&[900_000; 6]).limit(None, start), CEILING);
        let set = Some(TimeDelta::minutes(1));
        assert_eq!(pulse(&twenty).limit(set, start), TimeDelta::minutes(1), "what is set holds as it is");
    }
}
