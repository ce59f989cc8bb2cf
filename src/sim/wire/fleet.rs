//! CreateFleet, of type `instant`.

use super::call::Call;
use super::launch;
use super::query::{Node, missing};
use super::templates;
use super::xml::Xml;
use crate::model::InstanceId;
use crate::sim::error::ApiError;
use crate::sim::fleet::{Choice, Fleet, FleetRequest, Tried};
use crate::sim::instance::{RunInstances, SpotOptions, Tags};
use crate::sim::site::Site;

pub(super) fn create(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let query = call.query;
    // The model has no fleets that live on.
    match query.filled("Type") {
        Some("instant") => {}
        other => {
            let message =
                format!("Fleets of type {} are not offered here, only instant ones.", other.unwrap_or("maintain"));
            return Err(ApiError::client("UnsupportedOperation", message));
        }
    }
    let request = asked(query, site)?;
    call.permitted()?;
    let fleet = site.create_fleet(request, query.filled("ClientToken"), call.now)?;
    Ok(answer(site, &fleet))
}

fn asked(query: &Node, site: &Site) -> Result<FleetRequest, ApiError> {
    let target = query.part("TargetCapacitySpecification");
    let total = target
        .count("TotalTargetCapacity")?
        .ok_or_else(|| missing("TargetCapacitySpecification.TotalTargetCapacity"))?;
    let (spot, on_demand) = (target.count("SpotTargetCapacity")?, target.count("OnDemandTargetCapacity")?);
    let by_default_spot = target.filled("DefaultTargetCapacityType") == Some("spot");
    let (spot, on_demand) = match (spot, on_demand, by_default_spot) {
        (Some(spot), Some(on_demand), _) => (spot, on_demand),
        (Some(spot), None, _) => (spot, total.saturating_sub(spot)),
        (None, Some(on_demand), _) => (total.saturating_sub(on_demand), on_demand),
        (None, None, true) => (total, 0),
        (None, None, false) => (0, total),
    };
    let least = |options: &str| query.part(options).count("MinTargetCapacity");
    let least = least("OnDemandOptions")?.or(least("SpotOptions")?).unwrap_or(0);
    let tags = instance_tags(query)?;
    let mut choices = Vec::new();
    for config in query.list("LaunchTemplateConfigs") {
        let (template, data) = templates::named(config.part("LaunchTemplateSpecification"), site)?;
        let base = Node::from_flat(data);
        let overrides = config.list("Overrides");
        let empty = Node::default();
        let overrides = if overrides.is_empty() { vec![&empty] } else { overrides };
        for one in overrides {
            choices.push(choice(&template.id, &base, one, &tags, site)?);
        }
    }
    if choices.is_empty() {
        return Err(missing("LaunchTemplateConfigs"));
    }
    Ok(FleetRequest { choices, spot, on_demand, least })
}

/// The tags that the call itself gives to instances.
fn instance_tags(query: &Node) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for specification in query.list("TagSpecification") {
        match specification.required("ResourceType")? {
            "instance" => tags.extend(launch::tags(specification)?),
            "fleet" => {}
            other => {
                let message = format!("'{other}' is not a valid taggable resource type for this operation.");
                return Err(ApiError::invalid_value(message));
            }
        }
    }
    Ok(tags)
}

fn choice(template: &str, base: &Node, part: &Node, tags: &Tags, site: &Site) -> Result<Choice, ApiError> {
    let own = |name: &str| part.filled(name).map(ToOwned::to_owned);
    let mut params: RunInstances = launch::specification(&base.overlaid(part), site)?;
    if let Some(zone) = own("AvailabilityZone") {
        params.zone = Some(zone);
    }
    if let Some(price) = own("MaxPrice") {
        let interruption = "terminate".to_owned();
        params.spot = Some(SpotOptions { max_price: Some(price), persistent: false, interruption });
    }
    params.tags.entry(crate::sim::instance::TagTarget::Instance).or_default().extend(tags.clone());
    let overrides = [own("InstanceType"), own("SubnetId"), own("AvailabilityZone")];
    Ok(Choice { template: template.to_owned(), params, overrides })
}

fn answer(site: &Site, fleet: &Fleet) -> Xml {
    let mut xml = Xml::default();
    xml.text("fleetId", &fleet.id);
    let refused = fleet.tried.iter().filter_map(|tried| Some((tried, tried.result.as_ref().err()?)));
    xml.set("errorSet", refused, |xml, (tried, error)| {
        about(xml, fleet, tried);
        xml.text("errorCode", &error.code).text("errorMessage", &error.message);
    });
    let launched = fleet.tried.iter().filter_map(|tried| Some((tried, tried.result.as_ref().ok()?)));
    xml.set("fleetInstanceSet", launched, |xml, (tried, instances)| {
        about(xml, fleet, tried);
        xml.set_of_texts("instanceIds", instances.iter().map(InstanceId::as_str));
        if let Some(instance) = instances.first().and_then(|id| site.instance(id)) {
            xml.text("instanceType", &instance.facts().instance_type);
            xml.text("availabilityZone", &instance.zone).text("subnetId", &instance.subnet);
        }
    });
    xml
}

fn about(xml: &mut Xml, fleet: &Fleet, tried: &Tried) {
    let Some(choice) = fleet.request.choices.get(tried.choice) else { return };
    let [kind, subnet, zone] = &choice.overrides;
    xml.within("launchTemplateAndOverrides", |xml| {
        xml.within("launchTemplateSpecification", |xml| {
            xml.text("launchTemplateId", &choice.template).text("version", "1");
        });
        xml.within("overrides", |xml| {
            xml.opt("instanceType", kind.as_deref()).opt("subnetId", subnet.as_deref());
            xml.opt("availabilityZone", zone.as_deref());
        });
    });
    xml.text("lifecycle", if tried.spot { "spot" } else { "on-demand" });
}
