//! One line of the ledger.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::budget::dollars;
use super::{
    Attempt, BudgetLevel, BuildId, Built, Canary, Cause, Cell, Equipment, Failure, InstanceId, LaunchSpec,
    LeftoverKind, MasterId, OwnerName, RebakeId, RequestId, ResourceId, Sight, StopMode, WorkerName,
};

/// The version of the entry format that this program writes. Readers accept it and all before it.
pub const ENTRY_VERSION: u32 = 5;

/// Who caused an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The controller's own decision.
    Controller,
    /// What the cloud showed or answered.
    Cloud,
    /// A master.
    Master(MasterId),
    /// A person with the command line.
    Operator,
}

/// One fact, in the order in which it became true for the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place; without gaps, from 1.
    pub seq: u64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// What.
    pub body: Body,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", rename_all_fields = "snake_case")]
#[expect(missing_docs, reason = "the variant's line explains its fields")]
pub enum Body {
    /// A controller began to work on this ledger.
    ControllerStarted { version: String },
    /// A controller ended in good order.
    ControllerStopped {},
    /// A master or an operator wants a worker.
    Requested { worker: WorkerName, request: RequestId },
    /// A master or an operator no longer wants it.
    Released { worker: WorkerName, cause: Cause },
    /// The request cannot be met.
    RequestFailed { worker: WorkerName, failure: Failure },
    /// A launch is about to be sent.
    LaunchIntended { worker: WorkerName, attempt: Box<Attempt> },
    /// The launch gave this instance.
    Launched { worker: WorkerName, instance: InstanceId },
    /// The launch was refused for good.
    LaunchRefused { worker: WorkerName, failure: Failure },
    /// A live instance that this ledger did not know was taken over by its tags.
    Adopted {
        worker: WorkerName,
        attempt: Box<Attempt>,
        instance: InstanceId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<Box<Sight>>,
    },
    /// The instance was seen running.
    Running {
        worker: WorkerName,
        instance: InstanceId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<Box<Sight>>,
    },
    /// The running instance is about to be given something of its manifest.
    EquipIntended { worker: WorkerName, instance: InstanceId, what: Equipment },
    /// It has it; `ip` is the address where that is what it was given.
    Equipped { worker: WorkerName, instance: InstanceId, what: Equipment, ip: Option<String> },
    /// It was not given; it is tried again until `connect_deadline`.
    EquipRefused { worker: WorkerName, instance: InstanceId, what: Equipment, failure: Failure },
    /// The worker connected to its master.
    Attached { worker: WorkerName },
    /// The worker's connection was lost.
    Detached { worker: WorkerName },
    /// A build started on the worker.
    BuildStarted { worker: WorkerName, build: BuildId },
    /// The worker has no build any more.
    BuildFinished { worker: WorkerName },
    /// It shall go as soon as its master lets it.
    DrainOrdered { worker: WorkerName, cause: Cause },
    /// A termination is about to be sent; `worker` if the instance is the worker's present one. Of an
    /// instance that no record explains `seen` is what is known of it. The master that has the worker connected is
    /// silent since `silent_since`.
    TerminateIntended {
        instance: InstanceId,
        cell: Cell,
        worker: Option<WorkerName>,
        cause: Cause,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<Box<Sight>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        silent_since: Option<DateTime<Utc>>,
    },
    /// The cloud accepted the termination.
    TerminateAccepted { instance: InstanceId },
    /// A stop is about to be sent.
    StopIntended {
        worker: WorkerName,
        instance: InstanceId,
        cause: Cause,
        #[serde(default, skip_serializing_if = "StopMode::is_plain")]
        mode: StopMode,
    },
    /// The instance was seen stopped: since `stopped_at` by EC2's clock, and running in a listing of `ran_until`.
    StopSeen {
        worker: WorkerName,
        instance: InstanceId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stopped_at: Option<DateTime<Utc>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ran_until: Option<DateTime<Utc>>,
    },
    /// A start of the stopped instance is about to be sent.
    StartIntended { worker: WorkerName, instance: InstanceId },
    /// The start of the stopped instance was refused for good; it stays stopped.
    StartRefused { worker: WorkerName, instance: InstanceId, failure: Failure },
    /// EC2 says that it takes the worker's spot instance back, or was seen to have done so.
    InterruptionNoticed { worker: WorkerName, instance: InstanceId },
    /// The instance of a worker ended without us: at `ended_at` by EC2's clock, after a listing of `ran_until`
    /// that showed it running. `seen` is what its end shows of it where it was not written that it ran.
    Lost {
        worker: WorkerName,
        instance: InstanceId,
        cause: Cause,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended_at: Option<DateTime<Utc>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ran_until: Option<DateTime<Utc>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<Box<Sight>>,
    },
    /// An instance whose end was intended is seen to be over, since `ended_at` by EC2's clock, after a listing of
    /// `ran_until` that showed it running. `seen` is what its end shows of it where it was not written that it ran.
    Departed {
        instance: InstanceId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended_at: Option<DateTime<Utc>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ran_until: Option<DateTime<Utc>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<Box<Sight>>,
    },
    /// A call other than a launch was refused; it will be tried again.
    CallRefused { instance: InstanceId, failure: Failure },
    /// Something left over, which is no instance, is about to be taken away.
    RemoveIntended { resource: ResourceId, cell: Cell, kind: LeftoverKind },
    /// It is gone.
    Removed { resource: ResourceId },
    /// It was not taken away; the next sweep sees whether it is still left over.
    RemoveRefused { resource: ResourceId, failure: Failure },
    /// Somebody with the worker's name and password was turned away at a master's door; said once in a while.
    TurnedAway { worker: WorkerName, instance: Option<InstanceId>, peer: Option<String>, why: String },
    /// What an owner's machines cost in a month (`2026-11`) has reached an amount of the budget: `spent` is the
    /// high bound of it; both in micro-dollars.
    BudgetCrossed { owner: OwnerName, month: String, level: BudgetLevel, limit: u64, spent: u64 },
    /// An operator keeps the worker's instance until a time.
    HoldSet { worker: WorkerName, until: DateTime<Utc> },
    /// The operator's hold was lifted, or is over.
    HoldReleased { worker: WorkerName },
    /// A rebake wants the worker's next instance to be a canary of its candidate.
    CanarySet { worker: WorkerName, canary: Box<Canary> },
    /// The master ran the canary's smoke build to its end.
    CanaryBuilt { worker: WorkerName, built: Built },
    /// The canary did not do what is asked of it.
    CanaryFailed { worker: WorkerName, rebake: RebakeId, failure: Failure },
    /// Nobody asks for the canary any more; what is left of it is taken away.
    CanaryEnded { worker: WorkerName, rebake: RebakeId, why: Option<String> },
}

