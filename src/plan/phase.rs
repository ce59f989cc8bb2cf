//! What the record says of how long things took and how they ended: the fold behind the metrics.
//!
//! A life of a worker is cut into phases that do not overlap, and one that spans them: [`TimedPhase::Connect`],
//! for which a build waits. Canaries are left out: nobody waits for them. What was begun and never ends leaves
//! nothing behind but its beginning.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{
    Attempt, Body, Cause, Entry, FailureKind, ImageName, InstanceId, OwnerName, Place, WorkerName, Zone,
};

/// What of a worker's life is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimedPhase {
    /// From the request to the first call that is to meet it.
    Request,
    /// From that call to the instance that is seen running.
    Pending,
    /// From there to the worker that connects: the machine's boot and the worker's own start.
    Boot,
    /// From the request to the worker that connects: what a build waits.
    Connect,
    /// From the connection to the first build.
    FirstBuild,
    /// From the order to drain to the call that ends or stops the instance.
    Drain,
    /// From the stop call to the instance that is seen stopped.
    Stop,
    /// From the first call that ends the instance to its end.
    Terminate,
}

impl TimedPhase {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 8] = [
        Self::Request,
        Self::Pending,
        Self::Boot,
        Self::Connect,
        Self::FirstBuild,
        Self::Drain,
        Self::Stop,
        Self::Terminate,
    ];

    /// Its name for machines.
    pub fn code(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Pending => "pending",
            Self::Boot => "boot",
            Self::Connect => "connect",
            Self::FirstBuild => "first_build",
            Self::Drain => "drain",
            Self::Stop => "stop",
            Self::Terminate => "terminate",
        }
    }
}

/// How the instance of a life came to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Begun {
    /// It was launched, or adopted.
    Launched,
    /// It was stopped, and started again.
    Restarted,
}

impl Begun {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Launched, Self::Restarted];

    /// Its name for machines.
    pub fn code(self) -> &'static str {
        match self {
            Self::Launched => "launch",
            Self::Restarted => "restart",
        }
    }
}

/// One phase that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Took {
    /// Which.
    pub phase: TimedPhase,
    /// Whose.
    pub worker: WorkerName,
    /// From which manifest, if an attempt says so.
    pub image: Option<ImageName>,
    /// The instance, if there was one by then.
    pub instance: Option<InstanceId>,
    /// The zone, as far as the launch named one.
    pub zone: Option<Zone>,
    /// How its instance came to run.
    pub begun: Begun,
    /// How long it took; never negative.
    pub span: TimeDelta,
}

/// What an entry means for those who count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variant's line explains its fields")]
pub enum Happening {
    /// A phase ended.
    Took(Took),
    /// Somebody wants a worker.
    Requested { worker: WorkerName },
    /// A request was answered with a failure.
    RequestFailed { worker: WorkerName, reason: FailureKind },
    /// A launch or a start was answered: an instance, or a refusal.
    Launched { image: ImageName, refused: Option<FailureKind> },
    /// A build started.
    Built { worker: WorkerName },
    /// An instance ends, by us or without us.
    Ended { owner: OwnerName, cause: Cause },
    /// EC2 takes a spot instance back.
    Interrupted { image: ImageName },
}

/// A worker's life as far as it has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Life {
    /// When the request that waits came, and whether a call was made for it.
    requested: Option<(DateTime<Utc>, bool)>,
    attempt: Option<Own>,
    instance: Option<InstanceId>,
    restarted: bool,
    called: Option<DateTime<Utc>>,
    ran: Option<DateTime<Utc>>,
    attached: Option<DateTime<Utc>>,
    built: bool,
    draining: Option<DateTime<Utc>>,
    stopping: Option<DateTime<Utc>>,
}

/// What is kept of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Own {
    owner: OwnerName,
    image: ImageName,
    zone: Option<Zone>,
    canary: bool,
}

impl Own {
    fn of(attempt: &Attempt) -> Self {
        let zone = attempt.spec.as_ref().and_then(|spec| match &spec.offering.place {
            Place::Zone(zone) => Some(zone.clone()),
            Place::Anywhere | Place::Subnet(_) => None,
        });
        let (owner, image) = (attempt.cell.owner.clone(), attempt.image.clone());
        Self { owner, image, zone, canary: attempt.is_canary() }
    }
}

