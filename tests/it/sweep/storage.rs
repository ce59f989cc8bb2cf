//! Volumes, snapshots and interfaces, each with their near misses.

use chrono::TimeDelta;
use latent::model::{AmiState, LeftoverKind, Resource, Response, Snapshot, Volume, tag_keys};
use latent::plan::sweep::{Act, Confidence};

use super::desk::{Desk, FLEET, ago, baked, days, fleet_tags, home, hours, instance_id, snapshot, volume, without};
use crate::harness::minutes;

fn with_volume(edit: impl FnOnce(&mut Volume)) -> Desk {
    let mut desk = Desk::new();
    let mut volume = volume();
    edit(&mut volume);
    desk.put("vol-1", Resource::Volume(fleet_tags(), volume));
    desk
}

#[test]
fn a_volume_of_the_fleet_that_nothing_has_is_left_over() {
    let desk = with_volume(|_| ());
    let finding = desk.finding("vol-1");
    assert_eq!((finding.kind, finding.confidence), (LeftoverKind::VolumeAvailable, Confidence::Strong));
    assert_eq!((finding.act, finding.age_from.as_str()), (Act::Mark, "its creation"));
    assert_eq!((finding.since, finding.fleet.as_deref()), (Some(ago(hours(2))), Some(FLEET)));
    assert_eq!(finding.evidence, ["state available"]);
    assert_eq!(finding.reason, "30 GiB of gp3 are attached to nothing");
    assert!(finding.monthly.expect("a price").low.as_micro_dollars() > 0);
    assert_eq!(with_volume(|volume| volume.volume_type = "gp9".to_owned()).finding("vol-1").monthly, None);
}

#[test]
fn a_volume_that_is_young_or_ageless_or_in_use_is_kept() {
    let young = ago(minutes(30) - TimeDelta::seconds(1));
    assert_eq!(with_volume(|volume| volume.created = Some(young)).kept("vol-1"), "it is young");
    assert_eq!(with_volume(|volume| volume.created = Some(ago(minutes(30)))).act("vol-1"), Act::Mark);
    assert_eq!(with_volume(|volume| volume.created = Some(ago(hours(-1)))).kept("vol-1"), "it is young");
    assert_eq!(with_volume(|volume| volume.created = None).kept("vol-1"), "its age is not known");
    let attached = with_volume(|volume| {
        (volume.available, volume.instance) = (false, Some(instance_id("i-0a")));
    });
    assert_eq!(attached.kept("vol-1"), "i-0a has it");
    assert_eq!(with_volume(|volume| volume.available = false).kept("vol-1"), "it is not available");
}

#[test]
fn a_volume_of_others_is_not_spoken_of() {
    let mut desk = with_volume(|_| ());
    desk.put("vol-2", Resource::Volume(without(&fleet_tags(), tag_keys::FLEET), volume()));
    desk.name("vol-2").silent("vol-2");
    desk.fleet = Some("another".to_owned());
    desk.silent("vol-1");
}

// --- snapshots --------------------------------------------------------------------------------------

fn with_snapshot(edit: impl FnOnce(&mut Desk, &mut Snapshot)) -> Desk {
    let mut desk = Desk::new();
    let mut snapshot = snapshot();
    edit(&mut desk, &mut snapshot);
    desk.put("snap-1", Resource::Snapshot(fleet_tags(), snapshot));
    desk
}

#[test]
fn a_snapshot_that_no_ami_needs_is_told() {
    let finding = with_snapshot(|_, _| ()).finding("snap-1");
    assert_eq!((finding.kind, finding.confidence), (LeftoverKind::SnapshotOrphan, Confidence::Strong));
    assert_eq!((finding.act, finding.age_from.as_str()), (Act::Report, "its start"));
    assert_eq!(finding.note.as_deref(), Some("the policy only reports it; name it with --id snap-1 to act on it"));
    assert_eq!(finding.reason, "no AMI of the account needs its 30 GiB");
    let mut retired = Desk::new();
    let mut tags = fleet_tags();
    tags.set(tag_keys::RETIRED, "ami-0old");
    retired.put("snap-1", Resource::Snapshot(tags, snapshot()));
    assert_eq!(retired.finding("snap-1").evidence, ["it belonged to ami-0old, which was retired"]);
}

