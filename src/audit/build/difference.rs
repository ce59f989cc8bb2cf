//! Where three records disagree about when an instance ran, and what that means.

use chrono::TimeDelta;

use super::draft::Draft;
use crate::audit::report::{Difference, Hours};
use crate::plan::sweep::said;

/// Records may differ by so many seconds for each start: one writes when a call was sent, another when its
/// effect was seen.
const SECONDS_PER_START: i64 = 180;
/// And by this share of what the longest one tells, in parts of a hundred.
const PERCENT: i64 = 1;

/// By how much the records are apart, in seconds.
fn distance(hours: &Hours) -> i64 {
    let told = [hours.ledger, hours.cloudtrail, hours.describe].into_iter().flatten();
    let (least, most) = told.fold((i64::MAX, i64::MIN), |(least, most), one| (least.min(one), most.max(one)));
    most.saturating_sub(least).max(0)
}

/// The differences that mean something, the largest first.
pub(super) fn differences(drafts: &[Draft], has_ledger: bool) -> Vec<Difference> {
    let mut found: Vec<(i64, Difference)> = drafts.iter().filter_map(|draft| one(draft, has_ledger)).collect();
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.instance.cmp(&b.1.instance)));
    found.into_iter().map(|(_, difference)| difference).collect()
}

fn one(draft: &Draft, has_ledger: bool) -> Option<(i64, Difference)> {
    let line = &draft.line;
    let hours = line.hours;
    let longest = [hours.ledger, hours.cloudtrail, hours.describe].into_iter().flatten().max().unwrap_or(0);
    let may = SECONDS_PER_START * i64::from(line.starts.max(1)) + longest * PERCENT / 100;
    let unknown_to_ledger = has_ledger && hours.ledger.is_none() && longest > 0 && !draft.explained;
    let apart = if unknown_to_ledger { longest } else { distance(&hours) };
    if !unknown_to_ledger && apart <= may {
        return None;
    }
    let what = meaning(draft, unknown_to_ledger, apart);
    let difference = Difference { instance: line.instance.clone(), worker: line.worker.clone(), hours, what };
    Some((apart, difference))
}

fn meaning(draft: &Draft, unknown_to_ledger: bool, apart: i64) -> String {
    let hours = draft.line.hours;
    let by = said(TimeDelta::seconds(apart));
    if unknown_to_ledger {
        return format!("the ledger does not know it, and it ran for {by}: nobody of this controller accounts for it");
    }
    let longer = |a: Option<i64>, b: Option<i64>| a.zip(b).is_some_and(|(a, b)| a > b);
    if longer(hours.cloudtrail, hours.ledger.or(hours.describe)) {
        if draft.trail_open && !draft.is_live {
            return format!(
                "CloudTrail tells {by} more because it has no end for it: a shutdown from inside the guest, or an \
                 end by EC2, is no call, and is not in CloudTrail. It does not run any more"
            );
        }
        return format!(
            "CloudTrail tells {by} more: it was started before the ledger says so, or ended after; its times are EC2's"
        );
    }
    if longer(hours.ledger, hours.cloudtrail) {
        return format!(
            "the ledger tells {by} more than CloudTrail: calls of before CloudTrail was asked, or of the last quarter \
             of an hour, are not in it; otherwise the controller saw the end late"
        );
    }
    if longer(hours.describe, hours.ledger) {
        return format!("EC2 shows {by} more than the ledger: the ledger lost sight of it");
    }
    format!("the ledger tells {by} more than EC2 shows: the controller saw its end late, or missed a stop")
}
