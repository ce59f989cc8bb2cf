//! Workers that share an image: one launch call for several of them, and each has its own instance.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use latent::model::{Body, FailureKind, InstanceId, tag_keys};

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, seconds};
use crate::setup::Setup;

const NAMES: [&str; 5] = ["s1", "s2", "s3", "s4", "s5"];

fn setup(together: u32) -> Setup {
    let setup = Setup::new().shared_image("shared", "alice", together);
    NAMES.into_iter().fold(setup, |setup, name| setup.worker(name, "shared"))
}

fn lab(together: u32) -> Lab {
    Lab::new(setup(together))
}

async fn all_in_state(lab: &mut Lab, state: &str) {
    lab.until(minutes(12), state, |lab| NAMES.iter().all(|name| lab.state(name) == state)).await;
}

/// All are asked for at once, and have their instances.
async fn registering(together: u32) -> Lab {
    let mut lab = lab(together);
    lab.run(seconds(5)).await;
    for name in NAMES {
        lab.request(name);
    }
    all_in_state(&mut lab, "registering").await;
    lab
}

fn instances(lab: &Lab) -> BTreeSet<InstanceId> {
    NAMES.iter().map(|name| lab.instance(name)).collect()
}

/// Whether each worker has the instance whose launch index says so, and no two have the same.
fn each_has_its_own(lab: &Lab) {
    assert_eq!(instances(lab).len(), NAMES.len());
    for name in NAMES {
        let id = lab.instance(name);
        let own = lab.world(|site| site.instance(&id).map(|i| i.own_tags().get(tag_keys::WORKER).map(str::to_owned)));
        assert_eq!(own.flatten().as_deref(), Some(name));
    }
}

async fn end_all(lab: &mut Lab) {
    for name in NAMES {
        lab.release(name);
    }
    lab.until_nothing_is_left().await;
    lab.run(minutes(2)).await;
    assert_eq!(lab.costing(), 0, "{}", lab.story());
}

#[tokio::test(start_paused = true)]
async fn workers_that_are_asked_for_together_are_launched_by_one_call_and_ended_by_one() {
    let mut lab = registering(100).await;
    assert_eq!((lab.calls(ApiCall::Launch), lab.launched()), (1, NAMES.len()), "{}", lab.story());
    each_has_its_own(&lab);
    for name in NAMES {
        lab.connect(name);
    }
    all_in_state(&mut lab, "ready").await;
    end_all(&mut lab).await;
    assert!(lab.calls(ApiCall::Terminate) < NAMES.len(), "{}", lab.calls(ApiCall::Terminate));
}

#[tokio::test(start_paused = true)]
async fn the_first_ends_at_once_and_those_that_follow_within_a_second_go_together() {
    let mut lab = registering(100).await;
    let (first, others) = NAMES.split_first().expect("there are some");
    lab.release(first);
    lab.run_by(TimeDelta::milliseconds(600), TimeDelta::milliseconds(20)).await;
    assert_eq!((lab.calls(ApiCall::Terminate), lab.state(first).as_str()), (1, "gone"), "{}", lab.story());
    for name in others {
        lab.release(name);
        lab.run_by(TimeDelta::milliseconds(60), TimeDelta::milliseconds(20)).await;
    }
    assert_eq!(lab.calls(ApiCall::Terminate), 1, "{}", lab.story());
    lab.run(seconds(2)).await;
    assert_eq!((lab.calls(ApiCall::Terminate), lab.costing()), (2, 0), "{}", lab.story());
}

