//! No cell is ever left without a loop.

use std::sync::Arc;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::cell::CellLoop;
use super::driver::Clock;
use super::shared::Shared;
use crate::cloud::Cloud;
use crate::ledger::Ledger;
use crate::model::{Cell, Failure, FailureKind, Phase};

/// After a loop panicked, the next one begins this much later.
const RESTART_PAUSE: TimeDelta = TimeDelta::seconds(10);

/// Runs the loop of a cell until it is stopped; a loop that panics is said and begun anew, so that no
/// cell is ever left without anybody who looks.
pub(super) async fn supervise<C: Cloud + 'static, L: Ledger + 'static>(
    cell: Cell,
    cloud: Arc<C>,
    shared: Arc<Shared<L>>,
    clock: Clock,
    seed: u64,
    stop: watch::Receiver<bool>,
) {
    loop {
        let one = CellLoop::new(cell.clone(), Arc::clone(&cloud), Arc::clone(&shared), clock.clone(), seed);
        // A set of one: when this task is aborted, so is the loop.
        let mut task = JoinSet::new();
        task.spawn(one.run(stop.clone()));
        match task.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(%cell, %error, "the loop panicked and begins anew; please report this");
                let message = "the loop of this cell panicked; it begins anew".to_owned();
                let failure = Failure::new(Phase::Launch, FailureKind::Bug, "Panicked", &message);
                shared.publish(&cell, Vec::new(), None, Some(failure), None, Arc::default());
                clock.sleep_until(clock.now() + RESTART_PAUSE).await;
            }
            Some(Ok(()) | Err(_)) | None => return,
        }
    }
}
