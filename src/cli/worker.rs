//! `latent start`, `stop`, `hold`, `release`.

use std::io::Write;
use std::time::Duration;

use super::args::Args;
use super::connect;
use super::exit::{CommandError, Exit};
use crate::control::WorkerView;
use crate::link::{DrainAnswer, HoldAnswer, HoldRequest, StartRequest, StatusAnswer};
use crate::model::WorkerName;

pub(super) async fn start(args: &Args, name: &WorkerName, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let client = connect::client(args)?;
    let status: StatusAnswer = client.get("/v1/status").await?;
    let text = format!("operator-{}-{}", status.now.timestamp_millis(), std::process::id());
    let request = text.parse().map_err(|error: crate::model::IdError| CommandError::new(Exit::Unexpected, error))?;
    let view: WorkerView =
        client.post(&format!("/v1/workers/{name}/start"), &StartRequest { request, master: None }).await?;
    writeln!(out, "{name}: {}", view.state)?;
    Ok(Exit::Done)
}

pub(super) async fn stop(args: &Args, name: &WorkerName, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let client = connect::client(args)?;
    let answer: DrainAnswer = client.post(&format!("/v1/workers/{name}/drain"), &()).await?;
    writeln!(out, "{name}: {}", answer.worker.state)?;
    Ok(Exit::Done)
}

pub(super) async fn hold(
    args: &Args,
    name: &WorkerName,
    length: Duration,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let client = connect::client(args)?;
    let seconds = u32::try_from(length.as_secs()).unwrap_or(u32::MAX);
    let answer: HoldAnswer = client.post(&format!("/v1/workers/{name}/hold"), &HoldRequest { seconds }).await?;
    writeln!(out, "{name}: held until {}", answer.until.format("%Y-%m-%d %H:%M:%SZ"))?;
    Ok(Exit::Done)
}

pub(super) async fn release(args: &Args, name: &WorkerName, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let client = connect::client(args)?;
    let view: WorkerView = client.delete(&format!("/v1/workers/{name}/hold")).await?;
    writeln!(out, "{name}: {}, not held", view.state)?;
    Ok(Exit::Done)
}
