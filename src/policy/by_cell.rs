//! The configured workers of a cell, found without going through those of all others.

use std::collections::{BTreeMap, BTreeSet};

use super::intent::{Intent, WorkerIntent};
use crate::model::{Cell, WorkerName};

/// The workers by the cell that they are of; made of them whenever they change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ByCell(BTreeMap<Cell, BTreeSet<WorkerName>>);

impl ByCell {
    pub(super) fn of(workers: &BTreeMap<WorkerName, WorkerIntent>) -> Self {
        let mut cells: BTreeMap<Cell, BTreeSet<WorkerName>> = BTreeMap::new();
        for (name, worker) in workers {
            cells.entry(worker.cell.clone()).or_default().insert(name.clone());
        }
        Self(cells)
    }
}

impl Intent {
    /// The workers of a cell, in the order of their names.
    pub fn of_cell(&self, cell: &Cell) -> impl Iterator<Item = &WorkerName> {
        self.by_cell.0.get(cell).into_iter().flatten()
    }

    /// The cells that have workers.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.by_cell.0.keys()
    }
}
