//! The values that hold for a worker. What comes from its owner, its image and its policy is kept once for
//! all workers that have it from there.

use std::sync::Arc;

use super::problem::Shown;

/// Every value that holds for a worker, and where each stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownValues {
    pub(super) own: Vec<Shown>,
    pub(super) owner: Arc<[Shown]>,
    pub(super) image: Arc<[Shown]>,
    pub(super) policy: Arc<[Shown]>,
}

impl ShownValues {
    /// All of them: its own, its owner's, its image's, its policy's.
    pub fn iter(&self) -> impl Iterator<Item = Shown> + '_ {
        let image = self.image.iter().map(|s| Shown { key: format!("image.{}", s.key), ..s.clone() });
        let policy = self.policy.iter().map(|s| {
            let key = format!("policy.{}", s.key.trim_start_matches("policy."));
            Shown { key, ..s.clone() }
        });
        self.own.iter().chain(self.owner.iter()).cloned().chain(image).chain(policy)
    }
}
