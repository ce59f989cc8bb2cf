//! How a sweep looks: a table, CSV, JSON, one line.

use std::fmt::Write as _;
use std::io::Write;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use textwrap::Options;

use super::OutputOptions;
use crate::cli::exit::CommandError;
use crate::cli::output::{ago, colour, line_width, plain};
use crate::control::{Deed, Stayed};
use crate::model::counted;
use crate::plan::sweep::{Act, Finding, PlanFile, Skipped, SweepPlan};
use crate::policy::price::Money;

/// Everything that a sweep has to say.
#[derive(Debug)]
pub(super) struct Told {
    /// What was found and decided.
    pub(super) plan: SweepPlan,
    /// What was done about it, if anything was to be done.
    pub(super) outcome: Option<Outcome>,
    /// Somebody saw the findings already, to be asked about them.
    pub(super) shown: bool,
    /// The command that does what the plan says, unless it is being done.
    pub(super) command: Option<String>,
    /// How many calls were sent so far, every page of a listing counted.
    pub(super) calls: u64,
}

/// What was done.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct Outcome {
    /// Calls that were accepted.
    pub(super) done: Vec<DoneLine>,
    /// Calls that were refused.
    pub(super) failed: Vec<DoneLine>,
    /// What changed since the plan was made, and was left.
    pub(super) skipped: Vec<Skipped>,
    /// What is still there, or could not be seen to be gone.
    pub(super) stayed: Vec<DoneLine>,
}

/// One thing that was done, or was not.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DoneLine {
    id: String,
    region: String,
    what: String,
}

impl DoneLine {
    /// Whether it is about this.
    pub(super) fn is(&self, id: &str) -> bool {
        self.id == id
    }
}

impl Outcome {
    pub(super) fn of(deeds: &[Deed], stayed: Vec<Stayed>, skipped: Vec<Skipped>) -> Self {
        let line = |deed: &Deed, what: String| DoneLine {
            id: deed.finding.id.clone(),
            region: deed.finding.region.to_string(),
            what,
        };
        let mut outcome = Self { skipped, ..Self::default() };
        for deed in deeds {
            match &deed.result {
                Ok(()) => outcome.done.push(line(deed, past(&deed.finding).to_owned())),
                Err(error) => outcome.failed.push(line(deed, error.to_string())),
            }
        }
        let stays =
            stayed.into_iter().map(|one| DoneLine { id: one.id, region: one.region.to_string(), what: one.what });
        outcome.stayed.extend(stays);
        outcome
    }
}

fn verb(finding: &Finding) -> &'static str {
    finding.act.verb(finding.resource().map(|id| id.kind()))
}

fn past(finding: &Finding) -> &'static str {
    match verb(finding) {
        "stop" => "stopped",
        "terminate" => "terminated",
        "delete" => "deleted",
        "release" => "released",
        "cancel" => "cancelled",
        "deregister" => "deregistered",
        "mark" => "marked",
        other => other,
    }
}

/// A cost per month as people read it.
fn cost(finding: &Finding) -> String {
    finding.monthly.map_or_else(|| "unknown".to_owned(), |range| range.to_string())
}

/// Prints in the form that was asked for.
pub(super) fn print(told: &Told, how: &OutputOptions, out: &mut dyn Write) -> Result<(), CommandError> {
    if how.json {
        return json(told, out);
    }
    if how.csv {
        return csv(told, out);
    }
    if !how.quiet {
        full(told, how.verbose, out)?;
    }
    let nothing = told.plan.findings.is_empty() && told.plan.complete() && told.outcome.is_none();
    if !(how.quiet && nothing) {
        writeln!(out, "{}", summary(told))?;
    }
    if let Some(next) = next(told).filter(|_| !how.quiet) {
        writeln!(out, "{next}")?;
    }
    Ok(())
}

/// What a person does next, if there is anything to do.
fn next(told: &Told) -> Option<String> {
    let plan = &told.plan;
    let again = "Look again in a while: the second look decides.".to_owned();
    if told.outcome.is_some() {
        return plan.findings.iter().any(|finding| matches!(finding.act, Act::Mark | Act::Wait)).then_some(again);
    }
    let command = told.command.as_ref()?;
    if let Some(guard) = &plan.refused {
        return Some(format!("Nothing would be done now: {guard}"));
    }
    if plan.acts().next().is_some() {
        return Some(format!("To do what the table says: {command}"));
    }
    plan.findings.iter().any(|finding| finding.act == Act::Wait).then_some(again)
}

