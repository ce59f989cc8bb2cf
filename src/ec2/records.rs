//! What others recorded, through the SDK: CloudTrail, the history of spot prices, Amazon's list of prices.

use aws_sdk_cloudtrail::primitives::DateTime as TrailTime;
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};
use aws_sdk_ec2::primitives::DateTime as Ec2Time;
use aws_sdk_ec2::types::{InstanceType, SpotPrice as Sdk};
use aws_sdk_pricing::types::{Filter, FilterType};
use chrono::{DateTime, Utc};

use super::{Ec2, PAGE, PAGES_MAX, convert, error, too_many_pages};
use crate::cloud::{CloudError, EventPage, Records};
use crate::model::{FailureKind, SpotPrice, micro_dollars};

/// Events per page: the most that CloudTrail gives.
const EVENTS: i32 = 50;
/// Products per page: the most that the list gives.
const PRODUCTS: i32 = 100;
/// Where the products of EC2 stand in the list.
const SERVICE: &str = "AmazonEC2";

impl Records for Ec2 {
    async fn event_page(
        &self,
        call: &str,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        page: Option<&str>,
    ) -> Result<EventPage, CloudError> {
        let this = LookupAttribute::builder().attribute_key(LookupAttributeKey::EventName).attribute_value(call);
        let this = this.build().map_err(|error| not_sent(&error.to_string()))?;
        let asked = self.clients().await?.trail().lookup_events().lookup_attributes(this).max_results(EVENTS);
        let asked = asked.start_time(TrailTime::from_secs(since.timestamp()));
        let asked = asked.end_time(TrailTime::from_secs(until.timestamp()));
        let answer = asked.set_next_token(page.map(ToOwned::to_owned)).send().await.map_err(|e| error::sorted(&e))?;
        let events = answer.events().iter();
        let events = events.map(|event| (event.cloud_trail_event().unwrap_or_default(), event.username()));
        Ok(EventPage::read(events, answer.next_token().map(ToOwned::to_owned)))
    }

    async fn spot_prices(
        &self,
        types: &[String],
        products: &[String],
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Vec<SpotPrice>, CloudError> {
        // A call that names no type asks for all of them.
        if types.is_empty() || products.is_empty() {
            return Ok(Vec::new());
        }
        let clients = self.clients().await?;
        let (mut found, mut token) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let kinds = types.iter().map(|name| InstanceType::from(name.as_str())).collect();
            let call = clients.reads.describe_spot_price_history().set_instance_types(Some(kinds));
            let call = call.set_product_descriptions(Some(products.to_vec())).max_results(PAGE);
            let call = call.start_time(Ec2Time::from_secs(since.timestamp()));
            let call = call.end_time(Ec2Time::from_secs(until.timestamp())).set_next_token(token);
            let page = call.send().await.map_err(|e| error::sorted(&e))?;
            for price in page.spot_price_history() {
                found.push(spot_price(price).ok_or_else(|| unreadable("a spot price"))?);
            }
            token = page.next_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
            if token.is_none() {
                return Ok(found);
            }
        }
        Err(too_many_pages())
    }

    async fn products(&self, attributes: &[(&str, &str)]) -> Result<Vec<String>, CloudError> {
        let filter = |(name, value): &(&str, &str)| {
            Filter::builder().r#type(FilterType::TermMatch).field(*name).value(*value).build()
        };
        let filters: Result<Vec<Filter>, _> = attributes.iter().map(filter).collect();
        let filters = filters.map_err(|error| not_sent(&error.to_string()))?;
        let clients = self.clients().await?;
        let (mut found, mut token) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let call = clients.prices().get_products().service_code(SERVICE).set_filters(Some(filters.clone()));
            let call = call.max_results(PRODUCTS).set_next_token(token);
            let page = call.send().await.map_err(|e| error::sorted(&e))?;
            found.extend(page.price_list().iter().cloned());
            token = page.next_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
            if token.is_none() {
                return Ok(found);
            }
        }
        Err(too_many_pages())
    }
}

fn spot_price(sdk: &Sdk) -> Option<SpotPrice> {
    Some(SpotPrice {
        zone: sdk.availability_zone()?.parse().ok()?,
        instance_type: sdk.instance_type()?.as_str().to_owned(),
        product: sdk.product_description()?.as_str().to_owned(),
        from: convert::time(sdk.timestamp()?)?,
        micro_dollars: micro_dollars(sdk.spot_price()?)?,
    })
}

fn unreadable(what: &str) -> CloudError {
    let message = format!("the answer holds {what} that cannot be read");
    CloudError { kind: FailureKind::Bug, code: "Unreadable".to_owned(), message }
}

fn not_sent(why: &str) -> CloudError {
    CloudError { kind: FailureKind::Bug, code: "NotSent".to_owned(), message: why.to_owned() }
}
