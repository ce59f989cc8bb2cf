//! What a person's tags protect, and what they do not.

use latent::model::{Instance, LeftoverKind, Resource, tag_keys};
use latent::plan::sweep::Act;

use super::desk::{Desk, ago, baked, clock, days, fleet_tags, hours, id, now, snapshot, volume, worker_instance};
use crate::harness::minutes;

const I: &str = "i-0a";

/// An instance that is certainly over, with one tag more.
fn tagged(key: &str, value: &str) -> Desk {
    let mut desk = Desk::new();
    desk.add(expired(|instance| {
        instance.tags.set(key, value);
    }));
    desk
}

fn expired(edit: impl FnOnce(&mut Instance)) -> Instance {
    let mut instance = worker_instance(I);
    instance.tags.set_time(tag_keys::DEADLINE, ago(days(1)));
    edit(&mut instance);
    instance
}

#[test]
fn a_keep_tag_protects_whatever_it_says_unless_it_says_no() {
    assert_eq!(tagged("some", "tag").act(I), Act::Terminate);
    for value in ["true", "", "1", "0", "yes", "False?", "never\u{1b}[2J", "=HYPERLINK(1)"] {
        assert_eq!(tagged(tag_keys::KEEP, value).kept(I), "expired, but kept by its tag latent:keep", "{value:?}");
    }
    for value in ["false", "no", "FALSE", " No "] {
        assert_eq!(tagged(tag_keys::KEEP, value).act(I), Act::Terminate, "{value:?}");
    }
    assert_eq!(tagged("latent:keeper", "true").act(I), Act::Terminate, "another key");
}

#[test]
fn a_keep_until_tag_protects_until_then_and_for_ever_if_it_cannot_be_read() {
    assert_eq!(tagged(tag_keys::KEEP_UNTIL, &clock(now())).act(I), Act::Terminate, "to the second");
    assert_eq!(tagged(tag_keys::KEEP_UNTIL, &clock(ago(hours(1)))).act(I), Act::Terminate);
    let ahead = clock(now() + chrono::TimeDelta::seconds(1));
    assert_eq!(tagged(tag_keys::KEEP_UNTIL, &ahead).kept(I), "expired, but kept until 2026-03-02T08:00:01Z");
    let elsewhere = tagged(tag_keys::KEEP_UNTIL, " 2026-03-02T10:00:00+01:00 ");
    assert_eq!(elsewhere.kept(I), "expired, but kept until 2026-03-02T09:00:00Z");
    for value in ["", "tomorrow", "2026-03-01", "2026-02-30T00:00:00Z", "1", "2026-03-01T00:00:00"] {
        let why = "expired, but kept: its tag latent:keep-until is no RFC 3339 time";
        assert_eq!(tagged(tag_keys::KEEP_UNTIL, value).kept(I), why, "{value:?}");
    }
}

#[test]
fn a_lifted_keep_does_not_lift_a_keep_until() {
    let mut desk = Desk::new();
    let until = clock(now() + days(1));
    desk.add(expired(|instance| {
        instance.tags.set(tag_keys::KEEP, "no").set(tag_keys::KEEP_UNTIL, until);
    }));
    assert!(desk.kept(I).contains("kept until"));
}

#[test]
fn what_is_protected_is_kept_though_its_owner_names_it() {
    let mut desk = tagged(tag_keys::KEEP, "true");
    assert!(desk.name(I).kept(I).contains("latent:keep"));
}

#[test]
fn anything_may_be_protected() {
    let mut tags = fleet_tags();
    tags.set(tag_keys::KEEP, "true");
    let mut desk = Desk::new();
    desk.put("vol-1", Resource::Volume(tags.clone(), volume()));
    desk.put("snap-1", Resource::Snapshot(tags.clone(), snapshot()));
    desk.put("eni-1", Resource::Interface(tags.clone(), true));
    desk.put("eipalloc-1", Resource::Address(tags.clone(), super::desk::address()));
    desk.put("sir-1", Resource::SpotRequest(tags, super::desk::spot_request()));
    for of in ["vol-1", "snap-1", "eni-1", "eipalloc-1", "sir-1"] {
        assert!(desk.kept(of).ends_with("but kept by its tag latent:keep"), "{of}");
    }
}

#[test]
fn an_instance_whose_disk_is_protected_is_kept_for_its_end_would_be_the_disks() {
    let mut desk = Desk::new();
    desk.add(expired(|instance| {
        instance.parts.volumes = vec!["vol-1".to_owned()];
        instance.parts.interfaces = vec!["eni-1".to_owned()];
    }));
    let mut attached = volume();
    attached.available = false;
    let mut plain = desk.clone();
    plain.put("vol-1", Resource::Volume(fleet_tags(), attached.clone()));
    assert_eq!(plain.act(I), Act::Terminate);
    let mut tags = fleet_tags();
    tags.set(tag_keys::KEEP, "true");
    let mut interface = desk.clone();
    interface.put("eni-1", Resource::Interface(tags.clone(), false));
    assert_eq!(interface.kept(I), "expired, but eni-1 would go with it, which is kept by its tag latent:keep");
    desk.put("vol-1", Resource::Volume(tags, attached)).name(I);
    assert_eq!(desk.kept(I), "expired, but vol-1 would go with it, which is kept by its tag latent:keep");
}

#[test]
fn an_ami_whose_snapshot_is_protected_is_kept() {
    let mut desk = Desk::new();
    let mut old = baked("ami-0old", days(40));
    old.snapshots = vec!["snap-1".parse().expect("an id")];
    let mut tags = fleet_tags();
    tags.set(tag_keys::KEEP_UNTIL, "???");
    desk.add_ami(old).add_ami(baked("ami-0b", days(20))).add_ami(baked("ami-0c", days(10)));
    desk.put("snap-1", Resource::Snapshot(tags, snapshot())).name("ami-0old");
    assert!(desk.kept("ami-0old").contains("snap-1 would go with it"));
}

#[test]
fn what_is_kept_is_said_though_it_may_only_be_told() {
    let mut desk = Desk::new();
    let mut tags = fleet_tags();
    tags.set(tag_keys::KEEP, "true");
    desk.put("snap-1", Resource::Snapshot(tags, snapshot()));
    let kind = LeftoverKind::SnapshotOrphan;
    assert_eq!(desk.kept("snap-1"), format!("{kind}, but kept by its tag latent:keep"));
    desk.first_seen.insert(id("snap-1"), ago(minutes(9)));
    assert!(desk.plan().findings.is_empty());
}
