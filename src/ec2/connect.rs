//! Clients for one owner's account in one region.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result as Provided, future};
use aws_sdk_ec2::config::SharedCredentialsProvider;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, ConnectorBuilder, tls};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::Mutex;

use super::guard::ReadOnly;
use crate::model::Cell;
use crate::policy::{Credentials, Owner, read_key_file};

/// Clients that differ in who repeats a call: the SDK repeats reads, the control loop repeats the rest. A cell's loop
/// needs two; the others are made when they are asked for.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    pub(super) reads: aws_sdk_ec2::Client,
    pub(super) writes: aws_sdk_ec2::Client,
    config: SdkConfig,
    price_list: &'static str,
    trials: OnceLock<aws_sdk_ec2::Client>,
    ssm_reads: OnceLock<aws_sdk_ssm::Client>,
    ssm_writes: OnceLock<aws_sdk_ssm::Client>,
    trail: OnceLock<aws_sdk_cloudtrail::Client>,
    prices: OnceLock<aws_sdk_pricing::Client>,
}

impl Clients {
    /// Asked so seldom that each question has one of its own.
    pub(super) fn sts(&self) -> aws_sdk_sts::Client {
        aws_sdk_sts::Client::new(&self.config)
    }

    /// For dry runs: it lets nothing pass that would change anything.
    pub(super) fn trials(&self) -> &aws_sdk_ec2::Client {
        self.trials.get_or_init(|| {
            let config = aws_sdk_ec2::config::Builder::from(&self.config).interceptor(ReadOnly).build();
            aws_sdk_ec2::Client::from_conf(config)
        })
    }

    pub(super) fn ssm_reads(&self) -> &aws_sdk_ssm::Client {
        self.ssm_reads.get_or_init(|| aws_sdk_ssm::Client::new(&self.config))
    }

    /// SSM knows no token: what the SDK repeated would run twice.
    pub(super) fn ssm_writes(&self) -> &aws_sdk_ssm::Client {
        self.ssm_writes.get_or_init(|| {
            let config = aws_sdk_ssm::config::Builder::from(&self.config).retry_config(RetryConfig::disabled());
            aws_sdk_ssm::Client::from_conf(config.build())
        })
    }

    /// CloudTrail takes two calls per second: whoever asks keeps that pace, and repeats.
    pub(super) fn trail(&self) -> &aws_sdk_cloudtrail::Client {
        self.trail.get_or_init(|| {
            let config = aws_sdk_cloudtrail::config::Builder::from(&self.config).retry_config(RetryConfig::disabled());
            aws_sdk_cloudtrail::Client::from_conf(config.build())
        })
    }

    pub(super) fn prices(&self) -> &aws_sdk_pricing::Client {
        self.prices.get_or_init(|| {
            let config = aws_sdk_pricing::config::Builder::from(&self.config).region(Region::new(self.price_list));
            aws_sdk_pricing::Client::from_conf(config.build())
        })
    }
}

/// The way to AWS of the whole process: one set of trusted certificates and one pool of connections for all cells,
/// where the SDK would make one for each client. It is made as the SDK makes its own, proxies of the environment
/// included.
fn http_client() -> SharedHttpClient {
    static SHARED: OnceLock<SharedHttpClient> = OnceLock::new();
    let make = || {
        Builder::new().build_with_connector_fn(|settings, components| {
            let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
            let mut connector = ConnectorBuilder::default().tls_provider(provider);
            connector.set_connector_settings(settings.cloned());
            if let Some(components) = components {
                connector.set_sleep_impl(components.sleep_impl());
            }
            connector.set_proxy_config(Some(ProxyConfig::from_env()));
            connector.build()
        })
    };
    SHARED.get_or_init(make).clone()
}

/// A key in a file of two lines. The SDK asks again after a quarter of an hour, so that a key that is
/// changed in its place is used without a restart.
#[derive(Debug)]
struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    fn read(&self) -> Provided {
        let (id, secret) = read_key_file(&self.path).map_err(CredentialsError::invalid_configuration)?;
        Ok(aws_credential_types::Credentials::new(id, secret.reveal(), None, None, "key_file"))
    }
}

impl ProvideCredentials for KeyFile {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(self.read())
    }
}

/// How long what was read of credentials is good for further cells.
const SHARED_FOR: Duration = Duration::from_secs(30);

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
        config,
        price_list: price_list(cell.region.as_str()),
        trials: OnceLock::new(),
        ssm_reads: OnceLock::new(),
        ssm_writes: OnceLock::new(),
        trail: OnceLock::new(),
        prices: OnceLock::new(),
    }
}

/// The region where the list of prices is asked: it has an endpoint in few of them, each with all prices.
fn price_list(region: &str) -> &'static str {
    let begin = region.split('-').next().unwrap_or_default();
    match begin {
        "ap" => "ap-south-1",
        "cn" => "cn-northwest-1",
        "eu" => "eu-central-1",
        _ => "us-east-1",
    }
}

