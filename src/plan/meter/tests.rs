//! Lives that are not simple.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Meter, Run, Use};
use crate::model::{
    Actor, Attempt, Body, Canary, Cause, Cell, Entry, Failure, FailureKind, InstanceId, InstanceState, LaunchSpec,
    Market, Offering, Phase, Place, ShutdownBehavior, Sight, StopMode, WorkerName, tag_keys,
};
use crate::plan::bill::{self, Prices};
use crate::plan::budget::Till;
use crate::policy::price::Range;

/// A ledger that is written second by second.
struct Book {
    meter: Meter,
    seq: u64,
}

fn at(second: i64) -> DateTime<Utc> {
    "2026-03-02T23:00:00Z".parse::<DateTime<Utc>>().expect("a time") + TimeDelta::seconds(second)
}

fn worker() -> WorkerName {
    "w1".parse().expect("a name")
}

fn id() -> InstanceId {
    "i-1".parse().expect("an id")
}

fn cell() -> Cell {
    Cell { owner: "alice".parse().expect("an owner"), region: "us-east-1".parse().expect("a region") }
}

fn attempt(market: Market, role: &str) -> Attempt {
    let spec = LaunchSpec {
        region: cell().region,
        ami: "ami-1".parse().expect("an id"),
        offering: Offering { instance_type: "m7i.large".to_owned(), place: Place::Anywhere, market },
        security_groups: Vec::new(),
        key_pair: None,
        instance_profile: None,
        block_devices: Vec::new(),
        shutdown: ShutdownBehavior::Terminate,
        tags: [(tag_keys::ROLE, role), (tag_keys::REBAKE, "rb1")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into_iter()
            .collect(),
        user_data_digest: None,
        ami_filter: None,
        security_group_names: Vec::new(),
        spot_price_max: None,
        elastic_ip: None,
        volumes: Vec::new(),
        batch: None,
        hibernate: false,
    };
    let id = "1-1".parse().expect("an id");
    let image = "debian".parse().expect("a name");
    Attempt { id, cell: cell(), image, created: at(0), spec: Some(Box::new(spec)) }
}

fn sight(state: InstanceState, since: i64) -> Sight {
    Sight {
        state: Some(state),
        instance_type: Some("m7i.large".to_owned()),
        market: Some(Market::OnDemand),
        platform_details: Some("Linux/UNIX".to_owned()),
        launch_time: Some(at(since)),
        public_address: Some(false),
        worker: Some(worker()),
        ..Sight::default()
    }
}

impl Book {
    fn new() -> Self {
        Self { meter: Meter::default(), seq: 0 }
    }

    fn by(&mut self, second: i64, actor: Actor, body: Body) {
        self.seq += 1;
        self.meter.take(&Entry { seq: self.seq, at: at(second), actor, body });
    }

    fn add(&mut self, second: i64, body: Body) {
        self.by(second, Actor::Controller, body);
    }

    /// Requested, launched and seen running.
    fn launched(&mut self, market: Market, role: &str) {
        let master = Actor::Master("m1".parse().expect("a name"));
        self.by(0, master, Body::Requested { worker: worker(), request: "r1".parse().expect("an id") });
        self.add(10, Body::LaunchIntended { worker: worker(), attempt: Box::new(attempt(market, role)) });
        self.add(12, Body::Launched { worker: worker(), instance: id() });
        self.add(
            20,
            Body::Running { worker: worker(), instance: id(), seen: Some(Box::new(sight(InstanceState::Running, 11))) },
        );
    }

    fn connected(&mut self, second: i64) {
        self.add(second, Body::Attached { worker: worker() });
    }

    fn build(&mut self, from: i64, to: i64) {
        self.add(from, Body::BuildStarted { worker: worker(), build: "b/1".parse().expect("a build") });
        self.add(to, Body::BuildFinished { worker: worker() });
    }

    fn terminated(&mut self, second: i64, worker: Option<WorkerName>, cause: Cause, seen: Option<Box<Sight>>) {
        self.add(
            second,
            Body::TerminateIntended { instance: id(), cell: cell(), worker, cause, seen, silent_since: None },
        );
        self.add(second + 1, Body::TerminateAccepted { instance: id() });
    }

    fn departed(&mut self, second: i64, ended: Option<i64>) {
        self.add(second, Body::Departed { instance: id(), ended_at: ended.map(at), ran_until: None, seen: None });
    }

    fn departed_after(&mut self, second: i64, ended: i64, ran_until: i64) {
        let (ended_at, ran_until) = (Some(at(ended)), Some(at(ran_until)));
        self.add(second, Body::Departed { instance: id(), ended_at, ran_until, seen: None });
    }

    fn stopped(&mut self, intended: i64, seen: i64, told: i64) {
        self.add(
            intended,
            Body::StopIntended { worker: worker(), instance: id(), cause: Cause::Idle, mode: StopMode::Plain },
        );
        let stopped_at = Some(at(told));
        self.add(seen, Body::StopSeen { worker: worker(), instance: id(), stopped_at, ran_until: None });
    }

    /// Asked to hibernate at `intended`, which EC2 tells as well, and seen stopped.
    fn hibernated(&mut self, intended: i64, seen: i64) {
        self.hibernates(intended);
        let stopped_at = Some(at(intended));
        self.add(seen, Body::StopSeen { worker: worker(), instance: id(), stopped_at, ran_until: None });
    }

    fn hibernates(&mut self, second: i64) {
        let (cause, mode) = (Cause::Idle, StopMode::Hibernate);
        self.add(second, Body::StopIntended { worker: worker(), instance: id(), cause, mode });
    }

    fn lost(&mut self, second: i64, ended: Option<i64>, ran_until: Option<i64>) {
        let (cause, reason) = (Cause::Lost, "somebody".to_owned());
        let (ended_at, ran_until) = (ended.map(at), ran_until.map(at));
        self.add(
            second,
            Body::Lost { worker: worker(), instance: id(), cause, reason, ended_at, ran_until, seen: None },
        );
    }

    fn run(&self) -> &Run {
        self.meter.runs().last().expect("a run")
    }

    /// Its life until a time, as `boot 10-30`.
    fn life(&self, now: i64) -> String {
        let second = |time: DateTime<Utc>| (time - at(0)).num_seconds();
        let all = self.run().cut(at(-100_000), at(now), at(now));
        let all = all.iter().map(|s| format!("{} {}-{}", s.usage, second(s.from), s.to.map_or(0, second)));
        all.collect::<Vec<_>>().join(", ")
    }

    /// Billed seconds at the least and at the most.
    fn billed(&self, now: i64) -> (i64, i64) {
        let (low, high) = self.run().billed(at(-100_000), at(100_000), at(now));
        (low.num_seconds(), high.num_seconds())
    }
}

#[test]
fn an_ordinary_life_is_told_second_by_second() {
    let mut book = Book::new();
    book.launched(Market::OnDemand, "worker");
    book.connected(30);
    book.build(40, 100);
    book.terminated(160, Some(worker()), Cause::Released, None);
    book.departed(190, Some(160));
    assert_eq!(book.life(500), "boot 10-30, idle 30-40, build 40-100, idle 100-160, drain 160-190");
    // From the launch time at the earliest, from the first sight at the latest, and EC2 tells its end.
    assert_eq!(book.billed(500), (140, 150));
    let run = book.run();
    assert_eq!((run.builds.len(), run.connects.as_slice()), (1, [(at(0), at(30))].as_slice()));
    assert_eq!((run.wanted_by.as_deref(), run.requested), (Some("master m1"), Some(at(0))));
    assert_eq!(run.ended.as_ref().map(|ended| &ended.cause), Some(&Cause::Released));
    let bill = bill::of(run, at(0), at(500), at(500), &Prices::default());
    assert_eq!((bill.cost.compute.low.as_micro_dollars(), bill.cost.compute.high.as_micro_dollars()), (3920, 4200));
    assert_eq!(bill.cost.address, Range::ZERO);
    assert_eq!(bill.unsized_disks.as_deref(), Some("the sizes of its disks are not known"));
}

#[test]
fn a_disk_beside_the_amis_own_does_not_stand_for_it() {
    let told = |device: &str| {
        let mut book = Book::new();
        book.launched(Market::OnDemand, "worker");
        let disk = format!(r#"{{"device":"{device}","size_gib":30,"volume_type":"gp3","encrypted":null}}"#);
        let run = Run { block_devices: vec![serde_json::from_str(&disk).expect("a disk")], ..book.run().clone() };
        let bill = bill::of(&run, at(0), at(3600), at(3600), &Prices::default());
        assert!(bill.cost.storage.high > crate::policy::price::Money::ZERO, "what is named is counted");
        bill.unsized_disks
    };
    assert_eq!(told("/dev/sdf").as_deref(), Some("what disks its AMI brings is not known"));
    assert_eq!((told("/dev/sda1"), told("/dev/xvda")), (None, None));
}

#[test]
fn each_start_of_a_stopped_instance_is_a_minute_at_least() {
    let mut book = Book::new();
    book.launched(Market::OnDemand, "worker");
    book.connected(25);
    book.stopped(30, 50, 31);
    book.add(1000, Body::StartIntended { worker: worker(), instance: id() });
    book.add(
        1005,
        Body::Running { worker: worker(), instance: id(), seen: Some(Box::new(sight(InstanceState::Running, 1000))) },
    );
    book.connected(1010);
    book.stopped(1020, 1040, 1021);
    assert_eq!(
        book.life(2000),
        "boot 10-25, idle 25-30, drain 30-50, stopped 50-1000, boot 1000-1010, idle 1010-1020, drain 1020-1040, stopped 1040-2000"
    );
    assert_eq!((book.run().starts.len(), book.billed(2000)), (2, (120, 120)));
    assert_eq!(book.run().connects, [(at(0), at(25)), (at(1000), at(1010))]);
}

#[test]
fn a_start_that_was_refused_or_never_came_costs_nothing() {
    let mut book = Book::new();
    book.launched(Market::OnDemand, "worker");
    book.connected(25);
    book.stopped(130, 150, 130);
    let before = book.billed(500);
    let failure = Failure::new(Phase::Launch, FailureKind::Elsewhere, "Capacity", "none");
    book.add(1000, Body::StartIntended { worker: worker(), instance: id() });
    book.add(1002, Body::StartRefused { worker: worker(), instance: id(), failure });
    assert_eq!(book.billed(5000), before);
    book.add(2000, Body::StartIntended { worker: worker(), instance: id() });
    // EC2 still tells the stop before.
    let stopped_at = Some(at(130));
    book.add(2300, Body::StopSeen { worker: worker(), instance: id(), stopped_at, ran_until: None });
    assert_eq!((book.billed(5000), book.run().starts.len()), (before, 1));
}

#[test]
fn a_launch_that_was_refused_has_no_life() {
    let mut book = Book::new();
    book.add(10, Body::LaunchIntended { worker: worker(), attempt: Box::new(attempt(Market::Spot, "worker")) });
    let failure = Failure::new(Phase::Launch, FailureKind::Elsewhere, "Capacity", "none");
    book.add(12, Body::LaunchRefused { worker: worker(), failure });
    assert_eq!((book.life(100).as_str(), book.billed(100)), ("", (0, 0)));
    assert!(book.run().is_over() && book.run().instance.is_none());
}

#[test]
fn what_was_ended_before_anybody_saw_it_run_may_have_cost_nothing() {
    let mut book = Book::new();
    book.add(10, Body::LaunchIntended { worker: worker(), attempt: Box::new(attempt(Market::OnDemand, "worker")) });
    book.add(12, Body::Launched { worker: worker(), instance: id() });
    book.terminated(15, Some(worker()), Cause::Withdrawn, None);
    book.departed(30, Some(15));
    assert_eq!(book.billed(100), (0, 60));
}

#[test]
fn what_may_have_stopped_before_its_end_is_billed_until_the_stop_at_the_least() {
    let stop = || Body::StopIntended { worker: worker(), instance: id(), cause: Cause::Idle, mode: StopMode::Plain };
    let began = || {
        let mut book = Book::new();
        book.launched(Market::OnDemand, "worker");
        book.connected(30);
        book
    };
    let mut slow = began();
    slow.add(1000, stop());
    slow.terminated(1600, Some(worker()), Cause::StopFailed, None);
    let mut shown = Book { meter: slow.meter.clone(), seq: slow.seq };
    slow.departed(1630, Some(1600));
    // EC2 tells when it was terminated, and not that it was stopping by then.
    assert_eq!(slow.billed(5000), (980, 1590));
    shown.departed_after(1630, 1600, 1590);
    assert_eq!(shown.billed(5000), (1290 - 20, 1590), "a listing showed that it ran on");

    let mut lost = began();
    lost.add(2000, Body::Detached { worker: worker() });
    lost.terminated(2600, Some(worker()), Cause::Lost, None);
    lost.departed_after(2630, 2600, 1900);
    assert_eq!(lost.billed(5000), (1600 - 20, 2590), "it may have powered itself off");

    let mut dumb = Book::new();
    dumb.launched(Market::OnDemand, "worker");
    dumb.terminated(920, Some(worker()), Cause::NeverConnected, None);
    dumb.departed_after(950, 920, 800);
    assert_eq!(dumb.billed(5000), (500 - 20, 910), "somebody may have stopped it, and no connection was lost by that");

    let (mut silent, mut heard) = (began(), began());
    let silent_since = Some(at(2000));
    let (of, cause) = (Some(worker()), Cause::Expired);
    let end = Body::TerminateIntended { instance: id(), cell: cell(), worker: of, cause, seen: None, silent_since };
    silent.add(2600, end);
    silent.add(2601, Body::TerminateAccepted { instance: id() });
    silent.departed_after(2630, 2600, 1900);
    assert_eq!(silent.billed(5000), (1700 - 20, 2590), "its master could not say that it lost its connection");
    heard.terminated(2600, Some(worker()), Cause::Expired, None);
    heard.departed_after(2630, 2600, 1900);
    assert_eq!(heard.billed(5000), (2600 - 20, 2590), "its connection stood");

    let mut obeying = began();
    obeying.add(2000, Body::DrainOrdered { worker: worker(), cause: Cause::Idle });
    obeying.add(2010, Body::Detached { worker: worker() });
    obeying.terminated(2011, Some(worker()), Cause::Idle, None);
    obeying.departed_after(2030, 2011, 1900);
    assert_eq!(obeying.billed(5000), (1991, 2001));
}

#[test]
fn a_hibernating_instance_is_billed_until_it_is_seen_stopped_at_the_most() {
    let mut book = Book::new();
    book.launched(Market::OnDemand, "worker");
    book.connected(30);
    let stopped = Book { meter: book.meter.clone(), seq: book.seq };
    book.hibernated(1020, 1140);
    assert_eq!(book.billed(5000), (1000, 1129), "it may have shut down instead");
    book.add(2000, Body::StartIntended { worker: worker(), instance: id() });
    let seen = Some(Box::new(sight(InstanceState::Running, 2000)));
    book.add(2005, Body::Running { worker: worker(), instance: id(), seen });
    book.stopped(2105, 2400, 2105);
    assert_eq!(book.billed(5000), (1100, 1129 + 106), "what was said of one start does not hold for the next");

    let mut refused = stopped;
    refused.hibernates(1020);
    let failure = Failure::new(Phase::Launch, FailureKind::Owner, "UnsupportedHibernationConfiguration", "no");
    refused.add(1021, Body::CallRefused { instance: id(), failure });
    refused.stopped(1022, 1140, 1022);
    assert_eq!(refused.billed(5000), (1002, 1012), "a plain stop is free");
}

#[test]
fn a_hibernation_that_may_have_been_accepted_is_billed_though_a_stop_was_asked_for_after_it() {
    let mut book = Book::new();
    book.launched(Market::OnDemand, "worker");
    book.connected(30);
    book.hibernates(1020);
    let failure = Failure::new(Phase::Launch, FailureKind::RetrySame, "InternalError", "perhaps");
    book.add(1021, Body::CallRefused { instance: id(), failure });
    book.stopped(1022, 1140, 1020);
    assert_eq!(book.billed(5000), (1000, 1129));
}

#[test]
fn a_hold_counts_where_no_build_runs() {
    let mut book = Book::new();
    book.launched(Market::OnDemand, "worker");
    book.connected(30);
    book.add(40, Body::HoldSet { worker: worker(), until: at(9000) });
    book.build(50, 70);
    book.add(80, Body::DrainOrdered { worker: worker(), cause: Cause::Idle });
    book.add(90, Body::HoldReleased { worker: worker() });
    book.terminated(100, Some(worker()), Cause::Idle, None);
    assert_eq!(book.life(120), "boot 10-30, idle 30-40, held 40-50, build 50-70, held 70-90, drain 90-120");
}

#[test]
fn all_of_a_canary_is_the_rebakes() {
    let mut book = Book::new();
    let order = Canary {
        rebake: "rb1".parse().expect("an id"),
        ami: "ami-2".parse().expect("an id"),
        generation: 2,
        smoke: None,
        connect_deadline_s: None,
        now: true,
    };
    book.add(0, Body::CanarySet { worker: worker(), canary: Box::new(order) });
    book.launched(Market::OnDemand, "canary");
    book.connected(30);
    book.stopped(40, 50, 41);
    assert_eq!(book.life(100), "rebake 10-100");
    assert_eq!((book.run().wanted_by.as_deref(), book.billed(100)), (Some("rebake rb1"), (60, 60)));
}

#[test]
fn a_spot_interruption_ends_between_the_last_sight_and_the_loss() {
    let mut book = Book::new();
    book.launched(Market::Spot, "worker");
    book.connected(30);
    book.add(4000, Body::InterruptionNoticed { worker: worker(), instance: id() });
    book.add(4000, Body::DrainOrdered { worker: worker(), cause: Cause::Interrupted });
    book.lost(4200, None, Some(4190));
    assert_eq!(book.life(9000), "boot 10-30, idle 30-4000, drain 4000-4200");
    // A listing may be five minutes old.
    assert_eq!(book.billed(9000), (3890 - 20, 4200 - 11));
    assert_eq!(book.run().ended.as_ref().and_then(|ended| ended.reason.as_deref()), Some("somebody"));
}

#[test]
fn what_somebody_else_ended_is_billed_until_ec2_says_that_it_ended() {
    let mut book = Book::new();
    book.launched(Market::OnDemand, "worker");
    book.connected(30);
    book.lost(4200, Some(4000), Some(3990));
    assert_eq!(book.life(9000), "boot 10-30, idle 30-4000, drain 4000-4200");
    assert_eq!(book.billed(9000), (3980, 3990));
}

#[test]
fn a_twin_is_a_zombie_from_its_beginning() {
    let mut book = Book::new();
    book.terminated(1000, None, Cause::Twin, Some(Box::new(sight(InstanceState::Running, 100))));
    book.departed(1030, Some(1000));
    assert_eq!((book.life(9000).as_str(), book.billed(9000)), ("zombie 100-1030", (60, 901)));
    assert!(book.run().stray && book.run().worker == Some(worker()));
    assert!(bill::of(book.run(), at(0), at(9000), at(9000), &Prices::default()).unpriced.is_none());
}

#[test]
fn what_runs_on_after_its_end_was_accepted_is_still_leaving_and_costs() {
    let mut book = Book::new();
    book.launched(Market::OnDemand, "worker");
    book.connected(30);
    book.terminated(100, Some(worker()), Cause::Released, None);
    assert_eq!(book.billed(900), (80, 90));
    book.terminated(1000, None, Cause::Released, None);
    book.departed(1030, Some(1000));
    assert_eq!(book.life(9000), "boot 10-30, idle 30-100, drain 100-1030");
    assert_eq!(book.billed(9000).1, 990);
}

#[test]
fn what_somebody_started_that_was_stopped_is_a_zombie() {
    let mut book = Book::new();
    book.launched(Market::OnDemand, "worker");
    book.connected(30);
    book.stopped(100, 120, 100);
    book.terminated(5000, Some(worker()), Cause::Orphan, Some(Box::new(sight(InstanceState::Running, 4000))));
    book.departed(5030, Some(5000));
    assert_eq!(book.life(9000), "boot 10-30, idle 30-100, drain 100-120, stopped 120-4000, zombie 4000-5030");
    assert_eq!(book.billed(9000).1, 90 + 1001);
}

#[test]
fn an_adopted_life_is_unknown_until_it_was_found() {
    let mut book = Book::new();
    let attempt = Box::new(Attempt { spec: None, ..attempt(Market::OnDemand, "worker") });
    let seen = Some(Box::new(sight(InstanceState::Running, 500)));
    book.add(1000, Body::Adopted { worker: worker(), attempt, instance: id(), seen });
    book.add(
        1001,
        Body::Running { worker: worker(), instance: id(), seen: Some(Box::new(sight(InstanceState::Running, 500))) },
    );
    book.connected(1100);
    assert_eq!(book.life(2000), "unknown 0-1000, boot 1000-1100, idle 1100-2000");
    // What ran before the start that EC2 tells of is not in any record.
    assert_eq!(book.billed(2000), (1000, 1500));
    assert!(book.run().adopted);
}

#[test]
fn an_absence_is_unknown_only_where_something_changed() {
    let started = |version: &str| Body::ControllerStarted { version: version.to_owned() };
    let mut book = Book::new();
    book.launched(Market::OnDemand, "worker");
    book.connected(30);
    book.add(40, Body::BuildStarted { worker: worker(), build: "b/1".parse().expect("a build") });
    book.add(100, Body::ControllerStopped {});
    assert_eq!(book.life(1000), "boot 10-30, idle 30-40, build 40-100, unknown 100-1000");
    book.add(3600, started("1"));
    assert_eq!(book.life(3601), "boot 10-30, idle 30-40, build 40-3601", "nobody said that anything changed");
    let mut ended = Book { meter: book.meter.clone(), seq: book.seq };
    ended.add(3610, Body::BuildFinished { worker: worker() });
    assert_eq!(ended.life(4000), "boot 10-30, idle 30-40, build 40-100, unknown 100-3610, idle 3610-4000");
    book.add(3900, Body::BuildFinished { worker: worker() });
    assert_eq!(book.life(4000), "boot 10-30, idle 30-40, build 40-3900, idle 3900-4000");
}

#[test]
fn a_loss_in_an_absence_is_billed_from_the_least_to_the_most() {
    let mut book = Book::new();
    book.launched(Market::OnDemand, "worker");
    book.connected(30);
    book.add(100, Body::ControllerStopped {});
    book.add(3600, Body::ControllerStarted { version: "1".to_owned() });
    book.lost(3605, None, None);
    assert_eq!(book.life(9000), "boot 10-30, idle 30-100, unknown 100-3605");
    assert_eq!(book.billed(9000), (60, 3594));
    let uses = book.run().uses(at(0), at(9000), at(9000));
    assert_eq!(uses[&Use::Unknown], TimeDelta::seconds(3505));
}

#[test]
fn costs_are_told_by_day_and_use() {
    let mut book = Book::new();
    book.launched(Market::OnDemand, "worker");
    book.connected(30);
    book.build(3000, 7200);
    book.terminated(7300, Some(worker()), Cause::Released, None);
    book.departed(7310, Some(7300));
    let bill = bill::of(book.run(), at(0), at(9000), at(9000), &Prices::default());
    let cell = |day: &str, usage| bill.by_day[&(day.parse().expect("a day"), usage)].low.as_micro_dollars();
    // m7i.large is $0.1008 an hour: 28 millionths each second. Midnight is at second 3600.
    assert_eq!((cell("2026-03-02", Use::Build), cell("2026-03-03", Use::Build)), (600 * 28, 3600 * 28));
    assert_eq!((cell("2026-03-02", Use::Idle), cell("2026-03-03", Use::Idle)), (2970 * 28, 100 * 28));
    assert_eq!(bill.by_day.values().map(|range| range.low).sum::<crate::policy::price::Money>(), bill.cost.total().low);
}

#[test]
fn spot_follows_the_price_of_its_zone() {
    let price = |zone: &str, from: i64, micro_dollars: u64| crate::model::SpotPrice {
        zone: zone.parse().expect("a zone"),
        instance_type: "m7i.large".to_owned(),
        product: "Linux/UNIX (Amazon VPC)".to_owned(),
        from: at(from),
        micro_dollars,
    };
    let history = [price("us-east-1a", -9000, 36_000), price("us-east-1a", 1820, 72_000), price("us-east-1b", 0, 1)];
    let mut book = Book::new();
    book.launched(Market::Spot, "worker");
    let zone = Some("us-east-1a".parse().expect("a zone"));
    let seen = Some(Box::new(Sight { zone, market: Some(Market::Spot), ..sight(InstanceState::Running, 20) }));
    book.add(20, Body::Running { worker: worker(), instance: id(), seen });
    book.connected(30);
    book.terminated(3620, Some(worker()), Cause::Released, None);
    book.departed(3640, Some(3620));
    let of = |spot| bill::of(book.run(), at(0), at(9000), at(9000), &Prices { spot, ..Prices::default() }).cost.compute;
    // Half an hour at each price; nine seconds of doubt.
    assert_eq!(of(&history).low.as_micro_dollars(), 18_000 + 36_000);
    assert!(of(&history).high.as_micro_dollars() < 54_200);
    // Without a history it is anything up to the list price.
    assert_eq!((of(&[]).low.as_micro_dollars(), of(&[]).high.as_micro_dollars()), (0, 101_080));
}

#[test]
fn what_is_billed_as_something_unknown_has_no_price() {
    let mut book = Book::new();
    book.launched(Market::OnDemand, "worker");
    let seen = Some(Box::new(Sight {
        platform_details: Some("Red Hat Enterprise Linux".to_owned()),
        ..sight(InstanceState::Running, 11)
    }));
    book.add(30, Body::Running { worker: worker(), instance: id(), seen });
    let bill = bill::of(book.run(), at(0), at(900), at(900), &Prices::default());
    assert!(bill.unpriced.as_deref().is_some_and(|why| why.contains("Red Hat Enterprise Linux")));
    assert_eq!(bill.cost.compute, Range::ZERO);
    // A budget counts it as plain Linux at the least: what EC2 says makes no month cheaper.
    assert_eq!(bill.counted().high.as_micro_dollars(), 100_800 * 889 / 3600);
    let (spent, rate) = Till::default().spent(&book.meter, &cell().owner, at(900), &Prices::default());
    assert_eq!((rate.high.as_micro_dollars(), spent.unpriced), (100_800, 1));
}

#[test]
fn what_was_lost_and_found_again_is_spent_twice() {
    let mut book = Book::new();
    book.launched(Market::OnDemand, "worker");
    book.lost(3_600, None, None);
    let seen = Some(Box::new(sight(InstanceState::Running, 11)));
    let attempt = Box::new(Attempt { spec: None, ..attempt(Market::OnDemand, "worker") });
    book.add(3_700, Body::Adopted { worker: worker(), attempt, instance: id(), seen });
    let (mut till, owner, prices) = (Till::default(), cell().owner, Prices::default());
    // Between the two ends the first run is settled.
    till.spent(&book.meter, &owner, at(3_590 + 300), &prices);
    book.terminated(7_200, Some(worker()), Cause::Released, None);
    book.departed(7_260, None);
    let bills = book.meter.runs().map(|run| bill::of(run, at(-3_600), at(9_000), at(9_000), &prices));
    let whole: Range = bills.map(|bill| bill.cost.total()).sum();
    assert_eq!(till.spent(&book.meter, &owner, at(9_000), &prices).0.amount, whole);
    assert_eq!(Till::default().spent(&book.meter, &owner, at(9_000), &prices).0.amount, whole);
    assert!(whole.high.as_micro_dollars() > 190_000, "two hours: {whole:#}");
}

#[test]
fn what_an_owner_spends_now_is_told_by_the_hour() {
    let mut book = Book::new();
    let prices = Prices::default();
    let rate_of =
        |book: &Book, owner: &crate::model::OwnerName| Till::default().spent(&book.meter, owner, at(900), &prices).1;
    let rate = |book: &Book| rate_of(book, &cell().owner);
    book.launched(Market::OnDemand, "worker");
    assert_eq!(rate(&book).to_string(), "$0.10");
    let hour = bill::of(book.run(), at(0), at(3620), at(3620), &prices).cost.total();
    assert_eq!(hour.low.as_micro_dollars(), 100_800);
    assert_eq!(rate_of(&book, &"bob".parse().expect("an owner")), Range::ZERO);
    book.terminated(100, Some(worker()), Cause::Released, None);
    assert_eq!(rate(&book), Range::ZERO);
}
