//! The side entrance for tests, below `/_sim/`: the truth, the clock, faults on demand. JSON.

use std::str::FromStr as _;

use chrono::TimeDelta;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::agent;
use super::calls;
use super::door::{Answer, Model, Shared, typed};
use super::permissions::{Permissions, Statement};
use crate::model::{InstanceId, Region, tag_keys};
use crate::sim::error::ApiError;
use crate::sim::image::ImageFate;
use crate::sim::instance::Instance;
use crate::sim::pace::Pace;
use crate::sim::site::Site;
use crate::sim::types::instance_type;
use crate::sim::weather::{Fault, Weather};
use crate::sim::world::{Mishap, SiteId};

/// The longest that the clock is moved on at once.
const ADVANCE_DAYS_MAX: f64 = 366.0;
/// The farthest that two clocks are apart.
const SKEW_SECONDS_MAX: f64 = 86_400.0;
/// The longest that a call or a boot is made to take.
const TAKES_SECONDS_MAX: f64 = 3_600.0;
/// The most calls that one demand concerns.
const TIMES_MAX: usize = 100_000;

/// What there is that has no further parts.
const PLACES: [&str; 14] = [
    "ready",
    "trace",
    "calls",
    "pace",
    "bill",
    "instances",
    "faults",
    "advance",
    "skew",
    "quota",
    "images",
    "permissions",
    "reset",
    "trail",
];

pub(super) type Result<T> = std::result::Result<T, (StatusCode, String)>;

pub(super) fn wrong(why: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, why.to_string())
}

/// Answers a request; `path` is what follows `/_sim/`.
pub(super) fn answer(shared: &Shared, method: &Method, path: &str, query: &str, body: &[u8]) -> Answer {
    let (status, value) = match routed(shared, method, path, query, body) {
        Ok(value) => (StatusCode::OK, value),
        Err((status, why)) => (status, json!({ "error": why })),
    };
    typed(status, "application/json", value.to_string())
}

fn routed(shared: &Shared, method: &Method, path: &str, query: &str, body: &[u8]) -> Result<Value> {
    let parts: Vec<&str> = path.split('/').collect();
    match (method.as_str(), parts.as_slice()) {
        ("GET", ["ready"]) => Ok(ready(shared)),
        ("GET", ["trace"]) => trace(shared, query),
        ("GET", ["calls"]) => calls::told(shared, query),
        ("GET", ["bill"]) => Ok(bill(shared)),
        ("GET", ["instances"]) => Ok(instances(shared)),
        ("POST", ["faults"]) => add_fault(shared, &read(body)?),
        ("DELETE", ["faults"]) => Ok(clear_faults(shared)),
        ("POST", ["advance"]) => advance(shared, &read(body)?),
        ("POST", ["skew"]) => skew(shared, &read(body)?),
        ("POST", ["quota"]) => quota(shared, &read(body)?),
        ("POST", ["pace"]) => pace(shared, &read(body)?),
        ("POST", ["images"]) => next_image(shared, &read(body)?),
        ("POST", ["permissions"]) => Ok(permissions(shared, read(body)?)),
        ("POST", ["trail"]) => trail_late(shared, &read(body)?),
        ("POST", ["reset"]) => Ok(reset(shared)),
        ("POST", ["instances", id, "agent"]) => agent::ping(shared, id, body),
        ("POST", ["instances", id, "agent", "take"]) => agent::take(shared, id),
        ("POST", ["instances", id, "agent", "answer"]) => agent::answer(shared, id, body),
        ("POST", ["instances", id, what]) => touch(shared, id, what, body),
        (_, [what]) if PLACES.contains(what) => {
            Err((StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not what /_sim/{path} takes")))
        }
        _ => Err((StatusCode::NOT_FOUND, format!("there is nothing at /_sim/{path}"))),
    }
}

pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(wrong)
}

fn ready(shared: &Shared) -> Value {
    let model = shared.model();
    json!({
        "now": shared.now(&model),
        "guest_now": shared.guest_now(&model),
        "seed": shared.options.seed,
        "weather": shared.options.weather.name(),
        "speed": shared.options.speed,
    })
}

fn trace(shared: &Shared, query: &str) -> Result<Value> {
    let mut after = 0;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "after" => after = value.parse().map_err(|_| wrong(format!("after={value} must be a number")))?,
            other => return Err(wrong(format!("{other} is not a parameter of the trace: it takes after"))),
        }
    }
    let mut model = shared.model();
    let now = shared.now(&model);
    model.world.advance(now);
    let trace = &model.world.trace;
    let event = |event: &crate::sim::trace::Event| {
        json!({
            "number": event.number,
            "at": event.at,
            "place": &*event.place,
            "what": event.what,
            "subject": event.subject,
            "outcome": event.outcome,
        })
    };
    let events: Vec<Value> = trace.after(after).map(event).collect();
    Ok(json!({ "events": events, "count": trace.count(), "digest": format!("{:016x}", trace.digest()) }))
}

