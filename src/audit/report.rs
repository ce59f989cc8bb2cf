//! The owner's report as data: everything that the pages, the tables and the mails show is in here.
//!
//! One report is about one owner. Times are UTC, durations whole seconds, money micro-dollars.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::LeftoverKind;
use crate::plan::meter::{Segment, Use};
use crate::policy::price::{Money, Range, Source as PriceSource};

/// The version of this format; it grows when a reader must know of a change.
pub const REPORT_VERSION: u32 = 1;

/// What an owner's machines did in a period, why, what it cost, what is left over and what was not seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// [`REPORT_VERSION`] of who wrote it.
    pub version: u32,
    /// The program's version.
    pub program: String,
    /// When it was written.
    pub written_at: DateTime<Utc>,
    /// The fleet's name.
    pub fleet: String,
    /// Who pays.
    pub owner: String,
    /// The account's number, where it is known.
    pub account: Option<String>,
    /// The regions that were looked at.
    pub regions: Vec<String>,
    /// The period's begin.
    pub since: DateTime<Utc>,
    /// The period's end.
    pub until: DateTime<Utc>,
    /// Which records it was made from, and how far each goes.
    pub sources: Vec<Source>,
    /// What could not be seen. Never empty: some things are never seen, such as traffic and taxes.
    pub unseen: Vec<Unseen>,
    /// The first lines.
    pub headline: Headline,
    /// By worker, the dearest first.
    pub workers: Vec<WorkerLine>,
    /// By instance, the latest first.
    pub instances: Vec<InstanceLine>,
    /// Where the records disagree, the largest difference first.
    pub differences: Vec<Difference>,
    /// What each day cost, by use; every day of the period.
    pub days: Vec<Day>,
    /// What is there and costs while nothing runs: disks, snapshots, addresses.
    pub standing: Vec<Standing>,
    /// Zombie instances and other leftovers.
    pub leftovers: Vec<Leftover>,
    /// What would be saved each month, and by which command.
    pub savings: Vec<Saving>,
    /// The rebakes of the period.
    pub rebakes: Vec<RebakeLine>,
    /// Who did what in the account, as CloudTrail tells it.
    pub deeds: Vec<Deed>,
    /// Every assumption that the amounts rest on, in words.
    pub assumptions: Vec<String>,
    /// Of when the oldest price of instances is.
    pub prices_as_of: NaiveDate,
    /// Where the prices are from.
    pub price_sources: Vec<PriceSource>,
    /// The ledger that was read, so that the report can be made again.
    pub ledger: Option<LedgerMark>,
    /// How to shut everything off, step by step.
    pub shut_off: Vec<String>,
}

/// A record that the report was made from, or could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// `ledger`, `describe`, `cloudtrail`, `rebakes` or `prices`.
    pub name: String,
    /// Whether anything of it was seen.
    pub used: bool,
    /// Whether all of it was seen that the period needs; older reports do not tell.
    #[serde(default)]
    pub whole: bool,
    /// From when it tells.
    pub from: Option<DateTime<Utc>>,
    /// Until when it tells.
    pub to: Option<DateTime<Utc>>,
    /// What there is to say of it: why it was not used, or how far it can be believed.
    pub note: String,
}

/// Something that could not be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unseen {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do, where something can be done.
    pub cure: Option<String>,
}

/// The first lines of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Headline {
    /// All that was spent in the period, as an estimate.
    pub spent: Range,
    /// The same for a period of the same length before, where the records go back so far.
    pub before: Option<Range>,
    /// The budget of this calendar month.
    pub budget: Option<BudgetLine>,
    /// What could be saved each month.
    pub saved_month: Range,
    /// Instances that started.
    pub starts: u32,
    /// Builds that ran.
    pub builds: u32,
    /// Billed seconds.
    pub billed_seconds: i64,
    /// Of them, seconds in which a build ran.
    pub build_seconds: i64,
    /// Zombie instances that live.
    pub zombies: u32,
    /// Instances of which the price is not known: they are not in `spent`.
    pub unpriced: u32,
}

/// How the month stands against the owner's budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetLine {
    /// The month, such as `2026-11`.
    pub month: String,
    /// From which amount on the owner is told.
    pub soft: Option<Money>,
    /// From which amount on nothing is launched any more.
    pub hard: Option<Money>,
    /// What was spent since the month began, as the controller reckons it: spot at the list price, without disks
    /// that only an AMI names; the high bound counts.
    pub spent: Range,
    /// What the month will come to if it goes on so.
    pub projected: Range,
}

/// What something cost, by what is paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// Instances while they ran.
    pub compute: Range,
    /// Their disks, running or stopped.
    pub storage: Range,
    /// Their public addresses.
    pub address: Range,
}

/// One worker over the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerLine {
    /// Its name.
    pub worker: String,
    /// Instances started, launches and starts of stopped ones.
    pub starts: u32,
    /// Builds.
    pub builds: u32,
    /// Seconds by use; uses without a second are left out.
    pub uses: BTreeMap<Use, i64>,
    /// Seconds that are billed: each start counts for a minute at least.
    pub billed_seconds: i64,
    /// What it cost.
    pub cost: Cost,
    /// The sum.
    pub total: Range,
    /// The sum by builds; absent without a build.
    pub per_build: Option<Range>,
    /// Build seconds in thousandths of the billed seconds.
    pub utilisation_permille: u32,
    /// Idle seconds in thousandths of the billed seconds.
    pub idle_permille: u32,
    /// Seconds from request to connection.
    pub connect: Option<Spread>,
    /// The same by AMI, the oldest first.
    pub generations: Vec<GenerationLine>,
}

