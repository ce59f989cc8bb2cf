//! Checkpoints and blocks: a ledger that is read from its last checkpoint on says what all of it says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use latent::audit::report::Report;
use latent::audit::{Evidence, Record as LedgerRecord, build, reach};
use latent::control::{FOLD_VERSION, Fold, Story};
use latent::ledger::{Ledger, LedgerRead as _, MemoryLedger, SqliteLedger, SqliteReader};
use latent::model::{Actor, Body, Entry, Fleet, OwnerName};
use latent::policy::price::Prices;
use proptest::prelude::*;
use rusqlite::Connection;

use crate::harness::morning;
use crate::record::{Record, steps};

fn open<L: Ledger>(mut ledger: L) -> Fold {
    Fold::open(&mut ledger, |_, _| ()).expect("folds")
}

fn plain(entries: &[Entry]) -> Fold {
    let mut ledger = MemoryLedger::default();
    ledger.append(entries).expect("appends");
    open(ledger)
}

#[track_caller]
fn same(one: &Fold, other: &Fold) {
    assert_eq!(one.fleet(), other.fleet());
    assert_eq!(one.day(), other.day());
    assert_eq!(one.lives(), other.lives());
    assert_eq!(one.meter(), other.meter());
}

/// What is written as a controller does it: a few at a time, with a checkpoint where one is due.
fn write(ledger: &mut impl Ledger, entries: &[Entry], few: usize) {
    let mut fold = Fold::open(ledger, |_, _| ()).expect("folds");
    for some in entries.chunks(few.max(1)) {
        for entry in some {
            fold.check(entry).expect("follows");
        }
        ledger.append(some).expect("appends");
        for entry in some {
            fold.count(entry);
        }
        fold.keep(ledger, false);
    }
}

/// The same over months: every step takes so much longer.
fn stretched(entries: &[Entry], by: i32) -> Vec<Entry> {
    let begin = morning();
    entries.iter().map(|entry| Entry { at: begin + (entry.at - begin) * by, ..entry.clone() }).collect()
}

fn report(story: &Story, owner: &OwnerName, since: DateTime<Utc>, until: DateTime<Utc>) -> Report {
    build(&Evidence {
        now: until,
        since,
        until,
        fleet: "f",
        controller: Some("c"),
        owner,
        account: None,
        whole_account: false,
        shared_account: false,
        only: std::collections::BTreeSet::new(),
        ledger: Ok(LedgerRecord { story, from: "a test", chain: None }),
        regions: BTreeMap::new(),
        intent: None,
        rebakes: Ok(Vec::new()),
        findings: Vec::new(),
        prices: Ok(Prices::default()),
    })
}

fn grown(steps: &[crate::record::Step]) -> Vec<Entry> {
    let mut record = Record::new();
    for step in steps {
        record.step(step);
    }
    record.entries
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_checkpoint_and_what_follows_fold_to_the_same_as_everything(
        steps in steps(), every in 3_u64..20, few in 1_usize..5, by in prop_oneof![Just(1), Just(200)],
        cut in 0..100_usize
    ) {
        let entries = stretched(&grown(&steps), by);
        let mut ledger = MemoryLedger::with_checkpoints(every);
        write(&mut ledger, &entries, few);
        prop_assert_eq!(ledger.checkpoint(FOLD_VERSION, u64::MAX).is_some(), entries.len() as u64 >= every);
        same(&open(ledger.clone()), &plain(&entries));
        // Killed after any of its entries and opened again, with the checkpoints made by then.
        let upto = entries.len() * cut / 100;
        let mut cut = MemoryLedger::with_checkpoints(every);
        write(&mut cut, &entries[..upto], few);
        same(&open(cut.clone()), &plain(&entries[..upto]));
        write(&mut cut, &entries[upto..], few);
        same(&open(cut), &plain(&entries));
    }

    #[test]
    fn a_report_of_any_period_is_the_same_from_checkpoints_and_from_everything(
        steps in steps(), every in 3_u64..20, by in prop_oneof![Just(1), Just(30), Just(300)],
        from in 0..90_i32, length in 1..60_i32
    ) {
        let entries = stretched(&grown(&steps), by);
        let Some(last) = entries.last() else { return Ok(()) };
        let (begin, whole) = (morning(), last.at - morning());
        let (since, until) = (begin + whole * from / 100, begin + whole * (from + length) / 100 + TimeDelta::seconds(1));
        let mut ledger = MemoryLedger::with_checkpoints(every);
        write(&mut ledger, &entries, 3);
        let story = Story::read(&ledger, reach(since, until), None).expect("reads");
        prop_assert_eq!(story.begun > 0, entries.len() as u64 >= every);
        let all = Story::of(&entries);
        prop_assert_eq!(&story.fleet, &all.fleet);
        prop_assert_eq!((story.first, story.last), (all.first, all.last));
        for owner in ["alice", "bob"].map(|name| name.parse().expect("an owner")) {
            prop_assert_eq!(report(&story, &owner, since, until), report(&all, &owner, since, until));
        }
        // And as it was at an earlier entry.
        let seq = last.seq.div_ceil(2);
        let mut then = Story::read(&ledger, reach(since, until), Some(seq)).expect("reads");
        let early = Story::of(&entries[..usize::try_from(seq).expect("small")]);
        prop_assert_eq!(&then.fleet, &early.fleet);
        let owner = "alice".parse().expect("an owner");
        prop_assert_eq!(report(&then, &owner, since, until), report(&early, &owner, since, until));
        // And read on from there, as for the next owner.
        then.read_on(&ledger, None).expect("reads on");
        prop_assert_eq!((&then.fleet, then.last), (&all.fleet, all.last));
        prop_assert_eq!(report(&then, &owner, since, until), report(&all, &owner, since, until));
    }
}

