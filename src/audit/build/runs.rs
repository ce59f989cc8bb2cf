//! Instances as runs: those of the ledger, those that a rebake's journal tells, and those that EC2 or
//! CloudTrail alone shows.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::period::Period;
use super::rebakes::{Builder, builders};
use super::scope::Scope;
use super::trail::Told;
use crate::audit::TrailEnd;
use crate::audit::evidence::Evidence;
use crate::model::{
    BlockDevice, Cell, Instance, InstanceId, InstanceState, Market, Region, Resource, Survey, tag_keys,
};
use crate::plan::meter::{Run, Segment, Span, Start, Use};

/// What CloudTrail names a session of ours.
const SESSION: &str = "latent-";

/// An instance, and who tells of it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Its life.
    pub(super) run: Run,
    /// Whether the ledger tells it.
    pub(super) in_ledger: bool,
    /// Whether a rebake's journal does.
    pub(super) in_journal: bool,
}

/// Everything that is this owner's, each instance once.
pub(super) fn found(
    evidence: &Evidence<'_>,
    scope: &Scope<'_>,
    period: Period,
    runs: &[&Run],
    trail: &BTreeMap<InstanceId, Told>,
    zombies: &BTreeSet<String>,
) -> Vec<Found> {
    let here = |region: &Region| evidence.only.is_empty() || evidence.only.contains(region);
    let is_told = |run: &Run| here(&run.cell.region) && is_in(run, period);
    let ours = || runs.iter().filter(|run| run.cell.owner == *evidence.owner && run.instance.is_some());
    let mut known: BTreeSet<InstanceId> = ours().filter_map(|run| run.instance.clone()).collect();
    let told = ours().filter(|run| is_told(run));
    let mut all: Vec<Found> =
        told.map(|run| Found { run: Run::clone(run), in_ledger: true, in_journal: false }).collect();
    for builder in builders(evidence, period) {
        if known.insert(builder.instance.clone()) {
            all.push(Found { run: of_builder(&builder), in_ledger: false, in_journal: true });
        }
    }
    for (region, survey) in scope.surveys() {
        for instance in survey.instances() {
            let other = known.contains(&instance.id) || scope.is_anothers(&instance.id);
            if other || !scope.owns(&instance.tags) {
                continue;
            }
            known.insert(instance.id.clone());
            let run = of_describe(evidence, region, instance, zombies.contains(instance.id.as_str()));
            all.push(Found { run, in_ledger: false, in_journal: false });
        }
    }
    for (id, told) in trail.iter().filter(|(id, told)| is_ours(evidence, scope, id, told)) {
        if known.insert(id.clone()) {
            all.push(Found { run: of_trail(evidence, id, told), in_ledger: false, in_journal: false });
        }
    }
    all.retain(|found| is_told(&found.run));
    for found in &mut all {
        complete(evidence, &mut found.run);
    }
    all
}

/// Whether something of it lies in a period.
pub(super) fn is_in(run: &Run, period: Period) -> bool {
    let end = run.segments.last().and_then(|segment| segment.to);
    run.begins().is_some_and(|begins| period.cut(begins, end).is_some())
}

/// The instances that the ledger knows as another owner's.
pub(super) fn others(evidence: &Evidence<'_>, runs: &[&Run]) -> BTreeSet<InstanceId> {
    let of_others = runs.iter().filter(|run| run.cell.owner != *evidence.owner);
    of_others.filter_map(|run| run.instance.clone()).collect()
}

fn cell(evidence: &Evidence<'_>, region: &Region) -> Cell {
    Cell { owner: evidence.owner.clone(), region: region.clone() }
}

/// From when until when, and in which use; without an end it goes on.
type Stretch = (DateTime<Utc>, Option<DateTime<Utc>>, Use);

fn segments(stretches: &[Stretch]) -> Vec<Segment> {
    let real = stretches.iter().filter(|(from, to, _)| to.is_none_or(|to| to > *from));
    real.map(|(from, to, usage)| Segment { from: *from, to: *to, usage: *usage }).collect()
}

