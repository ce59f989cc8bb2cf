//! The in-process door: Run Command.

use chrono::{DateTime, Utc};

use super::commands::{NewCommand, in_ssms_words};
use super::door::SimCloud;
use super::error::ApiError;
use super::site::Site;
use crate::cloud::{CloudError, Commands, kind_of, sendable};
use crate::model::{AgentFacts, CommandId, CommandState, DELIVERY_S, InstanceId, Script};

impl SimCloud {
    /// One call of SSM.
    async fn ssm<T: Send>(
        &self,
        action: &'static str,
        id: &InstanceId,
        effect: impl FnOnce(&mut Site, DateTime<Utc>) -> Result<T, ApiError> + Send,
    ) -> Result<T, CloudError> {
        self.call(action, 0, id.as_str(), effect).await.map_err(in_its_words)
    }
}

/// What the model says in EC2's words SSM says in its own.
fn in_its_words(error: CloudError) -> CloudError {
    let said = ApiError { status: 400, code: error.code.clone().into(), message: error.message.clone() };
    let (code, message) = match in_ssms_words(said) {
        own if own.code != error.code => (own.code.into_owned(), own.message),
        _ => return error,
    };
    CloudError { kind: kind_of(&code, 400), code, message }
}

impl Commands for SimCloud {
    async fn online(&self, id: &InstanceId) -> Result<Option<AgentFacts>, CloudError> {
        self.ssm("DescribeInstanceInformation", id, |site, now| {
            let ping = site.last_ping(id, now);
            Ok(site.agent(id).map(|agent| AgentFacts {
                version: agent.version.clone(),
                platform: agent.platform.clone(),
                last_ping: ping.map(|(at, _)| at),
                connected: ping.is_some_and(|(_, connected)| connected),
            }))
        })
        .await
    }

    async fn send_script(&self, id: &InstanceId, script: &Script) -> Result<CommandId, CloudError> {
        sendable(script)?;
        let new = NewCommand {
            instance: id.clone(),
            windows: script.windows,
            text: script.text.clone(),
            comment: script.comment.clone(),
            delivery_s: DELIVERY_S,
            execution_s: script.timeout_s,
        };
        self.ssm("SendCommand", id, |site, now| site.send_command(&new, now)).await
    }

    async fn command(&self, id: &InstanceId, command: &CommandId) -> Result<CommandState, CloudError> {
        let told = self.ssm("GetCommandInvocation", id, |site, now| site.invocation(id, command, now)).await?;
        Ok(CommandState::read(told.details, told.status, told.code, &told.output, &told.error_output))
    }

    async fn sent(&self, id: &InstanceId, comment: &str) -> Result<Vec<CommandId>, CloudError> {
        self.ssm("ListCommands", id, |site, now| {
            let own = site.commands_sent(Some(id), now).into_iter().filter(|command| command.sent.comment == comment);
            Ok(own.map(|command| command.id.clone()).collect())
        })
        .await
    }
}
