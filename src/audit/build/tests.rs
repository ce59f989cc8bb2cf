//! Reports of ledgers that are made by hand.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::{build, is_complete};
use crate::audit::evidence::{Evidence, Look, Missing, Record};
use crate::audit::report::Report;
use crate::control::Story;
use crate::model::{
    Actor, Attempt, Body, Cause, Cell, Entry, Failure, FailureKind, Gap, Instance, InstanceState, LaunchSpec,
    OwnerName, Parts, Phase, Region, Resource, ResourceId, ResourceKind, Sight, Survey, TagSet, Trail, TrailEvent,
    TrailGap, Unseen, Volume, tag_keys,
};
use crate::plan::meter::Use;
use crate::policy::price::{Prices, Range};

const SPEC: &str = r#"{"region":"us-west-2","ami":"ami-1","offering":{"instance_type":"m7i.large","place":"anywhere","market":"on-demand"},"security_groups":[],"key_pair":null,"instance_profile":null,"block_devices":[{"device":"/dev/sda1","size_gib":30,"volume_type":"gp3","encrypted":null}],"shutdown":"terminate","tags":{},"user_data_digest":null}"#;

fn at(minutes: i64) -> DateTime<Utc> {
    "2026-03-02T20:00:00Z".parse::<DateTime<Utc>>().expect("a time") + TimeDelta::minutes(minutes)
}

fn region() -> Region {
    "us-west-2".parse().expect("a region")
}

/// A ledger that grows.
struct Book(Vec<Entry>);

impl Book {
    fn new() -> Self {
        let mut book = Self(Vec::new());
        book.say(-600, Body::ControllerStarted { version: "1".to_owned() });
        book
    }

    fn say(&mut self, minutes: i64, body: Body) -> &mut Self {
        let seq = u64::try_from(self.0.len()).expect("few") + 1;
        self.0.push(Entry { seq, at: at(minutes), actor: Actor::Controller, body });
        self
    }

    /// A worker that is launched, connects, builds for half an hour, idles and goes.
    fn life(&mut self, owner: &str, worker: &str, instance: &str, from: i64) -> &mut Self {
        let name = || worker.parse().expect("a worker");
        let id = || instance.parse().expect("an id");
        let cell = Cell { owner: owner.parse().expect("an owner"), region: region() };
        let spec: LaunchSpec = serde_json::from_str(SPEC).expect("a launch");
        let attempt = Box::new(Attempt {
            id: format!("{from}-1").replace('-', "").parse().expect("an attempt"),
            cell: cell.clone(),
            image: "debian".parse().expect("an image"),
            created: at(from),
            spec: Some(Box::new(spec)),
        });
        self.say(from, Body::Requested { worker: name(), request: "r1".parse().expect("a request") });
        self.say(from, Body::LaunchIntended { worker: name(), attempt });
        self.say(from, Body::Launched { worker: name(), instance: id() });
        let seen = Sight { platform_details: Some("Linux/UNIX".to_owned()), ..Sight::default() };
        let seen = Some(Box::new(seen));
        self.say(from + 1, Body::Running { worker: name(), instance: id(), seen });
        self.say(from + 2, Body::Attached { worker: name() });
        self.say(from + 3, Body::BuildStarted { worker: name(), build: "b/1".parse().expect("a build") });
        self.say(from + 33, Body::BuildFinished { worker: name() });
        let (worker, cause) = (Some(name()), Cause::Released);
        self.say(
            from + 43,
            Body::TerminateIntended { instance: id(), cell, worker, cause, seen: None, silent_since: None },
        );
        self.say(from + 43, Body::TerminateAccepted { instance: id() });
        self.say(from + 44, Body::Departed { instance: id(), ended_at: None, ran_until: None, seen: None })
    }
}

/// What a report of a day is made of.
fn evidence<'a>(owner: &'a OwnerName, story: &'a Story, regions: BTreeMap<Region, Look>) -> Evidence<'a> {
    Evidence {
        now: at(600),
        since: at(-600),
        until: at(600),
        fleet: "f",
        controller: Some("c"),
        owner,
        account: Some("111111111111"),
        whole_account: false,
        shared_account: false,
        only: BTreeSet::new(),
        ledger: Ok(Record { story, from: "a test", chain: Some("00ff") }),
        regions,
        intent: None,
        rebakes: Ok(Vec::new()),
        findings: Vec::new(),
        prices: Ok(Prices::default()),
    }
}

