//! The in-process door's calls for a rebake.

use chrono::{DateTime, Utc};

use super::door::{SimCloud, launch_request};
use super::door_images::{own, shown, tag_set};
use super::error::ApiError;
use super::image::{Image, ImageState, Platform};
use super::instance::Tags;
use super::network::{Group, Rule};
use super::site::Site;
use crate::cloud::{
    Bakery, CloudError, FenceApi, FenceGroup, FenceRule, WhichGroups, names_by_parameter, of_the_fleet, raise_fence,
    take_down, with_references,
};
use crate::model::{
    AmiId, AmiState, Fence, GroupId, InstanceState, Place, Rehearsal, Role, SourceAmi, SourceDisk, TagSet, tag_keys,
};

impl Bakery for SimCloud {
    async fn source(&self, id: &AmiId) -> Result<Option<SourceAmi>, CloudError> {
        let found = self.call("DescribeImages", 0, id.as_str(), |site, _| {
            let image = site.images.get(id.as_str()).filter(|image| image.state != ImageState::Deregistered);
            // What is put away is its owner's alone to see.
            let image = image.filter(|image| image.owner.is_none() || image.state == ImageState::Available);
            Ok::<Option<(Image, String)>, ApiError>(image.map(|image| (image.clone(), site.account.to_string())))
        });
        found.await?.map(|(image, account)| source(&image, &account)).transpose()
    }

    async fn fence(&self, fence: &Fence) -> Result<GroupId, CloudError> {
        raise_fence(self, self.own_fleet(), fence).await
    }

    async fn unfence(&self, id: &GroupId) -> Result<(), CloudError> {
        take_down(self, self.own_fleet(), id).await
    }

    async fn fences(&self) -> Result<Vec<(GroupId, TagSet)>, CloudError> {
        let found = self.groups(WhichGroups::Fences(self.own_fleet())).await?;
        Ok(found.into_iter().map(|group| (group.id, group.tags)).collect())
    }

    async fn deprecate(&self, id: &AmiId, at: Option<DateTime<Utc>>) -> Result<(), CloudError> {
        of_the_fleet(self, self.own_fleet(), id).await?;
        let action = if at.is_some() { "EnableImageDeprecation" } else { "DisableImageDeprecation" };
        self.call(action, 0, id.as_str(), |site, now| {
            if at.is_some_and(|at| at <= now) {
                return Err(ApiError::invalid_value("The deprecation time must be in the future."));
            }
            site.deprecate_image(id.as_str(), at)
        })
        .await
    }

    async fn put_away(&self, id: &AmiId, away: bool) -> Result<(), CloudError> {
        let ami = of_the_fleet(self, self.own_fleet(), id).await?;
        if (ami.state == AmiState::Disabled) == away && matches!(ami.state, AmiState::Disabled | AmiState::Available) {
            return Ok(());
        }
        let action = if away { "DisableImage" } else { "EnableImage" };
        self.call(action, 0, id.as_str(), |site, _| site.disable_image(id.as_str(), away)).await
    }

    async fn uses(&self, id: &AmiId) -> Result<Vec<String>, CloudError> {
        let mut uses = self.instances_of(id).await?;
        uses.extend(self.templates_of(id).await?);
        let told = self.call("DescribeImageReferences", 0, id.as_str(), |site, _| {
            Ok::<Vec<(&str, String)>, ApiError>(site.references_to(id.as_str()))
        });
        let told = told.await?.into_iter().map(|(kind, arn)| (kind.to_owned(), arn));
        Ok(with_references(uses, told))
    }

    async fn tag_image(&self, id: &AmiId, tags: &TagSet) -> Result<(), CloudError> {
        of_the_fleet(self, self.own_fleet(), id).await?;
        let (resources, tags) = ([id.to_string()], sim_tags(tags));
        self.call("CreateTags", 0, id.as_str(), |site, now| site.create_tags(&resources, &tags, now)).await
    }

