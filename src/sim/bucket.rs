//! EC2's token buckets, per account, region and action (Amazon EC2 API throttling).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

/// Burst and refill per second of a bucket.
type Size = (f64, f64);

const READS: Size = (100.0, 20.0);
const READS_WITHOUT_PAGES: Size = (50.0, 10.0);
const WRITES: Size = (50.0, 5.0);

/// Request buckets that are neither of the defaults.
const REQUESTS: [(&str, Size); 27] = [
    ("RunInstances", (5.0, 2.0)),
    ("StartInstances", (5.0, 2.0)),
    ("TerminateInstances", (100.0, 5.0)),
    ("CreateTags", (100.0, 10.0)),
    ("DeleteTags", (100.0, 10.0)),
    ("CreateSnapshot", (100.0, 5.0)),
    ("CreateSnapshots", (100.0, 5.0)),
    ("DeleteSnapshot", (100.0, 5.0)),
    ("CreateVolume", (100.0, 5.0)),
    ("DeleteVolume", (100.0, 5.0)),
    ("DeregisterImage", (100.0, 5.0)),
    ("ModifyImageAttribute", (100.0, 5.0)),
    ("CreateNetworkInterface", (100.0, 5.0)),
    ("DeleteNetworkInterface", (100.0, 5.0)),
    ("CreateLaunchTemplateVersion", (100.0, 5.0)),
    ("AssociateIamInstanceProfile", (100.0, 5.0)),
    ("ModifyInstanceMetadataOptions", (100.0, 5.0)),
    ("CopyImage", (100.0, 1.0)),
    ("EnableFastLaunch", (5.0, 2.0)),
    ("DisableFastLaunch", (5.0, 2.0)),
    ("DescribeSpotFleetRequests", (50.0, 3.0)),
    ("DescribeSpotFleetInstances", (100.0, 5.0)),
    ("DescribeInstanceTopology", (1.0, 1.0)),
    ("CreateStoreImageTask", (50.0, 0.1)),
    // CloudTrail.
    ("LookupEvents", (2.0, 2.0)),
    // STS: 600 per second, for an account and region.
    ("GetCallerIdentity", (600.0, 600.0)),
    ("AssumeRole", (600.0, 600.0)),
];

/// Resource buckets: so many instances, not calls.
const RESOURCES: [(&str, Size); 4] = [
    ("RunInstances", (1000.0, 2.0)),
    ("StartInstances", (1000.0, 2.0)),
    ("StopInstances", (1000.0, 20.0)),
    ("TerminateInstances", (1000.0, 20.0)),
];

/// Reads whose bucket is smaller when they have neither a filter nor pages.
const PAGED: [&str; 7] = [
    "DescribeInstances",
    "DescribeInstanceStatus",
    "DescribeNetworkInterfaces",
    "DescribeSecurityGroups",
    "DescribeSnapshots",
    "DescribeSpotInstanceRequests",
    "DescribeVolumes",
];

#[derive(Debug, Clone)]
struct Bucket {
    size: Size,
    tokens: f64,
    counted_at: DateTime<Utc>,
}

impl Bucket {
    fn full(size: Size, now: DateTime<Utc>) -> Self {
        Self { size, tokens: size.0, counted_at: now }
    }

    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a wait fit a double")]
    fn take(&mut self, tokens: f64, now: DateTime<Utc>) -> bool {
        let elapsed = (now - self.counted_at).num_milliseconds().max(0) as f64 / 1000.0;
        self.tokens = (self.tokens + elapsed * self.size.1).min(self.size.0);
        self.counted_at = self.counted_at.max(now);
        let enough = self.tokens >= tokens;
        if enough {
            self.tokens -= tokens;
        }
        enough
    }
}

/// All buckets of an account in a region; each is full until it is first used.
#[derive(Debug, Clone, Default)]
pub(super) struct Buckets {
    requests: BTreeMap<&'static str, Bucket>,
    unpaged: BTreeMap<&'static str, Bucket>,
    resources: BTreeMap<&'static str, Bucket>,
}

impl Buckets {
    /// Takes one token for a call. `paged` says that it has a filter, ids or a page size.
    pub(super) fn take_request(&mut self, action: &'static str, paged: bool, now: DateTime<Utc>) -> bool {
        let (buckets, size) = if !paged && PAGED.contains(&action) {
            (&mut self.unpaged, READS_WITHOUT_PAGES)
        } else {
            (&mut self.requests, size_of(action))
        };
        buckets.entry(action).or_insert_with(|| Bucket::full(size, now)).take(1.0, now)
    }

    /// Takes a token for each instance of a call; actions without a resource bucket always may.
    pub(super) fn take_resources(&mut self, action: &'static str, count: u32, now: DateTime<Utc>) -> bool {
        let Some((_, size)) = RESOURCES.iter().find(|(name, _)| *name == action) else { return true };
        let bucket = self.resources.entry(action).or_insert_with(|| Bucket::full(*size, now));
        bucket.take(f64::from(count), now)
    }

    /// Other tools of the owner use up this share of what is left of a bucket.
    pub(super) fn drain(&mut self, action: &'static str, share: f64, now: DateTime<Utc>) {
        let size = size_of(action);
        let bucket = self.requests.entry(action).or_insert_with(|| Bucket::full(size, now));
        bucket.take(0.0, now);
        bucket.tokens *= 1.0 - share.clamp(0.0, 1.0);
    }
}

fn size_of(action: &str) -> Size {
    let own = REQUESTS.iter().find(|(name, _)| *name == action).map(|(_, size)| *size);
    let reads = ["Describe", "List", "Lookup", "Search", "Get"].iter().any(|verb| action.starts_with(verb));
    own.unwrap_or(if reads { READS } else { WRITES })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(milliseconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(milliseconds)
    }

    #[test]
    fn launches_have_five_at_once_and_two_per_second() {
        let mut buckets = Buckets::default();
        let sent = (0..10).filter(|_| buckets.take_request("RunInstances", false, at(0))).count();
        assert_eq!(sent, 5);
        let later = (1..=100).filter(|n| buckets.take_request("RunInstances", false, at(n * 100))).count();
        assert_eq!(later, 20, "two per second, for ten seconds");
    }

    #[test]
    fn instances_are_counted_besides_calls() {
        let mut buckets = Buckets::default();
        assert!(buckets.take_resources("RunInstances", 1000, at(0)));
        assert!(!buckets.take_resources("RunInstances", 3, at(1000)));
        assert!(buckets.take_resources("RunInstances", 2, at(1000)));
        assert!(buckets.take_resources("CreateTags", 5000, at(0)));
    }

    #[test]
    fn a_read_without_pages_has_a_smaller_bucket() {
        let mut buckets = Buckets::default();
        let count = |buckets: &mut Buckets, paged| {
            (0..200).filter(|_| buckets.take_request("DescribeInstances", paged, at(0))).count()
        };
        assert_eq!((count(&mut buckets, false), count(&mut buckets, true)), (50, 100));
        let images = (0..200).filter(|_| buckets.take_request("DescribeImages", false, at(0))).count();
        assert_eq!(images, 100, "not every read has the smaller one");
    }

    #[test]
    fn a_clock_that_steps_back_gives_no_tokens() {
        let mut buckets = Buckets::default();
        assert!((0..5).all(|_| buckets.take_request("RunInstances", true, at(5000))));
        assert!(!buckets.take_request("RunInstances", true, at(0)));
        assert!(!buckets.take_request("RunInstances", true, at(5000)));
    }
}
