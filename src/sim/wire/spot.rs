//! Spot requests and prices.

use chrono::{DateTime, TimeDelta, Utc};

use super::call::Call;
use super::filter::{Filters, TAGS, Values};
use super::instances::{groups, tags};
use super::launch;
use super::xml::Xml;
use crate::model::InstanceId;
use crate::sim::error::ApiError;
use crate::sim::instance::Tags;
use crate::sim::instance::{RunInstances, SpotOptions};
use crate::sim::site::Site;
use crate::sim::spot::{PRODUCT, SpotRequest, no_request};
use crate::sim::types::INSTANCE_TYPES;

/// How far back prices go.
const HISTORY: TimeDelta = TimeDelta::days(90);
/// The most requests of one call.
const COUNT_MAX: u32 = 500;

pub(super) fn request(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let query = call.query;
    let count = query.count("InstanceCount")?.unwrap_or(1);
    if count == 0 || count > COUNT_MAX {
        return Err(query.invalid("InstanceCount", &count.to_string(), "It is out of range."));
    }
    let price = query.filled("SpotPrice");
    if let Some(price) = price.filter(|price| !price.parse::<f64>().is_ok_and(|price| price > 0.0)) {
        return Err(query.invalid("SpotPrice", price, "It must be a price above zero."));
    }
    let persistent = match query.filled("Type") {
        None | Some("one-time") => false,
        Some("persistent") => true,
        Some(other) => return Err(query.invalid("Type", other, "It must be one-time or persistent.")),
    };
    let options = SpotOptions {
        max_price: price.map(ToOwned::to_owned),
        persistent,
        interruption: query.filled("InstanceInterruptionBehavior").unwrap_or("terminate").to_owned(),
    };
    let mut params = launch::specification(query.part("LaunchSpecification"), site)?;
    params.spot = Some(options);
    (params.min, params.max) = (1, 1);
    params.tags = launch::tag_specifications(query)?;
    let until = query.time("ValidUntil")?;
    call.permitted()?;
    let ids = call.once(site, |site| site.request_spot(&params, count, until, call.now))?;
    let mut xml = Xml::default();
    let made = ids.iter().filter_map(|id| site.spot_requests.get(id));
    xml.set("spotInstanceRequestSet", made, |xml, request| item(xml, site, request));
    Ok(xml)
}

const FILTERS: [&str; 16] = [
    TAGS,
    "availability-zone-group",
    "create-time",
    "fault-code",
    "instance-id",
    "launch.availability-zone",
    "launch.image-id",
    "launch.instance-type",
    "launch.key-name",
    "launched-availability-zone",
    "product-description",
    "spot-instance-request-id",
    "spot-price",
    "state",
    "status-code",
    "type",
];

pub(super) fn describe(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&FILTERS)?;
    let page = call.page("SpotInstanceRequestId")?;
    let ids = call.query.texts("SpotInstanceRequestId");
    if let Some(unknown) = ids.iter().find(|id| !site.spot_requests.contains_key(**id)) {
        return Err(no_request(unknown));
    }
    let fitting = site
        .spot_requests
        .values()
        .filter(|request| (ids.is_empty() || ids.contains(&request.id.as_str())) && passes(&filters, site, request));
    let part = page.of(fitting, |request| &request.id);
    let mut xml = Xml::default();
    xml.set("spotInstanceRequestSet", part.items, |xml, request| item(xml, site, request));
    xml.opt("nextToken", part.next);
    Ok(xml)
}

fn passes(filters: &Filters, site: &Site, request: &SpotRequest) -> bool {
    let params: &RunInstances = &request.params;
    filters.pass(&request.tags, |name| match name {
        "create-time" => request.created.into(),
        "instance-id" => request.instance.as_ref().map(InstanceId::as_str).into(),
        "launch.availability-zone" => params.zone.as_deref().into(),
        "launch.image-id" => (&params.image).into(),
        "launch.instance-type" => (&params.instance_type).into(),
        "launch.key-name" => params.key.as_deref().into(),
        "launched-availability-zone" => launched_zone(site, request).into(),
        "product-description" => PRODUCT.into(),
        "spot-instance-request-id" => (&request.id).into(),
        "spot-price" => request.options().and_then(|options| options.max_price.as_deref()).into(),
        "state" => request.state.word().into(),
        "status-code" => request.status.into(),
        "type" => kind(request).into(),
        _ => Values::none(),
    })
}

fn kind(request: &SpotRequest) -> &'static str {
    if request.options().is_some_and(|options| options.persistent) { "persistent" } else { "one-time" }
}

fn launched_zone<'a>(site: &'a Site, request: &SpotRequest) -> Option<&'a str> {
    Some(site.instance(request.instance.as_ref()?)?.zone.as_str())
}

