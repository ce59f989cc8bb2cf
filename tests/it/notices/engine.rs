//! Stories of the decisions: what is seen, minute by minute, and which messages come of it.

use chrono::{DateTime, TimeDelta, Utc};
use latent::model::{
    Actor, AlarmClass, BUDGET_EXCEEDED, Body, BudgetLevel, Entry, Failure, FailureKind, Phase, Response,
};
use latent::plan::alarm::{
    BudgetFact, CellFact, Facts, ImageFact, Kept, LeftoverFact, Post, RebakeFact, RebakeTurn, Refusal, WorkerFact, step,
};
use latent::policy::Intent;
use latent::policy::price::{Money, Range};
use proptest::prelude::*;

use crate::harness::{minutes, morning, worker};
use crate::setup::Setup;

pub(super) const MAIL: &str = "[notify.smtp]\nhost = \"localhost\"\nfrom = \"latent@example.org\"\n\
                    [owner.alice.notify]\nmail = [\"alice@example.org\"]\n[owner.bob.notify]\nmail = [\"bob@example.org\"]\n";

/// A fleet of which people are told what has happened.
pub(super) struct Story {
    pub(super) intent: Intent,
    pub(super) facts: Facts,
    kept: Kept,
    pub(super) posts: Vec<Post>,
    entries: u64,
}

impl Story {
    pub(super) fn new(notify: &str) -> Self {
        let setup =
            Setup::new().owner("bob", "222222222222").more(&format!("[notify]\nweekly = \"never\"\n{notify}{MAIL}"));
        Self::of(&setup)
    }

    pub(super) fn of(setup: &Setup) -> Self {
        let cell = |owner: &str| CellFact {
            owner: owner.parse().expect("a name"),
            region: "us-west-2".parse().expect("a region"),
            listed_at: Some(morning()),
            refusal: None,
            swept_whole: true,
            leftovers: Vec::new(),
        };
        let facts = Facts {
            now: morning(),
            workers: vec![WorkerFact {
                worker: worker("w1"),
                owner: "alice".parse().expect("a name"),
                state: "requested".to_owned(),
                instance: None,
                held: Some("waiting for capacity\u{202e}".to_owned()),
                start_limit: minutes(25),
                down_after: None,
                hourly: None,
                created: None,
            }],
            cells: vec![cell("alice"), cell("bob")],
            rebakes: Some(Vec::new()),
            images: Vec::new(),
            budgets: Vec::new(),
            deliveries: Vec::new(),
            blocked: Vec::new(),
        };
        Self { intent: setup.intent(), facts, kept: Kept::default(), posts: Vec::new(), entries: 0 }
    }

    fn note(&mut self, body: Body) {
        self.entries += 1;
        let entry = Entry { seq: self.entries, at: self.facts.now, actor: Actor::Controller, body };
        self.kept.pulse.follow(&[entry]);
    }

    fn request(&mut self) {
        self.note(Body::Requested { worker: worker("w1"), request: "r1".parse().expect("an id") });
    }

    fn attach(&mut self) {
        self.note(Body::Attached { worker: worker("w1") });
    }

    fn fail(&mut self, kind: FailureKind) {
        let failure = Failure::new(Phase::Launch, kind, "UnauthorizedOperation", "You are not authorized.");
        self.note(Body::RequestFailed { worker: worker("w1"), failure });
    }

    /// Time passes in steps; what was remembered goes through JSON each time, as at a restart.
    pub(super) fn run(&mut self, span: TimeDelta) -> &mut Self {
        let end = self.facts.now + span;
        while self.facts.now < end {
            self.facts.now += TimeDelta::seconds(30);
            for cell in self.facts.cells.iter_mut().filter(|cell| cell.refusal.is_none()) {
                cell.listed_at = Some(self.facts.now);
            }
            let text = serde_json::to_string(&self.kept).expect("JSON");
            let stepped = step(serde_json::from_str(&text).expect("JSON"), &self.facts, &self.intent);
            self.kept = stepped.kept;
            self.posts.extend(stepped.posts);
        }
        self
    }

