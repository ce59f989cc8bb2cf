//! Rebakes on the simulated EC2: the real engine, a builder that talks, a canary, and a journal; what happens when
//! something goes wrong, and what then is left.

mod deaths;
mod fold;
mod hostile;
mod journal;
mod retire;
mod steps;
mod weather;
mod whole;

use latent::model::{Outcome, Step};
use latent::sim::run::rebake::{Case, House};

/// A rebake that nothing outside disturbs.
fn house(case: Case) -> House {
    House::new(case, |_, _| ())
}

/// How it ends; everything that must hold then has been looked at.
#[track_caller]
fn ends(house: &House) -> impl Future<Output = Outcome> + '_ {
    let caller = std::panic::Location::caller();
    async move {
        let ended = house.to_the_end(None).await;
        ended.unwrap_or_else(|what| panic!("{caller}: {what}\n{}", house.story()))
    }
}

/// It fails in this step, for a reason that has these words; nothing is left.
#[track_caller]
fn fails(house: &House, step: Step, words: &str) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let outcome = ends(house).await;
        let right = matches!(&outcome, Outcome::Failed { step: at, why } if *at == step && why.contains(words));
        assert!(right, "{caller}: {outcome}\n{}", house.story());
    }
}

/// It comes to its end.
#[track_caller]
fn succeeds(house: &House) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let outcome = ends(house).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{caller}: {outcome}\n{}", house.story());
    }
}
