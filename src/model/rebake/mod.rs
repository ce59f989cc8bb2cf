//! A rebake: a new generation of an image, made from its AMI and proven before it is trusted.

mod entry;
mod order;
mod record;

pub use entry::{REBAKE_VERSION, RebakeBody, RebakeEntry};
pub use order::{RebakeChannel, RebakeKind, RebakeLimits, RebakeOrder, Step};
pub use record::{CanarySight, Outcome, Rebake, RebakeFoldError, RetireStage, Retiring, Thing, Undo};
