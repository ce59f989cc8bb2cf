//! Floor 2: the few things we ask of a cloud, in our words.

mod bakery;
mod checkup;
mod codes;
mod commands;
mod equip;
mod fence;
mod images;
mod records;
mod trail;
mod transition;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use chrono::{DateTime, Utc};

use crate::model::{
    Ami, AmiCandidate, AmiId, AmiQuery, ClientToken, DataVolume, ElasticIp, FailureKind, InstanceId, Inventory,
    LaunchSpec, Region, Resource, ResourceId, ResourceKind, StopMode, TagSet,
};
use crate::policy::Secret;

pub use bakery::{Bakery, names_by_parameter, with_references};
pub use checkup::{CHECKUP_READS, Checkup};
pub use codes::kind_of;
pub use commands::{Commands, document as ssm_document, sendable};
pub use equip::{already_associated, for_equipment, no_such_address};
pub use fence::{
    FENCE_DESCRIPTION, FenceApi, FenceGroup, FenceRule, WhichGroups, no_default_vpc, raise as raise_fence, take_down,
};
pub use images::{
    ImageApi, Which, create as create_image_once, of_a_snapshot, of_the_fleet, retire as retire_image_whole,
};
pub use records::{EventPage, Records};
pub use trail::TRAIL_CALLS;
pub use transition::transition_time;

/// A refusal, sorted by what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct CloudError {
    /// What to do next.
    pub kind: FailureKind,
    /// The cloud's code, or ours where there was no answer.
    pub code: String,
    /// What it said.
    pub message: String,
}

/// One account in one region. Every method may be called again with the same arguments.
pub trait Cloud: Send + Sync {
    /// The number of the account that the credentials act in.
    ///
    /// # Errors
    /// Any kind; [`FailureKind::Credentials`] if they are not good.
    fn account(&self) -> impl Future<Output = Result<String, CloudError>> + Send;

    /// All instances that carry the fleet's tag, ended ones included while the cloud still shows
    /// them; those of `also` that are not among them are asked for by their ids, in a further call
    /// that is made only then. An id that the cloud does not know is simply absent. `now` is stamped
    /// on the listing as its beginning.
    ///
    /// # Errors
    /// Any kind; a listing is whole or an error, never silently short.
    fn inventory(
        &self,
        now: DateTime<Utc>,
        also: &[InstanceId],
    ) -> impl Future<Output = Result<Inventory, CloudError>> + Send;

    /// Asks for what launches from these AMIs need to know, so that none of them waits for it. What is not found out
    /// the launch asks for itself.
    ///
    /// # Errors
    /// Any kind; nothing is lost by one.
    fn prepare(&self, amis: &BTreeSet<AmiId>) -> impl Future<Output = Result<(), CloudError>> + Send {
        let _ = amis;
        async { Ok(()) }
    }

    /// At most `count` instances per `token`, and one at least, however often it is called with the same `spec`; in
    /// the order of their launch indices.
    ///
    /// # Errors
    /// Kinds for which [`FailureKind::leaves_outcome_open`] holds leave open whether any were launched.
    fn launch_all(
        &self,
        spec: &LaunchSpec,
        count: u32,
        user_data: Option<&Secret>,
        token: &ClientToken,
    ) -> impl Future<Output = Result<Vec<InstanceId>, CloudError>> + Send;

    /// The same for one.
    ///
    /// # Errors
    /// As for several.
    fn launch(
        &self,
        spec: &LaunchSpec,
        user_data: Option<&Secret>,
        token: &ClientToken,
    ) -> impl Future<Output = Result<InstanceId, CloudError>> + Send {
        async move {
            let launched = self.launch_all(spec, 1, user_data, token).await?;
            launched.into_iter().next().ok_or_else(no_instance)
        }
    }

    /// `Ok` once termination of all of them is accepted, in one call.
    ///
    /// # Errors
    /// [`FailureKind::NotFound`] if the cloud does not know one of them, which on a young id proves nothing. An error
    /// says of none that it stays: those in another zone than the one that was refused may end all the same.
    fn terminate_all(&self, ids: &[InstanceId]) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// The same of one.
    ///
    /// # Errors
    /// As for several.
    fn terminate(&self, id: &InstanceId) -> impl Future<Output = Result<(), CloudError>> + Send {
        self.terminate_all(std::slice::from_ref(id))
    }