fn bill(shared: &Shared) -> Value {
    let mut model = shared.model();
    let now = shared.now(&model);
    model.world.advance(now);
    let (mut seconds, mut dollars, mut sites) = (0, 0.0, Vec::new());
    for (at, site) in model.world.sites() {
        let mut lines = Vec::new();
        for (id, line) in site.bill().lines() {
            let billed = line.seconds_at(now);
            let kind =
                id.parse().ok().and_then(|id: InstanceId| site.instance(&id)).map(|i| i.facts().instance_type.clone());
            let price = kind.as_deref().and_then(instance_type).map_or(0.0, |known| known.price);
            #[expect(clippy::cast_precision_loss, reason = "seconds of a bill fit a double")]
            let cost = billed as f64 / 3600.0 * price;
            seconds += billed;
            dollars += cost;
            lines.push(json!({
                "id": id, "starts": line.starts, "seconds": billed, "dollars": cost, "running": line.running_since.is_some(),
            }));
        }
        sites.push(
            json!({ "account": at.account, "region": at.region, "instances": lines, "lying_about": lying_about(site) }),
        );
    }
    json!({ "now": now, "seconds": seconds, "dollars": dollars, "sites": sites })
}

/// How much of each kind there is that costs without an instance that runs.
fn lying_about(site: &Site) -> Value {
    let detached = site.volumes.values().filter(|volume| volume.attachment.is_none()).count();
    json!({
        "volumes": site.volumes.len(),
        "volumes_available": detached,
        "snapshots": site.snapshots.len(),
        "images": site.images.len(),
        "addresses": site.addresses.len(),
        "interfaces_available": site.interfaces.values().filter(|interface| interface.instance.is_none()).count(),
        "spot_requests_open": site.spot_requests.values().filter(|r| matches!(r.state.word(), "open" | "active")).count(),
    })
}

fn instances(shared: &Shared) -> Value {
    let mut model = shared.model();
    let now = shared.now(&model);
    model.world.advance(now);
    let mut all: Vec<(&SiteId, &Site, &Instance)> =
        model.world.sites().flat_map(|(at, site)| site.ever().map(move |instance| (at, site, instance))).collect();
    all.sort_by(|(_, _, one), (_, _, other)| (one.born, &one.id).cmp(&(other.born, &other.id)));
    let shown: Vec<Value> = all.into_iter().map(|(at, site, instance)| shown(at, site, instance)).collect();
    json!({ "now": now, "instances": shown })
}

fn shown(at: &SiteId, site: &Site, instance: &Instance) -> Value {
    let facts = instance.facts();
    json!({
        "id": instance.id,
        "account": at.account,
        "region": at.region,
        "zone": instance.zone,
        "state": facts.state.to_string(),
        "reason": facts.reason.as_ref().map(|reason| &reason.code),
        "worker": instance.own_tags().get(tag_keys::WORKER),
        "token": instance.token,
        "tags": *facts.tags,
        "image": instance.params.image,
        "type": facts.instance_type,
        "spot_request": instance.spot_request,
        "private_ip": instance.private_ip,
        "public_ip": facts.public_ip,
        "born": instance.born,
        "launch_time": facts.launch_time,
        "listed": site.shown(&instance.id).is_some(),
    })
}

