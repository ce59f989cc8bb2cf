//! What a running instance is given beside what its launch brings: an elastic IP address, volumes of the
//! owner's. The listing is compared with what it was launched with; what is missing is given.
//!
//! Nothing is ever taken from where it is: neither an address nor a volume that something else has. Both go
//! free by themselves when their instance ends.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::View;
use crate::model::{
    Action, Equipment, Failure, FailureKind, HeldReason, Instance, InstanceId, InstanceState, Phase, Worker,
    WorkerName, WorkerState, tag_keys,
};

/// What was given shows within this; before that it is not given once more.
const SHOWS_WITHIN: TimeDelta = TimeDelta::seconds(10);

/// Which calls are on their way, and which wait after a refusal. Lost at a restart, and then begun anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EquipCalls(BTreeMap<(InstanceId, Equipment), Tried>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tried {
    in_flight: bool,
    refusals: u32,
    not_before: Option<DateTime<Utc>>,
}

impl EquipCalls {
    /// A call is sent.
    pub fn sent(&mut self, instance: &InstanceId, what: &Equipment) {
        self.0.entry((instance.clone(), what.clone())).or_default().in_flight = true;
    }

    /// It was done.
    pub fn done(&mut self, instance: &InstanceId, what: &Equipment, now: DateTime<Utc>) {
        let tried = Tried { not_before: Some(now + SHOWS_WITHIN), ..Tried::default() };
        self.0.insert((instance.clone(), what.clone()), tried);
    }

    /// It was refused; how often in a row, this time included.
    pub fn refused(&mut self, instance: &InstanceId, what: &Equipment) -> u32 {
        let tried = self.0.entry((instance.clone(), what.clone())).or_default();
        tried.in_flight = false;
        tried.refusals += 1;
        tried.refusals
    }

    /// It is not sent again before this time.
    pub fn wait(&mut self, instance: &InstanceId, what: &Equipment, until: DateTime<Utc>) {
        self.0.entry((instance.clone(), what.clone())).or_default().not_before = Some(until);
    }

    /// Forgets the instances that are not among these.
    pub fn keep(&mut self, there: impl Fn(&InstanceId) -> bool) {
        self.0.retain(|(id, _), tried| tried.in_flight || there(id));
    }

    /// When the next call may be sent that waits now.
    pub fn next(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.0.values().filter_map(|tried| tried.not_before).filter(|at| *at > now).min()
    }

    fn may_be_sent(&self, instance: &InstanceId, what: &Equipment, now: DateTime<Utc>) -> bool {
        let tried = self.0.get(&(instance.clone(), what.clone()));
        tried.is_none_or(|tried| !tried.in_flight && tried.not_before.is_none_or(|at| at <= now))
    }
}

/// What a worker's instance shall have: by its launch, or by the manifest where no record of that is left.
fn wanted(view: &View<'_>, name: &WorkerName, worker: &Worker) -> Vec<Equipment> {
    match worker.attempt.as_ref().map(|attempt| &attempt.spec) {
        Some(Some(spec)) => spec.equipment(),
        Some(None) => {
            let image = view.intent.workers.get(name).and_then(|worker| view.intent.images.get(&worker.image));
            image.map(crate::policy::Image::equipment).unwrap_or_default()
        }
        None => Vec::new(),
    }
}

fn has(worker: &Worker, instance: &Instance, what: &Equipment) -> bool {
    match what {
        Equipment::Volume(volume) => instance.parts.has_volume(volume.id.as_str()),
        Equipment::Address(address) => {
            let told = worker.equipping.given.get(what).and_then(|(_, ip)| ip.as_deref());
            let ip = told.unwrap_or(address.as_str());
            instance.addresses.iter().any(|own| own == ip)
        }
    }
}

/// What an instance that was seen running lacks by a listing that would show it.
fn missing(view: &View<'_>, name: &WorkerName, worker: &Worker, id: &InstanceId) -> Vec<Equipment> {
    let Some(inventory) = view.inventory else { return Vec::new() };
    let Some(instance) = inventory.instances.get(id).filter(|one| one.state == InstanceState::Running) else {
        return Vec::new();
    };
    let told = |what: &&Equipment| worker.equipping.given.get(*what).is_none_or(|(at, _)| inventory.observed_at >= *at);
    let wanted = wanted(view, name, worker);
    wanted.iter().filter(told).filter(|what| !has(worker, instance, what)).cloned().collect()
}

/// Another instance of the listing that has it, or had it a moment ago: it goes free when that has ended.
fn held_by<'a>(view: &View<'a>, worker: &Worker, id: &InstanceId, what: &Equipment) -> Option<&'a Instance> {
    let others = view.inventory?.instances.values().filter(|other| other.id != *id);
    others.filter(|other| other.state != InstanceState::Terminated).find(|other| has(worker, other, what))
}

fn in_use(worker: &Worker) -> Option<&InstanceId> {
    match &worker.state {
        WorkerState::Registering { instance }
        | WorkerState::Ready { instance, .. }
        | WorkerState::Busy { instance, .. } => Some(instance),
        WorkerState::Requested
        | WorkerState::Launching { .. }
        | WorkerState::Draining { .. }
        | WorkerState::Terminating { .. }
        | WorkerState::Stopped { .. }
        | WorkerState::Gone { .. } => None,
    }
}

