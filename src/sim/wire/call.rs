//! One call of an API: what it needs, and which function answers it.

use chrono::{DateTime, Utc};

use super::auth::Caller;
use super::filter::Filters;
use super::page::Page;
use super::query::{Node, missing};
use super::xml::Xml;
use super::{
    addresses, attributes, fleet, groups, images, instances, keys, launch, lifecycle, network, places, snapshots, spot,
    tags, templates, volumes,
};
use crate::model::InstanceId;
use crate::sim::error::ApiError;
use crate::sim::image::Image;
use crate::sim::site::{Site, well_formed};

/// A call that is allowed to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// The parameters.
    pub(super) query: &'a Node,
    /// The action's name.
    pub(super) action: &'static str,
    /// Who calls.
    pub(super) caller: &'a Caller,
    /// The model's time.
    pub(super) now: DateTime<Utc>,
    /// Whether the token of a later page is taken to have expired.
    pub(super) page_expired: bool,
    /// The image that is to be copied, if there is one.
    pub(super) source: Option<&'a Image>,
}

/// What answers an action: a function on the account in the region that the call was signed for.
pub(super) type Handler = fn(&Call<'_>, &mut Site) -> Result<Xml, ApiError>;

impl Call<'_> {
    /// What `DryRun` asks: the call would be done, and is not.
    pub(super) fn permitted(&self) -> Result<(), ApiError> {
        if self.query.flag("DryRun")?.unwrap_or(false) {
            let message = "Request would have succeeded, but DryRun flag is set.";
            return Err(ApiError { status: 412, ..ApiError::client("DryRunOperation", message) });
        }
        Ok(())
    }

    /// What this call makes, once for each `ClientToken`.
    pub(super) fn once(
        &self,
        site: &mut Site,
        make: impl FnOnce(&mut Site) -> Result<Vec<String>, ApiError>,
    ) -> Result<Vec<String>, ApiError> {
        site.once(self.action, self.query.filled("ClientToken"), &self.query.flat(), make)
    }

    /// The filters, of those that the resource knows.
    pub(super) fn filters(&self, names: &[&str]) -> Result<Filters, ApiError> {
        self.permitted()?;
        Filters::parse(self.query, names)
    }

    /// Which page; `ids` names the parameter with the resources' ids.
    pub(super) fn page(&self, ids: &str) -> Result<Page, ApiError> {
        let page = Page::parse(self.query, self.action, ids, self.now)?;
        if self.page_expired && page.is_later() { Err(super::page::expired()) } else { Ok(page) }
    }

    /// `InstanceId.N`, each well formed.
    pub(super) fn instance_ids(&self) -> Result<Vec<InstanceId>, ApiError> {
        self.query.texts("InstanceId").into_iter().map(instance_id).collect()
    }

    /// `InstanceId.N` of a call that cannot be without.
    pub(super) fn required_instance_ids(&self) -> Result<Vec<InstanceId>, ApiError> {
        let ids = self.instance_ids()?;
        if ids.is_empty() { Err(missing("InstanceId")) } else { Ok(ids) }
    }
}

/// A well-formed instance id.
pub(super) fn instance_id(text: &str) -> Result<InstanceId, ApiError> {
    let malformed = || ApiError::client("InvalidInstanceID.Malformed", format!("Invalid id: \"{text}\""));
    if !well_formed(text, "i") {
        return Err(malformed());
    }
    text.parse().map_err(|_| malformed())
}

/// The answer `<return>true</return>`.
pub(super) fn done() -> Xml {
    let mut xml = Xml::default();
    xml.flag("return", true);
    xml
}

/// Which function answers an action of EC2.
pub(super) fn handler(action: &str) -> Option<Handler> {
    of_instances(action).or_else(|| of_images_and_disks(action)).or_else(|| of_places(action))
}

