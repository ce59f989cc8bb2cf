//! Every permission that a role of an owner holds, in one table.
//!
//! `tests/it/iam.rs` compares it with the calls of `src/ec2` and with the rendered policies, both ways:
//! a call that no role permits and a permission that no call needs are failures.

use super::IamRole::{self, Audit, Rebake, Worker};

/// One action of AWS and the roles that hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// As IAM writes it, such as `ec2:RunInstances`.
    pub action: &'static str,
    /// Which roles may call it.
    pub roles: &'static [IamRole],
}

const fn held(action: &'static str, roles: &'static [IamRole]) -> Permission {
    Permission { action, roles }
}

/// The table, in the order of the actions' names.
pub const PERMISSIONS: &[Permission] = &[
    held("ce:GetCostAndUsage", &[Audit]),
    held("cloudtrail:LookupEvents", &[Audit]),
    held("ec2:AssociateAddress", &[Worker]),
    held("ec2:AttachVolume", &[Worker]),
    held("ec2:AuthorizeSecurityGroupEgress", &[Rebake]),
    held("ec2:CancelSpotInstanceRequests", &[Worker]),
    held("ec2:CreateImage", &[Rebake]),
    held("ec2:CreateSecurityGroup", &[Rebake]),
    held("ec2:CreateTags", &[Worker, Rebake]),
    held("ec2:DeleteNetworkInterface", &[Worker]),
    held("ec2:DeleteSecurityGroup", &[Rebake]),
    held("ec2:DeleteSnapshot", &[Rebake]),
    held("ec2:DeleteVolume", &[Worker]),
    held("ec2:DeregisterImage", &[Rebake]),
    held("ec2:DescribeAddresses", &[Worker, Audit]),
    held("ec2:DescribeImageReferences", &[Rebake]),
    held("ec2:DescribeImages", &[Worker, Rebake, Audit]),
    held("ec2:DescribeInstanceTypes", &[Worker, Audit]),
    held("ec2:DescribeInstances", &[Worker, Rebake, Audit]),
    held("ec2:DescribeKeyPairs", &[Worker, Audit]),
    held("ec2:DescribeLaunchTemplateVersions", &[Rebake]),
    held("ec2:DescribeLaunchTemplates", &[Rebake]),
    held("ec2:DescribeNetworkInterfaces", &[Worker, Audit]),
    held("ec2:DescribeRegions", &[Worker, Audit]),
    held("ec2:DescribeSecurityGroups", &[Worker, Rebake, Audit]),
    held("ec2:DescribeSnapshots", &[Worker, Rebake, Audit]),
    held("ec2:DescribeSpotInstanceRequests", &[Worker, Audit]),
    held("ec2:DescribeSpotPriceHistory", &[Audit]),
    held("ec2:DescribeSubnets", &[Worker, Rebake, Audit]),
    held("ec2:DescribeVolumes", &[Worker, Audit]),
    held("ec2:DescribeVpcs", &[Rebake]),
    held("ec2:DisableImage", &[Rebake]),
    held("ec2:DisableImageDeprecation", &[Rebake]),
    held("ec2:EnableImage", &[Rebake]),
    held("ec2:EnableImageDeprecation", &[Rebake]),
    held("ec2:GetConsoleOutput", &[Worker, Rebake]),
    held("ec2:GetInstanceMetadataDefaults", &[Worker, Audit]),
    held("ec2:ReleaseAddress", &[Worker]),
    held("ec2:RevokeSecurityGroupEgress", &[Rebake]),
    held("ec2:RevokeSecurityGroupIngress", &[Rebake]),
    held("ec2:RunInstances", &[Worker, Rebake]),
    held("ec2:StartInstances", &[Worker, Rebake]),
    held("ec2:StopInstances", &[Worker, Rebake]),
    held("ec2:TerminateInstances", &[Worker, Rebake]),
    held("iam:PassRole", &[Worker, Rebake]),
    held("kms:CreateGrant", &[Worker]),
    held("kms:Decrypt", &[Worker]),
    held("kms:DescribeKey", &[Worker]),
    held("kms:GenerateDataKeyWithoutPlaintext", &[Worker]),
    held("kms:ReEncryptFrom", &[Worker]),
    held("kms:ReEncryptTo", &[Worker]),
    held("pricing:GetProducts", &[Audit]),
    held("servicequotas:GetServiceQuota", &[Worker, Audit]),
    held("ssm:DescribeInstanceInformation", &[Rebake]),
    held("ssm:GetCommandInvocation", &[Rebake]),
    held("ssm:ListCommands", &[Rebake]),
    held("ssm:SendCommand", &[Rebake]),
];

/// What the code calls and no role needs to hold, and why not.
pub const NEEDS_NO_PERMISSION: &[(&str, &str)] = &[
    ("sts:AssumeRole", "the trust policy of the role permits it, and the master's own policy"),
    ("sts:GetCallerIdentity", "AWS answers it to everybody"),
];

/// What a role holds although no call of the code names it, and why it does.
pub const NOT_CALLED: &[(&str, &str)] = &[
    ("ce:GetCostAndUsage", "the audit compares its estimate with the bill"),
    ("iam:PassRole", "EC2 asks for it when a launch names an instance profile"),
    ("kms:CreateGrant", "EC2 asks for it when a disk of a launch names its key"),
    ("kms:Decrypt", "the same"),
    ("kms:DescribeKey", "the same"),
    ("kms:GenerateDataKeyWithoutPlaintext", "the same"),
    ("kms:ReEncryptFrom", "the same, where the disk is made from an encrypted snapshot"),
    ("kms:ReEncryptTo", "the same"),
];
