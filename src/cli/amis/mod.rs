//! `latent amis`: the generations of each image, what came from what, who uses it, and what it costs.

#[cfg(feature = "ec2")]
mod ground;
#[cfg(any(feature = "ec2", test))]
mod print;

use crate::model::OwnerName;

#[cfg(feature = "ec2")]
pub(super) use ground::run;

/// Whose AMIs, and how they are shown.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct AmisOptions {
    /// Only this owner's
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) owner: Option<OwnerName>,
    /// As JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
