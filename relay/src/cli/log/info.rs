//! `relay log info`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::log::{SegmentInfo, View};
use serde_json::{Value, json};

use super::{Place, time};

#[derive(Debug, clap::Args)]
pub(super) struct Info {
    #[command(flatten)]
    place: Place,

    /// Prints one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// All segments together.
#[derive(Default)]
struct Totals {
    events: u64,
    plain_bytes: u64,
    disk_bytes: u64,
    compressed: u64,
}

impl Info {
    pub(super) fn run(self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let view = self.place.view()?;
        let segments = view.segments()?;
        let mut totals = Totals::default();
        for segment in &segments {
            totals.events += segment.events();
            totals.plain_bytes += segment.plain_bytes.unwrap_or(segment.disk_bytes);
            totals.disk_bytes += segment.disk_bytes;
            totals.compressed += u64::from(segment.is_compressed);
        }
        if self.json {
            writeln!(out, "{:#}", as_json(&view, &segments, &totals))?;
        } else {
            as_text(out, &view, &segments, &totals)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn as_json(view: &View, segments: &[SegmentInfo], totals: &Totals) -> Value {
    let list: Vec<Value> = segments.iter().map(segment_json).collect();
    let lost: Vec<Value> =
        view.lost().iter().map(|range| json!({ "firstSeq": range.start(), "lastSeq": range.end() })).collect();
    json!({
        "dir": view.dir(),
        "segments": list,
        "lost": lost,
        "totals": {
            "segments": segments.len(),
            "compressed": totals.compressed,
            "events": totals.events,
            "firstSeq": segments.first().map(|segment| segment.first_seq),
            "lastSeq": last_seq(segments),
            "bytes": totals.plain_bytes,
            "bytesOnDisk": totals.disk_bytes,
            "firstTime": first_ms(segments).map(time),
            "lastTime": until_ms(segments).map(time),
        },
    })
}

fn segment_json(segment: &SegmentInfo) -> Value {
    json!({
        "file": file_name(&segment.file),
        "firstSeq": segment.first_seq,
        "lastSeq": segment.last_seq,
        "events": segment.events(),
        "bytes": segment.plain_bytes,
        "bytesOnDisk": segment.disk_bytes,
        "compressed": segment.is_compressed,
        "firstTime": segment.first_ms.map(time),
        "untilTime": segment.until_ms.map(time),
    })
}

fn as_text(out: &mut impl Write, view: &View, segments: &[SegmentInfo], totals: &Totals) -> std::io::Result<()> {
    let none = || "-".to_owned();
    let row = |cells: [&str; 7]| {
        let [file, first, last, events, bytes, disk, from] = cells;
        format!("{file:<24} {first:>16} {last:>16} {events:>9} {bytes:>11} {disk:>11}  {from}")
    };
    writeln!(out, "{}", row(["FILE", "FIRST SEQ", "LAST SEQ", "EVENTS", "BYTES", "ON DISK", "FROM"]))?;
    for segment in segments {
        let last = segment.last_seq.map_or_else(none, |seq| seq.to_string());
        let bytes = segment.plain_bytes.map_or_else(|| "damaged".to_owned(), |bytes| bytes.to_string());
        let cells = [
            &file_name(&segment.file),
            &segment.first_seq.to_string(),
            &last,
            &segment.events().to_string(),
            &bytes,
            &segment.disk_bytes.to_string(),
            &segment.first_ms.map_or_else(none, time),
        ];
        writeln!(out, "{}", row(cells.map(String::as_str)))?;
    }
    let count = segments.len();
    writeln!(out, "\n{}: {count} segments, {} of them compressed", view.dir().display(), totals.compressed)?;
    let seqs = segments.first().map(|first| first.first_seq).zip(last_seq(segments));
    let times = first_ms(segments).zip(until_ms(segments));
    if let (Some((first, last)), Some((from, until))) = (seqs, times) {
        writeln!(out, "{} events, seqs {first} to {last}, {} to {}", totals.events, time(from), time(until))?;
    }
    writeln!(out, "{} bytes, {} on disk", totals.plain_bytes, totals.disk_bytes)?;
    for range in view.lost() {
        writeln!(out, "seqs {} to {} were lost", range.start(), range.end())?;
    }
    Ok(())
}

fn last_seq(segments: &[SegmentInfo]) -> Option<u64> {
    segments.iter().rev().find_map(|segment| segment.last_seq)
}

fn first_ms(segments: &[SegmentInfo]) -> Option<i64> {
    segments.iter().find_map(|segment| segment.first_ms)
}

fn until_ms(segments: &[SegmentInfo]) -> Option<i64> {
    segments.iter().rev().find_map(|segment| segment.until_ms)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
