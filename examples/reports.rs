//! Writes three reports in every form to a folder: a full one, an empty one, and one in which every text is
//! hostile. They are there to be looked at, and for the tests of the pages.
//!
//! `cargo run --example reports -- FOLDER`

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use latent::audit::render::{Format, render};
use latent::audit::report::{
    BudgetLine, Cost, Day, Deed, Difference, GenerationLine, Headline, Hours, InstanceLine, LedgerMark, Leftover,
    REPORT_VERSION, RebakeLine, Report, Saving, Source, Spread, Standing, Unseen, WorkerLine,
};
use latent::plan::meter::{Segment, Use};
use latent::policy::price::{self, Money, Range};

const HOUR: i64 = 3600;
const WORKERS: [&str; 5] = ["debian-amd64", "freebsd-15", "windows-2025", "fedora-rawhide-arm64", "perf"];

fn begin() -> DateTime<Utc> {
    let date = NaiveDate::from_ymd_opt(2026, 10, 23).unwrap_or_default();
    date.and_time(chrono::NaiveTime::MIN).and_utc()
}

fn end() -> DateTime<Utc> {
    begin() + TimeDelta::days(30)
}

fn after(seconds: i64) -> DateTime<Utc> {
    begin() + TimeDelta::seconds(seconds)
}

fn cents(low: u64, high: u64) -> Range {
    Range { low: Money::micro_dollars(low * 10_000), high: Money::micro_dollars(high * 10_000) }
}

fn source(name: &str, used: bool, note: &str) -> Source {
    let (from, to) = (used.then(begin), used.then(end));
    Source { name: name.to_owned(), used, whole: used, from, to, note: note.to_owned() }
}

fn unseen(what: &str, why: &str, cure: Option<&str>) -> Unseen {
    Unseen { what: what.to_owned(), why: why.to_owned(), cure: cure.map(str::to_owned) }
}

/// A report of an owner of whom there is nothing.
pub(crate) fn empty() -> Report {
    Report {
        version: REPORT_VERSION,
        program: "0.1.0".to_owned(),
        written_at: end(),
        fleet: "python".to_owned(),
        owner: "alice".to_owned(),
        account: None,
        regions: Vec::new(),
        since: begin(),
        until: end(),
        sources: vec![
            source("ledger", true, "2 entries"),
            source("describe", false, "there are no credentials for alice here"),
            source("rebakes", true, "the journals beside the ledger"),
        ],
        unseen: vec![unseen("Traffic, taxes, discounts and credits", "no record that latent reads tells them", None)],
        headline: Headline {
            spent: Range::ZERO,
            before: None,
            budget: None,
            saved_month: Range::ZERO,
            starts: 0,
            builds: 0,
            billed_seconds: 0,
            build_seconds: 0,
            zombies: 0,
            unpriced: 0,
        },
        workers: Vec::new(),
        instances: Vec::new(),
        differences: Vec::new(),
        days: (0..30).map(|day| Day { date: after(day * 24 * HOUR).date_naive(), uses: BTreeMap::new() }).collect(),
        standing: Vec::new(),
        leftovers: Vec::new(),
        savings: Vec::new(),
        rebakes: Vec::new(),
        deeds: Vec::new(),
        assumptions: vec!["Prices are Amazon's list prices, without taxes and discounts.".to_owned()],
        prices_as_of: NaiveDate::from_ymd_opt(2025, 9, 1).unwrap_or_default(),
        price_sources: Vec::new(),
        ledger: None,
        shut_off: vec!["Run: latent sweep --apply --all".to_owned()],
    }
}

