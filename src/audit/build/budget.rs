//! How the calendar month stands against the owner's budget.

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, Utc};

use super::lines::Tariff;
use super::period::Period;
use super::runs::completed;
use crate::audit::evidence::Evidence;
use crate::audit::report::BudgetLine;
use crate::plan::meter::Run;
use crate::policy::price::{Money, Range};

/// The first moment of the month, and of the next one, in UTC.
fn month(at: DateTime<Utc>) -> Period {
    let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
    let first = at.date_naive().with_day(1).unwrap_or(NaiveDate::MIN);
    let next = first.checked_add_months(Months::new(1)).unwrap_or(NaiveDate::MAX);
    Period { since: midnight(first), until: midnight(next) }
}

/// The month in which the report ends; absent without a budget, or where no ledger tells of the owner's machines.
pub(super) fn budget(evidence: &Evidence<'_>, runs: &[Run]) -> Option<BudgetLine> {
    let budget = evidence.intent?.owners.get(evidence.owner)?.budget?;
    evidence.ledger.as_ref().ok()?;
    let month = month(evidence.until);
    let so_far = Period { since: month.since, until: evidence.until };
    let tariff = Tariff::of(evidence);
    let ours = runs.iter().filter(|run| run.cell.owner == *evidence.owner && run.instance.is_some());
    let spent: Range = ours.map(|run| tariff.counted(&completed(evidence, run), so_far)).sum();
    Some(BudgetLine {
        month: month.since.format("%Y-%m").to_string(),
        soft: budget.soft.map(Money::micro_dollars),
        hard: budget.hard.map(Money::micro_dollars),
        spent,
        projected: spent.share(month.length(), so_far.length()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_with_its_first_day_and_december_has_an_end() {
        let told = month("2026-12-31T23:59:59Z".parse().expect("a time"));
        assert_eq!(told.since.to_rfc3339(), "2026-12-01T00:00:00+00:00");
        assert_eq!(told.until.to_rfc3339(), "2027-01-01T00:00:00+00:00");
    }
}
