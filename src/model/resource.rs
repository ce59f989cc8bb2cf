//! Everything an account may hold that costs, beside its instances and AMIs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Ami, AmiId, Failure, IdError, Instance, InstanceId, InstanceState, SnapshotId, TagSet};

/// What kind of thing an account holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    /// An instance.
    Instance,
    /// An AMI of the account itself.
    Ami,
    /// An EBS volume.
    Volume,
    /// A snapshot of a volume.
    Snapshot,
    /// A network interface.
    Interface,
    /// An elastic IP address.
    Address,
    /// A spot instance request.
    SpotRequest,
}

impl ResourceKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Instance, Self::Ami, Self::Volume, Self::Snapshot, Self::Interface, Self::Address, Self::SpotRequest];

    /// What the ids of this kind begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Instance => "i-",
            Self::Ami => "ami-",
            Self::Volume => "vol-",
            Self::Snapshot => "snap-",
            Self::Interface => "eni-",
            Self::Address => "eipalloc-",
            Self::SpotRequest => "sir-",
        }
    }

    /// The action that lists it, by EC2's name.
    pub fn listing(self) -> &'static str {
        match self {
            Self::Instance => "DescribeInstances",
            Self::Ami => "DescribeImages",
            Self::Volume => "DescribeVolumes",
            Self::Snapshot => "DescribeSnapshots",
            Self::Interface => "DescribeNetworkInterfaces",
            Self::Address => "DescribeAddresses",
            Self::SpotRequest => "DescribeSpotInstanceRequests",
        }
    }

    /// EC2's word for several of it.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Instance => "instances",
            Self::Ami => "AMIs",
            Self::Volume => "volumes",
            Self::Snapshot => "snapshots",
            Self::Interface => "network interfaces",
            Self::Address => "elastic IP addresses",
            Self::SpotRequest => "spot requests",
        }
    }
}

/// The id of anything an account holds; its prefix says what it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ResourceId {
    kind: ResourceKind,
    text: String,
}

impl ResourceId {
    /// What it is.
    pub fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same as an instance's id, if it is one.
    pub fn instance(&self) -> Option<InstanceId> {
        self.text.parse().ok().filter(|_| self.kind == ResourceKind::Instance)
    }

    /// The same as an AMI's id, if it is one.
    pub fn ami(&self) -> Option<AmiId> {
        self.text.parse().ok().filter(|_| self.kind == ResourceKind::Ami)
    }
}

impl FromStr for ResourceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let form = |rest: &str| {
            !rest.is_empty() && rest.len() <= 32 && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        let fits = |kind: &ResourceKind| text.strip_prefix(kind.prefix()).is_some_and(form);
        let kind = ResourceKind::ALL.into_iter().find(fits).ok_or_else(|| IdError {
            value: text.chars().take(80).collect(),
            what: "the id of an AWS resource",
            rule: "i-, ami-, vol-, snap-, eni-, eipalloc- or sir-, and letters or digits",
        })?;
        Ok(Self { kind, text: text.to_owned() })
    }
}

impl TryFrom<String> for ResourceId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> String {
        id.text
    }
}

impl From<&InstanceId> for ResourceId {
    fn from(id: &InstanceId) -> Self {
        Self { kind: ResourceKind::Instance, text: id.as_str().to_owned() }
    }
}

impl From<&AmiId> for ResourceId {
    fn from(id: &AmiId) -> Self {
        Self { kind: ResourceKind::Ami, text: id.as_str().to_owned() }
    }
}

impl From<&SnapshotId> for ResourceId {
    fn from(id: &SnapshotId) -> Self {
        Self { kind: ResourceKind::Snapshot, text: id.as_str().to_owned() }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// An EBS volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Whether nothing is attached to it (state `available`).
    pub available: bool,
    /// The instance it is attached to.
    pub instance: Option<InstanceId>,
    /// Its size in GiB.
    pub size_gib: u32,
    /// Such as `gp3`.
    pub volume_type: String,
    /// When it was made.
    pub created: Option<DateTime<Utc>>,
}

/// A snapshot of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The size of the volume in GiB: at most so much is billed.
    pub size_gib: u32,
    /// When it was begun.
    pub started: Option<DateTime<Utc>>,
}

/// An elastic IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: String,
    /// Whether anything has it.
    pub associated: bool,
    /// The instance that has it.
    pub instance: Option<InstanceId>,
}

/// A spot instance request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpotRequest {
    /// Whether it may still launch something (`open`), or keeps what it launched (`active`).
    pub live: bool,
    /// EC2's word for its state.
    pub state: String,
    /// EC2's code of its status, such as `fulfilled`.
    pub status: String,
    /// Its instance.
    pub instance: Option<InstanceId>,
    /// When it was made.
    pub created: Option<DateTime<Utc>>,
}

