//! The owner's report in each of its forms: full, empty, and with hostile text in every field.

use latent::audit::render::{Format, render, render_text};
use latent::audit::report::Report;
use latent::policy::price::{Money, Range};

#[expect(dead_code, reason = "its main is for people")]
#[path = "../../examples/reports.rs"]
mod reports;

/// What must not reach a reader as it is, in any form.
const RAW: [char; 9] = ['\u{1b}', '\u{7}', '\u{9b}', '\t', '\u{202e}', '\u{200b}', '\u{feff}', '\u{2066}', '\u{2028}'];

/// The three, each with so few instances that a snapshot can be read.
fn short() -> [(&'static str, Report); 3] {
    reports::all().expect("reports").map(|(name, mut report)| {
        report.instances.truncate(6);
        report.workers.truncate(3);
        report.days = report.days.split_off(24);
        (name, report)
    })
}

fn hostile() -> Report {
    reports::hostile().expect("a report")
}

/// The page without its style, which has a file of its own.
fn without_style(page: &str) -> String {
    let (before, rest) = page.split_once("<style>").expect("a style");
    let (_, after) = rest.split_once("</style>").expect("its end");
    let (policy, rest) = before.split_once("sha256-").expect("its digest");
    let (_, rest) = rest.split_once('\'').expect("the digest's end");
    format!("{policy}sha256-...'{rest}<style>...</style>{after}")
}

#[test]
fn mails_look_as_agreed() {
    for (name, report) in short() {
        insta::assert_snapshot!(format!("md_{name}"), render(&report, Format::Md));
    }
}

#[test]
fn terminals_look_as_agreed() {
    for (name, report) in short() {
        insta::assert_snapshot!(format!("text_{name}"), render(&report, Format::Text));
    }
}

#[test]
fn sheets_look_as_agreed() {
    for (name, report) in short() {
        insta::assert_snapshot!(format!("csv_{name}"), render(&report, Format::Csv).replace("\r\n", "\n"));
    }
}

#[test]
fn pages_look_as_agreed() {
    for (name, report) in short() {
        insta::assert_snapshot!(format!("html_{name}"), without_style(&render(&report, Format::Html)));
    }
}

#[test]
fn no_form_lets_hostile_text_through() {
    let report = hostile();
    for format in [Format::Html, Format::Md, Format::Json, Format::Csv, Format::Text] {
        let text = render(&report, format);
        let text = if format == Format::Csv { text.replace("\r\n", "\n") } else { text };
        let raw = text.chars().find(|c| (c.is_control() && *c != '\n') || RAW.contains(c));
        assert_eq!(raw, None, "{format:?}");
        assert!(text.contains("alert(1)"), "{format:?} shows what was written, harmlessly");
    }
}

#[test]
fn a_page_has_no_element_of_a_tag() {
    let page = render(&hostile(), Format::Html);
    let elements = page.to_ascii_lowercase();
    for element in
        ["<script", "<img", "<svg onload", "</textarea", "<b>", "javascript:\"", "href=\"javascript", "\"><img"]
    {
        assert!(!elements.contains(element), "{element}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;&#x2f;script&gt;"));
    assert!(page.contains("{{ 7 * 7 }}"), "foreign text is no template");
    assert_eq!(page.matches("</style>").count(), 1);
    assert!(!page.contains("http://") && !page.contains("https://") || page.contains("evil.example"), "text alone");
    assert!(!page.contains("src=\"") && !page.contains("@import") && !page.contains("style=\""));
}

/// The text outside of spans of code.
fn outside_code(markdown: &str) -> String {
    let (mut outside, mut rest) = (String::new(), markdown);
    while let Some(at) = rest.find('`') {
        outside.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = rest.len() - rest.trim_start_matches('`').len();
        let fence = &rest[..length];
        let inside = &rest[length..];
        let close = inside
            .match_indices(fence)
            .find(|(at, _)| !inside[..*at].ends_with('`') && !inside[at + length..].starts_with('`'))
            .map_or_else(|| panic!("a span without an end: {}", &rest[..rest.len().min(80)]), |(at, _)| at);
        assert!(!inside[..close].contains('\n'), "a span over lines: {inside:.80}");
        rest = &inside[close + length..];
    }
    outside + rest
}

#[test]
fn a_mail_has_foreign_text_as_code_alone() {
    let outside = outside_code(&render(&hostile(), Format::Md));
    for markup in ["<", "](", "@", "://", "www.", "~~", "_", "{{"] {
        assert!(!outside.contains(markup), "{markup} in {outside}");
    }
}

#[test]
fn a_sheet_keeps_its_columns_and_has_no_formula() {
    let report = hostile();
    let text = render(&report, Format::Csv);
    let mut sheet = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(sheet.headers().expect("a header").len(), 37);
    let lines: Vec<_> = sheet.records().collect::<Result<_, _>>().expect("as many cells in each line");
    assert_eq!(lines.len(), report.instances.len());
    let begins = ['=', '+', '-', '@', '\t', '\r'];
    let formulas: Vec<_> = lines.iter().flatten().filter(|cell| cell.starts_with(begins)).collect();
    assert_eq!(formulas, Vec::<&str>::new());
    assert!(lines.iter().flatten().any(|cell| cell.starts_with("'=cmd|")), "told, and harmless");
    assert!(lines.iter().flatten().any(|cell| cell.chars().count() >= 256), "data is not cut");
}

#[test]
fn long_text_is_cut_where_it_is_shown() {
    let report = hostile();
    for format in [Format::Html, Format::Md, Format::Text] {
        let text = render(&report, format);
        let whole: String = reports::HOSTILE[0].chars().cycle().take(100).collect();
        assert!(!text.contains(&whole) && text.contains('…'), "{format:?}");
    }
}

#[test]
fn json_is_the_report() {
    for (name, report) in reports::all().expect("reports") {
        let read: Report = serde_json::from_str(&render(&report, Format::Json)).expect("json");
        assert_eq!(read, report, "{name}");
    }
}

#[test]
fn fifty_thousand_instances_stay_usable() {
    let mut report = reports::full();
    let some = report.instances.clone();
    report.instances = some.iter().cycle().take(50_000).cloned().collect();
    let (page, mail) = (render(&report, Format::Html), render(&report, Format::Md));
    assert!(page.contains("and 49,500 more, in the JSON"));
    assert!(mail.contains("and 49,950 more, in the JSON"));
    assert!(page.len() < 1_000_000 && mail.len() < 50_000, "{} and {} bytes", page.len(), mail.len());
    assert_eq!(render(&report, Format::Csv).lines().count(), 50_001);
}

#[test]
fn many_workers_stay_usable() {
    let mut report = reports::full();
    let (worker, line) = (report.workers[0].clone(), report.instances[3].clone());
    for number in 0..2_000 {
        let name = format!("worker-{number}");
        report.workers.push(latent::audit::report::WorkerLine { worker: name.clone(), ..worker.clone() });
        report.instances.push(latent::audit::report::InstanceLine { worker: Some(name), ..line.clone() });
    }
    let page = render(&report, Format::Html);
    assert!(page.contains("The dearest workers are shown, and 1,966 more, in the JSON."), "lanes");
    assert!(page.contains("The dearest workers are shown, and 1,993 more, in the JSON."), "trends");
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
}

#[test]
fn all_forms_tell_the_same_amounts() {
    let report = reports::full();
    let spent = format!("{} to {}", report.headline.spent.low, report.headline.spent.high);
    for format in [Format::Html, Format::Md, Format::Text] {
        let text = render(&report, format);
        for told in [spent.as_str(), "63 % used", "$70.57 to $73.77", "1 alive", "i-0dead5e0f00000001", "2025-09-01"] {
            assert!(text.contains(told), "{told} in {format:?}");
        }
    }
}

const CLAIMS: [&str; 4] =
    ["every instance that lives has a use", "Nothing is stored", "No leftover was found", "Nothing found"];

#[test]
fn nobody_is_told_that_there_is_nothing_when_nobody_looked() {
    let mut report = reports::empty();
    let text = render(&report, Format::Text);
    assert!(text.contains("EC2's instances were not seen"), "{text}");
    assert_eq!(CLAIMS.iter().find(|claim| text.contains(**claim)), None);
    report.sources[1].used = true;
    let text = render(&report, Format::Text);
    assert!(text.contains("None seen") && text.contains("not everything could be read"), "{text}");
    assert_eq!(CLAIMS.iter().find(|claim| text.contains(**claim)), None);
    report.sources[1].whole = true;
    let text = render(&report, Format::Text);
    assert_eq!(CLAIMS.iter().find(|claim| !text.contains(**claim)), None, "{text}");
}

#[test]
fn without_a_record_nobody_says_that_nothing_ran() {
    let mut report = reports::empty();
    assert!(render(&report, Format::Text).contains("No machine of alice ran in these 30 days."));
    report.sources[0].whole = false;
    assert!(render(&report, Format::Text).contains("No machine of alice was seen in these 30 days"));
    report.sources.iter_mut().for_each(|source| source.used = false);
    let text = render_text(&report, 200);
    assert!(text.contains("is not known: no record could be read"), "{text}");
    for claim in ["No machine", "$0.00", "Nothing was spent", "No instance lived", "No image was rebaked"] {
        assert!(!text.contains(claim), "{claim}: {text}");
    }
}

#[test]
fn only_what_lives_without_a_use_is_red() {
    let mut report = reports::full();
    let as_kind = |kind: &str, id: &str| {
        let kind = kind.to_owned();
        latent::audit::report::Leftover { id: id.to_owned(), kind, ..report.leftovers[0].clone() }
    };
    let more = [as_kind("was-zombie", "i-0aa"), as_kind("stopped-too-long", "i-0bb"), as_kind("zombie", "i-0cc")];
    report.leftovers.extend(more);
    report.leftovers[1].month = None;
    let text = render_text(&report, 200);
    for (alarm, id) in [
        ("!! Zombie", "i-0dead5e0f00000001"),
        ("!! Zombie", "i-0cc"),
        ("! Was a zombie", "i-0aa"),
        ("! Left over", "i-0bb"),
    ] {
        assert!(text.contains(&format!("{alarm}: {id} in us-west-2")), "{id}: {text}");
    }
    let (_, was) = text.split_once("Was a zombie:").expect("is told");
    assert!(!was.lines().take(1).any(|line| line.contains("If it stays")), "{was}");
    assert!(text.contains("each month, without 1 of unknown price."), "{text}");
}

#[test]
fn what_has_no_price_is_not_told_as_free() {
    let mut report = reports::full();
    report.instances.iter_mut().for_each(|line| line.cost = None);
    let told = latent::audit::render::brief(&report).join("\n");
    assert!(told.contains("cost nobody knows how much in 30 days") && told.contains("Spent: Unknown"), "{told}");
}

#[test]
fn a_budget_that_is_used_up_is_red() {
    let mut report = reports::full();
    let mut told = |micros: u64| {
        let line = report.headline.budget.as_mut().expect("a budget");
        line.spent = Range::exactly(Money::micro_dollars(micros));
        render(&report, Format::Text)
    };
    assert!(told(100_000_000).contains("!! Budget: The hard limit of November 2026 is crossed"));
    assert!(told(60_000_000).contains(" ! Budget: The soft limit of November 2026 is crossed"));
    assert!(!told(59_990_000).contains("Budget: The"));
}

#[test]
fn a_terminal_gets_lines_of_its_own_width() {
    for (name, report) in reports::all().expect("reports") {
        for width in [80, 120, 200] {
            let text = render_text(&report, width);
            let commands: Vec<String> = report.savings.iter().map(|saving| format!("    {}", saving.command)).collect();
            let lines = text.lines().filter(|line| !commands.iter().any(|command| command == line));
            let long: Vec<_> = lines.filter(|line| line.chars().count() > usize::from(width)).collect();
            assert_eq!(long, Vec::<&str>::new(), "{name} at {width}");
        }
    }
}
