//! `latent prices show`.

use std::io::Write;

use serde::Serialize;

use super::{ShowOptions, file_beside, prices};
use crate::cli::args::Args;
use crate::cli::connect;
use crate::cli::exit::{CommandError, Exit};
use crate::cli::output::plain;
use crate::control::Clock;
use crate::model::Market;
use crate::policy::price::{Money, Prices, Software};

/// A price, and where it is from.
#[derive(Debug, Serialize)]
struct Shown {
    software: Software,
    /// Micro-dollars per hour on demand; absent if it is not known.
    hourly: Option<Money>,
    /// Why it is not known.
    unknown: Option<String>,
    as_of: chrono::NaiveDate,
    from: String,
}

pub(super) fn show(args: &Args, options: &ShowOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let file = file_beside(&args.config);
    let found = prices(&file, Clock::system().now().date_naive());
    let said = found.as_ref().err().map(|why| {
        let file = file.display();
        format!("{file}: {why}; the prices in the program are used; `latent prices update` writes a new one")
    });
    let all = found.unwrap_or_default();
    let shown = [Software::LinuxUnix, Software::Windows].map(|software| one(&all, options, software));
    if options.json {
        let report = serde_json::json!({
            "instance_type": options.instance_type, "region": options.region, "prices": shown, "note": said,
        });
        writeln!(out, "{}", connect::pretty(&report)?)?;
        return Ok(Exit::Done);
    }
    writeln!(out, "{} in {}, on demand", plain(&options.instance_type), options.region)?;
    for (name, price) in ["Linux", "Windows"].into_iter().zip(&shown) {
        match (price.hourly, &price.unknown) {
            (Some(hourly), _) => {
                writeln!(out, "  {name:<8} {hourly:#} per hour, as of {}: {}", price.as_of, plain(&price.from))?;
            }
            (None, why) => {
                let why = why.as_deref().unwrap_or("no list here has it");
                writeln!(out, "  {name:<8} price unknown: {}", plain(why))?;
            }
        }
    }
    if let Some(said) = said {
        writeln!(out, "{}", plain(&said))?;
    }
    Ok(Exit::Done)
}

fn one(all: &Prices, options: &ShowOptions, software: Software) -> Shown {
    let (kind, region) = (&options.instance_type, &options.region);
    let entry = all.entry(kind, region, software);
    let from = match entry {
        Some(_) => all.sources().first().map(|source| source.from.clone()).unwrap_or_default(),
        None => "the table in the program".to_owned(),
    };
    Shown {
        software,
        hourly: all.hourly(kind, region, software, Market::OnDemand).map(|range| range.high),
        unknown: entry.and_then(|entry| entry.unknown.clone()),
        as_of: entry.and_then(|entry| entry.published).unwrap_or_else(|| all.date_of(kind, region, software)),
        from,
    }
}
