//! What an owner grants: least-privilege roles, rendered from reviewed templates and the configuration.
//!
//! The templates are `policies/iam/*.json`, valid JSON with `{{names}}`. A list stands for one text per
//! item; a statement that is left without a resource is left out, so nothing is granted for what the
//! configuration does not use.

mod actions;
mod budget_action;
mod document;
mod fill;
mod values;

use std::fmt;

use serde_json::Value;

pub use actions::{NEEDS_NO_PERMISSION, NOT_CALLED, PERMISSIONS, Permission};
pub use budget_action::BudgetAction;
pub use document::{cloudformation, json, terraform};

use super::fleet::{PRINCIPAL_CURE, is_principal};
use super::{Credentials, Intent};
use crate::model::OwnerName;
use values::Values;

/// What the inline policies of one role may have together, in characters without white space.
pub const POLICY_CHARACTERS_MAX: usize = 10_240;
/// What a trust policy may have.
pub const TRUST_CHARACTERS_MAX: usize = 2048;
/// The role's name where the configuration names none yet.
pub const ROLE_NAME: &str = "latent-worker";

const TRUST: &str = include_str!("../../../policies/iam/trust.json");

/// The roles of an owner, each for one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IamRole {
    /// Of `latent serve`, `latent sweep` and `latent doctor`.
    Worker,
    /// Of `latent rebake`.
    Rebake,
    /// Of `latent audit`: it changes nothing.
    Audit,
}

impl IamRole {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Worker, Self::Rebake, Self::Audit];

    fn template(self) -> &'static str {
        match self {
            Self::Worker => include_str!("../../../policies/iam/worker.json"),
            Self::Rebake => include_str!("../../../policies/iam/rebake.json"),
            Self::Audit => include_str!("../../../policies/iam/audit.json"),
        }
    }

    fn purpose(self) -> &'static str {
        match self {
            Self::Worker => "launches workers, watches them and takes them away; sweeps what is left behind",
            Self::Rebake => "makes a new image of a worker, and retires images that a rebake made",
            Self::Audit => "reads what there is and what it costs; changes nothing",
        }
    }
}

impl fmt::Display for IamRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Worker => "worker",
            Self::Rebake => "rebake",
            Self::Audit => "audit",
        })
    }
}

/// Why there is no grant. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IamError {
    /// No such owner.
    #[error("owner {owner} is not in the configuration; known: {known}")]
    UnknownOwner {
        /// The name.
        owner: OwnerName,
        /// The names that are.
        known: String,
    },
    /// A key is missing, or its value is of no use for a policy.
    #[error("{key}: {message}; {cure}")]
    Key {
        /// Which, with its table.
        key: String,
        /// What is wrong.
        message: String,
        /// What to do.
        cure: String,
    },
    /// A policy that IAM would refuse.
    #[error(
        "the {what} of role {role} has {characters} characters and IAM takes {max}; \
         divide the owner's manifests among two accounts, or let them share subnets, groups and AMIs"
    )]
    TooLong {
        /// Policy or trust policy.
        what: &'static str,
        /// Of which role.
        role: IamRole,
        /// Its characters without white space.
        characters: usize,
        /// The most.
        max: usize,
    },
}

impl IamError {
    fn key(key: impl Into<String>, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Key { key: key.into(), message: message.into(), cure: cure.into() }
    }
}

/// One role with all that IAM needs to make it.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// Which.
    pub role: IamRole,
    /// Its path, `/` for none.
    pub path: String,
    /// Its name.
    pub name: String,
    /// Who may assume it.
    pub trust: Value,
    /// What it may do.
    pub policy: Value,
}

/// The roles of one owner.
#[derive(Debug, Clone, PartialEq)]
pub struct Grants {
    /// The fleet.
    pub fleet: String,
    /// The owner.
    pub owner: OwnerName,
    /// The account in which the roles are made.
    pub account: String,
    /// The roles that were asked for.
    pub roles: Vec<Grant>,
    /// What the configuration leaves open, and how to close it.
    pub open: Vec<String>,
}

/// Renders the roles of an owner. `principal` goes before the configuration's.
pub fn grants(
    intent: &Intent,
    owner: &OwnerName,
    principal: Option<&str>,
    roles: &[IamRole],
) -> Result<Grants, IamError> {
    let Some(configured) = intent.owners.get(owner) else {
        let known: Vec<&str> = intent.owners.keys().map(OwnerName::as_str).collect();
        return Err(IamError::UnknownOwner { owner: owner.clone(), known: known.join(", ") });
    };
    let principal = principal.or(intent.fleet.principal.as_deref()).ok_or_else(|| {
        let cure = "add principal = \"arn:aws:iam::ACCOUNT:role/NAME\" below [fleet], or give --principal";
        IamError::key("fleet.principal", "is missing, so nobody could assume the owner's roles", cure)
    })?;
    if !is_principal(principal) {
        return Err(IamError::key(
            "principal",
            format!("{principal:?} is not the ARN of a role or user"),
            PRINCIPAL_CURE,
        ));
    }
    let key = |name: &str| format!("owner.{owner}.credentials.{name}");
    let Credentials::AssumeRole { arn, external_id: Some(external_id), .. } = &configured.credentials else {
        return Err(IamError::key(key("external_id"), "is missing", "name a role and an external id"));
    };
    let account = values::account_of(owner, configured)?;
    let (path, name) = role_name(arn, account).ok_or_else(|| {
        let message = format!("{arn:?} is not a role of account {account}");
        IamError::key(key("assume_role"), message, "name a role of the owner's account")
    })?;
    let values = Values::of(intent, owner, configured, principal, external_id)?;
    let trust = fill::fill(TRUST, &values)?;
    let roles = roles.iter().map(|role| {
        let policy = fill::fill(role.template(), &values)?;
        fits("policy", *role, &policy, POLICY_CHARACTERS_MAX)?;
        fits("trust policy", *role, &trust, TRUST_CHARACTERS_MAX)?;
        Ok(Grant { role: *role, path: path.clone(), name: named_for(&name, *role), trust: trust.clone(), policy })
    });
    Ok(Grants {
        fleet: intent.fleet.name.clone(),
        owner: owner.clone(),
        account: account.to_owned(),
        roles: roles.collect::<Result<_, _>>()?,
        open: values.open,
    })
}

/// Path and name of a role of this account.
fn role_name(arn: &str, account: &str) -> Option<(String, String)> {
    if !is_principal(arn) || arn.split(':').nth(4) != Some(account) {
        return None;
    }
    let full = arn.split_once(":role")?.1;
    let (path, name) = full.rsplit_once('/')?;
    Some((format!("{path}/"), name.to_owned()))
}

/// The worker role has the configured name; the others are called after it.
fn named_for(worker: &str, role: IamRole) -> String {
    match role {
        IamRole::Worker => worker.to_owned(),
        _ => format!("{}-{role}", worker.strip_suffix("-worker").unwrap_or(worker)),
    }
}

fn fits(what: &'static str, role: IamRole, policy: &Value, max: usize) -> Result<(), IamError> {
    let characters = characters(policy);
    if characters > max { Err(IamError::TooLong { what, role, characters, max }) } else { Ok(()) }
}

/// The characters of a document as IAM counts them: without white space.
pub fn characters(document: &Value) -> usize {
    document.to_string().chars().filter(|c| !c.is_whitespace()).count()
}
