//! A rebake in this process, with the owner's credentials: up to the AMI, which is handed over to its controller.

use std::io::Write;
use std::sync::Arc;

use tokio::sync::watch;

use super::ground::{Asked, Ground, access, ground};
use super::{EnrollOptions, RebakeOptions, Showing, print, usage};
use crate::cli::args::Args;
use crate::cli::connect;
use crate::cli::exit::{CommandError, Exit};
use crate::cli::manifests::script;
use crate::cloud::{Bakery as _, Cloud as _};
use crate::control::{
    Clock, Engine, NoStage, Ordered, RebakeAsk, RebakeEventView, RebakeView, Standing, Wish, first_entry, rebake_steps,
    rehearsed,
};
use crate::ec2::Ec2;
use crate::ledger::{FileJournal, JournalFolder, Journals as _};
use crate::link::{RebakeAnswer, RebakeOrdered};
use crate::model::{
    AmiId, AmiState, ImageName, Outcome, Rebake, RebakeEntry, RebakeId, RebakeKind, RebakeOrder, SourceAmi, TagSet,
    Thing,
};
use crate::plan::rebake::{Wanted, order, price};

pub(super) async fn run(args: &Args, options: &RebakeOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    if let Some(id) = options.abort.as_ref().or(options.resume.as_ref()) {
        return resume(args, options, id, out).await;
    }
    if options.list {
        let folder = JournalFolder::new(journals(args, options)?);
        let ids = folder.ids()?;
        let records = ids.iter().filter_map(|id| Rebake::fold(&folder.read(id).ok()?).ok());
        let views: Vec<RebakeView> = records.map(|rebake| RebakeView::of(&rebake, None)).collect();
        print::list(&views, options.json, out)?;
        return Ok(Exit::Done);
    }
    let mut exit = Exit::Done;
    for (ami, image) in targets(args, options)? {
        let (ami, image) = (ami.as_ref(), image.as_ref());
        let asked = Asked { ami, image, platform: None, instance_type: None, zone: None };
        let ground = ground(args, &options.ground, &asked).await?;
        exit = Box::pin(one(options, &ground, out)).await?;
    }
    Ok(exit)
}

/// Where journals are, without an image.
fn journals(args: &Args, options: &RebakeOptions) -> Result<std::path::PathBuf, CommandError> {
    if let Some(folder) = &options.ground.journals {
        return Ok(folder.clone());
    }
    if !args.config.exists() {
        return Ok(options.ground.amis.with_file_name("rebakes"));
    }
    let (sources, intent) = connect::intent(args)?;
    Ok(sources.path(&intent.fleet.ledger).with_file_name("rebakes"))
}

type Target = (Option<AmiId>, Option<ImageName>);

fn targets(args: &Args, options: &RebakeOptions) -> Result<Vec<Target>, CommandError> {
    let asks = super::asks(args, options)?;
    Ok(asks.into_iter().map(|ask: RebakeAsk| (ask.ami, ask.image)).collect())
}

fn refused(message: impl std::fmt::Display) -> CommandError {
    CommandError::new(Exit::Refused, anyhow::anyhow!("{message}"))
}

async fn source(cloud: &Ec2, ami: &AmiId) -> Result<SourceAmi, CommandError> {
    let found = cloud
        .source(ami)
        .await
        .map_err(|error| refused(format!("cannot see {ami}: {error}; {}", error.kind.cure())))?;
    found.ok_or_else(|| refused(format!("the account cannot see {ami}: is it the right account and region?")))
}

fn new_id(clock: &Clock) -> (RebakeId, String) {
    // A clock stands in for a source of chance that cannot be had: the nonce guards against mistakes.
    let seed = getrandom::u64().unwrap_or_else(|_| clock.now().timestamp_micros().unsigned_abs());
    let mut random = fastrand::Rng::with_seed(seed);
    (RebakeId::at(clock.now(), random.u16(..)), format!("{:032x}", random.u128(..)))
}

