//! The report of an owner's week, from what the controller itself knows: no account is asked.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use super::build::build;
use super::evidence::{Evidence, Look, Missing, Record, reach};
use super::report::Report;
use crate::control::{Controller, Story};
use crate::ledger::Ledger;
use crate::model::{OwnerName, RebakeEntry, Region};
use crate::policy::Intent;
use crate::policy::price::Prices;

/// How long the report's period is.
const WEEK: TimeDelta = TimeDelta::days(7);

/// What a report needs beside what the controller knows.
#[derive(Debug)]
pub struct Beside {
    /// The journals of rebakes, of whatever owner.
    pub rebakes: Result<Vec<Vec<RebakeEntry>>, Missing>,
    /// The list prices to go by.
    pub prices: Result<Prices, Missing>,
}

/// The report of an owner's last seven days; `None` of somebody who is not configured. It reads the ledger
/// of two weeks and more, and blocks meanwhile.
pub fn week<L: Ledger + 'static>(controller: &Controller<L>, owner: &OwnerName, beside: Beside) -> Option<Report> {
    let intent = controller.intent();
    let own = intent.owners.get(owner)?;
    let now = controller.now();
    let told = Story::read(controller, reach(now - WEEK, now), None);
    let record = match &told {
        Ok(story) => Ok(Record { story, from: "the controller's own ledger", chain: None }),
        Err(error) => Err(Missing { why: error.to_string(), cure: None }),
    };
    Some(build(&Evidence {
        now,
        since: now - WEEK,
        until: now,
        fleet: &intent.fleet.name,
        controller: Some(&intent.fleet.controller),
        owner,
        account: own.account.as_deref(),
        whole_account: false,
        shared_account: intent.owners.iter().any(|(name, other)| name != owner && own.may_share_account(other)),
        only: BTreeSet::new(),
        ledger: record,
        regions: regions(&intent, owner),
        prices: beside.prices,
        intent: Some(&intent),
        rebakes: beside.rebakes,
        findings: Vec::new(),
    }))
}

/// The owner's regions, of which nothing was asked.
fn regions(intent: &Intent, owner: &OwnerName) -> BTreeMap<Region, Look> {
    let why = "the week's report is made from the controller's ledger and asks no account";
    let not_asked = Missing::new(why, format!("latent audit --owner {owner} asks it"));
    let images = intent.images.values().filter(|image| image.owner == *owner).map(|image| &image.region);
    let cells = intent.workers.values().map(|worker| &worker.cell).filter(|cell| cell.owner == *owner);
    let all = images.chain(cells.map(|cell| &cell.region));
    let look = Look { survey: Err(not_asked.clone()), trail: Err(not_asked.clone()), spot: Err(not_asked) };
    all.map(|region| (region.clone(), look.clone())).collect()
}
