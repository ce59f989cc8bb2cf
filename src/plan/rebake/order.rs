//! What a rebake is to do, made of the configuration and of what EC2 says of the AMI. Pure.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use crate::model::{
    AmiId, AmiState, BlockDevice, Egress, Fence, ImageName, InstanceId, LaunchSpec, Market, Offering, Place,
    RebakeChannel, RebakeId, RebakeKind, RebakeLimits, RebakeOrder, Role, ShutdownBehavior, SourceAmi, TagSet,
    WorkerName, digest_hex, tag_keys,
};
use crate::policy::price::{Prices, Software};
use crate::policy::{Channel, Image, Intent, Lifecycle, Platform, RebakeScript, builder_user_data, ssm_script};

/// The ports that package servers, name servers and clocks are reached on: what a builder needs, and no master.
const OUT: [(&str, u16); 5] = [("tcp", 80), ("tcp", 443), ("udp", 53), ("tcp", 53), ("udp", 123)];
/// How long a canary may wait until its worker is idle.
const CANARY_WAIT: TimeDelta = TimeDelta::days(7);
/// How long the smoke build may take.
const SMOKE_LIMIT: TimeDelta = TimeDelta::hours(2);

/// Why a rebake cannot begin, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}; {cure}")]
pub struct NoOrder {
    /// Why.
    pub why: String,
    /// What to do.
    pub cure: String,
}

fn no<T>(why: impl Into<String>, cure: impl Into<String>) -> Result<T, NoOrder> {
    Err(NoOrder { why: why.into(), cure: cure.into() })
}

/// What is wanted, beside what the configuration says.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which rebake it will be.
    pub id: RebakeId,
    /// When it was ordered.
    pub now: DateTime<Utc>,
    /// 32 hexadecimal digits that nobody can guess.
    pub nonce: String,
    /// The manifest.
    pub image: ImageName,
    /// What it begins with.
    pub kind: RebakeKind,
    /// The AMI that it begins with, as EC2 shows it: the base, the image's own, or what was handed over.
    pub source: SourceAmi,
    /// The configured instance that becomes an AMI.
    pub instance: Option<InstanceId>,
    /// The worker that shall prove it, if it matters which.
    pub worker: Option<WorkerName>,
    /// The text of the owner's own script.
    pub script: Option<String>,
}

/// The AMI's line of descent, as its tags have it.
struct Descent {
    root: AmiId,
    generation: u32,
}

impl Descent {
    /// Of the AMI that the manifest names: tags first, they are the AMI's own; then the manifest.
    fn of(image: &Image, source: &SourceAmi) -> Self {
        let tag = |key| source.tags.get(key);
        let root = tag(tag_keys::ROOT).and_then(|text| text.parse().ok()).unwrap_or_else(|| source.id.clone());
        let tagged = tag(tag_keys::GENERATION).and_then(|text| text.parse().ok());
        Self { root, generation: tagged.or(image.generation).unwrap_or(0) }
    }
}

