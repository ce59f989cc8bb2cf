//! From decisions to calls: the only caller of mutating [`Cloud`] methods. The intent is in the
//! ledger before the call is built, and the outcome follows it.

use std::collections::BTreeSet;
use std::ops::Range;

use chrono::{DateTime, Utc};

use super::book::Book;
use super::driver::Clock;
use super::pace::ApiAction;
use crate::cloud::{Cloud, CloudError};
use crate::ledger::{Ledger, LedgerError};
use crate::model::{
    Action, Actor, Attempt, AttemptId, Body, Cell, ClientToken, Equipment, Failure, FailureKind, InstanceId,
    LaunchSpec, Phase, ResourceId, StopMode, Subject, WorkerName, tag_keys,
};
use crate::plan::sweep::Act;
use crate::policy::{Intent, Secret, Shared};

/// The longest that one call may take before its outcome counts as open.
const CALL_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// One of the instances of a termination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doomed {
    pub(super) instance: InstanceId,
    /// The worker whose present one it is.
    pub(super) worker: Option<WorkerName>,
}

/// A call whose intent is durable.
#[derive(Debug, Clone)]
pub(super) enum Call {
    /// `again` if it is not the first call of its attempt.
    Launch {
        /// For whom, in the order of the launch indices.
        workers: Vec<WorkerName>,
        spec: Box<LaunchSpec>,
        token: ClientToken,
        user_data: Option<Secret>,
        again: bool,
    },
    Terminate {
        doomed: Vec<Doomed>,
    },
    Stop {
        instance: InstanceId,
        worker: WorkerName,
        mode: StopMode,
    },
    Start {
        instance: InstanceId,
        worker: WorkerName,
    },
    Equip {
        worker: WorkerName,
        instance: InstanceId,
        what: Equipment,
    },
    Renew {
        instances: Vec<InstanceId>,
        until: DateTime<Utc>,
    },
    Remove {
        resource: ResourceId,
    },
}

/// The bucket that an action takes from, if it is a call.
pub(super) fn paced_by(action: &Action) -> Option<ApiAction> {
    match action {
        Action::Launch { .. } | Action::LaunchTogether { .. } | Action::Relaunch { .. } => Some(ApiAction::Launch),
        Action::Start { .. } => Some(ApiAction::Start),
        Action::Stop { .. } => Some(ApiAction::Stop),
        Action::Terminate { .. } | Action::Remove { .. } => Some(ApiAction::End),
        Action::Renew { .. } => Some(ApiAction::Tag),
        Action::Equip { .. } => Some(ApiAction::Equip),
        Action::Record { .. } => None,
    }
}

/// How many instances the call of an action is for.
pub(super) fn size_of(action: &Action) -> u32 {
    let size = match action {
        Action::LaunchTogether { launches } => launches.len(),
        Action::Relaunch { workers } => workers.len(),
        _ => 1,
    };
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given {
    /// Instances, in the order of their launch indices.
    Instances(Vec<InstanceId>),
    /// An elastic IP address, which the instance has now.
    Address(String),
    /// Nothing that need be said.
    Nothing,
}

/// What a call came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) call: Call,
    pub(super) result: Result<Given, CloudError>,
}

impl Call {
    pub(super) fn action(&self) -> ApiAction {
        match self {
            Call::Launch { .. } => ApiAction::Launch,
            Call::Start { .. } => ApiAction::Start,
            Call::Stop { .. } => ApiAction::Stop,
            Call::Terminate { .. } | Call::Remove { .. } => ApiAction::End,
            Call::Renew { .. } => ApiAction::Tag,
            Call::Equip { .. } => ApiAction::Equip,
        }
    }

    /// Whether this refusal is the outcome of the call, after which something else is tried.
    pub(super) fn is_refused_by(&self, error: &CloudError) -> bool {
        match self {
            Call::Launch { .. } => !error.kind.leaves_outcome_open(),
            Call::Start { .. } => error.kind == FailureKind::Elsewhere || error.kind.is_answer(),
            Call::Stop { mode, .. } => mode.is_given_up_after(error.kind),
            Call::Terminate { .. } | Call::Equip { .. } | Call::Renew { .. } | Call::Remove { .. } => false,
        }
    }

