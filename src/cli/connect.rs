//! The configuration, and the way to the controller.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::args::Args;
use super::exit::{CommandError, Exit};
use crate::ledger::Declarations;
use crate::link::Client;
use crate::policy::{Intent, Sources, load};

/// Reads and checks the configuration.
pub(super) fn intent(args: &Args) -> Result<(Sources, Intent), CommandError> {
    intent_of(&args.config)
}

/// Reads and checks the configuration of this file.
pub(super) fn intent_of(config: &Path) -> Result<(Sources, Intent), CommandError> {
    let configuration = |error: anyhow::Error| CommandError::new(Exit::Configuration, error);
    let sources = load(config).map_err(|error| {
        let hint = "name it with --config or LATENT_CONFIG; `latent config default` prints a start";
        configuration(anyhow::anyhow!("latent: {:#}; {hint}", anyhow::Error::new(error)))
    })?;
    let mut intent = Intent::parse(&sources).map_err(|problems| configuration(problems.into()))?;
    intent.prices = super::prices::in_use(config);
    Ok((sources, intent))
}

/// What masters declared, kept beside the ledger.
pub(super) fn declarations(sources: &Sources, intent: &Intent) -> Declarations {
    let ledger = sources.path(&intent.fleet.ledger);
    Declarations::open(ledger.parent().unwrap_or(&sources.folder))
}

/// The configuration with what masters declare over it, as far as it can be read from here.
pub(super) fn whole_intent(args: &Args) -> Result<(Sources, Intent), CommandError> {
    let (sources, intent) = intent(args)?;
    let whole = declarations(&sources, &intent).over(&intent);
    Ok((sources, whole))
}

/// Where the controller listens.
pub(super) fn socket(args: &Args) -> Result<PathBuf, CommandError> {
    match &args.socket {
        Some(path) => Ok(path.clone()),
        None => intent(args).map(|(sources, intent)| sources.path(&intent.link.socket)),
    }
}

/// A client of the controller.
pub(super) fn client(args: &Args) -> Result<Client, CommandError> {
    Ok(Client::new(&socket(args)?))
}

/// Serialises for a person who reads JSON.
pub(super) fn pretty<T: serde::Serialize>(value: &T) -> Result<String, CommandError> {
    serde_json::to_string_pretty(value)
        .context("cannot write JSON")
        .map_err(|error| CommandError::new(Exit::Unexpected, error))
}
