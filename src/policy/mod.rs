//! Floor 0: intent, parsed once; after that it cannot be wrong.
//!
//! `latent.toml` names the fleet, its owners and workers; `amis/*.toml` are image manifests and
//! `policies/*.toml` lifecycle policies beside it. [`load`] reads the files, [`Intent::parse`] is pure.

mod choice;
mod disk;
mod document;
mod fleet;
pub mod iam;
mod image;
mod intent;
mod key;
mod lease_watch;
mod lifecycle;
mod load;
mod problem;
mod reader;
mod requirements;
mod schema;
mod secret;
mod sweep;
mod user_data;

pub use choice::AmiChoice;
pub use fleet::{Credentials, FleetSettings, Link, Owner, Polling, WorkerSettings};
pub use image::{Architecture, Identity, Image, Platform};
pub use intent::{Intent, WorkerIntent};
pub use key::{IMAGE_KEYS, Key, Kind, POLICY_KEYS, SWEEP_KEYS, all_sections};
pub use lease_watch::LeaseWatch;
pub use lifecycle::{IdleTimeout, Lifecycle, OnIdle};
pub use load::{Sources, load};
pub use problem::{Origin, Problem, Problems, Shown};
pub use requirements::{Port, Protocol, Requirements};
pub use schema::json_schema;
pub use secret::{Secret, SecretRef};
pub use sweep::SweepPolicy;
pub use user_data::UserData;

/// The commented default: the documentation of every key, and the lowest layer of every policy.
pub const DEFAULT_TOML: &str = include_str!("default.toml");
