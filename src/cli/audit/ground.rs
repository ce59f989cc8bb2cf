//! Looks at an owner's account, by the owner's own way to act in it. It changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::accounts::{Looked, Whose, Work, not_looked};
use crate::audit::{Look, Missing};
use crate::cloud::{Cloud as _, CloudError, Records as _};
use crate::control::{Clock, SweepDoor, read_trail};
use crate::ec2::Ec2;
use crate::model::{Region, SpotPrice};

/// CloudTrail is asked from so long before the period on: what runs in it may have been started then.
const LEAD: TimeDelta = TimeDelta::days(7);
/// How long the history of spot prices may take to come.
const ANSWER: Duration = Duration::from_mins(2);

/// What there is in each region, what CloudTrail tells and what spot capacity cost since then.
pub(super) async fn look(work: &Work, whose: &Whose, since: DateTime<Utc>, clock: &Clock) -> Looked {
    let Some(first) = whose.regions.first() else {
        return not_looked(whose, &Missing::new("no image of the owner's names a region", "say --region REGION"));
    };
    let door = |region: &Region| Ec2::bare(region.clone(), whose.owner.clone(), &work.fleet).auditing();
    let account = match door(first).account().await {
        Ok(number) => number,
        Err(error) => return not_looked(whose, &refused("GetCallerIdentity", &error)),
    };
    if let Some(number) = whose.owner.account.as_ref().filter(|number| **number != account) {
        let why = format!("the credentials act in account {account}, and the configuration says {number}");
        return not_looked(whose, &Missing::new(why, "use the owner's own credentials"));
    }
    let mut regions = BTreeMap::new();
    for region in &whose.regions {
        let (list, records) = (SweepDoor::new(region.clone(), door(region), clock.now()), door(region));
        let look = Box::pin(at(&list, &records, &whose.spot_types, since, clock)).await;
        regions.insert(region.clone(), look);
    }
    Looked { account: Some(account), regions }
}

/// One region.
async fn at(
    list: &SweepDoor<Ec2>,
    records: &Ec2,
    types: &BTreeSet<String>,
    since: DateTime<Utc>,
    clock: &Clock,
) -> Look {
    let survey = Box::pin(list.survey(clock)).await;
    let trail = read_trail(clock, records, since - LEAD, clock.now()).await;
    let spot = Box::pin(spot(records, types, since, clock)).await;
    Look { survey: Ok(survey), trail: Ok(trail), spot }
}

/// What spot capacity cost, of the types that were seen.
async fn spot(
    door: &Ec2,
    wanted: &BTreeSet<String>,
    since: DateTime<Utc>,
    clock: &Clock,
) -> Result<Vec<SpotPrice>, Missing> {
    let products = ["Linux/UNIX", "Windows"].map(ToOwned::to_owned);
    let types: Vec<String> = wanted.iter().cloned().collect();
    if types.is_empty() {
        return Ok(Vec::new());
    }
    let asked = Box::pin(clock.within(ANSWER, door.spot_prices(&types, &products, since, clock.now()))).await;
    let late = || Missing::new("ec2:DescribeSpotPriceHistory: no answer in time", "try again later");
    asked.ok_or_else(late)?.map_err(|error| refused("ec2:DescribeSpotPriceHistory", &error))
}

fn refused(action: &str, error: &CloudError) -> Missing {
    Missing::new(format!("{action}: {error}"), error.kind.cure())
}
