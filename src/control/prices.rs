//! Asks Amazon's Price List for the prices of a region's types.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;

use super::Clock;
use crate::cloud::Records;
use crate::model::{Region, Unseen};
use crate::policy::price::{PriceEntry, Software, list_attributes, read_list};

/// The longest that one question may take; the first one may have to assume a role before.
const CALL: Duration = Duration::from_secs(30);

/// What the list says of each type: a price, or why there is none.
///
/// # Errors
/// [`Unseen`] of the first question that was refused: what a list of prices lacks is not known then.
pub async fn ask_prices<R: Records>(
    clock: &Clock,
    records: &R,
    region: &Region,
    types: &BTreeSet<(String, Software)>,
) -> Result<Vec<PriceEntry>, Unseen> {
    let mut entries = Vec::new();
    for (instance_type, software) in types {
        let asked = list_attributes(instance_type, region, *software);
        let answer = clock.within(CALL, Box::pin(records.products(&asked))).await;
        let late = || Unseen::late(TimeDelta::from_std(CALL).unwrap_or(TimeDelta::zero()));
        let products = answer.ok_or_else(late)?.map_err(Unseen::from)?;
        let found = read_list(&products, instance_type);
        entries.push(PriceEntry {
            region: region.clone(),
            instance_type: instance_type.clone(),
            software: *software,
            hourly: found.as_ref().ok().map(|listed| listed.hourly),
            published: found.as_ref().ok().and_then(|listed| listed.published),
            unknown: found.err().map(|why| why.to_string()),
        });
    }
    Ok(entries)
}