/// One day's instance of a worker: boot, builds with pauses between them, and its end.
fn instance(worker: usize, day: i64) -> InstanceLine {
    let place = i64::try_from(worker).unwrap_or(0);
    let mut at = day * 24 * HOUR + (7 + place * 3) * HOUR + (day * 977 + place * 311) % 2400;
    let from = after(at);
    let (mut segments, mut uses) = (Vec::new(), BTreeMap::new());
    let builds = 2 + (day + place) % 3;
    let mut spend = |usage: Use, seconds: i64| {
        segments.push(Segment { from: after(at), to: Some(after(at + seconds)), usage });
        *uses.entry(usage).or_insert(0) += seconds;
        at += seconds;
    };
    spend(Use::Boot, 70 + place * 45 + (day * 37) % 40);
    for build in 0..builds {
        spend(Use::Build, 1500 + (day * 131 + build * 701) % 4200);
        spend(Use::Idle, 240 + (day * 89 + build * 53) % 900);
    }
    spend(Use::Drain, 45);
    let billed: i64 = uses.values().sum();
    let micros = u64::try_from(billed).unwrap_or(0) * (28 + u64::try_from(place).unwrap_or(0) * 14);
    let spot = worker == 0;
    let compute =
        Range { low: Money::micro_dollars(if spot { micros / 2 } else { micros }), high: Money::micro_dollars(micros) };
    InstanceLine {
        instance: format!("i-0{:016x}", 0x9a3c_51e2_77b0_0000_u64 + u64::try_from(day * 16 + place).unwrap_or(0)),
        worker: Some(WORKERS[worker].to_owned()),
        region: "us-west-2".to_owned(),
        zone: Some("us-west-2a".to_owned()),
        instance_type: Some("m7i.large".to_owned()),
        market: Some(if spot { "spot" } else { "on-demand" }.to_owned()),
        software: Some("Linux/UNIX".to_owned()),
        ami: Some(ami(worker, day)),
        image: Some(WORKERS[worker].to_owned()),
        wanted_by: Some("master buildbot.example.org".to_owned()),
        from,
        to: Some(after(at)),
        ended: Some("idle for 10 minutes".to_owned()),
        starts: 1,
        builds: u32::try_from(builds).unwrap_or(0),
        segments,
        uses,
        billed_seconds: billed,
        cost: Some(Cost { compute, storage: cents(1, 1), address: cents(1, 1) }),
        unpriced: None,
        hours: Hours { ledger: Some(billed), cloudtrail: Some(billed + 12), describe: None },
    }
}

fn ami(worker: usize, day: i64) -> String {
    format!("ami-0{:02x}b7c19e4d2a{:04x}", worker, 0x51 + day / 12)
}

/// An instance that was asked to end and lived on.
fn zombie() -> InstanceLine {
    let begun = 21 * 24 * HOUR;
    let lived = 30 * 24 * HOUR - begun;
    InstanceLine {
        instance: "i-0dead5e0f00000001".to_owned(),
        worker: Some("perf".to_owned()),
        from: after(begun),
        to: None,
        ended: None,
        builds: 0,
        segments: vec![
            Segment { from: after(begun), to: Some(after(begun + 2 * HOUR)), usage: Use::Held },
            Segment { from: after(begun + 2 * HOUR), to: None, usage: Use::Zombie },
        ],
        uses: BTreeMap::from([(Use::Held, 2 * HOUR), (Use::Zombie, lived - 2 * HOUR)]),
        billed_seconds: lived,
        hours: Hours { ledger: Some(2 * HOUR), cloudtrail: Some(lived), describe: Some(lived) },
        ..instance(4, 21)
    }
}

fn builder() -> InstanceLine {
    let mut line = instance(1, 12);
    let seconds = 50 * 60;
    "i-0b11de4f00000002a".clone_into(&mut line.instance);
    line.worker = None;
    line.wanted_by = Some("rebake freebsd-15-7".to_owned());
    line.segments =
        vec![Segment { from: line.from, to: Some(line.from + TimeDelta::seconds(seconds)), usage: Use::Rebake }];
    line.uses = BTreeMap::from([(Use::Rebake, seconds)]);
    line.to = Some(line.from + TimeDelta::seconds(seconds));
    line.builds = 0;
    line.ended = Some("its image was made".to_owned());
    line.billed_seconds = seconds;
    line.cost = None;
    line.unpriced = Some("the table has no price of x9z.metal in us-west-2".to_owned());
    line
}

fn worker_line(name: &str, lines: &[InstanceLine]) -> WorkerLine {
    let own: Vec<&InstanceLine> = lines.iter().filter(|line| line.worker.as_deref() == Some(name)).collect();
    let mut uses: BTreeMap<Use, i64> = BTreeMap::new();
    let mut cost = Cost::default();
    for line in &own {
        for (usage, seconds) in &line.uses {
            *uses.entry(*usage).or_insert(0) += seconds;
        }
        let part = line.cost.unwrap_or_default();
        cost.compute += part.compute;
        cost.storage += part.storage;
        cost.address += part.address;
    }
    let billed: i64 = own.iter().map(|line| line.billed_seconds).sum();
    let builds: u32 = own.iter().map(|line| line.builds).sum();
    let total = cost.compute + cost.storage + cost.address;
    let share = |usage: Use| u32::try_from(uses.get(&usage).unwrap_or(&0) * 1000 / billed.max(1)).unwrap_or(0);
    let generations = generations(&own);
    WorkerLine {
        worker: name.to_owned(),
        starts: own.iter().map(|line| line.starts).sum(),
        builds,
        billed_seconds: billed,
        cost,
        total,
        per_build: (builds > 0).then(|| total.share(1, u64::from(builds))),
        utilisation_permille: share(Use::Build),
        idle_permille: share(Use::Idle),
        connect: spread(&generations.iter().flat_map(|g| g.points.clone()).collect::<Vec<_>>()),
        generations,
        uses,
    }
}

