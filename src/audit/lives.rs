//! The life of each instance: request, launch, running, connected, builds, end.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::model::{Body, Cause, InstanceId, WorkerName};

/// One instance of one worker, from its request to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Life {
    /// The worker.
    pub worker: WorkerName,
    /// The instance; absent while its launch is open, or if it was refused.
    pub instance: Option<InstanceId>,
    /// When a master asked; absent for an instance that was adopted.
    pub requested: Option<DateTime<Utc>>,
    /// When the launch was intended.
    pub intended: DateTime<Utc>,
    /// When EC2 gave the instance.
    pub launched: Option<DateTime<Utc>>,
    /// When it was first seen running.
    pub running: Option<DateTime<Utc>>,
    /// When its worker first connected.
    pub connected: Option<DateTime<Utc>>,
    /// When its first build started.
    pub first_build: Option<DateTime<Utc>>,
    /// How many builds it ran.
    pub builds: u32,
    /// Since when it has no build.
    pub idle: Option<DateTime<Utc>>,
    /// When its end was intended, and why.
    pub ending: Option<(DateTime<Utc>, Cause)>,
    /// When it was gone (or its launch refused).
    pub gone: Option<DateTime<Utc>>,
}

/// Folds entries, oldest first, into lives in the order of their launches.
pub fn lives<'a>(entries: impl IntoIterator<Item = (DateTime<Utc>, &'a Body)>) -> Vec<Life> {
    let mut all: Vec<Life> = Vec::new();
    let mut requests: BTreeMap<WorkerName, DateTime<Utc>> = BTreeMap::new();
    let mut present: BTreeMap<WorkerName, usize> = BTreeMap::new();
    for (at, body) in entries {
        match body {
            Body::Requested { worker, .. } => {
                requests.insert(worker.clone(), at);
            }
            Body::LaunchIntended { worker, .. } | Body::Adopted { worker, .. } => {
                let mut life = Life::new(worker, requests.get(worker).copied(), at);
                if let Body::Adopted { instance, .. } = body {
                    life.instance = Some(instance.clone());
                }
                present.insert(worker.clone(), all.len());
                all.push(life);
            }
            Body::TerminateIntended { instance, cause, .. } => {
                if let Some(life) = of_instance(&mut all, instance) {
                    life.ending.get_or_insert_with(|| (at, cause.clone()));
                }
            }
            Body::Departed { instance, .. } => {
                if let Some(life) = of_instance(&mut all, instance) {
                    life.gone.get_or_insert(at);
                }
            }
            _ => {
                let worker = body.worker().and_then(|worker| present.get(worker));
                if let Some(life) = worker.and_then(|place| all.get_mut(*place)) {
                    life.meet(at, body);
                }
            }
        }
    }
    all
}

fn of_instance<'a>(all: &'a mut [Life], id: &InstanceId) -> Option<&'a mut Life> {
    all.iter_mut().rev().find(|life| life.instance.as_ref() == Some(id))
}

impl Life {
    fn new(worker: &WorkerName, requested: Option<DateTime<Utc>>, at: DateTime<Utc>) -> Self {
        Self {
            worker: worker.clone(),
            instance: None,
            requested,
            intended: at,
            launched: None,
            running: None,
            connected: None,
            first_build: None,
            builds: 0,
            idle: None,
            ending: None,
            gone: None,
        }
    }

    fn meet(&mut self, at: DateTime<Utc>, body: &Body) {
        match body {
            Body::Launched { instance, .. } => {
                self.instance = Some(instance.clone());
                self.launched = Some(at);
            }
            Body::Running { .. } => {
                self.running.get_or_insert(at);
            }
            Body::Attached { .. } => {
                self.connected.get_or_insert(at);
                self.idle = Some(at);
            }
            Body::BuildStarted { .. } => {
                self.builds += 1;
                self.first_build.get_or_insert(at);
                self.idle = None;
            }
            Body::BuildFinished { .. } => self.idle = Some(at),
            Body::LaunchRefused { .. } => self.gone = Some(at),
            Body::Lost { cause, .. } => {
                self.ending.get_or_insert_with(|| (at, cause.clone()));
                self.gone.get_or_insert(at);
            }
            _ => {}
        }
    }
}
