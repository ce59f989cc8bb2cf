//! What the audit reads of CloudTrail, on the simulated EC2: at its pace, within limits, with every gap told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use latent::audit::{trail_runs, trail_seconds};
use latent::cloud::Cloud;
use latent::control::{Clock, ask_prices, read_trail};
use latent::model::{InstanceId, StopMode, Trail};
use latent::policy::price::{Money, PriceEntry, Prices, Software, price_file};
use latent::sim::{ApiError, Mishap, RunInstances, SimCloud, Site, SiteId, Weather, World};

struct Ground {
    world: Arc<Mutex<World>>,
    place: SiteId,
    clock: Clock,
    cloud: SimCloud,
}

impl Ground {
    fn new() -> Self {
        let clock = Clock::starting_at(DateTime::UNIX_EPOCH + TimeDelta::days(20_000));
        let place = SiteId::new("123456789012", "us-west-2");
        let world = Arc::new(Mutex::new(World::new(5, Weather::calm()).lenient()));
        let cloud = SimCloud::new(Arc::clone(&world), place.clone(), None, clock.clone());
        Self { world, place, clock, cloud }
    }

    fn touch<T>(&self, act: impl FnOnce(&mut Site, DateTime<Utc>) -> T) -> T {
        let now = self.clock.now();
        self.world.lock().unwrap_or_else(PoisonError::into_inner).touch(&self.place, now, |site| act(site, now))
    }

    fn launch(&self) -> InstanceId {
        let request = RunInstances {
            image: "ami-0123456789abcdef0".to_owned(),
            instance_type: "m5.large".to_owned(),
            min: 1,
            max: 1,
            ..RunInstances::default()
        };
        self.touch(|site, now| site.run_instances(&request, None, now)).expect("launches").remove(0)
    }

    async fn pass(&self, time: TimeDelta) {
        self.clock.sleep_until(self.clock.now() + time).await;
        // What is due happens.
        self.touch(|_, _| ());
    }

    async fn read(&self, days: i64) -> Trail {
        let now = self.clock.now();
        read_trail(&self.clock, &self.cloud, now - TimeDelta::days(days), now).await
    }

    fn inject(&self, mishap: &Mishap, times: usize) {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.inject(Some("LookupEvents"), None, mishap.clone(), times);
    }

    fn asked(&self) -> u64 {
        self.world.lock().unwrap_or_else(PoisonError::into_inner).calls(&self.place, "LookupEvents")
    }
}

