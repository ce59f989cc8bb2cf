//! Dry runs of what a rebake will call, so that a permission that is missing is told before hours of work.

use std::error::Error;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{ImageReferenceResourceType, ResourceType, ResourceTypeRequest, Tag, TagSpecification};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::connect::Clients;
use super::trial::{self, WOULD_SUCCEED};
use super::{convert, error};
use crate::cloud::{CloudError, FENCE_DESCRIPTION, FenceApi, of_the_fleet};
use crate::model::{AmiId, LaunchSpec, Rehearsal, Role, Unseen, tag_keys};

/// What is tried first: if its dry run is none, nothing else is tried.
pub(super) const FIRST: &str = "ec2:DescribeInstances";
/// The name of what is never made.
const NEVER_MADE: &str = "latent-rebake-dry-run";
/// A time that has not come, in seconds since 1970: 2100-01-01.
const ONE_DAY: i64 = 4_102_444_800;

// Calls of the SDK are large values, and there are many here: each is boxed, or together they fill a thread's stack.
type Answers = Vec<(&'static str, Result<(), CloudError>)>;

/// All of them, by the names of IAM's actions.
pub(super) async fn all(clients: &Clients, fleet: &str, rehearsal: &Rehearsal) -> Answers {
    let ec2 = clients.trials();
    let first = would(Box::pin(ec2.describe_instances().dry_run(true).send()).await);
    let ignored = first.as_ref().is_err_and(|error| Unseen::from(error.clone()).is_ignored());
    let mut answers = vec![(FIRST, first)];
    if ignored {
        return answers;
    }
    answers.extend(Box::pin(reads(ec2, &rehearsal.source)).await);
    answers.push(("ec2:RunInstances", would(Box::pin(trial::try_launch(ec2, &rehearsal.launch)).await)));
    answers.push(("ec2:CreateSecurityGroup", Box::pin(group(clients, &rehearsal.launch)).await));
    if of_the_fleet(clients, fleet, &rehearsal.source).await.is_ok() {
        answers.extend(Box::pin(of_own_image(ec2, &rehearsal.source)).await);
    }
    answers
}

async fn reads(ec2: &Client, source: &AmiId) -> Answers {
    let kind = ResourceTypeRequest::builder().resource_type(ImageReferenceResourceType::Ec2Instance).build();
    let references = ec2.describe_image_references().image_ids(source.as_str()).resource_types(kind);
    vec![
        (
            "ec2:DescribeImages",
            would(Box::pin(ec2.describe_images().image_ids(source.as_str()).dry_run(true).send()).await),
        ),
        (
            "ec2:DescribeSnapshots",
            would(Box::pin(ec2.describe_snapshots().owner_ids("self").dry_run(true).send()).await),
        ),
        ("ec2:DescribeVpcs", would(Box::pin(ec2.describe_vpcs().dry_run(true).send()).await)),
        ("ec2:DescribeSecurityGroups", would(Box::pin(ec2.describe_security_groups().dry_run(true).send()).await)),
        ("ec2:DescribeLaunchTemplates", would(Box::pin(ec2.describe_launch_templates().dry_run(true).send()).await)),
        ("ec2:DescribeImageReferences", would(Box::pin(references.dry_run(true).send()).await)),
    ]
}

/// The fence, with the tags that the builder has: those are what the permission asks for.
async fn group(clients: &Clients, launch: &LaunchSpec) -> Result<(), CloudError> {
    let vpc = clients.vpc(&launch.offering.place).await?;
    let mut tags = launch.tags.clone();
    tags.set(tag_keys::ROLE, Role::Rebake.to_string());
    let tags = TagSpecification::builder()
        .resource_type(ResourceType::SecurityGroup)
        .set_tags(Some(convert::sdk_tags(&tags)))
        .build();
    let call = clients.trials().create_security_group().group_name(NEVER_MADE).description(FENCE_DESCRIPTION);
    would(Box::pin(call.vpc_id(vpc).tag_specifications(tags).dry_run(true).send()).await)
}

/// What becomes of an image of the fleet's when it has been replaced.
async fn of_own_image(ec2: &Client, id: &AmiId) -> Answers {
    let (id, rollout) = (id.as_str(), Tag::builder().key(tag_keys::ROLLOUT).value("promoted").build());
    let later = DateTime::from_secs(ONE_DAY);
    let deprecation = ec2.enable_image_deprecation().image_id(id).deprecate_at(later);
    vec![
        ("ec2:CreateTags", would(Box::pin(ec2.create_tags().resources(id).tags(rollout).dry_run(true).send()).await)),
        ("ec2:EnableImageDeprecation", would(Box::pin(deprecation.dry_run(true).send()).await)),
        ("ec2:DisableImage", would(Box::pin(ec2.disable_image().image_id(id).dry_run(true).send()).await)),
        ("ec2:DeregisterImage", would(Box::pin(ec2.deregister_image().image_id(id).dry_run(true).send()).await)),
    ]
}

/// Whether EC2 would do it, or with what it refuses.
fn would<T, E>(result: Result<T, SdkError<E, HttpResponse>>) -> Result<(), CloudError>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let Err(refusal) = result else {
        let Unseen { kind, code, message } = Unseen::ignored();
        return Err(CloudError { kind, code, message });
    };
    let refusal = error::sorted(&refusal);
    if refusal.code == WOULD_SUCCEED { Ok(()) } else { Err(refusal) }
}
