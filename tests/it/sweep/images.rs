//! AMIs that are superseded or stuck, with their near misses.

use chrono::TimeDelta;
use latent::model::{Ami, AmiState, InstanceState, LeftoverKind, Resource, Response, TagSet, tag_keys};
use latent::plan::sweep::{Act, Confidence};

use super::desk::{Desk, ami_id, baked, days, fleet_tags, hours, id, snapshot, without, worker_instance};
use crate::harness::minutes;

const OLD: &str = "ami-0old";

/// An old AMI with two newer ones of its image.
fn generations(edit: impl FnOnce(&mut Desk, &mut Ami)) -> Desk {
    let mut desk = Desk::new();
    let mut old = baked(OLD, days(40));
    edit(&mut desk, &mut old);
    desk.add_ami(old).add_ami(baked("ami-0new1", days(20))).add_ami(baked("ami-0new2", days(10)));
    desk
}

#[test]
fn an_ami_that_two_newer_ones_have_replaced_is_told() {
    let desk = generations(|desk, old| {
        old.snapshots = vec!["snap-1".parse().expect("an id")];
        desk.put("snap-1", Resource::Snapshot(fleet_tags(), snapshot()));
    });
    let finding = desk.finding(OLD);
    assert_eq!((finding.kind, finding.confidence), (LeftoverKind::AmiSuperseded, Confidence::Strong));
    assert_eq!((finding.act, finding.age_from.as_str()), (Act::Report, "its creation"));
    assert_eq!(finding.name.as_deref(), Some("debian"));
    assert!(finding.monthly.expect("a price").high.as_micro_dollars() > 0, "its snapshot's");
    assert_eq!(generations(|_, old| old.snapshots = vec!["snap-2".parse().expect("an id")]).finding(OLD).monthly, None);
    assert_eq!(desk.kept("ami-0new1"), "1 newer ones, 20 d old");
    assert_eq!(desk.kept("ami-0new2"), "0 newer ones, 10 d old");
}

#[test]
fn an_ami_that_a_filter_would_choose_is_kept() {
    let stated = |lines: &str| {
        let setup = crate::setup::Setup::new().image_by("debian", "alice", "us-west-2", lines);
        generations(|desk, old| {
            old.name = "worker-99".to_owned();
            desk.stated = latent::plan::sweep::Stated::of(setup.intent().images.values());
        })
    };
    let chosen = stated("ami_owners = [\"self\"]\nami_location = '[0-9]+/worker-([0-9]+)'");
    assert_eq!(chosen.kept(OLD), "the configuration names it");
    assert_eq!(stated("ami_owners = [\"self\"]").act(OLD), Act::Report, "the newest is chosen, not this one");
    assert_eq!(stated("ami_owners = [\"amazon\"]\nami_location = '.*worker'").act(OLD), Act::Report, "others' AMIs");
}

#[test]
fn a_filter_chooses_among_the_amis_of_its_processor() {
    let stated = |architecture: &str| {
        let lines = format!("ami_owners = [\"self\"]\narchitecture = \"{architecture}\"");
        let setup = crate::setup::Setup::new().image_by("debian", "alice", "us-west-2", &lines);
        generations(|desk, old| {
            old.architecture = "arm64".to_owned();
            desk.stated = latent::plan::sweep::Stated::of(setup.intent().images.values());
        })
    };
    assert_eq!(stated("arm64").kept(OLD), "the configuration names it", "the newest of its processor");
    assert_eq!(stated("x86_64").act(OLD), Act::Report);
}

#[test]
fn an_ami_is_kept_for_its_time_and_its_number() {
    let young = generations(|desk, old| {
        old.created = super::desk::ago(days(30) - TimeDelta::seconds(1));
        desk.policy.ami_keep = 2;
    });
    assert_eq!(young.kept(OLD), "2 newer ones, 29 d 23 h old");
    assert_eq!(generations(|_, old| old.created = super::desk::ago(days(30))).act(OLD), Act::Report);
    assert_eq!(generations(|desk, _| desk.policy.ami_keep = 3).kept(OLD), "2 newer ones, 40 d old");
}

#[test]
fn only_amis_of_its_own_image_and_fleet_that_can_be_launched_from_replace_it() {
    let spoil = |edit: fn(&mut Ami)| {
        let mut desk = generations(|_, _| ());
        let mut newer = baked("ami-0new2", days(10));
        edit(&mut newer);
        desk.add_ami(newer);
        desk
    };
    let not = [
        spoil(|ami| {
            ami.tags.set(tag_keys::IMAGE, "freebsd");
        }),
        spoil(|ami| {
            ami.tags.set(tag_keys::FLEET, "another");
        }),
        spoil(|ami| ami.state = AmiState::Failed),
        spoil(|ami| ami.state = AmiState::Disabled),
        spoil(|ami| ami.created = super::desk::ago(days(41))),
    ];
    for desk in not {
        assert_eq!(desk.kept(OLD), "1 newer ones, 40 d old");
    }
    let nameless = generations(|_, old| old.tags = without(&old.tags, tag_keys::IMAGE));
    assert_eq!(nameless.kept(OLD), "it has no tag latent:image, so nobody knows what replaced it");
}

