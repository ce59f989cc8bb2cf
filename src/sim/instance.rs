//! One simulated instance: what is true of it, and what each replica of EC2's store says of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{InstanceId, InstanceState, TagSet};

/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;

/// How many replicas answer reads.
pub(super) const REPLICAS: usize = 3;

/// How much of its end a console shows, in bytes.
const CONSOLE_MAX: usize = 64 * 1024;

/// What can be tagged in a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are EC2's resource types")]
pub enum TagTarget {
    Instance,
    Volume,
    NetworkInterface,
    SpotRequest,
}

/// A disk of a launch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// The device's name, such as `/dev/sda1`.
    pub device: String,
    /// The size in GiB.
    pub size_gib: u32,
    /// Such as `gp3`.
    pub volume_type: String,
    /// Whether it ends with the instance.
    pub delete_on_termination: bool,
    /// The snapshot it is made from.
    pub snapshot: Option<String>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Its operations per second, if the launch says.
    pub iops: Option<u32>,
    /// Its throughput in MiB per second, if the launch says.
    pub throughput: Option<u32>,
    /// The key that encrypts it, if the launch says.
    pub kms_key: Option<String>,
}

/// What a launch says of the spot market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpotOptions {
    /// The highest price per hour, as text.
    pub max_price: Option<String>,
    /// Whether EC2 launches another one when this ends.
    pub persistent: bool,
    /// `terminate`, `stop` or `hibernate`.
    pub interruption: String,
}

/// How guests reach the instance metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataOptions {
    /// Whether a session token is required (`IMDSv2`).
    pub token_required: bool,
    /// How far answers travel.
    pub hop_limit: u32,
    /// Whether the instance's tags can be read there.
    pub tags: bool,
    /// Whether there is such a service at all.
    pub enabled: bool,
}

/// What an account says of the metadata of launches that say nothing of it; none where it has no preference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataDefaults {
    /// Whether a session token is required.
    pub token_required: Option<bool>,
    /// How far answers travel.
    pub hop_limit: Option<u32>,
    /// Whether tags can be read there.
    pub tags: Option<bool>,
    /// Whether there is such a service at all.
    pub enabled: Option<bool>,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self { token_required: false, hop_limit: 1, tags: false, enabled: true }
    }
}

/// All that a RunInstances call says. Two calls with one token must be equal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of EC2's")]
pub struct RunInstances {
    /// The AMI.
    pub image: String,
    /// The type.
    pub instance_type: String,
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: u32,
    /// The zone, if one is named.
    pub zone: Option<String>,
    /// The subnet, if one is named.
    pub subnet: Option<String>,
    /// The spot market, if it is wanted.
    pub spot: Option<SpotOptions>,
    /// Tags at birth.
    pub tags: BTreeMap<TagTarget, Tags>,
    /// Whether the guest's own power-off terminates (EC2's default is to stop).
    pub terminate_on_shutdown: bool,
    /// Base64 text.
    pub user_data: Option<String>,
    /// The key pair.
    pub key: Option<String>,
    /// The security groups' ids.
    pub groups: Vec<String>,
    /// The instance profile's name or ARN.
    pub profile: Option<String>,
    /// Disks that differ from the AMI's.
    pub disks: Vec<Disk>,
    /// Devices that have no EBS volume: left away although the AMI maps them, or an instance store.
    pub without: Vec<String>,
    /// Security groups of the default VPC, by name.
    pub group_names: Vec<String>,
    /// How guests reach the metadata.
    pub metadata: MetadataOptions,
    /// Whether TerminateInstances is refused.
    pub termination_protected: bool,
    /// Whether StopInstances is refused.
    pub stop_protected: bool,
    /// Whether its network interface outlives it.
    pub keeps_interface: bool,
    /// Whether it has a public IPv4 address; the subnet's habit if not said.
    pub public_address: Option<bool>,
    /// Whether it may be hibernated.
    pub hibernate: bool,
}

/// Why an instance is in its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Such as `Client.UserInitiatedShutdown`.
    pub code: String,
    /// A sentence.
    pub message: String,
}

impl Reason {
    pub(super) fn new(code: &str, message: &str) -> Self {
        Self { code: code.to_owned(), message: message.to_owned() }
    }
}

