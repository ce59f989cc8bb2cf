//! One helper over the list of steps: each fails, is repeated, and is undone.

use chrono::TimeDelta;
use latent::control::Standing;
use latent::model::{GuestStep, Outcome, Step};
use latent::sim::run::rebake::{Case, Conduct, House, Manner, Work};
use latent::sim::{ApiError, Mishap};

use super::house;

/// A step, the calls that change something in it, and those that only look.
const STEPS: [(Step, &[&str], &[&str]); 15] = [
    (Step::Preflight, &["CreateSecurityGroup", "RunInstances"], &["DescribeVpcs", "DescribeInstances"]),
    (
        Step::Fence,
        &["CreateSecurityGroup", "RevokeSecurityGroupEgress", "AuthorizeSecurityGroupEgress"],
        &["DescribeVpcs", "DescribeSecurityGroups"],
    ),
    (Step::Launch, &["RunInstances"], &["DescribeInstances"]),
    (Step::Quiesce, &[], &["DescribeInstances", "GetConsoleOutput"]),
    (Step::Update, &[], &["DescribeInstances", "GetConsoleOutput"]),
    (Step::Reboot, &[], &["DescribeInstances", "GetConsoleOutput"]),
    (Step::Settle, &[], &["DescribeInstances", "GetConsoleOutput"]),
    (Step::Clean, &[], &["DescribeInstances", "GetConsoleOutput"]),
    (Step::Off, &[], &["DescribeInstances", "GetConsoleOutput"]),
    (Step::Image, &["CreateImage"], &["DescribeImages"]),
    (Step::Dismiss, &["TerminateInstances", "DeleteSecurityGroup"], &["DescribeInstances"]),
    (Step::Canary, &["RequestCanary"], &["DescribeCanary"]),
    (Step::Promote, &["WriteManifest", "CreateTags"], &["DescribeImages"]),
    (Step::Soak, &[], &["DescribeStarts"]),
    (Step::Retire, &[], &[]),
];

/// How a step that the guest or the controller does by itself can fail.
fn fails_by_itself(step: Step) -> Option<Case> {
    let guest = |step| Some(Case { manner: Manner::Fails(step), ..Case::default() });
    match step {
        Step::Quiesce => guest(GuestStep::Quiesce),
        Step::Update => guest(GuestStep::Update),
        Step::Reboot => guest(GuestStep::Reboot),
        Step::Settle => guest(GuestStep::Settle),
        Step::Clean => guest(GuestStep::Clean),
        Step::Off => guest(GuestStep::Off),
        Step::Soak => Some(Case { conduct: Conduct::Worse, ..Case::default() }),
        _ => None,
    }
}

/// Works until the end; as soon as `step` has begun, the next calls of `action` meet a mishap. One that lasts is over
/// some time after it had its effect.
async fn disturbed(house: &House, step: Step, action: &str, mishap: Mishap, times: usize) -> Outcome {
    let lasts = times > 10;
    let worked = house
        .work(None, async |mut standing| {
            let begun = |seen: &Standing| seen.rebake.step == step && !seen.rebake.done;
            if standing.wait_for(begun).await.is_err() {
                return;
            }
            house.world(|world, place| world.inject(Some(action), Some(place), mishap, times));
            if lasts && standing.wait_for(|seen| seen.rebake.undo.is_some()).await.is_ok() {
                house.clock.sleep_until(house.clock.now() + TimeDelta::minutes(40)).await;
                house.world(|world, _| world.clear_injected());
            }
        })
        .await;
    let told = format!("{step} {action}");
    let Work::Over(outcome) = worked else { panic!("{told}: {worked:?}\n{}", house.story()) };
    house.pass(TimeDelta::hours(3)).await;
    house.check(&outcome).unwrap_or_else(|what| panic!("{told}: {what}\n{}", house.story()));
    outcome
}