fn codes(trail: &Trail) -> Vec<&str> {
    trail.gaps.iter().map(|gap| gap.why.code.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_cloudtrail_tells_agrees_with_the_bill_except_where_a_guest_shut_down() {
    let ground = Ground::new();
    let (ended, stopped, by_guest) = (ground.launch(), ground.launch(), ground.launch());
    ground.pass(TimeDelta::hours(2)).await;
    ground.cloud.terminate(&ended).await.expect("ends");
    ground.cloud.stop(&stopped, StopMode::Plain).await.expect("stops");
    ground.touch(|site, now| site.power_off(&by_guest, now));
    ground.pass(TimeDelta::hours(1)).await;
    ground.cloud.start(&stopped).await.expect("starts");
    ground.pass(TimeDelta::hours(3)).await;
    ground.cloud.stop(&stopped, StopMode::Plain).await.expect("stops");
    ground.pass(TimeDelta::hours(1)).await;
    let began = ground.clock.now();
    let trail = ground.read(1).await;
    assert_eq!(codes(&trail), ["TooYoung"], "{:?}", trail.gaps);
    assert!(trail.is_told() && trail.to <= began - TimeDelta::minutes(15));
    assert!(trail.events.is_sorted_by_key(|event| event.at));
    let runs = trail_runs(&trail);
    let billed: BTreeMap<String, i64> =
        ground.touch(|site, now| site.bill().lines().map(|(id, line)| (id.to_owned(), line.seconds_at(now))).collect());
    let told = |id: &InstanceId| trail_seconds(&runs[id], began - TimeDelta::days(1), began);
    for id in [&ended, &stopped] {
        let told = told(id);
        // It is billed from running on, and CloudTrail tells when it was asked for.
        assert_eq!(told.least, told.most);
        assert!((told.most - billed[id.as_str()]).abs() < 120, "{told:?} {}", billed[id.as_str()]);
    }
    let guest = told(&by_guest);
    assert_eq!(guest.least, 0, "a guest's shutdown is no call");
    assert!(guest.most > billed[by_guest.as_str()] + 3 * 3600, "{guest:?}");
    assert_eq!(told(&stopped).starts, 2);
    assert_eq!(runs[&ended][0].by.as_deref(), Some("ec2.amazonaws.com"), "the test reached into the account");
}

#[tokio::test(start_paused = true)]
async fn calls_keep_cloudtrails_pace_however_many_pages_there_are() {
    let ground = Ground::new();
    let unknown: InstanceId = "i-0123456789abcdef0".parse().expect("an id");
    for _ in 0..600 {
        ground.cloud.terminate(&unknown).await.expect_err("unknown");
    }
    ground.pass(TimeDelta::hours(1)).await;
    let began = ground.clock.now();
    let trail = ground.read(1).await;
    assert_eq!((codes(&trail), trail.events.len()), (vec!["TooYoung"], 600));
    assert_eq!(ground.asked(), 12 + 4, "twelve pages of one call, one of each other");
    assert!((ground.clock.now() - began).num_seconds() >= 15 * 2 / 3, "two in three seconds");
    let world = ground.world.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(world.trace.after(0).all(|event| event.what != "LookupEvents" || event.outcome == "ok"));
}

#[tokio::test(start_paused = true)]
async fn what_is_throttled_or_lost_is_asked_again_and_what_lasts_is_a_gap() {
    let ground = Ground::new();
    let id = ground.launch();
    ground.pass(TimeDelta::hours(1)).await;
    ground.inject(&Mishap::Refuse(ApiError::throttled("123456789012", "LookupEvents")), 3);
    ground.inject(&Mishap::LoseReply, 1);
    let trail = ground.read(1).await;
    assert_eq!((codes(&trail), trail.is_told()), (vec!["TooYoung"], true));
    assert!(trail.events[0].instances.contains(&id));
    ground.inject(&Mishap::Refuse(ApiError::throttled("123456789012", "LookupEvents")), 5);
    let trail = ground.read(1).await;
    assert_eq!((codes(&trail), trail.is_told()), (vec!["TooYoung", "ThrottlingException"], false));
    assert_eq!(trail.gaps[1].call.as_deref(), Some("RunInstances"));
}

#[tokio::test(start_paused = true)]
async fn who_may_not_ask_is_told_so_once() {
    let ground = Ground::new();
    ground.launch();
    ground.pass(TimeDelta::hours(1)).await;
    ground.inject(&Mishap::Refuse(ApiError::denied("AccessDeniedException", "not authorized")), 100);
    let trail = ground.read(1).await;
    assert_eq!((codes(&trail), trail.is_told()), (vec!["TooYoung", "AccessDeniedException"], false));
    assert!(trail.gaps[1].call.is_none() && trail.gaps[1].why.is_denied(), "{:?}", trail.gaps[1]);
    assert_eq!((ground.asked(), trail.events.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_or_too_much_is_a_gap_and_the_rest_is_there() {
    let ground = Ground::new();
    let unknown: InstanceId = "i-0123456789abcdef0".parse().expect("an id");
    for _ in 0..7_600 {
        ground.cloud.start(&unknown).await.expect_err("unknown");
    }
    ground.pass(TimeDelta::hours(1)).await;
    let now = ground.clock.now();
    let trail = ground.read(100).await;
    assert_eq!(codes(&trail), ["TooOld", "TooYoung", "TooMany"], "{:?}", trail.gaps);
    let (old, many) = (&trail.gaps[0], &trail.gaps[2]);
    assert_eq!((old.from, old.to), (now - TimeDelta::days(100), now - TimeDelta::days(90)));
    assert_eq!((many.call.as_deref(), many.to), (Some("StartInstances"), trail.from));
    assert_eq!(trail.events.len(), 7_500);
    assert!(trail.is_told() && trail.events.iter().all(|event| event.at >= trail.from - TimeDelta::seconds(1)));
}

#[tokio::test(start_paused = true)]
async fn prices_of_the_list_are_laid_over_the_programs() {
    let ground = Ground::new();
    let region = "us-west-2".parse().expect("a region");
    let types =
        [("m7i.large", Software::LinuxUnix), ("m7i.large", Software::Windows), ("m99.large", Software::LinuxUnix)]
            .map(|(kind, software)| (kind.to_owned(), software));
    let entries = ask_prices(&ground.clock, &ground.cloud, &region, &types.into()).await.expect("answers");
    let prices: Vec<Option<Money>> = entries.iter().map(|entry: &PriceEntry| entry.hourly).collect();
    assert_eq!(prices, [Some(Money::micro_dollars(100_800)), Some(Money::micro_dollars(192_800)), None]);
    assert_eq!(entries[2].unknown.as_deref(), Some("the list has no such product"));
    let today = "2026-11-22".parse().expect("a date");
    let file = serde_json::to_string(&price_file(today, entries)).expect("JSON");
    let over = Prices::over(&file, today).expect("a file of ours");
    assert_eq!(over.date_of("m7i.large", &region, Software::Windows), today);
    ground.world.lock().unwrap_or_else(PoisonError::into_inner).inject(
        Some("GetProducts"),
        None,
        Mishap::Refuse(ApiError::denied("AccessDeniedException", "not authorized")),
        1,
    );
    let types = [("m7i.large".to_owned(), Software::LinuxUnix)];
    let refused = ask_prices(&ground.clock, &ground.cloud, &region, &types.into()).await.expect_err("denied");
    assert!(refused.is_denied(), "{refused}");
}
