//! The first page: what was spent, how that stands against the budget, what is wrong, what can be saved.

use super::chart::{Chart, Px, Shape, scale};
use super::page::{Alarm, Block, Remedy, Section, Tile, Tone};
use super::words;
use crate::audit::report::{BudgetLine, Leftover, Report};
use crate::plan::meter::Use;
use crate::policy::price::{Money, Range};

/// How many alarms of a kind are shown one by one.
const ALARMS_MAX: usize = 20;

/// What a number is worth that rests on a part.
const IN_PART: &str = "not everything could be read";
/// Why a number of what EC2 has is not known.
const NOT_SEEN: &str = "EC2's instances were not seen";

/// How much of a record was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// All that the period needs.
    Whole,
    /// Something: what was not found may yet be there.
    Part,
    /// Nothing.
    None,
}

impl Sight {
    /// What is said where a list is empty: that there is nothing, if that is known.
    pub(super) fn or(self, nothing: &'static str, unknown: &'static str) -> &'static str {
        match self {
            Self::Whole => nothing,
            Self::Part => "None seen; not everything could be read.",
            Self::None => unknown,
        }
    }
}

/// What is said instead of `nothing` where nobody knows.
pub(super) const NOT_LOOKED: &str = "EC2's instances were not seen, so nobody knows.";
/// The same where no record tells what ran.
pub(super) const NOT_TOLD: &str = "No record of machines could be read, so nobody knows.";

/// How much of a record was read.
pub(super) fn sight(report: &Report, name: &str) -> Sight {
    match report.sources.iter().find(|source| source.name == name) {
        Some(source) if source.used && source.whole => Sight::Whole,
        Some(source) if source.used => Sight::Part,
        Some(_) | None => Sight::None,
    }
}

/// How much is known of what EC2 has now: without that nobody knows what is left over.
pub(super) fn looked(report: &Report) -> Sight {
    sight(report, "describe")
}

/// How much is known of what ran in the period: the ledger and CloudTrail tell of what is gone, EC2 does not.
pub(super) fn told(report: &Report) -> Sight {
    let (ledger, trail) = (sight(report, "ledger"), sight(report, "cloudtrail"));
    match (ledger, trail, looked(report)) {
        (Sight::Whole, _, _) | (_, Sight::Whole, _) => Sight::Whole,
        // What a rebake's journal tells of its builder is something.
        (Sight::None, Sight::None, Sight::None) if report.instances.is_empty() => Sight::None,
        _ => Sight::Part,
    }
}

/// `30 days`, or hours of a short period.
pub(super) fn period(report: &Report) -> String {
    let length = report.until - report.since;
    match length.num_days() {
        0..=1 => words::span(length.num_seconds()),
        days => words::counted(days, "day"),
    }
}

/// The sentence that somebody reads who reads nothing else.
pub(super) fn summary(report: &Report) -> String {
    let headline = &report.headline;
    let (owner, period) = (words::name(&report.owner), period(report));
    if headline.starts == 0 && headline.billed_seconds == 0 && report.instances.is_empty() {
        return match told(report) {
            Sight::Whole => format!("No machine of {owner} ran in these {period}."),
            Sight::Part => {
                format!("No machine of {owner} was seen in these {period}; not everything could be read.")
            }
            Sight::None => format!(
                "What the machines of {owner} did and cost in these {period} is not known: no record could be read."
            ),
        };
    }
    let cost = if no_price(report) { "nobody knows how much".to_owned() } else { words::money(headline.spent) };
    format!(
        "The machines of {owner} cost {cost} in {period}: {}, {}, {} of billed time, of which builds ran {}.",
        words::counted(headline.starts, "start"),
        words::counted(headline.builds, "build"),
        words::span(headline.billed_seconds),
        words::percent(build_share(report)),
    )
}

fn build_share(report: &Report) -> u64 {
    let whole = |seconds: i64| u64::try_from(seconds).unwrap_or(0);
    words::permille(whole(report.headline.build_seconds), whole(report.headline.billed_seconds))
}

/// Whether there are instances, and of none of them the price is known: what they cost is not nothing.
pub(super) fn no_price(report: &Report) -> bool {
    !report.instances.is_empty() && report.instances.iter().all(|line| line.cost.is_none())
}

