//! One thing after the other that a rebake meets in the world.

use chrono::TimeDelta;
use latent::control::Standing;
use latent::model::{GuestStep, Outcome, RebakeChannel, Step, tag_keys};
use latent::sim::run::rebake::{Case, Conduct, House, Manner, Work};
use latent::sim::{ApiError, Fault, ImageState, Mishap, NewImage, RunInstances};

use super::{ends, fails, house, succeeds};

fn with(manner: Manner) -> House {
    house(Case { manner, ..Case::default() })
}

fn before(conduct: Conduct) -> House {
    house(Case { conduct, ..Case::default() })
}

/// Something happens in the account as soon as this holds; then the rebake goes on to its end.
async fn when(house: &House, holds: impl FnMut(&Standing) -> bool, happens: impl FnOnce(&House)) -> Outcome {
    let worked = house
        .work(None, async |mut standing| {
            if standing.wait_for(holds).await.is_ok() {
                happens(house);
            }
        })
        .await;
    let Work::Over(outcome) = worked else { panic!("{worked:?}\n{}", house.story()) };
    house.pass(TimeDelta::hours(3)).await;
    outcome
}

fn has_ami(seen: &Standing) -> bool {
    seen.rebake.ami.is_some()
}

fn candidate(house: &House) -> String {
    house.record().expect("folds").ami.expect("made").to_string()
}

#[tokio::test(start_paused = true)]
async fn a_builder_that_does_not_stop_is_ended_at_its_deadline() {
    fails(&with(Manner::Restless), Step::Off, "did not come about within 6h").await;
    fails(&with(Manner::Mute), Step::Quiesce, "did not come about within").await;
}

