//! Volumes.

use super::call::{Call, done, instance_id};
use super::filter::{TAGS, Values};
use super::instances::tags;
use super::launch;
use super::query::missing;
use super::xml::Xml;
use crate::sim::error::ApiError;
use crate::sim::site::Site;
use crate::sim::volume::{Attachment, Volume};

const FILTERS: [&str; 17] = [
    TAGS,
    "attachment.attach-time",
    "attachment.delete-on-termination",
    "attachment.device",
    "attachment.instance-id",
    "attachment.status",
    "availability-zone",
    "availability-zone-id",
    "create-time",
    "encrypted",
    "fast-restored",
    "multi-attach-enabled",
    "size",
    "snapshot-id",
    "status",
    "volume-id",
    "volume-type",
];

fn status(volume: &Volume) -> &'static str {
    if volume.attachment.is_some() { "in-use" } else { "available" }
}

pub(super) fn describe(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&FILTERS)?;
    let page = call.page("VolumeId")?;
    let ids = call.query.texts("VolumeId");
    for id in &ids {
        site.volume(id)?;
    }
    let fitting = site.volumes.values().filter(|volume| {
        let attached = volume.attachment.as_ref();
        (ids.is_empty() || ids.contains(&volume.id.as_str()))
            && filters.pass(&volume.tags, |name| match name {
                "attachment.attach-time" => attached.map(|at| at.since).into(),
                "attachment.delete-on-termination" => attached.map(|at| at.delete_on_termination).into(),
                "attachment.device" => attached.map(|at| &at.device).into(),
                "attachment.instance-id" => attached.map(|at| &at.instance).into(),
                "attachment.status" => attached.map(|_| "attached").into(),
                "availability-zone" => (&volume.zone).into(),
                "create-time" => volume.created.into(),
                "encrypted" => volume.encrypted.into(),
                "size" => volume.size_gib.to_string().into(),
                "snapshot-id" => volume.snapshot.as_deref().into(),
                "status" => status(volume).into(),
                "volume-id" => (&volume.id).into(),
                "volume-type" => (&volume.volume_type).into(),
                _ => Values::none(),
            })
    });
    let part = page.of(fitting, |volume| &volume.id);
    let mut xml = Xml::default();
    xml.set("volumeSet", part.items, |xml, volume| {
        item(xml, volume, status(volume));
        xml.set("attachmentSet", &volume.attachment, |xml, attached| attachment(xml, &volume.id, attached, "attached"));
    });
    xml.opt("nextToken", part.next);
    Ok(xml)
}

fn item(xml: &mut Xml, volume: &Volume, status: &str) {
    xml.text("volumeId", &volume.id).plain("size", volume.size_gib);
    xml.text("snapshotId", volume.snapshot.as_deref().unwrap_or_default()).text("availabilityZone", &volume.zone);
    xml.text("status", status).time("createTime", volume.created).text("volumeType", &volume.volume_type);
    xml.flag("encrypted", volume.encrypted).flag("multiAttachEnabled", false);
    tags(xml, &volume.tags);
}

fn attachment(xml: &mut Xml, volume: &str, attached: &Attachment, status: &str) {
    xml.text("volumeId", volume).text("instanceId", &attached.instance).text("device", &attached.device);
    xml.text("status", status).time("attachTime", attached.since);
    xml.flag("deleteOnTermination", attached.delete_on_termination);
}

pub(super) fn create(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let query = call.query;
    let (size, snapshot) = (query.count("Size")?, query.filled("SnapshotId"));
    let of_snapshot = snapshot.map(|id| site.snapshot(id).map(|snapshot| snapshot.size_gib)).transpose()?;
    let new = Volume {
        id: String::new(),
        size_gib: size.or(of_snapshot).ok_or_else(|| missing("Size"))?,
        volume_type: query.filled("VolumeType").unwrap_or("gp2").to_owned(),
        zone: query.required("AvailabilityZone")?.to_owned(),
        snapshot: snapshot.map(ToOwned::to_owned),
        encrypted: query.flag("Encrypted")?.unwrap_or(false),
        created: call.now,
        attachment: None,
        tags: launch::tags_for(query, "volume")?,
    };
    call.permitted()?;
    let ids = call.once(site, |site| site.create_volume(new).map(|volume| vec![volume.id.clone()]))?;
    let mut xml = Xml::default();
    for id in ids {
        item(&mut xml, site.volume(&id)?, "creating");
    }
    Ok(xml)
}

pub(super) fn delete(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let id = call.query.required("VolumeId")?;
    call.permitted()?;
    site.delete_volume(id).map(|()| done())
}

pub(super) fn attach(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let (id, device) = (call.query.required("VolumeId")?, call.query.required("Device")?);
    let instance = instance_id(call.query.required("InstanceId")?)?;
    call.permitted()?;
    let volume = site.attach_volume(id, &instance, device, call.now)?;
    let mut xml = Xml::default();
    if let Some(attached) = &volume.attachment {
        attachment(&mut xml, id, attached, "attaching");
    }
    Ok(xml)
}

pub(super) fn detach(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let id = call.query.required("VolumeId")?;
    call.permitted()?;
    let held = site.detach_volume(id)?;
    let mut xml = Xml::default();
    attachment(&mut xml, id, &held, "detaching");
    Ok(xml)
}
