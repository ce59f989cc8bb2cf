//! One instance from its launch to its end.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::kept::Piece;
use super::{Segment, Use};
use crate::model::{
    AmiId, BlockDevice, Cause, Cell, ImageName, InstanceId, Market, ShutdownBehavior, WorkerName, Zone,
};

/// A moment that is known to lie between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Not before.
    pub earliest: DateTime<Utc>,
    /// Not after.
    pub latest: DateTime<Utc>,
}

impl Span {
    /// A moment between two, whichever of them is the earlier.
    pub(super) fn of(one: DateTime<Utc>, other: DateTime<Utc>) -> Self {
        Self { earliest: one.min(other), latest: one.max(other) }
    }
}

/// One launch, or one start of a stopped instance: each begins a new minimum of 60 billed seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// When it was asked for, or EC2's launch time where that is later: it did not run before.
    pub asked: DateTime<Utc>,
    /// When it was first known to run; absent if it may never have run.
    pub seen: Option<DateTime<Utc>>,
    /// When it stopped running; absent while it runs, or may.
    pub over: Option<Span>,
}

/// Why and when a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When the ledger knew that it was over.
    pub at: DateTime<Utc>,
    /// Why.
    pub cause: Cause,
    /// EC2's words, where it ended by itself.
    pub reason: Option<String>,
}

/// One instance from its launch to its end, as the ledger tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id; absent while the launch has no answer, and for ever if that was refused.
    pub instance: Option<InstanceId>,
    /// Its worker. Of a zombie it is whom its tag names.
    pub worker: Option<WorkerName>,
    /// Where.
    pub cell: Cell,
    /// The image manifest that it was launched for.
    pub image: Option<ImageName>,
    /// Its AMI.
    pub ami: Option<AmiId>,
    /// Its type.
    pub instance_type: Option<String>,
    /// How it was bought.
    pub market: Option<Market>,
    /// Its zone.
    pub zone: Option<Zone>,
    /// What is billed as its software (EC2's `PlatformDetails`).
    pub software: Option<String>,
    /// What the launch said of its disks; the AMI may bring more.
    pub block_devices: Vec<BlockDevice>,
    /// What a power-off from inside does.
    pub shutdown: Option<ShutdownBehavior>,
    /// Whether it has a public IPv4 address while it runs.
    pub public_address: Option<bool>,
    /// Who wanted it, in words: `master m1`, `operator`, `rebake rb1`.
    pub wanted_by: Option<String>,
    /// When that was; absent if nobody asked, as for an adopted instance.
    pub requested: Option<DateTime<Utc>>,
    /// When EC2 gave it.
    pub launched: Option<DateTime<Utc>>,
    /// Its life, oldest first and without gaps; empty if the launch was refused. The last one is open while it
    /// lives.
    pub segments: Vec<Segment>,
    /// Its launch and each start after a stop.
    pub starts: Vec<Start>,
    /// When each of its builds began.
    pub builds: Vec<DateTime<Utc>>,
    /// For each start: when it was asked for (by a request, where one waited) and when its worker connected.
    pub connects: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// How it ended.
    pub ended: Option<Ended>,
    /// Whether it proved a rebake's candidate.
    pub canary: bool,
    /// Whether an earlier ledger, or none, launched it: it was taken over by its tags.
    pub adopted: bool,
    /// Whether nothing explained it when it was found.
    pub stray: bool,
    /// Since when no controller has written of it: what came after is unknown.
    pub silent_since: Option<DateTime<Utc>>,
}

impl Run {
    /// A run of which nothing is known but where it is.
    pub fn new(cell: Cell) -> Self {
        Self {
            instance: None,
            worker: None,
            cell,
            image: None,
            ami: None,
            instance_type: None,
            market: None,
            zone: None,
            software: None,
            block_devices: Vec::new(),
            shutdown: None,
            public_address: None,
            wanted_by: None,
            requested: None,
            launched: None,
            segments: Vec::new(),
            starts: Vec::new(),
            builds: Vec::new(),
            connects: Vec::new(),
            ended: None,
            canary: false,
            adopted: false,
            stray: false,
            silent_since: None,
        }
    }

    /// When its life begins; absent if its launch was refused.
    pub fn begins(&self) -> Option<DateTime<Utc>> {
        self.segments.first().map(|segment| segment.from)
    }

    /// Whether it is over, or never was.
    pub fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether it was a zombie at any time.
    pub fn was_zombie(&self) -> bool {
        self.segments.iter().any(|segment| segment.usage == Use::Zombie)
    }

    /// In which use it is now; absent if it is over.
    pub fn usage(&self) -> Option<Use> {
        self.segments.last().filter(|segment| segment.to.is_none()).map(|segment| segment.usage)
    }

    /// Goes over into another use. A time before the last change, as a clock that was set back tells it, counts
    /// as that.
    pub(super) fn turn(&mut self, at: DateTime<Utc>, usage: Use) {
        let Some(last) = self.segments.last_mut() else {
            self.segments.push(Segment { from: at, to: None, usage });
            return;
        };
        if last.usage == usage || last.to.is_some() {
            return;
        }
        let at = at.max(last.from);
        if at > last.from {
            last.to = Some(at);
            self.segments.push(Segment { from: at, to: None, usage });
            return;
        }
        // It lasted no time: what was before goes on, or over into the new use.
        let from = last.from;
        self.segments.pop();
        match self.segments.last_mut() {
            Some(before) if before.usage == usage => before.to = None,
            _ => self.segments.push(Segment { from, to: None, usage }),
        }
    }

    /// The use of the stretch from `since` on is another, as only now is known. What was before the last change
    /// stays as it is.
    pub(super) fn turned(&mut self, since: DateTime<Utc>, usage: Use) {
        if self.segments.last().is_some_and(|last| last.to.is_none()) {
            self.turn(since, usage);
        }
    }

    /// Its life is over.
    pub(super) fn close(&mut self, at: DateTime<Utc>) {
        if let Some(last) = self.segments.last_mut().filter(|last| last.to.is_none()) {
            last.to = Some(at.max(last.from));
        }
        self.silent_since = None;
    }

    /// Drops what lies wholly before a time of a life that goes on, and gives it.
    pub(super) fn forget_before(&mut self, at: DateTime<Utc>) -> Piece {
        let segments = self.segments.extract_if(.., |segment| segment.to.is_some_and(|to| to < at)).collect();
        // The last one may yet turn out to go on.
        let last = self.starts.len().saturating_sub(1);
        let mut number = 0;
        let is_old = |start: &mut Start| {
            number += 1;
            number <= last && start.over.is_some_and(|over| over.latest < at)
        };
        Piece {
            segments,
            starts: self.starts.extract_if(.., is_old).collect(),
            builds: self.builds.extract_if(.., |began| *began < at).collect(),
            connects: self.connects.extract_if(.., |(_, connected)| *connected < at).collect(),
        }
    }

    /// Takes back what was forgotten of it.
    pub(super) fn remember(&mut self, piece: Piece) {
        let Piece { segments, starts, builds, connects } = piece;
        self.segments.splice(0..0, segments);
        self.starts.splice(0..0, starts);
        self.builds.splice(0..0, builds);
        self.connects.splice(0..0, connects);
    }
}
