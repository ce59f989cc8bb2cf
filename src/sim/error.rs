//! What the simulated EC2 answers when it refuses.

use std::borrow::Cow;
use std::fmt;

/// A refusal in EC2's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// EC2's code.
    pub code: Cow<'static, str>,
    /// EC2's sentence.
    pub message: String,
}

impl ApiError {
    /// A refusal that is the caller's fault (HTTP 400).
    pub fn client(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code: Cow::Borrowed(code), message: message.into() }
    }

    /// A refusal that is EC2's fault (HTTP 500).
    pub fn server(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 500, code: Cow::Borrowed(code), message: message.into() }
    }

    /// A refusal for want of permission (HTTP 403).
    pub fn denied(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 403, code: Cow::Borrowed(code), message: message.into() }
    }

    /// The refusal of a call that came too fast.
    pub fn throttled(account: &str, action: &str) -> Self {
        let message = format!(
            "Request limit exceeded. Account {account} has been throttled on ec2:{action} because it exceeded its request rate limit."
        );
        Self { status: 503, code: Cow::Borrowed("RequestLimitExceeded"), message }
    }

    /// The refusal of a parameter's value.
    pub fn invalid_value(message: impl Into<String>) -> Self {
        Self::client("InvalidParameterValue", message)
    }

    /// The refusal of ids that nobody knows.
    pub fn no_instance(ids: &[&str]) -> Self {
        let message = match ids {
            [one] => format!("The instance ID '{one}' does not exist"),
            many => format!("The instance IDs '{}' do not exist", many.join(", ")),
        };
        Self::client("InvalidInstanceID.NotFound", message)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ApiError {}
