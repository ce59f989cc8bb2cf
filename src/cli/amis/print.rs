//! The report of `latent amis`, for people and for machines.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use comfy_table::ColumnConstraint;
use serde::Serialize;

use crate::cli::output::{ago, headless_table, plain, span};
use crate::model::Cell;
use crate::plan::lineage::{Generation, ImageLineage, Lineage, Standing};

/// What there is, and what could not be seen.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// When it was looked at.
    pub(super) at: DateTime<Utc>,
    /// By account and region.
    pub(super) cells: Vec<Lineage>,
    /// What could not be seen.
    pub(super) unseen: Vec<Unseen>,
}

/// Something that could not be seen.
#[derive(Debug, Serialize)]
pub(super) struct Unseen {
    /// What.
    pub(super) what: String,
    /// Why.
    pub(super) why: String,
}

const HEADER: [&str; 8] = ["AMI", "GEN", "FROM", "AGE", "GIB", "MONTH", "STATE", "USERS"];
/// How long a line of text may be.
const WIDTH: usize = 80;
/// So many instances and workers are named.
const NAMED_MAX: usize = 4;

/// For people.
pub(super) fn print(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut empty = true;
    for cell in &report.cells {
        for image in &cell.images {
            empty = false;
            of_image(report.at, &cell.cell, image, out)?;
        }
        if !cell.unknown.is_empty() {
            empty = false;
            writeln!(out, "AMIs of the fleet in {} that no manifest knows", cell.cell)?;
            table(report.at, &cell.unknown, out)?;
        }
    }
    if empty {
        writeln!(out, "no images are configured, or none could be looked at")?;
    }
    if report.cells.iter().any(|cell| cell.images.iter().any(|image| !image.generations.is_empty())) {
        writeln!(out, "GIB and MONTH are the most that the snapshots can hold and cost.")?;
    }
    for unseen in &report.unseen {
        writeln!(out, "not seen: {}: {}", plain(&unseen.what), plain(&unseen.why))?;
    }
    Ok(())
}

fn of_image(now: DateTime<Utc>, cell: &Cell, image: &ImageLineage, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{} ({cell})", image.image)?;
    if let Some(filter) = &image.filter {
        writeln!(out, "  a filter chooses its AMI: {}", plain(filter))?;
    }
    for id in &image.missing {
        writeln!(out, "  {id} is in its manifest and not among the account's own AMIs")?;
    }
    if image.workers.is_empty() {
        writeln!(out, "  no worker has it")?;
    }
    match image.due {
        Some(due) if due <= now => writeln!(out, "  due since {} ({})", due.date_naive(), span(now - due))?,
        Some(due) => writeln!(out, "  next due {} (in {})", due.date_naive(), span(due - now))?,
        None => {}
    }
    table(now, &image.generations, out)
}

