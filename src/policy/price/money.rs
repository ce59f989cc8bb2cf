//! Amounts of US dollars, counted in whole millionths.

use std::fmt::{self, Write as _};
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

const MICROS_PER_DOLLAR: u64 = 1_000_000;
const MICROS_PER_CENT: u64 = 10_000;

/// An amount of US dollars, never negative, in micro-dollars; so it is in JSON. Sums end at the
/// largest amount there is instead of wrapping.
///
/// It shows whole cents (`$12.34`, and `<$0.01` for less than one); with `{:#}`, all it has (`$0.0052`).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Money(u64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many millionths of a dollar.
    pub const fn micro_dollars(amount: u64) -> Self {
        Self(amount)
    }

    /// Its millionths of a dollar.
    pub const fn as_micro_dollars(self) -> u64 {
        self.0
    }

    /// `count` times the amount.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// `part` of `whole` parts of the amount, rounded up; a `whole` of 0 is taken for 1.
    #[must_use]
    pub fn share(self, part: u64, whole: u64) -> Self {
        let exact = u128::from(self.0) * u128::from(part);
        Self(u64::try_from(exact.div_ceil(u128::from(whole.max(1)))).unwrap_or(u64::MAX))
    }

    /// The same, rounded to the nearest; `None` for no whole.
    pub(super) fn share_rounded(self, part: u64, whole: u64) -> Option<Self> {
        let exact = u128::from(self.0) * u128::from(part) + u128::from(whole / 2);
        u64::try_from(exact.checked_div(u128::from(whole))?).ok().map(Self)
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        if f.alternate() {
            let digits = format!("{:06}", self.0 % MICROS_PER_DOLLAR);
            let shown = digits.trim_end_matches('0').len().max(2);
            write!(text, "${}.{}", self.0 / MICROS_PER_DOLLAR, &digits[..shown])?;
        } else if (1..MICROS_PER_CENT).contains(&self.0) {
            text.push_str("<$0.01");
        } else {
            let cents = self.0 / MICROS_PER_CENT + u64::from(self.0 % MICROS_PER_CENT >= MICROS_PER_CENT / 2);
            write!(text, "${}.{:02}", cents / 100, cents % 100)?;
        }
        f.pad(&text)
    }
}

/// What something costs at the least and at the most. It shows as one amount, or as `$0.00..$1.50`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Range {
    /// At the least.
    pub low: Money,
    /// At the most.
    pub high: Money,
}

impl Range {
    /// Nothing.
    pub const ZERO: Self = Self::exactly(Money::ZERO);

    /// A price that is known.
    pub const fn exactly(price: Money) -> Self {
        Self { low: price, high: price }
    }

    /// A price of which only the bound is known.
    pub const fn up_to(price: Money) -> Self {
        Self { low: Money::ZERO, high: price }
    }

    /// `count` times both ends.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self { low: self.low.times(count), high: self.high.times(count) }
    }

    /// `part` of `whole` parts of both ends, rounded up; a `whole` of 0 is taken for 1.
    #[must_use]
    pub fn share(self, part: u64, whole: u64) -> Self {
        Self { low: self.low.share(part, whole), high: self.high.share(part, whole) }
    }
}

impl Add for Range {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { low: self.low + other.low, high: self.high + other.high }
    }
}

impl AddAssign for Range {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Range {
    fn sum<I: Iterator<Item = Self>>(ranges: I) -> Self {
        ranges.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = f.alternate();
        let [low, high] = [self.low, self.high].map(|end| if whole { format!("{end:#}") } else { end.to_string() });
        if low == high { f.pad(&low) } else { f.pad(&format!("{low}..{high}")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_amount_shows_cents_or_all_it_has() {
        for (micros, short, long) in [
            (0, "$0.00", "$0.00"),
            (1, "<$0.01", "$0.000001"),
            (5_200, "<$0.01", "$0.0052"),
            (10_000, "$0.01", "$0.01"),
            (14_999, "$0.01", "$0.014999"),
            (15_000, "$0.02", "$0.015"),
            (3_650_000, "$3.65", "$3.65"),
            (999_995_000, "$1000.00", "$999.995"),
            (u64::MAX, "$18446744073709.55", "$18446744073709.551615"),
        ] {
            let money = Money::micro_dollars(micros);
            assert_eq!((money.to_string().as_str(), format!("{money:#}").as_str()), (short, long));
        }
        assert_eq!(format!("{:>8}", Money::micro_dollars(3_650_000)), "   $3.65");
    }

    #[test]
    fn a_range_shows_one_amount_where_both_ends_look_alike() {
        let range = Range { low: Money::micro_dollars(1_000_000), high: Money::micro_dollars(1_000_400) };
        assert_eq!((range.to_string().as_str(), format!("{range:#}").as_str()), ("$1.00", "$1.00..$1.0004"));
    }

    #[test]
    fn json_has_whole_micro_dollars() {
        let range = Range::up_to(Money::micro_dollars(100_800));
        let text = serde_json::to_string(&range).expect("json");
        assert_eq!(text, r#"{"low":0,"high":100800}"#);
        assert_eq!(serde_json::from_str::<Range>(&text).expect("a range"), range);
        assert!(serde_json::from_str::<Money>("-1").is_err());
        assert!(serde_json::from_str::<Money>("0.5").is_err());
    }

    #[test]
    fn a_sum_ends_at_the_largest_amount() {
        let most = Money::micro_dollars(u64::MAX);
        assert_eq!([most, most].into_iter().sum::<Money>(), most);
        assert_eq!(most.times(2), most);
        assert_eq!(most.share(u64::MAX, 1), most);
        assert_eq!([Range::exactly(most), Range::up_to(most)].into_iter().sum::<Range>(), Range::exactly(most));
    }

    proptest! {
        #[test]
        fn a_share_is_never_less_than_its_part(amount in 0..u64::from(u32::MAX), part in 0..u64::from(u32::MAX), whole in 1..u64::from(u32::MAX)) {
            let share = Money::micro_dollars(amount).share(part, whole).as_micro_dollars();
            prop_assert!(u128::from(share) * u128::from(whole) >= u128::from(amount) * u128::from(part));
            prop_assert!(u128::from(share) * u128::from(whole) < u128::from(amount) * u128::from(part) + u128::from(whole));
        }

        #[test]
        fn a_range_keeps_its_order(low in any::<u64>(), more in any::<u64>(), count in any::<u64>()) {
            let range = Range { low: Money::micro_dollars(low), high: Money::micro_dollars(low) + Money::micro_dollars(more) };
            let (times, sum) = (range.times(count), range + Range::up_to(Money::micro_dollars(count)));
            prop_assert!(times.low <= times.high && sum.low <= sum.high);
        }
    }
}