    /// The subjects that wait for the answer.
    pub(super) fn subjects(&self) -> Vec<Subject> {
        match self {
            Call::Launch { workers, .. } => workers.iter().cloned().map(Subject::Worker).collect(),
            Call::Terminate { doomed } => {
                let subjects = |one: &Doomed| {
                    let worker = one.worker.clone().map(Subject::Worker);
                    std::iter::once(Subject::Instance(one.instance.clone())).chain(worker)
                };
                doomed.iter().flat_map(subjects).collect()
            }
            Call::Stop { instance, worker, .. } | Call::Start { instance, worker } => {
                vec![Subject::Instance(instance.clone()), Subject::Worker(worker.clone())]
            }
            Call::Equip { .. } | Call::Renew { .. } | Call::Remove { .. } => Vec::new(),
        }
    }

    /// Sends it. May be sent again: launches carry their token, the others say what shall be.
    pub(super) async fn send<C: Cloud>(self, cloud: &C, clock: &Clock) -> Outcome {
        let sent = async {
            match &self {
                Call::Launch { workers, spec, token, user_data, .. } => {
                    let count = u32::try_from(workers.len()).unwrap_or(u32::MAX);
                    cloud.launch_all(spec, count, user_data.as_ref(), token).await.map(Given::Instances)
                }
                Call::Terminate { doomed } => {
                    let ids: Vec<InstanceId> = doomed.iter().map(|one| one.instance.clone()).collect();
                    cloud.terminate_all(&ids).await.map(|()| Given::Nothing)
                }
                Call::Stop { instance, mode, .. } => cloud.stop(instance, *mode).await.map(|()| Given::Nothing),
                Call::Start { instance, .. } => cloud.start(instance).await.map(|()| Given::Nothing),
                Call::Equip { instance, what: Equipment::Address(address), .. } => {
                    cloud.associate_address(address, instance).await.map(Given::Address)
                }
                Call::Equip { instance, what: Equipment::Volume(volume), .. } => {
                    cloud.attach_volume(volume, instance).await.map(|()| Given::Nothing)
                }
                Call::Renew { instances, until } => cloud.renew(instances, *until).await.map(|()| Given::Nothing),
                Call::Remove { resource } => end(cloud, resource, Act::Terminate).await.map(|()| Given::Nothing),
            }
        };
        let result = clock.within(CALL_LIMIT, sent).await.unwrap_or_else(|| Err(no_answer()));
        Outcome { call: self, result }
    }
}

/// Does what a sweep decided about one of its findings. May be sent again: it says what shall be.
pub(super) async fn take_away<C: Cloud>(cloud: &C, clock: &Clock, id: &ResourceId, act: Act) -> Result<(), CloudError> {
    clock.within(CALL_LIMIT, end(cloud, id, act)).await.unwrap_or_else(|| Err(no_answer()))
}

async fn end<C: Cloud>(cloud: &C, id: &ResourceId, act: Act) -> Result<(), CloudError> {
    match (act, id.instance(), id.ami()) {
        (Act::Stop, Some(instance), _) => cloud.stop(&instance, StopMode::Plain).await,
        (Act::Terminate, Some(instance), _) => cloud.terminate(&instance).await,
        (Act::Terminate, None, Some(ami)) => cloud.retire_image(&ami).await,
        (Act::Terminate, None, None) => cloud.remove(id).await,
        (Act::Stop | Act::Mark | Act::Wait | Act::Report, _, _) => Ok(()),
    }
}

/// Marks resources of one kind as leftovers of one kind.
pub(super) async fn mark<C: Cloud>(cloud: &C, clock: &Clock, ids: &[ResourceId], mark: &str) -> Result<(), CloudError> {
    clock.within(CALL_LIMIT, cloud.mark_leftovers(ids, mark)).await.unwrap_or_else(|| Err(no_answer()))
}

fn no_answer() -> CloudError {
    CloudError {
        kind: FailureKind::Unreachable,
        code: "Timeout".to_owned(),
        message: format!("no answer within {} s", CALL_LIMIT.as_secs()),
    }
}

/// So many instances end by one call at most. EC2 takes a thousand; where one of them is refused, none of its zone ends.
pub(super) const ENDS_MAX: usize = 100;

