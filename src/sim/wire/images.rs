//! Images.

use chrono::SecondsFormat;

use super::call::{Call, done};
use super::filter::{Filters, TAGS, Values};
use super::instances::tags;
use super::launch;
use super::query::{Node, missing};
use super::xml::Xml;
use crate::sim::bake::NewImage;
use crate::sim::error::ApiError;
use crate::sim::image::{Image, ImageState, Platform};
use crate::sim::instance::Tags;
use crate::sim::site::{Site, well_formed};

const FILTERS: [&str; 27] = [
    TAGS,
    "architecture",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.snapshot-id",
    "block-device-mapping.volume-size",
    "block-device-mapping.volume-type",
    "block-device-mapping.encrypted",
    "creation-date",
    "description",
    "ena-support",
    "hypervisor",
    "image-id",
    "image-type",
    "is-public",
    "kernel-id",
    "manifest-location",
    "name",
    "owner-alias",
    "owner-id",
    "platform",
    "product-code",
    "root-device-name",
    "root-device-type",
    "source-instance-id",
    "state",
    "virtualization-type",
];

/// An image id in the right form.
fn image_id<'a>(query: &'a Node, name: &str) -> Result<&'a str, ApiError> {
    checked(query.required(name)?)
}

pub(super) fn checked(id: &str) -> Result<&str, ApiError> {
    if well_formed(id, "ami") {
        return Ok(id);
    }
    Err(ApiError::client("InvalidAMIID.Malformed", format!("Invalid id: \"{id}\" (expecting \"ami-...\")")))
}

pub(super) fn describe(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&FILTERS)?;
    let page = call.page("ImageId")?;
    let query = call.query;
    let ids = query.texts("ImageId");
    for id in &ids {
        checked(id)?;
        if !site.images.contains_key(*id) {
            let message = format!("The image id '[{id}]' does not exist");
            return Err(ApiError::client("InvalidAMIID.NotFound", message));
        }
    }
    let owners = query.texts("Owner");
    let disabled = query.flag("IncludeDisabled")?.unwrap_or(true);
    let deprecated = query.flag("IncludeDeprecated")?.unwrap_or(false);
    let images: Vec<&Image> = site.images.values().collect();
    let fitting = images.into_iter().filter(|image| {
        image.is_of(&owners, &site.account)
            && (deprecated || !image.is_hidden(&site.account, call.now))
            && (ids.is_empty() || ids.contains(&image.id.as_str()))
            && (disabled || image.state != ImageState::Disabled)
            && passes(&filters, site, image)
    });
    let part = page.of(fitting, |image| image.id.as_str());
    let mut xml = Xml::default();
    xml.set("imagesSet", part.items, |xml, image| item(xml, site, image));
    xml.opt("nextToken", part.next);
    Ok(xml)
}

fn passes(filters: &Filters, site: &Site, image: &Image) -> bool {
    let disks = || image.disks.iter();
    filters.pass(&image.tags, |name| match name {
        "image-id" => (&image.id).into(),
        "name" => (&image.name).into(),
        "description" => (&image.description).into(),
        "architecture" => (&image.architecture).into(),
        "state" => state(image.state).into(),
        "owner-id" => image.owner_of(&site.account).into(),
        "owner-alias" => image.owner_alias.as_deref().into(),
        "is-public" => image.public.into(),
        "image-type" => "machine".into(),
        "creation-date" => image.created.into(),
        "manifest-location" => image.location(&site.account).into(),
        "root-device-name" => (&image.root_device).into(),
        "root-device-type" => "ebs".into(),
        "virtualization-type" => "hvm".into(),
        "hypervisor" => "xen".into(),
        "ena-support" => true.into(),
        "platform" => (image.platform == Platform::Windows).then_some("windows").into(),
        "product-code" => Values::many(image.product_codes.iter().map(String::as_str)),
        "source-instance-id" => image.source_instance.as_deref().into(),
        "block-device-mapping.snapshot-id" => Values::many(disks().filter_map(|disk| disk.snapshot.as_deref())),
        "block-device-mapping.device-name" => Values::many(disks().map(|disk| disk.device.as_str())),
        "block-device-mapping.volume-type" => Values::many(disks().map(|disk| disk.volume_type.as_str())),
        _ => Values::none(),
    })
}

fn state(state: ImageState) -> &'static str {
    match state {
        ImageState::Pending => "pending",
        ImageState::Available => "available",
        ImageState::Failed => "failed",
        ImageState::Deregistered => "deregistered",
        ImageState::Disabled => "disabled",
    }
}

