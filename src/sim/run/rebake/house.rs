//! The account in which a rebake is played, what outlives the processes that work on it, and their lives.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Notify, watch};

use super::account::{Standing, holdings};
use super::guest::{Guest, Manner};
use super::journal::SimJournals;
use super::scene::{self, CONTROLLER, FLEET, Scene};
use super::stage::{Backstage, Conduct, Manifest, SimStage};
use crate::control::{Clock, Engine, EngineError, Standing as Told, Wish, first_entry};
use crate::model::{
    AmiId, InstanceId, InstanceState, Outcome, Rebake, RebakeBody, RebakeChannel, RebakeEntry, RebakeKind, RebakeOrder,
    RetireStage, Role, TagSet, tag_keys,
};
use crate::sim::run::life::{Mortal, lock};
use crate::sim::{Fault, Life, SimCloud, Site, SiteId, Weather, World};

/// How often guests and canaries are given their time.
const TURN: TimeDelta = TimeDelta::seconds(5);
/// In a wait of so long they are given it less often.
const LONG: TimeDelta = TimeDelta::hours(1);
/// After so long a rebake counts as one that never ends.
const NEVER: Duration = Duration::from_hours(24 * 90);
/// The most processes that one rebake may need.
const PROCESSES_MAX: u32 = 500;

/// What is played.
#[derive(Debug, Clone)]
pub struct Case {
    /// Where everything random comes from.
    pub seed: u64,
    /// What may go wrong once the rebake begins, for calls, processes and writes too.
    pub weather: Weather,
    /// How the builder's guest behaves.
    pub manner: Manner,
    /// How long after it was written the console can be read.
    pub console_late: TimeDelta,
    /// How the controller's side behaves.
    pub conduct: Conduct,
    /// Whether there is a controller.
    pub staged: bool,
    /// How the script comes into the builder.
    pub channel: RebakeChannel,
    /// What it begins with.
    pub kind: RebakeKind,
    /// Whether there is a generation that is due to be retired when it is done, which takes weeks.
    pub older: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            seed: 0,
            weather: Weather::calm(),
            manner: Manner::Sound,
            console_late: TimeDelta::zero(),
            conduct: Conduct::Sound,
            staged: true,
            channel: RebakeChannel::UserData,
            kind: RebakeKind::Update,
            older: false,
        }
    }
}

/// What came of a process.
#[derive(Debug)]
pub enum Work {
    /// The rebake ended.
    Over(Outcome),
    /// It was told to leave.
    Left,
    /// It was killed.
    Killed,
    /// Its journal could not be written.
    Torn,
    /// An entry did not follow, or it never ends.
    Wrong(String),
}

/// An account with a rebake.
#[derive(Debug)]
pub struct House {
    /// What is played.
    pub case: Case,
    /// All time comes from it.
    pub clock: Clock,
    /// What is to be done.
    pub order: RebakeOrder,
    /// The journal.
    pub journals: SimJournals,
    /// What the account held before.
    pub before: BTreeSet<String>,
    /// The generation that is to be retired, if there is one: its AMI and its snapshots.
    pub older: Vec<String>,
    /// How many steps processes have taken.
    pub steps: Arc<AtomicU64>,
    world: Arc<Mutex<World>>,
    place: SiteId,
    back: Arc<Mutex<Backstage>>,
    guests: Mutex<Vec<Guest>>,
    standing: Mutex<Standing>,
    random: Mutex<fastrand::Rng>,
    wish: watch::Sender<Wish>,
}