/// A fixed history of a worker in every state, and of two instances.
fn history() -> Vec<Entry> {
    let lines = include_str!("ledger_fold.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).expect("an entry")).collect()
}

/// Whoever sees this fail has changed what entries fold to, or how that is written down: then [`FOLD_VERSION`] grows,
/// or controllers that are upgraded believe checkpoints that are not theirs. Only where the entries of the history
/// were changed, and nothing else, may the snapshot be taken anew without it.
#[test]
fn a_change_of_the_fold_has_a_new_version() {
    let fold = plain(&history());
    let [state, past] = fold.texts().expect("has texts");
    let value = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).expect("JSON");
    let told = serde_json::json!({ "version": FOLD_VERSION, "state": value(&state), "past": value(&past) });
    insta::assert_snapshot!(serde_json::to_string_pretty(&told).expect("JSON"));
}

struct Room {
    folder: tempfile::TempDir,
}

impl Room {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.sqlite")
    }

    /// A ledger that keeps ten rows, blocks of four entries, and a checkpoint after five.
    fn open(&self) -> SqliteLedger {
        let mut ledger = SqliteLedger::open(&self.path()).expect("opens");
        ledger.set_sizes(10, 4, 5);
        ledger
    }

    fn with(entries: &[Entry]) -> Self {
        let room = Self::new();
        write(&mut room.open(), entries, 1);
        room
    }

    fn sql(&self, text: &str) {
        Connection::open(self.path()).expect("opens").execute_batch(text).expect(text);
    }

    fn count(&self, query: &str) -> i64 {
        Connection::open(self.path()).expect("opens").query_row(query, [], |row| row.get(0)).expect(query)
    }

    fn verify(&self) -> (bool, String) {
        verified(&self.path())
    }
}

fn verified(path: &Path) -> (bool, String) {
    let (exit, said) = crate::ledger_chain::command(&["ledger", "verify", path.to_str().expect("a text")]);
    (exit == latent::cli::Exit::Done, said)
}

/// So many controllers that came and went.
fn many(count: u64) -> Vec<Entry> {
    let body = |seq: u64| match seq % 2 {
        1 => Body::ControllerStarted { version: format!("0.{seq}") },
        _ => Body::ControllerStopped {},
    };
    let at = |seq: u64| morning() + TimeDelta::minutes(i64::try_from(seq).expect("small"));
    (1..=count).map(|seq| Entry { seq, at: at(seq), actor: Actor::Controller, body: body(seq) }).collect()
}

