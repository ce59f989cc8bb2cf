//! Launch templates and their versions.

use std::collections::BTreeMap;

use super::call::{Call, done};
use super::filter::{TAGS, Values};
use super::instances::tags;
use super::launch;
use super::query::{Node, missing};
use super::xml::Xml;
use crate::sim::error::ApiError;
use crate::sim::fleet::{Template, TemplateVersion};
use crate::sim::site::Site;

pub(super) fn create(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let name = call.query.required("LaunchTemplateName")?;
    let data = call.query.part("LaunchTemplateData");
    if data.is_empty() {
        return Err(missing("LaunchTemplateData"));
    }
    let own = launch::tags_for(call.query, "launch-template")?;
    call.permitted()?;
    let made = site.create_template(name, data.flat(), own, call.now)?;
    let mut xml = Xml::default();
    xml.within("launchTemplate", |xml| item(xml, made));
    Ok(xml)
}

fn item(xml: &mut Xml, template: &Template) {
    xml.text("launchTemplateId", &template.id).text("launchTemplateName", &template.name);
    xml.time("createTime", template.created).plain("defaultVersionNumber", 1);
    xml.plain("latestVersionNumber", template.versions.len());
    tags(xml, &template.tags);
}

pub(super) fn describe(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&[TAGS, "create-time", "launch-template-name"])?;
    let page = call.page("LaunchTemplateId")?;
    let named = [call.query.texts("LaunchTemplateId"), call.query.texts("LaunchTemplateName")].concat();
    for name in &named {
        site.template(name)?;
    }
    let fitting = site.templates.values().filter(|template| {
        let wanted =
            named.is_empty() || named.contains(&template.id.as_str()) || named.contains(&template.name.as_str());
        wanted
            && filters.pass(&template.tags, |name| match name {
                "create-time" => template.created.into(),
                "launch-template-name" => (&template.name).into(),
                _ => Values::none(),
            })
    });
    let part = page.of(fitting, |template| &template.id);
    let mut xml = Xml::default();
    xml.set("launchTemplates", part.items, item);
    xml.opt("nextToken", part.next);
    Ok(xml)
}

pub(super) fn create_version(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let named = name(call.query)?;
    let data = call.query.part("LaunchTemplateData");
    if data.is_empty() {
        return Err(missing("LaunchTemplateData"));
    }
    // What a new version says is laid over what the version says that it names.
    let base = match call.query.filled("SourceVersion") {
        Some(version) => one_version(site.template(named)?, version)?.1.data.clone(),
        None => BTreeMap::new(),
    };
    call.permitted()?;
    let data = base.into_iter().chain(data.flat()).collect();
    let (template, number) = site.add_template_version(named, data, call.now)?;
    let mut xml = Xml::default();
    if let Some(version) = template.versions.get(number - 1) {
        xml.within("launchTemplateVersion", |xml| version_item(xml, template, number, version));
    }
    Ok(xml)
}

/// Of a template by its id or name all versions, or those that are named; of all templates their latest or
/// default ones.
pub(super) fn describe_versions(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let page = call.page("LaunchTemplateVersion")?;
    let versions = call.query.texts("LaunchTemplateVersion");
    let named = call.query.filled("LaunchTemplateId").or_else(|| call.query.filled("LaunchTemplateName"));
    call.permitted()?;
    let templates: Vec<&Template> = match named {
        Some(named) => vec![site.template(named)?],
        None if versions.iter().any(|version| matches!(*version, "$Latest" | "$Default")) => {
            site.templates.values().collect()
        }
        None => return Err(missing("LaunchTemplateId")),
    };
    let mut found: BTreeMap<String, (&Template, usize, &TemplateVersion)> = BTreeMap::new();
    for template in templates {
        for (number, version) in (1..).zip(&template.versions).filter(|_| versions.is_empty()) {
            found.insert(format!("{} {number:06}", template.id), (template, number, version));
        }
        for version in &versions {
            let (number, version) = one_version(template, version)?;
            found.insert(format!("{} {number:06}", template.id), (template, number, version));
        }
    }
    let part = page.of(found.iter(), |(place, _)| place.as_str());
    let mut xml = Xml::default();
    xml.set("launchTemplateVersionSet", part.items, |xml, (_, (template, number, version))| {
        version_item(xml, template, *number, version);
    });
    xml.opt("nextToken", part.next);
    Ok(xml)
}

/// Of what a version says, what the SDK's users here look at.
fn version_item(xml: &mut Xml, template: &Template, number: usize, version: &TemplateVersion) {
    xml.text("launchTemplateId", &template.id).text("launchTemplateName", &template.name);
    xml.plain("versionNumber", number).time("createTime", version.created).flag("defaultVersion", number == 1);
    xml.within("launchTemplateData", |xml| {
        for (shown, name) in [("imageId", "ImageId"), ("instanceType", "InstanceType"), ("keyName", "KeyName")] {
            xml.opt(shown, version.data.get(name));
        }
    });
}

/// A version by its number or by its part.
fn one_version<'a>(template: &'a Template, named: &str) -> Result<(usize, &'a TemplateVersion), ApiError> {
    let number = match named {
        "$Default" => 1,
        "$Latest" => template.versions.len(),
        number => number.parse().unwrap_or(0),
    };
    let found = number.checked_sub(1).and_then(|at| template.versions.get(at));
    found.map(|version| (number, version)).ok_or_else(|| {
        let message = format!("Could not find launch template version {named}");
        ApiError::client("InvalidLaunchTemplateId.VersionNotFound", message)
    })
}

pub(super) fn delete(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let named = name(call.query)?;
    call.permitted()?;
    let gone = site.delete_template(named)?;
    let mut xml = done();
    xml.within("launchTemplate", |xml| item(xml, &gone));
    Ok(xml)
}

/// The template that a call names in one of two ways.
fn name(part: &Node) -> Result<&str, ApiError> {
    let named = part.filled("LaunchTemplateId").or_else(|| part.filled("LaunchTemplateName"));
    named.ok_or_else(|| missing("LaunchTemplateId"))
}

/// The template that a specification names, and what the version says that it names; the default one if none.
pub(super) fn named<'a>(part: &Node, site: &'a Site) -> Result<(&'a Template, &'a BTreeMap<String, String>), ApiError> {
    let template = site.template(name(part)?)?;
    let (_, version) = one_version(template, part.filled("Version").unwrap_or("$Default"))?;
    Ok((template, &version.data))
}
