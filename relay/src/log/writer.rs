//! The single writer: append, commit, close.

use std::sync::Arc;

use bytes::Bytes;

use super::active::Active;
use super::compress::Compressor;
use super::folder::Folder;
use super::reader::{Buffers, Reader, Shared};
use super::record::{self, MAX_WIRE_BYTES};
use super::recover::{Recovered, Recovery, recover};
use super::reserve::Reservation;
use super::segment::{self, Previous, Segment, SegmentHeader};
use super::{Compression, Durability, Error, Event, Header, MAX_SEQ, Options};
use crate::memory::allocated_bytes;

/// Most bytes that the buffer of a commit starts with; it grows with what is appended.
const BUFFER_BYTES: usize = 8 << 20;

/// The log, for its one writer. It locks its folder until it is dropped.
///
/// Dropping it is what a crash is; [`Log::close`] ends it cleanly.
pub struct Log {
    pub(super) shared: Arc<Shared>,
    /// The segment being written; none until the first commit, and between two segments.
    pub(super) active: Option<Active>,
    options: Options,
    /// None without compression. Ends before the folder is given to others.
    compressor: Option<Compressor>,
    folder: Folder,
    reservation: Reservation,
    recovery: Recovery,
    salt: u32,
    /// The predecessor that the next segment will name.
    previous: Previous,
    next_seq: u64,
    /// Records of the next commit.
    buffer: Vec<u8>,
    /// Their headers, each with the end of its record in the buffer.
    pending: Vec<(Header, usize)>,
    /// Records appended since the last commit that synced.
    unsynced: u32,
}

impl Log {
    /// Opens the log, or makes a new one, and repairs what a crash left: see [`Log::recovery`].
    ///
    /// # Errors
    ///
    /// [`Error::InUse`], [`Error::Io`], [`Error::Damaged`], [`Error::Version`], [`Error::BadReservation`], and
    /// [`Error::SeqsExhausted`] if the initial seq is too high.
    pub fn open(options: Options) -> Result<(Log, Reader), Error> {
        let folder = Folder::lock(&options.dir)?;
        let Recovered { segments, indexes, last_seq, lost_seq, cut_bytes } = recover(&options.dir)?;
        let mut reservation = Reservation::read(&options.dir)?;
        let continued = last_seq.map_or(1, |last| last + 1);
        let next_seq = continued.max(lost_seq + 1).max(options.initial_seq).max(reservation.next_seq());
        if next_seq > MAX_SEQ {
            return Err(Error::SeqsExhausted { seq: next_seq });
        }
        if options.durability == Durability::Os {
            reservation.cover(&folder, next_seq)?;
        }
        let mut active = None;
        let mut previous = Previous::default();
        let mut salt = rand::random();
        if let (Some(segment), Some(last_seq)) = (segments.back(), last_seq) {
            salt = segment.header.salt;
            previous = Previous { first_seq: segment.first_seq(), last_seq };
            if next_seq == continued && segment.sealed().is_none() {
                active = Some(Active::open(Arc::clone(segment), options.durability)?);
            } else {
                segment.seal(last_seq);
            }
        }
        let buffers = Arc::<Buffers>::default();
        let compressor = match options.compression {
            Compression::None => None,
            Compression::Zstd => {
                let plain = |segment: &&Arc<Segment>| segment.sealed().is_some() && segment.packed_bytes().is_none();
                let sealed = segments.iter().filter(plain).cloned();
                let compressor = Compressor::start(&options.dir, sealed, Arc::clone(&buffers));
                Some(compressor.map_err(Error::io("start compressing", &options.dir))?)
            }
        };
        let shared = Arc::new(Shared::new(segments, indexes, next_seq - 1, buffers));
        let reader = Reader::new(Arc::clone(&shared));
        let log = Log {
            shared,
            active,
            options,
            compressor,
            folder,
            reservation,
            recovery: Recovery { cut_bytes, skipped_seqs: next_seq - continued },
            salt,
            previous,
            next_seq,
            buffer: Vec::new(),
            pending: Vec::new(),
            unsynced: 0,
        };
        Ok((log, reader))
    }

