//! Grants as what an owner can apply: JSON to read or paste, CloudFormation, Terraform.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Grant, Grants};

/// How long a session of a role may last, in seconds: the least that IAM allows.
const SESSION_SECONDS: u32 = 3600;

/// Trust policy and permissions of each role, by its name.
pub fn json(grants: &Grants) -> Value {
    let role = |grant: &Grant| {
        let document = json!({
            "purpose": grant.role.purpose(),
            "path": grant.path,
            "name": grant.name,
            "trust": grant.trust,
            "policy": grant.policy,
        });
        (grant.role.to_string(), document)
    };
    let roles: Map<String, Value> = grants.roles.iter().map(role).collect();
    json!({
        "about": about(grants, &[
            "For each role: IAM > Roles > Create role > Custom trust policy: paste `trust`; name it as `name` says.",
            "Then: the role > Add permissions > Create inline policy > JSON: paste `policy`.",
            "Or apply all of it at once: latent iam --format cloudformation, or --format terraform.",
        ]),
        "account": grants.account,
        "fleet": grants.fleet,
        "owner": grants.owner.as_str(),
        "open": grants.open,
        "roles": roles,
    })
}

/// A template that makes the roles; deleting its stack takes them away.
pub fn cloudformation(grants: &Grants) -> Value {
    let mut resources = Map::new();
    let mut outputs = Map::new();
    for grant in &grants.roles {
        let id = logical_id(grant);
        let role = json!({
            "Type": "AWS::IAM::Role",
            "Properties": {
                "Path": grant.path,
                "RoleName": grant.name,
                "Description": description(grants, grant),
                "MaxSessionDuration": SESSION_SECONDS,
                "AssumeRolePolicyDocument": grant.trust,
                "Policies": [{ "PolicyName": grant.name, "PolicyDocument": grant.policy }],
            },
        });
        resources.insert(id.clone(), role);
        let output = json!({ "Description": grant.role.purpose(), "Value": { "Fn::GetAtt": [id, "Arn"] } });
        outputs.insert(format!("{id}Arn"), output);
    }
    json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": format!("Roles for latent, fleet {}, owner {}", grants.fleet, grants.owner),
        "Metadata": { "latent": {
            "about": about(grants, &[
                "aws cloudformation deploy --stack-name latent --template-file THIS_FILE --capabilities CAPABILITY_NAMED_IAM",
            ]),
            "open": grants.open,
        } },
        "Resources": resources,
        "Outputs": outputs,
    })
}

/// The same as HCL. The provider is the owner's own: it must lead to the owner's account.
pub fn terraform(grants: &Grants) -> String {
    let mut text = String::new();
    for line in about(grants, &["terraform init && terraform apply, with a provider for this account."]) {
        let _ = writeln!(text, "# {line}");
    }
    for line in &grants.open {
        let _ = writeln!(text, "# Left open: {line}");
    }
    for grant in &grants.roles {
        let id = format!("latent_{}", grant.role);
        let _ = write!(
            text,
            "\nresource \"aws_iam_role\" \"{id}\" {{\n  \
               path                 = {}\n  \
               name                 = {}\n  \
               description          = {}\n  \
               max_session_duration = {SESSION_SECONDS}\n  \
               assume_role_policy   = jsonencode({})\n}}\n\n\
             resource \"aws_iam_role_policy\" \"{id}\" {{\n  \
               name   = {}\n  \
               role   = aws_iam_role.{id}.id\n  \
               policy = jsonencode({})\n}}\n\n\
             output \"{id}_arn\" {{\n  value = aws_iam_role.{id}.arn\n}}\n",
            quoted(&grant.path),
            quoted(&grant.name),
            quoted(&description(grants, grant)),
            indented(&grant.trust),
            quoted(&grant.name),
            indented(&grant.policy),
        );
    }
    text
}

fn about(grants: &Grants, how: &[&str]) -> Vec<String> {
    let Grants { fleet, owner, account, .. } = grants;
    let mut lines = vec![
        format!("Roles of AWS account {account} for fleet {fleet} of latent (owner {owner}), made by `latent iam`."),
        "To be made in that account by its owner. The master assumes them; no key is handed over.".to_owned(),
        "The external id was made by the master's side: do not choose another. It is no secret.".to_owned(),
        "Deleting a role takes back what it grants.".to_owned(),
    ];
    lines.extend(how.iter().map(|line| (*line).to_owned()));
    lines
}

fn description(grants: &Grants, grant: &Grant) -> String {
    format!("latent fleet {}, owner {}: {}", grants.fleet, grants.owner, grant.role.purpose())
}

fn logical_id(grant: &Grant) -> String {
    let name = grant.role.to_string();
    let (first, rest) = name.split_at(1);
    format!("Latent{}{rest}", first.to_ascii_uppercase())
}

/// A text of HCL: as JSON writes it, for what is in it was checked to hold no template.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// JSON is an expression of HCL; its lines move in with the block that it stands in.
pub(super) fn indented(value: &Value) -> String {
    format!("{value:#}").replace('\n', "\n  ")
}
