//! Whatever the record and the listing hold: a plan speaks of everything once, and intends only what
//! follows from the record.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use latent::model::{
    Action, Actor, Body, Cell, Entry, HeldReason, Instance, InstanceId, InstanceState, Inventory, Parts, Plan, Subject,
    WorkerName, tag_keys,
};
use latent::plan::{AmiListings, EquipCalls, View, Watch, facts, plan};
use proptest::prelude::*;

use crate::harness::{morning, worker};
use crate::record::{Record, WORKERS, cell, steps};

/// How an instance looks in the listing: its state, whose tags it carries, and how they are spoilt.
#[derive(Debug, Clone)]
struct Look {
    shown: bool,
    state: u8,
    worker: usize,
    tags: u8,
}

fn looks() -> impl Strategy<Value = Vec<Look>> {
    let look = (any::<bool>(), 0..7_u8, 0..WORKERS.len(), 0..6_u8);
    let look = look.prop_map(|(shown, state, worker, tags)| Look { shown, state, worker, tags });
    proptest::collection::vec(look, 8)
}

fn listing(record: &Record, looks: &[Look]) -> Inventory {
    let strangers: Vec<InstanceId> =
        (0..3).map(|number| format!("i-stranger{number}").parse().expect("an id")).collect();
    // An instance is in one account only.
    let elsewhere = |id: &InstanceId| {
        let departing = record.fleet.departing.get(id).map(|departing| &departing.cell);
        let users = record.fleet.workers.values().filter(|w| w.state.instance() == Some(id));
        let bound = users.filter_map(|w| w.attempt.as_ref()).map(|attempt| &attempt.cell).next();
        departing.or(bound).is_some_and(|there| *there != cell("alice"))
    };
    let recorded = record.ids.iter().rev().filter(|id| !elsewhere(id)).take(5);
    let ids = strangers.iter().chain(recorded);
    let shown = ids.zip(looks).filter(|(_, look)| look.shown);
    let instances = shown.map(|(id, look)| (id.clone(), instance(record, id, look))).collect();
    Inventory { observed_at: record.now, complete: true, instances }
}

fn instance(record: &Record, id: &InstanceId, look: &Look) -> Instance {
    let user = record.fleet.workers.iter().find(|(_, w)| w.state.instance() == Some(id)).map(|(name, _)| name.clone());
    let name = user.unwrap_or_else(|| worker(WORKERS[look.worker]));
    let known = record.fleet.workers.get(&name).and_then(|w| w.attempt.clone());
    let spec = known.and_then(|attempt| attempt.spec).or_else(|| record.attempt(&name, false).spec).expect("a spec");
    let mut tags = spec.tags.clone();
    match look.tags {
        0 => {
            tags.set(tag_keys::CONTROLLER, "another");
        }
        1 => {
            tags.set(tag_keys::ATTEMPT, "");
        }
        _ => {}
    }
    let state = match look.state {
        0 => InstanceState::Pending,
        1 | 2 => InstanceState::Running,
        3 => InstanceState::Stopping,
        4 => InstanceState::Stopped,
        5 => InstanceState::ShuttingDown,
        6 => InstanceState::Terminated,
        _ => InstanceState::Unknown("odd".to_owned()),
    };
    Instance {
        id: id.clone(),
        state,
        ami: Some(spec.ami.clone()),
        instance_type: spec.offering.instance_type.clone(),
        zone: None,
        launch_time: Some(record.now),
        launch_index: 0,
        token: None,
        attached_at: None,
        stopped_at: None,
        ended_at: None,
        parts: Parts::default(),
        platform_details: None,
        addresses: Vec::new(),
        state_reason: None,
        tags,
    }
}

/// What the loop of a cell knows beside the record.
struct Eye {
    inventory: Option<Inventory>,
    watch: Watch,
    in_flight: BTreeSet<Subject>,
    not_before: BTreeMap<Subject, HeldReason>,
    silent: bool,
}