    /// `Ok` once the stop is accepted.
    ///
    /// # Errors
    /// Any kind. What was not launched for it, or is not ready for it yet, is not hibernated, and runs on.
    fn stop(&self, id: &InstanceId, mode: StopMode) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// `Ok` once the start is accepted.
    ///
    /// # Errors
    /// Any kind; capacity may be missing as for a launch.
    fn start(&self, id: &InstanceId) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// What an instance wrote on its console, as late as the cloud has it; `None` if that is nothing. Of one
    /// that has ended it is there for a while.
    ///
    /// # Errors
    /// Any kind.
    fn console(&self, id: &InstanceId) -> impl Future<Output = Result<Option<String>, CloudError>> + Send;

    /// Sets the lease tag of these instances.
    ///
    /// # Errors
    /// Any kind.
    fn renew(&self, ids: &[InstanceId], until: DateTime<Utc>) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// The AMIs that a manifest may choose from: available ones of these owners (whatever the account can see
    /// if none is named) and this architecture, without those that EC2 hides as deprecated.
    ///
    /// # Errors
    /// Any kind; a listing is whole or an error, never silently short.
    fn ami_candidates(&self, query: &AmiQuery) -> impl Future<Output = Result<Vec<AmiCandidate>, CloudError>> + Send;

    /// Gives an instance an elastic IP address, and tells which one that is. `Ok` if it has it already; it is
    /// never taken from something else.
    ///
    /// # Errors
    /// [`FailureKind::Owner`] if something else has it or there is none such; any other kind.
    fn associate_address(
        &self,
        address: &ElasticIp,
        to: &InstanceId,
    ) -> impl Future<Output = Result<String, CloudError>> + Send;

    /// Attaches a volume to an instance; it does not end with it. It is never taken from something else.
    ///
    /// # Errors
    /// [`FailureKind::Owner`] if something has it (this instance too), it lies in another zone, or there is
    /// none such; any other kind.
    fn attach_volume(
        &self,
        volume: &DataVolume,
        to: &InstanceId,
    ) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// Begins an AMI of the instance's disks, with these tags on it and on its snapshots from birth. At
    /// most one per `name`, however often it is called: an AMI of ours that has the name is the answer.
    ///
    /// # Errors
    /// [`FailureKind::Owner`] if an AMI that is not the fleet's has the name; any other kind.
    fn create_image(
        &self,
        of: &InstanceId,
        name: &str,
        tags: &TagSet,
    ) -> impl Future<Output = Result<AmiId, CloudError>> + Send;

    /// All AMIs of the account itself that carry the fleet's tag, in whatever state.
    ///
    /// # Errors
    /// Any kind; a listing is whole or an error, never silently short.
    fn images(&self, now: DateTime<Utc>) -> impl Future<Output = Result<Vec<Ami>, CloudError>> + Send;

    /// Takes an AMI of the fleet away, and then its snapshots. May be called again after any failure, also
    /// when the AMI has gone already; of an AMI that never was, there is nothing to do. A door that was made
    /// for no fleet takes any fleet's away.
    ///
    /// # Errors
    /// [`FailureKind::Owner`] if it is not the fleet's; [`FailureKind::RetrySame`] while a snapshot counts
    /// as in use; any other kind.
    fn retire_image(&self, id: &AmiId) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// Everything of one kind that a sweep has to look at: all instances and AMIs of the account itself,
    /// whatever their tags, and of any other kind what carries a fleet's tag. With `only`, those of these
    /// ids, all of the kind, that there are: an id that the cloud does not know is simply absent.
    ///
    /// # Errors
    /// Any kind; a listing is whole or an error, never silently short.
    fn resources(
        &self,
        kind: ResourceKind,
        only: Option<&[ResourceId]>,
        now: DateTime<Utc>,
    ) -> impl Future<Output = Result<BTreeMap<ResourceId, Resource>, CloudError>> + Send;

    /// Takes away what is neither an instance nor an AMI: deletes, releases or cancels it.
    ///
    /// # Errors
    /// [`FailureKind::NotFound`] if the cloud does not know it; [`FailureKind::Owner`] while it is in
    /// use; any other kind.
    fn remove(&self, id: &ResourceId) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// Sets the tag that says since when these were taken for leftovers.
    ///
    /// # Errors
    /// Any kind.
    fn mark_leftovers(&self, ids: &[ResourceId], mark: &str) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// The regions that are enabled for the account.
    ///
    /// # Errors
    /// Any kind.
    fn regions(&self) -> impl Future<Output = Result<Vec<Region>, CloudError>> + Send;
}

/// The answer to a launch that holds no instance.
pub fn no_instance() -> CloudError {
    CloudError {
        kind: FailureKind::RetrySame,
        code: "NoInstance".to_owned(),
        message: "RunInstances answered without an instance".to_owned(),
    }
}
