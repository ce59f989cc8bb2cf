//! Journals in files: whole lines or nothing, one process at a time.

use std::fs;
use std::path::PathBuf;

use latent::control::first_entry;
use latent::ledger::{Journal as _, JournalError, JournalFolder, Journals as _};
use latent::model::{Rebake, RebakeBody, RebakeEntry, RebakeFoldError, RebakeOrder};
use latent::sim::run::rebake::Case;

use super::house;

struct Folder {
    dir: tempfile::TempDir,
    journals: JournalFolder,
    order: RebakeOrder,
}

fn folder() -> Folder {
    let dir = tempfile::tempdir().expect("a folder");
    let journals = JournalFolder::new(dir.path().join("rebakes"));
    Folder { dir, journals, order: house(Case::default()).order }
}

impl Folder {
    fn path(&self) -> PathBuf {
        self.dir.path().join("rebakes").join(format!("{}.jsonl", self.order.id))
    }

    /// The entries that follow the first one.
    fn entry(&self, seq: u64) -> RebakeEntry {
        RebakeEntry { version: 1, seq, at: self.order.at, body: RebakeBody::Resumed { version: "0.1.0".to_owned() } }
    }

    /// A journal of this many entries, which nobody holds.
    fn written(&self, entries: u64) {
        let mut journal = self.journals.create(&self.order.id, &first_entry(self.order.clone())).expect("creates");
        for seq in 2..=entries {
            journal.append(&self.entry(seq)).expect("writes");
        }
    }
}

#[tokio::test]
async fn what_was_written_is_read_back_and_gone_on_with() {
    let folder = folder();
    assert_eq!(folder.journals.ids().expect("no folder is no journal"), Vec::new());
    folder.written(3);
    assert_eq!(folder.journals.ids().expect("reads"), vec![folder.order.id.clone()]);
    let (mut journal, entries) = folder.journals.open(&folder.order.id).expect("opens");
    assert_eq!(entries.len(), 3);
    journal.append(&folder.entry(4)).expect("writes");
    let read = folder.journals.read(&folder.order.id).expect("reads while it is held");
    assert_eq!(Rebake::fold(&read).expect("folds").seq, 4);
}

#[tokio::test]
async fn a_second_process_is_refused_and_may_read() {
    let folder = folder();
    folder.written(2);
    let first = folder.journals.open(&folder.order.id).expect("opens");
    let refused = folder.journals.open(&folder.order.id).expect_err("is held");
    assert!(matches!(&refused, JournalError::Locked { id } if *id == folder.order.id), "{refused}");
    assert!(refused.to_string().contains("is being worked on by another process"));
    assert_eq!(folder.journals.read(&folder.order.id).expect("reads").len(), 2);
    drop(first);
    folder.journals.open(&folder.order.id).expect("it is free");
}

#[tokio::test]
async fn a_rebake_is_begun_once_and_one_that_is_not_there_is_told() {
    let folder = folder();
    let missing = folder.journals.open(&folder.order.id).expect_err("is not there").to_string();
    assert!(missing.starts_with("there is no rebake rb-sim-0 in "), "{missing}");
    assert!(matches!(folder.journals.read(&folder.order.id), Err(JournalError::Unknown { .. })));
    folder.written(1);
    let again = folder.journals.create(&folder.order.id, &first_entry(folder.order.clone()));
    assert!(matches!(again, Err(JournalError::Storage { doing: "created", .. })));
}

#[tokio::test]
async fn a_last_line_that_was_torn_is_cut_and_the_rest_gone_on_with() {
    let folder = folder();
    folder.written(3);
    let whole = fs::read(folder.path()).expect("reads");
    let lines: Vec<usize> =
        whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    for length in lines[1]..whole.len() {
        fs::write(folder.path(), &whole[..length]).expect("tears");
        assert_eq!(folder.journals.read(&folder.order.id).expect("reads").len(), 2, "{length}");
        let (mut journal, entries) = folder.journals.open(&folder.order.id).expect("opens");
        assert_eq!(entries.len(), 2);
        assert_eq!(fs::read(folder.path()).expect("reads").len(), lines[1], "the rest is cut");
        journal.append(&folder.entry(3)).expect("writes");
        assert_eq!(fs::read(folder.path()).expect("reads"), whole);
    }
}

