//! Floor 4: a model of EC2, in virtual time, with faults on demand.
//!
//! [`World`] is one account's truth; [`SimCloud`] is a door to it for one cell. Same calls at the
//! same times give the same answers: nothing here is random.

mod cloud;
mod world;

pub use cloud::SimCloud;
pub use world::{ApiCall, Fault, SimInstance, World};
