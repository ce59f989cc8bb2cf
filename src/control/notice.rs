//! Asks EC2 what becomes of spot instances, and what an instance wrote on its console. Both are reads that
//! help and that nothing rests on: they give way to every other call, and their failure is no failure.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::driver::Clock;
use super::pace::{ApiAction, Pace};
use crate::cloud::{Cloud, CloudError};
use crate::model::{InstanceId, ResourceId, ResourceKind};
use crate::plan::{self, CONSOLE_LIMIT};
use crate::policy::Secret;

/// So often spot requests are looked at: EC2 gives two minutes of notice, and a master is to have most of it.
const PERIOD: TimeDelta = TimeDelta::seconds(12);
/// After a refusal the pause doubles up to this.
const PERIOD_MAX: TimeDelta = TimeDelta::minutes(3);
/// So many calls are left to the listings that decisions rest on.
const LEFT_TO_OTHERS: u32 = 10;
/// The answer may take so long.
const LIMIT: TimeDelta = TimeDelta::seconds(20);

/// When spot requests are asked after.
#[derive(Debug)]
pub(super) struct Notices {
    next: DateTime<Utc>,
    asking: bool,
    refusals: u32,
}

/// The instances that EC2 takes back.
pub(super) type Noticed = Result<BTreeSet<InstanceId>, CloudError>;

impl Notices {
    pub(super) fn begun(now: DateTime<Utc>) -> Self {
        Self { next: now, asking: false, refusals: 0 }
    }

    /// When they are asked after next.
    pub(super) fn due(&self) -> Option<DateTime<Utc>> {
        (!self.asking).then_some(self.next)
    }

    /// Asks after these requests, if it is time and there are calls to spare. Without a request there is
    /// no call.
    pub(super) fn ask_if_due<C: Cloud + 'static>(
        &mut self,
        now: DateTime<Utc>,
        requests: Vec<ResourceId>,
        pace: &mut Pace,
        cloud: &Arc<C>,
        clock: &Clock,
    ) -> Option<impl Future<Output = Noticed> + Send + use<C>> {
        if self.asking || now < self.next || requests.is_empty() {
            return None;
        }
        let (calls, _) = pace.available(ApiAction::Describe, now);
        if calls <= LEFT_TO_OTHERS || pace.take(ApiAction::Describe, now).is_err() {
            self.next = now + PERIOD;
            return None;
        }
        self.asking = true;
        let (cloud, clock) = (Arc::clone(cloud), clock.clone());
        Some(async move {
            let asked = cloud.resources(ResourceKind::SpotRequest, Some(&requests), now);
            let answer = clock.within(LIMIT.to_std().unwrap_or_default(), asked).await;
            // Without an answer nothing is known; the next look asks again.
            answer.map_or_else(|| Ok(BTreeSet::new()), |found| found.map(|found| plan::interrupted(found.values())))
        })
    }

    /// The answer has come, or was refused.
    pub(super) fn answered(&mut self, now: DateTime<Utc>, answer: &Noticed) {
        self.asking = false;
        self.refusals = if answer.is_ok() { 0 } else { self.refusals + 1 };
        self.next = now + (PERIOD * (1 << self.refusals.min(6))).min(PERIOD_MAX);
        if let Err(error) = answer
            && self.refusals == 1
        {
            tracing::warn!(error.code = %error.code, error.kind = %error.kind, "spot interruptions are not seen in advance: {}", error.message);
        }
    }
}

/// What an instance's console shows last, if that can be had in time; without the worker's password, if the
/// controller knows it: of a worker whose user data is sent as its master wrote it, it does not.
pub(super) async fn console<C: Cloud>(
    cloud: Arc<C>,
    clock: Clock,
    id: InstanceId,
    password: Option<Secret>,
) -> Option<String> {
    let read = clock.within(CONSOLE_LIMIT.to_std().unwrap_or_default(), cloud.console(&id)).await?;
    let secrets: Vec<&str> = password.iter().map(Secret::reveal).collect();
    match read {
        Ok(text) => plan::console_tail(&text?, &secrets),
        Err(error) => {
            tracing::info!(instance = %id, error.code = %error.code, "its console cannot be read: {}", error.message);
            None
        }
    }
}
