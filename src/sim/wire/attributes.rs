//! Single attributes of an instance, and its console.

use super::call::{Call, done};
use super::instances::{devices, known, root_device};
use super::launch;
use super::query::{combination, missing};
use super::xml::Xml;
use crate::model::{InstanceId, InstanceState};
use crate::sim::error::ApiError;
use crate::sim::instance::{Instance, MetadataDefaults};
use crate::sim::site::Site;
use crate::sim::types::instance_type;

fn found<'a>(site: &'a Site, id: &InstanceId) -> Result<&'a Instance, ApiError> {
    site.instance(id).ok_or_else(|| ApiError::no_instance(&[id.as_str()]))
}

pub(super) fn console_output(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let id = known(call, site)?;
    call.permitted()?;
    let instance = found(site, &id)?;
    let mut xml = Xml::default();
    xml.text("instanceId", id.as_str()).time("timestamp", call.now);
    // Without any output EC2 leaves the element out.
    if !instance.console.is_empty() {
        xml.text("output", super::base64(instance.console.as_bytes()));
    }
    Ok(xml)
}

pub(super) fn describe(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let attribute = call.query.required("Attribute")?;
    let id = known(call, site)?;
    let instance = found(site, &id)?;
    let truth = |flag: bool| if flag { "true" } else { "false" };
    let value = match attribute {
        "instanceType" => Some(instance.facts().instance_type.as_str()),
        "disableApiTermination" => Some(truth(instance.termination_protected)),
        "disableApiStop" => Some(truth(instance.stop_protected)),
        "instanceInitiatedShutdownBehavior" => Some(if instance.terminate_on_shutdown { "terminate" } else { "stop" }),
        "ebsOptimized" => Some("false"),
        "sourceDestCheck" | "enaSupport" => Some("true"),
        "userData" => instance.user_data.as_deref(),
        "rootDeviceName" => Some(root_device(site, instance)),
        "groupSet" | "blockDeviceMapping" | "enclaveOptions" | "kernel" | "ramdisk" | "productCodes"
        | "sriovNetSupport" => None,
        other => {
            let message = format!("Value ({other}) for parameter attribute is invalid. Unknown attribute.");
            return Err(ApiError::invalid_value(message));
        }
    };
    let mut xml = Xml::default();
    xml.text("instanceId", id.as_str());
    match attribute {
        "groupSet" => {
            xml.set("groupSet", &instance.groups, |xml, id| {
                xml.text("groupId", id);
            });
        }
        "blockDeviceMapping" => devices(&mut xml, site, instance, true),
        "enclaveOptions" => {
            xml.within(attribute, |xml| {
                xml.flag("enabled", false);
            });
        }
        "productCodes" => {
            xml.set(attribute, [(); 0], |_, ()| ());
        }
        name => {
            xml.within(name, |xml| {
                xml.opt("value", value);
            });
        }
    }
    Ok(xml)
}

/// What the account says of the metadata of launches that say nothing of it.
pub(super) fn metadata_defaults(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    call.permitted()?;
    let own = &site.metadata_defaults;
    let word = |flag: Option<bool>, yes: &'static str, no: &'static str| flag.map(|flag| if flag { yes } else { no });
    let mut xml = Xml::default();
    xml.within("accountLevel", |xml| {
        xml.opt("httpTokens", word(own.token_required, "required", "optional"));
        xml.opt("httpPutResponseHopLimit", own.hop_limit.map(|hops| hops.to_string()));
        xml.opt("httpEndpoint", word(own.enabled, "enabled", "disabled"));
        xml.opt("instanceMetadataTags", word(own.tags, "enabled", "disabled"));
        xml.text("managedBy", "account");
    });
    Ok(xml)
}

/// What is not said stays as it is; `no-preference`, and a hop limit of -1, take it back.
pub(super) fn modify_metadata_defaults(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let query = call.query;
    let read = |name: &str, yes: &str, no: &str, before: Option<bool>| match query.filled(name) {
        None => Ok(before),
        Some("no-preference") => Ok(None),
        Some(word) if word == yes || word == no => Ok(Some(word == yes)),
        Some(other) => Err(query.invalid(name, other, "It is not a known value.")),
    };
    let before = &site.metadata_defaults;
    let hop_limit = match query.int("HttpPutResponseHopLimit")? {
        None => before.hop_limit,
        Some(-1) => None,
        Some(hops @ 1..=64) => u32::try_from(hops).ok(),
        Some(other) => {
            return Err(query.invalid("HttpPutResponseHopLimit", &other.to_string(), "It must be from 1 to 64."));
        }
    };
    let after = MetadataDefaults {
        token_required: read("HttpTokens", "required", "optional", before.token_required)?,
        hop_limit,
        tags: read("InstanceMetadataTags", "enabled", "disabled", before.tags)?,
        enabled: read("HttpEndpoint", "enabled", "disabled", before.enabled)?,
    };
    call.permitted()?;
    site.metadata_defaults = after;
    Ok(done())
}

