//! Budgets: what is told at soft, what goes and what stays at hard, and when it goes on.
//!
//! An m7i.large costs $0.1008 an hour in us-west-2, and its address at most $0.005: a budget of $0.10 lasts for
//! 56 minutes and 43 seconds of one instance.

use chrono::{DateTime, TimeDelta, Utc};
use latent::control::{BudgetView, ControlError};
use latent::model::{Actor, Body, BudgetLevel, Canary, Cause, InstanceState};
use latent::policy::price::{Money, Range};

use crate::account::ApiCall;
use crate::harness::{Lab, minutes, morning, seconds, worker};
use crate::setup::Setup;

/// What an instance costs each hour at the most, in micro-dollars.
const HOUR: i64 = 105_800;
/// How long $0.10 last.
const LASTS: TimeDelta = TimeDelta::seconds(3402);

fn setup(budget: &str) -> Setup {
    Setup::new().policy("idle_timeout = \"never\"").budget("alice", budget)
}

fn budget(lab: &Lab) -> BudgetView {
    lab.controller().budgets().into_iter().find(|budget| budget.owner == "alice").expect("alice's")
}

fn crossed(lab: &Lab, wanted: BudgetLevel) -> usize {
    lab.count(|body| matches!(body, Body::BudgetCrossed { level, .. } if *level == wanted))
}

/// What EC2 bills for alice's instances until now, in micro-dollars, the addresses with it.
fn billed(lab: &Lab) -> i64 {
    let now = lab.now();
    lab.world(|site| site.bill().seconds_at(now)) * HOUR / 3600
}

fn refused_for(lab: &Lab, code: &str) -> bool {
    lab.failure("w1").is_some_and(|failure| failure == format!("launch owner must fix {code}"))
}

#[tokio::test(start_paused = true)]
async fn at_soft_it_is_told_once_and_everything_goes_on() {
    let mut lab = Lab::new(setup("soft = \"0.05\", hard = \"10\""));
    lab.make_ready("w1").await;
    assert_eq!(budget(&lab).state, "open");
    lab.run(minutes(27)).await;
    assert_eq!((crossed(&lab, BudgetLevel::Soft), budget(&lab).state.as_str()), (0, "open"));
    lab.run(minutes(3)).await;
    assert_eq!((crossed(&lab, BudgetLevel::Soft), budget(&lab).state.as_str()), (1, "soft"));
    assert_eq!(lab.state("w1"), "ready");
    lab.crash_and_start().await;
    lab.run(minutes(20)).await;
    assert_eq!((crossed(&lab, BudgetLevel::Soft), crossed(&lab, BudgetLevel::Hard)), (1, 0));
    // Another amount is another news.
    lab.reconfigure(setup("soft = \"0.06\", hard = \"10\""));
    lab.run(minutes(1)).await;
    assert_eq!(crossed(&lab, BudgetLevel::Soft), 2);
}

