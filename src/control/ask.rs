//! What masters ask for: a worker, or that it go. Several are one write.

use chrono::{DateTime, Utc};

use super::{ControlError, Controller};
use crate::ledger::Ledger;
use crate::model::{Actor, Body, Cause, Fleet, RequestId, WorkerName};

/// What somebody asks of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// That it be there.
    Start {
        /// The request, chosen by who asks.
        request: RequestId,
    },
    /// That it go.
    Release {
        /// Why.
        cause: Cause,
        /// Only if this is the last request.
        request: Option<RequestId>,
    },
}

impl<L: Ledger + 'static> Controller<L> {
    /// A master wants a worker. When it returns, the request survives a crash; the answer is the
    /// worker's state. Repeating a request that still stands changes nothing.
    ///
    /// # Errors
    /// [`ControlError::UnknownWorker`], [`ControlError::Elsewhere`], or the ledger's.
    pub fn request(&self, actor: &Actor, worker: &WorkerName, request: &RequestId) -> Result<(), ControlError> {
        self.ask(actor, worker, &Ask::Start { request: request.clone() })
    }

    /// Nobody wants the worker any more. When it returns, that survives a crash. With `request`, it
    /// counts only if that is the last request. May be repeated.
    ///
    /// # Errors
    /// [`ControlError::UnknownWorker`], or the ledger's.
    pub fn release(
        &self,
        actor: &Actor,
        worker: &WorkerName,
        cause: Cause,
        request: Option<&RequestId>,
    ) -> Result<(), ControlError> {
        self.ask(actor, worker, &Ask::Release { cause, request: request.cloned() })
    }

    /// Takes in one thing that is asked. When it returns, that survives a crash. May be repeated.
    ///
    /// # Errors
    /// [`ControlError::UnknownWorker`], [`ControlError::Elsewhere`], or the ledger's.
    pub fn ask(&self, actor: &Actor, worker: &WorkerName, ask: &Ask) -> Result<(), ControlError> {
        let asked = [(worker.clone(), ask.clone())];
        self.ask_together(actor, &asked).unwrap_or_else(|error| vec![Err(error)]).pop().unwrap_or(Ok(()))
    }

    /// Takes in what one actor asks of several workers, in one write; of one worker once at most. Each has an answer of
    /// its own. When it returns, all that was not refused survives a crash.
    ///
    /// # Errors
    /// The ledger's: then nothing of it was written.
    pub fn ask_together(
        &self,
        actor: &Actor,
        asked: &[(WorkerName, Ask)],
    ) -> Result<Vec<Result<(), ControlError>>, ControlError> {
        let now = self.clock.now();
        let mut answers = Vec::with_capacity(asked.len());
        self.write(now, actor, |fleet| {
            let mut bodies = Vec::new();
            for (worker, ask) in asked {
                match self.says(now, fleet, actor, worker, ask) {
                    Ok(new) => {
                        bodies.extend(new);
                        answers.push(Ok(()));
                    }
                    Err(refused) => answers.push(Err(refused)),
                }
            }
            bodies
        })?;
        Ok(answers)
    }

    /// The entry that follows from it, if it says something new.
    fn says(
        &self,
        now: DateTime<Utc>,
        fleet: &Fleet,
        actor: &Actor,
        worker: &WorkerName,
        ask: &Ask,
    ) -> Result<Option<Body>, ControlError> {
        let recorded = fleet.workers.get(worker);
        match ask {
            Ask::Start { request } => {
                self.known(worker)?;
                if let Actor::Master(master) = actor {
                    let other = self.with_standing(|standing| standing.elsewhere(fleet, worker, master));
                    if let Some((master, recorded)) = other.zip(recorded) {
                        let state = recorded.state.name();
                        return Err(ControlError::Elsewhere { worker: worker.clone(), master, state });
                    }
                    self.shared.hear(worker, now);
                }
                let repeated = recorded.is_some_and(|w| {
                    w.last_request.as_ref() == Some(request) && w.failure.is_none() && w.released.is_none()
                });
                Ok((!repeated).then(|| Body::Requested { worker: worker.clone(), request: request.clone() }))
            }
            Ask::Release { cause, request } => {
                if recorded.is_none() {
                    return self.known(worker).map(|()| None);
                }
                let last = recorded.and_then(|worker| worker.last_request.as_ref());
                let stands = request.as_ref().is_none_or(|request| last == Some(request));
                // A master that does not have the worker has let go of it already.
                let elsewhere = match actor {
                    Actor::Master(master) => self.with_standing(|standing| standing.elsewhere(fleet, worker, master)),
                    _ => None,
                };
                let repeated = recorded.is_some_and(|w| w.request.is_none() && w.released.as_ref() == Some(cause));
                let counts = stands && elsewhere.is_none() && !repeated;
                Ok(counts.then(|| Body::Released { worker: worker.clone(), cause: cause.clone() }))
            }
        }
    }
}
