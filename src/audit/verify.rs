//! A report made again, field by field: what its reader need not believe.

mod sums;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::Serialize;
use serde_json::Value;

use super::report::{InstanceLine, Report};
use crate::model::counted;
use crate::policy::price::Range;

/// The most differences that are told.
const MISMATCHES_MAX: usize = 200;
/// Amounts may differ by so many micro-dollars for each line they are summed of: each is rounded up.
const ROUNDING: u64 = 2;
/// What ended so long before a report was written, EC2 did not show any more.
const FORGOTTEN: TimeDelta = TimeDelta::hours(2);

/// A field that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Which, such as `instances.i-1.uses.build`.
    pub field: String,
    /// What the report says.
    pub report: String,
    /// What it should say.
    pub should: String,
}

/// What came of making a report again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What differs.
    pub differs: Vec<Mismatch>,
    /// How many fields were compared.
    pub compared: usize,
    /// What could not be made again, and why.
    pub unchecked: Vec<String>,
}

/// Compares a report with the same one made again from the ledger alone, and with itself: its sums must add up.
///
/// What only the account showed, and what CloudTrail said, cannot be seen again: it counts as the report tells
/// it, and is named as not checked.
pub fn verify(report: &Report, again: &Report) -> Verdict {
    let mut check = Check { differs: Vec::new(), compared: 0 };
    check.field("version", &report.version, &again.version);
    check.field("fleet", &report.fleet, &again.fleet);
    check.field("owner", &report.owner, &again.owner);
    check.field("ledger", &report.ledger, &again.ledger);
    sums::check(report, &mut check);
    let same_prices = report.prices_as_of == again.prices_as_of
        && report.price_sources == again.price_sources
        && report.program == again.program;
    instances(report, again, same_prices, &mut check);
    workers(report, again, &mut check);
    rebakes(report, again, &mut check);
    check.differs.truncate(MISMATCHES_MAX);
    Verdict { differs: check.differs, compared: check.compared, unchecked: unchecked(report, again, same_prices) }
}

struct Check {
    differs: Vec<Mismatch>,
    compared: usize,
}

impl Check {
    fn field<T: Serialize>(&mut self, field: &str, report: &T, should: &T) {
        let value = |told: &T| serde_json::to_value(told).unwrap_or_default();
        self.values(field, &value(report), &value(should));
    }

    fn values(&mut self, field: &str, report: &Value, should: &Value) {
        match (report, should) {
            (Value::Object(told), Value::Object(meant)) => {
                let keys: std::collections::BTreeSet<&String> = told.keys().chain(meant.keys()).collect();
                for key in keys {
                    let one = |of: &serde_json::Map<String, Value>| of.get(key).cloned().unwrap_or_default();
                    self.values(&format!("{field}.{key}"), &one(told), &one(meant));
                }
            }
            (told, meant) => {
                self.compared += 1;
                if told != meant {
                    let (report, should) = (told.to_string(), meant.to_string());
                    self.differs.push(Mismatch { field: field.to_owned(), report, should });
                }
            }
        }
    }

    /// Both bounds of an amount. A field may say after a comma what it is compared with.
    fn range(&mut self, field: &str, report: Range, should: Range, lines: usize) {
        let (field, by) = field.find(',').map_or((field, ""), |at| field.split_at(at));
        for (bound, report, should) in [("low", report.low, should.low), ("high", report.high, should.high)] {
            self.amount(&format!("{field}.{bound}{by}"), report.as_micro_dollars(), should.as_micro_dollars(), lines);
        }
    }

    /// An amount that may be off by its rounding.
    fn amount(&mut self, field: &str, report: u64, should: u64, lines: usize) {
        self.compared += 1;
        if report.abs_diff(should) > ROUNDING * u64::try_from(lines.max(1)).unwrap_or(u64::MAX) {
            let (report, should) = (format!("{report} micro-dollars"), format!("{should} micro-dollars"));
            self.differs.push(Mismatch { field: field.to_owned(), report, should });
        }
    }
}

