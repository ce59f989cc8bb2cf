//! What a run costs per hour, from when on.

use chrono::{DateTime, Utc};

use super::{AmiDisk, Prices};
use crate::model::{BlockDevice, Market, SpotPrice};
use crate::plan::meter::Run;
use crate::policy::price::{self, Money, Range, Software};

/// What AMIs call the disk that they start from: a launch that sizes one of these leaves none out, as far as anybody
/// can tell without the AMI.
const ROOT_DEVICES: [&str; 2] = ["/dev/sda1", "/dev/xvda"];

/// Micro-dollars per hour from a time on, oldest first; the first one holds for all time before.
pub(super) type Rates = Vec<(DateTime<Utc>, Range)>;

fn always(rate: Range) -> Rates {
    vec![(DateTime::<Utc>::MIN_UTC, rate)]
}

/// What it is billed as, or why nobody knows.
fn software(run: &Run, prices: &Prices<'_>) -> Result<Software, String> {
    if let Some(details) = &run.software {
        return Software::of_details(details)
            .ok_or_else(|| format!("the price of the software that EC2 calls \"{details}\" is not in the table"));
    }
    let platform = run.image.as_ref().and_then(|image| Some(prices.images?.get(image)?.platform));
    match platform {
        Some(platform) => Software::of(platform)
            .ok_or_else(|| format!("the price of the platform {} is not in the table", platform.as_str())),
        None => Err("it was never seen running, so that what it is billed as is not known".to_owned()),
    }
}

/// What it costs while it runs, or why nobody knows.
pub(super) fn compute(run: &Run, prices: &Prices<'_>) -> Result<Rates, String> {
    let software = software(run, prices)?;
    let kind = run.instance_type.as_deref().ok_or("its type is not known")?;
    let region = &run.cell.region;
    let unknown = || format!("the price of {kind} in {region} is not in the table");
    let on_demand = match prices.list {
        Some(list) => list.hourly(kind, region, software, Market::OnDemand),
        None => price::hourly(kind, region, software, Market::OnDemand),
    };
    let list = on_demand.ok_or_else(unknown)?;
    Ok(match run.market {
        Some(Market::OnDemand) => always(list),
        Some(Market::Spot) => spot(run, kind, list.high, prices.spot),
        None => always(Range::up_to(list.high)),
    })
}

/// What it costs at the least while it runs, where its price is not known: that of plain software, or of the
/// manifest's, whichever is more. Where the list gives no price, that of the program's table does for a floor, so
/// that a sum does not fall. Nothing where no table knows its type.
pub(super) fn plain(run: &Run, prices: &Prices<'_>) -> Rates {
    let Some(kind) = run.instance_type.as_deref() else { return Rates::new() };
    let region = &run.cell.region;
    let manifest = run.image.as_ref().and_then(|image| Software::of(prices.images?.get(image)?.platform));
    // Windows with more software on it has the licence of Windows in its price at the least.
    let told = run.software.as_deref().filter(|details| details.starts_with("Windows")).map(|_| Software::Windows);
    let price = |software| {
        let listed = prices.list.and_then(|list| list.hourly(kind, region, software, Market::OnDemand));
        Some(listed.or_else(|| price::hourly(kind, region, software, Market::OnDemand))?.high)
    };
    let least = [Some(Software::LinuxUnix), manifest, told].into_iter().flatten().filter_map(price).max();
    let Some(least) = least else { return Rates::new() };
    always(if run.market == Some(Market::OnDemand) { Range::exactly(least) } else { Range::up_to(least) })
}

