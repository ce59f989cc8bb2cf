//! A whole rebake, with a death at each of its steps.

use latent::model::{RebakeChannel, RebakeKind};
use latent::sim::run::rebake::{Case, rebake_walk};

fn walked(case: &Case, least: u64) {
    let walk = rebake_walk(case).expect("a runtime");
    assert!(walk.violations.is_empty(), "{} of {} kills\n{}", walk.violations.len(), walk.kills, walk.violations[0]);
    assert!(walk.steps > least && walk.kills == 2 * walk.steps, "{walk:?}");
}

#[test]
fn wherever_its_process_dies_a_rebake_is_gone_on_with_or_taken_back_whole() {
    walked(&Case::default(), 250);
}

#[test]
fn so_is_one_whose_script_an_agent_runs() {
    walked(&Case { seed: 1, channel: RebakeChannel::Ssm, ..Case::default() }, 250);
}

#[test]
fn the_kind_does_not_matter() {
    let from_base = Case { seed: 2, kind: RebakeKind::FromBase, ..Case::default() };
    walked(&from_base, 250);
}
