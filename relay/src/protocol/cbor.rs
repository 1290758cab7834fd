//! Strict DAG-CBOR: a zero-copy reader and a writer (protocol 2, 31).
//!
//! The reader takes the one encoding that each value has and nothing else: lengths and integers in their shortest form,
//! map keys that are text, unique and in order, no indefinite lengths, no floats, no tags but links.

use super::cid::Cid;

/// Levels of arrays and maps within each other that are accepted: far more than any event has, far less than a stack.
pub const DEPTH_MAX: usize = 64;

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;
const LINK_TAG: u64 = 42;
/// Tag 42 and 37 bytes: a zero (the multibase code for binary), and a blessed CID, of which the digest follows.
const LINK_PREFIX: [u8; 9] = [0xd8, 0x2a, 0x58, 0x25, 0x00, 0x01, 0x71, 0x12, 0x20];

/// Why and where bytes are not the DAG-CBOR that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("CBOR at byte {at}: {problem}")]
pub struct CborError {
    /// Offset from the start of the reader's bytes.
    pub at: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with CBOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A value goes on behind the end.
    #[error("ends within a value")]
    Truncated,
    /// Another type than expected, or one that the data model does not have.
    #[error("unexpected type")]
    Type,
    /// A length or integer takes more bytes than it needs.
    #[error("length or integer is not in its shortest form")]
    NotShortest,
    /// Indefinite length, or a reserved encoding.
    #[error("indefinite length or reserved encoding")]
    Indefinite,
    /// An integer that does not fit 64 bits with a sign.
    #[error("integer out of range")]
    Integer,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A map key that is there twice or too late.
    #[error("map keys are not unique and in order")]
    KeyOrder,
    /// A floating-point number.
    #[error("floating-point numbers are not allowed")]
    Float,
    /// A link that is not a CID of the blessed form.
    #[error("not a link to a CIDv1 of DAG-CBOR with SHA-256")]
    Link,
    /// More levels than [`DEPTH_MAX`].
    #[error("nested too deeply")]
    Depth,
    /// Bytes after the value.
    #[error("bytes after the end of the value")]
    Trailing,
}

