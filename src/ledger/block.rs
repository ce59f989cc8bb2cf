//! A block: so many of a ledger's older entries in one compressed piece, each still byte by byte as it was written.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::chain::Chain;

/// Bytes of each value of the chain that a block keeps: enough to find the one entry that was changed. The last
/// value is kept whole, and proves them all.
pub(super) const MARK: usize = 8;
/// A block whose texts come to so many bytes takes no more entries.
pub(super) const BYTES_MAX: usize = 4 << 20;
/// The most that a block may come to when it is unpacked, in bytes: no text of SQLite is longer.
const UNPACKED_MAX: u64 = 1 << 30;
/// What stands before each text: the version of its format and its length, four bytes each.
const HEAD: usize = 8;

/// Entries on their way into a block.
#[derive(Debug)]
pub(super) struct Packer {
    texts: Vec<u8>,
    marks: Vec<u8>,
}

impl Packer {
    pub(super) fn new() -> Self {
        Self { texts: Vec::new(), marks: Vec::new() }
    }

    /// Adds the next entry, with the chain's value after it.
    pub(super) fn push(&mut self, version: u32, text: &str, chain: Chain) {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.texts.extend_from_slice(&version.to_be_bytes());
        self.texts.extend_from_slice(&length.to_be_bytes());
        self.texts.extend_from_slice(text.as_bytes());
        self.marks.extend_from_slice(&chain.bytes()[..MARK]);
    }

    pub(super) fn is_full(&self, entries: usize) -> bool {
        self.marks.len() >= entries * MARK || self.texts.len() >= BYTES_MAX
    }

    /// The texts packed, and the marks.
    pub(super) fn finish(self) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
        Ok((pack(&self.texts, Compression::default())?, self.marks))
    }
}

/// Packs bytes.
pub(super) fn pack(bytes: &[u8], level: Compression) -> std::io::Result<Vec<u8>> {
    let mut to = ZlibEncoder::new(Vec::with_capacity(bytes.len() / 6), level);
    to.write_all(bytes)?;
    to.finish()
}

/// Unpacks them.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    let read = ZlibDecoder::new(packed).take(UNPACKED_MAX).read_to_end(&mut all);
    match read {
        Ok(_) if all.len() as u64 >= UNPACKED_MAX => Err("more is packed in it than ever was written".to_owned()),
        Ok(_) => Ok(all),
        Err(why) => Err(format!("it cannot be unpacked: {why}")),
    }
}

/// The entries of a block: version and text of each.
pub(super) fn entries(packed: &[u8]) -> Result<Vec<(u32, String)>, String> {
    let all = unpack(packed)?;
    let (mut rest, mut entries) = (all.as_slice(), Vec::new());
    let cut = || "what is packed in it is cut off".to_owned();
    while !rest.is_empty() {
        let (head, after) = rest.split_at_checked(HEAD).ok_or_else(cut)?;
        let number = |at: usize| head[at..at + 4].iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        let length = usize::try_from(number(4)).unwrap_or(usize::MAX);
        let (text, after) = after.split_at_checked(length).ok_or_else(cut)?;
        let text = String::from_utf8(text.to_vec()).map_err(|_| "what is packed in it is no text".to_owned())?;
        entries.push((number(0), text));
        rest = after;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_byte_by_byte() {
        let mut packer = Packer::new();
        let texts = ["{\"seq\":1}", "", "{ \"seq\": 2, \"é\": \"\u{0}\" }"];
        let mut chain = Chain::genesis();
        for (seq, text) in (1..).zip(texts) {
            chain = chain.after(seq, 5, text);
            packer.push(5, text, chain);
        }
        assert!(packer.is_full(3) && !packer.is_full(4));
        let (packed, marks) = packer.finish().expect("packs");
        assert_eq!(marks.len(), 3 * MARK);
        let read = entries(&packed).expect("unpacks");
        assert_eq!(read, texts.map(|text| (5, text.to_owned())));
        for wrong in [&packed[..packed.len() - 3], &[], b"nonsense"] {
            assert!(entries(wrong).is_err(), "{wrong:?}");
        }
        let cut = pack(&[0, 0, 0, 5, 0, 0, 0, 9, b'x'], Compression::fast()).expect("packs");
        assert!(entries(&cut).expect_err("cut off").contains("cut off"));
    }
}
