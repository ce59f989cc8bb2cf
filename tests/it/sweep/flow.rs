//! Whole sweeps on the simulated EC2, in virtual time: what is called, what comes of it, and what is said.

use latent::control::{SweepDoor, sweep_act, sweep_look};
use latent::model::{InstanceState, LeftoverKind, ResourceKind, Response, StopMode, tag_keys};
use latent::plan::sweep::{Act, Guard, mark_text};
use latent::sim::{ApiError, Mishap, RunInstances, SpotState, Tags};

use super::desk::{days, hours, id, region};
use super::rooms::{Rooms, lasting_disk, launch, spot, worker_tags};
use crate::harness::{minutes, seconds};

const LISTINGS: [&str; 7] = [
    "DescribeInstances",
    "DescribeImages",
    "DescribeVolumes",
    "DescribeSnapshots",
    "DescribeNetworkInterfaces",
    "DescribeAddresses",
    "DescribeSpotInstanceRequests",
];
const WRITES: [&str; 11] = [
    "RunInstances",
    "TerminateInstances",
    "StopInstances",
    "CreateTags",
    "DeleteVolume",
    "DeleteNetworkInterface",
    "ReleaseAddress",
    "CancelSpotInstanceRequests",
    "DeleteSnapshot",
    "DeregisterImage",
    "StartInstances",
];

fn refusal(code: &'static str) -> Mishap {
    Mishap::Refuse(ApiError::client(code, format!("the simulated EC2 says {code}")))
}

