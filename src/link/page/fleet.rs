//! The fleet at a glance: what stands on the page at `/`.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::budget;
use super::strip::{Strip, kind, strip};
use crate::control::{CellView, HealthView, WorkerView};
use crate::link::StatusAnswer;
use crate::link::words::{ago, left, span, why};
use crate::model::{Entry, counted};
use crate::plan::day::{AwayView, DayView, LineView, SPAN, StretchView};
use crate::policy::price::Range;

/// So many of the ledger's last entries are shown.
pub(super) const EVENTS: u64 = 30;
/// So many workers are shown at once.
const WORKERS: usize = 100;
/// From so many workers on they can be searched.
const SEARCH_FROM: usize = 20;
/// So many times without a controller are told one by one.
const ABSENCES: usize = 3;
/// The most lines of what needs an eye; the rest is counted.
const ATTENTION_MAX: usize = 50;

/// Which workers are wanted.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// Those with this in name, state, image or owner.
    #[serde(default)]
    q: String,
    /// Which hundred of them, from 1.
    page: Option<usize>,
}

/// The workers of one page.
pub(super) struct Part<'a> {
    pub(super) workers: Vec<&'a WorkerView>,
    wanted: String,
    found: usize,
    page: usize,
    pages: usize,
}

/// A worker's row, and the head of its own page.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    worker: String,
    state: String,
    kind: &'static str,
    /// How long it is in that state.
    since: String,
    since_at: Option<String>,
    doing: Option<String>,
    why: String,
    /// What is known of its instance and of what it is made from: name and value.
    facts: Vec<(&'static str, String)>,
    strip: Strip,
}

pub(super) fn part<'a>(status: &'a StatusAnswer, wanted: &Wanted) -> Part<'a> {
    let text: String = wanted.q.trim().chars().take(100).collect();
    let lower = text.to_lowercase();
    let fits = |worker: &&WorkerView| {
        let words = [&worker.worker, &worker.state, &worker.image, &worker.owner, &worker.region];
        words.iter().any(|word| word.to_lowercase().contains(&lower)) || kind(&worker.state) == lower
    };
    let found: Vec<&WorkerView> = status.workers.iter().filter(fits).collect();
    let pages = found.len().div_ceil(WORKERS).max(1);
    let page = wanted.page.unwrap_or(1).clamp(1, pages);
    let workers = found.iter().skip((page - 1) * WORKERS).take(WORKERS).copied().collect();
    Part { workers, wanted: text, found: found.len(), page, pages }
}

pub(super) fn content(
    status: &StatusAnswer,
    health: &HealthView,
    part: &Part<'_>,
    day: &DayView,
    events: &[Entry],
) -> Value {
    let attention = attention(status, health);
    let empty = LineView::default();
    let line = |name: &str| day.workers.iter().find(|line| line.worker == name).unwrap_or(&empty);
    let rows: Vec<Row> = part.workers.iter().map(|view| row(status.now, view, line(&view.worker), &day.away)).collect();
    json!({
        "seq": health.seq,
        "fleet": status.fleet,
        "controller": status.controller,
        "version": crate::VERSION,
        "now": clock(status.now),
        "now_at": status.now.to_rfc3339(),
        "verdict": verdict(status, health, attention.len()),
        "tiles": tiles(status),
        "more": attention.len().saturating_sub(ATTENTION_MAX),
        "attention": &attention[..attention.len().min(ATTENTION_MAX)],
        "budgets": status.budgets.iter().map(budget::row).collect::<Vec<_>>(),
        "rows": rows,
        "hours": hours(day.from, day.to),
        "away": absences(&day.away),
        "search": status.workers.len() >= SEARCH_FROM || !part.wanted.is_empty(),
        "wanted": part.wanted,
        "pages": pages(part, status.workers.len()),
        "cells": status.cells.iter().map(|cell| cell_row(status.now, cell)).collect::<Vec<_>>(),
        "events": events.iter().rev().map(|entry| event(status.now, entry)).collect::<Vec<_>>(),
    })
}

fn clock(at: DateTime<Utc>) -> String {
    at.format("%H:%M:%S").to_string()
}

