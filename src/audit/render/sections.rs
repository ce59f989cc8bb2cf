//! What follows the first page: by day, by worker, by record, by thing; then what it all rests on.

use chrono::{DateTime, Utc};

use super::page::{Block, Column, Kind, Section, Table, column, extra};
use super::{head, spend, timeline, trend, words};
use crate::audit::report::{Hours, InstanceLine, Leftover, Report, Source, Standing, WorkerLine};
use crate::plan::meter::Use;
use crate::policy::price::Range;

/// What each day cost.
pub(super) fn days(report: &Report, limit: usize) -> Section {
    let chart = spend::chart(report);
    let lead = match chart {
        Some(_) => Vec::new(),
        None if head::no_price(report) => vec!["No price is known of what ran in this period.".to_owned()],
        None => vec![head::told(report).or("Nothing was spent in this period.", head::NOT_TOLD).to_owned()],
    };
    let mut blocks: Vec<Block> = chart.into_iter().map(|chart| Block::Charts(vec![chart])).collect();
    if !blocks.is_empty() {
        blocks.push(Block::Table(spend::table(report, limit)));
    }
    Section { id: "days", title: "Spend per day".to_owned(), short: "Days", lead, blocks }
}

/// Each worker: cost, work, time by use.
pub(super) fn workers(report: &Report, limit: usize) -> Section {
    let mut blocks = vec![Block::Table(costs(report, limit)), Block::Table(uses(report, limit))];
    blocks.extend(timeline::chart(report).map(|chart| Block::Charts(vec![chart])));
    Section {
        id: "workers",
        title: "Workers, the dearest first".to_owned(),
        short: "Workers",
        lead: Vec::new(),
        blocks,
    }
}

fn costs(report: &Report, limit: usize) -> Table {
    let columns = [
        column("Worker", Kind::Name),
        column("Cost", Kind::Number),
        extra("For instances", Kind::Number),
        extra("For disks", Kind::Number),
        extra("For addresses", Kind::Number),
        column("Starts", Kind::Number),
        column("Builds", Kind::Number),
        column("Cost per build", Kind::Number),
        extra("Billed", Kind::Number),
        column("With a build", Kind::Number),
        extra("Idle", Kind::Number),
    ];
    let row = |line: &WorkerLine| {
        vec![
            words::name(&line.worker),
            words::money(line.total),
            words::money(line.cost.compute),
            words::money(line.cost.storage),
            words::money(line.cost.address),
            words::count(line.starts),
            words::count(line.builds),
            line.per_build.map_or_else(|| "-".to_owned(), words::money),
            words::span(line.billed_seconds),
            words::percent(line.utilisation_permille),
            words::percent(line.idle_permille),
        ]
    };
    Table::of("workers-cost", "What each worker cost and did", &columns, &report.workers, limit, row)
        .or(head::told(report).or("No worker had an instance in this period.", head::NOT_TOLD))
}

/// Time by use: only the uses that occur have a column.
fn uses(report: &Report, limit: usize) -> Table {
    let occurs = |usage: &Use| report.workers.iter().any(|line| line.uses.get(usage).is_some_and(|s| *s > 0));
    let uses: Vec<Use> = Use::ALL.into_iter().filter(occurs).collect();
    let mut columns: Vec<Column> = vec![column("Worker", Kind::Name)];
    let essential = [Use::Build, Use::Idle, Use::Zombie];
    columns.extend(uses.iter().map(|usage| Column {
        title: spend::title(*usage),
        kind: Kind::Number,
        extra: !essential.contains(usage),
    }));
    columns.push(column("All", Kind::Number));
    let row = |line: &WorkerLine| {
        let mut row = vec![words::name(&line.worker)];
        row.extend(uses.iter().map(|usage| line.uses.get(usage).map_or_else(|| "-".to_owned(), |s| words::span(*s))));
        row.push(words::span(line.uses.values().sum()));
        row
    };
    Table::of("workers-time", "What the time of each worker was used for", &columns, &report.workers, limit, row)
        .or(head::told(report).or("No time was used.", head::NOT_TOLD))
}

