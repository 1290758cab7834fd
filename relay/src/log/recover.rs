//! Opening a log: which segments there are, and where the last one really ends.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::Error;
use super::index::Indexes;
use super::lost::Lost;
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
    /// Seq of the last event that a repair could not save; it was given out too.
    pub lost_seq: u64,
    pub cut_bytes: u64,
}

/// Finds the segments in `dir`, and cuts the torn tail of the last one. A compression that was interrupted is finished
/// if its file was whole, and discarded otherwise.
pub(super) fn recover(dir: &Path) -> Result<Recovered, Error> {
    let lost = Lost::read(dir)?;
    for file in segment::unfinished(dir)? {
        remove(&file)?;
    }
    let Found { mut segments, mut cut_bytes, mut synced_seq } = open_segments(dir)?;
    let mut indexes = Indexes::default();
    while let Some(segment) = segments.pop() {
        let tail = scan(&segment, synced_seq, &mut indexes)?;
        cut_bytes += segment.end() - tail.end;
        if let Some(last_seq) = tail.last_seq {
            if segment.packed_bytes().is_none() {
                cut(&segment, tail.end)?;
            }
            segments.push(segment);
            let segments = seal(segments, &lost)?;
            return Ok(Recovered { segments, indexes, last_seq: Some(last_seq), lost_seq: lost.last_seq(), cut_bytes });
        }
        remove(segment.plain_path())?;
        synced_seq = lost.last_held(segment.header.previous.last_seq);
    }
    Ok(Recovered { segments: VecDeque::new(), indexes, last_seq: None, lost_seq: lost.last_seq(), cut_bytes })
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
        match segment::find(dir, *first_seq)? {
            Some(Ok(segment)) => {
                segment.remove_other_form()?;
                found.segments.push(Arc::new(segment));
            }
            Some(Err(torn)) if torn.fault == HeaderFault::Torn && Some(first_seq) == seqs.last() => {
                remove(&torn.file)?;
                found.cut_bytes = torn.bytes;
                found.synced_seq = found.segments.last().map_or(0, |before| before.first_seq());
            }
            Some(Err(unreadable)) => return Err(unreadable.into()),
            None => {} // the folder is locked, so nobody but a person can have removed it
        }
    }
    Ok(found)
}

/// Seals all segments but the last, with the last seq that the segment after each one states.
fn seal(segments: Vec<Arc<Segment>>, lost: &Lost) -> Result<VecDeque<Arc<Segment>>, Error> {
    for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
        let missing = || next.damaged(0, Fault::Chain(next.header.previous.last_seq));
        segment.seal(lost.last_between(segment, next).ok_or_else(missing)?);
    }
    Ok(segments.into())
}

/// How far a segment is good.
struct Tail {
    end: u64,
    last_seq: Option<u64>,
}

/// Checks every record of `segment`. The first bad one ends it, unless it is known to have been synced. A compressed
/// one has no tail.
fn scan(segment: &Arc<Segment>, synced_seq: u64, indexes: &mut Indexes) -> Result<Tail, Error> {
    let end = segment.end();
    if let Some(last_seq) = segment.sealed() {
        return match last_seq < synced_seq {
            true => Err(segment.damaged(end, Fault::Ended(synced_seq))),
            false => Ok(Tail { end, last_seq: Some(last_seq) }),
        };
    }
    let mut walk = Walk::open(Arc::clone(segment))?;
    let mut fault = Fault::Ended(synced_seq);
    while walk.offset() < end {
        let mut places = Vec::new();
        let result = walk.step(end, SCAN_BYTES, |offset, event| places.push((event.header.seq, offset)));
        indexes.note(segment.first_seq(), places);
        match result {
            Ok(_) => {}
            Err(Error::Damaged { fault: found, .. }) => {
                fault = found;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    let bad_seq = walk.next_seq();
    if bad_seq <= synced_seq || is_known_synced(&mut walk, end)? {
        return Err(segment.damaged(walk.offset(), fault));
    }
    Ok(Tail { end: walk.offset(), last_seq: (bad_seq > segment.first_seq()).then(|| bad_seq - 1) })
}

/// Whether any record after the bad one at which `walk` stands says that the bad one had been synced before.
///
/// Where it starts is unknown, so it is looked for at every byte. Its header checksum suffices: it is seeded with the
/// salt, so nobody outside can have put it into a frame.
pub(super) fn is_known_synced(walk: &mut Walk, end: u64) -> Result<bool, Error> {
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
pub(super) fn cut(segment: &Segment, end: u64) -> Result<(), Error> {
    let repair = || {
        let file = File::options().write(true).open(segment.plain_path())?;
        if file.metadata()?.len() > end {
            file.set_len(end)?;
        }
        file.sync_all()
    };
    repair().map_err(Error::io("repair", segment.plain_path()))?;
    segment.publish(end);
    Ok(())
}

/// Removes a file without a committed record.
fn remove(path: &Path) -> Result<(), Error> {
    std::fs::remove_file(path).map_err(Error::io("remove", path))
}
