//! The join secret of an attempt: what its instance alone is told, by its user data.
//!
//! It is derived from a key that never leaves the controller's machine, so it need not be kept anywhere:
//! after a restart the same attempt has the same secret, and the same user data is sent again. It is no
//! part of the ledger, of a tag or of a log.

use std::fmt;

use aws_lc_rs::{constant_time, hmac};

use super::secret::Secret;
use crate::model::{AttemptId, WorkerName, digest_hex};

/// What stands in rendered user data until the attempt is known. As long as a secret, and of the same
/// characters, so that a template says of the one what it says of the other.
pub(super) const PLACE: &str = "7c1e5f0a94d36b28e1770b5c3fa2d8469b60e24d18cf735a0e9d41b86f25c37a";

/// The length of the key, in bytes.
pub(super) const KEY_BYTES: usize = 32;

/// The key from which every join secret is derived.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinKey([u8; KEY_BYTES]);

impl fmt::Debug for JoinKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinKey(…)")
    }
}

impl JoinKey {
    /// A key of these bytes, which nobody else knows.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads a key as [`JoinKey::text`] writes it; `None` if it is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        let digits = text.trim_end().as_bytes();
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; KEY_BYTES];
        if digits.len() != 2 * KEY_BYTES {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// The key as its file holds it.
    pub(super) fn text(&self) -> Secret {
        Secret::new(format!("{}\n", digest_hex(&self.0)))
    }

    /// The secret of one attempt for one worker, in hexadecimal.
    pub fn secret(&self, worker: &WorkerName, attempt: &AttemptId) -> Secret {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        // Neither name holds a line's end: no two pairs give the same text.
        let tag = hmac::sign(&key, format!("join\n{worker}\n{attempt}").as_bytes());
        Secret::new(digest_hex(tag.as_ref()))
    }

    /// Whether this is the secret of the attempt, in a time that does not tell how much was right.
    pub fn fits(&self, worker: &WorkerName, attempt: &AttemptId, given: &Secret) -> bool {
        let right = self.secret(worker, attempt);
        let given = given.reveal().trim();
        constant_time::verify_slices_are_equal(right.reveal().as_bytes(), given.as_bytes()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(worker: &str, attempt: &str) -> (WorkerName, AttemptId) {
        (worker.parse().expect("a name"), attempt.parse().expect("an id"))
    }

    #[test]
    fn each_attempt_has_its_own_secret_and_always_the_same() {
        let key = JoinKey::new([7; KEY_BYTES]);
        let (worker, attempt) = names("w", "1-1");
        let secret = key.secret(&worker, &attempt);
        assert_eq!(secret, JoinKey::new([7; KEY_BYTES]).secret(&worker, &attempt));
        assert_eq!(secret.reveal().len(), PLACE.len());
        assert!(key.fits(&worker, &attempt, &Secret::new(format!("{}\n", secret.reveal()))), "a file ends with a line");
        for (worker, attempt) in [names("w", "1-2"), names("v", "1-1")] {
            assert!(!key.fits(&worker, &attempt, &secret));
        }
        assert!(!JoinKey::new([8; KEY_BYTES]).fits(&worker, &attempt, &secret));
        assert!(!key.fits(&worker, &attempt, &Secret::new(String::new())));
    }

    #[test]
    fn a_key_is_read_as_it_was_written_and_never_printed() {
        let key = JoinKey::new(std::array::from_fn(|at| u8::try_from(at * 8).expect("small")));
        assert_eq!(JoinKey::read(key.text().reveal()), Some(key.clone()));
        assert_eq!(format!("{key:?}"), "JoinKey(…)");
        for wrong in ["", "00", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66), &"é".repeat(32)] {
            assert_eq!(JoinKey::read(wrong), None, "{wrong}");
        }
    }
}
