//! What a ledger's file holds, read: rows of recent entries, and blocks of those before them.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::block::{MARK, entries};
use super::chain::{Chain, NoChain};
use super::verify::Row;

/// The first format whose entries are chained.
pub(super) const CHAINED: u32 = 2;
/// The first format with blocks and checkpoints.
pub(super) const SEALED: u32 = 3;

/// A block as it is written.
#[derive(Debug)]
struct Block {
    first: u64,
    last: u64,
    latest: String,
    chain: String,
    marks: Vec<u8>,
    packed: Vec<u8>,
}

/// A number of SQLite as one of ours; what is negative was never written.
fn place(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn number(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// The file's format.
pub(super) fn format(connection: &Connection) -> Result<u32, rusqlite::Error> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Whether older entries may stand in blocks: a controller may bring a file to that while it is read.
fn has_blocks(connection: &Connection) -> Result<bool, rusqlite::Error> {
    Ok(format(connection)? >= SEALED)
}

/// The rows after `seq` as they are written, in order: at most `limit`, and one at least if there is any. Together
/// they are what the file held at one moment.
pub(super) fn rows(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Row>, rusqlite::Error> {
    // Between two reads an entry may move from its row into a block.
    let moment = connection.unchecked_transaction()?;
    rows_within(&moment, after, limit)
}

/// The same within a transaction that is there.
pub(super) fn rows_within(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Row>, rusqlite::Error> {
    let (mut all, mut after) = (Vec::new(), after);
    if has_blocks(connection)? {
        while all.len() < limit {
            let Some(block) = block_after(connection, after)? else { break };
            let last = block.last;
            let found = unfold(connection, block)?;
            all.extend(found.into_iter().filter(|row| row.seq > after).take(limit - all.len()));
            if all.len() < limit {
                after = last;
            }
        }
    }
    if all.len() < limit {
        let chained = format(connection)? >= CHAINED;
        let chain = if chained { "chain" } else { "''" };
        let query =
            format!("SELECT seq, at, version, worker, body, {chain} FROM entry WHERE seq > ?1 ORDER BY seq LIMIT ?2");
        let mut statement = connection.prepare_cached(&query)?;
        let left = i64::try_from(limit - all.len()).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![number(after), left], |row| {
            Ok(Row {
                seq: place(row.get(0)?),
                at: Some(row.get(1)?),
                version: u32::try_from(row.get::<_, i64>(2)?).unwrap_or(u32::MAX),
                worker: Some(row.get(3)?),
                text: row.get(4)?,
                chain: row.get(5)?,
            })
        })?;
        for row in rows {
            all.push(row?);
        }
    }
    Ok(all)
}

/// The block that holds the first entry after a place.
fn block_after(connection: &Connection, after: u64) -> Result<Option<Block>, rusqlite::Error> {
    let query = "SELECT first, last, latest, chain, marks, texts FROM block WHERE last > ?1 ORDER BY last LIMIT 1";
    let mut statement = connection.prepare_cached(query)?;
    let block = statement.query_row([number(after)], |row| {
        Ok(Block {
            first: place(row.get(0)?),
            last: place(row.get(1)?),
            latest: row.get(2)?,
            chain: row.get(3)?,
            marks: row.get(4)?,
            packed: row.get(5)?,
        })
    });
    block.optional()
}

/// The entries of a block as rows. The chain of each is computed, and told where it agrees with what is written:
/// with the mark of each entry, and with the whole value at the block's end.
fn unfold(connection: &Connection, block: Block) -> Result<Vec<Row>, rusqlite::Error> {
    let Block { first, last, latest, chain: end, marks, packed } = block;
    // What cannot be unpacked is a row whose text is no entry: whoever reads it says which one it is.
    let texts = entries(&packed).unwrap_or_else(|why| vec![(0, format!("a block that was changed: {why}"))]);
    let known = before(connection, first)?;
    let mut chain = known.unwrap_or_else(Chain::genesis);
    let mut all = Vec::with_capacity(texts.len());
    let mut seen: Option<chrono::DateTime<chrono::Utc>> = None;
    for ((seq, (version, text)), place) in (first..).zip(texts).zip(0..) {
        chain = chain.after(seq, version, &text);
        let mark = marks.get(place * MARK..(place + 1) * MARK).unwrap_or_default();
        let is_marked = known.is_some() && mark == &chain.bytes()[..MARK];
        let written = match () {
            () if seq == last => end.clone(),
            () if is_marked => chain.to_string(),
            () => crate::model::digest_hex(mark),
        };
        let at: Option<Time> = serde_json::from_str(&text).ok();
        seen = seen.max(at.map(|entry| entry.at));
        all.push(Row { seq, at: None, version, worker: None, text, chain: written });
    }
    // The block's own columns are told by its last row.
    let (marked, count) = (marks.len() == all.len() * MARK, u64::try_from(all.len()).unwrap_or(u64::MAX));
    if let Some(row) = all.last_mut() {
        let end_is_marked = marked && marks.ends_with(&chain.bytes()[..MARK]);
        let is_right = first + count == last + 1 && seen.map(|at| at.to_rfc3339()).as_ref() == Some(&latest);
        let is_right = is_right && end_is_marked;
        if !is_right {
            row.chain = format!("{} (its block's columns were changed)", row.chain);
        }
    }
    Ok(all)
}

/// Of an entry, when it was written.
#[derive(serde::Deserialize)]
struct Time {
    at: chrono::DateTime<chrono::Utc>,
}

/// The chain's value before the first entry of a block.
fn before(connection: &Connection, first: u64) -> Result<Option<Chain>, rusqlite::Error> {
    if first <= 1 {
        return Ok(Some(Chain::genesis()));
    }
    let mut statement = connection.prepare_cached("SELECT chain FROM block WHERE last = ?1")?;
    let text: Option<String> = statement.query_row([number(first - 1)], |row| row.get(0)).optional()?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// The chain's value after an entry, as it stands there; the one before the first for 0.
pub(super) fn chain_at(connection: &Connection, seq: u64) -> Result<Option<Chain>, rusqlite::Error> {
    if seq == 0 {
        return Ok(Some(Chain::genesis()));
    }
    if has_blocks(connection)?
        && let Some(chain) = before(connection, seq + 1)?
    {
        return Ok(Some(chain));
    }
    let row = rows(connection, seq - 1, 1)?.pop().filter(|row| row.seq == seq);
    Ok(row.and_then(|row| row.chain.parse().ok()))
}

/// The last entry: its place, its time and the chain there, as they are written.
pub(super) fn last(connection: &Connection) -> Result<Option<(u64, String, String)>, rusqlite::Error> {
    let of_row = |row: &rusqlite::Row<'_>| Ok((place(row.get(0)?), row.get::<_, String>(1)?, row.get::<_, String>(2)?));
    let row = connection.query_row("SELECT seq, at, chain FROM entry ORDER BY seq DESC LIMIT 1", [], of_row);
    if let Some(row) = row.optional()? {
        return Ok(Some(row));
    }
    if !has_blocks(connection)? {
        return Ok(None);
    }
    let block = connection.query_row("SELECT last, latest, chain FROM block ORDER BY last DESC LIMIT 1", [], of_row);
    block.optional()
}

/// How many rows and blocks stand where nothing was ever written: before the first entry, or where another block
/// or row has the same place.
pub(super) fn strays(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let count = |query: &str| connection.query_row(query, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
    let mut sum = count("SELECT count(*) FROM entry WHERE seq < 1")?;
    if has_blocks(connection)? {
        sum += count("SELECT count(*) FROM block WHERE first < 1 OR last < first")?;
        sum += count("SELECT count(*) FROM entry WHERE seq <= (SELECT max(last) FROM block)")?;
    }
    Ok(sum)
}

/// The place before the first entry that was written at a time or later; the last place if there is none.
pub(super) fn before_time(connection: &Connection, since: &str) -> Result<u64, rusqlite::Error> {
    if has_blocks(connection)? {
        let query = "SELECT min(first) FROM block WHERE latest >= ?1";
        if let Some(first) = connection.query_row(query, [since], |row| row.get::<_, Option<i64>>(0))? {
            let block = block_after(connection, place(first).saturating_sub(1))?;
            for (seq, (_, text)) in block.iter().flat_map(|block| {
                let texts = entries(&block.packed).unwrap_or_default();
                (block.first..).zip(texts)
            }) {
                let entry: Option<Time> = serde_json::from_str(&text).ok();
                if entry.is_some_and(|entry| entry.at.to_rfc3339().as_str() >= since) {
                    return Ok(seq.saturating_sub(1));
                }
            }
        }
    }
    let sealed = if has_blocks(connection)? { "(SELECT max(last) FROM block)" } else { "0" };
    let query = format!(
        "SELECT coalesce((SELECT min(seq) - 1 FROM entry WHERE at >= ?1), (SELECT max(seq) FROM entry), {sealed}, 0)"
    );
    connection.query_row(&query, [since], |row| row.get::<_, i64>(0)).map(place)
}

/// A text that is no value of a chain, as an error of SQLite.
pub(super) fn unreadable(why: NoChain) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, why.into())
}
