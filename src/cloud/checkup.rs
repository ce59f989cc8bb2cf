//! What a check-up asks of an account. Nothing here changes anything: what would, is a dry run.

use std::collections::BTreeSet;
use std::future::Future;

use super::CloudError;
use crate::model::{
    AmiCandidate, AmiFacts, AmiId, AmiQuery, Found, Greeting, GroupFacts, ImdsDefaults, OtherInstance, ResourceId,
    ResourceKind, Seen, SubnetFacts, Trial, Tried, TypeFacts, Unseen,
};

/// The reads of EC2, and of Service Quotas, that a check-up makes for itself, beside what the controller may.
pub const CHECKUP_READS: [&str; 6] = [
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeKeyPairs",
    "ec2:GetInstanceMetadataDefaults",
    "servicequotas:GetServiceQuota",
];

/// One account in one region, looked at.
pub trait Checkup: Send + Sync {
    /// Who we are there, and what time it is there.
    fn greet(&self) -> impl Future<Output = Greeting> + Send;

    /// Whether a dry run of a read is answered as one. Where it is not, nothing else may be tried.
    fn honours_dry_runs(&self) -> impl Future<Output = Seen<bool>> + Send;

    /// Tries something as a dry run.
    fn try_out(&self, trial: &Trial) -> impl Future<Output = Tried> + Send;

    /// One AMI.
    fn ami(&self, id: &AmiId) -> impl Future<Output = Seen<AmiFacts>> + Send;

    /// The AMIs that a manifest may choose from.
    fn ami_candidates(&self, query: &AmiQuery) -> impl Future<Output = Seen<Vec<AmiCandidate>>> + Send;

    /// These instance types; one that the region does not have is absent.
    fn instance_types(&self, names: &BTreeSet<String>) -> impl Future<Output = Found<String, TypeFacts>> + Send;

    /// All security groups by id.
    fn groups(&self) -> impl Future<Output = Found<String, GroupFacts>> + Send;

    /// All subnets.
    fn subnets(&self) -> impl Future<Output = Found<String, SubnetFacts>> + Send;

    /// The names of all key pairs.
    fn key_pairs(&self) -> impl Future<Output = Seen<BTreeSet<String>>> + Send;

    /// All instances of the account in the region, the fleet's and others.
    fn all_instances(&self) -> impl Future<Output = Seen<Vec<OtherInstance>>> + Send;

    /// One thing of this kind that carries the fleet's tag, if there is any.
    fn one_of_ours(&self, kind: ResourceKind) -> impl Future<Output = Seen<Option<ResourceId>>> + Send;

    /// The account's defaults for the metadata service.
    fn imds_defaults(&self) -> impl Future<Output = Seen<ImdsDefaults>> + Send;

    /// The value of a quota of EC2 by its code, in its own unit.
    fn quota(&self, code: &str) -> impl Future<Output = Seen<f64>> + Send;
}

impl From<CloudError> for Unseen {
    fn from(error: CloudError) -> Self {
        Self { kind: error.kind, code: error.code, message: error.message }
    }
}
