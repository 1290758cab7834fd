//! Input in pieces of whole lines.

use std::io::{self, BufRead, Read};

use super::Refused;

/// Longest piece: what the relay takes at once.
const PIECE_BYTES_MAX: usize = 512 << 10;
/// Longest line; the longest DID and the longest NSID have 2,048 and 317 bytes.
const LINE_BYTES_MAX: usize = 8 << 10;

/// Some lines that stand together.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// Number of the first one, from 1.
    pub first_line: u64,
    /// How many.
    pub count: u64,
    /// The lines; those that are too long are empty.
    pub lines: Vec<u8>,
    /// Those that are too long.
    pub refused: Vec<Refused>,
}

/// The pieces of an input, read as they are asked for.
pub(super) struct Pieces<R> {
    input: R,
    lines: u64,
}

impl<R: BufRead> Pieces<R> {
    pub(super) fn new(input: R) -> Pieces<R> {
        Pieces { input, lines: 0 }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Piece>> {
        let mut piece = Piece { first_line: self.lines + 1, ..Piece::default() };
        while piece.lines.len() + LINE_BYTES_MAX <= PIECE_BYTES_MAX {
            let start = piece.lines.len();
            let read = self.input.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut piece.lines)?;
            if read == 0 {
                break;
            }
            self.lines += 1;
            piece.count += 1;
            if read == LINE_BYTES_MAX && !piece.lines.ends_with(b"\n") {
                self.skip_line()?;
                piece.lines.truncate(start);
                piece.lines.push(b'\n');
                let error = format!("longer than {LINE_BYTES_MAX} bytes");
                piece.refused.push(Refused { line: self.lines, error });
            }
        }
        Ok((piece.count > 0).then_some(piece))
    }

    /// Reads over the rest of a line without keeping it.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let (is_over, length) = (end.is_some() || buffer.is_empty(), end.map_or(buffer.len(), |end| end + 1));
            self.input.consume(length);
            if is_over {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<Piece> {
        let mut pieces = Pieces::new(text.as_bytes());
        std::iter::from_fn(|| pieces.next().expect("memory")).collect()
    }

    #[test]
    fn lines_come_whole_and_in_order_whatever_the_size_of_the_input() {
        for count in [0, 1, 2, 100_000] {
            let text: String = (0..count).map(|number| format!("line {number}\n")).collect();
            let pieces = pieces(&text);
            let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.lines.clone()).collect();
            assert_eq!(String::from_utf8_lossy(&joined), text, "{count} lines");
            let mut next = 1;
            for piece in &pieces {
                assert!(piece.lines.len() <= PIECE_BYTES_MAX && piece.lines.ends_with(b"\n"), "{count} lines");
                assert_eq!(piece.first_line, next, "{count} lines");
                next += piece.count;
            }
            assert_eq!(next - 1, count, "{count} lines");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_and_the_next_one_is_read() {
        let long = "x".repeat(LINE_BYTES_MAX);
        let longest = "y".repeat(LINE_BYTES_MAX - 1);
        let text = format!("a\n{long}\n{longest}\n{long}{long}{long}\nb");
        let pieces = pieces(&text);
        assert_eq!(pieces.len(), 1);
        assert_eq!(String::from_utf8_lossy(&pieces[0].lines), format!("a\n\n{longest}\n\nb"));
        let refused: Vec<u64> = pieces[0].refused.iter().map(|refused| refused.line).collect();
        assert_eq!((pieces[0].count, refused), (5, vec![2, 4]));
    }
}
