//! Why an entry does not follow.

use super::{IllegalEvent, WorkerName};

/// An entry that does not follow from those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// A gap or a repetition.
    #[error("entry {found} stands where entry {expected} should")]
    Sequence {
        /// What should stand there.
        expected: u64,
        /// What does.
        found: u64,
    },
    /// An event that the worker cannot meet.
    #[error("worker {worker}, entry {seq}: {illegal}")]
    Illegal {
        /// Which worker.
        worker: WorkerName,
        /// Which entry.
        seq: u64,
        /// Why.
        illegal: IllegalEvent,
    },
}
