//! One event on disk; the layout is in the documentation of [the log](super).

use super::{AccountTag, Header, Kind};

/// Greatest size of an event's wire form, in bytes: above every frame that a host may send (5 MB, protocol 11), with
/// room for what the relay adds.
pub const MAX_WIRE_BYTES: usize = 8 << 20;

/// Size of a record without its wire bytes.
pub(super) const HEADER_BYTES: usize = 61;

/// What is wrong with the bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The segment ends inside the record.
    #[error("the file ends inside a record of {0} bytes")]
    Incomplete(usize),
    /// The segment ends although more records were committed to it.
    #[error("the file ends before seq {0}")]
    Ended(u64),
    /// The record's header does not match its checksum.
    #[error("the header of a record does not match its checksum")]
    HeaderChecksum,
    /// The record's wire bytes do not match their checksum.
    #[error("the bytes of seq {0} do not match their checksum")]
    WireChecksum(u64),
    /// Another seq than the one that comes next.
    #[error("seq {found} stands where seq {expected} belongs")]
    Seq {
        /// The record's seq.
        found: u64,
        /// One more than that of the record before.
        expected: u64,
    },
    /// The head of the segment is not one.
    #[error("the file does not begin like a segment of this log")]
    SegmentHeader,
    /// A block of a compressed segment is not one.
    #[error("a compressed block cannot be decompressed")]
    Block,
    /// The end of a compressed segment is not one.
    #[error("the file does not end like a compressed segment")]
    Index,
    /// The segment does not continue the one before.
    #[error("it continues seq {0}, which the file before it does not hold; a file is missing between them")]
    Chain(u64),
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub header: Header,
    /// How many records just before this one may not have been synced when it was written.
    pub unsynced: u32,
    wire_len: usize,
    wire_crc: u32,
}

impl Record {
    /// Size of the record on disk.
    pub fn len(&self) -> usize {
        HEADER_BYTES + self.wire_len
    }

    /// The first seq that was not known to be synced when this record was written.
    pub fn first_unsynced(&self) -> u64 {
        self.header.seq.saturating_sub(u64::from(self.unsynced))
    }

    /// Reads the header at the start of `bytes`.
    pub fn decode(bytes: &[u8], salt: u32) -> Result<Record, Fault> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(Fault::Incomplete(HEADER_BYTES))?;
        let mut fields = Fields(header);
        let header_crc = u32::from_le_bytes(fields.take());
        let wire_crc = u32::from_le_bytes(fields.take());
        let wire_len = u32::from_le_bytes(fields.take()) as usize;
        let seq = u64::from_le_bytes(fields.take());
        let time_ms = i64::from_le_bytes(fields.take());
        let upstream_seq = u64::from_le_bytes(fields.take());
        let host = u32::from_le_bytes(fields.take());
        let unsynced = u32::from_le_bytes(fields.take());
        let [kind] = fields.take();
        let account = AccountTag(fields.take());
        // The checksum comes last: a scan for a record decodes at every byte, and nearly all fail here.
        let kind = decode_kind(kind).filter(|_| wire_len <= MAX_WIRE_BYTES).ok_or(Fault::HeaderChecksum)?;
        if crc32c::crc32c_append(salt, &header[4..]) != header_crc {
            return Err(Fault::HeaderChecksum);
        }
        let header = Header { seq, time_ms, host, upstream_seq, kind, account };
        Ok(Record { header, unsynced, wire_len, wire_crc })
    }

    /// Reads the whole record at the start of `bytes`, which must be the one of `expected` seq.
    pub fn check(bytes: &[u8], salt: u32, expected: u64) -> Result<Record, Fault> {
        let record = Record::decode(bytes, salt)?;
        let found = record.header.seq;
        if found != expected {
            return Err(Fault::Seq { found, expected });
        }
        let wire = bytes.get(HEADER_BYTES..record.len()).ok_or(Fault::Incomplete(record.len()))?;
        if crc32c::crc32c(wire) != record.wire_crc {
            return Err(Fault::WireChecksum(found));
        }
        Ok(record)
    }
}

/// Appends the record of one event to `out`. The wire bytes are within [`MAX_WIRE_BYTES`].
pub(super) fn encode(header: &Header, unsynced: u32, salt: u32, wire: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.reserve(HEADER_BYTES + wire.len());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&crc32c::crc32c(wire).to_le_bytes());
    out.extend_from_slice(&(wire.len() as u32).to_le_bytes());
    out.extend_from_slice(&header.seq.to_le_bytes());
    out.extend_from_slice(&header.time_ms.to_le_bytes());
    out.extend_from_slice(&header.upstream_seq.to_le_bytes());
    out.extend_from_slice(&header.host.to_le_bytes());
    out.extend_from_slice(&unsynced.to_le_bytes());
    out.push(header.kind as u8);
    out.extend_from_slice(&header.account.0);
    let crc = crc32c::crc32c_append(salt, &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(wire);
}

fn decode_kind(byte: u8) -> Option<Kind> {
    [Kind::Commit, Kind::Sync, Kind::Identity, Kind::Account].into_iter().find(|kind| *kind as u8 == byte)
}

/// Takes fields of fixed size off the front of a header.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    /// The next `N` bytes; zeros where the header has no more, which no caller reaches.
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}
