//! The calls of a sweep: listing everything an account holds, and taking leftovers away.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{self, Filter, Tag};
use chrono::{DateTime, Utc};

use super::connect::Clients;
use super::{FILTER_VALUES, PAGE, PAGES_MAX, convert, error, instances_by, too_many_pages};
use crate::cloud::{CloudError, ImageApi, of_a_snapshot};
use crate::model::{
    Address, FailureKind, Region, Resource, ResourceId, ResourceKind, Snapshot, SnapshotId, SpotRequest, Volume,
    tag_keys,
};

type Found = BTreeMap<ResourceId, Resource>;

/// The name of the filter by which a kind is found by its ids.
fn id_filter(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Instance => "instance-id",
        ResourceKind::Ami => "image-id",
        ResourceKind::Volume => "volume-id",
        ResourceKind::Snapshot => "snapshot-id",
        ResourceKind::Interface => "network-interface-id",
        ResourceKind::Address => "allocation-id",
        ResourceKind::SpotRequest => "spot-instance-request-id",
    }
}

/// What is asked for: these ids, or all of ours. A filter, not a list of ids: an id that EC2 does not
/// know fails a whole call that names it.
fn filters(kind: ResourceKind, only: Option<&[ResourceId]>) -> Vec<Option<Filter>> {
    match only {
        Some(ids) => ids
            .chunks(FILTER_VALUES)
            .map(|ids| {
                let ids = ids.iter().map(ToString::to_string).collect();
                Some(Filter::builder().name(id_filter(kind)).set_values(Some(ids)).build())
            })
            .collect(),
        None if matches!(kind, ResourceKind::Instance | ResourceKind::Ami) => vec![None],
        None => vec![Some(Filter::builder().name("tag-key").values(tag_keys::FLEET).build())],
    }
}

/// What there is of a kind.
pub(super) async fn list(
    clients: &Clients,
    kind: ResourceKind,
    only: Option<&[ResourceId]>,
    size: i32,
    now: DateTime<Utc>,
) -> Result<Found, CloudError> {
    let mut found = Found::new();
    for filter in filters(kind, only) {
        found.extend(match kind {
            ResourceKind::Instance => {
                let all = instances_by(clients, filter.as_ref(), size).await?;
                all.into_iter().map(|(id, one)| (ResourceId::from(&id), Resource::Instance(Box::new(one)))).collect()
            }
            ResourceKind::Address => addresses(clients, filter).await?,
            _ => pages(clients, kind, filter, now).await?,
        });
    }
    Ok(found)
}

async fn pages(
    clients: &Clients,
    kind: ResourceKind,
    filter: Option<Filter>,
    now: DateTime<Utc>,
) -> Result<Found, CloudError> {
    let mut found = Found::new();
    let mut token: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let filters = filter.clone().map(|filter| vec![filter]);
        let (page, next) = match kind {
            ResourceKind::Ami => images(clients, filters, token, now).await?,
            ResourceKind::Volume => volumes(clients, filters, token).await?,
            ResourceKind::Snapshot => snapshots(clients, filters, token).await?,
            ResourceKind::Interface => interfaces(clients, filters, token).await?,
            ResourceKind::SpotRequest => spot_requests(clients, filters, token).await?,
            ResourceKind::Instance | ResourceKind::Address => return Err(wrong_call(kind)),
        };
        found.extend(page);
        token = next.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(found);
        }
    }
    Err(too_many_pages())
}

type Page = Result<(Found, Option<String>), CloudError>;
type Filters = Option<Vec<Filter>>;

async fn images(clients: &Clients, filters: Filters, token: Option<String>, now: DateTime<Utc>) -> Page {
    let call = clients.reads.describe_images().owners("self").set_filters(filters).set_next_token(token);
    let call = call.include_deprecated(true).include_disabled(true).max_results(PAGE);
    let page = call.send().await.map_err(|e| error::sorted(&e))?;
    let one = |sdk: &types::Image| {
        let ami = convert::ami(sdk, now)?;
        Ok((ResourceId::from(&ami.id), Resource::Ami(Box::new(ami))))
    };
    let found: Result<Found, CloudError> = page.images().iter().map(one).collect();
    Ok((found?, page.next_token().map(ToOwned::to_owned)))
}

async fn volumes(clients: &Clients, filters: Filters, token: Option<String>) -> Page {
    let call = clients.reads.describe_volumes().set_filters(filters).max_results(PAGE).set_next_token(token);
    let page = call.send().await.map_err(|e| error::sorted(&e))?;
    let one = |sdk: &types::Volume| {
        let volume = Volume {
            available: sdk.state() == Some(&types::VolumeState::Available) && sdk.attachments().is_empty(),
            instance: sdk.attachments().iter().find_map(|at| at.instance_id()?.parse().ok()),
            size_gib: sdk.size().and_then(|size| u32::try_from(size).ok()).unwrap_or_default(),
            volume_type: sdk.volume_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
            created: sdk.create_time().and_then(convert::time),
        };
        Ok((id_of(sdk.volume_id())?, Resource::Volume(convert::tags(sdk.tags()), volume)))
    };
    let found: Result<Found, CloudError> = page.volumes().iter().map(one).collect();
    Ok((found?, page.next_token().map(ToOwned::to_owned)))
}

async fn snapshots(clients: &Clients, filters: Filters, token: Option<String>) -> Page {
    let call = clients.reads.describe_snapshots().owner_ids("self").set_filters(filters);
    let page = call.max_results(PAGE).set_next_token(token).send().await.map_err(|e| error::sorted(&e))?;
    let one = |sdk: &types::Snapshot| {
        let snapshot = Snapshot {
            size_gib: sdk.volume_size().and_then(|size| u32::try_from(size).ok()).unwrap_or_default(),
            started: sdk.start_time().and_then(convert::time),
        };
        Ok((id_of(sdk.snapshot_id())?, Resource::Snapshot(convert::tags(sdk.tags()), snapshot)))
    };
    let found: Result<Found, CloudError> = page.snapshots().iter().map(one).collect();
    Ok((found?, page.next_token().map(ToOwned::to_owned)))
}

