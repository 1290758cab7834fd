//! A segment: its file, its header, and what is known of it in memory.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Error;
use super::packed::Trailer;
use super::record::{Fault, Fields};
use crate::memory::{allocated_bytes, arc_bytes};

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

    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<SegmentHeader, HeaderFault> {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    plain_path: PathBuf,
    pub header: SegmentHeader,
    /// Committed bytes, header included: always the end of a record.
    end: AtomicU64,
    last_seq: OnceLock<u64>,
    /// Size of the compressed file, from when that has taken the place of the plain one.
    packed_bytes: OnceLock<u64>,
    /// Somebody is about to replace or remove its file.
    claimed: AtomicBool,
}

impl Segment {
    pub fn new(plain_path: PathBuf, header: SegmentHeader, end: u64) -> Segment {
        Segment {
            plain_path,
            header,
            end: AtomicU64::new(end),
            last_seq: OnceLock::new(),
            packed_bytes: OnceLock::new(),
            claimed: AtomicBool::new(false),
        }
    }

    /// A segment that is on disk in its compressed form of `bytes` bytes.
    fn packed(plain_path: PathBuf, trailer: &Trailer, bytes: u64) -> Segment {
        let segment = Segment::new(plain_path, trailer.header, trailer.plain_bytes);
        segment.seal(trailer.last_seq);
        segment.set_packed(bytes);
        segment
    }

    pub fn first_seq(&self) -> u64 {
        self.header.first_seq
    }

    /// Committed bytes of the plain form. Read [`Segment::sealed`] before this one: only then is the end of a sealed
    /// segment its last.
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

    /// Size of the compressed file, if that is the form to read.
    pub fn packed_bytes(&self) -> Option<u64> {
        self.packed_bytes.get().copied()
    }

    /// Says that the compressed file of `bytes` bytes is in place.
    pub fn set_packed(&self, bytes: u64) {
        self.packed_bytes.get_or_init(|| bytes);
    }

    /// Size of the file, in bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.packed_bytes().unwrap_or_else(|| self.end())
    }

    /// The right to replace or remove the file, if nobody else has it.
    pub fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    /// Gives the right back.
    pub fn release(&self) {
        self.claimed.store(false, Ordering::Release);
    }

    /// Whether somebody has the right.
    pub fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Acquire)
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        arc_bytes(size_of::<Segment>()) + allocated_bytes(self.plain_path.capacity())
    }

    /// The file of the plain form.
    pub fn plain_path(&self) -> &Path {
        &self.plain_path
    }

    /// The file of the compressed form.
    pub fn packed_path(&self) -> PathBuf {
        self.plain_path.with_extension("log.zst")
    }

    /// The file that is written before it takes the place of this one.
    pub fn new_path(&self) -> PathBuf {
        self.plain_path.with_extension("log.new")
    }

    /// The file to read.
    pub fn path(&self) -> PathBuf {
        match self.packed_bytes() {
            Some(_) => self.packed_path(),
            None => self.plain_path.clone(),
        }
    }

    /// Removes the segment from the disk, in both forms: the compressed one can be left from a try that failed.
    pub fn remove(&self) -> Result<(), Error> {
        let path = self.path();
        self.remove_other_form()?;
        std::fs::remove_file(&path).map_err(Error::io("remove", &path))
    }

    /// Removes the file of the form that is not read, if it is there.
    pub fn remove_other_form(&self) -> Result<(), Error> {
        let other = match self.packed_bytes() {
            Some(_) => self.plain_path.clone(),
            None => self.packed_path(),
        };
        match std::fs::remove_file(&other) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", &other)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The error for bad bytes at `offset` of the plain form.
    pub fn damaged(&self, offset: u64, fault: Fault) -> Error {
        Error::Damaged { file: self.path(), offset, fault }
    }
}

/// The plain file of the segment that starts with `first_seq`. Sixteen digits hold every seq, so names sort like seqs.
pub(super) fn path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:016}.log"))
}