async fn one(options: &RebakeOptions, ground: &Ground, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (clock, image, cloud) = (Clock::system(), ground.manifest()?, ground.cloud()?);
    let (kind, ami) = match (&options.from_base, image.ami.named()) {
        (Some(base), _) => (RebakeKind::FromBase, base.clone()),
        (None, Some(ami)) => (RebakeKind::Update, ami.clone()),
        (None, None) => {
            return Err(usage(format!("image {} is chosen by a filter: name its AMI in amis/", ground.image)));
        }
    };
    let source = source(&cloud, &ami).await?;
    let due = source.created.map(|at| at + ground.intent.requirements.max_ami_age);
    if let Some(due) = due.filter(|due| options.due && *due > clock.now()) {
        let why = format!("{}: {ami} is not due before {}", ground.image, due.format("%Y-%m-%d"));
        let (ami, image) = (Some(ami), Some(ground.image.clone()));
        let ask = RebakeAsk { ami, image, from_base: None, worker: None, due: true, dry_run: false };
        print::not_due(&ask, &why, options.json, out)?;
        return Ok(Exit::Done);
    }
    let owner_script = image.rebake.script.as_ref().map(|name| script(&ground.sources, name)).transpose();
    let (id, nonce) = new_id(&clock);
    let wanted = Wanted {
        id,
        now: clock.now(),
        nonce,
        image: ground.image.clone(),
        kind,
        source,
        instance: None,
        worker: options.worker.clone(),
        script: owner_script.map_err(refused)?,
    };
    let order = order(&ground.intent, image, wanted).map_err(refused)?;
    if options.dry_run {
        let first = first_entry(order.clone());
        let rebake = Rebake::begin(&first).map_err(refused)?;
        let (view, steps) = (RebakeView::of(&rebake, None), rebake_steps(&rebake, &[]));
        let (permissions, price) = (rehearsed(&cloud, &order).await, price(&order, &ground.intent.prices));
        let ordered = Ordered { view, steps, order, permissions, price };
        print::dry_run(&RebakeOrdered::of(ordered, true), options.json, out)?;
        return Ok(Exit::Done);
    }
    not_busy(&JournalFolder::new(ground.journals.clone()), &ground.image)?;
    let showing = Showing::new(options.json, options.wait);
    let answer = work(ground, cloud, order, showing, out).await?;
    finish(ground, answer, options.json, out)
}

/// Two rebakes of one image would race for its manifest.
fn not_busy(folder: &JournalFolder, image: &ImageName) -> Result<(), CommandError> {
    let records = folder.ids()?.into_iter().filter_map(|id| Rebake::fold(&folder.read(&id).ok()?).ok());
    let mut at_work = records.filter(|rebake| rebake.is_at_work() && rebake.order.image == *image);
    match at_work.next() {
        None => Ok(()),
        Some(rebake) => {
            let id = &rebake.order.id;
            Err(refused(format!("rebake {id} of {image} has not ended: latent rebake --resume {id}, or --abort {id}")))
        }
    }
}

async fn work(
    ground: &Ground,
    cloud: Ec2,
    order: RebakeOrder,
    showing: Showing,
    out: &mut dyn Write,
) -> Result<(Exit, RebakeAnswer), CommandError> {
    let folder = JournalFolder::new(ground.journals.clone());
    let id = order.id.clone();
    let first = first_entry(order);
    let journal = folder.create(&id, &first)?;
    engine(cloud, &folder, (journal, vec![first]), false, showing, out).await
}

/// Works on a journal until the rebake has ended, and shows it. What is interrupted is gone on with by `--resume`.
async fn engine(
    cloud: Ec2,
    folder: &JournalFolder,
    (journal, entries): (FileJournal, Vec<RebakeEntry>),
    abort: bool,
    showing: Showing,
    out: &mut dyn Write,
) -> Result<(Exit, RebakeAnswer), CommandError> {
    let clock = Clock::system();
    let wish = watch::Sender::new(Wish { abort, leave: false });
    let engine = Engine::new(Arc::new(cloud), None::<Arc<NoStage>>, clock.clone(), journal, &entries, wish.subscribe());
    let engine = engine.map_err(|error| CommandError::new(Exit::Ledger, error))?;
    let mut standing = engine.standing();
    let id = standing.borrow().rebake.order.id.clone();
    let mut running = tokio::spawn(engine.run());
    let mut after = 0;
    loop {
        let ended = tokio::select! {
            ended = &mut running => Some(ended),
            _ = standing.changed() => None,
        };
        let now = standing.borrow_and_update().clone();
        let answer = answer(&clock, folder, &id, &now, after)?;
        showing.news(answer.now, &answer.rebake, &answer.events, out)?;
        after = answer.rebake.seq;
        if let Some(ended) = ended {
            ended
                .map_err(|error| CommandError::new(Exit::Unexpected, error))?
                .map_err(|error| CommandError::new(Exit::Ledger, error))?;
            let exit = showing.end(&answer, out)?;
            return Ok((exit, answer));
        }
    }
}

fn answer(
    clock: &Clock,
    folder: &JournalFolder,
    id: &RebakeId,
    standing: &Standing,
    after: u64,
) -> Result<RebakeAnswer, CommandError> {
    let entries = folder.read(id)?;
    let rebake = Rebake::fold(&entries).map_err(|error| CommandError::new(Exit::Ledger, error))?;
    let events = entries.iter().filter(|entry| entry.seq > after).map(RebakeEventView::from).collect();
    let packages = rebake.guest.done.as_ref().map_or(0, |done| done.packages);
    let steps = rebake_steps(&rebake, &entries);
    Ok(RebakeAnswer { now: clock.now(), rebake: RebakeView::of(&rebake, Some(standing)), steps, events, packages })
}

