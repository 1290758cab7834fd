//! The file `lost`: seqs whose events a repair could not save, so that a start does not take them for a file that has
//! just gone missing. One range on each line, its first and its last seq.

use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::Error;
use super::folder::Folder;
use super::segment::Segment;

/// The ranges, rising, none touching another.
#[derive(Debug, Default)]
pub(super) struct Lost {
    path: PathBuf,
    ranges: Vec<RangeInclusive<u64>>,
}

impl Lost {
    /// Reads the file in `dir`; without one nothing is lost.
    pub fn read(dir: &Path) -> Result<Lost, Error> {
        let path = dir.join("lost");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Lost { path, ranges: Vec::new() }),
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(Error::BadLost { path }),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let ranges: Option<Vec<_>> = text.lines().map(parse).collect();
        match ranges {
            Some(ranges) => Ok(Lost { path, ranges: merge(ranges) }),
            None => Err(Error::BadLost { path }),
        }
    }

    /// The ranges.
    pub fn ranges(&self) -> &[RangeInclusive<u64>] {
        &self.ranges
    }

    /// Adds a range, on disk too.
    pub fn add(&mut self, folder: &Folder, range: RangeInclusive<u64>) -> Result<(), Error> {
        let mut ranges = self.ranges.clone();
        ranges.push(range);
        let ranges = merge(ranges);
        let text: String = ranges.iter().map(|range| format!("{} {}\n", range.start(), range.end())).collect();
        folder.replace(&self.path, &text).map_err(Error::io("write", &self.path))?;
        self.ranges = ranges;
        Ok(())
    }

    /// The last seq up to `seq` that is not lost.
    pub fn last_held(&self, seq: u64) -> u64 {
        let lost = self.ranges.iter().find(|range| range.contains(&seq));
        lost.map_or(seq, |range| range.start().saturating_sub(1))
    }

    /// The last seq that is lost, 0 if none is.
    pub fn last_seq(&self) -> u64 {
        self.ranges.last().map_or(0, |range| *range.end())
    }

    /// The last seq of `segment`, as `next` behind it states it, less what is lost between them. `None` if a file is
    /// missing there.
    pub fn last_between(&self, segment: &Segment, next: &Segment) -> Option<u64> {
        let previous = next.header.previous;
        let lost = self.ranges.iter().find(|range| *range.end() == previous.last_seq);
        let last = match lost.filter(|range| *range.start() > segment.first_seq()) {
            Some(range) => range.start() - 1,
            None if previous.first_seq == segment.first_seq() => previous.last_seq,
            None => return None,
        };
        Some(last).filter(|last| *last < next.first_seq() && segment.sealed().is_none_or(|sealed| sealed == *last))
    }
}

fn parse(line: &str) -> Option<RangeInclusive<u64>> {
    let (first, last) = line.split_once(' ')?;
    let range = first.parse().ok()?..=last.parse().ok()?;
    (!range.is_empty()).then_some(range)
}

/// Sorts the ranges, and joins those that touch.
fn merge(mut ranges: Vec<RangeInclusive<u64>>) -> Vec<RangeInclusive<u64>> {
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*range.end().max(last.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}
