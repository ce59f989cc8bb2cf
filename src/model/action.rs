//! What a plan may say: what to do, and what was looked at and left alone.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::budget::dollars;
use super::{
    Body, Cause, Equipment, FailureKind, IdleChoice, InstanceId, LaunchSpec, LeftoverKind, RebakeId, ResourceId, Sight,
    StopMode, WorkerName,
};

/// A worker or an instance that a plan must speak of, exactly once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A worker of the configuration or the ledger.
    Worker(WorkerName),
    /// An instance of the listing.
    Instance(InstanceId),
}

/// Everything the controller may do to the world, and to its own record of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Launch for a worker that is requested.
    Launch {
        /// The worker.
        worker: WorkerName,
        /// With these parameters.
        spec: Box<LaunchSpec>,
    },
    /// Launch for several workers by one call.
    LaunchTogether {
        /// Each with its parameters, in the order of their launch indices.
        launches: Vec<(WorkerName, Box<LaunchSpec>)>,
    },
    /// Send the launch of an attempt whose outcome is open once more, unchanged.
    Relaunch {
        /// The worker; of a call for several all of them, in the order of their launch indices.
        workers: Vec<WorkerName>,
    },
    /// Terminate an instance; `worker` if it is that worker's present one.
    Terminate {
        /// The instance.
        instance: InstanceId,
        /// The worker.
        worker: Option<WorkerName>,
        /// Why.
        cause: Cause,
        /// What the last listing told of it, where the record does not explain it.
        seen: Option<Box<Sight>>,
        /// Since when the master is silent that has the worker connected, if it is.
        silent_since: Option<DateTime<Utc>>,
    },
    /// Stop the instance of a worker.
    Stop {
        /// The worker.
        worker: WorkerName,
        /// The instance.
        instance: InstanceId,
        /// Why.
        cause: Cause,
        /// How.
        mode: StopMode,
    },
    /// Start the stopped instance of a worker.
    Start {
        /// The worker.
        worker: WorkerName,
        /// The instance.
        instance: InstanceId,
    },
    /// Write a decision that needs no call.
    Record {
        /// Of which worker.
        worker: WorkerName,
        /// The decision.
        body: Box<Body>,
    },
    /// Give a running instance something of its manifest. Upkeep: it speaks for no subject.
    Equip {
        /// Its worker.
        worker: WorkerName,
        /// The instance.
        instance: InstanceId,
        /// What.
        what: Equipment,
    },
    /// Renew the lease tag of instances that are in use. Upkeep: it speaks for no subject.
    Renew {
        /// The instances.
        instances: Vec<InstanceId>,
        /// Until when.
        until: DateTime<Utc>,
    },
    /// Take away something left over that is no instance. It speaks for no subject.
    Remove {
        /// What.
        resource: ResourceId,
        /// As what kind of leftover.
        kind: LeftoverKind,
    },
}

impl Action {
    /// The subjects that this action speaks for.
    pub fn subjects(&self) -> Vec<Subject> {
        match self {
            Action::Launch { worker, .. } | Action::Record { worker, .. } => vec![Subject::Worker(worker.clone())],
            Action::Relaunch { workers } => workers.iter().cloned().map(Subject::Worker).collect(),
            Action::LaunchTogether { launches } => {
                launches.iter().map(|(worker, _)| Subject::Worker(worker.clone())).collect()
            }
            Action::Stop { worker, instance, .. } | Action::Start { worker, instance } => {
                vec![Subject::Worker(worker.clone()), Subject::Instance(instance.clone())]
            }
            Action::Terminate { instance, worker, .. } => {
                let mut all = vec![Subject::Instance(instance.clone())];
                all.extend(worker.clone().map(Subject::Worker));
                all
            }
            Action::Equip { .. } | Action::Renew { .. } | Action::Remove { .. } => Vec::new(),
        }
    }
}

