//! What others than the ledger recorded: CloudTrail's events and EC2's history of spot prices.

use chrono::{DateTime, Utc};

use super::{InstanceId, Zone};

/// A call that changed an instance, as CloudTrail recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailEvent {
    /// The event's id: pages may repeat one.
    pub id: String,
    /// When.
    pub at: DateTime<Utc>,
    /// The call: `RunInstances`, `StartInstances`, `StopInstances`, `TerminateInstances` or `BidEvictedEvent`.
    pub name: String,
    /// The instances that it changed.
    pub instances: Vec<InstanceId>,
    /// Who: the user name or the session name.
    pub by: Option<String>,
    /// The error code, if it was refused.
    pub error: Option<String>,
}

/// What an hour of spot capacity cost in a zone from a time on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpotPrice {
    /// The zone.
    pub zone: Zone,
    /// The instance type.
    pub instance_type: String,
    /// What is billed as software (EC2's product description), such as `Linux/UNIX`.
    pub product: String,
    /// From when on.
    pub from: DateTime<Utc>,
    /// Micro-dollars per hour.
    pub micro_dollars: u64,
}