/// The time under each quarter of a strip.
pub(super) fn hours(from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<String> {
    (0..=4).map(|quarter| (from + (to - from) * quarter / 4).format("%H:%M").to_string()).collect()
}

/// In a sentence, whether anybody need do anything.
fn verdict(status: &StatusAnswer, health: &HealthView, attention: usize) -> Value {
    let live = status.workers.iter().filter(|worker| is_live(worker)).count();
    let all = status.workers.len();
    let text = format!("{live} of {} with a live instance.", counted(count(all), "worker"));
    match (health.ready, attention) {
        (false, _) => json!({ "class": "bad", "title": "The controller is not ready", "text": text }),
        (true, 0) => json!({ "class": "good", "title": "Nothing needs you", "text": text }),
        (true, 1) => json!({ "class": "warn", "title": "One thing needs an eye", "text": text }),
        (true, many) => json!({ "class": "warn", "title": format!("{many} things need an eye"), "text": text }),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Whether an instance of it costs by the hour now.
fn is_live(worker: &WorkerView) -> bool {
    worker.instance.is_some() && worker.state != "stopped"
}

/// How many workers do what, and what they cost.
fn tiles(status: &StatusAnswer) -> Vec<Value> {
    let mut tiles: Vec<Value> = ["busy", "ready", "starting", "ending", "stopped", "gone"]
        .iter()
        .map(|word| {
            let number = status.workers.iter().filter(|worker| kind(&worker.state) == *word).count();
            json!({ "kind": word, "name": word, "value": number.to_string(), "link": number > 0 })
        })
        .collect();
    let live = status.workers.iter().filter(|worker| is_live(worker));
    let hourly: Range = live.filter_map(|worker| worker.price).sum();
    tiles.push(json!({ "kind": "cost", "name": "per hour now", "value": amount(hourly), "link": false }));
    let today: Range = status.workers.iter().filter_map(|worker| worker.cost_today).sum();
    let whole = status.workers.iter().all(|worker| worker.cost_today.is_some());
    let name = if whole { "today" } else { "today, where priced" };
    tiles.push(json!({ "kind": "cost", "name": name, "value": amount(today), "link": false }));
    tiles
}

/// An amount as a person writes it.
pub(super) fn amount(range: Range) -> String {
    range.to_string().replace("..", "\u{2013}")
}

/// Everything that a person should know of: where it is, what, and what to do.
fn attention(status: &StatusAnswer, health: &HealthView) -> Vec<Value> {
    let mut all: Vec<Value> = health.reasons.iter().map(|reason| json!({ "class": "bad", "text": reason })).collect();
    let failed = status.workers.iter().filter_map(|worker| Some((worker, worker.failure.as_ref()?)));
    all.extend(failed.map(|(worker, failure)| {
        json!({
            "class": if failure.fatal { "bad" } else { "warn" },
            "worker": worker.worker,
            "text": format!("last request failed in the {} phase: {}: {}", failure.phase, failure.code, failure.message),
            "cure": failure.cure,
        })
    }));
    let budgets = status.budgets.iter().flat_map(budget::notes);
    all.extend(status.warnings.iter().cloned().chain(budgets).map(|text| json!({ "class": "warn", "text": text })));
    all
}

fn pages(part: &Part<'_>, all: usize) -> Value {
    let first = (part.page - 1) * WORKERS;
    let shown = format!("{}–{} of {}", first + usize::from(part.found > 0), first + part.workers.len(), part.found);
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("q", &part.wanted).finish();
    let link = |page: usize| format!("/?{query}&page={page}");
    json!({
        "shown": (part.pages > 1 || part.found < all).then_some(shown),
        "before": (part.page > 1).then(|| link(part.page - 1)),
        "after": (part.page < part.pages).then(|| link(part.page + 1)),
    })
}

pub(super) fn row(now: DateTime<Utc>, view: &WorkerView, line: &LineView, away: &[AwayView]) -> Row {
    let doing = match (&view.build, view.idle_since) {
        (Some(build), _) => Some(format!("build {build}")),
        (None, Some(idle)) => Some(format!("idle {}", span(now - idle))),
        (None, None) => None,
    };
    Row {
        worker: view.worker.clone(),
        state: view.state.clone(),
        kind: kind(&view.state),
        since: ago(now, view.since),
        since_at: view.since.map(|at| at.to_rfc3339()),
        doing,
        why: why(view),
        facts: facts(now, view),
        strip: strip(line, away),
    }
}

/// What is known of its instance, and of what that is made from.
fn facts(now: DateTime<Utc>, view: &WorkerView) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let mut add = |name, text: Option<String>| facts.extend(text.map(|text| (name, text)));
    add("instance", view.instance.clone());
    if view.instance.is_some() {
        let kinds = [&view.instance_type, &view.place, &view.market];
        let kinds: Vec<&str> = kinds.into_iter().flatten().map(String::as_str).collect();
        add("type", Some(kinds.join(", ")));
        add("age", view.created.map(|at| ago(now, Some(at))));
        add("lease", view.lease.map(|at| lease(now, at)));
    }
    let generation = view.generation.map(|number| format!(", generation {number}")).unwrap_or_default();
    add("image", Some(format!("{}{generation}", view.image)));
    add("AMI", view.ami.clone());
    add("owner", Some(format!("{}, {}", view.owner, view.region)));
    add("per hour", view.price.map(|price| format!("{price:#}").replace("..", "\u{2013}")));
    add("today", view.cost_today.map(amount));
    facts
}

fn lease(now: DateTime<Utc>, until: DateTime<Utc>) -> String {
    if until <= now { "over".to_owned() } else { format!("{} left", left(now, Some(until))) }
}

/// What is said where the price of something is not known.
fn unpriced() -> String {
    "not all priced".to_owned()
}

fn cell_row(now: DateTime<Utc>, cell: &CellView) -> Value {
    let failure = cell.failure.as_ref().map(|failure| format!("{}: {}", failure.code, failure.message));
    let since =
        |at: Option<DateTime<Utc>>| at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", span(now - at)));
    json!({
        "owner": cell.owner,
        "region": cell.region,
        "account": cell.account.as_deref().unwrap_or("not known yet"),
        "instances": cell.instances.to_string(),
        "listed": since(cell.listed_at),
        "swept": since(cell.swept_at),
        "leftovers": cell.leftovers.len().to_string(),
        "today": cell.cost_today.map_or_else(unpriced, amount),
        "month": cell.cost_month.map_or_else(unpriced, amount),
        "failure": failure,
    })
}

fn event(now: DateTime<Utc>, entry: &Entry) -> Value {
    let worker = entry.body.worker().map(ToString::to_string);
    event_row(now, entry.at, worker.as_deref(), &entry.body.describe())
}

/// An entry of the ledger in a list; of one that is older than a day the date is shown too.
pub(super) fn event_row(now: DateTime<Utc>, at: DateTime<Utc>, worker: Option<&str>, text: &str) -> Value {
    let shown = if now - at < SPAN { clock(at) } else { at.format("%m-%d %H:%M").to_string() };
    json!({ "at": shown, "full": at.to_rfc3339(), "worker": worker, "text": text })
}

/// When no controller is known to have run, in a sentence; the last times where there are many.
pub(super) fn absences(away: &[AwayView]) -> Option<String> {
    let time = |away: &AwayView| format!("{} to {}", away.from.format("%H:%M"), away.to.format("%H:%M"));
    let last: Vec<String> = away.iter().rev().take(ABSENCES).map(time).collect();
    let more = away.len().saturating_sub(ABSENCES);
    let more = if more > 0 { format!(", and {more} times before") } else { String::new() };
    (!last.is_empty()).then(|| format!("No controller is known to have run from {}{more}.", last.join(", from ")))
}

/// The stretches of a day in a table, the last one first; what took no second is left out.
pub(super) fn table(line: &LineView, most: usize) -> Vec<Value> {
    let lasted = |stretch: &&StretchView| stretch.to - stretch.from >= TimeDelta::seconds(1);
    let rows = line.stretches.iter().rev().filter(lasted).take(most).map(|stretch| {
        json!({
            "kind": kind(&stretch.state),
            "state": stretch.state,
            "from": clock(stretch.from),
            "full": stretch.from.to_rfc3339(),
            "lasted": span(stretch.to - stretch.from),
            "detail": stretch.detail,
        })
    });
    rows.collect()
}
