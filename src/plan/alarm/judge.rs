//! What of all that is seen is worth telling.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::fact::{
    BudgetFact, CellFact, DeliveryFact, Facts, ImageFact, LeftoverFact, RebakeFact, RebakeTurn, WorkerFact,
};
use super::pulse::{Ended, Failing, Pulse};
use super::text::{clean, span};
use crate::model::{AlarmClass, BudgetLevel, Cause, FailureKind, OwnerName, Response};
use crate::policy::price::{self, Range};

/// Nothing that lasts is told before it has lasted so long.
const PATIENCE: TimeDelta = TimeDelta::minutes(5);
/// An account of which nothing is known for so long cannot be looked at, whatever the reason.
const BLIND: TimeDelta = TimeDelta::hours(1);
/// Hours of the month by which monthly prices are told.
const MONTH_HOURS: u64 = 730;

/// Something that is so, and lasts.
#[derive(Debug, Clone)]
pub struct Condition {
    /// Class and subject: the same as long as it lasts.
    pub key: String,
    /// Its class.
    pub class: AlarmClass,
    /// Whose; `None` for what is the controller's own.
    pub owner: Option<OwnerName>,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Whether it is told at night too.
    pub urgent: bool,
    /// How long it must last before it is told.
    pub patience: TimeDelta,
    /// In a line.
    pub title: String,
    /// What is known.
    pub text: Vec<String>,
    /// What it costs.
    pub cost: Option<String>,
    /// What to do.
    pub todo: Vec<String>,
    /// What is told at its end; nothing without it.
    pub over: Option<String>,
    /// The way that is not used to tell of it.
    pub not_by: Option<super::Channel>,
}

/// Something that happened once.
#[derive(Debug, Clone)]
pub struct Happening {
    /// What it is, the same whenever it is seen.
    pub key: String,
    /// Its class.
    pub class: AlarmClass,
    /// Whose.
    pub owner: OwnerName,
    /// When.
    pub at: DateTime<Utc>,
    /// In a line.
    pub title: String,
    /// What is known.
    pub text: Vec<String>,
    /// What to do.
    pub todo: Vec<String>,
}

/// What is worth telling.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// What is so.
    pub present: Vec<Condition>,
    /// What happened.
    pub happened: Vec<Happening>,
    /// Of which keys it is known whether they are so; one that ends with `/` stands for all that begin with it.
    /// What is neither here nor present stays as it was.
    pub known: Vec<String>,
    /// Keys whose end is no news; one that ends with `/` stands for all that begin with it.
    pub silent: BTreeSet<String>,
}

/// What of all that is seen is worth telling.
pub fn judge(facts: &Facts, pulse: &Pulse) -> Verdict {
    let mut verdict = Verdict::default();
    for worker in &facts.workers {
        verdict.worker(facts.now, worker, pulse);
    }
    for cell in &facts.cells {
        verdict.cell(facts.now, cell);
    }
    verdict.happened.extend(facts.rebakes.iter().flatten().filter_map(turn));
    for image in &facts.images {
        verdict.image(facts, image);
    }
    verdict.happened.extend(pulse.ended.iter().map(ended));
    verdict.budgets(facts, pulse);
    verdict.known.push(format!("{}/", AlarmClass::DeliveryFailed));
    verdict.present.extend(facts.deliveries.iter().map(delivery));
    verdict
}

impl Verdict {
    /// Whether it is known of a key whether it is so.
    pub fn knows(&self, key: &str) -> bool {
        self.known.iter().any(|known| stands_for(known, key))
    }

    /// Whether the end of what the key is for is no news.
    pub fn is_silent(&self, key: &str) -> bool {
        self.silent.iter().any(|silent| stands_for(silent, key))
    }
}

fn stands_for(known: &str, key: &str) -> bool {
    known == key || (known.ends_with('/') && key.starts_with(known))
}

fn key(class: AlarmClass, subject: &str) -> String {
    format!("{class}/{subject}")
}