    /// The messages since the last time: for whom, and the titles.
    pub(super) fn told(&mut self) -> Vec<String> {
        let line = |post: Post| {
            let titles: Vec<&str> = post.notices.iter().map(|notice| notice.title.as_str()).collect();
            let more = if post.more == 0 { String::new() } else { format!(" +{}", post.more) };
            format!("{} {}: {}{more}", post.who, post.channel, titles.join(" | "))
        };
        std::mem::take(&mut self.posts).into_iter().map(line).collect()
    }

    pub(super) fn zombie(&mut self, owner: usize, id: &str, runs: bool) {
        let since = Some(self.facts.now - minutes(60));
        self.facts.cells[owner].leftovers.push(LeftoverFact {
            id: id.to_owned(),
            kind: "orphan".to_owned(),
            runs,
            reason: "no record explains it".to_owned(),
            since,
            monthly: Some(Range::exactly(Money::micro_dollars(73_000_000))),
            response: Response::Report,
        });
    }
}

/// A budget of alice's of which an amount is reached, in dollars.
pub(super) fn budget(level: BudgetLevel, dollars: u64) -> BudgetFact {
    BudgetFact {
        owner: "alice".parse().expect("a name"),
        month: "2026-03".to_owned(),
        level,
        spent: Range::exactly(Money::micro_dollars(51_000_000)),
        limit: Money::micro_dollars(dollars * 1_000_000),
        until: at("2026-04-01T00:00:00Z"),
    }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

#[test]
fn a_worker_that_does_not_come_is_told_once_and_its_return_too() {
    let mut story = Story::new("");
    story.request();
    assert_eq!(story.run(minutes(24)).told(), [""; 0], "no longer than a start may take");
    let told = story.run(minutes(4)).told();
    assert_eq!(told, ["owner alice mail alice@example.org: worker w1 is down for 25 min"]);
    assert_eq!(story.run(minutes(300)).told(), [""; 0]);
    story.attach();
    let told = story.run(minutes(20)).told();
    assert_eq!(told, ["owner alice mail alice@example.org: worker w1 is up again, after 5 h 28 min"]);
    assert_eq!(story.run(minutes(300)).told(), [""; 0]);
}

#[test]
fn a_set_time_holds_in_the_place_of_what_was_learned() {
    let mut story = Story::new("");
    story.facts.workers[0].down_after = Some(minutes(60));
    story.request();
    assert_eq!(story.run(minutes(59)).told(), [""; 0]);
    assert_eq!(story.run(minutes(5)).told().len(), 1);
}

#[test]
fn who_is_wanted_no_more_is_no_news() {
    let mut story = Story::new("");
    story.request();
    story.run(minutes(30)).told();
    story.note(Body::Released { worker: worker("w1"), cause: latent::model::Cause::Released });
    assert_eq!(story.run(minutes(600)).told(), [""; 0], "neither up nor down");
}

#[test]
fn a_long_trouble_is_told_again_in_growing_pauses() {
    let mut story = Story::new("");
    story.request();
    story.run(minutes(30)).told();
    let told = story.run(TimeDelta::days(10)).told();
    assert_eq!(told.len(), 3, "after a day, two more, four more: {told:?}");
    assert!(told[0].ends_with("still: worker w1 is down for 1 day 0 h"), "{told:?}");
}

#[test]
fn what_needs_the_owner_is_told_at_once_with_what_to_do() {
    let mut story = Story::new("");
    story.request();
    story.fail(FailureKind::Credentials);
    story.run(minutes(3));
    let post = &story.posts[0];
    assert_eq!(post.notices[0].class, AlarmClass::LaunchFailing);
    let body = latent::plan::alarm::body(post, "test", "ctl");
    assert!(body.contains("UnauthorizedOperation: You are not authorized."), "{body}");
    assert!(
        body.contains("What to do: the owner checks the role") && body.contains("latent doctor --worker w1"),
        "{body}"
    );
    story.told();
    story.fail(FailureKind::Credentials);
    assert_eq!(story.run(minutes(20)).told(), [""; 0], "told once");
    story.request();
    story.attach();
    assert!(story.run(minutes(20)).told()[0].contains("worker w1 starts again"));
}

#[test]
fn a_zombie_is_told_at_night_and_to_its_owner_alone() {
    let mut story = Story::new("quiet_hours = \"00:00-24:00\"\n");
    story.zombie(1, "i-0abc", true);
    let told = story.run(minutes(2)).told();
    let title = "i-0abc in bob/us-west-2 costs money and nobody uses it (orphan)";
    assert_eq!(told, [format!("owner bob mail bob@example.org: {title}")]);
    let all = serde_json::to_string(&story.kept.mailboxes).expect("JSON");
    assert!(!all.contains("alice"), "{all}");
}

#[test]
fn a_message_says_what_it_has_cost() {
    let mut story = Story::new("");
    story.zombie(0, "i-0abc", true);
    story.run(minutes(1));
    assert_eq!(story.posts[0].notices[0].cost.as_deref(), Some("about $0.10 so far, $73.00 a month if it stays"));
}

#[test]
fn what_cannot_be_seen_is_not_gone() {
    let mut story = Story::new("");
    story.zombie(0, "i-0abc", true);
    story.run(minutes(1)).told();
    story.facts.cells[0].leftovers.clear();
    story.facts.cells[0].swept_whole = false;
    assert_eq!(story.run(minutes(60)).told(), [""; 0], "the sweep did not see everything");
    let cells = std::mem::take(&mut story.facts.cells);
    assert_eq!(story.run(minutes(60)).told(), [""; 0], "after a restart nothing is swept yet");
    story.facts.cells = cells;
    story.facts.cells[0].swept_whole = true;
    let told = story.run(minutes(30)).told();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("i-0abc in alice/us-west-2 is gone, after 3 h"), "{told:?}");
}

