//! A meter written down: what lives, and apart from it what is over, which never changes again.
//!
//! So a controller need not write the runs of two months down again and again, and a report of any time finds the runs
//! of that time.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::fold::{Desk, Meter};
use super::track::Life;
use super::{Segment, Start};
use crate::model::{InstanceId, WorkerName};

/// What a meter knows, without the runs that are over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Living {
    lives: BTreeMap<u64, Life>,
    next: u64,
    desks: BTreeMap<WorkerName, Desk>,
    last_at: Option<DateTime<Utc>>,
}

/// What does not change any more, by the numbers of the runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Runs that are over.
    pub(super) ended: Vec<(u64, Life)>,
    /// What was forgotten of runs that are kept.
    pub(super) pieces: Vec<(u64, Piece)>,
}

/// What was forgotten of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) segments: Vec<Segment>,
    pub(super) starts: Vec<Start>,
    pub(super) builds: Vec<DateTime<Utc>>,
    pub(super) connects: Vec<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Past {
    /// Takes in what came after it. Of a run that is over only what is `new` counts: the rest was told before.
    pub fn add(&mut self, later: Self, new: impl Fn(u64) -> bool) {
        self.ended.extend(later.ended.into_iter().filter(|(number, _)| new(*number)));
        self.pieces.extend(later.pieces.into_iter().filter(|(number, _)| new(*number)));
    }

    /// Leaves the pieces away: what was forgotten stays forgotten.
    #[must_use]
    pub fn without_pieces(mut self) -> Self {
        self.pieces.clear();
        self
    }
}

impl Meter {
    /// Whether a run is kept and goes on.
    pub fn lives(&self, number: u64) -> bool {
        self.lives.get(&number).is_some_and(|life| life.run.ended.is_none())
    }

    /// What it knows, without the runs that are over.
    pub fn living(&self) -> Living {
        let lives = self.lives.iter().filter(|(_, life)| life.run.ended.is_none());
        Living {
            lives: lives.map(|(number, life)| (*number, life.clone())).collect(),
            next: self.next,
            desks: self.desks.clone(),
            last_at: self.last_at,
        }
    }

    /// Those of these runs that are over and kept.
    pub fn over(&self, numbers: impl IntoIterator<Item = u64>) -> Past {
        let ended = numbers.into_iter().filter_map(|number| Some((number, self.lives.get(&number)?.clone())));
        Past { ended: ended.filter(|(_, life)| life.run.ended.is_some()).collect(), pieces: Vec::new() }
    }

    /// A meter that was written down: what lived, and what was over of as long before as is wanted, the oldest first.
    /// With `forgotten` it is one that forgot, at the second of these times, what was before the first.
    pub fn restore(
        living: Living,
        pasts: impl IntoIterator<Item = Past>,
        forgotten: Option<(DateTime<Utc>, DateTime<Utc>)>,
    ) -> Self {
        let Living { mut lives, next, desks, last_at } = living;
        let mut pieces: BTreeMap<u64, Vec<Piece>> = BTreeMap::new();
        for past in pasts {
            lives.extend(past.ended);
            for (number, piece) in past.pieces {
                pieces.entry(number).or_default().push(piece);
            }
        }
        for (number, pieces) in pieces {
            let Some(life) = lives.get_mut(&number) else { continue };
            pieces.into_iter().rev().for_each(|piece| life.run.remember(piece));
        }
        if let Some((before, when)) = forgotten {
            // What lived then forgot its own past before it was written down.
            let was_over = |_: &u64, life: &mut Life| life.run.ended.as_ref().is_some_and(|ended| ended.at < when);
            let mut over: BTreeMap<u64, Life> = lives.extract_if(.., was_over).collect();
            forget(&mut over, before);
            lives.extend(over);
        }
        let mut by_instance: BTreeMap<InstanceId, u64> = BTreeMap::new();
        let mut by_worker: BTreeMap<WorkerName, Vec<u64>> = BTreeMap::new();
        for (number, life) in &lives {
            by_instance.extend(life.run.instance.clone().map(|id| (id, *number)));
            if let Some(worker) = &life.run.worker {
                by_worker.entry(worker.clone()).or_default().push(*number);
            }
        }
        Self { lives, next, by_instance, by_worker, desks, last_at }
    }
}

/// Takes out of lives what was over before a time, and gives it.
pub(super) fn forget(lives: &mut BTreeMap<u64, Life>, at: DateTime<Utc>) -> Past {
    // The minute that is billed at least may reach into the window.
    let at = at - TimeDelta::minutes(1);
    let is_old = |_: &u64, life: &mut Life| life.run.ended.as_ref().is_some_and(|ended| ended.at < at);
    let ended = lives.extract_if(.., is_old).collect();
    let pieces = lives.iter_mut().filter_map(|(number, life)| {
        let piece = life.run.forget_before(at);
        (piece != Piece::default()).then_some((*number, piece))
    });
    Past { ended, pieces: pieces.collect() }
}
