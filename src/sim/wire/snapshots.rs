//! Snapshots.

use super::call::{Call, done};
use super::filter::{TAGS, Values};
use super::instances::tags;
use super::launch;
use super::xml::Xml;
use crate::sim::error::ApiError;
use crate::sim::site::Site;
use crate::sim::snapshot::Snapshot;

const FILTERS: [&str; 13] = [
    TAGS,
    "description",
    "encrypted",
    "owner-alias",
    "owner-id",
    "progress",
    "snapshot-id",
    "start-time",
    "status",
    "storage-tier",
    "transfer-type",
    "volume-id",
    "volume-size",
];

pub(super) fn describe(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&FILTERS)?;
    let page = call.page("SnapshotId")?;
    let (ids, owners) = (call.query.texts("SnapshotId"), call.query.texts("Owner"));
    for id in &ids {
        site.snapshot(id)?;
    }
    let ours = owners.is_empty() || owners.iter().any(|owner| *owner == "self" || *owner == &*site.account);
    let status = |snapshot: &Snapshot| if snapshot.is_complete(call.now) { "completed" } else { "pending" };
    let progress = |snapshot: &Snapshot| format!("{}%", snapshot.progress(call.now));
    let fitting = site.snapshots.values().filter(|snapshot| {
        ours && (ids.is_empty() || ids.contains(&snapshot.id.as_str()))
            && filters.pass(&snapshot.tags, |name| match name {
                "description" => (&snapshot.description).into(),
                "encrypted" => snapshot.encrypted.into(),
                "owner-id" => (*site.account).into(),
                "progress" => progress(snapshot).into(),
                "snapshot-id" => (&snapshot.id).into(),
                "start-time" => snapshot.started.into(),
                "status" => status(snapshot).into(),
                "storage-tier" => "standard".into(),
                "volume-id" => (&snapshot.volume).into(),
                "volume-size" => snapshot.size_gib.to_string().into(),
                _ => Values::none(),
            })
    });
    let part = page.of(fitting, |snapshot| &snapshot.id);
    let mut xml = Xml::default();
    xml.set("snapshotSet", part.items, |xml, snapshot| {
        about(xml, site, snapshot);
        xml.text("status", status(snapshot)).text("progress", progress(snapshot));
    });
    xml.opt("nextToken", part.next);
    Ok(xml)
}

fn about(xml: &mut Xml, site: &Site, snapshot: &Snapshot) {
    xml.text("snapshotId", &snapshot.id).text("volumeId", &snapshot.volume).time("startTime", snapshot.started);
    xml.text("ownerId", &*site.account).plain("volumeSize", snapshot.size_gib);
    xml.text("description", &snapshot.description)
        .flag("encrypted", snapshot.encrypted)
        .text("storageTier", "standard");
    tags(xml, &snapshot.tags);
}

pub(super) fn create(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let volume = call.query.required("VolumeId")?;
    let description = call.query.text("Description").unwrap_or_default();
    let own = launch::tags_for(call.query, "snapshot")?;
    call.permitted()?;
    let made = site.create_snapshot(volume, description, &own, call.now)?.clone();
    let mut xml = Xml::default();
    about(&mut xml, site, &made);
    xml.text("status", "pending").text("progress", "");
    Ok(xml)
}

pub(super) fn delete(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let id = call.query.required("SnapshotId")?;
    call.permitted()?;
    site.delete_snapshot(id).map(|()| done())
}
