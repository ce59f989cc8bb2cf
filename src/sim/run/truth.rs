//! The judge: what the promise says, asserted at the moment of every effect and of every write.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};

use super::canary::Canaries;
use super::holds::Holds;
use super::life::lock;
use super::purse::Purse;
use super::scene::{CONTROLLER, FLEET};
use crate::cloud::kind_of;
use crate::model::{Body, Cause, Entry, Failure, FailureKind, InstanceId, WorkerName, tag_keys};
use crate::sim::{ApiError, By, Effect, Instance, Request, Site, SiteId, TagTarget, Watcher};

/// An account that works is looked at this often: the slow polling of the fleet, and the way there and back.
const LISTING_GAP: TimeDelta = TimeDelta::seconds(260);
/// A controller that has been started may still answer for the time before.
const STARTED: TimeDelta = TimeDelta::minutes(15);
/// `max_lifetime` of the policy.
pub(super) const LIFETIME: TimeDelta = TimeDelta::hours(8);
/// From the durable intent to the call in an account that works.
const LAUNCH_DELAY: TimeDelta = TimeDelta::seconds(5);
/// So many answers may be lost before nobody can say any more that an interruption was not to be known …
const ASKED_ENOUGH: u32 = 3;
/// … and so long the last of them may be on its way, and be written down.
const TIME_TO_HEED: TimeDelta = TimeDelta::seconds(20);
/// A tag of instances that were there before us.
pub(super) const STRANGE: &str = "strange";
/// A tag of instances that carry our tags and that no controller launched.
pub(super) const PLANTED: &str = "planted";

/// The invariants of the promise, by number and name.
pub const INVARIANTS: [(u8, &str); 13] = [
    (1, "every instance is explained by a durable intent written before the call"),
    (2, "at most one live instance per worker identity"),
    (3, "nothing that is not ours is stopped, terminated or tagged"),
    (4, "a busy worker is taken away only by its last hour, an operator or EC2"),
    (5, "every request is answered within its deadline"),
    (6, "nothing that nobody wants outlives the bound, and in the end nothing costs"),
    (7, "unknown is not absent"),
    (8, "no image in use is touched, and none is left over"),
    (9, "one owner's trouble delays no other owner"),
    (10, "no owner's budget is passed"),
    (11, "the ledger can be lost"),
    (12, "same seed, same trace"),
    (13, "what it costs is told from the ledger"),
];

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its number in [`INVARIANTS`].
    pub invariant: u8,
    /// When.
    pub at: DateTime<Utc>,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = INVARIANTS.iter().find(|(number, _)| *number == self.invariant).map_or("", |(_, name)| name);
        write!(f, "invariant {} ({name}) at {}: {}", self.invariant, self.at.format("%d %H:%M:%S%.3f"), self.what)
    }
}

/// One of our instances, from its launch to its end.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Known {
    pub(super) site: SiteId,
    pub(super) worker: String,
    pub(super) born: DateTime<Utc>,
    /// Pending or running.
    pub(super) up: bool,
    /// Whether a ledger was lost since it was launched.
    pub(super) survived_a_loss: bool,
    /// Whether the ledger knows of it.
    recorded: bool,
    /// Whether somebody took a tag off it that says whose it is.
    pub(super) stripped: bool,
    /// Whether it was launched to prove an AMI.
    pub(super) canary: bool,
    /// Minutes in which nobody wanted it and everything worked.
    pub(super) unwanted: u32,
}

impl Known {
    /// Nobody can tell by any listing or ledger that it is ours.
    pub(super) fn unknowable(&self) -> bool {
        self.stripped && !self.recorded
    }
}

