//! What one look at a cell showed.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{AmiId, ClientToken, InstanceId, TagSet, Zone};

/// EC2's instance states, and the one we do not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Being placed and booted.
    Pending,
    /// Billed.
    Running,
    /// On its way to stopped.
    Stopping,
    /// Its disks are billed.
    Stopped,
    /// On its way out.
    ShuttingDown,
    /// Gone; shown for about an hour.
    Terminated,
    /// A state that EC2 did not have when this was written.
    Unknown(String),
}

impl InstanceState {
    /// Whether it costs, or may soon cost, more than its disks; an unknown state counts.
    pub fn is_live(&self) -> bool {
        match self {
            InstanceState::Pending | InstanceState::Running | InstanceState::Unknown(_) => true,
            InstanceState::Stopping
            | InstanceState::Stopped
            | InstanceState::ShuttingDown
            | InstanceState::Terminated => false,
        }
    }

    /// Whether it is over, or certain to be over soon.
    pub fn is_ending(&self) -> bool {
        matches!(self, InstanceState::ShuttingDown | InstanceState::Terminated)
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            InstanceState::Pending => "pending",
            InstanceState::Running => "running",
            InstanceState::Stopping => "stopping",
            InstanceState::Stopped => "stopped",
            InstanceState::ShuttingDown => "shutting-down",
            InstanceState::Terminated => "terminated",
            InstanceState::Unknown(text) => text,
        })
    }
}

/// What an instance was born with, and what should go with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// The ids of the volumes that end with it.
    pub volumes: Vec<String>,
    /// The ids of the volumes that it has and that stay when it ends.
    pub lasting: Vec<String>,
    /// Its network interfaces' ids.
    pub interfaces: Vec<String>,
    /// The spot request it fulfils.
    pub spot_request: Option<String>,
}

impl Parts {
    /// Whether a volume is attached to it.
    pub fn has_volume(&self, id: &str) -> bool {
        self.volumes.iter().chain(&self.lasting).any(|own| own == id)
    }
}

/// One instance as the cloud shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its state.
    pub state: InstanceState,
    /// Its AMI, if the cloud names one we can read.
    pub ami: Option<AmiId>,
    /// Its type, such as `m7i.large`.
    pub instance_type: String,
    /// Its zone.
    pub zone: Option<Zone>,
    /// The start of its present run: it moves at every start.
    pub launch_time: Option<DateTime<Utc>>,
    /// The token it was launched with.
    pub token: Option<ClientToken>,
    /// Which of the instances of its launch call it is, counted from 0.
    pub launch_index: u32,
    /// When the oldest of its disks or interfaces was attached: unlike the launch time it survives a
    /// stop and a start.
    pub attached_at: Option<DateTime<Utc>>,
    /// Since when it is stopped, if the cloud says so in a form that can be read.
    pub stopped_at: Option<DateTime<Utc>>,
    /// Since when it is on its way out or gone, if the cloud says so in a form that can be read.
    pub ended_at: Option<DateTime<Utc>>,
    /// What it is made of.
    pub parts: Parts,
    /// What is billed as its software (EC2's `PlatformDetails`), such as `Linux/UNIX`.
    pub platform_details: Option<String>,
    /// Its addresses, private first.
    pub addresses: Vec<String>,
    /// Why it changed state, as the cloud says it.
    pub state_reason: Option<String>,
    /// Its tags.
    pub tags: TagSet,
}

/// A listing of one cell: the instances that carry our fleet tag, and those that the ledger knows and
/// that were found by their ids although they do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// When the first page was asked for: entries younger than this prove nothing by their absence.
    pub observed_at: DateTime<Utc>,
    /// Whether every page was read. An incomplete listing shows presence, never absence.
    pub complete: bool,
    /// The instances, ended ones included while the cloud still shows them.
    pub instances: BTreeMap<InstanceId, Instance>,
}

impl Inventory {
    /// What is on its way out has its addresses until it is gone, and EC2 may no longer show them: they are
    /// taken from the listing before this one.
    pub fn keep_addresses(&mut self, before: Option<&Inventory>) {
        let Some(before) = before else { return };
        let leaving = |state: &InstanceState| matches!(state, InstanceState::Stopping | InstanceState::ShuttingDown);
        for instance in self.instances.values_mut().filter(|instance| leaving(&instance.state)) {
            let known = before.instances.get(&instance.id).into_iter().flat_map(|instance| &instance.addresses);
            let lost: Vec<String> = known.filter(|address| !instance.addresses.contains(address)).cloned().collect();
            instance.addresses.extend(lost);
        }
    }
}
