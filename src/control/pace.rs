//! Token buckets per API action: our own model of EC2's, so that we ask less often than it refuses.
//!
//! EC2 throttles per account, region and action (Amazon EC2 API throttling: `RunInstances` 5 at once
//! and 2 per second; `TerminateInstances` 100 and 5; `DescribeInstances` with pagination 100 and 20;
//! `CreateTags` 100 and 10; other changes 50 and 5). The published sizes are taken as the floor; a share is left to the
//! owner's other tools, and a refusal empties the bucket and slows its refill for a while.

use chrono::{DateTime, TimeDelta, Utc};

/// The share of the published rate that we use.
const OUR_SHARE: f64 = 0.7;
/// A refusal multiplies the refill by this …
const SLOWED: f64 = 0.5;
/// … but never below this share of its full rate …
const SLOWEST: f64 = 0.1;
/// … and each such time without a refusal gives a tenth of the rate back.
const RECOVERY_SECONDS: i64 = 10;

/// The actions that have a bucket of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiAction {
    /// `RunInstances` and `StartInstances`.
    Launch,
    /// `TerminateInstances` and `StopInstances`.
    End,
    /// `DescribeInstances`.
    Describe,
    /// `CreateTags`.
    Tag,
    /// `AssociateAddress` and `AttachVolume`.
    Equip,
}

impl ApiAction {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Launch, Self::End, Self::Describe, Self::Tag, Self::Equip];

    /// Its name for machines.
    pub fn code(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::End => "end",
            Self::Describe => "describe",
            Self::Tag => "tag",
            Self::Equip => "equip",
        }
    }
}

/// One bucket.
#[derive(Debug, Clone, PartialEq)]
struct Bucket {
    capacity: f64,
    refill_per_second: f64,
    tokens: f64,
    factor: f64,
    counted_at: DateTime<Utc>,
    refused_at: Option<DateTime<Utc>>,
}

/// The buckets of one account in one region.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    launch: Bucket,
    end: Bucket,
    describe: Bucket,
    tag: Bucket,
    equip: Bucket,
}

impl Bucket {
    fn new(capacity: f64, refill_per_second: f64, now: DateTime<Utc>) -> Self {
        let capacity = (capacity * OUR_SHARE).max(1.0);
        Self {
            capacity,
            refill_per_second: refill_per_second * OUR_SHARE,
            tokens: capacity,
            factor: 1.0,
            counted_at: now,
            refused_at: None,
        }
    }

    fn count(&mut self, now: DateTime<Utc>) {
        if let Some(refused) = self.refused_at
            && now - refused >= TimeDelta::seconds(RECOVERY_SECONDS)
        {
            self.factor = (self.factor + 0.1).min(1.0);
            self.refused_at = (self.factor < 1.0).then_some(now);
        }
        let elapsed = seconds(now - self.counted_at).max(0.0);
        self.tokens = (self.tokens + elapsed * self.refill_per_second * self.factor).min(self.capacity);
        self.counted_at = now;
    }

    fn next(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        if self.tokens >= 1.0 {
            return now;
        }
        let wait = (1.0 - self.tokens) / (self.refill_per_second * self.factor);
        #[expect(clippy::cast_possible_truncation, reason = "a wait of seconds fits")]
        let wait = TimeDelta::milliseconds((wait * 1000.0).ceil() as i64);
        now + wait
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a wait fit a double")]
fn seconds(span: TimeDelta) -> f64 {
    span.num_milliseconds() as f64 / 1000.0
}

impl Pace {
    /// Full buckets.
    pub fn new(now: DateTime<Utc>) -> Self {
        Self {
            launch: Bucket::new(5.0, 2.0, now),
            end: Bucket::new(100.0, 5.0, now),
            describe: Bucket::new(100.0, 20.0, now),
            tag: Bucket::new(100.0, 10.0, now),
            equip: Bucket::new(50.0, 5.0, now),
        }
    }

    fn bucket(&mut self, action: ApiAction) -> &mut Bucket {
        match action {
            ApiAction::Launch => &mut self.launch,
            ApiAction::End => &mut self.end,
            ApiAction::Describe => &mut self.describe,
            ApiAction::Tag => &mut self.tag,
            ApiAction::Equip => &mut self.equip,
        }
    }

    /// Takes one token, or says when there will be one.
    pub fn take(&mut self, action: ApiAction, now: DateTime<Utc>) -> Result<(), DateTime<Utc>> {
        let bucket = self.bucket(action);
        bucket.count(now);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(bucket.next(now))
    }

    /// How many calls may be sent now, and when the next one may.
    pub fn available(&mut self, action: ApiAction, now: DateTime<Utc>) -> (u32, DateTime<Utc>) {
        let bucket = self.bucket(action);
        bucket.count(now);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the bucket's capacity")]
        let whole = bucket.tokens.max(0.0) as u32;
        (whole, bucket.next(now))
    }

    /// How many tokens there are, and which share of its full rate the bucket fills at.
    pub fn level(&mut self, action: ApiAction, now: DateTime<Utc>) -> (f64, f64) {
        let bucket = self.bucket(action);
        bucket.count(now);
        (bucket.tokens, bucket.factor)
    }

    /// EC2 refused a call of this action for its rate.
    pub fn refused(&mut self, action: ApiAction, now: DateTime<Utc>) {
        let bucket = self.bucket(action);
        bucket.count(now);
        bucket.tokens = 0.0;
        bucket.factor = (bucket.factor * SLOWED).max(SLOWEST);
        bucket.refused_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn a_burst_is_followed_by_the_refill_rate() {
        let mut pace = Pace::new(at(0));
        let sent = (0..10).filter(|_| pace.take(ApiAction::Launch, at(0)).is_ok()).count();
        assert_eq!(sent, 3, "5 at once, of which 70 % are ours");
        let next = pace.take(ApiAction::Launch, at(0)).expect_err("empty");
        assert!(next > at(0) && next <= at(1));
        let later = (1..=100).filter(|s| pace.take(ApiAction::Launch, at(*s)).is_ok()).count();
        assert_eq!(later, 100, "one per second is below 1.4 per second");
    }

    #[test]
    fn a_refusal_slows_down_and_time_without_one_heals() {
        let mut pace = Pace::new(at(0));
        pace.refused(ApiAction::End, at(0));
        assert!(pace.take(ApiAction::End, at(0)).is_err());
        assert_eq!(pace.end.factor.to_string(), "0.5");
        for second in 1..=100 {
            let _ = pace.available(ApiAction::End, at(second));
        }
        assert_eq!(pace.end.factor.to_string(), "1");
        for _ in 0..20 {
            pace.refused(ApiAction::End, at(101));
        }
        assert_eq!(pace.end.factor.to_string(), SLOWEST.to_string(), "it never stops");
    }

    #[test]
    fn a_clock_that_steps_back_gives_no_tokens_and_breaks_nothing() {
        let mut pace = Pace::new(at(100));
        assert!(pace.take(ApiAction::Launch, at(50)).is_ok());
        assert!(pace.available(ApiAction::Launch, at(10)).0 <= 3);
    }
}