/// What a rebake is to do.
///
/// # Errors
/// [`NoOrder`] with everything that a person has to mend first.
pub fn order(intent: &Intent, image: &Image, wanted: Wanted) -> Result<RebakeOrder, NoOrder> {
    let name = &wanted.image;
    let Some(current) = image.ami.named().cloned() else {
        return no(
            format!("image {name} is chosen by a filter"),
            "name its AMI in amis/ to have it rebaked: a promotion writes the new AMI there",
        );
    };
    fits(image, &wanted.source)?;
    let handed = wanted.kind == RebakeKind::HandedOver;
    if handed && wanted.source.tags.get(tag_keys::PARENT).is_none() {
        return no(
            format!("{} has no tag {}", wanted.source.id, tag_keys::PARENT),
            "only what a rebake made is handed over",
        );
    }
    let worker = prover(intent, name, wanted.worker.as_ref())?;
    let descent = Descent::of(image, &wanted.source);
    let generation = match wanted.kind {
        RebakeKind::HandedOver => descent.generation,
        RebakeKind::FromBase | RebakeKind::Enroll => image.generation.unwrap_or(0) + 1,
        RebakeKind::Update => descent.generation.max(image.generation.unwrap_or(0)) + 1,
    };
    let policy = worker.as_ref().and_then(|name| intent.workers.get(name)).map_or(&intent.base_policy, |w| &w.policy);
    let texts = if handed { None } else { Some(Texts::of(image, &wanted)?) };
    let mut order = RebakeOrder {
        name: format!("latent-{name}-g{generation}-{}", wanted.id),
        id: wanted.id,
        at: wanted.now,
        kind: wanted.kind,
        image: name.clone(),
        owner: image.owner.clone(),
        region: image.region.clone(),
        fleet: intent.fleet.name.clone(),
        controller: intent.fleet.controller.clone(),
        source: wanted.source.id.clone(),
        current: Some(current),
        root: if wanted.kind == RebakeKind::FromBase { wanted.source.id.clone() } else { descent.root },
        generation,
        nonce: wanted.nonce,
        channel: match image.rebake.channel {
            Channel::Auto => RebakeChannel::Auto,
            Channel::UserData => RebakeChannel::UserData,
            Channel::Ssm => RebakeChannel::Ssm,
        },
        windows: image.platform == Platform::Windows,
        launches: Vec::new(),
        user_data: texts.as_ref().and_then(|texts| texts.user_data.clone()),
        command: texts.and_then(|texts| texts.command),
        fence: None,
        instance: wanted.instance,
        candidate: handed.then(|| wanted.source.id.clone()),
        worker,
        smoke: image.rebake.smoke_builder.clone(),
        retires: image.rebake.retire,
        limits: limits(intent, image, policy),
    };
    if !handed {
        order.fence = fence(intent, image, &order)?;
        order.launches = launches(image, &order, &wanted.source);
    }
    Ok(order)
}

/// Whether the AMI can be rebaked at all.
fn fits(image: &Image, source: &SourceAmi) -> Result<(), NoOrder> {
    let id = &source.id;
    if source.state != AmiState::Available {
        return no(format!("{id} is not available ({:?})", source.state), "enable it, or name another AMI");
    }
    // An endpoint that does not say it, such as moto, says nothing against it.
    let told = !source.architecture.is_empty();
    if told && source.architecture != image.architecture.as_str() && !is_mac(image, source) {
        let (theirs, ours) = (&source.architecture, image.architecture.as_str());
        return no(
            format!("{id} is made for {theirs}, and its manifest says {ours}"),
            "correct `architecture` in amis/",
        );
    }
    if source.windows != (image.platform == Platform::Windows) {
        let (theirs, ours) = (&source.platform_details, image.platform.as_str());
        return no(format!("{id} runs {theirs}, and its manifest says {ours}"), "correct `platform` in amis/");
    }
    if image.platform == Platform::Macos {
        return no("an image for macOS cannot be rebaked", "its hosts are paid for by the day: update it by hand");
    }
    if let Some(code) = source.product_codes.first() {
        return no(
            format!("{id} carries the product code {code} of the AWS Marketplace"),
            "EC2 makes no AMI of it for you to keep: choose another base",
        );
    }
    Ok(())
}

fn is_mac(image: &Image, source: &SourceAmi) -> bool {
    image.platform == Platform::Macos && source.architecture == format!("{}_mac", image.architecture.as_str())
}

/// The worker that proves the image: the one that was named, or the first that uses it.
fn prover(intent: &Intent, image: &ImageName, named: Option<&WorkerName>) -> Result<Option<WorkerName>, NoOrder> {
    let mut users = intent.workers.iter().filter(|(_, worker)| worker.image == *image).map(|(name, _)| name);
    match named {
        None => Ok(users.next().cloned()),
        Some(named) if users.any(|name| name == named) => Ok(Some(named.clone())),
        Some(named) => no(format!("worker {named} does not use image {image}"), "name one that does, or none"),
    }
}

