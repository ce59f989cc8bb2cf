//! `latent notify`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use comfy_table::Cell;

use super::args::Args;
use super::connect;
use super::exit::{CommandError, Exit};
use super::output::{ago, plain, table};
use crate::control::{Clock, ContactView, NoticesView};
use crate::link::ClientError;
use crate::model::{AlarmClass, OwnerName};
use crate::notify::{Courier as _, Message, Outbox, Ways, schema, trial_post, view_of};
use crate::plan::alarm::{Channel, Kept, Outcome, Who, addressees};
use crate::policy::{Intent, Sources};

/// How long one message may take, whatever the way.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(90);
/// So many messages are shown.
const SHOWN: u32 = 50;

/// About messages to people.
#[derive(Debug, Subcommand)]
pub(super) enum NotifyCommand {
    /// Who is told of what, where and when, and what came of the last messages
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Send a test message now, and say what came of it; needs no controller
    Test(TestOptions),
    /// Print the JSON Schema of what a webhook of the form json is sent
    Schema,
}

/// To whom a test message goes.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(super) struct TestOptions {
    /// To the places of this owner
    #[arg(long, value_name = "NAME")]
    owner: Option<OwnerName>,
    /// To the places of the admin
    #[arg(long)]
    admin: bool,
}

pub(super) async fn run(args: &Args, command: &NotifyCommand, out: &mut dyn Write) -> Result<Exit, CommandError> {
    match command {
        NotifyCommand::Show { json } => show(args, *json, out).await,
        NotifyCommand::Test(options) => test(args, options, out).await,
        NotifyCommand::Schema => {
            writeln!(out, "{}", connect::pretty(&schema())?)?;
            Ok(Exit::Done)
        }
    }
}

/// The messages, beside the ledger.
pub(super) fn outbox_of(sources: &Sources, ledger: &str) -> PathBuf {
    sources.path(ledger).with_file_name("notices.sqlite")
}

/// The ways of a configuration; its secrets are read when they are needed.
pub(super) fn ways(sources: &Sources) -> Ways {
    let folder = sources.folder.clone();
    let place = Sources { folder: folder.clone(), ..Sources::default() };
    Ways::new(folder, move |secret| place.resolve(secret))
}

async fn test(args: &Args, options: &TestOptions, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (sources, intent) = connect::whole_intent(args)?;
    let who = match &options.owner {
        Some(owner) => Who::Owner(owner.clone()),
        None => Who::Admin,
    };
    let refused = |why: String| CommandError::new(Exit::Refused, anyhow::anyhow!(why));
    let known = addressees(&intent).into_iter().find(|(name, _, _)| *name == who);
    let Some((_, addressee, channels)) = known else {
        let names: Vec<&str> = intent.owners.keys().map(OwnerName::as_str).collect();
        return Err(refused(format!("{who} is not in {}; known: {}", args.config.display(), names.join(", "))));
    };
    if channels.is_empty() {
        let table =
            options.owner.as_ref().map_or_else(|| "notify.admin".to_owned(), |name| format!("owner.{name}.notify"));
        let why = if addressee.mail.is_empty() {
            format!("{who} is told nowhere: add mail or webhook to [{table}] of {}", args.config.display())
        } else {
            format!(
                "{who} has an address, and nothing says how mail goes out: add [notify.smtp] to {}",
                args.config.display()
            )
        };
        return Err(refused(why));
    }
    let (clock, ways) = (Clock::system(), ways(&sources));
    let mut all = true;
    for channel in channels {
        let outcome = tell(&clock, &ways, &intent, &who, &channel).await;
        let (word, said) = match outcome {
            Outcome::Taken(said) => ("taken", said),
            Outcome::Refused(why) => ("refused for good", why),
            Outcome::Later(why, _) => ("not taken now", why),
        };
        all &= word == "taken";
        writeln!(out, "{channel}: {word}: {}", plain(&said))?;
    }
    Ok(if all { Exit::Done } else { Exit::Refused })
}

async fn tell(clock: &Clock, ways: &Ways, intent: &Intent, who: &Who, channel: &Channel) -> Outcome {
    let post = trial_post(who, channel, clock.now());
    let message = Message::of(post, None, &intent.fleet.name, &intent.fleet.controller);
    let brought = clock.within(LIMIT, ways.bring(&intent.notify, &message)).await;
    brought.unwrap_or_else(|| Outcome::Later(format!("no answer within {} s", LIMIT.as_secs()), None))
}