/// Why a subject was left alone, since when and until when where that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the variant's line explains its fields")]
pub enum HeldReason {
    /// Nobody wants it.
    NotWanted,
    /// The worker is not in the configuration and has nothing left.
    NotConfigured,
    /// No complete listing of its cell was read yet.
    NoListing,
    /// A call for it has not been answered.
    CallInFlight,
    /// The earlier instance of this worker is not yet known to end.
    EarlierInstance(InstanceId),
    /// Another controller of this fleet has a live instance of this worker.
    OtherController { controller: String, instance: InstanceId },
    /// A launch failed; the next try waits.
    Pausing { until: DateTime<Utc>, kind: FailureKind },
    /// Every offering of the image was refused a short time ago.
    NoCapacity { until: DateTime<Utc> },
    /// A launch was refused after a call of it that had no answer: what that one may have launched is looked for.
    OpenLaunch { until: DateTime<Utc>, kind: FailureKind },
    /// Others that may be launched by the same call are waited for.
    Gathering { until: DateTime<Utc> },
    /// The API calls of this minute are spent.
    Paced { until: DateTime<Utc> },
    /// As many instances as the fleet may have are live.
    FleetFull { limit: u32 },
    /// No AMI was chosen by this filter yet: it is listed, or will be.
    NoAmi { filter: String },
    /// The listing of the AMIs that this filter chooses from was refused.
    AmiRefused { filter: String, code: String, until: DateTime<Utc> },
    /// The instance runs and lacks something of its manifest; it has until then.
    Equipping { what: Equipment, why: String, until: DateTime<Utc> },
    /// The worker has until then to connect.
    Connecting { until: DateTime<Utc> },
    /// Idle, until its time is over; `None` is never. `chosen` is how that was reckoned, where it was.
    Idle { since: DateTime<Utc>, until: Option<DateTime<Utc>>, chosen: Option<Box<IdleChoice>> },
    /// Running a build; `until` is the end of its life.
    Building { until: DateTime<Utc> },
    /// It was adopted by its tags, and its master has not said yet what it does with it.
    MasterUnheard {
        /// Its end of life.
        until: DateTime<Utc>,
    },
    /// Waiting for its master to let it go.
    Draining { until: DateTime<Utc> },
    /// Its master is silent; it keeps what it may be using until then.
    MasterSilent { until: DateTime<Utc> },
    /// An operator holds it.
    OperatorHold { until: DateTime<Utc> },
    /// Stopped, for the next request.
    StoppedPool,
    /// Waiting for it to stop, until then.
    Stopping { until: DateTime<Utc> },
    /// Its termination was accepted; waiting to see it end.
    Departing { since: DateTime<Utc> },
    /// A call was accepted; its effect shows by then.
    Settling { until: DateTime<Utc> },
    /// A refused call is tried again then.
    RetryAt { at: DateTime<Utc> },
    /// The instance of this worker.
    InUse(WorkerName),
    /// The instance of this worker; a third party changed the tags that say so.
    Retagged { worker: WorkerName, why: String },
    /// It is over.
    Ended,
    /// Not ours to change.
    Foreign { why: String },
    /// Its tags cannot be read; never touched, always shown.
    Unreadable { why: String },
    /// No record explains it; it is looked at again before anything is done.
    SecondLook { until: DateTime<Utc> },
    /// The worker is a canary, or shall be one; a request for it waits meanwhile, until `until` if there is one.
    Canary { rebake: RebakeId, doing: Box<HeldReason>, until: Option<DateTime<Utc>> },
    /// A canary that its master is to run a build of this builder on, until then.
    AwaitsBuild { builder: String, until: DateTime<Utc> },
    /// The owner's hard budget of the month is reached; `limit` is in micro-dollars.
    OverBudget { limit: u64, until: DateTime<Utc> },
    /// No master has spoken of it for a while: nobody would take its connection.
    NoMaster,
    /// Idle, and kept because its policy says so (`warm`).
    Warm { until: DateTime<Utc> },
    /// Nobody wants it; its next warm window begins then.
    WarmFrom { at: DateTime<Utc> },
    /// Its warm window is open, and it is not launched in it.
    NotWarm { why: String, until: DateTime<Utc> },
}