/// The calls that give running instances of this cell what they lack.
pub(super) fn actions(view: &View<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    for name in view.workers() {
        let Some(worker) = view.fleet.workers.get(name).filter(|worker| worker.running) else { continue };
        let Some(id) = in_use(worker).filter(|_| worker.released.is_none()) else { continue };
        for what in missing(view, name, worker, id) {
            if held_by(view, worker, id, &what).is_none() && view.equip_calls.may_be_sent(id, &what, view.now) {
                actions.push(Action::Equip { worker: name.clone(), instance: id.clone(), what });
            }
        }
    }
    actions
}

/// Until when a worker's instance may lack something, and why that is, if it lacks something.
pub(super) fn waiting(view: &View<'_>, name: &WorkerName, worker: &Worker, until: DateTime<Utc>) -> Option<HeldReason> {
    let id = in_use(worker)?;
    let what = missing(view, name, worker, id).into_iter().next()?;
    let why = match (held_by(view, worker, id, &what), worker.equipping.refused.get(&what)) {
        (Some(other), _) => format!(", which {} has", other.id),
        (None, Some(failure)) => format!(" ({})", failure.code),
        (None, None) => String::new(),
    };
    Some(HeldReason::Equipping { what, why, until })
}

/// Whether the time is over in which an instance must have this: from its launch or start, or from when it was
/// first tried to give it once more what it had.
fn overdue(view: &View<'_>, name: &WorkerName, worker: &Worker, what: &Equipment) -> bool {
    let own = &worker.equipping;
    let since = if own.given.contains_key(what) { own.trying.get(what).copied() } else { own.since };
    since.is_some_and(|since| view.now >= since + view.policy(name).connect_deadline)
}

/// Whether a worker that is in use may lack something yet, so that its cell is looked at often.
pub(super) fn is_being_equipped(worker: &Worker) -> bool {
    let spec = worker.attempt.as_ref().and_then(|attempt| attempt.spec.as_ref());
    let own = &worker.equipping;
    spec.is_some_and(|spec| {
        spec.equipment().iter().any(|what| !own.given.contains_key(what) && !own.refused.contains_key(what))
    })
}

/// What an instance lacks although its time for that is over: the text names the call's phase, EC2's code
/// and the cure.
pub(super) fn failure(view: &View<'_>, name: &WorkerName, worker: &Worker) -> Option<Failure> {
    let id = in_use(worker)?;
    let what = missing(view, name, worker, id).into_iter().find(|what| overdue(view, name, worker, what))?;
    let limit = humantime::format_duration(view.policy(name).connect_deadline.to_std().unwrap_or_default());
    if let Some(other) = held_by(view, worker, id, &what) {
        let code = match &what {
            Equipment::Address(_) => "Resource.AlreadyAssociated",
            Equipment::Volume(_) => "VolumeInUse",
        };
        let whose = other.tags.get(tag_keys::WORKER).map(|name| format!(" of worker {name}")).unwrap_or_default();
        let message = format!("{id} was not given {what} within {limit}: {}{whose} has it; {}", other.id, cure(code));
        return Some(Failure::new(Phase::Equip, FailureKind::Owner, code, &message));
    }
    let Some(last) = worker.equipping.refused.get(&what) else {
        let message = format!("{id} was not given {what} within {limit} (connect_deadline)");
        return Some(Failure::new(Phase::Equip, FailureKind::RetrySame, "NotEquipped", &message));
    };
    let message = format!("{id} was not given {what} within {limit}: {}; {}", last.message, cure(&last.code));
    Some(Failure::new(Phase::Equip, last.kind, &last.code, &message))
}

/// Whether the failure of this instance to have all was told already.
pub(super) fn was_told(worker: &Worker) -> bool {
    let since = worker.equipping.since;
    worker.last_failure.as_ref().is_some_and(|(at, failure)| failure.phase == Phase::Equip && since <= Some(*at))
}

/// What to do about a refusal of EC2 to give an instance something.
fn cure(code: &str) -> &'static str {
    match code {
        "VolumeInUse" => "detach the volume from what has it (it is never taken from there), or name another one",
        "InvalidVolume.ZoneMismatch" => "name only the volume's zone, or a subnet in it, in the manifest",
        "InvalidVolume.NotFound" | "InvalidVolumeID.Malformed" => "correct the volume's id in the manifest",
        "Resource.AlreadyAssociated" => {
            "disassociate the address from what has it (it is never taken from there), or name another one"
        }
        "InvalidAddress.NotFound" | "InvalidAllocationID.NotFound" | "InvalidAddressID.NotFound" => {
            "correct elastic_ip in the manifest: the address must be one of this account and region"
        }
        "AuthFailure" => "name an address or a volume of this account: EC2 says that it is another one's",
        "UnauthorizedOperation" => "allow it: `latent iam` prints the role that this manifest needs",
        "AttachmentLimitExceeded" => "name fewer volumes, or a type that takes more",
        _ => "see the manifest's elastic_ip and volumes",
    }
}
