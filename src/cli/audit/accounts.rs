//! Whose reports are made, and what is seen of their accounts.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::AuditOptions;
use super::ledger::Kept;
use crate::audit::{Look, Missing};
use crate::cli::args::Args;
use crate::cli::connect;
use crate::cli::exit::{CommandError, Exit};
use crate::control::Clock;
use crate::model::{Market, OwnerName, Region, Survey};
use crate::plan::sweep::{Caps, Claims, ControllerKey, Finding, Stated, SweepView, claims, sweep};
use crate::policy::price::Prices;
use crate::policy::{Credentials, Image, Intent, Owner, Sources, SweepPolicy};

/// What a report of an owner without a configuration is named by, where nobody says a name.
const NAMELESS: &str = "owner";

/// An owner, and the way to act for it.
#[derive(Debug)]
pub(super) struct Whose {
    /// The name.
    pub(super) name: OwnerName,
    /// The account and the credentials.
    pub(super) owner: Owner,
    /// Where to look.
    pub(super) regions: BTreeSet<Region>,
    /// Instance types that its manifests buy as spot capacity: their prices are asked for.
    #[cfg_attr(not(feature = "ec2"), expect(dead_code, reason = "only a door to EC2 asks for prices"))]
    pub(super) spot_types: BTreeSet<String>,
}

/// What is to be reported.
pub(super) struct Work {
    /// The configuration with what masters declare, where there is one.
    pub(super) intent: Option<Intent>,
    /// Its files.
    pub(super) sources: Option<Sources>,
    /// The fleet's name.
    pub(super) fleet: String,
    /// A report for each.
    pub(super) owners: Vec<Whose>,
}

/// What was seen of an account.
pub(super) struct Looked {
    /// Its number, where the credentials were good.
    pub(super) account: Option<String>,
    /// By region.
    pub(super) regions: BTreeMap<Region, Look>,
}

impl Work {
    /// Whether another owner of the configuration has the same account, or may have it.
    pub(super) fn shares(&self, whose: &Whose) -> bool {
        let mut others = self.intent.iter().flat_map(|intent| &intent.owners).filter(|(name, _)| **name != whose.name);
        others.any(|(_, other)| whose.owner.may_share_account(other))
    }
}

/// By the configuration, or without one by the fleet that is named.
pub(super) fn work(args: &Args, options: &AuditOptions) -> Result<Work, CommandError> {
    match &options.fleet {
        Some(fleet) => alone(args, options, fleet),
        None => configured(args, options),
    }
}

fn alone(args: &Args, options: &AuditOptions, fleet: &str) -> Result<Work, CommandError> {
    let name = match &options.owner {
        Some(name) => name.clone(),
        // A ledger tells whose each instance is: under a name of ours none would be anybody's, and all cost nothing.
        None if options.ledger.is_some() || args.socket.is_some() => {
            let message = anyhow::anyhow!("say --owner NAME: a ledger has several owners, and a report is about one");
            return Err(CommandError::new(Exit::Usage, message));
        }
        None => NAMELESS.parse().map_err(|error| CommandError::new(Exit::Unexpected, error))?,
    };
    let credentials = credentials(options).unwrap_or(Credentials::Environment);
    let owner = Owner::acting_by(credentials);
    let regions = options.regions.iter().cloned().collect();
    Ok(Work {
        intent: None,
        sources: None,
        fleet: fleet.to_owned(),
        owners: vec![Whose { name, owner, regions, spot_types: BTreeSet::new() }],
    })
}

/// The credentials that the command line names.
fn credentials(options: &AuditOptions) -> Option<Credentials> {
    match (&options.role_arn, &options.profile) {
        (Some(arn), profile) => Some(Credentials::AssumeRole {
            arn: arn.clone(),
            external_id: options.external_id.clone(),
            profile: profile.clone(),
        }),
        (None, Some(profile)) => Some(Credentials::Profile(profile.clone())),
        (None, None) => None,
    }
}

