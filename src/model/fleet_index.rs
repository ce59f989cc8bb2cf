//! Where to find what belongs to a cell, an instance or a worker without going through the whole fleet: a
//! look at one cell costs what that cell costs, however many others there are.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize as _, Deserializer};

use super::{Cell, Departing, Fleet, InstanceId, OwnerName, Worker, WorkerName, WorkerState};

/// Derived from the workers and the departing instances, entry by entry; never written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FleetIndex {
    /// The workers whose present or last attempt is in a cell.
    cells: BTreeMap<Cell, BTreeSet<WorkerName>>,
    /// The workers whose states name an instance, in the order of their names.
    bound: BTreeMap<InstanceId, Vec<WorkerName>>,
    /// The instances whose end was intended, by their cell …
    departing: BTreeMap<Cell, BTreeSet<InstanceId>>,
    /// … and by the worker whose they were.
    left_by: BTreeMap<WorkerName, BTreeSet<InstanceId>>,
    live: u32,
}

/// What of a worker the index goes by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Traits {
    cell: Option<Cell>,
    instance: Option<InstanceId>,
    live: bool,
}

impl Traits {
    pub(super) fn of(worker: &Worker) -> Self {
        Self {
            cell: worker.attempt.as_ref().map(|attempt| attempt.cell.clone()),
            instance: worker.state.instance().cloned(),
            live: is_live(worker),
        }
    }
}

/// Whether an instance of it lives or may live.
fn is_live(worker: &Worker) -> bool {
    match worker.state {
        WorkerState::Launching { .. } => true,
        WorkerState::Stopped { .. } => false,
        _ => worker.state.instance().is_some(),
    }
}