fn of_instances(action: &str) -> Option<Handler> {
    Some(match action {
        "RunInstances" => launch::run_instances,
        "DescribeInstances" => instances::describe,
        "DescribeInstanceStatus" => instances::describe_status,
        "DescribeInstanceAttribute" => attributes::describe,
        "GetInstanceMetadataDefaults" => attributes::metadata_defaults,
        "ModifyInstanceMetadataDefaults" => attributes::modify_metadata_defaults,
        "ModifyInstanceAttribute" => attributes::modify,
        "GetConsoleOutput" => attributes::console_output,
        "StartInstances" => lifecycle::start,
        "StopInstances" => lifecycle::stop,
        "RebootInstances" => lifecycle::reboot,
        "TerminateInstances" => lifecycle::terminate,
        "CreateTags" => tags::create,
        "DeleteTags" => tags::delete,
        "DescribeTags" => tags::describe,
        "RequestSpotInstances" => spot::request,
        "DescribeSpotInstanceRequests" => spot::describe,
        "CancelSpotInstanceRequests" => spot::cancel,
        "DescribeSpotPriceHistory" => spot::prices,
        "CreateFleet" => fleet::create,
        "CreateLaunchTemplate" => templates::create,
        "CreateLaunchTemplateVersion" => templates::create_version,
        "DescribeLaunchTemplateVersions" => templates::describe_versions,
        "DescribeLaunchTemplates" => templates::describe,
        "DeleteLaunchTemplate" => templates::delete,
        _ => return None,
    })
}

fn of_images_and_disks(action: &str) -> Option<Handler> {
    Some(match action {
        "DescribeImages" => images::describe,
        "DescribeImageReferences" => images::references,
        "RegisterImage" => images::register,
        "CreateImage" => images::create,
        "CopyImage" => images::copy,
        "DeregisterImage" => images::deregister,
        "EnableImageDeprecation" => images::deprecate,
        "DisableImageDeprecation" => images::undeprecate,
        "ModifyImageAttribute" => images::modify,
        "EnableImageDeregistrationProtection" => images::protect,
        "DisableImageDeregistrationProtection" => images::unprotect,
        "DisableImage" => images::disable,
        "EnableImage" => images::enable,
        "DescribeSnapshots" => snapshots::describe,
        "CreateSnapshot" => snapshots::create,
        "DeleteSnapshot" => snapshots::delete,
        "DescribeVolumes" => volumes::describe,
        "CreateVolume" => volumes::create,
        "DeleteVolume" => volumes::delete,
        "AttachVolume" => volumes::attach,
        "DetachVolume" => volumes::detach,
        _ => return None,
    })
}

fn of_places(action: &str) -> Option<Handler> {
    Some(match action {
        "DescribeNetworkInterfaces" => network::describe_interfaces,
        "DeleteNetworkInterface" => network::delete_interface,
        "DescribeVpcs" => network::describe_vpcs,
        "DescribeSubnets" => network::describe_subnets,
        "DescribeSecurityGroups" => groups::describe,
        "CreateSecurityGroup" => groups::create,
        "DeleteSecurityGroup" => groups::delete,
        "AuthorizeSecurityGroupIngress" => groups::authorize_ingress,
        "AuthorizeSecurityGroupEgress" => groups::authorize_egress,
        "RevokeSecurityGroupIngress" => groups::revoke_ingress,
        "RevokeSecurityGroupEgress" => groups::revoke_egress,
        "DescribeAddresses" => addresses::describe,
        "AllocateAddress" => addresses::allocate,
        "AssociateAddress" => addresses::associate,
        "DisassociateAddress" => addresses::disassociate,
        "ReleaseAddress" => addresses::release,
        "DescribeKeyPairs" => keys::describe,
        "CreateKeyPair" => keys::create,
        "ImportKeyPair" => keys::import,
        "DeleteKeyPair" => keys::delete,
        "DescribeRegions" => places::describe_regions,
        "DescribeAvailabilityZones" => places::describe_zones,
        "DescribeInstanceTypes" => places::describe_types,
        "DescribeInstanceTypeOfferings" => places::describe_offerings,
        _ => return None,
    })
}
