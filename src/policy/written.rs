//! Declarations as the files that say the same: what `latent config import` writes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::declared::{Declaration, DeclaredCredentials, DeclaredOwner};
use super::user_data::as_template;
use crate::model::{OwnerName, WorkerName};

/// A file that says what declarations say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its name, relative to the folder of latent.toml.
    pub name: String,
    /// What stands in it.
    pub text: super::Secret,
    /// Whether it may hold a secret.
    pub private: bool,
}

/// The name of the part of latent.toml.
pub const FRAGMENT: &str = "latent.import.toml";

/// The files of these workers; equal owners and equal policies are written once. No key is in them: where one
/// was declared, the file is named that it is to be put in.
///
/// # Errors
/// What is wrong, when one owner is declared in two ways.
pub fn written(workers: &BTreeMap<WorkerName, Declaration>) -> Result<Vec<Written>, String> {
    let mut owners: BTreeMap<&OwnerName, &DeclaredOwner> = BTreeMap::new();
    let mut policies: Vec<(&WorkerName, &Map<String, Value>)> = Vec::new();
    let mut files = Vec::new();
    let mut sections = String::new();
    for (name, declared) in workers {
        if let Some(access) = &declared.access {
            let first = owners.entry(&declared.owner).or_insert(access);
            if *first != access {
                return Err(format!(
                    "owner {} has two kinds of credentials; worker {name} has the second",
                    declared.owner
                ));
            }
        }
        let _ = write!(sections, "\n[worker.{}]\nimage = {}\n", key(name.as_str()), quoted(name.as_str()));
        if !declared.policy.is_empty() {
            let known = policies.iter().find(|(_, policy)| **policy == declared.policy).map(|(policy, _)| *policy);
            let policy = known.unwrap_or(name);
            if known.is_none() {
                policies.push((name, &declared.policy));
                files.push(open(format!("policies/{name}.toml"), declared.policy_text()));
            }
            let _ = writeln!(sections, "policy = {}", quoted(policy.as_str()));
        }
        let template =
            declared.user_data.as_ref().map(|text| (format!("{name}.user-data"), as_template(text.reveal())));
        let manifest = declared.manifest(template.as_ref().map(|(file, _)| file.as_str()));
        files.push(open(format!("amis/{name}.toml"), manifest));
        files.extend(template.map(|(file, text)| Written {
            name: format!("amis/{file}"),
            text: super::Secret::new(text),
            private: true,
        }));
    }
    let mut fragment = "# Append this to latent.toml.\n".to_owned();
    for (name, access) in owners {
        fragment += &owner_section(name, access);
    }
    files.insert(0, open(FRAGMENT.to_owned(), fragment + &sections));
    Ok(files)
}

fn open(name: String, text: String) -> Written {
    Written { name, text: super::Secret::new(text), private: false }
}

fn owner_section(name: &OwnerName, access: &DeclaredOwner) -> String {
    let (comment, credentials) = match &access.credentials {
        DeclaredCredentials::Environment => (String::new(), "{ environment = true }".to_owned()),
        DeclaredCredentials::Profile(profile) => (String::new(), format!("{{ profile = {} }}", quoted(profile))),
        DeclaredCredentials::KeyFile(file) => (
            format!("# A role is the better way: latent iam --owner {name}\n"),
            format!("{{ key_file = {} }}", quoted(file)),
        ),
        DeclaredCredentials::AccessKey { .. } => (
            format!(
                "# Put the access key id into the first line of this file, the secret key into the second, and give \
                 it\n# mode 0600. A role is the better way: latent iam --owner {name}\n"
            ),
            format!("{{ key_file = {} }}", quoted(&format!("secrets/{name}.key"))),
        ),
    };
    let endpoint = access.endpoint.as_ref().map(|endpoint| format!("endpoint = {}\n", quoted(endpoint)));
    format!(
        "\n[owner.{}]\n# The owner's account number, which master.cfg does not say: `aws sts get-caller-identity` does.\n\
         account = \"000000000000\"\n{comment}credentials = {credentials}\n{}",
        key(name.as_str()),
        endpoint.unwrap_or_default()
    )
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A name as a key: a dot in it would begin another table.
fn key(name: &str) -> String {
    if name.contains('.') { quoted(name) } else { name.to_owned() }
}