/// What is true of an instance at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its state.
    pub state: InstanceState,
    /// When it was last launched or started.
    pub launch_time: DateTime<Utc>,
    /// Why it is in this state.
    pub reason: Option<Reason>,
    /// EC2's free text on the last change.
    pub transition: String,
    /// Its tags.
    pub tags: Arc<Tags>,
    /// Its type.
    pub instance_type: String,
    /// The public IPv4 address, while it runs.
    pub public_ip: Option<String>,
}

#[derive(Debug, Clone)]
struct Version {
    at: DateTime<Utc>,
    delays: [TimeDelta; REPLICAS],
    facts: Arc<Facts>,
}

/// A simulated instance.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "EC2's own attributes, each for itself")]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// The reservation it was launched in.
    pub reservation: String,
    /// Which of its launch's instances it is.
    pub launch_index: u32,
    /// What it was launched with.
    pub params: Arc<RunInstances>,
    /// The token it was launched with.
    pub token: Option<String>,
    /// Its zone.
    pub zone: String,
    /// Its subnet.
    pub subnet: String,
    /// Its private IPv4 address.
    pub private_ip: String,
    /// The security groups it is in.
    pub groups: Vec<String>,
    /// Its volumes: device, volume id.
    pub volumes: Vec<(String, String)>,
    /// Its network interface.
    pub interface: String,
    /// The spot request that it fulfils.
    pub spot_request: Option<String>,
    /// When it was launched.
    pub born: DateTime<Utc>,
    /// Whether TerminateInstances is refused.
    pub termination_protected: bool,
    /// Whether StopInstances is refused.
    pub stop_protected: bool,
    /// Whether the guest's own power-off terminates.
    pub terminate_on_shutdown: bool,
    /// User data, base64; it can be changed while the instance is stopped.
    pub user_data: Option<String>,
    /// What the console shows.
    pub console: String,
    /// When EC2 will take it back, once it has said so.
    pub notice: Option<DateTime<Utc>>,
    pub(super) hidden: bool,
    /// Whether its memory is being written to its disk.
    pub(super) hibernating: bool,
    facts: Arc<Facts>,
    versions: VecDeque<Version>,
    /// Which of the transitions that were scheduled still holds.
    pub(super) epoch: u32,
}

/// What is given of a new instance; the rest follows.
pub(super) struct Birth {
    pub(super) id: InstanceId,
    pub(super) reservation: String,
    pub(super) launch_index: u32,
    pub(super) params: Arc<RunInstances>,
    pub(super) token: Option<String>,
    pub(super) zone: String,
    pub(super) subnet: String,
    pub(super) private_ip: String,
    pub(super) groups: Vec<String>,
    pub(super) volumes: Vec<(String, String)>,
    pub(super) interface: String,
    pub(super) spot_request: Option<String>,
}

impl Instance {
    pub(super) fn born(birth: Birth, now: DateTime<Utc>, delays: [TimeDelta; REPLICAS]) -> Self {
        let params = birth.params;
        let tags = params.tags.get(&TagTarget::Instance).cloned().unwrap_or_default();
        let facts = Arc::new(Facts {
            state: InstanceState::Pending,
            launch_time: now,
            reason: Some(Reason::new("pending", "pending")),
            transition: String::new(),
            tags: Arc::new(tags),
            instance_type: params.instance_type.clone(),
            public_ip: None,
        });
        Self {
            id: birth.id,
            reservation: birth.reservation,
            launch_index: birth.launch_index,
            token: birth.token,
            zone: birth.zone,
            subnet: birth.subnet,
            private_ip: birth.private_ip,
            groups: birth.groups,
            volumes: birth.volumes,
            interface: birth.interface,
            spot_request: birth.spot_request,
            born: now,
            termination_protected: params.termination_protected,
            stop_protected: params.stop_protected,
            terminate_on_shutdown: params.terminate_on_shutdown,
            user_data: params.user_data.clone(),
            console: String::new(),
            notice: None,
            hidden: false,
            hibernating: false,
            versions: VecDeque::from([Version { at: now, delays, facts: Arc::clone(&facts) }]),
            facts,
            epoch: 0,
            params,
        }
    }

    /// What is true of it now.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its state now.
    pub fn state(&self) -> &InstanceState {
        &self.facts.state
    }