/// How long a worker takes to connect.
pub(super) fn starts(report: &Report, limit: usize) -> Section {
    let columns = [
        column("Worker", Kind::Name),
        column("Connections", Kind::Number),
        column("Median", Kind::Number),
        column("95 of 100 within", Kind::Number),
    ];
    let measured: Vec<_> = report.workers.iter().filter_map(|line| Some((line, line.connect?))).collect();
    let table =
        Table::of("connect", "Time from request to connection", &columns, &measured, limit, |(line, spread)| {
            vec![
                words::name(&line.worker),
                words::count(spread.count),
                words::span(spread.median),
                words::span(spread.p95),
            ]
        });
    let mut blocks =
        vec![Block::Table(table.or(head::told(report).or("No worker connected in this period.", head::NOT_TOLD)))];
    if !measured.is_empty() {
        let charts = trend::charts(report);
        blocks.extend((!charts.is_empty()).then_some(Block::Charts(charts)));
        blocks.push(Block::Table(trend::table(report, limit)));
    }
    let title = "How long a request waits for its worker".to_owned();
    Section { id: "starts", title, short: "Waiting", lead: Vec::new(), blocks }
}

/// Whether a source tells hours.
fn is_a_record(source: &Source) -> bool {
    source.used && ["ledger", "describe", "cloudtrail"].contains(&source.name.as_str())
}

fn hours(hours: Hours) -> [String; 3] {
    [hours.ledger, hours.cloudtrail, hours.describe].map(words::span_or_silence)
}

/// Hours by three records: where they differ first.
pub(super) fn records(report: &Report, limit: usize) -> Section {
    let columns = [
        column("Instance", Kind::Id),
        extra("Worker", Kind::Name),
        column("Ledger", Kind::Number),
        column("CloudTrail", Kind::Number),
        column("EC2 now", Kind::Number),
        column("What that means", Kind::Words),
    ];
    let caption = "Where the records differ, the largest difference first";
    let differences = Table::of("differences", caption, &columns, &report.differences, limit, |line| {
        let [ledger, trail, now] = hours(line.hours);
        let (instance, worker) = (words::name(&line.instance), words::name_or_dash(line.worker.as_deref()));
        vec![instance, worker, ledger, trail, now, words::sentence(&line.what)]
    });
    let told: Vec<&Source> = report.sources.iter().filter(|source| is_a_record(source)).collect();
    let differences = differences.or(match told.len() {
        0 | 1 => "Nothing to compare: less than two records tell hours.",
        _ => "The records that tell hours agree.",
    });
    Section {
        id: "hours",
        title: "Hours by three records".to_owned(),
        short: "Hours",
        lead: vec![
            "Running time as the controller's ledger, CloudTrail and EC2 itself tell it. A record that says nothing \
             of an instance is not taken for zero."
                .to_owned(),
        ],
        blocks: vec![Block::Table(differences), Block::Table(instances(report, limit))],
    }
}

fn instances(report: &Report, limit: usize) -> Table {
    let columns = [
        column("Instance", Kind::Id),
        column("Worker", Kind::Name),
        column("From (UTC)", Kind::Short),
        extra("To (UTC)", Kind::Short),
        extra("Billed", Kind::Number),
        column("Cost", Kind::Number),
        extra("Builds", Kind::Number),
        extra("Ledger", Kind::Number),
        extra("CloudTrail", Kind::Number),
        extra("EC2 now", Kind::Number),
        extra("Where", Kind::Short),
        extra("Type", Kind::Short),
        extra("Image", Kind::Name),
        extra("AMI", Kind::Id),
        extra("Wanted by", Kind::Name),
        extra("Why it ended", Kind::Words),
    ];
    let row = |line: &InstanceLine| {
        let [ledger, trail, now] = hours(line.hours);
        vec![
            words::name(&line.instance),
            words::name_or_dash(line.worker.as_deref()),
            words::moment(line.from),
            words::moment_or(line.to, "lives"),
            words::span(line.billed_seconds),
            cost(line),
            words::count(line.builds),
            ledger,
            trail,
            now,
            words::name(line.zone.as_deref().unwrap_or(&line.region)),
            kind(line),
            words::name_or_dash(line.image.as_deref()),
            words::name_or_dash(line.ami.as_deref()),
            words::name_or_dash(line.wanted_by.as_deref()),
            line.ended.as_deref().map_or_else(|| "-".to_owned(), words::sentence),
        ]
    };
    Table::of("instances", "Every instance, the latest first", &columns, &report.instances, limit, row)
        .or(head::told(report).or("No instance lived in this period.", head::NOT_TOLD))
}