/// Reads values one after the other from a slice, borrowing text and bytes from it.
///
/// Nothing is allocated, and a length is believed only as far as there are bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, position: 0 }
    }

    /// Offset of the next byte.
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Requires that nothing is left.
    pub fn finish(&self) -> Result<(), CborError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.error(Problem::Trailing)) }
    }

    /// Reads an unsigned integer.
    #[inline]
    pub fn uint(&mut self) -> Result<u64, CborError> {
        self.head(UNSIGNED)
    }

    /// Reads an integer.
    pub fn int(&mut self) -> Result<i64, CborError> {
        let start = self.position;
        let (major, argument) = self.any_head()?;
        let magnitude = i64::try_from(argument).map_err(|_| CborError { at: start, problem: Problem::Integer })?;
        match major {
            UNSIGNED => Ok(magnitude),
            NEGATIVE => Ok(-1 - magnitude),
            _ => Err(CborError { at: start, problem: Problem::Type }),
        }
    }

    /// Reads a byte string.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], CborError> {
        let length = self.head(BYTES)?;
        self.take(length)
    }

    /// Reads text.
    #[inline]
    pub fn text(&mut self) -> Result<&'a str, CborError> {
        let length = self.head(TEXT)?;
        self.utf8(length)
    }

    /// Reads `true` or `false`.
    pub fn bool(&mut self) -> Result<bool, CborError> {
        let value = match self.peek()? {
            FALSE => false,
            TRUE => true,
            _ => return Err(self.error(Problem::Type)),
        };
        self.position += 1;
        Ok(value)
    }

    /// Reads a link to a blessed CID.
    #[inline]
    pub fn cid(&mut self) -> Result<Cid, CborError> {
        let digest = self.rest().strip_prefix(&LINK_PREFIX).ok_or(self.error(Problem::Link))?;
        let digest = digest.first_chunk().ok_or(self.error(Problem::Truncated))?;
        self.position += LINK_PREFIX.len() + digest.len();
        Ok(Cid::from_digest(*digest))
    }

    /// Reads `null` as `None`, and anything else with `read`.
    #[inline]
    pub fn nullable<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, CborError>,
    ) -> Result<Option<T>, CborError> {
        if self.peek()? == NULL {
            self.position += 1;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// Reads the head of an array: the number of values that follow.
    ///
    /// The number is only a claim: whoever allocates for it must bound it first.
    pub fn array(&mut self) -> Result<u64, CborError> {
        self.head(ARRAY)
    }

    /// Reads the head of a map: the number of pairs that follow.
    pub fn map_head(&mut self) -> Result<u64, CborError> {
        self.head(MAP)
    }

    /// Reads a map; `field` gets each key and reads its value. Keys must be unique and in order: short before long,
    /// then by bytes.
    #[inline]
    pub fn map<E: From<CborError>>(
        &mut self,
        mut field: impl FnMut(&mut Self, &'a str) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut previous = None;
        for _ in 0..self.map_head()? {
            let key = self.key(previous)?;
            previous = Some(key);
            field(self, key)?;
        }
        Ok(())
    }

    /// Passes over these bytes if they are next: the fixed parts of an encoding, which need no decoding. Returns whether
    /// they were.
    #[inline]
    pub fn skip_exact(&mut self, encoded: &[u8]) -> bool {
        let is_next = self.rest().starts_with(encoded);
        if is_next {
            self.position += encoded.len();
        }
        is_next
    }

    /// Passes over one value of the data model, whatever it is.
    pub fn skip(&mut self) -> Result<(), CborError> {
        self.skip_nested(DEPTH_MAX)
    }

    fn skip_nested(&mut self, levels: usize) -> Result<(), CborError> {
        let start = self.position;
        let problem = |problem| Err(CborError { at: start, problem });
        if self.peek()? >> 5 == SIMPLE {
            return self.skip_simple();
        }
        let (major, argument) = self.any_head()?;
        match major {
            UNSIGNED | NEGATIVE if i64::try_from(argument).is_err() => problem(Problem::Integer),
            UNSIGNED | NEGATIVE => Ok(()),
            BYTES => self.take(argument).map(drop),
            TEXT => self.utf8(argument).map(drop),
            TAG if argument != LINK_TAG => problem(Problem::Type),
            TAG => match self.bytes()? {
                // A multibase code for binary; the CID behind it may be of any codec and hash (protocol 30).
                [0, _, ..] => Ok(()),
                _ => problem(Problem::Link),
            },
            _ if levels == 0 => problem(Problem::Depth),
            ARRAY => (0..argument).try_for_each(|_| self.skip_nested(levels - 1)),
            _ => {
                let mut previous = None;
                for _ in 0..argument {
                    previous = Some(self.key(previous)?);
                    self.skip_nested(levels - 1)?;
                }
                Ok(())
            }
        }
    }

    fn skip_simple(&mut self) -> Result<(), CborError> {
        let problem = match self.peek()? {
            FALSE | TRUE | NULL => {
                self.position += 1;
                return Ok(());
            }
            0xf9..=0xfb => Problem::Float,
            _ => Problem::Type,
        };
        Err(self.error(problem))
    }

    #[inline]
    fn key(&mut self, previous: Option<&str>) -> Result<&'a str, CborError> {
        let at = self.position;
        let key = self.text()?;
        match previous {
            Some(previous) if !precedes(previous, key) => Err(CborError { at, problem: Problem::KeyOrder }),
            _ => Ok(key),
        }
    }

    #[inline]
    fn head(&mut self, expected: u8) -> Result<u64, CborError> {
        let start = self.position;
        match self.any_head()? {
            (major, argument) if major == expected => Ok(argument),
            _ => Err(CborError { at: start, problem: Problem::Type }),
        }
    }

    /// Major type and argument of the next head.
    #[inline]
    fn any_head(&mut self) -> Result<(u8, u64), CborError> {
        let at = self.position;
        let initial = self.peek()?;
        self.position += 1;
        let (argument, least) = match initial & 31 {
            short @ 0..=23 => (u64::from(short), 0),
            24 => (u64::from(u8::from_be_bytes(self.chunk()?)), 24),
            25 => (u64::from(u16::from_be_bytes(self.chunk()?)), 1 << 8),
            26 => (u64::from(u32::from_be_bytes(self.chunk()?)), 1 << 16),
            27 => (u64::from_be_bytes(self.chunk()?), 1 << 32),
            _ => return Err(CborError { at, problem: Problem::Indefinite }),
        };
        if argument < least {
            return Err(CborError { at, problem: Problem::NotShortest });
        }
        Ok((initial >> 5, argument))
    }

    #[inline]
    fn peek(&self) -> Result<u8, CborError> {
        self.rest().first().copied().ok_or(self.error(Problem::Truncated))
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], CborError> {
        let chunk = self.rest().first_chunk().ok_or(self.error(Problem::Truncated))?;
        self.position += N;
        Ok(*chunk)
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        match usize::try_from(length) {
            Ok(length) if length <= self.remaining() => {
                let taken = &self.rest()[..length];
                self.position += length;
                Ok(taken)
            }
            _ => Err(self.error(Problem::Truncated)),
        }
    }

    #[inline]
    fn utf8(&mut self, length: u64) -> Result<&'a str, CborError> {
        let at = self.position;
        std::str::from_utf8(self.take(length)?).map_err(|_| CborError { at, problem: Problem::Utf8 })
    }

    /// The bytes that are not read yet: the position is never behind the end.
    #[inline]
    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    fn error(&self, problem: Problem) -> CborError {
        CborError { at: self.position, problem }
    }
}

