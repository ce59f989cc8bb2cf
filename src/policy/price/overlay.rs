//! Prices that were asked of the list, laid over the table in the program.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};

use super::{Money, Range, Software, Source, book};
use crate::model::{Market, Region};

/// The version of the file's format.
pub const PRICE_FILE_VERSION: u32 = 1;
/// The name of the file, beside `latent.toml`.
pub const PRICE_FILE: &str = "prices.json";
/// The most entries that a file may have.
const ENTRIES_MAX: usize = 100_000;

/// A file of prices, as `latent prices update` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceFile {
    /// [`PRICE_FILE_VERSION`] of who wrote it.
    pub version: u32,
    /// When the list was asked.
    pub as_of: NaiveDate,
    /// Which list that was.
    pub source: Source,
    /// What it said.
    pub entries: Vec<PriceEntry>,
}

/// What the list said of a type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceEntry {
    /// Where.
    pub region: Region,
    /// Its type.
    pub instance_type: String,
    /// What runs on it.
    pub software: Software,
    /// Micro-dollars per hour on demand; absent where the list gives no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hourly: Option<Money>,
    /// When the list was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<NaiveDate>,
    /// Why there is no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// Why a file of prices is not used.
#[derive(Debug, thiserror::Error)]
pub enum PriceFileProblem {
    /// It cannot be read as one.
    #[error("is no file of prices: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It is of another version.
    #[error("has version {0}, and this latent knows {PRICE_FILE_VERSION}")]
    Version(u32),
    /// The table in the program is newer.
    #[error("is of {as_of}, and the prices in the program are of {built_in}")]
    Old {
        /// When the list was asked.
        as_of: NaiveDate,
        /// Of when the program's are.
        built_in: NaiveDate,
    },
    /// It is of a day that has not come.
    #[error("is of {0}, which has not come yet")]
    Early(NaiveDate),
    /// It has too much in it, or something that is no price.
    #[error("{0}")]
    Odd(String),
}

/// The prices that an estimate goes by: those of a file where it has them, else the program's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices {
    asked: BTreeMap<(Region, String, Software), PriceEntry>,
    source: Option<Source>,
    as_of: Option<NaiveDate>,
}

impl Prices {
    /// The program's own.
    pub fn built_in() -> Self {
        Self::default()
    }

    /// A file's text over the program's own. An entry without a price makes that price unknown: what the list
    /// does not sell is not guessed from an older table.
    ///
    /// # Errors
    /// [`PriceFileProblem`]; the program's own prices hold then.
    pub fn over(text: &str, today: NaiveDate) -> Result<Self, PriceFileProblem> {
        let file: PriceFile = serde_json::from_str(text)?;
        if file.version != PRICE_FILE_VERSION {
            return Err(PriceFileProblem::Version(file.version));
        }
        let built_in = book::get().as_of;
        if file.as_of < built_in {
            return Err(PriceFileProblem::Old { as_of: file.as_of, built_in });
        }
        // A day of grace: clocks differ, and so do their days.
        if today.checked_add_days(Days::new(1)).is_some_and(|tomorrow| tomorrow < file.as_of) {
            return Err(PriceFileProblem::Early(file.as_of));
        }
        if file.entries.len() > ENTRIES_MAX {
            return Err(PriceFileProblem::Odd(format!("has more than {ENTRIES_MAX} entries")));
        }
        let mut asked = BTreeMap::new();
        for entry in file.entries {
            let key = (entry.region.clone(), entry.instance_type.clone(), entry.software);
            let name = format!("{} in {}", entry.instance_type, entry.region);
            if entry.hourly == Some(Money::ZERO) {
                return Err(PriceFileProblem::Odd(format!("says that {name} costs nothing")));
            }
            if asked.insert(key, entry).is_some() {
                return Err(PriceFileProblem::Odd(format!("has two entries of {name}")));
            }
        }
        Ok(Self { asked, source: Some(file.source), as_of: Some(file.as_of) })
    }

    /// As [`super::hourly`], with what the file says first.
    pub fn hourly(&self, instance_type: &str, region: &Region, software: Software, market: Market) -> Option<Range> {
        let Some(entry) = self.entry(instance_type, region, software) else {
            return super::hourly(instance_type, region, software, market);
        };
        Some(match market {
            Market::OnDemand => Range::exactly(entry.hourly?),
            Market::Spot => Range::up_to(entry.hourly?),
        })
    }

    /// What the file says of a type; absent where only the program's table could.
    pub fn entry(&self, instance_type: &str, region: &Region, software: Software) -> Option<&PriceEntry> {
        self.asked.get(&(region.clone(), instance_type.to_owned(), software))
    }

