//! Several launches in one call: which of its instances is whose.
//!
//! The instances of one `RunInstances` call have the same tags and the same user data, and differ by their launch
//! index. The tags name all workers of the call, in the order of the index; a listing that tells the index so tells
//! the worker.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{LaunchSpec, TagSet, WorkerName, digest_hex, tag_keys};

/// The most workers of one call. AWS advises several calls for 100 instances each over one for 500.
pub const BATCH_MAX: usize = 100;
/// The most tags of a resource.
const TAGS_MAX: usize = 50;
/// The longest value of a tag, in characters.
const VALUE_MAX: usize = 256;

/// One place in a launch call for several workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchPlace {
    /// The launch index of its instance.
    pub index: u32,
    /// How many the call is for.
    pub size: u32,
    /// SHA-256 of their names in order.
    pub workers: String,
}

impl BatchPlace {
    /// The place of one of these workers.
    pub fn of(index: usize, workers: &[WorkerName]) -> Self {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { index: count(index), size: count(workers.len()), workers: digest(workers) }
    }

    /// Whether these are the workers of the call, in order.
    pub fn is_of(&self, workers: &[WorkerName]) -> bool {
        usize::try_from(self.size) == Ok(workers.len()) && self.workers == digest(workers)
    }
}

fn digest(workers: &[WorkerName]) -> String {
    let mut digest = Sha256::new();
    for worker in workers {
        digest.update(worker.as_str());
        // No name holds a line's end.
        digest.update("\n");
    }
    digest_hex(&digest.finalize())
}

/// What the console shows as the name of a worker's instance, where the owner says nothing.
pub fn instance_name(worker: &WorkerName) -> String {
    format!("latent {worker}")
}

impl LaunchSpec {
    /// The same without what names a worker.
    #[must_use]
    pub fn nameless(&self) -> Self {
        let own = self.tags.get(tag_keys::WORKER).and_then(|name| name.parse().ok()).map(|name| instance_name(&name));
        let named = own.is_some_and(|own| self.tags.get(tag_keys::NAME) == Some(own.as_str()));
        let kept = self.tags.iter().filter(|(key, _)| *key != tag_keys::WORKER && !(named && *key == tag_keys::NAME));
        let tags = kept.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { tags, ..self.clone() }
    }

    /// What the call for all of them says; `None` if their names do not fit the tags of a resource.
    pub fn for_all(&self, workers: &[WorkerName]) -> Option<Self> {
        let mut call = self.nameless();
        let mut values: Vec<String> = Vec::new();
        for worker in workers {
            match values.last_mut().filter(|last| last.len() + 1 + worker.as_str().len() <= VALUE_MAX) {
                Some(last) => {
                    last.push(' ');
                    last.push_str(worker.as_str());
                }
                None => values.push(worker.as_str().to_owned()),
            }
        }
        for (number, value) in values.into_iter().enumerate() {
            call.tags.set(&workers_key(number), value);
        }
        if call.tags.get(tag_keys::NAME).is_none() {
            let image = call.tags.get(tag_keys::IMAGE).unwrap_or_default().to_owned();
            call.tags.set(tag_keys::NAME, format!("latent {image}"));
        }
        (call.tags.iter().count() <= TAGS_MAX).then_some(call)
    }
}

/// Under which key the names stand; several are needed where they are many.
fn workers_key(number: usize) -> String {
    match number {
        0 => tag_keys::WORKERS.to_owned(),
        _ => format!("{}-{}", tag_keys::WORKERS, number + 1),
    }
}

