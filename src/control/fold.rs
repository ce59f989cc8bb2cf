//! A ledger folded into all that a controller goes by, from its last checkpoint on where there is one.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::ledger::{Checkpoint, Ledger, LedgerError, LedgerRead, Packed};
use crate::model::{Entry, Fleet, FoldError};
use crate::plan::budget::Month;
use crate::plan::day::Day;
use crate::plan::meter::{Living, Meter, Past};
use crate::plan::{Happening, Lives};

/// The version of the fold. Whoever changes what entries fold to, or how that is written down, adds one: checkpoints
/// of other versions are passed over, and the next start folds the whole ledger once.
pub const FOLD_VERSION: u32 = 4;

/// Entries read at a time when a ledger is folded.
const PAGE: usize = 10_000;
/// A clock that was set back may have written so much earlier.
const MARGIN: TimeDelta = TimeDelta::days(1);
/// At a good end a checkpoint is worth its room after this part of the entries between two.
const END_PART: u64 = 10;
/// After a checkpoint that could not be kept the next one is tried so many entries later.
const AGAIN_AFTER: u64 = 1_000;

/// What entries fold to.
#[derive(Debug, Default)]
pub struct Fold {
    fleet: Fleet,
    day: Day,
    lives: Lives,
    /// What each instance was used for, in this month and the one before.
    meter: Meter,
    /// The entry of the last checkpoint; 0 if there is none.
    kept: u64,
    /// The runs that ended since, and what was forgotten of the meter since.
    fresh: BTreeSet<u64>,
    past: Past,
    /// The first entry after which a checkpoint may be tried again.
    not_before: u64,
}

/// What of it may still change, as it is written down.
#[derive(Serialize)]
struct Present<'a> {
    fleet: &'a Fleet,
    day: &'a Day,
    lives: &'a Lives,
    meter: Living,
}

/// The same read again.
#[derive(Deserialize)]
pub(super) struct State {
    #[serde(deserialize_with = "Fleet::reread")]
    pub(super) fleet: Fleet,
    day: Day,
    lives: Lives,
    pub(super) meter: Living,
}

/// A checkpoint that was read, with the pasts of as long before as was asked for, the oldest first.
pub(super) struct Restored {
    pub(super) seq: u64,
    pub(super) state: State,
    pub(super) pasts: Vec<Past>,
}

/// The last checkpoint up to an entry, with what was over since a time: by default since the month began that the
/// meter keeps. `None` where nothing fits.
pub(super) fn restored<L: LedgerRead>(ledger: &L, upto: u64, since: Option<DateTime<Utc>>) -> Option<Restored> {
    let last = ledger.checkpoint(FOLD_VERSION, upto)?;
    let since = since.unwrap_or_else(|| Month::of(last.at).before().begins) - MARGIN;
    let (mut packed, mut previous) = (vec![last.past], last.previous);
    while previous > 0 {
        let before = ledger.past_at(FOLD_VERSION, previous)?;
        if before.at < since {
            break;
        }
        packed.push(before.past);
        previous = before.previous;
    }
    let read = std::thread::scope(|scope| -> Result<(State, Vec<Past>), String> {
        let half = packed.len() / 2;
        let (newer, older) = packed.split_at(half);
        let other = scope.spawn(|| older.iter().map(parsed).collect::<Result<Vec<Past>, String>>());
        let state: State = parsed(&last.state)?;
        let mut pasts: Vec<Past> = newer.iter().map(parsed).collect::<Result<_, _>>()?;
        pasts.extend(other.join().map_err(|_| "it cannot be read".to_owned())??);
        pasts.reverse();
        Ok((state, pasts))
    });
    match read {
        Ok((state, pasts)) => Some(Restored { seq: last.seq, state, pasts }),
        Err(why) => {
            tracing::warn!(seq = last.seq, why, "a checkpoint of the ledger cannot be read, and all of it is folded");
            None
        }
    }
}

fn parsed<T: for<'de> Deserialize<'de>>(packed: &Packed) -> Result<T, String> {
    serde_json::from_slice(&packed.unpack()?).map_err(|error| error.to_string())
}

