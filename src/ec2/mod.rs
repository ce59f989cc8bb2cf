//! Floor 4, feature `ec2`: the only code that names `aws_*`.

mod bakery;
mod checkup;
mod commands;
mod connect;
mod console;
mod convert;
mod devices;
mod equip;
mod error;
mod fence;
mod guard;
mod image;
mod launch;
mod records;
mod rehearse;
mod resources;
mod trial;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, Tag};
use chrono::{DateTime, SecondsFormat, Utc};
use tokio::sync::OnceCell;

use crate::cloud::{Cloud, CloudError, ImageApi, Which, create_image_once, no_instance, retire_image_whole};
use crate::model::{
    Ami, AmiCandidate, AmiId, AmiQuery, BlockDevice, Cell, ClientToken, DataVolume, ElasticIp, FailureKind, Instance,
    InstanceId, Inventory, LaunchSpec, OwnerName, Region, Resource, ResourceId, ResourceKind, StopMode, TagSet,
    tag_keys,
};
use crate::policy::{Intent, Owner, Secret};

pub use checkup::Ec2Checkup;
use connect::Clients;
use devices::Devices;

/// Instances per page: the most that EC2 gives, so that a listing takes the fewest calls.
const PAGE: i32 = 1000;
/// A filter takes so many values.
const FILTER_VALUES: usize = 200;
/// More pages than this are an error, not a longer wait.
const PAGES_MAX: usize = 200;

/// One owner's account in one region, through the AWS SDK. It connects at the first call.
#[derive(Debug)]
pub struct Ec2 {
    cell: Cell,
    owner: Option<Owner>,
    fleet: String,
    controller: String,
    command: &'static str,
    page: i32,
    clients: OnceCell<Clients>,
    devices: Devices,
}

impl Ec2 {
    /// The same for a rebake: CloudTrail shows which subcommand it was.
    #[must_use]
    pub fn rebaking(self) -> Self {
        Self { command: "rebake", ..self }
    }

    /// The same for a report.
    #[must_use]
    pub fn auditing(self) -> Self {
        Self { command: "audit", ..self }
    }

    /// The account of a cell as the configuration names it. Makes no call.
    pub fn new(cell: &Cell, intent: &Intent) -> Self {
        Self {
            cell: cell.clone(),
            owner: intent.owners.get(&cell.owner).cloned(),
            fleet: intent.fleet.name.clone(),
            controller: intent.fleet.controller.clone(),
            command: "serve",
            page: PAGE,
            clients: OnceCell::new(),
            devices: Devices::default(),
        }
    }

    /// An account that no configuration names, in a region: for whoever has credentials for it and
    /// nothing else. Makes no call.
    pub fn bare(region: Region, owner: Owner, fleet: &str) -> Self {
        let name = OwnerName::unnamed();
        Self {
            cell: Cell { owner: name, region },
            owner: Some(owner),
            fleet: fleet.to_owned(),
            controller: String::new(),
            command: "sweep",
            page: PAGE,
            clients: OnceCell::new(),
            devices: Devices::default(),
        }
    }

    /// The same with so many instances per page of a listing, 5 at least: for an endpoint that cannot
    /// give as many as EC2, and to prove that a listing of several pages is whole.
    #[must_use]
    pub fn with_page(self, page: i32) -> Self {
        Self { page, ..self }
    }

    /// The same for another subcommand, whose name its sessions bear.
    #[must_use]
    pub fn for_command(self, command: &'static str) -> Self {
        Self { command, ..self }
    }

    async fn clients(&self) -> Result<&Clients, CloudError> {
        let Some(owner) = &self.owner else {
            return Err(CloudError {
                kind: FailureKind::Owner,
                code: "UnknownOwner".to_owned(),
                message: format!("owner {} is not in the configuration", self.cell.owner),
            });
        };
        let session = connect::session(self.command, &self.controller);
        Ok(self.clients.get_or_init(|| connect::clients(&self.cell, owner, &session)).await)
    }

    /// The disks of an AMI that would outlive their instance; asked once per AMI, which never changes them.
    async fn lasting_devices(&self, clients: &Clients, ami: &AmiId) -> Result<Vec<BlockDevice>, CloudError> {
        self.devices.of(clients, ami).await?.ok_or_else(|| CloudError {
            kind: FailureKind::Owner,
            code: "InvalidAMIID.NotFound".to_owned(),
            message: format!("{ami} does not exist in {}, or is not shared with the account", self.cell.region),
        })
    }
}

impl Cloud for Ec2 {
    async fn account(&self) -> Result<String, CloudError> {
        let answer = self.clients().await?.sts().get_caller_identity().send().await.map_err(|e| error::sorted(&e))?;
        Ok(answer.account().unwrap_or_default().to_owned())
    }

    async fn inventory(&self, now: DateTime<Utc>, also: &[InstanceId]) -> Result<Inventory, CloudError> {
        let clients = self.clients().await?;
        let ours = Filter::builder().name(format!("tag:{}", tag_keys::FLEET)).values(&self.fleet).build();
        let mut instances = instances_by(clients, Some(&ours), self.page).await?;
        let missing: Vec<String> =
            also.iter().filter(|id| !instances.contains_key(*id)).map(ToString::to_string).collect();
        for ids in missing.chunks(FILTER_VALUES) {
            // A filter, not a list of ids: an id that EC2 does not know fails a whole call that names it.
            let by_id = Filter::builder().name("instance-id").set_values(Some(ids.to_vec())).build();
            instances.extend(instances_by(clients, Some(&by_id), self.page).await?);
        }
        Ok(Inventory { observed_at: now, complete: true, instances })
    }

