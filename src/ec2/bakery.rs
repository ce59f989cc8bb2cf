//! What a rebake alone asks: the AMI it begins with, what becomes of it, and who uses it.

use std::collections::BTreeMap;

use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::types::{
    self, Filter, ImageReferenceResourceType, InstanceStateName, LaunchTemplateVersion, ResourceTypeRequest, Tag,
};
use chrono::{DateTime, Utc};

use super::connect::Clients;
use super::{Ec2, FILTER_VALUES, PAGE, PAGES_MAX, convert, error, rehearse, too_many_pages};
use crate::cloud::{
    Bakery, Cloud, CloudError, FenceApi, WhichGroups, names_by_parameter, of_the_fleet, raise_fence, take_down,
    with_references,
};
use crate::model::{AmiId, AmiState, Fence, GroupId, Rehearsal, SourceAmi, SourceDisk, TagSet};

/// Launch templates, and versions of one, per page: the most that EC2 gives.
const TEMPLATES: i32 = 200;

impl Bakery for Ec2 {
    async fn source(&self, id: &AmiId) -> Result<Option<SourceAmi>, CloudError> {
        let clients = self.clients().await?;
        let Some(image) = image(clients, id).await? else { return Ok(None) };
        let mut source = convert::source(&image, &self.account().await?)?;
        if source.state == AmiState::Deregistered {
            return Ok(None);
        }
        name_keys(clients, &mut source.disks).await?;
        Ok(Some(source))
    }

    async fn fence(&self, fence: &Fence) -> Result<GroupId, CloudError> {
        raise_fence(self.clients().await?, &self.fleet, fence).await
    }

    async fn unfence(&self, id: &GroupId) -> Result<(), CloudError> {
        take_down(self.clients().await?, &self.fleet, id).await
    }

    async fn fences(&self) -> Result<Vec<(GroupId, TagSet)>, CloudError> {
        let found = self.clients().await?.groups(WhichGroups::Fences(&self.fleet)).await?;
        Ok(found.into_iter().map(|group| (group.id, group.tags)).collect())
    }

    async fn deprecate(&self, id: &AmiId, at: Option<DateTime<Utc>>) -> Result<(), CloudError> {
        let clients = self.clients().await?;
        of_the_fleet(clients, &self.fleet, id).await?;
        let (calls, name) = (&clients.writes, id.as_str());
        let Some(at) = at else {
            let done = calls.disable_image_deprecation().image_id(name).send().await;
            return done.map(drop).map_err(|e| error::sorted(&e));
        };
        let at = aws_sdk_ec2::primitives::DateTime::from_secs(at.timestamp());
        let done = calls.enable_image_deprecation().image_id(name).deprecate_at(at).send().await;
        done.map(drop).map_err(|e| error::sorted(&e))
    }

    async fn put_away(&self, id: &AmiId, away: bool) -> Result<(), CloudError> {
        let clients = self.clients().await?;
        match (of_the_fleet(clients, &self.fleet, id).await?.state, away) {
            (AmiState::Disabled, true) | (AmiState::Available, false) => Ok(()),
            (_, true) => {
                let done = clients.writes.disable_image().image_id(id.as_str()).send().await;
                done.map(drop).map_err(|e| error::sorted(&e))
            }
            (_, false) => {
                let done = clients.writes.enable_image().image_id(id.as_str()).send().await;
                done.map(drop).map_err(|e| error::sorted(&e))
            }
        }
    }

    async fn uses(&self, id: &AmiId) -> Result<Vec<String>, CloudError> {
        let clients = self.clients().await?;
        let mut uses = instances_of(clients, id, self.page).await?;
        uses.extend(templates_of(clients, id).await?);
        Ok(with_references(uses, references(clients, id).await?))
    }

    async fn tag_image(&self, id: &AmiId, tags: &TagSet) -> Result<(), CloudError> {
        let clients = self.clients().await?;
        of_the_fleet(clients, &self.fleet, id).await?;
        let tags: Vec<Tag> = convert::sdk_tags(tags);
        let call = clients.writes.create_tags().resources(id.as_str()).set_tags(Some(tags));
        call.send().await.map(drop).map_err(|e| error::sorted(&e))
    }

    async fn rehearse(&self, rehearsal: &Rehearsal) -> Vec<(&'static str, Result<(), CloudError>)> {
        match self.clients().await {
            Ok(clients) => rehearse::all(clients, &self.fleet, rehearsal).await,
            Err(error) => vec![(rehearse::FIRST, Err(error))],
        }
    }
}

/// One AMI of whatever owner. By its id and not by a filter: that would go through all that the world has.
async fn image(clients: &Clients, id: &AmiId) -> Result<Option<types::Image>, CloudError> {
    let call = clients.reads.describe_images().image_ids(id.as_str());
    match call.include_deprecated(true).include_disabled(true).send().await {
        Ok(answer) => Ok(answer.images().first().cloned()),
        Err(e) if matches!(e.code(), Some("InvalidAMIID.NotFound" | "InvalidAMIID.Unavailable")) => Ok(None),
        Err(e) => Err(error::sorted(&e)),
    }
}