#[tokio::test(start_paused = true)]
async fn at_hard_an_idle_instance_goes_and_the_master_is_told_why_there_is_no_other() {
    let mut lab = Lab::new(setup("hard = \"0.10\""));
    lab.make_ready("w1").await;
    lab.run(LASTS - minutes(2)).await;
    assert_eq!(lab.state("w1"), "ready");
    lab.run(minutes(3)).await;
    lab.until_nothing_is_left().await;
    assert!(lab.count(|body| matches!(body, Body::DrainOrdered { cause: Cause::Budget, .. })) == 1);
    // By a minute that has begun, and the time that the master takes to let go.
    let over = billed(&lab) - 100_000;
    assert!(over < HOUR / 60 * 2, "{over} micro-dollars too much");
    assert!(lab.held("w1").contains("hard budget of $0.10 is reached"), "{}", lab.held("w1"));
    lab.request("w1");
    lab.until(seconds(2), "an answer", |lab| refused_for(lab, "BudgetExceeded")).await;
    let failure = lab.view("w1").failure.expect("a failure");
    assert!(failure.fatal, "a retry is of no use");
    for part in ["alice", "$0.10", "2026-03", "2026-04-01 00:00Z", "owner.alice.budget.hard"] {
        assert!(failure.message.contains(part), "{part}: {}", failure.message);
    }
    assert!(failure.cure.contains("raises budget.hard"), "{}", failure.cure);
    lab.run(minutes(10)).await;
    assert_eq!((lab.launched(), crossed(&lab, BudgetLevel::Hard)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn at_hard_a_build_may_finish_and_then_its_instance_goes() {
    let mut lab = Lab::new(setup("hard = \"0.10\""));
    lab.make_ready("w1").await;
    lab.build("w1", Some("b1"));
    lab.run(LASTS + minutes(20)).await;
    assert_eq!((lab.state("w1").as_str(), budget(&lab).state.as_str()), ("busy", "hard"));
    lab.build("w1", None);
    lab.until_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn at_hard_a_build_is_ended_if_the_owner_says_so() {
    let mut lab = Lab::new(setup("hard = \"0.10\", at_hard = \"stop\""));
    let id = lab.make_ready("w1").await;
    lab.build("w1", Some("b1"));
    lab.run(LASTS - minutes(2)).await;
    assert_eq!(lab.state("w1"), "busy");
    lab.until(minutes(3), "it ends", |lab| lab.instance_state(&id).is_ending()).await;
    assert!(lab.count(|body| matches!(body, Body::TerminateIntended { cause: Cause::Budget, .. })) == 1);
    assert!(billed(&lab) <= 100_000 + HOUR / 60, "{} were billed", billed(&lab));
}

#[tokio::test(start_paused = true)]
async fn at_hard_a_stopped_instance_is_not_started() {
    let stops = |hard: &str| {
        let budget = format!("hard = \"{hard}\"");
        Setup::new().policy("on_idle = \"stop\"\nidle_timeout = \"never\"").budget("alice", &budget)
    };
    let mut lab = Lab::new(stops("0.10"));
    let id = lab.make_ready("w1").await;
    lab.run(LASTS + minutes(3)).await;
    lab.until(minutes(3), "stopped", |lab| lab.instance_state(&id) == InstanceState::Stopped).await;
    assert!(lab.held("w1").contains("hard budget"), "{}", lab.held("w1"));
    lab.request("w1");
    lab.until(seconds(5), "an answer", |lab| refused_for(lab, "BudgetExceeded")).await;
    assert_eq!((lab.state("w1").as_str(), lab.calls(ApiCall::Start)), ("stopped", 0));
    lab.reconfigure(stops("10"));
    assert_eq!(lab.make_ready("w1").await, id, "with money it is started again");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_that_was_taken_over_is_not_started_for_more_than_there_is_or_for_an_unknown_price() {
    let of = |budget: &str| {
        let stops = Setup::new().policy("on_idle = \"stop\"\nidle_timeout = \"never\"");
        stops.budget("alice", budget)
    };
    for (budget, code) in [("hard = \"0.0001\"", "BudgetExceeded"), ("hard = \"10\"", "PriceUnknown")] {
        let mut lab = Lab::new(of("hard = \"10\""));
        let id = lab.make_ready("w1").await;
        lab.release("w1");
        lab.until(minutes(3), "stopped", |lab| lab.instance_state(&id) == InstanceState::Stopped).await;
        lab.crash().await;
        lab.lose_ledger();
        lab.start();
        lab.until_state("w1", "stopped").await;
        assert_eq!(lab.count(|body| matches!(body, Body::Adopted { .. })), 1);
        let poor = of(budget);
        lab.reconfigure(if code == "PriceUnknown" {
            poor.asked_prices(&[("us-west-2", "m7i.large", 0)])
        } else {
            poor
        });
        lab.request("w1");
        lab.until(seconds(5), "an answer", |lab| refused_for(lab, code)).await;
        assert_eq!(lab.instance_state(&id), InstanceState::Stopped);
        lab.reconfigure(of("hard = \"10\""));
        assert_eq!(lab.make_ready("w1").await, id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_waits_for_its_worker_at_hard_is_answered_and_ended() {
    let mut lab = Lab::new(setup("hard = \"0.0021\""));
    lab.request("w1");
    lab.until(minutes(3), "an answer", |lab| refused_for(lab, "BudgetExceeded")).await;
    lab.until_nothing_is_left().await;
    assert_eq!(lab.launched(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_first_minute_that_would_pass_hard_is_not_bought() {
    let mut lab = Lab::new(setup("hard = \"0.0017\""));
    lab.request("w1");
    lab.until(seconds(5), "an answer", |lab| refused_for(lab, "BudgetExceeded")).await;
    let message = lab.view("w1").failure.expect("a failure").message;
    assert!(message.contains("the first minute of m7i.large"), "{message}");
    assert_eq!(lab.launched(), 0);
}

#[tokio::test(start_paused = true)]
async fn of_two_workers_that_ask_at_once_only_as_many_start_as_can_be_paid() {
    let two = setup("hard = \"0.003\"").image("other", "alice", "us-west-2", "").worker("w2", "other");
    let mut lab = Lab::new(two);
    lab.request("w1");
    lab.request("w2");
    lab.run(seconds(5)).await;
    assert_eq!(lab.launched(), 1);
}

#[tokio::test(start_paused = true)]
async fn when_the_month_turns_it_goes_on_by_itself() {
    let begin: DateTime<Utc> = "2026-03-31T22:00:00Z".parse().expect("a time");
    let mut lab = Lab::without_controller(setup("soft = \"0.05\", hard = \"0.10\""), begin);
    lab.start();
    lab.make_ready("w1").await;
    lab.run(LASTS + minutes(3)).await;
    lab.until_nothing_is_left().await;
    let before = budget(&lab);
    assert_eq!((before.month.as_str(), before.state.as_str()), ("2026-03", "hard"));
    lab.run(minutes(61)).await;
    let after = budget(&lab);
    assert_eq!((after.month.as_str(), after.state.as_str(), after.spent.high), ("2026-04", "open", Money::ZERO));
    assert_eq!(lab.held("w1"), "nobody wants it");
    lab.make_ready("w1").await;
    lab.run(minutes(40)).await;
    assert_eq!(crossed(&lab, BudgetLevel::Soft), 2, "each month is told of");
}

#[tokio::test(start_paused = true)]
async fn what_runs_over_the_turn_of_the_month_is_parted_between_both() {
    let begin: DateTime<Utc> = "2026-03-31T23:30:00Z".parse().expect("a time");
    let mut lab = Lab::without_controller(setup("hard = \"0.10\""), begin);
    lab.start();
    let id = lab.make_ready("w1").await;
    lab.run(minutes(60)).await;
    let spent = budget(&lab).spent.high.as_micro_dollars();
    assert!((48_000..58_000).contains(&spent), "half an hour of April: {spent}");
    assert!(!lab.instance_state(&id).is_ending());
}

#[tokio::test(start_paused = true)]
async fn what_was_spent_is_known_after_a_restart() {
    let mut lab = Lab::new(setup("hard = \"0.10\""));
    lab.make_ready("w1").await;
    lab.run(minutes(30)).await;
    lab.shutdown().await;
    lab.start();
    let spent = budget(&lab).spent.high.as_micro_dollars();
    assert!((50_000..58_000).contains(&spent), "{spent}");
    lab.connect("w1");
    lab.run(LASTS - minutes(25)).await;
    lab.until_nothing_is_left().await;
    let before = budget(&lab).spent;
    lab.crash_and_start().await;
    assert_eq!(budget(&lab).spent, before);
    lab.request("w1");
    lab.until(seconds(5), "an answer", |lab| refused_for(lab, "BudgetExceeded")).await;
    assert_eq!((lab.launched(), crossed(&lab, BudgetLevel::Hard)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_new_budget_holds_at_once() {
    let mut lab = Lab::new(setup("hard = \"10\""));
    let id = lab.make_ready("w1").await;
    lab.run(minutes(20)).await;
    lab.reconfigure(setup("hard = \"0.01\""));
    lab.until(minutes(2), "it goes", |lab| lab.instance_state(&id).is_ending()).await;
    lab.request("w1");
    lab.until(minutes(1), "an answer", |lab| refused_for(lab, "BudgetExceeded")).await;
    lab.reconfigure(Setup::new());
    lab.make_ready("w1").await;
    assert!(lab.controller().budgets().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_knows_the_price_of_is_not_launched_unless_the_owner_allows_it() {
    let of = |budget: &str| setup(budget).image_of("debian", "alice", "us-west-2", "ami-debian", "\"x99.huge\"", "");
    let mut lab = Lab::new(of("hard = \"10\""));
    lab.request("w1");
    lab.until(seconds(5), "an answer", |lab| refused_for(lab, "PriceUnknown")).await;
    let failure = lab.view("w1").failure.expect("a failure");
    assert!(failure.message.contains("x99.huge") && failure.cure.contains("unpriced = \"allow\""), "{failure:?}");
    assert_eq!(lab.launched(), 0);
    lab.reconfigure(of("hard = \"10\", unpriced = \"allow\""));
    lab.make_ready("w1").await;
    lab.run(minutes(1)).await;
    assert_eq!((budget(&lab).unpriced, lab.view("w1").cost_today), (1, None));
    // A price that was asked of the list is as good as one in the program, for the budget and on the page.
    let mut lab = Lab::new(of("hard = \"10\"").asked_prices(&[("us-west-2", "x99.huge", 100_000)]));
    lab.make_ready("w1").await;
    lab.run(minutes(30)).await;
    let (told, view) = (budget(&lab), lab.view("w1"));
    assert_eq!((told.unpriced, view.price.expect("a price")), (0, Range::exactly(Money::micro_dollars(100_000))));
    assert!(told.spent.high > Money::micro_dollars(50_000), "half an hour and its disk: {told:?}");
    // The price changes, and what was spent is reckoned anew.
    lab.reconfigure(of("hard = \"10\"").asked_prices(&[("us-west-2", "x99.huge", 1_000_000)]));
    assert!(budget(&lab).spent.high > Money::micro_dollars(500_000), "{:?}", budget(&lab));
    // Under soft alone nothing is refused.
    let mut lab = Lab::new(of("soft = \"10\""));
    lab.make_ready("w1").await;
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_bought_in_a_month_of_which_not_all_prices_are_known() {
    let of = |budget: &str| {
        let more = setup(budget).image_of("other", "alice", "us-west-2", "ami-other", "\"m7i.xlarge\"", "");
        more.worker("w2", "other")
    };
    let unlisted = |budget: &str| of(budget).asked_prices(&[("us-west-2", "m7i.large", 0)]);
    let mut lab = Lab::new(of("hard = \"10\""));
    let id = lab.make_ready("w1").await;
    lab.run(minutes(30)).await;
    let before = budget(&lab).spent.high;
    lab.reconfigure(unlisted("hard = \"10\""));
    lab.request("w2");
    lab.until(seconds(5), "an answer", |lab| lab.view("w2").failure.is_some()).await;
    let failure = lab.view("w2").failure.expect("a failure");
    assert_eq!((failure.code.as_str(), lab.launched()), ("PriceUnknown", 1));
    for part in ["1 instance of alice's in 2026-03", "2026-04-01 00:00Z", "owner.alice.budget"] {
        assert!(failure.message.contains(part), "{part}: {}", failure.message);
    }
    let told = budget(&lab);
    assert_eq!((told.unpriced, told.why.as_ref(), told.is_blind()), (1, Some(&failure.message), true));
    assert!(told.spent.high >= before, "the sum does not fall: {before:#}, then {:#}", told.spent.high);
    assert!(!lab.instance_state(&id).is_ending(), "what runs stays");
    let nothing = lab.controller().over_budget(&"alice".parse().expect("a name"));
    assert_eq!(nothing.map(|why| why.code).as_deref(), Some("PriceUnknown"), "nor does a rebake begin");
    lab.reconfigure(unlisted("hard = \"10\", unpriced = \"allow\""));
    lab.make_ready("w2").await;
    assert_eq!((budget(&lab).unpriced, budget(&lab).why), (1, None));
}

#[tokio::test(start_paused = true)]
async fn one_owners_budget_is_nothing_to_another() {
    let two = setup("hard = \"0.01\"").owner("bob", "222222222222").budget("bob", "soft = \"9\", hard = \"10\"");
    let mut lab = Lab::new(two.image("bobs", "bob", "us-west-2", "").worker("w2", "bobs"));
    lab.make_ready("w1").await;
    lab.make_ready("w2").await;
    lab.run(minutes(20)).await;
    assert_eq!((lab.state("w1").as_str(), lab.state("w2").as_str()), ("gone", "ready"));
    let bob = lab.controller().budgets().into_iter().find(|budget| budget.owner == "bob").expect("bob's");
    assert_eq!(bob.state, "open");
    let spent = bob.spent.high.as_micro_dollars();
    assert!((30_000..40_000).contains(&spent), "20 minutes of one instance: {spent}");
    lab.release("w2");
    lab.until(minutes(2), "bob's is gone", |lab| lab.state("w2") == "gone").await;
    lab.make_ready("w2").await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_does_not_outlast_hard() {
    let mut lab = Lab::new(setup("hard = \"0.10\""));
    lab.make_ready("w1").await;
    lab.controller().hold(&worker("w1"), TimeDelta::hours(5)).expect("holds");
    lab.run(LASTS - minutes(2)).await;
    assert!(lab.held("w1").starts_with("operator's hold"), "{}", lab.held("w1"));
    lab.run(minutes(3)).await;
    lab.until_nothing_is_left().await;
    let refused = lab.controller().hold(&worker("w1"), TimeDelta::hours(5)).expect_err("no money");
    assert!(matches!(refused, ControlError::OverBudget { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn no_canary_is_launched_over_budget() {
    let mut lab = Lab::new(setup("hard = \"0\""));
    lab.say("w1", |_| {});
    let wish = Canary {
        rebake: "rb1".parse().expect("an id"),
        ami: "ami-new".parse().expect("an id"),
        generation: 2,
        smoke: None,
        connect_deadline_s: Some(300),
        now: false,
    };
    lab.controller().set_canary(&Actor::Operator, &worker("w1"), &wish).expect("it is taken");
    lab.until(minutes(1), "it fails", |lab| lab.count(|body| matches!(body, Body::CanaryFailed { .. })) == 1).await;
    let why = lab.view("w1").canary.and_then(|canary| canary.why).unwrap_or_default();
    assert!(why.contains("BudgetExceeded"), "{why}");
    assert_eq!(lab.launched(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_cost_today_is_shown_and_begins_anew_at_midnight() {
    let begin = morning() + TimeDelta::hours(15);
    let mut lab = Lab::without_controller(setup("soft = \"10\""), begin);
    lab.start();
    lab.make_ready("w1").await;
    lab.run(minutes(30)).await;
    let today = |lab: &Lab| lab.view("w1").cost_today.expect("priced").high.as_micro_dollars();
    assert!((50_000..56_000).contains(&today(&lab)), "{}", today(&lab));
    lab.run(minutes(40)).await;
    assert!((10_000..22_000).contains(&today(&lab)), "{}", today(&lab));
    let cells = lab.controller().cells();
    let month = cells[0].cost_month.expect("priced").high.as_micro_dollars();
    assert!((115_000..130_000).contains(&month), "{month}");
}