/// What may end by one call with others: all terminations but those in `alone`, which were refused together before.
/// Gives the other calls as well.
pub(super) fn doomed_together(calls: Vec<Call>, alone: &BTreeSet<InstanceId>) -> (Vec<Doomed>, Vec<Call>) {
    let mut rest = Vec::with_capacity(calls.len());
    let mut doomed = Vec::new();
    for call in calls {
        match call {
            Call::Terminate { doomed: own } if own.iter().all(|one| !alone.contains(&one.instance)) => {
                doomed.extend(own);
            }
            other => rest.push(other),
        }
    }
    (doomed, rest)
}

/// The calls by which these end.
pub(super) fn ends(doomed: &[Doomed]) -> impl Iterator<Item = Call> {
    doomed.chunks(ENDS_MAX).map(|some| Call::Terminate { doomed: some.to_vec() })
}

/// Makes the intents of a plan durable, all in one write, and gives the calls that may now be sent.
pub(super) fn intend<L: Ledger>(
    book: &mut Book<L>,
    now: DateTime<Utc>,
    cell: &Cell,
    intent: &Intent,
    actions: Vec<Action>,
) -> Result<Vec<Call>, LedgerError> {
    let mut bodies = Vec::new();
    let mut calls = Vec::new();
    for action in actions {
        let (own, call) = one(book, now, cell, intent, action);
        // The places of the intents that the call rests on; some calls need none.
        let places = bodies.len()..bodies.len() + own.len();
        bodies.extend(own);
        calls.extend(call.map(|call| (places, call)));
    }
    let follows = book.append(now, &Actor::Controller, bodies)?;
    let rests = |places: &Range<usize>| follows.get(places.clone()).is_some_and(|all| all.iter().all(|one| *one));
    Ok(calls.into_iter().filter(|(places, _)| rests(places)).map(|(_, call)| call).collect())
}

fn one<L: Ledger>(
    book: &Book<L>,
    now: DateTime<Utc>,
    cell: &Cell,
    intent: &Intent,
    action: Action,
) -> (Vec<Body>, Option<Call>) {
    let with = |body: Body, call: Call| (vec![body], Some(call));
    match action {
        Action::Launch { worker, spec } => launch(now, cell, intent, vec![(worker, spec)]),
        Action::LaunchTogether { launches } => launch(now, cell, intent, launches),
        Action::Relaunch { workers } => (Vec::new(), relaunch(book, intent, workers)),
        Action::Terminate { instance, worker, cause, seen, silent_since } => {
            let body = Body::TerminateIntended {
                instance: instance.clone(),
                cell: cell.clone(),
                worker: worker.clone(),
                cause,
                seen,
                silent_since,
            };
            with(body, Call::Terminate { doomed: vec![Doomed { instance, worker }] })
        }
        Action::Stop { worker, instance, cause, mode } => {
            let body = Body::StopIntended { worker: worker.clone(), instance: instance.clone(), cause, mode };
            with(body, Call::Stop { instance, worker, mode })
        }
        Action::Start { worker, instance } => {
            let body = Body::StartIntended { worker: worker.clone(), instance: instance.clone() };
            with(body, Call::Start { instance, worker })
        }
        Action::Equip { worker, instance, what } => {
            let (name, id, own) = (worker.clone(), instance.clone(), what.clone());
            let body = Body::EquipIntended { worker: name, instance: id, what: own };
            with(body, Call::Equip { worker, instance, what })
        }
        Action::Record { body, .. } => (vec![*body], None),
        Action::Renew { instances, until } => (Vec::new(), Some(Call::Renew { instances, until })),
        Action::Remove { resource, kind } => {
            let body = Body::RemoveIntended { resource: resource.clone(), cell: cell.clone(), kind };
            with(body, Call::Remove { resource })
        }
    }
}

