//! Mistakes that are made on purpose, at the doors of the real code: each must be found, or the checks
//! prove nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::slice;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};

use super::life::lock;
use crate::cloud::{Cloud, CloudError};
use crate::control::Clock;
use crate::model::{
    Ami, AmiCandidate, AmiId, AmiQuery, ClientToken, DataVolume, ElasticIp, FailureKind, InstanceId, Inventory,
    LaunchSpec, Region, Resource, ResourceId, ResourceKind, StopMode, TagSet, tag_keys,
};
use crate::policy::Secret;
use crate::sim::{SimCloud, SiteId, UnknownName};

macro_rules! sabotages {
    ($($variant:ident, $name:literal, $what:literal;)*) => {
        /// A mistake.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Sabotage {
            $(#[doc = $what] $variant,)*
        }

        impl Sabotage {
            /// All of them.
            pub const ALL: &'static [Sabotage] = &[$(Sabotage::$variant,)*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Sabotage::$variant => $name,)* }
            }

            /// What is done wrong.
            pub fn what(self) -> &'static str {
                match self { $(Sabotage::$variant => $what,)* }
            }
        }
    };
}

sabotages! {
    CallBeforeIntent, "call-before-intent", "The launch is sent before its intent is durable.";
    NewTokenOnRetry, "new-token-on-retry", "A launch that is sent again has a new token.";
    TagsAfterLaunch, "tags-after-launch", "The launch carries no tags; they are set when it has been answered.";
    NotFoundIsGone, "not-found-is-gone", "An instance that a call does not find is taken for gone.";
    LedgerBeforeCloud, "ledger-before-cloud", "A listing that was read minutes ago is taken for one that was read just now.";
    ShortListing, "short-listing", "A listing whose last page failed is taken for whole.";
    FailedListingIsEmpty, "failed-listing-is-empty", "A listing that failed is taken for an empty one.";
    ThrottleIsNoCapacity, "throttle-is-no-capacity", "A throttled launch counts as no capacity and goes elsewhere.";
    OrphanAtFirstLook, "orphan-at-first-look", "What is not explained at the first look is terminated.";
    StopForgets, "stop-forgets", "An instance is forgotten when its end is asked for, not when it has ended.";
    SecondZoneTooEarly, "second-zone-too-early", "A launch without an answer counts as refused; another zone is tried.";
    StaleTwinAccepted, "stale-twin-accepted", "The master takes a connection from any instance.";
    LeaseNotRenewed, "lease-not-renewed", "A refused renewal of the lease counts as done.";
    BusyIgnored, "busy-ignored", "The controller is not told of builds.";
    SharedBucket, "shared-bucket", "All owners wait in one line for the cloud.";
    PersistentSpot, "persistent-spot", "What was terminated is launched again, as by a persistent spot request.";
    TouchesStrangers, "touches-strangers", "Listings claim that everything in the account is ours.";
    SweepsStrangers, "sweeps-strangers", "A sweep takes every volume of the fleet for the controller's own.";
    NoAdoption, "no-adoption", "Instances of an earlier life are not listed.";
    BuildsOnCanary, "builds-on-canary", "The master runs any build on a canary.";
    NoticeIgnored, "notice-ignored", "What EC2 says of spot requests is read as if nothing were the matter.";
    BudgetIgnored, "budget-ignored", "The controller is not told of the owner's budget.";
    EndsMisread, "ends-misread", "When EC2 stopped or ended an instance is read as ten minutes earlier.";
    HoldNotLifted, "hold-not-lifted", "The controller is not told that an operator lifts a hold.";
    WritingUnbilled, "writing-unbilled", "A hibernation is recorded as a plain stop.";
    UnseededChance, "unseeded-chance", "Something random does not come from the seed.";
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Sabotage {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.iter().find(|sabotage| sabotage.name() == text);
        found.copied().ok_or_else(|| UnknownName { what: "sabotage", name: text.to_owned() })
    }
}

/// What the sabotaged doors of all cells remember together.
#[derive(Debug, Default)]
pub(super) struct Memory {
    gone: BTreeSet<InstanceId>,
    known: BTreeSet<InstanceId>,
    read: VecDeque<(SiteId, Inventory)>,
}

/// By how much the times of ends are misread.
const MISREAD: TimeDelta = TimeDelta::minutes(10);
/// How old a listing is that is taken for new.
const OLD: TimeDelta = TimeDelta::minutes(6);

impl Memory {
    /// The last listing of the same place that is old enough, with the date of this one.
    fn older(&mut self, site: &SiteId, inventory: Inventory) -> Inventory {
        let now = inventory.observed_at;
        self.read.push_back((site.clone(), inventory.clone()));
        let old = |(of, inventory): &&(SiteId, Inventory)| of == site && inventory.observed_at <= now - OLD;
        let older = self.read.iter().rev().find(old).map(|(_, inventory)| inventory.clone());
        self.read.retain(|(_, inventory)| inventory.observed_at > now - OLD * 3);
        Inventory { observed_at: now, ..older.unwrap_or(inventory) }
    }
}

