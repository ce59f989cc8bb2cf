//! `latent sim`: the simulated EC2.

use std::io::Write;
use std::net::SocketAddr;

use tokio::signal::unix::{SignalKind, signal};

use super::args::SimServeOptions;
use super::exit::{CommandError, Exit};
use crate::sim::wire::{Door, DoorOptions};
use crate::sim::{Fault, Weather};

/// How fast the model's time may pass.
const SLOWEST: f64 = 0.01;
const FASTEST: f64 = 100_000.0;

/// Serves until it is told to end: by a signal, or with `--until-eof` by the end of standard input.
pub(super) async fn serve(options: &SimServeOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let unexpected = |error: std::io::Error| CommandError::new(Exit::Unexpected, error);
    let mut terminate = signal(SignalKind::terminate()).map_err(unexpected)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unexpected)?;
    let mut weather: Weather = options.weather.clone();
    for (fault, rate) in &options.faults {
        weather.set(*fault, *rate);
    }
    let (name, speed) = (weather.name(), options.speed);
    let door =
        Door::bind(options.listen, DoorOptions { seed: options.seed, weather, speed }).await.map_err(|error| {
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
pub(super) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "write an address and a port, such as 127.0.0.1:5000".to_owned())?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("signatures are not verified here, so only this machine may ask: write 127.0.0.1:PORT".to_owned())
}

/// A weather by its name.
pub(super) fn weather(text: &str) -> Result<Weather, String> {
    text.parse().map_err(|_| format!("it is one of {}", Weather::NAMES.join(", ")))
}

/// A speed that time can have.
pub(super) fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "write a number, such as 60".to_owned())?;
    if (SLOWEST..=FASTEST).contains(&speed) {
        Ok(speed)
    } else {
        Err(format!("it must be from {SLOWEST} to {FASTEST}"))
    }
}

/// A fault and its rate.
pub(super) fn fault(text: &str) -> Result<(Fault, f64), String> {
    let (name, rate) = text.split_once('=').ok_or_else(|| "write NAME=RATE, such as reply-lost=0.1".to_owned())?;
    let fault: Fault = name.parse().map_err(|_| {
        let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        format!("there is no fault {name:?}; there are {}", names.join(", "))
    })?;
    let rate: f64 = rate.parse().map_err(|_| format!("the rate {rate:?} is no number; it counts {}", fault.unit()))?;
    if rate.is_finite() && rate >= 0.0 {
        Ok((fault, rate))
    } else {
        Err(format!("the rate {rate} must be zero or more"))
    }
}
