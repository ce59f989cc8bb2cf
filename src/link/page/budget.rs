//! How an owner's month stands, as a bar and in words.

use serde_json::{Value, json};

use super::fleet::amount;
use crate::control::BudgetView;
use crate::model::counted;
use crate::policy::price::Money;

/// How wide the bar is, in the unit of its paths.
const WIDTH: u64 = 1000;
/// How high it is, in the same unit.
const HEIGHT: u64 = 10;
/// How wide the mark of an amount is.
const MARK: u64 = 8;

pub(super) fn row(view: &BudgetView) -> Value {
    let used = view.hard.or(view.soft).map(|limit| per_cent(view.spent.high, limit));
    let of = if view.hard.is_some() { "hard" } else { "soft" };
    let used = used.map(|used| format!("at most {used} % of the {of} amount"));
    let (class, state) = state(view);
    json!({
        "owner": view.owner,
        "month": view.month,
        "class": class,
        "state": state,
        "title": format!("{} in {}: {}", view.owner, view.month, used.unwrap_or_default()),
        "width": WIDTH,
        "height": HEIGHT,
        "paths": paths(view),
        "facts": facts(view),
        "missing": missing(view),
    })
}

/// How it stands, in a class and in words.
fn state(view: &BudgetView) -> (&'static str, String) {
    let reaches = |limit: Option<Money>, words: &str| {
        if limit.is_some_and(|limit| view.projected.high >= limit) { words.to_owned() } else { String::new() }
    };
    let (class, state) = match view.state.as_str() {
        "hard" => ("bad", format!("hard amount reached: nothing is launched before {}", view.until.format("%Y-%m-%d"))),
        "soft" => ("warn", format!("soft amount reached{}", reaches(view.hard, ", and the hard one if it goes on so"))),
        _ => {
            let first = view.soft.or(view.hard);
            ("good", format!("within the budget{}", reaches(first, ", and over it if it goes on so")))
        }
    };
    if view.is_blind() {
        return ("bad", format!("{state}, as far as prices are known: nothing is launched until all are"));
    }
    (class, state)
}

/// What of it a person should know of. That the hard amount is reached, or that nobody can tell, is a warning of its
/// own; disks whose size no manifest says are so common that the budget alone tells of them.
pub(super) fn notes(view: &BudgetView) -> Vec<String> {
    let soft = (view.state == "soft").then(|| format!("{}: {}", view.owner, state(view).1));
    let unpriced = (view.unpriced > 0 && !view.is_blind()).then(|| {
        let some = counted(view.unpriced, "instance");
        format!("{}: more is spent than its budget says: {some} without a known price", view.owner)
    });
    soft.into_iter().chain(unpriced).collect()
}

fn facts(view: &BudgetView) -> Vec<(&'static str, String)> {
    let mut facts = vec![("spent", amount(view.spent))];
    let limits = [("soft", view.soft), ("hard", view.hard)];
    facts.extend(limits.iter().filter_map(|(name, limit)| Some((*name, limit.as_ref()?.to_string()))));
    facts.push(("if it goes on so", amount(view.projected)));
    facts.push(("per hour now", amount(view.rate)));
    facts
}

/// What is spent, too, and not counted, or not at its price.
fn missing(view: &BudgetView) -> Option<String> {
    let unpriced = (view.unpriced > 0).then(|| format!("{} without a known price", counted(view.unpriced, "instance")));
    let unsized_disks = (view.unsized_disks > 0)
        .then(|| format!("the disks of {} whose size is not known", counted(view.unsized_disks, "instance")));
    let missing: Vec<String> = unpriced.into_iter().chain(unsized_disks).collect();
    (!missing.is_empty()).then(|| format!("Not, or not wholly, in it: {}.", missing.join(", and ")))
}

/// How much of a limit is used, in hundredths rounded up: 100 is only where it is reached.
fn per_cent(spent: Money, limit: Money) -> u128 {
    let (spent, limit) = (u128::from(spent.as_micro_dollars()), u128::from(limit.as_micro_dollars()));
    let up = (spent * 100).div_ceil(limit.max(1));
    if spent < limit { up.min(99) } else { up }
}

