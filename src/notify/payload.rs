//! What a webhook of the form `json` is sent.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::courier::Message;
use crate::plan::alarm::{Notice, Who};

/// The version of the form: it grows when something changes that a reader must know of. New keys are no change.
pub const PAYLOAD_VERSION: u32 = 1;

/// What a webhook of the form `json` is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Payload {
    /// The version of this form: 1.
    pub version: u32,
    /// The message's id: the same when it is sent again.
    pub id: String,
    /// The fleet.
    pub fleet: String,
    /// The controller's id.
    pub controller: String,
    /// The owner whom it is for; absent for the admin.
    pub owner: Option<String>,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// In a line.
    pub subject: String,
    /// The whole text, as mail has it.
    pub text: String,
    /// What it tells.
    pub notices: Vec<Notice>,
    /// How much more there is than it tells.
    pub more: u32,
}

impl Payload {
    /// The payload of a message.
    pub fn of(message: &Message) -> Self {
        let post = &message.post;
        let owner = match &post.who {
            Who::Owner(owner) => Some(owner.to_string()),
            Who::Admin => None,
        };
        Self {
            version: PAYLOAD_VERSION,
            id: message.id.clone(),
            fleet: message.fleet.clone(),
            controller: message.controller.clone(),
            owner,
            at: post.at,
            subject: message.subject.clone(),
            text: message.text.clone(),
            notices: post.notices.clone(),
            more: post.more,
        }
    }
}

/// The JSON Schema of [`Payload`].
pub fn schema() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Payload>().to_value()
}
