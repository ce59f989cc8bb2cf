//! Key pairs: names that a launch may use.

use chrono::{DateTime, Utc};

use super::error::ApiError;
use super::instance::Tags;
use super::site::{Site, hash};

/// A key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Its id.
    pub id: String,
    /// Its name, unique in the account and region.
    pub name: String,
    /// `rsa` or `ed25519`.
    pub kind: String,
    /// What tells it from others.
    pub fingerprint: String,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// Its tags.
    pub tags: Tags,
}

impl Site {
    /// A key pair, or EC2's refusal.
    ///
    /// # Errors
    /// `InvalidKeyPair.NotFound`.
    pub fn key(&self, name: &str) -> Result<&KeyPair, ApiError> {
        let message = || format!("The key pair '{name}' does not exist");
        self.keys.get(name).ok_or_else(|| ApiError::client("InvalidKeyPair.NotFound", message()))
    }

    /// CreateKeyPair and ImportKeyPair.
    ///
    /// # Errors
    /// `InvalidKeyPair.Duplicate`.
    pub fn add_key(&mut self, name: &str, kind: &str, tags: Tags, now: DateTime<Utc>) -> Result<&KeyPair, ApiError> {
        if self.keys.contains_key(name) {
            let message = format!("The keypair '{name}' already exists.");
            return Err(ApiError::client("InvalidKeyPair.Duplicate", message));
        }
        let digest = [hash(&(self.seed, name, now)), hash(&(now, name, self.seed))].map(u64::to_be_bytes).concat();
        let fingerprint: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = KeyPair {
            id: self.new_id("key"),
            name: name.to_owned(),
            kind: kind.to_owned(),
            fingerprint: fingerprint.join(":"),
            created: now,
            tags,
        };
        self.keys.insert(name.to_owned(), key);
        self.key(name)
    }

    /// DeleteKeyPair; one that is not there is no error.
    pub fn delete_key(&mut self, named: &str) -> Option<KeyPair> {
        let name = self.keys.values().find(|key| key.name == named || key.id == named).map(|key| key.name.clone())?;
        self.keys.remove(&name)
    }
}