/// Writes the manifest of an image that had none.
fn finish(
    ground: &Ground,
    (exit, answer): (Exit, RebakeAnswer),
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let Some(Outcome::HandedOver { .. }) = &answer.rebake.outcome else { return Ok(exit) };
    if let Some((path, text)) = &ground.writes {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, text)?;
        if !json {
            writeln!(out, "wrote {}, as the controller's configuration should have it", path.display())?;
        }
    }
    Ok(exit)
}

/// Goes on with a journal, or takes back what it did.
async fn resume(
    args: &Args,
    options: &RebakeOptions,
    id: &RebakeId,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let folder = JournalFolder::new(journals(args, options)?);
    let (journal, entries) = folder.open(id)?;
    let rebake = Rebake::fold(&entries).map_err(|error| CommandError::new(Exit::Ledger, error))?;
    let waits_for_controller = rebake.made().contains(&Thing::Promotion) || rebake.made().contains(&Thing::Canary);
    if waits_for_controller && rebake.outcome.is_none() {
        return Err(refused(format!(
            "{id} is the controller's: it has a canary or was promoted; start the controller"
        )));
    }
    let cell = rebake.order.cell();
    let cloud = match connect::intent(args) {
        Ok((_, intent)) if args.config.exists() && intent.owners.contains_key(&cell.owner) => {
            Ec2::new(&cell, &intent).rebaking()
        }
        Err(error) if args.config.exists() => return Err(error),
        _ => access(&options.ground, &rebake.order.fleet, &cell.region),
    };
    let showing = Showing::new(options.json, options.wait);
    engine(cloud, &folder, (journal, entries), options.abort.is_some(), showing, out).await.map(|(exit, _)| exit)
}

/// Makes the first AMI of an instance on which a worker was set up, and its manifest.
pub(super) async fn enroll(args: &Args, options: &EnrollOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let Some(region) = &options.ground.region else {
        return Err(usage("say where the instance is: --region us-west-2"));
    };
    let path = options.ground.amis.join(format!("{}.toml", options.image));
    if path.exists() {
        return Err(usage(format!("{} exists already: choose another --image, or rebake it", path.display())));
    }
    let first = access(&options.ground, "", region);
    let clock = Clock::system();
    let listed = first.inventory(clock.now(), std::slice::from_ref(&options.instance)).await;
    let listed =
        listed.map_err(|error| refused(format!("cannot see {}: {error}; {}", options.instance, error.kind.cure())))?;
    let Some(instance) = listed.instances.get(&options.instance) else {
        return Err(refused(format!("there is no {} in {region} of this account", options.instance)));
    };
    let Some(from) = &instance.ami else {
        return Err(refused(format!("EC2 does not say which AMI {} was launched from", options.instance)));
    };
    let asked = Asked {
        ami: Some(from),
        image: Some(&options.image),
        platform: instance.platform_details.as_deref(),
        instance_type: Some(&instance.instance_type),
        zone: instance.zone.as_ref().map(crate::model::Zone::as_str),
    };
    let ground = ground(args, &options.ground, &asked).await?;
    let image = ground.manifest()?;
    let cloud = ground.cloud()?;
    let source = cloud
        .source(from)
        .await
        .ok()
        .flatten()
        .unwrap_or_else(|| gone(from, image, instance.platform_details.as_deref()));
    let (id, nonce) = new_id(&clock);
    let wanted = Wanted {
        id,
        now: clock.now(),
        nonce,
        image: ground.image.clone(),
        kind: RebakeKind::Enroll,
        source,
        instance: Some(options.instance.clone()),
        worker: None,
        script: None,
    };
    let order = order(&ground.intent, image, wanted).map_err(refused)?;
    let (exit, answer) = work(&ground, cloud, order, Showing::new(options.json, true), out).await?;
    let (Some(Outcome::HandedOver { ami }), Some((path, text))) = (&answer.rebake.outcome, &ground.writes) else {
        return Ok(exit);
    };
    let text = text.replace(&format!("ami = \"{from}\"\n"), &format!("ami = \"{ami}\"\n"));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)?;
    if !options.json {
        writeln!(
            out,
            "wrote {}; {} is stopped: terminate it when a worker of the AMI has connected",
            path.display(),
            options.instance
        )?;
        writeln!(out, "in latent.toml: [worker.NAME] with image = \"{}\"", options.image)?;
    }
    Ok(exit)
}

/// The AMI of an instance that somebody has deregistered since: as much of it as the instance tells.
fn gone(ami: &AmiId, image: &crate::policy::Image, platform: Option<&str>) -> SourceAmi {
    let details = platform.unwrap_or("Linux/UNIX").to_owned();
    SourceAmi {
        id: ami.clone(),
        name: String::new(),
        state: AmiState::Available,
        account: String::new(),
        ours: false,
        architecture: image.architecture.as_str().to_owned(),
        windows: details.contains("Windows"),
        platform_details: details,
        root_device: None,
        disks: Vec::new(),
        created: None,
        deprecated: None,
        product_codes: Vec::new(),
        tags: TagSet::default(),
    }
}
