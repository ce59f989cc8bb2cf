//! How long things take: one table, from published measurements.

use chrono::TimeDelta;

use super::image::Platform;

/// Something that takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// From the caller to EC2.
    Request,
    /// From EC2 back to the caller.
    Reply,
    /// From the launch or the start to `running`.
    Pending,
    /// The same, on a bad day.
    LatePending,
    /// From the call to `stopped` or `terminated`.
    Ending,
    /// The same, when it is stuck.
    StuckEnding,
    /// How much longer it is until `stopped` while memory is written to a disk.
    Hibernating,
    /// From `terminated` until the tags are gone.
    TagsKept,
    /// From `terminated` until it is in no listing.
    Shown,
    /// From a snapshot's begin to its end.
    Snapshot,
    /// From the last snapshot until the image is available.
    Image,
    /// From a spot request to its instance.
    Spot,
    /// The same, when the capacity comes late.
    LateSpot,
    /// From `running` until the system's services start.
    Boot(Platform),
}

impl Latency {
    /// Where nothing is random, and the range in milliseconds elsewhere.
    fn row(self) -> (i64, std::ops::Range<i64>) {
        match self {
            // RunInstances answers in about 1.5 s, reads in a few tenths (ec2-boot-bench, 2021).
            Latency::Request => (100, 20..150),
            Latency::Reply => (100, 50..1_300),
            // 4.9 s from pending to running (the same).
            Latency::Pending => (4_000, 3_000..8_000),
            Latency::LatePending => (120_000, 60_000..240_000),
            Latency::Ending => (6_000, 4_000..20_000),
            // "Several hours" at the worst (Amazon EC2: troubleshoot terminating).
            Latency::StuckEnding => (1_800_000, 600_000..3_600_000),
            // "It can take a few minutes" (Amazon EC2: hibernate).
            Latency::Hibernating => (60_000, 20_000..240_000),
            Latency::TagsKept => (1_200_000, 300_000..2_400_000),
            // "Usually less than one hour" (Amazon EC2: instance lifecycle).
            Latency::Shown => (3_600_000, 3_000_000..3_900_000),
            // The SDK's waiter allows ten minutes for an image, and that is often too short.
            Latency::Snapshot => (120_000, 40_000..420_000),
            Latency::Image => (10_000, 5_000..30_000),
            // "Can take a few minutes" (Amazon EC2: Spot requests); mostly seconds.
            Latency::Spot => (3_000, 1_000..15_000),
            Latency::LateSpot => (300_000, 60_000..900_000),
            // 1.2 s minimal, 10 to 40 s for full systems, minutes for Windows (Depot, ec2-boot-bench).
            Latency::Boot(Platform::Linux) => (3_000, 1_200..5_000),
            Latency::Boot(Platform::Server) => (20_000, 10_000..45_000),
            Latency::Boot(Platform::Windows) => (300_000, 120_000..600_000),
        }
    }

    /// A time of this class; the same every time where the world is steady.
    pub fn draw(self, steady: bool, random: &mut fastrand::Rng) -> TimeDelta {
        let (fixed, range) = self.row();
        TimeDelta::milliseconds(if steady { fixed } else { random.i64(range) })
    }
}
