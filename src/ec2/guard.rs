//! What a check-up may send: reads, and dry runs of anything else. Whatever is written above, a call that
//! would change the account is stopped here, before it leaves the machine.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use chrono::{DateTime, Utc};

/// Stops every call of EC2 that is neither a read nor a dry run.
#[derive(Debug)]
pub(super) struct ReadOnly;

impl Intercept for ReadOnly {
    fn name(&self) -> &'static str {
        "ReadOnly"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.request().body().bytes().unwrap_or_default();
        if harmless(body) {
            return Ok(());
        }
        Err("a check-up sends reads and dry runs alone, and this is neither".into())
    }
}

/// Whether the form-encoded call changes nothing.
fn harmless(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let value = |name: &str| text.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let reads = value("Action").is_some_and(|action| action.starts_with("Describe") || action.starts_with("Get"));
    reads || value("DryRun") == Some("true")
}

/// Keeps the time of the last answer.
#[derive(Debug, Clone, Default)]
pub(super) struct LastDate(Arc<Mutex<Option<DateTime<Utc>>>>);

impl LastDate {
    /// The time of the other side when it last answered, in whole seconds.
    pub(super) fn get(&self) -> Option<DateTime<Utc>> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for LastDate {
    fn name(&self) -> &'static str {
        "LastDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").and_then(|text| DateTime::parse_from_rfc2822(text).ok());
        if let Some(date) = date {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(date.to_utc());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reads_and_dry_runs_pass() {
        for good in ["Action=DescribeImages&Version=1", "Action=RunInstances&DryRun=true&X=1", "X=1&Action=GetX"] {
            assert!(harmless(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "Action=RunInstances&Version=1",
            "Action=TerminateInstances&DryRun=false",
            "Action=CreateTags&Tag.1.Value=DryRun%3Dtrue",
            "Action=CreateTags&Tag.1.DryRun=true",
        ] {
            assert!(!harmless(bad.as_bytes()), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_call_that_would_change_something_never_leaves_the_machine() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        nobody.set_nonblocking(true).expect("a socket");
        let config = aws_sdk_ec2::Config::builder()
            .behavior_version(aws_sdk_ec2::config::BehaviorVersion::latest())
            .region(aws_sdk_ec2::config::Region::new("us-west-2"))
            .endpoint_url(format!("http://{}", nobody.local_addr().expect("bound")))
            .credentials_provider(aws_sdk_ec2::config::Credentials::new("AKIA", "secret", None, None, "test"))
            .interceptor(ReadOnly)
            .build();
        let client = aws_sdk_ec2::Client::from_conf(config);
        let refused = client.terminate_instances().instance_ids("i-1").send().await.expect_err("is stopped");
        let why = aws_sdk_ec2::error::DisplayErrorContext(&refused).to_string();
        assert!(why.contains("reads and dry runs alone"), "{why}");
        assert_eq!(nobody.accept().expect_err("nobody came").kind(), std::io::ErrorKind::WouldBlock);
    }
}
