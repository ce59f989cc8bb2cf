//! The table of prices, as `tools/prices/make_prices.py` writes it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::Money;

type ByRegion = BTreeMap<String, Money>;

/// Where a part of the prices is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Source {
    /// Which part.
    pub what: String,
    /// The table that it was taken from.
    pub from: String,
    /// Under which licence that table is published.
    pub licence: String,
    /// Of when it is: a date, or a year where the table tells no more.
    pub as_of: String,
    /// What else there is to say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Book {
    pub(super) as_of: NaiveDate,
    pub(super) sources: Vec<Source>,
    families: BTreeMap<String, Family>,
    /// Per GiB and month, by volume type.
    pub(super) volumes: BTreeMap<String, ByRegion>,
    /// Per GiB and month.
    pub(super) snapshots: ByRegion,
    pub(super) ipv4_hour: Money,
}

/// The types of a family cost in the same proportion everywhere.
#[derive(Debug, Deserialize)]
struct Family {
    /// The size whose price `linux` tells.
    reference: String,
    weights: BTreeMap<String, u64>,
    linux: ByRegion,
    /// What Windows adds, by size; a size that is not here does not run it, or nobody knows.
    windows: BTreeMap<String, Money>,
}

impl Family {
    fn hourly(&self, size: &str, region: &str, windows: bool) -> Option<Money> {
        let (weight, reference) = (self.weights.get(size)?, self.weights.get(&self.reference)?);
        let linux = self.linux.get(region)?.share_rounded(*weight, *reference)?;
        if windows { Some(linux + *self.windows.get(size)?) } else { Some(linux) }
    }
}

impl Book {
    pub(super) fn hourly(&self, instance_type: &str, region: &str, windows: bool) -> Option<Money> {
        let (family, size) = instance_type.split_once('.')?;
        self.families.get(family)?.hourly(size, region, windows)
    }
}

pub(super) fn get() -> &'static Book {
    static BOOK: LazyLock<Book> =
        LazyLock::new(|| serde_json::from_str(include_str!("prices.json")).expect("a table that the tests have read"));
    &BOOK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_sensible_price_in_each_of_its_regions() {
        let book = get();
        let (cheapest, dearest) = (Money::micro_dollars(2_000), Money::micro_dollars(100_000_000));
        let mut prices = 0;
        for (name, family) in &book.families {
            for (size, region) in family.weights.keys().flat_map(|s| family.linux.keys().map(move |r| (s, r))) {
                let kind = format!("{name}.{size}");
                let linux = book.hourly(&kind, region, false).expect("a price");
                assert!(cheapest < linux && linux < dearest, "{kind} in {region}: {linux:#}");
                if let Some(windows) = book.hourly(&kind, region, true) {
                    assert!(windows > linux, "{kind} in {region}");
                }
                prices += 1;
            }
            assert!(family.windows.keys().all(|size| family.weights.contains_key(size)), "{name}");
        }
        assert!(prices > 10_000, "{prices}");
    }

    #[test]
    fn a_larger_size_never_costs_less_where_sizes_are_in_proportion() {
        for (name, family) in get().families.iter().filter(|(_, family)| family.reference == "large") {
            let mut sizes: Vec<_> = family.weights.iter().collect();
            sizes.sort_by_key(|(_, weight)| **weight);
            for region in family.linux.keys() {
                let prices: Vec<_> = sizes.iter().filter_map(|(size, _)| family.hourly(size, region, false)).collect();
                assert!(prices.is_sorted(), "{name} in {region}");
            }
        }
    }

    #[test]
    fn no_region_costs_a_multiple_of_virginia() {
        for (name, family) in &get().families {
            let virginia = family.linux["us-east-1"];
            for (region, price) in &family.linux {
                let fair = virginia <= price.times(2) && *price <= virginia.times(2);
                assert!(fair, "{name} in {region}: {price:#}, in us-east-1 {virginia:#}");
            }
        }
    }

    #[test]
    fn every_volume_type_is_priced_and_a_gibibyte_costs_cents() {
        let book = get();
        for (kind, regions) in book.volumes.iter().map(|(k, r)| (k.as_str(), r)).chain([("snapshot", &book.snapshots)])
        {
            assert!(!regions.is_empty(), "{kind}");
            for (region, price) in regions {
                let (least, most) = (Money::micro_dollars(10_000), Money::micro_dollars(300_000));
                assert!(least < *price && *price < most, "{kind} in {region}: {price:#}");
            }
        }
    }
}
