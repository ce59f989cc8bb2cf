//! The controller, as a rebake needs it: a worker that proves the new AMI, and the manifest that names it.

use std::collections::BTreeSet;
use std::future::Future;

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{AmiId, CanarySight, ImageName, RebakeOrder, WorkerName};
use crate::plan::rebake::{SoakSight, Told};

/// What is kept of an image's AMIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The AMI that its manifest names.
    pub current: Option<AmiId>,
    /// The one before, to which a rollback goes.
    pub previous: Option<AmiId>,
    /// What rebakes are at work with.
    pub in_work: BTreeSet<AmiId>,
    /// So many generations are kept.
    pub keep: u32,
    /// A generation is kept for so long.
    pub keep_for: TimeDelta,
}

/// What a controller does for a rebake. Every method may be called again with the same arguments.
pub trait Stage: Send + Sync {
    /// Asks for a canary of this AMI; `now` if it shall not wait until its worker is idle.
    ///
    /// # Errors
    /// Any failure; one that needs a person if the worker is unknown, or another rebake's canary stands.
    fn ask_canary(
        &self,
        order: &RebakeOrder,
        worker: &WorkerName,
        ami: &AmiId,
        now: bool,
    ) -> impl Future<Output = Told<CanarySight>> + Send;

    /// How it stands with the rebake's canary; `None` if there is none.
    ///
    /// # Errors
    /// Any failure.
    fn canary(&self, order: &RebakeOrder) -> impl Future<Output = Told<Option<CanarySight>>> + Send;

    /// Takes the rebake's canary away. `Ok` if there is none.
    ///
    /// # Errors
    /// Any failure.
    fn end_canary(&self, order: &RebakeOrder, worker: &WorkerName) -> impl Future<Output = Told<()>> + Send;

    /// Makes the manifest name `to` in the place of `from`, which is kept as the previous one; the next launch
    /// uses it. `Ok` if it is so already.
    ///
    /// # Errors
    /// Any failure; one that needs a person if the manifest names neither.
    fn promote(&self, order: &RebakeOrder, from: &AmiId, to: &AmiId) -> impl Future<Output = Told<()>> + Send;

    /// Takes that back. `Ok` if the manifest names `to` already, or something else that a person wrote.
    ///
    /// # Errors
    /// Any failure.
    fn roll_back(&self, order: &RebakeOrder, from: &AmiId, to: &AmiId) -> impl Future<Output = Told<()>> + Send;

    /// How the new generation does beside the one before.
    ///
    /// # Errors
    /// Any failure.
    fn soak(&self, order: &RebakeOrder, ami: &AmiId) -> impl Future<Output = Told<SoakSight>> + Send;

    /// What is kept of an image's AMIs, whatever their age; `None` if the image is not configured any more.
    fn kept(&self, image: &ImageName) -> Option<Kept>;

    /// Whether a canary of the image need not wait until its worker is idle.
    fn urgent(&self, image: &ImageName, now: DateTime<Utc>) -> bool;
}

/// No controller: what is made is handed over to one.
#[derive(Debug, Clone, Copy)]
pub enum NoStage {}

impl Stage for NoStage {
    async fn ask_canary(&self, _: &RebakeOrder, _: &WorkerName, _: &AmiId, _: bool) -> Told<CanarySight> {
        match *self {}
    }

    async fn canary(&self, _: &RebakeOrder) -> Told<Option<CanarySight>> {
        match *self {}
    }

    async fn end_canary(&self, _: &RebakeOrder, _: &WorkerName) -> Told<()> {
        match *self {}
    }

    async fn promote(&self, _: &RebakeOrder, _: &AmiId, _: &AmiId) -> Told<()> {
        match *self {}
    }

    async fn roll_back(&self, _: &RebakeOrder, _: &AmiId, _: &AmiId) -> Told<()> {
        match *self {}
    }

    async fn soak(&self, _: &RebakeOrder, _: &AmiId) -> Told<SoakSight> {
        match *self {}
    }

    fn kept(&self, _: &ImageName) -> Option<Kept> {
        match *self {}
    }

    fn urgent(&self, _: &ImageName, _: DateTime<Utc>) -> bool {
        match *self {}
    }
}
