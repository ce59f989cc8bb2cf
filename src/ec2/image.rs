//! The single calls for AMIs and their snapshots.

use aws_sdk_ec2::types::{self, Filter, ResourceType, Tag, TagSpecification};
use chrono::{DateTime, Utc};

use super::connect::Clients;
use super::{PAGE, PAGES_MAX, convert, error, too_many_pages};
use crate::cloud::{CloudError, ImageApi, Which};
use crate::model::{Ami, AmiId, FailureKind, InstanceId, SnapshotId, TagSet, tag_keys};

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

fn next(token: Option<&str>) -> Option<String> {
    token.filter(|token| !token.is_empty()).map(ToOwned::to_owned)
}

impl ImageApi for Clients {
    async fn create(&self, of: &InstanceId, name: &str, tags: &TagSet) -> Result<AmiId, CloudError> {
        let tags = convert::sdk_tags(tags);
        let tagged = |kind| TagSpecification::builder().resource_type(kind).set_tags(Some(tags.clone())).build();
        let call = self.writes.create_image().instance_id(of.as_str()).name(name);
        let call =
            call.tag_specifications(tagged(ResourceType::Image)).tag_specifications(tagged(ResourceType::Snapshot));
        let answer = call.send().await.map_err(|e| error::sorted(&e))?;
        answer.image_id().unwrap_or_default().parse().map_err(|_| CloudError {
            kind: FailureKind::RetrySame,
            code: "NoImage".to_owned(),
            message: "CreateImage answered without an AMI".to_owned(),
        })
    }

    async fn find(&self, which: Which<'_>, now: DateTime<Utc>) -> Result<Vec<Ami>, CloudError> {
        let filter = match which {
            Which::Named(name) => filter("name", name),
            Which::One(id) => filter("image-id", id.as_str()),
            Which::Holding(snapshot) => filter("block-device-mapping.snapshot-id", snapshot.as_str()),
            Which::Fleet(fleet) => filter(&format!("tag:{}", tag_keys::FLEET), fleet),
        };
        let mut all: Vec<types::Image> = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let call = self.reads.describe_images().owners("self").filters(filter.clone());
            let call = call.include_deprecated(true).include_disabled(true).max_results(PAGE).set_next_token(token);
            let page = call.send().await.map_err(|e| error::sorted(&e))?;
            all.extend_from_slice(page.images());
            token = next(page.next_token());
            if token.is_none() {
                return all.iter().map(|image| convert::ami(image, now)).collect();
            }
        }
        Err(too_many_pages())
    }

    async fn mark(&self, snapshots: &[SnapshotId], ami: &AmiId) -> Result<(), CloudError> {
        let tag = Tag::builder().key(tag_keys::RETIRED).value(ami.as_str()).build();
        let ids = snapshots.iter().map(ToString::to_string).collect();
        let call = self.writes.create_tags().set_resources(Some(ids)).tags(tag);
        call.send().await.map(drop).map_err(|e| error::sorted(&e))
    }

    async fn marked(&self, ami: &AmiId) -> Result<Vec<SnapshotId>, CloudError> {
        let mark = filter(&format!("tag:{}", tag_keys::RETIRED), ami.as_str());
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let call = self.reads.describe_snapshots().owner_ids("self").filters(mark.clone());
            let page = call.max_results(PAGE).set_next_token(token).send().await.map_err(|e| error::sorted(&e))?;
            for snapshot in page.snapshots() {
                all.push(convert::snapshot_id(snapshot.snapshot_id().unwrap_or_default())?);
            }
            token = next(page.next_token());
            if token.is_none() {
                return Ok(all);
            }
        }
        Err(too_many_pages())
    }

    async fn deregister(&self, ami: &AmiId) -> Result<(), CloudError> {
        let call = self.writes.deregister_image().image_id(ami.as_str());
        call.send().await.map(drop).map_err(|e| error::sorted(&e))
    }

    async fn delete(&self, snapshot: &SnapshotId) -> Result<(), CloudError> {
        let call = self.writes.delete_snapshot().snapshot_id(snapshot.as_str());
        call.send().await.map(drop).map_err(|e| error::sorted(&e))
    }
}
