//! A whole rebake, with a death at each of its steps.

use latent::model::RebakeChannel;
use latent::sim::run::rebake::{Case, rebake_walk};

/// Walks every one of so many steps.
fn walked(case: &Case, stride: u64) {
    let walk = rebake_walk(case, stride).expect("a runtime");
    assert!(walk.violations.is_empty(), "{} of {} kills\n{}", walk.violations.len(), walk.kills, walk.violations[0]);
    assert!(walk.steps > 150 && walk.kills == 2 * walk.steps.div_ceil(stride), "{walk:?}");
}

#[test]
fn wherever_its_process_dies_a_rebake_is_gone_on_with_or_taken_back_whole() {
    walked(&Case::default(), 1);
}

/// `latent sim walk` walks all of its steps.
#[test]
fn so_is_one_whose_script_an_agent_runs() {
    walked(&Case { seed: 1, channel: RebakeChannel::Ssm, ..Case::default() }, 5);
}