#[test]
fn several_things_within_the_interval_become_one_message() {
    let mut story = Story::new("digest = \"30m\"\n");
    for id in ["vol-1", "vol-2"] {
        story.zombie(0, id, false);
    }
    let told = story.run(minutes(3)).told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("vol-1") && told[0].contains("vol-2"));
    for id in ["vol-3", "vol-4", "vol-5"] {
        story.zombie(0, id, false);
        assert_eq!(story.run(minutes(5)).told(), [""; 0]);
    }
    let told = story.run(minutes(20)).told();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].matches("vol-").count(), 3, "{told:?}");
}

#[test]
fn quiet_hours_hold_back_what_is_not_urgent() {
    let mut story = Story::new("quiet_hours = \"08:00-12:00\"\n");
    story.request();
    assert_eq!(story.run(minutes(239)).told(), [""; 0]);
    assert_eq!(story.facts.now, at("2026-03-02T11:59:00Z"));
    assert_eq!(story.run(minutes(3)).told().len(), 1);
}

#[test]
fn what_is_over_before_it_was_told_is_one_line() {
    let mut story = Story::new("quiet_hours = \"08:00-12:00\"\n");
    story.request();
    story.run(minutes(60));
    story.attach();
    let told = story.run(minutes(200)).told();
    assert_eq!(told, ["owner alice mail alice@example.org: worker w1 is up again, after 1 h"]);
}

#[test]
fn what_comes_and_goes_is_told_so_and_then_no_more() {
    let mut story = Story::new("digest = \"1m\"\ndaily_max = 1000\n");
    let mut told = Vec::new();
    for _ in 0..20 {
        story.zombie(0, "vol-1", false);
        told.extend(story.run(minutes(10)).told());
        story.facts.cells[0].leftovers.clear();
        told.extend(story.run(minutes(10)).told());
    }
    assert_eq!(told.len(), 7, "three times there and gone, and that it comes and goes: {told:?}");
    story.run(TimeDelta::days(2));
    story.zombie(0, "vol-1", false);
    assert_eq!(story.run(minutes(10)).told().len(), 1, "after a calm time it is news again");
}