fn table(now: DateTime<Utc>, all: &[Generation], out: &mut dyn Write) -> io::Result<()> {
    if !all.is_empty() {
        let mut rows = headless_table();
        rows.set_header(HEADER);
        for one in all {
            rows.add_row(row(now, one, all));
        }
        for column in rows.column_iter_mut() {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        for line in rows.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
    }
    for one in all {
        let mut more = Vec::new();
        if !one.used_by.is_empty() {
            let named: Vec<String> = one.used_by.iter().take(NAMED_MAX).map(|text| plain(text)).collect();
            let rest = one.used_by.len() - named.len();
            let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            more.push(format!("used by {}{rest}", named.join(", ")));
        }
        if let Some(starts) = &one.starts {
            more.push(format!("{} starts, {} connected, {} failed", starts.starts, starts.connected, starts.failed));
        }
        if let Some(at) = one.deprecated {
            let when = if at <= now { "deprecated since" } else { "to be deprecated on" };
            more.push(format!("{when} {}", at.date_naive()));
        }
        if !more.is_empty() {
            let text = format!("{}: {}", one.ami, more.join("; "));
            let options = textwrap::Options::new(WIDTH).initial_indent("  ").subsequent_indent("    ");
            writeln!(out, "{}", textwrap::fill(&text, options))?;
        }
    }
    writeln!(out)
}

fn row(now: DateTime<Utc>, one: &Generation, all: &[Generation]) -> Vec<String> {
    let dash = || "-".to_owned();
    // The generation that it came from, where that is known; the id is in the JSON.
    let from = one.parent.as_ref().map(|parent| match all.iter().find(|other| other.ami == *parent) {
        Some(Generation { generation: Some(number), .. }) => number.to_string(),
        Some(Generation { standing: Standing::Original, .. }) => "original".to_owned(),
        Some(_) => dash(),
        None => "gone".to_owned(),
    });
    vec![
        one.ami.to_string(),
        one.generation.map_or_else(dash, |number| number.to_string()),
        from.unwrap_or_else(dash),
        ago(now, Some(one.created)).split_inclusive('d').next().unwrap_or("-").to_owned(),
        one.size_gib.map_or_else(dash, |gib| gib.to_string()),
        one.month.map_or_else(|| "?".to_owned(), |month| month.high.to_string()),
        one.standing.as_str().to_owned(),
        one.used_by.len().to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use insta::assert_snapshot;

    use super::*;
    use crate::plan::lineage::AmiStarts;
    use crate::policy::price;

    fn now() -> DateTime<Utc> {
        "2026-11-21T12:00:00Z".parse().expect("a time")
    }

    fn one(id: &str, number: Option<u32>, parent: Option<&str>, days: i64, standing: Standing) -> Generation {
        Generation {
            ami: format!("ami-{id:0>17}").parse().expect("an id"),
            generation: number,
            parent: parent.map(|id| format!("ami-{id:0>17}").parse().expect("an id")),
            depth: 0,
            standing,
            created: now() - TimeDelta::days(days),
            size_gib: Some(30),
            month: price::snapshot_month(&"us-east-1".parse().expect("a region"), 30),
            deprecated: None,
            used_by: Vec::new(),
            starts: None,
        }
    }

    fn cell() -> Cell {
        Cell { owner: "alice".parse().expect("a name"), region: "us-east-1".parse().expect("a region") }
    }

    fn image(generations: Vec<Generation>) -> ImageLineage {
        ImageLineage {
            image: "debian".parse().expect("a name"),
            current: generations.last().map(|one| one.ami.clone()),
            filter: None,
            missing: Vec::new(),
            workers: vec!["alice-debian".parse().expect("a name")],
            due: Some(now() + TimeDelta::days(40)),
            generations,
        }
    }

    fn shown(report: &Report) -> String {
        let mut out = Vec::new();
        print(report, &mut out).expect("written");
        let text = String::from_utf8(out).expect("a text");
        assert!(text.lines().all(|line| line.chars().count() <= 80 || line.starts_with("not seen")), "{text}");
        text
    }

    #[test]
    fn a_fleet_with_several_generations() {
        let mut previous = one("b", Some(1), Some("a"), 100, Standing::Previous);
        previous.deprecated = Some(now() - TimeDelta::days(3));
        let mut current = one("c", Some(2), Some("b"), 50, Standing::Current);
        current.used_by =
            ["alice-debian", "i-0123456789abcdef0", "i-1", "i-2", "i-3", "i-4"].map(str::to_owned).to_vec();
        let (ami, connect_seconds) = (current.ami.clone(), vec![61.0]);
        current.starts = Some(AmiStarts { ami, starts: 41, connected: 40, failed: 1, connect_seconds });
        let line = vec![
            one("a", None, None, 400, Standing::Original),
            previous,
            current,
            one("d", Some(3), Some("c"), 0, Standing::Candidate),
        ];
        let stray = Generation { size_gib: None, month: None, ..one("e", Some(9), Some("f"), 7, Standing::Superseded) };
        let cells = vec![Lineage { cell: cell(), images: vec![image(line)], unknown: vec![stray] }];
        assert_snapshot!(shown(&Report { at: now(), cells, unseen: Vec::new() }));
    }

    #[test]
    fn nothing_and_what_could_not_be_seen() {
        assert_snapshot!(shown(&Report { at: now(), cells: Vec::new(), unseen: Vec::new() }));
        let what = "bob/us-west-2: the account".to_owned();
        let unseen = vec![Unseen { what, why: "AccessDenied: \u{1b}[2J no\nway".to_owned() }];
        let mut bare = image(Vec::new());
        bare.missing = vec!["ami-1".parse().expect("an id")];
        bare.filter = Some("ami_location = \"\u{202e}x\"".to_owned());
        bare.due = Some(now() - TimeDelta::days(2));
        bare.workers.clear();
        let cells = vec![Lineage { cell: cell(), images: vec![bare], unknown: Vec::new() }];
        assert_snapshot!(shown(&Report { at: now(), cells, unseen }));
    }

    #[test]
    fn what_others_wrote_does_not_move_the_cursor() {
        let mut odd = one("a", None, Some("a"), 400, Standing::Original);
        odd.used_by = vec!["\u{1b}[31mred\r\n\u{202e}".to_owned()];
        let cells = vec![Lineage { cell: cell(), images: vec![image(vec![odd])], unknown: Vec::new() }];
        let text = shown(&Report { at: now(), cells, unseen: Vec::new() });
        assert!(!text.contains(['\u{1b}', '\r', '\u{202e}']), "{text:?}");
    }

    #[test]
    fn the_form_for_machines_is_stable() {
        let line = vec![one("a", Some(1), None, 3, Standing::Current)];
        let cells = vec![Lineage { cell: cell(), images: vec![image(line)], unknown: Vec::new() }];
        let report = Report { at: now(), cells, unseen: Vec::new() };
        assert_snapshot!(serde_json::to_string_pretty(&report).expect("JSON"));
    }
}
