//! The `latent` program: parse, run, exit.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let args = latent::cli::Args::parse();
    let exit = latent::cli::run(args, &mut std::io::stdout()).await;
    ExitCode::from(exit.code())
}