/// A fault that is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultRequest {
    /// Its name, or `refuse`.
    fault: String,
    /// From now on, at this rate.
    rate: Option<f64>,
    /// For the next so many calls.
    times: Option<usize>,
    /// Of this action only.
    action: Option<String>,
    /// In this account and region only; both or none.
    account: Option<String>,
    /// See `account`.
    region: Option<String>,
    /// Of `refuse`: EC2's code.
    code: Option<String>,
    /// Of `refuse`: EC2's sentence.
    message: Option<String>,
    /// Of `refuse`: the HTTP status.
    status: Option<u16>,
}

fn add_fault(shared: &Shared, asked: &FaultRequest) -> Result<Value> {
    let mut model = shared.model();
    if let Some(rate) = asked.rate {
        let fault = Fault::from_str(&asked.fault).map_err(wrong)?;
        if asked.times.is_some() || asked.action.is_some() || asked.account.is_some() || asked.region.is_some() {
            return Err(wrong("a rate holds for every call: it goes without times, action, account and region"));
        }
        if !rate.is_finite() || rate < 0.0 {
            return Err(wrong(format!("rate {rate} must be zero or more")));
        }
        model.world.set_rate(fault, rate);
        return Ok(json!({ "fault": asked.fault, "rate": rate }));
    }
    let times = asked.times.unwrap_or(1);
    if times > TIMES_MAX {
        return Err(wrong(format!("times {times} must be at most {TIMES_MAX}")));
    }
    let place = match (&asked.account, &asked.region) {
        (Some(account), Some(region)) => Some(SiteId::new(account, region)),
        (None, None) => None,
        _ => return Err(wrong("account and region go together")),
    };
    let mishap = mishap(asked)?;
    model.world.inject(asked.action.as_deref(), place.as_ref(), mishap, times);
    Ok(json!({ "fault": asked.fault, "times": times }))
}

/// What happens to a call that meets a fault.
fn mishap(asked: &FaultRequest) -> Result<Mishap> {
    let refuse = |error| Ok(Mishap::Refuse(error));
    let action = asked.action.as_deref().unwrap_or("RunInstances");
    match asked.fault.as_str() {
        "reply-lost" => Ok(Mishap::LoseReply),
        "request-lost" => Ok(Mishap::LoseRequest),
        "hang" => Ok(Mishap::Hang),
        "throttle" => refuse(ApiError::throttled(asked.account.as_deref().unwrap_or(super::auth::ACCOUNT), action)),
        "internal-error" => refuse(ApiError::server("InternalError", "An internal error has occurred")),
        "no-capacity" => {
            refuse(ApiError::server("InsufficientInstanceCapacity", "We currently do not have sufficient capacity."))
        }
        "zone-outage" => refuse(ApiError {
            status: 503,
            ..ApiError::server("Unavailable", "The service is unavailable. Please try again shortly.")
        }),
        "quota-reached" => refuse(ApiError::client(
            "VcpuLimitExceeded",
            "You have requested more vCPU capacity than your current vCPU limit allows.",
        )),
        "credentials-expired" => {
            refuse(ApiError::client("ExpiredToken", "The security token included in the request is expired"))
        }
        "role-denied" => {
            refuse(ApiError::denied("UnauthorizedOperation", "You are not authorized to perform this operation."))
        }
        "page-expired" => refuse(super::page::expired()),
        "refuse" => {
            let code = asked.code.clone().ok_or_else(|| wrong("refuse needs a code"))?;
            let message = asked.message.clone().unwrap_or_else(|| "Refused on demand.".to_owned());
            let status = asked.status.unwrap_or(400);
            if !(400..600).contains(&status) {
                return Err(wrong(format!("status {status} must be from 400 to 599")));
            }
            refuse(ApiError { status, code: code.into(), message })
        }
        other => {
            Fault::from_str(other).map_err(wrong)?;
            Err(wrong(format!("{other} does not happen to single calls: give it a rate")))
        }
    }
}

