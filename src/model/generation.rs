//! How launches from each AMI went: what tells a good generation of an image from a bad one.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{AmiId, Attempt, Body, Cause, ImageName, tag_keys};

/// So many times from launch to connection are kept of an AMI, the last ones.
const TIMES_MAX: usize = 100;
/// So many AMIs are kept of an image, those last launched.
const AMIS_MAX: usize = 8;

/// How launches from one AMI went. Canaries do not count: they are there because nobody trusts their AMI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The manifest that named it.
    pub image: ImageName,
    /// Its number, if the manifest said one.
    pub generation: Option<u32>,
    /// Instances launched.
    pub starts: u64,
    /// Those whose worker connected.
    pub connected: u64,
    /// Those that ended before, by the fault of nobody that is known: never connected, or lost. A spot
    /// interruption and a request taken back do not count.
    pub failed: u64,
    /// From the launch to the connection in whole seconds, the last hundred, the oldest first.
    pub connect_seconds: VecDeque<u32>,
    /// The first launch.
    pub first_at: DateTime<Utc>,
    /// The last one.
    pub last_at: DateTime<Utc>,
}

/// What became of a launch, as far as that says something of its AMI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// It gave an instance.
    Launched,
    /// Its worker connected.
    Connected,
    /// Its instance ended before.
    Failed,
}

/// What an entry about a worker says of the launch that it waits for.
pub(super) fn start_of(body: &Body) -> Option<Start> {
    match body {
        Body::Launched { .. } => Some(Start::Launched),
        Body::Attached { .. } => Some(Start::Connected),
        Body::TerminateIntended { cause: Cause::NeverConnected, worker: Some(_), .. } => Some(Start::Failed),
        Body::Lost { cause, .. } if *cause != Cause::Interrupted => Some(Start::Failed),
        _ => None,
    }
}

/// Counts what became of an attempt's launch.
pub(super) fn count(all: &mut BTreeMap<AmiId, Generation>, attempt: &Attempt, started: Start, at: DateTime<Utc>) {
    let Some(spec) = &attempt.spec else { return };
    if started == Start::Launched {
        let generation = spec.tags.get(tag_keys::GENERATION).and_then(|text| text.parse().ok());
        let one = all.entry(spec.ami.clone()).or_insert_with(|| Generation {
            image: attempt.image.clone(),
            generation,
            starts: 0,
            connected: 0,
            failed: 0,
            connect_seconds: VecDeque::new(),
            first_at: at,
            last_at: at,
        });
        (one.starts, one.last_at) = (one.starts + 1, at);
        (one.image, one.generation) = (attempt.image.clone(), generation.or(one.generation));
        forget_the_oldest(all, &attempt.image);
        return;
    }
    let Some(one) = all.get_mut(&spec.ami) else { return };
    if started == Start::Failed {
        one.failed += 1;
        return;
    }
    one.connected += 1;
    if one.connect_seconds.len() >= TIMES_MAX {
        one.connect_seconds.pop_front();
    }
    one.connect_seconds.push_back(u32::try_from((at - attempt.created).num_seconds().max(0)).unwrap_or(u32::MAX));
}

fn forget_the_oldest(all: &mut BTreeMap<AmiId, Generation>, image: &ImageName) {
    let of_image = || all.iter().filter(|(_, one)| one.image == *image);
    if of_image().count() > AMIS_MAX
        && let Some(oldest) = of_image().min_by_key(|(id, one)| (one.last_at, (*id).clone())).map(|(id, _)| id.clone())
    {
        all.remove(&oldest);
    }
}
