//! Rebakes at work: the loop of one, what it looks at, and what it needs of a controller.

mod engine;
pub(super) mod look;
mod stage;

pub use engine::{Engine, EngineError, Standing, Wish, first_entry};
pub use stage::Stage;
