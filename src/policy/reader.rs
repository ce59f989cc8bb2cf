//! Reads one table against its list of keys; every mistake becomes a problem, none stops the reading.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use chrono::TimeDelta;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::Document;
use super::key::{Key, Kind};
use super::problem::{Origin, Problem, Problems, Shown};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: Origin,
}

/// A length of time, or `"never"`, or `"auto"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    Of(TimeDelta),
    Never,
    Auto,
}

impl Located<Span> {
    /// The length, unless it is a word.
    pub(super) fn span(&self) -> Option<Located<TimeDelta>> {
        match self.value {
            Span::Of(value) => Some(Located { value, at: self.at.clone() }),
            Span::Never | Span::Auto => None,
        }
    }
}

/// One layer: a table of a document.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) document: &'a Document<'a>,
    pub(super) table: &'a DeTable<'a>,
    pub(super) span: (usize, usize),
}

/// Reads a table, or several layers of it with the highest first.
pub(super) struct Reader<'a, 'p> {
    layers: Vec<Layer<'a>>,
    keys: &'static [Key],
    path: String,
    problems: &'p mut Problems,
    asked: BTreeSet<&'static str>,
    pub(super) shown: Vec<Shown>,
}

type Found<'a> = (&'a Document<'a>, &'a DeValue<'a>, Range<usize>);

impl<'a, 'p> Reader<'a, 'p> {
    pub(super) fn new(layers: Vec<Layer<'a>>, keys: &'static [Key], path: &str, problems: &'p mut Problems) -> Self {
        Self { layers, keys, path: path.to_owned(), problems, asked: BTreeSet::new(), shown: Vec::new() }
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether a master declared it, so that no file holds it.
    pub(super) fn is_declared(&self) -> bool {
        self.layers[0].document.declared
    }

    /// The place of the table itself, for what is missing in it.
    pub(super) fn table_origin(&self) -> Origin {
        let layer = self.layers[0];
        layer.document.origin(&(layer.span.0..layer.span.1))
    }

    /// Reports a problem with a value of this table.
    pub(super) fn report(
        &mut self,
        at: Origin,
        key: &str,
        value: Option<String>,
        message: impl Display,
        cure: impl Display,
    ) {
        let key = self.name(key);
        self.problems.push(Problem { at, key, value, message: message.to_string(), cure: cure.to_string() });
    }

    fn find(&mut self, key: &'static str) -> Option<Found<'a>> {
        debug_assert!(self.keys.iter().any(|k| k.name == key), "{key} is not in the list of keys");
        self.asked.insert(key);
        for layer in &self.layers {
            if let Some(value) = layer.table.get(key) {
                return Some((layer.document, value.get_ref(), value.span()));
            }
        }
        if self.keys.iter().any(|k| k.name == key && k.required) {
            let at = self.table_origin();
            let doc = self.keys.iter().find(|k| k.name == key).map_or("", |k| k.doc);
            self.report(at, key, None, "is missing", format!("add it: {doc}"));
        }
        None
    }

    /// Whether some layer has the key, whatever its value.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.layers.iter().any(|layer| layer.table.get(key).is_some())
    }

    /// The place of a key's value; of the table itself without one.
    pub(super) fn origin_of(&self, key: &'static str) -> Origin {
        let found = self.layers.iter().find_map(|layer| Some((layer.document, layer.table.get(key)?)));
        found.map_or_else(|| self.table_origin(), |(document, value)| document.origin(&value.span()))
    }

    fn wrong_type(&mut self, found: &Found<'_>, key: &str, wanted: &str, cure: impl Display) {
        let (document, value, span) = found;
        let message = format!("is {}, not {wanted}", with_article(value.type_str()));
        self.report(document.origin(span), key, Some(document.excerpt(span)), message, cure);
    }

    fn show(&mut self, key: &str, text: String, at: &Origin) {
        self.shown.push(Shown { key: self.name(key), value: text, at: at.clone() });
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Located<String>> {
        let found = self.find(key)?;
        let Some(text) = found.1.as_str() else {
            let cure = format!("write it in quotes: {key} = \"{}\"", found.0.excerpt(&found.2).trim_matches('"'));
            self.wrong_type(&found, key, "a text", cure);
            return None;
        };
        let at = found.0.origin(&found.2);
        if text.is_empty() {
            self.report(at, key, Some("\"\"".to_owned()), "is empty", "write its value, or remove the key");
            return None;
        }
        self.show(key, format!("{text:?}"), &at);
        Some(Located { value: text.to_owned(), at })
    }

    /// A text that must have the form of `T`.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<Located<T>> {
        let text = self.text(key)?;
        self.parse_one(key, &text.value, text.at)
    }

    fn parse_one<T: FromStr<Err: Display>>(&mut self, key: &str, text: &str, at: Origin) -> Option<Located<T>> {
        match text.parse() {
            Ok(value) => Some(Located { value, at }),
            Err(error) => {
                self.report(at, key, Some(format!("{text:?}")), error, "correct the value");
                None
            }
        }
    }

    /// Several texts; an empty list is a mistake.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<Located<String>>> {
        let found = self.layers.iter().find_map(|layer| layer.table.get(key));
        if found.and_then(|value| value.get_ref().as_array()).is_some_and(|items| items.is_empty()) {
            let at = self.origin_of(key);
            self.report(at, key, Some("[]".to_owned()), "is empty", "name at least one, or remove the key");
            return None;
        }
        self.list(key)
    }

