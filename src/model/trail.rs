//! What others than the ledger recorded: CloudTrail's events and EC2's history of spot prices.

use chrono::{DateTime, Utc};

use super::{InstanceId, Unseen, Zone};

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
    /// Those of them that did not run when the call came: a stopped one that was terminated, say.
    pub stood: Vec<InstanceId>,
    /// Who: the user name or the session name.
    pub by: Option<String>,
    /// The error code, if it was refused.
    pub error: Option<String>,
}

/// What CloudTrail told of a period, in one account and region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trail {
    /// The events, the oldest first, each once.
    pub events: Vec<TrailEvent>,
    /// From when on every event is there.
    pub from: DateTime<Utc>,
    /// Until when: CloudTrail may not have told yet what happened after. Not after `from` if nothing was told.
    pub to: DateTime<Utc>,
    /// What it did not tell, and why.
    pub gaps: Vec<TrailGap>,
}

impl Trail {
    /// Whether there is a time of which every event is there.
    pub fn is_told(&self) -> bool {
        self.from < self.to
    }
}

/// What CloudTrail did not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailGap {
    /// Which call's events; absent for those of all.
    pub call: Option<String>,
    /// From when.
    pub from: DateTime<Utc>,
    /// Until when.
    pub to: DateTime<Utc>,
    /// Why.
    pub why: Unseen,
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

/// A number of dollars as AWS writes it, such as `0.1008000000`, in micro-dollars, rounded; `None` if it is none.
pub fn micro_dollars(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) {
        return None;
    }
    let six: u64 = format!("{part:0<6}")[..6].parse().ok()?;
    let up = u64::from(part.as_bytes().get(6).is_some_and(|digit| *digit >= b'5'));
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(six + up)
}

#[cfg(test)]
mod tests {
    use super::micro_dollars;

    #[test]
    fn dollars_are_read_to_the_millionth() {
        for (text, micros) in
            [("0.1008000000", 100_800), ("7.83216", 7_832_160), ("3", 3_000_000), ("0.0000005", 1), ("0.0000004", 0)]
        {
            assert_eq!(micro_dollars(text), Some(micros), "{text}");
        }
        for text in
            ["", ".", ".5", "-1", "1e3", "1,5", "0.1 ", "\u{661}", "99999999999999999999", "18446744073709.551616"]
        {
            assert_eq!(micro_dollars(text), None, "{text}");
        }
    }
}
