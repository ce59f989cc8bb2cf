//! The metadata service of each instance, as its guest sees it: `/_sim/imds/{instance}/latest/…`.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use hyper::header::{DATE, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::json;

use super::control::place_of;
use super::door::{Answer, Model, Shared, plain};
use super::identity;
use super::instances::{private_name, public_name};
use super::places::zone_id;
use crate::model::{InstanceId, InstanceState};
use crate::sim::instance::Instance;
use crate::sim::site::{Site, hash};

/// How long a session may last, in seconds.
const TTL: std::ops::RangeInclusive<i64> = 1..=21_600;
/// The most sessions that are remembered.
const TOKENS_MAX: usize = 10_000;
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// The sessions of all guests, by token: whose, and until when.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    given: BTreeMap<String, (InstanceId, DateTime<Utc>)>,
    count: u64,
}

/// Answers a guest; `path` begins with its instance's id. The answer's date is the guest's time.
pub(super) fn answer(shared: &Shared, method: &Method, path: &str, headers: &HeaderMap) -> Answer {
    let mut model = shared.model();
    let now = shared.now(&model);
    model.world.advance(now);
    let mut answer = answer_at(&mut model, now, method, path, headers);
    let date = shared.guest_now(&model);
    if let Ok(date) = HeaderValue::from_str(&date.format("%a, %d %b %Y %H:%M:%S GMT").to_string()) {
        answer.headers_mut().insert(DATE, date);
    }
    answer
}

