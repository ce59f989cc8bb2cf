//! `latent config`, `latent openapi`.

use std::io::Write;

use super::args::Args;
use super::connect;
use super::exit::{CommandError, Exit};
use crate::model::WorkerName;
use crate::policy::{DEFAULT_TOML, json_schema};

pub(super) fn default(out: &mut dyn Write) -> Result<Exit, CommandError> {
    write!(out, "{DEFAULT_TOML}")?;
    Ok(Exit::Done)
}

pub(super) fn schema(out: &mut dyn Write) -> Result<Exit, CommandError> {
    writeln!(out, "{}", connect::pretty(&json_schema())?)?;
    Ok(Exit::Done)
}

pub(super) fn openapi(out: &mut dyn Write) -> Result<Exit, CommandError> {
    writeln!(out, "{}", connect::pretty(&crate::link::openapi())?)?;
    Ok(Exit::Done)
}

/// The absolute path of the socket, for whoever wants to speak the interface.
pub(super) fn socket(args: &Args, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let path = std::path::absolute(connect::socket(args)?)?;
    writeln!(out, "{}", path.display())?;
    Ok(Exit::Done)
}

pub(super) fn show(args: &Args, name: &WorkerName, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (_, intent) = connect::whole_intent(args)?;
    let Some(worker) = intent.workers.get(name) else {
        let known: Vec<String> = intent.workers.keys().map(ToString::to_string).collect();
        let message = format!("worker {name} is not in {}; known: {}", args.config.display(), known.join(", "));
        return Err(CommandError::new(Exit::Refused, anyhow::anyhow!(message)));
    };
    for shown in worker.shown.iter() {
        writeln!(out, "{} = {}  # {}", shown.key, shown.value, shown.at)?;
    }
    Ok(Exit::Done)
}
