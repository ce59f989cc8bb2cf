//! Secrets by reference, and in memory without a way to print them.

use std::fmt;
use std::sync::Arc;

use super::reader::{Layer, Reader};

/// Where a secret is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// In an environment variable.
    Env(String),
    /// In a file; relative names count from the folder of latent.toml.
    File(String),
}

/// A secret in memory; clones share it. It cannot be printed, logged or serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    /// The text itself: only for the call that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Env(name) => write!(f, "environment variable {name}"),
            SecretRef::File(path) => write!(f, "file {path}"),
        }
    }
}

/// Reads `{ env = … }` or `{ file = … }`.
pub(super) fn read(reader: &mut Reader<'_, '_>, key: &'static str) -> Option<SecretRef> {
    let layer: Layer<'_> = reader.table(key)?;
    let mut below = reader.below(layer, super::key::SECRET_KEYS, key);
    let (env, file) = (below.text("env"), below.text("file"));
    let at = below.table_origin();
    let result = match (env, file) {
        (Some(env), None) => Some(SecretRef::Env(env.value)),
        (None, Some(file)) => Some(SecretRef::File(file.value)),
        _ => {
            below.report(
                at,
                "env",
                None,
                "exactly one of env and file must be given",
                "write { env = \"NAME\" } or { file = \"PATH\" }",
            );
            None
        }
    };
    let shown = below.finish();
    reader.shown.extend(shown);
    result
}