impl Body {
    /// Whether a crash right after it must not lose it: what precedes a call that can cost money,
    /// and every answer given to a master.
    pub fn must_be_durable(&self) -> bool {
        match self {
            Body::Requested { .. }
            | Body::Released { .. }
            | Body::RequestFailed { .. }
            | Body::LaunchIntended { .. }
            | Body::Launched { .. }
            | Body::LaunchRefused { .. }
            | Body::Adopted { .. }
            | Body::DrainOrdered { .. }
            | Body::InterruptionNoticed { .. }
            | Body::TerminateIntended { .. }
            | Body::StopIntended { .. }
            | Body::StartIntended { .. }
            | Body::StartRefused { .. }
            | Body::EquipIntended { .. }
            | Body::RemoveIntended { .. }
            | Body::BudgetCrossed { .. }
            | Body::HoldSet { .. }
            | Body::HoldReleased { .. }
            | Body::CanarySet { .. }
            | Body::CanaryBuilt { .. }
            | Body::CanaryFailed { .. }
            | Body::CanaryEnded { .. } => true,
            Body::ControllerStarted { .. }
            | Body::ControllerStopped {}
            | Body::Running { .. }
            | Body::Equipped { .. }
            | Body::EquipRefused { .. }
            | Body::Attached { .. }
            | Body::Detached { .. }
            | Body::BuildStarted { .. }
            | Body::BuildFinished { .. }
            | Body::TerminateAccepted { .. }
            | Body::StopSeen { .. }
            | Body::Lost { .. }
            | Body::Departed { .. }
            | Body::CallRefused { .. }
            | Body::Removed { .. }
            | Body::RemoveRefused { .. }
            | Body::TurnedAway { .. } => false,
        }
    }

    /// The worker that the entry is about, if it names one.
    pub fn worker(&self) -> Option<&WorkerName> {
        match self {
            Body::ControllerStarted { .. }
            | Body::ControllerStopped {}
            | Body::TerminateAccepted { .. }
            | Body::Departed { .. }
            | Body::CallRefused { .. }
            | Body::BudgetCrossed { .. }
            | Body::RemoveIntended { .. }
            | Body::Removed { .. }
            | Body::RemoveRefused { .. } => None,
            Body::TerminateIntended { worker, .. } => worker.as_ref(),
            Body::Requested { worker, .. }
            | Body::Released { worker, .. }
            | Body::RequestFailed { worker, .. }
            | Body::LaunchIntended { worker, .. }
            | Body::Launched { worker, .. }
            | Body::LaunchRefused { worker, .. }
            | Body::Adopted { worker, .. }
            | Body::Running { worker, .. }
            | Body::EquipIntended { worker, .. }
            | Body::Equipped { worker, .. }
            | Body::EquipRefused { worker, .. }
            | Body::Attached { worker }
            | Body::Detached { worker }
            | Body::BuildStarted { worker, .. }
            | Body::BuildFinished { worker }
            | Body::DrainOrdered { worker, .. }
            | Body::StopIntended { worker, .. }
            | Body::StopSeen { worker, .. }
            | Body::StartIntended { worker, .. }
            | Body::StartRefused { worker, .. }
            | Body::InterruptionNoticed { worker, .. }
            | Body::Lost { worker, .. }
            | Body::TurnedAway { worker, .. }
            | Body::HoldSet { worker, .. }
            | Body::HoldReleased { worker }
            | Body::CanarySet { worker, .. }
            | Body::CanaryBuilt { worker, .. }
            | Body::CanaryFailed { worker, .. }
            | Body::CanaryEnded { worker, .. } => Some(worker),
        }
    }

