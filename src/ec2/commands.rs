//! Run Command of SSM through the SDK.

use aws_sdk_ssm::types::{
    Command, CommandInvocationStatus, InstanceInformation, InstanceInformationStringFilter, PlatformType,
};
use chrono::{DateTime, Utc};

use super::{Ec2, PAGES_MAX, error, too_many_pages};
use crate::cloud::{CloudError, Commands, sendable, ssm_document};
use crate::model::{AgentFacts, AgentPlatform, CommandId, CommandState, DELIVERY_S, FailureKind, InstanceId, Script};

/// Commands per page: the most that SSM gives.
const PAGE: i32 = 50;

impl Commands for Ec2 {
    async fn online(&self, id: &InstanceId) -> Result<Option<AgentFacts>, CloudError> {
        let ssm = self.clients().await?.ssm_reads();
        let this = InstanceInformationStringFilter::builder().key("InstanceIds").values(id.as_str()).build();
        let this = this.map_err(|error| not_sent(&error.to_string()))?;
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let call = ssm.describe_instance_information().filters(this.clone()).set_next_token(token);
            let page = call.send().await.map_err(|e| error::sorted(&e))?;
            if let Some(found) =
                page.instance_information_list().iter().find(|one| one.instance_id() == Some(id.as_str()))
            {
                return Ok(Some(facts(found)));
            }
            token = page.next_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
            if token.is_none() {
                return Ok(None);
            }
        }
        Err(too_many_pages())
    }

    async fn send_script(&self, id: &InstanceId, script: &Script) -> Result<CommandId, CloudError> {
        sendable(script)?;
        let call = self.clients().await?.ssm_writes().send_command().document_name(ssm_document(script.windows));
        let call = call.instance_ids(id.as_str()).comment(&script.comment).timeout_seconds(delivery_s());
        let call = call.parameters("commands", vec![script.text.clone()]);
        let call = call.parameters("executionTimeout", vec![script.timeout_s.to_string()]);
        let answer = call.send().await.map_err(|e| error::sorted(&e))?;
        command_id(answer.command().and_then(Command::command_id))
    }

    async fn command(&self, id: &InstanceId, command: &CommandId) -> Result<CommandState, CloudError> {
        let call = self.clients().await?.ssm_reads().get_command_invocation();
        let call = call.command_id(command.as_str()).instance_id(id.as_str());
        let answer = call.send().await.map_err(|e| error::sorted(&e))?;
        Ok(CommandState::read(
            answer.status_details().unwrap_or_default(),
            answer.status().map(CommandInvocationStatus::as_str).unwrap_or_default(),
            answer.response_code(),
            answer.standard_output_content().unwrap_or_default(),
            answer.standard_error_content().unwrap_or_default(),
        ))
    }

    async fn sent(&self, id: &InstanceId, comment: &str) -> Result<Vec<CommandId>, CloudError> {
        let ssm = self.clients().await?.ssm_reads();
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let call = ssm.list_commands().instance_id(id.as_str()).max_results(PAGE).set_next_token(token);
            let page = call.send().await.map_err(|e| error::sorted(&e))?;
            for command in page.commands().iter().filter(|command| command.comment() == Some(comment)) {
                found.push(command_id(command.command_id())?);
            }
            token = page.next_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
            if token.is_none() {
                return Ok(found);
            }
        }
        Err(too_many_pages())
    }
}

fn delivery_s() -> i32 {
    i32::try_from(DELIVERY_S).unwrap_or(i32::MAX)
}

/// An answer without an id that can be read leaves open whether the command was sent.
fn command_id(text: Option<&str>) -> Result<CommandId, CloudError> {
    text.unwrap_or_default().parse().map_err(|_| CloudError {
        kind: FailureKind::RetrySame,
        code: "NoCommand".to_owned(),
        message: "SSM answered without the id of the command".to_owned(),
    })
}

fn not_sent(message: &str) -> CloudError {
    CloudError { kind: FailureKind::Bug, code: "NotSent".to_owned(), message: message.to_owned() }
}

fn facts(found: &InstanceInformation) -> AgentFacts {
    let seconds = found.last_ping_date_time().map(aws_sdk_ssm::primitives::DateTime::secs);
    AgentFacts {
        version: found.agent_version().unwrap_or_default().to_owned(),
        platform: AgentPlatform::read(found.platform_type().map(PlatformType::as_str).unwrap_or_default()),
        last_ping: seconds.and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0)),
        connected: found.ping_status().is_some_and(|status| status.as_str() == "Online"),
    }
}
