//! The ledger, from its file or from the controller that writes it; and the journals of rebakes.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::AuditOptions;
use super::accounts::Work;
use crate::audit::{Missing, Record};
use crate::cli::args::Args;
use crate::control::{Clock, Story};
use crate::ledger::{JournalFolder, Journals as _, LedgerError, SqliteReader};
use crate::link::{Client, Events};
use crate::model::{Actor, Entry, RebakeEntry};

/// So many entries are worth a word where all of them had to be read.
const MANY: u64 = 200_000;
/// How long a controller may take to answer with a page.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(20);
/// What a report says where nobody keeps a record.
const NO_LEDGER: &str = "without a configuration there is no ledger";

/// A ledger that was read, or why none was.
pub(super) struct Kept {
    read: Result<Whole, Missing>,
}

struct Whole {
    story: Story,
    /// Who told it, in words.
    from: String,
    source: Source,
    chain: Option<String>,
}

/// Who tells it.
#[derive(Debug)]
enum Source {
    File(SqliteReader),
    /// It tells nothing of what is beside the ledger.
    Controller(Client),
}

impl Kept {
    /// What a report needs of it.
    pub(super) fn record(&self) -> Result<Record<'_>, Missing> {
        let whole = self.read.as_ref().map_err(Clone::clone)?;
        Ok(Record { story: &whole.story, from: &whole.from, chain: whole.chain.as_deref() })
    }

    /// What it tells, where it could be read.
    pub(super) fn story(&self) -> Option<&Story> {
        self.read.as_ref().ok().map(|whole| &whole.story)
    }

    /// With this value of the chain at its end.
    pub(super) fn with_chain(mut self, chain: Option<String>) -> Self {
        if let Ok(whole) = &mut self.read {
            whole.chain = chain;
        }
        self
    }
}

/// What is needed of a ledger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// From when on; see [`crate::audit::reach`].
    pub(super) since: DateTime<Utc>,
    /// Up to which entry; all if none is named.
    pub(super) upto: Option<u64>,
}

/// What was read with what was written since; all of it where nothing was read, or it cannot be read on.
pub(super) async fn read_on(
    before: Option<Kept>,
    args: &Args,
    options: &AuditOptions,
    work: &Work,
    part: Part,
    clock: &Clock,
) -> Kept {
    if let Some(Kept { read: Ok(mut whole) }) = before
        && whole.read_on(part.upto, clock).await.is_ok()
    {
        return Kept { read: Ok(whole) };
    }
    read(args, options, work, part, clock).await
}

/// The file that is named or configured; without it the controller is asked.
pub(super) async fn read(args: &Args, options: &AuditOptions, work: &Work, part: Part, clock: &Clock) -> Kept {
    if let Some(file) = path(work, options).filter(|file| options.ledger.is_some() || file.exists()) {
        match of_file(&file, part) {
            Err(why) if options.ledger.is_some() => return Kept { read: Err(missing(&why)) },
            // A controller under another user can be asked where its file cannot be read.
            Err(_) => {}
            Ok(whole) => return Kept { read: Ok(whole) },
        }
    }
    let socket = args.socket.clone().or_else(|| {
        let (sources, intent) = (work.sources.as_ref()?, work.intent.as_ref()?);
        Some(sources.path(&intent.link.socket))
    });
    let Some(socket) = socket else {
        let cure = "ask the fleet's admin for a report with it, or for a copy (--ledger FILE)";
        return Kept { read: Err(Missing::new(NO_LEDGER, cure)) };
    };
    let read = of_controller(Client::new(&socket), part, clock).await;
    Kept { read: read.map_err(|why| Missing::new(why, "start the controller, or name its ledger with --ledger FILE")) }
}

/// The ledger's file.
pub(super) fn path(work: &Work, options: &AuditOptions) -> Option<PathBuf> {
    let configured = || Some(work.sources.as_ref()?.path(&work.intent.as_ref()?.fleet.ledger));
    options.ledger.clone().or_else(configured)
}

fn missing(error: &LedgerError) -> Missing {
    Missing { why: error.to_string(), cure: None }
}

