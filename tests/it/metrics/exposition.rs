//! What is served, and that it is what it says.

use std::collections::BTreeMap;

use latent::control::{METERS, MeterKind};
use latent::model::FailureKind;

use super::story::samples;
use super::tools::{run, skipped, words};
use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds};
use crate::setup::Setup;

fn text(lab: &Lab) -> String {
    lab.controller().metrics(&[]).expect("can be written")
}

/// A sample of one series.
#[track_caller]
fn value(lab: &Lab, series: &str) -> f64 {
    let samples = samples(&text(lab));
    let found = samples.get(series).unwrap_or_else(|| panic!("there is no {series}"));
    found.parse().expect("a number")
}

#[track_caller]
fn is(lab: &Lab, series: &str, wanted: f64) {
    let found = value(lab, series);
    assert!((found - wanted).abs() < 1e-6, "{series} is {found}, not {wanted}");
}

/// The metrics of a text, with the labels of their samples.
fn served(text: &str) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut all: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for series in samples(text).into_keys() {
        let (name, labels) = series.split_once('{').map_or((series.as_str(), ""), |(name, rest)| (name, rest));
        let labels = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
        let labels = labels.map(|(key, _)| key.to_owned()).filter(|key| key != "le").collect();
        all.entry(name.to_owned()).or_default().push(labels);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn every_metric_is_served_with_its_labels_and_no_other_is() {
    let mut lab = Lab::new(Setup::new());
    lab.make_ready("w1").await;
    lab.run(minutes(1)).await;
    let mut served = served(&text(&lab));
    // A ledger in memory takes nothing on the disk.
    let expected = METERS.iter().filter(|meter| meter.name != "latent_ledger_size_bytes");
    for meter in expected {
        let ends: &[&str] = if meter.kind == MeterKind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
        for end in ends {
            let series = served.remove(&format!("{}{end}", meter.name)).unwrap_or_else(|| panic!("no {}", meter.name));
            assert!(series.iter().all(|labels| labels == meter.labels), "{}: {series:?}", meter.name);
        }
    }
    assert!(served.is_empty(), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn the_numbers_are_those_of_what_happened() {
    let mut lab = Lab::new(Setup::new().policy("idle_timeout = \"5m\""));
    is(&lab, "latent_launches_total{image=\"debian\",outcome=\"elsewhere\"}", 0.0);
    lab.inject(ApiCall::Launch, &Fault::Refuse(FailureKind::RetrySame, "InternalError"), 1);
    lab.request("w1");
    lab.run(seconds(60)).await;
    is(&lab, "latent_worker_waiting_seconds{worker=\"w1\"}", 60.0);
    lab.connect("w1");
    lab.run(seconds(20)).await;
    lab.build("w1", Some("b/1"));
    is(&lab, "latent_requests_total{worker=\"w1\"}", 1.0);
    is(&lab, "latent_worker_connected{worker=\"w1\"}", 1.0);
    is(&lab, "latent_workers{owner=\"alice\",state=\"busy\"}", 1.0);
    is(&lab, "latent_instances{owner=\"alice\",region=\"us-west-2\",state=\"running\"}", 1.0);
    is(&lab, "latent_cost_dollars_per_hour{owner=\"alice\",region=\"us-west-2\",bound=\"high\"}", 0.1008);
    is(&lab, "latent_worker_phase_duration_seconds_sum{phase=\"connect\",worker=\"w1\"}", 60.0);
    is(&lab, "latent_worker_phase_duration_seconds_sum{phase=\"first_build\",worker=\"w1\"}", 20.0);
    is(&lab, "latent_api_calls_total{owner=\"alice\",region=\"us-west-2\",action=\"RunInstances\"}", 2.0);
    let refused = "action=\"RunInstances\",reason=\"retry_same\"";
    is(&lab, &format!("latent_api_errors_total{{owner=\"alice\",region=\"us-west-2\",{refused}}}"), 1.0);
    lab.release("w1");
    lab.until_nothing_is_left().await;
    is(&lab, "latent_instances_ended_total{owner=\"alice\",cause=\"released\"}", 1.0);
    is(&lab, "latent_worker_phase_duration_seconds_count{phase=\"terminate\",worker=\"w1\"}", 1.0);
    is(&lab, "latent_departing_age_seconds{owner=\"alice\",region=\"us-west-2\"}", 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_restart_counts_nothing_twice_and_goes_on_with_a_life_that_is_open() {
    let mut lab = Lab::new(Setup::new());
    lab.request("w1");
    lab.run(seconds(30)).await;
    lab.crash_and_start().await;
    is(&lab, "latent_requests_total{worker=\"w1\"}", 0.0);
    lab.run(seconds(30)).await;
    lab.connect("w1");
    is(&lab, "latent_worker_phase_duration_seconds_sum{phase=\"connect\",worker=\"w1\"}", 60.0);
    is(&lab, "latent_worker_phase_duration_seconds_count{phase=\"boot\",worker=\"w1\"}", 1.0);
    is(&lab, "latent_worker_phase_duration_seconds_count{phase=\"request\",worker=\"w1\"}", 0.0);
}

#[tokio::test(start_paused = true)]
async fn what_left_the_configuration_is_not_shown_for_ever() {
    let both = Setup::new().image("fedora", "alice", "us-west-2", "").worker("w2", "fedora");
    let mut lab = Lab::new(both.clone());
    lab.make_ready("w2").await;
    lab.release("w2");
    lab.until_nothing_is_left().await;
    let shows = |lab: &Lab| text(lab).contains("worker=\"w2\"");
    lab.reconfigure(both.without_worker("w2"));
    assert!(shows(&lab), "a mistake in a file loses no numbers");
    lab.run(minutes(61)).await;
    assert!(!shows(&lab));
    assert!(text(&lab).contains("worker=\"w1\""));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_workers_are_scraped_quickly() {
    let one = |setup: Setup, number| {
        let name = format!("w{number}");
        setup.image(&name, "alice", "us-west-2", "").worker(&name, &name)
    };
    let setup = (2..=1000).fold(Setup::new(), one);
    let lab = Lab::new(setup);
    text(&lab);
    let begun = std::time::Instant::now();
    let length = text(&lab).len();
    let took = begun.elapsed();
    assert!(took < std::time::Duration::from_secs(3), "{took:?} for {length} bytes, unoptimised");
    assert!(length < 24 << 20, "{length} bytes");
}

/// A scrape, over the socket and whole.
async fn get(path: &std::path::Path) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::UnixStream::connect(path).await.expect("answers");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("is read");
    answer
}

#[tokio::test]
async fn it_is_served_beside_the_interface() {
    let lab = Lab::new(Setup::new());
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("s");
    let server = latent::link::Server::bind(&socket, None).await.expect("binds");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let serving = tokio::spawn(server.run(lab.controller(), ("f".to_owned(), "c".to_owned()), None, stopped));
    let answer = get(&socket).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
    assert!(answer.trim_end().ends_with("# EOF"), "{answer}");
    stop.send_replace(true);
    serving.await.expect("no panic").expect("ends well");
}

#[tokio::test(start_paused = true)]
async fn others_read_it_as_openmetrics() {
    let mut lab = Lab::new(Setup::new());
    lab.make_ready("w1").await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("metrics.txt");
    std::fs::write(&path, text(&lab)).expect("can be written");
    let python = std::env::var("LATENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let parser = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/metrics/parse.py"));
    let Some(parsed) = run(&python, &[parser, &path]) else { return };
    match parsed.status.code() {
        Some(0) => {}
        Some(77) => skipped("prometheus_client is not installed for this Python"),
        _ => panic!("{}", words(&parsed)),
    }
}
