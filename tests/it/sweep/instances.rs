//! The detectors of instances, each with its near misses.

use chrono::TimeDelta;
use latent::model::{Instance, InstanceState, LeftoverKind, Resource, Response, tag_keys};
use latent::plan::sweep::{Act, Claim, Confidence, OpenIntent};

use super::desk::{
    CONTROLLER, Desk, FLEET, ago, ami_id, baked, days, fleet_tags, home, hours, now, spot_request, without,
    worker_instance,
};
use crate::harness::{minutes, worker};

const I: &str = "i-0a";
const DISK: &str = "its first disk or interface";

fn with(edit: impl FnOnce(&mut Instance)) -> Desk {
    let mut desk = Desk::new();
    let mut instance = worker_instance(I);
    edit(&mut instance);
    desk.add(instance);
    desk
}

/// Found so, at a first look under the default policy.
#[track_caller]
fn found(desk: &Desk, kind: LeftoverKind, confidence: Confidence, age_from: &str, act: Act, evidence: &[&str]) {
    let finding = desk.finding(I);
    assert_eq!((finding.kind, finding.confidence, finding.act), (kind, confidence, act), "{finding:#?}");
    assert_eq!(finding.age_from, age_from);
    assert_eq!(finding.evidence, evidence);
    assert_eq!((finding.fleet.as_deref(), finding.region), (Some(FLEET), home()));
}

#[test]
fn an_instance_whose_lease_runs_is_kept_where_nobody_can_be_asked() {
    assert_eq!(with(|_| ()).kept(I), "its controller vouches for it until 2026-03-02T08:30:00Z");
}

// --- orphan -----------------------------------------------------------------------------------------

#[test]
fn an_orphan_is_a_running_instance_that_its_controller_does_not_know() {
    let mut desk = with(|_| ());
    desk.asked_and_sound();
    let evidence = ["state running", "its controller was asked and has no record of it"];
    found(&desk, LeftoverKind::Orphan, Confidence::Strong, DISK, Act::Mark, &evidence);
    desk.first_seen.insert(super::desk::id(I), ago(minutes(5)));
    assert_eq!(desk.act(I), Act::Terminate, "at the second look");
}

#[test]
fn no_orphan_is_young_or_without_an_age_or_used_or_of_a_controller_that_was_not_asked() {
    let mut young = with(|instance| instance.attached_at = Some(ago(minutes(30) - TimeDelta::seconds(1))));
    young.asked_and_sound();
    assert_eq!(young.kept(I), "its controller does not know it yet; it is young");
    let mut grown = with(|instance| instance.attached_at = Some(ago(minutes(30))));
    assert_eq!(grown.asked_and_sound().finding(I).kind, LeftoverKind::Orphan, "just not young any more");

    let mut ageless = with(|instance| {
        (instance.attached_at, instance.launch_time) = (None, None);
        instance.tags = without(&instance.tags, tag_keys::CREATED);
    });
    assert_eq!(ageless.asked_and_sound().kept(I), "its controller does not know it, and its age is not known");

    let mut used = with(|_| ());
    used.claim(I, Claim::Used { worker: worker("w1") });
    assert_eq!(used.kept(I), "its controller says that w1 uses it");

    let mut other = with(|instance| {
        instance.tags.set(tag_keys::CONTROLLER, "another");
    });
    assert_eq!(other.asked_and_sound().kept(I), "its controller vouches for it until 2026-03-02T08:30:00Z");
}

#[test]
fn a_controller_of_the_same_name_in_another_fleet_says_nothing_of_this_one() {
    let mut desk = with(|instance| {
        instance.tags.set(tag_keys::FLEET, "another");
    });
    desk.asked_and_sound();
    assert_eq!(desk.kept(I), "its controller vouches for it until 2026-03-02T08:30:00Z");
}