fn at_once(at: DateTime<Utc>) -> Span {
    Span { earliest: at, latest: at }
}

fn of_builder(builder: &Builder<'_>) -> Run {
    let off = builder.off.or(builder.gone);
    let life = [
        (builder.launched, off, Use::Rebake),
        // Powered off it costs its disks until it is dismissed.
        (off.unwrap_or(builder.launched), builder.gone, Use::Rebake),
    ];
    let cell = Cell { owner: builder.owner.clone(), region: builder.region.clone() };
    let mut run = Run::new(cell);
    run.instance = Some(builder.instance.clone());
    run.image = builder.image.parse().ok();
    run.ami = Some(builder.spec.ami.clone());
    run.instance_type = Some(builder.spec.offering.instance_type.clone());
    run.market = Some(builder.spec.offering.market);
    run.block_devices.clone_from(&builder.spec.block_devices);
    run.shutdown = Some(builder.spec.shutdown);
    run.wanted_by = Some(format!("rebake {}", builder.rebake));
    run.launched = Some(builder.launched);
    run.segments = segments(if off.is_some() { &life } else { &life[..1] });
    run.starts = vec![Start { asked: builder.launched, seen: Some(builder.launched), over: off.map(at_once) }];
    run
}

/// What EC2 shows and no record tells. Of what was before its last start nobody knows.
fn of_describe(evidence: &Evidence<'_>, region: &Region, instance: &Instance, swept: bool) -> Run {
    let begun = instance.launch_time.unwrap_or(evidence.now);
    let born = instance.attached_at.or_else(|| instance.tags.time(tag_keys::CREATED)).unwrap_or(begun).min(begun);
    let stopped = instance.ended_at.or(instance.stopped_at).filter(|at| *at >= begun);
    let bakes = matches!(instance.tags.get(tag_keys::ROLE), Some("rebake" | "canary"));
    let usage = match () {
        () if swept || is_stray(evidence, instance, born) => Use::Zombie,
        () if bakes => Use::Rebake,
        () => Use::Unknown,
    };
    let over = match &instance.state {
        InstanceState::Pending | InstanceState::Running | InstanceState::Unknown(_) => None,
        // Where nobody says when, it ran until now at the most.
        InstanceState::Stopping | InstanceState::ShuttingDown | InstanceState::Stopped | InstanceState::Terminated => {
            Some(stopped.unwrap_or(evidence.now))
        }
    };
    let stays = matches!(instance.state, InstanceState::Stopped | InstanceState::Stopping);
    let mut life = vec![(born, Some(begun), Use::Unknown), (begun, over, usage)];
    if let (Some(over), true) = (over, stays) {
        life.push((over, None, Use::Stopped));
    }
    let mut run = Run::new(cell(evidence, region));
    run.instance = Some(instance.id.clone());
    run.worker = instance.tags.get(tag_keys::WORKER).and_then(|name| name.parse().ok());
    run.image = instance.tags.get(tag_keys::IMAGE).and_then(|name| name.parse().ok());
    run.launched = Some(born);
    run.segments = segments(&life);
    run.starts = vec![Start { asked: begun, seen: Some(begun), over: over.map(at_once) }];
    run.stray = usage == Use::Zombie;
    run
}

/// Whether the ledger should know it and does not: it is of this controller, alive, and older than the ledger's
/// last word, which is older than a moment.
fn is_stray(evidence: &Evidence<'_>, instance: &Instance, born: DateTime<Utc>) -> bool {
    let Ok(record) = &evidence.ledger else { return false };
    let worker = instance.tags.get(tag_keys::ROLE) == Some("worker");
    let of_this = evidence.controller.is_some() && instance.tags.get(tag_keys::CONTROLLER) == evidence.controller;
    let Some((_, last)) = record.story.last else { return false };
    worker && of_this && instance.state.is_live() && last > born && evidence.now - born > YOUNG
}

/// What is younger may be in no record yet.
const YOUNG: chrono::TimeDelta = chrono::TimeDelta::minutes(15);

