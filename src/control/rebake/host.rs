//! The rebakes of a controller: each is a task of its own, and gone on with after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ages::ImageAge;
use super::engine::{Engine, Standing, Wish, first_entry};
use super::onstage::{ControllerStage, Manifests};
use super::view::{RebakeAsk, RebakeEventView, RebakeView, StepView, steps};
use crate::cloud::{Bakery, CloudError, Commands};
use crate::control::Controller;
use crate::control::driver::Clock;
use crate::ledger::{JournalError, Journals, Ledger};
use crate::model::{
    AmiId, Cell, ImageName, Rebake, RebakeEntry, RebakeFoldError, RebakeId, RebakeKind, RebakeOrder, Rehearsal,
    SourceAmi, Step, WorkerName,
};
use crate::plan::rebake::{self, NoOrder, Wanted};
use crate::policy::{Image, Intent};

/// How long a loop whose journal could not be written rests.
const AFTER_ERROR: TimeDelta = TimeDelta::minutes(1);

/// Why a rebake was not done as asked.
#[derive(Debug, thiserror::Error)]
pub enum RebakeRefusal {
    /// What was asked for is not there.
    #[error("{0}")]
    Unknown(String),
    /// It cannot begin.
    #[error(transparent)]
    Order(#[from] NoOrder),
    /// Another one is at work on the image.
    #[error("rebake {id} is at work on image {image}; follow it, or end it with latent rebake --abort {id}")]
    Busy {
        /// Which.
        id: RebakeId,
        /// On what.
        image: ImageName,
    },
    /// The owner's hard budget is reached.
    #[error("{0}")]
    Budget(String),
    /// The AMI is young enough.
    #[error("{0}")]
    NotDue(String),
    /// EC2 could not be asked.
    #[error("EC2 was asked about {what}: {error}; {}", error.kind.cure())]
    Cloud {
        /// About what.
        what: String,
        /// What it said.
        error: CloudError,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal does not make sense.
    #[error("the journal of {id} cannot be read: {error}")]
    Fold {
        /// Which.
        id: RebakeId,
        /// Why.
        error: RebakeFoldError,
    },
    /// The manifest cannot be written.
    #[error("{0}")]
    Manifest(String),
}

/// What came of asking.
#[derive(Debug)]
pub struct Ordered {
    /// The rebake as it begins, or would.
    pub view: RebakeView,
    /// Its steps.
    pub steps: Vec<StepView>,
    /// What it is to do.
    pub order: RebakeOrder,
    /// What EC2 says to dry runs of its calls, if they were asked for.
    pub permissions: Vec<String>,
    /// What it costs at list price, in words.
    pub price: String,
}

/// A rebake as it is seen by those who follow it.
#[derive(Debug)]
pub struct RebakeSeen {
    /// When this is so.
    pub now: DateTime<Utc>,
    /// Where it stands.
    pub view: RebakeView,
    /// Its steps.
    pub steps: Vec<StepView>,
    /// Entries of its journal.
    pub events: Vec<RebakeEventView>,
    /// How many packages of the builder are not as they were.
    pub packages: u32,
}

type Asked<T> = Pin<Box<dyn Future<Output = Result<T, RebakeRefusal>> + Send>>;

/// What a controller's interface asks of its rebakes.
pub trait RebakeDesk: Send + Sync {
    /// Begins one, or tells what it would do.
    fn ask(&self, ask: RebakeAsk) -> Asked<Ordered>;

    /// All of them, the oldest first.
    fn list(&self) -> Vec<RebakeView>;

    /// One of them with its entries after a place.
    ///
    /// # Errors
    /// [`RebakeRefusal`] if it is not known, or cannot be read.
    fn one(&self, id: &RebakeId, after: u64) -> Result<RebakeSeen, RebakeRefusal>;

    /// Wants everything taken back that it did. May be repeated.
    ///
    /// # Errors
    /// [`RebakeRefusal`] if it is not at work here.
    fn abort(&self, id: &RebakeId) -> Result<RebakeView, RebakeRefusal>;

    /// Makes the manifest name its previous AMI again. Gives the AMI before and after.
    ///
    /// # Errors
    /// [`RebakeRefusal`] if there is none, or the manifest cannot be written.
    fn roll_back(&self, image: &ImageName) -> Result<(AmiId, AmiId), RebakeRefusal>;

    /// How old the AMIs are that manifests name, as far as they were looked at.
    fn ages(&self) -> Vec<ImageAge>;

    /// Moves whenever a rebake does.
    fn changed(&self) -> watch::Receiver<u64>;
}

struct Running {
    standing: watch::Receiver<Standing>,
    wish: watch::Sender<Wish>,
    task: JoinHandle<()>,
}

type Connect<C> = dyn Fn(&Cell, &Intent) -> C + Send + Sync;

pub(super) struct Inner<L, C, J> {
    pub(super) controller: Controller<L>,
    pub(super) journals: J,
    manifests: Arc<dyn Manifests>,
    pub(super) clock: Clock,
    pub(super) connect: Box<Connect<C>>,
    running: Mutex<BTreeMap<RebakeId, Running>>,
    random: Mutex<fastrand::Rng>,
    ages: Mutex<BTreeMap<ImageName, ImageAge>>,
    moved: watch::Sender<u64>,
    pub(super) stop: watch::Sender<bool>,
}

/// The rebakes of a controller. Clones are the same.
#[expect(missing_debug_implementations, reason = "clouds need not be shown")]
pub struct Rebakes<L, C, J>(pub(super) Arc<Inner<L, C, J>>);

impl<L, C, J> Clone for Rebakes<L, C, J> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<L, C, J> Rebakes<L, C, J>
where
    L: Ledger + 'static,
    C: Bakery + Commands + 'static,
    J: Journals + 'static,
{
    /// Goes on with every journal that has not ended, and then looks after itself until [`Rebakes::shutdown`].
    pub fn start<F>(
        controller: Controller<L>,
        journals: J,
        manifests: Arc<dyn Manifests>,
        clock: Clock,
        seed: u64,
        connect: F,
    ) -> (Self, JoinHandle<()>)
    where
        F: Fn(&Cell, &Intent) -> C + Send + Sync + 'static,
    {
        let (moved, stop) = (watch::Sender::new(0), watch::Sender::new(false));
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        let (connect, running): (Box<Connect<C>>, _) = (Box::new(connect), Mutex::default());
        let ages = Mutex::default();
        let inner = Inner { controller, journals, manifests, clock, connect, running, random, ages, moved, stop };
        let rebakes = Self(Arc::new(inner));
        rebakes.resume();
        let looking = rebakes.clone();
        let task = tokio::spawn(async move { looking.look_after().await });
        (rebakes, task)
    }

    pub(super) fn keep_age(&self, age: ImageAge) {
        lock(&self.0.ages).insert(age.image.clone(), age);
    }

    /// Ends the loops; the journals are gone on with at the next start.
    pub async fn shutdown(&self) {
        self.0.stop.send_replace(true);
        let running = std::mem::take(&mut *lock(&self.0.running));
        for one in running.values() {
            one.wish.send_modify(|wish| wish.leave = true);
        }
        for one in running.into_values() {
            if let Err(error) = one.task.await {
                tracing::error!(%error, "a rebake's loop ended badly");
            }
        }
    }

    /// Starts a loop for each journal that has not ended and has none.
    pub(super) fn resume(&self) {
        let ids = match self.0.journals.ids() {
            Ok(ids) => ids,
            Err(error) => return tracing::warn!(%error, "the journals of rebakes cannot be looked at"),
        };
        lock(&self.0.running).retain(|_, one| !one.task.is_finished());
        for id in ids {
            if lock(&self.0.running).contains_key(&id) {
                continue;
            }
            match self.record(&id) {
                Ok((rebake, _)) if rebake.outcome.is_some() => {}
                Ok(_) => match self.0.journals.open(&id) {
                    Ok((journal, entries)) => self.spawn(&id, journal, &entries),
                    Err(JournalError::Locked { .. }) => {}
                    Err(error) => tracing::warn!(%error, "a rebake cannot be gone on with"),
                },
                Err(error) => tracing::warn!(%error, "a rebake cannot be gone on with"),
            }
        }
    }

    pub(super) fn record(&self, id: &RebakeId) -> Result<(Rebake, Vec<RebakeEntry>), RebakeRefusal> {
        let entries = self.0.journals.read(id)?;
        let rebake = Rebake::fold(&entries).map_err(|error| RebakeRefusal::Fold { id: id.clone(), error })?;
        Ok((rebake, entries))
    }

    fn spawn(&self, id: &RebakeId, journal: J::Journal, entries: &[RebakeEntry]) {
        let wish = watch::Sender::new(Wish::default());
        let order = match Rebake::fold(entries) {
            Ok(rebake) => rebake.order,
            Err(error) => return tracing::error!(%id, %error, "a rebake's journal does not make sense"),
        };
        let intent = self.0.controller.intent();
        if !intent.owners.contains_key(&order.owner) {
            return tracing::error!(%id, owner = %order.owner, "a rebake waits for an owner who is not configured any more");
        }
        let cloud = Arc::new((self.0.connect)(&order.cell(), &intent));
        let stage = self.stage(id);
        let engine = Engine::new(cloud, Some(stage), self.0.clock.clone(), journal, entries, wish.subscribe());
        let engine = match engine {
            Ok(engine) => engine,
            Err(error) => return tracing::error!(%id, %error, "a rebake's journal does not make sense"),
        };
        let standing = engine.standing();
        let (clock, name, moved) = (self.0.clock.clone(), id.clone(), self.0.moved.clone());
        let mut followed = standing.clone();
        let task = tokio::spawn(async move {
            let follow = async {
                while followed.changed().await.is_ok() {
                    moved.send_modify(|moved| *moved += 1);
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                ended = engine.run() => match ended {
                    Ok(Some(outcome)) => tracing::info!(rebake = %name, "{outcome}"),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(rebake = %name, %error, "a rebake rests");
                        clock.sleep_until(clock.now() + AFTER_ERROR).await;
                    }
                },
                () = follow => {}
            }
            moved.send_modify(|moved| *moved += 1);
        });
        lock(&self.0.running).insert(id.clone(), Running { standing, wish, task });
        self.0.moved.send_modify(|moved| *moved += 1);
    }

    /// The stage of a rebake; what it is at work with itself does not keep its own image's AMIs.
    fn stage(&self, id: &RebakeId) -> Arc<ControllerStage<L>> {
        let (others, own) = (Arc::downgrade(&self.0), id.clone());
        let in_work = move || {
            let Some(inner) = others.upgrade() else { return BTreeSet::new() };
            let running = lock(&inner.running);
            let mut all = BTreeSet::new();
            for (_, one) in running.iter().filter(|(id, _)| **id != own) {
                let standing = one.standing.borrow();
                let rebake = &standing.rebake;
                if rebake.outcome.is_none() && rebake.step != Step::Retire {
                    all.extend(rebake.ami.iter().chain(&rebake.order.current).chain([&rebake.order.source]).cloned());
                }
            }
            all
        };
        let manifests = Arc::clone(&self.0.manifests);
        Arc::new(ControllerStage::new(self.0.controller.clone(), manifests, Box::new(in_work)))
    }

    /// The rebake that is at work on an image.
    pub(super) fn at_work(&self, image: &ImageName) -> Option<RebakeId> {
        let running = lock(&self.0.running);
        let works = |one: &Running| {
            let rebake = &one.standing.borrow().rebake;
            rebake.order.image == *image && rebake.is_at_work()
        };
        running.iter().find(|(_, one)| works(one)).map(|(id, _)| id.clone())
    }

    fn new_id(&self, now: DateTime<Utc>) -> (RebakeId, String) {
        let mut random = lock(&self.0.random);
        let nonce = format!("{:032x}", random.u128(..));
        (RebakeId::at(now, random.u16(..)), nonce)
    }

    pub(super) async fn source(&self, image: &Image, ami: &AmiId) -> Result<SourceAmi, RebakeRefusal> {
        let cell = Cell { owner: image.owner.clone(), region: image.region.clone() };
        let cloud = (self.0.connect)(&cell, &self.0.controller.intent());
        let found = cloud.source(ami).await.map_err(|error| RebakeRefusal::Cloud { what: ami.to_string(), error })?;
        found.ok_or_else(|| {
            RebakeRefusal::Unknown(format!(
                "owner {} cannot see {ami} in {}: is it the right one?",
                cell.owner, cell.region
            ))
        })
    }

    /// Makes the order, and begins unless it is only to be told.
    async fn begin(&self, ask: RebakeAsk) -> Result<Ordered, RebakeRefusal> {
        let intent = self.0.controller.intent();
        let name = image_asked(&intent, &ask)?;
        let Some(image) = intent.images.get(&name) else {
            return Err(RebakeRefusal::Unknown(format!("there is no image {name} in the configuration")));
        };
        let (kind, source) = match (&ask.from_base, image.ami.named()) {
            (Some(base), _) => (RebakeKind::FromBase, base.clone()),
            (None, Some(ami)) => (RebakeKind::Update, ami.clone()),
            (None, None) => {
                return Err(RebakeRefusal::Unknown(format!(
                    "image {name} is chosen by a filter: name its AMI in amis/"
                )));
            }
        };
        let source = self.source(image, &source).await?;
        let young = |at: &DateTime<Utc>| *at + intent.requirements.max_ami_age > self.0.clock.now();
        if let Some(at) = source.created.filter(|at| ask.due && young(at)) {
            let (id, due) = (&source.id, at + intent.requirements.max_ami_age);
            return Err(RebakeRefusal::NotDue(format!("{name}: {id} is not due before {}", due.format("%Y-%m-%d"))));
        }
        let mut ordered = self.order(&intent, &name, kind, source, ask.worker, ask.dry_run)?;
        if ask.dry_run {
            let cloud = (self.0.connect)(&ordered.order.cell(), &intent);
            ordered.permissions = rehearsed(&cloud, &ordered.order).await;
        }
        Ok(ordered)
    }

    pub(super) fn order(
        &self,
        intent: &Intent,
        name: &ImageName,
        kind: RebakeKind,
        source: SourceAmi,
        worker: Option<WorkerName>,
        dry_run: bool,
    ) -> Result<Ordered, RebakeRefusal> {
        let Some(image) = intent.images.get(name) else {
            return Err(RebakeRefusal::Unknown(format!("there is no image {name} in the configuration")));
        };
        self.0.manifests.writable(name).map_err(RebakeRefusal::Manifest)?;
        let now = self.0.clock.now();
        let (id, nonce) = self.new_id(now);
        let script = image.rebake.script.as_ref().map(|file| self.0.manifests.script(file)).transpose();
        let script = script.map_err(RebakeRefusal::Manifest)?;
        let image_name = name.clone();
        let wanted = Wanted { id, now, nonce, image: image_name, kind, source, instance: None, worker, script };
        let order = rebake::order(intent, image, wanted)?;
        let id = order.id.clone();
        let first = first_entry(order.clone());
        let rebake = Rebake::begin(&first).map_err(|error| RebakeRefusal::Fold { id: id.clone(), error })?;
        let price = rebake::price(&order, &intent.prices);
        let ordered = Ordered {
            view: RebakeView::of(&rebake, None),
            steps: steps(&rebake, &[]),
            order,
            permissions: Vec::new(),
            price,
        };
        if dry_run {
            return Ok(ordered);
        }
        if let Some(id) = self.at_work(name) {
            return Err(RebakeRefusal::Busy { id, image: name.clone() });
        }
        if let Some(failure) = self.0.controller.over_budget(&image.owner) {
            return Err(RebakeRefusal::Budget(format!("{}: {}", failure.code, failure.message)));
        }
        let journal = self.0.journals.create(&id, &first)?;
        self.spawn(&id, journal, &[first]);
        Ok(ordered)
    }

    fn view(&self, id: &RebakeId, rebake: &Rebake) -> RebakeView {
        let running = lock(&self.0.running);
        let standing = running.get(id).map(|one| one.standing.borrow().clone());
        RebakeView::of(rebake, standing.as_ref())
    }
}

/// What EC2 says to dry runs of the calls of a rebake, each in a line.
pub async fn rehearsed<C: Bakery>(cloud: &C, order: &RebakeOrder) -> Vec<String> {
    let Some(launch) = order.launches.first() else { return Vec::new() };
    let rehearsal = Rehearsal { launch: Box::new(launch.clone()), source: order.source.clone() };
    let told = |(action, result): (&str, Result<(), CloudError>)| match result {
        Ok(()) => format!("{action}: allowed"),
        Err(error) => format!("{action}: REFUSED: {error}; {}", error.kind.cure()),
    };
    cloud.rehearse(&rehearsal).await.into_iter().map(told).collect()
}

/// The manifest that is meant: by its name, or by the AMI that it names.
fn image_asked(intent: &Intent, ask: &RebakeAsk) -> Result<ImageName, RebakeRefusal> {
    match (&ask.image, &ask.ami) {
        (Some(name), _) => Ok(name.clone()),
        (None, Some(ami)) => {
            let mut names =
                intent.images.iter().filter(|(_, image)| image.ami.named() == Some(ami)).map(|(name, _)| name);
            match (names.next(), names.next()) {
                (Some(name), None) => Ok(name.clone()),
                (None, _) => Err(RebakeRefusal::Unknown(format!("no manifest in amis/ names {ami}"))),
                (Some(one), Some(other)) => Err(RebakeRefusal::Unknown(format!(
                    "{ami} is named by the images {one} and {other}: say which is meant with --image"
                ))),
            }
        }
        (None, None) => Err(RebakeRefusal::Unknown("say which AMI or image is to be rebaked".to_owned())),
    }
}

impl<L, C, J> RebakeDesk for Rebakes<L, C, J>
where
    L: Ledger + 'static,
    C: Bakery + Commands + 'static,
    J: Journals + 'static,
{
    fn ask(&self, ask: RebakeAsk) -> Asked<Ordered> {
        let rebakes = self.clone();
        Box::pin(async move { rebakes.begin(ask).await })
    }

    fn list(&self) -> Vec<RebakeView> {
        let ids = self.0.journals.ids().unwrap_or_default();
        ids.iter().filter_map(|id| Some(self.view(id, &self.record(id).ok()?.0))).collect()
    }

    fn one(&self, id: &RebakeId, after: u64) -> Result<RebakeSeen, RebakeRefusal> {
        let (rebake, entries) = self.record(id)?;
        let events = entries.iter().filter(|entry| entry.seq > after).map(RebakeEventView::from).collect();
        let packages = rebake.guest.done.as_ref().map_or(0, |done| done.packages);
        let (now, view) = (self.0.clock.now(), self.view(id, &rebake));
        Ok(RebakeSeen { now, view, steps: steps(&rebake, &entries), events, packages })
    }

    fn abort(&self, id: &RebakeId) -> Result<RebakeView, RebakeRefusal> {
        let (rebake, _) = self.record(id)?;
        if rebake.outcome.is_none() {
            let running = lock(&self.0.running);
            let Some(one) = running.get(id) else {
                return Err(JournalError::Locked { id: id.clone() }.into());
            };
            one.wish.send_modify(|wish| wish.abort = true);
        }
        Ok(self.view(id, &rebake))
    }

    fn roll_back(&self, image: &ImageName) -> Result<(AmiId, AmiId), RebakeRefusal> {
        let intent = self.0.controller.intent();
        let known = intent.images.get(image);
        let named = known.and_then(|known| Some((known.ami.named()?.clone(), known.previous.clone()?)));
        let Some((from, to)) = named else {
            let why = format!("image {image} has no previous AMI: nothing was promoted, or it was rolled back already");
            return Err(RebakeRefusal::Unknown(why));
        };
        self.0.manifests.roll_back(image, &from, &to).map_err(RebakeRefusal::Manifest)?;
        Ok((from, to))
    }

    fn ages(&self) -> Vec<ImageAge> {
        lock(&self.0.ages).values().cloned().collect()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.0.moved.subscribe()
    }
}