impl TagSet {
    /// The tags as they are of the one instance with this launch index: of several workers its own alone. Tags that
    /// name one worker, or none, stay as they are.
    #[must_use]
    pub fn of_launch_index(self, index: u32) -> Self {
        if self.get(tag_keys::WORKER).is_some() || self.get(tag_keys::WORKERS).is_none() {
            return self;
        }
        let lists = (0..TAGS_MAX).map_while(|number| self.get(&workers_key(number)));
        let Some(own) = lists.flat_map(|list| list.split(' ')).nth(usize::try_from(index).unwrap_or(usize::MAX)) else {
            return self;
        };
        let rest = self.iter().filter(|(key, _)| !key.starts_with(tag_keys::WORKERS));
        let own = (tag_keys::WORKER.to_owned(), own.to_owned());
        rest.map(|(key, value)| (key.to_owned(), value.to_owned())).chain([own]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClientToken;

    fn spec() -> LaunchSpec {
        let text = r#"{"region":"us-west-2","ami":"ami-1","offering":{"instance_type":"t","place":"anywhere","market":"spot"},"security_groups":[],"key_pair":null,"instance_profile":null,"block_devices":[],"shutdown":"terminate","tags":{"latent:fleet":"f","latent:image":"i"},"user_data_digest":null}"#;
        serde_json::from_str(text).expect("reads")
    }

    fn names(count: usize, length: usize) -> Vec<WorkerName> {
        (0..count).map(|n| format!("{n:0length$}").parse().expect("a name")).collect()
    }

    fn member(index: usize, workers: &[WorkerName]) -> LaunchSpec {
        let mut spec = spec();
        spec.tags.set(tag_keys::WORKER, workers[index].as_str());
        spec.tags.set(tag_keys::NAME, instance_name(&workers[index]));
        spec.batch = Some(BatchPlace::of(index, workers));
        spec
    }

    #[test]
    fn all_members_have_the_token_of_their_call_and_another_batch_has_another() {
        let workers = names(3, 8);
        let tokens: Vec<ClientToken> = (0..3).map(|index| member(index, &workers).token()).collect();
        assert!(tokens.iter().all(|token| *token == tokens[0]));
        assert_ne!(member(0, &workers[..2]).token(), tokens[0]);
        assert_ne!(spec().token(), tokens[0]);
    }

    #[test]
    fn each_instance_finds_its_worker_by_its_index() {
        for (count, length) in [(1, 1), (2, 5), (100, 20), (100, 40)] {
            let workers = names(count, length);
            let call = member(0, &workers).for_all(&workers).expect("fits");
            assert!(call.tags.get(tag_keys::WORKER).is_none() && call.tags.get(tag_keys::NAME) == Some("latent i"));
            assert!(call.tags.iter().all(|(_, value)| value.len() <= VALUE_MAX));
            for (index, worker) in (0..).zip(&workers) {
                let own = call.tags.clone().of_launch_index(index);
                assert_eq!(own.get(tag_keys::WORKER), Some(worker.as_str()), "{count} {length} {index}");
                assert!(own.get(tag_keys::WORKERS).is_none());
            }
            let beyond = u32::try_from(count).expect("small");
            assert!(call.tags.clone().of_launch_index(beyond).get(tag_keys::WORKER).is_none());
        }
    }

    #[test]
    fn what_does_not_fit_the_tags_is_no_call() {
        let workers = names(BATCH_MAX, 50);
        let mut spec = member(0, &workers);
        for number in 0..25 {
            spec.tags.set(&format!("own-{number}"), "x");
        }
        assert!(spec.for_all(&workers).is_some());
        for number in 25..35 {
            spec.tags.set(&format!("own-{number}"), "x");
        }
        assert_eq!(spec.for_all(&workers), None);
    }

    #[test]
    fn a_name_of_the_owners_stays() {
        let workers = names(2, 4);
        let mut spec = member(0, &workers);
        spec.tags.set(tag_keys::NAME, "builders");
        assert_eq!(spec.for_all(&workers).expect("fits").tags.get(tag_keys::NAME), Some("builders"));
    }

    #[test]
    fn tags_of_one_worker_stay_as_they_are() {
        let mut tags = TagSet::default();
        tags.set(tag_keys::WORKER, "w").set(tag_keys::WORKERS, "x y");
        assert_eq!(tags.clone().of_launch_index(1), tags);
        assert_eq!(TagSet::default().of_launch_index(0), TagSet::default());
    }
}
