//! The task that tells people, on the real controller in virtual time, with a courier that does as a test says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use latent::audit::render::{Format, brief, render};
use latent::audit::{Beside, week};
use latent::control::NoticeBoard as _;
use latent::model::{Body, BudgetLevel, FailureKind, OwnerName, tag_keys};
use latent::notify::{Attachment, Courier, Feeds, Message, Notifier, Outbox, WeekReport};
use latent::plan::alarm::Outcome;
use latent::policy::NotifySettings;
use latent::policy::price::Prices;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, TestLedger, minutes, seconds};
use crate::setup::Setup;

/// What a courier was given: the message's id, where, its subject, and the file that went with it.
type Brought = (String, String, String, Option<String>);

/// Takes every message, unless it is told otherwise.
#[derive(Clone, Default)]
struct Fake {
    brought: Arc<Mutex<Vec<Brought>>>,
    /// The texts, and what was in the files.
    read: Arc<Mutex<Vec<(String, String)>>>,
    answers: Arc<Mutex<VecDeque<Outcome>>>,
    /// Whether messages are taken, and the answer never comes.
    silent: Arc<Mutex<bool>>,
}

impl Courier for Fake {
    async fn bring(&self, _: &NotifySettings, message: &Message) -> Outcome {
        let file = message.attachment.as_ref().map(|file| file.name.clone());
        let brought = (message.id.clone(), message.post.channel.to_string(), message.subject.clone(), file);
        self.brought.lock().unwrap_or_else(PoisonError::into_inner).push(brought);
        let content = message.attachment.as_ref().map(|file| String::from_utf8_lossy(&file.content).into_owned());
        let read = (message.text.clone(), content.unwrap_or_default());
        self.read.lock().unwrap_or_else(PoisonError::into_inner).push(read);
        if *self.silent.lock().unwrap_or_else(PoisonError::into_inner) {
            std::future::pending::<()>().await;
        }
        let answer = self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        answer.unwrap_or_else(|| Outcome::Taken("ok".to_owned()))
    }
}

impl Fake {
    fn all(&self) -> Vec<Brought> {
        self.brought.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn texts(&self) -> Vec<(String, String)> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn subjects(&self) -> Vec<String> {
        self.all().into_iter().map(|(_, _, subject, _)| subject).collect()
    }

    fn answer(&self, outcome: Outcome) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push_back(outcome);
    }

    fn be_silent(&self, silent: bool) {
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = silent;
    }
}

/// Who tells people, its task, and how that is ended.
type Telling = (Arc<Notifier<TestLedger, Fake>>, JoinHandle<()>, watch::Sender<bool>);

/// A controller, and who tells people of it.
struct Scene {
    lab: Lab,
    fake: Fake,
    folder: tempfile::TempDir,
    notifier: Option<Telling>,
}

fn setup(more: &str) -> Setup {
    Setup::new().more(&format!(
        "[notify]\ndigest = \"1m\"\nweekly = \"never\"\n{more}[notify.smtp]\nhost = \"localhost\"\n\
         from = \"latent@example.org\"\n[owner.alice.notify]\nmail = [\"alice@example.org\"]\n"
    ))
}

impl Scene {
    fn new(setup: Setup) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut scene = Self { lab: Lab::new(setup), fake: Fake::default(), folder, notifier: None };
        scene.start(Feeds::default());
        scene
    }

    fn start(&mut self, feeds: Feeds) {
        let outbox = Outbox::open(&self.folder.path().join("notices.sqlite")).expect("opens");
        let (controller, clock) = (self.lab.controller(), self.lab.clock.clone());
        let notifier = Notifier::new(controller, clock, self.fake.clone(), outbox, feeds).expect("begins");
        let (notifier, (stop, stopped)) = (Arc::new(notifier), watch::channel(false));
        let works = Arc::clone(&notifier);
        let task = tokio::spawn(async move { works.run(stopped).await });
        self.notifier = Some((notifier, task, stop));
    }

    /// Nobody is told any more.
    async fn stop(&mut self) {
        if let Some((_, task, stop)) = self.notifier.take() {
            stop.send_replace(true);
            task.await.expect("ends in good order");
        }
    }

    /// The process is killed and another one starts.
    async fn crash(&mut self) {
        if let Some((_, task, _)) = self.notifier.take() {
            task.abort();
            let _ = task.await;
        }
        self.lab.crash_and_start().await;
        self.start(Feeds::default());
    }

    async fn run(&mut self, span: TimeDelta) {
        self.lab.run(span).await;
    }

    fn warnings(&self) -> Vec<String> {
        self.notifier.as_ref().map(|(notifier, _, _)| notifier.warnings()).unwrap_or_default()
    }
}