fn generations(own: &[&InstanceLine]) -> Vec<GenerationLine> {
    let mut by_ami: BTreeMap<&str, Vec<(DateTime<Utc>, i64)>> = BTreeMap::new();
    for line in own {
        if let (Some(ami), Some(boot)) = (line.ami.as_deref(), line.uses.get(&Use::Boot)) {
            by_ami.entry(ami).or_default().push((line.from, *boot));
        }
    }
    let mut found = Vec::new();
    for (older, (ami, mut points)) in (0..).zip(by_ami) {
        for (_, seconds) in &mut points {
            *seconds += 60 - older * 15;
        }
        points.sort_unstable();
        let (first, launches) = (points[0].0, u32::try_from(points.len()).unwrap_or(0));
        found.push(GenerationLine { ami: ami.to_owned(), first, launches, connect: spread(&points), points });
    }
    found
}

fn spread(points: &[(DateTime<Utc>, i64)]) -> Option<Spread> {
    let mut sorted: Vec<i64> = points.iter().map(|(_, seconds)| *seconds).collect();
    sorted.sort_unstable();
    let (median, p95) = (*sorted.get(sorted.len() / 2)?, *sorted.get(sorted.len() * 19 / 20)?);
    Some(Spread { count: u32::try_from(sorted.len()).unwrap_or(0), median, p95 })
}

fn days(lines: &[InstanceLine]) -> Vec<Day> {
    let mut days = empty().days;
    for line in lines {
        let whole: i64 = line.uses.values().sum();
        let total = line.cost.map_or(Range::ZERO, |cost| cost.compute + cost.storage + cost.address);
        for (number, day) in (0_i64..).zip(&mut days) {
            let (begin, close) = (after(number * 24 * HOUR), after((number + 1) * 24 * HOUR));
            for segment in &line.segments {
                let seconds = (segment.to.unwrap_or_else(end).min(close) - segment.from.max(begin)).num_seconds();
                let [part, whole] = [seconds.max(0), whole].map(|seconds| u64::try_from(seconds).unwrap_or(1));
                *day.uses.entry(segment.usage).or_default() += total.share(part, whole);
            }
            day.uses.retain(|_, range| range.high > Money::ZERO);
        }
    }
    days
}

fn standing() -> Vec<Standing> {
    let thing = |id: &str, kind: &str, what: &str, size_gib: Option<u64>, month: Option<Range>| Standing {
        id: id.to_owned(),
        kind: kind.to_owned(),
        region: "us-west-2".to_owned(),
        what: what.to_owned(),
        size_gib,
        created: size_gib.map(|_| after(-40 * 24 * HOUR)),
        month,
    };
    vec![
        thing("snap-0f3e9d71ac2b45680", "snapshot", "the image freebsd-15, in use", Some(40), Some(cents(0, 200))),
        thing(
            "snap-0f3e9d71ac2b45681",
            "snapshot",
            "the image freebsd-15, the one before",
            Some(40),
            Some(cents(0, 200)),
        ),
        thing(
            "vol-07b1e2c94d5a3f600",
            "volume",
            "the disk of perf while it is stopped",
            Some(120),
            Some(cents(960, 960)),
        ),
        thing("eipalloc-0a1b2c3d4e5f60718", "address", "perf's own address", None, Some(cents(365, 365))),
        thing("vol-07b1e2c94d5a3f6ff", "volume", "the cache of windows-2025", Some(500), None),
    ]
}