    /// Several texts, or none.
    pub(super) fn list(&mut self, key: &'static str) -> Option<Vec<Located<String>>> {
        let found = self.find(key)?;
        let Some(items) = found.1.as_array() else {
            self.wrong_type(&found, key, "a list", format!("write {key} = [\"…\", \"…\"]"));
            return None;
        };
        let at = found.0.origin(&found.2);
        let mut all = Vec::new();
        for item in items {
            let place = (found.0, item.get_ref(), item.span());
            match item.get_ref().as_str() {
                Some(text) => all.push(Located { value: text.to_owned(), at: found.0.origin(&item.span()) }),
                None => self.wrong_type(&place, key, "a text", "write every item in quotes"),
            }
        }
        let list: Vec<String> = all.iter().map(|text| format!("{:?}", text.value)).collect();
        self.show(key, format!("[{}]", list.join(", ")), &at);
        Some(all)
    }

    /// One or several words of the key's list; a single text counts as a list of one.
    pub(super) fn choices(&mut self, key: &'static str) -> Option<Vec<Located<String>>> {
        let words: &[&str] = match self.keys.iter().find(|k| k.name == key).map(|k| k.kind) {
            Some(Kind::Choice(words) | Kind::Choices(words)) => words,
            _ => &[],
        };
        let several = matches!(self.find(key)?.1, DeValue::Array(_));
        let found = if several { self.texts(key)? } else { vec![self.text(key)?] };
        let mut all = Vec::new();
        for word in found {
            if words.contains(&word.value.as_str()) {
                all.push(word);
            } else {
                let cure = format!("write one of {}", quoted(words));
                self.report(word.at, key, Some(format!("{:?}", word.value)), "is not a known word", cure);
            }
        }
        (!all.is_empty()).then_some(all)
    }