fn answer_at(model: &mut Model, now: DateTime<Utc>, method: &Method, path: &str, headers: &HeaderMap) -> Answer {
    let found = path.split_once('/').and_then(|(id, rest)| Some((id.parse::<InstanceId>().ok()?, rest)));
    let Some((id, rest)) = found else { return not_found() };
    let Some(place) = place_of(model, &id) else { return not_found() };
    let Some(rest) = rest.strip_prefix("latest/") else { return not_found() };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest == "api/token" {
        return if method == Method::PUT { token(model, &id, headers, now) } else { wrong_method() };
    }
    if method != Method::GET && method != Method::HEAD {
        return wrong_method();
    }
    let allowed = allowed(model, &id, headers, now);
    let Some(site) = model.world.sites().find(|(at, _)| **at == place).map(|(_, site)| site) else {
        return not_found();
    };
    let up = |instance: &&Instance| *instance.state() == InstanceState::Running;
    let Some(instance) = site.instance(&id).filter(up) else { return not_found() };
    if !instance.params.metadata.enabled {
        return plain(StatusCode::FORBIDDEN, "Forbidden");
    }
    match allowed {
        Some(false) => return plain(StatusCode::UNAUTHORIZED, "Unauthorized"),
        None if instance.params.metadata.token_required => return plain(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Some(true) | None => {}
    }
    let text = match rest.split_once('/') {
        None if rest == "user-data" => return user_data(instance),
        None if rest.is_empty() => Some("dynamic\nmeta-data\nuser-data".to_owned()),
        None if rest == "meta-data" => metadata(site, instance, ""),
        Some(("meta-data", rest)) => metadata(site, instance, rest),
        None if rest == "dynamic" => Some("instance-identity/".to_owned()),
        Some(("dynamic", "instance-identity")) => Some("document\nsignature".to_owned()),
        Some(("dynamic", "instance-identity/document")) => Some(identity::document(site, instance)),
        Some(("dynamic", "instance-identity/signature")) => identity::signature(&identity::document(site, instance)),
        _ => None,
    };
    text.map_or_else(not_found, |text| plain(StatusCode::OK, text))
}

fn not_found() -> Answer {
    plain(StatusCode::NOT_FOUND, "Not Found")
}

fn wrong_method() -> Answer {
    plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// Begins a session.
fn token(model: &mut Model, id: &InstanceId, headers: &HeaderMap, now: DateTime<Utc>) -> Answer {
    let seconds = headers.get(TTL_HEADER).and_then(|value| value.to_str().ok()?.parse::<i64>().ok());
    let Some(seconds) = seconds.filter(|seconds| TTL.contains(seconds)) else {
        return plain(StatusCode::BAD_REQUEST, "Bad Request");
    };
    if headers.contains_key("x-forwarded-for") {
        return plain(StatusCode::FORBIDDEN, "Forbidden");
    }
    let seed = model.world.seed();
    let tokens = &mut model.imds;
    if tokens.given.len() >= TOKENS_MAX {
        tokens.given.retain(|_, (_, until)| *until > now);
    }
    tokens.count += 1;
    let text = [hash(&(seed, "imds", tokens.count)), hash(&(tokens.count, id, seed))].map(u64::to_be_bytes).concat();
    let text = super::base64(&text);
    tokens.given.insert(text.clone(), (id.clone(), now + TimeDelta::seconds(seconds)));
    let mut answer = plain(StatusCode::OK, text);
    answer.headers_mut().insert(TTL_HEADER, HeaderValue::from(seconds));
    answer
}

/// Whether the token is good; nothing if there is none.
fn allowed(model: &Model, id: &InstanceId, headers: &HeaderMap, now: DateTime<Utc>) -> Option<bool> {
    let token = headers.get(TOKEN_HEADER)?.to_str().ok();
    let known = token.and_then(|token| model.imds.given.get(token));
    Some(known.is_some_and(|(of, until)| of == id && *until > now))
}

fn user_data(instance: &Instance) -> Answer {
    let text = instance.user_data.as_deref().filter(|text| !text.is_empty());
    let Some(bytes) = text.and_then(super::from_base64) else { return not_found() };
    let mut answer = plain(StatusCode::OK, "");
    *answer.body_mut() = bytes.into();
    answer
}

const CATEGORIES: &str = "ami-id\nami-launch-index\nblock-device-mapping/\nevents/\nhostname\ninstance-action\n\
    instance-id\ninstance-life-cycle\ninstance-type\nlocal-hostname\nlocal-ipv4\nplacement/\npublic-hostname\n\
    public-ipv4\nreservation-id\nsecurity-groups\nservices/";

/// What is at a path below `meta-data/`.
fn metadata(site: &Site, instance: &Instance, path: &str) -> Option<String> {
    let facts = instance.facts();
    let region = &*site.region;
    let text = match path {
        "" => listing(instance),
        "ami-id" => instance.params.image.clone(),
        "ami-launch-index" => instance.launch_index.to_string(),
        "instance-id" => instance.id.to_string(),
        "instance-type" => facts.instance_type.clone(),
        "instance-life-cycle" => if instance.params.spot.is_some() { "spot" } else { "on-demand" }.to_owned(),
        "instance-action" => if instance.is_over() { "shutdown" } else { "none" }.to_owned(),
        "local-ipv4" => instance.private_ip.clone(),
        "hostname" | "local-hostname" => private_name(&instance.private_ip, region),
        "public-ipv4" => facts.public_ip.clone()?,
        "public-hostname" => public_name(facts.public_ip.as_deref()?, region),
        "reservation-id" => instance.reservation.clone(),
        "security-groups" => {
            let named = instance.groups.iter().filter_map(|id| site.network.groups.get(id));
            named.map(|group| group.name.as_str()).collect::<Vec<_>>().join("\n")
        }
        "placement" => "availability-zone\navailability-zone-id\nregion".to_owned(),
        "placement/availability-zone" => instance.zone.clone(),
        "placement/availability-zone-id" => zone_id(&instance.zone),
        "placement/region" => region.to_owned(),
        "services" => "domain\npartition".to_owned(),
        "services/domain" => "amazonaws.com".to_owned(),
        "services/partition" => "aws".to_owned(),
        "spot/instance-action" => {
            instance.notice.map(|at| json!({ "action": action(instance), "time": seconds(at) }).to_string())?
        }
        "spot/termination-time" => instance.notice.map(seconds)?,
        "events" => "maintenance/".to_owned(),
        "events/maintenance" => "history\nscheduled".to_owned(),
        "events/maintenance/history" | "events/maintenance/scheduled" => "[]".to_owned(),
        path => return tags(instance, path),
    };
    Some(text)
}

fn listing(instance: &Instance) -> String {
    let mut all = CATEGORIES.to_owned();
    if instance.params.spot.is_some() {
        all.push_str("\nspot/");
    }
    if instance.params.metadata.tags {
        all.push_str("\ntags/");
    }
    all
}

/// The instance's own tags, if it may read them.
fn tags(instance: &Instance, path: &str) -> Option<String> {
    let own = instance.params.metadata.tags.then(|| &instance.facts().tags)?;
    match path {
        "tags" => Some("instance/".to_owned()),
        "tags/instance" => Some(own.keys().map(String::as_str).collect::<Vec<_>>().join("\n")),
        path => {
            let key = path.strip_prefix("tags/instance/")?;
            // A client may escape the colon of a key.
            let key =
                form_urlencoded::parse(format!("k={}", key.replace('+', "%2B")).as_bytes()).next()?.1.into_owned();
            own.get(&key).cloned()
        }
    }
}

fn action(instance: &Instance) -> &str {
    instance.params.spot.as_ref().map_or("terminate", |spot| spot.interruption.as_str())
}

fn seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
