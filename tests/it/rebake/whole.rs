//! A whole rebake, without bad luck.

use latent::model::Outcome;
use latent::sim::run::rebake::{Case, House};

#[tokio::test(start_paused = true)]
async fn a_rebake_ends_with_one_new_ami_and_nothing_else() {
    let house = House::new(Case::default(), |_, _| ());
    let outcome = house.to_the_end(None).await.unwrap_or_else(|what| panic!("{what}\n{}", house.story()));
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome}\n{}", house.story());
    println!("{}", house.story());
}
