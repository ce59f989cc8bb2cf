//! Older entries go from their rows into blocks, one block at a time, after a write.
//!
//! A block and the end of its rows are one transaction: killed before it, the rows are there; after it, the block is.
//! Nothing goes into a block that a verification would refuse: what was changed stays where it can be seen.

use rusqlite::{Connection, params};

use super::block::Packer;
use super::chain::Chain;
use super::store;
use super::verify::{Row, Verifier};

/// Entries of a block: packed together they take a tenth of their room, and to read one of them costs a few
/// milliseconds.
const BLOCK: usize = 1_000;
/// The last entries that stay rows: two days of a thousand workers, which is what is read one by one.
const ROWS: u64 = 50_000;

/// When and how rows become blocks.
#[derive(Debug)]
pub(super) struct Sealing {
    rows: u64,
    block: usize,
    /// The first entry that is a row; unknown before the first look.
    first: Option<u64>,
    /// Not before this entry is written: what went wrong would go wrong again.
    not_before: u64,
}

impl Default for Sealing {
    fn default() -> Self {
        Self::of(ROWS, BLOCK)
    }
}

impl Sealing {
    pub(super) fn of(rows: u64, block: usize) -> Self {
        Self { rows, block: block.max(1), first: None, not_before: 0 }
    }

    /// Whether there are rows enough for another block.
    pub(super) fn is_due(&self, last: u64) -> bool {
        let block = u64::try_from(self.block).unwrap_or(u64::MAX);
        let first = self.first.unwrap_or(1);
        last >= self.not_before && last + 1 >= first.saturating_add(self.rows).saturating_add(block)
    }

    /// Makes one block of the oldest rows.
    pub(super) fn seal(&mut self, connection: &mut Connection, last: u64) -> Result<(), rusqlite::Error> {
        let sealed = self.one(connection, last);
        if !matches!(sealed, Ok(true)) {
            self.not_before = last.saturating_add(u64::try_from(self.block).unwrap_or(u64::MAX));
        }
        sealed.map(drop)
    }

    /// Whether a block was made, or there was nothing to make one of.
    fn one(&mut self, connection: &mut Connection, last: u64) -> Result<bool, rusqlite::Error> {
        let transaction = connection.transaction()?;
        let before: (i64, Option<String>) =
            transaction.query_row("SELECT coalesce(max(last), 0), chain FROM block", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let after = u64::try_from(before.0).unwrap_or_default();
        self.first = Some(after + 1);
        if !self.is_due(last) {
            return Ok(true);
        }
        let chain = match before.1 {
            Some(text) => text.parse().map_err(store::unreadable)?,
            None => Chain::genesis(),
        };
        let rows = store::rows_within(&transaction, after, self.block)?;
        let Some((block, seen)) = packed(&rows, after, chain, self.block) else { return Ok(false) };
        let (marks, texts, end) = (block.1, block.0, seen);
        let query = "INSERT INTO block (last, first, latest, chain, marks, texts) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let number = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
        let (from, to) = (number(after + 1), number(end.seq));
        transaction.execute(query, params![to, from, end.latest, end.chain.to_string(), marks, texts])?;
        let gone = transaction.execute("DELETE FROM entry WHERE seq BETWEEN ?1 AND ?2", params![from, to])?;
        if i64::try_from(gone) != Ok(to - from + 1) {
            return Err(rusqlite::Error::StatementChangedRows(gone));
        }
        transaction.commit()?;
        self.first = Some(end.seq + 1);
        Ok(true)
    }
}

/// Where a block ends.
struct End {
    seq: u64,
    chain: Chain,
    /// The latest time in it.
    latest: String,
}

/// The texts and the marks of a block, packed.
type Block = (Vec<u8>, Vec<u8>);

/// The block of these rows; `None`, and a warning, if they are not what was written.
fn packed(rows: &[Row], after: u64, chain: Chain, entries: usize) -> Option<(Block, End)> {
    let (mut verifier, mut packer) = (Verifier::part(after, chain, None), Packer::new());
    let mut latest = None;
    for row in rows {
        if let Err(fault) = verifier.take(row) {
            tracing::error!(%fault, "the ledger is not whole; latent ledger verify says where");
            return None;
        }
        let head = verifier.head();
        latest = latest.max(head.at);
        packer.push(row.version, &row.text, head.chain);
        if packer.is_full(entries) {
            break;
        }
    }
    let head = verifier.head();
    let end = End { seq: head.seq, chain: head.chain, latest: latest?.to_rfc3339() };
    match packer.finish() {
        Ok(block) => Some((block, end)),
        Err(error) => {
            tracing::error!(%error, "older entries of the ledger cannot be packed");
            None
        }
    }
}