fn leftovers() -> Vec<Leftover> {
    let left = |id: &str, kind: &str, reason: &str, days: i64, month: Option<Range>, instance: bool| Leftover {
        id: id.to_owned(),
        kind: kind.to_owned(),
        region: "us-west-2".to_owned(),
        reason: reason.to_owned(),
        since: Some(after((30 - days) * 24 * HOUR)),
        month,
        instance,
    };
    vec![
        left(
            "i-0dead5e0f00000001",
            "orphan",
            "its end was asked for and never came: its shutdown is protected",
            9,
            Some(cents(6132, 6132)),
            true,
        ),
        left(
            "vol-0123456789abcdef0",
            "volume-available",
            "its instance is gone, and no worker names it",
            16,
            Some(cents(320, 320)),
            false,
        ),
        left("snap-0123456789abcdef1", "snapshot-orphan", "its image was deregistered", 55, Some(cents(0, 150)), false),
        left("eipalloc-0123456789abcdef2", "address-idle", "nothing has it", 3, Some(cents(365, 365)), false),
    ]
}

fn savings() -> Vec<Saving> {
    let saving =
        |what: &str, month: Range, command: &str| Saving { what: what.to_owned(), month, command: command.to_owned() };
    vec![
        saving(
            "ends one zombie instance",
            cents(6132, 6132),
            "latent sweep --owner alice --id i-0dead5e0f00000001 --apply",
        ),
        saving(
            "deletes a volume, a snapshot and an address that nobody uses",
            cents(685, 835),
            "latent sweep --owner alice --apply",
        ),
        saving(
            "lets go of an idle windows-2025 after 5 minutes instead of 15",
            cents(240, 410),
            "[worker.windows-2025] idle_timeout = \"5m\"",
        ),
    ]
}

fn headline(workers: &[WorkerLine]) -> Headline {
    let spent: Range = workers.iter().map(|line| line.total).sum();
    let builds = workers.iter().filter_map(|line| line.uses.get(&Use::Build)).sum();
    Headline {
        spent,
        before: Some(cents(3010, 3544)),
        budget: Some(BudgetLine {
            month: "2026-11".to_owned(),
            soft: Some(Money::micro_dollars(60_000_000)),
            hard: Some(Money::micro_dollars(100_000_000)),
            spent: cents(5790, 6304),
            projected: cents(7890, 8610),
        }),
        saved_month: cents(7057, 7377),
        starts: workers.iter().map(|line| line.starts).sum(),
        builds: workers.iter().map(|line| line.builds).sum(),
        billed_seconds: workers.iter().map(|line| line.billed_seconds).sum(),
        build_seconds: builds,
        zombies: 1,
        unpriced: 1,
    }
}

fn not_seen() -> Vec<Unseen> {
    vec![
        unseen(
            "Region eu-central-1",
            "ec2:DescribeInstances was refused there",
            Some("Grant what `latent iam --role audit` prints"),
        ),
        unseen("Traffic, taxes, discounts and credits", "no record that latent reads tells them", None),
    ]
}

/// A month of five workers, with a zombie, leftovers, a rebake, and records that disagree.
pub(crate) fn full() -> Report {
    let mut instances: Vec<InstanceLine> = (0..30)
        .flat_map(|day| (0..WORKERS.len()).map(move |worker| (worker, day)))
        .filter(|(worker, day)| {
            (day + 2 * i64::try_from(*worker).unwrap_or(0)) % 7 < 5 && (*worker != 4 || day % 5 == 0)
        })
        .map(|(worker, day)| instance(worker, day))
        .chain([zombie(), builder()])
        .collect();
    instances.sort_by_key(|line| std::cmp::Reverse(line.from));
    let mut workers: Vec<WorkerLine> = WORKERS.iter().map(|name| worker_line(name, &instances)).collect();
    workers.sort_by_key(|line| std::cmp::Reverse(line.total.high));
    let zombie = zombie();
    Report {
        account: Some("123456789012".to_owned()),
        regions: vec!["us-west-2".to_owned(), "eu-central-1".to_owned()],
        sources: vec![
            source("ledger", true, "4,812 entries, whole by its hash chain"),
            source("describe", true, "looked at when the report was written"),
            source("cloudtrail", true, "90 days of management events"),
            source("rebakes", true, "the journals beside the ledger"),
            source("prices", true, "the table in the program"),
        ],
        unseen: not_seen(),
        headline: headline(&workers),
        days: days(&instances),
        workers,
        instances,
        differences: vec![Difference {
            instance: zombie.instance,
            worker: zombie.worker,
            hours: zombie.hours,
            what: "The ledger lost sight of it after 2 h; it ran on, and is billed".to_owned(),
        }],
        standing: standing(),
        leftovers: leftovers(),
        savings: savings(),
        rebakes: vec![RebakeLine {
            rebake: "freebsd-15-7".to_owned(),
            image: "freebsd-15".to_owned(),
            began: after(12 * 24 * HOUR),
            state: "promoted".to_owned(),
            cost: Some(cents(12, 14)),
        }],
        deeds: deeds(),
        assumptions: assumptions(),
        price_sources: price::sources().to_vec(),
        ledger: Some(LedgerMark { seq: 4812, at: end(), chain: Some("5f0c".repeat(16)) }),
        shut_off: shut_off(),
        ..empty()
    }
}

