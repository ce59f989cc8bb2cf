//! The in-process door: what others recorded.

use chrono::{DateTime, Utc};

use super::door::{SimCloud, sorted};
use super::error::ApiError;
use super::pricelist;
use super::spot::PRODUCT;
use super::trail::{Lookup, in_cloudtrails_words};
use crate::cloud::{CloudError, EventPage, Records};
use crate::model::SpotPrice;

/// What the model says in EC2's words CloudTrail says in its own.
fn in_its_words(error: CloudError) -> CloudError {
    let said = ApiError { status: 400, code: error.code.clone().into(), message: error.message.clone() };
    match in_cloudtrails_words(said) {
        own if own.code != error.code => sorted(&own),
        _ => error,
    }
}

impl Records for SimCloud {
    async fn event_page(
        &self,
        call: &str,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        page: Option<&str>,
    ) -> Result<EventPage, CloudError> {
        let asked = Lookup {
            attribute: Some(("EventName", call)),
            since: Some(since),
            until: Some(until),
            size: None,
            token: page,
        };
        let answer = self.call("LookupEvents", 0, call, |site, now| site.lookup_events(&asked, now));
        let answer = answer.await.map_err(in_its_words)?;
        let events = answer.events.iter().map(|event| (event.text.as_str(), event.user.as_deref()));
        Ok(EventPage::read(events, answer.next))
    }

    async fn spot_prices(
        &self,
        types: &[String],
        products: &[String],
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Vec<SpotPrice>, CloudError> {
        if !products.iter().any(|product| product.starts_with(PRODUCT)) {
            return Ok(Vec::new());
        }
        let first = types.first().map(String::as_str).unwrap_or_default();
        self.call("DescribeSpotPriceHistory", 0, first, |site, now| {
            let kinds = types.iter().filter_map(|name| super::types::instance_type(name));
            let zones = &site.network.zones;
            let pairs = kinds.flat_map(|kind| zones.iter().map(move |zone| (kind.name, zone.as_str())));
            let all = pairs.flat_map(|(kind, zone)| {
                let prices = site.spot_history(kind, zone, since, until.min(now));
                prices.into_iter().map(move |(from, dollars)| (kind, zone, from, dollars))
            });
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a price of some dollars")]
            let price = |(kind, zone, from, dollars): (&str, &str, DateTime<Utc>, f64)| {
                Some(SpotPrice {
                    zone: zone.parse().ok()?,
                    instance_type: kind.to_owned(),
                    product: PRODUCT.to_owned(),
                    from,
                    micro_dollars: (dollars * 1_000_000.0).round() as u64,
                })
            };
            Ok(all.filter_map(price).collect())
        })
        .await
    }

    async fn products(&self, attributes: &[(&str, &str)]) -> Result<Vec<String>, CloudError> {
        let subject = attributes.iter().map(|(_, value)| *value).collect::<Vec<_>>().join(" ");
        self.call("GetProducts", 0, &subject, |site, _| {
            Ok(pricelist::products(&site.region, attributes).iter().map(ToString::to_string).collect())
        })
        .await
        .map_err(in_its_words)
    }
}
