//! What a worker was used for, folded from its entries.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Actor, Body, BuildId, Cause};

/// So many times between two builds are kept of a worker, the last ones.
const GAPS_MAX: usize = 100;

/// What a worker was used for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Builds that began on the present instance since its launch: after a stop its disks are what they were.
    pub builds: u32,
    /// From the end of a build to the next one that began or was asked for, in whole seconds: the last hundred, the
    /// oldest first. They go on over the end of an instance.
    pub gaps: VecDeque<u32>,
    /// Whether a build began since its last launch or start.
    pub served: bool,
    /// Why its instance goes, or went, since then: the first reason, and when.
    pub left: Option<(DateTime<Utc>, Cause)>,
    /// When a request for it failed, while it has not connected since.
    pub failed_at: Option<DateTime<Utc>>,
    /// Whether an instance was launched or started for it, and no end of that was asked for.
    there: bool,
    /// The last build. One that its master tells of again is the same one.
    last_build: Option<BuildId>,
    /// When its last build ended, while none has followed.
    idle_from: Option<DateTime<Utc>>,
}

impl History {
    /// Adds what an entry of the worker says.
    pub(super) fn note(&mut self, actor: &Actor, at: DateTime<Utc>, body: &Body) {
        match body {
            Body::LaunchIntended { .. } | Body::Adopted { .. } => {
                (self.builds, self.last_build) = (0, None);
                self.begin();
            }
            Body::StartIntended { .. } => self.begin(),
            Body::RequestFailed { .. } => self.failed_at = Some(at),
            Body::Attached { .. } => {
                self.failed_at = None;
                // Let go of, kept by a hold, and taken into use again.
                self.left.take_if(|(_, cause)| *cause == Cause::Released);
            }
            // Of what has no instance nothing is let go of, unless a person says so.
            Body::Released { cause, .. } if !self.there && *cause != Cause::Operator => {}
            Body::DrainOrdered { cause, .. } | Body::Released { cause, .. } => {
                self.left.get_or_insert_with(|| (at, cause.clone()));
            }
            Body::StopIntended { cause, .. } | Body::TerminateIntended { cause, .. } | Body::Lost { cause, .. } => {
                self.there = false;
                // That its master let go of it may follow from a reason of ours.
                if self.left.as_ref().is_none_or(|(_, first)| *first == Cause::Released) {
                    self.left = Some((at, cause.clone()));
                }
            }
            Body::BuildStarted { build, .. } => {
                if self.last_build.as_ref() != Some(build) {
                    self.builds = self.builds.saturating_add(1);
                    self.last_build = Some(build.clone());
                }
                self.served = true;
                self.end_gap(at);
            }
            Body::BuildFinished { .. } => self.idle_from = Some(at),
            // Nobody but a master asks because a build waits.
            Body::Requested { .. } if matches!(actor, Actor::Master(_)) => self.end_gap(at),
            _ => {}
        }
    }

    fn begin(&mut self) {
        (self.served, self.left, self.there) = (false, None, true);
    }

    fn end_gap(&mut self, at: DateTime<Utc>) {
        let Some(from) = self.idle_from.take() else { return };
        if self.gaps.len() >= GAPS_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back(u32::try_from((at - from).num_seconds().max(0)).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::model::{StopMode, WorkerName};

    struct Told(History, DateTime<Utc>);

    impl Told {
        fn after(&mut self, seconds: i64, actor: &Actor, body: &Body) {
            self.1 += TimeDelta::seconds(seconds);
            self.0.note(actor, self.1, body);
        }
    }

    fn build(id: &str) -> Body {
        Body::BuildStarted { worker: "w1".parse().expect("a name"), build: id.parse().expect("a build") }
    }

    fn over() -> Body {
        Body::BuildFinished { worker: "w1".parse().expect("a name") }
    }

    fn asked() -> Body {
        Body::Requested { worker: "w1".parse().expect("a name"), request: "r".parse().expect("a request") }
    }

    #[test]
    fn a_build_that_is_told_of_again_counts_once() {
        let mut told = Told(History::default(), DateTime::UNIX_EPOCH);
        let master = Actor::Master("m".parse().expect("a master"));
        for id in ["b/1", "b/1", "b/2", "b/2", "b/3"] {
            told.after(1, &master, &build(id));
        }
        assert_eq!(told.0.builds, 3);
        let started =
            Body::StartIntended { worker: "w1".parse().expect("a name"), instance: "i-1".parse().expect("an id") };
        told.after(1, &Actor::Controller, &started);
        assert_eq!(told.0.builds, 3, "its disks are the same");
    }

    #[test]
    fn the_reason_of_an_end_is_the_first_one_but_for_a_masters_consent() {
        let (worker, instance) = ("w1".parse::<WorkerName>().expect("a name"), "i-1".parse().expect("an id"));
        let started = Body::StartIntended { worker: worker.clone(), instance };
        let released = |cause| Body::Released { worker: worker.clone(), cause };
        let drain = |cause| Body::DrainOrdered { worker: worker.clone(), cause };
        let stop = |cause| {
            let instance = "i-1".parse().expect("an id");
            Body::StopIntended { worker: worker.clone(), instance, cause, mode: StopMode::Plain }
        };
        for (bodies, left) in [
            (vec![released(Cause::Released)], Cause::Released),
            (vec![released(Cause::Released), stop(Cause::Worn)], Cause::Worn),
            (vec![drain(Cause::Worn), released(Cause::Released), stop(Cause::Worn)], Cause::Worn),
            (vec![drain(Cause::Operator), released(Cause::Released), stop(Cause::Released)], Cause::Operator),
        ] {
            let mut told = Told(History::default(), DateTime::UNIX_EPOCH);
            told.after(1, &Actor::Controller, &started);
            for body in &bodies {
                told.after(1, &Actor::Controller, body);
            }
            assert_eq!(told.0.left.map(|(_, cause)| cause), Some(left), "{bodies:?}");
        }
        let mut told = Told(History::default(), DateTime::UNIX_EPOCH);
        told.after(1, &Actor::Controller, &released(Cause::Released));
        assert_eq!(told.0.left, None, "it has nothing");
        told.after(1, &Actor::Operator, &released(Cause::Operator));
        assert!(told.0.left.is_some());
    }

    #[test]
    fn gaps_are_from_a_builds_end_to_the_next_wish_for_one() {
        let mut told = Told(History::default(), DateTime::UNIX_EPOCH);
        let master = Actor::Master("m".parse().expect("a master"));
        told.after(5, &master, &asked());
        told.after(40, &master, &build("b/1"));
        told.after(100, &master, &over());
        told.after(30, &master, &build("b/2"));
        told.after(100, &master, &over());
        told.after(400, &Actor::Operator, &asked());
        told.after(500, &master, &asked());
        told.after(40, &master, &build("b/3"));
        assert_eq!(told.0.gaps, [30, 900], "an operator's wish is no build, and a boot is no idle time");
        for number in 0..200 {
            told.after(1, &master, &over());
            told.after(7, &master, &build(&format!("c/{number}")));
        }
        assert_eq!((told.0.gaps.len(), told.0.gaps.front()), (GAPS_MAX, Some(&7)));
    }
}
