//! What is to be known of an account before its pairs.

/// Why an account is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Hidden {
    /// The relay knows that it is not active.
    Inactive = 1,
    /// It was looked at and is not active at its host.
    Verified = 2,
}

/// The row of an account in the place of a collection; most have none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Why it is not shown, if it is not.
    pub hidden: Option<Hidden>,
    /// It has so many collections that they are counted before it gets another one.
    pub has_many: bool,
}

const HAS_MANY: u8 = 0x80;

impl Mark {
    /// The row's value; `None` for an account that needs no row.
    pub fn encode(self) -> Option<[u8; 1]> {
        let hidden = self.hidden.map_or(0, |hidden| hidden as u8);
        let value = if self.has_many { hidden | HAS_MANY } else { hidden };
        (value != 0).then_some([value])
    }

    /// Reads it back. What no version writes hides the account: an inactive one must not be shown.
    pub fn decode(value: &[u8]) -> Mark {
        let value = value.first().copied().unwrap_or(Hidden::Inactive as u8);
        let hidden = match value & !HAS_MANY {
            0 => None,
            2 => Some(Hidden::Verified),
            _ => Some(Hidden::Inactive),
        };
        Mark { hidden, has_many: value & HAS_MANY != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_as_it_was_written() {
        for hidden in [None, Some(Hidden::Inactive), Some(Hidden::Verified)] {
            for has_many in [false, true] {
                let mark = Mark { hidden, has_many };
                assert_eq!(mark.encode().map(|value| Mark::decode(&value)).unwrap_or_default(), mark);
            }
        }
    }
}