impl SpotRequest {
    /// Whether EC2 takes its instance back, or has done so: the status says that before the instance's
    /// state does. What a user asked for is no interruption.
    pub fn is_interrupted(&self) -> bool {
        let ends = ["marked-for-", "instance-terminated-", "instance-stopped-", "instance-hibernated-"];
        ends.iter().any(|begin| self.status.starts_with(begin)) && !self.status.ends_with("-by-user")
    }
}

/// What a resource is, beside its tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// An instance.
    Instance(Box<Instance>),
    /// An AMI.
    Ami(Box<Ami>),
    /// A volume.
    Volume(TagSet, Volume),
    /// A snapshot.
    Snapshot(TagSet, Snapshot),
    /// A network interface; whether nothing is attached to it.
    Interface(TagSet, bool),
    /// An elastic IP address.
    Address(TagSet, Address),
    /// A spot request.
    SpotRequest(TagSet, SpotRequest),
}

impl Resource {
    /// Its tags.
    pub fn tags(&self) -> &TagSet {
        match self {
            Resource::Instance(instance) => &instance.tags,
            Resource::Ami(ami) => &ami.tags,
            Resource::Volume(tags, _)
            | Resource::Snapshot(tags, _)
            | Resource::Interface(tags, _)
            | Resource::Address(tags, _)
            | Resource::SpotRequest(tags, _) => tags,
        }
    }

    /// Whether it is over, though the cloud still shows it.
    pub fn is_over(&self) -> bool {
        match self {
            Resource::Instance(instance) => instance.state.is_ending(),
            Resource::SpotRequest(_, request) => !request.live,
            Resource::Ami(ami) => ami.state == super::AmiState::Deregistered,
            Resource::Volume(..) | Resource::Snapshot(..) | Resource::Interface(..) | Resource::Address(..) => false,
        }
    }
}

/// A kind of resource that could not be listed, and why. What could not be seen is unknown, never absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Which kind.
    pub kind: ResourceKind,
    /// Why.
    pub failure: Failure,
}

/// Everything that one look at an account in a region showed: every instance, and of the rest what
/// carries a fleet's tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// When the first page was asked for.
    pub observed_at: DateTime<Utc>,
    /// By id.
    pub resources: BTreeMap<ResourceId, Resource>,
    /// What could not be read. With any of these the look proves no absence, and nothing is done.
    pub gaps: Vec<Gap>,
}

impl Survey {
    /// An instance of it.
    pub fn instance(&self, id: &InstanceId) -> Option<&Instance> {
        match self.resources.get(&ResourceId::from(id))? {
            Resource::Instance(instance) => Some(instance),
            _ => None,
        }
    }

    /// All its instances.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.resources.values().filter_map(|resource| match resource {
            Resource::Instance(instance) => Some(instance.as_ref()),
            _ => None,
        })
    }

    /// All its AMIs.
    pub fn amis(&self) -> impl Iterator<Item = &Ami> {
        self.resources.values().filter_map(|resource| match resource {
            Resource::Ami(ami) => Some(ami.as_ref()),
            _ => None,
        })
    }

    /// Whether an instance is there and has not ended; a stopped one counts.
    pub fn has(&self, id: &InstanceId) -> bool {
        self.instance(id).is_some_and(|instance| !matches!(instance.state, InstanceState::Terminated))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_what_it_is_and_nothing_else_passes() {
        let kinds = [
            ("i-0abc", ResourceKind::Instance),
            ("ami-1", ResourceKind::Ami),
            ("vol-1", ResourceKind::Volume),
            ("snap-1", ResourceKind::Snapshot),
            ("eni-1", ResourceKind::Interface),
            ("eipalloc-1", ResourceKind::Address),
            ("sir-abc-1", ResourceKind::SpotRequest),
        ];
        for (text, kind) in kinds {
            let id: ResourceId = text.parse().expect("an id");
            assert_eq!((id.kind(), id.as_str()), (kind, text));
        }
        for text in ["", "i-", "i-1;x", "vpc-1", "i-\u{202e}", "ami"] {
            assert!(text.parse::<ResourceId>().is_err(), "{text}");
        }
        assert!("vol-1".parse::<ResourceId>().expect("an id").instance().is_none());
    }

    #[test]
    fn a_spot_request_tells_that_ec2_takes_its_instance_back() {
        let taken = |status: &str| {
            let (status, state) = (status.to_owned(), "active".to_owned());
            SpotRequest { live: true, state, status, instance: None, created: None }.is_interrupted()
        };
        for status in [
            "marked-for-termination",
            "marked-for-stop",
            "instance-terminated-no-capacity",
            "instance-terminated-by-price",
            "instance-terminated-capacity-oversubscribed",
            "instance-stopped-no-capacity",
        ] {
            assert!(taken(status), "{status}");
        }
        for status in [
            "",
            "fulfilled",
            "pending-fulfillment",
            "capacity-not-available",
            "instance-terminated-by-user",
            "instance-stopped-by-user",
            "request-canceled-and-instance-running",
        ] {
            assert!(!taken(status), "{status}");
        }
    }
}
