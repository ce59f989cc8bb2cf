//! From a fleet to its owner's report, as `latent audit` makes it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use latent::audit::report::{InstanceLine, Report};
use latent::audit::{Evidence, Look, Missing, Record, build};
use latent::control::{Story, SweepDoor, read_trail};
use latent::model::{Entry, Fleet, OwnerName, Region, Survey};
use latent::plan::meter::Use;
use latent::plan::sweep::{Caps, ControllerKey, Finding, Stated, SweepView, claims, sweep};
use latent::policy::Intent;
use latent::policy::price::Prices;

use crate::harness::Lab;

/// Where every test looks.
pub(super) const REGION: &str = "us-west-2";

/// What a report is asked of.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Whose.
    pub(super) owner: &'static str,
    /// Since when.
    pub(super) since: DateTime<Utc>,
    /// Whether the ledger may be read.
    pub(super) ledger: bool,
    /// Whether the account may be looked at.
    pub(super) account: bool,
}

impl Asked {
    pub(super) fn of(owner: &'static str, since: DateTime<Utc>) -> Self {
        Self { owner, since, ledger: true, account: true }
    }
}

fn region() -> Region {
    REGION.parse().expect("a region")
}

/// Looks at an account as a command does.
async fn look(lab: &Lab, asked: &Asked) -> Look {
    let door = SweepDoor::new(region(), lab.door(asked.owner, REGION), lab.now());
    let survey = door.survey(&lab.clock).await;
    let since = asked.since - TimeDelta::days(7);
    let trail = read_trail(&lab.clock, &lab.door(asked.owner, REGION), since, lab.now()).await;
    Look { survey: Ok(survey), trail: Ok(trail), spot: Ok(Vec::new()) }
}

fn findings(lab: &Lab, intent: &Intent, asked: &Asked, surveys: &BTreeMap<Region, Survey>) -> Vec<Finding> {
    let fleet = Fleet::fold(&lab.entries()).expect("the ledger folds");
    let key = ControllerKey::new(&intent.fleet.name, &intent.fleet.controller);
    let told = if asked.ledger { BTreeMap::from([(key, claims(&fleet, intent))]) } else { BTreeMap::new() };
    let images = || intent.images.values().filter(|image| image.owner.as_str() == asked.owner);
    let plan = sweep(&SweepView {
        now: lab.now(),
        policy: &intent.sweep,
        caps: Caps { free: 100, max: 100, percent: 100, state_lost: false },
        account: &lab.setup.real_account(asked.owner),
        fleet: Some(&intent.fleet.name),
        me: None,
        surveys,
        claims: &told,
        own_amis: &BTreeSet::new(),
        stated: &Stated::of(images()),
        named: &BTreeSet::new(),
        first_seen: &BTreeMap::new(),
        prices: &intent.prices,
    });
    plan.findings
}

/// The report, and the ledger that it was made from.
pub(super) async fn report(lab: &Lab, asked: &Asked) -> Report {
    let intent = lab.setup.intent();
    let mut regions = BTreeMap::new();
    if asked.account {
        regions.insert(region(), look(lab, asked).await);
    }
    let surveys = regions.iter().filter_map(|(region, look)| Some((region.clone(), look.survey.clone().ok()?)));
    let surveys: BTreeMap<Region, Survey> = surveys.collect();
    let owner: OwnerName = asked.owner.parse().expect("an owner");
    let account = lab.setup.real_account(asked.owner);
    let story = Story::of(&lab.entries());
    let none = || Missing::new("nobody keeps one", "keep one");
    let evidence = Evidence {
        now: lab.now(),
        since: asked.since,
        until: lab.now(),
        fleet: &intent.fleet.name,
        controller: Some(&intent.fleet.controller),
        owner: &owner,
        account: Some(&account),
        whole_account: false,
        shared_account: false,
        only: BTreeSet::new(),
        ledger: if asked.ledger { Ok(of(&story)) } else { Err(none()) },
        regions,
        intent: Some(&intent),
        rebakes: Ok(Vec::new()),
        findings: findings(lab, &intent, asked, &surveys),
        prices: Ok(Prices::default()),
    };
    build(&evidence)
}

pub(super) fn of(story: &Story) -> Record<'_> {
    Record { story, from: "a test", chain: None }
}

/// The same from the ledger alone, as `--verify` makes it.
pub(super) fn again(lab: &Lab, report: &Report) -> Report {
    let intent = lab.setup.intent();
    let owner: OwnerName = report.owner.parse().expect("an owner");
    let seq = report.ledger.as_ref().map_or(0, |mark| mark.seq);
    let entries: Vec<Entry> = lab.entries().into_iter().filter(|entry| entry.seq <= seq).collect();
    let story = Story::of(&entries);
    build(&Evidence {
        now: report.written_at,
        since: report.since,
        until: report.until,
        fleet: &intent.fleet.name,
        controller: Some(&intent.fleet.controller),
        owner: &owner,
        account: report.account.as_deref(),
        whole_account: false,
        shared_account: false,
        only: BTreeSet::new(),
        ledger: Ok(of(&story)),
        regions: BTreeMap::new(),
        intent: Some(&intent),
        rebakes: Ok(Vec::new()),
        findings: Vec::new(),
        prices: Ok(Prices::default()),
    })
}

/// The line of an instance.
pub(super) fn line<'a>(report: &'a Report, id: &str) -> &'a InstanceLine {
    report.instances.iter().find(|line| line.instance == id).unwrap_or_else(|| panic!("no {id} in {report:#?}"))
}

/// What every report must hold, whatever it is made of.
#[track_caller]
pub(super) fn adds_up(report: &Report) {
    for line in &report.instances {
        let end = line.to.unwrap_or(report.until);
        let wall = (end - line.from).num_seconds();
        let sum: i64 = line.uses.values().sum();
        assert!((wall - sum).abs() <= 1, "{}: {wall} s of wall time, {sum} s of uses: {line:#?}", line.instance);
        for pair in line.segments.windows(2) {
            assert_eq!(pair[0].to, Some(pair[1].from), "{}: a gap", line.instance);
        }
    }
    let days: u64 = report.days.iter().flat_map(|day| day.uses.values()).map(|one| one.high.as_micro_dollars()).sum();
    let spent = report.headline.spent.high.as_micro_dollars();
    let parts = report.days.len() * Use::ALL.len() * report.instances.len().max(1) * 3;
    assert!(days.abs_diff(spent) <= u64::try_from(parts).expect("few"), "days {days}, total {spent}");
    assert!(!report.unseen.is_empty() && !report.assumptions.is_empty() && !report.shut_off.is_empty());
    let all = (report.until - TimeDelta::nanoseconds(1)).date_naive() - report.since.date_naive();
    assert_eq!(i64::try_from(report.days.len()).expect("few"), all.num_days() + 1, "every day is there");
}