impl Eye {
    fn decide<T>(&self, record: &Record, cell: &Cell, decide: impl FnOnce(&View<'_>) -> T) -> T {
        let heard = if self.silent { morning() - TimeDelta::days(1) } else { record.now };
        decide(&View {
            now: record.now,
            cell,
            intent: &record.intent,
            fleet: &record.fleet,
            inventory: self.inventory.as_ref(),
            listing_failure: None,
            watch: &self.watch,
            amis: &AmiListings::default(),
            equip_calls: &EquipCalls::default(),
            in_flight: &self.in_flight,
            not_before: &self.not_before,
            heard: &|_| heard,
            spoken: &|_| (!self.silent).then_some(heard),
            launches_now: 2,
            launches_from: record.now,
            live: record.fleet.live(),
            budget: None,
        })
    }
}

fn subjects(plan: &Plan) -> Vec<Subject> {
    plan.actions.iter().flat_map(Action::subjects).chain(plan.held.iter().map(|held| held.subject.clone())).collect()
}

/// What an action writes before its call.
fn intent_of(record: &Record, cell: &Cell, action: &Action) -> Option<Body> {
    Some(match action.clone() {
        Action::Launch { worker, spec } => {
            let mut attempt = record.attempt(&worker, true);
            attempt.spec = Some(spec);
            Body::LaunchIntended { worker, attempt: Box::new(attempt) }
        }
        Action::Remove { resource, kind } => Body::RemoveIntended { resource, cell: cell.clone(), kind },
        Action::Terminate { instance, worker, cause, seen, silent_since } => {
            Body::TerminateIntended { instance, cell: cell.clone(), worker, cause, seen, silent_since }
        }
        Action::Stop { worker, instance, cause, mode } => Body::StopIntended { worker, instance, cause, mode },
        Action::Start { worker, instance } => Body::StartIntended { worker, instance },
        Action::Equip { worker, instance, what } => Body::EquipIntended { worker, instance, what },
        Action::Record { body, .. } => *body,
        Action::Relaunch { .. } | Action::LaunchTogether { .. } | Action::Renew { .. } => return None,
    })
}

/// Facts, then decisions until none is left, then everything that is spoken of.
fn look(record: &mut Record, eye: &Eye, cell: &Cell) -> Plan {
    for fact in eye.decide(record, cell, facts) {
        record.add(fact).expect("a fact follows from the record");
    }
    for _ in 0..16 {
        let now = eye.decide(record, cell, plan);
        let all = subjects(&now);
        let once: BTreeSet<&Subject> = all.iter().collect();
        assert_eq!(once.len(), all.len(), "spoken of twice: {now:#?}");
        for action in &now.actions {
            if let Some(body) = intent_of(record, cell, action) {
                let entry = Entry { seq: record.fleet.seq + 1, at: record.now, actor: Actor::Controller, body };
                record.fleet.check(&entry).expect("an intent follows from the record");
            }
        }
        let decisions: Vec<Body> = now
            .actions
            .iter()
            .filter(|a| matches!(a, Action::Record { .. }))
            .filter_map(|action| intent_of(record, cell, action))
            .collect();
        if decisions.is_empty() {
            return now;
        }
        for body in decisions {
            record.add(body).expect("a decision follows from the record");
        }
    }
    panic!("decisions without an end");
}

proptest! {
    #[test]
    fn every_worker_and_every_instance_is_spoken_of_once(
        steps in steps(), looks in looks(), listed in any::<bool>(), silent in any::<bool>(), busy in 0..3_usize, later in 0..40_000_i64,
    ) {
        let mut record = Record::new();
        for step in &steps {
            record.step(step);
        }
        let home = cell("alice");
        let inventory = listed.then(|| listing(&record, &looks));
        let mut watch = Watch::default();
        if let Some(inventory) = &inventory {
            watch.update(&home, &record.intent, &record.fleet, inventory);
        }
        record.now += TimeDelta::seconds(later);
        let waits = BTreeMap::from([(Subject::Worker(worker("w1")), HeldReason::RetryAt { at: record.now + TimeDelta::minutes(1) })]);
        let eye = Eye {
            watch,
            silent,
            in_flight: record.ids.iter().rev().take(usize::from(busy == 1)).cloned().map(Subject::Instance).collect(),
            not_before: if busy == 2 { waits } else { BTreeMap::new() },
            inventory: inventory.map(|seen| Inventory { observed_at: if silent { record.now } else { seen.observed_at }, ..seen }),
        };
        let here = look(&mut record, &eye, &home);
        let spoken: BTreeSet<Subject> = subjects(&here).into_iter().collect();
        for id in eye.inventory.iter().flat_map(|inventory| inventory.instances.keys()) {
            prop_assert!(spoken.contains(&Subject::Instance(id.clone())), "{id} is not spoken of: {here:#?}");
        }
        let gone = record.fleet.departing.iter().filter(|(_, departing)| departing.cell == home);
        for (id, _) in gone {
            prop_assert!(spoken.contains(&Subject::Instance(id.clone())), "{id} is not spoken of: {here:#?}");
        }
        let blind = Eye { inventory: None, watch: Watch::default(), in_flight: BTreeSet::new(), not_before: BTreeMap::new(), silent };
        let there: BTreeSet<Subject> = subjects(&look(&mut record, &blind, &cell("bob"))).into_iter().collect();
        let names: BTreeSet<&WorkerName> = record.fleet.workers.keys().chain(record.intent.workers.keys()).collect();
        for name in names {
            let subject = Subject::Worker(name.clone());
            let attempted = record.fleet.workers.get(name).is_some_and(|w| w.attempt.is_some());
            if attempted || record.intent.workers.contains_key(name) {
                prop_assert!(spoken.contains(&subject) != there.contains(&subject), "{name}: {here:#?} {there:#?}");
            }
        }
    }
}
