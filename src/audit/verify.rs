//! A report made again, field by field: what its reader need not believe.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::report::{InstanceLine, Report};
use crate::model::counted;
use crate::plan::meter::{Segment, Use};

/// The most differences that are told.
const MISMATCHES_MAX: usize = 200;
/// Amounts may differ by so many micro-dollars for each line they are summed of: each is rounded up.
const ROUNDING: u64 = 2;

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
    sums(report, &mut check);
    let same_prices = report.prices_as_of == again.prices_as_of && report.program == again.program;
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

    /// An amount that may be off by its rounding.
    fn amount(&mut self, field: &str, report: u64, should: u64, lines: usize) {
        self.compared += 1;
        if report.abs_diff(should) > ROUNDING * u64::try_from(lines.max(1)).unwrap_or(u64::MAX) {
            let (report, should) = (format!("{report} micro-dollars"), format!("{should} micro-dollars"));
            self.differs.push(Mismatch { field: field.to_owned(), report, should });
        }
    }
}

/// What must hold within the report itself, wherever its lines are from.
fn sums(report: &Report, check: &mut Check) {
    for line in &report.instances {
        let mut uses: BTreeMap<Use, i64> = BTreeMap::new();
        for Segment { from, to, usage } in &line.segments {
            *uses.entry(*usage).or_default() += (to.unwrap_or(report.until).min(report.until) - *from).num_seconds();
        }
        uses.retain(|_, seconds| *seconds != 0);
        let mut told = line.uses.clone();
        // A period may end within a second: the last use may tell one less.
        absorb(&mut told, &mut uses);
        check.field(&format!("instances.{}.uses, by its segments", line.instance), &told, &uses);
    }
    let head = &report.headline;
    let lines = || report.instances.iter();
    let costs = || lines().filter_map(|line| line.cost.as_ref());
    let total = |high: bool| -> u64 {
        let of = |range: &crate::policy::price::Range| if high { range.high } else { range.low }.as_micro_dollars();
        costs().map(|cost| of(&cost.compute) + of(&cost.storage) + of(&cost.address)).sum()
    };
    let count = report.instances.len();
    check.amount("headline.spent.low, by its instances", head.spent.low.as_micro_dollars(), total(false), count);
    check.amount("headline.spent.high, by its instances", head.spent.high.as_micro_dollars(), total(true), count);
    let days = || report.days.iter().flat_map(|day| day.uses.values());
    let by_day: u64 = days().map(|range| range.high.as_micro_dollars()).sum();
    let parts = report.days.len() * Use::ALL.len() * count.max(1);
    check.amount("headline.spent.high, by its days", head.spent.high.as_micro_dollars(), by_day, parts);
    check.field("headline.starts, by its instances", &head.starts, &lines().map(|line| line.starts).sum());
    check.field("headline.builds, by its instances", &head.builds, &lines().map(|line| line.builds).sum());
    let billed: i64 = lines().map(|line| line.billed_seconds).sum();
    check.field("headline.billed_seconds, by its instances", &head.billed_seconds, &billed);
}

/// Takes away from both what differs by a second.
fn absorb(told: &mut BTreeMap<Use, i64>, meant: &mut BTreeMap<Use, i64>) {
    let near: Vec<Use> = Use::ALL
        .into_iter()
        .filter(|usage| {
            let of = |map: &BTreeMap<Use, i64>| map.get(usage).copied().unwrap_or(0);
            (of(told) - of(meant)).abs() <= 1
        })
        .collect();
    for usage in near {
        told.remove(&usage);
        meant.remove(&usage);
    }
}

/// What the ledger says of an instance, whoever looked at the account.
fn by_the_ledger(line: &InstanceLine, with_cost: bool) -> BTreeMap<&'static str, Value> {
    let value = |told: Result<Value, serde_json::Error>| told.unwrap_or_default();
    let mut fields = BTreeMap::from([
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
    ]);
    if with_cost {
        fields.insert("cost", value(serde_json::to_value(line.cost)));
    }
    fields
}

/// Whether what the price hangs on is told alike: what EC2 showed then may be gone.
fn priced_alike(one: &InstanceLine, other: &InstanceLine) -> bool {
    let of = |line: &InstanceLine| {
        (line.instance_type.clone(), line.market.clone(), line.software.clone(), line.unpriced.clone())
    };
    of(one) == of(other) && one.market.as_deref() != Some("spot")
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
        let with_cost = same_prices && priced_alike(own, line);
        let fields = by_the_ledger(line, false);
        let own_fields = by_the_ledger(own, false);
        for (field, should) in fields {
            check.values(&format!("instances.{id}.{field}"), own_fields.get(field).unwrap_or(&Value::Null), &should);
        }
        if let (true, Some(cost), Some(own)) = (with_cost, line.cost, own.cost) {
            let (own, meant) = (own.compute.high.as_micro_dollars(), cost.compute.high.as_micro_dollars());
            check.amount(&format!("instances.{id}.cost.compute.high"), own, meant, 1);
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
        let field = format!("rebakes.{}.image", meant.rebake);
        check.field(&field, &told.map(|line| &line.image), &Some(&meant.image));
    }
}

fn unchecked(report: &Report, again: &Report, same_prices: bool) -> Vec<String> {
    let mut all = Vec::new();
    if !same_prices {
        all.push(format!(
            "amounts: the report was made by latent {} with prices of {}, this is latent {} with prices of {}",
            report.program, report.prices_as_of, again.program, again.prices_as_of
        ));
    }
    let others = report.instances.iter().filter(|line| line.hours.ledger.is_none()).count();
    if others > 0 {
        all.push(format!("{} that no ledger tells: counted as the report tells", counted(others, "instance")));
    }
    let spot = report.instances.iter().filter(|line| line.market.as_deref() == Some("spot")).count();
    if spot > 0 {
        all.push(format!("amounts of {}: the history of prices was not asked again", counted(spot, "spot instance")));
    }
    all.push(
        "what the account and CloudTrail showed then: standing costs, leftovers, savings, deeds, and hours by these two"
            .to_owned(),
    );
    all
}
