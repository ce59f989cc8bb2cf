//! From a run to its line: what it was used for, what it cost, and its hours by three records.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::draft::{Draft, cut, uses};
use super::period::Period;
use super::runs::Found;
use super::trail::Told;
use crate::audit::evidence::Evidence;
use crate::audit::report::{Cost, Hours, InstanceLine};
use crate::model::{AmiId, ImageName, Instance, InstanceId, InstanceState, SpotPrice, Survey};
use crate::plan::bill::{self, AmiDisk, Bill, Prices};
use crate::plan::meter::{Run, Segment, Use};
use crate::policy::Image;
use crate::policy::price::{self, Range};

/// What EC2 shows as the birth and as the start may be so far apart without a stop in between.
const ONE_START: TimeDelta = TimeDelta::minutes(5);

/// What prices depend on, gathered once for all lines.
pub(super) struct Tariff<'a> {
    list: price::Prices,
    spot: Vec<SpotPrice>,
    disks: BTreeMap<AmiId, Vec<AmiDisk>>,
    images: Option<&'a BTreeMap<ImageName, Image>>,
}

impl<'a> Tariff<'a> {
    pub(super) fn of(evidence: &Evidence<'a>) -> Self {
        let looks = || evidence.regions.values();
        let surveys = looks().filter_map(|look| look.survey.as_ref().ok());
        let sized = surveys.flat_map(Survey::amis).filter_map(|ami| {
            let size_gib = Some(ami.size_gib?);
            Some((ami.id.clone(), vec![AmiDisk { device: String::new(), size_gib, volume_type: None }]))
        });
        Self {
            list: evidence.list_prices(),
            spot: looks().filter_map(|look| look.spot.as_ref().ok()).flatten().cloned().collect(),
            disks: sized.collect(),
            images: evidence.intent.map(|intent| &intent.images),
        }
    }

    /// What a run of the ledger cost in a period.
    pub(super) fn spent(&self, run: &Run, period: Period) -> Range {
        self.bill(run, period).cost.total()
    }

    fn bill(&self, run: &Run, period: Period) -> Bill {
        // The size of an AMI is that of all its disks: where the launch says something of its own, which of
        // them it means is not known.
        let whole = run.block_devices.is_empty().then_some(&self.disks);
        let prices = Prices { spot: &self.spot, list: Some(&self.list), disks: whole, images: self.images };
        bill::of(run, period.since, period.until, period.until, &prices)
    }
}

