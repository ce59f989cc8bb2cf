//! `latent rebake`, `latent rollback` and `latent enroll`.

mod follow;
#[cfg(feature = "ec2")]
mod ground;
#[cfg(feature = "ec2")]
mod here;
mod print;

use std::io::Write;
use std::path::PathBuf;

use clap::Parser;

use super::args::Args;
use super::connect;
use super::exit::{CommandError, Exit, REBAKE_AFTER_HELP};
use super::sweep::Access;
use crate::control::RebakeAsk;
use crate::link::{Client, ClientError, RebakeList, RebakeOrdered, RolledBack, VersionAnswer};
use crate::model::{AmiId, ImageName, InstanceId, OwnerName, RebakeId, Region, WorkerName};

pub(super) use follow::Showing;

/// What is rebaked, and how it is shown.
#[derive(Debug, Parser)]
#[command(after_help = REBAKE_AFTER_HELP)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct RebakeOptions {
    /// The AMI that a manifest in amis/ names
    #[arg(value_name = "AMI")]
    ami: Option<AmiId>,
    /// The image: the manifest's name. Needed if several name the AMI, or none
    #[arg(long, value_name = "NAME")]
    image: Option<ImageName>,
    /// Set the worker up anew on this newer base, with the same name and password
    #[arg(long, value_name = "AMI")]
    from_base: Option<AmiId>,
    /// The worker that proves the new AMI, if it matters which
    #[arg(long, value_name = "WORKER")]
    worker: Option<WorkerName>,
    /// Print the steps, the permissions, the time and the price, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Only if the AMI is older than requirements.max_ami_age; without an AMI or an image, all of them
    #[arg(long)]
    due: bool,
    /// Go on with a rebake, or follow it again
    #[arg(long, value_name = "ID", conflicts_with_all = ["ami", "image", "from_base", "dry_run", "due", "abort", "list"])]
    resume: Option<RebakeId>,
    /// Take back all that a rebake did
    #[arg(long, value_name = "ID", conflicts_with_all = ["ami", "image", "from_base", "dry_run", "due", "list"])]
    abort: Option<RebakeId>,
    /// Print all rebakes
    #[arg(long, conflicts_with_all = ["ami", "image", "from_base", "dry_run", "due"])]
    list: bool,
    /// Work in this process with the owner's credentials, although a controller answers
    #[arg(long)]
    here: bool,
    /// Begin it, and do not follow it
    #[arg(long, conflicts_with_all = ["here", "dry_run"])]
    detach: bool,
    /// Follow it to its very end, through the comparison with the generation before
    #[arg(long)]
    wait: bool,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// What no manifest says
    #[command(flatten)]
    ground: GroundOptions,
}

/// What is needed where there is no configuration, or no manifest in it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Without a configuration")]
pub(super) struct GroundOptions {
    /// The region of the AMI
    #[arg(long, value_name = "REGION")]
    region: Option<Region>,
    /// The owner's name: as the controller's configuration has it, or as the manifest shall
    #[arg(long, value_name = "NAME")]
    owner: Option<OwnerName>,
    /// The fleet, if the AMI's tags do not say it
    #[arg(long, value_name = "NAME")]
    fleet: Option<String>,
    /// The controller that shall prove the new AMI, if the AMI's tags do not say it
    #[arg(long, value_name = "ID")]
    controller: Option<String>,
    /// The instance type to work with
    #[arg(long, value_name = "TYPE")]
    instance_type: Option<String>,
    /// The folder of the manifests
    #[arg(long, value_name = "DIR", default_value = "amis")]
    amis: PathBuf,
    /// The folder of the journals, if not the one beside the ledger
    #[arg(long, value_name = "DIR")]
    journals: Option<PathBuf>,
    /// Where the credentials come from, if not from the configuration
    #[command(flatten)]
    access: Access,
}

/// What is enrolled.
#[derive(Debug, Parser)]
#[command(after_help = "\
latent enroll i-0123456789abcdef0 --image debian --region us-west-2 --fleet cpython --controller cpython-main

Stops the instance, makes an AMI of it, and writes amis/IMAGE.toml; the instance stays, stopped.")]
pub(super) struct EnrollOptions {
    /// The instance on which a worker was set up
    #[arg(value_name = "INSTANCE")]
    instance: InstanceId,
    /// The manifest to write: amis/NAME.toml
    #[arg(long, value_name = "NAME")]
    image: ImageName,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// What no manifest says
    #[command(flatten)]
    ground: GroundOptions,
}

/// What is rolled back.
#[derive(Debug, Parser)]
pub(super) struct RollbackOptions {
    /// The image whose manifest shall name its previous AMI again
    image: ImageName,
}

fn usage(message: impl Into<String>) -> CommandError {
    CommandError::new(Exit::Usage, anyhow::anyhow!(message.into()))
}