#[test]
fn a_snapshot_that_any_ami_needs_is_kept_though_others_that_shared_it_are_gone() {
    let needed = |state| {
        with_snapshot(|desk, _| {
            let mut ami = baked("ami-0b", days(1));
            (ami.state, ami.tags) = (state, latent::model::TagSet::default());
            ami.snapshots = vec!["snap-1".parse().expect("an id")];
            desk.add_ami(ami);
        })
    };
    for state in [AmiState::Available, AmiState::Disabled, AmiState::Failed, AmiState::Unknown("odd".to_owned())] {
        assert_eq!(needed(state).kept("snap-1"), "ami-0b needs it", "an AMI of anybody's");
    }
}

#[test]
fn a_snapshot_is_kept_while_an_ami_is_being_made_or_it_is_young() {
    let being_made = with_snapshot(|desk, _| {
        let mut ami = baked("ami-0c", minutes(10));
        ami.state = AmiState::Pending;
        desk.add_ami(ami);
    });
    assert_eq!(being_made.kept("snap-1"), "ami-0c is being made and may need it");
    let young = with_snapshot(|_, snapshot| snapshot.started = Some(ago(minutes(29))));
    assert_eq!(young.kept("snap-1"), "it is young");
    assert_eq!(with_snapshot(|_, snapshot| snapshot.started = None).kept("snap-1"), "its age is not known");
}

#[test]
fn a_policy_may_take_snapshots_away_at_the_second_look() {
    let mut desk = with_snapshot(|_, _| ());
    desk.respond(LeftoverKind::SnapshotOrphan, Response::Terminate);
    assert_eq!(desk.act("snap-1"), Act::Mark);
    desk.first_seen.insert(super::desk::id("snap-1"), ago(minutes(5)));
    assert_eq!(desk.act("snap-1"), Act::Terminate);
}

// --- interfaces -------------------------------------------------------------------------------------

#[test]
fn an_interface_that_is_attached_to_nothing_is_left_over_and_only_two_looks_give_it_an_age() {
    let mut desk = Desk::new();
    desk.put("eni-1", Resource::Interface(fleet_tags(), true)).put("eni-2", Resource::Interface(fleet_tags(), false));
    let finding = desk.finding("eni-1");
    assert_eq!((finding.kind, finding.confidence), (LeftoverKind::InterfaceAvailable, Confidence::Strong));
    assert_eq!((finding.act, finding.since, finding.age_from.as_str()), (Act::Mark, None, "unknown"));
    assert_eq!(finding.evidence, ["status available"]);
    assert_eq!(desk.kept("eni-2"), "it is in use");
    desk.first_seen.insert(super::desk::id("eni-1"), ago(minutes(5)));
    assert_eq!(desk.act("eni-1"), Act::Terminate);
    desk.survey(&home()).resources.clear();
    desk.put("eni-3", Resource::Interface(without(&fleet_tags(), tag_keys::FLEET), true)).silent("eni-3");
}

// --- what manifests claim ---------------------------------------------------------------------------

fn manifest(lines: &str) -> latent::policy::Intent {
    crate::setup::Setup::new().image_by("debian", "alice", "us-west-2", lines).intent()
}

#[test]
fn what_a_manifest_names_or_keeps_is_no_leftover() {
    let mut desk = with_volume(|_| ());
    let lines = "ami_owners = [\"self\"]\nvolumes = [{ id = \"vol-1\", device = \"/dev/sdf\" }]";
    desk.stated = latent::plan::sweep::Stated::of(manifest(lines).images.values());
    assert_eq!(desk.kept("vol-1"), "the configuration names it");
    let mut other = volume();
    other.size_gib = 8;
    desk.put("vol-2", Resource::Volume(fleet_tags(), other));
    assert_eq!(desk.act("vol-2"), Act::Mark, "another one is left over all the same");
    let mut tags = fleet_tags();
    tags.set(tag_keys::OUTLIVES, "/dev/sdg");
    desk.put("vol-3", Resource::Volume(tags, volume()));
    assert!(desk.kept("vol-3").contains("delete_on_termination = false (/dev/sdg)"), "{}", desk.kept("vol-3"));
}