    async fn prepare(&self, amis: &BTreeSet<AmiId>) -> Result<(), CloudError> {
        self.devices.prepare(self.clients().await?, amis).await
    }

    async fn launch_all(
        &self,
        spec: &LaunchSpec,
        count: u32,
        user_data: Option<&Secret>,
        token: &ClientToken,
    ) -> Result<Vec<InstanceId>, CloudError> {
        let clients = self.clients().await?;
        let lasting = self.lasting_devices(clients, &spec.ami).await?;
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let call = launch::fill(clients.writes.run_instances(), spec, &lasting, user_data, token).max_count(count);
        let answer = call.send().await.map_err(|e| error::sorted(&e))?;
        let mut launched: Vec<_> = answer.instances().iter().collect();
        launched.sort_by_key(|instance| instance.ami_launch_index());
        let ids = launched.into_iter().map(|instance| instance.instance_id().unwrap_or_default().parse().ok());
        ids.collect::<Option<Vec<InstanceId>>>().filter(|ids| !ids.is_empty()).ok_or_else(no_instance)
    }

    async fn terminate_all(&self, ids: &[InstanceId]) -> Result<(), CloudError> {
        let ids = ids.iter().map(ToString::to_string).collect();
        let call = self.clients().await?.writes.terminate_instances().set_instance_ids(Some(ids));
        call.send().await.map(drop).map_err(|e| error::sorted(&e))
    }

    async fn stop(&self, id: &InstanceId, mode: StopMode) -> Result<(), CloudError> {
        let mut call = self.clients().await?.writes.stop_instances().instance_ids(id.as_str());
        if mode == StopMode::Hibernate {
            call = call.hibernate(true);
        }
        call.send().await.map(drop).map_err(|e| error::sorted(&e))
    }

    async fn start(&self, id: &InstanceId) -> Result<(), CloudError> {
        let call = self.clients().await?.writes.start_instances().instance_ids(id.as_str());
        call.send().await.map(drop).map_err(|e| error::sorted(&e))
    }

    async fn console(&self, id: &InstanceId) -> Result<Option<String>, CloudError> {
        console::read(&self.clients().await?.reads, id).await
    }

    async fn renew(&self, ids: &[InstanceId], until: DateTime<Utc>) -> Result<(), CloudError> {
        let tag = Tag::builder().key(tag_keys::LEASE).value(until.to_rfc3339_opts(SecondsFormat::Secs, true)).build();
        let ids = ids.iter().map(ToString::to_string).collect();
        let call = self.clients().await?.writes.create_tags().set_resources(Some(ids)).tags(tag);
        call.send().await.map(drop).map_err(|e| error::sorted(&e))
    }

    async fn ami_candidates(&self, query: &AmiQuery) -> Result<Vec<AmiCandidate>, CloudError> {
        equip::ami_candidates(&self.clients().await?.reads, query).await
    }

    async fn associate_address(&self, address: &ElasticIp, to: &InstanceId) -> Result<String, CloudError> {
        equip::associate(self.clients().await?, address, to).await
    }

    async fn attach_volume(&self, volume: &DataVolume, to: &InstanceId) -> Result<(), CloudError> {
        equip::attach(self.clients().await?, volume, to).await
    }

    async fn create_image(&self, of: &InstanceId, name: &str, tags: &TagSet) -> Result<AmiId, CloudError> {
        create_image_once(self.clients().await?, &self.fleet, of, name, tags).await
    }

    async fn images(&self, now: DateTime<Utc>) -> Result<Vec<Ami>, CloudError> {
        self.clients().await?.find(Which::Fleet(&self.fleet), now).await
    }

    async fn retire_image(&self, id: &AmiId) -> Result<(), CloudError> {
        retire_image_whole(self.clients().await?, &self.fleet, id).await
    }

    async fn resources(
        &self,
        kind: ResourceKind,
        only: Option<&[ResourceId]>,
        now: DateTime<Utc>,
    ) -> Result<BTreeMap<ResourceId, Resource>, CloudError> {
        resources::list(self.clients().await?, kind, only, self.page, now).await
    }

    async fn remove(&self, id: &ResourceId) -> Result<(), CloudError> {
        resources::remove(self.clients().await?, id).await
    }

    async fn mark_leftovers(&self, ids: &[ResourceId], mark: &str) -> Result<(), CloudError> {
        resources::mark(self.clients().await?, ids, mark).await
    }

    async fn regions(&self) -> Result<Vec<Region>, CloudError> {
        resources::regions(self.clients().await?).await
    }
}

/// Every page of the instances that pass a filter; of all without one.
async fn instances_by(
    clients: &Clients,
    filter: Option<&Filter>,
    size: i32,
) -> Result<BTreeMap<InstanceId, Instance>, CloudError> {
    let mut instances = BTreeMap::new();
    let mut token: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let call = clients.reads.describe_instances().set_filters(filter.cloned().map(|filter| vec![filter]));
        let call = call.max_results(size).set_next_token(token);
        let page = call.send().await.map_err(|e| error::sorted(&e))?;
        for sdk in page.reservations().iter().flat_map(aws_sdk_ec2::types::Reservation::instances) {
            let instance = convert::instance(sdk)?;
            instances.insert(instance.id.clone(), instance);
        }
        token = page.next_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
        if token.is_none() {
            return Ok(instances);
        }
    }
    Err(too_many_pages())
}

fn too_many_pages() -> CloudError {
    CloudError {
        kind: FailureKind::Bug,
        code: "TooManyPages".to_owned(),
        message: format!("the listing has more than {PAGES_MAX} pages"),
    }
}