/// An instance whose end was intended: since when, and the life that it was part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Leaving {
    since: DateTime<Utc>,
    of: Option<(WorkerName, Life)>,
}

/// The lives that are open. As large as what the record itself keeps: one per worker and one per instance on its
/// way out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lives {
    workers: BTreeMap<WorkerName, Life>,
    leaving: BTreeMap<InstanceId, Leaving>,
    seq: u64,
}

impl Life {
    fn is_canary(&self) -> bool {
        self.attempt.as_ref().is_some_and(|own| own.canary)
    }

    fn image(&self) -> Option<ImageName> {
        self.attempt.as_ref().map(|own| own.image.clone())
    }

    /// Another run of an instance begins.
    fn begin(&mut self, at: Option<DateTime<Utc>>, instance: Option<InstanceId>, restarted: bool) {
        let (requested, attempt) = (self.requested, self.attempt.take());
        *self = Self { requested, attempt, instance, restarted, called: at, ..Self::default() };
    }

    fn took(&self, phase: TimedPhase, worker: &WorkerName, since: DateTime<Utc>, at: DateTime<Utc>) -> Happening {
        Happening::Took(Took {
            phase,
            worker: worker.clone(),
            image: self.image(),
            instance: self.instance.clone(),
            zone: self.attempt.as_ref().and_then(|own| own.zone.clone()),
            begun: if self.restarted { Begun::Restarted } else { Begun::Launched },
            span: (at - since).max(TimeDelta::zero()),
        })
    }

    /// The first call for a request; what is tried elsewhere after it is the same wait.
    fn asked(&mut self, worker: &WorkerName, at: DateTime<Utc>) -> Option<Happening> {
        let (since, asked) = self.requested.as_mut()?;
        if std::mem::replace(asked, true) {
            return None;
        }
        let since = *since;
        Some(self.took(TimedPhase::Request, worker, since, at))
    }

    fn ran(&mut self, worker: &WorkerName, at: DateTime<Utc>) -> Option<Happening> {
        // Whoever connected before it was seen running tells nothing of when it began to run.
        if self.ran.is_some() || self.attached.is_some() {
            return None;
        }
        self.ran = Some(at);
        Some(self.took(TimedPhase::Pending, worker, self.called?, at))
    }

    fn attached(&mut self, worker: &WorkerName, at: DateTime<Utc>) -> Vec<Happening> {
        let mut all = Vec::new();
        if self.attached.is_none() {
            all.extend(self.ran.map(|ran| self.took(TimedPhase::Boot, worker, ran, at)));
            self.attached = Some(at);
        }
        if let Some((since, _)) = self.requested.take() {
            all.push(self.took(TimedPhase::Connect, worker, since, at));
        }
        all
    }

    fn built(&mut self, worker: &WorkerName, at: DateTime<Utc>) -> Vec<Happening> {
        let first = self.attached.filter(|_| !std::mem::replace(&mut self.built, true));
        let first = first.map(|since| self.took(TimedPhase::FirstBuild, worker, since, at));
        first.into_iter().chain([Happening::Built { worker: worker.clone() }]).collect()
    }

    fn drained(&mut self, worker: &WorkerName, at: DateTime<Utc>) -> Option<Happening> {
        let since = self.draining.take()?;
        Some(self.took(TimedPhase::Drain, worker, since, at))
    }

    fn stopped(&mut self, worker: &WorkerName, at: DateTime<Utc>) -> Option<Happening> {
        let took = self.stopping.map(|since| self.took(TimedPhase::Stop, worker, since, at));
        let instance = self.instance.take();
        self.begin(None, instance, self.restarted);
        took
    }
}