#[test]
fn what_a_controller_that_answers_does_not_know_has_a_deadline_all_the_same() {
    let mut desk = with(|instance| {
        instance.tags.set_time(tag_keys::DEADLINE, ago(minutes(20)));
    });
    desk.asked_and_sound();
    let finding = desk.finding(I);
    assert_eq!((finding.kind, finding.act), (LeftoverKind::Expired, Act::Terminate), "one look is enough");
    let mut unreadable = with(|instance| {
        instance.tags.set(tag_keys::DEADLINE, "soon");
    });
    assert_eq!(unreadable.asked_and_sound().kept(I), "its tag latent:deadline is no time");
    let mut stopped = with(|instance| {
        (instance.state, instance.stopped_at) = (InstanceState::Stopped, Some(ago(days(20))));
    });
    assert_eq!(stopped.asked_and_sound().finding(I).kind, LeftoverKind::StoppedTooLong);
}

// --- state skew -------------------------------------------------------------------------------------

#[test]
fn state_skew_is_a_running_instance_that_its_controller_takes_for_stopped() {
    let mut desk = with(|_| ());
    desk.claim(I, Claim::Stopped { worker: worker("w1") });
    let evidence = ["state running", "its controller was asked"];
    found(&desk, LeftoverKind::StateSkew, Confidence::Strong, DISK, Act::Mark, &evidence);
    let mut stopped = with(|instance| instance.state = InstanceState::Stopped);
    stopped.claim(I, Claim::Stopped { worker: worker("w1") });
    assert_eq!(stopped.kept(I), "its controller keeps it stopped for w1");
}

#[test]
fn state_skew_is_also_an_end_that_does_not_come() {
    let mut desk = with(|_| ());
    desk.claim(I, Claim::Ending { since: ago(minutes(15)) });
    let evidence = ["state running", "its controller was asked"];
    found(&desk, LeftoverKind::StateSkew, Confidence::Strong, DISK, Act::Mark, &evidence);
    desk.claim(I, Claim::Ending { since: ago(minutes(15) - TimeDelta::seconds(1)) });
    assert_eq!(desk.kept(I), "its controller is ending it");
}

// --- never connected --------------------------------------------------------------------------------

#[test]
fn never_connected_is_long_after_the_deadline_by_the_controllers_word() {
    let mut desk = with(|_| ());
    desk.claim(I, Claim::Connecting { worker: worker("w1"), until: ago(minutes(15)) });
    let evidence = ["state running", "its controller was asked"];
    found(&desk, LeftoverKind::NeverConnected, Confidence::Strong, DISK, Act::Mark, &evidence);
    assert_eq!(desk.finding(I).reason, "w1 should have connected 15 min ago");
    desk.claim(I, Claim::Connecting { worker: worker("w1"), until: ago(minutes(15) - TimeDelta::seconds(1)) });
    assert_eq!(desk.kept(I), "its controller waits for w1 to connect");
}

// --- unattended -------------------------------------------------------------------------------------

#[test]
fn unattended_is_an_instance_whose_lease_is_over_where_nobody_could_be_asked() {
    let lapsed = |span| {
        with(|instance| {
            instance.tags.set_time(tag_keys::LEASE, ago(span));
        })
    };
    let evidence = ["state running", "latent:lease = 2026-03-02T07:50:00Z", "no controller could be asked"];
    found(&lapsed(minutes(10)), LeftoverKind::Unattended, Confidence::Strong, DISK, Act::Mark, &evidence);
    assert_eq!(lapsed(minutes(15)).act(I), Act::Terminate, "over for as long as the grace: one look is enough");
    assert_eq!(lapsed(minutes(15) - TimeDelta::seconds(1)).act(I), Act::Mark);
    assert_eq!(lapsed(TimeDelta::zero()).act(I), Act::Mark);
    assert!(lapsed(-TimeDelta::seconds(1)).kept(I).contains("vouches"));
}

#[test]
fn a_lease_that_is_absent_or_unreadable_proves_nothing() {
    let absent = with(|instance| instance.tags = without(&instance.tags, tag_keys::LEASE));
    assert_eq!(absent.kept(I), "it has no tag latent:lease");
    let spoilt = with(|instance| {
        instance.tags.set(tag_keys::LEASE, "yesterday\u{1b}[2J");
    });
    assert_eq!(spoilt.kept(I), "its tag latent:lease is no time");
    let mut spared = with(|instance| {
        instance.tags.set_time(tag_keys::LEASE, ago(hours(1)));
    });
    spared.claim(I, Claim::Used { worker: worker("w1") });
    assert_eq!(spared.kept(I), "its controller says that w1 uses it", "its word counts for more than the lease");
}