/// Whether what only CloudTrail shows is the fleet's: a session of ours launched it, and it can be no other
/// owner's.
fn is_ours(evidence: &Evidence<'_>, scope: &Scope<'_>, id: &InstanceId, told: &Told) -> bool {
    let session = told.by().is_some_and(|by| by.starts_with(SESSION));
    let shown = evidence.regions.get(&told.region).and_then(|look| look.survey.as_ref().ok());
    let described = shown.is_some_and(|survey| survey.instance(id).is_some());
    session && !described && !evidence.shared_account && !scope.is_anothers(id)
}

fn of_trail(evidence: &Evidence<'_>, id: &InstanceId, told: &Told) -> Run {
    let mut run = Run::new(cell(evidence, &told.region));
    run.instance = Some(id.clone());
    run.wanted_by = told.by().map(ToOwned::to_owned);
    // It is not shown any more: a run without an end that CloudTrail knows is one of which nobody knows it.
    for one in &told.runs {
        let from = one.from.unwrap_or(evidence.since);
        let (to, is_told) = match &one.end {
            TrailEnd::Told { at, .. } => (*at, true),
            TrailEnd::Before(at) => (*at, false),
            TrailEnd::Open => (evidence.until, false),
        };
        if let Some(before) = run.segments.last().and_then(|segment| segment.to) {
            run.segments.extend(segments(&[(before, Some(from), Use::Stopped)]));
        }
        run.segments.extend(segments(&[(from, Some(to), Use::Unknown)]));
        let earliest = if is_told { to } else { from };
        let over = Some(Span { earliest, latest: to });
        run.starts.push(Start { asked: from, seen: is_told.then_some(from), over });
    }
    run
}

/// The instance as EC2 shows it, with everything else there.
fn shown<'a>(evidence: &'a Evidence<'_>, run: &Run) -> Option<(&'a Instance, &'a Survey)> {
    let survey = evidence.regions.get(&run.cell.region)?.survey.as_ref().ok()?;
    Some((survey.instance(run.instance.as_ref()?)?, survey))
}

/// Adds what EC2 or the manifest tells and the run does not say.
fn complete(evidence: &Evidence<'_>, run: &mut Run) {
    if let Some((instance, survey)) = shown(evidence, run) {
        run.ami = run.ami.take().or_else(|| instance.ami.clone());
        run.zone = run.zone.take().or_else(|| instance.zone.clone());
        run.software = run.software.take().or_else(|| instance.platform_details.clone());
        run.instance_type.get_or_insert_with(|| instance.instance_type.clone());
        let spot = instance.parts.spot_request.is_some();
        run.market.get_or_insert(if spot { Market::Spot } else { Market::OnDemand });
        if run.public_address.is_none() && instance.state.is_live() {
            run.public_address = Some(instance.addresses.iter().any(|address| is_public(address)));
        }
        if let Some(disks) = disks(instance, survey) {
            run.block_devices = disks;
        }
    }
}

/// The disks of an instance as EC2 shows them, if it shows all that go with it; they tell more than the launch did.
fn disks(instance: &Instance, survey: &Survey) -> Option<Vec<BlockDevice>> {
    let one = |id: &String| match survey.resources.get(&id.parse().ok()?)? {
        Resource::Volume(_, volume) => Some(BlockDevice {
            size_gib: Some(volume.size_gib),
            volume_type: Some(volume.volume_type.clone()),
            ..BlockDevice::named(id)
        }),
        _ => None,
    };
    let all: Option<Vec<BlockDevice>> = instance.parts.volumes.iter().map(one).collect();
    all.filter(|disks| !disks.is_empty())
}

/// A run of the ledger with what EC2 and the manifest tell beside it.
pub(super) fn completed<'r>(evidence: &Evidence<'_>, run: &'r Run) -> Cow<'r, Run> {
    let mut run = Cow::Borrowed(run);
    if shown(evidence, &run).is_some() {
        complete(evidence, run.to_mut());
    }
    run
}

/// Whether an address is an IPv4 address that costs.
fn is_public(address: &str) -> bool {
    let ip: Option<std::net::Ipv4Addr> = address.parse().ok();
    ip.is_some_and(|ip| !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified()))
}
