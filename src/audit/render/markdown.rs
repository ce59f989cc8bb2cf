//! The report for a mail or an issue: GitHub's Markdown, in which foreign text is never markup.

use std::fmt::Write as _;

use super::page::{Block, Column, Kind, Page, Section, Table, Tone};

pub(super) fn render(page: &Page) -> String {
    let mut text = format!(
        "# {}\n\n{}\n\n**{}**\n\n",
        words(&page.title),
        words(&page.subtitle.join(" · ")),
        words(&page.summary)
    );
    text.push_str("| | | |\n|:--|:--|:--|\n");
    for tile in &page.tiles {
        let notes = tile.notes.join("; ");
        let _ = writeln!(text, "| {} | **{}** | {} |", cell(&tile.label), cell(&tile.value), cell(&notes));
    }
    for section in &page.sections {
        write_section(&mut text, section);
    }
    let _ = writeln!(text, "\n---\n\n{}", words(&page.colophon));
    text
}

fn write_section(text: &mut String, section: &Section) {
    let _ = writeln!(text, "\n## {}", words(&section.title));
    for line in &section.lead {
        let _ = writeln!(text, "\n{}", words(line));
    }
    for block in &section.blocks {
        match block {
            Block::Alarms(alarms) => {
                text.push('\n');
                for alarm in alarms {
                    let label = if alarm.tone == Tone::Bad { "RED: " } else { "" };
                    let _ =
                        writeln!(text, "- **{label}{}**: {}: {}", alarm.label, words(&alarm.what), words(&alarm.why));
                }
            }
            Block::Remedies(remedies) => {
                text.push('\n');
                for remedy in remedies {
                    let (amount, what) = (words(&remedy.amount), words(&remedy.what));
                    let _ = writeln!(text, "- **{amount}**: {what}\n  {}", code(&remedy.command));
                }
            }
            // A plot has a table beside it; what is only beside the plot is a detail of the page.
            Block::Charts(_) => {}
            Block::Table(table) => write_table(text, table),
            Block::List(items) => {
                text.push('\n');
                for item in items {
                    let _ = writeln!(text, "- {}", words(item));
                }
            }
            Block::Steps(steps) => {
                text.push('\n');
                for (number, step) in (1..).zip(steps) {
                    let _ = writeln!(text, "{number}. {}", words(step));
                }
            }
        }
    }
}

fn write_table(text: &mut String, table: &Table) {
    let _ = writeln!(text, "\n### {}\n", words(table.caption));
    if table.rows.is_empty() {
        let _ = writeln!(text, "{}", words(table.empty));
        return;
    }
    let shown: Vec<(usize, &Column)> = table.columns.iter().enumerate().filter(|(_, column)| !column.extra).collect();
    let titles: Vec<&str> = shown.iter().map(|(_, column)| column.title).collect();
    let lines: Vec<&str> =
        shown.iter().map(|(_, column)| if column.kind == Kind::Number { "--:" } else { ":--" }).collect();
    let _ = writeln!(text, "| {} |\n|{}|", titles.join(" | "), lines.join("|"));
    for row in &table.rows {
        let cells: Vec<String> = shown.iter().filter_map(|(at, _)| row.get(*at).map(|text| cell(text))).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    if let Some(more) = &table.more {
        let _ = writeln!(text, "\n{}", words(more));
    }
}

fn cell(text: &str) -> String {
    words(text).replace('|', "\\|")
}

/// Text as it is if nothing in it could be markup, a link, a mention or a number of an issue; else as code,
/// in which nothing is any of these.
fn words(text: &str) -> String {
    let letters = |c: char| c.is_alphanumeric() || " .,;:()/-+%$'\"?!=·…".contains(c);
    let link = text.contains("://") || text.to_ascii_lowercase().contains("www.");
    if link || !text.chars().all(letters) { code(text) } else { text.to_owned() }
}

/// A span of code: its fence is longer than any row of backticks in it.
fn code(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    if text.trim().is_empty() {
        String::new()
    } else if text.starts_with('`') || text.ends_with('`') || longest > 0 {
        format!("{fence} {text} {fence}")
    } else {
        format!("{fence}{text}{fence}")
    }
}
