//! Reads the records of one segment in order, in large blocks.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::record::{self, Fault, Record};
use super::segment::{self, Segment};
use super::{Error, Event};

/// A place in a segment.
pub(super) struct Walk {
    pub segment: Arc<Segment>,
    file: File,
    offset: u64,
    next_seq: u64,
}

impl Walk {
    /// Starts at the first record.
    pub fn new(segment: Arc<Segment>, file: File) -> Walk {
        Walk { offset: segment::HEADER_BYTES as u64, next_seq: segment.first_seq(), segment, file }
    }

    /// Goes to the record of `seq`, which starts at `offset`.
    pub fn jump(&mut self, seq: u64, offset: u64) {
        self.next_seq = seq;
        self.offset = offset;
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
    /// offset. Stands behind the last good record afterwards, also after an error.
    pub fn step(&mut self, end: u64, bytes: usize, mut each: impl FnMut(u64, Event)) -> Result<(), Error> {
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
                Err(Fault::Incomplete(needed)) if self.offset + (at + needed) as u64 <= end => {
                    if at > 0 {
                        break;
                    }
                    block = self.read(self.offset, end, needed)?;
                }
                Err(fault) => {
                    self.offset += at as u64;
                    return Err(self.segment.damaged(self.offset, fault));
                }
            }
        }
        self.offset += at as u64;
        Ok(())
    }

    /// Reads `bytes` bytes at `offset`, or as many as there are before `end`.
    pub fn read(&self, offset: u64, end: u64, bytes: usize) -> Result<Bytes, Error> {
        let mut block = vec![0; end.saturating_sub(offset).min(bytes as u64) as usize];
        self.file.read_exact_at(&mut block, offset).map_err(Error::io("read", &self.segment.path))?;
        Ok(Bytes::from(block))
    }
}
