//! The truth of a simulated account: instances, tokens, and the faults that wait to happen.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};

use crate::cloud::CloudError;
use crate::model::{
    ClientToken, FailureKind, Instance, InstanceId, InstanceState, Inventory, LaunchSpec, Place, ShutdownBehavior,
    tag_keys,
};

/// From the launch to `running`.
const PENDING: TimeDelta = TimeDelta::seconds(4);
/// From the call to `terminated` or `stopped`.
const ENDING: TimeDelta = TimeDelta::seconds(6);
/// How long a terminated instance is shown.
const SHOWN_AFTER: TimeDelta = TimeDelta::minutes(60);

/// The calls that a fault may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the calls")]
pub enum ApiCall {
    Account,
    Inventory,
    Launch,
    Terminate,
    Stop,
    Start,
    Renew,
}

/// What may happen to the next call of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Refused with this kind and code; nothing was done.
    Refuse(FailureKind, &'static str),
    /// Done, and the answer is lost.
    LoseReply,
    /// Not done, and never answered.
    Hang,
}

/// An instance of the simulated account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimInstance {
    /// Its id.
    pub id: InstanceId,
    /// What it was launched with.
    pub spec: LaunchSpec,
    /// The token it was launched with.
    pub token: ClientToken,
    /// When it was last launched or started.
    pub started: DateTime<Utc>,
    /// Since when it is on its way to stopped.
    pub stopping: Option<DateTime<Utc>>,
    /// Since when it is on its way out, and why.
    pub ending: Option<(DateTime<Utc>, String)>,
    /// Whether every listing hides it: eventual consistency.
    pub hidden: bool,
}

/// One account in one region.
#[derive(Debug, Clone, Default)]
pub struct World {
    instances: BTreeMap<InstanceId, SimInstance>,
    tokens: BTreeMap<ClientToken, InstanceId>,
    faults: BTreeMap<ApiCall, VecDeque<Fault>>,
    calls: Vec<(DateTime<Utc>, ApiCall)>,
    account: String,
    /// Whether `ClientToken` is honoured; moto and LocalStack do not.
    pub ignores_tokens: bool,
}

impl SimInstance {
    /// Its state at a time.
    pub fn state(&self, now: DateTime<Utc>) -> InstanceState {
        if let Some((since, _)) = &self.ending {
            return if now < *since + ENDING { InstanceState::ShuttingDown } else { InstanceState::Terminated };
        }
        if let Some(since) = self.stopping {
            return if now < since + ENDING { InstanceState::Stopping } else { InstanceState::Stopped };
        }
        if now < self.started + PENDING { InstanceState::Pending } else { InstanceState::Running }
    }

    fn shown(&self, now: DateTime<Utc>) -> bool {
        !self.hidden && self.ending.as_ref().is_none_or(|(since, _)| now < *since + SHOWN_AFTER)
    }

    fn seen(&self, now: DateTime<Utc>) -> Instance {
        Instance {
            id: self.id.clone(),
            state: self.state(now),
            ami: Some(self.spec.ami.clone()),
            instance_type: self.spec.offering.instance_type.clone(),
            zone: match &self.spec.offering.place {
                Place::Zone(zone) => Some(zone.clone()),
                Place::Anywhere | Place::Subnet(_) => format!("{}a", self.spec.region).parse().ok(),
            },
            launch_time: Some(self.started),
            token: Some(self.token.clone()),
            addresses: vec!["10.0.0.1".to_owned()],
            state_reason: self.ending.as_ref().map(|(_, reason)| reason.clone()),
            tags: self.spec.tags.clone(),
        }
    }
}

impl World {
    /// An empty account.
    pub fn new(account: &str) -> Self {
        Self { account: account.to_owned(), ..Self::default() }
    }

    /// Lets something happen to the next call of this kind; several wait in line.
    pub fn inject(&mut self, call: ApiCall, fault: Fault) {
        self.faults.entry(call).or_default().push_back(fault);
    }

    /// Every call so far, faulty ones included.
    pub fn calls(&self, of: ApiCall) -> usize {
        self.calls.iter().filter(|(_, call)| *call == of).count()
    }

    /// Every instance that ever was.
    pub fn all(&self) -> impl Iterator<Item = &SimInstance> {
        self.instances.values()
    }

    /// The instances that cost something now.
    pub fn costing(&self, now: DateTime<Utc>) -> Vec<&SimInstance> {
        let over = |i: &&SimInstance| matches!(i.state(now), InstanceState::ShuttingDown | InstanceState::Terminated);
        self.instances.values().filter(|instance| !over(instance)).collect()
    }