pub(super) async fn configuration(cell: &Cell, owner: &Owner, session: &str) -> SdkConfig {
    let region = Region::new(cell.region.as_str().to_owned());
    let base = base(&region, owner).await.into_builder().region(region.clone()).build();
    let provider = match &owner.credentials {
        Credentials::Environment | Credentials::Profile(_) => return base,
        Credentials::KeyFile(file) => SharedCredentialsProvider::new(KeyFile { path: PathBuf::from(file) }),
        Credentials::AssumeRole { arn, external_id, .. } => {
            let role = AssumeRoleProvider::builder(arn.clone()).session_name(session).region(region).configure(&base);
            let role = external_id.iter().fold(role, |role, id| role.external_id(id.clone()));
            SharedCredentialsProvider::new(role.build().await)
        }
    };
    base.into_builder().credentials_provider(provider).build()
}

/// What the environment and the SDK's files say of credentials and of the way to AWS. Cells that begin together
/// share them: a hundred would take ten times the memory, and ask as many times for what one answer says.
async fn base(region: &Region, owner: &Owner) -> SdkConfig {
    static BASES: Mutex<BTreeMap<ReadFrom, (SystemTime, SdkConfig)>> = Mutex::const_new(BTreeMap::new());
    let from = ReadFrom::of(owner);
    let mut bases = BASES.lock().await;
    // Whoever begins later finds what has been changed in the files meanwhile.
    bases.retain(|_, (read_at, _)| read_at.elapsed().is_ok_and(|age| age < SHARED_FOR));
    if let Some((_, known)) = bases.get(&from) {
        return known.clone();
    }
    let read = read(&from, region).await;
    if let Some(clock) = read.time_source() {
        bases.insert(from, (clock.now(), read.clone()));
    }
    read
}

/// What a configuration is read from, apart from the environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ReadFrom {
    endpoint: Option<String>,
    profile: Option<String>,
}

impl ReadFrom {
    fn of(owner: &Owner) -> Self {
        let profile = match &owner.credentials {
            Credentials::Profile(name) => Some(name),
            Credentials::AssumeRole { profile, .. } => profile.as_ref(),
            Credentials::KeyFile(_) | Credentials::Environment => None,
        };
        Self { endpoint: owner.endpoint.clone(), profile: profile.cloned() }
    }
}

async fn read(from: &ReadFrom, region: &Region) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(4))
        .operation_attempt_timeout(Duration::from_secs(20))
        .operation_timeout(Duration::from_secs(45))
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http_client())
        .region(region.clone())
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(timeouts);
    if let Some(endpoint) = &from.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(profile) = &from.profile {
        // Named outright: the default chain would prefer keys that happen to stand in the environment.
        let provider = ProfileFileCredentialsProvider::builder().profile_name(profile).build();
        loader = loader.profile_name(profile).credentials_provider(provider);
    }
    loader.load().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_gives_its_two_lines_and_its_error_neither() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let of = |text: &str| {
            std::fs::write(&path, text).expect("a file");
            KeyFile { path: path.clone() }.read()
        };
        for text in ["AKIA1\nhush\n", "AKIA1\r\nhush", "\n  AKIA1 \nhush\n\n"] {
            let found = of(text).expect("a key");
            assert_eq!((found.access_key_id(), found.secret_access_key()), ("AKIA1", "hush"));
        }
        for text in ["", "AKIA1\n", "AKIA1\nhush\nmore\n", "AKIA1\nhu sh\n"] {
            let told = format!("{:?}", of(text).expect_err("no key"));
            assert!(
                told.contains("does not hold two lines") && !told.contains("hu") && !told.contains("AKIA"),
                "{told}"
            );
        }
        let none = KeyFile { path: folder.path().join("none") }.read();
        assert!(format!("{none:?}").contains("cannot be read: entity not found"), "{none:?}");
    }

    #[test]
    fn prices_are_asked_where_the_list_is() {
        for (of, at) in [("us-west-2", "us-east-1"), ("eu-west-1", "eu-central-1"), ("ap-northeast-1", "ap-south-1")] {
            assert_eq!(price_list(of), at);
        }
        assert_eq!((price_list("cn-north-1"), price_list("mars")), ("cn-northwest-1", "us-east-1"));
    }

    #[test]
    fn the_name_of_a_session_says_which_subcommand_and_which_controller() {
        assert_eq!(session("serve", "main"), "latent-serve-main");
        assert_eq!(session("sweep", ""), "latent-sweep");
        let long = session("doctor", &"c".repeat(64));
        assert!(long.len() == 64 && long.starts_with("latent-doctor-c"), "{long}");
    }
}
