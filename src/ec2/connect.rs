//! Clients for one owner's account in one region.

use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::config::SharedCredentialsProvider;
use aws_sdk_ec2::config::retry::RetryConfig;

use crate::model::Cell;
use crate::policy::{Credentials, Owner};

/// Clients that differ in who repeats a call: the SDK repeats reads, the control loop repeats the rest.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    pub(super) reads: aws_sdk_ec2::Client,
    pub(super) writes: aws_sdk_ec2::Client,
    pub(super) sts: aws_sdk_sts::Client,
}

/// The most characters of a session's name.
const SESSION_CHARACTERS_MAX: usize = 64;

/// The name under which a role is assumed. The trust policies of `latent iam` take `latent-*` alone.
pub(super) fn session(command: &str, controller: &str) -> String {
    // Without a configuration there is no controller to name.
    let name = format!("latent-{command}-{controller}");
    name.trim_end_matches('-').chars().take(SESSION_CHARACTERS_MAX).collect()
}

pub(super) async fn clients(cell: &Cell, owner: &Owner, session: &str) -> Clients {
    let config = configuration(cell, owner, session).await;
    let reads = aws_sdk_ec2::config::Builder::from(&config).build();
    // A launch that the SDK repeated would pass our pace, and repeat "no capacity" as if it were a passing fault.
    let writes = aws_sdk_ec2::config::Builder::from(&config).retry_config(RetryConfig::disabled()).build();
    Clients {
        reads: aws_sdk_ec2::Client::from_conf(reads),
        writes: aws_sdk_ec2::Client::from_conf(writes),
        sts: aws_sdk_sts::Client::new(&config),
    }
}

pub(super) async fn configuration(cell: &Cell, owner: &Owner, session: &str) -> SdkConfig {
    let region = Region::new(cell.region.as_str().to_owned());
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(4))
        .operation_attempt_timeout(Duration::from_secs(20))
        .operation_timeout(Duration::from_secs(45))
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(region.clone())
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(timeouts);
    if let Some(endpoint) = &owner.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let profile = match &owner.credentials {
        Credentials::Profile(name) => Some(name),
        Credentials::AssumeRole { profile, .. } => profile.as_ref(),
        Credentials::Environment => None,
    };
    if let Some(profile) = profile {
        // Named outright: the default chain would prefer keys that happen to stand in the environment.
        let provider = ProfileFileCredentialsProvider::builder().profile_name(profile).build();
        loader = loader.profile_name(profile).credentials_provider(provider);
    }
    let base = loader.load().await;
    let Credentials::AssumeRole { arn, external_id, .. } = &owner.credentials else { return base };
    let mut role = AssumeRoleProvider::builder(arn.clone()).session_name(session).region(region).configure(&base);
    if let Some(external_id) = external_id {
        role = role.external_id(external_id.clone());
    }
    let provider = SharedCredentialsProvider::new(role.build().await);
    base.into_builder().credentials_provider(provider).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_session_says_which_subcommand_and_which_controller() {
        assert_eq!(session("serve", "main"), "latent-serve-main");
        assert_eq!(session("sweep", ""), "latent-sweep");
        let long = session("doctor", &"c".repeat(64));
        assert!(long.len() == 64 && long.starts_with("latent-doctor-c"), "{long}");
    }
}
