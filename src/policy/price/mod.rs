//! What things cost at Amazon's list price, from a table in the program: no call, no clock.
//!
//! Every answer is a [`Range`], or `None` where the table does not know: a price is never guessed.
//! What no table knows is not in it: discounts, credits, taxes, traffic, monitoring. [`as_of`] and
//! [`sources`] belong on every report that shows a price. [`Prices`] lays newer ones over the table that were
//! asked of Amazon's Price List.

mod book;
mod list;
mod money;
mod overlay;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

pub use book::Source;
pub use list::{Listed, NotListed, attributes as list_attributes, read as read_list};
pub use money::{Money, Range};
pub use overlay::{PRICE_FILE, PRICE_FILE_VERSION, PriceEntry, PriceFile, PriceFileProblem, Prices, price_file};

use super::Platform;
use crate::model::{Market, Region};

/// Hours that Amazon counts in a month.
pub const HOURS_PER_MONTH: u64 = 730;

/// The shortest run of an instance that is billed, in seconds; each start begins a new one.
pub const SECONDS_MIN: u64 = 60;

const SECONDS_PER_HOUR: u64 = 3600;

/// What of Amazon's list an instance runs, as far as the table goes: RHEL, SUSE, macOS and SQL Server
/// cost more than this and have no price here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Software {
    /// Linux and FreeBSD without a paid licence.
    LinuxUnix,
    /// Windows with its licence in the price.
    Windows,
}

impl Software {
    /// What a manifest's platform is billed as. An image with a paid licence, such as RHEL, says Linux
    /// there: [`Software::of_details`] tells it by what EC2 says of the instance.
    pub fn of(platform: Platform) -> Option<Self> {
        match platform {
            Platform::Linux | Platform::Freebsd => Some(Self::LinuxUnix),
            Platform::Windows => Some(Self::Windows),
            Platform::Macos => None,
        }
    }

    /// What EC2's `PlatformDetails` of an instance is billed as.
    pub fn of_details(details: &str) -> Option<Self> {
        match details {
            "Linux/UNIX" => Some(Self::LinuxUnix),
            "Windows" => Some(Self::Windows),
            _ => None,
        }
    }
}

/// What an instance of shared tenancy costs per hour while it runs.
///
/// On demand it is the list price, within 1 % for burstable types (Amazon rounds each size) and exact
/// for most others. A spot price is set by the zone and the hour: it is anything up to the list price.
/// `None` for a type, a region or a pair of them that the table does not know, and for bare metal.
pub fn hourly(instance_type: &str, region: &Region, software: Software, market: Market) -> Option<Range> {
    let price = book::get().hourly(instance_type, region.as_str(), software == Software::Windows)?;
    Some(match market {
        Market::OnDemand => Range::exactly(price),
        Market::Spot => Range::up_to(price),
    })
}

/// What one run of `seconds` costs at `hourly`: no less than [`SECONDS_MIN`], rounded up to a
/// micro-dollar. As a bound it holds for one start; each further start may add the least run again.
pub fn run(hourly: Range, seconds: u64) -> Range {
    hourly.share(seconds.max(SECONDS_MIN), SECONDS_PER_HOUR)
}

/// What a volume of `gib` GiB costs per month, whether attached or not, its instance running or not.
///
/// Its size alone: performance bought beside it (operations of io1 and io2, operations above 3000 and
/// throughput above 125 MB/s of gp3, requests to `standard`) comes on top.
pub fn storage_month(volume_type: &str, region: &Region, gib: u64) -> Option<Range> {
    let price = book::get().volumes.get(volume_type)?.get(region.as_str())?;
    Some(Range::exactly(*price).times(gib))
}

/// What a snapshot in the standard tier costs per month, of a volume of `gib` GiB: at most all of it.
/// Only blocks that changed since the snapshot before are stored, and no list tells how many.
pub fn snapshot_month(region: &Region, gib: u64) -> Option<Range> {
    let price = book::get().snapshots.get(region.as_str())?;
    Some(Range::up_to(*price).times(gib))
}

/// What a public IPv4 address costs per hour in any commercial region, in use or idle.
pub fn address_hour() -> Range {
    Range::exactly(book::get().ipv4_hour)
}

/// What a public IPv4 address costs per month.
pub fn address_month() -> Range {
    address_hour().times(HOURS_PER_MONTH)
}

/// The date of the oldest list that prices of instances are from; [`sources`] tells each part's.
pub fn as_of() -> NaiveDate {
    book::get().as_of
}

