//! A ledger as JSON lines: each entry as it was written, with its chain, so that the file can be verified too.
//!
//! A line is the entry's text with members added before its closing brace; without them it is that text
//! again, byte by byte.

use super::chain::Chain;
use super::verify::Row;

/// One line of an exported ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The entry's place.
    pub seq: u64,
    /// The version of its format.
    pub version: u32,
    /// The chain's value before it; only on a first line that is not the first entry.
    pub previous: Option<Chain>,
    /// The entry as it was written.
    pub text: String,
    /// The chain's value after it, as it stands there.
    pub chain: String,
}

/// The line of a row; `previous` is the chain before it where the file begins with a later entry.
pub fn line(row: &Row, previous: Option<Chain>) -> String {
    let entry = row.text.strip_suffix('}').unwrap_or(&row.text);
    let previous = previous.map(|chain| format!(",\"previous\":\"{chain}\"")).unwrap_or_default();
    // A chain that somebody changed may hold anything.
    let chain = serde_json::Value::from(row.chain.as_str());
    format!("{entry},\"version\":{}{previous},\"chain\":{chain}}}", row.version)
}

/// Reads a line back.
///
/// # Errors
/// How it shows that the line was not exported, or was written anew by another tool.
pub fn read_line(line: &str) -> Result<Line, String> {
    let form = "not a line that latent ledger export wrote; a tool that writes JSON anew changes it";
    let cut = |text: &str| -> Option<Line> {
        let (rest, chain) = text.strip_suffix("\"}")?.rsplit_once(",\"chain\":\"")?;
        let (rest, previous) = match rest.strip_suffix('"').and_then(|rest| rest.rsplit_once(",\"previous\":\"")) {
            Some((rest, previous)) => (rest, Some(previous.parse().ok()?)),
            None => (rest, None),
        };
        let (entry, version) = rest.rsplit_once(",\"version\":")?;
        let digits = entry.strip_prefix("{\"seq\":")?;
        let end = digits.find(|c: char| !c.is_ascii_digit())?;
        let seq = digits[..end].parse().ok()?;
        Some(Line {
            seq,
            version: version.parse().ok()?,
            previous,
            text: format!("{entry}}}"),
            chain: chain.to_owned(),
        })
    };
    cut(line.trim_end_matches(['\r', '\n'])).ok_or_else(|| form.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_the_entry_back_byte_by_byte() {
        let text = r#"{"seq":12,"at":"2026-01-01T00:00:00Z","actor":"cloud","body":{"x":",\"chain\":\"a\"}"}}"#;
        let chain = Chain::genesis();
        let row = Row { seq: 12, at: None, version: 4, worker: None, text: text.to_owned(), chain: chain.to_string() };
        for previous in [None, Some(chain)] {
            let written = line(&row, previous);
            assert!(serde_json::from_str::<serde_json::Value>(&written).is_ok_and(|value| value["chain"].is_string()));
            let read = read_line(&format!("{written}\n")).expect("reads");
            assert_eq!(read.previous, previous);
            assert_eq!(Row::from(read), row);
        }
        for wrong in ["", "{}", "[1]", r#"{"seq":1,"version":4,"chain":"x"} "#, r#"{"chain":"","seq":1}"#] {
            assert!(read_line(wrong).is_err(), "{wrong}");
        }
    }
}
