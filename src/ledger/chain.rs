//! The hash chain over the entries: whoever knows its last value can tell whether any of them was changed.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use crate::model::digest_hex;

/// Digits of a value of the chain in hexadecimal.
const DIGITS: usize = 64;

/// A value of the chain: SHA-256 over the value before it and one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain([u8; DIGITS / 2]);

impl Chain {
    /// The value before the first entry.
    pub fn genesis() -> Self {
        Self(Sha256::digest(b"latent ledger").into())
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value after one more entry. `text` is the entry as it was written, byte by byte: it holds seq, time,
    /// actor and body.
    #[must_use]
    pub fn after(self, seq: u64, version: u32, text: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(seq.to_be_bytes());
        hash.update(version.to_be_bytes());
        hash.update(text.as_bytes());
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&digest_hex(&self.0))
    }
}

/// Why a text is no value of a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a chain is {DIGITS} lower-case hexadecimal digits")]
pub struct NoChain;

impl FromStr for Chain {
    type Err = NoChain;

    fn from_str(text: &str) -> Result<Self, NoChain> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(NoChain),
        };
        if text.len() != DIGITS {
            return Err(NoChain);
        }
        let mut value = [0; DIGITS / 2];
        for (to, pair) in value.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = [digit(pair[0])?, digit(pair[1])?];
            *to = high << 4 | low;
        }
        Ok(Self(value))
    }
}

/// The chain's value at its last entry: what to note down, to be able to tell later that nothing is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last entry; 0 if there is none.
    pub seq: u64,
    /// When that was written.
    pub at: Option<DateTime<Utc>>,
    /// The chain's value there.
    pub chain: Chain,
}

impl Head {
    /// Of a ledger without an entry.
    pub fn genesis() -> Self {
        Self { seq: 0, at: None, chain: Chain::genesis() }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.chain, self.seq)
    }
}

/// A head that somebody noted down, as `HEX@SEQ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// The entry.
    pub seq: u64,
    /// The chain's value there.
    pub chain: Chain,
}

impl FromStr for Noted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write HEX@SEQ, as latent ledger verify prints it";
        let (chain, seq) = text.split_once('@').ok_or_else(|| form.to_owned())?;
        let chain = chain.parse().map_err(|why: NoChain| format!("{why}; {form}"))?;
        let seq = seq.parse().map_err(|_| format!("{seq:?} is no number of an entry; {form}"))?;
        Ok(Self { seq, chain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_comes_back_from_its_text() {
        let chain = Chain::genesis().after(1, 4, "{}");
        assert_eq!(chain.to_string().parse(), Ok(chain));
        for wrong in ["", "00", &"g".repeat(64), &"A".repeat(64), &"é".repeat(32)] {
            assert_eq!(wrong.parse::<Chain>(), Err(NoChain), "{wrong}");
        }
    }

    #[test]
    fn every_part_of_an_entry_counts() {
        let chain = Chain::genesis().after(1, 4, "{}");
        let others = [
            Chain::genesis().after(2, 4, "{}"),
            Chain::genesis().after(1, 3, "{}"),
            Chain::genesis().after(1, 4, "{} "),
            chain.after(1, 4, "{}"),
        ];
        assert!(others.iter().all(|other| *other != chain));
    }

    #[test]
    fn a_noted_head_is_read_or_told_how_it_is_written() {
        let head = Head { seq: 7, at: None, chain: Chain::genesis() };
        assert_eq!(head.to_string().parse(), Ok(Noted { seq: 7, chain: head.chain }));
        for wrong in ["7", "00@7", &format!("{}@-1", head.chain), &format!("{}@", head.chain)] {
            assert!(wrong.parse::<Noted>().expect_err("wrong").contains("HEX@SEQ"), "{wrong}");
        }
    }
}
