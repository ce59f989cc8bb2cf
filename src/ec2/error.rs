//! The SDK's errors as ours: shape first, then the code by the table of [`crate::cloud`].

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::cloud::{CloudError, kind_of};
use crate::model::FailureKind::{self, Bug, Credentials};

/// Any SDK error, sorted; its message is fit for one line of a log.
pub(super) fn sorted<E>(error: &SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let mut sorted = by_shape(error);
    sorted.message = sorted.message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect();
    sorted
}

fn by_shape<E>(error: &SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    if let Some(service) = error.as_service_error() {
        let Some(code) = service.meta().code() else { return not_ec2(status) };
        let message = service.meta().message().unwrap_or("EC2 gave no message");
        return CloudError { kind: kind_of(code, status), code: code.to_owned(), message: message.to_owned() };
    }
    let chain = DisplayErrorContext(error).to_string();
    let message = chain.split(" (").next().unwrap_or(&chain).to_owned();
    match error {
        _ if is_about_credentials(error) => {
            CloudError { kind: Credentials, code: "NoCredentials".to_owned(), message: root_of(error) }
        }
        SdkError::TimeoutError(_) => CloudError { kind: FailureKind::Unreachable, code: "Timeout".to_owned(), message },
        SdkError::DispatchFailure(_) => {
            CloudError { kind: FailureKind::Unreachable, code: "Unreachable".to_owned(), message: root_of(error) }
        }
        SdkError::ResponseError(_) => not_ec2(status),
        _ => CloudError { kind: Bug, code: "NotSent".to_owned(), message: root_of(error) },
    }
}

/// An answer without an EC2 error code: a proxy or a gateway, or EC2 in trouble. The call may have happened.
fn not_ec2(status: u16) -> CloudError {
    let message = format!("the answer (HTTP {status}) is not EC2's; is something between latent and EC2?");
    CloudError { kind: FailureKind::Unreachable, code: "NotAnEc2Answer".to_owned(), message }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |link: &&'a (dyn Error + 'static)| (*link).source())
}

fn is_about_credentials<E: Error + 'static>(error: &SdkError<E, HttpResponse>) -> bool {
    chain(error).any(<dyn Error>::is::<CredentialsError>)
}

/// The two innermost messages of a chain: what failed, and why.
fn root_of<E: Error + 'static>(error: &SdkError<E, HttpResponse>) -> String {
    let messages: Vec<String> = chain(error).map(ToString::to_string).collect();
    let last = messages.len().saturating_sub(2);
    messages[last..].join(": ")
}
