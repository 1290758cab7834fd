//! The event log: every event that the relay has sent, in the bytes it was sent in. It is the truth of the relay; all
//! other state is derived from it (ARCHITECTURE.md, "Log first").
//!
//! [`Log`] is the single writer: it buffers appended events and commits them in groups, with one write and, under
//! [`Durability::Sync`], one `fdatasync`. Only what is committed exists for a [`Reader`] and its [`Cursor`]s.
//!
//! # On disk
//!
//! A folder of *segments*, each named by the seq of its first event (`0000000000000001.log`), a file `next_seq`
//! ([`SEQ_RESERVE`]), and, after a repair, a file `lost`. All integers are little-endian.
//!
//! A segment starts with 52 bytes:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 8 | magic | `atpr-log` |
//! | 4 | version | 1 |
//! | 4 | salt | random, the same in all segments of a log |
//! | 8 | first_seq | seq of the first record, as in the file's name |
//! | 8 | first_ms | time of the first record |
//! | 8, 8 | previous | first and last seq of the segment before, 0 if there was none |
//! | 4 | crc | CRC-32C of the fields above |
//!
//! Records follow without padding, 61 bytes and then the wire bytes:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 4 | header_crc | CRC-32C, seeded with the salt, of the 57 bytes that follow |
//! | 4 | wire_crc | CRC-32C of the wire bytes |
//! | 4 | len | number of wire bytes |
//! | 8 | seq | one more than the record before |
//! | 8 | time_ms | when the relay took the event, in milliseconds since 1970 |
//! | 8 | upstream_seq | seq under which the host sent it |
//! | 4 | host | id of the host |
//! | 4 | unsynced | how many records just before this one may not have been synced when it was written |
//! | 1 | kind | 1 commit, 2 sync, 3 identity, 4 account |
//! | 16 | account | [`AccountTag`] |
//! | len | wire | the server's WebSocket frame around the CBOR frame, as sent to every consumer |
//!
//! Within a segment the seq rises by one from record to record; it may jump ahead between segments only, and
//! `previous` tells a jump from a lost file.
//!
//! # Compressed
//!
//! A sealed segment can be compressed (`0000000000000001.log.zst`). That is a zstd file of the plain one: a frame for each
//! block of whole records, of about 256 KiB, so that a cursor decompresses one block to be placed. The first block has
//! the segment's header before its records. Behind them is a skippable frame with the index: the skippable frame's
//! header of 8 bytes, and for each block
//!
//! | bytes | field | |
//! |---|---|---|
//! | 8 | seq | of its first record |
//! | 8 | plain | where it starts in the plain form |
//! | 8 | at | where it starts in this file |
//!
//! and then a trailer:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 52 | header | the segment's |
//! | 8 | last_seq | seq of the last record |
//! | 8 | last_ms | time of the last record |
//! | 8 | plain_bytes | size of the plain form |
//! | 4 | index_crc | CRC-32C of the skippable frame before the trailer |
//! | 4 | blocks | how many |
//! | 4 | version | 1 |
//! | 8 | magic | `atpr-zst` |
//! | 4 | crc | CRC-32C of the trailer up to here |
//!
//! It is written aside (`.log.new`), synced, and gets its name before the plain file is removed. A start removes what is
//! unfinished, and of two forms the plain one if the trailer of the other is good.
//!
//! # What a crash leaves
//!
//! A segment is complete and synced before the next one is begun, so only the last can have a torn tail, which is cut
//! when the log is opened. A record that is bad although a later one proves that it had been synced (`unsynced`) is no
//! torn tail but a damaged disk: cutting there would give seqs out twice, so the log is not opened. The salt keeps a
//! host from planting such a proof inside a frame.

mod active;
mod compress;
mod folder;
mod index;
mod inspect;
mod lost;
mod packed;
mod reader;
mod record;
mod recover;
mod repair;
mod reserve;
mod retain;
mod segment;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};

pub use inspect::{Finding, Report, SegmentInfo, View};
pub use reader::{Cursor, Reader};
pub use record::{Fault, MAX_WIRE_BYTES};
pub use recover::Recovery;
pub use repair::{Repair, repair};
pub use reserve::SEQ_RESERVE;
pub use retain::{Removed, Retention};
pub use writer::Log;

/// Greatest seq: JavaScript clients hold integers exactly below 2^53 only (protocol 5).
pub const MAX_SEQ: u64 = (1 << 53) - 1;

/// Size at which a segment is full, in bytes: retention works in steps of one segment, and 72 hours at 1,000 events a
/// second are then about 4,500 files.
pub const SEGMENT_BYTES: u64 = 256 << 20;

