//! The tags that make an instance explain itself when every other memory is lost.
//!
//! Keys hold neither `/` nor a space, so that instances can read them through the metadata service.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AttemptId, WorkerName};

/// The keys. Each is set by the launch call itself.
pub mod keys {
    /// Which fleet it belongs to; every listing filters on it.
    pub const FLEET: &str = "latent:fleet";
    /// Which controller may change it.
    pub const CONTROLLER: &str = "latent:controller";
    /// The owner's name in the configuration.
    pub const OWNER: &str = "latent:owner";
    /// The worker it was launched for.
    pub const WORKER: &str = "latent:worker";
    /// The workers of a launch for several, in the order of their launch indices; with `-2`, `-3` … what does not fit.
    pub const WORKERS: &str = "latent:workers";
    /// The attempt it came from.
    pub const ATTEMPT: &str = "latent:attempt";
    /// What it is: `worker`, `rebake` or `canary`.
    pub const ROLE: &str = "latent:role";
    /// The image manifest it came from.
    pub const IMAGE: &str = "latent:image";
    /// When it was intended, RFC 3339 UTC.
    pub const CREATED: &str = "latent:created";
    /// Until when the controller vouches for it, RFC 3339 UTC.
    pub const LEASE: &str = "latent:lease";
    /// When it must be gone at the latest, RFC 3339 UTC.
    pub const DEADLINE: &str = "latent:deadline";
    /// When a sweep first took it for a leftover, RFC 3339 UTC, and as what.
    pub const MARK: &str = "latent:mark";
    /// Set by a person: nothing of ours may end it. Only `false` and `no` do not count.
    pub const KEEP: &str = "latent:keep";
    /// Set by a person: nothing of ours may end it before this time, RFC 3339.
    pub const KEEP_UNTIL: &str = "latent:keep-until";
    /// On an AMI: how it came to be, such as `rebake`.
    pub const IMAGE_ORIGIN: &str = "latent:image-origin";
    /// On a builder and what it becomes: which rebake made it.
    pub const REBAKE: &str = "latent:rebake-id";
    /// On an AMI of a rebake: the AMI that it was made from.
    pub const PARENT: &str = "latent:parent";
    /// On an AMI of a rebake: the owner's own AMI that all generations come from.
    pub const ROOT: &str = "latent:root";
    /// On an AMI of a rebake, and on instances of it: the number of the generation.
    pub const GENERATION: &str = "latent:generation";
    /// On an AMI of a rebake: when the rebake began, RFC 3339 UTC.
    pub const BAKED_AT: &str = "latent:baked-at";
    /// On an AMI of a rebake: `wanted`, `promoted`, `failed` or `rolled-back`.
    pub const ROLLOUT: &str = "latent:rollout";
    /// How the lease watch came into it: `user-data`, `baked` or `none`; what it was launched with.
    pub const WATCH: &str = "latent:watch";
    /// The devices whose volumes outlive their instance, because the manifest says so.
    pub const OUTLIVES: &str = "latent:outlives";
    /// On a snapshot: the AMI that was retired, whose snapshot goes after it.
    pub const RETIRED: &str = "latent:retired";
    /// On an AMI: when it was disabled to be deregistered after a grace, RFC 3339 UTC.
    pub const PUT_AWAY: &str = "latent:put-away";
    /// What the console shows as its name.
    pub const NAME: &str = "Name";
    /// What every key of ours begins with.
    pub const PREFIX: &str = "latent:";
}

/// What an instance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It runs builds.
    Worker,
    /// It becomes an image.
    Rebake,
    /// It proves an image.
    Canary,
}

impl Role {
    /// The value of its tag.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Worker => "worker",
            Role::Rebake => "rebake",
            Role::Canary => "canary",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The tags of one resource, in order. They are kept as one text: a controller has those of every instance
/// several times, and a string for each would take most of its memory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TagSet(Arc<Packed>);

/// Keys and values, one after the other, and where each ends.
#[derive(Default, PartialEq, Eq)]
struct Packed {
    text: Box<str>,
    ends: Box<[(usize, usize)]>,
}

/// What the tags of an instance say about who may change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// Ours: this fleet, this controller, a worker of ours.
    Ours {
        /// The worker.
        worker: WorkerName,
        /// The attempt.
        attempt: AttemptId,
        /// Whether it is a canary: it connects as the worker too, and builds nothing.
        canary: bool,
    },
    /// Of this fleet, but another controller's, or in another role: not for us to change.
    Foreign {
        /// Which controller, or which role.
        why: String,
    },
    /// Tags that should be there are missing or cannot be read: reported, never touched.
    Unreadable {
        /// Which and how.
        why: String,
    },
}

