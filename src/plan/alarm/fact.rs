//! What is seen of a fleet, for what people are told.

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{AmiId, BudgetLevel, ImageName, OwnerName, RebakeId, Region, Response, WorkerName};
use crate::policy::price::{Money, Range};

/// Everything that is seen at a time.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The time.
    pub now: DateTime<Utc>,
    /// The workers.
    pub workers: Vec<WorkerFact>,
    /// The accounts by region.
    pub cells: Vec<CellFact>,
    /// The rebakes; `None` if they cannot be looked at.
    pub rebakes: Option<Vec<RebakeFact>>,
    /// What is known of the AMIs that manifests name.
    pub images: Vec<ImageFact>,
    /// The budgets that are crossed.
    pub budgets: Vec<BudgetFact>,
    /// The places that messages do not reach.
    pub deliveries: Vec<DeliveryFact>,
    /// The places for which nothing more is made up now: what is to be told there is gathered.
    pub blocked: Vec<super::Channel>,
}

/// A worker.
#[derive(Debug, Clone)]
pub struct WorkerFact {
    /// Its name.
    pub worker: WorkerName,
    /// Who pays.
    pub owner: OwnerName,
    /// Its state, in a word.
    pub state: String,
    /// Its instance.
    pub instance: Option<String>,
    /// Why nothing is done, in words.
    pub held: Option<String>,
    /// How long a start may take by its policy: from the request to the instance, and to its connection.
    pub start_limit: TimeDelta,
    /// When it counts as down, where that is set.
    pub down_after: Option<TimeDelta>,
    /// What an hour of its instance costs.
    pub hourly: Option<Range>,
    /// When its present instance was intended.
    pub created: Option<DateTime<Utc>>,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code of EC2, or ours.
    pub code: String,
    /// What was said.
    pub message: String,
    /// What to do.
    pub cure: String,
    /// Whether only a person can mend it.
    pub fatal: bool,
}

/// An owner's account in a region.
#[derive(Debug, Clone)]
pub struct CellFact {
    /// Whose.
    pub owner: OwnerName,
    /// Where.
    pub region: Region,
    /// When it was last listed completely.
    pub listed_at: Option<DateTime<Utc>>,
    /// Why the last look failed.
    pub refusal: Option<Refusal>,
    /// Whether a sweep has seen all of it: only then what it did not find is gone.
    pub swept_whole: bool,
    /// What the last sweep found left over.
    pub leftovers: Vec<LeftoverFact>,
}

/// Something left over.
#[derive(Debug, Clone)]
pub struct LeftoverFact {
    /// Its id.
    pub id: String,
    /// What it is, by the name of its kind.
    pub kind: String,
    /// Whether it runs, and costs by the hour.
    pub runs: bool,
    /// Why it counts as left over.
    pub reason: String,
    /// Since when it is there.
    pub since: Option<DateTime<Utc>>,
    /// What it costs in a month of 730 hours.
    pub monthly: Option<Range>,
    /// What is done about it.
    pub response: Response,
}

/// How far a rebake is, as far as people wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RebakeTurn {
    /// It works.
    Works,
    /// The manifest names the new AMI, which is compared with the one before.
    Promoted,
    /// It failed, and why.
    Failed(String),
    /// The new AMI was worse, and why.
    RolledBack(String),
    /// Somebody ended it, or its end was told elsewhere.
    Over,
}

/// A rebake.
#[derive(Debug, Clone)]
pub struct RebakeFact {
    /// Its id.
    pub id: RebakeId,
    /// The manifest.
    pub image: ImageName,
    /// Whose.
    pub owner: OwnerName,
    /// The AMI that it began with.
    pub source: AmiId,
    /// The new AMI.
    pub ami: Option<AmiId>,
    /// The number of the new generation.
    pub generation: u32,
    /// When its last entry was written.
    pub at: DateTime<Utc>,
    /// How far it is.
    pub turn: RebakeTurn,
}

/// The AMI that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFact {
    /// The manifest.
    pub image: ImageName,
    /// Whose.
    pub owner: OwnerName,
    /// It.
    pub ami: AmiId,
    /// When it was made, if that can be read.
    pub created: Option<DateTime<Utc>>,
    /// From when it shall not be used any more, if its owner said so.
    pub deprecated: Option<DateTime<Utc>>,
    /// Whether it is the account's own.
    pub ours: bool,
    /// From which age it is due to be made anew.
    pub max_age: TimeDelta,
    /// When the controller will rebake it by itself, if it may.
    pub next_window: Option<DateTime<Utc>>,
}

/// A budget that is crossed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetFact {
    /// Whose.
    pub owner: OwnerName,
    /// The month, such as `2026-03`.
    pub month: String,
    /// Which amount.
    pub level: BudgetLevel,
    /// What was spent in the month so far.
    pub spent: Range,
    /// The amount.
    pub limit: Money,
    /// When the month is over.
    pub until: DateTime<Utc>,
}

/// A place that messages do not reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryFact {
    /// The place, in words without a secret.
    pub place: String,
    /// The way to it, which is not used to tell of it.
    pub channel: super::Channel,
    /// Whom it should have reached, in words.
    pub who: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// What was said.
    pub why: String,
    /// How many messages wait.
    pub waiting: u32,
    /// How many were given up or refused in the last day.
    pub lost: u32,
}