fn tags(owner: Option<&str>) -> TagSet {
    let mut tags = TagSet::default();
    tags.set(tag_keys::FLEET, "f").set(tag_keys::CONTROLLER, "c").set(tag_keys::ROLE, "worker");
    tags.set(tag_keys::WORKER, "w9");
    if let Some(owner) = owner {
        tags.set(tag_keys::OWNER, owner);
    }
    tags
}

fn running(id: &str, since: i64, tags: TagSet) -> Instance {
    Instance {
        id: id.parse().expect("an id"),
        state: InstanceState::Running,
        ami: "ami-1".parse().ok(),
        instance_type: "m7i.large".to_owned(),
        zone: "us-west-2a".parse().ok(),
        launch_time: Some(at(since)),
        launch_index: 0,
        token: None,
        attached_at: Some(at(since)),
        stopped_at: None,
        ended_at: None,
        parts: Parts { volumes: vec!["vol-9".to_owned()], ..Parts::default() },
        platform_details: Some("Linux/UNIX".to_owned()),
        addresses: vec!["10.0.0.1".to_owned()],
        state_reason: None,
        tags,
    }
}

fn look(instances: Vec<Instance>, trail: Vec<TrailEvent>) -> BTreeMap<Region, Look> {
    let mut resources: BTreeMap<ResourceId, Resource> = BTreeMap::new();
    for instance in instances {
        let volume = Volume {
            available: false,
            instance: Some(instance.id.clone()),
            size_gib: 100,
            volume_type: "gp3".to_owned(),
            created: None,
        };
        resources.insert("vol-9".parse().expect("an id"), Resource::Volume(instance.tags.clone(), volume));
        resources.insert(ResourceId::from(&instance.id), Resource::Instance(Box::new(instance)));
    }
    let survey = Survey { observed_at: at(600), resources, gaps: Vec::new() };
    let trail = Trail { events: trail, from: at(-6000), to: at(585), gaps: Vec::new() };
    BTreeMap::from([(region(), Look { survey: Ok(survey), trail: Ok(trail), spot: Ok(Vec::new()) })])
}

fn event(minutes: i64, name: &str, id: &str) -> TrailEvent {
    TrailEvent {
        id: format!("{minutes}{name}"),
        at: at(minutes),
        name: name.to_owned(),
        instances: vec![id.parse().expect("an id")],
        stood: Vec::new(),
        by: Some("latent-serve-c".to_owned()),
        error: None,
    }
}

fn alice() -> OwnerName {
    "alice".parse().expect("an owner")
}

#[test]
fn every_second_of_a_life_has_its_use_and_every_day_its_amount() {
    let mut book = Book::new();
    // Over midnight: the days share it.
    book.life("alice", "w1", "i-1", 220);
    let owner = alice();
    let report = build(&evidence(&owner, &Story::of(&book.0), look(Vec::new(), Vec::new())));
    assert_eq!(report.instances.len(), 1);
    let line = &report.instances[0];
    let uses: Vec<(Use, i64)> = line.uses.iter().map(|(usage, seconds)| (*usage, *seconds)).collect();
    assert_eq!(uses, [(Use::Boot, 120), (Use::Build, 1800), (Use::Idle, 660), (Use::Drain, 60)]);
    assert_eq!(
        (line.to.expect("over") - line.from).num_seconds(),
        uses.iter().map(|(_, seconds)| seconds).sum::<i64>()
    );
    assert_eq!(report.days.len(), 2);
    assert!(report.days.iter().all(|day| !day.uses.is_empty()), "{:#?}", report.days);
    let by_day: u64 = report.days.iter().flat_map(|day| day.uses.values()).map(|one| one.high.as_micro_dollars()).sum();
    assert!(by_day.abs_diff(report.headline.spent.high.as_micro_dollars()) <= 16);
    let worker = &report.workers[0];
    assert_eq!((worker.starts, worker.builds, worker.connect.map(|spread| spread.median)), (1, 1, Some(120)));
    assert_eq!(report.ledger.as_ref().and_then(|mark| mark.chain.as_deref()), Some("00ff"));
}

