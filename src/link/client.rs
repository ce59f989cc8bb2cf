//! Asks a controller.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::messages::ErrorBody;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why a controller did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers.
    #[error("no controller answers on {}; start one with `latent serve`", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It answers, and refuses.
    #[error("{}", body.message)]
    Refused {
        /// The status.
        status: StatusCode,
        /// What it said.
        body: ErrorBody,
    },
    /// It answered, and went away before the answer was whole.
    #[error("the controller on {} went away in the middle of its answer ({what})", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// How it shows.
        what: String,
    },
    /// It does not speak this interface.
    #[error("what answers on {} does not speak this version's interface ({what}); upgrade one of the two", path.display())]
    Incompatible {
        /// The socket.
        path: PathBuf,
        /// How it shows.
        what: String,
    },
    /// It takes too long.
    #[error("the controller on {} did not answer within {} s", path.display(), limit.as_secs())]
    Slow {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
}

/// A client of one controller; each call is a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
    limit: Duration,
}

impl Client {
    /// A client for the controller on this socket. Makes no connection yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), limit: Duration::from_secs(75) }
    }

    /// Reads something.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, ClientError> {
        self.call::<(), T>(Method::GET, url, None).await
    }

    /// Asks for something.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(&self, url: &str, body: &B) -> Result<T, ClientError> {
        self.call(Method::POST, url, Some(body)).await
    }

    /// Puts something in its place.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put<B: Serialize, T: DeserializeOwned>(&self, url: &str, body: &B) -> Result<T, ClientError> {
        self.call(Method::PUT, url, Some(body)).await
    }

    /// Takes something back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete<T: DeserializeOwned>(&self, url: &str) -> Result<T, ClientError> {
        self.call::<(), T>(Method::DELETE, url, None).await
    }

    async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        url: &str,
        body: Option<&B>,
    ) -> Result<T, ClientError> {
        let text = match body {
            Some(body) => serde_json::to_vec(body).map_err(|error| self.incompatible(&error))?,
            None => Vec::new(),
        };
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::HOST, "latent")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(text)))
            .map_err(|error| self.incompatible(&error))?;
        let (status, bytes) = match tokio::time::timeout(self.limit, self.exchange(request)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(ClientError::Slow { path: self.path.clone(), limit: self.limit }),
        };
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| self.incompatible(&error));
        }
        match serde_json::from_slice(&bytes) {
            Ok(body) => Err(ClientError::Refused { status, body }),
            Err(_) => Err(self.incompatible(&status)),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|source| ClientError::NotRunning { path: self.path.clone(), source })?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.incompatible(&error))?;
        let pump = tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| self.told(&error))?;
        let status = answer.status();
        let body = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        pump.abort();
        let body = body.map_err(|error| self.incompatible(&error))?;
        Ok((status, body.to_bytes()))
    }

    /// A connection that ends is no other interface.
    fn told(&self, error: &hyper::Error) -> ClientError {
        let broken = error.is_incomplete_message() || error.is_canceled() || error.is_closed();
        let cut = std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<io::Error>);
        if broken || cut {
            ClientError::Broken { path: self.path.clone(), what: error.to_string() }
        } else {
            self.incompatible(error)
        }
    }

    fn incompatible(&self, what: &impl ToString) -> ClientError {
        ClientError::Incompatible { path: self.path.clone(), what: what.to_string() }
    }
}