/// What the builder is told.
struct Texts {
    user_data: Option<String>,
    command: Option<String>,
}

impl Texts {
    fn of(image: &Image, wanted: &Wanted) -> Result<Self, NoOrder> {
        if wanted.kind == RebakeKind::Enroll {
            return Ok(Self { user_data: None, command: None });
        }
        let policy = &image.rebake;
        let script = RebakeScript {
            nonce: wanted.nonce.clone(),
            recipe: policy.recipe,
            rounds_max: policy.rounds_max,
            services: policy.services.clone(),
            worker_version: policy.worker_version.clone(),
            clean: policy.clean.clone(),
            sysprep: policy.sysprep,
            deadline: policy.deadline,
            owner_script: wanted.script.clone(),
            setup: wanted.kind == RebakeKind::FromBase,
        };
        let told = |error: &dyn std::fmt::Display| NoOrder {
            why: format!("the builder's script cannot be made: {error}"),
            cure: "shorten [rebake] script or clean in the image's manifest".to_owned(),
        };
        let user_data = match policy.channel {
            Channel::Ssm => None,
            Channel::Auto | Channel::UserData => {
                Some(builder_user_data(image.platform, &script).map_err(|error| told(&error))?)
            }
        };
        let command = match policy.channel {
            Channel::UserData => None,
            Channel::Auto | Channel::Ssm => Some(ssm_script(image.platform, &script).map_err(|error| told(&error))?),
        };
        Ok(Self { user_data, command })
    }
}

fn limits(intent: &Intent, image: &Image, policy: &Lifecycle) -> RebakeLimits {
    let start = policy.launch_deadline + policy.connect_deadline;
    let smoke = if image.rebake.smoke_builder.is_some() { SMOKE_LIMIT } else { TimeDelta::zero() };
    RebakeLimits {
        builder: image.rebake.deadline,
        image: intent.sweep.ami_stuck,
        canary_wait: CANARY_WAIT,
        canary: start * 2 + policy.drain_deadline + policy.stop_deadline + smoke,
        soak: image.rebake.soak_for,
        soak_starts: image.rebake.soak_starts,
        absence_grace: policy.absence_grace,
    }
}

/// The group that keeps the builder away from the master. Groups only allow: what is not named is not reached.
fn fence(intent: &Intent, image: &Image, order: &RebakeOrder) -> Result<Option<Fence>, NoOrder> {
    if !image.rebake.security_groups.is_empty() || order.kind == RebakeKind::Enroll {
        return Ok(None);
    }
    let port = intent.fleet.master.as_deref().and_then(|master| master.rsplit_once(':')?.1.parse::<u16>().ok());
    if let Some(port) = port.filter(|port| OUT.iter().any(|(protocol, out)| *protocol == "tcp" && out == port)) {
        return no(
            format!("the master listens on port {port}, which a builder needs to reach package servers"),
            "name security_groups in [rebake] that let it out, and not to the master",
        );
    }
    let egress = OUT.iter().map(|(protocol, port)| Egress { protocol: (*protocol).to_owned(), from: *port, to: *port });
    let place = image.offerings.first().map_or(Place::Anywhere, |offering| offering.place.clone());
    let mut tags = order.lineage();
    tags.set(tag_keys::ROLE, Role::Rebake.to_string());
    tags.set_time(tag_keys::DEADLINE, order.at + order.limits.builder + order.limits.image);
    Ok(Some(Fence { name: format!("latent-rebake-{}", order.id), place, egress: egress.collect(), tags }))
}