/// The order of map keys: short before long, then by bytes.
fn precedes(a: &str, b: &str) -> bool {
    (a.len(), a) < (b.len(), b)
}

/// Whether `bytes` are exactly one value of the data model in its one encoding.
pub fn validate(bytes: &[u8]) -> Result<(), CborError> {
    let mut reader = Reader::new(bytes);
    reader.skip()?;
    reader.finish()
}

/// Appends values to a vector. Writing map keys in order is up to the caller.
#[derive(Debug)]
pub struct Writer<'v>(&'v mut Vec<u8>);

impl<'v> Writer<'v> {
    /// A writer at the end of `out`.
    pub fn new(out: &'v mut Vec<u8>) -> Writer<'v> {
        Writer(out)
    }

    /// Number of bytes in the vector.
    pub fn position(&self) -> usize {
        self.0.len()
    }

    /// Writes an unsigned integer.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.head(UNSIGNED, value)
    }

    /// Writes a byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, value.len() as u64).raw(value)
    }

    /// Writes text.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.head(TEXT, value.len() as u64).raw(value.as_bytes())
    }

    /// Writes `true` or `false`.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.raw(&[if value { TRUE } else { FALSE }])
    }

    /// Writes `null`.
    pub fn null(&mut self) -> &mut Self {
        self.raw(&[NULL])
    }

    /// Writes a link.
    pub fn cid(&mut self, cid: &Cid) -> &mut Self {
        self.raw(&LINK_PREFIX).raw(cid.digest())
    }

    /// Writes a link, or `null`.
    pub fn nullable_cid(&mut self, cid: Option<&Cid>) -> &mut Self {
        match cid {
            Some(cid) => self.cid(cid),
            None => self.null(),
        }
    }

    /// Writes the head of an array of `length` values.
    pub fn array(&mut self, length: usize) -> &mut Self {
        self.head(ARRAY, length as u64)
    }

    /// Writes the head of a map of `length` pairs.
    pub fn map(&mut self, length: usize) -> &mut Self {
        self.head(MAP, length as u64)
    }

    /// Writes bytes that are already CBOR.
    pub fn raw(&mut self, encoded: &[u8]) -> &mut Self {
        self.0.extend_from_slice(encoded);
        self
    }

    fn head(&mut self, major: u8, argument: u64) -> &mut Self {
        let major = major << 5;
        let bytes = argument.to_be_bytes();
        match argument {
            0..=23 => self.raw(&[major | bytes[7]]),
            24..=0xff => self.raw(&[major | 24, bytes[7]]),
            0x100..=0xffff => self.raw(&[major | 25]).raw(&bytes[6..]),
            0x1_0000..=0xffff_ffff => self.raw(&[major | 26]).raw(&bytes[4..]),
            _ => self.raw(&[major | 27]).raw(&bytes),
        }
    }
}

#[cfg(test)]
mod tests;