/// The spot price as its history tells it; before that, anything up to the list price.
fn spot(run: &Run, kind: &str, list: Money, history: &[SpotPrice]) -> Rates {
    let mut rates = always(Range::up_to(list));
    let Some(zone) = &run.zone else { return rates };
    let product = run.software.as_deref().unwrap_or_default();
    let fits = |price: &&SpotPrice| {
        // EC2 adds where the price holds, as in `Linux/UNIX (Amazon VPC)`.
        let name = price.product.split(" (").next().unwrap_or_default();
        price.zone == *zone && price.instance_type == kind && name == product
    };
    let mut own: Vec<(DateTime<Utc>, Range)> = history
        .iter()
        .filter(fits)
        .map(|price| (price.from, Range::exactly(Money::micro_dollars(price.micro_dollars))))
        .collect();
    own.sort_by_key(|(from, _)| *from);
    rates.extend(own);
    rates
}

/// What its public address costs while it runs.
pub(super) fn address(run: &Run) -> Rates {
    always(match run.public_address {
        Some(true) => price::address_hour(),
        Some(false) => Range::ZERO,
        None => Range::up_to(price::address_hour().high),
    })
}

/// What its disks cost per month as far as that is known, and why it is not, or not wholly, known.
pub(super) fn storage(run: &Run, prices: &Prices<'_>) -> (Range, Option<String>) {
    let brought = run.ami.as_ref().and_then(|ami| prices.disks?.get(ami));
    let mut unknown = None;
    let mut sum = Range::ZERO;
    let own = |device: &str| run.block_devices.iter().find(|own| own.device == device);
    let of_ami = brought.into_iter().flatten().filter(|disk| own(&disk.device).is_none());
    let said = run.block_devices.iter().filter(|disk| !disk.no_device && disk.virtual_name.is_none());
    let disks = of_ami
        .map(|disk| (disk.size_gib, disk.volume_type.as_deref()))
        .chain(said.map(|disk| of_launch(disk, brought)));
    let mut any = false;
    for (size, kind) in disks {
        any = true;
        // EC2 makes gp2 of what nobody says otherwise.
        let month = size.and_then(|gib| price::storage_month(kind.unwrap_or("gp2"), &run.cell.region, gib.into()));
        match month {
            Some(month) => sum += month,
            None => unknown = Some("the size or the price of one of its disks is not known".to_owned()),
        }
    }
    let names_root = run.block_devices.iter().any(|disk| !disk.no_device && ROOT_DEVICES.contains(&&*disk.device));
    if brought.is_none() && !any {
        unknown = Some("the sizes of its disks are not known".to_owned());
    } else if brought.is_none() && unknown.is_none() && !names_root {
        unknown = Some("what disks its AMI brings is not known".to_owned());
    }
    (sum, unknown)
}

/// What the launch says of a disk goes before what the AMI says of its device.
fn of_launch<'a>(disk: &'a BlockDevice, brought: Option<&'a Vec<AmiDisk>>) -> (Option<u32>, Option<&'a str>) {
    let ami = brought.into_iter().flatten().find(|ami| ami.device == disk.device);
    let size = disk.size_gib.or_else(|| ami.and_then(|ami| ami.size_gib));
    let kind = disk.volume_type.as_deref().or_else(|| ami.and_then(|ami| ami.volume_type.as_deref()));
    (size, kind)
}

/// What a run costs each hour at a time, and whether that is all of it: where the price of its running is not known
/// it is that of plain software, as in [`super::Bill::counted`].
pub fn rate(run: &Run, now: DateTime<Utc>, prices: &Prices<'_>) -> (Range, bool) {
    let (month, unknown) = storage(run, prices);
    let mut sum = month.share(1, price::HOURS_PER_MONTH);
    let mut known = unknown.is_none();
    if run.starts.last().is_some_and(|start| start.over.is_none()) {
        sum += at(&address(run), now);
        let rates = compute(run, prices);
        known &= rates.is_ok();
        sum += at(&rates.unwrap_or_else(|_| plain(run, prices)), now);
    }
    (sum, known)
}

fn at(rates: &Rates, now: DateTime<Utc>) -> Range {
    rates.iter().rev().find(|(from, _)| *from <= now).map_or(Range::ZERO, |(_, rate)| *rate)
}
