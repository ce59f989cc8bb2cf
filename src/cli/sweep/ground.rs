//! Where `latent sweep` works: whose account, with which credentials, in which regions.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::SweepOptions;
use super::run::{self, Ground};
use crate::cli::args::Args;
use crate::cli::connect;
use crate::cli::exit::{CommandError, Exit, SweepExit};
use crate::cloud::Cloud as _;
use crate::control::{Clock, SweepDoor};
use crate::ec2::Ec2;
use crate::link::Client;
use crate::model::{AmiId, Region};
use crate::plan::sweep::{Caps, PlanFile, Stated, SweepPlan};
use crate::policy::price::Prices;
use crate::policy::{Owner, SweepPolicy};

/// The region whose API is asked which regions there are.
const FIRST_REGION: &str = "us-east-1";

/// Whose account, and what holds there.
struct Whose {
    owner: Owner,
    fleet: Option<String>,
    regions: Vec<Region>,
    amis: BTreeSet<AmiId>,
    stated: Stated,
    policy: SweepPolicy,
    controller: Option<Client>,
    prices: Arc<Prices>,
}

pub(in crate::cli) async fn run(
    args: &Args,
    options: &SweepOptions,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    if options.schema {
        writeln!(out, "{}", connect::pretty(&schemars::schema_for!(PlanFile))?)?;
        return Ok(Exit::Done);
    }
    let earlier = options.apply_file().map(|file| read_plan(file)).transpose()?;
    let whose = whose(args, options, earlier.as_ref())?;
    let clock = Clock::system();
    let fleet = whose.fleet.clone().unwrap_or_default();
    let door = |region: Region| Ec2::bare(region, whose.owner.clone(), &fleet);
    let first = whose.regions.first().cloned().map_or_else(|| FIRST_REGION.parse(), Ok);
    let first = door(first.map_err(|error| usage(format!("{error}")))?);
    let all_regions = async { if options.all_regions { first.regions().await } else { Ok(whose.regions.clone()) } };
    let (account, regions) = tokio::join!(first.account(), all_regions);
    let account = account.map_err(|error| unseen(&error, "whose account this is"))?;
    check_account(&account, &whose, options, earlier.as_ref())?;
    let regions = regions.map_err(|error| unseen(&error, "the account's regions"))?;
    let now = clock.now();
    let doors = regions.into_iter().map(|region| SweepDoor::new(region.clone(), door(region), now)).collect();
    let mut ids: BTreeSet<_> = options.ids.iter().cloned().collect();
    ids.extend(earlier.iter().flat_map(|plan| plan.named.iter().cloned()));
    let ground = Ground {
        doors,
        account,
        config: options.owner.as_ref().map(|_| args.config.clone()),
        fleet: whose.fleet.clone(),
        caps: caps(&whose.policy, options),
        policy: whose.policy.clone(),
        amis: whose.amis.clone(),
        stated: whose.stated.clone(),
        ids,
        controller: whose.controller.clone(),
        clock,
        prices: Arc::clone(&whose.prices),
    };
    Box::pin(run::run(&ground, options, earlier, out)).await
}

fn usage(message: String) -> CommandError {
    CommandError::new(Exit::Usage, anyhow::anyhow!(message))
}

fn unseen(error: &crate::cloud::CloudError, what: &str) -> CommandError {
    let message = anyhow::anyhow!("cannot see {what}: {error}; {}", error.kind.cure());
    CommandError::new(Exit::Sweep(SweepExit::Incomplete), message)
}

fn caps(policy: &SweepPolicy, options: &SweepOptions) -> Caps {
    Caps {
        // A person who says how many may go means it.
        free: options.max_acts.unwrap_or(policy.acts_free).min(policy.acts_free),
        max: options.max_acts.unwrap_or(policy.acts_max),
        percent: options.max_percent.unwrap_or(policy.acts_percent),
        state_lost: options.controller_state_lost,
    }
}

fn read_plan(file: &Path) -> Result<SweepPlan, CommandError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| usage(format!("--apply {}: cannot be read: {error}", file.display())))?;
    let sealed = PlanFile::read(&text).map_err(|error| usage(format!("--apply {}: {error}", file.display())))?;
    Ok(sealed.plan)
}