/// The intents of a launch, one for each worker, and its call; neither if one of them cannot be had.
fn launch(
    now: DateTime<Utc>,
    cell: &Cell,
    intent: &Intent,
    launches: Vec<(WorkerName, Box<LaunchSpec>)>,
) -> (Vec<Body>, Option<Call>) {
    let attempts: Option<Vec<Attempt>> =
        launches.iter().map(|(worker, spec)| new_attempt(now, cell, intent, worker, spec)).collect();
    let workers: Vec<WorkerName> = launches.iter().map(|(worker, _)| worker.clone()).collect();
    let first = launches.into_iter().next().zip(attempts.as_ref().and_then(|all| all.first()));
    let call = first.and_then(|((_, spec), attempt)| launch_call(intent, workers.clone(), spec, &attempt.id, false));
    let (Some(attempts), Some(call)) = (attempts, call) else { return (Vec::new(), None) };
    let intended = workers.into_iter().zip(attempts);
    let bodies = intended.map(|(worker, attempt)| Body::LaunchIntended { worker, attempt: Box::new(attempt) });
    (bodies.collect(), Some(call))
}

fn relaunch<L: Ledger>(book: &Book<L>, intent: &Intent, workers: Vec<WorkerName>) -> Option<Call> {
    let attempt = book.fleet().workers.get(workers.first()?)?.attempt.as_ref()?;
    launch_call(intent, workers, attempt.spec.clone()?, &attempt.id, true)
}

/// The call for one worker, or for several that have one text of user data.
fn launch_call(
    intent: &Intent,
    workers: Vec<WorkerName>,
    spec: Box<LaunchSpec>,
    attempt: &AttemptId,
    again: bool,
) -> Option<Call> {
    let (token, key) = (spec.token(), intent.join_key.as_ref());
    if spec.batch.is_some() {
        let user_data = Some(Shared::of(intent, &workers)?.user_data(key, attempt).ok()?.text());
        let spec = Box::new(spec.for_all(&workers)?);
        return Some(Call::Launch { workers, spec, token, user_data, again });
    }
    let worker = workers.first()?;
    let data = intent.workers.get(worker).and_then(|worker| worker.user_data.as_ref());
    let user_data = data.map(|data| data.of_attempt(key, worker, attempt).text());
    Some(Call::Launch { workers, spec, token, user_data, again })
}

fn new_attempt(
    now: DateTime<Utc>,
    cell: &Cell,
    intent: &Intent,
    worker: &WorkerName,
    spec: &LaunchSpec,
) -> Option<Attempt> {
    let image = intent.workers.get(worker)?.image.clone();
    let id = spec.tags.get(tag_keys::ATTEMPT)?.parse().ok()?;
    let created = spec.tags.time(tag_keys::CREATED).unwrap_or(now);
    Some(Attempt { id, cell: cell.clone(), image, created, spec: Some(Box::new(spec.clone())) })
}

/// What an outcome adds to the ledger; nothing of a launch that is `open` still.
pub(super) fn outcome_entries(outcome: &Outcome, open: bool) -> Vec<Body> {
    let failure = |phase, error: &CloudError| Failure::new(phase, error.kind, &error.code, &error.message);
    match (&outcome.call, &outcome.result) {
        (Call::Launch { workers, .. }, Ok(Given::Instances(instances))) => launched(workers, instances),
        (Call::Launch { workers, .. }, Err(error)) if !open => {
            let failure = failure(Phase::Launch, error);
            workers
                .iter()
                .map(|worker| Body::LaunchRefused { worker: worker.clone(), failure: failure.clone() })
                .collect()
        }
        (Call::Start { worker, instance }, Err(error)) if outcome.call.is_refused_by(error) => {
            let failure = failure(Phase::Launch, error);
            vec![Body::StartRefused { worker: worker.clone(), instance: instance.clone(), failure }]
        }
        (Call::Equip { worker, instance, what }, result) => vec![equipped(worker, instance, what, result)],
        (Call::Remove { resource }, Ok(_)) => vec![Body::Removed { resource: resource.clone() }],
        (Call::Remove { resource }, Err(error)) if error.kind == FailureKind::NotFound => {
            vec![Body::Removed { resource: resource.clone() }]
        }
        (Call::Remove { resource }, Err(error)) => {
            vec![Body::RemoveRefused { resource: resource.clone(), failure: failure(Phase::Launch, error) }]
        }
        (Call::Terminate { doomed }, Ok(_)) => {
            doomed.iter().map(|one| Body::TerminateAccepted { instance: one.instance.clone() }).collect()
        }
        (Call::Terminate { doomed }, Err(error)) => match doomed.as_slice() {
            [one] => {
                vec![Body::CallRefused { instance: one.instance.clone(), failure: failure(Phase::Launch, error) }]
            }
            // Of several it does not say which one it is about: each is asked for alone.
            _ => Vec::new(),
        },
        (Call::Stop { instance, .. } | Call::Start { instance, .. }, Err(error)) => {
            vec![Body::CallRefused { instance: instance.clone(), failure: failure(Phase::Launch, error) }]
        }
        (Call::Launch { .. } | Call::Stop { .. } | Call::Start { .. } | Call::Renew { .. }, _) => Vec::new(),
    }
}

