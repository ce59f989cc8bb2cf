//! CloudTrail's model: what was called that changed instances, told late, in pages, for 90 days.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::error::ApiError;
use super::site::{By, Site, hash};
use crate::model::{InstanceId, InstanceState};

/// How long events are told.
const KEPT: TimeDelta = TimeDelta::days(90);
/// The most events that are kept of an account in a region.
const EVENTS_MAX: usize = 100_000;
/// The most events of a page.
const PAGE_MAX: u32 = 50;
/// How late an event may be told, if nobody says otherwise.
pub(super) const LATE: TimeDelta = TimeDelta::minutes(15);
/// What a page is chosen by.
const ATTRIBUTES: [&str; 6] = ["EventId", "EventName", "EventSource", "ReadOnly", "ResourceName", "Username"];
/// The calls that are told even if they are refused.
const TOLD: [&str; 4] = ["RunInstances", "StartInstances", "StopInstances", "TerminateInstances"];
/// Whoever else has access to the account.
const SOMEBODY: &str = "somebody";

/// What a call did to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    at: DateTime<Utc>,
    call: &'static str,
    by: By,
    instance: InstanceId,
    before: Option<InstanceState>,
    after: InstanceState,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recorded {
    number: u64,
    at: DateTime<Utc>,
    shown: DateTime<Utc>,
    call: &'static str,
    /// A user, or a role and its session with a slash between; absent if AWS did it itself.
    by: Option<Arc<str>>,
    changes: Vec<(InstanceId, Option<InstanceState>, InstanceState)>,
    error: Option<(String, String)>,
}

/// The events of an account in a region.
#[derive(Debug)]
pub(super) struct TrailBook {
    open: Vec<Change>,
    events: VecDeque<Recorded>,
    count: u64,
    names: BTreeMap<String, Arc<str>>,
    /// How late an event may be told.
    pub(super) late: TimeDelta,
}

/// What LookupEvents is asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookup<'a> {
    /// The one attribute, and its value.
    pub(super) attribute: Option<(&'a str, &'a str)>,
    pub(super) since: Option<DateTime<Utc>>,
    pub(super) until: Option<DateTime<Utc>>,
    pub(super) size: Option<u32>,
    pub(super) token: Option<&'a str>,
}

/// What LookupEvents answers.
#[derive(Debug, Clone, Default)]
pub(super) struct LookedUp {
    pub(super) events: Vec<Shown>,
    pub(super) next: Option<String>,
}

/// An event as LookupEvents shows it.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) id: String,
    pub(super) at: DateTime<Utc>,
    pub(super) call: &'static str,
    pub(super) user: Option<String>,
    pub(super) instances: Vec<InstanceId>,
    /// `CloudTrailEvent`.
    pub(super) text: String,
}

impl Default for TrailBook {
    fn default() -> Self {
        Self { open: Vec::new(), events: VecDeque::new(), count: 0, names: BTreeMap::new(), late: LATE }
    }
}

impl TrailBook {
    fn add(&mut self, seed: u64, mut event: Recorded) {
        self.count += 1;
        event.number = self.count;
        // Some are told sooner than others, and so not in their order.
        let share = i32::try_from(hash(&(seed, "trail", self.count)) % 3).unwrap_or(0);
        event.shown = event.at + self.late * (share + 1) / 3;
        self.events.push_back(event);
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    fn name(&mut self, by: &str) -> Arc<str> {
        Arc::clone(self.names.entry(by.to_owned()).or_insert_with(|| by.into()))
    }
}

impl Site {
    /// A call, or EC2's own will, changed an instance; what a guest does is no call.
    pub(super) fn trailed(
        &mut self,
        at: DateTime<Utc>,
        call: &'static str,
        by: By,
        instance: &InstanceId,
        before: Option<InstanceState>,
    ) {
        let Some(now) = self.instance(instance) else { return };
        let after = now.state().clone();
        let taken_back =
            || now.facts().reason.as_ref().is_some_and(|reason| reason.code.starts_with("Server.SpotInst"));
        let call = match by {
            By::Caller | By::ThirdParty => call,
            By::Ec2 if taken_back() => "BidEvictedEvent",
            By::Ec2 | By::Guest => return,
        };
        self.trail.open.push(Change { at, call, by, instance: instance.clone(), before, after });
    }

