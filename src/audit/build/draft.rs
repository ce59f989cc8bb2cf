//! An instance on its way into the report.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};

use super::period::Period;
use crate::audit::report::{Cost, InstanceLine};
use crate::plan::meter::{Segment, Use};
use crate::policy::price::Range;

/// An instance's line, and what the rest of the report is made of beside it.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// The line.
    pub(super) line: InstanceLine,
    /// What each day cost, by use; nothing where the price is not known.
    pub(super) days: BTreeMap<NaiveDate, BTreeMap<Use, Range>>,
    /// Each connection: when it was asked for, and after how many seconds the worker was there.
    pub(super) connects: Vec<(DateTime<Utc>, i64)>,
    /// Launches in the period: none of one that was launched before.
    pub(super) launches: u32,
    /// Whether it costs compute now, as far as anybody knows.
    pub(super) is_live: bool,
    /// Whether something else than the ledger explains it, such as a rebake's journal.
    pub(super) explained: bool,
    /// Whether CloudTrail knows no end of it.
    pub(super) trail_open: bool,
}

/// Seconds by use; uses without a second are left out.
pub(super) fn uses(segments: &[Segment], period: Period) -> BTreeMap<Use, i64> {
    let mut uses = BTreeMap::new();
    for segment in segments {
        *uses.entry(segment.usage).or_default() += period.seconds(segment.from, segment.to);
    }
    uses.retain(|_, seconds| *seconds > 0);
    uses
}

/// The segments cut to the period; what goes on at its end stays open.
pub(super) fn cut(segments: &[Segment], period: Period) -> Vec<Segment> {
    let one = |segment: &Segment| {
        let (from, to) = period.cut(segment.from, segment.to)?;
        let open = segment.to.is_none_or(|end| end > period.until);
        Some(Segment { from, to: (!open).then_some(to), usage: segment.usage })
    };
    segments.iter().filter_map(one).collect()
}

/// The sum of what something cost.
pub(super) fn total(cost: &Cost) -> Range {
    cost.compute + cost.storage + cost.address
}

/// Both costs together.
pub(super) fn sum(a: Cost, b: &Cost) -> Cost {
    Cost { compute: a.compute + b.compute, storage: a.storage + b.storage, address: a.address + b.address }
}