/// How a number of durations are spread, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// How many.
    pub count: u32,
    /// Half of them took no longer.
    pub median: i64,
    /// All but a twentieth took no longer.
    pub p95: i64,
}

/// A worker's starts from one AMI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GenerationLine {
    /// The AMI.
    pub ami: String,
    /// The first launch from it in the period.
    pub first: DateTime<Utc>,
    /// Launches.
    pub launches: u32,
    /// Seconds from request to connection.
    pub connect: Option<Spread>,
    /// Each of these, oldest first: when, and how many seconds; the last hundred.
    pub points: Vec<(DateTime<Utc>, i64)>,
}

/// One instance over the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceLine {
    /// Its id.
    pub instance: String,
    /// Its worker; absent for a builder or a stranger.
    pub worker: Option<String>,
    /// Where.
    pub region: String,
    /// The zone, where it is known.
    pub zone: Option<String>,
    /// Its type, where it is known.
    pub instance_type: Option<String>,
    /// `on-demand` or `spot`, where it is known.
    pub market: Option<String>,
    /// What is billed as its software, where it is known.
    pub software: Option<String>,
    /// Its AMI.
    pub ami: Option<String>,
    /// The image manifest.
    pub image: Option<String>,
    /// Who wanted it, in words: a master, an operator, a rebake.
    pub wanted_by: Option<String>,
    /// When its life in the period begins.
    pub from: DateTime<Utc>,
    /// When it ends; absent while it lives at the period's end.
    pub to: Option<DateTime<Utc>>,
    /// Why it ended, in words.
    pub ended: Option<String>,
    /// Starts.
    pub starts: u32,
    /// Builds.
    pub builds: u32,
    /// Its life, without gaps, cut to the period.
    pub segments: Vec<Segment>,
    /// Seconds by use: their sum is its wall time in the period.
    pub uses: BTreeMap<Use, i64>,
    /// Seconds that are billed.
    pub billed_seconds: i64,
    /// What it cost; absent where its price is not known.
    pub cost: Option<Cost>,
    /// Why its price is not known.
    pub unpriced: Option<String>,
    /// Running seconds by three records.
    pub hours: Hours,
}

/// Running seconds of an instance in the period, as three records tell them; absent where one does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hours {
    /// The controller's ledger.
    pub ledger: Option<i64>,
    /// CloudTrail.
    pub cloudtrail: Option<i64>,
    /// What EC2 shows now.
    pub describe: Option<i64>,
}

/// Records that disagree about an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The instance.
    pub instance: String,
    /// Its worker, if it is known.
    pub worker: Option<String>,
    /// What each says.
    pub hours: Hours,
    /// What that means, in words.
    pub what: String,
}

/// What a day cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Day {
    /// The day, in UTC.
    pub date: NaiveDate,
    /// By use.
    pub uses: BTreeMap<Use, Range>,
}

/// Something that costs while nothing runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// Its id.
    pub id: String,
    /// `volume`, `snapshot`, `image` or `address`.
    pub kind: String,
    /// Where.
    pub region: String,
    /// What it is for, in words.
    pub what: String,
    /// GiB, where it has a size.
    pub size_gib: Option<u64>,
    /// When it was made.
    pub created: Option<DateTime<Utc>>,
    /// What it costs each month; absent where the price is not known.
    pub month: Option<Range>,
}

/// Something left over that costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Leftover {
    /// Its id.
    pub id: String,
    /// What it is, as `latent sweep` says it.
    pub kind: String,
    /// Where.
    pub region: String,
    /// Why it is left over, in words.
    pub reason: String,
    /// Since when it is there.
    pub since: Option<DateTime<Utc>>,
    /// What it costs each month if it stays; absent where the price is not known.
    pub month: Option<Range>,
    /// Whether it is an instance.
    pub instance: bool,
}

impl Leftover {
    /// The kind of an instance that lives and that no record explains, where no sweep says it.
    pub const ZOMBIE: &'static str = "zombie";
    /// The kind of one that is none any more.
    pub const WAS_ZOMBIE: &'static str = "was-zombie";

    /// Whether it is an instance that lives, costs, and has no use.
    pub fn is_zombie(&self) -> bool {
        let swept = LeftoverKind::ALL.iter().any(|kind| kind.is_zombie() && kind.name() == self.kind);
        self.kind == Self::ZOMBIE || swept
    }

    /// Whether it was one, and is none any more: it costs nothing now.
    pub fn was_zombie(&self) -> bool {
        self.kind == Self::WAS_ZOMBIE
    }
}

/// What could be saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Saving {
    /// What is done.
    pub what: String,
    /// The amount each month.
    pub month: Range,
    /// The command, or the key to change.
    pub command: String,
}

/// A rebake of the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RebakeLine {
    /// Its id.
    pub rebake: String,
    /// The image manifest.
    pub image: String,
    /// When it began.
    pub began: DateTime<Utc>,
    /// How far it came, in a word.
    pub state: String,
    /// What its instances cost; absent where that is not known.
    pub cost: Option<Range>,
}

/// What somebody did in the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deed {
    /// When.
    pub at: DateTime<Utc>,
    /// The call, such as `RunInstances`.
    pub call: String,
    /// On which instance.
    pub instance: Option<String>,
    /// Who: the name that CloudTrail gives.
    pub by: Option<String>,
}

/// The part of a ledger that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerMark {
    /// The last entry that was read.
    pub seq: u64,
    /// When that was written.
    pub at: DateTime<Utc>,
    /// The hash chain's value there, in hexadecimal digits.
    pub chain: Option<String>,
}
