//! Plots as shapes in tenths of a pixel: drawn as SVG by the template, told in words everywhere else.

use serde::{Serialize, Serializer};

use crate::plan::meter::Use;

/// A length or a place in tenths of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Px(pub(super) i64);

impl Px {
    pub(super) const fn whole(pixels: i64) -> Self {
        Self(pixels * 10)
    }
}

impl std::fmt::Display for Px {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sign, size) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        match size % 10 {
            0 => write!(f, "{sign}{}", size / 10),
            tenth => write!(f, "{sign}{}.{tenth}", size / 10),
        }
    }
}

impl Serialize for Px {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A plot.
#[derive(Debug, Serialize)]
pub(super) struct Chart {
    /// Unique in its page.
    pub(super) id: String,
    pub(super) title: String,
    /// What it shows, for who cannot see it.
    pub(super) description: String,
    pub(super) width: i64,
    pub(super) height: i64,
    pub(super) shapes: Vec<Shape>,
    /// The uses that are in it.
    pub(super) legend: Vec<&'static str>,
    /// What else there is to say of it.
    pub(super) notes: Vec<String>,
    /// Whether it can be read at the width of a phone.
    pub(super) small: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    /// A stroke or an area; what it is shows where the pointer rests.
    Path {
        d: String,
        class: String,
        tip: Option<String>,
    },
    Text {
        x: Px,
        y: Px,
        class: &'static str,
        text: String,
    },
}

impl Shape {
    /// A rectangle.
    pub(super) fn area(x: Px, y: Px, width: Px, height: Px, class: String) -> Self {
        Self::Path { d: rectangle(x, y, width, height), class, tip: None }
    }

    /// A line from left to right.
    pub(super) fn rule(x: Px, y: Px, width: Px, class: &str) -> Self {
        Self::Path { d: format!("M{x} {y}h{width}"), class: class.to_owned(), tip: None }
    }

    /// A line downward.
    pub(super) fn post(x: Px, y: Px, height: Px, class: &str) -> Self {
        Self::Path { d: format!("M{x} {y}v{height}"), class: class.to_owned(), tip: None }
    }

    pub(super) fn text(x: Px, y: Px, class: &'static str, text: impl Into<String>) -> Self {
        Self::Text { x, y, class, text: text.into() }
    }

    /// The same with what it is.
    pub(super) fn with_tip(self, said: String) -> Self {
        match self {
            Self::Path { d, class, .. } => Self::Path { d, class, tip: Some(said) },
            text @ Self::Text { .. } => text,
        }
    }
}

/// The path of a rectangle.
pub(super) fn rectangle(x: Px, y: Px, width: Px, height: Px) -> String {
    format!("M{x} {y}h{width}v{height}h{}z", Px(-width.0))
}

/// The class of what stands for a use.
pub(super) fn class_of(usage: Use) -> String {
    format!("use {}", usage.word())
}

/// `part` of `whole`, on a length.
pub(super) fn scale(part: u64, whole: u64, length: Px) -> Px {
    let exact = i128::from(part.min(whole)) * i128::from(length.0);
    Px(exact.checked_div(i128::from(whole)).map_or(0, |place| i64::try_from(place).unwrap_or(length.0)))
}

/// The step of an axis that reaches `most` in at most `steps` steps: of `nice` ones the first, or 1, 2 or 5
/// with zeros. Never 0.
pub(super) fn step(most: u64, steps: u64, nice: &[u64]) -> u64 {
    let fits = |step: &u64| step.saturating_mul(steps) >= most;
    let powers = (0..19).map(|power| 10_u64.pow(power));
    let decimal = || powers.flat_map(|power| [power, power.saturating_mul(2), power.saturating_mul(5)]).find(fits);
    nice.iter().copied().find(fits).or_else(decimal).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_a_tenth_where_they_need_one() {
        assert_eq!([0, 10, 15, -15, -20].map(|tenths| Px(tenths).to_string()), ["0", "1", "1.5", "-1.5", "-2"]);
    }

    #[test]
    fn a_scale_never_leaves_its_length() {
        let length = Px::whole(100);
        let places = [(0, 4), (1, 4), (9, 4), (1, 0), (u64::MAX, u64::MAX)].map(|(p, w)| scale(p, w, length));
        assert_eq!(places, [0, 250, 1000, 0, 1000].map(Px));
    }

    #[test]
    fn the_steps_of_an_axis_are_round() {
        assert_eq!([0, 4, 5, 9, 999, 1001].map(|most| step(most, 4, &[])), [1, 1, 2, 5, 500, 500]);
        assert_eq!([50, 400, 5000].map(|most| step(most, 4, &[15, 60, 300])), [15, 300, 2000]);
        assert_eq!(step(u64::MAX, 4, &[]), 5_000_000_000_000_000_000);
    }
}
