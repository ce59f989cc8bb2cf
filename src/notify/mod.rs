//! Floor 4: people are told by mail and webhook, of what [`crate::plan::alarm`] decides.
//!
//! [`Notifier`] looks at the controller, writes what is due into the [`Outbox`] together with the memory of what
//! was told, and has a [`Courier`] bring it. [`Ways`] is the courier that does.

mod board;
mod chat;
mod courier;
mod mail;
mod notifier;
mod outbox;
mod payload;
mod sight;
mod webhook;

pub use board::{contacts, view_of};
pub use courier::{Attachment, Courier, Message, Ways, trial_post};
pub use notifier::{Feeds, Notifier, WeekReport, Weekly};
pub use outbox::{Outbox, OutboxError, Queued};
pub use payload::{PAYLOAD_VERSION, Payload, schema};
