//! `latent sim run`, `walk` and `prove`: whole fleets in virtual time.

use std::io::Write;
use std::ops::Range;

use clap::Parser;

use super::exit::{CommandError, Exit};
use crate::control::Clock;
use crate::model::RebakeChannel;
use crate::sim::run::rebake::{Case, rebake_walk};
use crate::sim::run::{INVARIANTS, Outcome, Sabotage, Settings, Summary, run, run_all, shrink};
use crate::sim::{Fault, Weather};

/// How a run is made.
#[derive(Debug, Parser)]
pub(super) struct RunOptions {
    /// The seeds to play: A..B, the last one not included
    #[arg(long, value_name = "A..B", default_value = "0..100", value_parser = seeds)]
    seeds: Range<u64>,
    /// How bad it gets: calm, rough or storm
    #[arg(long, default_value = "rough", value_parser = weather)]
    weather: Weather,
    /// One fault's rate instead of the weather's (0 leaves it out); may be repeated
    #[arg(long = "fault", value_name = "NAME=RATE", value_parser = fault)]
    faults: Vec<(Fault, f64)>,
    /// Owners; the last one has calm weather
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    owners: u32,
    /// Workers, spread over the owners
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    workers: u32,
    /// Simulated hours in which builds are wanted
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8760))]
    hours: u32,
    /// So many builds of each worker, right at the beginning, instead of as chance has it
    #[arg(long, value_name = "N")]
    builds: Option<u32>,
    /// Ask for a canary of each worker, right at the beginning
    #[arg(long)]
    canary: bool,
    /// So many instances a day that carry our tags and that no controller launched
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100))]
    strays: u32,
    /// Kill the controller at this step (each call sent, done, answered, each write begun, ended)
    #[arg(long, value_name = "STEP")]
    crash_at: Option<u64>,
    /// Make this mistake on purpose, to see that it is found
    #[arg(long, value_name = "NAME", value_parser = sabotage)]
    sabotage: Option<Sabotage>,
    /// Threads
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Look for a smaller world in which the first violation shows
    #[arg(long)]
    shrink: bool,
    /// Play all seeds, whatever does not hold on the way
    #[arg(long)]
    keep_going: bool,
    /// How many events are told before something that must not happen; those of one worker with --about
    #[arg(long, value_name = "N", default_value_t = 40)]
    story: usize,
    /// Tell only events that name this: a worker, an instance, an action
    #[arg(long, value_name = "TEXT")]
    about: Vec<String>,
}

/// What is walked.
#[derive(Debug, Parser)]
pub(super) struct WalkOptions {
    /// The seeds to walk: image, market and policy differ from seed to seed
    #[arg(long, value_name = "A..B", default_value = "0..8", value_parser = seeds)]
    seeds: Range<u64>,
}

/// Which mistakes are made.
#[derive(Debug, Parser)]
pub(super) struct ProveOptions {
    /// The seeds within which each must be found
    #[arg(long, value_name = "A..B", default_value = "0..200", value_parser = seeds)]
    seeds: Range<u64>,
    /// Only this mistake
    #[arg(long, value_name = "NAME", value_parser = sabotage)]
    sabotage: Option<Sabotage>,
}

pub(super) fn seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.filter(|range| !range.is_empty()).ok_or_else(|| "write the seeds as 0..100, the second one larger".to_owned())
}

pub(super) fn weather(text: &str) -> Result<Weather, String> {
    text.parse().map_err(|_| format!("there is {}", Weather::NAMES.join(", ")))
}

fn sabotage(text: &str) -> Result<Sabotage, String> {
    let known = || Sabotage::ALL.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    text.parse().map_err(|_| format!("there is {}", known()))
}

