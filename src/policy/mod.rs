//! Floor 0: intent, parsed once; after that it cannot be wrong.
//!
//! `latent.toml` names the fleet, its owners and workers; `amis/*.toml` are image manifests and
//! `policies/*.toml` lifecycle policies beside it. [`load`] reads the files, [`Intent::parse`] is pure.

mod budget;
mod by_cell;
mod certificate;
mod choice;
mod declared;
mod disk;
mod document;
mod fleet;
pub mod iam;
mod image;
mod intent;
mod join;
mod key;
mod lease_watch;
mod lifecycle;
mod load;
mod notify;
mod page;
pub mod price;
mod problem;
pub mod promote;
mod proof;
mod rates;
mod reader;
mod rebake;
mod rebake_script;
mod requirements;
mod schema;
mod secret;
mod shared;
mod shown;
mod sweep;
mod user_data;
mod window;
mod written;

pub use budget::{AtHard, Budget};
pub use certificate::IdentityKey;
pub use choice::AmiChoice;
pub use declared::{Declaration, DeclaredCredentials, DeclaredOwner, DeclaredWorker, place};
pub use fleet::{Credentials, FleetSettings, Link, Owner, Polling, WorkerSettings};
pub use image::{Architecture, Identity, Image, Platform};
pub use intent::{Intent, WorkerIntent};
pub use join::JoinKey;
pub use key::{IMAGE_KEYS, Key, Kind, POLICY_KEYS, REBAKE_KEYS, SWEEP_KEYS, all_sections};
pub use lease_watch::LeaseWatch;
pub use lifecycle::{AutoIdle, IdleTimeout, Lifecycle, OnIdle};
pub use load::{Sources, load, read_key_file};
pub use notify::{Addressee, MailWay, NotifySettings, Smtp, SmtpTls, Webhook, WebhookFormat, WebhookUrl};
pub use page::Page;
pub use problem::{Origin, Problem, Problems, Shown};
pub use promote::{Refusal, promoted, rolled_back};
pub use proof::Proof;
pub use rates::{ApiRate, Rates};
pub use reader::dollars;
pub use rebake::{Channel, RebakePolicy, Recipe};
pub use rebake_script::{RebakeScript, ScriptError, USER_DATA_MAX, builder_user_data, ssm_script};
pub use requirements::{Port, Protocol, Requirements};
pub use schema::json_schema;
pub use secret::{Secret, SecretRef};
pub use shared::Shared;
pub use shown::ShownValues;
pub use sweep::SweepPolicy;
pub use user_data::UserData;
pub use window::{Window, WindowError};
pub use written::{FRAGMENT, Written, written};

/// The commented default: the documentation of every key, and the lowest layer of every policy.
pub const DEFAULT_TOML: &str = include_str!("default.toml");
