//! `latent ledger`: the record itself, read beside a running controller or from a copy.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};
use serde_json::json;

use super::args::Args;
use super::connect;
use super::exit::{CommandError, Exit};
use super::output::plain;
use super::whole;
use crate::ledger::{Fault, Noted, Row, SqliteReader, Verifier, Whole, line, read_line};

/// Rows read at a time.
const PAGE: usize = 10_000;
/// The longest line that is read, in bytes.
const LINE_MAX: u64 = 16 << 20;
/// How an SQLite file begins.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// About the ledger.
#[derive(Debug, Subcommand)]
pub(super) enum LedgerCommand {
    /// Prove that nothing in it was changed or left out, or tell the first place where it was
    Verify(VerifyOptions),
    /// Write its entries as JSON lines, each with its chain; the file can be verified as well
    Export(ExportOptions),
}

/// Options of `latent ledger verify`.
#[derive(Debug, Parser)]
#[command(after_help = super::exit::VERIFY_AFTER_HELP)]
pub(super) struct VerifyOptions {
    /// A file that was exported, or a ledger; - is standard input
    #[arg(value_name = "FILE", conflicts_with = "ledger")]
    file: Option<PathBuf>,
    /// The ledger, if not the one of the configuration
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// A chain that was noted before, and its entry: it must be in here
    #[arg(long, value_name = "HEX@SEQ")]
    head: Option<Noted>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Options of `latent ledger export`.
#[derive(Debug, Parser)]
pub(super) struct ExportOptions {
    /// The ledger, if not the one of the configuration
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Only entries after this place
    #[arg(long, value_name = "SEQ", conflicts_with = "since")]
    after: Option<u64>,
    /// Only entries from this time on, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<DateTime<Utc>>,
    /// Where to; standard output if not given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args, command: &LedgerCommand, out: &mut dyn Write) -> Result<Exit, CommandError> {
    match command {
        LedgerCommand::Verify(options) => verify(args, options, out),
        LedgerCommand::Export(options) => export(args, options, out),
    }
}

/// The ledger that is meant.
fn path(args: &Args, named: Option<&Path>) -> Result<PathBuf, CommandError> {
    match named {
        Some(path) => Ok(path.to_path_buf()),
        None => connect::intent(args).map(|(sources, intent)| sources.path(&intent.fleet.ledger)),
    }
}

fn verify(args: &Args, options: &VerifyOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (name, proven) = match &options.file {
        Some(file) if file == Path::new("-") => {
            ("standard input".to_owned(), verify_lines(file, BufReader::new(std::io::stdin()), options.head)?)
        }
        Some(file) if !is_sqlite(file)? => {
            let lines = BufReader::new(File::open(file).map_err(|error| unreadable(file, &error))?);
            (file.display().to_string(), verify_lines(file, lines, options.head)?)
        }
        named => {
            let path = path(args, named.as_deref().or(options.ledger.as_deref()))?;
            (path.display().to_string(), verify_file(&SqliteReader::open(&path)?, options.head)?)
        }
    };
    if options.json {
        let answer = match &proven {
            Ok(whole) => json!({
                "whole": true, "entries": whole.entries, "first": whole.first, "folded": whole.folded,
                "head": { "seq": whole.head.seq, "at": whole.head.at, "chain": whole.head.chain.to_string() },
            }),
            Err(fault) => json!({ "whole": false, "fault": fault }),
        };
        writeln!(out, "{}", connect::pretty(&answer)?)?;
    } else {
        let said = proven.as_ref().map_or_else(|fault| format!("not whole: {fault}"), |whole| told(whole, options));
        writeln!(out, "{}", plain(&format!("{name}: {said}")))?;
    }
    Ok(if proven.is_ok() { Exit::Done } else { Exit::NotWhole })
}

fn told(whole: &Whole, options: &VerifyOptions) -> String {
    let Whole { entries, first, head, folded } = whole;
    let part = if *folded { String::new() } else { format!(", from {first} on (what was before is not in here)") };
    let at = head.at.map(|at| format!(" of {}", at.format("%Y-%m-%d %H:%M:%SZ"))).unwrap_or_default();
    let end = if options.head.is_some() { "" } else { "; whether more followed only a noted --head tells" };
    let entries = if *entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") };
    format!("whole: {entries}{part}; the last is {}{at}{end}; head {head}", head.seq)
}

fn verify_file(ledger: &SqliteReader, noted: Option<Noted>) -> Result<Result<Whole, Fault>, CommandError> {
    if ledger.is_chained() && ledger.strays()? > 0 {
        let what = "it stands before the first entry, where nothing was ever written".to_owned();
        return Ok(Err(Fault { seq: 0, what }));
    }
    let mut verifier = Verifier::whole(noted);
    let mut after = 0;
    loop {
        let rows = ledger.rows(after, PAGE)?;
        for row in &rows {
            if let Err(fault) = verifier.take(row) {
                return Ok(Err(fault));
            }
            after = row.seq;
        }
        if rows.len() < PAGE {
            return Ok(verifier.end());
        }
    }
}

fn verify_lines(
    file: &Path,
    mut lines: impl BufRead,
    noted: Option<Noted>,
) -> Result<Result<Whole, Fault>, CommandError> {
    let mut verifier: Option<Verifier> = None;
    let mut expected = 1;
    let mut text = String::new();
    loop {
        text.clear();
        let length = (&mut lines).take(LINE_MAX).read_line(&mut text).map_err(|error| unreadable(file, &error))?;
        if length == 0 {
            return Ok(verifier.unwrap_or_else(|| Verifier::whole(noted)).end());
        }
        let read = match read_line(&text) {
            Ok(read) => read,
            Err(what) => return Ok(Err(Fault { seq: expected, what })),
        };
        let begun = verifier.get_or_insert_with(|| match read.previous {
            Some(previous) => Verifier::part(read.seq.saturating_sub(1), previous, noted),
            None => Verifier::whole(noted),
        });
        expected = read.seq + 1;
        if let Err(fault) = begun.take(&Row::from(read)) {
            return Ok(Err(fault));
        }
    }
}

fn export(args: &Args, options: &ExportOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let path = path(args, options.ledger.as_deref())?;
    let ledger = SqliteReader::open(&path)?;
    match &options.output {
        None => write_all(&ledger, options, out)?,
        Some(file) if is_same(file, &path) => {
            let message = anyhow::anyhow!("-o {}: that is the ledger itself; name another file", file.display());
            return Err(CommandError::new(Exit::Usage, message));
        }
        Some(file) => whole::write(file, |to| write_all(&ledger, options, to))?,
    }
    Ok(Exit::Done)
}

/// Whether two names are those of one file, by whatever way.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    place(one).is_some_and(|place_of_one| place(other) == Some(place_of_one))
}

fn write_all(ledger: &SqliteReader, options: &ExportOptions, out: &mut dyn Write) -> Result<(), CommandError> {
    let mut after = match options.since {
        Some(since) => ledger.before(since)?,
        None => options.after.unwrap_or(0),
    };
    let mut previous = if after == 0 { None } else { ledger.chain_at(after)? };
    loop {
        let rows = ledger.rows(after, PAGE)?;
        for row in &rows {
            writeln!(out, "{}", line(row, previous.take()))?;
            after = row.seq;
        }
        if rows.len() < PAGE {
            return Ok(out.flush()?);
        }
    }
}

fn is_sqlite(file: &Path) -> Result<bool, CommandError> {
    let mut begin = Vec::new();
    let length = u64::try_from(SQLITE.len()).unwrap_or(u64::MAX);
    let read = File::open(file).and_then(|from| from.take(length).read_to_end(&mut begin));
    read.map(|_| begin == SQLITE).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &std::io::Error) -> CommandError {
    CommandError::new(Exit::Ledger, anyhow::anyhow!("{} cannot be read: {error}", file.display()))
}
