//! How fast a ledger is read at a start: the entries of a month of a fleet, as lines of JSON, into what it says.
//!
//! `cargo bench --no-default-features --bench fold`

#[expect(dead_code, reason = "the ledger alone is used here")]
mod fleet;

use std::sync::LazyLock;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use fleet::House;
use latent::model::{Actor, Body, Entry, Fleet};

static HOUSE: LazyLock<House> = LazyLock::new(|| House::of(100, 100));

/// The entries of 10,000 workers that ended and departed as well, in the order of the ledger.
static STORY: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let house = &*HOUSE;
    let mut story = house.entries.clone();
    let mut add = |actor: Actor, body: Body| {
        let (seq, at) = (story.len() as u64 + 1, house.now);
        story.push(Entry { seq, at, actor, body });
    };
    for (name, worker) in &house.fleet.workers {
        let (Some(instance), Some(attempt)) = (worker.state.instance().cloned(), &worker.attempt) else { continue };
        let cause = latent::model::Cause::Idle;
        let (of, cell) = (Some(name.clone()), attempt.cell.clone());
        add(
            Actor::Controller,
            Body::TerminateIntended {
                instance: instance.clone(),
                cell,
                worker: of,
                cause,
                seen: None,
                silent_since: None,
            },
        );
        add(Actor::Cloud, Body::TerminateAccepted { instance: instance.clone() });
        add(Actor::Cloud, Body::Departed { instance, ended_at: None, ran_until: None, seen: None });
    }
    story
});

static LINES: LazyLock<Vec<String>> =
    LazyLock::new(|| STORY.iter().map(|entry| serde_json::to_string(entry).expect("JSON")).collect());

/// From the text.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn from_lines(bencher: Bencher<'_, '_>) {
    let lines = &*LINES;
    let bytes: usize = lines.iter().map(String::len).sum();
    bencher.counter(ItemsCount::new(lines.len())).counter(BytesCount::new(bytes)).bench(|| {
        let mut fleet = Fleet::default();
        for line in lines {
            let entry: Entry = serde_json::from_str(line).expect("an entry");
            fleet.apply(&entry).expect("it follows");
        }
        black_box(fleet)
    });
}

/// The fold alone.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn from_entries(bencher: Bencher<'_, '_>) {
    let story = &*STORY;
    bencher.counter(ItemsCount::new(story.len())).bench(|| black_box(Fleet::fold(story).expect("they follow")));
}

fn main() {
    divan::main();
}