    /// One word of the key's list.
    pub(super) fn choice(&mut self, key: &'static str) -> Option<Located<String>> {
        self.choices(key)?.into_iter().next()
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<Located<bool>> {
        let found = self.find(key)?;
        let Some(value) = found.1.as_bool() else {
            self.wrong_type(&found, key, "true or false", "write true or false, without quotes");
            return None;
        };
        let at = found.0.origin(&found.2);
        self.show(key, value.to_string(), &at);
        Some(Located { value, at })
    }

    /// An amount of dollars, in micro-dollars.
    pub(super) fn amount(&mut self, key: &'static str) -> Option<Located<u64>> {
        const CURE: &str = "write dollars such as \"25.00\"";
        let found = self.find(key)?;
        let at = found.0.origin(&found.2);
        let number = found.1.as_integer().filter(|number| number.radix() == 10).map(toml::de::DeInteger::as_str);
        let Some(text) = found.1.as_str().or(number).or_else(|| found.1.as_float().map(toml::de::DeFloat::as_str))
        else {
            self.wrong_type(&found, key, "an amount", CURE);
            return None;
        };
        let Some(value) = micro_dollars(text) else {
            self.report(at, key, Some(found.0.excerpt(&found.2)), "is not an amount of dollars", CURE);
            return None;
        };
        self.show(key, format!("{text:?}"), &at);
        Some(Located { value, at })
    }

    /// A whole number within the key's bounds.
    pub(super) fn count(&mut self, key: &'static str) -> Option<Located<u32>> {
        let found = self.find(key)?;
        let (min, max) = match self.keys.iter().find(|k| k.name == key).map(|k| k.kind) {
            Some(Kind::Count { min, max }) => (min, max),
            _ => (0, u32::MAX),
        };
        let at = found.0.origin(&found.2);
        let Some(number) = found.1.as_integer() else {
            self.wrong_type(
                &found,
                key,
                "a whole number",
                format!("write a number from {min} to {max}, without quotes"),
            );
            return None;
        };
        match u32::from_str_radix(number.as_str(), number.radix()) {
            Ok(value) if (min..=max).contains(&value) => {
                self.show(key, value.to_string(), &at);
                Some(Located { value, at })
            }
            _ => {
                let excerpt = found.0.excerpt(&found.2);
                self.report(at, key, Some(excerpt), "is out of range", format!("write a number from {min} to {max}"));
                None
            }
        }
    }

    /// A length of time that must be there in some layer.
    pub(super) fn span(&mut self, key: &'static str) -> Option<Located<TimeDelta>> {
        match self.span_or_never(key)? {
            Located { value: Span::Of(value), at } => Some(Located { value, at }),
            Located { value: Span::Never | Span::Auto, .. } => None,
        }
    }

    /// A length of time, or `"never"` or `"auto"` where the key allows it.
    pub(super) fn span_or_never(&mut self, key: &'static str) -> Option<Located<Span>> {
        let found = self.find(key)?;
        let kind = self.keys.iter().find(|k| k.name == key).map(|k| k.kind);
        let auto = kind == Some(Kind::Idle);
        let never = auto || kind == Some(Kind::Duration { never: true });
        let at = found.0.origin(&found.2);
        let excerpt = found.0.excerpt(&found.2);
        let or_never = match (never, auto) {
            (true, true) => ", or \"auto\", or \"never\" if that is meant",
            (true, false) => ", or \"never\" if that is meant",
            (false, _) => "",
        };
        if let Some(number) = found.1.as_integer() {
            let cure = if number.as_str().trim_start_matches(['0', '-', '+']).is_empty() {
                format!("write a time such as \"10m\"{or_never}")
            } else {
                format!("write \"{0}s\" or \"{0}m\"{or_never}", number.as_str())
            };
            self.report(at, key, Some(excerpt), "has no unit", cure);
            return None;
        }
        let Some(text) = found.1.as_str() else {
            self.wrong_type(&found, key, "a time", format!("write a time such as \"10m\"{or_never}"));
            return None;
        };
        let word = [("never", never, Span::Never), ("auto", auto, Span::Auto)].into_iter().find(|w| w.0 == text && w.1);
        if let Some((_, _, value)) = word {
            self.show(key, format!("{text:?}"), &at);
            return Some(Located { value, at });
        }
        let parsed = humantime::parse_duration(text).ok().and_then(|span| TimeDelta::from_std(span).ok());
        match parsed {
            Some(span) if span > TimeDelta::zero() && span <= TimeDelta::days(365) => {
                self.show(key, format!("{text:?}"), &at);
                Some(Located { value: Span::Of(span), at })
            }
            Some(span) if span > TimeDelta::zero() => {
                self.report(at, key, Some(excerpt), "is longer than a year", "write a shorter time");
                None
            }
            Some(_) => {
                self.report(
                    at,
                    key,
                    Some(excerpt),
                    "says nothing aloud",
                    format!("write a time such as \"10m\"{or_never}"),
                );
                None
            }
            None => {
                self.report(
                    at,
                    key,
                    Some(excerpt),
                    "is not a time",
                    format!("write a number with s, m, h or d, such as \"10m\"{or_never}"),
                );
                None
            }
        }
    }

    /// The layer of a table below this one.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Layer<'a>> {
        let found = self.find(key)?;
        if let Some(table) = found.1.as_table() {
            return Some(Layer { document: found.0, table, span: (found.2.start, found.2.end) });
        }
        self.wrong_type(&found, key, "a table", format!("write {key} = {{ … }}"));
        None
    }

    /// Whether the highest layer that has the key has a table there.
    pub(super) fn is_table(&self, key: &'static str) -> bool {
        let found = self.layers.iter().find_map(|layer| layer.table.get(key));
        found.is_some_and(|value| value.get_ref().as_table().is_some())
    }

    /// The tables below this one that stand under names of their own, by name.
    pub(super) fn named_tables(&mut self, key: &'static str) -> Vec<(String, Layer<'a>)> {
        let Some(layer) = self.table(key) else { return Vec::new() };
        let mut all = Vec::new();
        for (name, value) in layer.table {
            if let Some(table) = value.get_ref().as_table() {
                let span = (name.span().start, name.span().end);
                all.push((name.get_ref().to_string(), Layer { document: layer.document, table, span }));
            } else {
                let place = (layer.document, value.get_ref(), value.span());
                self.wrong_type(&place, key, "a table", format!("write [notify.{key}.{}]", name.get_ref()));
            }
        }
        all
    }

