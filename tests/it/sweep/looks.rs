//! Two looks some minutes apart, or one where the word of the launch itself is over; and what the policy
//! lets follow from them.

use chrono::TimeDelta;
use latent::model::{InstanceState, LeftoverKind, Resource, Response, tag_keys};
use latent::plan::sweep::{Act, mark_text};

use super::desk::{Desk, ago, clock, days, fleet_tags, hours, id, now, volume, worker_instance};
use crate::harness::minutes;

const I: &str = "i-0a";

/// An orphan with a mark.
fn marked(mark: &str) -> Desk {
    let mut desk = Desk::new();
    let mut instance = worker_instance(I);
    instance.tags.set(tag_keys::MARK, mark);
    desk.add(instance).asked_and_sound();
    desk
}

#[test]
fn a_first_look_marks_and_a_second_one_some_minutes_later_acts() {
    let mark = mark_text(ago(minutes(5)), LeftoverKind::Orphan);
    assert_eq!(mark, "2026-03-02T07:55:00Z orphan");
    let finding = marked(&mark).finding(I);
    assert_eq!((finding.act, finding.first_seen, finding.note), (Act::Terminate, Some(ago(minutes(5))), None));
    let early = marked(&mark_text(ago(minutes(5) - TimeDelta::seconds(1)), LeftoverKind::Orphan)).finding(I);
    assert_eq!((early.act, early.note.as_deref()), (Act::Wait, Some("the second look may be in 1 s")));
    assert_eq!(marked(&mark_text(now(), LeftoverKind::Orphan)).act(I), Act::Wait);
}

#[test]
fn a_mark_of_another_kind_or_from_the_future_or_from_long_ago_is_none() {
    let none = [
        mark_text(ago(minutes(10)), LeftoverKind::StateSkew),
        mark_text(now() + TimeDelta::seconds(1), LeftoverKind::Orphan),
        mark_text(ago(days(15) + TimeDelta::seconds(1)), LeftoverKind::Orphan),
    ];
    for mark in none {
        let finding = marked(&mark).finding(I);
        assert_eq!((finding.act, finding.first_seen), (Act::Mark, None), "{mark}");
        assert_eq!(
            finding.note.as_deref(),
            Some("a first look; acted on when one at least 5 min later finds it again")
        );
    }
    assert_eq!(marked(&mark_text(ago(days(15)), LeftoverKind::Orphan)).act(I), Act::Terminate, "at the limit");
}

#[test]
fn a_mark_that_cannot_be_read_is_none() {
    let plain = clock(ago(minutes(10)));
    let hostile = [
        String::new(),
        " ".to_owned(),
        "orphan".to_owned(),
        plain.clone(),
        format!("{plain}orphan"),
        format!("{plain}  orphan"),
        format!("{plain} orphan "),
        format!("{plain} ORPHAN"),
        format!("{plain} orphan orphan"),
        format!("{plain}\torphan"),
        format!("\u{1b}[2J{plain} orphan"),
        "9999999999999-01-01T00:00:00Z orphan".to_owned(),
        "2026-03-02 orphan".to_owned(),
    ];
    for mark in hostile {
        assert_eq!(marked(&mark).act(I), Act::Mark, "{mark:?}");
    }
}

#[test]
fn a_first_look_may_be_remembered_elsewhere() {
    let mut desk = marked("");
    desk.first_seen.insert(id(I), ago(minutes(5)));
    assert_eq!((desk.act(I), desk.finding(I).first_seen), (Act::Terminate, Some(ago(minutes(5)))));
    let mut both = marked(&mark_text(ago(minutes(20)), LeftoverKind::Orphan));
    both.first_seen.insert(id(I), ago(minutes(1)));
    assert_eq!(both.finding(I).first_seen, Some(ago(minutes(20))), "the earlier of the two");
    let mut ahead = marked("");
    ahead.first_seen.insert(id(I), now() + hours(1));
    assert_eq!(ahead.act(I), Act::Wait);
}

