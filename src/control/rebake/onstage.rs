//! The stage of a rebake that a controller hosts: its workers, its record and its manifests.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::stage::{Kept, Stage};
use crate::control::{AmiView, ControlError, Controller};
use crate::ledger::Ledger;
use crate::model::{
    Actor, AmiId, Canary, CanaryPhase, CanarySight, Failure, FailureKind, ImageName, Phase, RebakeOrder, WorkerName,
};
use crate::plan::rebake::{SoakSight, Told};
use crate::plan::{Gate, Sample, gate};

/// The manifests in `amis/`, to be written.
pub trait Manifests: Send + Sync {
    /// Whether a promotion could write the manifest of an image.
    ///
    /// # Errors
    /// Why not, and what to do.
    fn writable(&self, image: &ImageName) -> Result<(), String>;

    /// Makes a manifest name `to` in the place of `from`, and has it taken in. `Ok` if it is so already.
    ///
    /// # Errors
    /// What is in the way, and what to do.
    fn promote(&self, image: &ImageName, from: &AmiId, to: &AmiId, generation: u32) -> Result<(), String>;

    /// Makes a manifest that names `from` name `to`, its previous AMI, again, and has it taken in.
    ///
    /// # Errors
    /// What is in the way, and what to do.
    fn roll_back(&self, image: &ImageName, from: &AmiId, to: &AmiId) -> Result<(), String>;

    /// The text of an owner's script.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn script(&self, file: &str) -> Result<String, String>;
}

/// A controller as the stage of its rebakes.
pub(super) struct ControllerStage<L> {
    controller: Controller<L>,
    manifests: Arc<dyn Manifests>,
    in_work: Box<InWork>,
}

/// Which AMIs the rebakes are at work with.
pub(super) type InWork = dyn Fn() -> BTreeSet<AmiId> + Send + Sync;

/// So many connections of a generation tell how long one takes.
const LEARNED_FROM: usize = 10;

fn waiting() -> CanarySight {
    CanarySight { phase: CanaryPhase::Waiting, why: None, instance: None, built: None }
}

fn sample(ami: &AmiView) -> Sample {
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Sample {
        // One that is on its way says nothing yet.
        starts: count(ami.connected + ami.failed),
        failed: count(ami.failed),
        connect_seconds: ami.connect_seconds.iter().map(|seconds| f64::from(*seconds)).collect(),
    }
}

fn refused(kind: FailureKind, code: &str, message: &str) -> Failure {
    Failure::new(Phase::Rebake, kind, code, message)
}

impl<L: Ledger + 'static> ControllerStage<L> {
    pub(super) fn new(controller: Controller<L>, manifests: Arc<dyn Manifests>, in_work: Box<InWork>) -> Self {
        Self { controller, manifests, in_work }
    }

    /// How it stands with the rebake's canary, if the worker has it.
    fn sight(&self, order: &RebakeOrder, worker: &WorkerName) -> Option<CanarySight> {
        let view = self.controller.worker(worker)?;
        let canary = view.canary.filter(|canary| canary.rebake == order.id)?;
        let built = canary.built.as_ref().map(|built| format!("build {} ({})", built.build, built.word()));
        let instance = view.instance.as_ref().and_then(|id| id.parse().ok());
        Some(CanarySight { phase: canary.step, why: canary.why, instance, built })
    }

    /// How long a canary may take to connect, from how long the generation before took: three times the slowest of
    /// its last starts and a minute, and never longer than the policy says.
    fn learned_deadline(&self, order: &RebakeOrder, worker: &WorkerName) -> Option<u32> {
        let intent = self.controller.intent();
        let longest = intent.workers.get(worker)?.policy.connect_deadline.num_seconds();
        let amis = self.controller.amis();
        let before = amis.iter().find(|one| Some(&one.ami) == order.current.as_ref())?;
        let slowest = before.connect_seconds.iter().max().filter(|_| before.connect_seconds.len() >= LEARNED_FROM)?;
        let learned = i64::from(*slowest) * 3 + 60;
        u32::try_from(learned.min(longest)).ok()
    }

    /// The AMI that the image's manifest names now.
    fn named(&self, image: &ImageName) -> Option<AmiId> {
        self.controller.intent().images.get(image).and_then(|image| image.ami.named().cloned())
    }
}