/// Reads `NAME=RATE`.
pub(super) fn fault(text: &str) -> Result<(Fault, f64), String> {
    let Some((name, rate)) = text.split_once('=') else { return Err("write it as NAME=RATE".to_owned()) };
    let near = || {
        let names = Fault::ALL.iter().map(|fault| fault.name());
        let nearest = names.min_by_key(|known| strsim::damerau_levenshtein(known, name)).unwrap_or_default();
        format!("there is no fault {name:?}; did you mean {nearest}?")
    };
    let fault: Fault = name.parse().map_err(|_| near())?;
    let rate = rate.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate >= 0.0);
    rate.map(|rate| (fault, rate)).ok_or_else(|| format!("the rate of {fault} is a number from 0, {}", fault.unit()))
}

impl RunOptions {
    fn settings(&self) -> Settings {
        let mut weather = self.weather.clone();
        for (fault, rate) in &self.faults {
            weather.set(*fault, *rate);
        }
        Settings {
            weather,
            owners: self.owners,
            workers: self.workers,
            hours: self.hours,
            builds: self.builds,
            canary: self.canary,
            strays: self.strays,
            crash_at: self.crash_at,
            sabotage: self.sabotage,
            telling: false,
        }
    }
}

pub(super) fn play(options: &RunOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    if let Some((fault, _)) = options.faults.iter().find(|(fault, _)| !fault.is_played()) {
        let message = format!("--fault {fault}: no fleet meets it in process; `latent sim serve` plays it");
        return Err(CommandError::new(Exit::Usage, anyhow::anyhow!(message)));
    }
    let settings = options.settings();
    let jobs = options.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let clock = Clock::system();
    let began = clock.now();
    let played =
        tokio::task::block_in_place(|| run_all(&settings, options.seeds.clone(), jobs, options.keep_going, &|_| ()));
    let summary = played?;
    for (seed, outcome) in &summary.violations {
        tell(out, options, &settings, *seed, outcome)?;
    }
    if let Some((seed, _)) = summary.violations.first().filter(|_| options.shrink) {
        let smallest = apart(|| shrink(&settings, *seed, &mut |_| ()))?;
        writeln!(out, "smaller: {}", smallest.replay(*seed))?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let per_second = summary.seeds as f64 / ((clock.now() - began).num_milliseconds().max(1) as f64 / 1000.0);
    writeln!(out, "{}", closing(&summary, per_second))?;
    Ok(if summary.violations.is_empty() { Exit::Done } else { Exit::Violated })
}

fn closing(summary: &Summary, per_second: f64) -> String {
    let word = if summary.violations.is_empty() { "ok" } else { "failed" };
    format!(
        "sim {word}: seeds={} worker_days={:.0} crashes={} faults={} noticed={} proven={} invariants={} violations={} seeds_per_s={per_second:.1}",
        summary.seeds,
        summary.worker_days,
        summary.crashes,
        summary.faults,
        summary.noticed,
        summary.proven,
        INVARIANTS.len(),
        summary.violations.len(),
    )
}

/// What did not hold, the events before it, and how to see it again. The seed is played once more for it.
fn tell(
    out: &mut dyn Write,
    options: &RunOptions,
    settings: &Settings,
    seed: u64,
    outcome: &Outcome,
) -> Result<(), CommandError> {
    let Some(violation) = &outcome.violation else { return Ok(()) };
    writeln!(out, "seed {seed}, step {}: {violation}", outcome.steps)?;
    let told = Settings { telling: true, ..settings.clone() };
    let story = apart(|| run(&told, seed))?.map(|again| again.story).unwrap_or_default();
    let about = |line: &&String| options.about.is_empty() || options.about.iter().any(|text| line.contains(text));
    let lines: Vec<&String> = story.iter().filter(about).collect();
    for line in &lines[lines.len().saturating_sub(options.story)..] {
        writeln!(out, "  {}", line.trim_end())?;
    }
    Ok(writeln!(out, "again: {}", settings.replay(seed))?)
}

/// Walks lifecycles, and tells what did not hold.
pub(super) fn walk(options: &WalkOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let walked = apart(|| crate::sim::run::walk(options.seeds.clone()))?;
    for (settings, seed, outcome) in &walked.violations {
        if let Some(violation) = &outcome.violation {
            writeln!(out, "{violation}\nagain: {}", settings.replay(*seed))?;
        }
    }
    let found = walked.violations.len();
    // Whoever dies at the last steps of a lifecycle has nothing left to be missed for.
    let whole = walked.kills + 2 * walked.lifecycles >= walked.steps;
    let word = if found == 0 && whole { "ok" } else { "failed" };
    writeln!(
        out,
        "walk {word}: lifecycles={} steps={} kills={} violations={found}",
        walked.lifecycles, walked.steps, walked.kills
    )?;
    let rebakes = walk_rebakes(out)?;
    Ok(if found == 0 && whole && rebakes { Exit::Done } else { Exit::Violated })
}

/// Walks a rebake by each of its channels; whether everything held.
fn walk_rebakes(out: &mut dyn Write) -> Result<bool, CommandError> {
    let (mut steps, mut kills, mut broken) = (0, 0, 0);
    for channel in [RebakeChannel::UserData, RebakeChannel::Ssm] {
        let walked = apart(|| rebake_walk(&Case { channel, ..Case::default() }, 1))?;
        for violation in &walked.violations {
            writeln!(out, "rebake by {channel}: {violation}")?;
        }
        steps += walked.steps;
        kills += walked.kills;
        broken += walked.violations.len();
    }
    let right = broken == 0 && steps > 0 && kills == 2 * steps;
    let word = if right { "ok" } else { "failed" };
    writeln!(out, "walk rebake {word}: steps={steps} kills={kills} violations={broken}")?;
    Ok(right)
}

/// Makes each mistake until it is found, and prints the table of docs/SIMULATION.md.
pub(super) fn prove(options: &ProveOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut missed = 0;
    writeln!(out, "| mistake | what is done wrong | invariant | seed |\n|---|---|---|---|")?;
    for sabotage in Sabotage::ALL.iter().filter(|one| options.sabotage.is_none_or(|only| only == **one)) {
        let settings = Settings { sabotage: Some(*sabotage), ..Settings::standard() };
        let found = tokio::task::block_in_place(|| {
            run_all(&settings, options.seeds.clone(), jobs, false, &|_| ()).map(|summary| summary.violations)
        })?;
        let first = found.iter().find_map(|(seed, outcome)| Some((seed, outcome.violation.as_ref()?.invariant)));
        missed += usize::from(first.is_none());
        let seed = first.map_or_else(|| "not found".to_owned(), |(seed, _)| seed.to_string());
        let invariant = first.map_or_else(|| "none".to_owned(), |(_, invariant)| invariant.to_string());
        writeln!(out, "| {sabotage} | {} | {invariant} | {seed} |", sabotage.what())?;
        out.flush()?;
    }
    Ok(if missed == 0 { Exit::Done } else { Exit::Violated })
}

/// Prints the table of docs/SIMULATION.md.
pub(super) fn weather_table(out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (rough, storm) = (Weather::rough(), Weather::storm());
    writeln!(out, "| fault | what happens | rough | storm | counted |\n|---|---|---|---|---|")?;
    for fault in Fault::ALL {
        let (some, many) = (rough.rate(*fault), storm.rate(*fault));
        writeln!(out, "| {fault} | {} | {some} | {many} | {} |", fault.what(), fault.unit())?;
    }
    Ok(Exit::Done)
}

/// Does something that has runtimes of its own on a thread of its own.
fn apart<T: Send>(work: impl FnOnce() -> std::io::Result<T> + Send) -> std::io::Result<T> {
    let worked = tokio::task::block_in_place(|| std::thread::scope(|scope| scope.spawn(work).join()));
    worked.unwrap_or_else(|_| Err(std::io::Error::other("the simulation panicked; please report this")))
}