fn deeds() -> Vec<Deed> {
    vec![
        deed(0, "RunInstances", Some("latent-controller")),
        deed(2 * HOUR, "TerminateInstances", Some("latent-controller")),
        deed(3 * HOUR, "ModifyInstanceAttribute", Some("bob")),
        deed(5 * HOUR, "TerminateInstances", None),
    ]
}

fn assumptions() -> Vec<String> {
    [
        "Prices are Amazon's list prices, without taxes, discounts and credits.",
        "Each start is billed for 60 s at least.",
        "A spot price is set by the zone and the hour: it is between half of the list price and all of it.",
        "A snapshot costs at most as much as its whole volume would; only changed blocks are stored.",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn shut_off() -> Vec<String> {
    [
        "Stop the controller: systemctl stop latent",
        "End every instance of alice: latent sweep --owner alice --apply --all",
        "Look again: latent audit --owner alice; it must name no instance that lives",
        "Delete what is stored, if nobody needs it any more: the commands of this report",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn deed(seconds: i64, call: &str, by: Option<&str>) -> Deed {
    let at = after(21 * 24 * HOUR + seconds);
    Deed { at, call: call.to_owned(), instance: Some("i-0dead5e0f00000001".to_owned()), by: by.map(str::to_owned) }
}

/// What somebody may write into a tag to do harm where it is shown.
pub(crate) const HOSTILE: [&str; 17] = [
    "<script>alert(1)</script>",
    "javascript:alert(1)",
    "\"><img src=x onerror=alert(1)>'",
    "=cmd|'/C calc'!A0",
    "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m",
    "invoice\u{202e}fdp.exe",
    "one\ntwo\r\n| three | `four` |\n# five\n- six",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png) <http://evil.example>",
    "@everyone #1 www.evil.example *bold* _under_ ~~gone~~",
    "{{ 7 * 7 }}{% raw %}{# hidden #}",
    "+1+1",
    "@SUM(1+1)",
    "\t=1+1",
    "zero\u{200b}\u{feff}\u{2066}width",
    "</style></title></textarea>--><svg onload=alert(1)>",
    "``` ``fence`` `",
    "&lt;b&gt; &amp; &#x3c;",
];

/// The full report with hostile text in every field that holds text, some of it 256 characters long.
pub(crate) fn hostile() -> Result<Report, serde_json::Error> {
    let mut value = serde_json::to_value(full())?;
    let mut number = 0;
    spoil(&mut value, &mut number);
    serde_json::from_value(value)
}

fn spoil(value: &mut serde_json::Value, number: &mut usize) {
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| spoil(item, number)),
        serde_json::Value::Object(fields) => {
            fields.iter_mut().filter(|(key, _)| *key != "usage").for_each(|(_, field)| spoil(field, number));
        }
        serde_json::Value::String(text)
            if text.parse::<DateTime<Utc>>().is_err() && text.parse::<NaiveDate>().is_err() =>
        {
            let line = HOSTILE[*number % HOSTILE.len()];
            *text = if *number % 5 == 4 { line.chars().cycle().take(256).collect() } else { line.to_owned() };
            *number += 1;
        }
        _ => {}
    }
}

/// The three reports by their names.
pub(crate) fn all() -> Result<[(&'static str, Report); 3], serde_json::Error> {
    Ok([("full", full()), ("empty", empty()), ("hostile", hostile()?)])
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: reports FOLDER")?;
    std::fs::create_dir_all(&folder)?;
    let forms = [
        (Format::Html, "html"),
        (Format::Md, "md"),
        (Format::Json, "json"),
        (Format::Csv, "csv"),
        (Format::Text, "txt"),
    ];
    for (name, report) in all()? {
        for (format, extension) in forms {
            std::fs::write(Path::new(&folder).join(format!("{name}.{extension}")), render(&report, format))?;
        }
    }
    Ok(())
}
