//! The report for programs.

use std::fmt::Write as _;

use crate::audit::report::Report;
use crate::model::is_invisible;

/// All of it. A character that a terminal would obey or nobody could see is written as its escape, which
/// JSON reads as the character.
pub(super) fn render(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("a report has only texts as keys");
    text.push('\n');
    let is_unsafe = |c: char| (c.is_control() && c != '\n') || is_invisible(c);
    if !text.contains(is_unsafe) {
        return text;
    }
    let (mut safe, mut rest) = (String::with_capacity(text.len()), text.as_str());
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_unsafe(*c)) {
        safe.push_str(&rest[..at]);
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            let _ = write!(safe, "\\u{unit:04x}");
        }
        rest = &rest[at + c.len_utf8()..];
    }
    safe.push_str(rest);
    safe
}
