//! Whether this controller does its work: the ledger can be written, and every cell was listed not long ago.

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::Shared;
use crate::ledger::Ledger;
use crate::model::Cell;
use crate::policy::Intent;

/// What one finding about the ledger is good for.
const PROBE_GOOD_FOR: TimeDelta = TimeDelta::seconds(5);
/// So many periods of the slower polling may pass without a listing …
const PERIODS: i32 = 3;
/// … and this much more, for a listing that takes its time and is tried again.
const GRACE: TimeDelta = TimeDelta::minutes(2);

/// Whether a controller does its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthView {
    /// The controller's time.
    pub now: DateTime<Utc>,
    /// Whether the ledger can be written and every cell was listed not long ago.
    pub ready: bool,
    /// Why not, in words.
    pub reasons: Vec<String>,
    /// The place of the ledger's last entry.
    pub seq: u64,
    /// Each cell's last complete listing.
    pub cells: Vec<CellHealth>,
}

/// How old the last complete listing of a cell is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CellHealth {
    /// Whose.
    pub owner: String,
    /// Where.
    pub region: String,
    /// When it was last listed completely; absent if it was not since the controller started.
    pub listed_at: Option<DateTime<Utc>>,
    /// How old that may be, in seconds.
    pub limit_s: i64,
}

/// What was found out about the ledger last, and when.
pub(super) type Probed = Option<(DateTime<Utc>, Option<String>)>;

/// Why the ledger cannot be written, if it cannot: tried at most every few seconds, whoever asks how often.
fn ledger<L: Ledger>(shared: &Shared<L>, now: DateTime<Utc>) -> Option<String> {
    let mut probed = shared.probed();
    if let Some((_, found)) = probed.as_ref().filter(|(at, _)| now - *at < PROBE_GOOD_FOR) {
        return found.clone();
    }
    let found = shared.book().probe().err().map(|error| error.to_string());
    *probed = Some((now, found.clone()));
    found
}

pub(super) fn health<L: Ledger>(
    shared: &Shared<L>,
    intent: &Intent,
    cells: impl IntoIterator<Item = Cell>,
    now: DateTime<Utc>,
) -> HealthView {
    let limit = intent.polling.slow * PERIODS + GRACE;
    let mut reasons: Vec<String> = ledger(shared, now).into_iter().collect();
    let mut all = Vec::new();
    for cell in cells {
        let (listed_at, failure) = match shared.cells().get(&cell) {
            Some(status) => (status.inventory.as_ref().map(|inventory| inventory.observed_at), status.failure.clone()),
            None => (None, None),
        };
        let why = failure.map(|failure| format!(": {}: {}", failure.code, failure.message)).unwrap_or_default();
        let place = format!("{}/{}", cell.owner, cell.region);
        match listed_at {
            None => reasons.push(format!("{place} was not listed since the controller started{why}")),
            Some(at) if now - at > limit => {
                let (age, limit) = ((now - at).num_seconds(), limit.num_seconds());
                reasons.push(format!("{place} was last listed {age} s ago, and {limit} s are the limit{why}"));
            }
            Some(_) => {}
        }
        let (owner, region) = (cell.owner.to_string(), cell.region.to_string());
        all.push(CellHealth { owner, region, listed_at, limit_s: limit.num_seconds() });
    }
    let seq = *shared.changed().borrow();
    HealthView { now, ready: reasons.is_empty(), reasons, seq, cells: all }
}
