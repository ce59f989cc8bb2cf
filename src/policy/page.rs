//! `[page]`: where the status page is, and who may see it.

use std::net::SocketAddr;

use super::key::PAGE_KEYS;
use super::problem::Problems;
use super::reader::{Layer, Reader};
use super::secret::{self, SecretRef};

/// `[page]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Where it is served; nowhere if absent.
    pub listen: Option<SocketAddr>,
    /// The token that who looks at it must know.
    pub token: Option<SecretRef>,
}

pub(super) fn page(layers: Vec<Layer<'_>>, problems: &mut Problems) -> Page {
    let mut reader = Reader::new(layers, PAGE_KEYS, "page", problems);
    let listen = reader.parsed::<SocketAddr>("listen");
    let token = secret::read(&mut reader, "token");
    match &listen {
        Some(listen) if !listen.value.ip().to_canonical().is_loopback() && !reader.has("token") => {
            let cure = "add token = { file = \"PATH\" } or { env = \"NAME\" }, or listen on 127.0.0.1";
            let message = "can be reached from other machines, and there is no token";
            reader.report(listen.at.clone(), "listen", Some(format!("\"{}\"", listen.value)), message, cure);
        }
        None if token.is_some() && !reader.has("listen") => {
            let at = reader.origin_of("token");
            reader.report(at, "token", None, "is of no use without listen", "add listen = \"127.0.0.1:8011\"");
        }
        _ => {}
    }
    reader.finish();
    Page { listen: listen.map(|listen| listen.value), token }
}