/// First seqs of the segments in `dir`, in order, in whichever form. Files of other names are left alone.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, Error> {
    let mut seqs: Vec<u64> =
        [".log", ".log.zst"].iter().map(|suffix| named_by_seq(dir, suffix)).collect::<Result<Vec<_>, _>>()?.concat();
    seqs.sort_unstable();
    seqs.dedup();
    Ok(seqs)
}

/// Files in `dir` that would have become segments, had the process not ended.
pub(super) fn unfinished(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let seqs = named_by_seq(dir, ".log.new")?;
    Ok(seqs.into_iter().map(|first_seq| path(dir, first_seq).with_extension("log.new")).collect())
}

/// The seqs with which names in `dir` start that end with `suffix` and have nothing between.
fn named_by_seq(dir: &Path, suffix: &str) -> Result<Vec<u64>, Error> {
    let mut seqs = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let name = entry.map_err(Error::io("list", dir))?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(suffix)).filter(|digits| digits.len() == 16);
        seqs.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    Ok(seqs)
}

/// A segment whose header cannot be read.
#[derive(Debug, Clone)]
pub(super) struct Unreadable {
    pub first_seq: u64,
    pub file: PathBuf,
    /// Size of the file.
    pub bytes: u64,
    pub fault: HeaderFault,
}

impl Unreadable {
    /// Whether it is the compressed form.
    pub fn is_packed(&self) -> bool {
        self.file.extension().is_some_and(|extension| extension == "zst")
    }
}

impl From<Unreadable> for Error {
    fn from(unreadable: Unreadable) -> Error {
        let fault = if unreadable.is_packed() { Fault::Index } else { Fault::SegmentHeader };
        match unreadable.fault {
            HeaderFault::Version(version) => Error::Version { file: unreadable.file, version },
            HeaderFault::Torn | HeaderFault::Damaged => Error::Damaged { file: unreadable.file, offset: 0, fault },
        }
    }
}

/// Looks at the segment that starts with `first_seq`, and changes nothing; `None` if it is not there. A good compressed
/// form goes before a plain one beside it, which was about to be removed. A plain segment is taken to be as long as its
/// file.
pub(super) fn find(dir: &Path, first_seq: u64) -> Result<Option<Result<Segment, Unreadable>>, Error> {
    let plain_path = path(dir, first_seq);
    let packed_path = plain_path.with_extension("log.zst");
    let mut found = None;
    if let Some((file, bytes)) = open(&packed_path)? {
        let trailer = Trailer::read(&file).map_err(Error::io("read", &packed_path))?;
        let segment = trailer.map(|trailer| Segment::packed(plain_path.clone(), &trailer, bytes));
        found = Some(named(segment, packed_path, bytes, first_seq));
    }
    if !matches!(found, Some(Ok(_)))
        && let Some((file, bytes)) = open(&plain_path)?
    {
        let header = read_header(&file, &plain_path)?;
        let segment = header.map(|header| Segment::new(plain_path.clone(), header, bytes));
        found = Some(named(segment, plain_path, bytes, first_seq));
    }
    Ok(found)
}

/// Names the file of what was found, which must start with `first_seq` as its name says.
fn named(
    segment: Result<Segment, HeaderFault>,
    file: PathBuf,
    bytes: u64,
    first_seq: u64,
) -> Result<Segment, Unreadable> {
    match segment {
        Ok(segment) if segment.first_seq() == first_seq => Ok(segment),
        Ok(_) => Err(Unreadable { first_seq, file, bytes, fault: HeaderFault::Damaged }),
        Err(fault) => Err(Unreadable { first_seq, file, bytes, fault }),
    }
}

/// A file with its size, if it is there.
fn open(path: &Path) -> Result<Option<(File, u64)>, Error> {
    let opened = File::open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata.len())));
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", path)(error)),
    }
}

/// Reads the header of the plain file at `path`.
fn read_header(file: &File, path: &Path) -> Result<Result<SegmentHeader, HeaderFault>, Error> {
    let mut bytes = [0; HEADER_BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(SegmentHeader::decode(&bytes)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Err(HeaderFault::Torn)),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}
