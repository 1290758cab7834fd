//! The compressed form of a sealed segment: what stands in the file, and reading a part of it.
//!
//! The layout is in the documentation of [the log](super). Everything outside this module speaks of offsets in the plain
//! form, which stay the same.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use zstd::zstd_safe::CParameter;

use super::record::{Fault, Fields};
use super::segment::{self, HeaderFault, SegmentHeader};
use crate::memory::allocated_bytes;

/// Plain size of a block, in bytes, unless it holds a single larger record: what a cursor decompresses to be placed, and
/// what one read of a consumer that catches up asks for.
pub(super) const BLOCK_BYTES: usize = 256 << 10;

/// Level 3 takes 1.7 times as long for files that are 3 % smaller: the signatures and hashes in which events abound cannot
/// be compressed by any level.
const LEVEL: i32 = 1;

/// Starts a frame that every zstd decoder skips (RFC 8878, section 3.1.2).
const SKIPPABLE: u32 = 0x184D_2A5A;

const MAGIC: &[u8; 8] = b"atpr-zst";
const VERSION: u32 = 1;

/// Size of the skippable frame's own header.
const FRAME_HEADER_BYTES: usize = 8;
/// Size of one place of the index.
const PLACE_BYTES: u64 = 24;
/// Size of the trailer.
pub(super) const TRAILER_BYTES: usize = segment::HEADER_BYTES + 48;

/// What a compressed segment ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub header: SegmentHeader,
    pub last_seq: u64,
    pub last_ms: i64,
    /// Size of the plain form.
    pub plain_bytes: u64,
    index_crc: u32,
    blocks: u32,
}

impl Trailer {
    fn encode(&self) -> Vec<u8> {
        let mut out = self.header.encode();
        out.extend_from_slice(&self.last_seq.to_le_bytes());
        out.extend_from_slice(&self.last_ms.to_le_bytes());
        out.extend_from_slice(&self.plain_bytes.to_le_bytes());
        out.extend_from_slice(&self.index_crc.to_le_bytes());
        out.extend_from_slice(&self.blocks.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(MAGIC);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; TRAILER_BYTES]) -> Result<Trailer, HeaderFault> {
        let mut fields = Fields(bytes);
        let header: [u8; segment::HEADER_BYTES] = fields.take();
        let (last_seq, last_ms) = (u64::from_le_bytes(fields.take()), i64::from_le_bytes(fields.take()));
        let plain_bytes = u64::from_le_bytes(fields.take());
        let (index_crc, blocks) = (u32::from_le_bytes(fields.take()), u32::from_le_bytes(fields.take()));
        let version = u32::from_le_bytes(fields.take());
        let magic: [u8; 8] = fields.take();
        let crc = u32::from_le_bytes(fields.take());
        if magic == *MAGIC && version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        if magic != *MAGIC || crc32c::crc32c(&bytes[..TRAILER_BYTES - 4]) != crc {
            return Err(HeaderFault::Damaged);
        }
        let header = SegmentHeader::decode(&header)?;
        Ok(Trailer { header, last_seq, last_ms, plain_bytes, index_crc, blocks })
    }

    /// Reads the end of `file`.
    pub fn read(file: &File) -> io::Result<Result<Trailer, HeaderFault>> {
        let mut bytes = [0; TRAILER_BYTES];
        let Some(start) = file.metadata()?.len().checked_sub(TRAILER_BYTES as u64) else {
            return Ok(Err(HeaderFault::Damaged));
        };
        file.read_exact_at(&mut bytes, start)?;
        Ok(Trailer::decode(&bytes))
    }
}

/// Where a block starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Its first seq.
    seq: u64,
    /// Offset in the plain form.
    plain: u64,
    /// Offset in the file.
    at: u64,
}

/// A compressed segment that is open for reading. Its index takes 24 KiB of memory for 256 MiB of plain form.
pub(super) struct Packed {
    file: File,
    /// The blocks, and behind them where the last one ends.
    index: Vec<Place>,
}

impl Packed {
    /// Reads the index of `file`; `None` if it has no good one.
    pub fn open(file: File) -> io::Result<Option<Packed>> {
        let Ok(trailer) = Trailer::read(&file)? else { return Ok(None) };
        let index_bytes = FRAME_HEADER_BYTES as u64 + u64::from(trailer.blocks) * PLACE_BYTES;
        let behind_blocks = index_bytes + TRAILER_BYTES as u64;
        let Some(end) = file.metadata()?.len().checked_sub(behind_blocks) else { return Ok(None) };
        let mut bytes = vec![0; index_bytes as usize];
        file.read_exact_at(&mut bytes, end)?;
        if crc32c::crc32c(&bytes) != trailer.index_crc {
            return Ok(None);
        }
        let place = |bytes: &[u8]| {
            let mut fields = Fields(bytes);
            let mut field = || u64::from_le_bytes(fields.take());
            Place { seq: field(), plain: field(), at: field() }
        };
        let places = bytes[FRAME_HEADER_BYTES..].chunks_exact(PLACE_BYTES as usize);
        let mut index: Vec<Place> = places.map(place).collect();
        index.push(Place { seq: trailer.last_seq + 1, plain: trailer.plain_bytes, at: end });
        Ok(Some(Packed { file, index }))
    }

