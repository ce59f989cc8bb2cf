//! Of whom there are series, so that nobody's stay for ever.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

/// What has left the configuration is shown for so long: a reload with a mistake loses no numbers.
const SHOWN_AFTER: TimeDelta = TimeDelta::hours(1);

/// Things of one sort, and since when each is no longer configured.
#[derive(Debug)]
pub(super) struct Known<K>(BTreeMap<K, Option<DateTime<Utc>>>);

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Known<K> {
    /// Notes one; says whether it is new.
    pub(super) fn note(&mut self, key: &K) -> bool {
        if self.0.contains_key(key) {
            return false;
        }
        self.0.insert(key.clone(), None);
        true
    }

    /// Gives those that have not been configured for too long, and forgets them.
    pub(super) fn outdated(&mut self, now: DateTime<Utc>, configured: &BTreeSet<K>) -> Vec<K> {
        for (key, since) in &mut self.0 {
            *since = if configured.contains(key) { None } else { Some(since.unwrap_or(now)) };
        }
        let gone = self.0.extract_if(.., |_, since| since.is_some_and(|since| now - since >= SHOWN_AFTER));
        gone.map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_left_the_configuration_goes_after_an_hour_and_what_came_back_stays() {
        let at = |minutes| DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes);
        let mut known = Known::default();
        assert!(known.note(&"a") && known.note(&"b") && !known.note(&"a"));
        let (both, one) = (BTreeSet::from(["a", "b"]), BTreeSet::from(["a"]));
        assert!(known.outdated(at(0), &one).is_empty());
        assert!(known.outdated(at(59), &both).is_empty());
        assert!(known.outdated(at(61), &one).is_empty(), "it was back meanwhile");
        assert_eq!(known.outdated(at(121), &one), ["b"]);
        assert!(known.note(&"b"), "it is forgotten");
    }
}
