//! What a check-up of an account can see, and what it tries without doing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    AmiId, AmiState, FailureKind, InstanceId, InstanceState, LaunchSpec, Market, ResourceId, ResourceKind, TagSet,
};

/// Something that was looked at, or why it could not be seen.
pub type Seen<T> = Result<T, Unseen>;

/// Why something could not be seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Unseen {
    /// What kind of refusal it was.
    pub kind: FailureKind,
    /// The cloud's code, or ours where there was no answer.
    pub code: String,
    /// What it said.
    pub message: String,
}

/// Our codes of what no cloud says.
const IGNORED: &str = "DryRunIgnored";
const SKIPPED: &str = "NotAsked";

impl Unseen {
    /// Nothing came within the limit.
    pub fn late(limit: TimeDelta) -> Self {
        let message = format!("no answer within {} s", limit.num_seconds());
        Self { kind: FailureKind::Unreachable, code: "Timeout".to_owned(), message }
    }

    /// Not asked for, because of something before it.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self { kind: FailureKind::Unreachable, code: SKIPPED.to_owned(), message: why.into() }
    }

    /// Whether a permission is missing.
    pub fn is_denied(&self) -> bool {
        matches!(self.code.as_str(), "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException")
    }

    /// A dry run was answered as if it were none; what was tried may have been done.
    pub fn ignored() -> Self {
        let message = "it was answered as if it were no dry run".to_owned();
        Self { kind: FailureKind::Bug, code: IGNORED.to_owned(), message }
    }

    /// Whether it is that.
    pub fn is_ignored(&self) -> bool {
        self.code == IGNORED
    }

    /// Whether it was not asked for, because of something before it.
    pub fn is_skipped(&self) -> bool {
        self.code == SKIPPED
    }

    /// Whether the thing that was named does not exist.
    pub fn is_absent(&self) -> bool {
        self.code.ends_with(".NotFound") || self.code == "InvalidInstanceType"
    }
}

/// Who the credentials make us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account's number.
    pub account: String,
    /// The user, or the role and session.
    pub arn: String,
}

/// The first answer of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Who we are there.
    pub identity: Seen<Identity>,
    /// The time of the other side when it answered, in whole seconds, if it told.
    pub date: Option<DateTime<Utc>>,
}

/// An AMI, as far as launching from it is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct AmiFacts {
    /// Its name; whoever made it chose the text.
    pub name: String,
    /// The account that owns it.
    pub account: String,
    /// Its state.
    pub state: AmiState,
    /// When it was made, if that can be read.
    pub created: Option<DateTime<Utc>>,
    /// From when EC2 hides it from others.
    pub deprecated: Option<DateTime<Utc>>,
    /// Whether everybody may launch from it.
    pub public: bool,
    /// `x86_64`, `arm64` and so on.
    pub architecture: String,
    /// Whether EC2 runs it as Windows.
    pub windows: bool,
    /// The device of its root disk.
    pub root_device: Option<String>,
    /// The size of its root disk in GiB; none if that is an instance store.
    pub root_gib: Option<u32>,
    /// Whether its root disk is encrypted, if that is known.
    pub root_encrypted: Option<bool>,
    /// `legacy-bios`, `uefi`, `uefi-preferred`, or none if it does not say.
    pub boot_mode: Option<String>,
    /// Whether it has the driver of the enhanced network.
    pub ena: bool,
    /// Whether it asks for IMDSv2 by itself.
    pub imds_v2: bool,
}

/// An instance type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeFacts {
    /// Its virtual CPUs, which quotas count.
    pub vcpus: u32,
    /// Its memory in MiB.
    pub memory_mib: u64,
    /// What it can run.
    pub architectures: BTreeSet<String>,
    /// Whether it is of the Nitro System; a metal one counts.
    pub nitro: bool,
    /// Whether it needs an image with the driver of the enhanced network.
    pub ena_required: bool,
    /// How it can boot; empty if it does not say.
    pub boot_modes: BTreeSet<String>,
    /// Whether it can be hibernated.
    pub hibernates: bool,
}

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupFacts {
    /// Its name.
    pub name: String,
    /// The VPC it belongs to.
    pub vpc: String,
    /// What it lets in.
    pub inbound: Vec<GroupRule>,
    /// What it lets out.
    pub outbound: Vec<GroupRule>,
}

