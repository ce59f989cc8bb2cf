//! Floor 4: a model of EC2 at the level of its API, in virtual time, with faults.
//!
//! [`World`] holds all accounts; [`Site`] is one account in one region. Everything random comes from
//! one seed: the same calls at the same times give the same answers, and the same trace. [`SimCloud`]
//! is the in-process door, through which the real controller acts.

mod address;
mod bake;
mod bill;
mod bucket;
mod commands;
mod disk;
mod door;
mod door_bakery;
mod door_commands;
mod door_images;
mod door_records;
mod door_resources;
mod error;
mod fleet;
mod group;
mod hibernate;
mod image;
mod instance;
mod interface;
mod key;
mod latency;
mod launch;
mod mishap;
mod network;
mod pace;
mod pricelist;
pub mod run;
mod site;
mod snapshot;
mod spot;
mod states;
mod tags;
mod trace;
mod trail;
mod types;
mod volume;
mod weather;
pub mod wire;
mod world;

pub use address::Address;
pub use bake::NewImage;
pub use bill::{Bill, Line};
pub use commands::{Agent, Answered, Command, NewCommand, Taken, Told};
pub use door::{Endless, Life, SimCloud, Step, launch_request};
pub use error::ApiError;
pub use fleet::{Choice, Fleet, FleetRequest, Template, TemplateVersion, Tried};
pub use image::{Image, ImageFate, ImageState, Platform};
pub use instance::{
    Disk, Facts, Instance, MetadataDefaults, MetadataOptions, Reason, RunInstances, SpotOptions, TagTarget, Tags,
};
pub use interface::Interface;
pub use key::KeyPair;
pub use latency::Latency;
pub use network::{Group, Network, Rule, Subnet};
pub use pace::Pace;
pub use site::{By, Effect, Site};
pub use snapshot::Snapshot;
pub use spot::{SpotRequest, SpotState};
pub use states::StateChange;
pub use trace::{Event, Trace};
pub use types::{INSTANCE_TYPES, InstanceType, instance_type};
pub use volume::{Attachment, Volume};
pub use weather::{Fault, Unit, UnknownName, Weather};
pub use world::{Mishap, Request, Served, SiteId, Watcher, World};
