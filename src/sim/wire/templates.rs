//! Launch templates, of one version each.

use super::call::{Call, done};
use super::filter::{TAGS, Values};
use super::instances::tags;
use super::launch;
use super::query::{Node, missing};
use super::xml::Xml;
use crate::sim::error::ApiError;
use crate::sim::fleet::Template;
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
    xml.time("createTime", template.created).plain("defaultVersionNumber", 1).plain("latestVersionNumber", 1);
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

/// The template that a specification names, if its version is the one that there is.
pub(super) fn named<'a>(part: &Node, site: &'a Site) -> Result<&'a Template, ApiError> {
    let template = site.template(name(part)?)?;
    match part.filled("Version") {
        None | Some("1" | "$Latest" | "$Default") => Ok(template),
        Some(other) => {
            let message = format!("Could not find launch template version {other}");
            Err(ApiError::client("InvalidLaunchTemplateId.VersionNotFound", message))
        }
    }
}