    async fn rehearse(&self, rehearsal: &Rehearsal) -> Vec<(&'static str, Result<(), CloudError>)> {
        let mut answers = Vec::new();
        for (permission, action) in READS {
            answers.push((permission, self.call(action, 0, "dry run", |_, _| Ok(())).await));
        }
        let request = launch_request(&rehearsal.launch, 1, None);
        let launched = self.call("RunInstances", 1, "dry run", |site, _| site.check_launch(&request));
        answers.push(("ec2:RunInstances", launched.await));
        answers.push(("ec2:CreateSecurityGroup", self.call("CreateSecurityGroup", 0, "dry run", |_, _| Ok(())).await));
        let source = &rehearsal.source;
        if of_the_fleet(self, self.own_fleet(), source).await.is_ok() {
            for (permission, action) in OF_OWN_IMAGES {
                let tried = self.call(action, 0, "dry run", |site, _| site.image(source.as_str()).map(drop));
                answers.push((permission, tried.await));
            }
        }
        answers
    }
}

/// What a rebake reads, as IAM and as EC2 call it.
const READS: [(&str, &str); 7] = [
    ("ec2:DescribeInstances", "DescribeInstances"),
    ("ec2:DescribeImages", "DescribeImages"),
    ("ec2:DescribeSnapshots", "DescribeSnapshots"),
    ("ec2:DescribeVpcs", "DescribeVpcs"),
    ("ec2:DescribeSecurityGroups", "DescribeSecurityGroups"),
    ("ec2:DescribeLaunchTemplates", "DescribeLaunchTemplates"),
    ("ec2:DescribeImageReferences", "DescribeImageReferences"),
];
/// What becomes of an image of the fleet's when it has been replaced.
const OF_OWN_IMAGES: [(&str, &str); 4] = [
    ("ec2:CreateTags", "CreateTags"),
    ("ec2:EnableImageDeprecation", "EnableImageDeprecation"),
    ("ec2:DisableImage", "DisableImage"),
    ("ec2:DeregisterImage", "DeregisterImage"),
];

