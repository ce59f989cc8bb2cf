//! A run cut to a window: seconds by use, and seconds that are billed.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Run, Segment, Start, Use};
use crate::policy::price;

/// A stretch of time, the end excluded; empty if it ends before it begins.
pub(in crate::plan) type Stretch = (DateTime<Utc>, DateTime<Utc>);

/// What two stretches have in common.
pub(in crate::plan) fn common(one: Stretch, other: Stretch) -> Option<Stretch> {
    let both = (one.0.max(other.0), one.1.min(other.1));
    (both.0 < both.1).then_some(both)
}

impl Start {
    /// When it surely ran, and when it may have run at the most; `now` is the end while it goes on.
    pub(in crate::plan) fn ran(&self, now: DateTime<Utc>) -> (Option<Stretch>, Stretch) {
        let (earliest, latest) = match self.over {
            Some(over) => (over.earliest, over.latest),
            None => (now, now),
        };
        let surely = self.seen.map(|seen| (seen.min(earliest), earliest));
        (surely, (self.asked.min(latest), latest))
    }

    /// The same as they are billed: a minute at least.
    pub(in crate::plan) fn billed(&self, now: DateTime<Utc>) -> (Option<Stretch>, Stretch) {
        let minimum = TimeDelta::seconds(i64::try_from(price::SECONDS_MIN).unwrap_or(i64::MAX));
        let at_least = |(from, to): Stretch| (from, to.max(from + minimum));
        let (surely, most) = self.ran(now);
        (surely.map(at_least), at_least(most))
    }
}

impl Run {
    /// Its life within a window, without gaps and all of it closed: what goes on ends at `now`. What no
    /// controller has told of is [`Use::Unknown`].
    pub fn cut(&self, from: DateTime<Utc>, to: DateTime<Utc>, now: DateTime<Utc>) -> Vec<Segment> {
        let mut all = Vec::new();
        for segment in &self.segments {
            let end = segment.to.unwrap_or(now).max(segment.from);
            let told = match self.silent_since.filter(|_| segment.to.is_none()) {
                Some(silent) => silent.clamp(segment.from, end),
                None => end,
            };
            for (stretch, usage) in [((segment.from, told), segment.usage), ((told, end), Use::Unknown)] {
                if let Some((from, to)) = common(stretch, (from, to)) {
                    all.push(Segment { from, to: Some(to), usage });
                }
            }
        }
        all
    }

    /// How long it was in each use within a window; the sum is its wall time there.
    pub fn uses(&self, from: DateTime<Utc>, to: DateTime<Utc>, now: DateTime<Utc>) -> BTreeMap<Use, TimeDelta> {
        let mut uses = BTreeMap::new();
        for segment in self.cut(from, to, now) {
            let length = segment.to.unwrap_or(now) - segment.from;
            *uses.entry(segment.usage).or_insert_with(TimeDelta::zero) += length;
        }
        uses
    }

    /// How long it ran within a window, at the least and at the most.
    pub fn ran(&self, from: DateTime<Utc>, to: DateTime<Utc>, now: DateTime<Utc>) -> (TimeDelta, TimeDelta) {
        self.within((from, to), |start| start.ran(now))
    }

    /// How long is billed within a window, at the least and at the most: a minute at least for each start.
    /// The rest of a minute that has begun counts as soon as the window holds it.
    pub fn billed(&self, from: DateTime<Utc>, to: DateTime<Utc>, now: DateTime<Utc>) -> (TimeDelta, TimeDelta) {
        self.within((from, to), |start| start.billed(now))
    }

    fn within(&self, window: Stretch, of: impl Fn(&Start) -> (Option<Stretch>, Stretch)) -> (TimeDelta, TimeDelta) {
        let length = |stretch| common(stretch, window).map_or(TimeDelta::zero(), |(from, to)| to - from);
        let mut sums = (TimeDelta::zero(), TimeDelta::zero());
        for start in &self.starts {
            let (surely, most) = of(start);
            sums.0 += surely.map_or(TimeDelta::zero(), length);
            sums.1 += length(most);
        }
        sums
    }

    /// Whether any of its life, or of a minute that is billed for it, may lie within a window.
    pub fn touches(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        let over = self.ended.as_ref().map(|ended| ended.at + TimeDelta::minutes(1));
        self.begins().is_some_and(|begins| begins < to) && over.is_none_or(|over| over > from)
    }

    /// How many of its starts were asked for within a window.
    pub fn starts_within(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> usize {
        self.starts.iter().filter(|start| from <= start.asked && start.asked < to).count()
    }

    /// How many of its builds began within a window.
    pub fn builds_within(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> usize {
        self.builds.iter().filter(|began| from <= **began && **began < to).count()
    }
}
