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

#[cfg(test)]
mod tests {
    use crate::policy::{Intent, Sources};

    /// What is wrong with `[page]` of these lines.
    fn wrong(lines: &str) -> String {
        let main = format!("[fleet]\nname = \"f\"\ncontroller = \"c\"\n[page]\n{lines}\n");
        let sources = Sources { main: ("latent.toml".to_owned(), main), ..Sources::default() };
        Intent::parse(&sources).err().map(|problems| problems.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_page_that_others_can_reach_needs_a_token() {
        let token = "token = { env = \"T\" }";
        let right = [("127.0.0.1:0", ""), ("[::1]:8011", ""), ("127.0.0.1:8011", token), ("0.0.0.0:8011", token)];
        for (listen, more) in right {
            assert_eq!(wrong(&format!("listen = \"{listen}\"\n{more}")), "", "{listen}");
        }
        assert_eq!(wrong(""), "");
        for listen in ["0.0.0.0:8011", "[::]:8011", "192.0.2.1:80"] {
            let told = wrong(&format!("listen = \"{listen}\""));
            let place = format!("latent.toml:5:10: page.listen = \"{listen}\": can be reached from other machines");
            assert!(told.starts_with(&place) && told.contains("add token = "), "{told}");
        }
        let told = wrong(token);
        assert!(told.starts_with("latent.toml:5:9: page.token: is of no use without listen; add listen = "), "{told}");
        assert!(wrong("listen = \"localhost\"").starts_with("latent.toml:5:10: page.listen = \"localhost\": "));
    }
}
