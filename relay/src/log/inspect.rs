//! Looks into a log's folder and changes nothing, so that a relay may be using it meanwhile.

use std::fmt;
use std::io::ErrorKind;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::lost::Lost;
use super::recover::is_known_synced;
use super::segment::{self, HeaderFault, Segment, Unreadable};
use super::walk::Walk;
use super::{Error, Event};

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// How often the end of the newest segment is looked at again before it is called torn, and how long after: a relay that
/// is just writing it has then gone on.
const LOOKS: usize = 5;
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// A log's folder as it was when it was opened.
pub struct View {
    dir: PathBuf,
    pub(super) entries: Vec<Result<Arc<Segment>, Unreadable>>,
    lost: Lost,
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its file.
    pub file: PathBuf,
    /// Its first seq.
    pub first_seq: u64,
    /// Its last seq; `None` when its header or the one behind it cannot be read, or it holds nothing.
    pub last_seq: Option<u64>,
    /// Size uncompressed, in bytes; `None` when its header cannot be read.
    pub plain_bytes: Option<u64>,
    /// Size of the file, in bytes.
    pub disk_bytes: u64,
    /// Whether it is compressed.
    pub is_compressed: bool,
    /// Time of its first event, in milliseconds since 1970.
    pub first_ms: Option<i64>,
    /// Time up to which its events reach: that of the first event behind it, or, of the newest, of its last event.
    pub until_ms: Option<i64>,
}

impl SegmentInfo {
    /// Number of its events.
    pub fn events(&self) -> u64 {
        self.last_seq.map_or(0, |last| (last + 1).saturating_sub(self.first_seq))
    }
}

/// What [`View::check`] has found.
#[derive(Debug, Default)]
pub struct Report {
    /// Segments that were read.
    pub segments: u64,
    /// Good events.
    pub events: u64,
    /// Seq of the first and of the last of them.
    pub seqs: Option<(u64, u64)>,
    /// What is wrong, in the order of the seqs.
    pub findings: Vec<Finding>,
}

/// Something that is not as it should be.
#[derive(Debug)]
pub enum Finding {
    /// The newest segment ends with an unfinished write.
    Torn {
        /// Its file.
        file: PathBuf,
        /// Size of what is unfinished, in bytes.
        bytes: u64,
    },
    /// A segment cannot be read from some place on.
    Damaged {
        /// [`Error::Damaged`].
        error: Error,
        /// Its seqs that cannot be read; without an end if no later segment tells it.
        lost: (u64, Option<u64>),
    },
    /// No file holds these seqs, although they were given out.
    Missing {
        /// The seqs.
        lost: RangeInclusive<u64>,
    },
    /// An event that is as it was written and yet makes no sense.
    Event {
        /// Its seq.
        seq: u64,
        /// What is wrong with it.
        message: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Torn { file, bytes } => {
                let file = file.display();
                write!(f, "{file} ends with {bytes} bytes of a write that was not finished; nobody has seen them")
            }
            Finding::Damaged { error: Error::Damaged { file, offset, fault }, lost } => {
                write!(f, "{} is damaged at byte {offset}: {fault}; ", file.display())?;
                match lost {
                    (first, Some(last)) if first > last => write!(f, "it held no event"),
                    (first, Some(last)) => write!(f, "seqs {first} to {last} cannot be read"),
                    (first, None) => write!(f, "seqs from {first} on cannot be read"),
                }
            }
            Finding::Damaged { error, .. } => write!(f, "{error}"),
            Finding::Missing { lost } => {
                write!(f, "a file is missing: none holds seqs {} to {}, which were given out", lost.start(), lost.end())
            }
            Finding::Event { seq, message } => write!(f, "seq {seq}: {message}"),
        }
    }
}

