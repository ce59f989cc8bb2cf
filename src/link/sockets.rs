//! Where the interface can be served, and why it cannot.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixStream};

use crate::policy::Secret;

/// The longest Unix socket path that every system takes, in bytes.
pub(super) const SOCKET_PATH_BYTES_MAX: usize = 103;

/// Why the interface cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another controller answers there.
    #[error("a controller already answers on {}; ask it with latent status, or stop it first", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The path does not fit.
    #[error("the socket path {} has {length} bytes, and a Unix socket takes {SOCKET_PATH_BYTES_MAX}; set a shorter link.socket", path.display())]
    PathTooLong {
        /// The socket.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// Something that is no socket is in the way.
    #[error("{} exists and is not a socket; move it away, or set another link.socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// What was handed over by who started the process cannot be listened on.
    #[error(
        "the sockets that were handed over cannot be used: {what}; latent serve takes one listening Unix stream socket, \
         as docs/systemd/latent.socket makes it"
    )]
    HandedOver {
        /// How it shows.
        what: String,
    },
    /// It cannot be bound.
    #[error("cannot listen on {place}")]
    Bind {
        /// Where.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Binds a TCP address that has a token.
pub(super) async fn bind_tcp(tcp: Option<(SocketAddr, Secret)>) -> Result<Option<(TcpListener, Secret)>, ServeError> {
    let Some((address, token)) = tcp else { return Ok(None) };
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|source| ServeError::Bind { place: address.to_string(), source })?;
    Ok(Some((listener, token)))
}

/// Removes a socket on which nobody answers.
pub(super) async fn clear_stale(path: &Path) -> Result<(), ServeError> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err(ServeError::NotASocket { path: path.to_path_buf() });
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(ServeError::InUse { path: path.to_path_buf() });
    }
    std::fs::remove_file(path).map_err(|source| ServeError::Bind { place: path.display().to_string(), source })
}
