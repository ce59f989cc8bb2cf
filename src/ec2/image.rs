//! AMIs and their snapshots: made under a name that is theirs alone, and taken away with nothing left.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{self, Filter, ResourceType, Tag, TagSpecification};
use chrono::{DateTime, Utc};

use super::connect::Clients;
use super::{PAGE, PAGES_MAX, convert, error, too_many_pages};
use crate::cloud::CloudError;
use crate::model::{Ami, AmiId, AmiState, FailureKind, InstanceId, SnapshotId, TagSet, tag_keys};

const DUPLICATE: &str = "InvalidAMIName.Duplicate";

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// EC2 has no token for this call: the name is what makes it one AMI.
pub(super) async fn create(
    clients: &Clients,
    fleet: &str,
    of: &InstanceId,
    name: &str,
    tags: &TagSet,
) -> Result<AmiId, CloudError> {
    let tags = convert::sdk_tags(tags);
    let specification = |kind| TagSpecification::builder().resource_type(kind).set_tags(Some(tags.clone())).build();
    let call = clients.writes.create_image().instance_id(of.as_str()).name(name);
    let call = call.tag_specifications(specification(ResourceType::Image));
    let answer = call.tag_specifications(specification(ResourceType::Snapshot)).send().await;
    match answer.map_err(|e| error::sorted(&e)) {
        Ok(answer) => answer.image_id().unwrap_or_default().parse().map_err(|_| CloudError {
            kind: FailureKind::RetrySame,
            code: "NoImage".to_owned(),
            message: "CreateImage answered without an AMI".to_owned(),
        }),
        Err(error) if error.code == DUPLICATE => named(clients, fleet, name, error).await,
        Err(error) => Err(error),
    }
}

/// The AMI of ours that has the name.
async fn named(clients: &Clients, fleet: &str, name: &str, duplicate: CloudError) -> Result<AmiId, CloudError> {
    let found = described(clients, &filter("name", name)).await?;
    let Some(image) = found.first() else {
        // A replica that has not heard of it yet.
        return Err(CloudError { kind: FailureKind::RetrySame, ..duplicate });
    };
    let ami = convert::ami(image, DateTime::UNIX_EPOCH)?;
    if ami.tags.get(tag_keys::FLEET) == Some(fleet) { Ok(ami.id) } else { Err(not_ours(&ami)) }
}

fn not_ours(ami: &Ami) -> CloudError {
    CloudError {
        kind: FailureKind::Owner,
        code: "NotOurs".to_owned(),
        message: format!("{} ({}) does not carry the fleet's tag: it is left alone", ami.id, ami.name),
    }
}

/// All AMIs of the fleet.
pub(super) async fn all(clients: &Clients, fleet: &str, now: DateTime<Utc>) -> Result<Vec<Ami>, CloudError> {
    let found = described(clients, &filter(&format!("tag:{}", tag_keys::FLEET), fleet)).await?;
    found.iter().map(|image| convert::ami(image, now)).collect()
}

/// Every page of the account's own AMIs that pass a filter, put-away ones included.
async fn described(clients: &Clients, filter: &Filter) -> Result<Vec<types::Image>, CloudError> {
    let mut all = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let call = clients.reads.describe_images().owners("self").filters(filter.clone());
        let call = call.include_deprecated(true).include_disabled(true).max_results(PAGE).set_next_token(token);
        let page = call.send().await.map_err(|e| error::sorted(&e))?;
        all.extend_from_slice(page.images());
        token = page.next_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
        if token.is_none() {
            return Ok(all);
        }
    }
    Err(too_many_pages())
}

/// The snapshots are marked before the AMI goes, which alone knows them: whatever happens in between,
/// the next call finds them by their mark.
pub(super) async fn retire(clients: &Clients, fleet: &str, id: &AmiId) -> Result<(), CloudError> {
    let mut snapshots = BTreeSet::new();
    if let Some(image) = described(clients, &filter("image-id", id.as_str())).await?.first() {
        let ami = convert::ami(image, DateTime::UNIX_EPOCH)?;
        if ami.tags.get(tag_keys::FLEET) != Some(fleet) {
            return Err(not_ours(&ami));
        }
        mark(clients, &ami).await?;
        if ami.state != AmiState::Deregistered {
            let call = clients.writes.deregister_image().image_id(id.as_str());
            already(
                call.send().await.map_err(|e| error::sorted(&e)),
                &["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"],
            )?;
        }
        snapshots.extend(ami.snapshots);
    }
    snapshots.extend(marked(clients, id).await?);
    for snapshot in snapshots {
        let call = clients.writes.delete_snapshot().snapshot_id(snapshot.as_str());
        already(call.send().await.map_err(|e| error::sorted(&e)), &["InvalidSnapshot.NotFound"])?;
    }
    Ok(())
}

/// A refusal that says that it is done already is none.
fn already<T>(result: Result<T, CloudError>, codes: &[&str]) -> Result<(), CloudError> {
    match result {
        Err(error) if !codes.contains(&error.code.as_str()) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn mark(clients: &Clients, ami: &Ami) -> Result<(), CloudError> {
    if ami.snapshots.is_empty() {
        return Ok(());
    }
    let tag = Tag::builder().key(tag_keys::RETIRED).value(ami.id.as_str()).build();
    let ids = ami.snapshots.iter().map(ToString::to_string).collect();
    let marked = clients.writes.create_tags().set_resources(Some(ids)).tags(tag).send().await;
    already(marked.map_err(|e| error::sorted(&e)), &["InvalidSnapshot.NotFound"])
}

async fn marked(clients: &Clients, id: &AmiId) -> Result<Vec<SnapshotId>, CloudError> {
    let mut all = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let mark = filter(&format!("tag:{}", tag_keys::RETIRED), id.as_str());
        let call = clients.reads.describe_snapshots().owner_ids("self").filters(mark);
        let page = call.max_results(PAGE).set_next_token(token).send().await.map_err(|e| error::sorted(&e))?;
        all.extend(page.snapshots().iter().filter_map(|snapshot| snapshot.snapshot_id()?.parse().ok()));
        token = page.next_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
        if token.is_none() {
            return Ok(all);
        }
    }
    Err(too_many_pages())
}
