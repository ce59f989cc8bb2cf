//! `latent iam`: what an owner grants.

use std::io::Write;

use super::args::{Args, IamFormat, IamOptions, RoleName};
use super::connect;
use super::exit::{CommandError, Exit};
use crate::model::OwnerName;
use crate::policy::iam::{self, IamError, IamRole};
use crate::policy::{Credentials, Intent, Owner};

pub(super) const AFTER_HELP: &str = "\
The admin runs it, for latent.toml is his; the owner reads what it prints and makes the roles:

  latent iam --owner alice --format cloudformation > latent-alice.json
  aws cloudformation deploy --stack-name latent --template-file latent-alice.json \\
      --capabilities CAPABILITY_NAMED_IAM
  aws cloudformation describe-stacks --stack-name latent --query 'Stacks[0].Outputs'

The worker role has the name that credentials.assume_role gives it. The external id is ours, not the
owner's: it keeps another owner from naming this account as his. Nothing is called or changed here.";

pub(super) fn run(args: &Args, options: &IamOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (_, intent) = connect::intent(args)?;
    let file = args.config.display().to_string();
    if options.budget_action {
        return budget_action(&intent, &file, options, out);
    }
    if let Some(problem) = intent.owners.get(&options.owner).and_then(|owner| no_external_id(&options.owner, owner)) {
        let id = new_external_id()?;
        let message = format!("{file}: {}; {}", problem.message, problem.cure(&id));
        return Err(CommandError::new(Exit::Configuration, anyhow::anyhow!(message)));
    }
    let roles = match options.role {
        None => IamRole::ALL.to_vec(),
        Some(RoleName::Worker) => vec![IamRole::Worker],
        Some(RoleName::Rebake) => vec![IamRole::Rebake],
        Some(RoleName::Audit) => vec![IamRole::Audit],
    };
    let grants = iam::grants(&intent, &options.owner, options.principal.as_deref(), &roles);
    let grants = grants.map_err(|error| told(&file, &error))?;
    match options.format {
        IamFormat::Json => writeln!(out, "{}", connect::pretty(&iam::json(&grants))?)?,
        IamFormat::Cloudformation => writeln!(out, "{}", connect::pretty(&iam::cloudformation(&grants))?)?,
        IamFormat::Terraform => write!(out, "{}", iam::terraform(&grants))?,
    }
    Ok(Exit::Done)
}

fn budget_action(intent: &Intent, file: &str, options: &IamOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let action = iam::BudgetAction::of(intent, &options.owner, options.amount).map_err(|error| told(file, &error))?;
    match options.format {
        IamFormat::Json => writeln!(out, "{}", connect::pretty(&action.json())?)?,
        IamFormat::Cloudformation => writeln!(out, "{}", connect::pretty(&action.cloudformation())?)?,
        IamFormat::Terraform => write!(out, "{}", action.terraform())?,
    }
    Ok(Exit::Done)
}

/// What the configuration is silent about and should not be, for `latent check`.
pub(super) fn notes(intent: &Intent) -> Vec<String> {
    let bare = intent
        .owners
        .iter()
        .filter(|(_, owner)| matches!(owner.credentials, Credentials::AssumeRole { external_id: None, .. }));
    let note = |(name, _): (&OwnerName, &Owner)| {
        format!("owner.{name}.credentials: no external_id; `latent iam --owner {name}` makes one")
    };
    bare.map(note).collect()
}

/// A missing external id, and the role it would be for.
struct NoExternalId {
    message: String,
    role: String,
    profile: Option<String>,
}

impl NoExternalId {
    fn cure(&self, id: &str) -> String {
        let profile = self.profile.as_ref().map(|name| format!(", profile = \"{name}\"")).unwrap_or_default();
        format!("write credentials = {{ assume_role = \"{}\", external_id = \"{id}\"{profile} }}", self.role)
    }
}

fn no_external_id(name: &OwnerName, owner: &Owner) -> Option<NoExternalId> {
    match &owner.credentials {
        Credentials::AssumeRole { external_id: Some(_), .. } => None,
        Credentials::AssumeRole { arn, profile, .. } => Some(NoExternalId {
            message: format!("owner.{name}.credentials.external_id: is missing; here is a new one"),
            role: arn.clone(),
            profile: profile.clone(),
        }),
        Credentials::Profile(_) | Credentials::Environment | Credentials::KeyFile(_) => Some(NoExternalId {
            message: format!("owner.{name}.credentials: names no role of the owner; here is one, with an external id"),
            role: format!("arn:aws:iam::{}:role/{}", owner.account.as_deref().unwrap_or("ACCOUNT"), iam::ROLE_NAME),
            profile: None,
        }),
    }
}

/// 128 bits that nobody can guess, in hexadecimal.
fn new_external_id() -> Result<String, CommandError> {
    let mut bytes = [0_u8; 16];
    let failed = |error| CommandError::new(Exit::Unexpected, anyhow::anyhow!("no random numbers: {error}"));
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(u128::from_be_bytes(bytes)).map(|number| format!("latent-{number:032x}"))
}

fn told(file: &str, error: &IamError) -> CommandError {
    match error {
        IamError::UnknownOwner { .. } => CommandError::new(Exit::Refused, anyhow::anyhow!("{file}: {error}")),
        IamError::Key { key, .. } if key.starts_with("amis/") => {
            CommandError::new(Exit::Configuration, anyhow::anyhow!("{error}"))
        }
        _ => CommandError::new(Exit::Configuration, anyhow::anyhow!("{file}: {error}")),
    }
}
