//! Rewrites a manifest when its AMI is promoted or rolled back: the three keys `ami`, `previous` and
//! `generation`, and not a character besides.
//!
//! The keys are found by the TOML parser, and the text is cut at their places. A document that is parsed and
//! printed again would lose the ends of its lines and some of its spaces; this one cannot.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::model::AmiId;

/// Why a manifest is not rewritten. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be read.
    #[error("the manifest cannot be read ({why}); correct it, `latent check` tells where")]
    Unreadable {
        /// Why, in words.
        why: String,
    },
    /// It names no AMI.
    #[error("the manifest names no AMI that could be replaced; write ami = \"{wanted}\" into it")]
    NoAmi {
        /// What it was to name.
        wanted: AmiId,
    },
    /// Its AMI is neither the one that is to be replaced nor the one that is to come.
    #[error(
        "the manifest was edited by hand meanwhile: ami was {expected} and is {found}; what is in it stays. To go on, \
         put {expected} back, or begin anew from {found}"
    )]
    Edited {
        /// What was to be replaced.
        expected: AmiId,
        /// What it says.
        found: String,
    },
    /// There is nothing to go back to, or something else than was thought.
    #[error(
        "the manifest has {} as previous and not {wanted}, to which it was to go back; write the AMI that you want \
         into ami yourself", found.as_deref().unwrap_or("nothing")
    )]
    NoPrevious {
        /// To which it was to go back.
        wanted: AmiId,
        /// What `previous` says.
        found: Option<String>,
    },
}

/// The manifest in which `to` has taken the place of `from`: `ami` is `to`, `previous` is `from`, and
/// `generation` is this. If `to` is in it already, the text is what it was.
///
/// # Errors
/// [`Refusal`] if it names another AMI, or cannot be read.
pub fn promoted(text: &str, from: &AmiId, to: &AmiId, generation: u32) -> Result<String, Refusal> {
    let Some(manifest) = Manifest::between(text, from, to)? else { return Ok(text.to_owned()) };
    let mut cuts = vec![manifest.replaced(&manifest.ami.span(), to)];
    let number = generation.to_string();
    let mut more = String::new();
    for (key, value) in [("previous", format!("\"{from}\"")), ("generation", number)] {
        match manifest.value(key) {
            Some(found) => cuts.push((found.span(), value)),
            None => more += &manifest.new_line(key, &value),
        }
    }
    let end = manifest.line_end(manifest.ami.span().end);
    cuts.push((end..end, more));
    Ok(manifest.cut(cuts))
}

/// The manifest that has gone back from `from` to `to`, which it names as `previous`. That key is removed: a
/// second rollback would go forward again, to what was just found bad, and so there is none before the next
/// promotion. `generation` is that of `to`; without one, as for an AMI that no rebake made, the key is removed.
/// If `to` is in it already, the text is what it was.
///
/// # Errors
/// [`Refusal`] if it names another AMI, another previous one, or cannot be read.
pub fn rolled_back(text: &str, from: &AmiId, to: &AmiId, generation: Option<u32>) -> Result<String, Refusal> {
    let Some(manifest) = Manifest::between(text, from, to)? else { return Ok(text.to_owned()) };
    let previous = manifest.value("previous");
    let found = previous.and_then(|value| value.get_ref().as_str());
    if found != Some(to.as_str()) {
        return Err(Refusal::NoPrevious { wanted: to.clone(), found: found.map(shortened) });
    }
    let mut cuts = vec![manifest.replaced(&manifest.ami.span(), to)];
    cuts.extend(manifest.removed("previous"));
    match (generation, manifest.value("generation")) {
        (Some(number), Some(value)) => cuts.push((value.span(), number.to_string())),
        (Some(number), None) => {
            let end = manifest.line_end(manifest.ami.span().end);
            cuts.push((end..end, manifest.new_line("generation", &number.to_string())));
        }
        (None, _) => cuts.extend(manifest.removed("generation")),
    }
    Ok(manifest.cut(cuts))
}

/// A piece of the text, and what comes in its place.
type Cut = (Range<usize>, String);

/// A manifest whose AMI is to be replaced.
struct Manifest<'a> {
    text: &'a str,
    root: DeTable<'a>,
    ami: Spanned<()>,
}