/// What the ledger says of an instance, whoever looked at the account.
fn by_the_ledger(line: &InstanceLine) -> BTreeMap<&'static str, Value> {
    let value = |told: Result<Value, serde_json::Error>| told.unwrap_or_default();
    BTreeMap::from([
        ("worker", value(serde_json::to_value(&line.worker))),
        ("region", value(serde_json::to_value(&line.region))),
        ("image", value(serde_json::to_value(&line.image))),
        ("wanted_by", value(serde_json::to_value(&line.wanted_by))),
        ("from", value(serde_json::to_value(line.from))),
        ("to", value(serde_json::to_value(line.to))),
        ("ended", value(serde_json::to_value(&line.ended))),
        ("starts", value(serde_json::to_value(line.starts))),
        ("builds", value(serde_json::to_value(line.builds))),
        ("segments", value(serde_json::to_value(&line.segments))),
        ("uses", value(serde_json::to_value(&line.uses))),
        ("billed_seconds", value(serde_json::to_value(line.billed_seconds))),
        ("hours.ledger", value(serde_json::to_value(line.hours.ledger))),
    ])
}

/// What EC2 may tell as well: only where the ledger says it must the report say the same.
fn where_it_says(line: &InstanceLine) -> [(&'static str, Option<&String>); 5] {
    [
        ("zone", line.zone.as_ref()),
        ("instance_type", line.instance_type.as_ref()),
        ("market", line.market.as_ref()),
        ("software", line.software.as_ref()),
        ("ami", line.ami.as_ref()),
    ]
}

/// Whether what the price hangs on is told alike: what EC2 showed then may be gone.
fn priced_alike(one: &InstanceLine, other: &InstanceLine) -> bool {
    let of = |line: &InstanceLine| {
        (line.instance_type.clone(), line.market.clone(), line.software.clone(), line.unpriced.clone())
    };
    of(one) == of(other) && one.market.as_deref() != Some("spot")
}

/// Whether EC2 may have shown it when the report was written: then its disks and its address are what it showed.
fn shown(report: &Report, line: &InstanceLine) -> bool {
    let looked = report.sources.iter().any(|source| source.name == "describe" && source.used);
    let long_gone = line.to.is_some_and(|to| report.written_at - to > FORGOTTEN);
    line.hours.describe.is_some() || (looked && !long_gone)
}

fn costs(report: &Report, own: &InstanceLine, meant: &InstanceLine, check: &mut Check) {
    let field = |part: &str| format!("instances.{}.cost{part}", own.instance);
    match (own.cost, meant.cost) {
        (Some(own_cost), Some(cost)) => {
            check.range(&field(".compute"), own_cost.compute, cost.compute, 1);
            if !shown(report, own) {
                check.range(&field(".storage"), own_cost.storage, cost.storage, 1);
                check.range(&field(".address"), own_cost.address, cost.address, 1);
            }
        }
        (own_cost, cost) => check.field(&field(""), &own_cost, &cost),
    }
}

fn instances(report: &Report, again: &Report, same_prices: bool, check: &mut Check) {
    let recorded = |of: &Report| -> BTreeMap<String, InstanceLine> {
        let lines = of.instances.iter().filter(|line| line.hours.ledger.is_some());
        lines.map(|line| (line.instance.clone(), line.clone())).collect()
    };
    let (told, meant) = (recorded(report), recorded(again));
    for (id, line) in &meant {
        let Some(own) = told.get(id) else {
            check.field(&format!("instances.{id}"), &"is not in it", &"is in the ledger");
            continue;
        };
        let (fields, own_fields) = (by_the_ledger(line), by_the_ledger(own));
        for (field, should) in fields {
            check.values(&format!("instances.{id}.{field}"), own_fields.get(field).unwrap_or(&Value::Null), &should);
        }
        for ((field, should), (_, told)) in where_it_says(line).into_iter().zip(where_it_says(own)) {
            if should.is_some() {
                check.field(&format!("instances.{id}.{field}"), &told, &should);
            }
        }
        if same_prices && priced_alike(own, line) {
            costs(report, own, line, check);
        }
    }
    for id in told.keys().filter(|id| !meant.contains_key(*id)) {
        check.field(&format!("instances.{id}"), &"is in it", &"is not in the ledger");
    }
}

/// What workers did; lines that the ledger does not tell are the report's own evidence.
fn workers(report: &Report, again: &Report, check: &mut Check) {
    let alone = |name: &str| {
        let mut lines = report.instances.iter().filter(|line| line.worker.as_deref() == Some(name));
        lines.all(|line| line.hours.ledger.is_some())
    };
    for meant in again.workers.iter().filter(|line| alone(&line.worker)) {
        let field = |name: &str| format!("workers.{}.{name}", meant.worker);
        let Some(told) = report.workers.iter().find(|line| line.worker == meant.worker) else {
            check.field(&format!("workers.{}", meant.worker), &"is not in it", &"is in the ledger");
            continue;
        };
        check.field(&field("starts"), &told.starts, &meant.starts);
        check.field(&field("builds"), &told.builds, &meant.builds);
        check.field(&field("uses"), &told.uses, &meant.uses);
        check.field(&field("billed_seconds"), &told.billed_seconds, &meant.billed_seconds);
        check.field(&field("connect"), &told.connect, &meant.connect);
    }
}

fn rebakes(report: &Report, again: &Report, check: &mut Check) {
    for meant in &again.rebakes {
        let told = report.rebakes.iter().find(|line| line.rebake == meant.rebake);
        let field = |name: &str| format!("rebakes.{}.{name}", meant.rebake);
        check.field(&field("image"), &told.map(|line| &line.image), &Some(&meant.image));
        check.field(&field("began"), &told.map(|line| line.began), &Some(meant.began));
    }
}

/// The price lists that a report names, in words.
fn prices(report: &Report) -> String {
    let sources = report.price_sources.iter().map(|source| format!("{} of {}", source.what, source.as_of));
    format!("{} or later ({})", report.prices_as_of, sources.collect::<Vec<_>>().join(", "))
}

fn unchecked(report: &Report, again: &Report, same_prices: bool) -> Vec<String> {
    let mut all = Vec::new();
    if !same_prices {
        all.push(format!(
            "amounts: the report was made by latent {} with prices of {}, this is latent {} with prices of {}",
            report.program,
            prices(report),
            again.program,
            prices(again)
        ));
    }
    let recorded = || report.instances.iter().filter(|line| line.hours.ledger.is_some());
    let others = report.instances.len() - recorded().count();
    if others > 0 {
        all.push(format!("{} that no ledger tells: counted as the report tells", counted(others, "instance")));
    }
    let spot = recorded().filter(|line| line.market.as_deref() == Some("spot")).count();
    if spot > 0 {
        all.push(format!("amounts of {}: the history of prices was not asked again", counted(spot, "spot instance")));
    }
    let meant: BTreeMap<&str, &InstanceLine> =
        again.instances.iter().map(|line| (line.instance.as_str(), line)).collect();
    let on_demand = || recorded().filter(|line| line.market.as_deref() != Some("spot"));
    let alike = |line: &InstanceLine| meant.get(line.instance.as_str()).is_none_or(|meant| priced_alike(line, meant));
    let unlike = on_demand().filter(|line| !alike(line)).count();
    if unlike > 0 {
        let told = counted(unlike, "instance");
        all.push(format!("amounts of {told}: they rest on what EC2 showed then, which the ledger does not tell"));
    }
    let shown = on_demand().filter(|line| alike(line) && shown(report, line)).count();
    if shown > 0 {
        let told = counted(shown, "instance");
        all.push(format!("what the disks and addresses of {told} cost: EC2 may have shown them then"));
    }
    let rest = [
        "the budget of the month, and what the period before cost: they hang on the configuration, the prices and the \
         account of then",
        "on which day and for which use an amount was spent: only their sum is compared",
        "how far rebakes came and what they cost, and the starts of a worker by AMI",
        "what the account and CloudTrail showed then: standing costs, leftovers, savings, deeds, hours by these two and \
         where they differ",
        "what is said in words alone: records, what was not seen, assumptions, how to shut all off",
    ];
    all.extend(rest.map(ToOwned::to_owned));
    all
}