impl Fold {
    /// Folds a ledger, and keeps checkpoints on the way where they are due. `each` is told what every entry means that
    /// is not in the checkpoint which it begins with.
    ///
    /// # Errors
    /// [`LedgerError`]: an entry cannot be read, or does not follow.
    pub fn open<L: Ledger>(ledger: &mut L, mut each: impl FnMut(&Entry, Vec<Happening>)) -> Result<Self, LedgerError> {
        let mut fold = restored(ledger, u64::MAX, None).map(Self::from).unwrap_or_default();
        let every = ledger.checkpoint_every().and_then(|every| usize::try_from(every).ok());
        let most = every.map_or(PAGE, |every| every.clamp(1, PAGE));
        loop {
            let page = ledger.read(fold.fleet.seq, most)?;
            for entry in &page {
                fold.check(entry)?;
                let happened = fold.count(entry);
                each(entry, happened);
            }
            fold.keep(ledger, false);
            if page.len() < most {
                return Ok(fold);
            }
        }
    }

    /// Takes in the next entry as far as decisions go by it, or changes nothing and says why it does not follow.
    ///
    /// # Errors
    /// [`FoldError`].
    pub fn check(&mut self, entry: &Entry) -> Result<(), FoldError> {
        self.fleet.apply(entry)?;
        self.day.note(entry, &self.fleet);
        Ok(())
    }

    /// Takes in what was checked, and is written, as far as it is counted; says what it means.
    pub fn count(&mut self, entry: &Entry) -> Vec<Happening> {
        // Nothing is kept of more than the month before.
        let month = Month::of(entry.at);
        if self.meter.last_at().is_some_and(|last| last < month.begins) {
            let forgotten = self.meter.forget_before(month.before().begins);
            let (fresh, meter) = (&self.fresh, &self.meter);
            self.past.add(forgotten, |number| fresh.contains(&number) || meter.lives(number));
        }
        self.fresh.extend(self.meter.take(entry));
        self.lives.apply(entry)
    }

    /// Keeps a checkpoint if one is due, or nearly so at a good end. A failure is told, and harms nobody.
    pub fn keep<L: Ledger>(&mut self, ledger: &mut L, is_end: bool) {
        let Some(every) = ledger.checkpoint_every() else { return };
        let (seq, due) = (self.fleet.seq, if is_end { every.div_ceil(END_PART) } else { every });
        let Some(at) = self.fleet.last_at.filter(|_| seq - self.kept >= due && seq >= self.not_before) else { return };
        match self.checkpoint(at).and_then(|made| ledger.keep(&made).map_err(|error| error.to_string())) {
            Ok(()) => {
                self.kept = seq;
                self.fresh.clear();
                self.past = Past::default();
            }
            Err(why) => {
                tracing::warn!(why, "no checkpoint of the ledger can be kept; the next start takes longer");
                self.not_before = seq + AGAIN_AFTER;
            }
        }
    }

    fn checkpoint(&self, at: DateTime<Utc>) -> Result<Checkpoint, String> {
        let [state, past] = self.texts()?.map(|text| Packed::of(&text));
        let (seq, previous, version) = (self.fleet.seq, self.kept, FOLD_VERSION);
        Ok(Checkpoint { seq, at, previous, version, state: state?, past: past? })
    }

    /// What a checkpoint would say now: what may change, and what is over.
    ///
    /// # Errors
    /// In words: what has no text.
    pub fn texts(&self) -> Result<[Vec<u8>; 2], String> {
        let mut past = self.past.clone();
        past.add(self.meter.over(self.fresh.iter().copied()), |_| true);
        let (fleet, day, lives) = (&self.fleet, &self.day, &self.lives);
        let present = Present { fleet, day, lives, meter: self.meter.living() };
        let texts = (serde_json::to_vec(&present), serde_json::to_vec(&past));
        Ok([texts.0.map_err(|error| error.to_string())?, texts.1.map_err(|error| error.to_string())?])
    }

    /// The record.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The last day of every worker.
    pub fn day(&self) -> &Day {
        &self.day
    }

    /// The lives that are open.
    pub fn lives(&self) -> &Lives {
        &self.lives
    }

    /// What each instance was used for, in this month and the one before.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }
}

impl From<Restored> for Fold {
    fn from(restored: Restored) -> Self {
        let Restored { seq, state, pasts } = restored;
        let State { fleet, day, lives, meter } = state;
        // What was forgotten by then stays forgotten.
        let month = fleet.last_at.map(Month::of);
        let forgotten = month.map(|month| (month.before().begins, month.begins));
        let meter = Meter::restore(meter, pasts.into_iter().map(Past::without_pieces), forgotten);
        Self { fleet, day, lives, meter, kept: seq, ..Self::default() }
    }
}
