//! Reads the records of one segment in order, in large blocks.
//!
//! What has been read is dropped from the page cache. Of consumers that catch up, many read the same pages, and the kernel
//! then counts those as in use: the working set of a container would swing by all of the memory that nobody else needs.

use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};

use super::active::CACHED_BYTES;
use super::packed::Packed;
use super::record::{self, Fault, Record};
use super::segment::{self, Segment};
use super::{Error, Event};

/// Bytes that are dropped from the page cache at once: pages that were read a moment ago are not dropped without waiting for
/// every core.
const DROP_BYTES: u64 = 4 << 20;

/// A place in a segment. Offsets are those of the plain form, in whichever form the segment is.
pub(super) struct Walk {
    pub segment: Arc<Segment>,
    source: Source,
    offset: u64,
    next_seq: u64,
    /// Bytes of the file that have been read and not dropped from the page cache.
    cached: Range<u64>,
}

/// Where the bytes come from: a file that is open, so that it can be read to its end even when it is removed.
enum Source {
    Plain(File),
    Packed(Packed),
}

impl Walk {
    /// Opens a segment, in the form in which it is now, at its first record.
    pub fn open(segment: Arc<Segment>) -> Result<Walk, Error> {
        loop {
            let is_packed = segment.packed_bytes().is_some();
            let path = segment.path();
            let file = match File::open(&path) {
                Ok(file) => file,
                // It was compressed between the two.
                Err(_) if !is_packed && segment.packed_bytes().is_some() => continue,
                Err(error) => return Err(Error::io("open", &path)(error)),
            };
            if !is_packed {
                return Ok(Walk::plain(segment, file));
            }
            return match Packed::open(file).map_err(Error::io("read", &path))? {
                Some(packed) => Ok(Walk::new(segment, Source::Packed(packed))),
                None => Err(segment.damaged(0, Fault::Index)),
            };
        }
    }

    /// Starts at the first record of a segment whose plain file is open.
    pub fn plain(segment: Arc<Segment>, file: File) -> Walk {
        Walk::new(segment, Source::Plain(file))
    }

    fn new(segment: Arc<Segment>, source: Source) -> Walk {
        Walk { offset: segment::HEADER_BYTES as u64, next_seq: segment.first_seq(), segment, source, cached: 0..0 }
    }

    /// Goes to the record of `seq`, which starts at `offset`.
    pub fn jump(&mut self, seq: u64, offset: u64) {
        self.next_seq = seq;
        self.offset = offset;
    }

    /// Where to begin for `seq`, if the form has an index of its own.
    pub fn place(&self, seq: u64) -> Option<(u64, u64)> {
        match &self.source {
            Source::Plain(_) => None,
            Source::Packed(packed) => packed.place(seq),
        }
    }

    /// Whether the form has an index of its own.
    pub fn has_index(&self) -> bool {
        matches!(self.source, Source::Packed(_))
    }

    /// Where the next record starts.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The seq of the next record.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Reads one block of about `bytes` bytes, which end before `end`, and hands every record in it to `each`, with its
    /// offset. Gives the records' bytes. Stands behind the last good record afterwards, also after an error.
    pub fn step(&mut self, end: u64, bytes: usize, mut each: impl FnMut(u64, Event)) -> Result<Bytes, Error> {
        let mut block = self.read(self.offset, end, bytes)?;
        let mut at = 0;
        while at < block.len() {
            match Record::check(&block[at..], self.segment.header.salt, self.next_seq) {
                Ok(record) => {
                    let wire = block.slice(at + record::HEADER_BYTES..at + record.len());
                    each(self.offset + at as u64, Event { header: record.header, wire });
                    at += record.len();
                    self.next_seq += 1;
                }
                // The block ends inside a record, the segment does not.
                Err(Fault::Incomplete(needed)) if at > 0 && self.offset + (at + needed) as u64 <= end => break,
                // No more is to be had of a compressed block.
                Err(Fault::Incomplete(needed)) if self.offset + (at + needed) as u64 <= end && !self.has_index() => {
                    block = self.read(self.offset, end, needed)?;
                }
                Err(fault) => {
                    self.offset += at as u64;
                    return Err(self.segment.damaged(self.offset, fault));
                }
            }
        }
        self.offset += at as u64;
        Ok(block.slice(..at))
    }

    /// Reads `bytes` bytes at `offset`, or as many as there are before `end`; of a compressed segment, the rest of the
    /// block.
    pub fn read(&mut self, offset: u64, end: u64, bytes: usize) -> Result<Bytes, Error> {
        let (place, read) = match &self.source {
            Source::Plain(file) => {
                let mut block = vec![0; end.saturating_sub(offset).min(bytes as u64) as usize];
                let place = offset..offset + block.len() as u64;
                (place, file.read_exact_at(&mut block, offset).map(|()| Ok(Bytes::from(block))))
            }
            Source::Packed(packed) => match packed.block(offset) {
                Some(block) => (block.place(), packed.read(&block, offset)),
                None => return Err(self.segment.damaged(offset, Fault::Block)),
            },
        };
        self.has_read(place);
        match read {
            Ok(Ok(block)) => Ok(block),
            Ok(Err(fault)) => Err(self.segment.damaged(offset, fault)),
            Err(error) => Err(Error::io("read", &self.segment.path())(error)),
        }
    }

    fn has_read(&mut self, place: Range<u64>) {
        if self.cached.contains(&place.start) || self.cached.end == place.start {
            self.cached.end = self.cached.end.max(place.end);
        } else {
            self.drop_cache();
            self.cached = place;
        }
        if self.cached.end - self.cached.start >= DROP_BYTES {
            self.drop_cache();
        }
    }

    /// Drops what was read from the page cache, but for the end of the segment that is being written: its writer does that.
    /// Advice only: a failure costs nothing but cache.
    fn drop_cache(&mut self) {
        let Range { start, end } = self.cached;
        let (file, end) = match &self.source {
            Source::Plain(file) if self.segment.sealed().is_none() => {
                (file, end.min(self.segment.end().saturating_sub(CACHED_BYTES)))
            }
            Source::Plain(file) => (file, end),
            Source::Packed(packed) => (packed.file(), end),
        };
        if let Some(bytes) = NonZeroU64::new(end.saturating_sub(start)) {
            let _ = fadvise(file, start, Some(bytes), Advice::DontNeed);
        }
        self.cached.start = self.cached.end;
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.drop_cache();
    }
}
