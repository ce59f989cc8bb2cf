//! What others recorded of an account: CloudTrail's events, EC2's spot prices, Amazon's list of prices.

use std::future::Future;

use chrono::{DateTime, Utc};

use super::CloudError;
use super::trail::read_trail_event;
use crate::model::{SpotPrice, TrailEvent};

/// A page of CloudTrail's events of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventPage {
    /// Its events, the newest first.
    pub events: Vec<TrailEvent>,
    /// How many more it had that could not be read.
    pub unreadable: u32,
    /// What the next page is asked for with; absent on the last one.
    pub next: Option<String>,
}

impl EventPage {
    /// Reads the texts of a page's events, each with the name that CloudTrail gives beside it.
    pub fn read<'a>(events: impl ExactSizeIterator<Item = (&'a str, Option<&'a str>)>, next: Option<String>) -> Self {
        let all = events.len();
        let events: Vec<_> = events.filter_map(|(text, user)| read_trail_event(text, user)).collect();
        let unreadable = u32::try_from(all - events.len()).unwrap_or(u32::MAX);
        Self { events, unreadable, next }
    }
}

/// One account in one region, as others recorded it. Nothing here changes anything.
pub trait Records: Send + Sync {
    /// A page of the events of a call between two times, both included, with what the page before gave as
    /// `next`. CloudTrail has those of the last 90 days, tells each up to a quarter of an hour late, and takes two
    /// such calls per second: whoever asks keeps the pace. The door repeats nothing.
    ///
    /// # Errors
    /// Any kind; [`FailureKind::Throttled`](crate::model::FailureKind::Throttled) above that pace.
    fn event_page(
        &self,
        call: &str,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        page: Option<&str>,
    ) -> impl Future<Output = Result<EventPage, CloudError>> + Send;

    /// Every spot price of these types and products that held at some time of the period; the first one of each
    /// may have begun before. EC2 has those of the last 90 days. No type or no product means none.
    ///
    /// # Errors
    /// Any kind; a listing is whole or an error, never silently short.
    fn spot_prices(
        &self,
        types: &[String],
        products: &[String],
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> impl Future<Output = Result<Vec<SpotPrice>, CloudError>> + Send;

    /// The products of EC2 in Amazon's price list that have each of these attributes (name, value), as the texts in
    /// JSON that the list gives. Whatever the account pays, they are the same.
    ///
    /// # Errors
    /// Any kind; a listing is whole or an error, never silently short.
    fn products(&self, attributes: &[(&str, &str)]) -> impl Future<Output = Result<Vec<String>, CloudError>> + Send;
}
