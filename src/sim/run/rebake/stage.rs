//! A controller's part of a rebake, without the controller: a canary that is a real instance of the simulated EC2,
//! a manifest, and the comparison with the generation before.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};

use crate::control::{Kept, Stage};
use crate::model::{
    AmiId, CanaryPhase, CanarySight, Failure, ImageName, InstanceId, InstanceState, Phase, RebakeId, RebakeOrder, Role,
    StopMode, WorkerName, tag_keys,
};
use crate::plan::rebake::{SoakSight, Told};
use crate::sim::run::life::lock;
use crate::sim::{ApiError, RunInstances, SimCloud, Site, TagTarget, Tags};

/// From the start of a canary until its worker connects.
const CONNECT: TimeDelta = TimeDelta::minutes(1);
/// After so long without a connection a canary has failed.
const CONNECT_LIMIT: TimeDelta = TimeDelta::minutes(10);
/// How long the worker is needed for something else.
const NEEDED: TimeDelta = TimeDelta::seconds(30);
/// Starts of a promoted AMI: one in so long.
const START_EVERY: TimeDelta = TimeDelta::minutes(5);

/// How the controller's side behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conduct {
    /// As it should.
    #[default]
    Sound,
    /// The worker is always needed for something else.
    NeverIdle,
    /// The canary's worker never connects.
    NeverConnects,
    /// It connects once, and not again after a stop and a start.
    ConnectsOnce,
    /// A person writes another AMI into the manifest while the canary runs.
    Edited,
    /// The new generation's starts are worse.
    Worse,
    /// Nobody starts anything of the new generation.
    Unused,
}

/// What the manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The AMI.
    pub ami: AmiId,
    /// The one before.
    pub previous: Option<AmiId>,
}

#[derive(Debug, Clone)]
struct Canary {
    rebake: RebakeId,
    ami: AmiId,
    sight: CanarySight,
    /// Since when it is in its phase.
    since: DateTime<Utc>,
}

/// What outlives the process that works on a rebake.
#[derive(Debug)]
pub(super) struct Backstage {
    pub(super) conduct: Conduct,
    pub(super) manifest: Manifest,
    pub(super) before: Manifest,
    pub(super) promoted_at: Option<DateTime<Utc>>,
    /// What was done that must not be.
    pub(super) wrong: Vec<String>,
    canary: Option<Canary>,
    passed: BTreeSet<AmiId>,
    ending: Vec<InstanceId>,
    fleet: String,
    controller: String,
}

impl Backstage {
    pub(super) fn new(conduct: Conduct, ami: AmiId, (fleet, controller): (&str, &str)) -> Self {
        let manifest = Manifest { ami, previous: None };
        Self {
            conduct,
            before: manifest.clone(),
            manifest,
            promoted_at: None,
            wrong: Vec::new(),
            canary: None,
            passed: BTreeSet::new(),
            ending: Vec::new(),
            fleet: fleet.to_owned(),
            controller: controller.to_owned(),
        }
    }

    /// Time passes for the canary, and for the instances of those before.
    pub(super) fn tend(&mut self, site: &mut Site, now: DateTime<Utc>) {
        self.ending.retain(|id| {
            let alive = site.instance(id).is_some_and(|instance| !instance.is_over());
            // A replica that has not heard of it: the next turn.
            if alive {
                drop(site.terminate_instances(std::slice::from_ref(id), now));
            }
            alive
        });
        let Some(mut canary) = self.canary.take() else { return };
        let phase = canary.sight.phase;
        self.turn(&mut canary, site, now);
        if canary.sight.phase != phase {
            canary.since = now;
        }
        if self.conduct == Conduct::Edited && canary.sight.phase == CanaryPhase::Stopped {
            self.edit();
        }
        self.canary = Some(canary);
    }
}

impl Backstage {
    /// A person writes another AMI into the manifest.
    fn edit(&mut self) {
        if let Ok(ami) = "ami-0badc0de0badc0de0".parse() {
            self.manifest = Manifest { ami, previous: None };
            self.before = self.manifest.clone();
        }
    }

