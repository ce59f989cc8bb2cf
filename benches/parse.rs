//! How long the files of a fleet take to be read, by the number of its workers: a start reads them, and so does every
//! command.
//!
//! `cargo bench --no-default-features --bench parse`

#[expect(dead_code, reason = "the files alone are used here")]
mod fleet;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use latent::policy::Intent;

const CELLS: usize = 10;

fn main() {
    divan::main();
}

#[divan::bench(args = [10, 100, 1000], sample_count = 10, sample_size = 1)]
fn workers_of_ten_cells(bencher: Bencher<'_, '_>, workers_each: usize) {
    let sources = fleet::sources(CELLS, workers_each);
    bencher
        .counter(ItemsCount::new(CELLS * workers_each))
        .bench(|| black_box(Intent::parse(&sources)).unwrap_or_else(|problems| panic!("{problems}")));
}
