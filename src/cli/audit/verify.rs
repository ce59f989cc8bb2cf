//! `latent audit --verify`: a report is made again from the ledger, as it was then.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use super::AuditOptions;
use super::{accounts, ledger};
use crate::audit::report::{REPORT_VERSION, Report};
use crate::audit::{Evidence, Verdict, build, reach, verify};
use crate::cli::args::Args;
use crate::cli::exit::{AuditExit, CommandError, Exit};
use crate::cli::output::plain;
use crate::control::Clock;
use crate::model::OwnerName;

/// The largest report that is read, in bytes.
const REPORT_BYTES_MAX: u64 = 256 << 20;

pub(super) async fn run(
    args: &Args,
    options: &AuditOptions,
    file: &Path,
    clock: &Clock,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let report = read(file)?;
    let owner: OwnerName = report.owner.parse().map_err(|error| usage(file, &format!("its owner: {error}")))?;
    let Some(mark) = &report.ledger else {
        return Err(usage(file, "it was made without a ledger, so nothing can make it again"));
    };
    let work = accounts::work(args, options)?;
    let part = ledger::Part { since: reach(report.since, report.until), upto: Some(mark.seq) };
    let kept = ledger::read(args, options, &work, part, clock).await;
    if let Err(missing) = kept.record() {
        return Err(CommandError::new(Exit::Ledger, anyhow::anyhow!("nothing was verified: {}", missing.why)));
    }
    // A ledger that only the controller could be asked for tells no chain: then that of the report stands.
    let file_chain = ledger::path(&work, options).and_then(|path| ledger::chain_of(&path, mark.seq));
    let kept = kept.with_chain(file_chain.or_else(|| mark.chain.clone()));
    let regions = report.regions.iter().filter_map(|region| region.parse().ok());
    let evidence = Evidence {
        now: report.written_at,
        since: report.since,
        until: report.until,
        fleet: &work.fleet,
        controller: work.intent.as_ref().map(|intent| intent.fleet.controller.as_str()),
        owner: &owner,
        account: report.account.as_deref(),
        whole_account: work.intent.is_none(),
        prices: crate::cli::prices::of_an_audit(&args.config, report.written_at),
        shared_account: false,
        only: if report.regions.is_empty() { BTreeSet::new() } else { regions.collect() },
        ledger: kept.record(),
        regions: BTreeMap::new(),
        intent: work.intent.as_ref(),
        rebakes: ledger::rebakes(&work, options, &kept),
        findings: Vec::new(),
    };
    let verdict = verify(&report, &build(&evidence));
    print(file, &verdict, out)?;
    Ok(if verdict.differs.is_empty() { Exit::Done } else { Exit::Audit(AuditExit::Differs) })
}

fn usage(file: &Path, what: &str) -> CommandError {
    CommandError::new(Exit::Usage, anyhow::anyhow!("--verify {}: {what}", file.display()))
}

fn read(file: &Path) -> Result<Report, CommandError> {
    let failed = |error: std::io::Error| usage(file, &format!("cannot be read: {error}"));
    let length = std::fs::metadata(file).map_err(failed)?.len();
    if length > REPORT_BYTES_MAX {
        return Err(usage(file, &format!("it has {length} bytes, and a report has {REPORT_BYTES_MAX} at most")));
    }
    let text = std::fs::read_to_string(file).map_err(failed)?;
    let cure = "write one with latent audit --format json";
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| usage(file, &format!("is no JSON: {error}; {cure}")))?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(REPORT_VERSION) => {}
        Some(version) => {
            let what = format!("has version {version}, and this latent reads {REPORT_VERSION}; {cure}");
            return Err(usage(file, &what));
        }
        None => return Err(usage(file, &format!("is no report; {cure}"))),
    }
    serde_json::from_value(value).map_err(|error| usage(file, &format!("is no report: {error}; {cure}")))
}

fn print(file: &Path, verdict: &Verdict, out: &mut dyn Write) -> Result<(), CommandError> {
    for one in &verdict.differs {
        let line = format!("{}: the report says {}, the ledger {}", one.field, one.report, one.should);
        writeln!(out, "{}", plain(&line))?;
    }
    for what in &verdict.unchecked {
        writeln!(out, "not checked: {}", plain(what))?;
    }
    let name = plain(&file.display().to_string());
    match verdict.differs.len() {
        0 => writeln!(out, "{name}: confirmed, {} fields are what the ledger says", verdict.compared)?,
        some => writeln!(out, "{name}: {some} of {} fields differ", verdict.compared)?,
    }
    Ok(())
}
