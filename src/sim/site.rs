//! One simulated account in one region: what it holds, and how it moves on in time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::address::Address;
use super::bill::Bill;
use super::bucket::Buckets;
use super::commands::{Agent, Command};
use super::error::ApiError;
use super::fleet::{Fleet, Template};
use super::image::{Image, ImageFate};
use super::instance::{Facts, Instance, MetadataDefaults, REPLICAS, Reason, RunInstances};
use super::interface::Interface;
use super::key::KeyPair;
use super::latency::Latency;
use super::network::Network;
use super::pace::Pace;
use super::snapshot::Snapshot;
use super::spot::SpotRequest;
use super::trail::TrailBook;
use super::volume::Volume;
use super::weather::{Fault, Weather};
use crate::model::{CommandId, InstanceId};

/// How long a fault holds that is counted by the share of time.
const WINDOW: TimeDelta = TimeDelta::minutes(10);

/// Who did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// Whoever calls the API with the account's credentials.
    Caller,
    /// The system inside the instance.
    Guest,
    /// Somebody else with access to the account.
    ThirdParty,
    /// EC2 itself.
    Ec2,
}

/// Something that happened to an instance, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It was launched.
    Launched(InstanceId),
    /// It was started again.
    Started(InstanceId, By),
    /// It runs.
    Running(InstanceId),
    /// It is stopping.
    Stopping(InstanceId, By),
    /// It is shutting down.
    Ending(InstanceId, By),
    /// It is stopped.
    Stopped(InstanceId),
    /// It is terminated.
    Terminated(InstanceId),
    /// Its tags changed.
    Tagged(InstanceId, By),
    /// EC2 says that it takes it back.
    Warned(InstanceId),
}

impl Effect {
    /// What happened, to which instance, by whom.
    pub fn words(&self) -> (&'static str, &InstanceId, &'static str) {
        match self {
            Effect::Launched(id) => ("is launched", id, ""),
            Effect::Started(id, by) => ("is started", id, by.word()),
            Effect::Running(id) => ("runs", id, ""),
            Effect::Stopping(id, by) => ("is stopping", id, by.word()),
            Effect::Ending(id, by) => ("is shutting down", id, by.word()),
            Effect::Stopped(id) => ("is stopped", id, ""),
            Effect::Terminated(id) => ("is terminated", id, ""),
            Effect::Tagged(id, by) => ("is tagged", id, by.word()),
            Effect::Warned(id) => ("is told of its interruption", id, ""),
        }
    }
}

impl By {
    fn word(self) -> &'static str {
        match self {
            By::Caller => "by a caller",
            By::Guest => "by its guest",
            By::ThirdParty => "by a third party",
            By::Ec2 => "by EC2",
        }
    }
}

/// What is to happen at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A transition of an instance; it holds only in the epoch it was scheduled in.
    Instance(InstanceId, u32),
    /// Somebody else, or EC2, does something to it; likewise.
    Stroke(InstanceId, u32),
    /// The tags of an instance that has ended vanish.
    TagsVanish(InstanceId),
    /// An instance that has ended is shown no longer.
    Vanish(InstanceId),
    /// A pending image is ready, or one that was deregistered is shown no longer.
    Image(String),
    /// EC2 takes a spot instance back, as it said.
    Interruption(InstanceId, u32),
    /// A spot request may be fulfilled.
    Spot(String),
}

/// The first use of the token of a call that launches nothing: what it said, and what it made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    said: u64,
    ids: Vec<String>,
}

/// The first use of a token.
#[derive(Debug, Clone)]
pub(super) struct TokenUse {
    pub(super) params: Arc<RunInstances>,
    pub(super) instances: Vec<InstanceId>,
}

