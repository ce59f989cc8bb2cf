//! Everything that a sweep decides by, to be changed one thing at a time.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use latent::model::{
    Address, Ami, AmiId, AmiState, Failure, FailureKind, Gap, Instance, InstanceId, InstanceState, LeftoverKind, Parts,
    Phase, Region, Resource, ResourceId, ResourceKind, Response, Snapshot, SpotRequest, Survey, TagSet, Volume,
    tag_keys,
};
use latent::plan::sweep::{Act, Caps, Claim, Claims, ControllerKey, Finding, Stated, SweepPlan, SweepView, sweep};
use latent::policy::SweepPolicy;
use latent::policy::price::Prices;

use crate::harness::{morning, worker};

pub(super) const ACCOUNT: &str = "123456789012";
/// The fleet of everything that nobody says otherwise of, and its controller.
pub(super) const FLEET: &str = "test";
pub(super) const CONTROLLER: &str = "ctl";

/// When every look is taken.
pub(super) fn now() -> DateTime<Utc> {
    morning()
}

pub(super) fn ago(span: TimeDelta) -> DateTime<Utc> {
    now() - span
}

pub(super) fn hours(number: i64) -> TimeDelta {
    TimeDelta::hours(number)
}

pub(super) fn days(number: i64) -> TimeDelta {
    TimeDelta::days(number)
}