fn sim_tags(tags: &TagSet) -> Tags {
    tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn source(image: &Image, account: &str) -> Result<SourceAmi, CloudError> {
    let ami = shown(image)?;
    let disk = |disk: &super::instance::Disk| {
        let snapshot = disk.snapshot.as_deref().map(own).transpose()?;
        let (device, encrypted, kms_key) = (disk.device.clone(), disk.encrypted, disk.kms_key.clone());
        Ok(SourceDisk { device, size_gib: Some(disk.size_gib), snapshot, encrypted, kms_key })
    };
    let (ours, windows) = (image.owner.is_none(), image.platform == Platform::Windows);
    Ok(SourceAmi {
        id: ami.id,
        name: ami.name,
        state: ami.state,
        account: image.owner_of(account).to_owned(),
        ours,
        architecture: image.architecture.clone(),
        platform_details: if windows { "Windows" } else { "Linux/UNIX" }.to_owned(),
        windows,
        root_device: Some(image.root_device.clone()),
        disks: image.disks.iter().map(disk).collect::<Result<_, CloudError>>()?,
        created: Some(image.created),
        deprecated: image.deprecated_at,
        product_codes: image.product_codes.clone(),
        tags: if ours { ami.tags } else { TagSet::default() },
    })
}

impl SimCloud {
    async fn instances_of(&self, id: &AmiId) -> Result<Vec<String>, CloudError> {
        self.call("DescribeInstances", 0, id.as_str(), |site, now| {
            site.describe_instances(None, now)?;
            let replica = site.replica();
            let seen = site.instances().filter(|instance| instance.params.image == id.as_str());
            let seen = seen.filter_map(|instance| Some((&instance.id, instance.seen_by(replica, now)?.state.clone())));
            let live = seen.filter(|(_, state)| *state != InstanceState::Terminated);
            Ok(live.map(|(instance, state)| format!("instance {instance} ({state})")).collect())
        })
        .await
    }

    async fn templates_of(&self, id: &AmiId) -> Result<Vec<String>, CloudError> {
        let templates = self.call("DescribeLaunchTemplates", 0, "", |site, _| {
            Ok::<Vec<String>, ApiError>(site.templates.keys().cloned().collect())
        });
        let mut uses = Vec::new();
        for template in templates.await? {
            let versions = self.call("DescribeLaunchTemplateVersions", 0, &template, |site, _| {
                let all = (1..).zip(&site.template(&template)?.versions);
                let named = all.filter_map(|(number, version)| Some((number, version.data.get("ImageId")?.clone())));
                Ok::<Vec<(usize, String)>, ApiError>(named.collect())
            });
            let versions = versions.await?.into_iter();
            let using = versions.filter(|(_, image)| image == id.as_str() || names_by_parameter(image));
            uses.extend(using.map(|(number, _)| format!("launch template {template} version {number}")));
        }
        Ok(uses)
    }
}

fn group(group: &Group) -> Result<FenceGroup, CloudError> {
    let rule = |rule: &Rule| FenceRule {
        protocol: rule.protocol.clone(),
        ports: rule.ports.map(|(from, to)| (small(from), small(to))),
        peer: rule.peer.clone(),
    };
    let rules = |egress: bool| group.rules.iter().filter(|rule| rule.egress == egress).map(rule).collect();
    let (inbound, outbound) = (rules(false), rules(true));
    Ok(FenceGroup { id: own(&group.id)?, name: group.name.clone(), inbound, outbound, tags: tag_set(&group.tags) })
}

fn small(port: i64) -> i32 {
    i32::try_from(port).unwrap_or(-1)
}

fn sim_rules(rules: &[FenceRule], egress: bool) -> Vec<Rule> {
    let one = |rule: &FenceRule| Rule {
        id: String::new(),
        egress,
        protocol: rule.protocol.clone(),
        ports: rule.ports.map(|(from, to)| (from.into(), to.into())),
        peer: rule.peer.clone(),
        description: String::new(),
    };
    rules.iter().map(one).collect()
}

impl FenceApi for SimCloud {
    async fn vpc(&self, place: &Place) -> Result<String, CloudError> {
        let Place::Subnet(id) = place else {
            return self.call("DescribeVpcs", 0, "", |site, _| Ok(site.network.vpc.clone())).await;
        };
        self.call("DescribeSubnets", 0, id, |site, _| {
            let known = site.network.subnets.contains_key(id).then(|| site.network.vpc.clone());
            let message = || format!("The subnet ID '{id}' does not exist");
            known.ok_or_else(|| ApiError::client("InvalidSubnetID.NotFound", message()))
        })
        .await
    }

    async fn groups(&self, which: WhichGroups<'_>) -> Result<Vec<FenceGroup>, CloudError> {
        let chosen = |site: &Site, group: &Group| match which {
            WhichGroups::Named(name, vpc) => group.name == name && site.network.vpc == vpc,
            WhichGroups::One(id) => group.id == id.as_str(),
            WhichGroups::Fences(fleet) => {
                let of = group.tags.get(tag_keys::FLEET).filter(|of| fleet.is_empty() || of.as_str() == fleet);
                of.is_some() && group.tags.get(tag_keys::ROLE) == Some(&Role::Rebake.to_string())
            }
        };
        let found = self.call("DescribeSecurityGroups", 0, "", |site, _| {
            let groups = site.network.groups.values().filter(|group| chosen(site, group));
            Ok::<Vec<Group>, ApiError>(groups.cloned().collect())
        });
        found.await?.iter().map(group).collect()
    }

    async fn create_group(&self, name: &str, _: &str, tags: &TagSet) -> Result<GroupId, CloudError> {
        let tags = sim_tags(tags);
        let made = self.call("CreateSecurityGroup", 0, name, |site, _| {
            site.create_group(name, crate::cloud::FENCE_DESCRIPTION, tags).map(|group| group.id.clone())
        });
        own(&made.await?)
    }

    async fn let_out(&self, id: &GroupId, rules: &[FenceRule]) -> Result<(), CloudError> {
        let rules = sim_rules(rules, true);
        let id = id.as_str();
        self.call("AuthorizeSecurityGroupEgress", 0, id, |site, _| site.authorize_group(id, rules).map(drop)).await
    }

    async fn stop_out(&self, id: &GroupId, rules: &[FenceRule]) -> Result<(), CloudError> {
        let rules = sim_rules(rules, true);
        let id = id.as_str();
        self.call("RevokeSecurityGroupEgress", 0, id, |site, _| site.revoke_group(id, &rules, &[])).await
    }

    async fn stop_in(&self, id: &GroupId, rules: &[FenceRule]) -> Result<(), CloudError> {
        let rules = sim_rules(rules, false);
        let id = id.as_str();
        self.call("RevokeSecurityGroupIngress", 0, id, |site, _| site.revoke_group(id, &rules, &[])).await
    }

    async fn delete_group(&self, id: &GroupId) -> Result<(), CloudError> {
        let id = id.as_str();
        self.call("DeleteSecurityGroup", 0, id, |site, _| site.delete_group(id)).await
    }
}
