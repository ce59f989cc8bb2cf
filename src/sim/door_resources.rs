//! The in-process door's calls for a sweep: everything that an account holds.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::door::{SimCloud, shown};
use super::door_images::{own, shown as shown_ami, tag_set};
use super::error::ApiError;
use super::image::ImageState;
use super::instance::Tags;
use super::site::Site;
use super::spot::SpotState;
use crate::cloud::{CloudError, ImageApi, of_a_snapshot};
use crate::model::{self, FailureKind, Resource, ResourceId, ResourceKind, tag_keys};

type Found = Vec<(String, Resource)>;

/// Which of a kind: what carries a fleet's tag, or whatever has one of these ids.
#[derive(Clone, Copy)]
struct Only<'a>(Option<&'a [ResourceId]>);

impl Only<'_> {
    fn takes(self, id: &str, tags: &Tags) -> bool {
        match self.0 {
            Some(ids) => ids.iter().any(|own| own.as_str() == id),
            None => tags.contains_key(tag_keys::FLEET),
        }
    }
}

fn instances(site: &mut Site, now: DateTime<Utc>) -> Result<Found, ApiError> {
    site.describe_instances(None, now)?;
    let replica = site.replica();
    let seen = site.instances().filter_map(|instance| Some((instance, instance.seen_by(replica, now)?)));
    Ok(seen.map(|(i, facts)| (i.id.to_string(), Resource::Instance(Box::new(shown(site, i, facts))))).collect())
}

fn images(site: &Site) -> Found {
    let there = site.images.values().filter(|image| image.state != ImageState::Deregistered);
    there.filter_map(|image| Some((image.id.clone(), Resource::Ami(Box::new(shown_ami(image).ok()?))))).collect()
}

fn volumes(site: &Site, only: Only<'_>) -> Found {
    let one = |volume: &super::volume::Volume| model::Volume {
        available: volume.attachment.is_none(),
        instance: volume.attachment.as_ref().and_then(|attached| attached.instance.parse().ok()),
        size_gib: volume.size_gib,
        volume_type: volume.volume_type.clone(),
        created: Some(volume.created),
    };
    let ours = site.volumes.values().filter(|volume| only.takes(&volume.id, &volume.tags));
    ours.map(|volume| (volume.id.clone(), Resource::Volume(tag_set(&volume.tags), one(volume)))).collect()
}

fn snapshots(site: &Site, only: Only<'_>) -> Found {
    let one = |snapshot: &super::snapshot::Snapshot| model::Snapshot {
        size_gib: snapshot.size_gib,
        started: Some(snapshot.started),
    };
    let ours = site.snapshots.values().filter(|snapshot| only.takes(&snapshot.id, &snapshot.tags));
    ours.map(|s| (s.id.clone(), Resource::Snapshot(tag_set(&s.tags), one(s)))).collect()
}

fn interfaces(site: &Site, only: Only<'_>) -> Found {
    let ours = site.interfaces.values().filter(|interface| only.takes(&interface.id, &interface.tags));
    ours.map(|i| (i.id.clone(), Resource::Interface(tag_set(&i.tags), i.instance.is_none()))).collect()
}

fn addresses(site: &Site, only: Only<'_>) -> Found {
    let one = |address: &super::address::Address| model::Address {
        ip: address.ip.clone(),
        associated: address.association.is_some(),
        instance: address.association.as_ref().map(|(_, instance)| instance.clone()),
    };
    let ours = site.addresses.values().filter(|address| only.takes(&address.id, &address.tags));
    ours.map(|a| (a.id.clone(), Resource::Address(tag_set(&a.tags), one(a)))).collect()
}

fn spot_requests(site: &Site, only: Only<'_>) -> Found {
    let one = |request: &super::spot::SpotRequest| model::SpotRequest {
        live: matches!(request.state, SpotState::Open | SpotState::Active | SpotState::Disabled),
        state: request.state.word().to_owned(),
        status: request.status.to_owned(),
        instance: request.instance.clone(),
        created: Some(request.created),
    };
    let ours = site.spot_requests.values().filter(|request| only.takes(&request.id, &request.tags));
    ours.map(|r| (r.id.clone(), Resource::SpotRequest(tag_set(&r.tags), one(r)))).collect()
}

impl SimCloud {
    /// What there is of a kind.
    pub(super) async fn list(
        &self,
        kind: ResourceKind,
        only: Option<&[ResourceId]>,
        _: DateTime<Utc>,
    ) -> Result<BTreeMap<ResourceId, Resource>, CloudError> {
        let found = self.call(kind.listing(), 0, kind.plural(), |site, now| match kind {
            ResourceKind::Instance => instances(site, now),
            ResourceKind::Ami => Ok(images(site)),
            ResourceKind::Volume => Ok(volumes(site, Only(only))),
            ResourceKind::Snapshot => Ok(snapshots(site, Only(only))),
            ResourceKind::Interface => Ok(interfaces(site, Only(only))),
            ResourceKind::Address => Ok(addresses(site, Only(only))),
            ResourceKind::SpotRequest => Ok(spot_requests(site, Only(only))),
        });
        let all: BTreeMap<ResourceId, Resource> =
            found.await?.into_iter().map(|(id, what)| Ok((own(&id)?, what))).collect::<Result<_, CloudError>>()?;
        Ok(match only {
            Some(ids) => all.into_iter().filter(|(id, _)| ids.contains(id)).collect(),
            None => all,
        })
    }

    /// Deletes, releases or cancels.
    pub(super) async fn take_away(&self, id: &ResourceId) -> Result<(), CloudError> {
        let name = id.as_str();
        match id.kind() {
            ResourceKind::Volume => self.call("DeleteVolume", 0, name, |site, _| site.delete_volume(name)).await,
            ResourceKind::Interface => {
                self.call("DeleteNetworkInterface", 0, name, |site, _| site.delete_interface(name)).await
            }
            ResourceKind::Address => self.call("ReleaseAddress", 0, name, |site, _| site.release_address(name)).await,
            ResourceKind::SpotRequest => {
                self.call("CancelSpotInstanceRequests", 0, name, |site, now| site.cancel_spot(&[name], now)).await
            }
            ResourceKind::Snapshot => match name.parse() {
                Ok(snapshot) => self.delete(&snapshot).await.map_err(of_a_snapshot),
                Err(_) => Err(not_for_this(id)),
            },
            ResourceKind::Instance | ResourceKind::Ami => Err(not_for_this(id)),
        }
    }
}

fn not_for_this(id: &ResourceId) -> CloudError {
    let message = format!("{id} is taken away by another call");
    CloudError { kind: FailureKind::Bug, code: "WrongCall".to_owned(), message }
}
