//! Whether a new generation of an image does as well as the one before: a gate that is a statement of
//! statistics, not of taste.
//!
//! More starts failed: Fisher's exact test, one-sided. They take longer to connect: the test of Mann and
//! Whitney, one-sided, and a median that a person would notice. Each may say so as soon as it is significant,
//! so it is asked at every start; the level is low for that reason, and a simulation in tests/it/soak.rs holds how
//! often two generations that are alike are told apart by mistake.

use statrs::stats_tests::mannwhitneyu::{MannWhitneyUMethod, mannwhitneyu};
use statrs::stats_tests::{Alternative, fisher::fishers_exact};

/// A difference that chance makes more often than this is none.
const LEVEL: f64 = 0.01;
/// So many times of each side are needed before they are compared: the test's normal approximation is good
/// from here on.
const TIMES_MIN: usize = 8;
/// A median must be so many times as long …
const MEDIAN_FACTOR: f64 = 1.5;
/// … and so much longer, in seconds, to be worse.
const MEDIAN_SECONDS: f64 = 30.0;
/// A generation of fewer starts is no measure of the next one.
const STARTS_TO_COMPARE: u32 = 5;
/// Without a measure, so many failures are too many, as long as they are 3 of 5 starts or more.
const FAILURES_ALONE: u32 = 3;

/// What is known of the starts of one AMI, as far as it is known how they ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Starts that connected or failed.
    pub starts: u32,
    /// Those of them that failed.
    pub failed: u32,
    /// Seconds from the launch to the connected worker, of the last ones.
    pub connect_seconds: Vec<f64>,
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// There were too few starts yet.
    Waiting {
        /// So many there were.
        have: u32,
        /// So many there must be.
        want: u32,
    },
    /// It does as well, as far as can be told.
    Passed {
        /// What was compared, for people.
        why: String,
    },
    /// It does worse.
    Worse {
        /// In what, for people.
        why: String,
    },
}

/// Compares the present generation with the previous one, of which nothing may be known.
pub fn gate(previous: &Sample, present: &Sample, starts_wanted: u32) -> Gate {
    if let Some(why) = failures(previous, present).or_else(|| times(previous, present)) {
        return Gate::Worse { why };
    }
    if present.starts < starts_wanted {
        return Gate::Waiting { have: present.starts, want: starts_wanted };
    }
    let before = match previous.starts {
        0 => "nothing is known of the generation before".to_owned(),
        starts => format!("the generation before: {} of {starts} starts failed{}", previous.failed, told(previous)),
    };
    let now = format!("{} of {} starts failed{}", present.failed, present.starts, told(present));
    Gate::Passed { why: format!("{now}; {before}") }
}

/// What is wrong with how many failed.
fn failures(previous: &Sample, present: &Sample) -> Option<String> {
    let failed = present.failed.min(present.starts);
    let now = format!("{failed} of {} starts failed", present.starts);
    let (many, share) = (failed >= FAILURES_ALONE, u64::from(failed) * 5 >= u64::from(present.starts) * 3);
    if previous.starts < STARTS_TO_COMPARE && many && share {
        return Some(format!("{now}, and of the generation before too little is known to compare"));
    }
    let (of_now, of_before) = (failed, previous.failed.min(previous.starts));
    let table = [of_now, present.starts - of_now, of_before, previous.starts - of_before].map(u64::from);
    let chance = fishers_exact(&table, Alternative::Greater).ok()?;
    (chance < LEVEL).then(|| {
        format!("{now}, and {of_before} of {} of the generation before: {}", previous.starts, by_chance(chance))
    })
}

/// What is wrong with how long they take.
fn times(previous: &Sample, present: &Sample) -> Option<String> {
    let (before, now) = (finite(previous), finite(present));
    if before.len() < TIMES_MIN || now.len() < TIMES_MIN {
        return None;
    }
    let (usual, median) = (median(&before)?, median(&now)?);
    if median < usual * MEDIAN_FACTOR || median < usual + MEDIAN_SECONDS {
        return None;
    }
    // The exact method looks at each order that there is: of a hundred times, for longer than anybody waits.
    let method = MannWhitneyUMethod::AsymptoticInclContinuityCorrection;
    let (_, chance) = mannwhitneyu(&now, &before, method, Alternative::Greater).ok()?;
    (chance < LEVEL).then(|| {
        format!(
            "workers connect after {median:.0} s, and after {usual:.0} s before it (medians): {}",
            by_chance(chance)
        )
    })
}

fn by_chance(chance: f64) -> String {
    if chance < 0.0001 { "by chance less than once in 10000".to_owned() } else { format!("by chance {chance:.4}") }
}

fn told(sample: &Sample) -> String {
    median(&finite(sample)).map_or_else(String::new, |median| format!(", connected after {median:.0} s (median)"))
}

fn finite(sample: &Sample) -> Vec<f64> {
    sample.connect_seconds.iter().copied().filter(|seconds| seconds.is_finite()).collect()
}