    /// One line for a person.
    pub fn describe(&self) -> String {
        match self {
            Body::ControllerStarted { version } => format!("controller {version} started"),
            Body::ControllerStopped {} => "controller stopped in good order".to_owned(),
            Body::Requested { request, .. } => format!("requested ({request})"),
            Body::Released { cause, .. } => format!("let go: {cause}"),
            Body::RequestFailed { failure, .. } => format!("request failed: {failure}"),
            Body::LaunchIntended { attempt, .. } => launch_line(attempt),
            Body::Launched { instance, .. } => format!("launched {instance}"),
            Body::LaunchRefused { failure, .. } => format!("launch refused: {failure}"),
            Body::Adopted { instance, .. } => format!("adopted {instance} by its tags"),
            Body::Running { instance, .. } => format!("{instance} is running"),
            Body::EquipIntended { instance, what, .. } => format!("giving {instance} {what}"),
            Body::Equipped { instance, what, .. } => format!("{instance} has {what}"),
            Body::EquipRefused { instance, what, failure, .. } => {
                format!("{instance} is not given {what}: {} ({}): {}", failure.code, failure.kind, failure.message)
            }
            Body::Attached { .. } => "worker connected".to_owned(),
            Body::Detached { .. } => "worker's connection lost".to_owned(),
            Body::BuildStarted { build, .. } => format!("build {build} started"),
            Body::BuildFinished { .. } => "build finished".to_owned(),
            Body::DrainOrdered { cause, .. } => format!("draining: {cause}"),
            Body::TerminateIntended { instance, cause, .. } => format!("terminating {instance}: {cause}"),
            Body::TerminateAccepted { instance } => format!("termination of {instance} accepted"),
            Body::StopIntended { instance, cause, mode, .. } => format!("{mode} {instance}: {cause}"),
            Body::StopSeen { instance, .. } => format!("{instance} is stopped"),
            Body::StartIntended { instance, .. } => format!("starting {instance} again"),
            Body::StartRefused { instance, failure, .. } => format!("start of {instance} refused: {failure}"),
            Body::InterruptionNoticed { instance, .. } => format!("EC2 takes {instance} back (spot interruption)"),
            Body::Lost { instance, reason, .. } => format!("{instance} ended from outside: {reason}"),
            Body::Departed { instance, .. } => format!("{instance} is gone"),
            Body::CallRefused { instance, failure } => {
                format!("call for {instance} refused: {} ({}): {}", failure.code, failure.kind, failure.message)
            }
            Body::RemoveIntended { resource, kind, .. } => format!("taking {resource} away: {kind}"),
            Body::Removed { resource } => format!("{resource} is taken away"),
            Body::RemoveRefused { resource, failure } => {
                format!("{resource} is not taken away: {} ({}): {}", failure.code, failure.kind, failure.message)
            }
            Body::TurnedAway { instance, peer, why, .. } => {
                let who =
                    [instance.as_ref().map(ToString::to_string), peer.as_ref().map(|peer| format!("from {peer}"))];
                let who: Vec<String> = who.into_iter().flatten().collect();
                let who = if who.is_empty() { "somebody".to_owned() } else { who.join(" ") };
                format!("{who} knocked and was turned away: {why}")
            }
            Body::BudgetCrossed { owner, month, level, limit, spent } => {
                let (limit, spent) = (dollars(*limit), dollars(*spent));
                format!("{owner}'s {level} budget of {limit} for {month} is reached: at most {spent} is spent")
            }
            Body::HoldSet { until, .. } => format!("held by an operator until {}", until.format("%Y-%m-%d %H:%M:%SZ")),
            Body::HoldReleased { .. } => "operator's hold released".to_owned(),
            Body::CanarySet { canary, .. } => format!("canary of {} asked for ({})", canary.ami, canary.rebake),
            Body::CanaryBuilt { built, .. } => format!("smoke build {} ended: {}", built.build, built.word()),
            Body::CanaryFailed { rebake, failure, .. } => format!("canary failed ({rebake}): {failure}"),
            Body::CanaryEnded { rebake, why, .. } => {
                let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                format!("canary no longer asked for ({rebake}){why}")
            }
        }
    }
}

fn launch_line(attempt: &Attempt) -> String {
    let LaunchSpec { ami, offering, .. } = match &attempt.spec {
        Some(spec) => spec.as_ref(),
        None => return "launching".to_owned(),
    };
    format!("launching {ami} as {offering}")
}
