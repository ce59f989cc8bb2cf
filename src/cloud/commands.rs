//! Run Command of SSM: scripts on an instance, with their exit codes and output, and without an open port.

use std::future::Future;

use super::CloudError;
use crate::model::{AgentFacts, CommandId, CommandState, FailureKind, InstanceId, Script};

/// What is asked of SSM, in one account and region. There is no way to take a command back: IAM cannot bind
/// `ssm:CancelCommand` to an instance, so that a role that holds it could end anybody's. What shall not go on
/// ends with its instance.
pub trait Commands: Send + Sync {
    /// What SSM knows of the agent of an instance; `None` if it is not registered, which on a young instance
    /// only means: not yet. May be called again at any time.
    ///
    /// # Errors
    /// Any kind.
    fn online(&self, id: &InstanceId) -> impl Future<Output = Result<Option<AgentFacts>, CloudError>> + Send;

    /// Sends a script to the agent of an instance. **Not repeatable**: SSM knows no token, each call runs the
    /// script once more. After an answer that was lost, [`Commands::sent`] tells whether it was sent.
    ///
    /// # Errors
    /// [`FailureKind::RetrySame`] while the agent is not registered; [`FailureKind::Owner`] if its system
    /// cannot run such a script; [`FailureKind::Bug`] for what [`Script::fault`] finds, before any call. Kinds
    /// for which [`FailureKind::leaves_outcome_open`] holds leave open whether it was sent.
    fn send_script(
        &self,
        id: &InstanceId,
        script: &Script,
    ) -> impl Future<Output = Result<CommandId, CloudError>> + Send;

    /// Where a command stands. May be called again at any time.
    ///
    /// # Errors
    /// [`FailureKind::NotFound`] if SSM does not know it on this instance, which in the first seconds proves
    /// nothing; any other kind.
    fn command(
        &self,
        id: &InstanceId,
        command: &CommandId,
    ) -> impl Future<Output = Result<CommandState, CloudError>> + Send;

    /// The commands that were sent to an instance with this comment, in no order. One that was sent a moment
    /// ago may not be shown yet. May be called again at any time.
    ///
    /// # Errors
    /// Any kind; a listing is whole or an error, never silently short.
    fn sent(&self, id: &InstanceId, comment: &str) -> impl Future<Output = Result<Vec<CommandId>, CloudError>> + Send;
}

/// SSM's name of the document that runs a script: its own two, which every account has.
#[must_use]
pub fn document(windows: bool) -> &'static str {
    if windows { "AWS-RunPowerShellScript" } else { "AWS-RunShellScript" }
}

/// The refusal of a script that cannot be sent.
///
/// # Errors
/// [`FailureKind::Bug`] with what [`Script::fault`] finds.
pub fn sendable(script: &Script) -> Result<(), CloudError> {
    match script.fault() {
        None => Ok(()),
        Some(message) => Err(CloudError { kind: FailureKind::Bug, code: "NotSent".to_owned(), message }),
    }
}
