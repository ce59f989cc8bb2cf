//! SSM's agents in the model: what becomes of a command when its instance, its agent or its time goes.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use latent::cloud::Commands as _;
use latent::control::Clock;
use latent::model::{AgentPlatform, CommandId, CommandStatus, FailureKind, InstanceId, Script, StopMode};
use latent::sim::{
    Answered, ApiError, Fault, Mishap, NewCommand, RunInstances, SimCloud, Site, SiteId, Taken, Weather, World,
};

/// One instance with an agent, and the time.
struct Scene {
    world: World,
    place: SiteId,
    id: InstanceId,
    now: DateTime<Utc>,
}

fn launched(world: &mut World, place: &SiteId, now: DateTime<Utc>) -> InstanceId {
    let request = RunInstances {
        image: "ami-0123456789abc0001".to_owned(),
        instance_type: "m5.large".to_owned(),
        min: 1,
        max: 1,
        ..RunInstances::default()
    };
    let ids = world.touch(place, now, |site| site.run_instances(&request, None, now)).expect("launches");
    ids.into_iter().next().expect("an instance")
}

impl Scene {
    fn new() -> Self {
        let (mut world, place) = (World::steady(), SiteId::new("123456789012", "us-west-2"));
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let id = launched(&mut world, &place, now);
        let mut scene = Self { world, place, id, now };
        scene.pass(120);
        assert!(scene.pings());
        scene
    }

    fn touch<T>(&mut self, act: impl FnOnce(&mut Site, &InstanceId, DateTime<Utc>) -> T) -> T {
        let (id, now) = (self.id.clone(), self.now);
        self.world.touch(&self.place, now, |site| act(site, &id, now))
    }

    fn pass(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
        self.world.advance(self.now);
    }

    fn pings(&mut self) -> bool {
        self.touch(|site, id, now| site.agent_pings(id, "3.3.0.0", &AgentPlatform::Linux, now))
    }

    fn try_send(&mut self) -> Result<CommandId, ApiError> {
        self.touch(|site, id, now| {
            let new = NewCommand {
                instance: id.clone(),
                windows: false,
                text: "true".to_owned(),
                comment: "c".to_owned(),
                delivery_s: 600,
                execution_s: 100,
            };
            site.send_command(&new, now)
        })
    }

    fn send(&mut self) -> CommandId {
        self.try_send().expect("sent")
    }

    fn takes(&mut self) -> Option<Taken> {
        self.touch(Site::agent_takes)
    }

    fn answers(&mut self, command: &CommandId, code: i32) -> Answered {
        self.touch(|site, id, now| site.agent_answers(id, command, (code, "out", ""), now))
    }

    fn status(&mut self, command: &CommandId) -> &'static str {
        self.touch(|site, id, now| site.invocation(id, command, now)).expect("known").details
    }

    fn connected(&mut self) -> Option<bool> {
        self.touch(|site, id, now| site.last_ping(id, now)).map(|(_, connected)| connected)
    }
}

#[test]
fn an_agent_that_is_lost_in_its_reboot_is_heard_again_only_after_a_stop_and_a_start() {
    let mut scene = Scene::new();
    scene.world.set_rate(Fault::AgentLost, 1.0);
    let command = scene.send();
    let run = scene.takes().expect("a run");
    assert_eq!(scene.answers(&run.command, 194), Answered::Reboots);
    assert!(!scene.pings() && scene.takes().is_none(), "SSM does not hear it");
    assert_eq!(scene.status(&command), "InProgress");
    assert_eq!(scene.connected(), Some(true), "SSM does not know yet");
    scene.pass(600);
    assert_eq!(scene.connected(), Some(false));
    scene.pass(100);
    assert_eq!(scene.status(&command), "DeliveryTimedOut");
    let ids = [scene.id.clone()];
    scene.touch(|site, _, now| site.stop_instances(&ids, StopMode::Plain, false, now)).expect("stops");
    scene.pass(300);
    scene.touch(|site, _, now| site.start_instances(&ids, now)).expect("starts");
    scene.pass(120);
    assert!(scene.pings());
    assert!(scene.takes().is_none(), "the command is over");
}

#[test]
fn a_command_that_a_stop_cut_off_is_run_again_by_the_next_life() {
    let mut scene = Scene::new();
    let command = scene.send();
    scene.takes().expect("a run");
    scene.touch(Site::power_off);
    scene.pass(60);
    assert_eq!(scene.status(&command), "InProgress", "whoever powers off in a script leaves it so");
    let ids = [scene.id.clone()];
    scene.touch(|site, _, now| site.start_instances(&ids, now)).expect("starts");
    scene.pass(60);
    assert!(scene.pings());
    let again = scene.takes().expect("the run again");
    assert_eq!((&again.command, again.run), (&command, 2));
    assert_eq!(scene.answers(&command, 0), Answered::Over);
    assert_eq!(scene.status(&command), "Success");
}

#[test]
fn a_run_that_takes_too_long_is_ended_and_its_answer_comes_too_late() {
    let mut scene = Scene::new();
    let command = scene.send();
    scene.takes().expect("a run");
    scene.pass(99);
    assert_eq!(scene.status(&command), "InProgress");
    scene.pass(1);
    assert_eq!(scene.status(&command), "ExecutionTimedOut");
    assert_eq!(scene.answers(&command, 0), Answered::Ignored);
    assert_eq!(scene.status(&command), "ExecutionTimedOut");
}

