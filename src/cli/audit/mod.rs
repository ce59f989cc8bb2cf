//! `latent audit`: an owner's report from the ledger, the account and CloudTrail.

mod accounts;
#[cfg(feature = "ec2")]
mod ground;
mod ledger;
mod since;
mod verify;
mod write;

use std::io::Write;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Parser;

use self::accounts::{Whose, Work};
use self::ledger::Kept;
#[cfg(any(feature = "ec2", test))]
pub(in crate::cli) use self::ledger::journals;
use super::args::Args;
use super::connect;
use super::exit::{AUDIT_AFTER_HELP, AuditExit, CommandError, Exit};
use crate::audit::render::Format;
use crate::audit::report::Report;
use crate::audit::{Evidence, build, is_complete, reach};
use crate::control::Clock;
use crate::model::{OwnerName, Region};

/// Whose report, of which period, and how it is written.
#[derive(Debug, Parser)]
#[command(after_help = AUDIT_AFTER_HELP)]
pub(in crate::cli) struct AuditOptions {
    /// Only this owner's; without it, one report for each owner of the configuration
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) owner: Option<OwnerName>,
    /// From when on: a length such as 30d or 12h, or a day or a time such as 2026-11-01
    #[arg(long, default_value = "30d", value_parser = since::parse, value_name = "WHEN")]
    pub(in crate::cli) since: since::Since,
    /// Only this region; may be repeated. Without it, those of the owner's images
    #[arg(long = "region", value_name = "REGION")]
    pub(in crate::cli) regions: Vec<Region>,
    /// How it is written; without it by the ending of the file, as text to a terminal
    #[arg(long, value_enum)]
    pub(in crate::cli) format: Option<Format>,
    /// Where it is written; a folder gets a file for each owner
    #[arg(long, short, value_name = "FILE")]
    pub(in crate::cli) output: Option<PathBuf>,
    /// A ledger, or a copy of one, that is only read; without it the configured one, or the controller is asked
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) ledger: Option<PathBuf>,
    /// Do not look at the account: the ledger alone
    #[arg(long, conflicts_with_all = ["fleet", "profile", "role_arn"])]
    pub(in crate::cli) offline: bool,
    /// Without a configuration: the fleet, as the tag latent:fleet has it; the credentials at hand are used
    #[arg(long, value_name = "NAME", requires = "regions")]
    pub(in crate::cli) fleet: Option<String>,
    /// A profile of the shared AWS configuration, instead of the configured credentials
    #[arg(long, value_name = "PROFILE")]
    pub(in crate::cli) profile: Option<String>,
    /// A role to assume, such as that of latent iam --role audit, instead of the configured credentials
    #[arg(long, value_name = "ARN")]
    pub(in crate::cli) role_arn: Option<String>,
    /// The external id that the role demands
    #[arg(long, value_name = "ID", requires = "role_arn")]
    pub(in crate::cli) external_id: Option<String>,
    /// Make a report again from the ledger, and say what differs
    #[arg(long, value_name = "REPORT.json", conflicts_with_all = ["owner", "regions", "format", "output", "fleet"])]
    pub(in crate::cli) verify: Option<PathBuf>,
    /// Print the JSON Schema of a report, and do nothing else
    #[arg(long, exclusive = true)]
    pub(in crate::cli) schema: bool,
}

pub(in crate::cli) async fn run(
    args: &Args,
    options: &AuditOptions,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    if options.schema {
        writeln!(out, "{}", connect::pretty(&schemars::schema_for!(Report))?)?;
        return Ok(Exit::Done);
    }
    let clock = Clock::system();
    if let Some(file) = &options.verify {
        return verify::run(args, options, file, &clock, out).await;
    }
    let work = accounts::work(args, options)?;
    let place =
        write::Place::of(options, work.owners.len()).ok_or_else(|| several(&work.owners, options.output.is_some()))?;
    let mut outgoing = write::Outgoing::new(place, out);
    let made = reports(args, options, &work, &mut outgoing, &clock).await;
    let written = outgoing.end().await;
    made.and_then(|exit| written.map(|()| exit))
}

/// The report of every owner; while one is written the next one is made.
async fn reports(
    args: &Args,
    options: &AuditOptions,
    work: &Work,
    outgoing: &mut write::Outgoing<'_>,
    clock: &Clock,
) -> Result<Exit, CommandError> {
    let (mut exit, mut kept) = (Exit::Done, None);
    for whose in &work.owners {
        let (report, complete) = Box::pin(report(args, options, work, whose, &mut kept, clock)).await?;
        outgoing.take(report, &whose.name).await?;
        if !complete {
            exit = Exit::Audit(AuditExit::Unseen);
        }
    }
    Ok(exit)
}

/// One owner's report, and whether everything was seen that was to be looked at. `kept` is what was read of the ledger
/// for the owner before.
async fn report(
    args: &Args,
    options: &AuditOptions,
    work: &Work,
    whose: &Whose,
    kept: &mut Option<Kept>,
    clock: &Clock,
) -> Result<(Report, bool), CommandError> {
    let begun = clock.now();
    let since = options.since.before(begun);
    in_order(since, begun)?;
    let looked = accounts::look(options, work, whose, since, clock).await;
    // After the look: whatever the cloud shows was intended before.
    let part = ledger::Part { since: reach(since, clock.now()), upto: None };
    let read = ledger::read_on(kept.take(), args, options, work, part, clock).await;
    let kept = kept.insert(read);
    if let (Some(_), Err(missing)) = (&options.ledger, kept.record()) {
        return Err(CommandError::new(Exit::Ledger, anyhow::anyhow!("nothing was reported: {}", missing.why)));
    }
    let until = clock.now();
    let prices = super::prices::of_an_audit(&args.config, until);
    let estimates = prices.as_ref().cloned().unwrap_or_default();
    let findings = accounts::findings(work, whose, &looked, kept, until, &estimates)?;
    let evidence = Evidence {
        now: until,
        since,
        until,
        fleet: &work.fleet,
        controller: work.intent.as_ref().map(|intent| intent.fleet.controller.as_str()),
        owner: &whose.name,
        account: looked.account.as_deref().or(whose.owner.account.as_deref()),
        whole_account: work.intent.is_none(),
        prices,
        shared_account: work.shares(whose),
        only: options.regions.iter().cloned().collect(),
        ledger: kept.record(),
        regions: looked.regions,
        intent: work.intent.as_ref(),
        rebakes: ledger::rebakes(work, options, kept),
        findings,
    };
    let complete = is_complete(&evidence, options.offline);
    Ok((build(&evidence), complete))
}

fn in_order(since: DateTime<Utc>, until: DateTime<Utc>) -> Result<(), CommandError> {
    if since < until {
        return Ok(());
    }
    let message = format!("--since {}: that is not past; write 30d, 12h or 2026-11-01", since.format("%Y-%m-%d %H:%M"));
    Err(CommandError::new(Exit::Usage, anyhow::anyhow!(message)))
}

/// Several owners, and one place: each is told nothing of the others.
fn several(owners: &[Whose], given: bool) -> CommandError {
    if owners.is_empty() {
        return CommandError::new(Exit::Usage, anyhow::anyhow!("the configuration has no owner: nothing is reported"));
    }
    let names: Vec<String> = owners.iter().map(|whose| whose.name.to_string()).collect();
    let cure = if given { "-o must be a folder then (FOLDER/)" } else { "say --owner NAME, or -o FOLDER/" };
    let message = anyhow::anyhow!("there are {} owners: {}; {cure}", names.len(), names.join(", "));
    CommandError::new(Exit::Usage, message)
}