/// How a log is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the log; made if absent.
    pub dir: PathBuf,
    /// Size that a segment does not exceed, in bytes, unless a single commit is larger. See [`SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// When a commit counts as done.
    pub durability: Durability,
    /// Seqs start here at least (protocol 5: a relay that lost its state starts well above the old seq).
    pub initial_seq: u64,
    /// What becomes of old segments.
    pub compression: Compression,
}

impl Options {
    /// A log in `dir` that starts at seq 1, syncs, and stays plain.
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            segment_bytes: SEGMENT_BYTES,
            durability: Durability::Sync,
            initial_seq: 1,
            compression: Compression::None,
        }
    }
}

/// What becomes of all segments but the newest. Either way, those that are compressed can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// They stay as they are.
    None,
    /// A thread of low priority compresses them.
    Zstd,
}

/// When a commit counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The disk has it: nothing that was sent is lost by any crash.
    Sync,
    /// The kernel has it: nothing is lost when the process dies; a crash of the machine can lose the last half minute.
    /// Seqs are not reused even then, see [`SEQ_RESERVE`].
    Os,
}

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// `#commit`.
    Commit = 1,
    /// `#sync`.
    Sync = 2,
    /// `#identity`.
    Identity = 3,
    /// `#account`.
    Account = 4,
}

/// Stands for an account in fixed size: the first 16 bytes of the SHA-256 of its DID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountTag(pub [u8; 16]);

impl AccountTag {
    /// The tag of the account `did`.
    pub fn of(did: &str) -> AccountTag {
        let digest: [u8; 32] = Sha256::digest(did).into();
        let mut tag = [0; 16];
        tag.copy_from_slice(&digest[..16]);
        AccountTag(tag)
    }
}

/// What the log knows of an event without looking into its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The relay's seq.
    pub seq: u64,
    /// When the relay took the event, in milliseconds since 1970.
    pub time_ms: i64,
    /// Id of the host it came from.
    pub host: u32,
    /// Seq under which the host sent it.
    pub upstream_seq: u64,
    /// What it is.
    pub kind: Kind,
    /// Whose it is.
    pub account: AccountTag,
}

/// A committed event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What the log knows of it.
    pub header: Header,
    /// The server's WebSocket frame (binary, final, unmasked) around the CBOR frame: written to sockets as it is.
    ///
    /// A slice of the memory that its whole commit, or the whole block that a cursor read, shares: that memory is freed
    /// with its last event. Events retired in order therefore hold at most one commit more than their own bytes.
    pub wire: Bytes,
}

/// Why the log cannot be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused. After a failed commit the same commit can be tried again.
    #[error(
        "event log: cannot {action} {}: {source}; check space and permissions of the data directory", path.display()
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the log open.
    #[error("event log: {} is in use by another relay; stop it, or choose another data directory", dir.display())]
    InUse {
        /// The log's folder.
        dir: PathBuf,
    },
    /// Bytes that were once committed are not what they were.
    #[error(
        "event log: {} is damaged at byte {offset}: {fault}; restore the file, or stop the relay and see what \
         `relay log check --repair` can save", file.display()
    )]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where its bad bytes start; of a compressed one, in its uncompressed form.
        offset: u64,
        /// What is wrong with them.
        fault: Fault,
    },
    /// The file `next_seq` holds something else than a number.
    #[error("event log: {} does not hold a seq; write a number above the last seq sent into it", path.display())]
    BadReservation {
        /// The file.
        path: PathBuf,
    },
    /// The file `lost` holds something else than ranges of seqs.
    #[error("event log: {} does not hold two seqs on each line, the first and the last of a range", path.display())]
    BadLost {
        /// The file.
        path: PathBuf,
    },
    /// A segment of a format that this version does not know.
    #[error("event log: {} has format version {version}; run the relay version that wrote it", file.display())]
    Version {
        /// The segment.
        file: PathBuf,
        /// Its format version.
        version: u32,
    },
    /// An event that the log does not take: see [`MAX_WIRE_BYTES`].
    #[error("event log: an event of {bytes} bytes is larger than the limit of {MAX_WIRE_BYTES}")]
    TooLarge {
        /// Size of its wire form.
        bytes: usize,
    },
    /// An event whose seq is not [`Log::next_seq`].
    #[error("event log: seq {seq} was appended where {expected} comes next")]
    OutOfOrder {
        /// The event's seq.
        seq: u64,
        /// The one that comes next.
        expected: u64,
    },
    /// Seqs have reached [`MAX_SEQ`].
    #[error("event log: seq {seq} is above the greatest possible, {MAX_SEQ}; lower the initial seq")]
    SeqsExhausted {
        /// The seq that would come next.
        seq: u64,
    },
}

impl Error {
    /// For `map_err`: names what was tried on which path.
    fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + use<'a> {
        move |source| Error::Io { action, path: path.to_owned(), source }
    }
}