    /// A third party, EC2 itself or the guest ends an instance.
    pub fn end_from_outside(&mut self, id: &InstanceId, now: DateTime<Utc>, reason: &str) {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.ending.get_or_insert_with(|| (now, reason.to_owned()));
        }
    }

    /// The guest powers itself off.
    pub fn power_off(&mut self, id: &InstanceId, now: DateTime<Utc>) {
        let Some(instance) = self.instances.get_mut(id) else { return };
        match instance.spec.shutdown {
            ShutdownBehavior::Terminate => {
                instance.ending.get_or_insert_with(|| (now, "Client.InstanceInitiatedShutdown".to_owned()));
            }
            ShutdownBehavior::Stop => {
                instance.stopping.get_or_insert(now);
            }
        }
    }

    /// Changes an instance in a way that EC2 could.
    pub fn change(&mut self, id: &InstanceId, change: impl FnOnce(&mut SimInstance)) {
        if let Some(instance) = self.instances.get_mut(id) {
            change(instance);
        }
    }

    pub(super) fn account(&self) -> String {
        self.account.clone()
    }

    /// Counts a call and takes the fault that waits for it.
    pub(super) fn meet(&mut self, call: ApiCall, now: DateTime<Utc>) -> Option<Fault> {
        self.calls.push((now, call));
        self.faults.get_mut(&call).and_then(VecDeque::pop_front)
    }

    /// By the fleet's tag, or by these ids.
    pub(super) fn list(&self, now: DateTime<Utc>, observed_at: DateTime<Utc>, ids: Option<&[InstanceId]>) -> Inventory {
        let asked = |instance: &&SimInstance| match ids {
            Some(ids) => ids.contains(&instance.id),
            None => instance.spec.tags.get(tag_keys::FLEET).is_some(),
        };
        let shown = self.instances.values().filter(|instance| instance.shown(now)).filter(asked);
        let instances = shown.map(|instance| (instance.id.clone(), instance.seen(now))).collect();
        Inventory { observed_at, complete: true, instances }
    }

    /// Launches, or gives what the token already gave.
    pub fn launch(
        &mut self,
        spec: &LaunchSpec,
        token: &ClientToken,
        now: DateTime<Utc>,
    ) -> Result<InstanceId, CloudError> {
        if let Some(known) = self.tokens.get(token).filter(|_| !self.ignores_tokens) {
            let instance = &self.instances[known];
            if instance.spec != *spec {
                return Err(refused(FailureKind::Bug, "IdempotentParameterMismatch"));
            }
            if instance.ending.is_some() {
                return Err(refused(FailureKind::AttemptOver, "IdempotentInstanceTerminated"));
            }
            return Ok(known.clone());
        }
        let id = self.next_id(spec)?;
        let instance = SimInstance {
            id: id.clone(),
            spec: spec.clone(),
            token: token.clone(),
            started: now,
            stopping: None,
            ending: None,
            hidden: false,
        };
        self.instances.insert(id.clone(), instance);
        self.tokens.insert(token.clone(), id.clone());
        Ok(id)
    }

    /// Ids differ between accounts and regions, as EC2's do.
    fn next_id(&self, spec: &LaunchSpec) -> Result<InstanceId, CloudError> {
        let place = ClientToken::derive(&[&self.account, spec.region.as_str()]);
        let place = place.as_str().rsplit('-').next().unwrap_or_default();
        let text = format!("i-{}{:07x}", &place[..10.min(place.len())], self.instances.len() + 1);
        text.parse().map_err(|_| refused(FailureKind::Bug, "NoId"))
    }

    fn existing(&mut self, id: &InstanceId, now: DateTime<Utc>) -> Result<&mut SimInstance, CloudError> {
        let found = self.instances.get_mut(id).filter(|instance| instance.shown(now));
        found.ok_or_else(|| refused(FailureKind::NotFound, "InvalidInstanceID.NotFound"))
    }

    pub(super) fn terminate(&mut self, id: &InstanceId, now: DateTime<Utc>) -> Result<(), CloudError> {
        let instance = self.existing(id, now)?;
        instance.ending.get_or_insert_with(|| (now, "Client.UserInitiatedShutdown".to_owned()));
        Ok(())
    }

    pub(super) fn stop(&mut self, id: &InstanceId, now: DateTime<Utc>) -> Result<(), CloudError> {
        let instance = self.existing(id, now)?;
        match instance.state(now) {
            InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => {
                instance.stopping.get_or_insert(now);
                Ok(())
            }
            _ => Err(refused(FailureKind::RetrySame, "IncorrectInstanceState")),
        }
    }

    pub(super) fn start(&mut self, id: &InstanceId, now: DateTime<Utc>) -> Result<(), CloudError> {
        let instance = self.existing(id, now)?;
        match instance.state(now) {
            InstanceState::Stopped => {
                instance.stopping = None;
                instance.started = now;
                Ok(())
            }
            InstanceState::Running | InstanceState::Pending => Ok(()),
            _ => Err(refused(FailureKind::RetrySame, "IncorrectInstanceState")),
        }
    }

    pub(super) fn renew(
        &mut self,
        ids: &[InstanceId],
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), CloudError> {
        for id in ids {
            self.existing(id, now)?.spec.tags.set_time(tag_keys::LEASE, until);
        }
        Ok(())
    }
}

pub(super) fn refused(kind: FailureKind, code: &str) -> CloudError {
    CloudError { kind, code: code.to_owned(), message: format!("the simulated EC2 says {code}") }
}