fn item(xml: &mut Xml, site: &Site, image: &Image) {
    xml.text("imageId", &image.id)
        .text("imageLocation", image.location(&site.account))
        .text("imageState", state(image.state));
    xml.opt("imageOwnerAlias", image.owner_alias.as_deref());
    xml.text("imageOwnerId", image.owner_of(&site.account))
        .text("creationDate", image.created.to_rfc3339_opts(SecondsFormat::Millis, true));
    xml.flag("isPublic", image.public).text("architecture", &image.architecture).text("imageType", "machine");
    let windows = image.platform == Platform::Windows;
    if windows {
        xml.text("platform", "windows");
    }
    xml.text("platformDetails", if windows { "Windows" } else { "Linux/UNIX" });
    xml.text("usageOperation", if windows { "RunInstances:0002" } else { "RunInstances" });
    xml.text("name", &image.name).text("description", &image.description);
    xml.text("rootDeviceType", "ebs").text("rootDeviceName", &image.root_device);
    xml.set("blockDeviceMapping", &image.disks, |xml, disk| {
        xml.text("deviceName", &disk.device);
        xml.within("ebs", |xml| {
            xml.opt("snapshotId", disk.snapshot.as_deref()).plain("volumeSize", disk.size_gib);
            xml.flag("deleteOnTermination", disk.delete_on_termination).text("volumeType", &disk.volume_type);
            xml.flag("encrypted", disk.encrypted);
        });
    });
    xml.text("virtualizationType", "hvm").text("hypervisor", "xen").flag("enaSupport", true);
    xml.opt("sourceInstanceId", image.source_instance.as_deref());
    xml.opt("bootMode", image.boot_mode.as_deref()).opt("imdsSupport", image.imds_support.as_deref());
    if let Some(at) = image.deprecated_at {
        xml.text("deprecationTime", at.to_rfc3339_opts(SecondsFormat::Millis, true));
    }
    if image.state == ImageState::Failed {
        xml.within("stateReason", |xml| {
            xml.text("code", "Client.InternalError").text("message", "Client error on image creation.");
        });
    }
    xml.set("productCodes", &image.product_codes, |xml, code| {
        xml.text("productCode", code).text("type", "marketplace");
    });
    tags(xml, &image.tags);
}

/// Name, description and tags of a new image.
fn new_image(query: &Node) -> Result<NewImage, ApiError> {
    let (mut own, mut of_snapshots) = (Tags::new(), Tags::new());
    for specification in query.list("TagSpecification") {
        match specification.required("ResourceType")? {
            "image" => own.extend(launch::tags(specification)?),
            "snapshot" => of_snapshots.extend(launch::tags(specification)?),
            other => {
                let message = format!("'{other}' is not a valid taggable resource type for this operation.");
                return Err(ApiError::invalid_value(message));
            }
        }
    }
    Ok(NewImage {
        name: query.required("Name")?.to_owned(),
        description: query.text("Description").unwrap_or_default().to_owned(),
        tags: own,
        snapshot_tags: of_snapshots,
        boot_mode: None,
        imds_support: None,
    })
}

/// A word of those that the parameter may hold, if it holds one.
fn one_of(query: &Node, name: &str, words: &[&str]) -> Result<Option<String>, ApiError> {
    match query.filled(name) {
        Some(word) if !words.contains(&word) => Err(query.invalid(name, word, "It is not a known value.")),
        word => Ok(word.map(ToOwned::to_owned)),
    }
}

/// Of its many attributes only who may launch from it, and of those only everybody.
pub(super) fn modify(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let query = call.query;
    let id = image_id(query, "ImageId")?;
    let permission = query.part("LaunchPermission");
    let everybody = |list: &str| permission.list(list).iter().any(|one| one.filled("Group") == Some("all"));
    let (adds, removes) = (everybody("Add"), everybody("Remove"));
    if !adds && !removes {
        let message = "Only the launch permission of the group all can be changed here.";
        return Err(ApiError::client("UnsupportedOperation", message));
    }
    site.image(id)?;
    call.permitted()?;
    if let Some(image) = site.images.get_mut(id) {
        image.public = adds;
    }
    Ok(done())
}

