//! The `latent` program: parse, run, exit.

use std::process::ExitCode;

use clap::Parser;

/// Calls through the AWS SDK are deep: in an unoptimised program they take more than a thread's usual 2 MiB.
const STACK_BYTES: usize = 8 << 20;

fn main() -> std::io::Result<ExitCode> {
    let args = latent::cli::Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).build()?;
    let exit = runtime.block_on(latent::cli::run(args, &mut std::io::stdout()));
    Ok(ExitCode::from(exit.code()))
}