impl Verdict {
    fn worker(&mut self, now: DateTime<Utc>, fact: &WorkerFact, pulse: &Pulse) {
        let Some(of) = pulse.workers.get(&fact.worker) else { return };
        let down_key = key(AlarmClass::WorkerDown, fact.worker.as_str());
        let limit = of.limit(fact.down_after, fact.start_limit);
        let failing = of.failing.as_ref();
        match &of.down {
            // One cause is told once: who cannot be started is not told to be down for that as well.
            Some(_) if failing.is_some_and(Failing::needs_a_person) => {}
            // Whom nobody asks for now is neither told to be down nor to be up.
            Some(down) if down.dormant.is_none() && now - down.since >= limit => {
                self.present.push(down_condition(now, fact, down.since, down.lost, limit, failing));
            }
            // It may have been told with a shorter limit; it is down still.
            Some(_) => {}
            None => {
                self.known.push(down_key.clone());
                if !of.attached {
                    self.silent.insert(down_key);
                }
            }
        }
        let failing_key = key(AlarmClass::LaunchFailing, fact.worker.as_str());
        match &of.failing {
            Some(failing) if failing.is_of_budget(pulse.at_hard(&fact.owner)) => {}
            Some(failing) if failing.needs_a_person() => self.present.push(failing_condition(fact, failing)),
            Some(_) => {}
            None => {
                self.known.push(failing_key.clone());
                if !of.attached {
                    self.silent.insert(failing_key);
                }
            }
        }
    }

    fn cell(&mut self, now: DateTime<Utc>, cell: &CellFact) {
        let place = format!("{}/{}", cell.owner, cell.region);
        self.present.extend(cell.leftovers.iter().map(|found| leftover(now, cell, found)));
        if cell.swept_whole {
            self.known.push(key(AlarmClass::ZombieFound, &format!("{place}/")));
        }
        let blind_since = cell.listed_at.filter(|at| now - *at > BLIND);
        let lost_key = key(AlarmClass::PermissionLost, &place);
        match &cell.refusal {
            Some(refusal) if refusal.fatal || blind_since.is_some() => {
                let since = cell.listed_at.unwrap_or(now);
                self.present.push(Condition {
                    key: lost_key,
                    class: AlarmClass::PermissionLost,
                    owner: Some(cell.owner.clone()),
                    since,
                    urgent: false,
                    patience: PATIENCE,
                    title: format!("{place} cannot be looked at: {}", clean(&refusal.code, 60)),
                    text: vec![
                        format!(
                            "EC2 refuses to list {place}: {}: {}.",
                            clean(&refusal.code, 60),
                            told(&refusal.message)
                        ),
                        "Nothing is launched there and nothing can be taken away; what runs there costs on, until its \
                         lease or its deadline ends it from inside."
                            .to_owned(),
                    ],
                    cost: None,
                    todo: vec![
                        clean(&refusal.cure, 300),
                        format!("latent doctor --owner {}", cell.owner),
                        format!("latent iam --owner {}", cell.owner),
                    ],
                    over: Some(format!("{place} can be looked at again")),
                    not_by: None,
                });
            }
            // One refusal that may pass by itself is neither the beginning nor the end of anything.
            Some(_) => {}
            None if cell.listed_at.is_none() => {}
            None => self.known.push(lost_key),
        }
    }

    /// Of an owner who is not configured any more nothing is known.
    fn budgets(&mut self, facts: &Facts, pulse: &Pulse) {
        let owners: BTreeSet<&OwnerName> = facts.cells.iter().map(|cell| &cell.owner).collect();
        let all = |owner: &OwnerName| key(AlarmClass::Budget, &format!("{owner}/"));
        self.known.extend(owners.into_iter().map(all));
        for fact in &facts.budgets {
            if fact.level == BudgetLevel::Hard {
                // Another amount is reached as well: nothing goes on.
                self.silent.insert(all(&fact.owner));
            }
            self.present.push(budget(facts.now, fact, pulse));
        }
    }