/// What a security group lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRule {
    /// `tcp`, `udp`, `icmp`, a number, or `-1` for all.
    pub protocol: String,
    /// The first and last port; none means all.
    pub ports: Option<(u16, u16)>,
    /// A range of addresses, or the id of a group or prefix list.
    pub peer: String,
    /// What somebody wrote about it.
    pub description: String,
}

impl GroupRule {
    /// Whether the peer is everybody on the Internet.
    pub fn is_for_everybody(&self) -> bool {
        matches!(self.peer.as_str(), "0.0.0.0/0" | "::/0")
    }

    /// Whether it is about this port of this protocol.
    pub fn covers(&self, protocol: &str, port: u16) -> bool {
        let number = match protocol {
            "tcp" => "6",
            "udp" => "17",
            _ => protocol,
        };
        match self.protocol.as_str() {
            "-1" => true,
            own if own == protocol || own == number => {
                self.ports.is_none_or(|(first, last)| (first..=last).contains(&port))
            }
            _ => false,
        }
    }

    /// Whether the peer is a range that holds this address.
    pub fn holds(&self, address: IpAddr) -> bool {
        let Some((base, bits)) = self.peer.split_once('/') else { return false };
        let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
        match (base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) if bits <= 32 => {
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(base), IpAddr::V6(address)) if bits <= 128 => {
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl fmt::Display for GroupRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.protocol == "-1" { "all" } else { &self.protocol };
        match self.ports {
            Some((first, last)) if first == last => write!(f, "{protocol}/{first} {}", self.peer),
            Some((first, last)) => write!(f, "{protocol}/{first}-{last} {}", self.peer),
            None => write!(f, "{protocol} {}", self.peer),
        }
    }
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetFacts {
    /// Its zone.
    pub zone: String,
    /// The VPC it lies in.
    pub vpc: String,
    /// How many addresses are left.
    pub free: u32,
    /// Whether it is what a launch that names only its zone gets.
    pub default_for_zone: bool,
}

/// An instance of the account, ours or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherInstance {
    /// Its id.
    pub id: InstanceId,
    /// Its state.
    pub state: InstanceState,
    /// Its type.
    pub instance_type: String,
    /// How it was bought.
    pub market: Market,
    /// Its tags.
    pub tags: TagSet,
}

/// What the account says of the metadata service of instances whose launch says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImdsDefaults {
    /// Whether the service is turned off.
    pub off: bool,
    /// `required` or `optional`, if it is set.
    pub tokens: Option<String>,
    /// How many hops an answer may travel, if it is set.
    pub hop_limit: Option<u32>,
}

/// One thing that is tried as a dry run: EC2 says whether it would be allowed, and does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// A launch, just as latent launches.
    Launch(Box<LaunchSpec>),
    /// The same without a single tag.
    LaunchUntagged(Box<LaunchSpec>),
    /// The same with IMDSv1 allowed.
    LaunchOldMetadata(Box<LaunchSpec>),
    /// The same of a type that no manifest names.
    LaunchForeignType(Box<LaunchSpec>),
    /// The end of an instance of the fleet.
    Terminate(InstanceId),
    /// The stop of one.
    Stop(InstanceId),
    /// The start of one.
    Start(InstanceId),
    /// The lease tag of one, set to what it is: harmless even where it is done.
    Renew(InstanceId, String),
    /// A look at the console of an instance of the fleet.
    Console(InstanceId),
    /// The removal of a leftover of the fleet: a volume, an interface, an address or a spot request.
    Remove(ResourceId),
    /// The end of an instance that is not the fleet's.
    TerminateForeign(InstanceId),
    /// The fleet's tag on something that is not the fleet's.
    Claim(String),
    /// The fleet's tag taken off an instance.
    Disown(InstanceId),
    /// A look at the user data of an instance.
    ReadUserData(InstanceId),
    /// Another shutdown behaviour of an instance.
    Modify(InstanceId),
    /// A new security group.
    CreateGroup,
    /// A security group opened to everybody.
    OpenGroup(String),
    /// A new key pair.
    CreateKeyPair,
    /// The owner's AMI taken away.
    Deregister(AmiId),
}