impl<L: Ledger + 'static> Stage for ControllerStage<L> {
    async fn ask_canary(&self, order: &RebakeOrder, worker: &WorkerName, ami: &AmiId, now: bool) -> Told<CanarySight> {
        let canary = Canary {
            rebake: order.id.clone(),
            ami: ami.clone(),
            generation: order.generation,
            smoke: order.smoke.clone(),
            connect_deadline_s: self.learned_deadline(order, worker),
            now,
        };
        match self.controller.set_canary(&Actor::Operator, worker, &canary) {
            Ok(()) => Ok(self.sight(order, worker).unwrap_or_else(waiting)),
            Err(ControlError::Ledger(error)) => Err(refused(FailureKind::RetrySame, "Ledger", &error.to_string())),
            // Another rebake's canary comes to its end.
            Err(error @ ControlError::OtherCanary { .. }) => {
                Err(refused(FailureKind::RetrySame, "OtherCanary", &error.to_string()))
            }
            Err(error) => Err(refused(FailureKind::Owner, "NoCanary", &error.to_string())),
        }
    }

    async fn canary(&self, order: &RebakeOrder) -> Told<Option<CanarySight>> {
        Ok(order.worker.as_ref().and_then(|worker| self.sight(order, worker)))
    }

    async fn end_canary(&self, order: &RebakeOrder, worker: &WorkerName) -> Told<()> {
        let why = "its rebake is taken back";
        match self.controller.end_canary(&Actor::Operator, worker, &order.id, Some(why)) {
            // A worker that is in nobody's configuration any more has no canary.
            Ok(()) | Err(ControlError::UnknownWorker { .. }) => Ok(()),
            Err(error) => Err(refused(FailureKind::RetrySame, "Ledger", &error.to_string())),
        }
    }

    async fn promote(&self, order: &RebakeOrder, from: &AmiId, to: &AmiId) -> Told<()> {
        let done = self.manifests.promote(&order.image, from, to, order.generation);
        done.map_err(|why| refused(FailureKind::Owner, "NotPromoted", &why))
    }

    async fn roll_back(&self, order: &RebakeOrder, from: &AmiId, to: &AmiId) -> Told<()> {
        // Whoever wrote something else there meant it.
        if self.named(&order.image).is_none_or(|named| named != *from) {
            return Ok(());
        }
        let done = self.manifests.roll_back(&order.image, from, to);
        // The disk may be full: it is tried again, for the promotion must not stay.
        done.map_err(|why| refused(FailureKind::RetrySame, "NotRolledBack", &why))
    }

    async fn soak(&self, order: &RebakeOrder, ami: &AmiId) -> Told<SoakSight> {
        if self.named(&order.image).as_ref() != Some(ami) {
            // A person, or a newer generation, took its place: that is no reason to take it away.
            return Ok(SoakSight::Passed { why: "its manifest does not name it any more".to_owned() });
        }
        let amis = self.controller.amis();
        let of = |ami: Option<&AmiId>| amis.iter().find(|one| Some(&one.ami) == ami).map(sample).unwrap_or_default();
        Ok(match gate(&of(order.current.as_ref()), &of(Some(ami)), order.limits.soak_starts) {
            Gate::Waiting { have, .. } => SoakSight::Waiting { have },
            Gate::Passed { why } => SoakSight::Passed { why },
            Gate::Worse { why } => SoakSight::Worse { why },
        })
    }

    fn kept(&self, image: &ImageName) -> Option<Kept> {
        let intent = self.controller.intent();
        let known = intent.images.get(image)?;
        // What another image names is needed as well.
        let named = intent.images.values().flat_map(|image| image.ami.named().into_iter().chain(&image.previous));
        Some(Kept {
            current: known.ami.named().cloned(),
            previous: known.previous.clone(),
            in_work: (self.in_work)().into_iter().chain(named.cloned()).collect(),
            keep: intent.sweep.ami_keep,
            keep_for: intent.sweep.ami_keep_for,
        })
    }

    fn urgent(&self, image: &ImageName, now: DateTime<Utc>) -> bool {
        self.controller.intent().images.get(image).is_some_and(|image| image.rebake.may_begin(now))
    }
}