impl View {
    /// Opens the log in `dir`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], also if there is no such folder; [`Error::BadLost`]; [`Error::Version`].
    pub fn open(dir: &Path) -> Result<View, Error> {
        let lost = Lost::read(dir)?;
        let mut entries: Vec<Result<Arc<Segment>, Unreadable>> = Vec::new();
        for first_seq in segment::list(dir)? {
            match segment::find(dir, first_seq)? {
                Some(Ok(segment)) => {
                    if let Some(Ok(before)) = entries.last()
                        && let Some(last_seq) = lost.last_between(before, &segment)
                    {
                        before.seal(last_seq);
                    }
                    entries.push(Ok(Arc::new(segment)));
                }
                Some(Err(newer)) if matches!(newer.fault, HeaderFault::Version(_)) => return Err(newer.into()),
                Some(Err(unreadable)) => entries.push(Err(unreadable)),
                None => {} // retention has removed it since it was listed
            }
        }
        Ok(View { dir: dir.to_owned(), entries, lost })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Seqs that an earlier repair could not save.
    pub fn lost(&self) -> &[RangeInclusive<u64>] {
        self.lost.ranges()
    }

    /// What each segment holds, the oldest first. Of the newest one all is read, of the others the headers.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn segments(&self) -> Result<Vec<SegmentInfo>, Error> {
        let mut infos = Vec::with_capacity(self.entries.len());
        for (at, entry) in self.entries.iter().enumerate() {
            let next = self.entries.get(at + 1);
            infos.push(match entry {
                Ok(segment) => info(segment, next)?,
                Err(bad) => SegmentInfo {
                    file: bad.file.clone(),
                    first_seq: bad.first_seq,
                    last_seq: None,
                    plain_bytes: None,
                    disk_bytes: bad.bytes,
                    is_compressed: bad.is_packed(),
                    first_ms: None,
                    until_ms: None,
                },
            });
        }
        Ok(infos)
    }