    fn image(&mut self, facts: &Facts, image: &ImageFact) {
        let now = facts.now;
        let at_work = facts.rebakes.iter().flatten().any(|rebake| {
            rebake.image == image.image && matches!(rebake.turn, RebakeTurn::Works | RebakeTurn::Promoted)
        });
        let subject = format!("{}/{}", image.image, image.ami);
        let due_key = key(AlarmClass::RebakeDue, &subject);
        self.known.extend(image.created.map(|_| due_key.clone()));
        if let Some(due) = image.created.map(|at| at + image.max_age).filter(|due| *due <= now && !at_work) {
            let by_itself = image.next_window.map(|at| {
                format!("The controller rebakes it by itself, at {} or soon after.", at.format("%Y-%m-%d %H:%MZ"))
            });
            let age = image.created.map_or_else(String::new, |at| span(now - at));
            self.present.push(Condition {
                key: due_key,
                class: AlarmClass::RebakeDue,
                owner: Some(image.owner.clone()),
                since: due,
                urgent: false,
                patience: PATIENCE,
                title: format!("image {}: {} is {age} old and due to be made anew", image.image, image.ami),
                text: by_itself.into_iter().collect(),
                cost: None,
                todo: vec![format!("latent rebake {}", image.ami)],
                over: None,
                not_by: None,
            });
        }
        let deprecated_key = key(AlarmClass::AmiDeprecated, &subject);
        self.known.push(deprecated_key.clone());
        if let Some(at) = image.deprecated.filter(|at| *at <= now && !image.ours) {
            self.present.push(Condition {
                key: deprecated_key,
                class: AlarmClass::AmiDeprecated,
                owner: Some(image.owner.clone()),
                since: at,
                urgent: false,
                patience: PATIENCE,
                title: format!("image {}: {} is deprecated by its publisher", image.image, image.ami),
                text: vec![
                    "Launches work on until the publisher takes it away; then no worker of this image starts."
                        .to_owned(),
                ],
                cost: None,
                todo: vec![
                    format!("latent rebake {} --from-base AMI", image.ami),
                    format!("or name a newer AMI in amis/{}.toml", image.image),
                ],
                over: None,
                not_by: None,
            });
        }
    }
}

/// A text of EC2's at the end of a sentence of ours.
fn told(message: &str) -> String {
    clean(message, 400).trim_end_matches('.').to_owned()
}

fn down_condition(
    now: DateTime<Utc>,
    fact: &WorkerFact,
    since: DateTime<Utc>,
    lost: bool,
    limit: TimeDelta,
    failing: Option<&Failing>,
) -> Condition {
    let how = if lost { "lost its connection" } else { "is wanted and has not connected" };
    let mut text = vec![
        format!("Worker {} {how} since {}.", fact.worker, since.format("%Y-%m-%d %H:%M:%SZ")),
        match fact.down_after {
            Some(_) => format!("You asked to be told after {}.", span(limit)),
            None => format!("That is longer than usual: {} counts as its limit.", span(limit)),
        },
        format!(
            "It is {} now{}.",
            fact.state,
            fact.instance.as_ref().map_or_else(String::new, |id| format!(" ({id})"))
        ),
    ];
    text.extend(fact.held.as_ref().map(|held| format!("Why nothing more is done: {}.", told(held))));
    text.extend(
        failing.map(|failing| {
            format!("The last request failed: {}: {}.", clean(&failing.code, 60), told(&failing.message))
        }),
    );
    let mut todo = failing.map(|failing| failing.kind.cure().to_owned()).into_iter().collect::<Vec<_>>();
    todo.push(format!("latent explain {}", fact.worker));
    let ran = fact.hourly.zip(fact.created).map(|(hourly, at)| price::run(hourly, seconds(now - at)));
    Condition {
        key: key(AlarmClass::WorkerDown, fact.worker.as_str()),
        class: AlarmClass::WorkerDown,
        owner: Some(fact.owner.clone()),
        since,
        urgent: false,
        patience: TimeDelta::zero(),
        title: format!("worker {} is down for {}", fact.worker, span(now - since)),
        text,
        cost: ran.map(|cost| format!("{cost} so far for its present instance, at list price")),
        todo,
        over: Some(format!("worker {} is up again", fact.worker)),
        not_by: None,
    }
}