#[tokio::test(start_paused = true)]
async fn an_end_that_a_request_waits_for_waits_for_no_others() {
    let mut lab = lab(100);
    lab.run(seconds(5)).await;
    let (one, two) = (NAMES[0], NAMES[1]);
    for name in [one, two] {
        lab.request(name);
    }
    lab.until(minutes(12), "both", |lab| [one, two].iter().all(|name| lab.state(name) == "registering")).await;
    lab.release(one);
    lab.run_by(TimeDelta::milliseconds(100), TimeDelta::milliseconds(20)).await;
    lab.release(two);
    lab.run_by(TimeDelta::milliseconds(40), TimeDelta::milliseconds(20)).await;
    lab.request(two);
    lab.run_by(TimeDelta::milliseconds(600), TimeDelta::milliseconds(20)).await;
    assert_eq!(lab.calls(ApiCall::Terminate), 2, "{}", lab.story());
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_end_with_others_is_ended_before_the_controller_stops() {
    let mut lab = registering(100).await;
    for name in NAMES {
        lab.release(name);
        lab.run_by(TimeDelta::milliseconds(40), TimeDelta::milliseconds(20)).await;
    }
    lab.shutdown().await;
    assert_eq!((lab.calls(ApiCall::Terminate), lab.costing()), (2, 0), "{}", lab.story());
}

#[tokio::test(start_paused = true)]
async fn a_call_is_for_as_many_as_the_manifest_says() {
    let mut lab = registering(2).await;
    assert_eq!((lab.calls(ApiCall::Launch), lab.launched()), (3, NAMES.len()), "{}", lab.story());
    each_has_its_own(&lab);
    end_all(&mut lab).await;
}

#[tokio::test(start_paused = true)]
async fn one_alone_waits_for_others_for_a_moment_only() {
    let mut lab = lab(100);
    lab.run(seconds(5)).await;
    let asked = lab.now();
    lab.request("s3");
    lab.until(seconds(2), "an intent", |lab| lab.count(|b| matches!(b, Body::LaunchIntended { .. })) > 0).await;
    assert!(lab.now() - asked <= chrono::TimeDelta::milliseconds(300), "{}", lab.now() - asked);
    lab.until_state("s3", "registering").await;
    assert_eq!(lab.launched(), 1);
}

async fn one_set_of_instances(fault: &Fault, times: usize, crash: bool, ignores_tokens: bool) {
    let mut lab = lab(100);
    lab.run(seconds(5)).await;
    lab.world(|world| world.ignores_tokens = ignores_tokens);
    lab.inject(ApiCall::Launch, fault, times);
    for name in NAMES {
        lab.request(name);
    }
    if crash {
        lab.until(seconds(5), "an intent", |lab| lab.count(|b| matches!(b, Body::LaunchIntended { .. })) > 0).await;
        lab.clock.sleep_until(lab.now() + chrono::TimeDelta::milliseconds(150)).await;
        lab.crash_and_start().await;
    }
    all_in_state(&mut lab, "registering").await;
    lab.run(minutes(1)).await;
    assert_eq!((lab.launched(), lab.costing()), (NAMES.len(), NAMES.len()), "{fault:?} {crash}\n{}", lab.story());
    each_has_its_own(&lab);
    end_all(&mut lab).await;
}

#[tokio::test(start_paused = true)]
async fn lost_answers_throttles_and_crashes_launch_nobody_twice() {
    for crash in [false, true] {
        for ignores_tokens in [false, true] {
            one_set_of_instances(&Fault::LoseReply, 1, crash, ignores_tokens).await;
        }
        one_set_of_instances(&Fault::LoseReply, 2, crash, false).await;
        one_set_of_instances(&Fault::Refuse(FailureKind::Throttled, "RequestLimitExceeded"), 2, crash, false).await;
        one_set_of_instances(&Fault::Hang, 1, crash, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_ec2_gives_fewer_the_others_are_asked_for_again() {
    let mut lab = lab(100);
    lab.run(seconds(5)).await;
    // Two virtual CPUs each.
    lab.world(|site| site.quota_vcpus = 6);
    for name in NAMES {
        lab.request(name);
    }
    lab.until(minutes(1), "three", |lab| lab.launched() == 3).await;
    lab.run(seconds(1)).await;
    lab.world(|site| site.quota_vcpus = 100);
    for name in NAMES.into_iter().filter(|name| lab.failure(name).is_some()).collect::<Vec<_>>() {
        lab.request(name);
    }
    all_in_state(&mut lab, "registering").await;
    each_has_its_own(&lab);
    assert_eq!((lab.launched(), lab.costing()), (NAMES.len(), NAMES.len()), "{}", lab.story());
    end_all(&mut lab).await;
}

#[tokio::test(start_paused = true)]
async fn who_withdraws_while_the_outcome_is_open_leaves_nothing_and_the_others_are_served() {
    let mut lab = lab(100);
    lab.run(seconds(5)).await;
    lab.inject(ApiCall::Launch, &Fault::LoseReply, 1);
    lab.inject(ApiCall::Inventory, &Fault::Refuse(FailureKind::RetrySame, "InternalError"), 3);
    for name in NAMES {
        lab.request(name);
    }
    lab.until(seconds(5), "the call", |lab| lab.calls(ApiCall::Launch) == 1).await;
    lab.release("s2");
    let others = ["s1", "s3", "s4", "s5"];
    lab.until(minutes(12), "the others", |lab| others.iter().all(|name| lab.state(name) == "registering")).await;
    lab.until(minutes(12), "nobody", |lab| lab.state("s2") == "gone").await;
    assert_eq!(lab.launched(), NAMES.len(), "{}", lab.story());
    end_all(&mut lab).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_ledger_finds_each_workers_own_instance() {
    let mut lab = registering(100).await;
    let before = instances(&lab);
    lab.crash().await;
    lab.lose_ledger();
    lab.start();
    all_in_state(&mut lab, "registering").await;
    assert_eq!(instances(&lab), before, "{}", lab.story());
    each_has_its_own(&lab);
}

#[tokio::test(start_paused = true)]
async fn instances_without_their_tags_are_found_by_the_token_and_the_index() {
    let mut lab = lab(100);
    lab.run(seconds(5)).await;
    lab.inject(ApiCall::Launch, &Fault::LoseReply, 1);
    lab.inject(ApiCall::Inventory, &Fault::Refuse(FailureKind::RetrySame, "InternalError"), 2);
    for name in NAMES {
        lab.request(name);
    }
    lab.until(seconds(5), "the instances", |lab| lab.launched() == NAMES.len()).await;
    let now = lab.now();
    lab.world(|site| {
        let ids: Vec<InstanceId> = site.instances().map(|instance| instance.id.clone()).collect();
        for id in ids {
            site.retag_from_outside(&id, now, |tags| drop(tags.remove(tag_keys::WORKERS)));
        }
    });
    all_in_state(&mut lab, "registering").await;
    assert_eq!((lab.launched(), instances(&lab).len()), (NAMES.len(), NAMES.len()), "{}", lab.story());
}

#[tokio::test(start_paused = true)]
async fn a_termination_of_several_that_is_refused_is_asked_for_one_by_one() {
    let mut lab = registering(100).await;
    lab.inject(ApiCall::Terminate, &Fault::Refuse(FailureKind::Owner, "OperationNotPermitted"), 1);
    end_all(&mut lab).await;
    assert_eq!(lab.calls(ApiCall::Terminate), 1 + NAMES.len(), "{}", lab.story());
}
