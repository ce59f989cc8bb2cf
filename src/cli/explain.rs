//! `latent explain`: one paragraph of what holds, since when, until when, and what would change it.

use std::io::Write;

use super::args::Args;
use super::connect;
use super::exit::{CommandError, Exit};
use super::output::plain;
use crate::control::WorkerView;
use crate::link::explained::paragraph;
use crate::link::{StatusAnswer, WorkerDayAnswer};
use crate::model::WorkerName;

pub(super) async fn run(args: &Args, name: &WorkerName, json: bool, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let client = connect::client(args)?;
    if json {
        let answer: WorkerDayAnswer = client.get(&format!("/v1/workers/{name}/day")).await?;
        writeln!(out, "{}", connect::pretty(&answer)?)?;
        return Ok(Exit::Done);
    }
    // Asked first, so that an unknown name is refused with the names that are known.
    let worker: WorkerView = client.get(&format!("/v1/workers/{name}")).await?;
    let status: StatusAnswer = client.get("/v1/status").await?;
    writeln!(out, "{}", plain(&paragraph(status.now, &worker)))?;
    if let Some(console) = worker.failure.as_ref().and_then(|failure| failure.console.as_deref()) {
        writeln!(out, "\nThe last lines of the instance's console:")?;
        for line in console.lines() {
            writeln!(out, "  {}", plain(line))?;
        }
    }
    Ok(Exit::Done)
}
