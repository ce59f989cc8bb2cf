//! Connections to the page: so many at once, and none that says nothing, or takes nothing, for long.

use std::future::{Future, pending};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::control::Clock;

/// The most connections at once; who comes later waits.
const CONNECTIONS_MAX: usize = 128;
/// How long the head of a request may take, and how long a connection may wait for the next one.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// How long the other end may take nothing of what it is sent.
const TAKE_LIMIT: Duration = Duration::from_secs(30);
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

async fn connection<S>(stream: S, router: Router, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = Taken { stream, late: None };
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

/// A stream that fails when the other end takes nothing for [`TAKE_LIMIT`]: who asks and never reads would have its
/// connection for ever.
struct Taken<S> {
    stream: S,
    /// Runs while something waits to be taken.
    late: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> Taken<S> {
    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.late = None;
            return written;
        }
        // By the machine's own time: a network knows no other.
        let late = self.late.get_or_insert_with(|| {
            Box::pin(async {
                Clock::system().within(TAKE_LIMIT, pending::<()>()).await;
            })
        });
        late.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.in_time(cx, closed)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use chrono::TimeDelta;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Longer than any limit here.
    const LONG: Duration = Duration::from_hours(1);

    fn much() -> Router {
        Router::new().route("/", get(|| async { "x".repeat(100_000) }))
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_and_takes_no_answer_loses_the_connection() {
        let (mut client, server) = tokio::io::duplex(1_024);
        let (_stop, stopped) = watch::channel(false);
        let served = tokio::spawn(connection(server, much(), stopped));
        let ask = "GET / HTTP/1.1\r\nhost: here\r\n\r\n".repeat(10);
        client.write_all(ask.as_bytes()).await.expect("is sent");
        let clock = Clock::system();
        let begun = clock.now();
        clock.within(LONG, served).await.expect("in time").expect("ends");
        let lasted = clock.now() - begun;
        assert!(lasted >= TimeDelta::seconds(30) && lasted < TimeDelta::seconds(60), "{lasted}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_it_slowly_gets_all_of_it() {
        let (mut client, server) = tokio::io::duplex(10_000);
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(connection(server, much(), stopped));
        client.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.expect("is sent");
        let clock = Clock::system();
        let (mut taken, mut part) = (0, [0; 10_000]);
        loop {
            clock.within(TAKE_LIMIT / 2, pending::<()>()).await;
            match client.read(&mut part).await.expect("is answered") {
                0 => break,
                length => taken += length,
            }
        }
        assert!(taken > 100_000, "{taken}");
    }
}
