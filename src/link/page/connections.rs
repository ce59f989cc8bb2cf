//! Connections to the page: so many at once, and none that says nothing for long.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// The most connections at once; who comes later waits.
const CONNECTIONS_MAX: usize = 128;
/// How long the head of a request may take, and how long a connection may wait for the next one.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Serves until `stop` turns true; then every request that has begun is answered.
pub(super) async fn serve(mut listener: TcpListener, router: Router, stop: watch::Receiver<bool>) {
    let limit = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (mut connections, mut ended) = (JoinSet::new(), stop.clone());
    loop {
        let next = async {
            let permit = Arc::clone(&limit).acquire_owned().await;
            // It goes on by itself when the process has no file left.
            (permit, Listener::accept(&mut listener).await)
        };
        let (permit, (stream, _)) = tokio::select! {
            next = next => next,
            () = async { drop(ended.wait_for(|stop| *stop).await) } => break,
        };
        while connections.try_join_next().is_some() {}
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            connection(stream, router, stop).await;
            drop(permit);
        });
    }
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, router: Router, mut stop: watch::Receiver<bool>) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(HEAD_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = async { drop(stop.wait_for(|stop| *stop).await) } => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the page ended badly");
    }
}
