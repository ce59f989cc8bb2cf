//! The checks of what others record: CloudTrail's events, spot prices, the price list.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::LocalBoxFuture;
use latent::cloud::{Cloud, Records};
use latent::model::{FailureKind, InstanceId, InstanceState, StopMode, TrailEvent};
use latent::policy::price::{Software, list_attributes, read_list};

use super::{Checked, Ground, Guest, against_the_table, done, refused, same};

/// How late CloudTrail tells, at most.
const LATE_S: u32 = 15 * 60;

/// A cloud with its clock.
pub(crate) struct Site<'a, C> {
    ground: &'a Ground<C>,
    guest: &'a dyn Guest,
}

type Check<C> = for<'a> fn(&'a Site<'a, C>) -> LocalBoxFuture<'a, Checked>;

macro_rules! list {
    ($($name:ident),+ $(,)?) => {
        fn list<C: Cloud + Records>() -> Vec<(&'static str, Check<C>)> {
            vec![$((stringify!($name), (|site| Box::pin($name(site))) as Check<C>)),+]
        }
    };
}

list! {
    what_was_called_is_told_late_and_by_whom,
    each_start_and_end_is_told_once,
    a_refusal_is_told_and_names_no_instance,
    pages_of_events_lead_on_without_loss,
    a_garbled_page_is_our_bug,
    spot_prices_are_by_zone_and_time,
    no_type_has_no_spot_price,
    the_list_prices_a_type_once,
    what_the_list_does_not_have_is_no_product,
}

/// Runs every check, and holds each against the table of departures.
pub(crate) async fn records_conform<C: Cloud + Records>(who: &str, ground: &Ground<C>, guest: &dyn Guest) {
    let site = Site { ground, guest };
    let mut wrong = Vec::new();
    for (name, check) in list::<C>() {
        wrong.extend(against_the_table(who, name, check(&site).await));
    }
    assert!(wrong.is_empty(), "{who} is not as AWS, or not as departures.rs says:\n  {}", wrong.join("\n  "));
}

impl<C: Cloud + Records> Site<'_, C> {
    /// The time of the cloud may be ahead of ours.
    fn period(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        let now = self.ground.clock.now();
        (now - TimeDelta::days(1), now + TimeDelta::days(30))
    }

    /// Every event of a call; waits when CloudTrail says that it came too fast.
    async fn events(&self, call: &str) -> Result<Vec<TrailEvent>, String> {
        let (since, until) = self.period();
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            match self.ground.cloud.event_page(call, since, until, next.as_deref()).await {
                Err(error) if error.kind == FailureKind::Throttled => self.ground.pause().await,
                answer => {
                    let page = done("a page of events", answer)?;
                    same("the unreadable events", &page.unreadable, &0)?;
                    all.extend(page.events);
                    next = page.next;
                    if next.is_none() {
                        return Ok(all);
                    }
                }
            }
        }
    }

    /// Those that name an instance.
    async fn of(&self, call: &str, id: &InstanceId) -> Result<Vec<TrailEvent>, String> {
        let all = self.events(call).await?;
        Ok(all.into_iter().filter(|event| event.instances.contains(id)).collect())
    }
}

async fn what_was_called_is_told_late_and_by_whom<C: Cloud + Records>(site: &Site<'_, C>) -> Checked {
    let id = site.ground.launched("told-late").await?;
    same("what is told at once", &site.of("RunInstances", &id).await?.len(), &0)?;
    site.guest.waits(LATE_S).await?;
    let told = site.of("RunInstances", &id).await?;
    same("what is told later", &told.len(), &1)?;
    same("the refusal", &told[0].error, &None)?;
    if told[0].by.is_none() { Err("nobody called".to_owned()) } else { Ok(()) }
}

async fn each_start_and_end_is_told_once<C: Cloud + Records>(site: &Site<'_, C>) -> Checked {
    let (ground, cloud) = (site.ground, &site.ground.cloud);
    let id = ground.launched("told-once").await?;
    ground.becomes(&id, InstanceState::Running).await?;
    done("stop", cloud.stop(&id, StopMode::Plain).await)?;
    ground.becomes(&id, InstanceState::Stopped).await?;
    done("stop again", cloud.stop(&id, StopMode::Plain).await)?;
    done("start", cloud.start(&id).await)?;
    ground.becomes(&id, InstanceState::Running).await?;
    done("start again", cloud.start(&id).await)?;
    done("stop", cloud.stop(&id, StopMode::Plain).await)?;
    ground.becomes(&id, InstanceState::Stopped).await?;
    done("end", cloud.terminate(&id).await)?;
    done("end again", cloud.terminate(&id).await)?;
    site.guest.waits(LATE_S).await?;
    for (call, times, stood) in
        [("RunInstances", 1, 0), ("StopInstances", 2, 0), ("StartInstances", 1, 1), ("TerminateInstances", 1, 1)]
    {
        let told = site.of(call, &id).await?;
        same(&format!("how often {call} is told"), &told.len(), &times)?;
        let still = told.iter().filter(|event| event.stood.contains(&id)).count();
        same(&format!("how often it did not run before {call}"), &still, &stood)?;
    }
    Ok(())
}

