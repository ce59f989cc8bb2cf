//! The shape of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::model::{OwnerName, WorkerName};

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
    /// Check everything that a worker needs, at the owner's account too; changes nothing
    Doctor(DoctorOptions),
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
        /// As JSON, with its last day and its last entries
        #[arg(long)]
        json: bool,
    },
    /// The ledger's entries, oldest first
    Events(EventsOptions),
    /// The ledger itself, with or without a controller: prove that it is whole, or write it out
    Ledger {
        /// Which
        #[command(subcommand)]
        command: super::ledger::LedgerCommand,
    },
    /// Each instance's life: request, launch, connection, builds, end
    History {
        /// Only this worker's
        worker: Option<WorkerName>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// A simulated EC2: serve it to any AWS client, or play whole fleets on it
    Sim {
        /// Which
        #[command(subcommand)]
        command: super::sim::SimCommand,
    },
    /// Find what is left over in an account, and take it away
    Sweep(Box<super::sweep::SweepOptions>),
    /// Make a new AMI of an image's present one: updated, rebooted, proven by a worker, and rolled out
    Rebake(Box<super::rebake::RebakeOptions>),
    /// Make the first AMI, and its manifest, of an instance on which a worker was set up
    Enroll(Box<super::rebake::EnrollOptions>),
    /// Make an image's manifest name its previous AMI again
    Rollback(super::rebake::RollbackOptions),
    /// The generations of each image: age, size, cost, who uses them, and when the next one is due
    Amis(super::amis::AmisOptions),
    /// An owner's report: what ran, why, what it cost, what is left over, and what was not seen
    Audit(Box<super::audit::AuditOptions>),
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
    /// Who is told of what by mail and webhook, and a message to try it
    Notify {
        /// Which
        #[command(subcommand)]
        command: super::notify::NotifyCommand,
    },
    /// The prices that estimates go by
    Prices {
        /// Which
        #[command(subcommand)]
        command: super::prices::PricesCommand,
    },
    /// Print the roles that an owner grants: what the controller needs in the account, and no more
    Iam(IamOptions),
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
    /// Print the files that say what a master.cfg with EC2LatentWorker or LatentEC2Worker says
    Import(super::import::ImportOptions),
    /// Print every value that holds for a worker, and where it comes from
    Show {
        /// The worker
        worker: WorkerName,
    },
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

/// Options of `latent doctor`.
#[derive(Debug, Parser)]
#[command(after_help = super::exit::DOCTOR_AFTER_HELP)]
pub(super) struct DoctorOptions {
    /// Only this owner's accounts
    #[arg(long)]
    pub(super) owner: Option<OwnerName>,
    /// Only this worker, with its owner's account
    #[arg(long)]
    pub(super) worker: Option<WorkerName>,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
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
    /// The last day instead: in which state each worker was when
    #[arg(long, conflicts_with = "watch")]
    pub(super) day: bool,
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

/// A role of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RoleName {
    /// Of serve, sweep and doctor
    Worker,
    /// Of rebake
    Rebake,
    /// Of audit; it changes nothing
    Audit,
}

/// What `latent iam` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum IamFormat {
    /// Each role's trust policy and permissions, to read and to paste
    Json,
    /// A template in JSON for `aws cloudformation deploy`
    Cloudformation,
    /// HCL for terraform or tofu
    Terraform,
}

/// Options of `latent iam`.
#[derive(Debug, Parser)]
#[command(after_help = super::iam::AFTER_HELP)]
pub(super) struct IamOptions {
    /// Whose account
    #[arg(long, value_name = "NAME")]
    pub(super) owner: OwnerName,
    /// Only this role
    #[arg(long, value_enum)]
    pub(super) role: Option<RoleName>,
    /// What is printed
    #[arg(long, value_enum, default_value = "json")]
    pub(super) format: IamFormat,
    /// Print, in the place of the roles, the AWS budget that is the owner's own hard stop
    #[arg(long, conflicts_with_all = ["role", "principal"])]
    pub(super) budget_action: bool,
    /// Its dollars per month, such as 25.00, if not budget.hard of the configuration
    #[arg(long, value_name = "DOLLARS", requires = "budget_action", value_parser = crate::policy::dollars)]
    pub(super) amount: Option<u64>,
    /// Who may assume the roles, if not fleet.principal of the configuration
    #[arg(long, value_name = "ARN")]
    pub(super) principal: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}
