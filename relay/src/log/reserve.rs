//! The file `next_seq`: a floor under the seqs of the next start, so that none is given out twice (protocol 5) even if
//! events that were sent are lost.
//!
//! Under [`Durability::Sync`](super::Durability::Sync) the log itself says which seqs are taken. Under
//! [`Durability::Os`](super::Durability::Os) the disk may lack its end when the machine crashes; so the file is kept
//! ahead of every seq in use, and a start after a crash continues from there. A clean shutdown sets it to the true next
//! seq.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::{Error, MAX_SEQ};

/// How far ahead of the seqs in use the reservation is put, and so how many seqs an unclean start under
/// [`Durability::Os`](super::Durability::Os) skips at most. One small write to the disk for every ten million events
/// costs nothing, and 2^53 seqs allow nine hundred million such starts.
pub const SEQ_RESERVE: u64 = 10_000_000;

/// The reservation as it is on disk.
#[derive(Debug)]
pub(super) struct Reservation {
    path: PathBuf,
    next_seq: u64,
}

impl Reservation {
    /// Reads the file in `dir`; without one nothing is reserved.
    pub fn read(dir: &Path) -> Result<Reservation, Error> {
        let path = dir.join("next_seq");
        let next_seq = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| Error::BadReservation { path: path.clone() })?,
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(Error::BadReservation { path }),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        Ok(Reservation { path, next_seq })
    }

    /// No seq from here on has been given out.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Reserves the seqs in use, those below `next_seq`, and [`SEQ_RESERVE`] more, if they are not.
    pub fn cover(&mut self, folder: &Folder, next_seq: u64) -> Result<(), Error> {
        if next_seq <= self.next_seq {
            return Ok(());
        }
        self.write(folder, next_seq.saturating_add(SEQ_RESERVE).min(MAX_SEQ + 1))
    }

    /// Lets the next start give out no seq below `next_seq`.
    pub fn raise(&mut self, folder: &Folder, next_seq: u64) -> Result<(), Error> {
        if next_seq <= self.next_seq {
            return Ok(());
        }
        self.write(folder, next_seq.min(MAX_SEQ))
    }

    /// Gives back what was reserved and not used.
    pub fn release(&mut self, folder: &Folder, next_seq: u64) -> Result<(), Error> {
        if next_seq >= self.next_seq {
            return Ok(());
        }
        self.write(folder, next_seq)
    }

    fn write(&mut self, folder: &Folder, next_seq: u64) -> Result<(), Error> {
        folder.replace(&self.path, &format!("{next_seq}\n")).map_err(Error::io("write", &self.path))?;
        self.next_seq = next_seq;
        Ok(())
    }
}