fn full(told: &Told, verbose: bool, out: &mut dyn Write) -> Result<(), CommandError> {
    let plan = &told.plan;
    if !plan.findings.is_empty() && !told.shown {
        findings(plan, plan.taken_at, out)?;
    }
    if verbose {
        for kept in &plan.kept {
            writeln!(out, "kept {} {}: {}", kept.region, kept.id, plain(&kept.why))?;
        }
    }
    for gap in &plan.gaps {
        writeln!(out, "not seen: {}", plain(&gap.to_string()))?;
    }
    if let Some(outcome) = &told.outcome {
        for line in &outcome.done {
            writeln!(out, "{} {}: {}", line.region, line.id, line.what)?;
        }
        for line in &outcome.failed {
            writeln!(out, "{} {} {}: {}", painted("31", "FAILED"), line.region, line.id, plain(&line.what))?;
        }
        for skipped in &outcome.skipped {
            writeln!(out, "skipped {}: {}", skipped.id, plain(&skipped.why))?;
        }
        for line in &outcome.stayed {
            writeln!(out, "{} {} {}: {}", painted("31", "STILL THERE"), line.region, line.id, plain(&line.what))?;
        }
    }
    Ok(())
}

/// A line of columns for each finding, and beneath it why. An id is never broken: it must be copied.
fn findings(plan: &SweepPlan, now: DateTime<Utc>, out: &mut dyn Write) -> Result<(), CommandError> {
    let header = ["ID", "KIND", "AGE", "$/MONTH", "DO", "REGION"].map(str::to_owned);
    let rows: Vec<[String; 6]> = plan.findings.iter().map(|finding| columns(finding, now)).collect();
    let widths: [usize; 6] = std::array::from_fn(|column| {
        rows.iter().chain([&header]).map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    let line = |row: &[String; 6]| {
        let padded = row.iter().zip(widths).map(|(text, width)| format!("{text:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    writeln!(out, "{}", painted("1", &line(&header)))?;
    for (row, finding) in rows.iter().zip(&plan.findings) {
        writeln!(out, "{}", painted(paint(finding.act), &line(row)))?;
        for text in why(finding) {
            let wrap = Options::new(line_width()).initial_indent("    ").subsequent_indent("    ");
            writeln!(out, "{}", textwrap::fill(&plain(&text), wrap))?;
        }
    }
    writeln!(out)?;
    Ok(())
}

/// The terminal's code for what is done: red takes away, yellow may at the next look.
fn paint(act: Act) -> &'static str {
    match act {
        Act::Terminate | Act::Stop => "31",
        Act::Mark | Act::Wait => "33",
        Act::Report => "",
    }
}

fn painted(code: &str, text: &str) -> String {
    if code.is_empty() || !colour() { text.to_owned() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}

fn columns(finding: &Finding, now: DateTime<Utc>) -> [String; 6] {
    let (act, region) = (verb(finding).to_owned(), finding.region.to_string());
    [finding.id.clone(), finding.kind.to_string(), ago(now, finding.since), cost(finding), act, region]
}

/// Why it counts as left over, what that rests on, and why not more is done.
fn why(finding: &Finding) -> Vec<String> {
    let name = finding.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let mut lines = vec![format!("{name}{}", finding.reason)];
    if !finding.evidence.is_empty() {
        lines.push(format!("evidence: {}", finding.evidence.join("; ")));
    }
    lines.extend(finding.note.clone());
    lines
}

/// One line, such as a mail from cron begins with.
pub(super) fn summary(told: &Told) -> String {
    let plan = &told.plan;
    let count = |act: Act| plan.findings.iter().filter(|finding| finding.act == act).count();
    let regions = match plan.regions.as_slice() {
        [one] => one.to_string(),
        several => format!("{} regions", several.len()),
    };
    let mut line = format!(
        "sweep of {} in {regions}: {} seen, {} of {}",
        plan.account,
        counted(plan.seen.instances, "instance"),
        counted(plan.seen.ours.values().sum::<usize>(), "resource"),
        plan.fleet.as_ref().map_or_else(|| "any fleet".to_owned(), |fleet| format!("fleet {}", plain(fleet))),
    );
    if !plan.kept.is_empty() {
        let _ = write!(line, ", {} left alone (-v says why)", plan.kept.len());
    }
    if plan.findings.is_empty() {
        line.push_str(", nothing left over");
    } else {
        let parts = [
            (count(Act::Terminate), "to take away"),
            (count(Act::Stop), "to stop"),
            (count(Act::Mark), "to mark"),
            (count(Act::Wait), "waiting for a second look"),
            (count(Act::Report), "only told"),
        ];
        let said: Vec<String> =
            parts.iter().filter(|(n, _)| *n > 0).map(|(number, what)| format!("{number} {what}")).collect();
        let _ = write!(line, ", {} left over ({})", plan.findings.len(), said.join(", "));
        let (sum, unknown) = plan.monthly();
        let _ = write!(line, ", {sum} a month");
        if unknown > 0 {
            let _ = write!(line, " and {unknown} of unknown price");
        }
    }
    if !plan.complete() {
        let _ = write!(line, "; {} NOT SEEN", counted(plan.gaps.len(), "listing"));
    }
    match &told.outcome {
        None => line.push_str("; nothing was changed"),
        Some(outcome) => {
            let counts = [&outcome.done, &outcome.failed, &outcome.stayed].map(Vec::len);
            let [done, failed, stayed] = counts;
            let skipped = outcome.skipped.len();
            let _ = write!(line, "; done {done}, failed {failed}, skipped {skipped}, still there {stayed}");
        }
    }
    line
}

#[derive(Serialize)]
struct JsonTold<'a> {
    #[serde(flatten)]
    file: PlanFile,
    calls: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a Outcome>,
}

fn json(told: &Told, out: &mut dyn Write) -> Result<(), CommandError> {
    let file = PlanFile::seal(told.plan.clone())
        .map_err(|error| CommandError::new(crate::cli::exit::Exit::Unexpected, error))?;
    let text = crate::cli::connect::pretty(&JsonTold { file, calls: told.calls, outcome: told.outcome.as_ref() })?;
    writeln!(out, "{text}")?;
    Ok(())
}

/// A cell that no spreadsheet takes for a formula: whoever may tag a resource writes it.
fn cell(text: &str) -> String {
    let text = plain(text);
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text }
}

fn csv(told: &Told, out: &mut dyn Write) -> Result<(), CommandError> {
    let io = |error: csv::Error| CommandError::from(std::io::Error::from(error));
    let mut rows = csv::Writer::from_writer(out);
    let header = [
        "account",
        "region",
        "id",
        "kind",
        "name",
        "fleet",
        "since",
        "act",
        "monthly_usd_low",
        "monthly_usd_high",
        "confidence",
        "reason",
        "evidence",
        "note",
    ];
    rows.write_record(header).map_err(io)?;
    for finding in &told.plan.findings {
        let confidence = serde_json::to_value(finding.confidence)?;
        let dollars = |money: Money| format!("{money:#}").trim_start_matches('$').to_owned();
        let (low, high) =
            finding.monthly.map_or_else(Default::default, |range| (dollars(range.low), dollars(range.high)));
        let since = finding.since.map(|at| at.to_rfc3339()).unwrap_or_default();
        let fields = [
            told.plan.account.clone(),
            finding.region.to_string(),
            finding.id.clone(),
            finding.kind.to_string(),
            cell(finding.name.as_deref().unwrap_or_default()),
            cell(finding.fleet.as_deref().unwrap_or_default()),
            since,
            verb(finding).to_owned(),
            low,
            high,
            confidence.as_str().unwrap_or_default().to_owned(),
            cell(&finding.reason),
            cell(&finding.evidence.join("; ")),
            cell(finding.note.as_deref().unwrap_or_default()),
        ];
        rows.write_record(fields).map_err(io)?;
    }
    rows.flush()?;
    Ok(())
}