async fn show(args: &Args, json: bool, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let view: NoticesView = match connect::client(args)?.get("/v1/notices").await {
        Ok(view) => view,
        Err(ClientError::NotRunning { .. }) => from_here(args)?,
        Err(error) => return Err(error.into()),
    };
    if json {
        writeln!(out, "{}", connect::pretty(&view)?)?;
    } else {
        print(&view, out)?;
    }
    Ok(Exit::Done)
}

/// What can be told without a controller: the configuration, and the messages that it left.
fn from_here(args: &Args) -> Result<NoticesView, CommandError> {
    let (sources, intent) = connect::whole_intent(args)?;
    let mut problems = vec!["no controller runs: nobody is told anything".to_owned()];
    let path = outbox_of(&sources, &intent.fleet.ledger);
    let (mut kept, mut deliveries) = (Kept::default(), Vec::new());
    if path.exists() {
        match Outbox::look(&path).and_then(|outbox| Ok((outbox.kept()?, outbox.last(SHOWN)?))) {
            Ok(found) => (kept, deliveries) = found,
            Err(error) => problems.push(error.to_string()),
        }
    }
    Ok(view_of(Clock::system().now(), &intent, &kept, deliveries, problems))
}

fn print(view: &NoticesView, out: &mut dyn Write) -> Result<(), CommandError> {
    let mail = view.mail.as_deref().unwrap_or("nothing says how it goes out: add [notify.smtp] or [notify.sendmail]");
    writeln!(out, "mail: {}\n", plain(mail))?;
    let mut rows = table(&["WHO", "WHERE", "WHAT", "QUIET"]);
    for contact in &view.contacts {
        let places = if contact.places.is_empty() { "nowhere".to_owned() } else { contact.places.join("\n") };
        let quiet = contact.quiet_hours.as_deref().unwrap_or("-");
        rows.add_row([&contact.who, &plain_lines(&places), &classes(contact), quiet].map(Cell::new));
    }
    writeln!(out, "{}", rows.trim_fmt())?;
    for notice in &view.open {
        writeln!(out, "\nopen since {}: {}", ago(view.now, Some(notice.since)), plain(&notice.title))?;
    }
    if !view.deliveries.is_empty() {
        let mut rows = table(&["AGE", "FOR", "MESSAGE", "CAME OF IT"]);
        for delivery in &view.deliveries {
            let next = delivery.next.map(|at| format!(", again at {}", at.format("%H:%MZ"))).unwrap_or_default();
            let said = delivery.said.as_deref().map(|said| format!(": {said}")).unwrap_or_default();
            let came = plain(&format!("{}{next}{said}", delivery.state));
            let place = plain(&format!("{}, {}", delivery.who, delivery.place));
            rows.add_row([ago(view.now, Some(delivery.at)), place, plain(&delivery.subject), came].map(Cell::new));
        }
        writeln!(out, "\n{}", rows.trim_fmt())?;
    }
    for problem in &view.problems {
        writeln!(out, "\nwarning: {}", plain(problem))?;
    }
    Ok(())
}

fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

fn classes(contact: &ContactView) -> String {
    let missing: Vec<&str> =
        AlarmClass::ALL.iter().filter(|class| !contact.classes.contains(class)).map(|class| class.name()).collect();
    match (missing.len(), contact.classes.len()) {
        (0, _) => "everything".to_owned(),
        (_, 0) => "nothing".to_owned(),
        (few, many) if few < many => format!("everything but {}", missing.join(", ")),
        _ => contact.classes.iter().map(|class| class.name()).collect::<Vec<_>>().join(", "),
    }
}

/// The board of a controller that cannot keep messages: it says why.
#[derive(Debug)]
#[cfg(feature = "ec2")]
pub(super) struct NoBoard(pub(super) String);

#[cfg(feature = "ec2")]
impl crate::control::NoticeBoard for NoBoard {
    fn view(&self) -> NoticesView {
        NoticesView {
            now: Clock::system().now(),
            mail: None,
            contacts: Vec::new(),
            open: Vec::new(),
            deliveries: Vec::new(),
            problems: vec![self.0.clone()],
        }
    }

    fn warnings(&self) -> Vec<String> {
        vec![format!("nobody is told anything by mail or webhook: {}", self.0)]
    }
}
