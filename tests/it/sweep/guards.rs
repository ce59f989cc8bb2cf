//! Reasons to do nothing at all, each to the letter.

use latent::model::{ResourceKind, tag_keys};
use latent::plan::sweep::{Act, Claim, Guard};

use super::desk::{CONTROLLER, Desk, ago, days, gap, home, hours, id, region, worker_instance};
use crate::harness::{minutes, worker};

/// So many instances that may be ended at once, and so many others of the fleet.
fn crowd(over: usize, others: usize) -> Desk {
    let mut desk = Desk::new();
    for number in 0..over + others {
        let mut instance = worker_instance(&format!("i-0a{number:04}"));
        if number < over {
            instance.tags.set_time(tag_keys::DEADLINE, ago(days(1)));
        }
        desk.add(instance);
    }
    desk
}

fn acts(desk: &Desk) -> usize {
    desk.plan().findings.iter().filter(|finding| finding.act.takes_away()).count()
}

#[test]
fn as_many_acts_as_the_cap_are_done_and_one_more_is_refused_whole() {
    let at = crowd(10, 90);
    assert_eq!((acts(&at), at.plan().refused), (10, None));
    let one_more = crowd(11, 90);
    assert_eq!((acts(&one_more), one_more.plan().refused), (11, Some(Guard::TooMany { acts: 11, max: 10 })));
    let mut allowed = crowd(11, 90);
    allowed.caps.max = 11;
    assert_eq!(allowed.plan().refused, None);
}

#[test]
fn as_large_a_share_as_the_cap_is_done_and_one_more_is_refused_whole() {
    assert_eq!(crowd(5, 5).plan().refused, None, "half of them, exactly");
    let one_more = crowd(6, 5).plan();
    assert_eq!(
        one_more.refused,
        Some(Guard::TooLargeShare { kind: ResourceKind::Instance, acts: 6, ours: 11, percent: 50 })
    );
    let mut allowed = crowd(6, 5);
    allowed.caps.percent = 100;
    assert_eq!(allowed.plan().refused, None);
}

#[test]
fn a_few_acts_need_not_keep_within_the_share() {
    assert_eq!(crowd(3, 0).plan().refused, None);
    assert_eq!(
        crowd(4, 0).plan().refused,
        Some(Guard::TooLargeShare { kind: ResourceKind::Instance, acts: 4, ours: 4, percent: 50 })
    );
    let mut none_free = crowd(1, 0);
    none_free.caps.free = 0;
    assert!(matches!(none_free.plan().refused, Some(Guard::TooLargeShare { .. })));
}

#[test]
fn the_share_is_of_the_fleets_resources_and_what_is_over_or_others_does_not_count() {
    let mut desk = crowd(5, 5);
    assert_eq!(desk.plan().seen.ours.values().sum::<usize>(), 10);
    for number in 0..20 {
        let mut instance = worker_instance(&format!("i-0b{number:04}"));
        if number % 2 == 0 {
            instance.tags.set(tag_keys::FLEET, "another");
        } else {
            instance.state = latent::model::InstanceState::Terminated;
        }
        desk.add(instance);
    }
    desk.fleet = Some("test".to_owned());
    assert_eq!((desk.plan().seen.ours[&ResourceKind::Instance], desk.plan().seen.instances), (10, 30));
}

#[test]
fn the_share_is_of_one_kind_for_many_volumes_do_not_make_few_instances_many() {
    let mut desk = crowd(4, 2);
    for number in 0..100 {
        let mut attached = super::desk::volume();
        attached.available = false;
        let tags = super::desk::fleet_tags();
        desk.put(&format!("vol-{number}"), latent::model::Resource::Volume(tags, attached));
    }
    let share = Guard::TooLargeShare { kind: ResourceKind::Instance, acts: 4, ours: 6, percent: 50 };
    assert_eq!(desk.plan().refused, Some(share));
}

#[test]
fn marks_are_not_counted() {
    let mut desk = Desk::new();
    for number in 0..40 {
        let mut instance = worker_instance(&format!("i-0a{number:04}"));
        instance.tags.set_time(tag_keys::LEASE, ago(minutes(1)));
        desk.add(instance);
    }
    let plan = desk.plan();
    assert!(plan.findings.iter().all(|finding| finding.act == Act::Mark) && plan.findings.len() == 40);
    assert_eq!(plan.refused, None);
}

// --- what could not be seen -------------------------------------------------------------------------

#[test]
fn whatever_could_not_be_read_nothing_is_done() {
    for kind in ResourceKind::ALL {
        let mut desk = crowd(1, 9);
        desk.survey(&region("eu-west-1")).gaps.push(gap(kind));
        let plan = desk.plan();
        assert_eq!(plan.refused, Some(Guard::Incomplete { gaps: 1 }), "{kind:?}");
        assert!(!plan.complete());
        assert_eq!((plan.gaps[0].kind, plan.gaps[0].region.as_str()), (kind, "eu-west-1"));
        assert_eq!(plan.gaps[0].code, "UnauthorizedOperation");
        assert_eq!(plan.findings.len(), 1, "it is told all the same");
    }
}

#[test]
fn no_cap_that_is_raised_lets_an_incomplete_look_act() {
    let mut desk = crowd(1, 9);
    (desk.caps.max, desk.caps.percent, desk.caps.state_lost) = (1000, 100, true);
    desk.survey(&home()).gaps.push(gap(ResourceKind::Snapshot));
    desk.name("i-0a0000");
    assert_eq!(desk.plan().refused, Some(Guard::Incomplete { gaps: 1 }));
}

// --- a controller that has lost its record ----------------------------------------------------------

/// So many instances that a controller with an empty record does not know, at their second look.
fn unknown(number: usize) -> Desk {
    let mut desk = Desk::new();
    desk.asked();
    for number in 0..number {
        let text = format!("i-0a{number:04}");
        desk.add(worker_instance(&text));
        desk.first_seen.insert(id(&text), ago(hours(1)));
    }
    desk
}

#[test]
fn a_controller_that_claims_nothing_while_several_of_its_instances_run_is_not_believed() {
    let refused = Some(Guard::ControllerStateLost { controller: CONTROLLER.to_owned(), instances: 2 });
    assert_eq!((acts(&unknown(2)), unknown(2).plan().refused), (2, refused));
    assert_eq!((acts(&unknown(1)), unknown(1).plan().refused), (1, None), "a single one may be an orphan");
    let mut allowed = unknown(2);
    allowed.caps.state_lost = true;
    assert_eq!(allowed.plan().refused, None);
    let mut sound = unknown(2);
    sound.claim("i-0other", Claim::Used { worker: worker("w9") });
    assert_eq!(sound.plan().refused, None, "it knows one");
}

#[test]
fn a_controller_without_a_record_does_not_keep_what_is_over_anyway() {
    let mut desk = crowd(2, 0);
    desk.asked();
    assert_eq!((acts(&desk), desk.plan().refused), (2, None), "their deadlines do not hang on its record");
}

#[test]
fn every_refusal_says_what_to_do() {
    let guards = [
        (Guard::Incomplete { gaps: 2 }, "--region"),
        (Guard::TooMany { acts: 11, max: 10 }, "--max-acts 11"),
        (Guard::TooLargeShare { kind: ResourceKind::Instance, acts: 6, ours: 11, percent: 50 }, "--max-percent 100"),
        (Guard::ControllerStateLost { controller: "c".to_owned(), instances: 2 }, "--controller-state-lost"),
    ];
    for (guard, cure) in guards {
        assert!(guard.to_string().contains(cure), "{guard}");
    }
}