/// One account in one region.
#[derive(Debug)]
pub struct Site {
    /// The account's number.
    pub account: Arc<str>,
    /// The region's name.
    pub region: Arc<str>,
    pub(super) weather: Arc<Weather>,
    pub(super) seed: u64,
    pub(super) random: fastrand::Rng,
    pub(super) buckets: Buckets,
    pub(super) bill: Bill,
    pub(super) trail: TrailBook,
    pub(super) tokens: BTreeMap<String, TokenUse>,
    made: BTreeMap<(&'static str, String), Made>,
    pub(super) instances: BTreeMap<InstanceId, Instance>,
    pub(super) past: BTreeMap<InstanceId, Instance>,
    pub(super) effects: Vec<(DateTime<Utc>, Effect)>,
    /// Launches that were accepted and will fail.
    pub(super) failing: BTreeMap<InstanceId, Reason>,
    due: BTreeSet<(DateTime<Utc>, u64, Due)>,
    counter: u64,
    digits: String,
    /// Network: zones, subnets, groups.
    pub network: Network,
    /// Images by id.
    pub images: BTreeMap<String, Image>,
    /// What becomes of the images that are made next, the first of them first.
    pub image_fates: VecDeque<ImageFate>,
    /// Pending images that will come to nothing.
    pub(super) failing_images: BTreeSet<String>,
    /// Volumes by id.
    pub volumes: BTreeMap<String, Volume>,
    /// Snapshots by id.
    pub snapshots: BTreeMap<String, Snapshot>,
    /// Network interfaces by id.
    pub interfaces: BTreeMap<String, Interface>,
    /// Elastic addresses by the id of their allocation.
    pub addresses: BTreeMap<String, Address>,
    /// Key pairs by name.
    pub keys: BTreeMap<String, KeyPair>,
    /// Launch templates by id.
    pub templates: BTreeMap<String, Template>,
    /// Fleets by the token they were asked with.
    pub fleets: BTreeMap<String, Fleet>,
    /// Spot requests by id.
    pub spot_requests: BTreeMap<String, SpotRequest>,
    /// The SSM agents that ever registered.
    pub(super) agents: BTreeMap<InstanceId, Agent>,
    /// The commands that were sent to them.
    pub(super) commands: BTreeMap<CommandId, Command>,
    /// The quota of virtual CPUs of running instances.
    pub quota_vcpus: u32,
    /// The account's defaults for instance metadata.
    pub metadata_defaults: MetadataDefaults,
    /// What a measurement fixes.
    pub(super) pace: Pace,
    /// Whether everything takes the same time each time.
    pub(super) steady: bool,
    /// Whether `ClientToken` means nothing, as with moto and LocalStack.
    pub ignores_tokens: bool,
    /// Whether any well-formed AMI and any instance type is taken to exist.
    pub lenient: bool,
}

impl Site {
    pub(super) fn new(account: &str, region: &str, seed: u64, weather: Arc<Weather>) -> Self {
        let own = hash(&(seed, account, region));
        let digits = format!("{:010x}", own & 0xff_ffff_ffff);
        Self {
            account: account.into(),
            region: region.into(),
            weather,
            seed: own,
            random: fastrand::Rng::with_seed(own),
            buckets: Buckets::default(),
            bill: Bill::default(),
            trail: TrailBook::default(),
            tokens: BTreeMap::new(),
            made: BTreeMap::new(),
            instances: BTreeMap::new(),
            past: BTreeMap::new(),
            effects: Vec::new(),
            failing: BTreeMap::new(),
            due: BTreeSet::new(),
            counter: 0,
            network: Network::new(region, &digits),
            digits,
            images: BTreeMap::new(),
            image_fates: VecDeque::new(),
            failing_images: BTreeSet::new(),
            volumes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            addresses: BTreeMap::new(),
            keys: BTreeMap::new(),
            templates: BTreeMap::new(),
            fleets: BTreeMap::new(),
            spot_requests: BTreeMap::new(),
            agents: BTreeMap::new(),
            commands: BTreeMap::new(),
            quota_vcpus: 256,
            metadata_defaults: MetadataDefaults::default(),
            pace: Pace::default(),
            steady: false,
            ignores_tokens: false,
            lenient: false,
        }
    }

    /// An id of 17 hexadecimal digits that no other account or region gives.
    pub(super) fn new_id(&mut self, prefix: &str) -> String {
        self.counter += 1;
        format!("{prefix}-{}{:07x}", self.digits, self.counter)
    }

    pub(super) fn schedule(&mut self, at: DateTime<Utc>, due: Due) {
        self.counter += 1;
        self.due.insert((at, self.counter, due));
    }

