//! Token buckets per API action: our own model of EC2's, so that we ask less often than it refuses.
//!
//! EC2 throttles per account, region and action, by calls and for some actions by instances too (Amazon EC2 API
//! throttling). The published sizes are taken as the floor, unless the owner says what the account really has. A
//! refusal empties the bucket and slows its refill for a while.

use chrono::{DateTime, TimeDelta, Utc};

use crate::policy::{ApiRate, Rates};

/// A refusal multiplies the refill by this …
const SLOWED: f64 = 0.7;
/// … but never below this share of its full rate …
const SLOWEST: f64 = 0.1;
/// … and each such time without a refusal gives a tenth of the rate back.
const RECOVERY_SECONDS: i64 = 10;
/// What can wait leaves this share of a bucket to what cannot.
const SPARED: f64 = 0.3;

/// The actions that have a bucket of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiAction {
    /// `RunInstances`.
    Launch,
    /// `StartInstances`.
    Start,
    /// `StopInstances`.
    Stop,
    /// `TerminateInstances`, and what takes away other things.
    End,
    /// `DescribeInstances`.
    Describe,
    /// `CreateTags`.
    Tag,
    /// `AssociateAddress` and `AttachVolume`.
    Equip,
}

/// What EC2 publishes of an action, and what we take of it.
struct Published {
    calls: ApiRate,
    /// Instances in those calls, where they are counted too.
    instances: Option<ApiRate>,
    /// The share of the burst, and of the refill, that we use. Who waits for a machine, or pays for one, gets nearly
    /// all; of what can wait, a share is left to the owner's other tools.
    share: (f64, f64),
}

/// Of the refill of what is urgent a little is left, so that a call that was late does not meet the next one.
const URGENT: (f64, f64) = (1.0, 0.98);
const SHARED: (f64, f64) = (0.7, 0.7);

