//! `latent status --day`: in which state each worker was when.

use std::io::Write;

use super::args::{Args, StatusOptions};
use super::connect;
use super::exit::{CommandError, Exit};
use super::output::{plain, table};
use crate::link::words::day_in_words;
use crate::plan::day::{DayView, LineView};

/// How many letters a day has: one for half an hour.
const LETTERS: usize = 48;

pub(super) async fn run(args: &Args, options: &StatusOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let client = connect::client(args)?;
    let day: DayView = client.get("/v1/day").await?;
    if options.json {
        writeln!(out, "{}", connect::pretty(&day)?)?;
        return Ok(Exit::Done);
    }
    print(&day, out)?;
    Ok(Exit::Done)
}

fn print(day: &DayView, out: &mut dyn Write) -> Result<(), CommandError> {
    if day.workers.is_empty() {
        writeln!(out, "no workers are configured")?;
        return Ok(());
    }
    let (from, to) = (day.from.format("%Y-%m-%d %H:%M:%SZ"), day.to.format("%Y-%m-%d %H:%M:%SZ"));
    writeln!(out, "from {from} to {to}, a letter for half an hour:")?;
    writeln!(out, "# busy  - ready  ^ starting  v ending  s stopped  . gone  ? unknown")?;
    let mut rows = table(&["WORKER", "DAY"]);
    for line in &day.workers {
        rows.add_row([line.worker.clone(), format!("{}\n{}", letters(line), plain(&day_in_words(line)))]);
    }
    writeln!(out, "{}", rows.trim_fmt())?;
    for away in &day.away {
        let (from, to) = (away.from.format("%H:%M:%SZ"), away.to.format("%H:%M:%SZ"));
        writeln!(out, "no controller is known to have run from {from} to {to}")?;
    }
    Ok(())
}

fn letters(line: &LineView) -> String {
    let letter = |state: &str| match state {
        "busy" => "#",
        "ready" => "-",
        "requested" | "launching" | "registering" => "^",
        "draining" | "terminating" => "v",
        "stopped" => "s",
        "gone" => ".",
        _ => "?",
    };
    line.columns(LETTERS).iter().map(|run| letter(run.state).repeat(run.width)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_letter_for_each_half_hour_and_the_same_in_words() {
        let stretch = |state: &str, from: &str, to: &str| serde_json::json!({ "state": state, "from": from, "to": to, "detail": null });
        let line = serde_json::json!({
            "worker": "w1", "starts": 1, "builds": 2, "seconds": { "gone": 79_200, "busy": 5400, "ready": 1800 },
            "stretches": [
                stretch("gone", "2026-03-01T08:00:00Z", "2026-03-02T06:00:00Z"),
                stretch("busy", "2026-03-02T06:00:00Z", "2026-03-02T07:30:00Z"),
                stretch("ready", "2026-03-02T07:30:00Z", "2026-03-02T08:00:00Z"),
            ],
        });
        let day = serde_json::json!({
            "from": "2026-03-01T08:00:00Z", "to": "2026-03-02T08:00:00Z", "workers": [line],
            "away": [{ "from": "2026-03-01T09:00:00Z", "to": "2026-03-01T09:05:00Z" }],
        });
        let mut out = Vec::new();
        print(&serde_json::from_value(day).expect("a day"), &mut out).expect("prints");
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains(&format!("{}###-\n", ".".repeat(44))), "{text}");
        assert!(text.contains("busy 1h30m, ready 30m, gone 22h; 1 start, 2 builds"), "{text}");
        assert!(text.ends_with("no controller is known to have run from 09:00:00Z to 09:05:00Z\n"), "{text}");
    }
}
