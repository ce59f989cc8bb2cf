//! The marks of a builder, out of its console or of what its agent returned (`amis/recipes/README.md`).
//!
//! The text is the guest's: it may be anything, of any length. A mark counts only as a whole; one that was
//! cut or mixed with another line is passed over, since the guest says the last ones again.

use std::collections::BTreeMap;

use crate::model::{GuestDone, GuestFailure, GuestReport, GuestStep, PackageChange, PackageOp};

const WORD: &str = "latent-rebake ";
/// The numbers of marks; a rebake has a few hundred.
const SEQ_MAX: u32 = 9_999;
/// Characters of a value that are kept.
const VALUE_MAX: usize = 300;

/// One line of a report.
struct Mark {
    word: String,
    values: BTreeMap<String, String>,
}

impl Mark {
    fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    fn text(&self, key: &str) -> Option<String> {
        self.get(key).map(str::to_owned)
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.get(key)?.parse().ok()
    }

    /// Whether it has what its word needs: another one was cut.
    fn is_whole(&self) -> bool {
        match self.word.as_str() {
            "step" => self.get("name").is_some_and(|name| name.parse::<GuestStep>().is_ok()),
            "boot" => self.get("id").is_some_and(|id| !id.is_empty()),
            "round" | "rounds-over" => self.number("n").is_some() && self.number("found").is_some(),
            "package" if self.get("op") == Some("more") => self.number("count").is_some(),
            "package" => self.get("name").is_some() && self.operation().is_some(),
            "note" => self.get("text").is_some(),
            "fail" => self.get("code").is_some() && self.get("why").is_some(),
            "done" => ["rounds", "reboots", "packages", "sha"].iter().all(|key| self.get(key).is_some()),
            _ => true,
        }
    }

    fn operation(&self) -> Option<PackageOp> {
        match self.get("op")? {
            "+" => Some(PackageOp::Added),
            "-" => Some(PackageOp::Removed),
            "~" => Some(PackageOp::Changed),
            _ => None,
        }
    }
}

/// What a builder with this nonce says in the text. Each number counts once, in its order, wherever it stands; what
/// is no mark, or somebody else's, is passed over. An empty nonce is nobody's.
pub fn read_marks(text: &str, nonce: &str) -> GuestReport {
    let mut marks = BTreeMap::new();
    for line in text.split(['\n', '\r']) {
        if let Some((seq, mark)) = mark_in(line, nonce) {
            marks.entry(seq).or_insert(mark);
        }
    }
    let mut report = GuestReport::default();
    for (seq, mark) in &marks {
        take(&mut report, mark);
        report.last_seq = *seq;
    }
    report
}

/// The last mark in a line: before it may stand what else came onto the console.
fn mark_in(line: &str, nonce: &str) -> Option<(u32, Mark)> {
    let (_, rest) = line.rsplit_once(WORD)?;
    let rest = rest.strip_prefix(nonce).filter(|_| !nonce.is_empty())?.strip_prefix(' ')?;
    if !rest.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return None;
    }
    let mut words = rest.split(' ').filter(|word| !word.is_empty());
    let seq = words.next()?.parse::<u32>().ok().filter(|seq| (1..=SEQ_MAX).contains(seq))?;
    let word = words.next()?.to_owned();
    let values = words.map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((key.to_owned(), decoded(value)?))
    });
    let mark = Mark { word, values: values.collect::<Option<_>>()? };
    mark.is_whole().then_some((seq, mark))
}

/// A value, as plain text of one line. Nothing, if it holds what the guest does not write.
fn decoded(value: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let (high, low) = (char::from(rest.next()?).to_digit(16)?, char::from(rest.next()?).to_digit(16)?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'.' | b'_' | b':' | b'+' | b'~' | b'/' | b'-' => byte,
            _ if byte.is_ascii_alphanumeric() => byte,
            _ => return None,
        };
        if (byte.is_ascii_graphic() || byte == b' ') && text.len() < VALUE_MAX {
            text.push(char::from(byte));
        }
    }
    Some(text)
}

