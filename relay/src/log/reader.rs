//! Reading committed events: any number of readers beside the one writer.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::index::Indexes;
use super::segment::Segment;
use super::walk::Walk;
use super::{Error, Event, Fault};

/// Least bytes that a cursor reads at once: less would cost more in system calls than in copying.
const MIN_BLOCK_BYTES: usize = 64 << 10;

/// Most bytes that a cursor reads at once, and so holds, unless a single record is larger.
const MAX_BLOCK_BYTES: usize = 1 << 20;

/// What writer and readers share.
#[derive(Debug)]
pub(super) struct Shared {
    segments: RwLock<VecDeque<Arc<Segment>>>,
    indexes: Mutex<Indexes>,
    /// The last seq that is taken.
    head: AtomicU64,
    buffers: Arc<Buffers>,
}

/// Bytes of memory, noted by those who hold them.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// What is appended and not committed.
    pub writer: AtomicUsize,
    /// What the compressor works with.
    pub compressor: AtomicUsize,
}

impl Shared {
    pub fn new(segments: VecDeque<Arc<Segment>>, indexes: Indexes, head: u64, buffers: Arc<Buffers>) -> Shared {
        Shared { segments: RwLock::new(segments), indexes: Mutex::new(indexes), head: AtomicU64::new(head), buffers }
    }

    /// Where the writer notes the bytes of its buffers.
    pub fn note_writer(&self, bytes: usize) {
        self.buffers.writer.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of memory.
    fn memory_bytes(&self) -> usize {
        let segments: usize = self.segments().iter().map(|segment| segment.bytes()).sum();
        let buffers = [&self.buffers.writer, &self.buffers.compressor].map(|bytes| bytes.load(Ordering::Relaxed));
        segments + self.indexes().bytes() + buffers.iter().sum::<usize>()
    }

    pub fn segments(&self) -> RwLockReadGuard<'_, VecDeque<Arc<Segment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn segments_mut(&self) -> RwLockWriteGuard<'_, VecDeque<Arc<Segment>>> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn indexes(&self) -> MutexGuard<'_, Indexes> {
        self.indexes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Size of all segments on disk, in bytes.
    pub fn bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.disk_bytes()).sum()
    }

    /// Moves the head, once the events up to it can be read.
    pub fn set_head(&self, seq: u64) {
        self.head.store(seq, Ordering::Release);
    }

    /// Whether retention has removed the segment that starts with `first_seq`.
    fn has_passed(&self, first_seq: u64) -> bool {
        self.segments().front().is_some_and(|oldest| oldest.first_seq() > first_seq)
    }

    /// The first segment that may hold an event of `seq` or later.
    fn segment_of(&self, seq: u64) -> Option<Arc<Segment>> {
        let segments = self.segments();
        let after = segments.partition_point(|segment| segment.first_seq() <= seq);
        let started = after.checked_sub(1).and_then(|at| segments.get(at));
        let ongoing = started.filter(|segment| segment.sealed().is_none_or(|last| seq <= last));
        ongoing.or_else(|| segments.get(after)).cloned()
    }
}

/// A handle for reading the log from any thread.
#[derive(Debug, Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Reader {
        Reader { shared }
    }

    /// Seq of the oldest event, or of the next one if there is none.
    pub fn first_seq(&self) -> u64 {
        self.shared.segments().front().map_or_else(|| self.last_seq() + 1, |segment| segment.first_seq())
    }

    /// The last seq that is taken: that of the last committed event, or, after a start that jumped ahead, the last one
    /// jumped over. A consumer's cursor above it is from the future (protocol 4).
    pub fn last_seq(&self) -> u64 {
        self.shared.head.load(Ordering::Acquire)
    }

    /// Time of the oldest event, in milliseconds since 1970.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.shared.segments().front().map(|segment| segment.header.first_ms)
    }

    /// Size of the log on disk, in bytes.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes()
    }

    /// Bytes of memory that the log takes: the writer's buffers, what the compressor works with, indexes, and what is
    /// known of each segment. What its cursors have read is theirs.
    pub fn memory_bytes(&self) -> usize {
        self.shared.memory_bytes()
    }

    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.shared.segments().len()
    }

    /// A cursor at the first event whose seq is greater than `after`, or at the oldest when the log no longer reaches
    /// back that far: compare with [`Reader::first_seq`] to tell.
    pub fn cursor(&self, after: u64) -> Cursor {
        Cursor { shared: Arc::clone(&self.shared), next_seq: after.saturating_add(1), walk: None }
    }
}

