//! What people may be told of by mail or webhook, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! classes {
    ($($variant:ident, $name:literal, $what:literal;)*) => {
        /// A class of things that people are told of.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
        )]
        #[serde(rename_all = "kebab-case")]
        pub enum AlarmClass {
            $(#[doc = $what] $variant,)*
            /// Somebody asked for a test message; it can neither be chosen nor be left out.
            Test,
        }

        impl AlarmClass {
            /// All that can be chosen, in the order in which they are shown.
            pub const ALL: &'static [AlarmClass] = &[$(AlarmClass::$variant,)*];

            /// Their names, as the configuration has them.
            pub const WORDS: &'static [&'static str] = &[$($name,)*];

            /// Its name, in the configuration and in a message.
            pub const fn name(self) -> &'static str {
                match self { $(AlarmClass::$variant => $name,)* AlarmClass::Test => "test" }
            }

            /// What it tells, in one sentence.
            pub const fn what(self) -> &'static str {
                match self { $(AlarmClass::$variant => $what,)* AlarmClass::Test => "A test that somebody asked for." }
            }
        }
    };
}

classes! {
    WorkerDown, "worker-down", "A worker is wanted and not connected for longer than usual.";
    LaunchFailing, "launch-failing", "A worker cannot be started until somebody acts.";
    ZombieFound, "zombie-found", "Something costs money that nothing explains.";
    Budget, "budget", "The month's spending has crossed an amount of the owner's.";
    RebakeDue, "rebake-due", "An AMI is older than it should be.";
    RebakeFailed, "rebake-failed", "A rebake has failed; what it had made is taken back.";
    RebakePromoted, "rebake-promoted", "The manifest names a new AMI.";
    RebakeRolledBack, "rebake-rolled-back", "A new AMI was worse, and the manifest names the one before it.";
    PermissionLost, "permission-lost", "An account cannot be looked at any more.";
    AmiDeprecated, "ami-deprecated", "Whoever publishes an AMI asks that it be used no more.";
    Weekly, "weekly", "The week's summary, with the report attached where there is one.";
    DeliveryFailed, "delivery-failed", "Messages do not reach somebody; the admin is told another way.";
}

impl fmt::Display for AlarmClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that is no class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a known class")]
pub struct UnknownClass;

impl FromStr for AlarmClass {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Self, UnknownClass> {
        Self::ALL.iter().copied().find(|class| class.name() == text).ok_or(UnknownClass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_read_as_it_is_written() {
        for (class, word) in AlarmClass::ALL.iter().zip(AlarmClass::WORDS) {
            assert_eq!(word.parse(), Ok(*class));
            assert_eq!(serde_json::to_value(class).expect("JSON"), serde_json::json!(word));
        }
        assert_eq!("test".parse::<AlarmClass>(), Err(UnknownClass));
    }
}