    fn turn(&mut self, canary: &mut Canary, site: &mut Site, now: DateTime<Utc>) {
        let waited = now - canary.since;
        let state = canary.sight.instance.as_ref().and_then(|id| site.instance(id)).map(|i| i.state().clone());
        let runs = state == Some(InstanceState::Running);
        let over = state.as_ref().is_some_and(InstanceState::is_ending);
        let sight = &mut canary.sight;
        match sight.phase {
            CanaryPhase::Reconnected | CanaryPhase::Passed | CanaryPhase::Failed => {}
            CanaryPhase::Waiting if self.conduct == Conduct::NeverIdle || waited < NEEDED => {
                sight.why = Some("its worker is needed".to_owned());
            }
            CanaryPhase::Waiting => {
                if let Some(instance) = self.launch(site, &canary.rebake, &canary.ami, now) {
                    (sight.instance, sight.phase, sight.why) = (Some(instance), CanaryPhase::Starting, None);
                }
            }
            _ if over => self.fails(sight, "its instance ended"),
            CanaryPhase::Starting | CanaryPhase::Restarting => {
                let again = sight.phase == CanaryPhase::Restarting;
                let never = self.conduct == Conduct::NeverConnects || (again && self.conduct == Conduct::ConnectsOnce);
                if waited >= CONNECT_LIMIT {
                    self.fails(sight, if again { "it did not connect again" } else { "it did not connect" });
                } else if runs && waited >= CONNECT && !never && again {
                    self.passed.insert(canary.ami.clone());
                    sight.phase = CanaryPhase::Passed;
                    self.ending.extend(sight.instance.take());
                } else if runs && waited >= CONNECT && !never {
                    sight.phase = CanaryPhase::Connected;
                }
            }
            CanaryPhase::Connected | CanaryPhase::Building => {
                if let Some(id) = &sight.instance
                    && site.stop_instances(std::slice::from_ref(id), StopMode::Plain, false, now).is_ok()
                {
                    sight.phase = CanaryPhase::Stopping;
                }
            }
            CanaryPhase::Stopping => {
                if state == Some(InstanceState::Stopped) {
                    sight.phase = CanaryPhase::Stopped;
                }
            }
            CanaryPhase::Stopped => {
                if let Some(id) = &sight.instance
                    && site.start_instances(std::slice::from_ref(id), now).is_ok()
                {
                    sight.phase = CanaryPhase::Restarting;
                }
            }
        }
    }

    fn fails(&mut self, sight: &mut CanarySight, why: &str) {
        (sight.phase, sight.why) = (CanaryPhase::Failed, Some(why.to_owned()));
        self.ending.extend(sight.instance.take());
    }

    /// An instance of the candidate, which carries the rebake's id as its AMI does.
    fn launch(&self, site: &mut Site, rebake: &RebakeId, ami: &AmiId, now: DateTime<Utc>) -> Option<InstanceId> {
        let role = Role::Canary.to_string();
        let pairs = [
            (tag_keys::FLEET, self.fleet.as_str()),
            (tag_keys::CONTROLLER, self.controller.as_str()),
            (tag_keys::ROLE, role.as_str()),
            (tag_keys::REBAKE, rebake.as_str()),
        ];
        let tags: Tags = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let targets = [TagTarget::Instance, TagTarget::Volume, TagTarget::NetworkInterface];
        let request = RunInstances {
            image: ami.to_string(),
            instance_type: "c5.xlarge".to_owned(),
            min: 1,
            max: 1,
            tags: targets.into_iter().map(|target| (target, tags.clone())).collect(),
            terminate_on_shutdown: false,
            ..RunInstances::default()
        };
        site.run_instances(&request, None, now).ok()?.into_iter().next()
    }

    fn ask(&mut self, order: &RebakeOrder, ami: &AmiId, now: DateTime<Utc>) -> Result<CanarySight, ApiError> {
        match &self.canary {
            Some(canary) if canary.rebake != order.id => {
                Err(ApiError::client("CanaryOfAnother", format!("the canary of {} stands", canary.rebake)))
            }
            Some(canary) => Ok(canary.sight.clone()),
            None => {
                let sight = CanarySight { phase: CanaryPhase::Waiting, why: None, instance: None, built: None };
                let (rebake, ami) = (order.id.clone(), ami.clone());
                self.canary = Some(Canary { rebake, ami, sight: sight.clone(), since: now });
                Ok(sight)
            }
        }
    }