    /// What was changed since the last time becomes events: one for each call.
    pub(super) fn close_trail(&mut self, caller: Option<&str>) {
        for change in std::mem::take(&mut self.trail.open) {
            let by = match change.by {
                By::ThirdParty => Some(SOMEBODY),
                By::Caller => caller,
                By::Ec2 | By::Guest => None,
            };
            let by = by.map(|by| self.trail.name(by));
            let one = (change.instance, change.before, change.after);
            let same = |event: &&mut Recorded| {
                event.at == change.at && event.call == change.call && event.by == by && event.error.is_none()
            };
            if let Some(event) = self.trail.events.back_mut().filter(|event| same(event)) {
                event.changes.push(one);
            } else {
                let (at, call) = (change.at, change.call);
                let event = Recorded { number: 0, at, shown: at, call, by, changes: vec![one], error: None };
                self.trail.add(self.seed, event);
            }
        }
    }

    /// A call that was refused is an event as well.
    pub(super) fn trail_refusal(&mut self, at: DateTime<Utc>, action: &str, caller: &str, error: &ApiError) {
        let Some(call) = TOLD.into_iter().find(|call| *call == action) else { return };
        let side = if error.status < 500 { "Client" } else { "Server" };
        let error = Some((format!("{side}.{}", error.code), error.message.clone()));
        let by = Some(self.trail.name(caller));
        let event = Recorded { number: 0, at, shown: at, call, by, changes: Vec::new(), error };
        self.trail.add(self.seed, event);
    }

