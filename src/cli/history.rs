//! `latent history`: each instance's life.

use std::io::Write;

use chrono::{DateTime, Utc};

use super::args::Args;
use super::connect;
use super::exit::{CommandError, Exit};
use super::output::{span, table};
use crate::audit::{Life, lives};
use crate::link::{Client, Events};
use crate::model::{Body, WorkerName};

pub(super) async fn run(
    args: &Args,
    worker: Option<&WorkerName>,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let client = connect::client(args)?;
    let entries = entries(&client).await?;
    let mut all = lives(entries.iter().map(|(at, body)| (*at, body)));
    all.retain(|life| worker.is_none_or(|name| life.worker == *name));
    if json {
        writeln!(out, "{}", connect::pretty(&all)?)?;
    } else if all.is_empty() {
        writeln!(out, "nothing was launched yet")?;
    } else {
        writeln!(out, "{}", rows(&all).trim_fmt())?;
    }
    Ok(Exit::Done)
}

async fn entries(client: &Client) -> Result<Vec<(DateTime<Utc>, Body)>, CommandError> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let page: Events = client.get(&format!("/v1/events?after={after}")).await?;
        if page.events.is_empty() {
            return Ok(all);
        }
        after = page.last;
        for event in page.events {
            let mut tagged = serde_json::Map::new();
            tagged.insert(event.kind, event.body);
            all.push((event.at, serde_json::from_value(tagged.into())?));
        }
    }
}

/// Each step with the time since the step before it.
fn rows(all: &[Life]) -> comfy_table::Table {
    let mut rows = table(&["WORKER", "INSTANCE", "LAUNCH", "RUNNING", "CONNECT", "BUILDS", "END", "CAUSE"]);
    for life in all {
        let since = |from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>| match (from, to) {
            (Some(from), Some(to)) => span(to - from),
            _ => "-".to_owned(),
        };
        rows.add_row([
            life.worker.to_string(),
            life.instance.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            since(life.requested.or(Some(life.intended)), life.launched),
            since(life.launched, life.running),
            since(life.running.or(life.launched), life.connected),
            life.builds.to_string(),
            since(Some(life.intended), life.gone),
            life.ending.as_ref().map_or_else(|| "-".to_owned(), |(_, cause)| cause.to_string()),
        ]);
    }
    rows
}