// --- expired ----------------------------------------------------------------------------------------

#[test]
fn expired_is_past_the_deadline_that_was_set_at_the_launch() {
    let over = |span| {
        with(|instance| {
            instance.tags.set_time(tag_keys::DEADLINE, ago(span));
        })
    };
    let evidence = ["state running", "latent:deadline = 2026-03-02T07:50:00Z"];
    found(&over(minutes(10)), LeftoverKind::Expired, Confidence::Certain, DISK, Act::Mark, &evidence);
    assert_eq!(over(minutes(15)).act(I), Act::Terminate, "one look is enough");
    assert_eq!(over(minutes(15) - TimeDelta::seconds(1)).act(I), Act::Mark);
    assert!(over(-TimeDelta::seconds(1)).kept(I).contains("vouches"), "just ahead");
    let absent = with(|instance| instance.tags = without(&instance.tags, tag_keys::DEADLINE));
    assert_eq!(absent.kept(I), "it has no tag latent:deadline");
}

// --- stopped too long -------------------------------------------------------------------------------

#[test]
fn stopped_too_long_is_told_with_the_time_of_its_stop() {
    let stopped = |since| with(|instance| (instance.state, instance.stopped_at) = (InstanceState::Stopped, since));
    let desk = stopped(Some(ago(days(14))));
    found(&desk, LeftoverKind::StoppedTooLong, Confidence::Strong, "its stop", Act::Report, &["state stopped"]);
    assert_eq!(desk.finding(I).since, Some(ago(days(14))));
    assert_eq!(stopped(Some(ago(days(14) - hours(1)))).kept(I), "it has been stopped for 13 d 23 h");
    assert_eq!(stopped(None).kept(I), "it is stopped, and EC2 does not say since when");
    let stopping = with(|instance| instance.state = InstanceState::Stopping);
    assert_eq!(stopping.kept(I), "it is stopping");
}

// --- rebakes ----------------------------------------------------------------------------------------

#[test]
fn a_builder_and_a_canary_are_overdue_past_their_own_deadline() {
    for role in ["rebake", "canary"] {
        let of = |deadline| {
            with(|instance| {
                instance.tags.set(tag_keys::ROLE, role).set_time(tag_keys::DEADLINE, deadline);
                instance.tags.set_time(tag_keys::LEASE, ago(hours(1)));
            })
        };
        let evidence = ["state running", "latent:deadline = 2026-03-02T07:50:00Z"];
        found(&of(ago(minutes(10))), LeftoverKind::BakeOverdue, Confidence::Certain, DISK, Act::Mark, &evidence);
        assert_eq!(of(ago(minutes(15))).act(I), Act::Terminate);
        assert_eq!(of(now() + minutes(1)).kept(I), "a rebake works with it, until its deadline");
    }
    let none = with(|instance| {
        instance.tags.set(tag_keys::ROLE, "rebake");
        instance.tags = without(&instance.tags, tag_keys::DEADLINE);
    });
    assert_eq!(none.kept(I), "it has no tag latent:deadline");
}

// --- launches without an instance -------------------------------------------------------------------

fn intended(since: chrono::DateTime<chrono::Utc>) -> Desk {
    let mut desk = Desk::new();
    let open = OpenIntent { worker: worker("w1"), token: "latent-1".to_owned(), since, region: home() };
    desk.asked().open.push(open);
    desk
}