    /// The layers of a list of tables below this one.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Layer<'a>> {
        let Some(found) = self.find(key) else {
            return Vec::new();
        };
        let Some(items) = found.1.as_array() else {
            self.wrong_type(&found, key, "a list of tables", format!("write {key} = [{{ … }}]"));
            return Vec::new();
        };
        let mut all = Vec::new();
        for item in items {
            match item.get_ref().as_table() {
                Some(table) => all.push(Layer { document: found.0, table, span: (item.span().start, item.span().end) }),
                None => self.wrong_type(&(found.0, item.get_ref(), item.span()), key, "a table", "write { … }"),
            }
        }
        all
    }

    /// A reader for a table below this one.
    pub(super) fn below(&mut self, layer: Layer<'a>, keys: &'static [Key], name: &str) -> Reader<'a, '_> {
        self.below_in_layers(vec![layer], keys, name)
    }

    /// A reader for a table below this one that has layers of its own, the highest first.
    pub(super) fn below_in_layers(
        &mut self,
        layers: Vec<Layer<'a>>,
        keys: &'static [Key],
        name: &str,
    ) -> Reader<'a, '_> {
        let path = self.name(name);
        Reader::new(layers, keys, &path, self.problems)
    }

    /// Reports every key that is not in the list. Call it last.
    pub(super) fn finish(mut self) -> Vec<Shown> {
        for layer in self.layers.clone() {
            for (key, _) in layer.table {
                let name: &str = key.get_ref();
                if !self.keys.iter().any(|k| k.name == name) {
                    unknown_key(&mut self, layer, name, &key.span());
                }
            }
        }
        self.shown
    }
}

/// Dollars with up to six decimals, in micro-dollars, or what is wrong with them.
///
/// # Errors
/// How an amount is written.
pub fn dollars(text: &str) -> Result<u64, String> {
    micro_dollars(text).ok_or_else(|| "write dollars such as 25.00".to_owned())
}

/// Dollars with up to six decimals, in micro-dollars.
fn micro_dollars(text: &str) -> Option<u64> {
    let (dollars, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(dollars) || !digits(part) || dollars.len() > 9 || part.len() > 6 {
        return None;
    }
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    Some(dollars.parse::<u64>().ok()? * 1_000_000 + part)
}

fn unknown_key(reader: &mut Reader<'_, '_>, layer: Layer<'_>, name: &str, span: &Range<usize>) {
    let near = reader
        .keys
        .iter()
        .map(|k| (strsim::damerau_levenshtein(k.name, name), k.name))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let cure = match near {
        Some((_, known)) => format!("did you mean {known}?"),
        None => format!("known keys: {}", reader.keys.iter().map(|k| k.name).collect::<Vec<_>>().join(", ")),
    };
    let value = layer.table.get(name).filter(|_| !layer.document.declared);
    let value = value.map(|value| layer.document.excerpt(&value.span()));
    reader.report(layer.document.origin(span), name, value, "is not a known key", cure);
}

pub(super) fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

fn with_article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// The table at the top of a document, as a layer.
pub(super) fn top<'a>(document: &'a Document<'a>) -> Layer<'a> {
    Layer { document, table: document.root.get_ref(), span: (0, 0) }
}

/// The tables `[name.X]` of a document, by X.
pub(super) fn named<'a>(
    document: &'a Document<'a>,
    name: &str,
    problems: &mut Problems,
) -> Vec<(&'a Spanned<std::borrow::Cow<'a, str>>, Layer<'a>)> {
    let Some(value) = document.root.get_ref().get(name) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let tables = value.get_ref().as_table();
    for (key, item) in tables.into_iter().flat_map(|table| table.iter()) {
        if let Some(table) = item.get_ref().as_table() {
            all.push((key, Layer { document, table, span: (key.span().start, key.span().end) }));
        }
    }
    if tables.is_none() || all.len() < tables.map_or(0, toml::map::Map::len) {
        problems.push(Problem {
            at: document.origin(&value.span()),
            key: name.to_owned(),
            value: Some(document.excerpt(&value.span())),
            message: format!("must hold tables only, one per {name}"),
            cure: format!("write [{name}.NAME] and its keys below"),
        });
    }
    all
}
