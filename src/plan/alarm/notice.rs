//! One thing that somebody is told.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::AlarmClass;

/// Whether something begins, goes on, ends, or just is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticePhase {
    /// It is so from now on; its end will be told if a person would wait for that.
    Begins,
    /// It is still so, long after it was told.
    GoesOn,
    /// It is over.
    Ends,
    /// It comes and goes; nothing more is told of it until it has been calm.
    Flaps,
    /// It happened.
    Happened,
}

impl fmt::Display for NoticePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Begins => "begins",
            Self::GoesOn => "goes on",
            Self::Ends => "ends",
            Self::Flaps => "comes and goes",
            Self::Happened => "happened",
        })
    }
}

/// One thing that somebody is told. Texts from elsewhere are cleaned when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// What it is about, the same at its beginning and its end: class and subject.
    pub key: String,
    /// Its class.
    pub class: AlarmClass,
    /// Whether it begins, goes on, ends, or just is so.
    pub phase: NoticePhase,
    /// Whose it is; absent for what is the controller's own.
    pub owner: Option<String>,
    /// In a line that a person can act on.
    pub title: String,
    /// Since when it is so.
    pub since: DateTime<Utc>,
    /// When it was found to be worth telling.
    pub at: DateTime<Utc>,
    /// Whether it is told at night too.
    pub urgent: bool,
    /// What is known, a sentence each.
    pub text: Vec<String>,
    /// What it costs, in words, where that is known.
    pub cost: Option<String>,
    /// What to do: commands and other advice, one each.
    pub todo: Vec<String>,
}
