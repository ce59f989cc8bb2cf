//! The ledger as a file: what survives, who may write, and what is said when it cannot be used.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use latent::ledger::{Ledger, LedgerError, LedgerRead as _, SqliteLedger};
use latent::model::{Actor, Body, Cause, Entry, Failure, FailureKind, Fleet, FoldError, Phase};
use proptest::prelude::*;
use rusqlite::Connection;

use crate::harness::{morning, worker};
use crate::record::{Record, steps};

fn entry(seq: u64, body: Body) -> Entry {
    let at: DateTime<Utc> = morning() + TimeDelta::seconds(i64::try_from(seq).expect("small"));
    Entry { seq, at, actor: Actor::Controller, body }
}

fn requested(seq: u64) -> Entry {
    entry(seq, Body::Requested { worker: worker("w1"), request: format!("r-{seq}").parse().expect("an id") })
}

fn two() -> [Entry; 2] {
    [requested(1), entry(2, Body::Released { worker: worker("w1"), cause: Cause::Operator })]
}

fn open(path: &Path) -> Result<SqliteLedger, LedgerError> {
    SqliteLedger::open(path)
}

#[test]
fn what_was_appended_is_read_by_the_next_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new/folder/ledger.sqlite");
    open(&path).expect("opens").append(&two()).expect("appends");
    let ledger = open(&path).expect("opens again");
    assert_eq!(ledger.read(0, 10).expect("reads"), two());
    assert_eq!(ledger.read(1, 10).expect("reads"), two()[1..]);
    assert_eq!(ledger.read(0, 1).expect("reads"), two()[..1]);
    let fold = Fleet::fold(&two()).expect("folds");
    assert_eq!(Fleet::fold(&ledger.read(0, 10).expect("reads")).expect("folds"), fold);
}

#[test]
fn a_second_process_is_told_who_holds_the_ledger() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.sqlite");
    let first = open(&path).expect("opens");
    let error = open(&path).expect_err("is in use");
    assert!(matches!(error, LedgerError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(first);
    open(&path).expect("opens when the first has ended");
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_and_left_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.sqlite");
    drop(open(&path).expect("opens"));
    let connection = Connection::open(&path).expect("opens");
    connection.pragma_update(None, "user_version", 99).expect("sets");
    drop(connection);
    let error = open(&path).expect_err("is newer");
    assert!(matches!(error, LedgerError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("upgrade latent"), "{error}");
    let found: u32 =
        Connection::open(&path).expect("opens").query_row("PRAGMA user_version", [], |row| row.get(0)).expect("reads");
    assert_eq!(found, 99);
}

#[test]
fn a_file_that_is_no_ledger_is_called_damaged_and_left_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.sqlite");
    std::fs::write(&path, "x".repeat(8192)).expect("a file");
    let error = open(&path).expect_err("no ledger");
    assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("found again by its tags"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "x".repeat(8192));
}

#[test]
fn an_entry_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.sqlite");
    open(&path).expect("opens").append(&two()).expect("appends");
    let connection = Connection::open(&path).expect("opens");
    connection.execute("UPDATE entry SET body = '{\"nonsense\":1}' WHERE seq = 2", []).expect("damages");
    drop(connection);
    let error = open(&path).expect("opens").read(0, 10).expect_err("damaged");
    assert!(error.to_string().contains("entry 2"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("state"), "a file").expect("a file");
    let error = open(&folder.path().join("state/ledger.sqlite")).expect_err("no folder");
    assert!(matches!(error, LedgerError::Storage { .. }), "{error}");
    assert!(error.to_string().contains("state/ledger.sqlite cannot be created"), "{error}");
}

#[test]
fn a_folder_that_may_not_be_written_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o555)).expect("read-only");
    let tried = open(&folder.path().join("ledger.sqlite"));
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("writable");
    // The superuser may write everywhere; for everybody else it is refused with the cure.
    if let Err(error) = tried {
        assert!(error.to_string().contains("check the folder's owner, its mode and the free space"), "{error}");
    }
}

#[test]
fn a_full_file_refuses_the_entry_and_keeps_those_before_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.sqlite");
    let mut ledger = open(&path).expect("opens");
    ledger.append(&two()).expect("appends");
    ledger.limit_pages(8).expect("limits");
    let long = "x".repeat(200_000);
    let failure =
        Failure { phase: Phase::Launch, kind: FailureKind::Owner, code: String::new(), message: long, console: None };
    let error = ledger
        .append(&[entry(3, Body::RequestFailed { worker: worker("w1"), failure })])
        .expect_err("there is no room");
    assert!(error.to_string().contains("the free space"), "{error}");
    assert_eq!(ledger.read(0, 10).expect("reads"), two());
    ledger.append(&[requested(3)]).expect("what fits is still taken");
}

#[test]
fn a_gap_or_a_repetition_is_not_believed() {
    let gap = Fleet::fold(&[requested(1), requested(3)]).expect_err("a gap");
    assert_eq!(gap, FoldError::Sequence { expected: 2, found: 3 });
    assert!(Fleet::fold(&[requested(1), requested(1)]).is_err());
    let impossible = entry(2, Body::StartIntended { worker: worker("w1"), instance: "i-1".parse().expect("an id") });
    let error = Fleet::fold(&[requested(1), impossible]).expect_err("does not follow");
    assert!(error.to_string().contains("requested") && error.to_string().contains("start intended"), "{error}");
}

proptest! {
    #[test]
    fn whatever_happens_comes_back_from_its_text_and_folds_to_the_same(steps in steps()) {
        let mut record = Record::new();
        for step in &steps {
            record.step(step);
        }
        let texts: Vec<String> = record.entries.iter().map(|e| serde_json::to_string(e).expect("writes")).collect();
        let again: Vec<Entry> = texts.iter().map(|text| serde_json::from_str(text).expect("reads")).collect();
        prop_assert_eq!(&again, &record.entries);
        prop_assert_eq!(Fleet::fold(&again).expect("folds"), record.fleet);
    }

    #[test]
    fn an_entry_comes_back_from_the_file_as_it_was(message in ".{0,300}", code in ".{0,80}", second in 0_i64..4_000_000_000) {
        let failure = Failure::new(Phase::Connect, FailureKind::NotConnected, &code, &message);
        let body = Body::RequestFailed { worker: worker("w1"), failure };
        let at = DateTime::UNIX_EPOCH + TimeDelta::seconds(second);
        let entry = Entry { seq: 1, at, actor: Actor::Cloud, body };
        let text = serde_json::to_string(&entry).expect("writes");
        prop_assert_eq!(serde_json::from_str::<Entry>(&text).expect("reads"), entry);
    }
}