fn denied() -> Mishap {
    Mishap::Refuse(ApiError::denied("UnauthorizedOperation", "You are not authorized to perform this operation."))
}

#[test]
fn the_list_has_every_step() {
    assert_eq!(STEPS.map(|(step, _, _)| step), Step::ALL);
}

#[tokio::test(start_paused = true)]
async fn every_step_that_is_refused_for_good_is_undone_with_all_before_it() {
    for (step, acts, _) in STEPS {
        for action in acts.iter().filter(|action| !tells_only(step, action)) {
            let house = house(Case::default());
            let outcome = disturbed(&house, step, action, denied(), 600).await;
            let right = matches!(&outcome, Outcome::Failed { step: at, .. } if *at == step);
            assert!(right, "{step} {action}: {outcome}\n{}", house.story());
        }
    }
}

/// The tag that tells of a promotion.
fn tells_only(step: Step, action: &str) -> bool {
    step == Step::Promote && action == "CreateTags"
}

#[tokio::test(start_paused = true)]
async fn a_promotion_is_not_taken_back_for_a_tag() {
    let house = house(Case::default());
    let worked = house
        .work(None, async |mut standing| {
            if standing.wait_for(|seen| seen.rebake.step == Step::Promote).await.is_ok() {
                house.world(|world, place| world.inject(Some("CreateTags"), Some(place), denied(), 600));
            }
        })
        .await;
    let Work::Over(Outcome::Done { ami }) = worked else { panic!("{worked:?}\n{}", house.story()) };
    assert_eq!(house.manifest().ami, ami);
    assert!(house.story().contains("its tags do not say so"), "{}", house.story());
}

#[tokio::test(start_paused = true)]
async fn every_step_that_fails_by_itself_is_undone_with_all_before_it() {
    for (step, case) in Step::ALL.into_iter().filter_map(|step| Some((step, fails_by_itself(step)?))) {
        let house = house(case);
        let outcome = super::ends(&house).await;
        let right = match &outcome {
            Outcome::Failed { step: at, .. } => *at == step,
            Outcome::RolledBack { .. } => step == Step::Soak,
            _ => false,
        };
        assert!(right, "{step}: {outcome}\n{}", house.story());
    }
}

#[tokio::test(start_paused = true)]
async fn every_step_is_repeated_until_it_is_done() {
    let passing = [
        (Mishap::Refuse(ApiError::throttled("111122223333", "any")), 4),
        (Mishap::LoseReply, 1),
        (Mishap::LoseRequest, 2),
        (Mishap::Hang, 1),
    ];
    for (step, acts, looks) in STEPS {
        for action in acts.iter().chain(looks) {
            for (mishap, times) in &passing {
                let house = house(Case::default());
                let outcome = disturbed(&house, step, action, mishap.clone(), *times).await;
                assert!(
                    matches!(outcome, Outcome::Done { .. }),
                    "{step} {action} {mishap:?}: {outcome}\n{}",
                    house.story()
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn at_every_step_it_may_be_aborted_and_leaves_nothing() {
    for step in Step::ALL {
        for later in [0, 1, 20] {
            let house = house(Case::default());
            let worked = house
                .work(None, async |mut standing| {
                    if standing.wait_for(|seen| seen.rebake.step == step).await.is_ok() {
                        house.clock.sleep_until(house.clock.now() + TimeDelta::seconds(later)).await;
                        house.abort();
                    }
                })
                .await;
            let Work::Over(outcome) = worked else { panic!("{step}: {worked:?}\n{}", house.story()) };
            house.pass(TimeDelta::hours(3)).await;
            house.check(&outcome).unwrap_or_else(|what| panic!("{step}: {what}\n{}", house.story()));
            // The last step may be over before anybody can say a word.
            let over = step == Step::Retire && matches!(outcome, Outcome::Done { .. });
            assert!(outcome == (Outcome::Aborted {}) || over, "{step}: {outcome}\n{}", house.story());
        }
    }
}