impl TagSet {
    fn packed<T: AsRef<str> + Ord>(all: &BTreeMap<T, T>) -> Self {
        let mut text =
            String::with_capacity(all.iter().map(|(key, value)| key.as_ref().len() + value.as_ref().len()).sum());
        let mut ends = Vec::with_capacity(all.len());
        for (key, value) in all {
            text.push_str(key.as_ref());
            let middle = text.len();
            text.push_str(value.as_ref());
            ends.push((middle, text.len()));
        }
        Self(Arc::new(Packed { text: text.into(), ends: ends.into() }))
    }

    /// Sets one tag.
    pub fn set(&mut self, key: &str, value: impl Into<String>) -> &mut Self {
        let value = value.into();
        let mut all: BTreeMap<&str, &str> = self.iter().collect();
        all.insert(key, &value);
        *self = Self::packed(&all);
        self
    }

    /// Sets a tag to a time.
    pub fn set_time(&mut self, key: &str, at: DateTime<Utc>) -> &mut Self {
        self.set(key, at.to_rfc3339_opts(SecondsFormat::Secs, true))
    }

    /// The value of a tag.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// A tag read as a time; `None` if it is absent or is no time.
    pub fn time(&self, key: &str) -> Option<DateTime<Utc>> {
        self.get(key).and_then(|text| text.parse().ok())
    }

    /// All tags in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut begin = 0;
        self.0.ends.iter().map(move |(middle, end)| {
            let from = std::mem::replace(&mut begin, *end);
            (&self.0.text[from..*middle], &self.0.text[*middle..*end])
        })
    }

    /// The other controller of this fleet for which the tagged instance is, or becomes, this worker.
    pub fn other_controller(&self, fleet: &str, controller: &str, worker: &WorkerName) -> Option<&str> {
        let same = self.get(keys::FLEET) == Some(fleet) && self.get(keys::WORKER) == Some(worker.as_str());
        // A builder has no way to the master; in any other role it may connect by the worker's name.
        let connects = self.get(keys::ROLE) != Some("rebake");
        self.get(keys::CONTROLLER).filter(|other| same && connects && *other != controller)
    }

    /// Reads who may change the tagged instance.
    pub fn ownership(&self, fleet: &str, controller: &str) -> Ownership {
        let missing = |key: &str| Ownership::Unreadable { why: format!("no tag {key}") };
        match self.get(keys::FLEET) {
            Some(value) if value == fleet => {}
            Some(value) => {
                return Ownership::Foreign { why: format!("fleet {value}") };
            }
            None => return missing(keys::FLEET),
        }
        match self.get(keys::CONTROLLER) {
            Some(value) if value == controller => {}
            Some(value) => {
                return Ownership::Foreign { why: format!("controller {value}") };
            }
            None => return missing(keys::CONTROLLER),
        }
        let canary = match self.get(keys::ROLE) {
            Some("worker") => false,
            Some("canary") => true,
            Some(value) => {
                return Ownership::Foreign { why: format!("role {value}") };
            }
            None => return missing(keys::ROLE),
        };
        let parsed = |key: &str| self.get(key).map(ToOwned::to_owned).ok_or_else(|| missing(key));
        let worker = match parsed(keys::WORKER).map(WorkerName::try_from) {
            Ok(Ok(worker)) => worker,
            Ok(Err(error)) => {
                return Ownership::Unreadable { why: error.to_string() };
            }
            Err(unreadable) => return unreadable,
        };
        match parsed(keys::ATTEMPT).map(AttemptId::try_from) {
            Ok(Ok(attempt)) => Ownership::Ours { worker, attempt, canary },
            Ok(Err(error)) => Ownership::Unreadable { why: error.to_string() },
            Err(unreadable) => unreadable,
        }
    }
}

