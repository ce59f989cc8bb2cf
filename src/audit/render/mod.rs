//! The owner's report as people and programs read it: one page for all, then its own form for each.
//!
//! Pure: a [`Report`] in, a text out. What somebody else wrote (tags, names, messages) is harmless in each
//! form: no markup, no formula, nothing that a terminal obeys or an eye cannot see; and cut where it is long.

mod axis;
mod chart;
mod head;
mod html;
mod json;
mod markdown;
mod page;
mod sections;
mod sheet;
mod spend;
mod terminal;
mod timeline;
mod trend;
mod words;

use super::report::Report;
use page::Page;

/// Rows of a table on a page that has room.
const ROWS_PAGE: usize = 500;
/// Rows of a table in a mail or on a terminal.
const ROWS_NARROW: usize = 50;
/// Columns of a terminal that nobody measured.
const TERMINAL_WIDTH: u16 = 80;

/// A form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One page for a browser, whole in itself: no network, no script.
    Html,
    /// Markdown, for a mail or an issue.
    Md,
    /// Everything, for programs.
    Json,
    /// One line for each instance, for a spreadsheet.
    Csv,
    /// Tables of 80 columns, for a terminal.
    Text,
}

/// The report in a form.
pub fn render(report: &Report, format: Format) -> String {
    match format {
        Format::Html => html::render(&page(report, ROWS_PAGE)),
        Format::Md => markdown::render(&page(report, ROWS_NARROW)),
        Format::Json => json::render(report),
        Format::Csv => sheet::render(report),
        Format::Text => terminal::render(&page(report, ROWS_NARROW), TERMINAL_WIDTH),
    }
}

/// The report as the tables of a terminal of `width` columns.
pub fn render_text(report: &Report, width: u16) -> String {
    terminal::render(&page(report, ROWS_NARROW), width)
}

/// What the report comes to, a sentence each, for the text of a message.
pub fn brief(report: &Report) -> Vec<String> {
    let tiles = head::tiles(report).into_iter().map(|tile| {
        let notes = if tile.notes.is_empty() { String::new() } else { format!(" ({})", tile.notes.join("; ")) };
        format!("{}: {}{notes}.", tile.label, tile.value)
    });
    std::iter::once(head::summary(report)).chain(tiles).collect()
}

fn page(report: &Report, limit: usize) -> Page {
    let account = report.account.as_deref().map(|account| format!("account {}", words::name(account)));
    let regions: Vec<String> = report.regions.iter().map(|region| words::name(region)).collect();
    let mut about = vec![format!("Fleet {}", words::name(&report.fleet))];
    about.extend(account);
    about.push(if regions.is_empty() { "no region".to_owned() } else { words::cut(&regions.join(", "), 400) });
    about.push(format!("{} to {}", words::moment_in_words(report.since), words::moment_in_words(report.until)));
    let program = words::name(&report.program);
    Page {
        // A title is shown whole on the tab of a browser up to some seventy characters.
        title: format!("What the machines of {} cost", words::cut(&words::name(&report.owner), 40)),
        subtitle: about,
        summary: head::summary(report),
        tiles: head::tiles(report),
        sections: vec![
            head::red(report),
            head::save(report, limit),
            sections::days(report, limit),
            sections::workers(report, limit),
            sections::starts(report, limit),
            sections::records(report, limit),
            sections::storage(report, limit),
            sections::rebakes(report, limit),
            sections::deeds(report, limit),
            sections::sources(report, limit),
            sections::off(report, limit),
        ],
        colophon: format!("Written by latent {program} on {}.", words::moment_in_words(report.written_at)),
    }
}
