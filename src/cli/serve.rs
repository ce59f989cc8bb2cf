//! `latent serve`: the controller as a process.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use super::args::{Args, LogFormat, ServeOptions};
use super::connect;
use super::exit::{CommandError, Exit};
use super::manifests::ManifestFiles;
use super::notify::{NoBoard, outbox_of, ways};
use super::weekly;
use crate::control::{Clock, Controller, NoticeBoard, Rebakes};
use crate::ledger::{Declarations, JournalFolder, SqliteLedger};
use crate::link::{Desk, Page, ServeError, Server};
use crate::model::Cell;
use crate::notify::{Feeds, Notifier, Outbox, Ways};
use crate::policy::{Intent, Sources};

/// How long connections may still take when the controller ends in good order.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(10);
/// A shorter token of the page could be guessed, in characters.
const PAGE_TOKEN_MIN: usize = 16;

fn cloud(cell: &Cell, intent: &Intent) -> crate::ec2::Ec2 {
    crate::ec2::Ec2::new(cell, intent)
}

pub(super) async fn run(args: &Args, options: &ServeOptions) -> Result<Exit, CommandError> {
    start_log(options)?;
    let handed_over = handed_over()?;
    let (sources, intent) = ready_intent(&args.config)?;
    let ledger = SqliteLedger::open(&sources.path(&intent.fleet.ledger))?;
    let kept = connect::declarations(&sources, &intent);
    let socket = connect::socket(args)?;
    let tcp = match (&intent.link.listen, &intent.link.token) {
        (Some(address), Some(token)) => {
            let token = sources
                .resolve(token)
                .map_err(|why| CommandError::new(Exit::Configuration, anyhow::anyhow!("link.token: {why}")))?;
            Some((*address, token))
        }
        _ => None,
    };
    let server = match handed_over {
        Some(listener) => Server::on(listener, tcp).await?,
        None => Server::bind(&socket, tcp).await?,
    };
    let page = page(&sources, &intent).await?;
    if let Some(listens) = server.unix_address().filter(|listens| *listens != socket) {
        let (listens, configured) = (listens.display(), socket.display());
        tracing::warn!("the socket that was handed over is {listens}, and clients look for {configured} (link.socket)");
    }
    serve(args, sources, (kept, intent), ledger, (server, page)).await
}

/// The status page, if the configuration asks for one.
async fn page(sources: &Sources, intent: &Intent) -> Result<Option<Page>, CommandError> {
    let Some(listen) = intent.page.listen else { return Ok(None) };
    let wrong = |why: String| CommandError::new(Exit::Configuration, anyhow::anyhow!("page.token: {why}"));
    let token = intent.page.token.as_ref().map(|token| sources.resolve(token)).transpose().map_err(wrong)?;
    if token.as_ref().is_some_and(|token| token.reveal().len() < PAGE_TOKEN_MIN) {
        let cure = "make one with openssl rand -hex 32";
        return Err(wrong(format!("has fewer than {PAGE_TOKEN_MIN} characters; {cure}")));
    }
    Ok(Some(Page::bind(listen, token).await?))
}

/// Serves the page beside everything else; a page that ends takes nothing along.
fn serve_page(
    page: Page,
    controller: Controller<SqliteLedger>,
    fleet: (String, String),
    desk: Desk,
    notices: Option<Arc<dyn NoticeBoard>>,
    stopped: watch::Receiver<bool>,
) -> tokio::task::JoinHandle<()> {
    if let Some(address) = page.address() {
        tracing::info!("the status page is http://{address}/");
    }
    tokio::spawn(async move {
        if let Err(error) = page.run(controller, fleet, Some(desk), notices, stopped).await {
            tracing::error!(%error, "the status page ended");
        }
    })
}

/// The listening socket that a service manager made before it started this process, if there is one: whoever
/// connects to it waits until we answer.
fn handed_over() -> Result<Option<UnixListener>, ServeError> {
    let mut sockets = ListenFd::from_env();
    match sockets.len() {
        0 => Ok(None),
        1 => sockets.take_unix_listener(0).map_err(|error| ServeError::HandedOver { what: error.to_string() }),
        many => Err(ServeError::HandedOver { what: format!("there are {many} of them") }),
    }
}

/// Tells the service manager, if there is one, how it stands with us.
fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