    /// Hands the events from seq `from` on to `each`, until that breaks or they end.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] and [`Error::Io`], after the events before the bad place. The unfinished end of a segment that
    /// is being written is no error.
    pub fn read(&self, from: u64, mut each: impl FnMut(Event) -> ControlFlow<()>) -> Result<(), Error> {
        for (at, entry) in self.entries.iter().enumerate() {
            let is_newest = at + 1 == self.entries.len();
            let segment = match entry {
                Ok(segment) => segment,
                Err(bad) if is_newest && bad.fault == HeaderFault::Torn => return Ok(()),
                Err(bad) => return Err(bad.clone().into()),
            };
            if segment.sealed().is_some_and(|last| last < from) {
                continue;
            }
            let Some(mut walk) = open_if_there(segment)? else { continue };
            if let Some((seq, offset)) = walk.place(from) {
                walk.jump(seq, offset);
            }
            let mut flow = ControlFlow::Continue(());
            while walk.offset() < segment.end() && flow.is_continue() {
                let result = walk.step(segment.end(), READ_BYTES, |_, event| {
                    if event.header.seq >= from && flow.is_continue() {
                        flow = each(event);
                    }
                });
                match result {
                    Ok(_) => {}
                    Err(Error::Damaged { .. }) if is_newest && !is_known_synced(&mut walk, segment.end())? => {
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                }
            }
            if flow.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads everything: checksums, the order of the seqs, that each segment continues the one before, and what `each`
    /// says of every event.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]. What is wrong with the log is in the report.
    pub fn check(&self, each: impl FnMut(&Event) -> Result<(), String>) -> Result<Report, Error> {
        self.check_looking(LOOKS, each)
    }

    /// The same, looking `looks` times at an unfinished end.
    pub(super) fn check_looking(
        &self,
        looks: usize,
        each: impl FnMut(&Event) -> Result<(), String>,
    ) -> Result<Report, Error> {
        let mut check = Check { view: self, looks, each, report: Report::default(), good_until: None };
        let newest = self.entries.iter().rposition(Result::is_ok);
        for (at, entry) in self.entries.iter().enumerate() {
            match entry {
                Ok(segment) => check.segment(segment, Some(at) == newest)?,
                Err(bad) if bad.fault == HeaderFault::Torn && newest.is_none_or(|newest| at > newest) => {
                    check.report.findings.push(Finding::Torn { file: bad.file.clone(), bytes: bad.bytes });
                }
                Err(bad) => check.unreadable(bad.clone()),
            }
        }
        Ok(check.report)
    }
}

/// The state of a check.
struct Check<'a, F> {
    view: &'a View,
    looks: usize,
    each: F,
    report: Report,
    /// All events that were given out up to here are good, found bad, or known to be lost.
    good_until: Option<u64>,
}

impl<F: FnMut(&Event) -> Result<(), String>> Check<'_, F> {
    fn segment(&mut self, segment: &Arc<Segment>, is_newest: bool) -> Result<(), Error> {
        self.continues(segment);
        let mut walk = match open_if_there(segment) {
            Ok(Some(walk)) => walk,
            Ok(None) => {
                self.good_until = None; // retention has removed all up to here
                return Ok(());
            }
            Err(error) => return self.damaged(error, segment.first_seq()),
        };
        self.report.segments += 1;
        let mut end = segment.end();
        let mut looks = 0;
        while walk.offset() < end {
            let before = walk.offset();
            let result = walk.step(end, READ_BYTES, |_, event| {
                let seq = event.header.seq;
                self.report.events += 1;
                self.report.seqs = Some((self.report.seqs.map_or(seq, |(first, _)| first), seq));
                if let Err(message) = (self.each)(&event) {
                    self.report.findings.push(Finding::Event { seq, message });
                }
            });
            let error = match result {
                Ok(_) => continue,
                Err(error @ Error::Damaged { .. }) => error,
                Err(error) => return Err(error),
            };
            if !is_newest || segment.sealed().is_some() || is_known_synced(&mut walk, end)? {
                self.good_until = walk.next_seq().checked_sub(1);
                return self.damaged(error, walk.next_seq());
            }
            looks = if walk.offset() > before { 0 } else { looks + 1 };
            if looks == self.looks {
                let bytes = end - walk.offset();
                self.report.findings.push(Finding::Torn { file: segment.path(), bytes });
                break;
            }
            std::thread::sleep(LOOK_INTERVAL);
            end = std::fs::metadata(segment.plain_path()).map_or(end, |metadata| metadata.len());
        }
        self.good_until = walk.next_seq().checked_sub(1);
        Ok(())
    }

    /// Tells what was given out before `segment` and is nowhere.
    fn continues(&mut self, segment: &Segment) {
        let last = segment.header.previous.last_seq;
        let Some(good_until) = self.good_until.filter(|good_until| *good_until < last) else { return };
        let mut is_told = false;
        for finding in self.report.findings.iter_mut().rev() {
            let Finding::Damaged { lost: (_, end @ None), .. } = finding else { break };
            *end = Some(last);
            is_told = true;
        }
        let lost = good_until + 1..=last;
        let is_known = self.view.lost().iter().any(|known| known.start() <= lost.start() && known.end() >= lost.end());
        if !is_told && !is_known {
            self.report.findings.push(Finding::Missing { lost });
        }
    }

    fn unreadable(&mut self, bad: Unreadable) {
        let first = self.good_until.map_or(bad.first_seq, |good_until| good_until + 1);
        self.good_until = self.good_until.or(bad.first_seq.checked_sub(1));
        self.report.findings.push(Finding::Damaged { error: bad.into(), lost: (first, None) });
    }

    /// Notes damage from seq `first` on.
    fn damaged(&mut self, error: Error, first: u64) -> Result<(), Error> {
        if !matches!(error, Error::Damaged { .. }) {
            return Err(error);
        }
        self.good_until = self.good_until.or(first.checked_sub(1));
        self.report.findings.push(Finding::Damaged { error, lost: (first, None) });
        Ok(())
    }
}

/// What `segment` holds, of which `next` is the one behind it.
fn info(segment: &Arc<Segment>, next: Option<&Result<Arc<Segment>, Unreadable>>) -> Result<SegmentInfo, Error> {
    let mut last = segment.sealed();
    let mut until_ms = match next {
        Some(Ok(next)) => Some(next.header.first_ms),
        Some(Err(_)) | None => None,
    };
    if until_ms.is_none()
        && let Some(mut walk) = open_if_there(segment)?
    {
        if let Some((seq, offset)) = last.and_then(|last| walk.place(last)) {
            walk.jump(seq, offset);
        }
        // What cannot be read is for the check to tell.
        while walk.offset() < segment.end()
            && walk.step(segment.end(), READ_BYTES, |_, event| until_ms = Some(event.header.time_ms)).is_ok()
        {}
        last = last.or(until_ms.and_then(|_| walk.next_seq().checked_sub(1)));
    }
    Ok(SegmentInfo {
        file: segment.path(),
        first_seq: segment.first_seq(),
        last_seq: last,
        plain_bytes: Some(segment.end()),
        disk_bytes: segment.disk_bytes(),
        is_compressed: segment.packed_bytes().is_some(),
        first_ms: Some(segment.header.first_ms),
        until_ms,
    })
}

/// Opens a segment in the form in which it is by now; `None` if retention has removed it.
fn open_if_there(segment: &Arc<Segment>) -> Result<Option<Walk>, Error> {
    let missing = |error: &Error| matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::NotFound);
    match Walk::open(Arc::clone(segment)) {
        Ok(walk) => Ok(Some(walk)),
        Err(error) if missing(&error) => {
            let now = segment.plain_path().parent().map(|dir| segment::find(dir, segment.first_seq())).transpose()?;
            match now.flatten() {
                Some(Ok(segment)) => Walk::open(Arc::new(segment)).map(Some),
                Some(Err(_)) | None => Ok(None),
            }
        }
        Err(error) => Err(error),
    }
}