/// Takes one out of a set of many; an empty set is not kept.
fn take_out<K: Ord, V: Ord>(sets: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

impl FleetIndex {
    /// What it must be, from nothing.
    pub(super) fn of(fleet: &Fleet) -> Self {
        let mut index = Self::default();
        for (name, worker) in &fleet.workers {
            index.moved(name, &Traits { cell: None, instance: None, live: false }, Traits::of(worker));
        }
        for (id, departing) in &fleet.departing {
            index.departs(id, departing);
        }
        index
    }

    /// A worker is not what it was.
    pub(super) fn moved(&mut self, name: &WorkerName, before: &Traits, after: Traits) {
        if before.cell != after.cell {
            if let Some(cell) = &before.cell {
                take_out(&mut self.cells, cell, name);
            }
            if let Some(cell) = after.cell {
                self.cells.entry(cell).or_default().insert(name.clone());
            }
        }
        if before.instance != after.instance {
            before.instance.iter().for_each(|id| self.unbind(id, name));
            if let Some(id) = after.instance {
                let names = self.bound.entry(id).or_insert_with(|| Vec::with_capacity(1));
                names.push(name.clone());
                names.sort();
            }
        }
        self.live = self.live + u32::from(after.live) - u32::from(before.live);
    }

    fn unbind(&mut self, id: &InstanceId, name: &WorkerName) {
        if let Some(names) = self.bound.get_mut(id) {
            names.retain(|bound| bound != name);
            if names.is_empty() {
                self.bound.remove(id);
            }
        }
    }

    /// The workers whose states name an instance.
    pub(super) fn bound(&self, id: &InstanceId) -> &[WorkerName] {
        self.bound.get(id).map_or(&[], Vec::as_slice)
    }

    /// The end of an instance was intended, now or before.
    pub(super) fn departs(&mut self, id: &InstanceId, departing: &Departing) {
        self.departing.entry(departing.cell.clone()).or_default().insert(id.clone());
        if let Some(worker) = &departing.worker {
            self.left_by.entry(worker.clone()).or_default().insert(id.clone());
        }
    }

    /// It is not departing any more.
    pub(super) fn departed(&mut self, id: &InstanceId, departing: &Departing) {
        take_out(&mut self.departing, &departing.cell, id);
        if let Some(worker) = &departing.worker {
            take_out(&mut self.left_by, worker, id);
        }
    }
}

impl Fleet {
    /// Reads one that was written down: what is derived is not, and is made anew.
    ///
    /// # Errors
    /// What the format says.
    pub fn reread<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut fleet = Self::deserialize(from)?;
        fleet.index = FleetIndex::of(&fleet);
        Ok(fleet)
    }

    /// Instances that live or may live: what the limit on instances counts.
    pub fn live(&self) -> u32 {
        self.index.live
    }

    /// The workers whose present or last attempt is in a cell, in the order of their names.
    pub fn of_cell(&self, cell: &Cell) -> impl Iterator<Item = (&WorkerName, &Worker)> {
        let names = self.index.cells.get(cell).into_iter().flatten();
        names.filter_map(|name| self.workers.get_key_value(name))
    }

    /// The instances of a cell whose end was intended, in the order of their ids.
    pub fn departing_of(&self, cell: &Cell) -> impl Iterator<Item = (&InstanceId, &Departing)> {
        let ids = self.index.departing.get(cell).into_iter().flatten();
        ids.filter_map(|id| self.departing.get_key_value(id))
    }

    /// The instances of a worker whose end was intended, in the order of their ids.
    pub fn left_by(&self, worker: &WorkerName) -> impl Iterator<Item = (&InstanceId, &Departing)> {
        let ids = self.index.left_by.get(worker).into_iter().flatten();
        ids.filter_map(|id| self.departing.get_key_value(id))
    }

    /// The worker that an instance is bound to, the first by name if the record has several.
    pub fn bound_to(&self, instance: &InstanceId) -> Option<&WorkerName> {
        self.index.bound(instance).first()
    }

    /// The cells in which something of an owner was recorded, each with its workers.
    pub fn cells_of(&self, owner: &OwnerName) -> impl Iterator<Item = &Cell> {
        self.index.cells.keys().chain(self.index.departing.keys()).filter(move |cell| cell.owner == *owner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Actor, Attempt, Body, Cause, ClientToken, Entry, StopMode};

    fn name(number: u8) -> WorkerName {
        format!("w{number}").parse().expect("a name")
    }

    fn id(number: u8) -> InstanceId {
        format!("i-{number}").parse().expect("an id")
    }

    fn cell(number: u8) -> Cell {
        let owner = if number < 2 { "alice" } else { "bob" };
        let region = if number.is_multiple_of(2) { "us-west-2" } else { "eu-west-1" };
        Cell { owner: owner.parse().expect("a name"), region: region.parse().expect("a region") }
    }

    fn body() -> impl Strategy<Value = Body> {
        (0..20_u8, 0..3_u8, 0..4_u8, 0..4_u8).prop_map(|(kind, number, instance, place)| {
            let (worker, instance, cell, cause) = (name(number), id(instance), cell(place), Cause::Idle);
            let attempt = || {
                let (id, image) =
                    (format!("{place}-{number}").parse().expect("an id"), "debian".parse().expect("a name"));
                Box::new(Attempt { id, cell: cell.clone(), image, created: DateTime::UNIX_EPOCH, spec: None })
            };
            match kind {
                0..=2 => Body::Requested { worker, request: format!("r{place}").parse().expect("an id") },
                3 => Body::Released { worker, cause },
                4 => Body::LaunchIntended { worker, attempt: attempt() },
                5..=7 => Body::Launched { worker, instance },
                8 | 9 => Body::Adopted { worker, attempt: attempt(), instance, seen: None },
                10 => Body::Attached { worker },
                11 => Body::DrainOrdered { worker, cause },
                12 => Body::StopIntended { worker, instance, cause, mode: StopMode::Plain },
                13 => Body::StopSeen { worker, instance, stopped_at: None, ran_until: None },
                14 => Body::StartIntended { worker, instance },
                15 => Body::Lost {
                    worker,
                    instance,
                    cause,
                    reason: String::new(),
                    ended_at: None,
                    ran_until: None,
                    seen: None,
                },
                16 => Body::TerminateIntended { instance, cell, worker: None, cause, seen: None, silent_since: None },
                17 => Body::TerminateIntended {
                    instance,
                    cell,
                    worker: Some(worker),
                    cause,
                    seen: None,
                    silent_since: None,
                },
                18 => Body::TerminateAccepted { instance },
                _ => Body::Departed { instance, ended_at: None, ran_until: None, seen: None },
            }
        })
    }

    proptest! {
        #[test]
        fn the_index_is_what_the_whole_fleet_says(bodies in prop::collection::vec(body(), 0..120)) {
            let mut fleet = Fleet::default();
            for body in bodies {
                let entry = Entry { seq: fleet.seq + 1, at: DateTime::UNIX_EPOCH, actor: Actor::Cloud, body };
                // What does not follow changes nothing, the index neither.
                let _ = fleet.apply(&entry);
                prop_assert_eq!(&fleet.index, &FleetIndex::of(&fleet));
            }
            let live = fleet.workers.values().filter(|worker| is_live(worker)).count();
            prop_assert_eq!(fleet.live() as usize, live);
            for number in 0..4 {
                let here = |worker: &Worker| worker.attempt.as_ref().is_some_and(|of| of.cell == cell(number));
                let slow: BTreeSet<&WorkerName> =
                    fleet.workers.iter().filter(|(_, worker)| here(worker)).map(|(name, _)| name).collect();
                prop_assert_eq!(fleet.of_cell(&cell(number)).map(|(name, _)| name).collect::<BTreeSet<_>>(), slow);
                let slow = fleet.departing.values().filter(|one| one.cell == cell(number)).count();
                prop_assert_eq!(fleet.departing_of(&cell(number)).count(), slow);
                let user = fleet.workers.iter().find(|(_, worker)| worker.state.instance() == Some(&id(number)));
                prop_assert_eq!(fleet.bound_to(&id(number)), user.map(|(name, _)| name));
                let slow = fleet.departing.values().filter(|one| one.worker == Some(name(number))).count();
                prop_assert_eq!(fleet.left_by(&name(number)).count(), slow);
            }
        }
    }

    #[test]
    fn a_launch_whose_outcome_is_open_counts_as_live() {
        let mut worker = Worker::unknown(DateTime::UNIX_EPOCH);
        worker.state = WorkerState::Launching { token: ClientToken::derive(&["t"]) };
        assert!(Traits::of(&worker).live);
        worker.state = WorkerState::Stopped { instance: id(1) };
        assert!(!Traits::of(&worker).live && Traits::of(&worker).instance.is_some());
    }
}