/// The numbers of the first page.
pub(super) fn tiles(report: &Report) -> Vec<Tile> {
    vec![spent(report), budget(report.headline.budget.as_ref()), saved(report), zombies(report), used(report)]
}

fn spent(report: &Report) -> Tile {
    let headline = &report.headline;
    let mut notes = Vec::new();
    if let Some(before) = headline.before {
        notes.push(format!("{} before: {}", period(report), words::money(before)));
    }
    if headline.unpriced > 0 {
        notes.push(format!("without {} of unknown price", words::counted(headline.unpriced, "instance")));
    }
    let (value, tone) = match told(report) {
        Sight::None => {
            notes.push("no record of machines could be read".to_owned());
            ("Unknown".to_owned(), Tone::Warn)
        }
        _ if no_price(report) => ("Unknown".to_owned(), Tone::Warn),
        Sight::Part if report.instances.is_empty() => {
            notes.push("no machine was seen; not everything could be read".to_owned());
            (words::money(headline.spent), Tone::Warn)
        }
        Sight::Whole | Sight::Part => {
            notes.push("an estimate at list prices, low to high".to_owned());
            (words::money(headline.spent), Tone::Neutral)
        }
    };
    Tile { label: "Spent".to_owned(), value, notes, tone, bar: None }
}

fn budget(line: Option<&BudgetLine>) -> Tile {
    let label = "Budget".to_owned();
    let Some((line, (limit, kind))) = line.and_then(|line| Some((line, limit(line)?))) else {
        let notes = vec!["The owner's table named budget sets one: soft tells you, hard stops launches.".to_owned()];
        return Tile { label, value: "None is set".to_owned(), notes, tone: Tone::Neutral, bar: None };
    };
    let share = words::permille(line.spent.high.as_micro_dollars(), limit.as_micro_dollars());
    let over = |amount: Option<Money>| amount.is_some_and(|amount| line.spent.high >= amount);
    let tone = if over(line.hard) {
        Tone::Bad
    } else if over(line.soft) || line.projected.high > limit {
        Tone::Warn
    } else {
        Tone::Good
    };
    let value = if line.spent.high >= limit && share < 1000 {
        "All used".to_owned()
    } else {
        format!("{} used", words::percent(share))
    };
    let mut notes =
        vec![format!("{} of {limit:#} ({kind}) in {}", words::money(line.spent), words::month(&line.month))];
    if let (Some(soft), "hard") = (line.soft, kind) {
        notes.push(format!("soft limit: {soft:#}{}", if over(line.soft) { ", crossed" } else { "" }));
    }
    notes.push(format!("if it goes on so, the month comes to {}", words::money(line.projected)));
    notes.push("as the controller counts: spot at the list price, disks that a manifest sizes".to_owned());
    Tile { label, value, notes, tone, bar: Some(bar(line, limit)) }
}

/// The limit that counts: the hard one, else the soft one.
fn limit(line: &BudgetLine) -> Option<(Money, &'static str)> {
    line.hard.map(|hard| (hard, "hard")).or_else(|| line.soft.map(|soft| (soft, "soft")))
}

fn bar(line: &BudgetLine, limit: Money) -> Chart {
    let length = Px::whole(240);
    let part = |amount: Money| scale(amount.as_micro_dollars(), limit.as_micro_dollars().max(1), length);
    let mut shapes = vec![
        Shape::area(Px(0), Px(0), length, Px::whole(12), "track".to_owned()),
        Shape::area(Px(0), Px(0), part(line.spent.high), Px::whole(12), "spent high".to_owned()),
        Shape::area(Px(0), Px(0), part(line.spent.low), Px::whole(12), "spent".to_owned()),
    ];
    if let Some(soft) = line.soft.filter(|soft| *soft < limit) {
        shapes.push(Shape::post(part(soft), Px(0), Px::whole(12), "soft"));
    }
    Chart {
        id: "budget-bar".to_owned(),
        title: "How much of the budget is used".to_owned(),
        description: format!("{} of {limit}.", words::money(line.spent)),
        width: 240,
        height: 12,
        shapes,
        legend: Vec::new(),
        notes: Vec::new(),
        small: true,
    }
}

