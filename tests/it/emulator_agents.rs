//! The real SDK at SSM, CloudTrail and the price list: against moto, which plays a success of every command, and against the wire door, whose
//! agents are played through its side entrance.

use futures_util::future::LocalBoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use latent::model::InstanceId;
use latent::sim::wire::{Door, DoorOptions};
use latent::sim::{Taken, Weather};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::conformance::{Guest, commands_conform, records_conform};
use crate::emulator::{Moto, ground};

/// Moto has no agents; whatever one would do goes well and comes to nothing.
struct Nobody;

impl Guest for Nobody {
    fn pings<'a>(&'a self, _: &'a InstanceId, _: &'a str) -> LocalBoxFuture<'a, Result<bool, String>> {
        Box::pin(std::future::ready(Ok(true)))
    }

    fn takes<'a>(&'a self, _: &'a InstanceId) -> LocalBoxFuture<'a, Result<Option<Taken>, String>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn answers<'a>(
        &'a self,
        _: &'a InstanceId,
        _: &'a Taken,
        _: (i32, &'a str),
    ) -> LocalBoxFuture<'a, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn waits(&self, _: u32) -> LocalBoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The side entrance of the wire door.
struct SideEntrance {
    at: std::net::SocketAddr,
}

impl SideEntrance {
    async fn post(&self, path: &str, body: Value) -> Result<Value, String> {
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let stream = TcpStream::connect(self.at).await.map_err(|error| told(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| told(&error))?;
        let pump = tokio::spawn(connection);
        let request = hyper::Request::builder().method("POST").uri(format!("/_sim/{path}")).header("host", "sim");
        let request = request.body(Full::new(Bytes::from(body.to_string()))).map_err(|error| told(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| told(&error))?;
        let status = answer.status();
        let text = answer.into_body().collect().await.map_err(|error| told(&error))?.to_bytes();
        pump.abort();
        let answer: Value = serde_json::from_slice(&text).map_err(|error| told(&error))?;
        if status.is_success() { Ok(answer) } else { Err(answer.to_string()) }
    }
}

impl Guest for SideEntrance {
    fn pings<'a>(&'a self, of: &'a InstanceId, platform: &'a str) -> LocalBoxFuture<'a, Result<bool, String>> {
        let body = json!({ "version": "3.3.0.0", "platform": platform });
        Box::pin(async move { Ok(self.post(&format!("instances/{of}/agent"), body).await?["heard"] == true) })
    }

    fn takes<'a>(&'a self, of: &'a InstanceId) -> LocalBoxFuture<'a, Result<Option<Taken>, String>> {
        Box::pin(async move {
            let answer = self.post(&format!("instances/{of}/agent/take"), json!({})).await?;
            let run = &answer["command"];
            if run.is_null() {
                return Ok(None);
            }
            let text = |name: &str| run[name].as_str().unwrap_or_default().to_owned();
            let number = |name: &str| run[name].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
            Ok(Some(Taken {
                command: text("id").parse().map_err(|error| format!("{error}"))?,
                text: text("text"),
                windows: run["windows"] == true,
                execution_s: number("timeout_s"),
                run: number("run"),
            }))
        })
    }

    fn answers<'a>(
        &'a self,
        of: &'a InstanceId,
        run: &'a Taken,
        (code, output): (i32, &'a str),
    ) -> LocalBoxFuture<'a, Result<(), String>> {
        let body = json!({ "command": run.command, "exit_code": code, "output": output, "error_output": "" });
        Box::pin(async move { self.post(&format!("instances/{of}/agent/answer"), body).await.map(drop) })
    }

    fn waits(&self, seconds: u32) -> LocalBoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.post("advance", json!({ "seconds": seconds })).await.map(drop) })
    }
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn motos_ssm_does_as_ssm_does_or_departs_as_the_table_says() {
    let moto = Moto::start();
    commands_conform("moto", &ground(&moto.endpoint, "123456789012").await, &Nobody).await;
}

/// Slow enough that what waits for an agent does not time out between two calls.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the made-up credentials of `make test-rust`"]
async fn the_wire_doors_ssm_does_as_ssm_does() {
    let options = DoorOptions { seed: 7, weather: Weather::calm(), speed: 20.0, behind: chrono::TimeDelta::zero() };
    let door = Door::bind("127.0.0.1:0".parse().expect("an address"), options).await.expect("binds");
    let at = door.address().expect("bound");
    let serving = tokio::spawn(door.run());
    let ground = ground(&format!("http://{at}"), "123456789012").await;
    commands_conform("wire door", &ground, &SideEntrance { at }).await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the made-up credentials of `make test-rust`"]
async fn the_wire_doors_records_are_as_those_of_aws() {
    let options = DoorOptions { seed: 7, weather: Weather::calm(), speed: 20.0, behind: chrono::TimeDelta::zero() };
    let door = Door::bind("127.0.0.1:0".parse().expect("an address"), options).await.expect("binds");
    let at = door.address().expect("bound");
    let serving = tokio::spawn(door.run());
    let ground = ground(&format!("http://{at}"), "123456789012").await;
    records_conform("wire door", &ground, &SideEntrance { at }).await;
    serving.abort();
}