    /// What opening the log repaired.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// The seq that the next appended event must have.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Size of the events that are appended and not committed, in bytes. It grows without limit while commits fail, so
    /// the caller stops appending.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Adds an event to the next commit. `wire` is its server frame, with the seq in it.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfOrder`], [`Error::TooLarge`], [`Error::SeqsExhausted`]; the event is not taken then.
    pub fn append(&mut self, header: &Header, wire: &[u8]) -> Result<(), Error> {
        let seq = header.seq;
        if seq != self.next_seq {
            return Err(Error::OutOfOrder { seq, expected: self.next_seq });
        }
        if seq > MAX_SEQ {
            return Err(Error::SeqsExhausted { seq });
        }
        if wire.len() > MAX_WIRE_BYTES {
            return Err(Error::TooLarge { bytes: wire.len() });
        }
        record::encode(header, self.unsynced, self.salt, wire, &mut self.buffer);
        self.pending.push((*header, self.buffer.len()));
        self.next_seq += 1;
        self.unsynced = self.unsynced.saturating_add(1);
        self.note_bytes();
        Ok(())
    }

    /// Writes the appended events, and only then lets readers see them. Returns them for the live consumers.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], for instance of a full disk. Nothing of the commit is visible then, and nothing of it is lost: it
    /// can be tried again, with more events appended or without. After a failed sync the next try writes it anew, into
    /// a new segment.
    pub fn commit(&mut self) -> Result<Vec<Event>, Error> {
        let Some(&(first, _)) = self.pending.first() else { return Ok(Vec::new()) };
        if self.options.durability == Durability::Os {
            self.reservation.cover(&self.folder, self.next_seq)?;
        }
        self.seal_if_full()?;
        match &mut self.active {
            Some(active) => active.write(&self.buffer)?,
            None => self.begin_segment(&first)?,
        }
        if self.options.durability == Durability::Sync {
            self.unsynced = 0;
        }
        Ok(self.publish())
    }

    /// Commits what is appended, syncs, and gives back the reserved seqs: the next start continues without a jump.
    ///
    /// # Errors
    ///
    /// Those of [`Log::commit`]. The log is then as after a crash.
    pub fn close(mut self) -> Result<(), Error> {
        self.commit()?;
        if let Some(active) = &self.active {
            active.sync()?;
        }
        self.reservation.release(&self.folder, self.next_seq)
    }

    /// Ends the active segment if the next commit belongs into another.
    fn seal_if_full(&mut self) -> Result<(), Error> {
        let bytes = self.buffer.len() as u64;
        if let Some(active) = self.active.as_mut().filter(|active| active.is_full(bytes, self.options.segment_bytes)) {
            active.finish()?;
            active.segment.seal(self.previous.last_seq);
            if let Some(compressor) = &self.compressor {
                compressor.add(Arc::clone(&active.segment));
            }
            self.active = None;
        }
        Ok(())
    }

    /// Makes a segment with the records of the next commit, of which `first` is the first.
    fn begin_segment(&mut self, first: &Header) -> Result<(), Error> {
        let path = segment::path(&self.options.dir, first.seq);
        let header =
            SegmentHeader { salt: self.salt, first_seq: first.seq, first_ms: first.time_ms, previous: self.previous };
        let active = Active::begin(&self.folder, path, header, &self.buffer, self.options.durability)?;
        self.shared.segments_mut().push_back(Arc::clone(&active.segment));
        self.active = Some(active);
        Ok(())
    }

    /// Shows the written events to the readers.
    fn publish(&mut self) -> Vec<Event> {
        let mut batch = std::mem::take(&mut self.buffer);
        // The next commit is likely about as large: growing step by step would copy it once more.
        self.buffer = Vec::with_capacity((batch.len() + batch.len() / 8).min(BUFFER_BYTES));
        batch.shrink_to_fit();
        let batch = Bytes::from(batch);
        let mut start = 0;
        let mut events = Vec::with_capacity(self.pending.len());
        let mut places = Vec::with_capacity(self.pending.len());
        for (header, end) in self.pending.drain(..) {
            places.push((header.seq, start as u64));
            events.push(Event { header, wire: batch.slice(start + record::HEADER_BYTES..end) });
            start = end;
        }
        if let Some(active) = &mut self.active {
            let first_seq = active.segment.first_seq();
            let end = active.segment.end();
            active.publish(batch.len() as u64);
            self.shared.indexes().note(first_seq, places.into_iter().map(|(seq, start)| (seq, end + start)));
            self.previous = Previous { first_seq, last_seq: self.next_seq - 1 };
        }
        self.shared.set_head(self.next_seq - 1);
        self.note_bytes();
        events
    }

    fn note_bytes(&self) {
        let pending = allocated_bytes(self.pending.capacity() * size_of::<(Header, usize)>());
        self.shared.note_writer(allocated_bytes(self.buffer.capacity()) + pending);
    }
}