fn cost(line: &InstanceLine) -> String {
    words::money_or_unknown(line.cost.map(|cost| cost.compute + cost.storage + cost.address))
}

fn kind(line: &InstanceLine) -> String {
    let kind = words::name(line.instance_type.as_deref().unwrap_or("unknown"));
    match line.market.as_deref() {
        Some("on-demand") | None => kind,
        Some(market) => format!("{kind}, {}", words::name(market)),
    }
}

/// What costs while nothing runs.
pub(super) fn storage(report: &Report, limit: usize) -> Section {
    let standing = [
        column("Id", Kind::Id),
        column("Kind", Kind::Short),
        extra("Where", Kind::Short),
        column("For", Kind::Words),
        column("Size", Kind::Number),
        extra("Made (UTC)", Kind::Short),
        column("Each month", Kind::Number),
    ];
    let row = |thing: &Standing| {
        vec![
            words::name(&thing.id),
            words::name(&thing.kind),
            words::name(&thing.region),
            words::sentence(&thing.what),
            thing.size_gib.map_or_else(|| "-".to_owned(), |gib| format!("{} GiB", words::count(gib))),
            words::moment_or(thing.created, "unknown"),
            words::money_or_unknown(thing.month),
        ]
    };
    let caption = "What costs while nothing runs";
    let standing = Table::of("standing", caption, &standing, &report.standing, limit, row)
        .or(head::looked(report).or("Nothing is stored.", head::NOT_LOOKED));
    let sum: Range = report.standing.iter().filter_map(|thing| thing.month).sum();
    let unknown = report.standing.iter().filter(|thing| thing.month.is_none()).count();
    let mut lead = Vec::new();
    if !report.standing.is_empty() {
        lead.push(format!("Disks, snapshots and addresses cost {} each month.", words::money(sum)));
    }
    if unknown > 0 {
        let number = words::counted(i128::try_from(unknown).unwrap_or(i128::MAX), "thing");
        lead.push(format!("The price of {number} is not known: that is in no sum."));
    }
    let blocks = vec![Block::Table(standing), Block::Table(leftovers(report, limit))];
    Section { id: "storage", title: "Storage and leftovers".to_owned(), short: "Storage", lead, blocks }
}

fn leftovers(report: &Report, limit: usize) -> Table {
    let columns = [
        column("Id", Kind::Id),
        column("Kind", Kind::Name),
        extra("Where", Kind::Short),
        extra("Since (UTC)", Kind::Short),
        column("Each month", Kind::Number),
        column("Why it is left over", Kind::Words),
    ];
    let row = |left: &Leftover| {
        vec![
            words::name(&left.id),
            words::sentence(&left.kind),
            words::name(&left.region),
            words::moment_or(left.since, "unknown"),
            words::money_or_unknown(left.month),
            words::sentence(&left.reason),
        ]
    };
    Table::of("leftovers", "What nobody uses any more", &columns, &report.leftovers, limit, row)
        .or(head::looked(report).or("No leftover was found.", head::NOT_LOOKED))
}

/// The rebakes of the period.
pub(super) fn rebakes(report: &Report, limit: usize) -> Section {
    let columns = [
        column("Rebake", Kind::Name),
        column("Image", Kind::Name),
        column("Began (UTC)", Kind::Short),
        column("State", Kind::Name),
        column("Cost", Kind::Number),
    ];
    let table = Table::of("rebake-list", "Rebakes of images", &columns, &report.rebakes, limit, |line| {
        vec![
            words::name(&line.rebake),
            words::name(&line.image),
            words::moment(line.began),
            words::name(&line.state),
            line.cost.map_or_else(|| "not known".to_owned(), words::money),
        ]
    });
    let empty = "No image was rebaked in this period.";
    let empty = head::sight(report, "rebakes").or(empty, "No journal of a rebake was read, so nobody knows.");
    let blocks = vec![Block::Table(table.or(empty))];
    Section { id: "rebakes", title: "Rebakes".to_owned(), short: "Rebakes", lead: Vec::new(), blocks }
}