/// What may be changed, by the name that `Attribute` gives it and by the parameter of its own.
const CHANGES: [(&str, &str); 7] = [
    ("instanceType", "InstanceType"),
    ("userData", "UserData"),
    ("disableApiTermination", "DisableApiTermination"),
    ("disableApiStop", "DisableApiStop"),
    ("instanceInitiatedShutdownBehavior", "InstanceInitiatedShutdownBehavior"),
    ("sourceDestCheck", "SourceDestCheck"),
    ("ebsOptimized", "EbsOptimized"),
];

/// The one attribute that a call changes, and its new value.
fn change<'a>(call: &Call<'a>) -> Result<(&'static str, &'a str), ApiError> {
    let query = call.query;
    if let Some(named) = query.filled("Attribute") {
        let known = CHANGES.iter().find(|(name, _)| *name == named);
        let (name, _) = known.ok_or_else(|| query.invalid("attribute", named, "It cannot be modified."))?;
        return Ok((name, query.required("Value")?));
    }
    let own = CHANGES.iter().filter_map(|(name, parameter)| {
        Some((*name, query.part(parameter).text("Value").or_else(|| query.text(parameter))?))
    });
    let mut own = own.collect::<Vec<_>>();
    match (own.pop(), own.is_empty()) {
        (Some(change), true) => Ok(change),
        (Some(_), false) => Err(combination("Fields for multiple attribute types specified")),
        (None, _) => Err(missing("Attribute")),
    }
}

pub(super) fn modify(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let query = call.query;
    let groups: Vec<String> = query.texts("GroupId").into_iter().map(ToOwned::to_owned).collect();
    let mappings = query.list("BlockDeviceMapping");
    if !groups.is_empty() {
        if let Some(unknown) = groups.iter().find(|id| !site.network.groups.contains_key(*id)) {
            let message = format!("The security group '{unknown}' does not exist");
            return Err(ApiError::client("InvalidGroup.NotFound", message));
        }
        let id = known(call, site)?;
        edit(site, &id, |instance| instance.groups = groups);
        return Ok(done());
    }
    if !mappings.is_empty() {
        let id = known(call, site)?;
        for mapping in mappings {
            let device = mapping.required("DeviceName")?;
            let ends = mapping.part("Ebs").flag("DeleteOnTermination")?;
            site.keep_volume(&id, device, ends)?;
        }
        return Ok(done());
    }
    let (name, value) = change(call)?;
    let flag = || match value {
        "true" | "True" => Ok(true),
        "false" | "False" => Ok(false),
        other => {
            Err(ApiError::invalid_value(format!("Value ({other}) for parameter {name} is invalid. Must be a boolean.")))
        }
    };
    // Everything is read before anything is changed.
    let id = known(call, site)?;
    match name {
        "instanceType" => {
            if !site.lenient && instance_type(value).is_none() {
                return Err(ApiError::invalid_value(format!("Invalid value '{value}' for InstanceType.")));
            }
            must_be_stopped(found(site, &id)?, "instanceType")?;
            site.change(&id, call.now, |facts| value.clone_into(&mut facts.instance_type));
        }
        "userData" => {
            let data = launch::user_data(value)?;
            must_be_stopped(found(site, &id)?, "userData")?;
            edit(site, &id, |instance| instance.user_data = Some(data));
        }
        "disableApiTermination" => {
            let flag = flag()?;
            edit(site, &id, |instance| instance.termination_protected = flag);
        }
        "disableApiStop" => {
            let flag = flag()?;
            edit(site, &id, |instance| instance.stop_protected = flag);
        }
        "instanceInitiatedShutdownBehavior" => {
            let terminates = launch::terminates(query, value)?;
            edit(site, &id, |instance| instance.terminate_on_shutdown = terminates);
        }
        _ => drop(flag()?),
    }
    Ok(done())
}

fn edit(site: &mut Site, id: &InstanceId, change: impl FnOnce(&mut Instance)) {
    if let Some(instance) = site.instances.get_mut(id) {
        change(instance);
    }
}

fn must_be_stopped(instance: &Instance, attribute: &str) -> Result<(), ApiError> {
    if *instance.state() == InstanceState::Stopped {
        return Ok(());
    }
    let message =
        format!("The instance '{}' is not in the 'stopped' state: its {attribute} cannot be changed.", instance.id);
    Err(ApiError::client("IncorrectInstanceState", message))
}
