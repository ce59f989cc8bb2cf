//! Lifecycle manager for latent EC2 workers.
//!
//! A CI master wants a worker; the [`control::Controller`] launches an instance from an owner's AMI,
//! waits until the worker has really connected, takes it away when it is idle, and leaves nothing
//! behind, whatever crashes. Decisions are pure functions in [`plan`]; every intent is durable in a
//! [`ledger`] before the call that follows from it; everything it launches explains itself by tags.
//!
//! Floors, imports go downward only: [`model`] and [`policy`] (0), [`plan`] (1), [`cloud`] and
//! [`ledger`] (2), [`control`] (3), `ec2`, [`sim`], [`link`], [`audit`], [`notify`] (4), [`cli`] (5).

pub mod audit;
pub mod cli;
pub mod cloud;
pub mod control;
#[cfg(feature = "ec2")]
pub mod ec2;
pub mod ledger;
pub mod link;
pub mod model;
pub mod notify;
pub mod plan;
pub mod policy;
pub mod sim;

/// The version of this library and program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