    fn end(&mut self, order: &RebakeOrder) {
        if let Some(canary) = self.canary.take_if(|canary| canary.rebake == order.id) {
            self.ending.extend(canary.sight.instance);
        }
    }

    fn promote(&mut self, from: &AmiId, to: &AmiId, now: DateTime<Utc>) -> Result<(), ApiError> {
        if !self.passed.contains(to) {
            self.wrong.push(format!("{to} is promoted, and its canary has not passed"));
        }
        if self.manifest.ami == *from {
            self.manifest = Manifest { ami: to.clone(), previous: Some(from.clone()) };
            self.promoted_at = Some(now);
        }
        if self.manifest.ami == *to {
            return Ok(());
        }
        Err(ApiError::client("ManifestEdited", format!("the manifest names {}", self.manifest.ami)))
    }

    fn roll_back(&mut self, from: &AmiId, to: &AmiId) {
        if self.manifest.ami == *from {
            self.manifest = Manifest { ami: to.clone(), previous: None };
        }
    }

    fn soak(&self, order: &RebakeOrder, now: DateTime<Utc>) -> SoakSight {
        let spent = self.promoted_at.map_or(TimeDelta::zero(), |at| now - at);
        let have = spent.num_seconds() / START_EVERY.num_seconds();
        let have = if self.conduct == Conduct::Unused { 0 } else { u32::try_from(have).unwrap_or_default() };
        match self.conduct {
            Conduct::Worse if have > 1 => SoakSight::Worse { why: format!("{have} of {have} starts failed") },
            _ if have >= order.limits.soak_starts => SoakSight::Passed { why: format!("{have} of {have} connected") },
            _ => SoakSight::Waiting { have },
        }
    }
}

/// The door of a process to the controller's side: calls take their time, may be refused, and may be a process's
/// last, as those to EC2.
#[derive(Debug, Clone)]
pub struct SimStage {
    pub(super) cloud: SimCloud,
    pub(super) back: Arc<Mutex<Backstage>>,
}

impl SimStage {
    async fn call<T: Send>(
        &self,
        action: &'static str,
        effect: impl FnOnce(&mut Backstage, DateTime<Utc>) -> Result<T, ApiError> + Send,
    ) -> Told<T> {
        let done = self.cloud.call(action, 0, "", |_, now| effect(&mut lock(&self.back), now)).await;
        done.map_err(|error| Failure::new(Phase::Rebake, error.kind, &error.code, &error.message))
    }
}

impl Stage for SimStage {
    async fn ask_canary(&self, order: &RebakeOrder, _: &WorkerName, ami: &AmiId, _: bool) -> Told<CanarySight> {
        self.call("RequestCanary", |back, now| back.ask(order, ami, now)).await
    }

    async fn canary(&self, order: &RebakeOrder) -> Told<Option<CanarySight>> {
        let of = |canary: &Canary| (canary.rebake == order.id).then(|| canary.sight.clone());
        self.call("DescribeCanary", |back, _| Ok(back.canary.as_ref().and_then(of))).await
    }

    async fn end_canary(&self, order: &RebakeOrder, _: &WorkerName) -> Told<()> {
        self.call("EndCanary", |back, _| {
            back.end(order);
            Ok(())
        })
        .await
    }

    async fn promote(&self, _: &RebakeOrder, from: &AmiId, to: &AmiId) -> Told<()> {
        self.call("WriteManifest", |back, now| back.promote(from, to, now)).await
    }

    async fn roll_back(&self, _: &RebakeOrder, from: &AmiId, to: &AmiId) -> Told<()> {
        self.call("RevertManifest", |back, _| {
            back.roll_back(from, to);
            Ok(())
        })
        .await
    }

    async fn soak(&self, order: &RebakeOrder, _: &AmiId) -> Told<SoakSight> {
        self.call("DescribeStarts", |back, now| Ok(back.soak(order, now))).await
    }

    fn kept(&self, _: &ImageName) -> Option<Kept> {
        let Manifest { ami, previous } = lock(&self.back).manifest.clone();
        let keep_for = TimeDelta::days(14);
        Some(Kept { current: Some(ami), previous, in_work: BTreeSet::new(), keep: 2, keep_for })
    }

    fn urgent(&self, _: &ImageName, _: DateTime<Utc>) -> bool {
        false
    }
}
