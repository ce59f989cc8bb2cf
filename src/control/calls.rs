//! What a cell has asked for and waits for.

use std::future::Future;
use std::panic::resume_unwind;

use tokio::task::{JoinError, JoinSet};

/// Calls on their way. Each is a task: to write and sign many at once takes all processors. They end with their cell.
#[derive(Debug)]
pub(super) struct Calls<T>(JoinSet<T>);

impl<T: Send + 'static> Calls<T> {
    pub(super) fn none() -> Self {
        Self(JoinSet::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn begin(&mut self, call: impl Future<Output = T> + Send + 'static) {
        self.0.spawn(call);
    }

    /// The next answer; `None` once nothing is on its way. May be dropped: no answer is lost.
    pub(super) async fn next(&mut self) -> Option<T> {
        loop {
            if let Some(answer) = answer(self.0.join_next().await?) {
                return Some(answer);
            }
        }
    }

    /// An answer that is there already.
    pub(super) fn ready(&mut self) -> Option<T> {
        loop {
            if let Some(answer) = answer(self.0.try_join_next()?) {
                return Some(answer);
            }
        }
    }
}

/// A call that panicked panics its cell, whose loop then begins anew; one that was ended with the program has no answer.
fn answer<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(answer) => Some(answer),
        Err(Ok(panic)) => resume_unwind(panic),
        Err(Err(_)) => None,
    }
}