impl Trial {
    /// EC2's name of the action.
    pub fn action(&self) -> &'static str {
        match self {
            Trial::Launch(_) | Trial::LaunchUntagged(_) | Trial::LaunchOldMetadata(_) | Trial::LaunchForeignType(_) => {
                "RunInstances"
            }
            Trial::Terminate(_) | Trial::TerminateForeign(_) => "TerminateInstances",
            Trial::Stop(_) => "StopInstances",
            Trial::Start(_) => "StartInstances",
            Trial::Renew(..) | Trial::Claim(_) => "CreateTags",
            Trial::Console(_) => "GetConsoleOutput",
            Trial::Remove(id) => match id.kind() {
                ResourceKind::Volume => "DeleteVolume",
                ResourceKind::Snapshot => "DeleteSnapshot",
                ResourceKind::Interface => "DeleteNetworkInterface",
                ResourceKind::Address => "ReleaseAddress",
                ResourceKind::SpotRequest => "CancelSpotInstanceRequests",
                ResourceKind::Instance => "TerminateInstances",
                ResourceKind::Ami => "DeregisterImage",
            },
            Trial::Disown(_) => "DeleteTags",
            Trial::ReadUserData(_) => "DescribeInstanceAttribute",
            Trial::Modify(_) => "ModifyInstanceAttribute",
            Trial::CreateGroup => "CreateSecurityGroup",
            Trial::OpenGroup(_) => "AuthorizeSecurityGroupIngress",
            Trial::CreateKeyPair => "CreateKeyPair",
            Trial::Deregister(_) => "DeregisterImage",
        }
    }
}

/// What came of a dry run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// It would be done.
    Allowed,
    /// The permission is missing.
    Denied,
    /// Something else than the permission; whether that is there remains open.
    Otherwise(Unseen),
}

/// Facts by name; what is not in the map does not exist.
pub type Found<K, V> = Seen<BTreeMap<K, V>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(protocol: &str, ports: Option<(u16, u16)>, peer: &str) -> GroupRule {
        GroupRule { protocol: protocol.to_owned(), ports, peer: peer.to_owned(), description: String::new() }
    }

    #[test]
    fn rules_cover_ports_of_their_protocol() {
        let tcp = rule("tcp", Some((80, 443)), "0.0.0.0/0");
        assert!(tcp.covers("tcp", 80) && tcp.covers("tcp", 443) && !tcp.covers("tcp", 79) && !tcp.covers("udp", 80));
        assert!(rule("6", Some((9020, 9020)), "::/0").covers("tcp", 9020));
        assert!(rule("17", None, "::/0").covers("udp", 53));
        assert!(rule("-1", None, "10.0.0.0/8").covers("udp", 1));
        assert!(!rule("icmp", None, "10.0.0.0/8").covers("tcp", 1));
    }

    #[test]
    fn ranges_hold_their_addresses() {
        let holds = |peer: &str, address: &str| rule("tcp", None, peer).holds(address.parse().expect("an address"));
        assert!(holds("0.0.0.0/0", "192.0.2.7") && holds("192.0.2.0/24", "192.0.2.7"));
        assert!(!holds("192.0.2.0/24", "192.0.3.7") && holds("192.0.2.7/32", "192.0.2.7"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1") && holds("::/0", "::1") && !holds("::/0", "10.0.0.1"));
        for odd in ["sg-1", "10.0.0.0", "10.0.0.0/33", "x/8", "::/129"] {
            assert!(!holds(odd, "10.0.0.1") && !holds(odd, "::1"), "{odd}");
        }
    }

    #[test]
    fn rules_are_told_briefly() {
        assert_eq!(rule("-1", None, "sg-1").to_string(), "all sg-1");
        assert_eq!(rule("tcp", Some((22, 22)), "0.0.0.0/0").to_string(), "tcp/22 0.0.0.0/0");
        assert_eq!(rule("udp", Some((1, 9)), "::/0").to_string(), "udp/1-9 ::/0");
    }
}
