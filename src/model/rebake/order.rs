//! What a rebake is to do: fixed when it begins, so that a change of the configuration does not change its course.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{
    AmiId, Cell, Fence, ImageName, InstanceId, LaunchSpec, OwnerName, RebakeId, Region, TagSet, WorkerName, tag_keys,
};

/// The steps, in their order. Each is journalled before it acts, may be repeated, has a deadline, and what it made
/// can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Dry runs of everything that it will call.
    Preflight,
    /// The builder's security group, which does not let it reach the master.
    Fence,
    /// The builder is launched and runs.
    Launch,
    /// Its worker's service is stopped.
    Quiesce,
    /// Updates, until a scan finds nothing and no reboot is pending.
    Update,
    /// At least one reboot, proven.
    Reboot,
    /// What still works after the reboot comes to its end.
    Settle,
    /// Traces of this instance, and of the rebake, are removed.
    Clean,
    /// The guest powers itself off.
    Off,
    /// An AMI of the stopped builder, until it is available.
    Image,
    /// The builder and its security group go.
    Dismiss,
    /// A worker of the new AMI connects, builds, stops, starts and connects again.
    Canary,
    /// The manifest names the new AMI.
    Promote,
    /// It is compared with the generation before.
    Soak,
    /// What it replaced goes, in stages.
    Retire,
}

impl Step {
    /// All of them in order.
    pub const ALL: [Self; 15] = [
        Self::Preflight,
        Self::Fence,
        Self::Launch,
        Self::Quiesce,
        Self::Update,
        Self::Reboot,
        Self::Settle,
        Self::Clean,
        Self::Off,
        Self::Image,
        Self::Dismiss,
        Self::Canary,
        Self::Promote,
        Self::Soak,
        Self::Retire,
    ];

    /// The step after it.
    pub fn next(self) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step > self)
    }

    /// Whether it happens inside the builder, by its own script.
    pub fn is_the_guests(self) -> bool {
        (Self::Quiesce..=Self::Off).contains(&self)
    }

    /// Whether it needs the controller.
    pub fn is_the_controllers(self) -> bool {
        self >= Self::Canary
    }

    /// Its name, as the command line shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Fence => "fence",
            Self::Launch => "launch",
            Self::Quiesce => "quiesce",
            Self::Update => "update",
            Self::Reboot => "reboot",
            Self::Settle => "settle",
            Self::Clean => "clean",
            Self::Off => "off",
            Self::Image => "image",
            Self::Dismiss => "dismiss",
            Self::Canary => "canary",
            Self::Promote => "promote",
            Self::Soak => "soak",
            Self::Retire => "retire",
        }
    }

    /// What it does, in a line.
    pub fn what(self) -> &'static str {
        match self {
            Self::Preflight => "asks EC2, by dry runs, whether everything that follows is allowed",
            Self::Fence => "makes a security group that lets the builder reach package servers, and not the master",
            Self::Launch => "launches the builder from the AMI, on-demand",
            Self::Quiesce => "stops the worker's service in the builder",
            Self::Update => "installs updates until a scan finds none and no reboot is pending",
            Self::Reboot => "reboots the builder at least once, and proves it by its boot id",
            Self::Settle => "waits until the builder has nothing left to do after its boot",
            Self::Clean => "removes logs, caches, keys and ids that no clone must share",
            Self::Off => "the builder powers itself off",
            Self::Image => "makes an AMI of the stopped builder, and waits until it is available",
            Self::Dismiss => "terminates the builder and deletes its security group",
            Self::Canary => {
                "launches a worker from the new AMI; it connects, is stopped and started, and connects again"
            }
            Self::Promote => "writes the new AMI into the manifest; the next launch uses it",
            Self::Soak => "compares its starts with those of the generation before; a worse one is rolled back",
            Self::Retire => "deprecates, then disables, then deregisters what newer generations replaced",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|step| step.name() == text).ok_or_else(|| format!("{text:?} is no step"))
    }
}

/// How the script comes into the builder, and how its word comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RebakeChannel {
    /// In the user data, and over the console. Needs EC2's API alone.
    UserData,
    /// By Run Command of Systems Manager.
    Ssm,
    /// By Run Command if the builder's agent registers; the script comes in the user data otherwise.
    Auto,
}

impl fmt::Display for RebakeChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserData => "user-data",
            Self::Ssm => "ssm",
            Self::Auto => "auto",
        })
    }
}

/// What a rebake begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RebakeKind {
    /// The image's present AMI is updated.
    Update,
    /// A worker is set up anew on a newer base.
    FromBase,
    /// A configured instance becomes the first AMI: it is there already, stopped.
    Enroll,
    /// Somebody else made the AMI and handed it over: it begins with the canary.
    HandedOver,
}

