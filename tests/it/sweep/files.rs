//! A plan that is written to a file, and one that is applied later.

use latent::model::{LeftoverKind, Resource, Response, tag_keys};
use latent::plan::sweep::{Act, Finding, PlanError, PlanFile, Skipped, SweepPlan, confirm};

use super::desk::{Desk, ago, days, fleet_tags, gap, hours, id, now, volume, worker_instance};
use crate::harness::minutes;

const I: &str = "i-0a";

/// An instance that is certainly over, a volume at its first look, and an instance that is kept.
fn desk() -> Desk {
    let mut desk = Desk::new();
    let mut over = worker_instance(I);
    over.tags.set_time(tag_keys::DEADLINE, ago(days(1)));
    desk.add(over).add(worker_instance("i-0b"));
    desk.put("vol-1", Resource::Volume(fleet_tags(), volume()));
    desk
}

fn acts(findings: &[Finding]) -> Vec<(&str, Act)> {
    findings.iter().map(|finding| (finding.id.as_str(), finding.act)).collect()
}

fn why(skipped: &[Skipped], text: &str) -> String {
    let one = skipped.iter().find(|skipped| skipped.id == text);
    one.unwrap_or_else(|| panic!("{text} is not skipped: {skipped:?}")).why.clone()
}

#[test]
fn a_plan_that_still_holds_is_confirmed_whole() {
    let plan = desk().plan();
    let (holds, skipped) = confirm(&plan, &plan);
    assert_eq!((acts(&holds), skipped), (vec![(I, Act::Terminate), ("vol-1", Act::Mark)], Vec::new()));
}

#[test]
fn what_is_gone_or_kept_or_something_else_now_is_skipped_and_said() {
    let plan = desk().plan();
    let mut now_gone = desk();
    now_gone.survey(&super::desk::home()).resources.remove(&id(I));
    assert_eq!(why(&confirm(&plan, &now_gone.plan()).1, I), "it is gone");

    let mut now_kept = desk();
    let mut instance = worker_instance(I);
    instance.tags.set_time(tag_keys::DEADLINE, ago(days(1))).set(tag_keys::KEEP, "true");
    now_kept.add(instance);
    let said = why(&confirm(&plan, &now_kept.plan()).1, I);
    assert_eq!(said, "it is not left over any more: expired, but kept by its tag latent:keep");

    let mut now_other = desk();
    let mut instance = worker_instance(I);
    instance.tags.set_time(tag_keys::LEASE, ago(hours(1)));
    now_other.add(instance);
    assert_eq!(why(&confirm(&plan, &now_other.plan()).1, I), "it was expired, and is unattended now");

    let mut now_weaker = desk();
    now_weaker.respond(LeftoverKind::Expired, Response::Report);
    let said = why(&confirm(&plan, &now_weaker.plan()).1, I);
    assert!(said.starts_with("it may not be ended now: the policy only reports it"), "{said}");

    let mut now_waits = desk();
    let mut tags = fleet_tags();
    tags.set(tag_keys::MARK, latent::plan::sweep::mark_text(now(), LeftoverKind::VolumeAvailable));
    now_waits.put("vol-1", Resource::Volume(tags, volume()));
    assert!(why(&confirm(&plan, &now_waits.plan()).1, "vol-1").contains("second look"), "somebody marked it since");
}

#[test]
fn an_id_in_another_region_is_another_resource() {
    let mut plan = desk().plan();
    plan.findings.iter_mut().for_each(|finding| finding.region = super::desk::region("eu-west-1"));
    let (holds, skipped) = confirm(&plan, &desk().plan());
    assert!(holds.is_empty());
    assert_eq!(why(&skipped, I), "it is gone");
}

#[test]
fn nothing_is_added_and_nothing_is_done_more_strongly_than_the_plan_said() {
    let earlier = desk().plan();
    let mut later = desk();
    later.first_seen.insert(id("vol-1"), ago(hours(1)));
    let mut another = worker_instance("i-0c");
    another.tags.set_time(tag_keys::DEADLINE, ago(days(1)));
    later.add(another);
    assert_eq!(later.act("vol-1"), Act::Terminate);
    assert_eq!(later.act("i-0c"), Act::Terminate);
    let (holds, skipped) = confirm(&earlier, &later.plan());
    assert_eq!((acts(&holds), skipped.len()), (vec![(I, Act::Terminate), ("vol-1", Act::Mark)], 0));

    let mut stops = desk();
    stops.respond(LeftoverKind::Expired, Response::Stop);
    let (holds, _) = confirm(&stops.plan(), &desk().plan());
    assert!(acts(&holds).contains(&(I, Act::Stop)), "though it might be terminated now");
    let (holds, skipped) = confirm(&desk().plan(), &stops.plan());
    assert_eq!((acts(&holds), skipped.len()), (vec![("vol-1", Act::Mark)], 1), "and not the other way round");
}