impl House {
    /// An account in which nothing has happened yet; `change` may change what is ordered.
    pub fn new(case: Case, change: impl FnOnce(&mut Site, &mut RebakeOrder)) -> Self {
        let Scene { mut world, place, mut order, older, now } = scene::set(&case);
        world.touch(&place, now, |site| change(site, &mut order));
        let before = world.touch(&place, now, |site| holdings(site));
        world.set_weather_at(&place, case.weather.clone());
        let current = order.current.clone().unwrap_or_else(|| order.source.clone());
        let back = Backstage::new(case.conduct, current, (FLEET, CONTROLLER));
        let journals = SimJournals::new(case.weather.rate(Fault::LedgerTorn), case.seed);
        let house = Self {
            clock: Clock::starting_at(now),
            journals,
            before,
            older,
            steps: Arc::default(),
            world: Arc::new(Mutex::new(world)),
            place,
            back: Arc::new(Mutex::new(back)),
            guests: Mutex::default(),
            standing: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(case.seed ^ 0x5eed)),
            wish: watch::Sender::new(Wish::default()),
            order,
            case,
        };
        house.turn();
        house
    }

    /// Does something to the account, as it is now.
    pub fn touch<T>(&self, act: impl FnOnce(&mut Site) -> T) -> T {
        lock(&self.world).touch(&self.place, self.clock.now(), act)
    }

    /// Does something to the world and its weather.
    pub fn world<T>(&self, act: impl FnOnce(&mut World, &SiteId) -> T) -> T {
        act(&mut lock(&self.world), &self.place)
    }

    /// What the manifest says.
    pub fn manifest(&self) -> Manifest {
        lock(&self.back).manifest.clone()
    }

    /// A person writes an AMI into the manifest.
    pub fn write_manifest(&self, ami: &AmiId) {
        lock(&self.back).manifest = Manifest { ami: ami.clone(), previous: None };
    }

    /// A person wants it to be taken back from now on.
    pub fn abort(&self) {
        self.wish.send_modify(|wish| wish.abort = true);
    }

    /// What the journal holds.
    pub fn entries(&self) -> Vec<RebakeEntry> {
        self.journals.read(&self.order.id).unwrap_or_default()
    }

    /// A door to the account for a process.
    pub fn cloud(&self, life: Arc<dyn Life>) -> SimCloud {
        SimCloud::new(Arc::clone(&self.world), self.place.clone(), Some(FLEET), self.clock.clone()).of(life)
    }

    /// One process works on it until it ends, or dies at this step. `follow` is told where it stands.
    pub async fn work(&self, crash_at: Option<u64>, follow: impl AsyncFnOnce(watch::Receiver<Told>)) -> Work {
        let died = Arc::new(Notify::new());
        let rate = self.case.weather.rate(Fault::Crash);
        let random = lock(&self.random).fork();
        let life = Arc::new(Mortal::new(Arc::clone(&self.steps), crash_at, rate, random, Arc::clone(&died)));
        if self.entries().is_empty() {
            // Whoever dies or fails before the first entry has done nothing.
            if !life.step(crate::sim::Step::Write) {
                return Work::Killed;
            }
            if let Err(error) = self.journals.begin(&self.order.id, &first_entry(self.order.clone())) {
                return Work::Wrong(error.to_string());
            }
        }
        let life: Arc<dyn Life> = life;
        let (journal, entries) = match self.journals.open(&self.order.id, Arc::clone(&life)) {
            Ok(opened) => opened,
            Err(error) => return Work::Wrong(error.to_string()),
        };
        let cloud = Arc::new(self.cloud(life));
        let stage = SimStage { cloud: (*cloud).clone(), back: Arc::clone(&self.back) };
        let stage = self.case.staged.then(|| Arc::new(stage));
        let engine = Engine::new(cloud, stage, self.clock.clone(), journal, &entries, self.wish.subscribe());
        let engine = match engine {
            Ok(engine) => engine,
            Err(error) => return Work::Wrong(error.to_string()),
        };
        let following = follow(engine.standing());
        tokio::select! {
            biased;
            ended = Box::pin(engine.run()) => told(ended),
            () = died.notified() => Work::Killed,
            () = self.live(following) => Work::Wrong("it never ends".to_owned()),
        }
    }

    /// Processes work on it, each where the last one died, until it has ended.
    ///
    /// # Errors
    /// What must not have happened.
    pub async fn to_the_end(&self, mut crash_at: Option<u64>) -> Result<Outcome, String> {
        for _ in 0..PROCESSES_MAX {
            match self.work(crash_at, async |_| ()).await {
                Work::Over(outcome) => return self.settled(outcome).await,
                Work::Killed | Work::Torn | Work::Left => {}
                Work::Wrong(what) => return Err(what),
            }
            if crash_at.take().is_some_and(|_| self.case.weather.rate(Fault::Crash) <= 0.0) {
                // Some come back at once, some after minutes.
                let down = [1, 40, 400][usize::try_from(self.steps.load(Ordering::Relaxed) % 3).unwrap_or_default()];
                self.pass(TimeDelta::seconds(down)).await;
            } else {
                let down = lock(&self.random).i64(1..120);
                self.pass(TimeDelta::seconds(down)).await;
            }
        }
        Err(format!("{PROCESSES_MAX} processes did not end it"))
    }

    /// The last instances end, and everything is as it must be.
    async fn settled(&self, outcome: Outcome) -> Result<Outcome, String> {
        self.pass(TimeDelta::hours(3)).await;
        self.check(&outcome).map(|()| outcome)
    }

    /// Time passes, and nobody works on the rebake.
    pub async fn pass(&self, span: TimeDelta) {
        let end = self.clock.now() + span;
        let turn = if span < LONG { TURN } else { TURN * 24 };
        while self.clock.now() < end {
            self.turn();
            self.clock.sleep_until((self.clock.now() + turn).min(end)).await;
        }
        self.turn();
    }

    /// Guests and canaries live on until nobody would wait any longer.
    async fn live(&self, following: impl Future<Output = ()>) {
        let turns = async {
            loop {
                self.turn();
                // Weeks may follow a promotion, in which nothing is urgent.
                let turn = if lock(&self.back).promoted_at.is_some() { TURN * 24 } else { TURN };
                self.clock.sleep_until(self.clock.now() + turn).await;
            }
        };
        let both = async { tokio::join!(turns, following) };
        let _: Option<_> = self.clock.within(NEVER, both).await;
    }

    /// Everything that is not a process gets its time.
    fn turn(&self) {
        let now = self.clock.now();
        lock(&self.world).touch(&self.place, now, |site| {
            let mut guests = lock(&self.guests);
            for id in new_builders(site, &guests) {
                let spoken = (self.case.channel, self.case.console_late);
                guests.push(Guest::booted(id, self.case.manner, &self.order.nonce, spoken, now));
            }
            for guest in guests.iter_mut() {
                guest.tend(site, now);
            }
            let mut back = lock(&self.back);
            back.tend(site, now);
            let wrong = lock(&self.standing).look(site, &back, &self.order.id);
            back.wrong.extend(wrong);
        });
    }

    /// Whether everything is as it must be after this end.
    ///
    /// # Errors
    /// What is not.
    pub fn check(&self, outcome: &Outcome) -> Result<(), String> {
        let back = lock(&self.back);
        if let Some(wrong) = back.wrong.first() {
            return Err(wrong.clone());
        }
        let made = match outcome {
            Outcome::Done { ami } | Outcome::HandedOver { ami } => Some(ami.as_str()),
            Outcome::Failed { .. } | Outcome::Aborted {} | Outcome::RolledBack { .. } => None,
        };
        let promoted = matches!(outcome, Outcome::Done { .. });
        if promoted != (made == Some(back.manifest.ami.as_str())) || (!promoted && back.manifest != back.before) {
            return Err(format!("{outcome}, and the manifest says {:?}", back.manifest));
        }
        drop(back);
        let after = self.touch(|site| holdings(site));
        let lineage = self.order.lineage();
        let is_new = |line: &&String| {
            let mut words = line.split(' ');
            match (words.next(), words.next()) {
                (Some("image"), id) => id == made,
                (Some("snapshot"), _) => made.is_some() && has(&lineage, line),
                _ => false,
            }
        };
        let new: Vec<&String> = after.difference(&self.before).collect();
        let retired = self.record().is_ok_and(|rebake| {
            rebake.retiring.values().any(|known| known.stage == RetireStage::Deregister && known.done)
        });
        let of_older = |line: &&String| self.older.iter().any(|id| line.split(' ').nth(1) == Some(id.as_str()));
        let half = after.iter().find(|line| retired && of_older(line));
        if let Some(line) = half {
            return Err(format!("retired, and yet there: {line}"));
        }
        let gone: Vec<&String> = self.before.difference(&after).filter(|line| !(retired && of_older(line))).collect();
        let surplus: Vec<&&String> = new.iter().filter(|line| !is_new(line)).collect();
        if !surplus.is_empty() || !gone.is_empty() {
            return Err(format!("{outcome}; there is now {surplus:#?} and no longer {gone:#?}"));
        }
        if made.is_some() && (new.len() < 2 || !new.iter().all(|line| has(&lineage, line))) {
            return Err(format!("the new AMI and its snapshots do not carry {lineage:?}: {new:#?}"));
        }
        Ok(())
    }

    /// Where the journal stands.
    ///
    /// # Errors
    /// If its entries do not follow.
    pub fn record(&self) -> Result<Rebake, String> {
        Rebake::fold(&self.entries()).map_err(|error| error.to_string())
    }

    /// The journal, a line for each entry.
    pub fn story(&self) -> String {
        let line = |entry: &RebakeEntry| format!("{} {}\n", entry.at.format("%d %H:%M:%S"), entry.body.describe());
        self.entries().iter().filter(|entry| !matches!(entry.body, RebakeBody::Ordered { .. })).map(line).collect()
    }
}

fn told(ended: Result<Option<Outcome>, EngineError>) -> Work {
    match ended {
        Ok(Some(outcome)) => Work::Over(outcome),
        Ok(None) => Work::Left,
        Err(EngineError::Journal(_)) => Work::Torn,
        Err(EngineError::Fold(error)) => Work::Wrong(error.to_string()),
    }
}

/// Whether a line of an account shows all these tags.
fn has(tags: &TagSet, line: &str) -> bool {
    tags.iter().all(|(key, value)| line.contains(&format!("{key:?}: {value:?}")))
}

/// Builders that run and have no guest yet.
fn new_builders(site: &Site, guests: &[Guest]) -> Vec<InstanceId> {
    let role = Role::Rebake.to_string();
    let is_builder = |instance: &&crate::sim::Instance| {
        *instance.state() == InstanceState::Running
            && instance.tag(tag_keys::ROLE) == Some(role.as_str())
            && !guests.iter().any(|guest| guest.is(&instance.id))
    };
    site.instances().filter(is_builder).map(|instance| instance.id.clone()).collect()
}

/// The time at which every rebake is ordered.
pub(super) fn noon() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_600) + TimeDelta::hours(12)
}