/// Reads events in order, at its own pace. It holds at most one open file, and of a compressed segment the index.
///
/// Reading blocks on the disk: call it where that is allowed.
pub struct Cursor {
    shared: Arc<Shared>,
    /// Events from here on are wanted.
    next_seq: u64,
    walk: Option<Walk>,
}

impl Cursor {
    /// Appends the next events to `out`: at most about `max_bytes` of them (64 KiB to 1 MiB are used; of a compressed
    /// segment one block, 256 KiB), at least one unless the cursor has reached the last committed event.
    ///
    /// A segment that retention removes meanwhile is read to its end.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] or [`Error::Io`], after all events before the bad one have been read, and again with every
    /// further call.
    pub fn read(&mut self, max_bytes: usize, out: &mut Vec<Event>) -> Result<(), Error> {
        let block_bytes = max_bytes.clamp(MIN_BLOCK_BYTES, MAX_BLOCK_BYTES);
        let before = out.len();
        while out.len() == before {
            let walk = match self.walk.take() {
                Some(walk) => Some(walk),
                None => self.enter()?,
            };
            let Some(mut walk) = walk else { break };
            // In this order: see `Segment::end`.
            let sealed = walk.segment.sealed();
            let end = walk.segment.end();
            if walk.offset() < end {
                let result = self.step(&mut walk, end, block_bytes, out);
                if out.len() == before {
                    result?;
                }
                self.walk = Some(walk);
            } else if let Some(last) = sealed {
                if walk.next_seq() <= last {
                    return Err(walk.segment.damaged(end, Fault::Ended(last)));
                }
                self.next_seq = self.next_seq.max(walk.next_seq());
            } else {
                self.walk = Some(walk);
                break;
            }
        }
        Ok(())
    }

    /// Reads one block. Records that are passed over on the way to the wanted ones leave their places in the index.
    fn step(&mut self, walk: &mut Walk, end: u64, bytes: usize, out: &mut Vec<Event>) -> Result<(), Error> {
        let mut passed = Vec::new();
        let result = walk.step(end, bytes, |offset, event| {
            let seq = event.header.seq;
            if seq < self.next_seq {
                passed.push((seq, offset));
            } else {
                self.next_seq = seq + 1;
                out.push(event);
            }
        });
        if !passed.is_empty() && !walk.has_index() {
            self.shared.indexes().note(walk.segment.first_seq(), passed);
        }
        result.map(|_| ())
    }

    /// Opens the segment with the next event, if there is one.
    fn enter(&self) -> Result<Option<Walk>, Error> {
        while let Some(segment) = self.shared.segment_of(self.next_seq) {
            let first_seq = segment.first_seq();
            let mut walk = match Walk::open(segment) {
                Ok(walk) => walk,
                // Retention was faster: the log starts with a later segment now.
                Err(Error::Io { source, .. })
                    if source.kind() == ErrorKind::NotFound && self.shared.has_passed(first_seq) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let place = match walk.has_index() {
                true => walk.place(self.next_seq),
                false => self.shared.indexes().place(first_seq, self.next_seq),
            };
            if let Some((seq, offset)) = place {
                walk.jump(seq, offset);
            }
            return Ok(Some(walk));
        }
        Ok(None)
    }
}