/// A subject that was looked at and left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Which.
    pub subject: Subject,
    /// Why.
    pub reason: HeldReason,
}

/// Everything one activation will try, and everything it looked at and left alone.
#[must_use = "a plan does nothing until it is performed"]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// To do.
    pub actions: Vec<Action>,
    /// Left alone.
    pub held: Vec<Held>,
}

impl HeldReason {
    /// Whether it waits for another instance of the fleet to end.
    pub fn is_fleet_full(&self) -> bool {
        match self {
            HeldReason::Canary { doing, .. } => doing.is_fleet_full(),
            other => matches!(other, HeldReason::FleetFull { .. }),
        }
    }

    /// When the reason may end by itself.
    pub fn until(&self) -> Option<DateTime<Utc>> {
        match self {
            HeldReason::Pausing { until, .. }
            | HeldReason::NoCapacity { until }
            | HeldReason::OpenLaunch { until, .. }
            | HeldReason::Gathering { until }
            | HeldReason::Paced { until }
            | HeldReason::Connecting { until }
            | HeldReason::Equipping { until, .. }
            | HeldReason::AmiRefused { until, .. }
            | HeldReason::Building { until }
            | HeldReason::MasterUnheard { until }
            | HeldReason::Draining { until }
            | HeldReason::MasterSilent { until }
            | HeldReason::OperatorHold { until }
            | HeldReason::Stopping { until }
            | HeldReason::Settling { until }
            | HeldReason::SecondLook { until }
            | HeldReason::AwaitsBuild { until, .. }
            | HeldReason::OverBudget { until, .. }
            | HeldReason::Warm { until }
            | HeldReason::WarmFrom { at: until }
            | HeldReason::NotWarm { until, .. }
            | HeldReason::RetryAt { at: until } => Some(*until),
            HeldReason::Idle { until, .. } => *until,
            HeldReason::Canary { doing, until, .. } => [doing.until(), *until].into_iter().flatten().min(),
            HeldReason::NoMaster
            | HeldReason::NotWanted
            | HeldReason::NotConfigured
            | HeldReason::NoListing
            | HeldReason::NoAmi { .. }
            | HeldReason::CallInFlight
            | HeldReason::EarlierInstance(_)
            | HeldReason::OtherController { .. }
            | HeldReason::FleetFull { .. }
            | HeldReason::StoppedPool
            | HeldReason::Departing { .. }
            | HeldReason::InUse(_)
            | HeldReason::Retagged { .. }
            | HeldReason::Ended
            | HeldReason::Foreign { .. }
            | HeldReason::Unreadable { .. } => None,
        }
    }

