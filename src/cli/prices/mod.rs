//! `latent prices`: the prices that estimates go by, and newer ones from Amazon's list.

mod show;
#[cfg(feature = "ec2")]
mod update;

use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use clap::Subcommand;

use super::args::Args;
use super::exit::{CommandError, Exit};
use crate::audit::Missing;
use crate::control::Clock;
use crate::model::{OwnerName, Region};
use crate::policy::price::{PRICE_FILE, Prices};

/// The largest file of prices that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What to do with prices.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PricesCommand {
    /// Ask Amazon's list for the types that the configuration uses; estimates go by what it says from then on
    Update(UpdateOptions),
    /// What an instance of a type costs per hour, of when that is, and where from
    Show(ShowOptions),
}

/// Options of `latent prices update`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct UpdateOptions {
    /// Where to, if not prices.json beside latent.toml, where it is looked for
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only this region's, and no other's are in the file then; may be repeated
    #[arg(long, value_name = "REGION")]
    region: Vec<Region>,
    /// By this owner's credentials, which need pricing:GetProducts; else each owner's in turn
    #[arg(long, value_name = "NAME")]
    owner: Option<OwnerName>,
}

/// Options of `latent prices show`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ShowOptions {
    /// The instance type, such as m7i.large
    instance_type: String,
    /// Where
    #[arg(long, value_name = "REGION")]
    region: Region,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs one of them.
#[cfg_attr(not(feature = "ec2"), expect(clippy::unused_async, reason = "with the SDK it asks the account"))]
pub(in crate::cli) async fn run(
    args: &Args,
    command: &PricesCommand,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    match command {
        PricesCommand::Show(options) => show::show(args, options, out),
        #[cfg(feature = "ec2")]
        PricesCommand::Update(options) => Box::pin(update::update(args, options, out)).await,
        #[cfg(not(feature = "ec2"))]
        PricesCommand::Update(_) => Err(CommandError::without_ec2("ask for prices")),
    }
}

/// Where prices are looked for: beside the configuration.
fn file_beside(config: &Path) -> PathBuf {
    config.parent().unwrap_or_else(|| Path::new("")).join(PRICE_FILE)
}

/// The prices to go by, or why a file of them cannot be used: then the program's own hold.
fn prices(file: &Path, today: NaiveDate) -> Result<Prices, String> {
    match read(file) {
        Ok(None) => Ok(Prices::built_in()),
        Ok(Some(text)) => Prices::over(&text, today).map_err(|problem| problem.to_string()),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// The prices beside the configuration; a file that cannot be used is told of, and the program's own hold.
pub(in crate::cli) fn in_use(config: &Path) -> Arc<Prices> {
    let file = file_beside(config);
    let found = prices(&file, Clock::system().now().date_naive()).unwrap_or_else(|why| {
        tracing::warn!("{}: {why}; the prices in the program are used", file.display());
        Prices::built_in()
    });
    Arc::new(found)
}

/// The prices beside the configuration, for a report that is made now.
pub(in crate::cli) fn of_an_audit(config: &Path, now: DateTime<Utc>) -> Result<Prices, Missing> {
    prices(&file_beside(config), now.date_naive()).map_err(|why| Missing::new(why, "run latent prices update"))
}

/// The text of the file, if there is one.
fn read(file: &Path) -> std::io::Result<Option<String>> {
    let opened = match std::fs::File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut text = String::new();
    let bytes = opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if bytes as u64 > FILE_BYTES_MAX {
        let why = format!("it has more than {} MiB", FILE_BYTES_MAX >> 20);
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, why));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_said_and_stops_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = file_beside(&folder.path().join("latent.toml"));
        let today = NaiveDate::from_ymd_opt(2026, 11, 22).expect("a date");
        assert_eq!(prices(&file, today), Ok(Prices::built_in()));
        for text in ["{", "\u{0}", "[]"] {
            std::fs::write(&file, text).expect("a file");
            let said = prices(&file, today).expect_err("it is no file of prices");
            assert!(said.starts_with("is no file of prices: "), "{said}");
        }
        std::fs::write(&file, [0xff, 0xfe]).expect("a file");
        assert!(prices(&file, today).expect_err("it is no text").starts_with("cannot be read: "));
        assert_eq!(file_beside(Path::new("latent.toml")), Path::new("prices.json"));
    }
}
