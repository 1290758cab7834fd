//! Opening a log: which segments there are, and where the last one really ends.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::Error;
use super::index::Indexes;
use super::record::{self, Fault, Record};
use super::segment::{self, HeaderFault, Segment};
use super::walk::Walk;

/// Bytes read at once when a segment is scanned.
const SCAN_BYTES: usize = 1 << 20;

/// What opening the log repaired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of the torn tail that were cut; no consumer had seen them.
    pub cut_bytes: u64,
    /// Seqs jumped over: because of the configured initial seq, or because of an unclean end under
    /// [`Durability::Os`](super::Durability::Os).
    pub skipped_seqs: u64,
}

/// The log as found on disk, its torn tail cut.
pub(super) struct Recovered {
    pub segments: VecDeque<Arc<Segment>>,
    pub indexes: Indexes,
    /// Seq of the last event, if there is one.
    pub last_seq: Option<u64>,
    pub cut_bytes: u64,
}

/// Finds the segments in `dir`, and cuts the torn tail of the last one.
pub(super) fn recover(dir: &Path) -> Result<Recovered, Error> {
    let Found { mut segments, mut cut_bytes, mut synced_seq } = open_segments(dir)?;
    let mut indexes = Indexes::default();
    while let Some(segment) = segments.pop() {
        let tail = scan(&segment, synced_seq, &mut indexes)?;
        cut_bytes += segment.end() - tail.end;
        if let Some(last_seq) = tail.last_seq {
            cut(&segment, tail.end)?;
            segments.push(segment);
            return Ok(Recovered { segments: seal(segments)?, indexes, last_seq: Some(last_seq), cut_bytes });
        }
        remove(&segment.path)?;
        synced_seq = segment.header.previous.last_seq;
    }
    Ok(Recovered { segments: VecDeque::new(), indexes, last_seq: None, cut_bytes })
}

/// The segments by their headers, each as long as its file.
struct Found {
    segments: Vec<Arc<Segment>>,
    cut_bytes: u64,
    /// No record up to here may be missing: a segment is begun only after the one before was synced.
    synced_seq: u64,
}

/// Reads the headers of all segments. A last one whose header was never written is removed.
fn open_segments(dir: &Path) -> Result<Found, Error> {
    let seqs = segment::list(dir)?;
    let mut found = Found { segments: Vec::with_capacity(seqs.len()), cut_bytes: 0, synced_seq: 0 };
    for first_seq in &seqs {
        let path = segment::path(dir, *first_seq);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let bytes = file.metadata().map_err(Error::io("read", &path))?.len();
        match segment::read_header(&file, &path)? {
            Ok(header) if header.first_seq == *first_seq => {
                found.segments.push(Arc::new(Segment::new(path, header, bytes)));
            }
            Err(HeaderFault::Torn) if Some(first_seq) == seqs.last() => {
                remove(&path)?;
                found.cut_bytes = bytes;
                found.synced_seq = found.segments.last().map_or(0, |before| before.first_seq());
            }
            Err(HeaderFault::Version(version)) => return Err(Error::Version { file: path, version }),
            Ok(_) | Err(HeaderFault::Torn | HeaderFault::Damaged) => {
                return Err(Error::Damaged { file: path, offset: 0, fault: Fault::SegmentHeader });
            }
        }
    }
    Ok(found)
}

/// Seals all segments but the last, with the last seq that the segment after each one states.
fn seal(segments: Vec<Arc<Segment>>) -> Result<VecDeque<Arc<Segment>>, Error> {
    for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
        let previous = next.header.previous;
        let continues = previous.first_seq == segment.first_seq() && previous.last_seq < next.first_seq();
        if !continues {
            return Err(next.damaged(0, Fault::Chain(previous.last_seq)));
        }
        segment.seal(previous.last_seq);
    }
    Ok(segments.into())
}

/// How far a segment is good.
struct Tail {
    end: u64,
    last_seq: Option<u64>,
}

/// Checks every record of `segment`. The first bad one ends it, unless it is known to have been synced.
fn scan(segment: &Arc<Segment>, synced_seq: u64, indexes: &mut Indexes) -> Result<Tail, Error> {
    let file = File::open(&segment.path).map_err(Error::io("open", &segment.path))?;
    let end = segment.end();
    let mut walk = Walk::new(Arc::clone(segment), file);
    let mut fault = Fault::Ended(synced_seq);
    while walk.offset() < end {
        let mut places = Vec::new();
        let result = walk.step(end, SCAN_BYTES, |offset, event| places.push((event.header.seq, offset)));
        indexes.note(segment.first_seq(), places);
        match result {
            Ok(()) => {}
            Err(Error::Damaged { fault: found, .. }) => {
                fault = found;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    let bad_seq = walk.next_seq();
    if bad_seq <= synced_seq || is_known_synced(&walk, end)? {
        return Err(segment.damaged(walk.offset(), fault));
    }
    Ok(Tail { end: walk.offset(), last_seq: (bad_seq > segment.first_seq()).then(|| bad_seq - 1) })
}

/// Whether any record after the bad one at which `walk` stands says that the bad one had been synced before.
///
/// Where it starts is unknown, so it is looked for at every byte. Its header checksum suffices: it is seeded with the
/// salt, so nobody outside can have put it into a frame.
fn is_known_synced(walk: &Walk, end: u64) -> Result<bool, Error> {
    let mut offset = walk.offset() + 1;
    while offset < end {
        let block = walk.read(offset, end, SCAN_BYTES)?;
        let headers = block.windows(record::HEADER_BYTES);
        let count = headers.len() as u64;
        let mut records = headers.filter_map(|bytes| Record::decode(bytes, walk.segment.header.salt).ok());
        if records.any(|record| record.first_unsynced() > walk.next_seq()) {
            return Ok(true);
        }
        if count == 0 {
            break;
        }
        offset += count;
    }
    Ok(false)
}

/// Ends the file at `end`, and makes sure that the disk has what is left: a process that was killed between writing and
/// syncing leaves good records that the kernel alone has.
fn cut(segment: &Segment, end: u64) -> Result<(), Error> {
    let repair = || {
        let file = File::options().write(true).open(&segment.path)?;
        if file.metadata()?.len() > end {
            file.set_len(end)?;
        }
        file.sync_all()
    };
    repair().map_err(Error::io("repair", &segment.path))?;
    segment.publish(end);
    Ok(())
}

/// Removes a segment that never got a committed record.
fn remove(path: &Path) -> Result<(), Error> {
    std::fs::remove_file(path).map_err(Error::io("remove", path))
}