    /// Of when the price of a type is.
    pub fn date_of(&self, instance_type: &str, region: &Region, software: Software) -> NaiveDate {
        let asked = self.entry(instance_type, region, software).and(self.as_of);
        asked.unwrap_or_else(|| book::get().as_of)
    }

    /// When the list was asked for what the file says.
    pub fn asked_on(&self) -> Option<NaiveDate> {
        self.as_of
    }

    /// Where the prices are from, part by part; the file's source first.
    pub fn sources(&self) -> Vec<Source> {
        self.source.iter().chain(super::sources()).cloned().collect()
    }
}

/// The file that says this, to be written.
pub fn price_file(as_of: NaiveDate, mut entries: Vec<PriceEntry>) -> PriceFile {
    entries.sort_by(|one, other| {
        (&one.region, &one.instance_type, one.software).cmp(&(&other.region, &other.instance_type, other.software))
    });
    let source = Source {
        what: "instance hours of the types that the configuration uses".to_owned(),
        from: "AWS Price List API, GetProducts of AmazonEC2".to_owned(),
        licence: "facts of price".to_owned(),
        as_of: as_of.to_string(),
        note: None,
    };
    PriceFile { version: PRICE_FILE_VERSION, as_of, source, entries }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    fn virginia() -> Region {
        "us-east-1".parse().expect("a region")
    }

    fn entry(kind: &str, hourly: Option<u64>) -> PriceEntry {
        PriceEntry {
            region: virginia(),
            instance_type: kind.to_owned(),
            software: Software::LinuxUnix,
            hourly: hourly.map(Money::micro_dollars),
            published: None,
            unknown: hourly.is_none().then(|| "2 products of the list fit, and only one may".to_owned()),
        }
    }

    fn text(entries: Vec<PriceEntry>) -> String {
        serde_json::to_string(&price_file(day("2026-11-20"), entries)).expect("JSON")
    }

    fn over(text: &str) -> Result<Prices, PriceFileProblem> {
        Prices::over(text, day("2026-11-22"))
    }

    fn shown(prices: &Prices, kind: &str, market: Market) -> Option<String> {
        prices.hourly(kind, &virginia(), Software::LinuxUnix, market).map(|range| format!("{range:#}"))
    }

    #[test]
    fn a_file_speaks_for_what_it_has_and_the_table_for_the_rest() {
        let prices =
            over(&text(vec![entry("m7i.large", Some(90_000)), entry("c9x.large", Some(50_000))])).expect("good");
        assert_eq!(shown(&prices, "m7i.large", Market::OnDemand).as_deref(), Some("$0.09"));
        assert_eq!(shown(&prices, "c9x.large", Market::Spot).as_deref(), Some("$0.00..$0.05"));
        assert_eq!(shown(&prices, "t3.large", Market::OnDemand).as_deref(), Some("$0.0832"));
        let of = |kind: &str| prices.date_of(kind, &virginia(), Software::LinuxUnix);
        assert_eq!((of("m7i.large"), of("t3.large")), (day("2026-11-20"), crate::policy::price::as_of()));
        assert!(prices.sources()[0].from.contains("GetProducts") && prices.sources().len() > 1);
        let built_in = Prices::built_in();
        assert_eq!(shown(&built_in, "m7i.large", Market::OnDemand).as_deref(), Some("$0.1008"));
        assert_eq!((built_in.asked_on(), built_in.sources().len()), (None, crate::policy::price::sources().len()));
    }

    #[test]
    fn what_the_list_does_not_price_is_unknown_even_if_the_table_knows_it() {
        let prices = over(&text(vec![entry("m7i.large", None)])).expect("good");
        assert_eq!(shown(&prices, "m7i.large", Market::OnDemand), None);
    }

    #[test]
    fn a_file_that_cannot_be_believed_is_told_and_not_used() {
        let good = text(vec![entry("m7i.large", Some(90_000))]);
        let told = |text: &str| over(text).expect_err(text).to_string();
        assert!(told("").starts_with("is no file of prices: EOF"));
        assert!(told("{}").starts_with("is no file of prices: missing field"));
        assert!(told(&good.replace("90000", "-1")).starts_with("is no file of prices: invalid value"));
        assert_eq!(told(&good.replace("\"version\":1", "\"version\":2")), "has version 2, and this latent knows 1");
        assert!(told(&good.replace("2026-11-20", "2020-01-01")).starts_with("is of 2020-01-01, and the prices in"));
        assert_eq!(told(&good.replace("2026-11-20", "2027-01-01")), "is of 2027-01-01, which has not come yet");
        assert_eq!(told(&good.replace("90000", "0")), "says that m7i.large in us-east-1 costs nothing");
        let twice = text(vec![entry("m7i.large", Some(1)), entry("m7i.large", Some(2))]);
        assert_eq!(told(&twice), "has two entries of m7i.large in us-east-1");
    }
}