/// What is really so, and what did not hold.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// Tokens of durable intents with the place in their call, and their workers.
    tokens: BTreeMap<(String, u32), (WorkerName, DateTime<Utc>)>,
    /// How the last launch call of a worker was answered.
    answers: BTreeMap<String, String>,
    causes: BTreeMap<InstanceId, Cause>,
    /// Instances that were started and whose starter was not told: it may try again, which changes nothing.
    unanswered: BTreeSet<InstanceId>,
    pub(super) holds: Holds,
    /// Instances of ours that have not begun to end.
    pub(super) standing: BTreeMap<InstanceId, Known>,
    /// The instance on which the master runs a build.
    pub(super) building: BTreeMap<InstanceId, WorkerName>,
    /// Instances that are not ours.
    pub(super) strangers: BTreeSet<InstanceId>,
    /// Instances with our tags that nothing explains.
    pub(super) planted: BTreeSet<InstanceId>,
    /// Instances that the ledger explained before it was lost.
    pub(super) outlived: BTreeSet<InstanceId>,
    /// Volumes and interfaces that are not ours.
    pub(super) strange_things: BTreeSet<String>,
    /// Effects that the guests have not felt yet.
    pub(super) happened: VecDeque<(DateTime<Utc>, SiteId, Effect)>,
    pub(super) violations: Vec<Violation>,
    pub(super) launched: u64,
    /// Interruptions that EC2 told of, and what was asked of it since.
    warned: BTreeMap<InstanceId, Warning>,
    /// Instances of which the ledger says that EC2 takes them back.
    known_warned: BTreeSet<InstanceId>,
    /// Instances that the ledger binds to a worker and has seen running.
    in_use: BTreeSet<InstanceId>,
    /// How many interruptions the ledger knew while the instance still ran.
    pub(super) noticed: u64,
    /// Builds that ended as they should.
    pub(super) builds: u64,
    written: Digest,
    /// What was written and what else happened, if somebody wants to be told.
    pub(super) story: Option<Vec<(DateTime<Utc>, String)>>,
    pub(super) canaries: Canaries,
    calm: Calm,
    /// What the owner with a budget spends.
    pub(super) purse: Option<Purse>,
}

/// An interruption that EC2 has told of, at a place.
#[derive(Debug, Clone)]
struct Warning {
    site: SiteId,
    /// How often this life of the controller has asked for spot requests since, with success.
    asked: u32,
    /// When it did so the time before anybody could expect it to know.
    last: DateTime<Utc>,
}

/// A number that two ledgers share only if all their entries are the same.
#[derive(Debug, Default)]
struct Digest(DefaultHasher);

/// An owner whose account works: nothing may hold its calls up.
#[derive(Debug, Default)]
struct Calm {
    sites: Vec<SiteId>,
    workers: BTreeSet<String>,
    listed: BTreeMap<SiteId, DateTime<Utc>>,
    /// Whether another controller lists too, so that nobody can tell who did.
    crowded: bool,
    since: DateTime<Utc>,
}

impl Truth {
    pub(super) fn new(sites: Vec<SiteId>, workers: BTreeSet<String>, now: DateTime<Utc>) -> Self {
        Self { calm: Calm { sites, workers, since: now, ..Calm::default() }, ..Self::default() }
    }

    /// No account that works is left unlooked at.
    pub(super) fn all_are_listed(&mut self, now: DateTime<Utc>) {
        let last: Vec<(SiteId, DateTime<Utc>)> =
            self.calm.listed.iter().map(|(site, last)| (site.clone(), *last)).collect();
        for (site, last) in last {
            if now - last > LISTING_GAP && !self.calm.crowded {
                let what = format!("{} is not looked at any more, though it works", site.account);
                self.violated(9, now, what);
            }
        }
    }

    /// A controller starts: what it did not do before is not its fault.
    pub(super) fn life_begins(&mut self, now: DateTime<Utc>) {
        for warning in self.warned.values_mut() {
            warning.asked = 0;
        }
        self.calm.since = now;
        self.calm.listed.clear();
    }

    /// A second controller comes, or goes.
    pub(super) fn crowded(&mut self, crowded: bool) {
        self.calm.crowded = crowded;
        if let Some(purse) = self.purse.as_mut().filter(|_| crowded) {
            purse.is_shared();
        }
        self.calm.listed.clear();
    }

