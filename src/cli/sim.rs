//! `latent sim`: the simulated EC2, and whole fleets on it.

use std::io::Write;

use clap::Subcommand;

use super::exit::{CommandError, Exit};
use super::sim_months::{self, MonthsOptions};
use super::sim_run::{self, ProveOptions, RunOptions, WalkOptions};
use super::sim_serve::{self, SimServeOptions};

/// What to do with the simulated EC2.
#[derive(Debug, Subcommand)]
pub(super) enum SimCommand {
    /// Play whole fleets, seed by seed, and assert the promise after each step
    Run(RunOptions),
    /// Play months in fair weather, and hold what the ledger tells of their costs against EC2's bill
    Months(MonthsOptions),
    /// Kill the controller at each step of one lifecycle in turn
    Walk(WalkOptions),
    /// Make every known mistake on purpose, and see that each is found
    Prove(ProveOptions),
    /// What may go wrong, and how often in each weather, as a table
    Weather,
    /// Serve EC2's own protocol, so that any AWS client works against the model
    Serve(SimServeOptions),
}

/// Runs one of the commands.
pub(super) async fn command(command: &SimCommand, out: &mut dyn Write) -> Result<Exit, CommandError> {
    match command {
        SimCommand::Run(options) => sim_run::play(options, out),
        SimCommand::Months(options) => sim_months::months(options, out),
        SimCommand::Walk(options) => sim_run::walk(options, out),
        SimCommand::Prove(options) => sim_run::prove(options, out),
        SimCommand::Weather => sim_run::weather_table(out),
        SimCommand::Serve(options) => sim_serve::serve(options, out).await,
    }
}