fn median(times: &[f64]) -> Option<f64> {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    let upper = *times.get(middle)?;
    Some(if times.len() % 2 == 1 { upper } else { f64::midpoint(times[middle - 1], upper) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(starts: u32, failed: u32, seconds: &[f64]) -> Sample {
        Sample { starts, failed, connect_seconds: seconds.to_vec() }
    }

    fn is_worse(gate: &Gate) -> bool {
        matches!(gate, Gate::Worse { .. })
    }

    #[test]
    fn too_few_starts_wait_and_enough_that_are_alike_pass() {
        let before = sample(50, 1, &[60.0; 20]);
        assert_eq!(gate(&before, &sample(3, 0, &[61.0; 3]), 20), Gate::Waiting { have: 3, want: 20 });
        let passed = gate(&before, &sample(20, 0, &[61.0; 20]), 20);
        let why = "0 of 20 starts failed, connected after 61 s (median); the generation before: 1 of 50 starts failed, \
                   connected after 60 s (median)";
        assert_eq!(passed, Gate::Passed { why: why.to_owned() });
        let alone = gate(&Sample::default(), &sample(20, 1, &[]), 20);
        let why = "1 of 20 starts failed; nothing is known of the generation before";
        assert_eq!(alone, Gate::Passed { why: why.to_owned() });
    }

    #[test]
    fn failures_are_counted_by_fishers_exact_test() {
        // Tea tasting: of 8 cups 4 and 4, all told apart by chance once in 70.
        let chance = fishers_exact(&[4, 0, 0, 4], Alternative::Greater).expect("a chance");
        assert!((chance - 1.0 / 70.0).abs() < 1e-12, "{chance}");
        assert!(!is_worse(&gate(&sample(40, 0, &[]), &sample(5, 2, &[]), 20)), "10 of 990 pairs: 0.0101");
        let worse = gate(&sample(40, 0, &[]), &sample(5, 3, &[]), 20);
        let why = "3 of 5 starts failed, and 0 of 40 of the generation before: by chance 0.0007";
        assert_eq!(worse, Gate::Worse { why: why.to_owned() }, "10 of 14190 triples");
        assert!(!is_worse(&gate(&sample(40, 20, &[]), &sample(10, 7, &[]), 20)), "it was bad before");
        assert!(!is_worse(&gate(&sample(5, 5, &[]), &sample(20, 0, &[]), 20)), "better is not worse");
    }

    #[test]
    fn without_a_generation_before_three_of_the_first_five_are_too_many() {
        for (starts, failed, worse) in [(3, 3, true), (5, 3, true), (6, 3, false), (2, 2, false), (10, 6, true)] {
            assert_eq!(
                is_worse(&gate(&Sample::default(), &sample(starts, failed, &[]), 20)),
                worse,
                "{failed} of {starts}"
            );
        }
        assert!(is_worse(&gate(&sample(4, 0, &[]), &sample(5, 3, &[]), 20)), "four starts are no measure");
    }

    /// Eight times from this one on, a second apart.
    fn from(first: u32) -> Sample {
        let times: Vec<f64> = (first..first + 8).map(f64::from).collect();
        sample(8, 0, &times)
    }

    #[test]
    fn longer_times_must_be_significant_and_noticeable() {
        // By hand: U = 64 of a mean of 32, deviation sqrt(8 * 8 * 17 / 12) = 9.522, z = 31.5 / 9.522 = 3.308.
        let why = "workers connect after 104 s, and after 64 s before it (medians): by chance 0.0005";
        assert_eq!(gate(&from(60), &from(100), 20), Gate::Worse { why: why.to_owned() });
        assert!(!is_worse(&gate(&from(60), &from(80), 20)), "significant, and 20 s");
        assert!(!is_worse(&gate(&from(10), &from(35), 20)), "three times as long, and 25 s");
        assert!(!is_worse(&gate(&from(200), &from(260), 20)), "a minute more of more than three");
        assert!(!is_worse(&gate(&from(100), &from(60), 20)), "shorter");
        let mut few = from(100);
        few.connect_seconds.pop();
        assert!(!is_worse(&gate(&from(60), &few, 20)), "seven times are too few");
        let mixed = sample(8, 0, &[5.0, 6.0, 7.0, 300.0, 301.0, 302.0, 303.0, 304.0]);
        assert!(!is_worse(&gate(&mixed, &sample(9, 0, &[5.0, 6.0, 8.0, 9.0, 400.0, 500.0, 600.0, 700.0]), 20)));
    }

    #[test]
    fn what_cannot_be_compared_is_not_worse_and_no_input_makes_it_stumble() {
        let odd = sample(3, 9, &[f64::NAN, f64::INFINITY, -1.0, 0.0]);
        let same = sample(20, 0, &[60.0; 20]);
        assert!(!is_worse(&gate(&same, &same, 20)), "all times are one");
        for (previous, present) in [(&odd, &same), (&odd, &odd), (&Sample::default(), &Sample::default())] {
            assert!(!is_worse(&gate(previous, &Sample { failed: 0, ..present.clone() }, 20)));
        }
        assert_eq!(gate(&same, &Sample::default(), 20), Gate::Waiting { have: 0, want: 20 });
    }
}