#[test]
fn no_place_gets_more_than_its_messages_of_a_day() {
    let mut story = Story::new("digest = \"1m\"\ndaily_max = 3\n");
    let mut told = Vec::new();
    for number in 0..60 {
        story.zombie(0, &format!("vol-{number}"), false);
        told.extend(story.run(minutes(10)).told());
    }
    assert_eq!(told.len(), 3, "{told:?}");
    story.zombie(0, "i-0abc", true);
    let told = story.run(minutes(5)).told();
    assert_eq!(told.len(), 1, "what is urgent has a share of its own");
    assert!(told[0].contains("i-0abc") && told[0].ends_with("+38"), "{told:?}");
}

#[test]
fn the_admin_is_told_of_everything_and_nobody_is_told_twice_in_one_place() {
    let admin = "[notify.admin]\nmail = [\"bob@example.org\", \"admin@example.org\"]\n";
    let setup = Setup::new().owner("bob", "222222222222").more(&format!("[notify]\nweekly = \"never\"\n{admin}{MAIL}"));
    let mut story = Story::of(&setup);
    story.zombie(0, "i-0abc", true);
    story.zombie(1, "i-0def", true);
    let told = story.run(minutes(2)).told();
    let of = |who: &str, id: &str| told.iter().filter(|line| line.starts_with(who) && line.contains(id)).count();
    assert_eq!((of("owner alice", "i-0abc"), of("owner alice", "i-0def")), (1, 0));
    assert_eq!((of("owner bob", "i-0abc"), of("owner bob", "i-0def")), (0, 1));
    assert_eq!((of("the admin mail admin@", "i-0abc"), of("the admin mail admin@", "i-0def")), (1, 1));
    assert_eq!((of("the admin mail bob@", "i-0abc"), of("the admin mail bob@", "i-0def")), (1, 0), "{told:?}");
}

#[test]
fn only_the_chosen_classes_are_told() {
    let mut story = Story::of(&Setup::new().owner("bob", "222222222222").more(&format!(
        "[notify]\nweekly = \"never\"\n{}",
        MAIL.replace("[\"alice@example.org\"]", "[\"alice@example.org\"]\nclasses = [\"budget\"]")
    )));
    story.zombie(0, "i-0abc", true);
    assert_eq!(story.run(minutes(5)).told(), [""; 0]);
}

#[test]
fn a_hard_budget_is_urgent_and_a_soft_one_is_not() {
    let mut story = Story::new("quiet_hours = \"00:00-24:00\"\n");
    story.facts.budgets.push(budget(BudgetLevel::Soft, 40));
    assert_eq!(story.run(minutes(60)).told(), [""; 0]);
    story.facts.budgets.push(budget(BudgetLevel::Hard, 50));
    let told = story.run(minutes(2)).told();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("the hard budget of $50.00 for 2026-03 is crossed"), "{told:?}");
    assert_eq!(story.run(TimeDelta::days(9)).told(), [""; 0], "told once");
}

#[test]
fn that_it_goes_on_again_is_told_of_the_hard_amount_alone() {
    let mut story = Story::new("digest = \"1m\"\n");
    story.facts.budgets = vec![budget(BudgetLevel::Soft, 40), budget(BudgetLevel::Hard, 50)];
    assert_eq!(story.run(minutes(5)).told().len(), 1);
    // The amount is raised, and reached as well.
    story.facts.budgets[1] = budget(BudgetLevel::Hard, 51);
    let told = story.run(minutes(10)).told();
    assert_eq!(
        told,
        ["owner alice mail alice@example.org: owner alice: the hard budget of $51.00 for 2026-03 is crossed"]
    );
    story.facts.budgets.clear();
    let told = story.run(minutes(10)).told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("owner alice: it goes on again, the hard budget of $51.00"), "{told:?}");
    assert_eq!(story.run(minutes(60)).told(), [""; 0]);
}

