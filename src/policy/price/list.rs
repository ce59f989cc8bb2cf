//! Amazon's Price List: what is asked for a type, and what of the answer is its price.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::{Money, Software};
use crate::model::{Region, micro_dollars};

/// A price that the list gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Per hour, on demand.
    pub hourly: Money,
    /// When the list was published, where it says so.
    pub published: Option<NaiveDate>,
}

/// Why the list gives no price. A price is never guessed: of several none is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotListed {
    /// Nothing fits.
    #[error("the list has no such product")]
    Nothing,
    /// More than one does.
    #[error("{0} products of the list fit, and only one may")]
    Several(usize),
    /// The one that fits is not what it should be.
    #[error("the product that fits is {0}")]
    Odd(String),
}

impl Software {
    /// The list's name of the call that starts it; with it licences are told apart.
    const fn operation(self) -> &'static str {
        match self {
            Self::LinuxUnix => "RunInstances",
            Self::Windows => "RunInstances:0002",
        }
    }
}

/// The attributes of the one product that an instance of shared tenancy, on demand, is billed as.
pub fn attributes<'a>(instance_type: &'a str, region: &'a Region, software: Software) -> [(&'static str, &'a str); 8] {
    [
        ("regionCode", region.as_str()),
        ("instanceType", instance_type),
        ("operation", software.operation()),
        ("tenancy", "Shared"),
        ("capacitystatus", "Used"),
        ("preInstalledSw", "NA"),
        ("marketoption", "OnDemand"),
        ("locationType", "AWS Region"),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    product: Product,
    terms: Value,
    publication_date: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
struct Product {
    attributes: Attributes,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    instance_type: String,
    usagetype: String,
}

/// The price in the products that the list gave for [`attributes`].
///
/// # Errors
/// [`NotListed`], unless exactly one product has exactly one price for each hour from the first.
pub fn read(products: &[String], instance_type: &str) -> Result<Listed, NotListed> {
    let odd = |why: &str| NotListed::Odd(why.to_owned());
    let entries: Result<Vec<Entry>, _> = products.iter().map(|text| serde_json::from_str(text)).collect();
    let entries = entries.map_err(|_| odd("not in the form that is known"))?;
    // The list sells reservations under the same attributes, by another name of what is used.
    let used = format!("BoxUsage:{instance_type}");
    let fits = |entry: &&Entry| {
        let own = &entry.product.attributes;
        own.instance_type == instance_type && (own.usagetype == used || own.usagetype.ends_with(&format!("-{used}")))
    };
    let fitting: Vec<&Entry> = entries.iter().filter(fits).collect();
    let entry = match fitting[..] {
        [] => return Err(NotListed::Nothing),
        [one] => one,
        _ => return Err(NotListed::Several(fitting.len())),
    };
    let offers = of_object(&entry.terms["OnDemand"]);
    let prices: Vec<&Value> = offers.iter().flat_map(|offer| of_object(&offer["priceDimensions"])).collect();
    let [price] = prices[..] else { return Err(odd("not sold at one price")) };
    if price["unit"] != "Hrs" || !matches!(price["beginRange"].as_str(), None | Some("0")) {
        return Err(odd("not sold by the hour"));
    }
    let hourly = price["pricePerUnit"]["USD"].as_str().and_then(micro_dollars).filter(|micros| *micros > 0);
    let hourly = Money::micro_dollars(hourly.ok_or_else(|| odd("without a price in dollars"))?);
    Ok(Listed { hourly, published: entry.publication_date.map(|at| at.date_naive()) })
}

fn of_object(value: &Value) -> Vec<&Value> {
    value.as_object().into_iter().flat_map(serde_json::Map::values).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn product(usage: &str, dollars: &str) -> Value {
        json!({
            "product": { "sku": "S", "attributes": { "instanceType": "m7i.large", "usagetype": usage } },
            "terms": { "OnDemand": { "S.T": { "priceDimensions": { "S.T.R": {
                "unit": "Hrs", "beginRange": "0", "endRange": "Inf", "pricePerUnit": { "USD": dollars } } } } },
                "Reserved": { "S.R": { "priceDimensions": { "S.R.R": { "unit": "Hrs", "pricePerUnit": { "USD": "9" } } } } } },
            "publicationDate": "2026-07-20T17:45:20Z",
        })
    }

    fn of(products: &[Value]) -> Result<Listed, NotListed> {
        let texts: Vec<String> = products.iter().map(ToString::to_string).collect();
        read(&texts, "m7i.large")
    }

    #[test]
    fn exactly_one_product_is_a_price() {
        let found = of(&[product("USW2-BoxUsage:m7i.large", "0.1008000000")]).expect("a price");
        assert_eq!(found.hourly, Money::micro_dollars(100_800));
        assert_eq!(found.published, NaiveDate::from_ymd_opt(2026, 7, 20));
        let beside = [product("BoxUsage:m7i.large", "0.1008"), product("UnusedBox:m7i.large", "0.2")];
        assert_eq!(of(&beside).expect("a price").hourly, Money::micro_dollars(100_800));
    }

    #[test]
    fn none_and_several_are_no_price() {
        assert_eq!(of(&[]), Err(NotListed::Nothing));
        assert_eq!(of(&[product("DedicatedUsage:m7i.large", "0.1")]), Err(NotListed::Nothing));
        assert_eq!(of(&[product("NoBoxUsage:m7i.large", "0.1")]), Err(NotListed::Nothing));
        let one = product("BoxUsage:m7i.large", "0.1008");
        assert_eq!(of(&[one.clone(), one]), Err(NotListed::Several(2)));
    }

    #[test]
    fn what_is_sold_otherwise_is_no_price() {
        let odd = |edit: &dyn Fn(&mut Value)| {
            let mut one = product("BoxUsage:m7i.large", "0.1008");
            edit(&mut one);
            matches!(of(&[one]), Err(NotListed::Odd(_)))
        };
        let dimension = "/terms/OnDemand/S.T/priceDimensions/S.T.R";
        let set = |path: &str, to: Value| {
            let path = format!("{dimension}{path}");
            move |one: &mut Value| *one.pointer_mut(&path).expect("there") = to.clone()
        };
        assert!(odd(&set("/unit", json!("Quantity"))));
        assert!(odd(&set("/beginRange", json!("100"))));
        assert!(odd(&set("/pricePerUnit", json!({ "CNY": "0.7" }))));
        assert!(odd(&set("/pricePerUnit/USD", json!("0.0000000000"))));
        assert!(odd(&|one| one["terms"]["OnDemand"]["S.U"] = one["terms"]["OnDemand"]["S.T"].clone()));
        assert!(odd(&|one| one["terms"] = json!({})));
        assert!(odd(&|one| *one = json!("<html>")));
        assert_eq!(
            read(&["{".to_owned()], "m7i.large"),
            Err(NotListed::Odd("not in the form that is known".to_owned()))
        );
    }
}
