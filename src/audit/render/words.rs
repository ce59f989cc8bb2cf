//! How amounts, durations, counts and foreign texts are said, the same in every form.

use chrono::{DateTime, NaiveDate, Utc};

use crate::model::plain;
use crate::policy::price::{Money, Range};

/// The longest name or id that is shown whole, in characters.
const NAME_MAX: usize = 64;
/// The longest sentence.
const SENTENCE_MAX: usize = 400;
/// The longest command. A longer one is not shown at all: half a command is another command.
const COMMAND_MAX: usize = 1000;

/// `$12.34 to $13.10`, `at most $13.10`, or one amount where both ends look alike.
pub(super) fn money(range: Range) -> String {
    let [low, high] = [range.low, range.high].map(|end| end.to_string());
    if low == high {
        low
    } else if range.low == Money::ZERO {
        format!("at most {high}")
    } else {
        format!("{low} to {high}")
    }
}

/// The same, or why there is no amount.
pub(super) fn money_or_unknown(range: Option<Range>) -> String {
    range.map_or_else(|| "price unknown".to_owned(), money)
}

/// `1 h 05 min`, `1 min 35 s`, `45 s`.
pub(super) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (hours, minutes) = (seconds / 3600, seconds / 60);
    if hours > 0 {
        let whole = count(hours);
        if minutes % 60 == 0 { format!("{whole} h") } else { format!("{whole} h {:02} min", minutes % 60) }
    } else if minutes > 0 {
        if seconds % 60 == 0 { format!("{minutes} min") } else { format!("{minutes} min {:02} s", seconds % 60) }
    } else {
        format!("{seconds} s")
    }
}

/// The same, or `not told` where a record says nothing.
pub(super) fn span_or_silence(seconds: Option<i64>) -> String {
    seconds.map_or_else(|| "not told".to_owned(), span)
}

/// `1,204`.
pub(super) fn count(number: impl Into<i128>) -> String {
    let number: i128 = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut grouped = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 time`, `2 times`: the plural is the word with an `s`.
pub(super) fn counted(number: impl Into<i128>, one: &str) -> String {
    let number = number.into();
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// How many there are of something in memory.
pub(super) fn length<T>(items: &[T]) -> i128 {
    i128::try_from(items.len()).unwrap_or(i128::MAX)
}

/// `61 %`, with a tenth below ten.
pub(super) fn percent(permille: impl Into<u64>) -> String {
    let permille = permille.into();
    if permille < 100 && !permille.is_multiple_of(10) {
        format!("{}.{} %", permille / 10, permille % 10)
    } else {
        format!("{} %", permille.saturating_add(5) / 10)
    }
}

/// The thousandths that `part` is of `whole`; 0 of nothing.
pub(super) fn permille(part: u64, whole: u64) -> u64 {
    let exact = u128::from(part) * 1000;
    exact.checked_div(u128::from(whole)).map_or(0, |share| u64::try_from(share).unwrap_or(u64::MAX))
}

/// `2026-11-03 14:05`; what shows it says that it is UTC.
pub(super) fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M").to_string()
}

/// The same, or another word.
pub(super) fn moment_or(at: Option<DateTime<Utc>>, other: &str) -> String {
    at.map_or_else(|| other.to_owned(), moment)
}

/// The same within a sentence: `3 Nov 2026 14:05 UTC`.
pub(super) fn moment_in_words(at: DateTime<Utc>) -> String {
    at.format("%-d %b %Y %H:%M UTC").to_string()
}

/// `November 2026` of `2026-11`; what is no month stays as it is.
pub(super) fn month(text: &str) -> String {
    let first = NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d");
    first.map_or_else(|_| name(text), |first| first.format("%B %Y").to_string())
}

/// `3 Nov`.
pub(super) fn short_date(date: NaiveDate) -> String {
    date.format("%-d %b").to_string()
}

/// A name or an id: harmless, and cut where it is too long.
pub(super) fn name(text: &str) -> String {
    cut(&plain(text), NAME_MAX)
}

/// The same, or a dash where there is none.
pub(super) fn name_or_dash(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), name)
}

/// Words: harmless, each of them and all together cut where they are too long.
pub(super) fn sentence(text: &str) -> String {
    let words: Vec<String> = plain(text).split(' ').map(|word| cut(word, NAME_MAX)).collect();
    cut(&words.join(" "), SENTENCE_MAX)
}

/// A command to copy: whole, or not at all.
pub(super) fn command(text: &str) -> String {
    if text.chars().count() > COMMAND_MAX || plain(text) != text {
        "(not shown: it is too long, or part of it cannot be seen; see the JSON)".to_owned()
    } else {
        text.to_owned()
    }
}

/// The text, or as much of it as `most` characters with the mark of a cut hold.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_a_range_a_bound_or_one_amount() {
        let range = |low, high| Range { low: Money::micro_dollars(low), high: Money::micro_dollars(high) };
        let said = [range(12_340_000, 13_100_000), range(0, 1_500_000), range(5, 5), range(0, 0), range(1, 2_000_000)];
        assert_eq!(
            said.map(money),
            ["$12.34 to $13.10", "at most $1.50", "<$0.01", "$0.00", "<$0.01 to $2.00"].map(str::to_owned)
        );
        assert_eq!(money_or_unknown(None), "price unknown");
    }

    #[test]
    fn durations_have_two_units() {
        let said = [-1, 0, 59, 60, 95, 3599, 3600, 3900, 86_400 * 50].map(span);
        let words = ["0 s", "0 s", "59 s", "1 min", "1 min 35 s", "59 min 59 s", "1 h", "1 h 05 min", "1,200 h"];
        assert_eq!(said, words.map(str::to_owned));
    }

    #[test]
    fn counts_and_shares_are_read_at_a_glance() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"].map(str::to_owned));
        assert_eq!([0, 1, 2, 1204].map(|n| counted(n, "time")), ["0 times", "1 time", "2 times", "1,204 times"]);
        assert_eq!([0_u64, 4, 40, 42, 615, 1000].map(percent), ["0 %", "0.4 %", "4 %", "4.2 %", "62 %", "100 %"]);
        assert_eq!((permille(1, 3), permille(5, 0), permille(u64::MAX, u64::MAX)), (333, 0, 1000));
    }

    #[test]
    fn foreign_text_is_cut_and_a_command_is_whole_or_not_there() {
        assert_eq!(name(&"a".repeat(256)).chars().count(), NAME_MAX);
        assert_eq!(sentence(&format!("so {}", "b".repeat(256))).chars().count(), NAME_MAX + 3);
        assert_eq!(sentence(&"word ".repeat(200)).chars().count(), SENTENCE_MAX);
        assert_eq!(command("latent sweep --apply"), "latent sweep --apply");
        assert!(command("latent \u{202e}x").starts_with("(not shown"));
        assert!(command(&"x".repeat(COMMAND_MAX + 1)).starts_with("(not shown"));
    }
}
