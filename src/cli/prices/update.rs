//! `latent prices update`: asks Amazon's list, by an owner's credentials.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;

use super::{UpdateOptions, file_beside};
use crate::cli::args::Args;
use crate::cli::connect;
use crate::cli::exit::{CommandError, Exit};
use crate::cli::output::plain;
use crate::control::{Clock, ask_prices};
use crate::ec2::Ec2;
use crate::model::{Cell, OwnerName, Region};
use crate::policy::Intent;
use crate::policy::price::{PriceEntry, Software, price_file};

type Types = BTreeSet<(String, Software)>;

pub(super) async fn update(args: &Args, options: &UpdateOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (_, intent) = connect::whole_intent(args)?;
    let file = args.config.display();
    let usage = |message: String| CommandError::new(Exit::Usage, anyhow::anyhow!(message));
    if let Some(name) = options.owner.as_ref().filter(|name| !intent.owners.contains_key(*name)) {
        let known: Vec<&str> = intent.owners.keys().map(OwnerName::as_str).collect();
        return Err(usage(format!("--owner {name}: {file} has no such owner; it has {}", known.join(", "))));
    }
    let all = used(&intent);
    if all.is_empty() {
        return Err(usage(format!("{file}: no image that EC2 bills as Linux or Windows, so there is nothing to ask")));
    }
    if let Some(region) = options.region.iter().find(|region| !all.contains_key(*region)) {
        let known: Vec<&str> = all.keys().map(Region::as_str).collect();
        return Err(usage(format!("--region {region}: no image of {file} is there; they are in {}", known.join(", "))));
    }
    let clock = Clock::system();
    let mut entries = Vec::new();
    for (region, types) in all.iter().filter(|(region, _)| options.region.is_empty() || options.region.contains(region))
    {
        entries.extend(of_region(&clock, &intent, options.owner.as_ref(), region, types).await?);
    }
    let unknown = entries.iter().filter(|entry| entry.hourly.is_none()).count();
    for entry in entries.iter().filter(|entry| entry.hourly.is_none()) {
        let why = plain(entry.unknown.as_deref().unwrap_or_default());
        writeln!(out, "{} in {}: price unknown: {why}", plain(&entry.instance_type), entry.region)?;
    }
    let known = entries.len() - unknown;
    let path = options.output.clone().unwrap_or_else(|| file_beside(&args.config));
    let text = connect::pretty(&price_file(clock.now().date_naive(), entries))? + "\n";
    replace(&path, &text)
        .with_context(|| format!("cannot write {}", path.display()))
        .map_err(|error| CommandError::new(Exit::Unexpected, error))?;
    writeln!(out, "{}: {known} prices, {unknown} unknown", path.display())?;
    Ok(Exit::Done)
}

/// The types that the images of each region may be launched as. What has no price of its own is left out.
fn used(intent: &Intent) -> BTreeMap<Region, Types> {
    let mut all: BTreeMap<Region, Types> = BTreeMap::new();
    for image in intent.images.values() {
        let Some(software) = Software::of(image.platform) else { continue };
        let types = image.offerings.iter().map(|offering| (offering.instance_type.clone(), software));
        all.entry(image.region.clone()).or_default().extend(types);
    }
    all
}

/// The list is the same for everybody: the first owner who may ask it will do.
async fn of_region(
    clock: &Clock,
    intent: &Intent,
    only: Option<&OwnerName>,
    region: &Region,
    types: &Types,
) -> Result<Vec<PriceEntry>, CommandError> {
    let mut refusals = Vec::new();
    for owner in intent.owners.keys().filter(|name| only.is_none_or(|only| only == *name)) {
        let cell = Cell { owner: owner.clone(), region: region.clone() };
        let door = Ec2::new(&cell, intent).for_command("audit");
        match Box::pin(ask_prices(clock, &door, region, types)).await {
            Ok(entries) => return Ok(entries),
            Err(why) => refusals.push(format!("owner {owner}: {}", plain(&why.to_string()))),
        }
    }
    let message = format!(
        "prices of {region}: nobody may ask for them, or the list does not answer: {}; the audit role of `latent iam` \
         holds pricing:GetProducts",
        refusals.join("; ")
    );
    Err(CommandError::new(Exit::Refused, anyhow::anyhow!(message)))
}

/// Writes the file whole or not at all.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = folder.join(format!(".{name}.{}", std::process::id()));
    let written = std::fs::write(&aside, text).and_then(|()| std::fs::rename(&aside, path));
    if written.is_err() {
        // Nothing of ours stays; the first reason is the one to tell.
        let _ = std::fs::remove_file(&aside);
    }
    written
}