    /// One of its tags now.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.facts.tags.get(key).map(String::as_str)
    }

    /// The tags of its launch call, as they are of this one.
    pub fn launch_tags(&self) -> TagSet {
        let tags = self.params.tags.get(&TagTarget::Instance).cloned().unwrap_or_default();
        TagSet::from(Arc::new(tags)).of_launch_index(self.launch_index)
    }

    /// Its tags now, as they are of this one.
    pub fn own_tags(&self) -> TagSet {
        TagSet::from(Arc::clone(&self.facts.tags)).of_launch_index(self.launch_index)
    }

    /// Whether somebody pays for its computing: pending is free, but only for seconds.
    pub fn is_up(&self) -> bool {
        matches!(self.facts.state, InstanceState::Pending | InstanceState::Running)
    }

    /// Whether it has ended, or is about to.
    pub fn is_over(&self) -> bool {
        self.facts.state.is_ending()
    }

    /// Adds to what the console shows; only its end is kept.
    pub(super) fn say(&mut self, text: &str) {
        self.console.push_str(text);
        let surplus = self.console.len().saturating_sub(CONSOLE_MAX);
        let from = (surplus..=self.console.len()).find(|at| self.console.is_char_boundary(*at)).unwrap_or_default();
        self.console.drain(..from);
    }

    /// Something about it changes; each replica learns of it after its delay.
    pub(super) fn change(
        &mut self,
        now: DateTime<Utc>,
        delays: [TimeDelta; REPLICAS],
        change: impl FnOnce(&mut Facts),
    ) {
        change(Arc::make_mut(&mut self.facts));
        self.versions.push_back(Version { at: now, delays, facts: Arc::clone(&self.facts) });
        // A version that every replica has left behind will not be read again.
        while self.versions.get(1).is_some_and(|next| next.delays.iter().all(|delay| next.at + *delay <= now)) {
            self.versions.pop_front();
        }
    }

    /// Every replica shows it so until it changes again, whatever is true.
    pub(super) fn show(&mut self, now: DateTime<Utc>, facts: Facts) {
        let delays = [TimeDelta::zero(); REPLICAS];
        self.versions.push_back(Version { at: now, delays, facts: Arc::new(facts) });
    }

    /// What a replica says of it; nothing while it has not heard of it.
    pub fn seen_by(&self, replica: usize, now: DateTime<Utc>) -> Option<&Arc<Facts>> {
        if self.hidden {
            return None;
        }
        let known = self.versions.iter().rev().find(|version| version.at + version.delays[replica] <= now);
        known.map(|version| &version.facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn delays(of: [i64; REPLICAS]) -> [TimeDelta; REPLICAS] {
        of.map(TimeDelta::seconds)
    }

    fn instance() -> Instance {
        let birth = Birth {
            id: "i-1".parse().expect("an id"),
            launch_index: 0,
            reservation: "r-1".to_owned(),
            params: Arc::new(RunInstances { instance_type: "t3.large".to_owned(), ..RunInstances::default() }),
            token: None,
            zone: "us-west-2a".to_owned(),
            subnet: "subnet-1".to_owned(),
            private_ip: "172.31.0.1".to_owned(),
            groups: Vec::new(),
            volumes: Vec::new(),
            interface: "eni-1".to_owned(),
            spot_request: None,
        };
        Instance::born(birth, at(0), delays([0, 5, 20]))
    }

    #[test]
    fn replicas_learn_of_a_birth_and_of_changes_at_their_own_time() {
        let mut instance = instance();
        let states = |instance: &Instance, now| {
            [0, 1, 2].map(|replica| instance.seen_by(replica, at(now)).map(|facts| facts.state.to_string()))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(states(&instance, 0), [some("pending"), None, None]);
        assert_eq!(states(&instance, 6), [some("pending"), some("pending"), None]);
        instance.change(at(10), delays([3, 0, 20]), |facts| facts.state = InstanceState::Running);
        assert_eq!(states(&instance, 12), [some("pending"), some("running"), None], "reads go backwards");
        assert_eq!(states(&instance, 30), [some("running"), some("running"), some("running")]);
        assert_eq!(*instance.state(), InstanceState::Running, "the truth is at once");
    }

    #[test]
    fn what_nobody_reads_any_more_is_forgotten() {
        let mut instance = instance();
        for second in 0..100 {
            instance.change(at(100 + second), delays([0, 1, 2]), |facts| facts.transition = second.to_string());
        }
        assert!(instance.versions.len() <= 4, "{}", instance.versions.len());
    }
}
