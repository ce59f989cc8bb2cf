//! Floor 0: the words. No I/O, no async, no clock, no log.

mod action;
mod alarm;
mod ami;
mod bakery;
mod batch;
mod budget;
mod canary;
mod cause;
mod checkup;
mod command;
mod counted;
mod departing;
mod entry;
mod failure;
mod fleet;
mod fleet_index;
mod fold_error;
mod generation;
mod guest;
mod history;
mod id;
mod idle;
mod inventory;
mod launch;
mod leftover;
mod pairs;
mod plain;
mod rebake;
mod resource;
mod sight;
mod stop;
mod tag;
mod trail;
mod worker;

pub use action::{Action, Held, HeldReason, Plan, Subject};
pub use alarm::{AlarmClass, UnknownClass};
pub use ami::{Ami, AmiCandidate, AmiFilter, AmiQuery, AmiState, Fit, LocationPattern};
pub use bakery::{Egress, Fence, Rehearsal, SourceAmi, SourceDisk};
pub use batch::{BATCH_MAX, BatchPlace, instance_name};
pub use budget::{BudgetLevel, Crossed};
pub use canary::{Built, Canary, CanaryEvent, CanaryPhase, CanaryState};
pub use cause::Cause;
pub use checkup::{
    AmiFacts, Found, Greeting, GroupFacts, GroupRule, Identity, ImdsDefaults, OtherInstance, Seen, SubnetFacts, Trial,
    Tried, TypeFacts, Unseen,
};
pub use command::{AgentFacts, AgentPlatform, CommandState, CommandStatus, DELIVERY_S, OUTPUT_CHARACTERS_MAX, Script};
pub(crate) use counted::counted;
pub use departing::Departing;
pub use entry::{Actor, Body, ENTRY_VERSION, Entry};
pub use failure::{BUDGET_EXCEEDED, Failure, FailureKind, PRICE_UNKNOWN, Phase};
pub use fleet::{Attempt, Equipping, Fleet, OfferingMemory, OperatorHold, Request, Worker};
pub use fold_error::FoldError;
pub use generation::Generation;
pub use guest::{GuestDone, GuestFailure, GuestReport, GuestStep, PackageChange, PackageOp};
pub use history::History;
pub(crate) use id::digest_hex;
pub use id::{
    AmiId, AttemptId, BuildId, Cell, ClientToken, CommandId, ElasticIp, GroupId, IdError, ImageName, InstanceId,
    MasterId, OwnerName, PolicyName, RebakeId, Region, RequestId, SnapshotId, VolumeId, WorkerName, Zone,
};
pub use idle::{IdleBasis, IdleChoice};
pub use inventory::{Instance, InstanceState, Inventory, Parts};
pub use launch::{
    BlockDevice, DataVolume, Equipment, LaunchSpec, Market, Offering, Place, ShutdownBehavior, equipment,
};
pub use leftover::{LeftoverKind, Response};
pub(crate) use plain::is_invisible;
pub use plain::plain;
pub use rebake::{
    CanarySight, Outcome, REBAKE_VERSION, Rebake, RebakeBody, RebakeChannel, RebakeEntry, RebakeFoldError, RebakeKind,
    RebakeLimits, RebakeOrder, RetireStage, Retiring, Step, Thing, Undo,
};
pub use resource::{Address, Gap, Resource, ResourceId, ResourceKind, Snapshot, SpotRequest, Survey, Volume};
pub use sight::Sight;
pub use stop::{Hibernation, StopMode};
pub use tag::{Ownership, Role, TagSet, keys as tag_keys};
pub use trail::{SpotPrice, Trail, TrailEvent, TrailGap, micro_dollars};
pub use worker::{IllegalEvent, WorkerEvent, WorkerState};
