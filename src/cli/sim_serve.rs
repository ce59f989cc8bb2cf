//! `latent sim serve`: the simulated EC2 as a server.

use std::io::Write;
use std::net::SocketAddr;

use chrono::TimeDelta;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{CommandError, Exit};
use super::sim_run::{fault, weather};
use crate::sim::wire::{Door, DoorOptions};
use crate::sim::{Fault, Weather};

const HELP: &str = "\
An access key of AKIA, an account's 12 digits and 4 letters acts in that account,
a session of AssumeRole in its role's, any other key in 123456789012. Images are
made by RegisterImage. Tests find the truth, the clock, faults and each guest's
metadata below /_sim/. Example:
  AWS_ENDPOINT_URL=http://127.0.0.1:5000 aws ec2 describe-instances";

/// How EC2 is played.
#[derive(Debug, Parser)]
#[command(after_help = HELP)]
pub(super) struct SimServeOptions {
    /// Where to listen, on this machine only; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_parser = loopback, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// How bad it gets: calm, rough or storm
    #[arg(long, default_value = "calm", value_parser = weather)]
    weather: Weather,
    /// What everything random comes from
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// How many seconds of the model pass in one of ours
    #[arg(long, default_value = "1", value_parser = speed, value_name = "X")]
    speed: f64,
    /// How long ago the model's time begins, such as 2d: what is made then is so old already
    #[arg(long, default_value = "0s", value_parser = behind, value_name = "TIME")]
    behind: TimeDelta,
    /// One fault's rate instead of the weather's, such as reply-lost=0.1; may be repeated
    #[arg(long = "fault", value_name = "NAME=RATE", value_parser = fault)]
    faults: Vec<(Fault, f64)>,
    /// End when standard input ends
    #[arg(long)]
    until_eof: bool,
}

/// How fast the model's time may pass.
const SLOWEST: f64 = 0.01;
const FASTEST: f64 = 100_000.0;
/// How long ago the model's time may begin.
const BEHIND_MAX: TimeDelta = TimeDelta::days(366);

/// Serves until it is told to end: by a signal, or with `--until-eof` by the end of standard input.
pub(super) async fn serve(options: &SimServeOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let unexpected = |error: std::io::Error| CommandError::new(Exit::Unexpected, error);
    let mut terminate = signal(SignalKind::terminate()).map_err(unexpected)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unexpected)?;
    if let Some((fault, _)) = options.faults.iter().find(|(fault, _)| !fault.is_served()) {
        let message = format!("--fault {fault}: EC2 has no part in it; `latent sim run` plays it");
        return Err(CommandError::new(Exit::Usage, anyhow::anyhow!(message)));
    }
    let mut weather: Weather = options.weather.clone();
    for (fault, rate) in &options.faults {
        weather.set(*fault, *rate);
    }
    let (name, speed) = (weather.name(), options.speed);
    let setup = DoorOptions { seed: options.seed, weather, speed, behind: options.behind };
    let door = Door::bind(options.listen, setup).await.map_err(|error| {
        let listen = options.listen;
        let error = anyhow::Error::new(error)
            .context(format!("--listen {listen}: cannot listen there; another port may be free, 0 takes any"));
        CommandError::new(Exit::Usage, error)
    })?;
    let address = door.address().map_err(unexpected)?;
    writeln!(out, "latent sim: EC2 at http://{address} (seed {}, weather {name}, speed {speed})", options.seed)?;
    out.flush()?;
    tokio::select! {
        () = door.run() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = end_of_input(), if options.until_eof => {}
    }
    Ok(Exit::Done)
}

/// A thread of its own: the runtime's would be waited for at the end.
async fn end_of_input() {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = end.await;
}

/// An address that only this machine reaches.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "write an address and a port, such as 127.0.0.1:5000".to_owned())?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("signatures are not verified here, so only this machine may ask: write 127.0.0.1:PORT".to_owned())
}

/// A time that the model can begin at.
fn behind(text: &str) -> Result<TimeDelta, String> {
    let time = humantime::parse_duration(text).map_err(|error| format!("{error}; write a time, such as 2d"))?;
    let time = TimeDelta::from_std(time).map_err(|_| "it is too long".to_owned())?;
    if time <= BEHIND_MAX { Ok(time) } else { Err(format!("it may be {} days at most", BEHIND_MAX.num_days())) }
}

/// A speed that time can have.
fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "write a number, such as 60".to_owned())?;
    if (SLOWEST..=FASTEST).contains(&speed) {
        Ok(speed)
    } else {
        Err(format!("it must be from {SLOWEST} to {FASTEST}"))
    }
}
