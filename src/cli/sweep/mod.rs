//! `latent sweep`: finds what is left over in an account, and takes it away.

#[cfg(feature = "ec2")]
mod ground;
#[cfg(feature = "ec2")]
mod print;
#[cfg(feature = "ec2")]
mod run;

use std::path::PathBuf;

use clap::Parser;

use super::exit::SWEEP_AFTER_HELP;
use crate::model::{AmiId, OwnerName, Region, ResourceId};
#[cfg(feature = "ec2")]
use crate::policy::{Credentials, Owner};

#[cfg(feature = "ec2")]
pub(super) use ground::run;

/// What is swept, and what is done.
#[derive(Debug, Parser)]
#[command(after_help = SWEEP_AFTER_HELP)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(in crate::cli) struct SweepOptions {
    /// A region to sweep; may be repeated
    #[arg(long = "region", value_name = "REGION")]
    pub(in crate::cli) regions: Vec<Region>,
    /// Every region that is enabled for the account
    #[arg(long, conflicts_with = "regions")]
    pub(in crate::cli) all_regions: bool,
    /// An owner of the configuration: account, credentials, regions and fleet come from there
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) owner: Option<OwnerName>,
    /// Only what belongs to this fleet; without it, to any
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) fleet: Option<String>,
    /// Where the credentials come from, if not from the configuration
    #[command(flatten)]
    pub(in crate::cli) access: Access,
    /// An AMI of the fleet that nothing tagged runs: instances of it without a tag are told; may be repeated
    #[arg(long = "ami", value_name = "AMI")]
    pub(in crate::cli) amis: Vec<AmiId>,
    /// Write the plan to this file
    #[arg(long, value_name = "FILE", conflicts_with = "apply")]
    pub(in crate::cli) plan: Option<PathBuf>,
    /// Do what the plan in FILE says, no more; without FILE, look, show the plan and ask
    #[arg(long, value_name = "FILE")]
    #[expect(clippy::option_option, reason = "absent, bare, or with a file")]
    pub(in crate::cli) apply: Option<Option<PathBuf>>,
    /// Do not ask
    #[arg(long, requires = "apply")]
    pub(in crate::cli) yes: bool,
    /// Also act on this, which would only be told or marked; may be repeated
    #[arg(long = "id", value_name = "ID")]
    pub(in crate::cli) ids: Vec<ResourceId>,
    /// The most that may be taken away at once, instead of sweep.acts_max
    #[arg(long, value_name = "N")]
    pub(in crate::cli) max_acts: Option<u32>,
    /// The largest share of the fleet's resources that may be taken away at once, instead of sweep.acts_percent
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(in crate::cli) max_percent: Option<u32>,
    /// Believe a controller that claims no instance although several of its own run
    #[arg(long)]
    pub(in crate::cli) controller_state_lost: bool,
    /// Print the JSON Schema of a plan file, and do nothing else
    #[arg(long, exclusive = true)]
    pub(in crate::cli) schema: bool,
    /// How it is printed
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

/// How to act in an account that no configuration names.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Access {
    /// A profile of the shared AWS configuration
    #[arg(long, value_name = "PROFILE", conflicts_with = "owner")]
    pub(in crate::cli) profile: Option<String>,
    /// A role to assume
    #[arg(long, value_name = "ARN", conflicts_with = "owner")]
    pub(in crate::cli) role_arn: Option<String>,
    /// The external id that the role demands
    #[arg(long, value_name = "ID", requires = "role_arn")]
    pub(in crate::cli) external_id: Option<String>,
    /// Refuse to act in any other account than this
    #[arg(long, value_name = "NUMBER", value_parser = account)]
    pub(in crate::cli) account: Option<String>,
}

#[cfg(feature = "ec2")]
impl Access {
    /// Whoever these credentials act for.
    pub(in crate::cli) fn owner(&self) -> Owner {
        let credentials = match (&self.role_arn, &self.profile) {
            (Some(arn), profile) => Credentials::AssumeRole {
                arn: arn.clone(),
                external_id: self.external_id.clone(),
                profile: profile.clone(),
            },
            (None, Some(profile)) => Credentials::Profile(profile.clone()),
            (None, None) => Credentials::Environment,
        };
        Owner { account: self.account.clone(), ..Owner::acting_by(credentials) }
    }
}

/// How it is printed.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(in crate::cli) struct OutputOptions {
    /// As JSON: the plan, and what came of it
    #[arg(long, conflicts_with_all = ["csv", "quiet"])]
    pub(in crate::cli) json: bool,
    /// As CSV: one line for each finding
    #[arg(long, conflicts_with = "quiet")]
    pub(in crate::cli) csv: bool,
    /// One line, and none if there is nothing to say
    #[arg(long, short)]
    pub(in crate::cli) quiet: bool,
    /// Also what was looked at and left alone, and why
    #[arg(long, short)]
    pub(in crate::cli) verbose: bool,
}

fn account(text: &str) -> Result<String, String> {
    let fits = text.len() == 12 && text.chars().all(|c| c.is_ascii_digit());
    if fits { Ok(text.to_owned()) } else { Err("an account number has 12 digits".to_owned()) }
}
