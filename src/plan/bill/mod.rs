//! What a run cost: pure, from the run and from prices.
//!
//! Billed are seconds that ran, a minute at least for each start, the disks as long as they are there, and a
//! public IPv4 address while it runs. Whatever is not known is said and never guessed: it is not in the cost. A
//! budget counts at the least what the same instance costs with plain software ([`Bill::counted`]).

mod rates;
mod tally;

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use crate::model::{AmiId, ImageName, SpotPrice};
use crate::plan::meter::{Run, Use};
use crate::policy::price::Range;
use crate::policy::{Image, Intent};

pub use rates::rate;
use tally::Tally;

/// What costs depend on beside the table of prices.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prices<'a> {
    /// EC2's history of spot prices, as far as it was read. Where it tells nothing, spot capacity is priced at
    /// anything up to the list price.
    pub spot: &'a [SpotPrice],
    /// Prices of instances that were asked of Amazon's list; without them, those of the program's table.
    pub list: Option<&'a crate::policy::price::Prices>,
    /// The disks that AMIs bring.
    pub disks: Option<&'a BTreeMap<AmiId, Vec<AmiDisk>>>,
    /// The manifests, whose platform says what an instance is billed as that EC2 has told nothing of.
    pub images: Option<&'a BTreeMap<ImageName, Image>>,
}

impl<'a> Prices<'a> {
    /// As the configuration has it: this is what a budget is reckoned by.
    pub fn of(intent: &'a Intent) -> Self {
        Self { list: Some(&intent.prices), images: Some(&intent.images), ..Self::default() }
    }
}

/// A disk that an AMI brings, unless the launch says otherwise of its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmiDisk {
    /// The device name, such as `/dev/sda1`.
    pub device: String,
    /// Its size in GiB, if that is told.
    pub size_gib: Option<u32>,
    /// Its type, such as `gp3`, if that is told.
    pub volume_type: Option<String>,
}

/// What something cost, by what is paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Instances while they ran.
    pub compute: Range,
    /// Their disks, running or stopped.
    pub storage: Range,
    /// Their public addresses.
    pub address: Range,
}

impl Cost {
    /// The sum.
    pub fn total(&self) -> Range {
        self.compute + self.storage + self.address
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            compute: self.compute + other.compute,
            storage: self.storage + other.storage,
            address: self.address + other.address,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// What a run cost in a window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bill {
    /// What is known of it.
    pub cost: Cost,
    /// The same by UTC day and use: the sum is the cost's total, but for a micro-dollar each.
    pub by_day: BTreeMap<(NaiveDate, Use), Range>,
    /// How long is billed as running, at the least and at the most.
    pub billed: (TimeDelta, TimeDelta),
    /// Why the price of its running is not known: then `compute` is nothing.
    pub unpriced: Option<String>,
    /// What its running would cost then with software that nobody pays for, or with the manifest's, as far as that
    /// is known: it costs no less. This is not in the cost.
    pub plain: Range,
    /// Why the price of its disks is not, or not wholly, known.
    pub unsized_disks: Option<String>,
}

impl Bill {
    /// Whether all of it is in the amounts.
    pub fn is_whole(&self) -> bool {
        self.unpriced.is_none() && self.unsized_disks.is_none()
    }

    /// What a budget counts of it: no less because a part has no price.
    pub fn counted(&self) -> Range {
        self.cost.total() + self.plain
    }
}

/// What a run cost from `from` until `to`. What goes on is counted until `now`; of a minute that has begun all is
/// counted that the window holds.
pub fn of(run: &Run, from: DateTime<Utc>, to: DateTime<Utc>, now: DateTime<Utc>, prices: &Prices<'_>) -> Bill {
    let mut tally = Tally::new(run, (from, to), now);
    let mut bill = Bill { billed: run.billed(from, to, now), ..Bill::default() };
    match rates::compute(run, prices) {
        Ok(rates) => bill.cost.compute = tally.running(&rates),
        // What never ran costs nothing, whatever the price.
        Err(why) if bill.billed.1 > TimeDelta::zero() => {
            bill.unpriced = Some(why);
            bill.plain = Tally::new(run, (from, to), now).running(&rates::plain(run, prices));
        }
        Err(_) => {}
    }
    let (rate, unknown) = rates::storage(run, prices);
    bill.cost.storage = tally.standing(rate);
    bill.unsized_disks = unknown.filter(|_| tally.stands());
    bill.cost.address = tally.running(&rates::address(run));
    bill.by_day = tally.by_day();
    bill
}
