//! Looks at the accounts, by each owner's own way to act; the controller is asked as well if it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use serde::Deserialize;

use super::AmisOptions;
use super::print::{Report, Unseen, print};
use crate::cli::args::Args;
use crate::cli::connect;
use crate::cli::exit::{CommandError, Exit};
use crate::cloud::Cloud as _;
use crate::control::{Clock, SweepDoor};
use crate::ec2::Ec2;
use crate::link::Client;
use crate::model::{Ami, AmiId, Cell, Instance, OwnerName, ResourceKind};
use crate::plan::lineage::{AmiStarts, LineageView, lineage};
use crate::policy::{Intent, Owner};

/// How long a controller may take to tell what it knows of starts.
const ANSWER: Duration = Duration::from_secs(5);

/// What the controller answers.
#[derive(Deserialize)]
struct Answer {
    amis: Vec<AmiStarts>,
}

pub(in crate::cli) async fn run(args: &Args, options: &AmisOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (sources, intent) = connect::whole_intent(args)?;
    if let Some(name) = options.owner.as_ref().filter(|name| !intent.owners.contains_key(*name)) {
        let known: Vec<String> = intent.owners.keys().map(ToString::to_string).collect();
        let file = args.config.display();
        let message = anyhow::anyhow!("--owner {name}: {file} has no such owner; it has {}", known.join(", "));
        return Err(CommandError::new(Exit::Usage, message));
    }
    let clock = Clock::system();
    let socket = args.socket.clone().unwrap_or_else(|| sources.path(&intent.link.socket));
    let mut report = Report { at: clock.now(), cells: Vec::new(), unseen: Vec::new() };
    let starts = match starts(&clock, &Client::new(&socket)).await {
        Ok(starts) => starts,
        Err(why) => {
            report.unseen.push(Unseen { what: "starts of each generation".to_owned(), why });
            BTreeMap::new()
        }
    };
    let wanted = |owner: &OwnerName| options.owner.as_ref().is_none_or(|only| only == owner);
    let images = intent.images.values().filter(|image| wanted(&image.owner));
    let cells: BTreeSet<Cell> =
        images.map(|image| Cell { owner: image.owner.clone(), region: image.region.clone() }).collect();
    for cell in &cells {
        Box::pin(look(&clock, &intent, cell, &starts, &mut report)).await;
    }
    if options.json {
        writeln!(out, "{}", connect::pretty(&report)?)?;
    } else {
        print(&report, out)?;
    }
    let of_accounts = report.unseen.iter().any(|unseen| unseen.what != "starts of each generation");
    Ok(if of_accounts { Exit::Unexpected } else { Exit::Done })
}

/// What the controller knows of the starts from each AMI; else why not.
async fn starts(clock: &Clock, client: &Client) -> Result<BTreeMap<AmiId, AmiStarts>, String> {
    let answer = clock.within(ANSWER, client.get::<Answer>("/v1/amis")).await;
    let answer = answer.ok_or_else(|| format!("the controller did not answer within {} s", ANSWER.as_secs()))?;
    let answer = answer.map_err(|error| error.to_string())?;
    Ok(answer.amis.into_iter().map(|one| (one.ami.clone(), one)).collect())
}

/// One account in one region, with its owner's own way to act.
async fn look(clock: &Clock, intent: &Intent, cell: &Cell, starts: &BTreeMap<AmiId, AmiStarts>, report: &mut Report) {
    let unseen = |what: &str, why: String| Unseen { what: format!("{cell}: {what}"), why };
    let Some(owner) = intent.owners.get(&cell.owner) else { return };
    let door = Ec2::bare(cell.region.clone(), owner.clone(), &intent.fleet.name);
    if let Err(why) = right_account(&door, owner).await {
        report.unseen.push(unseen("the account", why));
        return;
    }
    let door = SweepDoor::new(cell.region.clone(), door, clock.now());
    let survey = Box::pin(door.survey_of(clock, &[ResourceKind::Instance, ResourceKind::Ami])).await;
    for gap in &survey.gaps {
        report.unseen.push(unseen(gap.kind.plural(), gap.failure.to_string()));
    }
    if survey.gaps.iter().any(|gap| gap.kind == ResourceKind::Ami) {
        return;
    }
    let amis: Vec<Ami> = survey.amis().cloned().collect();
    let instances: Vec<Instance> = survey.instances().cloned().collect();
    let workers = intent.workers.iter().map(|(name, worker)| (name.clone(), worker.image.clone())).collect();
    report.cells.push(lineage(&LineageView {
        now: report.at,
        fleet: &intent.fleet.name,
        cell,
        images: &intent.images,
        workers: &workers,
        amis: &amis,
        instances: &instances,
        starts,
        max_age: intent.requirements.max_ami_age,
    }));
}

/// The account by its number: what another one holds says nothing of this owner's.
async fn right_account(door: &Ec2, owner: &Owner) -> Result<(), String> {
    let found = door.account().await.map_err(|error| format!("{error}; {}", error.kind.cure()))?;
    match &owner.account {
        Some(number) if *number != found => {
            Err(format!("the credentials act in account {found}, and the configuration says {number}"))
        }
        _ => Ok(()),
    }
}
