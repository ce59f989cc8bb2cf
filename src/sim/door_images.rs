//! The in-process door's calls for AMIs and their snapshots.

use chrono::{DateTime, Utc};

use super::bake::NewImage;
use super::door::SimCloud;
use super::error::ApiError;
use super::image::{Image, ImageState};
use super::instance::Tags;
use crate::cloud::{CloudError, ImageApi, Which};
use crate::model::{
    Ami, AmiCandidate, AmiId, AmiQuery, AmiState, FailureKind, InstanceId, SnapshotId, TagSet, tag_keys,
};

pub(super) fn tag_set(tags: &Tags) -> TagSet {
    tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// An id that the model made, in our words.
pub(super) fn own<T: std::str::FromStr>(id: &str) -> Result<T, CloudError> {
    id.parse().map_err(|_| CloudError {
        kind: FailureKind::Bug,
        code: "UnreadableId".to_owned(),
        message: format!("the simulated EC2 shows an id that cannot be read: {id}"),
    })
}

fn size_gib(image: &Image) -> Option<u32> {
    let sizes = image.disks.iter().filter(|disk| disk.snapshot.is_some()).map(|disk| disk.size_gib);
    Some(sizes.sum()).filter(|gib| *gib > 0)
}

pub(super) fn shown(image: &Image) -> Result<Ami, CloudError> {
    let snapshots = image.disks.iter().filter_map(|disk| disk.snapshot.as_deref());
    Ok(Ami {
        id: own(&image.id)?,
        name: image.name.clone(),
        state: match image.state {
            ImageState::Pending => AmiState::Pending,
            ImageState::Available => AmiState::Available,
            ImageState::Failed => AmiState::Failed,
            ImageState::Deregistered => AmiState::Deregistered,
            ImageState::Disabled => AmiState::Disabled,
        },
        architecture: image.architecture.clone(),
        snapshots: snapshots.map(own).collect::<Result<_, _>>()?,
        created: image.created,
        size_gib: size_gib(image),
        deprecated: image.deprecated_at,
        tags: tag_set(&image.tags),
    })
}

impl SimCloud {
    /// The AMIs that a manifest may choose from.
    pub(super) async fn list_amis(&self, query: &AmiQuery) -> Result<Vec<AmiCandidate>, CloudError> {
        let owners: Vec<&str> = query.owners.iter().map(String::as_str).collect();
        let found = self.call("DescribeImages", 0, "", |site, now| {
            let account = &*site.account;
            let fits = |image: &&Image| {
                image.is_of(&owners, account)
                    && image.state == ImageState::Available
                    && image.architecture == query.architecture
                    && !image.is_hidden(account, now)
            };
            let one = |image: &Image| (image.location(account), image.clone());
            Ok::<Vec<(String, Image)>, ApiError>(site.images.values().filter(fits).map(one).collect())
        });
        found.await?.into_iter().map(|(location, image)| candidate(location, &image)).collect()
    }
}

fn candidate(location: String, image: &Image) -> Result<AmiCandidate, CloudError> {
    let Ami { id, state, architecture, created, .. } = shown(image)?;
    Ok(AmiCandidate { id, location, state, architecture, created: Some(created), deprecated: image.deprecated_at })
}

fn is(image: &Image, which: Which<'_>) -> bool {
    match which {
        Which::Named(name) => image.name == name,
        Which::One(id) => image.id == id.as_str(),
        Which::Holding(snapshot) => image.disks.iter().any(|disk| disk.snapshot.as_deref() == Some(snapshot.as_str())),
        Which::Fleet(fleet) => image.tags.get(tag_keys::FLEET).is_some_and(|own| own == fleet),
    }
}

impl ImageApi for SimCloud {
    async fn create(&self, of: &InstanceId, name: &str, tags: &TagSet) -> Result<AmiId, CloudError> {
        let tags: Tags = tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let new = NewImage { name: name.to_owned(), snapshot_tags: tags.clone(), tags, ..NewImage::default() };
        let made = self.call("CreateImage", 0, of.as_str(), |site, now| {
            site.create_image(of, new, now).map(|image| image.id.clone())
        });
        own(&made.await?)
    }

    async fn find(&self, which: Which<'_>, _: DateTime<Utc>) -> Result<Vec<Ami>, CloudError> {
        let found = self.call("DescribeImages", 0, "", |site, _| {
            let chosen = site.images.values().filter(|image| is(image, which));
            Ok::<Vec<Image>, ApiError>(chosen.cloned().collect())
        });
        found.await?.iter().map(shown).collect()
    }

    async fn mark(&self, snapshots: &[SnapshotId], ami: &AmiId) -> Result<(), CloudError> {
        let resources: Vec<String> = snapshots.iter().map(ToString::to_string).collect();
        let mark = Tags::from([(tag_keys::RETIRED.to_owned(), ami.to_string())]);
        self.call("CreateTags", 0, ami.as_str(), |site, now| site.create_tags(&resources, &mark, now)).await
    }

    async fn marked(&self, ami: &AmiId) -> Result<Vec<SnapshotId>, CloudError> {
        let found = self.call("DescribeSnapshots", 0, ami.as_str(), |site, _| {
            let of = |tags: &Tags| tags.get(tag_keys::RETIRED).is_some_and(|own| own == ami.as_str());
            let marked = site.snapshots.values().filter(|snapshot| of(&snapshot.tags));
            Ok::<Vec<String>, ApiError>(marked.map(|snapshot| snapshot.id.clone()).collect())
        });
        found.await?.iter().map(|id| own(id)).collect()
    }

    async fn deregister(&self, ami: &AmiId) -> Result<(), CloudError> {
        let id = ami.as_str();
        self.call("DeregisterImage", 0, id, |site, now| site.deregister_image(id, false, now).map(drop)).await
    }

    async fn delete(&self, snapshot: &SnapshotId) -> Result<(), CloudError> {
        let id = snapshot.as_str();
        self.call("DeleteSnapshot", 0, id, |site, _| site.delete_snapshot(id)).await
    }
}
