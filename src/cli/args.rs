//! The shape of the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::model::WorkerName;
use crate::sim::{Fault, Weather};

/// Lifecycle manager for latent EC2 workers.
#[derive(Debug, Parser)]
#[command(name = "latent", version, after_help = super::exit::AFTER_HELP)]
pub struct Args {
    /// The fleet's configuration; amis/ and policies/ are looked for beside it
    #[arg(long, global = true, env = "LATENT_CONFIG", default_value = "latent.toml", value_name = "FILE")]
    pub config: PathBuf,
    /// The controller's socket, if not the one of the configuration
    #[arg(long, global = true, env = "LATENT_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the controller
    Serve(ServeOptions),
    /// Check the configuration, offline; every problem is reported
    Check {
        /// Also read the secrets and render the user data
        #[arg(long)]
        secrets: bool,
    },
    /// Defaults, schema, and what holds for a worker
    Config {
        /// Which
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Every worker: state, instance, age, and why nothing is done
    Status(StatusOptions),
    /// What holds for a worker, since when, until when, and what would change it
    Explain {
        /// The worker
        worker: WorkerName,
    },
    /// The ledger's entries, oldest first
    Events(EventsOptions),
    /// Each instance's life: request, launch, connection, builds, end
    History {
        /// Only this worker's
        worker: Option<WorkerName>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Start a worker's instance without a build
    Start {
        /// The worker
        worker: WorkerName,
    },
    /// Let a worker's instance go, as soon as its master lets it
    Stop {
        /// The worker
        worker: WorkerName,
    },
    /// Keep a worker's instance for a while, for debugging; it ends by itself
    Hold {
        /// The worker
        worker: WorkerName,
        /// For how long, such as 2h
        #[arg(long = "for", value_parser = humantime::parse_duration, value_name = "TIME")]
        length: Duration,
    },
    /// Lift a hold
    Release {
        /// The worker
        worker: WorkerName,
    },
    /// A model of EC2, with faults: to try things on, and to prove them
    Sim {
        /// Which
        #[command(subcommand)]
        command: SimCommand,
    },
    /// Print the OpenAPI document of the controller's interface
    Openapi,
}

/// About the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the commented defaults: the documentation of every key
    Default,
    /// Print the JSON Schema
    Schema,
    /// Print where the controller listens
    Socket,
    /// Print every value that holds for a worker, and where it comes from
    Show {
        /// The worker
        worker: WorkerName,
    },
}

/// About the simulated EC2.
#[derive(Debug, Subcommand)]
pub(super) enum SimCommand {
    /// Serve EC2's own protocol, so that any AWS client works against the model
    #[command(after_help = SIM_HELP)]
    Serve(SimServeOptions),
}

const SIM_HELP: &str = "\
An access key AKIA, an account's 12 digits and 4 letters acts in that account, a session of
AssumeRole in its role's, any other key in 123456789012. Images are made by RegisterImage.
Tests find the truth, the clock, faults and each guest's metadata below /_sim/.
Example: AWS_ENDPOINT_URL=http://127.0.0.1:5000 aws ec2 describe-instances";

/// Options of `latent sim serve`.
#[derive(Debug, Parser)]
pub(super) struct SimServeOptions {
    /// Where to listen, on this machine only; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_parser = super::sim::loopback, value_name = "ADDRESS")]
    pub(super) listen: SocketAddr,
    /// How much goes wrong: calm, rough or storm
    #[arg(long, default_value = "calm", value_parser = super::sim::weather, value_name = "WEATHER")]
    pub(super) weather: Weather,
    /// What everything random comes from
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(super) seed: u64,
    /// How many seconds of the model pass in one of ours
    #[arg(long, default_value = "1", value_parser = super::sim::speed, value_name = "X")]
    pub(super) speed: f64,
    /// How often one fault happens, such as reply-lost=0.1; may be repeated
    #[arg(long = "fault", value_parser = super::sim::fault, value_name = "NAME=RATE")]
    pub(super) faults: Vec<(Fault, f64)>,
    /// End when standard input ends
    #[arg(long)]
    pub(super) until_eof: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people
    Human,
    /// One JSON object per line
    Json,
}

/// Options of `latent serve`.
#[derive(Debug, Parser)]
pub(super) struct ServeOptions {
    /// How log lines look
    #[arg(long, value_enum, default_value = "human")]
    pub(super) log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or a tracing filter
    #[arg(long, env = "LATENT_LOG", default_value = "info", value_name = "FILTER")]
    pub(super) log: String,
}

/// Options of `latent status`.
#[derive(Debug, Parser)]
pub(super) struct StatusOptions {
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Again whenever something changes
    #[arg(long)]
    pub(super) watch: bool,
}

/// Options of `latent events`.
#[derive(Debug, Parser)]
pub(super) struct EventsOptions {
    /// Only those after this place
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    pub(super) after: u64,
    /// Go on as they come
    #[arg(long)]
    pub(super) follow: bool,
    /// One JSON object per line
    #[arg(long)]
    pub(super) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}