#[test]
fn an_open_intent_is_told_and_no_more() {
    let mut desk = intended(ago(minutes(30)));
    let finding = desk.finding("latent-1");
    assert_eq!((finding.kind, finding.confidence), (LeftoverKind::IntentOpen, Confidence::Weak));
    assert_eq!((finding.act, finding.age_from.as_str()), (Act::Report, "the controller's ledger"));
    assert_eq!(finding.since, Some(ago(minutes(30))));
    assert_eq!(finding.evidence, ["the controller knows no outcome", "the listing shows no such token"]);
    assert_eq!(finding.resource(), None, "nothing can be called for it");
    desk.respond(LeftoverKind::IntentOpen, Response::Terminate);
    assert_eq!(desk.act("latent-1"), Act::Report, "whatever the policy says");
}

#[test]
fn an_intent_is_not_open_while_it_is_young_or_has_an_instance_or_cannot_be_looked_for() {
    assert!(intended(ago(minutes(29))).plan().findings.is_empty());
    let mut met = intended(ago(hours(1)));
    let mut instance = worker_instance(I);
    instance.token = Some("latent-1".parse().expect("a token"));
    met.claim(I, Claim::Used { worker: worker("w1") }).add(instance);
    assert!(met.plan().findings.is_empty());
    let mut blind = intended(ago(hours(1)));
    blind.survey(&home()).gaps.push(super::desk::gap(latent::model::ResourceKind::Instance));
    assert!(blind.plan().findings.is_empty());
    let mut elsewhere = intended(ago(hours(1)));
    elsewhere.asked().open[0].region = super::desk::region("eu-west-1");
    assert!(elsewhere.plan().findings.is_empty(), "that region was not looked at");
}

// --- without a tag ----------------------------------------------------------------------------------

/// An instance that nothing marks as the fleet's, on an AMI that `name` makes the fleet's.
fn zombie(name: impl FnOnce(&mut Desk)) -> Desk {
    let mut desk = with(|instance| {
        instance.tags = latent::model::TagSet::default();
        instance.ami = Some(ami_id("ami-0owned"));
    });
    name(&mut desk);
    desk
}

#[test]
fn an_untagged_instance_on_an_ami_of_the_fleet_is_told() {
    let configured = zombie(|desk| {
        desk.own_amis.insert(ami_id("ami-0owned"));
    });
    let tagged = zombie(|desk| {
        desk.add_ami(baked("ami-0owned", days(1)));
    });
    let shared = zombie(|desk| {
        let mut ours = worker_instance("i-0b");
        ours.ami = Some(ami_id("ami-0owned"));
        desk.add(ours);
    });
    for desk in [configured, tagged, shared] {
        let finding = desk.finding(I);
        assert_eq!((finding.kind, finding.confidence), (LeftoverKind::UntaggedOnOwnAmi, Confidence::Weak));
        assert_eq!((finding.act, finding.age_from.as_str()), (Act::Report, DISK));
        assert_eq!(finding.note.as_deref(), Some("it may be yours; if it is not, name it with --id i-0a"));
        assert_eq!(finding.evidence, ["state running"]);
    }
}

#[test]
fn no_policy_and_no_first_look_lets_an_untagged_instance_be_acted_on() {
    let mut desk = zombie(|desk| {
        desk.own_amis.insert(ami_id("ami-0owned"));
    });
    desk.first_seen.insert(super::desk::id(I), ago(hours(1)));
    for response in [Response::Report, Response::Stop, Response::Terminate] {
        assert_eq!(desk.respond(LeftoverKind::UntaggedOnOwnAmi, response).act(I), Act::Report, "{response:?}");
    }
    desk.respond(LeftoverKind::UntaggedOnOwnAmi, Response::Report);
    assert_eq!(desk.name(I).act(I), Act::Terminate, "the owner names it");
}

#[test]
fn an_untagged_instance_that_has_nothing_to_do_with_the_fleet_is_not_spoken_of() {
    zombie(|_| ()).silent(I);
    let mut named = zombie(|_| ());
    named.name(I).silent(I);
    let mut ended = zombie(|desk| {
        desk.own_amis.insert(ami_id("ami-0owned"));
    });
    let mut instance = worker_instance(I);
    (instance.tags, instance.ami) = (latent::model::TagSet::default(), Some(ami_id("ami-0owned")));
    instance.state = InstanceState::ShuttingDown;
    ended.add(instance).silent(I);
    let mut no_ami = zombie(|desk| {
        desk.own_amis.insert(ami_id("ami-0owned"));
    });
    let mut instance = worker_instance(I);
    (instance.tags, instance.ami) = (latent::model::TagSet::default(), None);
    no_ami.add(instance).silent(I);
}