fn take(report: &mut GuestReport, mark: &Mark) {
    match mark.word.as_str() {
        "step" => report.step = report.step.max(mark.get("name").and_then(|name| name.parse().ok())),
        "boot" => report.add_boot(mark.text("id").unwrap_or_default()),
        "round" if mark.number("found") > Some(0) => {
            report.rounds = report.rounds.max(mark.number("n").unwrap_or_default());
        }
        "package" => match (mark.operation(), mark.text("name")) {
            (Some(op), Some(name)) => {
                report.add_package(PackageChange { op, name, from: mark.text("from"), to: mark.text("to") });
            }
            _ => report.packages_more = report.packages_more.max(mark.number("count").unwrap_or_default()),
        },
        "note" => report.add_note(mark.text("text").unwrap_or_default()),
        // The first one is the reason; what comes after may follow from it.
        "fail" if report.failed.is_none() => {
            let said = mark.get("step").and_then(|name| name.parse().ok());
            report.failed = Some(GuestFailure {
                step: said.or(report.step).unwrap_or(GuestStep::Quiesce),
                code: mark.get("code").and_then(|code| code.parse().ok()).unwrap_or(-1),
                why: mark.text("why").unwrap_or_default(),
            });
        }
        "done" => {
            report.done = Some(GuestDone {
                rounds: mark.number("rounds").unwrap_or_default(),
                reboots: mark.number("reboots").unwrap_or_default(),
                packages: mark.number("packages").unwrap_or_default(),
                sha: mark.text("sha").unwrap_or_default(),
            });
        }
        // `rounds-over` is followed by `fail`; a word of a later version is none of ours.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: &str = "0123456789abcdef0123456789abcdef";

    fn line(seq: u32, rest: &str) -> String {
        format!("latent-rebake {NONCE} {seq} {rest}\n")
    }

    /// A whole rebake, as a guest tells it.
    fn whole() -> Vec<String> {
        let rest = [
            "boot id=a-1",
            "step name=quiesce",
            "note text=held:%20unit%20bb.service",
            "step name=update",
            "round n=1 found=2",
            "round n=2 found=0",
            "step name=reboot",
            "boot id=a-2",
            "step name=update",
            "round n=2 found=0",
            "step name=settle",
            "step name=clean",
            "package op=+ name=git to=1:2.39",
            "package op=- name=nano from=7",
            "package op=~ name=libc6 from=2.36-9 to=2.36-9%2Cu",
            "package op=more count=12",
            "step name=off",
            "done rounds=1 reboots=1 packages=15 sha=00ff",
        ];
        (1..).zip(rest).map(|(seq, rest)| line(seq, rest)).collect()
    }

    #[test]
    fn a_whole_rebake_is_read() {
        let report = read_marks(&whole().concat(), NONCE);
        assert_eq!(report.step, Some(GuestStep::Off));
        assert_eq!((report.boots.as_slice(), report.reboots), (&["a-1".to_owned(), "a-2".to_owned()][..], 1));
        assert_eq!((report.rounds, report.packages_more, report.last_seq), (1, 12, 18));
        assert_eq!(report.notes, ["held: unit bb.service"]);
        let done = report.done.expect("it is done");
        assert_eq!((done.rounds, done.reboots, done.packages, done.sha.as_str()), (1, 1, 15, "00ff"));
        let told: Vec<_> = report.packages.iter().map(|p| (p.op, p.from.as_deref(), p.to.as_deref())).collect();
        assert_eq!(
            told,
            [
                (PackageOp::Added, None, Some("1:2.39")),
                (PackageOp::Removed, Some("7"), None),
                (PackageOp::Changed, Some("2.36-9"), Some("2.36-9,u")),
            ]
        );
        assert_eq!(report.failed, None);
    }

    #[test]
    fn a_failure_is_read_and_the_first_one_is_the_reason() {
        let text = [
            line(1, "step name=update"),
            line(2, "fail step=update code=100 why=E:%20no%20mirror"),
            line(3, "fail step=update code=124 why=late"),
        ];
        let failed = read_marks(&text.concat(), NONCE).failed.expect("it failed");
        assert_eq!((failed.step, failed.code, failed.why.as_str()), (GuestStep::Update, 100, "E: no mirror"));
        let odd = read_marks(&line(1, "fail step=later code=99999999999 why="), NONCE).failed.expect("it failed");
        assert_eq!((odd.step, odd.code, odd.why.as_str()), (GuestStep::Quiesce, -1, ""));
    }

    #[test]
    fn the_same_in_another_order_or_said_twice_is_the_same() {
        let mut lines = whole();
        let report = read_marks(&lines.concat(), NONCE);
        lines.reverse();
        lines.extend(whole());
        assert_eq!(read_marks(&lines.concat(), NONCE), report);
    }

    #[test]
    fn other_lines_are_passed_over() {
        for text in [
            String::new(),
            format!("latent-rebake {} 1 step name=off\n", NONCE.replace('0', "f")),
            line(0, "step name=off"),
            line(99_999, "step name=off"),
            line(1, "step"),
            line(1, "step name=halt"),
            line(1, "step name=off\u{1b}[2J"),
            line(1, "step name=off %zz=1%"),
            line(1, "step name=off[ 12.3] audit: x"),
            line(1, "done rounds=1 reboots=1 pack"),
            line(1, "package op=? name=x"),
            format!("latent-rebake {NONCE} 4294967296000 step name=off\n"),
            format!("latent-rebake {NONCE}1 1 step name=off\n"),
        ] {
            assert_eq!(read_marks(&text, NONCE), GuestReport::default(), "{text:?}");
        }
        assert_eq!(read_marks("latent-rebake  1 step name=off\n", ""), GuestReport::default(), "nobody's nonce");
        let odd = "[  12.345678] cloud-init[812]: ".to_owned() + line(7, "step name=clean").trim_end() + "\r\n";
        assert_eq!(read_marks(&odd, NONCE).step, Some(GuestStep::Clean), "what stands before it does no harm");
    }

    #[test]
    fn a_cut_mark_is_mended_by_its_repetition() {
        let text = line(1, "step na") + &line(1, "step name=update");
        assert_eq!(read_marks(&text, NONCE).step, Some(GuestStep::Update));
    }

    #[test]
    fn nothing_of_a_value_can_move_a_terminal() {
        let report = read_marks(&line(1, "note text=%1b]0;x%07%0A%E2%80%AEok"), NONCE);
        assert_eq!(report.notes, Vec::<String>::new(), "a bare ; is none of its characters");
        let report = read_marks(&line(1, "note text=%1B%5D0%0A%E2%80%AEok"), NONCE);
        assert_eq!(report.notes, ["]0ok"]);
        let long = read_marks(&line(1, &format!("note text={}", "a".repeat(5_000_000))), NONCE);
        assert_eq!(long.notes.first().map(String::len), Some(VALUE_MAX));
    }

    #[test]
    fn what_a_console_has_forgotten_stays_known() {
        let lines = whole();
        let (early, late) = (lines[..13].concat(), lines[11..].concat());
        let merged = read_marks(&early, NONCE).merged(&read_marks(&late, NONCE));
        assert_eq!(merged, read_marks(&lines.concat(), NONCE));
    }

    fn words() -> impl Strategy<Value = String> {
        prop_oneof![
            "step name=(quiesce|update|reboot|settle|clean|off|x)",
            "boot id=[a-c]",
            "round n=[0-9]{1,12} found=[0-9]",
            "package op=[-+~] name=[a-c] from=[0-9] to=[0-9]",
            "package op=more count=[0-9]{1,3}",
            "note text=(%[0-9A-F]{2}|[a-z]){0,9}",
            "fail step=update code=-?[0-9]{1,12} why=[a-z]{0,5}",
            "done rounds=[0-9] reboots=[0-9] packages=[0-9] sha=[0-9a-f]{4}",
            "[ -~]{0,40}",
        ]
    }

    fn texts() -> impl Strategy<Value = Vec<String>> {
        let marks = (0..20u32, words()).prop_map(|(seq, words)| line(seq, &words));
        prop::collection::vec(prop_oneof![4 => marks, 1 => any::<String>().prop_map(|text| text + "\n")], 0..30)
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_what_is_kept_is_plain(text in any::<String>(), lines in texts()) {
            for text in [text, lines.concat()] {
                let report = read_marks(&text, NONCE);
                let said = report.notes.iter().chain(&report.boots).chain(report.packages.iter().map(|p| &p.name));
                for value in said.chain(report.failed.iter().map(|failed| &failed.why)) {
                    prop_assert!(value.len() <= VALUE_MAX && value.bytes().all(|b| (b' '..=b'~').contains(&b)));
                }
                prop_assert_eq!(read_marks(&format!("{text}\n{text}"), NONCE), report);
            }
        }

        #[test]
        fn merging_takes_nothing_back(first in texts(), second in texts()) {
            let (a, b) = (read_marks(&first.concat(), NONCE), read_marks(&second.concat(), NONCE));
            let both = a.merged(&b);
            prop_assert_eq!(a.merged(&a), a.clone());
            prop_assert_eq!(both.merged(&b), both.clone());
            prop_assert_eq!(both.merged(&a), both.clone());
            prop_assert!(both.step == a.step.max(b.step) && both.last_seq == a.last_seq.max(b.last_seq));
            prop_assert!(a.boots.iter().chain(&b.boots).all(|boot| both.boots.contains(boot)));
            prop_assert!(a.packages.iter().chain(&b.packages).all(|change| both.packages.contains(change)));
            prop_assert!(a.failed.is_none() || both.failed == a.failed);
            prop_assert!(b.done.is_none() || both.done.is_some());
        }

        #[test]
        fn a_console_that_forgets_loses_nothing_that_was_read(cut in 0usize..18, again in 0usize..18) {
            let lines = whole();
            let seen = read_marks(&lines[..cut.max(again)].concat(), NONCE);
            let rest = read_marks(&lines[cut.min(again)..].concat(), NONCE);
            prop_assert_eq!(seen.merged(&rest), read_marks(&lines.concat(), NONCE));
        }
    }
}