/// A request that is refused for a reason that only the owner can mend.
async fn refused(scene: &mut Scene) {
    scene.lab.inject(ApiCall::Launch, &Fault::Refuse(FailureKind::Owner, "InvalidSubnetID.NotFound"), 1);
    scene.lab.request("w1");
    scene.run(minutes(3)).await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_is_told_that_a_worker_cannot_start_and_that_it_starts_again() {
    let mut scene = Scene::new(setup(""));
    refused(&mut scene).await;
    assert_eq!(
        scene.fake.subjects(),
        ["[latent test] worker w1 cannot be started: InvalidSubnetID.NotFound; the owner has to act"]
    );
    scene.lab.release("w1");
    scene.run(minutes(31)).await;
    scene.lab.make_ready("w1").await;
    scene.run(minutes(10)).await;
    let told = scene.fake.subjects();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].contains("worker w1 starts again, after"), "{told:?}");
    assert_eq!(scene.warnings(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_outbox_and_the_answer_sends_the_same_message_again_and_no_other() {
    let mut scene = Scene::new(setup(""));
    scene.fake.be_silent(true);
    refused(&mut scene).await;
    assert_eq!(scene.fake.all().len(), 1, "it was brought, and nobody knows how that ended");
    scene.fake.be_silent(false);
    scene.crash().await;
    scene.run(minutes(30)).await;
    let all = scene.fake.all();
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[0], all[1], "the same id: who has it need not take it twice");
    for _ in 0..3 {
        scene.crash().await;
        scene.run(minutes(5)).await;
    }
    assert_eq!(scene.fake.all().len(), 2, "what was told is not told again after a restart");
}

#[tokio::test(start_paused = true)]
async fn what_came_of_a_message_and_cannot_be_written_is_no_reason_to_send_it_again() {
    let admin = "[notify.admin]\nwebhook = [\"chat\"]\n[notify.webhook.chat]\nurl = \"https://chat.example.org/\"\n";
    let mut scene = Scene::new(setup(admin));
    let outbox = rusqlite::Connection::open(scene.folder.path().join("notices.sqlite")).expect("opens");
    outbox
        .execute_batch("CREATE TRIGGER full BEFORE UPDATE ON message BEGIN SELECT RAISE(ABORT, 'disk is full'); END;")
        .expect("can be made");
    refused(&mut scene).await;
    scene.run(minutes(10)).await;
    let places: Vec<String> = scene.fake.all().into_iter().map(|(_, place, _, _)| place).collect();
    assert_eq!(places, ["mail alice@example.org", "webhook chat"], "each once");
    assert!(scene.warnings()[0].contains("disk is full"), "{:?}", scene.warnings());
    outbox.execute_batch("DROP TRIGGER full;").expect("can be ended");
    scene.run(minutes(2)).await;
    let taken = "SELECT count(*) FROM message WHERE state = 'taken'";
    let taken: u32 = outbox.query_row(taken, [], |row| row.get(0)).expect("can be read");
    assert_eq!((taken, scene.fake.all().len()), (2, 2), "written later, and not sent again");
    assert_eq!(scene.warnings(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_taken_is_tried_again_in_growing_pauses_and_shown() {
    let mut scene = Scene::new(setup(""));
    for _ in 0..9 {
        scene.fake.answer(Outcome::Later("451 greylisted".to_owned(), None));
    }
    refused(&mut scene).await;
    scene.run(minutes(57)).await;
    let tried = scene.fake.all();
    assert!((5..=7).contains(&tried.len()), "after 1, 2, 4, 8, 16, 32 minutes: {}", tried.len());
    assert!(tried.iter().all(|one| one.0 == tried[0].0));
    scene.run(minutes(30)).await;
    let warnings = scene.warnings();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("do not reach mail alice@example.org since") && warnings[0].contains("451 greylisted"),
        "{warnings:?}"
    );
    let unreached = |scene: &Scene| {
        let text = scene.lab.controller().metrics(&[]).expect("can be written");
        text.lines().find_map(|line| line.strip_prefix("latent_notices_unreached ")).map(ToOwned::to_owned)
    };
    assert_eq!(unreached(&scene).as_deref(), Some("1.0"));
    scene.run(TimeDelta::hours(8)).await;
    assert_eq!(scene.fake.all().len(), 10, "taken at last, and then it rests");
    assert_eq!(scene.warnings(), [""; 0]);
    assert_eq!(unreached(&scene).as_deref(), Some("0.0"));
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_a_pause_gets_it() {
    let mut scene = Scene::new(setup(""));
    scene.fake.answer(Outcome::Later("429".to_owned(), Some(minutes(50))));
    refused(&mut scene).await;
    scene.run(minutes(45)).await;
    assert_eq!(scene.fake.all().len(), 1);
    scene.run(minutes(10)).await;
    assert_eq!(scene.fake.all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_good_is_not_tried_again_and_the_admin_is_told_another_way() {
    let admin = "[notify.admin]\nwebhook = [\"chat\"]\nclasses = [\"delivery-failed\"]\n\
                 [notify.webhook.chat]\nurl = \"https://chat.example.org/\"\n";
    let mut scene = Scene::new(setup(admin));
    scene.fake.answer(Outcome::Refused("550 no such user".to_owned()));
    refused(&mut scene).await;
    scene.run(minutes(60)).await;
    let all: Vec<(String, String)> =
        scene.fake.all().into_iter().map(|(_, place, subject, _)| (place, subject)).collect();
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[0].0, "mail alice@example.org");
    assert_eq!(
        all[1],
        (
            "webhook chat".to_owned(),
            "[latent test] messages for owner alice do not reach mail alice@example.org".to_owned()
        )
    );
    assert!(scene.warnings()[0].contains("550 no such user"));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_loses_its_connection_is_told_after_a_while() {
    let mut scene = Scene::new(setup("down_after = \"5m\"\n"));
    scene.lab.make_ready("w1").await;
    scene.run(minutes(5)).await;
    scene.lab.say("w1", |knows| knows.attached = false);
    scene.run(minutes(4)).await;
    assert_eq!(scene.fake.subjects(), [""; 0]);
    scene.run(minutes(4)).await;
    let told = scene.fake.subjects();
    assert_eq!(told.len(), 1, "{told:?}\n{}", scene.lab.story());
    assert!(told[0].contains("worker w1 is down for 5 min"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn an_ordinary_day_is_silent() {
    let mut scene = Scene::new(setup(""));
    for _ in 0..3 {
        scene.lab.make_ready("w1").await;
        scene.run(minutes(5)).await;
        scene.lab.release("w1");
        scene.run(minutes(40)).await;
    }
    assert_eq!(scene.fake.subjects(), [""; 0], "{}", scene.lab.story());
}

#[tokio::test(start_paused = true)]
async fn the_report_of_the_week_goes_with_its_summary() {
    let setup = setup("").more_in("weekly = \"never\"", "weekly = \"Mon 08:30-09:00\"");
    let mut scene = Scene::new(setup);
    scene.stop().await;
    let weekly = |owner: &OwnerName| {
        let (name, content) = (format!("{owner}.html"), b"<p>".to_vec());
        let file = Attachment { name, media_type: "text/html; charset=utf-8".to_owned(), content };
        Some(WeekReport { lines: vec!["It cost nothing.".to_owned()], file })
    };
    scene.start(Feeds { weekly: Some(Arc::new(weekly)), ..Feeds::default() });
    scene.run(minutes(45)).await;
    let all = scene.fake.all();
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0].3.as_deref(), Some("alice.html"));
    assert!(all[0].2.contains("the week of owner alice"), "{all:?}");
    assert!(scene.fake.texts()[0].0.contains("\n   It cost nothing.\n"));
}

#[tokio::test(start_paused = true)]
async fn the_report_is_of_the_whole_ledger_and_tells_nothing_of_another_owner() {
    let setup = setup("")
        .more_in("weekly = \"never\"", "weekly = \"Mon 20:00-20:30\"")
        .owner("bob", "222222222222")
        .image("bobsimage", "bob", "eu-west-1", "")
        .worker("bobs-worker", "bobsimage");
    let mut scene = Scene::new(setup);
    scene.stop().await;
    let controller = scene.lab.controller();
    let weekly = move |owner: &OwnerName| {
        let report = week(&controller, owner, Beside { rebakes: Ok(Vec::new()), prices: Ok(Prices::built_in()) })?;
        let (name, media_type) = ("week.html".to_owned(), "text/html; charset=utf-8".to_owned());
        let content = render(&report, Format::Html).into_bytes();
        Some(WeekReport { lines: brief(&report), file: Attachment { name, media_type, content } })
    };
    scene.start(Feeds { weekly: Some(Arc::new(weekly)), ..Feeds::default() });
    scene.lab.make_ready("bobs-worker").await;
    scene.lab.make_ready("w1").await;
    let builds = 400;
    for build in 0..builds {
        scene.lab.build("w1", Some(&format!("b{build}")));
        scene.run(seconds(30)).await;
        scene.lab.build("w1", None);
        scene.run(seconds(30)).await;
    }
    assert!(scene.lab.entries().len() > 800, "{}", scene.lab.entries().len());
    scene.run(TimeDelta::hours(6)).await;
    let told: Vec<(String, String)> =
        scene.fake.texts().into_iter().filter(|(text, _)| text.contains("the week of owner alice")).collect();
    assert_eq!(told.len(), 1);
    let (text, html) = &told[0];
    assert!(text.contains("The machines of alice cost $") && text.contains(&format!("{builds} builds")), "{text}");
    assert!(text.contains("Zombies: Unknown (EC2's instances were not seen)."), "{text}");
    assert!(html.contains("asks no account") && html.contains("w1"));
    for secret in ["bob", "bobsimage", "eu-west-1", "222222222222"] {
        assert!(!text.contains(secret) && !html.contains(secret), "{secret}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_and_the_admin_are_told_of_a_budget_that_is_crossed_and_that_it_goes_on_again() {
    let admin = "[notify.admin]\nwebhook = [\"chat\"]\nclasses = [\"budget\"]\n\
                 [notify.webhook.chat]\nurl = \"https://chat.example.org/\"\n";
    let setup = |amounts: &str| setup(admin).policy("idle_timeout = \"never\"").budget("alice", amounts);
    let mut scene = Scene::new(setup("soft = \"0.05\", hard = \"0.10\""));
    scene.lab.make_ready("w1").await;
    scene.run(minutes(40)).await;
    let line = |to: &str, what: &str| (to.to_owned(), format!("[latent test] owner alice: {what}"));
    let both = |what: &str| [line("mail alice@example.org", what), line("webhook chat", what)];
    let told = |scene: &Scene| -> Vec<(String, String)> {
        let all = scene.fake.all().into_iter().map(|(_, place, subject, _)| (place, subject));
        let mut all: Vec<_> = all.collect();
        all.sort();
        all
    };
    let soft = both("the soft budget of $0.05 for 2026-03 is crossed");
    assert_eq!(told(&scene), soft);
    scene.crash().await;
    scene.run(minutes(40)).await;
    scene.lab.request("w1");
    scene.run(minutes(60)).await;
    let mut expected = [soft.to_vec(), both("the hard budget of $0.10 for 2026-03 is crossed").to_vec()].concat();
    expected.sort();
    assert_eq!(told(&scene), expected, "each once, and not again for the worker that is refused");
    scene.lab.reconfigure(setup("soft = \"0.05\", hard = \"10\""));
    scene.run(minutes(10)).await;
    expected.extend(both("it goes on again, the hard budget of $0.10 holds nothing back, after 1 h"));
    let now = told(&scene);
    assert_eq!(now.len(), expected.len(), "{now:#?}");
    assert_eq!(now.iter().filter(|(_, subject)| subject.contains("it goes on again")).count(), 2, "{now:#?}");
    let hard = |body: &Body| matches!(body, Body::BudgetCrossed { level: BudgetLevel::Hard, .. });
    assert_eq!(scene.lab.count(hard), 1);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_no_configuration_explains_is_told_when_it_is_ended() {
    let mut scene = Scene::new(setup(""));
    let orphan = scene.lab.plant("w1", "stranger-1", |tags| {
        tags.set(tag_keys::WORKER, "nobody");
    });
    scene.run(minutes(40)).await;
    let told = scene.fake.subjects();
    assert_eq!(told.len(), 1, "{told:?}");
    let title = format!("{orphan} in alice/us-west-2 cost money and nobody used it; it is ended");
    assert_eq!(told[0], format!("[latent test] {title}"));
    assert!(scene.fake.texts()[0].0.contains("It was made for worker nobody, which no configuration has any more."));
}

#[tokio::test(start_paused = true)]
async fn another_ledger_in_its_place_is_followed_from_its_beginning() {
    let mut scene = Scene::new(setup(""));
    scene.lab.make_ready("w1").await;
    scene.run(minutes(2)).await;
    scene.lab.release("w1");
    scene.run(minutes(20)).await;
    scene.lab.lose_ledger();
    scene.crash().await;
    scene.run(seconds(90)).await;
    scene.lab.inject(ApiCall::Launch, &Fault::Refuse(FailureKind::Owner, "InvalidSubnetID.NotFound"), 1);
    scene.lab.request("w1");
    scene.run(minutes(3)).await;
    assert_eq!(scene.fake.subjects().len(), 1);
}