#[test]
fn a_day_without_a_second_is_there_with_nothing() {
    let owner = alice();
    let book = Book::new();
    let story = Story::of(&book.0);
    let mut asked = evidence(&owner, &story, BTreeMap::new());
    asked.since = at(-600) - TimeDelta::days(3);
    let report = build(&asked);
    assert_eq!(report.days.len(), 5);
    assert!(report.days.iter().all(|day| day.uses.is_empty()));
    assert!(report.unseen.iter().any(|one| one.what.starts_with("what was before")), "{:#?}", report.unseen);
}

#[test]
fn nothing_of_another_owner_is_told_whatever_tells_of_it() {
    let mut book = Book::new();
    book.life("alice", "w1", "i-1", 0).life("bob", "hidden", "i-2", 100);
    let owner = alice();
    // In one account, with the tags of the other owner, of none, and of none of the fleet.
    let others = [("i-2", Some("bob")), ("i-3", Some("bob")), ("i-2", None)];
    for (id, tag) in others {
        let mut regions = look(vec![running(id, 500, tags(tag))], vec![event(500, "RunInstances", id)]);
        let report = build(&evidence(&owner, &Story::of(&book.0), regions.clone()));
        told_nothing_of(&report, &[id, "bob", "hidden"]);
        // Without a ledger the tags alone say whose it is; where accounts are shared no tag is nobody's.
        for look in regions.values_mut() {
            look.trail = Err(Missing::new("denied", "allow it"));
        }
        let story = Story::of(&book.0);
        let mut alone = evidence(&owner, &story, regions);
        alone.ledger = Err(Missing::new("none", "keep one"));
        alone.shared_account = true;
        told_nothing_of(&build(&alone), &[id, "bob", "hidden"]);
    }
}

#[track_caller]
fn told_nothing_of(report: &Report, words: &[&str]) {
    let text = serde_json::to_string(report).expect("json");
    for word in words {
        assert!(!text.contains(&format!("\"{word}\"")), "{word}: {text}");
    }
}

#[test]
fn a_live_instance_that_the_ledger_should_know_and_does_not_is_a_zombie_with_its_cost() {
    let mut book = Book::new();
    book.life("alice", "w1", "i-1", 500);
    let owner = alice();
    let regions = look(vec![running("i-9", 300, tags(Some("alice")))], vec![event(300, "RunInstances", "i-9")]);
    let report = build(&evidence(&owner, &Story::of(&book.0), regions));
    let line = report.instances.iter().find(|line| line.instance == "i-9").expect("is told");
    assert_eq!(line.uses.get(&Use::Zombie), Some(&(300 * 60)));
    assert_eq!((line.hours.ledger, line.hours.describe, line.hours.cloudtrail), (None, Some(18_000), Some(18_000)));
    assert!(line.cost.expect("a price").storage.high > crate::policy::price::Money::ZERO);
    assert_eq!(report.headline.zombies, 1);
    assert_eq!(report.leftovers.iter().filter(|one| one.kind == "zombie").count(), 1);
    assert_eq!(report.differences.first().map(|one| one.instance.as_str()), Some("i-9"), "the largest comes first");
    assert!(report.differences[0].what.contains("the ledger does not know it"));
}

#[test]
fn a_shutdown_from_inside_the_guest_is_told_as_what_it_is() {
    let mut book = Book::new();
    book.life("alice", "w1", "i-1", 0);
    let owner = alice();
    let report = build(&evidence(&owner, &Story::of(&book.0), look(Vec::new(), vec![event(0, "RunInstances", "i-1")])));
    assert_eq!(report.differences.len(), 1, "{:#?}", report.differences);
    assert!(report.differences[0].what.contains("shutdown from inside the guest"), "{}", report.differences[0].what);
    let ended = vec![event(0, "RunInstances", "i-1"), event(43, "TerminateInstances", "i-1")];
    let agreed = build(&evidence(&owner, &Story::of(&book.0), look(Vec::new(), ended)));
    assert!(agreed.differences.is_empty(), "{:#?}", agreed.differences);
    assert_eq!(
        agreed.deeds.iter().map(|deed| deed.call.as_str()).collect::<Vec<_>>(),
        ["TerminateInstances", "RunInstances"]
    );
}