#[test]
fn what_was_only_told_or_waited_for_is_no_part_of_what_is_applied() {
    let mut desk = desk();
    desk.respond(LeftoverKind::Expired, Response::Report);
    let mut tags = fleet_tags();
    tags.set(tag_keys::MARK, latent::plan::sweep::mark_text(ago(minutes(1)), LeftoverKind::VolumeAvailable));
    desk.put("vol-1", Resource::Volume(tags, volume()));
    let earlier = desk.plan();
    assert_eq!(earlier.acts().count(), 0);
    let (holds, skipped) = confirm(&earlier, &super::files::desk().plan());
    assert!(holds.is_empty() && skipped.is_empty());
}

#[test]
fn what_a_plan_says_that_is_only_told_now_is_not_done_whoever_wrote_it() {
    let mut zombie = Desk::new();
    let mut instance = worker_instance(I);
    instance.tags = latent::model::TagSet::default();
    zombie.own_amis.extend(instance.ami.clone());
    zombie.add(instance);
    let mut forged = zombie.plan();
    forged.findings[0].act = Act::Terminate;
    let (holds, skipped) = confirm(&forged, &zombie.plan());
    assert!(holds.is_empty());
    assert!(why(&skipped, I).contains("it may be yours"));
}

// --- the file ---------------------------------------------------------------------------------------

fn written(plan: SweepPlan) -> String {
    serde_json::to_string_pretty(&PlanFile::seal(plan).expect("sealed")).expect("a text")
}

/// A plan with something in each of its fields, and text that whoever may tag a resource wrote.
fn full() -> SweepPlan {
    let mut desk = desk();
    let mut hostile = worker_instance("i-0c");
    hostile.tags.set(tag_keys::WORKER, "\u{1b}[2J=cmd()\u{202e}\"</script>\u{0}\n,").set(tag_keys::ROLE, "\"}]}");
    desk.add(hostile).name("snap-9").own_amis.insert(super::desk::ami_id("ami-0a"));
    desk.survey(&super::desk::region("eu-west-1")).gaps.push(gap(latent::model::ResourceKind::Address));
    desk.fleet = Some("test".to_owned());
    desk.plan()
}

#[test]
fn a_plan_in_a_file_is_read_as_it_was_written() {
    for plan in [full(), desk().plan(), Desk::new().plan()] {
        assert_eq!(PlanFile::read(&written(plan.clone())).expect("a plan").plan, plan);
    }
    assert!(full().refused.is_some() && !full().gaps.is_empty() && !full().kept.is_empty());
    let text = written(full());
    assert!(!text.contains('\u{1b}') && !text.contains('\u{0}'), "JSON escapes what a terminal would obey");
}

#[test]
fn a_plan_that_was_changed_is_refused() {
    let text = written(full());
    let changes = [
        ("\"i-0a\"", "\"i-0z\""),
        ("\"account\": \"123456789012\"", "\"account\": \"123456789013\""),
        ("\"act\": \"mark\"", "\"act\": \"terminate\""),
        ("\"fleet\": \"test\"", "\"fleet\": null"),
        ("us-west-2", "us-west-1"),
        ("\"snap-9\"", "\"snap-8\""),
        ("sha256:", "sha257:"),
        ("2026-03-02T08:00:00Z", "2026-03-03T08:00:00Z"),
    ];
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        let error = PlanFile::read(&text.replacen(from, to, 1)).expect_err(from);
        assert!(matches!(error, PlanError::Changed { .. }), "{from}: {error}");
        assert!(error.to_string().contains("write a new plan"));
    }
}

#[test]
fn a_plan_that_says_more_than_this_version_understands_is_refused() {
    for at in ["\"plan\": {", "\"seen\": {", "\"digest\":"] {
        let with = if at == "\"digest\":" { format!("\"extra\": 1, {at}") } else { format!("{at} \"extra\": 1,") };
        let error = PlanFile::read(&written(full()).replacen(at, &with, 1)).expect_err(at);
        assert!(matches!(error, PlanError::Form(_)), "{at}: {error}");
    }
}

#[test]
fn a_plan_of_another_format_is_refused_by_its_number() {
    let text = written(desk().plan()).replacen("\"format\": 1", "\"format\": 2, \"never\": \"heard of\"", 1);
    let error = PlanFile::read(&text).expect_err("another format");
    assert!(matches!(error, PlanError::Format(2)), "{error}");
    let huge = written(desk().plan()).replacen("\"format\": 1", "\"format\": 99999999999", 1);
    assert!(matches!(PlanFile::read(&huge), Err(PlanError::Format(u32::MAX))));
}

#[test]
fn what_is_no_plan_is_refused() {
    for text in ["", "{}", "[]", "null", "{\"digest\":\"sha256:\",\"plan\":{}}", "\u{feff}", "not json", "{\"plan\":"] {
        assert!(matches!(PlanFile::read(text), Err(PlanError::Form(_))), "{text:?}");
    }
    let no_id = written(desk().plan()).replacen("\"id\": \"i-0b\"", "\"id\": \"i-0b; rm -rf /\"", 1);
    assert!(matches!(PlanFile::read(&no_id), Err(PlanError::Form(_))), "what is kept has an id of AWS's form");
    let deep = "[".repeat(100_000);
    assert!(matches!(PlanFile::read(&deep), Err(PlanError::Form(_))), "no stack is overrun");
}