/// What the builder may be launched as: on-demand, for nothing may take it back half-way.
fn launches(image: &Image, order: &RebakeOrder, source: &SourceAmi) -> Vec<LaunchSpec> {
    if order.kind == RebakeKind::Enroll {
        return Vec::new();
    }
    let types: Vec<&String> = match &image.rebake.instance_type {
        Some(one) => vec![one],
        None => in_order(image.offerings.iter().map(|offering| &offering.instance_type)),
    };
    let places = in_order(image.offerings.iter().map(|offering| &offering.place));
    let one = |instance_type: &String, place: &Place| LaunchSpec {
        region: order.region.clone(),
        ami: source.id.clone(),
        offering: Offering { instance_type: instance_type.clone(), place: place.clone(), market: Market::OnDemand },
        security_groups: image.rebake.security_groups.clone(),
        key_pair: None,
        // The worker's own is not the builder's: it may do more than a builder should.
        instance_profile: image.rebake.instance_profile.clone().filter(|_| order.channel != RebakeChannel::UserData),
        block_devices: disks(source),
        shutdown: ShutdownBehavior::Stop,
        tags: builder_tags(order),
        user_data_digest: order.user_data.as_ref().map(|text| digest_hex(&Sha256::digest(text.as_bytes()))),
        ami_filter: None,
        security_group_names: Vec::new(),
        spot_price_max: None,
        elastic_ip: None,
        volumes: Vec::new(),
        batch: None,
        // An AMI made of an instance that may be hibernated may give instances that nobody reaches.
        hibernate: false,
    };
    types.iter().flat_map(|instance_type| places.iter().map(|place| one(instance_type, place))).collect()
}

/// Each once, the first choice first.
fn in_order<'a, T: Ord>(all: impl Iterator<Item = &'a T>) -> Vec<&'a T> {
    let mut seen = BTreeSet::new();
    all.filter(|one| seen.insert(*one)).collect()
}

/// The AMI's own disks; each ends with the builder, whatever the AMI says.
fn disks(source: &SourceAmi) -> Vec<BlockDevice> {
    source.disks.iter().map(|disk| BlockDevice::named(&disk.device)).collect()
}

fn builder_tags(order: &RebakeOrder) -> TagSet {
    let mut tags = TagSet::default();
    let until = order.at + order.limits.builder;
    tags.set(tag_keys::FLEET, &order.fleet)
        .set(tag_keys::CONTROLLER, &order.controller)
        .set(tag_keys::OWNER, order.owner.as_str())
        .set(tag_keys::ROLE, Role::Rebake.to_string())
        .set(tag_keys::IMAGE, order.image.as_str())
        .set(tag_keys::REBAKE, order.id.as_str())
        .set(tag_keys::NAME, format!("latent rebake {}", order.image))
        .set_time(tag_keys::CREATED, order.at)
        // A lease watch that is in the AMI would take a builder without a lease away.
        .set_time(tag_keys::LEASE, until)
        .set_time(tag_keys::DEADLINE, until);
    tags
}

/// How long a builder works as a rule, for the estimate of its price.
const USUAL_HOURS: u64 = 2;

/// What a rebake costs at list price, in words: the builder for two hours, and the AMI's snapshots at most.
pub fn price(order: &RebakeOrder, prices: &Prices) -> String {
    let Some(launch) = order.launches.first() else { return "no builder is launched".to_owned() };
    let software = if order.windows { Software::Windows } else { Software::LinuxUnix };
    let (kind, region) = (&launch.offering.instance_type, &order.region);
    match prices.hourly(kind, region, software, Market::OnDemand) {
        Some(hourly) => format!(
            "about {} for a builder of {USUAL_HOURS} hours (at most {} in its {}), then the AMI's snapshots by the month",
            hourly.times(USUAL_HOURS),
            hourly.times(u64::try_from(order.limits.builder.num_hours().max(1)).unwrap_or(1)),
            humantime::format_duration(order.limits.builder.to_std().unwrap_or_default()),
        ),
        None => format!("the price list does not know {kind} in {region}"),
    }
}
