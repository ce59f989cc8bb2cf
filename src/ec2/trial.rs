//! Dry runs: EC2 says whether it would do something, and does not.

use std::error::Error;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::operation::run_instances::{RunInstancesError, RunInstancesOutput};
use aws_sdk_ec2::types::{
    AttributeValue, HttpTokensState, InstanceAttributeName, InstanceMetadataOptionsRequest, IpPermission, IpRange, Tag,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::{error, launch};
use crate::model::{LaunchSpec, ResourceId, ResourceKind, Trial, Tried, Unseen, tag_keys};

/// What EC2 calls a dry run that would have been done.
pub(super) const WOULD_SUCCEED: &str = "DryRunOperation";
/// The name of what is never made.
const NEVER_MADE: &str = "latent-doctor-dry-run";

/// Tries it. Every call below says `dry_run(true)`, and the client lets nothing else pass.
pub(super) async fn try_out(ec2: &Client, fleet: &str, trial: &Trial) -> Tried {
    let tag = || Tag::builder().key(tag_keys::FLEET).value(fleet).build();
    match trial {
        Trial::Launch(spec) | Trial::LaunchForeignType(spec) => tried(launched(ec2, spec).send().await),
        Trial::LaunchUntagged(spec) => tried(launched(ec2, spec).set_tag_specifications(None).send().await),
        Trial::LaunchOldMetadata(spec) => {
            let v1 = InstanceMetadataOptionsRequest::builder().http_tokens(HttpTokensState::Optional).build();
            tried(launched(ec2, spec).metadata_options(v1).send().await)
        }
        Trial::Terminate(id) | Trial::TerminateForeign(id) => {
            tried(ec2.terminate_instances().instance_ids(id.as_str()).dry_run(true).send().await)
        }
        Trial::Stop(id) => tried(ec2.stop_instances().instance_ids(id.as_str()).dry_run(true).send().await),
        Trial::Start(id) => tried(ec2.start_instances().instance_ids(id.as_str()).dry_run(true).send().await),
        Trial::Renew(id, lease) => {
            let lease = Tag::builder().key(tag_keys::LEASE).value(lease).build();
            tried(ec2.create_tags().resources(id.as_str()).tags(lease).dry_run(true).send().await)
        }
        Trial::Console(id) => tried(ec2.get_console_output().instance_id(id.as_str()).dry_run(true).send().await),
        Trial::Remove(id) => removed(ec2, id).await,
        Trial::Claim(id) => tried(ec2.create_tags().resources(id).tags(tag()).dry_run(true).send().await),
        Trial::Disown(id) => tried(ec2.delete_tags().resources(id.as_str()).tags(tag()).dry_run(true).send().await),
        Trial::ReadUserData(id) => {
            let call = ec2.describe_instance_attribute().instance_id(id.as_str());
            tried(call.attribute(InstanceAttributeName::UserData).dry_run(true).send().await)
        }
        Trial::Modify(id) => {
            let stop = AttributeValue::builder().value("stop").build();
            let call = ec2.modify_instance_attribute().instance_id(id.as_str());
            tried(call.instance_initiated_shutdown_behavior(stop).dry_run(true).send().await)
        }
        Trial::CreateGroup => {
            let call = ec2.create_security_group().group_name(NEVER_MADE).description(NEVER_MADE);
            tried(call.dry_run(true).send().await)
        }
        Trial::OpenGroup(id) => {
            let everybody = IpRange::builder().cidr_ip("0.0.0.0/0").build();
            let ssh = IpPermission::builder().ip_protocol("tcp").from_port(22).to_port(22).ip_ranges(everybody).build();
            let call = ec2.authorize_security_group_ingress().group_id(id).ip_permissions(ssh);
            tried(call.dry_run(true).send().await)
        }
        Trial::CreateKeyPair => tried(ec2.create_key_pair().key_name(NEVER_MADE).dry_run(true).send().await),
        Trial::Deregister(ami) => tried(ec2.deregister_image().image_id(ami.as_str()).dry_run(true).send().await),
    }
}

async fn removed(ec2: &Client, id: &ResourceId) -> Tried {
    let name = id.as_str();
    match id.kind() {
        ResourceKind::Volume => tried(ec2.delete_volume().volume_id(name).dry_run(true).send().await),
        ResourceKind::Snapshot => tried(ec2.delete_snapshot().snapshot_id(name).dry_run(true).send().await),
        ResourceKind::Interface => {
            tried(ec2.delete_network_interface().network_interface_id(name).dry_run(true).send().await)
        }
        ResourceKind::Address => tried(ec2.release_address().allocation_id(name).dry_run(true).send().await),
        ResourceKind::SpotRequest => {
            let call = ec2.cancel_spot_instance_requests().spot_instance_request_ids(name);
            tried(call.dry_run(true).send().await)
        }
        ResourceKind::Instance => tried(ec2.terminate_instances().instance_ids(name).dry_run(true).send().await),
        ResourceKind::Ami => tried(ec2.deregister_image().image_id(name).dry_run(true).send().await),
    }
}

/// A launch as latent makes it, tried.
pub(super) async fn try_launch(
    ec2: &Client,
    spec: &LaunchSpec,
) -> Result<RunInstancesOutput, SdkError<RunInstancesError, HttpResponse>> {
    launched(ec2, spec).send().await
}

/// The same, but for its token: that belongs to a real one.
fn launched(ec2: &Client, spec: &LaunchSpec) -> RunInstancesFluentBuilder {
    launch::fill(ec2.run_instances(), spec, &[], None, &spec.token()).set_client_token(None).dry_run(true)
}

/// What an answer says of the permission.
pub(super) fn tried<T, E>(result: Result<T, SdkError<E, HttpResponse>>) -> Tried
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let Err(refusal) = result else {
        return Tried::Otherwise(Unseen::ignored());
    };
    let refusal = Unseen::from(error::sorted(&refusal));
    if refusal.code == WOULD_SUCCEED {
        Tried::Allowed
    } else if refusal.is_denied() {
        Tried::Denied
    } else {
        Tried::Otherwise(refusal)
    }
}