/// EC2 tells the keys of encrypted disks with their snapshots, if those are the account's to see.
async fn name_keys(clients: &Clients, disks: &mut [SourceDisk]) -> Result<(), CloudError> {
    let unnamed = disks.iter().filter(|disk| disk.encrypted && disk.kms_key.is_none());
    let snapshots: Vec<String> = unnamed.filter_map(|disk| disk.snapshot.as_ref().map(ToString::to_string)).collect();
    let mut keys = BTreeMap::new();
    for snapshots in snapshots.chunks(FILTER_VALUES) {
        let these = Filter::builder().name("snapshot-id").set_values(Some(snapshots.to_vec())).build();
        let answer = clients.reads.describe_snapshots().filters(these).send().await.map_err(|e| error::sorted(&e))?;
        let pair = |one: &types::Snapshot| Some((one.snapshot_id()?.to_owned(), one.kms_key_id()?.to_owned()));
        keys.extend(answer.snapshots().iter().filter_map(pair));
    }
    for disk in disks.iter_mut().filter(|disk| disk.kms_key.is_none()) {
        disk.kms_key = disk.snapshot.as_ref().and_then(|snapshot| keys.get(snapshot.as_str()).cloned());
    }
    Ok(())
}

/// Every page of the account's instances of an AMI that have not ended.
async fn instances_of(clients: &Clients, id: &AmiId, size: i32) -> Result<Vec<String>, CloudError> {
    let of = Filter::builder().name("image-id").values(id.as_str()).build();
    let (mut uses, mut token) = (Vec::new(), None::<String>);
    for _ in 0..PAGES_MAX {
        let call = clients.reads.describe_instances().filters(of.clone()).max_results(size).set_next_token(token);
        let page = call.send().await.map_err(|e| error::sorted(&e))?;
        for instance in page.reservations().iter().flat_map(types::Reservation::instances) {
            let state = instance.state().and_then(types::InstanceState::name);
            if state != Some(&InstanceStateName::Terminated) {
                let state = state.map_or("no state", InstanceStateName::as_str);
                uses.push(format!("instance {} ({state})", instance.instance_id().unwrap_or_default()));
            }
        }
        token = next(page.next_token());
        if token.is_none() {
            return Ok(uses);
        }
    }
    Err(too_many_pages())
}

fn next(token: Option<&str>) -> Option<String> {
    token.filter(|token| !token.is_empty()).map(ToOwned::to_owned)
}

/// Of all templates at once EC2 tells the latest and the default version alone: each is asked for by itself.
async fn templates_of(clients: &Clients, id: &AmiId) -> Result<Vec<String>, CloudError> {
    let (mut templates, mut token) = (Vec::new(), None::<String>);
    for _ in 0..PAGES_MAX {
        let call = clients.reads.describe_launch_templates().max_results(TEMPLATES).set_next_token(token);
        let page = call.send().await.map_err(|e| error::sorted(&e))?;
        templates.extend(page.launch_templates().iter().filter_map(|one| one.launch_template_id()).map(str::to_owned));
        token = next(page.next_token());
        if token.is_none() {
            break;
        }
    }
    if token.is_some() {
        return Err(too_many_pages());
    }
    let mut uses = Vec::new();
    for template in templates {
        uses.extend(versions_of(clients, &template, id).await?);
    }
    Ok(uses)
}

async fn versions_of(clients: &Clients, template: &str, id: &AmiId) -> Result<Vec<String>, CloudError> {
    let named = |version: &LaunchTemplateVersion| {
        let image = version.launch_template_data().and_then(|data| data.image_id()).unwrap_or_default();
        image == id.as_str() || names_by_parameter(image)
    };
    let (mut uses, mut token) = (Vec::new(), None::<String>);
    for _ in 0..PAGES_MAX {
        let call = clients.reads.describe_launch_template_versions().launch_template_id(template);
        let call = call.max_results(TEMPLATES).set_next_token(token);
        let page = match call.send().await {
            Ok(page) => page,
            // It was deleted since it was listed.
            Err(e) if e.code() == Some("InvalidLaunchTemplateId.NotFound") => return Ok(uses),
            Err(e) => return Err(error::sorted(&e)),
        };
        let using = page.launch_template_versions().iter().filter(|version| named(version));
        let number = |version: &LaunchTemplateVersion| version.version_number().unwrap_or_default();
        uses.extend(using.map(|version| format!("launch template {template} version {}", number(version))));
        token = next(page.next_token());
        if token.is_none() {
            return Ok(uses);
        }
    }
    Err(too_many_pages())
}

/// What EC2 itself finds. Parameters and recipes are not asked for: to see those, EC2 wants that the caller may
/// read every parameter of the account, secrets among them.
async fn references(clients: &Clients, id: &AmiId) -> Result<Vec<(String, String)>, CloudError> {
    let kind = |kind| ResourceTypeRequest::builder().resource_type(kind).build();
    let kinds = [ImageReferenceResourceType::Ec2Instance, ImageReferenceResourceType::Ec2LaunchTemplate].map(kind);
    let (mut found, mut token) = (Vec::new(), None::<String>);
    for _ in 0..PAGES_MAX {
        let call = clients.reads.describe_image_references().image_ids(id.as_str()).max_results(PAGE);
        let call = call.set_resource_types(Some(kinds.to_vec())).set_next_token(token);
        let page = call.send().await.map_err(|e| error::sorted(&e))?;
        let pair = |one: &types::ImageReference| {
            let kind = one.resource_type().map(ImageReferenceResourceType::as_str).unwrap_or_default();
            (kind.to_owned(), one.arn().unwrap_or_default().to_owned())
        };
        found.extend(page.image_references().iter().map(pair));
        token = next(page.next_token());
        if token.is_none() {
            return Ok(found);
        }
    }
    Err(too_many_pages())
}
