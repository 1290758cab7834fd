//! CAR files, version 1: the blocks of an event, each checked against its CID.

use super::cbor::{CborError, Reader, Writer};
use super::cid::Cid;
use super::mst::Blocks;

/// Longest block, in bytes: that of the largest record (protocol 21).
pub const BLOCK_BYTES_MAX: usize = 1_000_000;

/// Version 1, codec raw, hash sha2-256, 32 bytes of digest: what blobs have in place of a blessed CID.
const RAW_PREFIX: [u8; 4] = [0x01, 0x55, 0x12, 0x20];
/// Blocks of a common event; more make the index grow.
const BLOCKS_TYPICAL: usize = 16;

/// A parsed CAR, borrowing its blocks.
///
/// Blocks may come in any order, more often than once and without need (protocol 21).
#[derive(Debug, Clone)]
pub struct Car<'a> {
    root: Cid,
    /// Sorted by CID.
    blocks: Vec<(Cid, &'a [u8])>,
}

/// Bytes that are not a CAR, or whose blocks are not what their CIDs say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CarError {
    /// The file ends within the header or a section, or a length is malformed.
    #[error("CAR at byte {at}: truncated, or a malformed length")]
    Framing {
        /// Offset of the header or section.
        at: usize,
    },
    /// The header is not the CBOR that it must be.
    #[error("CAR header: {0}")]
    Header(#[from] CborError),
    /// Another version than 1, or none.
    #[error("CAR version is not 1")]
    Version,
    /// No root.
    #[error("CAR has no root")]
    NoRoot,
    /// A section whose CID nobody here can check.
    #[error("CAR at byte {at}: block's CID is not a CIDv1 of DAG-CBOR or raw bytes with SHA-256")]
    Cid {
        /// Offset of the section.
        at: usize,
    },
    /// A block over [`BLOCK_BYTES_MAX`].
    #[error("CAR at byte {at}: block of more than {BLOCK_BYTES_MAX} bytes")]
    BlockTooLarge {
        /// Offset of the section.
        at: usize,
    },
    /// A block whose hash is not the one in its CID.
    #[error("CAR at byte {at}: block does not have the hash that its CID names")]
    Hash {
        /// Offset of the section.
        at: usize,
    },
}

impl<'a> Car<'a> {
    /// Parses a CAR and checks the hash of every block. What it allocates is a list of the blocks.
    pub fn parse(bytes: &'a [u8]) -> Result<Car<'a>, CarError> {
        let mut sections = Sections { bytes, position: 0 };
        let header = sections.next()?.ok_or(CarError::NoRoot)?;
        let root = read_header(header)?;
        let mut blocks = Vec::with_capacity(BLOCKS_TYPICAL);
        let mut at = sections.position;
        while let Some(section) = sections.next()? {
            let (cid, block) = section.split_at_checked(Cid::BYTES).ok_or(CarError::Cid { at })?;
            if block.len() > BLOCK_BYTES_MAX {
                return Err(CarError::BlockTooLarge { at });
            }
            let computed = Cid::of(block);
            if let Some(stated) = Cid::from_bytes(cid) {
                check_hash(stated == computed, at)?;
                blocks.push((stated, block));
            } else {
                let digest = cid.strip_prefix(&RAW_PREFIX).ok_or(CarError::Cid { at })?;
                check_hash(digest == computed.digest(), at)?;
            }
            at = sections.position;
        }
        blocks.sort_unstable_by_key(|(cid, _)| *cid);
        Ok(Car { root, blocks })
    }

    /// The first root.
    pub fn root(&self) -> &Cid {
        &self.root
    }

    /// All blocks, in the order of their CIDs.
    pub fn iter(&self) -> impl Iterator<Item = (&Cid, &'a [u8])> {
        self.blocks.iter().map(|(cid, block)| (cid, *block))
    }

    /// The block with this CID.
    pub fn get(&self, cid: &Cid) -> Option<&'a [u8]> {
        let place = self.blocks.binary_search_by_key(cid, |(cid, _)| *cid).ok()?;
        Some(self.blocks[place].1)
    }
}

/// Appends a CAR with these blocks, as [`Car::parse`] reads it, to `out`.
pub fn encode<'b>(root: &Cid, blocks: impl IntoIterator<Item = (&'b Cid, &'b [u8])>, out: &mut Vec<u8>) {
    let mut header = Vec::with_capacity(64);
    Writer::new(&mut header).map(2).text("roots").array(1).cid(root).text("version").uint(1);
    write_varint(header.len(), out);
    out.extend_from_slice(&header);
    for (cid, block) in blocks {
        write_varint(Cid::BYTES + block.len(), out);
        out.extend_from_slice(&cid.to_bytes());
        out.extend_from_slice(block);
    }
}

impl Blocks for Car<'_> {
    fn get(&self, cid: &Cid) -> Option<&[u8]> {
        Car::get(self, cid)
    }
}

fn check_hash(is_right: bool, at: usize) -> Result<(), CarError> {
    if is_right { Ok(()) } else { Err(CarError::Hash { at }) }
}

/// Reads the header, `{roots: [CID, …], version: 1}`; returns the first root.
fn read_header(header: &[u8]) -> Result<Cid, CarError> {
    let mut reader = Reader::new(header);
    let (mut root, mut version) = (None, None);
    reader.map(|reader, key| {
        match key {
            "roots" => {
                for _ in 0..reader.array()? {
                    let next = reader.cid()?;
                    root.get_or_insert(next);
                }
            }
            "version" => version = Some(reader.uint()?),
            _ => reader.skip()?,
        }
        Ok::<_, CborError>(())
    })?;
    reader.finish()?;
    if version != Some(1) {
        return Err(CarError::Version);
    }
    root.ok_or(CarError::NoRoot)
}

/// Splits a CAR into its header and sections, each behind its length.
struct Sections<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Sections<'a> {
    fn next(&mut self) -> Result<Option<&'a [u8]>, CarError> {
        let rest = &self.bytes[self.position..];
        if rest.is_empty() {
            return Ok(None);
        }
        let framing = CarError::Framing { at: self.position };
        let (length, length_bytes) = read_varint(rest).ok_or(framing)?;
        let section = rest.get(length_bytes..).and_then(|rest| rest.get(..length)).ok_or(framing)?;
        self.position += length_bytes + length;
        Ok(Some(section))
    }
}

/// Reads an unsigned LEB128 integer in its shortest form: value and length. Four bytes are enough for any length here.
fn read_varint(bytes: &[u8]) -> Option<(usize, usize)> {
    const VARINT_BYTES_MAX: usize = 4;
    let mut value = 0;
    for (place, byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let is_shortest = *byte != 0 || place == 0;
            return is_shortest.then_some((value, place + 1));
        }
    }
    None
}

fn write_varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests;
