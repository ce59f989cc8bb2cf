//! Canaries: a rebake asks that a worker's next instance be one, sees how it goes, and asks no longer.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ControlError, Controller};
use crate::ledger::Ledger;
use crate::model::{
    Actor, AmiId, Body, Built, Canary, CanaryPhase, CanaryState, Fleet, Generation, HeldReason, RebakeId, Worker,
    WorkerName,
};

/// What a rebake asks of a worker, and how far that has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CanaryView {
    /// The rebake that asks.
    pub rebake: RebakeId,
    /// The candidate.
    pub ami: AmiId,
    /// The generation that it would be.
    pub generation: u32,
    /// The builder whose build it must pass; null if it need not build.
    pub smoke: Option<String>,
    /// `waiting`, `starting`, `connected`, `building`, `stopping`, `stopped`, `restarting`, `passed` or `failed`.
    pub phase: String,
    /// The same, for those who decide by it.
    #[serde(skip, default = "waiting")]
    #[schemars(skip)]
    pub step: CanaryPhase,
    /// Whether the worker's present instance is the canary: then no build but the smoke build may run there.
    #[serde(default)]
    pub present: bool,
    /// Why it waits or has failed, in words; the end of its console stands below a failure that it may explain.
    pub why: Option<String>,
    /// When its worker connected.
    pub connected_at: Option<DateTime<Utc>>,
    /// How its smoke build ended.
    pub built: Option<Built>,
    /// When its worker connected after the stop and the start.
    pub reconnected_at: Option<DateTime<Utc>>,
}

fn waiting() -> CanaryPhase {
    CanaryPhase::Waiting
}

/// How launches from one AMI went. Canaries do not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AmiView {
    /// The AMI.
    pub ami: AmiId,
    /// The image manifest that named it.
    pub image: String,
    /// Which generation of the image it is, if the manifest said so.
    pub generation: Option<u32>,
    /// Instances launched.
    pub starts: u64,
    /// Those whose worker connected.
    pub connected: u64,
    /// Those that ended before without an interruption, or never connected.
    pub failed: u64,
    /// From the launch to the connection in seconds: the last hundred, the oldest first.
    pub connect_seconds: Vec<u32>,
    /// When it was first launched from.
    pub first_at: DateTime<Utc>,
    /// When it was last launched from.
    pub last_at: DateTime<Utc>,
}

/// What is shown of a worker's canary, if a rebake asks for one.
pub(super) fn view(worker: &Worker, held: Option<&HeldReason>) -> Option<CanaryView> {
    let CanaryState { order, phase, failed, ended, .. } = worker.canary.as_ref()?;
    let waits = || match (&worker.state, held) {
        (_, Some(HeldReason::Canary { doing, .. })) => Some(doing.to_string()),
        (state, Some(held)) => Some(format!("the worker is {state}: {held}")),
        (state, None) => Some(format!("the worker is {state}")),
    };
    let (phase, why) = match (phase, failed) {
        (CanaryPhase::Passed, _) => (CanaryPhase::Passed, None),
        (_, Some(failure)) => {
            let console = failure.console.as_ref().map(|text| format!("\n{text}")).unwrap_or_default();
            (CanaryPhase::Failed, Some(format!("{failure}{console}")))
        }
        (_, None) if *ended => (CanaryPhase::Failed, Some("nobody asks for it any more; it is taken away".to_owned())),
        (CanaryPhase::Waiting, None) => (CanaryPhase::Waiting, waits()),
        (CanaryPhase::Failed, None) => (CanaryPhase::Failed, Some("its instance was ended".to_owned())),
        (phase, None) => (*phase, None),
    };
    Some(CanaryView {
        rebake: order.rebake.clone(),
        ami: order.ami.clone(),
        generation: order.generation,
        smoke: order.smoke.clone(),
        phase: phase.name().to_owned(),
        step: phase,
        present: worker.is_canary(),
        why,
        connected_at: worker.canary.as_ref()?.connected_at,
        built: worker.canary.as_ref()?.built.clone(),
        reconnected_at: worker.canary.as_ref()?.reconnected_at,
    })
}