fn seconds(span: TimeDelta) -> u64 {
    span.num_seconds().try_into().unwrap_or_default()
}

fn failing_condition(fact: &WorkerFact, failing: &Failing) -> Condition {
    let code = clean(&failing.code, 60);
    let times = if failing.times > 1 { format!(" {} times in a row", failing.times) } else { String::new() };
    let who = match failing.kind {
        FailureKind::Bug => "this looks like a mistake of latent's",
        _ => "the owner has to act",
    };
    Condition {
        key: key(AlarmClass::LaunchFailing, fact.worker.as_str()),
        class: AlarmClass::LaunchFailing,
        owner: Some(fact.owner.clone()),
        since: failing.since,
        urgent: false,
        patience: TimeDelta::zero(),
        title: format!("worker {} cannot be started: {code}; {who}", fact.worker),
        text: vec![format!("Its request failed{times}: {code}: {}.", told(&failing.message))],
        cost: None,
        todo: vec![
            failing.kind.cure().to_owned(),
            format!("latent doctor --worker {}", fact.worker),
            format!("latent explain {}", fact.worker),
        ],
        over: Some(format!("worker {} starts again", fact.worker)),
        not_by: None,
    }
}

fn leftover(now: DateTime<Utc>, cell: &CellFact, found: &LeftoverFact) -> Condition {
    let id = clean(&found.id, 80);
    let place = format!("{}/{}", cell.owner, cell.region);
    let age = found.since.map(|at| seconds(now - at));
    let so_far = found.monthly.zip(age).map(|(monthly, age)| spent(monthly, age));
    let monthly = found.monthly.map(|cost| format!("{cost} a month"));
    let cost = match (so_far, monthly) {
        (Some(so_far), Some(monthly)) => Some(format!("about {so_far} so far, {monthly} if it stays")),
        (None, monthly) => monthly,
        (Some(so_far), None) => Some(format!("about {so_far} so far")),
    };
    let (done, todo) = match found.response {
        Response::Report => (
            "Nothing is done about it by itself.",
            vec![format!("latent sweep --owner {} --region {}", cell.owner, cell.region)],
        ),
        Response::Stop | Response::Terminate => {
            ("It is taken away by itself after a second look; if it is not gone in an hour, look yourself.", Vec::new())
        }
    };
    let look = vec![format!("latent sweep --owner {}", cell.owner)];
    Condition {
        key: key(AlarmClass::ZombieFound, &format!("{place}/{id}")),
        class: AlarmClass::ZombieFound,
        owner: Some(cell.owner.clone()),
        since: found.since.unwrap_or(now),
        urgent: found.runs,
        patience: TimeDelta::zero(),
        title: format!("{id} in {place} costs money and nobody uses it ({})", clean(&found.kind, 40)),
        text: vec![format!("{}.", told(&found.reason)), done.to_owned()],
        cost,
        todo: if todo.is_empty() { look } else { todo },
        over: Some(format!("{id} in {place} is gone")),
        not_by: None,
    }
}

fn spent(monthly: Range, seconds: u64) -> Range {
    monthly.share(seconds, MONTH_HOURS * 3_600)
}

fn turn(rebake: &RebakeFact) -> Option<Happening> {
    let new = rebake.ami.as_ref().map_or_else(|| "the new AMI".to_owned(), ToString::to_string);
    let (image, source) = (&rebake.image, &rebake.source);
    let follow = format!("latent rebake --resume {}", rebake.id);
    let (class, title, text, todo) = match &rebake.turn {
        RebakeTurn::Works | RebakeTurn::Over => return None,
        RebakeTurn::Promoted => (
            AlarmClass::RebakePromoted,
            format!("image {image}: {new} is in use, generation {}", rebake.generation),
            vec![format!(
                "It was proven by a worker and took the place of {source}; it is compared with it now, and \
                          goes back by itself if it is worse."
            )],
            vec![format!("latent rollback {image}, if you see that it is worse")],
        ),
        RebakeTurn::Failed(why) => (
            AlarmClass::RebakeFailed,
            format!("image {image}: the rebake of {source} failed"),
            vec![format!("{}.", told(why)), format!("What it had made is taken back; {source} stays in use.")],
            vec![follow, format!("latent rebake {source}, when the reason is gone")],
        ),
        RebakeTurn::RolledBack(why) => (
            AlarmClass::RebakeRolledBack,
            format!("image {image}: {new} was worse, {source} is in use again"),
            vec![format!("{}.", told(why))],
            vec![follow, format!("latent amis --owner {}", rebake.owner)],
        ),
    };
    let key = key(class, rebake.id.as_str());
    Some(Happening { key, class, owner: rebake.owner.clone(), at: rebake.at, title, text, todo })
}

