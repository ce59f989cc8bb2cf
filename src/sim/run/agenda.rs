//! What is to happen in the world outside the cloud, in order of time.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::model::{InstanceId, WorkerName};
use crate::sim::SiteId;

/// A guest: one boot of an instance in an account and region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GuestId {
    pub(super) site: SiteId,
    pub(super) id: InstanceId,
    /// Which boot it is: what an earlier one had in mind is over.
    pub(super) boot: u32,
}

/// Something that happens at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happening {
    /// Somebody wants a build on this worker.
    BuildWanted(WorkerName),
    /// The build that this worker is got for is taken back.
    Cancel(WorkerName),
    /// The master tries again to get this worker.
    Retry(WorkerName),
    /// A build ends, if it still runs.
    BuildEnds(WorkerName, u64),
    /// The master notices that a worker that was attached does not come back.
    GivesUp(WorkerName, u64),
    /// The master says everything it knows.
    Report,
    /// A guest's worker tries to connect.
    Connect(GuestId),
    /// It has waited at the door for a newer listing, and is answered now.
    Answered(GuestId),
    /// A guest's connection breaks.
    LoseConnection(GuestId),
    /// A guest's worker stops for ever.
    Hang(GuestId),
    /// A guest powers itself off.
    PowerOff(GuestId),
    /// A guest has read that EC2 takes its instance back, and its worker asks to be let go of.
    Leaves(GuestId),
    /// A guest looks at its lease.
    LeaseCheck(GuestId),
    /// A guest's last hour has come.
    Deadline(GuestId),
    /// The master is killed.
    MasterKill,
    /// The master is back.
    MasterUp,
    /// Master and controller cannot reach each other.
    SilenceBegins,
    /// They can again.
    SilenceEnds,
    /// The configuration changes.
    Reconfig,
    /// An operator does something.
    Operator,
    /// A rebake asks for a canary.
    Canary,
    /// The controller's machine is lost.
    LedgerLost,
    /// Something with our tags runs that no controller launched.
    Stray,
    /// Somebody starts a second controller.
    SecondController,
    /// The controller is started again.
    Restart,
    /// What must hold at any time is looked at.
    Minute,
}

/// What is to come.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    entries: BTreeMap<(DateTime<Utc>, u64), Happening>,
    count: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at: DateTime<Utc>, happening: Happening) {
        self.count += 1;
        self.entries.insert((at, self.count), happening);
    }

    pub(super) fn next(&self) -> Option<DateTime<Utc>> {
        self.entries.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn due(&mut self, now: DateTime<Utc>) -> Option<Happening> {
        let entry = self.entries.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }

    /// Takes back what would happen by itself again and again.
    pub(super) fn forget(&mut self, which: impl Fn(&Happening) -> bool) {
        self.entries.retain(|_, happening| !which(happening));
    }
}
