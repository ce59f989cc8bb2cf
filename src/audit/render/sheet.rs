//! The instances for a spreadsheet: RFC 4180, and no cell is a formula.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::audit::report::{InstanceLine, Report};
use crate::model::plain;
use crate::plan::meter::Use;
use crate::policy::price::{Money, Range};

const BEFORE: [&str; 15] = [
    "instance",
    "worker",
    "region",
    "zone",
    "instance_type",
    "market",
    "software",
    "ami",
    "image",
    "wanted_by",
    "from",
    "to",
    "ended",
    "starts",
    "builds",
];

const AFTER: [&str; 13] = [
    "billed_seconds",
    "cost_low_usd",
    "cost_high_usd",
    "compute_low_usd",
    "compute_high_usd",
    "storage_low_usd",
    "storage_high_usd",
    "address_low_usd",
    "address_high_usd",
    "unpriced",
    "ledger_seconds",
    "cloudtrail_seconds",
    "ec2_seconds",
];

/// One line for each instance, all of them. A cell is empty where nothing is known.
pub(super) fn render(report: &Report) -> String {
    let mut sheet = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let uses = Use::ALL.map(|usage| format!("{usage}_seconds"));
    let header = BEFORE.into_iter().chain(uses.iter().map(String::as_str)).chain(AFTER);
    let memory = "memory takes everything, and every line has as many cells as the header";
    sheet.write_record(header).expect(memory);
    for line in &report.instances {
        sheet.write_record(cells(line)).expect(memory);
    }
    String::from_utf8(sheet.into_inner().expect(memory)).expect("texts are UTF-8")
}

fn cells(line: &InstanceLine) -> Vec<String> {
    let optional = |text: &Option<String>| text.as_deref().map(harmless).unwrap_or_default();
    let number = |seconds: Option<i64>| seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
    let mut cells = vec![harmless(&line.instance), optional(&line.worker), harmless(&line.region)];
    cells.extend(
        [&line.zone, &line.instance_type, &line.market, &line.software, &line.ami, &line.image, &line.wanted_by]
            .map(optional),
    );
    cells.extend([moment(line.from), line.to.map(moment).unwrap_or_default(), optional(&line.ended)]);
    cells.extend([line.starts.to_string(), line.builds.to_string()]);
    cells.extend(Use::ALL.map(|usage| line.uses.get(&usage).copied().unwrap_or(0).to_string()));
    cells.push(line.billed_seconds.to_string());
    let parts =
        line.cost.map(|cost| [cost.compute + cost.storage + cost.address, cost.compute, cost.storage, cost.address]);
    cells.extend(parts.map_or_else(|| vec![String::new(); 8], |parts| parts.iter().flat_map(ends).collect()));
    cells.push(optional(&line.unpriced));
    cells.extend([line.hours.ledger, line.hours.cloudtrail, line.hours.describe].map(number));
    cells
}

fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn ends(range: &Range) -> [String; 2] {
    let dollars = |money: Money| {
        let micros = money.as_micro_dollars();
        format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    };
    [dollars(range.low), dollars(range.high)]
}

/// Foreign text that no spreadsheet takes for a formula: what looks like the begin of one follows a quote.
fn harmless(text: &str) -> String {
    let formula =
        |c: char| matches!(c, '=' | '+' | '-' | '@' | '|' | '%' | '＝' | '＋' | '－' | '＠' | '\t' | '\r' | '\n');
    let clean = plain(text);
    if text.starts_with(formula) || clean.trim_start().starts_with(formula) { format!("'{clean}") } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_begins_like_a_formula() {
        let said = ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", " =1", "＝1", "i-1", "a=b"].map(harmless);
        assert_eq!(said, ["'=1+1", "'+1", "'-1", "'@SUM(1)", "'?=1", "'?=1", "' =1", "'＝1", "i-1", "a=b"]);
    }

    #[test]
    fn amounts_are_whole_dollars_with_six_digits() {
        let range = Range { low: Money::ZERO, high: Money::micro_dollars(12_340_005) };
        assert_eq!(ends(&range), ["0.000000", "12.340005"]);
    }
}