#[test]
fn a_hard_budget_is_told_once_and_not_again_for_each_worker() {
    let mut story = Story::new("digest = \"1m\"\n");
    let (owner, month) = ("alice".parse().expect("a name"), "2026-03".to_owned());
    story.note(Body::BudgetCrossed { owner, month, level: BudgetLevel::Hard, limit: 50_000_000, spent: 50_000_001 });
    story.facts.budgets = vec![budget(BudgetLevel::Hard, 50)];
    story.request();
    let failure = Failure::new(Phase::Launch, FailureKind::Owner, BUDGET_EXCEEDED, "the hard budget is $50.00");
    story.note(Body::RequestFailed { worker: worker("w1"), failure });
    story.request();
    let told = story.run(minutes(120)).told();
    assert_eq!(
        told,
        ["owner alice mail alice@example.org: owner alice: the hard budget of $50.00 for 2026-03 is crossed"]
    );
    assert_eq!(story.kept.alarms.values().next().map(|alarm| alarm.notice.since), Some(morning()));
}

#[test]
fn one_cause_is_told_once_for_a_worker() {
    let mut story = Story::new("digest = \"1m\"\n");
    story.request();
    story.fail(FailureKind::Credentials);
    story.request();
    let told = story.run(minutes(120)).told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("worker w1 cannot be started: UnauthorizedOperation"), "{told:?}");
    story.attach();
    let told = story.run(minutes(10)).told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with("worker w1 starts again, after 2 h"), "{told:?}");
    story.note(Body::Detached { worker: worker("w1") });
    assert!(story.run(minutes(60)).told()[0].contains("worker w1 is down"));
    story.fail(FailureKind::Credentials);
    story.request();
    assert!(story.run(minutes(10)).told()[0].contains("cannot be started"), "why it is down is news");
    story.attach();
    let told = story.run(minutes(10)).told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("mail alice@example.org: worker w1 is up again") && !told[0].contains('|'), "{told:?}");
}

#[test]
fn an_account_that_refuses_is_told_and_a_passing_fault_is_not() {
    let refusal = |fatal| {
        Some(Refusal { code: "AuthFailure".to_owned(), message: "no".to_owned(), cure: "look".to_owned(), fatal })
    };
    let mut story = Story::new("");
    story.facts.cells[0].refusal = refusal(false);
    assert_eq!(story.run(minutes(50)).told(), [""; 0]);
    story.facts.cells[0].refusal = refusal(true);
    let told = story.run(minutes(10)).told();
    assert_eq!(told, ["owner alice mail alice@example.org: alice/us-west-2 cannot be looked at: AuthFailure"]);
    story.facts.cells[0].refusal = None;
    assert!(story.run(minutes(20)).told()[0].contains("can be looked at again"));
    story.facts.cells[0].refusal = refusal(false);
    assert_eq!(story.run(minutes(90)).told().len(), 1, "an hour without a look is too long, whatever the reason");
}

#[test]
fn rebakes_are_told_once_and_what_was_before_is_not() {
    let mut story = Story::new("digest = \"1m\"\n");
    let rebake = |id: &str, at, turn| RebakeFact {
        id: id.parse().expect("an id"),
        image: "debian".parse().expect("a name"),
        owner: "alice".parse().expect("a name"),
        source: "ami-1".parse().expect("an id"),
        ami: Some("ami-2".parse().expect("an id")),
        generation: 2,
        at,
        turn,
    };
    let old = rebake("rb-20260101-000000-0001", at("2026-01-01T00:00:00Z"), RebakeTurn::Failed("old".to_owned()));
    story.facts.rebakes = Some(vec![old]);
    assert_eq!(story.run(minutes(5)).told(), [""; 0]);
    let now = story.facts.now;
    let rebakes = story.facts.rebakes.get_or_insert_default();
    rebakes.push(rebake("rb-20260302-080000-0002", now, RebakeTurn::Promoted));
    let told = story.run(minutes(5)).told();
    assert_eq!(told, ["owner alice mail alice@example.org: image debian: ami-2 is in use, generation 2"]);
    if let Some(last) = story.facts.rebakes.iter_mut().flatten().last() {
        last.turn = RebakeTurn::RolledBack("it was worse".to_owned());
    }
    let told = story.run(minutes(60)).told();
    assert_eq!(told, ["owner alice mail alice@example.org: image debian: ami-2 was worse, ami-1 is in use again"]);
}

