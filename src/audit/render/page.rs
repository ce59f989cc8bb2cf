//! A page as data: what the HTML, the Markdown and the terminal show in their own ways.
//!
//! Every text in it is harmless already (see `words`); each form only adds what its own syntax needs.

use serde::Serialize;

use super::chart::Chart;
use super::words;

/// A whole report, in the order in which it is read.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    pub(super) title: String,
    /// Below the title: which fleet, which account, which period.
    pub(super) subtitle: Vec<String>,
    /// The sentence that somebody reads who reads nothing else.
    pub(super) summary: String,
    pub(super) tiles: Vec<Tile>,
    pub(super) sections: Vec<Section>,
    /// The last line: by which program and when it was written.
    pub(super) colophon: String,
}

/// How good or bad something is. Where it is shown, a word says it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tone {
    Neutral,
    Good,
    Warn,
    Bad,
}

/// One number of the first page.
#[derive(Debug, Serialize)]
pub(super) struct Tile {
    pub(super) label: String,
    pub(super) value: String,
    pub(super) notes: Vec<String>,
    pub(super) tone: Tone,
    /// A bar below the number.
    pub(super) bar: Option<Chart>,
}

/// A heading and what is below it.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) title: String,
    /// Its name in the table of contents.
    pub(super) short: &'static str,
    pub(super) lead: Vec<String>,
    pub(super) blocks: Vec<Block>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Block {
    Alarms(Vec<Alarm>),
    Remedies(Vec<Remedy>),
    Charts(Vec<Chart>),
    Table(Table),
    List(Vec<String>),
    Steps(Vec<String>),
}

/// Something that the reader should know of or do something about.
#[derive(Debug, Serialize)]
pub(super) struct Alarm {
    pub(super) tone: Tone,
    /// Its kind in a word or two.
    pub(super) label: &'static str,
    pub(super) what: String,
    pub(super) why: String,
}

/// A command, and what it saves.
#[derive(Debug, Serialize)]
pub(super) struct Remedy {
    pub(super) amount: String,
    pub(super) what: String,
    pub(super) command: String,
}

/// What a column holds, so that each form can give it the room that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A name: it may be broken, but not letter by letter.
    Name,
    /// An id of EC2's: never broken.
    Id,
    /// An amount with its unit: never broken, to the right.
    Number,
    /// A moment or another short text: never broken.
    Short,
    /// A sentence.
    Words,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) kind: Kind,
    /// Whether it is left out where there is little room: in a mail and on a terminal.
    pub(super) extra: bool,
}

pub(super) const fn column(title: &'static str, kind: Kind) -> Column {
    Column { title, kind, extra: false }
}

pub(super) const fn extra(title: &'static str, kind: Kind) -> Column {
    Column { title, kind, extra: true }
}

#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub(super) id: &'static str,
    pub(super) caption: &'static str,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<String>>,
    /// What stands there instead of a table without rows.
    pub(super) empty: &'static str,
    /// What is said of rows that are not shown.
    pub(super) more: Option<String>,
    /// Whether it only repeats a plot in numbers.
    pub(super) folded: bool,
}

impl Table {
    /// A table of the first `limit` items.
    pub(super) fn of<T>(
        id: &'static str,
        caption: &'static str,
        columns: &[Column],
        items: &[T],
        limit: usize,
        row: impl FnMut(&T) -> Vec<String>,
    ) -> Self {
        let shown = items.get(..limit).unwrap_or(items);
        Self {
            id,
            caption,
            columns: columns.to_vec(),
            rows: shown.iter().map(row).collect(),
            empty: "None in this period.",
            more: more(items.len(), shown.len()),
            folded: false,
        }
    }

    /// What stands there instead of a table without rows.
    pub(super) fn or(self, empty: &'static str) -> Self {
        Self { empty, ..self }
    }

    /// It only repeats a plot in numbers.
    pub(super) fn folded(self) -> Self {
        Self { folded: true, ..self }
    }
}

/// `and 49,500 more, in the JSON`, where there are more than are shown.
pub(super) fn more(all: usize, shown: usize) -> Option<String> {
    let left = i128::try_from(all.saturating_sub(shown)).unwrap_or(i128::MAX);
    (left > 0).then(|| format!("and {} more, in the JSON", words::count(left)))
}
