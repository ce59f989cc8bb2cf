//! CreateTags, DeleteTags, DescribeTags.

use std::collections::BTreeMap;

use super::call::{Call, done};
use super::filter::Values;
use super::launch;
use super::query::missing;
use super::xml::Xml;
use crate::sim::error::ApiError;
use crate::sim::site::Site;

/// The most resources of one call.
const RESOURCES_MAX: usize = 1000;

pub(super) fn create(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let resources = resources(call)?;
    let tags = launch::tags(call.query)?;
    if tags.is_empty() {
        return Err(missing("Tag"));
    }
    call.permitted()?;
    site.create_tags(&resources, &tags, call.now)?;
    Ok(done())
}

pub(super) fn delete(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let resources = resources(call)?;
    let mut tags = Vec::new();
    for tag in call.query.list("Tag") {
        tags.push((tag.required("Key")?.to_owned(), tag.text("Value").map(ToOwned::to_owned)));
    }
    call.permitted()?;
    site.delete_tags(&resources, &tags, call.now)?;
    Ok(done())
}

fn resources(call: &Call<'_>) -> Result<Vec<String>, ApiError> {
    let ids = call.query.required_texts("ResourceId")?;
    if ids.len() > RESOURCES_MAX {
        let message = format!("You may specify up to {RESOURCES_MAX} resources on a single call.");
        return Err(ApiError::invalid_value(message));
    }
    Ok(ids.into_iter().map(ToOwned::to_owned).collect())
}

/// One tag of one resource.
struct Line {
    /// What it is ordered by: resource and key.
    order: String,
    resource: String,
    key: String,
    value: String,
}

pub(super) fn describe(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&["key", "value", "resource-id", "resource-type"])?;
    let page = call.page("ResourceId")?;
    let mut lines = BTreeMap::new();
    for (resource, tags) in site.tagged(call.now) {
        for (key, value) in &tags {
            let passes = filters.pass(&tags, |name| match name {
                "key" => key.into(),
                "value" => value.into(),
                "resource-id" => (&resource).into(),
                "resource-type" => kind(&resource).into(),
                _ => Values::none(),
            });
            if passes {
                let order = format!("{resource} {key}");
                let line =
                    Line { order: order.clone(), resource: resource.clone(), key: key.clone(), value: value.clone() };
                lines.insert(order, line);
            }
        }
    }
    let part = page.of(lines.into_values(), |line| &line.order);
    let mut xml = Xml::default();
    xml.set("tagSet", part.items, |xml, line| {
        xml.text("resourceId", &line.resource).text("resourceType", kind(&line.resource));
        xml.text("key", &line.key).text("value", &line.value);
    });
    xml.opt("nextToken", part.next);
    Ok(xml)
}

/// The type of a resource, by its id.
fn kind(id: &str) -> &'static str {
    match id.split_once('-').map_or("", |(prefix, _)| prefix) {
        "i" => "instance",
        "ami" => "image",
        "vol" => "volume",
        "snap" => "snapshot",
        "eni" => "network-interface",
        "sg" => "security-group",
        "sgr" => "security-group-rule",
        "subnet" => "subnet",
        "vpc" => "vpc",
        "sir" => "spot-instances-request",
        "fleet" => "fleet",
        "key" => "key-pair",
        "eipalloc" => "elastic-ip",
        _ => "unknown",
    }
}
