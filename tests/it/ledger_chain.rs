//! The chain over the ledger: what was changed, left out or put in is found, and an older file gets its chain.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser as _;
use latent::cli::{Args, Exit};
use latent::ledger::{Head, Ledger, LedgerError, LedgerRead as _, MemoryLedger, SqliteLedger, SqliteReader};
use latent::model::{Actor, Body, Cause, Entry};
use rusqlite::Connection;

use crate::harness::{morning, worker};

/// Format 1, as the version before this one wrote it.
const FORMAT_1: &str = "
    CREATE TABLE entry (
        seq INTEGER PRIMARY KEY, at TEXT NOT NULL, version INTEGER NOT NULL, worker TEXT, body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX entry_by_worker ON entry (worker, seq);
    PRAGMA user_version = 1;
";

fn entry(seq: u64) -> Entry {
    let at: DateTime<Utc> = morning() + TimeDelta::seconds(i64::try_from(seq).expect("small"));
    let worker = worker("w1");
    let body = if seq % 2 == 1 {
        Body::Requested { worker, request: format!("r-{seq}").parse().expect("an id") }
    } else {
        Body::Released { worker, cause: Cause::Operator }
    };
    Entry { seq, at, actor: Actor::Controller, body }
}

fn entries(count: u64) -> Vec<Entry> {
    (1..=count).map(entry).collect()
}

struct Room {
    folder: tempfile::TempDir,
}

impl Room {
    fn with(count: u64) -> Self {
        let room = Self { folder: tempfile::tempdir().expect("a folder") };
        room.open().append(&entries(count)).expect("appends");
        room
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.sqlite")
    }

    fn open(&self) -> SqliteLedger {
        SqliteLedger::open(&self.path()).expect("opens")
    }

    fn sql(&self, text: &str) {
        Connection::open(self.path()).expect("opens").execute_batch(text).expect(text);
    }

    fn verify(&self, more: &[&str]) -> (Exit, String) {
        let path = self.path();
        command(&[&["ledger", "verify", "--ledger", text(&path)], more].concat())
    }

    fn export(&self, more: &[&str]) -> PathBuf {
        let (to, path) = (self.folder.path().join("ledger.jsonl"), self.path());
        let done = command(&[&["ledger", "export", "--ledger", text(&path), "-o", text(&to)], more].concat());
        assert_eq!(done, (Exit::Done, String::new()));
        to
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a text")
}

pub(crate) fn command(words: &[&str]) -> (Exit, String) {
    let args = Args::try_parse_from(["latent"].iter().chain(words)).expect("a command");
    let mut out = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let exit = runtime.block_on(latent::cli::run(args, &mut out));
    (exit, String::from_utf8(out).expect("text"))
}

#[test]
fn an_untouched_ledger_is_whole_beside_its_controller_and_its_head_is_the_same_everywhere() {
    let room = Room::with(9);
    let mut ledger = room.open();
    let (exit, said) = room.verify(&[]);
    assert_eq!(exit, Exit::Done, "{said}");
    let head = ledger.head().expect("a head");
    assert!(said.contains("whole: 9 entries; the last is 9") && said.contains(&format!("head {head}")), "{said}");
    ledger.append(&[entry(10)]).expect("the reader takes no lock");
    let mut memory = MemoryLedger::default();
    memory.append(&entries(10)).expect("appends");
    assert_eq!(memory.head().expect("a head"), ledger.head().expect("a head"));
    assert_eq!(
        SqliteReader::open(&room.path()).expect("opens").head().expect("a head"),
        ledger.head().expect("a head")
    );
    let (exit, said) = room.verify(&["--head", &head.to_string(), "--json"]);
    assert_eq!(exit, Exit::Done, "{said}");
    assert!(said.contains("\"entries\": 10"), "{said}");
}

#[test]
fn a_write_that_failed_and_is_in_the_file_all_the_same_does_not_break_the_chain() {
    let (room, other) = (Room::with(3), Room::with(4));
    let mut ledger = room.open();
    // As after a commit of which only the answer was lost.
    let path = text(&other.path()).to_owned();
    let copy = "INSERT INTO entry SELECT * FROM other.entry WHERE seq = 4";
    room.sql(&format!("ATTACH '{path}' AS other; {copy}; DETACH other"));
    ledger.append(&[entry(4)]).expect_err("there is one");
    assert_eq!(ledger.head().expect("a head"), other.open().head().expect("a head"));
    ledger.append(&[entry(5)]).expect("goes on");
    let (exit, said) = room.verify(&[]);
    assert_eq!(exit, Exit::Done, "{said}");
}

#[test]
fn a_ledger_without_an_entry_is_whole() {
    let room = Room::with(0);
    assert_eq!(room.verify(&[]).0, Exit::Done);
    assert_eq!(room.open().head().expect("a head"), Head::genesis());
    let exported = room.export(&[]);
    assert_eq!(command(&["ledger", "verify", text(&exported)]).0, Exit::Done);
}

#[test]
fn an_export_is_whole_and_for_its_owner_alone_and_never_the_ledger_itself() {
    let room = Room::with(1);
    let exported = room.export(&[]);
    let mode = std::fs::metadata(&exported).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let (path, link) = (room.path(), room.folder.path().join("link"));
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    for to in [&path, &link] {
        let told = command(&["ledger", "export", "--ledger", text(&path), "-o", text(to)]);
        assert_eq!(told, (Exit::Usage, String::new()));
    }
    let (exit, said) = room.verify(&[]);
    assert!(exit == Exit::Done && said.contains("whole: 1 entry;"), "{said}");
}

#[test]
fn every_change_of_a_row_is_found_at_its_place() {
    for (change, place) in [
        ("UPDATE entry SET at = '2020-01-01T00:00:00+00:00' WHERE seq = 4", "entry 4: its column at"),
        ("UPDATE entry SET version = version - 1 WHERE seq = 4", "entry 4: its chain"),
        ("UPDATE entry SET version = 99 WHERE seq = 4", "entry 4: it says version 99"),
        ("UPDATE entry SET worker = 'w2' WHERE seq = 4", "entry 4: its column worker"),
        ("UPDATE entry SET worker = NULL WHERE seq = 4", "entry 4: its column worker"),
        ("UPDATE entry SET body = replace(body, 'operator', 'lost') WHERE seq = 4", "entry 4: "),
        ("UPDATE entry SET body = replace(body, 'r-5', 'r-6') WHERE seq = 5", "entry 5: its chain"),
        ("UPDATE entry SET body = body || ' ' WHERE seq = 5", "entry 5: its chain"),
        ("UPDATE entry SET chain = '' WHERE seq = 4", "entry 4: its chain"),
        ("UPDATE entry SET chain = upper(chain) WHERE seq = 4", "entry 4: its chain"),
        ("UPDATE entry SET chain = (SELECT chain FROM entry WHERE seq = 3) WHERE seq = 4", "entry 4: its chain"),
        ("UPDATE entry SET seq = 400 WHERE seq = 9", "entry 400: entry 9 should be here: 391 entries are missing"),
        ("DELETE FROM entry WHERE seq = 4", "entry 5: entry 4 should be here: it is missing"),
        ("DELETE FROM entry WHERE seq = 1", "entry 2: entry 1 should be here"),
        ("DELETE FROM entry WHERE seq = 4; UPDATE entry SET seq = seq - 1 WHERE seq > 4", "entry 4: what is written"),
        (
            "INSERT INTO entry SELECT 0, at, version, worker, body, chain FROM entry WHERE seq = 1",
            "entry 0: it stands before",
        ),
        ("INSERT INTO entry SELECT 10, at, version, worker, body, chain FROM entry WHERE seq = 9", "entry 10: what is"),
        (
            "UPDATE entry SET seq = 100 WHERE seq = 4; UPDATE entry SET seq = 4 WHERE seq = 6; \
             UPDATE entry SET seq = 6 WHERE seq = 100",
            "entry 4: what is written there calls itself entry 6",
        ),
    ] {
        let room = Room::with(9);
        room.sql(change);
        let (exit, said) = room.verify(&[]);
        assert_eq!(exit, Exit::NotWhole, "{change}: {said}");
        assert!(said.contains(place), "{change}: {said}");
    }
}

#[test]
fn a_tail_that_was_cut_off_is_told_by_a_noted_head_alone() {
    let room = Room::with(9);
    let head = room.open().head().expect("a head").to_string();
    room.sql("DELETE FROM entry WHERE seq > 7");
    let (exit, said) = room.verify(&[]);
    assert_eq!(exit, Exit::Done, "{said}");
    assert!(said.contains("whether more followed only a noted --head tells"), "{said}");
    let (exit, said) = room.verify(&["--head", &head]);
    assert_eq!(exit, Exit::NotWhole, "{said}");
    assert!(said.contains("entry 9: it is missing: it was noted, and the last entry here is 7"), "{said}");
}

#[test]
fn a_ledger_that_was_written_anew_is_told_by_a_noted_head() {
    let (room, other) = (Room::with(9), Room { folder: tempfile::tempdir().expect("a folder") });
    let mut forged = entries(9);
    forged[3].at += TimeDelta::hours(1);
    other.open().append(&forged).expect("appends");
    assert_eq!(other.verify(&[]).0, Exit::Done);
    let (exit, said) = other.verify(&["--head", &room.open().head().expect("a head").to_string()]);
    assert_eq!(exit, Exit::NotWhole, "{said}");
    assert!(said.contains("entry 9: its chain is not the one that was noted"), "{said}");
}

#[test]
fn an_entry_that_does_not_follow_is_found_though_its_chain_is_right() {
    let room = Room { folder: tempfile::tempdir().expect("a folder") };
    let impossible = Body::StartIntended { worker: worker("w1"), instance: "i-1".parse().expect("an id") };
    let all = [entry(1), Entry { body: impossible, ..entry(2) }];
    room.open().append(&all).expect("appends");
    let (exit, said) = room.verify(&[]);
    assert_eq!(exit, Exit::NotWhole, "{said}");
    assert!(said.contains("entry 2: it does not follow"), "{said}");
}

#[test]
fn an_exported_file_is_verified_like_the_ledger() {
    let room = Room::with(9);
    let whole = std::fs::read_to_string(room.export(&[])).expect("exported");
    assert_eq!(whole.lines().count(), 9);
    let first: serde_json::Value = serde_json::from_str(whole.lines().next().expect("a line")).expect("JSON");
    for member in ["seq", "at", "actor", "body", "version", "chain"] {
        assert!(!first[member].is_null(), "{member}: {first}");
    }
    let file = room.folder.path().join("ledger.jsonl");
    let verify = |changed: &str| {
        std::fs::write(&file, changed).expect("writes");
        command(&["ledger", "verify", text(&file)])
    };
    assert_eq!(verify(&whole).0, Exit::Done);
    let lines: Vec<&str> = whole.lines().collect();
    let (mut swapped, mut short) = (lines.clone(), lines.clone());
    swapped.swap(3, 4);
    short.remove(3);
    for (changed, place) in [
        (whole.replace("\"r-5\"", "\"r-6\""), "entry 5: its chain"),
        (whole.replace("\"seq\":5", "\"seq\": 5"), "entry 5: not a line"),
        (swapped.join("\n"), "entry 5: entry 4 should be here"),
        (short.join("\n"), "entry 5: entry 4 should be here"),
        (lines[1..].join("\n"), "entry 2: entry 1 should be here"),
        ("\u{1b}[31m\n".to_owned(), "entry 1: not a line"),
    ] {
        let (exit, said) = verify(&changed);
        assert_eq!(exit, Exit::NotWhole, "{changed}: {said}");
        assert!(said.contains(place), "{place}: {said}");
    }
}

#[test]
fn a_part_of_a_ledger_hangs_on_the_chain_before_it() {
    let room = Room::with(9);
    let since = entry(6).at.to_rfc3339();
    for more in [["--after", "5"], ["--since", &since]] {
        let file = room.export(&more);
        let (exit, said) = command(&["ledger", "verify", text(&file)]);
        assert_eq!(exit, Exit::Done, "{said}");
        assert!(said.contains("whole: 4 entries, from 6 on (what was before is not in here)"), "{said}");
        let changed = std::fs::read_to_string(&file).expect("reads").replace("\"operator\"", "\"idle\"");
        std::fs::write(&file, changed).expect("writes");
        assert_eq!(command(&["ledger", "verify", text(&file)]).0, Exit::NotWhole);
    }
    let (exit, said) = command(&["ledger", "verify", text(&room.path())]);
    assert_eq!(exit, Exit::Done, "a ledger may be named as a file: {said}");
}

fn old_ledger(room: &Room, count: u64, chained: u64) {
    room.sql(FORMAT_1);
    let mut connection = Connection::open(room.path()).expect("opens");
    let connection = connection.transaction().expect("begins");
    for entry in entries(count) {
        let (seq, at) = (i64::try_from(entry.seq).expect("small"), entry.at.to_rfc3339());
        let text = serde_json::to_string(&entry).expect("writes");
        let row = rusqlite::params![seq, at, latent::model::ENTRY_VERSION, "w1", text];
        connection
            .execute("INSERT INTO entry (seq, at, version, worker, body) VALUES (?1, ?2, ?3, ?4, ?5)", row)
            .expect("a row");
    }
    if chained > 0 {
        connection.execute_batch("ALTER TABLE entry ADD COLUMN chain TEXT NOT NULL DEFAULT ''").expect("a column");
    }
    let mut head = Head::genesis();
    for entry in entries(chained) {
        head.chain =
            head.chain.after(entry.seq, latent::model::ENTRY_VERSION, &serde_json::to_string(&entry).expect("writes"));
        let row = rusqlite::params![i64::try_from(entry.seq).expect("small"), head.chain.to_string()];
        connection.execute("UPDATE entry SET chain = ?2 WHERE seq = ?1", row).expect("a row");
    }
    connection.commit().expect("commits");
}

#[test]
fn a_ledger_of_the_format_before_gets_its_chain_also_after_a_crash_half_way() {
    // Killed before the first entry had its chain, in the middle, and just before the end.
    for chained in [0, 1, 20_000, 21_000] {
        let room = Room { folder: tempfile::tempdir().expect("a folder") };
        old_ledger(&room, 21_000, chained);
        let (exit, _) = room.verify(&[]);
        assert_eq!(exit, Exit::Ledger, "it has no chain yet");
        let reader = SqliteReader::open(&room.path()).expect("opens");
        assert_eq!(reader.read(0, 3).expect("reads"), entries(3));
        assert!(matches!(reader.rows(0, 1), Err(LedgerError::NotChained { .. })));
        drop(reader);
        room.open().append(&[entry(21_001)]).expect("appends");
        let (exit, said) = room.verify(&[]);
        assert_eq!(exit, Exit::Done, "{said}");
        assert!(said.contains("whole: 21001 entries"), "{said}");
    }
}

#[test]
fn a_reader_creates_nothing_and_says_what_it_cannot_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.sqlite");
    let error = SqliteReader::open(&path).expect_err("none");
    assert!(matches!(error, LedgerError::Missing { .. }) && error.to_string().contains("--ledger"), "{error}");
    assert!(!path.exists());
    std::fs::write(&path, "x".repeat(8192)).expect("a file");
    assert!(matches!(SqliteReader::open(&path), Err(LedgerError::Damaged { .. })));
    std::fs::write(&path, "").expect("a file");
    assert!(matches!(SqliteReader::open(&path), Err(LedgerError::Damaged { .. })));
    std::fs::remove_file(&path).expect("removes");
    drop(SqliteLedger::open(&path).expect("opens"));
    Connection::open(&path).expect("opens").pragma_update(None, "user_version", 99).expect("sets");
    assert!(matches!(SqliteReader::open(&path), Err(LedgerError::Newer { found: 99, .. })));
}

#[test]
fn a_copy_in_a_folder_that_may_not_be_written_is_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let room = Room::with(3);
    let folder = room.folder.path();
    std::fs::set_permissions(room.path(), std::fs::Permissions::from_mode(0o444)).expect("read-only");
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o555)).expect("read-only");
    let read = SqliteReader::open(&room.path()).and_then(|reader| reader.read(0, 10));
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).expect("writable");
    assert_eq!(read.expect("reads"), entries(3));
}