impl<'a> Manifest<'a> {
    /// Reads it; none if it names `to` already.
    fn between(text: &'a str, from: &AmiId, to: &AmiId) -> Result<Option<Self>, Refusal> {
        let why = |error: toml::de::Error| Refusal::Unreadable { why: error.message().replace('\n', " ") };
        let root = DeTable::parse(text).map_err(why)?.into_inner();
        let found = root.get("ami").map(|value| (value.span(), value.get_ref().as_str().map(ToOwned::to_owned)));
        match found {
            Some((_, Some(found))) if found == to.as_str() => Ok(None),
            Some((span, Some(found))) if found == from.as_str() => {
                Ok(Some(Self { text, root, ami: Spanned::new(span, ()) }))
            }
            Some((_, Some(found))) => Err(Refusal::Edited { expected: from.clone(), found: shortened(&found) }),
            _ => Err(Refusal::NoAmi { wanted: to.clone() }),
        }
    }

    fn value(&self, key: &str) -> Option<&Spanned<DeValue<'a>>> {
        self.root.get(key)
    }

    fn replaced(&self, span: &Range<usize>, id: &AmiId) -> Cut {
        debug_assert!(self.text.get(span.clone()).is_some(), "the parser's places lie in its text");
        (span.clone(), format!("\"{id}\""))
    }

    /// The line of a key, with its end; a comment on it stays where it was.
    fn removed(&self, key: &str) -> Option<Cut> {
        let (name, value) = self.root.iter().find(|(name, _)| name.get_ref() == key)?;
        let start = self.text[..name.span().start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.line_end(value.span().end);
        let comment = self.text[value.span().end..end].trim_start_matches([' ', '\t']);
        Some((start..end, if comment.starts_with('#') { comment.to_owned() } else { String::new() }))
    }

    /// Where the line ends in which something stands: behind its line break, if it has one.
    fn line_end(&self, at: usize) -> usize {
        self.text[at..].find('\n').map_or(self.text.len(), |more| at + more + 1)
    }

    /// A line of its own below that of `ami`, which it resembles.
    fn new_line(&self, key: &str, value: &str) -> String {
        let ami = self.ami.span();
        let start = self.text[..ami.start].rfind('\n').map_or(0, |at| at + 1);
        let indent: String = self.text[start..].chars().take_while(|c| matches!(c, ' ' | '\t')).collect();
        let line = &self.text[..self.line_end(ami.end)];
        match (line.ends_with("\r\n"), line.ends_with('\n')) {
            (true, _) => format!("{indent}{key} = {value}\r\n"),
            (false, true) => format!("{indent}{key} = {value}\n"),
            // The last line of the file, without an end: that of the others, if there are any.
            (false, false) if line.contains("\r\n") => format!("\r\n{indent}{key} = {value}"),
            (false, false) => format!("\n{indent}{key} = {value}"),
        }
    }

    fn cut(&self, mut cuts: Vec<Cut>) -> String {
        cuts.sort_by_key(|(range, _)| (range.start, range.end));
        let (mut whole, mut at) = (String::with_capacity(self.text.len() + 80), 0);
        for (range, text) in cuts {
            whole += &self.text[at..range.start];
            whole += &text;
            at = range.end;
        }
        whole + &self.text[at..]
    }
}

