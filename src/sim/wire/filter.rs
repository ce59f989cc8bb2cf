//! EC2's filters: every filter must match, by any of its values, which may hold `*` and `?`.

use super::query::Node;
use crate::sim::error::ApiError;
use crate::sim::instance::Tags;

/// The most values that a filter takes.
const VALUES_MAX: usize = 200;
/// What stands for `tag:KEY`, `tag-key` and `tag-value` in a list of names.
pub(super) const TAGS: &str = "tag";

#[derive(Debug, Clone, PartialEq, Eq)]
struct Filter {
    name: String,
    values: Vec<String>,
}

/// The filters of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filters(Vec<Filter>);

impl Filters {
    /// Reads the filters of a call whose resource knows `names`.
    pub(super) fn parse(root: &Node, names: &[&str]) -> Result<Self, ApiError> {
        let mut filters = Vec::new();
        for part in root.list("Filter") {
            let name = part.required("Name")?;
            if !known(name, names) {
                return Err(ApiError::invalid_value(format!("The filter '{name}' is invalid")));
            }
            let values = part.texts("Value");
            if values.is_empty() {
                let message = format!("The filter '{name}' must have at least one value");
                return Err(ApiError::invalid_value(message));
            }
            if values.len() > VALUES_MAX {
                let message = format!("The maximum number of filter values specified on a single call is {VALUES_MAX}");
                return Err(ApiError::client("FilterLimitExceeded", message));
            }
            filters.push(Filter { name: name.to_owned(), values: values.into_iter().map(ToOwned::to_owned).collect() });
        }
        Ok(Self(filters))
    }

    /// The values that a filter allows, if it is set and none of them is a pattern.
    pub(super) fn exact(&self, name: &str) -> Option<&[String]> {
        let filter = self.0.iter().find(|filter| filter.name == name)?;
        let literal = |value: &String| !value.contains(['*', '?', '\\']);
        filter.values.iter().all(literal).then_some(filter.values.as_slice())
    }

    /// Whether a resource passes. `value` gives what it has under a filter's name.
    pub(super) fn pass<'a>(&self, tags: &Tags, value: impl Fn(&str) -> Values<'a>) -> bool {
        self.0.iter().all(|filter| {
            let hit = |text: &str| filter.values.iter().any(|pattern| matches(pattern, text));
            match filter.name.as_str() {
                "tag-key" => tags.keys().any(|key| hit(key)),
                "tag-value" => tags.values().any(|value| hit(value)),
                name => match name.strip_prefix("tag:") {
                    Some(key) => tags.get(key).is_some_and(|value| hit(value)),
                    None => value(name).0.iter().any(|text| hit(text)),
                },
            }
        })
    }
}

/// What a resource has under a filter's name: nothing, one thing, or several.
#[derive(Debug, Default)]
pub(super) struct Values<'a>(Vec<std::borrow::Cow<'a, str>>);

impl<'a> Values<'a> {
    /// It has no such thing.
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// Several.
    pub(super) fn many(values: impl IntoIterator<Item = &'a str>) -> Self {
        Self(values.into_iter().map(Into::into).collect())
    }
}

impl<'a> From<&'a str> for Values<'a> {
    fn from(value: &'a str) -> Self {
        Self(vec![value.into()])
    }
}

impl<'a> From<&'a String> for Values<'a> {
    fn from(value: &'a String) -> Self {
        value.as_str().into()
    }
}

impl From<String> for Values<'_> {
    fn from(value: String) -> Self {
        Self(vec![value.into()])
    }
}

impl From<bool> for Values<'_> {
    fn from(value: bool) -> Self {
        if value { "true".into() } else { "false".into() }
    }
}

impl From<chrono::DateTime<chrono::Utc>> for Values<'_> {
    fn from(value: chrono::DateTime<chrono::Utc>) -> Self {
        value.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into()
    }
}

impl<'a, T: Into<Values<'a>>> From<Option<T>> for Values<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(Values::none, Into::into)
    }
}

fn known(name: &str, names: &[&str]) -> bool {
    let about_tags = name.starts_with("tag:") || matches!(name, "tag-key" | "tag-value");
    names.contains(&name) || (about_tags && names.contains(&TAGS))
}

/// Whether a text fits a pattern of `*` (any text), `?` (one character) and `\` (the next one itself).
fn matches(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?', '\\']) {
        return pattern == text;
    }
    let pattern = tokens(pattern);
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on when what came after the last star does not fit.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Token::Any) => {
                star = Some((p, t));
                p += 1;
            }
            Some(token) if token.is(text[t]) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                p = after + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|token| *token == Token::Any)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Is(char),
}

impl Token {
    fn is(self, c: char) -> bool {
        match self {
            Token::Is(own) => own == c,
            Token::One => true,
            Token::Any => false,
        }
    }
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut chars = pattern.chars();
    let mut tokens = Vec::with_capacity(pattern.len());
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => Token::Is(chars.next().unwrap_or('\\')),
            c => Token::Is(c),
        });
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(text: &str) -> Result<Filters, ApiError> {
        Filters::parse(&Node::parse(text.as_bytes()).expect("parses"), &["instance-id", TAGS])
    }

    #[test]
    fn stars_and_question_marks_are_patterns_unless_escaped() {
        let fits =
            [("a*c", "abbc"), ("a*c", "ac"), ("*", ""), ("?b", "ab"), ("a\\*", "a*"), ("*a*b", "xaayb"), ("a**", "a")];
        assert!(fits.iter().all(|(pattern, text)| matches(pattern, text)));
        let fails = [("a*c", "abcd"), ("?", ""), ("a\\*", "ab"), ("A", "a"), ("*ab", "aab c")];
        assert!(!fails.iter().any(|(pattern, text)| matches(pattern, text)));
        assert!(!matches(&"*a".repeat(30), &"a".repeat(29)), "and it takes no time");
    }

    #[test]
    fn every_filter_must_match_by_any_of_its_values() {
        let two = filters(
            "Filter.1.Name=instance-id&Filter.1.Value.1=i-1&Filter.1.Value.2=i-2&Filter.2.Name=tag:a&Filter.2.Value.1=x*",
        )
        .expect("parses");
        let tags: Tags = [("a".to_owned(), "xy".to_owned())].into_iter().collect();
        assert!(two.pass(&tags, |_| "i-2".into()));
        assert!(!two.pass(&tags, |_| "i-3".into()));
        assert!(!two.pass(&Tags::new(), |_| "i-2".into()));
        assert_eq!(two.exact("instance-id").map(<[String]>::len), Some(2));
        let keys = filters("Filter.1.Name=tag-key&Filter.1.Value.1=a").expect("parses");
        assert!(keys.pass(&tags, |_| Values::none()));
    }

    #[test]
    fn an_unknown_filter_is_refused_by_name() {
        let error = filters("Filter.1.Name=colour&Filter.1.Value.1=red").expect_err("unknown");
        assert_eq!(
            (error.code.as_ref(), error.message.as_str()),
            ("InvalidParameterValue", "The filter 'colour' is invalid")
        );
        assert_eq!(filters("Filter.1.Value.1=red").expect_err("no name").code, "MissingParameter");
        let many = (1..=201).map(|n| format!("Filter.1.Value.{n}=x&")).collect::<Vec<_>>().concat();
        assert_eq!(
            filters(&format!("{many}Filter.1.Name=instance-id")).expect_err("too many").code,
            "FilterLimitExceeded"
        );
    }
}