fn saved(report: &Report) -> Tile {
    let saved = report.headline.saved_month;
    let nothing = report.savings.is_empty() && saved == Range::ZERO;
    let (value, notes, tone) = match looked(report) {
        Sight::None if nothing => ("Unknown".to_owned(), vec![NOT_SEEN.to_owned()], Tone::Warn),
        Sight::Part if nothing => ("None seen".to_owned(), vec![IN_PART.to_owned()], Tone::Warn),
        Sight::Whole if nothing => ("Nothing found".to_owned(), vec![], Tone::Good),
        Sight::Whole | Sight::Part | Sight::None => {
            let commands = words::counted(words::length(&report.savings), "command");
            (words::money(saved), vec![format!("each month, by {commands} below")], Tone::Warn)
        }
    };
    Tile { label: "You can save".to_owned(), value, notes, tone, bar: None }
}

fn zombies(report: &Report) -> Tile {
    let number = report.headline.zombies;
    let (value, note, tone) = match (number, looked(report)) {
        (0, Sight::None) => ("Unknown".to_owned(), NOT_SEEN, Tone::Warn),
        (0, Sight::Part) => ("None seen".to_owned(), IN_PART, Tone::Warn),
        (0, Sight::Whole) => ("None".to_owned(), "every instance that lives has a use", Tone::Good),
        _ => (format!("{} alive", words::count(number)), "instances that nobody uses, and that cost", Tone::Bad),
    };
    Tile { label: "Zombies".to_owned(), value, notes: vec![note.to_owned()], tone, bar: None }
}

fn used(report: &Report) -> Tile {
    let headline = &report.headline;
    let idle: i64 = report.workers.iter().filter_map(|worker| worker.uses.get(&Use::Idle)).sum();
    let notes = vec![
        format!("{} of {}", words::span(headline.build_seconds), words::span(headline.billed_seconds)),
        format!("idle: {}", words::span(idle)),
    ];
    if told(report) == Sight::None {
        let notes = vec!["no record of machines could be read".to_owned()];
        let label = "Billed time with a build".to_owned();
        return Tile { label, value: "Unknown".to_owned(), notes, tone: Tone::Neutral, bar: None };
    }
    let value = words::percent(build_share(report));
    Tile { label: "Billed time with a build".to_owned(), value, notes, tone: Tone::Neutral, bar: None }
}

/// What is wrong, and what could not be seen.
pub(super) fn red(report: &Report) -> Section {
    let mut alarms: Vec<Alarm> = Vec::new();
    let (instances, others): (Vec<&Leftover>, Vec<&Leftover>) = report.leftovers.iter().partition(|left| left.instance);
    let (zombies, instances): (Vec<&Leftover>, Vec<&Leftover>) =
        instances.into_iter().partition(|left| left.is_zombie());
    for (tone, label, all) in [(Tone::Bad, "Zombie", &zombies), (Tone::Warn, "Left over", &instances)] {
        alarms.extend(all.iter().take(ALARMS_MAX).map(|left| of_instance(tone, label, left)));
        if let Some(more) = all.len().checked_sub(ALARMS_MAX).filter(|more| *more > 0) {
            let more = words::count(i128::try_from(more).unwrap_or(i128::MAX));
            alarms.push(alarm(tone, label, format!("{more} more"), "See the leftovers below.".to_owned()));
        }
    }
    alarms.extend(standing_alarms(report, &others));
    alarms.extend(report.unseen.iter().take(ALARMS_MAX).map(|unseen| Alarm {
        tone: Tone::Warn,
        label: "Not seen",
        what: words::sentence(&unseen.what),
        why: match &unseen.cure {
            Some(cure) => format!("{} {}", ended(&unseen.why), ended(cure)),
            None => ended(&unseen.why),
        },
    }));
    if let Some(more) = super::page::more(report.unseen.len(), ALARMS_MAX) {
        alarms.push(alarm(Tone::Warn, "Not seen", more, String::new()));
    }
    Section {
        id: "red",
        title: "Red items and what could not be seen".to_owned(),
        short: "Red items",
        lead: Vec::new(),
        blocks: vec![Block::Alarms(alarms)],
    }
}

fn alarm(tone: Tone, label: &'static str, what: String, why: String) -> Alarm {
    Alarm { tone, label, what, why }
}