fn of_file(path: &Path, part: Part) -> Result<Whole, LedgerError> {
    let reader = SqliteReader::open(path)?;
    let story = Story::read(&reader, part.since, part.upto)?;
    if story.begun == 0 && story.last.is_some_and(|(seq, _)| seq > MANY) {
        let path = path.display();
        tracing::warn!("{path} has no checkpoint that fits this version and period: all of its entries were read");
    }
    let chain = chain_at(&reader, story.last.map_or(0, |(seq, _)| seq));
    Ok(Whole { story, from: format!("the ledger {}", path.display()), source: Source::File(reader), chain })
}

impl Whole {
    /// Takes in what was written since.
    async fn read_on(&mut self, upto: Option<u64>, clock: &Clock) -> Result<(), String> {
        match &self.source {
            Source::File(reader) => {
                self.story.read_on(reader, upto).map_err(|error| error.to_string())?;
                self.chain = chain_at(reader, self.story.last.map_or(0, |(seq, _)| seq));
                Ok(())
            }
            Source::Controller(client) => by_controller(client, &mut self.story, upto, clock).await,
        }
    }
}

/// The chain's value at an entry; one that is not chained has none.
fn chain_at(reader: &SqliteReader, seq: u64) -> Option<String> {
    reader.chain_at(seq).ok().flatten().map(|chain| chain.to_string())
}

/// The chain's value at an entry of a file.
pub(super) fn chain_of(path: &Path, seq: u64) -> Option<String> {
    chain_at(&SqliteReader::open(path).ok()?, seq)
}

async fn of_controller(client: Client, part: Part, clock: &Clock) -> Result<Whole, String> {
    let mut story = Story::default();
    by_controller(&client, &mut story, part.upto, clock).await?;
    let from = "the ledger, by its controller".to_owned();
    Ok(Whole { story, from, source: Source::Controller(client), chain: None })
}

/// Takes in what a controller tells beyond what was taken in.
async fn by_controller(client: &Client, story: &mut Story, upto: Option<u64>, clock: &Clock) -> Result<(), String> {
    let mut after = story.last.map_or(0, |(seq, _)| seq);
    loop {
        let url = format!("/v1/events?after={after}");
        let answer = clock.within(ANSWER, client.get::<Events>(&url)).await;
        let answer = answer.ok_or_else(|| format!("the controller did not answer within {} s", ANSWER.as_secs()))?;
        let page = answer.map_err(|error| error.to_string())?;
        if page.events.is_empty() || upto.is_some_and(|upto| after >= upto) {
            return Ok(());
        }
        after = page.last;
        for event in page.events.into_iter().filter(|event| upto.is_none_or(|upto| event.seq <= upto)) {
            let mut tagged = serde_json::Map::new();
            tagged.insert(event.kind, event.body);
            let body = serde_json::from_value(tagged.into())
                .map_err(|error| format!("entry {} of the controller is not understood: {error}", event.seq))?;
            let actor = event.actor.unwrap_or(Actor::Controller);
            story.take(&Entry { seq: event.seq, at: event.at, actor, body });
        }
    }
}

/// The journals of rebakes, which are kept beside the ledger. Beside a controller's own no folder means no rebake;
/// beside a copy, or where the controller alone told the ledger, it means that nobody brought them.
pub(super) fn rebakes(work: &Work, options: &AuditOptions, kept: &Kept) -> Result<Vec<Vec<RebakeEntry>>, Missing> {
    let Some(ledger) = path(work, options) else {
        return Err(Missing { why: NO_LEDGER.to_owned(), cure: None });
    };
    let folder = ledger.with_file_name("rebakes");
    let own = options.ledger.is_none() && kept.read.as_ref().is_ok_and(|whole| matches!(whole.source, Source::File(_)));
    if !own && !folder.is_dir() {
        let why = format!("the journals of rebakes are not here: there is no folder {}", folder.display());
        return Err(Missing::new(why, "put the folder rebakes, which is beside the ledger, here as well"));
    }
    journals(&JournalFolder::new(folder))
}

/// All journals of a folder.
pub(in crate::cli) fn journals(folder: &JournalFolder) -> Result<Vec<Vec<RebakeEntry>>, Missing> {
    let ids = folder.ids().map_err(|error| Missing { why: error.to_string(), cure: None })?;
    let read = ids.iter().map(|id| folder.read(id));
    read.collect::<Result<_, _>>().map_err(|error| Missing { why: error.to_string(), cure: None })
}
