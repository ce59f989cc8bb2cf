//! The files that are shipped: documentation, rules and dashboard speak of the metrics that there are.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use latent::control::{METERS, MeterKind};
use serde_json::Value;

use super::story::{RULES, names_in};
use super::tools::{file, promtool, words};

const DASHBOARD: &str = "docs/grafana/latent.json";
const DOC: &str = "docs/METRICS.md";

/// The names that may stand in a query.
fn names() -> BTreeSet<String> {
    let of = |meter: &latent::control::Meter| match meter.kind {
        MeterKind::Histogram => ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", meter.name)).to_vec(),
        MeterKind::Counter | MeterKind::Gauge | MeterKind::Info => vec![meter.name.to_owned()],
    };
    METERS.iter().flat_map(of).collect()
}

/// The table of the documentation, as it must be.
fn table() -> String {
    let mut table = "| Metric | Kind | Labels | What it says |\n|---|---|---|---|\n".to_owned();
    for meter in METERS {
        let labels: Vec<String> = meter.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ =
            writeln!(table, "| `{}` | {} | {} | {}. |", meter.name, meter.kind.name(), labels.join(", "), meter.help);
    }
    table
}

#[test]
fn the_documentation_has_every_metric_and_no_other() {
    let (doc, table) = (file(DOC), table());
    assert!(doc.contains(&table), "the table of {DOC} must be:\n{table}");
    let known: BTreeSet<String> = names().into_iter().chain(METERS.iter().map(|meter| meter.name.to_owned())).collect();
    let strange: Vec<&str> = names_in(&doc).into_iter().filter(|name| !known.contains(*name)).collect();
    assert!(strange.is_empty(), "{DOC} speaks of {strange:?}");
}

#[test]
fn rules_and_dashboard_ask_for_metrics_that_there_are() {
    let known = names();
    for path in [RULES, DASHBOARD] {
        let text = file(path);
        let strange: Vec<&str> = names_in(&text).into_iter().filter(|name| !known.contains(*name)).collect();
        assert!(strange.is_empty(), "{path} asks for {strange:?}");
    }
}

/// Everything of the name `key` in a document, however deep.
fn all_of<'a>(document: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match document {
        Value::Object(fields) => {
            found.extend(fields.get(key));
            fields.values().for_each(|value| all_of(value, key, found));
        }
        Value::Array(items) => items.iter().for_each(|value| all_of(value, key, found)),
        _ => {}
    }
}

fn dashboard() -> Value {
    serde_json::from_str(&file(DASHBOARD)).expect("JSON")
}

#[test]
fn the_dashboards_panels_stand_side_by_side_and_each_asks_for_something() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<i64> = panels.iter().filter_map(|panel| panel["id"].as_i64()).collect();
    assert_eq!(ids.len(), panels.len(), "each has an id of its own");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let number = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("{key} of {panel}"));
        let (x, y, w, h) = (number("x"), number("y"), number("w"), number("h"));
        assert!(x + w <= 24 && w > 0 && h > 0, "{panel}");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{} covers another", panel["title"]);
        }
        let title = panel["title"].as_str().expect("a title");
        if panel["type"] != "row" {
            let targets = panel["targets"].as_array().expect("targets");
            let asks = |target: &Value| target["expr"].as_str().is_some_and(|expr| !names_in(expr).is_empty());
            assert!(!targets.is_empty() && targets.iter().all(asks), "{title}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title}");
        }
    }
}

#[test]
fn promtool_reads_every_query_of_the_dashboard() {
    let dashboard = dashboard();
    let mut queries = Vec::new();
    all_of(&dashboard, "expr", &mut queries);
    assert!(queries.len() > 15, "{}", queries.len());
    let rules: Vec<Value> = (0..)
        .zip(&queries)
        .map(|(number, query)| {
            let query = query.as_str().expect("a text").replace("$__rate_interval", "5m").replace("$__range", "1d");
            serde_json::json!({ "record": format!("dashboard:query{number}"), "expr": query })
        })
        .collect();
    let text = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dashboard.json");
    std::fs::write(&path, text).expect("can be written");
    if let Some(checked) = promtool(&["check", "rules", path.to_str().expect("a path")]) {
        assert!(checked.status.success(), "{}", words(&checked));
    }
}