/// Somebody's text in a message: on one line, and not long.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::{Intent, Sources};

    fn id(text: &str) -> AmiId {
        text.parse().expect("an AMI id")
    }

    fn promote(text: &str) -> Result<String, Refusal> {
        promoted(text, &id("ami-1"), &id("ami-2"), 3)
    }

    #[test]
    fn a_first_promotion_adds_two_lines_below_the_ami() {
        let before = "# Ours.\nowner = \"o\"\n\n  ami  = 'ami-1'   # made by hand\nregion = \"r-1\"\n\n[rebake]\n";
        let after = "# Ours.\nowner = \"o\"\n\n  ami  = \"ami-2\"   # made by hand\n  previous = \"ami-1\"\n  \
                     generation = 3\nregion = \"r-1\"\n\n[rebake]\n";
        assert_eq!(promote(before).expect("promoted"), after);
        assert_eq!(promote(after).expect("nothing to do"), after, "twice is once");
    }

    #[test]
    fn a_later_promotion_changes_three_values_where_they_stand() {
        let before = "generation = 2 # counted\r\nregion = \"r-1\"\r\nprevious = \"ami-0\"\r\nami = \"ami-1\"\r\n";
        let after = "generation = 3 # counted\r\nregion = \"r-1\"\r\nprevious = \"ami-1\"\r\nami = \"ami-2\"\r\n";
        assert_eq!(promote(before).expect("promoted"), after);
    }

    #[test]
    fn ends_of_lines_and_marks_stay_what_they_are() {
        for (before, after) in [
            ("a = 1\r\nami = \"ami-1\"", "a = 1\r\nami = \"ami-2\"\r\nprevious = \"ami-1\"\r\ngeneration = 3"),
            ("ami = \"ami-1\"", "ami = \"ami-2\"\nprevious = \"ami-1\"\ngeneration = 3"),
            ("\u{feff}ami = \"ami-1\"\n", "\u{feff}ami = \"ami-2\"\nprevious = \"ami-1\"\ngeneration = 3\n"),
            ("\"ami\" = \"\"\"ami-1\"\"\"#x\n", "\"ami\" = \"ami-2\"#x\nprevious = \"ami-1\"\ngeneration = 3\n"),
        ] {
            assert_eq!(promote(before).expect("promoted"), after);
        }
    }

    #[test]
    fn what_is_not_as_it_was_is_refused_with_both_ids() {
        let edited = promote("ami = \"ami-9\"\n").expect_err("edited").to_string();
        assert!(edited.contains("edited by hand meanwhile: ami was ami-1 and is ami-9"), "{edited}");
        let hostile = promote("ami = \"\\n\\u001b[2Jx\"\n").expect_err("edited").to_string();
        assert!(!hostile.contains(['\n', '\u{1b}']), "{hostile:?}");
        assert!(matches!(promote("ami_owners = [\"self\"]\n"), Err(Refusal::NoAmi { .. })));
        assert!(matches!(promote("ami = 3\n"), Err(Refusal::NoAmi { .. })));
        assert!(matches!(promote("ami = \"ami-1\"\nami = \"ami-1\"\n"), Err(Refusal::Unreadable { .. })));
        assert!(matches!(promote("[x]\nami = \"ami-1\"\n"), Err(Refusal::NoAmi { .. })), "another table's");
    }

    #[test]
    fn a_rollback_goes_back_once_and_never_forward() {
        let back = |text: &str, generation| rolled_back(text, &id("ami-2"), &id("ami-1"), generation);
        let text = "ami = \"ami-2\" # ours\nprevious = \"ami-1\" # before\ngeneration = 3\nregion = \"r-1\"\n";
        let second = "ami = \"ami-1\" # ours\n# before\ngeneration = 2\nregion = \"r-1\"\n";
        assert_eq!(back(text, Some(2)).expect("back"), second);
        assert_eq!(back(second, Some(2)).expect("nothing to do"), second, "twice is once");
        let first = "ami = \"ami-1\" # ours\n# before\nregion = \"r-1\"\n";
        assert_eq!(back(text, None).expect("back to what no rebake made"), first);
        let again = rolled_back(second, &id("ami-1"), &id("ami-2"), Some(3)).expect_err("not forward");
        assert!(again.to_string().contains("has nothing as previous and not ami-2"), "{again}");
        let other = rolled_back(text, &id("ami-2"), &id("ami-5"), None).expect_err("another one");
        assert!(other.to_string().contains("has ami-1 as previous and not ami-5"), "{other}");
        let bare = "ami = \"ami-2\"\nprevious = \"ami-1\"\n";
        assert_eq!(back(bare, Some(2)).expect("back"), "ami = \"ami-1\"\ngeneration = 2\n");
    }

    const KEYS: [&str; 3] = ["ami", "previous", "generation"];

    /// A manifest in somebody's hand: the keys in any order, spaces, comments, empty lines.
    fn manifest() -> impl Strategy<Value = String> {
        let lines = vec![
            "owner = \"o\"",
            "region = 'us-west-2'",
            "instance_types = [ \"m7i.large\", # big\n  \"m6i.large\" ]",
            "tags = [\"a=b # no comment\", 'c=d']",
            "\"ami\" = \"ami-1\"",
        ];
        let more = prop::sample::subsequence(
            vec!["previous = \"ami-0\"", "generation = 7", "zones = [\"us-west-2a\"]"],
            0..=3,
        );
        let decor = prop::collection::vec(
            (
                prop::sample::select(vec!["", " ", "\t"]),
                prop::sample::select(vec!["", " ", " # ünt ami = \"x\"", "\n", "\n# [y]\n"]),
            ),
            8,
        );
        let table = prop::sample::select(vec![
            "",
            "[rebake]\nservice = [\"previous\"]\n",
            "[[volumes]]\nid='vol-1'\ndevice='ami'",
        ]);
        let order = Just(lines).prop_flat_map(move |lines| {
            more.clone().prop_flat_map(move |more| Just([lines.clone(), more].concat()).prop_shuffle())
        });
        (order, decor, table, any::<bool>(), any::<bool>()).prop_map(|(lines, decor, table, dos, ended)| {
            let lines = lines.iter().zip(&decor).map(|(line, (indent, end))| format!("{indent}{line}{end}\n"));
            let mut text: String = lines.collect();
            text += table;
            let text = if ended { text } else { text.trim_end_matches('\n').to_owned() };
            if dos { text.replace('\n', "\r\n") } else { text }
        })
    }

    /// What it says, but for the three keys.
    fn rest(text: &str) -> toml::Table {
        let mut table: toml::Table = text.parse().expect("TOML");
        table.retain(|key, _| !KEYS.contains(&key));
        table
    }

    /// Its lines, but for those of the three keys.
    fn other_lines(text: &str) -> Vec<&str> {
        let of_ours = |line: &&str| {
            let key = line.split('=').next().unwrap_or_default().trim().trim_matches('"');
            KEYS.contains(&key) && line.contains('=')
        };
        text.split_inclusive('\n')
            .filter(|line| !of_ours(line))
            .map(|line| line.trim_end_matches(['\r', '\n']))
            .collect()
    }

    /// The image as our own reader has it.
    fn read(text: &str) -> crate::policy::Image {
        let main = "[fleet]\nname = \"f\"\ncontroller = \"c\"\n[owner.o]\naccount = \"012345678901\"\ncredentials = { profile = \"p\" }\n";
        let sources = Sources {
            main: ("latent.toml".to_owned(), main.to_owned()),
            images: vec![("i".to_owned(), "amis/i.toml".to_owned(), text.to_owned())],
            ..Sources::default()
        };
        let intent = Intent::parse(&sources).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        intent.images.into_values().next().expect("an image")
    }

    proptest! {
        #[test]
        fn a_promotion_and_its_rollback_change_three_keys_and_nothing_else(before in manifest()) {
            let after = promote(&before).expect("promoted");
            prop_assert_eq!(rest(&before), rest(&after));
            prop_assert_eq!(other_lines(&before), other_lines(&after));
            let image = read(&after);
            prop_assert_eq!(image.ami.named(), Some(&id("ami-2")));
            prop_assert_eq!((image.previous, image.generation), (Some(id("ami-1")), Some(3)));
            let bare = |text: &str| text.replace("\r\n", "").contains('\n');
            prop_assert_eq!(before.contains("\r\n") && !bare(&before), !bare(&after), "one kind of line end");

            let back = rolled_back(&after, &id("ami-2"), &id("ami-1"), None).expect("back");
            prop_assert_eq!(rest(&before), rest(&back));
            let image = read(&back);
            prop_assert_eq!(image.ami.named(), Some(&id("ami-1")));
            prop_assert_eq!((image.previous, image.generation), (None, None));
            for comment in before.split_inclusive('\n').filter_map(|line| Some(line.split_once("# ")?.1)) {
                prop_assert!(back.contains(comment.trim_end()), "{comment} is lost");
            }
        }

        #[test]
        fn no_text_makes_it_stumble(text in "(ami|previous|generation|=|\"ami-1\"|'|\"|\n|\r|#|\\[|\\]|[a-z]| |é|\u{feff}){0,40}") {
            if let Ok(after) = promote(&text) {
                prop_assert_eq!(rest(&text), rest(&after));
                let table: toml::Table = after.parse().expect("TOML");
                prop_assert_eq!(table["ami"].as_str(), Some("ami-2"));
            }
        }
    }
}
