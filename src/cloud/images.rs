//! How an AMI is made once and taken away whole, in terms of the single calls of an API. Whoever plays
//! EC2 gives the calls; the order between them, which must survive a crash at any point, is one for all.

use std::collections::BTreeSet;
use std::future::Future;

use chrono::{DateTime, Utc};

use super::CloudError;
use crate::model::{Ami, AmiId, AmiState, FailureKind, InstanceId, SnapshotId, TagSet, tag_keys};

/// Which AMIs of the account itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// The one of this name.
    Named(&'a str),
    /// The one of this id.
    One(&'a AmiId),
    /// Those that carry this fleet's tag.
    Fleet(&'a str),
    /// Those that have a disk of this snapshot.
    Holding(&'a SnapshotId),
}

/// The single calls.
pub trait ImageApi: Send + Sync {
    /// CreateImage, with these tags on the AMI and on its snapshots.
    fn create(
        &self,
        of: &InstanceId,
        name: &str,
        tags: &TagSet,
    ) -> impl Future<Output = Result<AmiId, CloudError>> + Send;

    /// DescribeImages: every page, put-away ones included. `now` stands for a time that cannot be read.
    fn find(&self, which: Which<'_>, now: DateTime<Utc>) -> impl Future<Output = Result<Vec<Ami>, CloudError>> + Send;

    /// CreateTags on snapshots: the AMI whose retirement they belong to.
    fn mark(&self, snapshots: &[SnapshotId], ami: &AmiId) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// DescribeSnapshots: those that carry the mark of this AMI.
    fn marked(&self, ami: &AmiId) -> impl Future<Output = Result<Vec<SnapshotId>, CloudError>> + Send;

    /// DeregisterImage.
    fn deregister(&self, ami: &AmiId) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// DeleteSnapshot.
    fn delete(&self, snapshot: &SnapshotId) -> impl Future<Output = Result<(), CloudError>> + Send;
}

const DUPLICATE: &str = "InvalidAMIName.Duplicate";
const IMAGE_GONE: [&str; 2] = ["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"];
const SNAPSHOT_GONE: [&str; 1] = ["InvalidSnapshot.NotFound"];
const SNAPSHOT_IN_USE: &str = "InvalidSnapshot.InUse";

/// CreateImage knows no token: the name is what makes it one AMI.
///
/// # Errors
/// As [`super::Cloud::create_image`].
pub async fn create(
    api: &impl ImageApi,
    fleet: &str,
    of: &InstanceId,
    name: &str,
    tags: &TagSet,
) -> Result<AmiId, CloudError> {
    let refused = match api.create(of, name, tags).await {
        Err(error) if error.code == DUPLICATE => error,
        other => return other,
    };
    match api.find(Which::Named(name), DateTime::UNIX_EPOCH).await?.into_iter().next() {
        Some(ami) if is_ours(&ami, fleet) => Ok(ami.id),
        Some(ami) => Err(not_ours(&ami)),
        // A replica that has not heard of it yet.
        None => Err(CloudError { kind: FailureKind::RetrySame, ..refused }),
    }
}

/// The snapshots are marked before the AMI goes, which alone knows them: whatever happens in between, the
/// next call finds them by their mark. Without a fleet (an empty name) any fleet's AMI may go.
///
/// # Errors
/// As [`super::Cloud::retire_image`].
pub async fn retire(api: &impl ImageApi, fleet: &str, id: &AmiId) -> Result<(), CloudError> {
    let mut snapshots = BTreeSet::new();
    if let Some(ami) = api.find(Which::One(id), DateTime::UNIX_EPOCH).await?.into_iter().next() {
        if !may_change(&ami, fleet) {
            return Err(not_ours(&ami));
        }
        if ami.state != AmiState::Deregistered {
            if !ami.snapshots.is_empty() {
                already(api.mark(&ami.snapshots, id).await, &SNAPSHOT_GONE)?;
            }
            already(api.deregister(id).await, &IMAGE_GONE)?;
        }
        snapshots.extend(ami.snapshots);
    }
    snapshots.extend(api.marked(id).await?);
    for snapshot in &snapshots {
        match api.delete(snapshot).await {
            // Another AMI is made of it as well: it goes with that one.
            Err(error) if error.code == SNAPSHOT_IN_USE && is_shared(api, snapshot, id).await? => {}
            other => already(other, &SNAPSHOT_GONE)?,
        }
    }
    Ok(())
}

/// Whether an AMI other than this one is made of a snapshot.
async fn is_shared(api: &impl ImageApi, snapshot: &SnapshotId, id: &AmiId) -> Result<bool, CloudError> {
    let holding = api.find(Which::Holding(snapshot), DateTime::UNIX_EPOCH).await?;
    Ok(holding.iter().any(|ami| ami.id != *id && ami.state != AmiState::Deregistered))
}

/// An AMI of the fleet that is still there, before it is changed. Without a fleet (an empty name) any
/// fleet's will do.
///
/// # Errors
/// [`FailureKind::NotFound`] if it is not there any more; [`FailureKind::Owner`] if it is not the fleet's; any
/// other kind.
pub async fn of_the_fleet(api: &impl ImageApi, fleet: &str, id: &AmiId) -> Result<Ami, CloudError> {
    let found = api.find(Which::One(id), DateTime::UNIX_EPOCH).await?.into_iter().next();
    match found.filter(|ami| ami.state != AmiState::Deregistered) {
        Some(ami) if may_change(&ami, fleet) => Ok(ami),
        Some(ami) => Err(not_ours(&ami)),
        None => Err(CloudError {
            kind: FailureKind::NotFound,
            code: "InvalidAMIID.NotFound".to_owned(),
            message: format!("{id} is not an AMI of this account and region any more"),
        }),
    }
}

fn may_change(ami: &Ami, fleet: &str) -> bool {
    let of_any = fleet.is_empty() && ami.tags.get(tag_keys::FLEET).is_some();
    of_any || is_ours(ami, fleet)
}

fn is_ours(ami: &Ami, fleet: &str) -> bool {
    ami.tags.get(tag_keys::FLEET) == Some(fleet)
}

/// A refusal to delete a snapshot, where it says that there is none. At a launch the same code says that
/// an AMI is broken: that is its kind in the table.
#[must_use]
pub fn of_a_snapshot(error: CloudError) -> CloudError {
    if SNAPSHOT_GONE.contains(&error.code.as_str()) {
        return CloudError { kind: FailureKind::NotFound, ..error };
    }
    error
}

fn not_ours(ami: &Ami) -> CloudError {
    CloudError {
        kind: FailureKind::Owner,
        code: "NotOurs".to_owned(),
        message: format!("{} ({}) does not carry the fleet's tag: it is left alone", ami.id, ami.name),
    }
}

/// A refusal that says that it is done already is none.
fn already(result: Result<(), CloudError>, codes: &[&str]) -> Result<(), CloudError> {
    match result {
        Err(error) if !codes.contains(&error.code.as_str()) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;

    /// One AMI with two snapshots, behind an API that stops to answer after some calls; the last one of
    /// them is done or not.
    #[derive(Default)]
    struct Account {
        ami: Mutex<Option<Ami>>,
        marks: Mutex<BTreeMap<SnapshotId, Option<AmiId>>>,
        calls_left: Mutex<u32>,
        last_is_done: bool,
    }

    fn id() -> AmiId {
        "ami-1".parse().expect("valid")
    }

    fn ami(fleet: &str) -> Ami {
        let mut tags = TagSet::default();
        tags.set(tag_keys::FLEET, fleet);
        let snapshots = ["snap-1", "snap-2"].map(|text| text.parse().expect("valid")).to_vec();
        let created = DateTime::UNIX_EPOCH;
        Ami {
            id: id(),
            name: "baked".to_owned(),
            state: AmiState::Available,
            architecture: "x86_64".to_owned(),
            snapshots,
            created,
            size_gib: None,
            deprecated: None,
            tags,
        }
    }

    fn refusal(code: &str, kind: FailureKind) -> CloudError {
        CloudError { kind, code: code.to_owned(), message: String::new() }
    }

    impl Account {
        fn with(fleet: &str, calls: u32, last_is_done: bool) -> Self {
            let ami = ami(fleet);
            let marks = ami.snapshots.iter().map(|snapshot| (snapshot.clone(), None)).collect();
            let (ami, marks, calls_left) = (Mutex::new(Some(ami)), Mutex::new(marks), Mutex::new(calls));
            Self { ami, marks, calls_left, last_is_done }
        }

        fn call<T>(&self, effect: impl FnOnce() -> Result<T, CloudError>) -> Result<T, CloudError> {
            let mut left = self.calls_left.lock().expect("not poisoned");
            let lost = Err(refusal("Timeout", FailureKind::Unreachable));
            match *left {
                0 => return lost,
                _ => *left -= 1,
            }
            if *left > 0 {
                return effect();
            }
            if self.last_is_done {
                let _ = effect();
            }
            lost
        }
    }

    impl ImageApi for Account {
        async fn create(&self, _: &InstanceId, name: &str, _: &TagSet) -> Result<AmiId, CloudError> {
            self.call(|| {
                let taken = self.ami.lock().expect("not poisoned").as_ref().is_some_and(|ami| ami.name == name);
                if taken { Err(refusal(DUPLICATE, FailureKind::Owner)) } else { Ok(id()) }
            })
        }

        async fn find(&self, _: Which<'_>, _: DateTime<Utc>) -> Result<Vec<Ami>, CloudError> {
            self.call(|| Ok(self.ami.lock().expect("not poisoned").clone().into_iter().collect()))
        }

        async fn mark(&self, snapshots: &[SnapshotId], ami: &AmiId) -> Result<(), CloudError> {
            self.call(|| {
                let mut marks = self.marks.lock().expect("not poisoned");
                marks.extend(snapshots.iter().map(|snapshot| (snapshot.clone(), Some(ami.clone()))));
                Ok(())
            })
        }

        async fn marked(&self, ami: &AmiId) -> Result<Vec<SnapshotId>, CloudError> {
            let of = |(_, mark): &(&SnapshotId, &Option<AmiId>)| mark.as_ref() == Some(ami);
            self.call(|| {
                Ok(self.marks.lock().expect("not poisoned").iter().filter(of).map(|(id, _)| id.clone()).collect())
            })
        }

        async fn deregister(&self, _: &AmiId) -> Result<(), CloudError> {
            self.call(|| match self.ami.lock().expect("not poisoned").take() {
                Some(_) => Ok(()),
                None => Err(refusal("InvalidAMIID.Unavailable", FailureKind::Owner)),
            })
        }

        async fn delete(&self, snapshot: &SnapshotId) -> Result<(), CloudError> {
            self.call(|| match self.marks.lock().expect("not poisoned").remove(snapshot) {
                Some(_) if self.ami.lock().expect("not poisoned").is_some() => {
                    Err(refusal("InvalidSnapshot.InUse", FailureKind::RetrySame))
                }
                Some(_) => Ok(()),
                None => Err(refusal("InvalidSnapshot.NotFound", FailureKind::Owner)),
            })
        }
    }

    #[tokio::test]
    async fn wherever_a_retirement_is_cut_off_the_next_one_leaves_nothing() {
        let mut cut = 0;
        for calls in 1..12 {
            for last_is_done in [false, true] {
                let account = Account::with("f", calls, last_is_done);
                cut += u32::from(retire(&account, "f", &id()).await.is_err());
                *account.calls_left.lock().expect("not poisoned") = 100;
                retire(&account, "f", &id()).await.expect("the second one");
                assert!(account.ami.lock().expect("not poisoned").is_none());
                assert_eq!(*account.marks.lock().expect("not poisoned"), BTreeMap::new(), "{calls} {last_is_done}");
            }
        }
        assert_eq!(cut, 12, "each of its six calls, done or not");
    }

    #[tokio::test]
    async fn what_is_not_ours_is_neither_retired_nor_taken_for_ours() {
        let account = Account::with("another", 100, false);
        assert_eq!(retire(&account, "f", &id()).await.expect_err("refused").code, "NotOurs");
        let of = "i-1".parse().expect("valid");
        let made = create(&account, "f", &of, "baked", &TagSet::default()).await;
        assert_eq!(made.expect_err("refused").kind, FailureKind::Owner);
        assert!(account.ami.lock().expect("not poisoned").is_some());
    }

    #[tokio::test]
    async fn a_name_that_is_ours_already_is_the_answer() {
        let (account, of) = (Account::with("f", 100, false), "i-1".parse().expect("valid"));
        assert_eq!(create(&account, "f", &of, "baked", &TagSet::default()).await, Ok(id()));
        *account.ami.lock().expect("not poisoned") = None;
        assert_eq!(create(&account, "f", &of, "baked", &TagSet::default()).await, Ok(id()));
    }
}