impl From<Arc<BTreeMap<String, String>>> for TagSet {
    fn from(tags: Arc<BTreeMap<String, String>>) -> Self {
        Self::packed(&tags)
    }
}

impl FromIterator<(String, String)> for TagSet {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(tags: I) -> Self {
        Self::packed(&tags.into_iter().collect::<BTreeMap<_, _>>())
    }
}

impl fmt::Debug for TagSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for TagSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for TagSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::packed(&BTreeMap::<String, String>::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> TagSet {
        let mut tags = TagSet::default();
        tags.set(keys::FLEET, "f").set(keys::CONTROLLER, "c").set(keys::ROLE, "worker");
        tags.set(keys::WORKER, "w").set(keys::ATTEMPT, "1-1");
        tags
    }

    fn owned((key, value): (&str, &str)) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn what_is_packed_is_read_back_in_the_order_of_the_keys_and_equal_whatever_the_order_was() {
        let tags: TagSet =
            [("b", "2"), ("", ""), ("a\u{e4}", "\u{202e}x"), ("b", "3")].into_iter().map(owned).collect();
        assert_eq!(tags.iter().collect::<Vec<_>>(), [("", ""), ("a\u{e4}", "\u{202e}x"), ("b", "3")]);
        let mut other = TagSet::default();
        other.set("b", "2").set("a\u{e4}", "\u{202e}x").set("b", "3").set("", "");
        assert_eq!(tags, other);
        assert_eq!((tags.get("b"), tags.get(""), tags.get("c")), (Some("3"), Some(""), None));
        let text = serde_json::to_string(&tags).expect("JSON");
        assert_eq!(text, "{\"\":\"\",\"a\u{e4}\":\"\u{202e}x\",\"b\":\"3\"}");
        assert_eq!(serde_json::from_str::<TagSet>(&text).expect("tags"), tags);
    }

    #[test]
    fn only_a_full_and_exact_set_is_ours() {
        assert!(matches!(ours().ownership("f", "c"), Ownership::Ours { canary: false, .. }));
        assert!(matches!(ours().ownership("f", "other"), Ownership::Foreign { .. }));
        assert!(matches!(ours().ownership("ff", "c"), Ownership::Foreign { .. }));
        let mut rebake = ours();
        rebake.set(keys::ROLE, "rebake");
        assert!(matches!(rebake.ownership("f", "c"), Ownership::Foreign { .. }));
        rebake.set(keys::ROLE, "canary");
        assert!(matches!(rebake.ownership("f", "c"), Ownership::Ours { canary: true, .. }));
        for key in [keys::FLEET, keys::CONTROLLER, keys::ROLE, keys::WORKER, keys::ATTEMPT] {
            let without = ours().iter().filter(|(known, _)| *known != key).map(owned).collect::<Vec<_>>();
            let tags: TagSet = without.into_iter().collect();
            assert!(matches!(tags.ownership("f", "c"), Ownership::Unreadable { .. }), "{key}");
        }
        let mut garbled = ours();
        garbled.set(keys::WORKER, "a b\u{202e}");
        assert!(matches!(garbled.ownership("f", "c"), Ownership::Unreadable { .. }));
    }

    #[test]
    fn another_controller_of_the_fleet_is_known_by_its_id_and_the_worker() {
        let worker = |name: &str| name.parse::<WorkerName>().expect("a name");
        assert_eq!(ours().other_controller("f", "mine", &worker("w")), Some("c"));
        assert_eq!(ours().other_controller("f", "c", &worker("w")), None, "it is ours");
        assert_eq!(ours().other_controller("g", "mine", &worker("w")), None, "of another fleet");
        assert_eq!(ours().other_controller("f", "mine", &worker("w2")), None, "another worker");
        let mut tags = ours();
        tags.set(keys::ROLE, "rebake");
        assert_eq!(tags.other_controller("f", "mine", &worker("w")), None, "a builder does not connect");
        tags.set(keys::ROLE, "canary");
        assert_eq!(tags.other_controller("f", "mine", &worker("w")), Some("c"));
    }

    #[test]
    fn keys_can_be_read_through_instance_metadata() {
        for (key, _) in ours().iter() {
            assert!(!key.contains(['/', ' ']), "{key}");
        }
    }
}
