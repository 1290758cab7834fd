//! Jobs in words and tables.

use std::fmt::Write;

use crate::backfill::{Job, Kind, Progress, State};

/// A number with its thousands apart.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A span of time in its largest sensible unit.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Import => "import",
        Kind::Crawl => "crawl",
        Kind::Verify => "verify",
        Kind::Pairs => "pairs",
    }
}

/// How a job stands, with the reason and when it goes on.
pub(super) fn standing(job: &Job) -> String {
    let mut text = job.state.name().to_owned();
    if let Some(reason) = &job.reason {
        let _ = write!(text, ": {reason}");
    }
    if let Some(until) = &job.waits_until {
        let _ = write!(text, ", until {until}");
    }
    text
}

/// What a job has found.
pub(super) fn found(progress: &Progress) -> String {
    let Progress { seen, added, removed, retrying, .. } = *progress;
    let mut text = format!("{} seen, {} added", number(seen), number(added));
    for (count, what) in [(removed, "removed"), (retrying, "to be asked again")] {
        if count > 0 {
            let _ = write!(text, ", {} {what}", number(count));
        }
    }
    text
}

/// Its parts: how many are done, of how many.
pub(super) fn parts(progress: &Progress) -> String {
    let mut text = format!("{}/{}", number(progress.parts_done), number(progress.parts));
    if progress.parts_failed > 0 {
        let _ = write!(text, " ({} failed)", number(progress.parts_failed));
    }
    text
}

/// A job in a sentence.
pub(super) fn sentence(job: &Job) -> String {
    let mut text = format!("{} is {}", job.name, standing(job));
    if job.progress.seen > 0 {
        let _ = write!(text, "; {}", found(&job.progress));
    }
    if job.state == State::Done && job.progress.parts_failed > 0 {
        let _ = write!(text, "; `relay backfill show {}` names the parts that failed", job.name);
    }
    text
}

/// Rows under their heads, in columns; the last one is as wide as it wants to be.
pub(super) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: &[String; N]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let lines = std::iter::once(line(&heads.map(str::to_owned))).chain(rows.iter().map(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans_are_read_at_a_glance() {
        let numbers = [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")];
        for (value, text) in numbers {
            assert_eq!(number(value), text);
        }
        let spans = [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 days")];
        for (seconds, text) in spans {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let rows = [["a".to_owned(), "é".to_owned()], ["longer".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "X"], &rows), "NAME    X\na       é\nlonger");
    }
}