fn configured(args: &Args, options: &AuditOptions) -> Result<Work, CommandError> {
    let (sources, intent) = connect::whole_intent(args)?;
    if let Some(name) = options.owner.as_ref().filter(|name| !intent.owners.contains_key(*name)) {
        let known: Vec<String> = intent.owners.keys().map(ToString::to_string).collect();
        let file = args.config.display();
        let message = anyhow::anyhow!("--owner {name}: {file} has no such owner; it has {}", known.join(", "));
        return Err(CommandError::new(Exit::Usage, message));
    }
    let wanted = intent.owners.iter().filter(|(name, _)| options.owner.as_ref().is_none_or(|only| only == *name));
    let owners = wanted
        .map(|(name, owner)| {
            let images = intent.images.values().filter(|image| image.owner == *name);
            let cells = intent.workers.values().map(|worker| &worker.cell).filter(|cell| cell.owner == *name);
            let own = images.map(|image| image.region.clone()).chain(cells.map(|cell| cell.region.clone()));
            let named: BTreeSet<Region> = options.regions.iter().cloned().collect();
            let regions = if named.is_empty() { own.collect() } else { named };
            let spot_types = spot_types(intent.images.values().filter(|image| image.owner == *name));
            let credentials = credentials(options).unwrap_or_else(|| owner.credentials.clone());
            let owner = Owner { credentials, ..owner.clone() };
            Whose { name: name.clone(), owner, regions, spot_types }
        })
        .collect();
    Ok(Work { fleet: intent.fleet.name.clone(), intent: Some(intent), sources: Some(sources), owners })
}

fn spot_types<'a>(images: impl Iterator<Item = &'a Image>) -> BTreeSet<String> {
    let offerings = images.flat_map(|image| &image.offerings);
    let spot = offerings.filter(|offering| offering.market == Market::Spot);
    spot.map(|offering| offering.instance_type.clone()).collect()
}

/// What there is in the account, or why nobody could look.
#[cfg(feature = "ec2")]
pub(super) async fn look(
    options: &AuditOptions,
    work: &Work,
    whose: &Whose,
    since: DateTime<Utc>,
    clock: &Clock,
) -> Looked {
    if options.offline {
        return not_looked(whose, &offline());
    }
    super::ground::look(work, whose, since, clock).await
}

/// Without the SDK nobody can look.
#[cfg(not(feature = "ec2"))]
#[expect(clippy::unused_async, reason = "with the SDK it asks the account")]
pub(super) async fn look(
    options: &AuditOptions,
    _work: &Work,
    whose: &Whose,
    _since: DateTime<Utc>,
    _clock: &Clock,
) -> Looked {
    let built = || Missing::new("this latent was built without the feature ec2", "use one with it");
    not_looked(whose, &if options.offline { offline() } else { built() })
}

fn offline() -> Missing {
    Missing::new("it was asked not to look (--offline)", "leave --offline away")
}

/// Nothing of any region was seen, for this reason.
pub(super) fn not_looked(whose: &Whose, why: &Missing) -> Looked {
    let look = |region: &Region| {
        let look = Look { survey: Err(why.clone()), trail: Err(why.clone()), spot: Err(why.clone()) };
        (region.clone(), look)
    };
    Looked { account: None, regions: whose.regions.iter().map(look).collect() }
}

/// What a sweep of the account would find, by what was seen; it changes nothing.
pub(super) fn findings(
    work: &Work,
    whose: &Whose,
    looked: &Looked,
    kept: &Kept,
    now: DateTime<Utc>,
    prices: &Prices,
) -> Result<Vec<Finding>, CommandError> {
    let seen = looked.regions.iter().filter_map(|(region, look)| Some((region.clone(), look.survey.clone().ok()?)));
    let surveys: BTreeMap<Region, Survey> = seen.collect();
    let policy = match &work.intent {
        Some(intent) => intent.sweep.clone(),
        None => SweepPolicy::built_in().map_err(|problems| CommandError::new(Exit::Unexpected, problems))?,
    };
    let images =
        || work.intent.iter().flat_map(|intent| intent.images.values()).filter(|image| image.owner == whose.name);
    Ok(sweep(&SweepView {
        now,
        policy: &policy,
        caps: Caps { free: policy.acts_free, max: policy.acts_max, percent: policy.acts_percent, state_lost: false },
        account: looked.account.as_deref().unwrap_or_default(),
        fleet: Some(&work.fleet),
        me: None,
        surveys: &surveys,
        claims: &claims_of(work, kept),
        own_amis: &images().filter_map(|image| image.ami.named().cloned()).collect(),
        stated: &Stated::of(images()),
        named: &BTreeSet::new(),
        first_seen: &BTreeMap::new(),
        prices,
    })
    .findings)
}

/// What the controller says of its instances, by its ledger.
fn claims_of(work: &Work, kept: &Kept) -> BTreeMap<ControllerKey, Claims> {
    let (Some(intent), Some(story)) = (&work.intent, kept.story()) else { return BTreeMap::new() };
    // A ledger that has just begun says nothing of what was before.
    let fleet = story.fleet.as_ref().filter(|_| story.last.is_some());
    let key = || ControllerKey::new(&intent.fleet.name, &intent.fleet.controller);
    fleet.map(|fleet| (key(), claims(fleet, intent))).into_iter().collect()
}