fn clear_faults(shared: &Shared) -> Value {
    let mut model = shared.model();
    model.world.clear_injected();
    restore(&mut model, &shared.options.weather);
    json!({ "weather": shared.options.weather.name() })
}

/// The weather as it was at the start.
fn restore(model: &mut Model, weather: &Weather) {
    for fault in Fault::ALL {
        model.world.set_rate(*fault, weather.rate(*fault));
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    seconds: f64,
}

fn advance(shared: &Shared, asked: &Advance) -> Result<Value> {
    if !(0.0..=ADVANCE_DAYS_MAX * 86_400.0).contains(&asked.seconds) {
        return Err(wrong(format!("seconds {} must be from 0 to {ADVANCE_DAYS_MAX} days", asked.seconds)));
    }
    let mut model = shared.model();
    #[expect(clippy::cast_possible_truncation, reason = "a year in milliseconds fits")]
    let step = TimeDelta::milliseconds((asked.seconds * 1000.0).round() as i64);
    model.ahead += step;
    let now = shared.now(&model);
    model.world.advance(now);
    Ok(json!({ "now": now }))
}

/// Lets the clock of this side go ahead of the machine's, or behind it.
fn skew(shared: &Shared, asked: &Advance) -> Result<Value> {
    if !(-SKEW_SECONDS_MAX..=SKEW_SECONDS_MAX).contains(&asked.seconds) {
        return Err(wrong(format!("seconds {} must be from -{SKEW_SECONDS_MAX} to {SKEW_SECONDS_MAX}", asked.seconds)));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a day in milliseconds fits")]
    let skew = TimeDelta::milliseconds((asked.seconds * 1000.0).round() as i64);
    shared.model().skew = skew;
    Ok(json!({ "seconds": asked.seconds }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quota {
    account: String,
    region: String,
    vcpus: u32,
}

/// As if the account's owner had asked AWS for more.
fn quota(shared: &Shared, asked: &Quota) -> Result<Value> {
    let place = place(&asked.account, &asked.region)?;
    shared.model().world.site(&place).quota_vcpus = asked.vcpus;
    Ok(json!({ "account": asked.account, "region": asked.region, "vcpus": asked.vcpus }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrailLate {
    late_seconds: u32,
}

/// How late CloudTrail tells what happens from now on.
fn trail_late(shared: &Shared, asked: &TrailLate) -> Result<Value> {
    if f64::from(asked.late_seconds) > SKEW_SECONDS_MAX {
        return Err(wrong(format!("late_seconds {} must be at most {SKEW_SECONDS_MAX}", asked.late_seconds)));
    }
    shared.model().world.set_trail_late(TimeDelta::seconds(asked.late_seconds.into()));
    Ok(json!({ "late_seconds": asked.late_seconds }))
}

/// What is fixed for a measurement; what is left out is as it is without one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PaceAsked {
    round_trip_seconds: Option<f64>,
    pending_seconds: Option<f64>,
    throttle: Option<bool>,
}

fn pace(shared: &Shared, asked: &PaceAsked) -> Result<Value> {
    let time = |name: &str, seconds: Option<f64>| match seconds {
        None => Ok(None),
        #[expect(clippy::cast_possible_truncation, reason = "an hour in microseconds fits")]
        Some(seconds) if (0.0..=TAKES_SECONDS_MAX).contains(&seconds) => {
            Ok(Some(TimeDelta::microseconds((seconds * 1e6).round() as i64)))
        }
        Some(seconds) => Err(wrong(format!("{name} {seconds} must be from 0 to {TAKES_SECONDS_MAX}"))),
    };
    let pace = Pace {
        round_trip: time("round_trip_seconds", asked.round_trip_seconds)?,
        pending: time("pending_seconds", asked.pending_seconds)?,
        unthrottled: asked.throttle == Some(false),
    };
    shared.model().world.set_pace(pace);
    Ok(json!({ "throttle": !pace.unthrottled }))
}

/// An account in a region, both well formed.
fn place(account: &str, region: &str) -> Result<SiteId> {
    if account.len() != 12 || !account.chars().all(|c| c.is_ascii_digit()) {
        return Err(wrong(format!("account {account:?} must have 12 digits")));
    }
    let region: Region = region.parse().map_err(wrong)?;
    Ok(SiteId::new(account, region.as_str()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NextImage {
    account: String,
    region: String,
    pending_seconds: Option<u32>,
    #[serde(default)]
    fails: bool,
}

/// What becomes of the next image that nobody has asked for yet.
fn next_image(shared: &Shared, asked: &NextImage) -> Result<Value> {
    let place = place(&asked.account, &asked.region)?;
    let pending = asked.pending_seconds.map(|seconds| TimeDelta::seconds(seconds.into()));
    let fate = ImageFate { pending, fails: asked.fails };
    let mut model = shared.model();
    let site = model.world.site(&place);
    site.image_fates.push_back(fate);
    Ok(json!({ "account": asked.account, "region": asked.region, "waiting": site.image_fates.len() }))
}

/// What an account may do from now on; everything, if `allow` is left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    account: String,
    allow: Option<Vec<Statement>>,
}

fn permissions(shared: &Shared, asked: Allowed) -> Value {
    let statements = asked.allow.as_ref().map(Vec::len);
    shared.model().permissions.set(&asked.account, asked.allow);
    json!({ "statements": statements })
}

fn reset(shared: &Shared) -> Value {
    let mut model = shared.model();
    model.world.reset();
    model.permissions = Permissions::default();
    model.skew = TimeDelta::zero();
    model.world.set_pace(Pace::default());
    model.sessions.clear();
    model.calls = calls::Calls::default();
    model.imds = super::imds::Tokens::default();
    restore(&mut model, &shared.options.weather);
    json!({ "now": shared.now(&model) })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Console {
    text: String,
}

/// Where an instance is.
pub(super) fn place_of(model: &Model, id: &InstanceId) -> Option<SiteId> {
    model.world.sites().find(|(_, site)| site.instance(id).is_some()).map(|(at, _)| at.clone())
}

fn touch(shared: &Shared, id: &str, what: &str, body: &[u8]) -> Result<Value> {
    let mut model = shared.model();
    let now = shared.now(&model);
    let id: InstanceId = id.parse().map_err(wrong)?;
    let unknown = || (StatusCode::NOT_FOUND, format!("there is no instance {id}"));
    let place = place_of(&model, &id).ok_or_else(unknown)?;
    let console = if what == "console" { Some(read::<Console>(body)?) } else { None };
    let known = matches!(what, "power-off" | "terminate" | "stop" | "interrupt" | "console");
    if !known {
        let why =
            format!("{what} is not done to instances: power-off, terminate, stop, interrupt, console and agent are");
        return Err((StatusCode::NOT_FOUND, why));
    }
    let after = model.world.touch(&place, now, |site| {
        match what {
            "power-off" => site.power_off(&id, now),
            "terminate" => site.end_from_outside(&id, now, "Client.UserInitiatedShutdown"),
            "stop" => site.stop_from_outside(&id, now),
            "interrupt" => site.interrupt(&id, now),
            _ => {
                if let (Some(instance), Some(console)) = (site.instances.get_mut(&id), &console) {
                    instance.say(&console.text);
                }
            }
        }
        site.instance(&id).map(|instance| {
            let behaviour = if instance.terminate_on_shutdown { "terminate" } else { "stop" };
            json!({ "id": id, "state": instance.state().to_string(), "shutdown_behavior": behaviour })
        })
    });
    after.ok_or_else(unknown)
}
