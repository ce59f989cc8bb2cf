//! SSM: Run Command on one instance, and the agents that there are. Its protocol is JSON (`awsJson1_1`).

use chrono::{DateTime, Utc};
use hyper::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::auth;
use super::calls::Noted;
use super::door::{Answer, Lost, Shared};
use super::permissions::Permissions;
use super::query::Node;
use super::quotas::{refusal, success};
use crate::cloud::ssm_document;
use crate::model::{AgentPlatform, CommandId, InstanceId};
use crate::sim::commands::{Command, NewCommand, in_ssms_words};
use crate::sim::error::ApiError;
use crate::sim::site::{Site, well_formed};
use crate::sim::world::{Request, Served, SiteId};

const TARGET: &str = "AmazonSSM.";
const ACTIONS: [&str; 4] = ["DescribeInstanceInformation", "GetCommandInvocation", "ListCommands", "SendCommand"];
/// What SSM takes, in seconds and characters, and what it means when nothing is said.
const DELIVERY_S: std::ops::RangeInclusive<u32> = 30..=2_592_000;
const EXECUTION_S: std::ops::RangeInclusive<u32> = 1..=172_800;
const USUAL_S: u32 = 3_600;
const COMMENT_MAX: usize = 100;
const PAGE: std::ops::RangeInclusive<usize> = 1..=50;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct SendCommand {
    document_name: String,
    instance_ids: Vec<String>,
    comment: String,
    timeout_seconds: Option<u32>,
    parameters: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetCommandInvocation {
    command_id: String,
    instance_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ListCommands {
    command_id: Option<String>,
    instance_id: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct DescribeInstanceInformation {
    filters: Vec<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: String,
    values: Vec<String>,
}

/// A call whose action and caller are known.
struct Known {
    action: &'static str,
    place: SiteId,
    body: Value,
}

/// Whether a request is signed for this service.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    auth::service(headers, &Node::default()) == "ssm"
}

/// One call.
pub(super) async fn answer(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<Answer, Lost> {
    let known = match known(shared, headers, body) {
        Ok(known) => known,
        Err(error) => return Ok(refusal(shared, &in_ssms_words(error))),
    };
    let there = shared.model().world.way_there(&known.place);
    shared.wait(there).await;
    let done = shared.delivered(serve(shared, &known)).await?;
    let noted = Noted::of(&known.place, known.action, &done);
    Ok(noted.on(match done {
        Ok(body) => success(shared, &body),
        Err(error) => refusal(shared, &in_ssms_words(error)),
    }))
}

fn known(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<Known, ApiError> {
    let model = shared.model();
    let times = (shared.wall(&model), shared.now(&model));
    let caller = auth::caller(headers, &Node::default(), &model.sessions, times)?;
    let target = headers.get("x-amz-target").and_then(|text| text.to_str().ok()).unwrap_or_default();
    let named = target.strip_prefix(TARGET).unwrap_or_default();
    let action = ACTIONS.into_iter().find(|action| *action == named).ok_or_else(|| {
        let message = format!("{target} is not known here: of {TARGET} {} are", ACTIONS.join(", "));
        ApiError::client("UnknownOperationException", message)
    })?;
    Ok(Known { action, place: SiteId::new(&caller.account, &caller.region), body: read_json(body)? })
}

fn read_json(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::client("SerializationException", error.to_string()))
}

fn read<T: DeserializeOwned>(body: &Value) -> Result<T, ApiError> {
    T::deserialize(body).map_err(|error| ApiError::client("SerializationException", error.to_string()))
}

fn serve(shared: &Shared, known: &Known) -> Served<Value> {
    let mut model = shared.model();
    let now = shared.now(&model);
    let model = &mut *model;
    let ids = instances_named(&known.body);
    let subject = ids.join(" ");
    let request =
        Request { place: &known.place, action: known.action, paged: true, resources: 0, subject: &subject, by: "" };
    let permissions = &model.permissions;
    model.world.serve(&request, now, |site, now| {
        allowed(permissions, known, &ids, site, now)?;
        match known.action {
            "SendCommand" => send_command(&read(&known.body)?, site, now),
            "GetCommandInvocation" => get_command_invocation(&read(&known.body)?, site, now),
            "ListCommands" => list_commands(&read(&known.body)?, site, now),
            _ => describe_instance_information(&read(&known.body)?, site, now),
        }
    })
}

/// The instances that a call names, for permissions and the trace.
fn instances_named(body: &Value) -> Vec<String> {
    let many = body["InstanceIds"].as_array().into_iter().flatten();
    many.chain(body.get("InstanceId")).filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

/// Only SendCommand can be bound to what it names.
fn allowed(
    permissions: &Permissions,
    known: &Known,
    ids: &[String],
    site: &mut Site,
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    let named: &[String] = if known.action == "SendCommand" { ids } else { &[] };
    if permissions.allows_on(known.action, named, site, now) {
        return Ok(());
    }
    let message = format!("User is not authorized to perform: ssm:{}", known.action);
    Err(ApiError::client("AccessDeniedException", message))
}

fn validation(message: impl Into<String>) -> ApiError {
    ApiError::client("ValidationException", message)
}

fn instance_id(text: &str) -> Result<InstanceId, ApiError> {
    let malformed = || validation(format!("Value '{text}' at 'instanceId' failed to satisfy constraint"));
    if well_formed(text, "i") { text.parse().map_err(|_| malformed()) } else { Err(malformed()) }
}

fn command_id(text: &str) -> Result<CommandId, ApiError> {
    text.parse().map_err(|_| validation(format!("Value '{text}' at 'commandId' failed to satisfy constraint")))
}

fn send_command(asked: &SendCommand, site: &mut Site, now: DateTime<Utc>) -> Result<Value, ApiError> {
    let windows = asked.document_name == ssm_document(true);
    if !windows && asked.document_name != ssm_document(false) {
        let message = format!("The document {} does not exist in your account", asked.document_name);
        return Err(ApiError::client("InvalidDocument", message));
    }
    let [instance] = &asked.instance_ids[..] else {
        return Err(validation("here a command goes to the one instance that InstanceIds names"));
    };
    if asked.comment.chars().count() > COMMENT_MAX {
        return Err(validation(format!("Value at 'comment' has more than {COMMENT_MAX} characters")));
    }
    let delivery_s = asked.timeout_seconds.unwrap_or(USUAL_S);
    if !DELIVERY_S.contains(&delivery_s) {
        return Err(validation(format!("Value '{delivery_s}' at 'timeoutSeconds' failed to satisfy constraint")));
    }
    let instance = instance_id(instance)?;
    let (text, execution_s) = script(&asked.parameters)?;
    let comment = asked.comment.clone();
    let new = NewCommand { instance, windows, text, comment, delivery_s, execution_s };
    let id = site.send_command(&new, now)?;
    // What was sent a moment ago is told as sent, whatever readers see.
    Ok(json!({ "Command": {
        "CommandId": id,
        "DocumentName": asked.document_name,
        "Comment": new.comment,
        "InstanceIds": [new.instance],
        "RequestedDateTime": at(now),
        "Status": "Pending",
        "StatusDetails": "Pending",
        "TimeoutSeconds": delivery_s,
        "TargetCount": 1,
    }}))
}

/// The lines of a document's script, and how long they may take.
fn script(parameters: &Map<String, Value>) -> Result<(String, u32), ApiError> {
    let invalid = |message: String| ApiError::client("InvalidParameters", message);
    let texts = |name: &str| -> Result<Vec<&str>, ApiError> {
        let values = parameters.get(name).map_or(Some(&[][..]), |value| value.as_array().map(Vec::as_slice));
        let texts = values.map(|values| values.iter().map(Value::as_str).collect::<Option<Vec<&str>>>());
        texts.flatten().ok_or_else(|| invalid(format!("The parameter {name} must be a list of texts")))
    };
    let known = ["commands", "executionTimeout", "workingDirectory"];
    if let Some(name) = parameters.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(invalid(format!("The document has no parameter {name}")));
    }
    let lines = texts("commands")?;
    if lines.is_empty() {
        return Err(invalid("The parameter commands is required".to_owned()));
    }
    let timeout = texts("executionTimeout")?;
    let seconds = timeout.first().map_or(Ok(USUAL_S), |text| text.parse());
    match seconds.ok().filter(|seconds| EXECUTION_S.contains(seconds)) {
        Some(seconds) => Ok((lines.join("\n"), seconds)),
        None => Err(invalid(format!("executionTimeout must be from {} to {}", EXECUTION_S.start(), EXECUTION_S.end()))),
    }
}

/// A time as the protocol writes it.
fn at(time: DateTime<Utc>) -> i64 {
    time.timestamp()
}

fn get_command_invocation(asked: &GetCommandInvocation, site: &Site, now: DateTime<Utc>) -> Result<Value, ApiError> {
    let (id, command) = (instance_id(&asked.instance_id)?, command_id(&asked.command_id)?);
    let told = site.invocation(&id, &command, now)?;
    let sent = site.commands.get(&command).map(|command| &command.sent);
    let windows = sent.is_some_and(|sent| sent.windows);
    Ok(json!({
        "CommandId": command,
        "InstanceId": id,
        "Comment": sent.map(|sent| sent.comment.as_str()),
        "DocumentName": ssm_document(windows),
        "PluginName": if windows { "aws:runPowerShellScript" } else { "aws:runShellScript" },
        "ResponseCode": told.code,
        "Status": told.status,
        "StatusDetails": told.details,
        "StandardOutputContent": told.output,
        "StandardErrorContent": told.error_output,
    }))
}

fn list_commands(asked: &ListCommands, site: &Site, now: DateTime<Utc>) -> Result<Value, ApiError> {
    let instance = asked.instance_id.as_deref().map(instance_id).transpose()?;
    let command = asked.command_id.as_deref().map(command_id).transpose()?;
    let size = asked.max_results.unwrap_or(*PAGE.end());
    if !PAGE.contains(&size) {
        return Err(validation(format!("Value '{size}' at 'maxResults' failed to satisfy constraint")));
    }
    let found = site.commands_sent(instance.as_ref(), now);
    if command.as_ref().is_some_and(|id| found.iter().all(|one| one.id != *id)) {
        return Err(ApiError::client("InvalidCommandId", "The command ID is not valid."));
    }
    let mut rest: Vec<&Command> =
        found.into_iter().filter(|one| command.as_ref().is_none_or(|id| one.id == *id)).collect();
    if let Some(after) = &asked.next_token {
        // The token is the id of the last command of the page before.
        let known = rest.iter().position(|one| one.id.as_str() == after);
        let known = known.ok_or_else(|| ApiError::client("InvalidNextToken", "The specified token is not valid."))?;
        rest.drain(..=known);
    }
    let next = (rest.len() > size).then(|| rest[size - 1].id.clone());
    let shown: Vec<Value> = rest.into_iter().take(size).map(|one| listed(one, site, now)).collect();
    Ok(json!({ "Commands": shown, "NextToken": next }))
}

fn listed(command: &Command, site: &Site, now: DateTime<Utc>) -> Value {
    let told = site.told(command, now);
    json!({
        "CommandId": command.id,
        "DocumentName": ssm_document(command.sent.windows),
        "Comment": command.sent.comment,
        "InstanceIds": [command.sent.instance],
        "RequestedDateTime": at(command.sent_at),
        // Of the command as a whole there is no Delayed.
        "Status": if told.status == "Delayed" { "InProgress" } else { told.status },
        "StatusDetails": told.details,
        "TimeoutSeconds": command.sent.delivery_s,
        "TargetCount": 1,
    })
}

fn describe_instance_information(
    asked: &DescribeInstanceInformation,
    site: &Site,
    now: DateTime<Utc>,
) -> Result<Value, ApiError> {
    if let Some(filter) = asked.filters.iter().find(|filter| filter.key != "InstanceIds") {
        return Err(ApiError::client("InvalidFilterKey", format!("{} is not known here: InstanceIds is", filter.key)));
    }
    let fits = |id: &InstanceId| asked.filters.iter().all(|filter| filter.values.iter().any(|one| one == id.as_str()));
    let found: Vec<Value> =
        site.agents.keys().filter(|id| fits(id)).filter_map(|id| information(id, site, now)).collect();
    Ok(json!({ "InstanceInformationList": found }))
}

fn information(id: &InstanceId, site: &Site, now: DateTime<Utc>) -> Option<Value> {
    let (agent, (ping, connected)) = (site.agent(id)?, site.last_ping(id, now)?);
    Some(json!({
        "InstanceId": id,
        "PingStatus": if connected { "Online" } else { "ConnectionLost" },
        "LastPingDateTime": at(ping),
        "AgentVersion": agent.version,
        "PlatformType": platform(&agent.platform),
        "ResourceType": "EC2Instance",
        "SourceId": id,
        "SourceType": "AWS::EC2::Instance",
    }))
}

fn platform(platform: &AgentPlatform) -> &str {
    match platform {
        AgentPlatform::Linux => "Linux",
        AgentPlatform::Windows => "Windows",
        AgentPlatform::MacOs => "MacOS",
        AgentPlatform::Unknown(word) => word,
    }
}