impl Lives {
    /// The place of the last entry that was taken in.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Takes an entry in and says what it means. An entry that was taken in before means nothing.
    pub fn apply(&mut self, entry: &Entry) -> Vec<Happening> {
        if entry.seq <= self.seq {
            return Vec::new();
        }
        self.seq = entry.seq;
        let at = entry.at;
        match &entry.body {
            Body::TerminateIntended { instance, cell, worker, cause, .. } => {
                self.terminates(at, instance, &cell.owner, worker.as_ref(), cause)
            }
            Body::Departed { instance, .. } => self.departs(at, instance),
            Body::Lost { worker, instance, cause, .. } => self.is_lost(worker, instance, cause),
            body => match body.worker() {
                Some(worker) => self.lives_on(at, worker, body),
                None => Vec::new(),
            },
        }
    }

    fn lives_on(&mut self, at: DateTime<Utc>, worker: &WorkerName, body: &Body) -> Vec<Happening> {
        let life = self.workers.entry(worker.clone()).or_default();
        let name = || worker.clone();
        match body {
            Body::Requested { .. } => {
                life.requested.get_or_insert((at, false));
                return vec![Happening::Requested { worker: name() }];
            }
            Body::Released { .. } => life.requested = None,
            Body::RequestFailed { failure, .. } => {
                life.requested = None;
                return vec![Happening::RequestFailed { worker: name(), reason: failure.kind }];
            }
            Body::LaunchIntended { attempt, .. } => {
                life.attempt = Some(Own::of(attempt));
                life.begin(Some(at), None, false);
            }
            Body::Adopted { attempt, instance, .. } => {
                life.attempt = Some(Own::of(attempt));
                life.begin(None, Some(instance.clone()), false);
            }
            Body::StartIntended { instance, .. } => life.begin(Some(at), Some(instance.clone()), true),
            _ => {}
        }
        if life.is_canary() { Vec::new() } else { serves(life, at, worker, body) }
    }

    fn terminates(
        &mut self,
        at: DateTime<Utc>,
        instance: &InstanceId,
        owner: &OwnerName,
        worker: Option<&WorkerName>,
        cause: &Cause,
    ) -> Vec<Happening> {
        if self.leaving.contains_key(instance) {
            return Vec::new();
        }
        let mut all = vec![Happening::Ended { owner: owner.clone(), cause: cause.clone() }];
        let mut of = None;
        let life = worker.and_then(|name| Some((name, self.workers.get_mut(name)?)));
        if let Some((name, life)) = life.filter(|(_, life)| life.instance.as_ref() == Some(instance)) {
            if !life.is_canary() {
                all.extend(life.drained(name, at));
                of = Some((name.clone(), life.clone()));
            }
            life.begin(None, None, false);
        }
        self.leaving.insert(instance.clone(), Leaving { since: at, of });
        all
    }

    fn departs(&mut self, at: DateTime<Utc>, instance: &InstanceId) -> Vec<Happening> {
        let Some(Leaving { since, of }) = self.leaving.remove(instance) else { return Vec::new() };
        of.map(|(worker, life)| life.took(TimedPhase::Terminate, &worker, since, at)).into_iter().collect()
    }

    fn is_lost(&mut self, worker: &WorkerName, instance: &InstanceId, cause: &Cause) -> Vec<Happening> {
        let intended = self.leaving.remove(instance).is_some();
        let Some(life) = self.workers.get_mut(worker).filter(|life| life.instance.as_ref() == Some(instance)) else {
            return Vec::new();
        };
        let owner = life.attempt.as_ref().map(|own| own.owner.clone()).filter(|_| !intended);
        life.begin(None, None, false);
        owner.map(|owner| Happening::Ended { owner, cause: cause.clone() }).into_iter().collect()
    }
}

