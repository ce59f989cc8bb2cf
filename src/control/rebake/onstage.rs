//! The stage of a rebake that a controller hosts: its workers, its record and its manifests.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::stage::Stage;
use crate::control::Controller;
use crate::ledger::Ledger;
use crate::model::{
    AmiId, CanarySight, Failure, FailureKind, ImageName, Phase, RebakeOrder, WorkerName,
};
use crate::plan::rebake::{SoakSight, Told};

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
}

fn refused(kind: FailureKind, code: &str, message: &str) -> Failure {
    Failure::new(Phase::Rebake, kind, code, message)
}

impl<L: Ledger + 'static> ControllerStage<L> {
    pub(super) fn new(controller: Controller<L>, manifests: Arc<dyn Manifests>) -> Self {
        Self { controller, manifests }
    }

    /// The AMI that the image's manifest names now.
    fn named(&self, image: &ImageName) -> Option<AmiId> {
        self.controller.intent().images.get(image).and_then(|image| image.ami.named().cloned())
    }
}

impl<L: Ledger + 'static> Stage for ControllerStage<L> {
    async fn ask_canary(
        &self,
        order: &RebakeOrder,
        worker: &WorkerName,
        ami: &AmiId,
        now: bool,
    ) -> Told<CanarySight> {
        let _ = (order, worker, ami, now);
        Err(refused(FailureKind::Bug, "NoCanary", "not there yet"))
    }

    async fn canary(&self, order: &RebakeOrder) -> Told<Option<CanarySight>> {
        let _ = order;
        Ok(None)
    }

    async fn end_canary(&self, order: &RebakeOrder, worker: &WorkerName) -> Told<()> {
        let _ = (order, worker);
        Ok(())
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
            return Ok(SoakSight::Worse { why: "its manifest does not name it any more".to_owned() });
        }
        Ok(SoakSight::Waiting { have: 0 })
    }

    fn needed(&self, image: &ImageName) -> Vec<AmiId> {
        let intent = self.controller.intent();
        let named = intent.images.iter().flat_map(|(_, image)| image.ami.named().into_iter().chain(&image.previous));
        let _ = image;
        named.cloned().collect()
    }

    fn urgent(&self, image: &ImageName, now: DateTime<Utc>) -> bool {
        self.controller.intent().images.get(image).is_some_and(|image| image.rebake.may_begin(now))
    }
}