#[test]
fn an_old_ami_and_a_deprecated_one_are_told() {
    let mut story = Story::new("");
    let image = ImageFact {
        image: "debian".parse().expect("a name"),
        owner: "alice".parse().expect("a name"),
        ami: "ami-1".parse().expect("an id"),
        created: Some(morning() - TimeDelta::days(100)),
        deprecated: Some(morning() - TimeDelta::days(1)),
        ours: false,
        max_age: TimeDelta::days(90),
        next_window: Some(at("2026-03-07T02:00:00Z")),
    };
    story.facts.images.push(image);
    let told = story.run(minutes(10)).told();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("image debian: ami-1 is 100 days old and due to be made anew"), "{told:?}");
    assert!(told[0].contains("image debian: ami-1 is deprecated by its publisher"), "{told:?}");
    story.facts.images[0].created = Some(story.facts.now);
    story.facts.images[0].deprecated = None;
    assert_eq!(story.run(TimeDelta::days(3)).told(), [""; 0], "a new one is no news");
}

#[test]
fn the_week_is_told_once_to_each_owner() {
    let setup = Setup::new().owner("bob", "222222222222").more(&format!(
        "[notify]\nweekly = \"Mon 10:00-12:00\"\nquiet_hours = \"00:00-24:00\"\n[notify.admin]\nmail = [\"admin@example.org\"]\n{MAIL}"
    ));
    let mut story = Story::of(&setup);
    story.facts.images.push(ImageFact {
        image: "of-bob".parse().expect("a name"),
        owner: "bob".parse().expect("a name"),
        ami: "ami-1".parse().expect("an id"),
        created: Some(morning()),
        deprecated: None,
        ours: true,
        max_age: TimeDelta::days(90),
        next_window: None,
    });
    assert_eq!(story.run(minutes(119)).told(), [""; 0]);
    story.run(minutes(120));
    let alice = story.posts[0].clone();
    assert!(!format!("{alice:?}").contains("bob"), "{alice:?}");
    assert_eq!(
        story.told(),
        [
            "owner alice mail alice@example.org: the week of owner alice: all is well",
            "owner bob mail bob@example.org: the week of owner bob: all is well",
        ]
    );
    assert_eq!(story.run(TimeDelta::days(6)).told(), [""; 0]);
    assert_eq!(story.run(TimeDelta::days(1)).told().len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_happens_messages_are_few_and_nobody_hears_of_another_owner(
        happenings in proptest::collection::vec((0_usize..2, 0_u8..6, any::<bool>(), 1_i64..40), 1..40),
    ) {
        let mut story = Story::new("daily_max = 5\n");
        for (owner, id, runs, pause) in happenings {
            let before = story.facts.cells[owner].leftovers.len();
            let id = format!("x-{owner}-{id}");
            story.facts.cells[owner].leftovers.retain(|found| found.id != id);
            if story.facts.cells[owner].leftovers.len() == before {
                story.zombie(owner, &id, runs);
            }
            story.run(minutes(pause));
        }
        for (number, name) in [(0, "alice"), (1, "bob")] {
            let own: Vec<&Post> = story.posts.iter().filter(|post| post.who.to_string() == format!("owner {name}")).collect();
            prop_assert!(own.len() <= 2 * 5 * 2, "a day and the next");
            let foreign = format!("x-{}-", 1 - number);
            let all = format!("{own:?}");
            prop_assert!(!all.contains(&foreign), "{}", all);
        }
        let mut ids: Vec<_> = story.posts.iter().map(|post| (post.who.clone(), post.channel.clone(), post.id.clone())).collect();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), story.posts.len(), "no id twice");
    }
}