/// What is spent for sure, what perhaps, what is to come, and where the amounts are. The bar ends at the highest
/// amount, or at what is spent where that is more.
fn paths(view: &BudgetView) -> Vec<Value> {
    let ends = [view.soft, view.hard, Some(view.spent.high)].into_iter().flatten().max().unwrap_or_default();
    let whole = u128::from(ends.as_micro_dollars().max(1));
    let place = |amount: Money| {
        let at = u128::from(amount.as_micro_dollars()) * u128::from(WIDTH) / whole;
        u64::try_from(at).unwrap_or(WIDTH).min(WIDTH)
    };
    let [low, high, ahead] = [view.spent.low, view.spent.high, view.projected.high].map(place);
    let parts = [("spent", 0, low), ("perhaps", low, high), ("ahead", high, ahead)];
    let marks = [("soft", view.soft), ("hard", view.hard)].into_iter().filter_map(|(name, limit)| {
        let at = place(limit?).saturating_sub(MARK);
        Some((name, at, at + MARK))
    });
    let drawn = parts.into_iter().chain(marks).filter(|(_, from, to)| from < to);
    let path = |(name, from, to): (&str, u64, u64)| {
        let width = to - from;
        json!({ "class": format!("b-{name}"), "d": format!("M{from} 0h{width}v{HEIGHT}h-{width}z") })
    };
    drawn.map(path).collect()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::policy::price::Range;

    fn dollars(low: u64, high: u64) -> Range {
        Range { low: Money::micro_dollars(low * 1_000_000), high: Money::micro_dollars(high * 1_000_000) }
    }

    fn view(soft: Option<u64>, hard: Option<u64>, spent: Range, state: &str) -> BudgetView {
        let limit = |dollars: u64| Money::micro_dollars(dollars * 1_000_000);
        BudgetView {
            owner: "alice".to_owned(),
            month: "2026-11".to_owned(),
            state: state.to_owned(),
            soft: soft.map(limit),
            hard: hard.map(limit),
            at_hard: "finish".to_owned(),
            allow_unpriced: false,
            spent,
            projected: dollars(70, 90),
            rate: Range::ZERO,
            unpriced: 0,
            unsized_disks: 0,
            until: DateTime::UNIX_EPOCH,
            why: None,
        }
    }

    fn drawn(view: &BudgetView) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        paths(view).iter().map(|path| (text(&path["class"]), text(&path["d"]))).collect()
    }

    fn expected(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(class, d)| ((*class).to_owned(), (*d).to_owned())).collect()
    }

    #[test]
    fn the_bar_ends_at_the_highest_amount() {
        let open = view(Some(60), Some(100), dollars(20, 30), "open");
        let parts = [
            ("b-spent", "M0 0h200v10h-200z"),
            ("b-perhaps", "M200 0h100v10h-100z"),
            ("b-ahead", "M300 0h600v10h-600z"),
            ("b-soft", "M592 0h8v10h-8z"),
            ("b-hard", "M992 0h8v10h-8z"),
        ];
        assert_eq!(drawn(&open), expected(&parts));
        let over = view(Some(100), None, dollars(150, 200), "soft");
        let parts =
            [("b-spent", "M0 0h750v10h-750z"), ("b-perhaps", "M750 0h250v10h-250z"), ("b-soft", "M492 0h8v10h-8z")];
        assert_eq!(drawn(&over), expected(&parts));
        assert!(drawn(&view(None, None, Range::ZERO, "open")).iter().all(|(class, _)| class == "b-ahead"));
    }

    #[test]
    fn a_budget_is_used_up_only_where_it_is() {
        let limit = Money::micro_dollars(100_000_000);
        for (spent, told) in
            [(0, 0), (1, 1), (99_000_001, 99), (99_999_999, 99), (100_000_000, 100), (150_000_001, 151)]
        {
            assert_eq!(per_cent(Money::micro_dollars(spent), limit), told, "{spent}");
        }
    }

    #[test]
    fn it_is_told_in_words_too() {
        let hard = row(&view(Some(60), Some(100), dollars(99, 101), "hard"));
        assert_eq!(hard["state"], "hard amount reached: nothing is launched before 1970-01-01");
        assert_eq!(hard["title"], "alice in 2026-11: at most 101 % of the hard amount");
        assert_eq!((hard["class"].as_str(), hard["missing"].is_null()), (Some("bad"), true));
        let told = |soft, hard, state| row(&view(soft, hard, dollars(1, 2), state))["state"].clone();
        assert_eq!(told(Some(80), None, "open"), "within the budget, and over it if it goes on so");
        assert_eq!(told(Some(91), None, "open"), "within the budget");
        assert_eq!(told(Some(1), Some(90), "soft"), "soft amount reached, and the hard one if it goes on so");
        assert_eq!(told(Some(1), None, "soft"), "soft amount reached");
        assert_eq!(notes(&view(Some(1), None, dollars(1, 2), "soft")), ["alice: soft amount reached"]);
        let unknown = BudgetView { unpriced: 1, unsized_disks: 2, ..view(Some(60), None, dollars(1, 2), "open") };
        let note = "alice: more is spent than its budget says: 1 instance without a known price";
        assert_eq!(notes(&unknown), [note]);
        assert!(notes(&BudgetView { unpriced: 0, ..unknown.clone() }).is_empty(), "disks are told by the budget");
        let unknown = row(&unknown);
        let missing = "Not, or not wholly, in it: 1 instance without a known price, and the disks of 2 instances whose \
                       size is not known.";
        assert_eq!((unknown["missing"].as_str(), unknown["class"].as_str()), (Some(missing), Some("good")));
        let blind =
            BudgetView { unpriced: 1, why: Some("it is".to_owned()), ..view(None, Some(100), dollars(1, 2), "open") };
        let blind = row(&blind);
        let state = "within the budget, as far as prices are known: nothing is launched until all are";
        assert_eq!((blind["state"].as_str(), blind["class"].as_str()), (Some(state), Some("bad")));
    }
}