/// What an entry means for a worker that is no canary.
fn serves(life: &mut Life, at: DateTime<Utc>, worker: &WorkerName, body: &Body) -> Vec<Happening> {
    let launched = |life: &Life, refused| {
        life.image().map(|image| Happening::Launched { image, refused }).into_iter().collect::<Vec<_>>()
    };
    match body {
        Body::LaunchIntended { .. } | Body::StartIntended { .. } => life.asked(worker, at).into_iter().collect(),
        Body::Launched { instance, .. } => {
            life.instance = Some(instance.clone());
            launched(life, None)
        }
        Body::LaunchRefused { failure, .. } | Body::StartRefused { failure, .. } => {
            life.called = None;
            launched(life, Some(failure.kind))
        }
        Body::Running { .. } => life.ran(worker, at).into_iter().collect(),
        Body::Attached { .. } => life.attached(worker, at),
        Body::BuildStarted { .. } => life.built(worker, at),
        Body::DrainOrdered { .. } => {
            life.draining.get_or_insert(at);
            Vec::new()
        }
        Body::StopIntended { .. } => {
            life.stopping.get_or_insert(at);
            life.drained(worker, at).into_iter().collect()
        }
        Body::StopSeen { .. } => life.stopped(worker, at).into_iter().collect(),
        Body::InterruptionNoticed { .. } => {
            life.image().map(|image| Happening::Interrupted { image }).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Cell, Failure, MasterId, Phase, RequestId, StopMode};

    struct Story {
        lives: Lives,
        now: DateTime<Utc>,
    }

    fn worker() -> WorkerName {
        "w".parse().expect("a name")
    }

    fn instance() -> InstanceId {
        "i-1".parse().expect("an id")
    }

    fn cell() -> Cell {
        Cell { owner: "o".parse().expect("a name"), region: "us-west-2".parse().expect("a region") }
    }

    fn attempt() -> Attempt {
        let (id, image) = ("1-1".parse().expect("an id"), "debian".parse().expect("a name"));
        Attempt { id, cell: cell(), image, created: DateTime::UNIX_EPOCH, spec: None }
    }

    fn failure(kind: FailureKind) -> Failure {
        Failure::new(Phase::Launch, kind, "Code", "said")
    }

    impl Story {
        fn new() -> Self {
            Self { lives: Lives::default(), now: DateTime::UNIX_EPOCH }
        }

        /// After so many seconds this is written; gives what it means, in words.
        fn after(&mut self, seconds: i64, body: Body) -> Vec<String> {
            self.now += TimeDelta::seconds(seconds);
            let actor = Actor::Master("m".parse::<MasterId>().expect("an id"));
            let entry = Entry { seq: self.lives.seq() + 1, at: self.now, actor, body };
            let all = self.lives.apply(&entry);
            assert!(self.lives.apply(&entry).is_empty(), "the same entry twice");
            all.iter().map(word).collect()
        }

        fn requested(&mut self) -> Vec<String> {
            let request: RequestId = "r".parse().expect("an id");
            self.after(0, Body::Requested { worker: worker(), request })
        }

        fn intended(&mut self, seconds: i64) -> Vec<String> {
            self.after(seconds, Body::LaunchIntended { worker: worker(), attempt: Box::new(attempt()) })
        }

        fn terminates(&mut self, seconds: i64, cause: Cause) -> Vec<String> {
            let body = Body::TerminateIntended {
                instance: instance(),
                cell: cell(),
                worker: Some(worker()),
                cause,
                seen: None,
                silent_since: None,
            };
            self.after(seconds, body)
        }
    }

    fn word(happening: &Happening) -> String {
        match happening {
            Happening::Took(took) => {
                format!("{} {} {}", took.begun.code(), took.phase.code(), took.span.num_seconds())
            }
            Happening::Requested { .. } => "requested".to_owned(),
            Happening::RequestFailed { reason, .. } => format!("failed {}", reason.code()),
            Happening::Launched { refused: None, .. } => "launched".to_owned(),
            Happening::Launched { refused: Some(kind), .. } => format!("refused {}", kind.code()),
            Happening::Built { .. } => "built".to_owned(),
            Happening::Ended { cause, .. } => format!("ended {}", cause.code()),
            Happening::Interrupted { image } => format!("interrupted {image}"),
        }
    }

    #[test]
    fn a_life_is_cut_into_its_phases() {
        let (mut story, name, id) = (Story::new(), worker(), instance());
        assert_eq!(story.requested(), ["requested"]);
        assert_eq!(story.intended(2), ["launch request 2"]);
        assert_eq!(
            story.after(1, Body::LaunchRefused { worker: worker(), failure: failure(FailureKind::Elsewhere) }),
            ["refused elsewhere"]
        );
        assert_eq!(story.intended(5), Vec::<String>::new(), "the same request");
        assert_eq!(story.after(1, Body::Launched { worker: name.clone(), instance: id.clone() }), ["launched"]);
        let running = Body::Running { worker: name.clone(), instance: id.clone(), seen: None };
        assert_eq!(story.after(9, running), ["launch pending 10"]);
        assert_eq!(story.after(40, Body::Attached { worker: name.clone() }), ["launch boot 40", "launch connect 58"]);
        let build = || Body::BuildStarted { worker: worker(), build: "b/1".parse().expect("an id") };
        assert_eq!(story.after(3, build()), ["launch first_build 3", "built"]);
        assert_eq!(story.after(3, build()), ["built"]);
        story.after(1, Body::DrainOrdered { worker: name.clone(), cause: Cause::Operator });
        let (instance, cause, mode) = (id.clone(), Cause::Operator, StopMode::Plain);
        let stop = Body::StopIntended { worker: name.clone(), instance, cause, mode };
        assert_eq!(story.after(30, stop), ["launch drain 30"]);
        assert_eq!(
            story.after(
                20,
                Body::StopSeen { worker: name.clone(), instance: id.clone(), stopped_at: None, ran_until: None }
            ),
            ["launch stop 20"]
        );
        story.requested();
        let start = Body::StartIntended { worker: name.clone(), instance: id.clone() };
        assert_eq!(story.after(1, start), ["restart request 1"]);
        let running = Body::Running { worker: name.clone(), instance: id.clone(), seen: None };
        assert_eq!(story.after(4, running), ["restart pending 4"]);
        assert_eq!(story.after(5, Body::Attached { worker: name }), ["restart boot 5", "restart connect 10"]);
        assert_eq!(story.terminates(9, Cause::Released), ["ended released"]);
        assert_eq!(story.terminates(9, Cause::Released), Vec::<String>::new(), "it is sent again");
        assert_eq!(
            story.after(9, Body::Departed { instance: id, ended_at: None, ran_until: None, seen: None }),
            ["restart terminate 18"]
        );
        assert!(story.lives.leaving.is_empty());
    }

    #[test]
    fn a_connection_that_is_lost_and_found_is_no_second_boot() {
        let (mut story, name) = (Story::new(), worker());
        story.requested();
        story.intended(0);
        story.after(0, Body::Launched { worker: name.clone(), instance: instance() });
        story.after(5, Body::Running { worker: name.clone(), instance: instance(), seen: None });
        assert_eq!(story.after(5, Body::Attached { worker: name.clone() }).len(), 2);
        story.after(5, Body::Detached { worker: name.clone() });
        assert_eq!(story.after(5, Body::Attached { worker: name }), Vec::<String>::new());
    }

    #[test]
    fn what_connects_before_it_is_seen_running_has_no_boot_and_no_pending() {
        let (mut story, name) = (Story::new(), worker());
        story.requested();
        story.intended(0);
        story.after(0, Body::Launched { worker: name.clone(), instance: instance() });
        assert_eq!(story.after(5, Body::Attached { worker: name.clone() }), ["launch connect 5"]);
        assert!(story.after(5, Body::Running { worker: name, instance: instance(), seen: None }).is_empty());
    }

    #[test]
    fn what_is_lost_ends_once_and_a_failure_is_told_by_its_reason() {
        let (mut story, name) = (Story::new(), worker());
        story.requested();
        story.intended(0);
        story.after(0, Body::Launched { worker: name.clone(), instance: instance() });
        story.after(0, Body::InterruptionNoticed { worker: name.clone(), instance: instance() });
        let lost = |cause| Body::Lost {
            worker: worker(),
            instance: instance(),
            cause,
            reason: String::new(),
            ended_at: None,
            ran_until: None,
            seen: None,
        };
        assert_eq!(story.after(0, lost(Cause::Interrupted)), ["ended interrupted"]);
        assert!(story.after(0, lost(Cause::Lost)).is_empty(), "it has ended already");
        let failed = Body::RequestFailed { worker: name, failure: failure(FailureKind::Quota) };
        assert_eq!(story.after(0, failed), ["failed quota"]);
        assert_eq!(story.requested(), ["requested"]);
        assert_eq!(story.intended(7), ["launch request 7"], "of the new request");
    }
}
