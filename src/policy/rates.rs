//! `[owner.NAME.rates]`: the limits of an account's API, where they are not the published ones.

use super::key::{RATE_KEYS, RATES_KEYS};
use super::reader::Reader;

/// One limit: so many calls at once, and so many per second after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiRate {
    /// Calls at once: the bucket's maximum capacity.
    pub burst: u32,
    /// Calls per second: the bucket's refill rate.
    pub refill: u32,
}

/// The limits of an account, by EC2's names; the published ones where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each field is the EC2 action of the same name")]
pub struct Rates {
    pub run_instances: Option<ApiRate>,
    pub start_instances: Option<ApiRate>,
    pub stop_instances: Option<ApiRate>,
    pub terminate_instances: Option<ApiRate>,
    pub describe_instances: Option<ApiRate>,
    pub create_tags: Option<ApiRate>,
}

/// The table of an owner; the published limits without one.
pub(super) fn read(owner: &mut Reader<'_, '_>) -> Rates {
    let Some(layer) = owner.table("rates") else { return Rates::default() };
    let mut reader = owner.below(layer, RATES_KEYS, "rates");
    let rates = Rates {
        run_instances: rate(&mut reader, "run_instances"),
        start_instances: rate(&mut reader, "start_instances"),
        stop_instances: rate(&mut reader, "stop_instances"),
        terminate_instances: rate(&mut reader, "terminate_instances"),
        describe_instances: rate(&mut reader, "describe_instances"),
        create_tags: rate(&mut reader, "create_tags"),
    };
    let shown = reader.finish();
    owner.shown.extend(shown);
    rates
}

fn rate(rates: &mut Reader<'_, '_>, action: &'static str) -> Option<ApiRate> {
    let layer = rates.table(action)?;
    let mut reader = rates.below(layer, RATE_KEYS, action);
    let (burst, refill) = (reader.count("burst"), reader.count("refill"));
    let shown = reader.finish();
    rates.shown.extend(shown);
    Some(ApiRate { burst: burst?.value, refill: refill?.value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Intent, Sources};

    fn read(table: &str) -> Result<Rates, String> {
        let main = format!(
            "[fleet]\nname = \"f\"\ncontroller = \"c\"\n[owner.a]\naccount = \"111111111111\"\ncredentials = {{ environment = true }}\n{table}"
        );
        let sources = Sources { main: ("latent.toml".to_owned(), main), ..Sources::default() };
        let intent = Intent::parse(&sources).map_err(|problems| problems.to_string())?;
        Ok(intent.owners.values().next().map(|owner| owner.rates).unwrap_or_default())
    }

    #[test]
    fn what_is_not_said_is_as_published() {
        assert_eq!(read(""), Ok(Rates::default()));
        let rate = ApiRate { burst: 1000, refill: 500 };
        let read = read("[owner.a.rates]\nrun_instances = { burst = 1000, refill = 500 }\n");
        assert_eq!(read, Ok(Rates { run_instances: Some(rate), ..Rates::default() }));
    }

    #[test]
    fn each_mistake_is_told_with_its_place_and_its_cure() {
        for (table, key, told) in [
            ("run_instances = { burst = 5 }", "owner.a.rates.run_instances.refill", "is missing"),
            ("run_instances = { burst = 0, refill = 2 }", "owner.a.rates.run_instances.burst", "1"),
            ("run_instance = { burst = 5, refill = 2 }", "owner.a.rates.run_instance", "did you mean run_instances?"),
            ("run_instances = 5", "owner.a.rates.run_instances", "table"),
        ] {
            let error = read(&format!("[owner.a.rates]\n{table}\n")).expect_err(table);
            assert!(error.contains(key) && error.contains(told), "{table}: {error}");
        }
    }
}