/// By the configuration where an owner of it is named, by the command line otherwise. A plan that is
/// applied names its regions and its fleet itself.
fn whose(args: &Args, options: &SweepOptions, earlier: Option<&SweepPlan>) -> Result<Whose, CommandError> {
    let mut whose = match &options.owner {
        Some(_) => configured(args, options)?,
        None => bare(args, options)?,
    };
    whose.amis.extend(options.amis.iter().cloned());
    if !options.regions.is_empty() {
        whose.regions.clone_from(&options.regions);
    }
    if options.fleet.is_some() {
        whose.fleet.clone_from(&options.fleet);
    }
    if let Some(earlier) = earlier {
        if !options.regions.is_empty() || options.all_regions || options.fleet.is_some() {
            return Err(usage(
                "a plan that is applied names its regions and its fleet itself; leave them away".to_owned(),
            ));
        }
        whose.regions.clone_from(&earlier.regions);
        whose.fleet.clone_from(&earlier.fleet);
        whose.amis.extend(earlier.amis.iter().cloned());
    }
    whose.regions.sort();
    whose.regions.dedup();
    if whose.regions.is_empty() && !options.all_regions {
        let message = "say where: --region us-west-2, --all-regions, or --owner NAME of the configuration";
        return Err(usage(message.to_owned()));
    }
    Ok(whose)
}

fn configured(args: &Args, options: &SweepOptions) -> Result<Whose, CommandError> {
    let (sources, intent) = connect::whole_intent(args).map_err(CommandError::of_a_sweep)?;
    let found = options.owner.as_ref().and_then(|name| Some((name, intent.owners.get(name)?)));
    let Some((name, owner)) = found else {
        let known: Vec<String> = intent.owners.keys().map(ToString::to_string).collect();
        let name = options.owner.as_ref().map(ToString::to_string).unwrap_or_default();
        let file = args.config.display();
        return Err(usage(format!("--owner {name}: {file} has no such owner; it has {}", known.join(", "))));
    };
    let images = intent.images.values().filter(|image| image.owner == *name);
    let socket = args.socket.clone().unwrap_or_else(|| sources.path(&intent.link.socket));
    Ok(Whose {
        owner: owner.clone(),
        fleet: Some(intent.fleet.name.clone()),
        regions: images.clone().map(|image| image.region.clone()).collect(),
        amis: images.clone().filter_map(|image| image.ami.named().cloned()).collect(),
        stated: Stated::of(images),
        policy: intent.sweep.clone(),
        prices: intent.prices,
        controller: Some(Client::new(&socket)),
    })
}

fn bare(args: &Args, options: &SweepOptions) -> Result<Whose, CommandError> {
    Ok(Whose {
        owner: options.access.owner(),
        fleet: None,
        regions: Vec::new(),
        amis: BTreeSet::new(),
        stated: Stated::default(),
        policy: SweepPolicy::built_in().map_err(|problems| CommandError::new(Exit::Unexpected, problems))?,
        prices: crate::cli::prices::in_use(&args.config),
        controller: args.socket.as_ref().map(|socket| Client::new(socket)),
    })
}

/// The account by its number, before anything is looked at: nothing is more costly than the wrong one.
fn check_account(
    found: &str,
    whose: &Whose,
    options: &SweepOptions,
    earlier: Option<&SweepPlan>,
) -> Result<(), CommandError> {
    let wanted = [
        (options.access.account.as_deref(), "--account"),
        (whose.owner.account.as_deref(), "the configuration"),
        (earlier.map(|plan| plan.account.as_str()), "the plan"),
    ];
    for (number, who) in wanted {
        if let Some(number) = number.filter(|number| !number.is_empty() && *number != found) {
            let message =
                anyhow::anyhow!("the credentials act in account {found}, {who} says {number}: nothing was done");
            return Err(CommandError::new(Exit::Sweep(SweepExit::Guarded), message));
        }
    }
    Ok(())
}