async fn a_refusal_is_told_and_names_no_instance<C: Cloud + Records>(site: &Site<'_, C>) -> Checked {
    let unknown: InstanceId = "i-0123456789abcdef0".parse().map_err(|error| format!("{error}"))?;
    refused("the start of an unknown one", site.ground.cloud.start(&unknown).await, FailureKind::NotFound)?;
    site.guest.waits(LATE_S).await?;
    let told = site.events("StartInstances").await?;
    let refusals: Vec<&TrailEvent> = told.iter().filter(|event| event.error.is_some()).collect();
    same("the refusals", &refusals.len(), &1)?;
    same("its code", &refusals[0].error.as_deref(), &Some("Client.InvalidInstanceID.NotFound"))?;
    same("its instances", &refusals[0].instances.len(), &0)
}

async fn pages_of_events_lead_on_without_loss<C: Cloud + Records>(site: &Site<'_, C>) -> Checked {
    const MANY: usize = 60;
    let unknown: InstanceId = "i-0123456789abcdef0".parse().map_err(|error| format!("{error}"))?;
    for _ in 0..MANY {
        refused("the end of an unknown one", site.ground.cloud.terminate(&unknown).await, FailureKind::NotFound)?;
    }
    site.guest.waits(LATE_S).await?;
    let (since, until) = site.period();
    let first = done("a page", site.ground.cloud.event_page("TerminateInstances", since, until, None).await)?;
    same("the first page's events", &first.events.len(), &50)?;
    same("whether there is another", &first.next.is_some(), &true)?;
    if !first.events.is_sorted_by(|one, other| one.at >= other.at) {
        return Err("the newest is not the first".to_owned());
    }
    let all = site.events("TerminateInstances").await?;
    let ids: BTreeSet<&str> = all.iter().map(|event| event.id.as_str()).collect();
    same("events that are told twice", &(all.len() - ids.len()), &0)?;
    if ids.len() < MANY { Err(format!("{} events of {MANY}", ids.len())) } else { Ok(()) }
}

async fn a_garbled_page_is_our_bug<C: Cloud + Records>(site: &Site<'_, C>) -> Checked {
    let (since, until) = site.period();
    let answer = site.ground.cloud.event_page("RunInstances", since, until, Some("garbled")).await;
    refused("a garbled page", answer, FailureKind::Bug)
}

async fn spot_prices_are_by_zone_and_time<C: Cloud + Records>(site: &Site<'_, C>) -> Checked {
    let until = site.ground.clock.now();
    let since = until - TimeDelta::days(2);
    let (types, products) = (["m5.large".to_owned()], ["Linux/UNIX".to_owned()]);
    let prices = done("spot prices", site.ground.cloud.spot_prices(&types, &products, since, until).await)?;
    let zones: BTreeSet<&str> = prices.iter().map(|price| price.zone.as_str()).collect();
    let distinct: BTreeSet<u64> = prices.iter().map(|price| price.micro_dollars).collect();
    if zones.len() < 2 || distinct.len() < 4 {
        return Err(format!("{} zones, {} prices", zones.len(), distinct.len()));
    }
    for zone in zones {
        let own: Vec<_> = prices.iter().filter(|price| price.zone.as_str() == zone).collect();
        if !own.iter().any(|price| price.from <= since) {
            return Err(format!("no price held in {zone} when the time began"));
        }
        let odd = own.iter().find(|price| {
            price.from > until || price.instance_type != "m5.large" || !(1_000..96_000).contains(&price.micro_dollars)
        });
        if let Some(odd) = odd {
            return Err(format!("{odd:?}"));
        }
    }
    Ok(())
}

async fn no_type_has_no_spot_price<C: Cloud + Records>(site: &Site<'_, C>) -> Checked {
    let until = site.ground.clock.now();
    let products = ["Linux/UNIX".to_owned()];
    let answer = site.ground.cloud.spot_prices(&[], &products, until - TimeDelta::days(1), until).await;
    same("the prices of nothing", &done("spot prices", answer)?.len(), &0)
}

async fn the_list_prices_a_type_once<C: Cloud + Records>(site: &Site<'_, C>) -> Checked {
    let (cloud, region) = (&site.ground.cloud, "eu-central-1".parse().map_err(|error| format!("{error}"))?);
    let mut prices = Vec::new();
    for software in [Software::LinuxUnix, Software::Windows] {
        let found = done("products", cloud.products(&list_attributes("m5.large", &region, software)).await)?;
        prices.push(read_list(&found, "m5.large").map_err(|error| format!("{error}: {found:?}"))?.hourly);
    }
    if prices[0] >= prices[1] {
        return Err(format!("Windows costs no more than Linux: {prices:?}"));
    }
    let all = done("products", cloud.products(&[("instanceType", "m5.large"), ("regionCode", "eu-central-1")]).await)?;
    if all.len() < 4 { Err("a type is sold in one way only".to_owned()) } else { Ok(()) }
}

async fn what_the_list_does_not_have_is_no_product<C: Cloud + Records>(site: &Site<'_, C>) -> Checked {
    let region = "eu-central-1".parse().map_err(|error| format!("{error}"))?;
    let asked = list_attributes("m99.large", &region, Software::LinuxUnix);
    same("the products", &done("products", site.ground.cloud.products(&asked).await)?.len(), &0)
}
