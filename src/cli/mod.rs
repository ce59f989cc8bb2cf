//! Floor 5: the command line. Only here is anything printed.

mod amis;
mod args;
mod audit;
mod check;
mod config;
mod connect;
mod day;
#[cfg(feature = "ec2")]
mod doctor;
mod events;
mod exit;
mod explain;
mod history;
mod iam;
mod import;
mod ledger;
mod manifests;
mod notify;
mod output;
mod prices;
mod rebake;
#[cfg(feature = "ec2")]
mod serve;
mod sim;
mod sim_months;
mod sim_run;
mod sim_serve;
mod status;
mod sweep;
#[cfg(any(feature = "ec2", test))]
mod weekly;
mod whole;
mod worker;

pub use args::Args;
pub use exit::{AuditExit, CommandError, DoctorExit, Exit, RebakeExit, SweepExit};

use args::{Command, ConfigCommand};

/// Runs one command. What it has to say of data goes to `out`, everything else to standard error.
pub async fn run(args: Args, out: &mut dyn std::io::Write) -> Exit {
    let result = match &args.command {
        #[cfg(feature = "ec2")]
        Command::Serve(options) => serve::run(&args, options).await,
        #[cfg(not(feature = "ec2"))]
        Command::Serve(_) => Err(CommandError::without_ec2("serve")),
        #[cfg(feature = "ec2")]
        Command::Sweep(options) => Box::pin(sweep::run(&args, options, out)).await,
        #[cfg(not(feature = "ec2"))]
        Command::Sweep(_) => Err(CommandError::without_ec2("sweep")),
        #[cfg(feature = "ec2")]
        Command::Amis(options) => Box::pin(amis::run(&args, options, out)).await,
        #[cfg(not(feature = "ec2"))]
        Command::Amis(_) => Err(CommandError::without_ec2("look at accounts")),
        #[cfg(feature = "ec2")]
        Command::Doctor(options) => doctor::run(&args, options, out).await,
        #[cfg(not(feature = "ec2"))]
        Command::Doctor(_) => Err(CommandError::without_ec2("look at accounts")),
        Command::Check { secrets } => check::run(&args, *secrets, out),
        Command::Config { command: ConfigCommand::Default } => config::default(out),
        Command::Config { command: ConfigCommand::Schema } => config::schema(out),
        Command::Config { command: ConfigCommand::Socket } => config::socket(&args, out),
        Command::Config { command: ConfigCommand::Import(options) } => import::run(options, out).await,
        Command::Config { command: ConfigCommand::Show { worker } } => config::show(&args, worker, out),
        Command::Status(options) => status::run(&args, options, out).await,
        Command::Explain { worker, json } => explain::run(&args, worker, *json, out).await,
        Command::Events(options) => events::run(&args, options, out).await,
        Command::History { worker, json } => history::run(&args, worker.as_ref(), *json, out).await,
        Command::Ledger { command } => ledger::run(&args, command, out),
        Command::Start { worker } => worker::start(&args, worker, out).await,
        Command::Stop { worker } => worker::stop(&args, worker, out).await,
        Command::Hold { worker, length } => worker::hold(&args, worker, *length, out).await,
        Command::Release { worker } => worker::release(&args, worker, out).await,
        Command::Rebake(options) => Box::pin(rebake::run(&args, options, out)).await,
        Command::Enroll(options) => Box::pin(rebake::enroll(&args, options, out)).await,
        Command::Rollback(options) => rebake::roll_back(&args, options, out).await,
        Command::Prices { command } => Box::pin(prices::run(&args, command, out)).await,
        Command::Audit(options) => Box::pin(audit::run(&args, options, out)).await,
        Command::Notify { command } => notify::run(&args, command, out).await,
        Command::Iam(options) => iam::run(&args, options, out),
        Command::Openapi => config::openapi(out),
        Command::Sim { command } => sim::command(command, out).await,
    };
    result.unwrap_or_else(CommandError::report)
}
