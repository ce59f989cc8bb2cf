//! Reports of fleets that did what they should.

use std::collections::{BTreeMap, BTreeSet};

use latent::audit::report::Report;
use latent::audit::{Evidence, build, verify};
use latent::control::{Story, first_entry};
use latent::plan::meter::Use;
use latent::policy::price::{Money, Prices, Range};
use latent::sim::run::rebake::{Case, House};

use super::desk::{Asked, REGION, adds_up, again, line, of, report};
use crate::harness::{Lab, minutes, seconds};
use crate::setup::Setup;

/// Two workers of alice's and one of bob's, each of whom builds and idles.
async fn busy() -> Lab {
    let setup = Setup::new().owner("bob", "222222222222").image("bobs", "bob", REGION, "");
    let setup = setup.image("debian2", "alice", REGION, "").worker("w2", "debian2");
    let mut lab = Lab::new(setup.worker("secret-bob", "bobs"));
    for round in 0..3 {
        for name in ["w1", "w2", "secret-bob"] {
            lab.make_ready(name).await;
            lab.build(name, Some(&format!("builder/{round}")));
        }
        lab.run(minutes(40)).await;
        for name in ["w1", "w2", "secret-bob"] {
            lab.build(name, None);
            lab.run(minutes(3)).await;
            lab.release(name);
        }
        lab.until_nothing_is_left().await;
        lab.run(minutes(7)).await;
    }
    lab
}

#[tokio::test(start_paused = true)]
async fn seconds_and_amounts_are_those_that_ec2_bills() {
    let lab = busy().await;
    let begun = lab.entries()[0].at;
    let told = report(&lab, &Asked::of("alice", begun)).await;
    adds_up(&told);
    let bill = lab.world(|site| site.bill().clone());
    assert_eq!(told.instances.len(), bill.lines().count(), "each instance once");
    let (mut said, mut billed) = (0, 0);
    for (id, truth) in bill.lines() {
        let own = line(&told, id);
        let seconds = truth.seconds_at(lab.now());
        let off = own.billed_seconds - seconds;
        assert!((0..=60).contains(&off), "{id}: {} s told, {seconds} s billed", own.billed_seconds);
        assert_eq!(own.starts, truth.starts);
        (said, billed) = (said + own.billed_seconds, billed + seconds);
        // m7i.large with Linux in us-west-2: 0.1008 dollars an hour.
        let cost = own.cost.expect("a price").compute;
        let micros = u64::try_from(seconds).expect("few") * 100_800 / 3600;
        assert!(
            cost.low.as_micro_dollars() <= micros + 1 && micros <= cost.high.as_micro_dollars(),
            "{cost:?} {micros}"
        );
    }
    assert!((said - billed) * 100 <= billed, "within 1 %: {said} s told, {billed} s billed");
    let workers: Vec<&str> = told.workers.iter().map(|worker| worker.worker.as_str()).collect();
    assert_eq!(workers.len(), 2, "{workers:?}");
    for worker in &told.workers {
        assert_eq!((worker.starts, worker.builds), (3, 3), "{worker:?}");
        assert!(worker.utilisation_permille > 800 && worker.idle_permille > 0, "{worker:?}");
        assert_eq!(worker.connect.expect("connects").count, 3);
        assert_eq!(
            worker.per_build.expect("builds").high.times(3).as_micro_dollars() / 10,
            worker.total.high.as_micro_dollars() / 10
        );
    }
    assert_eq!((told.headline.starts, told.headline.builds, told.headline.zombies), (6, 6, 0));
    assert_eq!(told.headline.unpriced, 0);
}

