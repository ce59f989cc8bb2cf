//! The messages that wait and what came of them, as they stand in the file.

use chrono::{DateTime, TimeDelta, Utc};
use latent::notify::{Outbox, Queued, trial_post};
use latent::plan::alarm::{Channel, Kept, Outcome, Who};
use rusqlite::Connection;

use crate::harness::morning;

/// An outbox in a folder of its own.
struct Box {
    folder: tempfile::TempDir,
    outbox: Outbox,
    now: DateTime<Utc>,
}

fn place(name: &str) -> Channel {
    Channel::Webhook(name.to_owned())
}

impl Box {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let outbox = Outbox::open(&folder.path().join("notices.sqlite")).expect("opens");
        Self { folder, outbox, now: morning() }
    }

    /// The same file, for what no version of the program writes.
    fn file(&self) -> Connection {
        Connection::open(self.folder.path().join("notices.sqlite")).expect("opens")
    }

    fn post(&mut self, to: &str) {
        self.now += TimeDelta::seconds(1);
        let post = trial_post(&Who::Admin, &place(to), self.now);
        self.outbox.commit(&Kept::default(), &[(post, None)]).expect("is written");
    }

    fn due(&mut self) -> Vec<Queued> {
        self.outbox.due(self.now).expect("can be read")
    }

    /// Whatever is due comes to this.
    fn settle(&mut self, outcome: &Outcome) {
        for queued in self.due() {
            self.outbox.settle(&queued, self.now, outcome).expect("is written");
        }
    }

    /// The places that are not reached, and how many messages were lost there in a day.
    fn unreached(&self) -> Vec<(String, u32)> {
        let all = self.outbox.unreached(self.now).expect("can be read");
        all.into_iter().map(|fact| (fact.place, fact.lost)).collect()
    }
}

fn refused() -> Outcome {
    Outcome::Refused("410 gone".to_owned())
}

fn taken() -> Outcome {
    Outcome::Taken("ok".to_owned())
}

#[test]
fn a_place_that_refused_is_reached_again_when_a_message_is_taken_and_not_because_a_day_is_over() {
    let mut outbox = Box::new();
    outbox.post("chat");
    outbox.settle(&refused());
    assert_eq!(outbox.unreached(), [("webhook chat".to_owned(), 1)]);
    outbox.now += TimeDelta::days(2);
    assert_eq!(outbox.unreached(), [("webhook chat".to_owned(), 0)], "nothing was brought meanwhile");
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
                INSERT INTO message (who, channel, made, next, state, settled, post)
                SELECT 'the admin', 'webhook other', 0, 0, 'taken', 0, '{}' FROM n";
    outbox.file().execute_batch(many).expect("is written");
    outbox.post("other");
    outbox.settle(&taken());
    assert_eq!(outbox.unreached(), [("webhook chat".to_owned(), 0)], "however many others were");
    outbox.post("chat");
    outbox.settle(&taken());
    assert_eq!(outbox.unreached(), []);
}

#[test]
fn nothing_is_said_of_a_place_that_nobody_names_any_more() {
    let mut outbox = Box::new();
    for to in ["refuses", "waits"] {
        outbox.post(to);
    }
    let due = outbox.due();
    outbox.outbox.settle(&due[0], outbox.now, &refused()).expect("is written");
    outbox.outbox.settle(&due[1], outbox.now, &Outcome::Later("503".to_owned(), None)).expect("is written");
    outbox.now += TimeDelta::hours(2);
    assert_eq!(outbox.unreached().len(), 2);
    outbox.outbox.keep_only(&["webhook other".to_owned()], outbox.now).expect("is written");
    assert_eq!((outbox.unreached(), outbox.due().len()), (Vec::new(), 0));
    let states: Vec<String> = outbox.outbox.last(9).expect("can be read").into_iter().map(|one| one.state).collect();
    assert_eq!(states, ["dropped", "dropped"]);
}

#[test]
fn a_message_that_cannot_be_read_holds_nobody_else_up() {
    let mut outbox = Box::new();
    for to in ["chat", "chat", "other"] {
        outbox.post(to);
    }
    outbox.file().execute_batch("UPDATE message SET post = '{}' WHERE id = 1").expect("is written");
    let ids = |due: Vec<Queued>| due.into_iter().map(|queued| queued.id).collect::<Vec<i64>>();
    assert_eq!(ids(outbox.due()), [3]);
    assert_eq!(ids(outbox.due()), [2, 3], "the next one of its place");
    let first = outbox.outbox.last(9).expect("can be read").pop().expect("it is there");
    assert_eq!((first.state.as_str(), first.said.as_deref()), ("given-up", Some("it cannot be read by this version")));
    assert_eq!(outbox.unreached(), [("webhook chat".to_owned(), 1)]);
    outbox.settle(&taken());
    assert_eq!(outbox.unreached(), []);
}
