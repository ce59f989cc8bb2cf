//! Marks of a builder, read.
use crate::model::{GuestDone, GuestFailure, GuestReport, GuestStep};

/// Reads marks.
pub fn read_marks(text: &str, nonce: &str) -> GuestReport {
    let mut report = GuestReport::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("latent-rebake") || words.next() != Some(nonce) {
            continue;
        }
        let Some(seq) = words.next().and_then(|w| w.parse::<u32>().ok()) else { continue };
        let word = words.next().unwrap_or_default();
        let get = |key: &str| {
            line.split_whitespace().find_map(|w| w.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default().to_owned()
        };
        if seq <= report.last_seq {
            continue;
        }
        report.last_seq = seq;
        match word {
            "step" => report.step = get("name").parse::<GuestStep>().ok().max(report.step),
            "boot" => report.boots.push(get("id")),
            "round" => report.rounds = get("n").parse().unwrap_or_default(),
            "fail" => {
                report.failed = Some(GuestFailure {
                    step: get("step").parse().unwrap_or(GuestStep::Update),
                    code: get("code").parse().unwrap_or(-1),
                    why: get("why"),
                });
            }
            "done" => {
                let n = |k: &str| get(k).parse().unwrap_or_default();
                report.done = Some(GuestDone {
                    rounds: n("rounds"),
                    reboots: n("reboots"),
                    packages: n("packages"),
                    sha: get("sha"),
                });
            }
            _ => {}
        }
    }
    report
}
