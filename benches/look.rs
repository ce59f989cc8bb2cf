//! What a look at one cell costs: alone, among a hundred, and when all workers are in it.
//!
//! `cargo bench --no-default-features --bench look`

#[expect(dead_code, reason = "the entries are folded, and then of no use here")]
mod fleet;

use std::sync::LazyLock;

use divan::{Bencher, black_box};
use fleet::House;
use latent::model::Inventory;
use latent::plan::{self, Watch};

/// A cell of 100 workers that is the whole fleet.
static ALONE: LazyLock<House> = LazyLock::new(|| House::of(1, 100));
/// The same cell among 100 of its size: it is to cost no more.
static AMONG: LazyLock<House> = LazyLock::new(|| House::of(100, 100));
/// All 10,000 workers in one cell.
static WHOLE: LazyLock<House> = LazyLock::new(|| House::of(1, 10_000));

const NAMES: [&str; 3] = ["100 alone", "100 of 10000", "10000"];

fn house(name: &str) -> &'static House {
    match name {
        "100 alone" => &ALONE,
        "100 of 10000" => &AMONG,
        _ => &WHOLE,
    }
}

#[divan::bench(args = NAMES)]
fn facts(bencher: Bencher<'_, '_>, name: &str) {
    let house = house(name);
    bencher.bench(|| house.with_view(|view| black_box(plan::facts(view)).len()));
}

#[divan::bench(args = NAMES)]
fn decide(bencher: Bencher<'_, '_>, name: &str) {
    let house = house(name);
    bencher.bench(|| house.with_view(|view| black_box(plan::plan(view)).held.len()));
}

/// What the loop asks beside that at each look.
#[divan::bench(args = NAMES)]
fn beside(bencher: Bencher<'_, '_>, name: &str) {
    let house = house(name);
    bencher.bench(|| {
        house.with_view(|view| {
            let soon = plan::listing_wanted(view.fleet, view.cell, view.now, &view.intent.polling);
            let (due, leases) = (plan::next_renewal(view), plan::leases(view).len());
            let asked =
                plan::spot_requests(view).len() + plan::consoles_due(view).len() + plan::wanted_amis(view).len();
            black_box((soon, due, leases, asked))
        })
    });
}

/// What each listing is taken in by.
#[divan::bench(args = NAMES)]
fn listed(bencher: Bencher<'_, '_>, name: &str) {
    let house = house(name);
    let cell = &house.cells[0];
    let inputs = || -> (Watch, &Inventory) { (house.watches[cell].clone(), &house.inventories[cell]) };
    bencher.with_inputs(inputs).bench_values(|(mut watch, inventory)| {
        watch.update(cell, &house.intent, &house.fleet, inventory);
        (plan::known_instances(cell, &house.fleet).len(), watch)
    });
}

/// What the program does at every change of the record.
#[divan::bench(args = NAMES)]
fn live(bencher: Bencher<'_, '_>, name: &str) {
    let house = house(name);
    bencher.bench(|| black_box(&house.fleet).live());
}

fn main() {
    divan::main();
}
