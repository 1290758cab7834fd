//! The log's folder: made, locked, and synced when a file is added.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use super::Error;

/// The folder of an open log, locked against a second writer.
pub(super) struct Folder {
    file: File,
}

impl Folder {
    /// Opens the folder at `path`, made if absent.
    pub fn lock(path: &Path) -> Result<Folder, Error> {
        if !path.is_dir() {
            std::fs::create_dir_all(path).map_err(Error::io("make", path))?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent).and_then(|parent| parent.sync_all()).map_err(Error::io("sync", parent))?;
            }
        }
        let file = File::open(path).map_err(Error::io("open", path))?;
        match file.try_lock() {
            Ok(()) => Ok(Folder { file }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse { dir: path.to_owned() }),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
        }
    }

    /// Replaces the small file at `path` in it, or makes it, so that a crash leaves the old content or the new one.
    pub fn replace(&self, path: &Path, text: &str) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        self.sync()
    }

    /// Makes sure that the disk knows the files in it.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Drop for Folder {
    /// Closing the file would leave the lock with a child process that is just being started.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}