    /// A listing of an account that works arrives.
    fn listed(&mut self, now: DateTime<Utc>, site: &SiteId) {
        if self.calm.crowded || !self.calm.sites.contains(site) {
            return;
        }
        let last = self.calm.listed.insert(site.clone(), now);
        if let Some(gap) = last.map(|last| now - last).filter(|gap| *gap > LISTING_GAP) {
            let what = format!("{} was not looked at for {} s, though it works", site.account, gap.num_seconds());
            self.violated(9, now, what);
        }
    }

    /// A launch arrives in an account that works: it was sent when it was intended.
    fn launch_arrives(&mut self, now: DateTime<Utc>, site: &Site, token: &str) {
        let here = |calm: &SiteId| *calm.account == *site.account && *calm.region == *site.region;
        let Some(intended) = self.tokens.get(&(token.to_owned(), 0)).map(|(_, at)| *at) else { return };
        let delay = now - intended;
        if self.calm.sites.iter().any(here) && intended >= self.calm.since && delay > LAUNCH_DELAY {
            let what =
                format!("a launch in {} was held up for {} s, though it works", site.account, delay.num_seconds());
            self.violated(9, now, what);
        }
    }

    /// A build begins. On an instance that EC2 takes back it would be lost: it may begin only while nobody
    /// can know that.
    pub(super) fn build_begins(&mut self, now: DateTime<Utc>, worker: &WorkerName, id: &InstanceId, smoke: bool) {
        if self.canaries.is_one(id) != smoke {
            let what = format!("{worker} begins a build on {id}: smoke build {smoke}, canary {}", !smoke);
            self.violated(8, now, what);
        }
        if self.could_be_known(now, id) || self.known_warned.contains(id) {
            let what = format!("{worker} begins a build on {id}, and EC2 has said that it takes that back");
            self.violated(4, now, what);
        }
        self.building.insert(id.clone(), worker.clone());
    }

    /// Whether the controller has asked often enough to know that EC2 takes an instance back.
    fn could_be_known(&self, now: DateTime<Utc>, id: &InstanceId) -> bool {
        let told = |warning: &Warning| warning.asked >= ASKED_ENOUGH && now - warning.last > TIME_TO_HEED;
        !self.calm.crowded && self.in_use.contains(id) && self.warned.get(id).is_some_and(told)
    }

    /// EC2 takes an instance back: what it said two minutes ago was written down, if it was to be known.
    fn taken_back(&mut self, now: DateTime<Utc>, id: &InstanceId) {
        if self.could_be_known(now, id) && !self.known_warned.contains(id) && !self.causes.contains_key(id) {
            self.violated(4, now, format!("EC2 takes {id} back and had said so, and the ledger does not know"));
        }
    }

    /// The spot requests of a place were asked for.
    fn spot_requests_told(&mut self, now: DateTime<Utc>, site: &SiteId) {
        for warning in self.warned.values_mut().filter(|warning| warning.site == *site) {
            warning.asked += 1;
            if warning.asked <= ASKED_ENOUGH {
                warning.last = now;
            }
        }
    }

