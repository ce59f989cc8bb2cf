//! A scenario that is scraped as Prometheus would, and what Prometheus then makes of our rules.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use latent::control::RebakeView;
use serde_json::{Value, json};

use super::tools::{file, promtool, words};
use crate::harness::{Lab, seconds};
use crate::setup::Setup;

/// The rules that are played.
pub(super) const RULES: &str = "docs/prometheus/latent.rules.yml";
/// How virtual time moves between two looks at a lab.
const STEP: TimeDelta = TimeDelta::seconds(10);
/// What Prometheus adds to each series of a target.
const TARGET: &str = "job=\"latent\",instance=\"ctl\"";

/// The alerts that fire at a time.
struct Seen {
    at: TimeDelta,
    alerts: BTreeSet<&'static str>,
}

/// A lab and what was scraped of it.
pub(super) struct Story {
    pub(super) lab: Lab,
    pub(super) rebakes: Vec<RebakeView>,
    begun: DateTime<Utc>,
    every: TimeDelta,
    scrapes: Vec<BTreeMap<String, String>>,
    seen: Vec<Seen>,
}

/// The names of our metrics that a text speaks of.
pub(super) fn names_in(text: &str) -> BTreeSet<&str> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !letter(c));
    words.filter(|word| word.starts_with("latent_")).collect()
}

/// The samples of an exposition, by series.
pub(super) fn samples(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, value)| (series.to_owned(), value.to_owned()))
        .collect()
}

impl Story {
    pub(super) fn new(setup: Setup) -> Self {
        Self::scraped_every(setup, seconds(30))
    }

    pub(super) fn scraped_every(setup: Setup, every: TimeDelta) -> Self {
        let lab = Lab::new(setup);
        let begun = lab.now();
        Self { lab, rebakes: Vec::new(), begun, every, scrapes: Vec::new(), seen: Vec::new() }
    }

    /// Scrapes what runs; what does not run gives nothing.
    fn scrape(&mut self) {
        let text = self.lab.runs().map(|controller| controller.metrics(&self.rebakes).expect("can be written"));
        self.scrapes.push(text.as_deref().map(samples).unwrap_or_default());
    }

    /// Time passes, and Prometheus scrapes.
    pub(super) async fn run(&mut self, span: TimeDelta) {
        self.run_by(span, STEP).await;
    }

    /// The same with so long between two looks.
    pub(super) async fn run_by(&mut self, span: TimeDelta, step: TimeDelta) {
        let end = self.lab.now() + span;
        while self.lab.now() < end {
            let due = self.begun + self.every * i32::try_from(self.scrapes.len()).expect("few");
            let wait = (due.min(end) - self.lab.now()).max(TimeDelta::zero());
            self.lab.run_by(wait, step).await;
            if self.lab.now() >= due {
                self.scrape();
            }
        }
    }

    /// One build, from the request to the end of the instance; the machine boots for so long.
    pub(super) async fn build(&mut self, worker: &str, boot: TimeDelta, step: TimeDelta) {
        self.lab.request(worker);
        self.run_by(boot, step).await;
        self.lab.connect(worker);
        self.lab.build(worker, Some("b/1"));
        self.run_by(seconds(300), step).await;
        self.lab.build(worker, None);
        self.lab.release(worker);
        self.run_by(seconds(120), step).await;
    }

    /// Exactly these alerts fire now.
    pub(super) fn fires<const N: usize>(&mut self, alerts: [&'static str; N]) {
        let at = self.every * i32::try_from(self.scrapes.len() - 1).expect("few");
        self.seen.push(Seen { at, alerts: BTreeSet::from(alerts) });
    }

    fn series(&self) -> Vec<Value> {
        let rules = file(RULES);
        let names = names_in(&rules);
        let wanted = |series: &&String| names.contains(series.split('{').next().unwrap_or_default());
        let all: BTreeSet<&String> = self.scrapes.iter().flat_map(BTreeMap::keys).filter(wanted).collect();
        let one = |series: &String| {
            let mut there = false;
            let values: Vec<&str> = self
                .scrapes
                .iter()
                .map(|scrape| match scrape.get(series) {
                    Some(value) => {
                        there = true;
                        value.as_str()
                    }
                    None if std::mem::take(&mut there) => "stale",
                    None => "_",
                })
                .collect();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let comma = if labels == "}" { "" } else { "," };
            json!({ "series": format!("{name}{{{TARGET}{comma}{labels}"), "values": values.join(" ") })
        };
        all.into_iter().map(one).collect()
    }

    /// What Prometheus is asked: which alerts fire at each noted time, and which ever did.
    fn questions(&self) -> Vec<Value> {
        let question = |expr: &str, at: TimeDelta, alerts: &BTreeSet<&str>| {
            let samples: Vec<Value> = alerts
                .iter()
                .map(|alert| json!({ "labels": format!("{{alertname=\"{alert}\"}}"), "value": 1 }))
                .collect();
            json!({ "expr": expr, "eval_time": format!("{}s", at.num_seconds()), "exp_samples": samples })
        };
        let now = "group by (alertname) (ALERTS{alertstate=\"firing\"})";
        let ever = "group by (alertname) (count_over_time(ALERTS{alertstate=\"firing\"}[30d]))";
        let end = self.every * i32::try_from(self.scrapes.len() - 1).expect("few");
        let all = self.seen.iter().flat_map(|seen| &seen.alerts).copied().collect();
        let each = self.seen.iter().map(|seen| question(now, seen.at, &seen.alerts));
        each.chain([question(ever, end, &all)]).collect()
    }

    fn file(&self, folder: &std::path::Path, name: &str, tests: &Value) -> String {
        let rules = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(RULES);
        let every = format!("{}s", self.every.num_seconds());
        let mut test = json!({ "interval": every, "input_series": self.series() });
        test.as_object_mut().expect("an object").extend(tests.as_object().expect("an object").clone());
        let all = json!({ "rule_files": [rules], "evaluation_interval": every, "tests": [test] });
        let path = folder.join(name);
        std::fs::write(&path, all.to_string()).expect("can be written");
        path.to_string_lossy().into_owned()
    }

    /// Prometheus finds the same; what its alerts say is whole, and has these words in it.
    #[track_caller]
    pub(super) fn holds(&self, texts: &[&str]) {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let asked = self.file(&folder, "fires.json", &json!({ "promql_expr_test": self.questions() }));
        let Some(found) = promtool(&["test", "rules", &asked]) else { return };
        assert!(found.status.success(), "{asked}: {}", words(&found));
        // A wrong expectation makes promtool tell what it got, text and all.
        let wrong: Vec<Value> = self
            .seen
            .iter()
            .flat_map(|seen| seen.alerts.iter().map(|alert| (seen.at, *alert)))
            .map(|(at, alert)| {
                json!({ "eval_time": format!("{}s", at.num_seconds()), "alertname": alert, "exp_alerts": [] })
            })
            .collect();
        if !wrong.is_empty() {
            let asked = self.file(&folder, "says.json", &json!({ "alert_rule_test": wrong }));
            let told = words(&promtool(&["test", "rules", &asked]).expect("it was there"));
            for broken in ["<no value>", "<error", "%!"] {
                assert!(!told.contains(broken), "{told}");
            }
            for text in texts {
                assert!(told.contains(text), "{text:?} is not in\n{told}");
            }
        }
        std::fs::remove_dir_all(folder).expect("can be removed");
    }
}