/// Whether a canary may take the place of what the record says of the worker's last one.
fn takes(fleet: &Fleet, worker: &WorkerName, canary: &Canary) -> Result<bool, ControlError> {
    let Some(recorded) = fleet.workers.get(worker) else { return Ok(true) };
    let Some(old) = &recorded.canary else { return Ok(true) };
    // How long it may wait for is no part of what is asked: it may be said anew as long as it waits.
    let (connect_deadline_s, now) = (canary.connect_deadline_s, canary.now);
    if !old.ended && (Canary { connect_deadline_s, now, ..old.order.clone() }) == *canary {
        return Ok(old.phase == CanaryPhase::Waiting && old.order != *canary);
    }
    if old.order.rebake != canary.rebake && old.is_over() && !recorded.is_canary() {
        return Ok(true);
    }
    let (rebake, ami) = (old.order.rebake.clone(), old.order.ami.clone());
    Err(ControlError::OtherCanary { worker: worker.clone(), rebake, ami })
}

impl<L: Ledger + 'static> Controller<L> {
    /// A rebake asks that the worker's next instance be a canary of its candidate: launched when nobody needs
    /// the worker, and taken through connect, build, stop, start and connect. When it returns, that survives a
    /// crash. Asking once more for the same changes nothing, whatever has come of it.
    ///
    /// # Errors
    /// [`ControlError::UnknownWorker`]; [`ControlError::OtherCanary`] while another one is asked for, or its
    /// instance is there; or the ledger's.
    pub fn set_canary(&self, actor: &Actor, worker: &WorkerName, canary: &Canary) -> Result<(), ControlError> {
        self.known(worker)?;
        let mut refused = None;
        self.write(self.clock.now(), actor, |fleet| match takes(fleet, worker, canary) {
            Ok(new) => new.then(|| Body::CanarySet { worker: worker.clone(), canary: Box::new(canary.clone()) }),
            Err(error) => {
                refused = Some(error);
                None
            }
        })?;
        refused.map_or(Ok(()), Err)
    }

    /// The rebake asks no longer: what is left of its canary is taken away, and its outcome is forgotten. It may
    /// be said again, and of a canary that was never asked for.
    ///
    /// # Errors
    /// [`ControlError::UnknownWorker`], or the ledger's.
    pub fn end_canary(
        &self,
        actor: &Actor,
        worker: &WorkerName,
        rebake: &RebakeId,
        why: Option<&str>,
    ) -> Result<(), ControlError> {
        if !self.shared.book().fleet().workers.contains_key(worker) {
            return self.known(worker);
        }
        self.write(self.clock.now(), actor, |fleet| {
            let canary = fleet.workers.get(worker).and_then(|worker| worker.canary.as_ref());
            let stands = canary.is_some_and(|canary| canary.order.rebake == *rebake && !canary.ended);
            let (worker, rebake) = (worker.clone(), rebake.clone());
            stands.then(|| Body::CanaryEnded { worker, rebake, why: why.map(ToOwned::to_owned) })
        })
    }

    /// How launches from each AMI went, the last eight AMIs of each image, by image and then by the last launch.
    pub fn amis(&self) -> Vec<AmiView> {
        let mut all: Vec<AmiView> = self.shared.book().fleet().generations.iter().map(of_ami).collect();
        all.sort_by(|a, b| (&a.image, a.last_at, &a.ami).cmp(&(&b.image, b.last_at, &b.ami)));
        all
    }
}

fn of_ami((ami, one): (&AmiId, &Generation)) -> AmiView {
    AmiView {
        ami: ami.clone(),
        image: one.image.to_string(),
        generation: one.generation,
        starts: one.starts,
        connected: one.connected,
        failed: one.failed,
        connect_seconds: one.connect_seconds.iter().copied().collect(),
        first_at: one.first_at,
        last_at: one.last_at,
    }
}
