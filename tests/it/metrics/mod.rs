//! The numbers for Prometheus: what they say, that others can read them, and that every alert fires when it should.

mod alerts;
mod exposition;
mod files;
mod story;
mod tools;