    /// Something for the telling.
    pub(super) fn tell(&mut self, at: DateTime<Utc>, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push((at, what()));
        }
    }

    /// A guest powers itself off because nobody renewed its lease.
    pub(super) fn lease_ran_out(&mut self, now: DateTime<Utc>, id: &InstanceId) {
        if let Some(worker) = self.building.get(id) {
            let what = format!("{id} of {worker} powers itself off while it builds: its lease was not renewed");
            self.violated(4, now, what);
        }
    }

    pub(super) fn violated(&mut self, invariant: u8, at: DateTime<Utc>, what: String) {
        self.violations.push(Violation { invariant, at, what });
    }

    /// The digest of everything that was written.
    pub(super) fn entries(&self) -> u64 {
        self.written.0.finish()
    }

    /// Entries become durable.
    pub(super) fn written(&mut self, entries: &[Entry]) {
        for entry in entries {
            (entry.seq, entry.at, entry.body.describe()).hash(&mut self.written.0);
            if let Some(story) = &mut self.story {
                let worker = entry.body.worker().map_or("", WorkerName::as_str);
                story.push((entry.at, format!("ledger {worker}: {}", entry.body.describe())));
            }
            if let Some(what) = self.purse.as_ref().and_then(|purse| purse.written(entry)) {
                self.violated(10, entry.at, what);
            }
            match &entry.body {
                Body::LaunchIntended { attempt, worker } => {
                    self.answers.remove(worker.as_str());
                    let launch = attempt.spec.as_ref();
                    let launch = launch.map(|spec| (spec.token().as_str().to_owned(), spec.launch_index()));
                    self.tokens.extend(launch.map(|launch| (launch, (worker.clone(), entry.at))));
                }
                Body::LaunchRefused { worker, failure } => {
                    let answer = self.answers.get(worker.as_str()).cloned().unwrap_or_default();
                    if failure.kind == FailureKind::Elsewhere && answer != "elsewhere" {
                        let what = format!("{worker} is refused for {}, and EC2 said {answer}", failure.code);
                        self.violated(5, entry.at, what);
                    }
                }
                Body::TerminateIntended { instance, cause, .. } | Body::StopIntended { instance, cause, .. } => {
                    self.causes.insert(instance.clone(), cause.clone());
                }
                Body::Launched { instance, .. } | Body::Adopted { instance, .. } => {
                    if let Some(known) = self.standing.get_mut(instance) {
                        known.recorded = true;
                    }
                }
                Body::StopSeen { instance, worker, .. } if self.runs_as_told(instance) => {
                    self.violated(7, entry.at, format!("{instance} of {worker} is taken for stopped and runs"));
                }
                Body::Running { instance, .. } => drop(self.in_use.insert(instance.clone())),
                Body::InterruptionNoticed { instance, .. } => {
                    let runs = self.standing.contains_key(instance);
                    self.noticed += u64::from(self.known_warned.insert(instance.clone()) && runs);
                }
                Body::RequestFailed { worker, failure } => self.failed(entry.at, worker, failure),
                Body::HoldSet { .. } | Body::HoldReleased { .. } => self.holds.written(&entry.body),
                Body::Lost { instance, .. } | Body::Departed { instance, .. } => {
                    if let Some(known) = self.standing.get(instance) {
                        let what = format!("{instance} of {} is taken for gone and stands", known.worker);
                        self.violated(7, entry.at, what);
                    }
                }
                _ => {}
            }
        }
    }

    /// A request is answered with a failure. Where everything works only the guest can be the cause.
    fn failed(&mut self, now: DateTime<Utc>, worker: &WorkerName, failure: &Failure) {
        let guests = match failure.code.as_str() {
            // A canary or an operator has the worker for a time; who waits for it is told so.
            "Canary" => true,
            "OperatorHold" => self.holds.until(worker).is_some_and(|until| until >= now),
            _ => matches!(failure.kind, FailureKind::NotConnected | FailureKind::Ended),
        };
        let works = self.calm.workers.contains(worker.as_str()) && now >= self.calm.since + STARTED;
        if works && !guests {
            self.violated(5, now, format!("{worker} is answered with {}, and everything works", failure.code));
        }
    }

    /// Whether an instance is up, and whoever started it knows.
    fn runs_as_told(&self, id: &InstanceId) -> bool {
        self.standing.get(id).is_some_and(|known| known.up) && !self.unanswered.contains(id)
    }

    /// These were written, and the process was told that they were not: it takes its time over them.
    pub(super) fn held_up(&mut self, entries: &[Entry]) {
        for (_, at) in self.tokens.values_mut() {
            if entries.iter().any(|entry| entry.at == *at) {
                *at = DateTime::UNIX_EPOCH;
            }
        }
    }

    /// Whether this instance is none of ours, or nobody could know that it is.
    pub(super) fn is_strange(&self, id: &str) -> bool {
        let id = id.parse::<InstanceId>();
        id.is_ok_and(|id| self.strangers.contains(&id) || self.standing.get(&id).is_some_and(Known::unknowable))
    }

    /// Whether the controller has written that it ends this instance.
    pub(super) fn end_intended(&self, id: &InstanceId) -> bool {
        self.causes.contains_key(id)
    }

    /// The ledger is gone, and with it what it explained.
    pub(super) fn ledger_lost(&mut self, now: DateTime<Utc>) {
        self.outlived.extend(self.standing.keys().cloned());
        if let Some(purse) = &mut self.purse {
            purse.ledger_lost(now);
        }
        for known in self.standing.values_mut() {
            known.survived_a_loss = true;
            known.recorded = false;
        }
        self.causes.clear();
        self.holds.ledger_lost();
        self.known_warned.clear();
        self.in_use.clear();
    }

    fn launched(&mut self, now: DateTime<Utc>, site: &Site, instance: &Instance) {
        if tag_of(instance, PLANTED).is_some() {
            self.planted.insert(instance.id.clone());
            return;
        }
        let launch = instance.token.clone().map(|token| (token, instance.launch_index));
        let intent = launch.and_then(|launch| self.tokens.get(&launch)).cloned();
        let Some(worker) = intent.as_ref().map(|(worker, _)| worker.to_string()).or_else(|| identity(instance)) else {
            self.strangers.insert(instance.id.clone());
            return;
        };
        self.launched += 1;
        if intent.is_none() {
            self.violated(1, now, format!("{} of {worker} was launched without a durable intent", instance.id));
        }
        self.no_twin(now, &instance.id, &worker);
        let canary = tag_of(instance, tag_keys::ROLE) == Some("canary");
        if let Some(what) = self.canaries.launched(instance, &worker, canary) {
            self.violated(8, now, what);
        }
        if let Some(token) = &instance.token {
            self.launch_arrives(now, site, token);
        }
        // Ages count from the intent, which is what the tags say.
        let intended = intent.map(|(_, at)| at).filter(|at| *at > DateTime::UNIX_EPOCH);
        let known = Known {
            site: SiteId::new(&site.account, &site.region),
            worker,
            born: intended.map_or(now, |at| at.min(now)),
            up: true,
            survived_a_loss: false,
            // Its intent is written; a loss of the ledger takes that away.
            recorded: true,
            stripped: false,
            canary,
            unwanted: 0,
        };
        self.standing.insert(instance.id.clone(), known);
    }

    fn no_twin(&mut self, now: DateTime<Utc>, id: &InstanceId, worker: &str) {
        let twin = self
            .standing
            .iter()
            .find(|(other, known)| *other != id && known.up && known.worker == worker && !known.unknowable());
        if let Some((other, _)) = twin {
            let what = format!("{worker} gets {id} while {other} is live");
            self.violated(2, now, what);
        }
    }

    /// Somebody with the owner's credentials ends or stops it.
    fn ended_by_caller(&mut self, now: DateTime<Utc>, id: &InstanceId) {
        if self.strangers.contains(id) {
            self.violated(3, now, format!("{id} is not ours and is taken away"));
        }
        let cause = self.causes.get(id).cloned();
        // Tags tell time in whole seconds.
        let second = TimeDelta::seconds(1);
        let old = self.standing.get(id).is_none_or(|known| now + second >= known.born + LIFETIME);
        let may = match cause {
            Some(Cause::Expired) => old,
            Some(Cause::Operator) => true,
            // Of a canary without a record nobody knows what it is for.
            Some(Cause::Orphan) => self.standing.get(id).is_some_and(|known| known.canary && known.survived_a_loss),
            _ => false,
        };
        let by_budget = |worker: &str| self.purse.as_ref().is_some_and(|own| own.may_end(now, worker, cause.as_ref()));
        let may = may || self.building.get(id).is_some_and(|worker| by_budget(worker.as_str()));
        if let Some(worker) = self.building.get(id).filter(|_| !may) {
            let what = format!("{id} is taken away from {worker} while it builds, for {cause:?}");
            self.violated(4, now, what);
        }
    }

    fn saw(&mut self, now: DateTime<Utc>, site: &Site, effect: &Effect) {
        if let Some(purse) = &mut self.purse {
            purse.saw(now, site, effect);
        }
        match effect {
            Effect::Launched(id) => {
                if let Some(instance) = site.instance(id) {
                    self.launched(now, site, instance);
                }
            }
            Effect::Started(id, _) => {
                self.canaries.started(id);
                if let Some(worker) = self.standing.get(id).map(|known| known.worker.clone()) {
                    self.no_twin(now, id, &worker);
                }
                self.causes.remove(id);
                self.unanswered.insert(id.clone());
                if let Some(known) = self.standing.get_mut(id) {
                    known.up = true;
                }
            }
            Effect::Stopping(id, by) | Effect::Ending(id, by) => {
                if *by == By::Caller {
                    self.ended_by_caller(now, id);
                }
                if *by == By::Ec2 {
                    self.taken_back(now, id);
                }
                self.warned.remove(id);
                if matches!(effect, Effect::Ending(..)) {
                    self.standing.remove(id);
                } else if let Some(known) = self.standing.get_mut(id) {
                    known.up = false;
                }
            }
            Effect::Tagged(id, By::Caller) if self.strangers.contains(id) => {
                self.violated(3, now, format!("{id} is not ours and is tagged"));
            }
            Effect::Tagged(id, _) => {
                let tags = site.instance(id).map(Instance::own_tags);
                let own = |tag: &str| tags.as_ref().and_then(|tags| tags.get(tag)).is_some();
                let whole = own(tag_keys::FLEET) && own(tag_keys::CONTROLLER) && own(tag_keys::WORKER);
                if let Some(known) = self.standing.get_mut(id) {
                    known.stripped = !whole;
                }
            }
            Effect::Warned(id) => {
                let site = SiteId::new(&site.account, &site.region);
                self.warned.insert(id.clone(), Warning { site, asked: 0, last: now });
            }
            Effect::Stopped(id) => self.canaries.stopped(id),
            Effect::Running(_) | Effect::Terminated(_) => {}
        }
        self.happened.push_back((now, SiteId::new(&site.account, &site.region), effect.clone()));
    }
}

