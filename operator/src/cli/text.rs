//! What people read: aligned columns, colours, ages and sizes. Pure.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use k8s_openapi::jiff::Timestamp;
use relay_operator::relay::ByteSize;

/// As it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Not yet, or worth a look.
pub const WAITING: Style = AnsiColor::Yellow.on_default();
/// Somebody should look.
pub const BAD: Style = AnsiColor::Red.on_default();
/// Of less importance.
pub const DIM: Style = Style::new().dimmed();
/// Headings.
pub const HEADING: Style = Style::new().bold();
/// Neither.
pub const PLAIN: Style = Style::new();

/// Spaces between two columns.
const GAP: usize = 3;

/// A text and how it looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell(String, Style);

impl Cell {
    /// A text of this style.
    pub fn of(text: impl AsRef<str>, style: Style) -> Self {
        Self(plain(text.as_ref()), style)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::of(text, PLAIN)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::of(text, PLAIN)
    }
}

/// What is not there is a dash.
impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(text: Option<T>) -> Self {
        text.map_or_else(|| Self::of("-", DIM), Into::into)
    }
}

/// Rows whose columns are aligned.
#[derive(Default)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| Cell::of(heading, HEADING)).collect()] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// The table, each row after `indent` spaces.
    pub fn text(&self, indent: usize) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for row in &self.rows {
            for (width, Cell(cell, _)) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut line = " ".repeat(indent);
            for (at, Cell(cell, style)) in row.iter().enumerate() {
                let fill = if at + 1 == row.len() { 0 } else { widths[at] + GAP - cell.chars().count() };
                let _ = write!(line, "{}{}", paint(cell, *style), " ".repeat(fill));
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

/// `text` in this style.
pub fn paint(text: &str, style: Style) -> String {
    if text.is_empty() { String::new() } else { format!("{style}{text}{style:#}") }
}

/// `text` without what a terminal would obey: it may come from a foreign host.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How long ago `then` was.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    seconds(now.duration_since(then).as_secs())
}

/// A number of seconds, in the unit that tells most.
pub fn seconds(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7_200 => format!("{}m", s / 60),
        s @ 7_200..172_800 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

/// A number of bytes, in whole units: as somebody has written it, where it may have been written.
pub fn bytes(bytes: i64) -> String {
    let size = ByteSize(bytes.max(0).unsigned_abs());
    if size.0.is_multiple_of(1 << 28) { size.to_string() } else { size.rounded() }
}

/// A large number, with its thousands apart.
pub fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A moment, to the second.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let mut table = Table::new(["NAME", "STATE", "ERROR"]);
        table.row(["a".into(), Cell::of("active", GOOD), "".into()]);
        table.row(["längerer".into(), Cell::from(None::<String>), Cell::of("x\u{1b}[2Jy\n", PLAIN)]);
        let want = ["NAME       STATE    ERROR", "a          active", "längerer   -        x [2Jy"];
        let text = table.text(0);
        assert_eq!(anstream::adapter::strip_str(&text).to_string().lines().collect::<Vec<_>>(), want);
        assert!(text.contains("\u{1b}[32mactive\u{1b}[0m"), "in colours: {text:?}");
    }

    #[test]
    fn times_and_numbers_are_short() {
        let table = [(-5, "0s"), (119, "119s"), (120, "2m"), (7_199, "119m"), (7_200, "2h"), (172_800, "2d")];
        for (given, want) in table {
            assert_eq!(seconds(given), want);
        }
        for (given, want) in [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567")] {
            assert_eq!(number(given), want);
        }
        for (given, want) in
            [(73_400_320, "70Mi"), (1 << 30, "1Gi"), (1_342_177_280, "1280Mi"), (3_865_470_566, "3686Mi"), (0, "0")]
        {
            assert_eq!(bytes(given), want);
        }
        assert_eq!(moment(Timestamp::UNIX_EPOCH), "1970-01-01 00:00:00Z");
    }
}