/// Who refers to images: of the kinds that can be asked for, instances and launch templates.
pub(super) fn references(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let query = call.query;
    // Here ids and the size of a page go together.
    let page = call.page("")?;
    let ids = query.texts("ImageId");
    if ids.is_empty() {
        return Err(missing("ImageId"));
    }
    for id in &ids {
        checked(id)?;
    }
    let kinds = query.list("ResourceType");
    if kinds.is_empty() && query.flag("IncludeAllResourceTypes")? != Some(true) {
        return Err(missing("ResourceType"));
    }
    let kinds: Vec<&str> = kinds.into_iter().map(|kind| kind.required("ResourceType")).collect::<Result<_, _>>()?;
    call.permitted()?;
    let one = |id: &&str| {
        let told = site.references_to(id).into_iter().map(|(kind, arn)| (format!("{id} {arn}"), kind));
        told.filter(|(_, kind)| kinds.is_empty() || kinds.contains(kind)).collect::<Vec<_>>()
    };
    let mut found: Vec<(String, &str)> = ids.iter().flat_map(one).collect();
    found.sort();
    let part = page.of(found.iter(), |(place, _)| place);
    let mut xml = Xml::default();
    xml.set("imageReferenceSet", part.items, |xml, (place, kind)| {
        let (id, arn) = place.split_once(' ').unwrap_or_default();
        xml.text("imageId", id).text("resourceType", kind).text("arn", arn);
    });
    xml.opt("nextToken", part.next);
    Ok(xml)
}

fn made(image: &Image) -> Xml {
    let mut xml = Xml::default();
    xml.text("imageId", &image.id);
    xml
}

pub(super) fn register(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let query = call.query;
    let mut new = new_image(query)?;
    new.boot_mode = one_of(query, "BootMode", &["legacy-bios", "uefi", "uefi-preferred"])?;
    new.imds_support = one_of(query, "ImdsSupport", &["v2.0"])?;
    let architecture = query.filled("Architecture").unwrap_or("i386");
    if !matches!(architecture, "i386" | "x86_64" | "arm64" | "x86_64_mac" | "arm64_mac") {
        return Err(query.invalid("Architecture", architecture, "It is not a known architecture."));
    }
    let root = query.filled("RootDeviceName").unwrap_or("/dev/sda1");
    let disks = launch::disks(query, Some(root), None)?;
    if disks.is_empty() && query.filled("ImageLocation").is_none() {
        return Err(missing("BlockDeviceMapping"));
    }
    call.permitted()?;
    site.register_image(new, architecture, root, disks, call.now).map(made)
}

pub(super) fn create(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let new = new_image(call.query)?;
    call.query.flag("NoReboot")?;
    let id = super::instances::known(call, site)?;
    site.create_image(&id, new, call.now).map(made)
}

pub(super) fn copy(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let query = call.query;
    let mut new = new_image(query)?;
    let id = image_id(query, "SourceImageId")?;
    query.required("SourceRegion")?;
    call.permitted()?;
    let unknown = || ApiError::client("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist"));
    let source = call.source.ok_or_else(unknown)?;
    if new.description.is_empty() {
        new.description.clone_from(&source.description);
    }
    if query.flag("CopyImageTags")?.unwrap_or(false) {
        let own = std::mem::replace(&mut new.tags, source.tags.clone());
        new.tags.extend(own);
    }
    let ids = call.once(site, |site| site.copy_image(source, new, call.now).map(|image| vec![image.id.clone()]))?;
    let mut xml = Xml::default();
    xml.opt("imageId", ids.first());
    Ok(xml)
}

pub(super) fn deregister(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let id = image_id(call.query, "ImageId")?;
    let with_snapshots = call.query.flag("DeleteAssociatedSnapshots")?.unwrap_or(false);
    call.permitted()?;
    let gone = site.deregister_image(id, with_snapshots, call.now)?;
    let mut xml = done();
    if with_snapshots {
        xml.set("deleteSnapshotResultSet", gone, |xml, id| {
            xml.text("snapshotId", id).text("returnCode", "success");
        });
    }
    Ok(xml)
}

pub(super) fn deprecate(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let id = image_id(call.query, "ImageId")?;
    let at = call.query.time("DeprecateAt")?.ok_or_else(|| missing("DeprecateAt"))?;
    if at <= call.now {
        return Err(ApiError::invalid_value("The deprecation time must be in the future."));
    }
    call.permitted()?;
    site.deprecate_image(id, Some(at)).map(|()| done())
}

pub(super) fn undeprecate(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let id = image_id(call.query, "ImageId")?;
    call.permitted()?;
    site.deprecate_image(id, None).map(|()| done())
}

fn protection(call: &Call<'_>, site: &mut Site, protected: bool) -> Result<Xml, ApiError> {
    let id = image_id(call.query, "ImageId")?;
    call.permitted()?;
    site.protect_image(id, protected).map(|()| done())
}

pub(super) fn protect(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    protection(call, site, true)
}

/// At once, whether or not it was protected with a cool-down.
pub(super) fn unprotect(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    protection(call, site, false)
}

pub(super) fn disable(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let id = image_id(call.query, "ImageId")?;
    call.permitted()?;
    site.disable_image(id, true).map(|()| done())
}

pub(super) fn enable(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let id = image_id(call.query, "ImageId")?;
    call.permitted()?;
    site.disable_image(id, false).map(|()| done())
}