/// A door that may make one mistake; without it, the plain door.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) inner: SimCloud,
    pub(super) sabotage: Option<Sabotage>,
    pub(super) memory: Arc<Mutex<Memory>>,
    pub(super) line: Arc<tokio::sync::Mutex<()>>,
    pub(super) clock: Clock,
    /// The tokens that were ever sent.
    pub(super) tokens: Arc<Mutex<BTreeSet<ClientToken>>>,
}

impl Door {
    fn makes(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    /// Waits in one line with all other owners, if that is the mistake.
    async fn in_line(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if !self.makes(Sabotage::SharedBucket) {
            return None;
        }
        let guard = self.line.lock().await;
        self.clock.sleep_until(self.clock.now() + TimeDelta::seconds(20)).await;
        Some(guard)
    }

    /// What a call that did not find its instance comes to.
    fn found<T: Default>(&self, ids: &[InstanceId], result: Result<T, CloudError>) -> Result<T, CloudError> {
        match result {
            Err(error) if error.kind == FailureKind::NotFound && self.makes(Sabotage::NotFoundIsGone) => {
                lock(&self.memory).gone.extend(ids.iter().cloned());
                Ok(T::default())
            }
            other => other,
        }
    }

    fn falsified(&self, mut inventory: Inventory) -> Inventory {
        let mut memory = lock(&self.memory);
        inventory.instances.retain(|id, _| !memory.gone.contains(id));
        match self.sabotage {
            Some(Sabotage::LedgerBeforeCloud) => return memory.older(self.inner.site(), inventory),
            Some(Sabotage::ShortListing) => drop(inventory.instances.pop_last()),
            Some(Sabotage::NoAdoption) => {
                inventory.instances.retain(|id, _| memory.known.contains(id));
            }
            Some(Sabotage::EndsMisread) => {
                for instance in inventory.instances.values_mut() {
                    for told in [&mut instance.stopped_at, &mut instance.ended_at] {
                        *told = told.map(|told| told - MISREAD);
                    }
                }
            }
            Some(Sabotage::TouchesStrangers) => {
                for (number, instance) in inventory.instances.values_mut().enumerate() {
                    if instance.tags.get("strange").is_some() {
                        instance.tags = claimed(&instance.tags, number);
                    }
                }
            }
            _ => {}
        }
        inventory
    }

    /// What neither this life nor the ledger knows is terminated on the spot.
    async fn kill_unexplained(&self, inventory: &Inventory, also: &[InstanceId]) {
        let known = lock(&self.memory).known.clone();
        for instance in inventory.instances.values() {
            let ours = instance.tags.get(tag_keys::CONTROLLER) == Some(super::scene::CONTROLLER);
            if ours && instance.state.is_live() && !known.contains(&instance.id) && !also.contains(&instance.id) {
                // Refused or not, it will be looked at again.
                drop(self.inner.terminate(&instance.id).await);
            }
        }
    }

    fn misread(&self, mut error: CloudError) -> CloudError {
        let elsewhere = match self.sabotage {
            Some(Sabotage::ThrottleIsNoCapacity) => error.kind == FailureKind::Throttled,
            Some(Sabotage::SecondZoneTooEarly) => error.kind.leaves_outcome_open(),
            _ => false,
        };
        if elsewhere {
            error.kind = FailureKind::Elsewhere;
        }
        error
    }
}

/// Tags that make a stranger look like an instance of ours that nothing explains.
fn claimed(tags: &TagSet, number: usize) -> TagSet {
    let mut own = tags.clone();
    own.set("latent:controller", super::scene::CONTROLLER).set("latent:role", "worker");
    own.set("latent:worker", "w00").set("latent:attempt", format!("9-{number}"));
    own
}

impl Cloud for Door {
    async fn account(&self) -> Result<String, CloudError> {
        self.inner.account().await
    }

    async fn inventory(&self, now: DateTime<Utc>, also: &[InstanceId]) -> Result<Inventory, CloudError> {
        let _line = self.in_line().await;
        match self.inner.inventory(now, also).await {
            Ok(inventory) => {
                if self.makes(Sabotage::OrphanAtFirstLook) {
                    self.kill_unexplained(&inventory, also).await;
                }
                Ok(self.falsified(inventory))
            }
            Err(_) if self.makes(Sabotage::FailedListingIsEmpty) => {
                Ok(Inventory { observed_at: now, complete: true, instances: BTreeMap::new() })
            }
            Err(error) => Err(error),
        }
    }

