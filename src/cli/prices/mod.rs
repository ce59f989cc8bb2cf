//! `latent prices`: the prices that estimates go by, and newer ones from Amazon's list.

mod show;
#[cfg(feature = "ec2")]
mod update;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use clap::Subcommand;

use crate::model::{OwnerName, Region};
use crate::plan::price::{PRICE_FILE, Prices};

pub(super) use show::show;
#[cfg(feature = "ec2")]
pub(super) use update::update;

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

/// Where prices are looked for: beside the configuration.
pub(in crate::cli) fn file_beside(config: &Path) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join(PRICE_FILE)
}

/// The prices to go by, and what there is to say of a file that cannot be used: then the program's own hold.
pub(in crate::cli) fn prices(file: &Path, today: NaiveDate) -> (Prices, Option<String>) {
    let told = |why: String| {
        let note = format!(
            "{}: {why}; the prices in the program are used; `latent prices update` writes a new one",
            file.display()
        );
        (Prices::built_in(), Some(note))
    };
    match read(file) {
        Ok(None) => (Prices::built_in(), None),
        Ok(Some(text)) => {
            Prices::over(&text, today).map_or_else(|problem| told(problem.to_string()), |all| (all, None))
        }
        Err(error) => told(format!("cannot be read: {error}")),
    }
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
        assert_eq!(prices(&file, today), (Prices::built_in(), None));
        for text in ["{", "\u{0}", "[]"] {
            std::fs::write(&file, text).expect("a file");
            let (found, said) = prices(&file, today);
            let said = said.expect("something is said");
            assert!(found == Prices::built_in() && said.contains("prices.json: is no file of prices: "), "{said}");
        }
        std::fs::write(&file, [0xff, 0xfe]).expect("a file");
        assert!(prices(&file, today).1.expect("something is said").contains("prices.json: cannot be read: "));
        assert_eq!(file_beside(Path::new("latent.toml")), Path::new("prices.json"));
    }
}