/// What its launch call says under a tag.
fn tag_of<'a>(instance: &'a Instance, key: &str) -> Option<&'a str> {
    instance.params.tags.get(&TagTarget::Instance)?.get(key).map(String::as_str)
}

/// The worker that an instance was launched for, if it was launched by us.
pub(super) fn identity(instance: &Instance) -> Option<String> {
    let tags = instance.launch_tags();
    let is = |key: &str, value: &str| tags.get(key) == Some(value);
    let ours = is(tag_keys::FLEET, FLEET) && is(tag_keys::CONTROLLER, CONTROLLER) && tags.get(STRANGE).is_none();
    tags.get(tag_keys::WORKER).filter(|_| ours).map(ToOwned::to_owned)
}

/// Tells the truth of everything that happens in the cloud.
pub(super) struct Judge(pub(super) Arc<Mutex<Truth>>);

impl Watcher for Judge {
    fn saw(&mut self, now: DateTime<Utc>, site: &Site, effect: &Effect) {
        lock(&self.0).saw(now, site, effect);
    }

    fn answered(&mut self, now: DateTime<Utc>, request: &Request<'_>, error: Option<&ApiError>) {
        if request.action == "DescribeInstances" && request.subject.is_empty() {
            lock(&self.0).listed(now, request.place);
        }
        if request.action == "DescribeSpotInstanceRequests" && error.is_none() {
            lock(&self.0).spot_requests_told(now, request.place);
        }
        if request.action == "StartInstances"
            && error.is_none()
            && let Ok(started) = request.subject.parse::<InstanceId>()
        {
            lock(&self.0).unanswered.remove(&started);
        }
        if request.action == "RunInstances" {
            let elsewhere = |error: &ApiError| kind_of(&error.code, error.status) == FailureKind::Elsewhere;
            let answer = match error {
                None => "ok",
                Some(error) if elsewhere(error) => "elsewhere",
                Some(error) => &error.code,
            };
            let workers = request.subject.split(' ').map(|worker| (worker.to_owned(), answer.to_owned()));
            lock(&self.0).answers.extend(workers);
        }
    }
}