    /// What is said of a worker that is kept although no build runs on it, or not launched where it could be kept.
    fn fmt_kept(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |at: &DateTime<Utc>| at.format("%H:%M:%SZ").to_string();
        let day = |at: &DateTime<Utc>| at.format("%a %H:%MZ").to_string();
        match self {
            HeldReason::Idle { until: Some(until), chosen: Some(chosen), .. } => {
                write!(f, "idle, until {} ({chosen})", clock(until))
            }
            HeldReason::Idle { until: Some(until), .. } => write!(f, "idle, until {}", clock(until)),
            HeldReason::Idle { until: None, .. } => f.write_str("idle, kept (idle_timeout = never)"),
            HeldReason::MasterSilent { until } => write!(f, "master silent, kept until {}", clock(until)),
            HeldReason::OperatorHold { until } => write!(f, "operator's hold until {}", clock(until)),
            HeldReason::Warm { until } => write!(f, "kept warm until {}", day(until)),
            HeldReason::WarmFrom { at } => write!(f, "nobody wants it; warm from {}", day(at)),
            HeldReason::NotWarm { why, until } => {
                write!(f, "not launched in the warm window until {}: {why}", day(until))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for HeldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |at: &DateTime<Utc>| at.format("%H:%M:%SZ").to_string();
        match self {
            HeldReason::NotWanted => f.write_str("nobody wants it"),
            HeldReason::NotConfigured => f.write_str("not in the configuration"),
            HeldReason::NoListing => f.write_str("waiting for a complete listing"),
            HeldReason::CallInFlight => f.write_str("waiting for EC2's answer"),
            HeldReason::EarlierInstance(id) => write!(f, "earlier instance {id} must end first"),
            HeldReason::OtherController { controller, instance } => {
                write!(f, "controller {controller} runs {instance} for this worker")
            }
            HeldReason::Pausing { until, kind } => write!(f, "next try at {} after: {kind}", clock(until)),
            HeldReason::NoCapacity { until } => write!(f, "no capacity anywhere until {}", clock(until)),
            HeldReason::OpenLaunch { until, kind } => {
                write!(f, "refused ({kind}) after a call without an answer; looked for until {}", clock(until))
            }
            HeldReason::Gathering { until } => {
                write!(f, "waiting until {} for others that the same call may launch", clock(until))
            }
            HeldReason::Paced { until } => write!(f, "API budget spent until {}", clock(until)),
            HeldReason::FleetFull { limit } => write!(f, "instances_max = {limit} reached"),
            HeldReason::NoAmi { filter } => write!(f, "choosing an AMI by {filter}"),
            HeldReason::AmiRefused { filter, code, until } => {
                write!(f, "AMIs cannot be listed for {filter} ({code}); next try at {}", clock(until))
            }
            HeldReason::Equipping { what, why, until } => write!(f, "waiting for {what}{why}, until {}", clock(until)),
            HeldReason::Connecting { until } => write!(f, "connecting, until {}", clock(until)),
            HeldReason::Idle { .. }
            | HeldReason::MasterSilent { .. }
            | HeldReason::OperatorHold { .. }
            | HeldReason::Warm { .. }
            | HeldReason::WarmFrom { .. }
            | HeldReason::NotWarm { .. } => self.fmt_kept(f),
            HeldReason::Building { until } => write!(f, "building, at most until {}", clock(until)),
            HeldReason::MasterUnheard { until } => {
                write!(f, "adopted, and its master has not spoken yet; at most until {}", clock(until))
            }
            HeldReason::Draining { until } => write!(f, "master may let go until {}", clock(until)),
            HeldReason::StoppedPool => f.write_str("stopped, ready to start"),
            HeldReason::Stopping { until } => write!(f, "stopping, until {}", clock(until)),
            HeldReason::Departing { since } => write!(f, "ending since {}", clock(since)),
            HeldReason::Settling { until } => write!(f, "accepted; its effect shows by {}", clock(until)),
            HeldReason::RetryAt { at } => write!(f, "refused; next try at {}", clock(at)),
            HeldReason::InUse(worker) => write!(f, "in use by {worker}"),
            HeldReason::Retagged { worker, why } => {
                write!(f, "in use by {worker}, but somebody changed its tags: {why}")
            }
            HeldReason::Ended => f.write_str("ended"),
            HeldReason::Foreign { why } => write!(f, "not ours: {why}"),
            HeldReason::Unreadable { why } => write!(f, "unreadable: {why}"),
            HeldReason::SecondLook { until } => write!(f, "unexplained; second look at {}", clock(until)),
            HeldReason::Canary { rebake, doing, until: None } => write!(f, "canary of {rebake}: {doing}"),
            HeldReason::Canary { rebake, doing, until: Some(until) } => {
                write!(f, "canary of {rebake}: {doing}; the request waits until {}", clock(until))
            }
            HeldReason::AwaitsBuild { builder, until } => {
                write!(f, "its master is to run a build of {builder}, until {}", clock(until))
            }
            HeldReason::OverBudget { limit, until } => {
                let day = until.format("%Y-%m-%d %H:%MZ");
                write!(f, "the month's hard budget of {} is reached; nothing is launched until {day}", dollars(*limit))
            }
            HeldReason::NoMaster => f.write_str("no master has spoken of it lately"),
        }
    }
}