    /// LookupEvents: the newest first.
    ///
    /// # Errors
    /// `InvalidTimeRangeException`, `InvalidMaxResultsException`, `InvalidLookupAttributesException`,
    /// `InvalidNextTokenException`.
    pub(super) fn lookup_events(&self, asked: &Lookup<'_>, now: DateTime<Utc>) -> Result<LookedUp, ApiError> {
        let (since, until) = (asked.since.unwrap_or(now - KEPT).max(now - KEPT), asked.until.unwrap_or(now));
        if asked.since.zip(asked.until).is_some_and(|(since, until)| since > until) {
            let message = "The specified time range is not valid: the start is after the end.";
            return Err(ApiError::client("InvalidTimeRangeException", message));
        }
        let size = asked.size.unwrap_or(PAGE_MAX);
        if !(1..=PAGE_MAX).contains(&size) {
            let message = format!("Max results must be from 1 to {PAGE_MAX}.");
            return Err(ApiError::client("InvalidMaxResultsException", message));
        }
        if let Some((name, _)) = asked.attribute.filter(|(name, _)| !ATTRIBUTES.contains(name)) {
            let message = format!("Lookup attribute {name} is not known here: {} are", ATTRIBUTES.join(", "));
            return Err(ApiError::client("InvalidLookupAttributesException", message));
        }
        // A token leads on only in the same search.
        let search = format!("{:016x}", hash(&(self.seed, asked.attribute, asked.since, asked.until)));
        let below = asked.token.map(|token| opened(token, &search)).transpose()?.unwrap_or(u64::MAX);
        let fits = |event: &&Recorded| {
            event.number < below
                && event.shown <= now
                && since <= event.at
                && event.at <= until
                && asked.attribute.is_none_or(|(name, value)| self.has(event, name, value))
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let mut found = self.trail.events.iter().rev().filter(fits).peekable();
        let page: Vec<&Recorded> = found.by_ref().take(size).collect();
        let next = page.last().filter(|_| found.peek().is_some()).map(|last| format!("{search}{:016x}", last.number));
        Ok(LookedUp { events: page.into_iter().map(|event| self.shown_event(event)).collect(), next })
    }

    fn has(&self, event: &Recorded, name: &str, value: &str) -> bool {
        match name {
            "EventName" => event.call == value,
            "EventId" => self.event_id(event) == value,
            "Username" => event.user() == Some(value),
            "ResourceName" => event.changes.iter().any(|(id, _, _)| id.as_str() == value),
            "EventSource" => value == "ec2.amazonaws.com",
            _ => value == "false",
        }
    }

    fn event_id(&self, event: &Recorded) -> String {
        let (high, low) = (hash(&(self.seed, event.number)), hash(&(event.number, self.seed)));
        let text = format!("{high:016x}{low:016x}");
        [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
    }

    fn shown_event(&self, event: &Recorded) -> Shown {
        let id = self.event_id(event);
        let mut text = json!({
            "eventVersion": "1.11",
            "userIdentity": self.identity(event),
            "eventTime": event.at.to_rfc3339_opts(SecondsFormat::Secs, true),
            "eventSource": "ec2.amazonaws.com",
            "eventName": event.call,
            "awsRegion": &*self.region,
            "eventID": id,
            "readOnly": false,
            "eventType": if event.call == "BidEvictedEvent" { "AwsServiceEvent" } else { "AwsApiCall" },
            "managementEvent": true,
            "recipientAccountId": &*self.account,
            "eventCategory": "Management",
            "requestParameters": null,
            "responseElements": null,
        });
        let ids: Vec<&InstanceId> = event.changes.iter().map(|(id, _, _)| id).collect();
        if let Some((code, message)) = &event.error {
            text["errorCode"] = code.as_str().into();
            text["errorMessage"] = message.as_str().into();
        } else if event.call == "BidEvictedEvent" {
            text["serviceEventDetails"] = json!({ "instanceIdSet": ids });
        } else {
            let items: Vec<Value> = event.changes.iter().map(item).collect();
            text["responseElements"] = json!({ "instancesSet": { "items": items } });
            if event.call != "RunInstances" {
                let named: Vec<Value> = ids.iter().map(|id| json!({ "instanceId": id })).collect();
                text["requestParameters"] = json!({ "instancesSet": { "items": named } });
            }
        }
        let instances = ids.into_iter().cloned().collect();
        let user = event.user().map(ToOwned::to_owned);
        // CloudTrail's times are whole seconds.
        let at = DateTime::from_timestamp(event.at.timestamp(), 0).unwrap_or(event.at);
        Shown { id, at, call: event.call, user, instances, text: text.to_string() }
    }

    fn identity(&self, event: &Recorded) -> Value {
        let account = &*self.account;
        match event.by.as_deref() {
            None => json!({ "type": "AWSService", "invokedBy": "ec2.amazonaws.com", "accountId": account }),
            Some(by) => match by.split_once('/') {
                None => json!({
                    "type": "IAMUser", "userName": by, "accountId": account,
                    "arn": format!("arn:aws:iam::{account}:user/{by}"),
                }),
                Some((role, session)) => json!({
                    "type": "AssumedRole", "accountId": account,
                    "principalId": format!("AROASIMULATED:{session}"),
                    "arn": format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
                    "sessionContext": { "sessionIssuer": { "type": "Role", "userName": role } },
                }),
            },
        }
    }
}

impl Recorded {
    /// A user's name, or a session's.
    fn user(&self) -> Option<&str> {
        self.by.as_deref().map(|by| by.split_once('/').map_or(by, |(_, session)| session))
    }
}

fn item((id, before, after): &(InstanceId, Option<InstanceState>, InstanceState)) -> Value {
    let state = |state: &InstanceState| json!({ "code": code(state), "name": state.to_string() });
    match before {
        Some(before) => json!({ "instanceId": id, "currentState": state(after), "previousState": state(before) }),
        None => json!({ "instanceId": id, "instanceState": state(after) }),
    }
}

/// EC2's number of a state.
fn code(state: &InstanceState) -> u32 {
    match state {
        InstanceState::Pending => 0,
        InstanceState::Running => 16,
        InstanceState::ShuttingDown => 32,
        InstanceState::Terminated => 48,
        InstanceState::Stopping => 64,
        InstanceState::Stopped => 80,
        InstanceState::Unknown(_) => 255,
    }
}

fn opened(token: &str, search: &str) -> Result<u64, ApiError> {
    let number = token.strip_prefix(search).and_then(|rest| u64::from_str_radix(rest, 16).ok());
    number.ok_or_else(|| ApiError::client("InvalidNextTokenException", "The specified next token is not valid."))
}

/// What the model says in EC2's words CloudTrail says in its own.
pub(super) fn in_cloudtrails_words(error: ApiError) -> ApiError {
    match &*error.code {
        "RequestLimitExceeded" => ApiError::client("ThrottlingException", "Rate exceeded"),
        "InternalError" => ApiError::server("InternalFailure", error.message),
        "ExpiredToken" => ApiError::client("ExpiredTokenException", error.message),
        "AuthFailure" => ApiError::client("UnrecognizedClientException", error.message),
        "UnauthorizedOperation" => {
            ApiError::client("AccessDeniedException", "User is not authorized to perform this action")
        }
        _ => error,
    }
}
