//! The check-up: what a careful colleague would look at before a worker is trusted, and what to do about it.
//!
//! [`questions`] says what is asked of a cell, [`trials`] what is tried there as a dry run, and [`rows`]
//! judges what came of it. What could not be seen is unknown, never right.

mod account;
mod ask;
mod facts;
mod guest;
mod machine;
mod network;
mod pool;
mod quota;
mod row;

pub use ask::{Questions, SWEPT, Scope, questions, trials};
pub use facts::{AmiListing, CellFacts, FleetFacts};
pub use row::{Row, Subject, Verdict, worst};

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::model::Cell;
use crate::policy::Intent;
use row::Sheet;

/// Every row of a check-up: the fleet's, then each cell's and those of its images, in order.
pub fn rows(
    now: DateTime<Utc>,
    intent: &Intent,
    scope: &Scope,
    fleet: &FleetFacts,
    cells: &BTreeMap<Cell, CellFacts>,
) -> Vec<Row> {
    let mut rows = fleet_rows(intent, scope, fleet);
    for (cell, facts) in cells {
        rows.extend(cell_rows(now, intent, scope, fleet, cell, facts));
    }
    rows
}

/// The rows of one cell and of its images.
pub fn cell_rows(
    now: DateTime<Utc>,
    intent: &Intent,
    scope: &Scope,
    fleet: &FleetFacts,
    cell: &Cell,
    facts: &CellFacts,
) -> Vec<Row> {
    let asked = questions(intent, scope, cell);
    let mut rows = account::rows(intent, cell, &asked, facts);
    if facts.open(intent, cell).is_err() {
        return rows;
    }
    for (name, workers) in &asked.images {
        let Some(image) = intent.images.get(name) else { continue };
        let mut sheet = Sheet::new(Subject::image(cell, name, workers));
        machine::examine(&mut sheet, now, intent, image, facts);
        network::examine(&mut sheet, intent, image, facts, fleet);
        guest::examine(&mut sheet, image, facts);
        pool::examine(&mut sheet, intent, image, workers, facts);
        account::launches(&mut sheet, image, name, facts);
        rows.extend(sheet.rows);
    }
    rows
}

/// The rows that need no account: the master, the controller, and owners who have nothing to look at.
pub fn fleet_rows(intent: &Intent, scope: &Scope, fleet: &FleetFacts) -> Vec<Row> {
    let mut rows = from_here(intent, fleet);
    let cells = scope.cells(intent);
    for owner in scope.owners(intent).filter(|owner| !cells.iter().any(|cell| cell.owner == **owner)) {
        let mut sheet = Sheet::new(Subject::owner(owner));
        let cure = "add a manifest to amis/ and a worker that uses it";
        sheet.warning("workers", "no worker of this owner is configured: nothing was looked at", cure);
        rows.extend(sheet.rows);
    }
    rows
}

fn from_here(intent: &Intent, fleet: &FleetFacts) -> Vec<Row> {
    let mut sheet = Sheet::new(Subject::default());
    match (&intent.fleet.master, &fleet.master) {
        (Some(master), Some(Ok(()))) => {
            sheet.ok("master", format!("{master} accepts a connection from this machine"));
        }
        (Some(master), Some(Err(why))) => sheet.problem(
            "master",
            format!("{master} cannot be reached from this machine: {}", why.message),
            "start the master, correct [fleet] master, or open the way to it",
        ),
        (Some(_), None) => sheet.unknown("master", "was not tried", "run `latent doctor` again"),
        (None, _) => sheet.unknown(
            "master",
            "latent.toml does not say where it is",
            "write [fleet] master = \"host:port\"; the way out of each security group is checked against it too",
        ),
    }
    match &fleet.controller {
        Ok(warnings) => match warnings.first() {
            None => sheet.ok("controller", "answers, and has no warning"),
            Some(first) => {
                let more =
                    if warnings.len() > 1 { format!(" (and {} more)", warnings.len() - 1) } else { String::new() };
                let seen = format!("answers, and warns: {first}{more}");
                sheet.warning("controller", seen, "see `latent status`");
            }
        },
        Err(why) => {
            let cure = "start `latent serve`, or let the master's plugin do it at the next build";
            sheet.warning("controller", &why.message, cure);
        }
    }
    sheet.rows
}
