//! Rebakes that ask for canaries, and what must be true of each.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::agenda::Happening;
use super::life::lock;
use super::play::Play;
use super::truth::Truth;
use crate::model::{Actor, Canary, InstanceId, WorkerName};
use crate::sim::{Fault, Instance};

/// A canary is over by then: two connections, a smoke build, a stop, a start, a hold, each within its limit.
pub(super) const OVER_WITHIN: TimeDelta = TimeDelta::hours(5);

/// How far an instance has truly come, whatever anybody says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Proved {
    #[default]
    Nothing,
    Connected,
    Stopped,
    Started,
    Again,
}

/// The canaries of a run.
#[derive(Debug, Default)]
pub(super) struct Canaries {
    /// The candidates that were asked for, and of which worker.
    candidates: BTreeMap<String, WorkerName>,
    /// The instances launched from one, each with the candidate.
    launched: BTreeMap<InstanceId, String>,
    proved: BTreeMap<InstanceId, Proved>,
    /// Candidates that somebody has taken for proven.
    pub(super) passed: BTreeSet<String>,
}

impl Canaries {
    pub(super) fn is_one(&self, id: &InstanceId) -> bool {
        self.launched.contains_key(id)
    }

    /// A rebake asks.
    pub(super) fn asked(&mut self, canary: &Canary, worker: &WorkerName) {
        self.candidates.insert(canary.ami.to_string(), worker.clone());
    }

    /// What is wrong with a launch: a canary is of the candidate of its worker, on demand, and nothing else is.
    pub(super) fn launched(&mut self, instance: &Instance, worker: &str, canary: bool) -> Option<String> {
        let (id, ami, spot) = (&instance.id, &instance.params.image, instance.params.spot.is_some());
        if canary {
            self.launched.insert(id.clone(), ami.clone());
        }
        let asked = self.candidates.get(ami);
        match (canary, asked) {
            (true, Some(of)) if of.as_str() == worker && !spot => None,
            (true, _) => Some(format!("{id} of {worker} is a canary of {ami}, which nobody asked for so")),
            (false, Some(_)) => Some(format!("{id} of {worker} is launched from {ami}, which is not proven")),
            (false, None) => None,
        }
    }

    fn steps(&mut self, id: &InstanceId, from: Proved, to: Proved) {
        let proved = self.proved.entry(id.clone()).or_default();
        if *proved == from {
            *proved = to;
        }
    }

    /// Its worker was truly taken by the master.
    pub(super) fn connected(&mut self, id: &InstanceId) {
        self.steps(id, Proved::Nothing, Proved::Connected);
        self.steps(id, Proved::Started, Proved::Again);
    }

    pub(super) fn stopped(&mut self, id: &InstanceId) {
        self.steps(id, Proved::Connected, Proved::Stopped);
    }

    pub(super) fn started(&mut self, id: &InstanceId) {
        self.steps(id, Proved::Stopped, Proved::Started);
    }

    /// A candidate is said to have passed. Gives what is wrong if none of its instances did.
    fn passes(&mut self, ami: &str) -> Option<String> {
        if !self.passed.insert(ami.to_owned()) {
            return None;
        }
        let instances = self.launched.iter().filter(|(_, of)| *of == ami);
        let best = instances.filter_map(|(id, _)| self.proved.get(id)).max().copied().unwrap_or_default();
        (best != Proved::Again).then(|| format!("{ami} is taken for proven, and its canary was {best:?} at most"))
    }
}

impl Truth {
    /// Looks at what the controller says of a canary.
    fn says_passed(&mut self, now: DateTime<Utc>, ami: &str) {
        if let Some(what) = self.canaries.passes(ami) {
            self.violated(8, now, what);
        }
    }
}

impl Play {
    /// Right at the beginning, where that was asked.
    pub(super) fn first_canaries(&mut self) {
        if self.settings.canary {
            let now = self.now();
            self.agenda.add(now + TimeDelta::seconds(5), Happening::Canary);
        }
    }

    /// A rebake asks for a canary of some worker, takes one back, or has seen how it went.
    pub(super) fn canary(&mut self) {
        let names: Vec<WorkerName> = self.master.desks.keys().cloned().collect();
        if self.settings.canary {
            // Asked until it is taken: the controller may be dead just now.
            let controller = self.controller();
            let view = |name: &WorkerName| controller.as_ref().and_then(|controller| controller.worker(name)?.canary);
            let missing: Vec<WorkerName> = names.into_iter().filter(|name| view(name).is_none()).collect();
            for name in &missing {
                self.ask_for_canary(name);
            }
            if !missing.is_empty() {
                self.agenda.add(self.now() + TimeDelta::seconds(5), Happening::Canary);
            }
            return;
        }
        let name = names[self.random.usize(0..names.len())].clone();
        self.ask_for_canary(&name);
        let rate = self.rate(Fault::Canary);
        self.some_time(rate / 24.0, Happening::Canary);
    }

    fn ask_for_canary(&mut self, name: &WorkerName) {
        let Some(controller) = self.controller() else { return };
        let old = controller.worker(name).and_then(|view| view.canary);
        let takes_back = self.random.u8(0..6) == 0;
        if let Some(old) = old {
            if takes_back || matches!(old.phase.as_str(), "passed" | "failed") {
                // Not done if nothing can be written; the next one's turn comes later then.
                drop(controller.end_canary(&Actor::Operator, name, &old.rebake, None));
            }
            return;
        }
        self.candidates += 1;
        let number = self.candidates;
        let (smoke, now) = (self.random.bool(), self.random.u8(0..3) == 0);
        let ids = (format!("rb{number}").parse(), format!("ami-ca{number:06x}").parse());
        let (Ok(rebake), Ok(ami)) = ids else { return };
        let smoke = smoke.then(|| "smoke".to_owned());
        let canary = Canary { rebake, ami, generation: number, smoke, connect_deadline_s: None, now };
        lock(&self.truth).canaries.asked(&canary, name);
        drop(controller.set_canary(&Actor::Operator, name, &canary));
    }

    /// What the controller takes for proven is proven.
    pub(super) fn canaries_are_proven(&self, now: DateTime<Utc>) {
        let Some(controller) = self.controller() else { return };
        let passed = controller.workers().into_iter().filter_map(|view| view.canary);
        for canary in passed.filter(|canary| canary.phase == "passed") {
            lock(&self.truth).says_passed(now, canary.ami.as_str());
        }
    }
}
