//! Instances whose end is on its way.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Cause, Cell, WorkerName};

/// An instance whose end was intended and has not been seen yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departing {
    /// Where.
    pub cell: Cell,
    /// Whose it was.
    pub worker: Option<WorkerName>,
    /// Why it goes.
    pub cause: Cause,
    /// Since when.
    pub since: DateTime<Utc>,
    /// When the cloud accepted it.
    pub accepted: Option<DateTime<Utc>>,
    /// When the call was last intended.
    pub intended: DateTime<Utc>,
    /// Whether what it is billed as was written when it was seen; of what was not seen to run its end tells that.
    pub told: bool,
}