// --- whose ------------------------------------------------------------------------------------------

#[test]
fn only_the_fleet_that_is_named_is_swept_to_the_letter() {
    for (fleet, ours) in [("test", true), ("test2", false), ("Test", false), ("tes", false), ("", false)] {
        let mut desk = with(|instance| {
            instance.tags.set(tag_keys::FLEET, fleet).set_time(tag_keys::LEASE, ago(hours(1)));
        });
        desk.fleet = Some(FLEET.to_owned());
        if ours { assert_eq!(desk.act(I), Act::Terminate) } else { desk.silent(I) }
    }
}

#[test]
fn a_role_that_is_absent_or_unknown_is_kept_and_said() {
    let absent = with(|instance| instance.tags = without(&instance.tags, tag_keys::ROLE));
    assert_eq!(absent.kept(I), "it has no tag latent:role");
    let odd = with(|instance| {
        instance.tags.set(tag_keys::ROLE, "w\u{1b}[1m");
    });
    assert_eq!(odd.kept(I), r#"its tag latent:role is unreadable: "w\u{1b}[1m""#);
}

#[test]
fn what_ends_already_is_not_spoken_of_and_an_unknown_state_is_kept() {
    for state in [InstanceState::ShuttingDown, InstanceState::Terminated] {
        let desk = with(|instance| {
            instance.state = state;
            instance.tags.set_time(tag_keys::DEADLINE, ago(days(1)));
        });
        desk.silent(I);
        assert!(desk.plan().seen.ours.is_empty());
    }
    let odd = with(|instance| {
        instance.state = InstanceState::Unknown("hovering".to_owned());
        instance.tags.set_time(tag_keys::DEADLINE, ago(days(1)));
    });
    assert_eq!(odd.kept(I), r#"nobody knows what its state "hovering" means"#);
}

// --- a controller for itself ------------------------------------------------------------------------

#[test]
fn a_controllers_own_sweep_leaves_its_workers_to_its_loop() {
    let mut desk = with(|instance| {
        instance.tags.set_time(tag_keys::DEADLINE, ago(days(1)));
    });
    desk.me = Some(CONTROLLER.to_owned());
    desk.asked();
    assert_eq!(desk.kept(I), "the controller's own loop speaks for it");
}

#[test]
fn a_controllers_own_sweep_ends_what_its_rebakes_left_for_no_loop_speaks_for_that() {
    let mut desk = with(|instance| {
        instance.tags.set(tag_keys::ROLE, "rebake").set_time(tag_keys::DEADLINE, ago(days(1)));
    });
    desk.me = Some(CONTROLLER.to_owned());
    assert_eq!(desk.act(I), Act::Terminate);
}

#[test]
fn a_controllers_own_sweep_only_tells_of_what_is_anothers_or_nobodys() {
    let mut other = with(|instance| {
        instance.tags.set(tag_keys::CONTROLLER, "another").set_time(tag_keys::DEADLINE, ago(days(1)));
    });
    other.me = Some(CONTROLLER.to_owned());
    let finding = other.finding(I);
    assert_eq!((finding.act, finding.note.as_deref()), (Act::Report, Some("it is controller another's")));
    assert_eq!(other.name(I).act(I), Act::Report, "not even if it is named");

    let mut nobodys = with(|instance| {
        instance.tags = without(&instance.tags, tag_keys::CONTROLLER);
        instance.tags.set_time(tag_keys::DEADLINE, ago(days(1)));
    });
    nobodys.me = Some(CONTROLLER.to_owned());
    assert_eq!(nobodys.finding(I).note.as_deref(), Some("it names no controller"));

    let mut zombie = zombie(|desk| {
        desk.own_amis.insert(ami_id("ami-0owned"));
    });
    zombie.me = Some(CONTROLLER.to_owned());
    zombie.silent(I);
}

// --- ages -------------------------------------------------------------------------------------------

#[test]
fn an_instance_that_was_stopped_and_started_is_as_old_as_its_disk() {
    let mut desk = with(|instance| {
        instance.launch_time = Some(ago(minutes(1)));
        instance.attached_at = Some(ago(days(300)));
        instance.tags.set_time(tag_keys::CREATED, ago(minutes(2)));
    });
    desk.asked_and_sound();
    let finding = desk.finding(I);
    assert_eq!((finding.since, finding.age_from.as_str()), (Some(ago(days(300))), DISK));
}

#[test]
fn without_disks_the_tag_tells_the_age_and_without_it_the_last_start() {
    let mut tagged = with(|instance| {
        (instance.launch_time, instance.attached_at) = (Some(ago(minutes(1))), None);
    });
    let finding = tagged.asked_and_sound().finding(I);
    assert_eq!((finding.since, finding.age_from.as_str()), (Some(ago(hours(2))), "its tag latent:created"));
    let mut started = with(|instance| {
        (instance.launch_time, instance.attached_at) = (Some(ago(hours(1))), None);
        instance.tags.set(tag_keys::CREATED, "once");
    });
    let finding = started.asked_and_sound().finding(I);
    assert_eq!((finding.since, finding.age_from.as_str()), (Some(ago(hours(1))), "its last start"));
}

#[test]
fn a_tag_that_anybody_may_write_does_not_make_a_young_instance_old() {
    let mut desk = with(|instance| {
        instance.attached_at = Some(ago(minutes(1)));
        instance.tags.set(tag_keys::CREATED, "1999-01-01T00:00:00Z");
    });
    assert_eq!(desk.asked_and_sound().kept(I), "its controller does not know it yet; it is young");
}

// --- cost and spot ----------------------------------------------------------------------------------

#[test]
fn what_it_costs_is_its_computing_and_its_disks_or_not_known() {
    let lapsed = |edit: fn(&mut Instance)| {
        with(|instance| {
            instance.tags.set_time(tag_keys::LEASE, ago(hours(1)));
            edit(instance);
        })
    };
    let plain = lapsed(|_| ()).finding(I).monthly.expect("a price");
    assert!(plain.low.as_micro_dollars() > 0 && plain.low == plain.high, "{plain}");
    let mut with_disk = lapsed(|instance| instance.parts.volumes = vec!["vol-1".to_owned()]);
    let mut attached = super::desk::volume();
    (attached.available, attached.instance) = (false, Some(super::desk::instance_id(I)));
    with_disk.put("vol-1", Resource::Volume(fleet_tags(), attached));
    assert!(with_disk.finding(I).monthly.expect("a price").low > plain.low);
    let spot = lapsed(|instance| instance.parts.spot_request = Some("sir-1".to_owned())).finding(I);
    assert!(spot.monthly.expect("a price").low < plain.low);
    assert_eq!(lapsed(|instance| instance.instance_type = "z9.huge".to_owned()).finding(I).monthly, None);
    assert_eq!(lapsed(|instance| instance.platform_details = None).finding(I).monthly, None);
}

#[test]
fn a_spot_request_without_a_tag_that_an_instance_came_from_is_told() {
    let mut desk = with(|instance| instance.parts.spot_request = Some("sir-1".to_owned()));
    let finding = desk.finding("sir-1");
    assert_eq!((finding.kind, finding.act), (LeftoverKind::SpotRequestOpen, Act::Report));
    assert_eq!(finding.confidence, Confidence::Weak);
    let mut known = desk.clone();
    let mut request = spot_request();
    (request.state, request.instance) = ("active".to_owned(), Some(super::desk::instance_id(I)));
    known.put("sir-1", Resource::SpotRequest(fleet_tags(), request));
    assert_eq!(known.kept("sir-1"), "i-0a fulfils it");
    desk.survey(&home()).gaps.push(super::desk::gap(latent::model::ResourceKind::SpotRequest));
    desk.silent("sir-1");
}
