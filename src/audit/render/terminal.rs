//! The report for a terminal.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table as Grid, Width, presets};

use super::page::{Block, Column, Kind, Page, Section, Table, Tone};

/// The least room of a name and of a sentence, so that they are not broken letter by letter.
const NAME_ROOM: usize = 20;
const WORDS_ROOM: usize = 18;
/// What a cell has around it.
const PADDING: usize = 2;
/// The most room that an id or a moment asks for, so much as the longest id has, and an amount.
const WHOLE_ROOM: usize = 26;
const NUMBER_ROOM: usize = 11;
/// What a column keeps where there is too little for all.
const ROOM_MIN: usize = 9;

pub(super) fn render(page: &Page, width: u16) -> String {
    let mut text = String::new();
    let rule = "=".repeat(usize::from(width).min(page.title.chars().count()));
    let _ = writeln!(text, "{}\n{rule}", page.title);
    let _ = writeln!(text, "{}\n\n{}\n", wrap(&page.subtitle.join(" · "), width, ""), wrap(&page.summary, width, ""));
    let mut tiles = grid(width);
    for tile in &page.tiles {
        tiles.add_row([tile.label.clone(), tile.value.clone(), tile.notes.join("\n")]);
    }
    let _ = writeln!(text, "{}", trimmed(&tiles));
    for section in &page.sections {
        write_section(&mut text, section, width);
    }
    let _ = writeln!(text, "\n{}", wrap(&page.colophon, width, ""));
    text
}

fn write_section(text: &mut String, section: &Section, width: u16) {
    let _ = writeln!(
        text,
        "\n\n{}\n{}",
        section.title.to_uppercase(),
        "-".repeat(section.title.chars().count().min(usize::from(width)))
    );
    for line in &section.lead {
        let _ = writeln!(text, "{}", wrap(line, width, ""));
    }
    for block in &section.blocks {
        match block {
            Block::Alarms(alarms) => {
                for alarm in alarms {
                    let sign = if alarm.tone == Tone::Bad { "!!" } else { " !" };
                    let said = format!("{sign} {}: {}: {}", alarm.label, alarm.what, alarm.why);
                    let _ = writeln!(text, "{}", wrap(said.trim_end(), width, "     "));
                }
            }
            Block::Remedies(remedies) => {
                for remedy in remedies {
                    let _ = writeln!(text, "{}", wrap(&format!("{}: {}", remedy.amount, remedy.what), width, "  "));
                    // Never broken: it is there to be copied.
                    let _ = writeln!(text, "    {}", remedy.command);
                }
            }
            // A plot has a table beside it.
            Block::Charts(_) => {}
            Block::Table(table) => write_table(text, table, width),
            Block::List(items) => {
                for item in items {
                    let _ = writeln!(text, "{}", wrap(&format!("  - {item}"), width, "    "));
                }
            }
            Block::Steps(steps) => {
                for (number, step) in (1..).zip(steps) {
                    let _ = writeln!(text, "{}", wrap(&format!("{number:>3}. {step}"), width, "     "));
                }
            }
        }
    }
}

fn write_table(text: &mut String, table: &Table, width: u16) {
    let _ = writeln!(text, "\n{}:", table.caption);
    if table.rows.is_empty() {
        let _ = writeln!(text, "{}", wrap(table.empty, width, ""));
        return;
    }
    let shown: Vec<(usize, &Column)> = table.columns.iter().enumerate().filter(|(_, column)| !column.extra).collect();
    let mut grid = grid(width);
    grid.set_header(shown.iter().map(|(_, column)| column.title));
    for row in &table.rows {
        grid.add_row(shown.iter().filter_map(|(at, _)| row.get(*at)));
    }
    for (place, ((_, column), room)) in shown.iter().zip(rooms(table, &shown, usize::from(width))).enumerate() {
        if let Some(grid_column) = grid.column_mut(place) {
            let room = u16::try_from(room).unwrap_or(u16::MAX);
            grid_column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(room)));
            if column.kind == Kind::Number {
                grid_column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let _ = writeln!(text, "{}", trimmed(&grid));
    if let Some(more) = &table.more {
        let _ = writeln!(text, "{more}");
    }
}

/// The least room of each column. Where all together have too little, words give way first and ids last.
fn rooms(table: &Table, shown: &[(usize, &Column)], width: usize) -> Vec<usize> {
    let longest = |at: usize| table.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let mut rooms: Vec<usize> =
        shown.iter().map(|(at, column)| longest(*at).unwrap_or(0).min(wanted(column.kind)) + PADDING).collect();
    for kind in [Kind::Words, Kind::Name, Kind::Number, Kind::Short, Kind::Id] {
        for (place, _) in shown.iter().enumerate().filter(|(_, (_, column))| column.kind == kind) {
            let over = rooms.iter().sum::<usize>().saturating_sub(width);
            let spare = rooms.get(place).map_or(0, |room| room.saturating_sub(ROOM_MIN + PADDING));
            if let Some(room) = rooms.get_mut(place) {
                *room -= over.min(spare);
            }
        }
    }
    rooms
}

const fn wanted(kind: Kind) -> usize {
    match kind {
        Kind::Words => WORDS_ROOM,
        Kind::Name => NAME_ROOM,
        Kind::Id | Kind::Short => WHOLE_ROOM,
        // An amount may be broken between its two ends.
        Kind::Number => NUMBER_ROOM,
    }
}

fn grid(width: u16) -> Grid {
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    grid
}

/// The table without blanks at the ends of its lines.
fn trimmed(grid: &Grid) -> String {
    grid.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn wrap(text: &str, width: u16, indent: &str) -> String {
    textwrap::fill(text, textwrap::Options::new(usize::from(width)).subsequent_indent(indent))
}