/// How long things may take, in seconds in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebakeLimits {
    /// The builder, from its launch to its power-off: also its deadline tag.
    #[serde(with = "seconds")]
    pub builder: TimeDelta,
    /// The AMI, from CreateImage until it is available.
    #[serde(with = "seconds")]
    pub image: TimeDelta,
    /// How long a canary may wait for its worker to be idle.
    #[serde(with = "seconds")]
    pub canary_wait: TimeDelta,
    /// The canary, from its launch to its second connection.
    #[serde(with = "seconds")]
    pub canary: TimeDelta,
    /// How long a new generation is compared with the one before.
    #[serde(with = "seconds")]
    pub soak: TimeDelta,
    /// How many starts are enough for that.
    pub soak_starts: u32,
    /// How long complete listings must miss something before it counts as absent.
    #[serde(with = "seconds")]
    pub absence_grace: TimeDelta,
}

mod seconds {
    use chrono::TimeDelta;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(span: &TimeDelta, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(span.num_seconds())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TimeDelta, D::Error> {
        let seconds = i64::deserialize(from)?;
        TimeDelta::try_seconds(seconds).ok_or_else(|| serde::de::Error::custom("so many seconds are no time"))
    }
}

/// All that a rebake goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebakeOrder {
    /// Which rebake.
    pub id: RebakeId,
    /// When it was ordered.
    pub at: DateTime<Utc>,
    /// What it begins with.
    pub kind: RebakeKind,
    /// The manifest.
    pub image: ImageName,
    /// Whose account.
    pub owner: OwnerName,
    /// Where.
    pub region: Region,
    /// The fleet.
    pub fleet: String,
    /// The controller that the image belongs to.
    pub controller: String,
    /// The AMI that the builder is launched from.
    pub source: AmiId,
    /// The AMI that the manifest names when it begins; none if there is no manifest yet.
    pub current: Option<AmiId>,
    /// The AMI of the owner's that all generations come from.
    pub root: AmiId,
    /// The number of the new generation.
    pub generation: u32,
    /// The new AMI's name.
    pub name: String,
    /// What the guest shows, so that its word can be told from anybody else's.
    pub nonce: String,
    /// How the script comes into the builder.
    pub channel: RebakeChannel,
    /// Whether the builder runs Windows.
    pub windows: bool,
    /// What the builder may be launched as, the first choice first. Empty where there is no builder to launch.
    pub launches: Vec<LaunchSpec>,
    /// The builder's user data. It holds no secret.
    pub user_data: Option<String>,
    /// The text that Run Command runs, if it may be used.
    pub command: Option<String>,
    /// The builder's security group, unless the manifest names some.
    pub fence: Option<Fence>,
    /// The configured instance that becomes an AMI.
    pub instance: Option<InstanceId>,
    /// The AMI that was handed over.
    pub candidate: Option<AmiId>,
    /// The worker that proves it.
    pub worker: Option<WorkerName>,
    /// The builder that the master runs on the canary.
    pub smoke: Option<String>,
    /// Whether what it replaces is retired in the end.
    pub retires: bool,
    /// How long things may take.
    pub limits: RebakeLimits,
}

impl RebakeOrder {
    /// Where it works.
    pub fn cell(&self) -> Cell {
        Cell { owner: self.owner.clone(), region: self.region.clone() }
    }

    /// The tags of what it makes: the AMI, its snapshots, the security group.
    pub fn lineage(&self) -> TagSet {
        let mut tags = TagSet::default();
        tags.set(tag_keys::FLEET, &self.fleet)
            .set(tag_keys::CONTROLLER, &self.controller)
            .set(tag_keys::OWNER, self.owner.as_str())
            .set(tag_keys::IMAGE, self.image.as_str())
            .set(tag_keys::IMAGE_ORIGIN, if self.kind == RebakeKind::Enroll { "enroll" } else { "rebake" })
            .set(tag_keys::PARENT, self.source.as_str())
            .set(tag_keys::ROOT, self.root.as_str())
            .set(tag_keys::GENERATION, self.generation.to_string())
            .set(tag_keys::REBAKE, self.id.as_str())
            .set_time(tag_keys::BAKED_AT, self.at)
            .set(tag_keys::NAME, &self.name);
        tags
    }

    /// The first step that it takes.
    pub fn first(&self) -> Step {
        match self.kind {
            RebakeKind::Update | RebakeKind::FromBase | RebakeKind::Enroll => Step::Preflight,
            RebakeKind::HandedOver => Step::Canary,
        }
    }

    /// The step after one. What was configured by hand is neither updated nor cleaned, and stays.
    pub fn after(&self, step: Step) -> Option<Step> {
        if self.kind == RebakeKind::Enroll {
            return match step {
                Step::Preflight => Some(Step::Off),
                Step::Off => Some(Step::Image),
                _ => None,
            };
        }
        let next = step.next()?;
        let next = if next == Step::Fence && self.fence.is_none() { Step::Launch } else { next };
        (next != Step::Retire || self.retires).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_what_its_name_says() {
        for step in Step::ALL {
            assert_eq!(step.name().parse(), Ok(step));
            assert_eq!(serde_json::to_string(&step).expect("serializes"), format!("\"{step}\""));
        }
        assert!("bake".parse::<Step>().is_err());
        let in_order: Vec<Step> = std::iter::successors(Some(Step::Preflight), |step| step.next()).collect();
        assert_eq!(in_order, Step::ALL);
    }
}
