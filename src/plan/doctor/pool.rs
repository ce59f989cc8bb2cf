//! Whether what is idle can be kept as the policy says: EC2 stops no one-time spot instance, and hibernates only
//! some types, from an encrypted root disk.

use chrono::TimeDelta;

use super::facts::CellFacts;
use super::row::Sheet;
use crate::model::{AmiFacts, Market, TypeFacts, WorkerName};
use crate::policy::{Image, Intent, Lifecycle, OnIdle};

/// The most memory that EC2 hibernates of Linux, in MiB.
const MEMORY_MAX_MIB: u64 = 150 * 1000;
/// EC2 keeps a hibernated instance for so long.
const DAYS_MAX: i64 = 60;

pub(super) fn examine(sheet: &mut Sheet, intent: &Intent, image: &Image, workers: &[WorkerName], facts: &CellFacts) {
    let policies = || workers.iter().filter_map(|name| intent.workers.get(name)).map(|worker| &worker.policy);
    if policies().any(|policy| policy.on_idle.keeps_instance()) {
        spot(sheet, image);
    }
    let hibernating: Vec<&Lifecycle> = policies().filter(|policy| policy.on_idle == OnIdle::Hibernate).collect();
    if !hibernating.is_empty() {
        hibernation(sheet, image, &hibernating, facts);
    }
}

fn spot(sheet: &mut Sheet, image: &Image) {
    if image.offerings.iter().all(|offering| offering.market == Market::Spot) {
        let seen = "market is \"spot\" alone, and EC2 stops no one-time spot instance: an idle one is terminated";
        sheet.problem("on_idle", seen, "add \"on-demand\" to market, or write on_idle = \"terminate\"");
    }
}

fn hibernation(sheet: &mut Sheet, image: &Image, policies: &[&Lifecycle], facts: &CellFacts) {
    let ami = facts.ami_of(image).and_then(|id| facts.amis.get(&id)?.as_ref().ok());
    let types = facts.types.as_ref().ok();
    let mut named: Vec<(&str, &TypeFacts)> = Vec::new();
    for offering in image.offerings.iter().filter(|offering| offering.market == Market::OnDemand) {
        let name = offering.instance_type.as_str();
        if let Some(kind) = types.and_then(|types| types.get(name))
            && named.iter().all(|(other, _)| *other != name)
        {
            named.push((name, kind));
        }
    }
    let cannot = |(name, kind): &(&str, &TypeFacts)| {
        (!kind.hibernates || kind.memory_mib >= MEMORY_MAX_MIB).then(|| (*name).to_owned())
    };
    let cannot: Vec<String> = named.iter().filter_map(cannot).collect();
    if !cannot.is_empty() {
        let seen = format!("EC2 does not hibernate {}: a launch that asks for it is refused", cannot.join(", "));
        sheet.problem("hibernation", seen, "name types that support it, or write on_idle = \"stop\"");
    }
    let memory_gib = named.iter().map(|(_, kind)| kind.memory_mib.div_ceil(1024)).max().unwrap_or_default();
    if let Some(ami) = ami {
        root(sheet, image, ami, memory_gib);
    }
    if policies.iter().any(|policy| policy.max_lifetime > TimeDelta::days(DAYS_MAX)) {
        let seen = format!("max_lifetime is longer than the {DAYS_MAX} days for which EC2 keeps a hibernated instance");
        sheet.warning("hibernation", seen, format!("make max_lifetime at most \"{DAYS_MAX}d\""));
    }
}

/// The memory goes to the root disk.
fn root(sheet: &mut Sheet, image: &Image, ami: &AmiFacts, memory_gib: u64) {
    let device = ami.root_device.as_deref().unwrap_or("/dev/sda1");
    let own = image.block_devices.iter().find(|own| own.device == device);
    let encrypted = own.and_then(|own| own.encrypted).or(ami.root_encrypted);
    let cure = |what: &str| format!("write block_devices = [{{ device = \"{device}\", {what} }}] in the manifest");
    if encrypted == Some(true) {
        sheet.ok("hibernation", "the root disk is encrypted");
    } else {
        let seen = "nothing says that the root disk is encrypted: a launch is refused unless the account encrypts all \
                    new volumes";
        sheet.warning("hibernation", seen, cure("encrypted = true"));
    }
    let size = own.and_then(|own| own.size_gib).or(ami.root_gib).map(u64::from);
    if let Some(size) = size.filter(|size| *size <= memory_gib) {
        let seen = format!("the root disk has {size} GiB, and the memory of {memory_gib} GiB is to be written to it");
        sheet.problem("hibernation", seen, cure(&format!("size_gib = {}", size + memory_gib)));
    }
}