/// One instance's line and what belongs to it.
pub(super) fn draft(
    evidence: &Evidence<'_>,
    period: Period,
    tariff: &Tariff<'_>,
    trail: &BTreeMap<InstanceId, Told>,
    found: &Found,
) -> Option<Draft> {
    let run = &found.run;
    let id = run.instance.as_ref()?;
    let told = whole_seconds(&run.cut(period.since, period.until, period.until));
    let goes_on = !run.is_over() && run.segments.last().is_some_and(|last| last.to.is_none_or(|to| to > period.until));
    let bill = tariff.bill(run, period);
    let shown = evidence.regions.get(&run.cell.region).and_then(|look| look.survey.as_ref().ok()?.instance(id));
    let by_trail = trail.get(id);
    let line = InstanceLine {
        instance: id.to_string(),
        worker: run.worker.as_ref().map(ToString::to_string),
        region: run.cell.region.to_string(),
        zone: run.zone.as_ref().map(ToString::to_string),
        instance_type: run.instance_type.clone(),
        market: run.market.map(|market| market.to_string()),
        software: run.software.clone(),
        ami: run.ami.as_ref().map(ToString::to_string),
        image: run.image.as_ref().map(ToString::to_string),
        wanted_by: run.wanted_by.clone(),
        from: told.first().map(|segment| segment.from)?,
        to: told.last().and_then(|segment| segment.to).filter(|_| !goes_on),
        ended: run.ended.as_ref().filter(|_| !goes_on).map(|ended| match &ended.reason {
            Some(reason) => format!("{}: {reason}", ended.cause),
            None => ended.cause.to_string(),
        }),
        starts: count(run.starts_within(period.since, period.until)),
        builds: count(run.builds_within(period.since, period.until)),
        uses: uses(&told, period),
        segments: open_end(cut(&told, period), goes_on),
        billed_seconds: bill.billed.1.num_seconds(),
        cost: bill.unpriced.is_none().then(|| cost(&bill)),
        unpriced: bill.unpriced.clone().or_else(|| bill.unsized_disks.as_ref().map(|why| format!("its disks: {why}"))),
        hours: Hours {
            ledger: found.in_ledger.then(|| run.ran(period.since, period.until, period.until).1.num_seconds()),
            cloudtrail: by_trail.map(|told| told.seconds(period)),
            describe: shown.and_then(|instance| shown_seconds(instance, period)),
        },
    };
    Some(Draft {
        days: if line.cost.is_some() { by_day(&bill) } else { BTreeMap::new() },
        connects: connects(run, period),
        launches: u32::from(run.launched.is_some_and(|at| period.holds(at))),
        is_live: shown.map_or_else(|| goes_on && !is_stopped(&told), |instance| instance.state.is_live()),
        explained: found.in_journal || run.segments.iter().all(|segment| segment.usage == Use::Rebake),
        trail_open: by_trail.is_some_and(Told::is_open),
        line,
    })
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn cost(bill: &Bill) -> Cost {
    Cost { compute: bill.cost.compute, storage: bill.cost.storage, address: bill.cost.address }
}

fn is_stopped(segments: &[Segment]) -> bool {
    segments.last().is_some_and(|last| last.usage == Use::Stopped)
}

/// The same with times of whole seconds, so that seconds add up to the whole; what comes to nothing is left out.
fn whole_seconds(segments: &[Segment]) -> Vec<Segment> {
    let floor = |at: DateTime<Utc>| DateTime::from_timestamp(at.timestamp(), 0).unwrap_or(at);
    let all = segments.iter().map(|one| Segment { from: floor(one.from), to: one.to.map(floor), usage: one.usage });
    all.filter(|one| one.to.is_none_or(|to| to > one.from)).collect()
}

/// What lives at the period's end has an open last segment.
fn open_end(mut segments: Vec<Segment>, goes_on: bool) -> Vec<Segment> {
    if let Some(last) = segments.last_mut().filter(|_| goes_on) {
        last.to = None;
    }
    segments
}

fn by_day(bill: &Bill) -> BTreeMap<NaiveDate, BTreeMap<Use, Range>> {
    let mut days: BTreeMap<NaiveDate, BTreeMap<Use, Range>> = BTreeMap::new();
    for ((day, usage), amount) in &bill.by_day {
        *days.entry(*day).or_default().entry(*usage).or_default() += *amount;
    }
    days
}

/// The connections of the period: when each was asked for, and how long it took.
fn connects(run: &Run, period: Period) -> Vec<(DateTime<Utc>, i64)> {
    let ours = run.connects.iter().filter(|(_, connected)| period.holds(*connected));
    ours.map(|(asked, connected)| (*asked, (*connected - *asked).num_seconds().max(0))).collect()
}

/// Seconds of the period in which it ran, as EC2 shows it; `None` where it was stopped and started before, for
/// EC2 shows the last start alone.
fn shown_seconds(instance: &Instance, period: Period) -> Option<i64> {
    let start = instance.launch_time?;
    let once = instance.attached_at.is_none_or(|born| start - born <= ONE_START);
    if !once && start > period.since {
        return None;
    }
    let end = match instance.state {
        InstanceState::Pending | InstanceState::Running | InstanceState::Unknown(_) => None,
        InstanceState::Stopping | InstanceState::Stopped | InstanceState::ShuttingDown | InstanceState::Terminated => {
            Some(instance.ended_at.or(instance.stopped_at).filter(|at| *at >= start)?)
        }
    };
    Some(period.seconds(start, end))
}