async fn serve(
    args: &Args,
    sources: Sources,
    (kept, intent): (Declarations, Intent),
    ledger: SqliteLedger,
    (server, page): (Server, Option<Page>),
) -> Result<Exit, CommandError> {
    let unexpected = |error: std::io::Error| CommandError::new(Exit::Unexpected, error);
    let mut ends = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let mut reload = signal(SignalKind::hangup()).map_err(unexpected)?;
    let clock = Clock::system();
    let seed = u64::from(std::process::id());
    let fleet = (intent.fleet.name.clone(), intent.fleet.controller.clone());
    let (workers, ledger_name) = (intent.workers.len(), intent.fleet.ledger.clone());
    let controller = Controller::start_with(kept, intent, ledger, clock.clone(), seed, cloud)?;
    let (stop, stopped) = watch::channel(false);
    let tcp = server.tcp_address().map(|address| address.to_string());
    let journals = JournalFolder::new(sources.path(&ledger_name).with_file_name("rebakes"));
    let weekly = weekly::feed(controller.clone(), args.config.clone(), journals.clone());
    let outbox = outbox_of(&sources, &ledger_name);
    let ways = ways(&sources);
    let manifests = Arc::new(ManifestFiles::new(sources, taking_in(args, &controller, seed)));
    let (rebakes, looking) =
        Rebakes::start(controller.clone(), journals, manifests, clock.clone(), seed, |cell: &Cell, intent: &Intent| {
            cloud(cell, intent).rebaking()
        });
    let desk: Desk = Arc::new(rebakes.clone());
    let feeds = Feeds { rebakes: Some(Arc::clone(&desk)), weekly: Some(weekly) };
    let (server, telling) = telling(server, &controller, feeds, &outbox, ways, &clock, &stopped);
    let show = |page| {
        serve_page(page, controller.clone(), fleet.clone(), Arc::clone(&desk), server.notices(), stopped.clone())
    };
    let page = page.map(show);
    let mut serving = tokio::spawn(server.run(controller.clone(), fleet, Some(desk), stopped));
    tracing::info!(workers, tcp, "ready");
    tell_manager(NotifyState::Ready);
    loop {
        let [terminate, interrupt] = &mut ends;
        tokio::select! {
            () = next(terminate) => break,
            () = next(interrupt) => break,
            ended = &mut serving => {
                let why = format!("the interface ended by itself: {ended:?}");
                return Err(CommandError::new(Exit::Unexpected, anyhow::anyhow!(why)));
            }
            _ = reload.recv() => match ready_intent(&args.config) {
                Ok((_, intent)) => {
                    let workers = intent.workers.len();
                    match controller.reconfigure(intent, seed, cloud) {
                        Ok(()) => tracing::info!(workers, "configuration read again"),
                        Err(error) => tracing::error!("the configuration is not taken, the old one holds: {error}"),
                    }
                }
                Err(error) => tracing::error!("the configuration is not taken, the old one holds: {error}"),
            },
        }
    }
    tell_manager(NotifyState::Stopping);
    tracing::info!("ending; instances stay as they are and are found again");
    rebakes.shutdown().await;
    drop(looking.await);
    controller.shutdown().await;
    stop.send_replace(true);
    drop(telling.await);
    // A client that stopped in the middle of a request must not keep the ledger's lock.
    let all = async { (serving.await.is_ok(), futures_util::future::OptionFuture::from(page).await) };
    if clock.within(FAREWELL, all).await.is_none() {
        tracing::warn!("a connection was cut");
    }
    Ok(Exit::Done)
}

/// Begins to tell people. A controller whose messages cannot be kept works on without, and says so.
fn telling(
    server: Server,
    controller: &Controller<SqliteLedger>,
    feeds: Feeds,
    outbox: &Path,
    ways: Ways,
    clock: &Clock,
    stopped: &watch::Receiver<bool>,
) -> (Server, tokio::task::JoinHandle<()>) {
    let notifier = Outbox::open(outbox)
        .and_then(|outbox| Notifier::new(controller.clone(), clock.clone(), ways, outbox, feeds))
        .map(Arc::new);
    match notifier {
        Ok(notifier) => {
            let (board, stopped) = (Arc::clone(&notifier), stopped.clone());
            (server.with_notices(board), tokio::spawn(async move { notifier.run(stopped).await }))
        }
        Err(error) => {
            tracing::error!("nobody is told anything by mail or webhook: {error}");
            let board = Arc::new(NoBoard(error.to_string()));
            (server.with_notices(board), tokio::spawn(async {}))
        }
    }
}

/// Takes the configuration in again after a manifest was written.
fn taking_in(
    args: &Args,
    controller: &Controller<SqliteLedger>,
    seed: u64,
) -> impl Fn() -> Result<Intent, String> + Send + Sync + use<> {
    let (config, controller) = (args.config.clone(), controller.clone());
    move || {
        let (_, intent) = ready_intent(&config).map_err(|error| error.to_string())?;
        controller.reconfigure(intent.clone(), seed, cloud).map_err(|error| error.to_string())?;
        Ok(intent)
    }
}

async fn next(signal: &mut std::io::Result<Signal>) {
    match signal {
        Ok(signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// The configuration with its user data rendered.
fn ready_intent(config: &Path) -> Result<(Sources, Intent), CommandError> {
    let (sources, mut intent) = connect::intent_of(config)?;
    let configuration = |problems| CommandError::new(Exit::Configuration, problems);
    intent.read_certificates(&sources).map_err(configuration)?;
    let key = sources.join_key(&intent.fleet.ledger, intent.uses_join_secrets(&sources));
    intent.join_key = key.map_err(|why| CommandError::new(Exit::Configuration, anyhow::anyhow!(why)))?;
    intent
        .render_user_data(&sources, |secret| sources.resolve(secret))
        .map_err(|problems| CommandError::new(Exit::Configuration, problems))?;
    Ok((sources, intent))
}

fn start_log(options: &ServeOptions) -> Result<(), CommandError> {
    let filter = EnvFilter::try_new(&options.log)
        .map_err(|error| CommandError::new(Exit::Usage, anyhow::anyhow!("--log {:?}: {error}", options.log)))?;
    // A log that cannot be written, on a full disk say, would be told on standard error, which is this
    // very log: that panics, and takes along the loop that wanted to log.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .log_internal_errors(false);
    match options.log_format {
        LogFormat::Human => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
