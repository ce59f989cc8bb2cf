//! The loop of one rebake: look, decide, write, act. It may be ended at any point and gone on with from its journal.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::look;
use super::stage::Stage;
use crate::cloud::{Bakery, Commands};
use crate::control::driver::Clock;
use crate::control::perform_rebake::perform;
use crate::ledger::{Journal, JournalError};
use crate::model::{Outcome, REBAKE_VERSION, Rebake, RebakeBody, RebakeEntry, RebakeFoldError, RebakeOrder};
use crate::plan::rebake::{self, Move, RebakeView};

/// What a rebake's loop is told from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// What was done shall be taken back.
    pub abort: bool,
    /// The loop shall end; the journal is gone on with later.
    pub leave: bool,
}

/// Where a rebake stands, for those who follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The record.
    pub rebake: Rebake,
    /// What it waits for.
    pub waits: Option<String>,
    /// When it looks again.
    pub until: Option<DateTime<Utc>>,
    /// What the builder's console showed last.
    pub tail: Option<String>,
}

/// Why a rebake's loop ended without an outcome.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Its journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An entry does not follow: a bug of ours, caught before it was written.
    #[error("the journal of the rebake cannot go on so: {0}")]
    Fold(#[from] RebakeFoldError),
}

/// One rebake at work.
#[expect(missing_debug_implementations, reason = "clouds need not be shown")]
pub struct Engine<C, J, S> {
    cloud: Arc<C>,
    stage: Option<Arc<S>>,
    clock: Clock,
    journal: J,
    rebake: Rebake,
    tell: watch::Sender<Standing>,
    wishes: watch::Receiver<Wish>,
}

/// The first entry of a new rebake's journal.
pub fn first_entry(order: RebakeOrder) -> RebakeEntry {
    let at = order.at;
    RebakeEntry { version: REBAKE_VERSION, seq: 1, at, body: RebakeBody::Ordered { order: Box::new(order) } }
}

impl<C, J, S> Engine<C, J, S>
where
    C: Bakery + Commands,
    J: Journal,
    S: Stage,
{
    /// Goes on with a journal that holds these entries. Without a stage it hands the new AMI over.
    ///
    /// # Errors
    /// [`RebakeFoldError`] if the entries do not follow.
    pub fn new(
        cloud: Arc<C>,
        stage: Option<Arc<S>>,
        clock: Clock,
        journal: J,
        entries: &[RebakeEntry],
        wishes: watch::Receiver<Wish>,
    ) -> Result<Self, RebakeFoldError> {
        let rebake = Rebake::fold(entries)?;
        let tell = watch::Sender::new(Standing { rebake: rebake.clone(), waits: None, until: None, tail: None });
        Ok(Self { cloud, stage, clock, journal, rebake, tell, wishes })
    }

    /// Where it stands, whenever that changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.tell.subscribe()
    }

    /// Works until the rebake has ended; `None` if it was told to leave before.
    ///
    /// # Errors
    /// [`EngineError`] if the journal cannot be written; what was intended is found again by the next one.
    pub async fn run(mut self) -> Result<Option<Outcome>, EngineError> {
        if self.rebake.outcome.is_none() {
            self.write(vec![RebakeBody::Resumed { version: crate::VERSION.to_owned() }])?;
        }
        loop {
            if let Some(outcome) = &self.rebake.outcome {
                return Ok(Some(outcome.clone()));
            }
            if self.wishes.borrow().leave {
                return Ok(None);
            }
            self.activate().await?;
        }
    }

    /// One look and one move.
    async fn activate(&mut self) -> Result<(), EngineError> {
        let questions = rebake::asks(&self.rebake);
        let look = look::look(&*self.cloud, self.stage.as_deref(), &self.clock, &self.rebake, &questions);
        // Boxed, as the act below: calls of an SDK are large values, and a thread's stack is not.
        let sight = Box::pin(look).await;
        let now = self.clock.now();
        let urgent = self.stage.as_ref().is_some_and(|stage| stage.urgent(&self.rebake.order.image, now));
        let aborted = self.wishes.borrow().abort;
        let view =
            RebakeView { now, rebake: &self.rebake, sight: &sight, stage: self.stage.is_some(), urgent, aborted };
        let pause = rebake::pause_between_looks(&view, rebake::LOOK_AGAIN);
        match rebake::next(&view) {
            Move::Record(bodies) => self.write(bodies),
            Move::Act(act) => {
                if let Some(intent) = act.intent(&self.rebake) {
                    self.write(vec![intent])?;
                }
                let done = perform(&*self.cloud, self.stage.as_deref(), &self.clock, &self.rebake.order, &act);
                let result = Box::pin(done).await;
                let bodies = rebake::outcome(&self.rebake, &act, result);
                if bodies.is_empty() {
                    // What it comes to is seen, and not at once.
                    self.wait(act.what().to_owned(), self.clock.now() + pause, None).await;
                }
                self.write(bodies)
            }
            Move::Wait { why, until } => {
                self.wait(why, until, sight.tail).await;
                Ok(())
            }
        }
    }

    /// Entries are checked against the record before they are written, and are true only once they are.
    fn write(&mut self, bodies: Vec<RebakeBody>) -> Result<(), EngineError> {
        for body in bodies {
            let (seq, at) = (self.rebake.seq + 1, self.clock.now());
            let entry = RebakeEntry { version: REBAKE_VERSION, seq, at, body };
            let mut after = self.rebake.clone();
            after.apply(&entry)?;
            self.journal.append(&entry)?;
            tracing::info!(rebake = %self.rebake.order.id, "{}", entry.body.describe());
            self.rebake = after;
        }
        self.tell.send_replace(Standing { rebake: self.rebake.clone(), waits: None, until: None, tail: None });
        Ok(())
    }

    async fn wait(&mut self, why: String, until: DateTime<Utc>, tail: Option<String>) {
        self.tell.send_replace(Standing { rebake: self.rebake.clone(), waits: Some(why), until: Some(until), tail });
        tokio::select! {
            () = self.clock.sleep_until(until) => {}
            // Nobody can wish anything any more: then only time counts.
            () = changed(&mut self.wishes) => {}
        }
    }
}

async fn changed(wishes: &mut watch::Receiver<Wish>) {
    if wishes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