#[tokio::test]
async fn a_damaged_line_is_told_with_its_number_and_nothing_is_cut() {
    let folder = folder();
    folder.written(3);
    let text = fs::read_to_string(folder.path()).expect("reads");
    let mut lines: Vec<&str> = text.lines().collect();
    lines[1] = r#"{"version":1,"seq":2"#;
    let damaged = lines.join("\n") + "\n";
    fs::write(folder.path(), &damaged).expect("writes");
    for refused in [folder.journals.open(&folder.order.id).map(drop), folder.journals.read(&folder.order.id).map(drop)]
    {
        let told = refused.expect_err("is damaged").to_string();
        assert!(told.contains("is damaged (line 2: ") && told.contains("latent sweep finds it"), "{told}");
    }
    assert_eq!(fs::read_to_string(folder.path()).expect("reads"), damaged);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_told_as_damage() {
    let folder = folder();
    folder.written(2);
    let mut bytes = fs::read(folder.path()).expect("reads");
    let at = bytes.len() / 2;
    bytes[at] = 0xff;
    fs::write(folder.path(), bytes).expect("writes");
    let told = folder.journals.open(&folder.order.id).map(drop).expect_err("is no text");
    assert!(matches!(told, JournalError::Damaged { .. }), "{told}");
}

#[tokio::test]
async fn a_tear_within_a_letter_of_two_bytes_is_a_tear() {
    let folder = folder();
    folder.written(2);
    let mut bytes = fs::read(folder.path()).expect("reads");
    bytes.extend_from_slice("{\"version\":1,\"what\":\"ü".as_bytes());
    bytes.pop();
    fs::write(folder.path(), bytes).expect("writes");
    assert_eq!(folder.journals.read(&folder.order.id).expect("reads").len(), 2);
    assert_eq!(folder.journals.open(&folder.order.id).expect("opens").1.len(), 2);
}

#[tokio::test]
async fn a_journal_of_a_newer_version_is_not_gone_on_with() {
    let folder = folder();
    let mut first = first_entry(folder.order.clone());
    first.version = 2;
    drop(folder.journals.create(&folder.order.id, &first).expect("creates"));
    let entries = folder.journals.read(&folder.order.id).expect("reads");
    let refused = Rebake::fold(&entries).expect_err("is newer");
    assert_eq!(refused, RebakeFoldError::Newer { seq: 1, found: 2 });
    assert!(refused.to_string().ends_with("upgrade latent"), "{refused}");
}

/// Where the child of the next test writes.
const FOLDER: &str = "LATENT_TEST_SMALL_DISK";

/// A limit on the length of files does to a write what a full disk does: some of it is written.
#[test]
fn what_does_not_fit_on_the_disk_leaves_no_half_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let small = "trap '' XFSZ; ulimit -f 32; exec \"$0\" \"$@\"";
    let mut child = std::process::Command::new("sh");
    child.args(["-c", small]).arg(std::env::current_exe().expect("this program"));
    child.args(["--exact", "rebake::journal::on_a_small_disk", "--ignored", "--nocapture"]);
    let ran = child.env(FOLDER, dir.path()).output().expect("runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("refused after"), "{said}{}", String::from_utf8_lossy(&ran.stderr));
}

#[tokio::test]
#[ignore = "needs a limit on the length of files: another test runs it"]
async fn on_a_small_disk() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    let (journals, order) = (JournalFolder::new(PathBuf::from(&dir)), house(Case::default()).order);
    let path = PathBuf::from(&dir).join(format!("{}.jsonl", order.id));
    let mut journal = journals.create(&order.id, &first_entry(order.clone())).expect("creates");
    let body = |version: String| RebakeBody::Resumed { version };
    let mut written = 1;
    let refused = loop {
        let entry = RebakeEntry { version: 1, seq: written + 1, at: order.at, body: body("0".repeat(300)) };
        match journal.append(&entry) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1_000, "there is no limit");
    };
    assert!(matches!(refused, JournalError::Storage { doing: "written", .. }), "{refused}");
    let bytes = fs::read(&path).expect("reads");
    assert!(bytes.ends_with(b"\n"), "the half line is gone");
    let entries = journals.read(&order.id).expect("reads");
    assert_eq!(entries.len(), usize::try_from(written).expect("few"));
    // What is short enough still fits, and follows.
    let short = RebakeEntry { version: 1, seq: written + 1, at: order.at, body: body(String::new()) };
    if journal.append(&short).is_ok() {
        assert_eq!(Rebake::fold(&journals.read(&order.id).expect("reads")).expect("folds").seq, written + 1);
    }
    println!("refused after {written}");
}