#[test]
fn a_second_look_may_be_as_far_away_as_the_policy_says() {
    let mut desk = marked(&mark_text(ago(minutes(30)), LeftoverKind::Orphan));
    desk.policy.second_look = hours(1);
    assert_eq!(desk.finding(I).note.as_deref(), Some("the second look may be in 30 min"));
}

#[test]
fn no_mark_is_needed_where_the_launchs_own_word_is_over_for_longer_than_the_grace() {
    let mut desk = Desk::new();
    let mut instance = worker_instance(I);
    instance.tags.set_time(tag_keys::DEADLINE, ago(hours(1)));
    desk.add(instance);
    assert_eq!((desk.act(I), desk.finding(I).first_seen), (Act::Terminate, None));
    desk.policy.grace = hours(2);
    assert_eq!(desk.act(I), Act::Mark);
}

// --- what the policy lets follow --------------------------------------------------------------------

#[test]
fn the_policy_decides_between_telling_stopping_and_terminating() {
    let mut desk = marked(&mark_text(ago(minutes(10)), LeftoverKind::Orphan));
    assert_eq!(desk.respond(LeftoverKind::Orphan, Response::Stop).act(I), Act::Stop);
    assert_eq!(desk.respond(LeftoverKind::Orphan, Response::Terminate).act(I), Act::Terminate);
    let told = desk.respond(LeftoverKind::Orphan, Response::Report).finding(I);
    assert_eq!((told.act, told.first_seen), (Act::Report, Some(ago(minutes(10)))));
    assert_eq!(told.note.as_deref(), Some("the policy only reports it; name it with --id i-0a to act on it"));
    desk.policy.respond.clear();
    assert_eq!(desk.act(I), Act::Report, "what the policy does not know is told");
}

fn stopped() -> Desk {
    let mut desk = Desk::new();
    let mut instance = worker_instance(I);
    instance.tags.set_time(tag_keys::DEADLINE, ago(hours(1)));
    (instance.state, instance.stopped_at) = (InstanceState::Stopped, Some(ago(hours(2))));
    desk.add(instance);
    desk
}

#[test]
fn what_is_stopped_is_not_stopped_again() {
    let mut desk = stopped();
    desk.respond(LeftoverKind::Expired, Response::Stop);
    let finding = desk.finding(I);
    assert_eq!((finding.act, finding.note.as_deref()), (Act::Report, Some("it is stopped already")));
    assert_eq!(desk.name(I).act(I), Act::Terminate, "its owner wants it gone");
}

// --- named by their owner ---------------------------------------------------------------------------

#[test]
fn whoever_names_an_id_needs_neither_a_second_look_nor_another_policy() {
    let mut orphan = marked("");
    assert_eq!(orphan.name(I).act(I), Act::Terminate);
    let mut told = marked("");
    assert_eq!(told.respond(LeftoverKind::Orphan, Response::Report).name(I).act(I), Act::Terminate);
    let mut to_stop = marked("");
    to_stop.respond(LeftoverKind::Orphan, Response::Stop).name(I);
    assert_eq!(to_stop.act(I), Act::Stop, "what the policy stops is stopped");
}

#[test]
fn to_name_an_id_makes_nothing_a_leftover() {
    let mut desk = Desk::new();
    let mut others = fleet_tags();
    others.set(tag_keys::FLEET, "another");
    let mut attached = volume();
    attached.available = false;
    desk.add(worker_instance(I)).put("vol-1", Resource::Volume(others, volume()));
    desk.put("vol-2", Resource::Volume(fleet_tags(), attached));
    desk.fleet = Some("test".to_owned());
    desk.name(I).name("vol-1").name("vol-2").name("vol-3");
    assert!(desk.plan().findings.is_empty());
    assert_eq!(desk.plan().named.len(), 4, "the plan says what was named");
    assert!(desk.kept(I).contains("vouches"));
}
