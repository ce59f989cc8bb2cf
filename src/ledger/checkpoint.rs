//! What the entries up to one of them fold to, kept beside them so that not all of them have to be read again.
//!
//! A checkpoint is never needed and never believed blindly: it has a digest of its own, the version of the fold that
//! made it, and the chain's value at its entry. One that does not fit is passed over.

use chrono::{DateTime, Utc};
use flate2::Compression;
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::block::{pack, unpack};
use super::chain::Chain;
use super::store;
use crate::model::digest_hex;

/// What a ledger folded to at one of its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last entry that is in it.
    pub seq: u64,
    /// When that was written.
    pub at: DateTime<Utc>,
    /// The checkpoint before it; 0 if there is none.
    pub previous: u64,
    /// The version of the fold that made it.
    pub version: u32,
    /// What may still change; empty where only the past is wanted.
    pub state: Packed,
    /// What came to its end since the checkpoint before, and does not change any more.
    pub past: Packed,
}

/// Bytes in their packed form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed(Vec<u8>);

impl Packed {
    /// Packs bytes, quickly rather than well.
    ///
    /// # Errors
    /// In words; there is no memory.
    pub fn of(bytes: &[u8]) -> Result<Self, String> {
        pack(bytes, Compression::fast()).map(Self).map_err(|error| error.to_string())
    }

    /// The bytes.
    ///
    /// # Errors
    /// In words: they are not what was packed.
    pub fn unpack(&self) -> Result<Vec<u8>, String> {
        unpack(&self.0)
    }
}

impl Checkpoint {
    /// The digest of one part with everything else that is told of it.
    fn digest(&self, chain: &str, part: &Packed) -> String {
        let mut hash = Sha256::new();
        for number in [self.seq, self.previous, u64::from(self.version)] {
            hash.update(number.to_be_bytes());
        }
        for text in [self.at.to_rfc3339().as_bytes(), chain.as_bytes(), &part.0] {
            hash.update(text);
        }
        digest_hex(&hash.finalize())
    }
}

/// Writes it, and takes away what it replaces: those of other versions of the fold, and those that claim to be later.
pub(super) fn keep(connection: &mut Connection, checkpoint: &Checkpoint, chain: Chain) -> Result<(), rusqlite::Error> {
    let (chain, at) = (chain.to_string(), checkpoint.at.to_rfc3339());
    let (digest, past_digest) =
        (checkpoint.digest(&chain, &checkpoint.state), checkpoint.digest(&chain, &checkpoint.past));
    let number = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
    let transaction = connection.transaction()?;
    transaction.execute(
        "DELETE FROM checkpoint WHERE version <> ?1 OR seq >= ?2",
        params![checkpoint.version, number(checkpoint.seq)],
    )?;
    transaction.execute(
        "INSERT INTO checkpoint (seq, at, previous, version, chain, digest, past_digest, state, past)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            number(checkpoint.seq),
            at,
            number(checkpoint.previous),
            checkpoint.version,
            chain,
            digest,
            past_digest,
            checkpoint.state.0,
            checkpoint.past.0
        ],
    )?;
    transaction.commit()
}

/// The last checkpoint of this version at an entry up to `upto` that is whole and fits the chain.
pub(super) fn last(connection: &Connection, version: u32, upto: u64) -> Option<Checkpoint> {
    let mut upto = i64::try_from(upto).unwrap_or(i64::MAX);
    loop {
        let query = "SELECT max(seq) FROM checkpoint WHERE seq <= ?1 AND version = ?2";
        let found = connection.query_row(query, params![upto, version], |row| row.get::<_, Option<i64>>(0));
        let seq = match found {
            Ok(seq) => u64::try_from(seq?).ok()?,
            Err(error) => {
                tracing::warn!(%error, "the ledger's checkpoints cannot be read, and are passed over");
                return None;
            }
        };
        match read(connection, version, seq, Part::Whole) {
            Ok(Some((checkpoint, chain))) if fits(connection, seq, &chain) => return Some(checkpoint),
            Ok(_) => tracing::warn!(seq, "a checkpoint of the ledger does not fit its entries, and is passed over"),
            Err(why) => tracing::warn!(seq, why, "a checkpoint of the ledger is damaged, and is passed over"),
        }
        upto = i64::try_from(seq).unwrap_or(i64::MAX) - 1;
    }
}

/// The past of the checkpoint of this version at an entry, if it is whole.
pub(super) fn past_at(connection: &Connection, version: u32, seq: u64) -> Option<Checkpoint> {
    match read(connection, version, seq, Part::Past) {
        Ok(found) => found.map(|(checkpoint, _)| checkpoint),
        Err(why) => {
            tracing::warn!(seq, why, "a checkpoint of the ledger is damaged, and is passed over");
            None
        }
    }
}

fn fits(connection: &Connection, seq: u64, chain: &str) -> bool {
    store::chain_at(connection, seq).is_ok_and(|found| found.is_some_and(|found| found.to_string() == chain))
}

/// How much of a checkpoint is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Past,
}

/// Each with the chain's value that it was made for.
fn read(connection: &Connection, version: u32, seq: u64, part: Part) -> Result<Option<(Checkpoint, String)>, String> {
    let state = if part == Part::Whole { "state" } else { "x''" };
    let query = format!(
        "SELECT at, previous, chain, digest, past_digest, {state}, past FROM checkpoint WHERE seq = ?1 AND version = ?2"
    );
    let read = connection.query_row(&query, params![i64::try_from(seq).unwrap_or(i64::MAX), version], |row| {
        let texts: (String, i64, String, [String; 2]) =
            (row.get(0)?, row.get(1)?, row.get(2)?, [row.get(3)?, row.get(4)?]);
        Ok((texts, Packed(row.get(5)?), Packed(row.get(6)?)))
    });
    let read = read.optional().map_err(|error| error.to_string())?;
    let Some(((at, previous, chain, digests), state, past)) = read else { return Ok(None) };
    let checkpoint = Checkpoint {
        seq,
        at: at.parse().map_err(|_| "its time is none".to_owned())?,
        previous: u64::try_from(previous).map_err(|_| "the one before it is none".to_owned())?,
        version,
        state,
        past,
    };
    let is_right = part == Part::Past || checkpoint.digest(&chain, &checkpoint.state) == digests[0];
    if !is_right || checkpoint.digest(&chain, &checkpoint.past) != digests[1] || checkpoint.previous >= seq {
        return Err("its digest is not that of what is written here".to_owned());
    }
    Ok(Some((checkpoint, chain)))
}
