//! A segment: its file, its header, and what is known of it in memory.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Error;
use super::record::{Fault, Fields};

const MAGIC: &[u8; 8] = b"atpr-log";
const VERSION: u32 = 1;

/// Size of a segment's header; its first record starts here.
pub(super) const HEADER_BYTES: usize = 52;

/// What a segment's file begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub salt: u32,
    pub first_seq: u64,
    pub first_ms: i64,
    pub previous: Previous,
}

/// The segment before another one; zeros if there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Previous {
    pub first_seq: u64,
    pub last_seq: u64,
}

impl SegmentHeader {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&self.first_seq.to_le_bytes());
        out.extend_from_slice(&self.first_ms.to_le_bytes());
        out.extend_from_slice(&self.previous.first_seq.to_le_bytes());
        out.extend_from_slice(&self.previous.last_seq.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<SegmentHeader, HeaderFault> {
        let mut fields = Fields(bytes);
        let magic: [u8; 8] = fields.take();
        let version = u32::from_le_bytes(fields.take());
        let salt = u32::from_le_bytes(fields.take());
        let first_seq = u64::from_le_bytes(fields.take());
        let first_ms = i64::from_le_bytes(fields.take());
        let previous =
            Previous { first_seq: u64::from_le_bytes(fields.take()), last_seq: u64::from_le_bytes(fields.take()) };
        let crc = u32::from_le_bytes(fields.take());
        if magic == *MAGIC && version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        if magic != *MAGIC || crc32c::crc32c(&bytes[..HEADER_BYTES - 4]) != crc {
            return Err(if bytes.iter().all(|byte| *byte == 0) { HeaderFault::Torn } else { HeaderFault::Damaged });
        }
        Ok(SegmentHeader { salt, first_seq, first_ms, previous })
    }
}

/// Why a segment has no header.
pub(super) enum HeaderFault {
    /// The file is too short or all zeros, as a crash at its creation leaves it.
    Torn,
    /// Other bytes.
    Damaged,
    /// Another format version.
    Version(u32),
}

/// A segment that readers may see. It outlives its file: a cursor that has it open reads it to the end even when
/// retention has removed it.
#[derive(Debug)]
pub(super) struct Segment {
    pub path: PathBuf,
    pub header: SegmentHeader,
    /// Committed bytes, header included: always the end of a record.
    end: AtomicU64,
    last_seq: OnceLock<u64>,
}

impl Segment {
    pub fn new(path: PathBuf, header: SegmentHeader, end: u64) -> Segment {
        Segment { path, header, end: AtomicU64::new(end), last_seq: OnceLock::new() }
    }

    pub fn first_seq(&self) -> u64 {
        self.header.first_seq
    }

    /// Committed bytes. Read [`Segment::sealed`] before this one: only then is the end of a sealed segment its last.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Makes bytes visible to readers.
    pub fn publish(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// The last seq of a segment that grows no more.
    pub fn sealed(&self) -> Option<u64> {
        self.last_seq.get().copied()
    }

    /// Says that the segment ends with `last_seq`; the first one to say so is right.
    pub fn seal(&self, last_seq: u64) {
        self.last_seq.get_or_init(|| last_seq);
    }

    /// The error for bad bytes at `offset`.
    pub fn damaged(&self, offset: u64, fault: Fault) -> Error {
        Error::Damaged { file: self.path.clone(), offset, fault }
    }
}

/// The file of the segment that starts with `first_seq`. Sixteen digits hold every seq, so names sort like seqs.
pub(super) fn path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:016}.log"))
}

/// First seqs of the segments in `dir`, in order. Files of other names are left alone.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, Error> {
    let mut seqs = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let name = entry.map_err(Error::io("list", dir))?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(".log")).filter(|digits| digits.len() == 16);
        seqs.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    seqs.sort_unstable();
    Ok(seqs)
}

/// Reads the header of the file at `path`.
pub(super) fn read_header(file: &File, path: &Path) -> Result<Result<SegmentHeader, HeaderFault>, Error> {
    let mut bytes = [0; HEADER_BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(SegmentHeader::decode(&bytes)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Err(HeaderFault::Torn)),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}