#[tokio::test(start_paused = true)]
async fn a_healthy_fleet_has_no_difference_no_leftover_and_no_zombie() {
    let lab = busy().await;
    let told = report(&lab, &Asked::of("alice", lab.entries()[0].at)).await;
    assert!(told.differences.is_empty(), "{:#?}", told.differences);
    assert!(told.leftovers.is_empty(), "{:#?}", told.leftovers);
    let trailed = told.instances.iter().filter(|line| line.hours.cloudtrail.is_some()).count();
    assert!(trailed > 0, "CloudTrail tells of them");
    assert!(!told.deeds.is_empty());
    assert!(told.sources.iter().all(|source| source.used), "{:#?}", told.sources);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_another_owner_is_in_a_report() {
    let lab = busy().await;
    let begun = lab.entries()[0].at;
    for ledger in [true, false] {
        for account in [true, false] {
            let asked = Asked { ledger, account, ..Asked::of("alice", begun) };
            let text = serde_json::to_string(&report(&lab, &asked).await).expect("json");
            for word in ["bob", "222222222222", "secret"] {
                assert!(!text.contains(word), "{word} in alice's report with {asked:?}");
            }
            for (id, _) in lab.world_of("bob", REGION, |site| site.bill().clone()).lines() {
                assert!(!text.contains(id), "{id} of bob's in alice's report with {asked:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_worker_costs_its_disks_and_each_start_a_minute() {
    let mut lab = Lab::new(Setup::new().policy("on_idle = \"stop\"").image(
        "debian",
        "alice",
        REGION,
        "block_devices = [{ device = \"/dev/sda1\", size_gib = 100, type = \"gp3\" }]",
    ));
    for _ in 0..2 {
        let id = lab.make_ready("w1").await;
        lab.run(minutes(5)).await;
        lab.release("w1");
        lab.until(minutes(3), "stopped", |lab| lab.state("w1") == "stopped").await;
        lab.run(minutes(120)).await;
        assert_eq!(lab.instance("w1"), id);
    }
    let told = report(&lab, &Asked::of("alice", lab.entries()[0].at)).await;
    adds_up(&told);
    assert_eq!(told.instances.len(), 1);
    let own = &told.instances[0];
    assert_eq!((own.starts, own.to), (2, None));
    let stopped = own.uses[&Use::Stopped];
    assert!((stopped - 240 * 60).abs() < 120, "{own:#?}");
    let bill = lab.world(|site| site.bill().seconds_at(lab.now()));
    assert!((own.billed_seconds - bill).abs() <= 120, "{} told, {bill} billed", own.billed_seconds);
    let mut disks =
        told.standing.iter().filter(|one| one.kind == "volume" && one.what.ends_with("w1, which is stopped"));
    assert!(disks.any(|one| one.size_gib == Some(100)), "{:#?}", told.standing);
    assert!(told.savings.iter().any(|saving| saving.command.contains("on_idle")), "{:#?}", told.savings);
}

#[tokio::test(start_paused = true)]
async fn a_report_is_confirmed_by_the_ledger_and_a_changed_one_is_not() {
    let mut lab = busy().await;
    let told = report(&lab, &Asked::of("alice", lab.entries()[0].at)).await;
    // The ledger goes on: what comes after the report does not change it.
    lab.make_ready("w1").await;
    lab.run(seconds(90)).await;
    let verdict = verify(&told, &again(&lab, &told));
    assert!(verdict.differs.is_empty(), "{:#?}", verdict.differs);
    assert!(verdict.compared > 50 && !verdict.unchecked.is_empty());
    let mut forged = told.clone();
    forged.instances[0].builds += 1;
    forged.headline.starts += 1;
    forged.workers[0].billed_seconds -= 10;
    let gone = forged.instances.remove(1).instance;
    let differs = verify(&forged, &again(&lab, &forged)).differs;
    let fields: Vec<&str> = differs.iter().map(|one| one.field.as_str()).collect();
    for word in ["builds", "headline.starts", "billed_seconds", gone.as_str()] {
        assert!(fields.iter().any(|field| field.contains(word)), "{word}: {fields:#?}");
    }
}

fn much() -> Range {
    Range::exactly(Money::micro_dollars(77_000_000))
}

/// The field that must be named, and how it is changed.
type Forgery = (&'static str, &'static dyn Fn(&mut Report));

#[tokio::test(start_paused = true)]
async fn a_changed_amount_is_told_and_other_prices_are_not_held_against_a_report() {
    let lab = busy().await;
    let mut asked = Asked::of("alice", lab.entries()[0].at);
    asked.account = false;
    let told = report(&lab, &asked).await;
    let meant = again(&lab, &told);
    let honest = verify(&told, &meant);
    assert!(honest.differs.is_empty(), "{:#?}", honest.differs);
    assert!(honest.unchecked.iter().any(|what| what.contains("the budget")), "{:#?}", honest.unchecked);
    let changes: [Forgery; 9] = [
        ("headline.zombies", &|report| report.headline.zombies = 3),
        ("headline.unpriced", &|report| report.headline.unpriced = 3),
        ("headline.build_seconds", &|report| report.headline.build_seconds += 1),
        ("headline.saved_month", &|report| report.headline.saved_month = much()),
        ("workers.w1.total.high", &|report| report.workers.iter_mut().for_each(|line| line.total = much())),
        ("workers.w1.per_build", &|report| report.workers.iter_mut().for_each(|line| line.per_build = None)),
        ("cost.compute.low", &|report| of_each(report, |cost| cost.compute.low = Money::ZERO)),
        ("cost.storage.high", &|report| of_each(report, |cost| cost.storage = much())),
        ("cost.address.high", &|report| of_each(report, |cost| cost.address = much())),
    ];
    for (field, change) in changes {
        let mut forged = told.clone();
        change(&mut forged);
        let differs = verify(&forged, &meant).differs;
        assert!(differs.iter().any(|one| one.field.contains(field)), "{field}: {differs:#?}");
    }
    // Prices of another day, and with them other amounts.
    let mut other = meant;
    "2031-01-01".clone_into(&mut other.price_sources[0].as_of);
    of_each(&mut other, |cost| cost.compute = much());
    let verdict = verify(&told, &other);
    assert!(verdict.differs.is_empty(), "{:#?}", verdict.differs);
    assert!(verdict.unchecked[0].contains("2031-01-01"), "{:#?}", verdict.unchecked);
}

fn of_each(report: &mut Report, change: impl Fn(&mut latent::audit::report::Cost)) {
    report.instances.iter_mut().filter_map(|line| line.cost.as_mut()).for_each(change);
}

#[tokio::test(start_paused = true)]
async fn the_budget_of_a_report_is_the_controllers() {
    let mut lab = Lab::new(Setup::new().policy("idle_timeout = \"never\"").budget("alice", "hard = \"10\""));
    lab.make_ready("w1").await;
    lab.run(minutes(50)).await;
    // EC2 shows the size of the disks, which the controller does not know.
    let told = report(&lab, &Asked::of("alice", lab.entries()[0].at)).await;
    let line = told.headline.budget.expect("a budget");
    let own = lab.controller().budgets().into_iter().next().expect("a budget");
    assert_eq!((line.month, line.hard), (own.month, own.hard));
    assert_eq!((line.spent, line.projected), (own.spent, own.projected));
    assert!(told.headline.spent.high > line.spent.high, "{:?} {:?}", told.headline.spent, line.spent);
}

#[tokio::test(start_paused = true)]
async fn a_rebake_of_another_region_is_not_in_a_report_of_one() {
    let order = House::new(Case::default(), |_, _| ()).order;
    let story = Story::default();
    let evidence = |only: &str| Evidence {
        now: order.at,
        since: order.at - minutes(60),
        until: order.at + minutes(1),
        fleet: &order.fleet,
        controller: None,
        owner: &order.owner,
        account: None,
        whole_account: false,
        shared_account: false,
        only: BTreeSet::from([only.parse().expect("a region")]),
        ledger: Ok(of(&story)),
        regions: BTreeMap::new(),
        intent: None,
        rebakes: Ok(vec![vec![first_entry(order.clone())]]),
        findings: Vec::new(),
        prices: Ok(Prices::default()),
    };
    assert_eq!(build(&evidence(order.region.as_str())).rebakes.len(), 1);
    assert_eq!(build(&evidence("ap-southeast-2")).rebakes, []);
}
