//! `latent events`.

use std::io::Write;

use super::args::{Args, EventsOptions};
use super::connect;
use super::exit::{CommandError, Exit};
use super::output::plain;
use crate::link::{EventView, Events};

/// How long one wait for a new entry lasts, in seconds.
const WAIT_SECONDS: u64 = 30;

pub(super) async fn run(args: &Args, options: &EventsOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let client = connect::client(args)?;
    let mut after = options.after;
    loop {
        let page: Events = client.get(&format!("/v1/events?after={after}")).await?;
        for event in &page.events {
            if options.json {
                writeln!(out, "{}", serde_json::to_string(event)?)?;
            } else {
                writeln!(out, "{}", line(event))?;
            }
        }
        out.flush()?;
        after = page.last;
        if !page.events.is_empty() {
            continue;
        }
        if !options.follow {
            return Ok(Exit::Done);
        }
        let _: Events = client.get(&format!("/v1/events?after={after}&wait={WAIT_SECONDS}")).await?;
    }
}

fn line(event: &EventView) -> String {
    let worker = event.worker.as_deref().unwrap_or("-");
    plain(&format!("{} {worker}: {}", event.at.format("%Y-%m-%dT%H:%M:%SZ"), event.text))
}