/// Another amount, and another month, are another thing to tell.
fn budget(now: DateTime<Utc>, fact: &BudgetFact, pulse: &Pulse) -> Condition {
    let (owner, amount, level) = (&fact.owner, fact.limit, fact.level);
    let hard = level == BudgetLevel::Hard;
    let consequence = if hard {
        let until = fact.until.format("%Y-%m-%d %H:%MZ");
        format!("Nothing more is launched for this owner until {until}, or until the amount is raised.")
    } else {
        "Launches go on until the hard amount is reached, if there is one.".to_owned()
    };
    let crossed = pulse.budgets.get(owner).and_then(|levels| levels.get(&level));
    let crossed = crossed.filter(|known| known.month == fact.month && known.limit == amount.as_micro_dollars());
    Condition {
        key: key(AlarmClass::Budget, &format!("{owner}/{}/{level}/{}", fact.month, amount.as_micro_dollars())),
        class: AlarmClass::Budget,
        owner: Some(owner.clone()),
        since: crossed.map_or(now, |known| known.at),
        urgent: hard,
        patience: TimeDelta::zero(),
        title: format!("owner {owner}: the {level} budget of {amount:#} for {} is crossed", fact.month),
        text: vec![consequence],
        cost: Some(format!("{} in {} so far", fact.spent, fact.month)),
        todo: vec![
            format!("latent audit --owner {owner}"),
            format!("or raise the amount in [owner.{owner}.budget] of latent.toml"),
        ],
        over: hard
            .then(|| format!("owner {owner}: it goes on again, the hard budget of {amount:#} holds nothing back")),
        not_by: None,
    }
}

fn ended(ended: &Ended) -> Happening {
    let place = format!("{}/{}", ended.cell.owner, ended.cell.region);
    let id = &ended.instance;
    let worker = ended.worker.as_ref().map_or_else(|| "no worker".to_owned(), |name| format!("worker {name}"));
    let why = match &ended.cause {
        Cause::Unconfigured => format!("It was made for {worker}, which no configuration has any more."),
        _ => format!("It was made for {worker}, and no record of the controller explains it."),
    };
    Happening {
        key: key(AlarmClass::ZombieFound, &format!("{place}/{id}/ended")),
        class: AlarmClass::ZombieFound,
        owner: ended.cell.owner.clone(),
        at: ended.at,
        title: format!("{id} in {place} cost money and nobody used it; it is ended"),
        text: vec![why, "Its end was ordered after a second look.".to_owned()],
        todo: vec![format!("nothing; latent audit --owner {} tells what it has cost", ended.cell.owner)],
    }
}

fn delivery(fact: &DeliveryFact) -> Condition {
    let (place, who) = (clean(&fact.place, 120), clean(&fact.who, 80));
    Condition {
        key: key(AlarmClass::DeliveryFailed, &fact.channel.to_string()),
        class: AlarmClass::DeliveryFailed,
        owner: None,
        since: fact.since,
        urgent: false,
        patience: TimeDelta::zero(),
        title: format!("messages for {who} do not reach {place}"),
        text: vec![
            format!("{}.", told(&fact.why)),
            format!("{} wait, {} were given up in the last day.", fact.waiting, fact.lost),
        ],
        cost: None,
        todo: vec!["latent notify show".to_owned(), "latent notify test --admin".to_owned()],
        over: Some(format!("messages reach {place} again")),
        not_by: Some(fact.channel.clone()),
    }
}
