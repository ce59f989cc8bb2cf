//! A cloud whose calls are counted: beside `perform.rs`, and only there, what changes the cloud goes through here.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::metrics::Metrics;
use crate::cloud::{Cloud, CloudError};
use crate::model::{
    Ami, AmiCandidate, AmiId, AmiQuery, Cell, ClientToken, DataVolume, ElasticIp, FailureKind, InstanceId, Inventory,
    LaunchSpec, Region, Resource, ResourceId, ResourceKind, StopMode, TagSet,
};
use crate::policy::Secret;

/// The calls of a cell's loop, by EC2's names.
pub(super) const ACTIONS: [&str; 21] = [
    "AssociateAddress",
    "AttachVolume",
    "CancelSpotInstanceRequests",
    "CreateTags",
    "DeleteNetworkInterface",
    "DeleteSnapshot",
    "DeleteVolume",
    "DescribeAddresses",
    "DescribeImages",
    "DescribeInstances",
    "DescribeNetworkInterfaces",
    "DescribeSnapshots",
    "DescribeSpotInstanceRequests",
    "DescribeVolumes",
    "GetCallerIdentity",
    "GetConsoleOutput",
    "ReleaseAddress",
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
];

/// A cloud and who counts its calls.
#[derive(Debug)]
pub(super) struct Watched<C> {
    cloud: C,
    cell: Cell,
    metrics: Arc<Metrics>,
}

/// A call that is not answered yet. Whoever drops it has waited too long.
struct Open<'a> {
    metrics: &'a Metrics,
    cell: &'a Cell,
    action: &'static str,
    refused: Option<FailureKind>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(reason) = self.refused {
            self.metrics.refused(self.cell, self.action, reason);
        }
    }
}

impl<C> Watched<C> {
    pub(super) fn new(cloud: C, cell: Cell, metrics: Arc<Metrics>) -> Self {
        Self { cloud, cell, metrics }
    }

    async fn watch<T>(
        &self,
        action: &'static str,
        call: impl Future<Output = Result<T, CloudError>> + Send,
    ) -> Result<T, CloudError> {
        self.metrics.called(&self.cell, action);
        let (metrics, cell) = (self.metrics.as_ref(), &self.cell);
        let mut open = Open { metrics, cell, action, refused: Some(FailureKind::Unreachable) };
        let answer = call.await;
        open.refused = answer.as_ref().err().map(|error| error.kind);
        answer
    }
}

/// How a resource of a kind is taken away.
fn removal_of(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Instance => "TerminateInstances",
        ResourceKind::Ami => "DeregisterImage",
        ResourceKind::Volume => "DeleteVolume",
        ResourceKind::Snapshot => "DeleteSnapshot",
        ResourceKind::Interface => "DeleteNetworkInterface",
        ResourceKind::Address => "ReleaseAddress",
        ResourceKind::SpotRequest => "CancelSpotInstanceRequests",
    }
}

impl<C: Cloud> Cloud for Watched<C> {
    async fn account(&self) -> Result<String, CloudError> {
        self.watch("GetCallerIdentity", self.cloud.account()).await
    }

    async fn inventory(&self, now: DateTime<Utc>, also: &[InstanceId]) -> Result<Inventory, CloudError> {
        self.watch("DescribeInstances", self.cloud.inventory(now, also)).await
    }

    async fn prepare(&self, amis: &BTreeSet<AmiId>) -> Result<(), CloudError> {
        self.watch("DescribeImages", self.cloud.prepare(amis)).await
    }

    async fn launch_all(
        &self,
        spec: &LaunchSpec,
        count: u32,
        user_data: Option<&Secret>,
        token: &ClientToken,
    ) -> Result<Vec<InstanceId>, CloudError> {
        self.watch("RunInstances", self.cloud.launch_all(spec, count, user_data, token)).await
    }

    async fn terminate_all(&self, ids: &[InstanceId]) -> Result<(), CloudError> {
        self.watch("TerminateInstances", self.cloud.terminate_all(ids)).await
    }

    async fn stop(&self, id: &InstanceId, mode: StopMode) -> Result<(), CloudError> {
        self.watch("StopInstances", self.cloud.stop(id, mode)).await
    }

    async fn start(&self, id: &InstanceId) -> Result<(), CloudError> {
        self.watch("StartInstances", self.cloud.start(id)).await
    }

    async fn console(&self, id: &InstanceId) -> Result<Option<String>, CloudError> {
        self.watch("GetConsoleOutput", self.cloud.console(id)).await
    }

    async fn renew(&self, ids: &[InstanceId], until: DateTime<Utc>) -> Result<(), CloudError> {
        self.watch("CreateTags", self.cloud.renew(ids, until)).await
    }

    async fn ami_candidates(&self, query: &AmiQuery) -> Result<Vec<AmiCandidate>, CloudError> {
        self.watch("DescribeImages", self.cloud.ami_candidates(query)).await
    }

    async fn associate_address(&self, address: &ElasticIp, to: &InstanceId) -> Result<String, CloudError> {
        self.watch("AssociateAddress", self.cloud.associate_address(address, to)).await
    }

    async fn attach_volume(&self, volume: &DataVolume, to: &InstanceId) -> Result<(), CloudError> {
        self.watch("AttachVolume", self.cloud.attach_volume(volume, to)).await
    }

    async fn create_image(&self, of: &InstanceId, name: &str, tags: &TagSet) -> Result<AmiId, CloudError> {
        self.watch("CreateImage", self.cloud.create_image(of, name, tags)).await
    }

    async fn images(&self, now: DateTime<Utc>) -> Result<Vec<Ami>, CloudError> {
        self.watch("DescribeImages", self.cloud.images(now)).await
    }

    async fn retire_image(&self, id: &AmiId) -> Result<(), CloudError> {
        self.watch("DeregisterImage", self.cloud.retire_image(id)).await
    }

    async fn resources(
        &self,
        kind: ResourceKind,
        only: Option<&[ResourceId]>,
        now: DateTime<Utc>,
    ) -> Result<BTreeMap<ResourceId, Resource>, CloudError> {
        self.watch(kind.listing(), self.cloud.resources(kind, only, now)).await
    }

    async fn remove(&self, id: &ResourceId) -> Result<(), CloudError> {
        self.watch(removal_of(id.kind()), self.cloud.remove(id)).await
    }

    async fn mark_leftovers(&self, ids: &[ResourceId], mark: &str) -> Result<(), CloudError> {
        self.watch("CreateTags", self.cloud.mark_leftovers(ids, mark)).await
    }

    async fn regions(&self) -> Result<Vec<Region>, CloudError> {
        self.watch("DescribeRegions", self.cloud.regions()).await
    }
}
