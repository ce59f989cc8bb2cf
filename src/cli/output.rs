//! How tables and times look.

use std::io::IsTerminal as _;

use comfy_table::{ContentArrangement, Table, presets};

pub(super) use crate::link::words::{ago, left, span};
pub(super) use crate::model::plain;

/// The width of a table that does not go to a terminal.
const WIDTH: u16 = 80;

/// A table without lines that fits the terminal, or 80 columns.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = headless_table();
    table.set_header(header);
    table
}

/// The same without names for its columns.
pub(super) fn headless_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !std::io::stdout().is_terminal() {
        table.set_width(WIDTH);
    }
    table
}

/// How long a line may be: the terminal's width, or 80.
pub(super) fn line_width() -> usize {
    let terminal = Table::new().width().filter(|_| std::io::stdout().is_terminal());
    usize::from(terminal.unwrap_or(WIDTH))
}

/// Whether colour may be used: a terminal, and nobody said no.
pub(super) fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