    /// What an action makes, once for each token: a second call that says the same gets the same ids.
    ///
    /// # Errors
    /// `IdempotentParameterMismatch`, and those of making it.
    pub(super) fn once(
        &mut self,
        action: &'static str,
        token: Option<&str>,
        said: &impl Hash,
        make: impl FnOnce(&mut Self) -> Result<Vec<String>, ApiError>,
    ) -> Result<Vec<String>, ApiError> {
        let Some(token) = token else { return make(self) };
        let (key, said) = ((action, token.to_owned()), hash(said));
        if let Some(known) = self.made.get(&key).filter(|_| !self.ignores_tokens) {
            if known.said == said {
                return Ok(known.ids.clone());
            }
            let message = "The request uses the same client token as a previous, but non-identical request.";
            return Err(ApiError::client("IdempotentParameterMismatch", message));
        }
        let ids = make(self)?;
        self.made.insert(key, Made { said, ids: ids.clone() });
        Ok(ids)
    }

    /// When something happens next by itself.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        self.due.first().map(|(at, _, _)| *at)
    }

    /// Everything that is due up to now happens, each at its own time.
    pub fn advance(&mut self, now: DateTime<Utc>) {
        while self.due.first().is_some_and(|(at, _, _)| *at <= now) {
            let Some((at, _, due)) = self.due.pop_first() else { return };
            match due {
                Due::Instance(id, epoch) => self.instance_moves_on(&id, epoch, at),
                Due::Stroke(id, epoch) => self.stroke(&id, epoch, at),
                Due::Image(id) => self.image_moves_on(&id),
                Due::Interruption(id, epoch) => self.interruption(&id, epoch, at),
                Due::Spot(id) => self.spot_moves_on(&id, at),
                Due::TagsVanish(id) => self.tags_vanish(&id, at),
                Due::Vanish(id) => {
                    if let Some(instance) = self.instances.remove(&id) {
                        self.past.insert(id, instance);
                    }
                }
            }
        }
    }

    /// A pending image is ready at this time and not before, however long EC2 would have taken.
    pub fn image_takes_until(&mut self, id: &str, at: DateTime<Utc>) {
        let due = Due::Image(id.to_owned());
        self.due.retain(|(_, _, other)| *other != due);
        self.schedule(at, due);
    }

    /// Whether a fault happens this time; its rate is a chance.
    pub(super) fn chance(&mut self, fault: Fault) -> bool {
        let rate = self.weather.rate(fault);
        rate > 0.0 && self.random.f64() < rate
    }

    /// Whether a fault holds now for something; its rate is a share of the time.
    pub(super) fn holds(&self, fault: Fault, of: &str, now: DateTime<Utc>) -> bool {
        let rate = self.weather.rate(fault);
        if rate <= 0.0 {
            return false;
        }
        let window = now.timestamp() / WINDOW.num_seconds();
        let drawn = hash(&(self.seed, fault.name(), of, window));
        #[expect(clippy::cast_precision_loss, reason = "a chance needs no 64 bits")]
        let drawn = (drawn >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < rate
    }

    /// How late each replica learns of a change.
    pub(super) fn delays(&mut self) -> [TimeDelta; REPLICAS] {
        if self.weather.rate(Fault::Lag) <= 0.0 {
            return [TimeDelta::zero(); REPLICAS];
        }
        [(); REPLICAS].map(|()| {
            if !self.chance(Fault::Lag) {
                return TimeDelta::milliseconds(self.random.i64(0..300));
            }
            let milliseconds = match self.random.u8(0..100) {
                0..=79 => self.random.i64(300..1_000),
                80..=97 => self.random.i64(1_000..10_000),
                98 => self.random.i64(10_000..60_000),
                _ => self.random.i64(60_000..300_000),
            };
            TimeDelta::milliseconds(milliseconds)
        })
    }

    /// The replica that answers the next read.
    pub(super) fn replica(&mut self) -> usize {
        if self.weather.rate(Fault::Lag) <= 0.0 { 0 } else { self.random.usize(0..REPLICAS) }
    }

    /// How long something takes this time.
    pub(super) fn draw(&mut self, latency: Latency) -> TimeDelta {
        self.pace.of(latency).unwrap_or_else(|| latency.draw(self.steady, &mut self.random))
    }

    /// Something happened; whoever watches is told before the call returns.
    pub(super) fn happened(&mut self, now: DateTime<Utc>, effect: Effect) {
        self.effects.push((now, effect));
    }

    /// Tokens of the request bucket and of the resource bucket, or EC2's refusal.
    pub(super) fn take(
        &mut self,
        action: &'static str,
        paged: bool,
        resources: u32,
        now: DateTime<Utc>,
    ) -> Result<(), ApiError> {
        if self.pace.unthrottled {
            return Ok(());
        }
        let taken = self.buckets.take_request(action, paged, now)
            && (resources == 0 || self.buckets.take_resources(action, resources, now));
        if taken { Ok(()) } else { Err(ApiError::throttled(&self.account, action)) }
    }

    /// The instances that are not gone from every listing; ended ones stay for about an hour.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values()
    }

