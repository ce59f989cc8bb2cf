//! The promise in numbers: for how long an instance may cost its owner money when nobody attends to it
//! any more, neither a master nor a controller.

use chrono::TimeDelta;

use crate::model::{TagSet, tag_keys};
use crate::policy::{LeaseWatch, Lifecycle};

/// The watch looks twice a minute, so a power-off is ordered within a minute of what it is for.
const LOOK: TimeDelta = TimeDelta::minutes(1);

/// Instance families of the Xen generations. Their metadata shows a changed tag only after a stop and a
/// start, so a renewed lease is not seen in them.
const XEN: [&str; 32] = [
    "c1", "c3", "c4", "cc1", "cc2", "cg1", "cr1", "d2", "f1", "g2", "g3", "g3s", "h1", "hi1", "hs1", "i2", "i3", "m1",
    "m2", "m3", "m4", "p2", "p3", "r3", "r4", "t1", "t2", "u-6tb1", "u-9tb1", "u-12tb1", "x1", "x1e",
];

/// What ends an instance that nobody attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Its guest, when its lease is over.
    Lease,
    /// Its guest, at its deadline: its lease cannot be seen from inside.
    Deadline,
    /// Nothing in it: the next sweep.
    Sweep,
}

/// The longest that an instance may live on unattended, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// What ends it.
    pub layer: Layer,
    /// From the moment at which the last renewal was made, or for a deadline from the launch; `None` if only
    /// a sweep ends it.
    pub span: Option<TimeDelta>,
}

impl LeaseWatch {
    /// The watch that an instance was launched with, by its tags.
    pub fn of(tags: &TagSet) -> Option<Self> {
        [LeaseWatch::UserData, LeaseWatch::Baked, LeaseWatch::None]
            .into_iter()
            .find(|watch| tags.get(tag_keys::WATCH) == Some(watch.to_string().as_str()))
    }
}

/// The bound of an instance of this type, with this watch in it.
pub fn bound(policy: &Lifecycle, watch: LeaseWatch, instance_type: &str) -> Bound {
    match watch {
        LeaseWatch::None => Bound { layer: Layer::Sweep, span: None },
        LeaseWatch::UserData | LeaseWatch::Baked if sees_renewals(instance_type) => {
            Bound { layer: Layer::Lease, span: Some(policy.lease.min(policy.max_lifetime) + LOOK) }
        }
        LeaseWatch::UserData | LeaseWatch::Baked => {
            Bound { layer: Layer::Deadline, span: Some(policy.max_lifetime + LOOK) }
        }
    }
}

/// Whether an instance of this type sees its tags change while it runs: those on Nitro do, and every
/// bare-metal one is.
fn sees_renewals(instance_type: &str) -> bool {
    let (family, size) = instance_type.split_once('.').unwrap_or((instance_type, ""));
    size.contains("metal") || !XEN.contains(&family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metal_and_new_families_see_their_tags_change() {
        for seen in ["m7i.large", "t3.micro", "i3.metal", "u-6tb1.metal", "c5.xlarge", "p3dn.24xlarge", "odd"] {
            assert!(sees_renewals(seen), "{seen}");
        }
        for unseen in ["m4.large", "t2.micro", "i3.large", "x1e.xlarge"] {
            assert!(!sees_renewals(unseen), "{unseen}");
        }
    }

    #[test]
    fn the_watch_of_an_instance_is_read_from_its_tags() {
        for watch in [LeaseWatch::UserData, LeaseWatch::Baked, LeaseWatch::None] {
            let mut tags = TagSet::default();
            assert_eq!(LeaseWatch::of(&tags), None);
            assert_eq!(LeaseWatch::of(tags.set(tag_keys::WATCH, watch.to_string())), Some(watch));
        }
    }
}
