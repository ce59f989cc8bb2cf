//! CloudTrail's LookupEvents and the price list's GetProducts. Both speak JSON (`awsJson1_1`).

use chrono::{DateTime, Utc};
use hyper::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::auth;
use super::calls::Noted;
use super::door::{Answer, Lost, Shared};
use super::query::Node;
use super::quotas::{refusal, success};
use crate::sim::error::ApiError;
use crate::sim::pricelist;
use crate::sim::site::{Site, hash};
use crate::sim::trail::{Lookup, Shown, in_cloudtrails_words};
use crate::sim::world::{Request, Served, SiteId};

/// What is signed for, how the target ends, and the action.
const SERVICES: [(&str, &str, &str); 2] = [
    ("cloudtrail", "CloudTrail_20131101.LookupEvents", "LookupEvents"),
    ("pricing", "AWSPriceListService.GetProducts", "GetProducts"),
];
/// What the only service is called that has prices here.
const EC2: &str = "AmazonEC2";
/// The most products of a page.
const PRODUCTS_MAX: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct LookupEvents {
    lookup_attributes: Vec<Attribute>,
    /// Seconds since 1970.
    start_time: Option<f64>,
    end_time: Option<f64>,
    max_results: Option<u32>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    attribute_key: String,
    attribute_value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct GetProducts {
    service_code: String,
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    r#type: String,
    field: String,
    value: String,
}

/// A call whose action and caller are known.
struct Known {
    service: &'static str,
    action: &'static str,
    by: String,
    place: SiteId,
    body: Value,
}

/// Whether a request is signed for one of these services.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    let service = auth::service(headers, &Node::default()).to_owned();
    SERVICES.iter().any(|(name, _, _)| *name == service)
}