    /// An instance that is not gone from every listing.
    pub fn shown(&self, id: &InstanceId) -> Option<&Instance> {
        self.instances.get(id)
    }

    /// An instance, however long ago it ended.
    pub fn instance(&self, id: &InstanceId) -> Option<&Instance> {
        self.instances.get(id).or_else(|| self.past.get(id))
    }

    /// Every instance that ever was.
    pub fn ever(&self) -> impl Iterator<Item = &Instance> {
        self.past.values().chain(self.instances.values())
    }

    /// The instances that cost something, or are about to.
    pub fn costing(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().filter(|instance| !instance.is_over())
    }

    /// Whether a listing of this zone, or of all, can be given at all.
    ///
    /// # Errors
    /// `Unavailable` while a zone is out that the listing does not leave aside.
    pub fn describe_instances(&self, zone: Option<&str>, now: DateTime<Utc>) -> Result<(), ApiError> {
        let named = |of: &&String| zone.is_none_or(|zone| zone == of.as_str());
        match self.network.zones.iter().filter(named).find(|zone| self.holds(Fault::ZoneOutage, zone, now)) {
            Some(zone) => {
                Err(ApiError { status: 503, ..ApiError::server("Unavailable", format!("{zone} does not answer.")) })
            }
            None => Ok(()),
        }
    }

    /// Whether nothing that lasts keeps a caller from listing and ending instances.
    pub fn in_order(&self, now: DateTime<Utc>) -> bool {
        !self.holds(Fault::CredentialsExpired, "", now)
            && !self.holds(Fault::RoleDenied, "", now)
            && self.describe_instances(None, now).is_ok()
    }

    /// Lets every replica show an instance so, until it changes again: a read that went backwards.
    pub fn show(&mut self, id: &InstanceId, now: DateTime<Utc>, facts: Facts) {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.show(now, facts);
        }
    }

    /// Lets no replica show an instance, or all of them again: a listing that lags without end.
    pub fn hide(&mut self, id: &InstanceId, hidden: bool) {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.hidden = hidden;
        }
    }

    /// The ids of everything that costs, or soon would, without belonging to an instance.
    pub fn left_over(&self) -> Vec<&str> {
        let volumes = self.volumes.values().filter(|volume| volume.attachment.is_none()).map(|v| v.id.as_str());
        let interfaces = self.interfaces.values().filter(|i| i.instance.is_none()).map(|i| i.id.as_str());
        let open = self.spot_requests.values().filter(|request| request.state.word() == "open");
        let addresses = self.addresses.keys().map(String::as_str);
        volumes.chain(interfaces).chain(open.map(|request| request.id.as_str())).chain(addresses).collect()
    }

    /// What the account pays.
    pub fn bill(&self) -> &Bill {
        &self.bill
    }
}

/// Whether a text is an id of this kind: 8 or 17 hexadecimal digits after the prefix.
pub(super) fn well_formed(text: &str, prefix: &str) -> bool {
    let digits = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    digits.is_some_and(|digits| {
        matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// A number from anything, the same in every process.
pub(super) fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The wait for an event of this rate per hour.
pub(super) fn exponential(random: &mut fastrand::Rng, rate: f64) -> TimeDelta {
    let hours = -(1.0 - random.f64()).ln() / rate;
    #[expect(clippy::cast_possible_truncation, reason = "a wait of at most a year in milliseconds fits")]
    let milliseconds = (hours.min(8_760.0) * 3_600_000.0) as i64;
    TimeDelta::milliseconds(milliseconds)
}
