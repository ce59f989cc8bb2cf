//! The real SDK against moto, an emulated EC2 from PyPI. Where moto departs from EC2 the test's name
//! says so. `make test-rust` provides the Python that moto runs on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use latent::cloud::Cloud;
use latent::control::Clock;
use latent::ec2::Ec2;
use latent::model::{Cell, FailureKind, Place};
use latent::policy::{Intent, Secret, Sources};

use crate::conformance::{self, FLEET, launched, seen, spec};

const ACCOUNT: &str = "123456789012";

/// moto's server; it ends with this value.
struct Emulator {
    server: Child,
    _folder: tempfile::TempDir,
    endpoint: String,
}

impl Emulator {
    fn start() -> Self {
        let python = std::env::var("LATENT_TEST_PYTHON").expect("LATENT_TEST_PYTHON: run this by `make test-rust`");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/localstack/moto_server.py");
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = Command::new(python)
            .args([script, "--until-eof", "--log"])
            .arg(folder.path().join("moto.log"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts moto");
        let mut endpoint = String::new();
        let out = server.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut endpoint).expect("moto says its address");
        Self { server, _folder: folder, endpoint: endpoint.trim().to_owned() }
    }

    /// An AMI that moto knows from birth.
    fn ami(&self) -> String {
        let python = std::env::var("LATENT_TEST_PYTHON").expect("checked by start");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/localstack/seed.py");
        let args = [script, "--endpoint", &self.endpoint, "--region", "us-west-2", "--ami", "worker"];
        let made = Command::new(python).args(args).output().expect("seeds");
        let made: serde_json::Value = serde_json::from_slice(&made.stdout).expect("JSON");
        made["amis"]["worker"].as_str().expect("an AMI").to_owned()
    }

    fn cloud(&self) -> (Ec2, Clock) {
        (cloud_at(&self.endpoint, "{ environment = true }"), Clock::system())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

fn cloud_at(endpoint: &str, credentials: &str) -> Ec2 {
    let main = format!(
        "[fleet]\nname = \"{FLEET}\"\ncontroller = \"tests\"\n\
         [owner.o]\naccount = \"{ACCOUNT}\"\ncredentials = {credentials}\nendpoint = \"{endpoint}\"\n"
    );
    let sources = Sources { main: ("latent.toml".to_owned(), main), ..Sources::default() };
    let intent = Intent::parse(&sources).expect("a configuration");
    let cell = Cell { owner: "o".parse().expect("a name"), region: "us-west-2".parse().expect("a region") };
    Ec2::new(&cell, &intent)
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn moto_tells_the_account() {
    let emulator = Emulator::start();
    assert_eq!(emulator.cloud().0.account().await.expect("answers"), ACCOUNT);
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn moto_carries_tags_and_token_from_birth() {
    let emulator = Emulator::start();
    let (cloud, clock) = emulator.cloud();
    conformance::a_launch_carries_its_tags_and_token_from_birth(&cloud, &clock, &emulator.ami()).await;
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn moto_stops_starts_and_ends_an_instance() {
    let emulator = Emulator::start();
    let (cloud, clock) = emulator.cloud();
    conformance::an_instance_stops_starts_and_ends(&cloud, &clock, &emulator.ami()).await;
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn moto_renews_leases() {
    let emulator = Emulator::start();
    let (cloud, clock) = emulator.cloud();
    conformance::a_renewal_sets_the_lease_of_all(&cloud, &clock, &emulator.ami()).await;
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn moto_does_not_find_what_never_was() {
    let emulator = Emulator::start();
    conformance::an_unknown_instance_is_not_found(&emulator.cloud().0).await;
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn moto_departs_from_ec2_a_repeated_token_gives_a_second_instance() {
    let emulator = Emulator::start();
    let (cloud, clock) = emulator.cloud();
    let spec = spec(&emulator.ami(), "token-1", clock.now());
    let (first, second) = (launched(&cloud, &spec).await, launched(&cloud, &spec).await);
    assert_ne!(first, second, "moto has learnt tokens: test it like EC2 from now on");
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn moto_refuses_what_the_owner_must_mend() {
    let emulator = Emulator::start();
    let (cloud, clock) = emulator.cloud();
    let ami = emulator.ami();
    let no_ami = spec("ami-00000000", "bad-1", clock.now());
    let mut no_type = spec(&ami, "bad-2", clock.now());
    no_type.offering.instance_type = "z9.enormous".to_owned();
    let mut no_subnet = spec(&ami, "bad-3", clock.now());
    no_subnet.offering.place = Place::Subnet("subnet-00000000".to_owned());
    let mut no_key = spec(&ami, "bad-4", clock.now());
    no_key.key_pair = Some("nobody".to_owned());
    for bad in [no_ami, no_type, no_subnet, no_key] {
        let error = cloud.launch(&bad, None, &bad.token()).await.expect_err("refused");
        assert_eq!(error.kind, FailureKind::Owner, "{error}");
    }
    let listing = cloud.inventory(clock.now(), &[]).await.expect("lists");
    assert!(listing.instances.is_empty(), "nothing was launched");
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn moto_takes_user_data_and_lists_only_this_fleet() {
    let emulator = Emulator::start();
    let (cloud, clock) = emulator.cloud();
    let ami = emulator.ami();
    let ours = spec(&ami, "fleet-1", clock.now());
    let text = Secret::new("#!/bin/sh\necho hello\n".to_owned());
    let id = cloud.launch(&ours, Some(&text), &ours.token()).await.expect("launches");
    let mut theirs = spec(&ami, "fleet-2", clock.now());
    theirs.tags.set("latent:fleet", "another");
    let other = launched(&cloud, &theirs).await;
    assert!(seen(&cloud, &clock, &id).await.is_some());
    assert!(seen(&cloud, &clock, &other).await.is_none());
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn nobody_at_the_endpoint_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let cloud = cloud_at(&format!("http://127.0.0.1:{port}"), "{ environment = true }");
    let error = cloud.inventory(Clock::system().now(), &[]).await.expect_err("nobody there");
    assert_eq!(error.kind, FailureKind::Unreachable, "{error}");
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn an_answer_that_is_not_ec2s_is_unreachable_and_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 8192]);
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\n<html></html>");
        }
    });
    let cloud = cloud_at(&endpoint, "{ environment = true }");
    let error = cloud.inventory(Clock::system().now(), &[]).await.expect_err("not EC2");
    assert_eq!((error.kind, error.code.as_str()), (FailureKind::Unreachable, "NotAnEc2Answer"), "{error}");
}

#[tokio::test]
#[ignore = "needs the emulated EC2 of `make test-rust`"]
async fn a_profile_that_is_not_there_is_a_matter_of_credentials() {
    let cloud = cloud_at("http://127.0.0.1:9", "{ profile = \"nobody-has-this-profile\" }");
    let error = cloud.account().await.expect_err("no credentials");
    assert_eq!(error.kind, FailureKind::Credentials, "{error}");
}
