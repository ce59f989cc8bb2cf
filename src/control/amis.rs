//! The listings that AMIs are chosen from: asked for when a launch waits for one, kept for some minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::backoff::backoff;
use super::driver::Clock;
use crate::cloud::{Cloud, CloudError};
use crate::model::{AmiCandidate, AmiId, AmiQuery, Cell, Failure, FailureKind, Phase};
use crate::plan::AmiListings;
use crate::policy::Intent;

/// A listing may take this long: all that is public in a region is a hundred pages.
const LIMIT: Duration = Duration::from_mins(2);

/// What a look came to.
#[derive(Debug)]
pub(super) struct Looked {
    query: AmiQuery,
    asked_at: DateTime<Utc>,
    result: Result<Vec<AmiCandidate>, CloudError>,
}

/// The listings of a cell, and which are on their way.
#[derive(Debug, Default)]
pub(super) struct Amis {
    listings: Arc<AmiListings>,
    asked: BTreeSet<AmiQuery>,
    refusals: BTreeMap<AmiQuery, u32>,
    prepared: BTreeSet<AmiId>,
}

impl Amis {
    pub(super) fn listings(&self) -> &AmiListings {
        &self.listings
    }

    /// The listings, for whoever shows what was chosen.
    pub(super) fn shared(&self) -> Arc<AmiListings> {
        Arc::clone(&self.listings)
    }

    pub(super) fn is_asked(&self, query: &AmiQuery) -> bool {
        self.asked.contains(query)
    }

    /// An AMI that was chosen cannot be launched from.
    pub(super) fn forget(&mut self) {
        Arc::make_mut(&mut self.listings).forget();
    }

    /// The AMIs that the manifests of a cell name and that launches are not prepared for yet.
    pub(super) fn unprepared(&self, cell: &Cell, intent: &Intent) -> BTreeSet<AmiId> {
        let here = intent.images.values().filter(|image| image.owner == cell.owner && image.region == cell.region);
        let named = here.filter_map(|image| image.ami.named());
        named.filter(|id| !self.prepared.contains(*id)).cloned().collect()
    }

    /// Prepares launches, and says whether EC2 found that it came too fast. It is tried once: a launch that is not
    /// prepared asks for itself.
    pub(super) fn prepare<C: Cloud + 'static>(
        &mut self,
        amis: BTreeSet<AmiId>,
        cloud: &Arc<C>,
        clock: &Clock,
    ) -> impl Future<Output = bool> + Send + use<C> {
        self.prepared.extend(amis.iter().cloned());
        let (cloud, clock) = (Arc::clone(cloud), clock.clone());
        async move {
            let Some(Err(error)) = clock.within(LIMIT, cloud.prepare(&amis)).await else { return false };
            tracing::debug!(%error, "launches are not prepared, and ask for their AMIs themselves");
            error.kind == FailureKind::Throttled
        }
    }

    /// Begins a look.
    pub(super) fn ask<C: Cloud + 'static>(
        &mut self,
        query: AmiQuery,
        now: DateTime<Utc>,
        cloud: &Arc<C>,
        clock: &Clock,
    ) -> impl Future<Output = Looked> + Send + use<C> {
        self.asked.insert(query.clone());
        let (cloud, clock) = (Arc::clone(cloud), clock.clone());
        async move {
            let listed = clock.within(LIMIT, cloud.ami_candidates(&query)).await;
            let result = listed.unwrap_or_else(|| {
                let message = format!("the AMIs were not listed within {} s", LIMIT.as_secs());
                Err(CloudError { kind: FailureKind::Unreachable, code: "Timeout".to_owned(), message })
            });
            Looked { query, asked_at: now, result }
        }
    }

    /// A look has ended. Says whether EC2 found that it came too fast.
    pub(super) fn looked(
        &mut self,
        now: DateTime<Utc>,
        looked: Looked,
        cell: &Cell,
        intent: &Intent,
        random: &mut fastrand::Rng,
    ) -> bool {
        let Looked { query, asked_at, result } = looked;
        self.asked.remove(&query);
        match result {
            Ok(found) => {
                self.refusals.remove(&query);
                // Other owners' filters choose of listings of their own.
                let images = intent.images.values();
                let images = images.filter(|image| image.owner == cell.owner && image.region == cell.region);
                Arc::make_mut(&mut self.listings).listed(query, asked_at, found, images);
                false
            }
            Err(error) => {
                tracing::warn!(error.code = %error.code, error.kind = %error.kind, "cannot list AMIs: {}", error.message);
                let refusals = self.refusals.entry(query.clone()).or_insert(0);
                *refusals += 1;
                let until = now + backoff(*refusals, random);
                let failure = Failure::new(Phase::Launch, error.kind, &error.code, &error.message);
                Arc::make_mut(&mut self.listings).refused(query, asked_at, failure, until);
                error.kind == FailureKind::Throttled
            }
        }
    }
}
