//! `[owner.NAME.budget]`: what an owner's machines may cost in a month.

use super::key::BUDGET_KEYS;
use super::reader::Reader;

/// What becomes of a build that runs when the hard amount is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AtHard {
    /// It may end; nothing new is begun.
    #[default]
    Finish,
    /// It is ended with its instance.
    Stop,
}

impl AtHard {
    /// Its word in the files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::Stop => "stop",
        }
    }
}

/// What an owner's machines may cost in a calendar month (UTC), in micro-dollars at the list price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// From which amount on the owner is told.
    pub soft: Option<u64>,
    /// At which amount nothing is launched any more.
    pub hard: Option<u64>,
    /// What becomes of builds then.
    pub at_hard: AtHard,
    /// Whether a type is launched under a hard amount though no price of it is known.
    pub allow_unpriced: bool,
}

/// The table of an owner, if there is one.
pub(super) fn read(owner: &mut Reader<'_, '_>) -> Option<Budget> {
    let layer = owner.table("budget")?;
    let mut reader = owner.below(layer, BUDGET_KEYS, "budget");
    let (soft, hard) = (reader.amount("soft"), reader.amount("hard"));
    let (at_hard, unpriced) = (reader.choice("at_hard"), reader.choice("unpriced"));
    if let (Some(soft), Some(hard)) = (&soft, &hard)
        && soft.value > hard.value
    {
        reader.report(soft.at.clone(), "soft", None, "is more than hard", "make soft the smaller of the two");
    }
    if soft.is_none() && hard.is_none() && !reader.has("soft") && !reader.has("hard") {
        let at = reader.table_origin();
        reader.report(at, "hard", None, "is missing, and so is soft", "write soft, hard, or both; or remove the table");
    }
    if let (Some(at_hard), false) = (&at_hard, reader.has("hard")) {
        reader.report(at_hard.at.clone(), "at_hard", None, "is of no use without hard", "add hard, or remove it");
    }
    let shown = reader.finish();
    owner.shown.extend(shown);
    Some(Budget {
        soft: soft.map(|amount| amount.value),
        hard: hard.map(|amount| amount.value),
        at_hard: if at_hard.is_some_and(|word| word.value == "stop") { AtHard::Stop } else { AtHard::Finish },
        allow_unpriced: unpriced.is_some_and(|word| word.value == "allow"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Intent, Sources};

    fn read(table: &str) -> Result<Option<Budget>, String> {
        let main = format!(
            "[fleet]\nname = \"f\"\ncontroller = \"c\"\n[owner.a]\naccount = \"111111111111\"\ncredentials = {{ environment = true }}\n{table}"
        );
        let sources = Sources { main: ("latent.toml".to_owned(), main), ..Sources::default() };
        let intent = Intent::parse(&sources).map_err(|problems| problems.to_string())?;
        Ok(intent.owners.values().next().and_then(|owner| owner.budget))
    }

    #[test]
    fn amounts_are_texts_or_numbers() {
        let budget = read("[owner.a.budget]\nsoft = 19.5\nhard = 25\nat_hard = \"stop\"\nunpriced = \"allow\"\n");
        let expected =
            Budget { soft: Some(19_500_000), hard: Some(25_000_000), at_hard: AtHard::Stop, allow_unpriced: true };
        assert_eq!(budget, Ok(Some(expected)));
        let budget = read("budget = { hard = \"0.25\" }\n");
        assert_eq!(budget, Ok(Some(Budget { hard: Some(250_000), ..Budget::default() })));
        assert_eq!(read(""), Ok(None));
    }

    #[test]
    fn each_mistake_is_told_with_its_place_and_its_cure() {
        for (table, key, told) in [
            ("soft = 30\nhard = \"25.00\"", "owner.a.budget.soft", "is more than hard"),
            ("hard = \"$25\"", "owner.a.budget.hard", "is not an amount of dollars"),
            ("hard = -1", "owner.a.budget.hard", "is not an amount of dollars"),
            ("hard = \"1.0000001\"", "owner.a.budget.hard", "write dollars such as \"25.00\""),
            ("hard = inf", "owner.a.budget.hard", "is not an amount of dollars"),
            ("hard = \"9999999999\"", "owner.a.budget.hard", "is not an amount of dollars"),
            ("hard = true", "owner.a.budget.hard", "is a boolean, not an amount"),
            ("hard = 5\nat_hard = \"kill\"", "owner.a.budget.at_hard", "write one of \"finish\", \"stop\""),
            ("soft = 5\nat_hard = \"stop\"", "owner.a.budget.at_hard", "of no use without hard"),
            ("", "owner.a.budget.hard", "is missing, and so is soft"),
            ("hart = 5\nhard = 5", "owner.a.budget.hart", "did you mean hard?"),
        ] {
            let error = read(&format!("[owner.a.budget]\n{table}\n")).expect_err(table);
            assert!(error.contains(key) && error.contains(told), "{table}: {error}");
        }
    }
}