/// The controller, if the configuration names one and it answers.
async fn controller(args: &Args, options: &RebakeOptions) -> Result<Option<Client>, CommandError> {
    if options.here || (args.socket.is_none() && !args.config.exists()) {
        return Ok(None);
    }
    let client = connect::client(args)?;
    match client.get::<VersionAnswer>("/v1/version").await {
        Ok(_) => Ok(Some(client)),
        Err(ClientError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn run(args: &Args, options: &RebakeOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let Some(client) = controller(args, options).await? else {
        #[cfg(feature = "ec2")]
        return Box::pin(here::run(args, options, out)).await;
        #[cfg(not(feature = "ec2"))]
        return Err(usage("no controller answers, and this latent was built without the feature ec2"));
    };
    // Who takes a rebake back wants to know it taken back, in whatever step it was.
    let showing = Showing::new(options.json, options.wait || options.abort.is_some());
    if options.list {
        let list: RebakeList = client.get("/v1/rebakes").await?;
        print::list(&list.rebakes, options.json, out)?;
        return Ok(Exit::Done);
    }
    if let Some(id) = &options.abort {
        let _: crate::control::RebakeView = client.post(&format!("/v1/rebakes/{id}/abort"), &()).await?;
        return follow::follow(&client, id, showing, out).await;
    }
    if let Some(id) = &options.resume {
        return follow::follow(&client, id, showing, out).await;
    }
    let asks = asks(args, options)?;
    let mut exit = Exit::Done;
    for ask in asks {
        exit = one(&client, options, &ask, out).await?;
    }
    Ok(exit)
}

/// What is asked for: one image, or with `--due` each of the configuration.
fn asks(args: &Args, options: &RebakeOptions) -> Result<Vec<RebakeAsk>, CommandError> {
    let ask = |ami: Option<AmiId>, image: Option<ImageName>| RebakeAsk {
        ami,
        image,
        from_base: options.from_base.clone(),
        worker: options.worker.clone(),
        due: options.due,
        dry_run: options.dry_run,
    };
    if options.ami.is_some() || options.image.is_some() {
        return Ok(vec![ask(options.ami.clone(), options.image.clone())]);
    }
    if !options.due {
        return Err(usage("say which: latent rebake ami-…, --image NAME, or --due for all that are old enough"));
    }
    let (_, intent) = connect::intent(args)?;
    let named = intent.images.iter().filter(|(_, image)| image.ami.named().is_some());
    Ok(named.map(|(name, _)| ask(None, Some(name.clone()))).collect())
}

async fn one(
    client: &Client,
    options: &RebakeOptions,
    ask: &RebakeAsk,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let ordered: RebakeOrdered = match client.post("/v1/rebakes", ask).await {
        Ok(ordered) => ordered,
        Err(ClientError::Refused { body, .. }) if body.code == crate::link::FailureCode::NotDue => {
            print::not_due(ask, &body.message, options.json, out)?;
            return Ok(Exit::Done);
        }
        Err(error) => return Err(error.into()),
    };
    if ask.dry_run {
        print::dry_run(&ordered, options.json, out)?;
        return Ok(Exit::Done);
    }
    let id = ordered.rebake.id.clone();
    if options.detach {
        print::begun(&ordered, options.json, out)?;
        return Ok(Exit::Done);
    }
    follow::follow(client, &id, Showing::new(options.json, options.wait), out).await
}

pub(super) async fn roll_back(
    args: &Args,
    options: &RollbackOptions,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let image = &options.image;
    let client = connect::client(args)?;
    let done = client.post::<_, RolledBack>(&format!("/v1/images/{image}/rollback"), &()).await;
    let (from, to) = match done {
        Ok(done) => (done.from, done.to),
        // Without a controller the manifest is a file like any other.
        Err(ClientError::NotRunning { .. }) => {
            let (sources, intent) = connect::intent(args)?;
            let (from, to) = super::manifests::roll_back_file(&sources, &intent, image)
                .map_err(|why| CommandError::new(Exit::Refused, anyhow::anyhow!(why)))?;
            (from.to_string(), to.to_string())
        }
        Err(error) => return Err(error.into()),
    };
    writeln!(out, "{image}: {to} in the place of {from}; instances of {from} finish, the next launch uses {to}")?;
    Ok(Exit::Done)
}

#[cfg(feature = "ec2")]
pub(super) async fn enroll(args: &Args, options: &EnrollOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    Box::pin(here::enroll(args, options, out)).await
}

#[cfg(not(feature = "ec2"))]
#[expect(clippy::unused_async, reason = "as its twin with the feature")]
pub(super) async fn enroll(_: &Args, options: &EnrollOptions, _: &mut dyn Write) -> Result<Exit, CommandError> {
    Err(CommandError::without_ec2(&format!("enroll {}", options.instance)))
}