/// Where the prices are from, part by part.
pub fn sources() -> &'static [Source] {
    &book::get().sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        name.parse().expect("a region")
    }

    fn on_demand(kind: &str, place: &str, software: Software) -> Option<String> {
        hourly(kind, &region(place), software, Market::OnDemand).map(|range| format!("{range:#}"))
    }

    #[test]
    fn linux_costs_what_the_list_says() {
        for (kind, place, price) in [
            ("t3.nano", "us-east-1", "$0.0052"),
            ("t3.large", "us-east-1", "$0.0832"),
            ("m7i.large", "us-east-1", "$0.1008"),
            ("m7i.large", "ap-southeast-2", "$0.126"),
            ("c7i.2xlarge", "us-east-1", "$0.357"),
            ("c7a.4xlarge", "us-east-1", "$0.82112"),
            ("m7i.xlarge", "eu-central-1", "$0.2415"),
            ("c6a.large", "ap-south-1", "$0.04675"),
            ("m8g.xlarge", "us-east-2", "$0.17952"),
            ("r8i.24xlarge", "eu-west-2", "$7.83216"),
            ("g4dn.xlarge", "us-east-1", "$0.526"),
            ("g5.12xlarge", "us-west-2", "$5.672"),
            ("m7i-flex.large", "us-east-1", "$0.09576"),
        ] {
            assert_eq!(on_demand(kind, place, Software::LinuxUnix).as_deref(), Some(price), "{kind} in {place}");
        }
    }

    #[test]
    fn windows_adds_its_licence() {
        for (kind, place, price) in [
            ("m7i.large", "us-east-1", "$0.1928"),
            ("c5a.large", "us-east-1", "$0.169"),
            ("t3.medium", "us-east-1", "$0.06"),
            ("t3.2xlarge", "us-east-1", "$0.48"),
            ("g4dn.xlarge", "us-east-1", "$0.71"),
            ("m7i-flex.large", "us-east-1", "$0.18316"),
        ] {
            assert_eq!(on_demand(kind, place, Software::Windows).as_deref(), Some(price), "{kind} in {place}");
        }
    }

    #[test]
    fn what_the_table_does_not_know_has_no_price() {
        for (kind, place) in [
            ("m7i.3xlarge", "us-east-1"),
            ("m7i.metal-24xl", "us-east-1"),
            ("m99.large", "us-east-1"),
            ("m7i", "us-east-1"),
            ("", "us-east-1"),
            ("m7i.large", "us-gov-west-1"),
            ("m7i.large", "mars-north-1"),
        ] {
            assert_eq!(on_demand(kind, place, Software::LinuxUnix), None, "{kind} in {place}");
        }
        // Windows does not run on Graviton.
        assert_eq!(on_demand("m7g.large", "us-east-1", Software::Windows), None);
        assert_eq!(storage_month("gp4", &region("us-east-1"), 1), None);
        assert_eq!(storage_month("gp3", &region("mars-north-1"), 1), None);
        assert_eq!(snapshot_month(&region("mars-north-1"), 1), None);
    }

    #[test]
    fn spot_is_anything_up_to_the_list_price() {
        let spot = hourly("m7i.large", &region("us-east-1"), Software::LinuxUnix, Market::Spot).expect("known");
        assert_eq!(spot, Range::up_to(Money::micro_dollars(100_800)));
    }

    #[test]
    fn storage_and_addresses_cost_what_the_list_says() {
        let virginia = region("us-east-1");
        assert_eq!(storage_month("gp3", &virginia, 100).expect("known").to_string(), "$8.00");
        assert_eq!(storage_month("gp3", &region("eu-central-1"), 30).expect("known").to_string(), "$2.86");
        assert_eq!(snapshot_month(&virginia, 30).expect("known").to_string(), "$0.00..$1.50");
        assert_eq!(address_month().to_string(), "$3.65");
        for kind in ["gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"] {
            assert!(storage_month(kind, &virginia, 1).is_some(), "{kind}");
        }
    }

    #[test]
    fn a_short_run_costs_a_minute_and_a_long_one_its_seconds() {
        let hour = Range::exactly(Money::micro_dollars(100_800));
        assert_eq!(run(hour, 20), run(hour, 60));
        assert_eq!(run(hour, 60), Range::exactly(Money::micro_dollars(1_680)));
        assert_eq!(run(hour, 3_600), hour);
        // A part of a micro-dollar is rounded up: the answer is a bound.
        assert_eq!(run(Range::exactly(Money::micro_dollars(1)), 61), Range::exactly(Money::micro_dollars(1)));
    }

    #[test]
    fn what_a_licence_costs_is_not_guessed() {
        assert_eq!(Software::of(Platform::Freebsd), Some(Software::LinuxUnix));
        assert_eq!(Software::of(Platform::Macos), None);
        assert_eq!(Software::of_details("Windows"), Some(Software::Windows));
        assert_eq!(Software::of_details("Red Hat Enterprise Linux"), None);
    }

    #[test]
    fn every_part_tells_its_source() {
        assert!(as_of() >= NaiveDate::from_ymd_opt(2025, 1, 1).expect("a date"));
        assert!(!sources().is_empty());
        assert!(sources().iter().all(|s| !(s.what.is_empty() || s.from.is_empty() || s.as_of.is_empty())));
    }
}