#[test]
fn an_ami_that_any_instance_runs_or_can_be_started_with_is_kept() {
    for state in [InstanceState::Running, InstanceState::Stopped, InstanceState::Stopping, InstanceState::Pending] {
        let desk = generations(|desk, _| {
            let mut instance = worker_instance("i-0a");
            (instance.ami, instance.state) = (Some(ami_id(OLD)), state);
            instance.tags = TagSet::default();
            desk.add(instance);
        });
        assert_eq!(desk.kept(OLD), "i-0a runs it, or can be started with it");
    }
    let ended = generations(|desk, _| {
        let mut instance = worker_instance("i-0a");
        (instance.ami, instance.state) = (Some(ami_id(OLD)), InstanceState::Terminated);
        desk.add(instance);
    });
    assert_eq!(ended.act(OLD), Act::Report);
}

#[test]
fn an_ami_that_its_owner_made_or_configured_or_put_away_unreadably_is_kept() {
    let original = generations(|_, old| old.tags = without(&old.tags, tag_keys::IMAGE_ORIGIN));
    assert_eq!(original.kept(OLD), "no rebake made it");
    let configured = generations(|desk, _| {
        desk.own_amis.insert(ami_id(OLD));
    });
    assert_eq!(configured.kept(OLD), "the configuration names it");
    let odd = generations(|_, old| old.state = AmiState::Unknown("transient".to_owned()));
    assert_eq!(odd.kept(OLD), r#"nobody knows what its state "transient" means"#);
    generations(|_, old| old.tags = without(&old.tags, tag_keys::FLEET)).silent(OLD);
    generations(|_, old| old.state = AmiState::Deregistered).silent(OLD);
}

#[test]
fn an_ami_that_shares_a_snapshot_with_another_is_kept() {
    let desk = generations(|desk, old| {
        let mut copy = baked("ami-0copy", days(35));
        copy.tags = TagSet::default();
        copy.snapshots = vec!["snap-1".parse().expect("an id")];
        old.snapshots.clone_from(&copy.snapshots);
        desk.add_ami(copy);
    });
    assert_eq!(desk.kept(OLD), "ami-0copy needs a snapshot of it");
}

#[test]
fn a_policy_may_retire_superseded_amis_at_the_second_look() {
    let mut desk = generations(|_, _| ());
    desk.respond(LeftoverKind::AmiSuperseded, Response::Terminate);
    assert_eq!(desk.act(OLD), Act::Mark);
    desk.first_seen.insert(id(OLD), super::desk::ago(minutes(5)));
    assert_eq!(desk.act(OLD), Act::Terminate);
}

// --- stuck ------------------------------------------------------------------------------------------

fn stuck(state: AmiState, age: TimeDelta) -> Desk {
    let mut desk = Desk::new();
    let mut ami = baked(OLD, age);
    ami.state = state;
    desk.add_ami(ami);
    desk
}

#[test]
fn an_ami_that_failed_or_is_pending_for_a_day_is_told() {
    let failed = stuck(AmiState::Failed, hours(1));
    let finding = failed.finding(OLD);
    assert_eq!((finding.kind, finding.confidence), (LeftoverKind::AmiStuck, Confidence::Strong));
    assert_eq!((finding.act, finding.age_from.as_str()), (Act::Report, "its creation"));
    assert_eq!(finding.reason, "it failed");
    assert_eq!(stuck(AmiState::Pending, hours(24)).finding(OLD).reason, "it has been pending for 1 d");
    assert_eq!(stuck(AmiState::Pending, hours(23)).kept(OLD), "0 newer ones, 23 h old");
    assert_eq!(stuck(AmiState::Failed, minutes(29)).kept(OLD), "it is young");
    assert_eq!(stuck(AmiState::Available, days(2)).kept(OLD), "0 newer ones, 2 d old");
}

#[test]
fn a_stuck_ami_that_is_not_a_rebakes_or_that_the_configuration_names_is_told_whatever_the_policy() {
    let mut owners = Desk::new();
    let mut ami = baked(OLD, days(2));
    (ami.state, ami.tags) = (AmiState::Failed, without(&ami.tags, tag_keys::IMAGE_ORIGIN));
    owners.add_ami(ami);
    let mut configured = stuck(AmiState::Failed, days(2));
    configured.own_amis.insert(ami_id(OLD));
    for desk in [&mut owners, &mut configured] {
        desk.respond(LeftoverKind::AmiStuck, Response::Terminate).name(OLD);
        assert_eq!(desk.act(OLD), Act::Report);
    }
    let mut ours = stuck(AmiState::Failed, days(2));
    ours.respond(LeftoverKind::AmiStuck, Response::Terminate).name(OLD);
    assert_eq!(ours.act(OLD), Act::Terminate);
}
