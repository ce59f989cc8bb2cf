//! What a rebake asks of a cloud, beside what everybody does.

use std::future::Future;

use chrono::{DateTime, Utc};

use super::{Cloud, CloudError};
use crate::model::{AmiId, Fence, GroupId, Rehearsal, SourceAmi, TagSet};

/// Whether a launch template names its AMI by a parameter of Systems Manager that may stand for any AMI.
/// Those that AWS itself publishes never stand for one of ours.
#[must_use]
pub fn names_by_parameter(image: &str) -> bool {
    image.strip_prefix("resolve:ssm:").is_some_and(|parameter| !parameter.starts_with("/aws/service/"))
}

/// What listings found, with what EC2 knows beside: kinds and ARNs, of which those are left out that name what
/// was found.
#[must_use]
pub fn with_references(mut found: Vec<String>, told: impl IntoIterator<Item = (String, String)>) -> Vec<String> {
    for (kind, arn) in told {
        let id = arn.rsplit('/').next().unwrap_or_default();
        if !found.iter().any(|known| known.split(' ').any(|word| word == id)) {
            found.push(format!("{kind} {arn}"));
        }
    }
    found
}

/// What a rebake alone asks of an account in a region, beside [`Cloud`]. Every method may be called again
/// with the same arguments. What changes an AMI changes one of the fleet's and no other; a door that was made
/// for no fleet changes any fleet's.
pub trait Bakery: Cloud {
    /// One AMI of whatever owner, deprecated and disabled ones included; `None` if the account cannot see it,
    /// or it is gone.
    ///
    /// # Errors
    /// Any kind.
    fn source(&self, id: &AmiId) -> impl Future<Output = Result<Option<SourceAmi>, CloudError>> + Send;

    /// Makes the builder's security group: nothing comes in, and out goes only what `egress` says. At most one
    /// per name and VPC: one that carries the fleet's tag is the answer, and its rules are put right.
    ///
    /// # Errors
    /// [`FailureKind::Owner`](crate::model::FailureKind::Owner) if the name is taken by a group that is not the
    /// fleet's, or there is no such subnet or no default VPC; any other kind.
    fn fence(&self, fence: &Fence) -> impl Future<Output = Result<GroupId, CloudError>> + Send;

    /// Deletes it; `Ok` if there is none.
    ///
    /// # Errors
    /// [`FailureKind::RetrySame`](crate::model::FailureKind::RetrySame) while an interface still has it;
    /// [`FailureKind::Owner`](crate::model::FailureKind::Owner) if it is not the fleet's; any other kind.
    fn unfence(&self, id: &GroupId) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// The fleet's security groups that were made as fences, by their role, with their tags.
    ///
    /// # Errors
    /// Any kind; a listing is whole or an error, never silently short.
    fn fences(&self) -> impl Future<Output = Result<Vec<(GroupId, TagSet)>, CloudError>> + Send;

    /// Announces that an AMI of the fleet's will go at a time, which must not have passed, or takes that back
    /// with `None`. EC2 rounds the time to a minute.
    ///
    /// # Errors
    /// [`FailureKind::Owner`](crate::model::FailureKind::Owner) if it is not the fleet's, or the time has
    /// passed; [`FailureKind::NotFound`](crate::model::FailureKind::NotFound) if it is gone; any other kind.
    fn deprecate(&self, id: &AmiId, at: Option<DateTime<Utc>>) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// Puts an AMI of the fleet's away, so that nothing is launched from it, or takes that back.
    ///
    /// # Errors
    /// [`FailureKind::Owner`](crate::model::FailureKind::Owner) if it is not the fleet's;
    /// [`FailureKind::NotFound`](crate::model::FailureKind::NotFound) if it is gone; any other kind.
    fn put_away(&self, id: &AmiId, away: bool) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// Who uses an AMI, in words such as `instance i-… (stopped)` or `launch template lt-… version 3`:
    /// instances of the account in any state but terminated, all versions of its launch templates, and what
    /// EC2 itself knows of both. A template that names its AMI by a parameter counts, unless AWS publishes that
    /// parameter.
    ///
    /// # Errors
    /// Any kind. What could not be asked counts as used.
    fn uses(&self, id: &AmiId) -> impl Future<Output = Result<Vec<String>, CloudError>> + Send;

    /// Sets tags on an AMI of the fleet's.
    ///
    /// # Errors
    /// [`FailureKind::Owner`](crate::model::FailureKind::Owner) if it is not the fleet's;
    /// [`FailureKind::NotFound`](crate::model::FailureKind::NotFound) if it is gone; any other kind.
    fn tag_image(&self, id: &AmiId, tags: &TagSet) -> impl Future<Output = Result<(), CloudError>> + Send;

    /// Dry runs of what a rebake will call, each by the name of IAM's action: whether EC2 would do it, or with
    /// what it would refuse. What would be done to things that there are not yet, the builder and its image, is
    /// not among them: EC2 could only say that they are not there. Where a dry run of a listing is answered
    /// with a listing, nothing else is tried, and the answer says so.
    fn rehearse(
        &self,
        rehearsal: &Rehearsal,
    ) -> impl Future<Output = Vec<(&'static str, Result<(), CloudError>)>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_may_stand_for_any_ami_unless_aws_publishes_it() {
        for (image, any) in [
            ("ami-1", false),
            ("resolve:ssm:/ours/worker", true),
            ("resolve:ssm:worker:3", true),
            ("resolve:ssm:/aws/service/ami-windows-latest/Windows_Server-2022-English-Full-Base", false),
            ("", false),
        ] {
            assert_eq!(names_by_parameter(image), any, "{image}");
        }
    }

    #[test]
    fn what_ec2_knows_beside_is_added_and_nothing_is_told_twice() {
        let found = vec!["instance i-1 (stopped)".to_owned(), "launch template lt-1 version 3".to_owned()];
        let arn = |what: &str| format!("arn:aws:ec2:us-west-2:123456789012:{what}");
        let told =
            [("ec2:Instance", "instance/i-1"), ("ec2:Instance", "instance/i-12"), ("ec2:X", "launch-template/lt-1")];
        let all = with_references(found.clone(), told.map(|(kind, what)| (kind.to_owned(), arn(what))));
        assert_eq!(all[..2], found[..]);
        assert_eq!(all[2..], [format!("ec2:Instance {}", arn("instance/i-12"))]);
    }
}
