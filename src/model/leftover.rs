//! What a sweep may find, by name, and what may be done about it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($variant:ident, $name:literal, $default:ident, $what:literal;)*) => {
        /// A kind of leftover: something that costs and that nothing explains.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
        )]
        #[serde(rename_all = "kebab-case")]
        pub enum LeftoverKind {
            $(#[doc = $what] $variant,)*
        }

        impl LeftoverKind {
            /// All of them.
            pub const ALL: &'static [LeftoverKind] = &[$(LeftoverKind::$variant,)*];

            /// Its name, in a plan and in the configuration.
            pub fn name(self) -> &'static str {
                match self { $(LeftoverKind::$variant => $name,)* }
            }

            /// What it is, in one sentence.
            pub fn what(self) -> &'static str {
                match self { $(LeftoverKind::$variant => $what,)* }
            }

            /// What is done about it where no configuration says otherwise.
            pub fn default_response(self) -> Response {
                match self { $(LeftoverKind::$variant => Response::$default,)* }
            }
        }
    };
}

kinds! {
    Orphan, "orphan", Terminate,
        "A running instance that its controller, which was asked, does not know.";
    StateSkew, "state-skew", Terminate,
        "A running instance that its controller takes for stopped or gone.";
    NeverConnected, "never-connected", Terminate,
        "A running instance whose worker has not connected long after its deadline, by its controller's word.";
    Unattended, "unattended", Terminate,
        "A running instance whose lease is over: no controller vouches for it, and none could be asked.";
    Expired, "expired", Terminate,
        "An instance that has passed its absolute deadline.";
    StoppedTooLong, "stopped-too-long", Report,
        "An instance that is stopped for longer than the policy allows; its disks cost.";
    BakeOverdue, "bake-overdue", Terminate,
        "A builder or canary of a rebake that has passed its deadline.";
    VolumeAvailable, "volume-available", Terminate,
        "A volume of the fleet that is attached to nothing.";
    AddressIdle, "address-idle", Report,
        "An elastic IP address of the fleet that nothing uses, or only a stopped instance.";
    InterfaceAvailable, "interface-available", Terminate,
        "A network interface of the fleet that is attached to nothing.";
    SpotRequestOpen, "spot-request-open", Terminate,
        "A spot request of the fleet that is live without a live instance.";
    SnapshotOrphan, "snapshot-orphan", Report,
        "A snapshot of the fleet that belongs to no AMI.";
    AmiSuperseded, "ami-superseded", Report,
        "An AMI of the fleet that newer ones of its image have replaced, and that nothing uses.";
    AmiStuck, "ami-stuck", Report,
        "An AMI of the fleet that failed, or is pending for too long.";
    IntentOpen, "intent-open", Report,
        "A launch that a controller intended long ago, and of which no instance is found.";
    UntaggedOnOwnAmi, "untagged-on-own-ami", Report,
        "An instance without a fleet's tag that runs an AMI of the fleet; it may be the owner's own.";
}

impl LeftoverKind {
    /// Whether it is an instance that runs, costs, and has no use that anybody knows.
    pub fn is_zombie(self) -> bool {
        match self {
            LeftoverKind::Orphan
            | LeftoverKind::StateSkew
            | LeftoverKind::NeverConnected
            | LeftoverKind::Unattended
            | LeftoverKind::Expired
            | LeftoverKind::BakeOverdue => true,
            LeftoverKind::StoppedTooLong
            | LeftoverKind::VolumeAvailable
            | LeftoverKind::AddressIdle
            | LeftoverKind::InterfaceAvailable
            | LeftoverKind::SpotRequestOpen
            | LeftoverKind::SnapshotOrphan
            | LeftoverKind::AmiSuperseded
            | LeftoverKind::AmiStuck
            | LeftoverKind::IntentOpen
            | LeftoverKind::UntaggedOnOwnAmi => false,
        }
    }
}

/// What may be done about a leftover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// It is told, and left.
    Report,
    /// An instance is stopped: it costs its disks, and can be looked at.
    Stop,
    /// It is taken away: terminated, deleted, released or cancelled.
    Terminate,
}

impl Response {
    /// All of them, by name.
    pub const NAMES: &'static [&'static str] = &["report", "stop", "terminate"];
}

/// A text that names no kind of leftover.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of leftover")]
pub struct UnknownKind(String);

impl FromStr for LeftoverKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.iter().copied().find(|kind| kind.name() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

impl fmt::Display for LeftoverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixteen_kinds_have_one_name_in_every_form() {
        assert_eq!(LeftoverKind::ALL.len(), 16);
        for kind in LeftoverKind::ALL {
            assert_eq!(kind.name().parse(), Ok(*kind));
            assert_eq!(serde_json::to_string(kind).expect("a text"), format!("\"{kind}\""));
        }
        let reported = [LeftoverKind::UntaggedOnOwnAmi, LeftoverKind::IntentOpen];
        assert!(reported.iter().all(|kind| kind.default_response() == Response::Report));
    }
}