#[test]
fn older_entries_go_into_blocks_and_are_read_and_proven_as_before() {
    let entries = many(31);
    let room = Room::with(&entries);
    assert_eq!(room.count("SELECT count(*) FROM block"), 5);
    assert_eq!(room.count("SELECT min(seq) FROM entry"), 21);
    let reader = SqliteReader::open(&room.path()).expect("opens");
    for (after, limit) in [(0, 100), (0, 3), (2, 4), (3, 1), (4, 9), (18, 6), (25, 100), (31, 5)] {
        let expected: Vec<Entry> = entries.iter().filter(|entry| entry.seq > after).take(limit).cloned().collect();
        assert_eq!(reader.read(after, limit).expect("reads"), expected, "{limit} after {after}");
        assert_eq!(room.open().read(after, limit).expect("reads"), expected, "{limit} after {after}");
    }
    let mut memory = MemoryLedger::default();
    memory.append(&entries).expect("appends");
    assert_eq!(memory.head().expect("a head"), reader.head().expect("a head"));
    for entry in &entries {
        assert_eq!(reader.before(entry.at).expect("reads"), entry.seq - 1);
        let mut upto = MemoryLedger::default();
        upto.append(&entries[..usize::try_from(entry.seq).expect("small")]).expect("appends");
        assert_eq!(reader.chain_at(entry.seq).expect("reads"), Some(upto.head().expect("a head").chain));
    }
    assert_eq!(reader.before(entries[30].at + TimeDelta::seconds(1)).expect("reads"), 31);
    let (whole, said) = room.verify();
    assert!(whole && said.contains("whole: 31 entries"), "{said}");
}

#[test]
fn what_a_controller_writes_while_others_read_is_read_on() {
    let entries = many(31);
    let room = Room::with(&entries[..12]);
    let reader = SqliteReader::open(&room.path()).expect("opens");
    let mut story = Story::read(&reader, morning(), None).expect("reads");
    assert_eq!(story.last.map(|(seq, _)| seq), Some(12));
    // Meanwhile its older entries go into blocks.
    write(&mut room.open(), &entries[12..], 1);
    for (upto, last) in [(Some(20), 20), (Some(20), 20), (None, 31), (None, 31)] {
        story.read_on(&reader, upto).expect("reads on");
        let all = Story::of(&entries[..last]);
        assert_eq!((&story.fleet, story.last), (&all.fleet, all.last), "{upto:?}");
    }
}

#[test]
fn every_change_of_a_block_is_found_at_its_entry() {
    let entries = many(31);
    for (change, place) in [
        ("UPDATE block SET chain = (SELECT chain FROM block WHERE last = 4) WHERE last = 8", "entry 8: its chain"),
        ("UPDATE block SET marks = zeroblob(32) WHERE last = 8", "entry 5: its chain"),
        ("UPDATE block SET marks = substr(marks, 1, 31) WHERE last = 8", "entry 8: its chain"),
        ("UPDATE block SET latest = '2020-01-01T00:00:00+00:00' WHERE last = 8", "entry 8: its chain"),
        (
            "UPDATE block SET texts = (SELECT texts FROM block WHERE last = 4) WHERE last = 8",
            "entry 5: what is written",
        ),
        ("UPDATE block SET texts = zeroblob(9) WHERE last = 8", "entry 5: it cannot be read"),
        ("UPDATE block SET first = 6 WHERE last = 8", "entry 6: entry 5 should be here"),
        ("UPDATE block SET last = 9 WHERE last = 8", "entry 8: its chain"),
        ("DELETE FROM block WHERE last = 8", "entry 9: entry 5 should be here"),
        ("DELETE FROM block WHERE last = 4", "entry 5: entry 1 should be here"),
        ("INSERT INTO entry SELECT 3, at, version, worker, body, chain FROM entry WHERE seq = 21", "it stands before"),
    ] {
        let room = Room::with(&entries);
        room.sql(change);
        let (whole, said) = room.verify();
        assert!(!whole && said.contains(place), "{change}: {said}");
        if !place.contains("stands") {
            let read = SqliteReader::open(&room.path()).expect("opens").read(0, 100);
            assert!(read.is_err() || read.is_ok_and(|read| read != entries), "{change}: it is read as if nothing were");
        }
    }
}

#[test]
fn a_text_that_was_changed_in_a_block_is_found_at_its_entry() {
    let mut forged = many(31);
    let room = Room::with(&forged);
    forged[5].at += TimeDelta::seconds(1);
    let other = Room::with(&forged);
    let from = other.path().display().to_string();
    let texts = "UPDATE block SET texts = (SELECT texts FROM other.block WHERE last = 8) WHERE last = 8";
    room.sql(&format!("ATTACH '{from}' AS other; {texts}; DETACH other"));
    let (whole, said) = room.verify();
    assert!(!whole && said.contains("entry 6: its chain"), "{said}");
    let error = SqliteReader::open(&room.path()).expect("opens").read(0, 100).expect_err("damaged");
    assert!(error.to_string().contains("entry 6"), "{error}");
}