    /// Seq and plain offset of the first record in the block that holds `seq`.
    pub fn place(&self, seq: u64) -> Option<(u64, u64)> {
        let after = self.index.partition_point(|place| place.seq <= seq);
        let block = self.index.get(after.checked_sub(1)?)?;
        Some((block.seq, block.plain.max(segment::HEADER_BYTES as u64)))
    }

    /// The block in which the plain offset lies.
    pub fn block(&self, offset: u64) -> Option<Block> {
        let after = self.index.partition_point(|place| place.plain <= offset);
        let (begin, end) = (*self.index.get(after.checked_sub(1)?)?, *self.index.get(after)?);
        Some(Block { begin, end })
    }

    /// Decompresses `block`, and gives its bytes from the plain offset on, which lies in it.
    pub fn read(&self, block: &Block, offset: u64) -> io::Result<Result<Bytes, Fault>> {
        let Block { begin, end } = block;
        let mut packed = vec![0; end.at.saturating_sub(begin.at) as usize];
        self.file.read_exact_at(&mut packed, begin.at)?;
        let plain_bytes = end.plain.saturating_sub(begin.plain) as usize;
        match zstd::bulk::decompress(&packed, plain_bytes) {
            Ok(plain) if plain.len() == plain_bytes => {
                Ok(Ok(Bytes::from(plain).slice((offset - begin.plain) as usize..)))
            }
            Ok(_) | Err(_) => Ok(Err(Fault::Block)),
        }
    }

    /// Its file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// A block of a compressed segment.
pub(super) struct Block {
    begin: Place,
    end: Place,
}

impl Block {
    /// Where it is in the file.
    pub fn place(&self) -> Range<u64> {
        self.begin.at..self.end.at.max(self.begin.at)
    }
}

/// Writes a compressed segment, block by block.
pub(super) struct Packer {
    file: File,
    header: SegmentHeader,
    compressor: zstd::bulk::Compressor<'static>,
    index: Vec<Place>,
    plain_bytes: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl Packer {
    /// Writes into the empty `file`.
    pub fn new(file: File, header: SegmentHeader) -> io::Result<Packer> {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        // The records have checksums of their own; this one covers the segment's header, and speaks to `zstd -t`.
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Packer { file, header, compressor, index: Vec::new(), plain_bytes: 0, bytes: 0, buffer: Vec::new() })
    }

    /// Adds whole records, of which the first has `seq`. Gives the size of the block in the file.
    pub fn add(&mut self, seq: u64, records: &[u8]) -> io::Result<u64> {
        let with_header;
        let plain = if self.index.is_empty() {
            with_header = [self.header.encode().as_slice(), records].concat();
            &with_header
        } else {
            records
        };
        self.index.push(Place { seq, plain: self.plain_bytes, at: self.bytes });
        self.buffer.clear();
        self.buffer.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        let bytes = self.compressor.compress_to_buffer(plain, &mut self.buffer)? as u64;
        self.file.write_all(&self.buffer)?;
        self.plain_bytes += plain.len() as u64;
        self.bytes += bytes;
        Ok(bytes)
    }

    /// Bytes of memory: the library's, the last block, the index.
    pub fn memory_bytes(&mut self) -> usize {
        let index = allocated_bytes(self.index.capacity() * size_of::<Place>());
        self.compressor.context_mut().sizeof() + allocated_bytes(self.buffer.capacity()) + index
    }

    /// Writes the index and the trailer, and syncs. Gives the size of the file.
    pub fn finish(mut self, last_seq: u64, last_ms: i64) -> io::Result<u64> {
        let size = (self.index.len() * PLACE_BYTES as usize + TRAILER_BYTES) as u32;
        let mut index = [SKIPPABLE.to_le_bytes(), size.to_le_bytes()].concat();
        let fields = self.index.iter().flat_map(|place| [place.seq, place.plain, place.at]);
        index.extend(fields.flat_map(u64::to_le_bytes));
        let trailer = Trailer {
            header: self.header,
            last_seq,
            last_ms,
            plain_bytes: self.plain_bytes,
            index_crc: crc32c::crc32c(&index),
            blocks: self.index.len() as u32,
        };
        let bytes = self.bytes + (index.len() + TRAILER_BYTES) as u64;
        self.file.write_all(&[index, trailer.encode()].concat())?;
        self.file.sync_all()?;
        Ok(bytes)
    }
}
