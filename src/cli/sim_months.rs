//! `latent sim months`: what months cost, by the ledger and by EC2's bill.

use std::io::Write;
use std::ops::Range;

use clap::Parser;

use super::exit::{CommandError, Exit};
use super::sim_run::seeds;
use crate::policy::price::{Money, Range as Amounts};
use crate::sim::run;

/// Which months.
#[derive(Debug, Parser)]
pub(super) struct MonthsOptions {
    /// The seeds to play: A..B, the last one not included
    #[arg(long, value_name = "A..B", default_value = "0..4", value_parser = seeds)]
    seeds: Range<u64>,
    /// Simulated hours of each
    #[arg(long, default_value_t = 720, value_parser = clap::value_parser!(u32).range(1..=8760))]
    hours: u32,
    /// Threads
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

pub(super) fn months(options: &MonthsOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let jobs = options.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let played = tokio::task::block_in_place(|| run::months(options.seeds.clone(), options.hours, jobs))?;
    writeln!(
        out,
        "| seed | EC2's bill | of it memory written | told by the ledger | off | instances | zombies |\n|{}",
        "---|".repeat(7)
    )?;
    for (seed, month) in &played.reckonings {
        let (billed, written) = (Money::micro_dollars(month.billed), Money::micro_dollars(month.written));
        let told = Amounts { low: Money::micro_dollars(month.low), high: Money::micro_dollars(month.high) };
        let percent = format!("{}.{:04} %", month.off() / 10_000, month.off() % 10_000);
        let zombies = format!("{} of {}", month.zombies, month.planted);
        writeln!(out, "| {seed} | {billed} | {written} | {told} | {percent} | {} | {zombies} |", month.instances)?;
    }
    for (seed, what) in &played.violations {
        writeln!(out, "seed {seed}: {what}")?;
    }
    let word = if played.violations.is_empty() { "ok" } else { "failed" };
    writeln!(out, "months {word}: seeds={} violations={}", played.reckonings.len(), played.violations.len())?;
    Ok(if played.violations.is_empty() { Exit::Done } else { Exit::Violated })
}
