//! Makes a damaged log one that can be opened again. What cannot be read is set aside under another name and never
//! deleted, and its seqs are written down as lost.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::Folder;
use super::inspect::{Finding, Report, View};
use super::lost::Lost;
use super::recover::recover;
use super::reserve::Reservation;
use super::segment::{self, Segment};
use super::walk::Walk;
use super::{Error, Event, SEQ_RESERVE};

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Something that a repair has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// A damaged file has another name now.
    SetAside {
        /// Its old name.
        file: PathBuf,
        /// Its new name.
        aside: PathBuf,
        /// What was good in it up to the damage is under the old name, or that of its plain form: its last seq.
        kept_until: Option<u64>,
    },
    /// These seqs are written down as lost.
    Lost {
        /// The first.
        first: u64,
        /// The last; `None` if nothing tells: then all from the first on that had been given out.
        last: Option<u64>,
    },
    /// The unfinished end was cut.
    Cut {
        /// Its size.
        bytes: u64,
    },
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Repair::SetAside { file, aside, kept_until } => {
                write!(f, "{} is set aside as {}", file.display(), aside.display())?;
                match kept_until {
                    Some(last) => write!(f, "; its events up to seq {last} are kept"),
                    None => write!(f, "; nothing of it could be kept"),
                }
            }
            Repair::Lost { first, last: Some(last) } => write!(f, "seqs {first} to {last} are lost"),
            Repair::Lost { first, last: None } => {
                write!(f, "seqs from {first} on are lost; the relay goes on at a higher one that it never gave out")
            }
            Repair::Cut { bytes } => write!(f, "{bytes} bytes of a write that was not finished are cut"),
        }
    }
}

/// Checks the log in `dir` as [`View::check`] does, and repairs what is wrong. It holds the lock that a relay holds.
/// Interrupted, it can be begun again.
///
/// # Errors
///
/// [`Error::InUse`], and those of [`View::open`], [`View::check`] and [`Log::open`](super::Log::open).
pub fn repair(dir: &Path, each: impl FnMut(&Event) -> Result<(), String>) -> Result<(Report, Vec<Repair>), Error> {
    std::fs::read_dir(dir).map_err(Error::io("list", dir))?;
    let folder = Folder::lock(dir)?;
    let view = View::open(dir)?;
    let report = view.check_looking(1, each)?; // nobody is writing
    let mut repairs = Vec::new();
    let mut lost = Lost::read(dir)?;
    for finding in &report.findings {
        match finding {
            Finding::Damaged { error: Error::Damaged { file, .. }, lost: (first, last) } => {
                match last {
                    Some(last) if first <= last => lost.add(&folder, *first..=*last)?,
                    Some(_) => {}
                    None => skip_seqs(&folder, dir, *first)?,
                }
                repairs.push(set_aside(&folder, &view, file, *first)?);
                if last.is_none_or(|last| *first <= last) {
                    repairs.push(Repair::Lost { first: *first, last: *last });
                }
            }
            Finding::Missing { lost: range } => {
                lost.add(&folder, range.clone())?;
                repairs.push(Repair::Lost { first: *range.start(), last: Some(*range.end()) });
            }
            // The bytes are those that consumers got.
            Finding::Damaged { .. } | Finding::Event { .. } | Finding::Torn { .. } => {}
        }
    }
    let bytes = recover(dir)?.cut_bytes;
    if bytes > 0 {
        repairs.push(Repair::Cut { bytes });
    }
    Ok((report, repairs))
}

/// Nothing says how far the damaged end of the log reached, but no segment holds as many records as are reserved.
fn skip_seqs(folder: &Folder, dir: &Path, first: u64) -> Result<(), Error> {
    Reservation::read(dir)?.raise(folder, first.saturating_add(SEQ_RESERVE))
}

/// Renames `file`, and puts in its place what is good before seq `first`.
fn set_aside(folder: &Folder, view: &View, file: &Path, first: u64) -> Result<Repair, Error> {
    let segment = view.entries.iter().flatten().find(|segment| segment.path() == file);
    let kept = segment.filter(|segment| segment.first_seq() < first).map(keep).transpose()?;
    let aside = free_name(file);
    let rename = || {
        std::fs::rename(file, &aside)?;
        if let (Some(segment), Some(_)) = (segment, kept) {
            std::fs::rename(segment.new_path(), segment.plain_path())?;
        }
        folder.sync()
    };
    rename().map_err(Error::io("rename", file))?;
    Ok(Repair::SetAside { file: file.to_owned(), aside, kept_until: kept })
}

/// Writes what is good of `segment` into the file that will take its place; gives the last seq in it.
fn keep(segment: &Arc<Segment>) -> Result<u64, Error> {
    let mut walk = Walk::open(Arc::clone(segment))?;
    while walk.offset() < segment.end() && walk.step(segment.end(), COPY_BYTES, |_, _| {}).is_ok() {}
    let new = segment.new_path();
    let io = |error| Error::io("write", &new)(error);
    let mut file = File::create(&new).map_err(io)?;
    file.write_all(&segment.header.encode()).map_err(io)?;
    let mut at = segment::HEADER_BYTES as u64;
    while at < walk.offset() {
        let block = walk.read(at, walk.offset(), COPY_BYTES)?;
        let good = block.len().min((walk.offset() - at) as usize);
        file.write_all(&block[..good]).map_err(io)?;
        at += good as u64;
    }
    file.sync_all().map_err(io)?;
    Ok(walk.next_seq() - 1)
}

/// `file` with an ending that nothing has yet.
fn free_name(file: &Path) -> PathBuf {
    let named = |count: u32| {
        let mut name = file.as_os_str().to_owned();
        name.push(if count == 1 { ".damaged".to_owned() } else { format!(".damaged.{count}") });
        PathBuf::from(name)
    };
    (1..).map(named).find(|name| !name.exists()).unwrap_or_else(|| named(u32::MAX))
}