    async fn launch_all(
        &self,
        spec: &LaunchSpec,
        count: u32,
        user_data: Option<&Secret>,
        token: &ClientToken,
    ) -> Result<Vec<InstanceId>, CloudError> {
        let _line = self.in_line().await;
        let mut spec = spec.clone();
        let again = !lock(&self.tokens).insert(token.clone());
        let token = match self.sabotage {
            Some(Sabotage::NewTokenOnRetry) if again => ClientToken::derive(&[token.as_str(), "again"]),
            _ => token.clone(),
        };
        let tags = spec.tags.clone();
        if self.makes(Sabotage::TagsAfterLaunch) {
            spec.tags = TagSet::default();
            for (key, value) in tags.iter().filter(|(key, _)| key.starts_with(tag_keys::WORKER)) {
                spec.tags.set(key, value);
            }
        }
        let launched = self.inner.launch_all(&spec, count, user_data, &token).await;
        let launched = launched.map_err(|error| self.misread(error))?;
        for id in &launched {
            lock(&self.memory).known.insert(id.clone());
            if self.makes(Sabotage::TagsAfterLaunch) {
                self.inner.tag(id, &tags).await?;
            }
        }
        Ok(launched)
    }

    async fn terminate_all(&self, ids: &[InstanceId]) -> Result<(), CloudError> {
        let _line = self.in_line().await;
        let ended = self.found(ids, self.inner.terminate_all(ids).await);
        if self.makes(Sabotage::StopForgets) {
            lock(&self.memory).gone.extend(ids.iter().cloned());
            return Ok(());
        }
        if self.makes(Sabotage::PersistentSpot) && ended.is_ok() {
            for id in ids {
                self.inner.relaunch(id, self.clock.now());
            }
        }
        ended
    }

    async fn stop(&self, id: &InstanceId, mode: StopMode) -> Result<(), CloudError> {
        let _line = self.in_line().await;
        self.found(slice::from_ref(id), self.inner.stop(id, mode).await)
    }

    async fn start(&self, id: &InstanceId) -> Result<(), CloudError> {
        let _line = self.in_line().await;
        self.found(slice::from_ref(id), self.inner.start(id).await)
    }

    async fn console(&self, id: &InstanceId) -> Result<Option<String>, CloudError> {
        self.inner.console(id).await
    }

    async fn renew(&self, ids: &[InstanceId], until: DateTime<Utc>) -> Result<(), CloudError> {
        let renewed = self.inner.renew(ids, until).await;
        if self.makes(Sabotage::LeaseNotRenewed) { Ok(()) } else { renewed }
    }

    async fn ami_candidates(&self, query: &AmiQuery) -> Result<Vec<AmiCandidate>, CloudError> {
        self.inner.ami_candidates(query).await
    }

    async fn associate_address(&self, address: &ElasticIp, to: &InstanceId) -> Result<String, CloudError> {
        self.inner.associate_address(address, to).await
    }

    async fn attach_volume(&self, volume: &DataVolume, to: &InstanceId) -> Result<(), CloudError> {
        self.inner.attach_volume(volume, to).await
    }

    async fn create_image(&self, of: &InstanceId, name: &str, tags: &TagSet) -> Result<AmiId, CloudError> {
        self.inner.create_image(of, name, tags).await
    }

    async fn images(&self, now: DateTime<Utc>) -> Result<Vec<Ami>, CloudError> {
        self.inner.images(now).await
    }

    async fn retire_image(&self, id: &AmiId) -> Result<(), CloudError> {
        self.inner.retire_image(id).await
    }

    async fn resources(
        &self,
        kind: ResourceKind,
        only: Option<&[ResourceId]>,
        now: DateTime<Utc>,
    ) -> Result<BTreeMap<ResourceId, Resource>, CloudError> {
        let mut found = self.inner.resources(kind, only, now).await?;
        if self.makes(Sabotage::NoticeIgnored) {
            for resource in found.values_mut() {
                if let Resource::SpotRequest(_, request) = resource {
                    "fulfilled".clone_into(&mut request.status);
                }
            }
        }
        if !self.makes(Sabotage::SweepsStrangers) {
            return Ok(found);
        }
        let own = found.into_iter().map(|(id, resource)| match resource {
            Resource::Volume(mut tags, volume) => {
                tags.set(tag_keys::CONTROLLER, super::scene::CONTROLLER);
                (id, Resource::Volume(tags, volume))
            }
            other => (id, other),
        });
        Ok(own.collect())
    }

    async fn remove(&self, id: &ResourceId) -> Result<(), CloudError> {
        self.inner.remove(id).await
    }

    async fn mark_leftovers(&self, ids: &[ResourceId], mark: &str) -> Result<(), CloudError> {
        self.inner.mark_leftovers(ids, mark).await
    }

    async fn regions(&self) -> Result<Vec<Region>, CloudError> {
        self.inner.regions().await
    }
}