#[tokio::test(start_paused = true)]
async fn a_builder_that_cannot_prove_its_work_is_not_believed() {
    fails(&with(Manner::NoReboot), Step::Off, "nothing proves that it was rebooted").await;
    fails(&with(Manner::SameBoot), Step::Off, "nothing proves that it was rebooted").await;
    fails(&with(Manner::NoLastWord), Step::Off, "without its last word").await;
    fails(&with(Manner::Ended), Step::Update, "ended from outside").await;
    fails(&with(Manner::Fails(GuestStep::Update)), Step::Update, "exit code 100").await;
    let late = Case { manner: Manner::Fails(GuestStep::Clean), console_late: TimeDelta::minutes(8), ..Case::default() };
    let house = house(late);
    let outcome = ends(&house).await;
    assert!(matches!(&outcome, Outcome::Failed { why, .. } if why.contains("failed in clean")), "{outcome}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_lost_in_its_reboot_ends_with_the_builder() {
    let case = Case { channel: RebakeChannel::Ssm, manner: Manner::AgentLost, ..Case::default() };
    fails(&house(case), Step::Quiesce, "did not come about within").await;
    let case = Case { channel: RebakeChannel::Ssm, manner: Manner::NoAgent, ..Case::default() };
    fails(&house(case), Step::Quiesce, "did not register in 40 minutes").await;
    let case = Case { channel: RebakeChannel::Ssm, manner: Manner::Fails(GuestStep::Settle), ..Case::default() };
    fails(&house(case), Step::Settle, "failed in settle, exit code 100").await;
}

#[tokio::test(start_paused = true)]
async fn an_ami_that_ec2_cannot_make_is_taken_away() {
    let house = house(Case::default());
    let outcome = when(&house, has_ami, |house| {
        let ami = candidate(house);
        house.touch(|site| site.images.get_mut(&ami).expect("there").state = ImageState::Failed);
    });
    let outcome = outcome.await;
    assert!(matches!(&outcome, Outcome::Failed { step: Step::Image, why } if why.contains("failed")), "{outcome}");
    house.check(&outcome).expect("nothing is left");
}

#[tokio::test(start_paused = true)]
async fn an_ami_may_take_a_day_and_no_longer() {
    for (hours, succeeds) in [(20, true), (25, false)] {
        let house = house(Case::default());
        let outcome = when(&house, has_ami, |house| {
            let (ami, until) = (candidate(house), house.clock.now() + TimeDelta::hours(hours));
            house.touch(|site| site.image_takes_until(&ami, until));
        });
        let outcome = outcome.await;
        house.check(&outcome).unwrap_or_else(|what| panic!("{what}\n{}", house.story()));
        let failed = matches!(&outcome, Outcome::Failed { step: Step::Image, why } if why.contains("within 1day"));
        assert!(if succeeds { matches!(outcome, Outcome::Done { .. }) } else { failed }, "{hours} h: {outcome}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_somebody_elses_ami_has_is_left_to_it() {
    let house = House::new(Case::default(), |site, order| {
        let new = NewImage { name: order.name.clone(), ..NewImage::default() };
        site.register_image(new, "x86_64", "/dev/sda1", Vec::new(), order.at).map(drop).expect("registers");
    });
    fails(&house, Step::Image, "does not carry the fleet's tag").await;
    house.touch(|site| assert!(site.images.values().any(|image| image.name == house.order.name), "it is still there"));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_another_ami_shares_is_left_to_that_one() {
    let house = before(Conduct::NeverConnects);
    let outcome = when(
        &house,
        |seen| seen.rebake.step == Step::Canary,
        |house| {
            let (ami, now) = (candidate(house), house.clock.now());
            house.touch(|site| {
                let disks = site.images[&ami].disks.clone();
                let new = NewImage { name: "a copy".to_owned(), ..NewImage::default() };
                site.register_image(new, "x86_64", "/dev/sda1", disks, now).map(drop).expect("registers");
            });
        },
    );
    let outcome = outcome.await;
    assert!(matches!(outcome, Outcome::Failed { step: Step::Canary, .. }), "{outcome}\n{}", house.story());
    let ami = candidate(&house);
    house.touch(|site| {
        assert!(!site.images.contains_key(&ami));
        let copy = site.images.values().find(|image| image.name == "a copy").expect("it is still there");
        let snapshot = copy.disks[0].snapshot.as_ref().expect("it has one");
        assert!(site.snapshots.contains_key(snapshot), "and so is its snapshot");
    });
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_does_not_prove_everything_proves_nothing() {
    fails(&before(Conduct::NeverConnects), Step::Canary, "it did not connect").await;
    fails(&before(Conduct::ConnectsOnce), Step::Canary, "it did not connect again").await;
    fails(&before(Conduct::NeverIdle), Step::Canary, "did not come about within 1day").await;
}

#[tokio::test(start_paused = true)]
async fn where_only_spot_has_capacity_every_place_is_tried_once_and_nothing_is_left() {
    let house = house(Case::default());
    house.world(|world, _| world.set_rate(Fault::NoCapacity, 1.0));
    fails(&house, Step::Launch, "there is no on-demand capacity for a builder: 4 places were tried").await;
    assert_eq!(house.world(|world, place| world.calls(place, "RunInstances")), 5, "a dry run, and each place");
}

#[tokio::test(start_paused = true)]
async fn a_place_without_capacity_is_left_for_the_next() {
    let house = house(Case::default());
    let full = Mishap::Refuse(ApiError::server("InsufficientInstanceCapacity", "There is no capacity."));
    let outcome = when(
        &house,
        |seen| seen.rebake.step == Step::Launch,
        |house| {
            house.world(|world, place| world.inject(Some("RunInstances"), Some(place), full, 2));
        },
    );
    let outcome = outcome.await;
    house.check(&outcome).expect("nothing is left");
    let record = house.record().expect("folds");
    assert_eq!(record.launches_refused.len(), 2);
    assert_eq!(record.launch.expect("launched").0.offering, house.order.launches[2].offering);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_a_person_edits_meanwhile_is_the_persons() {
    let house = before(Conduct::Edited);
    fails(&house, Step::Promote, "ManifestEdited").await;
    assert_eq!(house.manifest().ami.as_str(), "ami-0badc0de0badc0de0");
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_nobody_starts_is_kept_when_its_time_is_over() {
    succeeds(&before(Conduct::Unused)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_rolled_back_stays_as_long_as_somebody_uses_it() {
    let house = before(Conduct::Worse);
    let work = house.work(None, async |mut standing| {
        drop(standing.wait_for(|seen| seen.rebake.step == Step::Soak).await);
        let ami = candidate(&house);
        let by_hand = RunInstances {
            image: ami.clone(),
            instance_type: "t3.large".to_owned(),
            min: 1,
            max: 1,
            ..RunInstances::default()
        };
        let now = house.clock.now();
        let id = house.touch(|site| site.run_instances(&by_hand, None, now)).expect("launches").remove(0);
        drop(standing.wait_for(|seen| seen.rebake.undo.is_some()).await);
        house.clock.sleep_until(house.clock.now() + TimeDelta::hours(5)).await;
        assert_eq!(Some(house.manifest().ami), house.order.current, "it is rolled back at once");
        house.touch(|site| assert!(site.images.contains_key(&ami), "and is still there"));
        let now = house.clock.now();
        house.touch(|site| site.terminate_instances(&[id], now)).expect("ends");
    });
    let Work::Over(outcome) = work.await else { panic!("{}", house.story()) };
    house.pass(TimeDelta::hours(3)).await;
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome}");
    house.check(&outcome).expect("nothing is left");
}

#[tokio::test(start_paused = true)]
async fn what_is_rolled_back_stays_as_long_as_a_person_wants_it() {
    let house = before(Conduct::Worse);
    let work = house.work(None, async |mut standing| {
        drop(standing.wait_for(|seen| seen.rebake.undo.is_some()).await);
        while Some(house.manifest().ami) != house.order.current {
            house.clock.sleep_until(house.clock.now() + TimeDelta::milliseconds(1)).await;
        }
        let ami = candidate(&house).parse().expect("an id");
        house.write_manifest(&ami);
        house.clock.sleep_until(house.clock.now() + TimeDelta::hours(5)).await;
        house.touch(|site| assert!(site.images.contains_key(ami.as_str()), "the manifest names it"));
        house.write_manifest(house.order.current.as_ref().expect("there"));
    });
    let Work::Over(outcome) = work.await else { panic!("{}", house.story()) };
    house.pass(TimeDelta::hours(3)).await;
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome}");
    house.check(&outcome).expect("nothing is left");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_deregistered_still_loses_no_snapshot_of_others() {
    let house = before(Conduct::NeverConnects);
    let outcome = when(
        &house,
        |seen| seen.rebake.step == Step::Canary,
        |house| {
            let (ami, now) = (candidate(house), house.clock.now());
            house.touch(|site| site.deregister_image(&ami, true, now).map(drop)).expect("deregisters");
        },
    );
    let outcome = outcome.await;
    assert!(matches!(outcome, Outcome::Failed { step: Step::Canary, .. }), "{outcome}\n{}", house.story());
    house.check(&outcome).expect("nothing is left");
}

#[tokio::test(start_paused = true)]
async fn a_canary_is_not_taken_for_the_builder_though_it_carries_the_rebakes_id() {
    let house = before(Conduct::ConnectsOnce);
    fails(&house, Step::Canary, "").await;
    let role = |instance: &latent::sim::Instance| {
        instance.params.tags.values().next().and_then(|tags| tags.get(tag_keys::ROLE).cloned())
    };
    house.touch(|site| {
        let ours = site.ever().filter(|instance| role(instance).is_some_and(|role| role != "worker"));
        assert_eq!(ours.count(), 2, "one builder and one canary");
    });
}