/// EC2 may launch fewer than it was asked for: the others are asked for anew.
fn launched(workers: &[WorkerName], instances: &[InstanceId]) -> Vec<Body> {
    let message = format!("EC2 launched {} of {} instances", instances.len(), workers.len());
    let failure = Failure::new(Phase::Launch, FailureKind::AttemptOver, "FewerLaunched", &message);
    let one = |(place, worker): (usize, &WorkerName)| match instances.get(place) {
        Some(instance) => Body::Launched { worker: worker.clone(), instance: instance.clone() },
        None => Body::LaunchRefused { worker: worker.clone(), failure: failure.clone() },
    };
    workers.iter().enumerate().map(one).collect()
}

fn equipped(worker: &WorkerName, instance: &InstanceId, what: &Equipment, result: &Result<Given, CloudError>) -> Body {
    let (worker, instance, what) = (worker.clone(), instance.clone(), what.clone());
    match result {
        Ok(Given::Address(ip)) => Body::Equipped { worker, instance, what, ip: Some(ip.clone()) },
        Ok(_) => Body::Equipped { worker, instance, what, ip: None },
        Err(error) => {
            let failure = Failure::new(Phase::Equip, error.kind, &error.code, &error.message);
            Body::EquipRefused { worker, instance, what, failure }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::MemoryLedger;
    use crate::plan::{Chosen, launch_spec};
    use crate::policy::Sources;

    const MAIN: &str = "[fleet]\nname = \"f\"\ncontroller = \"c\"\n[worker.w]\nimage = \"i\"\n\
        [owner.o]\naccount = \"123456789012\"\ncredentials = { environment = true }\n";
    const IMAGE: &str = "owner = \"o\"\nregion = \"us-west-2\"\nami = \"ami-1\"\ninstance_types = [\"t\"]\n";

    fn intent_of_one_worker() -> Intent {
        let image = ("i".to_owned(), "amis/i.toml".to_owned(), IMAGE.to_owned());
        let main = ("latent.toml".to_owned(), MAIN.to_owned());
        Intent::parse(&Sources { main, images: vec![image], ..Sources::default() }).expect("is right")
    }

    #[test]
    fn a_call_whose_intent_does_not_follow_from_the_record_is_not_sent() {
        let (now, intent) = (DateTime::UNIX_EPOCH, intent_of_one_worker());
        let worker: WorkerName = "w".parse().expect("a name");
        let (configured, attempt) = (&intent.workers[&worker], "1-1".parse().expect("an id"));
        let image = &intent.images[&configured.image];
        let ami = image.ami.named().expect("it names one");
        let chosen = Chosen { image, ami, offering: &image.offerings[0], canary: None };
        let spec = launch_spec(now, &intent, &worker, configured, chosen, &attempt);
        let launch = || Action::Launch { worker: worker.clone(), spec: Box::new(spec.clone()) };
        let mut book = Book::open(MemoryLedger::default()).expect("opens");
        let calls = intend(&mut book, now, &configured.cell, &intent, vec![launch()]).expect("can be written");
        assert!(calls.is_empty(), "nobody wants it");
        assert_eq!(book.fleet().seq, 0);
        let request = Body::Requested { worker: worker.clone(), request: "r".parse().expect("an id") };
        book.append(now, &Actor::Operator, vec![request]).expect("can be written");
        let calls = intend(&mut book, now, &configured.cell, &intent, vec![launch(), launch()]).expect("is written");
        assert_eq!((calls.len(), book.fleet().seq), (1, 2), "and never twice");
    }
}