fn of_instance(tone: Tone, label: &'static str, left: &Leftover) -> Alarm {
    let what = format!("{} in {}", words::name(&left.id), words::name(&left.region));
    let since = left.since.map(|at| format!(" Since {}.", words::moment_in_words(at))).unwrap_or_default();
    let why = format!("{}{since}", ended(&left.reason));
    if left.was_zombie() {
        // What it cost is in the sums of the period; it costs no more.
        return alarm(tone, "Was a zombie", what, why);
    }
    let cost = match left.month {
        Some(month) => format!("If it stays it costs {} each month.", words::money(month)),
        None => "What it costs is not known.".to_owned(),
    };
    alarm(tone, label, what, format!("{why} {cost}"))
}

/// What things cost each month, and of how many nobody knows.
fn a_month(things: &[&Leftover]) -> String {
    let known: Vec<Range> = things.iter().filter_map(|left| left.month).collect();
    let unknown = things.len() - known.len();
    match (known.len(), unknown) {
        (0, _) => "what they cost is not known".to_owned(),
        (_, 0) => format!("they cost {} each month", words::money(known.into_iter().sum())),
        (_, some) => {
            let unknown = words::count(i128::try_from(some).unwrap_or(i128::MAX));
            format!(
                "they cost {} each month, without {unknown} of unknown price",
                words::money(known.into_iter().sum())
            )
        }
    }
}

/// The words as a sentence.
fn ended(text: &str) -> String {
    let text = words::sentence(text);
    if text.ends_with(['.', '!', '?', '…']) || text.is_empty() { text } else { format!("{text}.") }
}

fn standing_alarms(report: &Report, others: &[&Leftover]) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    if let Some(line) = &report.headline.budget {
        let crossed = |amount: Option<Money>| amount.filter(|amount| line.spent.high >= *amount);
        let said = crossed(line.hard).map(|a| (Tone::Bad, "hard", a)).or_else(|| {
            let soft = crossed(line.soft)?;
            Some((Tone::Warn, "soft", soft))
        });
        if let Some((tone, kind, amount)) = said {
            let what = format!("The {kind} limit of {} is crossed", words::month(&line.month));
            let effect = if kind == "hard" { " Nothing is launched until the month ends." } else { "" };
            alarms.push(alarm(tone, "Budget", what, format!("{} of {amount}.{effect}", words::money(line.spent))));
        }
    }
    if report.headline.zombies == 0 && looked(report) == Sight::None {
        let why = "EC2's instances were not seen, so nobody knows whether an instance lives on.".to_owned();
        alarms.push(alarm(Tone::Warn, "Unknown", "Zombies".to_owned(), why));
    }
    if !others.is_empty() {
        let what = format!("{} that nobody uses", words::counted(words::length(others), "thing"));
        let why = format!("Disks, snapshots, addresses and such; {}.", a_month(others));
        alarms.push(alarm(Tone::Warn, "Left over", what, why));
    }
    if !report.differences.is_empty() {
        let what = format!("Records differ about {}", words::counted(words::length(&report.differences), "instance"));
        alarms.push(alarm(Tone::Warn, "Differs", what, "See the hours by three records.".to_owned()));
    }
    if report.headline.unpriced > 0 {
        let what = format!("{} without a price", words::counted(report.headline.unpriced, "instance"));
        alarms.push(alarm(Tone::Warn, "No price", what, "They cost something, and are in no sum.".to_owned()));
    }
    alarms
}

/// What can be saved, and how.
pub(super) fn save(report: &Report, limit: usize) -> Section {
    let mut section = Section { id: "save", title: String::new(), short: "Save", lead: Vec::new(), blocks: Vec::new() };
    if report.savings.is_empty() {
        "Nothing to save was found".clone_into(&mut section.title);
        let nothing = "No command would save anything that this report can see.";
        section.lead.push(looked(report).or(nothing, NOT_LOOKED).to_owned());
        return section;
    }
    section.title = format!("You can save {} each month by these commands", words::money(report.headline.saved_month));
    let shown = report.savings.get(..limit).unwrap_or(&report.savings);
    let remedies = shown.iter().map(|saving| Remedy {
        amount: format!("{} each month", words::money(saving.month)),
        what: words::sentence(&saving.what),
        command: words::command(&saving.command),
    });
    section.blocks.push(Block::Remedies(remedies.collect()));
    section.blocks.extend(super::page::more(report.savings.len(), shown.len()).map(|more| Block::List(vec![more])));
    section
}
