//! What a worker was used for, folded from its entries.

use super::{Body, BuildId};

/// What a worker was used for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Builds that began on the present instance since its launch: after a stop its disks are what they were.
    pub builds: u32,
    /// The last of them. A build that its master tells of again is the same one.
    last_build: Option<BuildId>,
}

impl History {
    /// Adds what an entry of the worker says.
    pub(super) fn note(&mut self, body: &Body) {
        match body {
            Body::LaunchIntended { .. } | Body::Adopted { .. } => (self.builds, self.last_build) = (0, None),
            Body::BuildStarted { build, .. } if self.last_build.as_ref() != Some(build) => {
                self.builds = self.builds.saturating_add(1);
                self.last_build = Some(build.clone());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(id: &str) -> Body {
        Body::BuildStarted { worker: "w1".parse().expect("a name"), build: id.parse().expect("a build") }
    }

    #[test]
    fn a_build_that_is_told_of_again_counts_once() {
        let mut history = History::default();
        for id in ["b/1", "b/1", "b/2", "b/2", "b/3"] {
            history.note(&build(id));
        }
        assert_eq!(history.builds, 3);
        history.note(&Body::StartIntended {
            worker: "w1".parse().expect("a name"),
            instance: "i-1".parse().expect("an id"),
        });
        assert_eq!(history.builds, 3, "its disks are the same");
    }
}
