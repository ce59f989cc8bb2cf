//! `[sweep]`: what counts as left over, and what may be done about it.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::key::{RESPOND_KEYS, SWEEP_KEYS};
use super::problem::Problems;
use super::reader::{Layer, Reader};
use crate::model::{LeftoverKind, Response};

/// What counts as left over, and what may be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the key of the same name, documented in default.toml")]
pub struct SweepPolicy {
    pub period: TimeDelta,
    pub grace: TimeDelta,
    pub second_look: TimeDelta,
    pub young: TimeDelta,
    pub stopped_max: TimeDelta,
    pub ami_stuck: TimeDelta,
    pub ami_keep: u32,
    pub ami_keep_for: TimeDelta,
    pub acts_free: u32,
    pub acts_max: u32,
    pub acts_percent: u32,
    pub respond: BTreeMap<LeftoverKind, Response>,
}

impl SweepPolicy {
    /// Reads the layers, the highest first; the lowest is the embedded default, so nothing is missing.
    pub(super) fn read(layers: Vec<Layer<'_>>, problems: &mut Problems) -> Option<Self> {
        let mut reader = Reader::new(layers, SWEEP_KEYS, "sweep", problems);
        let mut span = |key| reader.span(key);
        let period = span("period");
        let grace = span("grace");
        let second_look = span("second_look");
        let young = span("young");
        let stopped_max = span("stopped_max");
        let ami_stuck = span("ami_stuck");
        let ami_keep_for = span("ami_keep_for");
        let ami_keep = reader.count("ami_keep");
        let acts_free = reader.count("acts_free");
        let acts_max = reader.count("acts_max");
        let acts_percent = reader.count("acts_percent");
        let mut respond: BTreeMap<LeftoverKind, Response> =
            LeftoverKind::ALL.iter().map(|kind| (*kind, kind.default_response())).collect();
        if let Some(layer) = reader.table("respond") {
            let mut below = reader.below(layer, RESPOND_KEYS, "respond");
            for key in RESPOND_KEYS {
                let (kind, word) = (key.name.parse::<LeftoverKind>(), below.choice(key.name));
                if let (Ok(kind), Some(word)) = (kind, word) {
                    respond.insert(kind, response(&word.value));
                }
            }
            below.finish();
        }
        reader.finish();
        Some(Self {
            period: period?.value,
            grace: grace?.value,
            second_look: second_look?.value,
            young: young?.value,
            stopped_max: stopped_max?.value,
            ami_stuck: ami_stuck?.value,
            ami_keep: ami_keep?.value,
            ami_keep_for: ami_keep_for?.value,
            acts_free: acts_free?.value,
            acts_max: acts_max?.value,
            acts_percent: acts_percent?.value,
            respond,
        })
    }

    /// What may be done about a kind.
    pub fn response(&self, kind: LeftoverKind) -> Response {
        self.respond.get(&kind).copied().unwrap_or(Response::Report)
    }
}

fn response(word: &str) -> Response {
    match word {
        "stop" => Response::Stop,
        "terminate" => Response::Terminate,
        _ => Response::Report,
    }
}
