//! Rebakes at work: the loop of one, what it looks at, and what it needs of a controller.

mod ages;
mod engine;
mod host;
pub(super) mod look;
mod onstage;
mod stage;
mod upkeep;
mod view;

pub use ages::ImageAge;
pub use engine::{Engine, EngineError, Standing, Wish, first_entry};
pub use host::{Ordered, RebakeDesk, RebakeRefusal, RebakeSeen, Rebakes, rehearsed};
pub use onstage::Manifests;
pub use stage::{Kept, NoStage, Stage};
pub use view::{RebakeAsk, RebakeEventView, RebakeView, StepView, steps as rebake_steps};