async fn interfaces(clients: &Clients, filters: Filters, token: Option<String>) -> Page {
    let call = clients.reads.describe_network_interfaces().set_filters(filters);
    let page = call.max_results(PAGE).set_next_token(token).send().await.map_err(|e| error::sorted(&e))?;
    let one = |sdk: &types::NetworkInterface| {
        let free = sdk.status() == Some(&types::NetworkInterfaceStatus::Available) && sdk.attachment().is_none();
        Ok((id_of(sdk.network_interface_id())?, Resource::Interface(convert::tags(sdk.tag_set()), free)))
    };
    let found: Result<Found, CloudError> = page.network_interfaces().iter().map(one).collect();
    Ok((found?, page.next_token().map(ToOwned::to_owned)))
}

async fn spot_requests(clients: &Clients, filters: Filters, token: Option<String>) -> Page {
    let call = clients.reads.describe_spot_instance_requests().set_filters(filters);
    let page = call.max_results(PAGE).set_next_token(token).send().await.map_err(|e| error::sorted(&e))?;
    let one = |sdk: &types::SpotInstanceRequest| {
        let over =
            [types::SpotInstanceState::Cancelled, types::SpotInstanceState::Closed, types::SpotInstanceState::Failed];
        let request = SpotRequest {
            live: sdk.state().is_none_or(|state| !over.contains(state)),
            state: sdk.state().map(|state| state.as_str().to_owned()).unwrap_or_default(),
            status: sdk.status().and_then(|status| status.code()).unwrap_or_default().to_owned(),
            instance: sdk.instance_id().and_then(|id| id.parse().ok()),
            created: sdk.create_time().and_then(convert::time),
        };
        Ok((id_of(sdk.spot_instance_request_id())?, Resource::SpotRequest(convert::tags(sdk.tags()), request)))
    };
    let found: Result<Found, CloudError> = page.spot_instance_requests().iter().map(one).collect();
    Ok((found?, page.next_token().map(ToOwned::to_owned)))
}

/// DescribeAddresses has no pages.
async fn addresses(clients: &Clients, filter: Option<Filter>) -> Result<Found, CloudError> {
    let call = clients.reads.describe_addresses().set_filters(filter.map(|filter| vec![filter]));
    let answer = call.send().await.map_err(|e| error::sorted(&e))?;
    let one = |sdk: &types::Address| {
        let address = Address {
            ip: sdk.public_ip().unwrap_or_default().to_owned(),
            associated: sdk.association_id().is_some_and(|id| !id.is_empty()),
            instance: sdk.instance_id().and_then(|id| id.parse().ok()),
        };
        Ok((id_of(sdk.allocation_id())?, Resource::Address(convert::tags(sdk.tags()), address)))
    };
    answer.addresses().iter().map(one).collect()
}

/// Deletes, releases or cancels.
pub(super) async fn remove(clients: &Clients, id: &ResourceId) -> Result<(), CloudError> {
    let (calls, name) = (&clients.writes, id.as_str());
    match id.kind() {
        ResourceKind::Volume => {
            calls.delete_volume().volume_id(name).send().await.map(drop).map_err(|e| error::sorted(&e))
        }
        ResourceKind::Interface => {
            let call = calls.delete_network_interface().network_interface_id(name);
            call.send().await.map(drop).map_err(|e| error::sorted(&e))
        }
        ResourceKind::Address => {
            calls.release_address().allocation_id(name).send().await.map(drop).map_err(|e| error::sorted(&e))
        }
        ResourceKind::SpotRequest => {
            let call = calls.cancel_spot_instance_requests().spot_instance_request_ids(name);
            call.send().await.map(drop).map_err(|e| error::sorted(&e))
        }
        ResourceKind::Snapshot => {
            let snapshot: SnapshotId = name.parse().map_err(|_| wrong_call(id.kind()))?;
            clients.delete(&snapshot).await.map_err(of_a_snapshot)
        }
        kind @ (ResourceKind::Instance | ResourceKind::Ami) => Err(wrong_call(kind)),
    }
}

/// Sets the tag that says since when these were taken for leftovers.
pub(super) async fn mark(clients: &Clients, ids: &[ResourceId], mark: &str) -> Result<(), CloudError> {
    let tag = Tag::builder().key(tag_keys::MARK).value(mark).build();
    let ids = ids.iter().map(ToString::to_string).collect();
    let call = clients.writes.create_tags().set_resources(Some(ids)).tags(tag);
    call.send().await.map(drop).map_err(|e| error::sorted(&e))
}

/// The regions that are enabled for the account.
pub(super) async fn regions(clients: &Clients) -> Result<Vec<Region>, CloudError> {
    let answer = clients.reads.describe_regions().send().await.map_err(|e| error::sorted(&e))?;
    Ok(answer.regions().iter().filter_map(|region| region.region_name()?.parse().ok()).collect())
}

fn id_of(text: Option<&str>) -> Result<ResourceId, CloudError> {
    text.unwrap_or_default().parse().map_err(|error| CloudError {
        kind: FailureKind::Bug,
        code: "UnreadableId".to_owned(),
        message: format!("the listing holds an id that cannot be read: {error}"),
    })
}

fn wrong_call(kind: ResourceKind) -> CloudError {
    let message = format!("{} are listed and taken away by other calls", kind.plural());
    CloudError { kind: FailureKind::Bug, code: "WrongCall".to_owned(), message }
}
