//! The meter, on records as they may grow.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use latent::model::Entry;
use latent::plan::bill::{self, Prices};
use latent::plan::meter::{Meter, Run, Use};
use latent::policy::Intent;
use latent::policy::price::{Money, Range};
use proptest::prelude::*;

use crate::record::{Record, steps};
use crate::setup::Setup;

fn metered<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Meter {
    let mut meter = Meter::default();
    for entry in entries {
        meter.take(entry);
    }
    meter
}

fn wall(run: &Run, now: DateTime<Utc>) -> TimeDelta {
    let end = run.segments.last().map(|last| last.to.unwrap_or(now));
    run.begins().zip(end).map_or(TimeDelta::zero(), |(begins, end)| end - begins)
}

fn sum(uses: &BTreeMap<Use, TimeDelta>) -> TimeDelta {
    uses.values().sum()
}

/// Every image of the records is priced as Linux.
fn intent() -> Intent {
    Setup::new().image("fedora", "alice", "us-west-2", "").image("windows", "alice", "us-west-2", "").intent()
}

fn near(one: Money, other: Money, by: u64) -> bool {
    one.as_micro_dollars().abs_diff(other.as_micro_dollars()) <= by
}

proptest! {
    #[test]
    fn every_second_of_a_life_is_of_one_use(steps in steps(), later in 0..40_000_i64, cut in 0..100_i32) {
        let mut record = Record::new();
        let begin = record.now;
        for step in &steps {
            record.step(step);
        }
        let now = record.now + TimeDelta::seconds(later);
        let meter = metered(&record.entries);
        let middle = begin + (now - begin) * cut / 100;
        for run in meter.runs() {
            for pair in run.segments.windows(2) {
                prop_assert_eq!(pair[0].to, Some(pair[1].from));
                prop_assert!(pair[0].from < pair[1].from && pair[0].usage != pair[1].usage, "{:?}", run.segments);
            }
            let open = run.segments.last().is_some_and(|last| last.to.is_none());
            prop_assert_eq!(open, !run.is_over(), "{:?}", run);
            let uses = run.uses(begin, now + TimeDelta::seconds(1), now);
            prop_assert_eq!(sum(&uses), wall(run, now));
            let halves = sum(&run.uses(begin, middle, now)) + sum(&run.uses(middle, now + TimeDelta::seconds(1), now));
            prop_assert_eq!(halves, wall(run, now));
            let (low, high) = run.ran(begin, now, now);
            prop_assert!(low <= high && high <= wall(run, now), "{low} to {high}: {:?}", run);
            let (least, most) = run.billed(begin, now + TimeDelta::days(1), now);
            prop_assert!(low <= least && high <= most && least <= most);
            let minute = TimeDelta::minutes(i64::try_from(run.starts.len()).expect("few"));
            prop_assert!(most <= high + minute);
        }
    }

    #[test]
    fn what_it_cost_is_the_same_by_day_and_use_and_in_parts(steps in steps(), later in 0..400_000_i64, cut in 0..100_i32) {
        let mut record = Record::new();
        let begin = record.now;
        for step in &steps {
            record.step(step);
        }
        let now = record.now + TimeDelta::seconds(later);
        let intent = intent();
        let prices = Prices::of(&intent);
        let end = now + TimeDelta::days(1);
        let middle = begin + (now - begin) * cut / 100;
        for run in metered(&record.entries).runs() {
            let whole = bill::of(run, begin, end, now, &prices);
            let total = whole.cost.total();
            let days: Range = whole.by_day.values().copied().sum();
            let cells = 3 + whole.by_day.len() as u64;
            prop_assert!(near(days.low, total.low, cells) && near(days.high, total.high, cells), "{days:#} of {total:#}");
            prop_assert!(total.low <= total.high);
            let parts = [(begin, middle), (middle, end)].map(|(from, to)| bill::of(run, from, to, now, &prices).cost.total());
            let parts = parts[0] + parts[1];
            prop_assert!(near(parts.low, total.low, 6) && near(parts.high, total.high, 6), "{parts:#} of {total:#}");
            // Of what was taken over without a listing nobody knows the type.
            prop_assert!(whole.unpriced.is_none() || run.adopted, "{:?}", whole.unpriced);
        }
    }

    #[test]
    fn what_is_forgotten_changes_no_later_window(steps in steps(), later in 0..4_000_i64, cut in 0..100_i32) {
        let mut record = Record::new();
        let begin = record.now;
        for step in &steps {
            record.step(step);
        }
        let now = record.now + TimeDelta::seconds(later);
        let middle = begin + (now - begin) * cut / 100;
        let whole = metered(&record.entries);
        // Forgotten once in the end, and after every entry that is older than the window.
        let mut once = whole.clone();
        once.forget_before(middle);
        let mut often = Meter::default();
        for entry in &record.entries {
            often.take(entry);
            often.forget_before(entry.at.min(middle));
        }
        let intent = intent();
        let prices = Prices::of(&intent);
        for owner in ["alice", "bob"].map(|name| name.parse().expect("an owner")) {
            let told = |meter: &Meter| {
                let owned = meter.runs().filter(|run| run.cell.owner == owner && run.touches(middle, now));
                let bills = owned.map(|run| bill::of(run, middle, now, now, &prices));
                bills.fold((Range::ZERO, 0), |(sum, some), bill| (sum + bill.cost.total(), some + u32::from(!bill.is_whole())))
            };
            prop_assert_eq!(told(&once), told(&whole));
            prop_assert_eq!(told(&often), told(&whole));
        }
    }
}
