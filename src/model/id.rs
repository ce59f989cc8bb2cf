//! Identifiers as types: what is one cannot be passed as another, and none can be empty.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A text that does not have the form of the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {what}: {rule}")]
pub struct IdError {
    /// The text.
    pub value: String,
    /// Which identifier it should have been, with its article.
    pub what: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

fn plain(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && text.chars().all(|c| c.is_ascii_graphic())
}

fn name_like(text: &str) -> bool {
    plain(text, 64) && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn resource_like(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|rest| !rest.is_empty() && rest.len() <= 32 && rest.chars().all(|c| c.is_ascii_alphanumeric()))
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of the identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The same text for whoever keeps it too.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(IdError { value: text.chars().take(80).collect(), what: $what, rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

text_id!(
    /// The name of a worker, as the master knows it.
    WorkerName, "a worker name", "1 to 50 letters, digits, '-', '_' or '.'", |t| name_like(t) && t.len() <= 50
);
text_id!(
    /// The name of an owner in the configuration.
    OwnerName, "an owner name", "1 to 64 letters, digits, '-', '_' or '.'", name_like
);
text_id!(
    /// The name of an image manifest: the stem of its file in `amis/`.
    ImageName, "an image name", "1 to 64 letters, digits, '-', '_' or '.'", name_like
);
text_id!(
    /// The name of a policy: the stem of its file in `policies/`.
    PolicyName, "a policy name", "1 to 64 letters, digits, '-', '_' or '.'", name_like
);
text_id!(
    /// An AWS region such as `us-west-2`.
    Region, "a region", "lower-case letters, digits and '-', such as us-west-2",
    |t| plain(t, 32) && t.contains('-') && t.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
);
text_id!(
    /// An availability zone such as `us-west-2a`.
    Zone, "an availability zone", "a region and a letter, such as us-west-2a",
    |t| plain(t, 40) && t.contains('-') && t.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
);
text_id!(
    /// An EC2 instance id, `i-…`.
    InstanceId, "an instance id", "i- and letters or digits", |t| resource_like(t, "i-")
);
text_id!(
    /// An Amazon machine image id, `ami-…`.
    AmiId, "an AMI id", "ami- and letters or digits", |t| resource_like(t, "ami-")
);
text_id!(
    /// The id of an EBS snapshot, `snap-…`.
    SnapshotId, "a snapshot id", "snap- and letters or digits", |t| resource_like(t, "snap-")
);
text_id!(
    /// The id of an EBS volume, `vol-…`.
    VolumeId, "a volume id", "vol- and letters or digits", |t| resource_like(t, "vol-")
);
text_id!(
    /// The id of a security group, `sg-…`.
    GroupId, "a security group id", "sg- and letters or digits", |t| resource_like(t, "sg-")
);
text_id!(
    /// An elastic IP address: itself, or the id of its allocation.
    ElasticIp, "an elastic IP address", "an IPv4 address such as 203.0.113.9, or its allocation id, eipalloc-…",
    |t| t.parse::<std::net::Ipv4Addr>().is_ok() || resource_like(t, "eipalloc-")
);
text_id!(
    /// One try to launch one instance for one worker; unique per controller, also after a lost ledger.
    AttemptId, "an attempt id", "1 to 64 letters, digits or '-'", name_like
);
text_id!(
    /// One request of a master for a worker, chosen by the master.
    RequestId, "a request id", "1 to 64 letters, digits, '-', '_' or '.'", name_like
);
text_id!(
    /// A build as the master names it, such as `builder/17`.
    BuildId, "a build id", "1 to 128 visible ASCII characters", |t| plain(t, 128)
);
text_id!(
    /// A master that uses this controller.
    MasterId, "a master id", "1 to 64 letters, digits, '-', '_' or '.'", name_like
);
text_id!(
    /// The id of one command of SSM Run Command, as SSM gives it.
    CommandId, "a command id", "36 lower-case hexadecimal digits and '-'",
    |t| t.len() == 36 && t.chars().all(|c| c.is_ascii_digit() || matches!(c, 'a'..='f' | '-'))
);
text_id!(
    /// The id of one rebake: also the name of its journal.
    RebakeId, "a rebake id", "1 to 64 letters, digits, '-', '_' or '.'", name_like
);
impl RebakeId {
    /// One that was ordered at a time; ids of one second differ by `random`. They sort by time.
    pub fn at(now: chrono::DateTime<chrono::Utc>, random: u16) -> Self {
        Self(format!("rb-{}-{random:04x}", now.format("%Y%m%dT%H%M%S")).into())
    }
}

text_id!(
    /// The idempotency token of one launch.
    ClientToken, "a client token", "1 to 64 visible ASCII characters", |t| plain(t, 64)
);

impl OwnerName {
    /// The name of an owner that no configuration names.
    pub fn unnamed() -> Self {
        Self("-".into())
    }
}

impl Region {
    /// The region that a zone lies in.
    pub fn contains(&self, zone: &Zone) -> bool {
        zone.as_str().starts_with(self.as_str())
    }
}

impl ClientToken {
    /// The token for a launch: it depends on every parameter, so that a changed request can never
    /// meet an old token (`IdempotentParameterMismatch`), and an unchanged one always does.
    pub fn derive(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(format!("latent1-{}", &digest_hex(&hash.finalize())[..48]).into())
    }
}

/// Lower-case hexadecimal text of `bytes`.
pub(crate) fn digest_hex(bytes: &[u8]) -> String {
    // Many of them are made of every entry that is read.
    let digit = |of: u8| char::from(if of < 10 { b'0' + of } else { b'a' + of - 10 });
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// One owner's account in one region: the unit of listing, pacing and failure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// Whose account.
    pub owner: OwnerName,
    /// Which region of it.
    pub region: Region,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_fit_ec2_and_depend_on_every_part_and_its_boundary() {
        let token = ClientToken::derive(&["a", "bc"]);
        assert!(token.as_str().len() <= 64);
        assert_eq!(token, ClientToken::derive(&["a", "bc"]));
        assert_ne!(token, ClientToken::derive(&["ab", "c"]));
    }

    #[test]
    fn identifiers_refuse_what_could_break_a_line_a_path_or_a_filter() {
        assert!("w\n".parse::<WorkerName>().is_err());
        assert!("../x".parse::<ImageName>().is_err());
        assert!("".parse::<WorkerName>().is_err());
        assert!("ami-".parse::<AmiId>().is_err());
        assert!("8b5f1d9e-3a4c-4d2e-9f60-0c1d2e3f4a5b".parse::<CommandId>().is_ok());
        assert!("8b5f1d9e-3a4c-4d2e-9f60-0c1d2e3f4a5/".parse::<CommandId>().is_err());
        assert!("i-0abc".parse::<InstanceId>().is_ok());
        assert!(serde_json::from_str::<InstanceId>("\"x\"").is_err());
    }
}
