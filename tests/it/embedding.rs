//! The example that embeds the library does what it says.

use latent::control::Clock;

#[expect(dead_code, reason = "its main is for people")]
#[path = "../../examples/embed.rs"]
mod embed;

#[tokio::test(start_paused = true)]
async fn the_embedding_example_runs_a_build_and_leaves_nothing() {
    assert_eq!(embed::one_build(Clock::system()).await.expect("runs"), (1, 0));
}