/// Who did what in the account.
pub(super) fn deeds(report: &Report, limit: usize) -> Section {
    let columns = [
        column("When (UTC)", Kind::Short),
        column("Call", Kind::Short),
        column("Instance", Kind::Id),
        column("Who", Kind::Name),
    ];
    let table = Table::of("deeds-list", "Calls that changed instances", &columns, &report.deeds, limit, |deed| {
        vec![
            words::moment(deed.at),
            words::name(&deed.call),
            words::name_or_dash(deed.instance.as_deref()),
            deed.by.as_deref().map_or_else(|| "not told".to_owned(), words::name),
        ]
    });
    let empty = head::sight(report, "cloudtrail").or("CloudTrail tells of no such call.", "CloudTrail was not read.");
    let blocks = vec![Block::Table(table.or(empty))];
    Section { id: "deeds", title: "Who did what in the account".to_owned(), short: "Deeds", lead: Vec::new(), blocks }
}

/// What the report rests on.
pub(super) fn sources(report: &Report, limit: usize) -> Section {
    let columns = [
        column("Record", Kind::Name),
        column("Read", Kind::Short),
        extra("From (UTC)", Kind::Short),
        extra("To (UTC)", Kind::Short),
        column("Note", Kind::Words),
    ];
    let row = |source: &Source| {
        let moment = |at: Option<DateTime<Utc>>| words::moment_or(at, "-");
        let read = match (source.used, source.whole) {
            (true, true) => "yes",
            (true, false) => "in part",
            (false, _) => "no",
        };
        let (from, to) = (moment(source.from), moment(source.to));
        vec![words::name(&source.name), read.to_owned(), from, to, words::sentence(&source.note)]
    };
    let read = Table::of("records", "Records that were read", &columns, &report.sources, limit, row);
    let columns = [
        column("Prices of", Kind::Words),
        column("As of", Kind::Short),
        column("From", Kind::Words),
        extra("Licence", Kind::Name),
        extra("Note", Kind::Words),
    ];
    let prices = Table::of("prices", "Where the prices are from", &columns, &report.price_sources, limit, |source| {
        let (from, note) =
            (words::sentence(&source.from), source.note.as_deref().map_or_else(|| "-".to_owned(), words::sentence));
        vec![words::sentence(&source.what), words::name(&source.as_of), from, words::name(&source.licence), note]
    });
    let mut lead = vec![format!("Prices of instances are of {} or later.", report.prices_as_of)];
    if let Some(mark) = &report.ledger {
        let chain =
            mark.chain.as_deref().map_or_else(String::new, |chain| format!("; its chain is {}", words::name(chain)));
        let (seq, at) = (words::count(mark.seq), words::moment_in_words(mark.at));
        lead.push(format!("The ledger was read up to entry {seq}, written {at}{chain}."));
    }
    let assumptions = report.assumptions.iter().take(limit).map(|text| words::sentence(text)).collect();
    let title = "Records, prices and assumptions".to_owned();
    let blocks = vec![
        Block::List(assumptions),
        Block::Table(read.or("No record was read.")),
        Block::Table(prices.or("No price was used.")),
    ];
    Section { id: "sources", title, short: "Assumptions", lead, blocks }
}

/// How to shut everything off.
pub(super) fn off(report: &Report, limit: usize) -> Section {
    let steps = report.shut_off.iter().take(limit).map(|step| words::sentence(step)).collect();
    let title = "How to shut everything off".to_owned();
    Section { id: "off", title, short: "Shut off", lead: Vec::new(), blocks: vec![Block::Steps(steps)] }
}