// --- what could not be seen -------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_denied_listing_of_any_kind_is_a_gap_and_nothing_is_done() {
    for (at, action) in LISTINGS.iter().enumerate() {
        let rooms = Rooms::new();
        let over = rooms.worker(hours(1));
        rooms.pass(hours(5)).await;
        rooms.inject(action, refusal("UnauthorizedOperation"), 1);
        let swept = rooms.sweep().await;
        assert_eq!(swept.plan.refused, Some(Guard::Incomplete { gaps: 1 }), "{action}");
        assert_eq!(swept.plan.gaps[0].kind, ResourceKind::ALL[at]);
        assert_eq!(swept.plan.gaps[0].code, "UnauthorizedOperation");
        assert_eq!((rooms.calls(&[action]), rooms.calls(&WRITES)), (1, 0), "a denial is not asked again");
        assert_eq!(rooms.state(&over), InstanceState::Running);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_fails_for_good_makes_the_look_incomplete_and_one_that_fails_once_does_not() {
    let rooms = Rooms::new();
    rooms.worker(hours(1));
    rooms.pass(hours(5)).await;
    rooms.inject("DescribeVolumes", refusal("InternalError"), 4);
    assert_eq!(rooms.sweep().await.plan.refused, Some(Guard::Incomplete { gaps: 1 }));
    rooms.inject("DescribeVolumes", refusal("InternalError"), 1);
    rooms.inject("DescribeAddresses", Mishap::LoseReply, 1);
    assert_eq!(rooms.sweep().await.done().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_region_that_cannot_be_seen_keeps_every_region_from_being_acted_on() {
    let mut rooms = Rooms::new();
    rooms.regions = vec![region("us-west-2"), region("eu-west-1")];
    let (there, over) = (region("eu-west-1"), launch(&worker_tags(rooms.now(), hours(1))));
    rooms.at(&there, |site, now| site.run_instances(&over, None, now).expect("launches"));
    rooms.pass(hours(5)).await;
    for action in LISTINGS {
        rooms.inject(action, refusal("OptInRequired"), 1);
    }
    let swept = rooms.sweep().await;
    assert_eq!(swept.plan.refused, Some(Guard::Incomplete { gaps: 7 }));
    assert_eq!((swept.plan.findings.len(), rooms.calls(&WRITES)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_hangs_ends_as_a_gap_and_is_not_begun_again() {
    let rooms = Rooms::new();
    rooms.inject("DescribeSnapshots", Mishap::Hang, 1);
    let (began, plan) = (rooms.now(), rooms.look().await);
    assert_eq!((plan.gaps.len(), plan.gaps[0].code.as_str()), (1, "Timeout"));
    assert!(rooms.now() - began < minutes(4), "it took {}", rooms.now() - began);
    assert_eq!(rooms.calls(&["DescribeSnapshots"]), 1);
}

#[tokio::test(start_paused = true)]
async fn a_last_look_that_fails_keeps_everything_from_being_done() {
    let rooms = Rooms::new();
    let over = rooms.worker(hours(1));
    rooms.pass(hours(5)).await;
    let denied = || rooms.inject("DescribeInstances", refusal("UnauthorizedOperation"), 1);
    let swept = rooms.sweep_after(denied).await;
    assert_eq!(swept.plan.refused, Some(Guard::Incomplete { gaps: 1 }));
    assert_eq!((rooms.calls(&WRITES), rooms.state(&over)), (0, InstanceState::Running));
}

// --- pace -------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn throttled_listings_and_acts_are_repeated_and_paced() {
    let rooms = Rooms::new();
    let over = rooms.worker(hours(1));
    rooms.pass(hours(5)).await;
    rooms.inject("DescribeInstances", refusal("RequestLimitExceeded"), 2);
    rooms.inject("TerminateInstances", refusal("RequestLimitExceeded"), 3);
    let began = rooms.now();
    let swept = rooms.sweep().await;
    assert_eq!(swept.done(), [(over.to_string(), Act::Terminate)].into());
    assert_eq!((swept.stayed.len(), rooms.state(&over)), (0, InstanceState::Terminated));
    assert_eq!(rooms.calls(&["TerminateInstances"]), 4);
    assert!(rooms.now() - began > seconds(2 + 4 + 2 + 4 + 8), "it waits twice as long each time");
}

#[tokio::test(start_paused = true)]
async fn a_throttle_without_end_is_given_up_and_said() {
    let rooms = Rooms::new();
    let over = rooms.worker(hours(1));
    rooms.pass(hours(5)).await;
    rooms.inject("TerminateInstances", refusal("RequestLimitExceeded"), 100);
    let swept = rooms.sweep().await;
    assert_eq!(swept.refused(), [(over.to_string(), "RequestLimitExceeded".to_owned())].into());
    assert_eq!(rooms.calls(&["TerminateInstances"]), 4);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_an_end_is_asked_for_again_and_gone_is_as_good_as_done() {
    let rooms = Rooms::new();
    let volume = rooms.lone_volume();
    rooms.pass(hours(1)).await;
    rooms.sweep().await;
    rooms.pass(minutes(6)).await;
    rooms.inject("DeleteVolume", Mishap::LoseReply, 1);
    let swept = rooms.sweep().await;
    assert_eq!(swept.done(), [(volume, Act::Terminate)].into(), "{swept:?}");
    assert_eq!((rooms.calls(&["DeleteVolume"]), swept.stayed.len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn seventeen_regions_with_ten_thousand_instances_need_no_more_calls_than_pages_acts_and_a_tenth() {
    let mut rooms = Rooms::new();
    rooms.regions = (0..17).map(|number| region(&format!("us-test-{number}"))).collect();
    let kept = launch(&worker_tags(rooms.now(), days(30)));
    let over = launch(&worker_tags(rooms.now(), hours(1)));
    for (number, place) in rooms.regions.clone().iter().enumerate() {
        rooms.at(place, |site, now| {
            site.quota_vcpus = 1_000_000;
            let many = RunInstances { min: 588, max: 588, ..kept.clone() };
            site.run_instances(&many, None, now).expect("launches");
            let some = RunInstances { min: 10, max: 10, ..over.clone() };
            if number == 3 {
                site.run_instances(&some, None, now).expect("launches");
            }
        });
    }
    rooms.pass(hours(1) + minutes(20)).await;
    // The leases of the others are renewed meanwhile.
    let lease = Tags::from([(tag_keys::LEASE.to_owned(), super::desk::clock(rooms.now() + hours(1)))]);
    for place in &rooms.regions {
        rooms.at(place, |site, now| {
            let ids: Vec<String> = site.instances().map(|instance| instance.id.to_string()).collect();
            site.create_tags(&ids, &lease, now).expect("tags");
        });
    }
    let pages = 17 * 7;
    let plan = rooms.look().await;
    assert_eq!((plan.seen.instances, plan.acts().count(), plan.refused), (17 * 588 + 10, 10, None));
    assert_eq!(rooms.calls(&LISTINGS), pages, "a look takes as many calls as there are pages");
    let swept = rooms.sweep().await;
    assert_eq!((swept.done().len(), swept.stayed.len()), (10, 0));
    let (acts, calls) = (10, rooms.calls(&LISTINGS) - pages + rooms.calls(&WRITES));
    assert!(calls * 10 <= (pages + acts) * 11, "{calls} calls for {pages} pages and {acts} acts");
}

// --- acts, and what stays ---------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn what_is_over_is_terminated_with_all_that_belongs_to_it_and_seen_to_be_gone() {
    let rooms = Rooms::new();
    let tags = worker_tags(rooms.now(), hours(1));
    let over = rooms.launched(&RunInstances { spot: Some(spot(false)), ..launch(&tags) });
    let kept = rooms.worker(days(1));
    rooms.pass(minutes(30)).await;
    assert!(rooms.sweep().await.plan.findings.is_empty());
    rooms.pass(hours(4)).await;
    rooms.here(|site, now| {
        let lease = Tags::from([(tag_keys::LEASE.to_owned(), super::desk::clock(now + hours(1)))]);
        site.create_tags(&[kept.to_string()], &lease, now).expect("tags");
    });
    let swept = rooms.sweep().await;
    assert_eq!(swept.done(), [(over.to_string(), Act::Terminate)].into());
    assert_eq!((swept.refused().len(), swept.skipped.len(), &swept.stayed[..]), (0, 0, &[][..]));
    assert_eq!((rooms.state(&over), rooms.state(&kept)), (InstanceState::Terminated, InstanceState::Running));
    assert!(rooms.here(|site, _| site.left_over().is_empty()));
    assert!(rooms.sweep().await.plan.findings.is_empty(), "and nothing is left to find");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_was_stopped_and_started_is_judged_by_its_disk() {
    let mut rooms = Rooms::new();
    let orphan = rooms.worker(days(30));
    rooms.pass(days(2)).await;
    rooms.here(|site, now| {
        site.stop_instances(std::slice::from_ref(&orphan), StopMode::Plain, false, now).expect("stops")
    });
    rooms.pass(minutes(5)).await;
    rooms.here(|site, now| site.start_instances(std::slice::from_ref(&orphan), now).expect("starts"));
    rooms.pass(minutes(1)).await;
    let known = [(super::desk::instance_id("i-0b"), latent::plan::sweep::Claim::Ending { since: rooms.now() })];
    let claims = latent::plan::sweep::Claims { instances: known.into(), open: Vec::new() };
    rooms.claims.insert(super::desk::its_key(), claims);
    let plan = rooms.look().await;
    assert_eq!((plan.findings[0].kind, plan.findings[0].act), (LeftoverKind::Orphan, Act::Mark));
    assert!(rooms.now() - plan.findings[0].since.expect("an age") > days(2));
    assert_eq!(rooms.sweep_twice().await.done(), [(orphan.to_string(), Act::Terminate)].into());
}

#[tokio::test(start_paused = true)]
async fn a_protected_instance_is_refused_and_hinders_no_other() {
    let rooms = Rooms::new();
    let tags = worker_tags(rooms.now(), hours(1));
    let guarded = rooms.launched(&RunInstances { termination_protected: true, ..launch(&tags) });
    let others = [rooms.worker(hours(1)), rooms.worker(hours(1))];
    rooms.pass(hours(5)).await;
    let swept = rooms.sweep().await;
    assert_eq!(swept.refused(), [(guarded.to_string(), "OperationNotPermitted".to_owned())].into());
    assert_eq!(swept.done().len(), 2);
    assert_eq!(rooms.state(&guarded), InstanceState::Running);
    assert!(others.iter().all(|id| rooms.state(id) == InstanceState::Terminated));
    assert!(rooms.here(|site, _| site.instance(&guarded).expect("there").termination_protected), "and still is");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_outlives_its_instance_is_said_and_swept_by_the_next_ones() {
    let rooms = Rooms::new();
    let tags = worker_tags(rooms.now(), hours(1));
    let over = rooms.launched(&RunInstances { disks: vec![lasting_disk()], ..launch(&tags) });
    rooms.pass(hours(5)).await;
    let began = rooms.now();
    let swept = rooms.sweep().await;
    let left: Vec<String> = rooms.here(|site, _| site.left_over().into_iter().map(ToOwned::to_owned).collect());
    assert_eq!((swept.done().len(), left.len(), swept.stayed.len()), (1, 1, 1), "{swept:?}");
    assert_eq!(swept.stayed[0].id, left[0]);
    assert_eq!(swept.stayed[0].what, format!("it belonged to {over} and is still there"));
    let waited = rooms.now() - began;
    assert!(waited >= seconds(30) && waited < minutes(3), "it is waited for, and not for long: {waited}");
    let calls = rooms.calls(&LISTINGS);
    assert!(calls < 7 + 1 + 12, "with few calls: {calls}");
    let swept = rooms.sweep_twice().await;
    assert_eq!(swept.done(), [(left[0].clone(), Act::Terminate)].into());
    assert!(rooms.here(|site, _| site.left_over().is_empty()));
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_outlives_its_instance_is_said() {
    let rooms = Rooms::new();
    let tags = worker_tags(rooms.now(), hours(1));
    rooms.launched(&RunInstances { keeps_interface: true, ..launch(&tags) });
    rooms.pass(hours(5)).await;
    let swept = rooms.sweep().await;
    assert_eq!(swept.stayed.len(), 1, "{swept:?}");
    assert!(swept.stayed[0].id.starts_with("eni-"));
}

#[tokio::test(start_paused = true)]
async fn a_spot_request_that_outlives_its_instance_is_said() {
    let rooms = Rooms::new();
    let tags = worker_tags(rooms.now(), hours(1));
    let over = rooms.launched(&RunInstances { spot: Some(spot(true)), ..launch(&tags) });
    rooms.pass(hours(5)).await;
    let swept = rooms.sweep().await;
    assert_eq!(swept.done().get(over.as_str()), Some(&Act::Terminate));
    let request = rooms.here(|site, _| site.instance(&over).expect("there").spot_request.clone()).expect("a request");
    let live = rooms.here(|site, _| {
        matches!(site.spot_requests[&request].state, SpotState::Open | SpotState::Active | SpotState::Disabled)
    });
    assert_eq!(swept.stayed.iter().any(|stayed| stayed.id == request), live, "{swept:?}");
    assert!(live, "a persistent request launches the next instance");
}

#[tokio::test(start_paused = true)]
async fn an_open_spot_request_is_cancelled_at_the_second_look() {
    let rooms = Rooms::new();
    let tags = worker_tags(rooms.now(), hours(1));
    let wanted = RunInstances {
        spot: Some(latent::sim::SpotOptions { max_price: Some("0.0001".to_owned()), ..spot(false) }),
        ..launch(&tags)
    };
    let request = rooms.here(|site, now| site.request_spot(&wanted, 1, None, now).expect("asks")[0].clone());
    rooms.pass(minutes(40)).await;
    let swept = rooms.sweep_twice().await;
    assert_eq!(swept.done(), [(request.clone(), Act::Terminate)].into());
    assert_eq!(rooms.here(|site, _| site.spot_requests[&request].state), SpotState::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_lasts_is_said_when_the_time_is_up() {
    let rooms = Rooms::new();
    let over = rooms.worker(hours(1));
    rooms.pass(hours(5)).await;
    rooms.world.lock().expect("not poisoned").set_rate(latent::sim::Fault::StuckEnding, 1.0);
    let swept = rooms.sweep().await;
    let what: Vec<&str> = swept.stayed.iter().filter(|s| s.id == over.as_str()).map(|s| s.what.as_str()).collect();
    assert_eq!(what, ["it is shutting-down"]);
    assert_eq!(swept.stayed.len(), 3, "its disk and its interface are there as well: {swept:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_policy_stops_is_stopped_and_its_disks_are_expected_to_stay() {
    let mut rooms = Rooms::new();
    rooms.policy.respond.insert(LeftoverKind::Expired, Response::Stop);
    let over = rooms.worker(hours(1));
    rooms.pass(hours(5)).await;
    let swept = rooms.sweep().await;
    assert_eq!((swept.done(), swept.stayed.len()), ([(over.to_string(), Act::Stop)].into(), 0));
    assert_eq!(rooms.state(&over), InstanceState::Stopped);
    assert_eq!(rooms.sweep().await.plan.findings[0].act, Act::Report, "and it is told from then on");
}

#[tokio::test(start_paused = true)]
async fn every_kind_that_a_policy_lets_go_goes() {
    let mut rooms = Rooms::new();
    for kind in LeftoverKind::ALL {
        rooms.policy.respond.insert(*kind, Response::Terminate);
    }
    let tags = worker_tags(rooms.now(), days(300));
    let base = rooms.launched(&launch(&tags));
    rooms.pass(minutes(1)).await;
    let sim_tags: Tags =
        super::desk::baked("ami-0a", days(1)).tags.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    for generation in 0..3 {
        let new = latent::sim::NewImage {
            name: format!("debian-{generation}"),
            tags: sim_tags.clone(),
            snapshot_tags: sim_tags.clone(),
            ..latent::sim::NewImage::default()
        };
        rooms.here(|site, now| site.create_image(&base, new, now).map(drop).expect("bakes"));
        rooms.pass(days(11)).await;
    }
    let volume = rooms.lone_volume();
    let address = rooms.here(|site, _| site.allocate_address(sim_tags.clone()).expect("allocates").id.clone());
    let interface = {
        let request = RunInstances { keeps_interface: true, ..launch(&tags) };
        let gone = rooms.launched(&request);
        rooms.pass(minutes(1)).await;
        rooms.here(|site, now| site.end_from_outside(&gone, now, "Client.UserInitiatedShutdown"));
        rooms.pass(minutes(1)).await;
        rooms.here(|site, _| site.interfaces.values().find(|i| i.instance.is_none()).expect("it stays").id.clone())
    };
    rooms.here(|site, now| {
        let lease = Tags::from([(tag_keys::LEASE.to_owned(), super::desk::clock(now + days(1)))]);
        site.create_tags(&[base.to_string()], &lease, now).expect("tags");
    });
    rooms.pass(hours(1)).await;
    let swept = rooms.sweep_twice().await;
    let done = swept.done();
    for gone in [&volume, &address, &interface] {
        assert_eq!(done.get(gone.as_str()), Some(&Act::Terminate), "{gone}: {swept:?}");
    }
    assert!(done.keys().any(|id| id.starts_with("ami-")), "{swept:?}");
    assert_eq!((done.len(), swept.stayed.len(), swept.refused().len()), (4, 0, 0), "{swept:?}");
    let (images, snapshots) = rooms.here(|site, _| (site.images.len(), site.snapshots.len()));
    assert_eq!((images, snapshots), (2, 2), "the oldest AMI went with its snapshot");
    assert_eq!(rooms.state(&base), InstanceState::Running);
}

// --- marks ------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn marks_are_set_five_hundred_at_once_and_by_kind() {
    let rooms = Rooms::new();
    for _ in 0..550 {
        rooms.lone_volume();
    }
    rooms.worker(hours(1));
    rooms.pass(minutes(61)).await;
    let swept = rooms.sweep().await;
    assert_eq!((swept.done().len(), rooms.calls(&["CreateTags"])), (551, 2 + 1));
    assert!(swept.done().values().all(|act| *act == Act::Mark));
    let marks: Vec<String> = rooms
        .here(|site, _| site.volumes.values().filter_map(|volume| volume.tags.get(tag_keys::MARK).cloned()).collect());
    assert_eq!(marks.len(), 550, "the disk of the instance is in use");
    let told = mark_text(swept.plan.taken_at, LeftoverKind::VolumeAvailable);
    assert!(marks.iter().all(|mark| mark[17..] == told[17..] || mark.ends_with("volume-available")), "{}", marks[0]);
    assert_eq!(rooms.calls(&["DeleteVolume", "TerminateInstances"]), 0);
}

#[tokio::test(start_paused = true)]
async fn one_resource_that_is_gone_does_not_keep_the_others_from_being_marked() {
    let rooms = Rooms::new();
    let volumes: Vec<String> = (0..3).map(|_| rooms.lone_volume()).collect();
    rooms.pass(hours(1)).await;
    let doors = rooms.doors();
    let surveys = sweep_look(&doors, &rooms.clock, |_| ()).await;
    let agreed: Vec<_> = rooms.decide(&surveys).acts().cloned().collect();
    rooms.here(|site, _| site.delete_volume(&volumes[1]).expect("deletes"));
    let (deeds, _) = sweep_act(&doors, &rooms.clock, &surveys, &agreed).await;
    assert!(deeds.len() == 3 && deeds.iter().all(|deed| deed.result.is_ok()), "{deeds:?}");
    for volume in [&volumes[0], &volumes[2]] {
        assert!(rooms.here(|site, _| site.volumes[volume].tags.contains_key(tag_keys::MARK)), "{volume} is marked");
    }
}

#[tokio::test(start_paused = true)]
async fn one_resource_that_takes_no_more_tags_is_said_and_the_others_are_marked() {
    let rooms = Rooms::new();
    let volumes: Vec<String> = (0..3).map(|_| rooms.lone_volume()).collect();
    rooms.here(|site, now| {
        let full: Tags = (0..48).map(|number| (format!("k{number}"), String::new())).collect();
        site.create_tags(&volumes[..1], &full, now).expect("tags");
    });
    rooms.pass(hours(1)).await;
    let swept = rooms.sweep().await;
    assert_eq!(swept.refused(), [(volumes[0].clone(), "TagLimitExceeded".to_owned())].into());
    assert_eq!(swept.done().len(), 2);
}

// --- the last look ----------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn what_changed_between_the_look_and_the_act_is_skipped_and_said() {
    let rooms = Rooms::new();
    let (kept, gone) = (rooms.worker(hours(1)), rooms.worker(hours(1)));
    let over = rooms.worker(hours(1));
    rooms.pass(hours(5)).await;
    let meanwhile = || {
        rooms.here(|site, now| {
            let keep = Tags::from([(tag_keys::KEEP.to_owned(), "true".to_owned())]);
            site.create_tags(&[kept.to_string()], &keep, now).expect("tags");
            site.end_from_outside(&gone, now, "Client.UserInitiatedShutdown");
        });
    };
    let swept = rooms.sweep_after(meanwhile).await;
    assert_eq!(swept.done(), [(over.to_string(), Act::Terminate)].into());
    let why = |id: &str| swept.skipped.iter().find(|skipped| skipped.id == id).expect("skipped").why.clone();
    assert!(why(kept.as_str()).contains("kept by its tag latent:keep"));
    assert_eq!(why(gone.as_str()), "it is gone");
    assert_eq!(rooms.state(&kept), InstanceState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_spot_request_that_was_fulfilled_meanwhile_is_not_cancelled() {
    let rooms = Rooms::new();
    let tags = worker_tags(rooms.now(), hours(10));
    let wanted = RunInstances { spot: Some(spot(false)), ..launch(&tags) };
    rooms.here(|site, _| site.quota_vcpus = 0);
    let request = rooms.here(|site, now| site.request_spot(&wanted, 1, None, now).expect("asks")[0].clone());
    rooms.pass(minutes(40)).await;
    rooms.sweep().await;
    rooms.pass(minutes(6)).await;
    let doors = rooms.doors();
    let mut surveys = sweep_look(&doors, &rooms.clock, |_| ()).await;
    let plan = rooms.decide(&surveys);
    assert_eq!(plan.acts().map(|finding| finding.act).collect::<Vec<_>>(), [Act::Terminate]);
    rooms.here(|site, _| site.quota_vcpus = 100);
    rooms.pass(minutes(3)).await;
    latent::control::sweep_look_again(&doors, &rooms.clock, &mut surveys, &plan.findings).await;
    let now = rooms.decide(&surveys);
    let (agreed, skipped) = latent::plan::sweep::confirm(&plan, &now);
    assert!(agreed.is_empty(), "{agreed:?}");
    assert!(skipped[0].why.contains("fulfils it"), "{skipped:?}");
    assert_eq!(rooms.here(|site, _| site.spot_requests[&request].state), SpotState::Active);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_for_what_is_only_told() {
    let rooms = Rooms::new();
    let over = rooms.worker(hours(1));
    rooms.pass(hours(5)).await;
    let doors: Vec<SweepDoor<_>> = rooms.doors();
    let surveys = sweep_look(&doors, &rooms.clock, |_| ()).await;
    let mut findings = rooms.decide(&surveys).findings;
    for act in [Act::Report, Act::Wait] {
        findings[0].act = act;
        let (deeds, stayed) = sweep_act(&doors, &rooms.clock, &surveys, &findings).await;
        assert_eq!((deeds.len(), stayed.len(), rooms.calls(&WRITES)), (0, 0, 0));
    }
    assert_eq!(findings[0].resource(), Some(id(over.as_str())));
}

// --- many regions, many instances -------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_large_sweep_takes_a_call_for_each_act_and_each_page_and_few_beside() {
    const EACH: u64 = 80;
    let mut rooms = Rooms::new();
    rooms.regions = (1..=17).map(|number| region(&format!("eu-test-{number}"))).collect();
    (rooms.caps.free, rooms.caps.max) = (100_000, 100_000);
    let over = launch(&worker_tags(rooms.now(), hours(1)));
    for place in rooms.regions.clone() {
        for _ in 0..EACH {
            rooms.at(&place, |site, now| drop(site.run_instances(&over, None, now).expect("launches")));
        }
    }
    rooms.pass(hours(5)).await;
    let launched = rooms.calls(&LISTINGS) + rooms.calls(&WRITES);
    let swept = rooms.sweep().await;
    let calls = rooms.calls(&LISTINGS) + rooms.calls(&WRITES) - launched;
    let (pages, acts) = (17 * LISTINGS.len() as u64, 17 * EACH);
    assert_eq!((swept.done().len() as u64, swept.stayed.len()), (acts, 0));
    assert!(calls * 10 <= (pages + acts) * 11, "{calls} calls for {pages} pages and {acts} acts");
}

#[tokio::test(start_paused = true)]
async fn regions_and_kinds_are_looked_at_at_the_same_time() {
    let mut rooms = Rooms::new();
    rooms.regions = (1..=34).map(|number| region(&format!("eu-test-{number}"))).collect();
    for action in ["DescribeVolumes", "DescribeSnapshots"] {
        rooms.inject_everywhere(action, &Mishap::Hang);
    }
    let begun = rooms.now();
    let plan = rooms.look().await;
    assert_eq!(plan.gaps.len(), 34 * 2, "a listing that takes three minutes is given up");
    assert!(rooms.now() - begun < minutes(4), "none waited for another: {}", rooms.now() - begun);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_gone_among_many_marks_is_found_by_halves() {
    let rooms = Rooms::new();
    let volumes: Vec<String> = (0..64).map(|_| rooms.lone_volume()).collect();
    rooms.pass(minutes(61)).await;
    let doors = rooms.doors();
    let surveys = sweep_look(&doors, &rooms.clock, |_| ()).await;
    let plan = rooms.decide(&surveys);
    rooms.here(|site, _| site.volumes.remove(&volumes[20]));
    let (deeds, _) = sweep_act(&doors, &rooms.clock, &surveys, &plan.findings).await;
    assert!(deeds.len() == 64 && deeds.iter().all(|deed| deed.result.is_ok()), "what is gone is as it was wanted");
    assert_eq!(rooms.calls(&["CreateTags"]), 1 + 2 * 6, "64, then two halves at each of six steps");
    let unmarked =
        rooms.here(|site, _| site.volumes.values().filter(|one| !one.tags.contains_key(tag_keys::MARK)).count());
    assert_eq!(unmarked, 0);
}
