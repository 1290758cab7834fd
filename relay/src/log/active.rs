//! The segment that is being written.

use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};

use super::folder::Folder;
use super::segment::{self, Segment, SegmentHeader};
use super::{Durability, Error};

/// Bytes at the end of a segment that stay in the page cache, for consumers who are a little behind: about two seconds
/// of the network, behind those of the ring. The page cache counts against the memory limit of a container, and what is read
/// twice counts as in use, so what lies before is dropped.
pub(super) const CACHED_BYTES: u64 = 8 << 20;

/// Bytes dropped from the page cache at once.
const DROP_BYTES: u64 = 4 << 20;

/// The writer's side of a [`Segment`].
pub(super) struct Active {
    pub segment: Arc<Segment>,
    pub file: File,
    durability: Durability,
    /// A sync failed: nobody knows which of the bytes behind the committed ones the disk has, and a second sync would
    /// not tell. Nothing more is written to this segment.
    suspect: bool,
    /// Bytes at the start of the file that have been dropped from the page cache.
    dropped: u64,
}

impl Active {
    /// Opens a recovered segment to continue it.
    pub fn open(segment: Arc<Segment>, durability: Durability) -> Result<Active, Error> {
        let path = segment.plain_path();
        let file = File::options().write(true).open(path).map_err(Error::io("open", path))?;
        Ok(Active { segment, file, durability, suspect: false, dropped: 0 })
    }

    /// Makes the segment at `path` in `folder`, with its first `records`. They are not yet committed.
    pub fn begin(
        folder: &Folder,
        path: PathBuf,
        header: SegmentHeader,
        records: &[u8],
        durability: Durability,
    ) -> Result<Active, Error> {
        let write = || {
            // A file of this name can only be the remainder of a failed try.
            let file = File::create(&path)?;
            file.write_all_at(&header.encode(), 0)?;
            file.write_all_at(records, segment::HEADER_BYTES as u64)?;
            if durability == Durability::Sync {
                file.sync_data()?;
            }
            folder.sync()?;
            Ok(file)
        };
        match write() {
            Ok(file) => {
                let segment = Arc::new(Segment::new(path, header, segment::HEADER_BYTES as u64));
                Ok(Active { segment, file, durability, suspect: false, dropped: 0 })
            }
            Err(error) => {
                // Gives the space back; should that fail, the next try overwrites the file.
                let _ = std::fs::remove_file(&path);
                Err(Error::io("write", &path)(error))
            }
        }
    }

    /// Whether `bytes` more belong into another segment.
    pub fn is_full(&self, bytes: u64, segment_bytes: u64) -> bool {
        self.suspect || self.segment.end() + bytes > segment_bytes
    }

    /// Writes records behind the committed ones. They are not yet committed.
    pub fn write(&mut self, records: &[u8]) -> Result<(), Error> {
        let end = self.segment.end();
        let written = self.file.write_all_at(records, end).map_err(Error::io("write", self.segment.plain_path()));
        let synced = written.and_then(|()| match self.durability {
            Durability::Sync => {
                let result = self.sync();
                self.suspect = result.is_err();
                result
            }
            Durability::Os => Ok(()),
        });
        if synced.is_err() {
            // Gives the space back; should that fail, the next try overwrites the bytes, or `finish` cuts them.
            let _ = self.file.set_len(end);
        }
        synced
    }

    /// Commits `bytes` written bytes: readers see them.
    pub fn publish(&mut self, bytes: u64) {
        let end = self.segment.end() + bytes;
        self.segment.publish(end);
        if end >= self.dropped + DROP_BYTES + CACHED_BYTES {
            self.drop_cache(NonZeroU64::new(end - CACHED_BYTES - self.dropped));
        }
    }

    /// Makes the file what a sealed segment is: nothing but the committed records, and synced.
    pub fn finish(&mut self) -> Result<(), Error> {
        if self.suspect {
            self.file.set_len(self.segment.end()).map_err(Error::io("cut", self.segment.plain_path()))?;
            self.file.sync_all().map_err(Error::io("sync", self.segment.plain_path()))?;
        } else if self.durability == Durability::Os {
            self.sync()?;
        }
        self.drop_cache(None);
        Ok(())
    }

    /// Waits until the disk has what was written.
    pub fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::io("sync", self.segment.plain_path()))
    }

    /// Drops the next `bytes` from the page cache, or all that remain. Advice only: a failure costs nothing but cache.
    fn drop_cache(&mut self, bytes: Option<NonZeroU64>) {
        let _ = fadvise(&self.file, self.dropped, bytes, Advice::DontNeed);
        self.dropped += bytes.map_or(0, NonZeroU64::get);
    }
}
