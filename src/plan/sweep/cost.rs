//! What a leftover costs in a month, at list price.

use crate::model::{Instance, Market, Region, Resource, ResourceId, Survey};
use crate::policy::price::{self, Prices, Range, Software};

/// What it costs as long as it is left; `None` if the price of any part of it is not known.
pub(super) fn of_month(survey: &Survey, resource: &Resource, region: &Region, prices: &Prices) -> Option<Range> {
    match resource {
        Resource::Instance(instance) => {
            let computing =
                if instance.state.is_live() { running(instance, region, prices)? } else { Range::default() };
            Some(computing + disks(survey, instance, region)?)
        }
        Resource::Volume(_, volume) => price::storage_month(&volume.volume_type, region, volume.size_gib.into()),
        Resource::Snapshot(_, snapshot) => price::snapshot_month(region, snapshot.size_gib.into()),
        Resource::Ami(ami) => {
            let sizes = ami.snapshots.iter().map(|id| match survey.resources.get(&ResourceId::from(id)) {
                Some(Resource::Snapshot(_, snapshot)) => price::snapshot_month(region, snapshot.size_gib.into()),
                _ => None,
            });
            sizes.sum()
        }
        Resource::Address(..) => Some(price::address_month()),
        Resource::Interface(..) | Resource::SpotRequest(..) => Some(Range::default()),
    }
}

/// A running instance without its disks and its public address.
fn running(instance: &Instance, region: &Region, prices: &Prices) -> Option<Range> {
    let software = Software::of_details(instance.platform_details.as_deref()?)?;
    let market = if instance.parts.spot_request.is_some() { Market::Spot } else { Market::OnDemand };
    let hour = prices.hourly(&instance.instance_type, region, software, market)?;
    Some(hour.times(price::HOURS_PER_MONTH))
}

/// The disks of an instance that carry the fleet's tag; of others nothing is known.
fn disks(survey: &Survey, instance: &Instance, region: &Region) -> Option<Range> {
    let known = instance.parts.volumes.iter().filter_map(|id| {
        let id: ResourceId = id.parse().ok()?;
        match survey.resources.get(&id) {
            Some(Resource::Volume(_, volume)) => Some(volume),
            _ => None,
        }
    });
    known.map(|volume| price::storage_month(&volume.volume_type, region, volume.size_gib.into())).sum()
}