#[test]
fn a_command_to_an_agent_that_is_not_there_is_delayed_and_then_undeliverable() {
    let mut scene = Scene::new();
    scene.touch(Site::power_off);
    scene.pass(60);
    let command = scene.send();
    assert_eq!(scene.status(&command), "Pending", "a stopped instance takes commands");
    scene.pass(15);
    assert_eq!(scene.status(&command), "Delayed");
    let ids = [scene.id.clone()];
    scene.touch(|site, _, now| site.terminate_instances(&ids, now)).expect("ends");
    assert_eq!(scene.status(&command), "Undeliverable");
    assert_eq!(scene.try_send().expect_err("refused").code, "InvalidInstanceId");
    assert_eq!(scene.connected(), None);
}

#[test]
fn commands_are_taken_in_their_order_and_by_their_own_instance() {
    let mut scene = Scene::new();
    let (first, second) = (scene.send(), scene.send());
    assert_ne!(first, second);
    let mine = scene.id.clone();
    scene.id = launched(&mut scene.world, &scene.place, scene.now);
    scene.pass(60);
    assert!(scene.pings() && scene.takes().is_none());
    assert_eq!(scene.answers(&first, 0), Answered::Ignored, "another instance's");
    scene.id = mine;
    assert_eq!(scene.takes().expect("a run").command, first);
    assert_eq!(scene.takes().expect("a run").command, second);
    assert!(scene.takes().is_none());
    assert_eq!(scene.answers(&second, 0), Answered::Over);
    assert_eq!(scene.answers(&second, 1), Answered::Ignored, "it is over");
}

#[test]
fn the_same_seed_gives_the_same_ids() {
    assert_eq!(Scene::new().send(), Scene::new().send());
}

/// A door in a calm world, and an instance with an agent behind it.
async fn door() -> (SimCloud, Arc<Mutex<World>>, InstanceId) {
    let clock = Clock::starting_at(DateTime::UNIX_EPOCH + TimeDelta::days(20_000));
    let (mut world, place) = (World::new(1, Weather::calm()).lenient(), SiteId::new("123456789012", "us-west-2"));
    let id = launched(&mut world, &place, clock.now());
    let world = Arc::new(Mutex::new(world));
    clock.sleep_until(clock.now() + TimeDelta::minutes(5)).await;
    let now = clock.now();
    world.lock().expect("a world").touch(&place, now, |site| {
        assert!(site.agent_pings(&id, "3.3.0.0", &AgentPlatform::Linux, now));
    });
    (SimCloud::new(Arc::clone(&world), place, None, clock), world, id)
}

fn script() -> Script {
    Script { windows: false, text: "true".to_owned(), timeout_s: 100, comment: "rebake 7".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_answer_was_lost_is_found_by_its_comment() {
    let (cloud, world, id) = door().await;
    world.lock().expect("a world").inject(Some("SendCommand"), None, Mishap::LoseReply, 1);
    let error = cloud.send_script(&id, &script()).await.expect_err("no answer");
    assert!(error.kind.leaves_outcome_open(), "{error}");
    let sent = cloud.sent(&id, "rebake 7").await.expect("listed");
    assert_eq!(sent.len(), 1);
    let state = cloud.command(&id, &sent[0]).await.expect("known");
    assert_eq!(state.status, CommandStatus::Pending);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_a_moment_ago_may_not_be_shown_yet() {
    let (cloud, world, id) = door().await;
    world.lock().expect("a world").set_rate(Fault::Lag, 1.0);
    let (mut early, mut late) = (0, 0);
    for _ in 0..50 {
        let command = cloud.send_script(&id, &script()).await.expect("sent");
        match cloud.command(&id, &command).await {
            Ok(_) => late += 1,
            Err(error) => {
                assert_eq!((error.kind, error.code.as_str()), (FailureKind::NotFound, "InvocationDoesNotExist"));
                early += 1;
            }
        }
    }
    assert!(early > 0, "{early} of {}", early + late);
}

#[tokio::test(start_paused = true)]
async fn the_weather_strikes_calls_of_ssm_in_ssms_words() {
    let (cloud, world, id) = door().await;
    let expected = [
        (Fault::Throttle, FailureKind::Throttled, "ThrottlingException"),
        (Fault::InternalError, FailureKind::RetrySame, "InternalServerError"),
        (Fault::RoleDenied, FailureKind::Credentials, "AccessDeniedException"),
        (Fault::CredentialsExpired, FailureKind::Credentials, "ExpiredTokenException"),
    ];
    for (fault, kind, code) in expected {
        world.lock().expect("a world").set_rate(fault, 1.0);
        let error = cloud.send_script(&id, &script()).await.expect_err(code);
        assert_eq!((error.kind, error.code.as_str()), (kind, code));
        world.lock().expect("a world").set_rate(fault, 0.0);
    }
    assert!(cloud.sent(&id, "rebake 7").await.expect("listed").is_empty(), "nothing was sent");
}
