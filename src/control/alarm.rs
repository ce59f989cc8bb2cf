//! What is told of messages: who is told what and where, and what came of it.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::AlarmClass;
use crate::plan::alarm::Notice;

/// Somebody who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContactView {
    /// The owner, or `the admin`.
    pub who: String,
    /// Where, in words without a secret; nowhere if empty.
    pub places: Vec<String>,
    /// What is told.
    pub classes: Vec<AlarmClass>,
    /// When only what is urgent is told, in UTC.
    pub quiet_hours: Option<String>,
    /// When a worker counts as down, in seconds; learned from its history if absent.
    pub down_after_s: Option<i64>,
}

/// A message and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryView {
    /// When it was made.
    pub at: DateTime<Utc>,
    /// For whom.
    pub who: String,
    /// Where.
    pub place: String,
    /// What it says first.
    pub subject: String,
    /// `waiting`, `taken`, `refused` (for good), `given-up`, or `dropped` (nobody is told there any more).
    pub state: String,
    /// How often it was tried without success.
    pub failed: u32,
    /// When it is tried next, if it is.
    pub next: Option<DateTime<Utc>>,
    /// What was said last, without a secret.
    pub said: Option<String>,
}

/// Who is told of what, what is so, and what came of the last messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoticesView {
    /// When this is so.
    pub now: DateTime<Utc>,
    /// How mail goes out, in words; absent if it does not.
    pub mail: Option<String>,
    /// Who is told.
    pub contacts: Vec<ContactView>,
    /// What is so and was, or will be, told.
    pub open: Vec<Notice>,
    /// The last messages, the newest first.
    pub deliveries: Vec<DeliveryView>,
    /// What is wrong with telling, in words.
    pub problems: Vec<String>,
}

/// What a controller's interface asks of its messages.
pub trait NoticeBoard: std::fmt::Debug + Send + Sync {
    /// All of it.
    fn view(&self) -> NoticesView;

    /// What of it needs a person's eye, a line each.
    fn warnings(&self) -> Vec<String>;
}
