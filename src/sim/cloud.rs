//! The in-process door to a [`World`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use super::world::{ApiCall, Fault, World, refused};
use crate::cloud::{Cloud, CloudError};
use crate::control::Clock;
use crate::model::{ClientToken, FailureKind, InstanceId, Inventory, LaunchSpec};
use crate::policy::Secret;

/// How long a call takes.
const LATENCY: TimeDelta = TimeDelta::milliseconds(200);
/// When an answer that never comes would come.
const NEVER: TimeDelta = TimeDelta::days(3650);

/// A door to a simulated account for one cell. Clones lead to the same world.
#[derive(Debug, Clone)]
pub struct SimCloud {
    world: Arc<Mutex<World>>,
    clock: Clock,
}

impl SimCloud {
    /// A door to this world, on this clock.
    pub fn new(world: Arc<Mutex<World>>, clock: Clock) -> Self {
        Self { world, clock }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Half the time passes before the call takes effect, half before its answer arrives.
    async fn call<T>(
        &self,
        call: ApiCall,
        effect: impl FnOnce(&mut World, DateTime<Utc>) -> Result<T, CloudError> + Send,
    ) -> Result<T, CloudError> {
        self.clock.sleep_until(self.clock.now() + LATENCY / 2).await;
        let now = self.clock.now();
        let fault = self.world().meet(call, now);
        let result = match fault {
            Some(Fault::Refuse(kind, code)) => Err(refused(kind, code)),
            Some(Fault::Hang) => {
                self.clock.sleep_until(now + NEVER).await;
                Err(refused(FailureKind::Unreachable, "Hang"))
            }
            Some(Fault::LoseReply) => {
                let _ = effect(&mut self.world(), now);
                Err(refused(FailureKind::Unreachable, "LostReply"))
            }
            None => effect(&mut self.world(), now),
        };
        self.clock.sleep_until(now + LATENCY / 2).await;
        result
    }
}

impl Cloud for SimCloud {
    async fn account(&self) -> Result<String, CloudError> {
        self.call(ApiCall::Account, |world, _| Ok(world.account())).await
    }

    async fn inventory(&self, observed_at: DateTime<Utc>, also: &[InstanceId]) -> Result<Inventory, CloudError> {
        let mut listing = self.call(ApiCall::Inventory, |world, now| Ok(world.list(now, observed_at, None))).await?;
        let missing: Vec<_> = also.iter().filter(|id| !listing.instances.contains_key(*id)).cloned().collect();
        if !missing.is_empty() {
            let found = self.call(ApiCall::Inventory, |world, now| Ok(world.list(now, observed_at, Some(&missing))));
            listing.instances.extend(found.await?.instances);
        }
        Ok(listing)
    }

    async fn launch(
        &self,
        spec: &LaunchSpec,
        _user_data: Option<&Secret>,
        token: &ClientToken,
    ) -> Result<InstanceId, CloudError> {
        self.call(ApiCall::Launch, |world, now| world.launch(spec, token, now)).await
    }

    async fn terminate(&self, id: &InstanceId) -> Result<(), CloudError> {
        self.call(ApiCall::Terminate, |world, now| world.terminate(id, now)).await
    }

    async fn stop(&self, id: &InstanceId) -> Result<(), CloudError> {
        self.call(ApiCall::Stop, |world, now| world.stop(id, now)).await
    }

    async fn start(&self, id: &InstanceId) -> Result<(), CloudError> {
        self.call(ApiCall::Start, |world, now| world.start(id, now)).await
    }

    async fn renew(&self, ids: &[InstanceId], until: DateTime<Utc>) -> Result<(), CloudError> {
        self.call(ApiCall::Renew, |world, now| world.renew(ids, until, now)).await
    }
}