#[test]
fn what_was_denied_is_told_with_its_action_and_the_report_is_not_whole() {
    let owner = alice();
    let book = Book::new();
    let denied =
        || Failure::new(Phase::Launch, FailureKind::Credentials, "UnauthorizedOperation", "DescribeVolumes: no");
    let mut regions = look(Vec::new(), Vec::new());
    let seen = regions.get_mut(&region()).expect("is there");
    if let Ok(survey) = &mut seen.survey {
        survey.gaps.push(Gap { kind: ResourceKind::Volume, failure: denied() });
    }
    if let Ok(trail) = &mut seen.trail {
        let why = Unseen { kind: FailureKind::Credentials, code: "AccessDenied".to_owned(), message: "no".to_owned() };
        trail.gaps.push(TrailGap { call: None, from: at(-600), to: at(600), why });
    }
    let story = Story::of(&book.0);
    let evidence = evidence(&owner, &story, regions);
    assert!(!is_complete(&evidence, false));
    let report = build(&evidence);
    let unseen: Vec<String> = report.unseen.iter().map(|one| format!("{}: {}", one.what, one.why)).collect();
    for word in ["volumes", "DescribeVolumes", "cloudtrail:LookupEvents", "traffic", "taxes", "Savings Plans"] {
        assert!(unseen.iter().any(|line| line.contains(word)), "{word}: {unseen:#?}");
    }
}

fn denied(kind: ResourceKind) -> Gap {
    let failure = Failure::new(Phase::Launch, FailureKind::Credentials, "UnauthorizedOperation", "no");
    Gap { kind, failure }
}

#[track_caller]
fn source(report: &Report, name: &str) -> (bool, bool) {
    let source = report.sources.iter().find(|source| source.name == name).expect("a source");
    (source.used, source.whole)
}

#[test]
fn a_source_of_which_nothing_was_seen_is_not_used_and_one_seen_in_part_is_not_whole() {
    let owner = alice();
    let book = Book::new();
    let told = |regions: BTreeMap<Region, Look>| {
        let report = build(&evidence(&owner, &Story::of(&book.0), regions));
        (source(&report, "describe"), source(&report, "cloudtrail"))
    };
    let mut seen = look(Vec::new(), Vec::new());
    assert_eq!(told(seen.clone()), ((true, true), (true, true)));
    let one = seen.get_mut(&region()).expect("is there");
    if let (Ok(survey), Ok(trail)) = (&mut one.survey, &mut one.trail) {
        survey.gaps.push(denied(ResourceKind::Volume));
        let why = Unseen { kind: FailureKind::Credentials, code: "AccessDenied".to_owned(), message: "no".to_owned() };
        trail.gaps.push(TrailGap { call: None, from: at(-600), to: at(600), why });
    }
    assert_eq!(told(seen.clone()), ((true, false), (true, false)));
    let mut refused = seen[&region()].clone();
    if let (Ok(survey), Ok(trail)) = (&mut refused.survey, &mut refused.trail) {
        survey.gaps.push(denied(ResourceKind::Instance));
        trail.from = trail.to;
    }
    let alone = BTreeMap::from([(region(), refused.clone())]);
    assert_eq!(told(alone), ((false, false), (false, false)));
    seen.extend(look(Vec::new(), Vec::new()));
    seen.insert("eu-west-1".parse().expect("a region"), refused);
    assert_eq!(told(seen), ((true, false), (true, false)), "one region is not the other");
}

#[test]
fn without_any_record_the_report_says_so_and_claims_nothing() {
    let owner = alice();
    let story = Story::default();
    let mut none = evidence(&owner, &story, BTreeMap::new());
    none.ledger = Err(Missing::new("the ledger is away", "bring it back"));
    let report = build(&none);
    assert!(report.instances.is_empty() && report.headline.spent == Range::ZERO);
    assert_eq!(
        report.sources.iter().filter(|source| source.used).count(),
        2,
        "prices are built in, and rebakes were read"
    );
    assert!(report.unseen.iter().any(|one| one.cure.as_deref() == Some("bring it back")));
    assert!(!report.shut_off.is_empty() && report.assumptions.len() > 5);
}

#[test]
fn the_published_schema_is_that_of_the_report() {
    let schema = serde_json::to_value(schemars::schema_for!(Report)).expect("json");
    let text = include_str!("../../../docs/audit.schema.json");
    let kept: serde_json::Value = serde_json::from_str(text).expect("json");
    assert_eq!(kept, schema, "write it anew: latent audit --schema > docs/audit.schema.json");
}
