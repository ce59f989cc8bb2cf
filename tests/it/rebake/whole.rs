//! Whole rebakes without bad luck, of each kind and by each channel.

use chrono::TimeDelta;
use latent::model::{Outcome, RebakeBody, RebakeChannel, RebakeKind, Step, tag_keys};
use latent::sim::run::rebake::{Case, Conduct, House, Manner};
use latent::sim::{TagTarget, Tags};

use super::{ends, house, succeeds};

#[tokio::test(start_paused = true)]
async fn a_rebake_ends_with_one_new_ami_and_nothing_else() {
    let house = house(Case::default());
    succeeds(&house).await;
    let (made, record) = (house.manifest(), house.record().expect("folds"));
    assert_eq!(Some(&made.ami), record.ami.as_ref());
    assert_eq!(made.previous, house.order.current);
    let done: Vec<Step> = house
        .entries()
        .iter()
        .filter_map(|entry| match &entry.body {
            RebakeBody::Done { step, .. } => Some(*step),
            _ => None,
        })
        .collect();
    assert_eq!(done, Step::ALL, "each once, in order");
    house.touch(|site| {
        let image = &site.images[made.ami.as_str()];
        let tag = |key: &str| image.tags.get(key).map(String::as_str);
        assert_eq!(tag(tag_keys::PARENT), Some(house.order.source.as_str()));
        assert_eq!(tag(tag_keys::ROOT), Some(house.order.root.as_str()));
        assert_eq!((tag(tag_keys::GENERATION), tag(tag_keys::ROLLOUT)), (Some("3"), Some("promoted")));
    });
}

#[tokio::test(start_paused = true)]
async fn a_script_that_an_agent_runs_does_as_well() {
    let by_agent = house(Case { channel: RebakeChannel::Ssm, ..Case::default() });
    succeeds(&by_agent).await;
    assert!(by_agent.record().expect("folds").command.is_some());
    let auto = house(Case { channel: RebakeChannel::Auto, ..Case::default() });
    succeeds(&auto).await;
    assert!(auto.record().expect("folds").command.is_none(), "the user data came first, and ran");
    let deaf = house(Case { channel: RebakeChannel::Auto, manner: Manner::Mute, ..Case::default() });
    succeeds(&deaf).await;
    assert!(deaf.record().expect("folds").command.is_some(), "the user data was not run");
}

#[tokio::test(start_paused = true)]
async fn a_console_that_is_read_minutes_late_is_waited_for() {
    succeeds(&house(Case { console_late: TimeDelta::minutes(6), ..Case::default() })).await;
}

/// Hands a new AMI over and gives the account in which it lies.
async fn handed_over() -> (House, latent::model::AmiId) {
    let house = house(Case { staged: false, ..Case::default() });
    match ends(&house).await {
        Outcome::HandedOver { ami } => (house, ami),
        other => panic!("{other}\n{}", house.story()),
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_controller_the_ami_is_handed_over_by_its_tag() {
    let (house, ami) = handed_over().await;
    house.touch(|site| {
        let tags = &site.images[ami.as_str()].tags;
        assert_eq!(tags.get(tag_keys::ROLLOUT).map(String::as_str), Some("wanted"));
        let builders = site.instances().filter(|i| i.tag(tag_keys::ROLE) == Some("rebake") && !i.is_over());
        assert_eq!(builders.count(), 0, "the builder is gone");
    });
}

/// A house in which a candidate lies that somebody else made.
fn received(conduct: Conduct) -> House {
    let case = Case { kind: RebakeKind::HandedOver, conduct, ..Case::default() };
    House::new(case, |site, order| {
        let now = order.at;
        let current = order.source.to_string();
        let disk = site.images[&current].disks[0].clone();
        let lineage: Tags = order.lineage().iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let volume = site.volumes.keys().next().cloned().expect("a volume");
        let snapshot = site.create_snapshot(&volume, "candidate", &lineage, now).expect("made").id.clone();
        let disk = latent::sim::Disk { snapshot: Some(snapshot), ..disk };
        let new = latent::sim::NewImage { name: order.name.clone(), tags: lineage, ..latent::sim::NewImage::default() };
        let id = site.register_image(new, "x86_64", "/dev/sda1", vec![disk], now).expect("made").id.clone();
        order.candidate = Some(id.parse().expect("an id"));
        order.source = order.candidate.clone().expect("just set");
    })
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_over_is_proven_and_promoted() {
    let house = received(Conduct::Sound);
    house.work(None, async |_| ()).await;
    house.pass(TimeDelta::hours(1)).await;
    let candidate = house.order.candidate.clone().expect("there");
    assert_eq!(
        house.record().expect("folds").outcome,
        Some(Outcome::Done { ami: candidate.clone() }),
        "{}",
        house.story()
    );
    assert_eq!(house.manifest().ami, candidate);
    house.touch(|site| assert_eq!(site.ever().filter(|i| i.tag(tag_keys::ROLE) == Some("rebake")).count(), 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_over_and_fails_goes_with_its_snapshots() {
    let house = received(Conduct::NeverConnects);
    house.work(None, async |_| ()).await;
    let candidate = house.order.candidate.clone().expect("there");
    let ended = house.record().expect("folds").outcome;
    assert!(matches!(ended, Some(Outcome::Failed { step: Step::Canary, .. })), "{}", house.story());
    house.touch(|site| {
        assert!(!site.images.contains_key(candidate.as_str()));
        assert!(site.snapshots.values().all(|snapshot| snapshot.description != "candidate"));
    });
    assert_eq!(Some(house.manifest().ami), house.order.current);
}

/// A house with an instance that somebody set up by hand.
fn set_up_by_hand(staged: bool) -> House {
    let case = Case { kind: RebakeKind::Enroll, staged, ..Case::default() };
    House::new(case, |site, order| {
        let of = |instance: &&latent::sim::Instance| instance.tag("Name") == Some("somebody's");
        let id = site.instances().find(of).expect("there").id.clone();
        assert!(site.instance(&id).is_some_and(|i| i.params.tags.contains_key(&TagTarget::Instance)));
        order.instance = Some(id);
    })
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_enrolled_is_stopped_becomes_an_ami_and_stays() {
    let house = set_up_by_hand(false);
    let id = house.order.instance.clone().expect("there");
    house.work(None, async |_| ()).await;
    let outcome = house.record().expect("folds").outcome;
    assert!(matches!(outcome, Some(Outcome::HandedOver { .. })), "{outcome:?}\n{}", house.story());
    house.touch(|site| {
        assert_eq!(site.instance(&id).expect("stays").state().to_string(), "stopped");
        let image = site.images.values().find(|image| image.name == house.order.name).expect("made");
        assert_eq!(image.source_instance.as_deref(), Some(id.as_str()));
    });
}

#[tokio::test(start_paused = true)]
async fn an_enrolment_that_is_aborted_starts_the_instance_again_if_it_ran() {
    for step in [Step::Off, Step::Image] {
        let house = set_up_by_hand(true);
        house
            .work(None, async |mut standing| {
                let begun = |seen: &latent::control::Standing| seen.rebake.step == step && !seen.rebake.done;
                drop(standing.wait_for(begun).await);
                house.clock.sleep_until(house.clock.now() + TimeDelta::seconds(3)).await;
                house.abort();
            })
            .await;
        assert_eq!(house.record().expect("folds").outcome, Some(Outcome::Aborted {}), "{step}\n{}", house.story());
        house.pass(TimeDelta::hours(1)).await;
        house.check(&Outcome::Aborted {}).unwrap_or_else(|what| panic!("{step}: {what}\n{}", house.story()));
    }
}