pub(super) fn clock(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub(super) fn region(name: &str) -> Region {
    name.parse().expect("a region")
}

pub(super) fn home() -> Region {
    region("us-west-2")
}

pub(super) fn id(text: &str) -> ResourceId {
    text.parse().expect("an id")
}

pub(super) fn instance_id(text: &str) -> InstanceId {
    text.parse().expect("an instance's id")
}

pub(super) fn ami_id(text: &str) -> AmiId {
    text.parse().expect("an AMI's id")
}

/// The fleet's controller.
pub(super) fn its_key() -> ControllerKey {
    ControllerKey::new(FLEET, CONTROLLER)
}

/// The tags of anything of the fleet.
pub(super) fn fleet_tags() -> TagSet {
    let mut tags = TagSet::default();
    tags.set(tag_keys::FLEET, FLEET).set(tag_keys::CONTROLLER, CONTROLLER);
    tags
}

/// The same tags without one.
pub(super) fn without(tags: &TagSet, key: &str) -> TagSet {
    tags.iter().filter(|(own, _)| *own != key).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// A worker's instance that runs for two hours, with a lease and a deadline ahead.
pub(super) fn worker_instance(text: &str) -> Instance {
    let mut tags = fleet_tags();
    tags.set(tag_keys::ROLE, "worker").set(tag_keys::WORKER, "w1").set_time(tag_keys::CREATED, ago(hours(2)));
    tags.set_time(tag_keys::LEASE, now() + TimeDelta::minutes(30)).set_time(tag_keys::DEADLINE, now() + hours(10));
    Instance {
        id: instance_id(text),
        state: InstanceState::Running,
        ami: Some(ami_id("ami-0worker")),
        instance_type: "m7i.large".to_owned(),
        zone: None,
        launch_time: Some(ago(hours(2))),
        launch_index: 0,
        token: None,
        attached_at: Some(ago(hours(2))),
        stopped_at: None,
        ended_at: None,
        parts: Parts::default(),
        platform_details: Some("Linux/UNIX".to_owned()),
        addresses: Vec::new(),
        state_reason: None,
        tags,
    }
}

pub(super) fn volume() -> Volume {
    Volume {
        available: true,
        instance: None,
        size_gib: 30,
        volume_type: "gp3".to_owned(),
        created: Some(ago(hours(2))),
    }
}

pub(super) fn snapshot() -> Snapshot {
    Snapshot { size_gib: 30, started: Some(ago(hours(2))) }
}

pub(super) fn address() -> Address {
    Address { ip: "203.0.113.7".to_owned(), associated: false, instance: None }
}

pub(super) fn spot_request() -> SpotRequest {
    SpotRequest {
        live: true,
        state: "open".to_owned(),
        status: String::new(),
        instance: None,
        created: Some(ago(hours(2))),
    }
}

/// An AMI that a rebake made so long ago.
pub(super) fn baked(text: &str, age: TimeDelta) -> Ami {
    let mut tags = fleet_tags();
    tags.set(tag_keys::IMAGE, "debian").set(tag_keys::IMAGE_ORIGIN, "rebake");
    Ami {
        id: ami_id(text),
        name: format!("debian-{text}"),
        state: AmiState::Available,
        architecture: "x86_64".to_owned(),
        snapshots: Vec::new(),
        created: ago(age),
        size_gib: None,
        deprecated: None,
        tags,
    }
}

pub(super) fn gap(kind: ResourceKind) -> Gap {
    Gap { kind, failure: Failure::new(Phase::Launch, FailureKind::Credentials, "UnauthorizedOperation", "denied") }
}

/// What a sweep looks at.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) now: DateTime<Utc>,
    pub(super) policy: SweepPolicy,
    pub(super) caps: Caps,
    pub(super) fleet: Option<String>,
    pub(super) me: Option<String>,
    pub(super) surveys: BTreeMap<Region, Survey>,
    pub(super) claims: BTreeMap<ControllerKey, Claims>,
    pub(super) own_amis: BTreeSet<AmiId>,
    pub(super) stated: Stated,
    pub(super) named: BTreeSet<ResourceId>,
    pub(super) first_seen: BTreeMap<ResourceId, DateTime<Utc>>,
}

impl Desk {
    /// An empty account, looked at in one region under the default policy. No controller can be asked.
    pub(super) fn new() -> Self {
        let policy = SweepPolicy::built_in().unwrap_or_else(|problems| panic!("{problems}"));
        let caps =
            Caps { free: policy.acts_free, max: policy.acts_max, percent: policy.acts_percent, state_lost: false };
        let mut desk = Self {
            now: now(),
            policy,
            caps,
            fleet: None,
            me: None,
            surveys: BTreeMap::new(),
            claims: BTreeMap::new(),
            own_amis: BTreeSet::new(),
            stated: Stated::default(),
            named: BTreeSet::new(),
            first_seen: BTreeMap::new(),
        };
        desk.survey(&home());
        desk
    }

    /// The look at a region.
    pub(super) fn survey(&mut self, region: &Region) -> &mut Survey {
        let empty = Survey { observed_at: now(), resources: BTreeMap::new(), gaps: Vec::new() };
        self.surveys.entry(region.clone()).or_insert(empty)
    }

    pub(super) fn put(&mut self, text: &str, resource: Resource) -> &mut Self {
        self.survey(&home()).resources.insert(id(text), resource);
        self
    }

    pub(super) fn add(&mut self, instance: Instance) -> &mut Self {
        let text = instance.id.to_string();
        self.put(&text, Resource::Instance(Box::new(instance)))
    }

    pub(super) fn add_ami(&mut self, ami: Ami) -> &mut Self {
        let text = ami.id.to_string();
        self.put(&text, Resource::Ami(Box::new(ami)))
    }

    /// The fleet's controller answers.
    pub(super) fn asked(&mut self) -> &mut Claims {
        self.claims.entry(its_key()).or_default()
    }

    pub(super) fn claim(&mut self, text: &str, claim: Claim) -> &mut Self {
        self.asked().instances.insert(instance_id(text), claim);
        self
    }

    /// The controller knows some other instance, so that it has not lost its record.
    pub(super) fn asked_and_sound(&mut self) -> &mut Self {
        self.claim("i-0known", Claim::Used { worker: worker("w9") })
    }

    pub(super) fn respond(&mut self, kind: LeftoverKind, response: Response) -> &mut Self {
        self.policy.respond.insert(kind, response);
        self
    }

    pub(super) fn name(&mut self, text: &str) -> &mut Self {
        self.named.insert(id(text));
        self
    }

    pub(super) fn plan(&self) -> SweepPlan {
        sweep(&SweepView {
            now: self.now,
            policy: &self.policy,
            caps: self.caps,
            account: ACCOUNT,
            fleet: self.fleet.as_deref(),
            me: self.me.as_deref(),
            surveys: &self.surveys,
            claims: &self.claims,
            own_amis: &self.own_amis,
            stated: &self.stated,
            named: &self.named,
            first_seen: &self.first_seen,
            prices: &Prices::built_in(),
        })
    }

    /// The one finding of this id.
    #[track_caller]
    pub(super) fn finding(&self, text: &str) -> Finding {
        let plan = self.plan();
        let mut found: Vec<&Finding> = plan.findings.iter().filter(|finding| finding.id == text).collect();
        assert_eq!(found.len(), 1, "{text}: {plan:#?}");
        found.remove(0).clone()
    }

    /// Why it is kept; it is no finding then.
    #[track_caller]
    pub(super) fn kept(&self, text: &str) -> String {
        let plan = self.plan();
        assert!(plan.findings.iter().all(|finding| finding.id != text), "{text} is left over: {plan:#?}");
        let kept: Vec<&str> =
            plan.kept.iter().filter(|kept| kept.id.as_str() == text).map(|k| k.why.as_str()).collect();
        assert_eq!(kept.len(), 1, "{text}: {plan:#?}");
        kept[0].to_owned()
    }

    /// Nothing is said of it at all.
    #[track_caller]
    pub(super) fn silent(&self, text: &str) {
        let plan = self.plan();
        let said = plan.findings.iter().any(|finding| finding.id == text)
            || plan.kept.iter().any(|kept| kept.id.as_str() == text);
        assert!(!said, "{text}: {plan:#?}");
    }

    /// What is to be done about it.
    #[track_caller]
    pub(super) fn act(&self, text: &str) -> Act {
        self.finding(text).act
    }
}