#[test]
fn a_row_that_was_changed_goes_into_no_block() {
    let entries = many(31);
    let room = Room::with(&entries[..20]);
    let rows = room.count("SELECT min(seq) FROM entry");
    room.sql(&format!("UPDATE entry SET worker = 'w9' WHERE seq = {}", rows + 1));
    room.open().append(&entries[20..]).expect("what is written is written all the same");
    assert_eq!(room.count("SELECT min(seq) FROM entry"), rows);
    let (whole, said) = room.verify();
    assert!(!whole && said.contains(&format!("entry {}: its column worker", rows + 1)), "{said}");
}

#[test]
fn a_ledger_of_the_format_before_is_sealed_little_by_little() {
    let entries = many(60);
    let room = Room::new();
    drop(room.open());
    room.sql(
        "DROP TABLE block; DROP TABLE checkpoint; CREATE INDEX entry_by_worker ON entry (worker, seq);
         PRAGMA user_version = 2;",
    );
    let old = SqliteReader::open(&room.path()).expect("opens");
    let mut ledger = room.open();
    ledger.set_sizes(1_000, 4, 1_000);
    ledger.append(&entries[..40]).expect("appends");
    assert_eq!(room.count("PRAGMA user_version"), 3);
    drop(ledger);
    // Every write seals one block, and a reader that was there before sees it all.
    for (number, entry) in (1..).zip(&entries[40..45]) {
        room.open().append(std::slice::from_ref(entry)).expect("appends");
        assert_eq!(room.count("SELECT count(*) FROM block"), number);
        let upto = usize::try_from(entry.seq).expect("small");
        assert_eq!(old.read(0, 100).expect("reads"), entries[..upto]);
        let (whole, said) = room.verify();
        assert!(whole, "{said}");
    }
    same(&open(room.open()), &plain(&entries[..45]));
}

#[test]
fn a_checkpoint_that_does_not_fit_is_never_believed() {
    let entries = history();
    for (change, believed) in [
        ("SELECT 1", true),
        ("UPDATE checkpoint SET version = version + 1", false),
        ("UPDATE checkpoint SET chain = (SELECT chain FROM entry ORDER BY seq LIMIT 1)", false),
        ("UPDATE checkpoint SET state = zeroblob(50)", false),
        ("UPDATE checkpoint SET past = zeroblob(50)", false),
        ("UPDATE checkpoint SET at = '2020-01-01T00:00:00+00:00'", false),
        ("UPDATE checkpoint SET seq = seq + 1", false),
        ("UPDATE checkpoint SET previous = 0 WHERE previous > 0", false),
        ("DROP TABLE checkpoint", false),
    ] {
        let room = Room::with(&entries);
        room.sql(change);
        let last = SqliteReader::open(&room.path()).expect("opens").checkpoint(FOLD_VERSION, u64::MAX);
        // The first one has none before it.
        let believed_is = last.is_some_and(|last| last.seq > 5);
        assert_eq!(believed_is, believed, "{change}");
        same(&open(room.open()), &plain(&entries));
        let (whole, said) = room.verify();
        assert!(whole, "{change}: {said}");
    }
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before_it() {
    let entries = history();
    let room = Room::with(&entries);
    let all = room.count("SELECT count(*) FROM checkpoint");
    assert!(all > 2);
    room.sql("UPDATE checkpoint SET state = zeroblob(9) WHERE seq = (SELECT max(seq) FROM checkpoint)");
    let before = room.count("SELECT max(previous) FROM checkpoint");
    let last =
        SqliteReader::open(&room.path()).expect("opens").checkpoint(FOLD_VERSION, u64::MAX).expect("an older one");
    assert_eq!(i64::try_from(last.seq).expect("small"), before);
    let mut folded = 0;
    let fold = Fold::open(&mut room.open(), |_, _| folded += 1).expect("folds");
    same(&fold, &plain(&entries));
    assert_eq!(folded, entries.len() as u64 - last.seq);
    assert_eq!(Fleet::fold(&entries).expect("folds"), *fold.fleet());
}
