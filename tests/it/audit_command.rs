//! `latent audit` as a command: what it refuses, and what a report says of a ledger that is a copy.

use std::path::{Path, PathBuf};

use latent::cli::Exit;
use latent::ledger::{Ledger as _, SqliteLedger};
use latent::model::{Actor, Body, Entry};

use crate::cli::run;
use crate::harness::morning;

/// A ledger in which a controller has begun.
fn ledger(folder: &Path) -> PathBuf {
    let path = folder.join("copy.db");
    let body = Body::ControllerStarted { version: "1".to_owned() };
    let entry = Entry { seq: 1, at: morning(), actor: Actor::Controller, body };
    SqliteLedger::open(&path).expect("opens").append(&[entry]).expect("appends");
    path
}

/// Runs it as an owner does who has no configuration.
async fn alone(more: &[&str]) -> (Exit, String) {
    let usual = ["audit", "--fleet", "snakes", "--region", "us-west-2", "--since", "2020-01-01", "--format", "json"];
    run(&[&usual, more].concat()).await
}

#[tokio::test]
async fn a_ledger_without_an_owners_name_makes_no_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = ledger(folder.path());
    let copy = ["--ledger", path.to_str().expect("a text")];
    assert_eq!(alone(&copy).await, (Exit::Usage, String::new()));
    assert_eq!(alone(&["--socket", "/nowhere/latent.sock"]).await, (Exit::Usage, String::new()));
    let (_, told) = alone(&[&copy[..], &["--owner", "alice"]].concat()).await;
    assert!(told.contains("\"owner\": \"alice\""), "{told}");
}

#[tokio::test]
async fn a_named_ledger_that_cannot_be_read_makes_no_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("none.db");
    let told = alone(&["--owner", "alice", "--ledger", path.to_str().expect("a text")]).await;
    assert_eq!(told, (Exit::Ledger, String::new()));
}

#[tokio::test]
async fn journals_that_are_not_beside_a_copy_are_missing_and_not_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = ledger(folder.path());
    let words = ["--owner", "alice", "--ledger", path.to_str().expect("a text")];
    let unseen = |told: &str| told.contains("what rebakes did");
    assert!(unseen(&alone(&words).await.1));
    std::fs::create_dir(folder.path().join("rebakes")).expect("a folder");
    assert!(!unseen(&alone(&words).await.1));
}
