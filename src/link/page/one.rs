//! One worker: what stands on the page at `/workers/NAME`.

use serde_json::{Value, json};

use super::fleet::{absences, event_row, hours, row, table};
use crate::link::WorkerDayAnswer;
use crate::plan::day::{AwayView, SPAN};

/// The most stretches of its day in the table.
const STRETCHES: usize = 40;

pub(super) fn content(fleet: &(String, String), answer: &WorkerDayAnswer, away: &[AwayView], seq: u64) -> Value {
    let view = &answer.worker;
    let console = view.failure.as_ref().and_then(|failure| failure.console.as_deref()).unwrap_or_default();
    let knocks = view.turned_away.iter().map(|guest| {
        let who = guest.instance.as_deref().or(guest.peer.as_deref()).unwrap_or("somebody");
        format!("{} {who}, {} times: {}", guest.at.format("%H:%M:%S"), guest.times, guest.why)
    });
    let events = answer.events.iter();
    let events = events.map(|event| event_row(answer.now, event.at, event.worker.as_deref(), &event.text));
    json!({
        "seq": seq,
        "fleet": fleet.0,
        "now": answer.now.format("%H:%M:%S").to_string(),
        "now_at": answer.now.to_rfc3339(),
        "row": row(answer.now, view, &answer.day, away),
        "explained": answer.explained,
        "addresses": view.addresses.join(", "),
        "master": view.master,
        "console": console.lines().collect::<Vec<_>>(),
        "knocks": knocks.collect::<Vec<_>>(),
        "hours": hours(answer.now - SPAN, answer.now),
        "away": absences(away),
        "stretches": table(&answer.day, STRETCHES),
        "events": events.collect::<Vec<_>>(),
    })
}
