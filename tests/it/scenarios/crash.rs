//! Crashes, lost answers and a lost ledger: nothing runs twice, nothing is left.

use latent::control::Clock;
use latent::model::{Body, Cause, FailureKind, InstanceState, tag_keys};

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes, morning, seconds};
use crate::setup::Setup;

fn intended(lab: &Lab) -> bool {
    lab.count(|body| matches!(body, Body::LaunchIntended { .. })) > 0
}

/// Crashes so long after the launch was intended, and expects one instance all the same.
async fn crash_in_a_launch(after_ms: i64, ignores_tokens: bool) {
    let mut lab = Lab::new(Setup::new());
    lab.world(|world| world.ignores_tokens = ignores_tokens);
    lab.request("w1");
    lab.until(seconds(5), "an intent", intended).await;
    lab.clock.sleep_until(lab.now() + chrono::TimeDelta::milliseconds(after_ms)).await;
    lab.crash().await;
    lab.clock.sleep_until(lab.now() + seconds(3)).await;
    lab.start();
    lab.until_state("w1", "registering").await;
    lab.run(minutes(2)).await;
    assert_eq!((lab.launched(), lab.costing()), (1, 1), "{after_ms} ms\n{}", lab.story());
    lab.release("w1");
    lab.until_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_a_launch_gives_one_instance() {
    for after_ms in [0, 50, 110, 150, 250, 1000] {
        crash_in_a_launch(after_ms, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_a_launch_gives_one_instance_where_tokens_are_ignored() {
    for after_ms in [0, 50, 110, 150, 250, 1000] {
        crash_in_a_launch(after_ms, true).await;
    }
}

async fn lost_launch_replies(ignores_tokens: bool) {
    let mut lab = Lab::new(Setup::new());
    lab.world(|world| world.ignores_tokens = ignores_tokens);
    lab.inject(ApiCall::Launch, &Fault::LoseReply, 3);
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    lab.run(minutes(2)).await;
    assert_eq!(lab.launched(), 1, "{}", lab.story());
}

#[tokio::test(start_paused = true)]
async fn a_lost_launch_reply_costs_one_instance_only() {
    lost_launch_replies(false).await;
    lost_launch_replies(true).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_looked_for_before_the_launch_is_repeated_even_when_listings_fail() {
    let mut lab = Lab::new(Setup::new());
    lab.run(seconds(30)).await;
    lab.world(|world| world.ignores_tokens = true);
    lab.inject(ApiCall::Launch, &Fault::LoseReply, 1);
    lab.inject(ApiCall::Inventory, &Fault::Refuse(FailureKind::RetrySame, "InternalError"), 6);
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    lab.run(minutes(1)).await;
    assert_eq!(lab.launched(), 1, "{}", lab.story());
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_hangs_is_repeated_and_the_request_is_met() {
    let mut lab = Lab::new(Setup::new());
    lab.inject(ApiCall::Launch, &Fault::Hang, 2);
    lab.request("w1");
    lab.until(minutes(3), "registering", |lab| lab.state("w1") == "registering").await;
    assert_eq!((lab.launched(), lab.calls(ApiCall::Launch)), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_launch_whose_outcome_stays_open_is_answered_at_the_deadline_and_leaves_nothing() {
    let mut lab = Lab::new(Setup::new().policy("launch_deadline = \"4m\""));
    lab.inject(ApiCall::Launch, &Fault::Hang, 9);
    lab.request("w1");
    lab.until(minutes(5), "an answer", |lab| lab.failure("w1").is_some()).await;
    assert_eq!(lab.failure("w1").as_deref(), Some("launch no answer LaunchOpen"));
    lab.until(minutes(10), "gone", |lab| lab.state("w1") == "gone").await;
    lab.until_nothing_is_left().await;
    lab.run(minutes(30)).await;
    assert_eq!(lab.costing(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_registering_keeps_the_instance_and_its_deadline() {
    let mut lab = Lab::new(Setup::new().policy("connect_deadline = \"10m\""));
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    let id = lab.instance("w1");
    lab.run(minutes(4)).await;
    lab.crash_and_start().await;
    assert_eq!((lab.state("w1"), lab.instance("w1")), ("registering".to_owned(), id.clone()));
    lab.run(minutes(2)).await;
    lab.connect("w1");
    assert_eq!((lab.state("w1"), lab.instance("w1")), ("ready".to_owned(), id));
    assert_eq!(lab.launched(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_busy_does_not_disturb_the_build() {
    let mut lab = Lab::new(Setup::new());
    let id = lab.make_ready("w1").await;
    lab.build("w1", Some("builder/1"));
    lab.crash().await;
    lab.clock.sleep_until(lab.now() + minutes(20)).await;
    lab.start();
    lab.run(minutes(20)).await;
    assert_eq!((lab.state("w1"), lab.instance("w1")), ("busy".to_owned(), id));
    assert_eq!(lab.view("w1").build.as_deref(), Some("builder/1"));
}

/// Crashes so long after the termination was intended.
async fn crash_in_a_termination(after_ms: i64) {
    let mut lab = Lab::new(Setup::new());
    let id = lab.make_ready("w1").await;
    lab.release("w1");
    let ending = |body: &Body| matches!(body, Body::TerminateIntended { .. });
    lab.until(seconds(5), "an intent", |lab| lab.count(ending) > 0).await;
    lab.clock.sleep_until(lab.now() + chrono::TimeDelta::milliseconds(after_ms)).await;
    lab.crash().await;
    lab.clock.sleep_until(lab.now() + minutes(5)).await;
    lab.start();
    lab.until_nothing_is_left().await;
    assert_eq!((lab.state("w1").as_str(), lab.instance_state(&id)), ("gone", InstanceState::Terminated));
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_a_termination_leaves_nothing() {
    for after_ms in [0, 50, 110, 150, 250] {
        crash_in_a_termination(after_ms).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_in_good_order_writes_the_answers_that_were_on_their_way() {
    let mut lab = Lab::new(Setup::new());
    lab.request("w1");
    lab.until(seconds(5), "an intent", intended).await;
    lab.shutdown().await;
    assert_eq!(lab.count(|body| matches!(body, Body::Launched { .. })), 1);
    assert_eq!(lab.count(|body| matches!(body, Body::ControllerStopped {})), 1);
    lab.start();
    lab.until_state("w1", "registering").await;
    assert_eq!(lab.launched(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_loops_of_a_dropped_controller_end() {
    let mut lab = Lab::new(Setup::new());
    lab.make_ready("w1").await;
    lab.drop_controller();
    lab.clock.sleep_until(lab.now() + minutes(1)).await;
    let calls = lab.calls(ApiCall::Inventory);
    lab.clock.sleep_until(lab.now() + minutes(30)).await;
    assert_eq!(lab.calls(ApiCall::Inventory), calls);
}

#[tokio::test(start_paused = true)]
async fn a_lost_ledger_is_replaced_by_the_tags() {
    let mut lab = Lab::new(Setup::new());
    let id = lab.make_ready("w1").await;
    lab.build("w1", Some("builder/1"));
    lab.crash().await;
    lab.lose_ledger();
    lab.start();
    lab.run(seconds(30)).await;
    assert_eq!((lab.state("w1"), lab.instance("w1")), ("busy".to_owned(), id.clone()), "{}", lab.story());
    assert_eq!(lab.count(|body| matches!(body, Body::Adopted { .. })), 1);
    lab.request("w1");
    lab.connect("w1");
    lab.run(minutes(5)).await;
    assert_eq!(lab.launched(), 1, "a request is met by what is there");
    lab.build("w1", None);
    lab.release("w1");
    lab.until_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn an_adopted_instance_that_nobody_uses_goes_after_the_connect_deadline() {
    let mut lab = Lab::new(Setup::new().policy("connect_deadline = \"5m\""));
    lab.make_ready("w1").await;
    lab.crash().await;
    lab.lose_ledger();
    lab.forget();
    lab.start();
    lab.run(seconds(10)).await;
    lab.say("w1", |_| ());
    lab.run(minutes(4)).await;
    assert_eq!(lab.costing(), 1);
    lab.until_nothing_is_left().await;
}

/// Found by the simulation, seed 83 of rough weather: the ledger was lost and the master could not be
/// reached for longer than `connect_deadline`, while a build ran.
#[tokio::test(start_paused = true)]
async fn an_adopted_instance_is_kept_until_its_master_has_spoken() {
    let policy = "connect_deadline = \"5m\"\nmax_lifetime = \"2h\"\ndrain_deadline = \"5m\"";
    let mut lab = Lab::new(Setup::new().policy(policy));
    let id = lab.make_ready("w1").await;
    lab.build("w1", Some("builder/1"));
    lab.crash().await;
    lab.lose_ledger();
    lab.master.speaks = false;
    lab.start();
    lab.run(minutes(20)).await;
    assert!(lab.held("w1").contains("its master has not spoken yet"), "{}", lab.held("w1"));
    lab.crash_and_start().await;
    lab.run(minutes(20)).await;
    lab.master.speaks = true;
    lab.report();
    assert_eq!((lab.state("w1"), lab.instance("w1")), ("busy".to_owned(), id));
}

#[tokio::test(start_paused = true)]
async fn an_adopted_instance_keeps_the_age_of_its_tags() {
    let mut lab = Lab::new(Setup::new().policy("max_lifetime = \"2h\"\nidle_timeout = \"never\""));
    lab.make_ready("w1").await;
    lab.run(minutes(70)).await;
    lab.crash().await;
    lab.lose_ledger();
    lab.start();
    lab.master.obeys = false;
    lab.until(minutes(52), "its end", |lab| lab.costing() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_with_a_lost_ledger_starts_no_twin() {
    let mut lab = Lab::new(Setup::new());
    let id = lab.make_ready("w1").await;
    lab.crash().await;
    lab.lose_ledger();
    lab.forget();
    lab.start();
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    lab.run(minutes(1)).await;
    assert_eq!((lab.instance("w1"), lab.launched()), (id, 1));
}

#[tokio::test(start_paused = true)]
async fn of_two_instances_the_recorded_one_is_kept_and_the_twin_goes_after_a_second_look() {
    let mut lab = Lab::new(Setup::new().policy("orphan_grace = \"3m\""));
    let id = lab.make_ready("w1").await;
    lab.build("w1", Some("builder/1"));
    let twin = lab.plant("w1", "stranger-1", |_| {});
    lab.run(minutes(3)).await;
    assert!(lab.instance_state(&twin).is_live(), "not at first sight");
    lab.until(minutes(3), "the twin is ending", |lab| lab.instance_state(&twin).is_ending()).await;
    lab.until(minutes(2), "it is over", |lab| lab.fleet().departing.is_empty()).await;
    assert_eq!(lab.count(|body| matches!(body, Body::TerminateIntended { cause: Cause::Twin, .. })), 1);
    assert_eq!((lab.state("w1"), lab.instance("w1")), ("busy".to_owned(), id));
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_ledger_one_of_two_instances_is_adopted_and_the_other_goes() {
    let mut lab = Lab::new(Setup::new());
    let old = lab.make_ready("w1").await;
    lab.run(minutes(1)).await;
    lab.crash().await;
    let young = lab.plant("w1", "stranger-1", |_| {});
    lab.lose_ledger();
    lab.start();
    lab.until(minutes(10), "one is left", |lab| lab.instance_state(&old).is_ending()).await;
    assert_eq!(lab.instance("w1"), young);
    assert!(lab.instance_state(&young).is_live());
}

#[tokio::test(start_paused = true)]
async fn an_instance_of_an_unconfigured_worker_goes_after_a_second_look() {
    let mut lab = Lab::new(Setup::new());
    let orphan = lab.plant("w1", "stranger-1", |tags| {
        tags.set(tag_keys::WORKER, "nobody");
    });
    lab.run(minutes(1)).await;
    assert!(lab.instance_state(&orphan).is_live());
    lab.until_nothing_is_left().await;
    assert_eq!(lab.count(|body| matches!(body, Body::TerminateIntended { cause: Cause::Unconfigured, .. })), 1);
}

#[tokio::test(start_paused = true)]
async fn a_clock_behind_the_ledger_ends_nothing_early_and_breaks_nothing() {
    let mut lab = Lab::new(Setup::new());
    let id = lab.make_ready("w1").await;
    lab.crash().await;
    lab.clock = Clock::starting_at(morning() - minutes(90));
    lab.master.obeys = false;
    lab.start();
    lab.report();
    lab.run(minutes(30)).await;
    assert_eq!((lab.state("w1"), lab.instance("w1")), ("ready".to_owned(), id));
    lab.release("w1");
    lab.until_nothing_is_left().await;
    lab.request("w1");
    lab.until_state("w1", "registering").await;
    assert_eq!(lab.launched(), 2);
}
