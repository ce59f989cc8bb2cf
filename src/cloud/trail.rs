//! CloudTrail's words: an event's text in, what it says of instances out.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::model::{InstanceId, TrailEvent};

/// The calls that start and end the running of an instance, as CloudTrail names them.
pub const TRAIL_CALLS: [&str; 5] =
    ["RunInstances", "StartInstances", "StopInstances", "TerminateInstances", "BidEvictedEvent"];

/// The longest name of a caller that is kept, in characters.
const NAME_MAX: usize = 128;

/// What an event's text (`CloudTrailEvent`) says; `None` if it is not one of an instance's. `user` is the name
/// that CloudTrail gives beside it. A call that changed nothing, such as the stop of a stopped instance, names no
/// instance in the answer.
pub(super) fn read_trail_event(text: &str, user: Option<&str>) -> Option<TrailEvent> {
    let event: Value = serde_json::from_str(text).ok()?;
    let name = word(&event["eventName"])?;
    if !TRAIL_CALLS.contains(&name) {
        return None;
    }
    let id = word(&event["eventID"])?.to_owned();
    let at: DateTime<Utc> = word(&event["eventTime"])?.parse().ok()?;
    let error = word(&event["errorCode"]).map(short);
    let (mut instances, mut stood) = (Vec::new(), Vec::new());
    for (instance, ran) in changed(&event, error.is_some()) {
        if !ran {
            stood.push(instance.clone());
        }
        instances.push(instance);
    }
    let by = caller(&event["userIdentity"]).or(user).filter(|name| !name.is_empty()).map(short);
    Some(TrailEvent { id, at, name: name.to_owned(), instances, stood, by, error })
}

fn word(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

fn short(text: &str) -> String {
    text.chars().take(NAME_MAX).collect()
}

/// The instances of the answer that the call changed, and whether each ran before.
fn changed(event: &Value, refused: bool) -> Vec<(InstanceId, bool)> {
    if refused {
        return Vec::new();
    }
    let evicted = event["serviceEventDetails"]["instanceIdSet"].as_array().into_iter().flatten();
    let evicted = evicted.filter_map(|id| Some((word(id)?.parse().ok()?, true)));
    let items = event["responseElements"]["instancesSet"]["items"].as_array().into_iter().flatten();
    let answered = items.filter_map(|item| {
        let id = word(&item["instanceId"])?.parse().ok()?;
        let (before, after) = (word(&item["previousState"]["name"]), word(&item["currentState"]["name"]));
        let changed = before.is_none() || before != after;
        changed.then_some((id, !matches!(before, Some("stopped" | "stopping"))))
    });
    evicted.chain(answered).collect()
}

/// Who called: a session's name, a user's, or the service of AWS that did it itself.
fn caller(identity: &Value) -> Option<&str> {
    let session = || word(&identity["principalId"])?.split_once(':').map(|(_, name)| name);
    match word(&identity["type"]) {
        Some("AssumedRole" | "FederatedUser") => session(),
        Some("IAMUser") => word(&identity["userName"]),
        Some("Root") => Some("root"),
        Some("AWSService") => word(&identity["invokedBy"]),
        _ => word(&identity["userName"]).or_else(|| word(&identity["arn"])),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(event: &Value) -> Option<TrailEvent> {
        read_trail_event(&event.to_string(), Some("beside"))
    }

    fn ids(all: &[InstanceId]) -> Vec<&str> {
        all.iter().map(InstanceId::as_str).collect()
    }

    #[test]
    fn a_launch_names_its_instances_and_the_session_that_made_it() {
        let event = json!({
            "eventVersion": "1.10", "eventID": "e-1", "eventName": "RunInstances", "eventTime": "2026-03-01T10:00:00Z",
            "userIdentity": { "type": "AssumedRole", "principalId": "AROAEXAMPLE:latent-serve-main",
                "sessionContext": { "sessionIssuer": { "userName": "latent-worker" } } },
            "responseElements": { "instancesSet": { "items": [
                { "instanceId": "i-0a", "currentState": { "code": 0, "name": "pending" } }, { "instanceId": "i-0b" } ] } },
        });
        let read = read(&event).expect("an event");
        assert_eq!((read.name.as_str(), ids(&read.instances)), ("RunInstances", vec!["i-0a", "i-0b"]));
        assert_eq!((read.by.as_deref(), read.error, read.stood.len()), (Some("latent-serve-main"), None, 0));
    }

    #[test]
    fn a_call_that_changed_nothing_names_nothing_and_one_of_a_stopped_instance_says_so() {
        let state = |id: &str, before: &str, after: &str| json!({ "instanceId": id, "previousState": { "name": before }, "currentState": { "name": after } });
        let event = json!({
            "eventID": "e-2", "eventName": "TerminateInstances", "eventTime": "2026-03-01T10:00:00Z",
            "userIdentity": { "type": "IAMUser", "userName": "eve" },
            "responseElements": { "instancesSet": { "items": [
                state("i-0a", "running", "shutting-down"),
                state("i-0b", "stopped", "terminated"),
                state("i-0c", "terminated", "terminated"),
                json!({ "instanceId": 7 }),
            ] } },
        });
        let read = read(&event).expect("an event");
        assert_eq!((ids(&read.instances), ids(&read.stood)), (vec!["i-0a", "i-0b"], vec!["i-0b"]));
        assert_eq!(read.by.as_deref(), Some("eve"));
    }

    #[test]
    fn a_refusal_changes_nothing_and_an_eviction_has_its_own_form() {
        let refused = json!({
            "eventID": "e-3", "eventName": "StartInstances", "eventTime": "2026-03-01T10:00:00Z",
            "errorCode": "Server.InsufficientInstanceCapacity", "userIdentity": { "type": "Root" },
            "requestParameters": { "instancesSet": { "items": [{ "instanceId": "i-0a" }] } },
            "responseElements": null,
        });
        let refused = read(&refused).expect("an event");
        assert_eq!((refused.instances.len(), refused.by.as_deref()), (0, Some("root")));
        assert_eq!(refused.error.as_deref(), Some("Server.InsufficientInstanceCapacity"));
        let evicted = json!({
            "eventID": "e-4", "eventName": "BidEvictedEvent", "eventTime": "2026-03-01T10:00:00Z",
            "userIdentity": { "accountId": "123456789012", "invokedBy": "ec2.amazonaws.com" },
            "requestParameters": null, "responseElements": null,
            "serviceEventDetails": { "instanceIdSet": ["i-0e"] },
        });
        let evicted = read(&evicted).expect("an event");
        assert_eq!((ids(&evicted.instances), evicted.by.as_deref()), (vec!["i-0e"], Some("beside")));
    }

    #[test]
    fn what_is_no_event_of_an_instance_is_nothing() {
        for text in ["", "[]", "{}", "{\"eventName\":\"RunInstances\"}", "{\"eventName\":\"ConsoleLogin\"}"] {
            assert_eq!(read_trail_event(text, None), None, "{text}");
        }
        let at = |time: &str| json!({ "eventID": "e", "eventName": "RunInstances", "eventTime": time });
        assert_eq!(read(&at("yesterday")), None);
        let long = json!({ "eventID": "e", "eventName": "RunInstances", "eventTime": "2026-03-01T10:00:00Z",
            "userIdentity": { "type": "IAMUser", "userName": "x".repeat(5_000) } });
        assert_eq!(read(&long).expect("an event").by.map(|name| name.len()), Some(NAME_MAX));
    }
}
