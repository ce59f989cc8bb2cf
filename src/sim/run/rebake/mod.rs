//! One rebake, played: the real engine on the simulated EC2, with a builder's guest that boots and talks, a
//! controller's stage that proves and promotes, and a journal that outlives whoever writes it.

mod account;
mod guest;
mod house;
mod journal;
mod scene;
mod stage;
mod walk;

pub use account::holdings;
pub use guest::Manner;
pub use house::{Case, House, Work};
pub use journal::{SimJournal, SimJournals};
pub use stage::{Conduct, Manifest, SimStage};
pub use walk::{RebakeWalk, rebake_walk};