fn item(xml: &mut Xml, site: &Site, request: &SpotRequest) {
    let params = &request.params;
    let options = request.options();
    xml.text("spotInstanceRequestId", &request.id).text("type", kind(request)).text("state", request.state.word());
    xml.opt("spotPrice", options.and_then(|options| options.max_price.as_deref()));
    xml.within("status", |xml| {
        xml.text("code", request.status).time("updateTime", request.since).text("message", request.message());
    });
    xml.within("launchSpecification", |xml| {
        xml.text("imageId", &params.image).text("instanceType", &params.instance_type);
        xml.opt("keyName", params.key.as_deref()).opt("subnetId", params.subnet.as_deref());
        groups(xml, site, &params.groups);
        if let Some(zone) = &params.zone {
            xml.within("placement", |xml| {
                xml.text("availabilityZone", zone);
            });
        }
        xml.within("monitoring", |xml| {
            xml.flag("enabled", false);
        });
    });
    xml.opt("instanceId", request.instance.as_ref().map(InstanceId::as_str)).time("createTime", request.created);
    xml.text("productDescription", PRODUCT).opt("launchedAvailabilityZone", launched_zone(site, request));
    xml.opt("instanceInterruptionBehavior", options.map(|options| &options.interruption));
    if let Some(until) = request.valid_until {
        xml.time("validUntil", until);
    }
    tags(xml, &request.tags);
}

pub(super) fn cancel(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let ids = call.query.required_texts("SpotInstanceRequestId")?;
    call.permitted()?;
    site.cancel_spot(&ids, call.now)?;
    let mut xml = Xml::default();
    xml.set("spotInstanceRequestSet", &ids, |xml, id| {
        xml.text("spotInstanceRequestId", id);
        xml.opt("state", site.spot_requests.get(*id).map(|request| request.state.word()));
    });
    Ok(xml)
}

/// A price, and what it is ordered by.
struct Price<'a> {
    order: String,
    kind: &'a str,
    zone: &'a str,
    at: DateTime<Utc>,
    dollars: f64,
}

pub(super) fn prices(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let names = [
        "availability-zone",
        "instance-type",
        "product-description",
        "spot-price",
        "timestamp",
        "availability-zone-id",
    ];
    let filters = call.filters(&names)?;
    let page = call.page("SpotInstanceRequestId")?;
    let query = call.query;
    let zone = query.filled("AvailabilityZone");
    if let Some(unknown) = zone.filter(|zone| !site.network.zones.iter().any(|known| known == zone)) {
        return Err(ApiError::invalid_value(format!("Invalid availability zone: [{unknown}]")));
    }
    let (kinds, products) = (query.texts("InstanceType"), query.texts("ProductDescription"));
    let ours = products.is_empty() || products.iter().any(|product| product.starts_with(PRODUCT));
    let end = query.time("EndTime")?.unwrap_or(call.now).min(call.now);
    let start =
        query.time("StartTime")?.unwrap_or(call.now - HISTORY).clamp(call.now - HISTORY, end.max(call.now - HISTORY));
    let mut all = Vec::new();
    for one in INSTANCE_TYPES.iter().filter(|one| ours && (kinds.is_empty() || kinds.contains(&one.name))) {
        for zone in site.network.zones.iter().filter(|known| zone.is_none_or(|zone| zone == known.as_str())) {
            all.extend(series(site, one.name, zone, start, end));
        }
    }
    all.retain(|price| {
        filters.pass(&Tags::new(), |name| match name {
            "availability-zone" => price.zone.into(),
            "instance-type" => price.kind.into(),
            "product-description" => PRODUCT.into(),
            "spot-price" => format!("{:.6}", price.dollars).into(),
            "timestamp" => price.at.into(),
            _ => Values::none(),
        })
    });
    all.sort_by(|one, other| one.order.cmp(&other.order));
    let part = page.or(1000).of(all, |price| &price.order);
    let mut xml = Xml::default();
    xml.set("spotPriceHistorySet", part.items, |xml, price| {
        xml.text("instanceType", price.kind).text("productDescription", PRODUCT);
        xml.text("spotPrice", format!("{:.6}", price.dollars))
            .time("timestamp", price.at)
            .text("availabilityZone", price.zone);
    });
    // EC2 says an empty token where there is no other page.
    xml.text("nextToken", part.next.unwrap_or_default());
    Ok(xml)
}

/// The prices of a time, and the one that held when it began; they are ordered by the newest first, as EC2 shows them.
fn series<'a>(site: &Site, kind: &'a str, zone: &'a str, start: DateTime<Utc>, end: DateTime<Utc>) -> Vec<Price<'a>> {
    let price = |(at, dollars): (DateTime<Utc>, f64)| Price {
        order: format!("{:012} {kind} {zone}", i64::MAX / 10_000_000 - at.timestamp()),
        kind,
        zone,
        at,
        dollars,
    };
    site.spot_history(kind, zone, start, end).into_iter().map(price).collect()
}
