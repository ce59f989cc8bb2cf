//! What people are told: the decisions as stories, and the task with a courier that a test steers.

mod config;
mod engine;
mod outbox;
mod places;
mod scene;