impl ApiAction {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Launch, Self::Start, Self::Stop, Self::End, Self::Describe, Self::Tag, Self::Equip];

    /// Its name for machines.
    pub fn code(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::End => "end",
            Self::Describe => "describe",
            Self::Tag => "tag",
            Self::Equip => "equip",
        }
    }

    fn place(self) -> usize {
        self as usize
    }

    fn published(self) -> Published {
        let rate = |burst, refill| ApiRate { burst, refill };
        let (calls, instances, share) = match self {
            Self::Launch | Self::Start => (rate(5, 2), Some(rate(1000, 2)), URGENT),
            Self::Stop => (rate(50, 5), Some(rate(1000, 20)), URGENT),
            Self::End => (rate(100, 5), Some(rate(1000, 20)), URGENT),
            Self::Describe => (rate(100, 20), None, SHARED),
            Self::Tag => (rate(100, 10), None, SHARED),
            Self::Equip => (rate(50, 5), None, SHARED),
        };
        Published { calls, instances, share }
    }

    /// What the owner says of the account, if anything.
    fn told(self, rates: &Rates) -> Option<ApiRate> {
        match self {
            Self::Launch => rates.run_instances,
            Self::Start => rates.start_instances,
            Self::Stop => rates.stop_instances,
            Self::End => rates.terminate_instances,
            Self::Describe => rates.describe_instances,
            Self::Tag => rates.create_tags,
            Self::Equip => None,
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

/// The buckets of one action.
#[derive(Debug, Clone, PartialEq)]
struct Buckets {
    calls: Bucket,
    instances: Option<Bucket>,
}

/// The buckets of one account in one region.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    all: [Buckets; ApiAction::ALL.len()],
}

impl Bucket {
    fn new(rate: ApiRate, (burst, refill): (f64, f64), now: DateTime<Utc>) -> Self {
        let capacity = (f64::from(rate.burst) * burst).max(1.0);
        Self {
            capacity,
            refill_per_second: f64::from(rate.refill) * refill,
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

    /// When there are so many tokens; a bucket that is smaller than that need only be full.
    fn next(&self, wanted: f64, now: DateTime<Utc>) -> DateTime<Utc> {
        let lacking = wanted.min(self.capacity) - self.tokens;
        if lacking <= 0.0 {
            return now;
        }
        let wait = lacking / (self.refill_per_second * self.factor);
        #[expect(clippy::cast_possible_truncation, reason = "a wait of seconds fits")]
        let wait = TimeDelta::milliseconds((wait * 1000.0).ceil() as i64);
        now + wait
    }

    fn refused(&mut self, now: DateTime<Utc>) {
        self.count(now);
        self.tokens = 0.0;
        self.factor = (self.factor * SLOWED).max(SLOWEST);
        self.refused_at = Some(now);
    }

    fn whole(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the bucket's capacity")]
        let whole = self.tokens.max(0.0) as u32;
        whole
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a wait fit a double")]
fn seconds(span: TimeDelta) -> f64 {
    span.num_milliseconds() as f64 / 1000.0
}

impl Pace {
    /// Full buckets of the published sizes.
    pub fn new(now: DateTime<Utc>) -> Self {
        Self::by(&Rates::default(), now)
    }

    /// Full buckets of what the owner says the account has; of the published sizes where nothing is said.
    pub fn by(rates: &Rates, now: DateTime<Utc>) -> Self {
        let all = ApiAction::ALL.map(|action| {
            let published = action.published();
            let told = action.told(rates);
            let calls = Bucket::new(told.unwrap_or(published.calls), published.share, now);
            // Who has the one raised has the other raised as well: the published one would hold up what is allowed.
            let instances = published.instances.map(|rate| match told {
                Some(told) => ApiRate { burst: rate.burst.max(told.burst), refill: rate.refill.max(told.refill) },
                None => rate,
            });
            Buckets { calls, instances: instances.map(|rate| Bucket::new(rate, published.share, now)) }
        });
        Self { all }
    }

    fn buckets(&mut self, action: ApiAction, now: DateTime<Utc>) -> &mut Buckets {
        let buckets = &mut self.all[action.place()];
        buckets.calls.count(now);
        if let Some(instances) = &mut buckets.instances {
            instances.count(now);
        }
        buckets
    }

    /// Takes what one call for one instance needs, or says when there will be that much.
    pub fn take(&mut self, action: ApiAction, now: DateTime<Utc>) -> Result<(), DateTime<Utc>> {
        self.take_for(action, 1, now)
    }

    /// Takes what one call for so many instances needs, or says when there will be that much. More than EC2 takes at
    /// once can be asked for when the bucket is full.
    pub fn take_for(&mut self, action: ApiAction, instances: u32, now: DateTime<Utc>) -> Result<(), DateTime<Utc>> {
        let buckets = self.buckets(action, now);
        let wanted = f64::from(instances);
        let mut from = buckets.calls.next(1.0, now);
        if let Some(bucket) = &buckets.instances {
            from = from.max(bucket.next(wanted, now));
        }
        if from > now {
            return Err(from);
        }
        buckets.calls.tokens -= 1.0;
        if let Some(bucket) = &mut buckets.instances {
            bucket.tokens = (bucket.tokens - wanted).max(0.0);
        }
        Ok(())
    }

    /// Takes what one more instance needs in a call for several, of which the first one takes the call.
    pub fn take_one_of(&mut self, action: ApiAction, first: bool, now: DateTime<Utc>) -> Result<(), DateTime<Utc>> {
        if first {
            return self.take(action, now);
        }
        let Some(bucket) = &mut self.buckets(action, now).instances else { return Ok(()) };
        let from = bucket.next(1.0, now);
        if from > now {
            return Err(from);
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// The same for what can wait: a share of the bucket is left to what cannot.
    pub fn take_spare(&mut self, action: ApiAction, now: DateTime<Utc>) -> Result<(), DateTime<Utc>> {
        let bucket = &self.buckets(action, now).calls;
        let from = bucket.next(bucket.capacity * SPARED + 1.0, now);
        if from > now { Err(from) } else { self.take(action, now) }
    }

    /// How many calls may be sent now, and when the next one may.
    pub fn available(&mut self, action: ApiAction, now: DateTime<Utc>) -> (u32, DateTime<Utc>) {
        let bucket = &self.buckets(action, now).calls;
        (bucket.whole(), bucket.next(1.0, now))
    }

    /// How many instances the calls of this action may be for now.
    pub fn instances(&mut self, action: ApiAction, now: DateTime<Utc>) -> u32 {
        self.buckets(action, now).instances.as_ref().map_or(u32::MAX, Bucket::whole)
    }

    /// How many tokens there are, and which share of its full rate the bucket fills at.
    pub fn level(&mut self, action: ApiAction, now: DateTime<Utc>) -> (f64, f64) {
        let bucket = &self.buckets(action, now).calls;
        (bucket.tokens, bucket.factor)
    }

    /// EC2 refused a call of this action for its rate. It does not say which of its buckets was empty.
    pub fn refused(&mut self, action: ApiAction, now: DateTime<Utc>) {
        self.buckets(action, now).calls.refused(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn each_action_has_the_bucket_of_its_place() {
        for (place, action) in ApiAction::ALL.into_iter().enumerate() {
            assert_eq!(action.place(), place, "{}", action.code());
        }
    }

    #[test]
    fn a_burst_is_followed_by_the_refill_rate() {
        let mut pace = Pace::new(at(0));
        let sent = (0..10).filter(|_| pace.take(ApiAction::Launch, at(0)).is_ok()).count();
        assert_eq!(sent, 5, "as many as EC2 takes at once");
        assert_eq!(pace.available(ApiAction::Start, at(0)).0, 5, "starts have their own");
        let next = pace.take(ApiAction::Launch, at(0)).expect_err("empty");
        assert!(next > at(0) && next <= at(1));
        let later = (1..=100).filter(|s| pace.take(ApiAction::Launch, at(*s)).is_ok()).count();
        assert_eq!(later, 100, "one per second is below 1.96 per second");
    }

    #[test]
    fn so_many_launches_take_hardly_longer_than_the_bucket_needs() {
        let (mut pace, mut now) = (Pace::new(at(0)), at(0));
        for _ in 0..200 {
            while let Err(from) = pace.take(ApiAction::Launch, now) {
                now = from;
            }
        }
        let limit = TimeDelta::milliseconds((200 - 5) * 500);
        assert!(now - at(0) >= limit && now - at(0) <= limit * 105 / 100, "{}", now - at(0));
    }

    #[test]
    fn instances_are_counted_beside_calls() {
        let mut pace = Pace::new(at(0));
        assert_eq!(pace.take_for(ApiAction::Launch, 900, at(0)), Ok(()));
        assert_eq!(pace.instances(ApiAction::Launch, at(0)), 100);
        let from = pace.take_for(ApiAction::Launch, 200, at(0)).expect_err("there are a hundred");
        assert!(from > at(50) && from < at(52), "{from}");
        assert_eq!(pace.take(ApiAction::Launch, at(0)), Ok(()), "and one more is there at once");
        assert_eq!(pace.take_for(ApiAction::Launch, 5_000, at(10_000)), Ok(()), "what is full gives all it has");
    }

    #[test]
    fn what_can_wait_leaves_a_share() {
        let mut pace = Pace::new(at(0));
        let spare = (0..200).filter(|_| pace.take_spare(ApiAction::Describe, at(0)).is_ok()).count();
        let rest = (0..200).filter(|_| pace.take(ApiAction::Describe, at(0)).is_ok()).count();
        assert_eq!((spare, rest), (49, 21), "of seventy");
    }

    #[test]
    fn an_account_with_raised_limits_is_used_as_far() {
        let rates = Rates { run_instances: Some(ApiRate { burst: 200, refill: 50 }), ..Rates::default() };
        let mut pace = Pace::by(&rates, at(0));
        assert_eq!((0..300).filter(|_| pace.take(ApiAction::Launch, at(0)).is_ok()).count(), 200);
        assert_eq!((0..300).filter(|_| pace.take(ApiAction::Launch, at(1)).is_ok()).count(), 49);
        assert_eq!(pace.available(ApiAction::Start, at(0)).0, 5, "of which nothing is said");
    }

    #[test]
    fn a_refusal_slows_down_and_time_without_one_heals() {
        let mut pace = Pace::new(at(0));
        pace.refused(ApiAction::End, at(0));
        assert!(pace.take(ApiAction::End, at(0)).is_err());
        assert_eq!(pace.level(ApiAction::End, at(0)).1.to_string(), "0.7");
        for second in 1..=100 {
            let _ = pace.available(ApiAction::End, at(second));
        }
        assert_eq!(pace.level(ApiAction::End, at(100)).1.to_string(), "1");
        for _ in 0..20 {
            pace.refused(ApiAction::End, at(101));
        }
        assert_eq!(pace.level(ApiAction::End, at(101)).1.to_string(), SLOWEST.to_string(), "it never stops");
    }

    #[test]
    fn a_clock_that_steps_back_gives_no_tokens_and_breaks_nothing() {
        let mut pace = Pace::new(at(100));
        assert!(pace.take(ApiAction::Launch, at(50)).is_ok());
        assert!(pace.available(ApiAction::Launch, at(10)).0 <= 4);
    }
}