/// One call.
pub(super) async fn answer(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<Answer, Lost> {
    let known = match known(shared, headers, body) {
        Ok(known) => known,
        Err(error) => return Ok(refusal(shared, &in_cloudtrails_words(error))),
    };
    let there = shared.model().world.way_there(&known.place);
    shared.wait(there).await;
    let done = shared.delivered(serve(shared, &known)).await?;
    let noted = Noted::of(&known.place, known.action, &done);
    Ok(noted.on(match done {
        Ok(body) => success(shared, &body),
        Err(error) => refusal(shared, &in_cloudtrails_words(error)),
    }))
}

fn known(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<Known, ApiError> {
    let model = shared.model();
    let times = (shared.wall(&model), shared.now(&model));
    let caller = auth::caller(headers, &Node::default(), &model.sessions, times)?;
    let target = headers.get("x-amz-target").and_then(|text| text.to_str().ok()).unwrap_or_default();
    // Some clients write the target with its full name.
    let fits = |(service, end, _): &&(&str, &str, &str)| {
        caller.service == *service && (target == *end || target.ends_with(&format!(".{end}")))
    };
    let (service, _, action) = SERVICES.iter().find(fits).ok_or_else(|| {
        let message = format!("{target} is not known here: LookupEvents of cloudtrail and GetProducts of pricing are");
        ApiError::client("UnknownOperationException", message)
    })?;
    let body = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let place = SiteId::new(&caller.account, &caller.region);
    Ok(Known { service, action, by: caller.name(), place, body })
}

fn unreadable(error: &serde_json::Error) -> ApiError {
    ApiError::client("SerializationException", error.to_string())
}

fn read<T: DeserializeOwned>(body: &Value) -> Result<T, ApiError> {
    T::deserialize(body).map_err(|error| unreadable(&error))
}

fn serve(shared: &Shared, known: &Known) -> Served<Value> {
    let mut model = shared.model();
    let now = shared.now(&model);
    let model = &mut *model;
    let subject = known.body["LookupAttributes"][0]["AttributeValue"].as_str().unwrap_or_default().to_owned();
    let Known { action, .. } = *known;
    let request = Request { place: &known.place, action, paged: true, resources: 0, subject: &subject, by: &known.by };
    let permissions = &model.permissions;
    model.world.serve(&request, now, |site, now| {
        if !permissions.allows_action(&known.place.account, action) {
            let message = format!("User is not authorized to perform: {}:{action}", known.service);
            return Err(ApiError::client("AccessDeniedException", message));
        }
        match action {
            "LookupEvents" => lookup_events(&read(&known.body)?, site, now),
            _ => get_products(&read(&known.body)?, site),
        }
    })
}

fn lookup_events(asked: &LookupEvents, site: &mut Site, now: DateTime<Utc>) -> Result<Value, ApiError> {
    let attribute = match &asked.lookup_attributes[..] {
        [] => None,
        [one] => Some((one.attribute_key.as_str(), one.attribute_value.as_str())),
        _ => {
            let message = "You can only look up by one attribute at a time.";
            return Err(ApiError::client("InvalidLookupAttributesException", message));
        }
    };
    let lookup = Lookup {
        attribute,
        since: asked.start_time.map(time).transpose()?,
        until: asked.end_time.map(time).transpose()?,
        size: asked.max_results,
        token: asked.next_token.as_deref(),
    };
    let found = site.lookup_events(&lookup, now)?;
    let mut answer = json!({ "Events": found.events.iter().map(event).collect::<Vec<_>>() });
    if let Some(next) = found.next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}

fn time(seconds: f64) -> Result<DateTime<Utc>, ApiError> {
    #[expect(clippy::cast_possible_truncation, reason = "what is no time is none after it either")]
    let at = DateTime::from_timestamp_millis((seconds * 1000.0) as i64);
    at.ok_or_else(|| ApiError::client("InvalidTimeRangeException", "The specified time is not valid."))
}

fn event(event: &Shown) -> Value {
    let resource = |id| json!({ "ResourceType": "AWS::EC2::Instance", "ResourceName": id });
    let mut shown = json!({
        "EventId": event.id,
        "EventName": event.call,
        "ReadOnly": "false",
        "EventTime": event.at.timestamp(),
        "EventSource": "ec2.amazonaws.com",
        "Resources": event.instances.iter().map(resource).collect::<Vec<_>>(),
        "CloudTrailEvent": event.text,
    });
    if let Some(user) = &event.user {
        shown["Username"] = user.as_str().into();
    }
    shown
}

fn get_products(asked: &GetProducts, site: &Site) -> Result<Value, ApiError> {
    if asked.service_code != EC2 {
        return Err(ApiError::client("NotFoundException", format!("Here only {EC2} has prices.")));
    }
    if let Some(other) = asked.filters.iter().find(|filter| filter.r#type != "TERM_MATCH") {
        let message = format!("Filters of type {} are not known here: TERM_MATCH is", other.r#type);
        return Err(ApiError::client("InvalidParameterException", message));
    }
    let size = asked.max_results.unwrap_or(PRODUCTS_MAX);
    if !(1..=PRODUCTS_MAX).contains(&size) {
        return Err(ApiError::client("InvalidParameterException", format!("MaxResults is from 1 to {PRODUCTS_MAX}.")));
    }
    let filters: Vec<(&str, &str)> =
        asked.filters.iter().map(|filter| (filter.field.as_str(), filter.value.as_str())).collect();
    let all = pricelist::products(&site.region, &filters);
    // A token leads on only in the same search.
    let search = format!("{:016x}", hash(&filters));
    let invalid = || ApiError::client("InvalidNextTokenException", "The pagination token is invalid.");
    let from = match &asked.next_token {
        None => 0,
        Some(token) => token.strip_prefix(&search).and_then(|rest| rest.parse().ok()).ok_or_else(invalid)?,
    };
    let page: Vec<String> = all.iter().skip(from).take(size).map(ToString::to_string).collect();
    let mut answer = json!({ "FormatVersion": "aws_v1", "PriceList": page });
    if from + size < all.len() {
        answer["NextToken"] = format!("{search}{}", from + size).into();
    }
    Ok(answer)
}
