//! Compresses sealed segments beside the writer's work: one thread of the lowest priority.
//!
//! It shares no lock with the writer. It gets each segment when that is sealed, and what it has made of it is one atomic
//! store away from every reader.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use super::Error;
use super::packed::{BLOCK_BYTES, Packer};
use super::reader::Buffers;
use super::record::Fault;
use super::segment::Segment;
use super::walk::Walk;

/// Sealed segments that stay plain, the newest: most consumers that are behind read them, from the page cache.
const PLAIN_SEGMENTS: usize = 2;

/// Compressed bytes after which the thread syncs and rests: so little is written back at once that it does not stand
/// before the writer's own syncs.
const PACE_BYTES: u64 = 8 << 20;

/// Longest rest; it is as long as the work before it.
const REST_MAX: Duration = Duration::from_secs(1);

/// Wait after a failed try.
const RETRY: Duration = Duration::from_secs(60);

/// Lowest priority.
const NICE: i32 = 19;

/// The thread; dropping it ends it within a block.
pub(super) struct Compressor {
    /// None while it is dropped.
    sealed: Option<Sender<Arc<Segment>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Compressor {
    /// Starts with the `sealed` segments of the log in `dir`, the oldest first.
    pub fn start(
        dir: &Path,
        sealed: impl IntoIterator<Item = Arc<Segment>>,
        buffers: Arc<Buffers>,
    ) -> io::Result<Compressor> {
        let folder = File::open(dir)?;
        let queue: VecDeque<_> = sealed.into_iter().collect();
        let (sender, receiver) = channel();
        let stop = Arc::<AtomicBool>::default();
        let work = Work { folder, queue, sealed: receiver, stop: Arc::clone(&stop), buffers };
        let thread = std::thread::Builder::new().name("log-compress".to_owned()).spawn(move || work.run())?;
        Ok(Compressor { sealed: Some(sender), stop, thread: Some(thread) })
    }

    /// Takes one more sealed segment.
    pub fn add(&self, segment: Arc<Segment>) {
        if let Some(sealed) = &self.sealed {
            // A thread that has ended compresses no more; the log does without.
            let _ = sealed.send(segment);
        }
    }
}

impl Drop for Compressor {
    /// Waits, so that the folder is nobody else's before the thread has let go of it.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.sealed = None;
        if let Some(thread) = self.thread.take() {
            // If it has panicked, the panic was reported.
            let _ = thread.join();
        }
    }
}

struct Work {
    folder: File,
    /// Sealed and plain, the oldest first.
    queue: VecDeque<Arc<Segment>>,
    sealed: Receiver<Arc<Segment>>,
    stop: Arc<AtomicBool>,
    /// Where the bytes are noted that it works with.
    buffers: Arc<Buffers>,
}

impl Work {
    fn run(mut self) {
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::warn!(%error, "segments are compressed at the priority of everything else");
        }
        let mut wait = Duration::ZERO;
        loop {
            let received = match self.queue.len() > PLAIN_SEGMENTS {
                true => self.sealed.recv_timeout(wait),
                false => self.sealed.recv().map_err(RecvTimeoutError::from),
            };
            match received {
                Ok(segment) => self.queue.push_back(segment),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => wait = self.compress_oldest(),
            }
        }
    }

    /// Compresses the oldest segment; gives how long to wait before the next one.
    fn compress_oldest(&mut self) -> Duration {
        let Some(segment) = self.queue.front() else { return Duration::ZERO };
        let packed = pack(segment, &self.folder, &self.stop, &self.buffers.compressor);
        self.buffers.compressor.store(0, Ordering::Relaxed);
        match packed {
            Ok(()) => {}
            Err(_) if segment.is_claimed() => {} // retention has removed it meanwhile
            Err(error @ Error::Damaged { .. }) => {
                tracing::error!(%error, "a segment stays as it is, plain");
            }
            Err(error) => {
                tracing::warn!(%error, "a segment was not compressed, trying again in {RETRY:?}");
                return RETRY;
            }
        }
        self.queue.pop_front();
        Duration::ZERO
    }
}

/// Brings a sealed segment into its compressed form, and notes the bytes of memory that it works with. Nothing happens if retention is faster, or on `stop`.
///
/// At every moment the plain file or the compressed one is there under its name, whole and synced.
pub(super) fn pack(
    segment: &Arc<Segment>,
    folder: &File,
    stop: &AtomicBool,
    memory: &AtomicUsize,
) -> Result<(), Error> {
    let new = segment.new_path();
    let written = write(segment, &new, stop, memory);
    let placed = match written {
        Ok(Some(bytes)) if segment.claim() => {
            let placed = place(segment, folder, &new, bytes);
            segment.release();
            placed
        }
        Ok(_) => remove_if_there(&new).map_err(Error::io("remove", &new)),
        Err(error) => Err(error),
    };
    if placed.is_err() {
        // Gives the space back; should that fail, the next try or the next start does.
        let _ = std::fs::remove_file(&new);
    }
    placed
}

/// Puts the compressed file in the place of the plain one.
fn place(segment: &Segment, folder: &File, new: &Path, bytes: u64) -> Result<(), Error> {
    let packed = segment.packed_path();
    let placed = std::fs::rename(new, &packed).and_then(|()| folder.sync_all());
    if let Err(error) = placed {
        let _ = std::fs::remove_file(&packed);
        return Err(Error::io("write", &packed)(error));
    }
    segment.set_packed(bytes);
    // A cursor that has the plain file open reads it to its end. Should it stay, the next start removes it.
    std::fs::remove_file(segment.plain_path()).map_err(Error::io("remove", segment.plain_path())).or_else(|error| {
        tracing::warn!(%error, "a segment is there in both forms");
        Ok(())
    })
}

/// Writes the compressed form of `segment` into the file `new`; `None` if there is no use in going on.
fn write(segment: &Arc<Segment>, new: &Path, stop: &AtomicBool, memory: &AtomicUsize) -> Result<Option<u64>, Error> {
    let plain_path = segment.plain_path();
    let plain = File::open(plain_path).map_err(Error::io("open", plain_path))?;
    let io = |error| Error::io("write", new)(error);
    let file = File::create(new).map_err(io)?;
    let mut packer = Packer::new(file.try_clone().map_err(io)?, segment.header).map_err(io)?;
    let end = segment.end();
    let mut walk = Walk::plain(Arc::clone(segment), plain);
    let (mut last_ms, mut unsynced, mut since) = (segment.header.first_ms, 0, Instant::now());
    while walk.offset() < end {
        if stop.load(Ordering::Acquire) || segment.is_claimed() {
            return Ok(None);
        }
        let seq = walk.next_seq();
        let records = walk.step(end, BLOCK_BYTES, |_, event| last_ms = event.header.time_ms)?;
        unsynced += packer.add(seq, &records).map_err(io)?;
        memory.store(packer.memory_bytes() + records.len(), Ordering::Relaxed);
        if unsynced >= PACE_BYTES {
            file.sync_data().map_err(io)?;
            // Advice only: a failure costs nothing but cache.
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
            std::thread::sleep(since.elapsed().min(REST_MAX));
            (unsynced, since) = (0, Instant::now());
        }
    }
    let last_seq = walk.next_seq() - 1;
    if let Some(sealed) = segment.sealed().filter(|sealed| *sealed != last_seq) {
        return Err(segment.damaged(end, Fault::Ended(sealed)));
    }
    let bytes = packer.finish(last_seq, last_ms).map_err(io)?;
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    Ok(Some(bytes))
}

/// Removes a file that may be gone already.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
