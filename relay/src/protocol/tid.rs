//! Timestamp identifiers: the revisions of repositories.

use std::fmt;
use std::str::FromStr;

/// A TID: 53 bits of microseconds since 1970 and 10 bits of clock id, under a top bit that is zero (protocol 20).
///
/// TIDs order by time, as numbers and as text alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid(u64);

/// Text that is no TID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a TID: 13 characters of 2-7 and a-z that start below c, like 3jzfcijpj2z2a")]
pub struct TidError;

const CHARS: usize = 13;
const ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";
const CLOCK_ID_BITS: u32 = 10;
const CLOCK_ID_MASK: u64 = (1 << CLOCK_ID_BITS) - 1;
const TIMESTAMP_MASK: u64 = (1 << 53) - 1;

impl Tid {
    /// The TID of a number; `None` when the top bit is set.
    pub const fn from_u64(number: u64) -> Option<Tid> {
        if number >> 63 == 0 { Some(Tid(number)) } else { None }
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The TID of a time and a clock id, of which the low 53 and 10 bits count.
    pub const fn from_parts(timestamp_us: u64, clock_id: u16) -> Tid {
        Tid((timestamp_us & TIMESTAMP_MASK) << CLOCK_ID_BITS | clock_id as u64 & CLOCK_ID_MASK)
    }

    /// Microseconds since 1970.
    pub const fn timestamp_us(self) -> u64 {
        self.0 >> CLOCK_ID_BITS
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..CHARS).rev().try_for_each(|place| {
            let digit = self.0 >> (5 * place) & 31;
            write!(f, "{}", char::from(ALPHABET[digit as usize]))
        })
    }
}

impl FromStr for Tid {
    type Err = TidError;

    fn from_str(text: &str) -> Result<Tid, TidError> {
        let digits: &[u8; CHARS] = text.as_bytes().try_into().map_err(|_| TidError)?;
        let number = digits.iter().try_fold(0u128, |number, digit| {
            let value = match digit {
                b'2'..=b'7' => digit - b'2',
                b'a'..=b'z' => digit - b'a' + 6,
                _ => return Err(TidError),
            };
            Ok(number << 5 | u128::from(value))
        })?;
        u64::try_from(number).ok().and_then(Tid::from_u64).ok_or(TidError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        let cases = [("2222222222222", 0), ("bzzzzzzzzzzzz", u64::MAX >> 1), ("2222222222224", 2)];
        for (text, number) in cases {
            assert_eq!(text.parse(), Ok(Tid(number)), "{text}");
            assert_eq!(Tid(number).to_string(), text);
        }
        assert_eq!("3jzfcijpj2z2a".parse().map(Tid::timestamp_us), Ok(1_688_137_381_887_007));
    }

    /// Protocol 20.
    #[test]
    fn malformed_text_is_refused() {
        for text in
            ["", "222222222222", "22222222222222", "c222222222222", "zzzzzzzzzzzzz", "222222222222é", "3JZFCIJPJ2Z2A"]
        {
            assert_eq!(text.parse::<Tid>(), Err(TidError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn text_keeps_value_and_order(a in 0..1u64 << 63, b in 0..1u64 << 63) {
            prop_assert_eq!(Tid(a).to_string().parse(), Ok(Tid(a)));
            prop_assert_eq!(Tid(a).to_string().cmp(&Tid(b).to_string()), a.cmp(&b));
        }

        #[test]
        fn parts_are_read_back(timestamp_us in 0..1u64 << 53, clock_id in 0..1024u16) {
            let tid = Tid::from_parts(timestamp_us, clock_id);
            prop_assert_eq!((tid.timestamp_us(), tid.as_u64() & CLOCK_ID_MASK), (timestamp_us, u64::from(clock_id)));
        }
    }
}
